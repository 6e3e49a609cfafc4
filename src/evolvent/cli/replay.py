"""The command that replays a schedule."""

from __future__ import annotations

from typing import Annotated

import typer

from evolvent.cli.compare import print_verdicts
from evolvent.cli.options import EXIT_ERROR, EXIT_INTERRUPTED, AsJson, StudyChoice
from evolvent.cli.render.output import print_json
from evolvent.cli.train import (
    RunOptions,
    TrainablePath,
    give_arguments,
    observer,
    trainable_path,
)


def replay(
    ctx: typer.Context,
    study: StudyChoice,
    trainable: TrainablePath = None,
    schedule: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help=".json, .csv, or Ray's pbt_policy_*.txt. \\[default: that of the best job]",
        ),
    ] = None,
    seeds: Annotated[
        int, typer.Option(min=1, metavar="N", help="How many models are trained alike.")
    ] = 3,
    rounds: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Stretch or shrink the schedule. \\[default: as long as it is]"
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Of the study it makes. \\[default: STUDY-replay]"),
    ] = None,
    last_only: Annotated[
        bool,
        typer.Option(
            "--last-only/--no-last-only", help="Also train with the last hyperparameters only."
        ),
    ] = True,
    *,
    running: RunOptions,
    as_json: AsJson = False,
) -> None:
    """Train fresh models under a schedule, and see whether it made the score.

    [bold]Examples[/bold]
      evolvent replay digits --seeds 5 --workers 2
      evolvent replay digits --rounds 100            the same schedule, stretched
      evolvent replay digits --schedule mine.csv --name mine
      evolvent replay digits --schedule pbt_policy_0.txt     as Ray Tune wrote it

    Trains one fresh model for each seed under the schedule of the best job, as a
    study of its own (STUDY-replay), and as many under its last hyperparameters
    only (STUDY-replay-last), with the same seeds. Then it says whether the
    schedule made the score, or luck did. The same command goes on after Ctrl-C,
    a kill or a crash. A model that fails is told, and left out of the means.
    """
    opened = study.open()
    path = trainable_path(opened, trainable)
    give_arguments(ctx, path)
    report = opened.replay(
        schedule,
        path,
        seeds=seeds,
        rounds=rounds,
        name=name,
        last_only=last_only,
        progress=observer(as_json),
        **running,
    )
    if as_json:
        print_json(report.to_json())
    else:
        print()
        print_verdicts(report)
    if report.interrupted:
        raise typer.Exit(EXIT_INTERRUPTED)
    if not report.replay.values:
        raise typer.Exit(EXIT_ERROR)


COMMANDS = (replay,)
