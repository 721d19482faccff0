"""EKS nodes, of whatever kind: role, launch template, managed group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pulumi
import pulumi_aws as aws
from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from components.gpu import GROUP_LIMIT
from components.iam import attach, default_tags, trust_instances
from components.spec import Spec

POLICIES = "AmazonEKSWorkerNodePolicy", "AmazonEC2ContainerRegistryPullOnly"
"""What a node itself needs; the network plugin has a role of its own."""
METADATA = {"http_endpoint": "enabled", "http_tokens": "required", "http_put_response_hop_limit": 1}
"""Pods cannot borrow the node's identity: one hop does not reach them."""
STARTED = "instance", "volume"


class NodePool(Spec):
    """Which instances a group of nodes may use, and how many."""

    instance_types: list[str] = Field(min_length=1, max_length=20)
    """The first that can be had is used; EKS takes up to 20."""
    min_size: NonNegativeInt = 0
    """The fewest nodes."""
    max_size: PositiveInt = Field(le=GROUP_LIMIT)
    """The most."""
    spot: bool = False
    """Spot is cheaper by far, and may be taken away with two minutes' notice."""
    disk_gib: int = Field(default=100, ge=20, le=16384)
    """The root volume: images and, where the instance has no disk of its own, all that pods write."""

    @model_validator(mode="after")
    def _minimum_below_maximum(self) -> NodePool:
        if self.min_size > self.max_size:
            raise ValueError(
                f"min_size {self.min_size} is above max_size {self.max_size}: raise one or lower the other"
            )
        return self


class Nodes(pulumi.ComponentResource):
    """A managed node group whose disks our key encrypts, and whose pods cannot borrow the node's identity."""

    node_group_name: pulumi.Output[str]
    role_arn: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        pool: NodePool,
        *,
        ami_type: Literal["AL2023_x86_64_STANDARD"],
        cluster_name: pulumi.Input[str],
        subnet_ids: pulumi.Input[Sequence[pulumi.Input[str]]],
        kms_key_arn: pulumi.Input[str],
        labels: Mapping[str, str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("slipway:index:Nodes", name, opts=opts)
        child = pulumi.ResourceOptions(parent=self)

        role, attached = node_role(name, child)
        template = node_template(name, disks=[disk("/dev/xvda", pool.disk_gib, kms_key_arn)], opts=child)
        nodes = aws.eks.NodeGroup(
            name,
            cluster_name=cluster_name,
            node_role_arn=role.arn,
            subnet_ids=subnet_ids,
            ami_type=ami_type,
            instance_types=pool.instance_types,
            capacity_type="SPOT" if pool.spot else "ON_DEMAND",
            scaling_config={"min_size": pool.min_size, "max_size": pool.max_size, "desired_size": pool.min_size},
            update_config={"max_unavailable": 1},
            node_repair_config={"enabled": True},
            labels=labels,
            launch_template={"id": template.id, "version": template.latest_version.apply(str)},
            opts=child.merge(pulumi.ResourceOptions(depends_on=attached, ignore_changes=OWNED_BY_THE_AUTOSCALER)),
        )
        self.node_group_name, self.role_arn = nodes.node_group_name, role.arn
        self.register_outputs({"node_group_name": self.node_group_name, "role_arn": self.role_arn})


OWNED_BY_THE_AUTOSCALER = ["scalingConfig.desiredSize"]
"""Once a group exists."""


def node_role(name: str, opts: pulumi.ResourceOptions) -> tuple[aws.iam.Role, list[pulumi.Resource]]:
    """The role of some nodes, and what has to be there before it works."""
    role = aws.iam.Role(f"{name}-node", assume_role_policy=trust_instances(), opts=opts)
    return role, attach(role, f"{name}-node", POLICIES, opts)


def disk(device: str, gib: int, kms_key_arn: pulumi.Input[str]) -> dict[str, Any]:
    """One volume of a launch template, encrypted with our key."""
    return {
        "device_name": device,
        "ebs": {
            "volume_type": "gp3",
            "volume_size": gib,
            "encrypted": "true",
            "kms_key_id": kms_key_arn,
            "delete_on_termination": "true",
        },
    }


def node_template(
    name: str,
    *,
    disks: Sequence[Mapping[str, Any]],
    opts: pulumi.ResourceOptions,
    more_tagged: Sequence[str] = (),
    **settings: Any,
) -> aws.ec2.LaunchTemplate:
    """A launch template of nodes; `settings` are its own, `more_tagged` what else than instances and volumes it tags.

    The provider's tags stop at the template: Auto Scaling would start instances and volumes without any.
    """
    tags = {**default_tags(), "Name": name}
    return aws.ec2.LaunchTemplate(
        f"{name}-node",
        **{
            "block_device_mappings": disks,
            "metadata_options": METADATA,
            "tag_specifications": [{"resource_type": kind, "tags": tags} for kind in (*STARTED, *more_tagged)],
            "update_default_version": True,
            "opts": opts,
            **settings,
        },
    )
