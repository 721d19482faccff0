"""A stack stays within its monthly budget, even at the largest size it may grow to."""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pulumi
from pulumi_policy import Policy, Severity

from policies.cost.prices import PRICES
from policies.cost.pricing import (
    CLUSTER,
    ENDPOINT,
    LAUNCH_TEMPLATE,
    NODE_GROUP,
    NODE_POOL,
    Line,
    configuration_of,
    estimate,
    is_free,
    scaling_target,
    unpriced,
    variants_of,
)
from policies.rules import (
    UNKNOWN,
    Declared,
    Finding,
    Props,
    Setting,
    Unknown,
    find,
    given,
    of_type,
    policy,
    settled,
    stack_policy,
    without_companion,
)

__all__ = ["POLICIES", "Line", "estimate", "unpriced"]

BUDGET = "aws:budgets/budget:Budget"
BUCKET = "aws:s3/bucket:Bucket"
BUCKET_LIFECYCLE = "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration"
NAMESPACE = "kubernetes:core/v1:Namespace"
QUOTA = "kubernetes:core/v1:ResourceQuota"
REPOSITORY = "aws:ecr/repository:Repository"

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

GROUP_SIZE = {
    NODE_GROUP: ("scalingConfig.maxSize",),
    "aws:autoscaling/group:Group": ("maxSize",),
}

DISKS = {
    LAUNCH_TEMPLATE: (
        Setting("blockDeviceMappings?.*?.ebs?.volumeType", ("gp3",), "which costs a fifth less than gp2"),
    ),
    "aws:ebs/volume:Volume": (Setting("type", ("gp3",), "which costs a fifth less than gp2"),),
}


def usd_per_month() -> float:
    """The stack's budget, `slipway:usd_per_month` in its YAML."""
    return pulumi.Config("slipway").require_float("usd_per_month")


def within_budget(resources: Sequence[Declared]) -> Iterator[tuple[Declared | None, Finding]]:
    """A stack stays within its monthly budget, even at the largest size it may grow to."""
    for resource, finding in unpriced(resources):
        if isinstance(finding, Unknown):
            yield resource, finding
    for sentence in over_budget(estimate(resources), usd_per_month()):
        yield None, sentence


def over_budget(lines: Iterable[Line], limit: float) -> Iterator[str]:
    """A sentence that names the dearest resources, where what they may cost together is more than `limit`."""
    by_name: dict[str, list[Line]] = {}
    for line in lines:
        by_name.setdefault(line.resource, []).append(line)
    total = {name: sum(line.ceiling_usd for line in each) for name, each in by_name.items()}
    ceiling = sum(total.values())
    if ceiling <= limit:
        return
    dearest = sorted(total, key=lambda name: -total[name])[:3]
    named = "; ".join(f"{name} ${total[name]:,.0f} ({_largest(by_name[name])})" for name in dearest)
    yield (
        f"may cost ${ceiling:,.0f} a month, and slipway:usd_per_month allows ${limit:,.0f}. The dearest: {named}. "
        "Lower their largest size, or raise the budget"
    )


def _largest(lines: Sequence[Line]) -> str:
    return max(lines, key=lambda line: line.ceiling_usd).what


def everything_has_a_price(resources: Sequence[Declared]) -> Iterator[tuple[Declared | None, Finding]]:
    """Everything in a stack has a price or is known to be free, so that its cost is not counted as nothing."""
    region = pulumi.Config("aws").require("region")
    if region != PRICES["region"]:
        yield None, f"is in {region}, and policies/cost/prices.json holds prices of {PRICES['region']} only: add them"
    yield from unpriced(resources)


def gpu_pools_have_a_limit(resource_type: str, inputs: Props) -> Iterator[Finding]:
    """A pool of GPUs says how many nodes it may grow to."""
    for path in GROUP_SIZE.get(resource_type, ()):
        for where, size in find(inputs, path):
            if size == UNKNOWN:
                yield Unknown(where)
            elif not size:
                yield f"{where} is not set, so nothing keeps this pool from growing: set it"
    if resource_type.startswith("kubernetes:karpenter.sh/") and resource_type.endswith(":NodePool"):
        for where, limits in find(inputs, "spec.limits"):
            if not limits:
                yield f"{where} is not set, so nothing keeps this pool from growing: limit cpu and nvidia.com/gpu"


