"""SageMaker endpoints: their life from Creating to deleted, rollouts with canaries and rollback, and invocations."""

import json
import random
import re
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import botocore.session
from moto.applicationautoscaling.models import applicationautoscaling_backends
from moto.cloudwatch.models import Alarm, cloudwatch_backends
from moto.core.exceptions import ServiceException
from moto.sagemaker.exceptions import AWSValidationException
from moto.sagemaker.models import FakeEndpoint, SageMakerModelBackend

from infra.rehearsal.emulator import alarms, events, inference_components
from infra.rehearsal.emulator.capture import Captures, Exchange
from infra.rehearsal.emulator.serving import (
    STARTUP_TIMEOUT_SECONDS,
    Answer,
    Aws,
    Container,
    Fleet,
    LoadError,
    Log,
    ModelFailure,
    ModelServer,
    NothingServes,
    Traffic,
    Variant,
)

Json = dict[str, Any]

NAMESPACE = "AWS/SageMaker"
RETAINED = ("DesiredInstanceCount", "DesiredWeight")
"""What RetainAllVariantProperties keeps; of DataCaptureConfig, the API reference says that it is not supported."""
BODY_BYTES: int = (
    botocore.session.get_session().get_service_model("sagemaker-runtime").shape_for("BodyBlob").metadata["max"]
)
"""The longest body of an invocation, from the service model."""
NOT_REHEARSED = ("TargetModel", "TargetContainerHostname", "EnableExplanations", "SessionId")
"""Parameters of InvokeEndpoint for kinds of endpoints that the platform does not make."""


class Invalid(ServiceException):
    """The runtime's error for what it does not take; its control plane says ValidationException."""

    code = "ValidationError"


class ModelError(ServiceException):
    """The model answered with a 4xx or 5xx, or not at all; the attributes are named as in the service model."""

    code = "ModelError"

    def __init__(self, status: int, said: str, log_stream_arn: str) -> None:
        kind = "client" if 400 <= status < 500 else "server"
        super().__init__(f'Received {kind} error ({status}) from primary with message "{said}". See {log_stream_arn}')
        self.OriginalStatusCode = status
        self.OriginalMessage = said
        self.LogStreamArn = log_stream_arn


class AlarmWentOff(Exception):
    """An alarm that watches a rollout is in ALARM."""


