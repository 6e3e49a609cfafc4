"""PyTorch: hyperparameters that take effect, checkpoints that leave nothing out.

Example:
    Load, then apply, always in this order; then train, then save::

        ev.torch.load(job.checkpoint, model=model, optimizer=optimizer)
        ev.torch.apply(optimizer, job.hyperparameters)
        ev.torch.save(job.directory, model=model, optimizer=optimizer)
"""

from __future__ import annotations

import random
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np

from evolvent.errors import CheckpointError, ConfigError, MissingExtra

try:
    import torch
except ImportError as e:
    raise MissingExtra("ev.torch needs PyTorch: pip install 'evolvent[torch]'") from e

_BETAS = {"beta1": 0, "beta2": 1}
"""Settings that Adam and its kin keep together in one tuple, `betas`."""


def apply(
    optimizer: torch.optim.Optimizer,
    hyperparameters: Mapping[str, Any],
    names: Sequence[str] | Mapping[str, str] | None = None,
) -> None:
    """Put hyperparameters in force in all parameter groups of an optimizer, and prove it.

    Call it after every load: the loaded state of an optimizer brings the old values along. A
    learning rate scheduler writes its own rate at its next step; do not breed `lr` under one.

    Args:
        optimizer: a live optimizer; its state (momentum buffers, step counts) is left alone.
        hyperparameters: values by name, such as `job.hyperparameters`.
        names: which of them, where they bear the name of the setting (`("lr", "momentum")`), or
            what each is called in the optimizer (`{"learning_rate": "lr"}`). `"beta1"` and
            `"beta2"` are the two of Adam's `betas`. None: all that the optimizer has.

    Raises:
        ConfigError: there is no such hyperparameter or setting, or the value did not take.
    """
    settings = _settings(optimizer)
    for name, setting in _chosen(names, hyperparameters, settings).items():
        if name not in hyperparameters:
            raise ConfigError(f"no hyperparameter {name!r}: there are {_list(hyperparameters)}")
        if setting not in settings:
            raise ConfigError(
                f"{name!r}: {type(optimizer).__name__} has no setting {setting!r}: "
                f"it has {_list(settings)}"
            )
        for group in optimizer.param_groups:
            _write(group, setting, hyperparameters[name])
        _prove(optimizer, setting, hyperparameters[name])


def save(directory: Path, **objects: Any) -> None:
    """Write the state of each object to `<name>.pt`: the same state gives the same bytes.

    Args:
        directory: `job.directory`, or what a trainable's `save` is given.
        **objects: models, optimizers, schedulers and whatever else has a `state_dict`; also
            `torch.Generator`s.

    Raises:
        ConfigError: an object has no state to save.
    """
    for name, thing in objects.items():
        state = _canonical(_state(name, thing))
        torch.save(state, directory / f"{name}.pt")


def load(directory: Path, **objects: Any) -> None:
    """Read what `save` wrote into live objects, wherever they are. Then call `apply`.

    Args:
        directory: `job.checkpoint`, or what a trainable's `load` is given.
        **objects: the objects to fill, under the names under which they were saved.

    Raises:
        CheckpointError: a file is missing, or holds more than weights and plain values.
        ConfigError: an object takes no state.
    """
    for name, thing in objects.items():
        state = _read(directory, name)
        if isinstance(thing, torch.Generator):
            thing.set_state(state)
        elif hasattr(thing, "load_state_dict"):
            thing.load_state_dict(state)
        else:
            raise _stateless(name, thing)


def seed(seed: int) -> None:
    """Seed the global generators of PyTorch (on all devices), NumPy and Python.

    Begin every round with `ev.torch.seed(job.seed)`: then no generator needs to be saved.
    """
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - user code may draw from the global generator
    random.seed(seed)


def _settings(optimizer: torch.optim.Optimizer) -> list[str]:
    group = optimizer.param_groups[0]
    names = [name for name in group if name not in {"params", "param_names", "betas"}]
    return names + (list(_BETAS) if "betas" in group else [])


def _chosen(
    names: Sequence[str] | Mapping[str, str] | None,
    hyperparameters: Mapping[str, Any],
    settings: Sequence[str],
) -> Mapping[str, str]:
    if isinstance(names, Mapping):
        return names
    if isinstance(names, str):
        raise ConfigError(f"names: wanted a tuple of names, got {names!r}: write ({names!r},)")
    if names is not None:
        return {name: name for name in names}
    chosen = {name: name for name in hyperparameters if name in settings}
    if not chosen:
        raise ConfigError(
            f"none of the hyperparameters {_list(hyperparameters)} is a setting of the optimizer, "
            f"which has {_list(settings)}: say which is which, names={{'learning_rate': 'lr'}}"
        )
    return chosen


def _write(group: dict[str, Any], setting: str, value: Any) -> None:
    if setting in _BETAS:
        betas = list(group["betas"])
        betas[_BETAS[setting]] = value
        group["betas"] = tuple(betas)
    elif isinstance(group[setting], torch.Tensor):
        group[setting].fill_(value)  # a captured graph or compiled step reads this very tensor
    else:
        group[setting] = value


def _prove(optimizer: torch.optim.Optimizer, setting: str, value: Any) -> None:
    for group in optimizer.param_groups:
        now = group["betas"][_BETAS[setting]] if setting in _BETAS else group[setting]
        wanted = torch.as_tensor(value).to(now) if isinstance(now, torch.Tensor) else value
        if now != wanted:
            raise ConfigError(
                f"{setting}: set to {value!r}, but {type(optimizer).__name__} says {now!r}: "
                "does it hand out copies of its param_groups? Apply to the optimizer it wraps"
            )


def _state(name: str, thing: Any) -> Any:
    if isinstance(thing, torch.Generator):
        return thing.get_state()
    if hasattr(thing, "state_dict"):
        return thing.state_dict()
    raise _stateless(name, thing)


def _stateless(name: str, thing: Any) -> ConfigError:
    return ConfigError(
        f"{name}: a {type(thing).__name__} has no state_dict: wanted a model, an optimizer, "
        "a scheduler or a torch.Generator"
    )


def _read(directory: Path, name: str) -> Any:
    path = directory / f"{name}.pt"
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as e:
        saved = sorted(file.stem for file in directory.glob("*.pt"))
        raise CheckpointError(f"{path} is not there: saved were {_list(saved)}") from e
    except (UnpicklingError, EOFError, RuntimeError) as e:
        raise CheckpointError(
            f"{path} cannot be read as weights and plain values (code in checkpoints is not run): "
            f"{str(e).splitlines()[0]}"
        ) from e


def _canonical(state: Any) -> Any:
    """Return an equal state whose pickle does not depend on which of its strings are one object.

    A freshly built optimizer shares the strings of its keys with the program, a loaded one does
    not, and pickle writes a shared object only once.
    """
    if type(state) is dict:
        return {_canonical(key): _canonical(value) for key, value in state.items()}
    if type(state) in {list, tuple}:
        return type(state)(_canonical(value) for value in state)
    return sys.intern(state) if type(state) is str else state


def _list(names: Sequence[str] | Mapping[str, Any]) -> str:
    return ", ".join(map(repr, names)) or "none"
