"""The command `check`: proofs on the user's own training code."""

from __future__ import annotations

import shlex
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from evolvent.cli.options import (
    DEFAULT_STORE,
    EXIT_ERROR,
    WORDS,
    AsJson,
    StoreUrl,
    StudyChoice,
    split_names,
)
from evolvent.cli.render.output import print_json, print_prose
from evolvent.cli.train import (
    PARAM,
    TrainablePath,
    give_arguments,
    parsed_params,
    trainable_path,
)
from evolvent.errors import ConfigError, StoreMissing

if TYPE_CHECKING:
    from evolvent.core.algorithms import Algorithm
    from evolvent.testing.check_proofs import CheckProgress
    from evolvent.testing.check_report import CheckReport, Proof

_LONGEST_NAME = 60


def check(
    ctx: typer.Context,
    trainable: TrainablePath = None,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", metavar="STUDY.toml", help="A study file.")
    ] = None,
    study: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="A study in the store. \\[default: the newest]"),
    ] = None,
    ask: Annotated[
        Path | None,
        typer.Option(metavar="SCRIPT.py", help="A script with a loop of its own, next_job()."),
    ] = None,
    rounds: Annotated[
        int, typer.Option(min=1, metavar="N", help="Train longer when effects are late.")
    ] = 1,
    seed: Annotated[
        int, typer.Option(min=0, metavar="N", help="Of seeds and hyperparameters.")
    ] = 0,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="NAMES", help="Proofs to try, such as lr or 'goes on'."),
    ] = None,
    skip: Annotated[
        list[str] | None, typer.Option(metavar="NAMES", help="Proofs to leave out.")
    ] = None,
    max_seconds: Annotated[
        float | None,
        typer.Option(min=0.0, metavar="SECONDS", help="Begin no proof that would end later."),
    ] = None,
    workers: Annotated[
        int,
        typer.Option(
            "--workers", "-w", min=0, max=1, metavar="N", help="0: train in this process."
        ),
    ] = 1,
    param: Annotated[list[str] | None, PARAM] = None,
    store: StoreUrl = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    r"""Prove that training code saves all, loads all, and obeys new hyperparameters.

    [bold]Examples[/bold]
      evolvent check --file study.toml
      evolvent check package.module:train --file study.toml
      evolvent check package.module:train --study digits
      evolvent check train.py:train --file study.toml -- --epochs 1
      evolvent check                             what the newest study trains with
      evolvent check --ask loop.py               a loop of your own, next_job()
      evolvent check --study digits -- ./train --lr {lr} --load {checkpoint} \
          --save {directory}                     as evolvent exec runs it
      evolvent check --only lr,momentum --max-seconds 60

    The space comes from a study file or from a study, and so does explore:
    a proof fails where that would change what shapes the model.
    It trains in a worker process, with EVOLVENT_CHECK=1 in the environment, by
    which training code may shorten its rounds. What comes after -- is its
    sys.argv, or a command where the study knows no training code.
    Exit code 1 if a proof fails.
    """
    if trainable is not None and trainable.endswith(".toml"):
        raise typer.BadParameter(f"a study file goes after --file: evolvent check -f {trainable}")
    shown = _Shown(quiet=as_json)
    options = {
        "rounds": rounds, "seed": seed, "only": _names(only), "skip": _names(skip),
        "max_seconds": max_seconds,
    }  # fmt: skip
    if ask is not None:
        if trainable or file or study or param:
            raise typer.BadParameter("--ask: the script says itself what is trained")
        path, proofs = str(ask), _check_loop(ctx, ask, shown, options)
    else:
        from evolvent.engines.trainable import with_params
        from evolvent.testing.check import check_anywhere

        subject = _subject(ctx, trainable, file, study, store)
        path = subject.name
        if not subject.is_command:
            give_arguments(ctx, path)
        proofs = check_anywhere(
            with_params(subject.trainable, parsed_params(param)), subject.space,
            metric=subject.metric, algorithm=subject.algorithm, workers=workers,
            form="command" if subject.is_command else None, toml=file is not None,
            on_proof=shown.proof, on_progress=shown.progress, on_line=shown.line, **options,
        ).proofs  # fmt: skip
    shown.clear()
    from evolvent.testing.check_report import CheckReport

    _conclude(CheckReport(path, {}, {}, proofs), as_json=as_json)


