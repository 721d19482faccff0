"""What a stack costs on AWS a month: at its smallest size, and at the largest it may grow to.

Amounts come from `prices.json`, each with its source and date. Where AWS charges by use, the table also says how much
use is assumed. Whatever has no price is said to have none; it never counts as nothing. What only a moment costs (both
fleets of a blue/green update, retries) is left out.
"""

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from policies.rules import UNKNOWN, Declared, Finding, Unknown, find, given, of_type, refers

PRICES: Mapping[str, Any] = json.loads(files("policies.cost").joinpath("prices.json").read_text("utf-8"))
HOURS: int = PRICES["hours_per_month"]

CLUSTER = "aws:eks/cluster:Cluster"
ENDPOINT = "aws:sagemaker/endpoint:Endpoint"
ENDPOINT_CONFIGURATION = "aws:sagemaker/endpointConfiguration:EndpointConfiguration"
FUNCTION = "aws:lambda/function:Function"
LAUNCH_TEMPLATE = "aws:ec2/launchTemplate:LaunchTemplate"
NODE_CLASS = "kubernetes:karpenter.k8s.aws/v1:EC2NodeClass"
NODE_GROUP = "aws:eks/nodeGroup:NodeGroup"
NODE_POOL = "kubernetes:karpenter.sh/v1:NodePool"
SCALABLE_TARGET = "aws:appautoscaling/target:Target"
SCHEDULE = "aws:scheduler/schedule:Schedule"


@dataclass(frozen=True)
class Line:
    """One item of a stack's monthly bill."""

    resource: str
    """The resource's name."""
    urn: str
    what: str
    floor_usd: float
    """A month at the smallest size, with nothing happening."""
    ceiling_usd: float
    """A month at the largest size, with the use that the price table assumes."""
    priced_on: str
    """The date of the price: `2026-07-20`."""


@dataclass(frozen=True)
class Amount:
    """How much of something a month takes: at least, and at most."""

    floor: float
    ceiling: float

    def __str__(self) -> str:
        few, many = f"{self.floor:,.10g}", f"{self.ceiling:,.10g}"
        return many if few == many else f"{few} to {many}"


Found = Line | Finding
Pricing = Callable[[Declared, Sequence[Declared]], Iterator[Found]]
"""From a resource, and all of its stack, to what it costs, or a sentence for what has no price."""


def estimate(resources: Sequence[Declared]) -> list[Line]:
    """What these resources cost, item by item, dearest first. What has no price is not in it: see `unpriced`."""
    lines = [each for _, each in priced(resources) if isinstance(each, Line)]
    return sorted(lines, key=lambda line: (-line.ceiling_usd, -line.floor_usd, line.resource))


def unpriced(resources: Sequence[Declared]) -> list[tuple[Declared, Finding]]:
    """What has no price, each with a sentence; or `Unknown`, where only `pulumi up` will know."""
    return [(resource, each) for resource, each in priced(resources) if not isinstance(each, Line)]


def priced(resources: Sequence[Declared]) -> Iterator[tuple[Declared, Found]]:
    """Each resource with its lines, and with a sentence for what has no price."""
    for resource in resources:
        yield from ((resource, each) for each in _price(resource, resources))


def _price(resource: Declared, resources: Sequence[Declared]) -> Iterator[Found]:
    by_size, by_use = BY_SIZE.get(resource.type), PRICES["usage"].get(resource.type, ())
    if by_size:
        yield from by_size(resource, resources)
    for row in by_use:
        yield _line(resource, row["price"], Amount(row["floor"], row["ceiling"]), f"{row['what']} ({row['assumes']})")
    if not by_size and not by_use and not is_free(resource.type):
        yield f"{resource.type} has no price: add it to policies/cost/prices.json, to `usage` or to `free`"


def is_free(resource_type: str) -> bool:
    """Whether it costs nothing itself: it is in the table, or a component or Pulumi's own."""
    return resource_type in PRICES["free"] or resource_type.startswith(("pulumi:", "slipway:"))


