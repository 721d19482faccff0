"""The page's sections, as HTML: what each of them says of a stack. Every text is escaped."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from html import escape
from typing import Any, Final

from markdown_it import MarkdownIt

from functions.incidents import note
from functions.incidents.core import Incident
from functions.ledger import Entry, moment
from functions.monitoring import report as reports
from infra.cost import Amounts, StackCost
from infra.history import version
from infra.report_page import charts
from infra.report_page.drawing import legend, svg
from infra.report_page.facts import DAYS, Alarm, Facts
from infra.report_page.graph import Part
from infra.report_page.parts import KINDS, kind_of
from infra.report_page.picture import Picture
from infra.report_page.series import WATCHED
from policies.exceptions import SHOWN

WIDTHS: Final[Mapping[str, int]] = {"on-phone": 328, "on-paper": 860, "on-screen": 1090}
"""How wide a picture is drawn, for which the page has room on a phone, on paper, and on a screen."""
MOST_ENTRIES: Final = 40
MOST_INCIDENTS: Final = 25
MOST_RESOURCES: Final = 400
LEAST_USD: Final = 0.5
MARKDOWN: Final = MarkdownIt("commonmark", {"html": False}).enable("table")
"""Of notes and runbooks; HTML in them stays text."""

Html = str


@dataclass(frozen=True)
class Section:
    """A heading, and what stands below it."""

    anchor: str
    title: str
    short: str
    """What a link to it says."""
    html: Html


def sections(facts: Facts) -> list[Section]:
    """All that there is something to say in."""
    found: list[tuple[str, str, str, Callable[[Facts], Html]]] = [
        ("picture", "The picture", "Picture", _picture),
        ("live", "What is live, and since when", "Live", _live),
        ("health", "Drift and quality over time", "Drift and quality", _health),
        ("incidents", "Incidents", "Incidents", _incidents),
        ("alarms", "Alarms", "Alarms", _alarms),
        ("cost", "Cost a month", "Cost", _cost),
        ("policies", "Policies and exceptions", "Policies", _policies),
        ("parts", "What is in it", "Parts", _parts),
        ("limits", "What this page cannot know", "What it cannot know", _limits),
    ]
    made = [Section(anchor, title, short, tell(facts)) for anchor, title, short, tell in found]
    return [each for each in made if each.html]


# --- small pieces -----------------------------------------------------------------------------------------------------


def paragraph(text: str, kind: str = "") -> Html:
    """A paragraph, escaped."""
    return f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def folded(summary: str, html: Html, *, anchor: str = "", is_open: bool = False) -> Html:
    """What is shown on demand, by mouse and keyboard alike; printed whole."""
    where = f' id="{escape(anchor)}"' if anchor else ""
    return f"<details{where}{' open' if is_open else ''}><summary>{escape(summary)}</summary>{html}</details>"


def badge(word: str, status: str) -> Html:
    """A word with a colour; the word says all."""
    return f'<span class="badge {escape(status)}">{escape(word)}</span>'


def rows(
    caption: str,
    heads: Sequence[str],
    body: Iterable[Sequence[Html]],
    *,
    numbers: Sequence[int] = (),
    kind: str = "rows",
) -> Html:
    """A table of cells that are HTML already; on a phone each cell stands below its heading. Empty without rows."""
    lines = [list(each) for each in body]
    if not lines:
        return ""
    places = [' class="n"' if number in numbers else "" for number in range(len(heads))]
    head = "".join(f'<th scope="col"{each}>{escape(name)}</th>' for name, each in zip(heads, places, strict=True))
    told = "".join(
        "<tr>"
        + "".join(
            f'<td data-head="{escape(name)}"{each}>{cell}</td>'
            for name, each, cell in zip(heads, places, line, strict=True)
        )
        + "</tr>"
        for line in lines
    )
    return (
        f'<table class="rows {kind}"><caption>{escape(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{told}</tbody></table>"
    )


def clock(time: datetime | str | None) -> str:
    """`2026-11-21 19:43`, UTC."""
    if time is None:
        return ""
    return f"{(moment(time) if isinstance(time, str) else time.astimezone(UTC)):%Y-%m-%d %H:%M}"


def usd(amount: float) -> str:
    """Dollars without cents, but never nothing where there is something."""
    return f"${amount:,.0f}" if amount >= 1 or amount == 0 else "under $1"


def whom(arn: str | None) -> str:
    """The last word of an ARN: who it is to people."""
    return re.split("[/:]", arn)[-1] if arn else "nobody the ledger knows"


def _unknown(facts: Facts, *what: str) -> Html:
    """Why something is not known, in its place."""
    if facts.live is None:
        return paragraph(f"Not known: {facts.why}.", "dim")
    return "".join(
        paragraph(f"{each.capitalize()}: not known. {facts.live.unknown[each]}", "dim")
        for each in what
        if each in facts.live.unknown
    )


# --- the picture ------------------------------------------------------------------------------------------------------


def _picture(facts: Facts) -> Html:
    own = _drawn(facts.picture, f"The stack {facts.stack}")
    beneath = "".join(
        f"<h3>{escape(stack)}, which it stands on</h3>{_drawn(_without_links(each), f'The stack {stack}')}"
        for stack, each in facts.beneath.items()
    )
    intro = "Drawn from the resources that the program records, and from what each of them refers to."
    return paragraph(intro, "dim") + own + beneath


def _drawn(picture: Picture, label: str) -> Html:
    drawn = "".join(
        f'<div class="{name}">{svg(picture, width, label=f"{label}: its parts, and what goes between them")}</div>'
        for name, width in WIDTHS.items()
    )
    return f"{drawn}{legend()}{folded('The same in words', reports.listed(picture.words()))}"


def _without_links(picture: Picture) -> Picture:
    """The page tells more only of its own stack's parts."""
    lanes = tuple(replace(lane, boxes=tuple(replace(box, anchor="") for box in lane.boxes)) for lane in picture.lanes)
    return replace(picture, lanes=lanes)


