"""A study travels as the archive that `export` writes; one that nobody vouches for is refused."""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import shutil
import subprocess
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

import evolvent as ev
from evolvent.store.archive.manifest import MEDIA_TYPE
from evolvent.store.checkpoints.files import FileEntry
from evolvent.store.checkpoints.manifest import address_of
from evolvent.store.connect import open_store
from evolvent.store.http.store import HttpStore
from tests.service.threaded import Service, service
from tests.service.wire import wire
from tests.store.archive.studies import (
    exact_log_of,
    finish,
    half_trained,
    listing,
    log_of,
    new_study,
    renamed,
    rewritten,
)

# The archives that `import` refuses are sent to a service here, each by its test.
from tests.store.archive.test_hostile import (  # noqa: F401
    archive,
    test_another_zip_is_no_archive,
    test_encrypted_entries_are_refused,
    test_entry_that_is_there_twice_is_refused,
    test_entry_that_nobody_told_of_is_refused,
    test_file_outside_of_its_checkpoint_is_refused,
    test_flood_is_refused_before_it_is_unpacked,
    test_invalid_json_is_told_by_entry_and_line,
    test_job_or_member_too_many_or_too_few_is_refused,
    test_log_that_contradicts_itself_is_refused,
    test_missing_entry_is_told,
    test_newer_format_names_who_wrote_it,
    test_overlapping_entries_are_refused,
    test_setting_that_cannot_be_is_named,
    test_size_that_is_not_as_told_is_refused,
    test_special_files_are_refused,
    test_table_of_contents_that_is_none_is_refused,
    test_truncated_archive_is_refused,
    test_what_is_no_archive_is_said_to_be_none,
    test_wrong_bytes_are_told_by_entry,
    test_wrong_checkpoint_is_refused_even_if_the_contents_say_so,
)


class Asking:
    """Asks a service in plain HTTP.

    Attributes:
        place: below which all is that the service has on disk.
    """

    def __init__(self, running: Service, place: Path) -> None:
        self.running, self.place = running, place
        self._token = running.token()

    @property
    def store(self) -> ev.Store:
        return self.running.store

    def client(self, url: str | None = None) -> HttpStore:
        return HttpStore(url or self.running.url, self._token)

    def dump(self, study: ev.Study, which: str = "kept") -> bytes:
        status, content = self._ask("GET", f"/studies/{study.id}/dump?checkpoints={which}")
        assert status == 200
        return content

    def restore(self, content: bytes, key: str = "k") -> tuple[int, Any]:
        status, answer = self._ask("POST", f"/restore?key={key}", content)
        return status, json.loads(answer)

    def _ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(urlsplit(self.running.url).netloc, timeout=60)
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": MEDIA_TYPE}
        with contextlib.closing(connection):
            connection.request(method, f"/api/v1{path}", body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()


@contextlib.contextmanager
def serving(place: Path, **settings: Any) -> Iterator[Asking]:
    url = f"sqlite:///{place / 'log.db'}"
    with contextlib.closing(open_store(url)) as store, service(store, **settings) as running:
        yield Asking(running, place)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asking]:
    place = tmp_path_factory.mktemp("served")
    (place / "tmp").mkdir()
    with pytest.MonkeyPatch.context() as patched, serving(place) as asking:
        patched.setattr(tempfile, "tempdir", str(place / "tmp"))
        new_study(asking.store, "old")
        yield asking


@pytest.fixture
def refused(shared: Asking, caplog: pytest.LogCaptureFixture) -> Callable[..., None]:
    """Return a check: the service refuses the archive by name, and nothing is left of it."""

    def check(path: Path, *expected: str) -> None:
        before = listing(shared.place)
        with caplog.at_level(logging.INFO, "evolvent"):
            status, answer = shared.restore(path.read_bytes())
        error = answer["error"]
        assert (status, error["type"], error["field"]) == (422, "ArchiveError", "body")
        for words in ("body", *expected):
            assert words in error["message"]
        assert str(shared.place) not in error["message"]
        assert listing(shared.place) == before
        assert [status.record.name for status in shared.store.studies()] == ["old"]
        assert caplog.messages == []
        assert not any(Path("/tmp").glob("evil*"))

    return check


@pytest.fixture
def asking(tmp_path: Path) -> Iterator[Asking]:
    with serving(tmp_path) as made:
        yield made


