"""The command that shows, keeps and converts schedules."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evolvent.cli.options import Format, StudyChoice, split_names
from evolvent.cli.render.output import print_schedule

if TYPE_CHECKING:
    from evolvent.analysis.schedule.schedule import Schedule


def schedule(
    study: StudyChoice,
    job: Annotated[
        str | None, typer.Option(metavar="JOB", help="Such as m3r12. \\[default: the best]")
    ] = None,
    rounds: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Stretch or shrink it to N rounds.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Lay it over N steps of an optimizer.")
    ] = None,
    only: Annotated[
        str | None,
        typer.Option(metavar="NAMES", help="Only these hyperparameters, comma-separated."),
    ] = None,
    from_ray: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Read a policy log of Ray Tune's PBT.")
    ] = None,
    trial: Annotated[
        str | None, typer.Option(metavar="TAG", help="Whose lineage, in Ray's pbt_global.txt.")
    ] = None,
    iterations: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="How long Ray trained, where its results are not by the log."
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help=".json or .csv.")
    ] = None,
    to_ray: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a policy log that Ray can replay.")
    ] = None,
    form: Format = Format.TABLE,
) -> None:
    """Show the schedule that led to a job, keep it in a file, give it another length.

    [bold]Examples[/bold]
      evolvent schedule                         that of the newest study's best
      evolvent schedule digits --job m3r12 -o schedule.json
      evolvent schedule digits --rounds 100 -o schedule.csv     stretched
      evolvent schedule digits --steps 20000 --only lr,momentum
      evolvent schedule digits --to-ray pbt_policy_best.txt
      evolvent schedule --from-ray results/pbt_policy_1f2e3_00004.txt
      evolvent schedule --from-ray pbt_global.txt --trial 4 --iterations 200

    [bold]Files[/bold]
      .json and .csv give back every value bit for bit. Load them with
      ev.Schedule.load(FILE), or train fresh models under one (replay --schedule
      FILE). A log of Ray's PBT holds the whole config of its trials: keep what
      is in your space with --only.
    """
    from evolvent.analysis.schedule.schedule import Schedule

    if from_ray is not None and (study.name is not None or job is not None):
        raise typer.BadParameter("--from-ray reads a file: leave out STUDY and --job")
    if from_ray is None and (trial is not None or iterations is not None):
        raise typer.BadParameter("--trial and --iterations belong to --from-ray")
    if rounds is not None and steps is not None:
        raise typer.BadParameter("--rounds and --steps exclude each other")
    if from_ray is not None:
        found = Schedule.from_ray(from_ray.expanduser(), trial=trial, total=iterations)
    else:
        result = study.open().result()
        found = result.best.schedule if job is None else Schedule.of(result.lineage(job))
    if only is not None:
        found = found.only(*split_names(only))
    found = _rescaled(found, rounds, steps)
    written = _written(found, output, to_ray)
    for file in written:  # beside JSON or CSV it goes to stderr
        print(f"wrote {file}", file=sys.stdout if form is Format.TABLE else sys.stderr)
    if form is not Format.TABLE or not written:
        _print(found, form)


def _rescaled(found: Schedule, rounds: int | None, steps: int | None) -> Schedule:
    if rounds is not None:
        return found.rescaled(rounds, unit="rounds")
    return found if steps is None else found.rescaled(steps, unit="steps")


def _written(found: Schedule, output: Path | None, to_ray: Path | None) -> list[Path]:
    """Write the files that were asked for, and return them."""
    if output is not None:
        found.save(output)
    if to_ray is not None:
        found.to_ray(to_ray)
    return [file for file in (output, to_ray) if file is not None]


def _print(found: Schedule, form: Format) -> None:
    match form:
        case Format.JSON:
            print(found.to_json(), end="")
        case Format.CSV:
            print(found.to_csv(), end="")
        case Format.TABLE:
            print_schedule(found)


COMMANDS = (schedule,)
