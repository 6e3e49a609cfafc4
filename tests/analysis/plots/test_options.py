"""What may be chosen for a figure."""

from __future__ import annotations

import pytest

from evolvent.analysis.plots.figure import Options
from evolvent.errors import ConfigError


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        ({"color": "red"}, "got an option 'color', wanted one of metric, hyperparameters, dark"),
        ({"width": 100}, "width: got 100, wanted a whole number, 200 to 8000"),
        ({"height": 1e9}, "height: got 1000000000.0"),
        ({"hyperparameters": "lr"}, "hyperparameters: got 'lr', wanted a list of names"),
        ({"hyperparameters": [1]}, "hyperparameters: got \\[1\\]"),
        ({"metric": 3}, "metric: got 3, wanted the name of one"),
        ({"dark": "yes"}, "dark: got 'yes'"),
    ],
)
def test_choice_that_cannot_be_used_is_named(choices, words):
    with pytest.raises(ConfigError, match=words):
        Options.of(choices)
