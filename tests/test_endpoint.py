"""What an endpoint of each kind asks AWS for, and what of a spec is refused."""

import json
from dataclasses import replace
from typing import Any

import pulumi_aws as aws
import pytest
from judging import NOT_WITHOUT_A_STACK, planned
from pretend_aws import ACCOUNT, CONFIG, KEY, REGION, TOPIC, PretendAws, up
from pretend_cloud import settings
from pydantic import ValidationError

from components.endpoint import Endpoint
from components.endpoint_spec import (
    AsyncSpec,
    EndpointSpec,
    RealTimeSpec,
    Rollout,
    ScaleToZeroSpec,
    ServerlessSpec,
    Shadow,
    machine_image,
)
from components.release import Release, ReleaseSpec
from components.spec import Spec
from functions.release import naming
from infra.check import check
from infra.rehearsal.engine import Plan, Resource
from policies.cost import TAGS, estimate

PACKAGE = "arn:aws:sagemaker:us-east-1:123456789012:model-package/churn/7"
REAL_TIME = RealTimeSpec(instance_type="ml.m5.large", min_instances=2, max_instances=6, capture_percent=30)
SERVERLESS = ServerlessSpec(memory_mib=2048, max_concurrency=20)
ASYNC = AsyncSpec(instance_type="ml.g5.xlarge", max_instances=4)
TO_ZERO = ScaleToZeroSpec(
    instance_type="ml.g5.xlarge", max_instances=2, max_copies=4, memory_mib=4096, accelerators=1, cpus=2
)
KINDS = {"real-time": REAL_TIME, "serverless": SERVERLESS, "async": ASYNC, "scale-to-zero": TO_ZERO}


def serve(spec: EndpointSpec, package: str = PACKAGE, name: str = "churn-local") -> tuple[PretendAws, dict[str, Any]]:
    """What AWS was asked for, and the template."""
    templates: list[str] = []

    def program() -> None:
        made = Endpoint(
            name,
            spec,
            model_package_arn=package,
            role_arn="arn:role",
            captures_uri="s3://lake/churn/captures",
            subnet_ids=["subnet-a"],
            security_group_id="sg-1",
            kms_key_arn=KEY,
            alerts_topic_arn=TOPIC,
            answers_uri="s3://lake/churn/answers",
        )
        made.template.apply(templates.append)

    made = up(program)
    [template] = templates
    return made, json.loads(template)


def configured(made: PretendAws) -> dict[str, Any]:
    return made.only(aws.sagemaker.EndpointConfiguration)


@pytest.fixture(scope="module")
def made() -> PretendAws:
    return serve(REAL_TIME)[0]


def test_the_model_is_the_registered_one_isolated_in_our_network(made: PretendAws) -> None:
    model = made.only(aws.sagemaker.Model)

    assert model["primaryContainer"] == {"modelPackageName": PACKAGE, "environment": {"MODEL_VERSION": "7"}}
    assert model["enableNetworkIsolation"] is True
    assert model["vpcConfig"] == {"subnets": ["subnet-a"], "securityGroupIds": ["sg-1"]}


def test_keeps_a_sample_of_its_traffic_in_words_that_monitors_read(made: PretendAws) -> None:
    capture = configured(made)["dataCaptureConfig"]

    assert (capture["initialSamplingPercentage"], capture["kmsKeyId"]) == (30, KEY)
    assert [each["captureMode"] for each in capture["captureOptions"]] == ["Input", "Output"]
    assert capture["captureContentTypeHeader"]["csvContentTypes"] == ["text/csv"]


