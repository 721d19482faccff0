"""Where incidents are: `<uri>/<id>.json`, and beside it `<id>.md`, the same for people.

`uri` is one endpoint's folder: `s3://<lake>/<product>/incidents/<endpoint>`. The JSON is what counts: it is written on
condition that nobody wrote since it was read, so that of two writers none is lost. The note follows, and carries the
version that it tells of: an older one never replaces a newer one, and what was interrupted between the two is made
good by the next writer.
"""

import json
import random
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Final

from botocore.exceptions import ClientError

from functions.incidents.core import IDENTITY, Event, Incident, Status
from functions.incidents.note import markdown
from functions.incidents.review import problems
from functions.ledger import READERS, now

TAKEN: Final = ("PreconditionFailed", "ConditionalRequestConflict")
MISSING: Final = ("NoSuchKey", "404", "NotFound")
HIDDEN: Final = "403"
"""What S3 may say instead to who may list a part of the bucket only. What is put there then is put on condition."""
TRIES: Final = 40
LONGEST_WAIT_SECONDS: Final = 1.0
RECENT: Final = 5
"""How many of the newest of a kind are looked at for a token."""


class NoIncident(LookupError):
    """There is no such incident: the text says which there are."""


class NotReviewed(Exception):
    """An incident that is not closed: the text says what its review lacks, or who closed it."""


class TooBusy(Exception):
    """An incident could not be written, as others wrote it all the time."""


def folder(incidents_uri: str, endpoint: str) -> str:
    """An endpoint's folder below `s3://<lake>/<product>/incidents`."""
    return f"{incidents_uri.rstrip('/')}/{endpoint}"


def note_uri(uri: str, identity: str) -> str:
    """Where an incident's note is."""
    return f"{uri}/{identity}.md"


def open(s3: Any, uri: str, incident: Incident) -> tuple[Incident, bool]:
    """Open an incident; or join one that is open already, of the same kind. Returns it, and whether it is new.

    One that was opened with the same token is the same one, whatever became of it.
    """
    for _ in _tries():
        numbers = _numbers(s3, uri, incident.kind)
        for identity in [f"{incident.kind}-{number}" for number in numbers[:RECENT]]:
            known, _tag = _read(s3, uri, identity)
            if known.token == incident.token != "":
                _write_note(s3, uri, known)
                return known, False
        if numbers:
            newest = f"{incident.kind}-{numbers[0]}"
            joined = _change(
                s3, uri, newest, lambda known: _joined(known, incident) if known.status == "open" else known
            )
            if joined.status == "open":
                return joined, False
        made = replace(incident, id=f"{incident.kind}-{numbers[0] + 1 if numbers else 1}", version=1)
        if _write(s3, uri, made, None):
            _write_note(s3, uri, made)
            return made, True
    raise TooBusy(f"{uri}: no incident of the kind {incident.kind} could be opened")


def add(
    s3: Any,
    uri: str,
    identity: str,
    *,
    events: Iterable[Event] = (),
    done: Sequence[str] = (),
    needs: Sequence[str] | None = None,
    status: Status | None = None,
    evidence: Mapping[str, Any] | None = None,
    **fields: Any,
) -> Incident:
    """Add to an incident, or change what it says, as `Incident.changed` has it. Raises NoIncident."""
    told = tuple(events)

    def change(known: Incident) -> Incident:
        return known.changed(events=told, done=done, needs=needs, status=status, evidence=evidence, **fields)

    return _change(s3, uri, identity, change)


def close(s3: Any, uri: str, identity: str, *, review: str, by: str) -> Incident:
    """Close an incident with its review, which is kept as `<id>-review.md`, too. Raises NoIncident and NotReviewed."""
    if left := problems(review):
        raise NotReviewed(f"the review of {identity} is not filled in: {'; '.join(left)}")

    def change(known: Incident) -> Incident:
        if known.status == "closed":
            if known.review == review:
                return known
            raise NotReviewed(f"{identity} was closed at {known.closed} by {known.closed_by}")
        return known.changed(
            events=[Event(at=now(), what=f"closed by {by}", source="person")],
            status="closed",
            closed=now(),
            closed_by=by,
            review=review,
        )

    closed = _change(s3, uri, identity, change)
    bucket, key = _place(uri, f"{identity}-review.md")
    s3.put_object(Bucket=bucket, Key=key, Body=review.encode(), ContentType="text/markdown; charset=utf-8")
    return closed


def load(s3: Any, uri: str, identity: str) -> Incident:
    """One incident. Raises NoIncident."""
    return _read(s3, uri, identity)[0]


