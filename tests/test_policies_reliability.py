"""Each control of the reliability pack accepts what is right, refuses what is wrong, and defers what is not known."""

import json
import re
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pulumi_aws as aws
import pytest
from judging import Verdict, judge, judge_stack, resource
from pulumi.runtime.config import set_all_config

from policies import reliability
from policies.reliability import CONTROLS, UNIQUE_NAMES, days_between, patched, supported
from policies.reliability.calendars import KUBERNETES, LAMBDA
from policies.rules import UNKNOWN

ALARM = "aws:cloudwatch/metricAlarm:MetricAlarm"
BUCKET = "aws:s3/bucket:Bucket"
CLUSTER = "aws:eks/cluster:Cluster"
CONFIGURATION = "aws:sagemaker/endpointConfiguration:EndpointConfiguration"
ENDPOINT = "aws:sagemaker/endpoint:Endpoint"
FUNCTION = "aws:lambda/function:Function"
LOCK = "aws:s3/bucketObjectLockConfiguration:BucketObjectLockConfiguration"
LOGS = "aws:cloudwatch/logGroup:LogGroup"
MACHINE = "aws:sfn/stateMachine:StateMachine"
NODES = "aws:eks/nodeGroup:NodeGroup"
PACKAGES = "aws:sagemaker/modelPackageGroup:ModelPackageGroup"
QUEUE = "aws:sqs/queue:Queue"
REPOSITORY = "aws:ecr/repository:Repository"
ROLE = "aws:iam/role:Role"
ROTATION = "aws:secretsmanager/secretRotation:SecretRotation"
SCALING = "aws:autoscaling/group:Group"
SCHEDULE = "aws:scheduler/schedule:Schedule"
SECRET = "aws:secretsmanager/secret:Secret"
SUBNET = "aws:ec2/subnet:Subnet"
TABLE = "aws:dynamodb/table:Table"
TARGET = "aws:cloudwatch/eventTarget:EventTarget"
TOPICS = "aws:sns/topic:Topic"
USERS = "aws:cognito/userPool:UserPool"
TOPIC = "arn:aws:sns:us-east-1:123456789012:alerts"
LOST = "arn:aws:sqs:us-east-1:123456789012:lost"
TODAY = date(2026, 11, 21)


def in_environment(name):
    set_all_config({"aws:defaultTags": json.dumps({"tags": {"environment": name, "product": "census"}})})


@pytest.fixture(autouse=True)
def production(monkeypatch):
    monkeypatch.setattr(reliability, "today", lambda: TODAY)
    in_environment("prod")
    yield
    set_all_config({})


def variants(*counts, **rest):
    return {"productionVariants": [{"variantName": "live", "initialInstanceCount": each} for each in counts], **rest}


def capturing(*modes, **rest):
    options = [{"captureMode": each} for each in modes]
    return variants(2, dataCaptureConfig={"enableCapture": True, "captureOptions": options, **rest})


def to_zero(least):
    [variant] = variants(1)["productionVariants"]
    return {"productionVariants": [{**variant, "managedInstanceScaling": {"minInstanceCount": least}}]}


SERVERLESS = {"productionVariants": [{"serverlessConfig": {"maxConcurrency": 5}}]}
TO_ZERO = {"productionVariants": [{"managedInstanceScaling": {"minInstanceCount": 0}, "initialInstanceCount": 2}]}
ASYNCHRONOUS = {"asyncInferenceConfig": {"outputConfig": {}}}
DELIVERED = {"retryPolicy": {"maximumRetryAttempts": 5}, "deadLetterConfig": {"arn": LOST}}
NEWS = {"retryPolicy": {"maximumEventAgeInSeconds": 300}}

