"""The proofs of `check_trainable`: each trains a few rounds two ways and compares the ends.

Ends are compared by what was saved, byte by byte, and by the metrics. Two runs that differ only in
one hyperparameter get one more stretch of training with equal hyperparameters before they are
compared: a saved copy of the value differs too, but it is no effect on training.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from evolvent.engines.runner import Runner
from evolvent.engines.shape_mismatch import leave_out
from evolvent.testing.check_lab import Lab, Run, TrainingRaised
from evolvent.testing.check_report import Proof, Verdict, apart, failed, note, ok, short

_SAVE_ALL = (
    "save() must write everything that training needs to go on, and load() must read it back: "
    "weights, the optimizer's state, counters, running averages, and the state of random "
    "generators (or seed them from self.job.seed at the start of train(), then none is needed)"
)
_SAME_LIVE = (
    "a live model and a loaded one must end up the same after apply(): write in apply() every "
    "value that setup() takes from the hyperparameters"
)
_SEED = (
    "draw everything random from generators seeded with job.seed (ev.torch.seed(job.seed) seeds "
    "the global ones), and save no times, paths or sets: without this, studies cannot be repeated "
    "and the proofs below cannot be exact"
)


@dataclass(frozen=True, slots=True)
class BaselineRuns:
    """Three stretches of training with the same hyperparameters, with a load before each."""

    base: Run
    then: Run
    after: Run


class Proofs:
    """Draws one conclusion after another; later ones build on the runs of earlier ones."""

    def __init__(
        self,
        lab: Lab,
        metric: str | None,
        moved: frozenset[str] | None = None,
        *,
        toml: bool = False,
    ) -> None:
        self._lab = lab
        self._toml = toml
        self._metric = metric
        self._moved = moved  # what copies change; None: nobody knows
        self._by_files = True
        self._unsteady: set[str] = set()  # metrics that differ between equal runs, such as seconds
        self._static: set[str] = set()
        self._baseline: BaselineRuns

    def all(self) -> Iterator[Proof]:
        """Yield every proof; stop early when nothing further can be told."""
        a = self._lab.values.a
        try:
            pairs = [self._pair(), self._pair()]
            after = self._lab.train(a, start=pairs[0][1])
        except TrainingRaised as e:
            yield failed("contract", f"training with a: {e}")
            return
        self._baseline = BaselineRuns(*pairs[0], after)
        contract = self._contract(self._baseline.base)
        yield contract
        if contract.verdict is Verdict.FAILED:
            return
        yield self._repeats(*pairs)
        steady = self._by_files or self._baseline.base.metrics.keys() - self._unsteady
        if self._metric in self._unsteady or not steady:
            yield note("the rest", "not tried: equal runs cannot be told from others")
            return
        for name in a:
            yield self._hyperparameter(name)
        is_class = isinstance(self._lab.trainable, type)
        yield from self._unbroken() if is_class else self._continues()
        yield self._untouched()

    def _pair(self) -> tuple[Run, Run]:
        a = self._lab.values.a
        base = self._lab.train(a)
        return base, self._lab.train(a, start=base)

    def _contract(self, run: Run) -> Proof:
        names = ", ".join(run.metrics) or "no metrics"
        seen = f"training returned {names}; saved {len(run.files)} file(s)"
        if self._metric is not None and self._metric not in run.metrics:
            return failed("contract", f"{seen}; the objective {self._metric!r} is not among them")
        objectives = run.metrics if self._metric is None else [self._metric]
        bad = [name for name in objectives if not abs(run.metrics[name]) < math.inf]
        if bad:
            return failed(
                "contract",
                f"{bad[0]} is {run.metrics[bad[0]]} after training with a",
                "give two sets of hyperparameters with which training works",
            )
        if not run.files:
            return failed("contract", seen, "write the model into the directory that is given")
        return ok("contract", seen)

    def _repeats(self, first: tuple[Run, Run], second: tuple[Run, Run]) -> Proof:
        pairs = list(zip(first, second, strict=True))
        files = sorted({n for one, two in pairs for n in _differing(one.files, two.files)})
        metrics = {n for one, two in pairs for n in _differing(one.metrics, two.metrics)}
        self._unsteady, self._by_files = metrics, not files
        one, two = pairs[-1]
        if files or self._metric in metrics or (self._metric is None and metrics):
            what = ", ".join([*sorted(metrics), *files])
            seen = f"the same job twice: {self._difference(one, two)}; not the same: {what}"
            return failed("repeats", seen, _SEED)
        left_out = f"; left out: {', '.join(sorted(metrics))}" if metrics else ""
        seen = f"the same job twice: {self._difference(one, two)}, same bytes{left_out}"
        return ok("repeats", seen)

    def _untouched(self) -> Proof:
        altered = self._lab.altered()
        if altered:
            return failed(
                "checkpoints",
                f"training wrote into the checkpoint it started from: {', '.join(altered)}",
                "write into job.directory only: other members start from the same checkpoint",
            )
        return ok("checkpoints", "left as they were saved")

    def _hyperparameter(self, name: str) -> Proof:
        a, baseline = self._lab.values.a, self._baseline
        old, new = a[name], self._lab.values.b[name]
        if old == new:
            return note(name, f"always {short(old)}: nothing to compare")
        change = f"{short(old)} -> {short(new)}"
        changed = a | {name: new}
        try:
            fresh = self._lab.train(changed)
        except TrainingRaised as e:
            return failed(name, f"{change} in round 0: {e}")
        try:
            loaded = self._lab.train(changed, start=baseline.base)
        except TrainingRaised as e:
            self._static.add(name)
            return self._cannot_change(name, f"{change} after a load: {e}")
        at_setup = self._effect(fresh, baseline.base, then=baseline.then)
        after_load = self._effect(loaded, baseline.then, then=baseline.after)
        seen = f"{change} in round 0: {self._difference(baseline.base, fresh)}"
        seen += f"; after a load: {self._difference(baseline.then, loaded)}"
        if at_setup and not after_load and self._moved is not None and name not in self._moved:
            self._static.add(name)
            return note(name, f"static: {seen}", "fine: the study never changes it after a load")
        return _effects(name, seen, at_setup=at_setup, after_load=after_load)

    def _cannot_change(self, name: str, seen: str) -> Proof:
        """Return what it means that training raises after a load with another value."""
        if self._moved is None:
            advice = "fine if it shapes the model: leave it without an explore strategy"
            return note(name, f"static: {seen}", advice)
        if name not in self._moved:
            return note(name, f"static: {seen}", "fine: the study never changes it after a load")
        others = [n for n in self._lab.values.a if n in self._moved and n not in self._static]
        return failed(
            name,
            f"{seen}; and the study explores it: the first copy that changes it fails like this",
            f"if it shapes the model, {leave_out(others, toml=self._toml)}",
        )

    def _effect(self, changed: Run, baseline: Run, *, then: Run) -> bool:
        """Whether a run under another value went another way than `baseline`, under the old one.

        Args:
            changed: the run under another value.
            baseline: the same run under the old value.
            then: where the old value leads from `baseline` in one more stretch.
        """
        if self._metric in _differing(changed.metrics, baseline.metrics):
            return True
        try:
            return not self._equal(self._lab.train(self._lab.values.a, start=changed), then)
        except TrainingRaised:
            return True  # what was saved cannot even be loaded under the old value

    def _unbroken(self) -> Iterator[Proof]:
        a, b = self._lab.values.a, self._lab.values.b
        b = a | {name: value for name, value in b.items() if name not in self._static}
        goes_on = self._with_a_load("goes on", a, a)
        yield goes_on
        if a == b or goes_on.verdict is Verdict.FAILED:
            return  # the others would only repeat it
        yield self._with_a_load("goes on with b", b, b)
        yield self._with_a_load("changes alive", a, b)

    def _with_a_load(self, name: str, first: dict[str, Any], second: dict[str, Any]) -> Proof:
        """Train with and without a load between, under the same or other hyperparameters."""
        runner = Runner(self._lab.trainable)
        try:
            start = self._lab.train(first, runner=runner)
            alive = self._lab.train(second, start=start, runner=runner)
            loaded = self._lab.train(second, start=start)
        except TrainingRaised as e:
            return failed(name, str(e))
        finally:
            runner.close()
        way, other_way, advice = "train, train", "train, save, load, train", _SAVE_ALL
        if first != second:
            way, other_way, advice = "train with a, then b", "with a load between", _SAME_LIVE
        seen = f"{way}: {self._describe(alive)}; {other_way}: {self._describe(loaded)}"
        if self._equal(alive, loaded):
            return ok(name, seen)
        files = ", ".join(_differing(alive.files, loaded.files))
        return failed(name, f"{seen}; not the same files: {files or 'none'}", advice)

    def _continues(self) -> Iterator[Proof]:
        base, then = self._baseline.base, self._baseline.then
        try:
            anew = self._lab.train(self._lab.values.a, first=base.job.round + 1)
        except TrainingRaised as e:
            yield ok("goes on", f"without its checkpoint: {e}")
        else:
            seen = f"from the checkpoint: {self._describe(then)}; "
            seen += f"from nothing: {self._describe(anew)}"
            advice = "load job.checkpoint when it is not None: every round starts from nothing"
            alike = self._equal(then, anew)
            yield failed("goes on", seen, advice) if alike else ok("goes on", seen)
        yield note(
            "saves all",
            "cannot be seen from outside: a function keeps nothing alive between rounds, so there "
            "is no training without a break to compare with; ev.Trainable classes are checked",
        )

    def _equal(self, one: Run, two: Run) -> bool:
        if self._by_files and one.files != two.files:
            return False
        return not set(_differing(one.metrics, two.metrics)) - self._unsteady

    def _difference(self, one: Run, two: Run) -> str:
        """Say what differs between two runs: the objective, another metric, or the files only."""
        differing = _differing(one.metrics, two.metrics)
        files = "" if differing or one.files == two.files else ", other files"
        other = bool(differing) and self._metric not in differing
        name = differing[0] if other else self._described_metric(one)
        if name is None:
            return f"no metrics{files}"
        old, new = apart(one.metrics.get(name), two.metrics.get(name))
        return f"{name} {old} vs {new}{files}"

    def _describe(self, run: Run) -> str:
        name = self._described_metric(run)
        return "no metrics" if name is None else f"{name} {short(run.metrics[name])}"

    def _described_metric(self, run: Run) -> str | None:
        return self._metric or next(iter(run.metrics), None)


def _effects(name: str, seen: str, *, at_setup: bool, after_load: bool) -> Proof:
    if after_load and at_setup:
        return ok(name, seen)
    if after_load:
        return note(name, f"{seen}; no effect in round 0, but after a load")
    if at_setup:
        return failed(
            name,
            f"{seen}; in force in round 0, but not after a load: what was loaded brought the old "
            "value back",
            f"set {name!r} again after every load, in apply(): for PyTorch "
            "ev.torch.apply(optimizer, hyperparameters), elsewhere write it into the live "
            "optimizer. If it cannot change in a live model, leave it without an explore strategy",
        )
    return failed(
        name,
        f"{seen}; no effect at all: training ignores it",
        f"does training read hyperparameters[{name!r}]? If it acts only later, check more rounds "
        "or values further apart",
    )


def _differing(one: dict[str, Any], two: dict[str, Any]) -> list[str]:
    # by repr: a NaN is the same as a NaN here
    return sorted(n for n in one.keys() | two.keys() if repr(one.get(n)) != repr(two.get(n)))
