"""A private directory in which a study is put together before it appears in a store."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeAlias

from evolvent.errors import CheckpointError
from evolvent.store import files as tree
from evolvent.store.checkpoints import Checkpoints

Save: TypeAlias = Callable[[Checkpoints], None]
"""Seals the checkpoints that come along with a study."""

_PREFIX = "incoming-"
_ABANDONED_S = 24 * 3600.0


@contextmanager
def incoming(parent: Path) -> Iterator[Path]:
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
        raise tree.explained(e, doing="make the directory", path=place) from e
    try:
        _clear(parent)
        yield place
    finally:
        with suppress(OSError):
            tree.remove(place)
        if made:
            with suppress(OSError):  # something has come in: then it stays
                parent.rmdir()


def settle(checkpoints: Checkpoints, place: Path) -> None:
    """Move a whole directory of checkpoints to its place; call where nobody else can take it.

    What a killed process may have left at that place, of a study that never came to be, goes.

    Raises:
        CheckpointError: it cannot be moved; says where.
    """
    if not checkpoints.root.exists():
        return
    try:
        tree.remove(place)
        os.rename(checkpoints.root, place)
        if checkpoints.sync:
            tree.sync_directory(place.parent)
    except OSError as e:
        raise tree.explained(e, doing="move the checkpoints to", path=place) from e


def discarded(place: Path) -> None:
    """Remove checkpoints that were moved in vain."""
    with suppress(OSError, CheckpointError):
        tree.remove(place)


def _clear(parent: Path) -> None:
    oldest = time.time() - _ABANDONED_S
    for left in parent.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            if left.stat().st_mtime < oldest:
                tree.remove(left)
