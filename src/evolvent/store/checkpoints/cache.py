"""Checkpoints of services that this machine keeps: bounded, and shared by all its processes.

They lie below EVOLVENT_CACHE (otherwise `~/.cache/evolvent`), named by what is in them, whichever
study they are of. Together they have EVOLVENT_CACHE_GB gigabytes (20), for a moment some 5% more;
those that were used longest ago go first. None goes while a job that started from it runs, nor the
last few that were asked for outside of a job, so they may be more for as long as they are needed.
"""

from __future__ import annotations

import math
import os
import secrets
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TypeAlias

from evolvent.errors import CheckpointDamaged, CheckpointError, CheckpointMissing, ConfigError
from evolvent.store import locks
from evolvent.store.checkpoints import files as tree
from evolvent.store.checkpoints import manifest
from evolvent.store.checkpoints.files import FileEntry
from evolvent.store.checkpoints.local import LocalCheckpoints
from evolvent.validation import cut

PLACE, LIMIT = "EVOLVENT_CACHE", "EVOLVENT_CACHE_GB"

_DEFAULT_GB, _GB = "20", 1e9
_SLACK = 0.05
_MAX_UNBOUND = 8  # held although no job is: a notebook looks at one, and then at another

Bring: TypeAlias = Callable[[Path], Sequence[FileEntry]]
"""Writes the files of a checkpoint into a directory and returns them, by name."""


