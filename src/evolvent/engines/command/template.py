"""The words of a command, with placeholders for what changes from job to job."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from evolvent.core.records import Hyperparameters, Value
from evolvent.core.values import text_of
from evolvent.errors import ConfigError, UnknownName
from evolvent.validation import cut

JOB_VALUES = (
    "checkpoint", "directory", "seed", "round", "member", "job", "study", "attempt", "device",
    "job_file",
)  # fmt: skip
"""Placeholders that every study has, beside the names of its hyperparameters."""

ALL = "hyperparameters"
"""The placeholder of all hyperparameters, as options."""

_PART = re.compile(r"(?P<brace>\{\{|\}\})|\{(?P<name>[^{}]*)\}|(?P<lone>[{}])|(?P<text>[^{}]+)")
_OPTION = re.compile(r"--?[A-Za-z][\w.-]*")
_OPTION_AND_EQUALS = re.compile(_OPTION.pattern + "=")


@dataclass(frozen=True, slots=True)
class Placeholder:
    """Stands for a value of the job or for a hyperparameter."""

    name: str


_Word: TypeAlias = tuple[str | Placeholder, ...]


@dataclass(frozen=True, slots=True)
class Template:
    """A command: each word is one argument, whatever is put into it; no shell ever reads it."""

    words: tuple[_Word, ...]

    @classmethod
    def parse(cls, words: Sequence[str], names: Collection[str]) -> Template:
        """Read the words of a command.

        Args:
            words: the program and its arguments; `{{` and `}}` are braces.
            names: flat names of the hyperparameters there are.

        Raises:
            ConfigError: no word; an unknown placeholder, with those there are; a lone brace.
        """
        if not words or not words[0]:
            raise ConfigError("command: got none, wanted a program and its arguments after --")
        return cls(tuple(_parse_word(word, names) for word in words))

    def fill(self, values: Mapping[str, str | None], hyperparameters: Hyperparameters) -> list[str]:
        """Return the arguments of one job.

        A value may be missing: the checkpoint in round 0, the device, a hyperparameter that is
        null. An option loses itself with its value (`--load {checkpoint}`, `--load={checkpoint}`);
        any other argument keeps its place and is empty.

        Args:
            values: of `JOB_VALUES`, by name; None for one that is missing.
            hyperparameters: flat.
        """
        by_full_name = {f"{ALL}.{name}": text(value) for name, value in hyperparameters.items()}
        texts = {**by_full_name, **values}
        filled: list[str] = []
        before: _Word = ()
        for word in self.words:
            if word == (Placeholder(ALL),):
                filled += options(hyperparameters)
            elif not _is_missing(word, texts):
                parts = (part if isinstance(part, str) else texts[part.name] for part in word)
                filled.append("".join(part or "" for part in parts))
            elif not isinstance(word[0], Placeholder):
                pass  # --load={checkpoint}
            elif _matches(_OPTION, before):
                filled.pop()  # --load {checkpoint}
            else:
                filled.append("")
            before = word
        return filled


def options(hyperparameters: Hyperparameters) -> list[str]:
    """Return hyperparameters as `--name value`, with hyphens for underscores.

    Nulls are left out; true is `--name`, false is `--no-name`; lists and dicts are JSON.
    """
    words: list[str] = []
    for name, value in hyperparameters.items():
        option = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{option}" if value else f"--no-{option}")
        elif value is not None:
            words += [f"--{option}", text_of(value)]
    return words


def text(value: Value) -> str | None:
    """Return one value as text: numbers to the last bit, `true`, JSON of a list; None for null."""
    if value is None or isinstance(value, str):
        return value
    return str(value).lower() if isinstance(value, bool) else text_of(value)


def _parse_word(word: str, names: Collection[str]) -> _Word:
    parts: list[str | Placeholder] = []
    for part in _PART.finditer(word):
        if part["lone"]:
            raise ConfigError(
                f"command: {cut(word)}: a lone {part['lone']!r}: write {part['lone'] * 2!r} "
                "for a brace"
            )
        if part["name"] is not None:
            parts.append(Placeholder(_resolve(part["name"], word, names)))
        elif parts and isinstance(parts[-1], str):
            parts[-1] += part["text"] or part["brace"][0]
        else:
            parts.append(part["text"] or part["brace"][0])
    if Placeholder(ALL) in parts and len(parts) > 1:
        raise ConfigError(
            f"command: {cut(word)}: {{{ALL}}} becomes several arguments: wanted it as one of its "
            "own"
        )
    return tuple(parts)


def _resolve(name: str, word: str, names: Collection[str]) -> str:
    """Return what a placeholder stands for: a hyperparameter has its full name if need be."""
    full = name.removeprefix(f"{ALL}.")
    if name in names and (name in JOB_VALUES or name == ALL):
        raise ConfigError(
            f"command: {cut(word)}: {{{name}}} is a hyperparameter and the job's {name}: write "
            f"{{{ALL}.{name}}} for the first; the other is in ${variable(name)}"
        )
    if full in names:
        return f"{ALL}.{full}"
    if name == ALL or name in JOB_VALUES:
        return name
    raise UnknownName(
        f"command: {cut(word)}: unknown placeholder {{{name}}}: hyperparameters are "
        f"{', '.join(names)}; {ALL} is all of them; a job has {', '.join(JOB_VALUES)}; "
        "write {{ and }} for braces"
    )


def variable(name: str) -> str:
    """Return the environment variable in which a command finds a value of its job."""
    return f"EVOLVENT_{name.upper()}"


def _is_missing(word: _Word, texts: Mapping[str, str | None]) -> bool:
    """Whether an argument, or the value of an option in the same word, begins with nothing."""
    first = word[1:2] if _matches(_OPTION_AND_EQUALS, word[:1]) else word[:1]
    return any(isinstance(part, Placeholder) and texts[part.name] is None for part in first)


def _matches(form: re.Pattern[str], word: _Word) -> bool:
    return len(word) == 1 and isinstance(word[0], str) and form.fullmatch(word[0]) is not None
