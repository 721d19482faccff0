"""What a stack costs on AWS a month: at its smallest size, as it is expected to be used, and at the largest it may get.

Floor: the smallest capacity, with nothing happening. Expected: the use that the stack states (`slipway:usage`), by its
schedules, with spot at its usual share of the price. Ceiling: the largest capacity, all month long and on demand, with
the use that the price table assumes at most, or what the stack states where that is more.
So floor ≤ expected ≤ ceiling.

Amounts come from `prices.json`, each with its source and date. Whatever has no price is said to have none; it never
counts as nothing. A size that only `pulumi up` will know counts as the most that `policies/limits.yaml` allows. What
only a moment costs (both fleets of a blue/green update, retries) is left out.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import pulumi

from policies.cost.prices import DAYS, HOURS, PRICES, gpus_of
from policies.cost.schedules import bounds, runs_per_month
from policies.cost.usage import Usage
from policies.limits import environment, limits
from policies.resource_types import (
    CLUSTER,
    ENDPOINT,
    ENDPOINT_CONFIGURATION,
    FUNCTION,
    LAUNCH_TEMPLATE,
    NODE_CLASS,
    NODE_GROUP,
    NODE_POOL,
    NOTEBOOK,
    PIPELINE,
    SCHEDULE,
    TABLE,
    TRAINING_JOB,
)
from policies.rules import UNKNOWN, Declared, Finding, Unknown, find, given, of_type, refers

SCALABLE_TARGET = "aws:appautoscaling/target:Target"
SCALING_POLICY = "aws:appautoscaling/policy:Policy"
SCHEDULED_ACTION = "aws:appautoscaling/scheduledAction:ScheduledAction"

NOBODY: Final = "unattributed"
"""Whose a cost is that carries no tag of it."""
BATCH: Final = "BATCH"
"""The variable in which a batch prediction's function is told what its jobs run on (components/batch_prediction.py)."""


@dataclass(frozen=True)
class Line:
    """One item of a stack's monthly bill."""

    resource: str
    """The resource's name."""
    urn: str
    what: str
    floor_usd: float
    """A month at the smallest size, with nothing happening."""
    expected_usd: float
    """A month with the use that the stack states."""
    ceiling_usd: float
    """A month at the largest size."""
    priced_on: str
    """The date of the price: `2026-07-20`."""
    team: str = NOBODY
    """Who pays: the tag `owner`."""
    product: str = NOBODY

    @property
    def component(self) -> str:
        """What the stack calls it: `Endpoint`; the resource's own type where no component made it."""
        kinds = self.urn.split("::")[2].split("$") if self.urn.count("::") >= 3 else [self.urn]
        return next((each for each in kinds if each.startswith("slipway:")), kinds[-1]).split(":")[-1]


@dataclass(frozen=True)
class Amount:
    """How much of something a month takes: at least, as expected, and at most."""

    floor: float
    expected: float
    ceiling: float

    @classmethod
    def of(cls, floor: float, expected: float, ceiling: float) -> "Amount":
        """What is expected, within the bounds."""
        return cls(floor, min(max(floor, expected), ceiling), ceiling)

    @classmethod
    def fixed(cls, amount: float) -> "Amount":
        return cls(amount, amount, amount)

    def times(self, floor: float, expected: float | None = None, ceiling: float | None = None) -> "Amount":
        """Each multiplied by its factor; without others by the first."""
        return Amount(
            self.floor * floor,
            self.expected * (floor if expected is None else expected),
            self.ceiling * (floor if ceiling is None else ceiling),
        )

    def __str__(self) -> str:
        few, many = f"{self.floor:,.10g}", f"{self.ceiling:,.10g}"
        return many if few == many else f"{few} to {many}"


@dataclass(frozen=True)
class Month:
    """What an estimate is made of: all resources of a stack, and how they are used."""

    resources: Sequence[Declared]
    usage: Usage

    @cached_property
    def count(self) -> Mapping[str, int]:
        """How many resources of each type there are: a stack's use is spread over them."""
        found: dict[str, int] = {}
        for each in self.resources:
            found[each.type] = found.get(each.type, 0) + 1
        return found

    def of(self, resource_type: str) -> Sequence[Declared]:
        """The resources of one type."""
        return self._by_type.get(resource_type, ())

    @cached_property
    def _by_type(self) -> Mapping[str, Sequence[Declared]]:
        found: dict[str, list[Declared]] = {}
        for each in self.resources:
            found.setdefault(each.type, []).append(each)
        return found

    @cached_property
    def gpus(self) -> float:
        """How many GPUs all pools of the cluster may have."""
        pools = (*self.of(NODE_GROUP), *self.of(NODE_POOL))
        return sum(gpus_at_most(each, self.resources) or 0 for each in pools)

    def gpu_share(self, gpus: float) -> float:
        """How many of a pool's GPUs are in use on average: the stated hours are spread by the pools' sizes."""
        return min(gpus, self.usage.gpu_hours_per_day / 24 * gpus / self.gpus) if self.gpus else 0


Found = Line | Finding
Pricing = Callable[[Declared, Month], Iterator[Found]]
"""From a resource, and all of its stack, to what it costs, or a sentence for what has no price."""


def stated_usage() -> Usage:
    """`slipway:usage` of the stack that is judged. Raises pydantic.ValidationError, which names the key."""
    return Usage.model_validate(pulumi.Config("slipway").get_object("usage") or {})


def default_tags() -> Mapping[str, str]:
    """The tags that the stack's YAML gives to everything."""
    tags = (pulumi.Config("aws").get_object("defaultTags") or {}).get("tags", {})
    return {str(key): str(value) for key, value in tags.items()}


