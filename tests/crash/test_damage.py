"""A damaged checkpoint: the member goes back to a sound ancestor, or fails and is revived."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import evolvent as ev
from evolvent.core.records import JobRecord
from evolvent.engines.observer import Observer
from evolvent.study import Study
from tests.crash.processes import create

QUICK = "tests.crash.programs:Quick"


def flip_a_bit(checkpoint: Path) -> None:
    file = checkpoint / "values.json"
    file.chmod(0o644)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def cut_a_file(checkpoint: Path) -> None:
    file = checkpoint / "values.json"
    file.chmod(0o644)
    file.write_bytes(file.read_bytes()[:-1])


def remove_a_file(checkpoint: Path) -> None:
    (checkpoint / "about" / "applied.json").unlink()


def add_a_file(checkpoint: Path) -> None:
    (checkpoint / "extra").touch()


DAMAGES = [flip_a_bit, cut_a_file, remove_a_file, add_a_file, shutil.rmtree]


def run(study: Study, rounds: int, *, workers: int = 0, progress: bool | Observer = False) -> None:
    if study.status().record.rounds < rounds:
        study.extend(rounds)
    study.run(QUICK, workers=workers, progress=progress)


class Lines(list[str], Observer):
    """An observer that keeps the lines."""

    def line(self, text: str) -> None:
        self.append(text)


def victim(study: Study) -> JobRecord:
    """Return the newest job of a member that goes on from it and is not the best."""
    best = study.result().best.job.id
    heads = [member.open for member in study.members()]
    parents = [head.parent for head in heads if head and head.parent and head.donor is None]
    return next(study.job(parent) for parent in parents if parent != best)


def damaged_study(home: Path, damage: Callable[[Path], None], *, pinned: bool) -> str:
    """Train two rounds, damage the checkpoint from which a member goes on; return its job."""
    study = create(home, population=4, rounds=1)
    run(study, 1)
    if pinned:
        for job in study.jobs("done"):
            study.pin(job.id)
    run(study, 2)
    study.extend(4)
    job = victim(study)
    damage(study.checkpoint(job.id))
    study.store.close()
    return job.id


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda f: f.__name__)
def test_damaged_checkpoint_is_answered_by_the_nearest_sound_ancestor(
    damage, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    id = damaged_study(tmp_path, damage, pinned=True)
    study = ev.load_study(store=f"sqlite:///{tmp_path}/study.db")
    lost = study.job(id)
    ancestor = study.lineage(id)[-2]
    run(study, 4)
    after = study.job(f"m{lost.member}r{lost.round + 1}")
    assert (after.state, after.parent) == ("done", ancestor.id)
    assert after.parent_checkpoint == ancestor.checkpoint
    assert "nearest sound ancestor" in after.reason
    assert ancestor.id in after.reason
    assert f"started from {ancestor.id}, the nearest sound ancestor" in caplog.text
    assert study.status().state == "finished"


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda f: f.__name__)
def test_member_without_a_sound_ancestor_fails_and_is_revived(damage, tmp_path: Path):
    id = damaged_study(tmp_path, damage, pinned=False)
    study = ev.load_study(store=f"sqlite:///{tmp_path}/study.db")
    lost = study.job(id)
    run(study, 4)
    failed = study.job(f"m{lost.member}r{lost.round + 1}")
    assert failed.state == "failed"
    revived = study.job(f"m{lost.member}r{lost.round + 2}")
    assert revived.state == "done"
    assert revived.donor not in (None, lost.member)
    assert [(f.job, f.failure.kind) for f in study.failures()] == [(failed.id, "damaged")]
    assert study.status().state == "finished"


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda f: f.__name__)
def test_damaged_checkpoint_is_never_handed_out(damage, tmp_path: Path):
    study = create(tmp_path, population=2, rounds=1)
    run(study, 1)
    best = study.result().best
    damage(best.checkpoint)
    with pytest.raises(ev.CheckpointError, match=best.job.checkpoint):
        study.checkpoint(best.job.id)
    with pytest.raises(ev.CheckpointError, match=best.job.checkpoint):
        _ = best.checkpoint


def test_worker_processes_fall_back_too(tmp_path: Path):
    id = damaged_study(tmp_path, flip_a_bit, pinned=True)
    study = ev.load_study(store=f"sqlite:///{tmp_path}/study.db")
    ancestor = study.lineage(id)[-2]
    lines = Lines()
    run(study, 4, workers=2, progress=lines)
    lost = study.job(id)
    next_job = study.job(f"m{lost.member}r{lost.round + 1}")
    assert next_job.parent == ancestor.id
    told = f"started from {ancestor.id}, the nearest sound ancestor"
    assert any(f"job {next_job.id}: " in line and line.endswith(told) for line in lines)
