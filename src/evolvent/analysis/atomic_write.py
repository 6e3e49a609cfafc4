"""Files that are there whole or not at all: written aside, then renamed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
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
    target = Path(path)
    if target.is_dir():
        raise error(f"cannot write {target}: it is a directory")
    if target.exists() and not target.is_file():
        try:
            yield target
        except OSError as e:
            raise error(f"cannot write {target}: {e.strerror or e}") from e
        return
    target = target.resolve()
    # Beside the target: across file systems a rename is a copy, and a copy can be cut short.
    # Under the number of this process: another that writes the same file has its own.
    aside = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        yield aside
        aside.replace(target)
    except OSError as e:
        raise error(f"cannot write {target}: {e.strerror or e}") from e
    finally:
        aside.unlink(missing_ok=True)
