"""Event files of TensorBoard that can be continued: read back, cut after a mark, appended to."""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.types_pb2 import DT_STRING
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c
from tensorboard.plugins.text.metadata import create_summary_metadata
from tensorboard.summary.writer.record_writer import RecordWriter

_NAME = "events.out.tfevents.evolvent"
_HEADER, _FOOTER = struct.Struct("<QI"), struct.Struct("<I")


class EventFile:
    """The one event file of a run.

    A record that bears the mark closes a round. What stands behind the last of them is what a
    writer had begun when it died, or what marked an end that was none: the next one writes over it.

    Attributes:
        last_step: the step of the last marked record; -1 when there is none.
        is_empty: whether there is none.
    """

    def __init__(self, run: Path, *, mark: str) -> None:
        """Read back what there is in the directory of a run; nothing is changed.

        The `mark` is a tag that the last record of every round has.
        """
        self._path = run / _NAME
        self._length, self.last_step = _last_marked(self._path, mark)
        self.is_empty = self.last_step < 0

    def append(self, records: Sequence[bytes]) -> None:
        """Continue the file with whole rounds."""
        if records:
            self._length = self._write(records)

    def append_end(self, records: Sequence[bytes]) -> None:
        """Continue the file with what the next `append`, here or later, replaces."""
        self._write(records)

    def _write(self, records: Sequence[bytes]) -> int:
        self._path.parent.mkdir(exist_ok=True)
        if self._length == 0:
            version = Event(file_version="brain.Event:2").SerializeToString()
            records = [_framed(version), *records]
        # No mode of open() does this: made if need be, and what is there is kept up to the mark.
        with open(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666), "r+b") as file:
            file.truncate(self._length)
            file.seek(self._length)
            file.write(b"".join(records))
            return file.tell()


def record(values: Sequence[Summary.Value], *, step: int, at: float) -> bytes:
    """Return values at a step as the bytes of one record: it is in the file whole or not at all."""
    event = Event(wall_time=at, step=step, summary=Summary(value=values))
    return _framed(event.SerializeToString())


def scalar(tag: str, value: float) -> Summary.Value:
    """Return a number under a tag."""
    return Summary.Value(tag=tag, simple_value=value)


def text(tag: str, markdown: str) -> Summary.Value:
    """Return a text for the Text tab."""
    tensor = TensorProto(dtype=DT_STRING, string_val=[markdown.encode()])
    metadata = create_summary_metadata(display_name="", description="")
    return Summary.Value(tag=tag, metadata=metadata, tensor=tensor)


def _framed(data: bytes) -> bytes:
    buffer = BytesIO()
    RecordWriter(buffer).write(data)
    return buffer.getvalue()


def _last_marked(path: Path, mark: str) -> tuple[int, int]:
    """Return where the last marked record of a file ends, and its step; (0, -1) without one."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return 0, -1
    for start, end in reversed(_records(data)):
        body = data[start:end]
        if _FOOTER.unpack_from(data, end)[0] != masked_crc32c(body):
            continue
        event = Event.FromString(body)
        if any(value.tag == mark for value in event.summary.value):
            return end + _FOOTER.size, event.step
    return 0, -1


def _records(data: bytes) -> list[tuple[int, int]]:
    """Return where each record starts and ends, up to the first that is not whole."""
    found: list[tuple[int, int]] = []
    position = 0
    while position + _HEADER.size <= len(data):
        length, crc = _HEADER.unpack_from(data, position)
        start = position + _HEADER.size
        whole = start + length + _FOOTER.size <= len(data)
        if not whole or crc != masked_crc32c(data[position : position + 8]):
            break
        found.append((start, start + length))
        position = start + length + _FOOTER.size
    return found
