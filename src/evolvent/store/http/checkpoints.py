"""The checkpoints of a study behind a service: saved and loaded by way of this machine's cache."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from evolvent.errors import CheckpointDamaged, CheckpointMissing, UnknownStudy
from evolvent.store.checkpoints import manifest
from evolvent.store.checkpoints.cache import CheckpointCache, cache_of_this_machine
from evolvent.store.checkpoints.files import FileEntry
from evolvent.store.codec.messages import CHECKPOINT
from evolvent.store.http.transfer import download, upload
from evolvent.store.http.transport import Transport


class HttpCheckpoints:
    """The checkpoints of one study; where they are kept is the service's business.

    A worker saves into a directory of its own machine. `seal` hashes it here and sends what the
    service lacks; `verify` brings what this machine lacks. Both go on where a broken connection
    ended, also through a restart of the service. What this machine keeps, of all studies, goes by
    itself: see `CheckpointCache`; by default it is the one that the environment names. What
    `CheckpointStore` promises is not said again.
    """

    def __init__(
        self, transport: Transport, study: int, *, cache: CheckpointCache | None = None
    ) -> None:
        self._transport = transport
        self._path = f"/studies/{study}"
        self._cache = cache if cache is not None else cache_of_this_machine()
        self._local = self._cache.local

    @property
    def root(self) -> Path:
        return self._local.root

    def stage(self, label: str, *, spare_s: float = 0.0) -> Path:
        return self._cache.stage(label, spare_s=spare_s)

    def drop(self, staged: Path) -> None:
        self._cache.drop(staged)

    def seal(self, staged: Path) -> str:
        """Send a staged directory to the service, as far as it lacks it; it stays staged.

        Raises:
            CheckpointTooLarge: it is above the limit of the service, which is named.
            StoreUnavailable: the service cannot be reached.
        """
        entries = self._local.freeze(staged)
        upload(self._transport, self._path, staged, entries)
        # Only then: what the service refuses is of no use to a next job here.
        self._cache.keep(staged, entries)
        return manifest.address_of(entries)

    def path(self, address: str) -> Path:
        return self._local.path(address)

    def __contains__(self, address: str) -> bool:
        try:
            self._manifest(address)
        except (CheckpointMissing, UnknownStudy):
            return False
        return True

    def fetch(self, address: str) -> Path:
        return self._cache.found(address) or self.verify(address)

    def verify(self, address: str) -> Path:
        """Return its directory on this machine, brought here if need be, every byte checked.

        It stays for as long as the job that was staged last by this thread, or else for a while.

        Raises:
            StoreUnavailable: the service cannot be reached.
        """
        return self._cache.use(address, lambda target: self._bring(address, target))

    def files(self, address: str) -> dict[str, int]:
        entries = self._manifest(address)
        return {entry.name: entry.size for entry in entries if not entry.name.endswith("/")}

    def _bring(self, address: str, target: Path) -> list[FileEntry]:
        entries = self._manifest(address)
        download(self._transport, f"{self._path}/checkpoints/{address}", target, entries)
        return list(entries)

    def _manifest(self, address: str) -> Sequence[FileEntry]:
        self._local.path(address)  # refuses what is no address
        answer = self._transport.request("GET", f"{self._path}/checkpoints/{address}")
        entries = self._transport.read(CHECKPOINT, answer).files
        if manifest.address_of(entries) != address:
            raise CheckpointDamaged(f"checkpoint {address}: the service has sent another list")
        return entries
