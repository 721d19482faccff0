"""The cheapest change that brings a stack within its budget: the one that costs the least of what it can do.

Kinds of changes, in the order in which they are tried; a later kind only where all of the earlier ones together are not
enough:

1. what loses nothing: gp3 for gp2, no extended support for an old cluster;
2. headroom: a maximum comes down, but not below what the stated use needs;
3. a schedule: an endpoint without one keeps to its minimum from 19:00 to 7:00 and at weekends;
4. smaller instances: the next size of the same family, with as many GPUs;
5. capacity: a maximum comes down below what the stated use needs.

Within a kind, the one change that is enough and takes the smallest share; otherwise the largest savings first. Whatever
turns out not to be needed is dropped again. Each proposal is estimated anew, so what is proposed does fit. Spot is not
among them: it lowers what is expected, and may still reach the full price, so it never lowers the ceiling.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from policies.cost.prices import PRICES, gpus_of
from policies.cost.pricing import (
    SCHEDULED_ACTION,
    Month,
    configuration_of,
    estimate,
    gpus_at_most,
    pool_limit,
    pool_types,
    scaling_target,
    sizes_of,
    variants_of,
)
from policies.cost.usage import Usage
from policies.resource_types import CLUSTER, ENDPOINT, LAUNCH_TEMPLATE, NODE_GROUP, NODE_POOL
from policies.rules import UNKNOWN, Declared, DeclaredResource, Props

WORKING_HOURS: Final = "cron(0 7 ? * MON-FRI *)", "cron(0 19 ? * MON-FRI *)"


@dataclass(frozen=True)
class Change:
    """One thing to set otherwise."""

    what: str
    """What to set, where, from what, to what."""
    resources: Sequence[Declared]
    """The whole stack with it."""
    lost: float
    """The share of the capacity that it takes, 0 to 1."""


@dataclass(frozen=True)
class Fit:
    """The changes that bring a stack within a budget, and what it then costs at most."""

    changes: tuple[str, ...]
    ceiling_usd: float
    fits: bool
    """Whether they are enough; otherwise they are all there is to change."""

    def __str__(self) -> str:
        if not self.changes:
            return "Nothing here can be made smaller: raise the budget"
        said = "; ".join(self.changes)
        if self.fits:
            return f"The least that would fit: {said}. Then it may cost ${self.ceiling_usd:,.0f}"
        return f"Not even this is enough: {said}. Then it may still cost ${self.ceiling_usd:,.0f}: raise the budget"


Cost = Callable[[Sequence[Declared]], float]
Kind = Callable[[Month], Iterator[Callable[[Cost, float], Change | None]]]
"""From a stack to its possible changes; each looks for its smallest form that keeps to a limit, or takes all it can."""


def cheapest_fit(resources: Sequence[Declared], usage: Usage, tags: Mapping[str, str], limit: float) -> Fit:
    """The changes after which these resources cost no more than `limit` dollars a month at most."""

    def cost(changed: Sequence[Declared]) -> float:
        return sum(line.ceiling_usd for line in estimate(changed, usage, tags))

    made: list[tuple[Kind, str]] = []
    now = list(resources)
    for kind in KINDS:
        changes = [change(cost, limit) for change in kind(Month(now, usage))]
        enough = [each for each in changes if each and cost(each.resources) <= limit]
        if enough:
            best = min(enough, key=lambda each: (each.lost, cost(each.resources)))
            return _result([*made, (kind, best.what)], best.resources, cost, limit, resources, usage)
        # None is enough alone: the largest saving first, each on top of those before.
        while True:
            tried = [each for change in kind(Month(now, usage)) if (each := change(cost, limit))]
            tried = [each for each in tried if cost(each.resources) < cost(now) - 0.005]
            if not tried:
                break
            best = min(tried, key=lambda each: cost(each.resources))
            made.append((kind, best.what))
            now = list(best.resources)
            if cost(now) <= limit:
                return _result(made, now, cost, limit, resources, usage)
    return Fit(tuple(what for _, what in made), cost(now), fits=False)


def _result(
    made: list[tuple[Kind, str]],
    final: Sequence[Declared],
    cost: Cost,
    limit: float,
    resources: Sequence[Declared],
    usage: Usage,
) -> Fit:
    """The changes without those that the last ones made needless."""
    for index in range(len(made) - 1):
        without = _replayed(made[:index] + made[index + 1 :], cost, limit, resources, usage)
        if without and cost(without[1]) <= limit:
            return _result(without[0], without[1], cost, limit, resources, usage)
    return Fit(tuple(what for _, what in made), cost(final), fits=True)


def _replayed(
    made: Sequence[tuple[Kind, str]], cost: Cost, limit: float, resources: Sequence[Declared], usage: Usage
) -> tuple[list[tuple[Kind, str]], Sequence[Declared]] | None:
    """The same changes made again from the beginning; None where one cannot be made without the one left out."""
    now, done = list(resources), []
    for kind, what in made:
        changes = [each for change in kind(Month(now, usage)) if (each := change(cost, limit))]
        same = [each for each in changes if _about(each.what) == _about(what)]
        if not same:
            return None
        now = list(same[0].resources)
        done.append((kind, same[0].what))
    return done, now


def _about(what: str) -> str:
    return what.partition(" from ")[0]


def _with(resources: Sequence[Declared], *changed: DeclaredResource) -> list[Declared]:
    new: dict[str, Declared] = {each.urn: each for each in changed}
    return [*(new.pop(each.urn, each) for each in resources), *new.values()]


def _part(resource: Declared, inputs: Props | None = None) -> DeclaredResource:
    given = resource.inputs if inputs is None else inputs
    return DeclaredResource(
        resource.type, resource.name, resource.urn, given, resource.protect, resource.property_dependencies
    )


def _set(value: Any, path: str, new: Any) -> Any:
    """`value` with `new` at a path of keys and indices: `spec.limits`, `productionVariants.0.instanceType`."""
    step, _, rest = path.partition(".")
    if isinstance(value, list):
        index = int(step)
        return [(_set(each, rest, new) if rest else new) if at == index else each for at, each in enumerate(value)]
    inner = _set(value.get(step) or {}, rest, new) if rest else new
    return {**value, step: inner}


def _fixed(what: str, resources: Sequence[Declared], lost: float) -> Callable[[Cost, float], Change]:
    return lambda cost, limit: Change(what, resources, lost)


# --- 1. what loses nothing --------------------------------------------------------------------------------------------


def _needless(month: Month) -> Iterator[Callable[[Cost, float], Change | None]]:
    for cluster in month.of(CLUSTER):
        if (cluster.inputs.get("upgradePolicy") or {}) != {"supportType": "STANDARD"}:
            changed = _part(cluster, {**cluster.inputs, "upgradePolicy": {"supportType": "STANDARD"}})
            what = f"set upgradePolicy.supportType of {cluster.name} to STANDARD"
            yield _fixed(what, _with(month.resources, changed), 0)
    for template in month.of(LAUNCH_TEMPLATE):
        disks = template.inputs.get("blockDeviceMappings")
        if not isinstance(disks, list) or any(each == UNKNOWN for each in disks):
            continue
        better = [_as_gp3(each) for each in disks]
        if better != disks:
            changed = _part(template, {**template.inputs, "blockDeviceMappings": better})
            yield _fixed(f"set volumeType of {template.name}'s disks to gp3", _with(month.resources, changed), 0)


def _as_gp3(mapping: Mapping[str, Any]) -> Mapping[str, Any]:
    disk = mapping.get("ebs")
    if not isinstance(disk, Mapping) or disk.get("volumeType", "gp2") != "gp2":
        return mapping
    return {**mapping, "ebs": {**disk, "volumeType": "gp3"}}


# --- 2. and 5. maxima -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Knob:
    """A maximum that can be set lower."""

    what: str
    """`scalingConfig.maxSize of gpus`, and what the stack's YAML calls it."""
    now: int
    needed: int
    """What the stated use takes."""
    least: int
    parts: Callable[[int], Sequence[DeclaredResource]]
    """The resources that change when it is set."""
    step: int = 1
    """By how many it goes down: a node of four GPUs takes all four with it."""


