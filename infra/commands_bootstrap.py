"""`slipway bootstrap` makes an account ready for `pulumi up`, once; `slipway doctor` says what is missing."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from infra import show

if TYPE_CHECKING:  # AWS's SDK, for which `slipway --help` need not wait
    from infra.bootstrap import Bootstrap, Client, Step
    from infra.doctor import Machine
    from infra.preflight import Check

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


def doctor(
    name: Annotated[
        str | None, typer.Argument(metavar="[ENV]", help="An environment, to look at its account, state and quotas.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result as JSON on standard output, and nothing else.")
    ] = False,
) -> None:
    """Look at tools, versions, this machine and, of an environment, its account and quotas; say how to mend each.

    Needs no credentials: without them, the account is left out, and that is said. Exit code 1 where something has to
    be mended.
    """
    from infra.cli import FAILED, explained

    with explained(as_json):
        from infra import doctor as looking
        from infra.rehearsal.session import WORK

        machine = looking.Machine(work=WORK)
        found = {"this machine": looking.here(machine)}
        if name:
            found[name] = _of_environment(name, machine)
        if as_json:
            told = {place: [each.to_dict() for each in checks] for place, checks in found.items()}
            print(json.dumps(told, indent=2))
        else:
            _print_checks(found)
            if name is None:
                show.out.print("An environment's account, state and quotas: slipway doctor ENV", style="dim")
        if any(each.status == "failed" for checks in found.values() for each in checks):
            raise typer.Exit(FAILED)


def _of_environment(name: str, machine: "Machine") -> list["Check"]:
    """What an environment's account has, and whether its quotas hold what its stacks plan to make."""
    from infra import doctor as looking
    from infra.environments import environment
    from infra.preflight import Check, preflight
    from infra.settings import stack_names, stacks_of

    if name == "local":
        return [Check("account", "ok", "the emulator's: nothing else is needed")]
    client = _clients(name, rehearse=False)
    checks = looking.of_environment(name, environment(name), client, machine)
    stacks = [each for each in stack_names() if each.rpartition("-")[2] == name]
    if checks[0].status == "ok" and stacks:
        from infra.cli import _rehearsal

        show.say(f"planning {len(stacks)} stacks, to hold them against the account's quotas")
        for settings, plan in _rehearsal().plan_offline(stacks_of([name])):
            checks += [
                replace(each, name=f"{settings.stack}: {each.name}")
                for each in preflight(settings, plan.resources, client)
                if each.name != "account"
            ]
    return checks


def _print_checks(found: Mapping[str, Sequence["Check"]]) -> None:
    marks = {"ok": "[green]ok[/]  ", "failed": "[red]mend[/]", "unknown": "[yellow]note[/]"}
    for place, checks in found.items():
        show.out.print(f"[bold]{place}[/]")
        for each in checks:
            show.out.print(f"  {marks[each.status]}  ", end="")
            show.out.print(f"{each.name}: {each.detail}", markup=False)
            if each.status != "ok" and each.remedy:
                show.out.print(f"        → {each.remedy}", markup=False)
    count = sum(each.status == "failed" for checks in found.values() for each in checks)
    show.out.print(f"{count} to mend" if count else "Nothing has to be mended.")


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
