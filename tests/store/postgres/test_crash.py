"""A PostgreSQL server that crashes, restarts, stays away, or whose answers get lost."""

from __future__ import annotations

import logging
import multiprocessing
import os
import re
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from evolvent.core.algorithms import PBT
from evolvent.core.records import JobId, JobState
from evolvent.errors import StoreUnavailable
from evolvent.store.connect import open_store
from evolvent.store.protocol import Store
from evolvent.store.records import Point, Report
from evolvent.store.sql import retry
from tests.contract.crew import RAISED, Crew
from tests.needs import needs
from tests.service.served import until
from tests.settings import study_record
from tests.store.crowd import acknowledge
from tests.store.postgres.cut import Wire
from tests.store.servers import PASSWORD, Server

postgres_pool = needs("evolvent.store.postgres.pool")

SPAWN = multiprocessing.get_context("spawn")


def location(server: Server, tmp_path: Path) -> str:
    return f"{server.url}&checkpoints={tmp_path}/checkpoints"


def crowd(n: int, *arguments: Any) -> tuple[list[Any], Any]:
    """Start workers; none begins before all have reached the server."""
    told, start = SPAWN.SimpleQueue(), SPAWN.Barrier(n + 1, timeout=60)
    processes = [
        SPAWN.Process(target=acknowledge, args=(*arguments, f"w{i}", told, start)) for i in range(n)
    ]
    for process in processes:
        process.start()
    start.wait()
    return processes, told


def heard(told: Any) -> set[str]:
    jobs = set()
    while not told.empty():
        jobs.add(told.get())
    return jobs


def finished(store: Store, study: int) -> list[str]:
    return [job.id for job in store.jobs(study, states=[JobState.DONE])]


@pytest.mark.slow
def test_nothing_acknowledged_is_lost_when_the_server_crashes(
    own_server: Server, tmp_path: Path
) -> None:
    store = open_store(location(own_server, tmp_path))
    crew = Crew(store, study_record(population=8, rounds=60, algorithm=PBT(), durability="power"))
    processes, told = crowd(3, store.url, crew.id, crew.save())
    acknowledged: set[str] = set()
    for least in (40, 120, 200):
        while len(acknowledged) < least:
            acknowledged.add(told.get())
        own_server.stop("immediate")
        acknowledged |= heard(told)
        own_server.start()
        assert acknowledged <= set(finished(store, crew.id))
    while any(process.is_alive() for process in processes):
        acknowledged |= heard(told)
        time.sleep(0.01)
    acknowledged |= heard(told)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    done = finished(store, crew.id)
    assert len(done) == len(set(done)) == 8 * 60
    assert acknowledged <= set(done)
    store.close()


@pytest.mark.slow
def test_workers_killed_anywhere_leave_a_log_in_which_every_job_counts_once(
    own_server: Server, tmp_path: Path
) -> None:
    store = open_store(location(own_server, tmp_path))
    crew = Crew(store, study_record(population=6, rounds=30, algorithm=PBT()))
    address = crew.save()
    acknowledged: set[str] = set()
    for least in (20, 60):
        processes, told = crowd(2, store.url, crew.id, address)
        while len(acknowledged) < least:
            acknowledged.add(told.get())
        for process in processes:
            os.kill(process.pid, signal.SIGKILL)
        for process in processes:
            process.join()
        for worker in ("w0", "w1"):
            store.release(crew.id, worker=worker, failure=RAISED)
        acknowledged |= heard(told)
        assert acknowledged <= set(finished(store, crew.id))
    acknowledge(store.url, crew.id, address, "w2", SPAWN.SimpleQueue())
    done = finished(store, crew.id)
    assert len(done) == len(set(done)) == 6 * 30
    store.close()


