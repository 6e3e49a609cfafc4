"""The command that trains by a command of any language: exec."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evolvent.cli.options import (
    DEFAULT_STORE,
    EXIT_ERROR,
    EXIT_INTERRUPTED,
    WORDS,
    Grace,
    StoreUrl,
    StudyChoice,
    check_seconds,
)
from evolvent.cli.train import observer

if TYPE_CHECKING:
    from evolvent.engines.command.trainable import Command
    from evolvent.study import Study


def exec_(
    ctx: typer.Context,
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[STORE] STUDY -- COMMAND...",
            help="URL of a store; name of a study, or a study file; a command with placeholders.",
        ),
    ] = None,
    store: StoreUrl = DEFAULT_STORE,
    latest: Annotated[bool, typer.Option("--latest", help="Join the newest study.")] = False,
    workers: Annotated[
        int,
        typer.Option(
            "--workers", "-w", min=1, metavar="N", help="Commands that run at the same time."
        ),
    ] = 1,
    device: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="The command's {device}; several are dealt out."),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="OMP_NUM_THREADS and its like for the command. \\[default: as set here, or 1]",
        ),
    ] = None,
    lease: Annotated[
        float, typer.Option(metavar="SECONDS", help="Silence after which its job goes to another.")
    ] = 30.0,
    hang: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="Kill a command that prints nothing for so long."),
    ] = None,
    grace: Grace = None,
    once: Annotated[bool, typer.Option("--once", help="Run one job, in this process.")] = False,
    ignore_errors: Annotated[
        bool, typer.Option("--ignore-errors", help="Go on when members fail.")
    ] = False,
) -> None:
    r"""Join a study with a command of any language: it runs once for every job.

    [bold]Placeholders[/bold]
      {lr} {optimizer.lr}  a hyperparameter; in full {hyperparameters.lr}
      {hyperparameters}    all of them, as --lr 0.1 --batch-size 32; null is left
                           out, true is --name, false is --no-name
      {checkpoint}         directory to start from, read-only; none in round 0
      {directory}          empty directory: what is saved there is the checkpoint
      {seed} {round} {member} {job} {study} {attempt} {device} {job_file}

    No shell reads the command: each word is one argument. {{ and }} are braces.
    Where there is no checkpoint (or device, or the value is null), an option goes
    with its value (--load {checkpoint}); any other argument is empty.
    All this is also in the environment as EVOLVENT_CHECKPOINT, EVOLVENT_SEED, …,
    and as JSON, with the hyperparameters, in the file $EVOLVENT_JOB_FILE.
    To go on in the files of the checkpoint, begin with a copy: cp -R
    "$EVOLVENT_CHECKPOINT/." "$EVOLVENT_DIRECTORY" and then chmod -R u+w
    "$EVOLVENT_DIRECTORY", as the copy is read-only like what was copied.

    [bold]Metrics[/bold]
      The last line of standard output that is a JSON object, such as
      {"accuracy": 0.93}; or metrics.json in {directory}, which goes before and
      does not become part of the checkpoint.

    [bold]Examples[/bold]
      evolvent exec digits -- python train.py {hyperparameters} \
          --load {checkpoint} --save {directory}
      evolvent exec http://host:8080 digits -- ./train --lr={lr} --out={directory}
      evolvent exec study.toml -- ./train.sh {lr} {checkpoint} {directory}
      evolvent exec digits -- sh -c 'cp "$1"/w "$2"; ./train "$2"' sh \
          {checkpoint} {directory}
      evolvent exec digits --once --device cuda:1 -- ./train --gpu {device}

    [bold]When the command fails[/bold]
      Its job is tried again, as often as the study says (max_failures). If no job
      is done in between, one failure more ends the worker with exit code 1 and
      the end of what the command said, and the job is back in the queue. With
      --ignore-errors the member fails instead, and lives on as a copy.

    Ctrl-C once finishes the running jobs, twice stops at once.
    Before a long run: evolvent check --study digits -- COMMAND
    """
    from evolvent.engines.command.trainable import Command
    from evolvent.engines.local.options import LocalOptions

    words = ctx.meta.get(WORDS)
    if not words:
        raise typer.BadParameter("wanted a command after --, such as: -- python train.py --lr {lr}")
    if once and workers > 1:
        raise typer.BadParameter(f"--once runs one job, and --workers asks for {workers} at a time")
    check_seconds("--lease", lease)
    check_seconds("--hang", hang)
    check_seconds("--grace", grace)
    source = ctx.get_parameter_source("store")
    given = None if source is not None and source.name == "DEFAULT" else store
    study = _study(names or [], given, words, latest=latest)
    command = Command(words, study.record, hang_s=hang, ignore_errors=ignore_errors)
    if once:
        _run_one(study, command, device[0] if device else None, lease, forgiving=ignore_errors)
        return
    options = LocalOptions(
        workers=workers,
        devices=tuple(device or ()),
        lease_s=lease,
        hang_s=None,
        grace_s=grace,
        threads=threads or 1,
        threads_given=threads is not None,
    )
    if study.join(command, options=options, progress=observer(False)).interrupted:
        raise typer.Exit(EXIT_INTERRUPTED)


def _study(names: list[str], store: str | None, words: list[str], *, latest: bool) -> Study:
    """Return the study of `[STORE] STUDY`; one of a file is made if need be."""
    from evolvent.cli.study_file import read_study_file
    from evolvent.engines.command.trainable import check_command

    if names and "://" in names[0]:
        store, *names = names
    if len(names) > 1 or not (names or latest):
        raise typer.BadParameter(
            f"got {' '.join(names) or 'no study'}, wanted [STORE] STUDY, or --latest"
        )
    name = names[0] if names else None
    if name is None or not name.endswith(".toml"):
        return StudyChoice(name, store or DEFAULT_STORE).open()
    study_file = read_study_file(Path(name))
    check_command(words, study_file.settings["space"])  # before anything is written
    return study_file.open(store)


def _run_one(
    study: Study, command: Command, device: str | None, lease: float, *, forgiving: bool
) -> None:
    from evolvent.engines.local.inline import run_one_job

    def show_line(text: str) -> None:
        print(text, file=sys.stderr)

    id = run_one_job(
        study.store, study.id, command, device=device, lease_s=lease, show_line=show_line
    )
    if id is None:
        show_line(f"study {study.name} is {study.status().state}: no job is left")
        return
    job = study.job(id)
    if job.score is not None:
        metric = study.record.metric
        show_line(f"{id} is done: {metric} {job.metrics[metric]:g}")
        return
    show_line(f"{id} is {job.state}: {job.error}")
    if not forgiving:
        raise typer.Exit(EXIT_ERROR)


COMMANDS = (exec_,)
