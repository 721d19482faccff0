"""What may grow says how far, what may be left running ends, and nothing is dearer than its environment needs."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any, Final

from pulumi_policy import Severity

from policies.cost.prices import gpus_of, today
from policies.cost.pricing import (
    SCALABLE_TARGET,
    SCALING_POLICY,
    Month,
    configuration_of,
    default_tags,
    gpus_at_most,
    jobs_of,
    scaling_target,
    sizes_of,
    stated_usage,
    types_of,
    variants_of,
)
from policies.limits import environment, is_production, limits
from policies.resource_types import (
    DOMAIN,
    ENDPOINT,
    ENDPOINT_CONFIGURATION,
    FUNCTION,
    INSTANCE,
    LAUNCH_TEMPLATE,
    NODE_GROUP,
    NODE_POOL,
    NOTEBOOK,
    PIPELINE,
    SCALING_GROUP,
    TABLE,
    TRAINING_JOB,
    TUNING_JOB,
)
from policies.rules import (
    UNKNOWN,
    Control,
    Declared,
    Finding,
    Props,
    Unknown,
    find,
    given,
    of_type,
)

Findings = Iterator[tuple[Declared | None, Finding]]

FEATURE_GROUP = "aws:sagemaker/featureGroup:FeatureGroup"
PROVISIONED = "aws:lambda/provisionedConcurrencyConfig:ProvisionedConcurrencyConfig"

REHEARSED: Final = "local"
"""The environment that is never on AWS: nothing in it costs anything while nobody uses it."""
EXPIRY: Final = "expires"
"""The tag that says until when something is needed: `2026-12-31`."""
LONGEST_EXPIRY: Final = 30
"""Days. What is needed for longer has a schedule, or scales to zero."""


def _above(where: str, value: Any, most: float, limit: str) -> Iterator[Finding]:
    """What is wrong with a number that may be `most` at most; `limit` is its key in limits.yaml."""
    if value == UNKNOWN:
        yield Unknown(where)
    elif given(value) and float(value) > most:
        yield f"{where} is {float(value):g}: set {most:g} or less, or have cost.{limit} raised in policies/limits.yaml"


# --- instance types ---------------------------------------------------------------------------------------------------

TYPES: Final[Mapping[str, tuple[str, ...]]] = {
    ENDPOINT_CONFIGURATION: ("productionVariants?.*?.instanceType?", "shadowProductionVariants?.*?.instanceType?"),
    INSTANCE: ("instanceType?",),
    LAUNCH_TEMPLATE: ("instanceType?",),
    NODE_GROUP: ("instanceTypes?.*?",),
    NOTEBOOK: ("instanceType?",),
    TRAINING_JOB: ("resourceConfig?.instanceType?", "resourceConfig?.instanceGroups?.*?.instanceType?"),
    TUNING_JOB: ("trainingJobDefinition?.resourceConfig?.instanceType?",),
}
"""Where a resource says on which instances it runs."""


def _allowed_instances(resource_type: str, inputs: Props) -> Iterator[Finding]:
    env = environment()
    allowed = limits().cost.allowed(env)
    for where, kind in _instance_types(resource_type, inputs):
        if kind == UNKNOWN:
            yield Unknown(where)
        elif not allowed(str(kind)):
            ours = ", ".join(limits().cost.instances.get(env, ())) or "none"
            yield (
                f"{where} is {kind}, which {env} may not run: set one of {ours}, or have cost.instances extended in "
                "policies/limits.yaml"
            )


def _instance_types(resource_type: str, inputs: Props) -> Iterator[tuple[str, Any]]:
    for path in TYPES.get(resource_type, ()):
        yield from find(inputs, path)
    if resource_type == NODE_POOL:
        for where, each in find(inputs, "spec.template.spec.requirements?.*?"):
            if each == UNKNOWN:
                yield where, UNKNOWN
            elif each.get("key") == "node.kubernetes.io/instance-type":
                yield from ((f"{where}.values", kind) for kind in each.get("values") or ())
    if resource_type == PIPELINE:
        for job in _jobs(inputs):
            if isinstance(job, Unknown):
                yield job.path, UNKNOWN
            else:
                yield f"pipelineDefinition, step {job.name}", job.instance_type


def _jobs(inputs: Props) -> Iterator[Any]:
    """The jobs of a pipeline; nothing where it is no definition, which has no price either."""
    definition = inputs.get("pipelineDefinition")
    if definition == UNKNOWN:
        yield Unknown("pipelineDefinition")
        return
    try:
        yield from jobs_of(str(definition))
    except (ValueError, TypeError, AttributeError):
        return


# --- GPUs -------------------------------------------------------------------------------------------------------------


def _within_gpu_cap(resources: Sequence[Declared]) -> Findings:
    env, tags = environment(), default_tags()
    held: dict[str, list[tuple[float, str]]] = {}
    for resource in resources:
        most = _gpus(resource, resources)
        if isinstance(most, Unknown):
            yield resource, most
        elif most:
            own = resource.inputs.get("tags") or resource.inputs.get("tagsAll")
            own = own if isinstance(own, Mapping) else {}
            team = str(own.get("owner") or tags.get("owner") or "")
            held.setdefault(team, []).append((most, resource.name))
    for team, each in held.items():
        limit = limits().cost.team(team)
        cap = limit.gpus.get(env, 0) if limit else 0
        total = sum(gpus for gpus, _ in each)
        if total > cap:
            named = "; ".join(f"{name} {gpus:g}" for gpus, name in sorted(each, reverse=True))
            yield (
                None,
                f"team {team} may get {total:g} GPUs in {env}, and policies/limits.yaml gives it {cap} (cost.teams): "
                f"{named}. Lower the largest sizes, or have the limit raised",
            )


def _gpus(resource: Declared, resources: Sequence[Declared]) -> float | Unknown | None:
    if resource.type in (NODE_GROUP, NODE_POOL):
        most = gpus_at_most(resource, resources)
        return Unknown("scalingConfig" if resource.type == NODE_GROUP else "spec.limits") if most is None else most
    if resource.type == INSTANCE:
        return gpus_of(str(resource.inputs.get("instanceType")))
    if resource.type != ENDPOINT:
        return None
    configuration = configuration_of(resource, resources)
    variants = variants_of(configuration) if configuration else []
    total = 0.0
    for variant in variants:
        each = 0 if variant == UNKNOWN else gpus_of(str(variant.get("instanceType")))
        if not each:
            continue
        sized = sizes_of(resource, variant, Month(resources, stated_usage()), alone=len(variants) == 1)
        bounds = [sized.high, *(_scheduled_most(action) for action in sized.actions)]
        if UNKNOWN in bounds:
            return Unknown("maxCapacity")
        total += each * max(sized.initial, *(bound for bound in bounds if isinstance(bound, int | float)))
    return total


def _scheduled_most(action: Declared) -> Any:
    told = action.inputs.get("scalableTargetAction") or {}
    return UNKNOWN if told == UNKNOWN else told.get("maxCapacity")


def _limited_pools(resource_type: str, inputs: Props) -> Iterator[Finding]:
    for path in {NODE_GROUP: ("scalingConfig.maxSize",), SCALING_GROUP: ("maxSize",)}.get(resource_type, ()):
        for where, size in find(inputs, path):
            if size == UNKNOWN:
                yield Unknown(where)
            elif not size:
                yield f"{where} is not set, so nothing keeps this pool from growing: set it"
    if resource_type.startswith("kubernetes:karpenter.sh/") and resource_type.endswith(":NodePool"):
        for where, bounds in find(inputs, "spec.limits"):
            if not bounds:
                yield f"{where} is not set, so nothing keeps this pool from growing: limit cpu and nvidia.com/gpu"


def _node_groups(resources: Sequence[Declared]) -> Findings:
    """Only groups of GPUs must be spot outside production: what runs the cluster itself must not be taken away."""
    for group in of_type(resources, NODE_GROUP):
        yield from ((group, finding) for finding in _node_group(group, resources))


def _node_group(group: Declared, resources: Sequence[Declared]) -> Iterator[Finding]:
    held = limits().cost
    for where, size in find(group.inputs, "scalingConfig?.maxSize?"):
        yield from _above(where, size, held.max_nodes, "max_nodes")
    types = types_of(group, resources)
    if types == UNKNOWN or UNKNOWN in types:
        yield Unknown("instanceTypes")
        return
    gpus = max((gpus_of(str(each)) for each in types), default=0)
    if not gpus:
        return
    always = held.always_on_gpus.get(environment(), 0)
    for where, size in find(group.inputs, "scalingConfig?.minSize?"):
        if size == UNKNOWN:
            yield Unknown(where)
        elif given(size) and size * gpus > always:
            yield (
                f"{where} is {size:g}, so {size * gpus:g} GPUs cost their price while nothing runs, and "
                f"{environment()} may keep {always}: set it to {always // gpus}"
            )
    capacity = group.inputs.get("capacityType")
    if is_production():
        return
    if capacity == UNKNOWN:
        yield Unknown("capacityType")
    elif capacity not in ("SPOT", "CAPACITY_BLOCK"):
        yield f"capacityType is {capacity or 'not set'}: outside production GPUs are spot, at less than half: set SPOT"


# --- endpoints --------------------------------------------------------------------------------------------------------

INSTANCES: Final = "sagemaker:variant:DesiredInstanceCount"


def _variants(endpoint: Declared, resources: Sequence[Declared]) -> Iterator[tuple[Any, bool, bool]]:
    """Each variant of an endpoint: whether it is alone, and whether it is a shadow."""
    configuration = configuration_of(endpoint, resources)
    if configuration is None:
        return
    variants = variants_of(configuration)
    shadows = [each for _, each in find(configuration.inputs, "shadowProductionVariants?.*")]
    for variant in variants:
        yield variant, len(variants) == 1, variant in shadows


def _scaled(resources: Sequence[Declared]) -> Findings:
    most = limits().cost.max_endpoint_instances
    for endpoint in of_type(resources, ENDPOINT):
        for variant, alone, shadow in _variants(endpoint, resources):
            if variant == UNKNOWN:
                yield endpoint, Unknown("productionVariants")
                continue
            if variant.get("serverlessConfig") or shadow:  # nobody waits for what a shadow answers
                continue
            if managed := variant.get("managedInstanceScaling"):
                size = UNKNOWN if managed == UNKNOWN else managed.get("maxInstanceCount")
                where = "managedInstanceScaling.maxInstanceCount"
                yield from ((endpoint, each) for each in _above(where, size, most, "max_endpoint_instances"))
                if not given(size):
                    yield endpoint, f"{where} is not set, so nothing keeps it from growing: set it"
                continue
            target = scaling_target(endpoint, variant, resources, alone=alone)
            name = variant.get("variantName", "")
            if target is None:
                yield endpoint, f"nothing scales variant {name}: add an appautoscaling Target with a maxCapacity"
                continue
            size = target.inputs.get("maxCapacity")
            yield from ((target, each) for each in _above("maxCapacity", size, most, "max_endpoint_instances"))
            if not given(size):
                yield target, f"maxCapacity is not set, so nothing keeps variant {name} from growing: set it"
            dimension = target.inputs.get("scalableDimension")
            if given(dimension) and dimension not in (INSTANCES, UNKNOWN):
                yield target, f"scalableDimension is {dimension}: set {INSTANCES}, or its instances do not scale"
            yield from _scheduled_above(endpoint, variant, resources, most, alone=alone)


def _scheduled_above(
    endpoint: Declared, variant: Mapping[str, Any], resources: Sequence[Declared], most: int, *, alone: bool
) -> Findings:
    sized = sizes_of(endpoint, variant, Month(resources, stated_usage()), alone=alone)
    for action in sized.actions:
        size, where = _scheduled_most(action), "scalableTargetAction.maxCapacity"
        yield from ((action, each) for each in _above(where, size, most, "max_endpoint_instances"))


def _may_rest(resources: Sequence[Declared]) -> Findings:
    """Nobody uses what is not in production at night: it scales to zero, has a schedule, or says when it goes."""
    if is_production() or environment() == REHEARSED:
        return
    for endpoint in of_type(resources, ENDPOINT):
        configuration = configuration_of(endpoint, resources)
        if configuration is None:
            continue
        variants = variants_of(configuration)
        for variant in variants:
            if variant == UNKNOWN:
                yield endpoint, Unknown("productionVariants")
                continue
            shadows = [each for _, each in find(configuration.inputs, "shadowProductionVariants?.*")]
            finding = None if variant in shadows else _rests(endpoint, configuration, variant, resources, len(variants))
            if finding:
                yield endpoint, finding


def _rests(
    endpoint: Declared, configuration: Declared, variant: Props, resources: Sequence[Declared], variants: int
) -> Finding | None:
    serverless = variant.get("serverlessConfig")
    if serverless and serverless != UNKNOWN and not serverless.get("provisionedConcurrency"):
        return None
    if serverless == UNKNOWN:
        return Unknown("serverlessConfig")
    sized = sizes_of(endpoint, variant, Month(resources, stated_usage()), alone=variants == 1)
    if sized.scaled and sized.low == 0:
        return None
    if sized.scaled and sized.low == UNKNOWN:
        return Unknown("minCapacity")
    scheduled = [each for each in map(_scheduled_most, sized.actions) if isinstance(each, int | float)]
    top = max([each for each in (sized.high, *scheduled) if isinstance(each, int | float)], default=0)
    if scheduled and min(scheduled) < top:
        return None
    tags = endpoint.inputs.get("tags") or configuration.inputs.get("tags") or {}
    until = tags.get(EXPIRY) if tags != UNKNOWN else None
    if given(until):
        return _expiry(str(until))
    name = variant.get("variantName", "")
    return (
        f"variant {name} costs its {sized.low} instances day and night, and {environment()} has no users: set kind to "
        f"scale-to-zero, async or serverless, give it a schedule with a lower max at night, or the tag {EXPIRY} with "
        f"a date within {LONGEST_EXPIRY} days"
    )


def _expiry(until: str) -> str | None:
    try:
        days = (date.fromisoformat(until) - today()).days
    except ValueError:
        return f"the tag {EXPIRY} is {until!r}, no date: set one such as 2026-12-31"
    if days < 0:
        return f"it was needed until {until}: remove it, or say until when it is needed in the tag {EXPIRY}"
    if days > LONGEST_EXPIRY:
        return f"the tag {EXPIRY} is {until}, in {days} days: set a date within {LONGEST_EXPIRY}"
    return None


def _serverless(_: str, inputs: Props) -> Iterator[Finding]:
    held = limits().cost
    for where, size in find(inputs, "productionVariants?.*?.serverlessConfig?"):
        if size == UNKNOWN:
            yield Unknown(where)
            continue
        for name, most, limit in (
            ("maxConcurrency", held.serverless_concurrency, "serverless_concurrency"),
            ("provisionedConcurrency", held.serverless_provisioned, "serverless_provisioned"),
            ("memorySizeInMb", held.serverless_memory_mb, "serverless_memory_mb"),
        ):
            yield from _above(f"{where}.{name}", size.get(name), most, limit)
        if not given(size.get("maxConcurrency")):
            yield f"{where}.maxConcurrency is not set, so nothing keeps it from growing: set it"


# --- training ---------------------------------------------------------------------------------------------------------

HOUR: Final = 3600


def _bounded_training(resource_type: str, inputs: Props) -> Iterator[Finding]:
    held = limits().cost
    if resource_type == PIPELINE:
        for job in _jobs(inputs):
            if isinstance(job, Unknown):
                yield job
                continue
            where = f"pipelineDefinition, step {job.name}: "
            stop, warm = f"{where}MaxRuntimeInSeconds", f"{where}KeepAlivePeriodInSeconds"
            yield from _above(stop, job.max_hours * HOUR, held.training_hours * HOUR, "training_hours")
            yield from _above(warm, job.keep_alive_hours * HOUR, held.keep_alive_seconds, "keep_alive_seconds")
            yield from _above(f"{where}MaxNumberOfTrainingJobs", job.jobs, held.tuning_jobs, "tuning_jobs")
        return
    tuning = resource_type == TUNING_JOB
    within = "trainingJobDefinition." if tuning else ""
    for where, seconds in find(inputs, f"{within}stoppingCondition.maxRuntimeInSeconds"):
        yield from _above(where, seconds, held.training_hours * HOUR, "training_hours")
        if not given(seconds):
            yield f"{where} is not set, so a job that hangs is paid for a day: set it"
    for where, seconds in find(inputs, f"{within}resourceConfig?.keepAlivePeriodInSeconds?"):
        yield from _above(where, seconds, held.keep_alive_seconds, "keep_alive_seconds")
    if tuning:
        for name in ("maxNumberOfTrainingJobs", "maxParallelTrainingJobs"):
            for where, jobs in find(inputs, f"config.resourceLimits.{name}"):
                yield from _above(where, jobs, held.tuning_jobs, "tuning_jobs")
                if not given(jobs):
                    yield f"{where} is not set: set how many jobs a tuning may start"


def _spot_training(resource_type: str, inputs: Props) -> Iterator[Finding]:
    """Outside production nobody waits for a model, and checkpoints lose nothing. What is rehearsed costs nothing."""
    if is_production() or environment() == REHEARSED:
        return
    if resource_type == PIPELINE:
        for job in _jobs(inputs):
            if isinstance(job, Unknown):
                yield job
            elif job.trains and not job.spot:
                yield (
                    f"pipelineDefinition, step {job.name}: EnableManagedSpotTraining is not true: set train.spot of "
                    "the pipeline"
                )
        return
    for where, spot in find(inputs, "enableManagedSpotTraining"):
        if spot == UNKNOWN:
            yield Unknown(where)
        elif spot is not True:
            yield f"{where} is {spot if given(spot) else 'not set'}: outside production set True, for less than half"
    runtime = next((each for _, each in find(inputs, "stoppingCondition.maxRuntimeInSeconds")), None)
    for where, wait in find(inputs, "stoppingCondition.maxWaitTimeInSeconds"):
        if UNKNOWN in (wait, runtime):
            yield Unknown(where)
        elif not given(wait) or (given(runtime) and wait < runtime):
            yield f"{where} is {wait if given(wait) else 'not set'}: set at least maxRuntimeInSeconds"
    for where, uri in find(inputs, "checkpointConfig.s3Uri"):
        if not given(uri):
            yield f"{where} is not set, so an interrupted job begins anew: set it"


# --- people's own machines --------------------------------------------------------------------------------------------

APPS: Final = ("jupyterLabAppSettings", "codeEditorAppSettings")


def _studio_ends(_: str, inputs: Props) -> Iterator[Finding]:
    most = limits().cost.idle_minutes
    for app in APPS:
        settings = f"defaultUserSettings.{app}.appLifecycleManagement.idleSettings"
        for where, managed in find(inputs, f"{settings}.lifecycleManagement"):
            if managed == UNKNOWN:
                yield Unknown(where)
            elif managed != "ENABLED":
                yield f"{where} is {managed or 'not set'}: set ENABLED, or what is left open costs day and night"
        for where, minutes in find(inputs, f"{settings}.idleTimeoutInMinutes"):
            yield from _above(where, minutes, most, "idle_minutes")
            if not given(minutes):
                yield f"{where} is not set: set {most} or less"


def _notebook_ends(_: str, inputs: Props) -> Iterator[Finding]:
    if not given(inputs.get("lifecycleConfigName")):
        yield "lifecycleConfigName is not set: set a configuration that stops it when nobody works on it"


# --- stores and functions ---------------------------------------------------------------------------------------------


def _feature_throughput(_: str, inputs: Props) -> Iterator[Finding]:
    held = limits().cost
    for where, mode in find(inputs, "throughputConfig?.throughputMode?"):
        if mode == UNKNOWN:
            yield Unknown(where)
        elif mode == "Provisioned":
            for name in ("provisionedReadCapacityUnits", "provisionedWriteCapacityUnits"):
                for path, units in find(inputs, f"throughputConfig.{name}"):
                    yield from _above(path, units, held.feature_capacity_units, "feature_capacity_units")
    for where, style in find(inputs, "onlineStoreConfig?.storageType?"):
        if style == UNKNOWN:
            yield Unknown(where)
        elif style == "InMemory":
            group = inputs.get("featureGroupName")
            if group == UNKNOWN:
                yield Unknown("featureGroupName")
            elif group not in held.in_memory_feature_groups:
                yield (
                    f"{where} is InMemory, which costs ten times as much: leave it out, or have {group} added to "
                    "cost.in_memory_feature_groups in policies/limits.yaml"
                )
            if not any(given(each) for _, each in find(inputs, "onlineStoreConfig.ttlDuration.value")):
                yield "onlineStoreConfig.ttlDuration is not set, so records stay in memory for ever: set it"


def _table_capacity(resources: Sequence[Declared]) -> Findings:
    """What is provisioned follows its use; what is paid by the request has a cap, or it grows to the account's."""
    most = limits().cost.table_capacity_units
    for table in of_type(resources, TABLE):
        mode = table.inputs.get("billingMode")
        if mode == UNKNOWN:
            yield table, Unknown("billingMode")
        elif mode == "PAY_PER_REQUEST":
            for name in ("maxReadRequestUnits", "maxWriteRequestUnits"):
                for where, units in find(table.inputs, f"onDemandThroughput.{name}"):
                    yield from ((table, each) for each in _above(where, units, most, "table_capacity_units"))
                    if not given(units) or units == -1:
                        yield table, f"{where} is not set, so nothing bounds what requests cost: set it"
        else:
            for name in ("readCapacity", "writeCapacity"):
                units = table.inputs.get(name)
                yield from ((table, each) for each in _above(name, units, most, "table_capacity_units"))
            targets = [each for each in of_type(resources, SCALABLE_TARGET) if _is_of(each, table)]
            if not any(_is_followed(each, resources) for each in targets):
                yield (
                    table,
                    "its capacity is paid for whether it is used or not: set billingMode to PAY_PER_REQUEST with "
                    "onDemandThroughput, or add an autoscaling target with a policy",
                )
            for target in targets:
                units = target.inputs.get("maxCapacity")
                yield from ((target, each) for each in _above("maxCapacity", units, most, "table_capacity_units"))


