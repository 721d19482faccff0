"""Features that grow old, cost that runs away, what is paid for and not used: each alarm rings, and is quiet again."""

import html
import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pulumi_aws as aws
import pytest
from hypothesis import given
from hypothesis import settings as tried
from hypothesis import strategies as st
from pretend_aws import CONFIG, KEY, TOPIC, PretendAws, up
from pretend_cloud import settings
from pydantic import ValidationError

from components import (
    DataLake,
    DataLakeSpec,
    FeatureStore,
    FeatureStoreSpec,
    FreshnessMonitor,
    FreshnessSpec,
    GpuPool,
    SpendingMonitor,
    SpendingSpec,
    Watched,
)
from components.feature_store import last_output
from functions.freshness_monitor import core as freshness
from functions.freshness_monitor.core import Delivery
from functions.spending_monitor import core as spending
from functions.spending_monitor.core import History, Prices, Spender, hour_of
from tests.emulated import ACCOUNT, REGION, User, new, until
from tests.served_models import ECHO, archive
from tests.test_emulator_jobs import Jobs
from tests.test_emulator_pipelines import Pipelines
from tests.test_feature_store import Store, ago, person, schema

NAME, CLUSTER = "watched-local", "nodes-local"
TAGS = {"owner": "team", "product": "churn", "environment": "local"}
SECOND = 0.05
"""The emulator's pace: an alarm's minute is over in three seconds."""
LONG = "import time\nprint('begun', flush=True)\ntime.sleep(900)\n"
HOUR = 3600.0
LIMITS = freshness.Limits(max_age=24 * HOUR, deliveries=3)

# --- how old is too old ---------------------------------------------------------------------------------------------


def came(at: float, newest: float | None, rows: int = 10, quarantined: int = 0) -> Delivery:
    return Delivery("s3://lake/churn/incoming/x.csv", at, rows, quarantined, newest, None if newest is None else "7")


def checks(deliveries: Sequence[Delivery], now: float, online: Mapping[int, float | None] | None = None) -> list[str]:
    looked_up = [(deliveries[place], seen) for place, seen in (online or {}).items()]
    newest = freshness.newest(deliveries, None)
    found = freshness.judge(deliveries, newest, since=0, now=now, limits=LIMITS, online=looked_up)
    return [each.check for each in found]


hours = st.floats(0, 500).map(lambda each: each * HOUR)


@tried(deadline=None)
@given(st.lists(st.tuples(hours, hours), max_size=8), st.floats(0, 23.9), hours)
def test_features_are_fresh_as_long_as_one_of_the_last_files_brought_young_rows(
    before: list[tuple[float, float]], age: float, now: float
) -> None:
    now += 1000 * HOUR
    older = sorted((came(at, at - lag) for at, lag in before), key=lambda each: each.at)
    young = came(now - 60, now - age * HOUR)
    assert checks([*older, young], now) == []
    # Late files after it change nothing, unless there are no others any more.
    assert checks([*older, young, came(now - 30, 0.0)], now) == []
    assert checks([*older, young, *(came(now - 30, 0.0) for _ in range(3))], now) == ["old_rows"]


@tried(deadline=None)
@given(st.lists(st.tuples(hours, hours), max_size=8), st.floats(24.1, 1000))
def test_a_store_whose_newest_row_is_too_old_is_stale_whatever_came(
    before: list[tuple[float, float]], age: float
) -> None:
    now = 2000 * HOUR
    told = [came(now - since, now - age * HOUR - lag) for since, lag in sorted(before, reverse=True)]
    recent = bool(told) and now - told[-1].at <= LIMITS.max_age
    assert checks(told, now) == ["old_rows" if recent else "nothing_came"]


def test_a_new_store_has_its_time_to_get_something() -> None:
    assert checks([], now=23 * HOUR) == []
    assert checks([], now=25 * HOUR) == ["nothing_came"]
    refused = [came(23 * HOUR, None, rows=0, quarantined=50) for _ in range(3)]
    [found] = freshness.judge(refused, None, since=0, now=25 * HOUR, limits=LIMITS, online=[])
    assert found.check == "old_rows"
    assert "150 of their latest rows in quarantine" in found.description


