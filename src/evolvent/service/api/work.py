"""What workers do: claim, heartbeat, report, fail, release, reparent.

Claims may wait for a job: thousands of them, with no thread each and next to no work.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

from starlette.types import Receive

from evolvent.core.study import StudyRecord
from evolvent.errors import EvolventError
from evolvent.service.api.operations import ApiRequest, JsonCall, LongPoll
from evolvent.service.auth.roles import Role
from evolvent.service.web.body import watched
from evolvent.service.web.threads import StoreThreads
from evolvent.store.codec import messages as m
from evolvent.store.protocol import Store
from evolvent.store.records import Failure, FailureKind, Lease, Report, StudyState
from evolvent.validation import cut, invalid

LOOK_S = 0.5
"""How often the store is asked for what others have changed: expired leases, other services."""

_WENT_AWAY = Failure(FailureKind.RETURNED, "the worker went away while it waited for a job")
_WAKE_AFTER_S = 0.005
"""A worker that has just reported asks for its next job first: it has that model in its hands."""


@dataclass(eq=False, slots=True)
class _WaitingClaim:
    """One claim that waits; `turn` is done when it should look again, True when all is over."""

    turn: asyncio.Future[bool]


@dataclass(slots=True)
class _Queue:
    """The waiters of one study, the first come first."""

    waiters: list[_WaitingClaim] = field(default_factory=list)
    watcher: asyncio.Task[None] | None = None
    wake_timer: asyncio.TimerHandle | None = None
    wake_missed: bool = False
    looked_at: float = -math.inf

    def wake(self, *, over: bool = False) -> None:
        """Let the first one that is not looking already look; all of them when it is over."""
        # One at a time: with a thousand waiters and one new job, all others would look in vain.
        # Whoever finds a job wakes the next, so that no job lies there for want of a wake.
        for waiter in self.waiters:
            if not waiter.turn.done():
                waiter.turn.set_result(over)
                if not over:
                    return
        # All are looking already, and may have looked before the job was there.
        self.wake_missed = True

    def wait_again(self, waiter: _WaitingClaim) -> None:
        """Let a waiter that found nothing wait for its next turn: now, if a wake was missed."""
        waiter.turn = asyncio.get_running_loop().create_future()
        self.looked_at = time.monotonic()
        if self.wake_missed:
            self.wake_missed = False
            waiter.turn.set_result(False)


class ClaimQueue:
    """Hands out jobs of one store, now or when there are some."""

    def __init__(self, store: Store, threads: StoreThreads) -> None:
        self._store, self._threads = store, threads
        self._queues: dict[int, _Queue] = {}
        self._keys: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._closing = False

    async def claim(
        self,
        study: int,
        body: m.ClaimBody,
        receive: Receive,
        *,
        check: Callable[[], None],
        check_later: Callable[[], None],
    ) -> Lease | None:
        """Return a lease; None when there is none before `body.wait_s` are over, or no client.

        Args:
            study: number of the study.
            body: what is asked for.
            receive: tells when the client has gone away.
            check: called first, in the thread of the store; raises if this may not be.
            check_later: called instead before every look after the first: a wait is long enough
                for a token to be revoked in it.
        """
        until = time.monotonic() + body.wait_s
        async with watched(receive) as gone:
            if body.wait_s and self._none_just_now(study):
                # On the event loop: what it asks the store has been asked, and kept, for those
                # who wait. A look of its own would find nothing, as theirs did just now.
                check()
            else:
                lease = await self._try_claim(study, body, check, gone)
                if lease or body.wait_s == 0 or await self._is_over(study):
                    return lease
            async with self._enqueued(study) as waiter:
                # Asked before every wait: who was looking when all were sent home heard nothing.
                while not self._closing and await _wait_for_turn(
                    waiter, gone, until - time.monotonic()
                ):
                    lease = await self._try_claim(study, body, check_later, gone)
                    if lease is not None:
                        self.notify(study)  # there may be more
                        return lease
                    self._queues[study].wait_again(waiter)
        return None

    def notify(self, study: int) -> None:
        """Tell that there may be something to claim, or that the study may be over."""
        queue = self._queues.get(study)
        if queue is None or queue.wake_timer is not None:
            return
        # From here on nobody may conclude from the last look that there is nothing.
        queue.looked_at = -math.inf

        def now() -> None:
            queue.wake_timer = None
            queue.wake()

        queue.wake_timer = asyncio.get_running_loop().call_later(_WAKE_AFTER_S, now)

    def _none_just_now(self, study: int) -> bool:
        """Whether others wait who have found nothing just now: then there is nothing."""
        queue = self._queues.get(study)
        if queue is None or not queue.waiters or self._closing:
            return False
        return time.monotonic() - queue.looked_at < 2 * LOOK_S

    def close(self) -> None:
        """Send everybody home: the service stops."""
        # Seen also by those who are looking, in a thread, and hear of nothing until they are back.
        self._closing = True
        for queue in self._queues.values():
            queue.wake(over=True)

    async def _try_claim(
        self, study: int, body: m.ClaimBody, check: Callable[[], None], gone: asyncio.Task[None]
    ) -> Lease | None:
        """Claim once; hand a job back at once whose worker went away meanwhile."""

        def claim() -> Lease | None:
            check()
            return self._store.claim(
                study, worker=body.worker, lease_s=body.lease_s, prefer=body.prefer, key=body.key
            )

        async with self._one_at_a_time(body.key):
            lease = await self._threads.write(claim)
            if lease is None or not gone.done():
                return lease
            # Nobody is there to take it, and its lease would keep it from all others for a minute.
            # Still under the key: the same claim, sent again, must not be given it meanwhile.
            with contextlib.suppress(EvolventError):  # its lease will run out
                await self._threads.write(lambda: self._store.fail(lease, _WENT_AWAY))
        self.notify(study)
        return None

    def _one_at_a_time(self, key: str | None) -> AbstractAsyncContextManager[None]:
        """Keep out the client that gave up on its answer and asks again while we are at it."""
        if key is None:
            return contextlib.nullcontext()
        return self._keys.setdefault(key, asyncio.Lock())

    async def _is_over(self, study: int) -> bool:
        status = await self._threads.read(lambda: self._store.status(study))
        return status.state is not StudyState.OPEN

    @asynccontextmanager
    async def _enqueued(self, study: int) -> AsyncIterator[_WaitingClaim]:
        queue = self._queues.setdefault(study, _Queue())
        waiter = _WaitingClaim(asyncio.get_running_loop().create_future())
        queue.waiters.append(waiter)
        if queue.watcher is None:
            queue.watcher = asyncio.create_task(self._watch(study, queue))
        try:
            yield waiter
        finally:
            queue.waiters.remove(waiter)
            # It was its turn, and it left without looking: the wake was meant for somebody.
            if waiter.turn.done() and not waiter.turn.cancelled():
                queue.wake()
            if not queue.waiters:
                queue.watcher.cancel()
                self._queues.pop(study, None)

    async def _watch(self, study: int, queue: _Queue) -> None:
        """Look from time to time for what this service has not done itself."""
        # One task a study, however many wait: leases run out and other services write without a
        # word to us.
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                over = await self._is_over(study)
            except Exception:  # noqa: BLE001 - whoever waits finds out for itself, and tells
                over = False
            queue.wake(over=over)


async def _wait_for_turn(waiter: _WaitingClaim, gone: asyncio.Task[None], seconds: float) -> bool:
    """Wait until it is the waiter's turn to look; False when there is nothing to wait for."""
    waits: set[asyncio.Future[bool] | asyncio.Task[None]] = {waiter.turn, gone}
    if seconds > 0 and not waiter.turn.done():
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    return waiter.turn.done() and not waiter.turn.result() and not gone.done()


