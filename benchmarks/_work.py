"""The work that every contender does in a round: some arithmetic, one checkpoint file.

Imports nothing but NumPy, so that it runs where only the contender is installed.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np

FILE = "state.bin"


class Model:
    """A megabyte of numbers that gets better the closer its learning rate is to 0.1."""

    def __init__(self, n_bytes: int) -> None:
        self.state = np.zeros(n_bytes // 4, dtype=np.float32)
        self._matrix = np.full((64, 64), 1 / 64, dtype=np.float32)

    def train(self, lr: float, *, products: int) -> float:
        """Do a fixed amount of arithmetic, change every byte of the state, return the score."""
        matrix = self._matrix
        for _ in range(products):
            matrix = matrix @ self._matrix
        self.state += np.float32(1.0 / (1.0 + abs(np.log10(lr) + 1.0))) * matrix[0, 0]
        return float(self.state[0])

    def save(self, directory: Path) -> None:
        self.state.tofile(Path(directory) / FILE)

    def load(self, directory: Path) -> None:
        self.state = np.fromfile(Path(directory) / FILE, dtype=np.float32)


def calibrated(seconds: float) -> int:
    """Return how many matrix products take so long on one core that nobody else uses."""
    model, products = Model(4096), 2000
    rates = []
    for _ in range(15):
        started = time.thread_time()
        model.train(0.1, products=products)
        rates.append((time.thread_time() - started) / products)
    return max(1, round(seconds / min(rates)))


_marked = False


def mark_first_step(directory: str) -> None:
    """Note when this process began its first training step, on the clock all processes share."""
    global _marked  # noqa: PLW0603 - once a process
    if not _marked:
        _marked = True
        Path(directory, f"first-{os.getpid()}").write_text(repr(time.monotonic()))


def first_step(directory: str) -> float:
    """Return the earliest time that any process noted."""
    return min(float(path.read_text()) for path in Path(directory).glob("first-*"))


def bytes_below(directory: Path) -> int:
    """Return what is left on disk."""
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
