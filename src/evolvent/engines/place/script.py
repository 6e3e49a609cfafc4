"""The script that runs a study, read as workers need it: what its top level does without the guard.

The guard is `if __name__ == "__main__":`. Python's own spawned processes run a script under another
name, so that the guard is false; then its classes have that name too, and what is pickled there
cannot be read by the script. Here the guard itself is made false, and the name stays `__main__`.
"""

from __future__ import annotations

import ast
import builtins
import dis
import functools
import importlib.util
import io
import os
import site
import sys
import sysconfig
import tokenize
import types
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from evolvent.engines.place import started
from evolvent.errors import ConfigError, UnknownName

_MAIN = "__main__"
_GLOBAL_OPS = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "STORE_GLOBAL", "DELETE_GLOBAL"})
_INNER = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
_BODIES = ("body", "handlers", "cases", "orelse", "finalbody")
# On these nothing is lost: what they do to the process is carried to workers, or shows nothing.
_CARRIED = frozenset({"evolvent", "logging", "print", "sys", "os", "warnings", "input", "help"})


@dataclass(frozen=True)
class Script:
    """A script as it was when it has started; workers do not see what is edited later.

    Attributes:
        path: of its file.
        source: its text.
        module: its name, when it was run by `python -m`.
    """

    path: str
    source: str
    module: str | None = None

    @property
    def folder(self) -> str:
        """The folder in which Python looks for modules first when it runs the script.

        The one it lies in; of one that is run by `python -m`, the one that its package lies in.
        """
        return str(Path(self.path).parents[(self.module or "").count(".")])

    @property
    def guarded(self) -> bool:
        """Whether something in it stands under the guard."""
        return bool(self._parts.guards)

    def guards(self, line: int) -> bool:
        """Whether a line, from 1, stands under the guard."""
        return any(line in lines for lines in self._parts.guards)

    @property
    def rebound(self) -> frozenset[str]:
        """The names that its top level binds and the guard, or a function, binds again."""
        return frozenset(self._parts.bound & self._parts.bound_again)

    @property
    def names(self) -> frozenset[str]:
        """The names that are bound by its top level only: a worker that runs it has them."""
        return frozenset(self._parts.bound - self._parts.bound_again)

    def unseen(self, before: int, *, carried: Collection[str] = ()) -> list[str]:
        """Return what top-level statements before a line do beyond import, define and set.

        Each as its source and line. It is what workers lack that do not run the top level.

        Args:
            before: the line.
            carried: names of what is carried to workers when it is called or set, and of what is
                before a dot of such, as `torch.set_default_dtype`, `decimal.getcontext()`.
        """
        tree = ast.parse(self.source)
        origins = _origins(tree)
        functions = {s.name for s in tree.body if isinstance(s, ast.FunctionDef)}
        imported = {*_imported(tree), *vars(builtins)} - _evolvents(tree)
        return [
            f"{ast.unparse(statement).splitlines()[0]} (line {statement.lineno})"
            for statement in _statements(tree.body)
            if (statement.end_lineno or 0) < before
            and _changes_others(statement, imported, functions)
            and not _is_carried(statement, origins, carried)
        ]

    def reruns(self, line: int | None) -> bool:
        """Whether a worker can run its top level, when the run stands at a line; None: unknown."""
        # A run that is not under the guard would be reached again.
        return self.guarded and (line is None or self.guards(line))

    def run(self) -> None:
        """Run its top level, without what stands under the guard, as the module `__main__`."""
        main = self.install()
        exec(self._parts.code, vars(main))

    def install(self) -> types.ModuleType:
        """Put an empty module in the place of `__main__` that says it is this script."""
        main = types.ModuleType(_MAIN)
        main.__file__ = self.path
        vars(main)["__builtins__"] = builtins
        if self.module is not None:
            main.__spec__ = importlib.util.find_spec(self.module)
            main.__package__ = self.module.rpartition(".")[0]
        # Under the second name pickles of Python's own spawned processes look for it.
        sys.modules[_MAIN] = sys.modules["__mp_main__"] = main
        return main

    @cached_property
    def _parts(self) -> _Parts:
        tree = ast.parse(self.source)
        whole = compile(tree, self.path, "exec", dont_inherit=True)
        guard = _Guard()
        body: list[ast.stmt] = []
        lines: list[range] = []
        for statement in tree.body:
            guard.found = False
            body.append(guard.visit(statement))
            if guard.found:
                lines.append(range(statement.lineno, (statement.end_lineno or 0) + 1))
        tree.body = body
        code = compile(tree, self.path, "exec", dont_inherit=True)
        bound, everywhere = Counter(_stored(code)), Counter(_stored(whole))
        again = {name for name, n in everywhere.items() if n > bound[name]}
        again |= _set_in_functions(code)
        return _Parts(code, tuple(lines), frozenset(bound), frozenset(again))

    def __reduce__(self) -> tuple[type[Script], tuple[str, str, str | None]]:
        return Script, (self.path, self.source, self.module)  # code objects cannot be pickled


