"""The live objects of a worker: set up once for a shape of the program, moved between members."""

from __future__ import annotations

import ast
import functools
import inspect
import logging
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from evolvent.core.algorithms import PBT
from evolvent.core.explore import explored_names
from evolvent.core.records import JobId
from evolvent.core.space import Space
from evolvent.core.study import StudyRecord
from evolvent.core.values import copied_all
from evolvent.engines.job import Context, Job, WorkerContext
from evolvent.engines.place.forks import forked_children_end
from evolvent.engines.place.working_directory import WorkingDirectory
from evolvent.engines.trainable import Trainable
from evolvent.errors import EvolventError

_logger = logging.getLogger("evolvent")
_GETTERS = ("get", "pop")


@dataclass(slots=True, eq=False)
class _Live:
    """An object, what shapes its program, and whose state it is in.

    Attributes:
        holds: the job that saved its state last; None while it trains, and before.
    """

    object: Trainable
    static: Mapping[str, Any]
    holds: JobId | None = None


class LiveObjects:
    """The objects of one `Trainable` class that a worker has.

    The member whose state an object holds goes on without a load. Any other is loaded into an
    object that was set up with the same static hyperparameters: those which no copy changes, so
    that they may shape the program. Only if there is none, an object is set up.
    """

    def __init__(
        self,
        kind: type[Trainable],
        params: Mapping[str, Any],
        record: StudyRecord | None,
        *,
        keep_alive: int,
    ) -> None:
        """Keep up to `keep_alive` objects; with 0, one, which is never moved to another member.

        Without the settings of the study nothing is known to be static, and none is moved either.
        """
        self._kind, self._params, self._most = kind, params, max(1, keep_alive)
        self._moves = keep_alive > 0 and record is not None
        self._checks_static = record is not None
        self._is_static = _static_names(kind, record)
        self._objects: list[_Live] = []  # the one that was used last at the end
        self._in_use: _Live | None = None
        self._worker_is_set_up = False

    def holds(self, job: JobId | None, hyperparameters: Mapping[str, Any] | None = None) -> bool:
        """Whether an object is in the state that `job` saved, and can go on with these values."""
        live = self._holder(job)
        if live is None or hyperparameters is None:
            return live is not None
        return self._can_go_on(live, self._static_of(hyperparameters))

    def sets_up_anew(self, name: str) -> bool:
        """Whether another value of a hyperparameter, by flat name, takes an object set up anew."""
        return self._checks_static and self._is_static(name)

    @property
    def newest(self) -> Trainable | None:
        """The object that has trained last."""
        return self._objects[-1].object if self._objects else None

    def distrust(self, job: JobId) -> None:
        """What `job` saved here is in no log: another attempt counts. May come from any thread."""
        for live in list(self._objects):
            if live.holds == job:
                live.holds = None

    def run(self, job: Job, *, parent: JobId | None) -> Mapping[str, Any]:
        """Load if need be, apply, train and save; return what training returned.

        An object that raises is thrown away.
        """
        self.distrust(job.id)  # of an earlier attempt, whose report was refused
        # Copied before `setup` and `job` let anybody at them: who pops one there still applies it.
        values = copied_all(job.hyperparameters)
        self._in_use = None
        try:
            with forked_children_end():
                live = self._prepare(job, parent)
                live.object.apply(values)
                metrics: Mapping[str, Any] = _as_it_is(
                    live.object.train()
                )  # `save` may clear that very dict
                live.object.save(job.directory)
        except BaseException:
            self._discard_in_use()
            raise
        live.holds = job.id
        return metrics

    def close(self) -> None:
        """Throw all objects away. That one cannot be closed is no fault of any job."""
        while self._objects:
            self._discard(self._objects[0])

    def _prepare(self, job: Job, parent: JobId | None) -> _Live:
        live, static = self._holder(parent), self._static_of(job.hyperparameters)
        if live is not None and self._can_go_on(live, static):
            self._take(live, job)
            return live
        # A member that may get an object of its own, and then load nothing, is not moved into one.
        alike = [live for live in self._objects if live.static == static]
        can_move = job.checkpoint is not None or self._kind.reset is not Trainable.reset
        if self._moves and can_move and alike and len(self._objects) >= self._most:
            if self._move(alike[0], job):
                return alike[0]
            self._discard(alike[0])
        return self._set_up(job, static)

    def _static_of(self, hyperparameters: Mapping[str, Any]) -> dict[str, Any]:
        flat = Space.flatten(hyperparameters)
        return {name: value for name, value in flat.items() if self._is_static(name)}

    def _can_go_on(self, live: _Live, static: Mapping[str, Any]) -> bool:
        # A copy whose donor was trained just now goes on in its object, with other values.
        return live.static == static or not self._checks_static

    def _move(self, live: _Live, job: Job) -> bool:
        """Give an object the state that a job starts from; False if it cannot take it."""
        self._take(live, job)
        try:
            if job.checkpoint is not None:
                live.object.load(job.checkpoint)
            else:
                live.object.reset(copied_all(job.hyperparameters))
        except EvolventError:  # such as a lost lease: no fault of the object
            raise
        except Exception:
            # Should the same happen to one that is set up for this job, it is the job that fails.
            self._moves = False
            _logger.warning(
                "%s: an object that was set up for another member cannot take over job %s; from "
                "now on they are set up anew", self._kind.__name__, job.id, exc_info=True,
            )  # fmt: skip
            return False
        return True

    def _set_up(self, job: Job, static: Mapping[str, Any]) -> _Live:
        while len(self._objects) >= self._most:
            self._discard(self._objects[0])
        try:
            live = self._new(job, static)
        except Exception as e:
            if not self._objects or not _is_out_of_memory(e):
                raise
            self.close()
            live = self._new(job, static)
        if job.checkpoint is not None:
            live.object.load(job.checkpoint)
        return live

    def _new(self, job: Job, static: Mapping[str, Any]) -> _Live:
        if not self._worker_is_set_up:
            context = WorkerContext(study=job.study, device=job.device)
            self._kind.setup_worker(context, **self._params)
            self._worker_is_set_up = True
        live = _Live(self._kind(), static)
        self._objects.append(live)  # from now on to be closed, whatever happens
        self._in_use = live
        live.object.job = job
        live.object.setup(
            copied_all(job.hyperparameters),
            Context(study=job.study, member=job.member, seed=job.seed, device=job.device),
            **self._params,
        )
        return live

    def _take(self, live: _Live, job: Job) -> None:
        self._objects.remove(live)
        self._objects.append(live)
        live.holds = None  # from its first step on it is in the state of no job
        live.object.job = job
        self._in_use = live

    def _holder(self, job: JobId | None) -> _Live | None:
        return next((live for live in self._objects if job is not None and live.holds == job), None)

    def _discard_in_use(self) -> None:
        if self._in_use is not None:
            self._discard(self._in_use)

    def _discard(self, live: _Live) -> None:
        # Forgotten first: should `close` raise, the object is not taken for a live one again.
        self._objects.remove(live)
        if live is self._in_use:
            self._in_use = None
        try:
            with WorkingDirectory():
                live.object.close()
        except Exception:
            _logger.warning("%s.close() failed", type(live.object).__name__, exc_info=True)


