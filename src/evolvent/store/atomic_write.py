"""Files that are there whole or not at all: written aside, then renamed."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EISDIR, ELOOP
from pathlib import Path

from evolvent.errors import EvolventError


@contextmanager
def replacing(
    path: str | os.PathLike[str], *, error: type[EvolventError] = EvolventError
) -> Iterator[Path]:
    """Give a path beside `path` to write to, which takes its place when that has gone well.

    When it has not, `error` is raised, and what was there before is still there. Of a link, the
    file that it leads to is replaced. A pipe or a device is written to as it is.
    """
    target = Path(os.path.realpath(path))
    # Beside the target: across file systems a rename is a copy, and a copy can be cut short.
    # Under a name of its own: others may write the same file.
    aside = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        if target.is_dir():
            raise OSError(EISDIR, "it is a directory")
        if target.is_symlink():
            raise OSError(ELOOP, "it is a link that leads to itself")
        if is_special(target):
            yield target
            return
        try:
            yield aside
            aside.replace(target)
        finally:
            aside.unlink(missing_ok=True)
    except OSError as e:
        raise error(f"cannot write {os.fspath(path)}: {e.strerror or e}") from e


def is_special(path: Path) -> bool:
    """Whether a path leads to a pipe, a socket or a device: to be neither replaced nor removed."""
    return path.exists() and not (path.is_file() or path.is_dir())
