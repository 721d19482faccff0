"""Watches what an endpoint is asked and what it answers: are the data broken, has the world moved?"""

from typing import Any, Final

import pulumi
import pulumi_aws as aws
from pydantic import Field, model_validator

from components.dashboard import Chart
from components.endpoint import VARIANT
from components.iam import Statement, allow, document, local_arn, trust, use_key
from components.monitor import Monitor, MonitorSpec
from components.runbook import Guide

WORKERS: Final = 20
"""So many parts of a large capture are read side by side: most of the account's 1,000 concurrent functions are left."""
SIX_HOURS: Final = 6 * 3600


class DataMonitorSpec(MonitorSpec):
    """How often what was captured is judged, and when that wakes someone."""

    memory_mib: int = Field(default=1024, ge=128, le=10240)
    timeout_seconds: int = Field(default=600, ge=30, le=900)
    windows: int = Field(default=3, ge=1, le=7)
    """How many of the latest windows count."""
    drifting_windows: int = Field(default=2, ge=1, le=7)
    """How many of those, the newest among them, have to find that features or predictions moved. One may be chance."""
    broken_windows: int = Field(default=2, ge=1, le=7)
    """The same for data that are broken."""
    large_above_mib: int = Field(default=1024, ge=1, le=102400)
    """More than this is read by several functions side by side. With 1,024 MiB of memory one reads about 15 MiB a
    second, so that this takes a ninth of a quarter of an hour."""
    part_mib: int = Field(default=256, ge=1, le=10240)
    """How much each of those reads."""

    @model_validator(mode="after")
    def _windows_agree(self) -> "DataMonitorSpec":
        for name, least in (("drifting", self.drifting_windows), ("broken", self.broken_windows)):
            if least > self.windows:
                raise ValueError(f"{least} of {self.windows} windows cannot be {name}: set windows higher")
        return self


