"""The check of what stays alive: objects whose values change, that train in turns, and globals."""

from __future__ import annotations

import json

import numpy as np
import pytest

import evolvent as ev
from evolvent.testing.check import check_trainable
from evolvent.testing.check_report import Verdict
from tests.testing.test_check import SETS, SPACE, OnlySetsUp, Sound, failed

PBT = ev.PBT()
WEIGHTS: dict[str, np.ndarray] = {}
NOISE = np.random.default_rng(0)


class Model:
    """As PyTorch's are: a global that has weights."""

    def __init__(self) -> None:
        self.weights = np.ones(3)

    def load_state_dict(self, state: np.ndarray) -> None:
        self.weights = state.copy()


MODEL, TEACHER = Model(), Model()


class InTwoWays(OnlySetsUp):
    """Takes both hyperparameters in `setup`, and none of them in a live object."""

    def apply(self, hyperparameters):
        if not self.settings:
            self.settings = dict(hyperparameters)


def test_what_only_setup_reads_is_no_fault_where_a_study_sets_an_object_up_anew_for_it():
    report = check_trainable(OnlySetsUp, SPACE, algorithm=PBT)
    assert report.ok
    assert report["lr"].verdict is Verdict.OK
    assert "set up anew for another lr, which apply() does not read" in report["changes alive"].seen
    assert report["moves"].verdict is Verdict.OK


def test_where_nothing_but_setup_reads_there_is_nothing_to_compare():
    class AppliesNothing(OnlySetsUp):
        def apply(self, hyperparameters):
            pass

    report = check_trainable(AppliesNothing, SPACE, algorithm=PBT)
    assert report.ok
    assert report["changes alive"].verdict is Verdict.NOTE
    assert "nothing to compare: an object is set up anew" in report["changes alive"].seen


def test_the_hyperparameter_that_a_live_object_does_not_take_is_named():
    report = check_trainable(OnlySetsUp, SETS)
    assert report["changes alive"].seen.endswith("; because of lr")
    report = check_trainable(InTwoWays, SETS)
    assert report["changes alive"].seen.endswith("; because of lr, momentum")


class SharesAnArray(Sound):
    """`setup` begins the weights anew, but they are the same array for all objects."""

    theta = np.zeros(3)

    def setup(self, hyperparameters, context):
        fresh = np.random.default_rng(context.seed).normal(size=3)
        self.velocity, self.settings = np.zeros(3), {}
        self.theta[:] = fresh

    def train(self):
        rng = np.random.default_rng(self.job.seed)
        for _ in range(3):
            gradient = self.theta + 0.1 * rng.normal(size=3)
            self.velocity = self.settings["momentum"] * self.velocity + gradient
            self.theta[:] -= self.settings["lr"] * self.velocity
        return {"loss": float(self.theta @ self.theta)}

    def load(self, directory):
        state = json.loads((directory / "state.json").read_text())
        self.theta[:], self.velocity = state["theta"], np.array(state["velocity"])


def test_two_objects_that_disturb_each_other_are_told_of():
    report = check_trainable(SharesAnArray, SPACE, algorithm=PBT)
    assert report.ok
    assert report["moves"].verdict is Verdict.OK
    assert report["in turns"].verdict is Verdict.NOTE
    assert "no fault as long as keep_alive is 1" in report["in turns"].advice
    assert check_trainable(Sound, SPACE, algorithm=PBT)["in turns"].verdict is Verdict.OK


def keeps_its_weights(job: ev.Job):
    """Goes on from what is in the global, whatever it is given."""
    weights = WEIGHTS.setdefault("w", np.ones(3))
    weights -= 0.01 * job.hyperparameters["lr"] * weights
    np.save(job.directory / "w.npy", weights)
    return {"loss": float(weights @ weights)}


def draws_from_a_global(job: ev.Job):
    weights = np.ones(3) if job.checkpoint is None else np.load(job.checkpoint / "w.npy")
    weights = weights - job.hyperparameters["lr"] * NOISE.normal(size=3)
    np.save(job.directory / "w.npy", weights)
    return {"loss": float(weights @ weights)}


@pytest.mark.parametrize(
    ("train", "name"),
    [(keeps_its_weights, "'WEIGHTS' (dict)"), (draws_from_a_global, "'NOISE' (Generator)")],
)
def test_where_rounds_do_not_repeat_the_global_that_training_changes_is_named(train, name):
    report = check_trainable(train, {"lr": SPACE["lr"]})
    assert failed(report) == ["repeats"]
    assert f"training changes the global {name}" in report["repeats"].seen
    assert "make all that training changes anew in every round" in report["repeats"].advice


def loads_a_global(job: ev.Job):
    """Puts back all of a model that is a global; another one it leaves as it is."""
    start = np.ones(3) if job.checkpoint is None else np.load(job.checkpoint / "w.npy")
    MODEL.load_state_dict(start)
    lr = job.hyperparameters["lr"]
    MODEL.weights -= lr * (MODEL.weights - 0.1 * TEACHER.weights)
    np.save(job.directory / "w.npy", MODEL.weights)
    return {"loss": float(MODEL.weights @ MODEL.weights)}


def test_a_model_in_a_global_is_told_of_if_training_changes_it():
    report = check_trainable(loads_a_global, {"lr": SPACE["lr"]})
    assert report.ok
    assert report["globals"].verdict is Verdict.NOTE
    assert "training changes the global 'MODEL' (Model), one" in report["globals"].seen
