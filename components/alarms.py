"""A component's alarms: whoever one wakes finds what to do behind the link in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pulumi
import pulumi_aws as aws

from components.runbook import Guide, runbook_url

DESCRIPTION_LIMIT = 1024
"""https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html"""


class Alarms:
    """The alarms of one component; each sends to the alerts topic, and has a section in the stack's runbook."""

    guides: list[Guide]

    def __init__(self, name: str, alerts_topic_arn: pulumi.Input[str], opts: pulumi.ResourceOptions) -> None:
        """`opts` are the children's: their parent is the component."""
        self._name, self._topic, self._opts = name, alerts_topic_arn, opts
        self.guides = []

    def add(
        self, what: str, *, means: str, look: Sequence[str], act: Sequence[str], **settings: Any
    ) -> aws.cloudwatch.MetricAlarm:
        """The alarm `<name>-<what>`; `settings` are MetricAlarm's own. Missing data is no breach unless they say so."""
        name = f"{self._name}-{what}"
        self.guides.append(Guide(name, means, tuple(look), tuple(act)))
        return aws.cloudwatch.MetricAlarm(
            name,
            **{
                "name": name,
                "alarm_description": f"{means} What to do: {runbook_url()}"[:DESCRIPTION_LIMIT],
                "treat_missing_data": "notBreaching",
                "alarm_actions": [self._topic],
                "ok_actions": [self._topic],
                "opts": self._opts,
                **settings,
            },
        )