def estimate(
    resources: Sequence[Declared], usage: Usage | None = None, tags: Mapping[str, str] | None = None
) -> list[Line]:
    """What these resources cost, item by item, dearest first. What has no price is not in it: see `unpriced`.

    Without `usage` and `tags` those count that the Pulumi configuration of the judged stack says.
    """
    lines = [each for _, each in priced(resources, usage, tags) if isinstance(each, Line)]
    return sorted(lines, key=lambda line: (-line.ceiling_usd, -line.expected_usd, -line.floor_usd, line.resource))


def unpriced(resources: Sequence[Declared]) -> list[tuple[Declared, Finding]]:
    """What has no price, each with a sentence; or `Unknown`, where only `pulumi up` will know."""
    return [(resource, each) for resource, each in priced(resources) if not isinstance(each, Line)]


_latest: tuple[object, Usage, Mapping[str, str], list[tuple[Declared, Found]]] | None = None


def priced(
    resources: Sequence[Declared], usage: Usage | None = None, tags: Mapping[str, str] | None = None
) -> list[tuple[Declared, Found]]:
    """Each resource with its lines, and with a sentence for what has no price.

    Several rules ask for the same stack one after the other: the latest answer is kept. Resources in a tuple do not
    change; those in a list may.
    """
    global _latest
    usage = usage if usage is not None else stated_usage()
    tags = tags if tags is not None else default_tags()
    kept = _latest
    if kept and kept[0] is resources and kept[1] == usage and kept[2] == tags:
        return kept[3]
    month = Month(resources, usage)
    found = [(resource, _paid_by(resource, each, tags)) for resource in resources for each in _price(resource, month)]
    if isinstance(resources, tuple):
        _latest = resources, usage, tags, found
    return found


def _paid_by(resource: Declared, found: Found, tags: Mapping[str, str]) -> Found:
    if not isinstance(found, Line):
        return found
    own = resource.inputs.get("tags") or resource.inputs.get("tagsAll")
    own = own if isinstance(own, Mapping) else {}
    whose = {
        name: str(value) if (value := own.get(tag)) and value != UNKNOWN else tags.get(tag) or NOBODY
        for name, tag in (("team", "owner"), ("product", "product"))
    }
    return Line(
        found.resource,
        found.urn,
        found.what,
        found.floor_usd,
        found.expected_usd,
        found.ceiling_usd,
        found.priced_on,
        **whose,
    )


def _price(resource: Declared, month: Month) -> Iterator[Found]:
    by_size, by_use = BY_SIZE.get(resource.type), PRICES["usage"].get(resource.type, ())
    if by_size:
        yield from by_size(resource, month)
    for row in by_use:
        yield _line(resource, row["price"], _used(row, resource, month), f"{row['what']} ({row['assumes']})")
    if not by_size and not by_use and not is_free(resource.type):
        yield f"{resource.type} has no price: add it to policies/cost/prices.json, to `usage` or to `free`"


def is_free(resource_type: str) -> bool:
    """Whether it costs nothing itself: it is in the table, or a component or Pulumi's own."""
    return resource_type in PRICES["free"] or resource_type.startswith(("pulumi:", "slipway:"))


def _used(row: Mapping[str, Any], resource: Declared, month: Month) -> Amount:
    """What a row of the table's `usage` comes to: as assumed, or as the stack states."""
    stated = row.get("expected")
    if stated is None:
        return Amount(row["floor"], row["floor"], row["ceiling"])
    amount = 1 / stated.get("per", 1)
    for key in stated["of"]:
        amount *= getattr(month.usage, key) * (DAYS if key.endswith("_per_day") else 1)
    share = month.count[resource.type] if stated.get("split") else 1
    grown = getattr(month.usage, stated["growth"]) if "growth" in stated else 0
    return _stated(row["floor"], (amount + grown) / share, max(row["ceiling"], (amount + 12 * grown) / share))


def _stated(floor: float, expected: float, assumed: float) -> Amount:
    """Who states more than the table assumes, may spend more."""
    return Amount(floor, max(floor, expected), max(floor, expected, assumed))


def _line(resource: Declared, price: str, amount: Amount, what: str, share: Amount | None = None) -> Line:
    row = PRICES["prices"][price]
    return _at(resource, row["usd"], amount, what, row["date"], share)


def _at(resource: Declared, usd: float, amount: Amount, what: str, on: str, share: Amount | None = None) -> Line:
    """So much of something at one price; `share`: how much of the price is paid."""
    paid = amount.times(usd) if share is None else amount.times(*(usd * each for each in vars(share).values()))
    paid = Amount.of(paid.floor, paid.expected, paid.ceiling)
    return Line(resource.name, resource.urn, what, paid.floor, paid.expected, paid.ceiling, on)


ON_DEMAND: Final = Amount(1, 1, 1)
_SPOT: Final = PRICES["spot_share"]
SPOT: Final = Amount(_SPOT["expected"], _SPOT["expected"], _SPOT["ceiling"])
"""Shares of the on-demand price: usual for what is expected, all of it at most, because spot may reach it."""


def _instances(
    resource: Declared,
    types: Sequence[str],
    hours: Amount,
    what: str,
    share: Amount = ON_DEMAND,
) -> Iterator[Found]:
    """So many hours of one of `types`: the cheapest at least, the dearest at most."""
    rows = [PRICES["instances"].get(each) for each in types]
    for each, row in zip(types, rows, strict=True):
        if row is None:
            yield f"instance type {each} has no price: add it to `instances` in policies/cost/prices.json"
    known = sorted((row for row in rows if row), key=lambda row: float(row["usd"]))
    if known and len(known) == len(types):
        low, high = known[0]["usd"], known[-1]["usd"]
        paid = hours.times(low * share.floor, low * share.expected, high * share.ceiling)
        paid = Amount.of(paid.floor, paid.expected, paid.ceiling)
        on = min(known[0]["date"], known[-1]["date"])
        yield Line(resource.name, resource.urn, what, paid.floor, paid.expected, paid.ceiling, on)


