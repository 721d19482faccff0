"""What a page tells of a stack: what its plan says, and what is asked of where it runs.

Whatever cannot be asked is not left out in silence: why it is not known stands in its place.
"""

import json
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final, TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from functions.incidents.core import Incident
from functions.monitoring import report as reports
from functions.monitoring.windows import place
from infra import history, incidents, monitors, reach
from infra.check import Report, check
from infra.cost import CostReport, StackCost, costs
from infra.rehearsal.engine import Plan
from infra.rehearsal.session import Rehearsal
from infra.report_page.graph import ALARM, Graph, graph
from infra.report_page.picture import Picture, picture
from infra.settings import ROOT, Settings, SettingsError, load, stacks_of
from infra.show import runbook_sections

T = TypeVar("T")

DAYS: Final = 30
"""How far back reports of monitors are read."""
MOST_REPORTS: Final = 150
"""So many of each monitor are read at most: of more, evenly spread ones, and the newest."""
READERS: Final = 16


@dataclass(frozen=True)
class Alarm:
    """An alarm, and how it is."""

    name: str
    state: str
    """OK, ALARM or INSUFFICIENT_DATA; '' where nobody could be asked."""
    since: datetime | None
    means: str
    """What is wrong when it rings."""
    act: str
    """Its section of the runbook, Markdown; '' where there is none."""


@dataclass(frozen=True, kw_only=True)
class Live:
    """What is asked of where a stack runs. None stands for what is not known; `unknown` says why."""

    where: str
    """`the rehearsal on this machine`, or the account and region."""
    drifted: Mapping[str, int] | None
    """How many resources differ from the plan, by what an `up` would do; None where that was not compared."""
    endpoint: Mapping[str, Any] | None = None
    """As `DescribeEndpoint` tells it."""
    waiting: Sequence[str] | None = None
    """The versions that wait for approval."""
    releases: history.History | None = None
    """What its ledger tells."""
    reports: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    """By monitor: its reports, the newest last."""
    thinned: Mapping[str, int] = field(default_factory=dict)
    """By monitor: how many reports there are, where not all were read."""
    incidents: Sequence[Incident] | None = None
    """The newest first."""
    states: Mapping[str, tuple[str, datetime | None]] | None = None
    """By alarm: its state, and since when."""
    unknown: Mapping[str, str] = field(default_factory=dict)
    """By what is not known: why."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the page tells."""

    settings: Settings
    plan: Plan
    at: datetime
    commit: str
    """The commit of this repository it was made from; '' where nobody knows."""
    report: Report
    cost: CostReport
    """Of the stack, and of those that it stands on."""
    graph: Graph
    picture: Picture
    beneath: Mapping[str, Picture]
    """The pictures of the stacks that it stands on."""
    alarms: Sequence[Alarm]
    live: Live | None
    why: str
    """Why nothing of what runs is known; '' where it is."""

    @property
    def stack(self) -> str:
        return self.settings.stack

    @property
    def own_cost(self) -> StackCost:
        """Of this stack alone."""
        return next(each for each in self.cost.stacks if each.stack == self.stack)

    @property
    def open_incidents(self) -> list[Incident]:
        """Those that nobody has closed."""
        found = self.live.incidents if self.live else None
        return [each for each in found or () if each.status != "closed"]

    @property
    def ringing(self) -> list[Alarm]:
        return [each for each in self.alarms if each.state == "ALARM"]

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        live = self.live
        return {
            "stack": self.stack,
            "environment": self.settings.environment,
            "account": self.settings.account_id,
            "region": self.settings.region,
            "at": self.at.isoformat(timespec="seconds"),
            "commit": self.commit,
            "resources": len(self.plan.resources),
            "picture": list(self.picture.words()),
            "cost": self.cost.to_dict(),
            "policies": self.report.to_dict(),
            "alarms": [{"name": each.name, "state": each.state, "means": each.means} for each in self.alarms],
            "not_asked_because": self.why,
            "live": None
            if live is None
            else {
                "where": live.where,
                "drifted": None if live.drifted is None else dict(live.drifted),
                "endpoint": None if live.endpoint is None else live.endpoint.get("EndpointStatus"),
                "waiting": live.waiting,
                "periods": [asdict(each) for each in live.releases.periods] if live.releases else None,
                "reports": {
                    name: [{key: each[key] for key in reports.REQUIRED if key != "monitor"} for each in found]
                    for name, found in live.reports.items()
                },
                "incidents": None if live.incidents is None else incidents.to_json(live.incidents),
                "unknown": dict(live.unknown),
            },
        }


