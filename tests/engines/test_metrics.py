"""Metrics as people return them: the objective is a number, the rest is kept or left out."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import evolvent as ev
from evolvent.engines.metrics import MOST, kept_metrics, kept_numbers
from evolvent.errors import TrainableError
from tests.settings import study_record


class Lazy(Mapping[str, Any]):
    """Computes its values when asked for them, and cannot for some: all, where it has no others."""

    def __init__(self, **values: Any) -> None:
        self._values = values

    def __iter__(self) -> Iterator[str]:
        if not self._values:
            raise OSError("no names")
        return iter(self._values)

    def __len__(self) -> int:
        return max(1, len(self._values))

    def __getitem__(self, name: str) -> Any:
        if isinstance(value := self._values[name], Exception):
            raise value
        return value


def kept(study: str, **values: Any) -> dict[str, Any]:
    return kept_metrics(values, study=study)


@pytest.mark.parametrize(
    ("given", "number"),
    [
        (np.float32(0.5), 0.5),
        (np.longdouble(0.5), 0.5),
        (np.array(0.5), 0.5),
        (np.array([[0.5]]), 0.5),
        (np.bool_(True), True),
        (np.int64(3), 3),
        (Decimal("0.5"), 0.5),
        (10**30, 10**30),
        (10**400, math.inf),
        (-(10**400), -math.inf),
        ("Infinity", math.inf),
    ],
    ids=repr,
)
def test_a_number_of_any_library_is_one_of_python(given: Any, number: float) -> None:
    found = kept("numbers", x=given)["x"]
    assert found == number
    assert type(found) in (bool, int, float)


@pytest.mark.parametrize(
    ("given", "value"),
    [
        (None, None),
        ("warmup", "warmup"),
        ([[1, 2], (3, np.int64(4))], [[1, 2], [3, 4]]),
        (np.arange(3), [0, 1, 2]),
        ([{"class": "cat", 1: None}], [{"class": "cat", "1": None}]),
        ({}, {}),
    ],
    ids=repr,
)
def test_what_json_can_hold_is_kept(given: Any, value: Any) -> None:
    assert kept("json", x=given) == {"x": value}


def test_nested_names_are_joined_with_dots_and_names_become_text() -> None:
    nested = {"val": {"cat": 0.1, 7: {"dog": 0.9}}, 3: 0.5, np.int64(4): 0.6}
    plain = {"val.cat": 0.1, "val.7.dog": 0.9, "3": 0.5, "4": 0.6}
    assert kept_metrics(nested, study="nested") == plain


def test_what_utf8_cannot_hold_is_written_with_backslashes() -> None:
    name = b"caf\xe9".decode("utf-8", "surrogateescape")
    found = kept("bytes", **{name: 1.0, "file": name, "files": [name, {name: 2}]})
    plain = r"caf\udce9"
    assert found == {plain: 1.0, "file": plain, "files": [plain, {plain: 2}]}


@pytest.mark.parametrize(
    "given",
    [object(), {1, 2}, b"raw", 1j, Path("x"), np.zeros(2, complex), [object()], {(1, 2): 0.1}],
    ids=lambda given: type(given).__name__,
)
def test_what_json_cannot_hold_is_left_out_with_one_warning(
    given: Any, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    name = request.node.name
    for _ in range(3):
        assert kept(name, at=0.5, figure=given) == {"at": 0.5}
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "metric 'figure" in caplog.text


@pytest.mark.parametrize("error", [RuntimeError("no batch"), KeyError("batch")], ids=repr)
def test_an_entry_of_which_reading_raises_is_left_out(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    study = f"lazy {error!r}"
    inner = {"group": Lazy(x=error, y=2), "listed": [Lazy(x=error)], "none": Lazy()}
    for _ in range(2):
        found = kept_metrics(Lazy(at=0.5, val=error, **inner), study=study, objective="at")
        assert found == {"at": 0.5, "group.y": 2}
    left_out = [record.args[1] for record in caplog.records]  # type: ignore[index]
    assert left_out == ["val", "group.x", "listed", "none"]
    assert f"'val' is left out: reading 'val' raised {type(error).__name__}: " in caplog.text


def test_an_objective_of_which_reading_raises_fails_the_job() -> None:
    with pytest.raises(TrainableError, match=r"metric 'at' .*reading 'at' raised OSError: gone"):
        kept_metrics(Lazy(at=OSError("gone"), val=1), study="gone", objective="at")


@pytest.mark.parametrize(
    ("given", "what"),
    [
        (np.zeros((0, 3)), r"ndarray array\(\[\], .*, an empty array$"),
        (np.zeros(2), r"ndarray array\(\[0., 0.\]\), more than one element$"),
        ([], r"list \[\]$"),
        (np.array("high"), r"ndarray array\('high', .*\)$"),
    ],
    ids=repr,
)
def test_an_objective_that_is_no_number_is_named_as_what_it_is(given: Any, what: str) -> None:
    with pytest.raises(TrainableError, match=f"metric 'at' must be a number, got {what}"):
        kept_metrics({"at": given}, study="what", objective="at")


def test_what_would_fill_the_log_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    found = kept("large", at=1, map=np.zeros((512, 512)), note="x" * MOST, last="kept")
    assert found == {"at": 1, "last": "kept"}
    assert "'map' is left out: too large: ndarray with 262144 elements" in caplog.text
    assert "'note' is left out: more than 64 KiB" in caplog.text


def test_what_holds_itself_ends_no_run() -> None:
    ring: list[Any] = []
    ring.append(ring)
    loop: dict[str, Any] = {"x": 1}
    loop["again"] = loop
    found = kept_metrics({"at": 1, "ring": ring, "loop": loop}, study="ring")
    assert (found["at"], found["loop.x"]) == (1, 1)
    assert "ring" not in found
    json.dumps(found)


def test_points_are_numbers_only(caplog: pytest.LogCaptureFixture) -> None:
    assert kept_numbers({"a": np.float32(0.5), "b": "text", "c": None}, study="p") == {"a": 0.5}
    assert [record.args[1] for record in caplog.records] == ["b", "c"]  # type: ignore[index]


RICH: Mapping[str, Any] = {
    "at": np.float32(0.5), "phase": "warmup", "auc": None, "confusion": np.eye(2, dtype=int),
    "val": {"cat": 0.25, "dog": math.nan}, "net": object(),
}  # fmt: skip


def rich(job: ev.Job) -> Mapping[str, Any]:
    job.log(step=1, at=0.5, phase="warmup")
    return RICH


class Rich(ev.Trainable):
    def setup(self, hyperparameters: Mapping[str, Any], context: ev.Context) -> None: ...

    def apply(self, hyperparameters: Mapping[str, Any]) -> None: ...

    def train(self) -> Mapping[str, Any]:
        return rich(self.job)

    def save(self, directory: Path) -> None: ...

    def load(self, directory: Path) -> None: ...


def asked(study: ev.Study) -> None:
    while job := study.next_job():
        with job:
            job.metrics = rich(job)


@pytest.mark.parametrize(
    "train",
    [
        lambda study: study.run(rich, workers=0, progress=False),
        lambda study: study.run(Rich, workers=0, progress=False),
        asked,
    ],
    ids=["function", "class", "ask"],
)
def test_every_form_keeps_the_same(train: Any) -> None:
    study = ev.create_study("forms", **_settings())
    train(study)
    metrics = dict(study.jobs()[0].metrics)
    assert math.isnan(metrics.pop("val.dog"))
    assert metrics == {
        "at": 0.5, "phase": "warmup", "auc": None, "confusion": [[1, 0], [0, 1]], "val.cat": 0.25,
    }  # fmt: skip
    assert study.points("m0r0")[0].values == {"at": 0.5}


def test_frames_have_numbers_as_numbers_and_lists_as_json() -> None:
    pytest.importorskip("pandas")
    study = ev.create_study("frames", **_settings())
    frame = study.run(rich, workers=0, progress=False).jobs()
    assert frame["val.cat"].tolist() == [0.25] * 4
    assert frame["phase"].tolist() == ["warmup"] * 4
    assert frame["confusion"].tolist() == ["[[1, 0], [0, 1]]"] * 4
    assert "auc" not in frame


def _settings() -> dict[str, Any]:
    record = study_record(metric="at", population=2, rounds=2)
    algorithm = ev.PBT(exploit=ev.CopyBest())
    return {
        "metric": "at", "mode": "max", "space": record.space, "population": 2, "rounds": 2,
        "algorithm": algorithm, "store": "memory://",
    }  # fmt: skip
