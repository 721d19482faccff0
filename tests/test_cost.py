"""What a stack costs: three amounts from its sizes and its use, what would fit a budget, and where prices come from."""

import json
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.stub import ANY, Stubber
from hypothesis import given, settings
from hypothesis import strategies as st
from judging import judge_stack, resource
from pulumi.runtime.config import set_all_config
from typer.testing import CliRunner

from infra import prices as table
from infra.cli import app
from infra.cost import Amounts, CostReport, costs
from infra.rehearsal.engine import Plan, Resource
from infra.rehearsal.session import Rehearsal
from infra.settings import Settings, SettingsError, check, load
from policies.cost.deployed import SECRET, STATE, NoState, held_against, read_state, resources_of
from policies.cost.fit import KINDS, Fit, cheapest_fit, smaller
from policies.cost.prices import DAYS, HOURS, PRICES, aged, warnings
from policies.cost.pricing import SCALABLE_TARGET, SCALING_POLICY, SCHEDULED_ACTION, Line, estimate
from policies.cost.schedules import bounds
from policies.cost.usage import Usage
from policies.resource_types import (
    CLUSTER,
    ENDPOINT,
    ENDPOINT_CONFIGURATION,
    FUNCTION,
    LAUNCH_TEMPLATE,
    NODE_CLASS,
    NODE_GROUP,
    NODE_POOL,
    NOTEBOOK,
    PIPELINE,
    TABLE,
    TRAINING_JOB,
)
from policies.rules import UNKNOWN, Declared

TAGS = {"owner": "vision", "product": "shop", "environment": "prod", "cost-center": "1"}
CONFIG = {
    "aws:region": "us-east-1",
    "aws:defaultTags": json.dumps({"tags": TAGS}),
    "slipway:usd_per_month": "1000",
}
ML_M5, G6, SPOT = 0.115, 0.8048, 0.45
NOTHING = Usage(**dict.fromkeys(set(Usage.model_fields) - {"busy_hours_per_day"}, 0))


@pytest.fixture(autouse=True)
def configured():
    set_all_config(CONFIG)
    yield
    set_all_config({})


def usd(resources: Sequence[Declared], kind: str, usage: Usage = NOTHING) -> tuple[float, float, float]:
    """The three amounts of all resources of one type."""
    found = Amounts.of(each for each in estimate(resources, usage) if f":{kind}::" in f":{each.urn}")
    return found.floor_usd, found.expected_usd, found.ceiling_usd


def endpoint(
    low: int = 1, high: int = 4, *schedule: tuple[str, int, int], kind: str = "ml.m5.large", tracked: float = 60
) -> list[Resource]:
    """An endpoint, what scales it, and what changes that with the clock: (cron, min, max)."""
    live = "endpoint/live/variant/live"
    variant = {"variantName": "live", "instanceType": kind, "initialInstanceCount": low}
    tracking = {
        "targetValue": tracked,
        "predefinedMetricSpecification": {"predefinedMetricType": "SageMakerVariantInvocationsPerInstance"},
    }
    return [
        resource(ENDPOINT_CONFIGURATION, "live", name="live-1", productionVariants=[variant]),
        resource(
            ENDPOINT,
            "live",
            uses={"endpointConfigName": [f"{ENDPOINT_CONFIGURATION}::live"]},
            name="live",
            endpointConfigName=UNKNOWN,
        ),
        resource(SCALABLE_TARGET, "live", resourceId=live, minCapacity=low, maxCapacity=high),
        resource(SCALING_POLICY, "live", resourceId=live, targetTrackingScalingPolicyConfiguration=tracking),
        *(
            resource(
                SCHEDULED_ACTION,
                f"at-{number}",
                resourceId=live,
                schedule=cron,
                scalableTargetAction={"minCapacity": least, "maxCapacity": most},
            )
            for number, (cron, least, most) in enumerate(schedule)
        ),
    ]


def group(most: int, least: int = 0, **rest: Any) -> Resource:
    size = {"minSize": least, "maxSize": most, "desiredSize": least}
    return resource(NODE_GROUP, "gpus", **{"instanceTypes": ["g6.xlarge"], "scalingConfig": size, **rest})


def pool(gpus: int, name: str = "pool", kinds: Sequence[str] = ("g6.xlarge",), capacity: str = "spot") -> Resource:
    asked = {"node.kubernetes.io/instance-type": list(kinds), "karpenter.sh/capacity-type": [capacity]}
    requirements = [{"key": key, "operator": "In", "values": values} for key, values in asked.items()]
    node = {"requirements": requirements, "nodeClassRef": {"name": name}}
    return resource(NODE_POOL, name, spec={"limits": {"nvidia.com/gpu": gpus}, "template": {"spec": node}})


