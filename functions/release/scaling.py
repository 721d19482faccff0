"""Autoscaling of a variant, taken away and put back: SageMaker changes no instance type of what autoscaling holds."""

from collections.abc import Mapping
from typing import Any, Final

NAMESPACE: Final = "sagemaker"
COUNT: Final = "sagemaker:variant:DesiredInstanceCount"


def take_away(scaling: Any, cloudwatch: Any, resource_id: str) -> dict[str, Any] | None:
    """Deregister a variant's target. Returns all it had, for `put_back`; None where it has none."""
    of = {"ServiceNamespace": NAMESPACE, "ScalableDimension": COUNT}
    found = scaling.describe_scalable_targets(ResourceIds=[resource_id], **of)["ScalableTargets"]
    if not found:
        return None
    policies = scaling.describe_scaling_policies(ResourceId=resource_id, **of)["ScalingPolicies"]
    actions = scaling.describe_scheduled_actions(ResourceId=resource_id, **of)["ScheduledActions"]
    kept = {
        "target": _only(found[0], "ResourceId", "MinCapacity", "MaxCapacity", "SuspendedState"),
        "policies": [
            {
                **_only(
                    each,
                    "PolicyName",
                    "PolicyType",
                    "StepScalingPolicyConfiguration",
                    "TargetTrackingScalingPolicyConfiguration",
                ),
                "started_by": _alarms_of(cloudwatch, each),
            }
            for each in policies
        ],
        "actions": [
            _only(each, "ScheduledActionName", "Schedule", "Timezone", "ScalableTargetAction") for each in actions
        ],
    }
    scaling.deregister_scalable_target(ResourceId=resource_id, **of)
    return kept


def put_back(scaling: Any, cloudwatch: Any, kept: Mapping[str, Any]) -> None:
    """Register again what was taken away, with its policies, their alarms, and its schedule."""
    of = {"ServiceNamespace": NAMESPACE, "ScalableDimension": COUNT, "ResourceId": kept["target"]["ResourceId"]}
    bounds = {name: value for name, value in kept["target"].items() if name != "ResourceId"}
    scaling.register_scalable_target(**of, **bounds)
    for each in kept["policies"]:
        policy = {name: value for name, value in each.items() if name != "started_by"}
        arn = scaling.put_scaling_policy(**of, **policy)["PolicyARN"]
        for alarm in each["started_by"]:
            # A policy that is made again has another ARN, which the alarm that starts it has to know.
            cloudwatch.put_metric_alarm(**{**alarm, "AlarmActions": [arn]})
    for each in kept["actions"]:
        scaling.put_scheduled_action(**of, **each)


SETTINGS: Final = (
    "AlarmName",
    "AlarmDescription",
    "ActionsEnabled",
    "OKActions",
    "InsufficientDataActions",
    "MetricName",
    "Namespace",
    "Statistic",
    "Dimensions",
    "Period",
    "EvaluationPeriods",
    "DatapointsToAlarm",
    "Threshold",
    "ComparisonOperator",
    "TreatMissingData",
)


def _alarms_of(cloudwatch: Any, policy: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The alarms of ours that start a step policy; those of target tracking come and go with it."""
    if policy["PolicyType"] != "StepScaling":
        return []
    found = cloudwatch.describe_alarms(ActionPrefix=policy["PolicyARN"])["MetricAlarms"]
    return [_only(each, *SETTINGS) for each in found]


def _only(values: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: values[name] for name in names if values.get(name) is not None}