def teams_have_a_gpu_quota(resources: Sequence[Declared]) -> Iterator[tuple[Declared | None, Finding]]:
    """Where there are GPUs, every namespace says how many of them its pods may take."""
    if not any(map(_has_gpus, of_type(resources, NODE_GROUP))) and not of_type(resources, NODE_POOL):
        return
    limited = {
        _namespace(quota)
        for quota in of_type(resources, QUOTA)
        for _, hard in find(quota.inputs, "spec.hard")
        if hard and (hard == UNKNOWN or "requests.nvidia.com/gpu" in hard)
    }
    for namespace in of_type(resources, NAMESPACE):
        for path, name in find(namespace.inputs, "metadata.name"):
            if name in (None, UNKNOWN):  # Pulumi's preview shows nothing of what is in a cluster that is not there yet
                yield namespace, Unknown(path)
            elif name not in limited:
                yield (
                    namespace,
                    f"namespace {name} may take every GPU: add a ResourceQuota with hard requests.nvidia.com/gpu",
                )


def _namespace(quota: Declared) -> Any:
    return next((name for _, name in find(quota.inputs, "metadata.namespace")), None)


def _has_gpus(group: Declared) -> bool:
    types = group.inputs.get("instanceTypes") or ()
    return types == UNKNOWN or any(re.match(r"(g|p)\d", each) for each in types)


def endpoints_scale_to_a_limit(resources: Sequence[Declared]) -> Iterator[tuple[Declared | None, Finding]]:
    """Every variant of an endpoint grows with its requests, and says how far."""
    for endpoint in of_type(resources, ENDPOINT):
        configuration = configuration_of(endpoint, resources)
        variants = variants_of(configuration) if configuration else []
        shadows = (
            [each for _, each in find(configuration.inputs, "shadowProductionVariants?.*")] if configuration else []
        )
        for variant in variants:
            if variant == UNKNOWN:
                yield endpoint, Unknown("productionVariants")
                continue
            if variant.get("serverlessConfig") or variant.get("managedInstanceScaling"):
                continue
            if variant in shadows:
                continue  # nobody waits for what a shadow answers
            target = scaling_target(endpoint, variant, resources, alone=len(variants) == 1)
            name = variant.get("variantName", "")
            if target is None:
                yield endpoint, f"nothing scales variant {name}: add an appautoscaling Target with a maxCapacity"
            elif target.inputs.get("maxCapacity") == UNKNOWN:
                yield target, Unknown("maxCapacity")
            elif not target.inputs.get("maxCapacity"):
                yield target, f"maxCapacity is not set, so nothing keeps variant {name} from growing: set it"


def tagged_for_the_bill(resource_type: str, inputs: Props) -> Iterator[Finding]:
    """Every resource of AWS carries the tags by which the bill is split."""
    if not resource_type.startswith("aws:") or resource_type in UNTAGGED:
        return
    tags = inputs.get("tags") or inputs.get("tagsAll") or {}
    if tags == UNKNOWN:
        yield Unknown("tags")
    elif missing := [tag for tag in TAGS if not given(tags.get(tag))]:
        yield f"the tags {', '.join(missing)} are missing: set them in aws:defaultTags of the stack's YAML"


def nodes_are_tagged_for_the_bill(resource_type: str, inputs: Props) -> Iterator[Finding]:
    """What starts from a launch template carries the tags too: neither EKS nor default tags hand them on."""
    if resource_type != LAUNCH_TEMPLATE:
        return
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


def stack_watches_its_budget(resources: Sequence[Declared]) -> Iterator[tuple[Declared | None, Finding]]:
    """A stack that costs something has an AWS budget, no larger than its own, that warns before it is spent."""
    costs = any(each.type.startswith("aws:") and not is_free(each.type) for each in resources)
    budgets = of_type(resources, BUDGET)
    if costs and not budgets:
        yield None, "has no aws.budgets.Budget, so nobody hears of it when money runs out: add components.budget.Budget"
    for budget in budgets:
        yield from ((budget, finding) for finding in _budget(budget.inputs, usd_per_month()))


