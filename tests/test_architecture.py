"""The rules of the house that neither the linter nor the type checker can see."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import evolvent

ROOT = Path(__file__).resolve().parent.parent
MAX_LINES = 450
LONGER: dict[str, str] = {}  # path: why it may be longer
"""Files allowed above MAX_LINES, each with its reason."""

MAX_MODULES = 17
FULLER: dict[str, str] = {}  # path: why it may hold more
"""Folders allowed more than MAX_MODULES modules, each with its reason."""

DOUBLED: dict[str, str] = {
    "Logger": "what users implement, and what the libraries of the integrations call theirs",
}
"""Names that classes in several modules may have, each with its reason."""

VAGUE = {
    "alone", "here", "holding", "once", "parcel", "patience", "standing", "told", "wish",
}  # fmt: skip
"""Words that say nothing to who does not know the code: a name has the field's words instead."""

HEAVY = ("numpy", "rich", "sqlalchemy", "torch", "typer", "sklearn", "scipy", "multiprocessing")

MACHINE = re.compile(r"/(work|farm|root|home/\w+)/")


def sources() -> list[Path]:
    return sorted((ROOT / "src").rglob("*.py"))


def text_files() -> list[Path]:
    kept = ("src", "tests", "examples", "benchmarks", "tools", ".ci")
    inside = [path for name in kept for path in (ROOT / name).rglob("*")]
    found = [*ROOT.glob("*.md"), *ROOT.glob("*.toml"), *ROOT.glob("*.txt"), *inside]
    skipped = {"__pycache__"}
    return [p for p in found if p.is_file() and not skipped & set(p.parts) and p != Path(__file__)]


def modules_after(statement: str) -> set[str]:
    """Return the top-level modules that a fresh interpreter holds after a statement."""
    code = f"import sys; {statement}; print(*{{m.partition('.')[0] for m in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return set(done.stdout.split())


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(ROOT / "src")))
def test_file_stays_short(path: Path):
    n_lines = len(path.read_text().splitlines())
    allowed = LONGER.get(str(path.relative_to(ROOT)))
    assert n_lines <= MAX_LINES or allowed, f"{path}: {n_lines} lines: split it by purpose"


def folders() -> list[Path]:
    return sorted({path.parent for path in sources()})


@pytest.mark.parametrize("folder", folders(), ids=lambda p: str(p.relative_to(ROOT / "src")))
def test_folder_can_be_taken_in_at_a_glance(folder: Path):
    n_modules = len(_modules(folder))
    allowed = FULLER.get(str(folder.relative_to(ROOT)))
    assert n_modules <= MAX_MODULES or allowed, f"{folder}: {n_modules} modules: group them"


def test_no_exception_outlives_its_reason():
    for name in LONGER:
        assert len((ROOT / name).read_text().splitlines()) > MAX_LINES
    for name in FULLER:
        assert len(_modules(ROOT / name)) > MAX_MODULES
    assert set(DOUBLED) <= set(_doubled())


def test_a_name_of_a_class_says_which():
    found = {name: paths for name, paths in _doubled().items() if name not in DOUBLED}
    assert found == {}


def test_names_have_words_of_the_field():
    named = [(path, name) for path in sources() for name in (path.stem, *_defined(path))]
    found = [f"{path.relative_to(ROOT)}: {n}" for path, n in named if VAGUE & set(_words(n))]
    assert found == []


def test_no_file_names_a_place_on_one_machine():
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in text_files()
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if MACHINE.search(line)
    ]
    assert found == []


def test_every_module_says_what_it_is_for():
    silent = [str(p.relative_to(ROOT)) for p in sources() if not ast.get_docstring(_tree(p))]
    assert silent == []


def test_nothing_rests_on_assert_statements():
    """`python -O` removes them: product code raises instead; only type narrowing may assert."""
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in sources()
        if "testing" not in path.parts
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.Assert) and not _narrows(node.test)
    ]
    assert found == []


def test_every_public_name_is_there():
    assert sorted(set(evolvent.__all__)) == sorted(evolvent.__all__)
    needs_no_extra = [name for name in evolvent.__all__ if name not in evolvent._MODULES]
    missing = [name for name in needs_no_extra if not hasattr(evolvent, name)]
    assert missing == []
    assert set(evolvent.__all__) <= set(dir(evolvent))


def test_an_unknown_public_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_name"):
        evolvent.no_such_name  # noqa: B018 - the look-up is what is tested


def test_importing_evolvent_imports_nothing_heavy():
    assert modules_after("import evolvent").isdisjoint(HEAVY)


def test_public_names_for_training_code_need_neither_terminal_nor_torch():
    loaded = modules_after("from evolvent import Job, Trainable")
    assert loaded.isdisjoint({"rich", "torch", "typer", "sklearn", "scipy"})


def test_command_line_starts_without_store_and_torch():
    loaded = modules_after("import evolvent.cli.main")
    assert loaded.isdisjoint({"sqlalchemy", "torch", "sklearn", "scipy"})


def test_types_are_shipped():
    assert (ROOT / "src/evolvent/py.typed").is_file()


def _modules(folder: Path) -> list[Path]:
    return [path for path in folder.glob("*.py") if path.name != "__init__.py"]


def _doubled() -> dict[str, list[str]]:
    """Return the modules of every class that is defined at the top of several."""
    found: dict[str, list[str]] = {}
    for path in sources():
        for node in _tree(path).body:
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name.lstrip("_"), []).append(str(path.relative_to(ROOT)))
    return {name: paths for name, paths in found.items() if len(paths) > 1}


def _defined(path: Path) -> list[str]:
    kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return [node.name for node in ast.walk(_tree(path)) if isinstance(node, kinds)]


def _words(name: str) -> list[str]:
    """Return the words of a name, whether they are joined by lines or by capitals."""
    return [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)]


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def _narrows(test: ast.expr) -> bool:
    """Whether an assert tells the type checker what is known: `isinstance`, `is not None`."""
    if isinstance(test, ast.Call):
        return isinstance(test.func, ast.Name) and test.func.id in {"isinstance", "issubclass"}
    return isinstance(test, ast.Compare) and isinstance(test.ops[0], (ast.Is, ast.IsNot))


def test_who_trains_imports_nothing_that_only_reads_the_log(tmp_path: Path):
    script = f"""
import sys
import evolvent as ev
study = ev.create_study(
    "s", metric="score", mode="max", population=2, rounds=1, space={{"x": ev.Uniform(0, 1)}},
    store="sqlite:///{tmp_path}/s.db")
created = set(sys.modules)
study.run(lambda job: {{"score": 1.0}}, workers=0, progress=False)
print(created & {{"evolvent.engines.local.driver", "evolvent.engines.worker", "evolvent.result"}})
print({{name for name in sys.modules if name.startswith("evolvent.analysis")}})
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout == "set()\nset()\n"
