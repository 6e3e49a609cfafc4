"""The command `check`: proofs on the user's own training code."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from evolvent.cli.options import DEFAULT_STORE, EXIT_ERROR, AsJson, StoreUrl, StudyChoice
from evolvent.cli.render.output import print_json, print_prose
from evolvent.cli.train import trainable_path
from evolvent.errors import ConfigError

if TYPE_CHECKING:
    from evolvent.core.algorithms import Algorithm


def check(
    trainable: Annotated[
        str | None, typer.Argument(metavar="TRAINABLE", help="Import path package.module:name.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", metavar="STUDY.toml", help="A study file.")
    ] = None,
    study: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="A study in the store. \\[default: the newest]"),
    ] = None,
    rounds: Annotated[
        int, typer.Option(min=1, metavar="N", help="Train longer when effects are late.")
    ] = 1,
    seed: Annotated[
        int, typer.Option(min=0, metavar="N", help="Of seeds and hyperparameters.")
    ] = 0,
    store: StoreUrl = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Prove that training code saves all, loads all, and obeys new hyperparameters.

    [bold]Examples[/bold]
      evolvent check --file study.toml
      evolvent check package.module:train --file study.toml
      evolvent check package.module:train --study digits
      evolvent check                             what the newest study trains with

    The space comes from a study file or from a study, and so does explore:
    a proof fails where that would change what shapes the model.
    Exit code 1 if a proof fails.
    """
    from evolvent.testing.check import check_trainable

    path, space, metric, algorithm = _subject(trainable, file, study, store)
    report = check_trainable(
        path, space, metric=metric, algorithm=algorithm, rounds=rounds, seed=seed,
        toml=file is not None,
        on_proof=None if as_json else lambda p: print_prose(str(p).splitlines(), indent=6),
    )  # fmt: skip
    if as_json:
        proofs = [asdict(proof) for proof in report.proofs]
        print_json({"trainable": path, "ok": report.ok, "proofs": proofs})
    else:
        print(f"{path}: {report.summary}")
    if not report.ok:
        raise typer.Exit(EXIT_ERROR)


def _subject(
    trainable: str | None, file: Path | None, name: str | None, store: str
) -> tuple[str, Any, str, Algorithm]:
    """Return the training code, the space, the metric and the algorithm that are meant."""
    from evolvent.cli.study_file import read_study_file
    from evolvent.core.algorithms import PBT

    if file is not None:
        study_file = read_study_file(file)
        path = trainable or study_file.trainable
        if path is None:
            raise ConfigError(f'{file}: [study] lacks trainable, such as "package.module:name"')
        settings = study_file.settings
        return path, settings["space"], settings["metric"], settings.get("algorithm", PBT())
    study = StudyChoice(name, store).open()
    record = study.record
    return trainable_path(study, trainable), record.space, record.metric, record.algorithm


COMMANDS = (check,)
