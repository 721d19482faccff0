"""The ledger: an append-only record of which version of a model was live where, who approved it, on what evidence.

Each entry is an object of its own in a bucket that lets nobody overwrite or delete (components/ledger.py), written on
condition that there is none yet. What was live when is computed from the entries, in whatever order they arrived.
"""

import json
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal, get_args

from botocore.exceptions import ClientError

Kind = Literal["started", "approved", "live", "failed", "retired", "removed"]
"""`started`: somebody let a pipeline train. `live`: a release ended well. `failed`: one did not, and nothing changed.
`retired`: nothing is served any more. `removed`: an old package was deleted from the registry."""

PREFIX: Final = "ledger/"
IDENTITY: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")
ENDPOINT: Final = re.compile(r"[A-Za-z0-9](-*[A-Za-z0-9]){0,62}")
READERS: Final = 16
CONFLICT_SECONDS: Final = (0.1, 0.5, 2.0)
"""How long to wait before each new try where S3 says that someone else is writing the same object."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One thing that happened to an endpoint's model. Raises ValueError for what the ledger cannot keep."""

    kind: Kind
    endpoint: str
    package_arn: str
    """The version it is about; of what was `started`, the pipeline's execution."""
    at: str
    """When it happened: ISO 8601 with its time zone; kept in UTC, to the microsecond."""
    by: str
    """The ARN of who did it: a person's for an approval, the release's execution for what a release did."""
    id: str
    """What happened once has one id: the event's, the execution's name. The same kind and id again is no new entry."""
    evidence: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"kind {self.kind!r}: it is one of {', '.join(get_args(Kind))}")
        for name, value, wanted in (("id", self.id, IDENTITY), ("endpoint", self.endpoint, ENDPOINT)):
            if not wanted.fullmatch(value):
                raise ValueError(
                    f"{name} {value!r} cannot be part of an object's key: it has to match {wanted.pattern}"
                )
        object.__setattr__(self, "at", stamp(moment(self.at)))

    @property
    def key(self) -> str:
        """Where it is kept: the names sort by time."""
        return f"{PREFIX}{self.endpoint}/{self.at}-{self.kind}-{self.id}.json"

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Period:
    """A stretch of time in which an endpoint served one version, brought about by one release."""

    endpoint: str
    package_arn: str
    since: str
    until: str | None
    """None: it is live."""
    approved_by: str | None
    """The ARN of the last person who approved the version before it went live."""
    approved_at: str | None
    release: str
    """The id of the release that brought it."""
    by: str
    evidence: dict[str, Any]
    """What the release had verified."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


def moment(text: str) -> datetime:
    """The time that an ISO 8601 text names. Raises ValueError for one without a time zone."""
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone: write it as 2026-11-21T09:30:00Z")
    return found.astimezone(UTC)


def stamp(when: datetime) -> str:
    """A time as the ledger has it, so that texts sort as times do."""
    return when.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def now() -> str:
    """This moment as the ledger has it."""
    return stamp(datetime.now(UTC))


def append(s3: Any, bucket: str, entry: Entry) -> str:
    """Write an entry where there is none of its key yet; the first one stands. Returns the key.

    To be sure that what happens once is one entry, a caller that may try again gives the same `at`, too.
    """
    body = json.dumps(entry.to_dict(), sort_keys=True).encode()
    for seconds in (*CONFLICT_SECONDS, None):
        try:
            s3.put_object(Bucket=bucket, Key=entry.key, Body=body, IfNoneMatch="*", ContentType="application/json")
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code == "ConditionalRequestConflict" and seconds is not None:
                time.sleep(seconds)
                continue
            if code != "PreconditionFailed":
                raise
        break
    return entry.key


def endpoints(s3: Any, bucket: str) -> list[str]:
    """The endpoints that the ledger tells of."""
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=PREFIX, Delimiter="/")
    found = [each["Prefix"] for page in pages for each in page.get("CommonPrefixes", [])]
    return sorted(each.removeprefix(PREFIX).rstrip("/") for each in found)


def entries(s3: Any, bucket: str, endpoint: str) -> list[Entry]:
    """Everything that happened to an endpoint's model, the oldest first."""
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{PREFIX}{endpoint}/")
    keys = [each["Key"] for page in pages for each in page.get("Contents", [])]

    def read(key: str) -> Entry:
        return Entry(**json.load(s3.get_object(Bucket=bucket, Key=key)["Body"]))

    with ThreadPoolExecutor(READERS) as pool:
        return ordered(pool.map(read, keys))


def ordered(found: Iterable[Entry]) -> list[Entry]:
    """The oldest first, each once: of the same kind and id, the earliest stands."""
    first: dict[tuple[str, str, str], Entry] = {}
    for entry in sorted(found, key=lambda entry: (entry.at, entry.kind, entry.id, json.dumps(entry.to_dict()))):
        first.setdefault((entry.endpoint, entry.kind, entry.id), entry)
    return list(first.values())


def periods(found: Iterable[Entry]) -> list[Period]:
    """Which version was live from when to when, the oldest first; of several endpoints, one endpoint after the other.

    The order of the entries does not matter, and neither do entries that come twice.
    """
    of: dict[str, list[Entry]] = {}
    for entry in ordered(found):
        of.setdefault(entry.endpoint, []).append(entry)
    return [period for endpoint in sorted(of) for period in _of_one(of[endpoint])]


def live_at(found: Iterable[Entry], when: datetime) -> Period | None:
    """What one endpoint served at a time; None where it served nothing. Raises ValueError for several endpoints."""
    known = periods(found)
    if len(names := {period.endpoint for period in known}) > 1:
        raise ValueError(f"the entries are of several endpoints: ask for one of {', '.join(sorted(names))}")
    asked = stamp(when)
    live = [period for period in known if period.since <= asked and (period.until is None or asked < period.until)]
    return live[0] if live else None


def before(known: Iterable[Period], current: str) -> str | None:
    """The version that one endpoint served before `current`; None where it served none.

    What was gone back from is not gone back to. `known` are the endpoint's periods, the oldest first.
    """
    line: list[str] = []
    for period in known:
        package = period.package_arn
        if period.evidence.get("rollback") and package in line:
            while line[-1] != package:
                line.pop()
        elif not line or line[-1] != package:
            line.append(package)
    if line and line[-1] == current:
        line.pop()
    return line[-1] if line else None


def _of_one(found: Sequence[Entry]) -> list[Period]:
    """The periods of one endpoint, from its entries in order."""
    made: list[Period] = []
    approvals: dict[str, Entry] = {}
    for entry in found:
        current = made[-1] if made and made[-1].until is None else None
        if entry.kind == "approved":
            approvals[entry.package_arn] = entry
        elif entry.kind == "live":
            if current:
                made[-1] = _ended(current, entry.at)
            made.append(_begun(entry, approvals.get(entry.package_arn)))
        elif entry.kind == "retired" and current and current.package_arn == entry.package_arn:
            made[-1] = _ended(current, entry.at)
    return made


def _begun(entry: Entry, approval: Entry | None) -> Period:
    evidence: Mapping[str, Any] = entry.evidence
    return Period(
        endpoint=entry.endpoint,
        package_arn=entry.package_arn,
        since=entry.at,
        until=None,
        # A release verifies who approved; its word counts where the approval's own entry has not arrived.
        approved_by=approval.by if approval else evidence.get("approved_by"),
        approved_at=approval.at if approval else evidence.get("approved_at"),
        release=entry.id,
        by=entry.by,
        evidence=dict(evidence),
    )


def _ended(period: Period, at: str) -> Period:
    return Period(**{**asdict(period), "until": at})
