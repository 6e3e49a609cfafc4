"""What is frozen, as it is now: `tools.freeze` writes it down, `tests.test_frozen` compares."""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import re
import sys
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import evolvent as ev

FROZEN = Path(__file__).parent
_OF_A_JOB = (
    "id", "state", "hyperparameters", "parent", "score", "metrics", "attempt", "reason", "error"
)  # fmt: skip
"""What is the same with any number of workers, on any store. Not here: who, when, which bytes."""

_HOME = re.compile(r"\bevolvent(\.[a-z_]\w*)+\.(?=[A-Z_])")  # of a class: it may move
_PLACE_IN_MEMORY = re.compile(r" at 0x[0-9a-f]+")


def as_json(value: Any) -> str:
    """Return the text of a file that people can compare line by line."""
    return json.dumps(value, indent=1, sort_keys=True) + "\n"


def frozen(name: str) -> Any:
    """Return what a JSON file of this folder says."""
    return json.loads((FROZEN / name).read_text())


def openapi(url: str, token: str) -> Any:
    """Ask a service what it serves."""
    headers = {"Authorization": f"Bearer {token}"}
    request = urllib.request.Request(f"{url}/api/v1/openapi.json", headers=headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def log_hash(study: ev.Study) -> str:
    """Return the hash of all jobs of a study, whoever trained them when."""
    jobs = sorted(study.jobs(), key=lambda job: (job.round, job.member))
    said = [{name: getattr(job, name) for name in _OF_A_JOB} for job in jobs]
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def public() -> dict[str, Any]:
    """Return every public name that needs no extra, and how it is called."""
    values = {name: getattr(ev, name) for name in ev.__all__ if not _is_module(name)}
    return {"all": sorted(ev.__all__), "dir": sorted(dir(ev)), "signatures": signatures(values)}


def public_modules() -> dict[str, dict[str, str]]:
    """Return how the names of public modules are called, of those whose library is installed."""
    os.environ.setdefault("KERAS_BACKEND", "torch")
    found = {}
    for name in filter(_is_module, ev.__all__):
        try:
            found[name] = signatures(_own(getattr(ev, name)))
        except ev.EvolventError:  # it says which extra is missing
            continue
    return found


def signatures(values: dict[str, Any]) -> dict[str, str]:
    """Return by name how each is called; of a class, also its methods and properties."""
    found = {}
    for name, value in values.items():
        if inspect.isclass(value):
            found |= {f"{name}.{part}": said for part, said in _members(value)}
        if callable(value):
            found[name] = _signature(value)
    return found


def packaged() -> list[str]:
    """Return the files that a wheel of this tree holds."""
    package = Path(str(ev.__file__)).parent
    inside = (path for path in package.rglob("*") if path.is_file())
    kept = (path for path in inside if "__pycache__" not in path.parts)
    return sorted(str(path.relative_to(package.parent)) for path in kept)


def _is_module(name: str) -> bool:
    return name in {"keras", "mlflow", "optax", "tensorboard", "torch", "wandb"}


def _own(module: Any) -> dict[str, Any]:
    """Return what a module gives to others: what it lists, or what it defines."""
    names = getattr(module, "__all__", None)
    if names is None:
        names = [
            name
            for name, value in vars(module).items()
            if not name.startswith("_") and getattr(value, "__module__", "") == module.__name__
        ]
    return {name: getattr(module, name) for name in names}


def _members(kind: type) -> Iterable[tuple[str, str]]:
    for name in dir(kind):
        value = inspect.getattr_static(kind, name)
        if name.startswith("_") or not _is_ours(kind, name):
            continue
        if isinstance(value, property):
            yield name, f"property {_signature(value.fget)}"
        elif callable(getattr(kind, name)):
            yield name, _signature(getattr(kind, name))
        else:
            yield name, "attribute"


def _is_ours(kind: type, name: str) -> bool:
    """Whether a name of a class comes from evolvent, not from what it inherits of Python."""
    home = next(one for one in kind.__mro__ if name in vars(one))
    return home.__module__.startswith("evolvent")


def _signature(value: Any) -> str:
    if isinstance(value, type) and issubclass(value, Exception):
        return f"a {value.__base__.__name__}"  # how Python's own are called is not for us to say
    return _PLACE_IN_MEMORY.sub("", _HOME.sub("", str(inspect.signature(value))))


if __name__ == "__main__":  # in a process of its own: Keras settles its backend on import
    sys.stdout.write(as_json(public_modules()))