def test_a_crash_that_loses_reports_is_noticed_by_whoever_remembers_them(
    own_server: Server, tmp_path: Path
) -> None:
    """Only durability "process" risks it, and only what was reported just before the crash."""
    store = open_store(location(own_server, tmp_path))
    crew = Crew(store, study_record(population=2, rounds=9, algorithm=PBT()))
    crew.train(0.1)
    crew.train(0.9)
    crew.claim_of(0)  # whoever decides remembers the population
    undo = [
        "DELETE FROM job WHERE member = 1",
        "UPDATE member SET state = 'queued', round = 0, parent_member = NULL, parent_round = NULL,"
        " checkpoint = NULL, cause = 'drawn' WHERE member = 1",
    ]
    with store._session.database.write(synced=False) as tx:  # type: ignore[attr-defined]  # a crash
        for statement in undo:
            tx.execute(statement)
    lease = crew.claim_of(1)
    store.report(lease, Report(0.2, {"accuracy": 0.2}, crew.save()))
    assert finished(store, crew.id) == ["m0r0", "m1r0"]
    crew.claim_of(1)
    population = store._session.cache(crew.id).population._population  # type: ignore[attr-defined]  # looks inside
    assert population.member(1).score == 0.2
    store.close()


def test_a_restart_between_two_calls_passes_unnoticed(own_server: Server, tmp_path: Path) -> None:
    store = open_store(location(own_server, tmp_path))
    crew = Crew(store, study_record(population=2, rounds=9))
    for use in (crew.status, lambda: crew.train(0.5), lambda: store.stop(crew.id, reason="enough")):
        own_server.stop("fast")
        own_server.start()
        use()
    assert crew.status().stopped == "enough"
    assert finished(store, crew.id) == ["m0r0"]
    store.close()


@pytest.mark.slow
def test_an_outage_is_told_when_it_begins_and_when_it_ends(
    own_server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "evolvent")
    store = open_store(location(own_server, tmp_path))
    crew = Crew(store, study_record(population=2, rounds=9))
    own_server.stop("fast")
    with ThreadPoolExecutor(1) as alone:
        training = alone.submit(crew.train, 0.5)
        until(lambda: caplog.messages, what="the outage to be told")
        own_server.start()
        training.result()
    began, ended = caplog.messages
    assert re.match(r"postgresql://.*: trying again for 60 s", began)
    assert ended.startswith("the database answers again, after")
    store.close()


def test_a_server_that_stays_away_is_told_and_one_that_comes_back_is_used(
    own_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "RETRY_FOR_S", 0.3)
    monkeypatch.setattr(postgres_pool, "_WAIT_S", 0.2)
    store = open_store(location(own_server, tmp_path))
    crew = Crew(store)
    own_server.stop("fast")
    for use in (crew.status, crew.claim, lambda: store.push(crew.id, {})):
        with pytest.raises(StoreUnavailable, match=r"postgresql://postgres@.*(refused|No such)"):
            use()
    own_server.start()
    crew.train(0.5)
    store.close()


# --- answers that get lost -----------------------------------------------------------------------


@pytest.fixture
def wire(own_server: Server) -> Iterator[Wire]:
    wire = Wire(own_server.port)
    yield wire
    wire.close()


@pytest.fixture
def far(own_server: Server, wire: Wire, tmp_path: Path) -> Iterator[Store]:
    """Give a store at the other end of the wire."""
    user = f"worker:{quote(PASSWORD, safe='')}"
    store = open_store(
        f"postgresql://{user}@127.0.0.1:{wire.port}/postgres"
        f"?sslmode=disable&gssencmode=disable&checkpoints={tmp_path}/checkpoints"
    )
    yield store
    store.close()


def test_a_report_whose_answer_is_lost_counts_once(far: Store, wire: Wire) -> None:
    crew = Crew(far)
    lease = crew.claim()
    wire.cut_at = b"COMMIT\0"
    crew.report(lease, 0.5)
    assert wire.cut_at is None
    assert finished(far, crew.id) == ["m0r0"]


def test_a_failure_whose_answer_is_lost_is_noted_once(far: Store, wire: Wire) -> None:
    crew = Crew(far)
    lease = crew.claim()
    wire.cut_at = b"COMMIT\0"
    assert far.release(crew.id, worker=lease.worker, failure=RAISED) == 1
    assert wire.cut_at is None
    assert len(far.failures(crew.id)) == 1


