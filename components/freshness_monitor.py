"""A Lambda that watches whether an endpoint's features are young enough to predict with."""

import pulumi
from pydantic import Field

from components.dashboard import Chart
from components.iam import allow, local_arn, use_key
from components.monitor import Monitor, MonitorSpec, Rate
from components.runbook import Guide
from functions.features import FeatureSchema

FRESHNESS = "freshness"


class FreshnessSpec(MonitorSpec):
    """How often features are looked at. How old they may be is said with the feature store: `fresh_hours`."""

    schedule: Rate = "rate(15 minutes)"
    deliveries: int = Field(default=3, ge=2, le=20)
    """So many files in a row that bring only old rows are an alarm, long before the store itself is stale."""
    memory_mib: int = Field(default=256, ge=128, le=10240)
    timeout_seconds: int = Field(default=120, ge=30, le=900)


class FreshnessMonitor(pulumi.ComponentResource):
    """An alarm, `<name>-stale`, where nothing comes, what comes is old, or what came is not in the online store."""

    function_name: pulumi.Output[str]
    schedule_name: pulumi.Output[str]
    """`group/name`, as EventBridge Scheduler knows it."""
    guides: list[Guide]
    charts: list[Chart]

    def __init__(
        self,
        name: str,
        spec: FreshnessSpec,
        *,
        feature_group_name: pulumi.Input[str],
        schema: FeatureSchema,
        max_age_hours: float,
        bucket: pulumi.Input[str],
        bucket_arn: pulumi.Input[str],
        prefix: str,
        kms_key_arn: pulumi.Input[str],
        alerts_topic_arn: pulumi.Input[str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """`name` is the endpoint's. `schema` is that of the feature group; `prefix` is the product's folder in the
        bucket, where the ingestion leaves a receipt for each file.
        """
        super().__init__("slipway:index:FreshnessMonitor", name, opts=opts)
        reports = f"{prefix}/monitors/{FRESHNESS}/{name}/"
        receipts = f"{prefix}/ingested/"
        uri = pulumi.Output.concat("s3://", bucket, "/")
        group = pulumi.Output.from_input(feature_group_name)
        monitor = Monitor(
            name,
            FRESHNESS,
            spec,
            handler="functions.freshness_monitor.handler.handler",
            access=[
                allow(["s3:GetObject"], pulumi.Output.concat(bucket_arn, "/", receipts, "*")),
                allow(["s3:GetObject", "s3:PutObject"], pulumi.Output.concat(bucket_arn, "/", reports, "*")),
                # Without it S3 says of a state that is not there yet that it is forbidden.
                allow(
                    ["s3:ListBucket"], bucket_arn, when={"StringLike": {"s3:prefix": [f"{receipts}*", f"{reports}*"]}}
                ),
                allow(
                    ["sagemaker:GetRecord"],
                    group.apply(lambda each: local_arn("sagemaker", f"feature-group/{each.lower()}")),
                ),
                use_key(kms_key_arn, "s3", "sagemaker"),
            ],
            event={
                "endpoint": name,
                "feature_group": group,
                "event_time": {"name": schema.event_time, "kind": schema.event_time_kind},
                "receipts": pulumi.Output.concat(uri, receipts),
                "reports": pulumi.Output.concat(uri, reports),
                "max_age_seconds": max_age_hours * 3600,
                "deliveries": spec.deliveries,
            },
            kms_key_arn=kms_key_arn,
            alerts_topic_arn=alerts_topic_arn,
            opts=pulumi.ResourceOptions(parent=self),
        )
        monitor.rings(
            "stale",
            "stale",
            means=f"The features of {name} are old (more than {max_age_hours:g} hours): predictions use what was true"
            " then.",
            look=[
                f"$ slipway monitor show {pulumi.get_stack()} {FRESHNESS}",
                f"$ aws s3 ls --recursive s3://…/{prefix}/incoming/",
                f"The log of the function `{name}-ingest`, and the alarms of the feature group beside this one.",
            ],
            act=[
                "Where no file came: start the producer.",
                "Where files came with old rows: the producer reads a source that stands still, or sends a file again.",
                "Where rows are in quarantine: see to the alarm that says why.",
                "Until then, tell those who use the predictions.",
            ],
        )
        monitor.shows("Features are stale", "stale")
        self.guides, self.charts = monitor.guides, monitor.charts
        self.function_name, self.schedule_name = monitor.function.name, monitor.schedule_name
        self.register_outputs({"function_name": self.function_name, "schedule_name": self.schedule_name})