def _budget(inputs: Props, limit: float) -> Iterator[Finding]:
    yield from settled(
        {
            BUDGET: (
                Setting("budgetType", ("COST",), "so that it counts money"),
                Setting("timeUnit", ("MONTHLY",), "as slipway:usd_per_month is a month's"),
                Setting("limitUnit", ("USD",), "as slipway:usd_per_month is in dollars"),
            )
        },
        BUDGET,
        inputs,
    )
    amount = inputs.get("limitAmount")
    if amount == UNKNOWN:
        yield Unknown("limitAmount")
    elif not amount or float(amount) > limit:
        yield f"limitAmount is {amount}: set no more than slipway:usd_per_month, {limit:g}"
    notified = set()
    for where, notification in find(inputs, "notifications?.*?"):
        if notification == UNKNOWN:
            yield Unknown(where)
        elif notification.get("subscriberSnsTopicArns") or notification.get("subscriberEmailAddresses"):
            notified.add(notification.get("notificationType"))
    for style in ("ACTUAL", "FORECASTED"):
        if style not in notified:
            yield f"nobody is told of {style} spending: add a notification with a topic or an address"


def clusters_stay_on_standard_support(resource_type: str, inputs: Props) -> Iterator[Finding]:
    """A cluster is upgraded when its version leaves standard support: from then on it would cost six times as much."""
    table = {
        CLUSTER: (Setting("upgradePolicy.supportType", ("STANDARD",), "or an old version costs six times as much"),)
    }
    yield from settled(table, resource_type, inputs)


def disks_are_gp3(resource_type: str, inputs: Props) -> Iterator[Finding]:
    """Disks are of the type that costs least for what it does."""
    yield from settled(DISKS, resource_type, inputs)


def buckets_clean_up(resources: Sequence[Declared]) -> Iterator[tuple[Declared | None, Finding]]:
    """Every bucket drops what nobody sees but everybody pays for: unfinished uploads and old versions.

    A bucket with Object Lock keeps everything on purpose.
    """
    for bucket in without_companion(resources, BUCKET, BUCKET_LIFECYCLE, "bucket", by=("bucket", "id")):
        if bucket.inputs.get("objectLockEnabled") is True:
            continue
        yield bucket, f"bucket {bucket.name} keeps everything for ever: add a BucketLifecycleConfiguration"
    for lifecycle in of_type(resources, BUCKET_LIFECYCLE):
        for what, path in (
            ("unfinished uploads", "abortIncompleteMultipartUpload.daysAfterInitiation"),
            ("old versions", "noncurrentVersionExpiration.noncurrentDays"),
        ):
            if not any(given(days) for _, days in find(lifecycle.inputs, f"rules.*.{path}")):
                yield lifecycle, f"no rule removes {what}: set {path.partition('.')[0]}"


def repositories_clean_up(resources: Sequence[Declared]) -> Iterator[tuple[Declared | None, Finding]]:
    """Every image repository drops old images."""
    companion = "aws:ecr/lifecyclePolicy:LifecyclePolicy"
    for each in without_companion(resources, REPOSITORY, companion, "repository", by=("name", "id")):
        yield each, f"repository {each.name} keeps every image for ever: add a LifecyclePolicy"


POLICIES: list[Policy] = [
    stack_policy(within_budget, Severity.CRITICAL),
    stack_policy(everything_has_a_price, Severity.HIGH),
    policy(gpu_pools_have_a_limit, Severity.CRITICAL),
    stack_policy(teams_have_a_gpu_quota, Severity.MEDIUM),
    stack_policy(endpoints_scale_to_a_limit, Severity.HIGH),
    policy(tagged_for_the_bill, Severity.MEDIUM),
    policy(nodes_are_tagged_for_the_bill, Severity.MEDIUM),
    stack_policy(stack_watches_its_budget, Severity.HIGH),
    policy(clusters_stay_on_standard_support, Severity.HIGH),
    policy(disks_are_gp3, Severity.LOW),
    stack_policy(buckets_clean_up, Severity.LOW),
    stack_policy(repositories_clean_up, Severity.LOW),
]
