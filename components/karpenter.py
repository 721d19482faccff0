"""Nodes that come when pods wait for GPUs, and go when they are idle: Karpenter, and a pool of its nodes.

What Karpenter may do follows its own reference policy (v1.14), less what it does not need here: it makes no instance
profiles, since ours is made with its nodes' role (IAM cannot be reached from a network without the internet).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as kubernetes
from pulumi_kubernetes.apiextensions import CustomResource

from components import gpu_boot
from components.gpu import GPU, GpuPool
from components.gpu_instances import RELEASES
from components.gpu_node_group import Fabric, disks, interfaces, subnets_of
from components.iam import (
    Statement,
    account_id,
    allow,
    allow_service,
    default_tags,
    document,
    local_arn,
    only_over_tls,
    region,
    trust_pods,
    use_key,
)
from components.images import Image, Images
from components.nodes import METADATA, node_role

VERSION = "1.14.1"
CONTROLLER = Image("public.ecr.aws/karpenter/controller", VERSION)
CHARTS = "oci://public.ecr.aws/karpenter"
NAMESPACE = "kube-system"
SERVICE_ACCOUNT = "karpenter"
GROUP = "karpenter.sh"
AWS_GROUP = "karpenter.k8s.aws"
EVENTS = {
    "health": ("aws.health", "AWS Health Event"),
    "spot": ("aws.ec2", "EC2 Spot Instance Interruption Warning"),
    "rebalance": ("aws.ec2", "EC2 Instance Rebalance Recommendation"),
    "state": ("aws.ec2", "EC2 Instance State-change Notification"),
    "reservation": ("aws.ec2", "EC2 Capacity Reservation Instance Interruption Warning"),
}
"""What tells Karpenter that a node is about to go."""
NEWS_SECONDS = 300
"""After which such news is of a node that is gone, and worth nothing."""
READS = [
    "ec2:DescribeCapacityReservations",
    "ec2:DescribeImages",
    "ec2:DescribeInstanceStatus",
    "ec2:DescribeInstanceTypeOfferings",
    "ec2:DescribeInstanceTypes",
    "ec2:DescribeInstances",
    "ec2:DescribeLaunchTemplates",
    "ec2:DescribePlacementGroups",
    "ec2:DescribeSecurityGroups",
    "ec2:DescribeSpotPriceHistory",
    "ec2:DescribeSubnets",
]
STARTED = "fleet", "instance", "volume", "network-interface", "launch-template", "spot-instances-request"
USED = "security-group", "subnet", "capacity-reservation", "placement-group"
CAPACITY_TYPES = {"spot": "spot", "on-demand": "on-demand", "reservation": "reserved", "capacity-block": "reserved"}
IDLE = "10m"
"""How long a node is empty before it goes; sooner, one that waits for its first pod's image could."""
LIFETIME = "720h"
"""After which a node that trains nothing is replaced, so that it gets the image's fixes."""


