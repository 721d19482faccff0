"""What serves customers survives the loss of a machine, a zone, a release or a message, and can be looked into."""

import calendar
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from typing import Any, Final

import pulumi
from pulumi_policy import Policy, Severity

from policies.exceptions import today
from policies.limits import environment, is_production, limits
from policies.reliability.calendars import KUBERNETES, LAMBDA
from policies.resource_types import (
    BUCKET,
    BUCKET_LOGGING,
    BUCKET_VERSIONING,
    CLUSTER,
    ENDPOINT,
    ENDPOINT_CONFIGURATION,
    FUNCTION,
    FUNCTION_URL,
    LAUNCH_TEMPLATE,
    METHOD_SETTINGS,
    MONITORING_SCHEDULE,
    NODE_GROUP,
    PERMISSION,
    PIPELINE,
    REPOSITORY,
    SCALING_GROUP,
    SCHEDULE,
    SUBNET,
    TABLE,
    USER_POOL,
)
from policies.rules import (
    UNKNOWN,
    Control,
    Declared,
    Finding,
    Props,
    Rule,
    Setting,
    Unknown,
    control_policy,
    find,
    given,
    kind,
    of_table,
    of_type,
    refers,
    settled,
)
from policies.sagemaker import MACHINE, at, in_pulumis_words, of_configurations, read, templates

BUCKET_NAMES = ("bucket", "id")
SCANNING = "aws:ecr/registryScanningConfiguration:RegistryScanningConfiguration"
FUNCTION_NAMES = ("name", "arn", "id")
INVOCATION = "aws:lambda/invocation:Invocation"
EVENT_SOURCE = "aws:lambda/eventSourceMapping:EventSourceMapping"
INVOKE_CONFIG = "aws:lambda/functionEventInvokeConfig:FunctionEventInvokeConfig"
QUEUE = "aws:sqs/queue:Queue"
EVENT_TARGET = "aws:cloudwatch/eventTarget:EventTarget"
ALARM = "aws:cloudwatch/metricAlarm:MetricAlarm"
TOPIC = "aws:sns/topic:Topic"
SUBSCRIPTION = "aws:sns/topicSubscription:TopicSubscription"
SECRET = "aws:secretsmanager/secret:Secret"
ROTATION = "aws:secretsmanager/secretRotation:SecretRotation"
LOG_GROUP = "aws:cloudwatch/logGroup:LogGroup"

STATEFUL: Final = frozenset(
    {
        "aws:kms/key:Key",
        BUCKET,
        TABLE,
        CLUSTER,
        "aws:sagemaker/featureGroup:FeatureGroup",
        "aws:sagemaker/domain:Domain",
        USER_POOL,
        "aws:efs/fileSystem:FileSystem",
        "aws:rds/cluster:Cluster",
        "aws:rds/instance:Instance",
    }
)
"""What holds something that a new one would not."""

LOGGED_BY_NAME: Final[Mapping[str, str]] = {
    FUNCTION: "/aws/lambda/{}",
    ENDPOINT: "/aws/sagemaker/Endpoints/{}",
    CLUSTER: "/aws/eks/{}/cluster",
}
"""Where each type writes its logs."""
LOG_TYPES: Final = ("api", "audit", "authenticator", "controllerManager", "scheduler")
RETENTION_DAYS: Final = frozenset(
    {1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653}
)
"""https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html"""
ROTATION_DAYS: Final = 90
HOURS: Final = {"minute": 1 / 60, "hour": 1.0, "day": 24.0}
WORTHLESS_SECONDS: Final = 300
"""What may be this old at the most is worth nothing afterwards: losing it loses nothing."""

UNIQUE_NAMES: Final[Mapping[str, str]] = {
    "aws:apigateway/restApi:RestApi": "name",
    "aws:cloudwatch/dashboard:Dashboard": "dashboardName",
    "aws:cloudwatch/eventBus:EventBus": "name",
    "aws:cloudwatch/eventRule:EventRule": "name",
    LOG_GROUP: "name",
    ALARM: "name",
    USER_POOL: "name",
    TABLE: "name",
    "aws:ec2/launchTemplate:LaunchTemplate": "name",
    "aws:ec2/securityGroup:SecurityGroup": "name",
    REPOSITORY: "name",
    CLUSTER: "name",
    "aws:iam/instanceProfile:InstanceProfile": "name",
    "aws:iam/policy:Policy": "name",
    "aws:iam/role:Role": "name",
    "aws:kms/alias:Alias": "name",
    FUNCTION: "name",
    BUCKET: "bucket",
    ENDPOINT: "name",
    ENDPOINT_CONFIGURATION: "name",
    "aws:sagemaker/featureGroup:FeatureGroup": "featureGroupName",
    "aws:sagemaker/mlflowApp:MlflowApp": "name",
    "aws:sagemaker/model:Model": "name",
    "aws:sagemaker/modelPackageGroup:ModelPackageGroup": "modelPackageGroupName",
    PIPELINE: "pipelineName",
    "aws:scheduler/scheduleGroup:ScheduleGroup": "name",
    SECRET: "name",
    MACHINE: "name",
    TOPIC: "name",
    QUEUE: "name",
}
"""Types whose names exist once in an account and region, and where the name is. Names inside of something, as a
stage's or a schedule's, are free there."""
RANDOM_SUFFIX: Final = re.compile(r"-[0-9a-f]{7,}(\.fifo)?$")
"""Pulumi's, of a name that nobody chose."""


def _of(rule: Rule, *types: str) -> dict[str, Any]:
    return {"rule": rule, "types": frozenset(types)}


def in_production(table: Mapping[str, Sequence[Setting]]) -> dict[str, Any]:
    """A control's rule and types where settings must stand in stacks that serve customers."""

    def rule(resource_type: str, inputs: Props) -> Iterator[Finding]:
        if is_production():
            yield from settled(table, resource_type, inputs)

    return _of(rule, *table)


def first(resources: Iterable[Declared], resource: Declared, name: str, *, by: Sequence[str]) -> Declared | None:
    """The first of `resources` whose property `name` is about `resource`."""
    return next((each for each in resources if refers(each, name, resource, by=by)), None)


# --- endpoints --------------------------------------------------------------------------------------------------------


def _variants(configuration: Props) -> list[Props]:
    variants = [each for _, each in find(configuration, "productionVariants?.*?")]
    return [each for each in variants if isinstance(each, Mapping)]


