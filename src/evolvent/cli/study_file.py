"""STUDY.toml: the settings of a study and how to run it, in one file."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evolvent.core.algorithms import algorithm_from_json
from evolvent.core.space import Space
from evolvent.errors import ConfigError
from evolvent.validation import DEFAULT_STORE, cut

if TYPE_CHECKING:
    from evolvent.study import Study

_REQUIRED = ("name", "metric", "mode", "population", "rounds")
_SETTINGS = (
    "name", "metric", "mode", "population", "rounds", "seed", "synchronous", "durability",
    "target", "max_failures", "trainable", "best",
)  # fmt: skip
_RUNNING = ("workers", "devices", "per_device", "threads", "wall_time_s", "grace_s",
    "keep_alive", "log_dir", "isolate_devices",
)  # fmt: skip
_TABLES = ("study", "space", "algorithm", "initial", "params")


@dataclass(frozen=True, slots=True)
class StudyFile:
    """What a study file says.

    Attributes:
        settings: arguments of `create_study`, without the store.
        running: arguments of `Study.run`.
        store: URL of the store; None when the file names none.
        trainable: import path of the training code; None when it is a command, for `exec`.
    """

    path: Path
    settings: Mapping[str, Any]
    running: Mapping[str, Any]
    store: str | None
    trainable: str | None

    def open(self, store: str | None) -> Study:
        """Return the study, made if it is not there; a store that is given goes before its own."""
        from evolvent.studies import create_study

        home = store or self.store or DEFAULT_STORE
        return create_study(**self.settings, store=home, resume=True)


def read_study_file(path: Path) -> StudyFile:
    """Read a study file.

    Raises:
        ConfigError: it cannot be read, is no TOML, or has an unknown, missing or unusable entry;
            names the file and the entry.
    """
    tables = _load(path)
    _check_keys(tables, _TABLES, where=f"{path}")
    study = _table(tables, "study", path)
    _check_keys(study, (*_SETTINGS, *_RUNNING, "store"), where=f"{path}: [study]")
    missing = [key for key in _REQUIRED if key not in study]
    if missing:
        raise ConfigError(f"{path}: [study] lacks {', '.join(missing)}")
    settings = {key: study[key] for key in _SETTINGS if key in study}
    space = _table(tables, "space", path)
    with _naming(f"{path}"):
        settings["space"] = Space.from_json(space)
    if "algorithm" in tables:
        with _naming(f"{path}: [algorithm]"):
            settings["algorithm"] = algorithm_from_json(tables["algorithm"])
    if "initial" in tables:
        initial = tables["initial"]
        if not isinstance(initial, list) or not all(isinstance(e, Mapping) for e in initial):
            raise ConfigError(f"{path}: initial: wanted tables [[initial]], one for each member")
        settings["initial"] = initial
    running = {key: study[key] for key in _RUNNING if key in study}
    if "params" in tables:
        running["params"] = _table(tables, "params", path)
    return StudyFile(path, settings, running, study.get("store"), study.get("trainable"))


@contextmanager
def _naming(where: str) -> Iterator[None]:
    """Begin the messages of errors with where they are."""
    try:
        yield
    except ConfigError as e:
        raise ConfigError(f"{where}: {e}") from e


def _load(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as e:
        raise ConfigError(f"{path}: cannot be read: {e.strerror}") from e
    except UnicodeDecodeError as e:
        raise ConfigError(f"{path}: is not UTF-8 text: {e}") from e
    except tomllib.TOMLDecodeError as e:
        raise ConfigError(f"{path}: is not TOML: {e}") from e


def _table(tables: Mapping[str, Any], name: str, path: Path) -> Mapping[str, Any]:
    if name not in tables:
        raise ConfigError(f"{path}: lacks the table [{name}]")
    if not isinstance(tables[name], Mapping):
        raise ConfigError(f"{path}: {name}: got {cut(tables[name])}, wanted a table [{name}]")
    table: Mapping[str, Any] = tables[name]
    return table


def _check_keys(table: Mapping[str, Any], known: tuple[str, ...], *, where: str) -> None:
    for key in table:
        if key not in known:
            close = get_close_matches(key, known, 1)
            meant = f": did you mean {close[0]!r}?" if close else ""
            raise ConfigError(f"{where}: unknown key {key!r}{meant} There are {', '.join(known)}")
