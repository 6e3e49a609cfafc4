"""The zoo runs what is missing, once, and its table says who is better."""

from __future__ import annotations

import math
import pickle
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from operator import itemgetter
from pathlib import Path

import pytest

import evolvent as ev
import zoo
from _zoo_arms import Cell, arm_of, mode_of
from _zoo_report import rows, table, verdict
from _zoo_results import append, done, missing, read
from _zoo_simulation import Log, Mode, equal_training, equally_trained, simulate, study_of
from _zoo_tasks import TASKS, Task, Trained
from _zoo_training import TRAININGS
from evolvent.core.records import Cause, JobId, JobRecord
from tests.needs import needs

ZOO = Path(__file__).parents[2] / "benchmarks" / "zoo.py"
ASYNCHRONOUS = [Mode(1), Mode(3), Mode(8), Mode(8, 4.0), Mode(3, decide="report")]


def log_of(mode: Mode, task: Task = TASKS["toy"]) -> Log:
    study = study_of(
        task, ev.PBT(), population=8, interval=10, seed=0, synchronous=mode.workers is None
    )
    return simulate(task, study, mode)[1]


def real_study(task: Task, *, synchronous: bool) -> list[tuple[object, ...]]:
    def train(job: ev.Job) -> dict[str, float]:
        state = task.start(job.seed)
        if job.checkpoint:
            state = pickle.loads((job.checkpoint / "state").read_bytes())
        trained = task.train(state, job.hyperparameters, 10, job.seed)
        (job.directory / "state").write_bytes(pickle.dumps(trained.state))
        return {"score": trained.score}

    study = ev.create_study(
        "real",
        metric="score",
        mode="max",
        space=task.space,
        population=8,
        rounds=task.steps // 10,
        initial=task.initial(0, 8),
        algorithm=ev.PBT(),
        synchronous=synchronous,
        store="memory://",
        durability="process",
    )
    study.run(train, workers=0, progress=False)
    return told(study.jobs("done"))


def told(jobs: Iterable[JobRecord]) -> list[tuple[object, ...]]:
    """Return what a log tells but for times and the order in which equal rounds ended."""
    found = ((job.id, job.score, dict(job.hyperparameters), job.parent, job.cause) for job in jobs)
    return sorted(found, key=itemgetter(0))


@pytest.mark.parametrize("task", ["plain", "nqm-noise-0.1"])
def test_a_simulation_has_the_log_of_a_real_study(task: str):
    found = TASKS[task]
    assert told(log_of(Mode(), found).jobs()) == real_study(found, synchronous=True)
    real = real_study(found, synchronous=False)  # which worker 0 trains alone
    assert told(log_of(Mode(1), found).jobs()) == real


@pytest.mark.parametrize("mode", [Mode(), *ASYNCHRONOUS])
def test_every_member_trains_every_round_once(mode: Mode):
    jobs = log_of(mode).jobs()
    assert sorted((job.member, job.round) for job in jobs) == [
        (member, round_) for member in range(8) for round_ in range(20)
    ]
    assert any(job.cause is Cause.COPIED for job in jobs)


@pytest.mark.parametrize("mode", ASYNCHRONOUS)
def test_a_copy_starts_from_a_job_that_had_finished(mode: Mode):
    ended: dict[str, float] = {}
    for job in sorted(log_of(mode).jobs(), key=lambda job: job.started_at):
        if job.parent is not None:
            assert ended[job.parent] <= job.started_at
        ended[job.id] = job.finished_at


@pytest.mark.parametrize("mode", ASYNCHRONOUS)
def test_a_member_waits_only_while_all_workers_train(mode: Mode):
    jobs = {job.id: job for job in log_of(mode).jobs()}
    for job in jobs.values():
        before = jobs.get(JobId(job.member, job.round - 1))
        if before is not None and before.finished_at < job.started_at:
            at = (before.finished_at + job.started_at) / 2
            training = [j for j in jobs.values() if j.started_at < at < j.finished_at]
            assert len(training) == mode.workers