def _is_asynchronous(configuration: Props) -> bool:
    return given(configuration.get("asyncInferenceConfig"))


def _machines(configuration: Props) -> list[Props]:
    return [each for each in _variants(configuration) if not each.get("serverlessConfig")]


def _two_instances(configuration: Props) -> Iterator[Finding]:
    """Requests to an asynchronous endpoint wait in a queue until there is an instance again. Who asks one that scales
    to zero asks again until it is awake, after the loss of a zone as on any morning.
    """
    if not is_production() or _is_asynchronous(configuration):
        return
    for variant in _machines(configuration):
        if (variant.get("managedInstanceScaling") or {}).get("minInstanceCount") == 0:
            continue
        count, path = variant.get("initialInstanceCount"), f"initialInstanceCount of {variant.get('variantName')}"
        if count == UNKNOWN:
            yield Unknown("productionVariants")
        elif not isinstance(count, int | float) or count < 2:
            yield f"{path} is {count or 'not set'}: with one instance, the loss of its zone stops the service; set 2"


def _captured(configuration: Props) -> Iterator[Finding]:
    """Only endpoints with instances that hold a model capture: AWS has it neither for serverless ones nor for inference
    components, and an asynchronous one leaves its requests and answers in S3 anyhow.
    """
    holding = [each for each in _machines(configuration) if not each.get("managedInstanceScaling")]
    if not is_production() or _is_asynchronous(configuration) or not holding:
        return
    capture = configuration.get("dataCaptureConfig")
    if capture == UNKNOWN:
        yield Unknown("dataCaptureConfig")
        return
    if not capture:
        yield "dataCaptureConfig is not set, so nobody can tell what was asked, and nothing watches for drift: set it"
        return
    yield from settled({"": (Setting("enableCapture", (True,), "or nothing is captured"),)}, "", capture)
    modes = {each.get("captureMode") for each in capture.get("captureOptions") or () if each != UNKNOWN}
    for mode in sorted({"Input", "Output"} - modes):
        yield f"dataCaptureConfig.captureOptions has no {mode}: add it, for monitors compare what went in and came out"
    if capture.get("initialSamplingPercentage") == 0:
        yield "dataCaptureConfig.initialSamplingPercentage is 0, so nothing is captured: set 1 or more"


def _rollback(deployment: Mapping[str, Any] | None, configuration: Props) -> Iterator[str]:
    """What is wrong with how an endpoint changes over. Serverless endpoints have no guarded change at all.

    All at once is what AWS can do with a single instance, and is enough for requests that wait in a queue.
    """
    variants = _variants(configuration)
    if variants and not _machines(configuration):
        return
    if not at(deployment, "autoRollbackConfiguration.alarms"):
        yield "no alarm takes a release back: set autoRollbackConfiguration.alarms"
    routing = at(deployment, "blueGreenUpdatePolicy.trafficRoutingConfiguration.type")
    counts = [each.get("initialInstanceCount") for each in variants]
    alone = bool(counts) and all(isinstance(each, int | float) and each < 2 for each in counts)
    if at(deployment, "rollingUpdatePolicy") is None and routing not in ("CANARY", "LINEAR"):
        if routing != "ALL_AT_ONCE":
            yield "nothing says how a release takes over: set blueGreenUpdatePolicy or rollingUpdatePolicy"
        elif not _is_asynchronous(configuration) and not alone:
            yield "ALL_AT_ONCE gives a bad release every request: set CANARY or LINEAR"


def _deployments(machine: Declared) -> Iterator[tuple[str, Mapping[str, Any], Props]]:
    """For each endpoint that a state machine releases: where it says so, how it deploys, and what."""
    for where, configuration in templates(machine.inputs):
        path, _, _ = where.rpartition(".")
        around = at(read(machine.inputs.get("definition")), path.removeprefix("definition."))
        deployment = around.get("deployment") if isinstance(around, Mapping) else None
        yield path, in_pulumis_words(deployment or {}), in_pulumis_words(configuration)


def _released_safely(resources: Sequence[Declared]) -> Iterator[tuple[Declared | None, Finding]]:
    """An endpoint that a state machine releases is deployed as its template says, and its own deploymentConfig holds
    only until the first release; both are judged. The machine names the endpoint in its definition.
    """
    machines = of_type(resources, MACHINE)
    for machine in machines:
        if machine.inputs.get("definition") == UNKNOWN:
            yield machine, Unknown("definition")
        for where, deployment, configuration in _deployments(machine):
            for sentence in _rollback(deployment, configuration):
                yield machine, f"{where}.deployment: {sentence}"
    for endpoint in of_type(resources, ENDPOINT):
        name, own = str(endpoint.inputs.get("name", "")), endpoint.inputs.get("deploymentConfig")
        made = _made_with(endpoint, resources)
        released = any(
            name and name in str(each.inputs.get("definition")) and [*_deployments(each)] for each in machines
        )
        if own == UNKNOWN:
            yield endpoint, Unknown("deploymentConfig")
        elif given(own) or not released:
            for sentence in _rollback(own, made.inputs if made else {}):
                yield endpoint, f"deploymentConfig: {sentence}"


def _monitored(resources: Sequence[Declared]) -> Iterator[tuple[Declared | None, Finding]]:
    """What an endpoint captures is looked at: by SageMaker's Model Monitor, or by a schedule that hands the endpoint's
    name to a function, as the component DataMonitor's. One that captures nothing is rel-sm-data-capture's.
    """
    if not is_production():
        return
    watched = {
        str(value)
        for each in of_type(resources, MONITORING_SCHEDULE)
        for _, value in find(
            each.inputs,
            "monitoringScheduleConfig?.monitoringJobDefinition?.monitoringInputs?.endpointInput?.endpointName?",
        )
    }
    by_definition = [each for each in of_type(resources, MONITORING_SCHEDULE) if _names_a_definition(each)]
    definitions = [each for each in resources if "JobDefinition:" in each.type]
    told = {
        str(value)
        for each in of_type(resources, SCHEDULE)
        for _, value in find(read(at(each.inputs, "target.input")) or {}, "endpoint?")
    }
    for endpoint in of_type(resources, ENDPOINT):
        made = _made_with(endpoint, resources)
        if not made or at(made.inputs, "dataCaptureConfig.enableCapture") is not True:
            continue
        name = str(endpoint.inputs.get("name"))
        defined = by_definition and any(
            endpoint.urn in _all_uses(each) or name in str(each.inputs) for each in definitions
        )
        if name not in watched | told and not defined:
            yield endpoint, f"nothing looks at what {name} captures: add a DataMonitor, or a MonitoringSchedule"


