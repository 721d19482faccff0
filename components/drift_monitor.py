"""A Lambda that watches an endpoint's inputs drift away from its training data."""

import re
from typing import Annotated

import pulumi
from pydantic import AfterValidator, Field, model_validator

from components.alarms import Alarms
from components.dashboard import Chart
from components.dead_letters import DeadLetters
from components.endpoint import VARIANT
from components.function import Function
from components.iam import Statement, allow, local_arn, use_key
from components.logs import RetentionDays
from components.runbook import Guide
from components.schedule import schedule
from components.spec import Spec

NAMESPACE = "Slipway/Drift"
SECONDS = {"minutes": 60, "hour": 3600}


def seconds(schedule: str) -> int:
    """The time between two runs. Raises ValueError for a schedule that is no rate from 5 minutes to an hour."""
    found = re.fullmatch(r"rate\((\d+) (minutes|hour)\)", schedule)
    interval = int(found[1]) * SECONDS[found[2]] if found else 0
    # A measurement looks back over the last hour: less often, and some requests are never looked at.
    if not 300 <= interval <= 3600:
        raise ValueError("no rate from 5 minutes to an hour: set one such as rate(15 minutes) or rate(1 hour)")
    return interval


def _a_rate(schedule: str) -> str:
    seconds(schedule)
    return schedule


class DriftSpec(Spec):
    """How often drift is measured, and when it wakes someone."""

    schedule: Annotated[str, AfterValidator(_a_rate)] = "rate(1 hour)"
    windows: int = Field(default=3, ge=1, le=7)
    """How many of the latest measurements count."""
    drifted_windows: int = Field(default=2, ge=1, le=7)
    """How many of those have to find drift. One alone may be chance."""
    memory_mib: int = Field(default=512, ge=128, le=10240)
    timeout_seconds: int = Field(default=300, ge=30, le=900)
    log_days: RetentionDays = 90

    @model_validator(mode="after")
    def _windows_agree(self) -> "DriftSpec":
        if self.drifted_windows > self.windows:
            raise ValueError(f"{self.drifted_windows} of {self.windows} windows cannot drift: set windows higher")
        return self


