"""optax follows a schedule on the device, compiled or not."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from evolvent.analysis.schedule.schedule import Schedule
from evolvent.errors import ConfigError, MissingExtra
from tests.needs import needs

optax = needs("optax")

import jax  # noqa: E402 - comes with optax
import jax.numpy as jnp  # noqa: E402 - comes with optax

from evolvent.integrations import optax as ev_optax  # noqa: E402 - needs optax

SCHEDULE = Schedule.piecewise(
    [(2, {"lr": 0.5, "opt": {"momentum": 0.75}, "k": 1}),
     (3, {"lr": 0.25, "opt": {"momentum": 0.5}, "k": 2}),
     (1, {"lr": 0.125, "opt": {"momentum": 0.25}, "k": 4})],
    unit="steps",
)  # fmt: skip


def gradient(weights: Any) -> Any:
    return jax.grad(lambda w: jnp.sum(w**2))(weights)


def trained(optimizer: Any, steps: int) -> Any:
    @jax.jit
    def step(weights: Any, state: Any) -> Any:
        updates, state = optimizer.update(gradient(weights), state, weights)
        return optax.apply_updates(weights, updates), state

    weights = jnp.array([1.0, -2.0])
    state = optimizer.init(weights)
    for _ in range(steps):
        weights, state = step(weights, state)
    return weights.tolist(), state


def by_hand(steps: int, *, momentum: bool) -> list[float]:
    weights, velocity = [1.0, -2.0], [0.0, 0.0]
    for t in range(steps):
        values = SCHEDULE.at(min(t, 5))
        decay = values["opt"]["momentum"] if momentum else 0.0
        velocity = [2 * w + decay * v for w, v in zip(weights, velocity, strict=True)]
        weights = [w - values["lr"] * v for w, v in zip(weights, velocity, strict=True)]
    return weights


@pytest.mark.parametrize("function", [lambda f: f, jax.jit])
def test_each_step_has_the_value_of_its_segment_and_the_last_one_stays(function: Any):
    lr = function(ev_optax.schedule(SCHEDULE, "lr"))
    assert [float(lr(t)) for t in range(8)] == [0.5, 0.5, *[0.25] * 3, *[0.125] * 3]


def test_it_takes_many_counts_at_once():
    lr = jax.jit(ev_optax.schedule(SCHEDULE, "lr"))
    assert lr(jnp.array([0, 2, 5])).tolist() == [0.5, 0.25, 0.125]


def test_the_learning_rate_of_a_compiled_optimizer():
    weights, _ = trained(optax.sgd(ev_optax.schedule(SCHEDULE, "lr")), 7)
    assert weights == pytest.approx(by_hand(7, momentum=False), rel=1e-6)


def test_several_hyperparameters_of_a_compiled_optimizer():
    optimizer = optax.inject_hyperparams(optax.sgd)(
        learning_rate=ev_optax.schedule(SCHEDULE, "lr"),
        momentum=ev_optax.schedule(SCHEDULE, "opt.momentum"),
    )
    weights, state = trained(optimizer, 4)
    assert weights == pytest.approx(by_hand(4, momentum=True), rel=1e-6)
    assert float(state.hyperparams["momentum"]) == 0.5


def test_whole_numbers_stay_whole():
    k = ev_optax.schedule(SCHEDULE, "k")
    assert jnp.issubdtype(k(0).dtype, jnp.integer)
    assert [int(k(t)) for t in (0, 2, 5)] == [1, 2, 4]


def test_more_steps_than_the_device_counts():
    long = SCHEDULE.rescaled(10**10)
    lr = ev_optax.schedule(long, "lr")
    assert float(lr(2**31 - 2)) == 0.5
    assert (
        float(ev_optax.schedule(Schedule.piecewise([(1, {"n": 2**40})], unit="steps"), "n")(0))
        == 2.0**40
    )


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("rate", r"segment 0 \(steps 0-1\): no hyperparameter 'rate', there are lr, opt\.momentum"),
        ("opt", "no hyperparameter 'opt'"),
    ],
)
def test_an_unknown_hyperparameter_is_named(name: str, complaint: str):
    with pytest.raises(ConfigError, match=complaint):
        ev_optax.schedule(SCHEDULE, name)


@pytest.mark.parametrize("value", ["adam", True, None])
def test_what_is_no_number_is_refused(value: Any):
    mixed = Schedule.piecewise([(2, {"x": 1.0}), (2, {"x": value})], unit="steps")
    with pytest.raises(ConfigError, match=f"x: got {value!r} in steps 2-3, wanted a number"):
        ev_optax.schedule(mixed, "x")


def test_rounds_are_refused_because_optax_counts_steps():
    with pytest.raises(ConfigError, match=r"schedule\.in_steps\(steps_per_round\)"):
        ev_optax.schedule(Schedule.piecewise([(2, {"lr": 0.1})]), "lr")


def test_without_optax_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "optax", None)
    monkeypatch.delitem(sys.modules, "evolvent.integrations.optax")
    with pytest.raises(MissingExtra, match=r"pip install 'evolvent\[optax\]'"):
        __import__("evolvent.integrations.optax")
