"""What this machine keeps of checkpoints elsewhere: bounded, shared, and never half of one."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from evolvent.errors import CheckpointDamaged, CheckpointError, CheckpointMissing, ConfigError
from evolvent.store.checkpoints import files as tree
from evolvent.store.checkpoints import manifest
from evolvent.store.checkpoints.cache import CheckpointCache, cache_of_this_machine
from evolvent.store.checkpoints.files import FileEntry

KB = 1000


@pytest.fixture
def cache(tmp_path: Path) -> CheckpointCache:
    return CheckpointCache(tmp_path / "cache", limit=100 * KB)


class Elsewhere:
    """Checkpoints of one file each, and how often each was brought."""

    def __init__(self) -> None:
        self.brought: list[str] = []
        self._contents: dict[str, bytes] = {}

    def add(self, content: bytes, directory: Path) -> str:
        directory.mkdir(parents=True)
        (directory / "weights").write_bytes(content)
        address = manifest.address_of(tree.read(directory))
        self._contents[address] = content
        return address

    def bring(self, address: str) -> Callable[[Path], Sequence[FileEntry]]:
        def write(target: Path) -> Sequence[FileEntry]:
            self.brought.append(address)
            (target / "weights").write_bytes(self._contents[address])
            return tree.read(target)

        return write


@pytest.fixture
def elsewhere() -> Elsewhere:
    return Elsewhere()


@pytest.fixture
def addresses(elsewhere: Elsewhere, tmp_path: Path) -> list[str]:
    """Return addresses of twenty checkpoints of ten kilobytes each."""
    make = elsewhere.add
    return [make(bytes([n]) * 10 * KB, tmp_path / "elsewhere" / str(n)) for n in range(20)]


def released(cache: CheckpointCache) -> None:
    """Let go of what was used outside of jobs, by using other things after it."""
    while cache._unbound:
        cache._unbound.popleft().release()


def test_what_is_here_is_not_brought_again(
    cache: CheckpointCache, elsewhere: Elsewhere, addresses: list[str]
) -> None:
    first = cache.use(addresses[0], elsewhere.bring(addresses[0]))
    again = cache.use(addresses[0], elsewhere.bring(addresses[0]))
    assert first == again == cache.local.path(addresses[0])
    assert (first / "weights").read_bytes() == bytes(10 * KB)
    assert elsewhere.brought == [addresses[0]]


def test_what_was_spoiled_here_is_brought_again(
    cache: CheckpointCache, elsewhere: Elsewhere, addresses: list[str]
) -> None:
    path = cache.use(addresses[0], elsewhere.bring(addresses[0]))
    (path / "weights").write_bytes(b"torn")
    path = cache.use(addresses[0], elsewhere.bring(addresses[0]))
    assert (path / "weights").read_bytes() == bytes(10 * KB)
    assert len(elsewhere.brought) == 2


def test_other_files_than_those_of_the_address_do_not_get_in(
    cache: CheckpointCache, elsewhere: Elsewhere, addresses: list[str]
) -> None:
    with pytest.raises(CheckpointDamaged, match=addresses[0]):
        cache.use(addresses[0], elsewhere.bring(addresses[1]))
    assert cache.local.addresses() == []
    assert list(cache.local.root.glob("staging/*")) == []


def test_what_goes_wrong_on_the_way_leaves_nothing(
    cache: CheckpointCache, addresses: list[str]
) -> None:
    def torn(target: Path) -> Sequence[FileEntry]:
        (target / "weights").write_bytes(b"half")
        raise CheckpointMissing("collected just now")

    with pytest.raises(CheckpointMissing, match="just now"):
        cache.use(addresses[0], torn)
    assert cache.local.addresses() == []
    assert list(cache.local.root.glob("staging/*")) == []
    assert not cache._holds
    assert not cache._unbound


def test_what_was_used_longest_ago_goes_first(
    cache: CheckpointCache, elsewhere: Elsewhere, addresses: list[str]
) -> None:
    for n in range(8):
        cache.use(addresses[n], elsewhere.bring(addresses[n]))
    cache.use(addresses[0], elsewhere.bring(addresses[0]))
    released(cache)
    for n in range(8, 12):
        cache.use(addresses[n], elsewhere.bring(addresses[n]))
        released(cache)
    here = [n for n in range(12) if addresses[n] in cache.local]
    assert here == [0, *range(3, 12)]


def test_what_a_running_job_uses_stays_though_the_limit_is_passed(
    cache: CheckpointCache, elsewhere: Elsewhere, addresses: list[str]
) -> None:
    staged = cache.stage("m0r1a1")
    cache.use(addresses[0], elsewhere.bring(addresses[0]))
    cache._last.staged = None  # other jobs of this process, on other threads
    for address in addresses[1:]:
        cache.use(address, elsewhere.bring(address))
    assert addresses[0] in cache.local
    cache.drop(staged)
    CheckpointCache(cache.local.root, limit=0).evict()
    assert addresses[0] not in cache.local
    assert sorted(cache.local.addresses()) == sorted(addresses[-8:])


def test_what_another_process_uses_stays(
    cache: CheckpointCache, elsewhere: Elsewhere, addresses: list[str]
) -> None:
    cache.use(addresses[0], elsewhere.bring(addresses[0]))
    other = CheckpointCache(cache.local.root, limit=0)
    other.evict()
    assert addresses[0] in cache.local
    released(cache)
    other.evict()
    assert addresses[0] not in cache.local


def test_those_that_want_the_same_at_the_same_time_bring_it_once(
    cache: CheckpointCache, elsewhere: Elsewhere, addresses: list[str]
) -> None:
    caches = [CheckpointCache(cache.local.root, limit=cache.limit) for _ in range(8)]
    paths: list[Path] = []

    def use(one: CheckpointCache) -> None:
        paths.append(one.use(addresses[0], elsewhere.bring(addresses[0])))

    threads = [threading.Thread(target=use, args=(one,)) for one in caches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert paths == [cache.local.path(addresses[0])] * 8
    assert len(elsewhere.brought) == 1


def test_what_was_saved_here_is_kept_here(cache: CheckpointCache) -> None:
    staged = cache.stage("m0r0a1")
    (staged / "weights").write_bytes(b"saved")
    entries = cache.local.freeze(staged)
    cache.keep(staged, entries)
    path = cache.found(manifest.address_of(entries))
    assert path is not None
    assert (path / "weights").read_bytes() == b"saved"
    assert (staged / "weights").is_file()
    cache.drop(staged)
    assert not staged.exists()
    assert (path / "weights").read_bytes() == b"saved"


def test_what_is_larger_than_the_limit_is_not_kept(cache: CheckpointCache) -> None:
    staged = cache.stage("m0r0a1")
    (staged / "weights").write_bytes(bytes(101 * KB))
    cache.keep(staged, cache.local.freeze(staged))
    assert cache.local.addresses() == []


LEAVES = """
import sys, os
from pathlib import Path
from evolvent.store.checkpoints.cache import CheckpointCache
staged = CheckpointCache(Path(sys.argv[1]), limit=1000).stage("m0r0a1")
(staged / "weights").write_text("half")
os._exit(9)
"""


def test_what_a_dead_process_left_goes_when_the_next_begins(tmp_path: Path) -> None:
    root = tmp_path / "cache"
    subprocess.run([sys.executable, "-c", LEAVES, str(root)], check=False)
    assert len(list(root.glob("staging/*"))) == 1
    alive = CheckpointCache(root, limit=0)
    mine = alive.stage("m1r0a1")
    assert list(root.glob("staging/*")) == [mine]
    other = CheckpointCache(root, limit=0)
    other.stage("m2r0a1")
    assert mine.is_dir()


def test_cache_that_was_cleared_by_hand_fills_again(
    cache: CheckpointCache, elsewhere: Elsewhere, addresses: list[str]
) -> None:
    cache.use(addresses[0], elsewhere.bring(addresses[0]))
    tree.remove(cache.local.root)
    assert cache.use(addresses[0], elsewhere.bring(addresses[0])).is_dir()


def test_place_that_cannot_be_made_is_an_error_that_names_the_variable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="EVOLVENT_CACHE"):
        CheckpointCache(tmp_path / "file" / "cache", limit=0).stage("m0r0a1")


def test_environment_says_where_and_how_much(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVOLVENT_CACHE", str(tmp_path / "here"))
    monkeypatch.setenv("EVOLVENT_CACHE_GB", "0.5")
    cache = cache_of_this_machine()
    assert cache.local.root == tmp_path / "here" / "checkpoints"
    assert cache.limit == 5e8
    assert cache_of_this_machine() is cache
    monkeypatch.delenv("EVOLVENT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_of_this_machine().local.root == tmp_path / "xdg" / "evolvent" / "checkpoints"


@pytest.mark.parametrize("text", ["much", "-1", "nan", ""])
def test_limit_that_is_no_number_is_an_error(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVOLVENT_CACHE_GB", text)
    with pytest.raises(ConfigError, match="EVOLVENT_CACHE_GB: got"):
        cache_of_this_machine()
