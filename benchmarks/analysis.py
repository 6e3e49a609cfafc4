"""How long it takes to read a long log, and how much memory: 1,000 members x 1,000 rounds.

    python benchmarks/analysis.py [--members 1000] [--rounds 1000] [--directory DIR] [--json]

The log is made first, by the true rules of PBT with a simulated training, or taken from DIR where
an earlier run left it. Each line is a process of its own, which opens the store, does one thing
and says how long that took and the most memory it ever had, libraries included. `part` is the
figure as a part of its goal: below 1 is met. CPU seconds tell how much of the wait was for others
on a busy machine.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import _big_log
import evolvent as ev
from evolvent.analysis.log import Log
from evolvent.analysis.plots import KINDS
from evolvent.analysis.tables.jobs import Engine
from evolvent.core.records import JobId

MOST_S = 10.0
MOST_MB = 2000.0
LINEAGE_S = 0.05

HEADING = (
    f"{'':26} {'seconds':>9} {'goal':>6} {'part':>6} {'CPU s':>7} {'MB':>7} {'goal':>6} {'part':>6}"
)


@dataclass(frozen=True)
class Task:
    """What is measured.

    Attributes:
        prepare: returns what is timed; its own time does not count.
        seconds: the goal.
    """

    prepare: Callable[[ev.Study], Callable[[], object]]
    seconds: float = MOST_S


def main() -> None:
    """Make the log and print the table, or do one line of it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--members", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--directory", type=Path, help="keep the log here, and take it from here")
    parser.add_argument("--only", help="only the tasks whose name contains this")
    parser.add_argument("--json", action="store_true", help="one JSON object per line")
    parser.add_argument("--task", nargs=2, metavar=("NAME", "FILE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.task is not None:
        name, file = options.task
        print(json.dumps(measured(TASKS[name], file)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        directory = options.directory or Path(temporary)
        file = made(directory, options.members, options.rounds)
        if not options.json:
            print(HEADING)
        for name, task in TASKS.items():
            if options.only is None or options.only in name:
                row = in_a_process(name, task, file)
                print(json.dumps(asdict(row)) if options.json else line(row), flush=True)


def made(directory: Path, members: int, rounds: int) -> Path:
    """Return the file of a log of that size, made if it is not there."""
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / f"log-{members}x{rounds}.db"
    if not file.exists():
        started = time.perf_counter()
        _big_log.make(file, members=members, rounds=rounds)
        seconds = time.perf_counter() - started
        print(f"made {members} x {rounds} jobs in {seconds:.0f} s: {file}", file=sys.stderr)
    return file


@dataclass(frozen=True)
class Row:
    """A line of the table; None where it could not be done."""

    name: str
    goal_s: float
    seconds: float | None = None
    cpu_s: float | None = None
    megabytes: float | None = None
    missing: str = ""


def in_a_process(name: str, task: Task, file: Path) -> Row:
    """Do one task in a fresh process."""
    command = [sys.executable, __file__, "--task", name, str(file)]
    ran = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    return Row(name, task.seconds, **json.loads(ran.stdout))


def line(row: Row) -> str:
    """Return a row as text."""
    if row.seconds is None or row.cpu_s is None or row.megabytes is None:
        return f"{row.name:26} not measured: {row.missing}"
    return (
        f"{row.name:26} {row.seconds:9.3f} {row.goal_s:6g} {row.seconds / row.goal_s:6.2f}"
        f" {row.cpu_s:7.2f} {row.megabytes:7.0f} {MOST_MB:6.0f} {row.megabytes / MOST_MB:6.2f}"
    )


def measured(task: Task, file: str) -> Mapping[str, float | str]:
    """Do a task in this process."""
    study = ev.load_study(_big_log.NAME, store=f"sqlite:///{file}")
    try:
        timed = task.prepare(study)
        started, cpu = time.perf_counter(), time.process_time()
        timed()
    except ImportError as e:
        return {"missing": str(e)}
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    megabytes = peak / (1e6 if sys.platform == "darwin" else 1e3)
    return {"seconds": seconds, "cpu_s": cpu, "megabytes": megabytes}


def reading(study: ev.Study) -> Callable[[], object]:
    return lambda: Log.read(study.store, study.id)


def frame(engine: Engine) -> Callable[[ev.Study], Callable[[], object]]:
    return lambda study: lambda: study.result().jobs(engine=engine)


def metrics(study: ev.Study) -> Callable[[], object]:
    return lambda: study.result().metrics()


def writing(form: str) -> Callable[[ev.Study], Callable[[], object]]:
    def prepare(study: ev.Study) -> Callable[[], object]:
        path = Path(tempfile.mkdtemp()) / f"jobs.{form}"
        return lambda: getattr(study.result(), f"to_{form}")(path)

    return prepare


def best_of(study: ev.Study) -> JobId:
    best = study.status().best
    assert best is not None
    return best


def lineage_from_store(study: ev.Study) -> Callable[[], object]:
    best = best_of(study)
    return lambda: study.store.lineage(study.id, best)


def lineage_in_log(study: ev.Study) -> Callable[[], object]:
    log = Log.read(study.store, study.id)
    row = log.row(best_of(study))
    return lambda: log.lineage(row)


def schedule(study: ev.Study) -> Callable[[], object]:
    return lambda: study.result().best.schedule


def explaining(study: ev.Study) -> Callable[[], object]:
    best = best_of(study)
    return lambda: study.result().explain(best)


def plotting(kind: str) -> Callable[[ev.Study], Callable[[], object]]:
    def prepare(study: ev.Study) -> Callable[[], object]:
        file = Path(tempfile.mkdtemp()) / f"{kind}.png"
        return lambda: study.result().plot(kind, file=file)

    return prepare


TASKS: Mapping[str, Task] = {
    "Log.read": Task(reading),
    "frame, pandas": Task(frame("pandas")),
    "frame, polars": Task(frame("polars")),
    "metrics, pandas": Task(metrics),
    "to_parquet": Task(writing("parquet")),
    "to_csv": Task(writing("csv"), 3 * MOST_S),
    "to_json": Task(writing("json"), 3 * MOST_S),
    "lineage of the best, store": Task(lineage_from_store, LINEAGE_S),
    "lineage of the best, log": Task(lineage_in_log, LINEAGE_S),
    "schedule of the best": Task(schedule, 2 * LINEAGE_S),
    "family tree": Task(lambda study: study.result().family_tree),
    "diversity": Task(lambda study: study.result().diversity),
    "explain the best": Task(explaining),
    **{f"plot {kind}": Task(plotting(kind)) for kind in KINDS if kind != "compare"},
}


if __name__ == "__main__":
    main()