def test_what_releases_make_is_named_by_its_content() -> None:
    def name(spec: EndpointSpec, package: str = PACKAGE, endpoint: str = "churn-local") -> str:
        template = serve(spec, name=endpoint)[1]
        return str(naming.configuration(template, package)["EndpointConfigName"])

    bigger = REAL_TIME.model_copy(update={"instance_type": "ml.m5.xlarge"})
    later = REAL_TIME.model_copy(update={"max_instances": 9})
    assert name(REAL_TIME) == name(later)
    assert name(REAL_TIME) != name(bigger)
    assert name(REAL_TIME) != name(REAL_TIME, PACKAGE.replace("/7", "/8"))
    assert name(REAL_TIME).startswith("churn-local-v7-")
    assert len(name(REAL_TIME, endpoint="c" * 63)) == 63


@pytest.mark.parametrize("kind", KINDS)
def test_a_release_of_the_first_version_would_make_what_pulumi_made(kind: str) -> None:
    made, template = serve(KINDS[kind])

    def plain(value: Any) -> Any:
        """Without the names of models, and in one way of writing."""
        if isinstance(value, dict):
            return {
                key.lower(): plain(each)
                for key, each in value.items()
                if key.lower() not in ("modelname", "endpointconfigname")
            }
        return [plain(each) for each in value] if isinstance(value, list) else value

    asked, pulumi_made = plain(naming.configuration(template, PACKAGE)), plain(configured(made))
    assert pulumi_made.pop("kmskeyarn") == asked.pop("kmskeyid")
    for variant in pulumi_made["productionvariants"]:
        if "routingconfigs" in variant:
            [variant["routingconfig"]] = variant.pop("routingconfigs")
    assert pulumi_made == asked
    assert "name" not in configured(made)


@pytest.mark.parametrize("endpoint", ["churn-local", "c" * 63, "c" * 44 + "-x"])
def test_the_names_of_one_endpoint_are_not_taken_for_another_ones(endpoint: str) -> None:
    name = naming.named(endpoint, PACKAGE, "{}")
    assert naming.is_of(endpoint, name)
    assert naming.is_of(endpoint, naming.named(endpoint, "", "{}"))
    assert not naming.is_of(endpoint, f"other-{name}")
    assert not naming.is_of("churn", naming.named("churn-local", PACKAGE, "{}"))
    assert not naming.is_of(endpoint, endpoint)
    assert naming.is_of(endpoint, f"{endpoint[:40]}-configuration-0a1b2c3")
    assert not naming.is_of(endpoint, "other-configuration-0a1b2c3")


def test_a_bad_change_is_taken_back(made: PretendAws) -> None:
    deployment = made.only(aws.sagemaker.Endpoint)["deploymentConfig"]
    alarms = made.inputs(aws.cloudwatch.MetricAlarm)

    watching = [each["alarmName"] for each in deployment["autoRollbackConfiguration"]["alarms"]]
    assert watching == ["churn-local-errors", "churn-local-latency", "churn-local-error-share"]
    assert set(watching) == set(alarms)
    where = {"EndpointName": "churn-local", "VariantName": "live"}
    assert alarms["churn-local-errors"]["dimensions"] == alarms["churn-local-latency"]["dimensions"] == where
    assert all(each["treatMissingData"] == "notBreaching" for each in alarms.values())


def test_a_share_of_few_requests_says_nothing(made: PretendAws) -> None:
    queries = made.inputs(aws.cloudwatch.MetricAlarm)["churn-local-error-share"]["metricQueries"]

    assert [each["id"] for each in queries if each["returnData"]] == ["share"]
    assert queries[-1]["expression"] == "IF(requests >= 20, 100 * failed / requests, 0)"
    assert [each["metric"]["metricName"] for each in queries[:-1]] == ["Invocation5XXErrors", "Invocations"]


def test_latency_is_compared_in_microseconds(made: PretendAws) -> None:
    alarm = made.inputs(aws.cloudwatch.MetricAlarm)["churn-local-latency"]

    assert (alarm["metricName"], alarm["threshold"], alarm["extendedStatistic"]) == ("ModelLatency", 1_000_000, "p99")


