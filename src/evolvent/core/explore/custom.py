"""Custom explore: a function of the user's own."""

from __future__ import annotations

import importlib
import inspect
import signal
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from dis import opmap
from functools import partial, reduce
from typing import Any, TypeAlias

import numpy as np

from evolvent.core.records import Hyperparameters, Value
from evolvent.core.rng import realised, stream
from evolvent.core.space import Space
from evolvent.errors import ConfigError, DecisionError
from evolvent.validation import cut, cut_middle, invalid, warn, where_to_put_modules

_MOST = 10_000  # characters of what a function raises, and of its traceback
_TRIALS = 16
"""So many draws a function is tried on."""
_REPEATED = 4
"""On so many of them twice."""
_RAISE = bytes([opmap["RAISE_VARARGS"]])  # what a `raise` is compiled to

_Function: TypeAlias = Callable[[dict[str, Any], np.random.Generator], Mapping[str, Any] | None]


class UnrepeatableExplore(UserWarning):
    """An explore function gives two results for the same hyperparameters and generator."""


@dataclass(frozen=True, slots=True, repr=False)
class CustomExplore:
    """Call `fn(hyperparameters, rng)` and take the hyperparameters it returns.

    The function gets a dict of its own, nested as the space is, and a NumPy generator. It returns a
    dict, or changes the one that it got and returns nothing. What it leaves out stays as it was;
    numbers may be those of NumPy, those beyond the bounds are clipped, and for an integer any
    number is rounded to the nearest one. Anything else that does not fit the space is an error: an
    unknown name, NaN, a value that is not in a list.

    All that is drawn is to come from `rng`: a function that uses `random`, `np.random` or a state
    of its own does not give the same study for the same seed, and is warned of.

    It is tried on a few draws from the space when a study is created and when a run begins. Where
    it fails later, whatever it raises, no finished round is lost: the study stops, `run` raises a
    DecisionError with the traceback, and goes on with the next `run` once the function is mended.

    Functions, lambdas, closures, `functools.partial` and objects that can be called reach the
    workers that a script starts. With the study only a name is stored: whoever goes on with it
    imports the function by that, or, where it has no import path, gives it again by
    `create_study(..., resume=True)`. Other programs, such as `evolvent worker`, need a path.

    Attributes:
        fn: a function, or its path such as `"package.module:function"`.
    """

    fn: _Function | str
    _stored: str = field(init=False, default="", compare=False)

    def __post_init__(self) -> None:
        fn = self.fn
        if isinstance(fn, str):
            if not all(fn.partition(":")):
                raise invalid(
                    "CustomExplore.fn", f"got {cut(fn, 120)}, wanted a path 'module:function'"
                )
            stored = fn
        elif not callable(fn):
            raise invalid(
                "CustomExplore.fn", f"got {cut(fn)}, wanted a function or its import path"
            )
        else:
            stored = _stored_name(fn)
            if _is_path(stored) and not stored.startswith("__main__:"):
                object.__setattr__(self, "fn", stored)
        # Here and once: in a worker, `__main__` is another module.
        object.__setattr__(self, "_stored", stored)

    def __call__(
        self, hyperparameters: Hyperparameters, space: Space, *, rng: np.random.Generator
    ) -> dict[str, Value]:
        return self._move({name: hyperparameters[name] for name in space}, space, rng)[0]

    def validate(self, space: Space) -> None:
        """Import the function, and try it on a few draws from the space.

        Raises:
            ConfigError: there is none at that path; it cannot be called with hyperparameters and
                `rng`; it raises, or returns nothing or what is not in the space.
        """
        self._check_arguments()
        tried = [self._try(space, i) for i in range(_TRIALS)]
        if not any(answered for _, answered in tried):
            raise invalid(
                "explore",
                f"{self!r} returned None and left the hyperparameters as they were, wanted a dict "
                "of them, or changes to the one that it was given",
            )
        # What it draws from elsewhere, or counts, has gone on meanwhile.
        again = [self._try(space, i) for i in range(_REPEATED)]
        if again != tried[:_REPEATED]:
            warn(
                f"{self!r} gave two results for the same hyperparameters and the same rng: draw "
                "from rng only, not from random or np.random, or the same seed will not give the "
                "same study",
                UnrepeatableExplore,
            )

    def to_json(self) -> dict[str, Any]:
        """Return the strategy as JSON: of the function, its name."""
        return {"type": "CustomExplore", "fn": self._stored}

    def __repr__(self) -> str:
        return f"CustomExplore({self._stored!r})"

    def __eq__(self, other: object) -> bool:
        """Return whether both are stored alike."""
        return isinstance(other, CustomExplore) and self._stored == other._stored

    def __hash__(self) -> int:
        return hash(self._stored)

    def _function(self) -> _Function:
        return _resolve(self.fn) if isinstance(self.fn, str) else self.fn

    def _move(
        self, mine: dict[str, Value], space: Space, rng: np.random.Generator
    ) -> tuple[dict[str, Value], bool]:
        """Return the new values, and whether the function has returned or changed anything."""
        function, given = self._function(), space.given(mine)
        try:
            returned = function(given, realised(rng))
        except BaseException as e:
            if _is_interrupt(e):
                raise
            raise DecisionError(f"{self!r} raised {_describe(e)}") from e
        new: Any = given if returned is None else returned
        try:
            new = _plain(new)
            moved = {**mine, **space.clip(new)}
        except ConfigError as e:
            raise DecisionError(f"{self!r} returned {cut(new, 200)}: {e}", field=e.field) from e
        except BaseException as e:  # whatever reading it comes to, no finished round may be lost
            if _is_interrupt(e):
                raise
            kind = type(returned).__name__
            problem = f"{self!r} returned a {kind} that cannot be read: {_describe(e)}"
            raise DecisionError(problem) from e
        return moved, returned is not None or space.given(mine) != given

    def _try(self, space: Space, draw: int) -> tuple[dict[str, Value], bool]:
        rng = stream(0, "try explore", draw, 0)
        mine = space.sample(rng=rng)
        try:
            return self._move(mine, space, rng)
        except DecisionError as e:
            problem = f"tried on {cut(space.nest(mine), 300)}: {e}"
            raise invalid("explore", problem) from e.__cause__

    def _check_arguments(self) -> None:
        try:
            signature = inspect.signature(self._function())
        except (TypeError, ValueError):  # of a function written in C
            return
        try:
            signature.bind({}, None)
        except TypeError as e:
            wanted = "wanted a function that is called with (hyperparameters, rng)"
            raise invalid("explore", f"{self!r} takes {signature}: {e}; {wanted}") from None


