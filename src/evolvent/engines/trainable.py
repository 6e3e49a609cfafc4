"""What user code provides: a function of a job, or a class that stays alive between rounds."""

from __future__ import annotations

import abc
import functools
import importlib
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeAlias

from evolvent.engines.job import Context, Job, WorkerContext
from evolvent.engines.place.rerun import rerunning
from evolvent.engines.place.script import (
    Script,
    is_installed,
    is_script_path,
    main_line,
    running_script,
    script_of,
)
from evolvent.errors import ConfigError, UnknownName
from evolvent.store.records import Failure
from evolvent.validation import check_path, cut, where_to_put_modules


class Trainable(abc.ABC):
    """One model of the population; a live object, which a worker moves from member to member.

    The worker calls, in this order: `setup` once; `load` if the job starts from a checkpoint that
    this object does not hold already; `apply`; `train`; `save`. In all of them `self.job` is the
    running job: `self.job.seed`, `self.job.heartbeat()`, `self.job.log(step=…, …)`.

    An object that was set up for one member trains another one after a `load` of its checkpoint,
    if both have the same static hyperparameters: those that explore leaves alone, which may shape
    the program. So `load` has to bring back all that `train` depends on, and `apply` to put in
    force all that explore changes. With `study.run(…, keep_alive=0)` each member gets an object
    that was set up for it.
    """

    job: Job

    @classmethod  # noqa: B027 - optional
    def setup_worker(cls, context: WorkerContext, **params: Any) -> None:
        """Load what all members share, such as data, and keep it on the class.

        Called once in every worker, before the first `setup`. `params` are those of `study.run`.
        """

    @abc.abstractmethod
    def setup(self, hyperparameters: Mapping[str, Any], context: Context) -> None:
        """Build the model with fresh weights.

        With `study.run(…, params={"data_dir": …})` it takes `data_dir`, too.
        """

    def reset(self, hyperparameters: Mapping[str, Any]) -> None:  # noqa: B027 - optional
        """Make the weights fresh, of `self.job.seed`, as `setup` would have done for this job.

        Optional: without it a member that begins gets a new object. The static hyperparameters
        are those of the set-up.
        """

    @abc.abstractmethod
    def apply(self, hyperparameters: Mapping[str, Any]) -> None:
        """Put these values in force on the live model; called after every `setup` and `load`."""

    @abc.abstractmethod
    def train(self) -> Mapping[str, float]:
        """Train one round and return the metrics, the objective among them."""

    @abc.abstractmethod
    def save(self, directory: Path) -> None:
        """Write everything that training needs to go on: weights, optimizer, counters, buffers."""

    @abc.abstractmethod
    def load(self, directory: Path) -> None:
        """Read what `save` wrote, of this member or another. The directory is read-only."""

    def close(self) -> None:  # noqa: B027 - optional
        """Let go of files and processes before the object is thrown away."""


TrainFunction: TypeAlias = Callable[[Job], Mapping[str, float] | Failure]
AnyTrainable: TypeAlias = TrainFunction | type[Trainable]


@dataclass(frozen=True, slots=True)
class PathWithParams:
    """An import path, and the keyword arguments for what is found there."""

    path: str
    params: Mapping[str, Any]


def with_params(trainable: Any, params: Mapping[str, Any] | None) -> Any:
    """Return a trainable that gets keyword arguments: of its function, or of its `setup`.

    Raises:
        ConfigError: they are no dict with names.
    """
    if params is None:
        return trainable
    if not isinstance(params, Mapping) or not all(isinstance(name, str) for name in params):
        raise ConfigError(f"params: got {cut(params)}, wanted a dict of arguments by name")
    if isinstance(trainable, str):
        return PathWithParams(trainable, dict(params))
    return functools.partial(trainable, **params)


def class_of(trainable: Any) -> tuple[type[Trainable] | None, dict[str, Any]]:
    """Return the class of a trainable, None for a function, and the arguments of its `setup`."""
    params: dict[str, Any] = {}
    while isinstance(trainable, functools.partial):
        params = {**trainable.keywords, **params}
        trainable = trainable.func
    is_class = isinstance(trainable, type) and issubclass(trainable, Trainable)
    return (trainable, params) if is_class else (None, params)


def load_trainable(trainable: Any) -> AnyTrainable:
    """Return a trainable that was given itself, or by its import path.

    Raises:
        ConfigError: as `import_trainable`.
    """
    if isinstance(trainable, PathWithParams):
        found = with_params(_import(trainable.path), trainable.params)
        return check_trainable(found, trainable.path)
    return import_trainable(trainable) if isinstance(trainable, str) else trainable


def import_trainable(path: str) -> AnyTrainable:
    """Import `package.module:name`, looking in the working directory too.

    Of a script, `file.py:name`, the name is that of `__main__`, which must be that script.

    Raises:
        ConfigError: no such module or name, or it is neither a function nor a `Trainable` class.
    """
    return check_trainable(_import(path), path)


