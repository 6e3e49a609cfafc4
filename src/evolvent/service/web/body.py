"""Bodies within bounds: how long, of what type, how deep; each refusal says what was wanted."""

from __future__ import annotations

import asyncio
import json
import re
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from starlette.datastructures import Headers
from starlette.types import Receive

from evolvent.service.web.errors import HttpError
from evolvent.store.checkpoints import files as tree
from evolvent.store.codec.fields import Malformed
from evolvent.store.codec.strict_json import strict_json
from evolvent.validation import cut, invalid

BODY_S = 30.0
"""A body that takes longer to arrive is given up."""
DEEPEST = 32
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_BRACKETS = re.compile(rb"[\[{]")
_JSON_TYPE = "application/json"
_IDLE_S = 60.0
_BLOCK = 1 << 20


async def read_body(headers: Headers, receive: Receive, *, most: int) -> bytes:
    """Return the body of a request.

    Raises:
        HttpError: 413 when it is longer than `most` bytes, 408 when it does not come.
    """
    # By what it says of itself first: nothing of ten gigabytes need be read to refuse them.
    check_length(headers, most=most)
    parts: list[bytes] = []
    size, more = 0, True
    try:
        async with asyncio.timeout(BODY_S):
            while more:
                piece, more = await _piece(receive)
                parts.append(piece)
                size += len(piece)
                # Chunks say no length: what comes is counted, too.
                if size > most:
                    raise too_long(most)
    except TimeoutError as e:
        raise HttpError(
            408, f"body: not here after {BODY_S:.0f} s: send it faster", field="body"
        ) from e
    return b"".join(parts)


async def _piece(receive: Receive) -> tuple[bytes, bool]:
    """Return what comes next of a body, and whether there is more."""
    message = await receive()
    if message["type"] == "http.disconnect":
        raise HttpError(400, "body: the connection ended within it", field="body")
    return message.get("body", b""), message.get("more_body", False)


@asynccontextmanager
async def watched(receive: Receive) -> AsyncIterator[asyncio.Task[None]]:
    """Give a task that is done once the client is gone."""

    async def disconnected() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    task = asyncio.create_task(disconnected())
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def check_length(headers: Headers, *, most: int) -> None:
    """Refuse a body that says itself that it is too long.

    Raises:
        HttpError: 413; 400 when it says two things.
    """
    size = headers.get("content-length", "0")
    # Two proxies would take the body to end at two places, and one the rest for a request.
    if "content-length" in headers and "transfer-encoding" in headers:
        message = "Content-Length: got it with Transfer-Encoding, wanted one of the two"
        raise HttpError(400, message, field="Content-Length")
    if not size.isdecimal() or int(size[:20]) > most:
        raise too_long(most)


def check_type(headers: Headers, wanted: str) -> None:
    """Refuse a body of another type.

    Raises:
        HttpError: 415.
    """
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != wanted:
        message = f"Content-Type: got {cut(kind)}, wanted {wanted!r}"
        raise HttpError(415, message, field="Content-Type")


def json_object(headers: Headers, body: bytes) -> dict[str, Any]:
    """Return the JSON object of a body; an empty body is one without fields.

    Raises:
        HttpError: 415 when it is of another type.
        ConfigError: it is no JSON object, too deep, or has text that is none.
    """
    if not body:
        return {}
    # Browsers send other types across sites without asking: this one only with our leave.
    check_type(headers, _JSON_TYPE)
    try:
        data = strict_json(body, once=True)
    except Malformed as e:
        raise HttpError(400, f"body: {e}", field="body") from e
    if not isinstance(data, dict):
        raise invalid("body", f"got {type(data).__name__}, wanted a JSON object")
    # Counted in the text before the walk: nearly all bodies have too few brackets to be deep.
    if len(_BRACKETS.findall(body)) > DEEPEST:
        _check_depth(data)
    if _SURROGATE.search(body):
        try:
            json.dumps(data, ensure_ascii=False).encode()
        except UnicodeEncodeError as e:
            raise invalid("body", "has half of a surrogate pair, wanted text in Unicode") from e
    return data


def _check_depth(data: Any) -> None:
    level = [data]
    for _ in range(DEEPEST):
        level = [x for item in level for x in _inside(item) if isinstance(x, (dict, list))]
        if not level:
            return
    raise invalid("body", f"nested deeper than {DEEPEST} levels, wanted a flatter one")


def _inside(item: Any) -> Any:
    return item.values() if isinstance(item, dict) else item


def too_long(most: int) -> HttpError:
    """Return the error for a body that is longer than `most` bytes."""
    message = f"body: longer than {most} bytes, the limit of this service"
    return HttpError(413, message, field="body")


@asynccontextmanager
async def spooled(headers: Headers, receive: Receive, *, most: int) -> AsyncIterator[Path]:
    """Give a file with the body of a request for as long as the context lasts.

    Raises:
        HttpError: 413 when it is longer than `most` bytes, 408 when it stops coming.
        CheckpointError: the disk is full.
    """
    check_length(headers, most=most)
    folder = Path(tempfile.mkdtemp(prefix="evolvent-"))
    try:
        await _spool(folder / "body", receive, most=most)
        yield folder / "body"
    finally:
        with suppress(OSError):
            await asyncio.to_thread(tree.remove, folder)


async def _spool(path: Path, receive: Receive, *, most: int) -> None:
    size, more, block = 0, True, bytearray()
    while more:
        try:
            piece, more = await asyncio.wait_for(_piece(receive), _IDLE_S)
        except TimeoutError as e:
            raise HttpError(408, f"body: nothing came for {_IDLE_S:.0f} s", field="body") from e
        block += piece
        if size + len(block) > most:
            raise too_long(most)
        # In blocks: each trip to a thread costs as much as writing some hundred kilobytes.
        if len(block) >= _BLOCK or not more:
            await asyncio.to_thread(_append, path, bytes(block))
            size += len(block)
            block.clear()


def _append(path: Path, data: bytes) -> None:
    try:
        with path.open("ab") as file:
            file.write(data)
    except OSError as e:
        raise tree.translate_error(e, doing="write", path=path) from e
