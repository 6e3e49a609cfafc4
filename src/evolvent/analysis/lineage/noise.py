"""How much of what ranks members is noise: who goes on unchanged tells it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from evolvent.analysis.columns import Numbers, Rows
from evolvent.analysis.log import Log
from evolvent.core.algorithms import PBT
from evolvent.core.exploit import NoExploit, TTest

NOISY = 0.4
"""From this share of the variance between members on, noise decides.

Of scores that are nothing but noise the estimate is 0.55 to 0.65: those that go on have passed a
selection, and differ less than all. Of noiseless ones it is 0 or below.
"""

# So many differences between members are averaged over: about the first six rounds of eight
# members, 25 of four. Later even the members of a good study have come close to each other.
_ENOUGH, _LEAST = 30, 12
_LEAST_ROUNDS, _MOST_ROUNDS = 5, 25
_LUCKY_BEST = (
    ' The best job may be no more than a lucky score: a study that is created with best="mean of '
    '3" chooses it by the mean of three along its lineage.'
)
_OUTLIER = 1000.0  # times the usual variance: a round with a member that has diverged


def noise_warning(log: Log) -> Iterator[str]:
    """Say that in the first rounds noise decided who was copied, with figures and what helps.

    Of a study in which nobody is copied it says nothing.
    """
    algorithm = log.status.record.algorithm
    if not isinstance(algorithm, PBT) or isinstance(algorithm.exploit_strategy, NoExploit):
        return
    with np.errstate(all="ignore"):  # of scores such as 1e300, whose squares are left out
        rounds, weight, noise, spread = _variances(log)
    if not len(rounds):
        return
    weight = weight * (np.maximum(spread, np.abs(noise)) <= _OUTLIER * np.median(spread))
    if weight.sum() < _LEAST:
        return
    moves, apart = (float(np.average(x, weights=weight)) for x in (noise, spread))
    if moves < NOISY * apart:
        return
    several = isinstance(algorithm.exploit_strategy, TTest)
    other = "a lower alpha" if several else "an exploit that looks at several rounds (TTest)"
    lucky = _LUCKY_BEST if log.status.record.best_window == 1 else ""
    yield (
        f"Much of what ranks members is noise: in rounds {rounds[0]} to {rounds[-1]} the "
        f"{log.status.record.metric} of one that goes on unchanged moved by {moves**0.5:.2g} up "
        f"and down by chance, and all members were {apart**0.5:.2g} apart (standard deviations). "
        f"Longer rounds, an evaluation on more data, or {other} help.{lucky}"
    )


def _variances(log: Log) -> tuple[Rows, Numbers, Numbers, Numbers]:
    """Return the first rounds that tell, and for each how much.

    Returns:
        the rounds; how many differences between members were seen in each; the variance of the
        noise of a score; the variance of scores between all members.
    """
    before, at, after = _unchanged(log)
    found = []
    enough = 0
    for r in np.unique(log.round[at]).tolist():
        here = log.round[at] == r
        n = int(here.sum()) - 1
        scores = log.score[log.rows[:, r][log.rows[:, r] >= 0]]
        between = float(np.var(scores[~np.isnan(scores)], ddof=1)) if n > 0 else 0.0
        came = log.score[at[here]] - log.score[before[here]]
        went = log.score[after[here]] - log.score[at[here]]
        # What all do alike is progress. Noise of a score raises the step to it and lowers the next
        # one by as much, so that the two are correlated by minus its variance; a member that is
        # faster than others is so twice, and one curve that bends is no noise.
        shared = float(((came - came.mean()) * (went - went.mean())).sum())
        if not 0 < between < np.inf or not np.isfinite(shared):
            continue
        found.append((r, n, -shared / n, between))
        enough += n
        if enough >= _ENOUGH and len(found) >= _LEAST_ROUNDS:
            break
    columns = np.array(found).reshape(-1, 4).T
    return columns[0].astype(np.int64), columns[1], columns[2], columns[3]


def _unchanged(log: Log) -> tuple[Rows, Rows, Rows]:
    """Return the rows of members in three rounds running, on own weights, nothing changed."""
    n = min(max(log.rows.shape[1] - 2, 0), _MOST_ROUNDS)
    before, at, after = (log.rows[:, i : n + i].ravel() for i in range(3))
    goes_on = (before >= 0) & (at >= 0) & (after >= 0)
    before, at, after = before[goes_on], at[goes_on], after[goes_on]
    same = (log.parent[at] == before) & (log.parent[after] == at)
    same &= ~(log.failed[before] | log.failed[at] | log.failed[after])
    for values in log.hyperparameters.values():
        same &= np.asarray((values[before] == values[at]) & (values[at] == values[after]), np.bool_)
    return before[same], at[same], after[same]