def _is_of(target: Declared, table: Declared) -> bool:
    if linked := target.property_dependencies.get("resourceId", ()):
        return table.urn in linked
    return target.inputs.get("resourceId") == f"table/{table.inputs.get('name')}"


def _is_followed(target: Declared, resources: Sequence[Declared]) -> bool:
    for each in of_type(resources, SCALING_POLICY):
        linked = each.property_dependencies.get("resourceId", ())
        if target.urn in linked or (not linked and each.inputs.get("resourceId") == target.inputs.get("resourceId")):
            return True
    return False


def _bounded_functions(resource_type: str, inputs: Props) -> Iterator[Finding]:
    held = limits().cost
    if resource_type == PROVISIONED:
        count = inputs.get("provisionedConcurrentExecutions")
        yield from _above("provisionedConcurrentExecutions", count, held.function_provisioned, "function_provisioned")
        return
    yield from _above("memorySize", inputs.get("memorySize"), held.function_memory_mb, "function_memory_mb")
    yield from _above("timeout", inputs.get("timeout"), held.function_seconds, "function_seconds")


CONTROLS: Final = [
    Control(
        "cost-instance-allowlist",
        "Instances are of a type that policies/limits.yaml allows in the environment, the dearest only by their name.",
        Severity.HIGH,
        (),
        "Set an instance type that is allowed, or have it added to cost.instances in policies/limits.yaml.",
        rule=_allowed_instances,
        types=frozenset({*TYPES, NODE_POOL, PIPELINE}),
    ),
    Control(
        "cost-gpu-cap",
        "A team's GPUs, at the largest size of everything, are no more than policies/limits.yaml gives it.",
        Severity.HIGH,
        (),
        "Lower max_size or max_gpus of the pools, or have cost.teams raised in policies/limits.yaml.",
        stack_rule=_within_gpu_cap,
    ),
    Control(
        "cost-pool-limit",
        "A pool of nodes says how many it may grow to.",
        Severity.CRITICAL,
        (),
        "Set max_size of a node group, or max_gpus of a pool of Karpenter.",
        rule=_limited_pools,
        always=True,
    ),
    Control(
        "cost-ng-max",
        "A node group has no more nodes than allowed; GPUs leave when nothing runs, and are spot outside production.",
        Severity.HIGH,
        (),
        "Set max_size, min_size: 0 and capacity: spot of the pool.",
        stack_rule=_node_groups,
    ),
    Control(
        "cost-endpoint-autoscale",
        "Every variant of an endpoint grows with its requests, and says how far.",
        Severity.MEDIUM,
        (),
        "Set endpoint.min_instances and max_instances.",
        stack_rule=_scaled,
    ),
    Control(
        "cost-endpoint-nonprod",
        "Outside production an endpoint scales to zero, has a schedule, or says until when it is needed.",
        Severity.MEDIUM,
        (),
        "Set endpoint.kind to scale-to-zero, async or serverless, or endpoint.schedule with a lower max at night.",
        stack_rule=_may_rest,
    ),
    Control(
        "cost-serverless-cap",
        "A serverless variant says how many requests it takes at once, and it is no more than allowed.",
        Severity.LOW,
        (),
        "Set endpoint.max_concurrency and provisioned_concurrency.",
        rule=_serverless,
        types=frozenset({ENDPOINT_CONFIGURATION}),
    ),
    Control(
        "cost-training-bounds",
        "A job ends after a time that is set, starts no more jobs than allowed, and leaves its instances soon after.",
        Severity.HIGH,
        (),
        "Set max_runtime_minutes and keep_alive_minutes of the pipeline's steps.",
        rule=_bounded_training,
        types=frozenset({TRAINING_JOB, TUNING_JOB, PIPELINE}),
    ),
    Control(
        "cost-training-spot",
        "Outside production, training runs on spot capacity and goes on from its checkpoints.",
        Severity.MEDIUM,
        (),
        "Set pipeline.train.spot: true.",
        rule=_spot_training,
        types=frozenset({TRAINING_JOB, PIPELINE}),
    ),
    Control(
        "cost-studio-idle",
        "Applications of SageMaker Studio end when nobody works in them.",
        Severity.MEDIUM,
        (),
        "Set appLifecycleManagement.idleSettings of JupyterLab and the code editor.",
        rule=_studio_ends,
        types=frozenset({DOMAIN}),
    ),
    Control(
        "cost-notebook-idle",
        "A notebook instance stops when nobody works on it.",
        Severity.MEDIUM,
        (),
        "Set lifecycleConfigName.",
        rule=_notebook_ends,
        types=frozenset({NOTEBOOK}),
    ),
    Control(
        "cost-feature-throughput",
        "A feature group pays for what is asked of it, and keeps records in memory only where that is allowed.",
        Severity.MEDIUM,
        (),
        "Leave throughputConfig and storageType out, as components.feature_store.FeatureStore does.",
        rule=_feature_throughput,
        types=frozenset({FEATURE_GROUP}),
    ),
    Control(
        "cost-ddb-capacity",
        "A table of DynamoDB is paid for by the request up to a cap, or its capacity follows its use.",
        Severity.MEDIUM,
        ("FSBP DynamoDB.1", "CKV2_AWS_16"),
        "Set billingMode to PAY_PER_REQUEST and onDemandThroughput.",
        stack_rule=_table_capacity,
    ),
    Control(
        "cost-lambda-bounds",
        "A function has no more memory, time and warm copies than allowed.",
        Severity.MEDIUM,
        (),
        "Lower memory_mb, timeout_seconds or provisionedConcurrentExecutions.",
        rule=_bounded_functions,
        types=frozenset({FUNCTION, PROVISIONED}),
    ),
]