# --- what is live -----------------------------------------------------------------------------------------------------


def _live(facts: Facts) -> Html:
    if not any(part.kind in ("Endpoint", "ModelRegistry") for part in facts.graph.parts):
        return ""
    live = facts.live
    if live is None:
        return _unknown(facts)
    told = []
    if live.endpoint:
        told.append(paragraph(_endpoint(live.endpoint)))
    if live.waiting:
        names = ", ".join(live.waiting)
        command = f"slipway approve {facts.stack} {live.waiting[0]} --as YOU"
        told.append(
            f"<p>{badge('waits', 'insufficient')} Version {escape(names)} waits for approval: "
            f"<code>{escape(command)}</code></p>"
        )
    if found := live.releases:
        told += [f'<div class="{name}">{charts.ribbon(found, facts.at, width)}</div>' for name, width in WIDTHS.items()]
        told.append(_evidence(facts))
        entries = list(reversed(found.entries))
        table = rows(
            "Every entry of the ledger, the newest first",
            ("when (UTC)", "what", "version", "who", "why"),
            (_entry(each) for each in entries[:MOST_ENTRIES]),
        )
        more = len(entries) - MOST_ENTRIES
        rest = paragraph(f"… and {more} older: slipway history {facts.stack}", "dim") if more > 0 else ""
        told.append(folded(f"The ledger: {len(entries)} entries", table + rest))
    return "".join(told) + _unknown(facts, "endpoint", "releases", "approvals")


def _endpoint(endpoint: Mapping[str, Any]) -> str:
    variants = [
        f"{each['VariantName']} on {each.get('CurrentInstanceCount', 0)} instances"
        + (f", {each['CurrentWeight']:g} of the traffic" if len(endpoint["ProductionVariants"]) > 1 else "")
        for each in endpoint.get("ProductionVariants", ())
    ]
    return f"The endpoint is {endpoint['EndpointStatus']}: {'; '.join(variants) or 'no variant'}."


def _evidence(facts: Facts) -> Html:
    found = facts.live.releases if facts.live else None
    period = found.live if found else None
    if period is None:
        return paragraph("Nothing is live.")
    gate = period.evidence.get("gate", {})
    metrics = {
        name.replace("_", " "): f"{value:.4g}" + (f" (at least {gate[name]:g})" if name in gate else "")
        for name, value in sorted(period.evidence.get("metrics", {}).items())
    }
    told = {
        "version": version(period.package_arn),
        "since": f"{clock(period.since)} UTC",
        "approved by": f"{whom(period.approved_by)}{f', {clock(period.approved_at)}' if period.approved_at else ''}",
        "made by": whom(period.evidence["author"]) if period.evidence.get("author") else "",
        **metrics,
    }
    return definitions(told)


