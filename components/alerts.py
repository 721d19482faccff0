"""Where people hear that something is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import pulumi
import pulumi_aws as aws
from pydantic import Field, StringConstraints

from components.iam import allow_service, document, only_over_tls
from components.spec import Spec

PUBLISHERS = [
    "cloudwatch.amazonaws.com",
    "events.amazonaws.com",
    "budgets.amazonaws.com",
    "costalerts.amazonaws.com",
]

Email = Annotated[str, StringConstraints(pattern=r"^[^@\s]+@[^@\s]+\.[^@\s]+$")]


class AlertsSpec(Spec):
    """Who hears of alarms, approvals and budgets."""

    emails: list[Email] = Field(min_length=1)
    """Each gets a mail from AWS to confirm, and alerts only once that is done."""


class Alerts(pulumi.ComponentResource):
    """An encrypted topic that this account's alarms, event rules and budgets publish to."""

    topic_arn: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        spec: AlertsSpec,
        *,
        kms_key_arn: pulumi.Input[str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("slipway:index:Alerts", name, opts=opts)
        child = pulumi.ResourceOptions(parent=self)

        topic = encrypted_topic(f"{name}-alerts", PUBLISHERS, kms_key_arn, child)
        for email in spec.emails:
            aws.sns.TopicSubscription(
                f"{name}-{email.replace('@', '-at-')}", topic=topic.arn, protocol="email", endpoint=email, opts=child
            )
        self.topic_arn = topic.arn
        self.register_outputs({"topic_arn": self.topic_arn})


def encrypted_topic(
    name: str, publishers: Sequence[str], kms_key_arn: pulumi.Input[str], opts: pulumi.ResourceOptions
) -> aws.sns.Topic:
    """A topic that these services publish to on behalf of this account, and nobody in the clear."""
    topic = aws.sns.Topic(name, kms_master_key_id=kms_key_arn, opts=opts)
    aws.sns.TopicPolicy(
        name,
        arn=topic.arn,
        policy=document(
            allow_service(publishers, ["sns:Publish"], topic.arn),
            {**only_over_tls("sns", topic.arn), "Action": "sns:Publish"},
        ),
        opts=opts,
    )
    return topic
