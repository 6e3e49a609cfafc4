"""Locks on files: who waits for whom, and what becomes of one whose holder forks or dies."""

from __future__ import annotations

import os
import queue
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from evolvent.store import locks
from evolvent.store.locks import Lock, exclusive, shared, try_exclusive

TAKEN = "sys.exit(try_exclusive(Path(sys.argv[1])) is None)"


def run(script: str, path: Path) -> int:
    lines = "import os, sys, time\nfrom pathlib import Path\nfrom evolvent.store.locks import *\n"
    command = [sys.executable, "-W", "ignore", "-c", lines + script, str(path)]
    return subprocess.run(command, check=False, timeout=60).returncode


def is_taken(path: Path) -> bool:
    """Whether another process finds it locked."""
    return run(TAKEN, path) == 1


def test_many_share_it_and_one_excludes_all(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    one, two = shared(path), shared(path)
    assert try_exclusive(path) is None
    one.release()
    assert try_exclusive(path) is None
    two.release()
    held = try_exclusive(path)
    assert held is not None
    assert is_taken(path)
    held.release()
    held.release()
    assert not is_taken(path)


def test_one_that_is_kept_open_is_locked_again_and_again(tmp_path: Path) -> None:
    lock, other = Lock(tmp_path / "lock"), Lock(tmp_path / "lock")
    for _ in range(2):
        lock.acquire()
        assert not other.try_acquire()
        lock.unlock()
        assert other.try_acquire()
        other.unlock()
    lock.release()
    lock.acquire()
    assert is_taken(lock.path)
    lock.release()
    other.release()


@pytest.mark.parametrize("take", [exclusive, lambda path: acquired(Lock(path))])
def test_who_waits_gets_it_in_the_end(tmp_path: Path, take: Callable[[Path], Lock]) -> None:
    first, got = exclusive(tmp_path / "lock"), threading.Event()

    def wait() -> None:
        lock = take(tmp_path / "lock")
        got.set()
        lock.release()

    waiting = threading.Thread(target=wait)
    waiting.start()
    assert not got.wait(0.2)  # longer than all pauses
    first.release()
    assert got.wait(30)
    waiting.join()


def test_who_waits_long_says_for_whom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = queue.Queue[str]()
    monkeypatch.setattr(locks, "SAYS_AFTER_S", 0.01)
    monkeypatch.setattr(locks._logger, "warning", lambda text, *values: said.put(text % values))
    path = tmp_path / "lock"
    quick = acquired(Lock(path))
    waiting = threading.Thread(target=lambda: acquired(Lock(path)).release())
    waiting.start()
    message = said.get(timeout=30)
    quick.release()
    waiting.join(30)
    assert said.empty()
    assert re.fullmatch(rf"waiting for {path}, which .* holds: until that lets go .*", message)
    if Path("/proc/locks").exists():
        assert f"process {os.getpid()} holds" in message


def test_who_gets_it_soon_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "_say", lambda _: pytest.fail("it was free"))
    monkeypatch.setattr(locks, "SAYS_AFTER_S", 0.0)
    acquired(Lock(tmp_path / "lock")).release()


def acquired(lock: Lock) -> Lock:
    lock.acquire()
    return lock


def test_who_waits_for_a_file_that_is_removed_locks_the_next_of_its_name(tmp_path: Path) -> None:
    path, got = tmp_path / "lock", []
    first = exclusive(path)
    waiting = threading.Thread(target=lambda: got.append(exclusive(path)))
    waiting.start()
    waiting.join(0.1)
    first.remove()
    first.release()
    waiting.join(30)
    assert os.path.samestat(path.stat(), os.fstat(got[0]._descriptor))
    assert try_exclusive(path) is None
    got[0].release()


def test_a_holder_that_is_killed_lets_it_go(tmp_path: Path) -> None:
    assert run("exclusive(Path(sys.argv[1])); os.kill(os.getpid(), 9)", tmp_path / "lock") == -9
    assert not is_taken(tmp_path / "lock")


FORKING = """
path = Path(sys.argv[1])
lock = exclusive(path)
ends, parent = os.pipe(), os.pipe()
child = os.fork()
if child == 0:
    {child}
    os.write(ends[1], b"done")
    os.read(parent[0], 1)
    os._exit(0)
os.read(ends[0], 4)
{parent}
os.write(parent[1], b"x")
os.waitpid(child, 0)
"""


def test_a_forked_child_that_releases_it_does_not_take_it_from_its_parent(tmp_path: Path) -> None:
    check = "assert try_exclusive(path) is None"
    assert run(FORKING.format(child="lock.release()", parent=check), tmp_path / "lock") == 0


def test_a_parent_that_releases_it_does_not_leave_it_with_a_child(tmp_path: Path) -> None:
    check = "lock.release(); assert try_exclusive(path) is not None"
    assert run(FORKING.format(child="pass", parent=check), tmp_path / "lock") == 0


def test_a_program_that_is_started_meanwhile_does_not_hold_it(tmp_path: Path) -> None:
    lock = exclusive(tmp_path / "lock")
    with subprocess.Popen(["sleep", "60"], close_fds=False) as started:
        os.close(lock._descriptor or 0)
        assert not is_taken(tmp_path / "lock")
        started.kill()


def test_a_use_is_noted(tmp_path: Path) -> None:
    lock = shared(tmp_path / "lock")
    os.utime(lock.path, (1, 1))
    lock.touch()
    assert lock.path.stat().st_mtime > 1
    lock.release()


def test_a_place_where_none_can_be_made_is_an_error(tmp_path: Path) -> None:
    for take in (exclusive, shared, try_exclusive, Lock.acquire):
        lock = Lock(tmp_path / "nowhere" / "lock")
        with pytest.raises(FileNotFoundError):
            take(lock if take is Lock.acquire else lock.path)  # type: ignore[arg-type]
