"""Zero as a trap: whatever it is multiplied by, it stays zero."""

from __future__ import annotations

from evolvent.core.distributions import Floats
from evolvent.core.explore.combined import simple_strategies
from evolvent.core.explore.no_explore import NoExplore
from evolvent.core.explore.perturb import Perturb
from evolvent.core.explore.protocol import Explore
from evolvent.core.space import Space
from evolvent.validation import warn


class ZeroTrap(UserWarning):
    """A hyperparameter can become 0 and nothing that explores it can lead it away from there."""


def warn_of_zero_traps(explore: Explore, space: Space) -> None:
    """Warn of every float that may be 0 while exploring it only multiplies."""
    for name, distribution in space.items():
        steps = simple_strategies(explore, name)
        only_multiplied = any(isinstance(s, Perturb) for s in steps) and all(
            isinstance(s, NoExplore) or (isinstance(s, Perturb) and s.multiplies(distribution))
            for s in steps
        )
        if only_multiplied and isinstance(distribution, Floats) and distribution.contains(0):
            warn(
                f"{name}: 0 is in the space and stays 0 when Perturb multiplies it: use a "
                "LogUniform, bounds that leave 0 out, Gaussian(sigma), or "
                "[Resample(0.25), Perturb()]",
                ZeroTrap,
            )
