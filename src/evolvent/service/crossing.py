"""The one place where the service, which is asynchronous, calls a store, which is not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from evolvent.errors import StoreBusy
from evolvent.service.threads import Threads

MOST_HELD = 4
"""So many streams may hold a snapshot of a store, and a connection to it, at a time."""

_WAIT_S = 2.0
_WRITERS, _READERS, _SLOW = 4, 4, 4

_T = TypeVar("_T")


class Crossing:
    """Threads in which stores are called: a few, so that they do not fight for the interpreter.

    Reading has threads of its own: a long table must not keep reports waiting. So has what may
    take minutes: a study that is put in must keep nobody waiting but others of its kind.
    """

    def __init__(self) -> None:
        self._writers = Threads(_WRITERS, name="evolvent-write")
        self._readers = Threads(_READERS, name="evolvent-read")
        self._slow = Threads(_SLOW, name="evolvent-slow")
        self._held = asyncio.Semaphore(MOST_HELD)

    async def write(self, call: Callable[[], _T]) -> _T:
        """Run what changes a store."""
        return await self._writers.run(call)

    async def read(self, call: Callable[[], _T]) -> _T:
        """Run what only looks."""
        return await self._readers.run(call)

    async def slow(self, call: Callable[[], _T]) -> _T:
        """Run what may go through a whole study and its checkpoints."""
        return await self._slow.run(call)

    async def through(
        self, blocks: Iterator[bytes], *, held: bool = False
    ) -> AsyncGenerator[bytes, None]:
        """Run an iterator in one thread of its own: all of it, also the end of its snapshot.

        Args:
            blocks: what to run; it is closed in the end.
            held: it holds a snapshot open for as long as it is not closed.

        Raises:
            StoreBusy: too many are held already.
        """
        if held:
            await self._room()
        loop = asyncio.get_running_loop()
        alone = ThreadPoolExecutor(1, thread_name_prefix="evolvent-stream")
        try:
            while (block := await loop.run_in_executor(alone, next, blocks, None)) is not None:
                yield block
        finally:  # also when the client went away half-way
            closed = loop.run_in_executor(alone, _close, blocks)
            if held:
                closed.add_done_callback(lambda _: self._held.release())
            alone.shutdown(wait=False)
            await asyncio.shield(closed)

    async def _room(self) -> None:
        try:
            async with asyncio.timeout(_WAIT_S):
                await self._held.acquire()
        except TimeoutError as e:
            raise StoreBusy(f"{MOST_HELD} studies are being taken out: try again later") from e

    async def files(self, call: Callable[[], _T]) -> _T:
        """Run what may take long with the files of checkpoints."""
        return await in_files(call)

    def close(self) -> None:
        """Let go of the threads once they have done what they do."""
        self._writers.close()
        self._readers.close()
        self._slow.close()


def _close(blocks: Iterator[bytes]) -> None:
    close = getattr(blocks, "close", None)
    if close is not None:
        close()


async def in_files(call: Callable[[], _T]) -> _T:
    """Run what reads and writes files: in the threads of the loop, which no store waits for."""
    return await asyncio.get_running_loop().run_in_executor(None, call)
