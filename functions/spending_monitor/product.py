"""What a product's endpoints and jobs run on now, and what that costs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from functions.running import JOBS, Running
from functions.spending_monitor.core import Prices, Spender
from functions.spending_monitor.metrics import Series, highest

NAMESPACE: Final = "AWS/SageMaker"
ROLLOUT_HOURS: Final = 8.0
"""A deployment of SageMaker's takes no longer: then one of its two fleets is gone.
https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_BlueGreenUpdatePolicy.html"""
DAY: Final = 86400
"""Seconds that a job may take unless it says otherwise. Transform jobs cannot say."""

WITH_INSTANCES: Final = ("training-job", "processing-job", "transform-job")
"""Kinds of jobs. A tuning job has none of its own: its training jobs have."""


class Product:
    """Everything with a product's tags, and the jobs of its pipelines."""

    def __init__(
        self, sagemaker: Any, cloudwatch: Any, prices: Prices, *, tags: Mapping[str, str], pipelines: Sequence[str]
    ) -> None:
        """`pipelines` are their ARNs."""
        self._sagemaker, self._cloudwatch, self._prices = sagemaker, cloudwatch, prices
        self._running = Running(sagemaker, tags=tags, pipelines=pipelines)

    def spenders(self, now: datetime, idle_after: timedelta) -> list[Spender]:
        """What runs, and which endpoints nobody has asked anything for so long."""
        return [*self._endpoints(now, idle_after), *self._jobs(now)]

    def _endpoints(self, now: datetime, idle_after: timedelta) -> Iterator[Spender]:
        found: list[Spender] = []
        asked: dict[str, list[Series]] = {}
        for name, _ in self._running.endpoints():
            described = self._sagemaker.describe_endpoint(EndpointName=name)
            found += self._fleet(name, described, described["CreationTime"], None)
            if pending := described.get("PendingDeploymentSummary"):
                found += self._fleet(name, pending, pending.get("StartTime", now), ROLLOUT_HOURS)
            variants = [each["VariantName"] for each in described.get("ProductionVariants", ())]
            asked[name] = [
                *(_invocations(EndpointName=name, VariantName=each) for each in variants),
                *(_invocations(InferenceComponentName=each) for each in self._running.components(name)),
            ]
        # One that is younger has had no time to be asked.
        grown = {each.name for each in found if each.since and now - each.since >= idle_after}
        looked_at = [each for name in sorted(grown) for each in asked[name]]
        most = highest(self._cloudwatch, looked_at, now - idle_after, now, stat="Sum")
        for each in found:
            unasked = each.name in grown and not any(most.get(series) for series in asked[each.name])
            hours = idle_after.total_seconds() / 3600
            yield replace(each, idle=f"nobody has asked it anything for {hours:g} hours") if unasked else each

    def _fleet(
        self, name: str, told: Mapping[str, Any], since: datetime, hours_left: float | None
    ) -> Iterator[Spender]:
        """The instances of an endpoint, or of those that are to follow them. Serverless ones have none."""
        counts = {
            each["VariantName"]: each.get("CurrentInstanceCount", 0) for each in told.get("ProductionVariants", ())
        }
        if not any(counts.values()):
            return
        configuration = self._sagemaker.describe_endpoint_config(EndpointConfigName=told["EndpointConfigName"])
        types = {each["VariantName"]: each.get("InstanceType") for each in configuration["ProductionVariants"]}
        for variant, count in counts.items():
            if count and types.get(variant):
                yield Spender.of(
                    "endpoint", name, types[variant], count, self._prices, since=since, hours_left=hours_left
                )

    def _jobs(self, now: datetime) -> Iterator[Spender]:
        ours = {arn for execution in self._running.executions() for arn in self._running.jobs_of(execution)}
        for kind in WITH_INSTANCES:
            for arn, name, tags in self._running.jobs(kind):
                if arn in ours or self._running.owns(tags):
                    yield from self._job(kind, name, now)

    def _job(self, kind: str, name: str, now: datetime) -> Iterator[Spender]:
        noun, call = JOBS[kind].noun, JOBS[kind].call
        told = getattr(self._sagemaker, f"describe_{call}")(**{f"{noun}Name": name})
        machines = (
            told.get("ResourceConfig")
            or told.get("ProcessingResources", {}).get("ClusterConfig")
            or told["TransformResources"]
        )
        limit = told.get("StoppingCondition", {}).get("MaxRuntimeInSeconds", DAY)
        since = told.get(f"{noun.removesuffix('Job')}StartTime") or told["CreationTime"]
        for group in machines.get("InstanceGroups") or [machines]:
            yield Spender.of(
                kind,
                name,
                group["InstanceType"],
                group["InstanceCount"],
                self._prices,
                spot=bool(told.get("EnableManagedSpotTraining")),
                since=since,
                hours_left=max(0.0, limit - (now - since).total_seconds()) / 3600,
            )


def _invocations(**dimensions: str) -> Series:
    return Series(NAMESPACE, "Invocations", tuple(sorted(dimensions.items())))
