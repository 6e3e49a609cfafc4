"""The zoo: small tasks on which algorithms are set side by side, and the default is chosen.

Studies run on evolvent's own core and a virtual clock, so that thousands take minutes. Results
are appended to a file, one JSON object a line; what is there is not run again.

    python benchmarks/zoo.py                                        # the default arms and modes
    python benchmarks/zoo.py --arms default old "mine=PBT(Truncation(0.3))" --seeds even
    python benchmarks/zoo.py --tasks nqm plain --intervals 10 --populations 8 --modes sync N/2x4
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple, TextIO

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")

from _zoo_arms import ARMS, CONTROLS, MODES, Cell, described, run_arm
from _zoo_report import Scores, cell_table, rows, table
from _zoo_tasks import TASKS

SEEDS_A_UNIT = 10


class Unit(NamedTuple):
    """What one process does before it tells the others: a few seeds of one arm in one cell."""

    cell: Cell
    arm: str
    expression: str
    seeds: tuple[int, ...]


class Done(NamedTuple):
    """A study that was run: its arm is the algorithm with all that is default in it today."""

    cell: Cell
    arm: str
    seed: int


def main() -> None:
    options = _options()
    arms = {**CONTROLS, **dict(_named(arm) for arm in options.arms)}
    algorithms = {name: described(text) for name, text in arms.items()}
    expressions = {algorithms[name]: text for name, text in arms.items()}
    cells = list(_cells(options))
    results = read(options.file)
    units = list(_missing(cells, expressions, options.seeds, results))
    if not options.no_run:
        with options.file.open("a") as file:
            run(units, jobs=options.jobs, file=file, results=results)
    scores = _by_arm(cells, algorithms, options.seeds, results, field=options.by)
    if options.cells:
        print(cell_table(scores, reference=options.reference), end="\n\n")
    families = {task.name: task.family for task in TASKS.values()}
    for mode in options.modes:
        of_mode = {cell: found for cell, found in scores.items() if cell.mode == mode}
        made = rows(of_mode, families, reference=options.reference)
        print(table(made, mode=mode, reference=options.reference), end="\n\n")


def run(
    units: Sequence[Unit], *, jobs: int, file: TextIO, results: dict[Done, Mapping[str, float]]
) -> None:
    """Run units in processes and append what they give to the file and to the results."""
    if not units:
        return
    with ProcessPoolExecutor(jobs) as pool:
        futures = [pool.submit(_run_unit, unit) for unit in units]
        for n_done, future in enumerate(as_completed(futures), 1):
            for done, outcome in future.result():
                results[done] = outcome
                print(_line(done, outcome), file=file)
            file.flush()
            if sys.stderr.isatty():
                end = "\n" if n_done == len(units) else ""
                print(f"\r{n_done} of {len(units)}", end=end, file=sys.stderr, flush=True)


def _run_unit(unit: Unit) -> list[tuple[Done, Mapping[str, float]]]:
    task = TASKS[unit.cell.task]
    return [
        (Done(unit.cell, unit.arm, seed), run_arm(task, unit.cell, unit.expression, seed)._asdict())
        for seed in unit.seeds
    ]


def read(path: Path) -> dict[Done, Mapping[str, float]]:
    """Read what was run before; a line that was cut short when a run was killed is left out."""
    results: dict[Done, Mapping[str, float]] = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            fields = json.loads(line)
        except json.JSONDecodeError:
            continue
        names = ("task", "interval", "population", "mode")
        cell = Cell(**{name: fields.pop(name) for name in names})
        results[Done(cell, fields.pop("arm"), fields.pop("seed"))] = fields
    return results


def _line(done: Done, outcome: Mapping[str, float]) -> str:
    cell = {name: getattr(done.cell, name) for name in done.cell.__slots__}
    return json.dumps({**cell, "arm": done.arm, "seed": done.seed, **outcome})


def _missing(
    cells: Sequence[Cell], expressions: Mapping[str, str], seeds: Sequence[int], results: Any
) -> Iterator[Unit]:
    for cell in cells:
        for arm, expression in expressions.items():
            asked = [seed for seed in seeds if Done(cell, arm, seed) not in results]
            for i in range(0, len(asked), SEEDS_A_UNIT):
                yield Unit(cell, arm, expression, tuple(asked[i : i + SEEDS_A_UNIT]))


def _by_arm(
    cells: Sequence[Cell],
    algorithms: Mapping[str, str],
    seeds: Sequence[int],
    results: Mapping[Done, Mapping[str, float]],
    *,
    field: str,
) -> Scores:
    scores: dict[Cell, dict[str, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    for cell in cells:
        for name, algorithm in algorithms.items():
            for seed in seeds:
                if (outcome := results.get(Done(cell, algorithm, seed))) is not None:
                    scores[cell][name][seed] = outcome[field]
    return scores


def _cells(options: argparse.Namespace) -> Iterator[Cell]:
    for mode in options.modes:
        for name in options.tasks:
            task = TASKS[name]
            for interval in task.intervals:
                for population in task.populations:
                    if options.intervals and interval not in options.intervals:
                        continue
                    if options.populations and population not in options.populations:
                        continue
                    yield Cell(name, interval, population, mode)


def _named(arm: str) -> tuple[str, str]:
    """Read a name, an expression, or `name=expression`."""
    if arm in ARMS or arm in CONTROLS:
        return arm, {**ARMS, **CONTROLS}[arm]
    name, equals, text = arm.partition("=")
    if equals and name.strip().replace("-", "_").isidentifier():
        return name.strip(), text.strip()
    return arm, arm


def _seeds(text: str) -> tuple[int, ...]:
    """Read `odd`, `even` (20 each), or numbers and ranges such as `0-9,20`."""
    if text in ("odd", "even"):
        return tuple(range(text == "odd", 40, 2))
    seeds: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        seeds += range(int(first), int(last or first) + 1)
    return tuple(seeds)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--arms",
        nargs="+",
        default=list(ARMS),
        metavar="ARM",
        help=f"{', '.join(ARMS)}, an expression such as 'PBT(Truncation(0.3))', or name=expression",
    )
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--intervals", nargs="+", type=int, help="all of a task unless given")
    parser.add_argument("--populations", nargs="+", type=int, help="all of a task unless given")
    parser.add_argument("--modes", nargs="+", default=list(MODES), metavar="MODE")
    parser.add_argument("--seeds", type=_seeds, default=_seeds("even"), help="odd, even or 0-99")
    parser.add_argument("--reference", default="default", help="the arm others are set beside")
    parser.add_argument("--by", choices=("best", "chosen"), default="best")
    parser.add_argument("--cells", action="store_true", help="print every cell, too")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--file", type=Path, default=Path("zoo.jsonl"))
    parser.add_argument("--no-run", action="store_true", help="only print what the file has")
    return parser.parse_args()


if __name__ == "__main__":
    main()
