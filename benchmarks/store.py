"""How many jobs a second a SQL store hands out and takes back, beside a bare loop on the database.

    python benchmarks/store.py [--quick] [--seconds 2] [--json]
    python benchmarks/store.py --postgres                     # a PostgreSQL server of its own
    python benchmarks/store.py --url postgresql://me@host/db  # one that runs already

Each row is one run of both: so many processes claim a job and report it, again and again, on one
file or server. The bare loop is what one would write by hand for this purpose alone: the same two
transactions with the same values, the same lock around them, and no algorithm, population, best,
leases that expire, history or cleaning up. `share` is ours divided by the bare loop; `slowest` is
the share that the least lucky worker had of its even part.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any, NamedTuple

from evolvent.core.algorithms import PBT
from evolvent.core.distributions import LogUniform, Uniform
from evolvent.core.space import Space
from evolvent.core.study import Durability, StudyRecord
from evolvent.store.connect import open_store
from evolvent.store.locks import Lock
from evolvent.store.records import Report

PROCESSES = (1, 2, 8, 32)
MEMBERS = (8, 64, 512, 4096)
QUICK = ((8, 64), (8, 4096), (32, 64))
HEATS = 3
FOREVER = 1_000_000

HEADING = "durability processes  members   bare/s   ours/s   share  slowest"

Turn = Callable[[int], None]


class Bench(NamedTuple):
    """A database: how the bare loop is made and run there, and where our store is."""

    make_bare: Callable[[str, Durability, int], dict[str, Any]]
    bare_turns: Callable[..., Turn]
    url: Callable[[str], str]


@dataclass(frozen=True)
class Run:
    """One row of the table; rates in claims with reports per second."""

    durability: Durability
    processes: int
    members: int
    bare: float
    ours: float
    share: float
    slowest: float


def main() -> None:
    """Run the table and print it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="only the sizes that have a goal")
    parser.add_argument("--seconds", type=float, default=3.0, help="per loop and row")
    parser.add_argument("--json", action="store_true", help="one JSON object per row")
    parser.add_argument("--postgres", action="store_true", help="on a PostgreSQL server of its own")
    parser.add_argument("--url", help="on this PostgreSQL server, in schemas of its own")
    options = parser.parse_args()
    sizes = QUICK if options.quick else [(p, m) for p in PROCESSES for m in MEMBERS]
    if not options.json:
        print(HEADING)
    with place(options.url, own=options.postgres) as bench:
        for durability in ("process", "power"):
            for processes, members in sizes:
                row = measure(bench, durability, processes, members, seconds=options.seconds)
                print(json.dumps(asdict(row)) if options.json else line(row), flush=True)


@contextmanager
def place(url: str | None, *, own: bool) -> Iterator[Bench]:
    """Give what is run: on files, on the server of a URL, or on a server that is made for it."""
    if url is None and not own:
        yield Bench(make_bare, bare_turns, lambda folder: f"sqlite:///{folder}/ours.db")
        return
    from _store_postgres import bench, throw_away  # noqa: PLC0415 - needs psycopg

    with ExitStack() as stack:
        yield Bench(*bench(url or stack.enter_context(throw_away())))


def line(row: Run) -> str:
    """Return a row as text."""
    return (
        f"{row.durability:<11}{row.processes:>9}{row.members:>9}{row.bare:>9.0f}{row.ours:>9.0f}"
        f"{row.share:>8.2f}{row.slowest:>9.2f}"
    )


def measure(
    bench: Bench, durability: Durability, processes: int, members: int, *, seconds: float
) -> Run:
    """Run both loops one after the other on fresh files or tables."""
    with tempfile.TemporaryDirectory() as folder:
        bare_file = bench.make_bare(folder, durability, members)
        our_file = make_ours(bench.url(folder), durability, members)
        bare, ours = [0] * processes, [0] * processes
        for _ in range(HEATS):  # in turns, so that other work on the machine disturbs both alike
            heat = race(bench.bare_turns, bare_file, processes, seconds / HEATS)
            bare = [a + b for a, b in zip(bare, heat, strict=True)]
            heat = race(our_turns, our_file, processes, seconds / HEATS)
            ours = [a + b for a, b in zip(ours, heat, strict=True)]
    return Run(
        durability,
        processes,
        members,
        bare=sum(bare) / seconds,
        ours=sum(ours) / seconds,
        share=sum(ours) / sum(bare),
        slowest=min(ours) * processes / sum(ours),
    )


def race(
    turns: Callable[..., Turn], task: dict[str, Any], processes: int, seconds: float
) -> list[int]:
    """Let processes take turns for some seconds; return how many each of them had."""
    context = multiprocessing.get_context("spawn")
    start, counts = context.Barrier(processes), context.Queue()
    crew = [
        context.Process(target=compete, args=(turns, task, start, counts, seconds, number))
        for number in range(processes)
    ]
    for process in crew:
        process.start()
    found = dict(counts.get(timeout=120 + 5 * seconds) for _ in crew)
    for process in crew:
        process.join()
    return [found[number] for number in range(processes)]


def compete(
    turns: Callable[..., Turn],
    task: dict[str, Any],
    start: Barrier,
    counts: Any,
    seconds: float,
    number: int,
) -> None:
    """Be one of the processes."""
    turn = turns(**task, number=number)
    turn(0)
    start.wait()
    count, end = 0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        turn(count)
        count += 1
    counts.put((number, count))