class DataMonitor(pulumi.ComponentResource):
    """Compares what is captured with what the model was trained on, reports, and rings when it lasts."""

    function_name: pulumi.Output[str]
    schedule_name: pulumi.Output[str]
    """`group/name`, as EventBridge Scheduler knows it."""
    guides: list[Guide]
    charts: list[Chart]

    def __init__(
        self,
        name: str,
        spec: DataMonitorSpec,
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
        """It reads `prefix`/captures and `prefix`/models in the bucket, and writes `prefix`/monitors/data.

        Whichever version serves brings its own baseline; all are in the group of `model_package_arn`.
        """
        super().__init__("slipway:index:DataMonitor", name, opts=opts)
        child = pulumi.ResourceOptions(parent=self)

        lake = pulumi.Output.concat(bucket_arn, "/", prefix)
        uri = pulumi.Output.concat("s3://", bucket, "/", prefix)
        own = pulumi.Output.concat(lake, f"/monitors/data/{name}/*")
        monitor = Monitor(
            name,
            "data",
            spec,
            handler="functions.data_monitor.handler.handler",
            access=[
                allow(
                    ["s3:GetObject"],
                    pulumi.Output.concat(lake, f"/captures/{name}/*"),
                    pulumi.Output.concat(lake, "/models/*"),
                    own,
                ),
                allow(["s3:PutObject"], own),
                allow(["s3:DeleteObject"], pulumi.Output.concat(lake, f"/monitors/data/{name}/parts/*")),
                # Without the right to list, S3 says of what is not there that it is forbidden.
                allow(
                    ["s3:ListBucket"],
                    bucket_arn,
                    when={
                        "StringLike": {
                            "s3:prefix": [
                                f"{prefix}/{folder}"
                                for folder in (f"captures/{name}/*", "models/*", f"monitors/data/{name}/*")
                            ]
                        }
                    },
                ),
                *may_see_what_serves(endpoint_name, model_package_arn),
                allow(["states:StartExecution"], machine_arn(name)),
                allow(["states:DescribeExecution"], local_arn("states", f"execution:{machine_name(name)}:*")),
                use_key(kms_key_arn, "s3", "states"),
            ],
            event={
                "endpoint": endpoint_name,
                "variant": VARIANT,
                "captures": pulumi.Output.concat(uri, "/captures/"),
                "reports": pulumi.Output.concat(uri, f"/monitors/data/{name}/"),
                "windows": spec.windows,
                "drifting_windows": spec.drifting_windows,
                "broken_windows": spec.broken_windows,
                "large_bytes": spec.large_above_mib << 20,
                "part_bytes": spec.part_mib << 20,
                "machine_arn": machine_arn(name),
            },
            kms_key_arn=kms_key_arn,
            alerts_topic_arn=alerts_topic_arn,
            opts=child,
        )
        self._reads_large(name, spec, monitor, own, kms_key_arn, child)
        report = f"$ slipway monitor show {name} data"
        monitor.rings(
            "broken-data",
            "broken_data",
            means=f"What {name} is asked is broken: columns are missing, of another type, in another unit, or stuck.",
            look=[report, f"The pages under `{prefix}/monitors/data/{name}/` in the lake: what is broken, since when."],
            act=[
                "Who delivers the column that the report names? Have it mended at its source.",
                "Do not train on these data: a retraining that has begun is held by its guard.",
                "Until then, tell those who use the predictions.",
            ],
        )
        monitor.rings(
            "drift",
            "drifting",
            means=f"What {name} is asked, or what it answers, no longer looks like what its model was trained on.",
            look=[report, f"$ slipway monitor show {name} quality"],
            act=[
                "Did the source of a feature change what it means? Have it mended upstream.",
                "Did the world move? Train on newer data, and release the version that does better.",
                "Until then, tell those who use the predictions.",
            ],
        )
        monitor.shows("Features that moved", "drifted_features")
        monitor.shows("Rows that were judged", "rows", stat="Sum")
        self.guides, self.charts = monitor.guides, monitor.charts
        self.function_name, self.schedule_name = monitor.function.name, monitor.schedule_name
        self.register_outputs({"function_name": self.function_name, "schedule_name": self.schedule_name})

    def _reads_large(
        self,
        name: str,
        spec: DataMonitorSpec,
        monitor: Monitor,
        own: pulumi.Input[str],
        kms_key_arn: pulumi.Input[str],
        opts: pulumi.ResourceOptions,
    ) -> None:
        """The machine that reads what is more than one function reads in its time."""
        role = aws.iam.Role(f"{name}-data-machine", assume_role_policy=trust("states.amazonaws.com"), opts=opts)
        granted = aws.iam.RolePolicy(
            f"{name}-data-machine",
            role=role.name,
            policy=document(
                allow(["lambda:InvokeFunction"], monitor.function.arn),
                allow(["s3:GetObject"], own),
                # Each part is an execution of its own, which the machine starts, asks about and stops.
                allow(["states:StartExecution"], machine_arn(name)),
                allow(
                    ["states:DescribeExecution", "states:StopExecution"],
                    local_arn("states", f"execution:{machine_name(name)}:*"),
                    local_arn("states", f"execution:{machine_name(name)}/*:*"),
                ),
                use_key(kms_key_arn),
            ),
            opts=opts,
        )
        aws.sfn.StateMachine(
            f"{name}-data",
            name=machine_name(name),
            role_arn=role.arn,
            definition=pulumi.Output.json_dumps(definition(monitor.function.arn, spec.timeout_seconds), sort_keys=True),
            encryption_configuration={
                "type": "CUSTOMER_MANAGED_KMS_KEY",
                "kms_key_id": kms_key_arn,
                "kms_data_key_reuse_period_seconds": 300,
            },
            opts=opts.merge(pulumi.ResourceOptions(depends_on=[granted])),
        )


def machine_name(name: str) -> str:
    """What the machine is called that reads large captures."""
    return f"{name}-data"


def machine_arn(name: str) -> str:
    """Its ARN, which is known before it exists."""
    return local_arn("states", f"stateMachine:{machine_name(name)}")


def definition(function_arn: pulumi.Input[str], timeout_seconds: int) -> dict[str, Any]:
    """The machine, in Amazon States Language: every part of the manifest is profiled, then all are merged and judged.

    Its input is what functions/data_monitor/large.py starts it with. A part that fails for good fails the whole: what
    was not read may not be missing from a verdict, and the next run of the monitor begins again.
    """

    def asks(payload: dict[str, Any]) -> dict[str, Any]:
        return {
            "Type": "Task",
            "Resource": "arn:aws:states:::lambda:invoke",
            "Parameters": {"FunctionName": function_arn, "Payload": payload},
            "TimeoutSeconds": timeout_seconds + 30,
            "Retry": [{"ErrorEquals": ["States.ALL"], "IntervalSeconds": 2, "MaxAttempts": 3, "BackoffRate": 2.0}],
        }

    part = asks({"do": "profile", "run.$": "$.run", "part.$": "$.part"})
    return {
        "Comment": "Captures that are more than one function reads in its time, in parts.",
        "StartAt": "Profile",
        "TimeoutSeconds": SIX_HOURS,
        "States": {
            "Profile": {
                "Type": "Map",
                "MaxConcurrency": WORKERS,
                "ItemReader": {
                    "Resource": "arn:aws:states:::s3:getObject",
                    "ReaderConfig": {"InputType": "JSON"},
                    "Parameters": {"Bucket.$": "$.bucket", "Key.$": "$.manifest"},
                },
                "ItemSelector": {"run.$": "$.run", "part.$": "$$.Map.Item.Value"},
                "ItemProcessor": {
                    "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"},
                    "StartAt": "Part",
                    # What each says is small: together it has to fit into a state's 256 KiB.
                    "States": {"Part": {**part, "ResultSelector": {"rows.$": "$.Payload.rows"}, "End": True}},
                },
                "ResultPath": None,
                "Next": "Merge",
            },
            "Merge": {**asks({"do": "merge", "run.$": "$.run"}), "OutputPath": "$.Payload", "End": True},
        },
    }


def may_see_what_serves(endpoint_name: pulumi.Input[str], model_package_arn: pulumi.Input[str]) -> list[Statement]:
    """The rights to follow an endpoint to its configuration, its model, and the version that this was made of."""
    versions = pulumi.Output.from_input(model_package_arn).apply(lambda arn: f"{arn.rpartition('/')[0]}/*")
    return [*may_see_live(endpoint_name), allow(["sagemaker:DescribeModelPackage"], versions)]


def may_see_live(endpoint_name: pulumi.Input[str]) -> list[Statement]:
    """The rights to follow an endpoint to its configuration and its model, which names the version."""

    def named(kind: str, rest: str) -> pulumi.Output[str]:
        return pulumi.Output.concat(local_arn("sagemaker", f"{kind}/"), endpoint_name, rest)

    return [
        allow(["sagemaker:DescribeEndpoint"], named("endpoint", "")),
        allow(["sagemaker:DescribeEndpointConfig"], named("endpoint-config", "-*")),
        allow(["sagemaker:DescribeModel"], named("model", "-*")),
    ]
