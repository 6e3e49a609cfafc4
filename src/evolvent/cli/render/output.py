"""How results are printed: tables for people, JSON and CSV for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from evolvent.analysis.csv_rows import row_writer
from evolvent.cli.options import Format
from evolvent.core.records import JobRecord
from evolvent.display.words import compact, shortened

if TYPE_CHECKING:
    from rich.console import Console

    from evolvent.analysis.schedule.schedule import Schedule
    from evolvent.display.columns import Column

_UNLIMITED = 100_000  # characters a line may have where nobody's screen ends
_WIDEST = 88  # prose is no easier to read on a wider screen


def print_json(value: Any) -> None:
    """Print strict JSON: what JSON has no number for (NaN, infinities) becomes null."""
    from evolvent.core.values import finite  # NumPy, which `--help` does without

    unicode = (getattr(sys.stdout, "encoding", None) or "utf-8").lower().startswith("utf")
    print(json.dumps(finite(value), indent=2, ensure_ascii=not unicode))


def print_csv(titles: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print CSV with a line of titles; what is missing is empty."""
    from evolvent.core.values import as_cell  # NumPy, which `--help` does without

    write = row_writer(sys.stdout)
    write(titles)
    for row in rows:
        write([as_cell(cell) for cell in row])


def print_rows(titles: Sequence[str], rows: Sequence[Sequence[Any]], form: Format) -> None:
    """Print a listing of named fields in any format."""
    match form:
        case Format.JSON:
            print_json([dict(zip(titles, row, strict=True)) for row in rows])
        case Format.CSV:
            print_csv(titles, rows)
        case Format.TABLE:
            print_table(text_columns(titles, rows))


def text_columns(titles: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[Column]:
    """Return the cells as short texts, numbers to the right."""
    from evolvent.display.columns import LONGEST_NAME, Column
    from evolvent.display.table import STATE_STYLES

    columns = []
    for i, title in enumerate(titles):
        values = [row[i] for row in rows]
        numeric = all(v is None or isinstance(v, (int, float)) for v in values)
        columns.append(
            Column(
                shortened(title, LONGEST_NAME),
                [v if isinstance(v, str) else compact(v, digits=4) for v in values],
                "right" if numeric else "left",
                STATE_STYLES if title == "state" else None,
            )
        )
    return columns


def print_table(columns: Sequence[Column]) -> None:
    """Print a table; in a terminal too narrow for it, words are cut and then columns counted."""
    from evolvent.display.columns import as_table, cut_words, fitting

    console = output_console()
    if sum(column.width for column in columns) > console.width:
        columns = [cut_words(column, console.width // 4) for column in columns]
    console.print(as_table(fitting(columns, console.width)))


def print_schedule(schedule: Schedule, *, indent: str = "") -> None:
    """Print all there is; in a terminal that is too narrow for it, as much as fits."""
    from evolvent.analysis.schedule.segments import members_of
    from evolvent.core.space import Space
    from evolvent.display.columns import short_names

    lines = [indent + line for line in str(schedule).splitlines()]
    if max(map(len, lines)) <= output_console().width:
        print("\n".join(lines))
        return
    titles, rows = short_names(schedule.names), []
    members = members_of(schedule.segments)
    for segment, member in zip(schedule.segments, members, strict=True):
        values = Space.flatten(segment.hyperparameters)
        rows.append([segment.span, member, *(values.get(name) for name in schedule.names)])
    print_table(text_columns([schedule.unit, "member", *titles.values()], rows))


def print_prose(sentences: Iterable[str], *, indent: int = 2, style: str = "") -> None:
    """Print a sentence a line; in a terminal the next lines of one are indented."""
    from rich.padding import Padding
    from rich.text import Text

    console = output_console()
    for sentence in sentences:
        if not console.is_terminal:
            console.print(Text(sentence), soft_wrap=True)
            continue
        lines = Text(sentence, style=style).wrap(console, min(console.width, _WIDEST) - indent)
        for number, line in enumerate(lines):
            line.rstrip()
            console.print(Padding(line, (0, 0, 0, indent if number else 0)))


def print_lines(lines: Iterable[str], *, style: str = "dim") -> None:
    """Print what a program has written, indented and line by line; in a terminal it is cut."""
    from rich.text import Text

    console = output_console()
    for line in lines:
        console.print(Text(f"  {line}", style=style), no_wrap=True, overflow="ellipsis")


def output_console() -> Console:
    """Return a console on standard output; into a pipe or file, lines are as long as they need."""
    from rich.console import Console

    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_UNLIMITED)


def job_as_json(job: JobRecord) -> dict[str, Any]:
    """Return everything the log knows about a job."""
    return {"id": str(job.id), **asdict(job), "donor": job.donor}