def _names_a_definition(schedule: Declared) -> bool:
    return given(at(schedule.inputs, "monitoringScheduleConfig.monitoringJobDefinitionName"))


def _all_uses(resource: Declared) -> set[str]:
    return {urn for urns in resource.property_dependencies.values() for urn in urns}


def _made_with(endpoint: Declared, resources: Sequence[Declared]) -> Declared | None:
    configurations = of_type(resources, ENDPOINT_CONFIGURATION)
    return next(
        (each for each in configurations if refers(endpoint, "endpointConfigName", each, by=("name", "id"))), None
    )


def _described(resource_type: str, inputs: Props) -> Iterator[Finding]:
    if not given(inputs.get("modelPackageGroupDescription")):
        yield "modelPackageGroupDescription is not set: say what the models in it are for"
    if not inputs.get("tags") and not inputs.get("tagsAll"):
        yield "it has no tags: say whose it is"


# --- storage ----------------------------------------------------------------------------------------------------------


def _versioned(resources: Sequence[Declared]) -> Iterator[tuple[Declared | None, Finding]]:
    companions = of_type(resources, BUCKET_VERSIONING)
    for bucket in of_type(resources, BUCKET):
        found = [value for _, value in find(bucket.inputs, "versioning?.enabled")]
        companion = first(companions, bucket, "bucket", by=BUCKET_NAMES)
        if companion:
            found.append({"Enabled": True, UNKNOWN: UNKNOWN}.get(_status(companion)))
        if UNKNOWN in found:
            yield bucket, Unknown("versioning")
        elif True not in found:
            yield (
                bucket,
                f"bucket {bucket.name} keeps no versions, so what is overwritten is lost: "
                f"add a {kind(BUCKET_VERSIONING)}",
            )


def _status(versioning: Declared) -> Any:
    return at(versioning.inputs, "versioningConfiguration.status")


def _locked(resource_type: str, inputs: Props) -> Iterator[Finding]:
    """Elsewhere GOVERNANCE is enough, which those with the right to it lift: a rehearsal has to end."""
    wanted = ("COMPLIANCE",) if is_production() else ("COMPLIANCE", "GOVERNANCE")
    kept = Setting("rule.defaultRetention.mode", wanted, "or what is written can be deleted")
    yield from settled({"": (kept,)}, "", inputs)


def _access_logged(resources: Sequence[Declared]) -> Iterator[tuple[Declared | None, Finding]]:
    """A bucket that takes access logs has none of its own: each would make the next."""
    companions = of_type(resources, BUCKET_LOGGING)
    for bucket in of_type(resources, BUCKET):
        own = at(bucket.inputs, "logging.targetBucket") or at(bucket.inputs, "loggings.0.targetBucket")
        takes = any(
            refers(each, "targetBucket", bucket, by=BUCKET_NAMES)
            or bucket.inputs.get("bucket") == at(each.inputs, "logging.targetBucket")
            for each in resources
            if each.type in (BUCKET_LOGGING, BUCKET) and bucket.inputs.get("bucket") is not None
        )
        if not given(own) and not takes and not first(companions, bucket, "bucket", by=BUCKET_NAMES):
            yield bucket, f"nothing says who read bucket {bucket.name}: add a {kind(BUCKET_LOGGING)}"


def _protected(resources: Sequence[Declared]) -> Iterator[tuple[Declared | None, Finding]]:
    for each in resources:
        if is_production() and each.type in STATEFUL and not each.protect:
            yield each, f"{kind(each.type)} {each.name} goes with its stack: set protect in its component's settings"


def _declared_logs(resources: Sequence[Declared]) -> Iterator[tuple[Declared | None, Finding]]:
    """AWS makes the log group that is not there: with a key of its own, and for ever."""
    groups = {each.inputs.get("name") for each in of_type(resources, LOG_GROUP)}
    for writer, where in LOGGED_BY_NAME.items():
        for each in of_type(resources, writer):
            name = each.inputs.get("name")
            if not isinstance(name, str) or name == UNKNOWN or given(at(each.inputs, "loggingConfig.logGroup")):
                continue
            if where.format(name) not in groups:
                yield each, f"AWS makes the log group {where.format(name)}, and keeps it for ever: add a LogGroup"


def _kept_logs(resource_type: str, inputs: Props) -> Iterator[Finding]:
    days = inputs.get("retentionInDays")
    if days == UNKNOWN:
        yield Unknown("retentionInDays")
    elif not days:
        yield "retentionInDays is not set, so events are kept, and cost, for ever: set 30 or more"
    elif days not in RETENTION_DAYS:
        yield f"retentionInDays is {days:g}, which CloudWatch does not take: set one of {sorted(RETENTION_DAYS)}"


def _long_logs(resource_type: str, inputs: Props) -> Iterator[Finding]:
    days, least = inputs.get("retentionInDays"), limits().production_log_days
    name = str(inputs.get("name", ""))
    short = any(re.fullmatch(each.replace("*", ".*"), name) for each in limits().short_logs)
    if is_production() and isinstance(days, int | float) and 0 < days < least and not short:
        yield f"retentionInDays is {days:g}: production keeps its logs for {least} days; in YAML, log_days"


# --- EKS and ECR ------------------------------------------------------------------------------------------------------


def _logged(resource_type: str, inputs: Props) -> Iterator[Finding]:
    logged = inputs.get("enabledClusterLogTypes")
    if logged == UNKNOWN:
        yield Unknown("enabledClusterLogTypes")
    elif missing := [each for each in LOG_TYPES if each not in (logged or ())]:
        yield f"enabledClusterLogTypes lacks {', '.join(missing)}: add them, or nobody can tell who did what"


