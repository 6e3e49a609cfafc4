"""Whether a hyperparameter takes effect, in round 0 and after a load.

It is seen in two ways: by what training comes to under two values, and by what the optimizers at
work have. Two runs that differ only in one hyperparameter get one more stretch of training with
equal hyperparameters before they are compared: a saved copy of the value differs too, but it is no
effect on training.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from evolvent.engines.shape_mismatch import leave_out
from evolvent.testing.check_advice import Advice
from evolvent.testing.check_compare import BaselineRuns, Comparer
from evolvent.testing.check_lab import Changeable, Lab, Run, TrainingRaised
from evolvent.testing.check_optimizers import Settings, group_of, setting_of, siblings
from evolvent.testing.check_reads import mentions
from evolvent.testing.check_report import Proof, Verdict, counted, failed, note, ok, short, skipped

_LONGER = 2
"""So many stretches the last attempt trains before it compares."""

_SETTINGS = {
    "lr": "lr", "learning_rate": "lr", "momentum": "momentum", "weight_decay": "weight_decay",
    "wd": "weight_decay", "betas": "betas",
}  # fmt: skip
"""Names that mean a setting of the optimizer, and which; `eps` or `alpha` may be anything."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """What one attempt has shown.

    Attributes:
        change: `0.1 -> 0.01`.
        in_words: what was compared.
        at_setup, after_load: whether there was an effect, by either way of seeing.
        conclusive: whether an effect after the load could have been seen: something moved.
        brought_back: the setting that a fresh optimizer takes over and a loaded one does not.
        rescheduled: the one that is in force at the first step after a load, and not later.
        constant: the one, with its value, that only other groups of the optimizer take over.
    """

    change: str
    in_words: str
    at_setup: bool
    after_load: bool
    conclusive: bool
    brought_back: str | None
    rescheduled: str | None
    constant: str | None


class HyperparameterProofs:
    """Draws a conclusion for each hyperparameter; doubts are followed up before a FAIL."""

    def __init__(
        self,
        lab: Lab,
        comparer: Comparer,
        baseline: BaselineRuns,
        advice: Advice,
        changeable: Changeable,
        *,
        toml: bool,
    ) -> None:
        self._lab, self._comparer, self._baseline = lab, comparer, baseline
        self._advice, self._toml = advice, toml
        self._changeable = changeable

    def prove(self, name: str) -> Proof:
        """Prove that one takes effect."""
        a, b = self._lab.values.a, self._lab.values.b
        if a[name] == b[name]:
            return note(name, f"always {short(a[name])}: nothing to compare")
        try:
            return self._conclusion(name, list(self._seen(name)))
        except _OutOfTime as e:
            return skipped(name, f"not done: {e}; in doubt, and no time to look closer")
        except _Raised as e:
            if e.in_round_0:
                return failed(name, str(e))
            self._changeable.static.add(name)
            return self._cannot_change(name, str(e))

    def prove_by_settings(self, name: str) -> Proof | None:
        """Prove it by the optimizers alone, where equal runs cannot be told from others.

        None where they do not show it.
        """
        a, b = self._lab.values.a, self._lab.values.b
        if a[name] == b[name] or not self._baseline.then.settings:
            return None
        try:
            seen = self._attempt(name, a, b[name], self._baseline, seed=None, effects=False)
        except _Raised:
            return None
        if not seen.at_setup:
            return None
        proof = self._conclusion(name, [seen])
        if proof.verdict is Verdict.OK:
            # What metrics come to is no proof here, so it is not told.
            words = f"{seen.change}: the optimizer has it, in round 0 and after a load"
            return replace(proof, seen=words)
        return proof

    def in_round_0(self, name: str) -> str:
        """Return what the optimizers had in round 0, if they have such a setting, as a clause."""
        if name not in self._lab.values.a:
            return ""
        given = self._lab.values.a[name]
        for key, values in self._baseline.base.settings.items():
            if _is(key, name, values, given):
                as_given = not _texts(given).isdisjoint(values[:1])
                words = "as given" if as_given else f"given was {short(given)}"
                had = short(given) if as_given else values[0]
                return f"; in round 0 the optimizer had {setting_of(key)} {had}, {words}"
        return ""

    def _seen(self, name: str) -> Iterator[_Seen]:
        """Yield what attempts show, until one settles it."""
        for seen in self._attempts(name):
            yield seen
            if seen.rescheduled or seen.brought_back or (seen.at_setup and seen.after_load):
                return
            if name not in self._changeable and seen.at_setup and seen.conclusive:
                return

    def _attempts(self, name: str) -> Iterator[_Seen]:
        """Yield attempts: near the middle; with a larger step, another seed; both ways, longer."""
        values, baseline = self._lab.values, self._baseline
        first = self._attempt(name, values.a, values.b[name], baseline, seed=None)
        yield first
        low, high = (side[name] for side in values.wider)
        for i, (old, new, stretches) in enumerate([(low, high, 1), (high, low, _LONGER)], 1):
            if not self._lab.has_time(5 + 2 * stretches):
                raise _OutOfTime(first.in_words)
            seed = self._lab.seed + i
            try:
                there = self._baseline_of({**values.a, name: old}, seed, stretches)
                yield self._attempt(name, {**values.a, name: old}, new, there, seed=seed)
            except (TrainingRaised, _Raised):
                return  # at the ends of a space training may break: the first one counts

    def _baseline_of(self, a: dict[str, Any], seed: int, stretches: int) -> BaselineRuns:
        base = self._lab.train(a, seed=seed)
        for _ in range(stretches - 1):
            base = self._lab.train(a, start=base, seed=seed)
        then = self._lab.train(a, start=base, seed=seed)
        return BaselineRuns(base, then, self._lab.train(a, start=then, seed=seed), stretches)

    def _attempt(
        self,
        name: str,
        a: dict[str, Any],
        new: Any,
        baseline: BaselineRuns,
        *,
        seed: int | None,
        effects: bool = True,
    ) -> _Seen:
        changed, change = {**a, name: new}, f"{short(a[name])} -> {short(new)}"
        try:
            fresh = self._lab.train(changed, seed=seed)
            for _ in range(baseline.stretches - 1):
                fresh = self._lab.train(changed, start=fresh, seed=seed)
        except TrainingRaised as e:
            raise _Raised(f"{change} in round 0: {e}", in_round_0=True) from e
        try:
            loaded = self._lab.train(changed, start=baseline.base, seed=seed)
        except TrainingRaised as e:
            raise _Raised(f"{change} after a load: {e}", in_round_0=False) from e
        base, then, after = baseline.base, baseline.then, baseline.after
        by_setup, by_load = _apart(fresh, base), _apart(loaded, then)
        kept = [key for key in by_setup if key in loaded.settings and key not in by_load]
        mine = [key for key in by_setup if _is(key, name, fresh.settings[key], new)]
        back = [key for key in by_load if _comes_back(key, fresh, base, loaded, then)]
        comparer = self._comparer
        words = f"{change} in round 0: {comparer.difference(base, fresh)}"
        words += f"; after a load: {comparer.difference(then, loaded)}"
        return _Seen(
            change,
            words,
            at_setup=bool(by_setup)
            or (effects and self._effect(fresh, base, a, then=then, seed=seed)),
            after_load=bool(by_load)
            or (effects and self._effect(loaded, then, a, then=after, seed=seed)),
            conclusive=comparer.moves(base, then),
            brought_back=_first_in_words([key for key in mine if key in kept], loaded, "of before"),
            rescheduled=_first_in_words(back, loaded, "of before") if back == by_load else None,
            constant=_first_in_words(_constant(mine, fresh, base), fresh),
        )

    def _effect(
        self, changed: Run, baseline: Run, a: dict[str, Any], *, then: Run, seed: int | None
    ) -> bool:
        """Whether a run under another value went another way than `baseline`, under the old one.

        Args:
            changed: the run under another value.
            baseline: the same run under the old value.
            a: the hyperparameters with the old value.
            then: where they lead from `baseline` in one more stretch.
            seed: of the runs.
        """
        if self._comparer.objective_differs(changed, baseline):
            return True
        try:
            further = self._lab.train(a, start=changed, seed=seed)
        except TrainingRaised:
            return True  # what was saved cannot even be loaded under the old value
        return not self._comparer.equal(further, then)

    def _conclusion(self, name: str, seen: list[_Seen]) -> Proof:
        best = next((s for s in seen if s.at_setup and s.after_load), seen[0])
        at_setup, after_load = (
            any(getattr(s, k) for s in seen) for k in ("at_setup", "after_load")
        )
        words = best.in_words
        if again := next((s.rescheduled for s in seen if s.rescheduled), None):
            return failed(
                name,
                f"{words}; in force at the first step after a load, but then the "
                f"optimizer had the {again}: a scheduler brought it back",
                f"give the scheduler the new {name!r} too (for PyTorch its base_lrs, and "
                "initial_lr of every group), or build it anew after every load",
            )
        brought_back = any(s.brought_back for s in seen)
        if at_setup and after_load and not brought_back:
            if constant := next((s.constant for s in seen if s.constant), None):
                return note(
                    name,
                    f"{words}; but the optimizer has {constant} whatever is given",
                    "fine if this group is to have a value of its own",
                )
            return ok(name, words)
        if after_load and not brought_back:
            return note(name, f"{words}; no effect in round 0, but after a load")
        if at_setup:
            return self._not_after_load(name, words, seen)
        return self._no_effect(name, words, seen)

    def _not_after_load(self, name: str, words: str, seen: list[_Seen]) -> Proof:
        if name not in self._changeable:
            self._changeable.static.add(name)
            return note(name, f"static: {words}", "fine: the study never changes it after a load")
        advice = self._advice.apply(name)
        if setting := next((s.brought_back for s in seen if s.brought_back), None):
            return failed(
                name,
                f"{words}; in force in round 0, but not after a load: the optimizer has the "
                f"{setting}, what was loaded brought the old value back",
                self._advice.reschedule(name) if setting.startswith("lr ") else advice,
            )
        if not any(s.conclusive for s in seen if s.at_setup):
            return note(
                name,
                f"{words}; after a load nothing moves any more, so nothing can be seen",
                "a metric at its limit, or weights that stand still: check earlier or shorter "
                "rounds",
            )
        return failed(
            name,
            f"{words}; in force in round 0, but not after a load: what was loaded brought the old "
            "value back, or only a fresh model obeys",
            advice,
        )

    def _no_effect(self, name: str, words: str, seen: list[_Seen]) -> Proof:
        last = name.rpartition(".")[2]
        read = self._lab.reads(self._lab.values.a, start=self._baseline.base)
        unread = read is not None and not any(n == name or n.startswith(f"{name}.") for n in read)
        if unread and not mentions(self._lab.trainable, last):
            return failed(
                name, f"{words}; no effect at all: training ignores it", self._advice.read(name)
            )
        setting = _SETTINGS.get(last)
        for key, (*_, has) in self._baseline.then.settings.items():
            # A rate of 0 is one that a warm-up has yet to raise.
            if setting == setting_of(key) and not (setting == "lr" and float(has) == 0):
                return failed(
                    name,
                    f"{words}; no effect at all: training ignores it, the optimizer has {setting} "
                    f"{has} whatever is given",
                    f"{self._advice.read(name)} Does the optimizer get it?",
                )
        tried = ", ".join(s.change for s in seen)
        rounds = self._lab.rounds * (_LONGER if len(seen) > 2 else 1)
        return note(
            name,
            f"not seen to act within {counted(rounds, 'round')}"
            f"{', nor to be read' if unread else ''}: "
            f"{tried}: the same metrics and the same files",
            f"{self._advice.read(name)} If it acts only later, check more rounds: "
            f"--rounds {2 * rounds}, or rounds={2 * rounds} in Python",
        )

    def _cannot_change(self, name: str, seen: str) -> Proof:
        """Return what it means that training raises after a load with another value."""
        if self._changeable.moved is None:
            advice = "fine if it shapes the model: leave it without an explore strategy"
            return note(name, f"static: {seen}", advice)
        if name not in self._changeable:
            return note(name, f"static: {seen}", "fine: the study never changes it after a load")
        static = self._changeable.static
        others = [n for n in self._lab.values.a if n in self._changeable and n not in static]
        return failed(
            name,
            f"{seen}; and the study explores it: the first copy that changes it fails like this",
            f"if it shapes the model, {leave_out(others, toml=self._toml)}",
        )


class _OutOfTime(Exception):
    """A doubt cannot be followed up."""


class _Raised(Exception):
    def __init__(self, message: str, *, in_round_0: bool) -> None:
        super().__init__(message)
        self.in_round_0 = in_round_0


def _apart(one: Run, two: Run) -> list[str]:
    """Return the settings of optimizers which both runs have, with other values."""
    there: Settings = two.settings
    return [key for key, values in one.settings.items() if there.get(key, values) != values]


def _first_in_words(keys: list[str], run: Run, what: str | None = None) -> str | None:
    """Return the first of some settings, such as `lr 0.1 in param_groups[1]`; None without any.

    With `what` in place of the value.
    """
    for key in keys:
        value = what or run.settings[key][0]
        return f"{setting_of(key)} {value}{group_of(key, run.settings)}"
    return None


def _constant(taken: list[str], one: Run, two: Run) -> list[str]:
    """Return the settings beside those that were taken over, of other groups, which stay."""
    others = {key for name in taken for key in siblings(name, one.settings)}
    values = {key: {*one.settings[key], *two.settings.get(key, ())} for key in others}
    return sorted(key for key, different in values.items() if len(different) == 1)


def _is(key: str, name: str, values: tuple[str, ...], value: Any) -> bool:
    """Whether a setting is the hyperparameter itself: a warm-up, say, shows in the rate as well."""
    named = _SETTINGS.get(name.rpartition(".")[2]) == setting_of(key)
    return named or not _texts(value).isdisjoint(values)


def _texts(value: Any) -> set[str]:
    """Return a value as `Settings` have it, in double and in single precision."""
    single = float(np.float32(value)) if isinstance(value, float) else value
    return {repr(value), repr(single)}


def _comes_back(key: str, fresh: Run, base: Run, loaded: Run, then: Run) -> bool:
    """Whether a new value is in force at the first step after a load, and from then on the old one.

    One that would be the same in any case, such as at the end of a schedule, is no old value.
    """
    new, old = loaded.settings[key], then.settings[key]
    if len(new) < 2 or new[1:] != old[1 - len(new) :] or key not in base.settings:
        return False
    constant = old[-1] == base.settings[key][-1]
    lasts = key in fresh.settings and fresh.settings[key][-1] != base.settings[key][-1]
    return lasts and (constant or len(new) > 2)
