"""Archives that are damaged, foreign or malicious: refused by name, and nothing is left."""

from __future__ import annotations

import io
import json
import re
import stat
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import evolvent as ev
from tests.store.archive.studies import edited, finish, half_trained, listing, new_study, rewritten

Entries = dict[str, bytes]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("source")
    study = half_trained(f"sqlite:///{directory / 'here.db'}")
    study.pin(study.result().best.job.id)
    return study.export(directory / "hill.zip", checkpoints="kept")


@pytest.fixture
def refused(tmp_path: Path) -> Callable[..., None]:
    """Return a check: neither a new nor an old store takes the archive, and nothing is left."""

    old = ev.open_store(f"sqlite:///{tmp_path / 'old.db'}")
    new_study(old, "old")

    def check(path: Path, *expected: str) -> None:
        before = listing(tmp_path)
        for store in (old, f"sqlite:///{tmp_path / 'new.db'}"):
            with pytest.raises(ev.ArchiveError) as caught:
                ev.import_study(path, store=store)
            for words in (path.name, *expected):
                assert words in str(caught.value)
        assert listing(tmp_path) == before
        assert [status.record.name for status in old.studies()] == ["old"]
        assert not any(Path("/tmp").glob("evil*"))

    return check


# --- the file ----------------------------------------------------------------------------------


def test_rewritten_archive_is_as_good_as_the_first(archive: Path, tmp_path: Path) -> None:
    path = rewritten(archive, tmp_path / "b.zip", lambda entries: None)
    finish(ev.import_study(path, store="memory://"))


@pytest.mark.parametrize("content", [b"", b"hello", b"SQLite format 3\0", b"\x1f\x8b" * 99])
def test_what_is_no_archive_is_said_to_be_none(
    tmp_path: Path, refused: Any, content: bytes
) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(content)
    refused(path, "is no archive of a study")


def test_missing_file_and_directory_are_told(tmp_path: Path, refused: Any) -> None:
    refused(tmp_path / "nothing.zip", "no such file")
    (tmp_path / "there").mkdir()
    refused(tmp_path / "there", "Is a directory")


def test_another_zip_is_no_archive(tmp_path: Path, refused: Any) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as zipped:
        zipped.writestr("readme.txt", "hello")
    refused(tmp_path / "a.zip", "is no archive of a study")


@pytest.mark.parametrize("part", [0.001, 0.2, 0.5, 0.9, 0.999])
def test_truncated_archive_is_refused(
    archive: Path, tmp_path: Path, refused: Any, part: float
) -> None:
    content = archive.read_bytes()
    path = tmp_path / "a.zip"
    path.write_bytes(content[: max(4, int(len(content) * part))])
    refused(path, "cut short")


