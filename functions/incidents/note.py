"""An incident's note: Markdown whose first three lines say what is wrong, what was done, and what is needed.

Somebody reads it who was woken by it. What is long stands below what is urgent; times are UTC, to the second.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Final

from functions.incidents.core import Event, Incident, line
from functions.ledger import moment

SHOWN: Final = 60
"""How many events of a timeline a note shows: of more, the oldest and the newest halves."""
COLUMNS: Final = 15
"""How many of the columns that moved a note shows."""
LONGEST_VALUE: Final = 400
IN_ONE_GO: Final = 4
"""So many calls of one caller, with nothing else between them, are told together."""
ONE_GO_SECONDS: Final = 60
CALLED: Final = re.compile(r" by (\S+)$")


def markdown(incident: Incident) -> str:
    """The whole note. Whatever is told in it stays text: it can make no headings, links or pictures of its own."""
    return "\n".join([*_head(incident), *_section("What is known", [*_facts(incident)]), *_body(incident)]) + "\n"


def _head(incident: Incident) -> Iterator[str]:
    yield f"# {incident.endpoint}: {_text(incident.what or incident.kind)} ({incident.status})"
    yield f"- **Done**: {done(incident)}"
    yield f"- **Needed of you**: {needed(incident)}"


def done(incident: Incident) -> str:
    """What was done, in a line: the last deed, or what is decided."""
    if incident.done:
        earlier = f" ({len(incident.done) - 1} before that: below)" if len(incident.done) > 1 else ""
        return f"{_text(incident.done[-1])}{earlier}"
    nothing = "nothing yet" if incident.status == "open" else "nothing by itself"
    return f"{nothing}; decided: {_text(incident.decision)}" if incident.decision else nothing


def needed(incident: Incident) -> str:
    """What is needed of a person, in a line."""
    if incident.status == "closed":
        return f"nothing: {_text(incident.closed_by)} closed it"
    if incident.needs:
        more = f" (and {len(incident.needs) - 1} more: below)" if len(incident.needs) > 1 else ""
        return f"{_text(incident.needs[0])}{more}"
    if incident.status == "recovered":
        return f"nothing tonight; by day a review: {command(incident, 'close')}"
    if incident.decision:
        return "nothing yet: it is being seen to"
    return f"to look: {_text(incident.next_step) or command(incident, 'show')}"


def command(incident: Incident, what: str) -> str:
    """A command about this incident; an endpoint is called as its stack."""
    return f"`slipway incident {what} {incident.endpoint} {incident.id}`"


def lasted(incident: Incident) -> str:
    """How long it was wrong; "" while it is, and where nothing was."""
    end = incident.recovered or incident.closed
    return span((moment(end) - moment(incident.opened)).total_seconds()) if end not in ("", incident.opened) else ""


def span(seconds: float) -> str:
    """A length of time, in its two largest units."""
    units = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
    told: list[str] = []
    left = max(0, round(seconds))
    for name, size in units:
        if left >= size or (name == "s" and not told):
            told.append(f"{left // size} {name}")
        left %= size
    return " ".join(told[:2])


def _facts(incident: Incident) -> Iterator[str]:
    facts = {
        "Incident": f"{incident.id}, {incident.status}",
        "Opened": _time(incident.opened),
        "Recovered": _recovered(incident),
        "Closed": f"{_time(incident.closed)} by {_text(incident.closed_by)}" if incident.closed else "",
        "Rang": f"`{incident.alarm}`" if incident.alarm else "",
        "Decided": _text(": ".join(filter(None, [incident.decision, incident.why]))),
        "About": _text(incident.release),
        "Serves now": _text(incident.serves),
        "Next step": _text(incident.next_step),
        "Runbook": incident.runbook,
    }
    yield from (f"- **{name}**: {value}" for name, value in facts.items() if value)


def _recovered(incident: Incident) -> str:
    if not incident.recovered:
        return ""
    return _time(incident.recovered) + (f", after {took}" if (took := lasted(incident)) else "")


def _body(incident: Incident) -> Iterator[str]:
    yield from _section("Left to you", [f"- ☐ {_text(each)}" for each in incident.needs])
    yield from _section("Done", [f"1. {_text(each)}" for each in incident.done])
    yield from _section("What moved first", _moved(incident))
    yield from _section("Timeline (UTC)", _timeline(incident.timeline))
    yield from _section("Evidence", [f"- {name}: {value}" for name, value in _evidence(incident.evidence)])
    yield from _section("Review", [incident.review.strip()] if incident.review else [])


def _section(heading: str, lines: Sequence[str]) -> list[str]:
    return ["", f"## {heading}", "", *lines] if lines else []


def _moved(incident: Incident) -> list[str]:
    if not incident.moved:
        return []
    rows = [
        f"| {number} | {_cell(each.name)} | {_time(each.since)} | {each.score:.3g} | {_cell(each.detail)} |"
        for number, each in enumerate(incident.moved[:COLUMNS], 1)
    ]
    more = len(incident.moved) - COLUMNS
    rest = ["", f"… and {more} more"] if more > 0 else []
    return ["| | column | since | how far | what is seen |", "|---|---|---|---|---|", *rows, *rest]


def _timeline(events: Sequence[Event]) -> list[str]:
    told = [_together(group) for group in _groups(events)]
    if len(told) <= SHOWN:
        return told
    half = SHOWN // 2
    return [*told[:half], f"- … {len(told) - 2 * half} more", *told[-half:]]


def _groups(events: Sequence[Event]) -> Iterator[list[Event]]:
    """Events one by one, but what one person or role called in one go (a deployment, for example) together."""
    group: list[Event] = []
    for event in events:
        if group and not (_caller(event) and _caller(event) == _caller(group[-1]) and _soon(group[-1], event)):
            yield from _whole_or_single(group)
            group = []
        group.append(event)
    yield from _whole_or_single(group)


def _whole_or_single(group: list[Event]) -> Iterator[list[Event]]:
    yield from [group] if len(group) >= IN_ONE_GO else [[event] for event in group]


def _together(group: Sequence[Event]) -> str:
    first = group[0]
    if len(group) == 1:
        return f"- {_time(first.at)} {_text(first.what)}"
    took = span((moment(group[-1].at) - moment(first.at)).total_seconds())
    counted = Counter(event.what.partition(" ")[0] for event in group)
    calls = ", ".join(f"{name} ({number})" if number > 1 else name for name, number in counted.items())
    return f"- {_time(first.at)} {len(group)} calls within {took} by {_text(_caller(first))}: {calls}"


def _caller(event: Event) -> str:
    """Who made a call that CloudTrail tells of; a call that was refused stands alone."""
    found = CALLED.search(event.what) if event.source == "cloudtrail" else None
    return found[1] if found else ""


def _soon(one: Event, other: Event) -> bool:
    return (moment(other.at) - moment(one.at)).total_seconds() <= ONE_GO_SECONDS


def _evidence(found: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """What was decided upon, a line for each value: `live.now.requests: 1200`."""
    if isinstance(found, dict):
        for key, value in found.items():
            yield from _evidence(value, f"{name}.{key}" if name else str(key))
    elif found not in (None, "", [], ()):
        told = found if isinstance(found, str) else json.dumps(found, default=str)
        yield f"`{name}`" if name else "", _text(told)[:LONGEST_VALUE]


def _time(at: str) -> str:
    found: datetime = moment(at)
    return f"{found:%Y-%m-%d %H:%M:%S}"


def _text(told: str) -> str:
    """A text that stays one: no HTML, no links, no heading; what is between backquotes is code."""
    parts = re.split(r"(`[^`]*`)", line(told))
    plain = "".join(part if part[:1] == "`" else re.sub(r"([<`]|(?<=\])\()", r"\\\1", part) for part in parts)
    plain = re.sub(r"^([#>+*|-])", r"\\\1", plain)
    return re.sub(r"^(\d+)([.)])(?=\s|$)", r"\1\\\2", plain)  # no list, but 700.0 is a number


def _cell(told: str) -> str:
    return _text(told).replace("|", "\\|")