def _supported(resource_type: str, inputs: Props) -> Iterator[Finding]:
    """A group of nodes without a version has its cluster's, unless its image is of another.

    Amazon Linux's releases begin with Kubernetes' version; Bottlerocket's are its own.
    """
    release, image = inputs.get("releaseVersion"), str(inputs.get("amiType"))
    if isinstance(release, str) and release != UNKNOWN and not image.startswith("BOTTLEROCKET"):
        yield from supported(".".join(release.split(".")[:2]), today())
    version = inputs.get("version")
    if version == UNKNOWN:
        yield Unknown("version")
    elif given(version):
        yield from supported(str(version), today())
    elif resource_type == CLUSTER:
        yield f"version is not set, so EKS chooses one: set {max(KUBERNETES, key=_minor)}"


def supported(version: str, on: date) -> Iterator[str]:
    """What is wrong with a version of Kubernetes on a day."""
    until, newest = KUBERNETES.get(version), max(KUBERNETES, key=_minor)
    if until is None:
        yield f"version {version} is not in policies/reliability/calendars.py: set {newest}, or add when it ends"
    elif until < on:
        yield f"version {version} has had no standard support since {until}, and costs six times as much: set {newest}"


def _minor(version: str) -> int:
    return int(version.partition(".")[2] or 0)


def _near_their_cluster(resources: Sequence[Declared]) -> Iterator[tuple[Declared | None, Finding]]:
    """A kubelet may be behind its cluster; AWS upgrades one minor version at a time, and so do nodes."""
    clusters = of_type(resources, CLUSTER)
    for group in of_type(resources, NODE_GROUP):
        cluster = next((each for each in clusters if refers(group, "clusterName", each, by=("name", "id"))), None)
        versions = [str(each.inputs.get("version")) for each in (group, cluster) if each]
        if len(versions) == 2 and KUBERNETES.keys() >= {*versions}:
            apart = _minor(versions[1]) - _minor(versions[0])
            if not 0 <= apart <= 1:
                yield group, f"version {versions[0]} is {apart} behind the cluster's {versions[1]}: set {versions[1]}"


def _in_two_zones(resources: Sequence[Declared]) -> Iterator[tuple[Declared | None, Finding]]:
    """A Capacity Block is in one zone, and so are its nodes and those of a placement group, which are near each other.

    Subnets of another stack are counted, not looked at; those that are still to be made are known by who needs them.
    """
    subnets = {each.urn: each for each in of_type(resources, SUBNET)}
    together = {each.urn for each in of_type(resources, LAUNCH_TEMPLATE) if each.inputs.get("placement")}
    for type_, path in ((NODE_GROUP, "subnetIds"), (CLUSTER, "vpcConfig.subnetIds")):
        for each in of_type(resources, type_):
            near = together.intersection(each.property_dependencies.get("launchTemplate", ()))
            if near or each.inputs.get("capacityType") == "CAPACITY_BLOCK":
                continue
            listed, top = at(each.inputs, path), path.partition(".")[0]
            used = [subnets[urn] for urn in each.property_dependencies.get(top, ()) if urn in subnets]
            if UNKNOWN in (each.inputs.get(top), listed):
                if not used:
                    yield each, Unknown(path)
                    continue
                listed = [one.urn for one in used]
            used += [one for one in subnets.values() if one not in used and one.inputs.get("id") in (listed or ())]
            zones = {str(one.inputs.get("availabilityZone", one.inputs.get("availabilityZoneId"))) for one in used}
            if len(listed or ()) < 2 or len(zones) == 1:
                yield each, f"{path} are in one zone, whose loss takes every node: set subnets of two zones or more"


def _scanned(resources: Sequence[Declared]) -> Iterator[tuple[Declared | None, Finding]]:
    """The registry's own rules may do it for all of its repositories, or for those whose names match."""
    continuous = [
        str(pattern)
        for each in of_type(resources, SCANNING)
        for rule in each.inputs.get("rules") or ()
        if isinstance(rule, Mapping) and rule.get("scanFrequency") in ("SCAN_ON_PUSH", "CONTINUOUS_SCAN")
        for _, pattern in find(rule, "repositoryFilters?.*?.filter")
    ]
    for repository in of_type(resources, REPOSITORY):
        on_push = at(repository.inputs, "imageScanningConfiguration.scanOnPush")
        name = str(repository.inputs.get("name", repository.name))
        covered = any(re.fullmatch(each.replace("*", ".*"), name) for each in continuous)
        if on_push == UNKNOWN:
            yield repository, Unknown("imageScanningConfiguration.scanOnPush")
        elif on_push is not True and not covered:
            yield repository, "nothing looks for known faults in its images: set imageScanningConfiguration.scanOnPush"


# --- functions --------------------------------------------------------------------------------------------------------


def _runtime(resource_type: str, inputs: Props) -> Iterator[Finding]:
    runtime = inputs.get("runtime")
    if inputs.get("packageType") == "Image":
        return
    if runtime == UNKNOWN:
        yield Unknown("runtime")
    elif given(runtime):
        yield from patched(str(runtime), today())


def patched(runtime: str, on: date) -> Iterator[str]:
    """What is wrong with a runtime of Lambda on a day."""
    until = LAMBDA.get(runtime)
    if until is None:
        yield f"runtime {runtime} is not in policies/reliability/calendars.py: set another, or add when it ends"
    elif until <= on:
        yield f"runtime {runtime} has not been patched since {until}: set a newer one"


def _dead_letters(resources: Sequence[Declared]) -> Iterator[tuple[Declared | None, Finding]]:
    """Whoever waits for the answer hears of a failure: an API, a step of a pipeline or state machine, a deployment, a
    queue that is polled. A function with such callers alone needs no dead letters; one whose callers are not in the
    stack may be invoked by anyone, and so without waiting.
    """
    waiting = [
        *((each, "functionName") for each in (*of_type(resources, INVOCATION), *of_type(resources, EVENT_SOURCE))),
        *((each, "definition") for each in of_type(resources, MACHINE)),
        *((each, "pipelineDefinition") for each in of_type(resources, PIPELINE)),
        *((each, "function") for each in of_type(resources, PERMISSION) if _is_api(each)),
    ]
    leaving = [
        *((each, "target") for each in of_type(resources, SCHEDULE)),
        *((each, "arn") for each in of_type(resources, EVENT_TARGET)),
        *((each, "function") for each in of_type(resources, PERMISSION) if not _is_api(each)),
    ]
    configured = of_type(resources, INVOKE_CONFIG)
    for function in of_type(resources, FUNCTION):
        handled = first(configured, function, "functionName", by=FUNCTION_NAMES)
        failed = at(handled.inputs, "destinationConfig.onFailure.destination") if handled else None
        if given(at(function.inputs, "deadLetterConfig.targetArn")) or given(failed):
            continue
        waits, leaves = (
            any(refers(each, name, function, by=FUNCTION_NAMES) for each, name in callers)
            for callers in (waiting, leaving)
        )
        if leaves or not waits:
            yield (
                function,
                "an event that fails twice is lost: set deadLetterConfig.targetArn; of Function, dead_letters_arn",
            )


