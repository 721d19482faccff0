"""The whole page: one file of HTML that loads nothing, runs nothing, and reads well on a phone, a screen and paper."""

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from typing import Final

from functions.monitoring.report import WORDS
from infra.history import version
from infra.report_page.facts import Facts
from infra.report_page.sections import Section, clock, definitions, sections, usd
from infra.report_page.style import STYLE

POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
"""What a browser may load and run for this page: nothing but the style in it."""


@dataclass(frozen=True)
class Tile:
    """The shortest answer to a question, and where the long one is."""

    anchor: str
    question: str
    answer: str
    detail: str
    status: str


def page(facts: Facts) -> str:
    """The page."""
    found = sections(facts)
    status, sentence = verdict(facts)
    title = f"{facts.stack}: report"
    settings = facts.settings
    told = {
        "environment": settings.environment,
        "account": settings.account_id,
        "region": settings.region,
        "owner": settings.tags.get("owner", ""),
        "cost center": settings.tags.get("cost-center", ""),
        "commit": facts.commit,
        "asked": facts.live.where if facts.live else "nobody: as it is planned",
    }
    links = "".join(f'<a href="#{each.anchor}">{escape(each.short)}</a>' for each in found)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f'<meta name="referrer" content="no-referrer"><title>{escape(title)}</title><style>{STYLE}</style></head>'
        f'<body style="--status:var(--{status})"><a class="skip" href="#picture">Skip to the report</a>'
        f'<header><p class="eyebrow">Slipway report, {clock(facts.at)} UTC</p><h1>{escape(facts.stack)}</h1>'
        f'<p class="verdict"><b>{escape(WORDS[status] if facts.live else "As planned")}.</b> {escape(sentence)}</p>'
        f"{definitions(told)}{_tiles(facts, {each.anchor for each in found})}</header>"
        f'<nav aria-label="Sections">{links}</nav><main>{"".join(map(_section, found))}</main>'
        f"<footer><p>Made by slipway report {escape(facts.stack)}. It needs no network, and has no scripts.</p>"
        "</footer></body></html>\n"
    )


def _section(each: Section) -> str:
    return (
        f'<section id="{each.anchor}" aria-labelledby="{each.anchor}-title">'
        f'<h2 id="{each.anchor}-title">{escape(each.title)}</h2>{each.html}</section>'
    )


def verdict(facts: Facts) -> tuple[str, str]:
    """How it is on the whole, and the sentence that says so."""
    wrong = [*_wrong(facts)]
    cost = facts.own_cost
    within = "within" if cost.total.ceiling_usd <= cost.budget_usd else "above"
    rest = "every policy holds" if facts.report.ok else ""
    money = f"at most {usd(cost.total.ceiling_usd)} a month, {within} its budget of {usd(cost.budget_usd)}"
    told = "; ".join(filter(None, [*wrong, rest, money]))
    status = "violated" if wrong else "stable" if facts.live else "insufficient"
    return status, f"{told[0].upper()}{told[1:]}."


def _wrong(facts: Facts) -> Iterator[str]:
    def some(count: int, one: str, more: str) -> str:
        return f"{count} {one if count == 1 else more}"

    if bad := len(facts.report.violations) + len(facts.report.faults):
        yield f"{some(bad, 'policy is', 'policies are')} violated"
    if facts.own_cost.refused or facts.cost.refused:
        yield "it may cost more than it may"
    if facts.ringing:
        yield some(len(facts.ringing), "alarm rings", "alarms ring")
    opened = [each for each in facts.open_incidents if each.status == "open"]
    if opened:
        yield some(len(opened), "incident is open", "incidents are open")
    endpoint = facts.live.endpoint if facts.live else None
    if endpoint and endpoint["EndpointStatus"] not in ("InService", "Updating"):
        yield f"the endpoint is {endpoint['EndpointStatus']}"
    if facts.live and (drifted := facts.live.drifted):
        yield f"{some(sum(drifted.values()), 'resource differs', 'resources differ')} from this commit's plan"


def _tiles(facts: Facts, anchors: set[str]) -> str:
    shown = "".join(
        f'<li><a class="{each.status}" href="#{each.anchor}"><span>{escape(each.question)}</span>'
        f"<b>{escape(each.answer)}</b><span>{escape(each.detail)}</span></a></li>"
        for each in _answers(facts)
        if each.anchor in anchors
    )
    return f'<ul class="tiles">{shown}</ul>'


def _answers(facts: Facts) -> Iterator[Tile]:
    live = facts.live
    asked = "" if live else "Not asked"
    report, cost = facts.report, facts.own_cost
    bad = len(report.violations) + len(report.faults)
    yield Tile(
        "policies",
        "Policies",
        f"{bad} violated" if bad else "All hold",
        f"{len(report.deferred)} deferred, {len(report.excepted)} excepted",
        "violated" if bad else "stable",
    )
    yield Tile(
        "cost",
        "Cost a month",
        f"{usd(cost.total.floor_usd)} to {usd(cost.total.ceiling_usd)}",
        f"{usd(cost.total.expected_usd)} as used, of {usd(cost.budget_usd)}",
        "violated" if cost.refused else "stable",
    )
    period = live.releases.live if live and live.releases else None
    yield Tile(
        "live",
        "Live",
        f"Version {version(period.package_arn)}" if period else asked or "Nothing",
        f"since {clock(period.since)}" if period else "",
        "stable" if period else "insufficient",
    )
    for name, question in (("data", "Data"), ("quality", "Quality")):
        found = live.reports.get(name) if live else None
        status = str(found[-1]["status"]) if found else "insufficient"
        answer = WORDS.get(status, status) if found else asked or "No report"
        yield Tile("health", question, answer, f"window of {clock(found[-1]['time'])}" if found else "", status)
    known = live is not None and live.states is not None
    yield Tile(
        "alarms",
        "Alarms",
        (f"{len(facts.ringing)} of {len(facts.alarms)} ring" if known else f"{len(facts.alarms)}"),
        ", ".join(each.name.removeprefix(f"{facts.stack}-") for each in facts.ringing[:3]) or asked,
        "violated" if facts.ringing else "stable" if known else "insufficient",
    )
    if live and live.incidents is None:
        asked = "Not known"
    opened = [each for each in facts.open_incidents if each.status == "open"]
    review = len(facts.open_incidents) - len(opened)
    status = "violated" if opened else "insufficient" if review or asked else "stable"
    yield Tile(
        "incidents",
        "Incidents",
        asked or (f"{len(opened)} open" if opened else "None open"),
        f"{review} to be reviewed" if review else "",
        status,
    )
