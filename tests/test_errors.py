"""What a program asks of an error is in its class and its attributes, and goes where it goes."""

from __future__ import annotations

import errno
import pickle
import sqlite3
from pathlib import Path

import pytest

from evolvent import errors
from evolvent.core.space import Space
from evolvent.errors import (
    CheckpointError,
    ConfigError,
    EvolventError,
    LeaseLost,
    OutOfSpace,
    StorageFull,
    StoreUnavailable,
    UnknownStudy,
)
from evolvent.store.checkpoints import files
from evolvent.store.codec.fields import NUMBER, Malformed
from evolvent.store.codec.study import record_from_json
from evolvent.store.http.transport import error_of
from evolvent.store.sqlite import location
from evolvent.validation import check_count
from tests.settings import study_record

KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, EvolventError)
]


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_goes_between_processes_with_its_field(kind: type[EvolventError]) -> None:
    sent = kind("what went wrong", field="rounds")
    came = pickle.loads(pickle.dumps(sent))
    assert (type(came), str(came), came.field) == (kind, "what went wrong", "rounds")


def test_an_error_that_is_always_about_the_same_says_so() -> None:
    assert (UnknownStudy("gone").field, LeaseLost("gone").field) == ("study", "attempt")
    assert UnknownStudy("gone", field="other").field == "other"
    assert EvolventError("anything").field is None


def test_a_value_that_is_refused_is_named() -> None:
    with pytest.raises(ConfigError, match="rounds: got 0, wanted") as refused:
        check_count("rounds", 0, least=1)
    assert refused.value.field == "rounds"
    with pytest.raises(ConfigError, match=r"rounds: got 'x{79}…, wanted a whole number"):
        check_count("rounds", "x" * 79 + "y" * 9, least=1)
    with pytest.raises(Malformed, match="score: got 'x', wanted a finite number") as malformed:
        NUMBER.from_json("x", "score")
    assert malformed.value.field == "score"


def test_a_hyperparameter_that_is_refused_is_named() -> None:
    space = study_record().space
    with pytest.raises(OutOfSpace) as refused:
        space.check({"lr": "fast"}, partial=True)
    assert refused.value.field == "hyperparameters.lr"
    with pytest.raises(ConfigError) as unknown:
        Space.from_json({"lr": {"type": "Triangle"}})
    assert (unknown.value.field, str(unknown.value)[:10]) == ("lr", "space: lr:")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"rounds": 0}, "rounds"),
        ({"initial": [{"lr": "fast"}]}, "hyperparameters.lr"),
        ({"space": {"lr": {"type": "Triangle"}}}, "lr"),
        ({"space": "got"}, "space"),
        ({"algorithm": {"type": "PBT", "exploit": {"type": "Best"}}}, "exploit"),
        ({"target": 10**400}, "record"),
        ({"colour": "red"}, "record"),
    ],
    ids=str,
)
def test_what_is_wrong_within_a_record_keeps_its_name(changes: object, field: str) -> None:
    with pytest.raises(Malformed) as refused:
        record_from_json({**study_record().to_json(), **dict(changes)})  # type: ignore[call-overload]  # any mapping
    assert refused.value.field == field


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_no_space_is_told_by_its_class(code: int) -> None:
    full = OSError(code, "words", "/data/x")
    assert isinstance(files.translate_error(full, doing="write", path=Path("x")), StorageFull)
    assert isinstance(location.translate_error(full, Path("x")), StorageFull)
    other = OSError(errno.EACCES, "words", "/data/x")
    assert type(files.translate_error(other, doing="write", path=Path("x"))) is CheckpointError
    assert type(location.translate_error(other, Path("x"))) is StoreUnavailable


def test_no_space_for_the_log_is_told_by_its_class() -> None:
    said = sqlite3.OperationalError("database or disk is full")
    said.sqlite_errorcode = sqlite3.SQLITE_FULL
    assert isinstance(location.translate_error(said, Path("x")), StorageFull)


def test_an_error_of_the_service_is_raised_again_with_its_class_and_field() -> None:
    data = b'{"error": {"type": "StorageFull", "message": "words", "field": "store"}}'
    error = error_of(507, data, url="http://host")
    assert isinstance(error, StorageFull)
    assert (str(error), error.field) == ("words", "store")
    odd = b'{"error": {"type": "ConfigError", "message": "words", "field": [1]}}'
    assert error_of(422, odd, url="http://host").field is None
