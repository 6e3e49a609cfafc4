"""optax: schedules that run on the device.

Example:
    What a study found, in steps of the optimizer::

        schedule = study.result().best.schedule.in_steps(steps_per_round)
        optimizer = optax.inject_hyperparams(optax.sgd)(
            learning_rate=ev.optax.schedule(schedule, "lr"),
            momentum=ev.optax.schedule(schedule, "momentum"),
        )
"""

from __future__ import annotations

from evolvent.analysis.schedule.schedule import Schedule
from evolvent.errors import ConfigError, MissingExtra
from evolvent.validation import cut

try:
    import jax
    import jax.numpy as jnp
    import optax
    from jax.typing import ArrayLike
except ImportError as e:
    raise MissingExtra("ev.optax needs optax: pip install 'evolvent[optax]'") from e

_MOST = 2**31 - 1  # what optax counts up to, and the largest whole number on the device


def schedule(schedule: Schedule, name: str) -> optax.Schedule:
    """Return one hyperparameter of a schedule as optax wants it: a function of the step count.

    It may be traced and compiled; after the end of the schedule its last value stays.

    Args:
        schedule: in steps of the optimizer: `in_steps` makes rounds steps.
        name: of a hyperparameter that is a number in every segment; dotted where nested.

    Raises:
        ConfigError: there is no such hyperparameter, or it is no number, or the schedule counts
            rounds.
    """
    if schedule.unit != "steps":
        raise ConfigError(
            "this schedule counts rounds, but optax counts steps: give it "
            "schedule.in_steps(steps_per_round)"
        )
    values = schedule.values(name)
    for segment, value in zip(schedule.segments, values, strict=True):
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ConfigError(
                f"{name}: got {cut(value)} in {schedule.unit} {segment.span}, wanted a number: "
                "read what is no number with schedule.at(step)"
            )
    starts = jnp.asarray([min(segment.start, _MOST) for segment in schedule.segments])
    whole = all(isinstance(value, int) and abs(value) <= _MOST for value in values)
    steps = jnp.asarray(values, dtype=int if whole else float)

    def value_at(count: ArrayLike) -> jax.Array:
        place = jnp.searchsorted(starts, count, side="right") - 1
        return steps[jnp.maximum(place, 0)]

    return value_at
