"""The source of functions of this package with all that they use of it, to be pasted into a script of its own.

Functions lose their annotations, so that nothing comes along that only types need; comments and docstrings stay.
"""

import ast
import copy
import importlib
import inspect
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Any

_PACKAGE = __name__.split(".", maxsplit=1)[0]
_TIDIED = [
    (re.compile(r" -> :"), ":"),  # what is left of the annotation of what is returned
    (re.compile(r"^(class \w+)\(\):", re.MULTILINE), r"\1:"),
    (re.compile(r"  # type: ignore\[[^]]*\]"), ""),
    (re.compile(r"(?<=[(,] )(\w+) = (?=[^=]*\):$)", re.MULTILINE), r"\1="),
]
"""What cutting leaves behind."""
_Place = tuple[int, int]
"""Line, from 1, and byte in it."""
_Cut = tuple[_Place, _Place]
_Origin = tuple[str, str]
"""A module, and the name in it; empty for the module itself."""


@dataclass(frozen=True)
class Gathered:
    """Source to paste.

    Attributes:
        imports: Lines that import what is not of this package.
        text: Definitions, each after those that it needs.
    """

    imports: frozenset[str]
    text: str


def gather(roots: Sequence[Callable[..., Any]], without: Collection[str] = ()) -> Gathered:
    """Return the source of functions and of all that they use of this package.

    Args:
        roots: Functions, or methods that do not use `self`, which become functions.
        without: Names of methods and base classes to leave out.

    Raises:
        ValueError: If two of them have one name in different modules.
    """
    found = _Gathering(without)
    for root in roots:
        owner, _, name = root.__qualname__.rpartition(".")
        if owner:
            [method] = [one for one in _methods(_read(root.__module__).defined[owner]) if one.name == name]
            found.take(root.__module__, name, method, is_method=True)
        else:
            found.add(root.__module__, name)
    return Gathered(frozenset(found.imports), found.join())


@dataclass(frozen=True)
class _Module:
    """What stands at the top of a module: its lines, definitions and imports by name, and statements in their order."""

    lines: list[bytes]
    defined: dict[str, ast.stmt]
    imported: dict[str, _Origin]
    statements: list[ast.stmt]


@cache
def _read(name: str) -> _Module:
    source = inspect.getsource(importlib.import_module(name))
    statements = ast.parse(source).body
    defined: dict[str, ast.stmt] = {}
    for statement in statements:
        targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        names = [one.id for target in targets if target for one in ast.walk(target) if isinstance(one, ast.Name)]
        names += [statement.name] if isinstance(statement, ast.FunctionDef | ast.ClassDef) else []
        defined |= dict.fromkeys(names, statement)
    outside = [one for one in statements if not isinstance(one, ast.FunctionDef | ast.ClassDef)]
    return _Module(source.encode().splitlines(keepends=True), defined, _find_imports(outside), statements)


class _Gathering:
    """What was taken so far: imports, the module of each name, and texts with whether they stand apart."""

    def __init__(self, without: Collection[str]) -> None:
        self.without = without
        self.imports: set[str] = set()
        self.homes: dict[str, str] = {}
        self.parts: list[tuple[bool, str]] = []

    def add(self, home: str, name: str) -> None:
        """Take what a module calls so, and what it needs first."""
        module = _read(home)
        if name not in module.defined:
            self._follow(module.imported[name], name)
        elif name not in self.homes:
            self.take(home, name, module.defined[name])
        elif self.homes[name] != home:
            raise ValueError(f"Expected one {name!r}; it is in {self.homes[name]} and in {home}. Rename one.")

    def _follow(self, origin: _Origin, alias: str) -> None:
        module, name = origin
        if module.startswith(_PACKAGE):
            self.add(module, name)
        else:
            plain = f"from {module} import {name}" if name else f"import {module}"
            self.imports.add(plain if alias in (name, module) else f"{plain} as {alias}")

    def take(self, home: str, name: str, statement: ast.stmt, *, is_method: bool = False) -> None:
        """Take a statement of a module, and what it needs first."""
        module = _read(home)
        bound = [one for one, found in module.defined.items() if found is statement] or [name]
        self.homes |= dict.fromkeys(bound, home)
        local = {**module.imported, **_find_imports([statement])}
        modules = {alias: ".".join(origin) for alias, origin in local.items() if _is_module(origin)}
        bare = _Bare(self.without).visit(copy.deepcopy(statement))
        through = [
            node
            for node in ast.walk(bare)
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules
        ]
        for node in through:
            self.add(modules[node.value.id], node.attr)  # type: ignore[attr-defined]
        for used in dict.fromkeys(node.id for node in ast.walk(bare) if isinstance(node, ast.Name)):
            if used in modules or used in bound:
                continue
            if used in local:
                self._follow(local[used], used)
            elif used in module.defined:
                self.add(home, used)
        cuts = [*_find_cuts(statement, self.without, is_method=is_method)]
        cuts += [
            (_start(node), (node.end_lineno or 0, (node.end_col_offset or 0) - len(node.attr))) for node in through
        ]
        is_apart = isinstance(statement, ast.FunctionDef | ast.ClassDef)
        self.parts.append((is_apart, _cut(module, statement, cuts, dedent=4 if is_method else 0)))

    def join(self) -> str:
        """Return all texts with the usual blank lines."""
        text = ""
        for position, (is_apart, part) in enumerate(self.parts):
            apart = is_apart or (position and self.parts[position - 1][0])
            text += ("" if not position else "\n\n\n" if apart else "\n") + part
        return text


