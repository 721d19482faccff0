"""What the code says of itself: the strings below the fields of a class, which Python does not keep."""

import ast
import inspect
import itertools
import textwrap
from collections.abc import Iterator, Mapping
from functools import cache
from types import ModuleType

LIBRARIES = ("builtins", "abc", "pulumi", "pydantic", "typing")
"""Whose classes say nothing of what a team may set."""


def fields(cls: type) -> Mapping[str, str]:
    """The text below each annotated field of a class and of those it derives from, in one line each."""
    found: dict[str, str] = {}
    for each in reversed(cls.__mro__):
        if not each.__module__.startswith(LIBRARIES):
            found |= _of_class(each)
    return found


@cache
def _of_class(cls: type) -> Mapping[str, str]:
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    except (OSError, TypeError):  # built in, or made at run time
        return {}
    [node] = tree.body
    assert isinstance(node, ast.ClassDef)
    return dict(_below(node.body))


@cache
def variables(module: ModuleType) -> Mapping[str, str]:
    """The text below each variable of a module, in one line each."""
    return dict(_below(ast.parse(inspect.getsource(module)).body))


def _below(statements: list[ast.stmt]) -> Iterator[tuple[str, str]]:
    for statement, following in itertools.pairwise(statements):
        targets = [statement.target] if isinstance(statement, ast.AnnAssign) else getattr(statement, "targets", [])
        if not (isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)):
            continue
        if isinstance(following.value.value, str):
            for target in targets:
                if isinstance(target, ast.Name):
                    yield target.id, " ".join(following.value.value.split())


def summary(thing: object) -> str:
    """The first paragraph of a docstring, in one line; '' where it has none."""
    return " ".join((inspect.getdoc(thing) or "").partition("\n\n")[0].split())


def annotations(cls: type) -> Mapping[str, str]:
    """The types of a class's own public fields, as written."""
    [node] = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    assert isinstance(node, ast.ClassDef)
    found: dict[str, str] = {}
    for each in node.body:
        if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name) and each.target.id[0] != "_":
            found[each.target.id] = ast.unparse(each.annotation)
    return found


def wiring(cls: type) -> Mapping[str, tuple[str, str | None]]:
    """The keyword-only arguments that a class is made with: type and default as written, None where it has none."""
    [node] = ast.parse(textwrap.dedent(inspect.getsource(cls.__init__))).body  # type: ignore[misc]  # of this very class
    assert isinstance(node, ast.FunctionDef)
    return {
        argument.arg: (
            ast.unparse(argument.annotation) if argument.annotation else "",
            ast.unparse(default) if default else None,
        )
        for argument, default in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
    }
