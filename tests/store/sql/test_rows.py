"""The columns of a job are stated once: what is derived from them fits the records."""

from __future__ import annotations

from dataclasses import fields

from evolvent.core.records import Cause, JobId, JobRecord, JobState
from evolvent.store.records import JOB_COLUMNS
from evolvent.store.sql.rows import finished_job, job_row

JOB = JobRecord(
    3,
    12,
    JobState.DONE,
    {"lr": 0.1, "name": "sgd"},
    JobId(2, 11),
    0.75,
    {"accuracy": 0.75},
    "a" * 64,
    "b" * 64,
    2,
    "copied \0 member 2",
    None,
    "worker",
    1.5,
    2.5,
    Cause.COPIED,
)


def test_the_columns_of_a_finished_job_are_the_fields_of_its_record_in_their_order() -> None:
    names = [field.name for field in fields(JobRecord) if field.name != "lease_until"]
    at = names.index("parent")
    assert [*names[:at], "parent_member", "parent_round", *names[at + 1 :]] == list(JOB_COLUMNS)


def test_a_job_comes_back_from_its_row_with_text_that_a_database_can_hold() -> None:
    row = job_row(JOB)
    assert len(row) == len(JOB_COLUMNS)
    found = finished_job(row)
    assert found.reason == "copied \\x00 member 2"
    assert finished_job(job_row(found)) == found
