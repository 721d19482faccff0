"""The review that closes an incident: what it asks, and whether what was handed in answers it."""

import re
from collections.abc import Mapping
from datetime import date
from typing import Final

from functions.incidents.core import Incident
from functions.incidents.note import lasted

QUESTIONS: Final[Mapping[str, str]] = {
    "What happened": "<in two or three sentences, for somebody who was not there>",
    "Impact": "<who noticed, how many requests were lost or answered wrongly, for how long, at what cost>",
    "Why it was not seen earlier": "<which test, gate or monitor could have, and why it did not>",
    "What went well": "<what is to be kept>",
}
ACTIONS: Final = "Actions"
HEADS: Final = ("What", "Owner", "By")
ROW: Final = "| <what is to be done> | <who> | <YYYY-MM-DD> |"
NONE: Final = "No action"
PLACEHOLDER: Final = re.compile(r"<[^<>\n]*[A-Za-z][^<>\n]*>")


def template(incident: Incident) -> str:
    """The review to fill in, with what is known already."""
    took = lasted(incident)
    known = [
        f"# Review of {incident.id}: {incident.endpoint}",
        "",
        f"- **Wrong**: {incident.what or incident.kind}",
        f"- **From**: {incident.opened}",
        f"- **Until**: {incident.recovered or 'it has not recovered'}" + (f" ({took})" if took else ""),
        f"- **Decided**: {incident.decision or 'nothing'}" + (f", because {incident.why}" if incident.why else ""),
        *(f"- **Done**: {each}" for each in incident.done),
        *(f"- **Moved**: {each.name}, since {each.since}" for each in incident.moved[:3]),
    ]
    asked = [part for heading, wanted in QUESTIONS.items() for part in ("", f"## {heading}", "", wanted)]
    table = ["| " + " | ".join(HEADS) + " |", "|---" * len(HEADS) + "|", ROW]
    return "\n".join([*known, *asked, "", f"## {ACTIONS}", "", *table]) + "\n"


def problems(text: str) -> list[str]:
    """What is missing in a review, a sentence each; empty where it is whole."""
    sections = _sections(text)
    found = []
    for heading, asked in QUESTIONS.items():
        said = sections.get(heading.lower())
        if said is None:
            found.append(f"the section `## {heading}` is missing")
        elif not said or asked in said:
            found.append(f"`## {heading}` is not filled in")
    said = sections.get(ACTIONS.lower())
    if said is None:
        found.append(f"the section `## {ACTIONS}` is missing")
    else:
        found += _of_actions(said)
    return found


def _sections(text: str) -> dict[str, str]:
    """What stands below each `## heading`."""
    parts = re.split(r"^##[ \t]+(.+?)[ \t]*$", text, flags=re.MULTILINE)
    return {heading.lower(): said.strip() for heading, said in zip(parts[1::2], parts[2::2], strict=True)}


def _of_actions(said: str) -> list[str]:
    rows = [[cell.strip() for cell in row.strip().strip("|").split("|")] for row in said.splitlines() if "|" in row]
    rows = [row for row in rows if tuple(row) != HEADS and not all(set(cell) <= set("-: ") for cell in row)]
    if not rows:
        reason = re.search(rf"{NONE}\s*[:,-]?\s*(.*)", said, re.IGNORECASE | re.DOTALL)
        if reason and reason[1].strip() and not PLACEHOLDER.fullmatch(reason[1].strip()):
            return []
        return [f"`## {ACTIONS}` has no row: say what is done, by whom and until when, or `{NONE}: <why not>`"]
    return [problem for number, row in enumerate(rows, 1) for problem in _of_row(number, row)]


def _of_row(number: int, row: list[str]) -> list[str]:
    if len(row) != len(HEADS):
        return [f"action {number} has {len(row)} cells: {', '.join(HEADS)} are {len(HEADS)}"]
    empty = [head for head, cell in zip(HEADS, row, strict=True) if not PLACEHOLDER.sub("", cell).strip()]
    if empty:
        return [f"action {number} does not say: {', '.join(empty)}"]
    try:
        date.fromisoformat(row[2])
    except ValueError:
        return [f"action {number} is due by {row[2]!r}, which is no date: write 2026-11-30"]
    return []
