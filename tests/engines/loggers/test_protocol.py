"""What loggers get: entries on axes that only go forward."""

from __future__ import annotations

from typing import Any

import pytest

import evolvent as ev
from evolvent.core.records import JobId, JobRecord, JobState
from evolvent.core.space import Space
from evolvent.engines.loggers.follower import LogReader
from evolvent.engines.loggers.protocol import (
    Entry,
    ProgressTracker,
    SettingValues,
    StepAxis,
    change_text,
    check_loggers,
    file_name,
    key,
    local_directory,
)
from evolvent.store.records import Point
from tests.contract.crew import Crew
from tests.integrations.logged import bred_study


def entry(member: int = 0, round: int = 0, **changes: Any) -> Entry:
    """Return an entry of a member that went on from its own weights."""
    job = {
        "state": JobState.DONE, "hyperparameters": {"lr": 0.1}, "score": 1.0,
        "metrics": {"at": 1.0}, "started_at": 100.0, "finished_at": 110.0,
    }  # fmt: skip
    about = {
        "number": 0, "age": round + 1, "line": JobId(member, 0), "before": None,
        "read_points": list,
    }  # fmt: skip
    for name, value in changes.items():
        (about if name in about else job)[name] = value
    return Entry(job=JobRecord(member, round, **job), **about)  # type: ignore[arg-type]


def points(*steps: float) -> list[Point]:
    return [Point(step, {"loss": step}) for step in steps]


def places(*steps: float) -> list[float]:
    return [round(place, 3) for place, _ in entry(read_points=lambda: points(*steps)).points]


@pytest.fixture(scope="module")
def entries() -> dict[str, Entry]:
    study = bred_study()
    return {str(e.job.id): e for e in LogReader(study.store, study.id).read()}


def test_a_copy_names_what_was_copied_and_no_other_job_does(entries: dict[str, Entry]) -> None:
    copied = {name: str(e.copied) for name, e in entries.items() if e.copied is not None}
    assert copied == {
        "m1r1": "m3r0", "m2r2": "m1r1", "m0r3": "m1r2", "m2r4": "m1r3", "m3r5": "m2r4",
    }  # fmt: skip


def test_weights_are_as_old_as_their_lineage_is_long() -> None:
    study = ev.create_study(
        "late", metric="at", mode="max", population=1, rounds=3, store="memory://",
        space={"lr": ev.Uniform(0.1, 1.0)}, algorithm=ev.PBT(ev.CopyBest()),
    )  # fmt: skip
    study.run(_lr_and_a_file, workers=0, progress=False)
    study.push({"lr": 0.1})
    study.run(_lr_and_a_file, workers=0, progress=False)
    entries = {str(e.job.id): e for e in LogReader(study.store, study.id).read()}
    copied = entries["m1r1"]  # of m0r2
    assert (entries["m1r0"].age, entries["m1r0"].line) == (1, "m1r0")
    assert (copied.age, copied.line, copied.copied) == (4, "m1r1", "m0r2")
    assert StepAxis("member").step(copied) == 2
    assert StepAxis("lineage").step(copied) == 4


def test_an_axis_by_member_counts_its_own_rounds_through_copies(entries: dict[str, Entry]) -> None:
    axis = StepAxis("member", 100)
    steps = [(axis.run(e), axis.step(e)) for e in entries.values() if e.job.member == 2]
    assert steps == [("m2", 100), ("m2", 200), ("m2", 300), ("m2", 400), ("m2", 500), ("m2", 600)]


def test_an_axis_by_lineage_starts_another_run_where_the_donor_stood(
    entries: dict[str, Entry],
) -> None:
    axis = StepAxis("lineage")
    steps = [(axis.run(e), axis.step(e)) for e in entries.values() if e.job.member == 2]
    assert steps == [
        ("m2r0", 1), ("m2r0", 2), ("m2r2", 3), ("m2r2", 4), ("m2r4", 5), ("m2r4", 6),
    ]  # fmt: skip


def test_a_point_stands_before_the_end_of_its_round() -> None:
    assert StepAxis("member", 1000).step(entry(round=4), 0.5) == 4500
    assert StepAxis("member", 1000).step(entry(round=4)) == 5000


def test_points_are_spread_by_their_steps() -> None:
    assert places(0, 10, 20) == [0.25, 0.5, 0.75]
    assert places(100, 110, 140) == [0.25, 0.375, 0.75]
    assert places(5, 5, 10) == [0.25, 0.25, 0.75]


def test_points_whose_steps_go_back_are_spread_by_their_order() -> None:
    assert places(0, 10, 0) == [0.25, 0.5, 0.75]
    assert places(3, 3, 3) == [0.25, 0.5, 0.75]
    assert places(7) == [0.5]
    assert places() == []


def test_a_place_in_a_round_has_a_time_in_it() -> None:
    assert entry().at(0.25) == 102.5
    assert entry(started_at=None).at(0.25) == 110.0