class TestExpected:
    """Between the least and the most stands what the stated use comes to."""

    def test_an_endpoint_grows_with_its_requests_while_they_come(self) -> None:
        usage = NOTHING.model_copy(update={"requests_per_day": 60 * 60 * 8 * 3, "busy_hours_per_day": 8})
        floor, expected, ceiling = usd(endpoint(1, 4), ENDPOINT, usage)
        # 180 requests a minute for 8 hours take three instances of 60 each; for 16 hours, one is enough.
        assert floor == pytest.approx(ML_M5 * HOURS)
        assert expected == pytest.approx(ML_M5 * HOURS * (3 * 8 + 1 * 16) / 24)
        assert ceiling == pytest.approx(4 * ML_M5 * HOURS + 1.6)

    def test_an_endpoint_that_scales_to_zero_costs_nothing_while_nobody_asks(self) -> None:
        assert usd(endpoint(0, 2), ENDPOINT)[:2] == (0, 0)
        asked = NOTHING.model_copy(update={"requests_per_day": 1, "busy_hours_per_day": 6})
        assert usd(endpoint(0, 2), ENDPOINT, asked)[1] == pytest.approx(ML_M5 * HOURS * 6 / 24)

    def test_a_schedule_moves_all_three_amounts_with_the_clock(self) -> None:
        nights = [("cron(0 8 ? * * *)", 2, 6), ("cron(0 20 ? * * *)", 1, 2)]
        floor, expected, ceiling = usd(endpoint(2, 6, *nights), ENDPOINT)
        assert floor == pytest.approx(1.5 * ML_M5 * HOURS)
        assert expected == floor
        assert ceiling == pytest.approx(4 * ML_M5 * HOURS + 1.6)

    def test_gpu_hours_are_paid_for_at_the_spot_price_and_at_most_in_full(self) -> None:
        usage = NOTHING.model_copy(update={"gpu_hours_per_day": 12})
        assert usd([pool(4)], NODE_POOL, usage) == (
            0,
            pytest.approx(12 * DAYS * G6 * SPOT),
            pytest.approx(4 * G6 * HOURS),
        )
        assert usd([pool(4, capacity="on-demand")], NODE_POOL, usage)[1] == pytest.approx(12 * DAYS * G6)

    def test_gpu_hours_are_spread_over_pools_by_their_size_and_fill_them_at_most(self) -> None:
        usage = NOTHING.model_copy(update={"gpu_hours_per_day": 1000})
        both = [pool(1, "small", capacity="on-demand"), pool(3, "large", capacity="on-demand")]
        _, expected, ceiling = usd(both, NODE_POOL, usage)
        assert expected == pytest.approx(ceiling)
        usage = NOTHING.model_copy(update={"gpu_hours_per_day": 8})
        by_name = {each.resource: each.expected_usd for each in estimate(both, usage)}
        assert by_name["large"] == pytest.approx(3 * by_name["small"])

    def test_a_pipeline_costs_each_of_its_jobs_for_as_long_as_it_may_run(self) -> None:
        train = {
            "ResourceConfig": {"InstanceType": {"Get": "Parameters.On"}, "InstanceCount": 2},
            "StoppingCondition": {"MaxRuntimeInSeconds": 7200},
            "EnableManagedSpotTraining": True,
        }
        prepare = {
            "ProcessingResources": {"ClusterConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1}},
            "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
        }
        definition = {
            "Parameters": [{"Name": "On", "DefaultValue": "ml.m5.xlarge"}],
            "Steps": [
                {"Name": "prepare", "Type": "Processing", "Arguments": prepare},
                {"Name": "if", "Arguments": {"IfSteps": [{"Name": "train", "Arguments": train}], "ElseSteps": []}},
            ],
        }
        made = resource(PIPELINE, "training", pipelineDefinition=json.dumps(definition))
        usage = NOTHING.model_copy(update={"training_runs_per_month": 10, "training_hours_per_step": 0.5})
        floor, expected, ceiling = usd([made], PIPELINE, usage)
        assert floor == 0
        assert expected == pytest.approx(10 * 0.5 * (ML_M5 + 2 * 0.23 * SPOT))
        assert ceiling == pytest.approx(30 * (1 * ML_M5 + 2 * 2 * 0.23))

    def test_a_warm_pool_is_paid_for_after_the_job(self) -> None:
        def job(**more: Any) -> Resource:
            cluster = {"instanceType": "ml.m5.large", "instanceCount": 1, **more}
            return resource(TRAINING_JOB, resourceConfig=cluster, stoppingCondition={"maxRuntimeInSeconds": 3600})

        assert usd([job()], TRAINING_JOB)[2] == pytest.approx(ML_M5)
        assert usd([job(keepAlivePeriodInSeconds=1800)], TRAINING_JOB)[2] == pytest.approx(1.5 * ML_M5)

    def test_batch_predictions_are_paid_for_by_the_hours_of_their_jobs(self) -> None:
        told = json.dumps({"resources": {"InstanceType": "ml.m5.large", "InstanceCount": 2}})
        made = resource(FUNCTION, "batch", environment={"variables": {"BATCH": told}})
        usage = NOTHING.model_copy(update={"batch_hours_per_month": 20})
        [line] = [each for each in estimate([made], usage) if "batch prediction" in each.what]
        assert [line.floor_usd, line.expected_usd, line.ceiling_usd] == pytest.approx(
            [0, 20 * 2 * ML_M5, 100 * 2 * ML_M5]
        )

    def test_storage_grows_for_a_month_as_expected_and_for_a_year_at_most(self) -> None:
        usage = NOTHING.model_copy(update={"gb_stored": 1000, "gb_added_per_month": 100})
        bucket = resource("aws:s3/bucket:Bucket", "data")
        [line] = [each for each in estimate([bucket], usage) if "stored objects" in each.what]
        assert (line.expected_usd, line.ceiling_usd) == (pytest.approx(1100 * 0.023), pytest.approx(2200 * 0.023))

    def test_data_through_a_nat_gateway_is_paid_for_by_the_gb(self) -> None:
        nat = "aws:ec2/natGateway:NatGateway"
        usage = NOTHING.model_copy(update={"gb_through_nat": 300})
        both = [resource(nat, "a"), resource(nat, "b")]
        floor, expected, _ = usd(both, nat, usage)
        assert floor == pytest.approx(2 * 0.045 * HOURS)
        assert expected - floor == pytest.approx(300 * 0.045)

    def test_a_table_on_demand_is_paid_for_by_the_request_and_a_cap_bounds_it(self) -> None:
        caps = {"maxReadRequestUnits": 1, "maxWriteRequestUnits": 1}
        usage = NOTHING.model_copy(update={"table_reads_per_day": 1000})
        made = resource(TABLE, billingMode="PAY_PER_REQUEST", onDemandThroughput=caps)
        read, write = 0.125, 0.625
        assert usd([made], TABLE, usage)[1] == pytest.approx(1000 * DAYS / 1e6 * read)
        assert usd([made], TABLE, usage)[2] == pytest.approx(HOURS * 3600 / 1e6 * (read + write) + 10 * 0.25)

    def test_a_notebook_is_expected_to_run_while_someone_works(self) -> None:
        made = resource(NOTEBOOK, instanceType="ml.m5.large", volumeSize=10)
        usage = NOTHING.model_copy(update={"notebook_hours_per_day": 8})
        floor, expected, ceiling = usd([made], NOTEBOOK, usage)
        assert expected - floor == pytest.approx(8 * DAYS * ML_M5)
        assert ceiling - floor == pytest.approx(HOURS * ML_M5)

    def test_who_states_more_than_is_assumed_may_spend_more(self) -> None:
        bucket = [resource("aws:s3/bucket:Bucket", "data")]
        much = NOTHING.model_copy(update={"gb_stored": 10_000})
        assert usd(bucket, "aws:s3/bucket:Bucket", much)[2] > usd(bucket, "aws:s3/bucket:Bucket")[2]


@pytest.mark.parametrize(
    ("actions", "found"),
    [
        ([], [(1, 1, 4)]),
        ([("cron(0 0 ? * SAT *)", 0, 0), ("cron(0 0 ? * MON *)", 2, 8)], [(2 / 7, 0, 0), (5 / 7, 2, 8)]),
        ([("cron(0 12 * * ? *)", None, 2)], [(1 / 7, 1, 2)] * 7),
        # Neither of these repeats by the week: the least and the most of all count.
        ([("at(2027-01-01T00:00:00)", 0, 9)], [(1, 0, 9)]),
        ([("cron(0 0 1 * ? *)", 0, 9)], [(1, 0, 9)]),
        ([("cron(0 0 99 ? * *)", 0, 9)], [(1, 0, 9)]),
    ],
)
def test_the_bounds_of_a_schedule_are_those_of_a_week(actions, found) -> None:
    told = [
        {"schedule": cron, "scalableTargetAction": {"minCapacity": low, "maxCapacity": high}}
        for cron, low, high in actions
    ]
    shares = [(pytest.approx(each.share), each.low, each.high) for each in bounds(1, 4, told)]
    assert sorted(shares, key=str) == sorted(((pytest.approx(share), *rest) for share, *rest in found), key=str)


# --- for every stack --------------------------------------------------------------------------------------------------

KINDS_OF_INSTANCES = st.sampled_from([each for each in PRICES["instances"] if each.startswith("g")])
ML_KINDS = st.sampled_from([each for each in PRICES["instances"] if each.startswith("ml.")])
SIZE = st.integers(0, 20)
CRONS = st.sampled_from(["cron(0 7 ? * MON-FRI *)", "cron(0 19 ? * MON-FRI *)", "cron(30 3 ? * SUN *)", "rate(1 day)"])
AMOUNTS = st.floats(0, 1e7)
USAGES = st.fixed_dictionaries(
    {
        **{
            key: AMOUNTS
            for key in Usage.model_fields
            if key not in ("busy_hours_per_day", "notebook_hours_per_day", "metrics_per_function")
        },
        "busy_hours_per_day": st.floats(0.1, 24),
        "notebook_hours_per_day": st.floats(0, 24),
        "metrics_per_function": st.floats(0, 1000),
    }
).map(lambda stated: Usage(**stated))


@st.composite
def stacks(draw: st.DrawFn) -> dict[str, Any]:
    """The sizes of a stack, each with a maximum."""
    return {
        "endpoint": (draw(SIZE), draw(SIZE)),
        "kind": draw(ML_KINDS),
        "tracked": draw(st.floats(0.1, 1e5)),
        "schedule": draw(st.lists(st.tuples(CRONS, SIZE, SIZE), max_size=3)),
        "group": (draw(SIZE), draw(SIZE)),
        "types": draw(st.lists(KINDS_OF_INSTANCES, min_size=1, max_size=3)),
        "spot": draw(st.booleans()),
        "pool": draw(st.integers(1, 64)),
    }


def built(sizes: Mapping[str, Any]) -> list[Resource]:
    low, high = sorted(sizes["endpoint"])
    least, most = sorted(sizes["group"])
    schedule = [(cron, *sorted((one, other))) for cron, one, other in sizes["schedule"]]
    gpus = [each for each in sizes["types"] if PRICES["instances"][each].get("gpus")]
    return [
        *endpoint(low, high, *schedule, kind=sizes["kind"], tracked=sizes["tracked"]),
        group(most, least, instanceTypes=sizes["types"], capacityType="SPOT" if sizes["spot"] else "ON_DEMAND"),
        pool(sizes["pool"], kinds=gpus or ["g6.xlarge"], capacity="spot" if sizes["spot"] else "on-demand"),
        resource(NODE_CLASS, metadata={"name": "pool"}, spec={"blockDeviceMappings": [{"ebs": {"volumeSize": "9Gi"}}]}),
        resource(FUNCTION, "f", timeout=60, memorySize=512),
        *(resource(each) for each in PRICES["usage"] if each != FUNCTION),
    ]


@given(sizes=stacks(), usage=USAGES)
@settings(max_examples=60, deadline=None)
def test_for_every_stack_and_use_the_expected_lies_between_floor_and_ceiling(sizes, usage) -> None:
    for line in estimate(built(sizes), usage):
        assert 0 <= line.floor_usd <= line.expected_usd <= line.ceiling_usd, line


@given(sizes=stacks(), usage=USAGES, more=st.integers(1, 10), which=st.sampled_from(["endpoint", "group", "pool"]))
@settings(max_examples=60, deadline=None)
def test_raising_a_maximum_never_lowers_the_ceiling(sizes, usage, more, which) -> None:
    value = sizes[which]
    raised = {**sizes, which: value + more if which == "pool" else (min(value), max(value) + more)}
    before, after = (Amounts.of(estimate(built(each), usage)).ceiling_usd for each in (sizes, raised))
    assert after >= before - 1e-6


@given(sizes=stacks(), usage=USAGES, share=st.floats(0.1, 0.99))
@settings(max_examples=25, deadline=None)
def test_what_is_said_to_fit_does_fit_and_otherwise_everything_was_tried(sizes, usage, share) -> None:
    resources = built(sizes)
    limit = share * Amounts.of(estimate(resources, usage)).ceiling_usd
    fit = cheapest_fit(resources, usage, TAGS, limit)
    assert fit.fits == (fit.ceiling_usd <= limit)
    assert not fit.fits or fit.changes


# --- what would fit ---------------------------------------------------------------------------------------------------


class TestFit:
    """The change that costs the least of what a stack can do."""

    def fit(self, resources: Sequence[Declared], limit: float, usage: Usage = NOTHING) -> Fit:
        return cheapest_fit(resources, usage, TAGS, limit)

    def test_what_loses_nothing_comes_first(self) -> None:
        found = self.fit([resource(CLUSTER, "main"), *endpoint(1, 4)], 500)
        assert found.changes == ("set upgradePolicy.supportType of main to STANDARD",)

    def test_gp3_disks_lose_nothing_either(self) -> None:
        disks = resource(LAUNCH_TEMPLATE, "node", blockDeviceMappings=[{"ebs": {"volumeSize": 1000}}])
        nodes = group(2, uses={"launchTemplate": [f"{LAUNCH_TEMPLATE}::node"]})
        ceiling = Amounts.of(estimate([disks, nodes], NOTHING)).ceiling_usd
        assert self.fit([disks, nodes], ceiling - 10).changes == ("set volumeType of node's disks to gp3",)

    def test_then_headroom_by_the_smallest_step_that_fits(self) -> None:
        resources = endpoint(1, 8)
        found = self.fit(resources, 5 * ML_M5 * HOURS + 10)
        assert found.changes == ("lower maxCapacity of live (max_instances) from 8 to 5",)
        assert found.ceiling_usd == pytest.approx(5 * ML_M5 * HOURS + 1.6 + 0.2)

    def test_then_a_schedule_where_the_use_needs_the_headroom(self) -> None:
        busy = NOTHING.model_copy(update={"requests_per_day": 8 * 60 * 8 * 60, "busy_hours_per_day": 8})
        found = self.fit(endpoint(1, 8), 5 * ML_M5 * HOURS, busy)
        assert found.changes == ("give live a schedule: at most 1 from 19:00 to 7:00 and at weekends",)

    def test_then_smaller_instances(self) -> None:
        found = self.fit(endpoint(2, 2, kind="ml.m5.xlarge"), 1.5 * 0.23 * HOURS)
        assert found.changes == ("change instanceType of live (instance_type) from ml.m5.xlarge to ml.m5.large",)

    def test_at_last_capacity_that_is_used(self) -> None:
        busy = NOTHING.model_copy(update={"gpu_hours_per_day": 24 * 4})
        found = self.fit([pool(4, capacity="on-demand")], 2.5 * G6 * HOURS, busy)
        assert found.changes == ("lower spec.limits nvidia.com/gpu of pool (max_gpus) from 4 to 2",)

    def test_nodes_of_several_gpus_leave_whole(self) -> None:
        found = self.fit([pool(16, kinds=["g6.12xlarge"])], 3 * 4.6016 * HOURS)
        assert found.changes == ("lower spec.limits nvidia.com/gpu of pool (max_gpus) from 16 to 12",)

    def test_several_changes_where_one_is_not_enough_and_none_too_many(self) -> None:
        resources = [*endpoint(1, 8), group(4)]
        found = self.fit(resources, 1.2 * G6 * HOURS + 1.5 * ML_M5 * HOURS)
        assert len(found.changes) == 2
        assert found.fits

    def test_where_nothing_is_enough_it_says_so(self) -> None:
        found = self.fit([group(2, least=2)], 100)
        assert not found.fits
        assert str(found) == "Nothing here can be made smaller: raise the budget"
        assert "Not even this is enough" in str(self.fit(endpoint(2, 8), 10))

    def test_the_refusal_names_it(self) -> None:
        [sentence] = judge_stack("cost-stack-budget", group(3)).sentences
        least = "lower scalingConfig.maxSize of gpus (max_size) from 3 to 1"
        assert sentence.endswith(f"The least that would fit: {least}. Then it may cost $590")

    def test_a_smaller_instance_has_as_many_gpus(self) -> None:
        assert smaller("g6.2xlarge") == "g6.xlarge"
        assert smaller("g6.12xlarge") is None
        assert smaller("ml.m5.large") is None

    def test_every_kind_is_documented(self) -> None:
        import policies.cost.fit

        text = policies.cost.fit.__doc__ or ""
        assert all(f"\n{number}. " in text for number in range(1, len(KINDS) + 1))


# --- the table of prices ----------------------------------------------------------------------------------------------


def answer(usd: str, unit: str, **dimension: str) -> str:
    """One product as the Price List answers: JSON in text."""
    price = {"unit": unit, "pricePerUnit": {"USD": usd}, "beginRange": "0", "endRange": "Inf", **dimension}
    term = {"priceDimensions": {"SKU.JRTCKXETXF.6YS6EN2CT7": price}, "effectiveDate": "2026-11-01T00:00:00Z"}
    return json.dumps({"product": {"sku": "SKU"}, "terms": {"OnDemand": {"SKU.JRTCKXETXF": term}}})


def small_table(path: Path) -> Path:
    """A table of four rows: two that the Price List is asked for, one that it does not know, and one of our own."""
    row = {"usd": 1.0, "source": "old", "date": "2024-01-01"}
    written = {
        "region": "us-east-1",
        "sources": {"old": "somewhere"},
        "instances": {"g6.xlarge": dict(row), "ml.m5.large": {**row, "usd": 0.115}, "x9.metal": dict(row)},
        "prices": {"lambda-requests": dict(row), "kms-key": dict(row)},
        "usage": {"aws:s3/bucket:Bucket": [{"what": "reads", "price": "s3-get"}]},
        "free": {},
    }
    path.write_text(table.dumped(written))
    return path


class TestPrices:
    """The table says where each price comes from, grows old, and is refreshed by one command."""

    @pytest.fixture
    def pricing(self):
        client = boto3.client("pricing", region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b")
        with Stubber(client) as stub:
            yield client, stub

    def test_a_refresh_writes_each_price_with_its_source_and_date(self, pricing, tmp_path: Path) -> None:
        client, stub = pricing
        path = small_table(tmp_path / "prices.json")
        for service, found in (
            ("AmazonEC2", [answer("0.9000000000", "Hrs")]),
            ("AmazonSageMaker", [answer("0.1150000000", "Hrs")]),
            ("AmazonEC2", []),
            # A free tier is no price, and only the first tier counts.
            (
                "AWSLambda",
                [
                    answer("0.0000000000", "Requests"),
                    answer("0.0000002000", "Requests"),
                    answer("0.0000001000", "Requests", beginRange="1000000000"),
                ],
            ),
        ):
            asked = {"ServiceCode": service, "Filters": ANY}
            stub.add_response("get_products", {"FormatVersion": "aws_v1", "PriceList": found}, asked)

        done = table.refresh(client, date(2026, 11, 21), file=path)

        assert done.changed == {"g6.xlarge": (1.0, 0.9), "lambda-requests": (1.0, 0.2)}
        assert (done.confirmed, set(done.kept)) == (1, {"x9.metal", "kms-key"})
        written = json.loads(path.read_text())
        row = written["instances"]["ml.m5.large"]
        assert row == {"usd": 0.115, "source": "price-list", "date": "2026-11-21"}
        assert written["prices"]["kms-key"]["date"] == "2024-01-01"
        assert written["sources"]["price-list"]
        assert table.dumped(written) == path.read_text()
        assert "g6.xlarge: 1 → 0.9 USD" in list(done.lines())

    def test_an_instance_is_asked_for_by_what_leaves_one_price(self, pricing) -> None:
        client, stub = pricing
        wanted = {**table.EC2, "instanceType": "g6.xlarge", "regionCode": "us-east-1"}
        filters = [{"Type": "TERM_MATCH", "Field": key, "Value": value} for key, value in wanted.items()]
        filters.sort(key=lambda each: [*table.EC2, "instanceType", "regionCode"].index(each["Field"]))
        told = {"FormatVersion": "aws_v1", "PriceList": [answer("0.8048000000", "Hrs")]}
        stub.add_response("get_products", told, {"ServiceCode": "AmazonEC2", "Filters": filters})
        assert table.price(client, table.instance("g6.xlarge"), "us-east-1") == 0.8048

    def test_several_prices_are_no_price(self, pricing) -> None:
        client, stub = pricing
        stub.add_response("get_products", {"PriceList": [answer("1.0", "Hrs"), answer("2.0", "Hrs")]})
        with pytest.raises(table.NoPrice, match=r"several prices .*: 1, 2"):
            table.price(client, table.instance("g6.xlarge"), "us-east-1")

    def test_an_error_in_between_leaves_the_table_as_it_was(self, pricing, tmp_path: Path) -> None:
        client, stub = pricing
        path = small_table(tmp_path / "prices.json")
        before = path.read_text()
        stub.add_response("get_products", {"PriceList": [answer("0.9", "Hrs")]})
        stub.add_client_error("get_products", "ThrottlingException")
        with pytest.raises(client.exceptions.ClientError):
            table.refresh(client, date(2026, 11, 21), file=path)
        assert path.read_text() == before

    def test_the_committed_table_is_as_a_refresh_writes_it(self) -> None:
        text = table.FILE.read_text("utf-8")
        assert table.dumped(json.loads(text)) == text

    def test_what_is_asked_for_is_in_the_table(self) -> None:
        assert table.QUERIES.keys() <= PRICES["prices"].keys()

    def test_after_90_days_it_says_how_to_refresh(self) -> None:
        row = {"usd": 1, "date": "2026-08-01"}
        one = {"instances": {"m5.large": row}, "prices": {}}
        day = date(2026, 8, 1)
        assert list(warnings(day + timedelta(days=90), one)) == []
        [sentence] = warnings(day + timedelta(days=91), one)
        assert "1 of 1 prices are older than 90 days (the oldest, m5.large, 91)" in sentence
        assert "slipway prices --refresh" in sentence
        assert aged(day + timedelta(days=91), one) == {"m5.large": 91}

    def test_the_command_tells_its_age(self) -> None:
        result = CliRunner().invoke(app, ["prices", "--json"])
        assert json.loads(result.stdout) == {"warnings": list(warnings())}
        assert result.exit_code == bool(list(warnings()))


# --- what is deployed -------------------------------------------------------------------------------------------------


def exported(*resources: Resource) -> dict[str, Any]:
    """A state as `pulumi stack export` writes it."""
    written = [{"urn": each.urn, "type": each.type, "custom": True, "inputs": dict(each.inputs)} for each in resources]
    return {"version": 3, "deployment": {"manifest": {}, "resources": written}}


class TestDelta:
    """A change is held against what is deployed, where a state tells it."""

    def test_a_change_that_costs_much_more_at_once_is_refused(self, tmp_path: Path, monkeypatch) -> None:
        state = tmp_path / "state.json"
        state.write_text(json.dumps(exported(group(2))))
        monkeypatch.setenv(STATE, str(state))
        assert judge_stack("cost-delta", group(3)).sentences == []
        [sentence] = judge_stack("cost-delta", group(6)).sentences
        assert "may cost $2,358 a month more than what is deployed (+200 %)" in sentence
        assert "What rises: gpus $1,179 → $3,537" in sentence
        state.write_text(state.read_text().replace("urn:pulumi:test", "urn:pulumi:another"))
        assert judge_stack("cost-delta", group(6)).sentences == [], "that is the state of another stack"

    def test_a_folder_has_the_states_of_several_stacks_and_a_new_stack_has_none(self, tmp_path, monkeypatch) -> None:
        monkeypatch.setenv(STATE, str(tmp_path))
        assert judge_stack("cost-delta", group(6)).sentences == []
        (tmp_path / "test.json").write_text(json.dumps(exported(group(2))))
        assert judge_stack("cost-delta", group(6)).sentences

    def test_a_check_names_states_for_as_long_as_it_takes(self, tmp_path: Path, monkeypatch) -> None:
        monkeypatch.delenv(STATE, raising=False)
        state, others = tmp_path / "state.json", tmp_path / "others"
        others.mkdir()
        state.write_text(json.dumps(exported(group(2))))
        with held_against([others, state]):
            assert judge_stack("cost-delta", group(6)).sentences
        assert judge_stack("cost-delta", group(6)).sentences == []

    def test_what_is_no_state_is_said(self, tmp_path: Path, monkeypatch) -> None:
        wrong = tmp_path / "state.json"
        wrong.write_text("{}")
        monkeypatch.setenv(STATE, str(wrong))
        assert "write one with `pulumi stack export" in judge_stack("cost-delta", group(6)).sentences[0]
        with pytest.raises(NoState):
            read_state(tmp_path / "none.json")

    def test_secrets_of_a_state_are_not_known_and_what_goes_is_left_out(self) -> None:
        secret = {SECRET: "1b47061264138c4ac30d75fd1eb44270", "ciphertext": "x"}
        state = exported(resource(NODE_GROUP, "gpus", instanceTypes=[secret]), resource(CLUSTER))
        state["deployment"]["resources"][1]["delete"] = True
        [found] = resources_of(state)
        assert found.inputs == {"instanceTypes": [UNKNOWN]}


# --- the command ------------------------------------------------------------------------------------------------------


def told(stack: str, **more: Any) -> Settings:
    environment = stack.rpartition("-")[2]
    tags = {**TAGS, "environment": environment}
    config = {**CONFIG, "aws:defaultTags": json.dumps({"tags": tags}), **more}
    return Settings(stack, environment, "us-east-1", "1" * 12, 1000.0, tags, None, config)  # type: ignore[arg-type]


class TestReport:
    """`slipway cost` says what each stack, part and team costs, and refuses what may not be."""

    def report(self, *resources: Resource, stack: str = "shop-prod", **rest: Any) -> CostReport:
        return costs([(told(stack), Plan(stack, resources, (), {}))], **rest)

    def test_it_adds_up_by_component_product_and_team(self) -> None:
        other = resource(NODE_GROUP, "other", tags={"owner": "speech"}, **group(1).inputs)
        report = self.report(group(1), other)
        [cost] = report.stacks
        assert {team: round(now.ceiling_usd) for team, (now, _) in cost.by("team").items()} == {
            "vision": 590,
            "speech": 590,
        }
        assert set(cost.by("product")) == {"shop"}
        assert set(cost.by("component")) == {"NodeGroup"}
        assert cost.total.ceiling_usd == pytest.approx(sum(each.ceiling_usd for each in cost.lines))

    def test_a_line_belongs_to_the_component_that_made_it(self) -> None:
        urn = "urn:pulumi:s::p::slipway:index:Release$slipway:index:Function$aws:lambda/function:Function::it"
        assert Line("it", urn, "", 0, 0, 0, "").component == "Release"

    def test_over_budget_is_refused_with_what_would_fit(self) -> None:
        report = self.report(group(3))
        assert not report.ok
        [refused] = report.stacks[0].refused
        assert "may cost $1,769 a month, and may $1,000. The least that would fit: lower scalingConfig" in refused

    def test_a_team_is_held_to_its_limit_over_all_its_stacks(self) -> None:
        plans = [(told(stack), Plan(stack, (group(1),), (), {})) for stack in ("a-dev", "b-dev", "c-dev")]
        report = costs(plans)
        assert not any(each.refused for each in report.stacks)
        [refused] = report.refused
        assert "team vision may spend $1,769 a month in dev, and policies/limits.yaml gives it $1,500" in refused

    def test_it_is_compared_with_what_was_there(self) -> None:
        report = self.report(group(1), before=lambda stack: ("the rehearsal", (group(0),)))
        text = "\n".join(report.text())
        assert "since the rehearsal: +0 at least, " in text
        assert "+590 at most" in text
        [cost] = report.to_dict()["stacks"]
        assert cost["before"]["ceiling_usd"] == 0
        assert cost["by_team"]["vision"]["before"]["ceiling_usd"] == 0

    def test_it_reads_as_text_with_bars_and_says_what_is_assumed(self) -> None:
        usage = json.dumps({"gpu_hours_per_day": 12})
        one = told("shop-prod", **{"slipway:usage": usage})
        text = list(costs([(one, Plan("shop-prod", (group(1),), (), {}))]).text("resource"))
        assert text[0] == "shop-prod: $0 at least, $295 expected, $590 at most, of $1,000 a month"
        assert text[2].endswith("▓" * 12 + "░" * 12)
        assert "  stated: gpu_hours_per_day 12" in text
        assert any("assumed: requests_per_day 10000" in each for each in text)

    def test_json_carries_every_line(self) -> None:
        written = json.loads(json.dumps(self.report(group(1)).to_dict()))
        assert written["ok"] is True
        [cost] = written["stacks"]
        assert {each["resource"] for each in cost["lines"]} == {"gpus"}
        assert cost["total"]["ceiling_usd"] == pytest.approx(589.5, abs=0.1)


class TestCommand:
    """The command, with plans of our own."""

    @pytest.fixture(autouse=True)
    def planned(self, monkeypatch) -> None:
        plans = {"employment-dev": group(0), "employment-staging": group(1), "employment-prod": group(9)}

        def plan(_: Any, names: Sequence[str], processes: int = 1) -> list[tuple[Settings, Plan]]:
            return [(told(name), Plan(name, (plans[name],), (), {})) for name in names]

        monkeypatch.setattr(Rehearsal, "plan_offline", plan)

    def run(self, *arguments: str) -> Any:
        return CliRunner().invoke(app, ["cost", *arguments])

    def test_within_budget_is_0_and_over_it_is_1(self) -> None:
        assert self.run("employment-staging").exit_code == 0
        over = self.run("employment-prod")
        assert over.exit_code == 1
        assert "refused: may cost $5,306 a month" in over.stdout

    def test_stacks_are_compared_with_another_and_with_a_state(self, tmp_path: Path) -> None:
        against = self.run("employment-staging", "--against", "employment-dev")
        assert "since employment-dev: +0 at least" in against.stdout
        state = tmp_path / "state.json"
        state.write_text(json.dumps(exported(group(1))).replace("urn:pulumi:test", "urn:pulumi:employment-staging"))
        since = self.run("employment-staging", "--since", str(state), "--json")
        assert json.loads(since.stdout)["stacks"][0]["since"] == "state.json"

    def test_what_cannot_be_compared_is_said(self, tmp_path: Path, monkeypatch) -> None:
        monkeypatch.setenv("SLIPWAY_WORK", str(tmp_path))
        missing = self.run("employment-staging", "--compare", "--json")
        assert missing.exit_code == 2
        assert "--since" in json.loads(missing.stdout)["error"]
        both = self.run("employment-staging", "--compare", "--against", "employment-dev")
        assert both.exit_code == 2


def test_a_stack_states_its_use_in_plain_keys_and_a_misspelt_one_is_refused() -> None:
    values = {
        key: json.loads(value) if value[0] in "{[" else value for key, value in load("employment-dev").config.items()
    }
    assert (
        Usage.model_validate(json.loads(load("employment-prod").config["slipway:usage"])).training_runs_per_month == 8
    )
    with pytest.raises(SettingsError, match=r"slipway:usage.request_per_day: there is no such key; did you mean 'req"):
        check("employment-dev", {**values, "slipway:usage": {"request_per_day": 1}})
    with pytest.raises(SettingsError, match=r"slipway:usage.gb_stored: .*greater than or equal to 0, got -1"):
        check("employment-dev", {**values, "slipway:usage": {"gb_stored": -1}})
