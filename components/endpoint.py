"""A SageMaker endpoint of any kind, which releases change and a bad change of which goes back on its own."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pulumi
import pulumi_aws as aws

from components.alarms import Alarms
from components.dashboard import Chart
from components.endpoint_spec import (
    STARTING_SECONDS,
    AsyncSpec,
    EndpointSpec,
    Machines,
    RealTimeSpec,
    ScaleToZeroSpec,
    ServerlessSpec,
    machine_image,
)
from components.iam import default_tags, document, only_over_tls
from components.runbook import Guide
from functions.release import naming

VARIANT: Final = "live"
"""The one production variant. SageMaker and autoscaling know it by this name, so it never changes."""
SHADOW: Final = "shadow"
NAMESPACE: Final = "AWS/SageMaker"
LEAST_BUSY: Final = {"RoutingStrategy": "LEAST_OUTSTANDING_REQUESTS"}
FIRST_NAME_LIMIT: Final = 40
"""Of a name that gets `-configuration` and Pulumi's seven digits behind it: SageMaker takes 63 characters."""
LEAVE: Final = pulumi.ResourceOptions(retain_on_delete=True)


class Endpoint(pulumi.ComponentResource):
    """One model version behind an encrypted endpoint that scales with its traffic.

    Pulumi makes it with its first version. From then on releases (components/release.py) change what it serves, and
    Pulumi leaves that alone: `template` says what every release has to keep to.
    """

    endpoint_name: pulumi.Output[str]
    template: pulumi.Output[str]
    """JSON, in boto3's words: endpoint, kind, model, configuration, deployment, alarms, and for inference components
    component."""
    first_names: pulumi.Output[Sequence[str]]
    """The models and, last, the configuration that are part of this stack, and so are not to be collected."""
    alarm_names: Sequence[str]
    """What takes a change back."""
    answers_topic_arn: pulumi.Output[str] | None
    """Of asynchronous endpoints: what hears of each answer and each failure."""
    guides: list[Guide]
    charts: list[Chart]

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
        answers_uri: pulumi.Input[str] | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """The endpoint is called `name`. `answers_uri` is where an asynchronous one puts what it answers."""
        super().__init__("slipway:index:Endpoint", name, opts=opts)
        child = pulumi.ResourceOptions(parent=self)

        alarms = Alarms(name, alerts_topic_arn, child)
        watching = _alarms(name, spec, alarms)
        self.alarm_names = [f"{name}-{what}" for what in watching]
        self.answers_topic_arn = None
        if isinstance(spec, AsyncSpec):
            if answers_uri is None:
                raise ValueError("an asynchronous endpoint puts its answers in S3: set answers_uri")
            self.answers_topic_arn = _topic(name, role_arn, kms_key_arn, child)
        template: dict[str, Any] = {
            "endpoint": name,
            "kind": "inference-component" if isinstance(spec, ScaleToZeroSpec) else spec.kind,
            "model": _model(spec, role_arn, subnet_ids, security_group_id),
            "configuration": _configuration(
                spec, role_arn, captures_uri, kms_key_arn, answers_uri, self.answers_topic_arn
            ),
            "deployment": _deployment(spec, self.alarm_names),
            "alarms": self.alarm_names,
            "bake_seconds": spec.rollout.bake_minutes * 60,
            **({"component": _component(spec)} if isinstance(spec, ScaleToZeroSpec) else {}),
            **({"shadow_package_arn": _shadow_package(spec, model_package_arn)} if _shadow(spec) else {}),
        }
        self.template = pulumi.Output.json_dumps(template, sort_keys=True)

        # What may still be live is never deleted: after a rollback the endpoint serves the previous configuration,
        # and that needs the previous model. Neither costs anything; releases collect what is superseded. Pulumi gives
        # each a name of its own: named by its content, one that comes back after a while would be there already.
        kept = child.merge(LEAVE)
        packages = {VARIANT: model_package_arn}
        if "shadow_package_arn" in template:
            packages[SHADOW] = template["shadow_package_arn"]
        models = {
            variant: aws.sagemaker.Model(
                f"{name[:FIRST_NAME_LIMIT]}-{'model' if variant == VARIANT else variant}",
                primary_container={
                    "model_package_name": package,
                    "environment": pulumi.Output.from_input(package).apply(naming.told),
                },
                **_for_pulumi(template["model"]),
                opts=kept,
            )
            for variant, package in packages.items()
        }
        configuration = aws.sagemaker.EndpointConfiguration(
            f"{name[:FIRST_NAME_LIMIT]}-configuration",
            **_for_pulumi(_with_models(template["configuration"], models, spec)),
            opts=kept,
        )
        logs = [
            aws.cloudwatch.LogGroup(
                logical,
                name=group,
                retention_in_days=spec.log_days,
                kms_key_id=kms_key_arn,
                opts=child,
            )
            for logical, group in _log_groups(name, spec).items()
        ]
        endpoint = aws.sagemaker.Endpoint(
            name,
            name=name,
            endpoint_config_name=configuration.name,
            deployment_config=_first_deployment(template["deployment"], spec, list(watching.values())),
            # pulumi-aws resets the live capacity with every update, takes a change that was rolled back for done, and
            # replaces (deletes) the endpoint when its list of alarms changes. So after the first time, it changes none.
            opts=child.merge(
                pulumi.ResourceOptions(
                    depends_on=[*logs, *watching.values()], ignore_changes=["endpointConfigName", "deploymentConfig"]
                )
            ),
        )
        _scale(name, spec, _scaled(name, spec, endpoint, models[VARIANT], template, child), alarms, child)
        self.endpoint_name = endpoint.name
        self.first_names = pulumi.Output.all(*(model.name for model in models.values()), configuration.name)
        self.guides = alarms.guides
        self.charts = _charts(name, spec)
        self.register_outputs({"endpoint_name": self.endpoint_name, "template": self.template})


