"""When evolvent was imported, and the text of the script then: it may be edited while it runs."""

from __future__ import annotations

import sys
import time


def _read(path: str | None) -> bytes | None:
    try:
        with open(path or "", "rb") as file:
            return file.read()
    except (OSError, ValueError):
        return None  # a shell, a notebook; it has none


STARTED_AT = time.time()
PATH: str | None = getattr(sys.modules["__main__"], "__file__", None)
TEXT = _read(PATH)