def _check_loop(
    ctx: typer.Context, script: Path, shown: _Shown, options: dict[str, Any]
) -> tuple[Proof, ...]:
    from evolvent.testing.check_process import Audience, check_loop

    if not script.is_file():
        raise ConfigError(f"--ask: no file {script}") from FileNotFoundError()
    sys.argv[:] = [str(script), *ctx.meta.get(WORDS, ())]
    return check_loop(script, Audience(shown.proof, shown.progress, shown.line), **options)


def _conclude(report: CheckReport, *, as_json: bool) -> None:
    if as_json:
        proofs = [asdict(proof) for proof in report.proofs]
        print_json({"trainable": report.subject, "ok": report.ok, "proofs": proofs})
    else:
        print(f"{report.subject}: {report.summary}")
    if not report.ok:
        raise typer.Exit(EXIT_ERROR)


class _Shown:
    """Shows proofs as they come and, in a terminal, how far the next one is."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet, self._there = quiet, False
        self._live = sys.stderr.isatty()

    def proof(self, proof: Proof) -> None:
        self.clear()
        if not self._quiet:
            print_prose(str(proof).splitlines(), indent=6)

    def progress(self, at: CheckProgress) -> None:
        if self._live:
            left = "" if at.seconds_left is None else f", about {at.seconds_left:.0f} s left"
            text = f"{at.doing}: round {at.trained + 1} of {at.planned}{left}"
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
            self._there = True

    def line(self, text: str) -> None:
        self.clear()
        print(text, file=sys.stderr)

    def clear(self) -> None:
        if self._there:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
            self._there = False


def _names(given: list[str] | None) -> list[str]:
    return [name for names in given or () for name in split_names(names)]


@dataclass(frozen=True, slots=True)
class _Subject:
    """What is to be checked, and how the output calls it."""

    trainable: Any
    name: str
    space: Any
    metric: str
    algorithm: Algorithm

    @property
    def is_command(self) -> bool:
        return not isinstance(self.trainable, str)


def _subject(
    ctx: typer.Context, trainable: str | None, file: Path | None, name: str | None, store: str
) -> _Subject:
    """Return the training code, the space, the metric and the algorithm that are meant.

    Where no training code is known, what comes after `--` is a command.
    """
    from evolvent.cli.study_file import read_study_file
    from evolvent.core.algorithms import PBT
    from evolvent.core.study import StudyRecord

    words: list[str] = ctx.meta.get(WORDS, [])
    if file is not None:
        settings = dict(read_study_file(file).settings)
        path = trainable or settings.pop("trainable", None)
        settings.setdefault("algorithm", PBT())
        settings["initial"] = tuple(settings.get("initial", ()))
        record = StudyRecord(**settings)
        if path is None and not words:
            raise ConfigError(
                f'{file}: [study] lacks trainable, such as "package.module:name"; of a command of '
                "any language: evolvent check --file … -- COMMAND"
            )
    else:
        try:
            study = StudyChoice(name, store).open()
        except StoreMissing as e:
            raise StoreMissing(f"{e}; to check without a study: --file STUDY.toml") from e
        record = study.record
        is_command = trainable is None and record.trainable is None and words
        path = None if is_command else trainable_path(study, trainable)
    if path is not None:
        return _Subject(path, path, record.space, record.metric, record.algorithm)
    from evolvent.engines.command.trainable import Command

    command = Command(words, record, ignore_errors=True)
    name = shlex.join([Path(words[0]).name, *words[1:]])
    name = name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}…"
    return _Subject(command, name, record.space, record.metric, record.algorithm)


COMMANDS = (check,)
