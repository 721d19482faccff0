"""The KMS key that encrypts everything a platform and its products store."""

import pulumi
import pulumi_aws as aws
from pydantic import Field

from components.iam import account_id, allow_service, document, local_arn, region
from components.spec import Spec

READ_AND_WRITE = ["kms:Decrypt", "kms:GenerateDataKey*"]
CRYPTOGRAPHY = ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"]
AUTO_SCALING = "aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling"
PUBLISHERS = [
    "cloudwatch.amazonaws.com",
    "events.amazonaws.com",
    "budgets.amazonaws.com",
    "costalerts.amazonaws.com",
    "sns.amazonaws.com",
]
"""The services that put messages into our encrypted topics and queues in their own name."""


class KeySpec(Spec):
    """How a key may go away."""

    deletion_days: int = Field(default=30, ge=7, le=30)
    """How long a deleted key can still be had back; KMS allows 7 to 30 days."""
    protect: bool = True
    """Whether deleting the stack stops at this key, without which nothing it encrypted can be read."""


class Key(pulumi.ComponentResource):
    """A symmetric key, rotated every year, whose policy names each service that may use it for this account."""

    arn: pulumi.Output[str]
    key_id: pulumi.Output[str]

    def __init__(self, name: str, spec: KeySpec, *, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("slipway:index:Key", name, opts=opts)
        child = pulumi.ResourceOptions(parent=self)

        key = aws.kms.Key(
            f"{name}-data",
            description=f"Encrypts what {name} and its products store",
            enable_key_rotation=True,
            rotation_period_in_days=365,
            deletion_window_in_days=spec.deletion_days,
            policy=key_policy(),
            opts=child.merge(pulumi.ResourceOptions(protect=spec.protect)),
        )
        aws.kms.Alias(f"{name}-data", name=f"alias/{name}", target_key_id=key.key_id, opts=child)
        self.arn, self.key_id = key.arn, key.key_id
        self.register_outputs({"arn": self.arn, "key_id": self.key_id})


def key_policy() -> pulumi.Output[str]:
    """Who may use a key. In a key's own policy the resource `*` is that key."""
    account = account_id()
    for_volumes = {
        # Auto Scaling starts the nodes, so its own role needs the key. It is named in a condition and not as the
        # principal, because KMS refuses a principal that does not exist yet in a fresh account.
        "aws:PrincipalArn": f"arn:aws:iam::{account}:role/{AUTO_SCALING}",
        "kms:CallerAccount": account,
    }
    return document(
        {
            "Sid": "IamOfThisAccountDecides",
            "Effect": "Allow",
            "Principal": {"AWS": f"arn:aws:iam::{account}:root"},
            "Action": "kms:*",
            "Resource": "*",
        },
        {"Sid": "Publishers", **allow_service(PUBLISHERS, READ_AND_WRITE, "*")},
        {
            "Sid": "Logs",
            "Effect": "Allow",
            "Principal": {"Service": f"logs.{region()}.amazonaws.com"},
            "Action": CRYPTOGRAPHY,
            "Resource": "*",
            "Condition": {"ArnLike": {"kms:EncryptionContext:aws:logs:arn": local_arn("logs", "log-group:*")}},
        },
        {
            "Sid": "NodeVolumes",
            "Effect": "Allow",
            "Principal": {"AWS": "*"},
            "Action": CRYPTOGRAPHY,
            "Resource": "*",
            "Condition": {"StringEquals": for_volumes},
        },
        {
            "Sid": "NodeVolumeGrants",
            "Effect": "Allow",
            "Principal": {"AWS": "*"},
            "Action": "kms:CreateGrant",
            "Resource": "*",
            "Condition": {"StringEquals": for_volumes, "Bool": {"kms:GrantIsForAWSResource": "true"}},
        },
    )