# --- what every release keeps to, in boto3's words --------------------------------------------------------------------


def _model(
    spec: EndpointSpec,
    role_arn: pulumi.Input[str],
    subnet_ids: pulumi.Input[Sequence[pulumi.Input[str]]],
    security_group_id: pulumi.Input[str],
) -> dict[str, Any]:
    """CreateModel, without a name and a package."""
    if isinstance(spec, ServerlessSpec):
        # Serverless endpoints take neither: SageMaker refuses them.
        # https://docs.aws.amazon.com/sagemaker/latest/dg/serverless-endpoints.html#serverless-endpoints-how-it-works-exclusions
        return {"ExecutionRoleArn": role_arn, "EnableNetworkIsolation": False}
    return {
        "ExecutionRoleArn": role_arn,
        "EnableNetworkIsolation": True,
        "VpcConfig": {"Subnets": subnet_ids, "SecurityGroupIds": [security_group_id]},
    }


def _configuration(
    spec: EndpointSpec,
    role_arn: pulumi.Input[str],
    captures_uri: pulumi.Input[str],
    kms_key_arn: pulumi.Input[str],
    answers_uri: pulumi.Input[str] | None,
    answers_topic_arn: pulumi.Input[str] | None,
) -> dict[str, Any]:
    """CreateEndpointConfig, without names of anything.

    Its key is given for every instance type: where the disks are in the machine, that encrypts them, and SageMaker uses
    the key for what is left.
    """
    content: dict[str, Any] = {"KmsKeyId": kms_key_arn, "ProductionVariants": [_variant(spec)]}
    if isinstance(spec, RealTimeSpec):
        content["DataCaptureConfig"] = {
            "EnableCapture": True,
            "InitialSamplingPercentage": spec.capture_percent,
            "DestinationS3Uri": captures_uri,
            "KmsKeyId": kms_key_arn,
            "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
            # Without these, monitors would find every payload in base64.
            "CaptureContentTypeHeader": {
                "CsvContentTypes": ["text/csv"],
                "JsonContentTypes": ["application/json"],
            },
        }
        if spec.shadow:
            content["ShadowProductionVariants"] = [
                {
                    **_variant(spec),
                    "VariantName": SHADOW,
                    "InitialInstanceCount": spec.shadow.instances,
                    "InitialVariantWeight": spec.shadow.percent / 100,
                }
            ]
    if isinstance(spec, AsyncSpec):
        content["AsyncInferenceConfig"] = {
            "ClientConfig": {"MaxConcurrentInvocationsPerInstance": spec.concurrent_requests_per_instance},
            "OutputConfig": {
                "S3OutputPath": answers_uri,
                "S3FailurePath": pulumi.Output.concat(answers_uri or "", "/failed"),
                "KmsKeyId": kms_key_arn,
                "NotificationConfig": {"SuccessTopic": answers_topic_arn, "ErrorTopic": answers_topic_arn},
            },
        }
    if isinstance(spec, ScaleToZeroSpec):
        content["ExecutionRoleArn"] = role_arn
    return content


