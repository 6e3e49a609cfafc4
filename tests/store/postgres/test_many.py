"""Many processes and threads on one PostgreSQL store: stopped and killed ones too."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import evolvent as ev
from evolvent.core.algorithms import PBT
from evolvent.core.records import JobState
from evolvent.errors import LeaseLost, StoreBusy, StoreUnavailable
from evolvent.store.connect import open_store
from evolvent.store.protocol import Store
from evolvent.store.records import Report
from evolvent.store.sql import claim, control
from evolvent.store.sql.database import ConnectionLost
from evolvent.store.sql.rows import head_and_study
from tests.contract.crew import Crew
from tests.needs import needs
from tests.settings import study_record, there_are
from tests.store.crowd import hill, hold, share_by_processes, share_by_threads

psycopg = needs("psycopg")
postgres_pool = needs("evolvent.store.postgres.pool")
postgres = needs("evolvent.store.postgres.database")

SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture
def store(postgres_url: str) -> Iterator[Store]:
    store = open_store(postgres_url)
    yield store
    store.close()


# --- many at once --------------------------------------------------------------------------------


@pytest.mark.slow
def test_32_processes_share_one_study_and_every_job_counts_once(store: Store) -> None:
    crew = Crew(store, study_record(population=64, rounds=20, algorithm=PBT()))
    done = share_by_processes(store, crew.id, crew.save(), 32)
    jobs = store.jobs(crew.id, states=[JobState.DONE])
    assert sorted(job.id for job in jobs) == sorted(
        f"m{m}r{r}" for m in range(64) for r in range(20)
    )
    assert done == Counter(job.worker for job in jobs)
    assert min(done.values()) > 0


def test_threads_share_one_store(store: Store) -> None:
    crew = Crew(store, study_record(population=8, rounds=10, algorithm=PBT()))
    share_by_threads(store, crew.id, crew.save(), 20)
    assert there_are(crew.status()) == {JobState.DONE: 80}


def test_more_threads_than_connections_are_told_when_all_stay_in_use(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_pool, "_WAIT_S", 0.05)
    monkeypatch.setattr(postgres_pool, "_TRIES", 2)
    pool = store._session.database.pool  # type: ignore[attr-defined]  # looks inside
    taken = [pool.take() for _ in range(16)]
    with pytest.raises(StoreBusy, match="16 threads"):
        store.studies()
    for connection in taken:
        pool.give(connection)
    assert store.studies() == []


def test_a_claim_that_looks_around_does_not_take_what_another_has_just_taken(
    store: Store, postgres_url: str
) -> None:
    crew = Crew(store, study_record(population=3, rounds=2))
    crew.train(0.1)
    other = open_store(postgres_url)
    request = claim.ClaimRequest(crew.id, "w0", 3600.0, None, None)
    with store._session.work(crew.id, synced=False) as work:  # type: ignore[attr-defined]  # looks inside
        head, _ = head_and_study(claim._first_claimable(work, request))
        theirs = other.claim(crew.id, worker="w1", lease_s=3600.0)
        assert theirs is not None
        assert theirs.job.member == head.member
        values = {**request.values(), "now": work.now()}
        assert claim._hand_out(work, values, head) is None
        ours = claim.claim_in_transaction(work, request)
        assert ours is not None
        assert ours.member == head.member + 1
    assert store.job(crew.id, theirs.job.id).worker == "w1"
    other.close()


def test_a_claim_steps_over_a_job_that_another_is_taking(store: Store, postgres_url: str) -> None:
    crew = Crew(store, study_record(population=3, rounds=2))
    crew.train(0.1)
    other = open_store(postgres_url)
    lock = "SELECT id FROM member WHERE study = :study AND member = 1 FOR UPDATE"
    with store._session.database.write(synced=False) as tx:  # type: ignore[attr-defined]  # looks inside
        tx.execute(lock, {"study": crew.id})
        lease = other.claim(crew.id, worker="w1", lease_s=3600.0)
        assert lease is not None
        assert lease.job.id == "m2r0"
    other.close()


def test_nobody_claims_while_leftovers_are_removed(store: Store, postgres_url: str) -> None:
    """Else what a job stages just then would look as old as what nobody needs."""
    crew = Crew(store, study_record(population=2, rounds=2))
    crew.train(0.1)
    other, given = open_store(postgres_url), []
    claiming = threading.Thread(
        target=lambda: given.append(other.claim(crew.id, worker="w1", lease_s=3600.0))
    )
    with store._session.database.exclusive(crew.id) as tx:  # type: ignore[attr-defined]  # looks inside
        control.needed_checkpoints(tx, crew.id)
        claiming.start()
        claiming.join(0.3)
        assert given == []
    claiming.join()
    assert given[0].job.id == "m1r0"
    other.close()


@pytest.mark.slow
def test_the_same_synchronous_study_has_the_same_log_on_every_store(
    postgres_url: str, tmp_path: Path
) -> None:
    logs = []
    for url, workers in [(f"sqlite:///{tmp_path}/log.db", 0), (postgres_url, 2)]:
        study = ev.create_study(
            "hill",
            metric="height",
            mode="max",
            space={"x": ev.Uniform(0.1, 1.0), "y": ev.LogUniform(1e-3, 1.0)},
            population=6,
            rounds=4,
            seed=3,
            algorithm=ev.PBT(ev.Truncation(0.34)),
            synchronous=True,
            store=url,
        )
        study.run(hill, workers=workers, progress=False)
        logs.append(
            sorted(
                (j.member, j.round, j.parent, j.score, tuple(j.hyperparameters.items()), j.reason)
                for j in study.jobs(state="done")
            )
        )
        study.store.close()
    assert logs[0] == logs[1]
    assert len(logs[0]) == 24


# --- workers that stop ---------------------------------------------------------------------------


def test_a_worker_that_was_stopped_comes_too_late(store: Store) -> None:
    crew = Crew(store, study_record(population=1, rounds=3))
    told = SPAWN.Queue()
    process = SPAWN.Process(target=hold, args=(store.url, crew.id, told))
    process.start()
    assert told.get(timeout=60) == "claimed m0r0"
    os.kill(process.pid, signal.SIGSTOP)
    while (lease := store.claim(crew.id, worker="w1", lease_s=3600.0)) is None:
        time.sleep(0.01)  # until its lease is over
    assert (lease.job.id, lease.attempt) == ("m0r0", 2)
    os.kill(process.pid, signal.SIGCONT)
    assert told.get(timeout=60) == "LeaseLost"
    process.join()
    crew.report(lease, 0.5)
    assert store.job(crew.id, lease.job.id).worker == "w1"


def test_one_who_stops_in_the_middle_of_a_change_holds_the_others_up_for_a_while_only(
    postgres_url: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    crew = Crew(store)
    write = postgres.PostgresDatabase.write.__wrapped__  # type: ignore[attr-defined]  # its defaults
    monkeypatch.setitem(write.__kwdefaults__, "max_idle_s", 0.3)
    stopped = open_store(postgres_url)
    session = stopped._session  # type: ignore[attr-defined]  # looks inside
    with pytest.raises(ConnectionLost), session.work(crew.id) as changing:  # noqa: PT012 - in between
        changing.execute("UPDATE study SET epoch = epoch + 1")
        # In another thread: one that waited for itself would be refused.
        with ThreadPoolExecutor(1) as other:
            other.submit(crew.train, 0.5).result()
    assert crew.status().counts[JobState.DONE] == 1
    stopped.close()


def test_a_claim_that_a_crash_has_undone_does_not_count_for_two_workers(store: Store) -> None:
    """After it both have the first attempt: which of them reports is told by the name."""
    crew = Crew(store, study_record(population=1, rounds=2))
    first = crew.claim("w0")
    undo = "UPDATE member SET state = 'queued', attempt = 0, worker = NULL, lease_until = NULL"
    with store._session.database.write(synced=False) as tx:  # type: ignore[attr-defined]  # a crash
        tx.execute(undo)
    second = crew.claim("w1")
    assert second.attempt == first.attempt
    report = Report(0.9, {"accuracy": 0.9}, crew.save())
    for late in (
        lambda: store.report(first, report),
        lambda: store.heartbeat(first, lease_s=60.0),
    ):
        with pytest.raises(LeaseLost):
            late()
    crew.report(second, 0.1)
    with pytest.raises(LeaseLost):
        store.report(first, report)


def test_a_store_that_nobody_holds_lets_its_connections_go(postgres_url: str) -> None:
    store = open_store(f"{postgres_url}&application_name=nobody")
    store.studies()
    del store
    count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'nobody'"
    with psycopg.connect(postgres_url.partition("&schema")[0], autocommit=True) as connection:
        for _ in range(200):
            if connection.execute(count).fetchone() == (0,):
                break
            time.sleep(0.02)
        else:
            pytest.fail("a connection stays open")


def test_a_closed_store_says_so(postgres_url: str) -> None:
    store = open_store(postgres_url)
    crew = Crew(store)
    crew.train(0.5)
    store.close()
    store.close()
    for use in (crew.claim, crew.status, lambda: store.stop(crew.id, reason="by hand")):
        with pytest.raises(StoreUnavailable, match=r"postgresql://.*: the store has been closed"):
            use()
