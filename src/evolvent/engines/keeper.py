"""Keeps the leases of a worker alive, sends logged points, and notices when training hangs."""

from __future__ import annotations

import contextlib
import threading
import time
import weakref
from collections.abc import Callable
from types import TracebackType

from evolvent.engines.job import Job
from evolvent.errors import LeaseLost, StoreError
from evolvent.store.protocol import Store
from evolvent.store.records import Failure, FailureKind, Lease

_BEATS_PER_LEASE = 3
_FORGOTTEN = Failure(FailureKind.RETURNED, "the job was dropped without `with job:`")


class LeaseKeeper:
    """A thread that prolongs every lease it was given, three times in its span.

    The thread beats for the process, not for the training code: it stops with the process (killed,
    stopped, suspended) and then the lease runs out. A hang of the training code is told by the
    silence of `job.heartbeat` after it was called at least once. A job that its holder has let go
    without a word goes back to the queue.
    """

    def __init__(
        self, store: Store, *, lease_s: float, hang_s: float | None, on_hang: Callable[[Job], None]
    ) -> None:
        self._store = store
        self._lease_s = lease_s
        self._hang_s = hang_s
        self._on_hang = on_hang
        self._held: dict[str, tuple[Lease, weakref.ref[Job]]] = {}
        self._training: weakref.ref[Job] | None = None
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="evolvent-leases", daemon=True)

    def __enter__(self) -> LeaseKeeper:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._closed.set()
        self._thread.join()

    def hold(self, lease: Lease, job: Job) -> None:
        """Prolong this lease from now on; its job is the one that trains."""
        with self._lock:
            self._held[job.id] = (lease, weakref.ref(job))
            self._training = weakref.ref(job)

    def trained(self, job: Job) -> None:
        """Training has ended: no hang can happen any more, the lease is still kept."""
        if self._trains() is job:
            self._training = None

    def drop(self, job: Job) -> None:
        """Leave the lease alone from now on; returns when no heartbeat of it is under way."""
        self.trained(job)
        with self._lock:
            self._held.pop(job.id, None)

    def _run(self) -> None:
        interval = self._lease_s / _BEATS_PER_LEASE
        next_beat = time.monotonic() + interval
        while not self._closed.wait(min(interval, 1.0)):
            self._watch()
            self._give_back_dropped()
            if time.monotonic() >= next_beat:
                next_beat = time.monotonic() + interval
                with self._lock:
                    for lease, kept in list(self._held.values()):
                        self._beat(lease, kept())

    def _watch(self) -> None:
        job = self._trains()
        if job is None or job.last_beat is None or self._hang_s is None:
            return
        if time.monotonic() - job.last_beat > self._hang_s and job is self._trains():
            job.last_beat = None  # told once, and again after a next heartbeat
            self._on_hang(job)

    def _trains(self) -> Job | None:
        return None if self._training is None else self._training()

    def _give_back_dropped(self) -> None:
        """Hand back jobs that nobody can report any more: asked for, and then forgotten."""
        with self._lock:
            for id, (lease, kept) in list(self._held.items()):
                if kept() is None:
                    del self._held[id]
                    self._closed.set()  # whoever asked for it will not do so
                    with contextlib.suppress(LeaseLost, StoreError):
                        self._store.fail(lease, _FORGOTTEN)

    def _beat(self, lease: Lease, job: Job | None) -> None:
        if job is None:
            return
        points = job.take_points()
        try:
            self._store.heartbeat(lease, lease_s=self._lease_s, points=points)
        except LeaseLost as e:
            job.lost = str(e)
            self._held.pop(job.id, None)
        except StoreError:
            job.return_points(points)  # busy or out of reach: the lease has two more beats to go
