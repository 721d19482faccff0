"""Application Auto Scaling that scales: target tracking, steps, and schedules, for what SageMaker serves.

As in its user guide (https://docs.aws.amazon.com/autoscaling/application/userguide/): tracking adds capacity once a
metric has been above its target for three minutes and takes some away after fifteen below nine tenths of it; cooldowns
hold further steps back; nothing leaves the target's minimum and maximum. Minutes pass as quickly as a rollout's
(SLIPWAY_ROLLOUT_SECOND), though a minute never takes less than a second; schedules keep real time.
"""

import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from moto.applicationautoscaling import models
from moto.applicationautoscaling import responses as autoscaling_responses
from moto.applicationautoscaling import urls as autoscaling_urls
from moto.applicationautoscaling.models import (
    ApplicationAutoscalingBackend,
    FakeApplicationAutoscalingPolicy,
    FakeScalableTarget,
    FakeScheduledAction,
    ScalableDimensionValueSet,
    applicationautoscaling_backends,
)
from moto.applicationautoscaling.responses import ApplicationAutoScalingResponse
from moto.cloudwatch.models import cloudwatch_backends
from moto.sagemaker.models import SageMakerModelBackend, sagemaker_backends

from infra.rehearsal.emulator import alarms, inference_components, metrics, schedules
from infra.rehearsal.emulator.calls import ACCOUNT
from infra.rehearsal.emulator.endpoints import NAMESPACE, Endpoint, Endpoints
from infra.rehearsal.emulator.stored import NotThere

INSTANCES: Final = "sagemaker:variant:DesiredInstanceCount"
COPIES: Final = "sagemaker:inference-component:DesiredCopyCount"
CONCURRENCY: Final = "sagemaker:variant:DesiredProvisionedConcurrency"
PREDEFINED: Final[Mapping[str, tuple[str, str]]] = {
    "SageMakerVariantInvocationsPerInstance": ("Invocations", "Sum"),
    "SageMakerInferenceComponentInvocationsPerCopy": ("Invocations", "Sum"),
}
"""The metric and statistic behind a predefined one, to be divided by the capacity there is."""
CONCURRENT: Final = (
    "SageMakerVariantConcurrentRequestsPerModelHighResolution",
    "SageMakerInferenceComponentConcurrentRequestsPerCopyHighResolution",
)
"""How many requests were worked on at once, on average: the time that all took, over the time that passed (Little, A
Proof for the Queuing Formula, 1961). AWS looks every 10 seconds, the rehearsal every minute."""
OUT_MINUTES: Final = 3
IN_MINUTES: Final = 15
IN_SHARE: Final = 0.9
COOLDOWN_SECONDS: Final = 300

Dimensions = frozenset[tuple[str, str]]


@dataclass
class Scaled:
    """Since when a policy is looked at, and when it last changed something."""

    since: float
    out: float = -math.inf
    into: float = -math.inf


