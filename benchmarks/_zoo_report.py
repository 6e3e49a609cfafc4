"""The table of the zoo: what each arm is worth, over cells of which each has its own best."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import mean
from typing import TypeAlias

import numpy as np

from _zoo_arms import CONTROLS, Cell, task_of
from evolvent.analysis.comparison.statistics import difference
from evolvent.analysis.comparison.text import counted

RANDOM = "random"
FEWEST_SEEDS = 5
"""With fewer no interval is worth the name."""

Scores: TypeAlias = Mapping[Cell, Mapping[str, Mapping[int, float]]]
"""By cell, arm and seed: the true score at the end."""


@dataclass(frozen=True, slots=True)
class Row:
    """An arm over all cells of a mode.

    Attributes:
        share: how far it came from random search (0) to the best arm of a cell (1); mean over
            cells of a family, then over families.
        families: the same for each family.
        to_reference: in how many cells it is better, worse, and neither beyond noise.
        to_random: the same beside random search.
        rank: its mean rank among the arms, 1 the best.
        seeds: the fewest in any cell.
    """

    arm: str
    share: float
    families: Mapping[str, float]
    to_reference: tuple[int, int, int]
    to_random: tuple[int, int, int]
    rank: float
    cells: int
    seeds: int


def rows(scores: Scores, *, reference: str) -> list[Row]:
    """Return a row for each arm, the highest share first; without any result, no row.

    Args:
        scores: of one mode. Cells and seeds that some arm has not run yet are left out.
        reference: the arm that others are set beside.
    """
    order = list(dict.fromkeys(arm for found in scores.values() for arm in found))
    paired = {cell: _paired(found, order) for cell, found in scores.items()}
    complete = {cell: found for cell, found in paired.items() if found}
    if not complete:
        return []
    shares = {cell: _shares(found) for cell, found in complete.items()}
    ranks = {cell: _ranks(found) for cell, found in complete.items()}
    made = []
    for arm in order:
        by_family = defaultdict(list)
        for cell, share in shares.items():
            if share is not None:
                by_family[task_of(cell.task).family].append(share[arm])
        family_means = {family: mean(values) for family, values in by_family.items()}
        made.append(
            Row(
                arm,
                mean(family_means.values()) if family_means else float("nan"),
                family_means,
                _verdicts(complete.values(), arm, reference),
                _verdicts(complete.values(), arm, RANDOM),
                mean(rank[arm] for rank in ranks.values()),
                len(complete),
                min(len(next(iter(found.values()))) for found in complete.values()),
            )
        )
    return sorted(made, key=lambda row: -row.share)


def verdict(a: Sequence[float], b: Sequence[float]) -> int:
    """Return 1 where `a` is better than `b` beyond noise, -1 where worse, else 0.

    By the 95 % interval of paired differences (bootstrap); without any spread the sign says it.
    Fewer than five seeds say nothing.
    """
    if len(a) < FEWEST_SEEDS:
        return 0
    differences = np.subtract(a, b)
    if np.ptp(differences) <= 1e-12:
        return int(np.sign(differences[0])) if abs(differences[0]) > 1e-12 else 0
    estimate = difference(a, b, paired=True)
    return int(np.sign(estimate.value)) if estimate.sure else 0


def _paired(
    found: Mapping[str, Mapping[int, float]], arms: Sequence[str]
) -> dict[str, list[float]]:
    """Return the scores of each arm over the seeds that all of them have, in the same order."""
    seeds = sorted(set.intersection(*(set(found.get(arm, ())) for arm in arms)))
    if not seeds:
        return {}
    # The worst there is stands for a study of which no member was left.
    worst = min(v for arm in arms for v in found[arm].values() if np.isfinite(v))
    return {arm: [v if np.isfinite(v := found[arm][s]) else worst for s in seeds] for arm in arms}


def _shares(found: Mapping[str, Sequence[float]]) -> dict[str, float] | None:
    """Return the share of each arm; None where no arm is better than random search beyond noise."""
    means = {arm: mean(values) for arm, values in found.items()}
    best = max(means, key=lambda arm: means[arm])
    if verdict(found[best], found[RANDOM]) <= 0:
        return None
    span = means[best] - means[RANDOM]
    return {arm: max((value - means[RANDOM]) / span, -1.0) for arm, value in means.items()}


def _ranks(found: Mapping[str, Sequence[float]]) -> dict[str, float]:
    means = {arm: mean(values) for arm, values in found.items()}
    return {
        arm: 1
        + sum(v > value for v in means.values())
        + (list(means.values()).count(value) - 1) / 2
        for arm, value in means.items()
    }


def _verdicts(
    cells: Iterable[Mapping[str, Sequence[float]]], arm: str, other: str
) -> tuple[int, int, int]:
    found = [verdict(cell[arm], cell[other]) for cell in cells]
    return found.count(1), found.count(-1), found.count(0)


def table(made: Sequence[Row], *, mode: str, reference: str) -> str:
    """Render rows as a table in Markdown."""
    if not made:
        return f"{mode}: no cell was run by all arms yet"
    families = list(made[0].families)
    head = ["arm", "share", f"b/w/n to {reference}", f"b/w/n to {RANDOM}", "mean rank", *families]
    lines = [
        [
            row.arm,
            f"{row.share:.3f}" if row.families else "",
            "" if row.arm == reference else _slashed(row.to_reference),
            "" if row.arm == RANDOM else _slashed(row.to_random),
            f"{row.rank:.2f}",
            *(f"{row.families[family]:.2f}" for family in families),
        ]
        for row in made
    ]
    title = f"{mode}: {counted(made[0].cells, 'cell')}, at least {counted(made[0].seeds, 'seed')}"
    note = "" if made[0].seeds > 1 else " (where one seed is all, nothing is beyond noise)"
    return f"{title}{note}\n\n{_markdown([head, *lines])}"


def mode_table(scores: Scores, *, to: str) -> str:
    """Render in how many cells each arm is better/worse/noise in a mode than in another one."""
    modes = [mode for mode in dict.fromkeys(cell.mode for cell in scores) if mode != to]
    arms = dict.fromkeys(arm for found in scores.values() for arm in found)
    lines = [
        [arm, *(_slashed(_to_mode(scores, arm, mode, to)) for mode in modes)]
        for arm in arms
        if arm not in CONTROLS  # nobody copies: all modes are the same
    ]
    return _markdown([[f"b/w/n to {to}", *modes], *lines])


def _to_mode(scores: Scores, arm: str, mode: str, to: str) -> tuple[int, int, int]:
    found = []
    for cell in scores:
        here = scores[cell].get(arm, {})
        there = scores.get(replace(cell, mode=to), {}).get(arm, {})
        seeds = sorted(
            s for s in here if s in there and np.isfinite(here[s]) and np.isfinite(there[s])
        )
        if cell.mode == mode and seeds:
            found.append(verdict([here[s] for s in seeds], [there[s] for s in seeds]))
    return found.count(1), found.count(-1), found.count(0)


def _slashed(counts: tuple[int, int, int]) -> str:
    return "/".join(map(str, counts))


def _markdown(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    rendered = [
        "| "
        + " | ".join(text.ljust(width) for text, width in zip(line, widths, strict=True))
        + " |"
        for line in lines
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([rendered[0], rule, *rendered[1:]])


def cell_table(scores: Scores, *, reference: str) -> str:
    """Render the mean of every arm in every cell; * marks better, ! worse than the reference."""
    lines = []
    for cell, found in scores.items():
        complete = _paired(found, list(found))
        if reference not in complete:
            continue
        marks = {1: "*", -1: "!", 0: ""}
        parts = [
            f"{arm} {mean(values):.4f}{marks[verdict(values, complete[reference])]}"
            for arm, values in complete.items()
        ]
        name = f"{cell.task}, every {cell.interval}, {cell.population} members, {cell.mode}"
        lines.append(f"{name}: {'  '.join(parts)}")
    return "\n".join(lines)
