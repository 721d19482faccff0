"""`slipway bootstrap`: make an account ready for `pulumi up`, once; and tell to the letter what that will do."""

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from infra import show

if TYPE_CHECKING:  # AWS's SDK, for which `slipway --help` need not wait
    from infra.bootstrap import Bootstrap, Client, Step

ADMINISTRATOR = "rehearsal-administrator"
"""Whose credentials a rehearsed bootstrap has."""
MARKS = {"make": "[green]+[/]", "mend": "[yellow]~[/]", "none": "[dim]=[/]"}


def bootstrap(
    name: Annotated[str, typer.Argument(metavar="ENV", help="An environment of stacks/environments.yaml.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do it without asking.")] = False,
    rehearse: Annotated[
        bool, typer.Option("--rehearse", help="On the emulator of this machine, in its copy of the account.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result as JSON on standard output, and nothing else.")
    ] = False,
) -> None:
    """Make an account ready, once: the state's bucket, the secrets' key, CI's roles and the boundary round them.

    Prints exactly what it will do, every policy in full, and asks. What is there already is mended where it differs;
    nothing is deleted. Exit code 1 where something is left to be done.
    """
    from infra.cli import FAILED, explained

    with explained(as_json):
        from infra.bootstrap import bootstrap as prepare
        from infra.bootstrap import hints, next_steps
        from infra.settings import stack_names

        made = prepare(name, _clients(name, rehearse))
        stacks = [each for each in stack_names() if each.rpartition("-")[2] == name]
        steps = made.steps()
        due = [each for each in steps if each.op != "none"]
        if not as_json:
            _print_plan(made, steps, hints(made))
        doing = bool(due) and (yes or (not as_json and sys.stdin.isatty() and typer.confirm("\nDo it?")))
        if doing:
            made.ensure(show.say)
        if as_json:
            told = {
                "environment": name,
                "account": made.place.account,
                "region": made.place.region,
                "rehearsed": rehearse or name == "local",
                "done": doing,
                "steps": [each.to_dict() for each in steps],
                "hints": hints(made),
                "next": next_steps(made, stacks),
            }
            print(json.dumps(told, indent=2))
        elif due and not doing:
            show.out.print(f"\nNothing was done. To do it: slipway bootstrap {name} --yes", markup=False)
        else:
            show.out.print("\n[bold]Next[/]")
            for line in next_steps(made, stacks):
                show.out.print(f"  {line}", markup=False)
        if due and not doing:
            raise typer.Exit(FAILED)


def _clients(name: str, rehearse: bool) -> "Client":
    """Clients in the environment's region: with the user's credentials, or the emulator's for this account."""
    from infra.environments import environment

    found = environment(name)
    if not rehearse and name != "local":
        import boto3

        session = boto3.Session(region_name=found.region)
        return lambda service: session.client(service)  # type: ignore[call-overload]  # chosen at run time
    from infra.rehearsal.emulator import process
    from infra.rehearsal.product import Clients
    from infra.rehearsal.session import WORK

    emulator = process.running(WORK)
    if emulator is None:
        emulator = process.start(WORK)
        show.say(f"AWS emulator at {emulator.endpoint}; `slipway down` stops it")
    return Clients(emulator.endpoint, found.region).assume(f"arn:aws:iam::{found.account}:role/{ADMINISTRATOR}", name)


def _print_plan(made: "Bootstrap", steps: Sequence["Step"], hints: Sequence[str]) -> None:
    """What is right, what will be made and mended, and every policy that is written, in full."""
    out = show.out
    out.print(f"[bold]{made.place.environment}[/]: account {made.place.account}, {made.place.region}")
    for step in steps:
        out.print(f"  {MARKS[step.op]} {step.what}", end="")
        out.print("" if step.op != "none" else "  is as it has to be", style="dim")
        for aspect, change in step.changes.items():
            out.print(f"      {aspect}: {change}", markup=False)
        for line in step.left:
            out.print(f"      beside that, {line}", markup=False)
    for step in steps:
        for aspect, policy in step.documents.items():
            out.print(f"\n[bold]{step.what}[/]: {aspect}")
            out.print(json.dumps(policy, indent=2), markup=False)
    for hint in hints:
        out.print(f"\nnote: {hint}", markup=False)
