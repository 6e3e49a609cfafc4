"""The space: names of hyperparameters, each with its distribution."""

from __future__ import annotations

import json
from collections.abc import Container, ItemsView, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import fields
from numbers import Real
from typing import Any

import numpy as np

from evolvent.core.codec import decode, encode
from evolvent.core.distributions import DISTRIBUTIONS, Constant, Distribution, Listed
from evolvent.core.records import Hyperparameters, Value
from evolvent.core.values import copied, from_json, is_number, plainer, text_of, to_json
from evolvent.errors import ConfigError, OutOfSpace, UnknownName
from evolvent.validation import cut, invalid, plain_text, warn

_KINDS = tuple(DISTRIBUTIONS.values())
_EMPTY_GROUP = Constant({})
_FIELDS = {frozenset(f.name for f in fields(kind)): kind for kind in reversed(_KINDS)}
_RANGE = {"low", "high"}
_WIDE = 5.0
"""From this ratio on two numbers are rather a range than a pair such as Adam's betas."""


class LooksLikeRange(UserWarning):
    """Two numbers in a space, a tuple or named low and high, may have been meant as a range."""


class Space(Mapping[str, Distribution]):
    """Flat names (`optimizer.lr`) with their distributions, in the order in which they were given.

    Hyperparameters are drawn in this order: two spaces are equal when their order is, too.
    """

    __slots__ = ("_fields",)

    def __init__(self, fields: Mapping[str, Distribution]) -> None:
        if not fields:
            raise invalid("space", "got no hyperparameter, wanted one or more")
        for name, distribution in fields.items():
            _check_name(name, fields)
            if not isinstance(distribution, _KINDS):
                problem = f"got {cut(distribution)}, {_remedy(distribution)}"
                raise invalid(name, problem, within="space: ")
        self._fields = {plain_text(name): d for name, d in fields.items()}

    @classmethod
    def of(cls, nested: Mapping[str, Any]) -> Space:
        """Return the space of a nested dict of distributions; plain values are constants.

        So are tuples, `betas=(0.9, 0.999)`; a list may mean several things, and is refused.

        Raises:
            ConfigError: names the hyperparameter, what came and what was wanted.
        """
        if isinstance(nested, Space):
            return nested
        if not isinstance(nested, Mapping):
            raise invalid("space", f"got {cut(nested)}, wanted a dict of names")
        fields = {name: _distribution(name, value) for name, value in _walk(nested, whole=True)}
        there = any(type(d) is not Constant or d != _EMPTY_GROUP for d in fields.values())
        return cls(fields if there else {})

    def sample(self, *, rng: np.random.Generator) -> dict[str, Value]:
        """Draw flat hyperparameters, each independently."""
        return {name: distribution.sample(rng) for name, distribution in self._fields.items()}

    def sample_initial(self, *, rng: np.random.Generator) -> dict[str, Value]:
        """Draw what a member starts with: likewise, from `initial` where a distribution has it."""
        return {name: d.sample_initial(rng) for name, d in self._fields.items()}

    def check(self, values: Mapping[str, Any], *, partial: bool = False) -> dict[str, Value]:
        """Return flat hyperparameters with their own types (a float stays one when given as 1).

        Args:
            values: flat or nested.
            partial: whether some may be missing.

        Raises:
            OutOfSpace: names the hyperparameter, what came and what was wanted.
        """
        checked = self._each("check", self.flat(values))
        missing = [name for name in self._fields if name not in checked]
        if missing and not partial:
            expected = self._fields[missing[0]].expected
            raise _outside(missing[0], f"missing, wanted {expected}")
        return checked

    def clip(self, values: Mapping[str, Any]) -> dict[str, Value]:
        """Return the values, flat or nested, moved to the nearest ones inside the space; flat.

        Raises:
            OutOfSpace: a name is unknown, a number is none, a category is not in its list.
        """
        return self._each("clip", self.flat(values))

    def parse(self, name: str, text: str) -> Any:
        """Return what a person means by a text: the first of JSON, a number, and text that fits.

        Of a text that fits in no way, or has no place in the space, the first that it can be.
        """
        readings: list[Any] = []
        for reader in (json.loads, float):  # JSON has no `.5`
            with suppress(ValueError, RecursionError):
                readings.append(reader(text))
        readings.append(text)
        if (distribution := self._fields.get(name)) is not None:
            for value in readings:
                with suppress(OutOfSpace):
                    return distribution.check(value)
        return readings[0]

    def only(self, names: Iterable[str]) -> Space:
        """Return the part of the space with these names, in the order of the space."""
        wanted = set(names)
        part = object.__new__(Space)  # no checks: the fields have passed them
        part._fields = {name: d for name, d in self._fields.items() if name in wanted}
        return part

    def given(self, flat: Hyperparameters) -> dict[str, Any]:
        """Return flat hyperparameters as training code gets them: nested, and a copy.

        What was given as a tuple is one, where a log has lists.
        """
        return self.nest({name: self._given(name, value) for name, value in flat.items()})

    def flat(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return `flatten` of values, but for dicts that are the value of one hyperparameter."""
        return self.flatten(values, leaves=self._fields)

    @staticmethod
    def nest(flat: Hyperparameters) -> dict[str, Any]:
        """Return flat hyperparameters nested at the dots."""
        nested: dict[str, Any] = {}
        for name, value in flat.items():
            *groups, last = name.split(".")
            place = nested
            for group in groups:
                place = place.setdefault(group, {})
            place[last] = value
        return nested

    @staticmethod
    def flatten(nested: Mapping[str, Any], *, leaves: Container[str] = ()) -> dict[str, Any]:
        """Undo `nest`; what is flat already stays so, and so do dicts of the names in `leaves`.

        Raises:
            OutOfSpace: `nested` is no mapping, or gives a name twice.
        """
        if not isinstance(nested, Mapping):
            raise OutOfSpace(
                f"hyperparameters: got {cut(nested)}, wanted a dict of names",
                field="hyperparameters",
            )
        flat: dict[str, Any] = {}
        for name, value in _walk(nested, whole=False, leaves=leaves):
            if name in flat:
                raise _outside(name, "given twice, nested and with dots")
            flat[name] = value
        return flat

    def to_json(self) -> dict[str, Any]:
        """Return the space as flat JSON."""
        return {name: _to_json(name, d) for name, d in self._fields.items()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Space:
        """Undo `to_json`; groups and constants may also be written plainly, as in a TOML file."""
        if not isinstance(data, Mapping):
            raise invalid("space", f"got {cut(data)}, wanted names with distributions")
        fields: dict[str, Any] = {}
        for name, value in _walk_json(data):
            if isinstance(value, Mapping) and value:
                fields[name] = _from_json(name, value)
            else:
                fields[name] = _distribution(name, value)
        return cls(fields)

    def __getitem__(self, name: str) -> Distribution:
        return self._fields[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def items(self) -> ItemsView[str, Distribution]:
        return self._fields.items()  # what Mapping gives goes through __getitem__

    def __len__(self) -> int:
        return len(self._fields)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Space):
            return NotImplemented
        return list(self._fields.items()) == list(other._fields.items())

    def __hash__(self) -> int:
        return hash(tuple(self._fields.items()))

    def __repr__(self) -> str:
        return f"Space({self._fields!r})"

    def _given(self, name: str, value: Any) -> Any:
        distribution = self._fields.get(name)
        if isinstance(value, (list, dict)) and isinstance(distribution, Listed):
            with suppress(OutOfSpace):  # of another space, such as that of an older schedule
                return distribution.given(value)
        return copied(value)

    def _each(self, method: str, flat: Mapping[str, Any]) -> dict[str, Value]:
        unknown = [name for name in flat if name not in self._fields]
        if unknown:
            names = ", ".join(self._fields)
            problem = f"not in the space, wanted {names}"
            raise _outside(unknown[0], problem) from UnknownName(unknown[0])
        result: dict[str, Value] = {}
        for name, distribution in self._fields.items():
            if name in flat:
                try:
                    result[name] = getattr(distribution, method)(flat[name])
                except OutOfSpace as e:
                    raise _outside(name, str(e)) from None
        return result


def short(value: Any, digits: int = 4) -> str:
    """Return a hyperparameter in a few characters: floats to so many digits, `true` and `false`."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.{digits}g}" if isinstance(value, float) else text_of(value)


def _outside(name: str, problem: str) -> OutOfSpace:
    return OutOfSpace(f"hyperparameter {name}: {problem}", field=f"hyperparameters.{name}")


def _distribution(name: str, value: Any) -> Any:
    if isinstance(value, str) and value in DISTRIBUTIONS:
        raise invalid(
            name,
            f"got the text {value!r}, wanted the distribution, such as "
            f"ev.Uniform(0, 1); if the text is meant: ev.Constant({value!r})",
            within="space: ",
        )
    plain = value is None or isinstance(value, (str, bool, Real, np.generic, tuple))
    if plain or (isinstance(value, Mapping) and not value):
        _warn_of_range(name, value)
        try:
            return Constant(value)
        except ConfigError as e:
            raise invalid(name, str(e), within="space: ") from e
    return value


def _warn_of_range(name: str, value: Any) -> None:
    """Warn of two numbers that look as if they were the bounds of a distribution."""
    if not isinstance(value, tuple) or len(value) != len("ab") or not all(map(is_number, value)):
        return
    low, high = value
    if low < high and (low <= 0 or high / low >= _WIDE):
        warn(
            f"space: {name}: the tuple {cut(value)} is one value, which every member gets: if a "
            "range is meant, write ev.Uniform(low, high) or ev.LogUniform(low, high); if not, "
            f"ev.Constant({cut(value)})",
            LooksLikeRange,
        )


def _check_group(name: str, group: Mapping[str, Any]) -> None:
    """Refuse what has been a distribution, and warn of what may have been meant as one.

    Raises:
        ConfigError: it is what `dataclasses.asdict` makes of a distribution.
    """
    if _was_distribution(group):
        kind = _FIELDS[frozenset(group)].__name__
        raise invalid(
            name,
            f"got the dict {cut(group)}, which dataclasses.asdict makes of a distribution such as "
            f"ev.{kind}: keep it by {{f.name: getattr(config, f.name) for f in "
            "dataclasses.fields(config)}; if the dict is meant: ev.Constant(dict)",
            within="space: ",
        )
    plain = all(map(is_number, (group.get("low"), group.get("high"))))
    if group.keys() - {"initial"} == _RANGE and plain and group["low"] < group["high"]:
        warn(
            f"space: {name}: the dict {cut(group)} is a group of constants, which every member "
            "gets: if a range is meant, write ev.Uniform(low, high) or ev.LogUniform(low, high), "
            'or give its type in a file, type = "Uniform"; if not, ev.Constant(dict)',
            LooksLikeRange,
        )


def _was_distribution(value: Any) -> bool:
    """Return whether a value is what `dataclasses.asdict` makes of a distribution, surely."""
    if not isinstance(value, Mapping) or frozenset(value) not in _FIELDS or "initial" not in value:
        return False
    initial = value["initial"]  # few write a None that says nothing
    plain = not any(isinstance(inner, _KINDS) for inner in value.values())
    return plain and (initial is None or _was_distribution(initial))


def _remedy(value: Any) -> str:
    """Return what to write for what is no distribution and no single value."""
    if (remedy := plainer(value)) is not None:
        return remedy
    if isinstance(value, (list, np.ndarray)):
        return (
            "wanted a distribution, for a list may mean several: ev.Choice(values) or, if they "
            "have an order, ev.Ordinal(values) is one of them, ev.Constant(values) is the list as "
            "it is, and ev.Uniform(low, high) or ev.LogUniform(low, high) is a range"
        )
    if isinstance(value, type) and issubclass(value, _KINDS):
        return f"wanted one with its arguments, such as ev.{value.__name__}(…)"
    if callable(value):
        return (
            "wanted a distribution, from which evolvent draws; what depends on other "
            "hyperparameters is computed in the training code, and classes and functions are "
            "looked up there by their names: ev.Choice(['sgd', 'adam'])"
        )
    return (
        f"wanted a distribution ({', '.join(DISTRIBUTIONS)}) or a single value; of several values "
        "make a Choice or an Ordinal"
    )


def _to_json(name: str, distribution: Distribution) -> dict[str, Any]:
    data = encode(distribution, DISTRIBUTIONS, what=name)
    if isinstance(distribution, Constant):
        data["value"] = to_json(distribution.value)
    elif isinstance(distribution, Listed):
        data["values"] = list(map(to_json, distribution.values))
    initial = distribution.initial
    if _names_a_distribution(initial):
        initial = Constant(initial)  # else it would be read as that distribution
    if isinstance(initial, _KINDS):
        data["initial"] = _to_json(name, initial)
    elif initial is not None:
        data["initial"] = to_json(initial)
    else:
        data.pop("initial", None)  # written as it was before there was one
    return data


def _from_json(name: str, data: Mapping[str, Any]) -> Distribution:
    values = {field: from_json(value) for field, value in data.items()}
    if _names_a_distribution(data.get("initial")):
        values["initial"] = _from_json(f"{name}.initial", data["initial"])
    return decode(values, DISTRIBUTIONS, what=name, within="space: ")


def _names_a_distribution(value: Any) -> bool:
    kind = value.get("type") if isinstance(value, Mapping) else None
    return isinstance(kind, str) and kind in DISTRIBUTIONS


def _check_name(name: Any, fields: Mapping[str, Any]) -> None:
    parts = name.split(".") if isinstance(name, str) else [""]
    if not all(part.strip() for part in parts):
        raise invalid("space", f"got the name {cut(name)}, wanted a string that is not empty")
    for end in range(1, len(parts)):
        group = ".".join(parts[:end])
        if group in fields:
            raise invalid("space", f"{group} is a hyperparameter and a group with {name} in it")


def _walk(
    nested: Mapping[str, Any], *, whole: bool, prefix: str = "", leaves: Container[str] = ()
) -> Iterator[tuple[str, Any]]:
    """Yield dotted names with values; with `whole`, refuse names that have dots themselves.

    A dict is a value if it is empty, or if its name is one of `leaves`.
    """
    for name, value in nested.items():
        if not isinstance(name, str) or not name or (whole and "." in name):
            raise invalid(
                "space",
                f"got the name {cut(name)}, wanted a string that is not empty and has no "
                "dots (nest dicts instead)",
            )
        full = prefix + plain_text(name)
        if isinstance(value, Mapping) and value and full not in leaves:
            if whole:
                _check_group(full, value)
            yield from _walk(value, whole=whole, prefix=f"{full}.", leaves=leaves)
        else:
            yield full, value


def _walk_json(data: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in data.items():
        if isinstance(value, Mapping) and value and not isinstance(value.get("type"), str):
            _check_group(f"{prefix}{name}", value)
            yield from _walk_json(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