class Karpenter(pulumi.ComponentResource):
    """The controller, on the cluster's system nodes, and what it needs in AWS.

    Pools depend on it, so that they and their nodes are gone before it is.
    """

    images: Images
    instance_profile: pulumi.Output[str]
    queue_name: pulumi.Output[str]
    release: pulumi.Resource
    """The controller: what uses its kinds of resources comes after it, and goes before."""

    def __init__(
        self,
        name: str,
        *,
        cluster_name: pulumi.Input[str],
        kms_key_arn: pulumi.Input[str],
        replicas: int = 2,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """`opts` holds the Kubernetes provider. `replicas`: on a node each, so no more than there are system nodes."""
        super().__init__("slipway:index:Karpenter", name, opts=opts)
        child = pulumi.ResourceOptions(parent=self)

        nodes, attached = node_role(f"{name}-karpenter", child)
        profile = aws.iam.InstanceProfile(
            f"{name}-karpenter", role=nodes.name, opts=child.merge(pulumi.ResourceOptions(depends_on=attached))
        )
        # EKS makes the entries of its own node groups' roles; this one it does not know.
        entry = aws.eks.AccessEntry(
            f"{name}-karpenter-nodes",
            cluster_name=cluster_name,
            principal_arn=nodes.arn,
            type="EC2_LINUX",
            opts=child,
        )
        queue = _interruptions(name, kms_key_arn, child)
        controller = aws.iam.Role(f"{name}-karpenter-controller", assume_role_policy=trust_pods(), opts=child)
        granted = aws.iam.RolePolicy(
            f"{name}-karpenter-controller",
            role=controller.name,
            policy=document(*_rights(cluster_name, nodes.arn, profile.arn, queue.arn, kms_key_arn)),
            opts=child,
        )
        identity = aws.eks.PodIdentityAssociation(
            f"{name}-karpenter",
            cluster_name=cluster_name,
            namespace=NAMESPACE,
            service_account=SERVICE_ACCOUNT,
            role_arn=controller.arn,
            opts=child,
        )
        self.images = Images(f"{name}-karpenter", images=[CONTROLLER], kms_key_arn=kms_key_arn, opts=child)
        # A chart that holds its kinds and the controller would delete the kinds, and all that is of them, at each
        # change of its name; and never update them.
        kinds = kubernetes.helm.v3.Release(
            f"{name}-karpenter-crd",
            name="karpenter-crd",
            chart=f"{CHARTS}/karpenter-crd",
            version=VERSION,
            namespace=NAMESPACE,
            opts=child,
        )
        self.release = kubernetes.helm.v3.Release(
            f"{name}-karpenter",
            name="karpenter",
            chart=f"{CHARTS}/karpenter",
            version=VERSION,
            namespace=NAMESPACE,
            skip_crds=True,
            # The image may be copied after this has made the repository.
            skip_await=True,
            values=_values(cluster_name, queue.name, self.images.repositories[CONTROLLER.source], replicas),
            opts=child.merge(pulumi.ResourceOptions(depends_on=[kinds, entry, granted, identity])),
        )
        self.instance_profile, self.queue_name = profile.name, queue.name
        self.register_outputs({"instance_profile": self.instance_profile, "queue_name": self.queue_name})


def _values(
    cluster_name: pulumi.Input[str], queue: pulumi.Input[str], repository: pulumi.Input[str], replicas: int
) -> dict[str, Any]:
    """Of the chart: https://github.com/aws/karpenter-provider-aws/blob/v1.14.1/charts/karpenter/values.yaml"""
    return {
        "replicas": replicas,
        "serviceAccount": {"name": SERVICE_ACCOUNT},
        "nodeSelector": {"kubernetes.io/os": "linux", "slipway/pool": "system"},
        # Two zones each with a controller, where there are nodes in two.
        "topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "ScheduleAnyway"}
        ],
        "controller": {
            # Ours has another digest for the same image, if it was copied for one architecture only.
            "image": {"repository": repository, "tag": VERSION, "digest": ""},
            "resources": {"requests": {"cpu": "500m", "memory": "512Mi"}, "limits": {"memory": "1Gi"}},
        },
        "settings": {
            "clusterName": cluster_name,
            "interruptionQueue": queue,
            "eksControlPlane": True,
            # Prices are asked for where no private network leads.
            "isolatedVPC": True,
            "featureGates": {"nodeRepair": True, "nodeOverlay": True, "reservedCapacity": True},
        },
    }


def _interruptions(name: str, kms_key_arn: pulumi.Input[str], opts: pulumi.ResourceOptions) -> aws.sqs.Queue:
    """The queue that tells which nodes are about to go, and what fills it."""
    queue = aws.sqs.Queue(
        f"{name}-karpenter",
        name=f"{name}-karpenter",
        message_retention_seconds=NEWS_SECONDS,
        kms_master_key_id=kms_key_arn,
        opts=opts,
    )
    rules = {
        what: aws.cloudwatch.EventRule(
            f"{name}-karpenter-{what}",
            name=f"{name}-karpenter-{what}",
            description=f"Tells Karpenter of {kind}",
            event_pattern=json.dumps({"source": [source], "detail-type": [kind]}),
            opts=opts,
        )
        for what, (source, kind) in EVENTS.items()
    }
    policy = aws.sqs.QueuePolicy(
        f"{name}-karpenter",
        queue_url=queue.url,
        policy=document(
            allow_service(
                "events.amazonaws.com",
                ["sqs:SendMessage"],
                queue.arn,
                source_arns=[rule.arn for rule in rules.values()],
            ),
            {**only_over_tls("sqs", queue.arn)},
        ),
        opts=opts,
    )
    for what, rule in rules.items():
        aws.cloudwatch.EventTarget(
            f"{name}-karpenter-{what}",
            rule=rule.name,
            target_id="karpenter",
            arn=queue.arn,
            retry_policy={"maximum_event_age_in_seconds": NEWS_SECONDS, "maximum_retry_attempts": 10},
            opts=opts.merge(pulumi.ResourceOptions(depends_on=[policy])),
        )
    return queue