@dataclass(frozen=True, slots=True)
class _Parts:
    code: types.CodeType
    guards: tuple[range, ...]
    bound: frozenset[str]
    bound_again: frozenset[str]


def running_script() -> Script | None:
    """Return the script that this process runs; None in a notebook, a shell, an installed program.

    None too when it cannot be read or is no Python any more.
    """
    main = sys.modules[_MAIN]
    path, spec = getattr(main, "__file__", None), getattr(main, "__spec__", None)
    module = getattr(spec, "name", None)
    if path is None or is_installed(path):
        return None
    if path == started.PATH and started.TEXT is not None:
        return _parsed(path, started.TEXT, module)
    return read_script(path, module=module)


def running_cells() -> Script | None:
    """Return the cells that a notebook has run before this one, as one script; None elsewhere."""
    main = vars(sys.modules[_MAIN])
    cells = main.get("In")
    if not isinstance(cells, list) or "get_ipython" not in main:
        return None
    return Script("the notebook", "\n".join(filter(_is_python, cells[:-1])))


def _is_python(text: str) -> bool:
    try:
        ast.parse(text)
    except (SyntaxError, ValueError):  # a magic of IPython, a mistake
        return False
    return True


def read_script(path: str, *, module: str | None = None) -> Script | None:
    """Return the script in a file; None when it cannot be read as Python."""
    try:
        return _parsed(path, Path(path).read_bytes(), module)
    except (OSError, ValueError):
        return None


def _parsed(path: str, text: bytes, module: str | None) -> Script | None:
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(text).readline)
        with io.TextIOWrapper(io.BytesIO(text), encoding) as file:
            script = Script(str(Path(path).resolve()), file.read(), module)
        script.guarded  # noqa: B018 - parses it
    except (SyntaxError, ValueError):
        return None
    return script


def script_of(path: str) -> Script:
    """Return the script of the import path `file.py:name`.

    Raises:
        ConfigError: it cannot be read, or is no Python.
    """
    file = path.rpartition(":")[0]
    script = read_script(file)
    if script is None:
        there = os.path.exists(file)
        what = "cannot be read as Python" if there else "is not there"
        kind = ConfigError if there else UnknownName
        raise kind(f"trainable {path!r}: the script {os.path.abspath(file)} {what}")
    return replace(script, module=_module_of(script))


def _module_of(script: Script) -> str | None:
    """Return the name by which `python -m` runs a script that imports from its own package."""
    imports = [x for x in ast.walk(ast.parse(script.source)) if isinstance(x, ast.ImportFrom)]
    imported = {(x.module or "").partition(".")[0] for x in imports if not x.level}
    levels = max((x.level for x in imports), default=0)
    folder, name = Path(script.path).parent, [Path(script.path).stem]
    while folder.name and (len(name) <= levels or (folder / "__init__.py").exists()):
        name.insert(0, folder.name)
        folder = folder.parent
    return ".".join(name) if levels or (len(name) > 1 and name[0] in imported) else None


def is_script_path(path: object) -> bool:
    """Whether an import path is that of a script, `file.py:name`, and not of a module."""
    return isinstance(path, str) and path.rpartition(":")[0].endswith(".py")


def globals_of(code: types.CodeType) -> Iterator[str]:
    """Yield the names of the globals that a function uses, its inner ones too."""
    for instruction in dis.get_instructions(code):
        if instruction.opname in _GLOBAL_OPS:
            yield instruction.argval
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from globals_of(constant)


def main_line() -> int | None:
    """Return the line of `__main__` at which this thread is; None when it did not start there."""
    frame: types.FrameType | None = sys._getframe()
    scope = vars(sys.modules[_MAIN])
    while frame is not None:
        if frame.f_code.co_name == "<module>" and frame.f_globals is scope:
            return frame.f_lineno
        frame = frame.f_back
    return None


def running_functions() -> frozenset[str]:
    """Return the names of the functions of `__main__` in which this thread is, such as `main`."""
    names: set[str] = set()
    frame: types.FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_globals is vars(sys.modules[_MAIN]):
            names.add(frame.f_code.co_qualname.split(".")[0])
        frame = frame.f_back
    return frozenset(names)


