"""Who may do what: where a stack runs, and the documents that IAM and resource policies are made of."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import pulumi
import pulumi_aws as aws
from pydantic import StringConstraints

Statement = Mapping[str, Any]
"""One statement of a policy document; its values may be Outputs."""

RoleArn = Annotated[str, StringConstraints(pattern=r"^arn:aws:iam::\d{12}:role/[\w+=,.@/-]+$")]
"""An IAM role's ARN, as `arn:aws:iam::123456789012:role/team`."""


def account_id() -> str:
    """The account this stack is deployed to: the one that its YAML allows."""
    [account] = pulumi.Config("aws").require_object("allowedAccountIds")
    return str(account)


def region() -> str:
    """The region this stack is deployed to."""
    return pulumi.Config("aws").require("region")


def default_tags() -> dict[str, str]:
    """The tags that the provider puts on every resource; for what AWS starts on its own, such as a node's volume."""
    return dict(pulumi.Config("aws").require_object("defaultTags")["tags"])


def local_arn(service: str, resource: str) -> str:
    """The ARN of something of `service` in this account and region."""
    return f"arn:aws:{service}:{region()}:{account_id()}:{resource}"


def allow(
    actions: Sequence[str], *resources: pulumi.Input[str], when: Mapping[str, Mapping[str, Any]] | None = None
) -> Statement:
    """Allow `actions` on `resources` for whom the document is attached to; `when` is a Condition block."""
    return {
        "Effect": "Allow",
        "Action": list(actions),
        "Resource": list(resources),
        **({"Condition": when} if when else {}),
    }


def allow_service(
    services: str | Sequence[str],
    actions: Sequence[str],
    resource: pulumi.Input[str],
    *,
    source_arns: Sequence[pulumi.Input[str]] = (),
) -> Statement:
    """For a resource's own policy: AWS services may do `actions`, on behalf of this account alone.

    `source_arns` narrows that to the things on whose behalf they act.
    """
    condition: dict[str, Any] = {"StringEquals": {"aws:SourceAccount": account_id()}}
    if source_arns:
        condition["ArnLike"] = {"aws:SourceArn": list(source_arns)}
    return {
        "Effect": "Allow",
        "Principal": {"Service": services},
        "Action": list(actions),
        "Resource": resource,
        "Condition": condition,
    }


def only_over_tls(service: str, *resources: pulumi.Input[str]) -> Statement:
    """For a resource's own policy: nobody reaches it in the clear."""
    return {
        "Sid": "OnlyOverTls",
        "Effect": "Deny",
        "Principal": "*",
        "Action": f"{service}:*",
        "Resource": list(resources),
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }


def document(*statements: Statement) -> pulumi.Output[str]:
    """The policy document of these statements."""
    return pulumi.Output.json_dumps({"Version": "2012-10-17", "Statement": list(statements)})


def trust(service: str) -> str:
    """Lets an AWS service assume a role, on behalf of this account alone."""
    return _trust(service, ["sts:AssumeRole"], {"StringEquals": {"aws:SourceAccount": account_id()}})


def trust_instances() -> str:
    """Lets EC2 instances assume a role.

    EC2 sends no aws:SourceAccount here, and needs none: an instance gets only a role of its own account.
    """
    return _trust("ec2.amazonaws.com", ["sts:AssumeRole"])


def trust_pods() -> str:
    """Lets EKS Pod Identity assume a role for the pods it is associated with, in this account's clusters."""
    condition = {"StringEquals": {"aws:SourceAccount": account_id()}}
    return _trust("pods.eks.amazonaws.com", ["sts:AssumeRole", "sts:TagSession"], condition)


def _trust(service: str, actions: Sequence[str], condition: Mapping[str, Any] | None = None) -> str:
    statement: dict[str, Any] = {"Effect": "Allow", "Principal": {"Service": service}, "Action": list(actions)}
    if condition:
        statement["Condition"] = condition
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def use_key(kms_key_arn: pulumi.Input[str], *services: str) -> Statement:
    """Allow reading and writing what a KMS key encrypts; `services` narrows that to calls through them."""
    via = [f"{service}.{region()}.amazonaws.com" for service in services]
    condition = {"StringEquals": {"kms:ViaService": via}} if via else None
    return allow(["kms:Decrypt", "kms:GenerateDataKey"], kms_key_arn, when=condition)


def read_with_key(kms_key_arn: pulumi.Input[str], *services: str) -> Statement:
    """As `use_key`, for who only reads."""
    return {**use_key(kms_key_arn, *services), "Action": ["kms:Decrypt"]}


def attach(
    role: aws.iam.Role, name: str, policies: Sequence[str], opts: pulumi.ResourceOptions
) -> list[pulumi.Resource]:
    """Attach policies that AWS maintains, by name, to a role."""
    return [
        aws.iam.RolePolicyAttachment(
            f"{name}-{policy}", role=role.name, policy_arn=f"arn:aws:iam::aws:policy/{policy}", opts=opts
        )
        for policy in policies
    ]
