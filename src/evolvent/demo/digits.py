"""A small convolutional network that learns to read handwritten digits: 8x8 pixels, 1797 images.

Written as a user would write it; it needs PyTorch and scikit-learn, which brings the images.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from evolvent.engines.job import Context
from evolvent.engines.trainable import Trainable
from evolvent.errors import MissingExtra
from evolvent.integrations import torch as ev_torch

try:
    import torch
    from sklearn.datasets import load_digits
    from torch import Tensor, nn
except ImportError as e:
    raise MissingExtra(
        "the demo needs PyTorch and scikit-learn: pip install 'evolvent[demo]'"
    ) from e

BATCH = 50
STEPS = 20
"""Gradient steps in one round: one epoch of the 1000 training images."""


class Digits(Trainable):
    """Trains one epoch a round, by gradient descent with momentum; dropout against overfitting."""

    def setup(self, hyperparameters: Mapping[str, Any], context: Context) -> None:
        ev_torch.seed(context.seed)
        self.model = ConvNet().to(context.device)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=hyperparameters["lr"])
        self.data = load_images().to(context.device)

    def apply(self, hyperparameters: Mapping[str, Any]) -> None:
        ev_torch.apply(self.optimizer, hyperparameters, ("lr", "momentum"))
        self.model.dropout.p = hyperparameters["dropout"]

    def train(self) -> dict[str, float]:
        ev_torch.seed(self.job.seed)  # order of the images, dropout: so no generator is saved
        self.model.train()
        images, labels = self.data.train
        order = torch.randperm(len(labels))
        for step in range(STEPS):
            batch = order[step * BATCH : (step + 1) * BATCH]
            loss = nn.functional.cross_entropy(self.model(images[batch]), labels[batch])
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # PyTorch has not typed it
            self.optimizer.step()
            self.job.heartbeat()
        accuracy, validation_loss = self._evaluate(*self.data.validation)
        test_accuracy, _ = self._evaluate(*self.data.test)
        return {"accuracy": accuracy, "loss": validation_loss, "test_accuracy": test_accuracy}

    def save(self, directory: Path) -> None:
        ev_torch.save(directory, model=self.model, optimizer=self.optimizer)

    def load(self, directory: Path) -> None:
        ev_torch.load(directory, model=self.model, optimizer=self.optimizer)

    @torch.no_grad()
    def _evaluate(self, images: Tensor, labels: Tensor) -> tuple[float, float]:
        self.model.eval()
        logits = self.model(images)
        accuracy = (logits.argmax(1) == labels).double().mean().item()
        return accuracy, nn.functional.cross_entropy(logits, labels).item()


class ConvNet(nn.Module):
    """Two 3x3 convolutions of 16 and 32 channels, 64 hidden units, 25,000 weights."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        )  # fmt: skip
        self.hidden = nn.Linear(128, 64)
        self.dropout = nn.Dropout(0.0)
        self.output = nn.Linear(64, 10)

    def forward(self, images: Tensor) -> Tensor:
        hidden = nn.functional.relu(self.hidden(self.features(images)))
        output: Tensor = self.output(self.dropout(hidden))
        return output


class Images(NamedTuple):
    """Pairs of images [n, 1, 8, 8] in 0 to 1, and labels [n]."""

    train: tuple[Tensor, Tensor]
    validation: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]

    def to(self, device: str | None) -> Images:
        return Images(*((images.to(device), labels.to(device)) for images, labels in self))


@cache
def load_images() -> Images:
    """Return 1000 images to train on, 397 to breed by, 400 to tell how good the best really is."""
    pixels, digits = load_digits(return_X_y=True)
    images = torch.tensor(pixels, dtype=torch.float32).reshape(-1, 1, 8, 8) / 16
    labels = torch.tensor(digits)
    # the 1797 are ordered by writer: shuffle, the same way always
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    parts = (order[:1000], order[1000:1397], order[1397:])
    return Images(*((images[part], labels[part]) for part in parts))