ACCEPTED = [
    ("rel-sm-endpoint-ha", CONFIGURATION, variants(2)),
    ("rel-sm-endpoint-ha", CONFIGURATION, SERVERLESS),
    ("rel-sm-endpoint-ha", CONFIGURATION, variants(1, **ASYNCHRONOUS)),
    ("rel-sm-endpoint-ha", CONFIGURATION, to_zero(least=0)),
    ("rel-sm-data-capture", CONFIGURATION, capturing("Input", "Output")),
    ("rel-sm-data-capture", CONFIGURATION, SERVERLESS),
    ("rel-sm-data-capture", CONFIGURATION, TO_ZERO),
    ("rel-sm-registry-desc", PACKAGES, {"modelPackageGroupDescription": "Who has work", "tags": {"owner": "us"}}),
    ("s3-no-force-destroy", BUCKET, {"forceDestroy": False}),
    ("s3-no-force-destroy", REPOSITORY, {}),
    ("ddb-pitr", TABLE, {"pointInTimeRecovery": {"enabled": True}}),
    ("s3-lock-lasts", LOCK, {"rule": {"defaultRetention": {"mode": "COMPLIANCE", "years": 7}}}),
    ("rel-ddb-deletion-protection", TABLE, {"deletionProtectionEnabled": True}),
    ("rel-eks-deletion-protection", CLUSTER, {"deletionProtection": True}),
    ("rel-cognito-deletion-protection", USERS, {"deletionProtection": "ACTIVE"}),
    ("eks-logging-all", CLUSTER, {"enabledClusterLogTypes": [*reliability.LOG_TYPES]}),
    ("eks-version-supported", CLUSTER, {"version": "1.35"}),
    ("eks-version-supported", NODES, {}),
    ("ecr-immutable", REPOSITORY, {"imageTagMutability": "IMMUTABLE"}),
    ("lambda-runtime", FUNCTION, {"runtime": "python3.12"}),
    ("lambda-runtime", FUNCTION, {"packageType": "Image"}),
    ("lambda-tracing", FUNCTION, {"tracingConfig": {"mode": "PassThrough"}}),
    ("lambda-vpc", FUNCTION, {}),
    ("lambda-vpc", FUNCTION, {"vpcConfig": {"subnetIds": ["a", "b"]}}),
    ("rel-event-target-dlq", TARGET, DELIVERED),
    ("rel-event-target-dlq", TARGET, NEWS),
    ("rel-schedule-dlq", SCHEDULE, {"target": DELIVERED}),
    ("alarm-has-action", ALARM, {"okActions": [TOPIC]}),
    ("alarm-actions", ALARM, {"alarmActions": [TOPIC]}),
    ("secret-rotation-90", ROTATION, {"rotationRules": {"automaticallyAfterDays": 90}}),
    ("secret-rotation-90", ROTATION, {"rotationRules": {"scheduleExpression": "cron(0 12 1 * ? *)"}}),
    ("logs-retention", LOGS, {"retentionInDays": 30}),
    ("logs-retention-365", LOGS, {"retentionInDays": 400}),
    ("logs-retention-365", LOGS, {"retentionInDays": 7, "name": "/slipway/platform-prod/gpu"}),
    ("name-not-hardcoded", QUEUE, {}),
    ("name-not-hardcoded", QUEUE, {"name": "orders-1a2b3c4"}),
    ("name-not-hardcoded", LOGS, {"name": "/aws/lambda/census-prod-ingest"}),
    ("asg-launch-template", SCALING, {"mixedInstancesPolicy": {}, "launchTemplate": {"id": "lt-1"}}),
]

