"""HTTP/1.1 for the requests that workers send, many a second: read and answered in one step.

h11 takes a third of a request's time. Whatever is not a whole request of the plainest form, in one
piece and nothing after it, is left to h11, to the letter: there is no second opinion on what a
request is, and so nothing to smuggle one past a proxy with.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any

import h11

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_HEAD = re.compile(
    rb"(GET|POST) (/[!-~]*) HTTP/1\.1\r\n((?:" + _TOKEN + rb": [!-~](?:[ -~]*[!-~])?\r\n)+)\r\n"
)
_LENGTH = re.compile(rb"[0-9]{1,9}")
_LEFT_TO_H11 = frozenset({b"connection", b"expect", b"te", b"trailer", b"transfer-encoding",
                          b"upgrade"})  # fmt: skip
_LONGEST_HEAD = 8192
_NO_BODY = frozenset({204, 304})
_STATUS_LINES = {s.value: f"HTTP/1.1 {s.value} {s.phrase}\r\n".encode() for s in HTTPStatus}


class QuickConnection(h11.Connection):
    """A connection of a server that knows plain requests without asking h11.

    As long as such a request is answered, h11 itself sees nothing of it and stays idle; what comes
    meanwhile waits in its buffer.
    """

    _events: list[Any] | None = None  # of a plain request, those that are still to be told last
    _our: Any = h11.IDLE
    _chunked = False

    def receive_data(self, data: bytes) -> None:
        """Take what has come."""
        if self._events is None and data and self._is_fresh():
            self._events = _plain_request(data)
            if self._events is not None:
                self._our = h11.SEND_RESPONSE
                return
        super().receive_data(data)

    def next_event(self) -> Any:
        """Return what comes next, or that nothing does."""
        if self._events is None:
            return super().next_event()
        if self._events:
            return self._events.pop()
        waiting, _ = self.trailing_data
        return h11.PAUSED if waiting else h11.NEED_DATA

    def send(self, event: Any) -> bytes | None:  # type: ignore[override]  # one for all events
        """Return the bytes of a part of the answer."""
        if self._events is None:
            return self._told(event)
        match event:
            case h11.Response():
                self._our = h11.SEND_BODY
                return self._head(event)
            case h11.Data(data=data):
                block: bytes = data
                return b"%x\r\n%b\r\n" % (len(block), block) if self._chunked and block else block
            case h11.EndOfMessage():
                self._our = h11.DONE
                return b"0\r\n\r\n" if self._chunked else b""
            case h11.InformationalResponse():
                return b""
        self._events = None  # the connection ends: h11 may know
        return self._told(event)

    def _told(self, event: Any) -> bytes | None:
        told: bytes | None = super().send(event)
        return told

    def start_next_cycle(self) -> None:
        """Get ready for the next request."""
        if self._events is None:
            super().start_next_cycle()
        else:
            self._events, self._our = None, h11.IDLE

    @property
    def our_state(self) -> Any:
        return super().our_state if self._events is None else self._our

    @property
    def their_state(self) -> Any:
        if self._events is None:
            return super().their_state
        return h11.SEND_BODY if self._events else h11.DONE

    def _is_fresh(self) -> bool:
        """Whether h11 is between two requests, with nothing of the next one here yet."""
        idle = super().our_state is h11.IDLE and super().their_state is h11.IDLE
        return idle and not self.trailing_data[0]

    def _head(self, response: h11.Response) -> bytes:
        names = {name for name, _ in response.headers}
        self._chunked = response.status_code not in _NO_BODY and b"content-length" not in names
        lines = [b"%b: %b\r\n" % pair for pair in response.headers]
        if self._chunked:
            lines.append(b"transfer-encoding: chunked\r\n")
        # What is in them has been checked: an `h11.Response` cannot hold a line break.
        return b"".join([_STATUS_LINES[response.status_code], *lines, b"\r\n"])


def _plain_request(data: bytes) -> list[Any] | None:
    """Return the events of a plain request, the last one first; None if it is not quite one."""
    found = _HEAD.match(data, 0, _LONGEST_HEAD)
    if found is None:
        return None
    lines = (line.split(b": ", 1) for line in found[3].split(b"\r\n")[:-1])
    headers = [(name.lower(), value) for name, value in lines]
    names = [name for name, _ in headers]
    if not _LEFT_TO_H11.isdisjoint(names) or names.count(b"host") != 1:
        return None
    length = _length(headers, names)
    if length is None or len(data) != found.end() + length:
        return None
    return [h11.EndOfMessage(), h11.Data(data=data[found.end() :]), _request(found, headers)]


def _request(found: re.Match[bytes], headers: list[tuple[bytes, bytes]]) -> h11.Request:
    """Return the event without the checks of its constructor: they have been made."""
    request = h11.Request.__new__(h11.Request)
    fields = {"method": found[1], "target": found[2], "headers": headers, "http_version": b"1.1"}
    for name, value in fields.items():
        object.__setattr__(request, name, value)
    return request


def _length(headers: list[tuple[bytes, bytes]], names: list[bytes]) -> int | None:
    """Return the length of the body; None if it is not said once, in digits."""
    n_said = names.count(b"content-length")
    if n_said == 0:
        return 0
    value = headers[names.index(b"content-length")][1]
    return int(value) if n_said == 1 and _LENGTH.fullmatch(value) else None
