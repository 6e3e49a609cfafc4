"""Containers that have names: in a worker they are the objects that it has under these names.

`CONFIG["net"] = NET` holds then the same object that `NET` is, and a function that has been given
`CONFIG` sees what `main()` has changed in it.
"""

from __future__ import annotations

import sys
import types
from collections import deque
from collections.abc import Collection, Mapping
from importlib import import_module
from typing import Any, NamedTuple

from evolvent.engines.place.plain_data import data_in, is_container, make_empty
from evolvent.engines.place.sources import users_modules

_MAIN = "__main__"


class SharedContainer(NamedTuple):
    """A container, as it is pickled.

    Attributes:
        number: its own.
        kind: its type.
        homes: module and name of those that have it, the surest one first.
        maxlen: of a `deque`.
    """

    number: int
    kind: type
    homes: tuple[tuple[str, str], ...]
    maxlen: int | None


def shared_containers(
    main: Mapping[str, Any], known: Collection[str], makers: Collection[str]
) -> dict[int, SharedContainer]:
    """Return the containers of plain data in `__main__` and the user's modules, by their `id`.

    Args:
        main: the names of `__main__`.
        known: those that the worker has by itself.
        makers: as with `is_data`.
    """
    scopes = [(_MAIN, {n: x for n, x in main.items() if n in known})]
    scopes += [(name, vars(module)) for name, module in users_modules().items()]
    scopes += [(_MAIN, {n: x for n, x in main.items() if n not in known})]
    found: dict[int, SharedContainer] = {}
    for module, scope in scopes:
        for name in data_in(scope, known, makers):
            value = scope[name]
            if is_container(value):
                maxlen = value.maxlen if type(value) is deque else None
                first = SharedContainer(len(found), type(value), (), maxlen)
                shared = found.get(id(value), first)
                found[id(value)] = shared._replace(homes=(*shared.homes, (module, name)))
    return found


class ReceivedContainers:
    """Those that came to a worker; each is found once, and is the same object for all."""

    def __init__(self) -> None:
        self._found: dict[int, Any] = {}

    def find(self, shared: tuple[Any, ...]) -> Any:
        """Return the one of this process; an empty one if it has none of that type."""
        number, kind, homes, maxlen = shared
        if number not in self._found:
            own = _own(kind, homes)
            # The script may have given a name another object, and this one another name.
            taken = own is None or any(own is other for other in self._found.values())
            self._found[number] = _made(kind, maxlen) if taken else own
        return self._found[number]


def _own(kind: type, homes: tuple[tuple[str, str], ...]) -> Any:
    for module, name in homes:
        own = vars(_module(module)).get(name)
        if type(own) is kind:
            return own
    return None


def _made(kind: type, maxlen: int | None) -> Any:
    return deque(maxlen=maxlen) if maxlen is not None else make_empty(kind)


def _module(name: str) -> types.ModuleType:
    return sys.modules.get(name) or import_module(name)
