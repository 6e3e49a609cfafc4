"""Checkpoints are compared by what is in them, whatever their bytes are."""

from __future__ import annotations

import bz2
import datetime
import gzip
import itertools
import json
import lzma
import pickle
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evolvent.store.checkpoints.files import read
from evolvent.testing.check_lab import hashes
from evolvent.testing.check_values import differing, has_arrays, times

GAPS = np.dtype({"names": ["w", "flag"], "formats": ["f8", "u1"], "itemsize": 16})


def write_zip(path: Path, weights: np.ndarray, run: int) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo("weights.pkl", (2026, 1, 1 + run, 0, 0, 0))
        archive.writestr(info, pickle.dumps({"w": weights}, protocol=2 + run))


def write_gzip(path: Path, weights: np.ndarray, run: int) -> None:
    path.write_bytes(gzip.compress(json.dumps({"w": weights.tolist()}).encode(), mtime=run))


def write_safetensors(path: Path, weights: np.ndarray, run: int) -> None:
    about = {"dtype": "F64", "shape": [*weights.shape], "data_offsets": [0, weights.nbytes]}
    header = json.dumps({"w": about}).encode() + b" " * run
    path.write_bytes(len(header).to_bytes(8, "little") + header + weights.tobytes())


def write_hdf5(path: Path, weights: np.ndarray, run: int) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        for name in ("w", "empty")[:: 1 - 2 * run]:  # in another order
            file.create_dataset(name, data=weights if name == "w" else [0.0])


def write_torch(path: Path, weights: np.ndarray, run: int) -> None:
    torch = pytest.importorskip("torch")
    layer = torch.nn.Linear(1, len(weights))
    layer.weight.data = torch.as_tensor(weights)[:, None]
    layer.bias.data.zero_()
    torch.save(layer, path, _use_new_zipfile_serialization=run == 0)


def write_joblib(path: Path, weights: np.ndarray, run: int) -> None:
    joblib = pytest.importorskip("joblib")
    joblib.dump({"w": weights}, path, compress=("zlib", 1 + 8 * run))


def write_xz(path: Path, weights: np.ndarray, run: int) -> None:
    path.write_bytes(lzma.compress(pickle.dumps({"w": weights}, protocol=2 + run)))


def write_bz2(path: Path, weights: np.ndarray, run: int) -> None:
    path.write_bytes(bz2.compress(pickle.dumps({"w": weights}, protocol=2 + run)))


def write_records(path: Path, weights: np.ndarray, run: int) -> None:
    """Write fields with gaps between them, which hold whatever was there before."""
    records = np.frombuffer(bytearray([run] * 16 * len(weights)), dtype=GAPS)
    records["w"], records["flag"] = weights, 1
    path.write_bytes(pickle.dumps(records))


def write_objects(path: Path, weights: np.ndarray, run: int) -> None:
    path.write_bytes(pickle.dumps(np.array([Model(weights, run), None], dtype=object)))


class Model:
    """An object of the user's, with a shared text in its state or an equal one."""

    def __init__(self, weights: np.ndarray, run: int) -> None:
        self.weights, self.names = weights, ["layer", "layer" if run else "".join(["la", "yer"])]


def write_pickle(path: Path, weights: np.ndarray, run: int) -> None:
    path.write_bytes(pickle.dumps([Model(weights, run), np.random.default_rng(1)]))


@pytest.mark.parametrize(
    "write",
    [
        write_zip, write_gzip, write_safetensors, write_hdf5, write_torch, write_pickle,
        write_joblib, write_xz, write_bz2, write_records, write_objects,
    ],
)  # fmt: skip
def test_equal_values_are_equal_and_others_are_arrays_that_differ(
    tmp_path: Path, write: Callable[..., Any]
) -> None:
    places = [tmp_path / name for name in "abc"]
    for place, weights, run in zip(places, (1.0, 1.0, 2.0), (0, 1, 1), strict=True):
        place.mkdir()
        write(place / "model_1234567", np.full(3, weights), run)
    a, b, c = (hashes(read(place)) for place in places)
    assert a != b
    assert differing(a, b, places[0], places[1]) == {}
    found = differing(b, c, places[1], places[2])
    assert all(found.values())
    assert len(found) == 1
    assert next(iter(found)).startswith("model_#:")
    assert has_arrays(a, places[0])


def test_what_cannot_be_read_differs_as_a_file(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.bin").write_bytes(b"PK" + name.encode())
        (tmp_path / name / "log.txt").write_text("the same")
    a, b = hashes(read(tmp_path / "a")), hashes(read(tmp_path / "b"))
    assert differing(a, b, tmp_path / "a", tmp_path / "b") == {"x.bin": False}
    assert not has_arrays(a, tmp_path / "a")


def test_what_a_generator_has_yet_to_draw_is_one_value_and_no_array(tmp_path: Path) -> None:
    places = [tmp_path / name for name in "ab"]
    for seed, place in enumerate(places):
        place.mkdir()
        made = np.random.RandomState(seed), np.random.default_rng(seed), np.random.PCG64(seed)
        (place / "g").write_bytes(pickle.dumps(made))
    a, b = (hashes(read(place)) for place in places)
    assert differing(a, b, *places) == {"g:0": False, "g:1": False, "g:2": False}


@pytest.mark.parametrize(
    ("value", "is_time"),
    [
        (time.time, True),
        (lambda: int(time.time()), True),
        (time.ctime, True),
        (lambda: datetime.datetime.now(datetime.UTC), True),
        (lambda: datetime.datetime.now(datetime.UTC).date(), True),
        (lambda: time.strftime("run-%Y%m%d"), True),
        (lambda: 0.5, False),
        (lambda: 3, False),
        (lambda: "layers 3:4", False),
        (lambda: [time.time()] * 2, False),
    ],
    ids=itertools.count(),
)
def test_times_of_today_are_known(tmp_path: Path, value: Callable[[], Any], is_time: bool) -> None:
    (tmp_path / "about").write_bytes(pickle.dumps({"it": value()}))
    assert times(hashes(read(tmp_path)), tmp_path) == ({"about:it"} if is_time else set())