def _rights(
    cluster_name: pulumi.Input[str],
    node_role_arn: pulumi.Input[str],
    profile_arn: pulumi.Input[str],
    queue_arn: pulumi.Input[str],
    kms_key_arn: pulumi.Input[str],
) -> list[Statement]:
    """What the controller may do: start, tag and end instances that carry this cluster's tag, and look round."""
    owned = pulumi.Output.concat("kubernetes.io/cluster/", cluster_name)

    def tagged(where: str, more: Mapping[str, Any] | None = None) -> pulumi.Output[dict[str, Any]]:
        """The condition that what is asked for, or is there, is tagged as this cluster's and a pool's."""
        return pulumi.Output.all(owned, cluster_name).apply(
            lambda known: {
                "StringEquals": {
                    f"aws:{where}/{known[0]}": "owned",
                    **({"aws:RequestTag/eks:eks-cluster-name": known[1]} if where == "RequestTag" else {}),
                    **(more or {}),
                },
                "StringLike": {f"aws:{where}/karpenter.sh/nodepool": "*"},
            }
        )

    started = [local_arn("ec2", f"{kind}/*") for kind in STARTED]
    images = [f"arn:aws:ec2:{region()}::{kind}/*" for kind in ("image", "snapshot")]
    template, instance = local_arn("ec2", "launch-template/*"), local_arn("ec2", "instance/*")
    ours = {"StringEquals": {"aws:ResourceAccount": account_id()}}
    starts = ["RunInstances", "CreateFleet", "CreateLaunchTemplate"]
    return [
        allow(["ec2:RunInstances", "ec2:CreateFleet"], *images),
        allow(["ec2:RunInstances", "ec2:CreateFleet"], *(local_arn("ec2", f"{kind}/*") for kind in USED), when=ours),
        _when(allow(["ec2:RunInstances", "ec2:CreateFleet"], template), tagged("ResourceTag")),
        _when(allow([f"ec2:{each}" for each in starts], *started), tagged("RequestTag")),
        _when(allow(["ec2:CreateTags"], *started), tagged("RequestTag", {"ec2:CreateAction": starts})),
        _when(allow(["ec2:CreateTags"], instance), tagged("ResourceTag")),
        _when(allow(["ec2:TerminateInstances", "ec2:DeleteLaunchTemplate"], instance, template), tagged("ResourceTag")),
        allow(READS, "*", when={"StringEquals": {"aws:RequestedRegion": region()}}),
        allow(["ssm:GetParameter"], f"arn:aws:ssm:{region()}::parameter/aws/service/*"),
        allow(["iam:GetInstanceProfile"], profile_arn),
        allow(["iam:PassRole"], node_role_arn, when={"StringEquals": {"iam:PassedToService": "ec2.amazonaws.com"}}),
        allow(["eks:DescribeCluster"], pulumi.Output.concat(local_arn("eks", "cluster/"), cluster_name)),
        allow(["sqs:DeleteMessage", "sqs:GetQueueUrl", "sqs:ReceiveMessage"], queue_arn),
        use_key(kms_key_arn, "sqs"),
        # The disks of what it starts are encrypted with our key, in its own name and through EC2 alone.
        {
            **allow(["kms:CreateGrant"], kms_key_arn),
            "Condition": {
                "StringEquals": {"kms:ViaService": f"ec2.{region()}.amazonaws.com"},
                "Bool": {"kms:GrantIsForAWSResource": "true"},
            },
        },
        allow(
            [
                "kms:Decrypt",
                "kms:DescribeKey",
                "kms:GenerateDataKeyWithoutPlaintext",
                "kms:ReEncryptFrom",
                "kms:ReEncryptTo",
            ],
            kms_key_arn,
            when={"StringEquals": {"kms:ViaService": f"ec2.{region()}.amazonaws.com"}},
        ),
    ]


