"""What a picture says of each kind of component: where it stands, what it is called, and what its resources tell of it.

Only what is recorded of the resources is told. A kind that is not here is drawn, too, under its own name.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from infra.rehearsal.engine import Resource
from infra.report_page.graph import ALARM, Part, is_unknown
from policies.resource_types import (
    CLUSTER,
    ENDPOINT_CONFIGURATION,
    KEY,
    LAUNCH_TEMPLATE,
    NODE_GROUP,
    PIPELINE,
    SCHEDULE,
    SUBNET,
)

GPU: Final = "nvidia.com/gpu"
FEATURE_GROUP: Final = "aws:sagemaker/featureGroup:FeatureGroup"
GATEWAYS: Final = ("aws:ec2/internetGateway:InternetGateway", "aws:ec2/natGateway:NatGateway")


@dataclass(frozen=True)
class Kind:
    """What is said of a component's class."""

    lane: str
    title: str
    tells: Callable[[Part], Iterable[str]] = lambda part: ()
    """Short lines; what is not known is left out."""
    named: bool = False
    """Whether there may be several, so that the title is the component's own name."""


def words_of(name: str) -> str:
    """`PredictionApi` is Prediction api: the name of a class that nobody has put in words."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name).capitalize()


def kind_of(part: Part) -> Kind:
    """What is said of a part."""
    return KINDS.get(part.kind) or Kind(OTHERS, words_of(part.kind), _count)


def at(value: Any, *path: str | int, default: Any = None) -> Any:
    """What stands at a path of dicts and lists; `default` where nothing does, or what only a deployment will tell."""
    for step in path:
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            return default
    return default if value is None or is_unknown(value) else value


def span(least: Any, most: Any, unit: str) -> str:
    """`3 to 8 instances`, `1 instance`."""
    units = f"{unit}s"
    if least == most:
        return f"{least} {unit if str(least) == '1' else units}"
    return f"{least} to {most} {units}"


def _decoded(text: Any) -> Any:
    """JSON in a property; None where it is none."""
    try:
        return json.loads(text)
    except (TypeError, ValueError):
        return None


def _first(part: Part, resource_type: str) -> Mapping[str, Any]:
    return next((each.inputs for each in part.of(resource_type)), {})


def _variables(function: Resource) -> Mapping[str, Any]:
    """A Lambda function's environment; its JSON is read though a part of it may not be known yet."""
    found: Mapping[str, Any] = at(function.inputs, "environment", "variables", default={})
    return found


def _count(part: Part) -> Iterator[str]:
    yield f"{len(part.resources)} resource{'s' * (len(part.resources) != 1)}"


def _alarms(part: Part) -> Iterator[str]:
    if alarms := len(part.of(ALARM)):
        yield f"{alarms} alarm{'s' * (alarms != 1)}"


def rhythm(expression: str) -> str:
    """A schedule in words: `rate(1 hour)` is every hour; a cron line stays as it is."""
    found = re.fullmatch(r"rate\((\d+) (\w+?)s?\)", expression)
    if not found:
        return expression
    return f"every {found[2]}" if found[1] == "1" else f"every {found[1]} {found[2]}s"


def _scheduled(part: Part) -> Iterator[str]:
    for each in part.of(SCHEDULE):
        yield rhythm(str(each.inputs.get("scheduleExpression", "")))
    yield from _alarms(part)


# --- a product --------------------------------------------------------------------------------------------------------


def _features(part: Part) -> Iterator[str]:
    group = _first(part, FEATURE_GROUP)
    if columns := len(at(group, "featureDefinitions", default=())):
        yield f"{columns} columns"
    online = at(group, "onlineStoreConfig", "enableOnlineStore", default=False)
    offline = at(group, "offlineStoreConfig", "tableFormat", default="")
    yield " and ".join(filter(None, ["online" if online else "", f"offline ({offline})" if offline else ""]))
    yield from _alarms(part)


def _training(part: Part) -> Iterator[str]:
    definition = _decoded(_first(part, PIPELINE).get("pipelineDefinition"))
    steps: Sequence[Any] = at(definition, "Steps", default=())
    if steps:
        yield " → ".join(str(at(each, "Name", default="?")) for each in steps)
    machines = {
        found
        for each in steps
        if isinstance(found := at(each, "Arguments", "ResourceConfig", "InstanceType"), str)
        or isinstance(found := _default(definition, found), str)
    }
    yield from sorted(machines)
    yield from _alarms(part)


def _default(definition: Any, reference: Any) -> Any:
    """What a parameter of a pipeline is by default, where `reference` is one."""
    name = str(at(reference, "Get", default="")).removeprefix("Parameters.")
    return next(
        (at(each, "DefaultValue") for each in at(definition, "Parameters", default=()) if each["Name"] == name), None
    )


def _registry(part: Part) -> Iterator[str]:
    if part.of(KEY):
        yield "versions are signed"
    if "approver_role_arn" in part.outputs:
        yield "a second person approves"
    yield from _alarms(part)


