"""Small trainings of the zoo: networks of one hidden layer in NumPy, milliseconds a step.

They report a score on validation data; the true score is that on test data, which has no say.
"""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from _zoo_tasks import Task, Trained
from evolvent import Choice, LogIntUniform, LogUniform, Ordinal, Uniform
from evolvent.core.space import Space

Array: TypeAlias = np.ndarray[Any, Any]

DATA = "EVOLVENT_DATA"
"""The variable that names an .npz file of images, as `examples/mnist.py` reads it; a text beside it
(`tinyshakespeare.txt`) is what the character model learns."""

HIDDEN = 64
CONTEXT = 5
"""Characters that the next one is told from."""


class Part(NamedTuple):
    """Examples: inputs [n, features], or places in a text [n, CONTEXT]; labels int [n]."""

    inputs: Array
    labels: Array


@dataclass(frozen=True, slots=True)
class Data:
    """What is learned from, chosen by, and measured on; classes are counted from 0."""

    train: Part
    validation: Part
    test: Part
    classes: int
    text: bool = False

    def features(self, inputs: Array) -> Array:
        """Return inputs as the network takes them: float32 [n, features]."""
        if not self.text:
            return inputs
        n, width = inputs.shape
        hot = np.zeros((n * width, self.classes), np.float32)
        hot[np.arange(n * width), inputs.ravel()] = 1.0
        return hot.reshape(n, width * self.classes)


@cache
def digits() -> Data:
    """Return the digits of scikit-learn, 8 x 8 pixels: 1000 to learn from, 397 and 400 others."""
    from sklearn.datasets import load_digits  # noqa: PLC0415 - only for who asks for them

    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    whole = Part((images[order] / 16).astype(np.float32), labels[order])
    return Data(*_split(whole, 1000, 1397), classes=10)


@cache
def mnist() -> Data:
    """Return 10,000 images at 14 x 14 pixels: 9,000 to learn from; 2,000 of the test images."""
    with np.load(os.environ[DATA]) as file:
        train, test = (
            Part(_halved(file[f"{name}_images"]), file[f"{name}_labels"].astype(np.intp))
            for name in ("train", "test")
        )
    learned, validation, _ = _split(train, 9000, 10_000)
    return Data(learned, validation, _split(test, 2000, 2000)[0], classes=10)