REFUSED = [
    ("rel-sm-endpoint-ha", CONFIGURATION, variants(2, 1), "initialInstanceCount of live is 1"),
    ("rel-sm-endpoint-ha", CONFIGURATION, to_zero(least=1), "initialInstanceCount of live is 1"),
    ("rel-sm-data-capture", CONFIGURATION, variants(2), "dataCaptureConfig is not set"),
    (
        "rel-sm-data-capture",
        CONFIGURATION,
        capturing("Input", "Output", enableCapture=False),
        "enableCapture is False: set True",
    ),
    ("rel-sm-data-capture", CONFIGURATION, capturing("Input"), "has no Output"),
    ("rel-sm-data-capture", CONFIGURATION, capturing("Input", "Output", initialSamplingPercentage=0), "nothing is"),
    ("rel-sm-registry-desc", PACKAGES, {"tags": {"owner": "us"}}, "modelPackageGroupDescription is not set"),
    ("rel-sm-registry-desc", PACKAGES, {"modelPackageGroupDescription": "Who has work"}, "it has no tags"),
    ("s3-no-force-destroy", BUCKET, {"forceDestroy": True}, "or its objects go with it"),
    ("s3-no-force-destroy", REPOSITORY, {"forceDelete": True}, "or its images go with it"),
    ("ddb-pitr", TABLE, {}, "pointInTimeRecovery.enabled is not set"),
    ("rel-ddb-deletion-protection", TABLE, {"deletionProtectionEnabled": False}, "is False: set True"),
    ("rel-eks-deletion-protection", CLUSTER, {}, "deletionProtection is not set"),
    ("s3-lock-lasts", LOCK, {}, "rule.defaultRetention.mode is not set"),
    ("s3-lock-lasts", LOCK, {"rule": {"defaultRetention": {"mode": "GOVERNANCE"}}}, "is 'GOVERNANCE'"),
    ("eks-version-supported", NODES, {"releaseVersion": "1.29.1-20240101"}, "no standard support since 2025-03-23"),
    ("rel-cognito-deletion-protection", USERS, {}, "deletionProtection is not set"),
    (
        "eks-logging-all",
        CLUSTER,
        {"enabledClusterLogTypes": ["api", "audit"]},
        "lacks authenticator, controllerManager",
    ),
    ("eks-version-supported", CLUSTER, {}, "version is not set, so EKS chooses one: set 1.35"),
    ("eks-version-supported", CLUSTER, {"version": "1.33"}, "no standard support since 2026-07-29"),
    ("eks-version-supported", NODES, {"version": "1.21"}, "is not in policies/reliability/calendars.py"),
    ("ecr-immutable", REPOSITORY, {}, "imageTagMutability is not set"),
    ("lambda-runtime", FUNCTION, {"runtime": "nodejs18.x"}, "has not been patched since 2025-09-01"),
    ("lambda-runtime", FUNCTION, {"runtime": "cobol85"}, "is not in policies/reliability/calendars.py"),
    ("lambda-tracing", FUNCTION, {}, "tracingConfig.mode is not set"),
    ("lambda-vpc", FUNCTION, {"vpcConfig": {"subnetIds": ["a"]}}, "has one subnet"),
    ("lambda-vpc", FUNCTION, {"fileSystemConfig": {"arn": "a"}}, "is in a VPC, and the function is not"),
    ("rel-event-target-dlq", TARGET, {"retryPolicy": {"maximumRetryAttempts": 5}}, "lost unseen"),
    ("rel-event-target-dlq", TARGET, {"deadLetterConfig": {"arn": LOST}}, "retryPolicy is not set"),
    ("rel-event-target-dlq", TARGET, {**DELIVERED, "sagemakerPipelineTarget": {"a": 1}}, "roleArn is not set"),
    ("rel-schedule-dlq", SCHEDULE, {"target": {"retryPolicy": {"maximumRetryAttempts": 5}}}, "target.deadLetterConfig"),
    ("alarm-has-action", ALARM, {}, "tells nobody: set alarmActions"),
    ("alarm-actions", ALARM, {"okActions": [TOPIC]}, "alarmActions is not set"),
    ("alarm-actions", ALARM, {"alarmActions": [TOPIC], "actionsEnabled": False}, "actionsEnabled is False"),
    ("secret-rotation-90", ROTATION, {}, "automaticallyAfterDays is not set"),
    ("secret-rotation-90", ROTATION, {"rotationRules": {"automaticallyAfterDays": 91}}, "at least every 90 days"),
    ("secret-rotation-90", ROTATION, {"rotationRules": {"scheduleExpression": "rate(180 days)"}}, "leaves 180 days"),
    ("secret-rotation-90", ROTATION, {"rotationRules": {"scheduleExpression": "often"}}, "is neither rate"),
    ("logs-retention", LOGS, {}, "for ever"),
    ("logs-retention", LOGS, {"retentionInDays": 31}, "which CloudWatch does not take"),
    ("logs-retention-365", LOGS, {"retentionInDays": 90}, "production keeps its logs for 365 days"),
    ("name-not-hardcoded", QUEUE, {"name": "orders"}, "does not say census and prod"),
    ("name-not-hardcoded", ROLE, {"name": "census-production"}, "does not say prod"),
    ("asg-launch-template", SCALING, {"launchConfiguration": "old"}, "set launchTemplate"),
]

