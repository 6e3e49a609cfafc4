"""Real worker processes on a real SQLite file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

import evolvent as ev
from evolvent.store.checkpoints import hashes
from evolvent.store.records import StudyStatus
from tests.engines import trainables


class Watcher:
    """Keeps what an engine tells."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.ended = ""

    def start(self, status: StudyStatus) -> None: ...
    def update(self, status: StudyStatus, members: Any) -> None: ...
    def line(self, text: str) -> None:
        self.lines.append(text)

    def finish(self, status: StudyStatus, summary: str) -> None:
        self.ended = summary

    def close(self) -> None: ...


def new_study(tmp_path: Path, **changes: Any) -> ev.Study:
    settings: dict[str, Any] = {
        "metric": "at",
        "mode": "max",
        "space": {"step": ev.Uniform(0.1, 1.0)},
        "population": 4,
        "rounds": 3,
        "seed": 7,
        "store": f"sqlite:///{tmp_path}/e.db",
        "durability": "process",
    }
    return ev.create_study(changes.pop("name", "s"), **(settings | changes))


def log_of(study: ev.Study) -> set[tuple[Any, ...]]:
    return {
        (j.id, j.parent, j.score, tuple(j.hyperparameters.items()), j.checkpoint)
        for j in study.jobs()
    }


