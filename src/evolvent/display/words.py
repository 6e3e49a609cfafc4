"""Values as short words for people: numbers, spans of time, sizes."""

from __future__ import annotations

import math
import re
import sys
import time
from dataclasses import fields, is_dataclass
from typing import Any

NOTHING = "-"
_LONGEST = 14
_SPELLED_OUT = 1e6  # from here on, powers of ten are easier to read than digits
_UNITS = ("B", "kB", "MB", "GB", "TB")


def compact(value: Any, *, digits: int = 3) -> str:
    """Return a value in a few characters: floats to `digits` digits, None and NaN as "-"."""
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        if abs(value) > sys.float_info.max:
            return shortened(str(value))
        return str(value) if abs(value) < _SPELLED_OUT else _rounded(float(value), digits)
    if isinstance(value, float):
        return _rounded(value, digits)
    from evolvent.core.values import text_of  # noqa: PLC0415 - NumPy, which --help does without

    return shortened(text_of(value))


def shortened(text: str, longest: int = _LONGEST) -> str:
    """Cut a text to at most `longest` characters, saying that it was cut."""
    return text if len(text) <= longest else text[: longest - 1] + "…"


def settings(value: Any) -> str:
    """Return a strategy as its call, without what is as by default: `Truncation(0.25)`."""
    if isinstance(value, (tuple, list)):
        return f"({', '.join(map(settings, value))})"
    if not is_dataclass(value):
        return f"{value:.6g}" if isinstance(value, float) else repr(value)
    parts = []
    for number, field in enumerate(f for f in fields(value) if f.init):
        given = getattr(value, field.name)
        if number == 0 and not field.kw_only and given is not None:
            parts.append(settings(given))
        elif given != field.default:
            parts.append(f"{field.name}={settings(given)}")
    return f"{type(value).__name__}({', '.join(parts)})"


def duration(seconds: float) -> str:
    """Return a span of time in its two largest units."""
    whole = math.ceil(seconds)
    minutes, s = divmod(whole, 60)
    hours, m = divmod(minutes, 60)
    days, h = divmod(hours, 24)
    if days:
        return f"{days} d {h} h"
    if hours:
        return f"{hours} h {m:02} min"
    return f"{minutes} min {s:02} s" if minutes else f"{s} s"


def ago(seconds: float) -> str:
    """Return how long something is ago; another clock may have seen it a little ahead of ours."""
    return f"{duration(max(seconds, 1.0))} ago"


def local_time(seconds: float) -> str:
    """Return a time, in seconds since 1970, as that of the clock on the wall here."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(seconds))


def size(n_bytes: int) -> str:
    """Return a number of bytes in the unit that leaves at most three digits before the point."""
    scaled, unit = float(n_bytes), 0
    while scaled >= 1000 and unit < len(_UNITS) - 1:
        scaled, unit = scaled / 1000, unit + 1
    return f"{scaled:.1f} {_UNITS[unit]}" if unit else f"{n_bytes} B"


def _rounded(value: float, digits: int) -> str:
    if math.isnan(value):
        return NOTHING
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    text = f"{value:#.{digits}g}".removesuffix(".") if value else "0"
    if "e+" in text and abs(value) < _SPELLED_OUT:
        return f"{value:.0f}"
    return re.sub(r"e([+-])0*(\d)", lambda m: f"e{m[1].strip('+')}{m[2]}", text)