@pytest.mark.parametrize(
    "rollout, routing",
    [
        (
            Rollout(kind="canary", step_percent=25, bake_minutes=10),
            {
                "Type": "CANARY",
                "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 25},
                "WaitIntervalInSeconds": 600,
            },
        ),
        (
            Rollout(kind="linear", step_percent=50, bake_minutes=5),
            {
                "Type": "LINEAR",
                "LinearStepSize": {"Type": "CAPACITY_PERCENT", "Value": 50},
                "WaitIntervalInSeconds": 300,
            },
        ),
        (Rollout(kind="all-at-once", bake_minutes=0), {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 0}),
    ],
    ids=lambda value: value.kind if isinstance(value, Rollout) else "",
)
def test_takes_over_as_asked(rollout: Rollout, routing: dict[str, Any]) -> None:
    policy = serve(REAL_TIME.model_copy(update={"rollout": rollout}))[1]["deployment"]["BlueGreenUpdatePolicy"]

    assert policy["TrafficRoutingConfiguration"] == routing
    assert policy["MaximumExecutionTimeoutInSeconds"] > rollout.minutes * 60


def test_grows_with_its_traffic(made: PretendAws) -> None:
    target, policy = made.only(aws.appautoscaling.Target), made.only(aws.appautoscaling.Policy)

    assert (target["minCapacity"], target["maxCapacity"]) == (2, 6)
    assert target["resourceId"] == "endpoint/churn-local/variant/live"
    tracking = policy["targetTrackingScalingPolicyConfiguration"]
    assert (tracking["targetValue"], tracking["scaleInCooldown"], tracking["scaleOutCooldown"]) == (600, 600, 300)


def test_language_models_scale_by_what_they_work_on_at_once_and_load_for_long() -> None:
    spec = RealTimeSpec(
        instance_type="ml.g5.2xlarge",
        min_instances=2,
        max_instances=3,
        concurrent_requests_per_instance=8,
        model_download_seconds=1800,
        startup_seconds=1200,
        volume_gib=None,
    )
    made, template = serve(spec)

    tracking = made.only(aws.appautoscaling.Policy)["targetTrackingScalingPolicyConfiguration"]
    assert tracking["predefinedMetricSpecification"] == {
        "predefinedMetricType": "SageMakerVariantConcurrentRequestsPerModelHighResolution"
    }
    assert tracking["scaleOutCooldown"] == 600
    [variant] = template["configuration"]["ProductionVariants"]
    assert variant["InferenceAmiVersion"] == "al2-ami-sagemaker-inference-gpu-3-1"
    assert variant["ModelDataDownloadTimeoutInSeconds"] == 1800
    assert configured(made)["productionVariants"][0]["containerStartupHealthCheckTimeoutInSeconds"] == 1200


@pytest.mark.parametrize(
    "instance_type, image",
    [
        ("ml.m5.large", None),
        ("ml.g4dn.xlarge", "al2-ami-sagemaker-inference-gpu-3-1"),
        ("ml.p4d.24xlarge", "al2-ami-sagemaker-inference-gpu-3-1"),
        ("ml.g7e.2xlarge", "al2023-ami-sagemaker-inference-gpu-4-1"),
        ("ml.inf2.xlarge", "al2-ami-sagemaker-inference-neuron-2"),
        ("ml.inf1.xlarge", None),
    ],
)
def test_the_driver_does_not_change_unasked(instance_type: str, image: str | None) -> None:
    assert machine_image(instance_type) == image


def test_its_log_is_encrypted(made: PretendAws) -> None:
    group = made.only(aws.cloudwatch.LogGroup)

    assert (group["name"], group["kmsKeyId"]) == ("/aws/sagemaker/Endpoints/churn-local", KEY)


