"""The proofs of `check_trainable`: each trains a few rounds two ways and compares the ends."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from functools import partial

from evolvent.engines.place.shared_models import shared_models
from evolvent.engines.trainable import Trainable, class_of
from evolvent.errors import ConfigError, UnknownName
from evolvent.testing.check_advice import Advice, Form
from evolvent.testing.check_compare import BaselineRuns, Comparer
from evolvent.testing.check_globals import ChangedGlobal, GlobalsWatch
from evolvent.testing.check_hyperparameters import HyperparameterProofs
from evolvent.testing.check_lab import Changeable, Lab, Run, TrainingRaised
from evolvent.testing.check_live import LiveProofs
from evolvent.testing.check_report import (
    Proof,
    Verdict,
    counted,
    failed,
    listed,
    note,
    ok,
    short,
    skipped,
    some,
)

_PREREQUISITES = ("contract", "repeats")
PROOFS = (
    *_PREREQUISITES, "goes on", "goes on with b", "changes alive", "moves", "resets", "in turns",
    "globals", "saves all", "checkpoints",
)  # fmt: skip
"""All there can be, but for those of hyperparameters."""
_LONG_S = 120.0  # so long a check may take without a word about it
_AFTER_LOADS = 4  # stretches that a hyperparameter takes, if nothing is in doubt


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which proofs are wanted, and what they may take.

    Attributes:
        only: names of proofs; empty: all.
        skip: names of those that are not wanted.
        max_seconds: begin none that would take longer in all; None: no limit.
    """

    only: Collection[str] = ()
    skip: Collection[str] = ()
    max_seconds: float | None = None

    def __contains__(self, name: str) -> bool:
        return name not in self.skip and (not self.only or name in self.only)

    def refuse_others(self, names: Collection[str]) -> None:
        """Refuse what is wanted and is not among the names of all proofs, and to prove nothing.

        Raises:
            UnknownName: there is such a name.
            ConfigError: nothing is left to be proven.
        """
        for name in (*self.only, *self.skip):
            if name not in names:
                raise UnknownName(f"no proof {name!r}: there are {', '.join(names)}")
        if self.only and not set(self.only) - set(self.skip):
            raise ConfigError(f"skip: got {', '.join(self.skip)}: it leaves none of those in only")
        if self.max_seconds is not None and not self.max_seconds >= 0:
            raise ConfigError(f"max_seconds: got {self.max_seconds:g}, wanted 0 or more")


@dataclass(frozen=True, slots=True)
class CheckProgress:
    """How far a check is.

    Attributes:
        doing: the proof under way.
        trained, planned: rounds; doubts take more than planned.
        seconds_left: for the planned rest; None before the first round.
    """

    doing: str
    trained: int
    planned: int
    seconds_left: float | None


@dataclass(frozen=True, slots=True)
class _Step:
    """A proof to be tried, with how many stretches of training it takes."""

    name: str
    cost: int
    prove: Callable[[], Proof | None] = field(compare=False)


