"""Values as text."""

from __future__ import annotations

import json
import math

from evolvent.core.values import as_cell


def test_a_list_in_a_cell_is_strict_json() -> None:
    cell = as_cell([1, math.nan, {"a": (math.inf, -math.inf, "é")}])
    assert json.loads(cell) == [1, None, {"a": [None, None, "é"]}]
    assert "NaN" not in cell
    assert "Infinity" not in cell
