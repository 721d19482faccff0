"""Watches whether an endpoint answers, and in time, by what its users were promised."""

from typing import Annotated

import pulumi
from pydantic import AfterValidator, Field, PositiveInt, model_validator

from components.dashboard import Chart
from components.data_monitor import may_see_live
from components.endpoint import VARIANT
from components.iam import allow, use_key
from components.monitor import Monitor, MonitorSpec, Rate
from components.runbook import Guide
from components.spec import Spec


def _whole_minutes(minutes: int) -> int:
    if minutes > 360 and minutes % 60:
        raise ValueError(f"{minutes} minutes: beyond 6 hours it goes by the hour, so set a multiple of 60")
    return minutes


Minutes = Annotated[int, Field(ge=1, le=30 * 24 * 60), AfterValidator(_whole_minutes)]


class BurnSpec(Spec):
    """When an allowance is used up too fast: in a long window, so that it matters, and in a short one, so still."""

    long_minutes: Minutes
    """The long window."""
    short_minutes: Minutes
    """The short one."""
    factor: float = Field(gt=0, le=1000)
    """How many times faster than what would just last for a month. At 14.4, an hour uses up 2 % of a month's."""

    @model_validator(mode="after")
    def _short_is_shorter(self) -> "BurnSpec":
        if self.short_minutes >= self.long_minutes:
            raise ValueError(f"{self.short_minutes} minutes are no shorter window than {self.long_minutes}")
        if self.long_minutes > 360 > self.short_minutes:
            raise ValueError(
                f"a window of {self.long_minutes} minutes goes by the hour: set short_minutes to 360 or more"
            )
        return self


class ObjectivesSpec(Spec):
    """What the endpoint's users were promised."""

    availability_percent: float = Field(default=99.9, gt=0, lt=100)
    """Of the requests, so many are answered without a 5xx."""
    latency_percent: float = Field(default=99, gt=0, lt=100)
    """Of the requests, so many are answered in time."""
    latency_ms: PositiveInt | None = None
    """In time: the model's own time. Unless set, the endpoint's max_latency_ms."""


class ServiceMonitorSpec(MonitorSpec):
    """What was promised, how often it is looked at, and when somebody is woken.

    The windows and factors are those of the Site Reliability Workbook, chapter 5.
    """

    schedule: Rate = "rate(5 minutes)"
    memory_mib: int = Field(default=256, ge=128, le=10240)
    timeout_seconds: int = Field(default=60, ge=30, le=900)
    objectives: ObjectivesSpec = ObjectivesSpec()
    """What was promised."""
    fast: BurnSpec = BurnSpec(long_minutes=60, short_minutes=5, factor=14.4)
    """Wakes someone at once."""
    slow: BurnSpec = BurnSpec(long_minutes=360, short_minutes=30, factor=6)
    """Wakes someone, too: slower, and for longer."""
    steady: BurnSpec = BurnSpec(long_minutes=3 * 24 * 60, short_minutes=360, factor=1)
    """This one wakes nobody: the report tells of it."""
    fewest_requests: int = Field(default=50, ge=1)
    """In the long window: with fewer, nothing is said."""
    fewest_bad: int = Field(default=5, ge=1)
    """In the long window: of a thousand requests one may fail, but one that fails of fifty says nothing yet."""


class ServiceMonitor(pulumi.ComponentResource):
    """Holds the endpoint's requests against what was promised, and rings while it is broken fast."""

    function_name: pulumi.Output[str]
    schedule_name: pulumi.Output[str]
    """`group/name`, as EventBridge Scheduler knows it."""
    guides: list[Guide]
    charts: list[Chart]

    def __init__(
        self,
        name: str,
        spec: ServiceMonitorSpec,
        *,
        endpoint_name: pulumi.Input[str],
        max_latency_ms: int,
        bucket: pulumi.Input[str],
        bucket_arn: pulumi.Input[str],
        prefix: str,
        kms_key_arn: pulumi.Input[str],
        alerts_topic_arn: pulumi.Input[str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """It writes `prefix`/monitors/service in the bucket. `max_latency_ms` is the endpoint's own limit."""
        super().__init__("slipway:index:ServiceMonitor", name, opts=opts)
        child = pulumi.ResourceOptions(parent=self)

        own = f"{prefix}/monitors/service/{name}/"
        monitor = Monitor(
            name,
            "service",
            spec,
            handler="functions.service_monitor.handler.handler",
            access=[
                allow(["s3:GetObject", "s3:PutObject"], pulumi.Output.concat(bucket_arn, f"/{own}*")),
                # Without the right to list, S3 says of what is not there that it is forbidden.
                allow(["s3:ListBucket"], bucket_arn, when={"StringLike": {"s3:prefix": f"{own}*"}}),
                allow(["cloudwatch:GetMetricData"], "*"),  # it knows no resources
                *may_see_live(endpoint_name),
                use_key(kms_key_arn, "s3"),
            ],
            event={
                "endpoint": endpoint_name,
                "variant": VARIANT,
                "reports": pulumi.Output.concat("s3://", bucket, "/", own),
                "availability": _share(spec.objectives.availability_percent),
                "latency": _share(spec.objectives.latency_percent),
                "latency_ms": spec.objectives.latency_ms or max_latency_ms,
                "rules": [
                    {
                        "name": rule,
                        "long_seconds": burn.long_minutes * 60,
                        "short_seconds": burn.short_minutes * 60,
                        "factor": burn.factor,
                        "rings": rule != "steady",
                    }
                    for rule, burn in (("fast", spec.fast), ("slow", spec.slow), ("steady", spec.steady))
                ],
                "fewest_requests": spec.fewest_requests,
                "fewest_bad": spec.fewest_bad,
            },
            kms_key_arn=kms_key_arn,
            alerts_topic_arn=alerts_topic_arn,
            opts=child,
        )
        log = f"$ aws logs tail /aws/sagemaker/Endpoints/{name} --since 30m"
        monitor.rings(
            "burn",
            "burning",
            means=f"{name} fails or is too slow for so many requests that what its users were promised will not hold.",
            look=[f"$ slipway monitor show {name} service", log, f"$ slipway history {name}"],
            act=[
                "The report says since when it is so. Was there a release just before? "
                f"`slipway rollback {name}`, unless it has gone back already.",
                "Did the number of requests jump? Is it at max_instances? Raise it.",
                "Is it one caller's input? The log says which.",
            ],
        )
        monitor.shows("Allowance used up too fast", "burning")
        self.guides, self.charts = monitor.guides, monitor.charts
        self.function_name, self.schedule_name = monitor.function.name, monitor.schedule_name
        self.register_outputs({"function_name": self.function_name, "schedule_name": self.schedule_name})


def _share(percent: float) -> float:
    """As a share, without what binary fractions add."""
    return round(percent / 100, 8)