def knobs(month: Month) -> Iterator[Knob]:
    """Every maximum of a stack that is known and could be lower."""
    for group in month.of(NODE_GROUP):
        yield from _of_group(group, month)
    for pool in month.of(NODE_POOL):
        yield from _of_pool(pool, month)
    for endpoint in month.of(ENDPOINT):
        yield from _of_endpoint(endpoint, month)


def _of_group(group: Declared, month: Month) -> Iterator[Knob]:
    scaling = group.inputs.get("scalingConfig")
    if not isinstance(scaling, Mapping) or not _whole(scaling.get("maxSize"), scaling.get("minSize")):
        return
    gpus = gpus_at_most(group, month.resources) or 0
    most, least = int(scaling["maxSize"]), max(1, int(scaling["minSize"]))
    needed = math.ceil(month.gpu_share(gpus) / (gpus / most)) if gpus and most else least

    def parts(size: int) -> Sequence[DeclaredResource]:
        desired = scaling.get("desiredSize")
        sizes = {**scaling, "maxSize": size}
        if isinstance(desired, int | float):
            sizes["desiredSize"] = min(desired, size)
        return [_part(group, {**group.inputs, "scalingConfig": sizes})]

    yield Knob(f"scalingConfig.maxSize of {group.name} (max_size)", most, max(needed, least), least, parts)


