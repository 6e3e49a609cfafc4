"""Commands that steer: push, stop, extend, pin, unpin, gc, rm."""

from __future__ import annotations

import json
from typing import Annotated, Any, TypeAlias

import typer

from evolvent.cli.options import DEFAULT_STORE, StoreUrl, StudyName, open_study

StudyAndJob: TypeAlias = Annotated[
    list[str], typer.Argument(metavar="[STUDY] JOB", help="Name of the study, and a job: m3r12.")
]


def register(app: typer.Typer, *, panel: str) -> None:
    """Add the commands of this file."""
    app.command(rich_help_panel=panel, epilog=_PUSH)(push)
    app.command(rich_help_panel=panel)(stop)
    app.command(rich_help_panel=panel, epilog=_EXTEND)(extend)
    app.command(rich_help_panel=panel, epilog=_PIN)(pin)
    app.command(rich_help_panel=panel)(unpin)
    app.command(rich_help_panel=panel)(gc)
    app.command(rich_help_panel=panel)(rm)


_PUSH = """
[bold]Examples[/bold]
  evolvent push lr=0.1 dropout=0.3
  evolvent push digits optimizer.lr=0.1"""


def push(
    values: Annotated[
        list[str],
        typer.Argument(metavar="[STUDY] NAME=VALUE...", help="Study; hyperparameters by hand."),
    ],
    store: StoreUrl = DEFAULT_STORE,
) -> None:
    """Add a member with hyperparameters given by hand; those left out are drawn."""
    name = values[0] if "=" not in values[0] else None
    pairs = values if name is None else values[1:]
    hyperparameters = dict(_pair(text) for text in pairs)
    job = open_study(name, store).push(hyperparameters)
    print(f"member {job.member} is queued as {job}")


def _pair(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise typer.BadParameter(f"got {text!r}, wanted NAME=VALUE such as lr=0.1")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def stop(
    study: StudyName = None,
    store: StoreUrl = DEFAULT_STORE,
    reason: Annotated[str, typer.Option(help="Kept with the study.")] = "stopped by hand",
) -> None:
    """Give out no more jobs; running ones may finish. `resume` and `run` go on."""
    opened = open_study(study, store)
    opened.stop(reason)
    print(f"study {opened.name} is stopped")


_EXTEND = """
[bold]Examples[/bold]
  evolvent extend digits --rounds 40 && evolvent resume digits"""


def extend(
    rounds: Annotated[int, typer.Option("--rounds", "-r", min=1, help="Of every member, in all.")],
    study: StudyName = None,
    store: StoreUrl = DEFAULT_STORE,
) -> None:
    """Set the number of rounds of a study; a finished one then goes on with `resume`."""
    opened = open_study(study, store)
    opened.extend(rounds)
    print(f"study {opened.name} has {rounds} rounds")


_PIN = """
[bold]Examples[/bold]
  evolvent pin m3r12
  evolvent pin digits m3r12"""


def pin(names: StudyAndJob, store: StoreUrl = DEFAULT_STORE) -> None:
    """Keep the checkpoint of a job, whatever else is collected."""
    study, job = _study_and_job(names)
    opened = open_study(study, store)
    opened.pin(job)
    print(opened.checkpoint(job))


def unpin(names: StudyAndJob, store: StoreUrl = DEFAULT_STORE) -> None:
    """Let a pinned checkpoint go when nothing else needs it."""
    study, job = _study_and_job(names)
    open_study(study, store).unpin(job)
    print(f"{job} is not pinned")


def _study_and_job(names: list[str]) -> tuple[str | None, str]:
    if len(names) > 2:
        raise typer.BadParameter(f"got {len(names)} names, wanted [STUDY] JOB")
    return (names[0] if len(names) == 2 else None), names[-1]


def gc(study: StudyName = None, store: StoreUrl = DEFAULT_STORE) -> None:
    """Remove checkpoints and leftovers that nothing needs. Happens by itself while running."""
    from evolvent.display.words import size

    print(f"{size(open_study(study, store).collect())} freed")


def rm(
    study: Annotated[str, typer.Argument(metavar="STUDY", help="Name of the study.")],
    store: StoreUrl = DEFAULT_STORE,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Remove a study with its log and all its checkpoints."""
    opened = open_study(study, store)
    done = len(opened.jobs("done"))
    if not yes:
        typer.confirm(f"Remove study {study} with {done} finished jobs?", abort=True)
    opened.delete()
    print(f"study {study} is removed")