class CheckpointCache:
    """A directory of checkpoints that came from elsewhere, or went there.

    Args:
        root: where they live; made when first needed.
        limit: bytes that they may have together.
    """

    def __init__(self, root: Path, *, limit: float) -> None:
        self.local = LocalCheckpoints(root, sync=False)  # what is lost is brought again
        self.limit = limit
        self._locks = self.local.root / "locks"
        self._token = secrets.token_hex(8)
        self._alive: locks.Lock | None = None
        self._lock = threading.Lock()
        self._unmeasured = math.inf  # bytes, since the last look at the whole
        self._holds: dict[Path, list[locks.Lock]] = {}
        self._unbound: deque[locks.Lock] = deque()
        self._last = threading.local()

    # --- saving --------------------------------------------------------------------------------

    def stage(self, label: str, *, spare_s: float = 0.0) -> Path:
        """Make a private directory; it goes when this process has ended, if not before.

        What this thread uses from now on is held until it is dropped.

        Raises:
            CheckpointError: the disk is full or read-only; says where.
        """
        staged = self._stage(label, spare_s=spare_s)
        with self._lock:
            self._holds[staged] = []
        self._last.staged = staged
        return staged

    def drop(self, staged: Path) -> None:
        """Remove a staged directory, and let go of what its job used."""
        with self._lock:
            held = self._holds.pop(staged, [])
        for lock in held:
            lock.release()
        self.local.drop(staged)

    def keep(self, staged: Path, entries: Sequence[FileEntry]) -> None:
        """Keep frozen files under a second name, since the next job goes on from them."""
        n_bytes = _size(entries)
        if n_bytes > self.limit:
            return
        # A second name of the same bytes, as the staged ones go with their job. What cannot be kept
        # is brought when it is wanted.
        with suppress(OSError, CheckpointError):
            copy = self._stage("kept")
            try:
                tree.link_tree(staged, copy)
                lock = self._hold(self.local.publish(copy, entries))
            finally:
                self.local.drop(copy)
            # Its next job will hold it. It may go until then, and is brought again.
            lock.release()
            self._count_added(n_bytes)

    # --- using ---------------------------------------------------------------------------------

    def use(self, address: str, bring: Bring) -> Path:
        """Return the directory of a checkpoint after checking every byte of it; it is held.

        Args:
            address: of the checkpoint.
            bring: called when its files are not here, or not sound; what it raises comes out.

        Raises:
            CheckpointDamaged: other files came than those of this address.
            CheckpointError: the disk is full or read-only; says where.
        """
        lock = self._hold(address)
        try:
            path = self._verified(address) or self._bring_in_turn(address, bring)
        except BaseException:
            lock.release()
            raise
        self._bind(lock)
        return path

    def found(self, address: str) -> Path | None:
        """Return its directory, unread and held, if it is here."""
        lock = self._hold(address)
        if address not in self.local:
            lock.release()
            return None
        self._bind(lock)
        return self.local.path(address)

    def _hold(self, address: str) -> locks.Lock:
        """Lock a checkpoint against eviction, before looking whether it is here."""
        name = self.local.path(address).name
        # First the lock and then the look: what is found cannot go any more.
        self._mark_alive()
        try:
            tree.make_directory(self._locks, sync=False)  # somebody may have cleared the cache
            lock = locks.shared(self._locks / name)
            lock.touch()
        except OSError as e:
            raise tree.translate_error(e, doing="lock", path=self._locks / name) from e
        return lock

    def _bind(self, lock: locks.Lock) -> None:
        """Hold on until the job of this thread is over."""
        over: locks.Lock | None = None
        # By thread, as a worker reports one job while it trains the next.
        with self._lock:
            job = self._holds.get(getattr(self._last, "staged", None) or Path())
            if job is not None:
                job.append(lock)
                return
            self._unbound.append(lock)
            # Nobody says when a notebook is done with one: the oldest is let go.
            if len(self._unbound) > _MAX_UNBOUND:
                over = self._unbound.popleft()
        if over is not None:
            over.release()

    def _verified(self, address: str) -> Path | None:
        try:
            return self.local.verify(address)
        except CheckpointMissing:
            return None
        except CheckpointDamaged:
            # Others that hold it have read it already, or find out themselves.
            self.local.discard([address])
            self.local.empty_trash()
            return None

    def _bring_in_turn(self, address: str, bring: Bring) -> Path:
        """Bring a checkpoint; processes that want the same one wait for the first."""
        # Not the lock of the checkpoint itself, which all of them hold shared already.
        turn = locks.exclusive(self._locks / f"{address}.turn")
        try:
            # Looked at again: whoever had the turn before may have brought it.
            return self._verified(address) or self._bring_in(address, bring)
        finally:
            turn.remove()
            turn.release()

    def _bring_in(self, address: str, bring: Bring) -> Path:
        staged = self._stage("brought")
        try:
            entries = bring(staged)
            if manifest.address_of(entries) != address:
                raise CheckpointDamaged(f"checkpoint {address}: the files are not those of it")
            self.local.publish(staged, entries)
        except OSError as e:
            raise tree.translate_error(e, doing="write", path=staged) from e
        finally:
            self.local.drop(staged)
        self._count_added(_size(entries))
        return self.local.path(address)

    # --- bounds --------------------------------------------------------------------------------

    def evict(self) -> None:
        """Remove what was used longest ago until the rest is below the limit."""
        # A little further than asked: else every checkpoint that comes would have to look at all.
        found = sorted(filter(None, map(self._last_use, self.local.addresses())))
        total = sum(n_bytes for _, _, n_bytes in found)
        if total <= self.limit:
            return
        for _, address, n_bytes in found:
            if total <= self.limit * (1 - _SLACK):
                break
            if self._evict_one(address):
                total -= n_bytes
        self.local.empty_trash()

    def _evict_one(self, address: str) -> bool:
        lock = locks.try_exclusive(self._locks / address)
        if lock is None:  # a job uses it, here or in another process
            return False
        self.local.discard([address])
        # While it is held: who waits for a file of that name finds it removed, and takes a new one.
        lock.remove()
        lock.release()
        return True

    def _last_use(self, address: str) -> tuple[int, str, int] | None:
        """Return when it was last used, which it is, and its bytes; None when it is just gone."""
        used = self._locks / address
        when = used if used.exists() else self.local.path(address)
        try:
            return tree.changed_ns(when), address, sum(self.local.files(address).values())
        except CheckpointError:
            return None

    def _count_added(self, n_bytes: int) -> None:
        # Others add to the directory, too, unseen until the next look: the limit is not exact.
        with self._lock:
            self._unmeasured += n_bytes
            due = self._unmeasured > self.limit * _SLACK
            if due:
                self._unmeasured = 0.0
        if due:
            self.evict()

    def _stage(self, label: str, *, spare_s: float = 0.0) -> Path:
        self._mark_alive()
        return self.local.stage(f"{self._token}.{label}", spare_s=spare_s)

    def _mark_alive(self) -> None:
        """Show that this process lives; clear up after those that do not."""
        with self._lock:
            if self._alive is not None:
                return
            # Held until this process ends, however it ends: the kernel lets go of it. Only then
            # do others take what it staged for leftovers.
            try:
                tree.make_directory(self._locks, sync=False)
                self._alive = locks.exclusive(self._locks / f"alive-{self._token}")
            except OSError as e:
                cause = tree.translate_error(e, doing="make the directory", path=self._locks)
                raise CheckpointError(f"{cause} (or name another one in {PLACE})") from e
        for path in tree.list_dir(self._locks):
            if path.name.startswith("alive-") and (lock := locks.try_exclusive(path)):
                token = path.name.removeprefix("alive-")
                for left in self.local.root.glob(f"staging/{token}.*"):
                    self.local.drop(left)
                lock.remove()
                lock.release()


@cache
def cache_at(root: Path, limit: float) -> CheckpointCache:
    """Return the cache of a directory, the same one throughout this process."""
    return CheckpointCache(root, limit=limit)


def cache_of_this_machine() -> CheckpointCache:
    """Return the cache that the environment names.

    Raises:
        ConfigError: EVOLVENT_CACHE_GB is no number of gigabytes.
    """
    given = os.environ.get(PLACE)
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    root = Path(given) if given else Path(base).expanduser() / "evolvent"
    text = os.environ.get(LIMIT, _DEFAULT_GB)
    try:
        limit = float(text) * _GB
    except ValueError:
        limit = math.nan
    if not limit >= 0:
        raise ConfigError(f"{LIMIT}: got {cut(text)}, wanted gigabytes, such as {_DEFAULT_GB}")
    return cache_at(root.absolute() / "checkpoints", limit)


def _size(entries: Sequence[FileEntry]) -> int:
    return sum(entry.size for entry in entries)
