"""How a script logs, made anew in a worker: its loggers, their handlers, captured warnings."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import logging.handlers
import os
import pickle
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import Any

from evolvent.engines.place.on_import import when_imported

_MOST_NAMED = 3
_logger = logging.getLogger("evolvent")


@dataclass(frozen=True, slots=True)
class LogSetup:
    """How a process logs.

    Attributes:
        loggers: by the package that is imported under the first part of their names; "" for none.
        disabled: all up to this level are silent.
        captures: whether warnings are logged.
    """

    loggers: dict[str, list[_LoggerSetup]]
    disabled: int
    captures: bool

    @classmethod
    def of_process(cls) -> LogSetup:
        loggers: dict[str, list[_LoggerSetup]] = {"": [_LoggerSetup.of(logging.root)]}
        for name, logger in list(logging.Logger.manager.loggerDict.items()):
            if isinstance(logger, logging.Logger):
                package = name.partition(".")[0]
                key = package if package in sys.modules else ""
                loggers.setdefault(key, []).append(_LoggerSetup.of(logger))
        captures = logging._warnings_showwarning is not None  # type: ignore[attr-defined]
        return cls(loggers, logging.root.manager.disable, captures)

    def apply(self, *, warns: bool) -> None:
        """Log so from now on; the handlers which the script's top level has made stay.

        Args:
            warns: name what cannot be made here.
        """
        logging.disable(self.disabled)
        logging.captureWarnings(self.captures)
        for package, loggers in self.loggers.items():
            if package:  # after it has set its own, which may be later
                when_imported(package, partial(_apply, loggers, warns=warns))
            else:
                _apply(loggers, warns=warns)


def _apply(
    loggers: Iterable[_LoggerSetup], _: types.ModuleType | None = None, *, warns: bool
) -> None:
    missing = [name for logger in loggers for name in logger.apply()]
    if missing and warns:
        more = f" and {len(missing) - _MOST_NAMED} more" if len(missing) > _MOST_NAMED else ""
        _logger.warning(
            "workers log without %s%s: set it at the top level of the script, or in the training "
            "code", ", ".join(missing[:_MOST_NAMED]), more,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _LoggerSetup:
    """A logger; the name of the root is ""."""

    name: str
    level: int
    propagate: bool
    disabled: bool
    filters: bytes | None
    handlers: tuple[_HandlerSetup, ...]

    @classmethod
    def of(cls, logger: logging.Logger) -> _LoggerSetup:
        return cls(
            "" if logger is logging.root else logger.name,
            logger.level,
            logger.propagate,
            logger.disabled,
            _pickled(logger.filters),
            tuple(map(_HandlerSetup.of, logger.handlers)),
        )

    def apply(self) -> list[str]:
        """Set the logger so; return in words what cannot be had here."""
        logger = logging.getLogger(self.name)
        logger.setLevel(self.level)
        logger.propagate, logger.disabled = self.propagate, self.disabled
        missing: list[str] = []
        if not logger.filters and not _unpickled(self.filters, logger.filters.extend):
            missing.append("a filter")
        mine = {handler: _HandlerSetup.of(handler) for handler in logger.handlers}
        matched = _matched(self.handlers, mine)
        for theirs, handler in matched.items():
            missing += theirs.add_to(logger) if handler is None else theirs.settle(handler)
        for handler, own in mine.items():  # `main()` has removed it since
            if handler not in matched.values() and own.maker is not None:
                logger.removeHandler(handler)
        where = f"of logger {self.name!r}" if self.name else "of the root logger"
        return [f"{what} {where}" for what in missing]


@dataclass(frozen=True, slots=True, eq=False)
class _HandlerSetup:
    """A handler.

    Attributes:
        kind: the whole name of its class.
        maker: the class by which it is made anew; None: it cannot be.
        target: the file, or the name of the stream.
        level: of records that it shows.
        encoding: of a file.
        formatter: pickled, as filters are; None where that cannot be.
        plain: one of our own with the same format, pickled: in place of one that cannot be.
        filters: its filters.
    """

    kind: str
    maker: Callable[..., logging.Handler] | None
    target: str
    level: int
    encoding: str | None
    formatter: bytes | None
    plain: bytes | None
    filters: bytes | None

    @classmethod
    def of(cls, handler: logging.Handler) -> _HandlerSetup:
        kind, target = type(handler), ""
        maker: Callable[..., logging.Handler] | None = None
        if isinstance(handler, logging.FileHandler):
            # What rotates is not to be rotated by all: workers follow the file, as it is renamed.
            follows = kind is not logging.FileHandler
            maker = logging.handlers.WatchedFileHandler if follows else logging.FileHandler
            target = handler.baseFilename
            _let_others_append(handler)
        elif isinstance(handler, logging.StreamHandler):
            is_stdout = str(getattr(handler.stream, "name", "")).strip("<>") == "stdout"
            maker, target = logging.StreamHandler, "stdout" if is_stdout else "stderr"
        elif isinstance(handler, logging.NullHandler):
            maker = logging.NullHandler
        return cls(
            f"{kind.__module__}.{kind.__qualname__}",
            maker,
            target,
            handler.level,
            getattr(handler, "encoding", None),
            _pickled(handler.formatter),
            _pickled(_plain(handler.formatter)),
            _pickled(handler.filters),
        )

    def add_to(self, logger: logging.Logger) -> list[str]:
        """Make it anew; return in words what cannot be had here."""
        handler = self._made()
        if handler is None:
            return [self.kind.rpartition(".")[2]]
        logger.addHandler(handler)
        missing = [] if _unpickled(self.filters, handler.filters.extend) else ["a filter"]
        handler.setLevel(self.level)
        if not _unpickled(self.formatter, handler.setFormatter):
            _unpickled(self.plain, handler.setFormatter)
        return missing

    def settle(self, mine: logging.Handler) -> list[str]:
        """Let the one of the top level be as this one is now, in what `main()` sets most."""
        mine.setLevel(self.level)
        _unpickled(self.formatter, mine.setFormatter)  # else it keeps its own
        return []

    def _made(self) -> logging.Handler | None:
        if self.maker is logging.StreamHandler:
            return logging.StreamHandler(getattr(sys, self.target))
        if self.maker is None or not self.target:
            return None if self.maker is None else self.maker()
        try:
            return self.maker(self.target, "a", self.encoding)
        except OSError:  # its directory has been removed
            return None


def _matched(
    handlers: Iterable[_HandlerSetup], mine: Mapping[logging.Handler, _HandlerSetup]
) -> dict[_HandlerSetup, logging.Handler | None]:
    """Return which of the handlers of this process is which of those."""
    found: dict[_HandlerSetup, logging.Handler | None] = dict.fromkeys(handlers)
    left = dict(mine)
    # Of the same place first; else of the same kind: a file may be named by its time or process.
    for key in (attrgetter("kind", "target"), attrgetter("kind")):
        for theirs in (one for one in found if found[one] is None):
            found[theirs] = next((h for h in left if key(left[h]) == key(theirs)), None)
            left = {handler: own for handler, own in left.items() if handler != found[theirs]}
    return found


@contextlib.contextmanager
def appended_files() -> Iterator[None]:
    """Let a handler that would begin its file anew append to it: the script has begun it."""
    original: Any = logging.FileHandler.__init__

    def append(self: Any, filename: Any, mode: str = "a", *rest: Any, **named: Any) -> None:
        original(self, filename, mode.replace("w", "a").replace("x", "a"), *rest, **named)

    handler: Any = logging.FileHandler
    handler.__init__ = append
    try:
        yield
    finally:
        handler.__init__ = original


def _let_others_append(handler: logging.FileHandler) -> None:
    """Let what this process writes into a file, too, go to its end: not over what workers wrote."""
    with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or not open yet
        stream: Any = handler.stream
        fd = stream.fileno()
        fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_APPEND)


def _plain(formatter: logging.Formatter | None) -> logging.Formatter | None:
    if formatter is None:
        return None
    plain = logging.Formatter()
    plain.__dict__ |= {n: x for n, x in vars(formatter).items() if n in vars(plain)}
    return plain


def _pickled(value: Any) -> bytes | None:
    """Return what may be of the script's classes, for which the worker has to have entered it."""
    try:
        return pickle.dumps(value)
    except Exception:  # noqa: BLE001 - whatever its `__reduce__` raises
        return None


def _unpickled(packed: bytes | None, use: Callable[[Any], object]) -> bool:
    """Call `use` with what was pickled; return whether it could be had here."""
    try:
        value = pickle.loads(packed or b"")
    except Exception:  # noqa: BLE001 - whatever its `__setstate__` raises
        return False
    use(value)
    return True
