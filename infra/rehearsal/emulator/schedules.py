"""What happens at its time: EventBridge Scheduler's schedules, and rules on a schedule.

Where the emulator's clock is quick (pace.py), what is due is so by that clock; else by the one on the wall.
"""

import re
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from moto.events.models import EventsBackend, Rule, events_backends
from moto.scheduler.exceptions import ValidationException
from moto.scheduler.models import EventBridgeSchedulerBackend, Schedule, scheduler_backends

from infra.rehearsal.emulator import events, pace
from infra.rehearsal.emulator.calls import ACCOUNT

UNITS: Final = {"minute": 60, "hour": 3600, "day": 86400}
DAYS: Final = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
MONTHS: Final = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
CRON_FIELDS: Final = (
    ("minutes", 0, 59),
    ("hours", 0, 23),
    ("day-of-month", 1, 31),
    ("month", 1, 12),
    ("day-of-week", 1, 7),
    ("year", 1970, 2199),
)
"""https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-scheduled-rule-pattern.html"""
YEARS_AHEAD: Final = 8
"""How far to look for the next time: the longest a 29 February can be away."""

_create_in_moto = EventBridgeSchedulerBackend.create_schedule
_update_in_moto = EventBridgeSchedulerBackend.update_schedule
_put_rule_in_moto = EventsBackend.put_rule
_waiting: dict[str, tuple[str, datetime | None]] = {}
"""For each ARN its expression, time zone and pace, and when it is due."""


@dataclass(frozen=True)
class Due:
    """Something on a schedule, and what to do when it is time."""

    name: str
    """`group/name` of a schedule; the name of a rule."""
    arn: str
    expression: str
    timezone: str
    region: str
    targets: tuple[Mapping[str, Any], ...]
    enabled: bool = True
    not_before: float | None = None
    not_after: float | None = None
    delete_after: bool = False


def install() -> None:
    """Refuse schedules that could never be due."""
    EventBridgeSchedulerBackend.create_schedule = _create_schedule  # type: ignore[assignment, method-assign]  # is replaced
    EventBridgeSchedulerBackend.update_schedule = _update_schedule  # type: ignore[assignment, method-assign]  # likewise
    EventsBackend.put_rule = _put_rule  # type: ignore[assignment, method-assign]  # likewise


def fire(name: str) -> int:
    """Do now what a schedule (`group/name`) or a rule's schedule would do in its time; how many targets it has.

    Raises LookupError where there is none of that name, or it is disabled.
    """
    known = list(_scheduled())
    for due in known:
        if due.name == name:
            if not due.enabled:
                raise LookupError(f"the schedule {name!r} is disabled")
            _start(due, time.time())
            return len(due.targets)
    names = ", ".join(sorted(due.name for due in known)) or "none"
    raise LookupError(f"there is no schedule {name!r}; there are: {names}")


def tick(now: float) -> None:
    """Start whatever is due at `now`, in seconds since 1970."""
    second = pace.clock.second
    moment = datetime.fromtimestamp(now if second == 1 else pace.clock.shown(now), UTC)
    scheduled = [due for due in _scheduled() if due.enabled]
    for due in scheduled:
        stated = f"{due.expression} {due.timezone} {second}"
        known, when = _waiting.get(due.arn, ("", None))
        if known != stated:
            _waiting[due.arn] = stated, following(due.expression, moment, due.timezone)
        elif when is not None and moment >= when:
            # Counted from when it was due, so that it does not drift; what was slept through is not made up for.
            after = following(due.expression, when, due.timezone)
            if after is not None and after <= moment:
                after = following(due.expression, moment, due.timezone)
            _waiting[due.arn] = stated, after
            if (due.not_before or now) <= now <= (due.not_after or now):
                _start(due, now)
            if after is None and due.delete_after:
                group, _, name = due.name.partition("/")
                scheduler_backends[ACCOUNT][due.region].delete_schedule(group, name)
    for arn in _waiting.keys() - {due.arn for due in scheduled}:
        del _waiting[arn]


def following(expression: str, after: datetime, timezone: str = "UTC") -> datetime | None:
    """When a schedule is due next; None where it never is again. Raises ValueError for no schedule expression.

    The forms are EventBridge's: `rate(5 minutes)`, `cron(0 8 ? * MON-FRI *)` and `at(2026-11-21T08:00:00)`.
    """
    try:
        zone = ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError):
        raise ValueError(f"there is no time zone {timezone!r}") from None
    if rate := re.fullmatch(r"rate\((\d+) (minute|hour|day)s?\)", expression):
        if int(rate[1]) < 1:
            raise ValueError(f"{expression!r}: the rate must be 1 or more")
        return after + timedelta(seconds=int(rate[1]) * UNITS[rate[2]])
    if at := re.fullmatch(r"at\((.+)\)", expression):
        moment = datetime.fromisoformat(at[1]).replace(tzinfo=zone)
        return moment.astimezone(UTC) if moment > after else None
    if cron := re.fullmatch(r"cron\((\S+) (\S+) (\S+) (\S+) (\S+) (\S+)\)", expression):
        return _following_cron(expression, cron.groups(), after.astimezone(zone))
    raise ValueError(f"{expression!r} is no schedule: it is rate(…), cron(…) with six fields, or at(…)")


