"""Tables that fit: columns are shown whole or counted, never squeezed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from rich import box
from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from evolvent.display.words import shortened

_GAP = 2
LONGEST_NAME = 16


@dataclass(frozen=True, slots=True)
class Column:
    """A column as text.

    Attributes:
        styles: of the cells that have one of their own, by content.
    """

    title: str
    cells: Sequence[str]
    justify: Literal["left", "right"] = "right"
    styles: dict[str, str] | None = None
    style: str = ""

    @property
    def width(self) -> int:
        return max(map(cell_len, [self.title, *self.cells])) + _GAP

    def cell(self, row: int) -> Text:
        text = self.cells[row]
        return Text(text, style=(self.styles or {}).get(text, self.style))


def fitting(columns: Sequence[Column], width: int) -> list[Column]:
    """Return as many columns as fit, and if not all do, one more that counts the others."""
    for n in range(len(columns), 0, -1):
        shown = list(columns[:n])
        if n < len(columns):
            shown.append(_count(len(columns) - n, columns[0]))
        if sum(column.width for column in shown) <= width:
            return shown
    return [_count(len(columns), columns[0])] if columns else []


def cut_words(column: Column, longest: int) -> Column:
    """Return a column of words with cells of at most `longest` characters; numbers stay whole."""
    if column.justify == "right":
        return column
    return replace(column, cells=[shortened(cell, longest) for cell in column.cells])


def as_table(columns: Sequence[Column], *, row_styles: Sequence[str] = ()) -> Table:
    """Return the columns as a table with a rule below the titles."""
    table = Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, _GAP - 1, 0, 0),  # the box adds one
        header_style="bold",
        caption_justify="left",
        caption_style="dim",
    )
    for column in columns:
        table.add_column(column.title, justify=column.justify, no_wrap=True)
    for row in range(len(columns[0].cells) if columns else 0):
        style = row_styles[row] if row < len(row_styles) else ""
        table.add_row(*(column.cell(row) for column in columns), style=style)
    return table


def short_names(names: Sequence[str]) -> dict[str, str]:
    """Return a title for each dotted name: its last part where no other name ends alike."""
    lasts = [name.rpartition(".")[2] for name in names]
    return {
        name: shortened(last if lasts.count(last) == 1 else name, LONGEST_NAME)
        for name, last in zip(names, lasts, strict=True)
    }


def _count(n: int, like: Column) -> Column:
    return Column(f"+{n} more", [""] * len(like.cells))
