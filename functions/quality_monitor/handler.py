"""The quality monitor's Lambda: reads captures and labels that are new, joins them with `core`, judges, and reports."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Final

import boto3

from functions import ledger
from functions.ledger import Period
from functions.live import live_package
from functions.monitoring import windows
from functions.monitoring.capture import records
from functions.monitoring.quality import THRESHOLD, Figures
from functions.monitoring.served import baseline_of
from functions.monitoring.windows import Found, State, Verdict
from functions.quality_monitor import verdict as judged
from functions.quality_monitor.core import Join, probabilities_of, read_ground_truth
from functions.quality_monitor.formats import constraints, read_statistics, statistics, violations
from functions.quality_monitor.verdict import Rules

HISTORY: Final = 100
"""Points of the plot."""
FINISH_SECONDS: Final = 30.0
"""What is left of a run's time to judge and report in; what it has not read by then is for the next."""


@windows.once
def handler(event: Mapping[str, Any], context: Any) -> dict[str, Any]:
    """Judge how good the endpoint's model is by the labels that have come since the last run. Returns the report.

    `event` is the schedule's: the `endpoint` and its `variant`; where `captures`, `ground_truth` and the endpoint's
    `reports` are (S3 URIs that end in a slash); the `ledger_bucket`; `days` that labels may take, `most_rows` that are
    remembered; `fewest_rows`, `least_coverage` and `floors` of a verdict; `windows` and `worse_windows` of the alarm.
    """
    s3, sagemaker, now = boto3.client("s3"), boto3.client("sagemaker"), datetime.now(UTC)
    left = getattr(context, "get_remaining_time_in_millis", lambda: 1e9)
    package = live_package(sagemaker, event["endpoint"])
    rules = Rules.of(event)
    state = windows.load(s3, event["reports"], begin=now - timedelta(days=event["days"]))
    join = Join.from_text(state.kept.get("join"), event["days"], event["most_rows"])

    @cache
    def figures(arn: str) -> Figures | None:
        return quality_of(s3, sagemaker, arn)

    def threshold(arn: str) -> float:
        return float((figures(arn) or {}).get("threshold") or THRESHOLD)

    periods = ledger.periods(ledger.entries(s3, event["ledger_bucket"], event["endpoint"]))
    read = list(_take_in(s3, event, state, join, threshold, _serving(periods, package), left))
    join.forget(now)
    window = join.windows.get(package)
    coverage = join.coverage(window) if window else None
    verdict = judged.judge(window, coverage, figures(package), rules)
    after, history = windows.after(state, read), state.kept.get("history", [])
    if verdict.is_judged:
        del join.windows[package]
        stamp = now.isoformat(timespec="seconds")
        history = [*history, [stamp, verdict.figures["accuracy"]]][-HISTORY:]
        flags = {"quality_drop": verdict.status == "violated"}
        after = after.judged(Verdict(stamp, package, verdict.figures["rows"], flags))
    stands = after.stands("quality_drop", package, of_last=event["windows"], at_least=event["worse_windows"])
    report = judged.report(
        event,
        package_arn=package,
        since=state.since,
        now=now,
        verdict=verdict,
        baseline=figures(package),
        window=window,
        join=join,
        stands=stands,
        files={"read": len(read), "bytes": sum(each.size for each in read)},
    )
    values: dict[str, float | bool] = {"quality_drop": stands}
    beside = {}
    if verdict.is_judged and window:
        values["accuracy"] = verdict.figures["accuracy"]
        beside = {
            "statistics.json": json.dumps(statistics(window.quality, now)),
            "constraints.json": json.dumps(constraints(figures(package) or {}, rules.floors)),
            "constraint_violations.json": json.dumps(violations(verdict.changes)),
        }
    after = replace(after, kept={"join": join.to_text(), "history": history})
    windows.finish(s3, event["reports"], after, report, judged.page(report, history), values, beside=beside)
    return report


def quality_of(s3: Any, sagemaker: Any, package_arn: str) -> Figures | None:
    """How good a version was when it was registered; None where nobody has said.

    Model Monitor's own baseline of model quality counts, where one was registered with the version.
    """
    package = sagemaker.describe_model_package(ModelPackageName=package_arn)
    told = package.get("DriftCheckBaselines", {}).get("ModelQuality", {})
    if "Statistics" in told:
        return read_statistics(json.load(s3.get_object(**windows.place(told["Statistics"]["S3Uri"]))["Body"]))
    return baseline_of(s3, sagemaker, package_arn).quality


def _serving(periods: list[Period], now_live: str) -> Callable[[datetime], str]:
    """Which version served at a time; before the ledger begins, the one that does now."""
    known = [(ledger.moment(each.since), each.package_arn) for each in periods]

    def at(when: datetime) -> str:
        return next((package for since, package in reversed(known) if since <= when), now_live)

    return at


def _take_in(
    s3: Any,
    event: Mapping[str, Any],
    state: State,
    join: Join,
    threshold: Callable[[str], float],
    serving: Callable[[datetime], str],
    left: Callable[[], float],
) -> Iterator[Found]:
    """Read what is new, the oldest first, for as long as there is time. Tells of each object that was read."""
    bucket = windows.place(event["captures"])["Bucket"]
    captures = f"{event['captures']}{event['endpoint']}/{event['variant']}/"
    # Labels are filed by when they were collected, and may be delivered any time after that.
    long_ago = replace(state, since=state.since - timedelta(days=event["days"]))
    labels = {
        each.key: each
        for each in windows.unread(s3, event["ground_truth"], long_ago)
        if each.modified >= state.since - windows.OVERLAP and each.key.endswith(".jsonl")
    }
    found = [*windows.unread(s3, captures, state), *labels.values()]
    for each in sorted(found, key=lambda each: (each.modified, each.key)):
        if left() < FINISH_SECONDS * 1000:
            return
        lines = s3.get_object(Bucket=bucket, Key=each.key)["Body"].iter_lines(chunk_size=1 << 16)
        if each.key in labels:
            read_ground_truth(join, lines, each.modified, threshold)
        else:
            _read_captures(join, lines, threshold, serving, each.modified)
        yield each


def _read_captures(
    join: Join,
    lines: Iterator[bytes],
    threshold: Callable[[str], float],
    serving: Callable[[datetime], str],
    written: datetime,
) -> None:
    for line in lines:
        if not line.strip():
            continue
        try:
            for record in records(line):
                event_id = record.inference_id or record.event_id
                probabilities = probabilities_of(record)
                if not event_id or not probabilities:
                    raise ValueError("a captured request without an id or an answer")
                at = ledger.moment(record.inference_time) if record.inference_time else written
                join.ask(event_id, at, serving(at), probabilities, threshold)
        except ValueError:
            join.counts.predictions_unreadable += 1
