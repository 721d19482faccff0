"""The cost pack prices a stack from its resources, and refuses what is over budget, unbounded, unpriced or untagged."""

import json
import re
from datetime import date

import pulumi_aws as aws
import pytest
from judging import judge, judge_stack, resource
from pulumi.runtime.config import set_all_config

from policies.cost import BUDGET, POLICIES, TAGS, UNTAGGED, estimate, unpriced
from policies.cost.prices import PRICES
from policies.cost.pricing import (
    BY_SIZE,
    CLUSTER,
    ENDPOINT,
    ENDPOINT_CONFIGURATION,
    FUNCTION,
    LAUNCH_TEMPLATE,
    NODE_GROUP,
    SCALABLE_TARGET,
    SCHEDULE,
)
from policies.cost.schedules import runs_per_month
from policies.limits import limits
from policies.rules import UNKNOWN

BUCKET = "aws:s3/bucket:Bucket"
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
        ({"limitAmount": "2000"}, "set no more than slipway:usd_per_month, 1000"),
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
    whole = {
        "abortIncompleteMultipartUpload": {"daysAfterInitiation": 7},
        "noncurrentVersionExpiration": {"noncurrentDays": 30},
    }
    assert judge_stack(rule, data, resource(LIFECYCLE, bucket="data-1", rules=[whole])).sentences == []
    assert "keeps everything for ever" in judge_stack(rule, data).sentences[0]
    ledger = resource(data.type, "ledger", objectLockEnabled=True)
    assert judge_stack(rule, ledger).sentences == []
    half = {"abortIncompleteMultipartUpload": {"daysAfterInitiation": 7}}
    [sentence] = judge_stack(rule, data, resource(LIFECYCLE, bucket="data-1", rules=[half])).sentences
    assert "no rule removes old versions: set noncurrentVersionExpiration" in sentence


def test_every_repository_drops_old_images():
    rule = "cost-ecr-lifecycle"
    images = resource(REPOSITORY, "images", name="images")
    lifecycle = resource("aws:ecr/lifecyclePolicy:LifecyclePolicy", uses={"repository": [f"{REPOSITORY}::images"]})
    assert judge_stack(rule, images, lifecycle).sentences == []
    assert "keeps every image for ever" in judge_stack(rule, images).sentences[0]


def test_every_rule_of_the_pack_is_tested_here():
    assert {each.name for each in POLICIES} == {
        "cost-stack-budget",
        "cost-priced",
        "cost-pool-limit",
        "teams-have-a-gpu-quota",
        "cost-endpoint-autoscale",
        "cost-tags",
        "cost-node-tags",
        "cost-budget-exists",
        "cost-eks-extended",
        "cost-ebs-gp3",
        "s3-abort-mpu",
        "cost-ecr-lifecycle",
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
