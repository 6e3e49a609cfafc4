"""The worker by itself: which thread does what."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

import evolvent as ev
from evolvent.engines.worker import Worker, WorkerOptions
from tests.engines import trainables
from tests.engines.local.test_driver import new_study

MAIN = threading.main_thread().name


def train(job: ev.Job) -> dict[str, float]:
    """Save so much that its hash takes more than some milliseconds anywhere."""
    (job.directory / "state").write_bytes(bytes([job.round]) * (1 << 24))
    return {"score": 1.0}


@pytest.mark.parametrize(
    ("members", "synchronous", "overlap", "in_main"),
    [(4, False, True, False), (4, False, False, True), (2, True, True, False)],
)
def test_a_large_checkpoint_is_saved_while_the_next_job_trains(
    members: int, synchronous: bool, overlap: bool, in_main: bool, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    study = ev.create_study(
        "s", metric="score", mode="max", population=members, rounds=2, space={"lr": 1.0},
        synchronous=synchronous, store=url,
    )  # fmt: skip
    where: dict[str, bool] = {}
    options = WorkerOptions(
        overlap=overlap,
        on_job=lambda id: where.update({id: threading.current_thread().name == MAIN}),
    )
    Worker(study.store, study.id, train, options).work()
    assert where == {f"m{i}r{r}": in_main for i in range(members) for r in range(2)}


def test_of_two_members_each_decides_when_the_other_has_reported(tmp_path: Path) -> None:
    study = ev.create_study(
        "s", metric="score", mode="max", population=2, rounds=3, space={"lr": 1.0},
        store=f"sqlite:///{tmp_path}/study.db",
    )  # fmt: skip
    Worker(study.store, study.id, train, WorkerOptions()).work()
    reasons = [job.reason for job in study.jobs() if job.round]
    assert len(reasons) == 4
    assert all("of 2" in reason for reason in reasons)


def test_what_breaks_once_the_worker_is_to_end_is_handed_back(tmp_path: Path) -> None:
    study = new_study(tmp_path, max_failures=0)
    options = WorkerOptions()

    def breaks(job: ev.Job) -> dict[str, float]:
        options.drain.set()
        raise RuntimeError("no helper any more")

    Worker(study.store, study.id, breaks, options).work()
    assert [failed.failure.kind for failed in study.failures()] == ["returned"]
    assert {str(job.state) for job in study.jobs()} == {"queued"}


def test_a_round_that_saves_nothing_where_its_parent_did_fails_and_is_tried_again(
    tmp_path: Path,
) -> None:
    study = new_study(tmp_path, synchronous=True)
    study.run(trainables.forgets_to_save_once, workers=0, progress=False)
    assert study.status().state == "finished"
    assert study.job("m0r1").attempt == 2
    (failed,) = study.failures()
    assert failed.job == "m0r1"
    assert "m0r1 has saved nothing in its directory, although" in failed.failure.message


def test_code_that_never_saves_fails_no_round(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    study.run(trainables.saves_nothing, workers=0, progress=False)
    assert study.failures() == []


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="a full disk of Linux")
def test_a_full_disk_ends_the_run_if_it_is_that_of_the_checkpoints(tmp_path: Path) -> None:
    def saves_nothing(job: ev.Job) -> dict[str, float]:
        (job.directory / ".evolvent-probe").symlink_to("/dev/full")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(ev.errors.CheckpointError, match="could not be saved"):
        new_study(tmp_path).run(saves_nothing, workers=0, progress=False)


def test_another_disk_that_is_full_is_an_error_of_training(tmp_path: Path) -> None:
    def logs_elsewhere(job: ev.Job) -> dict[str, float]:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    study = new_study(tmp_path)
    with pytest.raises(ev.errors.AllMembersFailed, match="No space left"):
        study.run(logs_elsewhere, workers=0, progress=False)
