"""What holds for every test."""

from __future__ import annotations

import os
import sys

import pytest
from hypothesis import settings

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


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In parallel, give a module's fixtures to one worker, and begin with what takes long.

    A worker takes the next group when it is free: those that come last should be short.
    """
    if not hasattr(config, "workerinput"):
        return
    groups = {item: _group(item) for item in items}
    slow = {groups[item] for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (groups[item] not in slow, groups[item] == item.nodeid))
    for item in items:
        if groups[item] != item.nodeid:
            item.add_marker(pytest.mark.xdist_group(groups[item]))


def _group(item: pytest.Item) -> str:
    """Name what runs as one: the tests with fixtures of their module, like a browser, or a test."""
    assert isinstance(item, pytest.Function)
    found = item._fixtureinfo.name2fixturedefs.values()
    shared = any(fixtures[-1].scope == "module" for fixtures in found)
    return item.nodeid.partition("::")[0] if shared else item.nodeid
