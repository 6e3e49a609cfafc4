"""The network of the demo: it learns, and `evolvent check` finds nothing wrong with it."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")

from evolvent.demo.digits import load_images
from evolvent.demo.run import SPACE, TRAINABLE
from evolvent.testing.check import check_trainable


def test_images_are_split_without_overlap_and_scaled():
    parts = load_images()
    assert [len(labels) for _, labels in parts] == [1000, 397, 400]
    images = {image.numpy().tobytes() for pixels, _ in parts for image in pixels}
    assert len(images) == 1797
    assert min(pixels.min() for pixels, _ in parts) == 0
    assert max(pixels.max() for pixels, _ in parts) == 1


@pytest.mark.slow
def test_its_training_code_is_proven_sound():
    report = check_trainable(TRAINABLE, SPACE, metric="accuracy")
    assert report.ok, str(report)
