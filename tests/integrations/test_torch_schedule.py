"""A schedule drives a real optimizer as a loop written by hand does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from evolvent.analysis.schedule.schedule import Schedule
from evolvent.errors import ConfigError
from tests.needs import needs

torch = needs("torch")

from evolvent.integrations import torch as ev_torch  # noqa: E402 - needs PyTorch

STEPS = 6
RATES = [0.1, 0.1, 0.02, 0.02, 0.02, 0.5]
SCHEDULE = Schedule.piecewise(
    [(2, {"lr": 0.1, "momentum": 0.9}), (3, {"lr": 0.02, "momentum": 0.5}),
     (1, {"lr": 0.5, "momentum": 0.1})],
    unit="steps",
)  # fmt: skip


def model_and(make: Any, **settings: Any) -> Any:
    torch.manual_seed(1)
    model = torch.nn.Linear(3, 2)
    return model, make(model.parameters(), **settings)


def train(model: Any, optimizer: Any) -> None:
    optimizer.zero_grad()
    model(torch.ones(4, 3)).square().sum().backward()
    optimizer.step()


def weights(model: Any) -> list[float]:
    return [float(x) for p in model.parameters() for x in p.detach().flatten()]


def test_training_under_it_is_training_by_hand():
    by_hand, its = model_and(torch.optim.SGD, lr=1.0, momentum=0.9)
    for t in range(STEPS):
        for group in its.param_groups:
            group["lr"], group["momentum"] = SCHEDULE.at(t)["lr"], SCHEDULE.at(t)["momentum"]
        train(by_hand, its)

    model, optimizer = model_and(torch.optim.SGD, lr=1.0, momentum=0.9)
    scheduler = ev_torch.schedule(optimizer, SCHEDULE)
    for _ in range(STEPS):
        train(model, optimizer)
        scheduler.step()

    assert weights(model) == weights(by_hand)


def test_it_is_a_learning_rate_scheduler():
    model, optimizer = model_and(torch.optim.SGD, lr=1.0, momentum=0.9)
    scheduler = ev_torch.schedule(optimizer, SCHEDULE)
    assert isinstance(scheduler, torch.optim.lr_scheduler.LRScheduler)
    rates = []
    for _ in range(STEPS):
        rates.append(scheduler.get_last_lr())
        train(model, optimizer)
        scheduler.step()
    assert rates == [[rate] for rate in RATES]


def test_after_the_end_its_last_values_stay():
    model, optimizer = model_and(torch.optim.SGD, lr=1.0, momentum=0.9)
    scheduler = ev_torch.schedule(optimizer, SCHEDULE)
    for _ in range(STEPS + 3):
        train(model, optimizer)
        scheduler.step()
    group = optimizer.param_groups[0]
    assert (group["lr"], group["momentum"]) == (0.5, 0.1)


@pytest.mark.parametrize("stop", range(STEPS))
def test_it_goes_on_where_it_was_saved(tmp_path: Path, stop: int):
    whole, its = model_and(torch.optim.Adam, lr=1.0)
    names = {"lr": "lr", "momentum": "beta1"}
    its_scheduler = ev_torch.schedule(its, SCHEDULE, names)
    for t in range(STEPS):
        if t == stop:
            ev_torch.save(tmp_path, model=whole, optimizer=its, scheduler=its_scheduler)
        train(whole, its)
        its_scheduler.step()

    model, optimizer = model_and(torch.optim.Adam, lr=1.0)
    scheduler = ev_torch.schedule(optimizer, SCHEDULE, names)
    ev_torch.load(tmp_path, model=model, optimizer=optimizer, scheduler=scheduler)
    assert scheduler.get_last_lr() == [RATES[stop]]
    for _ in range(stop, STEPS):
        train(model, optimizer)
        scheduler.step()

    assert weights(model) == weights(whole)
    assert scheduler.state_dict() == its_scheduler.state_dict()


def test_a_loaded_place_is_in_force_in_a_fresh_optimizer():
    model, first = model_and(torch.optim.SGD, lr=1.0, momentum=0.9)
    saved = ev_torch.schedule(first, SCHEDULE)
    for _ in range(3):
        train(model, first)
        saved.step()
    _, fresh = model_and(torch.optim.SGD, lr=1.0, momentum=0.9)
    ev_torch.schedule(fresh, SCHEDULE).load_state_dict(saved.state_dict())
    assert (fresh.param_groups[0]["lr"], fresh.param_groups[0]["momentum"]) == (0.02, 0.5)


def test_hyperparameters_may_be_nested_and_bear_other_names():
    pieces = [(1, {"opt": {"rate": 0.1, "decay": 0.01}, "batch": 8}),
              (1, {"opt": {"rate": 0.2, "decay": 0.02}, "batch": 8})]  # fmt: skip
    model, optimizer = model_and(torch.optim.AdamW, lr=1.0)
    names = {"opt.rate": "lr", "opt.decay": "weight_decay"}
    scheduler = ev_torch.schedule(optimizer, Schedule.piecewise(pieces), names)
    train(model, optimizer)
    scheduler.step()
    group = optimizer.param_groups[0]
    assert (group["lr"], group["weight_decay"]) == (0.2, 0.02)


def test_a_nested_name_is_known_by_its_last_part():
    made = Schedule.piecewise([(1, {"optimizer": {"lr": 0.1}, "batch": 8})])
    _, optimizer = model_and(torch.optim.SGD, lr=1.0, momentum=0.9)
    ev_torch.schedule(optimizer, made)
    assert (optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["momentum"]) == (0.1, 0.9)


@pytest.mark.parametrize("wrong", ["optimizer", "schedule"])
def test_an_argument_of_another_type_is_named(wrong: str):
    model, optimizer = model_and(torch.optim.SGD, lr=1.0)
    arguments: dict[str, Any] = {"optimizer": optimizer, "schedule": SCHEDULE}
    arguments[wrong] = model if wrong == "optimizer" else {"lr": 1}
    with pytest.raises(ConfigError, match=f"{wrong}: got (Linear|dict) .*, wanted an? "):
        ev_torch.schedule(**arguments)


def test_without_a_learning_rate_that_of_the_optimizer_stays():
    model, optimizer = model_and(torch.optim.SGD, lr=0.25, momentum=0.9)
    scheduler = ev_torch.schedule(optimizer, SCHEDULE, names=("momentum",))
    for _ in range(3):
        train(model, optimizer)
        scheduler.step()
    assert scheduler.get_last_lr() == [0.25]
    assert optimizer.param_groups[0]["momentum"] == 0.5


def test_a_rate_in_a_tensor_stays_that_tensor():
    rate = torch.tensor(1.0)
    model, optimizer = model_and(torch.optim.Adam, lr=rate, capturable=False, foreach=False)
    scheduler = ev_torch.schedule(optimizer, SCHEDULE, names=("lr",))
    train(model, optimizer)
    assert optimizer.param_groups[0]["lr"] is rate
    assert [float(x) for x in scheduler.get_last_lr()] == pytest.approx([0.1])


@pytest.mark.parametrize(
    ("names", "complaint"),
    [
        (("learning_rate",), "no hyperparameter 'learning_rate': there are 'lr', 'momentum'"),
        ({"lr": "rate"}, "'lr': SGD has no setting 'rate'"),
        ("lr", "wanted a tuple of names"),
    ],
)
def test_what_is_not_there_is_named(names: Any, complaint: str):
    _, optimizer = model_and(torch.optim.SGD, lr=1.0, momentum=0.9)
    with pytest.raises(ConfigError, match=complaint):
        ev_torch.schedule(optimizer, SCHEDULE, names)


def test_a_segment_that_lacks_a_hyperparameter_is_named_before_training():
    _, optimizer = model_and(torch.optim.SGD, lr=1.0)
    with pytest.raises(ConfigError, match=r"segment 1 \(rounds 2\): no hyperparameter 'lr'"):
        ev_torch.schedule(optimizer, Schedule.piecewise([(2, {"lr": 0.1}), (1, {"rate": 1.0})]))