UNDECIDED = [
    ("rel-sm-endpoint-ha", CONFIGURATION, variants(UNKNOWN), "productionVariants"),
    ("rel-sm-data-capture", CONFIGURATION, variants(2, dataCaptureConfig=UNKNOWN), "dataCaptureConfig"),
    ("rel-sm-data-capture", MACHINE, {"definition": UNKNOWN}, "definition"),
    ("eks-logging-all", CLUSTER, {"enabledClusterLogTypes": UNKNOWN}, "enabledClusterLogTypes"),
    ("eks-version-supported", CLUSTER, {"version": UNKNOWN}, "version"),
    ("lambda-runtime", FUNCTION, {"runtime": UNKNOWN}, "runtime"),
    ("secret-rotation-90", ROTATION, {"rotationRules": UNKNOWN}, "rotationRules"),
    ("logs-retention", LOGS, {"retentionInDays": UNKNOWN}, "retentionInDays"),
    ("rel-schedule-dlq", SCHEDULE, {"target": UNKNOWN}, "target"),
]


@pytest.mark.parametrize("rule, kind, inputs", ACCEPTED)
def test_what_lasts_is_accepted(rule, kind, inputs):
    verdict = judge(rule, kind, inputs)
    assert (verdict.sentences, verdict.unknown) == ([], [])


@pytest.mark.parametrize("rule, kind, inputs, words", REFUSED)
def test_what_does_not_last_is_refused_with_what_to_set(rule, kind, inputs, words):
    [sentence] = judge(rule, kind, inputs).sentences
    assert words in sentence


@pytest.mark.parametrize("rule, kind, inputs, path", UNDECIDED)
def test_what_only_a_deployment_will_know_is_deferred_not_passed(rule, kind, inputs, path):
    verdict = judge(rule, kind, inputs)
    assert (verdict.sentences, verdict.unknown) == ([], [path])


@pytest.mark.parametrize(
    "rule, kind, inputs",
    [
        ("rel-sm-endpoint-ha", CONFIGURATION, variants(1)),
        ("rel-sm-data-capture", CONFIGURATION, variants(1)),
        ("s3-no-force-destroy", BUCKET, {"forceDestroy": True}),
        ("rel-ddb-deletion-protection", TABLE, {}),
        ("rel-eks-deletion-protection", CLUSTER, {}),
        ("s3-lock-lasts", LOCK, {"rule": {"defaultRetention": {"mode": "GOVERNANCE"}}}),
        ("logs-retention-365", LOGS, {"retentionInDays": 7}),
        ("name-not-hardcoded", QUEUE, {"name": "orders"}),
    ],
)
def test_what_production_alone_is_asked_is_not_asked_elsewhere(rule, kind, inputs):
    assert judge(rule, kind, inputs).sentences
    in_environment("dev")
    assert judge(rule, kind, inputs).sentences == []


@pytest.mark.parametrize(
    "expression, days",
    [
        ("rate(4 hours)", 4 / 24),
        ("rate(90 days)", 90),
        ("cron(0 12 * * ? *)", 1),
        ("cron(0 12 ? * MON *)", 31),
        ("cron(0 12 1 1/3 ? *)", 93),
        ("cron(0 12 1 JAN,MAR-DEC ? *)", 62),
        ("cron(0 12 1 1 ? *)", 372),
        ("cron(0 12 1 1 ? 2030)", float("inf")),
        ("cron(0 12 1 1 ?)", None),
    ],
)
def test_a_schedule_says_how_far_its_runs_may_be_apart(expression, days):
    assert days_between(expression) == days


# What AWS supports, and until when.


