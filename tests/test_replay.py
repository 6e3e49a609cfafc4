"""Replays: the schedule is trained round by round, and what it comes to is told as it is."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

import evolvent as ev
from evolvent.analysis.schedule.schedule import Schedule
from evolvent.analysis.schedule.segments import Segment
from evolvent.errors import ConfigError, OutOfSpace, StudyExists
from tests.trainables import climb, fall

SPACE = {"step": ev.Uniform(0.0, 1.0), "net": {"width": ev.Choice([8, 16])}, "batch": 32}


def bred(**changes: Any) -> ev.Study:
    """A trained study whose best lineage has copies and several segments."""
    settings: dict[str, Any] = {
        "metric": "height", "mode": "max", "space": SPACE, "population": 4, "rounds": 8, "seed": 3,
        "algorithm": ev.PBT(ev.Truncation(0.5), {"step": ev.Gaussian(0.2)}),
        "synchronous": True, "store": "memory://", "durability": "process",
    } | changes  # fmt: skip
    study = ev.create_study("hill", **settings)
    study.run(climb, workers=0, progress=False)
    return study


def quietly(study: ev.Study, schedule: Any = None, train: Any = climb, **wishes: Any) -> Any:
    return study.replay(schedule, train, workers=0, progress=False, **wishes)


def trained(study: ev.Study, name: str = "hill-replay") -> dict[int, list[Any]]:
    """The hyperparameters of every member of a replay, in the order of its rounds."""
    jobs = ev.load_study(name, store=study.store).jobs()
    members = sorted({job.member for job in jobs})
    return {
        m: [j.hyperparameters for j in sorted(jobs, key=lambda j: j.round) if j.member == m]
        for m in members
    }


def steps(*lengths_and_steps: tuple[int, float], **more: Any) -> Schedule:
    return Schedule.piecewise([(n, {"step": s, **more}) for n, s in lengths_and_steps])


# --- what is trained ---------------------------------------------------------------------------


def test_replaying_the_best_lineage_gives_exactly_the_original_score() -> None:
    study = bred()
    best = study.result().best
    assert any(job.donor is not None for job in best.lineage)
    assert len(best.schedule.segments) > 1
    report = quietly(study)
    assert report.replay.scores == (best.value,) * 3
    assert report.original.value == best.value
    assert report.against_original.value == 0.0


def test_scores_are_those_after_the_schedule_though_an_older_call_trained_longer() -> None:
    study = bred()
    flat = {"net": {"width": 8}, "batch": 32}
    longer = quietly(study, steps((6, 0.5), **flat))
    report = quietly(study, steps((3, 0.5), **flat))
    assert report.replay.scores == quietly(study, steps((3, 0.5), **flat), name="b").replay.scores
    assert report.replay.scores != longer.replay.scores


def test_the_log_of_a_replay_has_the_schedule_round_by_round() -> None:
    study = bred()
    lineage = [job.hyperparameters for job in study.result().best.lineage]
    quietly(study, seeds=2)
    assert trained(study) == {0: lineage, 1: lineage}
    assert trained(study, "hill-replay-last") == {0: [lineage[-1]] * 8, 1: [lineage[-1]] * 8}


def test_it_is_a_study_of_its_own_that_copies_nothing_and_has_fresh_seeds() -> None:
    study = bred()
    quietly(study, seeds=2)
    replay, last = (
        ev.load_study(name, store=study.store) for name in ("hill-replay", "hill-replay-last")
    )
    assert all(job.donor is None for job in replay.jobs())
    assert replay.status().state == "finished"
    assert replay.record.seed == last.record.seed != study.record.seed


def test_the_arms_have_the_same_seeds() -> None:
    study, seen = bred(), {}

    def train(job: ev.Job) -> dict[str, float]:
        seen[job.study, job.id] = job.seed
        return climb(job)

    quietly(study, train=train, seeds=2)
    of_replay = {id: seed for (name, id), seed in seen.items() if name == "hill-replay"}
    of_last = {id: seed for (name, id), seed in seen.items() if name == "hill-replay-last"}
    assert of_replay == of_last
    assert len(set(of_replay.values())) == 16


def test_attempts_that_fail_do_not_move_the_schedule() -> None:
    study = bred()

    def stumbling(job: ev.Job) -> dict[str, float]:
        if job.attempt == 1 and job.round % 2:
            raise RuntimeError("a stone on the way")
        return climb(job)

    lineage = [job.hyperparameters for job in study.result().best.lineage]
    report = quietly(study, train=stumbling, seeds=2)
    assert trained(study) == {0: lineage, 1: lineage}
    assert report.replay.scores == (report.original.value,) * 2


def test_a_replay_that_was_cut_short_goes_on_where_it_was() -> None:
    study, trained_jobs = bred(), []

    def tired(job: ev.Job) -> dict[str, float]:
        if len(trained_jobs) == 7:
            raise KeyboardInterrupt
        trained_jobs.append(job.id)
        return climb(job)

    with pytest.raises(KeyboardInterrupt):
        quietly(study, train=tired, seeds=2)
    lineage = [job.hyperparameters for job in study.result().best.lineage]
    report = quietly(study, seeds=2)
    assert trained(study) == {0: lineage, 1: lineage}
    assert report.replay.scores == (report.original.value,) * 2
    assert len(ev.list_studies(study.store)) == 3


def test_the_time_being_used_up_is_told_as_an_interruption_and_the_other_arm_waits() -> None:
    study = bred()
    report = quietly(study, wall_time_s=1e-9)
    assert report.interrupted
    assert report.last is None
    assert "Interrupted: the same command goes on." in str(report)
    again = quietly(study)
    assert not again.interrupted
    assert again.replay.scores == (again.original.value,) * 3


# --- schedules from elsewhere ------------------------------------------------------------------


def test_a_schedule_given_by_hand_is_filled_up_with_constants_and_typed() -> None:
    study = bred()
    quietly(study, steps((2, 1), (1, 0), net={"width": 8}), seeds=1)
    first, second = ({"step": s, "net": {"width": 8}, "batch": 32} for s in (1.0, 0.0))
    assert trained(study) == {0: [first, first, second]}
    assert type(trained(study)[0][0]["step"]) is float


def test_it_is_stretched_to_the_rounds_that_are_wanted() -> None:
    study = bred()
    quietly(study, steps((2, 0.5), (1, 0.1), net={"width": 8}), rounds=6, seeds=1)
    assert [h["step"] for h in trained(study)[0]] == [0.5] * 4 + [0.1] * 2


def test_a_schedule_in_steps_is_brought_to_the_rounds_of_the_study() -> None:
    study = bred()
    in_steps = Schedule(steps((500, 0.5), (500, 0.1), net={"width": 8}).segments, "steps")
    quietly(study, in_steps, seeds=1)
    assert [h["step"] for h in trained(study)[0]] == [0.5] * 4 + [0.1] * 4


@pytest.mark.parametrize("ending", ["json", "csv"])
def test_it_may_come_from_a_file(tmp_path: Path, ending: str) -> None:
    study = bred()
    path = tmp_path / f"schedule.{ending}"
    steps((1, 0.5), (2, 0.25), net={"width": 16}).save(path)
    report = quietly(study, path, seeds=1)
    assert report.replay.scores == (1.0,)
    assert not report.original.own


def test_it_may_come_from_rays_policy_log_whose_other_settings_are_left_out(tmp_path: Path) -> None:
    study = bred(space={"step": ev.Uniform(0.0, 1.0)})
    copy = ["0_a", "1_b", 2, 2, {"step": 0.5, "gpu": True}, {"step": 0.25, "gpu": True}]
    (tmp_path / "pbt_policy_x1.txt").write_text(json.dumps(copy) + "\n")
    (tmp_path / "trial").mkdir()
    (tmp_path / "trial" / "result.json").write_text('{"trial_id": "x1", "training_iteration": 4}\n')
    report = quietly(study, tmp_path / "pbt_policy_x1.txt", seeds=1)
    assert report.replay.scores == (0.5 + 0.5 + 0.25 + 0.25,)


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (steps((2, 0.5), (3, 7.0), net={"width": 8}), r"segment 1 \(rounds 2-4\).*step: got 7.0"),
        (steps((2, 0.5), net={"width": 9}), r"segment 0 \(rounds 0-1\).*net.width: got 9"),
        (steps((2, 0.5)), "hyperparameter net.width: missing"),
        (steps((2, 0.5), net={"width": 8}, beta=1), "hyperparameter beta: not in the space"),
    ],
)
def test_a_schedule_that_does_not_fit_the_space_is_refused_with_its_place(
    schedule: Schedule, message: str
) -> None:
    study = bred()
    with pytest.raises(OutOfSpace, match=message):
        quietly(study, schedule)
    assert [status.record.name for status in ev.list_studies(study.store)] == ["hill"]


# --- what is refused ---------------------------------------------------------------------------


def test_another_replay_of_the_same_name_is_refused_and_another_name_is_not() -> None:
    study = bred()
    quietly(study, seeds=1)
    with pytest.raises(StudyExists, match="'hill-replay' exists with another algorithm"):
        quietly(study, steps((1, 0.5), net={"width": 8}), seeds=1)
    report = quietly(study, steps((1, 0.5), net={"width": 8}), seeds=1, name="mine")
    assert report.replay.study == "mine"


def test_nothing_is_written_when_the_name_of_the_second_arm_is_taken() -> None:
    study = bred()
    study.control("hill-replay-last")
    with pytest.raises(StudyExists, match="hill-replay-last"):
        quietly(study)
    names = [status.record.name for status in ev.list_studies(study.store)]
    assert names == ["hill", "hill-replay-last"]


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        ({"seeds": 0}, "seeds: got 0"),
        ({"rounds": 0}, "rounds: got 0"),
        ({"name": ""}, "name: got ''"),
        ({"last_only": "no"}, "last_only: got 'no'"),
        ({"schedule": 3}, "schedule: got int 3, wanted a Schedule or a file"),
    ],
)
def test_bad_wishes_are_named(wishes: dict[str, Any], message: str) -> None:
    study = bred()
    with pytest.raises(ConfigError, match=message):
        quietly(study, wishes.pop("schedule", None), **wishes)
    assert len(ev.list_studies(study.store)) == 1


def test_a_study_without_a_finished_job_has_nothing_to_replay() -> None:
    study = ev.create_study(
        "new", metric="height", mode="max", space=SPACE, population=1, rounds=1, store="memory://",
        algorithm=ev.RandomSearch(),
    )  # fmt: skip
    with pytest.raises(ev.EvolventError, match="no finished job yet"):
        quietly(study)
    report = quietly(study, steps((2, 0.5), net={"width": 8}), seeds=1)
    assert report.original.value is None
    assert report.replay.scores == (1.0,)


def test_training_code_that_nobody_knows_is_asked_for() -> None:
    study = ev.create_study(
        "new", metric="height", mode="max", space={"step": 1.0}, population=1, rounds=1,
        store="memory://",
    )  # fmt: skip

    def mine(job: ev.Job) -> dict[str, float]:
        return climb(job)

    study.run(mine, workers=0, progress=False)
    with pytest.raises(ConfigError, match="trainable: got none, and study 'new' does not remember"):
        study.replay(workers=0)


# --- what is reported --------------------------------------------------------------------------


def noisy(job: ev.Job) -> dict[str, float]:
    """The score of `climb` with noise that hangs on the seed, and is not the same in two arms."""
    return {"height": climb(job)["height"] + (job.seed + 97 * len(job.study)) % 1000 / 1000}


def noisy_depth(job: ev.Job) -> dict[str, float]:
    return {"depth": -noisy(job)["height"]}


def test_a_difference_below_the_noise_is_called_so_where_seeds_are_enough() -> None:
    schedule = steps((2, 0.5), (2, 0.501), net={"width": 8})
    study = bred()
    few = quietly(study, schedule, train=noisy, seeds=6)
    assert few.replay.sd > 0.05
    assert few.against_last.method == "bootstrap"
    found = few.to_json()["minus"]["last"]
    assert (found["verdict"], found["seeds_needed"]) == ("undecided", few.judged["last"].needed)
    assert f"about {found['seeds_needed']} would" in " ".join(str(few).split())
    many = quietly(study, schedule, train=noisy, seeds=60, name="many")
    assert "is less than what lies between two seeds" in " ".join(str(many).split())


def test_a_difference_above_the_noise_is_not() -> None:
    schedule = steps((4, 0.9), (4, 0.1), net={"width": 8})
    report = quietly(bred(), schedule, train=noisy, seeds=6)
    assert "The schedule is better than its last hyperparameters alone." in str(report)


def test_one_seed_is_said_to_tell_nothing() -> None:
    report = quietly(bred(), seeds=1)
    assert report.against_original.low is None
    assert "One seed tells nothing about noise" in str(report)


def test_a_constant_schedule_needs_no_second_arm() -> None:
    report = quietly(bred(), steps((3, 0.5), net={"width": 8}), seeds=2)
    assert report.last is None
    assert "The schedule is constant" in str(report)


def test_the_second_arm_can_be_left_out() -> None:
    study = bred()
    assert quietly(study, seeds=2, last_only=False).last is None
    assert len(ev.list_studies(study.store)) == 2


def test_a_seed_that_fails_is_told_and_left_out_of_the_mean() -> None:
    def falls(job: ev.Job) -> dict[str, float]:
        found = climb(job)
        return {"height": math.nan} if (job.member, job.round) == (1, 2) else found

    report = quietly(bred(), train=falls)
    value = report.original.value
    assert report.replay.scores == (value, None, value)
    assert report.replay.mean.n == 2
    assert len(report.replay.failed) == 1
    assert "m1r2 of hill-replay: metric 'height' was nan" in report.replay.failed[0]
    assert "Failed and left out of the mean: m1r2 of hill-replay" in str(report)


def test_a_replay_in_which_all_fail_says_so_and_stays_so() -> None:
    study = bred()
    report = quietly(study, train=fall, seeds=2)
    assert report.replay.scores == (None, None)
    assert "RuntimeError: no ground below" in report.replay.failed[0]
    assert report.last is None
    assert report.against_original is None
    assert quietly(study, seeds=2) == report


def test_the_original_is_said_to_be_trained_otherwise_when_it_was() -> None:
    report = quietly(bred(), rounds=4, seeds=2)
    assert "the original had 8 rounds, the replay has 4 rounds" in str(report)


def test_a_loss_that_is_lower_is_better() -> None:
    study = bred(metric="depth", mode="min")
    report = quietly(study, steps((4, 1.0), (4, 0.9), net={"width": 8}), seeds=2)
    assert report.replay.scores == pytest.approx([-7.6] * 2)
    assert report.to_json()["minus"]["last"]["value"] < 0
    noisier = quietly(study, steps((4, 1.0), (4, 0.1), net={"width": 8}), noisy_depth, name="noisy")
    assert noisier.to_json()["minus"]["last"]["verdict"] == "better"


def test_seeds_that_change_nothing_are_said_to_tell_nothing_about_noise() -> None:
    report = quietly(bred(), seeds=3)
    assert "the training does not use job.seed" in str(report)
    assert "noise." in str(report)
    assert "One seed" not in str(report)
    assert {d["verdict"] for d in report.to_json()["minus"].values()} == {"unknown"}


def test_code_that_cannot_be_imported_is_refused_before_a_study_is_written() -> None:
    study = bred()
    for code in ("nomod:x", "nomod"):
        with pytest.raises(ConfigError, match="nomod"):
            quietly(study, train=code)
    assert len(study.store.studies()) == 1


def test_the_report_is_json_and_fits_the_terminal() -> None:
    report = quietly(bred())
    there = json.loads(json.dumps(report.to_json()))
    assert there["replay"]["scores"] == list(report.replay.scores)
    assert [s["start"] for s in there["schedule"]] == [s.start for s in report.schedule.segments]
    assert max(map(len, str(report).splitlines())) <= 80


def test_segments_of_a_report_are_those_that_were_trained() -> None:
    report = quietly(bred(), steps((3, 0.5), (3, 0.1), net={"width": 8}), rounds=2, seeds=1)
    assert report.schedule.segments == (
        Segment(0, 1, {"step": 0.5, "net": {"width": 8}, "batch": 32}),
        Segment(1, 1, {"step": 0.1, "net": {"width": 8}, "batch": 32}),
    )
