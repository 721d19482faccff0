"""An incident: what is wrong, when what happened, what moved first, what was done, and what a person has to do.

Pure: `store` keeps incidents in S3, `note` writes them down for people, `timeline` and `moved` gather what they say.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, Literal, get_args

from functions.ledger import moment, now, stamp

Status = Literal["open", "recovered", "closed"]
"""`open`: it is wrong still, as far as anybody knows. `recovered`: what was wrong is not any more, and nobody has
reviewed it yet. `closed`: reviewed by a person."""
Source = Literal["alarm", "monitor", "release", "recovery", "cloudtrail", "incident", "person"]
"""Where an event is known from."""

KIND: Final = re.compile(r"[a-z](-?[a-z]){0,30}")
IDENTITY: Final = re.compile(rf"({KIND.pattern})-[1-9]\d{{0,8}}")
LONGEST_TEXT: Final = 1000
MOST_EVENTS: Final = 1000
"""What an incident keeps: of more, the oldest and the newest halves."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened. The same thing told twice is one event."""

    at: str
    """ISO 8601 with its time zone; kept in UTC, to the microsecond."""
    what: str
    """One line, for a person."""
    source: Source

    def __post_init__(self) -> None:
        if self.source not in get_args(Source):
            raise ValueError(f"source {self.source!r}: it is one of {', '.join(get_args(Source))}")
        object.__setattr__(self, "at", stamp(moment(self.at)))
        object.__setattr__(self, "what", line(self.what))


@dataclass(frozen=True, kw_only=True)
class Moved:
    """A column that is not what it was when the model was trained."""

    name: str
    score: float
    """How far, by its report; larger is further."""
    since: str
    """When the first window began in which it was seen: ISO 8601, UTC."""
    detail: str
    """One line: what the newest report says of it."""


@dataclass(frozen=True, kw_only=True)
class Incident:
    """One incident. Raises ValueError for what could not be kept."""

    endpoint: str
    kind: str
    """What is wrong, in a word: service, data, world, release, …: what rings again while it is open joins it."""
    opened: str
    """ISO 8601 with its time zone; kept in UTC."""
    what: str
    """What is wrong, in a sentence: a note's heading."""
    id: str = ""
    """`<kind>-<number>`; the store gives it."""
    status: Status = "open"
    alarm: str = ""
    """The alarm that opened it; empty where none did."""
    decision: str = ""
    """What was decided to do: rollback, retrain, stop, page, …; empty before that."""
    why: str = ""
    """Why that was decided, in a sentence."""
    timeline: Sequence[Event] = ()
    moved: Sequence[Moved] = ()
    """What moved first comes first."""
    done: Sequence[str] = ()
    """What was done by itself, in order."""
    needs: Sequence[str] = ()
    """What is left to a person, the most urgent first; empty where nothing is."""
    next_step: str = ""
    """The runbook's next step for the alarm: a command, or a sentence."""
    runbook: str = ""
    """Where the runbook is."""
    release: str = ""
    """The ARN of the model package that it is about."""
    serves: str = ""
    """The ARN of the model package that serves now, or a sentence where none is known."""
    evidence: Mapping[str, Any] = field(default_factory=dict)
    """Whatever was decided upon, as JSON has it."""
    token: str = ""
    """Who opens an incident twice with one token opens one incident: an execution's ARN, for example."""
    recovered: str = ""
    closed: str = ""
    closed_by: str = ""
    review: str = ""
    """The review with which it was closed, as Markdown."""
    version: int = 0
    """How often it was written; the store counts."""

    def __post_init__(self) -> None:
        if self.status not in get_args(Status):
            raise ValueError(f"status {self.status!r}: it is one of {', '.join(get_args(Status))}")
        if not KIND.fullmatch(self.kind):
            raise ValueError(f"kind {self.kind!r} cannot be part of an incident's name: it has to match {KIND.pattern}")
        for name in ("opened", "recovered", "closed"):
            if value := getattr(self, name):
                object.__setattr__(self, name, stamp(moment(value)))
        for name in ("what", "why", "next_step"):
            object.__setattr__(self, name, line(getattr(self, name)))
        for name in ("done", "needs"):
            object.__setattr__(self, name, tuple(line(each) for each in getattr(self, name)))
        object.__setattr__(self, "timeline", merged(self.timeline))
        object.__setattr__(self, "moved", tuple(self.moved))

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> "Incident":
        """What `to_dict` gave. Fields that a newer version added are passed over."""
        known = {name: found[name] for name in cls.__dataclass_fields__ if name in found}
        timeline = [Event(**each) for each in known.pop("timeline", ())]
        moved = [Moved(**each) for each in known.pop("moved", ())]
        return cls(**known, timeline=timeline, moved=moved)

    def changed(
        self,
        *,
        events: Iterable[Event] = (),
        done: Sequence[str] = (),
        needs: Sequence[str] | None = None,
        status: Status | None = None,
        evidence: Mapping[str, Any] | None = None,
        **fields: Any,
    ) -> "Incident":
        """With more events and deeds, and other values. What is said twice is kept once.

        `needs` replaces what was needed, `evidence` is added to what there is, key by key; `fields` are decision, why,
        what, moved, next_step, runbook, release, serves. A time of recovery is set by the status, where none is given.
        """
        unknown = set(fields) - {
            *("what", "decision", "why", "moved", "next_step", "runbook", "release", "serves"),
            *("recovered", "closed", "closed_by", "review"),
        }
        if unknown:
            raise TypeError(f"an incident's {', '.join(sorted(unknown))} cannot be changed")
        if status == "recovered" and self.status != status and not fields.get("recovered"):
            fields["recovered"] = now()
        if status == "open":
            fields["recovered"] = ""
        return replace(
            self,
            timeline=merged([*self.timeline, *events]),
            done=tuple(dict.fromkeys([*self.done, *map(line, done)])),
            needs=self.needs if needs is None else tuple(needs),
            status=status or self.status,
            evidence={**self.evidence, **(evidence or {})},
            **fields,
        )


def merged(events: Iterable[Event]) -> tuple[Event, ...]:
    """A timeline: each event once, the oldest first; of what happened at one time, in one order whoever tells it."""
    ordered = sorted(set(events), key=lambda event: (event.at, event.source, event.what))
    if len(ordered) <= MOST_EVENTS:
        return tuple(ordered)
    half = MOST_EVENTS // 2
    return (*ordered[:half], *ordered[-half:])


def line(text: str) -> str:
    """A text as one line of a note; a long one is cut, and says so."""
    flat = " ".join(text.split())
    return flat if len(flat) <= LONGEST_TEXT else f"{flat[: LONGEST_TEXT - 2]} …"
