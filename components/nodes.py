"""EKS nodes, of whatever kind: role, launch template, managed group."""

from collections.abc import Mapping, Sequence
from typing import Literal

import pulumi
import pulumi_aws as aws
from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from components.iam import attach, default_tags, trust_instances
from components.spec import Spec

POLICIES = "AmazonEKSWorkerNodePolicy", "AmazonEC2ContainerRegistryPullOnly"
"""What a node itself needs; the network plugin has a role of its own."""


class NodePool(Spec):
    """Which instances a group of nodes may use, and how many."""

    instance_types: list[str] = Field(min_length=1, max_length=20)
    """The first that can be had is used; EKS takes up to 20."""
    min_size: NonNegativeInt = 0
    max_size: PositiveInt = Field(le=450)
    """EKS allows 450 nodes in a group."""
    spot: bool = False
    """Spot is cheaper by far, and may be taken away with two minutes' notice."""
    disk_gib: int = Field(default=100, ge=20, le=16384)
    """The root volume: images and, where the instance has no disk of its own, all that pods write."""

    @model_validator(mode="after")
    def _minimum_below_maximum(self) -> "NodePool":
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
        ami_type: Literal["AL2023_x86_64_STANDARD", "AL2023_x86_64_NVIDIA"],
        cluster_name: pulumi.Input[str],
        subnet_ids: pulumi.Input[Sequence[pulumi.Input[str]]],
        kms_key_arn: pulumi.Input[str],
        labels: Mapping[str, str],
        taint: str | None = None,
        user_data: str | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """`taint` is the key of a taint that keeps away pods which do not tolerate it."""
        super().__init__("slipway:index:Nodes", name, opts=opts)
        child = pulumi.ResourceOptions(parent=self)

        role = aws.iam.Role(f"{name}-node", assume_role_policy=trust_instances(), opts=child)
        attached = attach(role, f"{name}-node", POLICIES, child)
        template = aws.ec2.LaunchTemplate(
            f"{name}-node",
            block_device_mappings=[
                {
                    "device_name": "/dev/xvda",
                    "ebs": {
                        "volume_type": "gp3",
                        "volume_size": pool.disk_gib,
                        "encrypted": "true",
                        "kms_key_id": kms_key_arn,
                        "delete_on_termination": "true",
                    },
                }
            ],
            metadata_options={"http_endpoint": "enabled", "http_tokens": "required", "http_put_response_hop_limit": 1},
            # The provider's tags stop at the template: Auto Scaling would start instances and volumes without any.
            tag_specifications=[
                {"resource_type": kind, "tags": {**default_tags(), "Name": name}} for kind in ("instance", "volume")
            ],
            user_data=user_data,
            update_default_version=True,
            opts=child,
        )
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
            taints=[{"key": taint, "value": "true", "effect": "NO_SCHEDULE"}] if taint else [],
            launch_template={"id": template.id, "version": template.latest_version.apply(str)},
            # Once the group exists, its autoscaler owns the desired size.
            opts=child.merge(pulumi.ResourceOptions(depends_on=attached, ignore_changes=["scalingConfig.desiredSize"])),
        )
        self.node_group_name, self.role_arn = nodes.node_group_name, role.arn
        self.register_outputs({"node_group_name": self.node_group_name, "role_arn": self.role_arn})
