"""The command that writes a study into TensorBoard, MLflow or Weights & Biases."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING, Annotated, Any

import typer

from evolvent.cli.options import EXIT_INTERRUPTED, StudyChoice
from evolvent.engines.signals import handle_interrupts
from evolvent.errors import EvolventError

if TYPE_CHECKING:
    from evolvent.engines.loggers.protocol import Logger
    from evolvent.study import Study


def _choice(*names: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in names:
            raise typer.BadParameter(f"{text!r} is not one of {', '.join(map(repr, names))}")
        return text

    return parse


def log(
    to: Annotated[
        str,
        typer.Option(
            metavar="TOOL", help="tensorboard, mlflow or wandb.",
            parser=_choice("tensorboard", "mlflow", "wandb"),
        ),
    ],
    study: StudyChoice,
    place: Annotated[
        str | None,
        typer.Option(
            "--dir", "-o", metavar="PATH",
            help="Where to write; for MLflow also a tracking URI. \\[default: runs for TensorBoard,"
            " MLFLOW_TRACKING_URI for MLflow, or the working directory]",
        ),
    ] = None,
    project: Annotated[
        str, typer.Option(metavar="NAME", help="W&B project, or MLflow experiment.")
    ] = "evolvent",
    by: Annotated[
        str,
        typer.Option(
            metavar="WHAT", help="member or lineage: what has a run of its own.",
            parser=_choice("member", "lineage"),
        ),
    ] = "member",
    steps_per_round: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N",
            help="Length of a round on the axis, such as your training steps in a round."
            " \\[default: 1000, of W&B 1]",
        ),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the study is over, or Ctrl-C.")
    ] = False,
    online: Annotated[
        bool | None,
        typer.Option(
            "--online/--offline", help="W&B only. \\[default: as WANDB_MODE, or by the API key]"
        ),
    ] = None,
) -> None:  # fmt: skip
    r"""Write a study for TensorBoard, MLflow or Weights & Biases, now or while it trains.

    [bold]Examples[/bold]
      evolvent log --to tensorboard          the newest study, into runs/
      tensorboard --logdir runs

      evolvent log digits --to mlflow        into mlflow.db
      mlflow server --backend-store-uri sqlite:///mlflow.db

      evolvent log digits --to wandb --project digits --offline
      wandb sync wandb/offline-run-*

      evolvent log digits --to tensorboard --follow    while it trains elsewhere

    Every member has a run that goes on through all its copies: steps never go
    back, a copy is marked in evolvent/copied_from, and evolvent/weights_age says
    how long the weights have been trained. With --by lineage a copy starts a new
    run where its donor stood. Say it again when there is more: what is there
    already stays as it is. Study.run(..., loggers=\[...]) does the same.
    """
    if online is not None and to != "wandb":
        raise typer.BadParameter("--online and --offline are for --to wandb")
    given = {} if steps_per_round is None else {"steps_per_round": steps_per_round}
    mode = None if online is None else "online" if online else "offline"
    where = [] if place is None else [place]
    logger = _logger(to, where, project=project, mode=mode, by=by, **given)
    if _write(study.open(), logger, follow=follow):
        raise typer.Exit(EXIT_INTERRUPTED)


def _logger(to: str, place: list[str], *, project: str, mode: Any, **options: Any) -> Logger:
    """Return the logger that was asked for; only its library is imported."""
    if to == "tensorboard":
        from evolvent.integrations import tensorboard

        return tensorboard.Logger(*place, **options)
    if to == "mlflow":
        from evolvent.integrations import mlflow

        return mlflow.Logger(*place, experiment=project, **options)
    from evolvent.integrations import wandb

    return wandb.Logger(*place, project=project, mode=mode, **options)


def _write(study: Study, logger: Logger, *, follow: bool) -> bool:
    """Write a study; return whether that was interrupted."""
    from evolvent.analysis.comparison.text import counted
    from evolvent.engines.loggers.follower import LogFollower

    stop = threading.Event()

    # The first Ctrl-C lets the writer end what it has begun, the second is for a server that hangs.
    def interrupt() -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    follower = LogFollower(study.store, study.id, logger)
    logger.check(study.status())
    if follow:
        print(f"{logger.place}: following study {study.name}; Ctrl-C ends", file=sys.stderr)
    try:
        with handle_interrupts(interrupt), closing(follower):
            if follow:
                follower.follow(stop)
            else:
                follower.catch_up(until=stop.is_set)
    except EvolventError:
        raise
    except Exception as e:  # whatever another library makes of a server that does not answer
        message = f"{type(e).__name__}: {e}" if str(e) else type(e).__name__
        raise EvolventError(f"{logger.place}: {message}") from e
    jobs = counted(follower.n_jobs, "job")
    copies = f"{follower.n_copies} cop{'ies' if follower.n_copies != 1 else 'y'}"
    print(f"{logger.place}: {jobs} of study {study.name}, {copies}")
    return stop.is_set()


COMMANDS = (log,)
