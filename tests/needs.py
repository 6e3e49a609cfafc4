"""Optional libraries: a test that needs one is skipped without it, but fails in CI."""

from __future__ import annotations

import importlib
import os
from typing import Any

import pytest


def needs(name: str) -> Any:
    """Return a module, such as `needs("pandas")`, or skip everything in this file or test."""
    try:
        return importlib.import_module(name)
    except ImportError:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"{name} is not installed", allow_module_level=True)