def test_rows_that_were_accepted_have_to_be_online() -> None:
    now = 100 * HOUR
    told = [came(now - 200, now - 300), came(now - 100, now - 150)]
    assert checks(told, now, {0: now - 300, 1: now - 150}) == []
    assert checks(told, now, {0: now - 300, 1: None}) == [], "one may have been deleted since"
    assert checks(told, now, {0: None, 1: now - 90 * HOUR}) == ["not_online"]


# --- how dear is too dear -------------------------------------------------------------------------------------------

NOW = datetime(2026, 11, 21, 16, 30, tzinfo=UTC)
PRICES = Prices({"ml.m5.large": 0.115, "ml.p4d.24xlarge": 25.0}, 0.45)
MONEY = spending.Limits(600.0, budget_percent=100, usual_times=3, unusual_percent=20, day_percent=15)


def runs(count: float, kind: str = "ml.m5.large", **more: Any) -> Spender:
    return Spender.of("endpoint", f"{count:g}-{kind}", kind, count, PRICES, **more)


def past(usd_per_hour: float, hours: int = 100, peaks: int = 0) -> History:
    """Hours that cost the same, the newest a moment ago; every so many of them a peak of ten times as much."""
    start = NOW - timedelta(hours=hours)
    history = History()
    for hour in range(hours + 1):
        peak = peaks and hour % peaks == 0
        history = history.seen(start + timedelta(hours=hour), usd_per_hour * (10 if peak else 1))
    return history


def judged(spenders: Sequence[Spender], history: History | None = None) -> list[str]:
    return [each.check for each in spending.judge(spenders, history or History(), NOW, MONEY)]


def test_what_would_break_the_budget_if_left_alone_runs_away_within_one_look() -> None:
    assert judged([runs(7)]) == [], "588 USD a month"
    assert judged([runs(8)]) == ["over_budget"]
    assert judged([runs(1, "ml.p4d.24xlarge", hours_left=20)]) == [], "500 USD, and then it ends"
    assert judged([runs(1, "ml.p4d.24xlarge", hours_left=20), runs(2)]) == ["over_budget"]


def test_what_has_no_price_counts_as_the_dearest() -> None:
    [found] = spending.judge([runs(1, "ml.p9.huge")], History(), NOW, MONEY)
    assert found.check == "over_budget"
    assert "ml.p9.huge, which has no price here and counts as the dearest: 25.00 USD/h" in found.description
    assert Prices({"a": 2.0}, 0.45).of("a", spot=True) == 0.9


def test_what_costs_most_is_named_first() -> None:
    [found] = spending.judge([runs(1), runs(3, "ml.p4d.24xlarge"), runs(2)], History(), NOW, MONEY)
    named = found.description.partition(": ")[2]
    assert [each.split(" ")[1] for each in named.split("; ")] == ["3-ml.p4d.24xlarge", "2-ml.m5.large", "1-ml.m5.large"]


def test_within_the_budget_much_more_than_usual_runs_away_too() -> None:
    usual = past(0.115)
    assert judged([runs(3)], usual) == [], "not more than three times as much"
    assert judged([runs(5)], usual) == ["unusual"]
    assert judged([runs(1), runs(2, "ml.p4d.24xlarge", hours_left=1)], usual) == [], "it ends before it costs much"
    assert judged([runs(5)], past(0.115, hours=20)) == [], "nobody knows yet what is usual"
    assert judged([runs(5)], past(0.115, peaks=12)) == [], "twice a day is usual"


def test_hours_in_which_cost_ran_away_do_not_become_usual() -> None:
    history = past(0.115)
    for hour in range(1, 60):
        history = history.seen(NOW + timedelta(hours=hour), 10.0, runaway=True)
    assert history.usual(NOW + timedelta(hours=60)) == pytest.approx(0.115)