def _heartbeat(request: ApiRequest) -> None:
    body: m.HeartbeatBody = request.body
    lease = body.fence.lease(request.study)
    request.store.heartbeat(lease, lease_s=body.lease_s, points=body.points, offset=body.offset)


def _report(request: ApiRequest) -> None:
    body: m.ReportBody = request.body
    score = body.score
    if score is None:
        score = _score(request.store.status(request.study).record, body)
    report = Report(score, body.metrics, body.checkpoint, body.points, body.offset)
    request.store.report(body.fence.lease(request.study), report)


def _reparent(request: ApiRequest) -> Lease:
    body: m.ReparentBody = request.body
    lease = body.fence.lease(request.study)
    return request.store.reparent(lease, parent=body.parent, reason=body.reason)


def _score(record: StudyRecord, body: m.ReportBody) -> float:
    """Return the score that the metrics of a report come to."""
    value = body.metrics.get(record.metric)
    # Integers can be larger than any float.
    if not isinstance(value, (float, int)) or not abs(value) <= sys.float_info.max:
        got = "none" if value is None else cut(value)
        raise invalid(
            "metrics",
            f"got {got} for {record.metric!r}, wanted a finite number: it is the "
            "objective; a job whose metric is not finite has failed (POST …/fail)",
        )
    return float(record.score(value))


OPERATIONS: tuple[JsonCall | LongPoll, ...] = (
    LongPoll(
        method="POST", path="/studies/{study}/claim", role=Role.WORKER,
        summary="Get a job, waiting for one up to wait_s; 204 when there is none.",
        body=m.CLAIM, reply=m.LEASE,
    ),
    JsonCall(
        method="POST", path="/studies/{study}/heartbeat", role=Role.WORKER, run=_heartbeat,
        summary="Prolong a lease, and log points.", body=m.HEARTBEAT, errors=(409,),
    ),
    JsonCall(
        method="POST", path="/studies/{study}/report", role=Role.WORKER, run=_report,
        summary="A job is done. Without score it is that of the study's metric.",
        body=m.REPORT, errors=(409,), changes=True, decides=True,
    ),
    JsonCall(
        method="POST", path="/studies/{study}/fail", role=Role.WORKER, body=m.FAIL,
        run=lambda r: r.store.fail(r.body.fence.lease(r.study), r.body.failure),
        summary="An attempt came to nothing.", errors=(409,), changes=True, decides=True,
    ),
    JsonCall(
        method="POST", path="/studies/{study}/release", role=Role.WORKER, body=m.RELEASE,
        run=lambda r: r.store.release(r.study, worker=r.body.worker, failure=r.body.failure),
        summary="Note a failure for every job that a worker holds.",
        reply=m.RELEASED, changes=True, decides=True,
    ),
    JsonCall(
        method="POST", path="/studies/{study}/reparent", role=Role.WORKER, run=_reparent,
        summary="Let a job start from an ancestor: its parent's checkpoint is damaged.",
        body=m.REPARENT, reply=m.LEASE, errors=(409,),
    ),
)  # fmt: skip