def _endpoint(part: Part) -> Iterator[str]:
    configuration = _first(part, ENDPOINT_CONFIGURATION)
    for variants, word in (("productionVariants", ""), ("shadowProductionVariants", "shadow: ")):
        for each in at(configuration, variants, default=()):
            memory = at(each, "serverlessConfig", "memorySizeInMb")
            what = f"serverless, {memory / 1024:g} GB" if memory else at(each, "instanceType", default="")
            if what:
                yield f"{word}{what}"
    for each in part.of("aws:appautoscaling/target:Target")[:1]:
        unit = "copy" if "Copy" in str(each.inputs.get("scalableDimension")) else "instance"
        yield span(each.inputs.get("minCapacity"), each.inputs.get("maxCapacity"), unit).replace("copys", "copies")
    if at(configuration, "asyncInferenceConfig"):
        yield "answers asynchronously"
    if at(configuration, "dataCaptureConfig", "enableCapture"):
        yield f"{at(configuration, 'dataCaptureConfig', 'initialSamplingPercentage')} % is captured"
    yield from _alarms(part)


def _release(part: Part) -> Iterator[str]:
    yield "verify, shift, watch, keep"
    yield from _alarms(part)


def _api(part: Part) -> Iterator[str]:
    plans = part.of("aws:apigateway/usagePlan:UsagePlan")
    if plans:
        yield f"{len(plans)} client{'s' * (len(plans) != 1)}, each with its limits"
    rate = sum(at(each.inputs, "throttleSettings", "rateLimit", default=0) for each in plans)
    if rate:
        yield f"{rate:,g} requests/s at most"
    yield from _alarms(part)


def _batch(part: Part) -> Iterator[str]:
    for each in part.of("aws:lambda/function:Function"):
        told = _decoded(_variables(each).get("BATCH"))
        if machine := at(told, "resources", "InstanceType"):
            yield f"{machine} while it runs"
    yield from _scheduled(part)


def _recovery(part: Part) -> Iterator[str]:
    for rule in part.of("aws:cloudwatch/eventRule:EventRule"):
        if alarms := at(_decoded(rule.inputs.get("eventPattern")), "detail", "alarmName"):
            yield f"started by {len(alarms)} alarms"
    yield "back, retrain, stop, or call"


def _switch(part: Part) -> Iterator[str]:
    for each in part.of("aws:lambda/function:Function"):
        if mode := at(_decoded(_variables(each).get("SETTINGS")), "mode"):
            yield f"an alarm {'only says what it would stop' if mode == 'dry-run' else 'stops what spends'}"


def _budget(part: Part) -> Iterator[str]:
    if limit := at(_first(part, "aws:budgets/budget:Budget"), "limitAmount"):
        yield f"${float(limit):,.0f} a month"


# --- a platform -------------------------------------------------------------------------------------------------------


def _network(part: Part) -> Iterator[str]:
    yield from (str(each.inputs["cidrBlock"]) for each in part.of("aws:ec2/vpc:Vpc") if at(each.inputs, "cidrBlock"))
    yield f"{len(part.of(SUBNET))} zones"


def _cluster(part: Part) -> Iterator[str]:
    cluster = _first(part, CLUSTER)
    if version := at(cluster, "version"):
        yield f"Kubernetes {version}"
    yield "open to the internet" if at(cluster, "vpcConfig", "endpointPublicAccess") else "reached from inside only"
    for each in part.of(NODE_GROUP):
        yield f"{_nodes(each.inputs)} of its own"
    yield from _alarms(part)


def _nodes(group: Mapping[str, Any]) -> str:
    scaling = at(group, "scalingConfig", default={})
    return (
        f"{span(scaling.get('minSize'), scaling.get('maxSize'), 'node')}, {', '.join(group.get('instanceTypes') or ())}"
    )


def _gpu_group(part: Part) -> Iterator[str]:
    for each in part.of(NODE_GROUP):
        scaling = at(each.inputs, "scalingConfig", default={})
        machines = at(each.inputs, "instanceTypes", default=())
        yield ", ".join(
            machines or {str(at(one.inputs, "instanceType", default="")) for one in part.of(LAUNCH_TEMPLATE)}
        )
        yield span(scaling.get("minSize"), scaling.get("maxSize"), "node")
        yield str(at(each.inputs, "capacityType", default="")).lower().replace("_", " ")
    yield from _alarms(part)


def _gpu_pool(part: Part) -> Iterator[str]:
    for each in part.of("kubernetes:karpenter.sh/v1:NodePool"):
        asked = {
            str(at(one, "key")): at(one, "values", default=())
            for one in at(each.inputs, "spec", "template", "spec", "requirements", default=())
        }
        yield ", ".join(asked.get("node.kubernetes.io/instance-type", ()))
        if (gpus := at(each.inputs, "spec", "limits", GPU)) is not None:
            yield f"0 to {gpus} GPUs"
        yield ", ".join(str(one).replace("-", " ") for one in asked.get("karpenter.sh/capacity-type", ()))