class Endpoint:
    """One endpoint and what runs behind it; moto's backend holds it among its own, so that lists and tags find it."""

    def __init__(self, backend: SageMakerModelBackend, name: str, config_name: str, tags: list[dict[str, str]]) -> None:
        self.backend = backend
        self.endpoint_name = name
        self.endpoint_config_name = config_name
        self.arn = FakeEndpoint.arn_formatter(name, backend.account_id, backend.region_name)
        self.tags = tags
        self.endpoint_status = "Creating"
        self.failure_reason: str | None = None
        self.creation_time = self.last_modified_time = datetime.now(UTC)
        self.traffic = Traffic()
        self.deployment: Json | None = None
        """The DeploymentConfig that was given last."""
        self.stage = "Creating"
        """What the candidate fleet is going through, as ProductionVariantStatus names it."""
        self.stage_since = datetime.now(UTC)

    def become(self, status: str, reason: str | None = None) -> None:
        """Change the status and say so on EventBridge."""
        self.endpoint_status, self.failure_reason = status, reason
        self.last_modified_time = datetime.now(UTC)
        described = self.describe()
        detail = {
            **{key: described[key] for key in ("EndpointName", "EndpointArn", "EndpointConfigName")},
            "ProductionVariants": described["ProductionVariants"],
            "EndpointStatus": re.sub("(?<=[a-z])(?=[A-Z])", "_", status).upper(),
            **({"FailureReason": reason} if reason else {}),
            "CreationTime": int(self.creation_time.timestamp() * 1000),
            "LastModifiedTime": int(self.last_modified_time.timestamp() * 1000),
            "Tags": {tag["Key"]: tag["Value"] for tag in self.tags},
        }
        events.emit(self.backend.region_name, "aws.sagemaker", "SageMaker Endpoint State Change", detail, [self.arn])

    def enter(self, stage: str) -> None:
        self.stage, self.stage_since = stage, datetime.now(UTC)

    def summary(self) -> Json:
        """A line of ListEndpoints."""
        names = ("EndpointName", "EndpointArn", "CreationTime", "LastModifiedTime", "EndpointStatus")
        return {name: value for name, value in self.describe().items() if name in names}

    def gen_response_object(self) -> Json:
        """What moto's Search shows of it."""
        return self.describe()

    def describe(self) -> Json:
        """The answer of DescribeEndpoint."""
        live, candidate = self.traffic.live, self.traffic.candidate
        summary: Json = {
            "EndpointName": self.endpoint_name,
            "EndpointArn": self.arn,
            "EndpointConfigName": self.endpoint_config_name,
            "ProductionVariants": [_summary(variant) for variant in live.variants.values()] if live else [],
            "EndpointStatus": self.endpoint_status,
            "FailureReason": self.failure_reason,
            "CreationTime": self.creation_time,
            "LastModifiedTime": self.last_modified_time,
            "LastDeploymentConfig": self.deployment,
        }
        if live and live.capture:
            summary["DataCaptureConfig"] = _capture_summary(live.capture)
        if live and live.shadows:
            summary["ShadowProductionVariants"] = [_summary(variant) for variant in live.shadows.values()]
        if candidate:
            status = {"Status": self.stage, "StartTime": self.stage_since}
            summary["PendingDeploymentSummary"] = {
                "EndpointConfigName": candidate.config_name,
                "ProductionVariants": [
                    {**_summary(variant), "VariantStatus": [status]} for variant in candidate.variants.values()
                ],
                "StartTime": candidate.started,
            }
        return summary


def _summary(variant: Variant) -> Json:
    image = variant.server.container.image
    hosts = isinstance(variant.server, inference_components.NoModel)
    summary: Json = {
        "VariantName": variant.name,
        "DeployedImages": [] if hosts else [{"SpecifiedImage": image, "ResolvedImage": image}],
        "CurrentWeight": variant.weight,
        "DesiredWeight": variant.weight,
    }
    if variant.instances is not None:
        summary |= {"CurrentInstanceCount": variant.instances, "DesiredInstanceCount": variant.instances}
    return summary


def _capture_summary(capture: Mapping[str, Any]) -> Json:
    enabled = bool(capture.get("EnableCapture"))
    return {
        "EnableCapture": enabled,
        "CaptureStatus": "Started" if enabled else "Stopped",
        "CurrentSamplingPercentage": capture["InitialSamplingPercentage"],
        "DestinationS3Uri": capture["DestinationS3Uri"],
        "KmsKeyId": capture.get("KmsKeyId"),
    }


@dataclass(frozen=True)
class Rollout:
    """How traffic moves to a new fleet: what share it has after each shift, and how long each is watched.

    Seconds are AWS's, as DeploymentConfig gives them.
    """

    shares: Sequence[float]
    wait: float
    termination_wait: float
    alarms: Sequence[str]


def rollout_of(deployment: Mapping[str, Any] | None, instances: int | None) -> Rollout:
    """Read a DeploymentConfig for a new fleet of `instances` (None: serverless).

    Raises AWSValidationException for what AWS refuses, and for a rolling update, which is not rehearsed.
    """
    deployment = deployment or {}
    if "RollingUpdatePolicy" in deployment:
        raise AWSValidationException("RollingUpdatePolicy is not rehearsed; set BlueGreenUpdatePolicy")
    policy = deployment.get("BlueGreenUpdatePolicy", {})
    routing = policy.get("TrafficRoutingConfiguration", {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 0})
    names = [alarm["AlarmName"] for alarm in deployment.get("AutoRollbackConfiguration", {}).get("Alarms", ())]
    rollout = Rollout(
        _shares(routing, instances),
        routing.get("WaitIntervalInSeconds", 0),
        policy.get("TerminationWaitInSeconds", 0),
        names,
    )
    needed = rollout.wait * len(rollout.shares) + rollout.termination_wait
    limit = policy.get("MaximumExecutionTimeoutInSeconds")
    if limit is not None and needed > limit:
        raise AWSValidationException(
            f"MaximumExecutionTimeoutInSeconds is {limit}, but the waits of this rollout alone take {needed:g} seconds"
        )
    return rollout