def test_a_day_may_take_no_more_than_its_share_of_the_budget() -> None:
    # Jobs that end soon and are always started again: none of them ever looks dear.
    job = runs(1, "ml.p4d.24xlarge", hours_left=0.2)
    loop = History().seen(NOW - timedelta(hours=3), 25.0).seen(NOW, 25.0)
    assert judged([job], loop) == [], "75 USD in three hours"
    assert judged([job], loop.seen(NOW + timedelta(minutes=59), 25.0)) == ["dear_day"]


@tried(deadline=None)
@given(st.lists(st.tuples(st.floats(0.01, 30 * 3600), st.floats(0, 100)), max_size=30), st.data())
def test_the_hours_together_have_cost_what_ran(looks: list[tuple[float, float]], data: st.DataObject) -> None:
    at, history, total = NOW, History().seen(NOW, 1.0), 0.0
    before = 1.0
    for elapsed, usd in looks:
        at += timedelta(seconds=elapsed)
        history = History.from_json(json.loads(json.dumps(history.seen(at, usd).to_json())))
        total += (before + usd) / 2 * elapsed / 3600
        before = usd
    kept = at - timedelta(days=34)
    if kept <= NOW:
        spent = math.fsum(each.usd for each in history.hours.values())
        assert spent == pytest.approx(total, rel=1e-3, abs=1e-3)
    assert len(history.hours) <= 35 * 24 + 1
    since = data.draw(st.sampled_from([NOW, at]))
    assert history.spent(since) <= history.spent(NOW) + 1e-9
    assert max(history.hours) == hour_of(at)


# --- what the components ask for ------------------------------------------------------------------------------------

LAKE = {"bucket": "lake", "bucket_arn": "arn:aws:s3:::lake", "kms_key_arn": KEY, "alerts_topic_arn": TOPIC}


def declared(**more: Any) -> PretendAws:
    return up(lambda: SpendingMonitor("churn-local", SpendingSpec(), usd_per_month=100, prefix="churn", **LAKE, **more))


def test_a_product_s_monitor_sees_only_the_product() -> None:
    arn = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}"
    statements = declared(pipeline_names=["churn-local"]).statements(aws.iam.RolePolicy, "churn-local-spending")
    for each in statements:
        described = [action for action in each["Action"] if ":Describe" in action]
        if described and not all("pipelines-" in resource for resource in each["Resource"]):
            assert each["Condition"]["StringEquals"] == {f"aws:ResourceTag/{tag}": TAGS[tag] for tag in TAGS}
        if "sagemaker:ListPipelineExecutionSteps" in each["Action"]:
            assert each["Resource"] == [f"{arn}:pipeline/churn-local/execution/*"]
    granted = {action for each in statements for action in each["Action"] if action.startswith("sagemaker:")}
    assert {action.partition(":")[2][:4] for action in granted} == {"List", "Desc"}


def test_a_cluster_s_monitor_has_no_right_to_sagemaker() -> None:
    pools = {"train": GpuPool(instance_types=["g6.xlarge"], max_size=1)}
    made = declared(watched=Watched("nodes", pools))
    granted = {
        action
        for each in made.statements(aws.iam.RolePolicy, "churn-local-spending")
        for action in each["Action"]
        if not action.startswith(("s3:", "kms:", "logs:", "sqs:"))
    }
    assert granted == {"ec2:DescribeInstances", "cloudwatch:GetMetricData"}


def test_every_alarm_says_what_to_do() -> None:
    made = declared()
    alarms = {each["name"] for each in made.inputs(aws.cloudwatch.MetricAlarm).values()}
    assert {f"churn-local-{what}" for what in ("spending", "idle", "spending-failed", "spending-silent")} <= alarms


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        (lambda: SpendingSpec(usual_times=1), "usual_times"),
        (lambda: SpendingSpec(idle_hours=0), "idle_hours"),
        (lambda: SpendingSpec(schedule="cron(0 * * * ? *)"), "no rate from a minute to an hour"),
        (lambda: FreshnessSpec(deliveries=1), "deliveries"),
    ],
)
def test_a_spec_that_cannot_be_is_refused(spec: Any, wanted: str) -> None:
    with pytest.raises(ValidationError, match=wanted):
        spec()