def _variant(spec: EndpointSpec) -> dict[str, Any]:
    """A production variant, without a model."""
    if isinstance(spec, ServerlessSpec):
        size = {"MemorySizeInMB": spec.memory_mib, "MaxConcurrency": spec.max_concurrency}
        if spec.provisioned_concurrency:
            size["ProvisionedConcurrency"] = spec.provisioned_concurrency
        return {"VariantName": VARIANT, "InitialVariantWeight": 1, "ServerlessConfig": size}
    if not isinstance(spec, Machines):
        raise TypeError(f"{type(spec).__name__} is no kind of endpoint")
    variant: dict[str, Any] = {"VariantName": VARIANT, "InstanceType": spec.instance_type}
    if isinstance(spec, ScaleToZeroSpec):
        variant |= {
            "InitialInstanceCount": 1,
            "ManagedInstanceScaling": {
                "Status": "ENABLED",
                "MinInstanceCount": 0,
                "MaxInstanceCount": spec.max_instances,
            },
            "RoutingConfig": LEAST_BUSY,
        }
    else:
        least = spec.min_instances if isinstance(spec, RealTimeSpec | AsyncSpec) else 1
        # An asynchronous endpoint may have none, but is made with one.
        variant |= {"InitialInstanceCount": max(1, least), "InitialVariantWeight": 1}
    if isinstance(spec, RealTimeSpec):
        variant["RoutingConfig"] = LEAST_BUSY
    optional = {
        "InferenceAmiVersion": spec.machine_image or machine_image(spec.instance_type),
        "VolumeSizeInGB": spec.volume_gib,
        **({} if isinstance(spec, ScaleToZeroSpec) else _starting(spec)),
    }
    return {**variant, **{key: value for key, value in optional.items() if value is not None}}


def _starting(spec: EndpointSpec) -> dict[str, int | None]:
    return {
        "ModelDataDownloadTimeoutInSeconds": spec.model_download_seconds,
        "ContainerStartupHealthCheckTimeoutInSeconds": spec.startup_seconds,
    }


def _component(spec: ScaleToZeroSpec) -> dict[str, Any]:
    """An inference component's Specification, without its model."""
    needs = {
        "MinMemoryRequiredInMb": spec.memory_mib,
        "NumberOfCpuCoresRequired": spec.cpus,
        "NumberOfAcceleratorDevicesRequired": spec.accelerators,
    }
    starting = {key: value for key, value in _starting(spec).items() if value is not None}
    return {
        "ComputeResourceRequirements": {key: value for key, value in needs.items() if value is not None},
        **({"StartupParameters": starting} if starting else {}),
    }


def _deployment(spec: EndpointSpec, alarms: Sequence[str]) -> dict[str, Any] | None:
    """SageMaker's own words for a rollout that the alarms take back; None where it has none."""
    rollout, wait = spec.rollout, spec.rollout.bake_minutes * 60
    back = {"AutoRollbackConfiguration": {"Alarms": [{"AlarmName": alarm} for alarm in alarms]}}
    limit = {"MaximumExecutionTimeoutInSeconds": rollout.minutes * 60 + STARTING_SECONDS}
    if isinstance(spec, ServerlessSpec):
        return None
    if isinstance(spec, ScaleToZeroSpec):
        percent = rollout.step_percent if rollout.kind == "linear" else 50  # as many as may be at once
        batch = {"Type": "CAPACITY_PERCENT", "Value": percent}
        return {"RollingUpdatePolicy": {"MaximumBatchSize": batch, "WaitIntervalInSeconds": wait, **limit}, **back}
    share = {"Type": "CAPACITY_PERCENT", "Value": rollout.step_percent}
    routing: dict[str, dict[str, Any]] = {
        "canary": {"Type": "CANARY", "CanarySize": share},
        "linear": {"Type": "LINEAR", "LinearStepSize": share},
        "all-at-once": {"Type": "ALL_AT_ONCE"},
    }
    return {
        "BlueGreenUpdatePolicy": {
            "TrafficRoutingConfiguration": {**routing[rollout.kind], "WaitIntervalInSeconds": wait},
            **limit,
        },
        **back,
    }


