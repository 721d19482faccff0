"""`slipway report`: a stack on one page that a reviewer can read, keep and print."""

import json
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from infra import show


def report(
    stack: Annotated[str, typer.Argument(help="A stack, deployed or not: employment-prod.")],
    html: Annotated[Path | None, typer.Option(help="The file to write; by default report-STACK.html here.")] = None,
    open_: Annotated[bool, typer.Option("--open", help="Show it in the browser, too.")] = False,
    planned: Annotated[
        bool, typer.Option("--planned", help="As it is planned: ask neither AWS nor the rehearsal what runs.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print what the page tells as JSON; the page only with --html.")
    ] = False,
) -> None:
    """Write one page of HTML about a stack: its picture, what is live, drift, incidents, alarms, cost, policies.

    The file needs nothing but itself. Exit code 1 where a policy is broken or a budget is exceeded.
    """
    from infra.cli import FAILED, explained

    with explained(as_json):
        from infra.rehearsal.session import Rehearsal
        from infra.rehearsal.state import write_atomically
        from infra.report_page.facts import gather
        from infra.report_page.page import page, verdict
        from infra.settings import SettingsError

        facts = gather(stack, Rehearsal(say=show.say, watching=show.watching), planned=planned)
        file = html or (None if as_json and not open_ else Path(f"report-{stack}.html"))
        if file:
            try:
                write_atomically(file, page(facts))
            except OSError as error:
                raise SettingsError(f"{file} cannot be written: {error.strerror}; name another with --html") from error
        if as_json:
            print(json.dumps(facts.to_dict(), indent=2, default=str))
        elif file:
            _, sentence = verdict(facts)
            show.out.print(f"{file}: {stack}. {sentence}", markup=False)
            if facts.why:
                show.say(f"as planned, for nobody could be asked what runs: {facts.why}")
        if open_ and file:
            webbrowser.open(file.resolve().as_uri())
        if not facts.report.ok or facts.own_cost.refused or facts.cost.refused:
            raise typer.Exit(FAILED)
