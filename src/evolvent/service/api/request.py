"""One request as handlers see it: who asks, for which study, with what; its path and query read."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypedDict, cast

from starlette.datastructures import QueryParams

from evolvent.core.records import JobId
from evolvent.errors import UnknownJob, UnknownStudy
from evolvent.service.auth.roles import Identity
from evolvent.service.settings import ServiceSettings
from evolvent.service.web.errors import HttpError
from evolvent.store.codec.fields import ADDRESS, COUNT, JOB_NAME, SMALL, TEXT, Malformed, Schema
from evolvent.store.protocol import Store
from evolvent.validation import MOST, invalid

_PARAMETER = re.compile(r"{(\w+)}")
_MOST_DIGITS = 12
_MOST_INDEX_DIGITS = 5


class PathValues(TypedDict, total=False):
    """What the path of a request says; which of these, its template says."""

    study: int
    member: int
    job: JobId
    index: int
    address: str
    upload: str
    name: str


class PathTemplate:
    """A path such as `/studies/{study}/jobs/{job}`, compiled.

    Args:
        text: below the prefix of the API.
    """

    def __init__(self, text: str) -> None:
        self.parameters = tuple(_PARAMETER.findall(text))
        # Names of studies may have slashes in them.
        self.pattern = text.replace("{name}", "{name:path}")
        self._readers = [(name, PARAMETERS[name][0]) for name in self.parameters]

    def read(self, texts: Mapping[str, str]) -> PathValues:
        """Return what the texts of a path that fits mean.

        Raises:
            EvolventError: one of them means nothing; the first one does.
        """
        return cast(PathValues, {name: read(texts[name]) for name, read in self._readers})


def is_whole(text: str, *, most_digits: int = _MOST_DIGITS) -> bool:
    """Whether a text is a whole number in plain digits, and not too many of them."""
    return text.isascii() and text.isdecimal() and len(text) <= most_digits


def study_number(text: str) -> int:
    """Return the number of a study.

    Raises:
        UnknownStudy: it is none that a study could have.
    """
    if not is_whole(text) or int(text) > MOST:
        raise UnknownStudy(f"no study of number {text!r:.80}: wanted the number of a study")
    return int(text)


def _member(text: str) -> int:
    if not is_whole(text, most_digits=len(str(MOST)) - 1):
        raise invalid("member", f"got {text!r:.80}, wanted the number of a member")
    return int(text)


def _job(text: str) -> JobId:
    try:
        return JOB_NAME.from_json(text, "job")
    except Malformed as e:
        raise UnknownJob(str(e)) from e


def _address(text: str) -> str:
    try:
        return ADDRESS.from_json(text, "checkpoint")
    except Malformed as e:
        raise HttpError(404, str(e), field="address") from e


def _index(text: str) -> int:
    if not is_whole(text, most_digits=_MOST_INDEX_DIGITS):
        message = f"file: got {text!r:.80}, wanted its number in the list"
        raise HttpError(404, message, field="file")
    return int(text)


PARAMETERS: Mapping[str, tuple[Callable[[str], Any], Schema]] = {
    "study": (study_number, SMALL.schema),
    "member": (_member, SMALL.schema),
    "job": (_job, JOB_NAME.schema),
    "name": (str, {"type": "string", "minLength": 1, "maxLength": 100}),
    "address": (_address, ADDRESS.schema),
    "index": (_index, COUNT.schema),
    "upload": (str, TEXT.schema),
}
"""All that paths of the API have in them: what makes a value of its text, or raises what the answer
then says; and its JSON schema."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiRequest:
    """A request whose sender is known and may do such things.

    Attributes:
        base_url: where the client has reached us; empty for what writes.
        body: what the JSON object that came stands for, as the operation has it.
    """

    store: Store
    settings: ServiceSettings
    identity: Identity
    base_url: str
    path: PathValues
    query: QueryParams
    body: Any = None

    @property
    def study(self) -> int:
        """The number of the study in the path."""
        return self.path["study"]

    def count(self, name: str, default: int, *, most: int = MOST) -> int:
        """Return a whole number of the query.

        Raises:
            ConfigError: it is none, or above `most`.
        """
        value = self.query.get(name)
        if value is None:
            return default
        if not is_whole(value) or int(value) > most:
            raise invalid(name, f"got {value!r:.80}, wanted a whole number, 0 to {most}")
        return int(value)