# --- the bare loop -------------------------------------------------------------------------------


def make_bare(folder: str, durability: Durability, members: int) -> dict[str, Any]:
    """Make the file of the bare loop."""
    path = str(Path(folder) / "bare.db")
    connection = sqlite3.connect(path, isolation_level=None)
    connection.executescript(BARE_TABLES)
    values = json.dumps({"lr": 0.012345678901234567, "momentum": 0.912345678901234})
    connection.executemany(
        "INSERT INTO member (member, round, state, attempt, hyperparameters, reason)"
        " VALUES (?, 0, 'queued', 0, ?, 'drawn from the space')",
        [(number, values) for number in range(members)],
    )
    connection.close()
    return {"path": path, "durability": durability}


BARE_TABLES = """
PRAGMA journal_mode = WAL;
CREATE TABLE member (
    member INTEGER PRIMARY KEY, round INTEGER, state TEXT, attempt INTEGER, worker TEXT,
    started_at REAL, lease_until REAL, hyperparameters TEXT, parent TEXT, checkpoint TEXT,
    reason TEXT);
CREATE INDEX free ON member (state, round, member);
CREATE TABLE job (
    seq INTEGER PRIMARY KEY, member INTEGER, round INTEGER, attempt INTEGER, worker TEXT,
    score REAL, metrics TEXT, hyperparameters TEXT, parent TEXT, parent_checkpoint TEXT,
    checkpoint TEXT, reason TEXT, started_at REAL, finished_at REAL);
CREATE UNIQUE INDEX of_member ON job (member, round);
"""
BARE_CLAIM = """
UPDATE member
SET state = 'running', attempt = attempt + 1, worker = ?, started_at = ?, lease_until = ?
WHERE member = (
    SELECT member FROM member WHERE state = 'queued' ORDER BY round, member LIMIT 1)
RETURNING member, round, attempt, hyperparameters, parent, checkpoint, reason, started_at
"""
BARE_MOVE = """
UPDATE member
SET state = 'queued', round = round + 1, attempt = 0, worker = NULL, lease_until = NULL,
    started_at = NULL, hyperparameters = ?, parent = ?, checkpoint = ?, reason = ?
WHERE member = ? AND round = ? AND attempt = ?
"""
BARE_APPEND = """
INSERT INTO job (member, round, attempt, worker, score, metrics, hyperparameters, parent,
                 parent_checkpoint, checkpoint, reason, started_at, finished_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""


def bare_turns(path: str, durability: Durability, number: int) -> Turn:
    """Return one claim and report of the bare loop."""
    connection = sqlite3.connect(path, isolation_level=None, timeout=60)
    connection.execute(f"PRAGMA synchronous = {'FULL' if durability == 'power' else 'NORMAL'}")
    lock = Lock(Path(path + ".lock"))
    draw = random.Random(number)
    execute, worker, address = connection.execute, f"worker-{number}", "0" * 64

    def turn(_: int) -> None:
        lock.acquire()
        execute("BEGIN IMMEDIATE")
        now = time.time()
        (claimed,) = execute(BARE_CLAIM, (worker, now, now + 30)).fetchall()
        execute("COMMIT")
        lock.unlock()
        member, round_, attempt, text, parent, parent_checkpoint, reason, started_at = claimed
        values, score = json.loads(text), draw.random()
        metrics = json.dumps({"accuracy": score, "loss": 1 - score})
        log = (text, parent, parent_checkpoint, address, reason, started_at)
        head = (json.dumps(values), f"m{member}r{round_}", address, "goes on with its own weights")
        lock.acquire()
        execute("BEGIN IMMEDIATE")
        moved = execute(BARE_MOVE, (*head, member, round_, attempt)).rowcount
        assert moved == 1
        execute(BARE_APPEND, (member, round_, attempt, worker, score, metrics, *log, time.time()))
        execute("COMMIT")
        lock.unlock()

    return turn


# --- the store -----------------------------------------------------------------------------------


def make_ours(url: str, durability: Durability, members: int) -> dict[str, Any]:
    """Make a store with a study and one small checkpoint for all."""
    store = open_store(url)
    study = store.create_study(
        StudyRecord(
            name="bench",
            metric="accuracy",
            mode="max",
            space=Space.of({"lr": LogUniform(1e-5, 1.0), "momentum": Uniform(0.1, 0.999)}),
            algorithm=PBT(),
            population=members,
            rounds=FOREVER,
            durability=durability,
        )
    )
    checkpoints = store.checkpoints(study)
    staged = checkpoints.stage("bench")
    (staged / "weights").write_bytes(b"weights")
    address = checkpoints.seal(staged)
    store.close()
    return {"url": url, "study": study, "address": address}


def our_turns(url: str, study: int, address: str, number: int) -> Turn:
    """Return one claim and report of the store."""
    store = open_store(url)
    draw = random.Random(number)
    worker = f"worker-{number}"
    last: int | None = None

    def turn(_: int) -> None:
        nonlocal last
        lease = store.claim(study, worker=worker, lease_s=30, prefer=last)
        assert lease is not None
        last = lease.job.member
        score = draw.random()
        store.report(lease, Report(score, {"accuracy": score, "loss": 1 - score}, address))

    return turn


if __name__ == "__main__":
    main()
