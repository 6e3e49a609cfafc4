"""A schedule as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evolvent.cli.options import Format

if TYPE_CHECKING:
    from evolvent.analysis.schedule.schedule import Schedule


def print_schedule(found: Schedule, *, indent: str = "") -> None:
    """Print all there is; in a terminal that is too narrow for it, as much as fits."""
    from evolvent.analysis.schedule.schedule import flat
    from evolvent.cli.render.output import output_console, print_rows
    from evolvent.display.columns import short_names

    lines = [indent + line for line in str(found).splitlines()]
    if max(map(len, lines)) <= output_console().width:
        print("\n".join(lines))
        return
    titles, rows = short_names(found.names), []
    for segment in found.segments:
        values = flat(segment.hyperparameters)
        rows.append([segment.span, segment.member, *(values.get(name) for name in found.names)])
    print_rows([found.unit, "member", *titles.values()], rows, Format.TABLE)
