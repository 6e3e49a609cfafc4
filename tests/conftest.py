"""What holds for every test."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

pytest.register_assert_rewrite("tests.contract")  # it shows the values that differ

# Chance has no place in the suite: the same examples on every machine and in every run.
settings.register_profile("suite", derandomize=True, deadline=None)
settings.load_profile("suite")

# Two threads of linear algebra in each of two workers fight over two cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
