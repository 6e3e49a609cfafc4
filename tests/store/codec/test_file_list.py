"""Lists of files that come from elsewhere: what is taken, and what is refused by name."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolvent.errors import CheckpointError, CheckpointTooLarge
from evolvent.store.checkpoints.files import FileEntry
from evolvent.store.codec.fields import Malformed
from evolvent.store.codec.file_list import files_from_json, files_to_json

NOTHING = hashlib.sha256().hexdigest()
SOME = hashlib.sha256(b"some").hexdigest()


def item(name: Any, *, size: Any = 4, sha256: Any = SOME, **more: Any) -> dict[str, Any]:
    return {"name": name, "size": size, "sha256": sha256, **more}


def folder(name: str) -> dict[str, Any]:
    return item(name, size=0, sha256=NOTHING)


def link(name: str, to: Any) -> dict[str, Any]:
    return {**folder(name), "link": to}


def test_files_come_back_in_the_order_of_their_names():
    entries = [
        FileEntry("a/b", 4, SOME), FileEntry("a/c/", 0, NOTHING),
        FileEntry("latest", 0, NOTHING, "a/b"), FileEntry("ä.pt", 4, SOME),
    ]  # fmt: skip
    assert files_from_json(list(reversed(files_to_json(entries)))) == entries


@pytest.mark.parametrize(
    "name",
    [
        "../up",
        "a/../b",
        "..",
        ".",
        "./a",
        "a/./b",
        "/etc/passwd",
        "a//b",
        "",
        "/",
        "a\\b",
        "..\\up",
        "a\0b",
        "half \ud800",
        "n" * 256,
        "/".join("d" * 33),
        "long/" * 205 + "name",
        7,
        None,
        ["a"],
    ],
)
def test_name_that_could_leave_the_directory_or_none_at_all_is_refused(name: Any):
    with pytest.raises(Malformed, match=r"files\[1\]: name"):
        files_from_json([item("fine"), item(name)])


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        (item("a", size=-1), r"size: got -1"),
        (item("a", size=True), r"size: got True"),
        (item("a", size=1.5), r"size: got 1.5"),
        (item("a", size=2**70), r"size: got"),
        (item("a", sha256="0" * 63), r"'a': sha256: got"),
        (item("a", sha256=SOME.upper()), r"'a': sha256: got"),
        (item("a", size=0), r"'a': sha256: got .* that of no bytes"),
        (item("a/", size=4), r"'a/': size: got 4"),
        (item("a", mode=0o4755), r"'a': got \['mode'\]"),
        (item("a", link="b"), r"'a': size: got 4, wanted 0"),
        (link("a", "/etc/passwd"), r"'a': link: got '/etc/passwd'"),
        (link("a", "../up"), r"'a': link: got"),
        (link("a/b", "c/../../../up"), r"'a/b': link: got"),
        (link("a", "n" * 1025), r"'a': link: got"),
        (link("a", "half \ud800"), r"'a': link: got"),
        (link("a/", "b"), r"'a/': link: got"),
        (link("a", 7), r"link: got 7"),
        (item("a", size=0, sha256=SOME, link="b"), r"'a': sha256: got"),
        ("a", r"files\[0\]: got 'a'"),
    ],
)
def test_entry_that_is_no_file_is_refused(entry: Any, says: str):
    with pytest.raises(Malformed, match=says):
        files_from_json([entry])


@pytest.mark.parametrize(
    "entries",
    [
        [item("a"), item("a")],
        [item("a"), item("a/b")],
        [item("a"), folder("a/")],
        [folder("a/"), item("a/b")],
        [folder("a/"), folder("a/b/")],
        [item("x/a"), item("x/a/b/c")],
        [link("a", "b"), item("a/b")],
        [link("a", "b"), link("a/b/c", "../..")],
        [link("a", "b"), item("a")],
    ],
)
def test_names_that_stand_for_two_things_are_refused(entries: list[dict[str, Any]]):
    with pytest.raises(Malformed, match="files"):
        files_from_json(entries)


@pytest.mark.parametrize("data", [{}, None, "a", [item(str(n)) for n in range(10_001)]])
def test_what_is_no_list_of_files_and_too_many_are_refused(data: Any):
    with pytest.raises(Malformed, match="up to 10000 files"):
        files_from_json(data)


def test_files_that_cannot_be_sent_are_named_before_anything_is():
    with pytest.raises(CheckpointError, match="back"):
        files_to_json([FileEntry("back\\slash", 4, SOME)])
    with pytest.raises(CheckpointError, match=r"'to nowhere', a link to '\.\.'"):
        files_to_json([FileEntry("to nowhere", 0, NOTHING, "..")])
    with pytest.raises(CheckpointError, match="udcff"):
        files_to_json([FileEntry("no text \udcff", 4, SOME)])
    with pytest.raises(CheckpointTooLarge, match="10001"):
        files_to_json([FileEntry(str(n), 4, SOME) for n in range(10_001)])


SCALAR = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
NAME = st.lists(st.sampled_from(["a", "b", "..", ".", "", "\\", "\0"]), max_size=4).map("/".join)
ITEM = st.fixed_dictionaries(
    {"name": NAME | SCALAR, "size": SCALAR, "sha256": SCALAR | st.just(SOME)}
)


@given(st.lists(ITEM | SCALAR, max_size=3))
def test_whatever_comes_is_a_list_of_files_or_refused(data: Any):
    try:
        entries = files_from_json(data)
    except Malformed:
        return
    assert all(".." not in entry.name.split("/") for entry in entries)
