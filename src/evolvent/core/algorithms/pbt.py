"""Population Based Training: exploit, then explore."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias, cast

import numpy as np

from evolvent.core.algorithms.small_population import warn_of_small_population
from evolvent.core.exploit import EXPLOIT, Exploit, NoExploit, Truncation, default_exploit
from evolvent.core.explore import (
    EXPLORE,
    ROUNDS,
    Explore,
    ExploreLike,
    Perturb,
    Resample,
    as_explore,
    default_explore,
    explored_names,
    warn_of_large_steps,
    warn_of_nothing_explored,
    warn_of_zero_traps,
)
from evolvent.core.population import Population
from evolvent.core.records import Copy, Decision, Hyperparameters, Keep, Member, Stop, Value
from evolvent.core.space import Space, short
from evolvent.validation import MOST, check_choice, check_count, check_flag, cut, invalid

Copies: TypeAlias = Literal["both", "weights", "hyperparameters"]
_ACTIONS: dict[Copies, str] = {
    "both": "copied",
    "weights": "copied the weights of",
    "hyperparameters": "took the hyperparameters of",
}


@dataclass(frozen=True, slots=True)
class PBT:
    """Copy a better member now and then, and change the hyperparameters of the copy.

    With `NoExploit()` nobody copies, and everybody explores after every round instead.

    Attributes:
        exploit: whom to copy. None is the rule of `for_rounds`: truncation, by which the fewer copy
            in a round the more rounds the study has.
        explore: how to change the hyperparameters: one strategy for all, a list of them applied
            in turn, or a dict of either by name. What a dict leaves out is static: it goes with
            the checkpoint and is never changed. So is a Choice, unless a dict names it or the
            strategy for all has `choices=True`. None is the rule of `for_rounds`, by which the
            steps are the smaller the more rounds the study has.
        copies: what is taken from a donor. "weights" and "hyperparameters" alone are there to be
            compared with; the static hyperparameters always go with the weights.
        explore_all: whether members that do not copy explore, too, each from its own
            hyperparameters, in every round; else only copies do, as in the source.

    Source: Jaderberg et al. 2017, arXiv:1711.09846, algorithm 1.
    """

    exploit: Exploit | None = None
    explore: ExploreLike | None = None
    copies: Copies = field(default="both", kw_only=True)
    explore_all: bool = field(default=False, kw_only=True)

    @classmethod
    def paper(cls) -> PBT:
        """Return the settings of the paper: `PBT(Truncation(0.2), Perturb(factors=(0.8, 1.2)))`.

        The worst fifth copies the best fifth, and every hyperparameter of a copy is multiplied by
        0.8 or 1.2. The paper explores numbers only; a Choice is drawn anew in every copy here
        (`choices=True`), for a factor does nothing to it. Bounds, which the paper does not have,
        clip; an integer moves by one at least.

        Source: Jaderberg et al. 2017, arXiv:1711.09846, section 4.1.1.
        """
        return cls(Truncation(0.2), Perturb(factors=(0.8, 1.2), choices=True))

    @classmethod
    def ray(cls) -> PBT:
        """Return the defaults of Ray Tune's scheduler `PopulationBasedTraining`.

        They are `[Perturb(factors=(0.8, 1.2)), Resample(0.25, choices=True)]` after
        `Truncation(0.25)`. The worst quarter copies the best quarter; each hyperparameter of a copy
        is drawn anew with probability 0.25, else multiplied by 0.8 or 1.2, and in a list that is an
        Ordinal here it moves to a neighbour. What differs: Ray rounds the quarter up, here it is
        rounded down and is one member at least; Ray lets factors lead out of the space and rounds
        integers towards 0, here they are clipped, and an integer moves by one at least; to Ray
        every list has an order, a Choice here has none and is drawn anew with probability 0.25,
        else stays.

        Source: ray.tune.schedulers.PopulationBasedTraining, `quantile_fraction`,
        `resample_probability` and `perturbation_factors` by default.
        """
        return cls(Truncation(0.25), [Perturb(factors=(0.8, 1.2)), Resample(0.25, choices=True)])

    def __post_init__(self) -> None:
        explores = tuple(EXPLORE.values())
        exploit = self.exploit
        if isinstance(exploit, (type, *explores)) or not (exploit is None or callable(exploit)):
            mistaken = isinstance(exploit, (*explores, Mapping, list, tuple))
            hint = "; what changes copies goes into explore=" if mistaken else ""
            wanted = f"wanted a strategy such as Truncation(0.25){hint}"
            raise invalid("exploit", f"got {cut(exploit)}, {wanted}")
        if isinstance(self.explore, tuple(EXPLOIT.values())):
            wanted = "wanted a strategy such as Perturb(); whom to copy goes into exploit="
            raise invalid("explore", f"got {cut(self.explore)}, {wanted}")
        if self.explore is not None:
            object.__setattr__(self, "explore", as_explore(self.explore))
        check_choice("copies", self.copies, tuple(_ACTIONS))
        check_flag("explore_all", self.explore_all)

    def for_rounds(self, rounds: int, space: Mapping[str, Any] | None = None) -> PBT:
        """Return the same with `exploit` and `explore` written out, as far as they are None.

        A new study does so with its number of rounds, stores what comes out, and keeps it when it
        is extended. Where nothing is known of a study the rule is that for 20 rounds.

        The worst quarter copies the best quarter, in more than 31 rounds each with a probability of
        5.6 / sqrt(rounds): in short rounds a lead says less. A number of a copy is multiplied by
        exp(1.5 / sqrt(rounds)) or divided by it, then drawn anew with a probability of
        2.5 / rounds, at most 0.25:

        | rounds | `Truncation(0.25, probability=…)` | explore |
        |---|---|---|
        | 5 | 1 | `[Perturb(factors=(0.511, 1.956)), Resample(0.25)]` |
        | 10 | 1 | `[Perturb(factors=(0.622, 1.607)), Resample(0.25)]` |
        | 20 | 1 | `[Perturb(factors=(0.715, 1.399)), Resample(0.125)]` |
        | 50 | 0.792 | `[Perturb(factors=(0.809, 1.236)), Resample(0.05)]` |
        | 200 | 0.396 | `[Perturb(factors=(0.8994, 1.1119)), Resample(0.0125)]` |

        So a lineage that moves in every round comes as far in few rounds as in many, typically to
        4.5 times its value or the 4.5th part, and is drawn anew twice or three times, which is the
        way out of a bound, of a 0, and of a basin that no step leads out of. What a factor means on
        which scale, `help(ev.Perturb)` says.

        An interval of the space out of which most of these steps would lead takes others: from 0.9
        to 0.999 the factors multiply the distance from 1, `Perturb(scale="one_minus")`; from 0.5 to
        0.6 noise is added, `Gaussian(0.5 / sqrt(rounds), relative_to="width")`. Then `explore` is a
        dict, in which all else has its usual steps; `explore={"lr": PBT().for_rounds(20,
        space).explore}` takes those of `lr` alone.

        Args:
            rounds: how many rounds the study has, 1 or more.
            space: its space, nested as for a study, whose narrow intervals take steps that fit
                them; without it none does.

        Raises:
            ConfigError: it is no such number, or no space.

        Source: measured, see docs/zoo.md.
        """
        if self.exploit is not None and self.explore is not None:
            return self
        rounds = check_count("rounds", rounds, least=1, most=MOST)
        exploit = default_exploit(rounds) if self.exploit is None else self.exploit
        space = None if space is None else Space.of(space)
        explore = default_explore(rounds, space) if self.explore is None else self.explore
        return replace(self, exploit=exploit, explore=explore)

    @property
    def exploit_strategy(self) -> Exploit:
        """What exploits; the rule for 20 rounds where `exploit` is None."""
        return default_exploit(ROUNDS) if self.exploit is None else self.exploit

    @property
    def explore_strategy(self) -> Explore:
        """What explores, as one strategy; the rule for 20 rounds where `explore` is None."""
        return default_explore(ROUNDS) if self.explore is None else cast(Explore, self.explore)

    def decide(
        self, me: Member, population: Population, *, space: Space, rng: np.random.Generator
    ) -> Decision:
        exploit = self.exploit_strategy
        if isinstance(exploit, NoExploit):
            if me.failed:
                return Stop("failed; without exploit it copies nobody")
            return self._explore_own("copies nobody", me, space, rng)
        donor = exploit(me, population, rng=rng)
        if donor is None:
            if me.failed:
                return Keep("failed: waits for a healthy donor")
            rank = f"rank {population.rank(me) + 1} of {len(population)}"
            return self._explore_own(rank, me, space, rng) if self.explore_all else _goes_on(rank)
        revived = me.failed and self.copies == "hyperparameters"  # it needs weights, too
        copies = "both" if revived else self.copies
        base = self._inherited(me, donor, copies, space)
        new = {**base, **self.explore_strategy(base, space, rng=rng)}
        reason = (
            f"{_describe_rank(me, population)}: {_ACTIONS[copies]} member {donor.id} "
            f"({donor.score:.4g}, rank {population.rank(donor) + 1}){_changes(base, new)}"
        )
        if copies == "hyperparameters":
            return Keep(reason, new)
        return Copy(donor.id, new, reason)

    def validate(self, space: Space, population: int) -> None:
        """Check the explore strategies against the space.

        Raises:
            ConfigError: a name is not in the space, or its strategy cannot change it.
        """
        self.explore_strategy.validate(space)
        warn_of_zero_traps(self.explore_strategy, space)
        warn_of_large_steps(self.explore_strategy, space)
        warn_of_nothing_explored(self.explore_strategy, space)
        warn_of_small_population(self.exploit_strategy, population, explore_all=self.explore_all)

    def _explore_own(self, why: str, me: Member, space: Space, rng: np.random.Generator) -> Keep:
        new = {**me.hyperparameters, **self.explore_strategy(me.hyperparameters, space, rng=rng)}
        changed = _changes(me.hyperparameters, new)
        return Keep(f"{why}: explores{changed}", new) if changed else _goes_on(why)

    def _inherited(
        self, me: Member, donor: Member, copies: Copies, space: Space
    ) -> Hyperparameters:
        """Return what exploring starts from."""
        if copies == "both":
            return donor.hyperparameters
        explored = explored_names(self.explore_strategy, space)
        of_weights, of_values = (donor, me) if copies == "weights" else (me, donor)
        return {
            name: (of_values if name in explored else of_weights).hyperparameters[name]
            for name in me.hyperparameters
        }


def _goes_on(why: str) -> Keep:
    return Keep(f"{why}: goes on")


def _describe_rank(me: Member, population: Population) -> str:
    if me.score is None:
        return "failed"
    return f"score {me.score:.4g} ranks {population.rank(me) + 1} of {len(population)}"


def _changes(old: Hyperparameters, new: Mapping[str, Value]) -> str:
    changed = [name for name, value in new.items() if value != old[name]]
    return "".join(f", {name} {short(old[name])} -> {short(new[name])}" for name in changed)
