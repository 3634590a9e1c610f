"""Which source made something: digests of files, by what they import of this package.

A digest knows what code does, not how it is written: comments, docstrings and layout do not count.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parent
# As they were when this process began: what is edited while it runs is not what it does.
_SOURCES = {path: path.read_bytes() for path in _ROOT.rglob("*.py")}


def note(path: Path, source: bytes) -> None:
    """Take note of the source of a file outside the package that is about to be run."""
    _SOURCES[path] = source
    _digests.cache_clear()


def digests(*modules: str) -> dict[str, str]:
    """Return the digest of each file that makes some modules: their own and what those import.

    Parameters
    ----------
    *modules : str
        Names such as ``mibench.attacks.rmia``, or that of a plugin's module.

    Returns
    -------
    dict of str to str
        By file: below the package as ``mibench/attacks/rmia.py``, a plugin by its file's name.
    """
    found = {name: digest for module in modules for name, digest in _digests(module).items()}
    return dict(sorted(found.items()))


@cache
def _digests(module: str) -> dict[str, str]:
    found: dict[str, str] = {}
    left = [_file(module)]
    while left:
        path = left.pop()
        if path is None or (name := _shown(path)) in found:
            continue
        found[name], imported = _read(_SOURCES[path])
        left += map(_file, imported)
    return found


def digest(*modules: str) -> str:
    """Return one short digest of :func:`digests`."""
    return combined(digests(*modules))


def combined(files: dict[str, str]) -> str:
    """Return one short digest of files' digests."""
    return hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()[:16]


def of(called: Callable[..., Any], *others: Any) -> str:
    """Return the source of a user's function with what it refers to: plain values, own functions.

    Of what has no source to be read its `repr`, which for most holds a place in memory and so
    never comes again.
    """
    try:
        source, named = inspect.getsource(called), inspect.getclosurevars(called)
    except (TypeError, OSError):  # another callable, or a function typed at a prompt
        return repr(called)
    said, seen = [source], (called, *others)
    for name, value in sorted({**named.globals, **named.nonlocals}.items()):
        if isinstance(value, (int, float, str, tuple, type(None))):
            said.append(f"{name} = {value!r}")
        elif inspect.isfunction(value) and value.__module__ == called.__module__:
            said.append("" if value in seen else of(value, *seen))
    return "\n".join(said)


def changed(before: dict[str, str], now: dict[str, str]) -> list[str]:
    """Return the files that differ, that came or that went."""
    return sorted(f for f in {*before, *now} if before.get(f) != now.get(f))


_PARSING = threading.Lock()


@cache
def _read(source: bytes) -> tuple[str, frozenset[str]]:
    """Return the digest of a file's source and the modules of this package that it imports."""
    # Python 3.11 loses count of its recursion where several threads parse at once.
    with _PARSING:
        tree = ast.parse(source)
    imported = frozenset(imports(tree))
    for node in _statements(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                node.body[0] = ast.Pass()
    return hashlib.sha256(ast.unparse(tree).encode()).hexdigest()[:16], imported


def imports(tree: ast.Module) -> Iterable[str]:
    """Yield the modules that a file's syntax tree imports, wherever it does."""
    # Under TYPE_CHECKING nothing is run.
    run = [n for n in tree.body if not isinstance(n, ast.If) or not _for_types(n.test)]
    for node in (inner for outer in run for inner in _statements(outer)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            modules = [name for name in inner if _file(name) is not None]
            yield from modules
            # A package is read only for what is its own, not for the modules it holds.
            if len(modules) < len(inner):
                yield node.module


def _statements(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield a tree's statements, without their expressions, which are twenty times as many."""
    left = [tree]
    while left:
        yield (node := left.pop())
        for name in ("body", "orelse", "handlers", "finalbody", "cases"):
            left += getattr(node, name, [])


def _for_types(test: ast.expr) -> bool:
    return isinstance(test, ast.Name) and test.id == "TYPE_CHECKING"


def _file(module: str) -> Path | None:
    if module in sys.modules and module.startswith("mibench_plugin_"):
        return Path(str(sys.modules[module].__file__))
    first, *rest = module.split(".")
    if first != "mibench":
        return None
    path = _ROOT.joinpath(*rest)
    files = (path.with_suffix(".py") if rest else path, path / "__init__.py")
    return next((file for file in files if file in _SOURCES), None)


def _shown(path: Path) -> str:
    inside = path.is_relative_to(_ROOT)
    return str(path.relative_to(_ROOT.parent).as_posix()) if inside else path.name
