"""Colours and fonts of every figure, light and dark, safe for the colour-blind.

One strong colour says what matters (the best lineage, the first arm), grey says the rest. The other
colours follow Okabe and Ito (2008), darkened on white and lightened on black until each stands out
from its background by 3:1 (WCAG 2.1, graphics); tests measure it, and that colours which stand in
one figure stay apart for the three kinds of colour blindness.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

FONT = "Helvetica, Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif"
"""What every system has one of: nothing is fetched, and text in an SVG stays text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Theme:
    """The colours of a figure, as `#rrggbb`.

    Attributes:
        background, text, faint, grid: paper, titles, axis labels, lines of the grid.
        strong: the best lineage, and nothing else.
        rest: the members that are not emphasised.
        failed: jobs that have failed.
        palette: founders or arms, told apart by colour; `strong` is not among them.
        ramp: scores from low to high; high stands out.
    """

    background: str
    text: str
    faint: str
    grid: str
    strong: str
    rest: str
    failed: str
    palette: tuple[str, ...]
    ramp: tuple[str, ...]

    def config(self) -> dict[str, Any]:
        """Return the configuration of a Vega-Lite chart."""
        label = {"labelColor": self.faint, "titleColor": self.text}
        return {
            "background": self.background,
            "font": FONT,
            "aria": False,  # a label on every mark would be most of an SVG; the chart has one
            "padding": 14,
            "view": {"stroke": None},
            "mark": {"opacity": 1},  # of a whole mark it is slow to draw: fill and stroke have it
            "axis": {
                **label, "gridColor": self.grid, "domainColor": self.rest, "tickColor": self.rest,
                "labelFontSize": 11, "titleFontSize": 12, "titleFontWeight": "normal",
                "labelLimit": 150, "titleLimit": 340, "titlePadding": 8, "labelOverlap": True,
            },
            "legend": {
                **label, "orient": "top", "title": None, "labelFontSize": 12, "labelLimit": 320,
                "labelColor": self.text, "symbolStrokeWidth": 3, "columnPadding": 18, "offset": 10,
                "symbolOpacity": 1, "gradientOpacity": 1,
            },
            "header": {**label, "labelFontSize": 12, "labelColor": self.text, "labelLimit": 340},
            "title": {
                "anchor": "start", "frame": "group", "color": self.text, "fontSize": 15,
                "subtitleColor": self.faint, "subtitleFontSize": 12, "subtitlePadding": 5,
                "offset": 14,
            },
            "text": {"color": self.text, "fontSize": 12},
        }  # fmt: skip


LIGHT = Theme(
    background="#ffffff",
    text="#1f2328",
    faint="#57606a",
    grid="#e6e8eb",
    strong="#d55e00",
    rest="#8c959f",
    failed="#1f2328",
    palette=("#0072b2", "#009e73", "#a64d88", "#604000", "#3f2aa0", "#222222"),
    ramp=("#c6d3e1", "#8fb1d3", "#5089bd", "#215d97", "#08306b"),
)
DARK = Theme(
    background="#0d1117",
    text="#e6edf3",
    faint="#9da7b3",
    grid="#21262d",
    strong="#ff8c42",
    rest="#6e7681",
    failed="#e6edf3",
    palette=("#3d9be0", "#2fbf95", "#cc79a7", "#f0e442", "#9ad4f5", "#d0d0d0"),
    ramp=("#24405f", "#2f6598", "#4b93cf", "#8cc4f0", "#e3f2ff"),
)
