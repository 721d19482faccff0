"""A product's incidents, for who is called: which there are, what one tells, and how it is closed."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any

from markdown_it import MarkdownIt
from rich.markdown import Markdown
from rich.table import Table
from rich.text import Text

from functions.incidents import note, review, store, timeline
from functions.incidents.core import Incident
from functions.ledger import moment
from functions.monitoring.report import STYLE
from infra.reach import Deployed

COLOURS = {"open": "bold red", "recovered": "yellow", "closed": "green"}


def folder(deployed: Deployed) -> str:
    """Where the incidents of a product's endpoint are; the endpoint is called as its stack."""
    return store.folder(str(deployed.output("incidents_uri")), deployed.settings.stack)


def listed(deployed: Deployed, *, closed: bool = False) -> list[Incident]:
    """The incidents that are not closed, or all of them; the newest first."""
    found = store.incidents(deployed.client("s3"), folder(deployed))
    return [each for each in found if closed or each.status != "closed"]


def load(deployed: Deployed, identity: str | None) -> Incident:
    """One incident; without its name the newest that is not closed. Raises NoIncident."""
    if identity:
        return store.load(deployed.client("s3"), folder(deployed), identity)
    found = listed(deployed)
    if not found:
        raise store.NoIncident(f"{deployed.settings.stack} has no incident that is not closed")
    return found[0]


def refreshed(deployed: Deployed, identity: str) -> Incident:
    """An incident with what is known of it by now: CloudTrail, for one, tells of a call minutes later."""
    client, endpoint = deployed.client, deployed.settings.stack
    pages = client("cloudwatch").get_paginator("describe_alarms").paginate(AlarmNamePrefix=f"{endpoint}-")
    sources = timeline.Sources(
        endpoint=endpoint,
        alarms=[each["AlarmName"] for page in pages for each in page["MetricAlarms"]],
        cloudwatch=client("cloudwatch"),
        cloudtrail=client("cloudtrail"),
        s3=client("s3"),
        ledger_bucket=str(deployed.output("ledger_bucket")),
        reports_uri=str(deployed.output("reports_uri")),
    )
    runbook = str(deployed.output("runbook_url")).rpartition("/")[2]
    return timeline.enrich(client("s3"), folder(deployed), identity, sources, runbook=runbook)


def review_of(deployed: Deployed, identity: str) -> str:
    """The review to fill in; what is known by now stands in it."""
    return review.template(refreshed(deployed, identity))


def close(deployed: Deployed, identity: str, filled_in: str, *, by: str = "") -> Incident:
    """Close an incident with its review. `by` is whose word it is; without it, the caller's ARN. Raises NotReviewed."""
    who = by or str(deployed.client("sts").get_caller_identity()["Arn"])
    return store.close(deployed.client("s3"), folder(deployed), identity, review=filled_in, by=who)


def table(found: Iterable[Incident], now: datetime | None = None) -> Table:
    """Incidents in a terminal, a line each."""
    shown = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("incident", "age", "lasted", "status", "rang", "decided"):
        shown.add_column(heading, no_wrap=heading != "rang")
    at = now or datetime.now(UTC)
    for each in found:
        age = note.span((at - moment(each.opened)).total_seconds())
        told = [each.alarm.removeprefix(f"{each.endpoint}-") or "-", each.decision or "-"]
        status = Text(each.status, style=COLOURS[each.status])
        shown.add_row(each.id, age, note.lasted(each) or "-", status, *map(Text, told))
    return shown


def needs(found: Iterable[Incident]) -> list[str]:
    """What each of them needs of a person, a line each."""
    return [
        f"{each.id}: {need}" for each in found if each.status != "closed" for need in each.needs or [note.needed(each)]
    ]


def rendered(incident: Incident) -> Markdown:
    """An incident's note in a terminal."""
    return Markdown(note.markdown(incident))


def page(incident: Incident) -> str:
    """An incident's note as a page that needs nothing but itself, light or dark."""
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(note.markdown(incident))
    title = escape(f"{incident.endpoint}: {incident.id}")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{title}</title><style>{STYLE}h1{{font-size:1.35rem;color:inherit}}</style></head>"
        f"<body>{body}</body></html>\n"
    )


def to_json(found: Sequence[Incident]) -> list[dict[str, Any]]:
    """As `--json` has them."""
    return [each.to_dict() for each in found]