# --- what is not known yet ------------------------------------------------------------------------------------------

NOT_KNOWN: Final = "not known yet: priced at the most that policies/limits.yaml allows"


def _dearest(prefix: str) -> str:
    """The dearest instance type that limits.yaml allows in this environment: EC2's, or SageMaker's (`ml.`)."""
    allowed = limits().cost.allowed(environment())
    known: dict[str, float] = {
        each: row["usd"] for each, row in PRICES["instances"].items() if each.startswith("ml.") == bool(prefix)
    }
    found = {each: usd for each, usd in known.items() if allowed(each)}
    return max(found or known, key=lambda each: known[each])


# --- the cluster ----------------------------------------------------------------------------------------------------


def _cluster(cluster: Declared, _: Month) -> Iterator[Found]:
    standard = cluster.inputs.get("upgradePolicy", {}) == {"supportType": "STANDARD"}
    dearest = PRICES["prices"]["eks-control-plane" if standard else "eks-control-plane-extended-support"]
    usual = PRICES["prices"]["eks-control-plane"]
    what = "control plane" + ("" if standard else ", in extended support at most")
    least, most = HOURS * usual["usd"], HOURS * dearest["usd"]
    yield Line(cluster.name, cluster.urn, what, least, least, most, dearest["date"])
    for path, what in (
        ("computeConfig?.enabled?", "EKS Auto Mode"),
        ("controlPlaneScalingConfig?.tier?", "a provisioned control plane"),
    ):
        for where, value in find(cluster.inputs, path):
            if value not in (False, "standard"):
                yield f"{where}: {what} has no price here; leave it out, or price it in policies/cost/pricing.py"


def template_of(group: Declared, resources: Sequence[Declared]) -> Declared | None:
    """The launch template that a node group's nodes start from."""
    return next(
        (each for each in of_type(resources, LAUNCH_TEMPLATE) if refers(group, "launchTemplate", each, by=())), None
    )


def types_of(group: Declared, resources: Sequence[Declared]) -> Sequence[Any] | str:
    """The instance types of a node group, its own or its launch template's: `UNKNOWN` in them, or instead of them."""
    types = group.inputs.get("instanceTypes")
    if types:
        return types if types == UNKNOWN else list(types)
    template = template_of(group, resources)
    return [template.inputs.get("instanceType") if template else None]


def _node_group(group: Declared, month: Month) -> Iterator[Found]:
    scaling, types = group.inputs.get("scalingConfig"), types_of(group, month.resources)
    if not all(types) or not scaling:
        yield "has no price while it does not say its instanceTypes and its scalingConfig: set them"
        return
    low, high = (UNKNOWN, UNKNOWN) if scaling == UNKNOWN else (scaling.get("minSize"), scaling.get("maxSize"))
    if None in (low, high):
        yield "has no price: set scalingConfig.minSize and maxSize"
        return
    notes = []
    if UNKNOWN in (low, high):
        low, high = 0 if low == UNKNOWN else low, limits().cost.max_nodes if high == UNKNOWN else high
        notes = [NOT_KNOWN]
    if types == UNKNOWN or UNKNOWN in types:
        types = [*(each for each in types if types != UNKNOWN and each != UNKNOWN), _dearest("")]
        notes = [NOT_KNOWN]
    spot = group.inputs.get("capacityType") == "SPOT"
    gpus = max(map(gpus_of, types))
    usual = month.gpu_share(float(high) * gpus) / gpus if gpus else float(low)
    count = Amount.of(float(low), usual, float(high))
    what = ", ".join([f"{count} of {' or '.join(types)}{' (spot)' if spot else ''}", *notes])
    yield from _instances(group, types, count.times(HOURS), what, SPOT if spot else ON_DEMAND)
    yield from _volumes(group, template_of(group, month.resources), count)


def _node_pool(pool: Declared, month: Month) -> Iterator[Found]:
    """Karpenter's nodes: none at least, at most as many of the dearest type as the limit of GPUs allows."""
    types, limit = pool_types(pool), pool_limit(pool)
    if not types or not limit:
        yield "has no price: require node.kubernetes.io/instance-type, and limit nvidia.com/gpu"
        return
    notes = []
    if types == UNKNOWN or UNKNOWN in types:
        types, notes = [_dearest("")], [NOT_KNOWN]
    if limit == UNKNOWN:
        limit, notes = limits().cost.max_nodes * max(map(gpus_of, types)), [NOT_KNOWN]
    nodes = {}
    for each in types:
        if each not in PRICES["instances"] or not gpus_of(each):
            yield f"instance type {each} has no price and GPUs: add both to `instances` in policies/cost/prices.json"
            return
        nodes[each] = float(limit) // gpus_of(each)
    spot = _asked(pool).get("karpenter.sh/capacity-type") == ["spot"]
    usd = {each: PRICES["instances"][each]["usd"] for each in types}
    dearest = max(types, key=lambda each: nodes[each] * usd[each])
    usual = month.gpu_share(float(limit))
    per_gpu = min(usd[each] / gpus_of(each) for each in types) * (SPOT.expected if spot else 1)
    most = nodes[dearest]
    what = ", ".join([f"0 to {most:g} of {' or '.join(types)}{' (spot)' if spot else ''}", *notes])
    paid = Amount.of(0, usual * per_gpu * HOURS, most * usd[dearest] * HOURS)
    on = PRICES["instances"][dearest]["date"]
    yield Line(pool.name, pool.urn, what, paid.floor, paid.expected, paid.ceiling, on)
    yield from _pool_disks(pool, month, Amount.of(0, usual / max(map(gpus_of, types)), max(nodes.values())))