class _Bare(ast.NodeTransformer):
    """Leaves out what is not taken: annotations of functions, some methods and bases, imports."""

    def __init__(self, without: Collection[str]) -> None:
        self.without = without

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST | None:
        if node.name in self.without:
            return None
        node.returns = None
        return self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        node.bases = [base for base in node.bases if ast.unparse(base) not in self.without]
        return self.generic_visit(node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        return None

    def visit_Import(self, node: ast.Import) -> None:
        return None


def _find_imports(statements: Iterable[ast.stmt]) -> dict[str, _Origin]:
    found: dict[str, _Origin] = {}
    for node in (node for statement in statements for node in ast.walk(statement)):
        if isinstance(node, ast.ImportFrom):
            found |= {alias.asname or alias.name: (node.module or "", alias.name) for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.asname or alias.name: (alias.name, "") for alias in node.names}
    return found


def _is_module(origin: _Origin) -> bool:
    """Tell whether a name is that of a module in a folder of this package."""
    module, name = origin
    if not name or not module.startswith(_PACKAGE):
        return False
    found = find_spec(module)
    return bool(found and found.submodule_search_locations) and find_spec(f"{module}.{name}") is not None


def _methods(statement: ast.stmt) -> list[ast.FunctionDef]:
    return [one for one in getattr(statement, "body", []) if isinstance(one, ast.FunctionDef)]


def _find_cuts(statement: ast.stmt, without: Collection[str], *, is_method: bool) -> Iterator[_Cut]:
    """Yield what of a statement's text is left out."""
    for node in ast.walk(statement):
        if isinstance(node, ast.FunctionDef):
            if node.name in without:
                first = min([node.lineno, *(one.lineno for one in node.decorator_list)])
                yield (first, 0), ((node.end_lineno or 0) + 1, 0)
                continue
            if node.returns is not None:
                yield _start(node.returns), _end(node.returns)  # the arrow goes with it
        elif isinstance(node, ast.arg) and node.annotation is not None:
            yield (node.lineno, node.col_offset + len(node.arg.encode())), _end(node)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield (node.lineno, 0), ((node.end_lineno or 0) + 1, 0)
        elif isinstance(node, ast.ClassDef):
            yield from ((_start(base), _end(base)) for base in node.bases if ast.unparse(base) in without)
    if is_method and isinstance(statement, ast.FunctionDef):
        own = statement.args.args[0]
        yield _start(own), (own.end_lineno or 0, (own.end_col_offset or 0) + len(", "))


def _start(node: Any) -> _Place:
    return node.lineno, node.col_offset


def _end(node: Any) -> _Place:
    return node.end_lineno, node.end_col_offset


def _cut(module: _Module, statement: ast.stmt, cuts: Sequence[_Cut], dedent: int) -> str:
    """Return a statement's text, and the text in quotes below it where it is a constant, without what is cut."""
    first = min([statement.lineno, *(one.lineno for one in getattr(statement, "decorator_list", []))])
    lines = module.lines[: statement.end_lineno]
    for (low, left), (high, right) in sorted(cuts, reverse=True):
        if left == right == 0:  # whole lines, and the empty one after them
            is_empty = high <= len(lines) and not lines[high - 1].strip()
            del lines[low - 1 : high - 1 + is_empty]
        else:
            lines[low - 1 : high] = [lines[low - 1][:left] + lines[high - 1][right:]]
    text = b"".join(lines[first - 1 :]).decode()
    for pattern, instead in _TIDIED:
        text = pattern.sub(instead, text)
    text = "\n".join(line[dedent:].rstrip() for line in text.splitlines())
    text = re.sub(r"\n{2,}(?=\S)", "\n\n\n", re.sub(r"\n{3,}", "\n\n", text)).rstrip()
    following = module.statements.index(statement) + 1 if statement in module.statements else 0
    said = module.statements[following] if 0 < following < len(module.statements) else None
    if isinstance(statement, ast.FunctionDef | ast.ClassDef) or not (
        isinstance(said, ast.Expr) and isinstance(said.value, ast.Constant)
    ):
        return text
    return text + "\n" + b"".join(module.lines[said.lineno - 1 : said.end_lineno]).decode().rstrip()
