"""compare and control."""

from __future__ import annotations

import csv
import io
import json

import pytest

import evolvent as ev
from tests.cli.commands import evolvent, fine, new_study, trained_study


@pytest.fixture
def six() -> None:
    store = ev.open_store("sqlite:///evolvent.db")
    for seed in (1, 2, 3):
        for name, low in (("pbt", 0.8), ("rs", 0.2)):
            trained_study(
                f"{name}-{seed}", seed=seed, space={"step": ev.Uniform(low, low + 0.1)},
                algorithm=ev.RandomSearch(), store=store,
            )  # fmt: skip


@pytest.mark.usefixtures("six")
@pytest.mark.parametrize(
    "words", [["pbt-*", "rs-*"], ["pbt-1", "pbt-2", "pbt-3", "vs", "rs-1", "rs-2", "rs-3"]]
)
def test_groups_are_patterns_or_stand_on_either_side_of_vs(words: list[str]) -> None:
    there = json.loads(fine("compare", *words, "--json"))
    assert [len(arm["studies"]) for arm in there["arms"]] == [3, 3]
    verdicts = [row["verdict"] for row in there["figures"] if row["minus"]]
    assert verdicts == ["better", "better"]


@pytest.mark.usefixtures("six")
def test_the_table_says_it_in_words_within_eighty_columns() -> None:
    text = fine("compare", "pbt-*", "rs-*", "--test", "depth", "--test-mode", "min")
    assert max(map(len, text.splitlines())) <= 80
    assert "\x1b" not in text
    sentence = "pbt-* is better than rs-* in best height, area and depth of the best by height."
    assert sentence in " ".join(text.split())


@pytest.mark.usefixtures("six")
def test_csv_has_a_row_for_every_mean_and_difference() -> None:
    rows = list(csv.DictReader(io.StringIO(fine("compare", "pbt-*", "rs-*", "--csv"))))
    assert [(row["figure"], row["arm"], row["minus"]) for row in rows] == [
        ("best", "pbt-*", ""), ("best", "rs-*", ""), ("best", "pbt-*", "rs-*"),
        ("area", "pbt-*", ""), ("area", "rs-*", ""), ("area", "pbt-*", "rs-*"),
    ]  # fmt: skip
    assert {row["n"] for row in rows} == {"3"}


@pytest.mark.usefixtures("six")
@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["pbt-1", "nobody"], 3, "no study 'nobody'"),
        (["no-*"], 3, "no study fits the pattern 'no-*'"),
        (["pbt-1", "--test", "top5"], 3, "reports no metric 'top5', it has height, depth"),
        (["pbt-1", "--test-mode", "up"], 1, "test_mode: got 'up'"),
        (["pbt-1", "vs"], 2, "either side of 'vs'"),
        ([], 2, "Missing argument"),
        (["pbt-1", "--json", "--csv"], 2, "exclude each other"),
    ],
)
def test_bad_input_is_told(words: list[str], code: int, message: str) -> None:
    result = evolvent("compare", *words)
    assert result.exit_code == code
    assert message in " ".join(result.output.replace("│", " ").split())


def test_unequal_compute_is_the_first_thing_said() -> None:
    store = ev.open_store("sqlite:///evolvent.db")
    trained_study("short", store=store)
    trained_study("long", rounds=4, store=store)
    assert fine("compare", "short", "long").startswith("UNEQUAL COMPUTE. Jobs trained: short 6, lo")


def test_control_makes_and_trains_the_control_arm_and_compares() -> None:
    trained_study(store=ev.open_store("sqlite:///evolvent.db"))
    text = fine("control", "hill", "--workers", "0")
    assert "One seed tells nothing about noise" in text
    study, control = ev.load_study("hill"), ev.load_study("hill-control")
    assert [len(s.jobs("done")) for s in (study, control)] == [6, 6]
    again = json.loads(fine("control", "hill", "--workers", "0", "--json"))
    assert (again["study"], again["state"]) == ("hill-control", "finished")


def test_control_can_be_named() -> None:
    new_study()
    assert json.loads(fine("control", "--name", "mine", "-w", "0", "--json"))["study"] == "mine"


def test_code_that_is_nowhere_leaves_no_control_arm_behind() -> None:
    new_study()
    result = evolvent("control", "hill", "nomod:x")
    assert result.exit_code == 3
    assert "no module 'nomod'" in result.stderr
    assert [s.record.name for s in ev.list_studies()] == ["hill"]