class Autoscaler:
    """Looks at every scalable target once a second."""

    def __init__(self, served: Endpoints, second: float) -> None:
        self._served, self._second = served, second
        self._last: dict[str, Scaled] = {}
        self._due: dict[str, datetime] = {}

    @property
    def _minute(self) -> int:
        """Seconds that stand for a minute of AWS."""
        return max(1, round(60 * self._second))

    def tick(self, now: float) -> None:
        """Do what is due at `now`, in seconds since 1970."""
        for region, backend in list(applicationautoscaling_backends[ACCOUNT].items()):
            self._obey_schedules(backend, now)
            for targets in list(backend.targets.values()):
                for target in list(targets.values()):
                    capacity = self.capacity(region, target)
                    if capacity is not None:
                        self._hold_limits(region, target, capacity)
            for policy in list(backend.policies.values()):
                if policy.policy_type == "TargetTrackingScaling":
                    self._track(region, backend, policy, now)

    def _hold_limits(self, region: str, target: FakeScalableTarget, capacity: int) -> None:
        least, most = int(target.min_capacity or 0), int(target.max_capacity or 0)
        if not least <= capacity <= most:
            self._set(region, target, min(max(capacity, least), most))

    def _obey_schedules(self, backend: ApplicationAutoscalingBackend, now: float) -> None:
        moment = datetime.fromtimestamp(now, UTC)
        for action in list(backend.scheduled_actions):
            zone = action.timezone or "UTC"
            key = f"{action.arn} {action.schedule} {zone}"
            due = self._due.get(key)
            if due and due <= moment:
                self._apply(backend, action)
            if due is None or due <= moment:
                following = schedules.following(action.schedule, moment, zone)
                self._due[key] = following or datetime.max.replace(tzinfo=UTC)

    def _apply(self, backend: ApplicationAutoscalingBackend, action: FakeScheduledAction) -> None:
        target = backend.targets.get(action.scalable_dimension, {}).get(action.resource_id)
        limits: Any = action.scalable_target_action or {}
        if target and not _suspended(target, "ScheduledScalingSuspended"):
            target.update(limits.get("MinCapacity"), limits.get("MaxCapacity"), None)  # type: ignore[arg-type]  # moto says str

    def _track(
        self, region: str, backend: ApplicationAutoscalingBackend, policy: FakeApplicationAutoscalingPolicy, now: float
    ) -> None:
        target = backend.targets.get(policy.scalable_dimension, {}).get(policy.resource_id)
        capacity = self.capacity(region, target) if target else None
        if target is None or capacity is None:
            return
        config: Mapping[str, Any] = policy.target_tracking_scaling_policy_configuration or {}
        values = self._values(region, policy, config, capacity, now)
        if values is None:
            return
        wanted, last = float(config["TargetValue"]), self._last.setdefault(policy.policy_arn, Scaled(now))
        latest = values[0]
        recent = [value or 0.0 for value in values]
        cooled = {
            name: now - moment >= float(config.get(f"Scale{kind}Cooldown", COOLDOWN_SECONDS)) * self._second
            for name, kind, moment in (("out", "Out", last.out), ("in", "In", max(last.into, last.out)))
        }
        if latest is not None and all(value > wanted for value in recent[:OUT_MINUTES]) and cooled["out"]:
            least = max(capacity, 1)
            more = max(math.ceil(least * latest / wanted), capacity + 1)
            if not _suspended(target, "DynamicScalingOutSuspended") and self._bounded(region, target, capacity, more):
                last.out = now
        elif (
            not config.get("DisableScaleIn")
            and now - last.since >= IN_MINUTES * self._minute  # a minute without data before that was not seen
            and all(value < wanted * IN_SHARE for value in recent[:IN_MINUTES])
            and cooled["in"]
            and not _suspended(target, "DynamicScalingInSuspended")
        ):
            fewer = min(math.ceil(capacity * max(recent[:IN_MINUTES]) / wanted), capacity - 1)
            if self._bounded(region, target, capacity, fewer):
                last.into = now

    def _values(
        self,
        region: str,
        policy: FakeApplicationAutoscalingPolicy,
        config: Mapping[str, Any],
        capacity: int,
        now: float,
    ) -> list[float | None] | None:
        """The tracked metric in each of the last minutes, newest first; None where the rehearsal does not have it."""
        custom = config.get("CustomizedMetricSpecification")
        minute = self._minute
        known = metrics.of_region(cloudwatch_backends[ACCOUNT][region])
        if custom and "MetricName" in custom:
            dimensions = frozenset((each["Name"], each["Value"]) for each in custom.get("Dimensions", ()))
            key = custom["Namespace"], custom["MetricName"], dimensions
            found = known.by_period(key, custom["Statistic"], minute, IN_MINUTES + 1, now)
            return found[1:]
        name = (config.get("PredefinedMetricSpecification") or {}).get("PredefinedMetricType", "")
        if name not in PREDEFINED and name not in CONCURRENT:
            return None
        metric, statistic = PREDEFINED.get(name, ("ModelLatency", "Sum"))  # which is in microseconds
        parts = max(capacity, 1) * (1e6 * minute if name in CONCURRENT else 1)
        key = NAMESPACE, metric, _dimensions(policy.resource_id)
        found = known.by_period(key, statistic, minute, IN_MINUTES + 1, now)
        return [None if value is None else value / parts for value in found[1:]]

    def act(self, region: str, policy_arn: str) -> None:
        """What an alarm does whose action is a step policy. Raises LookupError where there is no such policy."""
        backend = applicationautoscaling_backends[ACCOUNT][region]
        policy = next((each for each in backend.policies.values() if each.policy_arn == policy_arn), None)
        if policy is None:
            raise LookupError(f"there is no scaling policy {policy_arn}")
        target = backend.targets.get(policy.scalable_dimension, {}).get(policy.resource_id)
        capacity = self.capacity(region, target) if target else None
        config: Any = policy.step_scaling_policy_configuration or {}
        steps = config.get("StepAdjustments") or []
        if target is None or capacity is None or not steps:
            return
        amount = int(steps[0]["ScalingAdjustment"])
        kind = config.get("AdjustmentType", "ChangeInCapacity")
        wanted = {
            "ChangeInCapacity": capacity + amount,
            "ExactCapacity": amount,
            "PercentChangeInCapacity": capacity + math.ceil(capacity * amount / 100),
        }[kind]
        direction = "Out" if wanted > capacity else "In"
        if _suspended(target, f"DynamicScaling{direction}Suspended"):
            return
        now = time.time()
        last = self._last.setdefault(policy.policy_arn, Scaled(now))
        cooled = now - last.out >= float(config.get("Cooldown", 0)) * self._second
        if cooled and self._bounded(region, target, capacity, wanted):
            last.out = now

    def _bounded(self, region: str, target: FakeScalableTarget, capacity: int, wanted: int) -> bool:
        """Set a capacity within the target's limits; whether that is another one."""
        wanted = min(max(wanted, int(target.min_capacity or 0)), int(target.max_capacity or 0))
        return wanted != capacity and self._set(region, target, wanted)

    def capacity(self, region: str, target: FakeScalableTarget) -> int | None:
        """What a target has now; None where nothing of it can be scaled at the moment."""
        backend = sagemaker_backends[ACCOUNT][region]
        if target.scalable_dimension == COPIES:
            component = inference_components.all_of(backend).get(target.resource_id.partition("/")[2])
            return component.copies if component and component.status == "InService" else None
        variant = _variant(backend, target) if target.scalable_dimension == INSTANCES else None
        return variant.instances if variant else None

    def _set(self, region: str, target: FakeScalableTarget, capacity: int) -> bool:
        backend = sagemaker_backends[ACCOUNT][region]
        if target.scalable_dimension == COPIES:
            self._served.components.rescale(backend, target.resource_id.partition("/")[2], capacity)
            return True
        _, endpoint, _, variant = target.resource_id.split("/")
        self._served.reweigh(
            backend,
            {
                "EndpointName": endpoint,
                "DesiredWeightsAndCapacities": [{"VariantName": variant, "DesiredInstanceCount": capacity}],
            },
        )
        return True


