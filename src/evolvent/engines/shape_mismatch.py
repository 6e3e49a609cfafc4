"""Weights that do not fit the model: which hyperparameters are behind it, and what to do."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import replace

from evolvent.core.algorithms import PBT
from evolvent.core.distributions import Constant, Integers, Listed
from evolvent.core.explore import explored_names
from evolvent.core.records import Hyperparameters, JobRecord
from evolvent.core.space import short
from evolvent.core.study import StudyRecord
from evolvent.store.records import Failure

# PyTorch: size mismatch, missing and unexpected keys, groups of an optimizer; NumPy: broadcast,
# shapes not aligned, core dimension; Keras: shape mismatch, objects that could not be loaded;
# JAX and Flax: incompatible shapes, ScopeParamShapeError.
_MISMATCH = re.compile(
    r"mismatch|shape|dimension|broadcast|(missing|unexpected) key|could not be loaded|"
    r"match the size|different number",
    re.IGNORECASE,
)
_MOST = 4
"""So many names are written out."""


def is_mismatch(failure: Failure) -> bool:
    """Return whether a failure reads as if arrays of different shapes had met."""
    return _MISMATCH.search(failure.message) is not None


def with_cure(
    failure: Failure, study: StudyRecord, job: JobRecord, trained: Hyperparameters
) -> Failure:
    """Return the failure with what changed since its weights were saved, and how to keep it.

    Args:
        failure: a mismatch.
        study: whose explore changed something.
        job: what failed; it has a parent.
        trained: the hyperparameters that its weights were last trained with.
    """
    cure = _cure(study, job, trained)
    if cure is None:
        return failure
    told = None if failure.traceback is None else f"{failure.traceback.rstrip()}\n{cure}\n"
    return replace(failure, message=f"{failure.message}\n{cure}", traceback=told)


def leave_out(others: Collection[str], *, toml: bool = False) -> str:
    """Say how to leave a hyperparameter alone: by an explore that names the others.

    With `toml` as a study file has it, else in Python.
    """
    named = [f'"{name}" = …' if toml else f'"{name}": …' for name in others]
    if len(named) > _MOST:
        named = [*named[:_MOST], "…"]
    if toml:
        instead = f"explore = {{{', '.join(named)}}}" if named else 'explore = "NoExplore"'
    else:
        instead = f"explore={{{', '.join(named)}}}" if named else "explore=NoExplore()"
    return f"leave it out of explore, and it stays with the weights: {instead}"


def _cure(study: StudyRecord, job: JobRecord, trained: Hyperparameters) -> str | None:
    changed = [n for n, x in job.hyperparameters.items() if n in trained and x != trained[n]]
    if not changed or not isinstance(study.algorithm, PBT):
        return None
    # Numbers of things and choices shape models, floats as good as never.
    likely = [n for n in changed if isinstance(study.space[n], Integers | Listed)]
    names = likely or changed
    values = ", ".join(f"{n} {short(trained[n])} -> {short(job.hyperparameters[n])}" for n in names)
    explored = explored_names(study.algorithm.explore_strategy, study.space)
    others = [
        n for n, d in study.space.items()
        if n in explored and n not in names and not isinstance(d, Constant)
    ]  # fmt: skip
    return (
        f"Do the weights not fit? Since {job.parent} saved them this has changed: {values}. What "
        f"shapes the model cannot change in a copy: {leave_out(others)}"
    )