@pytest.mark.parametrize("step", range(8))
def test_any_damaged_byte_is_refused_or_harmless(archive: Path, tmp_path: Path, step: int) -> None:
    """Flips single bytes all over the file: never another error, never another log."""
    whole = ev.import_study(archive, store="memory://")
    log = repr(whole.store.jobs(whole.id))
    content = archive.read_bytes()
    path = tmp_path / "a.zip"
    for at in range(step * 7, len(content), len(content) // 60):
        path.write_bytes(content[:at] + bytes([content[at] ^ 0x41]) + content[at + 1 :])
        store = ev.open_store("memory://")
        with suppress(ev.ArchiveError):
            ev.import_study(path, store=store)
        for status in store.studies():
            assert repr(store.jobs(status.id)) == log
        store.close()


@pytest.mark.parametrize("entry", ["jobs.jsonl", "members.jsonl", "deep/weights"])
def test_wrong_bytes_are_told_by_entry(
    archive: Path, tmp_path: Path, refused: Any, entry: str
) -> None:
    def change(entries: Entries) -> None:
        name = next(name for name in entries if name.endswith(entry))
        entries[name] = entries[name].replace(b"m0", b"m1").replace(b"m2", b"m3")

    refused(rewritten(archive, tmp_path / "a.zip", change, sign=False), entry)


def test_wrong_checkpoint_is_refused_even_if_the_contents_say_so(
    archive: Path, tmp_path: Path, refused: Any
) -> None:
    def change(entries: Entries) -> None:
        manifest = json.loads(entries["manifest.json"])
        its = next(iter(manifest["checkpoints"].values()))
        its["files"]["h.json"][1] = "0" * 64
        entries["manifest.json"] = json.dumps(manifest).encode()

    refused(rewritten(archive, tmp_path / "a.zip", change), "address is not that of its files")


# --- names, links, floods ----------------------------------------------------------------------

EVIL = ["../evil", "/tmp/evil", "checkpoints/../../evil", "a/../../evil", "..", "evil\0.txt"]


@pytest.mark.parametrize("name", EVIL[:4])
def test_entry_that_nobody_told_of_is_refused(
    archive: Path, tmp_path: Path, refused: Any, name: str
) -> None:
    def change(entries: Entries) -> None:
        entries[name] = b"evil"

    refused(rewritten(archive, tmp_path / "a.zip", change), name, "manifest.json does not know")


@pytest.mark.parametrize("name", [*EVIL, "", "a//b", "./a", "a/.", "x" * 5000])
def test_file_outside_of_its_checkpoint_is_refused(
    archive: Path, tmp_path: Path, refused: Any, name: str
) -> None:
    def change(entries: Entries) -> None:
        manifest = json.loads(entries["manifest.json"])
        address, its = next(iter(manifest["checkpoints"].items()))
        its["files"][name] = [4, "0" * 64]
        entries["manifest.json"] = json.dumps(manifest).encode()
        entries[f"checkpoints/{address}/{name}"] = b"evil"

    refused(rewritten(archive, tmp_path / "a.zip", change), "file name")


@pytest.mark.parametrize("kind", [stat.S_IFSOCK, stat.S_IFIFO, stat.S_IFCHR])
def test_special_files_are_refused(archive: Path, tmp_path: Path, refused: Any, kind: int) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(archive.read_bytes())
    with zipfile.ZipFile(path, "a") as zipped:
        info = zipfile.ZipInfo("checkpoints/evil")
        info.external_attr = (kind | 0o777) << 16
        zipped.writestr(info, "/etc/passwd")
    refused(path, "checkpoints/evil", "a special file")


def test_entry_that_is_there_twice_is_refused(archive: Path, tmp_path: Path, refused: Any) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(archive.read_bytes())
    with zipfile.ZipFile(path, "a") as zipped, pytest.warns(UserWarning, match="Duplicate"):
        zipped.writestr("jobs.jsonl", "")
    refused(path, "an entry is there twice")


def test_flood_is_refused_before_it_is_unpacked(
    archive: Path, tmp_path: Path, refused: Any
) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(archive.read_bytes())
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("flood", bytes(70_000_000))
    refused(path, "flood: ", "unpack to 70000000")


@pytest.mark.parametrize("size", [3, 10**15], ids=["less", "more"])
def test_size_that_is_not_as_told_is_refused(
    archive: Path, tmp_path: Path, refused: Any, size: int
) -> None:
    def change(entries: Entries) -> None:
        manifest = json.loads(entries["manifest.json"])
        manifest["parts"]["jobs.jsonl"]["size"] = size
        entries["manifest.json"] = json.dumps(manifest).encode()

    path = rewritten(archive, tmp_path / "a.zip", change, sign=False)
    refused(path, "jobs.jsonl", f"instead of {size}")


def test_missing_entry_is_told(archive: Path, tmp_path: Path, refused: Any) -> None:
    path = rewritten(archive, tmp_path / "a.zip", lambda entries: drop(entries, "points.jsonl"))
    refused(path, "points.jsonl")


def test_encrypted_entries_are_refused(archive: Path, tmp_path: Path, refused: Any) -> None:
    content = bytearray(archive.read_bytes())
    start = content.rindex(b"PK\x01\x02")
    content[start + 8] |= 1
    (tmp_path / "a.zip").write_bytes(content)
    refused(tmp_path / "a.zip", "encrypted, or packed by")


def test_overlapping_entries_are_refused(archive: Path, tmp_path: Path, refused: Any) -> None:
    """A quine of sorts: many entries in the directory that share the bytes of one."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as zipped:
        zipped.writestr("manifest.json", b" " * 50_000)
        first = zipped.infolist()[0]
        for n in range(50):
            copy = zipfile.ZipInfo(f"copy{n}")
            for field in ("CRC", "compress_size", "file_size", "header_offset"):
                setattr(copy, field, getattr(first, field))
            zipped.filelist.append(copy)
            zipped.NameToInfo[copy.filename] = copy
        zipped._didModify = True
    (tmp_path / "a.zip").write_bytes(buffer.getvalue())
    refused(tmp_path / "a.zip", "entries overlap")


# --- contents ----------------------------------------------------------------------------------


EXTENDED = {"at": 1.0, "kind": "extended", "facts": {"before": 3, "after": 4}, "by": "ada"}
LAST_LINE = {"study.json": 1, "members.jsonl": 4, "jobs.jsonl": 10, "points.jsonl": 10}


@pytest.mark.parametrize("version", [4, 99])
def test_newer_format_names_who_wrote_it(
    archive: Path, tmp_path: Path, refused: Any, version: int
) -> None:
    def change(entries: Entries) -> None:
        manifest = {"format": "evolvent study", "version": version, "written_by": "evolvent 9.1"}
        entries.clear()
        entries["manifest.json"] = json.dumps(manifest).encode()

    path = rewritten(archive, tmp_path / "a.zip", change, sign=False)
    refused(path, f"format {version}", "evolvent 9.1", "install a newer one")


@pytest.mark.usefixtures("no_finalizers")
@pytest.mark.parametrize(
    "line",
    [
        b"{", b"[1]", b"7", b"\xff\xfe", b"", b'{"job": NaN}', b"[" * 100_000,
        b'{"job":' + b"9" * 5000 + b"}", b"{}", b'{"job": null}',
    ],
    ids=["torn", "list", "number", "binary", "empty", "nan", "deep", "digits", "bare", "null"],
)  # fmt: skip
@pytest.mark.parametrize("part", LAST_LINE)
def test_invalid_json_is_told_by_entry_and_line(
    archive: Path, tmp_path: Path, refused: Any, part: str, line: bytes
) -> None:
    def change(entries: Entries) -> None:
        lines = entries[part].splitlines()
        lines[-1] = line
        entries[part] = b"\n".join(lines) + b"\n"

    refused(rewritten(archive, tmp_path / "a.zip", change), f"{part}, line {LAST_LINE[part]}: ")


def drop(data: dict[Any, Any], name: str) -> None:
    del data[name]


STUDY = {
    "metric": 7, "mode": "up", "population": 0, "rounds": -1, "seed": 1.5, "synchronous": "yes",
    "durability": "none", "max_failures": None, "target": "high", "trainable": "nocolon",
    "space": {}, "algorithm": {"type": "Magic"}, "initial": [{"step": 7}], "name": "",
    "best": "mean of 1",
}  # fmt: skip


@pytest.mark.parametrize("field", STUDY)
def test_setting_that_cannot_be_is_named(
    archive: Path, tmp_path: Path, refused: Any, field: str
) -> None:
    def change(study: dict[str, Any]) -> None:
        study["record"][field] = STUDY[field]

    path = rewritten(
        archive, tmp_path / "a.zip", lambda entries: edited(entries, "study.json", change)
    )
    refused(path, "study.json, line 1: ", re.sub("initial", "step", field))


@pytest.mark.parametrize(
    "case",
    [
        ("study.json, line 1", "created_at", "now", "created_at"),
        ("study.json>jobs.jsonl", "pins", ["m9r9"], "pin"),
        ("study.json, line 1", "pins", [["m0r0"]], "pin"),
        ("study.json, line 1", "stopped_by", "magic", "stopped_by"),
        ("study.json, line 1", "interventions", [{**EXTENDED, "kind": "eaten"}], "kind"),
        ("study.json, line 1", "interventions", [{**EXTENDED, "facts": {"before": 3}}], "after"),
        ("members.jsonl, line 1", "member", 3, "member"),
        ("members.jsonl>jobs.jsonl, line 5", "round", 1, "m0r1"),
        ("members.jsonl, line 1", "state", "running", "state"),
        ("members.jsonl>jobs.jsonl", "parent", "m0r9", "parent"),
        ("members.jsonl, line 1", "hyperparameters", {}, "those of the space"),
        ("members.jsonl, line 1", "attempt", -1, "attempt"),
        ("jobs.jsonl, line 1", "job", "m9r0", "m9r0"),
        ("jobs.jsonl, line 1", "job", "m0r1", "m0r1"),
        ("jobs.jsonl, line 1", "job", "one", "'one'"),
        ("jobs.jsonl, line 1", "state", "queued", "state"),
        ("jobs.jsonl, line 1", "score", None, "score"),
        ("jobs.jsonl, line 1", "score", 10**400, "score"),
        ("jobs.jsonl, line 1", "checkpoint", "../evil", "checkpoint"),
        ("jobs.jsonl, line 1", "checkpoint", None, "checkpoint"),
        ("jobs.jsonl, line 1", "parent", "m0r0", "parent"),
        ("jobs.jsonl, line 1", "parent", "m3r7", "parent"),
        ("jobs.jsonl, line 1", "hyperparameters", {"step": [1]}, "step"),
        ("jobs.jsonl, line 1", "metrics", {"height": "high"}, "height"),
        ("jobs.jsonl, line 1", "metrics", [], "metrics"),
        ("jobs.jsonl, line 1", "reason", None, "reason"),
        ("jobs.jsonl, line 1", "finished_at", None, "finished_at"),
        ("points.jsonl, line 1", "job", "m0r7", "m0r7"),
        ("points.jsonl, line 1", "step", "NaN", "step"),
        ("points.jsonl, line 1", "values", {"loss": "Inf"}, "loss"),
    ],
    ids=lambda case: " ".join(map(str, case))[:60],
)  # fmt: skip
def test_log_that_contradicts_itself_is_refused(
    archive: Path, tmp_path: Path, refused: Any, case: tuple[str, str, Any, str]
) -> None:
    """A case: the part that is changed and, after `>`, the one that does not fit any more; the
    field, its new value, and what the error must tell.
    """
    where, field, value, expected = case
    part, _, blamed = where.partition(">")

    def change(record: dict[str, Any]) -> None:
        record[field] = value

    name = part.partition(",")[0]
    path = rewritten(archive, tmp_path / "a.zip", lambda entries: edited(entries, name, change))
    refused(path, f"{blamed or part}: ", expected)


def test_job_or_member_too_many_or_too_few_is_refused(
    archive: Path, tmp_path: Path, refused: Any
) -> None:
    def cut(part: str) -> Callable[[Entries], None]:
        def change(entries: Entries) -> None:
            entries[part] = entries[part][: entries[part].rstrip().rindex(b"\n") + 1]

        return change

    def twice(entries: Entries) -> None:
        entries["jobs.jsonl"] *= 2

    refused(rewritten(archive, tmp_path / "a.zip", cut("jobs.jsonl")), "jobs of member")
    refused(rewritten(archive, tmp_path / "b.zip", cut("members.jsonl")), "members: got 3")

    def two_studies(entries: Entries) -> None:
        entries["study.json"] *= 2

    refused(rewritten(archive, tmp_path / "c.zip", twice), "round 3 of this member")
    refused(rewritten(archive, tmp_path / "d.zip", two_studies), "study.json: 2 lines")


@pytest.mark.parametrize("manifest", [b"{", b"[]", b"null", b"{}", b'{"format": "evolvent study"}'])
def test_table_of_contents_that_is_none_is_refused(
    archive: Path, tmp_path: Path, refused: Any, manifest: bytes
) -> None:
    def change(entries: Entries) -> None:
        entries["manifest.json"] = manifest

    refused(rewritten(archive, tmp_path / "a.zip", change, sign=False), "manifest.json")


def test_code_that_an_archive_names_is_not_imported(archive: Path, tmp_path: Path) -> None:
    def change(study: dict[str, Any]) -> None:
        study["record"]["trainable"] = "no.such.module:train"
        study["record"]["algorithm"]["explore"] = {"type": "CustomExplore", "fn": "no.such:fn"}

    path = rewritten(
        archive, tmp_path / "a.zip", lambda entries: edited(entries, "study.json", change)
    )
    study = ev.import_study(path, store="memory://")
    assert study.record.trainable == "no.such.module:train"
    assert study.result().best.score > 0
