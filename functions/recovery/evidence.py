"""Gathers what an alarm is decided on: what serves and what did before, how both did, and what else rings."""

import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from botocore.exceptions import ClientError

from functions import ledger
from functions.ledger import Entry
from functions.live import NothingLive, live_package
from functions.monitoring.windows import place
from functions.recovery.core import Alarm, Evidence, Live, Measured, TakenBack, kind_of

NAMESPACE: Final = "AWS/SageMaker"
COMPARED: Final = timedelta(hours=6)
"""How much of a version's time is looked at: its newest hours."""
MINUTE: Final = 60
MICROSECONDS: Final = 1000
"""In a millisecond: SageMaker counts latency in microseconds."""
REPORTS: Final = 50
"""So many of a monitor's newest reports are looked through."""
TAKEN_BACK_SECONDS: Final = 60
"""An alarm that ended a release may be told of a little after the release has ended."""


@dataclass(frozen=True)
class Sources:
    """Where the evidence is. Clients are boto3's."""

    endpoint: str
    variant: str
    alarms: Sequence[str]
    """The names of the alarms that are decided on."""
    ledger_bucket: str
    reports_uri: str
    """`s3://bucket/product/monitors`."""
    sagemaker: Any
    cloudwatch: Any
    s3: Any


def gather(alarm: Alarm, at: Sources) -> Evidence:
    """What is known now."""
    entries = ledger.entries(at.s3, at.ledger_bucket, at.endpoint)
    now = ledger.now()
    return Evidence(
        alarm=alarm,
        now=now,
        live=_live(entries, now, at),
        taken_back=_taken_back(alarm, entries),
        ringing=tuple(ringing(at)),
    )


def ringing(at: Sources) -> Iterator[Alarm]:
    """The endpoint's alarms that ring."""
    found = at.cloudwatch.describe_alarms(AlarmNames=list(at.alarms), AlarmTypes=["MetricAlarm"])["MetricAlarms"]
    for each in sorted(found, key=lambda each: str(each["AlarmName"])):
        kind = kind_of(at.endpoint, each["AlarmName"])
        if each["StateValue"] == "ALARM" and kind:
            since = ledger.stamp(each["StateUpdatedTimestamp"])
            yield Alarm(name=each["AlarmName"], kind=kind, reason=each.get("StateReason", ""), at=since)


def _taken_back(alarm: Alarm, entries: Sequence[Entry]) -> TakenBack | None:
    """The release that this alarm has ended, if it has."""
    for entry in reversed(entries):
        if entry.kind != "failed" or alarm.name not in entry.evidence.get("alarms", {}):
            continue
        late = ledger.moment(alarm.at) - ledger.moment(entry.at)
        if entry.evidence.get("started_at", "") <= alarm.at and late <= timedelta(seconds=TAKEN_BACK_SECONDS):
            alarms = tuple(sorted(entry.evidence["alarms"]))
            return TakenBack(package_arn=entry.package_arn, at=entry.at, alarms=alarms)
    return None


def _live(entries: Sequence[Entry], now: str, at: Sources) -> Live | None:
    """What serves, by SageMaker and the ledger; None where they know of nothing, or not of the same."""
    try:
        package = live_package(at.sagemaker, at.endpoint)
    except NothingLive:
        return None
    known = ledger.periods(entries)
    if not known or known[-1].package_arn != package or known[-1].until is not None:
        return None
    # A version may have been released again, such as with other settings: it serves since the first of these times.
    first = len(known) - 1
    while first and known[first - 1].package_arn == package:
        first -= 1
    period, last = known[first], known[first - 1] if first else None
    of = {monitor: list(reports(at, monitor)) for monitor in ("quality", "data")}
    own = {monitor: [each for each in found if each["model_package_arn"] == package] for monitor, found in of.items()}
    # The rollout's own minutes are both versions' doing.
    until = min(str(period.evidence.get("started_at") or period.since), period.since)
    return Live(
        package_arn=package,
        since=period.since,
        release=period.release,
        predecessor=ledger.before(known, package),
        went_back=bool(period.evidence.get("rollback")),
        was_accurate=any(each["status"] == "stable" for each in own["quality"]),
        was_steady=any(each["status"] == "stable" for each in own["data"]),
        now=measured(at, of, package, period.since, now),
        before=measured(at, of, last.package_arn, last.since, until) if last else Measured(),
    )


def measured(
    at: Sources, of: Mapping[str, Sequence[Mapping[str, Any]]], package: str, since: str, until: str
) -> Measured:
    """How a version did from one time to another (ISO 8601), of which the newest COMPARED are looked at.

    `of` has each monitor's reports, the newest first.
    """
    end = ledger.moment(until)
    begin = max(ledger.moment(since), end - COMPARED)
    newest = {
        monitor: next((each for each in found if each["model_package_arn"] == package), None)
        for monitor, found in of.items()
    }
    quality, data = newest["quality"], newest["data"]
    groups = [str(each.get("group")) for each in data["violations"]] if data else None
    return Measured(
        **_counted(at, begin, end),
        accuracy=quality["figures"]["accuracy"] if quality else None,
        labelled=int(quality["rows"]) if quality else 0,
        drifted_features=groups.count("drift") if groups is not None else None,
        predictions_moved="prediction" in groups if groups is not None else None,
    )


def _counted(at: Sources, begin: datetime, end: datetime) -> dict[str, Any]:
    """What CloudWatch counted, by the minute."""
    if (end - begin).total_seconds() < 1:
        return {}
    dimensions = [{"Name": "EndpointName", "Value": at.endpoint}, {"Name": "VariantName", "Value": at.variant}]
    asked = {
        "requests": ("Invocations", "Sum"),
        "errors": ("Invocation5XXErrors", "Sum"),
        "slow": ("ModelLatency", "p99"),
    }
    queries = [
        {
            "Id": name,
            "MetricStat": {
                "Metric": {"Namespace": NAMESPACE, "MetricName": metric, "Dimensions": dimensions},
                "Period": MINUTE,
                "Stat": stat,
            },
        }
        for name, (metric, stat) in asked.items()
    ]
    found: dict[str, list[float]] = {name: [] for name in asked}
    pages = at.cloudwatch.get_paginator("get_metric_data").paginate(
        MetricDataQueries=queries, StartTime=begin, EndTime=end
    )
    for page in pages:
        for each in page["MetricDataResults"]:
            found[each["Id"]] += each["Values"]
    slow = found["slow"]
    return {
        "requests": int(sum(found["requests"])),
        "errors": int(sum(found["errors"])),
        "latency_ms": statistics.median(slow) / MICROSECONDS if slow else None,
    }


def reports(at: Sources, monitor: str) -> Iterator[dict[str, Any]]:
    """A monitor's newest reports that say something, the newest first."""
    where = place(f"{at.reports_uri}/{monitor}/{at.endpoint}/")
    pages = at.s3.get_paginator("list_objects_v2").paginate(Bucket=where["Bucket"], Prefix=where["Key"])
    names = [each["Key"] for page in pages for each in page.get("Contents", []) if _is_report(each["Key"])]
    for key in sorted(names, reverse=True)[:REPORTS]:
        try:
            told: dict[str, Any] = json.load(at.s3.get_object(Bucket=where["Bucket"], Key=key)["Body"])
        except ClientError as error:
            if error.response["Error"]["Code"] != "NoSuchKey":
                raise
            continue  # it was tidied away a moment ago
        if told["status"] != "insufficient":
            yield told


def _is_report(key: str) -> bool:
    """Reports are called after their time."""
    name = key.rpartition("/")[2]
    return name.endswith(".json") and name[:1].isdigit()