def _of_pool(pool: Declared, month: Month) -> Iterator[Knob]:
    limit, types = pool_limit(pool), pool_types(pool)
    if not _whole(limit) or not types or types == UNKNOWN or UNKNOWN in types:
        return
    each_node = [gpus_of(kind) for kind in types]
    if not all(each_node):
        return
    least = min(each_node)
    needed = max(least, math.ceil(month.gpu_share(float(limit))))

    def parts(gpus: int) -> Sequence[DeclaredResource]:
        limits = {**pool.inputs["spec"]["limits"], "nvidia.com/gpu": gpus}
        return [_part(pool, _set(pool.inputs, "spec.limits", limits))]

    yield Knob(f"spec.limits nvidia.com/gpu of {pool.name} (max_gpus)", int(limit), needed, least, parts, step=least)


def _of_endpoint(endpoint: Declared, month: Month) -> Iterator[Knob]:
    configuration = configuration_of(endpoint, month.resources)
    variants = variants_of(configuration) if configuration else []
    produced = configuration.inputs.get("productionVariants") if configuration else None
    if configuration is None or not isinstance(produced, list):
        return
    for index, variant in enumerate(produced):
        if variant == UNKNOWN:
            continue
        where = f"productionVariants.{index}"
        if serverless := variant.get("serverlessConfig"):
            if serverless != UNKNOWN and _whole(serverless.get("maxConcurrency")):
                yield _of_serverless(configuration, where, serverless, month)
            continue
        sized = sizes_of(endpoint, variant, month, alone=len(variants) == 1)
        target = scaling_target(endpoint, variant, month.resources, alone=len(variants) == 1)
        if not sized.scaled or not _whole(sized.low, sized.high):
            continue
        scheduled = [_action_bounds(each) for each in sized.actions]
        least = max([int(sized.low), 1, *(int(low) for low, _ in scheduled if low is not None)])
        now = max([int(sized.high), sized.initial, *(int(high) for _, high in scheduled if high is not None)])
        # A blue/green canary needs two.
        needed = max(least, sized.needed(month.usage), min(2, now))

        def parts(
            count: int,
            *,
            target: Declared | None = target,
            actions: Sequence[Declared] = sized.actions,
            where: str = where,
            variant: Mapping[str, Any] = variant,
            configuration: Declared = configuration,
        ) -> Sequence[DeclaredResource]:
            initial = min(int(variant.get("initialInstanceCount") or 1), count)
            changed = _set(configuration.inputs, f"{where}.initialInstanceCount", initial)
            if target is None:
                return [_part(configuration, _set(changed, f"{where}.managedInstanceScaling.maxInstanceCount", count))]
            most = min(count, int(target.inputs["maxCapacity"]))
            return [
                _part(configuration, changed),
                _part(target, {**target.inputs, "maxCapacity": most}),
                *(_lower_action(each, count) for each in actions),
            ]

        name = f"maxCapacity of {target.name}" if target else f"maxInstanceCount of {configuration.name}"
        yield Knob(f"{name} (max_instances)", now, needed, least, parts)