def test_every_member_trains_every_round(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    result = study.run(trainables.climb, workers=2, progress=False)
    assert sorted(j.id for j in study.jobs("done")) == sorted(
        f"m{m}r{r}" for m in range(4) for r in range(3)
    )
    assert result.best.score == max(j.score or 0 for j in study.jobs())
    assert result.best.schedule.rounds == len(result.best.lineage) >= 1
    assert (result.best.checkpoint / "at.json").exists()


@pytest.mark.slow
def test_what_one_worker_sealed_another_need_not_read_to_check_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if hashes._blind_ns(tmp_path) != 0:
        pytest.skip("this file system does not show every change")
    (tmp_path / "workers").mkdir()
    monkeypatch.setenv("EVOLVENT_TEST_WORKERS", str(tmp_path / "workers"))
    # All copy the last member, whichever worker trains it: the other has to load what it sealed.
    study = new_study(tmp_path, rounds=12, algorithm=ev.PBT(ev.CopyBest()))
    study.run(trainables.look_at_hashes, workers=2, progress=False)
    metrics = [job.metrics for job in study.jobs("done")]
    assert sum(m["foreign"] for m in metrics) > 0
    assert sum(m["read"] for m in metrics) == 0


@pytest.mark.slow
@pytest.mark.parametrize("trainable", [trainables.climb, trainables.Climb])
def test_a_synchronous_study_is_the_same_with_any_number_of_workers(
    tmp_path: Path, trainable: Any
) -> None:
    logs = []
    for workers in (0, 1, 3):
        study = new_study(tmp_path, name=f"w{workers}", synchronous=True, rounds=4)
        study.run(trainable, workers=workers, progress=False)
        logs.append(log_of(study))
    assert logs[0] == logs[1] == logs[2]
    assert len(logs[0]) == 16


@pytest.mark.slow
def test_a_killed_worker_is_replaced_and_its_job_done_again(tmp_path: Path) -> None:
    study, watcher = new_study(tmp_path), Watcher()
    study.run(trainables.dies_once, workers=2, progress=watcher)
    assert study.status().state == "finished"
    assert study.job("m0r1").attempt == 2
    assert any("killed by SIGKILL" in line for line in watcher.lines)
    assert any("SIGKILL" in f.failure.message for f in study.failures())


@pytest.mark.slow
def test_a_hung_worker_is_replaced(tmp_path: Path) -> None:
    study, watcher = new_study(tmp_path), Watcher()
    study.run(trainables.hangs_once, workers=1, hang_s=1.0, lease_s=1.0, progress=watcher)
    assert study.status().state == "finished"
    assert study.job("m0r1").attempt == 2
    assert any("hung" in line for line in watcher.lines)
    assert any("hangs_once" in line for line in watcher.lines), "shows where it hung"


@pytest.mark.slow
def test_a_member_whose_process_dies_fails_and_the_others_go_on(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    study.run(trainables.first_member_dies, workers=1, progress=False)
    failed = study.job("m0r0")
    assert (failed.state, failed.attempt) == ("failed", 3)
    assert "exit code 9" in (failed.error or "")
    assert study.status().state == "finished"
    assert study.job("m0r1").donor is not None


@pytest.mark.slow
def test_workers_that_always_die_end_the_run_with_their_last_words(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    with pytest.raises(ev.EvolventError, match="exit code 7"):
        study.run(trainables.always_dies, workers=1, progress=False)


@pytest.mark.slow
def test_an_exception_is_tried_again(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    study.run(trainables.raises_once, workers=2, progress=False)
    assert {j.attempt for j in study.jobs("done")} == {2}
    assert "first attempt" in (study.failures()[-1].failure.traceback or "")


def test_a_failed_member_is_revived_by_a_copy(tmp_path: Path) -> None:
    study = new_study(tmp_path, max_failures=1)
    study.run(trainables.unlucky_member, workers=2, progress=False)
    assert study.job("m0r0").state == "failed"
    assert "bad start" in (study.job("m0r0").error or "")
    revived = study.job("m0r1")
    assert revived.state == "done"
    assert revived.donor in (1, 2, 3)


def test_a_nan_metric_fails_the_member_at_once(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    study.run(trainables.nan_first_round, workers=1, progress=False)
    failed = study.job("m1r0")
    assert (failed.state, failed.score, failed.attempt) == ("failed", None, 1)
    assert "metric 'at' was nan" in (failed.error or "")
    assert study.job("m1r1").donor is not None


@pytest.mark.slow
def test_when_all_have_failed_the_last_traceback_is_shown(tmp_path: Path) -> None:
    study = new_study(tmp_path, max_failures=0)
    with pytest.raises(ev.AllMembersFailed, match="no luck in m"):
        study.run(trainables.raises, workers=2, progress=False)
    assert study.status().state == "failed"
    study.run(trainables.climb, workers=2, progress=False)  # the code is mended: go on
    assert study.status().state == "finished"


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    ("trainable", "named"),
    [
        (trainables.no_metric, "'loss'.*'at'"),
        (trainables.returns_none, "nothing.*'at'"),
        (trainables.returns_text, "'at' must be a number, got str 'high'"),
    ],
)
def test_a_broken_contract_stops_the_run_and_loses_nothing(
    tmp_path: Path, workers: int, trainable: Any, named: str
) -> None:
    study = new_study(tmp_path)
    with pytest.raises(ev.TrainableError, match=named):
        study.run(trainable, workers=workers, progress=False)
    assert study.jobs("done") == study.jobs("failed") == study.jobs("running") == []
    study.run(trainables.climb, workers=workers, progress=False)
    assert len(study.jobs("done")) == 12


@pytest.mark.slow
def test_what_workers_print_is_shown_with_their_number(tmp_path: Path) -> None:
    study, watcher = new_study(tmp_path), Watcher()
    study.run(trainables.prints, workers=1, progress=watcher)
    assert "worker 0 | hello from m0r0" in watcher.lines
    assert "finished" in watcher.ended


@pytest.mark.parametrize("workers", [0, 1])
def test_points_within_a_round_are_kept(tmp_path: Path, workers: int) -> None:
    study = new_study(tmp_path)
    study.run(trainables.logs, workers=workers, progress=False)
    points = study.points("m2r1")
    assert [(p.step, p.values["loss"]) for p in points] == [(0, 1.0), (1, 0.5), (2, 1 / 3)]


@pytest.mark.slow
def test_workers_share_the_cores_and_a_synchronous_study_takes_one_each(tmp_path: Path) -> None:
    study = new_study(tmp_path, name="shared", rounds=1)
    study.run(trainables.tells_threads, workers=2, threads=5, progress=False)
    assert {j.metrics["threads"] for j in study.jobs()} == {5}
    study = new_study(tmp_path, name="synchronous", rounds=1, synchronous=True)
    study.run(trainables.tells_threads, workers=1, progress=False)
    assert {j.metrics["threads"] for j in study.jobs()} == {1}


@pytest.mark.slow
def test_devices_are_dealt_to_the_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "marks").mkdir()
    monkeypatch.setenv("EVOLVENT_TEST_MARKS", str(tmp_path / "marks"))
    study = new_study(tmp_path)
    study.run(trainables.meets_the_other_device, devices=["cuda:0", "cuda:1"], progress=False)
    assert {j.metrics["device"] for j in study.jobs()} == {0, 1}


@pytest.mark.slow
def test_the_wall_time_stops_the_run_and_another_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = new_study(tmp_path)

    class Slow(Watcher):
        def update(self, status: StudyStatus, members: Any) -> None:
            """Hold up the driver until a job is done: a worker may take long to start."""
            while not study.jobs("done"):
                time.sleep(0.02)

    watcher = Slow()
    monkeypatch.setenv("EVOLVENT_TEST_STORE", f"sqlite:///{tmp_path}/e.db")
    study.run(trainables.ends_with_the_study, workers=1, wall_time_s=0.5, progress=watcher)
    assert "wall time of 0.5 s" in watcher.ended
    assert 2 <= len(study.jobs("done")) < 12, "those handed out by then, which are finished"
    study.run(trainables.climb, workers=1, progress=False)
    assert len(study.jobs("done")) == 12


def test_a_target_ends_the_study(tmp_path: Path) -> None:
    study = new_study(tmp_path, rounds=50, target=2.0)
    result = study.run(trainables.climb, workers=2, progress=False)
    assert result.best.score >= 2.0
    assert len(study.jobs("done")) < 60
    assert "target" in (study.status().stopped or "")


@pytest.mark.slow
def test_a_finished_study_can_be_extended(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    study.run(trainables.climb, workers=2, progress=False)
    study.extend(5)
    study.run(trainables.climb, workers=2, progress=False)
    assert len(study.jobs("done")) == 20


SCRIPT = """
    import json, sys
    from pathlib import Path
    import evolvent as ev

    SCALE = 2.0

    def train(job):
        at = json.loads((job.checkpoint / "at").read_text()) if job.checkpoint else 0.0
        at += SCALE * job.hyperparameters["step"]
        (job.directory / "at").write_text(json.dumps(at))
        return {"at": at}

    def widen(hyperparameters, rng):
        return {"step": hyperparameters["step"] * 1.1}

    study = ev.create_study("script", metric="at", mode="max", population=4, rounds=4, seed=1,
                            space={"step": ev.Uniform(0.1, 1.0)}, synchronous=True,
                            algorithm=ev.PBT(explore=ev.CustomExplore(widen)),
                            store="sqlite:///" + sys.argv[1], resume=True)
    result = study.run(train, workers=2)
    print("best", result.best.score, len(study.jobs("done")))
"""


def test_a_script_needs_no_guard_and_may_define_everything_itself(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))
    for _ in range(2):  # the second run finds a finished study
        out = subprocess.run(
            [sys.executable, str(script), str(tmp_path / "e.db")],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert out.returncode == 0, out.stderr
        assert out.stdout.splitlines()[-1].split()[-1] == "16"


def interrupted_script(tmp_path: Path, *, workers: int) -> subprocess.Popen[str]:
    script = tmp_path / "run.py"
    script.write_text(
        textwrap.dedent(f"""
            import evolvent as ev
            from tests.engines.trainables import slow
            study = ev.create_study("s", metric="at", mode="max", population=4, rounds=30,
                                    space={{"step": ev.Uniform(0.1, 1.0)}},
                                    store="sqlite:///{tmp_path}/e.db")
            result = study.run(slow, workers={workers})
            print("interrupted", result.interrupted)
        """)
    )
    env = {**os.environ, "PYTHONPATH": os.getcwd(), "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env=env
    )


def wait_for_jobs(tmp_path: Path, n: int) -> ev.Study:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            study = ev.load_study("s", store=f"sqlite:///{tmp_path}/e.db")
            if len(study.jobs("done")) >= n and study.jobs("running"):
                return study
        except ev.EvolventError:
            pass
        time.sleep(0.02)
    raise AssertionError("the run did not get going")


@pytest.mark.parametrize("workers", [0, 2])
def test_ctrl_c_once_finishes_the_running_jobs(tmp_path: Path, workers: int) -> None:
    process = interrupted_script(tmp_path, workers=workers)
    study = wait_for_jobs(tmp_path, 1)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "interrupted True" in out
    assert study.jobs("running") == []
    assert study.failures() == []


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_ctrl_c_twice_stops_at_once_and_hands_the_jobs_back(tmp_path: Path, workers: int) -> None:
    process = interrupted_script(tmp_path, workers=workers)
    study = wait_for_jobs(tmp_path, 1)
    process.send_signal(signal.SIGINT)
    time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode != 0
    assert study.jobs("running") == []
    study.run(trainables.climb, workers=2, progress=False)
    assert study.status().state == "finished"


def test_memory_cannot_be_shared_with_processes(tmp_path: Path) -> None:
    study = new_study(tmp_path, store="memory://")
    with pytest.raises(ev.ConfigError, match="workers=0"):
        study.run(trainables.climb, workers=2, progress=False)


@pytest.mark.slow
def test_an_error_of_any_length_reaches_the_driver(tmp_path: Path) -> None:
    with pytest.raises(ev.TrainableError, match=r"^begin.* characters cut\] … .*end$") as caught:
        new_study(tmp_path).run(trainables.endless_error, workers=1, progress=False)
    assert len(str(caught.value)) <= 50_000
