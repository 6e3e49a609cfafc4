"""Checkpoints behind a service, as a worker saves and loads them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from evolvent.core.records import JobId
from evolvent.engines.attempt import Attempt
from evolvent.engines.lease import LeaseKeeper
from evolvent.errors import (
    CheckpointDamaged,
    CheckpointError,
    CheckpointMissing,
    CheckpointTooLarge,
    StoreUnavailable,
)
from evolvent.store.checkpoints import hashes
from evolvent.store.checkpoints.cache import CheckpointCache
from evolvent.store.checkpoints.local import LocalCheckpoints
from evolvent.store.checkpoints.protocol import CheckpointStore
from evolvent.store.connect import open_store
from evolvent.store.http import transfer, transport
from evolvent.store.http.checkpoints import HttpCheckpoints
from evolvent.store.http.store import HttpStore
from evolvent.store.http.transport import Transport
from evolvent.store.records import Report
from tests.service.served import until
from tests.service.threaded import Service, service
from tests.service.wire import Wire, wire
from tests.settings import study_record

MB = 1 << 20
CONTENT = bytes(range(256)) * (MB // 256)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Service]:
    url = f"sqlite:///{tmp_path / 'log.db'}"
    with contextlib.closing(open_store(url)) as store, service(store) as running:
        store.create_study(study_record())
        yield running


@pytest.fixture
def home(served: Service) -> LocalCheckpoints:
    found = served.store.checkpoints(1)
    assert isinstance(found, LocalCheckpoints)
    return found


@pytest.fixture
def line(served: Service) -> Iterator[Wire]:
    with wire(int(served.url.rpartition(":")[2])) as laid:
        yield laid


class Machine:
    """A machine with a cache of its own that reaches the service over a wire."""

    def __init__(self, served: Service, line: Wire, home: Path) -> None:
        self._transport = Transport(line.url, served.token("worker"))
        self.cache = CheckpointCache(home, limit=1e9)
        self.checkpoints = HttpCheckpoints(self._transport, 1, cache=self.cache)

    def close(self) -> None:
        self._transport.close()


@pytest.fixture
def here(served: Service, line: Wire, tmp_path: Path) -> Iterator[HttpCheckpoints]:
    with contextlib.closing(Machine(served, line, tmp_path / "here")) as machine:
        yield machine.checkpoints


@pytest.fixture
def there(served: Service, line: Wire, tmp_path: Path) -> Iterator[HttpCheckpoints]:
    with contextlib.closing(Machine(served, line, tmp_path / "there")) as machine:
        yield machine.checkpoints


def saved(checkpoints: CheckpointStore, *, n_mb: int = 1, mark: bytes = b"") -> Path:
    """Return a staged directory with a few files, one of them of so many megabytes."""
    staged = checkpoints.stage("m0r0a1")
    (staged / "parts/deep").mkdir(parents=True)
    (staged / "parts/nothing").mkdir()
    (staged / "parts/deep/empty").write_bytes(b"")
    (staged / "parts/ä b.json").write_bytes(b"{}" + mark)
    with (staged / "weights.pt").open("wb") as file:
        for _ in range(n_mb):
            file.write(CONTENT)
    return staged


def tree(directory: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(directory)): path.read_bytes() if path.is_file() else None
        for path in directory.rglob("*")
    }


# --- there and back -----------------------------------------------------------------------------


def test_what_one_machine_seals_another_loads(
    here: HttpCheckpoints, there: HttpCheckpoints, home: LocalCheckpoints
):
    staged = saved(here)
    contents = tree(staged)
    address = here.seal(staged)
    assert address in here
    assert address in there
    assert home.verify(address) == home.path(address)
    assert tree(home.path(address)) == contents
    assert not there.path(address).exists()
    loaded = there.verify(address)
    assert loaded == there.path(address)
    assert tree(loaded) == contents
    assert list(there.root.glob("staging/*")) == []


def test_links_inside_arrive_as_links(
    here: HttpCheckpoints, there: HttpCheckpoints, home: LocalCheckpoints
):
    staged = saved(here)
    (staged / "latest").symlink_to("parts/deep")
    (staged / "parts" / "up").symlink_to("../weights.pt")
    address = here.seal(staged)
    for path in (home.verify(address), there.verify(address)):
        assert os.readlink(path / "latest") == "parts/deep"
        assert (path / "parts" / "up").read_bytes() == CONTENT
    assert there.files(address) == home.files(address)
    assert here.verify(address) == here.path(address)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return the files that are read to be hashed, where changes show at once."""
    paths: list[Path] = []
    read = hashes._read

    def counting(descriptor: int) -> tuple[int, str]:
        paths.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")))
        return read(descriptor)

    monkeypatch.setattr(hashes, "_read", counting)
    monkeypatch.setattr(hashes, "_blind_ns", lambda _: 0)
    monkeypatch.setattr(hashes.HASHES, "_blind_ns", {})
    return paths


