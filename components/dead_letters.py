"""Where events and invocations end that could not be delivered, so that none is lost unseen."""

from collections.abc import Sequence

import pulumi
import pulumi_aws as aws

from components.alarms import Alarms
from components.iam import allow_service, document, only_over_tls
from components.runbook import Guide

FOURTEEN_DAYS = 14 * 24 * 3600
"""The longest that SQS keeps a message."""


class DeadLetters(pulumi.ComponentResource):
    """An encrypted queue with an alarm on its first message."""

    queue_arn: pulumi.Output[str]
    guides: list[Guide]

    def __init__(
        self,
        name: str,
        *,
        senders: Sequence[str] = (),
        kms_key_arn: pulumi.Input[str],
        alerts_topic_arn: pulumi.Input[str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """`senders` are the services that put messages in under their own name, not under a role of ours."""
        super().__init__("slipway:index:DeadLetters", name, opts=opts)
        child = pulumi.ResourceOptions(parent=self)

        queue = aws.sqs.Queue(
            f"{name}-lost", kms_master_key_id=kms_key_arn, message_retention_seconds=FOURTEEN_DAYS, opts=child
        )
        deliver = [allow_service(service, ["sqs:SendMessage"], queue.arn) for service in senders]
        aws.sqs.QueuePolicy(
            f"{name}-lost",
            queue_url=queue.url,
            policy=document(only_over_tls("sqs", queue.arn), *deliver),
            opts=child,
        )
        alarms = Alarms(name, alerts_topic_arn, child)
        alarms.add(
            "lost",
            means=f"Something of {name} could not be delivered, and waits in a queue.",
            look=[f"The messages in the queue `{name}-lost-…`: each says what was to be done, and why not."],
            act=["Mend what the message names.", "Start the queue's redrive, or delete what is no longer needed."],
            namespace="AWS/SQS",
            metric_name="ApproximateNumberOfMessagesVisible",
            dimensions={"QueueName": queue.name},
            statistic="Maximum",
            period=300,
            evaluation_periods=1,
            comparison_operator="GreaterThanThreshold",
            threshold=0,
        )
        self.guides = alarms.guides
        self.queue_arn = queue.arn
        self.register_outputs({"queue_arn": self.queue_arn})