def _team(part: Part) -> Iterator[str]:
    hard: dict[str, Any] = {}
    for each in part.of("kubernetes:core/v1:ResourceQuota"):
        hard |= at(each.inputs, "spec", "hard", default={})
    for key, unit in ((f"requests.{GPU}", "GPUs"), ("requests.cpu", "CPUs"), ("requests.memory", "memory")):
        if key in hard:
            yield f"{hard[key]} {unit} at most"


def _queues(part: Part) -> Iterator[str]:
    queues = len(part.of("kubernetes:kueue.x-k8s.io/v1beta2:ClusterQueue"))
    yield f"{queues} queue{'s' * (queues != 1)}, to lend and to borrow"


def _lake(part: Part) -> Iterator[str]:
    yield f"{len(part.of('aws:s3/bucket:Bucket'))} buckets, encrypted"


def _ledger(part: Part) -> Iterator[str]:
    lock = _first(part, "aws:s3/bucketObjectLockConfiguration:BucketObjectLockConfiguration")
    kept = at(lock, "rule", "defaultRetention", default={})
    if kept:
        unit = "year" if kept.get("years") else "day"
        yield f"kept for {span(kept.get(f'{unit}s'), kept.get(f'{unit}s'), unit)}"
        yield f"{str(kept.get('mode', '')).lower()} mode"


def _key(part: Part) -> Iterator[str]:
    if at(_first(part, KEY), "enableKeyRotation"):
        yield "renewed every year by itself"


def _alerts(part: Part) -> Iterator[str]:
    yield from (str(each.inputs["endpoint"]) for each in part.of("aws:sns/topicSubscription:TopicSubscription"))


def _images(part: Part) -> Iterator[str]:
    for each in part.of("kubernetes:helm.sh/v3:Release"):
        yield f"{at(each.inputs, 'name', default=each.name)} {at(each.inputs, 'version', default='')}".strip()
    if sets := part.of("kubernetes:apps/v1:DaemonSet"):
        yield f"{len(sets)} daemon set{'s' * (len(sets) != 1)}"
    yield from _alarms(part)


# --- the table --------------------------------------------------------------------------------------------------------

LEARN, SERVE, WATCH, MEND, BENEATH = (
    "Features, training, registry",
    "Release and serving",
    "What watches",
    "What mends, and what stops",
    "What they stand on",
)
NETWORK, NODES, TEAMS, ADDONS, DATA, OTHERS = (
    "Network",
    "Cluster and its nodes",
    "Teams and queues",
    "What the cluster runs",
    "Data and keys",
    "Also in it",
)
LANES: Final = (LEARN, SERVE, NETWORK, NODES, TEAMS, ADDONS, DATA, WATCH, MEND, BENEATH, OTHERS)
"""From top to bottom."""

KINDS: Final[Mapping[str, Kind]] = {
    "FeatureStore": Kind(LEARN, "Feature store", _features),
    "TrainingPipeline": Kind(LEARN, "Training pipeline", _training),
    "ModelRegistry": Kind(LEARN, "Model registry", _registry),
    "Release": Kind(SERVE, "Release", _release),
    "Endpoint": Kind(SERVE, "Endpoint", _endpoint),
    "PredictionApi": Kind(SERVE, "Prediction API", _api),
    "BatchPrediction": Kind(SERVE, "Batch predictions", _batch),
    "DataMonitor": Kind(WATCH, "Data monitor", _scheduled),
    "QualityMonitor": Kind(WATCH, "Quality monitor", _scheduled),
    "ServiceMonitor": Kind(WATCH, "Service monitor", _scheduled),
    "FreshnessMonitor": Kind(WATCH, "Freshness monitor", _scheduled),
    "SpendingMonitor": Kind(WATCH, "Spending monitor", _scheduled),
    "Recovery": Kind(MEND, "Recovery", _recovery),
    "KillSwitch": Kind(MEND, "Kill-switch", _switch),
    "Budget": Kind(MEND, "Budget", _budget),
    "Alerts": Kind(MEND, "Alerts", _alerts),
    "Network": Kind(NETWORK, "Network", _network),
    "Cluster": Kind(NODES, "Control plane", _cluster),
    "GpuNodeGroup": Kind(NODES, "GPU nodes", _gpu_group, named=True),
    "KarpenterPool": Kind(NODES, "GPU pool", _gpu_pool, named=True),
    "Team": Kind(TEAMS, "Team", _team, named=True),
    "Queues": Kind(TEAMS, "Queues", _queues),
    "Karpenter": Kind(ADDONS, "Karpenter", _images),
    "GpuDevicePlugin": Kind(ADDONS, "GPU device plugin", _images),
    "GpuMetrics": Kind(ADDONS, "GPU metrics", _images),
    "DataLake": Kind(DATA, "Data lake", _lake),
    "Ledger": Kind(DATA, "Ledger", _ledger),
    "Experiments": Kind(DATA, "Experiments (MLflow)"),
    "Key": Kind(DATA, "Encryption key", _key),
    "ModelRole": Kind(BENEATH, "The model's role"),
    "Runbook": Kind(BENEATH, "Runbook"),
    "Dashboard": Kind(BENEATH, "Dashboard"),
    "ApiGatewayAccount": Kind(BENEATH, "API logging"),
}
"""In the order in which they stand in their lane."""
