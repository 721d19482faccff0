"""The service monitor's Lambda: reads SageMaker's metrics from CloudWatch, judges them with `core`, and reports."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import boto3

from functions.live import NothingLive, live_package
from functions.monitoring import windows
from functions.monitoring.windows import Verdict
from functions.service_monitor.core import (
    HOUR,
    KEPT_DAYS,
    MINUTE,
    MINUTES_SECONDS,
    SERVING,
    Burn,
    Least,
    Objective,
    Rule,
    Slot,
    burn,
    complete,
    counted_minutes,
    moved,
    uptime,
    used,
)
from functions.service_monitor.page import page

NAMESPACE: Final = "AWS/SageMaker"
MINUTES_BACK: Final = timedelta(seconds=MINUTES_SECONDS)
FARTHEST: Final = timedelta(days=3)
"""So far back, the minutes of missed runs are counted up; CloudWatch has them for 15 days."""


@windows.once
def handler(event: Mapping[str, Any], _context: object) -> dict[str, Any]:
    """Judge whether the endpoint answers, and in time. Returns the report.

    `event` is the schedule's: the `endpoint` and its `variant`, where its `reports` go (an S3 URI that ends in a
    slash), the shares `availability` and `latency` of requests that have to be good, `latency_ms`, the `rules` by which
    allowances burn, and `fewest_requests` and `fewest_bad` for that to say anything.
    """
    s3, cloudwatch, now = boto3.client("s3"), boto3.client("cloudwatch"), datetime.now(UTC)
    objectives = [Objective(name, float(event[name])) for name in ("availability", "latency")]
    rules = [Rule(**each) for each in event["rules"]]
    least = Least(event["fewest_requests"], event["fewest_bad"])
    moment = now.timestamp()
    state = windows.load(s3, event["reports"], begin=now - MINUTES_BACK)
    begin = max(min(state.since, now - MINUTES_BACK), now - FARTHEST)
    minutes = slots(cloudwatch, event, begin, now, MINUTE)
    hours = slots(cloudwatch, event, now - timedelta(days=KEPT_DAYS), now, HOUR)
    burns = [
        burn(minutes if rule.long_seconds <= MINUTES_SECONDS else hours, objective, rule, least, moment)
        for objective in objectives
        for rule in rules
    ]
    days = counted_minutes(state.kept.get("days", {}), minutes, state.kept.get("counted", 0), moment)
    package, status = _serves(event["endpoint"])
    down = [] if status in SERVING else [f"It answers nobody: {status}"]
    values = {"burning": bool(down) or any(each.rings for each in burns)}
    report = {
        "monitor": "service",
        "endpoint": event["endpoint"],
        "model_package_arn": package,
        "time": now.isoformat(timespec="milliseconds"),
        "since": state.since.isoformat(timespec="seconds"),
        "until": now.isoformat(timespec="seconds"),
        "status": _status(burns, down, minutes),
        "rows": int(sum(slot.requests for slot in minutes if slot.at >= state.since.timestamp() // MINUTE * MINUTE)),
        "violations": _violations(burns, down),
        "summary": _summary(event["endpoint"], burns, down, minutes, uptime(days, 1)),
        **values,
        "endpoint_status": status,
        "objectives": [
            {**asdict(each), "used": used(hours, each, moment), "latency_ms": event["latency_ms"]}
            for each in objectives
        ],
        "burns": [_told(each) for each in burns],
        "uptime": {"day": uptime(days, 1), "month": uptime(days)},
        "moved": [{**asdict(each), "at": _iso(each.at)} for each in moved(minutes, moment)],
    }
    state = state.judged(Verdict(report["time"], event["endpoint"], report["rows"], values))
    state = replace(state, since=now, kept={"days": days, "counted": complete(moment)})
    windows.finish(s3, event["reports"], state, report, page(report, minutes), values)
    return report


def slots(cloudwatch: Any, event: Mapping[str, Any], begin: datetime, end: datetime, period: int) -> list[Slot]:
    """What CloudWatch has of the endpoint, in periods of so many seconds; the oldest first."""
    dimensions = [
        {"Name": "EndpointName", "Value": event["endpoint"]},
        {"Name": "VariantName", "Value": event["variant"]},
    ]
    # SageMaker counts latency in microseconds. A count of values above a bound is a statistic of CloudWatch's own:
    # https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/Statistics-definitions.html
    wanted = {
        "requests": ("Invocations", "Sum"),
        "failed": ("Invocation5XXErrors", "Sum"),
        "timed": ("ModelLatency", "SampleCount"),
        "slow": ("ModelLatency", f"TC({event['latency_ms'] * 1000}:)"),
        **({"latency": ("ModelLatency", "p90")} if period == MINUTE else {}),
    }
    queries = [
        {
            "Id": name,
            "MetricStat": {
                "Metric": {"Namespace": NAMESPACE, "MetricName": metric, "Dimensions": dimensions},
                "Period": period,
                "Stat": statistic,
            },
        }
        for name, (metric, statistic) in wanted.items()
    ]
    first = datetime.fromtimestamp(begin.timestamp() // period * period, UTC)
    found: dict[int, dict[str, float]] = {}
    pages = cloudwatch.get_paginator("get_metric_data").paginate(
        MetricDataQueries=queries, StartTime=first, EndTime=end, ScanBy="TimestampAscending"
    )
    for answer in pages:
        for series in answer["MetricDataResults"]:
            for at, value in zip(series["Timestamps"], series["Values"], strict=True):
                scaled = value / 1000 if series["Id"] == "latency" else value
                found.setdefault(int(at.timestamp()), {})[series["Id"]] = scaled
    return [Slot(at, **values) for at, values in sorted(found.items())]


def _serves(endpoint: str) -> tuple[str | None, str]:
    """Which version the endpoint serves, and its state."""
    sagemaker = boto3.client("sagemaker")
    try:
        package = live_package(sagemaker, endpoint)
    except NothingLive as nothing:
        return None, str(nothing)
    return package, str(sagemaker.describe_endpoint(EndpointName=endpoint)["EndpointStatus"])


def _status(burns: Sequence[Burn], down: Sequence[str], minutes: Sequence[Slot]) -> str:
    if down or any(each.rings for each in burns):
        return "violated"
    return "stable" if any(slot.requests for slot in minutes) else "insufficient"


def _violations(burns: Sequence[Burn], down: Sequence[str]) -> list[dict[str, str]]:
    found = [("endpoint", "endpoint_check", each) for each in down]
    found += [(each.objective.name, f"{each.rule.name}_burn_check", each.sentence) for each in burns if each.rings]
    return [
        {"feature_name": name, "constraint_check_type": check, "description": description, "group": "service"}
        for name, check, description in found
    ]


def _summary(
    endpoint: str, burns: Sequence[Burn], down: Sequence[str], minutes: Sequence[Slot], up: float | None
) -> str:
    found = [*down, *(each.sentence for each in burns if each.rings)]
    if found:
        return f"{'; '.join(found)}."
    requests = sum(slot.requests for slot in minutes)
    if not requests:
        return f"Nobody asked {endpoint} anything."
    if slowly := [each.sentence for each in burns if each.is_burning]:
        return f"Nobody is woken, but it will not last for a month: {'; '.join(slowly)}."
    answered = "" if up is None else f", and it answered in {up:.2%} of the minutes of the last day"
    return f"{endpoint} keeps to its objectives: {requests:,.0f} requests looked at{answered}."


def _told(each: Burn) -> dict[str, Any]:
    return {
        "objective": each.objective.name,
        "rule": each.rule.name,
        "factor": each.rule.factor,
        "rings": each.rule.rings,
        "requests": each.requests,
        "bad": each.bad,
        "long_rate": each.long_rate,
        "short_rate": each.short_rate,
        "enough": each.enough,
        "is_burning": each.is_burning,
    }


def _iso(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
