"""Pictures of the documentation: of stacks as they would be deployed, and of how a run goes."""

import re
from dataclasses import replace
from functools import cache

from infra.reference import plans
from infra.report_page.drawing import legend, svg
from infra.report_page.graph import graph
from infra.report_page.picture import Arrow, Box, Lane, Picture, picture

WIDTH = 860
"""Pixels: what a page's column has on a wide screen."""

FLOW = Picture(
    "How a run goes",
    (
        Lane(
            "What teams write",
            (
                Box("yaml", "stacks/Pulumi.NAME.yaml", ("the values of one environment,", "checked when it is read")),
                Box("stack", "stacks/NAME.py", ("what is deployed:", "components, composed")),
                Box("policies", "policies/", ("what is allowed:", "rules, limits, prices")),
            ),
        ),
        Lane(
            "What comes of it",
            (Box("graph", "The graph of resources", ("read by plan, check, cost", "and report")),),
        ),
        Lane(
            "Where it goes",
            (
                Box("aws", "AWS", ("through the Pulumi CLI", "and its own providers")),
                Box("rehearsal", "The rehearsal", ("an emulator on 127.0.0.1,", "in which functions run")),
            ),
        ),
    ),
    (
        Arrow("yaml", "graph", "flow", "values"),
        Arrow("stack", "graph", "flow", "components"),
        Arrow("policies", "graph", "act", "refuse what may not be"),
        Arrow("graph", "aws", "flow", "pulumi up"),
        Arrow("graph", "rehearsal", "flow", "slipway up local"),
    ),
)


def flow() -> str:
    """How a run goes from YAML to AWS."""
    return _shown(FLOW)


@cache
def of_stack(stack: str) -> str:
    """A stack's components, and what goes from one to another."""
    found = picture(graph(stack, plans.planned()[stack].resources))
    lanes = tuple(replace(lane, boxes=tuple(replace(box, anchor="") for box in lane.boxes)) for lane in found.lanes)
    return _shown(replace(found, lanes=lanes)) + legend().replace("legend", "slipway-legend")


def _shown(drawn: Picture) -> str:
    """HTML in one line: a blank line would end it for Markdown. The words are for those who cannot see it."""
    words = " ".join(drawn.words())
    text = svg(drawn, WIDTH, label=f"{drawn.title}. {words}".replace("\n", " "))
    return '<div class="slipway-picture">' + re.sub(r"\s+", " ", text) + "</div>"
