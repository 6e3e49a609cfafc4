"""A file is hashed once by a process, until somebody touches it: then it is read again."""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from evolvent.core.records import JobId
from evolvent.errors import CheckpointDamaged
from evolvent.store.checkpoints import files as tree
from evolvent.store.checkpoints import hashes
from evolvent.store.checkpoints.hashes import HashCache, SharedHashes, shared_memory
from evolvent.store.checkpoints.local import LocalCheckpoints
from evolvent.store.checkpoints.transfer import hold

CONTENT = b"weights" * 1000


@pytest.fixture(params=[False, True], ids=["process", "power"])
def checkpoints(tmp_path: Path, request: pytest.FixtureRequest) -> LocalCheckpoints:
    return LocalCheckpoints(tmp_path / "checkpoints", sync=request.param)


@pytest.fixture(autouse=True)
def another_process(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return what makes the process forget all, as another that begins now."""

    def begin() -> None:
        monkeypatch.setattr(tree, "HASHES", HashCache())

    begin()
    return begin


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], HashCache]]:
    """Return what makes the process another worker of one run, which forgets all but the shared."""
    with shared_memory() as memory:
        if memory is None:
            pytest.skip("this system has no memory without a name")

        def begin() -> HashCache:
            hashes = HashCache()
            hashes.share(os.dup(memory))
            monkeypatch.setattr(tree, "HASHES", hashes)
            return hashes

        yield begin


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of the files that are read to be hashed, where changes show at once."""
    names: list[str] = []
    read = hashes._read

    def counting(descriptor: int) -> tuple[int, str]:
        names.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        return read(descriptor)

    monkeypatch.setattr(hashes, "_read", counting)
    monkeypatch.setattr(hashes, "_blind_ns", lambda _: 0)
    return names


def staged(checkpoints: LocalCheckpoints, content: bytes = CONTENT) -> Path:
    directory = checkpoints.stage("m0r0a1")
    (directory / "weights").write_bytes(content)
    (directory / "deeper").mkdir()
    (directory / "deeper" / "state").write_bytes(b"momentum")
    return directory


# --- once ---------------------------------------------------------------------------------------


def test_what_this_process_sealed_is_not_read_again(
    checkpoints: LocalCheckpoints, reads: list[str]
) -> None:
    address = checkpoints.seal(staged(checkpoints))
    assert sorted(reads) == ["state", "weights"]
    for _ in range(3):  # its own next round, and those of members that copy it
        checkpoints.verify(address)
    assert len(reads) == 2


def test_what_another_process_sealed_is_read_once(
    checkpoints: LocalCheckpoints, reads: list[str], another_process: Callable[[], None]
) -> None:
    address = checkpoints.seal(staged(checkpoints))
    another_process()
    del reads[:]
    for _ in range(3):
        checkpoints.verify(address)
    assert sorted(reads) == ["state", "weights"]


def test_what_another_worker_of_the_run_sealed_is_not_read_again(
    checkpoints: LocalCheckpoints, reads: list[str], worker: Callable[[], HashCache]
) -> None:
    worker()
    address = checkpoints.seal(staged(checkpoints))
    worker()
    checkpoints.verify(address)
    assert sorted(reads) == ["state", "weights"]


def test_what_a_worker_holds_under_further_names_is_not_read_by_another(
    checkpoints: LocalCheckpoints, reads: list[str], worker: Callable[[], HashCache]
) -> None:
    worker()
    address = checkpoints.seal(staged(checkpoints))
    with hold(checkpoints, {JobId(0, 0): address}):
        worker()
        checkpoints.verify(address)
    assert len(reads) == 2


def test_forgotten_hash_is_forgotten_by_other_workers_too(
    checkpoints: LocalCheckpoints,
    reads: list[str],
    worker: Callable[[], HashCache],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = worker()
    address = checkpoints.seal(staged(checkpoints))
    second = worker()
    second.clear()
    del reads[:]
    monkeypatch.setattr(tree, "HASHES", first)
    with hold(checkpoints, {JobId(0, 0): address}):  # what the first one goes on knowing
        assert reads == []
        monkeypatch.setattr(tree, "HASHES", second)
        checkpoints.verify(address)  # is not what the second one hears of
    assert sorted(reads) == ["state", "weights"]


def test_without_memory_to_share_each_worker_reads_for_itself(tmp_path: Path) -> None:
    cache, path = HashCache(), tmp_path / "file"
    path.write_bytes(b"bytes")
    cache.share(os.open(path, os.O_RDONLY))  # too small, and may not be written to
    assert cache.hash(str(path)) == (5, hashlib.sha256(b"bytes").hexdigest())


def test_hash_of_a_file_of_the_year_3000_is_shared(tmp_path: Path) -> None:
    with shared_memory() as memory:
        if memory is None:
            pytest.skip("this system has no memory without a name")
        cache, path = HashCache(), tmp_path / "file"
        path.write_bytes(b"bytes")
        os.utime(path, (32503680000, 32503680000))
        cache.share(os.dup(memory))
        assert cache.hash(str(path)) == (5, hashlib.sha256(b"bytes").hexdigest())
        assert SharedHashes(memory).get((1, 2, 3, -5, 1 << 65)) is None


@pytest.mark.parametrize("at", range(0, 104, 8))
def test_half_written_hash_is_not_known(at: int) -> None:
    with shared_memory() as memory:
        if memory is None:
            pytest.skip("this system has no memory without a name")
        shared = SharedHashes(memory)
        state = (1, 2, 3, 4, 5)
        shared.put(state, "ab" * 32)
        assert shared.get(state) == "ab" * 32
        assert shared.get((1, 2, 3, 4, 6)) is None
        torn = 2 * 104 + at
        os.pwrite(memory, bytes(b ^ 1 for b in os.pread(memory, 8, torn)), torn)
        assert shared.get(state) is None


def test_equal_contents_are_read_where_they_were_staged_only(
    checkpoints: LocalCheckpoints, reads: list[str]
) -> None:
    address = checkpoints.seal(staged(checkpoints))
    del reads[:]
    again = staged(checkpoints)
    assert checkpoints.seal(again) == address
    assert sorted(reads) == ["state", "weights"]
    checkpoints.discard([address])
    assert checkpoints.seal(again) == address
    assert len(reads) == 2


def test_further_names_of_a_file_change_nothing(
    checkpoints: LocalCheckpoints, reads: list[str]
) -> None:
    address = checkpoints.seal(staged(checkpoints))
    del reads[:]
    with hold(checkpoints, {JobId(0, 0): address}) as held:
        assert tree.read(held.directories[address])
        checkpoints.verify(address)
    checkpoints.verify(address)
    assert reads == []


def test_known_hashes_are_bounded(
    checkpoints: LocalCheckpoints, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashes, "_MOST_KEPT", 1)
    address = checkpoints.seal(staged(checkpoints))
    del reads[:]
    checkpoints.verify(address)
    assert reads


# --- and never of other bytes than those that are there -----------------------------------------


def write_and_restore_the_time(path: Path) -> None:
    before = path.stat()
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.write(b"W")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    path.chmod(before.st_mode)


def replace_by_another_file(path: Path) -> None:
    before, other = path.stat(), path.parent.parent / "other"
    other.write_bytes(CONTENT.replace(b"w", b"W"))
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.rename(path)


def write_through_another_name(path: Path) -> None:
    other = path.parent.parent / "other"
    other.hardlink_to(path)
    write_and_restore_the_time(other)
    other.unlink()


def write_through_a_map(path: Path) -> None:
    before = path.stat()
    path.chmod(0o644)
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as content:
        content[0] = ord("W")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


DAMAGES = pytest.mark.parametrize(
    "damage",
    [
        write_and_restore_the_time,
        replace_by_another_file,
        write_through_another_name,
        write_through_a_map,
    ],
    ids=lambda damage: damage.__name__,
)


@DAMAGES
@pytest.mark.parametrize("loads", [0, 2])
def test_damage_is_found_by_another_worker_of_the_run(
    checkpoints: LocalCheckpoints,
    damage: Callable[[Path], None],
    loads: int,
    worker: Callable[[], HashCache],
) -> None:
    worker()
    test_damage_is_found_by_the_process_that_knew_the_hash(checkpoints, damage, loads)
    worker()
    with pytest.raises(CheckpointDamaged, match="'weights' has other bytes"):
        checkpoints.verify(checkpoints.addresses()[0])


@DAMAGES
@pytest.mark.parametrize("loads", [0, 2])
def test_damage_is_found_by_the_process_that_knew_the_hash(
    checkpoints: LocalCheckpoints, damage: Callable[[Path], None], loads: int
) -> None:
    address = checkpoints.seal(staged(checkpoints))
    for _ in range(loads):
        checkpoints.verify(address)
    damage(checkpoints.path(address) / "weights")
    for _ in range(2):
        with pytest.raises(CheckpointDamaged, match="'weights' has other bytes"):
            checkpoints.verify(address)


@pytest.fixture(params=["file", "map"])
def pen(
    checkpoints: LocalCheckpoints, request: pytest.FixtureRequest
) -> Iterator[tuple[Path, Callable[[bytes], None]]]:
    """A staged directory, and what writes to it however long it has been sealed."""
    directory = staged(checkpoints)
    with (directory / "weights").open("r+b", buffering=0) as file:
        if request.param == "file":
            yield directory, lambda letter: os.pwrite(file.fileno(), letter, 0) and None
            return
        with mmap.mmap(file.fileno(), 0) as content:
            content[0:1] = b"w"  # from now on no write shows in any time of the file
            yield directory, lambda letter: content.__setitem__(slice(0, 1), letter)


def test_training_code_that_goes_on_writing_what_was_sealed_is_found_out(
    checkpoints: LocalCheckpoints, pen: tuple[Path, Callable[[bytes], None]]
) -> None:
    directory, write = pen
    address = checkpoints.seal(directory)
    write(b"W")
    with pytest.raises(CheckpointDamaged, match="'weights' has other bytes"):
        checkpoints.verify(address)
    write(b"w")
    checkpoints.verify(address)
    write(b"W")
    with pytest.raises(CheckpointDamaged, match="'weights' has other bytes"):
        checkpoints.verify(address)


def test_where_changes_show_late_only_what_is_old_is_known(
    checkpoints: LocalCheckpoints, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashes, "_blind_ns", lambda _: hashes._COARSE_NS)
    now = [hashes.time.time_ns()]
    monkeypatch.setattr(hashes.time, "time_ns", lambda: now[0])
    address = checkpoints.seal(staged(checkpoints))
    checkpoints.verify(address)
    assert len(reads) == 4
    now[0] += 3 * hashes._COARSE_NS
    for _ in range(3):
        checkpoints.verify(address)
    assert len(reads) == 6


def test_where_nothing_is_known_of_the_clock_every_load_reads(
    checkpoints: LocalCheckpoints, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_: Path) -> float:
        raise PermissionError

    monkeypatch.setattr(hashes, "_blind_ns", refused)
    address = checkpoints.seal(staged(checkpoints))
    checkpoints.verify(address)
    assert len(reads) == 4


def test_hash_is_not_carried_over_a_write(tmp_path: Path, reads: list[str]) -> None:
    path, cache = tmp_path / "file", HashCache()
    path.write_bytes(b"before")
    cache.put(path, "of these")
    before = path.stat()
    assert cache.get(before) == "of these"
    path.write_bytes(b"behind")
    cache.carry(before, path.stat())
    assert cache.get(path.stat()) is None


def test_clock_of_a_file_system_is_looked_at_and_leaves_nothing(tmp_path: Path) -> None:
    assert hashes._blind_ns(tmp_path) >= 0
    assert list(tmp_path.iterdir()) == []


def test_coarse_clock_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashes, "_changed_ns", lambda file, content: os.pwrite(file, content, 0))
    assert hashes._blind_ns(tmp_path) == hashes._COARSE_NS