def test_every_byte_is_read_once_to_be_hashed_where_it_was_saved(
    here: HttpCheckpoints, there: HttpCheckpoints, reads: list[Path]
):
    staged = saved(here)
    address = here.seal(staged)
    assert [path.parent for path in reads if path.name == "weights.pt"] == [staged]
    here.drop(staged)
    del reads[:]
    for checkpoints in (here, there):
        for _ in range(2):
            checkpoints.verify(address)
    assert [path for path in reads if path.name != "empty"] == []


@pytest.mark.parametrize("sealed_there", [True, False])
def test_what_this_machine_has_lost_is_found_though_its_hash_was_known(
    here: HttpCheckpoints, there: HttpCheckpoints, reads: list[Path], sealed_there: bool
):
    first, second = (there, here) if sealed_there else (here, there)
    staged = saved(first)
    address = first.seal(staged)
    first.drop(staged)
    second.verify(address)
    file = there.path(address) / "weights.pt"
    before = file.stat()
    file.chmod(0o644)
    with file.open("r+b") as opened:
        opened.write(b"X")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (there.verify(address) / "weights.pt").read_bytes() == CONTENT
    assert file in reads
    assert there.files(address) == {
        "parts/deep/empty": 0,
        "parts/ä b.json": 2,
        "weights.pt": MB,
    }


def test_address_is_that_of_a_local_checkpoint(here: HttpCheckpoints, tmp_path: Path):
    local = LocalCheckpoints(tmp_path / "local", sync=False)
    assert here.seal(saved(here)) == local.seal(saved(local))


def test_loaded_files_cannot_be_changed_by_mistake(here: HttpCheckpoints, there: HttpCheckpoints):
    path = there.verify(here.seal(saved(here))) / "weights.pt"
    assert path.stat().st_mode & 0o222 == 0


def test_what_was_sealed_or_loaded_here_is_not_brought_again(
    here: HttpCheckpoints, there: HttpCheckpoints, line: Wire
):
    staged = saved(here)
    address = here.seal(staged)
    here.drop(staged)
    there.verify(address)
    before = line.heard
    assert tree(here.verify(address)) == tree(there.verify(address))
    assert there.fetch(address) == there.path(address)
    assert line.heard == before


def test_equal_contents_cost_one_request(here: HttpCheckpoints, there: HttpCheckpoints, line: Wire):
    address = here.seal(saved(here))
    before = line.sent
    assert there.seal(saved(there)) == address
    assert line.sent - before < 2000


def test_staged_directory_can_be_sealed_again_when_the_service_has_let_it_go(
    here: HttpCheckpoints, home: LocalCheckpoints
):
    staged = saved(here)
    address = here.seal(staged)
    home.discard([address])
    assert address not in here
    assert here.seal(staged) == address
    home.verify(address)


