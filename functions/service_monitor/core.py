"""Service levels: how fast an endpoint uses up the failures that it is allowed, and since when it is worse.

A burn rate is the share of bad requests over the share that the objective allows: at 1, a month's allowance lasts a
month. It rings where a long window shows that it matters and a short one that it still goes on (Google's Site
Reliability Workbook, chapter 5: multiwindow, multi-burn-rate alerts; the factors are its table 5-8).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import exp, log, sqrt
from typing import Any, Final

from functions.monitoring import changes

MINUTE: Final = 60
HOUR: Final = 3600
DAY: Final = 24 * HOUR
LATE: Final = 3 * MINUTE
"""A minute's metrics are complete this long after it ended."""
MINUTES_SECONDS: Final = 6 * HOUR
"""So far back, single minutes are looked at, and beyond that, hours."""
KEPT_DAYS: Final = 30
SERVING: Final = ("InService", "Updating", "SystemUpdating", "RollingBack", "UpdateRollbackFailed", "Creating")
"""In the other states, an endpoint answers nobody, nor is about to."""


@dataclass(frozen=True)
class Slot:
    """What happened in one period."""

    at: int
    """Its beginning, in seconds since 1970."""
    requests: float = 0
    failed: float = 0
    """Of the requests: answered with a 5xx."""
    timed: float = 0
    """So many requests have a latency."""
    slow: float = 0
    """Of those, over the objective's limit."""
    latency: float | None = None
    """The 90th percentile, in milliseconds."""


@dataclass(frozen=True)
class Objective:
    """What share of requests has to be good."""

    name: str
    """availability: answered without a 5xx; latency: in time."""
    target: float

    @property
    def allowance(self) -> float:
        """The share of requests that may be bad."""
        return 1 - self.target

    def counted(self, slot: Slot) -> tuple[float, float]:
        """All requests of a slot, and the bad ones."""
        return (slot.requests, slot.failed) if self.name == "availability" else (slot.timed, slot.slow)


@dataclass(frozen=True)
class Rule:
    """When an allowance is used up too fast."""

    name: str
    long_seconds: int
    short_seconds: int
    factor: float
    """The burn rate from which both windows count."""
    rings: bool
    """Whether somebody is woken; otherwise it is for the report."""


@dataclass(frozen=True)
class Least:
    """How much has to have happened in the long window: of two requests, one that fails says nothing."""

    requests: float
    bad: float


@dataclass(frozen=True)
class Burn:
    """One objective by one rule."""

    objective: Objective
    rule: Rule
    requests: float
    """In the long window."""
    bad: float
    long_rate: float
    short_rate: float
    enough: bool

    @property
    def is_burning(self) -> bool:
        return self.enough and min(self.long_rate, self.short_rate) >= self.rule.factor

    @property
    def rings(self) -> bool:
        return self.is_burning and self.rule.rings

    @property
    def sentence(self) -> str:
        what = "failed" if self.objective.name == "availability" else "were too slow"
        return (
            f"{self.bad:,.0f} of {self.requests:,.0f} requests {what} within {span(self.rule.long_seconds)}: "
            f"{self.long_rate:.3g} times what {self.objective.target:.6g} allows, and still {self.short_rate:.3g} "
            f"times in the last {span(self.rule.short_seconds)}"
        )


@dataclass(frozen=True)
class Moved:
    """A series of the service changed its level: for an incident's note."""

    series: str
    """requests (a minute), failed (a share), latency_ms (the 90th percentile)."""
    at: int
    before: float
    after: float


def span(seconds: int) -> str:
    """A length of time in words."""
    for unit, name in ((DAY, "day"), (HOUR, "hour"), (MINUTE, "minute")):
        if seconds >= unit:
            count = seconds / unit
            return f"{count:g} {name}{'' if count == 1 else 's'}"
    return f"{seconds:g} seconds"


