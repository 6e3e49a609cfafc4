from __future__ import annotations

import sys
from pathlib import Path

import pytest

import evolvent as ev
from evolvent.core.records import JobId
from evolvent.engines.runner import Runner, failure_of, judge
from evolvent.errors import TrainableError
from evolvent.store.records import MOST_MESSAGE, MOST_TRACEBACK, Failure, FailureKind
from tests.engines.trainables import Climb, climb
from tests.settings import study_record


def make_job(
    directory: Path, id: JobId, checkpoint: Path | None = None, step: float = 1.0
) -> ev.Job:
    directory.mkdir()
    return ev.Job(
        id=id,
        study="s",
        attempt=1,
        hyperparameters={"step": step},
        checkpoint=checkpoint,
        directory=directory,
        seed=0,
    )


@pytest.fixture
def calls() -> list[str]:
    Climb.calls.clear()
    return Climb.calls


def test_a_fresh_class_is_set_up_applied_trained_and_saved(
    tmp_path: Path, calls: list[str]
) -> None:
    runner = Runner(Climb)
    assert runner.run(make_job(tmp_path / "a", JobId(0, 0)), parent=None) == {"at": 1.0, "seed": 0}
    assert calls == ["setup", "apply", "train", "save"]


def test_the_same_member_goes_on_without_a_load(tmp_path: Path, calls: list[str]) -> None:
    runner = Runner(Climb)
    runner.run(make_job(tmp_path / "a", JobId(0, 0)), parent=None)
    calls.clear()
    job = make_job(tmp_path / "b", JobId(0, 1), checkpoint=tmp_path / "a", step=2.0)
    assert runner.run(job, parent=JobId(0, 0))["at"] == 3.0
    assert calls == ["apply", "train", "save"]


def test_a_copy_loads_then_applies(tmp_path: Path, calls: list[str]) -> None:
    runner = Runner(Climb)
    runner.run(make_job(tmp_path / "a", JobId(0, 0)), parent=None)
    runner.run(make_job(tmp_path / "b", JobId(1, 0), step=5.0), parent=None)
    calls.clear()
    job = make_job(tmp_path / "c", JobId(1, 1), checkpoint=tmp_path / "a", step=2.0)
    assert runner.run(job, parent=JobId(0, 0))["at"] == 3.0
    assert calls == ["setup", "load", "apply", "train", "save"]


def test_after_an_error_nothing_live_is_used_again(tmp_path: Path, calls: list[str]) -> None:
    runner = Runner(Climb)
    runner.run(make_job(tmp_path / "a", JobId(0, 0)), parent=None)
    broken = make_job(tmp_path / "b", JobId(0, 1), checkpoint=tmp_path / "a")
    broken.hyperparameters = {}
    with pytest.raises(KeyError):
        runner.run(broken, parent=JobId(0, 0))
    calls.clear()
    again = make_job(tmp_path / "c", JobId(0, 1), checkpoint=tmp_path / "a")
    assert runner.run(again, parent=JobId(0, 0))["at"] == 2.0
    assert calls == ["setup", "load", "apply", "train", "save"]


def test_a_function_is_called_with_the_job(tmp_path: Path) -> None:
    assert Runner(climb).run(make_job(tmp_path / "a", JobId(0, 0)), parent=None)["at"] == 1.0
    assert (tmp_path / "a" / "at.json").read_text() == "1.0"


def test_the_score_is_turned_once_when_the_study_minimises() -> None:
    study = study_record(metric="loss", mode="min")
    assert judge({"loss": 2.5, "n": 3}, study) == (-2.5, {"loss": 2.5, "n": 3})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_metric_that_is_not_finite_is_a_failure_that_names_it(value: float) -> None:
    verdict = judge({"at": value}, study_record(metric="at"))
    assert verdict == Failure(FailureKind.INVALID, f"metric 'at' was {value}")


@pytest.mark.parametrize(
    ("returned", "named"),
    [
        (None, "nothing"),
        (0.5, "float"),
        ({}, "an empty dict"),
        ({"loss": 1.0}, "'loss'"),
        ({"at": "high"}, "str 'high'"),
        ({"at": None}, "NoneType"),
    ],
)
def test_a_broken_contract_is_named(returned: object, named: str) -> None:
    with pytest.raises(TrainableError, match="at") as error:
        judge(returned, study_record(metric="at"))
    assert named in str(error.value)


