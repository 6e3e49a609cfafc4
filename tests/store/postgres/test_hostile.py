"""Odd values, odd places and odd servers between a PostgreSQL store and its server."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from evolvent.core.algorithms import PBT
from evolvent.core.records import JobState
from evolvent.errors import EvolventError, StorageFull, StoreError, StoreUnavailable
from evolvent.store.connect import open_store
from evolvent.store.protocol import Store
from evolvent.store.records import MOST_MESSAGE, Failure, FailureKind, Point, Report
from evolvent.store.sql import advance, claim, population, report, session
from evolvent.store.sql.database import ConnectionLost
from tests.contract.crew import LONG, Crew
from tests.needs import needs
from tests.settings import study_record

psycopg = needs("psycopg")
home = needs("evolvent.store.postgres.setup")
errors = needs("evolvent.store.postgres.errors")

PER_REPORT = {
    "claim": claim.FAST_CLAIM,
    "next undecided": claim._NEXT_UNDECIDED,
    "next queued": claim.QUEUED,
    "next expired": claim.EXPIRED,
    "head": report.HEAD_OF_LEASE,
    "points": report._COUNT_POINTS,
    "append": advance._APPEND,
    "move": advance._WRITE_HEAD,
    "waiting": advance._WAITING,
    "due": advance._DUE_ROUND,
    "newer lines": population._NEWER,
    "needed": session._NEEDED,
}


@pytest.fixture
def store(postgres_url: str) -> Iterator[Store]:
    store = open_store(postgres_url)
    yield store
    store.close()


@pytest.fixture(params=["sqlite", "postgres"])
def either(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    url = f"sqlite:///{tmp_path}/log.db"
    store = open_store(
        url if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    )
    yield store
    store.close()


# --- odd values ----------------------------------------------------------------------------------


def test_zeros_and_odd_bytes_in_texts_are_kept_readable_on_both(either: Store) -> None:
    odd, plain = "a\0b\udcff", "a\\x00b\\udcff"
    crew = Crew(either, study_record(max_failures=0))
    lease = crew.claim(odd)
    assert lease.worker == plain
    crew.fail(lease, Failure(FailureKind.RAISED, odd, odd))
    failed = either.failures(crew.id)[0]
    assert (failed.failure.message, failed.failure.traceback, failed.worker) == (plain,) * 3
    either.claim(crew.id, worker=odd, lease_s=LONG)
    gone = Failure(FailureKind.RETURNED, "gone")
    assert either.release(crew.id, worker=odd, failure=gone) == 1
    either.stop(crew.id, reason=odd)
    assert crew.status().stopped == plain
    name = "na\0me ' \" % :x \\ ; DROP TABLE job; --"
    other = Crew(either, name=name)
    assert either.find_study(name).id == other.id


def test_long_texts_come_back_whole(either: Store) -> None:
    long = "ä€😀" * 30_000
    message = long[:MOST_MESSAGE]
    crew = Crew(either, study_record(max_failures=0))
    lease = crew.claim(long)
    crew.fail(lease, Failure(FailureKind.RAISED, message, long))
    failed = either.failures(crew.id)[0]
    assert (failed.failure.message, failed.failure.traceback) == (message, long)
    assert failed.worker == long


def test_points_may_hold_any_number(either: Store) -> None:
    values = {"nan": math.nan, "up": math.inf, "down": -math.inf, "big": 2**200, "zero": -0.0}
    crew = Crew(either)
    lease = crew.claim()
    either.heartbeat(lease, lease_s=LONG, points=[Point(1, values), Point(2**60, {})])
    crew.report(lease, 0.5)
    found = either.points(crew.id, lease.job.id)
    assert repr(dict(found[0].values)) == repr(values)
    assert [point.step for point in found] == [1.0, 2.0**60]


@pytest.mark.parametrize("number", [2**31, 2**40, 2**63, -1])
def test_numbers_that_no_study_or_job_can_have_are_unknown(store: Store, number: int) -> None:
    for call in (store.status, store.delete_study, store.members):
        with pytest.raises(EvolventError):
            call(number)


def test_a_value_that_the_server_refuses_is_a_store_error_and_changes_nothing(
    store: Store,
) -> None:
    crew = Crew(store)
    lease = crew.claim()
    with pytest.raises(StoreError, match="postgresql://"):
        store.heartbeat(lease, lease_s=LONG, points=[Point(10**400, {})])
    assert store.points(crew.id, lease.job.id) == []
    crew.report(lease, 0.5)


# --- the place of checkpoints --------------------------------------------------------------------


def elsewhere(url: str, place: Path) -> str:
    return f"{url.partition('&checkpoints')[0]}&checkpoints={place}"


def test_a_worker_that_would_look_elsewhere_is_told_where_the_checkpoints_are(
    postgres_url: str, store: Store, tmp_path: Path
) -> None:
    crew = Crew(store)
    crew.train(0.5)
    lost = open_store(elsewhere(postgres_url, tmp_path / "elsewhere"))
    assert len(lost.jobs(crew.id, states=[JobState.DONE])) == 1  # to read it needs none
    told = rf"are in .*:{tmp_path}/checkpoints/.*no directory {tmp_path}/elsewhere/.*checkpoints="
    for use in (
        lambda: lost.checkpoints(crew.id),
        lambda: lost.claim(crew.id, worker="w1", lease_s=1.0),
        lambda: lost.create_study(study_record(name="other")),
    ):
        with pytest.raises(StoreUnavailable, match=told):
            use()
    lost.close()
    assert not (tmp_path / "elsewhere").exists()
    assert [status.record.name for status in store.studies()] == ["digits"]


def test_checkpoints_may_be_moved_as_a_whole(
    postgres_url: str, store: Store, tmp_path: Path
) -> None:
    crew = Crew(store)
    job = crew.train(0.5)
    (tmp_path / "checkpoints").rename(tmp_path / "moved")
    moved = open_store(elsewhere(postgres_url, tmp_path / "moved"))
    moved.checkpoints(crew.id).verify(str(moved.job(crew.id, job).checkpoint))
    moved.close()


def test_stores_that_share_a_directory_keep_apart(
    postgres: str, postgres_url: str, store: Store, tmp_path: Path
) -> None:
    crew = Crew(store)
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("DROP SCHEMA IF EXISTS test_other CASCADE")
    other = open_store(elsewhere(f"{postgres}&schema=test_other", tmp_path / "checkpoints"))
    twin = Crew(other)
    assert twin.id == crew.id
    assert other.checkpoints(twin.id).root != store.checkpoints(crew.id).root
    crew.report(crew.claim(), 0.5, text="same")
    twin.report(twin.claim(), 0.5, text="same")
    other.delete_study(twin.id)
    crew.check_disk()
    other.close()


def test_a_place_that_cannot_be_made_is_named_before_anything_is_written(
    postgres_url: str, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    store = open_store(elsewhere(postgres_url, tmp_path / "file"))
    with pytest.raises(StoreUnavailable, match="cannot be made"):
        store.create_study(study_record())
    assert store.studies() == []
    store.close()


@pytest.mark.parametrize("behind_s", [1000.0, -1000.0])
def test_a_worker_whose_clock_is_wrong_keeps_what_it_is_about_to_report(
    store: Store, behind_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = time.time
    monkeypatch.setattr(time, "time", lambda: right() - behind_s)
    crew = Crew(store, study_record(population=3, rounds=9))
    crew.train(0.1)
    left = crew.save("nobody needs it")
    for _ in range(2):  # by the slow way, as the first of a study, and by one statement
        lease, address = crew.claim(), crew.save()
        staged = store.checkpoints(crew.id).stage("m0r0")
        store.collect(crew.id)
        assert staged.is_dir()
        assert left not in store.checkpoints(crew.id)
        store.report(lease, Report(0.5, {"accuracy": 0.5}, address))


# --- odd servers ---------------------------------------------------------------------------------


def test_a_statement_that_the_server_undoes_is_made_again(store: Store) -> None:
    crew = Crew(store, population=1)
    crew.train(0.5)
    tries: list[int] = []

    class Unlucky:
        def decide(self, *args: object, **options: object) -> object:
            tries.append(len(tries))
            if len(tries) == 1:
                raise psycopg.errors.DeadlockDetected("deadlock detected")
            return PBT().decide(*args, **options)  # type: ignore[arg-type]  # passed on

    store.use_algorithm(crew.id, Unlucky())  # type: ignore[arg-type]  # all that is asked of it
    assert crew.claim().attempt == 1
    assert tries == [0, 1]


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        ("DiskFull", StorageFull, "the disk is full"),
        ("ReadOnlySqlTransaction", StoreUnavailable, "name the primary"),
        ("UndefinedTable", StoreUnavailable, "was removed"),
        ("DataCorrupted", StoreError, "restore a backup"),
        ("LockNotAvailable", StoreError, "locked for too long"),
        ("SyntaxError", StoreError, "words"),
    ],
)
def test_what_the_server_says_is_told_with_what_to_do(
    error: str, kind: type[StoreError], words: str
) -> None:
    told = errors.translate_error(getattr(psycopg.errors, error)("words\nof it"), "postgresql://db")
    assert isinstance(told, kind)
    assert not isinstance(told, ConnectionLost)
    assert str(told).startswith("postgresql://db: ")
    assert words in str(told)


def test_tables_that_are_gone_are_told(postgres: str, store: Store, postgres_url: str) -> None:
    crew = Crew(store)
    name = postgres_url.partition("schema=")[2].partition("&")[0]
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"DROP SCHEMA {name} CASCADE")
    with pytest.raises(StoreUnavailable, match="its tables are gone"):
        crew.status()


class Bound(dict[str, Any]):
    """Binds every parameter of a statement."""

    def __missing__(self, name: str) -> Any:
        return {"worker": "w", "state": "done", "address": "a", "checkpoint": "a"}.get(name, 1)


@pytest.mark.parametrize("statement", PER_REPORT.values(), ids=PER_REPORT.keys())
def test_every_statement_of_a_claim_or_report_has_its_index(store: Store, statement: str) -> None:
    with store._session.database.write(synced=False) as tx:  # type: ignore[attr-defined]  # looks inside
        tx.execute("SET LOCAL enable_seqscan = off")
        plan = [row[0] for row in tx.execute(f"EXPLAIN {statement}", Bound())]
    assert [line for line in plan if "Seq Scan" in line] == []
