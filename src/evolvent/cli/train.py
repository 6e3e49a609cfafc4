"""Commands that train: demo, run, resume, worker."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from evolvent.cli.options import (
    DEFAULT_STORE,
    EXIT_INTERRUPTED,
    WORDS,
    AsJson,
    Grace,
    StoreUrl,
    StudyChoice,
    StudyName,
    check_seconds,
)
from evolvent.cli.render.output import print_json
from evolvent.errors import ConfigError
from evolvent.validation import cut

if TYPE_CHECKING:
    from evolvent.display.progress import Progress
    from evolvent.result import Result
    from evolvent.study import Study

TrainablePath: TypeAlias = Annotated[
    str | None,
    typer.Argument(
        metavar="TRAINABLE",
        help="Import path package.module:name, or file.py:name. \\[default: as the study knows]",
    ),
]


PARAM = typer.Option(
    "--param", metavar="NAME=VALUE", help="An argument of the training code; as JSON or text."
)


def parsed_params(given: list[str] | None) -> dict[str, Any] | None:
    """Return arguments for training code of `name=value`; None where there are none."""
    params: dict[str, Any] = {}
    for item in given or ():
        name, equals, text = item.partition("=")
        if not equals or not name.isidentifier():
            raise typer.BadParameter(f"--param: got {cut(item)}, wanted NAME=VALUE")
        try:
            params[name] = json.loads(text)
        except ValueError:  # a path, a word
            params[name] = text
    return params or None


class RunOptions(dict[str, Any]):
    """The options of a run that were given, as arguments of `Study.run`."""

    @classmethod
    def from_options(
        cls,
        workers: Annotated[
            int | None,
            typer.Option(
                "--workers", "-w", min=0, metavar="N",
                help="Processes to start; 0: train in this one. \\[default: one a core]",
            ),
        ] = None,
        devices: Annotated[
            str | None,
            typer.Option(metavar="NAMES", help="Dealt to the workers, such as cuda:0,cuda:1."),
        ] = None,
        per_device: Annotated[
            int | None, typer.Option(min=1, metavar="N", help="Workers that share a device.")
        ] = None,
        threads: Annotated[
            int | None,
            typer.Option(
                min=1, metavar="N", help="Threads of each worker. \\[default: the cores shared out]"
            ),
        ] = None,
        wall_time: Annotated[
            float | None,
            typer.Option(metavar="SECONDS", help="Start no more jobs after so long."),
        ] = None,
        grace: Grace = None,
        keep_alive: Annotated[
            int | None,
            typer.Option(min=0, metavar="N", help="Objects of a class that a worker keeps alive."),
        ] = None,
        param: Annotated[list[str] | None, PARAM] = None,
        log_dir: Annotated[
            Path | None,
            typer.Option(metavar="DIR", help="What workers print goes into files there."),
        ] = None,
        isolate_devices: Annotated[
            bool | None,
            typer.Option("--isolate-devices", help="A worker sees its own CUDA device only."),
        ] = None,
    ) -> RunOptions:  # fmt: skip
        options = {
            "workers": workers,
            "devices": None if devices is None else [name.strip() for name in devices.split(",")],
            "per_device": per_device,
            "threads": threads,
            "wall_time_s": wall_time,
            "grace_s": grace,
            "keep_alive": keep_alive,
            "params": parsed_params(param),
            "log_dir": log_dir,
            "isolate_devices": isolate_devices,
        }
        return cls((name, value) for name, value in options.items() if value is not None)


def demo(
    store: StoreUrl = DEFAULT_STORE,
    workers: Annotated[
        int, typer.Option("--workers", "-w", min=0, metavar="N", help="Processes to start.")
    ] = 2,
    control: Annotated[
        bool,
        typer.Option("--control/--no-control", help="Compare with random search, same compute."),
    ] = True,
    as_json: AsJson = False,
) -> None:
    r"""Breed eight small convolutional networks on handwritten digits.

    Takes about half a minute on two cores. Needs PyTorch and scikit-learn:
    pip install 'evolvent\[demo]'

    [bold]Examples[/bold]
      evolvent demo
      evolvent demo --no-control --json | tail -1
    """
    from evolvent.demo.run import demo as run_demo

    outcome = run_demo(store=store, workers=workers, control=control, as_json=as_json)
    if outcome.interrupted:
        raise typer.Exit(EXIT_INTERRUPTED)


def run(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="STUDY.toml", help="The study file.")],
    store: Annotated[
        str | None,
        typer.Option(
            "--store", metavar="URL", envvar="EVOLVENT_STORE",
            help=f"Where to keep the study. \\[default: as the file says, or {DEFAULT_STORE}]",
        ),
    ] = None,
    *,
    running: RunOptions,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    r"""Start the study that a file describes, or go on with it.

    [bold]A study file[/bold]
      \[study]
      name = "digits"
      metric = "accuracy"
      mode = "max"                        # or "min"
      population = 8
      rounds = 20
      trainable = "package.module:name"   # a function or class; or "file.py:name"
      # and, if you like: seed, synchronous, target, max_failures, durability,
      # best (such as "mean of 3", of a noisy metric),
      # store, workers, devices, per_device, threads, wall_time_s, grace_s

      \[space]
      lr = {type = "LogUniform", low = 1e-5, high = 1.0}
      batch = {type = "LogIntUniform", low = 16, high = 256}
      optimizer.momentum = {type = "Uniform", low = 0.1, high = 0.999}

      \[algorithm]                         # optional
      type = "PBT"                        # or "PBT.paper", "PBT.ray"
      exploit = {type = "Truncation", fraction = 0.25}
      # without explore, the more rounds there are the smaller are the steps
      explore = {type = "Perturb", factors = \[0.5, 2]}

      \[\[initial]]                         # first members, by hand; optional
      lr = 0.1

      \[params]                            # of the training code; optional
      data_dir = "data"

    [bold]Examples[/bold]
      evolvent run study.toml --workers 4
      evolvent run study.toml --devices cuda:0,cuda:1 --per-device 2
      evolvent run study.toml --json > result.json
      evolvent run study.toml -- --epochs 3    what training finds in sys.argv

    Ctrl-C once finishes the running jobs, twice stops at once.
    The same command goes on from there, and from a kill or a crash.
    """
    from evolvent.cli.study_file import read_study_file
    from evolvent.engines.trainable import check_importable

    study_file = read_study_file(file)
    if study_file.trainable is None:
        raise ConfigError(
            f'{file}: [study] lacks trainable, such as "package.module:name"; for a command of '
            f"any language: evolvent exec {file} -- COMMAND"
        )
    check_importable(study_file.trainable)
    study = study_file.open(store)
    options = {**study_file.running, **running, "progress": observer(as_json)}
    give_arguments(ctx, study_file.trainable)
    show_result(study.run(study_file.trainable, **options), as_json=as_json)


def resume(
    ctx: typer.Context,
    study: StudyChoice,
    trainable: TrainablePath = None,
    *,
    running: RunOptions,
    as_json: AsJson = False,
) -> None:
    """Go on with a study: after Ctrl-C, a crash, `stop` or `extend`.

    [bold]Examples[/bold]
      evolvent resume                              the newest study
      evolvent resume digits --workers 4
      evolvent resume digits package.module:train  if the study does not know it
    """
    opened = study.open()
    path = trainable_path(opened, trainable)
    give_arguments(ctx, path)
    result = opened.run(path, progress=observer(as_json), **running)
    show_result(result, as_json=as_json)


def worker(
    ctx: typer.Context,
    store: Annotated[
        str | None,
        typer.Argument(metavar="STORE", help="URL of the store. \\[default: as --store]"),
    ] = None,
    study: StudyName = None,
    trainable: TrainablePath = None,
    store_option: StoreUrl = DEFAULT_STORE,
    latest: Annotated[bool, typer.Option("--latest", help="Join the newest study.")] = False,
    device: Annotated[str | None, typer.Option(help="Handed to training as job.device.")] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Of numeric libraries. \\[default: OMP_NUM_THREADS, or 1]"
        ),
    ] = None,
    lease: Annotated[
        float, typer.Option(metavar="SECONDS", help="Silence after which its job goes to another.")
    ] = 30.0,
    keep_alive: Annotated[
        int, typer.Option(min=0, metavar="N", help="Objects of a class that it keeps alive.")
    ] = 1,
    grace: Grace = None,
    param: Annotated[list[str] | None, PARAM] = None,
) -> None:
    """Join a study that exists, train what is to be trained, and end with it.

    [bold]Examples[/bold]
      evolvent worker --latest
      evolvent worker sqlite:////data/evolvent.db digits package.module:train
      evolvent worker --latest -- --epochs 3

    What comes after -- is the training code's sys.argv.
    Start as many as you like, on any machine that reaches the store, and kill
    them when you like: their jobs go back to the queue.
    """
    from evolvent.engines.local.options import LocalOptions

    if not latest and study is None:
        raise typer.BadParameter("name a STORE and a STUDY, or say --latest")
    opened = StudyChoice(study, store or store_option).open()
    path = trainable_path(opened, trainable)
    give_arguments(ctx, path)
    options = LocalOptions(
        workers=1, devices=(device,) if device else (), lease_s=lease,
        threads=threads or 1, threads_given=threads is not None, keep_alive=keep_alive,
        grace_s=check_seconds("--grace", grace),
    )  # fmt: skip
    params = parsed_params(param)
    result = opened.join(path, options=options, params=params, progress=observer(False))
    if result.interrupted:
        raise typer.Exit(EXIT_INTERRUPTED)


def give_arguments(ctx: typer.Context, path: str) -> None:
    """Let training code find its own command line in `sys.argv`: what came after `--`."""
    sys.argv[:] = [path.rpartition(":")[0], *ctx.meta.get(WORDS, ())]


def trainable_path(study: Study, trainable: str | None) -> str:
    """Return the import path of the training code, as given or as the study remembers it.

    Raises:
        ConfigError: neither, or no such module; before anything is written.
    """
    from evolvent.engines.trainable import check_importable

    path = trainable or study.record.trainable
    if path is None:
        raise ConfigError(
            f"study {study.name!r} does not know where its training code lies: add it as the last "
            "argument, such as package.module:name, or give it to the study when you make it: "
            "ev.create_study(..., trainable='package.module:name')"
        )
    check_importable(path)
    return path


def observer(as_json: bool) -> Progress:
    """Return what shows a run; beside JSON it goes to stderr."""
    from evolvent.display.progress import Progress
    from evolvent.display.stream import SafeConsole

    return Progress(SafeConsole("stderr" if as_json else "stdout", highlight=False))


def show_result(result: Result, *, as_json: bool) -> None:
    """Print what a run came to; an interrupted one ends the command with its own exit code."""
    from evolvent.cli.render.best import best_as_json, print_best

    if as_json:
        print_json(best_as_json(result))
    elif result.status.best is not None:
        print_best(result)
    if result.interrupted:
        raise typer.Exit(EXIT_INTERRUPTED)


COMMANDS = (demo, run, resume, worker)
