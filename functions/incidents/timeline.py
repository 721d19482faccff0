"""What happened to an endpoint when, as CloudWatch, CloudTrail, the ledger and the monitors' reports tell it.

A source that cannot be asked is named, and the others are told of: an incident is never lost for want of its timeline.
CloudTrail tells of a call up to 15 minutes late, so a timeline that is gathered again has more.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from functions import ledger
from functions.incidents import columns, store
from functions.incidents import runbook as runbooks
from functions.incidents.core import Event, Incident, Moved, merged
from functions.ledger import Entry

BEFORE: Final = timedelta(hours=3)
"""How long before an incident was opened its timeline begins."""
SERVICES: Final = ("events", "lambda", "monitoring", "sagemaker", "scheduler")
"""Whose calls are told of."""
CHANGES: Final = 1000
"""So many changes in the account, the newest first, are looked through: CloudTrail gives a hundred a second."""
DATED: Final = re.compile(r"20\d{6}(v\d)?$")
"""What CloudTrail writes behind the names of Lambda's operations."""
VERSION: Final = re.compile(r"arn:aws[\w-]*:sagemaker:[\w-]+:\d+:model-package/[\w-]+/(\d+)")
DULL: Final = frozenset({"AddTags", "TagResource", "UntagResource"})
NAMES: Final = (
    *("endpointName", "functionName", "inferenceComponentName", "modelName", "endpointConfigName", "modelPackageArn"),
    "modelPackageGroupName",
    *("alarmName", "alarmNames", "rule", "name", "resourceId"),
)
"""Where a call says what it is about."""


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Where to ask. Clients are boto3's; what is None or empty is not asked."""

    endpoint: str
    alarms: Sequence[str] = ()
    """The endpoint's alarms, by name."""
    cloudwatch: Any = None
    cloudtrail: Any = None
    s3: Any = None
    ledger_bucket: str = ""
    reports_uri: str = ""
    """`s3://<lake>/<product>/monitors`."""
    monitors: Sequence[str] = columns.MONITORS


@dataclass(frozen=True, kw_only=True)
class Told:
    """What was gathered."""

    timeline: tuple[Event, ...]
    moved: tuple[Moved, ...]
    """What moved first comes first."""
    silent: tuple[str, ...]
    """The sources that could not be asked, and why: a sentence each."""


class Cut(Exception):
    """A source that knows more than was read of it."""

    def __init__(self, events: Sequence[Event], sentence: str) -> None:
        super().__init__(sentence)
        self.events = events


def gather(at: Sources, opened: str, until: datetime | None = None) -> Told:
    """What is known of the time from BEFORE an incident was opened, until now."""
    end = until or datetime.now(UTC)
    since = min(ledger.moment(opened), end) - BEFORE
    asked: dict[str, Callable[[], Sequence[Event]]] = {}
    found: list[Mapping[str, Any]] = []
    silent: list[str] = []
    if at.cloudwatch is not None and at.alarms:
        asked["the alarms' history"] = lambda: of_alarms(at.cloudwatch, at.alarms, since, end)
    if at.cloudtrail is not None:
        asked["CloudTrail"] = lambda: of_cloudtrail(at.cloudtrail, at.endpoint, since, end)
    if at.s3 is not None and at.ledger_bucket:
        asked["the ledger"] = lambda: of_ledger(
            ledger.entries(at.s3, at.ledger_bucket, at.endpoint), ledger.stamp(since), ledger.stamp(end)
        )
    if at.s3 is not None and at.reports_uri:

        def reported() -> Sequence[Event]:
            found.extend(columns.read(at.s3, at.reports_uri, at.endpoint, since, end, at.monitors))
            return of_reports(found)

        asked["the monitors' reports"] = reported
    events: list[Event] = []
    for source, ask in asked.items():
        try:
            events += ask()
        except Cut as cut:
            events += cut.events
            silent.append(str(cut))
        except (ClientError, BotoCoreError, ValueError, KeyError) as error:
            silent.append(f"{source} could not be asked: {error}")
    return Told(timeline=merged(events), moved=columns.ranked(found), silent=tuple(silent))


def enrich(s3: Any, uri: str, identity: str, at: Sources, *, runbook: str = "") -> Incident:
    """Add to an incident what can be gathered of it by now: its timeline, what moved, and the next step.

    That is the first step which the stack's `runbook` (a dashboard's name) has for the incident's alarm.
    """
    known = store.load(s3, uri, identity)
    told = gather(at, known.opened)
    silent, step = list(told.silent), known.next_step
    if runbook and known.alarm and at.cloudwatch is not None:
        try:
            section = runbooks.section(at.cloudwatch, runbook, known.alarm)
            step = section.next_step if section and section.next_step else step
        except (ClientError, BotoCoreError, ValueError, KeyError) as error:
            silent.append(f"the runbook could not be read: {error}")
    return store.add(
        s3,
        uri,
        identity,
        events=told.timeline,
        moved=told.moved or known.moved,
        next_step=step,
        evidence={"not known": silent} if silent or "not known" in known.evidence else {},
    )


