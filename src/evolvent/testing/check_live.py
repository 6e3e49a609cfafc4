"""The proofs about objects of a class that stay alive, from round to round and member to member."""

from __future__ import annotations

from typing import Any

from evolvent.engines.runner import Runner
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

    def with_a_load(self, name: str, *, with_b: tuple[bool, bool] = (False, False)) -> Proof | None:
        """Train with and without a load between, each time under the first set or the second."""
        first, second = (self._b if b else self._lab.values.a for b in with_b)
        if not self._goes_on:
            return None  # it would only repeat what the first one has found
        runner = Runner(self._lab.trainable)
        try:
            start = self._lab.train(first, runner=runner)
            alive = self._lab.train(second, start=start, runner=runner)
            loaded = self._lab.train(second, start=start)
        except TrainingRaised as e:
            return failed(name, str(e))
        finally:
            runner.close()
        way, other_way, advice = "train, train", "train, save, load, train", self._advice.save_all
        if first != second:
            way, other_way = "train with a, then b", "with a load between"
            advice = self._advice.same_live
        proof = self._alike(name, (way, alive), (other_way, loaded), advice)
        self._goes_on = self._goes_on and (name != "goes on" or proof.verdict is not Verdict.FAILED)
        return proof

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
        a = self._lab.values.a
        # What is not explored stays with objects.
        b = {n: value if n in self._changeable else a[n] for n, value in self._b.items()}
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
        describe = self._comparer.describe
        seen = f"{one[0]}: {describe(one[1])}; {two[0]}: {describe(two[1])}"
        if apart := self._comparer.apart(one[1], two[1]):
            return failed(name, f"{seen}; not the same: {some(apart)}", advice)
        if beside := self._comparer.beside(one[1], two[1]):
            self._comparer.get_used_to(beside)  # said once
            return note(name, f"{seen}; the same arrays, but not the same: {some(beside)}")
        return ok(name, seen)
