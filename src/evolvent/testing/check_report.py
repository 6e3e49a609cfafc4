"""What `check_trainable` hands back: proofs, and how they read."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import Any


class Verdict(StrEnum):
    """What came of a proof."""

    OK = "ok"
    FAILED = "FAIL"
    NOTE = "note"  # nothing is proven wrong, but the reader must know
    SKIPPED = "skip"  # not tried: there was no time for it


@dataclass(frozen=True, slots=True)
class Proof:
    """One line of a report.

    Attributes:
        name: what was to be proven, such as `"lr"` or `"repeats"`.
        verdict: what came of it.
        seen: what was tried and what was seen.
        advice: how to mend it; None unless there is something to mend.
    """

    name: str
    verdict: Verdict = field(kw_only=True)
    seen: str
    advice: str | None = None

    def __str__(self) -> str:
        advice = "" if self.advice is None else f"\n      -> {self.advice}"
        return f"{self.verdict:<4}  {self.name}: {self.seen}{advice}"


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What was proven about a trainable; print it.

    Attributes:
        subject: name of the trainable.
        first: the one set of hyperparameters it was trained with, by dotted name.
        second: the other.
        proofs: in the order in which they were tried.
    """

    subject: str
    first: Mapping[str, Any]
    second: Mapping[str, Any]
    proofs: tuple[Proof, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing failed."""
        return not self.failed

    @property
    def failed(self) -> tuple[Proof, ...]:
        return tuple(proof for proof in self.proofs if proof.verdict is Verdict.FAILED)

    def __getitem__(self, name: str) -> Proof:
        """Return the proof of this name."""
        for proof in self.proofs:
            if proof.name == name:
                return proof
        raise KeyError(name)

    @property
    def summary(self) -> str:
        """How many proofs there are, and how many failed."""
        skipped = sum(proof.verdict is Verdict.SKIPPED for proof in self.proofs)
        not_done = f", {skipped} not done" if skipped else ""
        tried = len(self.proofs) - skipped
        return f"{counted(tried, 'proof')}, {len(self.failed) or 'none'} failed{not_done}"

    def __str__(self) -> str:
        sets = f"a: {listed(self.first)}\nb: {listed(self.second)}"
        return "\n".join([self.subject, sets, *map(str, self.proofs), self.summary])


ok = partial(Proof, verdict=Verdict.OK)
note = partial(Proof, verdict=Verdict.NOTE)
failed = partial(Proof, verdict=Verdict.FAILED)
skipped = partial(Proof, verdict=Verdict.SKIPPED)


def counted(n: int, what: str) -> str:
    """Return a number of things, such as `1 round` or `2 rounds`."""
    return f"{n} {what}{'' if n == 1 else 's'}"


def listed(values: Mapping[str, Any]) -> str:
    """Return `lr 0.1, momentum 0.9`."""
    return ", ".join(f"{name} {short(value)}" for name, value in values.items())


def some(names: Collection[object], most: int = 4) -> str:
    """Return the first of many names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join([*map(str, names)][:most])}{more}"


def short(value: Any) -> str:
    """Return a value as people read it: floats to four digits."""
    return f"{value:.4g}" if isinstance(value, float) else repr(value)


def apart(one: Any, two: Any) -> tuple[str, str]:
    """Return two values with as many digits as it takes to tell them apart."""
    if short(one) != short(two) or repr(one) == repr(two):
        return short(one), short(two)
    return repr(one), repr(two)
