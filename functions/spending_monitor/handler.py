"""The spending monitor's Lambda: what runs now, what that costs, whether it runs away, and what of it nobody uses."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol

import boto3

from functions.monitoring import report as reports
from functions.monitoring import windows
from functions.monitoring.windows import Verdict
from functions.spending_monitor.cluster import Cluster
from functions.spending_monitor.core import MONTH, Finding, History, Limits, Prices, Spender, judge, ranked
from functions.spending_monitor.product import Product

DRAWN: Final = 14 * 24
"""Hours of the plot."""


class Side(Protocol):
    """A part of AWS that spends."""

    def spenders(self, now: datetime, idle_after: timedelta) -> list[Spender]:
        """What runs, and what of it nobody has used for so long."""


@windows.once
def handler(event: Mapping[str, Any], _context: object) -> dict[str, Any]:
    """Judge what runs. Returns the report.

    `event` is the schedule's: whose spending it is (`endpoint`), its `product` (tags, pipelines) or `cluster` (name,
    pools), `prices` (USD an hour by instance type), `spot_share`, `limits` (those of core.Limits), `idle_hours`, and
    where `reports` go (an S3 URI that ends in a slash).
    """
    s3, now = boto3.client("s3"), datetime.now(UTC)
    limits = Limits(**event["limits"])
    spenders = ranked(_side(event).spenders(now, timedelta(hours=event["idle_hours"])))
    state = windows.load(s3, event["reports"], begin=now)
    history = History.from_json(state.kept)
    findings = judge(spenders, history, now, limits)
    usd_per_hour = sum(each.usd_per_hour for each in spenders)
    report = _report(event, spenders, findings, history, now, limits)
    history = history.seen(now, usd_per_hour, runaway=bool(findings))
    report |= _spent(history, now)
    idle = any(each.idle and not each.idle_is_told for each in spenders)
    verdict = Verdict(report["time"], event["endpoint"], len(spenders), {"runaway": bool(findings), "idle": idle})
    state = replace(state, since=now, kept=history.to_json()).judged(verdict)
    # A metric costs money only in the hours in which it has values: most endpoints are never idle.
    values = {"usd_per_hour": round(usd_per_hour, 4), "runaway": bool(findings), **({"idle": True} if idle else {})}
    windows.finish(s3, event["reports"], state, report, _page(report, history, limits, now), values)
    return report


def _side(event: Mapping[str, Any]) -> Side:
    prices, cloudwatch = Prices(event["prices"], event["spot_share"]), boto3.client("cloudwatch")
    if "cluster" in event:
        return Cluster(boto3.client("ec2"), cloudwatch, prices, **event["cluster"])
    return Product(boto3.client("sagemaker"), cloudwatch, prices, **event["product"])


def _report(
    event: Mapping[str, Any],
    spenders: Sequence[Spender],
    findings: Sequence[Finding],
    history: History,
    now: datetime,
    limits: Limits,
) -> dict[str, Any]:
    usd_per_hour = sum(each.usd_per_hour for each in spenders)
    left_alone = sum(each.usd_left_alone for each in spenders)
    usual = history.usual(now)
    idle = [each for each in spenders if each.idle]
    violations = [
        {
            "feature_name": event["endpoint"],
            "constraint_check_type": f"{each.check}_check",
            "description": each.description,
            "group": "runaway",
        }
        for each in findings
    ] + [
        {
            "feature_name": each.name,
            "constraint_check_type": "idle_check",
            "description": f"{each}: {each.idle}",
            "group": "idle",
        }
        for each in idle
    ]
    said = "; ".join(each["description"] for each in violations)
    quiet = (
        f"What runs costs {usd_per_hour:.2f} USD an hour; left alone for a month {left_alone:,.0f} USD of "
        f"{limits.usd_per_month:,.0f}."
    )
    return {
        "monitor": "spending",
        "endpoint": event["endpoint"],
        "model_package_arn": None,
        "time": now.isoformat(timespec="seconds"),
        "since": (history.at or now).isoformat(timespec="seconds"),
        "until": now.isoformat(timespec="seconds"),
        "status": "violated" if violations else "stable",
        "rows": len(spenders),
        "usd_per_hour": round(usd_per_hour, 4),
        "usd_left_alone": round(left_alone, 2),
        "usd_per_month": limits.usd_per_month,
        "usual_usd_per_hour": None if usual is None else round(usual, 4),
        "spenders": [_told(each) for each in spenders],
        "violations": violations,
        "summary": f"{said}." if said else quiet,
    }


def _spent(history: History, now: datetime) -> dict[str, Any]:
    """What instances have cost, as far as this monitor saw."""
    month = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return {
        "usd_last_24_hours": round(history.spent(now - timedelta(hours=23)), 2),
        "usd_this_month": round(history.spent(month), 2),
    }


def _told(each: Spender) -> dict[str, Any]:
    return {
        "kind": each.kind,
        "name": each.name,
        "instance_type": each.instance_type,
        "count": each.count,
        "usd_per_hour": round(each.usd_per_hour, 4),
        "usd_left_alone": round(each.usd_left_alone, 2),
        "since": each.since and each.since.astimezone(UTC).isoformat(timespec="seconds"),
        "hours_left": None if each.hours_left is None else round(each.hours_left, 2),
        "priced": each.priced,
        "idle": each.idle,
    }


def _page(report: Mapping[str, Any], history: History, limits: Limits, now: datetime) -> str:
    heads = ["what", "instances", "USD an hour", "left alone, USD a month", "used"]
    rows = [
        (
            f"{each['kind']} {each['name']}",
            f"{each['count']:g} {each['instance_type']}",
            round(each["usd_per_hour"], 2),
            round(each["usd_left_alone"]),
            each["idle"] or "yes",
        )
        for each in report["spenders"]
    ]
    hours = sorted(history.hours.items())[-DRAWN:]
    times = [datetime.fromisoformat(f"{hour}:00:00+00:00") for hour, _ in hours]
    pace = limits.usd_per_month / MONTH
    drawn = reports.line(times, [each.peak for _, each in hours], title="USD an hour", limit=pace)
    spent = [
        ("the last 24 hours", report["usd_last_24_hours"]),
        (f"{now:%B %Y}, since this is watched", report["usd_this_month"]),
        ("the budget for a month", report["usd_per_month"]),
    ]
    sections = [
        ("What costs most", reports.table(heads, rows) if rows else "Nothing runs."),
        ("USD an hour, and what the budget comes to", drawn),
        ("Spent on instances, in USD", reports.table(["in", "USD"], spent)),
    ]
    if report["violations"]:
        sections.insert(0, ("What is wrong", reports.listed(each["description"] for each in report["violations"])))
    return reports.page(f"Spending of {report['endpoint']}", report["summary"], sections, status=report["status"])
