"""The PyTorch helpers: values take effect, states survive, bytes repeat."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import numpy as np
import pytest

from evolvent.errors import CheckpointError, ConfigError, MissingExtra

pytest.importorskip("torch")

import torch

from evolvent.integrations import torch as ev_torch


def model_and(optimizer_class: type, **settings: object):
    torch.manual_seed(1)
    model = torch.nn.Linear(3, 2)
    return model, optimizer_class(model.parameters(), **settings)


def step(model, optimizer) -> None:
    optimizer.zero_grad()
    model(torch.ones(4, 3)).square().sum().backward()
    optimizer.step()


def test_values_reach_every_parameter_group():
    model = torch.nn.Linear(3, 2)
    groups = [{"params": [model.weight]}, {"params": [model.bias], "lr": 5.0}]
    optimizer = torch.optim.SGD(groups, lr=1.0)
    ev_torch.apply(optimizer, {"lr": 0.25, "momentum": 0.5, "dropout": 0.1})
    assert [(g["lr"], g["momentum"]) for g in optimizer.param_groups] == [(0.25, 0.5)] * 2


def test_applied_values_win_over_those_of_a_loaded_state(tmp_path: Path):
    _, donor = model_and(torch.optim.SGD, lr=1.0)
    ev_torch.save(tmp_path, optimizer=donor)
    _, mine = model_and(torch.optim.SGD, lr=0.1)
    ev_torch.load(tmp_path, optimizer=mine)
    assert mine.param_groups[0]["lr"] == 1.0
    ev_torch.apply(mine, {"lr": 0.1}, names=("lr",))
    assert mine.param_groups[0]["lr"] == 0.1


def test_hyperparameters_may_bear_other_names():
    _, optimizer = model_and(torch.optim.Adam, lr=1.0)
    values = {"learning_rate": 0.25, "decay1": 0.5, "beta2": 0.75}
    ev_torch.apply(
        optimizer, values, names={"learning_rate": "lr", "decay1": "beta1", "beta2": "beta2"}
    )
    assert optimizer.param_groups[0]["lr"] == 0.25
    assert optimizer.param_groups[0]["betas"] == (0.5, 0.75)


def test_a_learning_rate_kept_in_a_tensor_is_filled_in_place():
    _, optimizer = model_and(torch.optim.Adam, lr=torch.tensor(1.0))
    tensor = optimizer.param_groups[0]["lr"]
    ev_torch.apply(optimizer, {"lr": 0.1})
    assert optimizer.param_groups[0]["lr"] is tensor
    assert tensor.item() == pytest.approx(0.1)


def test_a_nested_name_is_known_by_its_last_part_and_whole_names_come_first():
    _, optimizer = model_and(torch.optim.Adam, lr=1.0)
    values = {"lr": 0.1, "other": {"lr": 0.2}, "optimizer": {"weight_decay": 0.3}, "batch": 8}
    ev_torch.apply(optimizer, values)
    group = optimizer.param_groups[0]
    assert (group["lr"], group["weight_decay"]) == (0.1, 0.3)
    ev_torch.apply(optimizer, values, {"other.lr": "lr"})
    assert group["lr"] == 0.2


def test_what_is_no_optimizer_is_named():
    model, _ = model_and(torch.optim.SGD, lr=1.0)
    with pytest.raises(ConfigError, match=r"optimizer: got Linear .* wanted an optimizer"):
        ev_torch.apply(model, {"lr": 0.1})


@pytest.mark.parametrize(
    ("hyperparameters", "names", "message"),
    [
        ({"lr": 0.1, "momentum": 0.9}, ("momentum",), "Adam has no setting 'momentum'.*'beta1'"),
        ({"lr": 0.1}, ("momentum",), "no hyperparameter 'momentum': there are 'lr'"),
        ({"rate": 0.1}, {"rate": "learning_rate"}, "'rate': Adam has no setting 'learning_rate'"),
        ({"rate": 0.1}, None, "none of the hyperparameters 'rate' is a setting"),
        ({"rate": 0.1}, None, "such as names={'rate': 'lr'}"),
        ({"lr": 0.1}, "lr", "wanted a tuple of names, got 'lr'"),
        ({"a": {"lr": 1}, "b": {"lr": 2}}, None, "'lr' may be 'a.lr' or 'b.lr': say which"),
        (3, None, "hyperparameters: got int 3, wanted a dict"),
    ],
)
def test_what_cannot_be_applied_is_named(hyperparameters, names, message):
    _, optimizer = model_and(torch.optim.Adam)
    with pytest.raises(ConfigError, match=message):
        ev_torch.apply(optimizer, hyperparameters, names)


def test_an_optimizer_that_hands_out_copies_is_found_out():
    class Wrapper(torch.optim.SGD):
        @property
        def param_groups(self):
            return [dict(group) for group in self.groups]

        @param_groups.setter
        def param_groups(self, groups):
            self.groups = groups

    model = torch.nn.Linear(3, 2)
    optimizer = Wrapper(model.parameters(), lr=1.0)
    optimizer.groups = [{"params": [], "lr": 1.0}]
    with pytest.raises(ConfigError, match=r"lr: set to 0\.5, but Wrapper says 1\.0"):
        ev_torch.apply(optimizer, {"lr": 0.5})


def test_training_goes_on_after_a_load_as_if_never_stopped(tmp_path: Path):
    model, optimizer = model_and(torch.optim.Adam, lr=0.1)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=2)
    generator = torch.Generator().manual_seed(5)
    for _ in range(3):
        step(model, optimizer)
        scheduler.step()
    torch.rand(7, generator=generator)
    ev_torch.save(
        tmp_path, model=model, optimizer=optimizer, scheduler=scheduler, generator=generator
    )

    other, its_optimizer = model_and(torch.optim.Adam, lr=0.7)
    its_scheduler = torch.optim.lr_scheduler.StepLR(its_optimizer, step_size=2)
    its_generator = torch.Generator()
    ev_torch.load(
        tmp_path, model=other, optimizer=its_optimizer, scheduler=its_scheduler,
        generator=its_generator,
    )  # fmt: skip
    for pair in ((model, optimizer, scheduler), (other, its_optimizer, its_scheduler)):
        step(*pair[:2])
        pair[2].step()
    assert torch.equal(model.weight, other.weight)
    assert scheduler.get_last_lr() == its_scheduler.get_last_lr()
    assert torch.equal(torch.rand(3, generator=generator), torch.rand(3, generator=its_generator))


def test_the_same_state_gives_the_same_bytes_loaded_or_not(tmp_path: Path):
    model, optimizer = model_and(torch.optim.Adam, lr=0.1)
    model.bias.requires_grad_(False)
    step(model, optimizer)
    first, second = tmp_path / "first", tmp_path / "second"
    for directory in (first, second):
        directory.mkdir()
    ev_torch.save(first, model=model, optimizer=optimizer)
    other, its_optimizer = model_and(torch.optim.Adam, lr=0.1)
    ev_torch.load(first, model=other, optimizer=its_optimizer)
    for pair in ((model, optimizer), (other, its_optimizer)):
        pair[0].bias.requires_grad_(True)  # the state of the bias is born after the load
        step(*pair)
    ev_torch.save(first, model=model, optimizer=optimizer)
    ev_torch.save(second, model=other, optimizer=its_optimizer)
    for name in ("model.pt", "optimizer.pt"):
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_a_missing_file_is_named_with_those_there_are(tmp_path: Path):
    model, _ = model_and(torch.optim.SGD, lr=1.0)
    ev_torch.save(tmp_path, model=model)
    with pytest.raises(CheckpointError, match=r"net\.pt is not there: saved were 'model'"):
        ev_torch.load(tmp_path, net=model)


def test_checkpoints_run_no_code(tmp_path: Path):
    torch.save({"code": random.Random}, tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match="code in checkpoints is not run"):
        ev_torch.load(tmp_path, model=torch.nn.Linear(1, 1))


def test_a_torn_file_is_a_checkpoint_error(tmp_path: Path):
    model, _ = model_and(torch.optim.SGD, lr=1.0)
    ev_torch.save(tmp_path, model=model)
    whole = (tmp_path / "model.pt").read_bytes()
    (tmp_path / "model.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match=r"model\.pt cannot be read"):
        ev_torch.load(tmp_path, model=model)


def test_what_has_no_state_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match="step: a int has no state_dict"):
        ev_torch.save(tmp_path, step=3)
    torch.save(3, tmp_path / "step.pt")
    with pytest.raises(ConfigError, match="step: a int has no state_dict"):
        ev_torch.load(tmp_path, step=3)


def test_one_seed_fixes_all_global_generators():
    def draws() -> tuple[float, float, float]:
        ev_torch.seed(7)
        return random.random(), np.random.rand(), torch.rand(1).item()  # noqa: NPY002 - as users do

    assert draws() == draws()


def test_without_pytorch_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "evolvent.integrations.torch")
    with pytest.raises(MissingExtra, match=r"pip install 'evolvent\[torch\]'"):
        __import__("evolvent.integrations.torch")
