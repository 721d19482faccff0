"""The `slipway` command: every command, argument and option, as `--help` tells it."""

from collections.abc import Iterator
from typing import Any

import typer

from infra.cli import app
from infra.reference.markdown import code, either, page, paragraphs, prose, table

CODES = (
    ("0", "done, and nothing is wrong"),
    ("1", "refused, failed, or something was found"),
    ("2", "a wrong setting or argument"),
    ("130", "interrupted; run the same command again, it carries on"),
)


WORDS = {
    "str": "text",
    "int": "a number",
    "file": "a file",
    "path": "a path",
    "list[str]": "text, more than once",
    "list[Path]": "a path, more than once",
}
"""What typer calls the types of parameters, in a reader's words."""


def pages() -> Iterator[tuple[str, str]]:
    """One page of all commands."""
    tree: Any = typer.main.get_command(app)
    parts = [part for name, each in tree.commands.items() for part in _command(f"slipway {name}", each, 2)]
    yield (
        "reference/commands.md",
        page(
            "Commands",
            prose(tree.help),
            "The command is in `.venv/bin`. With `--json` standard output has the result and nothing else.",
            table(("exit code", "means"), CODES),
            *parts,
        ),
    )


def _command(path: str, command: Any, level: int) -> Iterator[str]:
    yield f"{'#' * level} {path}"
    yield paragraphs(command.help or "")
    if commands := getattr(command, "commands", None):
        for name, each in commands.items():
            yield from _command(f"{path} {name}", each, level + 1)
        return
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    options = [each for each in command.params if each.param_type_name == "option" and each.name != "help"]
    context = command.make_context(path, [], resilient_parsing=True)
    usage = " ".join([path, *(_usage(each) for each in arguments), *(["[OPTIONS]"] if options else [])])
    yield code(usage)
    rows = [(code(_usage(each)), _takes(each, context), prose(each.help or "")) for each in arguments]
    rows += [
        (", ".join(code(name) for name in each.opts), _takes(each, context), prose(each.help or "")) for each in options
    ]
    yield table(("", "takes", "what it is"), rows)


def _usage(argument: Any) -> str:
    name = argument.name.upper().rstrip("_")
    name = f"{name}…" if argument.nargs == -1 else name
    return name if argument.required else f"[{name}]"


def _takes(parameter: Any, context: Any) -> str:
    kind = parameter.display_type(context).strip("<>")
    if kind == "bool":
        return "nothing"
    takes = WORDS.get(kind) or either([code(each) for each in kind.split("|")])
    default = parameter.default
    plain = default is not None and not callable(default) and default not in ("", (), [])
    return takes + (f"; by default {code(str(default))}" if plain else "")
