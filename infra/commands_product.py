"""`slipway new product` and `slipway schema`: what a team with a model begins with, and what its editor knows."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from infra import show

COST_CENTER = "0000"
"""Whoever pays is to be said in the YAMLs."""
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


new = typer.Typer(help="Begin something: files that are yours from then on.", no_args_is_help=True)


@new.callback()
def _group() -> None:
    """Keep `product` a command of its own, though there is no other yet."""


@new.command("product")
def new_product(
    name: Annotated[str, typer.Argument(help="What it is called, such as churn: its stacks are churn-dev and so on.")],
    file: Annotated[
        Path | None,
        typer.Option("--csv", exists=True, dir_okay=False, help="Rows with their answers, and a header."),
    ] = None,
    label: Annotated[str | None, typer.Option(help="The column with the answer; it has two values.")] = None,
    record_id: Annotated[str | None, typer.Option("--id", help="The column that tells rows apart.")] = None,
    time: Annotated[str | None, typer.Option(help="The column that says since when a row is so.")] = None,
    positive: Annotated[str | None, typer.Option(help="Which of the label's values is 1.")] = None,
    purpose: Annotated[str, typer.Option(help="What the model tells: 'whether a subscriber leaves'.")] = "",
    owner: Annotated[str | None, typer.Option(help="The team that is asked about it; by default NAME-team.")] = None,
    cost_center: Annotated[str | None, typer.Option(help="Who pays.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing: take the defaults.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a product that works: stack, YAML for every environment, features, training, serving, data and a test.

    With --csv it is made for your data, where --label names the column to learn; without, it is a small example.
    """
    from infra.cli import explained

    with explained(as_json):
        from infra.new_product import Wanted, make, write
        from infra.settings import ROOT

        asking = not yes and not as_json and sys.stdin.isatty()
        if asking:
            owner = owner or typer.prompt("Which team owns it?", default=f"{name}-team")
            cost_center = cost_center or typer.prompt("Which cost center pays?", default=COST_CENTER)
            purpose = purpose or typer.prompt("What does the model tell?", default="", show_default=False)
            if file and not label:
                label = typer.prompt("Which column has the answer?")
        wanted = Wanted(
            name,
            owner=owner or f"{name}-team",
            cost_center=cost_center or COST_CENTER,
            purpose=purpose,
            file=file,
            label=label,
            record_id=record_id,
            time=time,
            positive=positive,
        )
        made = make(wanted)
        write(made.files)
        written = [path.relative_to(ROOT).as_posix() for path in made.files]
        if as_json:
            print(json.dumps({"written": written, "notes": list(made.notes)}, indent=2))
            return
        show.say("\n".join([*written, *made.notes]))
        show.say(f"next: slipway check {name}-local {name}-prod, then slipway up local")
