"""What a monitor remembers from run to run: how far it has read, what it keeps for later, and its last verdicts.

All of it is one object, `state.json`, that is written last and only where nobody else has written it meanwhile. So a
run that is interrupted is simply run again, of two runs at once one counts, and what was read is counted once. A report
is first committed with the state and then published: a run that dies in between leaves that to the next.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import wraps
from typing import Any, Final
from urllib.parse import urlsplit

from botocore.exceptions import ClientError

from functions.monitoring import emf
from functions.monitoring import report as reports

STATE: Final = "state.json"
LATE: Final = timedelta(hours=1)
"""Captures are filed by the hour of their request, and may be written that much later."""
OVERLAP: Final = timedelta(minutes=15)
"""How much of what was read already is listed again: an object's time is that at which its upload began, so one with an
earlier time may appear later."""
REMEMBERED: Final = 30
"""So many verdicts are remembered."""
TAKEN: Final = ("PreconditionFailed", "ConditionalRequestConflict")


class Overtaken(Exception):
    """Another run of this monitor ended first; what this one read, that one or the next has counted."""


Handler = Callable[[Mapping[str, Any], Any], dict[str, Any]]


def once(handler: Handler) -> Handler:
    """A Lambda's handler of which two runs at a time are no failure: one counts, the other says that it does not."""

    @wraps(handler)
    def guarded(event: Mapping[str, Any], context: Any) -> dict[str, Any]:
        try:
            return handler(event, context)
        except Overtaken as overtaken:  # the schedule may call twice, or a run take longer than the time between two
            print(overtaken)
            return {"status": "overtaken"}

    return guarded


@dataclass(frozen=True)
class Verdict:
    """What one window was found to be."""

    time: str
    subject: str
    """What was judged, such as the model package: verdicts on another one say nothing of this."""
    rows: int
    flags: Mapping[str, bool]
    """What was found: `broken_data`, `drifting`, … each true or false."""


@dataclass(frozen=True)
class State:
    """What a monitor remembers."""

    since: datetime
    """The newest object that was read has this time; the first run's is where it begins."""
    read: Mapping[str, datetime] = field(default_factory=dict)
    """What was read and a listing from `since` less OVERLAP shows again: its keys and times."""
    verdicts: tuple[Verdict, ...] = ()
    """The newest last."""
    kept: Mapping[str, Any] = field(default_factory=dict)
    """What else is carried to the next run, as JSON has it: rows that are too few to judge, labels that wait."""
    version: str | None = None
    """The stored object's ETag; None before the first."""

    def judged(self, verdict: Verdict) -> "State":
        """With one more verdict."""
        return replace(self, verdicts=(*self.verdicts, verdict)[-REMEMBERED:])

    def stands(self, flag: str, subject: str, *, of_last: int, at_least: int) -> bool:
        """Whether `flag` was found in `at_least` of the last `of_last` windows of `subject`, the newest among them.

        The newest window of all that were judged: one too small to judge says nothing, and so changes nothing.
        """
        last = [verdict.flags.get(flag, False) for verdict in self.verdicts if verdict.subject == subject][-of_last:]
        return bool(last) and last[-1] and sum(last) >= at_least


@dataclass(frozen=True)
class Found:
    """An object that was not read before."""

    key: str
    modified: datetime
    size: int


def place(uri: str, name: str = "") -> dict[str, str]:
    """The Bucket and Key of `s3://bucket/key`, and of `name` in that folder."""
    url = urlsplit(uri)
    if url.scheme != "s3" or not url.netloc:
        raise ValueError(f"{uri} is no S3 URI: it has to look like s3://bucket/folder/")
    return {"Bucket": url.netloc, "Key": url.path.lstrip("/") + name}


def load(s3: Any, folder: str, *, begin: datetime) -> State:
    """What is remembered in `folder` (an S3 URI that ends in a slash); before the first run, to begin at `begin`.

    Publishes what an interrupted run had committed.
    """
    try:
        found = s3.get_object(**place(folder, STATE))
    except ClientError as error:
        if error.response["Error"]["Code"] != "NoSuchKey":
            raise
        return State(begin)
    told = json.load(found["Body"])
    state = State(
        datetime.fromisoformat(told["since"]),
        {key: datetime.fromisoformat(at) for key, at in told["read"].items()},
        tuple(Verdict(**each) for each in told["verdicts"]),
        told["kept"],
        found["ETag"],
    )
    return _publish(s3, folder, state, told["unpublished"]) if told["unpublished"] else state


def finish(
    s3: Any,
    folder: str,
    state: State,
    report: Mapping[str, Any],
    html: str,
    values: Mapping[str, float | bool],
    *,
    beside: Mapping[str, str] | None = None,
) -> State:
    """End a run: remember `state`, write the report (and what is beside it), print the metrics `values`.

    Raises Overtaken.
    """
    unpublished = {"report": dict(report), "html": html, "values": dict(values), "beside": dict(beside or {})}
    return _publish(s3, folder, _save(s3, folder, state, unpublished), unpublished)


def unread(s3: Any, prefix: str, state: State, *, by_hour: bool = True) -> Iterator[Found]:
    """The objects under `prefix` (an S3 URI) that were not read yet, in the order of their keys.

    With `by_hour` its folders are yyyy/mm/dd/hh, and those long before `state.since` are not listed.
    """
    where = place(prefix)
    first = state.since - OVERLAP
    start = {"StartAfter": f"{where['Key']}{first - LATE:%Y/%m/%d/%H}"} if by_hour else {}
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=where["Bucket"], Prefix=where["Key"], **start):
        for each in page.get("Contents", []):
            if each["LastModified"] >= first and each["Key"] not in state.read:
                yield Found(each["Key"], each["LastModified"], each["Size"])


def after(state: State, objects: list[Found]) -> State:
    """The state once these objects, which `unread` told of, are read."""
    if not objects:
        return state
    since = max(state.since, *(each.modified for each in objects))
    read = {**state.read, **{each.key: each.modified for each in objects}}
    return replace(state, since=since, read={key: at for key, at in read.items() if at >= since - OVERLAP})


def _publish(s3: Any, folder: str, state: State, told: Mapping[str, Any]) -> State:
    reports.write(s3, folder, told["report"], told["html"], beside=told["beside"])
    state = _save(s3, folder, state, None)
    print(emf.line(told["report"]["endpoint"], told["values"]))
    return state


def save(s3: Any, folder: str, state: State) -> State:
    """Remember `state` in the midst of a run, or at the end of one that has nothing to report. Raises Overtaken."""
    return _save(s3, folder, state, None)


def _save(s3: Any, folder: str, state: State, unpublished: Mapping[str, Any] | None) -> State:
    told = {
        "since": state.since.astimezone(UTC).isoformat(),
        "read": {key: at.isoformat() for key, at in sorted(state.read.items())},
        "verdicts": [vars(each) for each in state.verdicts],
        "kept": state.kept,
        "unpublished": unpublished,
    }
    unchanged = {"IfMatch": state.version} if state.version else {"IfNoneMatch": "*"}
    try:
        saved = s3.put_object(
            **place(folder, STATE), Body=json.dumps(told).encode(), ContentType="application/json", **unchanged
        )
    except ClientError as error:
        if error.response["Error"]["Code"] not in TAKEN:
            raise
        raise Overtaken(f"another run wrote {folder}{STATE} first: this one counts for nothing") from error
    return replace(state, version=saved["ETag"])
