from __future__ import annotations

import copy
import math
import pickle

import pytest

from evolvent.core.records import JobId, JobRecord, JobState, Member
from evolvent.errors import UnknownJob


def test_a_job_is_named_by_member_and_round() -> None:
    job = JobId(3, 12)
    assert job == "m3r12"
    assert (job.member, job.round) == (3, 12)
    assert JobId.parse("m3r12") == job
    assert Member(3, 12, 0.5).job == JobRecord(3, 12, JobState.DONE, {}).id == job


def test_a_job_id_survives_copy_and_pickle() -> None:
    for there in (copy.deepcopy(JobId(3, 12)), pickle.loads(pickle.dumps(JobId(3, 12)))):
        assert (there, there.member, there.round) == ("m3r12", 3, 12)


@pytest.mark.parametrize("text", ["", "m3", "3r12", "m3r12 ", "m-1r2"])
def test_a_text_that_is_no_job_id_is_refused(text: str) -> None:
    with pytest.raises(UnknownJob, match="wanted member and round such as 'm3r12'"):
        JobId.parse(text)


def test_the_donor_is_the_other_member_a_job_started_from() -> None:
    assert JobRecord(3, 12, JobState.DONE, {}, parent=JobId(5, 11)).donor == 5
    assert JobRecord(3, 12, JobState.DONE, {}, parent=JobId(3, 11)).donor is None
    assert JobRecord(3, 0, JobState.DONE, {}).donor is None


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf, None])
def test_what_cannot_be_ranked_has_failed(score: float | None) -> None:
    member = Member(0, 1, score)
    assert member.failed
    assert member.score is None