def _variant(backend: SageMakerModelBackend, target: FakeScalableTarget) -> Any:
    """The variant of a target, unless its endpoint is being changed."""
    _, name, _, variant = target.resource_id.split("/")
    endpoint = backend.endpoints.get(name)
    if not isinstance(endpoint, Endpoint) or endpoint.endpoint_status != "InService" or not endpoint.traffic.live:
        return None
    return endpoint.traffic.live.variants.get(variant)


def _dimensions(resource_id: str) -> Dimensions:
    kind, name, *rest = resource_id.split("/")
    if kind == "inference-component":
        return frozenset({("InferenceComponentName", name)})
    return frozenset({("EndpointName", name), ("VariantName", rest[1])})


def _suspended(target: FakeScalableTarget, what: str) -> bool:
    state: Any = target.suspended_state or {}
    return bool(state.get(what))


class AutoscalingResponse(ApplicationAutoScalingResponse):
    """Application Auto Scaling whose targets carry tags, and take their policies and schedules with them."""

    def _tags(self, arn: str) -> dict[str, str]:
        backend = self.applicationautoscaling_backend
        if not any(target.arn == arn for targets in backend.targets.values() for target in targets.values()):
            raise NotThere(f"no scalable target {arn}")
        return vars(backend).setdefault("tags", {}).setdefault(arn, {})  # type: ignore[no-any-return]  # vars() are untyped

    def register_scalable_target(self) -> str:
        answer = super().register_scalable_target()
        self._tags(json.loads(answer)["ScalableTargetARN"]).update(self._get_param("Tags") or {})
        return answer

    def deregister_scalable_target(self) -> str:
        answer = super().deregister_scalable_target()
        backend = self.applicationautoscaling_backend
        gone = self._get_param("ResourceId"), self._get_param("ScalableDimension")
        for key, policy in list(backend.policies.items()):
            if (policy.resource_id, policy.scalable_dimension) == gone:
                del backend.policies[key]
        backend.scheduled_actions = [
            each for each in backend.scheduled_actions if (each.resource_id, each.scalable_dimension) != gone
        ]
        return answer

    def list_tags_for_resource(self) -> str:
        return json.dumps({"Tags": self._tags(self._get_param("ResourceARN"))})

    def tag_resource(self) -> str:
        self._tags(self._get_param("ResourceARN")).update(self._get_param("Tags"))
        return "{}"

    def untag_resource(self) -> str:
        tags = self._tags(self._get_param("ResourceARN"))
        for key in self._get_param("TagKeys"):
            tags.pop(key, None)
        return "{}"


_autoscaler: Autoscaler | None = None


def install(served: Endpoints, second: float) -> None:
    """Have what SageMaker serves scaled, and moto take the dimensions it does not know of."""
    global _autoscaler
    _autoscaler = Autoscaler(served, second)
    alarms.scale_with(act)
    autoscaling_urls.url_paths["{0}/$"] = AutoscalingResponse.dispatch
    known = [*ScalableDimensionValueSet, *(_Dimension(value) for value in (COPIES, CONCURRENCY))]
    models.ScalableDimensionValueSet = known  # type: ignore[assignment, misc]  # moto's list ends in 2021
    autoscaling_responses.ScalableDimensionValueSet = known  # type: ignore[assignment, attr-defined]  # likewise


@dataclass(frozen=True)
class _Dimension:
    value: str


def tick(now: float) -> None:
    """Scale what is due at `now`, in seconds since 1970."""
    if _autoscaler:
        _autoscaler.tick(now)


def act(region: str, policy_arn: str) -> None:
    """Do what a step policy says: an alarm went off whose action it is."""
    if _autoscaler:
        _autoscaler.act(region, policy_arn)