def _of_serverless(configuration: Declared, where: str, size: Mapping[str, Any], month: Month) -> Knob:
    kept = size.get("provisionedConcurrency") or 0
    least = max(1, int(kept) if _whole(kept) else 1)
    usage = month.usage
    at_once = usage.requests_per_day * usage.seconds_per_request / usage.busy_hours_per_day / 3600

    def parts(count: int) -> Sequence[DeclaredResource]:
        path = f"{where}.serverlessConfig.maxConcurrency"
        return [_part(configuration, _set(configuration.inputs, path, count))]

    what = f"maxConcurrency of {configuration.name} (max_concurrency)"
    return Knob(what, int(size["maxConcurrency"]), max(least, math.ceil(at_once)), least, parts)


def _action_bounds(action: Declared) -> tuple[float | None, float | None]:
    told = action.inputs.get("scalableTargetAction") or {}
    if told == UNKNOWN:
        return None, None
    low, high = told.get("minCapacity"), told.get("maxCapacity")
    return (low if _whole(low) else None, high if _whole(high) else None)


def _lower_action(action: Declared, count: int) -> DeclaredResource:
    told = action.inputs.get("scalableTargetAction")
    if not isinstance(told, Mapping) or not _whole(told.get("maxCapacity")):
        return _part(action)
    return _part(
        action,
        {**action.inputs, "scalableTargetAction": {**told, "maxCapacity": min(count, int(told["maxCapacity"]))}},
    )


def _whole(*values: Any) -> bool:
    return all(isinstance(each, int | float) and float(each).is_integer() for each in values)


def _lowered(month: Month, least: Callable[[Knob], int]) -> Iterator[Callable[[Cost, float], Change | None]]:
    for knob in knobs(month):
        if math.ceil(least(knob) / knob.step) * knob.step < knob.now:
            yield _lowering(month, knob, least(knob))


def _lowering(month: Month, knob: Knob, least: int) -> Callable[[Cost, float], Change | None]:
    def stack(count: int) -> list[Declared]:
        return _with(month.resources, *knob.parts(count))

    def change(cost: Cost, limit: float) -> Change:
        lower, high = math.ceil(least / knob.step), math.ceil(knob.now / knob.step) - 1
        # A lower maximum never costs more: the largest one that fits is found by halves.
        while lower < high:
            middle = (lower + high + 1) // 2
            if cost(stack(middle * knob.step)) <= limit:
                lower = middle
            else:
                high = middle - 1
        low = lower * knob.step
        return Change(
            f"lower {knob.what} from {knob.now} to {low}", stack(low), (knob.now - low) / knob.now if knob.now else 0
        )

    return change


def _headroom(month: Month) -> Iterator[Callable[[Cost, float], Change | None]]:
    yield from _lowered(month, lambda knob: max(knob.needed, knob.least))


def _capacity(month: Month) -> Iterator[Callable[[Cost, float], Change | None]]:
    yield from _lowered(month, lambda knob: knob.least)


# --- 3. schedules -----------------------------------------------------------------------------------------------------


