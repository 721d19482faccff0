"""What a scenario came to: measures and checks, as a line of a table, as JSON, and as a page with a time line."""

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from rich.markup import escape
from rich.table import Table

Source = str
"""Whom something is known from: break, person, alarm, release, recovery, incident, traffic."""


@dataclass(frozen=True)
class Moment:
    """Something that happened, so many real seconds after the break (before it: less than 0)."""

    seconds: float
    source: Source
    what: str


@dataclass(frozen=True)
class Check:
    """Something that has to be so for a scenario to pass."""

    what: str
    ok: bool
    detail: str


@dataclass
class Report:
    """One scenario, as it went."""

    scenario: str
    breaks: str
    """What was broken, in a sentence."""
    second: float
    """Real seconds that a second of schedules and alarm periods took."""
    detected: float | None = None
    """Real seconds after the break; None: not at all."""
    decided: float | None = None
    recovered: float | None = None
    shown: dict[str, float] = field(default_factory=dict)
    """By detect, decide and recover, how much later it was by then on the clock of schedules and alarm periods, in its
    seconds: that clock waits for functions that run."""
    took: float = 0.0
    """Real seconds for all of it, preparations and putting things back included."""
    alarm: str = ""
    """The first alarm that rang of those that should."""
    decision: str = ""
    why: str = ""
    requests: Mapping[str, Any] = field(default_factory=dict)
    """How many were sent and lost between the break and the recovery, and with what words; and after it."""
    incident: str = ""
    """Its id."""
    incident_uri: str = ""
    note: str = ""
    """The incident's note."""
    checks: list[Check] = field(default_factory=list)
    timeline: list[Moment] = field(default_factory=list)
    traffic: Sequence[Mapping[str, int]] = ()
    """Requests answered and lost in each second since `traffic_from`."""
    traffic_from: float = 0.0
    """Seconds after the break; less than 0, for requests come before it."""

    @property
    def passed(self) -> bool:
        """Whether all that has to be so is so."""
        return bool(self.checks) and all(check.ok for check in self.checks)

    @property
    def people(self) -> list[str]:
        """What people did."""
        return [moment.what for moment in self.timeline if moment.source == "person"]

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        measured = {"detect": self.detected, "decide": self.decided, "recover": self.recovered}
        told = ("detected", "decided", "recovered", "shown")
        rest = {key: value for key, value in asdict(self).items() if key not in told}
        return {
            "scenario": self.scenario,
            "passed": self.passed,
            "seconds": measured,
            "virtual_seconds": {key: self.shown.get(key) for key in measured},
            "people": self.people,
            **rest,
        }


def as_json(reports: Sequence[Report]) -> str:
    """All of them."""
    passed = bool(reports) and all(report.passed for report in reports)
    return json.dumps({"passed": passed, "scenarios": [report.to_dict() for report in reports]}, indent=2)


def duration(seconds: float | None) -> str:
    """`4.2 s`, `7 min`, `2.5 h`."""
    if seconds is None:
        return "never"
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def rows(reports: Sequence[Report]) -> list[list[str]]:
    """A table's rows; COLUMNS are their headings."""
    return [
        [
            report.scenario,
            "passed" if report.passed else "FAILED",
            f"{duration(report.detected)} ({report.alarm or 'no alarm'})",
            f"{duration(report.decided)} ({report.decision or 'nothing'})",
            duration(report.recovered),
            f"{report.requests.get('lost', 0)} of {report.requests.get('sent', 0)}",
            report.incident or "none",
            duration(report.took),
        ]
        for report in reports
    ]


COLUMNS: Final = ("scenario", "", "detected", "decided", "recovered", "lost", "incident", "took")


def table(reports: Sequence[Report]) -> Table:
    """A line for each."""
    shown = Table(*COLUMNS, title="Game day", title_justify="left", title_style="bold", box=None)
    for row in rows(reports):
        shown.add_row(*map(escape, row))
    return shown


def lines(report: Report) -> list[str]:
    """What is worth reading of one scenario in a terminal, below the table."""
    pace = f"time of schedules and alarm periods: 1 s in {report.second:g} s"
    shown = [duration(report.shown.get(each)) for each in ("detect", "decide", "recover")]
    told = [
        f"{report.scenario}: {report.breaks}",
        f"  {pace}; by it, detected after {shown[0]}, decided after {shown[1]}, recovered after {shown[2]}",
    ]
    if report.why:
        told.append(f"  why: {report.why}")
    told += [f"  person: {what}" for what in report.people]
    told += [f"  {'ok' if check.ok else 'NOT SO'}: {check.what} ({check.detail})" for check in report.checks]
    if report.incident_uri:
        told.append(f"  incident note: {report.incident_uri}")
    return told


# --- a page -----------------------------------------------------------------------------------------------------------

