"""Keras at work, in a process of its own because it takes one backend for good.

    python keras_fit.py BACKEND

Prints one line of JSON last: final weights by what was done.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from typing import Any

os.environ["KERAS_BACKEND"] = sys.argv[1]
warnings.simplefilter("ignore")

import keras  # noqa: E402 - reads the environment
import numpy as np  # noqa: E402

from evolvent.analysis.schedule.schedule import Schedule  # noqa: E402
from evolvent.errors import ConfigError  # noqa: E402
from evolvent.integrations import keras as ev_keras  # noqa: E402

EPOCHS, BATCH, EXAMPLES = 5, 4, 8
X = np.arange(24, dtype="float32").reshape(EXAMPLES, 3) / 24
Y = np.ones((EXAMPLES, 1), "float32")
PIECES = [
    (2, {"lr": 0.1, "momentum": 0.9, "note": "a"}),
    (1, {"lr": 0.02, "momentum": 0.5, "note": "b"}),
    (2, {"lr": 0.3, "momentum": 0.1, "note": "c"}),
]


def model(optimizer: Any = None, **fixed: Any) -> Any:
    made = keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(1, kernel_initializer="ones", use_bias=False)]
    )
    made.compile(
        optimizer or keras.optimizers.SGD(learning_rate=1.0, momentum=0.9), loss="mse", **fixed
    )
    return made


def fit(trained: Any, callback: Any, *, first: int = 0, last: int = EPOCHS) -> list[float]:
    trained.fit(
        X, Y, batch_size=BATCH, initial_epoch=first, epochs=last, shuffle=False, verbose=0,
        callbacks=[callback],
    )  # fmt: skip
    return weights(trained)


def in_parts(schedule: Schedule) -> list[float]:
    trained = model()
    for epoch in range(EPOCHS):
        fit(trained, ev_keras.schedule(schedule), first=epoch, last=epoch + 1)
    return weights(trained)


def by_hand(schedule: Schedule) -> list[float]:
    trained, step = model(run_eagerly=True), 0
    for epoch in range(EPOCHS):
        for begin in range(0, EXAMPLES, BATCH):
            time = epoch if schedule.unit == "rounds" else min(step, schedule.total - 1)
            trained.optimizer.learning_rate = schedule.at(time)["lr"]
            trained.optimizer.momentum = schedule.at(time)["momentum"]
            trained.train_on_batch(X[begin : begin + BATCH], Y[begin : begin + BATCH])
            step += 1
    return weights(trained)


def weights(trained: Any) -> list[float]:
    return [float(x) for x in trained.get_weights()[0].ravel()]


def complaint(names: Any = None, optimizer: Any = None, pieces: Any = PIECES) -> str:
    try:
        fit(model(optimizer), ev_keras.schedule(Schedule.piecewise(pieces), names))
    except ConfigError as e:
        return str(e)
    return "none"


def main() -> None:
    epochs, batches = Schedule.piecewise(PIECES), Schedule.piecewise(PIECES, unit="steps")
    renamed = {"lr": "learning_rate", "momentum": "beta_1"}
    adam = model(keras.optimizers.Adam(1.0))
    fit(adam, ev_keras.schedule(epochs, renamed))
    decay = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9)
    said = {
        "epochs": [fit(model(), ev_keras.schedule(epochs)), by_hand(epochs), in_parts(epochs)],
        "batches": [fit(model(), ev_keras.schedule(batches)), by_hand(batches), in_parts(batches)],
        "adam": [float(adam.optimizer.learning_rate.value), adam.optimizer.beta_1],
        "complaints": {
            "unknown name": complaint(("rate",)),
            "unknown setting": complaint({"lr": "rate"}),
            "no setting": complaint(pieces=[(1, {"batch": 8})]),
            "a string": complaint("lr"),
            "a schedule of its own": complaint(optimizer=keras.optimizers.SGD(decay, momentum=0.9)),
            "no momentum": complaint(optimizer=keras.optimizers.SGD(0.1)),
        },
    }
    print(json.dumps(said))  # noqa: T201 - read by the test


if __name__ == "__main__":
    main()
