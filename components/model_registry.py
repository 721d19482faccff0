"""The versions of a model, each with what it was measured at and whether it may be served."""

import json

import pulumi
import pulumi_aws as aws
from pydantic import Field

from components.dead_letters import DeadLetters
from components.iam import local_arn
from components.spec import Spec


class RegistrySpec(Spec):
    """What a model is for."""

    description: str = Field(min_length=1, max_length=1024)


class ModelRegistry(pulumi.ComponentResource):
    """A model package group; every approval or rejection in it is sent to the alerts topic."""

    model_package_group_name: pulumi.Output[str]
    arn: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        spec: RegistrySpec,
        *,
        kms_key_arn: pulumi.Input[str],
        alerts_topic_arn: pulumi.Input[str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """The group is called `name`."""
        super().__init__("slipway:index:ModelRegistry", name, opts=opts)
        child = pulumi.ResourceOptions(parent=self)

        group = aws.sagemaker.ModelPackageGroup(
            name,
            model_package_group_name=name,
            model_package_group_description=spec.description,
            # Its versions are the record of what was served: they outlive the stack, and AWS deletes no group with any.
            opts=child.merge(pulumi.ResourceOptions(retain_on_delete=True)),
        )
        decided = aws.cloudwatch.EventRule(
            f"{name}-decided",
            description=f"A version of {name} was approved or rejected",
            event_pattern=json.dumps(
                {
                    "source": ["aws.sagemaker"],
                    "detail-type": ["SageMaker Model Package State Change"],
                    "detail": {
                        "ModelPackageGroupName": [name],
                        "ModelApprovalStatus": ["Approved", "Rejected"],
                    },
                }
            ),
            opts=child,
        )
        lost = DeadLetters(
            f"{name}-decisions",
            senders=["events.amazonaws.com"],
            kms_key_arn=kms_key_arn,
            alerts_topic_arn=alerts_topic_arn,
            opts=child,
        )
        aws.cloudwatch.EventTarget(
            f"{name}-decided",
            rule=decided.name,
            arn=alerts_topic_arn,
            retry_policy={"maximum_event_age_in_seconds": 3600, "maximum_retry_attempts": 10},
            dead_letter_config={"arn": lost.queue_arn},
            opts=child,
        )
        self.model_package_group_name, self.arn = group.model_package_group_name, group.arn
        self.register_outputs({"model_package_group_name": self.model_package_group_name, "arn": self.arn})


def model_package_arn(group: str, version: int) -> str:
    """The ARN of one version of a model, which is known before the version exists."""
    return local_arn("sagemaker", f"model-package/{group}/{version}")
