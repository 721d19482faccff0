"""Which version an endpoint served when, who approved it, on what evidence: what `slipway history` tells."""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from functions import ledger
from functions.ledger import Entry, Period

AGO: Final = re.compile(r"(\d+)\s*(minute|hour|day|week)s?\s+ago")


class UnknownEndpoint(Exception):
    """The ledger tells of no such endpoint: the text says of which it does."""


@dataclass(frozen=True, kw_only=True)
class History:
    """What happened to one endpoint's model."""

    endpoint: str
    at: str | None
    """The moment that was asked about; None: all of the time."""
    live: Period | None
    """What was live at that moment; without one, what is live now."""
    periods: Sequence[Period]
    """What was live from when to when, up to that moment; the oldest first."""
    entries: Sequence[Entry]
    """Everything that the ledger has, up to that moment; the oldest first."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)

    def lines(self) -> list[str]:
        """To read in a terminal."""
        when = f"at {self.at}" if self.at else "now"
        if self.live is None:
            told = [f"{self.endpoint}: nothing was live {when}" if self.at else f"{self.endpoint}: nothing is live"]
        else:
            told = [
                f"{self.endpoint}: version {version(self.live.package_arn)} {'was' if self.at else 'is'} live {when}"
            ]
            told += [f"  {line}" for line in _evidence(self.live)]
        if not self.at and self.entries:
            told += ["", *(_line(entry) for entry in self.entries)]
        return told


def history(s3: Any, bucket: str, endpoint: str, at: datetime | None = None) -> History:
    """What an endpoint served, up to a moment. Raises UnknownEndpoint."""
    found = ledger.entries(s3, bucket, endpoint)
    if not found:
        known = ledger.endpoints(s3, bucket)
        raise UnknownEndpoint(
            f"the ledger has nothing about {endpoint!r}: "
            + (f"it tells of {', '.join(known)}" if known else "it is empty, as nothing was approved or released yet")
        )
    return of(endpoint, found, at)


def of(endpoint: str, found: Sequence[Entry], at: datetime | None = None) -> History:
    """The history that entries tell, in whatever order they are."""
    ordered = [each for each in ledger.ordered(found) if each.endpoint == endpoint]
    if at is not None:
        ordered = [each for each in ordered if each.at <= ledger.stamp(at)]
    periods = ledger.periods(ordered)
    return History(
        endpoint=endpoint,
        at=None if at is None else ledger.stamp(at),
        live=ledger.live_at(ordered, at or datetime.now(UTC)),
        periods=periods,
        entries=ordered,
    )


def moment(text: str, now: datetime | None = None) -> datetime:
    """The time that a user means: ISO 8601 (UTC where it has no zone), or `2 hours ago`. Raises ValueError."""
    ago = AGO.fullmatch(text.strip().lower())
    if ago:
        return (now or datetime.now(UTC)) - timedelta(**{f"{ago[2]}s": int(ago[1])})
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(f"{text!r} is no time: write 2026-11-21T09:30:00Z, 2026-11-21, or 2 hours ago") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def version(package_arn: str) -> str:
    """The number of a version; of a pipeline's execution, its id."""
    return package_arn.rpartition("/")[2]


def _evidence(period: Period) -> list[str]:
    evidence = period.evidence
    told = [f"since {period.since}" + (f" until {period.until}" if period.until else "")]
    told += [f"released by {period.by} ({period.release})"]
    told += [
        f"approved by {period.approved_by or 'nobody the ledger knows'} at {period.approved_at or 'no known time'}"
    ]
    if author := evidence.get("author"):
        told += [f"made by {author}"]
    for name, value in sorted(evidence.get("metrics", {}).items()):
        least = evidence.get("gate", {}).get(name)
        told += [f"{name} {value:.4g}" + (f", at least {least:g} was asked for" if least is not None else "")]
    for name, value in sorted(evidence.get("statement", {}).items()):
        told += [f"{name} {value}"]
    return told


def _line(entry: Entry) -> str:
    who = re.split("[/:]", entry.by)[-1]
    why = entry.evidence.get("reason") or entry.evidence.get("description") or ""
    what = "run" if entry.kind == "started" else "version"
    told = f"{entry.at}  {entry.kind:<8}  {what} {version(entry.package_arn)}  by {who}"
    return f"{told}  ({why})" if why else told