def pool_types(pool: Declared) -> Any:
    """The instance types that a pool of Karpenter starts."""
    return _asked(pool).get("node.kubernetes.io/instance-type")


def pool_limit(pool: Declared) -> Any:
    """How many GPUs a pool of Karpenter may have."""
    stated = next((value for _, value in find(pool.inputs, "spec.limits")), None)
    return stated.get("nvidia.com/gpu") if isinstance(stated, Mapping) else stated


def _asked(pool: Declared) -> dict[str, Any]:
    return {
        each["key"]: each.get("values")
        for _, each in find(pool.inputs, "spec.template.spec.requirements?.*?")
        if isinstance(each, Mapping) and each.get("operator") == "In"
    }


def gpus_at_most(pool: Declared, resources: Sequence[Declared]) -> float | None:
    """How many GPUs a node group, or a pool of Karpenter, has at its largest; None where only `pulumi up` will know."""
    if pool.type == NODE_POOL:
        limit = pool_limit(pool) or 0
        return None if limit == UNKNOWN else float(limit)
    types, scaling = types_of(pool, resources), pool.inputs.get("scalingConfig") or {}
    most = UNKNOWN if scaling == UNKNOWN else scaling.get("maxSize") or 0
    if types == UNKNOWN or UNKNOWN in (*types, most):
        return None
    return float(most) * max((gpus_of(str(each)) for each in types), default=0)


def _pool_disks(pool: Declared, month: Month, nodes: Amount) -> Iterator[Found]:
    name = next((value for _, value in find(pool.inputs, "spec.template.spec.nodeClassRef.name")), None)
    for node_class in month.of(NODE_CLASS):
        if [value for _, value in find(node_class.inputs, "metadata.name")] != [name]:
            continue
        for where, size in find(node_class.inputs, "spec.blockDeviceMappings?.*?.ebs.volumeSize"):
            if size == UNKNOWN or not str(size).endswith("Gi"):
                yield Unknown(where) if size == UNKNOWN else f"{where} is {size}: give it in Gi"
            else:
                gib = nodes.times(float(str(size).removesuffix("Gi")))
                yield _line(pool, "ebs-gp3", gib, f"{gib} GB-month of gp3 disks")


def _volumes(group: Declared, template: Declared | None, count: Amount) -> Iterator[Found]:
    """The disks of a group's nodes: what its launch template says, or else 20 GiB of gp2, EKS's default."""
    mappings = template.inputs.get("blockDeviceMappings") if template else None
    for mapping in mappings or [{"ebs": {"volumeType": "gp2", "volumeSize": group.inputs.get("diskSize", 20)}}]:
        volume: Any = UNKNOWN if mapping == UNKNOWN else mapping.get("ebs", {})
        if volume == UNKNOWN or UNKNOWN in volume.values():
            yield Unknown("launchTemplate.blockDeviceMappings")
            continue
        yield from _disk(group, volume.get("volumeType", "gp2"), volume.get("volumeSize", 20), volume, count)


def _disk(resource: Declared, style: str, size: float, volume: Mapping[str, Any], count: Amount) -> Iterator[Found]:
    if f"ebs-{style}" not in PRICES["prices"]:
        yield f"volume type {style} has no price: use gp3, or add ebs-{style} to policies/cost/prices.json"
        return
    amounts = {f"ebs-{style}": size}
    if style == "gp3":
        amounts["ebs-gp3-iops"] = max(0, volume.get("iops", 3000) - 3000)
        amounts["ebs-gp3-throughput"] = max(0, volume.get("throughput", 125) - 125)
    for price, each in amounts.items():
        if each:
            total = count.times(each)
            yield _line(resource, price, total, f"{total} {PRICES['prices'][price]['per']} of {style} disks")


def _volume(volume: Declared, _: Month) -> Iterator[Found]:
    style, size = volume.inputs.get("type", "gp2"), volume.inputs.get("size")
    if not isinstance(size, int | float) or style == UNKNOWN:
        yield Unknown("size") if UNKNOWN in (size, style) else "has no price without a size: set size"
        return
    yield from _disk(volume, style, size, volume.inputs, Amount.fixed(1))


def _machine(machine: Declared, _: Month) -> Iterator[Found]:
    kind = machine.inputs.get("instanceType")
    if not given(kind):
        yield "has no price without an instance type: set instanceType"
        return
    note = f", {NOT_KNOWN}" if kind == UNKNOWN else ""
    kind = _dearest("") if kind == UNKNOWN else str(kind)
    yield from _instances(machine, [kind], Amount.fixed(HOURS), f"{kind}, all month{note}")


# --- endpoints ------------------------------------------------------------------------------------------------------


def _endpoint(endpoint: Declared, month: Month) -> Iterator[Found]:
    configuration = configuration_of(endpoint, month.resources)
    if configuration is None:
        yield "runs a configuration that is not in this stack, so its instances have no price: make both in one stack"
        return
    variants = variants_of(configuration)
    for variant in variants:
        if variant == UNKNOWN or variant.get("serverlessConfig") == UNKNOWN:
            yield Unknown("productionVariants")
        elif variant.get("serverlessConfig"):
            yield from _serverless(endpoint, variant["serverlessConfig"], month)
        else:
            yield from _variant(endpoint, variant, month, alone=len(variants) == 1)


