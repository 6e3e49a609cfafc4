"""Weights that do not fit after a copy: the log says what changed and how to keep it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import evolvent as ev
from evolvent.core.records import JobId, JobRecord, JobState
from evolvent.core.space import Space
from evolvent.engines.runner import Runner
from evolvent.engines.shape_mismatch import is_mismatch, with_cure
from evolvent.store.records import Failure, FailureKind
from tests.settings import study_record
from tests.trainables import Layered

SPACE = {
    "step": ev.LogUniform(0.001, 100.0),
    "layers": ev.LogIntUniform(1, 900),
    "net": {"norm": "batch"},
}


def new_study(explore: Any) -> ev.Study:
    """Write a study of two members, of which the one with fewer layers copies the other."""
    return ev.create_study(
        "layered", metric="height", mode="max", population=2, rounds=2, synchronous=True,
        max_failures=0, space=SPACE, algorithm=ev.PBT(ev.CopyBest(), explore), store="memory://",
        initial=[{"step": 0.5, "layers": 4}, {"step": 0.5, "layers": 2}],
    )  # fmt: skip


CURE = (
    "Do the weights not fit? Since m0r0 saved them this has changed: layers 4 -> 8. What shapes "
    "the model cannot change in a copy: leave it out of explore, and it stays with the weights: "
    'explore={"step": …}'
)


def test_a_copy_that_does_not_fit_names_what_changed_and_the_cure() -> None:
    study = new_study(ev.Perturb(factors=(2.0,)))
    study.run(Layered, workers=0, progress=False)
    [failed] = study.failures()
    assert failed.failure.message == f"ValueError: shape mismatch: (4,) into (8,)\n{CURE}"
    assert failed.failure.traceback is not None
    assert failed.failure.traceback.endswith(f"(4,) into (8,)\n{CURE}\n")


def test_the_cure_cures() -> None:
    study = new_study({"step": ev.Perturb(factors=(2.0,))})
    study.run(Layered, workers=0, progress=False)
    assert study.failures() == []
    assert study.job("m1r1").hyperparameters["layers"] == 4


def test_who_asks_for_jobs_is_told_too() -> None:
    study = new_study(ev.Perturb(factors=(2.0,)))

    def train() -> None:
        while job := study.next_job():
            with job:
                job.metrics = Runner(Layered).run(job, parent=None)  # type: ignore[assignment]

    with pytest.raises(ValueError, match="shape mismatch"):
        train()
    assert study.failures()[0].failure.message.endswith(CURE)


def cured(
    message: str = "RuntimeError: size mismatch for w", *, explore: Any = None, **changed: Any
) -> str:
    before = {"lr": 0.1, "drop": 0.2, "width": 16, "kind": "a"}
    space = Space.of({
        "lr": ev.LogUniform(0.01, 1), "drop": ev.Uniform(0, 1), "width": ev.Ordinal([16, 32]),
        "kind": ev.Choice(["a", "b"]),
    })  # fmt: skip
    algorithm = ev.PBT(explore=explore or ev.Perturb())
    study = study_record(space=space, algorithm=algorithm)
    job = JobRecord(1, 1, JobState.RUNNING, before | changed, parent=JobId(0, 0))
    return with_cure(Failure(FailureKind.RAISED, message), study, job, before).message


def test_only_what_changed_is_named_and_floats_only_without_anything_likelier() -> None:
    assert "this has changed: width 16 -> 32, kind a -> b. What" in cured(
        lr=0.2, width=32, kind="b"
    )
    assert "this has changed: lr 0.1 -> 0.2. What" in cured(lr=0.2)
    assert cured() == "RuntimeError: size mismatch for w"


def test_the_cure_is_written_with_what_is_left_to_explore() -> None:
    assert cured(width=32).endswith('explore={"lr": …, "drop": …}')
    named = {"width": ev.Shift(), "lr": ev.Perturb(), "kind": ev.Resample()}
    assert cured(width=32, explore=named).endswith('explore={"lr": …, "kind": …}')
    assert cured(width=32, explore={"width": ev.Shift()}).endswith("explore=NoExplore()")


def _raised(call: Any) -> str:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - of any library, told by its words
        call()
    return f"{type(caught.value).__name__}: {caught.value}"


def test_arrays_that_do_not_fit_are_recognised() -> None:
    two, three = np.ones(2), np.ones(3)
    assert is_mismatch(Failure(FailureKind.RAISED, _raised(lambda: two + three)))
    assert is_mismatch(Failure(FailureKind.RAISED, _raised(lambda: two @ three)))
    assert is_mismatch(Failure(FailureKind.RAISED, _raised(lambda: np.copyto(two, three))))
    assert not is_mismatch(Failure(FailureKind.RAISED, _raised(lambda: {}["lr"])))


def test_models_of_pytorch_that_do_not_fit_are_recognised() -> None:
    torch = pytest.importorskip("torch")
    nn = torch.nn

    def load(saved: Any, into: Any) -> str:
        return _raised(lambda: into.load_state_dict(saved.state_dict()))

    one, two = nn.Linear(2, 2), nn.Linear(2, 3)
    deep = nn.Sequential(one, nn.Linear(2, 2))
    adam, other = torch.optim.Adam(one.parameters()), torch.optim.Adam(deep.parameters())
    for message in (load(one, two), load(nn.Sequential(one), deep), load(adam, other)):
        assert is_mismatch(Failure(FailureKind.RAISED, message)), message
