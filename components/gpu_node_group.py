"""GPU nodes for an EKS cluster, as a managed node group."""

from base64 import b64encode
from collections.abc import Sequence

import pulumi
import pulumi_aws as aws

from components.gpu import GPU, GPU_LABEL, POOL_LABEL, GpuPool
from components.nodes import METADATA, OWNED_BY_THE_AUTOSCALER, disk, node_role, tagged

__all__ = ["GPU", "GPU_LABEL", "POOL_LABEL", "GpuNodeGroup", "GpuPool"]

CAPACITY_TYPES = {"spot": "SPOT", "capacity-block": "CAPACITY_BLOCK"}


class GpuNodeGroup(pulumi.ComponentResource):
    """Nodes that run only pods asking for their GPUs, and are replaced when a GPU fails."""

    node_group_name: pulumi.Output[str]
    role_arn: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        spec: GpuPool,
        *,
        pool: str,
        cluster_name: pulumi.Input[str],
        subnet_ids: pulumi.Input[Sequence[pulumi.Input[str]]],
        kms_key_arn: pulumi.Input[str],
        kubernetes_version: str | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """`pool` is what pods call it, in the label `slipway/pool`."""
        super().__init__("slipway:index:GpuNodeGroup", name, opts=opts)
        child = pulumi.ResourceOptions(parent=self)

        role, attached = node_role(name, child)
        template = aws.ec2.LaunchTemplate(
            f"{name}-node",
            block_device_mappings=[disk("/dev/xvda", spec.disk_gib, kms_key_arn)],
            metadata_options=METADATA,
            tag_specifications=tagged(name),
            user_data=b64encode(USE_LOCAL_DISKS.encode()).decode(),
            update_default_version=True,
            opts=child,
        )
        nodes = aws.eks.NodeGroup(
            name,
            cluster_name=cluster_name,
            node_role_arn=role.arn,
            subnet_ids=subnet_ids,
            ami_type=spec.ami_type,
            instance_types=spec.instance_types,
            capacity_type=CAPACITY_TYPES.get(spec.capacity, "ON_DEMAND"),
            scaling_config={
                "min_size": spec.nodes_at_least,
                "max_size": spec.nodes_limit,
                "desired_size": spec.nodes_at_least,
            },
            update_config={"max_unavailable": 1},
            node_repair_config={"enabled": True},
            labels=spec.labels(pool),
            taints=[{**taint, "effect": "NO_SCHEDULE"} for taint in spec.taints],
            launch_template={"id": template.id, "version": template.latest_version.apply(str)},
            opts=child.merge(pulumi.ResourceOptions(depends_on=attached, ignore_changes=OWNED_BY_THE_AUTOSCALER)),
        )
        self.node_group_name, self.role_arn = nodes.node_group_name, role.arn
        self.register_outputs({"node_group_name": self.node_group_name, "role_arn": self.role_arn})


USE_LOCAL_DISKS = """\
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="slipway"

--slipway
Content-Type: application/node.eks.aws

apiVersion: node.eks.aws/v1alpha1
kind: NodeConfig
spec:
  instance:
    localStorage:
      strategy: RAID0

--slipway--
"""
"""Containers and their images go to the instance's own NVMe disks where it has some: a root volume fills up."""