def _line(resource: Declared, price: str, amount: Amount, what: str) -> Line:
    row = PRICES["prices"][price]
    return Line(resource.name, resource.urn, what, amount.floor * row["usd"], amount.ceiling * row["usd"], row["date"])


def _instances(
    resource: Declared, types: Sequence[str], count: Amount, what: str, share: Amount | None = None
) -> Iterator[Found]:
    """So many instances of one of `types`: the cheapest at least, the dearest at most, all month long."""
    share = share or Amount(1, 1)
    rows = [PRICES["instances"].get(each) for each in types]
    for each, row in zip(types, rows, strict=True):
        if row is None:
            yield f"instance type {each} has no price: add it to `instances` in policies/cost/prices.json"
    known = sorted((row for row in rows if row), key=lambda row: float(row["usd"]))
    if known and len(known) == len(types):
        floor = count.floor * known[0]["usd"] * HOURS * share.floor
        ceiling = count.ceiling * known[-1]["usd"] * HOURS * share.ceiling
        yield Line(resource.name, resource.urn, f"{count} of {what}", floor, ceiling, known[-1]["date"])


def _cluster(cluster: Declared, _: Sequence[Declared]) -> Iterator[Found]:
    standard = cluster.inputs.get("upgradePolicy", {}) == {"supportType": "STANDARD"}
    dearest = "eks-control-plane" if standard else "eks-control-plane-extended-support"
    floor = _line(cluster, "eks-control-plane", Amount(HOURS, HOURS), "")
    ceiling = _line(cluster, dearest, Amount(HOURS, HOURS), "")
    what = "control plane" + ("" if standard else ", in extended support at most")
    yield Line(cluster.name, cluster.urn, what, floor.floor_usd, ceiling.ceiling_usd, ceiling.priced_on)
    for path, what in (
        ("computeConfig?.enabled?", "EKS Auto Mode"),
        ("controlPlaneScalingConfig?.tier?", "a provisioned control plane"),
    ):
        for where, value in find(cluster.inputs, path):
            if value not in (False, "standard"):
                yield f"{where}: {what} has no price here; leave it out, or price it in policies/cost/pricing.py"


def _node_group(group: Declared, resources: Sequence[Declared]) -> Iterator[Found]:
    scaling = group.inputs.get("scalingConfig")
    template = next(
        (each for each in of_type(resources, LAUNCH_TEMPLATE) if refers(group, "launchTemplate", each, by=())), None
    )
    types = group.inputs.get("instanceTypes") or [template.inputs.get("instanceType") if template else None]
    if UNKNOWN in (scaling, types) or UNKNOWN in types:
        yield Unknown("scalingConfig" if scaling == UNKNOWN else "instanceTypes")
        return
    if not all(types) or not scaling:
        yield "has no price while it does not say its instanceTypes and its scalingConfig: set them"
        return
    counts = scaling.get("minSize"), scaling.get("maxSize")
    if UNKNOWN in counts or None in counts:
        yield Unknown("scalingConfig") if UNKNOWN in counts else "has no price: set scalingConfig.minSize and maxSize"
        return
    count = Amount(*counts)
    spot = group.inputs.get("capacityType") == "SPOT"
    share = Amount(PRICES["spot_share"]["floor"], PRICES["spot_share"]["ceiling"]) if spot else None
    yield from _instances(group, types, count, f"{' or '.join(types)}{' (spot)' if spot else ''}", share)
    yield from _volumes(group, template, count)