def test_at_the_claim_a_donor_is_the_newest_job_of_its_member():
    jobs = log_of(Mode(3)).jobs()

    def newest(member: int, at: float) -> JobRecord:
        before = [job for job in jobs if job.member == member and job.finished_at <= at]
        return max(before, key=lambda job: job.round)

    copies = [job for job in jobs if job.donor is not None]
    assert copies
    for job in copies:
        assert job.parent == newest(job.donor, job.started_at).id


def test_the_lowest_round_goes_first():
    jobs = sorted(log_of(Mode(1)).jobs(), key=lambda job: job.started_at)
    rounds = [job.round for job in jobs]
    assert rounds == sorted(rounds)
    # the worker goes on with the member it has just trained, then with the lowest number
    assert [job.member for job in jobs[7:11]] == [7, 7, 0, 1]


@pytest.mark.parametrize("mode", [Mode(), Mode(8), Mode(2), Mode(2, decide="report")])
def test_a_failed_member_comes_back_by_copying(mode: Mode):
    def train(state, values, steps, seed):
        trained = TASKS["toy"].train(state, values, steps, seed)
        fails = state == (0.9, 0.9) and values["h0"] < 0.8  # all but two
        return Trained(trained.state, math.nan, math.nan) if fails else trained

    task = replace(TASKS["toy"], train=train)
    jobs = {job.id: job for job in log_of(mode, task).jobs()}
    assert jobs["m0r0"].score is None
    assert len(jobs) == 8 * 20
    for job in jobs.values():
        assert job.parent is None or jobs[job.parent].score is not None


def test_views_show_scores_of_equal_training():
    log = log_of(Mode(8, 4.0))
    slowest = min(log.newest.values(), key=lambda me: len(log.lineages[me.job]))
    trained = len(log.lineages[slowest.job])
    for view in (equal_training, equally_trained):
        for peer in view(slowest, log):
            assert peer.score == log.lineages[peer.job][trained - 1].score
            assert peer.job == log.newest[peer.id].job  # what is copied is the newest all the same


def test_modes_are_read():
    assert mode_of("sync", 8)[0] == Mode()
    assert mode_of("N/2", 8)[0] == Mode(4)
    assert mode_of("2x4@report", 8)[0] == Mode(2, 4.0, "report")
    assert mode_of("N@equal", 8) == (Mode(8), equal_training)
    with pytest.raises(SystemExit, match="mode: got 'N/3'"):
        mode_of("N/3", 8)


def test_what_was_run_is_not_run_again(tmp_path: Path):
    cell, path = Cell("plain", 10, 4, "2"), tmp_path / "zoo.jsonl"
    arms = [arm_of("random"), arm_of("default"), arm_of("mine=PBT()")]
    # who copies nobody is the same in all modes; two names of one algorithm are one
    asked = list(missing([cell, replace(cell, mode="sync")], arms, (0, 1), {}))
    assert [(unit.cell.mode, unit.arm.name) for unit in asked] == [
        ("2", "random"),
        ("2", "default"),
        ("sync", "default"),
    ]
    append(path, [(done(cell, arms[1], 0), {"best": 1.5})])
    path.write_text(path.read_text() + '{"task": "pla')  # killed while it was writing
    append(path, [(done(cell, arms[0], 0), {"best": 0.5})])
    results = read(path)
    assert [outcome["best"] for outcome in results.values()] == [1.5, 0.5]
    assert [unit.seeds for unit in missing([cell], arms, (0, 1), results)] == [(1,), (1,)]


def test_results_of_the_default_are_kept_under_what_it_comes_to():
    cell, arm = Cell("plain", 5, 4, "2"), arm_of("default")  # 10 rounds
    assert done(cell, arm, 0).arm == repr(ev.PBT().for_rounds(10))
    assert done(replace(cell, interval=1), arm, 0).arm == repr(ev.PBT().for_rounds(50))
    assert done(cell, arm_of("paper"), 0).arm == repr(ev.PBT.paper())
    assert "0.622, 1.607" in repr(
        study_of(TASKS["plain"], ev.PBT(), population=4, interval=5, seed=0)
    )


