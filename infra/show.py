"""How the `slipway` command shows what happens: progress while it works, a summary when it is done."""

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

if TYPE_CHECKING:  # the engine imports Pulumi, for which `slipway --help` need not wait
    from infra.changes import Changes
    from infra.check import Report
    from infra.rehearsal.engine import Event, Plan
    from infra.rehearsal.session import Outcome

SECONDS_BETWEEN_LINES: Final = 2.0
"""Where nobody watches a bar (a log, CI), a line this often says how far it is."""

Rows = list[tuple[str, str]]
"""Names, and what they are."""

progress_to = Console(stderr=True, highlight=False, soft_wrap=True)
"""Progress goes to standard error, so that `--json` and pipes get the result alone."""
out = Console(highlight=False, soft_wrap=True)


class Watcher(Protocol):
    """Takes each event of a deployment as it happens."""

    def __call__(self, event: "Event") -> None: ...


def say(text: str) -> None:
    """One line about what is happening now."""
    progress_to.print(text, markup=False)


def error(text: str) -> None:
    """What went wrong, and what to do."""
    progress_to.print("error:", style="bold red", end=" ")
    progress_to.print(text, markup=False)


@contextmanager
def watching(stack: str, changes: int) -> Iterator[Watcher]:
    """Show a deployment of `changes` resources while it runs: a bar in a terminal, now and then a line elsewhere."""
    running: dict[str, str] = {}
    done, last = 0, time.monotonic()
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=progress_to, transient=True, disable=not progress_to.is_terminal) as bar:
        task = bar.add_task(stack, total=changes or None)

        def watch(event: "Event") -> None:
            nonlocal done, last
            if event.step.op in ("same", "read"):
                return
            if event.kind == "start":
                running[event.step.urn] = event.step.name
            elif event.kind in ("done", "failed"):
                running.pop(event.step.urn, None)
                done += event.kind == "done"
            doing = ", ".join(list(running.values())[:2])
            bar.update(task, completed=done, description=f"{stack}  {doing[:40]:40}")
            if not progress_to.is_terminal and time.monotonic() - last > SECONDS_BETWEEN_LINES:
                last = time.monotonic()
                say(f"  {stack}: {done} of {changes}" + (f", now {doing}" if doing else ""))

        yield watch


def report(report: "Report", seen: Sequence["Changes"] = ()) -> None:
    """What a check found, and what changes about what is deployed."""
    from infra.reports import text

    out.print(text(report, seen), markup=False)


def plan_dict(plan: "Plan") -> dict[str, Any]:
    """A plan for `--json`."""
    steps = [
        {
            "op": step.op,
            "urn": step.urn,
            "type": step.type,
            "name": step.name,
            "changed": list(step.diff.changed),
            "replaces": list(step.diff.replaces),
        }
        for step in plan.steps
    ]
    return {"steps": steps}


def outcome(outcome: "Outcome") -> None:
    """What exists, where it is, what it would cost, and what to try next."""
    if not outcome.changed:
        out.print("[green]Nothing changed[/]: everything is as the stacks declare it.")
    _table("What there is", _what_there_is(outcome))
    decisions = [each for deployment in outcome.deployments for each in deployment.decided]
    if decisions:
        out.print(f"[bold]Deferred by the plan, decided by the deployment[/]: {len(decisions)}")
    for each in decisions:
        out.print(
            f"  {each.outcome}: {each.stack}: {each.resource}: {each.path} [{each.pack}/{each.rule}]", markup=False
        )
    _costs(outcome)
    out.print("\n[bold]Try next[/]")
    for command, what in _next(outcome):
        out.print(f"  {command}", style="cyan", end="", markup=False)
        out.print(f"   # {what}", style="dim", markup=False)


def _what_there_is(outcome: "Outcome") -> Rows:
    rows = [("AWS emulator", outcome.emulator.endpoint)]
    for each in outcome.deployments:
        count = sum(step.op != "delete" for step in each.results[-1].steps)
        rows.append((each.settings.stack, f"{count} resources"))
        outputs = each.outputs
        if "data_bucket" in outputs:
            rows.append(("  data lake", f"s3://{outputs['data_bucket']}"))
            rows.append(
                ("  cluster", f"{outputs['cluster_name']} (its objects are stored and checked; pods do not run)")
            )
        found = outcome.products.get(each.settings.stack)
        if found:
            measured = found["metadata"]
            rows.append(("  endpoint", str(outputs.get("endpoint_name", "none: files are predicted"))))
            measures = (
                f"version {found['version']}: accuracy {float(measured['accuracy']):.3f}, "
                f"AUC {float(measured['auc']):.3f} on {int(float(measured['rows_held_out'])):,} held-out rows"
            )
            rows.append(("  model", measures))
            rows.append(("  features", str(outputs["feature_group_name"])))
            if "api_url" in outputs:
                from infra.prediction import Addresses, in_rehearsal

                addresses = Addresses(url=outputs["api_url"], token_url=outputs["api_token_url"])
                rows.append(("  api", in_rehearsal(addresses, outcome.emulator.endpoint).url))
            if monitor := found["monitor"]:
                rows.append(("  data", str(monitor["summary"])))
                rows.append(("  report", str(monitor["uri"])))
    return rows


