"""Proves on the user's own training code what a study relies on; `evolvent check` prints it."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from evolvent.core.algorithms import PBT, Algorithm
from evolvent.core.explore import explored_names
from evolvent.core.rng import stream
from evolvent.core.space import Space
from evolvent.core.study import StudyRecord
from evolvent.engines import trainable as trainables
from evolvent.engines.place.rerun import refuse_in_rerun
from evolvent.engines.trainable import AnyTrainable
from evolvent.errors import ConfigError
from evolvent.testing.check_advice import Form
from evolvent.testing.check_lab import Lab, ProbeValues
from evolvent.testing.check_process import (
    CHECKING,
    Audience,
    check_in_process,
    temporary_directory,
)
from evolvent.testing.check_proofs import PROOFS, CheckProgress, Proofs, Wanted
from evolvent.testing.check_report import CheckReport, Proof

_DRAWS = 500


def check(  # noqa: PLR0913 - what is to be proven, all by name
    trainable: AnyTrainable | str,
    space: Mapping[str, Any] | Sequence[Mapping[str, Any]],
    *,
    metric: str | None = None,
    algorithm: Algorithm | None = None,
    params: Mapping[str, Any] | None = None,
    rounds: int = 1,
    seed: int = 0,
    only: Collection[str] = (),
    skip: Collection[str] = (),
    max_seconds: float | None = None,
    workers: int = 1,
    on_proof: Callable[[Proof], None] | None = None,
) -> CheckReport:
    """Prove on training code what a study relies on: `print(ev.check(Net, space))`.

    That is: rounds repeat exactly, a save leaves nothing out, a load is where training goes on,
    every hyperparameter takes effect, in round 0 and after a load, and an object that is moved to
    another member trains as one of its own. It trains about 24 + 4 n times `rounds` rounds for n
    hyperparameters (a function: 7 + 4 n), and more where something is in doubt. Meanwhile the
    environment has `EVOLVENT_CHECK=1`, by which training code may shorten its rounds.

    Args:
        trainable: what a study would be given: a function, a class, or `"module:name"` of either.
        space: that of the study, from which two sets of hyperparameters are drawn; or two sets.
        metric: the objective, if it is known already.
        algorithm: of the study, which says what a copy may change; `PBT()` by default.
        params: keyword arguments for training code, as `study.run` takes them.
        rounds: how many rounds to train before comparing; more when effects are late.
        seed: of the seeds and sets of hyperparameters.
        only: names of proofs, such as `"lr"` or `["lr", "goes on"]`, without the others.
        skip: names of proofs to be left out.
        max_seconds: begin no proof that would end later; those are listed as not done.
        workers: 1: in a worker process, as in a run; 0: in this process, for debuggers.
        on_proof: called with every proof as soon as it is there, such as `print`.

    Returns:
        The proofs; `report.ok` says whether all went well, `print(report)` says the rest.

    Raises:
        ConfigError: an argument is not usable, or the trainable cannot be found.
    """
    refuse_in_rerun("ev.check")
    if algorithm is None and isinstance(space, Mapping):
        algorithm = PBT()
    code = trainables.with_params(trainable, params)
    return check_anywhere(
        code, space, metric=metric, algorithm=algorithm, rounds=rounds, seed=seed, only=only,
        skip=skip, max_seconds=max_seconds, workers=workers, on_proof=on_proof,
    )  # fmt: skip


def check_anywhere(
    trainable: Any,
    space_or_sets: Mapping[str, Any] | Sequence[Mapping[str, Any]],
    *,
    workers: int,
    on_proof: Callable[[Proof], None] | None = None,
    on_progress: Callable[[CheckProgress], None] | None = None,
    on_line: Callable[[str], None] | None = None,
    **options: Any,
) -> CheckReport:
    """Run `check_trainable` in a worker process, or with `workers=0` in this one.

    `on_line` is called with what training prints there.
    """
    if workers not in (0, 1):
        raise ConfigError(f"workers: got {workers!r}, wanted 1, or 0 for this process")
    audience = Audience(on_proof or _ignore, on_progress or _ignore, on_line or to_stderr)
    if workers == 0:
        code = trainables.load_trainable(trainable)
        with _checking():
            return check_trainable(
                code, space_or_sets, on_proof=audience.on_proof,
                on_progress=audience.on_progress, **options,
            )  # fmt: skip
    path = getattr(trainable, "path", trainable)
    if isinstance(path, str):
        trainables.check_importable(path)
    else:
        trainables.check_trainable(trainable)
    values = ProbeValues.of(space_or_sets, seed=options.get("seed", 0))
    # The process, which imports the training code first, knows better which there are.
    options["only"], options["skip"] = (_names(options.get(name, ())) for name in ("only", "skip"))
    wanted = Wanted(options["only"], options["skip"], options.get("max_seconds"))
    wanted.refuse_others([*PROOFS, *values.a])
    proofs = check_in_process(trainable, space_or_sets, audience, **options)
    return CheckReport(_name(trainable), values.a, values.b, proofs)


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
    root: Path | None = None,
    form: Form | None = None,
    toml: bool = False,
    on_proof: Callable[[Proof], None] | None = None,
    on_progress: Callable[[CheckProgress], None] | None = None,
) -> CheckReport:
    """Train a little, in many ways, and prove that training code can be bred.

    That is: rounds repeat exactly, a save leaves nothing out, a load is where training goes on, and
    every hyperparameter takes effect, in round 0 and after a load.

    Trains `rounds` rounds about 24 + 4 n times for n hyperparameters (a function: 7 + 4 n), in this
    process and in directories of its own, with the runner that the workers of a study use. A
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
        root: save below this directory; None: in a temporary one.
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
    wanted = Wanted(_names(only), _names(skip), max_seconds)
    record = None if algorithm is None else _record(algorithm, space_or_sets, metric)
    proofs = []
    with temporary_directory() if root is None else contextlib.nullcontext(root) as place:
        lab = Lab(trainable, values, Path(place), rounds, seed, record)
        tried = Proofs(
            lab, metric, moved, wanted,
            form=form, toml=toml, on_progress=on_progress or (lambda _: None),
        )  # fmt: skip
        for proof in tried.all():
            proofs.append(proof)
            if on_proof is not None:
                on_proof(proof)
    return CheckReport(_name(trainable), values.a, values.b, tuple(proofs))


def _names(given: Collection[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


def _name(trainable: Any) -> str:
    while isinstance(trainable, functools.partial):
        trainable = trainable.func
    path = getattr(trainable, "path", trainable)
    return path if isinstance(path, str) else getattr(path, "__qualname__", repr(path))


def _ignore(_: object) -> None:
    pass


def to_stderr(line: str) -> None:
    """Pass on what training prints."""
    sys.stderr.write(f"{line}\n")


@contextlib.contextmanager
def _checking() -> Iterator[None]:
    before = os.environ.get(CHECKING)
    os.environ[CHECKING] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[CHECKING]
        else:
            os.environ[CHECKING] = before


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
