"""Inference components: models that are put on an endpoint's instances by copies, down to none.

As in SageMaker's developer guide ("Deploy models with inference components", "Scale an endpoint to zero instances",
https://docs.aws.amazon.com/sagemaker/latest/dg/endpoint-auto-scaling-zero-instances.html): the endpoint's variant names
no model, a request names the component, and one to a component without copies fails and counts as
NoCapacityInvocationFailures. One process stands for all copies; without copies there is none.
"""

import re
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from moto.core.responses import ActionResult, BaseResponse, EmptyResult
from moto.sagemaker.exceptions import AWSValidationException
from moto.sagemaker.models import SageMakerModelBackend

from infra.rehearsal.emulator import alarms, endpoints, events
from infra.rehearsal.emulator.serving import STARTUP_TIMEOUT_SECONDS, Fleet, Log, ModelServer, Traffic, Variant

Json = dict[str, Any]

COPY = "copies"
"""The one variant of a component's fleet: the process that stands for its copies."""


@dataclass
class InferenceComponent:
    """One component and what runs behind it."""

    backend: SageMakerModelBackend
    name: str
    endpoint: "endpoints.Endpoint"
    variant: str
    specification: Json
    copies: int
    """How many are wanted."""
    tags: list[dict[str, str]]
    status: str = "Creating"
    failure_reason: str | None = None
    deployment: Json | None = None
    current: int = 0
    """How many there are."""
    traffic: Traffic = field(default_factory=Traffic)
    creation_time: datetime = field(default_factory=lambda: datetime.now(UTC))
    last_modified_time: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def arn(self) -> str:
        """Its ARN."""
        return f"arn:aws:sagemaker:{self.backend.region_name}:{self.backend.account_id}:inference-component/{self.name}"

    def become(self, status: str, reason: str | None = None) -> None:
        """Change the status and say so on EventBridge."""
        self.status, self.failure_reason, self.last_modified_time = status, reason, datetime.now(UTC)
        described = self.describe()
        keys = "InferenceComponentName", "InferenceComponentArn", "EndpointName", "EndpointArn", "VariantName"
        detail = {
            **{key: described[key] for key in keys},
            "InferenceComponentStatus": re.sub("(?<=[a-z])(?=[A-Z])", "_", status).upper(),
            **({"FailureReason": reason} if reason else {}),
        }
        kind = "SageMaker InferenceComponent State Change"
        events.emit(self.backend.region_name, "aws.sagemaker", kind, detail, [self.arn])

    def describe(self) -> Json:
        """The answer of DescribeInferenceComponent."""
        return {
            **self.summary(),
            "FailureReason": self.failure_reason,
            "Specification": self.specification,
            "RuntimeConfig": {"DesiredCopyCount": self.copies, "CurrentCopyCount": self.current},
            "LastDeploymentConfig": self.deployment,
        }

    def summary(self) -> Json:
        """A line of ListInferenceComponents."""
        return {
            "InferenceComponentName": self.name,
            "InferenceComponentArn": self.arn,
            "EndpointName": self.endpoint.endpoint_name,
            "EndpointArn": self.endpoint.arn,
            "VariantName": self.variant,
            "CreationTime": self.creation_time,
            "LastModifiedTime": self.last_modified_time,
            "InferenceComponentStatus": self.status,
        }

    def count(self, metric: str, value: float = 1) -> None:
        """One point of a metric of this component, for itself and on its variant."""
        dimensions = {"InferenceComponentName": self.name}
        alarms.put_metric(self.backend.region_name, endpoints.NAMESPACE, metric, value, dimensions)


def all_of(backend: SageMakerModelBackend) -> dict[str, InferenceComponent]:
    """The components of a region, by name; a reset of moto clears them."""
    return vars(backend).setdefault("inference_components", {})  # type: ignore[no-any-return]  # vars() are untyped


def find(backend: SageMakerModelBackend, name: str) -> InferenceComponent:
    """Raises AWSValidationException where there is none."""
    try:
        return all_of(backend)[name]
    except KeyError:
        raise AWSValidationException(f'Could not find inference component "{name}".') from None