def _is_api(permission: Declared) -> bool:
    return permission.inputs.get("principal") == "apigateway.amazonaws.com"


def _bounded(resources: Sequence[Declared]) -> Iterator[tuple[Declared | None, Finding]]:
    """Only where strangers or a queue decide how often a function runs: it could take the whole account's concurrency.
    Elsewhere a reservation only takes from the others. An API that throttles is a bound, and so is a mapping's own.
    """
    urls, permissions = of_type(resources, FUNCTION_URL), of_type(resources, PERMISSION)
    settings, sources = of_type(resources, METHOD_SETTINGS), of_type(resources, EVENT_SOURCE)
    for function in of_type(resources, FUNCTION):
        reserved = function.inputs.get("reservedConcurrentExecutions")
        if reserved == UNKNOWN:
            yield function, Unknown("reservedConcurrentExecutions")
        if given(reserved) and reserved != -1:
            continue
        open_to = [
            *(each for each in urls if refers(each, "functionName", function, by=FUNCTION_NAMES)),
            *(
                each
                for each in permissions
                if refers(each, "function", function, by=FUNCTION_NAMES) and _is_unbounded(each, settings)
            ),
            *(
                each
                for each in sources
                if refers(each, "functionName", function, by=FUNCTION_NAMES)
                and not given(at(each.inputs, "scalingConfig.maximumConcurrency"))
            ),
        ]
        if open_to:
            yield (
                function,
                (
                    f"{kind(open_to[0].type)} {open_to[0].name} lets its callers take the account's whole concurrency:"
                    " set reservedConcurrentExecutions, throttle the API, or bound the mapping"
                ),
            )


def _is_unbounded(permission: Declared, settings: Sequence[Declared]) -> bool:
    """Whether it lets an API call that nothing throttles."""
    if not _is_api(permission):
        return permission.inputs.get("principal") == "*"
    apis = {*permission.property_dependencies.get("sourceArn", ())}
    return not any(
        apis & {*each.property_dependencies.get("restApi", ())}
        and isinstance(limit := at(each.inputs, "settings.throttlingBurstLimit"), int | float)
        and limit >= 0
        for each in settings
    )


def _in_the_network(resource_type: str, inputs: Props) -> Iterator[Finding]:
    """A function belongs into the VPC only for what is there, such as a file system: it reaches AWS's services without,
    and inside only through endpoints, which cost. One that is in it needs a second zone.
    """
    subnets = at(inputs, "vpcConfig.subnetIds")
    if UNKNOWN in (inputs.get("vpcConfig"), subnets):
        return
    if subnets and len(subnets) < 2:
        yield "vpcConfig.subnetIds has one subnet, whose zone may be lost: set two or more"
    elif not subnets and given(inputs.get("fileSystemConfig")):
        yield "fileSystemConfig is in a VPC, and the function is not: set vpcConfig.subnetIds"


# --- messages, alarms, secrets ----------------------------------------------------------------------------------------


def _redriven(resources: Sequence[Declared]) -> Iterator[tuple[Declared | None, Finding]]:
    """Messages that nobody can handle go aside, instead of coming back until they expire. Not of a queue where others'
    failures end; nor where they expire within minutes, as Karpenter's news of nodes that are about to go.
    """
    ends = [
        (each, name, path)
        for each in resources
        for name, path in DEAD_LETTERS.get(each.type, ())
        if given(at(each.inputs, path))
    ]
    for queue in of_type(resources, QUEUE):
        aside = given(queue.inputs.get("redriveAllowPolicy")) or any(
            queue.urn in each.property_dependencies.get(name, ()) or _mentions(at(each.inputs, path), queue)
            for each, name, path in ends
            if each.urn != queue.urn
        )
        kept = queue.inputs.get("messageRetentionSeconds")
        worthless = isinstance(kept, int | float) and kept <= WORTHLESS_SECONDS
        if aside and isinstance(kept, int | float) and kept < DEAD_LETTER_SECONDS:
            yield (
                queue,
                (
                    f"messageRetentionSeconds is {kept:g}: what failed on a Friday is gone before anybody looks; set"
                    f" {DEAD_LETTER_SECONDS} or more"
                ),
            )
        if not aside and not worthless and not given(queue.inputs.get("redrivePolicy")):
            yield (
                queue,
                f"a message that queue {queue.name}'s reader cannot handle comes back for ever: set redrivePolicy",
            )


DEAD_LETTER_SECONDS: Final = 4 * 24 * 3600
"""SQS's own default."""
DEAD_LETTERS: Final[Mapping[str, Sequence[tuple[str, str]]]] = {
    QUEUE: (("redrivePolicy", "redrivePolicy"),),
    FUNCTION: (("deadLetterConfig", "deadLetterConfig.targetArn"),),
    INVOKE_CONFIG: (("destinationConfig", "destinationConfig.onFailure.destination"),),
    EVENT_SOURCE: (("destinationConfig", "destinationConfig.onFailure.destinationArn"),),
    EVENT_TARGET: (("deadLetterConfig", "deadLetterConfig.arn"),),
    SCHEDULE: (("target", "target.deadLetterConfig.arn"),),
    SUBSCRIPTION: (("redrivePolicy", "redrivePolicy"),),
}
"""Where each type names the queue that takes its failures: the input, and the place in it."""


def _mentions(value: Any, queue: Declared) -> bool:
    arn = queue.inputs.get("arn")
    return given(arn) and arn != UNKNOWN and str(arn) in str(value)