class _Guard(ast.NodeTransformer):
    """Makes the guard false wherever the top level asks; in functions it stays as it is."""

    found = False

    def visit(self, node: ast.AST) -> Any:
        return node if isinstance(node, _INNER) else super().visit(node)

    def visit_Compare(self, node: ast.Compare) -> ast.expr:
        sides = (node.left, *node.comparators)
        names = any(isinstance(side, ast.Name) and side.id == "__name__" for side in sides)
        mains = any(isinstance(side, ast.Constant) and side.value == _MAIN for side in sides)
        if not (names and mains and isinstance(node.ops[0], (ast.Eq, ast.NotEq))):
            return node
        self.found = True
        return ast.copy_location(ast.Constant(isinstance(node.ops[0], ast.NotEq)), node)


def _stored(code: types.CodeType) -> Iterator[str]:
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("STORE_NAME", "STORE_GLOBAL"):  # the second where a function
            yield instruction.argval  # declares the name as global


def _set_in_functions(code: types.CodeType) -> set[str]:
    """Return the globals that functions bind: their value may be of after the top level."""
    names: set[str] = set()
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            names |= {i.argval for i in dis.get_instructions(inner) if i.opname == "STORE_GLOBAL"}
            names |= _set_in_functions(inner)
    return names


@functools.cache
def is_installed(path: str | None) -> bool:
    """Whether a file belongs to Python, a library or a program: no script of the user's."""
    if path is None:
        return False
    # A process has thousands of modules, of few folders.
    return _is_in_places(_real_path(os.path.dirname(path))) or _is_in_places(os.path.realpath(path))


@functools.cache
def _real_path(folder: str) -> str:
    return os.path.realpath(folder)


def _is_in_places(path: str) -> bool:
    other_environment = not {"site-packages", "dist-packages"}.isdisjoint(path.split(os.sep))
    return other_environment or f"{path}{os.sep}".startswith(_places_of_installed())


@functools.cache
def _places_of_installed() -> tuple[str, ...]:
    places = {
        str(Path(__file__).parents[2]),  # evolvent
        *sysconfig.get_paths().values(),
        *site.getsitepackages(),
        site.getusersitepackages(),
    }
    places.discard(sysconfig.get_path("data"))  # the prefix: a user may work below it
    return tuple(f"{os.path.realpath(place)}{os.sep}" for place in places)


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the simple statements of a body, those of its branches and loops too."""
    for statement in body:
        inner = [child for name in _BODIES for child in getattr(statement, name, ())]
        if inner and not isinstance(statement, _INNER):
            yield from _statements(inner)
        else:
            yield statement


def _changes_others(statement: ast.stmt, imported: set[str], functions: set[str]) -> bool:
    """Whether a statement changes, or may, more than the values that the script has names for."""
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        # A method of a value of the script's changes that value, which is carried.
        return _root(statement.value.func) in imported | functions
    if isinstance(statement, (ast.Assign, ast.AugAssign)):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        return any(
            isinstance(target, (ast.Attribute, ast.Subscript)) and _root(target) in imported
            for target in targets
        )
    if isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
        return any(
            "register" in ast.unparse(decorator) and _root(decorator) in imported
            for decorator in statement.decorator_list
        )
    return False


def _root(node: ast.expr) -> str | None:
    while isinstance(node, (ast.Attribute, ast.Subscript, ast.Call)):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else None


def _is_carried(statement: ast.stmt, origins: Mapping[str, str], carried: Collection[str]) -> bool:
    """Whether all that a statement calls or sets is among what is carried."""
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        changed = [statement.value.func]
    elif isinstance(statement, ast.Assign):
        changed = statement.targets
    else:
        return False
    return all(
        any(name == one or name.startswith((f"{one}.", f"{one}[")) for one in carried)
        for name in (_whole_name(node, origins) for node in changed)
    )


def _whole_name(node: ast.expr, origins: Mapping[str, str]) -> str:
    """Return `np.random.seed` as `numpy.random.seed`."""
    first, dot, rest = ast.unparse(node).partition(".")
    call = first.endswith("()") * "()"
    return f"{origins.get(first.removesuffix('()'), first.removesuffix('()'))}{call}{dot}{rest}"


def _origins(tree: ast.Module) -> dict[str, str]:
    """Return what the names are that a script imports."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {a.asname: a.name for a in node.names if a.asname}
        elif isinstance(node, ast.ImportFrom):
            names |= {a.asname or a.name: f"{node.module or ''}.{a.name}" for a in node.names}
    return names


def _imported(tree: ast.Module) -> set[str]:
    return {
        (alias.asname or alias.name).split(".")[0]
        for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))
        for alias in node.names
    }  # fmt: skip


def _evolvents(tree: ast.Module) -> set[str]:
    """Return the names under which a script has evolvent and what else is carried."""
    names = set(_CARRIED)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {a.asname or a.name for a in node.names if a.name.split(".")[0] in _CARRIED}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in _CARRIED:
            names |= {a.asname or a.name for a in node.names}
    return names