def _following_cron(expression: str, fields: Sequence[str], after: datetime) -> datetime | None:
    if (fields[2] == "?") == (fields[4] == "?"):
        raise ValueError(f"{expression!r}: either day-of-month or day-of-week must be ?, and not both")
    minutes, hours, days, months, weekdays, years = (
        _allowed(expression, field, *limits) for field, limits in zip(fields, CRON_FIELDS, strict=True)
    )
    moment = after.replace(second=0, microsecond=0) + timedelta(minutes=1)
    end = moment + timedelta(days=366 * YEARS_AHEAD)
    while moment < end:
        weekday = moment.isoweekday() % 7 + 1
        if moment.year in years and moment.month in months and moment.day in days and weekday in weekdays:
            if moment.hour not in hours:
                moment = moment.replace(minute=0) + timedelta(hours=1)
            elif moment.minute not in minutes:
                moment += timedelta(minutes=1)
            else:
                return moment.astimezone(UTC)
        else:
            moment = moment.replace(hour=0, minute=0) + timedelta(days=1)
    return None


def _allowed(expression: str, field: str, what: str, first: int, last: int) -> set[int]:
    """The values that a field of a cron expression allows."""
    names = {"month": MONTHS, "day-of-week": DAYS}.get(what, ())
    text = field.upper()
    for number, name in enumerate(names, 1):
        text = text.replace(name, str(number))
    allowed: set[int] = set()
    for part in text.split(","):
        form = re.fullmatch(r"(?:(?P<all>[*?])|(?P<low>\d+)(?:-(?P<high>\d+))?)(?:/(?P<step>\d+))?", part)
        step = int((form["step"] if form else None) or 1)
        if not form or step == 0:
            raise ValueError(f"{expression!r}: the rehearsal does not know {field!r} for {what}")
        low = first if form["all"] else int(form["low"])
        high = int(form["high"]) if form["high"] else last if form["all"] or form["step"] else low
        if low < first or high > last:
            raise ValueError(f"{expression!r}: {what} is from {first} to {last}, not {field!r}")
        allowed |= {value for value in range(low, high + 1) if (value - low) % step == 0}
    return allowed


def _scheduled() -> Iterator[Due]:
    """Everything that is on a schedule."""
    for region, backend in list(events_backends[ACCOUNT].items()):
        for bus in list(backend.event_buses.values()):
            for rule in list(bus.rules.values()):
                if rule.scheduled_expression:
                    yield _of_rule(rule, region)
    for region, schedules in list(scheduler_backends[ACCOUNT].items()):
        for group in list(schedules.schedule_groups.values()):
            for schedule in list(group.schedules.values()):
                yield _of_schedule(schedule, region)


def _of_rule(rule: Rule, region: str) -> Due:
    enabled = rule.state != "DISABLED"
    return Due(rule.name, rule.arn, str(rule.scheduled_expression), "UTC", region, tuple(rule.targets), enabled)


def _of_schedule(schedule: Schedule, region: str) -> Due:
    return Due(
        name=f"{schedule.group_name}/{schedule.name}",
        arn=schedule.arn,
        expression=schedule.schedule_expression,
        timezone=schedule.schedule_expression_timezone,
        region=region,
        targets=(schedule.target,),
        enabled=schedule.state != "DISABLED",
        not_before=_seconds(schedule.start_date),
        not_after=_seconds(schedule.end_date),
        delete_after=schedule.action_after_completion == "DELETE",
    )


def _seconds(moment: Any) -> float | None:
    return None if moment is None else float(moment)


def _start(due: Due, now: float) -> None:
    event = {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": ACCOUNT,
        "time": events.timestamp(now),
        "region": due.region,
        "resources": [due.arn],
        "detail": {},
    }
    for target in due.targets:
        events.send_to(target, events.shaped(target, event), due.region, due.arn)


def _refuse_unknown(expression: str | None, timezone: str | None) -> None:
    if expression:
        try:
            following(expression, datetime.now(UTC), timezone or "UTC")
        except ValueError as error:
            raise ValidationException(f"Invalid Schedule Expression {expression}: {error}") from None


def _create_schedule(backend: EventBridgeSchedulerBackend, **named: Any) -> Schedule:
    _refuse_unknown(named["schedule_expression"], named["schedule_expression_timezone"])
    return _create_in_moto(backend, **named)


def _update_schedule(backend: EventBridgeSchedulerBackend, **named: Any) -> Schedule:
    _refuse_unknown(named["schedule_expression"], named["schedule_expression_timezone"])
    return _update_in_moto(backend, **named)


def _put_rule(backend: EventsBackend, name: str, **named: Any) -> Rule:
    rate = re.fullmatch(r"rate\((\d+) \w+?(s?)\)", named.get("scheduled_expression") or "")
    if rate and (rate[1] == "1") == bool(rate[2]):  # a rule's `rate(1 minute)` must not have the s, others must
        raise ValidationException("Parameter ScheduleExpression is not valid.")
    _refuse_unknown(named.get("scheduled_expression"), "UTC")
    return _put_rule_in_moto(backend, name, **named)