def test_values_are_metrics_numbers_of_hyperparameters_and_marks() -> None:
    space = Space.of(
        {"lr": ev.Uniform(0, 1), "net": {"act": ev.Choice(["relu", None, True])}, "batch": 32,
         "width": ev.Ordinal([16, 32])}
    )  # fmt: skip
    now = {"lr": 0.1, "net.act": True, "batch": 32, "width": 32}
    copied = entry(
        2, 3, hyperparameters=now, age=9, parent=JobId(1, 7), line=JobId(2, 3), score=None,
        state=JobState.FAILED, metrics={},
    )  # fmt: skip
    assert SettingValues(space).of(copied) == {
        "hyperparameters/lr": 0.1,
        "hyperparameters/net.act": 2.0,
        "hyperparameters/width": 32.0,
        "evolvent/round": 4.0,
        "evolvent/weights_age": 9.0,
        "evolvent/copied_from": 1.0,
        "evolvent/failed": 1.0,
    }


def test_a_change_is_told_with_its_reason_or_else_its_values() -> None:
    before = {"lr": 0.2, "act": "relu"}
    now = {"lr": 0.12345678, "act": "tanh"}
    kept = entry(1, 3, before=before, hyperparameters=now)
    assert change_text(kept) == "**m1r3** goes on: `lr` 0.2 → 0.1235, `act` relu → tanh"
    copied = entry(1, 3, before=before, parent=JobId(0, 2), line=JobId(1, 3), reason="ranks last")
    assert change_text(copied) == "**m1r3** copied **m0r2**: ranks last"
    same = entry(1, 3, before={"lr": 0.1}, parent=JobId(0, 2), line=JobId(1, 3))
    assert change_text(same) == "**m1r3** copied **m0r2**: with the same values"
    assert change_text(entry(1, 3, before={"lr": 0.1})) is None


def test_a_study_of_any_name_has_a_directory_of_its_own() -> None:
    assert file_name("toy, PBT (2)") == "toy, PBT (2)"
    names = ["a/b", "a%2Fb", "..", "%2E.", ".x", "a\\b", "ä"]
    assert len({file_name(name) for name in names}) == len(names)
    assert not any("/" in file_name(name) or file_name(name).startswith(".") for name in names)


def test_the_key_tells_studies_and_axes_apart() -> None:
    status = bred_study().status()
    assert key(status, StepAxis()) == key(status, StepAxis())
    assert key(status, StepAxis()) != key(status, StepAxis("lineage"))
    assert key(status, StepAxis()) != key(bred_study().status(), StepAxis())


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: StepAxis("family"), "by: got 'family', wanted 'member' or 'lineage'"),
        (lambda: StepAxis("member", 0), "steps_per_round: got 0"),
        (lambda: local_directory("s3://here"), "directory: got 's3://here'"),
        (lambda: local_directory(" "), "directory: got ' '"),
        (lambda: local_directory(3), "directory: got 3"),
        (lambda: check_loggers("tensorboard"), "loggers: got 'tensorboard', wanted a list"),
        (lambda: check_loggers(["tensorboard"]), "ev.tensorboard.Logger('runs')"),
        (lambda: check_loggers([StepAxis]), "loggers: got <class"),
    ],
)
def test_bad_arguments_are_named(call: Any, named: str) -> None:
    with pytest.raises(ev.ConfigError) as error:
        call()
    assert named in str(error.value)


class Unready:
    """A logger that cannot say its place yet."""

    @property
    def place(self) -> str:
        raise OSError("asked too early")

    def check(self, status: Any) -> None: ...

    open = write = close = check


class Passing:
    """A wrapper that passes on whatever it is asked for."""

    def __init__(self, logger: Any) -> None:
        self._logger = logger

    def __getattr__(self, name: str) -> Any:
        return getattr(self._logger, name)


def test_a_logger_may_be_wrapped_and_is_not_asked_for_its_place_beforehand() -> None:
    loggers: list[Any] = [Unready(), Passing(ev.tensorboard.Logger("runs"))]
    assert check_loggers(loggers) == loggers


def _lr_and_a_file(job: ev.Job) -> dict[str, float]:
    (job.directory / "x").touch()
    return {"at": job.hyperparameters["lr"] + job.round}


def test_progress_has_the_best_as_the_study_chooses_it() -> None:
    crew = Crew(ev.open_store("memory://"), population=1, rounds=4, best="mean of 2", mode="min")
    for score in (-1.0, -3.0, 0.0, -2.0):
        crew.train(score)
    tracker, shown = ProgressTracker(crew.record), []
    for entry in LogReader(crew.store, crew.id).read():
        progress = tracker.take(entry)
        assert progress is not None
        shown.append(progress.best)
    assert shown == [1.0, 2.0, 1.5, 1.0]
    assert crew.status().best_value == 1.0
