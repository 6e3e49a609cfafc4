"""The zoo: small tasks on which algorithms are set side by side, and the default is chosen.

Studies run on evolvent's own core and a virtual clock, so that thousands take minutes. Results
are appended to a file, one JSON object a line; what is there is not run again. docs/zoo.md tells
what is measured and how to read the table.

    python benchmarks/zoo.py                                     # known optima, the usual arms
    python benchmarks/zoo.py --arms paper "mine=PBT(Truncation(0.3))" --seeds odd --figure zoo.svg
    python benchmarks/zoo.py --tasks nqm:10 plain --populations 8 --modes sync N/2x4
    python benchmarks/zoo.py --tasks trainings --data mnist.npz --modes sync 2
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path

# Before NumPy is loaded: one process a core, and one thread in each.
os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")

from _zoo_arms import ARMS, CONTROLS, MODES, RAY, Arm, Cell, arm_of, mode_of, task_of
from _zoo_report import Scores, cell_table, mode_table, rows, table
from _zoo_results import Results, done, missing, read, run, run_ray
from _zoo_simulation import Mode, same_round
from _zoo_tasks import TASKS
from _zoo_training import DATA, TRAININGS, missing_data
from evolvent.errors import ConfigError, EvolventError

GROUPS = {"toys": tuple(TASKS), "trainings": tuple(TRAININGS)}


def main() -> None:
    options = _options()
    if options.data:
        os.environ[DATA] = str(options.data.resolve())
    arms = _arms(options)
    cells = list(_cells(options))
    if not cells:
        raise SystemExit("no cell: none of these --tasks has one of these --intervals")
    results = read(options.file)
    if not options.no_run:
        units = list(missing(cells, arms, options.seeds, results))
        run(units, jobs=options.jobs, path=options.file, results=results)
    if options.ray and (options.no_run or _run_ray(cells, options, results)):
        arms.append(RAY)
    scores = by_arm(cells, arms, options.seeds, results, field=options.by)
    _report(scores, options)


def _report(scores: Scores, options: argparse.Namespace) -> None:
    """Print the tables and draw the figure."""
    if options.cells:
        print(cell_table(scores, reference=options.reference), end="\n\n")
    made = {}
    for mode in options.modes:
        of_mode = {cell: found for cell, found in scores.items() if cell.mode == mode}
        made[mode] = rows(of_mode, reference=options.reference)
        print(table(made[mode], mode=mode, reference=options.reference), end="\n\n")
    if scores and "sync" in options.modes and len(options.modes) > 1:
        print(mode_table(scores, to="sync"), end="\n\n")
    drawable = {mode: found for mode, found in made.items() if found and found[0].families}
    if options.figure and not drawable:
        print("no figure: no arm is better than random search beyond noise", file=sys.stderr)
    elif options.figure:
        from _zoo_figure import draw  # noqa: PLC0415 - Altair only when something is drawn

        draw(drawable, options.figure, dark=options.dark)


def _run_ray(cells: Sequence[Cell], options: argparse.Namespace, results: Results) -> bool:
    for mode in options.modes:
        plain, view = mode_of(mode, 8)
        if (plain, view) != (Mode(plain.workers), same_round):
            raise SystemExit(f"--ray: got {mode}, wanted sync or a number of workers")
    return run_ray(cells, options.seeds, python=options.ray, path=options.file, results=results)


def by_arm(
    cells: Sequence[Cell],
    arms: Sequence[Arm],
    seeds: Sequence[int],
    results: Results,
    *,
    field: str,
) -> Scores:
    """Return the results of these cells, arms and seeds."""
    scores: dict[Cell, dict[str, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    for cell in cells:
        for arm in arms:
            for seed in seeds:
                if (outcome := results.get(done(cell, arm, seed))) is not None:
                    scores[cell][arm.name][seed] = outcome[field]
    return scores


def _arms(options: argparse.Namespace) -> list[Arm]:
    """Return the arms that were asked for, the controls and the reference, each once."""
    asked = [arm_of(text) for text in (*CONTROLS, *options.arms)]
    if options.reference not in {arm.name for arm in asked}:
        asked.append(arm_of(options.reference))
    arms = list(dict.fromkeys(asked))
    if len({arm.name for arm in arms}) < len(arms):
        raise SystemExit(f"--arms: got two of one name among {', '.join(arm.name for arm in arms)}")
    return arms


def _cells(options: argparse.Namespace) -> Iterator[Cell]:
    for mode, (name, only) in product(options.modes, _trainable(options.tasks)):
        task = task_of(name)
        # a task of one size is of that size
        asked = options.populations if len(task.populations) > 1 else None
        for interval in task.intervals if only is None else (only,):
            if not options.intervals or interval in options.intervals:
                for population in asked or task.populations:
                    yield Cell(name, interval, population, mode)


def _trainable(tasks: Sequence[tuple[str, int | None]]) -> list[tuple[str, int | None]]:
    """Return the tasks whose data is there; says which are left out."""
    found = {name: missing_data(name) for name, _ in tasks}
    for why in filter(None, found.values()):
        print(f"left out: {why}", file=sys.stderr)
    return [(name, only) for name, only in tasks if found[name] is None]


def _tasks(text: str) -> list[tuple[str, int | None]]:
    """Read a task, a group of them, or `TASK:INTERVAL`."""
    name, colon, interval = text.partition(":")
    names = GROUPS.get(name, (name,))
    if names == (name,) and name not in (*TASKS, *TRAININGS):
        wanted = ", ".join([*GROUPS, *TASKS, *TRAININGS])
        raise argparse.ArgumentTypeError(f"got {text!r}, wanted {wanted}, or TASK:INTERVAL")
    if not colon:
        return [(name, None) for name in names]
    for name in names:
        steps = task_of(name).steps
        if not interval.isdecimal() or int(interval) < 1 or steps % int(interval):
            wanted = f"an interval that divides the {steps} steps of {name}, such as {name}:"
            wanted += str(task_of(name).intervals[-1])
            raise argparse.ArgumentTypeError(f"got {text!r}, wanted {wanted}")
    return [(name, int(interval)) for name in names]


def _mode(text: str) -> str:
    mode_of(text, 2)  # said to be wrong before anything runs
    return text


def _seeds(text: str) -> tuple[int, ...]:
    """Read `odd`, `even` (20 each), or numbers and ranges such as `0-9,20`."""
    if text in ("odd", "even"):
        return tuple(range(text == "odd", 40, 2))
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise argparse.ArgumentTypeError(
                f"got {text!r}, wanted even, odd, or numbers and ranges such as 0-9,20"
            )
        if dash and int(last) < int(first):
            raise argparse.ArgumentTypeError(f"got {text!r}, wanted {last}-{first}")
        seeds += range(int(first), int(last or first) + 1)
    return tuple(dict.fromkeys(seeds))


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"got {text!r}, wanted a number, 1 or more")
    return int(text)


def _results(text: str) -> Path:
    """Read the name of the file of results, which must not be taken for another."""
    if not text.endswith(".jsonl"):
        raise argparse.ArgumentTypeError(f"got {text!r}, wanted a name that ends in .jsonl")
    return Path(text)


def _figure(text: str) -> str:
    from evolvent.analysis.plots.save import check_format  # noqa: PLC0415 - Altair comes with it

    try:
        check_format(text)
    except ConfigError as e:
        raise argparse.ArgumentTypeError(str(e)) from None
    return text


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        usage="%(prog)s [OPTIONS], which --help explains", description=__doc__.partition("\n")[0]
    )
    parser.add_argument(
        "--arms",
        nargs="+",
        default=list(ARMS),
        metavar="ARM",
        help=f"{', '.join(ARMS)}, an expression such as 'PBT(Truncation(0.3))', or "
        f"name=expression; {' and '.join(CONTROLS)} are always there",
    )
    parser.add_argument(
        "--tasks",
        nargs="+",
        type=_tasks,
        default=[_tasks("toys")],
        metavar="TASK",
        help=f"{', '.join([*GROUPS, *TASKS, *TRAININGS])}; or TASK:INTERVAL",
    )
    parser.add_argument("--intervals", nargs="+", type=_count, help="only these; steps in a round")
    parser.add_argument("--populations", nargs="+", type=_count, help="these instead")
    parser.add_argument(
        "--modes",
        nargs="+",
        type=_mode,
        default=list(MODES),
        metavar="MODE",
        help="sync, or workers: a number, N/2 or N; Nx4: the slowest takes 4 times as long; "
        f"N@report: decided at the report (default: {' '.join(MODES)})",
    )
    parser.add_argument(
        "--seeds", type=_seeds, default=_seeds("even"), help="even (default), odd, or as 0-9,20"
    )
    parser.add_argument("--reference", default="default", help="the arm others are set beside")
    parser.add_argument(
        "--by",
        choices=("best", "chosen"),
        default="best",
        help="the true score of the best member at the end, or of the job that reported the best",
    )
    parser.add_argument("--cells", action="store_true", help="print every cell, too")
    parser.add_argument("--figure", type=_figure, metavar="FILE", help=".png, .svg, .pdf or .html")
    parser.add_argument("--dark", action="store_true", help="draw it on a dark ground")
    parser.add_argument("--jobs", type=_count, default=os.cpu_count(), help="processes")
    parser.add_argument("--file", type=_results, default=Path("zoo.jsonl"), help="of the results")
    parser.add_argument("--data", type=Path, help=f"an .npz file of images; default: {DATA}")
    parser.add_argument(
        "--ray",
        nargs="?",
        const=sys.executable,
        metavar="PYTHON",
        help="Ray Tune itself beside the arms, with a Python that has it and evolvent",
    )
    parser.add_argument("--no-run", action="store_true", help="only print what the file has")
    options = parser.parse_args()
    options.tasks = list(dict.fromkeys(task for tasks in options.tasks for task in tasks))
    return options


if __name__ == "__main__":
    try:
        main()
        sys.stdout.flush()
    except KeyboardInterrupt:
        raise SystemExit("interrupted: what has ended is kept, run it again to go on") from None
    except EvolventError as e:
        raise SystemExit(f"zoo.py: {e}") from None
    except BrokenPipeError:  # who reads it has seen enough, as `head` has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # flushed as Python ends
        raise SystemExit(1) from None
