"""A Lambda that watches what a stack's instances cost as they run, hours before a bill or a budget knows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
from pydantic import Field

from components.budget import ATTRIBUTION
from components.dashboard import Chart
from components.gpu import GpuPool
from components.iam import Statement, allow, default_tags, local_arn, use_key
from components.monitor import Monitor, MonitorSpec, Rate
from components.runbook import Guide
from functions.running import JOBS
from functions.spending_monitor.product import WITH_INSTANCES
from policies.cost.prices import PRICES

SPENDING = "spending"


class SpendingSpec(MonitorSpec):
    """How often it is looked at what runs, and what is too much."""

    schedule: Rate = "rate(15 minutes)"
    budget_percent: int = Field(default=100, gt=0, le=1000)
    """What runs may cost so much of the budget, left alone for a month. What a stack declares never does: its largest
    size is within its budget, or `slipway check` fails."""
    usual_times: float = Field(default=3, gt=1, le=100)
    """And so many times what it cost in all but the dearest hours of the last 14 days."""
    unusual_percent: int = Field(default=20, ge=0, le=1000)
    """Unless what is above the usual costs less of the budget than this, left alone for a month."""
    day_percent: int = Field(default=15, gt=0, le=1000)
    """24 hours may cost so much of the budget: an even spending takes 3.3 %."""
    idle_hours: int = Field(default=24, ge=1, le=360)
    """An endpoint that nobody asks anything for so long is idle, and a pool's GPUs that no program uses."""
    memory_mib: int = Field(default=256, ge=128, le=10240)
    timeout_seconds: int = Field(default=120, ge=30, le=900)


@dataclass(frozen=True)
class Watched:
    """The nodes of a cluster."""

    cluster_name: pulumi.Input[str]
    pools: Mapping[str, GpuPool]