def test_the_last_day_of_support_is_a_day_of_support():
    last = KUBERNETES["1.34"]
    assert [*supported("1.34", last)] == []
    assert [*supported("1.34", last + timedelta(days=1))]
    ends = LAMBDA["python3.12"]
    assert [*patched("python3.12", ends - timedelta(days=1))] == []
    assert [*patched("python3.12", ends)]


def test_the_runtimes_are_those_that_cfn_lint_knows():
    import cfnlint

    file = Path(cfnlint.__file__).parent / "data" / "AdditionalSpecs" / "LmbdRuntimeLifecycle.json"
    known = json.loads(file.read_text("utf-8"))
    assert {name: day.isoformat() for name, day in LAMBDA.items()} == {
        name: each["deprecated"] for name, each in known.items()
    }


# Endpoints, and how they are released.

GUARDED = {
    "autoRollbackConfiguration": {"alarms": [{"alarmName": "errors"}]},
    "blueGreenUpdatePolicy": {"trafficRoutingConfiguration": {"type": "CANARY"}},
}
AT_ONCE = {**GUARDED, "blueGreenUpdatePolicy": {"trafficRoutingConfiguration": {"type": "ALL_AT_ONCE"}}}


def in_boto3s_words(value):
    if isinstance(value, dict):
        return {key[:1].upper() + key[1:]: in_boto3s_words(each) for key, each in value.items()}
    return [in_boto3s_words(each) for each in value] if isinstance(value, list) else value


def releasing(deployment, configuration):
    template = {"configuration": in_boto3s_words(configuration), "deployment": in_boto3s_words(deployment)}
    states = {"Template": {"Type": "Pass", "Result": template}, "Verify": {"Resource": "function:census-release"}}
    return resource(MACHINE, "census-release", definition=json.dumps({"States": states}))


def endpoint(**inputs):
    return resource(ENDPOINT, "census", name="census", endpointConfigName="first", **inputs)


@pytest.mark.parametrize(
    "deployment, configuration, words",
    [
        (GUARDED, variants(2), None),
        ({**GUARDED, "blueGreenUpdatePolicy": None, "rollingUpdatePolicy": {"wait": 1}}, variants(2), None),
        (None, SERVERLESS, None),
        (AT_ONCE, variants(1), None),
        (AT_ONCE, variants(2, **ASYNCHRONOUS), None),
        (AT_ONCE, variants(2), "gives a bad release every request"),
        ({**GUARDED, "autoRollbackConfiguration": {"alarms": []}}, variants(2), "no alarm takes a release back"),
        ({"autoRollbackConfiguration": GUARDED["autoRollbackConfiguration"]}, variants(2), "nothing says how"),
    ],
)
@pytest.mark.parametrize("by_machine", [False, True])
def test_a_release_goes_out_in_steps_and_alarms_take_it_back(deployment, configuration, words, by_machine):
    made = resource(CONFIGURATION, "first", name="first", **configuration)
    here = [releasing(deployment, configuration), endpoint()] if by_machine else [endpoint(deploymentConfig=deployment)]
    sentences = judge_stack("rel-sm-endpoint-rollback", made, *here).sentences
    assert [words in each for each in sentences] == ([True] if words else [])


def test_an_endpoint_that_nothing_deploys_safely_is_refused_and_one_not_known_yet_is_deferred():
    made = resource(CONFIGURATION, "first", name="first", **variants(2))
    alone = endpoint()
    assert {*judge_stack("rel-sm-endpoint-rollback", made, alone).about} == {alone.urn}
    other = releasing(GUARDED, variants(2))
    stranger = resource(ENDPOINT, "births", name="births", endpointConfigName="first")
    assert {*judge_stack("rel-sm-endpoint-rollback", made, other, stranger).about} == {stranger.urn}
    hidden = resource(MACHINE, "census-release", definition=UNKNOWN)
    assert judge_stack("rel-sm-endpoint-rollback", made, hidden, endpoint(deploymentConfig=GUARDED)).unknown