def test_staged_directory_that_is_gone_is_an_error(here: HttpCheckpoints):
    staged = saved(here)
    here.drop(staged)
    with pytest.raises(CheckpointMissing, match="gone"):
        here.seal(staged)


@pytest.mark.parametrize("address", ["0" * 63, "../../etc", "Z" * 64])
def test_what_is_no_address_is_refused(here: HttpCheckpoints, address: str):
    for call in (here.verify, here.fetch, here.files, here.path, here.__contains__):
        with pytest.raises(CheckpointError, match="64 hexadecimal digits"):
            call(address)


def test_checkpoint_that_is_not_there_is_missing(here: HttpCheckpoints):
    for call in (here.verify, here.fetch, here.files):
        with pytest.raises(CheckpointMissing, match="0" * 64):
            call("0" * 64)
    assert "0" * 64 not in here


def test_link_is_refused_before_anything_is_sent(here: HttpCheckpoints, line: Wire):
    staged = saved(here)
    (staged / "link").symlink_to("/etc/passwd")
    before = line.sent
    with pytest.raises(CheckpointError, match="symbolic link"):
        here.seal(staged)
    assert line.sent == before


def test_damage_there_is_found_and_names_the_file(
    here: HttpCheckpoints, there: HttpCheckpoints, home: LocalCheckpoints
):
    address = here.seal(saved(here))
    path = home.path(address) / "weights.pt"
    path.chmod(0o644)
    path.write_bytes(b"x" + CONTENT[1:])
    with pytest.raises(CheckpointDamaged, match=r"weights\.pt"):
        there.verify(address)
    assert there.root.is_dir()
    assert list(there.root.glob("staging/*")) == []
    assert not there.path(address).exists()


def test_damage_here_is_mended_by_bringing_it_again(here: HttpCheckpoints, there: HttpCheckpoints):
    address = here.seal(saved(here))
    path = there.verify(address) / "weights.pt"
    path.chmod(0o644)
    path.write_bytes(b"torn")
    assert (there.verify(address) / "weights.pt").read_bytes() == CONTENT


def test_many_small_files_arrive(here: HttpCheckpoints, there: HttpCheckpoints):
    staged = here.stage("m0r0a1")
    for number in range(300):
        (staged / f"{number}.bin").write_bytes(os.urandom(number))
    address = here.seal(staged)
    assert tree(there.verify(address)) == tree(staged)


def test_too_large_a_checkpoint_is_refused_with_the_limit(tmp_path: Path):
    url = f"sqlite:///{tmp_path / 'log.db'}"
    with (
        contextlib.closing(open_store(url)) as store,
        service(store, max_checkpoint_bytes=MB) as served,
        wire(int(served.url.rpartition(":")[2])) as line,
    ):
        store.create_study(study_record())
        with contextlib.closing(Machine(served, line, tmp_path / "here")) as machine:
            staged = saved(machine.checkpoints, n_mb=1)
            with pytest.raises(CheckpointTooLarge, match=str(MB)):
                machine.checkpoints.seal(staged)
            assert line.sent < 2000


# --- broken connections -------------------------------------------------------------------------


def test_upload_goes_on_where_the_connection_ended(
    here: HttpCheckpoints, home: LocalCheckpoints, line: Wire
):
    staged = saved(here, n_mb=40)
    line.breaks = [10 * MB, 20 * MB, 30 * MB]
    address = here.seal(staged)
    assert line.breaks == []
    home.verify(address)
    # What was in the buffers of sockets is sent again; from the start it would be 70 MB.
    assert 40 * MB < line.sent < 60 * MB


def test_download_goes_on_where_the_connection_ended(
    here: HttpCheckpoints, there: HttpCheckpoints, line: Wire
):
    staged = saved(here, n_mb=40)
    address = here.seal(staged)
    before = line.heard
    line.breaks = [line.sent + line.heard + n * MB for n in (10, 20, 30)]
    assert tree(there.verify(address)) == tree(staged)
    assert line.breaks == []
    assert 40 * MB < line.heard - before < 60 * MB


