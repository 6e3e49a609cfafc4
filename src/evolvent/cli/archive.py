"""Commands that carry a study elsewhere: export, import."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from evolvent.cli.options import DEFAULT_STORE, StoreUrl, StudyChoice
from evolvent.core.records import JobState
from evolvent.display.words import size


def export_(
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Archive to write: a zip file.")
    ],
    study: StudyChoice,
    checkpoints: Annotated[
        str,
        typer.Option("--checkpoints", metavar="WHICH", help="best, kept, pinned, none or jobs."),
    ] = "best",
) -> None:
    """Write a study, its log and chosen checkpoints, into one file for another machine.

    The study may be running: the archive shows it as of one instant.

    [bold]Which checkpoints[/bold]
      best    that of the best job: look at the study, use its best model
      kept    all that the study needs to go on somewhere else
      pinned  those of pinned jobs
      none    the log alone
      JOBS    those of these jobs: m3r12,m0r7

    [bold]Examples[/bold]
      evolvent export digits -o digits.zip
      evolvent export digits -o digits.zip --checkpoints kept
      unzip -p digits.zip jobs.jsonl | jq -r 'select(.state == "done") | .score'
    """
    from evolvent.analysis.comparison.text import counted
    from evolvent.store.archive.export import export_study, parse_choice
    from evolvent.store.archive.manifest import JOBS

    opened = study.open()
    written = export_study(opened.store, opened.id, output, checkpoints=parse_choice(checkpoints))
    jobs = counted(written.lines[JOBS], "finished job")
    kept = counted(len(written.checkpoints), "checkpoint")
    print(f"{output}: study {written.study} with {jobs} and {kept}, {size(output.stat().st_size)}")


def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Archive made by `export`.")],
    store: StoreUrl = DEFAULT_STORE,
    name: Annotated[
        str | None,
        typer.Option("--name", metavar="NEW", help="Of the study here. \\[default: its own]"),
    ] = None,
) -> None:
    """Write a study out of an archive into a store. Checked in full first; runs no code.

    [bold]Examples[/bold]
      evolvent import digits.zip
      evolvent import digits.zip --name digits-from-paris --store sqlite:///all.db
      evolvent import digits.zip && evolvent resume digits    with all checkpoints
    """
    from evolvent.analysis.comparison.text import counted
    from evolvent.store.records import StudyState
    from evolvent.studies import import_study

    study = import_study(file, store=store, name=name)
    status = study.status()
    done = counted(status.counts[JobState.DONE], "done job")
    if status.state is StudyState.OPEN:
        there = "" if store == DEFAULT_STORE else f" --store {quote(study.store.url)}"
        outlook = f"`evolvent resume {quote(study.name)}{there}` goes on with it"
    else:
        outlook = f"{status.state}" + ("" if status.stopped is None else f", {status.stopped}")
    print(f"study {study.name} is in {study.store.url} with {done}: {outlook}")


COMMANDS = (export_, import_)
