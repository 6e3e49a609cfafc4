"""The trainer in awk learns, and the comment at its top is the command that trains it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from statistics import median

import pytest

import evolvent as ev
from tests.cli.commands import fine
from tests.examples.loading import EXAMPLES


def test_trainer_in_awk_learns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EVOLVENT_STORE", raising=False)
    (tmp_path / "examples").symlink_to(EXAMPLES)
    head = (EXAMPLES / "any_language.sh").read_text()
    found = re.search(r"#     evolvent (exec .*)\\\n#  (.*)\n", head)
    assert found is not None
    text = fine(*shlex.split(found[1] + found[2]))
    assert "finished after 60 jobs" in text
    study = ev.load_study("any-language")
    best = study.result().best
    first = median(job.metrics["loss"] for job in study.jobs("done") if job.round == 0)
    assert best.value < first / 50
    assert len((best.checkpoint / "weights").read_text().split()) == 6