@pytest.mark.parametrize(
    "watcher",
    [
        resource(SCHEDULE, "drift", target={"input": json.dumps({"endpoint": "census"})}),
        resource(
            "aws:sagemaker/monitoringSchedule:MonitoringSchedule",
            monitoringScheduleConfig={
                "monitoringJobDefinition": {"monitoringInputs": {"endpointInput": {"endpointName": "census"}}}
            },
        ),
    ],
)
def test_what_an_endpoint_captures_is_watched(watcher):
    made = resource(CONFIGURATION, "first", name="first", **capturing("Input", "Output"))
    assert judge_stack("rel-sm-monitored", made, endpoint(), watcher).sentences == []
    [sentence] = judge_stack("rel-sm-monitored", made, endpoint()).sentences
    assert "nothing looks at what census captures" in sentence
    silent = resource(CONFIGURATION, "first", name="first", **SERVERLESS)
    assert judge_stack("rel-sm-monitored", silent, endpoint()).sentences == []


# Buckets, tables and clusters.


def test_a_bucket_keeps_versions():
    data = resource(BUCKET, "data", bucket="data-1")
    linked = {"uses": {"bucket": [f"{BUCKET}::data"]}, "bucket": UNKNOWN}
    kept = "aws:s3/bucketVersioning:BucketVersioning"
    for status, findings in (("Enabled", 0), ("Suspended", 1)):
        companion = resource(kept, **linked, versioningConfiguration={"status": status})
        assert len(judge_stack("s3-versioning", data, companion).sentences) == findings
    assert judge_stack("s3-versioning", resource(BUCKET, "data", versioning={"enabled": True})).sentences == []
    later = resource(kept, **linked, versioningConfiguration={"status": UNKNOWN})
    assert judge_stack("s3-versioning", data, later).unknown == ["versioning"]


def test_it_is_written_down_who_reads_a_bucket_but_not_who_reads_that():
    data, logs = resource(BUCKET, "data", bucket="data-1"), resource(BUCKET, "logs", bucket="logs-1")
    logging = resource("aws:s3/bucketLogging:BucketLogging", bucket="data-1", targetBucket="logs-1")
    assert judge_stack("s3-logging", data, logs, logging).sentences == []
    other = resource(BUCKET, "other", bucket="other-1")
    assert judge_stack("s3-logging", data, logs, logging, other).about == [other.urn]


def test_what_holds_data_in_production_is_protected():
    key = resource("aws:kms/key:Key", "data")
    assert judge_stack("rel-protect", replace(key, protect=True)).sentences == []
    assert judge_stack("rel-protect", key, resource(QUEUE)).about == [key.urn]
    in_environment("local")
    assert judge_stack("rel-protect", key).sentences == []


def nodes(zones, **inputs):
    subnets = [resource(SUBNET, zone, availabilityZone=f"us-east-1{zone}") for zone in zones]
    uses = {"subnetIds": [f"{SUBNET}::{zone}" for zone in zones]}
    group = resource(NODES, "gpus", uses=uses, **{"subnetIds": [f"(id of {zone})" for zone in zones], **inputs})
    return [*subnets, group]


def test_nodes_are_in_two_zones_or_in_a_capacity_block():
    assert judge_stack("eks-ng-multi-az", *nodes("ab")).sentences == []
    assert len(judge_stack("eks-ng-multi-az", *nodes("a")).sentences) == 1
    assert judge_stack("eks-ng-multi-az", *nodes("a", capacityType="CAPACITY_BLOCK")).sentences == []
    assert judge_stack("eks-ng-multi-az", *nodes("ab", subnetIds=UNKNOWN)) == Verdict()
    assert len(judge_stack("eks-ng-multi-az", *nodes("a", subnetIds=UNKNOWN)).sentences) == 1
    elsewhere = resource(NODES, subnetIds=UNKNOWN)
    assert judge_stack("eks-ng-multi-az", elsewhere).unknown == ["subnetIds"]
    near = resource("aws:ec2/launchTemplate:LaunchTemplate", "near", placement={"groupName": "near"})
    *subnets, group = nodes("a")
    beside = replace(group, property_dependencies={**group.property_dependencies, "launchTemplate": (near.urn,)})
    assert judge_stack("eks-ng-multi-az", *subnets, near, beside).sentences == []
    twice = [resource(SUBNET, each, availabilityZone="us-east-1a", id=each) for each in ("x", "y")]
    one_zone = resource(CLUSTER, vpcConfig={"subnetIds": ["x", "y"]})
    assert len(judge_stack("eks-ng-multi-az", *twice, one_zone).sentences) == 1