def test_a_claim_whose_answer_is_lost_gives_the_same_job(far: Store, wire: Wire) -> None:
    crew = Crew(far, study_record(population=2, rounds=2))
    crew.train(0.1, member=0)  # the study has started, so that one statement claims
    wire.cut_at = b"UPDATE"
    lease = crew.claim()
    assert wire.cut_at is None
    assert (lease.job.id, lease.attempt) == ("m1r0", 1)
    assert crew.claim().job.id == "m0r1"


def test_a_push_whose_answer_is_lost_adds_one_member(far: Store, wire: Wire) -> None:
    crew = Crew(far, study_record(population=2))
    far.push(crew.id, {})
    wire.cut_at = b"COMMIT\0"
    assert far.push(crew.id, {}) == JobId(3, 0)
    assert wire.cut_at is None
    assert crew.status().members == 4
    assert [i.facts["job"] for i in far.interventions(crew.id)] == ["m2r0", "m3r0"]


def test_an_extension_whose_answer_is_lost_is_told_once(far: Store, wire: Wire) -> None:
    crew = Crew(far, study_record(rounds=3))
    wire.cut_at = b"COMMIT\0"
    far.extend(crew.id, rounds=9)
    assert wire.cut_at is None
    assert [dict(i.facts) for i in far.interventions(crew.id)] == [{"before": 3, "after": 9}]


def test_a_study_whose_answer_is_lost_is_created_once(far: Store, wire: Wire) -> None:
    Crew(far, name="first")
    wire.cut_at = b"COMMIT\0"
    second = Crew(far, name="second")
    assert wire.cut_at is None
    assert [status.id for status in far.studies()] == [1, second.id]


def test_points_whose_answer_is_lost_are_kept_once(far: Store, wire: Wire) -> None:
    crew = Crew(far)
    lease = crew.claim()
    wire.cut_at = b"COMMIT\0"
    far.heartbeat(lease, lease_s=60.0, points=[Point(1, {"loss": 0.5})], offset=0)
    assert wire.cut_at is None
    assert [point.step for point in far.points(crew.id, lease.job.id)] == [1.0]


def test_points_without_an_offset_whose_answer_is_lost_are_not_sent_again(
    far: Store, wire: Wire
) -> None:
    crew = Crew(far)
    lease = crew.claim()
    wire.cut_at = b"COMMIT\0"
    with pytest.raises(StoreUnavailable):
        far.heartbeat(lease, lease_s=60.0, points=[Point(1, {"loss": 0.5})])
    assert [point.step for point in far.points(crew.id, lease.job.id)] == [1.0]


def test_a_failed_attempt_whose_answer_is_lost_is_noted_once(far: Store, wire: Wire) -> None:
    crew = Crew(far)
    lease = crew.claim()
    wire.cut_at = b"COMMIT\0"
    far.fail(lease, RAISED)
    assert wire.cut_at is None
    assert len(far.failures(crew.id)) == 1


def test_a_job_whose_move_gets_no_answer_is_moved_once(far: Store, wire: Wire) -> None:
    crew = Crew(far, study_record(population=1, rounds=5))
    crew.report(crew.claim(), 0.9)
    crew.train(0.1)
    lease = crew.claim()
    wire.cut_at = b"COMMIT\0"
    moved = far.reparent(lease, parent=JobId(0, 0), reason="damaged")
    assert wire.cut_at is None
    assert moved.job.parent == JobId(0, 0)
    assert moved.job.reason.count("damaged") == 1


def test_a_study_whose_removal_got_no_answer_is_not_asked_for_again(far: Store, wire: Wire) -> None:
    crew = Crew(far)
    crew.claim()
    wire.cut_at = b"COMMIT\0"
    with pytest.raises(StoreUnavailable):
        far.delete_study(crew.id)
    assert wire.cut_at is None
    assert far.studies() == []


def test_a_change_cut_off_before_its_commit_is_made_again(far: Store, wire: Wire) -> None:
    crew = Crew(far, study_record(population=2))
    far.push(crew.id, {})
    wire.cut_at = b"INSERT INTO"
    far.push(crew.id, {})
    assert wire.cut_at is None
    assert crew.status().members == 4
