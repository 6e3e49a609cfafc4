"""SHA-256 of files, each computed once by a run for as long as nobody has touched the file.

A checkpoint is hashed when it is sealed and again when a job loads it: mostly the same bytes, by
a worker of the same run. A hash is kept under the device, inode, size and both times of its file.
Whoever writes to the file afterwards changes its time of change, which no program can set: so bytes
that were changed on disk are read again, and found.
"""

from __future__ import annotations

import fcntl
import hashlib
import math
import mmap
import os
import signal
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import TypeAlias

_BLOCK = 1 << 17  # one buffer for a file: a fresh megabyte costs as much time as its hash
_MOST_KEPT = 1 << 14
_COARSE_NS = 2_000_000_000  # the coarsest clock of a file system still in use
_CHANGES = 4
_FOLDERS_TRIED = 6

_STATE = struct.Struct("=5Q")
_MOST_NS = (1 << 64) - 1
_HASH_BYTES = _CHECK_BYTES = 32
_SLOT_BYTES = _STATE.size + _HASH_BYTES + _CHECK_BYTES
_SLOTS = 1 << 14

_FileState: TypeAlias = tuple[int, int, int, int, int]


@contextmanager
def shared_memory() -> Iterator[int | None]:
    """Make memory for hashes that processes share, who get it as a descriptor from this one.

    It has no name by which anybody else could reach it, and ends with the last of them: no boot, no
    copy of a disk and no other user can put a hash in it. None where the system has none such.
    """
    descriptor: int | None = None
    with suppress(AttributeError, OSError):  # macOS; forbidden by a container
        descriptor = os.memfd_create("evolvent-hashes")
        os.truncate(descriptor, _SLOTS * _SLOT_BYTES)
    try:
        yield descriptor
    finally:
        if descriptor is not None:
            os.close(descriptor)


class SharedHashes:
    """The hashes that the workers of a run share: of each inode the newest, in a fixed place.

    Nobody locks it, as a worker can be killed at any instant: every hash comes with a check sum. So
    one that is half written, or that two have written at once, counts as not known.
    """

    def __init__(self, descriptor: int) -> None:
        self._memory = mmap.mmap(descriptor, _SLOTS * _SLOT_BYTES)

    def get(self, state: _FileState) -> str | None:
        """Return the hash of a file in this state, if somebody has put it."""
        begin = state[1] % _SLOTS * _SLOT_BYTES
        slot = self._memory[begin : begin + _SLOT_BYTES]
        content = slot[:-_CHECK_BYTES]
        if not content.startswith(_packed(state)) or slot != content + _check_sum(content):
            return None
        return content[_STATE.size :].hex()

    def put(self, state: _FileState, sha256: str) -> None:
        begin = state[1] % _SLOTS * _SLOT_BYTES
        content = _packed(state) + bytes.fromhex(sha256)
        self._memory[begin : begin + _SLOT_BYTES] = content + _check_sum(content)

    def clear(self) -> None:
        self._memory[:] = bytes(len(self._memory))


