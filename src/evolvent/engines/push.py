"""Models that were trained elsewhere, brought into a study as members whose round 0 is done."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from evolvent.core.records import JobId
from evolvent.engines.runner import judge
from evolvent.errors import CheckpointMissing, ConfigError, TrainableError, UnknownName
from evolvent.store.checkpoints import files as tree
from evolvent.store.protocol import Store
from evolvent.store.records import Failure, Report

_MAX_TRIES = 3
_SPARE_S = 24 * 3600.0  # no lease protects what is copied here from being swept: its age does


def push_done(
    store: Store,
    study: int,
    hyperparameters: Mapping[str, Any],
    metrics: Mapping[str, Any] | None,
    checkpoint: str | Path | None,
) -> JobId:
    """Copy a model into a study and add the member it belongs to; see `Study.push`.

    The hyperparameters must be all of them: nothing is drawn for what has been trained.

    Raises:
        ConfigError: names the argument, what came and what was wanted.
        CheckpointError: the files cannot be read or copied.
    """
    if metrics is None or checkpoint is None:  # it could be ranked, but not copied
        raise ConfigError(
            f"{'metrics' if metrics is None else 'checkpoint'}: missing: a model that was trained "
            "elsewhere comes with both, its metrics and its checkpoint; leave both out for a "
            "member that is to be trained"
        )
    record, directory = store.status(study).record, Path(checkpoint)
    values = record.space.check(hyperparameters)
    try:
        verdict = judge(metrics, record)
    except TrainableError as e:
        problem = str(e).removeprefix("training returned").lstrip(": ")
        raise ConfigError(f"metrics: {problem}") from e
    if isinstance(verdict, Failure):
        raise ConfigError(f"metrics: {verdict.message}, wanted a finite number")
    _check_directory(directory)
    for _ in range(_MAX_TRIES - 1):
        with suppress(CheckpointMissing):  # collected before it was named in the log
            return _push(store, study, values, verdict, directory)
    return _push(store, study, values, verdict, directory)


def _push(
    store: Store,
    study: int,
    hyperparameters: Mapping[str, Any],
    verdict: tuple[float, dict[str, Any]],
    directory: Path,
) -> JobId:
    checkpoints = store.checkpoints(study)
    staged = checkpoints.stage("pushed", spare_s=_SPARE_S)
    try:
        try:
            tree.copy_tree(directory, staged)
        except OSError as e:
            raise tree.translate_error(e, doing="copy", path=directory) from e
        address = checkpoints.seal(staged)
        return store.push(study, hyperparameters, done=Report(*verdict, address))
    finally:
        checkpoints.drop(staged)


def _check_directory(directory: Path) -> None:
    if not directory.is_dir():
        kind = ConfigError if directory.exists() else UnknownName
        raise kind(f"checkpoint: got {directory}, wanted a directory with the model's files")
    try:
        found = tree.listing(directory)  # refuses links that lead out, by the user's names
    except OSError as e:
        raise tree.translate_error(e, doing="read", path=directory) from e
    if not found:
        raise ConfigError(f"checkpoint: {directory} is empty, wanted the model's files")