class Components:
    """What is done to components. Methods raise AWSValidationException for what AWS refuses."""

    def __init__(self, served: "endpoints.Endpoints") -> None:
        self._served = served
        self._lock = threading.Lock()

    def create(self, backend: SageMakerModelBackend, params: Mapping[str, Any]) -> InferenceComponent:
        """CreateInferenceComponent: returns at once, and goes on in the background."""
        name, endpoint = params["InferenceComponentName"], endpoints.find(backend, params["EndpointName"])
        if endpoint.endpoint_status != "InService":
            raise AWSValidationException(
                f"Endpoint {endpoint.endpoint_name} is {endpoint.endpoint_status}; it must be InService"
            )
        variant = params.get("VariantName") or ""
        hosts = endpoint.traffic.live.variants if endpoint.traffic.live else {}
        if variant not in hosts or not isinstance(hosts[variant].server, NoModel):
            raise AWSValidationException(
                f"Variant {variant!r} of endpoint {endpoint.endpoint_name} does not host inference components: its "
                "endpoint configuration must name no model for it"
            )
        specification = _checked(backend, params.get("Specification") or {})
        copies = int((params.get("RuntimeConfig") or {}).get("CopyCount", 1))
        with self._lock:
            if name in all_of(backend):
                raise AWSValidationException(f'Cannot create already existing inference component "{name}".')
            component = InferenceComponent(
                backend, name, endpoint, variant, specification, copies, params.get("Tags") or []
            )
            all_of(backend)[name] = component
        component.become("Creating")
        _background(self._bring_up, component)
        return component

    def _bring_up(self, component: InferenceComponent) -> None:
        try:
            self._scale(component)
        except Exception as error:
            component.become("Failed", str(error))
            return
        component.become("InService")

    def update(self, backend: SageMakerModelBackend, params: Mapping[str, Any]) -> InferenceComponent:
        """UpdateInferenceComponent: another specification batch by batch, another number of copies, or both."""
        component = find(backend, params["InferenceComponentName"])
        specification = params.get("Specification")
        checked = _checked(backend, specification) if specification else component.specification
        self._occupy(component)
        if params.get("RuntimeConfig"):
            component.copies = int(params["RuntimeConfig"]["CopyCount"])
        component.deployment = params.get("DeploymentConfig") or component.deployment
        _background(self._roll_out, component, checked)
        return component

    def rescale(self, backend: SageMakerModelBackend, name: str, copies: int) -> InferenceComponent:
        """UpdateInferenceComponentRuntimeConfig, and what autoscaling does."""
        component = find(backend, name)
        self._occupy(component)
        component.copies = copies
        _background(self._roll_out, component, component.specification)
        return component

    def _occupy(self, component: InferenceComponent) -> None:
        with self._lock:
            if component.status not in ("InService", "Failed"):
                raise AWSValidationException(f'Cannot update in-progress inference component "{component.arn}".')
            component.status = "Updating"
        component.become("Updating")

    def _roll_out(self, component: InferenceComponent, specification: Json) -> None:
        before = component.specification
        try:
            if specification != before and component.current:
                component.specification = specification
                self._replace(component)
            component.specification = specification
            self._scale(component)
        except Exception as error:
            component.specification = before
            component.traffic.settle(component.traffic.live)
            component.become("InService", f"the update was rolled back, {_model(before)} serves: {error}")
            return
        component.become("InService")

    def _replace(self, component: InferenceComponent) -> None:
        """Start the new specification beside the old one, and shift copies to it batch by batch.

        Raises LoadError, or AlarmWentOff where an alarm of the deployment goes off.
        """
        fleet = self._fleet(component)
        component.traffic.shift(fleet, 0)
        fleet.start()
        policy = (component.deployment or {}).get("RollingUpdatePolicy")
        watched = [alarm["AlarmName"] for alarm in _alarms(component)]
        for share in _shares(policy, component.current):
            component.traffic.shift(fleet, share)
            wait = float((policy or {}).get("WaitIntervalInSeconds", 0))
            self._served.watch(component.backend, watched, wait, lambda: component.traffic.share)
        component.traffic.settle(fleet)

    def _scale(self, component: InferenceComponent) -> None:
        """Have as many copies as are wanted. Raises LoadError."""
        if component.copies and component.traffic.live is None:
            fleet = self._fleet(component)
            fleet.start()
            component.traffic.settle(fleet)
        elif not component.copies and component.traffic.live:
            component.current = 0
            component.traffic.settle(None)
        component.current = component.copies

    def _fleet(self, component: InferenceComponent) -> Fleet:
        served, region = self._served, component.backend.region_name
        container = endpoints.container_of(component.backend, _model(component.specification))
        folder = served.folder / f"{component.name}-{uuid.uuid4().hex[:8]}"
        log = Log(served.aws, region, container.role, component.endpoint.endpoint_name, component.variant)
        startup = component.specification.get("StartupParameters", {})
        timeout = startup.get("ContainerStartupHealthCheckTimeoutInSeconds", STARTUP_TIMEOUT_SECONDS)
        server = ModelServer(container, folder, served.aws, region, log)
        variant = Variant(component.variant, server, 1.0, component.copies, timeout)
        live = component.endpoint.traffic.live
        return Fleet(component.name, live.capture if live else {}, {COPY: variant})

    def delete(self, backend: SageMakerModelBackend, name: str) -> None:
        """DeleteInferenceComponent."""
        component = find(backend, name)
        component.become("Deleting")

        def end() -> None:
            component.traffic.settle(None)
            all_of(backend).pop(name, None)

        _background(end)


