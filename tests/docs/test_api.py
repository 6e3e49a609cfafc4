"""The page about the API is true: its commands run, its answers come out, its worker works."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

import evolvent as ev
from evolvent.store.connect import open_store
from evolvent.store.tokens import tokens_of
from tests.needs import missing, needs
from tests.service.served import Served, served, until

needs("uvicorn")

DOCS = Path(__file__).parents[2] / "docs"
PAGE, WORKER = DOCS / "api.md", DOCS / "worker.sh"
URL = "http://127.0.0.1:8080"
REFUSED = 22
"""The exit status of `curl --fail-with-body`."""

VARIES = (
    (r"\b1\d{9}\.\d+", "TIME"),
    (r"\btoken [0-9a-f]{12}\b", "token ID"),
    (r'"worker":"[\w.-]+-\d+"', '"worker":"NAME"'),
    (r"(?m)^curl: \(22\).*\n", ""),  # before or after the answer, as files and terminals have it
    (r"\n{2,}", "\n"),
)


@dataclass(frozen=True, slots=True)
class Block:
    """Commands of the page, with the answer that it shows."""

    commands: str
    shown: str


@dataclass(frozen=True, slots=True)
class Came:
    """What came of a block."""

    status: int
    said: str


@dataclass(frozen=True, slots=True)
class Ran:
    """The page, run from top to bottom."""

    came: list[Came]
    store: str


def blocks() -> list[Block]:
    fences = re.findall(r"^```(\w+)\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    return [
        Block(commands, shown)
        for (language, commands), (kind, shown) in pairwise(fences)
        if (language, kind) == ("sh", "text")
    ]


def environment(bin: Path) -> dict[str, str]:
    """Return one in which `evolvent` is what is tested here."""
    bin.mkdir()
    for name, words in (("evolvent", f"{sys.executable} -m evolvent"), ("python3", sys.executable)):
        (bin / name).write_text(f'#!/bin/sh\nexec {words} "$@"\n')
        (bin / name).chmod(0o755)
    ours = {name: value for name, value in os.environ.items() if not name.startswith("EVOLVENT_")}
    return {**ours, "PATH": f"{bin}:{os.environ['PATH']}", "TMPDIR": str(bin.parent)}


def masked(text: str) -> str:
    for pattern, name in VARIES:
        text = re.sub(pattern, name, text)
    return text.strip()


@pytest.fixture(scope="module", autouse=True)
def curl() -> None:
    """Skip where there is none that knows `--json`; CI must have one."""
    there = shutil.which("curl")
    words = there and subprocess.run([there, "--help", "all"], capture_output=True, check=False)
    if not words or b"--json" not in words.stdout:
        missing("there is no curl 7.82 or newer: apt-get install curl")


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    folder = tmp_path_factory.mktemp("api")
    shutil.copy(WORKER, folder)
    store = f"sqlite:///{folder / 'evolvent.db'}"
    with served(store, folder) as running:
        script = "".join(
            f"{{\n{block.commands}}} > {i}.said 2>&1\necho $? > {i}.status\n"
            for i, block in enumerate(blocks())
        )
        (folder / "page.sh").write_text(script.replace(URL, running.url))
        subprocess.run(
            ["sh", "page.sh"], cwd=folder, env=environment(folder / "bin"), check=True, timeout=120
        )
        came = [
            Came(int((folder / f"{i}.status").read_text()), (folder / f"{i}.said").read_text())
            for i in range(len(blocks()))
        ]
        yield Ran(came, store)


@pytest.mark.parametrize("number", range(len(blocks())))
def test_a_block_of_the_page_answers_as_shown(ran: Ran, number: int) -> None:
    shown, came = masked(blocks()[number].shown), ran.came[number]
    wanted = ".+".join(map(re.escape, shown.split("…")))
    assert re.fullmatch(wanted, masked(came.said), re.DOTALL), came.said
    assert came.status == (REFUSED if '{"error"' in shown else 0), came.said


def test_after_the_page_the_log_has_every_job_once(ran: Ran) -> None:
    study = ev.load_study("toy", store=ran.store)
    jobs = study.jobs()
    assert [job.id for job in sorted(jobs, key=lambda job: (job.member, job.round))] == [
        f"m{member}r{round}" for member in range(4) for round in range(3)
    ]
    assert {job.state.value for job in jobs} == {"done"}
    assert {job.id: job.attempt for job in jobs if job.attempt > 1} == {"m1r0": 2}


def test_what_the_shell_worker_uploaded_is_what_it_scored(ran: Ran) -> None:
    best = ev.load_study("toy", store=ran.store).result().best
    first, second = map(float, (best.checkpoint / "theta").read_text().split())
    assert best.value == pytest.approx(1.2 - first**2 - second**2, abs=1e-6)
    assert best.round == 2


def test_the_shell_worker_goes_on_through_a_service_that_is_killed(tmp_path: Path) -> None:
    with toy(tmp_path, population=3, rounds=4) as (url, env, study):
        with served(url, tmp_path) as running, started(running, env) as worker:
            until(lambda: len(study.jobs(state="done")) > 2, what="three jobs")
            running.kill()
            with served(url, tmp_path, "--port", str(running.port)):
                _, errors = worker.communicate(timeout=60)
        assert worker.returncode == 0, errors
        assert len(study.jobs(state="done")) == 12
        assert {job.attempt for job in study.jobs()} == {1}, "no lease ran out: it went on at once"


def test_the_shell_worker_ends_when_it_cannot_load_where_a_job_starts(tmp_path: Path) -> None:
    with toy(tmp_path, population=1, rounds=2) as (url, env, study):
        job = study.next_job()
        assert job is not None
        with job:
            (job.directory / "theta").write_text("0.9 0.9")
            job.metrics = {"Q": 0.0}
        place = study.result().best.directory
        place.rename(place.with_name("elsewhere"))
        with served(url, tmp_path) as running, started(running, env) as worker:
            _, errors = worker.communicate(timeout=60)
    assert worker.returncode != 0
    assert "CheckpointMissing" in errors
    assert not list(tmp_path.glob("tmp.*")), "it leaves no files, and no token, behind"


@contextmanager
def toy(
    folder: Path, *, population: int, rounds: int
) -> Iterator[tuple[str, dict[str, str], ev.Study]]:
    """Make a study; give the URL of its store, and an environment with a token of a worker."""
    url = f"sqlite:///{folder / 'log.db'}"
    with closing(open_store(url)) as opened:
        token, _ = tokens_of(opened).create("worker")
        study = ev.create_study(
            "toy", metric="Q", mode="max", population=population, rounds=rounds, store=opened,
            space={"h0": ev.Uniform(0.01, 1), "h1": ev.Uniform(0.01, 1)},
        )  # fmt: skip
        yield url, {**environment(folder / "bin"), "EVOLVENT_TOKEN": token}, study


@contextmanager
def started(running: Served, env: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    command, pipe = ["sh", str(WORKER), running.url, "1"], subprocess.PIPE
    with subprocess.Popen(command, env=env, stdout=pipe, stderr=pipe, text=True) as worker:
        try:
            yield worker
        finally:
            worker.kill()
