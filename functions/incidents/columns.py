"""What moved first: columns ranked over the reports of the monitors, in time."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, Final

from functions.incidents.core import Moved, line
from functions.ledger import READERS, moment, stamp

MONITORS: Final = ("data", "quality", "service", "freshness", "spending")
MOST_REPORTS: Final = 96
"""The newest of each monitor that are read: a day of those that run every quarter of an hour."""
GAP: Final = 1
"""How many windows in which a column was well are passed over: a monitor asks for K of N, not for all."""


def read(
    s3: Any, reports_uri: str, endpoint: str, since: datetime, until: datetime, monitors: Sequence[str] = MONITORS
) -> list[dict[str, Any]]:
    """The reports of a stretch of time; each with its `uri`. `reports_uri` is `s3://<lake>/<product>/monitors`."""
    bucket, _, prefix = reports_uri.rstrip("/").removeprefix("s3://").partition("/")
    pages = s3.get_paginator("list_objects_v2")
    keys: list[str] = []
    for monitor in monitors:
        folder = f"{prefix}/{monitor}/{endpoint}/"
        first = f"{folder}{since.astimezone(UTC):%Y-%m-%dT%H-%M-%S}"
        last = f"{folder}{until.astimezone(UTC):%Y-%m-%dT%H-%M-%S}~"
        found = [
            each["Key"]
            for page in pages.paginate(Bucket=bucket, Prefix=folder, StartAfter=first)
            for each in page.get("Contents", [])
        ]
        reports = [key for key in found if key.endswith(".json") and "/" not in key[len(folder) :] and key < last]
        keys += [key for key in reports if key[len(folder) :][:1].isdigit()][-MOST_REPORTS:]

    def load(key: str) -> dict[str, Any]:
        report: dict[str, Any] = json.load(s3.get_object(Bucket=bucket, Key=key)["Body"])
        return {**report, "uri": f"s3://{bucket}/{key}"}

    with ThreadPoolExecutor(READERS) as pool:
        return list(pool.map(load, keys))


def in_order(reports: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The oldest first."""
    return sorted(reports, key=lambda each: moment(str(each["time"])))


def ranked(reports: Iterable[Mapping[str, Any]]) -> tuple[Moved, ...]:
    """The columns that are not as they were: who moved first is first; of those at the same time, who moved furthest.

    A column counts where its last window but GAP still found something; it moved in the first window of that row.
    """
    by_monitor: dict[str, list[Mapping[str, Any]]] = {}
    for report in in_order(reports):
        if report["status"] != "insufficient":
            by_monitor.setdefault(str(report["monitor"]), []).append(report)
    moved = [found for windows in by_monitor.values() for found in _of_one(windows)]
    return tuple(sorted(moved, key=lambda each: (each.since, -each.score, each.name)))


def _of_one(windows: Sequence[Mapping[str, Any]]) -> Iterator[Moved]:
    said = [_said(report) for report in windows]
    for name in sorted({name for each in said for name in each}):
        seen = [number for number, each in enumerate(said) if name in each]
        if len(said) - 1 - seen[-1] > GAP:
            continue  # it came back
        first = seen[-1]
        for number in reversed(seen):
            if first - number > GAP + 1:
                break
            first = number
        score, detail = said[seen[-1]][name]
        since = windows[first].get("since") or windows[first]["time"]
        yield Moved(name=name, score=score, since=stamp(moment(str(since))), detail=detail)


def _said(report: Mapping[str, Any]) -> dict[str, tuple[float, str]]:
    """What a report finds of each column: how far it is (where that is not measured, in how many ways), in words."""
    far = {
        str(each["feature"]): float(each["statistics"]["distance"])
        for each in report.get("findings", ())
        if math.isfinite(each.get("statistics", {}).get("distance", math.nan))
    }
    told: dict[str, list[str]] = {}
    for violation in report["violations"]:
        name = violation.get("feature_name")
        if name:
            told.setdefault(str(name), []).append(str(violation.get("description", "")))
    return {name: (far.get(name, float(len(texts))), line("; ".join(texts))) for name, texts in told.items()}