class HashCache:
    """The hashes that a process knows; any thread may ask at any time."""

    def __init__(self) -> None:
        self._known: dict[_FileState, str] = {}
        self._shared: SharedHashes | None = None
        self._blind_ns: dict[int, float] = {}
        self._lock = threading.Lock()

    def share(self, descriptor: int) -> None:
        """Know from now on what others know that share this memory; takes over the descriptor."""
        with suppress(OSError, ValueError):  # no memory to be had: then each for itself
            self._shared = SharedHashes(descriptor)
        os.close(descriptor)  # the map stays; programs that training starts need not have it

    def hash(self, path: str) -> tuple[int, str]:
        """Return the size and hash of a file, which is read only if its hash is not known."""
        # Opened first: then size and times are those of now, also on a network file system.
        descriptor = os.open(path, os.O_RDONLY)
        try:
            before = os.fstat(descriptor)
            known = self.get(before)
            if known is not None:
                return before.st_size, known
            # Of a file that somebody is writing no hash is kept, as it is of the past already.
            # Asked first: a page that was mapped and written to before can change while it is
            # read, and be let go of, in no time of the file.
            settled = self._is_settled(descriptor, before, path)
            size, sha256 = _read(descriptor)
            state = _state(os.fstat(descriptor))
            if settled and state == _state(before) and _has_no_writer(descriptor):
                self._keep(state, sha256)
            return size, sha256
        finally:
            os.close(descriptor)

    def get(self, info: os.stat_result) -> str | None:
        """Return the hash of the file in this state, if it is known."""
        state = _state(info)
        known = self._known.get(state)
        return self._shared.get(state) if known is None and self._shared is not None else known

    def put(self, path: Path, sha256: str) -> None:
        """Keep the hash of a file that nobody but this process has written, and that is closed."""
        with suppress(OSError), path.open("rb", buffering=0) as file:
            info = os.fstat(file.fileno())
            if self._is_settled(file.fileno(), info, str(path)):
                self._keep(_state(info), sha256)

    def carry(self, before: os.stat_result, after: os.stat_result) -> None:
        """Keep the hash of a file of which we have changed the mode or the number of names.

        That renews the time of change. A write in between has renewed the time of writing, too.
        """
        old, new = _state(before), _state(after)
        if old[:-1] != new[:-1] or self._blind_ns.get(after.st_dev) != 0:
            return
        # Only where it was known before: what others have forgotten they shall not hear from us.
        if known := self._known.get(old):
            self._remember(new, known)
        if self._shared is not None and (known := self._shared.get(old)):
            self._shared.put(new, known)

    def clear(self) -> None:
        """Know nothing any more, nor let others of this run: as a process of another one would."""
        with self._lock:
            self._known.clear()
        if self._shared is not None:
            self._shared.clear()

    def renew_lock(self) -> None:
        """Begin with a lock that nobody holds, in a process that was forked."""
        self._lock = threading.Lock()

    def _keep(self, state: _FileState, sha256: str) -> None:
        self._remember(state, sha256)
        if self._shared is not None:
            self._shared.put(state, sha256)

    def _remember(self, state: _FileState, sha256: str) -> None:
        with self._lock:
            self._known[state] = sha256
            while len(self._known) > _MOST_KEPT:
                del self._known[next(iter(self._known))]

    def _is_settled(self, descriptor: int, info: os.stat_result, path: str) -> bool:
        """Whether nobody writes, and any change from now on will show in the time of change."""
        blind_ns = self._blind_ns.get(info.st_dev)
        if blind_ns is None:
            for folder in islice(Path(path).parents, _FOLDERS_TRIED):
                with suppress(OSError):  # it is sealed, or cannot hold a file without name
                    if os.stat(folder).st_dev == info.st_dev:
                        blind_ns = self._blind_ns[info.st_dev] = _blind_ns(folder)
                        break
        if blind_ns is None or time.time_ns() - info.st_ctime_ns < blind_ns:
            return False
        return _has_no_writer(descriptor)


def _blind_ns(folder: Path) -> float:
    """Return for how long after a change the next one may show in no time of the file.

    Linux tells changes apart since 6.13, on most local file systems; before, those of one tick of
    its clock look alike. Where writing through a map of the file never shows, it is for ever, and
    on systems that cannot say whether a file has a writer, such as macOS.
    """
    if not hasattr(fcntl, "F_SETLEASE"):
        return math.inf
    descriptor = os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC)
    try:
        seen = [_changed_ns(descriptor, bytes([n])) for n in range(_CHANGES)]
        fine = len(set(seen)) == _CHANGES
        if not fine:
            time.sleep(0.02)  # until the clock has gone on
        with mmap.mmap(descriptor, 1) as page:
            # Read first: tmpfs then lets the page be written to without hearing of it.
            page[0] = (page[0] + 1) % 256
            shows = os.fstat(descriptor).st_ctime_ns != seen[-1]
    finally:
        os.close(descriptor)
    return math.inf if not shows else 0 if fine else _COARSE_NS


def _changed_ns(descriptor: int, content: bytes) -> int:
    os.pwrite(descriptor, content, 0)
    return os.fstat(descriptor).st_ctime_ns


def _has_no_writer(descriptor: int) -> bool:
    """Whether nobody has the file open for writing: a map once written to shows no further change.

    The kernel gives a lease to nobody else. Somebody who opens the file just then waits until it
    is given back, and has the kernel send a signal, by default one that kills.
    """
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)  # ignored
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError:  # there is a writer, or it is another user's file, or of another machine
        return False
    return True


def _read(descriptor: int) -> tuple[int, str]:
    digest, size, block = hashlib.sha256(), 0, memoryview(bytearray(_BLOCK))
    while n := os.readv(descriptor, (block,)):
        digest.update(block[:n])
        size += n
    return size, digest.hexdigest()


def _packed(state: _FileState) -> bytes:
    # Times are cut to 64 bits: a program may set one of the year 3000, and file systems keep it.
    *numbers, written_ns, changed_ns = state
    return _STATE.pack(*numbers, written_ns & _MOST_NS, changed_ns & _MOST_NS)


def _check_sum(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def _state(info: os.stat_result) -> _FileState:
    return info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns


HASHES = HashCache()
"""Those of this process."""

# A thread of the parent may hold the lock just now; in the child nobody would let go of it.
os.register_at_fork(after_in_child=HASHES.renew_lock)
