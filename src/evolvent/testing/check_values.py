"""Compares what two runs have saved: arrays and tensors by value, not the bytes of the files.

Zip archives hold times, pickles depend on which of their strings are one object: files of equal
content differ. Files are read only where their bytes differ. They are the checkpoints of a moment
ago, written by the very code that runs in this process: reading a pickle of its own runs nothing
that has not been run already.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import pickle
import re
import sys
import time
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date
from datetime import time as time_of_day
from enum import IntEnum
from functools import lru_cache, partial
from hashlib import sha256
from numbers import Real
from pathlib import Path
from types import BuiltinFunctionType, FunctionType
from typing import Any, TypeAlias

import numpy as np

INSIDE = ":"
"""Stands between the name of a file and that of a value in it."""

_DEEPEST = 16
_LONGEST_HEADER = 100_000_000
_NUMBERED = re.compile(r"\d{4,}")
"""Times and process ids in the names of files, which are others in every run."""
_CLOCK = re.compile(r"\d\d:\d\d")
_DAYS = "%Y-%m-%d", "%Y%m%d", "%Y_%m_%d"
_DAY_S = 86_400.0


class Kind(IntEnum):
    """What a saved value is: more than one number are state sooner than one is."""

    OTHER = 0
    LIST = 1  # Python's, of numbers: weights of a small model, or a history of run times
    ARRAY = 2  # or tensor


_GENERATORS = (np.random.RandomState, np.random.Generator, np.random.BitGenerator)

Leaf: TypeAlias = tuple[str, str, Kind]
"""The name of a value in a file, a text or hash of it, and its kind."""


class _Opaque(Exception):
    """The bytes say nothing to us."""


def differing(one: Mapping[str, str], two: Mapping[str, str], *places: Path) -> dict[str, Kind]:
    """Return what differs between two directories, each with its kind.

    Args:
        one: the hash of every file by relative name.
        two: likewise.
        places: where the two directories are.
    """
    sides: list[dict[str, list[tuple[str, Kind]]]] = []
    for files, other, place in zip((one, two), (two, one), places, strict=True):
        side: dict[str, list[tuple[str, Kind]]] = {}
        for name, digest in files.items():
            if other.get(name) != digest:
                for leaf, found, kind in _leaves_of_file(digest, place / name):
                    key = _NUMBERED.sub("#", f"{name}{leaf}")
                    side.setdefault(key, []).append((found, kind))
        sides.append(side)
    first, second = sides
    return {
        name: max(kind for _, kind in [*first.get(name, ()), *second.get(name, ())])
        for name in sorted(first.keys() | second.keys())
        if first.get(name) != second.get(name)
    }


def times(files: Mapping[str, str], place: Path) -> set[str]:
    """Return the names of values that hold a time of today.

    They may differ between equal runs, and seldom do where they are told to the second or minute.
    """
    return {
        _NUMBERED.sub("#", f"{name}{leaf}")
        for name, digest in files.items()
        for leaf, found, kind in _leaves_of_file(digest, place / name)
        if not kind and _is_time(found)
    }


def _is_time(text: str) -> bool:
    now = time.time()
    try:
        return abs(float(text) - now) < _DAY_S
    except ValueError:
        todays = time.localtime(now), time.gmtime(now)
        days = [time.strftime(form, today) for form in _DAYS for today in todays]
        return text[:1] in "'\"" and (bool(_CLOCK.search(text)) or any(day in text for day in days))


def has_arrays(files: Mapping[str, str], place: Path) -> bool:
    """Whether there are arrays, or lists of numbers, in any of the files."""
    return any(
        kind
        for name, digest in files.items()
        for _, _, kind in _leaves_of_file(digest, place / name)
    )


@lru_cache(maxsize=256)
def _leaves_of_file(digest: str, path: Path) -> tuple[Leaf, ...]:
    try:
        content = _parsed(path.read_bytes())
        return tuple(leaves(content))
    except Exception:  # noqa: BLE001 - whatever its reader raises: what remains are the bytes
        return (("", digest, Kind.OTHER),)


def _parsed(data: bytes) -> Any:
    for magic, read in _READERS.items():
        if data.startswith(magic):
            return read(data)
    if data[8:9] == b"{" and int.from_bytes(data[:8], "little") < _LONGEST_HEADER:
        return _of_safetensors(data)
    try:
        return json.loads(data)
    except ValueError:
        raise _Opaque from None


def _of_zip(data: bytes) -> Any:
    torch = sys.modules.get("torch")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = archive.namelist()
        if torch is not None and any(name.endswith("data.pkl") for name in names):
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=False)
        return {name: _or_bytes(archive.read(name)) for name in names}


def _or_bytes(data: bytes) -> Any:
    try:
        return _parsed(data)
    except Exception:  # noqa: BLE001 - as above
        return data


def _of_hdf5(data: bytes) -> Any:
    h5py: Any = sys.modules.get("h5py")
    if h5py is None:
        raise _Opaque
    found: dict[str, Any] = {}
    with h5py.File(io.BytesIO(data)) as file:
        file.visititems(
            lambda name, item: found.update({name: item[()]} if hasattr(item, "shape") else {})
        )
    return found


def _of_pickle(data: bytes) -> Any:
    joblib, torch = sys.modules.get("joblib"), sys.modules.get("torch")
    readers: list[Callable[[io.BytesIO], Any]] = [pickle.load if joblib is None else joblib.load]
    if torch is not None:  # its files of before 1.6
        readers.append(partial(torch.load, map_location="cpu", weights_only=False))
    for read in readers:
        file = io.BytesIO(data)
        try:
            content = read(file)
        except Exception:  # noqa: BLE001 - the next one may
            continue
        if not file.read(1):  # else it was the first of several
            return content
    raise _Opaque


def _of_safetensors(data: bytes) -> Any:
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    tensors = {name: about for name, about in header.items() if name != "__metadata__"}
    found = {"__metadata__": header.get("__metadata__")}
    for name, about in tensors.items():
        start, stop = about["data_offsets"]
        raw = np.frombuffer(data[end + start : end + stop], np.uint8)
        found[name] = {"shape": str((about["dtype"], about["shape"])), "values": raw}
    return found


def _of_packed(unpack: Callable[[bytes], bytes]) -> Callable[[bytes], Any]:
    return lambda data: _parsed(unpack(data))


_READERS: dict[bytes, Callable[[bytes], Any]] = {
    b"PK": _of_zip,
    b"\x1f\x8b": _of_packed(gzip.decompress),
    b"BZh": _of_packed(bz2.decompress),
    b"\xfd7zXZ": _of_packed(lzma.decompress),
    b"\x5d\x00\x00": _of_packed(lzma.decompress),
    # of joblib, at any level
    **dict.fromkeys((b"x\x01", b"x\x5e", b"x\x9c", b"x\xda"), _of_packed(zlib.decompress)),
    b"\x93NUMPY": lambda data: np.load(io.BytesIO(data), allow_pickle=True),
    b"\x89HDF": _of_hdf5,
    b"\x80": _of_pickle,
}


def leaves(value: Any, name: str = "", depth: int = 0) -> Iterator[Leaf]:
    """Yield the values in a container or object.

    Raises:
        Exception: whatever an object raises that is asked for its state.
    """
    array = _as_array(value)
    if array is not None:
        about = f"{array.dtype} {array.shape}".encode()
        many = Kind.LIST if isinstance(value, list) else Kind.ARRAY
        digest = sha256(about + np.ascontiguousarray(array).tobytes()).hexdigest()
        yield name, digest, many if array.size > 1 else Kind.OTHER
    elif value is None or isinstance(value, (bool, int, float, complex, str, bytes)):
        yield name, repr(value), Kind.OTHER
    elif isinstance(value, _GENERATORS):
        # Of one value: what it has yet to draw is seen in what is trained with it, and fitted
        # estimators keep generators that nobody draws from any more.
        state = repr(list(leaves(_state_of_generator(value))))
        yield name, sha256(state.encode()).hexdigest(), Kind.OTHER
    elif isinstance(value, (date, time_of_day)):
        yield name, repr(value.isoformat()), Kind.OTHER
    elif isinstance(value, (type, FunctionType, BuiltinFunctionType)):
        yield name, value.__qualname__, Kind.OTHER
    elif depth < _DEEPEST:
        for key, inner in _inner(value):
            yield from leaves(inner, f"{name}{INSIDE}{key}" if key else name, depth + 1)


def _inner(value: Any) -> Iterable[tuple[str, Any]]:
    """Return what a container holds, or what pickle takes for the state of an object."""
    if isinstance(value, Mapping):
        return ((str(key), inner) for key, inner in value.items())
    if isinstance(value, np.ndarray):
        if value.dtype.names:  # what lies between fields is nobody's
            return ((name, value[name]) for name in value.dtype.names)
        value = value.ravel().tolist()
    if isinstance(value, (list, tuple)):
        return ((str(i), inner) for i, inner in enumerate(value))
    if isinstance(value, (set, frozenset)):
        return [("", repr(sorted(map(repr, value))))]
    _, arguments, *state = value.__reduce_ex__(2)
    iterators = (part if part is None or hasattr(part, "__len__") else list(part) for part in state)
    return [("", arguments), *(("", part) for part in iterators)]


def _state_of_generator(generator: Any) -> Any:
    if isinstance(generator, np.random.RandomState):
        return generator.get_state(legacy=False)
    bits = getattr(generator, "bit_generator", generator)
    return bits.state


def _as_array(value: Any) -> Any:
    """Return an array or tensor of any library, or a list of numbers, as one of NumPy; or None.

    Not an array of objects, whose texts may have addresses, or one that has fields.
    """
    if isinstance(value, np.ndarray):
        return None if value.dtype.hasobject or value.dtype.names else value
    if isinstance(value, list) and len(value) > 1 and all(isinstance(x, Real) for x in value):
        return np.array([repr(x) for x in value])
    torch: Any = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        flat = value.detach().cpu().contiguous().reshape(-1)
        return flat.view(torch.uint8).numpy() if flat.numel() else np.empty(0)
    if hasattr(value, "__array__") and hasattr(value, "shape"):
        return np.asarray(value)
    return None