def _is_interrupt(error: BaseException) -> bool:
    """Return whether an error is a KeyboardInterrupt that a signal has raised, not the function."""
    if not isinstance(error, KeyboardInterrupt):
        return False
    # In a worker process our handler of Ctrl-C only sets a flag, but in the user's own process one
    # may raise: a handler in Python has a place in the traceback, and Python's own, in C, raises
    # amid anything but a `raise`. What is neither is the function's own.
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    codes = [getattr(h, "__code__", getattr(type(h).__call__, "__code__", None)) for h in handlers]
    place, instruction = error.__traceback__, b""
    while place is not None:
        code, last = place.tb_frame.f_code, place.tb_lasti
        if code in codes:
            return True
        place, instruction = place.tb_next, code.co_code[last : last + 1]
    return instruction != _RAISE


def _describe(error: BaseException) -> str:
    """Return an error in a line, and below it where in the function it was raised."""
    own = error.__traceback__
    inside = own.tb_next if own is not None and own.tb_next is not None else own
    lines = "".join(traceback.format_exception(type(error), error, inside)).rstrip()
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - its own `__str__` may fail, too
        text = "it cannot be printed"
    described = f"{type(error).__name__}: {cut_middle(text, _MOST)}"
    return f"{described}\n{cut_middle(lines, _MOST)}"


def _plain(value: Any) -> Any:
    """Return scalars of NumPy, arrays without dimensions too, as Python's own."""
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        return value.item()
    return value


def _stored_name(fn: Callable[..., Any]) -> str:
    """Return the import path of a function, or a name that is none.

    What is made while a script runs has `<` or `(` in its name: `pkg.mod:make.<locals>.step`,
    `pkg.mod:Explorer(...)`.
    """
    if isinstance(fn, partial):
        return f"{_stored_name(fn.func)}(...)"
    named = fn if hasattr(fn, "__qualname__") else type(fn)
    path = f"{named.__module__ or 'builtins'}:{named.__qualname__}"
    try:
        found = None if "<" in path else _resolve(path)
    except ConfigError:
        found = None
    return path if found is fn or "<" in path else f"{path}(...)"


def _is_path(name: str) -> bool:
    return not {"<", "("} & set(name)


def _resolve(path: str) -> _Function:
    module, _, name = path.partition(":")
    if not _is_path(path):
        raise invalid(
            "CustomExplore.fn",
            f"cannot import {path!r}, which is made while a script runs: give it again by "
            "create_study(..., resume=True), or use a function at the top of a module",
        )
    try:
        found: Any = reduce(getattr, name.split("."), importlib.import_module(module))
    except (ImportError, AttributeError, ValueError) as e:
        advice = ""
        if isinstance(e, ModuleNotFoundError):
            advice = f": {where_to_put_modules()}"
        elif module == "__main__":
            advice = (
                ": it was defined in a script; give it again by create_study(..., resume=True), or "
                "move it to a module that workers can import"
            )
        raise invalid("CustomExplore.fn", f"cannot import {path!r} ({e}){advice}") from e
    if not callable(found):
        raise invalid("CustomExplore.fn", f"{path!r} is {cut(found)}, wanted a function")
    return found  # type: ignore[no-any-return]  # what users write has no types we could know