def gather(stack: str, rehearsal: Rehearsal, *, planned: bool = False, at: datetime | None = None) -> Facts:
    """What is known of a stack. With `planned` nobody is asked what runs. Raises SettingsError."""
    wanted = stacks_of([stack])
    if wanted != [stack]:
        raise SettingsError(f"{stack} is an environment: name one of its stacks, {', '.join(wanted)}")
    needs = [each for each in load(stack).program.needs if each != stack]
    deployed, why = (None, "it was asked for as it is planned (--planned)") if planned else _reached(stack)
    local = deployed is not None and deployed.settings.environment == "local"
    plans = rehearsal.plan([*needs, stack]) if local else rehearsal.plan_offline([*needs, stack])
    live = ask(deployed, plans[-1][1] if local else None) if deployed else None
    return facts_of(plans, live=live, why="" if deployed else why, at=at)


def facts_of(
    plans: Sequence[tuple[Settings, Plan]], *, live: Live | None, why: str = "", at: datetime | None = None
) -> Facts:
    """What the plan of a stack tells, the last of `plans`; before it are those of the stacks that it stands on."""
    settings, plan = plans[-1]
    graphs = {one.stack: graph(one.stack, its.resources) for one, its in plans}
    pictures = {one.stack: picture(graphs[one.stack], one.program.needs) for one, _ in plans}
    return Facts(
        settings=settings,
        plan=plan,
        at=at or datetime.now(UTC),
        commit=_commit(),
        report=check([(settings, plan)]),
        cost=costs(plans),
        graph=graphs[settings.stack],
        picture=pictures.pop(settings.stack),
        beneath=pictures,
        alarms=_alarms(plan, live),
        live=live,
        why=why,
    )


def _reached(stack: str) -> tuple[reach.Deployed | None, str]:
    try:
        found = reach.reach(stack)
        if found.settings.environment != "local":
            found.client("sts").get_caller_identity()  # whether there are credentials at all
        return found, ""
    except (reach.NotDeployed, SettingsError) as error:
        return None, str(error)
    except (BotoCoreError, ClientError) as error:
        return None, f"AWS cannot be asked: {error}"


