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

from evolvent.analysis.schedule.schedule import Schedule
from evolvent.core.space import Space
from evolvent.errors import CheckpointError, ConfigError, MissingExtra
from evolvent.validation import cut

try:
    import torch
except ImportError as e:
    raise MissingExtra("ev.torch needs PyTorch: pip install 'evolvent[torch]'") from e

__all__ = ["apply", "load", "save", "schedule", "seed"]

_STATE = ("last_epoch", "_step_count", "_last_lr", "base_lrs")
_BETAS = {"beta1": 0, "beta2": 1}
"""Settings that Adam and its kin keep together in one tuple, `betas`."""


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
        if isinstance(thing, torch.Generator):
            state: Any = thing.get_state()
        elif hasattr(thing, "state_dict"):
            state = thing.state_dict()
        else:
            raise _stateless(name, thing)
        torch.save(_canonical(state), directory / f"{name}.pt")


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
        hyperparameters: values by name, such as `job.hyperparameters`; names of nested ones are
            dotted (`{"optimizer.lr": "lr"}`).
        names: which of them, where they bear the name of the setting (`("lr", "momentum")`), or
            what each is called in the optimizer (`{"learning_rate": "lr"}`). `"beta1"` and
            `"beta2"` are the two of Adam's `betas`. None: all that the optimizer has, by their
            whole names or else by the last part of a nested one (`optimizer.lr`).

    Raises:
        ConfigError: there is no such hyperparameter or setting, or the value did not take.
    """
    if not isinstance(hyperparameters, Mapping):
        raise _wrong_type("hyperparameters", hyperparameters, "a dict such as job.hyperparameters")
    values = Space.flatten(hyperparameters)
    for name, setting in _settings_by_name(names, values, optimizer).items():
        for group in optimizer.param_groups:
            _write(group, setting, values[name])
        _prove(optimizer, setting, values[name])


def schedule(
    optimizer: torch.optim.Optimizer,
    schedule: Schedule,
    names: Sequence[str] | Mapping[str, str] | None = None,
) -> ScheduledSettings:
    """Let an optimizer follow a schedule: use the result like any learning rate scheduler.

    Call its `step()` after every round (or step, in the schedule's unit) of training. After the
    end of the schedule its last values stay. All parameter groups get the same values.

    Args:
        optimizer: a live optimizer; the values of round 0 are in force when this returns.
        schedule: such as `result.best.schedule`; `in_steps` makes it one for every batch.
        names: which of its hyperparameters, as in `ev.torch.apply`; dotted where nested
            (`{"optimizer.lr": "lr"}`). None: all that the optimizer has, as there.

    Raises:
        ConfigError: there is no such hyperparameter or setting, or an argument is something else.

    Example:
        One value a batch::

            scheduler = ev.torch.schedule(optimizer, best.schedule.in_steps(len(batches)))
            for batch in batches:
                train(batch)
                optimizer.step()
                scheduler.step()
    """
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise _wrong_type("optimizer", optimizer, "an optimizer of PyTorch")
    if not isinstance(schedule, Schedule):
        raise _wrong_type("schedule", schedule, "a Schedule such as result.best.schedule")
    pairs = _settings_by_name(names, Space.flatten(schedule.at(0)), optimizer)
    return ScheduledSettings(optimizer, schedule, pairs)


class ScheduledSettings(torch.optim.lr_scheduler.LRScheduler):
    """Sets what a schedule says after each `step()`; its state is a few plain numbers."""

    def __init__(
        self, optimizer: torch.optim.Optimizer, schedule: Schedule, names: Mapping[str, str]
    ) -> None:
        self._names = names
        self._schedule = schedule.only(*names)  # now every segment has all of them
        super().__init__(optimizer)

    def get_lr(self) -> list[Any]:
        """Return the learning rate of each parameter group at this round or step."""
        there = [group["lr"] for group in self.optimizer.param_groups]
        lrs = [name for name, setting in self._names.items() if setting == "lr"]
        return [self._now()[lrs[0]]] * len(there) if lrs else there

    def step(self, epoch: int | None = None) -> None:
        """Go on to the next round or step."""
        super().step(epoch)
        self._apply()

    def state_dict(self) -> dict[str, Any]:
        """Return the place in the schedule; the schedule itself you give again."""
        return {name: getattr(self, name) for name in _STATE}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go to a saved place, and put the values that hold there in force."""
        super().load_state_dict({name: state_dict[name] for name in _STATE})
        self._apply()
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]

    def _now(self) -> dict[str, Any]:
        time = min(max(self.last_epoch, 0), self._schedule.total - 1)
        return Space.flatten(self._schedule.at(time))

    def _apply(self) -> None:
        apply(self.optimizer, self._now(), self._names)


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
        raise CheckpointError(f"{path} is not there: saved were {_listed(saved)}") from e
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


def _settings_by_name(
    names: Sequence[str] | Mapping[str, str] | None,
    hyperparameters: Mapping[str, Any],
    optimizer: torch.optim.Optimizer,
) -> dict[str, str]:
    """Return which hyperparameters are meant, with the settings they are; arguments as `apply`.

    Raises:
        ConfigError: none is meant, two may be, or there is no such hyperparameter or setting.
    """
    if not hasattr(optimizer, "param_groups"):
        raise _wrong_type("optimizer", optimizer, "an optimizer of PyTorch")
    if isinstance(names, str):
        raise ConfigError(f"names: wanted a tuple of names, got {names!r}: write ({names!r},)")
    group = optimizer.param_groups[0]
    settings = [name for name in group if name not in {"params", "param_names", "betas"}]
    settings += list(_BETAS) if "betas" in group else []
    if names is None:
        return _matched(hyperparameters, settings)
    pairs = dict(names) if isinstance(names, Mapping) else {name: name for name in names}
    for name, setting in pairs.items():
        if name not in hyperparameters:
            raise ConfigError(f"no hyperparameter {name!r}: there are {_listed(hyperparameters)}")
        if setting not in settings:
            raise ConfigError(
                f"{name!r}: {type(optimizer).__name__} has no setting {setting!r}: "
                f"it has {_listed(settings)}"
            )
    return pairs


def _matched(hyperparameters: Mapping[str, Any], settings: Sequence[str]) -> dict[str, str]:
    """Return hyperparameters with the settings whose names they bear, whole or as last part."""
    matched = {}
    for setting in settings:
        ends = [name for name in hyperparameters if name.endswith(f".{setting}")]
        if setting in hyperparameters:
            matched[setting] = setting
        elif len(ends) > 1:
            raise ConfigError(
                f"{setting!r} may be {' or '.join(map(repr, ends))}: say which, such as "
                f"names={ {ends[0]: setting} }"
            )
        elif ends:
            matched[ends[0]] = setting
    if not matched:
        example = {next(iter(hyperparameters), "learning_rate"): settings[0]}
        raise ConfigError(
            f"none of the hyperparameters {_listed(hyperparameters)} is a setting of the "
            f"optimizer, which has {_listed(settings)}: say which is which, such as names={example}"
        )
    return matched


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


def _wrong_type(what: str, got: Any, wanted: str) -> ConfigError:
    """Return the error for an argument of another type."""
    return ConfigError(f"{what}: got {type(got).__name__} {cut(got)}, wanted {wanted}")


def _listed(names: Sequence[str] | Mapping[str, Any]) -> str:
    """Return names as an error message shows them."""
    return ", ".join(map(repr, names)) or "none"
