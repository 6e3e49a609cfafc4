"""Hold two source trees against each other, so that a move of code is seen to change nothing else.

    python tools/compare_trees.py OLD_SRC NEW_SRC [--renames FILE] [--modules FILE]

Compared is the syntax of every top-level function, class, constant and other statement, wherever
it lives now. What does not count: the module, its order, comments, docstrings (also those below
constants and fields), imports at every level, `if TYPE_CHECKING` blocks of imports, the order of
`__all__`. Everything else counts, also the order of what is inside a class.

`--renames FILE` has lines `old new`; one old name may become several, several may become one.
All of them are then the same identifier, everywhere: names, attributes, arguments, keywords,
functions, classes, and the strings in `__all__`, `__slots__`, `__match_args__`, `getattr` and its
like. A function that was reached through a module (`http_transport.send`, now `transport.send`)
needs the line `http_transport transport`. As words are taken and not scopes, two names of one
table that were swapped by mistake are not seen.

`--modules FILE` has lines `old new` too: strings in the code that name a module or a file. A string
of the old tree that is `old`, or goes on after it with `.` or `:`, is read as if it said `new`.

Prints every definition that is in one tree only, and the difference where a body is another one;
a last line counts. Exit status 1 if anything differs.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

_LISTS_OF_NAMES = ("__all__", "__slots__", "__match_args__")
_TAKE_A_NAME = ("getattr", "hasattr", "setattr", "delattr", "attrgetter", "methodcaller")


@dataclass(frozen=True, slots=True)
class Definition:
    """One top-level statement, made comparable.

    Attributes:
        name: in the words of the new tree.
        where: file and line.
        text: what it says; two definitions are the same if this is.
        parts: of a class, its methods and fields by name, and its head by the name of the class.
    """

    name: str
    where: str
    text: str
    parts: Mapping[str, str]


class Renames:
    """Which identifiers are one and the same."""

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        self._next: dict[str, str] = {}
        for old, new in pairs:
            old_end, new_end = self.of(old), self.of(new)
            if old_end != new_end:
                self._next[old_end] = new_end

    def of(self, name: str) -> str:
        """Return the one name that stands for all that are the same."""
        while name in self._next:
            name = self._next[name]
        return name


class Canonical(ast.NodeTransformer):
    """Takes out of a tree what does not count, and puts the agreed names into it."""

    def __init__(self, renames: Renames, modules: Mapping[str, str]) -> None:
        self._name = renames.of
        self._modules = modules

    def generic_visit(self, node: ast.AST) -> ast.AST | None:  # type: ignore[override]
        """Rename every identifier, and leave no body empty."""
        super().generic_visit(node)
        for field, value in ast.iter_fields(node):
            if field in {"id", "attr", "arg", "name", "rest"} and isinstance(value, str):
                setattr(node, field, self._name(value))
            elif field in {"names", "kwd_attrs"}:  # of global, nonlocal; of a class pattern
                setattr(node, field, [self._name(name) for name in value])
            elif field == "body" and value == []:
                node.body = [ast.Pass()]  # type: ignore[attr-defined]
        return node

    def visit_Import(self, _: ast.Import) -> None:
        return None

    def visit_ImportFrom(self, _: ast.ImportFrom) -> None:
        return None

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        """A string that stands alone is a docstring, wherever it is."""
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            return None
        return self.generic_visit(node)

    def visit_If(self, node: ast.If) -> ast.AST | None:
        """Drop the block that only a type checker reads, if it holds imports only."""
        self.generic_visit(node)
        empty = all(isinstance(statement, ast.Pass) for statement in node.body)
        typing_only = ast.unparse(node.test).endswith("TYPE_CHECKING")
        return None if typing_only and empty and not node.orelse else node

    def visit_Assign(self, node: ast.Assign) -> ast.AST | None:
        if ast.unparse(node.targets[0]) in _LISTS_OF_NAMES:
            self._rename_strings(node.value)
            _sort(node.value)
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST | None:
        called = ast.unparse(node.func).rpartition(".")[2]
        if called in _TAKE_A_NAME:
            for argument in node.args:
                self._rename_strings(argument)
        return self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if isinstance(node.value, str):
            node.value = self._moved(node.value)
        return node

    def _moved(self, text: str) -> str:
        for old, new in self._modules.items():
            if text == old or text.startswith((f"{old}.", f"{old}:")):
                return new + text.removeprefix(old)
        return text

    def _rename_strings(self, node: ast.expr) -> None:
        inside = node.elts if isinstance(node, (ast.List, ast.Tuple)) else [node]
        for constant in inside:
            if isinstance(constant, ast.Constant) and isinstance(constant.value, str):
                constant.value = self._name(constant.value)


def definitions(source: Path, canonical: Canonical) -> Iterator[Definition]:
    """Yield every top-level statement of a tree that counts."""
    for path in sorted(source.rglob("*.py")):
        module = ast.parse(path.read_text(encoding="utf-8"), str(path))
        for statement in module.body:
            line = statement.lineno
            kept = canonical.visit(statement)
            if kept is None or (isinstance(kept, ast.Try) and _says_nothing(kept)):
                continue
            text = ast.unparse(kept)
            yield Definition(_name_of(kept), f"{path}:{line}", text, _parts(kept))


def compare(old: list[Definition], new: list[Definition]) -> Iterator[str]:
    """Yield a paragraph for everything in which two trees differ."""
    by_name: dict[str, tuple[list[Definition], list[Definition]]] = defaultdict(lambda: ([], []))
    for definition in old:
        by_name[definition.name][0].append(definition)
    for definition in new:
        by_name[definition.name][1].append(definition)
    for before, after in by_name.values():
        _drop_equals(before, after)
        for one in before:
            other = _most_similar(one, after)
            if other is None:
                yield f"only in old  {one.where}  {one.name}"
            else:
                after.remove(other)
                yield from _changes(one, other)
        for other in after:
            yield f"only in new  {other.where}  {other.name}"


def table(path: Path | None) -> list[tuple[str, str]]:
    """Read lines `old new`; what follows a `#` is a comment."""
    pairs = []
    for line in path.read_text(encoding="utf-8").splitlines() if path is not None else ():
        words = line.partition("#")[0].split()
        if words and len(words) != 2:
            raise SystemExit(f"{path}: got {line!r}, wanted two words: old new")
        pairs += [(words[0], words[1])] if words else []
    return pairs


def main(arguments: list[str]) -> int:
    """Compare, print, and return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--renames", type=Path)
    parser.add_argument("--modules", type=Path)
    options = parser.parse_args(arguments)
    # The longest first: of a package and a module in it, the module is what a string means.
    modules = dict(sorted(table(options.modules), key=lambda pair: -len(pair[0])))
    renames = Renames(table(options.renames))
    old = list(definitions(options.old, Canonical(renames, modules)))
    new = list(definitions(options.new, Canonical(renames, {})))
    differences = list(compare(old, new))
    print(*differences, sep="\n", end="\n" if differences else "")
    print(f"{len(old)} definitions in old, {len(new)} in new: {len(differences)} differences")
    return 1 if differences else 0


