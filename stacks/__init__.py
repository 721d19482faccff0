"""The stacks that YAML can name under `slipway:stack`: each is looked up by name when it is asked for."""

import importlib
import inspect
import re
from pathlib import Path

from infra.stack import Stack

ROOT = Path(__file__).parent.parent
NOT_STACKS = ("__init__", "product")
"""Modules beside this one that hold no stack."""


class NoStack(LookupError):
    """No stack goes by a name: the text says where its module should be, or what is wrong with it."""


def known() -> list[str]:
    """The names of the stacks beside this file."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem not in NOT_STACKS)


def find(name: str) -> type[Stack]:
    """The class of a stack: `stacks/<name>.py` has it, or `examples/<name>/stack.py`.

    Dashes of the name are underscores of the module. Raises NoStack where there is none, or more than one.
    """
    module = name.replace("-", "_")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", module) or module in NOT_STACKS:
        raise NoStack(f"{name!r} is no stack")
    for path, dotted in (
        (f"stacks/{module}.py", f"stacks.{module}"),
        (f"examples/{module}/stack.py", f"examples.{module}.stack"),
    ):
        if (ROOT / path).is_file():
            return _only(path, dotted)
    raise NoStack(f"{name!r} is no stack: there is neither stacks/{module}.py nor examples/{module}/stack.py")


def _only(path: str, dotted: str) -> type[Stack]:
    """The one stack that a module defines."""
    members = vars(importlib.import_module(dotted)).values()
    found = [
        each for each in members if inspect.isclass(each) and issubclass(each, Stack) and each.__module__ == dotted
    ]
    if len(found) != 1:
        names = ", ".join(each.__name__ for each in found) or "none"
        raise NoStack(
            f"{path} must define one class of infra.stack.Stack (a product: of stacks.product.Product): {names}"
        )
    return found[0]
