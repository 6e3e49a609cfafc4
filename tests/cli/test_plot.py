"""plot."""

from __future__ import annotations

from pathlib import Path

import pytest

from evolvent.analysis.plots import KINDS
from tests.cli.commands import evolvent, fine, new_study, trained_study
from tests.needs import needs

needs("altair")
needs("vl_convert")


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_drawn_of_the_newest_study(kind):
    trained_study()
    assert fine("plot", kind, "-o", "figure.svg") == "wrote figure.svg\n"
    assert "<svg" in Path("figure.svg").read_text()


def test_study_is_named_before_the_kind():
    trained_study("hill")
    trained_study("dale", seed=2)
    fine("plot", "hill", "scores", "-o", "figure.svg")
    assert "hill: height of every member" in Path("figure.svg").read_text()


def test_study_may_be_called_like_a_kind():
    trained_study("scores")
    new_study("newer")
    fine("plot", "scores", "family", "-o", "figure.svg")
    assert "scores: who copied whom" in Path("figure.svg").read_text()


def test_two_studies_stand_beside_each_other():
    trained_study("hill")
    trained_study("dale", seed=2)
    fine("plot", "hill", "dale", "scatter", "-o", "figure.svg")
    assert "hill beside dale" in Path("figure.svg").read_text()


def test_seeds_of_an_arm_are_joined():
    for name in ("a-1", "a-2", "b-1"):
        trained_study(name, seed=int(name[-1]))
    fine("plot", "a-1", "a-2", "vs", "b-1", "compare", "-o", "figure.svg")
    assert "(2 seeds)" in Path("figure.svg").read_text()


def test_what_is_shown_can_be_chosen():
    trained_study()
    fine(
        "plot", "hyperparameters", "-p", "lr", "--dark", "--width", "300", "-o", "figure.svg"
    )  # fmt: skip
    drawn = Path("figure.svg").read_text()
    assert "optimizer.lr" in drawn
    assert ">step<" not in drawn
    assert "#0d1117" in drawn


def test_unknown_kind_is_a_usage_error_that_names_the_kinds():
    trained_study()
    for words in (["hill"], ["scores", "hill"], ["hill", "pie"]):
        result = evolvent("plot", *words, "-o", "figure.svg")
        assert result.exit_code == 2
        told = " ".join(result.stderr.replace("│", " ").split())
        assert "wanted, as the last argument, one of scores, " in told
        assert "improvement" in told
        assert ", last" not in told


def test_unknown_study_exits_with_3():
    trained_study()
    assert evolvent("plot", "dale", "scores", "-o", "figure.svg").exit_code == 3


def test_unknown_names_are_told_with_those_there_are():
    trained_study()
    result = evolvent("plot", "scores", "-m", "speed", "-o", "figure.svg")
    assert result.exit_code == 3
    assert "it has height, depth" in result.stderr
    assert "it has step, optimizer.lr" in evolvent(
        "plot", "schedule", "-p", "speed", "-o", "figure.svg"
    ).stderr  # fmt: skip


def test_unknown_ending_is_refused():
    trained_study()
    result = evolvent("plot", "scores", "-o", "figure.gif")
    assert result.exit_code == 1
    assert ".png, .svg, .pdf, .html, .json" in result.stderr


def test_help_tells_every_kind():
    shown = fine("plot", "--help")
    assert all(kind in shown for kind in KINDS)
