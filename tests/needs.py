"""What is optional: a test that needs it is skipped without it, but fails in CI."""

from __future__ import annotations

import importlib
import os
from typing import Any, NoReturn

import pytest


def needs(name: str) -> Any:
    """Return a module, such as `needs("pandas")`, or skip everything in this file or test."""
    try:
        return importlib.import_module(name)
    except ImportError:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"{name} is not installed", allow_module_level=True)


def missing(reason: str) -> NoReturn:
    """Skip this test, or fail it in CI, where everything is there."""
    (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
