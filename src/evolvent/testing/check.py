"""Proves on the user's own training code what a study relies on; `evolvent check` prints it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from evolvent.core.algorithms import PBT, Algorithm
from evolvent.core.explore import explored_names
from evolvent.core.rng import stream
from evolvent.core.space import Space
from evolvent.core.study import StudyRecord
from evolvent.engines import trainable as trainables
from evolvent.engines.trainable import AnyTrainable
from evolvent.errors import ConfigError
from evolvent.testing.check_advice import Form
from evolvent.testing.check_lab import Lab, ProbeValues
from evolvent.testing.check_proofs import Progress, Proofs, Wanted
from evolvent.testing.check_report import CheckReport, Proof

_DRAWS = 500


def check_trainable(  # noqa: PLR0913 - what is to be proven, all by name
    trainable: AnyTrainable | str,
    space_or_sets: Mapping[str, Any] | Sequence[Mapping[str, Any]],
    *,
    metric: str | None = None,
    algorithm: Algorithm | None = None,
    rounds: int = 1,
    seed: int = 0,
    only: Collection[str] = (),
    skip: Collection[str] = (),
    max_seconds: float | None = None,
    form: Form | None = None,
    toml: bool = False,
    on_proof: Callable[[Proof], None] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> CheckReport:
    """Train a little, in many ways, and prove that training code can be bred.

    That is: rounds repeat exactly, a save leaves nothing out, a load is where training goes on, and
    every hyperparameter takes effect, in round 0 and after a load.

    Trains `rounds` rounds about 21 + 4 n times for n hyperparameters (a function: 6 + 4 n), in this
    process and in temporary directories, with the runner that the workers of a study use. A
    hyperparameter that is in doubt takes up to 18 more.

    Args:
        trainable: what a study would be given: a function, a class, or `"module:name"` of either.
        space_or_sets: the space, from which two sets of hyperparameters are drawn; or two sets.
        metric: the objective, if it is known already.
        algorithm: of the study, to be told of a hyperparameter that it changes in copies and that
            a loaded model cannot take over; needs a space.
        rounds: how many rounds to train before comparing; more when effects are late.
        seed: of the seeds and sets of hyperparameters.
        only: names of proofs, such as `"lr"` or `"goes on"`, without the others.
        skip: names of proofs to be left out.
        max_seconds: begin no proof that would end later; those are listed as not done.
        form: of the training code, for advice that speaks of it.
        toml: write advice as it goes into a study file, not as Python.
        on_proof: called with every proof as soon as it is there.
        on_progress: called before every round.

    Returns:
        The proofs; `report.ok` says whether all went well, `print(report)` says the rest.

    Raises:
        ConfigError: an argument is not usable, or the trainable cannot be found.
    """
    if isinstance(trainable, str):
        trainable = trainables.import_trainable(trainable)
    trainable = trainables.check_trainable(trainable)
    if rounds < 1:
        raise ConfigError(f"rounds: got {rounds}, wanted 1 or more")
    values = ProbeValues.of(space_or_sets, seed=seed)
    moved = None if algorithm is None else _moved_names(algorithm, space_or_sets, seed=seed)
    wanted = Wanted(tuple(only), tuple(skip), max_seconds)
    record = None if algorithm is None else _record(algorithm, space_or_sets, metric)
    proofs = []
    with tempfile.TemporaryDirectory(prefix="evolvent-check-") as root:
        lab = Lab(trainable, values, Path(root), rounds, seed, record)
        tried = Proofs(
            lab, metric, moved, wanted,
            form=form, toml=toml, on_progress=on_progress or (lambda _: None),
        )  # fmt: skip
        for proof in tried.all():
            proofs.append(proof)
            if on_proof is not None:
                on_proof(proof)
    name = getattr(trainable, "__qualname__", repr(trainable))
    return CheckReport(name, values.a, values.b, tuple(proofs))


def _record(algorithm: Algorithm, space: Any, metric: str | None) -> StudyRecord:
    """Return a study of these settings: by it is known what shapes a live object."""
    return StudyRecord(
        name="check", metric=metric or "objective", mode="max", space=Space.of(space),
        algorithm=algorithm, population=2, rounds=2,
    )  # fmt: skip


def _moved_names(
    algorithm: Algorithm,
    space_or_sets: Mapping[str, Any] | Sequence[Mapping[str, Any]],
    *,
    seed: int,
) -> frozenset[str]:
    """Return the hyperparameters that may be others than those of the weights after a decision."""
    if not isinstance(space_or_sets, Mapping):
        raise ConfigError("algorithm: of use with a space only, got two sets of hyperparameters")
    if not isinstance(algorithm, PBT):
        return frozenset()
    space, explore = Space.of(space_or_sets), algorithm.explore_strategy
    explore.validate(space)
    if algorithm.copies != "both":  # own values meet the weights of others
        return explored_names(explore, space)
    moved: set[str] = set()
    for i in range(_DRAWS):  # a function of the user's own can only be tried
        rng = stream(seed, "check explore", 0, i)
        before = space.sample(rng=rng)
        after = explore(before, space, rng=rng)
        moved.update(name for name in space if after[name] != before[name])
    return frozenset(moved)
