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
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np

from evolvent.errors import CheckpointError, ConfigError, MissingExtra
from evolvent.integrations.torch_schedule import schedule
from evolvent.integrations.torch_settings import apply, listed

try:
    import torch
except ImportError as e:
    raise MissingExtra("ev.torch needs PyTorch: pip install 'evolvent[torch]'") from e

__all__ = ["apply", "load", "save", "schedule", "seed"]


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
        raise CheckpointError(f"{path} is not there: saved were {listed(saved)}") from e
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
