"""Keeps the leases of a worker alive, sends logged points, and notices when training hangs."""

from __future__ import annotations

import contextlib
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass

from evolvent.core.records import JobId
from evolvent.engines.job import Job
from evolvent.errors import ConfigError, LeaseLost, StoreError
from evolvent.store.protocol import Store
from evolvent.store.records import Failure, FailureKind, Lease, Point

# Two answers in a row may get lost, to a busy file or a service that restarts, without harm.
_BEATS_PER_LEASE = 3
_MOST_SENT = 1000  # points at a time: a service takes a body of so many megabytes
_DROPPED = Failure(FailureKind.RETURNED, "the job was dropped without `with job:`")


@dataclass(slots=True)
class _HeldLease:
    """A lease with its job, and how many of its points are stored for sure."""

    lease: Lease
    job: weakref.ref[Job]  # weak: that a job is gone is how we learn that it was dropped
    n_stored: int = 0


class LeaseKeeper:
    """A thread that prolongs every lease it was given, three times in its span.

    The thread beats for the process, not for the training code: it stops with the process (killed,
    stopped, suspended) and then the lease runs out. A hang of the training code is known by the
    silence of `job.heartbeat` after it was called at least once. A job that nobody refers to any
    more, and so nobody can report, goes back to the queue.
    """

    def __init__(
        self, store: Store, *, lease_s: float, hang_s: float | None, on_hang: Callable[[Job], None]
    ) -> None:
        self.store = store
        self._lease_s = lease_s
        self._hang_s = hang_s
        self._on_hang = on_hang
        # By attempt: one that was lost may still be sealed when its worker is given the job again.
        self._held: dict[tuple[JobId, int], _HeldLease] = {}
        self._training: weakref.ref[Job] | None = None
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="evolvent-leases", daemon=True)

    def __enter__(self) -> LeaseKeeper:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._thread.join()

    def hold(self, lease: Lease, job: Job) -> None:
        """Prolong this lease from now on; its job is the one that trains."""
        with self._lock:
            self._held[job.id, job.attempt] = _HeldLease(lease, weakref.ref(job))
            self._training = weakref.ref(job)

    def training_ended(self, job: Job) -> None:
        """Training has ended: no hang can happen any more, the lease is still kept."""
        training = self._training
        if training is not None and training() is job:
            self._training = None

    def drop(self, job: Job, *, flush: bool = False) -> int:
        """Leave the lease alone from now on; returns when no heartbeat of it is under way.

        With `flush`, what the job has logged since is sent; not needed before a report. Returns how
        many of its points are stored for sure.
        """
        self.training_ended(job)
        # The thread has the lock for as long as it beats: whoever gets it knows that no heartbeat
        # is under way, so none can reach the store after the report that comes next.
        with self._lock:
            held = self._held.pop((job.id, job.attempt), None)
            if held is not None and flush and job.logged(after=held.n_stored):
                self._beat(held, job)
        return 0 if held is None else held.n_stored

    def _run(self) -> None:
        interval = self._lease_s / _BEATS_PER_LEASE
        next_beat = time.monotonic() + interval
        # Once a second at least: hangs and dropped jobs are noticed between beats of a long lease.
        while not self._closed.wait(min(interval, 1.0)):
            self._check_hang()
            self._release_dropped()
            if time.monotonic() >= next_beat:
                next_beat = time.monotonic() + interval
                with self._lock:
                    for held in list(self._held.values()):
                        self._beat(held, held.job())

    def _check_hang(self) -> None:
        training = self._training  # read once: the worker's thread may end it at any time
        job = None if training is None else training()
        if job is None or job.last_beat is None or self._hang_s is None:
            return
        # Still the same one? Else training ended while we looked, and silence was no hang.
        if time.monotonic() - job.last_beat > self._hang_s and training is self._training:
            job.last_beat = None  # reported once, and again after a next heartbeat
            self._on_hang(job)

    def _release_dropped(self) -> None:
        """Hand back jobs that nobody can report any more: asked for, and then forgotten."""
        with self._lock:
            for key, held in list(self._held.items()):
                if held.job() is None:
                    del self._held[key]
                    # An asked job has a keeper of its own, and nobody is left to close it.
                    self._closed.set()
                    with contextlib.suppress(LeaseLost, StoreError):
                        self.store.fail(held.lease, _DROPPED)

    def _beat(self, held: _HeldLease, job: Job | None) -> None:
        if job is None:
            return

        def send(points: list[Point], offset: int) -> None:
            self.store.heartbeat(held.lease, lease_s=self._lease_s, points=points, offset=offset)

        try:
            held.n_stored = send_points(send, job, after=held.n_stored)
        except LeaseLost as e:
            # Training hears of it at its next `job.heartbeat`; should it never call that, its
            # report is refused by its attempt number.
            job.lost = str(e)
            self._held.pop((job.id, job.attempt), None)
        except StoreError:
            pass  # busy or out of reach: the lease has two more beats to go


def send_points(
    send: Callable[[list[Point], int], None],
    job: Job,
    *,
    after: int,
    last: Callable[[list[Point], int], None] | None = None,
) -> int:
    """Send what a job has logged since, in pieces; return how many of its points are stored then.

    Args:
        send: stores points, given with how many came before them.
        job: keeps all points that it has logged: they may be wanted again.
        after: so many are stored already.
        last: stores the last piece, be it empty, in place of `send`.
    """
    while True:
        points = job.logged(after=after, most=_MOST_SENT)
        ends = len(points) < _MOST_SENT
        try:
            (last if ends and last is not None else send)(points, after)
        except ConfigError as e:
            if e.field != "offset" or after == 0:
                raise
            # Fewer are stored than were: a crash of the database has undone the newest heartbeats,
            # which are not synced.
            after = 0
            continue
        after += len(points)
        if ends:
            return after
