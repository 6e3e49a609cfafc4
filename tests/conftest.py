"""What holds for every test."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[1]

pytest.register_assert_rewrite("tests.contract")  # it shows the values that differ

# Chance has no place in the suite: the same examples on every machine and in every run.
settings.register_profile("suite", derandomize=True, deadline=None)
settings.load_profile("suite")

# Two threads of linear algebra in each of two workers fight over two cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One more process than cores: tests also wait, for other processes and for timers."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return min(cores + 1, 8)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give tests that share fixtures of their module to one process.

    `--dist loadgroup` of xdist 3.8 is for that too, but with pytest 9.2 it forms no groups.
    """
    if config.getoption("dist") != "loadscope":
        return None
    from xdist.scheduler import LoadScopeScheduling  # noqa: PLC0415 - it may not be there

    class ByFixtures(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _group(nodeid)

    return ByFixtures(config, log)


@pytest.fixture
def no_finalizers() -> Iterator[None]:
    """For tests of what nests too deep: at the limit, others' finalizers would raise, too.

    They run when garbage is collected, which may be at any depth.
    """
    gc.disable()
    yield
    gc.enable()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In parallel, begin with what takes long: a free process takes the next group."""
    if hasattr(config, "workerinput"):
        slow = {_group(item.nodeid) for item in items if item.get_closest_marker("slow")}
        modules = {item.nodeid for item in items} - {_group(item.nodeid) for item in items}
        items.sort(key=lambda i: (_group(i.nodeid) not in slow, i.nodeid not in modules))


def _group(nodeid: str) -> str:
    module = nodeid.partition("::")[0]
    return module if _shares_fixtures(module) else nodeid


@cache
def _shares_fixtures(module: str) -> bool:
    """Whether it, or its folder, has what is built once for a module, like a browser."""
    path = ROOT / module
    return any(
        'scope="module"' in file.read_text()
        for file in (path, path.with_name("conftest.py"))
        if file.exists()
    )
