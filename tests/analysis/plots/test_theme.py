"""Colours stand out from their ground, and from each other for the colour-blind."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from evolvent.analysis.plots.theme import DARK, LIGHT, Theme

# Machado, Oliveira and Fernandes 2009, severity 1.0, on linear RGB.
BLINDNESS = {
    "normal": np.eye(3),
    "protan": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
         [-0.003882, -0.048116, 1.051998]]
    ),
    "deutan": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
         [-0.011820, 0.042940, 0.968881]]
    ),
    "tritan": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
         [0.004733, 0.691367, 0.303900]]
    ),
}  # fmt: skip
TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750],
     [0.0193339, 0.1191920, 0.9503041]]
)  # fmt: skip


def linear(color: str) -> np.ndarray:
    rgb = np.array([int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def contrast(a: str, b: str) -> float:
    light, dark = sorted((float(TO_XYZ[1] @ linear(c)) for c in (a, b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def lab(color: str, blindness: str) -> np.ndarray:
    seen = np.clip(BLINDNESS[blindness] @ linear(color), 0, 1)
    f = np.cbrt(np.maximum(TO_XYZ @ seen / (TO_XYZ @ np.ones(3)), 1e-6))
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_text_and_marks_stand_out_from_the_ground(theme: Theme):
    assert contrast(theme.text, theme.background) >= 7
    assert contrast(theme.faint, theme.background) >= 4.5
    for color in (theme.strong, theme.rest, theme.failed, *theme.palette):
        assert contrast(color, theme.background) >= 3, color


@pytest.mark.parametrize("theme", [LIGHT, DARK])
@pytest.mark.parametrize("blindness", BLINDNESS)
def test_colours_stay_apart(theme: Theme, blindness: str):
    colors = (theme.strong, theme.rest, *theme.palette)
    for a, b in combinations(colors, 2):
        distance = np.linalg.norm(lab(a, blindness) - lab(b, blindness))
        assert distance >= 10, (a, b, distance)


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_better_stands_out_more(theme: Theme):
    contrasts = [contrast(color, theme.background) for color in theme.ramp]
    assert contrasts == sorted(contrasts)