def _shares(routing: Mapping[str, Any], instances: int | None) -> list[float]:
    """Percent of the traffic on the new fleet after each shift."""
    kind = routing["Type"]
    if kind == "ALL_AT_ONCE":
        return [100.0]
    name, at_least = ("CanarySize", 0) if kind == "CANARY" else ("LinearStepSize", 10)
    size = routing.get(name)
    if size is None:
        raise AWSValidationException(f"TrafficRoutingConfiguration of type {kind} needs {name}")
    if instances is not None and instances < 2:
        raise AWSValidationException(
            f"{kind} traffic routing needs at least 2 instances, got {instances}; set InitialInstanceCount to 2 or more"
        )
    percent = float(size["Value"])
    if size["Type"] == "INSTANCE_COUNT":
        if instances is None:
            raise AWSValidationException(f"{name} of type INSTANCE_COUNT needs instances; set CAPACITY_PERCENT")
        percent = percent / instances * 100
    if not at_least <= percent <= 50:
        raise AWSValidationException(f"{name} must be {at_least} to 50 percent of the new fleet, got {percent:g}")
    if kind == "CANARY":
        return [percent, 100.0]
    steps = [percent * step for step in range(1, int(100 / percent) + 1)]
    return steps if steps[-1] >= 100 else [*steps, 100.0]


def container_of(backend: SageMakerModelBackend, model_name: str) -> Container:
    """What a model runs: its one container's image, archive and variables, from its model package where it names one.

    Raises LoadError where it has no single model archive in S3.
    """
    model = backend.describe_model(model_name)
    definitions = [model.primary_container] if model.primary_container else model.containers
    if len(definitions) != 1:
        raise LoadError(f"model {model_name} has {len(definitions)} containers; the rehearsal serves models of one")
    definition = dict(definitions[0])
    if "ModelPackageName" in definition:
        package = backend.describe_model_package(definition["ModelPackageName"])
        specification = package.inference_specification or {}
        environment = definition.get("Environment", {})
        definition = dict(specification.get("Containers", [{}])[0])
        definition["Environment"] = {**definition.get("Environment", {}), **environment}
    source = definition.get("ModelDataSource", {}).get("S3DataSource", {})
    archive = definition.get("ModelDataUrl") or source.get("S3Uri")
    if not archive or source.get("CompressionType", "Gzip") != "Gzip":
        raise LoadError(f"model {model_name} names no model archive (tar.gz); set its ModelDataUrl")
    return Container(
        definition.get("Image", "none"),
        archive,
        definition.get("Environment", {}),
        model.execution_role_arn,
        model.enable_network_isolation,
    )


