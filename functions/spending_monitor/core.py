"""What runs costs: by the hour, left alone for a month, against the budget and against what it usually costs; and what
of it nobody uses.

Instances are counted, by far most of what a stack costs; the budget at AWS counts the rest, hours later.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

MONTH: Final = 730.0
"""Hours, as AWS's prices count a month."""
KEPT: Final = timedelta(days=35)
PAST: Final = timedelta(days=14)
USUAL_SHARE: Final = 0.95
"""What a stack costs in all but its dearest hours is usual, and a daily peak is among it."""
LEAST_HOURS: Final = 24
"""So many hours have to be known before anything can be unusual."""
TOP: Final = 3
"""So many of what costs most are named in a sentence."""

Check = Literal["over_budget", "unusual", "dear_day"]


@dataclass(frozen=True)
class Prices:
    """USD an hour by instance type, on demand."""

    usd: Mapping[str, float]
    spot_share: float
    """What is paid for spot, as a share of that."""

    def of(self, instance_type: str, *, spot: bool = False) -> float:
        """What is not in the table costs what its dearest type costs: it never counts as nothing."""
        known = self.usd.get(instance_type, max(self.usd.values()))
        return known * (self.spot_share if spot else 1)


@dataclass(frozen=True)
class Spender:
    """Something that runs and is paid for by the hour."""

    kind: str
    """`endpoint`, `training-job`, …, `pool`."""
    name: str
    instance_type: str
    count: float
    usd_per_hour: float
    """Of all its instances."""
    since: datetime | None = None
    hours_left: float | None = None
    """After which it ends by itself; None: not before somebody stops it."""
    priced: bool = True
    """Whether its type is in the price table."""
    idle: str = ""
    """Why nobody uses it; empty where somebody does."""
    idle_is_told: bool = False
    """Whether another alarm tells of that."""

    @classmethod
    def of(
        cls,
        kind: str,
        name: str,
        instance_type: str,
        count: float,
        prices: Prices,
        *,
        spot: bool = False,
        since: datetime | None = None,
        hours_left: float | None = None,
    ) -> "Spender":
        """Priced by the table."""
        usd = count * prices.of(instance_type, spot=spot)
        return cls(kind, name, instance_type, count, usd, since, hours_left, instance_type in prices.usd)

    @property
    def usd_left_alone(self) -> float:
        """What it costs in the coming month, unless somebody stops it."""
        hours = MONTH if self.hours_left is None else min(max(0.0, self.hours_left), MONTH)
        return self.usd_per_hour * hours

    def __str__(self) -> str:
        unpriced = "" if self.priced else ", which has no price here and counts as the dearest"
        return f"{self.kind} {self.name} ({self.count:g} {self.instance_type}{unpriced}: {self.usd_per_hour:.2f} USD/h)"


@dataclass(frozen=True)
class Limits:
    """What is too much."""

    usd_per_month: float
    """The stack's budget."""
    budget_percent: float
    """What runs may come to so much of it, left alone for a month."""
    usual_times: float
    """And to so many times what it usually costs."""
    unusual_percent: float
    """Unless what is above the usual comes to less than this of the budget, left alone."""
    day_percent: float
    """24 hours may cost so much of it."""


@dataclass(frozen=True)
class Finding:
    """Why cost runs away."""

    check: Check
    description: str


@dataclass(frozen=True)
class Hour:
    """What was spent in an hour."""

    usd: float = 0.0
    peak: float = 0.0
    """The most that ran at once, in USD an hour."""
    runaway: bool = False
    """Such an hour says nothing of what is usual."""