def incidents(s3: Any, uri: str) -> list[Incident]:
    """All of an endpoint's incidents, the newest first."""
    with ThreadPoolExecutor(READERS) as pool:
        found = list(pool.map(lambda identity: load(s3, uri, identity), _identities(s3, uri)))
    return sorted(found, key=lambda each: (each.opened, each.id), reverse=True)


def _joined(known: Incident, later: Incident) -> Incident:
    """The open incident, with what the later one knows of it."""
    again = f"{later.alarm or later.kind} again: {later.what}"
    repeated = [] if later.opened == known.opened else [Event(at=later.opened, what=again, source="incident")]
    return known.changed(
        events=[*later.timeline, *repeated],
        done=later.done,
        evidence={key: value for key, value in later.evidence.items() if key not in known.evidence},
    )


def _change(s3: Any, uri: str, identity: str, change: Callable[[Incident], Incident]) -> Incident:
    for _ in _tries():
        known, tag = _read(s3, uri, identity)
        wanted = change(known)
        if wanted == known:
            _write_note(s3, uri, known)
            return known
        wanted = replace(wanted, version=known.version + 1)
        if _write(s3, uri, wanted, tag):
            _write_note(s3, uri, wanted)
            return wanted
    raise TooBusy(f"{uri}/{identity}.json is being written by others all the time: try again")


def _tries() -> Iterator[int]:
    """Tries with longer and longer waits between them, each of a random length: two writers do not stay in step."""
    for number in range(TRIES):
        if number:
            time.sleep(random.uniform(0, min(LONGEST_WAIT_SECONDS, 0.02 * 2**number)))
        yield number


def _read(s3: Any, uri: str, identity: str) -> tuple[Incident, str]:
    """An incident, and the tag of what was read."""
    bucket, key = _place(uri, f"{identity}.json")
    if not IDENTITY.fullmatch(identity):
        raise NoIncident(f"{identity!r} is no incident's name: they are called drift-1, service-12, …")
    try:
        found = s3.get_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if error.response["Error"]["Code"] not in MISSING:
            raise
        known = ", ".join(_identities(s3, uri)) or "none"
        raise NoIncident(f"there is no incident {identity} in {uri}: there is {known}") from error
    return Incident.from_dict(json.load(found["Body"])), str(found["ETag"])


def _write(s3: Any, uri: str, incident: Incident, tag: str | None) -> bool:
    """Write an incident where what is there is still what was read (None: nothing). False where it is not."""
    bucket, key = _place(uri, f"{incident.id}.json")
    body = json.dumps(incident.to_dict(), indent=1, sort_keys=True).encode()
    return _put(s3, tag, Bucket=bucket, Key=key, Body=body, ContentType="application/json")


def _write_note(s3: Any, uri: str, incident: Incident) -> None:
    """Write an incident's note, where there is no newer one."""
    bucket, key = _place(uri, f"{incident.id}.md")
    for _ in _tries():
        try:
            there = s3.head_object(Bucket=bucket, Key=key)
            tag, written = str(there["ETag"]), int(there["Metadata"].get("version", 0))
        except ClientError as error:
            if error.response["Error"]["Code"] not in (*MISSING, HIDDEN):
                raise
            tag, written = None, 0
        if written >= incident.version:
            return
        if _put(
            s3,
            tag,
            Bucket=bucket,
            Key=key,
            Body=markdown(incident).encode(),
            ContentType="text/markdown; charset=utf-8",
            Metadata={"version": str(incident.version)},
        ):
            return
    raise TooBusy(f"{uri}/{incident.id}.md is being written by others all the time: try again")


def _put(s3: Any, tag: str | None, **wanted: Any) -> bool:
    condition = {"IfNoneMatch": "*"} if tag is None else {"IfMatch": tag}
    try:
        s3.put_object(**wanted, **condition)
    except ClientError as error:
        if error.response["Error"]["Code"] not in TAKEN:
            raise
        return False
    return True


def _identities(s3: Any, uri: str, kind: str = "") -> list[str]:
    bucket, prefix = _place(uri, f"{kind}-" if kind else "")
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    keys = [each["Key"].rpartition("/")[2] for page in pages for each in page.get("Contents", [])]
    names = [key.removesuffix(".json") for key in keys if key.endswith(".json")]
    return sorted(name for name in names if IDENTITY.fullmatch(name))


def _numbers(s3: Any, uri: str, kind: str) -> list[int]:
    """The numbers of the incidents of a kind, the newest first."""
    names = [re.fullmatch(rf"{kind}-(\d+)", name) for name in _identities(s3, uri, kind)]
    return sorted((int(found[1]) for found in names if found), reverse=True)


def _place(uri: str, name: str) -> tuple[str, str]:
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    return bucket, f"{prefix}/{name}"
