"""`slipway new product` and `slipway schema`: what a team with a model begins with, and what its editor knows."""

import json
from typing import Annotated

import typer

from infra import show

AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output, and nothing else.")]


def schema(
    check: Annotated[bool, typer.Option("--check", help="Write nothing; exit code 1 where one is stale.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write the JSON Schemas of stack YAMLs (stacks/schemas/), by which editors complete keys and mark mistakes."""
    from infra.cli import FAILED, explained

    with explained(as_json):
        from infra import schemas
        from infra.settings import ROOT

        found = [path.relative_to(ROOT).as_posix() for path in (schemas.stale() if check else schemas.write())]
        if as_json:
            print(json.dumps({"stale" if check else "written": found}))
        elif check:
            show.say("\n".join(f"{each} is not current: run `slipway schema`" for each in found) or "all are current")
        else:
            show.say("\n".join(found) or "all were current")
        if check and found:
            raise typer.Exit(FAILED)
