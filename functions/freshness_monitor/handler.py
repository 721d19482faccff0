"""The freshness monitor's Lambda: reads the ingestion's receipts and the online store, and says if features are old."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import boto3

from functions.freshness_monitor.core import (
    Delivery,
    Finding,
    Limits,
    delivery,
    judge,
    latest,
    newest,
    span,
    to_look_up,
)
from functions.monitoring import report as reports
from functions.monitoring import windows
from functions.monitoring.windows import State, Verdict
from functions.rows import seconds

DRAWN: Final = 200
"""Points of the plot."""


@windows.once
def handler(event: Mapping[str, Any], _context: object) -> dict[str, Any]:
    """Judge how old the features are. Returns the report.

    `event` is the schedule's: the `endpoint`, its `feature_group` with the name and kind of that one's `event_time`,
    where the ingestion's `receipts` are and where `reports` go (S3 URIs that end in a slash), `max_age_seconds` and
    `deliveries`.
    """
    s3, now = boto3.client("s3"), datetime.now(UTC)
    limits = Limits(float(event["max_age_seconds"]), int(event["deliveries"]))
    group, moment = event["feature_group"], now.timestamp()
    # What was delivered earlier is old whatever it holds.
    state = windows.load(s3, event["reports"], begin=now - timedelta(seconds=2 * limits.max_age))
    kept = {"group": group, "deliveries": [], "newest": None, "since": moment, "ages": []}
    if state.kept.get("group") == group:  # what was read before a migration is of another
        kept |= state.kept
    unread = list(windows.unread(s3, event["receipts"], state, by_hour=False))
    came = [
        each
        for found in unread
        if (each := delivery(_receipt(s3, event["receipts"], found.key), group, found.modified.timestamp()))
    ]
    deliveries = latest([*(Delivery(**each) for each in kept["deliveries"]), *came])
    youngest = newest(came, kept["newest"])
    online = _online(group, event["event_time"], to_look_up(deliveries, limits, moment))
    findings = judge(deliveries, youngest, since=kept["since"], now=moment, limits=limits, online=online)
    report = _report(event, state, now, came, youngest, findings)
    age = moment - (kept["since"] if youngest is None else youngest)
    ages = [*kept["ages"], [report["time"], round(age)]][-DRAWN:]
    kept |= {"deliveries": [asdict(each) for each in deliveries], "newest": youngest, "ages": ages}
    verdict = Verdict(report["time"], group, report["rows"], {"stale": bool(findings)})
    state = replace(windows.after(state, unread).judged(verdict), kept=kept)
    html = _page(report, deliveries, ages, limits)
    windows.finish(s3, event["reports"], state, report, html, {"stale": bool(findings)})
    return report


def _receipt(s3: Any, folder: str, key: str) -> dict[str, Any]:
    receipt: dict[str, Any] = json.load(s3.get_object(Bucket=windows.place(folder)["Bucket"], Key=key)["Body"])
    return receipt


def _online(
    group: str, event_time: Mapping[str, Any], deliveries: Iterable[Delivery]
) -> list[tuple[Delivery, float | None]]:
    """Each delivery with the event time that the online store has of its newest record."""
    store, found = boto3.client("sagemaker-featurestore-runtime"), []
    name, kind = event_time["name"], event_time["kind"]
    for each in deliveries:
        told = store.get_record(FeatureGroupName=group, RecordIdentifierValueAsString=each.record, FeatureNames=[name])
        texts = [value["ValueAsString"] for value in told.get("Record", ()) if value["FeatureName"] == name]
        found.append((each, seconds(texts[0], name, kind) if texts else None))
    return found


def _report(
    event: Mapping[str, Any],
    state: State,
    now: datetime,
    came: Sequence[Delivery],
    youngest: float | None,
    findings: Sequence[Finding],
) -> dict[str, Any]:
    group = event["feature_group"]
    said = "; ".join(finding.description for finding in findings)
    return {
        "monitor": "freshness",
        "endpoint": event["endpoint"],
        "model_package_arn": None,
        "time": now.isoformat(timespec="seconds"),
        "since": state.since.isoformat(timespec="seconds"),
        "until": now.isoformat(timespec="seconds"),
        "status": "violated" if findings else "stable",
        "rows": sum(each.rows for each in came),
        "feature_group": group,
        "newest": None if youngest is None else _iso(youngest),
        "age_seconds": None if youngest is None else round(now.timestamp() - youngest),
        "max_age_seconds": event["max_age_seconds"],
        "deliveries": [asdict(each) for each in came],
        "violations": [
            {
                "feature_name": group,
                "constraint_check_type": f"{finding.check}_check",
                "description": finding.description,
                "group": "stale",
            }
            for finding in findings
        ],
        "summary": f"The features of {group} are stale: {said}." if said else _fresh(group, youngest, now),
    }


def _fresh(group: str, youngest: float | None, now: datetime) -> str:
    if youngest is None:
        return f"{group} has no features yet."
    return f"The newest features of {group} are {span(now.timestamp() - youngest)} old."


def _page(
    report: Mapping[str, Any], deliveries: Sequence[Delivery], ages: Sequence[tuple[str, float]], limits: Limits
) -> str:
    times = [datetime.fromisoformat(time) for time, _ in ages]
    hours = [age / 3600 for _, age in ages]
    told = [
        (_iso(each.at), each.file, each.rows, each.quarantined, "none" if each.lag is None else span(each.lag))
        for each in reversed(deliveries)
    ]
    heads = ["came", "file", "rows accepted", "in quarantine", "age of its newest row"]
    sections = [
        ("Age of the newest features, in hours", reports.line(times, hours, title="age", limit=limits.max_age / 3600)),
        ("The latest files", reports.table(heads, told) if told else "None."),
    ]
    if report["violations"]:
        sections.insert(0, ("What is wrong", reports.listed(each["description"] for each in report["violations"])))
    title = f"Freshness of {report['feature_group']}"
    return reports.page(title, report["summary"], sections, status=report["status"])


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