def _variant(endpoint: Declared, variant: Mapping[str, Any], month: Month, *, alone: bool) -> Iterator[Found]:
    kind = variant.get("instanceType")
    if not given(kind):
        yield "has no price: set instanceType of every variant"
        return
    notes = [NOT_KNOWN] if kind == UNKNOWN else []
    kind = _dearest("ml.") if kind == UNKNOWN else str(kind)
    sized = sizes_of(endpoint, variant, month, alone=alone)
    if UNKNOWN in (sized.low, sized.high):
        notes = [NOT_KNOWN]
    count = sized.instances(month.usage, limits().cost.max_endpoint_instances)
    what = ", ".join([f"{count} of {kind}", *notes])
    yield from _instances(endpoint, [kind], count.times(HOURS), what)
    if (disk := variant.get("volumeSizeInGb")) and disk != UNKNOWN:
        total = count.times(disk)
        yield _line(endpoint, "sagemaker-volume", total, f"{total} GB-month of disks")


@dataclass(frozen=True)
class Sizes:
    """How many instances a variant may have, and by what it grows."""

    low: Any
    high: Any
    initial: int
    actions: Sequence[Declared] = ()
    """What changes its bounds with the clock."""
    per_instance: float | None = None
    """Requests a minute that one instance gets before another is added; None: it is counted by their length."""
    scaled: bool = False

    def instances(self, usage: Usage, at_most: int) -> Amount:
        """The instances of a month on average. `at_most` stands for what is not known yet."""
        low = self.low if isinstance(self.low, int | float) else 0
        high = self.high if isinstance(self.high, int | float) else at_most
        spans = bounds(low, high, [each.inputs for each in self.actions])
        busy = usage.busy_hours_per_day / 24
        needed = self.needed(usage) if self.scaled else self.initial
        floor, usual, ceiling = 0.0, 0.0, 0.0
        for span in spans:
            most = max(span.high, span.low, self.initial)
            at_work = min(max(needed, span.low), most)
            floor += span.share * span.low
            usual += span.share * (busy * at_work + (1 - busy) * span.low)
            ceiling += span.share * most
        return Amount.of(round(floor, 6), round(usual, 6), round(ceiling, 6))

    def needed(self, usage: Usage) -> int:
        """Instances that the day's requests need while they come."""
        a_minute = usage.requests_per_day / usage.busy_hours_per_day / 60
        load = a_minute / self.per_instance if self.per_instance else a_minute / 60 * usage.seconds_per_request
        return math.ceil(min(load, 1e6))


def sizes_of(endpoint: Declared, variant: Mapping[str, Any], month: Month, *, alone: bool) -> Sizes:
    """How many instances a variant runs: its initial count, or as its autoscaling target or managed scaling says."""
    initial = variant.get("initialInstanceCount", 1)
    initial = initial if isinstance(initial, int | float) else 1
    scaling = variant.get("managedInstanceScaling") or {}
    target = scaling_target(endpoint, variant, month.resources, alone=alone)
    if target is not None:
        low, high = target.inputs.get("minCapacity"), target.inputs.get("maxCapacity")
        return Sizes(
            UNKNOWN if low is None else low,
            UNKNOWN if high is None else high,
            int(initial),
            _of_target(target, month.of(SCHEDULED_ACTION)),
            _requests_per_instance(_of_target(target, month.of(SCALING_POLICY))),
            scaled=True,
        )
    if scaling == UNKNOWN:
        return Sizes(0, UNKNOWN, int(initial), scaled=True)
    if scaling.get("status") == "ENABLED":
        low, high = scaling.get("minInstanceCount", initial), scaling.get("maxInstanceCount", initial)
        return Sizes(low, high, int(initial), scaled=True)
    return Sizes(initial, initial, int(initial))


def _of_target(target: Declared, others: Sequence[Declared]) -> list[Declared]:
    """The policies, or the scheduled actions, that are about an autoscaling target."""
    where = target.inputs.get("resourceId")
    return [
        each
        for each in others
        if target.urn in each.property_dependencies.get("resourceId", ())
        or (given(where) and where != UNKNOWN and each.inputs.get("resourceId") == where)
    ]


def _requests_per_instance(policies: Sequence[Declared]) -> float | None:
    for each in policies:
        tracked = each.inputs.get("targetTrackingScalingPolicyConfiguration") or {}
        if tracked == UNKNOWN:
            continue
        metric = tracked.get("predefinedMetricSpecification") or {}
        if metric != UNKNOWN and metric.get("predefinedMetricType") == "SageMakerVariantInvocationsPerInstance":
            value = tracked.get("targetValue")
            return float(value) if isinstance(value, int | float) and value > 0 else None
    return None


def _serverless(endpoint: Declared, size: Mapping[str, Any], month: Month) -> Iterator[Found]:
    """Nothing while nobody asks; at most, every request that it takes at once takes all month."""
    memory, most, kept = size.get("memorySizeInMb"), size.get("maxConcurrency"), size.get("provisionedConcurrency") or 0
    if memory is None or most is None:
        yield "a serverless variant has no price without a size: set memorySizeInMb and maxConcurrency"
        return
    notes = [NOT_KNOWN] if UNKNOWN in (memory, most, kept) else []
    memory = limits().cost.serverless_memory_mb if memory == UNKNOWN else memory
    most = limits().cost.serverless_concurrency if most == UNKNOWN else most
    kept = most if kept == UNKNOWN else kept
    at_once = month.usage.requests_per_day * month.usage.seconds_per_request / 86400
    used = Amount.of(kept, kept + at_once, max(most, kept)).times(memory / 1024 * HOURS)
    what = ", ".join([f"{kept:g} to {most:g} requests at once, {memory:g} MB each", *notes])
    yield _line(endpoint, "sagemaker-serverless", used, what)


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


