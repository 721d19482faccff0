"""What the runbook says to do about an alarm: read where people read it, on the stack's dashboard of texts."""

import json
import re
from dataclasses import dataclass
from typing import Any, Final

from botocore.exceptions import ClientError

STEP: Final = re.compile(r"^1\. (.+)$", re.MULTILINE)
MISSING: Final = ("ResourceNotFound", "ResourceNotFoundException")


@dataclass(frozen=True)
class Section:
    """An alarm's section."""

    means: str
    look: tuple[str, ...]
    act: tuple[str, ...]

    @property
    def next_step(self) -> str:
        """What to do first: to look, where there is something to look at."""
        return next(iter((*self.look, *self.act)), "")


def section(cloudwatch: Any, runbook: str, alarm: str) -> Section | None:
    """An alarm's section of a runbook (a dashboard's name); None where there is none."""
    try:
        found = cloudwatch.get_dashboard(DashboardName=runbook)
    except ClientError as error:
        if error.response["Error"]["Code"] not in MISSING:
            raise
        return None
    for widget in json.loads(found["DashboardBody"])["widgets"]:
        text = str(widget.get("properties", {}).get("markdown", ""))
        if text.startswith(f"## {alarm}\n"):
            return parsed(text)
    return None


def parsed(markdown: str) -> Section:
    """A section, from its Markdown as components/runbook.py writes it."""
    head, _, rest = markdown.partition("**Look**")
    look, _, act = rest.partition("**Act**")
    means = head.partition("\n")[2].strip()
    return Section(means, tuple(STEP.findall(look)), tuple(STEP.findall(act)))
