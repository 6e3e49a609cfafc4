"""Reads back what an offline run of Weights & Biases has written.

A `.wandb` file is a log in the format of LevelDB: blocks of 32 KiB of pieces of records, each with
its checksum, length and kind; a record is a message of `wandb_internal.proto`. What stands in a
file that is cut short in the middle of a piece is what was whole before it.
"""

from __future__ import annotations

import struct
import zlib
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2 as messages

_START = b":W&B"
_FILE_HEADER_BYTES, _BLOCK_BYTES = 7, 32768
_PIECE = struct.Struct("<IHB")  # checksum, length, kind
_FULL, _FIRST, _LAST = 1, 2, 4
_RECORDS_AT_THE_END = 5


def newest_step(root: Path, id: str) -> int:
    """Return the step of the newest row of an offline run over all its parts; -1 without any.

    Each part is a directory of its own in `root`, the directory `wandb/`.
    """
    steps = [
        row.step.num
        for path in root.glob(f"offline-run-*-{id}/run-{id}.wandb")
        for row in rows(path)
    ]
    return max(steps, default=-1)


def is_whole(path: Path) -> bool:
    """Whether a file has been written to its end, which is when its run has been finished."""
    if not path.exists():
        return False
    newest = deque(_records(path.read_bytes()), maxlen=_RECORDS_AT_THE_END)
    return any(_message(data).HasField("exit") for data in newest)


def rows(path: Path) -> Iterator[Any]:
    """Yield the rows of a file, as messages of their kind `HistoryRecord`."""
    for data in _records(path.read_bytes()):
        record = _message(data)
        if record.HasField("history"):
            yield record.history


def _message(data: bytes) -> Any:
    return messages.Record.FromString(data)  # type: ignore[attr-defined]  # made at run time


def _records(data: bytes) -> Iterator[bytes]:
    if not data.startswith(_START):
        return
    record = b""
    for kind, piece in _pieces(data):
        record = piece if kind in (_FULL, _FIRST) else record + piece
        if kind in (_FULL, _LAST):
            yield record


def _pieces(data: bytes) -> Iterator[tuple[int, bytes]]:
    position = _FILE_HEADER_BYTES
    while position + _PIECE.size <= len(data):
        left = _BLOCK_BYTES - position % _BLOCK_BYTES
        if left < _PIECE.size:  # the end of a block is filled up
            position += left
            continue
        checksum, length, kind = _PIECE.unpack_from(data, position)
        start = position + _PIECE.size
        piece = data[start : start + length]
        if len(piece) < length or zlib.crc32(bytes([kind]) + piece) != checksum:
            return
        yield kind, piece
        position = start + length
