"""The family tree of a study as text and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

from rich.text import Text

from evolvent.analysis.lineage.diversity import Diversity
from evolvent.analysis.lineage.family_tree import Branch, FamilyTree, descent, largest, tree_lines
from evolvent.cli.render.output import output_console, print_prose
from evolvent.display.columns import Column, as_table, fitting, short_names


def print_family(
    tree: FamilyTree, stems: Sequence[Branch], diversity: Diversity, *, most: int | None
) -> None:
    """Print the branches that are left, where all meet, and the variety round by round.

    At most `most` lines of branches; None for all.
    """
    console, status = output_console(), tree.log.status
    gap = "  " if stems else ": "
    head = Text.assemble((status.record.name, "bold"), f"{gap}{descent(tree, stems)}")
    console.print(head, soft_wrap=not console.is_terminal)
    if not stems:
        return
    console.print()
    lines = [line for stem in stems for line in stem.walk()]
    shown = largest(lines, most)
    console.print(_branch_table(shown, tree))
    if len(shown) < len(lines):
        console.print(f"+{len(lines) - len(shown)} more branches: --all draws them", style="dim")
    console.print()
    console.print("spread of what they train with, from 0 (all alike)", style="dim")
    console.print(_diversity_table(diversity, width=console.width))
    if diversity.warning is not None:
        console.print()
        print_prose([f"warning: {diversity.warning}"], style="yellow")


def tree_as_json(tree: FamilyTree, stems: Sequence[Branch], diversity: Diversity) -> dict[str, Any]:
    """Return the branches in a flat list, each with the last job of the one it grows from."""
    common = tree.common_ancestor()
    return {
        "study": tree.log.status.record.name,
        "jobs": len(tree),
        "copies": int(tree.copied.sum()),
        "common_ancestor": common,
        "one_founder_since_round": tree.coalesced,
        "branches": [
            _branch_as_json(tree, branch) for _, branch in chain(*(s.walk() for s in stems))
        ],
        "diversity": {
            "warning": diversity.warning,
            "round": diversity.round.tolist(),
            "members": diversity.members.tolist(),
            "founders": diversity.founders.tolist(),
            "ancestors": diversity.ancestors.tolist(),
            "spread": {name: values.tolist() for name, values in diversity.spread.items()},
        },
    }


def _branch_as_json(tree: FamilyTree, branch: Branch) -> dict[str, Any]:
    above = int(tree.log.parent[tree.log.row(branch.first)])
    return {
        "first": branch.first,
        "last": branch.last,
        "grows_from": None if above < 0 else tree.log.id(above),
        "jobs": branch.jobs,
        "copies": branch.copies,
        "members": branch.members,
        "value": branch.value,
        "newest": branch.newest,
    }


def _branch_table(lines: Sequence[tuple[int, Branch]], tree: FamilyTree) -> Any:
    metric, best = tree.log.status.record.metric, tree.log.status.best
    rows, guides = [branch for _, branch in lines], tree_lines([depth for depth, _ in lines])
    columns = [
        Column("", [guide + b.span for guide, b in zip(guides, rows, strict=True)], "left"),
        Column("jobs", [str(b.jobs) for b in rows]),
        Column("copies", [str(b.copies) for b in rows]),
        Column("members", [str(b.members) for b in rows]),
        Column(metric, [f"{b.value:.6g}" for b in rows]),
        Column("", ["best" if b.last == best else "" for b in rows], "left"),
    ]  # fmt: skip
    styles = ["bold green" if b.last == best else "" for b in rows]
    return as_table(columns, row_styles=styles)


def _diversity_table(diversity: Diversity, *, width: int) -> Any:
    rounds, titles = diversity.shown(), short_names(list(diversity.spread))
    columns = [
        Column("round", [str(r) for r in rounds]),
        Column("members", [str(diversity.members[r]) for r in rounds]),
        Column("founders", [str(diversity.founders[r]) for r in rounds]),
        *(
            Column(titles[name], [f"{values[r]:.3f}" for r in rounds])
            for name, values in diversity.spread.items()
        ),
    ]
    return as_table(fitting(columns, width))
