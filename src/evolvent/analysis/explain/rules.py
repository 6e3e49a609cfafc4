"""Why an algorithm decided as it did, in plain words: who was compared with whom by which rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np

from evolvent.core.algorithms import PBT, RandomSearch
from evolvent.core.exploit import BinaryTournament, CopyBest, NoExploit, Truncation, TTest
from evolvent.core.exploit.protocol import at_least, burning_in
from evolvent.core.exploit.welch import welch
from evolvent.core.population import Population
from evolvent.core.records import JobId, Member
from evolvent.core.rng import stream
from evolvent.core.study import StudyRecord


@dataclass(frozen=True, slots=True)
class Case:
    """One decision to be put into words."""

    record: StudyRecord
    me: Member  # that had to go on
    population: Population  # as the decision saw it
    donor: Member | None  # whom it took something from; None for nobody
    opponent: Member | None  # whom it was compared with by a draw; None where nothing is drawn

    @property
    def pbt(self) -> PBT | None:
        """The algorithm; None where it is another."""
        algorithm = self.record.algorithm
        return algorithm if isinstance(algorithm, PBT) else None

    @property
    def exploit(self) -> Any:
        """The strategy; any user's own may be there."""
        return None if self.pbt is None else self.pbt.exploit_strategy

    def value(self, score: float) -> str:
        """Return a score as the metric's own value."""
        return f"{self.record.metric} {self.record.score(score):.6g}"

    def rank(self, member: Member) -> int:
        """Return the rank, 1 for the best."""
        return self.population.rank(member) + 1

    def compared(self, member: Member) -> JobId:
        """Return the job by which a member ranks: its newest, or the one before."""
        held = self.population.held_back(member.id)
        return JobId(member.id, member.round - 1) if held else member.job

    def of(self, member: Member) -> str:
        """Return what a member stands for: `member 4 (m4r10, accuracy 0.91, rank 2)`."""
        job = self.compared(member)
        if member.score is None:
            return f"member {member.id} ({job}, failed)"
        value = self.value(member.score)
        return f"member {member.id} ({job}, {value}, rank {self.rank(member)})"


def case_of(record: StudyRecord, me: Member, population: Population) -> Case:
    """Find out who is the donor, and who was drawn to be compared with."""
    algorithm = record.algorithm
    if not isinstance(algorithm, PBT) or isinstance(algorithm.exploit_strategy, NoExploit):
        return Case(record, me, population, None, None)
    exploit = algorithm.exploit_strategy
    donor = exploit(me, population, rng=_draws(record, me))
    opponent = donor
    if isinstance(exploit, (BinaryTournament, TTest)) and not burning_in(me, exploit.burn_in):
        opponent = population.draw_donor(me, rng=_draws(record, me))
    return Case(record, me, population, donor, opponent)


def rule_sentences(case: Case) -> list[str]:
    """Return which rule applied and what it came to, sentence by sentence."""
    if isinstance(case.record.algorithm, RandomSearch):
        return ["RandomSearch: every member keeps the hyperparameters it began with."]
    if isinstance(case.exploit, NoExploit):
        goes_on = "; every member explores after every round"
        then = ", so a failed member cannot come back" if case.me.failed else goes_on
        return [f"NoExploit: nobody copies anybody{then}."]
    describe = _SENTENCES.get(type(case.exploit))
    if describe is None:
        return []
    if case.me.failed:
        return _failed(case)
    sentences = _healthy(case, describe)
    if case.pbt is not None and case.pbt.explore_all and case.donor is None:
        sentences.append("Members that copy nobody explore, too (explore_all).")
    return sentences


def _healthy(case: Case, describe: Callable[[Any], list[str]]) -> list[str]:
    if burning_in(case.me, case.exploit.burn_in):
        return [
            f"{_name(case.exploit)} copies nobody in a member's first {case.exploit.burn_in} "
            f"rounds (burn_in); this was only its round {case.me.round}."
        ]
    return describe(case)


def _draws(record: StudyRecord, me: Member) -> np.random.Generator:
    return stream(record.seed, "decide", me.id, me.round)


def _failed(case: Case) -> list[str]:
    name, donor = _name(case.exploit), case.donor
    if donor is None:
        return [f"{name}: a failed member waits for a healthy donor."]
    whom = "any other healthy member"
    if isinstance(case.exploit, Truncation):
        cut = case.exploit.cut(len(case.population))
        if case.rank(donor) <= cut:
            whom = "the best" if cut == 1 else f"one of the best {cut}"
    elif isinstance(case.exploit, CopyBest):
        whom = "the best other member"
    return [
        f"{name}: a failed member has nothing to go on from and copies {whom}, whatever the "
        f"limits. It took {case.of(donor)}."
    ]