# --- jobs -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    """What one step of a training pipeline, or one training job, runs on."""

    name: str
    instance_type: str
    instances: float
    max_hours: float
    """Its stopping condition; a day where it says none, as SageMaker does."""
    keep_alive_hours: float
    """How long its instances wait afterwards in a warm pool."""
    spot: bool
    jobs: float = 1
    """How many of them a tuning starts."""
    trains: bool = False
    """Whether it makes a model, and so may go on from a checkpoint."""


def jobs_of(definition: str) -> Iterator[Job]:
    """The jobs of a pipeline's definition, those behind its conditions too. Raises ValueError where it is no JSON."""
    document = json.loads(definition)
    defaults = {f"Parameters.{each['Name']}": each.get("DefaultValue") for each in document.get("Parameters", ())}

    def read(value: Any) -> Any:
        return defaults.get(value["Get"]) if isinstance(value, Mapping) and "Get" in value else value

    def walk(steps: Sequence[Mapping[str, Any]]) -> Iterator[Job]:
        for step in steps:
            arguments = step.get("Arguments", {})
            for branch in ("IfSteps", "ElseSteps"):
                yield from walk(arguments.get(branch, ()))
            yield from _job(str(step.get("Name", "")), arguments, read)

    yield from walk(document.get("Steps", ()))


def _job(name: str, arguments: Mapping[str, Any], read: Callable[[Any], Any]) -> Iterator[Job]:
    tuning = arguments.get("HyperParameterTuningJobConfig", {}).get("ResourceLimits", {})
    for each in (arguments, arguments.get("TrainingJobDefinition", {})):
        cluster = (
            each.get("ResourceConfig")
            or each.get("ProcessingResources", {}).get("ClusterConfig")
            or each.get("TransformResources")
        )
        if not cluster:
            continue
        stop = each.get("StoppingCondition", {})
        yield Job(
            name,
            str(read(cluster.get("InstanceType"))),
            float(read(cluster.get("InstanceCount")) or 1),
            float(read(stop.get("MaxRuntimeInSeconds")) or 86400) / 3600,
            float(read(cluster.get("KeepAlivePeriodInSeconds")) or 0) / 3600,
            read(each.get("EnableManagedSpotTraining")) is True,
            float(read(tuning.get("MaxNumberOfTrainingJobs")) or 1),
            "ResourceConfig" in each,
        )


def _job_line(resource: Declared, job: Job, runs: Amount, hours: float) -> Iterator[Found]:
    """`hours`: how long the job is expected to take."""
    each = job.instances * job.jobs
    expected = min(hours, job.max_hours)
    used = runs.times(0, (expected + job.keep_alive_hours) * each, (job.max_hours + job.keep_alive_hours) * each)
    warm = f", then {job.keep_alive_hours:g} h warm" if job.keep_alive_hours else ""
    spot = " (spot)" if job.spot else ""
    what = f"{job.name}: {runs} runs of {each:g} {job.instance_type}{spot} for up to {job.max_hours:g} h{warm}"
    yield from _instances(resource, [job.instance_type], used, what, SPOT if job.spot else ON_DEMAND)


def _pipeline(pipeline: Declared, month: Month) -> Iterator[Found]:
    definition = pipeline.inputs.get("pipelineDefinition")
    if definition == UNKNOWN:
        yield Unknown("pipelineDefinition")
        return
    try:
        jobs = list(jobs_of(str(definition)))
    except (ValueError, TypeError, AttributeError) as error:
        yield f"pipelineDefinition is no definition of a pipeline ({error}), so its jobs have no price: mend it"
        return
    stated = month.usage.training_runs_per_month
    runs = _stated(0, stated, PRICES["training"]["ceiling_runs"])
    for job in jobs:
        yield from _job_line(pipeline, job, runs, month.usage.training_hours_per_step)


def _training_job(training: Declared, month: Month) -> Iterator[Found]:
    resources, stop = training.inputs.get("resourceConfig") or {}, training.inputs.get("stoppingCondition") or {}
    if UNKNOWN in (resources, stop) or UNKNOWN in (*resources.values(), *stop.values()):
        yield Unknown("resourceConfig")
        return
    kind = resources.get("instanceType")
    if not kind:
        yield "has no price without an instance type: set resourceConfig.instanceType"
        return
    job = Job(
        "training",
        kind,
        resources.get("instanceCount") or 1,
        (stop.get("maxRuntimeInSeconds") or 86400) / 3600,
        (resources.get("keepAlivePeriodInSeconds") or 0) / 3600,
        training.inputs.get("enableManagedSpotTraining") is True,
    )
    yield from _job_line(training, job, Amount.fixed(1), month.usage.training_hours_per_step)


def _notebook(notebook: Declared, month: Month) -> Iterator[Found]:
    kind, disk = notebook.inputs.get("instanceType"), notebook.inputs.get("volumeSize") or 5
    note = f", {NOT_KNOWN}" if kind == UNKNOWN else ""
    kind = _dearest("ml.") if kind == UNKNOWN else str(kind)
    hours = Amount(0, month.usage.notebook_hours_per_day * DAYS, HOURS)
    yield from _instances(notebook, [kind], hours, f"notebook on {kind}{note}")
    if disk != UNKNOWN:
        yield _line(notebook, "sagemaker-volume", Amount.fixed(disk), f"{disk:g} GB-month of disk")