def _checked(backend: SageMakerModelBackend, specification: Mapping[str, Any]) -> Json:
    if "ModelName" not in specification:
        raise AWSValidationException("Specification.ModelName is missing; the rehearsal serves components by model")
    backend.describe_model(specification["ModelName"])
    if "ComputeResourceRequirements" not in specification:
        raise AWSValidationException("Specification.ComputeResourceRequirements is missing")
    return dict(specification)


def _model(specification: Mapping[str, Any]) -> str:
    return str(specification["ModelName"])


def _alarms(component: InferenceComponent) -> list[dict[str, str]]:
    deployment = component.deployment or {}
    return list(deployment.get("AutoRollbackConfiguration", {}).get("Alarms", ()))


def _shares(policy: Mapping[str, Any] | None, copies: int) -> list[float]:
    """Percent of the copies that are new after each batch of a RollingUpdatePolicy."""
    if not policy:
        return [100.0]
    size = policy["MaximumBatchSize"]
    batch = size["Value"] if size["Type"] == "CAPACITY_PERCENT" else 100 * size["Value"] / max(copies, 1)
    steps = [batch * step for step in range(1, int(100 / batch) + 1)]
    return steps if steps and steps[-1] >= 100 else [*steps, 100.0]


class NoModel(ModelServer):
    """What stands behind a variant that only hosts components."""

    def start(self, timeout: float) -> None:
        """There is nothing to start."""

    def stop(self) -> None:
        """Nor to stop."""


class ComponentOperations(BaseResponse):
    """The operations of the sagemaker service on components."""

    def _components(self) -> Components:
        raise NotImplementedError

    def _backend(self) -> SageMakerModelBackend:
        raise NotImplementedError

    def create_inference_component(self) -> ActionResult:
        return ActionResult({"InferenceComponentArn": self._components().create(self._backend(), self.params).arn})

    def describe_inference_component(self) -> ActionResult:
        return ActionResult(find(self._backend(), self.params["InferenceComponentName"]).describe())

    def list_inference_components(self) -> ActionResult:
        endpoint, part = self.params.get("EndpointNameEquals"), self.params.get("NameContains", "")
        found = [
            component.summary()
            for component in all_of(self._backend()).values()
            if part in component.name and endpoint in (None, component.endpoint.endpoint_name)
        ]
        return ActionResult({"InferenceComponents": found})

    def update_inference_component(self) -> ActionResult:
        return ActionResult({"InferenceComponentArn": self._components().update(self._backend(), self.params).arn})

    def update_inference_component_runtime_config(self) -> ActionResult:
        name, copies = self.params["InferenceComponentName"], int(self.params["DesiredRuntimeConfig"]["CopyCount"])
        return ActionResult({"InferenceComponentArn": self._components().rescale(self._backend(), name, copies).arn})

    def delete_inference_component(self) -> ActionResult:
        self._components().delete(self._backend(), self.params["InferenceComponentName"])
        return EmptyResult()


def _background(function: Callable[..., None], *arguments: Any) -> None:
    threading.Thread(target=function, args=arguments, daemon=True).start()
