"""An incident's note: Markdown whose first three lines say what is wrong, what was done, and what is needed."""

from functions.incidents.core import Event, Incident

SHOWN: int = 60
"""How many events of a timeline a note shows: of more, the oldest and the newest halves."""


def markdown(incident: Incident) -> str:
    """The whole note."""
    lines = [
        f"# {incident.endpoint}: {incident.what or incident.kind}",
        f"- **Done**: {_done(incident)}",
        f"- **Needed of you**: {incident.needs[0] if incident.needs else 'nothing now'}",
        "",
        "## Timeline (UTC)",
        "",
        *(_event(event) for event in incident.timeline),
    ]
    return "\n".join(lines) + "\n"


def _done(incident: Incident) -> str:
    return incident.done[-1] if incident.done else "nothing yet"


def _event(event: Event) -> str:
    return f"- {event.at} {event.what} ({event.source})"