class SpendingMonitor(pulumi.ComponentResource):
    """Alarms where cost runs away, `<name>-spending`, and where what is paid for is not used, `<name>-idle`; and a
    report of what costs most."""

    function_name: pulumi.Output[str]
    schedule_name: pulumi.Output[str]
    """`group/name`, as EventBridge Scheduler knows it."""
    guides: list[Guide]
    charts: list[Chart]

    def __init__(
        self,
        name: str,
        spec: SpendingSpec,
        *,
        usd_per_month: float,
        pipeline_names: Sequence[pulumi.Input[str]] = (),
        watched: Watched | None = None,
        bucket: pulumi.Input[str],
        bucket_arn: pulumi.Input[str],
        prefix: str,
        kms_key_arn: pulumi.Input[str],
        alerts_topic_arn: pulumi.Input[str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """With `watched` it is about a cluster's nodes; otherwise about a product: the endpoints and jobs that carry
        the stack's owner, product and environment tags, and those of the pipelines named.
        """
        super().__init__("slipway:index:SpendingMonitor", name, opts=opts)
        reports = f"{prefix}/monitors/{SPENDING}/{name}/"
        if watched:
            rights = [allow(["ec2:DescribeInstances"], "*")]
            side: dict[str, Any] = {"cluster": {"name": watched.cluster_name, "pools": _partitioned(watched.pools)}}
        else:
            tags = {tag: default_tags()[tag] for tag in ATTRIBUTION}
            pipelines = [pulumi.Output.concat(local_arn("sagemaker", "pipeline/"), each) for each in pipeline_names]
            rights = _may_look(tags, pipelines)
            side = {"product": {"tags": tags, "pipelines": pipelines}}
        monitor = Monitor(
            name,
            SPENDING,
            spec,
            handler="functions.spending_monitor.handler.handler",
            access=[
                *rights,
                # AWS knows no resource for it.
                allow(["cloudwatch:GetMetricData"], "*"),
                allow(["s3:GetObject", "s3:PutObject"], pulumi.Output.concat(bucket_arn, "/", reports, "*")),
                # Without it S3 says of a state that is not there yet that it is forbidden.
                allow(["s3:ListBucket"], bucket_arn, when={"StringLike": {"s3:prefix": f"{reports}*"}}),
                use_key(kms_key_arn, "s3"),
            ],
            event={
                "endpoint": name,
                **side,
                "prices": prices("" if watched else "ml."),
                "spot_share": PRICES["spot_share"]["expected"],
                "limits": {
                    "usd_per_month": usd_per_month,
                    **spec.model_dump(include={"budget_percent", "usual_times", "unusual_percent", "day_percent"}),
                },
                "idle_hours": spec.idle_hours,
                "reports": pulumi.Output.concat("s3://", bucket, "/", reports),
            },
            kms_key_arn=kms_key_arn,
            alerts_topic_arn=alerts_topic_arn,
            opts=pulumi.ResourceOptions(parent=self),
        )
        self._alarms(monitor, name, spec, watched)
        monitor.shows("USD an hour, of instances", "usd_per_hour")
        self.guides, self.charts = monitor.guides, monitor.charts
        self.function_name, self.schedule_name = monitor.function.name, monitor.schedule_name
        self.register_outputs({"function_name": self.function_name, "schedule_name": self.schedule_name})

    def _alarms(self, monitor: Monitor, name: str, spec: SpendingSpec, watched: Watched | None) -> None:
        show = f"$ slipway monitor show {pulumi.get_stack()} {SPENDING}"
        monitor.rings(
            SPENDING,
            "runaway",
            means=f"What {name} runs costs more than its budget allows, or than it ever did.",
            look=[show, f"$ slipway stop {pulumi.get_stack()}"],
            act=[
                "The report says what costs most: ask whoever started it whether it has to run.",
                f"Stop everything of it that spends: `slipway stop {pulumi.get_stack()} --act`; it can be undone.",
                "If it is meant, raise `slipway:usd_per_month`: the alarm ends with the deployment.",
            ],
        )
        what = "GPUs of its nodes" if watched else "an endpoint of it"
        monitor.rings(
            "idle",
            "idle",
            means=f"{name} pays for what nobody has used for {spec.idle_hours} hours: {what}.",
            look=[show],
            act=_when_unused(watched),
        )


def prices(prefix: str) -> dict[str, float]:
    """USD an hour of the instance types that SageMaker has (`ml.`), or EC2, by the price table."""
    table = PRICES["instances"]
    return {each: table[each]["usd"] for each in sorted(table) if each.startswith("ml.") == bool(prefix)}


def _partitioned(pools: Mapping[str, GpuPool]) -> dict[str, Any]:
    return {
        pool: {"partitioned": spec.sharing is not None and spec.sharing.kind == "mig"}
        for pool, spec in sorted(pools.items())
    }


def _when_unused(watched: Watched | None) -> list[str]:
    if watched:
        return [
            "Where nothing is told of a pool's GPUs: see why the pods of `gpu-metrics` do not run there.",
            "Where no program uses them: end the pods that keep the nodes, or take the pool's `min_size` down.",
        ]
    return [
        "If nobody needs it any more, take `model_version` out of the stack's settings, and deploy.",
        "If somebody should ask it: see why the requests do not come.",
        "If it is asked only now and then, let it serve without instances: `kind: serverless`, or batch prediction.",
    ]


def _may_look(tags: Mapping[str, str], pipelines: Sequence[pulumi.Input[str]]) -> list[Statement]:
    """The right to see what runs of these tags and pipelines, and nothing else."""
    ours = {"StringEquals": {f"aws:ResourceTag/{tag}": value for tag, value in tags.items()}}
    jobs = {JOBS[kind].noun: kind for kind in WITH_INSTANCES}
    endpoints = local_arn("sagemaker", "endpoint/*")
    lists = ["ListEndpoints", "ListInferenceComponents", *(f"List{noun}s" for noun in jobs)]
    kinds = [local_arn("sagemaker", f"{kind}/*") for kind in jobs.values()]
    rights = [
        # AWS knows no resource for these.
        allow([f"sagemaker:{each}" for each in lists], "*"),
        allow(["sagemaker:ListTags"], endpoints, *kinds),
        allow(["sagemaker:DescribeEndpoint"], endpoints, when=ours),
        allow(["sagemaker:DescribeEndpointConfig"], local_arn("sagemaker", "endpoint-config/*"), when=ours),
    ]
    for noun, kind in jobs.items():
        rights += [
            allow([f"sagemaker:Describe{noun}"], local_arn("sagemaker", f"{kind}/*"), when=ours),
            # SageMaker names a pipeline's jobs so; they carry no tags of the product.
            allow([f"sagemaker:Describe{noun}"], local_arn("sagemaker", f"{kind}/pipelines-*")),
        ]
    if pipelines:
        rights += [
            allow(["sagemaker:ListPipelineExecutions"], *pipelines),
            allow(
                ["sagemaker:ListPipelineExecutionSteps"],
                *(pulumi.Output.concat(each, "/execution/*") for each in pipelines),
            ),
        ]
    return rights
