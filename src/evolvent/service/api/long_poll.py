"""Claims that wait for a job: thousands of them, with no thread each and next to no work."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

from starlette.types import Receive

from evolvent.errors import EvolventError
from evolvent.service.api.work import ClaimBody
from evolvent.service.web.streaming import disconnected
from evolvent.service.web.threads import StoreThreads
from evolvent.store.protocol import Store
from evolvent.store.records import Failure, FailureKind, Lease, StudyState

LOOK_S = 0.5
"""How often the store is asked for what others have changed: expired leases, other services."""

_WENT_AWAY = Failure(FailureKind.RETURNED, "the worker went away while it waited for a job")
_RING_AFTER_S = 0.005
"""A worker that has just reported asks for its next job first: it has that model in its hands."""


@dataclass(eq=False, slots=True)
class _Waiter:
    """One claim that waits; `turn` is done when it should look again, True when all is over."""

    prefer: int | None
    turn: asyncio.Future[bool]


@dataclass(slots=True)
class _Queue:
    """The waiters of one study, the first come first."""

    waiters: list[_Waiter] = field(default_factory=list)
    looking: asyncio.Task[None] | None = None
    ringing: asyncio.TimerHandle | None = None
    missed: bool = False
    looked_at: float = -math.inf

    def wake(self, *, over: bool = False) -> None:
        """Let the first one that is not looking already look; all of them when it is over."""
        for waiter in self.waiters:
            if not waiter.turn.done():
                waiter.turn.set_result(over)
                if not over:
                    return
        self.missed = True

    def wait_again(self, waiter: _Waiter) -> None:
        """Let a waiter that found nothing wait for its next turn: now, if one was missed."""
        waiter.turn = asyncio.get_running_loop().create_future()
        self.looked_at = time.monotonic()
        if self.missed:
            self.missed = False
            waiter.turn.set_result(False)


class ClaimQueue:
    """Hands out jobs of one store, now or when there are some.

    Args:
        store: what is served.
        crossing: where it is called.
    """

    def __init__(self, store: Store, crossing: StoreThreads) -> None:
        self._store, self._crossing = store, crossing
        self._queues: dict[int, _Queue] = {}
        self._keys: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._closing = False

    async def claim(
        self,
        study: int,
        wish: ClaimBody,
        receive: Receive,
        *,
        check: Callable[[], None],
        check_later: Callable[[], None],
    ) -> Lease | None:
        """Return a lease; None when there is none before `wish.wait_s` are over, or no client.

        Args:
            study: number of the study.
            wish: what is asked for.
            receive: tells when the client has gone away.
            check: called first, in the thread of the store; raises if this may not be.
            check_later: called instead before every look after the first: a wait is long enough
                for a token to be revoked in it.
        """
        until = time.monotonic() + wish.wait_s
        async with self._gone(receive) as gone:
            if wish.wait_s and self._is_quiet(study):
                check()  # at once: what it asks has been asked for those who wait
            else:
                lease = await self._try(study, wish, check, gone)
                if lease or wish.wait_s == 0 or self._closing or await self._is_over(study):
                    return lease
            async with self._queued(study, wish) as waiter:
                while await _turn(waiter, gone, until - time.monotonic()):
                    lease = await self._try(study, wish, check_later, gone)
                    if lease is not None:
                        self.notify(study)  # there may be more
                        return lease
                    self._queues[study].wait_again(waiter)
        return None

    def notify(self, study: int) -> None:
        """Tell that there may be something to claim, or that the study may be over."""
        queue = self._queues.get(study)
        if queue is None or queue.ringing is not None:
            return
        queue.looked_at = -math.inf

        def now() -> None:
            queue.ringing = None
            queue.wake()

        queue.ringing = asyncio.get_running_loop().call_later(_RING_AFTER_S, now)

    def _is_quiet(self, study: int) -> bool:
        """Whether others wait who have found nothing just now: then there is nothing."""
        queue = self._queues.get(study)
        if queue is None or not queue.waiters or self._closing:
            return False
        return time.monotonic() - queue.looked_at < 2 * LOOK_S

    def close(self) -> None:
        """Send everybody home: the service stops."""
        self._closing = True
        for queue in self._queues.values():
            queue.wake(over=True)

    async def _try(
        self, study: int, wish: ClaimBody, check: Callable[[], None], gone: asyncio.Task[None]
    ) -> Lease | None:
        """Claim once; hand a job back at once whose worker went away meanwhile."""

        def claim() -> Lease | None:
            check()
            return self._store.claim(
                study,
                worker=wish.worker,
                lease_s=wish.lease_s,
                prefer=wish.prefer,
                key=wish.key,
            )

        async with self._only_waiter(wish.key):
            lease = await self._crossing.write(claim)
            if lease is None or not gone.done():
                return lease
            with contextlib.suppress(EvolventError):  # its lease will run out
                await self._crossing.write(lambda: self._store.fail(lease, _WENT_AWAY))
        self.notify(study)
        return None

    def _only_waiter(self, key: str | None) -> AbstractAsyncContextManager[None]:
        """Keep out the client that gave up on its answer and asks again while we are at it."""
        if key is None:
            return contextlib.nullcontext()
        return self._keys.setdefault(key, asyncio.Lock())

    async def _is_over(self, study: int) -> bool:
        status = await self._crossing.read(lambda: self._store.status(study))
        return status.state is not StudyState.OPEN

    @asynccontextmanager
    async def _queued(self, study: int, wish: ClaimBody) -> AsyncIterator[_Waiter]:
        queue = self._queues.setdefault(study, _Queue())
        waiter = _Waiter(wish.prefer, asyncio.get_running_loop().create_future())
        queue.waiters.append(waiter)
        if queue.looking is None:
            queue.looking = asyncio.create_task(self._look(study, queue))
        try:
            yield waiter
        finally:
            queue.waiters.remove(waiter)
            if waiter.turn.done() and not waiter.turn.cancelled():
                queue.wake()  # it was its turn, and it did not take it
            if not queue.waiters:
                queue.looking.cancel()
                self._queues.pop(study, None)

    async def _look(self, study: int, queue: _Queue) -> None:
        """Look from time to time for what this service has not done itself."""
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                over = await self._is_over(study)
            except Exception:  # noqa: BLE001 - whoever waits finds out for itself, and tells
                over = False
            queue.wake(over=over)

    @asynccontextmanager
    async def _gone(self, receive: Receive) -> AsyncIterator[asyncio.Task[None]]:
        task = asyncio.create_task(disconnected(receive))
        try:
            yield task
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def _turn(waiter: _Waiter, gone: asyncio.Task[None], seconds: float) -> bool:
    """Wait until it is the waiter's turn to look; False when there is nothing to wait for."""
    waits: set[asyncio.Future[bool] | asyncio.Task[None]] = {waiter.turn, gone}
    if seconds > 0 and not waiter.turn.done():
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    return waiter.turn.done() and not waiter.turn.result() and not gone.done()
