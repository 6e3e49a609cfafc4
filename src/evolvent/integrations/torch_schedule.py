"""A schedule as a learning rate scheduler of PyTorch, which sets more than the learning rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evolvent.analysis.schedule.schedule import Schedule
from evolvent.analysis.schedule.segments import flat
from evolvent.errors import MissingExtra
from evolvent.integrations.torch_settings import apply, settings_by_name, wrong_type

try:
    import torch
except ImportError as e:
    raise MissingExtra("ev.torch needs PyTorch: pip install 'evolvent[torch]'") from e

_STATE = ("last_epoch", "_step_count", "_last_lr", "base_lrs")


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
        raise wrong_type("optimizer", optimizer, "an optimizer of PyTorch")
    if not isinstance(schedule, Schedule):
        raise wrong_type("schedule", schedule, "a Schedule such as result.best.schedule")
    return ScheduledSettings(optimizer, schedule, names)


class ScheduledSettings(torch.optim.lr_scheduler.LRScheduler):
    """Sets what a schedule says after each `step()`; its state is a few plain numbers."""

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        schedule: Schedule,
        names: Sequence[str] | Mapping[str, str] | None,
    ) -> None:
        self._names = settings_by_name(names, flat(schedule.at(0)), optimizer)
        self._schedule = schedule.only(*self._names)  # now every segment has all of them
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
        return flat(self._schedule.at(min(max(self.last_epoch, 0), self._schedule.total - 1)))

    def _apply(self) -> None:
        apply(self.optimizer, self._now(), self._names)
