"""Threads of numeric libraries, for training in this process: as many as a worker would have."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

from evolvent.engines.place.settings import limits_of_pools, threads_of_torch, usable_cores

_VARIABLES = {
    "openmp": "OMP_NUM_THREADS",
    "blis": "OMP_NUM_THREADS",
    "openblas": "OPENBLAS_NUM_THREADS",
    "mkl": "MKL_NUM_THREADS",
}
_TORCHS = "MKL_NUM_THREADS"  # which PyTorch prefers to OpenMP's, with MKL and without


@contextlib.contextmanager
def threads_of_workers(variables: Mapping[str, str]) -> Iterator[None]:
    """Give libraries the threads of a worker process, but for what the user's code has set.

    Those that are loaded already have read their variables: PyTorch is told, and so are BLAS and
    OpenMP where `threadpoolctl` is installed.

    Args:
        variables: of the environment, as a worker has them.
    """
    torch: Any = sys.modules.get("torch")
    before = None if torch is None else torch.get_num_threads()
    wanted = None if torch is None else threads_of_torch(torch) or _number(variables, _TORCHS)
    with _environment(variables), _limited_pools(variables):
        # Last: it may have the same OpenMP as others, which have just been told another number.
        if wanted is not None:
            torch.set_num_threads(wanted)
        try:
            yield
        finally:
            if torch is not None:
                torch.set_num_threads(before)


@contextlib.contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """For what training code loads or starts."""
    new = {name: value for name, value in variables.items() if os.environ.get(name) != value}
    before = {name: os.environ.get(name) for name in new}
    os.environ.update(new)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _limited_pools(variables: Mapping[str, str]) -> contextlib.AbstractContextManager[object]:
    try:
        threadpoolctl = import_module("threadpoolctl")  # it comes with scikit-learn, not with us
    except ImportError:
        return contextlib.nullcontext()
    theirs = limits_of_pools()
    limits: dict[str, int] = {}
    for pool in threadpoolctl.threadpool_info():
        wanted = _number(variables, _VARIABLES.get(pool["internal_api"], ""))
        if wanted is not None and pool["prefix"] not in theirs:
            # From the environment OpenBLAS takes no more than there are cores.
            is_openblas = pool["internal_api"] == "openblas"
            limits[pool["prefix"]] = min(wanted, usable_cores()) if is_openblas else wanted
    limited: contextlib.AbstractContextManager[object] = threadpoolctl.threadpool_limits(limits)
    return limited


def _number(variables: Mapping[str, str], name: str) -> int | None:
    """Return a number of threads; None where there is none, or one for every level of nesting."""
    text = variables.get(name, "")
    return int(text) if text.isdecimal() and int(text) > 0 else None
