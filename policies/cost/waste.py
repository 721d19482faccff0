"""Nothing is paid for that nobody uses: old versions, old images, old clusters, idle gateways, untagged resources."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any, Final

from pulumi_policy import Severity

from policies.cost.prices import PRICES, today
from policies.limits import is_production, limits
from policies.resource_types import (
    BUCKET,
    BUCKET_VERSIONING,
    CLUSTER,
    LAUNCH_TEMPLATE,
    REPOSITORY,
    SUBNET,
    VPC_ENDPOINT,
)
from policies.rules import (
    UNKNOWN,
    Control,
    Declared,
    Finding,
    Props,
    Setting,
    Unknown,
    find,
    given,
    of_type,
    refers,
    settled,
    without_companion,
)

Findings = Iterator[tuple[Declared | None, Finding]]

BUCKET_LIFECYCLE = "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration"
NAT = "aws:ec2/natGateway:NatGateway"
VOLUME = "aws:ebs/volume:Volume"

TAGS = ("owner", "product", "environment", "cost-center")
"""The tags by which AWS's bill can be split: who is asked, what it is for, where it runs, who pays."""

# AWS gives these no tags.
UNTAGGED = frozenset(
    {
        "aws:apigateway/account:Account",
        "aws:apigateway/deployment:Deployment",
        "aws:apigateway/methodSettings:MethodSettings",
        "aws:apigateway/usagePlanKey:UsagePlanKey",
        "aws:appautoscaling/policy:Policy",
        "aws:appautoscaling/scheduledAction:ScheduledAction",
        "aws:cloudcontrol/resource:Resource",
        "aws:cloudwatch/dashboard:Dashboard",
        "aws:cloudwatch/eventBusPolicy:EventBusPolicy",
        "aws:cloudwatch/eventTarget:EventTarget",
        "aws:cloudwatch/logMetricFilter:LogMetricFilter",
        "aws:cloudwatch/logResourcePolicy:LogResourcePolicy",
        "aws:cognito/resourceServer:ResourceServer",
        "aws:cognito/userPoolClient:UserPoolClient",
        "aws:cognito/userPoolDomain:UserPoolDomain",
        "aws:ec2/route:Route",
        "aws:ec2/routeTableAssociation:RouteTableAssociation",
        "aws:ec2/securityGroupRule:SecurityGroupRule",
        "aws:ec2/vpcEndpointPolicy:VpcEndpointPolicy",
        "aws:ec2/vpcEndpointRouteTableAssociation:VpcEndpointRouteTableAssociation",
        "aws:ecr/lifecyclePolicy:LifecyclePolicy",
        "aws:ecr/repositoryPolicy:RepositoryPolicy",
        "aws:eks/accessPolicyAssociation:AccessPolicyAssociation",
        "aws:iam/rolePolicy:RolePolicy",
        "aws:iam/rolePolicyAttachment:RolePolicyAttachment",
        "aws:kms/alias:Alias",
        "aws:kms/keyPolicy:KeyPolicy",
        "aws:lambda/alias:Alias",
        "aws:lambda/functionEventInvokeConfig:FunctionEventInvokeConfig",
        "aws:lambda/invocation:Invocation",
        "aws:lambda/permission:Permission",
        "aws:lambda/provisionedConcurrencyConfig:ProvisionedConcurrencyConfig",
        "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration",
        "aws:s3/bucketLogging:BucketLogging",
        "aws:s3/bucketNotification:BucketNotification",
        "aws:s3/bucketObjectLockConfiguration:BucketObjectLockConfiguration",
        "aws:s3/bucketOwnershipControls:BucketOwnershipControls",
        "aws:s3/bucketPolicy:BucketPolicy",
        "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock",
        "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration",
        "aws:s3/bucketVersioning:BucketVersioning",
        "aws:sagemaker/modelPackageGroupPolicy:ModelPackageGroupPolicy",
        "aws:scheduler/schedule:Schedule",
        "aws:sns/topicPolicy:TopicPolicy",
        "aws:sns/topicSubscription:TopicSubscription",
        "aws:sqs/queuePolicy:QueuePolicy",
    }
)

GP3: Final = "which costs a fifth less than gp2"
DISKS: Final = {
    LAUNCH_TEMPLATE: (Setting("blockDeviceMappings?.*?.ebs?.volumeType", ("gp3",), GP3),),
    VOLUME: (Setting("type", ("gp3",), GP3),),
}
SIZES: Final = {LAUNCH_TEMPLATE: "blockDeviceMappings?.*?.ebs?.volumeSize", VOLUME: "size?"}


def _disks(resource_type: str, inputs: Props) -> Iterator[Finding]:
    yield from settled(DISKS, resource_type, inputs)
    most = limits().cost.disk_gib
    for where, size in find(inputs, SIZES[resource_type]):
        if size == UNKNOWN:
            yield Unknown(where)
        elif given(size) and float(size) > most:
            yield f"{where} is {size:g} GiB: set {most} or less, or have cost.disk_gib raised in policies/limits.yaml"


