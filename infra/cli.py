"""The `slipway` command: plan, check, deploy and remove stacks."""

import json
import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import typer

from infra import commands_bootstrap, commands_product, commands_report, show

app = typer.Typer(
    help="Slipway: an MLOps platform on AWS. NAME is a stack (employment-prod) or an environment (local, dev, staging, "
    "prod).",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

FAILED, MISUSED, INTERRUPTED = 1, 2, 130
"""Exit codes: a violation or a failed deployment; a wrong setting or argument; Ctrl-C."""

Format = Literal["text", "json", "sarif", "junit", "markdown"]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output, and nothing else.")]


@contextmanager
def explained(as_json: bool) -> Iterator[None]:
    """Turn every failure that a user can mend into its message and an exit code, without a traceback."""
    # These import Pulumi's providers, which takes seconds: `slipway --help` does without.
    from botocore.exceptions import BotoCoreError, ClientError

    from infra.environments import EnvironmentsError, environments

    try:  # which the settings are read with, too
        environments()
    except EnvironmentsError as error:
        _fail(error, as_json, MISUSED)
    from functions.incidents.store import NoIncident, NotReviewed
    from infra.bootstrap import BootstrapError
    from infra.cloud import CloudError
    from infra.features import NoSuchVersion
    from infra.history import UnknownEndpoint
    from infra.kill_switch import NotStopped
    from infra.layer import NoLayer
    from infra.monitors import NoReport
    from infra.new_product import NotMade
    from infra.reach import NotDeployed
    from infra.rehearsal.emulator.process import EmulatorError
    from infra.rehearsal.engine import DeploymentError, Interrupted, StateError
    from infra.rehearsal.product import ProductError
    from infra.rehearsal.provider import ProviderError
    from infra.rehearsal.samples import SampleError
    from infra.rehearsal.session import PolicyViolation
    from infra.releases import NoRelease
    from infra.retraining import NotRetrained
    from infra.settings import SettingsError
    from infra.shadow import NoShadow

    try:
        yield
    except PolicyViolation as refused:
        _print_report(refused.report, as_json)
        show.error(str(refused))
        raise typer.Exit(FAILED) from None
    except Interrupted as error:
        _fail(error, as_json, INTERRUPTED)
    except (
        SettingsError,
        CloudError,
        BootstrapError,
        EnvironmentsError,
        NoSuchVersion,
        NotDeployed,
        NotMade,
        NoIncident,
        NoShadow,
        UnknownEndpoint,
    ) as error:
        _fail(error, as_json, MISUSED)
    except (
        EmulatorError,
        DeploymentError,
        NoRelease,
        NoLayer,
        NoReport,
        NotRetrained,
        NotReviewed,
        NotStopped,
        ProviderError,
        ProductError,
        SampleError,
        StateError,
    ) as error:
        _fail(error, as_json, FAILED)
    except (BotoCoreError, ClientError) as error:  # no credentials, or no right to what was asked
        _fail(f"AWS: {error}", as_json, FAILED)
    except KeyboardInterrupt:
        _fail("interrupted. What was done is recorded; `up` carries on from there", as_json, INTERRUPTED)


def _fail(error: Exception | str, as_json: bool, code: int) -> NoReturn:
    if as_json:
        print(json.dumps({"error": str(error)}))
    show.error(str(error))
    raise typer.Exit(code) from None


@app.command()
def up(
    names: Annotated[list[str] | None, typer.Argument(help="Stacks or environments; by default local.")] = None,
    engine: Annotated[
        Literal["rehearsal", "pulumi"] | None,
        typer.Option(help="What deploys: the rehearsal (default for local) or the Pulumi CLI (default elsewhere)."),
    ] = None,
    port: Annotated[int | None, typer.Option(help="The emulator's port; by default a free one, remembered.")] = None,
    as_json: Json = False,
) -> None:
    """Deploy. `local` is rehearsed on this machine; every other environment goes through the Pulumi CLI."""
    with explained(as_json):
        from infra import cloud
        from infra.settings import SettingsError, load, stacks_of

        stacks = stacks_of(names or ["local"])
        local = all(load(stack).environment == "local" for stack in stacks)
        if engine == "rehearsal" and not local:
            raise SettingsError(
                f"{', '.join(stacks)}: not rehearsed, for not all are local: the Pulumi CLI deploys them"
            )
        if engine == "pulumi" or not local:
            raise typer.Exit(cloud.up(stacks, local=local, port=port))
        outcome = _rehearsal().up(stacks, port)
        if as_json:
            print(json.dumps(outcome.to_dict(), indent=2))
        else:
            show.outcome(outcome)


@app.command()
def plan(
    names: Annotated[list[str] | None, typer.Argument(help="Stacks or environments; by default local.")] = None,
    as_json: Json = False,
    since: Annotated[
        list[Path] | None,
        typer.Option(
            help="What is deployed: a file or a folder of what `pulumi stack export` or `slipway plan --export` wrote."
        ),
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown, for a pull request.")] = False,
    full: Annotated[bool, typer.Option("--full", help="Every resource, every value and every right.")] = False,
    export: Annotated[
        Path | None,
        typer.Option(
            help="Write to this folder what the stacks come to, for `--since` of another commit's plan or check."
        ),
    ] = None,
) -> None:
    """Tell what `up` would do: what is made, changed, replaced and lost, what stops, what it costs, who may do more.

    Needs no credentials. A local stack is compared with the rehearsal that runs, any other with --since; a stack that
    neither tells of is planned as if nothing existed yet. Exit code 1 where a deployment would fail.
    """
    with explained(as_json):
        from infra.settings import stack_names, stacks_of

        if export:
            written = _rehearsal().export_plans(stacks_of(names or stack_names()), export)
            show.say(f"{len(written)} plans written to {export}")
            return
        stacks = stacks_of(names or ["local"])
        if as_json and not since:
            plans = _rehearsal().plan(stacks)
            print(json.dumps({settings.stack: show.plan_dict(each) for settings, each in plans}, indent=2))
            return
        from infra.plan_text import markdown as as_markdown
        from infra.plan_text import text

        reviews = _rehearsal().review(stacks, since or ())
        if as_json:
            told = {
                each.settings.stack: {
                    **(show.plan_dict(each.plan) if each.plan else {}),
                    "changes": each.changes.to_dict(),
                }
                for each in reviews
            }
            print(json.dumps(told, indent=2))
        elif markdown:
            print("\n".join(as_markdown(reviews, full=full)))
        else:
            for line in text(reviews, full=full):
                show.out.print(line, markup=False)
        if any(each.changes.refused for each in reviews):
            raise typer.Exit(FAILED)


@app.command()
def diff(
    first: Annotated[str, typer.Argument(help="An environment, such as staging.")],
    second: Annotated[str, typer.Argument(help="Another one, such as prod.")],
    settings_only: Annotated[
        bool, typer.Option("--settings-only", help="Plan nothing, so that resources are not compared; it is quicker.")
    ] = False,
    as_json: Json = False,
) -> None:
    """How two environments differ: versions, settings with their defaults, resources that only one of them has.

    Which differences are meant, stacks/environments.yaml says (`differs`). Exit code 1 where one is not.
    """
    with explained(as_json):
        from infra import diff as compared

        found = compared.compare(first, second, None if settings_only else _rehearsal().plan_offline)
        if as_json:
            print(json.dumps(found.to_dict(), indent=2))
        else:
            for line in compared.text(found):
                show.out.print(line, markup=False)
        if not found.ok:
            raise typer.Exit(FAILED)


@app.command()
def check(
    names: Annotated[list[str] | None, typer.Argument(help="Stacks or environments; by default every stack.")] = None,
    as_json: Json = False,
    format_: Annotated[Format, typer.Option("--format", help="What is printed, or written to --output.")] = "text",
    output: Annotated[Path | None, typer.Option(help="Write the report to this file, and print the text.")] = None,
    reports: Annotated[
        list[str] | None, typer.Option("--report", help="Another report: FORMAT=FILE, such as sarif=slipway.sarif.")
    ] = None,
    since: Annotated[
        list[Path] | None,
        typer.Option(
            help="What is deployed: a file or a folder of what `pulumi stack export` or `slipway plan --export` wrote. "
            "Local stacks are compared with the rehearsal."
        ),
    ] = None,
) -> None:
    """Run every policy pack on the plan of each stack, offline. Exit code 1 where one is broken."""
    as_json = as_json or (format_ == "json" and output is None)
    with explained(as_json):
        from infra.check import check as run_packs
        from infra.reports import FORMATS
        from infra.settings import stack_names, stacks_of
        from policies.cost.deployed import held_against
        from policies.cost.prices import warnings

        files = {Path(file): format_ for format_, file in (_parameter(each, "--report") for each in reports or ())}
        files |= {output: "json" if as_json else format_} if output else {}
        for wanted in files.values():
            if wanted not in FORMATS:
                raise typer.BadParameter(f"{wanted!r}: there are {', '.join(FORMATS)}", param_hint="--report")
        stacks = stacks_of(names or stack_names())
        show.say(f"planning {len(stacks)} stacks: {', '.join(stacks)}")
        for warning in warnings():
            show.say(f"warning: {warning}")
        rehearsal = _rehearsal()
        with held_against(since or ()):
            report = run_packs(rehearsal.plan_offline(stacks, processes=os.cpu_count() or 1))
        seen = rehearsal.changes(stacks, since or ())
        for file, wanted in files.items():
            file.write_text(FORMATS[wanted](report, seen), "utf-8")
        shown = "json" if as_json else "text" if output else format_
        if shown == "text":
            show.report(report, seen)
        else:
            print(FORMATS[shown](report, seen))
        if not report.ok:
            raise typer.Exit(FAILED)


@app.command()
def rules(as_json: Json = False) -> None:
    """List every rule of every pack: what must hold, how bad it is otherwise, what it implements, how to mend it."""
    with explained(as_json):
        from infra.check import rules as known
        from infra.reports import rule_lines

        if as_json:
            print(json.dumps([asdict(each) for each in known()], indent=2))
        else:
            for line in rule_lines(known()):
                show.out.print(line, markup=False)


@app.command()
def status(as_json: Json = False) -> None:
    """What the rehearsal has made, where it is, and how it is."""
    with explained(as_json):
        found = _rehearsal().status()
        if as_json:
            print(json.dumps(found, indent=2, default=str))
        else:
            show.status(found)


@app.command()
def down(
    names: Annotated[
        list[str] | None, typer.Argument(help="Stacks, or environments for all of their stacks; by default local.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Remove what `up` made, and tell what remains. `local` also stops the emulator and deletes the work folder."""
    with explained(as_json):
        from infra.settings import load, stacks_of

        names = names or ["local"]
        stacks = stacks_of(names)
        if any(load(stack).environment != "local" for stack in stacks):
            raise typer.Exit(_down_in_cloud(stacks, as_json))
        removed = _rehearsal().down(names)
        if as_json:
            print(json.dumps(removed, indent=2))
        else:
            show.remains(removed.get("remains", {}))


def _down_in_cloud(stacks: list[str], as_json: bool) -> int:
    """Products first, then what they run on; between them, SageMaker is given time to leave the network."""
    from infra import cloud, teardown
    from infra.reach import NotDeployed, reach

    left: dict[str, Any] = {}
    code = 0
    for stack in reversed(stacks):
        try:
            deployed = reach(stack)
        except NotDeployed as error:
            show.say(str(error))
            continue
        teardown.stop_running(stack, deployed.client, show.say)
        if group := deployed.outputs.get("workload_security_group_id"):
            teardown.wait_for_interfaces(group, deployed.client, show.say)
        code = cloud.down([stack])
        left[stack] = [each.to_dict() for each in teardown.remains(stack, deployed.outputs, deployed.client)]
        if code:
            break
    if as_json:
        print(json.dumps({"remains": left}, indent=2))
    else:
        show.remains(left)
    return code


@app.command()
def cost(
    names: Annotated[list[str] | None, typer.Argument(help="Stacks or environments; by default every stack.")] = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Also what changes about what is deployed: a rehearsal, or --since.")
    ] = False,
    since: Annotated[
        Path | None,
        typer.Option(help="Compare with a state that `pulumi stack export` wrote, or a folder with <stack>.json each."),
    ] = None,
    against: Annotated[
        str | None, typer.Option(help="Compare with the plan of another stack, such as employment-staging.")
    ] = None,
    by: Annotated[
        Literal["component", "product", "team", "resource"], typer.Option(help="What a line of the table stands for.")
    ] = "component",
    as_json: Json = False,
) -> None:
    """What stacks cost a month: at least, as used (slipway:usage), and at most. Exit code 1 where one may not."""
    with explained(as_json):
        from infra.cost import costs
        from infra.settings import SettingsError, stack_names, stacks_of
        from policies.cost.deployed import NoState

        stacks, rehearsal = stacks_of(names or stack_names()), _rehearsal()
        if sum((compare and since is None, since is not None, against is not None)) > 1:
            raise SettingsError("a cost is compared with one thing: --compare, --since FILE, or --against STACK")
        try:
            before = _before(rehearsal, stacks, since, against) if compare or since or against else None
        except NoState as error:
            raise SettingsError(str(error)) from None
        report = costs(rehearsal.plan_offline(stacks, processes=os.cpu_count() or 1), before)
        if as_json:
            print(json.dumps(report.to_dict(), indent=2))
        else:
            for line in report.text(by):
                show.out.print(line, markup=False)
        if not report.ok:
            raise typer.Exit(FAILED)


def _before(rehearsal: Any, stacks: list[str], since: Path | None, against: str | None) -> Any:
    """What each stack is compared with: what is deployed of it, or another stack's plan."""
    from infra.settings import SettingsError, stacks_of
    from policies.cost.deployed import read_state, resources_of

    if against is not None:
        [(other, planned)] = rehearsal.plan_offline(stacks_of([against])[:1])
        return lambda stack: (other.stack, planned.resources)
    found: dict[str, Any] = {}
    if since is not None:
        files = [since / f"{each}.json" for each in stacks] if since.is_dir() else [since]
        for file in filter(Path.exists, files) if since.is_dir() else files:
            resources = read_state(file)
            found |= {each.urn.split(":")[2]: (file.name, resources) for each in resources[:1]}
    else:
        for stack in {*stacks} & {*rehearsal.store.stacks()}:
            if rehearsal.store.load(stack).outputs() is not None:
                found[stack] = ("the rehearsal", resources_of(rehearsal.store.export(stack)))
    if not found.keys() & {*stacks}:
        raise SettingsError(
            "none of these stacks is deployed in the rehearsal: run `slipway up` first, or name a state with --since "
            "(`pulumi stack export --file state.json`)"
            if since is None
            else f"{since} is the state of none of {', '.join(stacks)}"
        )
    return found.get


@app.command()
def prices(
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Ask the AWS Price List (pricing:GetProducts), and write the table anew.")
    ] = False,
    as_json: Json = False,
) -> None:
    """The table of prices: how old it is, and its refresh. Exit code 1 where it is older than 90 days."""
    with explained(as_json):
        from policies.cost.prices import today, warnings

        if refresh:
            import boto3

            from infra import prices as table

            _print_lines(table.refresh(boto3.client("pricing", region_name=table.REGION), today()), as_json)
            return
        old = list(warnings())
        if as_json:
            print(json.dumps({"warnings": old}, indent=2))
        else:
            show.out.print("\n".join(old) or "every price is younger than 90 days", markup=False)
        if old:
            raise typer.Exit(FAILED)


def _print_lines(result: Any, as_json: bool) -> None:
    if as_json:
        print(json.dumps(result.to_dict(), indent=2))
    else:
        for line in result.lines():
            show.out.print(line, markup=False)


@app.command()
def preflight(
    name: Annotated[str, typer.Argument(help="A stack, or an environment for all of its stacks.")],
    as_json: Json = False,
) -> None:
    """Ask AWS, reading only, what would stop a deployment: quotas, zones, addresses, reservations."""
    with explained(as_json):
        from infra.preflight import preflight as checks
        from infra.reach import client_of
        from infra.settings import stacks_of

        found = {
            settings.stack: [each.to_dict() for each in checks(settings, plan.resources, client_of(settings))]
            for settings, plan in _rehearsal().plan_offline(stacks_of([name]))
        }
        if as_json:
            print(json.dumps(found, indent=2))
        else:
            show.preflight(found)
        if any(each["status"] == "failed" for checks_ in found.values() for each in checks_):
            raise typer.Exit(FAILED)


@app.command()
def access(
    name: Annotated[str | None, typer.Argument(help="A stack or a role; by default all that is rehearsed.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Show what was used and what is explained, too.")] = False,
    suggest: Annotated[bool, typer.Option("--suggest", help="Print the least policy that would have done.")] = False,
    as_json: Json = False,
) -> None:
    """What each role is granted and never used, and used and is not granted: by the calls that the rehearsal recorded.

    Exit code 1 where something is missing, or unused without a reason in policies/unused_grants.yaml.
    """
    with explained(as_json):
        from infra.access import access as weighed
        from infra.access import lines

        found = weighed(name)
        if as_json:
            print(json.dumps(found.to_dict(), indent=2))
        else:
            for line in lines(found, details_of=everything, suggest_=suggest):
                show.out.print(line, markup=False)
        if found.missing or found.unexplained:
            raise typer.Exit(FAILED)


@app.command()
def remains(
    stack: Annotated[str, typer.Argument(help="A stack that was deployed.")],
    as_json: Json = False,
) -> None:
    """What there is in AWS of a stack, by its name and outputs, and what that costs; after `down`: what is left."""
    with explained(as_json):
        from infra import teardown
        from infra.reach import reach

        deployed = reach(stack)
        found = {stack: [each.to_dict() for each in teardown.remains(stack, deployed.outputs, deployed.client)]}
        if as_json:
            print(json.dumps(found, indent=2))
        else:
            show.remains(found)


@app.command()
def runbook(
    stack: Annotated[str, typer.Argument(help="A stack, deployed or not.")],
    alarm: Annotated[str | None, typer.Argument(help="Only what is to be done about this alarm.")] = None,
) -> None:
    """Print a stack's runbook: for each alarm what it means, where to look, and what to do."""
    with explained(False):
        from infra.settings import SettingsError, stacks_of

        [(settings, planned)] = _rehearsal().plan_offline(stacks_of([stack]))
        sections = show.runbook_sections(planned.resources, settings.stack)
        if alarm and alarm not in sections:
            raise SettingsError(f"{settings.stack} has no alarm {alarm}: there are {', '.join(sorted(sections))}")
        print("\n\n".join([sections[alarm]] if alarm else [f"# Runbook of {settings.stack}", *sections.values()]))


app.command()(commands_report.report)


@app.command()
def history(
    endpoint: Annotated[str, typer.Argument(help="An endpoint, which is called as its stack: employment-prod.")],
    at: Annotated[str | None, typer.Option(help="A time: 2026-11-21T09:00Z, or '2 hours ago'.")] = None,
    as_json: Json = False,
) -> None:
    """Which model was live when, who approved it, and on what evidence: from the ledger."""
    with explained(as_json):
        from infra.history import history as told
        from infra.history import moment
        from infra.reach import reach

        deployed = reach(endpoint)
        try:
            when = moment(at) if at else None
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--at") from None
        found = told(deployed.client("s3"), deployed.output("ledger_bucket"), endpoint, when)
        if as_json:
            print(json.dumps(found.to_dict(), indent=2))
        else:
            for line in found.lines():
                show.out.print(line, markup=False)


@app.command()
def shadow(
    endpoint: Annotated[str, typer.Argument(help="An endpoint, which is called as its stack: letters-prod.")],
    hours: Annotated[float, typer.Option(help="How far back; never before the version went live.", min=0.1)] = 24,
    as_json: Json = False,
) -> None:
    """How an endpoint's shadow did beside the version that serves: answers, failures, latency."""
    with explained(as_json):
        from datetime import UTC, datetime, timedelta

        from infra.reach import reach
        from infra.shadow import compare

        deployed = reach(endpoint)
        captures, ledger_bucket = deployed.output("captures_uri"), deployed.output("ledger_bucket")
        since = datetime.now(UTC) - timedelta(hours=hours)
        found = compare(deployed.client, deployed.output("endpoint_name"), captures, ledger_bucket, since)
        if as_json:
            print(json.dumps(found.to_dict(), indent=2))
        else:
            for line in found.lines():
                show.out.print(line, markup=False)


@app.command()
def release(
    endpoint: Annotated[str, typer.Argument(help="An endpoint, which is called as its stack: employment-prod.")],
    version: Annotated[str, typer.Argument(help="The version of the registry: its number, or its ARN.")],
    reason: Annotated[str, typer.Option(help="Why; it is kept in the ledger.")] = "",
    force: Annotated[bool, typer.Option(help="Also while alarms ring, which then take nothing back.")] = False,
    wait: Annotated[bool, typer.Option(help="Wait for another release of this endpoint, rather than give up.")] = True,
    as_json: Json = False,
) -> None:
    """Make a version live: verified, shifted step by step, watched, and taken back by itself where it does worse."""
    with explained(as_json):
        from infra import releases
        from infra.reach import reach

        client = reach(endpoint).client
        result = releases.release(client, endpoint, version, reason=reason, force=force, wait=wait, say=show.say)
        _finish_release(result, as_json)


@app.command()
def rollback(
    endpoint: Annotated[str, typer.Argument(help="An endpoint, which is called as its stack: employment-prod.")],
    reason: Annotated[str, typer.Option(help="Why; it is kept in the ledger.")] = "",
    as_json: Json = False,
) -> None:
    """Go back to the version that was live before, at once."""
    with explained(as_json):
        from infra import releases
        from infra.reach import reach

        _finish_release(releases.rollback(reach(endpoint).client, endpoint, reason=reason, say=show.say), as_json)


def _finish_release(result: Any, as_json: bool) -> None:
    if as_json:
        print(json.dumps(result.to_dict(), indent=2))
    else:
        for line in result.lines():
            show.out.print(line, markup=False)
    if not result.ok:
        raise typer.Exit(FAILED)


@app.command()
def stop(
    name: Annotated[str, typer.Argument(help="A stack, or an environment for all of its stacks.")],
    act: Annotated[bool, typer.Option("--act", help="Do it; without, it is only said what would be done.")] = False,
    undo: Annotated[str | None, typer.Option(help="A record of a stop: put back what it stopped.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Put back also what was changed since.")] = False,
    reason: Annotated[str, typer.Option(help="Why; it is kept in the record.")] = "",
    as_json: Json = False,
) -> None:
    """Stop what spends: endpoints to their minimum, training, queues and new nodes; or put it back as it was."""
    with explained(as_json):
        from botocore.exceptions import BotoCoreError, ClientError

        from infra import kill_switch
        from infra.reach import NotDeployed, reach
        from infra.settings import SettingsError, stacks_of

        stacks = stacks_of([name])
        if undo and len(stacks) > 1:
            raise SettingsError(f"a record is one stack's: name one of {', '.join(stacks)}")
        done, failed = [], False
        for stack in reversed(stacks):  # products first
            try:
                done.append(kill_switch.stop(reach(stack), act=act, undo=undo, overwrite=overwrite, reason=reason))
            except (NotDeployed, kill_switch.NotStopped, BotoCoreError, ClientError) as error:
                if len(stacks) == 1:
                    raise
                show.error(f"{stack}: {error}")  # the others are stopped all the same
                failed = True
        if as_json:
            print(json.dumps({each.stack: each.to_dict() for each in done}, indent=2))
        for each in done:
            if not as_json:
                show.out.print(each.table())
            for problem in each.problems:
                show.error(problem)
        if failed or any(each.problems for each in done):
            raise typer.Exit(FAILED)


@app.command()
def retrain(
    stack: Annotated[str, typer.Argument(help="A product's stack: employment-prod.")],
    confirm: Annotated[
        str | None, typer.Option(metavar="INCIDENT", help="Let the retraining go on that this incident holds.")
    ] = None,
    why: Annotated[str, typer.Option(help="Why; with --confirm, what makes you trust the data.")] = "",
    recent: Annotated[
        bool, typer.Option("--recent", help="Train only on labels that the version that serves has not seen.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Train a model again on what is new, with every guard. Exit code 0 where a better version waits for approval."""
    with explained(as_json):
        from infra.reach import reach
        from infra.retraining import retrain as retrained

        result = retrained(reach(stack), confirm=confirm, why=why, memory="recent" if recent else "all", say=show.say)
        if as_json:
            print(json.dumps(result.to_dict(), indent=2))
        else:
            for line in result.lines():
                show.out.print(line, markup=False)
        if not result.offered:
            raise typer.Exit(FAILED)


@app.command()
def versions(
    stack: Annotated[str, typer.Argument(help="A product's stack: employment-prod.")], as_json: Json = False
) -> None:
    """Which versions of the model there are, the newest first: how good, who approved them, and which one serves."""
    with explained(as_json):
        from infra import versions as registry
        from infra.reach import reach

        found = registry.versions(reach(stack))
        if as_json:
            print(json.dumps([asdict(each) for each in found], indent=2))
        elif found:
            show.out.print(registry.table(found))
        else:
            show.out.print(f"{stack} has no version yet: `slipway pipeline start {stack} --dataset NAME` trains one")


@app.command()
def approve(
    stack: Annotated[str, typer.Argument(help="A product's stack: employment-prod.")],
    version: Annotated[int, typer.Argument(help="The version of its registry.")],
    reviewer: Annotated[str, typer.Option("--as", help="Your name: it stands in the ledger. Not that of who trained.")],
    why: Annotated[str, typer.Option(help="What you looked at, and what you think of it.")] = "",
    wait: Annotated[bool, typer.Option("--wait", help="Until its release ends; exit code 1 where it fails.")] = False,
) -> None:
    """Approve a version as a second person, in the registry's role for approvers; its release starts by itself."""
    with explained(False):
        from infra import releases
        from infra.approvals import approve as approved
        from infra.reach import reach

        deployed, at = reach(stack), datetime.now(UTC)
        arn = approved(deployed, version, reviewer, why)
        if not wait:
            show.say(f"{arn} is approved by {reviewer}: follow its release with `slipway history {stack}`")
            return
        show.say(f"{arn} is approved by {reviewer}")
        _finish_release(releases.after_approval(deployed.client, stack, arn, at, say=show.say), False)


api = typer.Typer(help="The prediction API of a product, for those who call it.", no_args_is_help=True)
app.add_typer(api, name="api")


@api.command()
def openapi(stack: Annotated[str, typer.Argument(help="A product's stack, deployed or not.")]) -> None:
    """Print the API's OpenAPI document."""
    with explained(False):
        from infra import prediction

        print(json.dumps(prediction.openapi(*_api_of(stack)), indent=2))


@api.command()
def client(stack: Annotated[str, typer.Argument(help="A product's stack, deployed or not.")]) -> None:
    """Print a typed Python client of the API: one module, for an application to keep."""
    with explained(False):
        from infra import prediction

        print(prediction.client(*_api_of(stack)), end="")


@api.command()
def keys(
    stack: Annotated[str, typer.Argument(help="A product's stack that is deployed.")],
    name: Annotated[str | None, typer.Argument(help="One client of the API, as its YAML names it.")] = None,
) -> None:
    """Print what clients of the API identify themselves with, as JSON: secrets, for a secret store and nowhere else."""
    with explained(False):
        from infra.reach import reach
        from infra.settings import SettingsError

        clients = reach(stack, secrets=True).output("api_clients")
        if name and name not in clients:
            raise SettingsError(f"{stack}'s API has no client {name}: there are {', '.join(sorted(clients))}")
        print(json.dumps(clients[name] if name else clients, indent=2))


def _api_of(stack: str) -> tuple[Any, Any, Any]:
    """The schema and shape of a stack's API, and where it is, as far as it is deployed."""
    from components.prediction_api import shape
    from infra.prediction import Addresses, in_rehearsal
    from infra.reach import NotDeployed, reach
    from infra.settings import SettingsError, load

    program = load(stack).program
    spec, schema = getattr(program, "api", None), getattr(program, "schema", None)
    if spec is None or schema is None:
        raise SettingsError(f"{stack} has no prediction API: set slipway:settings.api in its YAML")
    try:
        deployed = reach(stack)
        addresses = Addresses(url=deployed.output("api_url"), token_url=deployed.output("api_token_url"))
        if deployed.settings.environment == "local":
            addresses = in_rehearsal(addresses, deployed.client("sts").meta.endpoint_url)
    except (NotDeployed, SettingsError):
        addresses = Addresses()
    return schema, shape(stack, spec), addresses


features = typer.Typer(help="A product's features: how to change them without losing any.", no_args_is_help=True)
app.add_typer(features, name="features")


@features.command("migrate")
def migrate_features(
    stack: Annotated[str, typer.Argument(help="A product's stack that is deployed.")], as_json: Json = False
) -> None:
    """Print how to get to another version of the schema, where a change would lose records."""
    with explained(as_json):
        from infra.features import next_version
        from infra.reach import reach

        found = next_version(reach(stack).outputs, stack)
        print(json.dumps(found.to_dict(), indent=2) if as_json else found)


@features.command("backfill")
def backfill_features(
    stack: Annotated[str, typer.Argument(help="A product's stack that is deployed.")],
    source: Annotated[int, typer.Option("--from", help="The version that has the records.")],
    target: Annotated[int, typer.Option("--to", help="The version that is to get them.")],
    rename: Annotated[list[str] | None, typer.Option(help="A feature that is called otherwise now: old=new.")] = None,
    as_json: Json = False,
) -> None:
    """Copy what one version of the feature store holds to another; as often as one likes."""
    with explained(as_json):
        from infra.features import backfill
        from infra.reach import reach

        deployed = reach(stack)
        renamed = dict(_parameter(each, "--rename") for each in rename or [])
        done = backfill(deployed.client, deployed.outputs, source, target, renamed=renamed)
        print(json.dumps(done.to_dict(), indent=2) if as_json else done)


pipeline = typer.Typer(help="Training pipelines: compile them, start them, make a version again.", no_args_is_help=True)
app.add_typer(pipeline, name="pipeline")


@pipeline.command("compile")
def compile_pipeline(
    path: Annotated[Path, typer.Argument(help="A Python file that makes a pipeline with the sagemaker SDK.")],
    check_: Annotated[bool, typer.Option("--check", help="Write nothing; exit code 1 where the JSON differs.")] = False,
) -> None:
    """Turn a pipeline of the sagemaker SDK into the JSON that is committed and deployed, beside its file.

    Needs the SDK: `uv sync --group pipelines`.
    """
    with explained(False):
        from infra import pipelines
        from infra.rehearsal.state import write_atomically
        from infra.settings import SettingsError

        if not path.is_file():
            raise SettingsError(f"there is no file {path}")
        try:
            compiled, beside = pipelines.compile(path), path.with_suffix(".json")
        except (pipelines.NoSdk, ValueError) as error:
            raise SettingsError(str(error)) from error
        if check_:
            if not beside.exists() or beside.read_text("utf-8") != compiled:
                show.error(f"{beside} is not what {path} compiles to: run `slipway pipeline compile {path}`")
                raise typer.Exit(FAILED)
            show.say(f"{beside} is what {path} compiles to")
            return
        write_atomically(beside, compiled)
        show.say(f"{beside} written")


@pipeline.command("start")
def start_pipeline(
    stack: Annotated[str, typer.Argument(help="A product's stack: employment-prod.")],
    dataset: Annotated[str, typer.Option(help="What the data set that is made is called.")],
    set_: Annotated[list[str] | None, typer.Option("--set", help="A parameter: learning-rate=0.1.")] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Until it ends; exit code 1 where it registers nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Start a training; the same start twice is one execution."""
    with explained(as_json):
        from infra import pipelines
        from infra.reach import reach
        from infra.settings import SettingsError

        deployed = reach(stack)
        given = dict(_parameter(each) for each in set_ or [])
        try:
            started = pipelines.start(deployed.client, deployed.output("pipeline_name"), {"Dataset": dataset, **given})
        except ValueError as error:  # a parameter that the pipeline does not have
            raise SettingsError(str(error)) from None
        told: dict[str, Any] = {"execution": started.arn}
        if wait:
            try:
                told["version"] = pipelines.follow(deployed.client, started.arn, show.say)
            except pipelines.NotTrained as error:
                _fail(error, as_json, FAILED)
        if as_json:
            print(json.dumps(told))
        elif wait:
            show.out.print(
                f"registered as version {told['version']} of {stack}: `slipway versions {stack}`", markup=False
            )
        else:
            show.out.print(started.arn, markup=False)


def _parameter(text: str, option: str = "--set") -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise typer.BadParameter(f"{text!r}: write name=value", param_hint=option)
    return name, value


@pipeline.command("reproduce")
def reproduce_version(
    stack: Annotated[str, typer.Argument(help="A product's stack: employment-prod.")],
    version: Annotated[int, typer.Argument(help="The version of its registry.")],
    as_json: Json = False,
) -> None:
    """Say with what a version was made, and how to make it again."""
    with explained(as_json):
        from infra import pipelines
        from infra.approvals import package_arn
        from infra.reach import reach

        deployed = reach(stack)
        try:
            found = pipelines.reproduce(deployed.client, package_arn(deployed, version))
        except ValueError as error:  # no pipeline of ours has registered it
            _fail(error, as_json, FAILED)
        if as_json:
            print(json.dumps(found.to_dict(), indent=2))
        else:
            told = dict(found.parameters)
            given = [word for name, value in told.items() for word in ("--set", f"{name}={value}") if name != "Dataset"]
            command = ["slipway", "pipeline", "start", stack, "--dataset", told["Dataset"], *given]
            print(shlex.join(command))  # as one line, to be copied
            for caveat in found.caveats:
                show.out.print(f"but: {caveat}", markup=False)


@app.command()
def gameday(
    scenario: Annotated[str | None, typer.Argument(help="One of --list; by default all, one after the other.")] = None,
    list_: Annotated[bool, typer.Option("--list", help="Say which scenarios there are, and what each breaks.")] = False,
    page: Annotated[
        Path | None, typer.Option("--html", help="Write the report to this file: a page with time lines and notes.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Break the rehearsed product for real, and see it found, decided on, mended and written up. Starts it if need be.

    Exit code 1 where any of that did not happen.
    """
    with explained(as_json):
        from infra.gameday import report, scenarios
        from infra.rehearsal.state import write_atomically

        if list_:
            told = {name: each.breaks for name, each in scenarios.SCENARIOS.items()}
            if as_json:
                print(json.dumps(told, indent=2))
            for name, breaks in {} if as_json else told.items():
                show.out.print(f"{name:18}{breaks}", markup=False)
            return
        reports = []
        for each in scenarios.play(scenario, _rehearsal(), show.say):
            reports.append(each)
            for line in [] if as_json else report.lines(each):
                show.out.print(line, markup=False)
            if page:  # after each, so that those that ended are there whatever becomes of the next
                write_atomically(page, report.page(reports))
        if as_json:
            print(report.as_json(reports))
        else:
            show.out.print(report.table(reports))
        if not all(each.passed for each in reports):
            raise typer.Exit(FAILED)


monitor = typer.Typer(help="What the monitors of a product found, and what they go by.", no_args_is_help=True)
app.add_typer(monitor, name="monitor")


@monitor.command("show")
def show_reports(
    stack: Annotated[str, typer.Argument(help="A product's stack that is deployed: employment-prod.")],
    name: Annotated[
        Literal["data", "quality", "service", "freshness", "spending"] | None,
        typer.Argument(help="One monitor; by default all."),
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write the monitor's newest page to this file.")] = None,
    as_json: Json = False,
) -> None:
    """Tell what the monitors found last: a sentence each, and what is wrong with which column."""
    with explained(as_json):
        from infra import monitors
        from infra.reach import reach

        if html and not name:
            raise typer.BadParameter("name the monitor whose page it is to be", param_hint="--html")
        deployed = reach(stack)
        found = monitors.newest(deployed, name)
        if html:
            html.write_text(monitors.page(deployed, found[0]), "utf-8")
        if as_json:
            print(json.dumps({each.monitor: each.report for each in found}, indent=2))
            return
        for each in found:
            for line in each.lines():
                show.out.print(line, markup=False)


@monitor.command("run")
def run_monitor(
    stack: Annotated[str, typer.Argument(help="A product's stack that is deployed: employment-prod.")],
    name: Annotated[Literal["data", "quality", "service", "freshness", "spending"], typer.Argument(help="Which.")],
    as_json: Json = False,
) -> None:
    """Let a monitor look now, as its schedule would later: to see whether something is mended, or is found at all."""
    with explained(as_json):
        from infra import monitors
        from infra.reach import reach

        found = monitors.run(reach(stack), name)
        if as_json:
            print(json.dumps(found.report, indent=2))
            return
        for line in found.lines():
            show.out.print(line, markup=False)


@monitor.command("import")
def import_baseline(
    statistics: Annotated[Path, typer.Argument(help="SageMaker Model Monitor's statistics.json.")],
    constraints: Annotated[Path | None, typer.Argument(help="Its constraints.json.")] = None,
    answers: Annotated[
        list[str] | None, typer.Option("--answer", help="A column that the model answers with, and is not asked.")
    ] = None,
    output: Annotated[Path, typer.Option(help="The file to write.")] = Path("baseline.json"),
) -> None:
    """Make a baseline of Model Monitor's files, to register a model with."""
    with explained(False):
        from infra import monitors

        output.write_text(monitors.imported(statistics, constraints, answers or ()), "utf-8")
        show.say(f"{output}: put it beside the model, and register it as DriftCheckBaselines.ModelDataQuality")


@monitor.command("layer")
def build_layer(
    output: Annotated[Path, typer.Argument(help="The zip to write.")] = Path("layer.zip"),
    as_json: Json = False,
) -> None:
    """Build the optional Lambda layer with which the monitors read data capture faster; it needs a package index."""
    with explained(as_json):
        from infra import layer

        built = layer.build(output)
        if as_json:
            print(json.dumps({"output": str(output), **asdict(built)}))
            return
        size = f"{built.zipped_bytes / 1e6:.1f} MB zipped, {built.bytes / 1e6:.0f} MB unpacked"
        show.say(f"{output}: {', '.join(built.packages)}; {size}")


incident = typer.Typer(help="What went wrong with a product's endpoint, and what is left to do.", no_args_is_help=True)
app.add_typer(incident, name="incident")

Identity = Annotated[
    str | None, typer.Argument(help="The incident, such as drift-3; by default the newest that is not closed.")
]


@incident.command("list")
def list_incidents(
    stack: Annotated[str, typer.Argument(help="A product's stack that is deployed.")],
    everything: Annotated[bool, typer.Option("--all", help="The closed ones, too.")] = False,
    as_json: Json = False,
) -> None:
    """List the incidents that nobody has closed, the newest first: what is wrong, what was decided, what is needed."""
    with explained(as_json):
        from infra import incidents
        from infra.reach import reach

        found = incidents.listed(reach(stack), closed=everything)
        if as_json:
            print(json.dumps(incidents.to_json(found), indent=2))
        elif found:
            show.out.print(incidents.table(found), soft_wrap=False)
            if left := incidents.needs(found):
                show.out.print("\nneeded of you", style="dim")
                for line in left:
                    show.out.print(line, markup=False)
        else:
            show.out.print(f"{stack} has no incident{'' if everything else ' that is not closed'}")


@incident.command("show")
def show_incident(
    stack: Annotated[str, typer.Argument(help="A product's stack that is deployed.")],
    identity: Identity = None,
    html: Annotated[Path | None, typer.Option(help="Write the note to this file, as a page of its own.")] = None,
    refresh: Annotated[bool, typer.Option("--refresh", help="Ask CloudTrail and the others again first.")] = False,
    as_json: Json = False,
) -> None:
    """Show an incident: what is wrong, what was done, what is needed; then what moved first, and what happened when."""
    with explained(as_json):
        from infra import incidents
        from infra.reach import reach

        deployed = reach(stack)
        found = incidents.load(deployed, identity)
        if refresh:
            found = incidents.refreshed(deployed, found.id)
        if html:
            html.write_text(incidents.page(found), "utf-8")
        if as_json:
            print(json.dumps(found.to_dict(), indent=2))
        elif html:
            show.say(f"{html}: {found.id}")
        else:
            show.out.print(incidents.rendered(found), soft_wrap=False)


@incident.command("close")
def close_incident(
    stack: Annotated[str, typer.Argument(help="A product's stack that is deployed.")],
    identity: Annotated[str, typer.Argument(help="The incident, such as drift-3.")],
    review: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False, help="The review, filled in. Without it, the review to fill in is printed."
        ),
    ] = None,
    by: Annotated[str, typer.Option("--as", help="Your name; by default the ARN of your credentials.")] = "",
    as_json: Json = False,
) -> None:
    """Close an incident with a review: what happened, its impact, why it was not seen before, who does what by when."""
    with explained(as_json):
        from infra import incidents
        from infra.reach import reach

        deployed = reach(stack)
        if review is None:
            asked = incidents.review_of(deployed, identity)
            print(json.dumps({"review": asked}) if as_json else asked, end="\n" if as_json else "")
            show.say(f"fill it in, then: slipway incident close {stack} {identity} --review FILE")
            return
        found = incidents.close(deployed, identity, review.read_text("utf-8"), by=by)
        if as_json:
            print(json.dumps(found.to_dict(), indent=2))
        else:
            show.say(f"{found.id} is closed by {found.closed_by}; its review stands in its note")


app.command()(commands_bootstrap.bootstrap)
app.command()(commands_bootstrap.doctor)
app.command()(commands_product.schema)
app.add_typer(commands_product.new, name="new")


def _rehearsal() -> Any:
    from infra.rehearsal.session import Rehearsal

    return Rehearsal(say=show.say, watching=show.watching)


def _print_report(report: Any, as_json: bool) -> None:
    if as_json:
        print(json.dumps(report.to_dict(), indent=2))
    else:
        show.report(report)


def main() -> None:
    """The console script."""
    app()


if __name__ == "__main__":
    main()
