"""Many processes and threads on one SQLite file; commits that fail."""

import gc
import logging.handlers
import os
import queue
import sqlite3
import stat
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from evolvent.core.algorithms import PBT
from evolvent.core.exploit import CopyBest
from evolvent.core.explore import NoExplore
from evolvent.core.records import JobState
from evolvent.errors import CheckpointError, LeaseLost, StoreBusy, StoreError, StoreUnavailable
from evolvent.store.connect import open_store
from evolvent.store.protocol import Store
from evolvent.store.records import Report
from evolvent.store.sqlite import connections as sqlite_connections
from evolvent.store.sqlite.connections import Connections
from evolvent.store.sqlite.database import SqliteDatabase
from tests.contract.crew import Crew
from tests.settings import study_record, there_are
from tests.store.crowd import SPAWN, open_and_close, share_by_processes, share_by_threads


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    store = open_store(f"sqlite:///{path}")
    yield store
    store.close()


# --- many at once --------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("durability", ["process", "power"])
def test_32_processes_share_one_file_and_every_job_counts_once(
    store: Store, durability: str
) -> None:
    record = study_record(population=64, rounds=40, algorithm=PBT(), durability=durability)
    crew = Crew(store, record)
    done = share_by_processes(store, crew.id, crew.save(), 32)
    jobs = store.jobs(crew.id, states=[JobState.DONE])
    assert {job.id for job in jobs} == {f"m{m}r{r}" for m in range(64) for r in range(40)}
    assert len(jobs) == 64 * 40
    assert done == Counter(job.worker for job in jobs)
    assert min(done.values()) > 0


