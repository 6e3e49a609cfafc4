"""Draws made from `rng.random()` alone, so that they stay the same over versions of NumPy."""

from __future__ import annotations

import math

import numpy as np


def draw_index(rng: np.random.Generator, n: int) -> int:
    """Draw an integer from 0 to n - 1, evenly."""
    return int(rng.random() * n)


def draw_normal(rng: np.random.Generator) -> float:
    """Draw from the standard normal distribution (Box and Muller 1958)."""
    radius = math.sqrt(-2.0 * math.log(1.0 - rng.random()))
    return radius * math.cos(2.0 * math.pi * rng.random())