def _commit() -> str:
    git = shutil.which("git")
    if git is None:
        return ""
    try:
        told = subprocess.run(
            [git, "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, timeout=10
        )
    except subprocess.TimeoutExpired:
        return ""
    return told.stdout.strip() if told.returncode == 0 else ""


# --- what runs --------------------------------------------------------------------------------------------------------


def ask(deployed: reach.Deployed, plan: Plan | None) -> Live:
    """Ask where it runs; what fails is noted, and the rest is asked still.

    `plan` is what an `up` would do there, where that is known.
    """
    unknown: dict[str, str] = {}

    def known(what: str, question: Callable[[], T]) -> T | None:
        try:
            return question()
        except (reach.NotDeployed, monitors.NoReport, history.UnknownEndpoint) as error:
            unknown[what] = str(error)
        except (BotoCoreError, ClientError) as error:
            unknown[what] = f"AWS: {error}"
        return None

    settings, client, outputs = deployed.settings, deployed.client, deployed.outputs
    found: dict[str, Any] = {"states": known("alarms", partial(_states, deployed))}
    if name := outputs.get("endpoint_name"):
        found["endpoint"] = known(
            "endpoint", lambda: client("sagemaker").describe_endpoint(EndpointName=name) | {"ResponseMetadata": None}
        )
        found["releases"] = known(
            "releases", lambda: history.history(client("s3"), deployed.output("ledger_bucket"), str(name))
        )
    if group := outputs.get("model_package_group_name"):
        found["waiting"] = known("approvals", partial(_waiting, client, str(group)))
    if "incidents_uri" in outputs:
        found["incidents"] = known("incidents", lambda: incidents.listed(deployed, closed=True))
    if "reports_uri" in outputs:
        series = {each: known(each, partial(_reports, deployed, each)) for each in monitors.MONITORS}
        found["reports"] = {name: read[0] for name, read in series.items() if read and read[0]}
        found["thinned"] = {name: read[1] for name, read in series.items() if read and read[1] > len(read[0])}
    where = (
        "the rehearsal on this machine"
        if settings.environment == "local"
        else f"AWS, account {settings.account_id}, {settings.region}"
    )
    return Live(where=where, drifted=_drifted(plan) if plan else None, unknown=unknown, **found)


def _drifted(plan: Plan) -> dict[str, int]:
    counts: dict[str, int] = {}
    for step in plan.steps:
        if step.op not in ("same", "read"):
            counts[step.op] = counts.get(step.op, 0) + 1
    return counts


def _waiting(client: reach.Client, group: str) -> list[str]:
    pages = client("sagemaker").get_paginator("list_model_packages")
    found = [
        each["ModelPackageArn"]
        for page in pages.paginate(ModelPackageGroupName=group, ModelApprovalStatus="PendingManualApproval")
        for each in page["ModelPackageSummaryList"]
    ]
    return sorted((history.version(each) for each in found), key=lambda each: (len(each), each))


def _states(deployed: reach.Deployed) -> dict[str, tuple[str, datetime | None]]:
    pages = deployed.client("cloudwatch").get_paginator("describe_alarms")
    return {
        each["AlarmName"]: (each["StateValue"], each.get("StateUpdatedTimestamp"))
        for page in pages.paginate(AlarmNamePrefix=f"{deployed.settings.stack}-")
        for each in page["MetricAlarms"]
    }


def _reports(deployed: reach.Deployed, monitor: str) -> tuple[list[dict[str, Any]], int]:
    """A monitor's reports of the last DAYS, the newest last, and how many there are of that time."""
    s3, folder = deployed.client("s3"), monitors.folder(deployed, monitor)
    where = place(folder)
    start = f"{where['Key']}{datetime.now(UTC) - timedelta(days=DAYS):%Y-%m-%d}"
    pages = s3.get_paginator("list_objects_v2").paginate(
        Bucket=where["Bucket"], Prefix=where["Key"], StartAfter=start, Delimiter="/"
    )
    keys = [each["Key"] for page in pages for each in page.get("Contents", ()) if _is_report(each["Key"])]
    step = -(-len(keys) // MOST_REPORTS) or 1
    wanted = keys[::-1][::step][::-1]

    def read(key: str) -> dict[str, Any]:
        found: dict[str, Any] = json.load(s3.get_object(Bucket=where["Bucket"], Key=key)["Body"])
        return found

    with ThreadPoolExecutor(READERS) as pool:
        return list(pool.map(read, wanted)), len(keys)


def _is_report(key: str) -> bool:
    """Whether it is one window's report: those are named after their time."""
    name = key.rpartition("/")[2]
    return name.endswith(".json") and name[:1].isdigit()


def _alarms(plan: Plan, live: Live | None) -> list[Alarm]:
    """The alarms that the stack has, those that ring first; what each means is told by the stack itself."""
    states = (live.states if live else None) or {}
    sections = runbook_sections(plan.resources, plan.stack)
    found = []
    for each in plan.resources:
        if each.type == ALARM:
            name = str(each.inputs.get("name") or each.name)
            means = str(each.inputs.get("alarmDescription") or "").partition(" What to do: ")[0]
            state, since = states.get(name, ("", None))
            found.append(Alarm(name, state, since, means, sections.get(name, "")))
    order = {"ALARM": 0, "INSUFFICIENT_DATA": 1}
    return sorted(found, key=lambda each: (order.get(each.state, 2), each.name))
