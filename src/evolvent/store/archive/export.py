"""An archive as a file: written beside its place, and moved there when it is whole."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, get_args

from evolvent.core.records import JobId
from evolvent.errors import ArchiveError, UnknownJob
from evolvent.store.archive.manifest import Manifest
from evolvent.store.archive.reader import is_archive
from evolvent.store.archive.writer import write_archive
from evolvent.store.atomic_write import replacing
from evolvent.store.checkpoints import files
from evolvent.store.dump import Chosen
from evolvent.store.protocol import Store
from evolvent.validation import cut, invalid

_CHOICES = get_args(get_args(Chosen)[0])


def export_study(store: Store, study: int, path: str | Path, *, checkpoints: Chosen) -> Manifest:
    """Write a study as of now into one file; see `Study.export`.

    Raises:
        ArchiveError: the file cannot be written.
        CheckpointMissing, CheckpointDamaged: names the job.
        UnknownJob: a job whose checkpoint is wanted is not done.
    """
    with (
        _replacing(Path(path)) as file,
        store.dump(study, checkpoints=checkpoints) as (dump, held),
    ):
        return write_archive(file, dump, held)


@contextmanager
def _replacing(path: Path) -> Iterator[IO[bytes]]:
    """Give a new file that takes its place when it is whole, and else is gone.

    Raises:
        ArchiveError: it cannot be written there, or would replace something that is no archive.
    """
    if path.exists() and not (path.is_file() and is_archive(path)):
        raise ArchiveError(f"{path} is there and is no archive of ours: choose another name")
    with replacing(path, error=ArchiveError) as aside, aside.open("xb") as file:
        yield file
        # Synced before it gets its name, and the name after: a power cut leaves the old archive
        # or the new one, never a name for half of one.
        file.flush()
        os.fsync(file.fileno())
    files.sync_path(path.resolve().parent)


def parse_choice(choice: str | Iterable[str]) -> Chosen:
    """Return the choice of `"best"`, `"kept"`, `"pinned"`, `"none"`, or of job ids.

    Args:
        choice: a word, job ids separated by commas, or a list of job ids.

    Raises:
        ConfigError: says what came and what was wanted.
    """
    for word in _CHOICES:
        if choice == word:
            return word  # type: ignore[no-any-return]  # what get_args gives has no type
    try:
        names = choice.split(",") if isinstance(choice, str) else [str(name) for name in choice]
        return [JobId.parse(name.strip()) for name in names]
    except (UnknownJob, TypeError) as e:
        words = ", ".join(map(repr, _CHOICES))
        raise invalid(
            "checkpoints", f"got {cut(choice)}, wanted {words}, or jobs such as 'm3r12,m0r7'"
        ) from e
