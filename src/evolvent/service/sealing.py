"""Sealing that happens once, however often it is asked for."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

_MOST_KEPT = 1024

_lock = threading.Lock()
_under_way: dict[Path, Future[str]] = {}
_sealed: OrderedDict[Path, str] = OrderedDict()
"""Addresses by upload: for whoever has not heard the answer. They may be forgotten."""


def together(upload: Path, seal: Callable[[], str]) -> str:
    """Seal an upload, or wait for whoever is sealing it; return the address that came of it.

    Raises:
        EvolventError: what `seal` has raised, to all who wait.
    """
    with _lock:
        others = _under_way.get(upload)
        ours = _under_way[upload] = Future() if others is None else others
    if others is not None:
        return others.result()
    try:
        address = seal()
    except BaseException as e:
        _end(upload, None)
        ours.set_exception(e)
        raise
    _end(upload, address)
    ours.set_result(address)
    return address


def sealed(upload: Path) -> str | None:
    """Return the address of an upload that was sealed not long ago."""
    with _lock:
        return _sealed.get(upload)


def _end(upload: Path, address: str | None) -> None:
    with _lock:
        del _under_way[upload]
        if address is None:
            return
        _sealed[upload] = address
        while len(_sealed) > _MOST_KEPT:
            _sealed.popitem(last=False)
