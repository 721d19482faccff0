"""The cost pack prices a stack from its resources, and refuses what is over budget, unbounded, unpriced or untagged."""

import json
import re
from datetime import UTC, date, datetime, timedelta

import pulumi_aws as aws
import pytest
from judging import judge, judge_stack, resource
from pulumi.runtime.config import set_all_config

from policies.cost import BUDGET, CONTROLS, POLICIES, TAGS, UNTAGGED, estimate, unpriced
from policies.cost.money import MONITOR, SUBSCRIPTION
from policies.cost.prices import PRICES
from policies.cost.pricing import BY_SIZE, SCALABLE_TARGET, SCALING_POLICY, SCHEDULED_ACTION
from policies.cost.schedules import runs_per_month
from policies.cost.sizes import FEATURE_GROUP
from policies.cost.sizes import PROVISIONED as WARM
from policies.cost.waste import NAT, VOLUME
from policies.limits import limits
from policies.resource_types import (
    CLUSTER,
    DOMAIN,
    ENDPOINT,
    ENDPOINT_CONFIGURATION,
    FUNCTION,
    LAUNCH_TEMPLATE,
    NODE_GROUP,
    NOTEBOOK,
    PIPELINE,
    SCHEDULE,
    TABLE,
    TRAINING_JOB,
    TUNING_JOB,
)
from policies.rules import UNKNOWN

BUCKET = "aws:s3/bucket:Bucket"
VERSIONING = "aws:s3/bucketVersioning:BucketVersioning"
ASG = "aws:autoscaling/group:Group"
LIFECYCLE = "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration"
REPOSITORY = "aws:ecr/repository:Repository"
G6, ML_G5, ML_M5 = 0.8048, 1.41, 0.115


@pytest.fixture(autouse=True)
def budget():
    """The stack's YAML allows $1,000 a month."""
    set_all_config({"slipway:usd_per_month": "1000", "aws:region": "us-east-1"})
    yield
    set_all_config({})


def gpus(most, least=0, **rest):
    size = {"minSize": least, "maxSize": most, "desiredSize": least}
    return resource(NODE_GROUP, "gpus", **{"instanceTypes": ["g6.xlarge"], "scalingConfig": size, **rest})


def disks(**ebs):
    return resource(LAUNCH_TEMPLATE, "gpus", blockDeviceMappings=[{"ebs": {"volumeType": "gp3", **ebs}}])


def endpoint(kind="ml.m5.large", count=1, scaled=(1, 4), **variant):
    """An endpoint, its configuration, and what scales it."""
    variants = [{"variantName": "live", "instanceType": kind, "initialInstanceCount": count, **variant}]
    resources = [
        resource(ENDPOINT_CONFIGURATION, "live", name="live-1", productionVariants=variants),
        resource(
            ENDPOINT,
            "live",
            uses={"endpointConfigName": [f"{ENDPOINT_CONFIGURATION}::live"]},
            name="live",
            endpointConfigName="(known after up: name of live)",
        ),
    ]
    if scaled:
        resources.append(
            resource(
                SCALABLE_TARGET,
                "live",
                resourceId="endpoint/live/variant/live",
                minCapacity=scaled[0],
                maxCapacity=scaled[1],
            )
        )
    return resources


def cost(resources, kind):
    """Floor and ceiling of all resources of one type."""
    lines = [line for line in estimate(resources) if f":{kind}::" in f":{line.urn}"]
    return sum(line.floor_usd for line in lines), sum(line.ceiling_usd for line in lines)


def sentences(resources):
    return [finding for _, finding in unpriced(resources)]


def test_a_node_group_costs_its_smallest_size_at_least_and_its_largest_at_most():
    floor, ceiling = cost([gpus(4, least=1)], NODE_GROUP)
    default_disk = 20 * 0.1
    assert floor == pytest.approx(G6 * 730 + default_disk)
    assert ceiling == pytest.approx(4 * (G6 * 730 + default_disk))


def test_of_several_instance_types_the_dearest_counts_at_most_and_the_cheapest_at_least():
    group = gpus(2, least=1, instanceTypes=["g6.xlarge", "g6.12xlarge"])
    floor, ceiling = cost([group], NODE_GROUP)
    assert floor == pytest.approx(G6 * 730 + 2)
    assert ceiling == pytest.approx(2 * (4.6016 * 730 + 2))


def test_spot_nodes_are_counted_at_their_full_price_because_spot_may_reach_it():
    on_demand, spot = gpus(4, least=1), gpus(4, least=1, capacityType="SPOT")
    assert cost([spot], NODE_GROUP)[1] == cost([on_demand], NODE_GROUP)[1]
    assert cost([spot], NODE_GROUP)[0] < cost([on_demand], NODE_GROUP)[0]