# --- what is left ---------------------------------------------------------------------------------------------------


def _interface_endpoint(endpoint: Declared, month: Month) -> Iterator[Found]:
    style, subnets = endpoint.inputs.get("vpcEndpointType", "Gateway"), endpoint.inputs.get("subnetIds")
    if UNKNOWN in (style, subnets):
        yield Unknown("subnetIds")
    elif style == "Interface":
        hours = HOURS * len(subnets or ())
        yield _line(endpoint, "vpc-endpoint", Amount.fixed(hours), f"interface in {len(subnets or ())} zones")
        among = sum(each.inputs.get("vpcEndpointType") == "Interface" for each in month.of(endpoint.type))
        data = _stated(0, month.usage.gb_through_endpoints / among, PRICES["vpc_endpoint_ceiling_gb"])
        yield _line(endpoint, "vpc-endpoint-data", data, f"data through it ({data.ceiling:g} GB)")
    elif style != "Gateway":
        yield f"a VPC endpoint of type {style} has no price: price it in policies/cost/pricing.py"


def _key(key: Declared, _: Month) -> Iterator[Found]:
    versions = 3 if key.inputs.get("enableKeyRotation") else 1
    what = "key" + (", later with its first two rotations" if versions > 1 else "")
    yield _line(key, "kms-key", Amount(1, 1, versions), what)


def _alarm(alarm: Declared, _: Month) -> Iterator[Found]:
    queries = alarm.inputs.get("metricQueries") or [{"metric": alarm.inputs}]
    if queries == UNKNOWN:
        yield Unknown("metricQueries")
        return
    metrics = [each["metric"] for each in queries if each != UNKNOWN and each.get("metric")]
    periods = [metric.get("period") for metric in metrics if metric != UNKNOWN]
    quick = any(isinstance(period, int | float) and period < 60 for period in periods)
    price = "cloudwatch-alarm-high-resolution-metric" if quick else "cloudwatch-alarm-metric"
    yield _line(alarm, price, Amount.fixed(len(metrics)), f"alarm on {len(metrics)} metrics")


def _function(function: Declared, month: Month) -> Iterator[Found]:
    memory, seconds = function.inputs.get("memorySize", 128), function.inputs.get("timeout", 3)
    schedules = [each for each in month.of(SCHEDULE) if function.urn in each.property_dependencies.get("target", ())]
    expressions = [str(each.inputs.get("scheduleExpression")) for each in schedules]
    if UNKNOWN in expressions:
        yield Unknown("scheduleExpression")
        return
    notes = [NOT_KNOWN] if UNKNOWN in (memory, seconds) else []
    memory = limits().cost.function_memory_mb if memory == UNKNOWN else memory
    seconds = limits().cost.function_seconds if seconds == UNKNOWN else seconds
    if function.inputs.get("snapStart"):
        yield "SnapStart has no price: leave it out, or price it in policies/cost/pricing.py"
    assumed = PRICES["unscheduled_invocations"]
    if expressions:
        runs = Amount.fixed(sum(map(runs_per_month, expressions)))
        yield _line(function, "scheduler-invocations", runs.times(1e-6), f"{runs.ceiling:,.0f} scheduled runs")
        at_most = seconds
    else:
        runs = _stated(0, month.usage.function_runs_per_day * DAYS, assumed["ceiling"])
        # What has minutes for the largest case needs seconds for the usual one.
        at_most = min(seconds, max(assumed["seconds"], month.usage.seconds_per_run))
    yield _line(function, "lambda-requests", runs.times(1e-6), f"{runs} requests")
    usual = min(month.usage.seconds_per_run, at_most)
    used = runs.times(0, usual * memory / 1024, at_most * memory / 1024)
    price = "lambda-duration-arm64" if "arm64" in (function.inputs.get("architectures") or ()) else "lambda-duration"
    yield _line(function, price, used, ", ".join([f"{runs} runs of {at_most:g} s and {memory:g} MB", *notes]))
    yield from _batch(function, month)


def _batch(function: Declared, month: Month) -> Iterator[Found]:
    """The jobs that a batch prediction's function starts, one for each file."""
    for where, text in find(function.inputs, f"environment?.variables?.{BATCH}?"):
        if text == UNKNOWN:
            yield Unknown(where)
            continue
        told = json.loads(text).get("resources", {})
        assumed = PRICES["batch"]
        hours = _stated(0, month.usage.batch_hours_per_month, assumed["ceiling_hours"])
        kind, count = str(told.get("InstanceType")), told.get("InstanceCount", 1)
        what = f"batch prediction on {count:g} {kind} ({hours.ceiling:g} hours of jobs)"
        yield from _instances(function, [kind], hours.times(count), what)


def _kept_warm(kept: Declared, month: Month) -> Iterator[Found]:
    """Lambda that waits: for each that is kept, its function's memory all month long."""
    count = kept.inputs.get("provisionedConcurrentExecutions")
    functions = [
        each for each in month.of(FUNCTION) if refers(kept, "functionName", each, by=("name", "functionName", "arn"))
    ]
    if not isinstance(count, int | float) or not functions:
        missing = "provisioned concurrency has no price without its function in this stack and a count: set both"
        yield Unknown("provisionedConcurrentExecutions") if count == UNKNOWN else missing
        return
    memory = functions[0].inputs.get("memorySize", 128)
    memory = limits().cost.function_memory_mb if memory == UNKNOWN else memory
    used = Amount.fixed(count * memory / 1024 * HOURS * 3600)
    yield _line(kept, "lambda-provisioned", used, f"{count:g} kept warm, {memory:g} MB each")