def _truncation(case: Case) -> list[str]:
    rule: Truncation = case.exploit
    n, rank = len(case.population), case.rank(case.me)
    cut = rule.cut(n)
    often = f", with a probability of {rule.probability:g}," if rule.probability < 1 else ""
    rule_text = (
        f"{_name(rule)}: of {n} members the worst {cut} ({_ranks(n - cut + 1, n)}) "
        f"{'copies' if cut == 1 else 'each copy'}{often} one drawn evenly from the best {cut} "
        f"({_ranks(1, cut)})."
    )
    if rank <= n - cut:
        return [rule_text, f"Rank {rank} is not among the worst {cut}, so it copies nobody."]
    if case.donor is not None:
        drew = f"it drew {case.of(case.donor)}"
        if case.donor.score == case.me.score:
            drew += ", which is as good: equal scores rank by member number"
        return [rule_text, f"Rank {rank} is among the worst {cut}: {drew}."]
    sits_out = rule.sits_out(_draws(case.record, case.me))
    why = "it was drawn to go on as it is" if sits_out else _nobody_better(case)
    return [rule_text, f"Rank {rank} is among the worst {cut}, but {why}."]


def _nobody_better(case: Case) -> str:
    gap = case.exploit.min_gap
    if not gap:
        return "there is nobody else, so it goes on"
    return f"no other is better by at least {gap:g} (min_gap), so it goes on"


def _tournament(case: Case) -> list[str]:
    rule: BinaryTournament = case.exploit
    rule_text = (
        f"{_name(rule)}: compares with one other member drawn evenly, and copies it when it is "
        f"{_limit(rule)}."
    )
    if case.opponent is None:
        return [rule_text, "There was no other healthy member to draw."]
    drawn = f"It drew {case.of(case.opponent)}"
    if case.donor is not None:
        return [rule_text, f"{drawn}, which won."]
    short = "worse" if not at_least(case.opponent, case.me, gap=0.0) else "not better by so much"
    return [rule_text, f"{drawn}, which is {short}: nothing is copied."]


def _limit(rule: BinaryTournament | CopyBest) -> str:
    return f"better by at least {rule.min_gap:g}" if rule.min_gap else "as good or better"


def _copy_best(case: Case) -> list[str]:
    rule: CopyBest = case.exploit
    rule_text = f"{_name(rule)}: copies the best other member when it is {_limit(rule)}."
    if case.donor is not None:
        return [rule_text, f"That is {case.of(case.donor)}."]
    best = case.population.at_rank(0)
    if best.id == case.me.id:
        return [rule_text, "It is the best itself, and no other is as good."]
    return [
        rule_text,
        f"The best is {case.of(best)}: no other that could be copied is so much better.",
    ]


def _t_test(case: Case) -> list[str]:
    rule: TTest = case.exploit
    rule_text = (
        f"{_name(rule)}: draws one other member evenly and copies it when the mean of its last "
        f"{rule.window} scores is higher beyond doubt (Welch's test, p below {rule.alpha:g})."
    )
    if case.opponent is None:
        return [rule_text, "There was no other healthy member to draw."]
    history = case.population.history
    mine = history.scores(case.me.id, rule.window)
    others = history.scores(case.opponent.id, rule.window)
    drawn = f"It drew {case.of(case.opponent)}."
    if min(len(mine), len(others)) < 2:
        return [rule_text, drawn, "Two scores on either side are needed; nothing is copied yet."]
    _, df, p = welch(mine, others)
    means = (
        f"Means of {case.record.metric}: {case.record.score(fmean(others)):.6g} over "
        f"{len(others)} rounds against its own {case.record.score(fmean(mine)):.6g} over "
        f"{len(mine)}; p = {p:.3g} (df = {df:.3g})."
    )
    return [rule_text, drawn, means, _t_outcome(case, p, fmean(others) - fmean(mine))]


def _t_outcome(case: Case, p: float, gap: float) -> str:
    rule: TTest = case.exploit
    if case.donor is not None:
        return f"p is below {rule.alpha:g}: it is copied."
    if p >= rule.alpha:
        return f"p is not below {rule.alpha:g}: not better beyond doubt, so nothing is copied."
    return f"The means are {gap:.4g} apart, less than min_gap {rule.min_gap:g}: nothing is copied."


_SENTENCES: Mapping[type, Callable[[Case], list[str]]] = {
    Truncation: _truncation,
    BinaryTournament: _tournament,
    CopyBest: _copy_best,
    TTest: _t_test,
}


def _name(rule: Any) -> str:
    """Return a strategy as one would write it, without the limits that do not limit."""
    match rule:
        case Truncation(fraction=fraction, probability=probability):
            often = f", probability={probability:g}" if probability < 1 else ""
            return f"Truncation({fraction:g}{often})"
        case TTest(window=window, alpha=alpha):
            return f"TTest({window}, {alpha:g})"
        case _:
            return type(rule).__name__


def _ranks(first: int, last: int) -> str:
    return f"rank {first}" if first == last else f"ranks {first} to {last}"