class Endpoints:
    """Every endpoint of the emulator. Methods raise AWSValidationException for what AWS refuses, in its words."""

    def __init__(self, aws: Aws, captures: Captures, work: Path, rollout_second: float) -> None:
        self.aws, self._captures = aws, captures
        self.folder = work / "endpoints"
        self._rollout_second = rollout_second
        self.components = inference_components.Components(self)
        shutil.rmtree(self.folder, ignore_errors=True)  # what an emulator that was killed left behind
        self._lock = threading.Lock()

    def create(self, backend: SageMakerModelBackend, params: Mapping[str, Any]) -> Endpoint:
        """CreateEndpoint: returns at once, and goes on in the background."""
        name, config_name = params["EndpointName"], params["EndpointConfigName"]
        backend.describe_endpoint_config(config_name)
        with self._lock:
            if name in backend.endpoints:
                arn = backend.endpoints[name].arn
                raise AWSValidationException(f'Cannot create already existing endpoint "{arn}".')
            endpoint = Endpoint(backend, name, config_name, params.get("Tags", []))
            endpoint.deployment = params.get("DeploymentConfig")
            backend.endpoints[name] = endpoint  # type: ignore[assignment]  # in the place of moto's, which serves nothing
        endpoint.become("Creating")
        _background(self._bring_up, endpoint)
        return endpoint

    def _bring_up(self, endpoint: Endpoint) -> None:
        try:
            fleet = self._fleet(endpoint, endpoint.endpoint_config_name)
            self._start(endpoint, fleet)
            endpoint.traffic.settle(fleet)
        except Exception as error:
            endpoint.become("Failed", str(error))
            return
        endpoint.become("InService")

    def update(self, backend: SageMakerModelBackend, params: Mapping[str, Any]) -> Endpoint:
        """UpdateEndpoint: checks what can be checked, then rolls out in the background."""
        endpoint = find(backend, params["EndpointName"])
        config_name = params["EndpointConfigName"]
        backend.describe_endpoint_config(config_name)
        deployment = params.get("DeploymentConfig")
        if deployment is None and params.get("RetainDeploymentConfig"):
            deployment = endpoint.deployment
        variants = backend.endpoint_configs[config_name].production_variants
        serverless = any("ServerlessConfig" in variant for variant in variants)
        count = None if serverless else sum(int(variant["InitialInstanceCount"]) for variant in variants)
        rollout = rollout_of(deployment, count)
        known = cloudwatch_backends[backend.account_id][backend.region_name].alarms
        for alarm in rollout.alarms:
            if alarm not in known:
                raise AWSValidationException(f"Alarm {alarm} of AutoRollbackConfiguration does not exist.")
        _refuse_what_scaling_holds(endpoint, variants)
        self._occupy(endpoint, "Updating")
        endpoint.deployment = deployment
        _background(self._roll_out, endpoint, config_name, rollout, params)
        return endpoint

    def _occupy(self, endpoint: Endpoint, status: str) -> None:
        """Begin a change of the endpoint, if none is under way."""
        with self._lock:
            if endpoint.endpoint_status == "Failed" and status != "Deleting":
                raise AWSValidationException(
                    f'Endpoint "{endpoint.arn}" is in status Failed; it can only be deleted and created anew.'
                )
            if endpoint.endpoint_status not in ("InService", "Failed"):
                raise AWSValidationException(f'Cannot update in-progress endpoint "{endpoint.arn}".')
            endpoint.endpoint_status = status
        endpoint.become(status)

    def _roll_out(self, endpoint: Endpoint, config_name: str, rollout: Rollout, params: Mapping[str, Any]) -> None:
        old_name = endpoint.endpoint_config_name
        try:
            fleet = self._fleet(endpoint, config_name, _retained(params))
            endpoint.enter("Creating")
            endpoint.traffic.shift(fleet, 0)
            self._start(endpoint, fleet)
            for share in rollout.shares:
                endpoint.enter("ActivatingTraffic")
                endpoint.traffic.shift(fleet, share)
                endpoint.enter("Baking")
                self._watch(endpoint, rollout, rollout.wait)
            self._watch(endpoint, rollout, rollout.termination_wait)
        except Exception as error:
            endpoint.become("RollingBack", str(error))
            endpoint.traffic.settle(endpoint.traffic.live)
            endpoint.become("InService", f"{config_name} was rolled back, {old_name} serves: {error}")
            return
        endpoint.endpoint_config_name = config_name
        endpoint.traffic.settle(fleet)
        endpoint.become("InService")

    def _watch(self, endpoint: Endpoint, rollout: Rollout, seconds: float) -> None:
        """Look at the alarms for so many (virtual) seconds, once at least. Raises AlarmWentOff."""
        self.watch(endpoint.backend, rollout.alarms, seconds, lambda: endpoint.traffic.share)

    def watch(
        self, backend: SageMakerModelBackend, names: Sequence[str], seconds: float, share: Callable[[], float]
    ) -> None:
        """Look at the alarms of these names for so many (virtual) seconds, once at least. Raises AlarmWentOff."""
        known = cloudwatch_backends[backend.account_id][backend.region_name].alarms
        deadline = time.monotonic() + seconds * self._rollout_second
        while True:
            for name in names:
                if name in known and _rings(known[name], self._rollout_second):
                    raise AlarmWentOff(f"alarm {name} went off with {share():g} % of the traffic shifted")
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return
            time.sleep(min(0.1, remaining))

    def _fleet(self, endpoint: Endpoint, config_name: str, retained: Iterable[str] = ()) -> Fleet:
        config, live = endpoint.backend.endpoint_configs[config_name], endpoint.traffic.live
        variants = {}
        for definition in config.production_variants:
            variant = self._variant(endpoint, definition)
            before = live.variants.get(variant.name) if live else None
            if before and "DesiredWeight" in retained:
                variant.weight = before.weight
            if before and "DesiredInstanceCount" in retained:
                variant.instances = before.instances
            variants[variant.name] = variant
        # moto drops shadow variants; what a configuration was told is kept beside it.
        told = vars(endpoint.backend).get("kept", {}).get(config.endpoint_config_arn, {})
        shadows = [self._variant(endpoint, definition) for definition in told.get("ShadowProductionVariants") or ()]
        if shadows and (len(shadows), len(variants)) != (1, 1):
            raise LoadError("a shadow test has exactly one production variant and one shadow variant")
        return Fleet(config_name, config.data_capture_config, variants, {variant.name: variant for variant in shadows})

    def _variant(self, endpoint: Endpoint, definition: Mapping[str, Any]) -> Variant:
        backend, name = endpoint.backend, definition["VariantName"]
        region = backend.region_name
        hosts = "ModelName" not in definition
        container = Container("none", "", {}, "", True) if hosts else container_of(backend, definition["ModelName"])
        folder = self.folder / f"{endpoint.endpoint_name}-{name}-{uuid.uuid4().hex[:8]}"
        log = Log(self.aws, region, container.role, endpoint.endpoint_name, name)
        return Variant(
            name,
            (inference_components.NoModel if hosts else ModelServer)(container, folder, self.aws, region, log),
            float(definition.get("InitialVariantWeight", 1.0)),
            definition.get("InitialInstanceCount"),
            definition.get("ContainerStartupHealthCheckTimeoutInSeconds", STARTUP_TIMEOUT_SECONDS),
        )

    def _start(self, endpoint: Endpoint, fleet: Fleet) -> None:
        try:
            fleet.start()
        finally:
            fleet.flush_logs()

    def reweigh(self, backend: SageMakerModelBackend, params: Mapping[str, Any]) -> Endpoint:
        """UpdateEndpointWeightsAndCapacities: in force at once."""
        endpoint = find(backend, params["EndpointName"])
        live = endpoint.traffic.live
        wanted = {item["VariantName"]: item for item in params["DesiredWeightsAndCapacities"]}
        missing = [name for name in wanted if not live or name not in live.variants]
        if missing or not live:
            raise AWSValidationException(
                f"The variant name(s) {', '.join(missing)} are not present within endpoint configuration "
                f'"{endpoint.endpoint_config_name}".'
            )
        self._occupy(endpoint, "Updating")
        for name, item in wanted.items():
            variant = live.variants[name]
            variant.weight = float(item.get("DesiredWeight", variant.weight))
            variant.instances = item.get("DesiredInstanceCount", variant.instances)
        endpoint.become("InService")
        return endpoint

    def delete(self, backend: SageMakerModelBackend, name: str) -> None:
        """DeleteEndpoint: gone from the API once its last request is answered and its processes have ended."""
        endpoint = find(backend, name)
        if on_it := [each.name for each in inference_components.all_of(backend).values() if each.endpoint is endpoint]:
            raise AWSValidationException(
                f'Cannot delete endpoint "{endpoint.arn}" with inference components on it: {", ".join(on_it)}.'
            )
        self._occupy(endpoint, "Deleting")

        def end() -> None:
            endpoint.traffic.settle(None)
            backend.endpoints.pop(name, None)

        _background(end)

    def invoke(self, backend: SageMakerModelBackend, params: Mapping[str, Any]) -> tuple[Answer, str]:
        """InvokeEndpoint: the model's answer and the variant that gave it. Raises ModelError for a 4xx or 5xx of it."""
        arrived = time.monotonic()
        name, body = params["EndpointName"], params.get("Body") or b""
        endpoint = backend.endpoints.get(name)
        if not isinstance(endpoint, Endpoint):
            raise Invalid(f"Endpoint {name} of account {backend.account_id} not found.")
        for parameter in NOT_REHEARSED:
            if params.get(parameter):
                raise Invalid(f"{parameter} is not rehearsed: endpoints here have one container and one model each")
        if len(body) > BODY_BYTES:
            raise Invalid(f"the body has {len(body)} bytes; InvokeEndpoint takes {BODY_BYTES} at most")
        if params.get("InferenceComponentName"):
            return self._invoke_component(endpoint, params, arrived)
        try:
            with endpoint.traffic.request(params.get("TargetVariant")) as (fleet, variant):
                if isinstance(variant.server, inference_components.NoModel):
                    raise Invalid(f"Endpoint {name} hosts inference components: set InferenceComponentName")
                self._mirror(endpoint, fleet, variant, params)
                answer = self._ask(endpoint, fleet, variant, params, arrived)
        except NothingServes as error:
            raise Invalid(f"Endpoint {name} of account {backend.account_id} not found: {error}") from None
        return answer, variant.name

    def _invoke_component(self, endpoint: Endpoint, params: Mapping[str, Any], arrived: float) -> tuple[Answer, str]:
        component = inference_components.all_of(endpoint.backend).get(params["InferenceComponentName"])
        if component is None or component.endpoint is not endpoint:
            raise Invalid(f"Inference Component {params['InferenceComponentName']} not found.")
        try:
            with component.traffic.request(None) as (fleet, variant):
                component.count("Invocations")
                component.count("InvocationsPerCopy", 1 / max(component.current, 1))
                sent = time.monotonic()
                try:
                    return self._ask(endpoint, fleet, variant, params, arrived), variant.name
                finally:
                    component.count("ModelLatency", (time.monotonic() - sent) * 1e6)
        except NothingServes:
            component.count("NoCapacityInvocationFailures")
            raise Invalid(
                f"Inference Component {component.name} has no capacity to process this request. "
                "ApplicationAutoScaling may be in-progress (if configured)."
            ) from None

    def _mirror(self, endpoint: Endpoint, fleet: Fleet, variant: Variant, params: Mapping[str, Any]) -> None:
        """Send a share of the requests to the shadow variant, too; the share is the ratio of the two weights."""
        for shadow in fleet.shadows.values():
            if random.random() * variant.weight < shadow.weight:
                _background(self._ask_shadow, endpoint, fleet, shadow, params)

    def _ask_shadow(self, endpoint: Endpoint, fleet: Fleet, shadow: Variant, params: Mapping[str, Any]) -> None:
        with endpoint.traffic.hold(fleet), suppress(ModelError):  # its errors are measured, and answer nobody
            self._ask(endpoint, fleet, shadow, params, time.monotonic())

    def _ask(
        self, endpoint: Endpoint, fleet: Fleet, variant: Variant, params: Mapping[str, Any], arrived: float
    ) -> Answer:
        body, sent = params.get("Body") or b"", time.monotonic()
        try:
            answer = variant.server.invoke(body, _headers(params))
        except ModelFailure as failure:
            answer = Answer(0, str(failure).encode(), "text/plain", None)
        answered = time.monotonic()
        model, overhead = answered - sent, sent - arrived
        self._measure(endpoint, variant, answer.status, model, overhead)
        if not 200 <= answer.status < 300:
            region, account = endpoint.backend.region_name, endpoint.backend.account_id
            group = f"log-group:/aws/sagemaker/Endpoints/{endpoint.endpoint_name}"
            stream = f"arn:aws:logs:{region}:{account}:{group}:log-stream:{variant.server.log.stream}"
            raise ModelError(answer.status, answer.body.decode(errors="replace"), stream)
        exchange = Exchange(
            body,
            params.get("ContentType") or "application/octet-stream",
            answer.body,
            answer.content_type,
            params.get("InferenceId"),
            datetime.now(UTC),
        )
        role = variant.server.container.role
        self._captures.add(endpoint.endpoint_name, variant.name, role, fleet.capture, exchange)
        return answer

    def _measure(self, endpoint: Endpoint, variant: Variant, status: int, model: float, overhead: float) -> None:
        """https://docs.aws.amazon.com/sagemaker/latest/dg/monitoring-cloudwatch.html; latencies are microseconds."""
        dimensions = {"EndpointName": endpoint.endpoint_name, "VariantName": variant.name}
        client_error = 400 <= status < 500
        server_error = not client_error and not 200 <= status < 300
        values = {
            "Invocations": 1,
            "Invocation4XXErrors": int(client_error),
            "Invocation5XXErrors": int(server_error),
            "InvocationModelErrors": int(client_error or server_error),
            "ModelLatency": model * 1e6,
            "OverheadLatency": overhead * 1e6,
        }
        for metric, value in values.items():
            alarms.put_metric(endpoint.backend.region_name, NAMESPACE, metric, value, dimensions)


