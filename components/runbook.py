"""What to do when an alarm goes off: one page for each stack, with the real names in it."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.iam import region

WIDTH = 24
"""A dashboard's columns."""
HEIGHT = 8
"""Rows of a section, each about 60 pixels: what does not fit can be scrolled to."""


@dataclass(frozen=True)
class Guide:
    """One alarm's section of the runbook."""

    alarm: str
    """The alarm's name in CloudWatch."""
    means: str
    """What is wrong, in a sentence, for whom it wakes."""
    look: Sequence[str]
    """Where to look first: a command, or what to open."""
    act: Sequence[str]
    """What to do then, in order."""

    def markdown(self) -> str:
        """The section. Lines that begin with `$ ` are commands."""
        return "\n\n".join(
            [
                f"## {self.alarm}",
                self.means,
                "**Look**",
                _list(self.look),
                "**Act**",
                _list(self.act),
            ]
        )


def _list(lines: Iterable[str]) -> str:
    return "\n".join(f"1. `{line[2:]}`" if line.startswith("$ ") else f"1. {line}" for line in lines)


def runbook_name(stack: str) -> str:
    """What a stack's runbook is called in CloudWatch."""
    return f"{stack}-runbook"


def runbook_url() -> str:
    """Where this stack's runbook is: known before anything is deployed, and open to whoever may read alarms."""
    name = runbook_name(pulumi.get_stack())
    return f"https://console.aws.amazon.com/cloudwatch/home?region={region()}#dashboards/dashboard/{name}"


def markdown(stack: str, guides: Sequence[Guide]) -> str:
    """The whole runbook."""
    return "\n\n".join([f"# Runbook of {stack}", *(guide.markdown() for guide in _sorted(guides))]) + "\n"


def _sorted(guides: Sequence[Guide]) -> list[Guide]:
    return sorted(guides, key=lambda guide: guide.alarm)


class Runbook(pulumi.ComponentResource):
    """The runbook of this stack, beside its alarms in CloudWatch: a dashboard of texts, one for each alarm."""

    url: str

    def __init__(self, name: str, *, guides: Sequence[Guide], opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("slipway:index:Runbook", name, opts=opts)
        sections = [
            {
                "type": "text",
                "x": 0,
                "y": number * HEIGHT,
                "width": WIDTH,
                "height": HEIGHT,
                "properties": {"markdown": guide.markdown()},
            }
            for number, guide in enumerate(_sorted(guides))
        ]
        aws.cloudwatch.Dashboard(
            f"{name}-runbook",
            dashboard_name=runbook_name(pulumi.get_stack()),
            dashboard_body=json.dumps({"widgets": sections}),
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.url = runbook_url()
        self.register_outputs({"url": self.url})
