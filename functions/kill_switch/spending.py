"""What of SageMaker spends for a product, and how it is stopped: endpoints, pipelines and jobs with the product's tags.

The tags are those by which its budget counts, so that what a budget's alarm stops is what the budget is about.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from functions.kill_switch.core import Found, Kind, Values
from functions.running import JOBS, Running, pages

PROTECTED: Final = "slipway:protected"
"""The tag, whatever its value, of what the switch must not stop. Its role's policy refuses that, too."""
SCALED: Final = "sagemaker"
COPIES: Final = "sagemaker:inference-component:DesiredCopyCount"
CONCURRENCY: Final = "sagemaker:variant:DesiredProvisionedConcurrency"


class Product:
    """A product's endpoints, pipelines and jobs."""

    kinds: tuple[Kind, ...] = ("scale-out", "capacity", "execution", "job")

    def __init__(self, sagemaker: Any, scaling: Any, *, tags: Mapping[str, str], pipelines: Sequence[str]) -> None:
        """`pipelines` are their ARNs."""
        self._sagemaker, self._scaling, self._pipelines = sagemaker, scaling, pipelines
        self._running = Running(sagemaker, tags=tags, pipelines=pipelines)

    # --- what there is ----------------------------------------------------------------------------------------------

    def find(self) -> Iterator[Found]:
        """Everything of the product that spends now."""
        yield from self._endpoints()
        yield from self._runs()

    def _endpoints(self) -> Iterator[Found]:
        targets: dict[str, dict[str, Any]] = {
            each["ResourceId"]: each
            for each in pages(self._scaling, "describe_scalable_targets", "ScalableTargets", ServiceNamespace=SCALED)
        }
        for name, tags in self._running.endpoints():
            wanted = [resource for resource in targets if resource.startswith(f"endpoint/{name}/")]
            wanted += [f"inference-component/{each}" for each in self._running.components(name)]
            for resource in wanted:
                if resource in targets:
                    yield from self._scaled(targets[resource], protected=PROTECTED in tags)

    def _scaled(self, target: Mapping[str, Any], *, protected: bool) -> Iterator[Found]:
        name, now = target["ResourceId"], _suspensions(target)
        yield Found(
            kind="scale-out",
            name=name,
            now=now,
            # It may still scale in.
            stopped={**now, "DynamicScalingOutSuspended": True, "ScheduledScalingSuspended": True},
            protected=protected,
            note="scale-out and scheduled scaling are held, scale-in is not",
        )
        current = self._capacity(target)
        if current is None:
            return
        least = int(target["MinCapacity"])
        yield Found(
            kind="capacity",
            name=name,
            now={"capacity": current},
            stopped={"capacity": min(current, least)},
            protected=protected,
            note=f"its minimum is {least}" if current > least else "it serves at its minimum",
        )

    def _runs(self) -> Iterator[Found]:
        """Executions of the product's pipelines, and its jobs that belong to none of these."""
        running = {kind: list(self._running.jobs(kind)) for kind in JOBS}
        protected = {arn for jobs in running.values() for arn, _, tags in jobs if PROTECTED in tags}
        with_execution: set[str] = set()
        for execution in self._running.executions():
            its = self._running.jobs_of(execution)
            with_execution |= its
            yield Found(
                kind="execution",
                name=_short(execution),
                now={"runs": True},
                stopped={"runs": False},
                protected=bool(protected & its),
                note=f"with its {', '.join(sorted(_short(each) for each in its))}" if its else "",
            )
        for kind, jobs in running.items():
            for arn, name, tags in jobs:
                if arn not in with_execution and self._running.owns(tags):
                    yield Found(
                        kind="job",
                        name=f"{kind}/{name}",
                        now={"runs": True},
                        stopped={"runs": False},
                        protected=PROTECTED in tags,
                    )

    # --- one of them ------------------------------------------------------------------------------------------------

    def read(self, kind: Kind, name: str) -> Values | None:
        """How something is now; None where it is gone."""
        if kind in ("scale-out", "capacity"):
            target = self._target(name)
            if target is None:
                return None
            if kind == "scale-out":
                return _suspensions(target)
            current = self._capacity(target)
            return None if current is None else {"capacity": current}
        if kind == "execution":
            described = self._sagemaker.describe_pipeline_execution(PipelineExecutionArn=self._execution_arn(name))
            return {"runs": described["PipelineExecutionStatus"] == "Executing"}
        job, _, called = name.partition("/")
        noun, call = JOBS[job].noun, JOBS[job].call
        described = getattr(self._sagemaker, f"describe_{call}")(**{f"{noun}Name": called})
        return {"runs": described[f"{noun}Status"] == "InProgress"}

    def change(self, kind: Kind, name: str, values: Values) -> None:
        """Set what was read."""
        if kind in ("scale-out", "capacity"):
            target = self._target(name)
            if target is None:
                raise LookupError(f"{name} has no scalable target any more")
            if kind == "scale-out":
                self._scaling.register_scalable_target(**_key(target), SuspendedState=dict(values))
            else:
                self._set_capacity(target, values["capacity"])
        elif kind == "execution":
            self._sagemaker.stop_pipeline_execution(PipelineExecutionArn=self._execution_arn(name))
        else:
            job, _, called = name.partition("/")
            getattr(self._sagemaker, f"stop_{JOBS[job].call}")(**{f"{JOBS[job].noun}Name": called})

    def _target(self, name: str) -> dict[str, Any] | None:
        found: list[dict[str, Any]] = self._scaling.describe_scalable_targets(
            ServiceNamespace=SCALED, ResourceIds=[name]
        )["ScalableTargets"]
        return found[0] if found else None

    def _capacity(self, target: Mapping[str, Any]) -> int | None:
        """What a target has; None where what it scales is gone."""
        _, endpoint, *rest = target["ResourceId"].split("/")
        if target["ScalableDimension"] == COPIES:
            described = self._sagemaker.describe_inference_component(InferenceComponentName=endpoint)
            return int(described["RuntimeConfig"]["DesiredCopyCount"])
        variants = self._sagemaker.describe_endpoint(EndpointName=endpoint).get("ProductionVariants", ())
        for variant in variants:
            if variant["VariantName"] == rest[-1]:
                if target["ScalableDimension"] == CONCURRENCY:
                    return int(variant.get("CurrentServerlessConfig", {}).get("ProvisionedConcurrency", 0))
                return int(variant.get("CurrentInstanceCount", 0))
        return None

    def _set_capacity(self, target: Mapping[str, Any], capacity: int) -> None:
        _, endpoint, *rest = target["ResourceId"].split("/")
        if target["ScalableDimension"] == COPIES:
            self._sagemaker.update_inference_component_runtime_config(
                InferenceComponentName=endpoint, DesiredRuntimeConfig={"CopyCount": capacity}
            )
            return
        by_dimension: dict[str, Any] = (
            {"ServerlessUpdateConfig": {"ProvisionedConcurrency": capacity}}
            if target["ScalableDimension"] == CONCURRENCY
            else {"DesiredInstanceCount": capacity}
        )
        self._sagemaker.update_endpoint_weights_and_capacities(
            EndpointName=endpoint, DesiredWeightsAndCapacities=[{"VariantName": rest[-1], **by_dimension}]
        )

    def _execution_arn(self, name: str) -> str:
        return f"{self._pipelines[0].rpartition(':')[0]}:{name}"


def _short(arn: str) -> str:
    """What stands in an ARN after the account: `pipeline/employment-prod/execution/abc`."""
    return re.sub(r"^arn:[^:]*:[^:]*:[^:]*:[^:]*:", "", arn)


def _key(target: Mapping[str, Any]) -> dict[str, Any]:
    return {name: target[name] for name in ("ServiceNamespace", "ResourceId", "ScalableDimension")}


def _suspensions(target: Mapping[str, Any]) -> dict[str, bool]:
    told = target.get("SuspendedState") or {}
    names = "DynamicScalingInSuspended", "DynamicScalingOutSuspended", "ScheduledScalingSuspended"
    return {name: bool(told.get(name, False)) for name in names}
