"""What the service costs: claims and reports through it beside the same store used directly.

    python benchmarks/service.py [--quick] [--seconds 3] [--only pairs|pace|table|idle]

- pairs: so many client processes each claim a job and report it, again and again. `share` is the
  rate through the service divided by that of the same processes on the same kind of file directly;
  both take turns, so that other work on the machine disturbs both alike.
- pace: 8 clients together start 500 pairs a second; how long claims, reports and pairs took.
- table: a page of the jobs of a study of 100,000, through the API and in the dashboard.
- idle: 1,000 workers wait for a job; what the service uses in the meantime.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import multiprocessing
import os
import random
import selectors
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from _big_log import make as make_log
from _table_page import table_pages
from evolvent.core.algorithms import PBT
from evolvent.core.distributions import LogUniform, Uniform
from evolvent.core.space import Space
from evolvent.core.study import Durability, StudyRecord
from evolvent.store.connect import open_store
from evolvent.store.http.connection import Origin
from evolvent.store.protocol import Store
from evolvent.store.records import Report
from evolvent.store.tokens import tokens_of

CLIENTS, QUICK_CLIENTS = (1, 8, 32), (8,)
MEMBERS = 64
HEATS = 3
PACE, PACERS = 500, 8
JOBS = 100_000
WAITERS = 1000
IDLE_S = 30.0
FOREVER = 1_000_000

Turn = Callable[[], tuple[float, float]]
"""One claim and report; returns the seconds that each took."""


def main() -> None:
    """Run the parts and print them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="8 clients only")
    parser.add_argument("--seconds", type=float, default=3.0, help="per rate, and for the pace")
    parser.add_argument("--only", choices=("pairs", "pace", "table", "idle"))
    options = parser.parse_args()
    parts: dict[str, Callable[[], None]] = {
        "pairs": lambda: pairs(QUICK_CLIENTS if options.quick else CLIENTS, options.seconds),
        "pace": lambda: pace(max(options.seconds, 10.0)),
        "table": table,
        "idle": idle,
    }
    for name, part in parts.items():
        if options.only in {None, name}:
            part()


# --- the service as a process ---------------------------------------------------------------------


