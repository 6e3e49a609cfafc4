"""Keras: a callback that follows a schedule.

Example:
    A round of the schedule is an epoch::

        callback = ev.keras.schedule(study.result().best.schedule)
        model.fit(x, y, epochs=callback.schedule.total, callbacks=[callback])
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from inspect import signature
from typing import Any

from evolvent.analysis.schedule.schedule import Schedule
from evolvent.core.space import Space
from evolvent.errors import ConfigError, MissingExtra

try:
    import keras
except ImportError as e:
    raise MissingExtra(
        f"ev.keras needs Keras and its backend ({e}): pip install 'evolvent[keras]' and the "
        "backend, and name it in KERAS_BACKEND"
    ) from e

_ALIASES = {"lr": "learning_rate"}


def schedule(
    schedule: Schedule, names: Sequence[str] | Mapping[str, str] | None = None
) -> ScheduleCallback:
    """Return a callback for `model.fit` that sets what a schedule says.

    A schedule in rounds is followed epoch by epoch, one in steps batch by batch; it goes on where
    `initial_epoch` or the steps that the optimizer has made stand. After its end its last values
    stay. A setting that the compiled training step holds as a constant, which all but the
    learning rate are, has the step compiled anew.

    Args:
        schedule: such as `result.best.schedule`, or that `in_steps`.
        names: which of its hyperparameters are settings of the optimizer, where they bear the name
            of the setting (`("learning_rate", "momentum")`), or what each is called there
            (`{"optimizer.lr": "learning_rate"}`). None: all that the optimizer has; `lr` is its
            `learning_rate`.

    Raises:
        ConfigError: when training begins: there is no such hyperparameter or setting.
    """
    return ScheduleCallback(schedule, names)


class ScheduleCallback(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """Sets what a schedule says at the begin of each epoch or batch."""

    def __init__(
        self, schedule: Schedule, names: Sequence[str] | Mapping[str, str] | None = None
    ) -> None:
        super().__init__()
        if isinstance(names, str):
            raise ConfigError(f"names: wanted a tuple of names, got {names!r}: write ({names!r},)")
        self.schedule = schedule
        self._names = names
        self._pairs: dict[str, str] = {}
        self._in_force: dict[str, Any] = {}
        self._steps_before = 0

    def on_train_begin(self, logs: Any = None) -> None:  # noqa: ARG002 - Keras passes it
        """Find out which hyperparameters are settings of the optimizer."""
        optimizer = self._optimizer
        arguments = signature(type(optimizer)).parameters
        settings = [name for name in arguments if name != "name" and hasattr(optimizer, name)]
        self._pairs = _pairs(self._names, self.schedule.names, settings)
        self._in_force = {}
        for name in self._pairs:
            self.schedule.values(name)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002 - Keras passes it
        """Set the values of this epoch."""
        if self.schedule.unit == "rounds":
            self._set(epoch)
        else:
            self._steps_before = int(self._optimizer.iterations)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002 - Keras passes it
        """Set the values of this step."""
        if self.schedule.unit == "steps":
            batches = self._optimizer.gradient_accumulation_steps or 1
            self._set(self._steps_before + batch // batches)

    @property
    def _optimizer(self) -> Any:
        optimizer = self.model.optimizer
        return getattr(optimizer, "inner_optimizer", optimizer)  # one that scales the loss wraps it

    def _set(self, time: int) -> None:
        values = Space.flatten(self.schedule.at(min(time, self.schedule.total - 1)))
        new = {self._pairs[name]: values[name] for name in self._pairs}
        changed = {
            n: v for n, v in new.items() if n not in self._in_force or v != self._in_force[n]
        }
        if not changed:
            return
        if hasattr(self.model, "jax_state_sync"):
            self.model.jax_state_sync()  # or the state on the device would win over what we write
        constants = [_write(self._optimizer, name, value) for name, value in changed.items()]
        if any(constants):
            self.model.make_train_function(force=True)
        self._in_force = new


def _write(optimizer: Any, setting: str, value: Any) -> bool:
    """Set a value; return whether compiled code may hold the old one as a constant."""
    if setting == "momentum" and value and getattr(optimizer, "momentums", None) == []:
        raise ConfigError(
            f"momentum: got {value!r}, but the optimizer was made without: begin above 0"
        )
    there = getattr(optimizer, setting)
    try:
        setattr(optimizer, setting, value)
    except TypeError as e:  # it has a schedule of its own
        raise ConfigError(f"{setting}: cannot be set to {value!r}: {e}") from e
    return not isinstance(there, keras.Variable) and there != value


def _pairs(
    names: Sequence[str] | Mapping[str, str] | None, there: Sequence[str], settings: Sequence[str]
) -> dict[str, str]:
    if names is None:
        aliased = {name: _ALIASES.get(name, name) for name in there}
        pairs = {name: setting for name, setting in aliased.items() if setting in settings}
        if not pairs:
            raise ConfigError(
                f"none of the hyperparameters {', '.join(there)} is a setting of the optimizer, "
                f"which has {', '.join(settings)}: say which is which, names={{'rate': "
                "'learning_rate'}"
            )
        return pairs
    pairs = dict(names) if isinstance(names, Mapping) else {n: _ALIASES.get(n, n) for n in names}
    for name, setting in pairs.items():
        if name not in there:
            raise ConfigError(f"no hyperparameter {name!r}: there are {', '.join(there)}")
        if setting not in settings:
            raise ConfigError(
                f"{name!r}: the optimizer has no setting {setting!r}: it has {', '.join(settings)}"
            )
    return pairs
