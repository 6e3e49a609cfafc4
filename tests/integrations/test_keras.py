"""Keras follows a schedule in `model.fit`, on backends that compile and on those that do not."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.needs import needs

if find_spec("keras") is None:  # importing it here would settle its backend for all tests
    needs("keras")


@pytest.fixture(scope="module", params=["torch", "jax"])
def said(request: pytest.FixtureRequest) -> Any:
    """What `keras_fit.py` says on a backend."""
    needs(request.param)
    program = str(Path(__file__).with_name("keras_fit.py"))
    ran = subprocess.run(
        [sys.executable, program, request.param],
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-3000:]
    return json.loads(ran.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize("unit", ["epochs", "batches"])
def test_fit_under_it_is_training_by_hand_also_in_parts(said: Any, unit: str):
    fitted, by_hand, in_parts = said[unit]
    assert fitted == pytest.approx(by_hand, rel=1e-6)
    assert in_parts == pytest.approx(by_hand, rel=1e-6)


@pytest.mark.slow
def test_hyperparameters_may_bear_other_names(said: Any):
    assert said["adam"] == pytest.approx([0.3, 0.1])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "complaint"),
    [
        ("unknown name", "no hyperparameter 'rate': there are lr, momentum, note"),
        ("unknown setting", "'lr': the optimizer has no setting 'rate': it has learning_rate"),
        ("no setting", "none of the hyperparameters batch is a setting of the optimizer"),
        ("a string", "names: wanted a tuple of names, got 'lr'"),
        ("a schedule of its own", "learning_rate: cannot be set to 0.1"),
        ("no momentum", "momentum: got 0.9, but the optimizer was made without"),
    ],
)
def test_what_cannot_be_set_is_named(said: Any, case: str, complaint: str):
    assert said["complaints"][case].startswith(complaint)


@pytest.mark.slow
def test_without_a_backend_the_error_says_what_to_install():
    code = "import sys; sys.modules['keras'] = None; import evolvent as ev; ev.keras"
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert "MissingExtra: ev.keras needs Keras" in ran.stderr
    assert "pip install 'evolvent[keras]'" in ran.stderr
