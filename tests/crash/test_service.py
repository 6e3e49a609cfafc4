"""The service killed, out of disk, restarted: what it has answered stands, and clients go on."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

import evolvent as ev
from evolvent.core.records import JobState
from evolvent.store.connect import open_store
from evolvent.store.protocol import Store
from evolvent.store.records import Report
from evolvent.store.tokens import tokens_of
from tests.crash.conftest import fill
from tests.crash.processes import ROOT, until, url_in
from tests.needs import needs
from tests.service.served import Served, served

needs("uvicorn")

CLIENTS = 4
MEMBERS, ROUNDS = 20, 50  # a thousand reports
KILLS = 6


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return token_for(tmp_path, monkeypatch)


def token_for(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a token of the store in `home` where clients look for it."""
    with opened(home) as store:
        secret, _ = tokens_of(store).create("admin")
    monkeypatch.setenv("EVOLVENT_TOKEN", secret)
    return home


@contextlib.contextmanager
def opened(home: Path) -> Iterator[Store]:
    """Open the store that is served, as the service does."""
    store = open_store(url_in(home))
    try:
        yield store
    finally:
        store.close()


def new_study(store: Store, *, members: int, rounds: int) -> int:
    made = ev.create_study(
        "crash", metric="score", mode="max", space={"lr": ev.LogUniform(1e-4, 1)},
        population=members, rounds=rounds, seed=3, durability="process", store=store,
    )  # fmt: skip
    return made.id


@contextlib.contextmanager
def clients(url: str, study: int, home: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Run clients for the time of a block, which waits for their good end."""
    running = [_client(url, study, home, n) for n in range(CLIENTS)]
    try:
        yield running
        for n, client in enumerate(running):
            assert client.wait(120) == 0, (home / f"client-{n}.log").read_text()
    finally:
        for client in running:
            client.kill()
            client.wait()


def _client(url: str, study: int, home: Path, n: int) -> subprocess.Popen[bytes]:
    with (home / f"client-{n}.log").open("wb") as log:
        return subprocess.Popen(
            [
                *(sys.executable, "-m", "tests.crash.reporter", url, str(study)),
                *(f"client-{n}", str(home / f"answers-{n}")),
            ],
            cwd=ROOT,
            env=os.environ | {"PYTHONHASHSEED": str(n)},
            stderr=log,
        )


def answered(home: Path) -> list[tuple[str, int, float]]:
    """Return every report that a client has had an answer to."""
    lines = [line for path in home.glob("answers-*") for line in path.read_text().splitlines()]
    return [(job, int(attempt), float(score)) for job, attempt, score in map(str.split, lines)]


@pytest.mark.slow
def test_kill_9_in_the_middle_of_a_thousand_reports_loses_none_that_was_answered(home: Path):
    """Four clients, six kills; then the log is held against what the clients were told."""
    with opened(home) as store:
        study = new_study(store, members=MEMBERS, rounds=ROUNDS)
    chance = Random(11)
    with contextlib.ExitStack() as stack:
        service = stack.enter_context(served(url_in(home), home))
        port = str(service.port)
        with clients(service.url, study, home):
            for kill in range(1, KILLS + 1):
                wanted = kill * MEMBERS * ROUNDS // (KILLS + 1)
                until(lambda n=wanted: len(answered(home)) >= n, what=f"{wanted} answers")
                time.sleep(chance.uniform(0, 0.02))
                service.kill()
                told = answered(home)
                assert told_by(home, study, told) == told
                service = stack.enter_context(served(url_in(home), home, "--port", port))
        check_whole(home, study)


def told_by(home: Path, study: int, told: list[tuple[str, int, float]]) -> list[object]:
    """Return what the log, read while nothing serves it, says of the jobs that were answered."""
    with opened(home) as store:
        log = {str(job.id): job for job in store.jobs(study, states=[JobState.DONE])}
    return [(job, log[job].attempt, log[job].score) if job in log else None for job, _, _ in told]


def check_whole(home: Path, study: int) -> None:
    """Every job is in the log once, as its client was told, with a checkpoint that it saved."""
    told = answered(home)
    assert told_by(home, study, told) == told
    everything = sorted(f"m{m}r{r}" for m in range(MEMBERS) for r in range(ROUNDS))
    assert sorted(job for job, _, _ in told) == everything  # each answered, and to one client
    with opened(home) as store:
        done = store.jobs(study, states=[JobState.DONE])
        assert sorted(str(job.id) for job in done) == everything
        assert store.status(study).state == "finished"
        store.collect(study)
        checkpoints = store.checkpoints(study)
        newest = [view.newest for view in store.members(study)]
        for job in filter(None, newest):
            assert job.checkpoint is not None
            checkpoints.verify(job.checkpoint)
            text = (checkpoints.path(job.checkpoint) / "who").read_text()
            assert text == f"{job.id} by {job.worker}"


def test_a_full_disk_is_answered_with_507_and_work_goes_on_when_there_is_room(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
):
    token_for(small_disk, monkeypatch)
    with opened(small_disk) as store:
        study = new_study(store, members=2, rounds=3)
    with (
        served(url_in(small_disk), small_disk) as service,
        contextlib.closing(open_store(service.url)) as client,
    ):
        lease = client.claim(study, worker="w", lease_s=3600)
        assert lease is not None
        report = Report(1.0, {"score": 1.0}, sealed(client, study))
        ballast = fill(small_disk)
        status, told = written_until_refused(service)
        assert status == 507
        assert told["error"]["type"] == "StorageFull"
        assert "disk is full" in told["error"]["message"]
        with pytest.raises(ev.EvolventError, match=r"(?i)disk.*full|no space left"):
            client.report(lease, report)
        with pytest.raises(ev.EvolventError, match=r"(?i)disk.*full|no space left"):
            sealed(client, study, size=1 << 20)
        assert service.ask("GET", "/health")[0] == 200
        assert client.status(study).counts.get(JobState.DONE, 0) == 0  # and it can still be read
        ballast.unlink()
        client.report(lease, report)
        assert client.job(study, lease.job.id).score == 1.0
        assert client.claim(study, worker="w", lease_s=3600) is not None


def written_until_refused(service: Served) -> tuple[int, dict[str, dict[str, str]]]:
    """Write until there is no room left in what the database has already; return the answer."""
    for _ in range(100):
        body = {"trainable": f"package.{'x' * 20_000}:train"}
        path, token = "/api/v1/studies/1/remember", os.environ["EVOLVENT_TOKEN"]
        status, told = service.ask("POST", path, body, token=token)
        if status >= 400:
            return status, told
    raise AssertionError("the disk was not full")


def sealed(store: Store, study: int, *, size: int = 10) -> str:
    checkpoints = store.checkpoints(study)
    staged = checkpoints.stage("w")
    Path(staged, "weights").write_bytes(os.urandom(size))
    address = checkpoints.seal(staged)
    checkpoints.drop(staged)
    return address
