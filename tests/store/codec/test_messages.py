"""What is on the wire: comes back as it was, is what its schema says, and is refused by name."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evolvent.core.heads import Head, HeadState
from evolvent.core.records import Cause, JobId, JobRecord, JobState
from evolvent.store.codec import fields, records
from evolvent.store.codec import messages as m
from evolvent.store.codec.fields import Field, Malformed, number
from evolvent.store.codec.strict_json import encode, strict_json
from evolvent.store.codec.study import SETTINGS, StudySettings
from evolvent.store.dump import JobPoint, MemberDump
from evolvent.store.interventions import Intervention, InterventionKind
from evolvent.store.records import (
    MOST_MESSAGE,
    MOST_TRACEBACK,
    FailedAttempt,
    Failure,
    FailureKind,
    Lease,
    MemberView,
    Point,
    Report,
    StudyState,
    StudyStatus,
)
from tests.needs import needs
from tests.settings import study_record

SECONDS = number(-1e9, 1e9)
jsonschema = needs("jsonschema")

TEXTS = st.text(max_size=20)
COUNTS = st.integers(0, 2**31 - 1)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
TIMES = st.none() | NUMBERS
WORKERS = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=20)
ADDRESSES = st.text("0123456789abcdef", min_size=64, max_size=64)
JOB_IDS = st.builds(JobId, st.integers(0, 10**9 - 1), st.integers(0, 10**9 - 1))
POINT_VALUES = st.dictionaries(TEXTS, NUMBERS | st.sampled_from([math.inf, -math.inf]), max_size=3)


def _nested(scalars: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        scalars,
        lambda x: st.lists(x, max_size=3) | st.dictionaries(TEXTS, x, max_size=2),
        max_leaves=4,
    )


SCALARS = st.none() | st.booleans() | st.integers() | NUMBERS | TEXTS
VALUES = st.dictionaries(TEXTS, _nested(SCALARS), max_size=3)
# The words for what is not finite are numbers in a metric, and so never its texts.
_METRIC = SCALARS.filter(lambda x: x not in fields.NOT_FINITE) | st.sampled_from(
    [math.inf, -math.inf]
)
METRICS = st.dictionaries(TEXTS, _nested(_METRIC), max_size=3)
JOBS = st.builds(
    JobRecord, st.integers(0, 10**9 - 1), st.integers(0, 10**9 - 1), st.sampled_from(JobState),
    VALUES, st.none() | JOB_IDS, TIMES, METRICS, st.none() | ADDRESSES, st.none() | ADDRESSES,
    COUNTS, TEXTS, st.none() | TEXTS, st.none() | TEXTS, TIMES, TIMES, st.sampled_from(Cause),
    TIMES,
)  # fmt: skip
POINTS = st.builds(Point, NUMBERS, POINT_VALUES)
SOME_POINTS = st.lists(POINTS, max_size=3)
FAILURES = st.builds(Failure, st.sampled_from(FailureKind), TEXTS, st.none() | TEXTS)
FAILED = st.builds(FailedAttempt, JOB_IDS, COUNTS, FAILURES, TEXTS, NUMBERS)
REPORTS = st.builds(Report, NUMBERS, METRICS, ADDRESSES, SOME_POINTS)
FENCES = st.builds(m.Fence, COUNTS, COUNTS, COUNTS, WORKERS)
KEYS = st.none() | st.uuids().map(str)
MEMBERS = st.builds(MemberView, st.none() | JOBS, st.none() | JOBS)
COUNTED = st.dictionaries(st.sampled_from(JobState), st.integers(1, 10**6))
STATUSES = st.builds(
    StudyStatus, COUNTS, st.just(study_record()), st.sampled_from(StudyState), COUNTED, COUNTS,
    st.none() | JOB_IDS, TIMES, st.none() | TEXTS, NUMBERS, TIMES, TIMES,
)  # fmt: skip
WAITING = [state for state in HeadState if state is not HeadState.RUNNING]
HEADS = st.builds(
    MemberDump,
    st.builds(
        Head, COUNTS, COUNTS, st.sampled_from(WAITING), VALUES, st.none() | JOB_IDS, TEXTS,
        st.sampled_from(Cause),
    ),
    COUNTS, COUNTS, COUNTS, TIMES, st.none() | TEXTS,
)  # fmt: skip
FACTS = {
    InterventionKind.EXTENDED: st.fixed_dictionaries({"before": COUNTS, "after": COUNTS}),
    InterventionKind.RETARGETED: st.fixed_dictionaries({"before": TIMES, "after": TIMES}),
    InterventionKind.STOPPED: st.fixed_dictionaries({"reason": TEXTS}),
    InterventionKind.RESUMED: st.fixed_dictionaries(
        {"reason": st.none() | TEXTS, "stopped_by": st.sampled_from(["hand", "target", None])}
    ),
    InterventionKind.PUSHED: st.fixed_dictionaries({"job": JOB_IDS}),
}
INTERVENTIONS = st.sampled_from(InterventionKind).flatmap(
    lambda kind: st.builds(Intervention, NUMBERS, st.just(kind), FACTS[kind], TEXTS)
)
SETTING = st.builds(
    StudySettings, st.just(study_record()), NUMBERS, TIMES, st.just("by hand"), st.just("hand"),
    st.lists(JOB_IDS, max_size=3), st.lists(INTERVENTIONS, max_size=2),
)  # fmt: skip
UPLOADS = st.builds(
    m.UploadProgress, ADDRESSES, st.booleans(), st.none() | TEXTS,
    st.lists(st.builds(m.FileProgress, TEXTS, COUNTS, COUNTS), max_size=2),
)  # fmt: skip
SECONDS_ASKED = st.floats(-1e9, 1e9)
PAGES = st.builds(m.LogPage, st.lists(JOBS, max_size=2), st.none() | COUNTS, COUNTS)
CLAIMS = st.builds(m.ClaimBody, WORKERS, SECONDS_ASKED, st.none() | COUNTS, st.floats(0, 60), KEYS)
HEARTBEATS = st.builds(m.HeartbeatBody, FENCES, SECONDS_ASKED, SOME_POINTS)

KINDS: dict[str, tuple[Field[Any], st.SearchStrategy[Any]]] = {
    "job": (m.JOB, JOBS),
    "point": (m.POINT, POINTS),
    "failure": (m.FAILURE, FAILURES),
    "failed": (m.FAILED, FAILED),
    "intervention": (m.INTERVENTION, INTERVENTIONS),
    "member": (m.MEMBER, MEMBERS),
    "lease": (m.LEASE, st.builds(Lease, COUNTS, JOBS, TEXTS)),
    "status": (m.STATUS, STATUSES),
    "page": (m.JOBS_PAGE, PAGES),
    "jobs": (m.JOBS, st.lists(JOBS, max_size=2)),
    "pins": (m.JOB_IDS, st.lists(JOB_IDS, max_size=2)),
    "claim": (m.CLAIM, CLAIMS),
    "heartbeat": (m.HEARTBEAT, HEARTBEATS),
    "report": (m.REPORT, st.builds(m.ReportBody, FENCES, METRICS, ADDRESSES, TIMES, SOME_POINTS)),
    "fail": (m.FAIL, st.builds(m.FailBody, FENCES, FAILURES)),
    "release": (m.RELEASE, st.builds(m.ReleaseBody, WORKERS, FAILURES)),
    "reparent": (m.REPARENT, st.builds(m.ReparentBody, FENCES, JOB_IDS, TEXTS)),
    "new study": (m.NEW_STUDY, st.builds(m.NewStudyBody, st.just(study_record()), KEYS)),
    "push": (m.PUSH, st.builds(m.PushBody, VALUES, st.none() | REPORTS, KEYS)),
    "retarget": (m.RETARGET, TIMES),
    "upload": (m.UPLOAD, UPLOADS),
    "head": (records.HEAD, HEADS),
    "job point": (records.JOB_POINT, st.builds(JobPoint, JOB_IDS, POINTS)),
    "settings": (SETTINGS, SETTING),
}  # fmt: skip
"""Every message that has more in it than one number, and values that it can stand for."""


@pytest.mark.parametrize("name", KINDS)
@given(data=st.data())
def test_a_message_comes_back_as_it_was_and_is_what_its_schema_says(
    name: str, data: st.DataObject
) -> None:
    kind, values = KINDS[name]
    value = data.draw(values)
    sent = strict_json(encode(kind.to_json(value)), once=True)
    jsonschema.validate(sent, kind.schema)
    assert kind.from_json(sent, "body") == value
    more = {**sent, "of a newer service": 1}
    assert kind.from_json(more, "body") == value


def _example(kind: Field[Any], values: st.SearchStrategy[Any]) -> dict[str, Any]:
    found: list[Any] = []

    @settings(max_examples=10)
    @given(values)
    def draw(value: Any) -> None:
        found.append(value)

    draw()
    return strict_json(encode(kind.to_json(max(found, key=lambda value: len(repr(value))))))  # type: ignore[no-any-return]  # an object


@pytest.mark.parametrize("name", KINDS)
def test_a_field_that_is_not_as_it_should_be_is_named(name: str) -> None:
    kind, values = KINDS[name]
    sent = _example(kind, values)
    written_only = {"member", "round"} if "job" in sent else set()
    for field in sent.keys() - written_only:
        with pytest.raises(Malformed) as refused:
            kind.from_json({**sent, field: ["no", ["such", "thing"]]}, "body")
        assert (refused.value.field or "").startswith(field)


@pytest.mark.parametrize("name", KINDS)
def test_a_field_that_must_be_there_is_missed_by_its_name(name: str) -> None:
    kind, values = KINDS[name]
    sent = _example(kind, values)
    needed = set(kind.schema["required"]) - ({"member", "round"} if "job" in sent else set())
    for field in needed:
        left = {key: value for key, value in sent.items() if key != field}
        if not _may_be_null(kind.schema["properties"][field]) or name == "retarget":
            with pytest.raises(Malformed) as refused:
                kind.from_json(left, "body")
            assert refused.value.field == field


def _may_be_null(schema: Any) -> bool:
    return {"type": "null"} in schema.get("anyOf", ())


@pytest.mark.parametrize("kind", [kind for kind, _ in KINDS.values()])
@pytest.mark.parametrize("value", [None, [], "text", 1, True])
def test_what_is_no_object_is_refused(kind: Field[Any], value: Any) -> None:
    with pytest.raises(Malformed, match="body: got"):
        kind.from_json(value, "body")


@pytest.mark.parametrize(
    ("kind", "value", "wanted"),
    [
        (SECONDS, True, "a number"),
        (SECONDS, 1e10, "a number, -1e[+]09 to 1e[+]09"),
        (m.COUNT, True, "a whole number, 0 or more"),
        (m.COUNT, -1, "a whole number, 0 or more"),
        (m.COUNT, 1.0, "a whole number, 0 or more"),
        (m.SMALL, 2**31, "a whole number, 0 to 2147483647"),
        (m.NUMBER, 10**400, "a finite number"),
        (m.NUMBER, math.nan, "a finite number"),
        (m.JOB_NAME, "m3", "a job such as 'm3r12'"),
        (m.JOB_NAME, f"m{2**31}r0", "a job such as 'm3r12'"),
        (m.JOB_NAME, f"m{'9' * 5000}r0", "a job such as 'm3r12'"),
        (m.ADDRESS, "A" * 64, "64 hexadecimal digits in lower case"),
        (fields.NUMBERS, {"loss": "nan"}, "a number, or NaN, Infinity, -Infinity"),
        (m.KEY, "", "1 to 100 printable ASCII characters"),
        (m.KEY, "ä", "1 to 100 printable ASCII characters"),
    ],
    ids=lambda given: None if isinstance(given, Field) else f"{given!r:.20}",
)
def test_a_value_that_means_nothing_is_refused_and_what_was_wanted_is_said(
    kind: Field[Any], value: Any, wanted: str
) -> None:
    with pytest.raises(Malformed, match=f"of it.*: got .*, wanted {wanted}") as refused:
        kind.from_json(value, "of it")
    assert refused.value.field == "of it"


def test_null_or_nothing_stands_for_the_default() -> None:
    lean = m.CLAIM.from_json({"worker": "w"}, "body")
    assert lean == m.CLAIM.from_json({"worker": "w", "lease_s": None, "wait_s": None}, "body")
    assert (lean.lease_s, lean.wait_s, lean.prefer, lean.key) == (m.LEASE_S, 0.0, None, None)


def test_an_older_service_does_not_tell_of_leases_so_nobody_seems_lost() -> None:
    job = JobRecord(0, 0, JobState.RUNNING, {}, worker="w", lease_until=5.0)
    status = StudyStatus(
        id=1, record=study_record(), state=StudyState.OPEN, counts={JobState.RUNNING: 1},
        members=1, best=None, best_score=None, stopped=None, created_at=0.0, started_at=1.0,
        changed_at=None, lost=1, read_at=9.0,
    )  # fmt: skip
    told_job, told = m.JOB.to_json(job), m.STATUS.to_json(status)
    same = m.STATUS.from_json(told, "status")
    assert (same.lost, same.lost_s(m.JOB.from_json(told_job, "job"))) == (1, 4.0)
    del told_job["lease_until"], told["lost"], told["read_at"]
    older = m.STATUS.from_json(told, "status")
    assert (older.lost, older.lost_s(m.JOB.from_json(told_job, "job"))) == (0, None)
    assert older.lost_s(job) is None


def test_metrics_that_no_json_can_hold_are_words() -> None:
    values = {"a": math.nan, "b": math.inf, "c": -math.inf, "d": 0.1, "e": 10**400}
    plain = m.METRICS.to_json(values)
    assert plain == {"a": "NaN", "b": "Infinity", "c": "-Infinity", "d": 0.1, "e": 10**400}
    back = m.METRICS.from_json(plain, "metrics")
    assert math.isnan(back.pop("a"))  # type: ignore[attr-defined]  # a dict, as it is read
    assert back == {"b": math.inf, "c": -math.inf, "d": 0.1, "e": 10**400}


def test_a_failure_of_any_length_that_somebody_sends_is_cut() -> None:
    sent = {"kind": "raised", "message": "m" * 10**6, "traceback": "t" * 10**6}
    failure = m.FAILURE.from_json(sent, "failure")
    assert MOST_MESSAGE - 1 <= len(failure.message) <= MOST_MESSAGE
    assert MOST_TRACEBACK - 1 <= len(failure.traceback or "") <= MOST_TRACEBACK
