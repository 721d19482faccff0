"""The data monitor's Lambda: read what was captured, judge it with the monitors' core, report to S3 and CloudWatch."""

import base64
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import boto3

from functions.data_monitor import large, page
from functions.live import live_package
from functions.monitoring import capture, formats, windows
from functions.monitoring.baseline import Baseline
from functions.monitoring.judge import judge
from functions.monitoring.served import baseline_of
from functions.monitoring.sketch import Profile, Schema
from functions.monitoring.windows import Found, State

FIRST: Final = timedelta(hours=1)
"""How far the very first run looks back."""
KEPT: Final = timedelta(hours=24)
"""For how long rows that are too few wait for more."""
BLOCK: Final = 200_000
"""Bytes that are parsed at a time: more is slower, as it leaves the processor's cache."""
FLAGS: Final = {"broken_data": "broken_windows", "drifting": "drifting_windows"}
"""What a window may be found to be, which is a metric of that name; and what in the event says in how many windows."""


@windows.once
def handler(event: Mapping[str, Any], _context: object) -> dict[str, Any]:
    """Judge what was captured since the last run, by the baseline of the model that serves. Returns the report.

    `event` is the schedule's input: the endpoint's name and variant, where its captures are and where reports go (S3
    URIs that end in a slash), how many windows it takes to ring, and how much is too much for one function. The machine
    that reads large captures calls this with `do`: see `large`.
    """
    s3 = boto3.client("s3")
    do = event.get("do")
    if do == "profile":
        schema = _baseline(s3, event["run"]).schema
        return large.read_part(s3, event["run"], event["part"], lambda keys: _profile(s3, event["run"], schema, keys))
    if do == "merge":
        baseline = _baseline(s3, event["run"])
        return large.merge(s3, event["run"], lambda *read: conclude(s3, event["run"], baseline, *read))
    return watch(s3, event)


def watch(s3: Any, event: Mapping[str, Any]) -> dict[str, Any]:
    """One run: everything that is new, judged; or, where that is too much, the start of a machine that does it.

    Raises RuntimeError, after that, where a machine that was started before failed: so that someone hears of it.
    """
    now = datetime.now(UTC)
    folder = event["reports"]
    state = windows.load(s3, folder, begin=now - FIRST)
    states = boto3.client("stepfunctions")
    failed = None
    if large.is_under_way(state):
        failed = large.failure(states, state, event["machine_arn"])
        if failed is None:
            return {"status": "reading", "execution": state.kept["large"]["execution"]}
        state = large.forgotten(state)
    package = event.get("model_package_arn") or live_package(boto3.client("sagemaker"), event["endpoint"])
    run = {**event, "model_package_arn": package}
    found = list(windows.unread(s3, f"{event['captures']}{event['endpoint']}/{event['variant']}/", state))
    if large.weight(found) > event["large_bytes"]:
        told = large.begin(s3, states, folder, state, run, found)
    else:
        baseline = _baseline(s3, run)
        window = _profile(s3, run, baseline.schema, [each.key for each in found])
        told = conclude(s3, run, baseline, state, found, window, now)
    if failed:
        raise RuntimeError(f"{failed} What it was to read is read again.")
    return told


def conclude(
    s3: Any,
    run: Mapping[str, Any],
    baseline: Baseline,
    state: State,
    found: Sequence[Found],
    window: Profile,
    now: datetime,
) -> dict[str, Any]:
    """Judge `window`, which is what the objects `found` hold, and report. Returns the report.

    Rows too few to judge are kept, and judged with those of the next runs.
    """
    package, read = run["model_package_arn"], window.rows
    kept, dropped = _kept(state, package, now)
    since = state.since.isoformat()
    if kept:
        window, since = window.merge(Profile.from_bytes(base64.b64decode(kept["profile"]))), kept["since"]
    verdict = judge(baseline, window)
    state = windows.after(state, list(found))
    if verdict.status == "insufficient":
        carried = {"profile": base64.b64encode(window.to_bytes()).decode(), "package": package, "since": since}
        state = replace(state, kept={"rows": carried} if window.requests or window.malformed else {})
    else:
        flags = {"broken_data": verdict.broken, "drifting": verdict.drifting}
        told = windows.Verdict(now.isoformat(timespec="seconds"), package, verdict.rows, flags)
        state = replace(state.judged(told), kept={})
    stands = {
        flag: state.stands(flag, package, of_last=run["windows"], at_least=run[least]) for flag, least in FLAGS.items()
    }
    moved = {each.feature_name for each in verdict.violations if each.group != "broken"}
    report: dict[str, Any] = {
        "monitor": "data",
        "endpoint": run["endpoint"],
        "model_package_arn": package,
        "time": now.isoformat(timespec="milliseconds"),
        "since": since,
        "until": state.since.isoformat(),
        "status": verdict.status,
        "rows": window.rows,
        "violations": [asdict(each) for each in verdict.violations],
        "summary": page.summary(verdict, window, since),
        "stands": stands,
        "requests": window.requests,
        "malformed": window.malformed,
        "examples": window.examples,
        "duplicates": window.duplicates,
        "dropped_rows": dropped,
        "drifted_features": len(moved),
        "findings": [asdict(each) for each in verdict.findings],
        "plots": page.plots(baseline, window, verdict.findings),
        "history": [asdict(each) for each in state.verdicts if each.subject == package],
        "objects": len(found),
        "bytes": sum(each.size for each in found),
        "tier": capture.TIER,
    }
    # Of a window too small to judge, what stands is said again: that nobody asks is no sign that it got better.
    values: dict[str, float | bool] = {"rows": read, **stands}
    if verdict.status != "insufficient":
        values["drifted_features"] = len(moved)
    beside = {
        "statistics.json": json.dumps(formats.statistics(window)),
        "constraint_violations.json": json.dumps(formats.violations(verdict.violations)),
    }
    windows.finish(s3, run["reports"], state, report, page.page(report), values, beside=beside)
    return report


def _baseline(s3: Any, run: Mapping[str, Any]) -> Baseline:
    return baseline_of(s3, boto3.client("sagemaker"), run["model_package_arn"])


def _kept(state: State, package: str, now: datetime) -> tuple[dict[str, Any] | None, int]:
    """The rows that wait for more, and how many have to be dropped: too old, or asked of another version."""
    kept: dict[str, Any] | None = state.kept.get("rows")
    if kept is None:
        return None, 0
    if kept["package"] == package and now - datetime.fromisoformat(kept["since"]) < KEPT:
        return kept, 0
    return None, Profile.from_bytes(base64.b64decode(kept["profile"])).rows


def _profile(s3: Any, run: Mapping[str, Any], schema: Schema, keys: Sequence[str]) -> Profile:
    """What these objects of the run's captures hold."""
    bucket = windows.place(run["captures"])["Bucket"]
    return capture.profile(schema, blocks(s3.get_object(Bucket=bucket, Key=key)["Body"] for key in keys))


def blocks(bodies: Iterable[Any]) -> Iterator[bytes]:
    """What objects hold, one after the other, in blocks; no line goes on from one object to the next."""
    waiting: list[bytes] = []
    size = 0
    for body in bodies:
        for chunk in body.iter_chunks(BLOCK):
            waiting.append(chunk)
            size += len(chunk)
            if size >= BLOCK:
                yield b"".join(waiting)
                waiting, size = [], 0
        waiting.append(b"\n")
    yield b"".join(waiting)
