"""GPU nodes for an EKS cluster, as a managed node group."""

from collections.abc import Sequence
from datetime import UTC, timedelta
from typing import Any

import pulumi
import pulumi_aws as aws

from components import gpu_boot
from components.dead_letters import DeadLetters
from components.gpu import GPU, GPU_LABEL, POOL_LABEL, GpuPool
from components.gpu_instances import RELEASES
from components.iam import allow, document, trust, use_key
from components.nodes import OWNED_BY_THE_AUTOSCALER, disk, node_role, node_template
from components.runbook import Guide

__all__ = ["GPU", "GPU_LABEL", "POOL_LABEL", "Fabric", "GpuNodeGroup", "GpuPool", "subnets_of"]

CAPACITY_TYPES = {"spot": "SPOT", "capacity-block": "CAPACITY_BLOCK"}
OS_VOLUME_GIB = 20
"""Of Bottlerocket, which keeps images and containers on a second volume."""
WARNED = timedelta(hours=2)
"""Before a Capacity Block ends, half an hour before which EC2 begins to terminate its instances."""


class GpuNodeGroup(pulumi.ComponentResource):
    """Nodes that run only pods asking for their GPUs, and are replaced when a GPU fails.

    Nothing here changes their number between `min_size` and `max_size`: set it with
    `aws eks update-nodegroup-config`, or let Karpenter scale the pool.
    """

    node_group_name: pulumi.Output[str]
    role_arn: pulumi.Output[str]
    guides: list[Guide]

    def __init__(
        self,
        name: str,
        spec: GpuPool,
        *,
        pool: str,
        cluster_name: pulumi.Input[str],
        subnet_ids: pulumi.Input[Sequence[pulumi.Input[str]]],
        kms_key_arn: pulumi.Input[str],
        zones: Sequence[str] = (),
        kubernetes_version: str | None = None,
        vpc_id: pulumi.Input[str] | None = None,
        cluster_security_group_id: pulumi.Input[str] | None = None,
        alerts_topic_arn: pulumi.Input[str] | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """`pool` is what pods call it, in the label `slipway/pool`; `zones` are the subnets' letters, in their order.

        `vpc_id` and `cluster_security_group_id` are needed with EFA, `alerts_topic_arn` with a Capacity Block.
        """
        super().__init__("slipway:index:GpuNodeGroup", name, opts=opts)
        child = pulumi.ResourceOptions(parent=self)
        if spec.scaling != "managed":
            raise ValueError(f"pool {pool} is Karpenter's: make a KarpenterPool of it")

        role, attached = node_role(name, child)
        settings: dict[str, Any] = {}
        self.guides = []
        if spec.efa:
            fabric = Fabric(name, spec, vpc_id=_needed("vpc_id", vpc_id), opts=child)
            groups = [_needed("cluster_security_group_id", cluster_security_group_id), fabric.security_group_id]
            settings["network_interfaces"] = _interfaces(spec, groups)
            if fabric.placement_group:
                settings["placement"] = {"group_name": fabric.placement_group}
        if spec.reservation:
            settings["capacity_reservation_specification"] = {
                "capacity_reservation_preference": "capacity-reservations-only",
                "capacity_reservation_target": {"capacity_reservation_id": spec.reservation.id},
            }
        if spec.capacity == "capacity-block":
            settings["instance_market_options"] = {"market_type": "capacity-block"}
            settings["instance_type"] = spec.instance_types[0]
            self.guides = _warn(name, spec, _needed("alerts_topic_arn", alerts_topic_arn), kms_key_arn, child)
        template = node_template(
            name,
            disks=disks(spec, kms_key_arn),
            user_data=gpu_boot.managed(spec),
            more_tagged=("network-interface",) if spec.efa else (),
            opts=child,
            **settings,
        )
        scarce = spec.reservation is not None or spec.efa or spec.training
        nodes = aws.eks.NodeGroup(
            name,
            cluster_name=cluster_name,
            node_role_arn=role.arn,
            subnet_ids=subnets_of(spec, zones, subnet_ids),
            ami_type=spec.ami_type,
            # EKS refuses a type in both places, and of a Capacity Block wants it in the template.
            instance_types=None if spec.capacity == "capacity-block" else spec.instance_types,
            capacity_type=CAPACITY_TYPES.get(spec.capacity, "ON_DEMAND"),
            # Unpinned, nodes would be replaced by the first update after the cluster's, whenever that is.
            release_version=spec.release or RELEASES.get(kubernetes_version or ""),
            force_update_version=False,
            scaling_config={
                "min_size": spec.nodes_at_least,
                "max_size": spec.nodes_limit,
                "desired_size": spec.nodes_at_least,
            },
            update_config={
                "max_unavailable": 1,
                # By default an update starts a node before it ends one: scarce capacity has no room for that.
                **({"update_strategy": "MINIMAL"} if scarce else {}),
            },
            node_repair_config={"enabled": True},
            labels=spec.labels(pool),
            taints=[{**taint, "effect": "NO_SCHEDULE"} for taint in spec.taints],
            launch_template={"id": template.id, "version": template.latest_version.apply(str)},
            opts=child.merge(pulumi.ResourceOptions(depends_on=attached, ignore_changes=OWNED_BY_THE_AUTOSCALER)),
        )
        self.node_group_name, self.role_arn = nodes.node_group_name, role.arn
        self.register_outputs({"node_group_name": self.node_group_name, "role_arn": self.role_arn})


class Fabric(pulumi.ComponentResource):
    """What lets nodes talk by Elastic Fabric Adapter: a security group of their own, and a place close together."""

    security_group_id: pulumi.Output[str]
    placement_group: pulumi.Output[str] | None
    """None where the capacity's reservation decides where instances are."""

    def __init__(
        self, name: str, spec: GpuPool, *, vpc_id: pulumi.Input[str], opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("slipway:index:Fabric", name, opts=opts)
        child = pulumi.ResourceOptions(parent=self)

        group = aws.ec2.SecurityGroup(
            f"{name}-efa", vpc_id=vpc_id, description="Nodes that reach each other by EFA", opts=child
        )
        # EFA's own protocol passes only rules that name the group itself, in both directions.
        for rule in (aws.vpc.SecurityGroupIngressRule, aws.vpc.SecurityGroupEgressRule):
            rule(
                f"{name}-efa",
                security_group_id=group.id,
                referenced_security_group_id=group.id,
                ip_protocol="-1",
                description="All between nodes of this pool",
                opts=child,
            )
        self.security_group_id, self.placement_group = group.id, None
        # A Capacity Block is close together already, and a reservation takes only the group it was made in.
        if spec.reservation is None:
            place = aws.ec2.PlacementGroup(f"{name}-efa", name=name, strategy="cluster", opts=child)
            self.placement_group = place.name
        self.register_outputs({"security_group_id": self.security_group_id})


def disks(spec: GpuPool, kms_key_arn: pulumi.Input[str]) -> list[dict[str, Any]]:
    """The volumes of a node."""
    if spec.os == "bottlerocket":
        return [disk("/dev/xvda", OS_VOLUME_GIB, kms_key_arn), disk("/dev/xvdb", spec.disk_gib, kms_key_arn)]
    return [disk("/dev/xvda", spec.disk_gib, kms_key_arn)]


def interfaces(spec: GpuPool) -> list[dict[str, Any]]:
    """Network cards as they use the fewest addresses: one interface for IP, and an EFA without one on each card."""
    efas = [
        {"network_card_index": card, "device_index": 1, "interface_type": "efa-only"}
        for card in range(spec.efas_per_node)
    ]
    return [{"network_card_index": 0, "device_index": 0, "interface_type": "interface"}, *efas]


def _interfaces(spec: GpuPool, security_group_ids: Sequence[pulumi.Input[str]]) -> list[dict[str, Any]]:
    return [
        {**each, "security_groups": security_group_ids, "delete_on_termination": "true"} for each in interfaces(spec)
    ]


def subnets_of(
    spec: GpuPool, zones: Sequence[str], subnet_ids: pulumi.Input[Sequence[pulumi.Input[str]]]
) -> pulumi.Input[Sequence[pulumi.Input[str]]]:
    """The subnets that a pool's nodes may be in: all, or that of its zone. Raises ValueError for a foreign zone."""
    if spec.in_zone is None:
        return subnet_ids
    if spec.in_zone not in zones:
        raise ValueError(f"zone {spec.in_zone}: the network is in {', '.join(zones)}")
    index = list(zones).index(spec.in_zone)
    return pulumi.Output.from_input(subnet_ids).apply(lambda ids: [ids[index]])


def _needed(what: str, given: pulumi.Input[str] | None) -> pulumi.Input[str]:
    if given is None:
        raise ValueError(f"{what} is needed for this pool: pass it")
    return given


def _warn(
    name: str,
    spec: GpuPool,
    topic_arn: pulumi.Input[str],
    kms_key_arn: pulumi.Input[str],
    opts: pulumi.ResourceOptions,
) -> list[Guide]:
    """Tell people once, before a Capacity Block and all that runs in it ends; or, by an alarm, that nobody was told."""
    assert spec.ends
    lost = DeadLetters(f"{name}-ends", kms_key_arn=kms_key_arn, alerts_topic_arn=topic_arn, opts=opts)
    role = aws.iam.Role(f"{name}-ends", assume_role_policy=trust("scheduler.amazonaws.com"), opts=opts)
    granted = aws.iam.RolePolicy(
        f"{name}-ends",
        role=role.name,
        policy=document(
            allow(["sns:Publish"], topic_arn), allow(["sqs:SendMessage"], lost.queue_arn), use_key(kms_key_arn)
        ),
        opts=opts,
    )
    ends = spec.ends.astimezone(UTC)
    aws.scheduler.Schedule(
        f"{name}-ends",
        name=f"{name}-ends",
        description=f"Warns before the Capacity Block of {name} ends",
        schedule_expression=f"at({ends - WARNED:%Y-%m-%dT%H:%M:%S})",
        schedule_expression_timezone="UTC",
        flexible_time_window={"mode": "OFF"},
        kms_key_arn=kms_key_arn,
        target={
            "arn": topic_arn,
            "role_arn": role.arn,
            "input": block_message(name, spec),
            "retry_policy": {"maximum_event_age_in_seconds": 3600, "maximum_retry_attempts": 10},
            "dead_letter_config": {"arn": lost.queue_arn},
        },
        opts=opts.merge(pulumi.ResourceOptions(depends_on=[granted])),
    )
    return lost.guides


def block_message(name: str, spec: GpuPool) -> str:
    """What people are told before a Capacity Block ends."""
    assert spec.ends and spec.reservation
    ends = spec.ends.astimezone(UTC)
    return (
        f"The Capacity Block {spec.reservation.id} of {name} ends at {ends:%Y-%m-%d %H:%M} UTC, and EC2 terminates its"
        f" {spec.reservation.instances} instances from {ends - timedelta(minutes=30):%H:%M} UTC on. Let jobs write"
        " checkpoints now; then extend the block and set reservation.ends, or take the pool out of the stack."
    )