def test_a_shadow_gets_a_copy_of_some_requests() -> None:
    spec = RealTimeSpec.model_validate(
        {**REAL_TIME.model_dump(exclude_unset=True), "shadow": {"model_version": 9, "percent": 25}}
    )
    made, template = serve(spec)

    shadow = template["shadow_package_arn"]
    assert shadow == PACKAGE.replace("/7", "/9")
    models = {
        name: each["primaryContainer"]["modelPackageName"] for name, each in made.inputs(aws.sagemaker.Model).items()
    }
    [production], [copy] = configured(made)["productionVariants"], configured(made)["shadowProductionVariants"]
    assert models[production["modelName"]] == PACKAGE
    assert models[copy["modelName"]] == shadow
    assert (copy["variantName"], copy["initialVariantWeight"]) == ("shadow", 0.25)
    asked = naming.configuration(template, PACKAGE)["ShadowProductionVariants"][0]
    assert asked["ModelName"] == naming.model(template, shadow)["ModelName"]


def test_capacity_follows_the_clock() -> None:
    hours = [
        {"at": "cron(0 7 ? * MON-FRI *)", "time_zone": "Europe/Berlin", "min": 4, "max": 8},
        {"at": "cron(0 20 ? * MON-FRI *)", "time_zone": "Europe/Berlin", "min": 2, "max": 6},
    ]
    made, _ = serve(RealTimeSpec.model_validate({**REAL_TIME.model_dump(exclude_unset=True), "schedule": hours}))

    morning, evening = made.inputs(aws.appautoscaling.ScheduledAction).values()
    assert (morning["schedule"], morning["timezone"]) == ("cron(0 7 ? * MON-FRI *)", "Europe/Berlin")
    assert evening["scalableTargetAction"] == {"minCapacity": 2, "maxCapacity": 6}


def test_a_serverless_model_has_what_serverless_endpoints_take() -> None:
    spec = ServerlessSpec(
        memory_mib=3072, max_concurrency=20, provisioned_concurrency=2, max_provisioned_concurrency=10
    )
    made, template = serve(spec)

    [variant] = configured(made)["productionVariants"]
    assert variant["serverlessConfig"] == {
        "memorySizeInMb": 3072,
        "maxConcurrency": 20,
        "provisionedConcurrency": 2,
    }
    assert "instanceType" not in variant
    assert not {"vpcConfig", "dataCaptureConfig"} & {*made.only(aws.sagemaker.Model), *configured(made)}
    assert template["deployment"] is None
    assert (
        made.only(aws.appautoscaling.Target)["scalableDimension"] == "sagemaker:variant:DesiredProvisionedConcurrency"
    )
    assert made.only(aws.appautoscaling.Policy)["targetTrackingScalingPolicyConfiguration"]["targetValue"] == 0.7


def test_without_provisioned_concurrency_nothing_scales_a_serverless_endpoint() -> None:
    assert serve(SERVERLESS)[0].inputs(aws.appautoscaling.Target) == {}


def test_an_asynchronous_endpoint_starts_at_nothing_and_leaves_it() -> None:
    made, template = serve(ASYNC)

    assert made.only(aws.appautoscaling.Target)["minCapacity"] == 0
    assert configured(made)["productionVariants"][0]["initialInstanceCount"] == 1
    policies = made.inputs(aws.appautoscaling.Policy)
    tracked = policies["churn-local-traffic"]["targetTrackingScalingPolicyConfiguration"]
    assert tracked["customizedMetricSpecification"]["metricName"] == "ApproximateBacklogSizePerInstance"
    assert policies["churn-local-wake"]["stepScalingPolicyConfiguration"]["stepAdjustments"] == [
        {"metricIntervalLowerBound": "0", "scalingAdjustment": 1}
    ]
    alarm = made.inputs(aws.cloudwatch.MetricAlarm)["churn-local-asleep"]
    assert (alarm["metricName"], alarm["dimensions"]) == ("HasBacklogWithoutCapacity", {"EndpointName": "churn-local"})
    assert alarm["alarmActions"] == ["arn:aws:pretend:::churn-local-wake"]
    output = template["configuration"]["AsyncInferenceConfig"]["OutputConfig"]
    assert (output["S3OutputPath"], output["KmsKeyId"]) == ("s3://lake/churn/answers", KEY)
    assert output["NotificationConfig"]["ErrorTopic"] == made.only(aws.sns.Topic)["name"].join(
        ["arn:aws:pretend:::", ""]
    )