def of_alarms(cloudwatch: Any, alarms: Sequence[str], since: datetime, until: datetime) -> list[Event]:
    """When alarms went off and fell silent."""
    pages = cloudwatch.get_paginator("describe_alarm_history")

    def told(alarm: str) -> list[Event]:
        asked = {"AlarmName": alarm, "HistoryItemType": "StateUpdate", "StartDate": since, "EndDate": until}
        return [
            event
            for page in pages.paginate(**asked, PaginationConfig={"MaxItems": 200})
            for item in page["AlarmHistoryItems"]
            if (event := _of_alarm(item))
        ]

    with ThreadPoolExecutor(4) as pool:
        return [event for events in pool.map(told, alarms) for event in events]


def _of_alarm(item: Mapping[str, Any]) -> Event | None:
    said = json.loads(item["HistoryData"])
    state, before = said["newState"], said.get("oldState", {}).get("stateValue")
    alarm, at = item["AlarmName"], ledger.stamp(item["Timestamp"])
    if state["stateValue"] == "ALARM":
        return Event(at=at, what=rings(alarm, str(state.get("stateReason", ""))), source="alarm")
    if before == "ALARM":
        return Event(at=at, what=quiet(alarm, str(state.get("stateReason", ""))), source="alarm")
    return None


def rings(alarm: str, reason: str) -> str:
    """That an alarm went off, in the one wording that makes it one event whoever tells it."""
    return f"{alarm} rings: {reason}"


def quiet(alarm: str, reason: str) -> str:
    """That an alarm rings no longer, likewise."""
    return f"{alarm} is quiet: {reason}"


def of_cloudtrail(cloudtrail: Any, endpoint: str, since: datetime, until: datetime) -> list[Event]:
    """What was changed of what carries the endpoint's name, and by whom. Raises Cut."""
    named = re.compile(rf"(?<![A-Za-z0-9-]){re.escape(endpoint)}(?![A-Za-z0-9])")
    # It can be asked for one thing at a time; and of calls that only look there are thousands.
    changes = [{"AttributeKey": "ReadOnly", "AttributeValue": "false"}]
    pages = cloudtrail.get_paginator("lookup_events").paginate(
        LookupAttributes=changes, StartTime=since, EndTime=until, PaginationConfig={"MaxItems": CHANGES}
    )
    events = []
    for page in pages:
        for each in page["Events"]:
            if each["EventSource"].partition(".")[0] not in SERVICES:
                continue
            record = json.loads(each["CloudTrailEvent"])
            parameters = record.get("requestParameters") or {}
            if named.search(json.dumps(parameters)) and (event := _of_call(record, parameters)):
                events.append(event)
    if pages.resume_token:
        raise Cut(events, f"of CloudTrail only the newest {CHANGES:,} changes in the account were looked through")
    return events


def _of_call(record: Mapping[str, Any], parameters: Mapping[str, Any]) -> Event | None:
    action = DATED.sub("", record["eventName"])
    if action in DULL:
        return None
    about: Any = next((parameters[name] for name in NAMES if parameters.get(name)), "")
    subject = short(", ".join(map(str, about)) if isinstance(about, list) else str(about))
    refused = f" (refused: {record['errorCode']})" if record.get("errorCode") else ""
    what = f"{action} {subject} by {_who(record.get('userIdentity', {}))}{refused}"
    return Event(at=record["eventTime"], what=what, source="cloudtrail")


def short(text: str) -> str:
    """A text with versions instead of the ARNs of model packages."""
    return VERSION.sub(r"version \1", text)


def _who(identity: Mapping[str, Any]) -> str:
    """A session as `role/session`, a function's by its name, which its role's begins with; a service by its own."""
    arn = str(identity.get("arn", ""))
    found = re.search(r":assumed-role/(?:.*/)?([^/]+)/([^/]+)$", arn)
    if found:
        return found[2] if found[1].startswith(found[2]) else f"{found[1]}/{found[2]}"
    return re.split("[/:]", arn)[-1] or str(identity.get("invokedBy", "somebody unknown"))


def of_ledger(entries: Iterable[Entry], since: str, until: str) -> list[Event]:
    """What became of versions; of the time before, the one that serves. Times as the ledger has them."""
    known = [entry for entry in ledger.ordered(entries) if entry.at <= until]
    live = [entry for entry in known if entry.kind == "live" and entry.at < since][-1:]
    return [_of_entry(entry) for entry in (*live, *(entry for entry in known if entry.at >= since))]


def _of_entry(entry: Entry) -> Event:
    version = entry.package_arn.rpartition("/")[2]
    said = {
        "started": f"training {version} was started",
        "approved": f"version {version} was approved",
        "live": f"version {version} went live",
        "failed": f"version {version} did not go live",
        "retired": f"version {version} was retired",
        "removed": f"version {version} was removed",
    }[entry.kind]
    who = re.split("[/:]", entry.by)[-1]
    why = entry.evidence.get("reason") or ""
    return Event(at=entry.at, what=f"{said}, by {who}" + (f": {why}" if why else ""), source="release")


def of_reports(reports: Iterable[Mapping[str, Any]]) -> list[Event]:
    """When monitors changed their minds: each first report that finds something, and each first that does not."""
    told: list[Event] = []
    last: dict[str, str] = {}
    for report in columns.in_order(reports):
        monitor, status = str(report["monitor"]), str(report["status"])
        if status == "insufficient":
            continue
        if status != last.get(monitor, "stable"):
            told.append(Event(at=report["time"], what=f"{monitor} monitor: {report['summary']}", source="monitor"))
        last[monitor] = status
    return told