def _shadow(spec: EndpointSpec) -> int | None:
    """The version that shadows."""
    return spec.shadow.model_version if isinstance(spec, RealTimeSpec) and spec.shadow else None


def _shadow_package(spec: EndpointSpec, model_package_arn: pulumi.Input[str]) -> pulumi.Output[str]:
    return pulumi.Output.from_input(model_package_arn).apply(lambda arn: f"{arn.rpartition('/')[0]}/{_shadow(spec)}")


# --- the first version, as Pulumi makes it ----------------------------------------------------------------------------


def _with_models(
    content: Mapping[str, Any], models: Mapping[str, aws.sagemaker.Model], spec: EndpointSpec
) -> dict[str, Any]:
    if isinstance(spec, ScaleToZeroSpec):
        return dict(content)
    return {
        key: [{**variant, "ModelName": models[variant["VariantName"]].name} for variant in value]
        if key.endswith("ProductionVariants")
        else value
        for key, value in content.items()
    }


def _for_pulumi(content: Mapping[str, Any]) -> dict[str, Any]:
    """boto3's arguments as pulumi-aws writes them."""
    renamed = {"KmsKeyId": "kms_key_arn"}
    return {renamed.get(key) or _snake(key): _inside(value) for key, value in content.items()}


def _inside(value: Any) -> Any:
    if isinstance(value, Mapping):
        # Pulumi has this one block as a list.
        return {
            "routing_configs" if key == "RoutingConfig" else _snake(key): [_inside(item)]
            if key == "RoutingConfig"
            else _inside(item)
            for key, item in value.items()
        }
    return [_inside(item) for item in value] if isinstance(value, list) else value


def _snake(name: str) -> str:
    """`MemorySizeInMB` → `memory_size_in_mb`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def _first_deployment(
    deployment: Mapping[str, Any] | None, spec: EndpointSpec, alarms: Sequence[aws.cloudwatch.MetricAlarm]
) -> Any:
    """The deployment as the endpoint is made with it: its alarms are there, and it needs no time limit."""
    if deployment is None or isinstance(spec, ScaleToZeroSpec):
        return None
    routing = deployment["BlueGreenUpdatePolicy"]["TrafficRoutingConfiguration"]
    return {
        "blue_green_update_policy": {"traffic_routing_configuration": _inside(routing)},
        "auto_rollback_configuration": {"alarms": [{"alarm_name": alarm.name} for alarm in alarms]},
    }


def _log_groups(name: str, spec: EndpointSpec) -> dict[str, str]:
    groups = {f"{name}-endpoint": f"/aws/sagemaker/Endpoints/{name}"}
    if isinstance(spec, ScaleToZeroSpec):
        groups[f"{name}-component"] = f"/aws/sagemaker/InferenceComponents/{name}"
    return groups


def _topic(
    name: str, role_arn: pulumi.Input[str], kms_key_arn: pulumi.Input[str], opts: pulumi.ResourceOptions
) -> pulumi.Output[str]:
    """Where an asynchronous endpoint says, in its role's name, that an answer is there."""
    topic = aws.sns.Topic(f"{name}-answers", name=f"{name}-answers", kms_master_key_id=kms_key_arn, opts=opts)
    publish = {"Effect": "Allow", "Principal": {"AWS": role_arn}, "Action": ["sns:Publish"], "Resource": topic.arn}
    refuse = {**only_over_tls("sns", topic.arn), "Action": "sns:Publish"}
    aws.sns.TopicPolicy(f"{name}-answers", arn=topic.arn, policy=document(publish, refuse), opts=opts)
    return topic.arn


# --- what grows and shrinks -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Scaled:
    """What autoscaling changes: its resource, which number of it, and within which bounds."""

    resource_id: pulumi.Input[str]
    dimension: str
    least: int
    most: int


