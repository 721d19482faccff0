"""A stack at a glance: one CloudWatch dashboard of what its components find worth showing."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_aws as aws

from components.iam import local_arn, region

WIDTH, HEIGHT, COLUMNS = 8, 6, 24
"""Of a chart, in the dashboard's units; three stand side by side."""
ALARMS_LIMIT = 100
"""https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/CloudWatch-Dashboard-Body-Structure.html"""


@dataclass(frozen=True)
class Chart:
    """Some metrics over time."""

    title: str
    metrics: Sequence[tuple[str, ...]]
    """Each: namespace, name, then dimension and value by turns."""
    stat: str = "Sum"
    unit: str | None = None
    """What the vertical axis says."""
    period: int = 60
    """Seconds."""


class Dashboard(pulumi.ComponentResource):
    """The dashboard `name`: the stack's alarms first, then its charts."""

    def __init__(
        self,
        name: str,
        *,
        charts: Sequence[Chart],
        alarms: Sequence[str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """`alarms` are names."""
        super().__init__("slipway:index:Dashboard", name, opts=opts)
        overview: dict[str, Any] = {
            "type": "alarm",
            "x": 0,
            "y": 0,
            "width": COLUMNS,
            "height": HEIGHT,
            "properties": {
                "title": "Alarms",
                "sortBy": "stateUpdatedTimestamp",
                "alarms": [local_arn("cloudwatch", f"alarm:{alarm}") for alarm in sorted(alarms)[:ALARMS_LIMIT]],
            },
        }
        aws.cloudwatch.Dashboard(
            name,
            dashboard_name=name,
            dashboard_body=json.dumps(
                {"widgets": [overview, *(_widget(number, chart) for number, chart in enumerate(charts))]}
            ),
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.register_outputs({})


def _widget(number: int, chart: Chart) -> dict[str, Any]:
    row, column = divmod(number, COLUMNS // WIDTH)
    return {
        "type": "metric",
        "x": column * WIDTH,
        "y": (row + 1) * HEIGHT,
        "width": WIDTH,
        "height": HEIGHT,
        "properties": {
            "title": chart.title,
            "view": "timeSeries",
            "region": region(),
            "stat": chart.stat,
            "period": chart.period,
            "metrics": [list(metric) for metric in chart.metrics],
            "yAxis": {"left": {"min": 0, **({"label": chart.unit} if chart.unit else {})}},
        },
    }
