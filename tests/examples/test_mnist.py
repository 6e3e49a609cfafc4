"""The MNIST example, on a few images of the real data if they are here, else on digits."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.examples.loading import EXAMPLES

pytest.importorskip("torch")
datasets = pytest.importorskip("sklearn.datasets")

PARTS = ("train_images", "train_labels", "test_images", "test_labels")


@pytest.fixture
def small_file(tmp_path: Path) -> Path:
    """600 images to train on, 200 to test with: of MNIST, or digits padded to its size."""
    given = os.environ.get("EVOLVENT_DATA")
    if given:
        with np.load(given) as file:
            arrays = {name: file[name][: 600 if "train" in name else 200] for name in PARTS}
    else:
        pixels, labels = datasets.load_digits(return_X_y=True)
        images = np.kron(pixels.reshape(-1, 8, 8) * 15.9, np.ones((3, 3)))
        images = np.pad(images, ((0, 0), (2, 2), (2, 2))).astype(np.uint8)
        arrays = dict(
            zip(PARTS, (images[:600], labels[:600], images[600:800], labels[600:800]), strict=True)
        )
    np.savez(tmp_path / "small.npz", **arrays)
    return tmp_path / "small.npz"


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k != "EVOLVENT_DATA"}
    return subprocess.run(
        [sys.executable, EXAMPLES / "mnist.py", *map(str, arguments)],
        capture_output=True, text=True, timeout=240, env=environment, check=False,
    )  # fmt: skip


@pytest.mark.slow
def test_it_breeds_and_prints_the_path_to_the_best_weights(small_file, tmp_path):
    arguments = (
        "--data", small_file, "--epochs", 2, "--population", 5, "--workers", 2,
        "--store", f"sqlite:///{tmp_path}/mnist.db",
    )  # fmt: skip
    first = run(*arguments)
    assert first.returncode == 0, first.stderr
    path = next(line for line in first.stdout.splitlines() if line.startswith("weights: "))
    assert Path(path.removeprefix("weights: ")).is_file()

    again = run(*arguments)
    assert path in again.stdout  # a finished study is told again, not trained again


def test_without_images_the_error_says_what_to_give(tmp_path):
    done = run("--data", tmp_path / "nowhere.npz", "--store", f"sqlite:///{tmp_path}/mnist.db")
    assert done.returncode == 2
    assert "cannot load MNIST: [Errno 2]" in done.stderr
    assert "train_images" in done.stderr
    assert not (tmp_path / "mnist.db").exists()
