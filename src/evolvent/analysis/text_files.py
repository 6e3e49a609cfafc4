"""Small text files and the JSON in them: read strictly, written whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from evolvent.errors import ConfigError


def read_text(path: str | Path) -> str:
    """Return the text of a file.

    Raises:
        ConfigError: it cannot be read, or is no UTF-8.
    """
    try:
        return Path(path).read_bytes().decode("utf-8-sig")  # some spreadsheets mark their UTF-8
    except OSError as e:
        raise ConfigError(f"cannot read {path}: {e.strerror}") from e
    except UnicodeDecodeError as e:
        raise ConfigError(f"{path}: byte {e.start} is no UTF-8 text") from e


def write_text(path: str | Path, text: str) -> None:
    """Write a file; when that fails, what was there before is still there.

    Raises:
        ConfigError: it cannot be written.
    """
    path = Path(path)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        aside.write_text(text, encoding="utf-8", newline="")
        aside.replace(path)
    except OSError as e:
        aside.unlink(missing_ok=True)
        raise ConfigError(f"cannot write {path}: {e.strerror}") from e


def strict_json(text: str) -> Any:
    """Return the value of JSON text.

    Raises:
        ConfigError: it is none, has NaN or infinities, a name twice, or nests beyond reason.
    """
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse)
    except json.JSONDecodeError as e:
        raise ConfigError(f"line {e.lineno}: no JSON: {e.msg} at column {e.colno}") from e
    except ConfigError:
        raise
    except (ValueError, RecursionError) as e:  # a number of thousands of digits, [[[[[[...
        raise ConfigError(f"no JSON that can be read: {e}") from e


def _unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in pairs:
        if name in values:
            raise ConfigError(f"{name!r} is given twice")
        values[name] = value
    return values


def _refuse(constant: str) -> Any:
    raise ConfigError(f"got {constant}, wanted a finite number")