class Proofs:
    """Draws one conclusion after another; later ones build on the runs of earlier ones."""

    def __init__(  # noqa: PLR0913 - what is to be proven, and how
        self,
        lab: Lab,
        metric: str | None,
        moved: frozenset[str] | None,
        wanted: Wanted,
        *,
        form: Form | None = None,
        toml: bool = False,
        on_progress: Callable[[CheckProgress], None] = lambda _: None,
    ) -> None:
        self._lab, self._metric, self._wanted = lab, metric, wanted
        self._kind, _ = class_of(lab.trainable)
        self._advice = Advice(form or ("function" if self._kind is None else "class"))
        self._toml = toml
        self._comparer = Comparer(metric)
        self._changeable = Changeable(moved)
        self._live = LiveProofs(lab, self._comparer, self._advice, self._changeable)
        self._baseline: BaselineRuns
        self._hyperparameters: HyperparameterProofs
        self._doing, self._planned = "contract", 5 * lab.rounds
        self._on_progress = on_progress
        lab.on_round, lab.max_seconds = self._tell, wanted.max_seconds
        self._check_names()

    def all(self) -> Iterator[Proof]:
        """Yield every proof; stop early when nothing further can be told."""
        a = self._lab.values.a
        try:
            base = self._lab.train(a)
        except TrainingRaised as e:
            yield failed("contract", f"training with a: {e}")
            return
        yield from self._hint()
        contract = self._contract(base)
        yield contract
        if contract.verdict is not Verdict.FAILED:
            yield from self._beyond(base)

    def _beyond(self, base: Run) -> Iterator[Proof]:
        """Yield all but the first proof, for which `base` was trained."""
        a = self._lab.values.a
        self._draw_from(BaselineRuns(base, base, base))
        if not self._lab.has_time(1):
            yield from map(self._no_time, ["repeats", *(step.name for step in self._steps)])
            return
        try:
            then = self._lab.train(a, start=base)
            if self._lab.changed(base) & base.files.keys():  # nothing can be built on that
                yield self._untouched()
                return
            if (name := self._not_finite(then)) is not None:
                yield self._dropped("goes on", then, name)
                return
            self._draw_from(BaselineRuns(base, then, then))
            # Worth more than that rounds repeat is what can be read of hyperparameters without it.
            reads = bool(then.settings) and any(step.name in a for step in self._steps)
            if not self._lab.has_time(3 + _AFTER_LOADS * reads):
                yield from self._read_only()
                return
            again = self._pair()
            after = self._lab.train(a, start=again[1])
        except TrainingRaised as e:
            yield failed("goes on", f"training with a, from what was saved: {e}")
            return
        # The later pair: before, PyTorch may not have been there to be watched.
        self._draw_from(BaselineRuns(*again, after))
        repeats = self._repeats((base, then), again)
        yield repeats
        objective = self._metric or next(iter(base.metrics))
        yield from self._blind() if objective in self._comparer.unsteady else self._all()

    def _draw_from(self, baseline: BaselineRuns) -> None:
        self._baseline = baseline
        self._hyperparameters = HyperparameterProofs(
            self._lab, self._comparer, baseline, self._advice, self._changeable, toml=self._toml
        )

    @property
    def _steps(self) -> list[_Step]:
        return [step for step in self._plan() if step.name in self._wanted]

    def _no_time(self, name: str) -> Proof:
        seen = self._hyperparameters.in_round_0(name)
        return skipped(name, f"not done: it would pass {self._wanted.max_seconds:g} s{seen}")

    def _read_only(self) -> Iterator[Proof]:
        """Prove what optimizers show: nothing has to repeat for that, so it takes least."""
        yield self._no_time("repeats")
        for step in self._steps:
            proof = None
            if step.cost == 0:
                proof = step.prove()
            elif step.name in self._lab.values.a and self._lab.has_time(2):
                proof = self._hyperparameters.prove_by_settings(step.name)
            yield proof or self._no_time(step.name)

    def _blind(self) -> Iterator[Proof]:
        """Prove what can be proven where equal runs cannot be told from others."""
        for name in self._lab.values.a:
            if name in self._wanted:
                if not self._lab.has_time(2):
                    yield self._no_time(name)
                elif proof := self._hyperparameters.prove_by_settings(name):
                    yield proof
        yield note(
            "the rest",
            "not tried: equal runs cannot be told from others, but for what optimizers show",
        )

    def _all(self) -> Iterator[Proof]:
        plan = self._steps
        for i, step in enumerate(plan):
            self._doing = step.name
            left = sum(later.cost for later in plan[i:]) * self._lab.rounds
            self._planned = self._lab.trained + left
            if not self._lab.has_time(step.cost):
                yield self._no_time(step.name)
            elif (proof := step.prove()) is not None:
                yield proof
            self._lab.discard(but=self._baseline.runs)

    def _plan(self) -> list[_Step]:
        """Return the proofs: those that take least and find most come first."""
        a, b = self._lab.values.a, self._lab.values.b
        hyperparameters = [
            _Step(n, _AFTER_LOADS if a[n] != b[n] else 0, partial(self._prove, n))
            for n in a
        ]  # fmt: skip
        shared = [_Step("globals", 1, self._globals)] * bool(shared_models(self._lab.trainable))
        untouched = _Step("checkpoints", 0, self._untouched)
        if self._kind is None:
            goes_on = _Step("goes on", 2, self._continues)
            unseen = _Step("saves all", 0, self._unseen)
            return [goes_on, *hyperparameters, *shared, unseen, untouched]
        live = self._live
        steps = [_Step("goes on", 3, partial(live.with_a_load, "goes on")), *hyperparameters]
        if a != b:
            with_b = partial(live.with_a_load, "goes on with b", with_b=True)
            changes = partial(live.changes_alive, "changes alive")
            steps += [_Step("goes on with b", 3, with_b), _Step("changes alive", 3, changes)]
        steps.append(_Step("moves", 5, live.moves))
        if self._kind.reset is not Trainable.reset:
            steps.append(_Step("resets", 4, live.resets))
        steps.append(_Step("in turns", 3, self._in_turns))
        return [*steps, *shared, untouched]

    def _in_turns(self) -> Proof | None:
        return self._live.in_turns("in turns", self._baseline.then)

    def _prove(self, name: str) -> Proof:
        return self._hyperparameters.prove(name)

    def _check_names(self) -> None:
        self._wanted.refuse_others([*_PREREQUISITES, *(step.name for step in self._plan())])

    def _tell(self) -> None:
        left = max(0, self._planned - self._lab.trained)
        seconds = left * self._lab.round_s if self._lab.trained else None
        planned = max(self._planned, self._lab.trained + 1)
        self._on_progress(CheckProgress(self._doing, self._lab.trained, planned, seconds))

    def _hint(self) -> Iterator[Proof]:
        rounds = (4 + sum(step.cost for step in self._steps)) * self._lab.rounds
        self._planned = 1 + rounds
        if (seconds := self._lab.round_s) * rounds > _LONG_S:
            yield note(
                "time",
                f"the first round took {seconds:.3g} s, with all that it imported and compiled; if "
                f"the others take as long, all proofs take {rounds * seconds / 60:.0f} min or more",
                "shorten it where the environment has EVOLVENT_CHECK=1, such as to a few batches; "
                "or name what to prove (only, skip), or give it a time (max_seconds)",
            )

    def _pair(self) -> tuple[Run, Run]:
        a = self._lab.values.a
        base = self._lab.train(a)
        return base, self._lab.train(a, start=base)

    def _contract(self, run: Run) -> Proof:
        names = ", ".join(run.metrics) or "no metrics"
        seen = f"training returned {names}; saved {counted(len(run.files), 'file')}"
        if not run.metrics or self._metric not in {None, *run.metrics}:
            objective = "" if self._metric is None else f" {self._metric!r}"
            return failed("contract", f"{seen}; the objective{objective} is not among them")
        if (name := self._not_finite(run)) is not None:
            return self._dropped("contract", run, name, self._later(run, name))
        if not run.files:
            return failed("contract", seen, self._advice.save)
        return ok("contract", seen)

    def _not_finite(self, run: Run) -> str | None:
        """Return the first metric that may be the objective and is no finite number."""
        names = run.metrics if self._metric is None else [self._metric]
        return next((n for n in names if not abs(run.metrics.get(n, math.nan)) < math.inf), None)

    def _later(self, run: Run, metric: str) -> float:
        try:
            return self._lab.train(self._lab.values.a, start=run).metrics.get(metric, math.nan)
        except TrainingRaised:
            return math.nan

    def _dropped(self, proof: str, run: Run, name: str, later: float = math.nan) -> Proof:
        """Return the failure that a metric which is no finite number is, and what it is later."""
        values = listed(self._lab.values.a)
        seen = f"{name} is {run.metrics.get(name, 'missing')} after training with a: {values}"
        if math.isfinite(later):
            advice = (
                f"one stretch of training later it is {short(later)}, but a study would drop this "
                "member before: give a number from the first round on"
            )
        else:
            advice = (
                "a study would drop this member: does training diverge there? Another --seed draws "
                "other values"
            )
        if self._metric is None and len(run.metrics) > 1:
            advice += f'. If {name!r} is not the objective, say which is: metric="…"'
        return failed(proof, seen, advice)

    def _repeats(self, first: tuple[Run, Run], second: tuple[Run, Run]) -> Proof:
        matters, harmless = self._comparer.note_unsteady(first, second)
        one, two = first[1], second[1]
        seen = f"the same job twice: {self._comparer.difference(one, two)}"
        if matters:
            seen = f"{seen}; not the same: {some(matters)}"
            if changed := self._changed_globals():
                seen = f"{seen}; training changes {some(changed)}, which stays from round to round"
                return failed("repeats", seen, f"{self._advice.own}. Else {self._advice.seed}")
            return failed("repeats", seen, self._advice.seed)
        if harmless:
            return note("repeats", f"{seen}; differs from run to run: {some(harmless)}")
        return ok("repeats", f"{seen}, same files")

    def _globals(self) -> Proof | None:
        """Look at the models in globals: whether training changes any."""
        models = shared_models(self._lab.trainable)
        changed = [g for g in self._changed_globals() if g.name in models]
        if not changed:
            return None
        seen = f"training changes {some(changed)}, one for all members that train in a process"
        return note("globals", seen, self._advice.shared)

    def _changed_globals(self) -> list[ChangedGlobal]:
        """Train another stretch, and see which globals are others then."""
        if not self._lab.has_time(1):
            return []
        watch = GlobalsWatch(self._lab.trainable)
        try:
            self._lab.train(self._lab.values.a, start=self._baseline.base)
        except TrainingRaised:
            return []
        return watch.changed()

    def _untouched(self) -> Proof:
        if altered := self._lab.altered():
            seen = f"training changed the checkpoint it started from: {', '.join(altered)}"
            return failed("checkpoints", seen, self._advice.own_directory)
        return ok("checkpoints", "left as they were saved")

    def _unseen(self) -> Proof:
        form = self._advice.form
        return note(
            "saves all",
            f"cannot be seen from outside: a {form} loads in every round, so there is no training "
            "without a break to compare with; ev.Trainable classes are checked",
        )

    def _continues(self) -> Proof:
        """Hold a function's round to one without its checkpoint, and to the same one, later."""
        proof = self._held_to_nothing()
        if proof.verdict is Verdict.FAILED:
            return proof
        base, then = self._baseline.base, self._baseline.then
        again = "the same round once more, after others"
        try:
            later = self._lab.train(self._lab.values.a, start=base)
        except TrainingRaised as e:
            return failed("goes on", f"{again}: {e}", self._advice.own_state)
        if not (apart := self._comparer.apart(later, then)):
            return proof
        second, first = self._comparer.describe(later, then)
        seen = f"{again}: {second}; before: {first}; not the same: {some(apart)}"
        return failed("goes on", seen, self._advice.own_state)

    def _held_to_nothing(self) -> Proof:
        base, then = self._baseline.base, self._baseline.then
        values = self._lab.values
        first = base.job.round + 1
        try:
            anew = self._lab.train(values.a, first=first)
        except TrainingRaised as e:
            return ok("goes on", f"without its checkpoint: {e}")
        equal = self._comparer.equal
        with_it, without = self._comparer.describe(then, anew)
        seen = f"from the checkpoint: {with_it}; from nothing: {without}"
        if not equal(then, anew):
            others = ", other files" if with_it == without else ""
            return ok("goes on", f"{seen}{others}")
        # To train on to the very same state is as good as impossible, to be at a limit is not: but
        # there, rounds under other values come to the same as well.
        if not self._comparer.moves(base, then):
            try:
                there = self._lab.train(values.b, start=base)
                anew = self._lab.train(values.b, first=first)
            except TrainingRaised:
                there = then
            if equal(there, then) or not equal(there, anew):
                return note("goes on", f"{seen}; nothing moves in a round, so nothing can be seen")
        return failed("goes on", seen, self._advice.load)
