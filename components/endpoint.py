"""A SageMaker endpoint that scales with its traffic, and takes a bad change back on its own."""

import hashlib
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import pulumi
import pulumi_aws as aws
from pydantic import AfterValidator, Field, PositiveInt, model_validator

from components.logs import RetentionDays
from components.spec import Spec

VARIANT = "live"
"""The one production variant. SageMaker and autoscaling know it by this name, so it never changes."""

NAME_LIMIT = 63
LONGEST_ROLLOUT_MINUTES = 60
"""pulumi-aws waits an hour for an endpoint and then calls the deployment failed, though AWS goes on."""


def _scalable(instance_type: str) -> str:
    kind, _, rest = instance_type.partition(".")
    if kind != "ml" or "." not in rest:
        raise ValueError("no SageMaker instance type: set one such as ml.m5.large or ml.g5.xlarge")
    if rest.startswith("t"):
        raise ValueError("burstable instances cannot autoscale: set one such as ml.m5.large")
    return instance_type


MlInstance = Annotated[str, AfterValidator(_scalable)]


class Rollout(Spec):
    """How a new model version takes over from the one that serves."""

    kind: Literal["canary", "linear", "all-at-once"] = "canary"
    """First a share and then the rest; share after share; or all in one step."""
    step_percent: int = Field(default=20, ge=1, le=50)
    """The share of a canary (1 to 50 %) or of each linear step (10 to 50 %)."""
    bake_minutes: int = Field(default=5, ge=0, le=60)
    """How long alarms are watched after each step before the next one."""

    @model_validator(mode="after")
    def _fits(self) -> "Rollout":
        if self.kind == "linear" and self.step_percent < 10:
            raise ValueError(f"a linear step is 10 to 50 % of the traffic: set step_percent, now {self.step_percent}")
        if self.minutes > LONGEST_ROLLOUT_MINUTES // 2:
            raise ValueError(
                f"this rollout takes {self.minutes} minutes and a deployment waits {LONGEST_ROLLOUT_MINUTES} for twice"
                " that, the way back included: set fewer bake_minutes or a larger step_percent"
            )
        return self

    @property
    def minutes(self) -> int:
        """How long it takes when nothing goes wrong, instances' own starting time left out."""
        steps = {"canary": 2, "linear": -(-100 // self.step_percent), "all-at-once": 1}
        return steps[self.kind] * self.bake_minutes


class EndpointSpec(Spec):
    """What an endpoint runs on, how far it may grow, and when something is wrong with it."""

    instance_type: MlInstance
    min_instances: PositiveInt = 1
    max_instances: PositiveInt
    invocations_per_instance: PositiveInt = 600
    """Requests a minute that one instance should get: about 70 % of what it can do."""
    capture_percent: int = Field(default=100, ge=1, le=100)
    """The share of requests and answers kept for the monitors."""
    max_errors_per_minute: int = Field(default=5, ge=0)
    """Failed requests (5xx) a minute from which on a change is taken back."""
    max_latency_ms: PositiveInt = 1000
    """The model's own time for 99 % of requests, above which a change is taken back."""
    rollout: Rollout = Rollout()
    log_days: RetentionDays = 90

    @model_validator(mode="after")
    def _sizes_agree(self) -> "EndpointSpec":
        if self.min_instances > self.max_instances:
            raise ValueError(
                f"min_instances {self.min_instances} is above max_instances {self.max_instances}: raise one or lower"
                " the other"
            )
        if self.rollout.kind != "all-at-once" and self.min_instances < 2:
            raise ValueError(
                f"a {self.rollout.kind} rollout needs two instances to tell the new version from the old one: set"
                " min_instances to 2, or rollout: {kind: all-at-once}"
            )
        return self


class Endpoint(pulumi.ComponentResource):
    """One model version behind an encrypted, autoscaled endpoint; a sample of its traffic is kept for monitors."""

    endpoint_name: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        spec: EndpointSpec,
        *,
        model_package_arn: pulumi.Input[str],
        role_arn: pulumi.Input[str],
        captures_uri: pulumi.Input[str],
        subnet_ids: pulumi.Input[Sequence[pulumi.Input[str]]],
        security_group_id: pulumi.Input[str],
        kms_key_arn: pulumi.Input[str],
        alerts_topic_arn: pulumi.Input[str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """The endpoint is called `name`."""
        super().__init__("slipway:index:Endpoint", name, opts=opts)
        child = pulumi.ResourceOptions(parent=self)

        # What may still be live is never deleted: after a rollback the endpoint serves the previous configuration,
        # and that needs the previous model. Neither costs anything.
        kept = child.merge(pulumi.ResourceOptions(retain_on_delete=True))
        model = aws.sagemaker.Model(
            f"{name[:40]}-model",
            execution_role_arn=role_arn,
            primary_container={"model_package_name": model_package_arn},
            enable_network_isolation=True,
            vpc_config={"subnets": subnet_ids, "security_group_ids": [security_group_id]},
            opts=kept,
        )
        content = _configuration(spec, model.name, captures_uri, kms_key_arn)
        configuration = aws.sagemaker.EndpointConfiguration(
            f"{name}-configuration", name=_named_by(content, name), **content, opts=kept
        )
        logs = aws.cloudwatch.LogGroup(
            f"{name}-endpoint",
            name=f"/aws/sagemaker/Endpoints/{name}",
            retention_in_days=spec.log_days,
            kms_key_id=kms_key_arn,
            opts=child,
        )
        alarms = _alarms(name, spec, alerts_topic_arn, child)
        endpoint = aws.sagemaker.Endpoint(
            name,
            name=name,
            endpoint_config_name=configuration.name,
            deployment_config=_deployment(spec.rollout, alarms),
            opts=child.merge(pulumi.ResourceOptions(depends_on=[logs])),
        )
        _scale(name, spec, endpoint.name, child)
        self.endpoint_name = endpoint.name
        self.register_outputs({"endpoint_name": self.endpoint_name})


def _configuration(
    spec: EndpointSpec,
    model_name: pulumi.Input[str],
    captures_uri: pulumi.Input[str],
    kms_key_arn: pulumi.Input[str],
) -> dict[str, Any]:
    return {
        "kms_key_arn": kms_key_arn,
        "production_variants": [
            {
                "variant_name": VARIANT,
                "model_name": model_name,
                "instance_type": spec.instance_type,
                "initial_instance_count": spec.min_instances,
                "initial_variant_weight": 1,
            }
        ],
        "data_capture_config": {
            "enable_capture": True,
            "initial_sampling_percentage": spec.capture_percent,
            "destination_s3_uri": captures_uri,
            "kms_key_id": kms_key_arn,
            "capture_options": [{"capture_mode": "Input"}, {"capture_mode": "Output"}],
            # Without these, monitors would find every payload in base64.
            "capture_content_type_header": {
                "csv_content_types": ["text/csv"],
                "json_content_types": ["application/json"],
            },
        },
    }


def _named_by(content: dict[str, Any], name: str) -> pulumi.Output[str]:
    """A name that is another one whenever the content is: SageMaker cannot change a configuration in place."""

    def named(text: str) -> str:
        return f"{name[: NAME_LIMIT - 13]}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"

    return pulumi.Output.json_dumps(content, sort_keys=True).apply(named)


def _deployment(rollout: Rollout, alarms: Sequence[aws.cloudwatch.MetricAlarm]) -> Any:
    """SageMaker's own words for a rollout that the alarms take back."""
    share = {"type": "CAPACITY_PERCENT", "value": rollout.step_percent}
    routing: dict[str, dict[str, Any]] = {
        "canary": {"type": "CANARY", "canary_size": share},
        "linear": {"type": "LINEAR", "linear_step_size": share},
        "all-at-once": {"type": "ALL_AT_ONCE"},
    }
    return {
        "blue_green_update_policy": {
            "traffic_routing_configuration": {
                **routing[rollout.kind],
                "wait_interval_in_seconds": rollout.bake_minutes * 60,
            },
            "maximum_execution_timeout_in_seconds": LONGEST_ROLLOUT_MINUTES * 60,
        },
        "auto_rollback_configuration": {"alarms": [{"alarm_name": alarm.name} for alarm in alarms]},
    }


def _alarms(
    name: str, spec: EndpointSpec, alerts_topic_arn: pulumi.Input[str], opts: pulumi.ResourceOptions
) -> list[aws.cloudwatch.MetricAlarm]:
    """What takes a change back, and calls someone at any other time.

    Their names are fixed: pulumi-aws replaces, that is deletes, an endpoint whose list of alarms changes.
    """

    def alarm(
        what: str,
        metric: str,
        description: str,
        threshold: float,
        *,
        statistic: str | None = None,
        percentile: str | None = None,
    ) -> aws.cloudwatch.MetricAlarm:
        return aws.cloudwatch.MetricAlarm(
            f"{name}-{what}",
            name=f"{name}-{what}",
            alarm_description=description,
            namespace="AWS/SageMaker",
            metric_name=metric,
            dimensions={"EndpointName": name, "VariantName": VARIANT},
            period=60,
            evaluation_periods=3,
            datapoints_to_alarm=2,
            comparison_operator="GreaterThanThreshold",
            threshold=threshold,
            treat_missing_data="notBreaching",
            alarm_actions=[alerts_topic_arn],
            ok_actions=[alerts_topic_arn],
            statistic=statistic,
            extended_statistic=percentile,
            opts=opts,
        )

    return [
        alarm(
            "errors",
            "Invocation5XXErrors",
            f"{name} fails more than {spec.max_errors_per_minute} requests a minute",
            spec.max_errors_per_minute,
            statistic="Sum",
        ),
        alarm(
            "latency",
            "ModelLatency",
            f"{name} takes longer than {spec.max_latency_ms} ms for 1 % of its requests",
            # SageMaker counts latency in microseconds.
            spec.max_latency_ms * 1000,
            percentile="p99",
        ),
    ]


def _scale(name: str, spec: EndpointSpec, endpoint_name: pulumi.Input[str], opts: pulumi.ResourceOptions) -> None:
    target = aws.appautoscaling.Target(
        f"{name}-capacity",
        service_namespace="sagemaker",
        scalable_dimension="sagemaker:variant:DesiredInstanceCount",
        resource_id=pulumi.Output.concat("endpoint/", endpoint_name, "/variant/", VARIANT),
        min_capacity=spec.min_instances,
        max_capacity=spec.max_instances,
        opts=opts,
    )
    aws.appautoscaling.Policy(
        f"{name}-traffic",
        policy_type="TargetTrackingScaling",
        service_namespace=target.service_namespace,
        scalable_dimension=target.scalable_dimension,
        resource_id=target.resource_id,
        target_tracking_scaling_policy_configuration={
            "target_value": spec.invocations_per_instance,
            "predefined_metric_specification": {"predefined_metric_type": "SageMakerVariantInvocationsPerInstance"},
            "scale_in_cooldown": 600,
            # As long as a new instance takes to load its model: sooner, it would be asked for twice.
            "scale_out_cooldown": 300,
        },
        opts=opts,
    )