def _scaled(
    name: str,
    spec: EndpointSpec,
    endpoint: aws.sagemaker.Endpoint,
    model: aws.sagemaker.Model,
    template: Mapping[str, Any],
    opts: pulumi.ResourceOptions,
) -> _Scaled | None:
    variant = pulumi.Output.concat("endpoint/", endpoint.name, "/variant/", VARIANT)
    match spec:
        case RealTimeSpec() | AsyncSpec():
            return _Scaled(variant, "sagemaker:variant:DesiredInstanceCount", spec.min_instances, spec.max_instances)
        case ServerlessSpec(provisioned_concurrency=int(least), max_provisioned_concurrency=int(most)):
            return _Scaled(variant, "sagemaker:variant:DesiredProvisionedConcurrency", least, most)
        case ScaleToZeroSpec():
            component = _make_component(name, endpoint, model, template["component"], opts)
            # Its id is an ARN, which autoscaling does not take.
            resource = component.id.apply(lambda _: f"inference-component/{name}")
            return _Scaled(resource, "sagemaker:inference-component:DesiredCopyCount", 0, spec.max_copies)
        case _:
            return None


def _make_component(
    name: str,
    endpoint: aws.sagemaker.Endpoint,
    model: aws.sagemaker.Model,
    component: Mapping[str, Any],
    opts: pulumi.ResourceOptions,
) -> aws.cloudcontrol.Resource:
    """The inference component, named like its endpoint; pulumi-aws has no type of its own for it."""
    return aws.cloudcontrol.Resource(
        f"{name}-component",
        type_name="AWS::SageMaker::InferenceComponent",
        desired_state=pulumi.Output.json_dumps(
            {
                "InferenceComponentName": name,
                "EndpointName": endpoint.name,
                "VariantName": VARIANT,
                "Specification": {**component, "ModelName": model.name},
                "RuntimeConfig": {"CopyCount": 1},
                # The provider's default tags do not reach what cloud control makes.
                "Tags": [{"Key": key, "Value": value} for key, value in sorted(default_tags().items())],
            },
            sort_keys=True,
        ),
        # Releases change its model, autoscaling its number of copies.
        opts=opts.merge(pulumi.ResourceOptions(ignore_changes=["desiredState"])),
    )


def _scale(name: str, spec: EndpointSpec, scaled: _Scaled | None, alarms: Alarms, opts: pulumi.ResourceOptions) -> None:
    if scaled is None:
        return
    schedule = spec.schedule if isinstance(spec, Machines) else ()
    target = aws.appautoscaling.Target(
        f"{name}-capacity",
        service_namespace="sagemaker",
        scalable_dimension=scaled.dimension,
        resource_id=scaled.resource_id,
        min_capacity=scaled.least,
        max_capacity=scaled.most,
        # The schedule changes them, too.
        opts=opts.merge(pulumi.ResourceOptions(ignore_changes=["minCapacity", "maxCapacity"] if schedule else None)),
    )
    what: dict[str, Any] = {
        "service_namespace": target.service_namespace,
        "scalable_dimension": target.scalable_dimension,
        "resource_id": target.resource_id,
    }
    for number, each in enumerate(schedule, 1):
        aws.appautoscaling.ScheduledAction(
            f"{name}-schedule-{number}",
            name=f"{name}-schedule-{number}",
            **what,
            schedule=each.at,
            timezone=each.time_zone,
            scalable_target_action={"min_capacity": each.min, "max_capacity": each.max},
            opts=opts,
        )
    aws.appautoscaling.Policy(
        f"{name}-traffic",
        name=f"{name}-traffic",
        policy_type="TargetTrackingScaling",
        **what,
        target_tracking_scaling_policy_configuration=_tracking(name, spec),
        opts=opts,
    )
    if isinstance(spec, AsyncSpec | ScaleToZeroSpec):
        _leave_zero(name, spec, what, alarms, opts)


