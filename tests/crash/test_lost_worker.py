"""A worker that was killed is shown as lost once its lease has ended, though nobody else asks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from evolvent.store.tokens import tokens_of
from evolvent.study import Study
from tests.crash.processes import ROOT, create, until, url_in
from tests.crash.programs import HOME
from tests.service.served import served

LEASE_S = 0.5


THEN = " ago; the job will be given to the next worker that asks"


@pytest.fixture
def study(tmp_path: Path) -> Iterator[Study]:
    """Yield a study whose one worker was killed while it trained m0r0, and its lease is over."""
    study = create(tmp_path, population=2, rounds=2)
    (tmp_path / "hold-at-train-m0r0").touch()
    command = [sys.executable, "-m", "tests.crash.worker", url_in(tmp_path)]
    worker = subprocess.Popen(
        [*command, "tests.crash.programs:Held", str(LEASE_S)],
        cwd=ROOT,
        env={**os.environ, HOME: str(tmp_path)},
    )
    try:
        until((tmp_path / "held-at-train-m0r0").exists, what="m0r0 to train")
    finally:
        worker.kill()
        worker.wait()
    until(lambda: study.status().lost, what="the lease to run out")
    yield study
    assert study.job("m0r0").attempt == 1  # looking has changed nothing
    study.store.close()


@pytest.mark.slow
def test_commands_show_a_killed_worker_as_lost(study: Study, tmp_path: Path) -> None:
    said = f"worker {study.job('m0r0').worker} was lost "  # however long ago: the machine is busy
    shown = evolvent(tmp_path, "show")
    assert "  0/4 jobs  1 lost\n" in shown
    assert f"\nm0r0: {said}" in shown
    assert f"{THEN}\n" in shown
    assert [line.split()[2] for line in shown.splitlines()[4:6]] == ["lost", "queued"]
    assert [line.split()[:2] for line in evolvent(tmp_path, "jobs").splitlines()[2:]] == [
        ["m0r0", "lost"],
        ["m1r0", "queued"],
    ]
    assert evolvent(tmp_path, "jobs", "--state", "lost", "--fields", "id").split()[-1] == "m0r0"
    assert f"but {said}" in evolvent(tmp_path, "explain", "m0r0")


def test_programs_are_told_the_state_of_the_log_and_when_the_lease_ended(
    study: Study, tmp_path: Path
) -> None:
    (job,) = json.loads(evolvent(tmp_path, "jobs", "--state", "running", "--json"))
    assert (job["id"], job["state"]) == ("m0r0", "running")
    told = json.loads(evolvent(tmp_path, "show", "--json"))
    assert job["lease_until"] == study.job("m0r0").lease_until <= told["read_at"]
    (listed,) = json.loads(evolvent(tmp_path, "studies", "--json"))
    assert (listed["state"], listed["lost"], told["lost"]) == ("open", 1, 1)


def test_pages_show_a_killed_worker_as_lost(study: Study, tmp_path: Path) -> None:
    token, _ = tokens_of(study.store).create("viewer", name="viewer")
    paths = ("/", "/studies/1", "/studies/1/jobs/m0r0")
    with served(url_in(tmp_path), tmp_path) as service:
        all_studies, *pages = [page(f"{service.url}{path}", token) for path in paths]
    assert "1 running job has lost its worker" in all_studies
    for text in pages:
        assert f"worker {study.job('m0r0').worker} was lost " in text
        assert THEN in text
        assert '<span class="state lost">lost</span>' in text


def evolvent(home: Path, *arguments: str) -> str:
    """Run a command, as somebody who looks does."""
    command = [sys.executable, "-m", "evolvent", *arguments, "--store", url_in(home)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout


def page(url: str, token: str) -> str:
    """Return a page of the dashboard."""
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        text: str = answer.read().decode()
    return text