def _node_pool(pool: Declared, resources: Sequence[Declared]) -> Iterator[Found]:
    """Karpenter's nodes: none at least, at most as many of the dearest type as the limit of GPUs allows."""
    asked = {key: values for _, key, values in _requirements(pool)}
    types = asked.get("node.kubernetes.io/instance-type")
    limits = next((value for _, value in find(pool.inputs, "spec.limits")), None)
    limit = limits.get("nvidia.com/gpu") if isinstance(limits, Mapping) else limits
    if UNKNOWN in (types, limit):
        yield Unknown("spec.limits" if limit == UNKNOWN else "spec.template.spec.requirements")
        return
    if not types or not limit:
        yield "has no price: require node.kubernetes.io/instance-type, and limit nvidia.com/gpu"
        return
    nodes = {}
    for each in types:
        row = PRICES["instances"].get(each)
        if row is None or not row.get("gpus"):
            yield f"instance type {each} has no price and GPUs: add both to `instances` in policies/cost/prices.json"
            return
        nodes[each] = float(limit) // row["gpus"]
    spot = asked.get("karpenter.sh/capacity-type") == ["spot"]
    share = PRICES["spot_share"]["ceiling"] if spot else 1
    dearest = max(types, key=lambda each: nodes[each] * PRICES["instances"][each]["usd"])
    row, most = PRICES["instances"][dearest], nodes[dearest]
    what = f"0 to {most:g} of {' or '.join(types)}{' (spot)' if spot else ''}"
    yield Line(pool.name, pool.urn, what, 0, most * row["usd"] * HOURS * share, row["date"])
    yield from _pool_disks(pool, resources, max(nodes.values()))


def _requirements(pool: Declared) -> Iterator[tuple[str, str, Any]]:
    for where, each in find(pool.inputs, "spec.template.spec.requirements?.*?"):
        if isinstance(each, Mapping) and each.get("operator") == "In":
            yield where, each["key"], each.get("values")


def _pool_disks(pool: Declared, resources: Sequence[Declared], nodes: float) -> Iterator[Found]:
    name = next((value for _, value in find(pool.inputs, "spec.template.spec.nodeClassRef.name")), None)
    for node_class in of_type(resources, NODE_CLASS):
        if [value for _, value in find(node_class.inputs, "metadata.name")] != [name]:
            continue
        for where, size in find(node_class.inputs, "spec.blockDeviceMappings?.*?.ebs.volumeSize"):
            if size == UNKNOWN or not str(size).endswith("Gi"):
                yield Unknown(where) if size == UNKNOWN else f"{where} is {size}: give it in Gi"
            else:
                gib = nodes * float(str(size).removesuffix("Gi"))
                yield _line(pool, "ebs-gp3", Amount(0, gib), f"0 to {gib:g} GB-month of gp3 disks")


def _volumes(group: Declared, template: Declared | None, count: Amount) -> Iterator[Found]:
    """The disks of a group's nodes: what its launch template says, or else 20 GiB of gp2, EKS's default."""
    mappings = template.inputs.get("blockDeviceMappings") if template else None
    for mapping in mappings or [{"ebs": {"volumeType": "gp2", "volumeSize": group.inputs.get("diskSize", 20)}}]:
        volume: Any = UNKNOWN if mapping == UNKNOWN else mapping.get("ebs", {})
        if volume == UNKNOWN or UNKNOWN in volume.values():
            yield Unknown("launchTemplate.blockDeviceMappings")
            continue
        style, size = volume.get("volumeType", "gp2"), volume.get("volumeSize", 20)
        if f"ebs-{style}" not in PRICES["prices"]:
            yield f"volume type {style} has no price: use gp3, or add ebs-{style} to policies/cost/prices.json"
            continue
        amounts = {f"ebs-{style}": size}
        if style == "gp3":
            amounts["ebs-gp3-iops"] = max(0, volume.get("iops", 3000) - 3000)
            amounts["ebs-gp3-throughput"] = max(0, volume.get("throughput", 125) - 125)
        for price, each in amounts.items():
            if each:
                total = Amount(count.floor * each, count.ceiling * each)
                yield _line(group, price, total, f"{total} {PRICES['prices'][price]['per']} of {style} disks")