def _delivered(path: str) -> Rule:
    """A rule that what cannot be delivered is tried again, and then kept; unless it is worth nothing by then."""

    def rule(resource_type: str, inputs: Props) -> Iterator[Finding]:
        target = at(inputs, path) if path else inputs
        if target == UNKNOWN:
            yield Unknown(path)
            return
        where = f"{path}." if path else ""
        age = at(target, "retryPolicy.maximumEventAgeInSeconds")
        if not given(at(target, "retryPolicy.maximumRetryAttempts")) and not given(age):
            yield f"{where}retryPolicy is not set: say how often, or how long, a delivery is tried again"
        worthless = isinstance(age, int | float) and age <= WORTHLESS_SECONDS
        if not worthless and not given(at(target, "deadLetterConfig.arn")):
            yield f"{where}deadLetterConfig.arn is not set: what cannot be delivered is lost unseen"
        if given(at(target, "sagemakerPipelineTarget")) and not given(at(target, "roleArn")):
            yield f"{where}roleArn is not set: give a role that may start this pipeline, and nothing else"

    return rule


def _has_an_action(resource_type: str, inputs: Props) -> Iterator[Finding]:
    if not any(inputs.get(each) for each in ("alarmActions", "okActions", "insufficientDataActions")):
        yield "whatever its state, the alarm tells nobody: set alarmActions"


def _acts(resource_type: str, inputs: Props) -> Iterator[Finding]:
    if inputs.get("actionsEnabled") is False:
        yield "actionsEnabled is False, so the alarm tells nobody: leave it out"
    if not inputs.get("alarmActions"):
        yield "alarmActions is not set, so nobody hears the alarm: give it the alerts topic"


def _heard(resources: Sequence[Declared]) -> Iterator[tuple[Declared | None, Finding]]:
    """A topic of another stack is judged there."""
    alarms, subscriptions = of_type(resources, ALARM), of_type(resources, SUBSCRIPTION)
    for topic in of_type(resources, TOPIC):
        told = any(topic.urn in each.property_dependencies.get("alarmActions", ()) for each in alarms)
        if told and not first(subscriptions, topic, "topic", by=("arn", "id")):
            yield topic, f"alarms tell topic {topic.name}, and it tells nobody: add a TopicSubscription"


def _rotates_soon(resource_type: str, inputs: Props) -> Iterator[Finding]:
    for where, rules in find(inputs, "rotationRules"):
        if rules == UNKNOWN:
            yield Unknown(where)
            continue
        days, expression = ((rules or {}).get(each) for each in ("automaticallyAfterDays", "scheduleExpression"))
        if UNKNOWN in (days, expression):
            yield Unknown(where)
        elif given(expression):
            longest = days_between(str(expression))
            if longest is None:
                yield f"{where}.scheduleExpression {expression} is neither rate(…) nor cron(…): set rate(30 days)"
            elif longest > ROTATION_DAYS:
                yield f"{where}.scheduleExpression leaves {longest:g} days between rotations: at most {ROTATION_DAYS}"
        elif not isinstance(days, int | float) or days > ROTATION_DAYS:
            yield f"{where}.automaticallyAfterDays is {days or 'not set'}: rotate at least every {ROTATION_DAYS} days"


def days_between(expression: str) -> float | None:
    """How many days may pass between two runs of a schedule, `rate(90 days)` or `cron(0 12 1 */2 ? *)`; None for what
    is no schedule. A cron is taken to run once in each of its months at least, and months to have 31 days.
    """
    if rate := re.fullmatch(r"rate\((\d+) (minute|hour|day)s?\)", expression):
        return int(rate[1]) * HOURS[rate[2]] / 24
    cron = re.fullmatch(r"cron\((.+)\)", expression)
    fields = cron[1].split() if cron else []
    if len(fields) != 6:
        return None
    _, _, day, month, weekday, year = fields
    if year != "*":
        return float("inf")
    months = sorted(_months(month))
    if len(months) == 12:
        return 1 if {day, weekday} <= {"*", "?"} else 31
    gaps = [(later - earlier) % 12 or 12 for earlier, later in zip(months, [*months[1:], *months[:1]], strict=True)]
    return 31 * max(gaps)


def _months(field: str) -> set[int]:
    names = [name.upper() for name in calendar.month_abbr[1:]]
    found: set[int] = set()
    for part in field.split(","):
        span, _, step = part.partition("/")
        ends = ["1", "12"] if span in ("*", "?") else span.split("-")
        numbers = [names.index(each.upper()) + 1 if each.upper() in names else int(each) for each in ends]
        last = 12 if step and len(numbers) == 1 else numbers[-1]
        found |= {*range(numbers[0], last + 1, int(step or 1))}
    return found


def _rotated(resources: Sequence[Declared]) -> Iterator[tuple[Declared | None, Finding]]:
    rotations = of_type(resources, ROTATION)
    for secret in of_type(resources, SECRET):
        if not first(rotations, secret, "secretId", by=("id", "arn", "name")):
            yield secret, f"secret {secret.name} is never changed: add a SecretRotation"


# --- names ------------------------------------------------------------------------------------------------------------


def _told_apart(resource_type: str, inputs: Props) -> Iterator[Finding]:
    """A name that others must know is fixed, and carries its environment: two of them can share an account, and nobody
    mistakes one for the other. Every other name is left to Pulumi, whose suffix lets the new stand beside the old.
    Only in production: elsewhere, a resource may be away while it is replaced.
    """
    if not is_production():
        return
    name = inputs.get(UNIQUE_NAMES[resource_type])
    if not isinstance(name, str) or name == UNKNOWN or not name or RANDOM_SUFFIX.search(name):
        return
    product = str(_tags().get("product", ""))
    words = {environment(), *([product] if product else [])}
    missing = sorted(each for each in words if not re.search(rf"(?<![a-z0-9]){re.escape(each)}(?![a-z0-9])", name))
    if missing:
        yield (
            f"{UNIQUE_NAMES[resource_type]} is fixed to {name!r}, which does not say {' and '.join(missing)}: another"
            " stack's is called the same; leave it out, or make it of the stack's name"
        )


def _tags() -> Mapping[str, Any]:
    tags: Any = (pulumi.Config("aws").get_object("defaultTags") or {}).get("tags", {})
    return tags if isinstance(tags, Mapping) else {}


def _from_a_template(resource_type: str, inputs: Props) -> Iterator[Finding]:
    if given(inputs.get("launchConfiguration")) or not any(
        given(inputs.get(each)) for each in ("launchTemplate", "mixedInstancesPolicy")
    ):
        yield "its instances come from no launch template, which alone can ask for IMDSv2: set launchTemplate"


