"""The one place where the service, which is asynchronous, calls a store, which is not."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from enum import Enum, auto
from queue import SimpleQueue
from typing import Any, TypeAlias, TypeVar

from evolvent.errors import StoreBusy

MOST_SNAPSHOTS = 4
"""So many streams may hold a snapshot of a store, and a connection to it, at a time."""
_WAIT_S = 2.0
_THREADS_EACH = 4
_T = TypeVar("_T")
_Task: TypeAlias = tuple[asyncio.AbstractEventLoop, "asyncio.Future[Any]", Callable[[], Any]]


class ThreadKind(Enum):
    """Threads of one kind."""

    READ = auto()
    WRITE = auto()
    FILES = auto()
    SLOW = auto()


class StoreThreads:
    """Threads in which stores are called: a few, so that they do not fight for the interpreter.

    Reading has threads of its own: a long table must not keep reports waiting. So has what may
    take minutes: a study that is put in must keep nobody waiting but others of its kind.

    Attributes:
        write: runs what changes a store.
        read: runs what only looks.
        slow: runs what may go through a whole study and its checkpoints.
        draw: runs what makes figures, one at a time: the machine has other things to do.
    """

    def __init__(self) -> None:
        sizes = {"write": _THREADS_EACH, "read": _THREADS_EACH, "slow": _THREADS_EACH, "draw": 1}
        self._pools = [WorkerThreads(n, name=f"evolvent-{name}") for name, n in sizes.items()]
        # The pools' own methods, for they are called with every request.
        self.write, self.read, self.slow, self.draw = (pool.run for pool in self._pools)
        self._by_kind: dict[ThreadKind, Callable[[Callable[[], Any]], Awaitable[Any]]] = {
            ThreadKind.READ: self.read,
            ThreadKind.WRITE: self.write,
            ThreadKind.SLOW: self.slow,
            ThreadKind.FILES: asyncio.to_thread,  # those of the loop, which no store waits for
        }
        self._snapshots = asyncio.Semaphore(MOST_SNAPSHOTS)

    def run(self, kind: ThreadKind, call: Callable[[], _T]) -> Awaitable[_T]:
        """Run a call in threads of one kind."""
        return self._by_kind[kind](call)

    async def stream(
        self, blocks: Generator[bytes, None, None], *, holds_snapshot: bool = False
    ) -> AsyncGenerator[bytes, None]:
        """Run a generator in one thread of its own: all of it, also the end of its snapshot.

        Args:
            blocks: what to run; it is closed in the end.
            holds_snapshot: it has one open for as long as it is not closed.

        Raises:
            StoreBusy: too many are held already.
        """
        # Reserved before the thread starts: its connection is one of a few, and who waits for one
        # in a thread could not be told to come later.
        if holds_snapshot:
            await self._reserve_snapshot()
        loop = asyncio.get_running_loop()
        # A thread of its own, since SQLite wants a snapshot read and closed where it was opened.
        executor = ThreadPoolExecutor(1, thread_name_prefix="evolvent-stream")
        try:
            while (block := await loop.run_in_executor(executor, next, blocks, None)) is not None:
                yield block
        finally:  # also when the client went away half-way
            closed = loop.run_in_executor(executor, blocks.close)
            # Released when the thread is done, not when we are: cancelled here, it may go on for a
            # while, with the snapshot still open.
            if holds_snapshot:
                closed.add_done_callback(lambda _: self._snapshots.release())
            executor.shutdown(wait=False)
            await asyncio.shield(closed)

    async def _reserve_snapshot(self) -> None:
        try:
            async with asyncio.timeout(_WAIT_S):
                await self._snapshots.acquire()
        except TimeoutError as e:
            raise StoreBusy(f"{MOST_SNAPSHOTS} studies are being taken out: try again later") from e

    def close(self) -> None:
        """Let go of the threads once they have done what they do."""
        for pool in self._pools:
            pool.close()


class WorkerThreads:
    """`n` threads that start with the first call, and end with the process or `close`."""

    def __init__(self, n: int, *, name: str) -> None:
        self._n, self._name = n, name
        self._tasks: SimpleQueue[_Task | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []

    def run(self, call: Callable[[], _T]) -> asyncio.Future[_T]:
        """Run a call in one of the threads, whose result or error is that of the future."""
        # With the first call: a service that is only put together, as in tests, has no threads.
        if not self._threads:
            self._start()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[_T] = loop.create_future()
        self._tasks.put((loop, future, call))
        return future

    def close(self) -> None:
        """Let the threads end once they have done what was asked of them."""
        for _ in self._threads:
            self._tasks.put(None)

    def _start(self) -> None:
        names = [f"{self._name}-{i}" for i in range(self._n)]
        # Daemons: a call that hangs in a database must not keep the process from ending.
        self._threads = [threading.Thread(target=self._work, name=n, daemon=True) for n in names]
        for thread in self._threads:
            thread.start()

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            loop, future, call = task
            result: Any = None
            error: BaseException | None = None
            try:
                result = call()
            except BaseException as e:  # noqa: BLE001 - raised where it is waited for
                error = e
            with suppress(RuntimeError):  # the loop has been closed: nobody waits
                loop.call_soon_threadsafe(_set_result, future, result, error)


def _set_result(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    # Cancelled while the call ran: it was done all the same, and nobody waits for it any more.
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