def _schedules(month: Month) -> Iterator[Callable[[Cost, float], Change | None]]:
    for endpoint in month.of(ENDPOINT):
        configuration = configuration_of(endpoint, month.resources)
        variants = variants_of(configuration) if configuration else []
        for variant in variants:
            if variant == UNKNOWN or variant.get("serverlessConfig"):
                continue
            sized = sizes_of(endpoint, variant, month, alone=len(variants) == 1)
            target = scaling_target(endpoint, variant, month.resources, alone=len(variants) == 1)
            if target is None or sized.actions or not _whole(sized.low, sized.high):
                continue
            low, high = int(sized.low), int(sized.high)
            if max(low, sized.initial) >= high:
                continue
            added = [
                replace(
                    _part(target),
                    type=SCHEDULED_ACTION,
                    name=f"{target.name}-hours-{number}",
                    urn=f"{target.urn}-hours-{number}",
                    inputs={
                        "resourceId": target.inputs.get("resourceId"),
                        "schedule": at,
                        "scalableTargetAction": {"minCapacity": low, "maxCapacity": most},
                    },
                    property_dependencies={"resourceId": [target.urn]},
                )
                for number, (at, most) in enumerate(zip(WORKING_HOURS, (high, low), strict=True))
            ]
            what = f"give {endpoint.name} a schedule: at most {low} from 19:00 to 7:00 and at weekends"
            yield _fixed(what, _with(month.resources, *added), 1 - 60 / 168)


# --- 4. smaller instances ---------------------------------------------------------------------------------------------


def smaller(instance_type: str) -> str | None:
    """The next smaller type of the family that has a price and as many GPUs: `g6.2xlarge` → `g6.xlarge`."""
    family = instance_type.rpartition(".")[0]
    same = {
        name: row["usd"]
        for name, row in PRICES["instances"].items()
        if name.rpartition(".")[0] == family and gpus_of(name) == gpus_of(instance_type) and "metal" not in name
    }
    own = PRICES["instances"].get(instance_type, {}).get("usd", 0)
    below = {name: usd for name, usd in same.items() if usd < own}
    return max(below, key=lambda name: below[name]) if below else None


def _smaller(month: Month) -> Iterator[Callable[[Cost, float], Change | None]]:
    for group in month.of(NODE_GROUP):
        types = group.inputs.get("instanceTypes")
        if isinstance(types, list) and len(types) == 1 and (other := smaller(str(types[0]))):
            changed = _part(group, {**group.inputs, "instanceTypes": [other]})
            yield _exchange(month, f"instanceTypes of {group.name}", types[0], other, changed)
    for pool in month.of(NODE_POOL):
        types = pool_types(pool)
        if isinstance(types, list) and len(types) == 1 and (other := smaller(str(types[0]))):
            asked = pool.inputs["spec"]["template"]["spec"]["requirements"]
            named = "node.kubernetes.io/instance-type"
            others = [{**each, "values": [other]} if each.get("key") == named else each for each in asked]
            changed = _part(pool, _set(pool.inputs, "spec.template.spec.requirements", others))
            yield _exchange(month, f"instance_types of {pool.name}", types[0], other, changed)
    for endpoint in month.of(ENDPOINT):
        configuration = configuration_of(endpoint, month.resources)
        variants = configuration.inputs.get("productionVariants") if configuration else None
        for index, variant in enumerate(variants if isinstance(variants, list) else ()):
            kind = None if variant == UNKNOWN else variant.get("instanceType")
            if configuration and kind and kind != UNKNOWN and (other := smaller(str(kind))):
                changed = _part(
                    configuration, _set(configuration.inputs, f"productionVariants.{index}.instanceType", other)
                )
                yield _exchange(month, f"instanceType of {configuration.name} (instance_type)", kind, other, changed)


def _exchange(
    month: Month, where: str, before: str, after: str, changed: DeclaredResource
) -> Callable[[Cost, float], Change | None]:
    usd = PRICES["instances"]
    lost = 1 - usd[after]["usd"] / usd[before]["usd"]
    return _fixed(f"change {where} from {before} to {after}", _with(month.resources, changed), lost)


KINDS: Final[Sequence[Kind]] = (_needless, _headroom, _schedules, _smaller, _capacity)
"""In the order in which they are tried."""
