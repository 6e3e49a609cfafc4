"""Checkpoints held for a while: they outlive a collection, and cost no space."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from evolvent.core.records import JobId
from evolvent.errors import CheckpointMissing
from evolvent.store.checkpoints import files as tree
from evolvent.store.checkpoints.local import LocalCheckpoints
from evolvent.store.checkpoints.protocol import CheckpointStore

_SPARED_S = 24 * 3600.0
CheckpointWriter: TypeAlias = Callable[[LocalCheckpoints], None]
"""Seals the checkpoints that come along with a study."""
_PREFIX = "incoming-"
_ABANDONED_S = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class HeldCheckpoints:
    """Checkpoints that stay for a while.

    Attributes:
        addresses: by the job that was asked for; jobs with equal contents share one.
        directories: by address, with the files.
    """

    addresses: Mapping[JobId, str]
    directories: Mapping[str, Path]


@contextmanager
def hold(checkpoints: LocalCheckpoints, chosen: Mapping[JobId, str]) -> Iterator[HeldCheckpoints]:
    """Hold checkpoints; enter while nobody can discard any.

    Their files are linked into a staging directory, which a `sweep` spares for a day: so long may
    it take to read them, whatever is collected meanwhile.

    Args:
        checkpoints: where they are.
        chosen: addresses by job.

    Yields:
        What is held.

    Raises:
        CheckpointMissing: names the job and the address.
        CheckpointError: they cannot be linked; says where.
    """
    for job, address in chosen.items():
        require(checkpoints, job, address)
    if not chosen:
        yield HeldCheckpoints({}, {})
        return
    if not os.access(checkpoints.root, os.W_OK):  # nor can anybody here collect them
        directories = {address: checkpoints.path(address) for address in chosen.values()}
        yield HeldCheckpoints(chosen, directories)
        return
    # Further names of the same bytes: what a collection discards meanwhile keeps these.
    staged = checkpoints.stage("export", spare_s=_SPARED_S)
    try:
        addresses = dict.fromkeys(chosen.values())
        yield HeldCheckpoints(
            chosen, {a: _linked(checkpoints.path(a), staged / a) for a in addresses}
        )
    finally:
        checkpoints.drop(staged)


def require(
    checkpoints: CheckpointStore, job: JobId, address: str, *, verify: bool = False
) -> Path:
    """Return the directory of a job's checkpoint, if asked after checking every byte of it.

    Raises:
        CheckpointMissing: names the job, the address and the place.
        CheckpointDamaged: names the damaged file.
    """
    try:
        return checkpoints.verify(address) if verify else checkpoints.fetch(address)
    except CheckpointMissing as e:
        raise CheckpointMissing(
            f"the checkpoint of {job} ({address}) is not at {checkpoints.path(address)}: it was"
            " collected, as nothing needed it, was removed by hand, or was not in the archive that"
            " the study came from"
        ) from e


def _linked(source: Path, target: Path) -> Path:
    try:
        tree.link_tree(source, target)
        with suppress(OSError):  # the list beside it, should it be damaged: there may be none
            os.link(f"{source}.json", f"{target}.json")
    except OSError as e:  # of copytree's own kind, too, which tells many at once
        raise tree.translate_error(e, doing="hold the checkpoint at", path=source) from e
    return target


@contextmanager
def staging_area(parent: Path) -> Iterator[Path]:
    """Make a directory in `parent` for as long as the context lasts.

    What a killed process has left there is removed by the next one, a day later.

    Raises:
        CheckpointError: it cannot be made; says where.
    """
    made = not parent.exists()
    place = parent / f"{_PREFIX}{secrets.token_hex(8)}"
    try:
        tree.make_directory(place, sync=False)
    except OSError as e:
        raise tree.translate_error(e, doing="make the directory", path=place) from e
    try:
        _clear(parent)
        yield place
    finally:
        with suppress(OSError):
            tree.remove(place)
        if made:
            with suppress(OSError):  # something has come in: then it stays
                parent.rmdir()


def publish_dir(checkpoints: LocalCheckpoints, place: Path) -> None:
    """Move a whole directory of checkpoints to its place; call where nobody else can take it.

    What a killed process may have left at that place, of a study that never came to be, goes.

    Raises:
        CheckpointError: it cannot be moved; says where.
    """
    if not checkpoints.root.exists():
        return
    try:
        tree.remove(place)
        # All in one step: after a crash the study has all of its checkpoints or does not exist.
        os.rename(checkpoints.root, place)
        if checkpoints.sync:
            tree.sync_path(place.parent)
    except OSError as e:
        raise tree.translate_error(e, doing="move the checkpoints to", path=place) from e


def _clear(parent: Path) -> None:
    # By age: no lock tells whether who made it still lives, on this machine or another.
    oldest = time.time() - _ABANDONED_S
    for left in parent.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            if left.stat().st_mtime < oldest:
                tree.remove(left)
