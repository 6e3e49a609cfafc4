"""The comparison of two trees sees every change of code, and none of where the code is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.compare_trees import main

CODE = '''"""A module."""

from __future__ import annotations

import math

from evolvent.store.once import Call

__all__ = ["Ring", "area"]

LIMIT = 3
"""How many there may be."""


class Ring:
    """A ring."""

    __slots__ = ("radius",)

    def __init__(self, radius: float) -> None:
        self.radius = radius

    def area(self) -> float:
        return math.pi * self.radius**2


def area(ring: Ring) -> float:
    """Return the area."""
    return ring.area()


def home() -> str:
    import os

    return os.environ["evolvent.store.shapes:home"]
'''


class Trees:
    """Two source trees that begin as the same one."""

    def __init__(self, folder: Path) -> None:
        self.old, self.new = folder / "old", folder / "new"
        self._folder = folder
        for tree in (self.old, self.new):
            tree.mkdir()
            (tree / "rings.py").write_text(CODE)

    def change(self, old: str, new: str) -> None:
        assert old in CODE
        (self.new / "rings.py").write_text((self.new / "rings.py").read_text().replace(old, new))

    def table(self, name: str, lines: str) -> str:
        (self._folder / name).write_text(lines)
        return str(self._folder / name)

    def compare(self, *options: str) -> int:
        return main([str(self.old), str(self.new), *options])


@pytest.fixture
def trees(tmp_path: Path) -> Trees:
    return Trees(tmp_path)


def test_a_tree_equals_itself(trees: Trees, capsys: pytest.CaptureFixture[str]) -> None:
    assert trees.compare() == 0
    assert capsys.readouterr().out == "5 definitions in old, 5 in new: 0 differences\n"


def test_moves_comments_docstrings_and_imports_do_not_count(trees: Trees) -> None:
    (trees.new / "deep").mkdir()
    moved = trees.new / "deep" / "shapes.py"
    (trees.new / "rings.py").rename(moved)
    text = moved.read_text().replace('"""Return the area."""', '"""The area."""  # said shorter')
    text = text.replace("evolvent.store.once", "evolvent.store.idempotency")
    text = text.replace('["Ring", "area"]', '["area", "Ring"]')
    head, _, rest = text.partition("def area(ring")
    typing = "if TYPE_CHECKING:\n    from evolvent.store import Store\n"
    moved.write_text(head + typing)
    (trees.new / "area.py").write_text("def area(ring" + rest)
    assert trees.compare() == 0


def test_a_changed_constant_is_found(trees: Trees, capsys: pytest.CaptureFixture[str]) -> None:
    trees.change("LIMIT = 3", "LIMIT = 4")
    assert trees.compare() == 1
    told = capsys.readouterr().out
    assert f"{trees.old}/rings.py:11 -> {trees.new}/rings.py:11  LIMIT\n" in told
    assert "    -LIMIT = 3\n    +LIMIT = 4\n" in told


def test_a_changed_body_is_found_and_its_method_named(
    trees: Trees, capsys: pytest.CaptureFixture[str]
) -> None:
    trees.change("self.radius**2", "self.radius**3")
    assert trees.compare() == 1
    told = capsys.readouterr().out
    assert told.count("differs") == 1
    assert "Ring.area\n" in told
    assert "+    return math.pi * self.radius ** 3\n" in told


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("radius: float", "radius: int"),
        ("radius: float", "radius: float = 1.0"),
        ("class Ring:", "@final\nclass Ring:"),
        ("class Ring:", "class Ring(Base):"),
        ("def area(ring: Ring)", "async def area(ring: Ring)"),
        ('["evolvent.store.shapes:home"]', '["evolvent.store.flat:home"]'),
        ('"radius"', '"radius", "centre"'),
        ('["Ring", "area"]', '["Ring"]'),
        ("LIMIT = 3", "LIMIT = 3\nLIMIT += 1"),
        ("LIMIT = 3", "LIMIT = 3\nprint(LIMIT)"),
    ],
)
def test_every_change_of_code_is_found(trees: Trees, old: str, new: str) -> None:
    trees.change(old, new)
    assert trees.compare() == 1


def test_the_order_inside_a_class_counts(trees: Trees, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = "    a: int\n", "    b: int\n"
    (trees.old / "fields.py").write_text("class Fields:\n" + first + second)
    (trees.new / "fields.py").write_text("class Fields:\n" + second + first)
    assert trees.compare() == 1
    assert "  Fields\n" in capsys.readouterr().out


def test_a_lost_function_is_found(trees: Trees, capsys: pytest.CaptureFixture[str]) -> None:
    lost = CODE[CODE.index("def home") :]
    trees.change(lost, "")
    assert trees.compare() == 1
    assert f"only in old  {trees.old}/rings.py:32  home\n" in capsys.readouterr().out


def test_a_doubled_function_is_found(trees: Trees, capsys: pytest.CaptureFixture[str]) -> None:
    (trees.new / "again.py").write_text(CODE[CODE.index("def home") :])
    assert trees.compare() == 1
    told = capsys.readouterr().out
    assert "only in new" in told
    assert told.endswith("5 definitions in old, 6 in new: 1 differences\n")


def test_a_rename_is_accepted_from_the_table_only(trees: Trees) -> None:
    for old, new in (("Ring", "Circle"), ("radius", "size"), ("ring", "circle")):
        trees.change(old, new)
    assert trees.compare() == 1
    table = trees.table("renames", "# what it is\nRing Circle\nradius size # of it\nring circle\n")
    assert trees.compare("--renames", table) == 0


def test_one_name_may_become_two(trees: Trees) -> None:
    (trees.old / "wishes.py").write_text("def f(wish): return wish\n\n\ndef g(wish): return wish\n")
    (trees.new / "a.py").write_text(
        "def f(claim): return claim\n\n\ndef g(figure): return figure\n"
    )
    table = trees.table("renames", "wish claim\nwish figure\n")
    assert trees.compare("--renames", table) == 0


def test_a_rename_leaves_strings_alone_that_are_no_names(trees: Trees) -> None:
    (trees.old / "said.py").write_text("def f(x): return getattr(x, 'once'), x['once']\n")
    (trees.new / "said.py").write_text("def f(x): return getattr(x, 'retry'), x['retry']\n")
    table = trees.table("renames", "once retry\n")
    assert trees.compare("--renames", table) == 1
    (trees.new / "said.py").write_text("def f(x): return getattr(x, 'retry'), x['once']\n")
    assert trees.compare("--renames", table) == 0


def test_names_of_modules_in_strings_are_accepted_from_the_table(trees: Trees) -> None:
    trees.change("evolvent.store.shapes:home", "evolvent.store.shapes.flat:home")
    assert trees.compare() == 1
    lines = "evolvent evolved\nevolvent.store.shapes evolvent.store.shapes.flat\n"
    assert trees.compare("--modules", trees.table("modules", lines)) == 0


def test_a_table_with_a_third_word_is_refused(trees: Trees) -> None:
    with pytest.raises(SystemExit, match="wanted two words"):
        trees.compare("--renames", trees.table("renames", "one two three\n"))