def _table(table: Declared, month: Month) -> Iterator[Found]:
    """DynamoDB: what is provisioned all month long; on demand, what is read and written, at most as it is capped."""
    provisioned = table.inputs.get("billingMode", "PROVISIONED") == "PROVISIONED"
    caps = table.inputs.get("onDemandThroughput") or {}
    among = month.count[TABLE]
    for what, verb in (("reads", "read"), ("writes", "write")):
        capacity, cap = f"{verb}Capacity", f"max{verb.capitalize()}RequestUnits"
        units = table.inputs.get(capacity) if provisioned else None if caps == UNKNOWN else caps.get(cap)
        if units == UNKNOWN or (not provisioned and caps == UNKNOWN):
            yield Unknown(capacity if provisioned else "onDemandThroughput")
            continue
        if provisioned:
            least, most = _capacity(table, what, float(units or 1), month)
            hours = Amount(least * HOURS, least * HOURS, most * HOURS)
            yield _line(table, f"dynamodb-{verb}-capacity", hours, f"{Amount(least, least, most)} {what} a second")
            continue
        stated = getattr(month.usage, f"table_{what}_per_day") * DAYS / 1e6 / among
        # A cap is by second; none means that nothing bounds it but the account's quota.
        at_most = units * HOURS * 3600 / 1e6 if units and units > 0 else PRICES["assumed_table_million_units"]
        used = Amount.of(0, stated, max(at_most, 0 if units and units > 0 else stated))
        yield _line(table, f"dynamodb-{what}", used, f"{what} ({used.ceiling:,.4g} million units)")
    gb = _stated(0, month.usage.table_gb / among, 10)
    yield _line(table, "dynamodb-storage", gb, f"items ({gb.ceiling:g} GB)")


def _capacity(table: Declared, what: str, units: float, month: Month) -> tuple[float, float]:
    """How much a provisioned table may read or write: as it says, or as its autoscaling target."""
    dimension = f"dynamodb:table:{what.capitalize().removesuffix('s')}CapacityUnits"
    for target in month.of(SCALABLE_TARGET):
        named = target.inputs.get("resourceId") == f"table/{table.inputs.get('name')}"
        linked = table.urn in target.property_dependencies.get("resourceId", ())
        if (named or linked) and target.inputs.get("scalableDimension") == dimension:
            low, high = target.inputs.get("minCapacity"), target.inputs.get("maxCapacity")
            if isinstance(low, int | float) and isinstance(high, int | float):
                return min(low, units), max(high, units)
    return units, units


def _feature_group(group: Declared, _: Month) -> Iterator[Found]:
    for path, usual, what in (
        ("onlineStoreConfig?.storageType?", "Standard", "in-memory storage"),
        ("throughputConfig?.throughputMode?", "OnDemand", "provisioned throughput"),
    ):
        for where, value in find(group.inputs, path):
            if value not in (usual, UNKNOWN):
                yield f"{where}: {what} has no price; set {usual!r}, or price it in policies/cost/pricing.py"


def _parameter(parameter: Declared, _: Month) -> Iterator[Found]:
    if parameter.inputs.get("tier", "Standard") != "Standard":
        yield "a parameter of this tier has no price: set tier to 'Standard'"


def _kubernetes_service(service: Declared, _: Month) -> Iterator[Found]:
    for where, style in find(service.inputs, "spec.type?"):
        if style == "LoadBalancer":
            yield f"{where}: a load balancer has no price; use ClusterIP, or price it in policies/cost/pricing.py"


def _schedule(schedule: Declared, _: Month) -> Iterator[Found]:
    """Priced with the function that it calls."""
    yield from ()


def _stage(stage: Declared, _: Month) -> Iterator[Found]:
    """Requests are priced with their API; a cache of its own would cost by the hour."""
    for where, enabled in find(stage.inputs, "cacheClusterEnabled?"):
        if enabled:
            yield f"{where}: a stage's cache has no price here; leave it out, or price it in policies/cost/pricing.py"


def _component(made: Declared, _: Month) -> Iterator[Found]:
    """Cloud control makes anything: of that, an inference component runs on instances that are priced."""
    if made.inputs.get("typeName") != "AWS::SageMaker::InferenceComponent":
        yield f"{made.inputs.get('typeName')} has no price: price it in policies/cost/pricing.py"


BY_SIZE: Mapping[str, Pricing] = {
    CLUSTER: _cluster,
    ENDPOINT: _endpoint,
    FUNCTION: _function,
    NODE_GROUP: _node_group,
    NODE_POOL: _node_pool,
    NOTEBOOK: _notebook,
    PIPELINE: _pipeline,
    SCHEDULE: _schedule,
    TABLE: _table,
    TRAINING_JOB: _training_job,
    "aws:apigateway/stage:Stage": _stage,
    "aws:cloudcontrol/resource:Resource": _component,
    "aws:cloudwatch/metricAlarm:MetricAlarm": _alarm,
    "aws:ebs/volume:Volume": _volume,
    "aws:ec2/instance:Instance": _machine,
    "aws:ec2/vpcEndpoint:VpcEndpoint": _interface_endpoint,
    "aws:kms/key:Key": _key,
    "aws:lambda/provisionedConcurrencyConfig:ProvisionedConcurrencyConfig": _kept_warm,
    "aws:sagemaker/featureGroup:FeatureGroup": _feature_group,
    "aws:ssm/parameter:Parameter": _parameter,
    "kubernetes:core/v1:Service": _kubernetes_service,
}
