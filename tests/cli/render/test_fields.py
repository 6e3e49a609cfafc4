"""What `--where`, `--sort` and `--fields` understand."""

from __future__ import annotations

from typing import Any

import pytest
import typer

from evolvent.cli.render.fields import Fields
from evolvent.core.records import JobId, JobRecord, JobState
from evolvent.errors import UnknownName

FIELDS = Fields(("lr", "layer.width", "kind", "round"), ("height", "lr"), frozenset({"kind"}))


def job(**changes: Any) -> JobRecord:
    settings: dict[str, Any] = {
        "member": 3,
        "round": 12,
        "state": JobState.DONE,
        "hyperparameters": {"lr": 0.1, "layer": {"width": 64}, "kind": "relu", "round": 7},
        "parent": JobId(1, 11),
        "score": 0.5,
        "metrics": {"height": 2.0, "lr": 0.3},
    }
    return JobRecord(**(settings | changes))


@pytest.mark.parametrize(
    "text",
    [
        "score>0.4", "score >= 0.5", "score<1e3", "score=0.5", "score==0.5", "score!=0.6",
        "id=m3r12", "state=done", "parent='m1r11'", "donor=1", "kind=relu", "kind!=tanh",
        "layer.width=64", "width>=64", "error=none", "lr=0.1", "metrics.lr=0.3", "kind>a",
    ],
)  # fmt: skip
def test_condition_holds(text: str) -> None:
    assert FIELDS.condition(text)(job())


@pytest.mark.parametrize(
    "text", ["score>0.5", "score!=0.5", "kind=tanh", "kind>3", "error>0", "score>none", "error=x"]
)
def test_condition_does_not_hold(text: str) -> None:
    assert not FIELDS.condition(text)(job())


def test_job_without_a_score_meets_no_comparison() -> None:
    assert not FIELDS.condition("score<1")(job(score=None))
    assert FIELDS.condition("score=none")(job(score=None))


def test_hyperparameter_that_is_called_like_a_field_is_meant_by_its_full_name() -> None:
    assert FIELDS.getter("round")(job()) == 12
    assert FIELDS.getter("hyperparameters.round")(job()) == 7
    assert "hyperparameters.round" in FIELDS.names
    assert "metrics.lr" in FIELDS.names


def test_every_name_that_is_listed_can_be_read() -> None:
    assert len(set(FIELDS.names)) == len(FIELDS.names)
    for name in FIELDS.names:
        FIELDS.getter(name)(job())


@pytest.mark.parametrize("text", ["score", "", ">3"])
def test_condition_that_means_nothing_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="wanted a comparison"):
        FIELDS.condition(text)


@pytest.mark.parametrize("text", ["speed>3", "hyperparameters.speed=1"])
def test_condition_on_a_field_that_is_not_there_names_those_that_are(text: str) -> None:
    with pytest.raises(UnknownName, match=r"no field .*; there are id, member, round"):
        FIELDS.condition(text)


@pytest.mark.parametrize(("by", "order"), [("score", [1, 2, 0]), ("-score", [2, 1, 0])])
def test_jobs_without_a_value_come_last_in_both_directions(by: str, order: list[int]) -> None:
    jobs = [job(member=0, score=None), job(member=1, score=0.1), job(member=2, score=0.2)]
    assert [j.member for j in FIELDS.sorted(jobs, by)] == order


def test_numbers_and_words_in_one_column_can_be_sorted() -> None:
    jobs = [job(member=i, hyperparameters={"kind": v}) for i, v in enumerate(("b", 2, "a", 1))]
    assert [j.member for j in FIELDS.sorted(jobs, "kind")] == [3, 1, 2, 0]


def test_seconds_are_what_the_job_took() -> None:
    assert FIELDS.getter("seconds")(job(started_at=10.0, finished_at=12.5)) == 2.5
    assert FIELDS.getter("seconds")(job()) is None


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("score>>1", "wanted a comparison"),
        ("lr=abc", "lr is compared with numbers"),
        ("height<tall", "height is compared with numbers"),
        ("seconds=long", "seconds is compared with numbers"),
    ],
)
def test_condition_that_can_never_hold_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(typer.BadParameter, match=complaint):
        FIELDS.condition(text)


def test_hyperparameter_with_some_text_is_compared_with_text() -> None:
    known = Fields.of(["kind"], [job(), job(hyperparameters={"kind": 3})])
    assert known.condition("kind=relu")(job())
