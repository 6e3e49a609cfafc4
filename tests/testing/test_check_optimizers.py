"""The check reads the optimizers at work, where metrics and weights tell nothing."""

from __future__ import annotations

import json
import pickle
from types import SimpleNamespace

import numpy as np
import pytest

import evolvent as ev
from evolvent.testing.check import check_trainable
from evolvent.testing.check_report import Verdict

SPACE = {"lr": ev.LogUniform(1e-3, 0.1)}


def torch_round(job: ev.Job, *, decay: float = 1.0, groups: int = 1, applied: int = 1):
    """Take three steps without a gradient; apply to so many groups after the load."""
    torch = pytest.importorskip("torch")
    lr = job.hyperparameters["lr"]
    weights = [torch.zeros(2, requires_grad=True) for _ in range(groups)]
    optimizer = torch.optim.SGD([{"params": [w]} for w in weights], lr=lr)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: decay**step)
    if job.checkpoint is not None:
        ev.torch.load(job.checkpoint, optimizer=optimizer, scheduler=scheduler)
    for group in optimizer.param_groups[:applied]:
        group["lr"] = lr
    for _ in range(3):
        for weight in weights:
            weight.grad = torch.zeros(2)
        optimizer.step()
        if decay != 1.0:
            scheduler.step()
    ev.torch.save(job.directory, optimizer=optimizer, scheduler=scheduler)
    return {"accuracy": 1.0}


def warmed_up(job: ev.Job):
    """What shows in the rate, and only in round 0, is another hyperparameter's doing."""
    job.hyperparameters = {"lr": 0.5 * job.hyperparameters["warmup"] if job.round == 0 else 0.01}
    return torch_round(job)


@pytest.mark.parametrize(
    ("trainable", "seen"),
    [
        (lambda job: torch_round(job, decay=0.9), "a scheduler brought it back"),
        (
            lambda job: torch_round(job, groups=2),
            "the optimizer has the lr of before in param_groups[1], what was loaded",
        ),
    ],
)
def test_what_pytorch_has_at_its_steps_is_seen(trainable, seen) -> None:
    report = check_trainable(trainable, SPACE, metric="accuracy", only=["lr"])
    assert [proof.name for proof in report.failed] == ["lr"]
    assert seen in report["lr"].seen


def rate_of_its_own(job: ev.Job):
    """Train a second group at a constant rate."""
    torch = pytest.importorskip("torch")
    weights = [torch.ones(2, requires_grad=True) for _ in range(2)]
    own = {"params": weights[1:], "lr": 0.25}
    optimizer = torch.optim.SGD([{"params": weights[:1]}, own], lr=job.hyperparameters["lr"])
    return steps(job, optimizer, weights)


def unseeded(job: ev.Job):
    """Train to another end each time, at the rate that is given."""
    torch = pytest.importorskip("torch")
    weights = [torch.rand(2, requires_grad=True)]
    optimizer = torch.optim.SGD(weights, lr=job.hyperparameters["lr"])
    return steps(job, optimizer, weights)


def steps(job: ev.Job, optimizer, weights):
    for weight in weights:
        weight.grad = weight.detach().clone()
    optimizer.step()
    ev.torch.save(job.directory, optimizer=optimizer)
    return {"loss": sum(float(weight.detach().sum()) for weight in weights)}


def test_a_group_with_a_value_of_its_own_is_told_of() -> None:
    report = check_trainable(rate_of_its_own, SPACE, metric="loss", only=["lr"])
    assert report["lr"].verdict is Verdict.NOTE
    seen = "but the optimizer has lr 0.25 in param_groups[1] whatever is given"
    assert seen in report["lr"].seen


def test_where_rounds_do_not_repeat_no_metrics_are_told_as_proof() -> None:
    report = check_trainable(unseeded, SPACE, metric="loss")
    assert [proof.name for proof in report.failed] == ["repeats"]
    assert report["lr"].seen.endswith(": the optimizer has it, in round 0 and after a load")


def test_another_effect_on_the_rate_is_not_taken_for_an_old_value() -> None:
    report = check_trainable(warmed_up, {"warmup": SPACE["lr"]}, metric="accuracy", only=["warmup"])
    assert "the optimizer has" not in report["warmup"].seen


def test_groups_that_all_take_the_new_value_pass() -> None:
    report = check_trainable(
        lambda job: torch_round(job, groups=2, applied=2), SPACE, metric="accuracy"
    )
    assert report["lr"].verdict is Verdict.OK