@contextlib.contextmanager
def served(path: Path) -> Iterator[tuple[str, int]]:
    """Run `evolvent serve` on a file; give its URL and process id. Sets the token for clients."""
    store = open_store(f"sqlite:///{path}")
    os.environ["EVOLVENT_TOKEN"], _ = tokens_of(store).create("admin")
    store.close()
    command = [sys.executable, "-m", "evolvent", "serve", f"sqlite:///{path}", "--port", "0"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    try:
        words = process.stdout.readline().split()
        yield next(word for word in words if word.startswith("http")), process.pid
    finally:
        process.terminate()
        process.wait()


def make_study(url: str, name: str, durability: Durability) -> dict[str, Any]:
    """Make a study and one small checkpoint for all; return what a client needs."""
    store = open_store(url)
    study = store.create_study(
        StudyRecord(
            name=name,
            metric="accuracy",
            mode="max",
            space=Space({"lr": LogUniform(1e-5, 1.0), "momentum": Uniform(0.1, 0.999)}),
            algorithm=PBT(),
            population=MEMBERS,
            rounds=FOREVER,
            durability=durability,
        )
    )
    checkpoints = store.checkpoints(study)
    staged = checkpoints.stage("bench")
    (staged / "weights").write_text("w")
    address = checkpoints.seal(staged)
    store.close()
    return {"url": url, "study": study, "address": address}


def turns(url: str, study: int, address: str, number: int) -> Turn:
    """Return one claim and report of a client with its own connection."""
    store, draw, worker = open_store(url), random.Random(number), f"worker-{number}"

    def turn() -> tuple[float, float]:
        began = time.perf_counter()
        lease = store.claim(study, worker=worker, lease_s=600.0)
        claimed = time.perf_counter()
        assert lease is not None
        score = draw.random()
        store.report(lease, Report(score, {"accuracy": score, "loss": 1 - score}, address))
        return claimed - began, time.perf_counter() - claimed

    return turn


# --- rates ---------------------------------------------------------------------------------------


def pairs(clients: tuple[int, ...], seconds: float) -> None:
    """Print the rates."""
    print("durability  clients  direct/s  served/s   share")
    for durability in ("process", "power"):
        for n_clients in clients:
            direct, through = rates(durability, n_clients, seconds)
            print(
                f"{durability:<10}{n_clients:>9}{direct:>10.0f}{through:>10.0f}"
                f"{through / direct:>8.2f}",
                flush=True,
            )


def rates(durability: Durability, n_clients: int, seconds: float) -> tuple[float, float]:
    """Return the pairs a second, directly and through the service."""
    with tempfile.TemporaryDirectory() as folder, _cache(folder):
        behind = Path(folder) / "served.db"
        direct = make_study(f"sqlite:///{folder}/direct.db", "direct", durability)
        with served(behind) as (url, _):
            through = make_study(url, "served", durability)
            totals = [0, 0]
            for _ in range(HEATS):
                for i, task in enumerate((direct, through)):
                    totals[i] += sum(race(task, n_clients, seconds / HEATS))
    return totals[0] / seconds, totals[1] / seconds


def race(task: dict[str, Any], n_clients: int, seconds: float) -> list[int]:
    """Let client processes take turns for some seconds; return how many each had."""
    return [len(times) for times in crowd(task, n_clients, seconds, interval_s=0.0)]


def crowd(
    task: dict[str, Any], n_clients: int, seconds: float, *, interval_s: float
) -> list[list[tuple[float, float]]]:
    """Run client processes; return what each turn of each took."""
    context = multiprocessing.get_context("spawn")
    start, found = context.Barrier(n_clients), context.Queue()
    crew = [
        context.Process(target=compete, args=(task, start, found, seconds, interval_s, number))
        for number in range(n_clients)
    ]
    for process in crew:
        process.start()
    times = [found.get(timeout=120 + 5 * seconds) for _ in crew]
    for process in crew:
        process.join()
    return times


def compete(
    task: dict[str, Any],
    start: Barrier,
    found: Any,
    seconds: float,
    interval_s: float,
    number: int,
) -> None:
    """Be one of the clients; with an interval, begin a turn that often and no sooner."""
    turn = turns(**task, number=number)
    turn()
    start.wait()
    times = []
    now = time.perf_counter()
    due, end = now + random.Random(number).random() * interval_s, now + seconds
    while now < end:
        if now < due:
            time.sleep(due - now)
        times.append(turn())
        due += interval_s
        now = time.perf_counter()
    found.put(times)


# --- latency at a pace ---------------------------------------------------------------------------


def pace(seconds: float) -> None:
    """Print how long things take when the service is asked at a steady pace."""
    print(f"\n{PACE} pairs a second from {PACERS} clients  (milliseconds)")
    print("durability  pairs/s  claim p50   p99  report p50   p99  pair p50   p99")
    for durability in ("process", "power"):
        with tempfile.TemporaryDirectory() as folder, _cache(folder):  # noqa: SIM117 - one after the other
            with served(Path(folder) / "served.db") as (url, _):
                task = make_study(url, "served", durability)
                crews = crowd(task, PACERS, seconds, interval_s=PACERS / PACE)
        times = [turn for crew in crews for turn in crew]
        claims, reports = [c for c, _ in times], [r for _, r in times]
        figures = [f"{1e3 * x:>8.1f}" for ts in (claims, reports, list(map(sum, times)))
                   for x in (statistics.median(ts), percentile(ts, 0.99))]  # fmt: skip
        print(f"{durability:<10}{len(times) / seconds:>9.0f} {' '.join(figures)}", flush=True)


def percentile(times: list[float], share: float) -> float:
    """Return the time that so large a share did not exceed."""
    return sorted(times)[min(len(times) - 1, int(share * len(times)))]


# --- a long table --------------------------------------------------------------------------------


def table() -> None:
    """Print how long pages of a long log take, the first and again."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "long.db"
        make_log(path, members=100, rounds=JOBS // 100)
        print(f"\na page of {JOBS} jobs  (milliseconds: first, then median of later ones)")
        with served(path) as (url, _):
            for words, query in (("first", ""), ("last", f"?after={JOBS - 100}"),
                                 ("failed only", "?state=failed")):  # fmt: skip
                times = [timed(url, f"/api/v1/studies/1/jobs{query}") for _ in range(11)]
                show(f"API: {words}", 1e3 * times[0], 1e3 * statistics.median(times[1:]))
        store = open_store(f"sqlite:///{path}")
        for words, (first, again) in table_pages(store, 1).items():
            show(f"dashboard: {words}", first, again)
        store.close()


def show(words: str, first: float, again: float) -> None:
    """Print a row of the table of pages."""
    print(f"{words:<46}{first:>8.1f}{again:>8.1f}", flush=True)


def timed(url: str, target: str) -> float:
    """Ask for something over a new connection; return the seconds until all of it is here."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port)
    headers = {"Authorization": f"Bearer {os.environ['EVOLVENT_TOKEN']}", "Accept": "*/*"}
    connection.connect()
    began = time.perf_counter()
    connection.request("GET", target, headers=headers)
    response = connection.getresponse()
    data = response.read()
    took = time.perf_counter() - began
    connection.close()
    if response.status != 200:
        raise SystemExit(f"{target}: {response.status} {data[:200]!r}")
    return took


# --- idle workers --------------------------------------------------------------------------------


def idle() -> None:
    """Print what a thousand waiting workers cost."""
    print(f"\n{WAITERS} idle workers for {IDLE_S:.0f} s")
    print("held for    memory before    with them    share of a core    claims/s")
    for wait_s in (10.0, 60.0):
        with tempfile.TemporaryDirectory() as folder, _cache(folder):  # noqa: SIM117 - one after the other
            with served(Path(folder) / "served.db") as (url, pid):
                task = make_study(url, "served", "process")
                _claim_all(url, task["study"])
                before = memory(pid)
                asked, busy = wait_in_vain(url, task["study"], wait_s, pid)
                after = memory(pid)
        print(
            f"{wait_s:>5.0f} s{before / 1e6:>15.0f} MB{after / 1e6:>10.0f} MB"
            f"{100 * busy / IDLE_S:>15.1f} %{asked / IDLE_S:>13.0f}",
            flush=True,
        )


def _claim_all(url: str, study: int) -> None:
    store: Store = open_store(url)
    while store.claim(study, worker="busy", lease_s=1e6) is not None:
        pass
    store.close()


def wait_in_vain(url: str, study: int, wait_s: float, pid: int) -> tuple[int, float]:
    """Hold `WAITERS` claims open, each asked again when it is answered.

    Returns:
        How often they asked in `IDLE_S`, and the seconds that the service computed meanwhile.
    """
    origin = Origin(url)
    with selectors.DefaultSelector() as selector:
        for number in range(WAITERS):
            connection = socket.create_connection((origin.host, origin.port))
            selector.register(connection, selectors.EVENT_READ, number)
        for key in list(selector.get_map().values()):
            _ask(key.fileobj, key.data, study, wait_s * (0.5 + key.data / WAITERS / 2))
            time.sleep(0.002)
        _answer(selector, study, wait_s, 3.0)
        begun = cpu(pid)
        asked = _answer(selector, study, wait_s, IDLE_S)
        busy = cpu(pid) - begun
        for key in list(selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]  # a socket
    return asked, busy


def _answer(selector: selectors.BaseSelector, study: int, wait_s: float, seconds: float) -> int:
    asked, end = 0, time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        for key, _ in selector.select(left):
            told = key.fileobj.recv(1 << 16)  # type: ignore[union-attr]  # a socket
            if not told.startswith(b"HTTP/1.1 204"):
                raise SystemExit(f"a waiting worker was told {told[:200]!r}")
            _ask(key.fileobj, key.data, study, wait_s)
            asked += 1
    return asked


def _ask(connection: Any, number: int, study: int, wait_s: float) -> None:
    body = (
        f'{{"worker":"idle-{number}","lease_s":30,"wait_s":{wait_s},"key":"{os.urandom(8).hex()}"}}'
    )
    connection.sendall(
        f"POST /api/v1/studies/{study}/claim HTTP/1.1\r\nHost: bench\r\n"
        f"Authorization: Bearer {os.environ['EVOLVENT_TOKEN']}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
    )


def memory(pid: int) -> int:
    """Return the bytes of memory that a process uses."""
    status = Path(f"/proc/{pid}/status").read_text()
    return 1024 * int(next(line for line in status.splitlines() if "VmRSS" in line).split()[1])


def cpu(pid: int) -> float:
    """Return the seconds that a process has computed."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def _cache(folder: str) -> Iterator[None]:
    os.environ["EVOLVENT_CACHE"] = f"{folder}/cache"
    yield


if __name__ == "__main__":
    main()
