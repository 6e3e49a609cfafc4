"""Functions that CustomExplore can import, and some that it cannot."""

from __future__ import annotations

from typing import Any

import numpy as np


def double(hyperparameters: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    return {name: 2 * value for name, value in hyperparameters.items()}


def make_nested() -> Any:
    def nested(hyperparameters: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        return hyperparameters

    return nested


class Namespace:
    @staticmethod
    def halve(hyperparameters: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        return {name: value / 2 for name, value in hyperparameters.items()}


NOT_A_FUNCTION = 3