def test_the_disks_of_nodes_are_those_of_their_launch_template():
    group = resource(
        NODE_GROUP,
        "gpus",
        uses={"launchTemplate": [f"{LAUNCH_TEMPLATE}::gpus"]},
        instanceTypes=["g6.xlarge"],
        scalingConfig={"minSize": 0, "maxSize": 2},
        launchTemplate={"id": UNKNOWN},
    )
    _, ceiling = cost([group, disks(volumeSize=200, throughput=225)], NODE_GROUP)
    assert ceiling == pytest.approx(2 * (G6 * 730 + 200 * 0.08 + 100 * 0.04))


def test_an_endpoint_costs_what_its_autoscaling_target_lets_it_grow_to():
    traffic = 100 * 0.016
    assert cost(endpoint(scaled=(2, 10), count=2), ENDPOINT) == (
        pytest.approx(2 * ML_M5 * 730),
        pytest.approx(10 * ML_M5 * 730 + traffic),
    )


def test_an_autoscaling_target_is_found_by_its_link_where_its_resource_id_is_not_known_yet():
    config, live, _ = endpoint()
    target = resource(
        SCALABLE_TARGET,
        "live",
        uses={"resourceId": [f"{ENDPOINT}::live"]},
        resourceId=UNKNOWN,
        minCapacity=1,
        maxCapacity=10,
    )
    assert cost([config, live, target], ENDPOINT)[1] == pytest.approx(10 * ML_M5 * 730 + 1.6)


def test_the_autoscaling_target_of_another_endpoint_does_not_count():
    config, live, target = endpoint(scaled=(1, 10))
    target.inputs["resourceId"] = "endpoint/other/variant/live"
    assert cost([config, live, target], ENDPOINT)[1] == pytest.approx(ML_M5 * 730 + 1.6)


def test_each_variant_and_each_shadow_variant_is_counted():
    config, live, target = endpoint()
    config.inputs["shadowProductionVariants"] = [
        {"variantName": "next", "instanceType": "ml.g5.xlarge", "initialInstanceCount": 2}
    ]
    assert cost([config, live, target], ENDPOINT)[1] == pytest.approx((4 * ML_M5 + 2 * ML_G5) * 730 + 1.6)


def test_an_interface_endpoint_costs_for_each_zone_it_is_in_and_a_gateway_nothing():
    kind = "aws:ec2/vpcEndpoint:VpcEndpoint"
    interface = resource(kind, "kms", vpcEndpointType="Interface", subnetIds=["a", "b", "c"])
    assert cost([interface], kind) == (pytest.approx(3 * 0.01 * 730), pytest.approx(3 * 0.01 * 730 + 1))
    assert cost([resource(kind, "s3", vpcEndpointType="Gateway")], kind) == (0, 0)


def test_a_cluster_may_get_to_extended_support_unless_it_is_upgraded_before():
    assert cost([resource(CLUSTER)], CLUSTER) == (pytest.approx(73), pytest.approx(438))
    standard = resource(CLUSTER, upgradePolicy={"supportType": "STANDARD"})
    assert cost([standard], CLUSTER) == (pytest.approx(73), pytest.approx(73))


def test_a_function_costs_as_often_as_its_schedule_calls_it_for_as_long_as_it_may_run():
    function = resource(FUNCTION, "drift", memorySize=1024, timeout=300)
    schedule = resource(
        SCHEDULE, "drift", uses={"target": [f"{FUNCTION}::drift"]}, scheduleExpression="rate(1 hour)", target={}
    )
    metrics = 10 * 0.3
    _, ceiling = cost([function, schedule], FUNCTION)
    assert ceiling == pytest.approx(730 * 300 * 1.66667e-05 + 730 * (0.2e-6 + 1e-6) + metrics, rel=1e-4)
    assert cost([schedule], SCHEDULE) == (0, 0)


@pytest.mark.parametrize(
    "expression, runs",
    [
        ("rate(1 hour)", 730),
        ("rate(5 minutes)", 730 * 12),
        ("rate(1 day)", 730 / 24),
        ("cron(0 * * * ? *)", 24 * 31),
        ("cron(0/15 * * * ? *)", 4 * 24 * 31),
        ("cron(0 8,20 * * ? *)", 2 * 31),
        ("cron(0 6 ? * MON-FRI *)", 7 * 5),
        ("cron(0 6 1 * ? *)", 1),
        ("at(2027-01-01T00:00:00)", 1),
    ],
)
def test_how_often_a_schedule_runs_is_never_counted_too_low(expression, runs):
    assert runs_per_month(expression) == pytest.approx(runs)


