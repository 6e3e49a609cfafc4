"""Checkpoints through services and workers that are real processes, killed at the worst time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

import evolvent as ev
from evolvent.core.records import JobState
from evolvent.errors import CheckpointError
from evolvent.store.checkpoints.cache import CheckpointCache
from evolvent.store.checkpoints.local import LocalCheckpoints
from evolvent.store.connect import open_store
from evolvent.store.http.checkpoints import HttpCheckpoints
from evolvent.store.http.transport import Transport
from evolvent.store.tokens import tokens_of
from tests.crash.conftest import fill, small_disk
from tests.needs import needs
from tests.service.served import ROOT, Served, served
from tests.service.wire import wire
from tests.settings import study_record

needs("uvicorn")
__all__ = ["small_disk"]

MB = 1 << 20


@pytest.fixture
def store(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'log.db'}"


@pytest.fixture
def token(store: str) -> str:
    with closing(open_store(store)) as opened:
        opened.create_study(study_record())
        return tokens_of(opened).create("admin")[0]


@pytest.fixture
def home(tmp_path: Path, token: str) -> LocalCheckpoints:
    return LocalCheckpoints(tmp_path / "log.checkpoints" / "digits-1", sync=False)


@pytest.fixture
def running(store: str, token: str, tmp_path: Path) -> Iterator[Served]:
    with served(store, tmp_path) as running:
        yield running


def checkpoints(url: str, token: str, cache: Path) -> HttpCheckpoints:
    return HttpCheckpoints(Transport(url, token), 1, cache=CheckpointCache(cache, limit=1e9))


def large(found: HttpCheckpoints, n_mb: int) -> Path:
    staged = found.stage("m0r0a1")
    block = os.urandom(MB)
    with (staged / "weights.pt").open("wb") as file:
        for number in range(n_mb):
            file.write(block[number:] + block[:number])
    return staged


def peak(pid: int) -> int:
    """Return the most bytes of memory that a process has had at once."""
    status = Path(f"/proc/{pid}/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


@pytest.mark.slow
def test_memory_does_not_grow_with_the_checkpoint(running: Served, token: str, tmp_path: Path):
    here = checkpoints(running.url, token, tmp_path / "here")
    here.seal(large(here, 1))
    staged, before = large(here, 300), peak(running.process.pid)
    address = here.seal(staged)
    there = checkpoints(running.url, token, tmp_path / "there")
    assert (there.verify(address) / "weights.pt").stat().st_size == 300 * MB
    assert peak(running.process.pid) - before < 64 * MB


def test_upload_goes_on_when_the_service_was_killed_in_the_middle_of_it(
    store: str, token: str, home: LocalCheckpoints, tmp_path: Path
):
    with served(store, tmp_path) as first:
        port = first.port
        again: list[Served] = []

        def killed() -> None:
            first.kill()
            again.append(Served(store, tmp_path, "--port", str(port)))

        with wire(port) as line:
            line.breaks, line.on_break = [20 * MB], killed
            here = checkpoints(line.url, token, tmp_path / "here")
            address = here.seal(large(here, 40))
            assert line.sent < 50 * MB
        again[0].kill()
    home.verify(address)
    assert home.addresses() == [address]
    assert list(home.root.glob("staging/*")) == []


UPLOADS = """
import sys
from pathlib import Path
from tests.service.api.test_checkpoints_crash import checkpoints, large
here = checkpoints(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
here.seal(large(here, 40))
"""


def test_worker_that_was_killed_in_the_middle_of_an_upload_leaves_no_half_of_it(
    running: Served, token: str, home: LocalCheckpoints, tmp_path: Path
):
    with wire(running.port) as line:
        arguments = (line.url, token, str(tmp_path / "cache"))
        worker = subprocess.Popen([sys.executable, "-c", UPLOADS, *arguments], cwd=ROOT)
        line.on_break, line.breaks = worker.kill, [20 * MB]
        assert worker.wait(60) == -9
    assert home.addresses() == []
    assert len(list(home.root.glob("staging/upload-*"))) == 1
    here = checkpoints(running.url, token, tmp_path / "cache")
    address = here.seal(large(here, 1))
    assert home.addresses() == [address]
    assert len(list(here.root.glob("staging/*"))) == 1  # that of the dead worker is gone


def test_full_disk_refuses_and_takes_again_when_there_is_room(small_disk: Path, tmp_path: Path):
    store = f"sqlite:///{small_disk / 'log.db'}"
    with closing(open_store(store)) as opened:
        opened.create_study(study_record())
        token = tokens_of(opened).create("admin")[0]
    with served(store, tmp_path) as running, wire(running.port) as line:
        here = checkpoints(line.url, token, tmp_path / "here")
        staged = large(here, 1)
        ballast = fill(small_disk)
        with pytest.raises(CheckpointError, match="disk is full"):
            here.seal(staged)
        ballast.unlink()
        address = here.seal(staged)
        home = LocalCheckpoints(small_disk / "log.checkpoints" / "digits-1", sync=False)
        home.verify(address)
        staged, before = large(here, 3), line.sent
        with pytest.raises(CheckpointError, match="disk is full"):
            here.seal(staged)
        assert line.sent - before < 5000  # refused before any byte
        assert list(home.root.glob("staging/*")) == []


WORKER = """
import sys
import evolvent as ev
study = ev.load_study("hill", store=sys.argv[1])
study.run("tests.service.heavy:heavy_together", workers=1, progress=False)
"""


def test_workers_on_machines_of_their_own_train_one_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    store = f"sqlite:///{tmp_path / 'log.db'}"
    with closing(open_store(store)) as opened:
        ev.create_study(
            "hill", metric="height", mode="max", space={"step": ev.Uniform(0.1, 1.0)},
            population=4, rounds=4, seed=3, synchronous=True, store=opened,
            algorithm=ev.PBT(ev.Truncation(0.5), ev.Perturb()),
        )  # fmt: skip
        token = tokens_of(opened).create("admin")[0]
    with served(store, tmp_path) as running:
        workers = [
            subprocess.Popen(
                [sys.executable, "-c", WORKER, running.url],
                cwd=ROOT,
                env={
                    **os.environ,
                    "EVOLVENT_TOKEN": token,
                    "EVOLVENT_CACHE": str(tmp_path / f"machine{n}"),
                    "EVOLVENT_TEST_MEETING": str(tmp_path / "log.db") + "-meeting",
                },
            )
            for n in range(2)
        ]
        assert [worker.wait(120) for worker in workers] == [0, 0]
        monkeypatch.setenv("EVOLVENT_TOKEN", token)
        monkeypatch.setenv("EVOLVENT_CACHE", str(tmp_path / "notebook"))
        found = ev.load_study("hill", store=running.url).result().best
        assert found.kept
        assert not found.directory.exists()
        height = json.loads((found.checkpoint / "state.json").read_text())["height"]
        assert height == found.value
        assert found.checkpoint == found.directory
    with closing(open_store(store)) as opened:
        study = ev.load_study("hill", store=opened)
        jobs = {job.id: job for job in study.jobs()}
        assert len(jobs) == 16
        assert {job.state for job in jobs.values()} == {JobState.DONE}
        for job in jobs.values():
            if job.parent is not None:
                assert job.parent_checkpoint == jobs[job.parent].checkpoint
                assert job.metrics["rounds"] == jobs[job.parent].metrics["rounds"] + 1
        assert study.result().best.value == height
        assert len({job.worker for job in jobs.values()}) == 2
        kept = opened.checkpoints(study.id).root
        assert 1 <= len(list(kept.glob("objects/*/*.json"))) <= 5
