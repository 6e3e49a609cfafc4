"""An explanation of a job as text and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table
from rich.text import Text

from evolvent.analysis.explain.changes import Change
from evolvent.analysis.explain.explain import Explanation
from evolvent.cli.render.output import job_as_json, output_console, print_lines, print_prose
from evolvent.core.records import Cause
from evolvent.core.space import Space
from evolvent.display.columns import Column, as_table, short_names
from evolvent.display.words import compact

_ROLES = {"this member": "bold", "copied": "bold green", "drawn": "bold cyan"}


def print_explanation(explanation: Explanation) -> None:
    """Print why a job exists."""
    console = output_console()
    state = f" of {explanation.study}: {explanation.job.state}"
    console.print(Text.assemble((explanation.job.id, "bold"), state))
    print_prose(explanation.why)
    if explanation.rivals:
        console.print()
        console.print(_rivals(explanation))
    console.print()
    if any(change.how or change.after != change.before for change in explanation.changes):
        console.print(_changes(explanation.changes))
    elif explanation.job.cause is not Cause.UNDECIDED:
        print_prose([f"Trained with {_values(explanation)}."])
    if explanation.after:
        console.print()
        print_prose(explanation.after)
        print_lines(explanation.error_lines)
    if explanation.check:
        console.print()
        style = "dim" if explanation.agrees else "yellow"
        print_prose([explanation.check], style=style)


def explanation_as_json(explanation: Explanation) -> dict[str, Any]:
    """Return everything that an explanation says."""
    return {**asdict(explanation), "job": job_as_json(explanation.job)}


def _values(explanation: Explanation) -> str:
    values = Space.flatten(explanation.job.hyperparameters)
    names = short_names(list(values))
    return ", ".join(f"{names[name]} {compact(x, digits=4)}" for name, x in values.items())


def _rivals(explanation: Explanation) -> Table:
    rows: list[tuple[str, ...]] = []
    rank = explanation.rivals[0].rank - 1
    for rival in explanation.rivals:
        if rival.rank > rank + 1:
            rows.append(("…", "…", "…", ""))
        rank = rival.rank
        value = "failed" if rival.value is None else f"{rival.value:.6g}"
        rows.append((f"{rank}", str(rival.job), value, rival.role))
    ranks, jobs, values, roles = zip(*rows, strict=True)
    columns = [
        Column("rank", ranks),
        Column("job", jobs, "left"),
        Column(explanation.metric, values, styles={"failed": "red"}),
        Column("", roles, "left", styles=_ROLES),
    ]
    return as_table(columns)


def _changes(changes: Sequence[Change]) -> Table:
    names = short_names([change.name for change in changes])
    copied = any(change.base != change.before for change in changes)
    columns = [
        Column("", list(names.values()), "left"),
        Column("before", [compact(c.before, digits=4) for c in changes]),
        Column("donor's", [compact(c.base, digits=4) for c in changes]),
        Column("now", [compact(c.after, digits=4) for c in changes], style="bold"),
        Column("", [c.how for c in changes], "left"),
    ]
    return as_table([column for column in columns if copied or column.title != "donor's"])