@pytest.mark.parametrize(
    "resources, words",
    [
        ([resource("aws:redshift/cluster:Cluster")], "aws:redshift/cluster:Cluster has no price"),
        ([gpus(2, instanceTypes=["x9.metal"])], "instance type x9.metal has no price"),
        (endpoint("ml.x9.large"), "instance type ml.x9.large has no price"),
        (endpoint(serverlessConfig={"memorySizeInMb": 2048}), "serverless variant has no price without a size"),
        ([resource("aws:cloudcontrol/resource:Resource", typeName="AWS::EC2::Instance")], "EC2::Instance has no price"),
        (endpoint()[1:], "runs a configuration that is not in this stack"),
        ([gpus(2, instanceTypes=[])], "does not say its instanceTypes"),
        ([resource("kubernetes:core/v1:Service", spec={"type": "LoadBalancer"})], "a load balancer has no price"),
        ([resource("aws:ssm/parameter:Parameter", tier="Advanced")], "set tier to 'Standard'"),
        (
            [resource("aws:sagemaker/featureGroup:FeatureGroup", onlineStoreConfig={"storageType": "InMemory"})],
            "in-memory storage has no price",
        ),
    ],
)
def test_what_has_no_price_is_refused_and_not_counted_as_nothing(resources, words):
    assert [each for each in sentences(resources) if words in each]
    assert [each for each in judge_stack("cost-priced", *resources).sentences if words in each]


def test_components_and_pulumis_own_resources_cost_nothing():
    free = resource("slipway:index:Network"), resource("pulumi:pulumi:Stack"), resource("pulumi:providers:aws")
    assert judge_stack("cost-priced", *free).sentences == []


def test_a_size_that_only_a_deployment_will_know_counts_as_the_most_that_is_allowed():
    group = gpus(2)
    group.inputs["scalingConfig"] = {"minSize": 0, "maxSize": UNKNOWN}
    assert sentences([group]) == []
    _, ceiling = cost([group], NODE_GROUP)
    assert ceiling == pytest.approx(limits().cost.max_nodes * (G6 * 730 + 2))
    [sentence] = judge_stack("cost-stack-budget", group).sentences
    assert "not known yet: priced at the most that policies/limits.yaml allows" in sentence


def test_a_stack_in_a_region_without_prices_is_refused():
    set_all_config({"aws:region": "eu-central-1"})
    [sentence] = judge_stack("cost-priced").sentences
    assert "is in eu-central-1, and policies/cost/prices.json holds prices of us-east-1 only" in sentence


def test_a_ceiling_over_the_budget_is_refused_and_the_dearest_are_named():
    assert judge_stack("cost-stack-budget", gpus(1), *endpoint()).sentences == []
    [sentence] = judge_stack("cost-stack-budget", gpus(2), *endpoint()).sentences
    assert "may cost $1,516 a month, and slipway:usd_per_month allows $1,000" in sentence
    assert "The dearest: gpus $1,179 (0 to 2 of g6.xlarge); live $337 (1 to 4 of ml.m5.large)" in sentence


GUARDED = resource(
    BUDGET,
    budgetType="COST",
    timeUnit="MONTHLY",
    limitUnit="USD",
    limitAmount="1000",
    notifications=[
        {"notificationType": kind, "threshold": 80, "subscriberSnsTopicArns": ["(known after up: arn of alerts)"]}
        for kind in ("ACTUAL", "FORECASTED")
    ],
)


def watched(**changes):
    return resource(BUDGET, **{**GUARDED.inputs, **changes})


def test_a_stack_that_costs_something_has_a_budget():
    assert judge_stack("cost-budget-exists", resource(CLUSTER), GUARDED).sentences == []
    assert judge_stack("cost-budget-exists", resource("aws:iam/role:Role")).sentences == []
    [sentence] = judge_stack("cost-budget-exists", resource(CLUSTER)).sentences
    assert "nobody hears of it when money runs out" in sentence


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"limitAmount": None}, "limitAmount is not set"),
        ({"timeUnit": "DAILY"}, "set 'MONTHLY'"),
        ({"notifications": GUARDED.inputs["notifications"][:1]}, "nobody is told of FORECASTED spending"),
        (
            {"notifications": [{"notificationType": "ACTUAL"}, GUARDED.inputs["notifications"][1]]},
            "nobody is told of ACTUAL spending",
        ),
    ],
)
def test_a_budget_that_nobody_would_hear_of_in_time_is_refused(changes, words):
    [sentence] = judge_stack("cost-budget-exists", watched(**changes)).sentences
    assert words in sentence


def test_a_gpu_pool_says_how_far_it_may_grow():
    rule = "cost-pool-limit"
    assert judge(rule, NODE_GROUP, {"scalingConfig": {"maxSize": 4}}).sentences == []
    assert judge(rule, NODE_GROUP, {"scalingConfig": {"maxSize": UNKNOWN}}).unknown == ["scalingConfig.maxSize"]
    assert "scalingConfig.maxSize is not set" in judge(rule, NODE_GROUP, {}).sentences[0]
    pool = "kubernetes:karpenter.sh/v1:NodePool"
    assert judge(rule, pool, {"spec": {"limits": {"nvidia.com/gpu": 4}}}).sentences == []
    assert "spec.limits is not set" in judge(rule, pool, {"spec": {}}).sentences[0]


def test_every_endpoint_scales_to_a_limit():
    rule = "cost-endpoint-autoscale"
    assert judge_stack(rule, *endpoint()).sentences == []
    assert "nothing scales variant live" in judge_stack(rule, *endpoint(scaled=None)).sentences[0]
    assert "maxCapacity is not set" in judge_stack(rule, *endpoint(scaled=(1, None))).sentences[0]
    assert judge_stack(rule, *endpoint(scaled=(1, UNKNOWN))).unknown == ["maxCapacity"]