def _tracking(name: str, spec: EndpointSpec) -> Any:
    """What a policy keeps near a target: the fewest and the most are the target's."""

    def predefined(metric: str) -> dict[str, Any]:
        return {"predefined_metric_specification": {"predefined_metric_type": metric}}

    match spec:
        case RealTimeSpec(concurrent_requests_per_instance=int(requests)):
            metric = predefined("SageMakerVariantConcurrentRequestsPerModelHighResolution")
            return {"target_value": requests, **metric, **spec.cooldowns}
        case RealTimeSpec():
            metric = predefined("SageMakerVariantInvocationsPerInstance")
            return {"target_value": spec.invocations_per_instance, **metric, **spec.cooldowns}
        case AsyncSpec():
            backlog = {
                "namespace": NAMESPACE,
                "metric_name": "ApproximateBacklogSizePerInstance",
                "dimensions": [{"name": "EndpointName", "value": name}],
                "statistic": "Average",
            }
            return {
                "target_value": spec.backlog_per_instance,
                "customized_metric_specification": backlog,
                **spec.cooldowns,
            }
        case ScaleToZeroSpec():
            metric = predefined("SageMakerInferenceComponentConcurrentRequestsPerCopyHighResolution")
            return {"target_value": spec.concurrent_requests_per_copy, **metric, **spec.cooldowns}
        case _:
            metric = predefined("SageMakerVariantProvisionedConcurrencyUtilization")
            return {"target_value": 0.7, **metric, "scale_in_cooldown": 300, "scale_out_cooldown": 60}


def _leave_zero(
    name: str,
    spec: AsyncSpec | ScaleToZeroSpec,
    what: Mapping[str, Any],
    alarms: Alarms,
    opts: pulumi.ResourceOptions,
) -> None:
    """Target tracking cannot leave zero: what it tracks is a share of nothing. An alarm adds the first one."""
    one_more: Any = {
        "adjustment_type": "ChangeInCapacity",
        "metric_aggregation_type": "Maximum",
        "cooldown": spec.cooldowns["scale_out_cooldown"],
        "step_adjustments": [{"metric_interval_lower_bound": "0", "scaling_adjustment": 1}],
    }
    wake = aws.appautoscaling.Policy(
        f"{name}-wake",
        name=f"{name}-wake",
        policy_type="StepScaling",
        **what,
        step_scaling_policy_configuration=one_more,
        opts=opts,
    )
    asynchronous = isinstance(spec, AsyncSpec)
    alarms.add(
        "asleep",
        means=f"{name} is asked and has no capacity: autoscaling now adds the first.",
        look=[
            f"$ aws sagemaker describe-endpoint --endpoint-name {name}",
            "$ aws application-autoscaling describe-scaling-activities --service-namespace sagemaker",
        ],
        act=[
            "Nothing, if it ends within a quarter of an hour: that is how long instances take to start.",
            "Longer: the activities say why no instance comes (a quota, no capacity of that type).",
        ],
        namespace=NAMESPACE,
        metric_name="HasBacklogWithoutCapacity" if asynchronous else "NoCapacityInvocationFailures",
        dimensions={"EndpointName" if asynchronous else "InferenceComponentName": name},
        statistic="Maximum" if asynchronous else "Sum",
        period=60,
        evaluation_periods=1,
        comparison_operator="GreaterThanOrEqualToThreshold",
        threshold=1,
        alarm_actions=[wake.arn],
        ok_actions=[],
    )


# --- what is watched --------------------------------------------------------------------------------------------------