@pytest.mark.parametrize(
    ("budget", "verdicts"),
    [
        (1.5, {"contract": "ok", "repeats": "skip", "goes on": "skip", "lr": "skip"}),
        (4.5, {"contract": "ok", "repeats": "skip", "goes on": "skip", "lr": "FAIL"}),
        (7.5, {"contract": "ok", "repeats": "skip", "goes on": "skip", "lr": "FAIL"}),
        (9.5, {"contract": "ok", "repeats": "ok", "goes on": "note", "lr": "skip"}),
        (20.0, {"contract": "ok", "repeats": "ok", "goes on": "note", "lr": "FAIL"}),
    ],
)
def test_the_most_useful_proofs_are_tried_within_a_budget(monkeypatch, budget, verdicts) -> None:
    pytest.importorskip("torch")
    rounds = []
    clock = SimpleNamespace(monotonic=lambda: float(len(rounds)))  # a round takes a second
    monkeypatch.setattr("evolvent.testing.check_lab.time", clock)

    def timed(job: ev.Job):
        rounds.append(job.id)
        return torch_round(job, applied=0)

    report = check_trainable(timed, SPACE, metric="accuracy", max_seconds=budget, only=[*verdicts])
    assert {proof.name: proof.verdict for proof in report.proofs} == verdicts
    assert len(rounds) <= budget
    if report["lr"].verdict is Verdict.SKIPPED:
        assert report["lr"].seen.endswith("; in round 0 the optimizer had lr 0.007059, as given")
        assert "in round 0" not in report["goes on"].seen


def optax_round(job: ev.Job, *, applies: bool):
    """Train in a helper of its own; `fresh` stays among the variables to the end."""
    jnp, optax = pytest.importorskip("jax.numpy"), pytest.importorskip("optax")
    lr = job.hyperparameters["lr"]
    weights, optimizer = jnp.zeros(2), optax.inject_hyperparams(optax.sgd)(learning_rate=lr)
    fresh = state = optimizer.init(weights)
    if job.checkpoint is not None:
        state = pickle.loads((job.checkpoint / "state").read_bytes())
    if applies:
        state.hyperparams["learning_rate"] = jnp.asarray(lr)
    _, state = optimizer.update(jnp.zeros_like(weights), state)
    assert fresh.count == 0
    (job.directory / "state").write_bytes(pickle.dumps(state))
    return {"accuracy": 1.0}


def with_optax(job: ev.Job):
    return optax_round(job, applies=True)


def with_optax_not_applied(job: ev.Job):
    return optax_round(job, applies=False)


def keras_round(job: ev.Job, *, applies: bool):
    keras = pytest.importorskip("keras")
    path, lr = "model.keras", job.hyperparameters["lr"]
    if job.checkpoint is None:
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        model.compile(keras.optimizers.SGD(lr), loss="mse")
    else:
        model = keras.models.load_model(job.checkpoint / path)
    if applies:
        model.optimizer.learning_rate = lr
    model.fit(np.zeros((4, 2)), np.zeros((4, 1)), sample_weight=np.zeros(4), verbose=0)
    model.save(job.directory / path)
    return {"accuracy": 1.0}


def with_keras(job: ev.Job):
    return keras_round(job, applies=True)


def with_keras_not_applied(job: ev.Job):
    return keras_round(job, applies=False)


@pytest.mark.parametrize("library", ["optax", "keras"])
def test_the_optimizer_that_a_function_has_in_its_variables_is_read(library: str) -> None:
    pytest.importorskip(library)
    obeys, ignores = {
        "optax": (with_optax, with_optax_not_applied),
        "keras": (with_keras, with_keras_not_applied),
    }[library]
    report = check_trainable(obeys, SPACE, metric="accuracy", only=["lr"])
    assert report["lr"].verdict is Verdict.OK
    report = check_trainable(ignores, SPACE, metric="accuracy", only=["lr"])
    assert "the optimizer has the lr of before" in report["lr"].seen


def clipped(job: ev.Job, *, loads: bool = True):
    """The weights are at their limit after the first round."""
    weights = [0.0, 0.0]
    if loads and job.checkpoint is not None:
        weights = json.loads((job.checkpoint / "w").read_text())
    high = 1.0 if loads else 1000.0
    weights = [min(high, w + 1000 * job.hyperparameters["lr"]) for w in weights]
    (job.directory / "w").write_text(json.dumps(weights))
    return {"accuracy": 1.0}


def test_weights_at_their_limit_are_not_said_to_come_from_nothing() -> None:
    report = check_trainable(clipped, SPACE, metric="accuracy", only=["goes on"])
    assert report.ok
    assert report["goes on"].seen.endswith("nothing moves in a round, so nothing can be seen")
    report = check_trainable(lambda job: clipped(job, loads=False), SPACE, only=["goes on"])
    assert not report.ok