def _costs(outcome: "Outcome") -> None:
    grid = Table(title="What it would cost on AWS a month", title_justify="left", title_style="bold", box=None)
    for name in ("stack", "at least", "at most", "budget", "the dearest"):
        grid.add_column(name, justify="right" if name in ("at least", "at most", "budget") else "left")
    for each in outcome.deployments:
        lines = each.costs
        floor, ceiling = sum(line.floor_usd for line in lines), sum(line.ceiling_usd for line in lines)
        dearest = ", ".join(f"{line.what} {_usd(line.ceiling_usd)}" for line in lines[:2])
        grid.add_row(each.settings.stack, _usd(floor), _usd(ceiling), _usd(each.settings.usd_per_month), dearest)
    out.print(grid)


def _next(outcome: "Outcome") -> Iterator[tuple[str, str]]:
    slipway = ".venv/bin/slipway"
    yield f"{slipway} status", "what runs, and how it is"
    served = (each for each in outcome.deployments if "endpoint_name" in each.outputs)
    if first := next(served, None):
        stack = first.settings.stack
        yield f"{slipway} history {stack}", "what is live since when, approved by whom, on what evidence"
        if "api_url" in first.outputs:
            yield f"{slipway} api client {stack}", "a typed client for applications that ask for predictions"
        yield f"{slipway} runbook {stack}", "what to do when an alarm goes off"
        yield f"{slipway} incident list {stack}", "what went wrong, and what a person has still to do"
    any_client = f"aws --endpoint-url {outcome.emulator.endpoint} --region us-east-1 sagemaker list-endpoints"
    yield any_client, "any AWS client finds it all; any credentials will do"
    yield f"{slipway} check platform-prod employment-prod", "the policies on the plan of production, offline"


def status(found: Mapping[str, Any]) -> None:
    """What there is, and how it is."""
    if not found["stacks"]:
        out.print("Nothing is deployed. `make up` deploys the rehearsal.")
        return
    rows = [("AWS emulator", found["emulator"] or "not running: `make up` starts it and makes what was lost")]
    for stack, each in found["stacks"].items():
        rows.append((stack, f"{each['resources']} resources"))
        condition = found["product"].get(stack, {})
        for name, value in condition.items():
            if name == "alarms":
                ringing = [alarm for alarm, state in value.items() if state == "ALARM"]
                rows.append(("  alarms", f"ALARM: {', '.join(ringing)}" if ringing else f"{len(value)}, none in ALARM"))
            elif name == "data":
                rows.append(("  data", f"{value['summary']} {value['uri']}" if value else "no report"))
            else:
                rows.append((f"  {name}", str(value)))
    _table("Rehearsal", rows)


def _table(title: str, rows: Rows) -> None:
    """Names on the left, what they are on the right: whole, for people copy them."""
    width = max(len(name) for name, _ in rows) + 2
    out.print(f"[bold]{title}[/]")
    for name, value in rows:
        out.print(f"  {name:{width}}{value}", markup=False)


def _usd(amount: float) -> str:
    """Dollars, without cents that nobody can act on."""
    return f"${amount:,.0f}"


def preflight(found: Mapping[str, Sequence[Mapping[str, str]]]) -> None:
    """What was looked at before a deployment, and what would stop it."""
    marks = {"ok": "[green]ok[/]     ", "failed": "[red]failed[/] ", "unknown": "[yellow]unknown[/]"}
    for stack, checks in found.items():
        out.print(f"[bold]{stack}[/]")
        for each in checks:
            out.print(f"  {marks[each['status']]} ", end="")
            out.print(f"{each['name']}: {each['detail']}", markup=False)
            if each["status"] != "ok" and each["remedy"]:
                out.print(f"          → {each['remedy']}", markup=False)


def remains(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """What is left of each stack, and what that costs."""
    for stack, left in found.items():
        if not left:
            out.print(f"[bold]{stack}[/]: nothing remains")
            continue
        usd = sum(each["usd_per_month"] or 0 for each in left)
        out.print(f"[bold]{stack}[/]: {len(left)} things remain, {_usd(usd)} a month as far as is known")
        for each in left:
            cost = "" if each["usd_per_month"] is None else f"  ${each['usd_per_month']:,.2f}"
            out.print(f"  {each['kind']}  {each['name']}{cost}  ({each['why']})", markup=False)
            out.print(f"    to remove it: {each['remove']}", style="dim", markup=False)


def runbook_sections(resources: Iterable[Any], stack: str) -> dict[str, str]:
    """The sections of a stack's runbook by alarm, from the dashboard that its plan makes."""
    from components.runbook import runbook_name

    for each in resources:
        if each.type == "aws:cloudwatch/dashboard:Dashboard" and each.inputs["dashboardName"] == runbook_name(stack):
            texts = [widget["properties"]["markdown"] for widget in json.loads(each.inputs["dashboardBody"])["widgets"]]
            return {text.partition("\n")[0].removeprefix("## "): text for text in texts}
    return {}