HIGH, MEDIUM, LOW = Severity.HIGH, Severity.MEDIUM, Severity.LOW

CONTROLS: list[Control] = [
    Control(
        "rel-sm-endpoint-ha",
        "An endpoint of production has two instances or more.",
        MEDIUM,
        ("FSBP SageMaker.4",),
        "Set initialInstanceCount to 2; in YAML, endpoint.min_instances.",
        **of_configurations(_two_instances),
    ),
    Control(
        "rel-sm-endpoint-rollback",
        "Every release of an endpoint goes out in steps, and alarms take it back.",
        HIGH,
        (),
        "Set deploymentConfig, or the deployment of the release machine's template; in YAML, endpoint.rollout.",
        stack_rule=_released_safely,
    ),
    Control(
        "rel-sm-data-capture",
        "An endpoint of production captures what it is asked, and what it answers.",
        MEDIUM,
        (),
        "Set dataCaptureConfig with Input and Output; in YAML, endpoint.capture_percent.",
        **of_configurations(_captured),
    ),
    Control(
        "rel-sm-monitored",
        "What an endpoint of production captures is watched.",
        MEDIUM,
        ("prowler sagemaker_models_monitor_enabled",),
        "Add the component DataMonitor, or a MonitoringSchedule that names the endpoint.",
        stack_rule=_monitored,
    ),
    Control(
        "rel-sm-registry-desc",
        "A group of model versions says what its models are for, and whose they are.",
        LOW,
        (),
        "Set modelPackageGroupDescription and tags; in YAML, registry.description.",
        **_of(_described, "aws:sagemaker/modelPackageGroup:ModelPackageGroup"),
    ),
    Control(
        "s3-versioning",
        "A bucket keeps what is overwritten or deleted.",
        MEDIUM,
        ("FSBP S3.14", "CKV_AWS_21"),
        "Add a BucketVersioning with the status Enabled; the components DataLake and Ledger do.",
        stack_rule=_versioned,
    ),
    Control(
        "s3-logging",
        "It is written down who reads a bucket.",
        LOW,
        ("FSBP S3.9", "CKV_AWS_18", "awsguard s3-bucket-logging-enabled"),
        "Add a BucketLogging to a bucket for access logs; the components DataLake and Ledger do.",
        stack_rule=_access_logged,
    ),
    Control(
        "s3-no-force-destroy",
        "Nothing of production is deleted with what is in it.",
        MEDIUM,
        (),
        "Leave forceDestroy and forceDelete out; in YAML, protect: true.",
        **in_production(
            {
                BUCKET: (Setting("forceDestroy?", (False,), "or its objects go with it"),),
                REPOSITORY: (Setting("forceDelete?", (False,), "or its images go with it"),),
            }
        ),
    ),
    Control(
        "s3-lock-lasts",
        "What a bucket locks stays locked; in production, whoever asks.",
        HIGH,
        (),
        "Set rule.defaultRetention with COMPLIANCE; in YAML, ledger: {mode: COMPLIANCE, years: 7}.",
        **_of(_locked, "aws:s3/bucketObjectLockConfiguration:BucketObjectLockConfiguration"),
    ),
    Control(
        "ddb-pitr",
        "A table can be had back as it was at any second of the last weeks.",
        MEDIUM,
        ("FSBP DynamoDB.2", "CKV_AWS_28"),
        "Set pointInTimeRecovery.enabled to True.",
        **of_table({TABLE: (Setting("pointInTimeRecovery.enabled", (True,), "or what is overwritten is lost"),)}),
    ),
    Control(
        "rel-ddb-deletion-protection",
        "AWS refuses to delete a table of production.",
        MEDIUM,
        ("FSBP DynamoDB.6",),
        "Set deletionProtectionEnabled to True.",
        **in_production({TABLE: (Setting("deletionProtectionEnabled", (True,), "or one call deletes it"),)}),
    ),
    Control(
        "rel-eks-deletion-protection",
        "AWS refuses to delete a cluster of production.",
        MEDIUM,
        ("prowler eks_cluster_deletion_protection_enabled",),
        "Set deletionProtection to True; in YAML, cluster.protect.",
        **in_production({CLUSTER: (Setting("deletionProtection", (True,), "or one call deletes it"),)}),
    ),
    Control(
        "rel-cognito-deletion-protection",
        "AWS refuses to delete a user pool of production, and with it the credentials of every client.",
        MEDIUM,
        (),
        "Set deletionProtection to ACTIVE; in YAML, api.protect.",
        **in_production({USER_POOL: (Setting("deletionProtection", ("ACTIVE",), "or one call deletes it"),)}),
    ),
    Control(
        "rel-protect",
        "Pulumi refuses to delete or replace what holds data in production.",
        MEDIUM,
        (),
        "Set the resource option protect; in YAML, protect: true, which is the default.",
        stack_rule=_protected,
    ),
    Control(
        "eks-logging-all",
        "A cluster logs what everyone asks of it.",
        MEDIUM,
        ("FSBP EKS.8", "CKV_AWS_37", "cdk-nag AwsSolutions-EKS2"),
        f"Set enabledClusterLogTypes to {', '.join(LOG_TYPES)}; the component Cluster does.",
        **_of(_logged, CLUSTER),
    ),
    Control(
        "eks-version-supported",
        "A cluster and its nodes run a version of Kubernetes that EKS supports without surcharge.",
        HIGH,
        ("FSBP EKS.2", "CKV_AWS_339"),
        "Set version, one minor version at a time; in YAML, cluster.version.",
        **_of(_supported, CLUSTER, NODE_GROUP),
    ),
    Control(
        "eks-nodes-near-cluster",
        "Nodes run their cluster's version of Kubernetes, or the one before.",
        MEDIUM,
        ("FSBP EKS.2",),
        "Set version of the node group to the cluster's, or leave it out.",
        stack_rule=_near_their_cluster,
    ),
    Control(
        "eks-ng-multi-az",
        "A cluster and its groups of nodes are in two zones or more.",
        MEDIUM,
        ("FSBP AutoScaling.2",),
        "Give subnets of two zones or more; in YAML, network.zones.",
        stack_rule=_in_two_zones,
    ),
    Control(
        "ecr-immutable",
        "A tag of an image stays with that image.",
        MEDIUM,
        ("FSBP ECR.2", "CKV_AWS_51"),
        "Set imageTagMutability to IMMUTABLE.",
        **of_table(
            {
                REPOSITORY: (
                    Setting(
                        "imageTagMutability",
                        ("IMMUTABLE", "IMMUTABLE_WITH_EXCLUSION"),
                        "or what was tested is not what runs",
                    ),
                )
            }
        ),
    ),
    Control(
        "ecr-scan",
        "Images are looked through for known faults.",
        HIGH,
        ("FSBP ECR.1", "CKV_AWS_163"),
        "Set imageScanningConfiguration.scanOnPush to True, or scan in the registry's own configuration.",
        stack_rule=_scanned,
    ),
    Control(
        "lambda-runtime",
        "A function's runtime is still patched.",
        MEDIUM,
        ("FSBP Lambda.2", "CKV_AWS_363"),
        "Set a newer runtime; the component Function has one for all.",
        **_of(_runtime, FUNCTION),
    ),
    Control(
        "lambda-dlq",
        "What a function could not do twice is kept, where nobody waits for its answer.",
        LOW,
        ("CKV_AWS_116",),
        "Set deadLetterConfig.targetArn; the component Function does, with dead_letters_arn.",
        stack_rule=_dead_letters,
    ),
    Control(
        "lambda-concurrency",
        "Whoever may call a function without being asked cannot take the account's whole concurrency.",
        LOW,
        ("CKV_AWS_115",),
        "Set reservedConcurrentExecutions, or throttle the API; the component Function does, with concurrency.",
        stack_rule=_bounded,
    ),
    Control(
        "lambda-tracing",
        "It is said whether a function traces: always, or what its caller traces.",
        LOW,
        ("CKV_AWS_50",),
        "Set tracingConfig.mode to Active or PassThrough; in YAML, api.tracing.",
        **of_table(
            {
                FUNCTION: (
                    Setting(
                        "tracingConfig.mode", ("Active", "PassThrough"), "so that a trace does not end unexplained"
                    ),
                )
            }
        ),
    ),
    Control(
        "lambda-vpc",
        "A function that is in the VPC, or has to be, is in two zones of it.",
        LOW,
        ("FSBP Lambda.3", "FSBP Lambda.5", "CKV_AWS_117"),
        "Set vpcConfig.subnetIds to subnets of two zones or more.",
        **_of(_in_the_network, FUNCTION),
    ),
    Control(
        "rel-sqs-dlq",
        "A message that cannot be handled goes to another queue.",
        LOW,
        ("cdk-nag AwsSolutions-SQS3",),
        "Set redrivePolicy with a queue of dead letters; the component DeadLetters makes one.",
        stack_rule=_redriven,
    ),
    Control(
        "rel-event-target-dlq",
        "An event that cannot be delivered is tried again, and then kept.",
        MEDIUM,
        (),
        "Set retryPolicy and deadLetterConfig.arn; the component DeadLetters makes the queue.",
        **_of(_delivered(""), EVENT_TARGET),
    ),
    Control(
        "rel-schedule-dlq",
        "What a schedule could not start is tried again, and then kept.",
        MEDIUM,
        (),
        "Set target.retryPolicy and target.deadLetterConfig.arn; components.schedule does.",
        **_of(_delivered("target"), SCHEDULE),
    ),
    Control(
        "alarm-has-action",
        "An alarm tells somebody of one of its states.",
        MEDIUM,
        ("cfn-guard CLOUDWATCH_ALARM_ACTION_CHECK",),
        "Set alarmActions; components.alarms does.",
        **_of(_has_an_action, ALARM),
    ),
    Control(
        "alarm-actions",
        "An alarm tells somebody when it goes off.",
        MEDIUM,
        ("FSBP CloudWatch.15", "FSBP CloudWatch.17", "CKV_AWS_319"),
        "Set alarmActions and leave actionsEnabled out; components.alarms does.",
        **_of(_acts, ALARM),
    ),
    Control(
        "alarm-heard",
        "Somebody is subscribed to what alarms tell.",
        MEDIUM,
        (),
        "Add a TopicSubscription; in YAML, alerts.emails.",
        stack_rule=_heard,
    ),
    Control(
        "secret-rotation-90",
        "A secret is changed every 90 days.",
        MEDIUM,
        ("FSBP SecretsManager.4", "CKV_AWS_304"),
        "Set rotationRules.automaticallyAfterDays to 90 or less.",
        **_of(_rotates_soon, ROTATION),
    ),
    Control(
        "secret-rotated",
        "Every secret is changed by itself.",
        MEDIUM,
        ("FSBP SecretsManager.1", "CKV2_AWS_57"),
        "Add a SecretRotation.",
        stack_rule=_rotated,
    ),
    Control(
        "logs-retention",
        "It is said how long logs are kept.",
        MEDIUM,
        ("CKV_AWS_66", "cfn-guard CW_LOGGROUP_RETENTION_PERIOD_CHECK"),
        "Set retentionInDays; in YAML, log_days.",
        **_of(_kept_logs, LOG_GROUP),
    ),
    Control(
        "logs-declared",
        "What writes logs has its log group in the stack.",
        LOW,
        (),
        "Add a LogGroup of that name; the components Function, Endpoint and Cluster do.",
        stack_rule=_declared_logs,
    ),
    Control(
        "logs-retention-365",
        "Logs of production are kept for as long as policies/limits.yaml says.",
        LOW,
        ("CKV_AWS_338",),
        "Set retentionInDays; in YAML, log_days: 365.",
        **_of(_long_logs, LOG_GROUP),
    ),
    Control(
        "name-not-hardcoded",
        "A name that exists once in an account says whose it is, or is left to Pulumi.",
        LOW,
        ("cfn-guard CFN_NO_EXPLICIT_RESOURCE_NAMES",),
        "Make the name of the stack's, which ends in its environment, or leave it out.",
        **_of(_told_apart, *UNIQUE_NAMES),
    ),
    Control(
        "asg-launch-template",
        "Instances of a scaling group start from a launch template.",
        LOW,
        ("FSBP AutoScaling.9", "CKV_AWS_315"),
        "Set launchTemplate or mixedInstancesPolicy.",
        **_of(_from_a_template, SCALING_GROUP),
    ),
]

POLICIES: list[Policy] = [control_policy(each) for each in CONTROLS]
