"""Code of the user's that decides, and looks at its own study: it never waits for itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import evolvent as ev
from tests.test_user_decisions import new_study, train

_OPEN: list[ev.Study] = []


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/s.db"
    url: str = request.getfixturevalue("postgres_url")
    return url


def open_study(tmp_path: Path, explore: Any, *, store: str) -> ev.Study:
    _OPEN.clear()  # what is tried before has nothing to look at
    _OPEN.append(new_study(tmp_path, explore, store=store))
    return _OPEN[0]


def test_it_may_read_with_a_study_that_is_open(tmp_path: Path, store: str) -> None:
    seen = []

    def explore(h: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        seen.extend(len(study.jobs()) for study in _OPEN)
        return {"lr": h["lr"] * 0.9}

    study = open_study(tmp_path, explore, store=store)
    study.run(train, workers=0, progress=False)
    assert len(study.jobs("done")) == 12
    assert max(seen) > 0


def test_to_change_what_is_being_changed_is_an_error(tmp_path: Path, store: str) -> None:
    def explore(h: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        for study in _OPEN:
            if study.jobs("done"):
                study.stop()
        return {"lr": h["lr"] * 0.9}

    study = open_study(tmp_path, explore, store=store)
    with pytest.raises(ev.DecisionError, match="wanted to open or to change it while it is being"):
        study.run(train, workers=0, progress=False)
    assert study.status().stopped_by == "decision"


def test_to_open_a_file_again_is_an_error_too(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/s.db"

    def explore(h: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        best = ev.load_study("own", store=url).status().best_score if _OPEN else None
        return {"lr": h["lr"] * (0.9 if best is None else 0.8)}

    study = open_study(tmp_path, explore, store=url)
    with pytest.raises(ev.DecisionError, match="it may read with a study that is open already"):
        study.run(train, workers=0, progress=False)
