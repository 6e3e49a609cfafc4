"""Print how large the house is, and how far one job walks through it.

    make house        (python -m tools.house)

How it counts: lines are all lines of all Python files of src/evolvent. Modules are the files that
hold something of their own, so without `__init__.py`; they are what is meant by a module under 60
lines and by a class name that two modules have (`_Held` and `Held` are one name). A folder is as
full as it has Python files in it, not below it. `tools.walk` says what it counts of a job.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections import Counter, defaultdict
from pathlib import Path

from tools.walk import Walk, over_http, over_sqlite

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "evolvent"
SMALL = 60


def size(source: Path) -> dict[str, str]:
    """Return the rows of the table that are read off the files."""
    lines = {path: len(path.read_text().splitlines()) for path in sorted(source.rglob("*.py"))}
    modules = [path for path in lines if path.name != "__init__.py"]
    folder, most = Counter(path.parent for path in lines).most_common(1)[0]
    own = sum(path.parent == folder for path in modules)
    doubled = doubled_classes(modules)
    return {
        "lines, modules": f"{sum(lines.values()):,}, {len(modules)}",
        "fullest folder": f"{most} ({folder.relative_to(source.parent)}, {own} without __init__)",
        f"modules under {SMALL} lines": str(sum(lines[path] < SMALL for path in modules)),
        "doubled class names": f"{len(doubled)} ({', '.join(sorted(doubled))})",
    }


def doubled_classes(modules: list[Path]) -> set[str]:
    """Return the names of classes that stand in more than one module."""
    homes = defaultdict(set)
    for path in modules:
        for statement in ast.parse(path.read_text()).body:
            if isinstance(statement, ast.ClassDef):
                homes[statement.name.lstrip("_")].add(path)
    return {name for name, places in homes.items() if len(places) > 1}


def dependencies(pyproject: Path) -> str:
    """Return the names of what evolvent cannot do without."""
    needed = tomllib.loads(pyproject.read_text())["project"]["dependencies"]
    return " ".join(re.split(r"[^\w.-]", requirement)[0] for requirement in needed)


def main() -> None:
    """Measure and print."""
    rows = size(SOURCE) | {"core dependencies": dependencies(ROOT / "pyproject.toml")}
    rows["one job on SQLite: files, calls"] = _said(over_sqlite())
    rows["one job over HTTP: files, calls"] = _said(over_http())
    width = max(map(len, rows))
    for name, value in rows.items():
        print(f"{name:<{width}}  {value}")


def _said(walk: Walk) -> str:
    return f"{walk.files}, {walk.calls:,} ({walk.moves:,} of them out of another file)"


if __name__ == "__main__":
    main()
