"""The front door: create, load, list, run, steer."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import evolvent as ev
from tests.engines.local.test_driver import new_study
from tests.engines.trainables import climb


def settings(tmp_path: Path, **changes: Any) -> dict[str, Any]:
    return {
        "metric": "at",
        "mode": "max",
        "space": {"step": ev.Uniform(0.1, 1.0)},
        "population": 4,
        "rounds": 3,
        "store": f"sqlite:///{tmp_path}/e.db",
        "durability": "process",
    } | changes


def trained(study: ev.Study, trainable: Any = climb) -> ev.Study:
    study.run(trainable, workers=0, progress=False)
    return study


# --- create, load, list ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"metric": 3}, "metric: got int 3"),
        ({"mode": "maximize"}, "mode: got 'maximize', wanted 'max' or 'min'"),
        ({"mode": ["max"]}, "mode: got"),
        ({"space": [1]}, "space: got"),
        ({"space": {}}, "space: got no hyperparameter"),
        ({"space": {"lr": "Uniform"}}, "lr: got the text 'Uniform', wanted the distribution"),
        ({"space": {"a.b": 1}}, "'a.b'"),
        ({"population": "8"}, "population: got '8', wanted a whole number, 1 to 1000000"),
        ({"population": 0}, "population: got 0"),
        ({"population": 10**9}, "population: got 1000000000"),
        ({"rounds": 2.0}, "rounds: got 2.0"),
        ({"seed": -1}, "seed: got -1"),
        ({"seed": True}, "seed: got True"),
        ({"algorithm": "pbt"}, "algorithm: got 'pbt'"),
        ({"algorithm": ev.PBT}, "algorithm: got"),
        ({"initial": {"step": 0.5}}, "initial: got {'step': 0.5}, wanted a list of dicts"),
        ({"initial": [{"step": 5}]}, "step: got 5"),
        ({"initial": [{"stop": 1}]}, "stop: not in the space"),
        ({"initial": [{}] * 5}, "initial: got 5 configurations for a population of 4"),
        ({"durability": "none"}, "durability: got 'none'"),
        ({"max_failures": -1}, "max_failures: got -1"),
        ({"target": float("nan")}, "target: got nan"),
        ({"trainable": climb}, "trainable: got <function"),
        ({"trainable": "climb"}, "trainable: got 'climb'"),
        ({"store": None}, "store: got NoneType"),
        ({"store": Path("e.db")}, "store: got PosixPath"),
        ({"store": "mysql://here"}, "store: got 'mysql://here'"),
    ],
)
def test_bad_settings_are_named_before_anything_is_written(
    tmp_path: Path, changes: dict[str, Any], named: str
) -> None:
    with pytest.raises(ev.ConfigError) as error:
        ev.create_study("s", **settings(tmp_path, **changes))
    assert named in str(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["", " s", "a\nb", "x" * 101, None])
def test_a_bad_name_is_refused(tmp_path: Path, name: Any) -> None:
    with pytest.raises(ev.ConfigError, match="name: got"):
        ev.create_study(name, **settings(tmp_path))


def test_numbers_of_numpy_will_do(tmp_path: Path) -> None:
    changes = {"population": np.int64(3), "target": np.float32(0.5)}
    record = ev.create_study("s", **settings(tmp_path, **changes)).record
    assert (record.population, record.target) == (3, 0.5)


def test_a_study_is_found_by_name_and_the_newest_without(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/e.db"
    for name in ("first", "second"):
        ev.create_study(name, **settings(tmp_path))
    assert ev.load_study("first", store=url).name == "first"
    assert ev.load_study(store=url).name == "second"
    assert [status.record.name for status in ev.list_studies(url)] == ["first", "second"]
    with pytest.raises(ev.UnknownStudy, match="'first'"):
        ev.load_study("frist", store=url)


def test_an_empty_store_has_no_newest_study() -> None:
    with pytest.raises(ev.UnknownStudy, match="no study yet"):
        ev.load_study(store=ev.open_store("memory://"))


def test_a_store_that_is_not_there_is_not_made_by_looking(tmp_path: Path) -> None:
    for look in (ev.list_studies, lambda url: ev.load_study(store=url)):
        with pytest.raises(ev.StoreError, match=r"none\.db"):
            look(f"sqlite:///{tmp_path}/none.db")
    assert list(tmp_path.iterdir()) == []


# --- resume=True -------------------------------------------------------------------------------

EVERY_KIND: dict[str, Any] = {
    "uniform": ev.Uniform(0, 1),
    "log": ev.LogUniform(1e-5, 1),
    "whole": ev.IntUniform(1, 5),
    "whole_log": ev.LogIntUniform(1, 500),
    "normal": ev.Normal(0, 1),
    "choice": ev.Choice((16, "x", None, True)),
    "ordinal": ev.Ordinal([1, 2, 4]),
    "constant": 3,
    "nested": {"weighted": ev.Choice(["a", "b"], weights=[1, 2])},
}


def test_the_same_settings_find_the_same_study(tmp_path: Path) -> None:
    given = settings(
        tmp_path,
        space=EVERY_KIND,
        initial=[{"uniform": np.float64(0.5), "nested": {"weighted": "a"}}],
        algorithm=ev.PBT(ev.Truncation(0.25, burn_in=1), [ev.Resample(0.25), ev.Perturb()]),
        target=7,
    )
    study = ev.create_study("s", **given)
    with pytest.raises(ev.StudyExists, match="'s'") as caught:
        ev.create_study("s", **given)
    # Both ways out in one line, and no second traceback.
    for way in ("resume=True", f"`evolvent rm s --store {given['store']}`"):
        assert way in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.__suppress_context__
    assert ev.create_study("s", **given, resume=True).id == study.id
    assert ev.create_study("s", **given, exist_ok=True).id == study.id


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"population": 5},
        {"mode": "min"},
        {"space": {"step": ev.Uniform(0.1, 2.0)}},
        {"best": "mean of 3"},
    ],
)
def test_another_setting_is_refused_by_its_name(tmp_path: Path, changes: dict[str, Any]) -> None:
    ev.create_study("s", **settings(tmp_path))
    with pytest.raises(ev.StudyExists, match=f"another {next(iter(changes))}"):
        ev.create_study("s", **settings(tmp_path, **changes), resume=True)


def test_what_differs_deep_within_a_setting_is_named(tmp_path: Path) -> None:
    def refused(first: dict[str, Any], then: dict[str, Any]) -> str:
        name = f"s{next(numbers)}"
        ev.create_study(name, **{**given, **first})
        with pytest.raises(ev.StudyExists) as caught:
            ev.create_study(name, **{**given, **then}, resume=True)
        return str(caught.value).partition(" exists with another ")[2].partition(";")[0]

    given, numbers = settings(tmp_path), itertools.count()
    narrow, wide = ({"space": {"a": {"step": ev.Uniform(0.1, x)}}} for x in (1.0, 2.0))
    assert refused(narrow, wide) == "space.a.step.high: it has 1.0, got 2.0"
    chains = ([ev.Resample(0.25), ev.Perturb(factors=(0.5, x))] for x in (2.0, 3.0))
    one, other = ({"algorithm": ev.PBT(explore=chain)} for chain in chains)
    assert refused(one, other) == "algorithm.explore[1].factors[1]: it has 2.0, got 3.0"
    assert refused(one, {"algorithm": ev.RandomSearch()}) == (
        "algorithm: it has 'PBT', got 'RandomSearch'"
    )


def test_more_rounds_extend_and_fewer_do_not_shorten(tmp_path: Path) -> None:
    trained(ev.create_study("s", **settings(tmp_path)))
    study = ev.create_study("s", **settings(tmp_path, rounds=5), resume=True)
    assert len(trained(study).jobs("done")) == 20
    study = ev.create_study("s", **settings(tmp_path, rounds=2), resume=True)
    assert (study.record.rounds, study.status().state) == (5, "finished")


def test_the_default_is_stored_with_the_steps_of_its_rounds(tmp_path: Path) -> None:
    study = ev.create_study("s", **settings(tmp_path, rounds=10))
    assert study.record.algorithm == ev.PBT(
        ev.Truncation(0.25), [ev.Perturb(factors=(0.622, 1.607)), ev.Resample(0.25)]
    )


def test_more_rounds_leave_the_steps_of_the_default_as_they_are(tmp_path: Path) -> None:
    space = {"step": ev.LogUniform(0.001, 1.0)}
    began = trained(ev.create_study("s", **settings(tmp_path, space=space))).record.algorithm
    study = ev.create_study("s", **settings(tmp_path, space=space, rounds=32), resume=True)
    assert trained(study).record.algorithm == began == ev.PBT().for_rounds(3)
    assert ev.PBT().for_rounds(32).exploit != began.exploit
    again = ev.create_study("s", **settings(tmp_path, space=space, rounds=32), resume=True)
    assert again.record.algorithm == began
    copied = [job.id for job in again.jobs("done") if job.donor is not None and job.round > 2]
    assert copied
    assert all(again.explain(job).agrees for job in copied)


@pytest.mark.filterwarnings("ignore::evolvent.StepsTooLarge")  # of the steps of before
@pytest.mark.parametrize("first", [None, ev.PBT().for_rounds(3)])
def test_a_narrow_interval_takes_steps_that_fit_it_and_keeps_them(
    tmp_path: Path, first: Any
) -> None:
    space = {"step": ev.Uniform(0.9, 0.999)}
    study = ev.create_study("s", **settings(tmp_path, space=space, algorithm=first))
    began = study.record.algorithm
    assert began == (first or ev.PBT().for_rounds(3, study.record.space))
    again = ev.create_study("s", **settings(tmp_path, space=space, rounds=9), resume=True)
    assert again.record.algorithm == began
    copied = [job for job in trained(again).jobs("done") if job.donor is not None]
    assert copied
    at_a_bound = [job for job in copied if job.hyperparameters["step"] in {0.9, 0.999}]
    assert bool(at_a_bound) is (first is not None)
    assert all(again.explain(job.id).agrees for job in copied)


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (ev.PBT(explore=ev.Perturb(factors=(0.622, 1.607))), ev.PBT()),
        (ev.PBT(), ev.PBT(explore=[ev.Perturb(factors=(0.622, 1.607)), ev.Resample(0.25)])),
        (ev.PBT(), ev.PBT(ev.CopyBest())),
        (ev.PBT(), ev.RandomSearch()),
        (ev.RandomSearch(), ev.PBT()),
    ],
)
def test_another_algorithm_is_refused_beside_the_default(
    tmp_path: Path, first: Any, then: Any
) -> None:
    ev.create_study("s", **settings(tmp_path, algorithm=first))
    with pytest.raises(ev.StudyExists, match="another algorithm"):
        ev.create_study("s", **settings(tmp_path, rounds=10, algorithm=then), resume=True)


def test_another_target_replaces_the_old_one(tmp_path: Path) -> None:
    ev.create_study("s", **settings(tmp_path, target=1.0))
    assert ev.create_study("s", **settings(tmp_path, target=2.0), resume=True).record.target == 2.0
    assert ev.create_study("s", **settings(tmp_path), resume=True).record.target == 2.0


# --- run ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"workers": -1}, "workers: got -1"),
        ({"devices": "cuda:0"}, "devices: got the string"),
        ({"per_device": 0}, "per_device: got 0"),
        ({"threads": 0}, "threads: got 0"),
        ({"engine": "ray"}, "engine: got 'ray'"),
        ({"lease_s": 0}, "lease_s: got 0"),
        ({"hang_s": -1.0}, "hang_s: got -1.0"),
        ({"wall_time_s": "1h"}, "wall_time_s: got '1h'"),
        ({"grace_s": 0}, "grace_s: got 0"),
        ({"trainable": 3}, "wanted a function"),
        ({"trainable": object}, "must derive from ev.Trainable"),
        ({"trainable": ev.Trainable}, "lacks apply, load, save, setup, train"),
    ],
)
def test_bad_options_are_named_before_anything_starts(
    tmp_path: Path, changes: dict[str, Any], named: str
) -> None:
    study = new_study(tmp_path)
    study.stop()
    with pytest.raises(ev.ConfigError) as error:
        study.run(**{"trainable": climb, "workers": 0, "progress": False, **changes})
    assert named in str(error.value)
    assert study.status().state == "stopped"


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("climb", "wanted 'package.module:name'"),
        ("no_such_module:climb", "no module 'no_such_module'"),
        ("tests.engines.trainables:fly", "fly"),
    ],
)
def test_an_import_path_that_leads_nowhere_is_named(
    tmp_path: Path, workers: int, path: str, named: str
) -> None:
    with pytest.raises(ev.ConfigError) as error:
        new_study(tmp_path).run(path, workers=workers, progress=False)
    assert named in str(error.value)


def test_a_population_of_one_trains(tmp_path: Path) -> None:
    study = trained(new_study(tmp_path, population=1, synchronous=True))
    assert [job.id for job in study.jobs("done")] == ["m0r0", "m0r1", "m0r2"]


def descend(job: ev.Job) -> dict[str, float]:
    return {"at": -climb(job)["at"]}


def test_to_minimise_finds_the_lowest_value(tmp_path: Path) -> None:
    study = trained(new_study(tmp_path, mode="min", target=-2.0, rounds=9), descend)
    best = study.result().best
    assert best.value == min(job.metrics["at"] for job in study.jobs("done")) <= -2.0
    assert best.score == -best.value
    assert f"best at {best.value:.6g}" in repr(study.result())
    assert study.status().state == "stopped"


def nested_climb(job: ev.Job) -> dict[str, float]:
    inner: Mapping[str, Any] = job.hyperparameters["inner"]
    assert set(inner) == {"step", "kind"}
    job.hyperparameters = inner
    return climb(job)


def test_a_nested_space_stays_nested_everywhere(tmp_path: Path) -> None:
    space = {"inner": {"step": ev.Uniform(0.1, 1.0), "kind": ev.Choice(["a", "b"])}, "outer": 1}
    given = {"inner": {"step": 0.5, "kind": "b"}, "outer": 1}
    study = trained(new_study(tmp_path, space=space, initial=[given]), nested_climb)
    assert study.job("m0r0").hyperparameters == given
    best = study.result().best
    assert set(best.hyperparameters["inner"]) == {"step", "kind"}
    assert best.schedule.at(0) == study.lineage(best.job.id)[0].hyperparameters
    assert "inner.step" in str(best.schedule)
    pushed = study.push({"inner": {"step": 0.25}})
    assert study.job(pushed).hyperparameters["inner"]["step"] == 0.25


def test_two_threads_share_a_study_in_memory(tmp_path: Path) -> None:
    study = new_study(tmp_path, store="memory://", rounds=20)
    threads = [threading.Thread(target=trained, args=(study,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(study.jobs("done")) == 80
    assert study.failures() == []


def test_there_is_no_best_before_the_first_job(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    with pytest.raises(ev.EvolventError, match="no finished job yet"):
        _ = study.result().best
    assert "0 jobs done" in repr(study.result())


# --- steer -------------------------------------------------------------------------------------


def test_a_stopped_study_goes_on_with_run(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    study.stop("enough for today")
    assert study.next_job() is None
    assert study.status().stopped == "enough for today"
    study.resume()
    assert study.status().state == "open"
    study.stop()
    assert trained(study).status().state == "finished"


def test_extend_goes_on_where_a_study_ended(tmp_path: Path) -> None:
    # The steps of the default follow the rounds that a study begins with.
    settings: dict[str, Any] = {"synchronous": True, "algorithm": ev.PBT(explore=ev.Perturb())}
    study = trained(new_study(tmp_path, **settings))
    study.extend(5)
    longer = trained(study).jobs("done")
    at_once = trained(new_study(tmp_path, name="at once", rounds=5, **settings)).jobs("done")
    assert {(j.id, j.score, j.checkpoint) for j in longer} == {
        (j.id, j.score, j.checkpoint) for j in at_once
    }
    with pytest.raises(ev.ConfigError, match="rounds: got 4"):
        study.extend(4)
    with pytest.raises(ev.ConfigError, match="rounds: got 'more'"):
        study.extend("more")  # type: ignore[arg-type]  # what is tested


def test_a_target_out_of_reach_opens_the_study_again(tmp_path: Path) -> None:
    study = trained(new_study(tmp_path, target=0.9))
    assert study.status().state == "stopped"
    study.retarget(2.5)
    assert study.status().state == "open"
    study.retarget(None)
    assert trained(study).status().state == "finished"
    with pytest.raises(ev.ConfigError, match="target: got 'high'"):
        study.retarget("high")  # type: ignore[arg-type]  # what is tested


@pytest.mark.parametrize("synchronous", [False, True])
def test_a_pushed_member_catches_up(tmp_path: Path, synchronous: bool) -> None:
    study = new_study(tmp_path, synchronous=synchronous)

    def pushes_once(job: ev.Job) -> dict[str, float]:
        if job.id == "m1r1":
            study.push({"step": 0.75})
        return climb(job)

    trained(study, pushes_once)
    assert study.status().state == "finished"
    assert study.job("m4r0").hyperparameters == {"step": 0.75}
    assert len(study.jobs("done")) == 15
    study.push({})  # also when all is over
    assert len(trained(study).jobs("done")) == 18
    with pytest.raises(ev.ConfigError, match="step: got 7"):
        study.push({"step": 7})


def test_a_pin_keeps_a_checkpoint(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    for _ in range(4):
        with study.next_job() as job:  # type: ignore[union-attr]  # there are four
            job.metrics = climb(job)
    study.pin("m0r0")
    trained(study)
    assert (study.checkpoint("m0r0") / "at.json").exists()
    gone = next(j.id for j in study.jobs("done") if j.round == 0 and j.id != "m0r0")
    with pytest.raises(ev.CheckpointError):
        study.checkpoint(gone)
    study.unpin("m0r0")
    with pytest.raises(ev.CheckpointError):
        study.checkpoint("m0r0")
    for unknown in ("m9r9", "the best"):
        with pytest.raises(ev.UnknownJob):
            study.pin(unknown)


def test_a_deleted_study_is_gone_with_its_checkpoints(tmp_path: Path) -> None:
    study = trained(new_study(tmp_path))
    study.delete()
    assert list(tmp_path.glob("e.checkpoints/*")) == []
    with pytest.raises(ev.UnknownStudy):
        study.status()


def test_run_remembers_training_code_that_can_be_imported(tmp_path: Path) -> None:
    study = trained(ev.create_study("s", **settings(tmp_path)))
    assert study.record.trainable == "tests.engines.trainables:climb"


def test_run_does_not_remember_training_code_that_cannot_be_imported(tmp_path: Path) -> None:
    study = trained(ev.create_study("s", **settings(tmp_path)), lambda job: climb(job))  # noqa: PLW0108 - a function without a name
    assert study.record.trainable is None
