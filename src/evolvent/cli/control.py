"""Commands that steer: push, stop, extend, pin, unpin, gc, rm."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from evolvent.cli.options import DEFAULT_STORE, StoreUrl, StudyChoice
from evolvent.display.words import size
from evolvent.errors import UnknownName

StudyAndJob: TypeAlias = Annotated[
    list[str], typer.Argument(metavar="[STUDY] JOB", help="Name of the study, and a job: m3r12.")
]


def push(
    values: Annotated[
        list[str],
        typer.Argument(
            metavar="[STUDY] NAME=VALUE...", help="Study; hyperparameters by hand, as JSON or text."
        ),
    ],
    store: StoreUrl = DEFAULT_STORE,
    metrics: Annotated[
        list[str] | None,
        typer.Option(
            "--metrics", "-m", metavar="NAME=VALUE", help="What the model has reached; repeatable."
        ),
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option("--checkpoint", metavar="DIRECTORY", help="Files of the model.")
    ] = None,
) -> None:
    """Add a member with hyperparameters given by hand; those left out are drawn.

    With --metrics and --checkpoint its first round counts as done.

    [bold]Examples[/bold]
      evolvent push lr=0.1 dropout=0.3
      evolvent push digits optimizer.lr=0.1 activation=relu decay=null
      evolvent push digits 'optimizer={"lr": 0.1, "momentum": 0.9}'

    A model that was trained elsewhere, to be copied at once if it is good:
      evolvent push digits lr=0.1 --metrics accuracy=0.93 --checkpoint runs/7

    It needs all hyperparameters; its files are copied into the store.
    """
    name = values[0] if "=" not in values[0] else None
    pairs = _pairs(values if name is None else values[1:], "lr=0.1")
    reached = _pairs(metrics or [], "accuracy=0.9")
    study = StudyChoice(name, store).open()
    space = study.record.space
    for name in pairs:
        if not any(known == name or known.startswith(f"{name}.") for known in space):
            there = ", ".join(space)
            raise UnknownName(
                f"study {study.name!r} has no hyperparameter {name!r}; it has {there}"
            )
    hyperparameters = {name: space.parse(name, text) for name, text in pairs.items()}
    if metrics is None and checkpoint is None:
        job = study.push(hyperparameters)
        print(f"member {job.member} is queued as {job}")
        return
    numbers = {name: _number(name, text) for name, text in reached.items()} or None
    job = study.push(hyperparameters, metrics=numbers, checkpoint=checkpoint)
    metric = study.record.metric
    print(f"member {job.member} is {job}, done: {metric} {study.job(job).metrics[metric]:g}")


def _pairs(texts: list[str], example: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"got {text!r}, wanted NAME=VALUE such as {example}")
        if name in pairs:
            raise typer.BadParameter(f"{name}: given twice, {pairs[name]!r} and {value!r}")
        pairs[name] = value
    return pairs


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(f"--metrics: {name}: got {text!r}, wanted a number") from None


def stop(
    study: StudyChoice,
    reason: Annotated[str, typer.Option(help="Kept with the study.")] = "stopped by hand",
) -> None:
    """Give out no more jobs; running ones may finish. `resume` and `run` go on."""
    opened = study.open()
    opened.stop(reason)
    print(f"study {opened.name} is stopped")


def extend(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[STUDY] ROUNDS", help="Name of the study; rounds of every member, in all."
        ),
    ] = None,
    rounds: Annotated[
        int | None, typer.Option("--rounds", "-r", min=1, metavar="N", help="The same as ROUNDS.")
    ] = None,
    store: StoreUrl = DEFAULT_STORE,
) -> None:
    """Set the number of rounds of a study; a finished one then goes on with `resume`.

    [bold]Examples[/bold]
      evolvent extend 40                        the newest study
      evolvent extend digits 40 && evolvent resume digits
    """
    study, n = _study_and_rounds(names or [], rounds)
    opened = StudyChoice(study, store).open()
    opened.extend(n)
    print(f"study {opened.name} has {n} rounds")


def _study_and_rounds(names: list[str], rounds: int | None) -> tuple[str | None, int]:
    if rounds is None and names:
        *names, last = names
        if not last.isdecimal() or not int(last):
            raise typer.BadParameter(f"ROUNDS: got {last!r}, wanted a whole number, 1 or more")
        rounds = int(last)
    if rounds is None or len(names) > 1:
        raise typer.BadParameter("wanted [STUDY] ROUNDS, such as: evolvent extend digits 40")
    return (names[0] if names else None), rounds


def pin(names: StudyAndJob, store: StoreUrl = DEFAULT_STORE) -> None:
    """Keep the checkpoint of a job, whatever else is collected.

    [bold]Examples[/bold]
      evolvent pin m3r12
      evolvent pin digits m3r12
    """
    from evolvent.analysis.explain.log_lines import find_job

    study, job = _study_and_job(names)
    opened = StudyChoice(study, store).open()
    find_job(opened.store, opened.status(), job)  # if it is not there, this says what is
    opened.pin(job)
    print(f"{job} is pinned", file=sys.stderr)
    print(opened.checkpoint(job))


def unpin(names: StudyAndJob, store: StoreUrl = DEFAULT_STORE) -> None:
    """Let a pinned checkpoint go when nothing else needs it."""
    from evolvent.analysis.explain.log_lines import find_job

    study, job = _study_and_job(names)
    opened = StudyChoice(study, store).open()
    find_job(opened.store, opened.status(), job)
    opened.unpin(job)
    print(f"{job} is pinned no longer")


def _study_and_job(names: list[str]) -> tuple[str | None, str]:
    if len(names) > 2:
        raise typer.BadParameter(f"got {len(names)} names, wanted [STUDY] JOB")
    return (names[0] if len(names) == 2 else None), names[-1]


def gc(study: StudyChoice) -> None:
    """Remove checkpoints and leftovers that nothing needs. Happens by itself while running."""
    print(f"{size(study.open().collect())} freed")


def rm(
    study: Annotated[str, typer.Argument(metavar="STUDY", help="Name of the study.")],
    store: StoreUrl = DEFAULT_STORE,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Remove a study with its log and all its checkpoints."""
    opened = StudyChoice(study, store).open()
    done = len(opened.jobs("done"))
    if not yes:
        typer.confirm(f"Remove study {study} with {done} finished jobs?", abort=True)
    opened.delete()
    print(f"study {study} is removed")


COMMANDS = (push, stop, extend, pin, unpin, gc, rm)
