"""What every store gives for the checkpoints of a study, wherever the files are."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class CheckpointStore(Protocol):
    """The checkpoints of one study: on this machine's disk, or behind a service."""

    @property
    def root(self) -> Path:
        """Where files of it are on this machine."""
        ...

    def stage(self, label: str, *, spare_s: float = 0.0) -> Path:
        """Make and return a fresh private directory on this machine, to save into.

        Args:
            label: part of its name (job and attempt), only to help people.
            spare_s: for so long no `sweep` may take it for a leftover.

        Raises:
            CheckpointError: the disk is full or read-only; says where.
        """
        ...

    def seal(self, staged: Path) -> str:
        """Turn a staged directory into a checkpoint that all workers can load; return its address.

        The staged directory may still be there, to be sealed again should the checkpoint be
        collected before it is reported; `drop` it then.

        Raises:
            CheckpointMissing: the staged directory is gone.
            CheckpointError: a link that leads out, a special file, or no room: says where.
        """
        ...

    def drop(self, staged: Path) -> None:
        """Remove a staged directory, if it is still there."""
        ...

    def path(self, address: str) -> Path:
        """Return where on this machine the checkpoint of this address is, or would be.

        Raises:
            CheckpointError: not an address.
        """
        ...

    def __contains__(self, address: str) -> bool: ...

    def fetch(self, address: str) -> Path:
        """Return its directory on this machine, bringing the files here if they are elsewhere.

        Raises:
            CheckpointMissing: it is not there.
        """
        ...

    def verify(self, address: str) -> Path:
        """As `fetch`, after checking every byte.

        Raises:
            CheckpointMissing: it is not there.
            CheckpointDamaged: names the file that is missing, added, or has other bytes.
        """
        ...

    def files(self, address: str) -> dict[str, int]:
        """Return the sizes in bytes of its files by relative name.

        Raises:
            CheckpointMissing: it is not there.
        """
        ...