def _standard_support(_: str, inputs: Props) -> Iterator[Finding]:
    wanted = Setting("upgradePolicy.supportType", ("STANDARD",), "or an old version costs six times as much")
    yield from settled({CLUSTER: (wanted,)}, CLUSTER, inputs)
    version = inputs.get("version")
    until = PRICES["eks_standard_support_until"].get(str(version))
    if version == UNKNOWN:
        yield Unknown("version")
    elif until and date.fromisoformat(until) < today():
        yield f"version {version} left standard support on {until}, and costs six times as much since: upgrade it"


def _usual_control_plane(_: str, inputs: Props) -> Iterator[Finding]:
    for where, tier in find(inputs, "controlPlaneScalingConfig?.tier?"):
        if tier == UNKNOWN:
            yield Unknown(where)
        elif given(tier) and tier != "standard":
            yield f"{where} is {tier}, a control plane with a price of its own: leave it out"


def _few_nats(resources: Sequence[Declared]) -> Findings:
    """S3 and DynamoDB through a NAT gateway cost 0.045 dollars a GB; through their gateway endpoints, nothing."""
    nats = of_type(resources, NAT)
    if not is_production():
        for nat in nats[1:]:
            yield nat, f"outside production one NAT gateway is enough, and {nats[0].name} is one: leave this one out"
    for nat in nats:
        vpc = _vpc_of(nat, resources)
        for service in ("s3", "dynamodb"):
            if not any(_is_gateway(each, service, vpc) for each in of_type(resources, VPC_ENDPOINT)):
                yield (
                    nat,
                    f"{service} is reached through it and paid by the GB: add a Gateway VPC endpoint for {service}",
                )


def _vpc_of(nat: Declared, resources: Sequence[Declared]) -> frozenset[Any]:
    """What a NAT gateway's VPC is told by: its id, or the resource it comes from."""
    for subnet in of_type(resources, SUBNET):
        if refers(nat, "subnetId", subnet, by=("id",)):
            return frozenset({subnet.inputs.get("vpcId"), *subnet.property_dependencies.get("vpcId", ())})
    return frozenset()


def _is_gateway(endpoint: Declared, service: str, vpc: frozenset[Any]) -> bool:
    own = {endpoint.inputs.get("vpcId"), *endpoint.property_dependencies.get("vpcId", ())}
    return (
        str(endpoint.inputs.get("serviceName")).endswith(f".{service}")
        and endpoint.inputs.get("vpcEndpointType", "Gateway") == "Gateway"
        and (not vpc or bool(vpc & own))
    )


def _buckets_clean_up(resources: Sequence[Declared]) -> Findings:
    """A bucket with Object Lock keeps everything on purpose."""
    for bucket in without_companion(resources, BUCKET, BUCKET_LIFECYCLE, "bucket", by=("bucket", "id")):
        if bucket.inputs.get("objectLockEnabled") is True or bucket.inputs.get("lifecycleRules"):
            continue
        yield bucket, f"bucket {bucket.name} keeps everything for ever: add a BucketLifecycleConfiguration"
    for lifecycle in of_type(resources, BUCKET_LIFECYCLE):
        yield from ((lifecycle, finding) for finding in _cleans_up(lifecycle, resources))


def _cleans_up(lifecycle: Declared, resources: Sequence[Declared]) -> Iterator[Finding]:
    rules = lifecycle.inputs.get("rules") or []
    if rules == UNKNOWN or UNKNOWN in rules:
        yield Unknown("rules")
        return
    wide = [each for each in rules if each.get("status") == "Enabled" and not _filtered(each)]
    if not any(_days(each, "abortIncompleteMultipartUpload", "daysAfterInitiation") for each in wide):
        yield (
            "no enabled rule about all objects removes unfinished uploads: set abortIncompleteMultipartUpload in one "
            "without a filter"
        )
    versioned = [
        bucket
        for bucket in of_type(resources, BUCKET)
        if refers(lifecycle, "bucket", bucket, by=("bucket", "id"))
        and any(
            refers(each, "bucket", bucket, by=("bucket", "id")) and _is_on(each)
            for each in of_type(resources, BUCKET_VERSIONING)
        )
    ]
    if versioned and not any(_days(each, "noncurrentVersionExpiration", "noncurrentDays") for each in wide):
        yield "no enabled rule about all objects removes old versions: set noncurrentVersionExpiration"


def _filtered(rule: Mapping[str, Any]) -> bool:
    """Whether a rule is about some objects only. An empty filter, or an empty prefix, is about all."""
    told = rule.get("filter") or {}
    return told == UNKNOWN or any(given(each) for each in told.values()) or given(rule.get("prefix"))


