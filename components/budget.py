"""What a stack may cost a month, and who hears of it."""

import json
from typing import Annotated

import pulumi
import pulumi_aws as aws
from pydantic import Field, model_validator

from components.iam import default_tags
from components.spec import Spec

Percent = Annotated[int, Field(gt=0, le=1000)]

ATTRIBUTION = "owner", "product", "environment"
"""The tags that say whose cost it is; they must be active as cost allocation tags in the billing account."""


class BudgetSpec(Spec):
    """When a budget is worth a message."""

    spent_percents: list[Percent] = Field(default=[80, 100], min_length=1, max_length=3)
    """Shares of the budget that have been spent. AWS allows five notifications: one is the forecast's, one stops."""
    forecast_percent: Percent = 100
    """The share that this month is expected to end at."""
    stop_percent: Percent = 120
    """The share that has been spent when the kill-switch is asked."""
    anomaly_usd: int = Field(default=100, gt=0)
    """How much more than usual, in dollars, something has to cost before anyone hears of it."""
    stop_anomaly_usd: int = Field(default=1000, gt=0)
    """And how much more before the kill-switch is asked."""

    @model_validator(mode="after")
    def _each_share_once(self) -> "BudgetSpec":
        shares = [*self.spent_percents, self.stop_percent]
        if len(set(shares)) < len(shares):
            raise ValueError(f"AWS takes each share once, got {shares}: set another stop_percent or spent_percents")
        return self


class Budget(pulumi.ComponentResource):
    """A monthly budget over what carries this stack's owner, product and environment tags; and a monitor that learns
    what its product usually costs, and tells of what is unusual, within a day."""

    budget_name: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        spec: BudgetSpec,
        *,
        usd_per_month: float,
        alerts_topic_arn: pulumi.Input[str],
        stop_topic_arn: pulumi.Input[str] | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """`stop_topic_arn` is the kill-switch's."""
        super().__init__("slipway:index:Budget", name, opts=opts)
        child = pulumi.ResourceOptions(parent=self)

        tags = default_tags()
        thresholds = [
            *(("ACTUAL", percent, alerts_topic_arn) for percent in spec.spent_percents),
            ("FORECASTED", spec.forecast_percent, alerts_topic_arn),
            *([("ACTUAL", spec.stop_percent, stop_topic_arn)] if stop_topic_arn is not None else []),
        ]
        budget = aws.budgets.Budget(
            f"{name}-monthly",
            budget_type="COST",
            time_unit="MONTHLY",
            limit_amount=f"{usd_per_month:.2f}",
            limit_unit="USD",
            cost_filters=[{"name": "TagKeyValue", "values": [f"user:{tag}${tags[tag]}" for tag in ATTRIBUTION]}],
            notifications=[
                {
                    "notification_type": kind,
                    "comparison_operator": "GREATER_THAN",
                    "threshold": percent,
                    "threshold_type": "PERCENTAGE",
                    "subscriber_sns_topic_arns": [topic],
                }
                for kind, percent, topic in thresholds
            ],
            opts=child,
        )
        # A monitor takes one tag: the account has one environment of a product, or their sum is watched.
        monitor = aws.costexplorer.AnomalyMonitor(
            f"{name}-anomalies",
            monitor_type="CUSTOM",
            monitor_specification=json.dumps({"Tags": {"Key": "product", "Values": [tags["product"]]}}),
            opts=child,
        )
        told = {"anomalies": (spec.anomaly_usd, alerts_topic_arn)}
        if stop_topic_arn is not None:
            told["anomalies-stop"] = (spec.stop_anomaly_usd, stop_topic_arn)
        for what, (usd, topic) in told.items():
            aws.costexplorer.AnomalySubscription(
                f"{name}-{what}",
                frequency="IMMEDIATE",  # the one that tells a topic
                monitor_arn_lists=[monitor.arn],
                subscribers=[{"type": "SNS", "address": topic}],
                threshold_expression={
                    "dimension": {
                        "key": "ANOMALY_TOTAL_IMPACT_ABSOLUTE",
                        "match_options": ["GREATER_THAN_OR_EQUAL"],
                        "values": [str(usd)],
                    }
                },
                opts=child,
            )
        self.budget_name = budget.name
        self.register_outputs({"budget_name": self.budget_name})
