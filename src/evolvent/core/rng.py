"""Randomness is named, not carried: the same name gives the same draws on any machine.

Draws are made from `random()` alone, so that they stay the same over versions of NumPy.
"""

from __future__ import annotations

import math
from hashlib import blake2b
from typing import Any, cast

import numpy as np

_WORDS = np.dtype("<u8")


def stream(seed: int, purpose: str, member: int, round: int) -> np.random.Generator:
    """Return the generator for one purpose of one member's one round.

    Its state is a hash of the four names: streams are independent however the names are numbered,
    and none depends on who drew earlier. A purpose is what is drawn, such as `"initial"` or
    `"decide"`; members and rounds count from 0.
    """
    bits: Any = np.random.PCG64
    return np.random.Generator(bits(_Hash(_digest(seed, purpose, member, round))))


def deferred(seed: int, purpose: str, member: int, round: int) -> np.random.Generator:
    """Return `stream(...)`, built at its first draw: most decisions draw nothing."""
    return cast(np.random.Generator, _Deferred(seed, purpose, member, round))


def realised(rng: np.random.Generator) -> np.random.Generator:
    """Return a true generator, also for one that `deferred` made: for code that is not ours."""
    return rng._realise() if isinstance(rng, _Deferred) else rng


def training_seed(seed: int, member: int, round: int) -> int:
    """Return the seed handed to training code as `job.seed`: 0 to 2**31 - 1."""
    return int.from_bytes(_digest(seed, "train", member, round)[:4], "little") >> 1


def draw_index(rng: np.random.Generator, n: int) -> int:
    """Draw an integer from 0 to n - 1, evenly."""
    return int(rng.random() * n)


def draw_normal(rng: np.random.Generator) -> float:
    """Draw from the standard normal distribution (Box and Muller 1958)."""
    radius = math.sqrt(-2.0 * math.log(1.0 - rng.random()))
    return radius * math.cos(2.0 * math.pi * rng.random())


def _digest(seed: int, purpose: str, member: int, round: int) -> bytes:
    return blake2b(f"{seed}/{purpose}/{member}/{round}".encode(), digest_size=32).digest()


class _Hash(np.random.bit_generator.ISpawnableSeedSequence):
    """Hands a hash to a bit generator as it is; the usual way takes six times as long."""

    def __init__(self, digest: bytes) -> None:
        self._digest = digest
        self._spawned = 0

    def generate_state(self, n_words: int, dtype: Any = np.uint64) -> Any:  # noqa: ARG002
        return np.frombuffer(self._digest, _WORDS)  # PCG64 asks for four words of 64 bits

    def spawn(self, n_children: int) -> list[_Hash]:
        """Return the next children: code that is not ours may want several generators."""
        first, self._spawned = self._spawned, self._spawned + n_children
        names = (f"{i}".encode() for i in range(first, self._spawned))
        return [_Hash(blake2b(name, key=self._digest, digest_size=32).digest()) for name in names]


class _Deferred:
    __slots__ = ("_generator", "_names", "random")

    def __init__(self, *names: Any) -> None:
        self._names = names
        self._generator: np.random.Generator | None = None

    def _realise(self) -> np.random.Generator:
        if self._generator is None:
            self._generator = stream(*self._names)
            self.random = self._generator.random  # found without __getattr__ from now on
        return self._generator

    def __getattr__(self, attribute: str) -> Any:
        return getattr(self._realise(), attribute)