def within(slots: Iterable[Slot], objective: Objective, now: float, seconds: int) -> tuple[float, float]:
    """All requests of the last seconds, and the bad ones."""
    counted = [objective.counted(slot) for slot in slots if now - seconds < slot.at <= now]
    return sum(requests for requests, _ in counted), sum(bad for _, bad in counted)


def burn(slots: Sequence[Slot], objective: Objective, rule: Rule, least: Least, now: float) -> Burn:
    """How fast an objective's allowance is used up. Slots have to be shorter than the rule's short window."""
    requests, bad = within(slots, objective, now, rule.long_seconds)
    recent, recent_bad = within(slots, objective, now, rule.short_seconds)
    return Burn(
        objective,
        rule,
        requests,
        bad,
        _rate(bad, requests, objective),
        _rate(recent_bad, recent, objective),
        requests >= least.requests and bad >= least.bad,
    )


def _rate(bad: float, requests: float, objective: Objective) -> float:
    return bad / requests / objective.allowance if requests else 0.0


def used(slots: Sequence[Slot], objective: Objective, now: float) -> float | None:
    """How much of the allowance of KEPT_DAYS is used up; above 1, the objective is missed. None without requests."""
    requests, bad = within(slots, objective, now, KEPT_DAYS * DAY)
    return _rate(bad, requests, objective) if requests else None


Uptime = Mapping[str, Sequence[int]]
"""Day → minutes in which somebody asked, and those of them in which anybody was answered."""


def counted_minutes(known: Uptime, slots: Iterable[Slot], since: float, now: float) -> dict[str, list[int]]:
    """With the minutes from `since` on that are complete; the days that are too long ago are forgotten."""
    days = {day: list(minutes) for day, minutes in known.items()}
    for slot in slots:
        if slot.requests and since <= slot.at < complete(now):
            minutes = days.setdefault(f"{datetime.fromtimestamp(slot.at, UTC):%Y-%m-%d}", [0, 0])
            minutes[0] += 1
            minutes[1] += slot.requests > slot.failed
    return dict(sorted(days.items())[-KEPT_DAYS:])


def complete(now: float) -> int:
    """Minutes that began before this are complete."""
    return int((now - LATE) // MINUTE * MINUTE)


def uptime(known: Uptime, days: int = KEPT_DAYS) -> float | None:
    """The share of minutes in which it answered, of those in which it was asked, over the last days with any."""
    counts = [known[day] for day in sorted(known)[-days:]]
    asked = sum(minutes for minutes, _ in counts)
    return sum(answered for _, answered in counts) / asked if asked else None


def moved(slots: Sequence[Slot], now: float) -> list[Moved]:
    """Since when the service is another, the earliest first: changes of level in what each minute brought.

    Counts vary as their root and latencies by factors, so those are looked at as such; minutes without requests have
    neither failures nor a latency.
    """
    minutes = [slot for slot in slots if slot.at < complete(now)]
    asked = [slot for slot in minutes if slot.requests]
    timed = [(slot.at, slot.latency) for slot in minutes if slot.latency]
    found = [
        *_moved("requests", [(slot.at, sqrt(slot.requests)) for slot in _filled(minutes)], lambda level: level**2),
        *_moved("failed", [(slot.at, slot.failed / slot.requests) for slot in asked], float),
        *_moved("latency_ms", [(at, log(latency)) for at, latency in timed], exp),
    ]
    return sorted(found, key=lambda each: (each.at, each.series))


def _moved(name: str, points: Sequence[tuple[int, float]], shown: Any) -> list[Moved]:
    found = changes.changes([value for _, value in points], shortest=3)
    return [Moved(name, points[each.index][0], shown(each.before), shown(each.after)) for each in found]


def _filled(minutes: Sequence[Slot]) -> list[Slot]:
    """Every minute from the first to the last: those that tell nothing had no requests."""
    if not minutes:
        return []
    known = {slot.at: slot for slot in minutes}
    return [known.get(at, Slot(at)) for at in range(min(known), max(known) + 1, MINUTE)]
