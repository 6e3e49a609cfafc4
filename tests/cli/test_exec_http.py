"""exec over a service, with a worker's token: the same commands, checkpoints sent and fetched."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import evolvent as ev
from evolvent.core.records import JobState
from evolvent.store.connect import open_store
from tests.cli.commands import evolvent, fine, new_study
from tests.service.threaded import Service, service
from tests.settings import there_are

CLIMB = """
at=0; [ -z "$2" ] || at=$(cat "$2/deep/at")
mkdir "$3/deep"
awk -v at="$at" -v step="$1" 'BEGIN {{ printf "%.17g", at + step }}' > "$3/deep/at"
echo "from {round}"
"""
PRINTED = CLIMB + 'echo "{{\\"height\\": $(cat "$3/deep/at")}}"; echo done'
WRITTEN = CLIMB + 'echo "{{\\"height\\": $(cat "$3/deep/at")}}" > "$3/metrics.json"'
WORDS = ("sh", "{step}", "{checkpoint}", "{directory}")


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """A service; this machine has a token for workers."""
    store = open_store(f"sqlite:///{tmp_path / 'log.db'}")
    with service(store) as made:
        monkeypatch.setenv("EVOLVENT_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("EVOLVENT_TOKEN", made.token("worker"))
        yield made
    store.close()


@pytest.fixture
def study(running: Service) -> ev.Study:
    return new_study(store=running.store, trainable=None)


@pytest.mark.slow
@pytest.mark.parametrize("script", [PRINTED, WRITTEN], ids=["last JSON line", "metrics.json"])
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_round_starts_from_what_the_round_before_it_left(
    script: str, workers: str, running: Service, study: ev.Study
) -> None:
    text = fine("exec", running.url, "hill", "--workers", workers, "--", "sh", "-c", script, *WORDS)
    assert "finished after 6 jobs" in text
    assert there_are(study.status()) == {JobState.DONE: 6}
    for job in study.jobs():
        parent = study.job(job.parent) if job.parent else None
        before = parent.metrics["height"] if parent else 0.0
        assert job.metrics["height"] == pytest.approx(before + job.hyperparameters["step"])
        left = study.store.checkpoints(study.id).path(str(job.checkpoint))
        if left.exists():  # the others have been collected
            assert sorted(path.name for path in left.rglob("*")) == ["at", "deep"]


def test_once_runs_one_job(running: Service, study: ev.Study) -> None:
    words = ("exec", running.url, "hill", "--once", "--", "sh", "-c", PRINTED, *WORDS)
    result = evolvent(*words)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout.splitlines()[1]) == study.job("m0r0").metrics
    assert there_are(study.status()) == {JobState.DONE: 1, JobState.QUEUED: 3}


def test_a_command_that_fails_is_told_with_its_last_words(
    running: Service, study: ev.Study
) -> None:
    result = evolvent("exec", running.url, "hill", "--", "sh", "-c", "echo no luck >&2; exit 3")
    assert result.exit_code == 1
    assert "no luck" in result.stderr
    assert there_are(study.status()) == {JobState.QUEUED: 3}


def test_without_a_token_nothing_is_claimed(
    running: Service, study: ev.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVOLVENT_TOKEN", running.token("viewer"))
    result = evolvent("exec", running.url, "hill", "--", "sh", "-c", PRINTED, *WORDS)
    assert result.exit_code == 1
    assert "has the role viewer: this needs worker" in result.stderr
    assert all(job.attempt == 0 for job in study.jobs())
