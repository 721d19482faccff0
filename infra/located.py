"""Where in the repository a resource is declared: the line of a component that makes it, and its stack's YAML."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from infra.settings import ROOT, STACK_FOLDER, stack_file


@dataclass(frozen=True)
class Place:
    """A line of a file of the repository."""

    path: str
    """From the repository's root, with slashes."""
    line: int


def settings_of(stack: str, key: str = "slipway:settings") -> Place | None:
    """Where a stack's YAML says `key`; None where there is no such file."""
    path = stack_file(stack)
    if not path.exists():
        return None
    lines = path.read_text("utf-8").splitlines()
    return _place(path, next((number for number, line in enumerate(lines, 1) if line.strip().startswith(f"{key}:")), 1))


def declared(urn: str) -> Place | None:
    """Where the program makes a resource, by the types in its URN and the words in its name; None where nobody knows.

    The innermost component of this repository that holds it is where it is looked for.
    """
    parts = urn.split("::", 3)
    if len(parts) != 4:
        return None
    *outer, type_ = parts[2].split("$")
    for component in [type_, *reversed(outer)]:
        if found := _components().get(component):
            path, module, node = found
            # A component may leave it to a function beside it.
            call = 0 if component == type_ else _call(node, type_, parts[3]) or _call(module, type_, parts[3])
            return _place(path, call or node.lineno)
    return None


@cache
def _components() -> dict[str, tuple[Path, ast.Module, ast.ClassDef]]:
    """Each component's file, its module and its class, by its token."""
    return {
        token: (path, module, node)
        for path in sorted((ROOT / "components").glob("*.py"))
        for module in [ast.parse(path.read_text("utf-8"))]
        for node in ast.walk(module)
        if isinstance(node, ast.ClassDef) and (token := _token(node))
    }


def _token(component: ast.ClassDef) -> str:
    """What a component passes to `super().__init__` as its type; '' where it is none."""
    for node in ast.walk(component):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "super().__init__" and node.args:
            first = node.args[0]
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                return first.value
    return ""


def _call(where: ast.AST, type_: str, name: str) -> int:
    """The line that makes a resource of this type, 0 without one; of several, the one most like it in name."""
    kind = re.split(r"[:/]", type_)[-1]
    calls = [
        node
        for node in ast.walk(where)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == kind
    ]
    return max(calls, key=lambda call: _likeness(call, name)).lineno if calls else 0


def _likeness(call: ast.Call, name: str) -> int:
    words = list(_words(call.args[0])) if call.args else []
    return sum(map(len, words)) if all(word in name for word in words) else -1


def _words(name: ast.expr) -> Iterator[str]:
    """The fixed parts of a name such as `f"{name}-alerts"`."""
    for node in ast.walk(name):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def _place(path: Path, line: int) -> Place:
    folder = STACK_FOLDER.parent if path.is_relative_to(STACK_FOLDER) else ROOT
    return Place(path.relative_to(folder).as_posix(), line)
