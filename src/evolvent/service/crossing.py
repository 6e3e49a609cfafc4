"""The one place where the service, which is asynchronous, calls a store, which is not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from evolvent.service.threads import Threads

_WRITERS, _READERS = 4, 4

_T = TypeVar("_T")


class Crossing:
    """Threads in which stores are called: a few, so that they do not fight for the interpreter.

    Reading has threads of its own: a long table must not keep reports waiting.
    """

    def __init__(self) -> None:
        self._writers = Threads(_WRITERS, name="evolvent-write")
        self._readers = Threads(_READERS, name="evolvent-read")

    async def write(self, call: Callable[[], _T]) -> _T:
        """Run what changes a store."""
        return await self._writers.run(call)

    async def read(self, call: Callable[[], _T]) -> _T:
        """Run what only looks."""
        return await self._readers.run(call)

    async def through(self, blocks: Iterator[bytes]) -> AsyncIterator[bytes]:
        """Run an iterator, which may hold a snapshot open: all of it in one thread of its own."""
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1, thread_name_prefix="evolvent-stream") as alone:
            try:
                while (block := await loop.run_in_executor(alone, next, blocks, None)) is not None:
                    yield block
            finally:  # also when the client went away half-way
                close = getattr(blocks, "close", None)
                if close is not None:
                    await asyncio.shield(loop.run_in_executor(alone, close))

    async def files(self, call: Callable[[], _T]) -> _T:
        """Run what may take long with the files of checkpoints."""
        return await in_files(call)

    def close(self) -> None:
        """Let go of the threads once they have done what they do."""
        self._writers.close()
        self._readers.close()


async def in_files(call: Callable[[], _T]) -> _T:
    """Run what reads and writes files: in the threads of the loop, which no store waits for."""
    return await asyncio.get_running_loop().run_in_executor(None, call)
