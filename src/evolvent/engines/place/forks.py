"""Processes that training code forks, and that leave it by the way by which they came."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any


@contextmanager
def forked_children_end() -> Iterator[None]:
    """End a process that training has forked, should it come out of training code.

    It would go on as the same worker, and first report the round of its parent, or fail it.
    """
    process = os.getpid()
    code: Any = 0
    try:
        yield
    except BaseException as e:
        if os.getpid() == process:
            raise
        code = e.code if isinstance(e, SystemExit) else traceback.format_exc()
    if os.getpid() != process:
        with suppress(OSError, ValueError):  # training may have closed a stream
            if not isinstance(code, int | None):  # as `sys.exit` takes it
                sys.stderr.write(f"{code}\n")
            sys.stdout.flush()
        # What is left to be done at exit is the parent's to do, and once.
        os._exit(code if isinstance(code, int) else int(code is not None))
