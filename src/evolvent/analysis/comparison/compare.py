"""Studies beside each other at equal compute, and what their seeds can tell of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evolvent.analysis.columns import Numbers
from evolvent.analysis.comparison.comparison import Arm, Comparison, Difference, Seed
from evolvent.analysis.comparison.statistics import compare_seeds
from evolvent.analysis.log import Log
from evolvent.core.algorithms import Replay
from evolvent.core.study import Mode, StudyRecord
from evolvent.errors import ConfigError, UnknownName
from evolvent.store.records import StudyState

_BAND = (0.05, 0.95)


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """The best value so far of one arm, against compute; in the metric's own unit.

    Attributes:
        arm: its name.
        jobs: int64 [points], jobs trained by every study, rising, from 1 or later to the budget.
        mean: float64 [points], over the seeds.
        low, high: float64 [points], the 5 % and 95 % quantiles over the seeds; of few seeds
            nearly the lowest and the highest.
        n: how many seeds.
    """

    arm: str
    jobs: NDArray[np.int64]
    mean: Numbers
    low: Numbers
    high: Numbers
    n: int


def compare_logs(
    arms: Mapping[str, Sequence[Log]], *, test: str | None = None, test_mode: Mode | None = None
) -> Comparison:
    """Compare arms of one study or more at the compute that all of them have used.

    Where the best job of some study is chosen by the mean of its last scores, so is that of all:
    by the mean of as many as the one with most of them takes.

    Args:
        arms: by name, the logs of the studies that differ by their seeds only.
        test: a metric that had no say in choosing the best job.
        test_mode: whether more or less of `test` is better; by default as with the metric.

    Raises:
        ConfigError: no arms, another metric or mode, an arm of unlike studies, a study without a
            finished job, an unknown test metric: names the study, what it has and what was wanted.
    """
    logs = _check_arms(arms)
    first = logs[0].status.record
    # Failed jobs count as compute, too: the budget is what all have spent, not what came of it.
    budget, window = min(map(len, logs)), _window(logs)
    modes: dict[str, Mode] = {"best": first.mode, "area": first.mode}
    if test is not None:
        _check_test(logs, test)
        modes[_figure(test)] = test_mode or first.mode
    summed = tuple(
        Arm(name, tuple(_seed(log, budget, test, window) for log in group))
        for name, group in arms.items()
    )
    return Comparison(
        metric=first.metric,
        mode=first.mode,
        budget=budget,
        test=test,
        window=window,
        modes=modes,
        arms=summed,
        differences=tuple(
            found
            for figure in modes
            for other in summed[1:]
            if (found := _difference(summed[0], other, figure, modes[figure])) is not None
        ),
        unequal=max(map(len, logs)) > budget,
        notes=tuple(_note_sentences(arms, summed)),
    )


def curves(arms: Mapping[str, Sequence[Log]], *, points: int = 1000) -> list[Curve]:
    """Return the best value so far of every arm at equal compute, with bands over its seeds.

    The best is chosen as by `compare_logs`.

    Args:
        arms: by name, the logs of the studies that differ by their seeds only.
        points: at how many numbers of jobs, at most, evenly spaced; the last one is always there.

    Raises:
        ConfigError: as `compare_logs`.
    """
    logs = _check_arms(arms)
    end, window = min(map(len, logs)), _window(logs)
    at = np.unique(np.linspace(1, end, min(points, end)).round().astype(np.int64))
    return [_curve(name, group, at, window) for name, group in arms.items()]


def _curve(name: str, logs: Sequence[Log], at: NDArray[np.int64], window: int) -> Curve:
    rows = [_best_so_far(log, int(at[-1]), window)[at - 1] for log in logs]
    values = np.array(rows, np.float64)
    known = ~np.isnan(values).any(axis=0)  # not before every study has a score
    values = values[:, known]
    low, high = np.quantile(values, _BAND, axis=0)
    return Curve(name, at[known], values.mean(axis=0), low, high, len(logs))


def _check_arms(arms: Mapping[str, Sequence[Log]]) -> list[Log]:
    logs = [log for group in arms.values() for log in group]
    if not logs or not all(arms.values()):
        raise ConfigError("compare: got an arm without a study, wanted one study or more in each")
    first = logs[0].status.record
    for log in logs:
        record = log.status.record
        if (record.metric, record.mode) != (first.metric, first.mode):
            raise ConfigError(
                f"study {record.name!r} is for {record.metric!r} ({record.mode}), study "
                f"{first.name!r} for {first.metric!r} ({first.mode}): only studies of one metric "
                "and mode can be compared"
            )
        if not len(log):
            raise ConfigError(f"study {record.name!r} has no finished job yet: nothing to compare")
    for name, group in arms.items():
        _check_alike(name, [log.status.record for log in group])
    return logs


def _check_alike(arm: str, records: Sequence[StudyRecord]) -> None:
    """Refuse what a pattern may catch by accident, such as the control arm beside the studies."""
    first = records[0]
    for record in records[1:]:
        for setting in ("algorithm", "space", "population"):
            a, b = getattr(first, setting), getattr(record, setting)
            if a != b and not (isinstance(a, Replay) and isinstance(b, Replay)):
                raise ConfigError(
                    f"arm {arm!r}: study {record.name!r} has another {setting} than "
                    f"{first.name!r}: wanted studies that differ by their seeds only; name them "
                    "one by one, or by a narrower pattern such as 'name-?'"
                )


def _figure(test: str) -> str:
    """Return the name of the figure of a test metric, which may be called like one of ours."""
    return f"metric {test}" if test in ("best", "area") else test


def _check_test(logs: Sequence[Log], test: str) -> None:
    for log in logs:
        if test not in log.metrics:
            present = ", ".join(log.metrics) or "none"
            name = log.status.record.name
            raise UnknownName(f"test: study {name!r} reports no metric {test!r}, it has {present}")


def _window(logs: Sequence[Log]) -> int:
    """Return the mean of how many scores chooses the best job, in all studies alike."""
    return max(log.status.record.best_window for log in logs)


def _best_so_far(log: Log, budget: int, window: int) -> Numbers:
    """Return the best value after each of the first jobs; NaN before the first one is done."""
    n, mean = (column[:budget] for column in log.last_scores(window))
    most = np.maximum.accumulate(n)  # means of fewer scores do not count any more
    best = np.full(len(mean), np.nan)
    for count in np.unique(most[most > 0]).tolist():
        so_far = np.fmax.accumulate(np.where(n == count, mean, np.nan))
        best = np.where(most == count, so_far, best)
    return -best if log.status.record.mode == "min" else best


def _seed(log: Log, budget: int, test: str | None, window: int) -> Seed:
    record = log.status.record
    best, row = _best_so_far(log, budget, window), log.best_row(budget, window=window)
    values: dict[str, float | None] = {"best": None, "area": None}
    if test is not None:
        value = np.nan if row is None else float(log.metrics[test][row])
        values[_figure(test)] = value if np.isfinite(value) else None
    if row is not None:
        values["best"] = float(best[-1])
        # before its first score a study counts with that score
        known = np.where(np.isnan(best), best[~np.isnan(best)][0], best)
        values["area"] = float(known.mean())
    return Seed(record.name, record.seed, len(log), values, None if row is None else log.id(row))


def _difference(arm: Arm, other: Arm, figure: str, mode: Mode) -> Difference | None:
    a, b, paired = _matched(arm, other, figure)
    if not a or not b:
        return None
    found = compare_seeds(a, b, paired=paired, mode=mode)
    return Difference(figure, arm.name, other.name, found.estimate, found.verdict, found.needed)


def _matched(arm: Arm, other: Arm, figure: str) -> tuple[list[float], list[float], bool]:
    """Return the values of both arms; seed by seed, when both have the same seeds once each."""
    a, b = ({s.seed: s.values[figure] for s in x.seeds} for x in (arm, other))
    if a.keys() != b.keys() or len(a) < len(arm.seeds) or len(b) < len(other.seeds):
        return arm.values(figure), other.values(figure), False
    pairs = [(x, y) for seed in a if (x := a[seed]) is not None and (y := b[seed]) is not None]
    return [x for x, _ in pairs], [y for _, y in pairs], True


def _note_sentences(arms: Mapping[str, Sequence[Log]], summed: Sequence[Arm]) -> Iterator[str]:
    for arm in summed:
        if missing := [s.study for s in arm.seeds if s.job is None]:
            yield f"left out of the means, no job done: {', '.join(missing)}"
        for figure in arm.seeds[0].values:
            lacking = [s.study for s in arm.seeds if s.job is not None and s.values[figure] is None]
            if lacking:
                yield f"the best job has no finite {figure}, left out: {', '.join(lacking)}"
        repeated = [str(seed) for seed, n in Counter(s.seed for s in arm.seeds).items() if n > 1]
        if repeated:
            yield (
                f"{arm.name} has several studies of seed {', '.join(repeated)}: unless they ran "
                "asynchronously they are one and the same, and the intervals too narrow"
            )
    statuses = [log.status for group in arms.values() for log in group]
    if unfinished := [s.record.name for s in statuses if s.state is StudyState.OPEN]:
        yield f"not over yet: {', '.join(unfinished)}"