def _import(path: str) -> Any:
    module_name, name = _split_path(path)
    try:
        return attrgetter(name)(importlib.import_module(module_name))
    except ModuleNotFoundError as e:
        raise _no_module(path, e.name) from e
    except AttributeError as e:
        raise UnknownName(f"trainable {path!r}: {e}") from e


def import_path(trainable: Any) -> str | None:
    """Return the `module:name` by which other processes import it; None if there is none."""
    while isinstance(trainable, functools.partial) and not trainable.args:
        trainable = trainable.func  # whoever joins has to be given the same arguments
    if isinstance(trainable, PathWithParams):
        return trainable.path
    if isinstance(trainable, str):
        return trainable
    module, name = getattr(trainable, "__module__", None), getattr(trainable, "__qualname__", "")
    if module is None or getattr(sys.modules.get(module), name, None) is not trainable:
        return None
    if module != "__main__":
        return f"{module}:{name}"
    script = running_script()
    if script is None or not script.reruns(main_line()) or name not in script.names:
        return None
    return f"{script.path}:{name}"


def check_importable(path: str) -> None:
    """Refuse a module that is nowhere before a study is written; imports only its packages.

    Raises:
        ConfigError: no such module, or the path is not of that form.
    """
    if is_script_path(path):
        script = script_of(path)
        if _is_program():
            _look_beside(script)  # for what else the user names, such as an explore function
        return
    module, _ = _split_path(path)
    try:
        found = find_spec(module)
    except (ImportError, ValueError):
        found = None
    if found is None:
        raise _no_module(path, module)


def _no_module(path: str, module: str | None) -> UnknownName:
    return UnknownName(f"trainable {path!r}: no module {module!r}: {where_to_put_modules()}")


def check_trainable(trainable: Any, name: str = "trainable") -> AnyTrainable:
    """Return `trainable` if it is one.

    Raises:
        ConfigError: it is neither a function nor a `Trainable` class with all five methods.
    """
    kind, params = class_of(trainable)
    if kind is not None:
        _check_class(kind, params, name)
        return trainable  # type: ignore[no-any-return]  # the class, or a partial of it
    if isinstance(trainable, type):
        raise ConfigError(f"{name}: class {trainable.__name__} must derive from ev.Trainable")
    if not callable(trainable):
        raise ConfigError(
            f"{name}: wanted a function or an ev.Trainable class, got {cut(trainable)}"
        )
    if not _accepts(trainable, None):
        raise ConfigError(
            f"{name}: wanted a function of one argument, the job; got {trainable!r}: others come "
            "by name from run(…, params={…})"
        )
    return trainable  # type: ignore[no-any-return]  # any callable taking a job


def _check_class(kind: type[Trainable], params: Mapping[str, Any], name: str) -> None:
    missing = sorted(getattr(kind, "__abstractmethods__", ()))
    if missing:
        raise ConfigError(f"{name}: class {kind.__name__} lacks {', '.join(missing)}")
    if not _accepts(kind):
        raise ConfigError(
            f"{name}: the __init__ of class {kind.__name__} wants arguments, but the worker "
            "gives none: take what you need in setup(hyperparameters, context), other values by "
            "name from run(…, params={…})"
        )
    for method, arguments in (("setup", (None, {}, None)), ("setup_worker", (None,))):
        if not _accepts(getattr(kind, method), *arguments, **params):
            given = f", and {', '.join(params)} of params" if params else ""
            raise ConfigError(
                f"{name}: {kind.__name__}.{method} does not take what it is given: "
                f"{'hyperparameters, context' if method == 'setup' else 'context'}{given}"
            )


def _split_path(path: str) -> tuple[str, str]:
    """Return module and name; the working directory is looked in, as for `python -m`."""
    module, _, name = check_path("trainable", path).rpartition(":")
    if is_script_path(path):
        return _main_of(path), name
    if sys.path[0] != "":
        sys.path.insert(0, "")
    return module, name


def _main_of(path: str) -> str:
    """Return `__main__` if it is the script of a path; a program of ours becomes that script."""
    wanted = script_of(path)
    if _is_program():
        _look_beside(wanted)
        with rerunning(wanted.path):
            wanted.run()
    elif getattr(sys.modules["__main__"], "__file__", None) != wanted.path:
        raise ConfigError(
            f"trainable {path!r}: this process is another script already: let worker processes "
            "run it (workers=1), or import it as a module"
        )
    return "__main__"


def _is_program() -> bool:
    """Whether this process is an installed program, such as `evolvent`, and no user's script."""
    return is_installed(getattr(sys.modules["__main__"], "__file__", None))


def _look_beside(script: Script) -> None:
    """Look for modules in the folder of a script first, as Python does when it runs it."""
    if sys.path[0] != script.folder:
        sys.path.insert(0, script.folder)


def _accepts(code: Any, *arguments: object, **named: object) -> bool:
    """Whether it can be called with these arguments; as far as it says what it takes."""
    while isinstance(code, functools.partial):
        arguments, named = (*code.args, *arguments), {**code.keywords, **named}
        code = code.func
    try:
        inspect.signature(code).bind(*arguments, **named)
    except TypeError:
        return False
    except ValueError:  # written in C, without a signature
        return True
    return True