def _alarms(name: str, spec: EndpointSpec, alarms: Alarms) -> dict[str, aws.cloudwatch.MetricAlarm]:
    """What takes a change back, and calls someone at any other time; their names are fixed, for releases name them."""
    dimensions = _dimensions(name, spec)
    errors = {
        "async": "InvocationFailures",
        # While it is cold, every request is a 5xx: only what the model itself fails counts.
        "scale-to-zero": "InvocationModelErrors",
    }.get(spec.kind, "Invocation5XXErrors")
    act = [
        "During a release: nothing. SageMaker goes back to the version before, and the incident note says so.",
        f"Right after a release: `slipway rollback {name}`.",
        "At any other time: the log says what fails. Is it one caller's input, or every request?",
    ]
    log = f"$ aws logs tail {list(_log_groups(name, spec).values())[-1]} --since 30m"
    found = {
        "errors": alarms.add(
            "errors",
            means=f"{name} fails more than {spec.max_errors_per_minute} requests a minute.",
            look=[log, f"$ slipway history {name}"],
            act=act,
            namespace=NAMESPACE,
            metric_name=errors,
            dimensions=dimensions,
            statistic="Sum",
            period=60,
            evaluation_periods=3,
            datapoints_to_alarm=2,
            comparison_operator="GreaterThanThreshold",
            threshold=spec.max_errors_per_minute,
        ),
        "latency": alarms.add(
            "latency",
            means=f"{name} takes longer than {spec.max_latency_ms} ms for 1 % of its requests.",
            look=[log, f"$ slipway history {name}"],
            act=[*act, "Is it at max_instances? Then it needs more of them, or larger ones."],
            namespace=NAMESPACE,
            metric_name="ModelLatency",
            dimensions=dimensions,
            extended_statistic="p99",
            period=60,
            evaluation_periods=3,
            datapoints_to_alarm=2,
            comparison_operator="GreaterThanThreshold",
            # SageMaker counts latency in microseconds.
            threshold=spec.max_latency_ms * 1000,
        ),
    }
    if isinstance(spec, RealTimeSpec | ServerlessSpec):
        share = _share(spec.min_requests, errors, dimensions)
        found["error-share"] = alarms.add(
            "error-share",
            means=f"{name} fails more than {spec.max_error_percent:g} % of its requests.",
            look=[log, f"$ slipway history {name}"],
            act=act,
            metric_queries=share,
            evaluation_periods=3,
            datapoints_to_alarm=2,
            comparison_operator="GreaterThanThreshold",
            threshold=spec.max_error_percent,
        )
    if isinstance(spec, AsyncSpec):
        alarms.add(
            "waiting",
            means=f"The oldest request to {name} has waited for more than {spec.max_wait_minutes} minutes.",
            look=[f"$ aws sagemaker describe-endpoint --endpoint-name {name}", log],
            act=["Is it at max_instances? Raise it.", "Does one request take very long? The log says which."],
            namespace=NAMESPACE,
            metric_name="ApproximateAgeOfOldestRequest",
            dimensions={"EndpointName": name},
            statistic="Maximum",
            period=300,
            evaluation_periods=1,
            comparison_operator="GreaterThanThreshold",
            threshold=spec.max_wait_minutes * 60,
        )
    return found


def _dimensions(name: str, spec: EndpointSpec) -> dict[str, str]:
    """Under which SageMaker keeps an endpoint's metrics. A candidate's are under the same: it has no other name."""
    if isinstance(spec, ScaleToZeroSpec):
        return {"InferenceComponentName": name}
    return {"EndpointName": name, "VariantName": VARIANT}


def _share(min_requests: int, errors: str, dimensions: Mapping[str, str]) -> list[dict[str, Any]]:
    """The percentage of requests that failed; 0 where there were too few for that to say anything."""

    def counted(identity: str, metric: str) -> dict[str, Any]:
        stat = {"namespace": NAMESPACE, "metric_name": metric, "dimensions": dimensions, "period": 60, "stat": "Sum"}
        return {"id": identity, "metric": stat, "return_data": False}

    return [
        counted("failed", errors),
        counted("requests", "Invocations"),
        {
            "id": "share",
            "expression": f"IF(requests >= {min_requests}, 100 * failed / requests, 0)",
            "label": "Failed requests (%)",
            "return_data": True,
        },
    ]


def _charts(name: str, spec: EndpointSpec) -> list[Chart]:
    where = [each for pair in _dimensions(name, spec).items() for each in pair]

    def line(*metrics: str) -> list[tuple[str, ...]]:
        return [(NAMESPACE, metric, *where) for metric in metrics]

    charts = [
        Chart("Requests", line("Invocations")),
        Chart("Failed requests", line("Invocation4XXErrors", "Invocation5XXErrors")),
        Chart("The model's own time (p99)", line("ModelLatency"), "p99", "µs"),
    ]
    match spec:
        case RealTimeSpec():
            charts.append(Chart("Requests for each instance", line("InvocationsPerInstance")))
        case AsyncSpec():
            backlog = ("ApproximateBacklogSize", "ApproximateBacklogSizePerInstance")
            waiting = [(NAMESPACE, metric, "EndpointName", name) for metric in backlog]
            charts.append(Chart("Waiting requests", waiting, "Maximum"))
        case ServerlessSpec():
            charts.append(Chart("Concurrency in use", line("ServerlessConcurrentExecutionsUtilization"), "Maximum"))
        case ScaleToZeroSpec():
            charts.append(Chart("Requests to no capacity", line("NoCapacityInvocationFailures")))
    return charts
