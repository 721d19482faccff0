"""Watches how good the model is that an endpoint serves, by labels that come late."""

from typing import Final

import pulumi
from pydantic import Field, model_validator

from components.dashboard import Chart
from components.data_monitor import may_see_what_serves
from components.endpoint import VARIANT
from components.iam import allow, use_key
from components.ledger import may_read
from components.monitor import Monitor, MonitorSpec
from components.runbook import Guide
from components.spec import Spec

GROUND_TRUTH: Final = "ground-truth"
"""The folder of a product that labels are put into: yyyy/mm/dd/hh/*.jsonl, in Model Monitor's form."""


class FloorsSpec(Spec):
    """By how much a figure has to be worse than in training before that matters to anybody."""

    accuracy: float = Field(default=0.02, gt=0, lt=1)
    """By so much lower."""
    auc: float = Field(default=0.02, gt=0, lt=1)
    """By so much lower."""
    false_positive_rate: float = Field(default=0.05, gt=0, lt=1)
    """By so much higher."""
    false_negative_rate: float = Field(default=0.05, gt=0, lt=1)
    """By so much higher."""
    brier: float = Field(default=0.02, gt=0, lt=1)
    """By so much higher."""
    calibration_error: float = Field(default=0.03, gt=0, lt=1)
    """By so much higher."""


class QualityMonitorSpec(MonitorSpec):
    """How often labels are looked for, how long they may take, and when what they say wakes someone."""

    timeout_seconds: int = Field(default=120, ge=60, le=900)
    """What a run has not read by then, the next one reads."""
    label_days: int = Field(default=30, ge=1, le=365)
    """How long labels may take: what has none by then will not get any."""
    most_rows: int = Field(default=100_000, ge=1000, le=1_000_000)
    """So many rows are remembered between runs, about 300 bytes of memory each. Where more wait for their labels, it
    goes by a share of the requests."""
    fewest_rows: int = Field(default=500, ge=50, le=100_000)
    """Fewer labelled rows are kept for the next run. Of accuracy 0.83, a fall by 8 points shows in 400 rows nine times
    of ten, by 5 in 1,000, and by 3 in 2,800."""
    least_coverage_percent: float = Field(default=10, ge=0, le=100)
    """Of the requests: with labels of fewer, nothing is said, for the first to come are no fair sample. Where only a
    sample is ever labelled, and a fair one, set less."""
    floors: FloorsSpec = FloorsSpec()
    """How large a change has to be."""
    windows: int = Field(default=3, ge=1, le=7)
    """How many of the latest windows count."""
    worse_windows: int = Field(default=2, ge=1, le=7)
    """How many of those, the newest among them, have to be worse."""

    @model_validator(mode="after")
    def _windows_agree(self) -> "QualityMonitorSpec":
        if self.worse_windows > self.windows:
            raise ValueError(f"{self.worse_windows} of {self.windows} windows cannot be worse: set windows higher")
        return self


class QualityMonitor(pulumi.ComponentResource):
    """Joins labels with what the endpoint answered, compares with how good the version was, and rings when it lasts."""

    function_name: pulumi.Output[str]
    schedule_name: pulumi.Output[str]
    """`group/name`, as EventBridge Scheduler knows it."""
    ground_truth_uri: pulumi.Output[str]
    """Where labels are put."""
    guides: list[Guide]
    charts: list[Chart]

    def __init__(
        self,
        name: str,
        spec: QualityMonitorSpec,
        *,
        endpoint_name: pulumi.Input[str],
        model_package_arn: pulumi.Input[str],
        bucket: pulumi.Input[str],
        bucket_arn: pulumi.Input[str],
        prefix: str,
        ledger_bucket: pulumi.Input[str],
        ledger_bucket_arn: pulumi.Input[str],
        kms_key_arn: pulumi.Input[str],
        alerts_topic_arn: pulumi.Input[str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """It reads `prefix`/captures, `prefix`/ground-truth and `prefix`/models in the bucket, and writes
        `prefix`/monitors/quality. The ledger says which version answered what.
        """
        super().__init__("slipway:index:QualityMonitor", name, opts=opts)
        child = pulumi.ResourceOptions(parent=self)

        lake = pulumi.Output.concat(bucket_arn, "/", prefix)
        uri = pulumi.Output.concat("s3://", bucket, "/", prefix)
        own = f"monitors/quality/{name}"
        read = [f"captures/{name}", GROUND_TRUTH, "models", own]
        monitor = Monitor(
            name,
            "quality",
            spec,
            handler="functions.quality_monitor.handler.handler",
            access=[
                allow(["s3:GetObject"], *(pulumi.Output.concat(lake, f"/{folder}/*") for folder in read)),
                allow(["s3:PutObject"], pulumi.Output.concat(lake, f"/{own}/*")),
                # Without the right to list, S3 says of what is not there that it is forbidden.
                allow(
                    ["s3:ListBucket"],
                    bucket_arn,
                    when={"StringLike": {"s3:prefix": [f"{prefix}/{folder}/*" for folder in read]}},
                ),
                *may_read(ledger_bucket_arn, name),
                *may_see_what_serves(endpoint_name, model_package_arn),
                use_key(kms_key_arn, "s3"),
            ],
            event={
                "endpoint": endpoint_name,
                "variant": VARIANT,
                "captures": pulumi.Output.concat(uri, "/captures/"),
                "ground_truth": pulumi.Output.concat(uri, f"/{GROUND_TRUTH}/"),
                "reports": pulumi.Output.concat(uri, f"/{own}/"),
                "ledger_bucket": ledger_bucket,
                "days": spec.label_days,
                "most_rows": spec.most_rows,
                "fewest_rows": spec.fewest_rows,
                "least_coverage": spec.least_coverage_percent / 100,
                "floors": spec.floors.model_dump(),
                "windows": spec.windows,
                "worse_windows": spec.worse_windows,
            },
            kms_key_arn=kms_key_arn,
            alerts_topic_arn=alerts_topic_arn,
            opts=child,
        )
        monitor.rings(
            "quality",
            "quality_drop",
            means=f"Labels say that {name} serves a model that is worse than it was when it was trained.",
            look=[f"$ slipway monitor show {name} quality", f"$ slipway monitor show {name} data"],
            act=[
                f"Is the release young? `slipway history {name}`, then `slipway rollback {name}`.",
                "Did what it is asked move, too? Then the world did: train on newer data.",
                "It did not move? Then what the labels mean has changed, or what they depend on: ask who makes them.",
                "Until then, tell those who use the predictions.",
            ],
        )
        monitor.shows("Accuracy on labelled rows", "accuracy", stat="Average")
        self.guides, self.charts = monitor.guides, monitor.charts
        self.function_name, self.schedule_name = monitor.function.name, monitor.schedule_name
        self.ground_truth_uri = pulumi.Output.concat(uri, f"/{GROUND_TRUTH}")
        self.register_outputs(
            {
                "function_name": self.function_name,
                "schedule_name": self.schedule_name,
                "ground_truth_uri": self.ground_truth_uri,
            }
        )