ALL_TAGS = dict.fromkeys(TAGS, "x")


def test_every_resource_carries_the_tags_by_which_the_bill_is_split():
    rule = "cost-tags"
    assert judge(rule, BUCKET, {"tags": ALL_TAGS}).sentences == []
    assert judge(rule, LIFECYCLE, {}).sentences == []
    assert judge(rule, "kubernetes:core/v1:Namespace", {}).sentences == []
    assert judge(rule, BUCKET, {"tags": UNKNOWN}).unknown == ["tags"]
    [sentence] = judge(rule, BUCKET, {"tags": {**ALL_TAGS, "owner": ""}}).sentences
    assert "the tags owner are missing" in sentence


def test_what_a_launch_template_starts_carries_the_tags_too():
    rule = "cost-node-tags"
    both = [{"resourceType": started, "tags": ALL_TAGS} for started in ("instance", "volume")]
    assert judge(rule, LAUNCH_TEMPLATE, {"tagSpecifications": both}).sentences == []
    [sentence] = judge(rule, LAUNCH_TEMPLATE, {"tagSpecifications": both[:1]}).sentences
    assert "the volumes it starts lack the tags owner" in sentence


def test_a_cluster_is_upgraded_before_it_costs_six_times_as_much():
    rule = "cost-eks-extended"
    assert judge(rule, CLUSTER, {"upgradePolicy": {"supportType": "STANDARD"}}).sentences == []
    assert "upgradePolicy.supportType is not set" in judge(rule, CLUSTER, {}).sentences[0]


def test_disks_are_gp3():
    rule = "cost-ebs-gp3"
    assert judge(rule, LAUNCH_TEMPLATE, {"blockDeviceMappings": [{"ebs": {"volumeType": "gp3"}}]}).sentences == []
    assert "set 'gp3'" in judge(rule, LAUNCH_TEMPLATE, {"blockDeviceMappings": [{"ebs": {"a": 1}}]}).sentences[0]


def test_every_bucket_drops_what_nobody_sees():
    rule = "s3-abort-mpu"
    data = resource(BUCKET, "data", bucket="data-1")
    versioned = resource(VERSIONING, bucket="data-1", versioningConfiguration={"status": "Enabled"})
    half = {"status": "Enabled", "abortIncompleteMultipartUpload": {"daysAfterInitiation": 7}}
    whole = {**half, "filter": {}, "noncurrentVersionExpiration": {"noncurrentDays": 30}}
    assert judge_stack(rule, data, versioned, tidied(whole)).sentences == []
    assert judge_stack(rule, data, tidied(half)).sentences == [], "without versions there are no old ones"
    assert "keeps everything for ever" in judge_stack(rule, data).sentences[0]
    assert judge_stack(rule, resource(BUCKET, "ledger", objectLockEnabled=True)).sentences == []
    [sentence] = judge_stack(rule, data, versioned, tidied(half)).sentences
    assert "removes old versions: set noncurrentVersionExpiration" in sentence


@pytest.mark.parametrize("change", [{"filter": {"prefix": "logs/"}}, {"status": "Disabled"}, {"prefix": "logs/"}])
def test_a_rule_about_some_objects_or_none_cleans_up_no_bucket(change):
    rule = {"status": "Enabled", "abortIncompleteMultipartUpload": {"daysAfterInitiation": 7}, **change}
    [sentence] = judge_stack("s3-abort-mpu", resource(BUCKET, "data", bucket="data-1"), tidied(rule)).sentences
    assert "no enabled rule about all objects removes unfinished uploads" in sentence


def tidied(rule):
    return resource(LIFECYCLE, bucket="data-1", rules=[rule])


def test_every_repository_drops_old_images():
    rule = "cost-ecr-lifecycle"
    images = resource(REPOSITORY, "images", name="images")
    lifecycle = resource("aws:ecr/lifecyclePolicy:LifecyclePolicy", uses={"repository": [f"{REPOSITORY}::images"]})
    assert judge_stack(rule, images, lifecycle).sentences == []
    assert "keeps every image for ever" in judge_stack(rule, images).sentences[0]


def in_environment(env, **more):
    """The stack's tags say `env`."""
    tags = {"owner": "vision", "product": "vision", "environment": env, "cost-center": "1"}
    config = {"slipway:usd_per_month": "1000", "aws:region": "us-east-1", **more}
    set_all_config({**config, "aws:defaultTags": json.dumps({"tags": tags})})


def pipeline(**step):
    cluster = {"InstanceType": "ml.m5.large", "InstanceCount": 1, **step.pop("cluster", {})}
    train = {"ResourceConfig": cluster, "StoppingCondition": {"MaxRuntimeInSeconds": 3600}, **step}
    choice = {"Name": "good?", "Type": "Condition", "Arguments": {"IfSteps": [], "ElseSteps": []}}
    choice["Arguments"]["IfSteps"] = [{"Name": "train", "Type": "Training", "Arguments": train}]
    return {"pipelineDefinition": json.dumps({"Steps": [choice]})}