def _name_of(statement: ast.stmt) -> str:
    match statement:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return statement.name
        case ast.Assign():
            return ", ".join(ast.unparse(target) for target in statement.targets)
        case ast.AnnAssign() | ast.AugAssign():
            return ast.unparse(statement.target)
        case _:
            return ast.unparse(statement).partition("\n")[0][:60]


def _parts(statement: ast.stmt) -> Mapping[str, str]:
    """Return the parts of a class by name; a property and its setter are one part."""
    if not isinstance(statement, ast.ClassDef):
        return {}
    head = ast.unparse(statement).partition("\n    ")[0]  # decorators, name and bases
    parts = defaultdict(str, {statement.name: head})
    for part in statement.body:
        parts[_name_of(part)] += ast.unparse(part) + "\n"
    return parts


def _changes(old: Definition, new: Definition) -> Iterator[str]:
    """Yield the parts of a class that differ, or the whole where there are no such parts."""
    names = [name for name in {**old.parts, **new.parts} if _part(old, name) != _part(new, name)]
    for name in names:
        inside = old.name if name == old.name else f"{old.name}.{name}"
        yield _difference(old, new, inside, lambda side, name=name: _part(side, name))
    if not names:
        yield _difference(old, new, old.name, lambda side: side.text)


def _part(definition: Definition, name: str) -> str:
    return definition.parts.get(name, "")


def _difference(
    old: Definition, new: Definition, name: str, text: Callable[[Definition], str]
) -> str:
    lines = difflib.unified_diff(
        text(old).splitlines(), text(new).splitlines(), n=1, lineterm="", fromfile="", tofile=""
    )
    shown = [f"    {line}" for line in list(lines)[2:]]
    return "\n".join([f"differs      {old.where} -> {new.where}  {name}", *shown])


def _drop_equals(before: list[Definition], after: list[Definition]) -> None:
    """Take out what both have, each copy once: a definition that was doubled is left over."""
    for one in tuple(before):
        other = next((other for other in after if other.text == one.text), None)
        if other is not None:
            before.remove(one)
            after.remove(other)


def _most_similar(one: Definition, others: list[Definition]) -> Definition | None:
    def likeness(other: Definition) -> float:
        return difflib.SequenceMatcher(None, one.text, other.text).quick_ratio()

    return max(others, key=likeness, default=None)


def _sort(names: ast.expr) -> None:
    if isinstance(names, (ast.List, ast.Tuple)):
        names.elts.sort(key=ast.unparse)


def _says_nothing(statement: ast.Try) -> bool:
    """Whether a `try` held imports only, and nothing happens when they fail."""
    blocks = [statement.body, *(handler.body for handler in statement.handlers)]
    return all(isinstance(inside, ast.Pass) for block in blocks for inside in block)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
