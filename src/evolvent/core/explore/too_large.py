"""Steps that lead out of the interval from nearly everywhere in it."""

from __future__ import annotations

from statistics import fmean
from typing import cast

from evolvent.core.distributions import Distribution, Integers, Intervals
from evolvent.core.explore.combined import simple_strategies
from evolvent.core.explore.gaussian import Gaussian
from evolvent.core.explore.moves import whole_target
from evolvent.core.explore.perturb import Perturb
from evolvent.core.explore.protocol import Explore
from evolvent.core.space import Space
from evolvent.validation import warn

MOST = 0.5
"""A larger share of an interval, or of steps, counts as most of them."""
_POINTS = 64
"""At so many places of an interval steps are looked at."""
_FACTORS = 8
"""A range of factors is looked at as so many of them."""


class StepsTooLarge(UserWarning):
    """From most of an interval every step leads out of it: copies end at one of its bounds."""


def warn_of_large_steps(explore: Explore, space: Space) -> None:
    """Warn of every number that hardly any step leaves inside its bounds."""
    for name, distribution in space.items():
        if not isinstance(distribution, Intervals | Integers):
            continue
        for strategy in simple_strategies(explore, name):
            if (
                isinstance(strategy, Perturb | Gaussian)
                and share_stuck(strategy, distribution) > MOST
            ):
                warn(
                    f"{name}: from most of {distribution!r} every step of {strategy!r} leads out "
                    "of it, and copies end at one of its bounds: take factors nearer to 1, or "
                    'Gaussian(0.1, relative_to="width"); for what counts by its distance from 1, '
                    'Perturb(scale="one_minus") or a ReverseLogUniform',
                    StepsTooLarge,
                )


def share_leaving(strategy: Perturb | Gaussian, distribution: Distribution) -> float:
    """Return what share of the steps, from all over an interval, lead out of it."""
    return fmean([fmean(leaving) for leaving in _leaving(strategy, distribution)])


def share_stuck(strategy: Perturb | Gaussian, distribution: Distribution) -> float:
    """Return from what share of an interval every step leads out of it."""
    return fmean([all(leaving) for leaving in _leaving(strategy, distribution)])


def _leaving(strategy: Perturb | Gaussian, distribution: Distribution) -> list[list[bool]]:
    """Return for places spread evenly over an interval which steps from there lead out of it."""
    if strategy.bounds != "clip" or not isinstance(distribution, Intervals | Integers):
        return [[False]]
    low, high = distribution.scaled(distribution.low), distribution.scaled(distribution.high)
    places = (low + (i + 0.5) / _POINTS * (high - low) for i in range(_POINTS))
    values = dict.fromkeys(distribution.clip(distribution.unscaled(x)) for x in places)
    return [
        [
            not distribution.low <= end <= distribution.high
            for end in _ends(strategy, distribution, x)
        ]
        for x in values
    ]


def _ends(
    strategy: Perturb | Gaussian, distribution: Intervals | Integers, value: float
) -> list[float]:
    """Return where the steps of a strategy lead from a value, out of the bounds too."""
    if isinstance(strategy, Gaussian):
        steps = [-strategy.step(distribution), strategy.step(distribution)]
    elif strategy.factors is not None:
        steps = list(strategy.factors)
    else:
        low, high = cast(float, strategy.low), cast(float, strategy.high)
        steps = [low + (i + 0.5) / _FACTORS * (high - low) for i in range(_FACTORS)]
    ends = [strategy.target(distribution, value, step) for step in steps]
    if isinstance(distribution, Integers):
        return [whole_target(value, end, up=end > value) for end in ends]
    return ends
