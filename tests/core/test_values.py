"""Values as text."""

from __future__ import annotations

import functools
import json
import math

import pytest

from evolvent.core.distributions import Constant
from evolvent.core.values import as_cell
from evolvent.errors import ConfigError


class Unprintable:
    def __repr__(self) -> str:
        raise ValueError("no text")


# Deeper than any of the interpreters goes for a text: 3.12 and 3.13 allow 10,000 levels of C calls.
NESTED = functools.reduce(lambda inner, _: [inner], range(200_000), 1)


@pytest.mark.usefixtures("no_finalizers")
@pytest.mark.parametrize(
    ("value", "message"),
    [
        (NESTED, "got <list object at 0x.*wanted at most 10 levels"),
        (Unprintable(), "got <.*Unprintable object at 0x.*wanted strings, numbers"),
    ],
)
def test_what_has_no_text_is_refused_all_the_same(value, message) -> None:
    with pytest.raises(ConfigError, match=message):
        Constant(value)


def test_a_list_in_a_cell_is_strict_json() -> None:
    cell = as_cell([1, math.nan, {"a": (math.inf, -math.inf, "é")}])
    assert json.loads(cell) == [1, None, {"a": [None, None, "é"]}]
    assert "NaN" not in cell
    assert "Infinity" not in cell