# --- in the rehearsal -----------------------------------------------------------------------------------------------


class Home(Store):
    """A stack with a feature store, an endpoint's and a cluster's spending, and all of their monitors."""

    def told(self, *_: Any, **__: Any) -> Any:
        def build() -> dict[str, Any]:
            lake = DataLake(f"{self.name}-lake", DataLakeSpec(protect=False), kms_key_arn=self.key)
            place: dict[str, Any] = {"bucket": lake.bucket, "bucket_arn": lake.arn, "kms_key_arn": self.key}
            place["alerts_topic_arn"] = self.topic
            store = FeatureStore(
                self.name,
                FeatureStoreSpec(timeout_seconds=120, protect=False),
                schema=schema(),
                deployed_schema=last_output("feature_schema"),
                prefix="churn",
                **place,
            )
            FreshnessMonitor(
                self.name,
                FreshnessSpec(schedule="rate(1 minute)"),
                feature_group_name=store.feature_group_name,
                schema=schema(),
                max_age_hours=24,
                prefix="churn",
                **place,
            )
            often = SpendingSpec(schedule="rate(1 minute)")
            SpendingMonitor(self.name, often, usd_per_month=300, prefix="churn", **place)
            pools = {
                "train": GpuPool(instance_types=["g6.xlarge"], max_size=2),
                "cut": GpuPool(
                    instance_types=["p4d.24xlarge"], max_size=1, sharing={"kind": "mig", "profile": "1g.5gb"}
                ),
            }
            nodes = Watched(CLUSTER, pools)
            SpendingMonitor(CLUSTER, often, usd_per_month=700, watched=nodes, prefix="platform", **place)
            names = ("feature_group_name", "feature_schema")
            return {"bucket": lake.bucket, **{name: getattr(store, name) for name in names}}

        return replace(settings(build, self.name), region=REGION, config=CONFIG)

    def event(self, endpoint: str, monitor: str) -> dict[str, Any]:
        """What a monitor's schedule calls it with."""
        schedule = self.user.scheduler.get_schedule(GroupName=f"{endpoint}-{monitor}", Name="run")
        told: dict[str, Any] = json.loads(schedule["Target"]["Input"])
        return told

    def run(self, endpoint: str, monitor: str, **other: Any) -> dict[str, Any]:
        """Run it as its schedule does, or beside it as if some settings were others: its report."""
        event = self.event(endpoint, monitor)
        if other:
            event |= {"reports": f"{event['reports']}{new('beside')}/", **other}
        report, error = self.user.invoke(f"{endpoint}-{monitor}", event)
        assert error is None, report
        folder = event["reports"].partition("://")[2].partition("/")[2]
        assert json.loads(self.read(f"{folder}latest.json")) == report
        page = self.read(f"{folder}latest.html").decode()
        assert page.startswith("<!doctype html>") and html.escape(report["summary"]) in page
        return dict(report)

    def by_hand(self) -> None:
        """From now on monitors run only when a test says so."""
        for endpoint, monitor in ((NAME, "freshness"), (NAME, "spending"), (CLUSTER, "spending")):
            group = {"GroupName": f"{endpoint}-{monitor}", "Name": "run"}
            told = self.user.scheduler.get_schedule(**group)
            kept = {key: told[key] for key in ("ScheduleExpression", "FlexibleTimeWindow", "Target")}
            self.user.scheduler.update_schedule(**group, **kept, State="DISABLED")

    def rings(self, alarm: str) -> None:
        until(lambda: self.user.state(alarm) == "ALARM", f"{alarm} rings", 60)

    def is_quiet(self, alarm: str) -> None:
        until(lambda: self.user.state(alarm) == "OK", f"{alarm} is quiet", 60)