def entries(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as zipped:
        return {name: zipped.read(name) for name in zipped.namelist()}


@pytest.mark.parametrize("which", ["kept", "none"])
def test_what_a_service_gives_is_the_archive_that_export_writes(
    asking: Asking, tmp_path: Path, which: str
) -> None:
    study = half_trained(asking.store)
    path = tmp_path / "dump.zip"
    path.write_bytes(asking.dump(study, which))
    exported = study.export(tmp_path / "export.zip", checkpoints=which)
    assert list(entries(path).items()) == list(entries(exported).items())
    moved = ev.import_study(path, store="memory://")
    assert exact_log_of(moved) == exact_log_of(study)


def test_any_program_can_open_what_a_service_gives(asking: Asking, tmp_path: Path) -> None:
    path = tmp_path / "dump.zip"
    path.write_bytes(asking.dump(half_trained(asking.store)))
    with zipfile.ZipFile(path) as zipped:
        assert zipped.testzip() is None
    if (unzip := shutil.which("unzip")) is not None:
        subprocess.run([unzip, "-tqq", path], check=True, stdout=subprocess.DEVNULL)


def test_an_archive_that_was_exported_can_be_put_in(asking: Asking, tmp_path: Path) -> None:
    study = half_trained("memory://")
    path = study.export(tmp_path / "hill.zip", checkpoints="kept")
    status, answer = asking.restore(path.read_bytes())
    assert status == 201
    assert answer == asking.restore(path.read_bytes())[1]  # the key of before
    moved = ev.Study(asking.store, answer["id"])
    assert exact_log_of(moved) == exact_log_of(study)
    finish(moved)
    finish(study)
    assert log_of(moved) == log_of(study)


def test_a_taken_name_is_told_and_no_place_of_the_service(asking: Asking, tmp_path: Path) -> None:
    study = half_trained(asking.store)
    before = listing(tmp_path)
    status, answer = asking.restore(asking.dump(study))
    assert (status, answer["error"]["field"]) == (409, "name")
    assert str(tmp_path) not in answer["error"]["message"]
    assert listing(tmp_path) == before


def test_a_study_is_measured_as_it_is_when_it_is_unpacked(tmp_path: Path, archive: Path) -> None:  # noqa: F811
    def grow(entries: dict[str, bytes]) -> None:
        entries["points.jsonl"] *= 100

    unpacked = rewritten(archive, tmp_path / "large.zip", grow)
    small = tmp_path / "small.zip"
    with zipfile.ZipFile(small, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, content in entries(unpacked).items():
            zipped.writestr(name, content)
    most = small.stat().st_size + 1000
    assert unpacked.stat().st_size > 2 * most
    with serving(tmp_path, max_study_bytes=most) as asking:
        for content in (small.read_bytes(), unpacked.read_bytes()):
            status, answer = asking.restore(content)
            assert (status, answer["error"]["field"]) == (413, "body")
            assert f"longer than {most} bytes" in answer["error"]["message"]
        assert asking.store.studies() == []


def test_a_huge_table_of_contents_is_refused(
    archive: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    # Of text that is read at once it may hold no more than other bodies: packed it is short.
    with serving(tmp_path, max_body_bytes=1000) as asking:
        status, answer = asking.restore(archive.read_bytes())
        assert (status, answer["error"]["field"]) == (422, "body")
        assert "manifest.json" in answer["error"]["message"]
        assert asking.store.studies() == []


@pytest.mark.parametrize("name", ["..\\up", "/".join("d" * 33)], ids=["backslash", "deep"])
def test_a_file_that_could_not_be_sent_on_is_refused(
    asking: Asking,
    archive: Path,  # noqa: F811
    name: str,
) -> None:
    with zipfile.ZipFile(archive) as zipped:
        content = {entry: zipped.read(entry) for entry in zipped.namelist()}
    manifest = json.loads(content["manifest.json"])
    address, packed = next(iter(manifest["checkpoints"].items()))
    old = next(file for file in packed["files"] if not file.endswith("/"))
    packed["files"][name] = packed["files"].pop(old)
    entries_of = [FileEntry(n, *size_and_hash) for n, size_and_hash in packed["files"].items()]
    moved = address_of(sorted(entries_of, key=lambda entry: entry.name))
    manifest["checkpoints"][moved] = manifest["checkpoints"].pop(address)
    content["manifest.json"] = json.dumps(manifest).encode()
    files = {e: c for e, c in content.items() if e.startswith(f"checkpoints/{address}/")}
    for entry, data in files.items():
        del content[entry]
        inside = entry.removeprefix(f"checkpoints/{address}/")
        content[f"checkpoints/{moved}/{name if inside == old else inside}"] = data
    with zipfile.ZipFile(archive, "w") as zipped:
        for entry, data in content.items():
            zipped.writestr(entry, data)
    status, answer = asking.restore(archive.read_bytes())
    assert status == 422, answer
    assert "name: got" in answer["error"]["message"]
    assert asking.store.studies() == []


def test_a_damaged_checkpoint_does_not_pass_for_a_whole_archive(asking: Asking) -> None:
    study = half_trained(asking.store)
    damaged = study.result().best.checkpoint / "deep" / "weights"
    damaged.chmod(0o644)
    damaged.write_bytes(b"other")
    with pytest.raises(http.client.IncompleteRead):
        asking.dump(study)


@pytest.mark.parametrize("place", [300, 3000], ids=["in the head", "within"])
def test_a_study_comes_whole_when_the_wire_breaks(
    asking: Asking, tmp_path: Path, place: int
) -> None:
    study = half_trained(asking.store)
    with (
        wire(urlsplit(asking.running.url).port or 0) as laid,
        contextlib.closing(asking.client(laid.url)) as client,
    ):
        there = ev.load_study("hill", store=client)
        laid.breaks = [laid.sent + laid.heard + place]
        path = there.export(tmp_path / "hill.zip", checkpoints="kept")
        assert laid.breaks == []
        laid.breaks = [laid.sent + laid.heard + place]
        copy = renamed(path.read_bytes(), "copy")
        (tmp_path / "copy.zip").write_bytes(copy)
        moved = ev.import_study(tmp_path / "copy.zip", store=client)
        assert laid.breaks == []
        assert exact_log_of(moved) == exact_log_of(study)
    assert len(asking.store.studies()) == 2
