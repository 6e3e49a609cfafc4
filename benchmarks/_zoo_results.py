"""The results of the zoo: one JSON object a line, appended as studies end, never run twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple, TypeAlias

from _zoo_arms import CONTROLS, RAY, Arm, Cell, mode_of, run_arm, task_of, written_out

SEEDS_A_UNIT = 5


class Done(NamedTuple):
    """A study that was run: its arm is the algorithm with all that is default in it today."""

    cell: Cell
    arm: str
    seed: int


Results: TypeAlias = dict[Done, Mapping[str, float]]
"""What studies came to, by the names of the fields of `Outcome`."""


class Unit(NamedTuple):
    """What one process does before it tells the others: a few seeds of one arm in one cell."""

    cell: Cell
    arm: Arm
    seeds: tuple[int, ...]


def done(cell: Cell, arm: Arm, seed: int) -> Done:
    """Return the name of a result; who copies nobody needs no worker twice."""
    in_cell = replace(cell, mode="sync") if arm.expression in CONTROLS.values() else cell
    return Done(in_cell, written_out(arm, cell), seed)


def read(path: Path) -> Results:
    """Read what was run before; a line that was cut short when a run was killed is left out."""
    results: Results = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            fields = json.loads(line)
        except json.JSONDecodeError:
            continue
        cell = Cell(**{name: fields.pop(name) for name in Cell.__slots__})
        results[Done(cell, fields.pop("arm"), fields.pop("seed"))] = fields
    return results


def append(path: Path, found: Sequence[tuple[Done, Mapping[str, float]]]) -> None:
    """Append results as whole lines, also after one that was cut short."""
    lines = [
        json.dumps({**asdict(name.cell), "arm": name.arm, "seed": name.seed, **outcome}) + "\n"
        for name, outcome in found
    ]
    with path.open("a+b") as file:
        if file.tell() and (file.seek(-1, 2), file.read())[1] != b"\n":
            file.write(b"\n")
        file.write("".join(lines).encode())


def missing(
    cells: Sequence[Cell], arms: Sequence[Arm], seeds: Sequence[int], results: Results
) -> Iterator[Unit]:
    """Yield what is still to be run, each study once."""
    yielded: set[Done] = set()
    for cell in cells:
        for arm in arms:
            names = {seed: done(cell, arm, seed) for seed in seeds}
            asked = [s for s, name in names.items() if name not in results and name not in yielded]
            yielded.update(names.values())
            for i in range(0, len(asked), SEEDS_A_UNIT):
                yield Unit(cell, arm, tuple(asked[i : i + SEEDS_A_UNIT]))


def run(units: Sequence[Unit], *, jobs: int, path: Path, results: Results) -> None:
    """Run units in processes; what they give is appended to the file and to the results.

    Ctrl-C leaves what is under way and loses no unit that has ended.
    """
    pool = ProcessPoolExecutor(jobs)
    futures = [pool.submit(_run_unit, unit) for unit in units]
    try:
        for n_done, future in enumerate(as_completed(futures), 1):
            found = future.result()
            results.update(found)
            append(path, found)
            if sys.stderr.isatty():
                print(f"\r{n_done} of {len(units)}", end="", file=sys.stderr, flush=True)
        if units and sys.stderr.isatty():
            print(file=sys.stderr)
    finally:
        pool.shutdown(cancel_futures=True)


def _run_unit(unit: Unit) -> list[tuple[Done, Mapping[str, float]]]:
    task = task_of(unit.cell.task)
    return [
        (done(unit.cell, unit.arm, seed), run_arm(task, unit.cell, unit.arm, seed)._asdict())
        for seed in unit.seeds
    ]


def run_ray(
    cells: Sequence[Cell], seeds: Sequence[int], *, python: str, path: Path, results: Results
) -> bool:
    """Run Ray Tune's PBT where it is missing, one seed after the other; False without Ray."""
    if subprocess.run(
        [python, "-c", "import ray.tune"], capture_output=True, check=False
    ).returncode:
        print(
            f"{RAY.name}: skipped, {python} has no Ray (pip install 'ray[tune]')", file=sys.stderr
        )
        return False
    for cell in cells:
        asked = [seed for seed in seeds if done(cell, RAY, seed) not in results]
        if not asked:
            continue
        mode, _ = mode_of(cell.mode, cell.population)
        task = {
            "task": cell.task,
            "interval": cell.interval,
            "population": cell.population,
            "synch": mode.workers is None,
            "workers": mode.workers or os.cpu_count(),
            "seeds": asked,
        }
        command = [python, str(Path(__file__).with_name("_zoo_ray.py")), json.dumps(task)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            for line in process.stdout or ():
                if line.startswith("{"):
                    outcome = json.loads(line)
                    found = {done(cell, RAY, outcome.pop("seed")): outcome}
                    results.update(found)
                    append(path, list(found.items()))
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} ended with exit code {process.returncode}")
    return True
