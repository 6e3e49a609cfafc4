"""Checks at the border: name the argument, what came and what was wanted."""

from __future__ import annotations

import math
import sys
import warnings
from numbers import Real
from types import FrameType
from typing import Any, TypeVar

from evolvent.errors import ConfigError

_Text = TypeVar("_Text", bound=str)
_MAX_NAME = 100

DEFAULT_STORE = "sqlite:///evolvent.db"
"""Where studies live when nobody says it, in Python and on the command line; it stands here because
`evolvent --help` shows it and imports no store."""

MOST = 2**31 - 1
"""Counts beyond it do not fit into the columns of every database."""


def invalid(field: str, problem: str, *, within: str = "") -> ConfigError:
    """Return the error for an argument or field that is not usable.

    Args:
        field: its name, with which the message begins.
        problem: such as "got 3, wanted 4 or more".
        within: what the message says before, such as "space: ".
    """
    return ConfigError(f"{within}{field}: {problem}", field=field)


def cut(value: Any, longest: int = 80) -> str:
    """Return what came as Python writes it, at most so much of it; cut, it ends in "…"."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - of a list nested too deeply, or of a class of the user's
        text = object.__repr__(value)
    return text if len(text) <= longest else f"{text[:longest]}…"


def cut_middle(text: str, longest: int) -> str:
    """Return a text of at most so many characters: a longer one without its middle, which says so.

    Start and end stay: what was raised stands at one of them, and what called it at the other.
    """
    if len(text) <= longest:
        return text
    gap = " … [{} characters cut] … "
    half = (longest - len(gap.format(len(text)))) // 2
    return text[:half] + gap.format(len(text) - 2 * half) + text[-half:]


def utf8_text(text: str) -> str:
    """Return a text as UTF-8 can hold it: of file names and outputs that are not, backslashes."""
    return text.encode("utf-8", "backslashreplace").decode()


def plain_text(text: str) -> str:
    """Return a text as Python's own `str`: `"sgd"` for a member of a `str` Enum with that value."""
    return str.__str__(text)  # a class of the user's may have a `__str__` of its own


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the line outside evolvent that led here, however many calls lie between."""
    level = 1
    caller: FrameType | None = sys._getframe()
    while caller is not None and caller.f_globals.get("__name__", "").split(".")[0] == "evolvent":
        level, caller = level + 1, caller.f_back
    warnings.warn(message, category, stacklevel=level)


def where_to_put_modules() -> str:
    """Say, of a module that is nowhere, where Python has looked beside its own folders."""
    own = (sys.prefix, sys.base_prefix)
    users = [
        entry or "the current directory"
        for entry in dict.fromkeys(sys.path)
        if not entry.startswith(own) and "-packages" not in entry and not entry.endswith(".zip")
    ]
    looked = f"looked in {', '.join(users)}" if users else "looked in installed packages only"
    return f"{looked}: run where it lies, add its folder to PYTHONPATH, or install it"


def check_name(argument: str, value: Any) -> str:
    """Return a name of 1 to 100 printable characters, without blanks around it."""
    if not isinstance(value, str):
        raise invalid(argument, f"got {type(value).__name__} {cut(value)}, wanted a string")
    if not 1 <= len(value) <= _MAX_NAME or value != value.strip() or not value.isprintable():
        raise invalid(
            argument,
            f"got {cut(value, 120)}, wanted 1 to {_MAX_NAME} printable characters "
            "without blanks around them",
        )
    return plain_text(value)


def check_path(argument: str, value: Any) -> str:
    """Return an import path `package.module:name`."""
    if not isinstance(value, str) or not all(value.partition(":")):
        raise invalid(argument, f"got {cut(value)}, wanted 'package.module:name' or 'file.py:name'")
    return plain_text(value)


def check_choice(argument: str, value: Any, choices: tuple[_Text, ...]) -> _Text:
    """Return one of the choices."""
    for choice in choices:
        if value == choice:
            return choice
    raise invalid(argument, f"got {cut(value)}, wanted {' or '.join(map(repr, choices))}")


def check_count(argument: str, value: Any, *, least: int, most: int | None = None) -> int:
    """Return a whole number of at least `least`, and at most `most` if that is given."""
    wanted = f"{least} or more" if most is None else f"{least} to {most}"
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise invalid(argument, f"got {cut(value)}, wanted a whole number, {wanted}")
    count = int(value.__index__())
    if count < least or (most is not None and count > most):
        raise invalid(argument, f"got {cut(value)}, wanted a whole number, {wanted}")
    return count


def check_number(argument: str, value: Any, *, above: float | None = None) -> float:
    """Return a finite number, greater than `above` if that is given."""
    wanted = "a finite number" + ("" if above is None else f" above {above:g}")
    value = unboxed(value)
    finite = not isinstance(value, bool) and isinstance(value, Real) and math.isfinite(value)
    if not finite or (above is not None and value <= above):
        raise invalid(argument, f"got {cut(value)}, wanted {wanted}")
    return float(value)


def check_flag(argument: str, value: Any) -> bool:
    """Return True or False."""
    value = unboxed(value)
    if isinstance(value, bool):
        return value
    raise invalid(argument, f"got {cut(value)}, wanted True or False")


def unboxed(value: Any) -> Any:
    """Return what a scalar of NumPy, or an array or tensor without dimensions, stands for."""
    boxed = getattr(value, "shape", None) == () and hasattr(value, "item")
    return value.item() if boxed else value
