"""What is drawn over time: values with their limits, which columns moved when, and which version was live.

All share one stretch of time, so that what happens at once stands below each other. Lengths are SVG's units, which are
pixels on a phone.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from html import escape
from itertools import groupby, pairwise
from typing import Any, Final

from functions.ledger import Period, moment
from infra.history import History, version

WIDTH: Final = 340
PLOT: Final = 92
LEFT: Final = 4
FOOT: Final = 18
HEAD: Final = 14
CELL: Final = 14
MOST_ROWS: Final = 12


@dataclass(frozen=True)
class Stretch:
    """The time that is drawn, and what happened in it."""

    since: datetime
    until: datetime
    releases: tuple[tuple[datetime, str], ...] = ()
    """When a version went live, and which."""

    @property
    def seconds(self) -> float:
        return max(1.0, (self.until - self.since).total_seconds())

    def x(self, time: datetime, left: float = LEFT, width: float = WIDTH) -> float:
        """Where a time stands; what is outside stands at the edge."""
        share = (time - self.since).total_seconds() / self.seconds
        return left + min(1.0, max(0.0, share)) * (width - left - 4)

    def clock(self, time: datetime) -> str:
        """A time as it is worth reading in a stretch so long."""
        return f"{time.day} {time:%b}" if self.seconds > 4 * 86400 else _clock(time)


def _clock(time: datetime) -> str:
    """`21 Nov 19:43`, UTC."""
    return f"{time.day} {time:%b %H:%M}"


@dataclass(frozen=True)
class Series:
    """A value over time."""

    title: str
    points: tuple[tuple[datetime, float], ...]
    unit: str = ""
    limit: float | None = None
    """Beyond this it is wrong."""
    usual: float | None = None
    """What it was in training."""
    percent: bool = False

    def shown(self, value: float) -> str:
        """A value in words."""
        if self.percent:
            return f"{value:.1%}"
        digits = f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"
        if self.unit == "h" and abs(value) < 1:
            return f"{value * 60:.0f} min"
        return f"${digits}" if self.unit == "$" else f"{digits} {self.unit}".strip()


def stretch(
    reports: Mapping[str, Sequence[Mapping[str, Any]]], releases: History | None, at: datetime
) -> Stretch | None:
    """The time of all reports; None without any."""
    times = [moment(each["time"]) for found in reports.values() for each in found]
    if not times:
        return None
    live = [(moment(each.since), version(each.package_arn)) for each in (releases.periods if releases else ())]
    since = min(times)
    return Stretch(since, max(at, *times), tuple((when, name) for when, name in live if when >= since))


def trend(series: Series, over: Stretch) -> str:
    """A value over time (SVG): its limit dashed, what it was in training dotted, each release a line across."""
    values = [value for _, value in series.points]
    known = [*values, *(each for each in (series.limit, series.usual) if each is not None)]
    most, least = max(known), min(known)
    if least >= 0 and (least < most / 2 or most == 0):
        least = 0.0
    room = (most - least) or abs(most) or 1.0
    most, least = most + room * 0.08, least - (room * 0.08 if least else 0)

    def y(value: float) -> float:
        return HEAD + (1 - (value - least) / ((most - least) or 1.0)) * (PLOT - HEAD)

    drawn = [*_marks(over, PLOT)]
    if series.usual is not None:
        drawn.append(_level(y(series.usual), "usual", f"in training: {series.shown(series.usual)}"))
    if series.limit is not None:
        drawn.append(_level(y(series.limit), "limit", f"limit: {series.shown(series.limit)}"))
    points = [(over.x(time), y(value)) for time, value in series.points]
    line = "L".join(f"{x:.1f} {h:.1f}" for x, h in points)
    drawn.append(f'<path class="line" d="M{line}"/>')
    beyond = [series.limit is not None and _is_beyond(series, value) for value in values]
    for (x, h), (time, value), bad in zip(points, series.points, beyond, strict=True):
        told = escape(f"{_clock(time)}: {series.shown(value)}")
        kind, size = ("bad", 3.0) if bad else ("dot", 2.2)
        drawn.append(f'<circle class="{kind}" cx="{x:.1f}" cy="{h:.1f}" r="{size}"><title>{told}</title></circle>')
    told = f"{series.title}: {_told(series)}"
    return _svg(PLOT + FOOT, [*drawn, *_axis(over, PLOT)], told)


def _is_beyond(series: Series, value: float) -> bool:
    assert series.limit is not None
    above = series.usual is None or series.usual <= series.limit
    return value > series.limit if above else value < series.limit


def _told(series: Series) -> str:
    values = [value for _, value in series.points]
    least, most = series.shown(min(values)), series.shown(max(values))
    told = f"{series.shown(values[-1])} now, {least} to {most} in {len(values)} windows"
    if series.limit is not None:
        told += f"; limit {series.shown(series.limit)}"
    if series.usual is not None:
        told += f"; in training {series.shown(series.usual)}"
    return told


def sentence(series: Series) -> str:
    """What a trend shows, for who cannot see it."""
    return _told(series)


def strip(found: Sequence[Mapping[str, Any]], over: Stretch, title: str) -> str:
    """A mark for each window: high and red where something was wrong, low and green where not, grey where nobody could
    tell."""
    heights = {"violated": 14, "stable": 8, "insufficient": 4}
    drawn = []
    for each in found:
        x, tall = over.x(moment(each["time"])) - 1, heights.get(each["status"], 4)
        told = escape(f"{_clock(moment(each['time']))}: {each['status']}. {each['summary']}")
        place = f'x="{x:.1f}" y="{16 - tall}" width="2" height="{tall}"'
        drawn.append(f'<rect class="{escape(each["status"])}" {place}><title>{told}</title></rect>')
    counts = {name: sum(each["status"] == name for each in found) for name in heights}
    told = f"{title}: {len(found)} windows, {counts['violated']} with something wrong, {counts['stable']} well"
    return _svg(17, drawn, told, stretched=True)


def heat(found: Sequence[Mapping[str, Any]], over: Stretch) -> str:
    """Which columns were told of when (SVG): a row for each column that ever was, darker the further it had moved."""
    distances: dict[str, dict[datetime, float]] = {}
    for each in found:
        for finding in each.get("findings", ()):
            if finding["reasons"]:
                told = finding["statistics"].get("distance") or finding["statistics"].get("missing") or 0.0
                name = str(finding["feature"]) if finding["part"] == "feature" else "the answer"
                distances.setdefault(name, {})[moment(each["time"])] = min(1.0, abs(float(told)))
    if not distances:
        return ""
    names = sorted(distances, key=lambda name: (-max(distances[name].values()), name))[:MOST_ROWS]
    left = 8 + 6.4 * min(14, max(map(len, names)))
    height = CELL * len(names)
    times = [moment(each["time"]) for each in found]
    gaps = [over.x(two, left) - over.x(one, left) for one, two in pairwise(times)]
    wide = max(3.0, min([gap for gap in gaps if gap > 0] or [12.0]) - 1)
    drawn = [*_marks(over, height, left)]
    for row, name in enumerate(names):
        y = row * CELL
        drawn.append(f'<text x="{LEFT}" y="{y + 10.5}">{escape(name if len(name) <= 14 else name[:13] + "…")}</text>')
        drawn.append(f'<line class="rule" x1="{left}" x2="{WIDTH - 4}" y1="{y + CELL - 1}" y2="{y + CELL - 1}"/>')
        for time, far in sorted(distances[name].items()):
            told = escape(f"{name}, {_clock(time)}: moved by {far:.3f}")
            drawn.append(
                f'<rect class="bad" x="{over.x(time, left) - wide / 2:.1f}" y="{y + 1}" width="{wide:.1f}" '
                f'height="{CELL - 3}" opacity="{0.35 + 0.65 * min(1.0, far * 2):.2f}"><title>{told}</title></rect>'
            )
    label = f"Columns that moved: {', '.join(names)}"
    return _svg(height + FOOT, [*drawn, *_axis(over, height, left)], label)


def ribbon(found: History, at: datetime, width: int) -> str:
    """Which version was live from when to when (SVG): a bar for each, and what failed as a cross."""
    if not found.periods:
        return ""
    over = Stretch(moment(found.periods[0].since), at)
    drawn = []
    periods = [replace(last, since=first.since) for first, last in _together(found.periods)]
    for number, each in enumerate(periods):
        start = over.x(moment(each.since), width=width)
        end = over.x(moment(each.until) if each.until else at, width=width)
        told = f"version {version(each.package_arn)}: {_clock(moment(each.since))} to " + (
            f"{_clock(moment(each.until))}" if each.until else "now"
        )
        kind = "live" if each.until is None else f"past{number % 2}"
        drawn.append(
            f'<g><title>{escape(told)}</title><rect class="{kind}" x="{start:.1f}" y="4" rx="3" '
            f'width="{max(3.0, end - start - 1.5):.1f}" height="24"/>'
        )
        name, on = f"v{version(each.package_arn)}", "on-live" if each.until is None else "on"
        if end - start > 7 * len(name) + 6:
            drawn.append(f'<text class="{on}" x="{start + 6:.1f}" y="20">{escape(name)}</text>')
        drawn.append("</g>")
    for entry in found.entries:
        if entry.kind == "failed":
            x = over.x(moment(entry.at), width=width)
            told = f"{_clock(moment(entry.at))}: version {version(entry.package_arn)} failed"
            drawn.append(f'<path class="cross" d="M{x - 4:.1f} 32l8 8m0 -8l-8 8"><title>{escape(told)}</title></path>')
    spans = [
        f"version {version(each.package_arn)} since {_clock(moment(each.since))}"
        + (f" until {_clock(moment(each.until))}" if each.until else "")
        for each in periods
    ]
    label = f"What was live: {'; '.join(spans)}"
    return _svg(44 + FOOT, [*drawn, *_axis(over, 44, width=width)], label, width)


def _together(periods: Sequence[Period]) -> list[tuple[Period, Period]]:
    """The first and the last of periods that follow each other with one version."""
    runs = [list(run) for _, run in groupby(periods, key=lambda each: each.package_arn)]
    return [(run[0], run[-1]) for run in runs]


def _marks(over: Stretch, height: float, left: float = LEFT) -> Iterator[str]:
    for when, name in over.releases:
        x = over.x(when, left)
        told = escape(f"{_clock(when)}: version {name} went live")
        yield f'<line class="release" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{height}"><title>{told}</title></line>'


def _level(y: float, kind: str, told: str) -> str:
    place = f'x1="{LEFT}" x2="{WIDTH - 4}" y1="{y:.1f}" y2="{y:.1f}"'
    return f'<line class="{kind}" {place}><title>{escape(told)}</title></line>'


def _axis(over: Stretch, y: float, left: float = LEFT, width: float = WIDTH) -> Iterator[str]:
    yield f'<line class="rule" x1="{left}" x2="{width - 4}" y1="{y}" y2="{y}"/>'
    yield f'<text x="{left}" y="{y + 13}">{over.clock(over.since)}</text>'
    yield f'<text x="{width - 4}" y="{y + 13}" text-anchor="end">{over.clock(over.until)}</text>'


def _svg(height: float, drawn: Sequence[str], label: str, width: float = WIDTH, *, stretched: bool = False) -> str:
    kind = 'class="chart stretched" preserveAspectRatio="none"' if stretched else 'class="chart"'
    return (
        f'<svg {kind} viewBox="0 0 {width} {height:.0f}" role="img" aria-label="{escape(label)}">{"".join(drawn)}</svg>'
    )
