"""The place in which a round runs: what a worker process takes over from the user's script."""

from __future__ import annotations

import contextlib
import linecache
import logging
import os
import sys
import traceback
import warnings
from dataclasses import dataclass
from importlib import import_module
from multiprocessing import process
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeAlias

from evolvent.engines.place.logging_setup import LogSetup, appended_files
from evolvent.engines.place.on_import import keep_texts
from evolvent.engines.place.rerun import rerunning
from evolvent.engines.place.script import (
    Script,
    is_script_path,
    main_line,
    running_cells,
    running_script,
    script_of,
)
from evolvent.engines.place.sources import ModuleText, texts_of_modules, users_modules
from evolvent.engines.place.started import STARTED_AT
from evolvent.errors import WorkerError

_logger = logging.getLogger("evolvent")
_MOST_NAMED = 3
_Filter: TypeAlias = tuple[str, str, tuple[str, str], str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a script has started a run, as far as it can be carried to another process.

    The environment and the working directory of the start come to a process from outside.

    Attributes:
        argv: the command line, as the script has it now.
        path: where modules are looked for.
        started_in: directory in which the script was started.
        directory: the one in which it is now.
        script: None in a notebook, a shell, or a program that is installed.
        reruns: whether workers run the top level of the script, as its guard allows.
        sources: text of code that is in no file, such as that of a notebook's cells, by its name.
        modules: text of the user's own modules, by name.
        filters: of warnings.
        log: how records are logged.
    """

    argv: list[str]
    path: list[str]
    started_in: str
    directory: str
    script: Script | None
    reruns: bool
    sources: dict[str, str]
    modules: dict[str, ModuleText]
    filters: list[_Filter]
    log: LogSetup

    @classmethod
    def of(cls, trainable: Any) -> Place:
        """Return the place of this process as it is now; says what workers will not see of it.

        Of a trainable that is the path of another script, workers run that one.
        """
        script: Script | None
        look_in, running = list(sys.path), running_script()
        path = getattr(trainable, "path", trainable)  # of one with params
        if is_script_path(path):
            script, reruns = script_of(path), True
            if running is None or running.path != script.path:
                look_in.insert(0, script.folder)
        else:
            script, line = running, main_line()
            reruns = script is not None and script.reruns(line)
            if not reruns:
                _warn_of_unseen(script, line)
        return cls(
            argv=list(sys.argv),
            path=[os.path.abspath(p) for p in look_in],
            started_in=getattr(process, "ORIGINAL_DIR", None) or os.getcwd(),
            directory=os.getcwd(),
            script=script,
            reruns=reruns,
            sources=_sources(script),
            modules=_texts(),
            filters=_warning_filters(),
            log=LogSetup.of_process(),
        )

    @property
    def names(self) -> frozenset[str]:
        """The names of `__main__` that a worker has by itself."""
        return self.script.names if self.script is not None and self.reruns else frozenset()

    @property
    def rebound(self) -> frozenset[str]:
        """Those that it has with the value of the top level, which was changed since."""
        return self.script.rebound if self.script is not None and self.reruns else frozenset()

    def enter(self) -> None:
        """Make this process such a place, before any of the user's code is unpickled.

        Raises:
            WorkerError: the top level of the script raised.
        """
        sys.path[:] = self.path
        sys.argv[:] = self.argv
        for name, text in self.sources.items():  # for tracebacks, and who reads source at run time
            linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
        keep_texts(self.modules)
        if self.script is not None and self.reruns:
            # From where the script began: its top level may go elsewhere, by a relative path.
            with contextlib.suppress(OSError):
                os.chdir(self.started_in)
            _rerun(self.script)
        elif self.script is not None:
            self.script.install()
        with contextlib.suppress(OSError):  # it has been removed: training will say so
            os.chdir(self.directory)

    def settle(self, *, warns: bool = True) -> None:
        """Let warnings and logging be as they are there; after all that imports or sets them.

        Args:
            warns: name what of logging cannot be had here.
        """
        warnings.resetwarnings()
        for action, message, category, module, line in self.filters:
            with contextlib.suppress(ImportError, AttributeError):
                kind = attrgetter(category[1])(import_module(category[0]))
                warnings.filterwarnings(action, message, kind, module, line, append=True)  # type: ignore[arg-type]
        self.log.apply(warns=warns)


def _sources(script: Script | None) -> dict[str, str]:
    found = {
        name: "".join(linecache.getlines(name))
        for name in list(linecache.cache)
        if not os.path.exists(name) and linecache.cache[name][-1] == name
    }
    # A script may be edited while it runs.
    return found if script is None else found | {script.path: script.source}


def _texts() -> dict[str, ModuleText]:
    texts = texts_of_modules()
    edited = [text.path for text in texts.values() if text.changed_ns > STARTED_AT * 1e9]
    if edited:
        _logger.warning(
            "edited since the script has started, and workers have the new text: %s",
            ", ".join(edited[:_MOST_NAMED]),
        )
    return texts


def _warning_filters() -> list[_Filter]:
    found: list[_Filter] = []
    for action, message, category, module, line in warnings.filters:
        kind: Any = category  # named: the worker may have to import it
        texts = (_pattern(message), (kind.__module__, kind.__qualname__), _pattern(module))
        found.append((action, *texts, line))
    return found


def _pattern(expression: Any) -> str:
    return getattr(expression, "pattern", expression) or ""


def _rerun(script: Script) -> None:
    try:
        with appended_files(), rerunning(script.path):
            script.run()
    except BaseException as e:
        e.__traceback__ = e.__traceback__ and e.__traceback__.tb_next  # begins in the script
        raise WorkerError(
            f"the top level of {script.path}, which workers run too, has raised in a worker; what "
            'only the script itself is to do belongs under `if __name__ == "__main__":`\n'
            + "".join(traceback.format_exception(e))
        ) from e


def _carried() -> frozenset[str]:
    """Return what is carried when a script calls or sets it."""
    # Not in a worker: numpy comes with it, before the script has said how.
    from evolvent.engines.place.settings import CARRIED  # noqa: PLC0415

    attributes = {
        f"{name}.{attribute}"
        for name, module in users_modules().items()
        for attribute, value in vars(module).items()
        if not callable(value)
    }
    return CARRIED | attributes


def _warn_of_unseen(script: Script | None, line: int | None) -> None:
    cells = running_cells() if script is None else None
    if cells is not None:
        unseen = cells.unseen(sys.maxsize, carried=_carried())
        cure = "do it in the training code, too"
    else:
        unseen = [] if script is None or line is None else script.unseen(line, carried=_carried())
        cure = 'put the run under `if __name__ == "__main__":`, and they do it too'
    if unseen:
        did = "the notebook has done" if script is None else f"{Path(script.path).name} does"
        where = "" if script is None else " at its top"
        more = f" and {len(unseen) - _MOST_NAMED} more" if len(unseen) > _MOST_NAMED else ""
        named = "; ".join(unseen[:_MOST_NAMED])
        _logger.warning("workers will not see what %s%s: %s%s: %s", did, where, named, more, cure)