def idle(minutes=60, managed="ENABLED"):
    ends = {"idleSettings": {"idleTimeoutInMinutes": minutes, "lifecycleManagement": managed}}
    apps = ("jupyterLabAppSettings", "codeEditorAppSettings")
    return {"defaultUserSettings": {app: {"appLifecycleManagement": ends} for app in apps}}


def variants(**variant):
    return {"productionVariants": [{"variantName": "live", **variant}]}


SPOT = {
    "resourceConfig": {"instanceType": "ml.m5.large", "instanceCount": 1},
    "enableManagedSpotTraining": True,
    "stoppingCondition": {"maxRuntimeInSeconds": 3600, "maxWaitTimeInSeconds": 7200},
    "checkpointConfig": {"s3Uri": "s3://data/checkpoints"},
}
TUNING = {
    "config": {"resourceLimits": {"maxNumberOfTrainingJobs": 10, "maxParallelTrainingJobs": 2}},
    "trainingJobDefinition": {"stoppingCondition": {"maxRuntimeInSeconds": 3600}},
}
PROVISIONED = {"throughputMode": "Provisioned", "provisionedReadCapacityUnits": 10, "provisionedWriteCapacityUnits": 10}

RESOURCES = {
    "cost-instance-allowlist": [
        ("dev", ENDPOINT_CONFIGURATION, variants(instanceType="ml.m5.large"), None),
        ("dev", ENDPOINT_CONFIGURATION, variants(instanceType="ml.g5.48xlarge"), "which dev may not run"),
        ("prod", ENDPOINT_CONFIGURATION, variants(instanceType="ml.g5.48xlarge"), None),
        ("prod", NODE_GROUP, {"instanceTypes": ["m5.large", "p5.48xlarge"]}, "instanceTypes.1 is p5.48xlarge"),
        ("prod", NODE_GROUP, {"instanceTypes": ["p4d.24xlarge"]}, None),
        ("prod", LAUNCH_TEMPLATE, {"instanceType": "trn1.32xlarge"}, "instanceType is trn1.32xlarge"),
        ("prod", TRAINING_JOB, {"resourceConfig": {"instanceGroups": [{"instanceType": "ml.p5.48xlarge"}]}}, "ml.p5"),
        ("prod", PIPELINE, pipeline(cluster={"InstanceType": "ml.p5.48xlarge"}), "step train is ml.p5.48xlarge"),
        ("prod", PIPELINE, pipeline(), None),
        ("prod", NOTEBOOK, {"instanceType": "ml.p3.2xlarge"}, "instanceType is ml.p3.2xlarge"),
    ],
    "cost-pool-limit": [
        ("prod", NODE_GROUP, {"scalingConfig": {"maxSize": 4}}, None),
        ("prod", NODE_GROUP, {}, "nothing keeps this pool from growing"),
    ],
    "cost-serverless-cap": [
        ("prod", ENDPOINT_CONFIGURATION, variants(serverlessConfig={"maxConcurrency": 20}), None),
        ("prod", ENDPOINT_CONFIGURATION, variants(serverlessConfig={"maxConcurrency": 21}), "is 21: set 20 or less"),
        ("prod", ENDPOINT_CONFIGURATION, variants(serverlessConfig={"memorySizeInMb": 1024}), "is not set"),
    ],
    "cost-training-bounds": [
        ("prod", TRAINING_JOB, SPOT, None),
        ("prod", TRAINING_JOB, {}, "maxRuntimeInSeconds is not set"),
        ("prod", TRAINING_JOB, {"stoppingCondition": {"maxRuntimeInSeconds": 72 * 3600 + 1}}, "set 259200 or less"),
        (
            "prod",
            TRAINING_JOB,
            {**SPOT, "resourceConfig": {"keepAlivePeriodInSeconds": 3600}},
            "keepAlivePeriodInSeconds is 3600: set 1800 or less",
        ),
        ("prod", TUNING_JOB, TUNING, None),
        ("prod", TUNING_JOB, {**TUNING, "config": {}}, "how many jobs a tuning may start"),
        ("prod", PIPELINE, pipeline(), None),
        ("prod", PIPELINE, pipeline(StoppingCondition={"MaxRuntimeInSeconds": 999999}), "MaxRuntimeInSeconds is"),
        ("prod", PIPELINE, pipeline(cluster={"KeepAlivePeriodInSeconds": 3600}), "KeepAlivePeriodInSeconds is 3600"),
    ],
    "cost-training-spot": [
        ("dev", TRAINING_JOB, SPOT, None),
        ("dev", TRAINING_JOB, {**SPOT, "enableManagedSpotTraining": False}, "outside production set True"),
        ("dev", TRAINING_JOB, {**SPOT, "stoppingCondition": {"maxRuntimeInSeconds": 3600}}, "maxWaitTimeInSeconds is"),
        ("dev", TRAINING_JOB, {**SPOT, "checkpointConfig": {}}, "an interrupted job begins anew"),
        ("dev", PIPELINE, pipeline(EnableManagedSpotTraining=True), None),
        ("dev", PIPELINE, pipeline(), "set train.spot of the pipeline"),
        ("prod", PIPELINE, pipeline(), None),
        ("local", PIPELINE, pipeline(), None),
    ],
    "cost-studio-idle": [
        ("prod", DOMAIN, idle(), None),
        ("prod", DOMAIN, idle(minutes=600), "set 120 or less"),
        ("prod", DOMAIN, idle(managed="DISABLED"), "set ENABLED"),
        ("prod", DOMAIN, {}, "set ENABLED"),
    ],
    "cost-notebook-idle": [
        ("prod", NOTEBOOK, {"lifecycleConfigName": "stops"}, None),
        ("prod", NOTEBOOK, {}, "lifecycleConfigName is not set"),
    ],
    "cost-feature-throughput": [
        ("prod", FEATURE_GROUP, {}, None),
        ("prod", FEATURE_GROUP, {"throughputConfig": PROVISIONED}, None),
        (
            "prod",
            FEATURE_GROUP,
            {"throughputConfig": {**PROVISIONED, "provisionedReadCapacityUnits": 9000}},
            "provisionedReadCapacityUnits is 9000: set 1000 or less",
        ),
        ("prod", FEATURE_GROUP, {"onlineStoreConfig": {"storageType": "InMemory"}}, "costs ten times as much"),
    ],
    "cost-lambda-bounds": [
        ("prod", FUNCTION, {"memorySize": 512, "timeout": 900}, None),
        ("prod", FUNCTION, {"memorySize": 2049}, "memorySize is 2049: set 2048 or less"),
        ("prod", WARM, {"provisionedConcurrentExecutions": 11}, "set 10 or less"),
    ],
    "cost-eks-extended": [
        ("prod", CLUSTER, {"upgradePolicy": {"supportType": "STANDARD"}, "version": "1.35"}, None),
        ("prod", CLUSTER, {"version": "1.35"}, "upgradePolicy.supportType is not set"),
        (
            "prod",
            CLUSTER,
            {"upgradePolicy": {"supportType": "STANDARD"}, "version": "1.31"},
            "version 1.31 left standard support on 2025-11-26",
        ),
    ],
    "cost-eks-tier": [
        ("prod", CLUSTER, {"controlPlaneScalingConfig": {"tier": "standard"}}, None),
        ("prod", CLUSTER, {"controlPlaneScalingConfig": {"tier": "tier-xl"}}, "tier is tier-xl"),
    ],
    "cost-ebs-gp3": [
        ("prod", VOLUME, {"type": "gp3", "size": 100}, None),
        ("prod", VOLUME, {"type": "io2", "size": 100}, "set 'gp3'"),
        ("prod", VOLUME, {"type": "gp3", "size": 2000}, "size is 2000 GiB: set 1000 or less"),
    ],
    "cost-tags": [
        ("prod", ASG, {"tags": [{"key": tag, "value": "x", "propagateAtLaunch": True} for tag in TAGS]}, None),
        ("prod", ASG, {"tags": [{"key": tag, "value": "x"} for tag in TAGS]}, "are missing"),
    ],
    "cost-node-tags": [("prod", LAUNCH_TEMPLATE, {}, "the instances it starts lack the tags")],
    "cost-budget-scoped": [
        ("prod", BUDGET, {"costFilters": [{"name": "TagKeyValue", "values": ["user:owner$vision"]}]}, None),
        ("prod", BUDGET, {"filterExpression": {"tags": {"key": "owner", "values": ["vision"]}}}, None),
        ("prod", BUDGET, {"costFilters": [{"name": "Service", "values": ["x"]}]}, "more than one owner's cost"),
        ("prod", BUDGET, {}, "more than one owner's cost"),
    ],
}
"""For each control about one resource: in which environment which resource passes (None), or is told what."""