def test_upload_whose_answer_was_lost_is_sealed_once(
    here: HttpCheckpoints, home: LocalCheckpoints, line: Wire
):
    staged = saved(here)
    line.breaks = [MB + n for n in range(1000, 4000, 500)]
    address = here.seal(staged)
    assert home.addresses() == [address]
    home.verify(address)
    assert list(home.root.glob("staging/*")) == []


def test_service_that_takes_nothing_more_is_told_in_the_end(
    here: HttpCheckpoints, line: Wire, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(transfer, "RETRY_S", 0.2)
    monkeypatch.setattr(transport, "RETRY_S", 0.2)
    staged = saved(here, n_mb=4)
    n = 10**6
    line.breaks = [n] * 1000  # from then on every connection ends with its first byte
    with pytest.raises(StoreUnavailable, match=line.url):
        here.seal(staged)


def test_file_that_changes_while_it_is_sent_is_told(
    here: HttpCheckpoints, home: LocalCheckpoints, line: Wire
):
    staged = saved(here, n_mb=24)

    def shorten() -> None:
        (staged / "weights.pt").chmod(0o644)
        os.truncate(staged / "weights.pt", 10)

    line.breaks, line.on_break = [2 * MB], shorten
    with pytest.raises(CheckpointError, match=r"weights\.pt was changed while it was sent"):
        here.seal(staged)
    assert home.addresses() == []
    # The service may only now open a file for what it has read of the broken connection: it finds
    # the upload given up, and clears up after itself.
    until(lambda: not list(home.root.glob("staging/*")), what="the upload to go")


# --- what was collected meanwhile ---------------------------------------------------------------


def test_checkpoint_that_is_collected_while_it_is_loaded_is_missing(
    here: HttpCheckpoints, there: HttpCheckpoints, home: LocalCheckpoints, line: Wire
):
    address = here.seal(saved(here, n_mb=8))

    def collect() -> None:
        home.discard([address])
        home.empty_trash()

    line.breaks, line.on_break = [line.sent + line.heard + 4 * MB], collect
    with pytest.raises(CheckpointMissing, match=address):
        there.verify(address)
    assert list(there.root.glob("staging/*")) == []


def test_job_whose_parent_is_gone_starts_from_the_nearest_sound_ancestor(
    served: Service, line: Wire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("EVOLVENT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("EVOLVENT_CACHE_GB", "0")
    with contextlib.closing(HttpStore(line.url, served.token())) as store:
        checkpoints, addresses = store.checkpoints(1), []
        for number in range(2):
            lease = store.claim(1, worker="w", lease_s=60, prefer=0)
            assert lease is not None
            staged = saved(checkpoints, mark=b"%d" % number)
            addresses.append(checkpoints.seal(staged))
            checkpoints.drop(staged)
            store.report(lease, Report(0.5, {"accuracy": 0.5}, addresses[-1]))
            store.pin(1, lease.job.id)
            for _ in range(2):
                other = store.claim(1, worker="w", lease_s=60)
                assert other is not None
                staged = saved(checkpoints, mark=b"other")
                store.report(other, Report(0.1, {"accuracy": 0.1}, checkpoints.seal(staged)))
        lease = store.claim(1, worker="w", lease_s=60, prefer=0)
        assert lease is not None
        assert lease.job.id == JobId(0, 2)
        home = served.store.checkpoints(1)
        assert isinstance(home, LocalCheckpoints)
        home.discard([addresses[1]])
        keeper = LeaseKeeper(store, lease_s=60, hang_s=None, on_hang=print)
        attempt = Attempt(checkpoints, store.status(1).record, lease, keeper)
        directory = attempt.load()
    assert attempt.lease.job.parent == JobId(0, 0)
    assert directory is not None
    assert (directory / "parts/ä b.json").read_bytes() == b"{}0"