def test_processes_that_make_the_same_file_at_once_all_open_it(path: Path) -> None:
    start, results = SPAWN.Barrier(4), SPAWN.Queue()
    url = f"sqlite:///{path}"
    processes = [SPAWN.Process(target=open_and_close, args=(url, start, results)) for _ in range(4)]
    for process in processes:
        process.start()
    said = [results.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    assert said == ["opened"] * 4


def test_threads_share_one_store(store: Store) -> None:
    crew = Crew(store, study_record(population=8, rounds=10, algorithm=PBT()))
    share_by_threads(store, crew.id, crew.save(), 4)
    assert there_are(crew.status()) == {JobState.DONE: 80}


def test_another_program_that_keeps_the_file_locked_is_told_apart(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_connections, "_WAITS_S", 0.01)
    store = open_store(f"sqlite:///{path}")
    crew = Crew(store)
    foreign = sqlite3.connect(path, isolation_level=None)
    foreign.execute("BEGIN IMMEDIATE")
    for use in (crew.claim, lambda: store.stop(crew.id, reason="by hand")):
        with pytest.raises(StoreBusy, match=r"log\.db stayed locked by another program"):
            use()
    foreign.execute("ROLLBACK")
    foreign.close()
    crew.train(0.5)
    store.close()


@pytest.mark.parametrize("use", ["claim", "stop", "open"])
def test_what_another_program_keeps_locked_is_said_and_waited_for(
    use: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crew = Crew(open_store(f"sqlite:///{path}"))
    foreign = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    foreign.execute("BEGIN IMMEDIATE")
    do: dict[str, Callable[[], object]] = {
        "claim": crew.claim,
        "stop": lambda: crew.store.stop(crew.id, reason="by hand"),
        "open": lambda: open_store(f"sqlite:///{path}").close(),
    }
    assert said_while_waiting(do[use], foreign, monkeypatch) == (
        f"{path} is locked by another program, such as a database browser: waiting for it for up to"
        " 30 s more"
    )
    crew.store.close()


def test_readers_say_that_another_program_has_the_file_to_itself_and_wait_for_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(f"sqlite:///{path}")
    Crew(store)
    store.close()
    foreign = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    foreign.execute("PRAGMA locking_mode = EXCLUSIVE")
    foreign.execute("BEGIN EXCLUSIVE")
    reading = Connections(path, url=f"sqlite:///{path}")

    def read() -> None:
        connection = reading.reader()
        assert connection.execute("SELECT count(*) FROM study").fetchone() == (1,)
        reading.give_back(connection)

    message = said_while_waiting(read, foreign, monkeypatch)
    assert message.startswith(f"{path} is locked by another program, such as a database browser:")
    reading.close()


def said_while_waiting(
    do: Callable[[], object], foreign: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> str:
    """Do it while a connection has the file locked, which lets go once that is told in a line."""
    said = logging.handlers.QueueHandler(queue.Queue())
    monkeypatch.setattr(sqlite_connections, "SAYS_AFTER_S", 0.01)
    monkeypatch.setattr(sqlite_connections._logger, "handlers", [said])
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(do)
        message = said.queue.get(timeout=30).getMessage()
        assert not waiting.done()
        foreign.execute("ROLLBACK")
        foreign.close()
        waiting.result(timeout=30)
    assert said.queue.empty()
    return str(message)


@pytest.mark.parametrize(("umask", "mode"), [(0o002, 0o664), (0o077, 0o600)])
def test_who_may_write_is_for_the_umask_to_say(path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        store = open_store(f"sqlite:///{path}")
        Crew(store).train(0.5)
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
        store.close()
    finally:
        os.umask(before)
    directory = 0o777 & ~umask
    names = ["log.db", "log.db-shm", "log.db-wal", "log.db.lock"]
    assert modes == {**dict.fromkeys(names, mode), "log.checkpoints": directory}
    made = [place for place in path.parent.glob("log.checkpoints/*/*") if place.is_dir()]
    assert {stat.S_IMODE(place.stat().st_mode) for place in made} == {directory}


# --- commits that fail ---------------------------------------------------------------------------


def test_a_full_disk_is_a_clear_error_and_the_log_goes_on_afterwards(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(f"sqlite:///{path}")
    crew = Crew(store, study_record(population=4, rounds=2000, algorithm=PBT()))
    first = crew.train(0.1)
    address = crew.save()
    with monkeypatch.context() as full:
        full.setattr(sqlite3, "connect", with_little_room)
        crowded = open_store(f"sqlite:///{path}")
        with pytest.raises(StoreUnavailable, match=r"log\.db: the disk is full"):
            fill(crowded, crew.id, address)
        crowded.close()
    done = [job.id for job in store.jobs(crew.id, states=[JobState.DONE])]
    assert done[0] == first
    lease = store.claim(crew.id, worker="w0", lease_s=3600.0)
    assert lease is not None
    store.report(lease, Report(0.5, {"accuracy": 0.5}, address))
    assert len(store.jobs(crew.id, states=[JobState.DONE])) == len(done) + 1
    store.close()


def with_little_room(*args: Any, **options: Any) -> sqlite3.Connection:
    """Connect to a database that may have 40 pages and no more, as on a disk that is full then."""
    connection: sqlite3.Connection = CONNECT(*args, **options)
    connection.execute("PRAGMA max_page_count = 40")
    return connection


CONNECT = sqlite3.connect


def fill(store: Store, study: int, address: str) -> None:
    while (lease := store.claim(study, worker="w0", lease_s=3600.0)) is not None:
        store.report(lease, Report(0.5, {"accuracy": 0.5}, address))


def test_a_rule_that_fails_leaves_log_and_population_as_they_were(store: Store) -> None:
    crew = Crew(store, study_record(population=2, rounds=5, algorithm=PBT()))
    crew.train(0.1, member=0)
    crew.train(0.2, member=1)
    store.use_algorithm(crew.id, Broken())  # type: ignore[arg-type]  # breaks its promise
    with pytest.raises(ZeroDivisionError):
        crew.claim()
    store.use_algorithm(crew.id, PBT())
    lease = crew.claim()
    assert lease.job.reason.startswith("score 0.1 ranks 2 of 2: copied member 1 (0.2, rank 1)")
    crew.report(lease, 0.3)
    crew.run()
    assert there_are(crew.status()) == {JobState.DONE: 10}


def test_a_claim_that_a_crash_has_undone_and_that_was_decided_anew_is_another(
    store: Store,
) -> None:
    algorithm = PBT(CopyBest(), NoExplore())
    crew = Crew(store, study_record(population=2, rounds=5, algorithm=algorithm))
    crew.train(0.1, member=0)
    crew.train(0.5, member=1)
    first = crew.claim_of(0)
    undo = (
        "UPDATE member SET state = 'queued', attempt = 0, worker = NULL, lease_until = NULL,"
        " cause = 'undecided', parent_member = 0, checkpoint = own_checkpoint,"
        " own_checkpoint = NULL WHERE member = 0"
    )
    with store._session.database.write(synced=False) as tx:  # type: ignore[attr-defined]  # a crash
        tx.execute(undo)
    crew.fail(crew.claim_of(1))  # so that it cannot be copied
    again = crew.claim_of(0)
    assert (first.job.parent, again.job.parent) == ("m1r0", "m0r0")
    assert (first.attempt, first.worker) == (again.attempt, again.worker)
    with pytest.raises(LeaseLost):
        store.report(first, Report(0.9, {"accuracy": 0.9}, crew.save()))
    crew.report(again, 0.2)


class Broken:
    def decide(self, *args: object, **options: object) -> object:
        raise ZeroDivisionError


def test_a_checkpoint_that_cannot_be_removed_is_left_to_collect(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    crew = Crew(store, study_record(population=1, rounds=3))
    crew.train(0.1)
    checkpoints = store.checkpoints(crew.id)
    with monkeypatch.context() as broken:
        broken.setattr(checkpoints, "discard", lambda _: refuse())
        lease = crew.claim()
        store.report(lease, Report(0.2, {"accuracy": 0.2}, crew.save()))
    assert "could not be removed: read-only" in caplog.text
    assert store.collect(crew.id) > 0
    crew.train(0.3)


def refuse() -> None:
    raise CheckpointError("read-only")


def test_a_log_that_cannot_be_synced_is_not_acknowledged_and_may_be_repeated(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    crew = Crew(store, study_record(durability="power"))
    lease, report = crew.claim(), Report(0.5, {"accuracy": 0.5}, crew.save())
    with monkeypatch.context() as broken:
        broken.setattr(sqlite_connections, "_sync", no_disk)
        with pytest.raises(StoreUnavailable, match=r"log\.db: .*Input/output error"):
            store.report(lease, report)
    store.report(lease, report)
    assert crew.status().counts[JobState.DONE] == 1


def no_disk(_: int) -> None:
    raise OSError(5, "Input/output error")


@pytest.mark.parametrize(("durability", "syncs"), [("power", 1), ("process", 0)])
def test_power_syncs_once_a_report_and_process_never(
    store: Store, durability: str, syncs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    crew = Crew(store, study_record(durability=durability))
    lease, report = crew.claim(), Report(0.5, {"accuracy": 0.5}, crew.save())
    synced: list[int] = []
    monkeypatch.setattr(sqlite_connections, "_sync", synced.append)
    store.report(lease, report)
    assert len(synced) == syncs


def test_a_commit_that_fails_is_explained_and_leaves_the_file_usable(path: Path) -> None:
    database = SqliteDatabase(path)
    with pytest.raises(StoreError, match=r"log\.db: cannot commit"):  # noqa: SIM117 - one at a time
        with database.write(synced=True) as tx:
            tx.execute("ROLLBACK")
    with database.write(synced=True) as tx:
        tx.execute("DELETE FROM study")
    database.close()


# --- opening and closing -------------------------------------------------------------------------


def test_a_closed_store_says_so(path: Path) -> None:
    store = open_store(f"sqlite:///{path}")
    crew = Crew(store)
    crew.train(0.5)
    store.close()
    store.close()
    for use in (crew.claim, crew.status, lambda: store.stop(crew.id, reason="by hand")):
        with pytest.raises(StoreUnavailable, match=r"log\.db: the store has been closed"):
            use()


def test_a_store_that_nobody_holds_closes_itself(path: Path) -> None:
    open_store(f"sqlite:///{path}")
    assert sorted(file.name for file in path.parent.iterdir()) == ["log.db", "log.db.lock"]


def test_a_store_that_is_collected_within_a_transaction_waits_for_its_turn(path: Path) -> None:
    store = open_store(f"sqlite:///{path}")
    forgotten: list[Any] = [open_store(store.url)]
    forgotten.append(forgotten)  # only the garbage collector finds out that nobody holds it
    database = SqliteDatabase(path)
    with database.write(synced=False):
        forgotten.clear()
        gc.collect()
        assert len(sqlite_connections._RETIRED) == 1
    open_store(store.url)
    assert not sqlite_connections._RETIRED
    database.close()


def test_a_lock_that_cannot_be_made_is_a_clear_error(path: Path) -> None:
    path.with_name("log.db.lock").mkdir()
    with pytest.raises(StoreUnavailable, match=r"log\.db: Is a directory"):
        open_store(f"sqlite:///{path}")


def test_a_lock_that_goes_missing_is_a_clear_error(path: Path) -> None:
    database = SqliteDatabase(path)
    database.connections.lock.release()
    path.with_name("log.db.lock").unlink()
    path.with_name("log.db.lock").mkdir()
    with pytest.raises(StoreUnavailable, match="Is a directory"), database.write(synced=False):
        pytest.fail("no transaction without the lock")
    with pytest.raises(StoreUnavailable, match="Is a directory"), database.exclusive():
        pytest.fail("nobody is alone without the lock")
    path.with_name("log.db.lock").rmdir()
    database.close()


def test_an_error_of_sqlite_within_a_context_is_explained(path: Path) -> None:
    database = SqliteDatabase(path)
    error = sqlite3.OperationalError("attempt to write a readonly database")
    error.sqlite_errorcode = sqlite3.SQLITE_READONLY
    for context in (database.read, database.exclusive, lambda: database.write(synced=False)):
        with pytest.raises(StoreUnavailable, match="read-only"), context():
            raise error
    database.close()


def test_a_sqlite_that_lacks_what_we_use_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))
    with pytest.raises(StoreUnavailable, match="too old"):
        open_store(f"sqlite:///{path}")


@pytest.mark.parametrize(("version", "noted"), [((3, 51, 2), True), ((3, 51, 3), False)])
def test_a_new_file_under_a_sqlite_with_the_known_fault_says_so(
    path: Path,
    version: tuple[int, int, int],
    noted: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", version)
    caplog.set_level("INFO", logger="evolvent")
    open_store(f"sqlite:///{path}").close()
    assert ("rare fault" in caplog.text) is noted
    caplog.clear()
    open_store(f"sqlite:///{path}").close()
    assert caplog.text == ""