def _when(statement: Statement, condition: pulumi.Input[Mapping[str, Any]]) -> Statement:
    return {**statement, "Condition": condition}


class KarpenterPool(pulumi.ComponentResource):
    """A pool of GPU nodes that Karpenter starts when pods wait for them, up to the pool's limit."""

    def __init__(
        self,
        name: str,
        spec: GpuPool,
        *,
        pool: str,
        karpenter: Karpenter,
        subnet_ids: pulumi.Input[Sequence[pulumi.Input[str]]],
        cluster_security_group_id: pulumi.Input[str],
        kms_key_arn: pulumi.Input[str],
        kubernetes_version: str,
        zones: Sequence[str] = (),
        vpc_id: pulumi.Input[str] | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """`pool` is what pods call it; `zones` are the subnets' letters, in their order; EFA needs `vpc_id`."""
        super().__init__("slipway:index:KarpenterPool", name, opts=opts)
        child = pulumi.ResourceOptions(parent=self)
        if spec.scaling != "karpenter":
            raise ValueError(f"pool {pool} is a managed node group: make a GpuNodeGroup of it")

        after = child.merge(pulumi.ResourceOptions(depends_on=[karpenter.release]))
        groups, place = [cluster_security_group_id], None
        if spec.efa:
            if vpc_id is None:
                raise ValueError("vpc_id is needed for a pool with EFA: pass it")
            fabric = Fabric(name, spec, vpc_id=vpc_id, opts=child)
            groups.append(fabric.security_group_id)
            place = fabric.placement_group
        node_class = CustomResource(
            f"{name}-nodes",
            api_version=f"{AWS_GROUP}/v1",
            kind="EC2NodeClass",
            metadata={"name": pool},
            spec=_node_class(
                name,
                spec,
                profile=karpenter.instance_profile,
                subnet_ids=subnets_of(spec, zones, subnet_ids),
                groups=groups,
                place=place,
                kms_key_arn=kms_key_arn,
                version=kubernetes_version,
            ),
            opts=after,
        )
        overlays = [
            CustomResource(
                f"{name}-offers-{units}",
                api_version=f"{GROUP}/v1alpha1",
                kind="NodeOverlay",
                metadata={"name": f"{pool}-{units}"},
                spec=overlay,
                opts=after,
            )
            for units, overlay in node_overlays(spec, pool).items()
        ]
        CustomResource(
            f"{name}-pool",
            api_version=f"{GROUP}/v1",
            kind="NodePool",
            metadata={"name": pool},
            spec=node_pool(spec, pool),
            opts=after.merge(pulumi.ResourceOptions(depends_on=[node_class, *overlays])),
        )
        self.register_outputs({})


def _offers(spec: GpuPool) -> set[int]:
    """The numbers of units that nodes of this pool offer."""
    return {spec.units_per_node(each) for each in spec.instance_types}


def _node_class(
    name: str,
    spec: GpuPool,
    *,
    profile: pulumi.Input[str],
    subnet_ids: pulumi.Input[Sequence[pulumi.Input[str]]],
    groups: Sequence[pulumi.Input[str]],
    place: pulumi.Input[str] | None,
    kms_key_arn: pulumi.Input[str],
    version: str,
) -> dict[str, Any]:
    user_data = gpu_boot.karpenter(spec)
    volumes = [
        {
            "deviceName": each["device_name"],
            "ebs": {
                "volumeSize": f"{each['ebs']['volume_size']}Gi",
                "volumeType": each["ebs"]["volume_type"],
                "encrypted": True,
                "kmsKeyID": kms_key_arn,
                "deleteOnTermination": True,
            },
        }
        for each in disks(spec, kms_key_arn)
    ]
    return {
        "amiSelectorTerms": [{"alias": ami_alias(spec, version)}],
        "instanceProfile": profile,
        "subnetSelectorTerms": pulumi.Output.from_input(subnet_ids).apply(lambda ids: [{"id": each} for each in ids]),
        "securityGroupSelectorTerms": [{"id": each} for each in groups],
        "blockDeviceMappings": volumes,
        "instanceStorePolicy": "RAID0",
        "metadataOptions": {
            "httpEndpoint": METADATA["http_endpoint"],
            "httpTokens": METADATA["http_tokens"],
            "httpPutResponseHopLimit": METADATA["http_put_response_hop_limit"],
        },
        # The provider's tags reach only what Pulumi makes.
        "tags": {**default_tags(), "Name": name},
        **({"userData": user_data} if user_data else {}),
        **({"capacityReservationSelectorTerms": [{"id": spec.reservation.id}]} if spec.reservation else {}),
        **({"networkInterfaces": [_camel(each) for each in interfaces(spec)]} if spec.efa else {}),
        **({"placementGroupSelector": {"name": place}} if place is not None else {}),
    }


def _camel(interface: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "networkCardIndex": interface["network_card_index"],
        "deviceIndex": interface["device_index"],
        "interfaceType": interface["interface_type"],
    }


def ami_alias(spec: GpuPool, version: str) -> str:
    """The image's release as Karpenter names it: a moving one would replace nodes whenever AWS publishes another."""
    release = spec.release or RELEASES[version]
    first, _, rest = release.partition("-")
    return f"al2023@v{rest}" if spec.os == "al2023" else f"bottlerocket@v{first}"


def node_pool(spec: GpuPool, pool: str) -> dict[str, Any]:
    """The NodePool's spec. Where jobs train, nothing takes a node away while a pod is on it."""
    requirements = {
        "node.kubernetes.io/instance-type": spec.instance_types,
        "karpenter.sh/capacity-type": [CAPACITY_TYPES[spec.capacity]],
        "kubernetes.io/arch": [
            {"x86_64": "amd64", "ARM_64": "arm64"}[spec.instances[spec.instance_types[0]].architecture]
        ],
        "kubernetes.io/os": ["linux"],
    }
    # Replacing an image or packing pods closer waits for empty nodes: a job that runs for days is never moved.
    training = {
        "consolidationPolicy": "WhenEmpty",
        "consolidateAfter": IDLE,
        "budgets": [{"nodes": "0", "reasons": ["Drifted", "Underutilized"]}, {"nodes": "100%", "reasons": ["Empty"]}],
    }
    serving = {
        "consolidationPolicy": "WhenEmptyOrUnderutilized",
        "consolidateAfter": IDLE,
        "budgets": [{"nodes": "10%"}],
    }
    return {
        "template": {
            "metadata": {"labels": spec.labels(pool)},
            "spec": {
                "nodeClassRef": {"group": AWS_GROUP, "kind": "EC2NodeClass", "name": pool},
                "requirements": [
                    {"key": key, "operator": "In", "values": values} for key, values in requirements.items()
                ],
                "taints": [dict(taint) for taint in spec.taints],
                # No terminationGracePeriod: with one, a drifted node would go although its pods forbid it.
                "expireAfter": "Never" if spec.training else LIFETIME,
            },
        },
        "disruption": training if spec.training else serving,
        "limits": {GPU: spec.gpu_limit, **({spec.resource: spec.max_units} if spec.resource != GPU else {})},
        "weight": spec.weight,
    }


def node_overlays(spec: GpuPool, pool: str) -> dict[int, dict[str, Any]]:
    """What nodes will offer, by how much, where EC2 does not say so: shares of GPUs, and the GPUs of g6f."""
    overlays: dict[int, dict[str, Any]] = {}
    if not spec.sharing and not any(each.fraction for each in spec.instances.values()):
        return overlays
    for units in sorted(_offers(spec)):
        types = [each for each in spec.instance_types if spec.units_per_node(each) == units]
        overlays[units] = {
            "requirements": [
                {"key": "karpenter.sh/nodepool", "operator": "In", "values": [pool]},
                {"key": "node.kubernetes.io/instance-type", "operator": "In", "values": types},
            ],
            # Whole GPUs such a node has none: else Karpenter would start it for pods that could never run there.
            "capacity": {**({GPU: 0} if spec.resource != GPU else {}), spec.resource: units},
        }
    return overlays
