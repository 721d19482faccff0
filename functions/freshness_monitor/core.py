"""When features are too old to predict with: nothing comes, what comes is old, or what came cannot be read.

All times are Unix seconds, all spans seconds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

KEPT: Final = 20
"""So many deliveries are remembered."""

Check = Literal["nothing_came", "old_rows", "not_online"]


@dataclass(frozen=True)
class Delivery:
    """One file of features, once the ingestion was done with it."""

    file: str
    at: float
    """When that was."""
    rows: int
    quarantined: int
    newest: float | None
    """The latest event time among the rows that were accepted; None where there were none."""
    record: str | None
    """The identifier of the record that has it."""

    @property
    def lag(self) -> float | None:
        """How old the newest row was when it came."""
        return None if self.newest is None else self.at - self.newest


@dataclass(frozen=True)
class Limits:
    """What is too old."""

    max_age: float
    """How old the newest event time may be."""
    deliveries: int
    """So many of the latest files together tell whether what comes is old: one alone may be a late one."""


@dataclass(frozen=True)
class Finding:
    """Why features are stale."""

    check: Check
    description: str


def delivery(receipt: Mapping[str, Any], group: str, at: float) -> Delivery | None:
    """What a receipt of the ingestion says of a feature group; None where the file was not for it."""
    tally = receipt["groups"].get(group)
    if tally is None:
        return None
    return Delivery(
        file=receipt["file"],
        at=at,
        rows=tally["accepted"],
        quarantined=tally["quarantined"],
        newest=tally["newest"],
        record=tally.get("newest_record"),
    )


def latest(deliveries: Sequence[Delivery]) -> list[Delivery]:
    """Those to remember, the newest last."""
    return sorted(deliveries, key=lambda each: (each.at, each.file))[-KEPT:]


def newest(deliveries: Sequence[Delivery], before: float | None) -> float | None:
    """The latest event time of these and of all before them."""
    return max((each for each in (before, *(each.newest for each in deliveries)) if each is not None), default=None)


def to_look_up(deliveries: Sequence[Delivery], limits: Limits, now: float) -> list[Delivery]:
    """Deliveries whose newest record the online store has to have: young ones, that no newer row can have replaced."""
    young = [each for each in deliveries if each.record and each.newest and now - each.newest <= limits.max_age]
    return young[-limits.deliveries :]


def judge(
    deliveries: Sequence[Delivery],
    newest: float | None,
    *,
    since: float,
    now: float,
    limits: Limits,
    online: Sequence[tuple[Delivery, float | None]],
) -> list[Finding]:
    """Why features are stale; nothing where they are not.

    `deliveries` are in the order in which they came, `newest` is the latest event time ever accepted. `since` is when
    somebody began to look: a store that never got anything is stale once that is long ago. `online` has, for some
    deliveries, the event time that the online store has of their newest record (None: no such record).
    """
    found = []
    last = deliveries[-1].at if deliveries else None
    age = now - (since if newest is None else newest)
    if age > limits.max_age:
        aged = (
            f"no row was ever accepted, in {span(age)}"
            if newest is None
            else f"the newest row is {span(age)} old, and may be {span(limits.max_age)}"
        )
        if last is None:
            found.append(Finding("nothing_came", f"{aged}: no file came in that time"))
        elif now - last > limits.max_age:
            found.append(Finding("nothing_came", f"{aged}: no file has come for {span(now - last)}"))
        else:
            turned_away = sum(each.quarantined for each in deliveries[-limits.deliveries :])
            why = f", with {turned_away} of their latest rows in quarantine" if turned_away else ""
            found.append(Finding("old_rows", f"{aged}: files do come, the last one {span(now - last)} ago{why}"))
    else:
        found += _old_on_arrival(deliveries, limits)
    if online and all(seen is None or seen < each.newest for each, seen in online if each.newest is not None):
        named = ", ".join(sorted({str(each.record) for each, _ in online}))
        found.append(
            Finding("not_online", f"the online store lacks the newest rows that were accepted, of record {named}")
        )
    return found


def _old_on_arrival(deliveries: Sequence[Delivery], limits: Limits) -> list[Finding]:
    """Whether all of the latest files brought old rows: the store will be stale, however many of them come."""
    lags = [each.lag for each in deliveries if each.lag is not None][-limits.deliveries :]
    if len(lags) < limits.deliveries or min(lags) <= limits.max_age:
        return []
    said = (
        f"the last {len(lags)} files brought no row younger than {span(min(lags))}, and {span(limits.max_age)} may be"
    )
    return [Finding("old_rows", said)]


def span(seconds: float) -> str:
    """A span of time as people say it: `3 h`, `26 h`, `12 days`."""
    for unit, length, most in (("s", 1, 120), ("min", 60, 120), ("h", 3600, 72)):
        if seconds < most * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds / 86400:.0f} days"