def test_an_asynchronous_endpoint_needs_to_know_where_its_answers_go() -> None:
    def program() -> None:
        Endpoint(
            "churn-local",
            ASYNC,
            model_package_arn=PACKAGE,
            role_arn="arn:role",
            captures_uri="s3://lake/captures",
            subnet_ids=["subnet-a"],
            security_group_id="sg-1",
            kms_key_arn=KEY,
            alerts_topic_arn=TOPIC,
        )

    with pytest.raises(ValueError, match="set answers_uri"):
        up(program)


def test_scale_to_zero_is_wired_as_sagemaker_wants_it() -> None:
    made, template = serve(TO_ZERO)

    [variant] = configured(made)["productionVariants"]
    assert "modelName" not in variant
    assert configured(made)["executionRoleArn"] == "arn:role"
    assert variant["managedInstanceScaling"] == {"status": "ENABLED", "minInstanceCount": 0, "maxInstanceCount": 2}
    assert variant["routingConfigs"] == [{"routingStrategy": "LEAST_OUTSTANDING_REQUESTS"}]
    component = made.only(aws.cloudcontrol.Resource)
    wanted = json.loads(component["desiredState"])
    assert component["typeName"] == "AWS::SageMaker::InferenceComponent"
    assert wanted["Specification"] == {
        "ModelName": "churn-local-model",
        "ComputeResourceRequirements": {
            "MinMemoryRequiredInMb": 4096,
            "NumberOfCpuCoresRequired": 2,
            "NumberOfAcceleratorDevicesRequired": 1,
        },
    }
    assert {"Key": "owner", "Value": "team"} in wanted["Tags"]
    target = made.only(aws.appautoscaling.Target)
    assert target["scalableDimension"] == "sagemaker:inference-component:DesiredCopyCount"
    assert (target["minCapacity"], target["maxCapacity"]) == (0, 4)
    alarm = made.inputs(aws.cloudwatch.MetricAlarm)["churn-local-asleep"]
    assert (alarm["metricName"], alarm["threshold"]) == ("NoCapacityInvocationFailures", 1)
    assert alarm["alarmActions"] == ["arn:aws:pretend:::churn-local-wake"]
    assert template["deployment"]["RollingUpdatePolicy"]["MaximumBatchSize"] == {
        "Type": "CAPACITY_PERCENT",
        "Value": 50,
    }


@pytest.mark.parametrize("kind", KINDS)
def test_every_alarm_has_a_page_in_the_runbook_and_every_kind_a_chart(kind: str) -> None:
    endpoints: list[Endpoint] = []

    def program() -> None:
        endpoints.append(
            Endpoint(
                "churn-local",
                KINDS[kind],
                model_package_arn=PACKAGE,
                role_arn="arn:role",
                captures_uri="s3://lake/captures",
                subnet_ids=["subnet-a"],
                security_group_id="sg-1",
                kms_key_arn=KEY,
                alerts_topic_arn=TOPIC,
                answers_uri="s3://lake/answers",
            )
        )

    made = up(program)
    [endpoint] = endpoints
    assert {guide.alarm for guide in endpoint.guides} == {
        each["name"] for each in made.inputs(aws.cloudwatch.MetricAlarm).values()
    }
    assert len(endpoint.charts) > 3


class AnyStack(Spec):
    """As a stack's class has an endpoint."""

    endpoint: EndpointSpec