def test_scalars_of_libraries_are_numbers() -> None:
    np = pytest.importorskip("numpy")
    assert judge({"at": np.float32(0.5)}, study_record(metric="at")) == (0.5, {"at": 0.5})
    with pytest.raises(TrainableError, match="more than one element"):
        judge({"at": np.zeros(2)}, study_record(metric="at"))


class ExitsInClose(Climb):
    """A trainable that breaks in training, and calls `sys.exit` when it is thrown away for that."""

    def train(self) -> dict[str, float]:
        raise ValueError("broken")

    def close(self) -> None:
        sys.exit(3)


def test_an_exit_while_a_broken_trainable_is_closed_ends_no_worker(tmp_path: Path) -> None:
    runner = Runner(ExitsInClose)
    with pytest.raises(RuntimeError, match=r"sys\.exit\(3\)"):
        runner.run(make_job(tmp_path / "a", JobId(0, 0)), parent=None)


class Pops(Climb):
    """Takes everything out of whatever it is given."""

    def setup(self, hyperparameters, context) -> None:
        self.seen = [hyperparameters["net"]["sizes"].pop(), hyperparameters.pop("step")]
        self.job.hyperparameters.clear()
        super().setup(hyperparameters, context)

    def apply(self, hyperparameters) -> None:
        assert hyperparameters == {"step": 1.0, "net": {"sizes": [64, 32]}}
        super().apply(hyperparameters)
        hyperparameters["net"]["sizes"].clear()


def test_setup_apply_and_the_job_have_values_of_their_own(tmp_path: Path) -> None:
    job = make_job(tmp_path / "a", JobId(0, 0))
    job.hyperparameters = {"step": 1.0, "net": {"sizes": [64, 32]}}
    assert Runner(Pops).run(job, parent=None)["at"] == 1.0


def test_another_attempt_has_all_values_again(tmp_path: Path) -> None:
    seen = []

    def train(job: ev.Job) -> dict[str, float]:
        seen.append({name: dict(values) for name, values in job.hyperparameters.items()})
        job.hyperparameters["net"].clear()
        if job.attempt == 1:
            raise RuntimeError("first attempt")
        return {"at": 1.0}

    study = ev.create_study(
        "s", metric="at", mode="max", population=1, rounds=2, store="memory://",
        space={"net": {"size": ev.Constant(4)}},
    )  # fmt: skip
    study.run(train, workers=0)
    assert seen == [{"net": {"size": 4}}] * 4
    assert [job.hyperparameters for job in study.jobs()] == [{"net": {"size": 4}}] * 2


def test_a_failure_of_any_length_keeps_its_start_and_its_end() -> None:
    try:
        raise ValueError("a" * 5_000_000 + "z")
    except ValueError as e:
        failure = failure_of(e)
    assert MOST_MESSAGE - 1 <= len(failure.message) <= MOST_MESSAGE
    start, gap, end = failure.message.replace("] …", "[").split("[")
    assert start.startswith("ValueError: aaaa")
    assert gap == f"{5_000_013 - len(start + end) + 4} characters cut"
    assert end.endswith("aaaz")
    assert failure.traceback is not None
    assert len(failure.traceback) <= MOST_TRACEBACK
    assert failure.traceback.startswith("Traceback (most recent call last):")
    assert failure.traceback.endswith("aaaz\n")


def test_a_traceback_of_very_many_calls_keeps_the_first_and_the_last() -> None:
    def down(n: int) -> float:
        return up(n - 1) if n else 1 / 0

    def up(n: int) -> float:
        return down(n - 1) if n else 1 / 0

    before = sys.getrecursionlimit()
    sys.setrecursionlimit(60_000)
    try:
        down(50_000)
    except ZeroDivisionError as e:
        failure = failure_of(e)
    finally:
        sys.setrecursionlimit(before)
    assert failure.message == "ZeroDivisionError: division by zero"
    lines = (failure.traceback or "").splitlines()
    assert len(lines) < 5000
    assert "in test_a_traceback_of_very_many_calls_keeps" in lines[1]
    assert "  … [48982 calls cut] …" in lines
    assert lines[-1] == "ZeroDivisionError: division by zero"


def test_training_that_returns_very_many_names_is_told_of_some() -> None:
    with pytest.raises(TrainableError) as caught:
        judge({f"name {i}": 0.5 for i in range(100_000)}, study_record())
    assert len(str(caught.value)) < 1000