def test_table():
    cell, other = Cell("plain", 10, 4, "2"), Cell("nqm", 10, 4, "2")
    random = {seed: 0.1 * (seed % 3) for seed in range(20)}
    scores = {
        cell: {
            "random": random,
            "half": {seed: value + 1 + 0.01 * seed for seed, value in random.items()},
            "best": {seed: value + 2 + 0.01 * seed for seed, value in random.items()},
        },
        other: {
            "random": random,
            "half": {seed: value - 1 + 0.01 * seed for seed, value in random.items()},
            "best": {seed: value + (-1) ** seed for seed, value in random.items()},
        },
    }
    best, half, none = made = rows(scores, reference="half")
    assert [row.arm for row in made] == ["best", "half", "random"]
    assert best.to_reference == (2, 0, 0)
    assert best.to_random == (1, 0, 1)
    assert half.to_random == (1, 1, 0)
    assert half.share == pytest.approx(1.095 / 2.095)  # the other cell has nothing to share
    assert none.share == 0
    assert best.rank == 1.25  # a tie in the second cell
    assert "| best   |" in table(made, mode="2", reference="half")


def test_verdict():
    assert verdict([2.0] * 5, [1.0] * 5) == 1
    assert verdict([1.0] * 5, [1.0] * 5) == 0
    assert verdict([2.0] * 4, [1.0] * 4) == 0
    assert verdict([0.1, -0.1, 0.2, -0.2, 0.1, -0.1], [0.0] * 6) == 0


@pytest.mark.parametrize(
    "name",
    [
        "characters",
        pytest.param("digits", marks=pytest.mark.slow),  # scikit-learn takes its time
        pytest.param("digits-optimizer", marks=pytest.mark.slow),
    ],
)
def test_trainings_learn(name: str):
    if name != "characters":
        needs("sklearn")
    task = TRAININGS[name]
    study = study_of(replace(task, steps=8), ev.PBT(), population=2, interval=4, seed=1)
    outcome, log = simulate(replace(task, steps=8), study)
    assert outcome.best > max(log.true_scores[job.id] for job in log.jobs() if job.round == 0)


def test_from_the_command_line(tmp_path: Path):
    command = [sys.executable, str(ZOO), "--tasks", "plain:10", "--jobs", "1"]
    command += ["--populations", "4", "--modes", "sync", "2x4", "--seeds", "0-1"]
    command += ["--arms", "mine=PBT(Truncation(0.5))", "--reference", "mine"]
    text = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=120
    ).stdout
    assert "sync: 1 cell," in text
    assert "2x4: 1 cell," in text
    assert "| b/w/n to sync | 2x4   |" in text
    assert len((tmp_path / "zoo.jsonl").read_text().splitlines()) == 2 * (2 + 2)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("--modes 0", "mode: got '0', wanted sync, or such as 2, N/2"),
        ("--modes 2x0.5", "mode: got '2x0.5'"),
        ("--seeds abc", "--seeds: got 'abc', wanted even, odd, or numbers and ranges such as 0-9"),
        ("--seeds 9-3", "--seeds: got '9-3', wanted 3-9"),
        ("--tasks foo", "--tasks: got 'foo', wanted toys, trainings, fig2"),
        ("--tasks nqm:abc", "got 'nqm:abc', wanted an interval that divides the 250 steps of nqm"),
        ("--tasks nqm:0", "got 'nqm:0', wanted an interval"),
        ("--tasks plain --intervals 3", "no cell"),
        ("--populations 0", "--populations: got '0', wanted a number, 1 or more"),
        ("--arms nope", "arm: got 'nope' (name 'nope' is not defined), wanted random, constant"),
        ("--arms PBT(Truncation(5))", "Truncation.fraction: got 5"),
        ("--arms PBT(fraction=1)", "unexpected keyword argument 'fraction'"),
        ("--arms Truncation(0.2)", "wanted an algorithm"),
    ],
)
def test_what_cannot_be_run_is_said_in_a_line(
    options: str,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.setattr(sys, "argv", ["zoo.py", *options.split(), "--no-run"])
    with pytest.raises(SystemExit) as raised:
        zoo.main()
    last = raised.value.code if isinstance(raised.value.code, str) else capsys.readouterr().err
    assert told in last.splitlines()[-1]