def test_nodes_are_at_most_one_version_behind_their_cluster():
    cluster = resource(CLUSTER, name="here", version="1.35")
    for version, findings in (("1.35", 0), ("1.34", 0), ("1.33", 1)):
        group = resource(NODES, clusterName="here", version=version)
        assert len(judge_stack("eks-nodes-near-cluster", cluster, group).sentences) == findings


def test_images_are_scanned_by_their_repository_or_by_the_registry():
    plain = resource(REPOSITORY, name="apps/census")
    scanned = resource(REPOSITORY, name="apps/census", imageScanningConfiguration={"scanOnPush": True})
    registry = resource(
        "aws:ecr/registryScanningConfiguration:RegistryScanningConfiguration",
        rules=[{"scanFrequency": "CONTINUOUS_SCAN", "repositoryFilters": [{"filter": "apps/*"}]}],
    )
    assert judge_stack("ecr-scan", scanned).sentences == []
    assert judge_stack("ecr-scan", plain, registry).sentences == []
    assert judge_stack("ecr-scan", plain).about == [plain.urn]
    later = resource(REPOSITORY, imageScanningConfiguration={"scanOnPush": UNKNOWN})
    assert judge_stack("ecr-scan", later).unknown


# Functions, queues and secrets.

WORKER = resource(FUNCTION, "worker", name="worker")


def caller(kind, name, **inputs):
    return resource(kind, "caller", uses={name: [f"{FUNCTION}::worker"]}, **{name: "worker", **inputs})


API = caller("aws:lambda/permission:Permission", "function", principal="apigateway.amazonaws.com")
EVENTS = caller("aws:lambda/permission:Permission", "function", principal="events.amazonaws.com")
STEP = caller(MACHINE, "definition")


@pytest.mark.parametrize(
    "others, findings",
    [
        ([], 1),
        ([API], 0),
        ([STEP], 0),
        ([caller("aws:lambda/invocation:Invocation", "functionName")], 0),
        ([API, EVENTS], 1),
        ([STEP, caller(SCHEDULE, "target")], 1),
        (
            [caller("aws:lambda/functionEventInvokeConfig:FunctionEventInvokeConfig", "functionName"), EVENTS],
            1,
        ),
        (
            [
                caller(
                    "aws:lambda/functionEventInvokeConfig:FunctionEventInvokeConfig",
                    "functionName",
                    destinationConfig={"onFailure": {"destination": LOST}},
                ),
                EVENTS,
            ],
            0,
        ),
    ],
)
def test_what_nobody_waits_for_is_kept_when_it_fails(others, findings):
    assert len(judge_stack("lambda-dlq", WORKER, *others).sentences) == findings
    kept = resource(FUNCTION, "worker", name="worker", deadLetterConfig={"targetArn": LOST})
    assert judge_stack("lambda-dlq", kept, *others).sentences == []


REST = "aws:apigateway/restApi:RestApi"
OPEN_API = resource(
    "aws:lambda/permission:Permission",
    uses={"sourceArn": [f"{REST}::api"]},
    function="worker",
    principal="apigateway.amazonaws.com",
)
SOURCE = "aws:lambda/eventSourceMapping:EventSourceMapping"


@pytest.mark.parametrize(
    "others, findings",
    [
        ([], 0),
        ([EVENTS], 0),
        ([resource(REST, "api"), OPEN_API], 1),
        ([resource("aws:lambda/functionUrl:FunctionUrl", functionName="worker")], 1),
        ([resource(SOURCE, functionName="worker")], 1),
        ([resource(SOURCE, functionName="worker", scalingConfig={"maximumConcurrency": 5})], 0),
        (
            [
                resource(REST, "api"),
                OPEN_API,
                resource(
                    "aws:apigateway/methodSettings:MethodSettings",
                    uses={"restApi": [f"{REST}::api"]},
                    settings={"throttlingBurstLimit": 50},
                ),
            ],
            0,
        ),
    ],
)
def test_strangers_and_queues_do_not_take_every_execution(others, findings):
    assert len(judge_stack("lambda-concurrency", WORKER, *others).sentences) == findings
    bounded = resource(FUNCTION, "worker", name="worker", reservedConcurrentExecutions=5)
    assert judge_stack("lambda-concurrency", bounded, *others).sentences == []


