"""What the page of a job says of its failed attempts: everything once."""

from __future__ import annotations

import evolvent as ev
from evolvent.core.records import JobId
from evolvent.service.dashboard.job import attempts, job_page
from evolvent.store.records import FailedAttempt, Failure, FailureKind

RAISED = "Traceback (most recent call last):\n  somewhere\nValueError: too hot"


def failed(
    n: int, message: str = "ValueError: too hot", trace: str | None = RAISED
) -> FailedAttempt:
    failure = Failure(FailureKind.RAISED, message, trace)
    return FailedAttempt(JobId(2, 1), n, failure, f"worker-{n}", at=float(n))


def test_equal_attempts_are_told_together_and_refer_to_the_error_that_is_shown() -> None:
    (group,) = attempts([failed(3), failed(2), failed(1)], shown=RAISED)
    assert group.title == "Attempts 1 to 3"
    assert (group.message, group.traceback) == (None, None)
    assert [f.worker for f in group.each] == ["worker-3", "worker-2", "worker-1"]


def test_different_attempts_stay_apart_and_say_how_they_failed() -> None:
    other = failed(2, "the worker died", None)
    last, lost, first = attempts([failed(3), other, failed(1)], shown=None)
    assert [g.title for g in (last, lost, first)] == ["Attempt 3", "Attempt 2", "Attempt 1"]
    assert (lost.message, lost.traceback) == ("the worker died", None)
    assert (first.message, first.traceback) == ("ValueError: too hot", RAISED)


def test_long_messages_are_cut() -> None:
    (group,) = attempts([failed(1, "x" * 500)], shown=None)
    assert group.message == "x" * 160 + "…"


def test_decision_leaves_the_errors_to_the_place_they_have() -> None:
    study = ev.create_study(
        "hot",
        metric="loss",
        mode="min",
        population=2,
        rounds=2,
        seed=1,
        space={"lr": ev.LogUniform(1e-3, 1.0)},
        store="memory://",
    )
    study.run(_train, workers=0, progress=False)
    told = job_page(study.store, study.status(), JobId(1, 1))
    assert "too hot" in told["job"].error
    assert any("too hot" in sentence for sentence in told["explanation"].after)
    assert not any("too hot" in sentence for sentence in told["after"])
    assert any("weights began as" in sentence for sentence in told["after"])
    study.store.close()


def _train(job: ev.Job) -> dict[str, float]:
    if (job.member, job.round) == (1, 1):
        raise ValueError("too hot")
    (job.directory / "weights").write_text("w")
    return {"loss": 1.0 + job.member}
