"""What a hyperparameter can be: bounds, scale and type; drawn, checked, clipped, reflected."""

from __future__ import annotations

from typing import TypeAlias

from evolvent.core.codec import by_name
from evolvent.core.distributions.listed import Choice, Constant, Ordinal
from evolvent.core.distributions.numbers import (
    IntUniform,
    LogIntUniform,
    LogUniform,
    Normal,
    ReverseLogUniform,
    Uniform,
)

__all__ = [
    "DISTRIBUTIONS",
    "Choice",
    "Constant",
    "Distribution",
    "Floats",
    "IntUniform",
    "Integers",
    "Intervals",
    "Listed",
    "LogIntUniform",
    "LogUniform",
    "Logarithmic",
    "Normal",
    "Numbers",
    "Ordinal",
    "ReverseLogUniform",
    "Uniform",
]

Integers: TypeAlias = IntUniform | LogIntUniform
Floats: TypeAlias = Uniform | LogUniform | ReverseLogUniform | Normal
Numbers: TypeAlias = Floats | Integers
Intervals: TypeAlias = Uniform | LogUniform | ReverseLogUniform
"""Floats with bounds."""
Logarithmic: TypeAlias = LogUniform | LogIntUniform
Listed: TypeAlias = Choice | Ordinal | Constant
Distribution: TypeAlias = Floats | Integers | Listed

DISTRIBUTIONS: dict[str, type[Distribution]] = by_name(
    Uniform,
    LogUniform,
    ReverseLogUniform,
    IntUniform,
    LogIntUniform,
    Normal,
    Choice,
    Ordinal,
    Constant,
)