def definitions(told: Mapping[str, str]) -> Html:
    """Names and what they are, in a line that wraps."""
    shown = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in told.items() if value
    )
    return f"<dl>{shown}</dl>"


def _entry(each: Entry) -> Sequence[Html]:
    status = {"live": "stable", "failed": "violated"}.get(each.kind, "plain")
    why = str(each.evidence.get("reason") or each.evidence.get("description") or "")
    return (
        escape(clock(each.at)),
        badge(each.kind, status),
        escape("" if each.kind == "started" else version(each.package_arn)),
        escape(whom(each.by)),
        escape(why),
    )


# --- monitors ---------------------------------------------------------------------------------------------------------


def _health(facts: Facts) -> Html:
    if not any(part.kind.endswith("Monitor") for part in facts.graph.parts):
        return ""
    live = facts.live
    if live is None:
        return _unknown(facts)
    over = charts.stretch(live.reports, live.releases, facts.at)
    if over is None:
        return paragraph("No monitor has reported yet: each does on its schedule.", "dim") + _unknown(facts, *WATCHED)
    intro = (
        f"The last {DAYS} days, or as long as it has been watched; all drawings have the same time (UTC). Lines from "
        "top to bottom: a version went live. Dashed: the limit. Dotted: as in training. The marks above each monitor's "
        "drawings are its windows: tall and red where something was wrong, grey where there was too little to judge."
    )
    return (
        paragraph(intro, "dim") + "".join(_monitor(facts, name, over) for name in WATCHED) + _unknown(facts, *WATCHED)
    )


def _monitor(facts: Facts, name: str, over: charts.Stretch) -> Html:
    live = facts.live
    found = live.reports.get(name, ()) if live else ()
    if not found or live is None:
        return ""
    watched, newest = WATCHED[name], found[-1]
    status = str(newest["status"])
    drawn = [_figure(each.title, charts.sentence(each), charts.trend(each, over)) for each in watched.drawn(found)]
    if columns := charts.heat(found, over):
        drawn.append(_figure("Which columns, when", "the darker, the further it moved", columns))
    wrong = reports.listed(
        f"{each.get('feature_name') or each.get('metric_name')}: {each['description']}" for each in newest["violations"]
    )
    wrong = folded(f"What is wrong: {len(newest['violations'])}", wrong) if wrong else ""
    thin = ""
    if name in live.thinned:
        thin = paragraph(f"{len(found)} of {live.thinned[name]} reports are drawn, evenly spread.", "dim")
    return (
        f"<h3>{escape(watched.title)} {badge(reports.WORDS.get(status, status), status)}</h3>"
        f"{paragraph(str(newest['summary']))}"
        f'<div class="windows">{charts.strip(found, over, watched.title)}</div>'
        f'<div class="plots">{"".join(drawn)}</div>{wrong}{thin}'
    )


def _figure(title: str, told: str, drawn: Html) -> Html:
    return f"<figure>{drawn}<figcaption><b>{escape(title)}</b> <span>{escape(told)}</span></figcaption></figure>"


# --- incidents and alarms ---------------------------------------------------------------------------------------------


def _incidents(facts: Facts) -> Html:
    if not any(part.kind == "Recovery" for part in facts.graph.parts):
        return ""
    found = facts.live.incidents if facts.live else None
    if found is None:
        return _unknown(facts, "incidents")
    if not found:
        return paragraph("None, ever.")
    order = {"open": 0, "recovered": 1, "closed": 2}
    shown = sorted(found, key=lambda each: order[each.status])[:MOST_INCIDENTS]
    told = "".join(_incident(each, facts) for each in shown)
    more = len(found) - len(shown)
    return told + (paragraph(f"… and {more} older: slipway incident list {facts.stack} --all", "dim") if more else "")