def _endpoint(endpoint: Declared, resources: Sequence[Declared]) -> Iterator[Found]:
    configuration = configuration_of(endpoint, resources)
    if configuration is None:
        yield "runs a configuration that is not in this stack, so its instances have no price: make both in one stack"
        return
    variants = variants_of(configuration)
    for variant in variants:
        if variant == UNKNOWN or UNKNOWN in variant.values():
            yield Unknown("productionVariants")
        elif variant.get("serverlessConfig"):
            yield from _serverless(endpoint, variant["serverlessConfig"])
        else:
            count = instances_of(endpoint, variant, resources, alone=len(variants) == 1)
            if isinstance(count, Unknown):
                yield count
                continue
            yield from _instances(endpoint, [variant["instanceType"]], count, variant["instanceType"])
            if disk := variant.get("volumeSizeInGb"):
                total = Amount(count.floor * disk, count.ceiling * disk)
                yield _line(endpoint, "sagemaker-volume", total, f"{total} GB-month of disks")


def _serverless(endpoint: Declared, size: Mapping[str, Any]) -> Iterator[Found]:
    """Nothing while nobody asks; at most, every request that it takes at once takes all month."""
    memory, most, kept = size.get("memorySizeInMb"), size.get("maxConcurrency"), size.get("provisionedConcurrency") or 0
    if UNKNOWN in (memory, most, kept):
        yield Unknown("productionVariants")
        return
    if memory is None or most is None:
        yield "a serverless variant has no price without a size: set memorySizeInMb and maxConcurrency"
        return
    hours = memory / 1024 * HOURS
    used = Amount(kept * hours, most * hours)
    yield _line(endpoint, "sagemaker-serverless", used, f"{kept:g} to {most:g} requests at once, {memory:g} MB each")


def configuration_of(endpoint: Declared, resources: Sequence[Declared]) -> Declared | None:
    """The configuration that an endpoint starts with, where it is in the same stack."""
    for each in of_type(resources, ENDPOINT_CONFIGURATION):
        if refers(endpoint, "endpointConfigName", each, by=("name",)):
            return each
    return None


def variants_of(configuration: Declared) -> list[Any]:
    """The production and shadow variants of an endpoint configuration."""
    return [
        variant
        for path in ("productionVariants.*", "shadowProductionVariants?.*")
        for _, variant in find(configuration.inputs, path)
        if variant is not None
    ]


def instances_of(
    endpoint: Declared, variant: Mapping[str, Any], resources: Sequence[Declared], *, alone: bool
) -> Amount | Unknown:
    """How many instances a variant runs: its initial count, or as its autoscaling target or managed scaling says."""
    low = high = variant.get("initialInstanceCount", 1)
    scaling = variant.get("managedInstanceScaling") or {}
    target = scaling_target(endpoint, variant, resources, alone=alone)
    if target is not None:
        low, high = target.inputs.get("minCapacity"), target.inputs.get("maxCapacity")
    elif scaling.get("status") == "ENABLED":
        low, high = scaling.get("minInstanceCount", low), scaling.get("maxInstanceCount", high)
    if not isinstance(low, int | float) or not isinstance(high, int | float):
        return Unknown("maxCapacity")
    return Amount(low, max(high, variant.get("initialInstanceCount", 1)))


def scaling_target(
    endpoint: Declared, variant: Mapping[str, Any], resources: Sequence[Declared], *, alone: bool
) -> Declared | None:
    """The autoscaling target of a variant: `endpoint/<endpoint>/variant/<variant>`. `alone`: it has only this one."""
    for target in of_type(resources, SCALABLE_TARGET):
        resource_id = target.inputs.get("resourceId")
        linked = endpoint.urn in target.property_dependencies.get("resourceId", ())
        if resource_id == UNKNOWN or not given(resource_id):
            if linked and alone:
                return target
            continue
        kind, name, _, of_variant = (*str(resource_id).split("/"), "", "", "", "")[:4]
        if kind != "endpoint":  # the copies of an inference component are no instances
            continue
        if (linked or name == endpoint.inputs.get("name")) and (alone or of_variant == variant.get("variantName")):
            return target
    return None


