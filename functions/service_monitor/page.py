"""The service monitor's report as a page that a person can read in a minute."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from functions.monitoring import report as reports
from functions.service_monitor.core import MINUTES_SECONDS, Slot, span


def page(report: Mapping[str, Any], minutes: Sequence[Slot]) -> str:
    """The report as a page."""
    asked = [slot for slot in minutes if slot.requests]
    timed = [(slot.at, slot.latency) for slot in minutes if slot.latency is not None]
    of = {each["name"]: each for each in report["objectives"]}
    burns = [
        (
            each["objective"],
            each["rule"],
            each["factor"],
            each["long_rate"],
            each["short_rate"],
            each["requests"],
            each["bad"],
            "burning" if each["is_burning"] else "fine" if each["enough"] else "too little to tell",
        )
        for each in report["burns"]
    ]
    plots = [
        ("Requests a minute", "", _drawn([(slot.at, slot.requests) for slot in asked], "requests")),
        ("Share that failed", "", _drawn([(slot.at, slot.failed / slot.requests) for slot in asked], "failed")),
        (
            "Latency, ms",
            f"90 % of a minute's requests are quicker; dashed: {of['latency']['latency_ms']} ms",
            _drawn(timed, "latency", of["latency"]["latency_ms"]),
        ),
    ]
    heads = ["objective", "rule", "rings from", "burn, long", "burn, short", "requests", "bad", "verdict"]
    told = [f"{each['at']}: {_moved(each)}" for each in report["moved"]]
    facts = {
        **{f"{name}, of a month's allowance": _share(each["used"], "used") for name, each in of.items()},
        "uptime, a day": _share(report["uptime"]["day"]),
        "uptime, a month": _share(report["uptime"]["month"]),
        "endpoint": report["endpoint_status"],
    }
    sections = [
        ("What is wrong", reports.listed(each["description"] for each in report["violations"])),
        (f"The last {span(MINUTES_SECONDS)}", reports.figures(each for each in plots if each[2])),
        ("How fast the allowances are used up", reports.table(heads, burns)),
        ("When it changed", reports.listed(told)),
    ]
    title = f"Service of {report['endpoint']}"
    return reports.page(title, report["summary"], sections, status=report["status"], facts=facts)


def _drawn(points: Sequence[tuple[int, float]], title: str, limit: float | None = None) -> str:
    times = [datetime.fromtimestamp(at, UTC) for at, _ in points]
    return reports.line(times, [value for _, value in points], title=title, limit=limit)


def _moved(each: Mapping[str, Any]) -> str:
    words = {"requests": "requests a minute", "failed": "the share that failed", "latency_ms": "latency in ms"}
    return f"{words[each['series']]} went from {each['before']:.3g} to {each['after']:.3g}"


def _share(value: float | None, word: str = "") -> str:
    return "unknown" if value is None else f"{value:.2%} {word}".strip()