@cache
def characters() -> Data:
    """Return contexts and the character after each: 0.9 of a text to learn from, then 1,000 each.

    Without a text of its own it is the source of `argparse`, which every Python has.
    """
    path = Path(os.environ.get(DATA, "")).parent / "tinyshakespeare.txt"
    text = (path if path.exists() else Path(argparse.__file__)).read_text()
    alphabet = {character: i for i, character in enumerate(sorted(set(text)))}
    codes = np.array([alphabet[character] for character in text])
    windows = np.lib.stride_tricks.sliding_window_view(codes, CONTEXT + 1)
    n = len(windows)
    parts = (
        slice(0, n * 9 // 10),
        slice(n * 9 // 10, n * 95 // 100, n // 20_000 or 1),
        slice(n * 95 // 100, n, n // 20_000 or 1),
    )
    train, validation, test = (Part(windows[part, :-1], windows[part, -1]) for part in parts)
    return Data(train, validation, test, classes=len(alphabet), text=True)


def _split(whole: Part, first: int, second: int) -> tuple[Part, Part, Part]:
    cuts = (slice(0, first), slice(first, second), slice(second, None))
    train, validation, test = (Part(whole.inputs[cut], whole.labels[cut]) for cut in cuts)
    return train, validation, test


def _halved(images: Array) -> Array:
    small: Array = images.reshape(len(images), 14, 2, 14, 2).mean(axis=(2, 4)) / 255
    return small.reshape(len(images), 196).astype(np.float32)


class Network(NamedTuple):
    """A network with the memory of its optimizer.

    Attributes:
        weights: of the hidden layer and its offsets, of the output and its offsets.
        first, second: running means of gradients and of their squares.
        updates: how often the weights were changed.
    """

    weights: tuple[Array, ...]
    first: tuple[Array, ...]
    second: tuple[Array, ...]
    updates: int


@dataclass(frozen=True, slots=True)
class Training:
    """How one of the tasks trains.

    Attributes:
        load: returns the data.
        samples: examples in a step.
        optimizer, batch, dropout, momentum: used where they are no hyperparameters.
        by_loss: the score is the negative loss instead of the accuracy.
    """

    load: Any
    samples: int
    optimizer: str = "sgd"
    batch: int = 32
    dropout: float = 0.0
    momentum: float = 0.9
    by_loss: bool = False

    def start(self, seed: int) -> Network:
        """Return an untrained network."""
        data = self.load()
        rng = np.random.default_rng(seed)
        width = data.features(data.train.inputs[:1]).shape[1]
        active = CONTEXT if data.text else width
        weights = (
            rng.standard_normal((width, HIDDEN), np.float32) * np.float32(math.sqrt(2 / active)),
            np.zeros(HIDDEN, np.float32),
            rng.standard_normal((HIDDEN, data.classes), np.float32)
            * np.float32(math.sqrt(1 / HIDDEN)),
            np.zeros(data.classes, np.float32),
        )
        zeros = tuple(np.zeros_like(w) for w in weights)
        return Network(weights, zeros, tuple(np.zeros_like(w) for w in weights), 0)

    def train(self, network: Network, values: Mapping[str, Any], steps: int, seed: int) -> Trained:
        """Train on examples drawn by `seed`, then score."""
        data, rng = self.load(), np.random.default_rng(seed)
        weights = [w.copy() for w in network.weights]
        first = [m.copy() for m in network.first]
        second = [m.copy() for m in network.second]
        updates = network.updates
        update = _UPDATES[values.get("optimizer", self.optimizer)]
        momentum = values.get("momentum", self.momentum)
        dropout = values.get("dropout", self.dropout)
        with np.errstate(all="ignore"):  # a training that diverges says so by its score
            for chosen in self._batches(len(data.train.labels), values, steps, rng):
                inputs = data.features(data.train.inputs[chosen])
                labels = data.train.labels[chosen]
                gradients = _gradients(weights, inputs, labels, dropout=dropout, rng=rng)
                updates += 1
                for i, gradient in enumerate(gradients):
                    memory = first[i], second[i]
                    weights[i] -= values["lr"] * update(gradient, *memory, momentum, updates)
            trained = Network(tuple(weights), tuple(first), tuple(second), updates)
            scores = [self._score(trained, data, part) for part in (data.validation, data.test)]
        return Trained(trained, *scores)

    def _batches(
        self, n: int, values: Mapping[str, Any], steps: int, rng: np.random.Generator
    ) -> Iterator[Array]:
        batch, samples = values.get("batch", self.batch), steps * self.samples
        chosen = rng.integers(n, size=samples)
        for begin in range(0, samples, batch):
            yield chosen[begin : begin + batch]

    def _score(self, network: Network, data: Data, part: Part) -> float:
        w1, b1, w2, b2 = network.weights
        logits = np.maximum(data.features(part.inputs) @ w1 + b1, 0) @ w2 + b2
        if not np.isfinite(logits).all():
            return math.nan
        if not self.by_loss:
            return float((logits.argmax(axis=1) == part.labels).mean())
        shifted = logits - logits.max(axis=1, keepdims=True)
        of_label = shifted[np.arange(len(shifted)), part.labels]
        return float((of_label - np.log(np.exp(shifted).sum(axis=1))).mean())


def _gradients(
    weights: list[Array], inputs: Array, labels: Array, *, dropout: float, rng: np.random.Generator
) -> tuple[Array, ...]:
    """Return the gradients of the mean cross entropy, one for each array of weights."""
    w1, b1, w2, b2 = weights
    hidden = np.maximum(inputs @ w1 + b1, 0)
    alive = hidden > 0
    if dropout:
        kept = (rng.random(hidden.shape, np.float32) >= dropout) / np.float32(1 - dropout)
        hidden *= kept
        alive = alive * kept
    logits = hidden @ w2 + b2
    logits -= logits.max(axis=1, keepdims=True)
    of_logits = np.exp(logits)
    of_logits /= of_logits.sum(axis=1, keepdims=True)
    of_logits[np.arange(len(labels)), labels] -= 1
    of_logits /= len(labels)
    of_hidden = (of_logits @ w2.T) * alive
    return (
        inputs.T @ of_hidden,
        of_hidden.sum(axis=0),
        hidden.T @ of_logits,
        of_logits.sum(axis=0),
    )


def _sgd(gradient: Array, first: Array, second: Array, momentum: float, updates: int) -> Array:
    first *= momentum
    first += gradient
    return first


def _adam(gradient: Array, first: Array, second: Array, momentum: float, updates: int) -> Array:
    """Return a step of Adam, whose momentum is `momentum`; Kingma and Ba 2015, arXiv:1412.6980."""
    first *= momentum
    first += (1 - momentum) * gradient
    second *= 0.999
    second += 0.001 * gradient**2
    mean = first / (1 - momentum**updates)
    return mean / (np.sqrt(second / (1 - 0.999**updates)) + 1e-8)


def _rmsprop(gradient: Array, first: Array, second: Array, momentum: float, updates: int) -> Array:
    second *= 0.9
    second += 0.1 * gradient**2
    return gradient / (np.sqrt(second) + 1e-8)


_UPDATES = {"sgd": _sgd, "adam": _adam, "rmsprop": _rmsprop}


def _task(name: str, training: Training, space: Mapping[str, Any]) -> Task:
    return Task(
        name=name,
        family=name,
        space=Space.of(space),
        start=training.start,
        train=training.train,
        steps=40,
        intervals=(1, 2, 4),
        populations=(4, 8),
    )


TRAININGS: Mapping[str, Task] = {
    task.name: task
    for task in (
        _task(
            "digits",
            Training(digits, samples=120),
            {"lr": LogUniform(1e-4, 1.0), "momentum": Uniform(0.0, 0.99)},
        ),
        _task(
            "digits-optimizer",
            Training(digits, samples=120),
            {
                "optimizer": Choice(("sgd", "adam", "rmsprop")),
                "lr": LogUniform(1e-4, 1.0),
                "batch": Ordinal((8, 16, 32, 64, 128)),
            },
        ),
        _task(
            "mnist",
            Training(mnist, samples=1024, optimizer="adam"),
            {
                "lr": LogUniform(1e-5, 0.1),
                "batch": LogIntUniform(16, 256),
                "dropout": Uniform(0.0, 0.8),
            },
        ),
        _task(
            "characters",
            Training(characters, samples=1024, optimizer="adam", batch=64, by_loss=True),
            {"lr": LogUniform(1e-5, 0.3), "momentum": Uniform(0.0, 0.99)},
        ),
    )
}


def missing_data(name: str) -> str | None:
    """Return why a task cannot be run here, None where it can."""
    data = os.environ.get(DATA, "")
    if name == "mnist" and not Path(data).is_file():
        there = f"no file {data}; " if data else ""
        return f"mnist needs images: {there}wanted --data mnist.npz, or {DATA}"
    return None
