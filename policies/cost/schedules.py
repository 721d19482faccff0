"""What the clock does to a cost: how often a schedule runs, and between which bounds a scheduled capacity lies when."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from policies.cost.prices import HOURS
from policies.rules import UNKNOWN

WEEK = 7 * 24 * 60
"""Minutes."""
WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")


@dataclass(frozen=True)
class Bounds:
    """The least and the most there may be of something, for a share of the week."""

    share: float
    low: float
    high: float


def runs_per_month(expression: str) -> float:
    """How often a `rate(…)`, `cron(…)` or `at(…)` runs in a month, rounded up. Raises ValueError for anything else."""
    if rate := re.fullmatch(r"rate\((\d+) (minute|hour|day)s?\)", expression):
        return HOURS / (int(rate[1]) * {"minute": 1 / 60, "hour": 1, "day": 24}[rate[2]])
    if cron := re.fullmatch(r"cron\((\S+) (\S+) (\S+) \S+ (\S+) \S+\)", expression):
        minute, hour, day, weekday = cron.groups()
        days = (
            31 if weekday == "?" and day == "*" else _matches(day, 31) if weekday == "?" else _matches(weekday, 7) * 5
        )
        return _matches(minute, 60) * _matches(hour, 24) * days
    if expression.startswith("at("):
        return 1
    raise ValueError(f"{expression!r} is no rate(…), cron(…) or at(…)")


def _matches(field: str, size: int) -> int:
    """How many of `size` values a field of a cron expression stands for, at most."""
    count = 0
    for part in field.split(","):
        span, _, step = part.partition("/")
        first, _, last = span.partition("-")
        width = size if first in ("*", "?") or (step and not last) else 1
        if first.isdigit() and last.isdigit():
            width = int(last) - int(first) + 1
        elif last:
            width = size
        count += math.ceil(width / int(step or 1))
    return min(count, size)


def bounds(low: float, high: float, actions: Sequence[Mapping[str, Any]]) -> list[Bounds]:
    """The bounds of a capacity through a week, as its scheduled actions change them from `low` and `high`.

    Actions that do not repeat by the week, or in several time zones, count at their least and their most all the time.
    """
    changes = [_change(each) for each in actions]
    when = [_minutes(each) for each in actions]
    zones = {each.get("timezone") or "UTC" for each in actions}
    if not actions:
        return [Bounds(1, low, high)]
    if None in when or len(zones) > 1:
        lows, highs = zip(*((least, most) for least, most in changes), strict=True)
        least = min(low, *(each for each in lows if each is not None), low)
        return [Bounds(1, least, max(high, *(each for each in highs if each is not None), high))]
    events = sorted((minute, change) for minutes, change in zip(when, changes, strict=True) for minute in minutes or ())
    found: list[Bounds] = []
    # Twice round: the week begins as the one before ended.
    for round_ in range(2):
        found = []
        for (minute, change), (following, _) in zip(events, [*events[1:], (events[0][0] + WEEK, None)], strict=True):
            low = low if change[0] is None else change[0]
            high = high if change[1] is None else change[1]
            found.append(Bounds((following - minute) / WEEK, min(low, high), high))
        if round_:
            break
    return found


def _change(action: Mapping[str, Any]) -> tuple[float | None, float | None]:
    told = action.get("scalableTargetAction") or {}
    values = (None, None) if told == UNKNOWN else (told.get("minCapacity"), told.get("maxCapacity"))
    low, high = (float(each) if isinstance(each, int | float | str) and _number(each) else None for each in values)
    return low, high


def _number(value: Any) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


def _minutes(action: Mapping[str, Any]) -> list[int] | None:
    """The minutes of a week at which an action happens; None where it does not repeat by the week."""
    cron = re.fullmatch(r"cron\((\S+) (\S+) (\S+) (\S+) (\S+)(?: (\S+))?\)", str(action.get("schedule")))
    if not cron:
        return None
    minute, hour, day, month, weekday, year = cron.groups()
    if day not in ("*", "?") or month != "*" or year not in (None, "*"):
        return None
    try:
        days = sorted(_values("*" if weekday == "?" else weekday, 1, 7))
        return sorted(
            ((on - 1) * 24 + at) * 60 + past
            for on in days
            for at in _values(hour, 0, 23)
            for past in _values(minute, 0, 59)
        )
    except ValueError:
        return None


def _values(field: str, first: int, last: int) -> set[int]:
    """The values that a field of a cron expression stands for. Raises ValueError where it is none."""
    return {value for part in field.split(",") for value in _part(part, first, last)}


def _part(part: str, first: int, last: int) -> Iterator[int]:
    span, _, step = part.partition("/")
    low, dash, high = span.partition("-")
    if low == "*":
        begin, end = first, last
    else:
        begin = _value(low)
        end = _value(high) if dash else last if step else begin
    if not first <= begin <= last or not first <= end <= last:
        raise ValueError(part)
    if end < begin:  # FRI-MON
        yield from range(begin, last + 1)
        begin = first
    yield from range(begin, end + 1, int(step or 1))


def _value(text: str) -> int:
    return WEEKDAYS.index(text.upper()) + 1 if text.upper() in WEEKDAYS else int(text)