@pytest.mark.parametrize(
    ("control", "env", "kind", "props", "words"),
    [(control, *case) for control, cases in RESOURCES.items() for case in cases],
)
def test_a_resource_is_held_to_a_control(control, env, kind, props, words):
    in_environment(env)
    said = judge(control, kind, props).sentences
    assert [each for each in said if words in each] if words else said == []


def grouped(kind="g6.xlarge", **rest):
    return gpus(2, instanceTypes=[kind], **rest)


def table(uses=None, **props):
    return resource(TABLE, "items", uses=uses, name="items", **props)


def follows(*, policy=True, **target):
    """What lets a table's capacity follow its use."""
    where = {"resourceId": "table/items", "scalableDimension": "dynamodb:table:ReadCapacityUnits"}
    found = [resource(SCALABLE_TARGET, "reads", **where, minCapacity=1, maxCapacity=10, **target)]
    return [*found, resource(SCALING_POLICY, "reads", **where)] if policy else found


def actions(*most):
    """Scheduled actions of the endpoint: its largest sizes, one after the other."""
    return [
        resource(
            SCHEDULED_ACTION,
            f"at-{hour}",
            resourceId="endpoint/live/variant/live",
            schedule=f"cron(0 {hour} ? * MON-FRI *)",
            scalableTargetAction={"minCapacity": 1, "maxCapacity": each},
        )
        for hour, each in zip((7, 19), most, strict=True)
    ]