def test_a_message_that_cannot_be_handled_goes_aside():
    orders = resource(QUEUE, "orders")
    assert judge_stack("rel-sqs-dlq", orders).about == [orders.urn]
    lost = resource(QUEUE, "lost")
    redriven = resource(QUEUE, "orders", uses={"redrivePolicy": [f"{QUEUE}::lost"]}, redrivePolicy="{}")
    assert judge_stack("rel-sqs-dlq", redriven, lost).sentences == []
    assert judge_stack("rel-sqs-dlq", resource(QUEUE, messageRetentionSeconds=300)).sentences == []
    named = resource(QUEUE, "lost", arn=LOST)
    target = resource(TARGET, deadLetterConfig={"arn": LOST})
    assert judge_stack("rel-sqs-dlq", named, target).sentences == []


def test_every_secret_is_changed_by_itself():
    secret = resource(SECRET, "db", name="db")
    assert judge_stack("secret-rotated", secret, resource(ROTATION, secretId="db")).sentences == []
    assert judge_stack("secret-rotated", secret).about == [secret.urn]


def test_dead_letters_wait_for_somebody_to_look():
    target = resource(TARGET, deadLetterConfig={"arn": LOST})
    for seconds, findings in ((1209600, 0), (60, 1)):
        lost = resource(QUEUE, arn=LOST, messageRetentionSeconds=seconds)
        assert len(judge_stack("rel-sqs-dlq", lost, target).sentences) == findings


def test_somebody_hears_what_alarms_tell():
    topic, quiet = resource(TOPICS, "alerts"), resource(TOPICS, "answers")
    alarm = resource(ALARM, uses={"alarmActions": [f"{TOPICS}::alerts"]})
    mail = resource("aws:sns/topicSubscription:TopicSubscription", uses={"topic": [f"{TOPICS}::alerts"]})
    assert judge_stack("alarm-heard", topic, quiet, alarm, mail).sentences == []
    assert judge_stack("alarm-heard", topic, quiet, alarm).about == [topic.urn]


def test_what_writes_logs_has_its_log_group():
    group = resource(LOGS, name="/aws/lambda/worker")
    assert judge_stack("logs-declared", WORKER, group).sentences == []
    assert judge_stack("logs-declared", WORKER).about == [WORKER.urn]
    elsewhere = resource(FUNCTION, name="worker", loggingConfig={"logGroup": "/ours"})
    assert judge_stack("logs-declared", elsewhere).sentences == []


STACK_RULES = {
    "alarm-heard",
    "ecr-scan",
    "eks-ng-multi-az",
    "eks-nodes-near-cluster",
    "lambda-concurrency",
    "lambda-dlq",
    "logs-declared",
    "rel-protect",
    "rel-sm-endpoint-rollback",
    "rel-sm-monitored",
    "rel-sqs-dlq",
    "s3-logging",
    "s3-versioning",
    "secret-rotated",
}


def test_every_rule_has_a_case_that_passes_and_one_that_fails():
    rules = {each.name for each in CONTROLS if each.rule}
    assert rules == {case[0] for case in ACCEPTED} == {case[0] for case in REFUSED}
    assert {each.name for each in CONTROLS if each.stack_rule} == STACK_RULES


@pytest.mark.parametrize("kind, name", UNIQUE_NAMES.items())
def test_every_name_is_an_input_that_exists(kind, name):
    module, _, last = re.split("[/:]", kind.removeprefix("aws:"))
    inputs = getattr(getattr(aws, module.replace("lambda", "lambda_")), f"{last}Args")
    assert hasattr(inputs, re.sub("[A-Z]", lambda capital: "_" + capital[0].lower(), name))