def _interface_endpoint(endpoint: Declared, _: Sequence[Declared]) -> Iterator[Found]:
    style, subnets = endpoint.inputs.get("vpcEndpointType", "Gateway"), endpoint.inputs.get("subnetIds")
    if UNKNOWN in (style, subnets):
        yield Unknown("subnetIds")
    elif style == "Interface":
        hours = HOURS * len(subnets or ())
        yield _line(endpoint, "vpc-endpoint", Amount(hours, hours), f"interface in {len(subnets or ())} zones")
        yield _line(endpoint, "vpc-endpoint-data", Amount(0, 100), "data through it (100 GB)")
    elif style != "Gateway":
        yield f"a VPC endpoint of type {style} has no price: price it in policies/cost/pricing.py"


def _key(key: Declared, _: Sequence[Declared]) -> Iterator[Found]:
    versions = 3 if key.inputs.get("enableKeyRotation") else 1
    what = "key" + (", later with its first two rotations" if versions > 1 else "")
    yield _line(key, "kms-key", Amount(1, versions), what)


def _alarm(alarm: Declared, _: Sequence[Declared]) -> Iterator[Found]:
    queries = alarm.inputs.get("metricQueries") or [{"metric": alarm.inputs}]
    if queries == UNKNOWN:
        yield Unknown("metricQueries")
        return
    metrics = [each["metric"] for each in queries if each != UNKNOWN and each.get("metric")]
    periods = [metric.get("period") for metric in metrics if metric != UNKNOWN]
    quick = any(isinstance(period, int | float) and period < 60 for period in periods)
    price = "cloudwatch-alarm-high-resolution-metric" if quick else "cloudwatch-alarm-metric"
    yield _line(alarm, price, Amount(len(metrics), len(metrics)), f"alarm on {len(metrics)} metrics")


def _function(function: Declared, resources: Sequence[Declared]) -> Iterator[Found]:
    memory, seconds = function.inputs.get("memorySize", 128), function.inputs.get("timeout", 3)
    schedules = [each for each in of_type(resources, SCHEDULE) if function.urn in _links(each, "target")]
    expressions = [str(each.inputs.get("scheduleExpression")) for each in schedules]
    if UNKNOWN in (memory, seconds, *expressions):
        yield Unknown("scheduleExpression" if UNKNOWN in expressions else "timeout")
        return
    if function.inputs.get("snapStart"):
        yield "SnapStart has no price: leave it out, or price it in policies/cost/pricing.py"
    assumed = PRICES["unscheduled_invocations"]
    runs = Amount(assumed["floor"], assumed["ceiling"])
    if not expressions:
        # What has minutes for the largest case needs seconds for the usual one.
        seconds = min(seconds, assumed["seconds"])
    else:
        total = sum(map(runs_per_month, expressions))
        runs = Amount(total, total)
        yield _line(function, "scheduler-invocations", _times(runs, 1e-6), f"{total:,.0f} scheduled runs")
    yield _line(function, "lambda-requests", _times(runs, 1e-6), f"{runs} requests")
    used = Amount(0, runs.ceiling * seconds * memory / 1024)
    yield _line(function, "lambda-duration", used, f"{runs} runs of {seconds:g} s and {memory:g} MB")


def _links(resource: Declared, name: str) -> Sequence[str]:
    return resource.property_dependencies.get(name, ())


def _times(amount: Amount, factor: float) -> Amount:
    return Amount(amount.floor * factor, amount.ceiling * factor)


