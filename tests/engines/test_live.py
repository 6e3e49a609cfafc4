"""Live objects: who goes on, who is moved, who is set up."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import evolvent as ev
from evolvent.core.records import JobId
from evolvent.core.space import Space
from evolvent.engines.runner import Runner
from evolvent.errors import ConfigError
from tests.engines.trainables import Climb
from tests.settings import study_record

SPACE = {"step": ev.Uniform(0.0, 9.0), "width": ev.Choice([8, 16])}
STUDY = study_record(
    space=Space.of(SPACE), algorithm=ev.PBT()
)  # the choice goes with the weights, the step is explored


class Bench:
    """Runs jobs and keeps what was called for each."""

    def __init__(self, root: Path, kind: Any = Climb, *, record: Any = STUDY, keep: int = 1):
        self.root, self.runner = root, Runner(kind, record, keep_alive=keep)

    def job(
        self, id: str, parent: str | None = None, *, step: float = 1.0, width: int = 8
    ) -> list[str]:
        job_id, started = JobId.parse(id), None if parent is None else JobId.parse(parent)
        directory = self.root / id
        directory.mkdir()
        job = ev.Job(
            id=job_id,
            study="s",
            attempt=1,
            hyperparameters={"step": step, "width": width},
            checkpoint=None if parent is None else self.root / parent,
            directory=directory,
            seed=0,
        )
        Climb.calls.clear()
        self.metrics = self.runner.run(job, parent=started)
        return [call for call in Climb.calls if call not in {"train", "save"}]


def test_an_object_is_moved_to_another_member_by_load_then_apply(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.job("m0r0")
    bench.job("m1r0", step=5.0)
    assert bench.job("m0r1", "m0r0", step=2.0) == ["load", "apply"]
    assert bench.metrics["at"] == 3.0
    assert bench.job("m0r2", "m0r1") == ["apply"], "its own member goes on"
    assert bench.job("m2r0") == ["setup", "apply"], "a fresh member, and no reset()"


def test_an_object_of_another_shape_is_not_moved(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.job("m0r0", width=8)
    bench.job("m1r0", width=16)
    assert bench.job("m0r1", "m0r0", width=8) == ["setup", "load", "apply"]
    assert bench.job("m1r1", "m0r0", width=8) == ["load", "apply"]


class Resets(Climb):
    def reset(self, hyperparameters: Any) -> None:
        self.calls.append(f"reset for {self.job.id}")
        self.at = 0.0


def test_a_fresh_member_takes_an_object_that_can_be_reset(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Resets)
    bench.job("m0r0", step=4.0)
    assert bench.job("m1r0") == ["reset for m1r0", "apply"]
    assert bench.metrics["at"] == 1.0
    assert bench.job("m2r0", width=16) == ["setup", "apply"]


def test_members_meet_their_own_objects_again(tmp_path: Path) -> None:
    bench = Bench(tmp_path, keep=2)
    assert bench.job("m0r0") == bench.job("m1r0") == ["setup", "apply"]
    assert bench.job("m0r1", "m0r0") == bench.job("m1r1", "m1r0") == ["apply"]
    assert bench.job("m2r1", "m0r0") == ["load", "apply"], "into the one that waits for longest"
    assert bench.job("m1r2", "m1r1") == ["apply"]


@pytest.mark.parametrize("bench", [{"keep": 0}, {"record": None}])
def test_nothing_is_moved_if_that_is_not_wanted_or_not_known_to_be_sound(
    tmp_path: Path, bench: dict[str, Any]
) -> None:
    own = Bench(tmp_path, **bench)
    own.job("m0r0")
    own.job("m1r0")
    assert own.job("m0r1", "m0r0") == ["setup", "load", "apply"]
    assert own.job("m0r2", "m0r1") == ["apply"]


class AppliesNothing(Climb):
    def setup(self, hyperparameters: Any, context: ev.Context) -> None:
        super().setup(hyperparameters, context)
        self.step = hyperparameters["step"]

    def apply(self, hyperparameters: Any) -> None:
        """What `setup` has done is enough, as long as every copy is set up."""


class AppliesOther(Climb):
    def setup(self, hyperparameters: Any, context: ev.Context) -> None:
        super().setup(hyperparameters, context)
        self.step = hyperparameters.get("step", 0.0)

    def apply(self, hyperparameters: Any) -> None:
        self.width = hyperparameters["width"]


class HandsOn(AppliesOther):
    def setup(self, hyperparameters: Any, context: ev.Context) -> None:
        super().setup(dict(hyperparameters), context)


@pytest.mark.parametrize("kind", [AppliesNothing, AppliesOther, HandsOn])
def test_what_only_setup_puts_in_force_is_set_up(tmp_path: Path, kind: type) -> None:
    bench = Bench(tmp_path, kind)
    bench.job("m0r0")
    bench.job("m1r0", step=5.0)
    assert "setup" in bench.job("m1r1", "m0r0", step=2.0)
    assert bench.metrics["at"] == 3.0


@pytest.mark.parametrize("kind", [AppliesNothing, AppliesOther])
def test_a_copy_of_who_was_trained_just_now_is_set_up_too(tmp_path: Path, kind: type) -> None:
    bench = Bench(tmp_path, kind)
    bench.job("m0r0", step=5.0)
    assert not bench.runner.holds(JobId(0, 0), {"step": 2.0, "width": 8})
    assert bench.runner.holds(JobId(0, 0), {"step": 5.0, "width": 8})
    assert "setup" in bench.job("m1r1", "m0r0", step=2.0)
    assert bench.metrics["at"] == 7.0


class LoadsOnce(Climb):
    def load(self, directory: Path) -> None:
        if hasattr(self, "loaded"):
            raise RuntimeError("loaded already")
        self.loaded = True
        super().load(directory)


def test_an_object_that_cannot_be_moved_is_set_up_and_the_job_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(tmp_path, LoadsOnce)
    bench.job("m0r0")
    bench.job("m1r0")
    bench.job("m0r1", "m0r0")
    assert bench.job("m1r1", "m1r0") == ["setup", "load", "apply"]
    assert "cannot take over job m1r1; from now on they are set up anew" in caplog.text
    assert bench.job("m0r2", "m0r1") == ["setup", "load", "apply"]


def test_what_is_in_no_log_is_loaded_and_not_gone_on_with(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.job("m0r0")
    bench.runner.distrust(JobId(0, 0))
    assert not bench.runner.holds(JobId(0, 0))
    assert bench.job("m0r1", "m0r0") == ["load", "apply"]


def test_an_earlier_attempt_is_not_gone_on_with_once_another_counts(tmp_path: Path) -> None:
    bench = Bench(tmp_path, keep=2)
    bench.job("m0r0")
    bench.job("m1r0")
    bench.job("m0r1", "m0r0", step=7.0)
    bench.runner.distrust(JobId(0, 1))  # another worker has lost it since: it comes back
    (tmp_path / "m0r1").rename(tmp_path / "refused")
    bench.job("m0r1", "m0r0")
    bench.job("m0r2", "m0r1")
    assert bench.metrics["at"] == 3.0


class Hungry(Climb):
    alive = 0

    def setup(self, hyperparameters: Any, context: ev.Context) -> None:
        super().setup(hyperparameters, context)
        type(self).alive += 1
        if self.alive > 1:
            raise MemoryError

    def close(self) -> None:
        type(self).alive -= 1


def test_without_memory_for_another_object_the_others_make_room(tmp_path: Path) -> None:
    Hungry.alive = 0
    bench = Bench(tmp_path, Hungry, keep=3)
    bench.job("m0r0")
    assert bench.job("m1r0")[-1] == "apply"
    assert Hungry.alive == 1


class Data(Climb):
    loads: list[str] = []  # noqa: RUF012 - of the worker

    @classmethod
    def setup_worker(cls, context: ev.WorkerContext, data_dir: str, **_: Any) -> None:
        cls.loads.append(f"{data_dir} for {context.study}")

    def setup(self, hyperparameters: Any, context: ev.Context, data_dir: str, k: int = 1) -> None:
        super().setup(hyperparameters, context)
        self.at = float(k)


def test_data_is_loaded_once_and_params_reach_setup(tmp_path: Path) -> None:
    Data.loads.clear()
    study = ev.create_study(
        "s", metric="at", mode="max", space=SPACE, population=8, rounds=2, store="memory://"
    )
    result = study.run(Data, params={"data_dir": "here", "k": 100}, workers=0, progress=False)
    assert Data.loads == ["here for s"]
    assert result.best.score > 100
    assert study.record.trainable == "tests.engines.test_live:Data"


def _train(job: ev.Job, k: int = 1) -> dict[str, float]:
    return {"at": float(k)}


@pytest.mark.parametrize("trainable", [_train, functools.partial(_train), f"{__name__}:_train"])
def test_params_reach_a_function_however_it_is_given(trainable: Any) -> None:
    study = ev.create_study(
        "s", metric="at", mode="max", space=SPACE, population=8, rounds=1, store="memory://"
    )
    run = functools.partial(study.run, trainable, workers=0, progress=False)
    assert run(params={"k": 7}).best.score == 7


@pytest.mark.parametrize(
    ("trainable", "params", "named"),
    [
        (Data, None, "setup does not take what it is given"),
        (Climb, {"speed": 1}, "speed of params"),
        (_train, {"speed": 1}, "wanted a function of one argument"),
        (_train, [1], "params: got \\[1\\]"),
    ],
)
def test_params_that_do_not_fit_are_refused_before_anything_starts(
    trainable: Any, params: Any, named: str
) -> None:
    study = ev.create_study(
        "s", metric="at", mode="max", space=SPACE, population=8, rounds=1, store="memory://"
    )
    with pytest.raises(ConfigError, match=named):
        study.run(trainable, params=params, workers=0, progress=False)
    assert study.status().started_at is None


class Restarts(Climb):
    """Hands out its own statistics, and begins new ones as it saves."""

    def train(self) -> dict[str, Any]:
        self.stats = {**super().train(), "more": {"n": [1, 2], "at": np.ones(2)}}
        return self.stats

    def save(self, directory: Path) -> None:
        super().save(directory)
        self.stats["more"]["n"].clear()
        self.stats["more"]["at"] -= 5
        self.stats.clear()


def test_metrics_are_those_that_train_returned_whatever_save_does(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Restarts)
    bench.job("m0r0")
    assert bench.metrics["more"]["n"] == [1, 2]
    assert bench.metrics["more"]["at"].tolist() == [1, 1]