class DriftMonitor(pulumi.ComponentResource):
    """Measures drift on a schedule, keeps a report of each measurement, and raises an alarm when it lasts."""

    function_name: pulumi.Output[str]
    schedule_name: pulumi.Output[str]
    """`group/name`, as EventBridge Scheduler knows it."""
    alarm_name: pulumi.Output[str]
    guides: list[Guide]
    charts: list[Chart]

    def __init__(
        self,
        name: str,
        spec: DriftSpec,
        *,
        endpoint_name: pulumi.Input[str],
        model_package_arn: pulumi.Input[str],
        bucket: pulumi.Input[str],
        bucket_arn: pulumi.Input[str],
        prefix: str,
        kms_key_arn: pulumi.Input[str],
        alerts_topic_arn: pulumi.Input[str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """It reads `prefix`/captures and `prefix`/models in the bucket, and writes `prefix`/monitors/drift.

        Whichever version serves brings its own baseline; all are in the group of `model_package_arn`.
        """
        super().__init__("slipway:index:DriftMonitor", name, opts=opts)
        child = pulumi.ResourceOptions(parent=self)

        lost = DeadLetters(f"{name}-drift", kms_key_arn=kms_key_arn, alerts_topic_arn=alerts_topic_arn, opts=child)
        lake = pulumi.Output.concat(bucket_arn, "/", prefix)
        uri = pulumi.Output.concat("s3://", bucket, "/", prefix)
        function = Function(
            f"{name}-drift",
            handler="functions.drift.handler.handler",
            access=[
                allow(
                    ["s3:GetObject"], pulumi.Output.concat(lake, "/captures/*"), pulumi.Output.concat(lake, "/models/*")
                ),
                allow(["s3:ListBucket"], bucket_arn, when={"StringLike": {"s3:prefix": f"{prefix}/captures/*"}}),
                allow(["s3:PutObject"], pulumi.Output.concat(lake, "/monitors/drift/*")),
                *_may_see_what_serves(endpoint_name, model_package_arn),
                use_key(kms_key_arn, "s3"),
            ],
            kms_key_arn=kms_key_arn,
            memory_mib=spec.memory_mib,
            timeout_seconds=spec.timeout_seconds,
            log_days=spec.log_days,
            dead_letters_arn=lost.queue_arn,
            opts=child,
        )
        event = pulumi.Output.json_dumps(
            {
                "endpoint": endpoint_name,
                "variant": VARIANT,
                "captures": pulumi.Output.concat(uri, "/captures/"),
                "reports": pulumi.Output.concat(uri, "/monitors/drift/"),
            }
        )
        self.schedule_name = schedule(
            "drift",
            function,
            spec.schedule,
            group=name,
            event=event,
            dead_letters_arn=lost.queue_arn,
            kms_key_arn=kms_key_arn,
            opts=child,
        )
        alarms = Alarms(name, alerts_topic_arn, child)
        alarm = alarms.add(
            "drift",
            means=f"What {name} is asked no longer looks like what its model was trained on.",
            look=[
                "$ slipway status",
                f"The newest report under `{prefix}/monitors/drift/{name}/` in the lake: what moved, and how far.",
            ],
            act=[
                "Did the source of a feature change (unit, code, missing values)? Have it mended upstream.",
                "Did the world move? Train on newer data, and release the version that does better.",
                "Until then, tell those who use the predictions.",
            ],
            namespace=NAMESPACE,
            metric_name="drifted_features",
            dimensions={"endpoint": endpoint_name},
            statistic="Maximum",
            period=seconds(spec.schedule),
            evaluation_periods=spec.windows,
            datapoints_to_alarm=spec.drifted_windows,
            comparison_operator="GreaterThanThreshold",
            threshold=0,
        )
        alarms.add(
            "drift-broken",
            means=f"{name} is not watched: its drift monitor failed.",
            look=[f"$ aws logs tail /aws/lambda/{name}-drift --since 2h"],
            act=[
                "The log says why: a model without a baseline, a right that is missing, or too little time.",
                "Nothing is lost: the next run looks at the same hour's captures again.",
            ],
            namespace="AWS/Lambda",
            metric_name="Errors",
            dimensions={"FunctionName": function.name},
            statistic="Sum",
            period=300,
            evaluation_periods=1,
            comparison_operator="GreaterThanThreshold",
            threshold=0,
        )
        self.guides = [*alarms.guides, *lost.guides]
        self.charts = [Chart("Features that drifted", [(NAMESPACE, "drifted_features", "endpoint", name)], "Maximum")]
        self.function_name, self.alarm_name = function.name, alarm.name
        self.register_outputs(
            {
                "function_name": self.function_name,
                "schedule_name": self.schedule_name,
                "alarm_name": self.alarm_name,
            }
        )


def _may_see_what_serves(endpoint_name: pulumi.Input[str], model_package_arn: pulumi.Input[str]) -> list[Statement]:
    """The rights to follow an endpoint to its configuration, its model, and the version that this was made of."""

    def named(kind: str, rest: str) -> pulumi.Output[str]:
        return pulumi.Output.concat(local_arn("sagemaker", f"{kind}/"), endpoint_name, rest)

    versions = pulumi.Output.from_input(model_package_arn).apply(lambda arn: f"{arn.rpartition('/')[0]}/*")
    return [
        allow(["sagemaker:DescribeEndpoint"], named("endpoint", "")),
        allow(["sagemaker:DescribeEndpointConfig"], named("endpoint-config", "-*")),
        allow(["sagemaker:DescribeModel"], named("model", "-*")),
        allow(["sagemaker:DescribeModelPackage"], versions),
    ]