@pytest.fixture(scope="module")
def home(user: User, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    made = Home(user, tmp_path_factory.mktemp(NAME), NAME)
    made.deploy()
    made.by_hand()
    user.ask("/_slipway/pace", {"second": SECOND})
    yield made
    user.ask("/_slipway/pace", {"second": 1})


def described(report: Mapping[str, Any], group: str) -> list[str]:
    return [each["description"] for each in report["violations"] if each["group"] == group]


def test_old_features_ring_and_fresh_ones_end_it(home: Home) -> None:
    alarm = f"{NAME}-stale"
    home.bring("monday.csv", [person(number) for number in range(20)])
    report = home.run(NAME, "freshness")
    assert (report["status"], report["violations"]) == ("stable", [])
    assert 3500 < report["age_seconds"] < 3800
    home.is_quiet(alarm)

    # The producer still sends files, of a source that stands still.
    for name in ("tuesday.csv", "wednesday.csv", "thursday.csv"):
        home.bring(name, [person(number, seen_at=ago(days=9)) for number in range(20)])
    [said] = described(home.run(NAME, "freshness"), "stale")
    home.rings(alarm)
    assert said == "the last 3 files brought no row younger than 9 days, and 24 h may be"

    home.bring("friday.csv", [person(3, seen_at=ago(minutes=5))])
    assert "are 5 min old" in home.run(NAME, "freshness")["summary"]
    home.is_quiet(alarm)


def test_where_nothing_comes_any_more_features_grow_stale(home: Home) -> None:
    home.bring("last.csv", [person(1)])
    assert described(home.run(NAME, "freshness"), "stale") == []
    time.sleep(1.1)
    [said] = described(home.run(NAME, "freshness", max_age_seconds=1), "stale")
    assert said.startswith("no row was ever accepted") or "no file has come for" in said


def test_rows_that_the_online_store_lost_are_missed(home: Home) -> None:
    store = home.user.client("sagemaker-featurestore-runtime")
    folder = {"receipts": home.event(NAME, "freshness")["receipts"] + "lost"}
    for number in (51, 52, 53):
        home.bring(f"lost-{number}.csv", [person(number, seen_at=ago(minutes=1))])
    assert described(home.run(NAME, "freshness", **folder), "stale") == []
    for number in (51, 52, 53):
        store.delete_record(FeatureGroupName=NAME, RecordIdentifierValueAsString=str(number), EventTime=ago(seconds=0))
    [said] = described(home.run(NAME, "freshness", **folder), "stale")
    assert said == "the online store lacks the newest rows that were accepted, of record 51, 52, 53"


@pytest.fixture(scope="module")
def jobs(user: User) -> Jobs:
    return Jobs(user)


@pytest.fixture(scope="module")
def served(user: User) -> str:
    """An endpoint of the product's with one instance."""
    name = new("served")
    tags = [{"Key": key, "Value": value} for key, value in TAGS.items()]
    user.s3.create_bucket(Bucket=name)
    user.s3.put_object(Bucket=name, Key="model.tar.gz", Body=archive(ECHO.format(name="v1")))
    container = {"Image": "sklearn:1", "ModelDataUrl": f"s3://{name}/model.tar.gz"}
    user.sagemaker.create_model(ModelName=name, ExecutionRoleArn=user.role, PrimaryContainer=container)
    variant = {"VariantName": "live", "ModelName": name, "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    user.sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant], Tags=tags)
    user.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name, Tags=tags)
    until(lambda: user.sagemaker.describe_endpoint(EndpointName=name)["EndpointStatus"] == "InService", "it serves")
    return name


def train(jobs: Jobs, kind: str, seconds: int, **tags: str) -> str:
    carried = [{"Key": key, "Value": value} for key, value in {**TAGS, **tags}.items()]
    machine = {"InstanceType": kind, "InstanceCount": 1, "VolumeSizeInGB": 30}
    return jobs.train(LONG, Tags=carried, ResourceConfig=machine, StoppingCondition={"MaxRuntimeInSeconds": seconds})


def test_an_endpoint_that_grows_beyond_the_budget_rings_within_one_run(home: Home, served: str) -> None:
    def instances(count: int) -> None:
        wanted = [{"VariantName": "live", "DesiredInstanceCount": count}]
        home.user.sagemaker.update_endpoint_weights_and_capacities(
            EndpointName=served, DesiredWeightsAndCapacities=wanted
        )

    alarm = f"{NAME}-spending"
    report = home.run(NAME, "spending")
    assert (report["status"], report["usd_per_hour"], report["usd_left_alone"]) == ("stable", 0.115, 83.95)
    home.is_quiet(alarm)

    instances(5)
    report = home.run(NAME, "spending")
    [said] = described(report, "runaway")
    assert said.startswith("left alone for a month, what runs now costs 420 USD, and the budget is 300 USD")
    assert report["spenders"][0] | {"since": None} == {
        "kind": "endpoint",
        "name": served,
        "instance_type": "ml.m5.large",
        "count": 5,
        "usd_per_hour": 0.575,
        "usd_left_alone": 419.75,
        "since": None,
        "hours_left": None,
        "priced": True,
        "idle": "",
    }
    home.rings(alarm)
    instances(1)
    assert home.run(NAME, "spending")["status"] == "stable"
    home.is_quiet(alarm)


def test_jobs_ring_by_what_they_may_still_cost_and_another_product_s_do_not(
    home: Home, served: str, jobs: Jobs
) -> None:
    short = train(jobs, "ml.p4d.24xlarge", 900)
    report = home.run(NAME, "spending")
    assert [each["name"] for each in report["spenders"]] == [short, served]
    assert report["usd_per_hour"] == pytest.approx(25.3663, abs=1e-3)
    assert report["status"] == "stable", "it may run for 15 minutes"
    others = train(jobs, "ml.p4d.24xlarge", 86400, product="another")
    assert len(home.run(NAME, "spending")["spenders"]) == 2
    for job in (short, others):
        home.user.sagemaker.stop_training_job(TrainingJobName=job)

    dear = train(jobs, "ml.p4d.24xlarge", 86400)
    report = home.run(NAME, "spending")
    home.rings(f"{NAME}-spending")
    [said] = described(report, "runaway")
    assert f"training-job {dear} (1 ml.p4d.24xlarge: 25.25 USD/h)" in said
    assert 23.9 < report["spenders"][0]["hours_left"] <= 24
    home.user.sagemaker.stop_training_job(TrainingJobName=dear)
    until(lambda: home.run(NAME, "spending")["status"] == "stable", "it costs nothing any more")
    home.is_quiet(f"{NAME}-spending")


def test_a_pipeline_s_jobs_are_the_product_s_without_its_tags(home: Home, jobs: Jobs, user: User) -> None:
    pipelines = Pipelines.__new__(Pipelines)
    pipelines.__dict__ |= {"user": user, "sagemaker": user.sagemaker, "jobs": jobs, "role": jobs.role}
    name = pipelines.create([pipelines.training("train", LONG)])
    execution = pipelines.start(name)
    until(lambda: pipelines.steps(execution).get("train", {}).get("Metadata"), "it trains", 60)
    arn = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:pipeline/{name}"
    product = home.event(NAME, "spending")["product"]
    kinds = [each["kind"] for each in home.run(NAME, "spending")["spenders"]]
    report = home.run(NAME, "spending", product={**product, "pipelines": [arn]})
    assert [each["kind"] for each in report["spenders"]] == ["training-job", *kinds]
    user.sagemaker.stop_pipeline_execution(PipelineExecutionArn=execution, ClientRequestToken=new("stop" * 8))


def test_an_endpoint_that_nobody_asks_is_idle_until_somebody_does(home: Home, served: str) -> None:
    alarm = f"{NAME}-idle"
    assert described(home.run(NAME, "spending"), "idle") == [], "it is not a day old"
    assert home.user.state(alarm) != "ALARM"
    [said] = described(home.run(NAME, "spending", idle_hours=1e-4), "idle")
    assert said.startswith(f"endpoint {served} (1 ml.m5.large: 0.12 USD/h)")
    home.rings(alarm)
    home.user.client("sagemaker-runtime").invoke_endpoint(EndpointName=served, Body=b"1")
    home.is_quiet(alarm)
    assert described(home.run(NAME, "spending", idle_hours=1e-4), "idle") == []


def node(user: User, pool: str, kind: str) -> str:
    tags = [
        {"Key": "Name", "Value": f"{CLUSTER}-{pool}"},
        {"Key": f"kubernetes.io/cluster/{CLUSTER}", "Value": "owned"},
    ]
    started = user.ec2.run_instances(
        ImageId="ami-12c6146b",  # one that moto knows; to list them all takes seconds
        InstanceType=kind,
        MinCount=1,
        MaxCount=1,
        TagSpecifications=[{"ResourceType": "instance", "Tags": tags}],
    )
    return str(started["Instances"][0]["InstanceId"])


def tell(user: User, pool: str, figure: str, value: float) -> None:
    named = [{"Name": "ClusterName", "Value": CLUSTER}, {"Name": "Pool", "Value": pool}]
    datum = {"MetricName": figure, "Value": value, "Dimensions": named, "Timestamp": time.time()}
    user.cloudwatch.put_metric_data(Namespace="Slipway/Gpu", MetricData=[datum])


def test_nodes_beyond_the_budget_ring(home: Home) -> None:
    alarm, first = f"{CLUSTER}-spending", node(home.user, "train", "g6.xlarge")
    report = home.run(CLUSTER, "spending")
    assert [(each["name"], each["count"]) for each in report["spenders"]] == [("train", 1)]
    assert report["status"] == "stable"
    home.is_quiet(alarm)
    second = node(home.user, "train", "g6.xlarge")
    assert len(described(home.run(CLUSTER, "spending"), "runaway")) == 1
    home.rings(alarm)
    home.user.ec2.terminate_instances(InstanceIds=[first, second])
    assert home.run(CLUSTER, "spending")["spenders"] == []
    home.is_quiet(alarm)


def test_gpus_that_nobody_uses_ring_where_their_own_alarm_cannot_see_it(home: Home) -> None:
    user, alarm = home.user, f"{CLUSTER}-idle"

    def idle() -> dict[str, str]:
        report = home.run(CLUSTER, "spending", idle_hours=1e-4)
        return {each["feature_name"]: each["description"] for each in report["violations"] if each["group"] == "idle"}

    machines = [node(user, "train", "g6.xlarge"), node(user, "cut", "p4d.24xlarge"), node(user, "system", "t3.medium")]
    time.sleep(1)
    assert described(home.run(CLUSTER, "spending"), "idle") == [], "they have just begun"
    assert user.state(alarm) != "ALARM"

    assert all("nobody sees whether they are used" in said for said in idle().values())
    # With partitions nothing is told but memory; a whole GPU's own alarm sees that it does nothing.
    tell(user, "cut", "DCGM_FI_DEV_FB_USED", 30)
    tell(user, "train", "DCGM_FI_DEV_GPU_UTIL", 0)
    told = idle()
    assert "no program had memory of its GPUs" in told["cut"]
    assert "no GPU was busy" in told["train"]
    home.rings(alarm)
    tell(user, "cut", "DCGM_FI_DEV_FB_USED", 30_000)
    home.is_quiet(alarm)
    assert [*idle()] == ["train"], "that one is told by its pool's alarm, and rings there"
    time.sleep(60 * SECOND)
    assert user.state(alarm) == "OK"
    user.ec2.terminate_instances(InstanceIds=machines)