WIDTH: Final = 1000
LEFT: Final = 110
PLOT: Final = 120
LANE: Final = 18
COLORS: Final[Mapping[str, str]] = {
    "break": "#b00020",
    "person": "#6a1b9a",
    "alarm": "#e65100",
    "monitor": "#ef6c00",
    "release": "#1565c0",
    "recovery": "#00695c",
    "incident": "#37474f",
    "traffic": "#2e7d32",
}
STYLE: Final = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 64rem; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; width: 100% } td, th { text-align: left; padding: .2rem .6rem; vertical-align: top }
tr { border-bottom: 1px solid #ddd } pre { background: #f6f6f6; padding: 1rem; white-space: pre-wrap }
.passed { color: #2e7d32 } .failed { color: #b00020; font-weight: bold } svg { width: 100%; height: auto }
h2 { margin-top: 3rem; border-top: 2px solid #222; padding-top: 1rem }
"""


def page(reports: Sequence[Report]) -> str:
    """A page that needs nothing else."""
    heads = "".join(f"<th>{html.escape(column)}</th>" for column in COLUMNS)
    table = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows(reports)
    )
    sections = "".join(map(_section, reports))
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Game day</title>'
        f"<style>{STYLE}</style><h1>Game day</h1><table><tr>{heads}</tr>{table}</table>{sections}</html>\n"
    )


def _section(report: Report) -> str:
    verdict = '<span class="passed">passed</span>' if report.passed else '<span class="failed">failed</span>'
    checks = "".join(
        f'<tr><td class="{"passed" if check.ok else "failed"}">{"yes" if check.ok else "NO"}</td>'
        f"<td>{html.escape(check.what)}</td><td>{html.escape(check.detail)}</td></tr>"
        for check in report.checks
    )
    events = "".join(
        f"<tr><td>{moment.seconds:+.1f} s</td>"
        f'<td style="color:{COLORS.get(moment.source, "#222")}">{html.escape(moment.source)}</td>'
        f"<td>{html.escape(moment.what)}</td></tr>"
        for moment in report.timeline
    )
    summary = "".join(f"<p>{html.escape(line.strip())}</p>" for line in lines(report)[:3])
    note = f"<h3>Incident note</h3><pre>{html.escape(report.note)}</pre>" if report.note else ""
    return (
        f"<h2>{html.escape(report.scenario)}: {verdict}</h2>{summary}{_drawing(report)}"
        f"<h3>What has to be so</h3><table>{checks}</table><h3>What happened</h3><table>{events}</table>{note}"
    )


def _drawing(report: Report) -> str:
    """Requests by the second, and below them a lane for each source with its events."""
    first = min([report.traffic_from, *(moment.seconds for moment in report.timeline)], default=0.0)
    last = max([report.traffic_from + len(report.traffic), *(moment.seconds for moment in report.timeline), first + 1])
    most = max([each["answered"] + each["lost"] for each in report.traffic] or [1]) or 1
    lanes = [source for source in COLORS if any(moment.source == source for moment in report.timeline)]
    height = PLOT + 30 + LANE * len(lanes) + 24

    def x(seconds: float) -> float:
        return LEFT + (seconds - first) / (last - first) * (WIDTH - LEFT - 10)

    width = max(1.0, x(first + 1) - x(first) - 1)
    parts = [f'<text x="0" y="{PLOT / 2:.0f}">requests/s</text><text x="0" y="20">{most}</text>']
    for second, each in enumerate(report.traffic):
        bottom = float(PLOT)
        for name, color in (("answered", "#a5d6a7"), ("lost", "#b00020")):
            tall = each[name] / most * (PLOT - 10)
            bottom -= tall
            left = x(report.traffic_from + second)
            parts.append(
                f'<rect x="{left:.1f}" y="{bottom:.1f}" width="{width:.1f}" height="{tall:.1f}" fill="{color}"/>'
            )
    marks = {"broken": 0.0, "detected": report.detected, "decided": report.decided, "recovered": report.recovered}
    for name, at in marks.items():
        if at is not None:
            line = f'x1="{x(at):.1f}" x2="{x(at):.1f}" y1="0" y2="{height - 20}"'
            parts.append(f'<line {line} stroke="#222" stroke-dasharray="4 3"/>')
            parts.append(f'<text x="{x(at) + 3:.1f}" y="{PLOT + 16}">{name}</text>')
    for row, source in enumerate(lanes):
        y = PLOT + 30 + LANE * row + LANE / 2
        parts.append(f'<text x="0" y="{y + 4:.0f}" fill="{COLORS[source]}">{source}</text>')
        for moment in report.timeline:
            if moment.source == source:
                title = html.escape(f"{moment.seconds:+.1f} s: {moment.what}")
                parts.append(
                    f'<circle cx="{x(moment.seconds):.1f}" cy="{y:.1f}" r="5" fill="{COLORS[source]}">'
                    f"<title>{title}</title></circle>"
                )
    for share in (0, 0.25, 0.5, 0.75, 0.96):
        at = first + (last - first) * share
        parts.append(f'<text x="{x(at):.0f}" y="{height - 4}">{at:+.0f} s</text>')
    return f'<svg viewBox="0 0 {WIDTH} {height:.0f}" font-size="12" role="img">{"".join(parts)}</svg>'
