"""The proofs about objects of a class that stay alive, from round to round and member to member."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

from evolvent.testing.check_advice import Advice
from evolvent.testing.check_compare import Comparer
from evolvent.testing.check_lab import Changeable, Lab, Run, TrainingRaised
from evolvent.testing.check_report import Proof, Verdict, failed, note, ok, some


class LiveProofs:
    """Trains objects on, loads them, moves them; holds each to one that does without."""

    def __init__(
        self,
        lab: Lab,
        comparer: Comparer,
        advice: Advice,
        changeable: Changeable,
    ) -> None:
        self._lab, self._comparer, self._advice = lab, comparer, advice
        self._changeable = changeable
        self._goes_on = True

    @property
    def _b(self) -> dict[str, Any]:
        """The second set, but for what a loaded model cannot change."""
        values = self._lab.values
        return values.a | {n: x for n, x in values.b.items() if n not in self._changeable.static}

    def with_a_load(self, name: str, *, with_b: bool = False) -> Proof | None:
        """Train with and without a load between, under one set or the other."""
        if not self._goes_on:
            return None  # it would only repeat what the first one has found
        values = self._b if with_b else self._lab.values.a
        try:
            alive, loaded = self._alive_and_loaded(values, values)
        except TrainingRaised as e:
            return failed(name, str(e))
        ways = ("train, train", alive), ("train, save, load, train", loaded)
        proof = self._alike(name, *ways, self._advice.save_all)
        self._goes_on = self._goes_on and (name != "goes on" or proof.verdict is not Verdict.FAILED)
        return proof

    def changes_alive(self, name: str) -> Proof | None:
        """Change the hyperparameters of an object that goes on, and of one that was loaded."""
        a, b, study = self._lab.values.a, self._b, self._lab.runner()
        differing = [n for n in a if a[n] != b[n]]
        changed = [n for n in differing if not study.sets_up_anew(n)]
        # What a study never changes needs no word.
        anew = [n for n in differing if n not in changed and n in self._changeable]
        if not self._goes_on or not (changed or anew):
            return None
        why = f"an object is set up anew for another {some(anew)}, which apply() does not read"
        if not changed:
            return note(name, f"nothing to compare: {why}")
        try:
            proof = self._changed_alive(name, changed)
            if proof.verdict is Verdict.FAILED and len(changed) > 1:
                proof = self._narrowed(proof, changed)
        except TrainingRaised as e:
            return failed(name, str(e))
        return replace(proof, seen=f"{proof.seen}; {why}") if anew else proof

    def _narrowed(self, proof: Proof, changed: Collection[str]) -> Proof:
        """Name the hyperparameters that are enough by themselves for a proof to fail."""
        guilty = [
            name for name in changed
            if self._lab.has_time(3)
            and self._changed_alive(proof.name, [name]).verdict is Verdict.FAILED
        ]  # fmt: skip
        return replace(proof, seen=f"{proof.seen}; because of {some(guilty)}") if guilty else proof

    def _changed_alive(self, name: str, changed: Collection[str]) -> Proof:
        a, b = self._lab.values.a, self._lab.values.b
        alive, loaded = self._alive_and_loaded(a, a | {n: b[n] for n in changed})
        ways = ("train with a, then b", alive), ("with a load between", loaded)
        return self._alike(name, *ways, self._advice.same_live)

    def _alive_and_loaded(self, first: dict[str, Any], second: dict[str, Any]) -> tuple[Run, Run]:
        runner = self._lab.runner()
        try:
            start = self._lab.train(first, runner=runner)
            alive = self._lab.train(second, start=start, runner=runner)
            return alive, self._lab.train(second, start=start)
        finally:
            runner.close()

    def moves(self) -> Proof | None:
        """Move an object that one member was set up for to another one's checkpoint."""
        return self._taken_over(
            "moves", ("an object of another member, moved", "one of its own"), self._advice.moved,
            start=True,
        )  # fmt: skip

    def resets(self) -> Proof | None:
        """Make the weights of an object fresh for a member that begins."""
        ways = ("after reset()", "after setup()")
        return self._taken_over("resets", ways, self._advice.reset, start=False)

    def in_turns(self, name: str, then: Run) -> Proof | None:
        """Let two objects train in turns; `then` is what the first one comes to by itself."""
        if not self._goes_on:
            return None
        a, runner = self._lab.values.a, self._lab.runner(keep_alive=2)
        try:
            first = self._lab.train(a, runner=runner)
            self._lab.train(self._b_of_another, runner=runner, member=1)
            again = self._lab.train(a, start=first, runner=runner)
        except TrainingRaised as e:
            return note(name, str(e), self._advice.in_turns)
        finally:
            runner.close()
        ways = ("beside a second object", again), ("by itself", then)
        proof = self._alike(name, *ways, self._advice.in_turns)
        if proof.verdict is Verdict.FAILED:  # no fault of a study that keeps one object only
            return replace(proof, verdict=Verdict.NOTE)
        return proof

    @property
    def _b_of_another(self) -> dict[str, Any]:
        """The second set, with which another member may meet an object of the first one."""
        a = self._lab.values.a
        runner = self._lab.runner()
        return {
            name: value if name in self._changeable and not runner.sets_up_anew(name) else a[name]
            for name, value in self._b.items()
        }

    def _taken_over(
        self, name: str, ways: tuple[str, str], advice: str, *, start: bool
    ) -> Proof | None:
        """Let an object that has trained for one member train for another; hold it to a new one.

        Args:
            name: of the proof.
            ways: words for the object that was taken over, and for one that was set up for it.
            advice: if they differ.
            start: the other member goes on from a checkpoint, and does not begin.
        """
        if not self._goes_on:
            return None
        a, b = self._lab.values.a, self._b_of_another
        try:
            other = self._lab.train(b, member=1) if start else None
            own = self._lab.train(b, start=other, member=1)
        except TrainingRaised:
            return None  # another proof says so
        runner = self._lab.runner()
        try:
            longer = self._lab.train(a, runner=runner)  # what stays of it is seen the better
            self._lab.train(a, start=longer, runner=runner)
            before = runner.live_object
            taken = self._lab.train(b, start=other, runner=runner, member=1)
            if runner.live_object is not before:
                return note(name, "an object is set up for each member: none takes another's over")
        except TrainingRaised as e:
            return failed(name, str(e), advice)
        finally:
            runner.close()
        return self._alike(name, (ways[0], taken), (ways[1], own), advice)

    def _alike(self, name: str, one: tuple[str, Run], two: tuple[str, Run], advice: str) -> Proof:
        first, second = self._comparer.describe(one[1], two[1])
        seen = f"{one[0]}: {first}; {two[0]}: {second}"
        if apart := self._comparer.apart(one[1], two[1]):
            return failed(name, f"{seen}; not the same: {some(apart)}", advice)
        if beside := self._comparer.beside(one[1], two[1]):
            self._comparer.get_used_to(beside)  # said once
            return note(name, f"{seen}; the same arrays, but not the same: {some(beside)}")
        return ok(name, seen)
