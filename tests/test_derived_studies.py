"""The control arm: same first members, seed and compute, and nothing but random search."""

from __future__ import annotations

from typing import Any

import pytest

import evolvent as ev
from evolvent.errors import ConfigError, StudyExists
from tests.engines.trainables import climb


def new_study(**changes: Any) -> ev.Study:
    settings: dict[str, Any] = {
        "metric": "at", "mode": "max", "space": {"step": ev.Uniform(0.1, 1.0)}, "population": 4,
        "rounds": 5, "seed": 7, "synchronous": True, "store": "memory://", "durability": "process",
        "algorithm": ev.PBT(ev.Truncation(0.5)),
    } | changes  # fmt: skip
    return ev.create_study("bred", **settings)


def trained(study: ev.Study) -> ev.Study:
    study.run(climb, workers=0, progress=False)
    return study


def first_round(study: ev.Study) -> list[Any]:
    jobs = [job for job in study.jobs("done") if job.round == 0]
    return [(j.hyperparameters, j.metrics) for j in sorted(jobs, key=lambda j: j.member)]


def test_it_starts_with_the_same_members_and_the_same_seeds() -> None:
    study = trained(new_study(initial=[{"step": 0.3}]))
    control = trained(study.control())
    assert control.name == "bred-control"
    assert first_round(control) == first_round(study)
    assert len(control.jobs("done")) == len(study.jobs("done")) == 20


def test_it_copies_nobody_and_changes_nothing() -> None:
    control = trained(trained(new_study()).control())
    assert all(job.donor is None for job in control.jobs())
    by_member = {(job.member, job.hyperparameters["step"]) for job in control.jobs()}
    assert len(by_member) == 4


def test_pushed_members_are_among_its_first() -> None:
    study = new_study()
    study.push({"step": 0.77})
    control = trained(study).control()
    trained(control)
    assert control.record.population == 5
    assert first_round(control) == first_round(study)
    assert first_round(control)[4][0] == {"step": 0.77}


def test_it_can_be_made_before_the_study_is_over() -> None:
    study = new_study()
    control = trained(study.control())
    assert first_round(control) == first_round(trained(study))


def test_no_target_ends_it_before_its_compute_is_used_up() -> None:
    study = trained(new_study(target=0.5))
    assert study.status().state == "stopped"
    assert study.control().record.target is None


def test_of_a_study_that_was_stopped_it_gets_the_jobs_that_were_trained() -> None:
    study = new_study()

    def stops(job: ev.Job) -> dict[str, float]:
        if job.id == "m1r2":
            study.stop()
        return climb(job)

    study.run(stops, workers=0, progress=False)
    jobs = len(study.jobs("done"))
    assert 8 < jobs < 12
    control = trained(study.control())
    assert len(control.jobs("done")) == 12
    assert ev.compare(study, control).budget == jobs


def test_asked_for_again_it_is_the_same_and_grows_with_the_study() -> None:
    study = trained(new_study())
    first = trained(study.control())
    study.extend(7)
    again = study.control()
    assert again.id == first.id
    assert again.record.rounds == 7
    assert len(trained(again).jobs("done")) == 28


def test_a_name_that_is_taken_is_refused() -> None:
    study = new_study()
    with pytest.raises(StudyExists, match="'bred' exists with another algorithm"):
        study.control("bred")
    with pytest.raises(ConfigError, match="name: got ''"):
        study.control("")
    assert study.control("other").name == "other"