def find(backend: SageMakerModelBackend, name: str) -> Endpoint:
    """Raises AWSValidationException where there is none."""
    endpoint = backend.endpoints.get(name)
    if not isinstance(endpoint, Endpoint):
        arn = FakeEndpoint.arn_formatter(name, backend.account_id, backend.region_name)
        raise AWSValidationException(f'Could not find endpoint "{arn}".')
    return endpoint


def _rings(alarm: Alarm, rollout_second: float) -> bool:
    return alarm.state_value == "ALARM" or alarms.rings_in_rollout(alarm, rollout_second)


def _refuse_what_scaling_holds(endpoint: Endpoint, variants: Sequence[Mapping[str, Any]]) -> None:
    """SageMaker changes no instance type of a variant that autoscaling holds, and takes none away."""
    backend = endpoint.backend
    live = backend.endpoint_configs.get(endpoint.endpoint_config_name)
    before = {each["VariantName"]: each for each in live.production_variants} if live else {}
    wanted = {each["VariantName"]: each.get("InstanceType") for each in variants}
    targets = applicationautoscaling_backends[backend.account_id][backend.region_name].targets
    held = [
        name
        for name, variant in before.items()
        if wanted.get(name) != variant.get("InstanceType")
        and any(f"endpoint/{endpoint.endpoint_name}/variant/{name}" in of for of in targets.values())
    ]
    if held:
        raise AWSValidationException(
            f"The variant(s) {json.dumps(held)} must be deregistered as scalable targets with AutoScaling before they "
            "can be removed or have their instance type updated."
        )


def _retained(params: Mapping[str, Any]) -> set[str]:
    if not params.get("RetainAllVariantProperties"):
        return set()
    excluded = {item["VariantPropertyType"] for item in params.get("ExcludeRetainedVariantProperties", ())}
    return set(RETAINED) - excluded


def _headers(params: Mapping[str, Any]) -> dict[str, str]:
    """What reaches the container of an invocation's own headers."""
    names = {
        "ContentType": "Content-Type",
        "Accept": "Accept",
        "CustomAttributes": "X-Amzn-SageMaker-Custom-Attributes",
        "InferenceId": "X-Amzn-SageMaker-Inference-Id",
    }
    return {header: params[name] for name, header in names.items() if params.get(name)}


def _background(function: Any, *arguments: Any) -> None:
    threading.Thread(target=function, args=arguments, daemon=True).start()
