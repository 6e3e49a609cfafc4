"""MNIST: breed the learning rate and momentum of a small convolutional network.

    python examples/mnist.py [--data mnist.npz] [--workers 2] [--control] [--figure mnist.svg]

Fifteen members train at once and are compared after every half epoch: the worst three take the
weights of one of the best three, then try hyperparameters near theirs. What comes out is a network
and the schedule that made it. Interrupt it and start it again: it goes on where it was. With
`--control` a random search follows: the same first members, seed and compute, but nobody copies.

The images come from `--data` (or the variable EVOLVENT_DATA), an .npz file with `train_images`,
`train_labels`, `test_images` and `test_labels`; without one, from OpenML, over the network, once.
"""

from __future__ import annotations

import argparse
import os
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

import evolvent as ev

BATCH = 64


class ConvNet(nn.Module):
    """Two 5x5 convolutions of 10 and 20 channels, 50 hidden units, dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 10, 5)
        self.conv2 = nn.Conv2d(10, 20, 5)
        self.dropout2d = nn.Dropout2d()
        self.hidden = nn.Linear(320, 50)
        self.output = nn.Linear(50, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = functional.relu(functional.max_pool2d(self.conv1(images), 2))
        x = functional.relu(functional.max_pool2d(self.dropout2d(self.conv2(x)), 2))
        x = functional.relu(self.hidden(x.flatten(1)))
        return self.output(functional.dropout(x, training=self.training))


class Mnist(ev.Trainable):
    """One member: a network and its optimizer, alive in a worker from round to round."""

    def setup(self, hyperparameters, context):
        ev.torch.seed(context.seed)
        self.device = context.device or "cpu"
        self.model = ConvNet().to(self.device)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=hyperparameters["lr"])

    def apply(self, hyperparameters):
        # called after every load: the loaded optimizer still has the values of the donor
        ev.torch.apply(self.optimizer, hyperparameters, ("lr", "momentum"))

    def train(self):
        ev.torch.seed(self.job.seed)  # which images, in which order; dropout
        images, labels = load_part("train")
        self.model.train()
        half = torch.randperm(len(labels))[: len(labels) // 2]
        for step, batch in enumerate(half.split(BATCH)):
            logits = self.model(images[batch].to(self.device))
            loss = functional.cross_entropy(logits, labels[batch].to(self.device))
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            if step % 20 == 0:
                self.job.log(step=step, train_loss=loss)
        return {"accuracy": accuracy(self.model, "validation", self.device)}

    def save(self, directory):
        ev.torch.save(directory, model=self.model, optimizer=self.optimizer)

    def load(self, directory):
        ev.torch.load(directory, model=self.model, optimizer=self.optimizer)


@torch.no_grad()
def accuracy(model: ConvNet, part: str, device: str = "cpu") -> float:
    model.eval()
    images, labels = load_part(part)
    right = sum(
        (model(some.to(device)).argmax(1).cpu() == theirs).sum().item()
        for some, theirs in zip(images.split(1000), labels.split(1000), strict=True)
    )
    return right / len(labels)


@cache
def load_part(part: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return images [n, 1, 28, 28] and labels [n]; a sixth of the training images validate."""
    path = os.environ.get("EVOLVENT_DATA")
    images, labels = read_file(path, part) if path else read_openml(part)
    scaled = torch.tensor(images, dtype=torch.float32).reshape(-1, 1, 28, 28) / 255
    return (scaled - 0.1307) / 0.3081, torch.tensor(labels, dtype=torch.long)


def read_file(path: str, part: str) -> tuple[np.ndarray, np.ndarray]:
    with np.load(path) as file:
        source = "test" if part == "test" else "train"
        images, labels = file[f"{source}_images"], file[f"{source}_labels"]
    return pick(part, images, labels)


def read_openml(part: str) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import fetch_openml  # noqa: PLC0415 - not needed with a file

    images, labels = fetch_openml("mnist_784", version=1, return_X_y=True, as_frame=False)
    train = slice(60_000, None) if part == "test" else slice(60_000)
    return pick(part, images[train], labels[train].astype(int))


def pick(part: str, images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    cut = len(labels) * 5 // 6
    chosen = {"train": slice(cut), "validation": slice(cut, None), "test": slice(None)}[part]
    return images[chosen], labels[chosen]


def check_data(parser: argparse.ArgumentParser) -> None:
    """Read the images once before any worker starts, so that an error comes early and plain."""
    try:
        load_part("train")
    except (OSError, KeyError, ImportError) as e:
        parser.error(
            f"cannot load MNIST: {e}\nGive a file with --data (an .npz with train_images, "
            "train_labels, test_images, test_labels), or let scikit-learn fetch it from OpenML."
        )


def main() -> None:
    """Breed, then print the best network, its path, and its schedule."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="an .npz file; default: EVOLVENT_DATA, OpenML")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--population", type=int, default=15)
    parser.add_argument("--workers", type=int, help="processes; default: one for every core")
    parser.add_argument("--devices", nargs="*", help="such as cuda:0 cuda:1")
    parser.add_argument("--store", default="sqlite:///mnist.db")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--control", action="store_true", help="then a random search, to compare")
    parser.add_argument("--figure", metavar="FILE", help="draw it: .png, .svg, .pdf or .html")
    arguments = parser.parse_args()
    if arguments.data:
        os.environ["EVOLVENT_DATA"] = str(arguments.data.resolve())  # workers inherit it
    check_data(parser)

    study = ev.create_study(
        "mnist",
        metric="accuracy",
        mode="max",
        space={"lr": ev.LogUniform(1e-5, 1.0), "momentum": ev.Uniform(0.1, 0.9999)},
        population=arguments.population,
        rounds=2 * arguments.epochs,  # of half an epoch
        seed=arguments.seed,
        algorithm=ev.PBT(exploit=ev.Truncation(0.2), explore=ev.Perturb()),
        store=arguments.store,
        resume=True,
    )
    options = {"workers": arguments.workers, "devices": arguments.devices}
    arms = [study.run(Mnist, **options)]
    if arguments.control and not arms[0].interrupted:
        arms.append(study.control().run(Mnist, **options))
    for arm in arms:
        show(arm)
    if arguments.figure:
        ev.plot("scores", *arms, file=arguments.figure)


def show(result: ev.Result) -> None:
    # members were chosen by validation images, so these say nothing any more: test on others
    best, model = result.best, ConvNet()
    ev.torch.load(best.checkpoint, model=model)
    print(f"\n{result.name}, best: member {best.member} in round {best.round}")
    print(f"accuracy: validation {best.value:.4f}, test {accuracy(model, 'test'):.4f}")
    print(f"weights: {best.checkpoint / 'model.pt'}\n")
    print(best.schedule)


if __name__ == "__main__":
    main()