@dataclass(frozen=True)
class History:
    """What was spent, hour by hour, and what ran at the last look."""

    hours: Mapping[str, Hour] = field(default_factory=dict)
    """By the hour's name, as `hour_of` has it."""
    at: datetime | None = None
    usd_per_hour: float = 0.0

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> "History":
        """Read what `to_json` wrote, or nothing."""
        if not told:
            return cls()
        hours = {hour: Hour(usd, peak, bool(runaway)) for hour, (usd, peak, runaway) in told["hours"].items()}
        return cls(hours, datetime.fromisoformat(told["at"]), told["usd_per_hour"])

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        hours = {
            hour: [round(each.usd, 6), round(each.peak, 6), int(each.runaway)] for hour, each in self.hours.items()
        }
        return {"hours": hours, "at": self.at and self.at.isoformat(), "usd_per_hour": self.usd_per_hour}

    def seen(self, now: datetime, usd_per_hour: float, *, runaway: bool = False) -> "History":
        """With one more look. Between two looks the cost is taken to have changed evenly."""
        hours = dict(self.hours)
        start = now if self.at is None else max(self.at, now - KEPT)
        before, total = self.usd_per_hour, (now - start).total_seconds()
        while start < now:
            end = min(now, _begin(start) + timedelta(hours=1))
            middle = usd_per_hour - (usd_per_hour - before) * (now - start - (end - start) / 2).total_seconds() / total
            hour = hours.get(hour_of(start), Hour())
            hours[hour_of(start)] = replace(hour, usd=hour.usd + middle * (end - start).total_seconds() / 3600)
            start = end
        last = hours.get(hour_of(now), Hour())
        hours[hour_of(now)] = replace(last, peak=max(last.peak, usd_per_hour), runaway=last.runaway or runaway)
        oldest = hour_of(now - KEPT)
        return History({hour: each for hour, each in hours.items() if hour >= oldest}, now, usd_per_hour)

    def spent(self, since: datetime) -> float:
        """USD since the hour in which this is."""
        return sum(each.usd for hour, each in self.hours.items() if hour >= hour_of(since))

    def usual(self, now: datetime) -> float | None:
        """USD an hour that are usual; None while too little is known."""
        known = sorted(
            each.peak
            for hour, each in self.hours.items()
            if hour_of(now - PAST) <= hour < hour_of(now) and each.peak and not each.runaway
        )
        return known[min(len(known) - 1, int(len(known) * USUAL_SHARE))] if len(known) >= LEAST_HOURS else None


def hour_of(time: datetime) -> str:
    """An hour's name: `2026-11-21T16`, UTC."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H")


def _begin(time: datetime) -> datetime:
    return time.replace(minute=0, second=0, microsecond=0)


def ranked(spenders: Iterable[Spender]) -> list[Spender]:
    """What costs most comes first."""
    return sorted(spenders, key=lambda each: (-each.usd_per_hour, each.kind, each.name))


def judge(spenders: Sequence[Spender], history: History, now: datetime, limits: Limits) -> list[Finding]:
    """Why cost runs away; nothing where it does not. `history` is that of the runs before."""
    found = []
    usd_per_hour = sum(each.usd_per_hour for each in spenders)
    left_alone = sum(each.usd_left_alone for each in spenders)
    most = "; ".join(map(str, ranked(spenders)[:TOP]))
    budget = limits.usd_per_month
    if left_alone > budget * limits.budget_percent / 100:
        said = (
            f"left alone for a month, what runs now costs {_usd(left_alone)}, and the budget is {_usd(budget)}: {most}"
        )
        found.append(Finding("over_budget", said))
    usual = history.usual(now)
    if (
        usual is not None
        and usd_per_hour > limits.usual_times * usual
        and left_alone - usual * MONTH > budget * limits.unusual_percent / 100
    ):
        times = f"{usd_per_hour / usual:.1f} times" if usual else "instead of"
        said = f"what runs now costs {usd_per_hour:.2f} USD an hour, {times} the usual {usual:.2f}: {most}"
        found.append(Finding("unusual", said))
    day = history.seen(now, usd_per_hour).spent(now - timedelta(hours=23))
    if day > budget * limits.day_percent / 100:
        said = f"the last 24 hours cost {_usd(day)}, {100 * day / budget:.0f} % of the month's budget"
        found.append(Finding("dear_day", f"{said}; now: {most}" if most else said))
    return found


def _usd(amount: float) -> str:
    return f"{amount:,.0f} USD"