def _incident(each: Incident, facts: Facts) -> Html:
    status = {"open": "violated", "recovered": "insufficient", "closed": "stable"}[each.status]
    lasted = note.lasted(each)
    age = note.span((facts.at - moment(each.opened)).total_seconds())
    told = {
        "opened": f"{clock(each.opened)} UTC, {age} ago",
        "lasted": lasted,
        "rang": each.alarm,
        "decided": ": ".join(filter(None, [each.decision, each.why])),
        "moved first": ", ".join(one.name for one in each.moved[:3]),
    }
    need = "" if each.status == "closed" else _marked(f"**Needed of you**: {note.needed(each)}")
    body = _marked(_below(note.markdown(each)))
    whole = folded("The whole note", f'<div class="note">{body}</div>')
    return (
        f"<article><h3>{badge(each.status, status)} {escape(each.id)}: {escape(each.what or each.kind)}</h3>"
        f"{definitions(told)}{need}{whole}</article>"
    )


def _below(markdown: str) -> str:
    """A note whose headings stand below the page's; its first, which the page has said, is left out."""
    lines = markdown.splitlines()[1:]
    return "\n".join(f"##{line}" if line.startswith("## ") else line for line in lines)


def _marked(text: str) -> Html:
    return str(MARKDOWN.render(text))


def _alarms(facts: Facts) -> Html:
    if not facts.alarms:
        return ""
    ringing = facts.ringing
    silent = [each for each in facts.alarms if each not in ringing]
    told = "".join(_ringing(each) for each in ringing)
    if facts.live is None or facts.live.states is None:
        told += _unknown(facts, "alarms")
    elif not ringing:
        told += paragraph(f"None of {len(facts.alarms)} rings.")
    table = rows(
        f"{len(silent)} alarms that do not ring",
        ("alarm", "state", "rings when"),
        ((f"<code>{escape(each.name)}</code>", _state(each), escape(each.means)) for each in silent),
    )
    return told + folded(f"The {'other ' if ringing else ''}{len(silent)} alarms", table)


def _ringing(each: Alarm) -> Html:
    since = f" Since {clock(each.since)} UTC." if each.since else ""
    act = folded("What to do", f'<div class="note">{_marked(_below(each.act))}</div>') if each.act else ""
    return (
        f"<article><h3>{badge('rings', 'violated')} {escape(each.name)}</h3>"
        f"{paragraph(f'{each.means}{since}')}{act}</article>"
    )


def _state(each: Alarm) -> Html:
    words = {"OK": ("quiet", "stable"), "ALARM": ("rings", "violated"), "": ("not asked", "plain")}
    return badge(*words.get(each.state, ("too little known", "insufficient")))


# --- cost -------------------------------------------------------------------------------------------------------------


def _cost(facts: Facts) -> Html:
    cost = facts.own_cost
    total = cost.total
    room = max(cost.budget_usd, total.ceiling_usd, 1.0)
    told = (
        f"{usd(total.floor_usd)} at least, {usd(total.expected_usd)} as it is used, {usd(total.ceiling_usd)} at most, "
        f"of {usd(cost.budget_usd)} a month."
    )
    parts = [
        paragraph(told),
        _bar(total, room, cost.budget_usd, "the whole stack"),
        '<p class="dim key"><i class="floor"></i> at least <i class="expected"></i> as it is used '
        '<i class="ceiling"></i> at most <i class="budget"></i> budget</p>',
        "".join(paragraph(each, "wrong") for each in cost.refused),
        _amounts("By component", cost, "component"),
        _amounts("By team", cost, "team"),
    ]
    if len(facts.cost.stacks) > 1:
        parts.append(_beneath(facts))
    stated = ", ".join(f"{key.replace('_', ' ')} {value:,g}" for key, value in cost.usage.items()) or "nothing"
    assumed = ", ".join(f"{key.replace('_', ' ')} {value:,g}" for key, value in cost.assumed.items()) or "nothing"
    dates = sorted({line.priced_on for line in cost.lines if line.priced_on})
    source = f" Prices of {dates[0]} to {dates[-1]}." if dates else ""
    parts.append(paragraph(f"Stated of its use: {stated}. Assumed: {assumed}.{source}", "dim"))
    parts.append(folded(f"Every line: {len(cost.lines)}", _lines(cost)))
    parts += [paragraph(each, "wrong") for each in facts.cost.refused]
    return "".join(parts)


def _amounts(title: str, cost: StackCost, by: Any) -> Html:
    found = {name: now for name, (now, _) in cost.by(by).items()}
    named = {KINDS[name].title if name in KINDS else name: each for name, each in found.items()}
    return f"<h3>{escape(title)}</h3>{_bars(f'Dollars a month of {cost.stack}', named)}"