def _days(rule: Mapping[str, Any], what: str, days: str) -> bool:
    told = rule.get(what) or {}
    return told == UNKNOWN or given(told.get(days))


def _is_on(versioning: Declared) -> bool:
    told = versioning.inputs.get("versioningConfiguration") or {}
    return told == UNKNOWN or told.get("status") in ("Enabled", UNKNOWN)


def _repositories_clean_up(resources: Sequence[Declared]) -> Findings:
    companion = "aws:ecr/lifecyclePolicy:LifecyclePolicy"
    for each in without_companion(resources, REPOSITORY, companion, "repository", by=("name", "id")):
        yield each, f"repository {each.name} keeps every image for ever: add a LifecyclePolicy"


def _tagged(resource_type: str, inputs: Props) -> Iterator[Finding]:
    if not resource_type.startswith("aws:") or resource_type in UNTAGGED:
        return
    tags = inputs.get("tags") or inputs.get("tagsAll") or {}
    if tags == UNKNOWN or UNKNOWN in tags:
        yield Unknown("tags")
        return
    if isinstance(tags, list):  # an autoscaling group's: each says whether its instances get it too
        tags = {each.get("key"): each.get("value") for each in tags if each.get("propagateAtLaunch")}
    if missing := [tag for tag in TAGS if not given(tags.get(tag))]:
        yield f"the tags {', '.join(missing)} are missing: set them in aws:defaultTags of the stack's YAML"


def _nodes_tagged(_: str, inputs: Props) -> Iterator[Finding]:
    specifications = inputs.get("tagSpecifications") or []
    if specifications == UNKNOWN or UNKNOWN in specifications:
        yield Unknown("tagSpecifications")
        return
    for started in ("instance", "volume"):
        tags = _tags_of(specifications, started)
        if tags == UNKNOWN:
            yield Unknown("tagSpecifications")
        elif missing := [tag for tag in TAGS if not given(tags.get(tag))]:
            yield f"the {started}s it starts lack the tags {', '.join(missing)}: set tagSpecifications for {started}"


def _tags_of(specifications: Sequence[Props], started: str) -> Any:
    return next((each.get("tags") or {} for each in specifications if each.get("resourceType") == started), {})


CONTROLS: Final = [
    Control(
        "cost-eks-extended",
        "A cluster is upgraded when its version leaves standard support: from then on it would cost six times as much.",
        Severity.HIGH,
        (),
        "Set cluster.version to one in standard support; components.cluster.Cluster sets the support type.",
        rule=_standard_support,
        types=frozenset({CLUSTER}),
    ),
    Control(
        "cost-eks-tier",
        "A cluster's control plane is of the usual size.",
        Severity.MEDIUM,
        (),
        "Leave controlPlaneScalingConfig out.",
        rule=_usual_control_plane,
        types=frozenset({CLUSTER}),
    ),
    Control(
        "cost-nat-count",
        "Outside production there is one NAT gateway at most, and none carries what S3 and DynamoDB take for free.",
        Severity.MEDIUM,
        (),
        "Use components.network.Network, which needs no NAT gateway, or add Gateway endpoints for s3 and dynamodb.",
        stack_rule=_few_nats,
    ),
    Control(
        "cost-ebs-gp3",
        "Disks are of the type that costs least for what it does, and no larger than policies/limits.yaml allows.",
        Severity.LOW,
        (),
        "Set volumeType to gp3; disk_gib of a pool is its size.",
        rule=_disks,
        types=frozenset(DISKS),
    ),
    Control(
        "s3-abort-mpu",
        "Every bucket drops what nobody sees but everybody pays for: unfinished uploads and old versions.",
        Severity.LOW,
        ("FSBP S3.10", "FSBP S3.13", "CKV_AWS_300", "CKV2_AWS_61"),
        "Add a BucketLifecycleConfiguration with an enabled rule without a filter, as components.data_lake does.",
        stack_rule=_buckets_clean_up,
    ),
    Control(
        "cost-ecr-lifecycle",
        "Every image repository drops old images.",
        Severity.LOW,
        ("FSBP ECR.3",),
        "Use components.images, or add a LifecyclePolicy for the repository.",
        stack_rule=_repositories_clean_up,
    ),
    Control(
        "cost-tags",
        "Every resource of AWS carries the tags by which the bill is split.",
        Severity.HIGH,
        ("CKV_AWS_153",),
        "Set owner, product, environment and cost-center in aws:defaultTags of the stack's YAML.",
        rule=_tagged,
    ),
    Control(
        "cost-node-tags",
        "What starts from a launch template carries the tags too: neither EKS nor default tags hand them on.",
        Severity.MEDIUM,
        (),
        "Set tagSpecifications for instance and volume, as components.nodes does.",
        rule=_nodes_tagged,
        types=frozenset({LAUNCH_TEMPLATE}),
    ),
]
