"""GPU nodes for an EKS cluster."""

from base64 import b64encode
from collections.abc import Sequence
from typing import Annotated

import pulumi
from pydantic import AfterValidator, Field

from components.nodes import NodePool, Nodes

GPU = "nvidia.com/gpu"
"""The resource that pods ask for, and the taint they tolerate."""
GPU_LABEL = "nvidia.com/gpu.present"
POOL_LABEL = "slipway/pool"

FAMILIES = "g4dn", "g5", "g6", "g6e", "g6f", "gr6", "g7", "g7e", "p4d", "p4de", "p5", "p5e", "p5en", "p6-b200"
"""The instance families with NVIDIA GPUs and an x86 processor: what the AL2023_x86_64_NVIDIA image runs on."""


def _has_gpus(instance_type: str) -> str:
    family, _, size = instance_type.partition(".")
    if family not in FAMILIES or not size:
        raise ValueError(
            f"no x86 instance with NVIDIA GPUs: set for example g6.xlarge; the families are {', '.join(FAMILIES)}"
        )
    return instance_type


GpuInstance = Annotated[str, AfterValidator(_has_gpus)]

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


class GpuPool(NodePool):
    """Which GPU instances a team may use, and how many."""

    instance_types: list[GpuInstance] = Field(min_length=1, max_length=20)
    disk_gib: int = Field(default=200, ge=100, le=16384)
    """The root volume. Images with CUDA take tens of GiB: below 100 nodes run out of disk."""


class GpuNodeGroup(pulumi.ComponentResource):
    """Nodes that run only pods tolerating `nvidia.com/gpu`, and are replaced when a GPU fails."""

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
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """`pool` is what pods call it, in the label `slipway/pool`."""
        super().__init__("slipway:index:GpuNodeGroup", name, opts=opts)
        nodes = Nodes(
            name,
            spec,
            ami_type="AL2023_x86_64_NVIDIA",
            cluster_name=cluster_name,
            subnet_ids=subnet_ids,
            kms_key_arn=kms_key_arn,
            labels={GPU_LABEL: "true", POOL_LABEL: pool},
            taint=GPU,
            user_data=b64encode(USE_LOCAL_DISKS.encode()).decode(),
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.node_group_name, self.role_arn = nodes.node_group_name, nodes.role_arn
        self.register_outputs({"node_group_name": self.node_group_name, "role_arn": self.role_arn})
