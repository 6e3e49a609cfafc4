"""What is asked again because an answer was lost is done once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from evolvent.core.records import JobId, JobState
from evolvent.errors import StoreUnavailable
from evolvent.store.connect import open_store
from evolvent.store.http.store import HttpStore
from evolvent.store.records import Failure, FailureKind, Point, Report
from evolvent.store.tokens import tokens_of
from tests.service.deaf import Deaf, deaf
from tests.service.threaded import Service, service
from tests.settings import study_record

RAISED = Failure(FailureKind.RAISED, "ValueError: boom")


class Line:
    """A client whose answers can be lost, and the store behind the service."""

    def __init__(self, running: Service, proxy: Deaf) -> None:
        self.behind, self.proxy = running.store, proxy
        self.store = HttpStore(proxy.url, running.token())
        self.study = self.store.create_study(study_record(name="digits", rounds=9))
        self.store.checkpoints(self.study)

    def lose(self, n: int = 2) -> None:
        """Lose the answers to the next requests."""
        self.proxy.lose = n

    def checkpoint(self) -> str:
        checkpoints = self.behind.checkpoints(self.study)
        staged = checkpoints.stage("test")
        (staged / "weights").write_text("w")
        return checkpoints.seal(staged)


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    behind = open_store(f"sqlite:///{tmp_path}/log.db")
    with service(behind) as running, deaf(running.url) as proxy:
        made = Line(running, proxy)
        yield made
        made.store.close()
    behind.close()


def test_claim_gets_the_job_that_was_given_out(line: Line) -> None:
    line.lose()
    lease = line.store.claim(line.study, worker="w0", lease_s=60.0)
    assert lease is not None
    assert (lease.job.id, lease.attempt) == ("m0r0", 1)
    assert line.behind.status(line.study).counts.get(JobState.RUNNING) == 1
    assert len(line.proxy.lost) == 2


def test_study_is_made_once(line: Line) -> None:
    line.lose()
    number = line.store.create_study(study_record(name="second"))
    assert [status.id for status in line.behind.studies()] == [line.study, number]


def test_report_is_in_the_log_once(line: Line) -> None:
    lease = line.store.claim(line.study, worker="w0", lease_s=60.0)
    assert lease is not None
    report = Report(0.5, {"accuracy": 0.5}, line.checkpoint(), [Point(1, {"loss": 1.0})])
    line.lose()
    line.store.report(lease, report)
    assert line.behind.status(line.study).counts.get(JobState.DONE) == 1
    assert len(line.behind.points(line.study, JobId(0, 0))) == 1


def test_points_of_a_heartbeat_are_kept_once(line: Line) -> None:
    lease = line.store.claim(line.study, worker="w0", lease_s=60.0)
    assert lease is not None
    line.lose()
    line.store.heartbeat(lease, lease_s=60.0, points=[Point(1, {"loss": 1.0})], offset=0)
    assert len(line.behind.points(line.study, lease.job.id)) == 1


def test_points_without_an_offset_are_sent_once(line: Line) -> None:
    lease = line.store.claim(line.study, worker="w0", lease_s=60.0)
    assert lease is not None
    line.lose()
    with pytest.raises(StoreUnavailable):
        line.store.heartbeat(lease, lease_s=60.0, points=[Point(1, {"loss": 1.0})])
    assert len(line.proxy.lost) == 1
    assert len(line.behind.points(line.study, lease.job.id)) == 1


def test_job_is_moved_once(line: Line) -> None:
    for score in (0.9, 0.1):
        lease = line.store.claim(line.study, worker="w0", lease_s=60.0, prefer=0)
        assert lease is not None
        line.store.report(lease, Report(score, {"accuracy": score}, line.checkpoint()))
    lease = line.store.claim(line.study, worker="w0", lease_s=60.0, prefer=0)
    assert lease is not None
    line.lose()
    moved = line.store.reparent(lease, parent=JobId(0, 0), reason="damaged")
    assert moved.job.parent == JobId(0, 0)
    assert moved.job.reason.count("damaged") == 1


def test_failure_is_noted_once_and_is_no_lost_lease(line: Line) -> None:
    lease = line.store.claim(line.study, worker="w0", lease_s=60.0)
    assert lease is not None
    line.lose()
    line.store.fail(lease, RAISED)
    assert len(line.behind.failures(line.study)) == 1


def test_pushed_member_is_added_once(line: Line) -> None:
    line.lose()
    assert line.store.push(line.study, {"lr": 0.25}) == "m3r0"
    assert line.behind.status(line.study).members == 4
    assert [i.words for i in line.behind.interventions(line.study)] == ["pushed m3r0"]


def test_what_was_done_to_a_study_is_told_once_with_the_name_of_the_token(line: Line) -> None:
    calls: list[Callable[[], object]] = [
        lambda: line.store.stop(line.study, reason="lunch"),
        lambda: line.store.resume(line.study),
        lambda: line.store.extend(line.study, rounds=20),
        lambda: line.store.retarget(line.study, target=0.9),
    ]
    for call in calls:
        line.lose()
        call()
    [token] = tokens_of(line.behind).list()
    assert [(i.words, i.by) for i in line.behind.interventions(line.study)] == [
        ("stopped: lunch", token.name),
        ("resumed", token.name),
        ("extended from 9 to 20 rounds", token.name),
        ("target set to 0.9", token.name),
    ]


def test_released_jobs_are_counted_as_the_first_time(line: Line) -> None:
    for _ in range(2):
        line.store.claim(line.study, worker="dead", lease_s=60.0)
    line.lose()
    assert line.store.release(line.study, worker="dead", failure=RAISED) == 2
    assert len(line.behind.failures(line.study)) == 2


def test_removed_study_is_no_error(line: Line) -> None:
    line.lose()
    line.store.delete_study(line.study)
    assert line.behind.studies() == []


def test_study_is_put_in_once(line: Line) -> None:
    with line.behind.dump(line.study, checkpoints="none") as (dump, _):
        record = study_record(name="copy", rounds=9)
        line.lose()
        line.store.restore(replace(dump, record=record), save=lambda _: None)
    assert [status.record.name for status in line.behind.studies()] == ["digits", "copy"]
