"""When an emulator is gone without having been stopped, all it held is gone: `up` makes it again, and says so.

What happened until then stands in the trail of its calls (calls.jsonl), which is a file. The note of it is an incident
of each product like any other, for whoever had something under way.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from functions import ledger
from functions.incidents import store
from functions.incidents.core import Event, Incident
from infra.incidents import folder
from infra.reach import Deployed
from infra.rehearsal.state import write_atomically

KIND: Final = "lost-emulator"
DECISION: Final = "make-again"
LOST: Final = "lost.json"
TAIL_BYTES: Final = 1 << 20
LAST_CALLS: Final = 12
BY_ITSELF: Final = frozenset(
    {"PutLogEvents", "CreateLogStream", "CreateLogGroup", "PutMetricData", "InvokeEndpoint", "AssumeRole", "Invoke"}
)
"""Calls that change nothing which anybody would miss."""
RELEASES: Final = "UpdateEndpoint"


@dataclass(frozen=True)
class Loss:
    """What is known of an emulator that is gone."""

    stacks: tuple[str, ...]
    """What was deployed to it."""
    last: tuple[Event, ...]
    """The last calls that changed something."""
    ended: str
    """When it was called last: ISO 8601, UTC."""

    @property
    def released(self) -> str:
        """The last change of an endpoint that is among the last calls; empty where there is none."""
        return next((event.what for event in reversed(self.last) if RELEASES in event.what), "")


def look(work: Path) -> None:
    """Remember what is lost, where an emulator of this work folder is gone that stacks were deployed to; asked before
    another one is started."""
    try:
        deployed: dict[str, str] = json.loads((work / "deployed.json").read_text("utf-8"))
    except (OSError, ValueError):
        return
    calls = _calls(work / "calls.jsonl")
    if deployed and calls:
        changes = [call for call in calls if not _looks(call) and call["action"] not in BY_ITSELF][-LAST_CALLS:]
        told = {"stacks": sorted(deployed), "changes": changes, "ended": calls[-1]["time"]}
        write_atomically(work / LOST, json.dumps(told))


def untold(work: Path) -> Loss | None:
    """What is lost and not written up yet; an `up` that was interrupted leaves that to the next."""
    if not (work / LOST).exists():
        return None
    told = json.loads((work / LOST).read_text("utf-8"))
    return Loss(tuple(told["stacks"]), tuple(map(_event, told["changes"])), told["ended"])


def is_told(work: Path) -> None:
    """All of it is written up."""
    (work / LOST).unlink(missing_ok=True)


def tell(loss: Loss, of: Deployed, *, made: int, serves: str) -> Incident:
    """Write it up for a product that serves again: `made` resources were made anew, and version `serves` is live."""
    s3, uri = of.client("s3"), folder(of)
    needs = ["what was registered, delivered or approved by hand since the last `up` is gone: do it again"]
    if loss.released:
        needs.insert(0, f"a release was under way or had just ended ({loss.released}): register and approve it again")
    again = ledger.now()
    incident, _ = store.open(
        s3,
        uri,
        Incident(
            endpoint=of.settings.stack,
            kind=KIND,
            opened=loss.ended,
            what="The emulator ended without being told to, and with it went everything that it held",
            decision=DECISION,
            why=f"nothing of {', '.join(loss.stacks)} was left in the emulator, and what they are made of is declared",
            timeline=[
                *loss.last,
                Event(at=loss.ended, what="the last call that the emulator answered", source="cloudtrail"),
                Event(at=again, what="`slipway up` has made all of it again", source="recovery"),
            ],
            done=[f"{made} resources made again, data delivered, the model trained, approved and released again"],
            needs=needs,
            next_step="`slipway status` says how it is",
            serves=serves,
        ),
    )
    return store.add(s3, uri, incident.id, status="recovered", recovered=again)


def _calls(path: Path) -> Sequence[Mapping[str, Any]]:
    """The last calls of a trail; a line that was only half written is left out."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
            lines = file.read().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return [call for call in found if isinstance(call, dict)]


def _looks(call: Mapping[str, Any]) -> bool:
    return str(call["action"]).startswith(("Get", "List", "Describe", "Head", "Query", "Search", "Scan", "Select"))


def _event(call: Mapping[str, Any]) -> Event:
    who = str(call["principal"]).rpartition("/")[2]
    failed = f", refused: {call['error']}" if call.get("error") else ""
    return Event(at=str(call["time"]), what=f"{call['service']}.{call['action']} by {who}{failed}", source="cloudtrail")