def runs_per_month(expression: str) -> float:
    """How often a `rate(…)`, `cron(…)` or `at(…)` runs in a month, rounded up. Raises ValueError for anything else."""
    if rate := re.fullmatch(r"rate\((\d+) (minute|hour|day)s?\)", expression):
        return HOURS / (int(rate[1]) * {"minute": 1 / 60, "hour": 1, "day": 24}[rate[2]])
    if cron := re.fullmatch(r"cron\((\S+) (\S+) (\S+) \S+ (\S+) \S+\)", expression):
        minute, hour, day, weekday = cron.groups()
        days = (
            31 if weekday == "?" and day == "*" else _matches(day, 31) if weekday == "?" else _matches(weekday, 7) * 5
        )
        return _matches(minute, 60) * _matches(hour, 24) * days
    if expression.startswith("at("):
        return 1
    raise ValueError(f"{expression!r} is no rate(…), cron(…) or at(…)")


def _matches(field: str, size: int) -> int:
    """How many of `size` values a field of a cron expression stands for, at most."""
    count = 0
    for part in field.split(","):
        span, _, step = part.partition("/")
        first, _, last = span.partition("-")
        width = size if first in ("*", "?") or (step and not last) else 1
        if first.isdigit() and last.isdigit():
            width = int(last) - int(first) + 1
        elif last:
            width = size
        count += math.ceil(width / int(step or 1))
    return min(count, size)


def _feature_group(group: Declared, _: Sequence[Declared]) -> Iterator[Found]:
    for path, usual, what in (
        ("onlineStoreConfig?.storageType?", "Standard", "in-memory storage"),
        ("throughputConfig?.throughputMode?", "OnDemand", "provisioned throughput"),
    ):
        for where, value in find(group.inputs, path):
            if value not in (usual, UNKNOWN):
                yield f"{where}: {what} has no price; set {usual!r}, or price it in policies/cost/pricing.py"


def _parameter(parameter: Declared, _: Sequence[Declared]) -> Iterator[Found]:
    if parameter.inputs.get("tier", "Standard") != "Standard":
        yield "a parameter of this tier has no price: set tier to 'Standard'"


def _kubernetes_service(service: Declared, _: Sequence[Declared]) -> Iterator[Found]:
    for where, style in find(service.inputs, "spec.type?"):
        if style == "LoadBalancer":
            yield f"{where}: a load balancer has no price; use ClusterIP, or price it in policies/cost/pricing.py"


def _schedule(schedule: Declared, _: Sequence[Declared]) -> Iterator[Found]:
    """Priced with the function that it calls."""
    yield from ()


def _stage(stage: Declared, _: Sequence[Declared]) -> Iterator[Found]:
    """Requests are priced with their API; a cache of its own would cost by the hour."""
    for where, enabled in find(stage.inputs, "cacheClusterEnabled?"):
        if enabled:
            yield f"{where}: a stage's cache has no price here; leave it out, or price it in policies/cost/pricing.py"


def _component(made: Declared, _: Sequence[Declared]) -> Iterator[Found]:
    """Cloud control makes anything: of that, an inference component runs on instances that are priced."""
    if made.inputs.get("typeName") != "AWS::SageMaker::InferenceComponent":
        yield f"{made.inputs.get('typeName')} has no price: price it in policies/cost/pricing.py"


BY_SIZE: Mapping[str, Pricing] = {
    CLUSTER: _cluster,
    ENDPOINT: _endpoint,
    FUNCTION: _function,
    NODE_GROUP: _node_group,
    NODE_POOL: _node_pool,
    SCHEDULE: _schedule,
    "aws:apigateway/stage:Stage": _stage,
    "aws:cloudcontrol/resource:Resource": _component,
    "aws:cloudwatch/metricAlarm:MetricAlarm": _alarm,
    "aws:ec2/vpcEndpoint:VpcEndpoint": _interface_endpoint,
    "aws:kms/key:Key": _key,
    "aws:sagemaker/featureGroup:FeatureGroup": _feature_group,
    "aws:ssm/parameter:Parameter": _parameter,
    "kubernetes:core/v1:Service": _kubernetes_service,
}