def test_a_stack_says_the_kind_and_real_time_is_meant_where_it_does_not() -> None:
    said = {"instance_type": "ml.m5.large", "min_instances": 2, "max_instances": 6, "capture_percent": 30}
    assert AnyStack.model_validate({"endpoint": said}).endpoint == REAL_TIME
    for kind, spec in KINDS.items():
        told = {**spec.model_dump(exclude_unset=True), "kind": kind}
        assert AnyStack.model_validate({"endpoint": told}).endpoint == spec


M5 = {"instance_type": "ml.m5.large", "max_instances": 4, "rollout": {"kind": "all-at-once"}}
G5 = {**M5, "instance_type": "ml.g5.xlarge"}


@pytest.mark.parametrize(
    "said, words",
    [
        ({"instance_type": "ml.m5.large", "max_instances": 2}, "needs two instances"),
        ({**M5, "instance_type": "m5.large"}, "no SageMaker instance type"),
        ({**M5, "instance_type": "ml.t3.large"}, "burstable instances cannot autoscale"),
        ({**M5, "min_instances": 5}, "min_instances 5 is above max_instances 4"),
        ({**M5, "kind": "servless"}, "set one of real-time, serverless, async, scale-to-zero"),
        ({**M5, "memory_mib": 1024}, "memory_mib"),
        ({**M5, "startup_seconds": 30}, "greater than or equal to 60"),
        ({**G5, "volume_gib": 100}, "disks of its own"),
        ({**M5, "volume_gib": 1000}, "less than or equal to 512"),
        ({**M5, "machine_image": "al2-ami-sagemaker-inference-gpu-2"}, "no accelerator: leave out machine_image"),
        ({**G5, "machine_image": "al2-ami-sagemaker-inference-neuron-2"}, "set al2-ami-sagemaker-inference-gpu-3-1"),
        ({**M5, "schedule": [{"at": "rate(1 day)", "min": 1, "max": 2}]}, "should match pattern"),
        ({**M5, "schedule": [{"at": "cron(0 7 * * *)", "min": 1, "max": 2}]}, "six fields"),
        ({**M5, "schedule": [{"at": "cron(0 7 ? * * *)", "min": 3, "max": 2}]}, "min 3 is above max 2"),
        ({**M5, "schedule": [{"at": "cron(0 7 ? * * *)", "min": 0, "max": 2}]}, "keeps one instance"),
        (
            {**M5, "min_instances": 2, "rollout": {}, "schedule": [{"at": "cron(0 20 ? * * *)", "min": 1, "max": 2}]},
            "needs two instances",
        ),
        ({**M5, "min_instances": 2, "rollout": {"step_percent": 2}}, "set max_error_percent lower"),
        ({**M5, "rollout": {"kind": "linear", "step_percent": 10, "bake_minutes": 60}}, "takes 600 minutes"),
        ({**M5, "rollout": {"step_percent": 60}}, "less than or equal to 50"),
        ({**M5, "instance_type": "ml.inf1.xlarge", "shadow": {"model_version": 2}}, "Inf1 instances have no shadows"),
        ({"kind": "serverless", "memory_mib": 2000, "max_concurrency": 5}, "1024, 2048, 3072, 4096, 5120 or 6144"),
        ({"kind": "serverless", "memory_mib": 2048, "max_concurrency": 201}, "less than or equal to 200"),
        (
            {"kind": "serverless", "memory_mib": 2048, "max_concurrency": 5, "provisioned_concurrency": 6},
            "provisioned_concurrency 6 is above max_concurrency 5",
        ),
        (
            {"kind": "serverless", "memory_mib": 2048, "max_concurrency": 5, "max_provisioned_concurrency": 3},
            "set that, too",
        ),
        (
            {"kind": "serverless", "memory_mib": 2048, "max_concurrency": 5, "rollout": {"kind": "canary"}},
            "change over at once",
        ),
        ({"kind": "serverless", "memory_mib": 2048, "max_concurrency": 5, "shadow": {"model_version": 2}}, "shadow"),
        ({"kind": "serverless", "memory_mib": 2048, "max_concurrency": 5, "capture_percent": 5}, "capture_percent"),
        ({"kind": "async", **G5, "concurrent_requests_per_instance": 1001}, "less than or equal to 1000"),
        ({"kind": "async", **G5, "shadow": {"model_version": 2}}, "shadow"),
        ({"kind": "async", **G5, "rollout": {"kind": "canary"}}, "needs two instances"),
        ({"kind": "scale-to-zero", **G5, "max_copies": 2, "memory_mib": 64}, "greater than or equal to 128"),
        ({"kind": "scale-to-zero", **G5, "max_copies": 2, "memory_mib": 512}, "set accelerators to 1 or more"),
        (
            {"kind": "scale-to-zero", **M5, "max_copies": 2, "memory_mib": 512, "accelerators": 1},
            "ml.m5.large has no accelerators",
        ),
        (
            {"kind": "scale-to-zero", **M5, "max_copies": 2, "memory_mib": 512, "rollout": {"kind": "canary"}},
            "replaced in steps",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_aws_would_refuse_is_refused_before(said: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        AnyStack.model_validate({"endpoint": said})


def released(spec: EndpointSpec) -> PretendAws:
    """An endpoint with its releases."""

    def program() -> None:
        made = Endpoint(
            "churn-local",
            spec,
            model_package_arn=PACKAGE,
            role_arn=f"arn:aws:iam::{ACCOUNT}:role/model",
            captures_uri="s3://lake/churn/captures",
            subnet_ids=["subnet-a"],
            security_group_id="sg-1",
            kms_key_arn=KEY,
            alerts_topic_arn=TOPIC,
            answers_uri="s3://lake/churn/answers",
        )
        Release(
            "churn-local",
            ReleaseSpec(gate={"accuracy": 0.8}),
            endpoint_name=made.endpoint_name,
            template=made.template,
            first_names=made.first_names,
            signing_key_arn=KEY.replace("ours", "signing"),
            role_arn=f"arn:aws:iam::{ACCOUNT}:role/model",
            bucket="lake",
            bucket_arn="arn:aws:s3:::lake",
            prefix="churn",
            image_repository_arn=f"arn:aws:ecr:{REGION}:683313688378:repository/sagemaker-scikit-learn",
            ledger_bucket="ledger",
            ledger_bucket_arn="arn:aws:s3:::ledger",
            kms_key_arn=KEY,
            alerts_topic_arn=TOPIC,
        )

    return up(program)


def violations(made: PretendAws) -> list[str]:
    """What the packs say of all that was asked for, as if its tags came from the provider and a budget stood by."""
    usd = 50_000.0
    config = {**CONFIG, "slipway:usd_per_month": str(usd)}
    told = replace(settings(lambda: None, "churn-local"), region=REGION, usd_per_month=usd, config=config)
    report = check([(told, Plan("churn-local", declared(made), (), {}))])
    return [f"{each.resource}: {each.sentence}" for each in report.violations if each.rule not in NOT_WITHOUT_A_STACK]


SHADOWED = REAL_TIME.model_copy(update={"shadow": Shadow(model_version=9)})


@pytest.mark.parametrize("kind", [*KINDS, "shadowed"])
def test_every_kind_and_its_releases_keep_to_every_pack(kind: str) -> None:
    assert violations(released({**KINDS, "shadowed": SHADOWED}[kind])) == []


def declared(made: PretendAws) -> tuple[Resource, ...]:
    """What was asked for, as an engine shows it to a pack."""
    return planned(made, tags=dict.fromkeys(TAGS, "x"))


@pytest.mark.parametrize(
    "spec, floor, ceiling",
    [
        (ServerlessSpec(memory_mib=2048, max_concurrency=5), 0, 5 * 2 * 730 * 0.072),
        (
            ServerlessSpec(memory_mib=2048, max_concurrency=5, provisioned_concurrency=1),
            1 * 2 * 730 * 0.072,
            5 * 2 * 730 * 0.072,
        ),
        # The copies of a component are no instances: two of those at most, and none when nobody asks.
        (TO_ZERO, 0, 2 * 730 * 1.41),
    ],
)
def test_what_an_endpoint_costs_at_least_and_at_most(spec: EndpointSpec, floor: float, ceiling: float) -> None:
    [line] = [
        each
        for each in estimate(declared(released(spec)))
        if each.resource == "churn-local" and ("at once" in each.what or "ml.g5" in each.what)
    ]
    assert [line.floor_usd, line.ceiling_usd] == pytest.approx([floor, ceiling])


@pytest.fixture(scope="module")
def machine() -> PretendAws:
    return released(REAL_TIME)


def test_the_packs_would_say_if_a_release_might_do_anything(machine: PretendAws) -> None:
    [policy] = [each for each in machine.resources if each.typ == "aws:iam/rolePolicy:RolePolicy"][:1]
    before = policy.inputs["policy"]
    anything = {"Effect": "Allow", "Action": "sagemaker:*", "Resource": "*"}
    try:
        policy.inputs["policy"] = json.dumps({"Version": "2012-10-17", "Statement": [anything]})
        assert violations(machine)
    finally:
        policy.inputs["policy"] = before


def test_a_release_cannot_delete_and_the_collector_cannot_change(machine: PretendAws) -> None:
    def allowed(name: str) -> set[str]:
        statements = machine.statements(aws.iam.RolePolicy, name)
        return {action for each in statements if each["Effect"] == "Allow" for action in each["Action"]}

    assert not [each for each in allowed("churn-local-release") if each.startswith("sagemaker:Delete")]
    assert {each for each in allowed("churn-local-release-keep") if each.startswith("sagemaker:")} == {
        "sagemaker:DeleteEndpointConfig",
        "sagemaker:DeleteModel",
        "sagemaker:DescribeEndpoint",
        "sagemaker:DescribeEndpointConfig",
        "sagemaker:DescribeInferenceComponent",
        "sagemaker:DescribeModel",
        "sagemaker:ListEndpointConfigs",
        "sagemaker:ListInferenceComponents",
        "sagemaker:ListModels",
    }
    assert "sagemaker:UpdateEndpoint" not in allowed("churn-local-release-verify")


def test_every_way_out_of_every_step_is_recorded(machine: PretendAws) -> None:
    states = json.loads(machine.only(aws.sfn.StateMachine)["definition"])["States"]

    tasks = {name: state for name, state in states.items() if state["Type"] == "Task"}
    assert {"Lock", "Verify", "Ready", "Model", "Configuration", "Update", "Look", "Check", "Record"} < set(tasks)
    for name in set(tasks) - {"Failed", "Tell anyway"}:
        [caught] = tasks[name]["Catch"]
        assert (caught["ErrorEquals"], caught["Next"]) == (["States.ALL"], "Failed")
    assert tasks["Failed"]["Catch"][0]["Next"] == "Tell anyway"
    assert states["Template"]["Result"]["tags"]["owner"] == "team"


def test_an_endpoint_with_a_name_too_long_to_release_is_refused() -> None:
    wiring: dict[str, Any] = dict.fromkeys(WIRING, "x")
    with pytest.raises(ValueError, match="has 41 characters"):
        Release("c" * 41, ReleaseSpec(gate={"accuracy": 0.8}), **wiring)


WIRING = (
    "endpoint_name",
    "template",
    "first_names",
    "signing_key_arn",
    "role_arn",
    "bucket",
    "bucket_arn",
    "prefix",
    "image_repository_arn",
    "ledger_bucket",
    "ledger_bucket_arn",
    "kms_key_arn",
    "alerts_topic_arn",
)