def _beneath(facts: Facts) -> Html:
    """What it shares its environment with."""
    stacks = {each.stack: each.total for each in facts.cost.stacks}
    teams = facts.cost.teams.get(facts.settings.environment, {})
    both = " and ".join(stacks)
    return (
        f"<h3>With what it stands on</h3>{_bars(f'Dollars a month of {both}', stacks)}"
        f"{_bars(f'Dollars a month of {both}, by team', teams)}"
    )


def _bars(caption: str, found: Mapping[str, Amounts]) -> Html:
    shown = {name: each for name, each in found.items() if each.ceiling_usd >= LEAST_USD}
    rest = [each for name, each in found.items() if name not in shown]
    if rest and (left := Amounts(*(sum(getattr(each, key) for each in rest) for key in vars(Amounts())))).ceiling_usd:
        shown[f"{len(rest)} more"] = left
    most = max([1.0, *(each.ceiling_usd for each in shown.values())])
    return rows(
        caption,
        ("", "at least", "as used", "at most", " "),
        (
            (escape(name), usd(each.floor_usd), usd(each.expected_usd), usd(each.ceiling_usd), _bar(each, most))
            for name, each in shown.items()
        ),
        numbers=(1, 2, 3),
        kind="money",
    )


def _bar(each: Amounts, most: float, budget: float | None = None, label: str = "") -> Html:
    """Three lengths in one; hidden from who listens, for the numbers stand beside it."""
    shares = [
        (name, 100 * value / most)
        for name, value in (("ceiling", each.ceiling_usd), ("expected", each.expected_usd), ("floor", each.floor_usd))
    ]
    drawn = "".join(f'<i class="{name}" style="width:{share:.2f}%"></i>' for name, share in shares)
    line = f'<i class="budget" style="left:{min(99.7, 100 * budget / most):.2f}%"></i>' if budget else ""
    kind = "bar whole" if label else "bar"
    return f'<span class="{kind}" aria-hidden="true">{drawn}{line}</span>'


def _lines(cost: StackCost) -> Html:
    return rows(
        f"What each resource of {cost.stack} costs a month",
        ("resource", "what", "at least", "as used", "at most"),
        (
            (
                f"<code>{escape(each.resource)}</code>",
                escape(each.what),
                usd(each.floor_usd),
                usd(each.expected_usd),
                usd(each.ceiling_usd),
            )
            for each in sorted(cost.lines, key=lambda each: (-each.ceiling_usd, each.resource, each.what))
        ),
        numbers=(2, 3, 4),
    )


# --- policies ---------------------------------------------------------------------------------------------------------


def _policies(facts: Facts) -> Html:
    report = facts.report
    bad = len(report.violations) + len(report.faults)
    verdict = (
        f"Every one of {sum(each.rules for each in report.packs.values())} rules holds."
        if report.ok
        else f"{bad} violation{'s' * (bad != 1)}."
    )
    packs = rows(
        "What each pack of policies says",
        ("pack", "rules", "times asked", "violations", "deferred", "excepted"),
        (
            (
                escape(name),
                f"{each.rules}",
                f"{each.evaluations:,}",
                badge(f"{each.violations}", "violated") if each.violations else "0",
                f"{each.deferred}",
                f"{each.excepted}",
            )
            for name, each in report.packs.items()
        ),
        numbers=(1, 2, 3, 4, 5),
        kind="money",
    )
    violated = rows(
        "What is violated",
        ("rule", "severity", "resource", "what is wrong, and what to set"),
        (
            (
                f"<code>{escape(each.pack)}/{escape(each.rule)}</code>",
                badge(each.severity, "violated"),
                escape(each.resource),
                escape(each.sentence),
            )
            for each in report.violations
        ),
    )
    return (
        paragraph(verdict)
        + "".join(paragraph(each, "wrong") for each in report.faults)
        + violated
        + packs
        + f"<h3>Exceptions</h3>{_exceptions(facts)}"
        + _deferred(facts)
    )


