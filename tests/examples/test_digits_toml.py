"""The study file describes the study of the demo."""

from __future__ import annotations

from evolvent.cli.study_file import read_study_file
from evolvent.core.space import Space
from evolvent.demo.run import BREEDING, SPACE, TRAINABLE
from tests.examples.loading import EXAMPLES


def test_it_is_the_study_of_the_demo_with_a_first_guess():
    said = read_study_file(EXAMPLES / "digits.toml")
    assert said.trainable == TRAINABLE
    assert said.settings["space"] == Space.of(SPACE)
    assert said.settings["algorithm"] == BREEDING
    assert said.settings["synchronous"]
    assert said.settings["initial"] == [{"lr": 0.1, "momentum": 0.9}]
