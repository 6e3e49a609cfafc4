"""JSON text that means one thing to everybody: no NaN, no field twice, ASCII in one line."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from evolvent.store.codec.fields import Malformed
from evolvent.validation import cut

encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
"""Strict JSON in one line of ASCII; numbers come back bit for bit.

For the wire, archives and pages. What a database holds, which may be NaN, is of `sql.rows`.
"""


def strict_json(line: bytes | str, *, once: bool = False) -> Any:
    """Return the value of JSON text, in UTF-8; `once` refuses objects that have a field twice.

    Raises:
        Malformed: it is none, has NaN or infinities, or nests beyond reason.
    """
    try:
        decode = _decode_once if once else _decode
        return decode(line if isinstance(line, str) else line.decode())
    except (ValueError, RecursionError) as e:
        raise Malformed(f"no JSON: {e}") from e


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"got {constant}")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"got {cut(twice)}, wanted every field once")
    return found


_decode = json.JSONDecoder(parse_constant=_refuse).decode
_decode_once = json.JSONDecoder(parse_constant=_refuse, object_pairs_hook=_unique_keys).decode