def _exceptions(facts: Facts) -> Html:
    mine = [
        each for each in facts.report.exceptions if each.stack in ("", facts.stack) and each.status != "not checked"
    ]
    used = rows(
        "What is allowed against a rule",
        ("rule", "resource", "why", "who answers", "until", "how it is"),
        (
            (
                f"<code>{escape(each.rule)}</code>",
                escape(each.resource),
                escape(each.reason),
                escape(f"{each.owner}, {each.ticket}"),
                escape(each.expires),
                escape(each.warning or each.status),
            )
            for each in mine
        ),
    )
    return used or paragraph(f"None: {SHOWN} allows this stack nothing that a rule forbids.")


def _deferred(facts: Facts) -> Html:
    found = facts.report.deferred
    if not found:
        return ""
    table = rows(
        "Rules that met what only a deployment will know: up decides them before it makes the resource",
        ("rule", "resource", "what is not known yet"),
        (
            (f"<code>{escape(each.pack)}/{escape(each.rule)}</code>", escape(each.resource), escape(each.path))
            for each in found
        ),
    )
    return folded(f"Deferred to the deployment: {len(found)}", table)


# --- the rest ---------------------------------------------------------------------------------------------------------


def _parts(facts: Facts) -> Html:
    costs = {name: now for name, (now, _) in facts.own_cost.by("component").items()}
    known = list(KINDS)
    ordered = sorted(facts.graph.parts, key=lambda each: known.index(each.kind) if each.kind in known else len(known))
    return paragraph(
        f"{sum(len(each.resources) for each in facts.graph.parts)} resources in {len(facts.graph.parts)} parts.", "dim"
    ) + "".join(_part(each, facts, costs.get(each.kind)) for each in ordered)


def _part(part: Part, facts: Facts, cost: Amounts | None) -> Html:
    kind = kind_of(part)
    used = sorted(facts.graph.by_urn[other].name for user, other in facts.graph.uses if user == part.urn)
    uses = sorted({kind_of(facts.graph.by_urn[other]).title for user, other in facts.graph.uses if user == part.urn})
    told = {
        "what it is": "; ".join(filter(None, kind.tells(part))),
        "refers to": ", ".join(uses) if used else "",
        "all of its kind cost": f"{usd(cost.floor_usd)} to {usd(cost.ceiling_usd)} a month" if cost else "",
    }
    table = rows(
        f"The resources of {part.name}",
        ("type", "name"),
        ((f"<code>{escape(each.type)}</code>", escape(each.name)) for each in part.resources[:MOST_RESOURCES]),
    )
    own = f" {part.name}" if part.name != facts.stack else ""
    count = len(part.resources)
    title = f"{kind.title}{own}: {count} resource{'s' * (count != 1)}"
    return folded(title, definitions(told) + table, anchor=part.anchor)


def _limits(facts: Facts) -> Html:
    return reports.listed(_cannot(facts))


def _cannot(facts: Facts) -> Iterator[str]:
    live = facts.live
    yield f"It was made at {clock(facts.at)} UTC and does not change: slipway report {facts.stack} makes it again."
    if live is None:
        yield (
            f"It tells of {facts.stack} as it is planned. Nobody was asked what runs: {facts.why}. So what is "
            "deployed, which version is live, what drifts, what rings and what it was billed are not here."
        )
        if deferred := len(facts.report.deferred):
            yield (
                f"{deferred} rules met values that only the deployment will know; up asks them again before it makes "
                "anything of it."
            )
    elif facts.settings.environment == "local":
        yield (
            "It tells of a rehearsal: functions, schedules, pipelines and endpoints run, but containers and pods do "
            "not, permissions are recorded and not enforced, and costs are what AWS would ask for, not a bill. "
            "docs/rehearsal-limits.md has it by type and field."
        )
    else:
        yield (
            "The picture, the costs and the policies are those of this commit's plan; whether what is deployed is the "
            "same, pulumi preview tells. Costs are list prices and stated use, not the bill."
        )
    if live and live.drifted:
        told = ", ".join(f"{count} to {op}" for op, count in live.drifted.items())
        yield f"What runs is not what this commit plans ({told}): slipway plan {facts.stack} tells what differs."
    yield from (f"{what.capitalize()}: {why}" for what, why in (live.unknown.items() if live else ()))
    yield (
        "Lines between parts are references that the program records, and texts it names others by; a call that only "
        "code in a container makes is not among them."
    )
    yield from facts.cost.warnings