def tagged(**tags):
    """An endpoint whose tags say something."""
    configuration, live, target = endpoint()
    live.inputs["tags"] = tags
    return [configuration, live, target]


def nat(name="nat"):
    return resource(NAT, name, uses={"subnetId": ["aws:ec2/subnet:Subnet::a"]}, subnetId=UNKNOWN)


SUBNET = resource("aws:ec2/subnet:Subnet", "a", vpcId="vpc-1")


def gateways(*services, vpc="vpc-1"):
    return [
        resource("aws:ec2/vpcEndpoint:VpcEndpoint", each, vpcId=vpc, serviceName=f"com.amazonaws.us-east-1.{each}")
        for each in services
    ]


MONITORED = [
    resource(MONITOR, "watch", monitorType="CUSTOM"),
    resource(
        SUBSCRIPTION,
        "told",
        uses={"monitorArnLists": [f"{MONITOR}::watch"]},
        monitorArnLists=[UNKNOWN],
        subscribers=[{"type": "SNS", "address": "arn"}],
    ),
]
ON_DEMAND = {"billingMode": "PAY_PER_REQUEST"}
CAPPED = {"maxReadRequestUnits": 100, "maxWriteRequestUnits": 100}
DAY = timedelta(days=1)
SOON = (datetime.now(UTC) + 7 * DAY).date().isoformat()
PAST = (datetime.now(UTC) - 2 * DAY).date().isoformat()
FAR = (datetime.now(UTC) + 90 * DAY).date().isoformat()

STACKS = {
    "cost-stack-budget": [
        ("prod", [gpus(1)], None),
        ("prod", [gpus(9)], "Then it may cost"),
    ],
    "cost-priced": [
        ("prod", [gpus(1)], None),
        ("prod", [grouped("x9.metal")], "instance type x9.metal has no price"),
    ],
    "cost-team-budget": [
        ("dev", [gpus(2)], None),
        ("dev", [gpus(9)], "policies/limits.yaml gives it $1,500 (cost.teams). The dearest: gpus"),
    ],
    "cost-delta": [("prod", [gpus(9)], None)],
    "cost-budget-exists": [("prod", [resource(CLUSTER), GUARDED], None), ("prod", [resource(CLUSTER)], "nobody hears")],
    "cost-budget-matches": [
        ("prod", [watched(limitAmount="1000")], None),
        ("prod", [watched(limitAmount="2000")], "set no more than slipway:usd_per_month, 1000"),
        ("prod", [watched(limitAmount="10"), gpus(2, least=1)], "it would ring every month"),
    ],
    "cost-anomaly": [
        ("prod", [resource(CLUSTER), *MONITORED], None),
        ("prod", [resource("aws:iam/role:Role")], None),
        ("prod", [resource(CLUSTER)], "nobody hears of a sudden cost"),
        ("prod", [resource(CLUSTER), MONITORED[0]], "add an AnomalySubscription"),
        (
            "prod",
            [resource(CLUSTER), MONITORED[0], resource(SUBSCRIPTION, uses={"monitorArnLists": [f"{MONITOR}::watch"]})],
            "subscribers is not set",
        ),
    ],
    "cost-gpu-cap": [
        ("dev", [grouped()], None),
        ("dev", [gpus(3)], "team vision may get 3 GPUs in dev, and policies/limits.yaml gives it 2"),
        ("dev", endpoint("ml.g5.12xlarge", scaled=(1, 1)), "may get 4 GPUs"),
    ],
    "cost-ng-max": [
        ("prod", [gpus(10)], None),
        ("prod", [gpus(11)], "maxSize is 11: set 10 or less"),
        ("staging", [gpus(2, least=1)], "1 GPUs cost their price while nothing runs"),
        ("staging", [grouped()], "capacityType is not set: outside production GPUs are spot"),
        ("staging", [grouped(capacityType="SPOT")], None),
        ("staging", [gpus(3, least=2, instanceTypes=["m5.large"])], None),
    ],
    "cost-endpoint-autoscale": [
        ("prod", endpoint(), None),
        ("prod", endpoint(scaled=None), "nothing scales variant live"),
        ("prod", endpoint(scaled=(1, 11)), "maxCapacity is 11: set 10 or less"),
        ("prod", [*endpoint(), *actions(11, 2)], "scalableTargetAction.maxCapacity is 11"),
    ],
    "cost-endpoint-nonprod": [
        ("staging", endpoint(), "and staging has no users"),
        ("staging", [*endpoint(), *actions(4, 1)], None),
        ("staging", [*endpoint(), *actions(4, 4)], "and staging has no users"),
        ("staging", endpoint(scaled=(0, 4)), None),
        ("staging", tagged(expires=SOON), None),
        ("staging", tagged(expires=PAST), "it was needed until"),
        ("staging", tagged(expires=FAR), "set a date within 30"),
        ("staging", tagged(expires="soon"), "no date"),
        ("staging", endpoint(scaled=None, serverlessConfig={"maxConcurrency": 5}), None),
        ("staging", endpoint(scaled=None, serverlessConfig={"provisionedConcurrency": 1}), "day and night"),
        ("staging", endpoint(scaled=None, managedInstanceScaling={"status": "ENABLED", "minInstanceCount": 0}), None),
        ("prod", endpoint(), None),
        ("local", endpoint(), None),
    ],
    "cost-ddb-capacity": [
        ("prod", [table(**ON_DEMAND, onDemandThroughput=CAPPED)], None),
        ("prod", [table(**ON_DEMAND)], "nothing bounds what requests cost"),
        ("prod", [table(readCapacity=5, writeCapacity=5), *follows()], None),
        ("prod", [table(readCapacity=5, writeCapacity=5), *follows(policy=False)], "whether it is used or not"),
        ("prod", [table(readCapacity=5000), *follows()], "readCapacity is 5000: set 1000 or less"),
    ],
    "cost-nat-count": [
        ("staging", [nat(), SUBNET, *gateways("s3", "dynamodb")], None),
        ("staging", [nat(), nat("second"), SUBNET, *gateways("s3", "dynamodb")], "one NAT gateway is enough"),
        ("prod", [nat(), nat("second"), SUBNET, *gateways("s3", "dynamodb")], None),
        ("prod", [nat(), SUBNET, *gateways("s3")], "dynamodb is reached through it"),
        ("prod", [nat(), SUBNET, *gateways("s3", "dynamodb", vpc="vpc-2")], "s3 is reached through it"),
    ],
    "s3-abort-mpu": [("prod", [resource(BUCKET, "data")], "keeps everything for ever")],
    "cost-ecr-lifecycle": [("prod", [resource(REPOSITORY, "images")], "keeps every image for ever")],
}
"""For each control about a stack: in which environment which resources pass (None), or are told what."""


