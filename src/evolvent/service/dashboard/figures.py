"""Figures of pages: the same charts as `evolvent plot`, drawn in the browser from their spec.

The library that draws them comes out of an installed package, whole; no other host is asked.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Mapping
from functools import cache, lru_cache
from importlib.util import find_spec
from typing import Any

from evolvent.analysis.lineage.diversity import Diversity
from evolvent.analysis.log import Log
from evolvent.analysis.plots.figure import FigureRequest, Options
from evolvent.analysis.plots.theme import DARK, LIGHT
from evolvent.core.records import JobId
from evolvent.errors import MissingExtra
from evolvent.store.codec.strict_json import encode
from evolvent.store.protocol import Store
from evolvent.store.records import StudyStatus
from evolvent.validation import cut, invalid

SHOWN: Mapping[str, str] = {
    "scores": "Scores", "hyperparameters": "Hyperparameters", "family": "Family tree",
}  # fmt: skip
"""The figures of a study, with their titles."""

_WARNS = "scores"
WIDTHS = (240, 2000)
_MOST_LOGS, _MOST_SPECS = 2, 64
_MOST_POINTS = 2000
_LEGEND_ENTRY = 170  # pixels
_MAKE = """
import sys, vl_convert
script = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
sys.stdout.buffer.write(script.encode())
"""


@cache
def library() -> tuple[bytes, str]:
    """Return the JavaScript that draws, and its version; made once, which takes a second or two.

    Raises:
        MissingExtra: vl-convert is not installed.
    """
    if find_spec("vl_convert") is None:
        raise MissingExtra("figures need vl-convert: pip install 'evolvent[plot]'")
    # In a process of its own: here it would keep the interpreter from everything else.
    ran = subprocess.run([sys.executable, "-c", _MAKE], capture_output=True, check=True)
    script = ran.stdout
    return script, hashlib.sha256(script).hexdigest()[:16]


class Figures:
    """The specs of figures, kept until the log has grown."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._log = lru_cache(_MOST_LOGS)(lambda version: Log.read(store, version[0]))
        self._drawn = lru_cache(_MOST_SPECS)(self._draw)

    def spec(self, status: StudyStatus, kind: str, *, dark: bool, width: int) -> bytes:
        """Return a figure as a Vega-Lite spec in JSON.

        Raises:
            ConfigError: there is no such figure.
            MissingExtra: Altair is not installed.
        """
        if kind not in SHOWN:
            raise invalid("figure", f"got {cut(kind)}, wanted one of {', '.join(SHOWN)}")
        counts = tuple(sorted(status.counts.items()))
        version = (status.id, status.created_at, status.changed_at, status.record.rounds, counts)
        return self._drawn(version, status.record.name, kind, dark, width)

    def _draw(
        self, version: tuple[Any, ...], study: str, kind: str, dark: bool, width: int
    ) -> bytes:
        log = self._log(version)
        request = FigureRequest(kind=kind, options=Options(dark=dark, width=width))
        spec = _for_page(request.draw({study: [log]}).to_dict(), width)
        # As in a terminal; here, because here the log has been read.
        if kind == _WARNS and (warning := Diversity.of(log).warning):
            spec["usermeta"]["warning"] = warning
        return encode(spec).encode()

    def points(self, status: StudyStatus, job: JobId, *, dark: bool, width: int) -> bytes:
        """Return what a job logged within its round, as one panel a name."""
        points = self._store.points(status.id, job)[-_MOST_POINTS:]
        names = list(dict.fromkeys(name for point in points for name in point.values))
        theme = DARK if dark else LIGHT
        line = {"type": "line", "color": theme.strong, "point": len(points) < 60}
        panels = [
            {
                "title": {"text": name, "fontSize": 13, "limit": width - 40},
                "width": max(120, width - 90),
                "height": 110,
                "mark": line,
                "data": {"values": [_xy(p.step, p.values.get(name)) for p in points]},
                "encoding": {
                    "x": {"field": "x", "type": "quantitative", "title": "step",
                          "axis": {"tickMinStep": 1}},
                    "y": {"field": "y", "type": "quantitative", "title": None,
                          "scale": {"zero": False}},
                },
            }
            for name in names
        ]  # fmt: skip
        config = {**theme.config(), "point": {"filled": True, "color": theme.strong, "size": 20}}
        description = f"What {job} logged within its round: {', '.join(names)}"
        spec = {"config": config, "description": description, "vconcat": panels}
        return encode(spec).encode()


def _for_page(spec: dict[str, Any], width: int) -> dict[str, Any]:
    """Return a figure without its title, which the page has, and with room for its legend.

    What stood below the title comes as `usermeta.words`: as text of the page it may wrap.
    """
    title = spec.pop("title", None)
    lines = title.get("subtitle", []) if isinstance(title, dict) else []
    description = " ".join([lines] if isinstance(lines, str) else lines)
    fitted = _fit(spec, max(1, (width - 60) // _LEGEND_ENTRY))
    return {**fitted, "usermeta": {"words": description}}


def _fit(part: Any, columns: int) -> Any:
    """Return a part of a spec with legends of so many columns, and without what only warns."""
    if isinstance(part, list):
        return [_fit(item, columns) for item in part]
    if not isinstance(part, dict):
        return part
    if part.get("type") == "log":
        part = {key: value for key, value in part.items() if key != "zero"}
    return {
        key: {**value, "columns": min(columns, value.get("columns") or columns)}
        if key == "legend" and isinstance(value, dict)
        else value
        if key in {"data", "datasets"}
        else _fit(value, columns)
        for key, value in part.items()
    }


def _xy(step: float, value: float | None) -> dict[str, float | None]:
    finite = value is not None and value - value == 0  # neither NaN nor infinite
    return {"x": step, "y": value if finite else None}
