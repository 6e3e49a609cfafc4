"""What training returns when it does not return what was agreed: errors that name it."""

from __future__ import annotations

from pathlib import Path

import pytest

import evolvent as ev
from tests.crash.processes import create


@pytest.mark.parametrize(
    ("trainable", "words"),
    [
        ("returns_nothing", [r"nothing \(None\)", "'score'"]),
        ("returns_a_list", ["list", r"\[0\.5\]", "'score'"]),
        ("returns_text", ["'score'", "str", "'high'"]),
        ("returns_a_vector", ["'score'", "more than one element"]),
        ("returns_another_name", ["'accuracy'", "'score'"]),
    ],
)
@pytest.mark.parametrize("workers", [0, 1])
def test_broken_contract_stops_the_study_and_names_the_fault(
    trainable: str, words: list[str], workers: int, tmp_path: Path
):
    study = create(tmp_path, population=2, rounds=2)
    with pytest.raises(ev.TrainableError) as raised:
        study.run(f"tests.crash.programs:{trainable}", workers=workers, progress=False)
    for word in words:
        assert raised.match(word)
    assert study.jobs("done") == study.jobs("failed") == study.jobs("running") == []
    study.run("tests.crash.programs:Quick", workers=0, progress=False)
    assert study.status().state == "finished"


@pytest.mark.parametrize(
    ("trainable", "value"), [("returns_nan", "nan"), ("returns_infinity", "inf")]
)
@pytest.mark.parametrize("workers", [0, 1])
def test_study_in_which_all_diverge_ends_with_the_metric_and_the_value(
    trainable: str, value: str, workers: int, tmp_path: Path
):
    study = create(tmp_path, population=2, rounds=2)
    with pytest.raises(ev.AllMembersFailed, match=rf"'score' was {value}"):
        study.run(f"tests.crash.programs:{trainable}", workers=workers, progress=False)
    assert [job.state for job in study.jobs()] == ["failed", "failed"]
    assert [job.score for job in study.jobs()] == [None, None]


def test_one_diverged_member_is_revived_by_a_healthy_one(tmp_path: Path):
    study = create(tmp_path, population=4, rounds=4)
    result = study.run("tests.crash.programs:nan_in_member_0", workers=1, progress=False)
    assert study.job("m0r1").state == "failed"
    assert study.job("m0r2").donor in (2, 3)
    assert result.best.score == 3.0