@pytest.mark.parametrize(
    ("control", "env", "resources", "words"),
    [(control, *case) for control, cases in STACKS.items() for case in cases],
)
def test_a_stack_is_held_to_a_control(control, env, resources, words):
    in_environment(env)
    said = judge_stack(control, *resources).sentences
    assert [each for each in said if words in each] if words else said == []


def test_what_has_no_owner_may_cost_nothing():
    set_all_config({"aws:region": "us-east-1"})
    [sentence] = judge_stack("cost-team-budget", gpus(1)).sentences
    assert "has no owner: gpus $590" in sentence
    assert judge_stack("cost-team-budget", gpus(1, tags={"owner": "vision"})).sentences == []


def test_every_control_of_the_pack_is_tested_here_and_says_what_to_set():
    assert {each.name for each in POLICIES} == RESOURCES.keys() | STACKS.keys()
    assert all(each.must and each.fix for each in CONTROLS)
    assert {each.name for each in CONTROLS if each.always} == {
        "cost-stack-budget",
        "cost-team-budget",
        "cost-pool-limit",
    }


@pytest.mark.parametrize("table", ["instances", "prices"])
def test_every_price_has_a_source_and_a_date(table):
    for name, row in PRICES[table].items():
        assert row["usd"] > 0, name
        assert row["source"] in PRICES["sources"], name
        assert date.fromisoformat(row["date"]), name


def test_every_assumption_about_use_has_a_price_and_says_what_it_assumes():
    for kind, rows in PRICES["usage"].items():
        for row in rows:
            assert row["price"] in PRICES["prices"], kind
            assert row["assumes"], kind
            assert row["floor"] <= row["ceiling"], kind


def test_no_type_is_both_free_and_priced():
    assert PRICES["free"].keys().isdisjoint({*BY_SIZE, *PRICES["usage"]})


@pytest.mark.parametrize("kind", sorted({*PRICES["free"], *BY_SIZE, *PRICES["usage"], *UNTAGGED}))
def test_the_tables_name_types_that_exist_and_know_which_take_tags(kind):
    if not kind.startswith("aws:"):
        return
    module, _, name = re.split("[/:]", kind.removeprefix("aws:"))
    inputs = getattr(getattr(aws, module.replace("lambda", "lambda_")), f"{name}Args")
    assert hasattr(inputs, "tags") == (kind not in UNTAGGED)


def test_the_table_of_prices_is_json_without_duplicate_keys():
    def once(pairs):
        keys = [key for key, _ in pairs]
        assert len(keys) == len(set(keys)), keys
        return dict(pairs)

    from importlib.resources import files

    json.loads(files("policies.cost").joinpath("prices.json").read_text(), object_pairs_hook=once)