def _static_names(kind: type[Trainable], record: StudyRecord | None) -> Callable[[str], bool]:
    """Return which flat names an object keeps from its set-up on."""
    explored: frozenset[str] = frozenset()
    if record is not None and isinstance(record.algorithm, PBT):
        explored = explored_names(record.algorithm.explore_strategy, record.space)
    set_up, hands_on = _uses(kind.setup)
    applied, whole = _uses(kind.apply)
    if not applied and not whole:  # an `apply` that applies nothing leaves all to `setup`
        explored = frozenset()

    @functools.cache
    def is_static(name: str) -> bool:
        first = name.split(".", maxsplit=1)[0]
        # Of what `setup` hands on, it may use any name that `apply` does not.
        only_set_up = not whole and first not in applied and (hands_on or first in set_up)
        return name not in explored or only_set_up

    return is_static


def _uses(method: Callable[..., Any]) -> tuple[frozenset[str], bool]:
    """Return which hyperparameters a method reads by name, and whether it uses all of them.

    The latter also where it hands them on, or its source cannot be had.
    """
    try:
        (function,) = ast.parse(textwrap.dedent(inspect.getsource(method))).body
        argument = function.args.args[1].arg  # type: ignore[attr-defined]  # after self
    except (OSError, SyntaxError, TypeError, ValueError, AttributeError, IndexError):
        return frozenset(), True
    names: set[str] = set()
    by_name: set[ast.AST] = set()  # the places where the argument is read by a name
    for node in ast.walk(function):
        match node:
            case ast.Subscript(value=ast.Name(id=found), slice=ast.Constant(value=str(name))):
                read, place = found == argument, node.value
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id=found), attr=getter),
                args=[ast.Constant(value=str(name)), *_],
            ):
                read, place = found == argument and getter in _GETTERS, node.func.value  # type: ignore[attr-defined]
            case _:
                continue
        if read:
            names.add(name)
            by_name.add(place)
    whole = any(
        isinstance(node, ast.Name) and node.id == argument and node not in by_name
        for node in ast.walk(function)
    )
    return frozenset(names), whole


def _is_out_of_memory(error: Exception) -> bool:
    """Whether there is no more memory, of the machine or of a device (PyTorch's own class)."""
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"


def _as_it_is(metrics: Any) -> Any:
    """Return a copy of dicts, lists and arrays in them; of anything else, itself."""
    if isinstance(metrics, dict):
        return {name: _as_it_is(value) for name, value in dict.items(metrics)}
    if type(metrics) is list:
        return [*map(_as_it_is, metrics)]
    copy = getattr(metrics, "clone", getattr(metrics, "copy", None))  # PyTorch has the former
    return copy() if hasattr(metrics, "shape") and callable(copy) else metrics
