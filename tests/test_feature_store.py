"""A product's feature store as its teams meet it: rows come in, schemas change, and no record is lost."""

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pulumi_aws as aws
import pyarrow.parquet as pq
import pytest
from judging import NOT_WITHOUT_A_STACK, planned
from pretend_aws import CONFIG, KEY, TOPIC, PretendAws, up
from pretend_cloud import settings
from pydantic import ValidationError

from components import DataLake, DataLakeSpec, FeatureStore, FeatureStoreSpec
from components.feature_store import last_output
from functions.features import Feature, FeatureSchema, Ttl
from infra import features
from infra.check import check
from infra.rehearsal.aws import AwsProvider
from infra.rehearsal.engine import Engine, Plan
from infra.rehearsal.graph import DeploymentError
from policies.cost import TAGS
from tests.emulated import ACCOUNT, REGION, User, until

AGE = Feature(name="age", kind="Integral", description="Age in years", minimum=0, maximum=120)
INCOME = Feature(name="income", kind="Fractional", description="A year's income in USD")
PLAN = Feature(name="plan", kind="String", description="Tariff", categories=("basic", "plus"))
CITY = Feature(name="city", kind="String", description="Where", required=False)


def schema(*features: Feature, version: int = 1, days: int | None = 3650) -> FeatureSchema:
    return FeatureSchema(
        name="churn",
        record_id="customer",
        event_time="seen_at",
        features=features or (AGE, INCOME, PLAN),
        ttl=Ttl(value=days, unit="Days") if days else None,
        version=version,
    )


def ago(**span: float) -> str:
    return (datetime.now(UTC) - timedelta(**span)).strftime("%Y-%m-%dT%H:%M:%SZ")


def person(number: int, **values: str) -> dict[str, str]:
    return {"customer": str(number), "seen_at": ago(hours=1), "age": "30", "income": "1.5", "plan": "basic", **values}


def as_csv(rows: Sequence[Mapping[str, str]]) -> bytes:
    written = io.StringIO()
    writer = csv.DictWriter(written, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return written.getvalue().encode()


class Store:
    """A stack with one feature store, and what its people do with it."""

    def __init__(self, user: User, folder: Path, name: str) -> None:
        self.user, self.name = user, name
        self.topic, self.key = user.topic()[0], user.kms.create_key()["KeyMetadata"]["Arn"]
        self.engine = Engine(folder, {"aws": self._cloud})
        self.outputs: Mapping[str, Any] = {}

    def _cloud(self, _: Any) -> AwsProvider:
        return AwsProvider(REGION, ACCOUNT, dict.fromkeys(TAGS, "x"), self.user.emulator.endpoint)

    def told(self, current: FeatureSchema, previous: FeatureSchema | None = None, /, **spec: Any) -> Any:
        def build() -> dict[str, Any]:
            lake = DataLake(f"{self.name}-lake", DataLakeSpec(protect=False), kms_key_arn=self.key)
            store = FeatureStore(
                self.name,
                FeatureStoreSpec.model_validate({"timeout_seconds": 120, **spec}),
                schema=current,
                previous_schema=previous,
                deployed_schema=last_output("feature_schema"),
                bucket=lake.bucket,
                bucket_arn=lake.arn,
                prefix="churn",
                kms_key_arn=self.key,
                alerts_topic_arn=self.topic,
            )
            names = ("feature_group_name", "feature_schema", "incoming_uri", "quarantine_uri", "offline_uri")
            return {
                "bucket": lake.bucket,
                "function": store.ingest_function_name,
                **{name: getattr(store, name) for name in names},
            }

        return replace(settings(build, self.name), region=REGION, config=CONFIG)

    def deploy(self, *schemas: FeatureSchema, **spec: Any) -> list[str]:
        """Deploy these versions; the steps that change something, as `operation type name`."""
        done = self.engine.up(self.told(*schemas, **spec))
        self.outputs = done.outputs
        return [f"{step.op} {step.type.rpartition(':')[2]} {step.name}" for step in done.steps if step.op != "same"]

    def plan(self, *schemas: FeatureSchema, **spec: Any) -> None:
        self.engine.plan(self.told(*schemas, **spec))

    def drop(self, name: str, body: bytes) -> None:
        """Put a file where producers put them."""
        self.user.s3.put_object(Bucket=self.outputs["bucket"], Key=f"churn/incoming/{name}", Body=body)

    def keys(self, prefix: str) -> list[str]:
        found = self.user.s3.list_objects_v2(Bucket=self.outputs["bucket"], Prefix=prefix).get("Contents", [])
        return [each["Key"] for each in found]

    def lines(self, prefix: str) -> list[dict[str, Any]]:
        return [json.loads(line) for key in self.keys(prefix) for line in self.read(key).decode().splitlines()]

    def read(self, key: str) -> bytes:
        body: bytes = self.user.s3.get_object(Bucket=self.outputs["bucket"], Key=key)["Body"].read()
        return body

    def ingested(self, name: str, times: int = 1) -> dict[str, Any]:
        """The report of a file, once it has been taken in."""
        wanted = f"churn/ingested/{name}/"
        keys = until(lambda: len(found := self.keys(wanted)) >= times and found, f"the receipt of {name}")
        newest = max(
            keys, key=lambda key: self.user.s3.head_object(Bucket=self.outputs["bucket"], Key=key)["LastModified"]
        )
        report: dict[str, Any] = json.loads(self.read(newest))
        return report

    def bring(self, name: str, rows: Sequence[Mapping[str, str]]) -> dict[str, Any]:
        """Have rows ingested; what became of them for the group that is read."""
        self.drop(name, as_csv(rows))
        report: dict[str, Any] = self.ingested(name)["groups"]
        return report

    def record(self, number: int, group: str | None = None) -> dict[str, str]:
        found = self.user.client("sagemaker-featurestore-runtime").get_record(
            FeatureGroupName=group or self.name, RecordIdentifierValueAsString=str(number)
        )
        return {each["FeatureName"]: each["ValueAsString"] for each in found.get("Record", [])}

    def offline(self, group: str | None = None) -> list[dict[str, Any]]:
        """Every row of the offline store."""
        self.user.ask("/_slipway/flush", {})
        described = self.user.sagemaker.describe_feature_group(FeatureGroupName=group or self.name)
        uri = described["OfflineStoreConfig"]["S3StorageConfig"]["ResolvedOutputS3Uri"]
        keys = self.keys(uri.removeprefix(f"s3://{self.outputs['bucket']}/"))
        return [row for key in keys for row in pq.read_table(io.BytesIO(self.read(key))).to_pylist()]

    def columns(self, group: str | None = None) -> dict[str, str]:
        described = self.user.sagemaker.describe_feature_group(FeatureGroupName=group or self.name)
        return {each["FeatureName"]: each["FeatureType"] for each in described["FeatureDefinitions"]}


Make = Callable[[str], Store]


@pytest.fixture(scope="module")
def make(user: User, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Make]:
    yield lambda name: Store(user, tmp_path_factory.mktemp(name), name)


@pytest.fixture(scope="module")
def store(make: Make) -> Store:
    """One that is deployed, for tests that only bring rows."""
    made = make("people-local")
    made.deploy(schema())
    return made


# --- schemas that change ----------------------------------------------------------------------------------------------


def test_adding_features_keeps_every_record_online_and_offline(make: Make) -> None:
    store = make("adding-local")
    store.deploy(schema())
    store.bring("one.csv", [person(number) for number in range(50)])
    before = store.offline()
    created = store.user.sagemaker.describe_feature_group(FeatureGroupName=store.name)["CreationTime"]

    more = [Feature(name=f"f{n}", kind="Fractional", description="more", required=False) for n in range(230)]
    steps = store.deploy(schema(AGE, CITY, INCOME, PLAN, *more))

    described = store.user.sagemaker.describe_feature_group(FeatureGroupName=store.name)
    assert described["CreationTime"] == created
    assert not [step for step in steps if "FeatureGroup" in step]
    assert set(store.columns()) == {"customer", "seen_at", "age", "income", "plan", "city", *(f.name for f in more)}
    updates = [call for call in store.user.calls("UpdateFeatureGroup") if f"{store.name}-keeper" in call["principal"]]
    assert len(updates) == 3  # 100, 100 and 31 features
    assert {store.record(number)["age"] for number in range(50)} == {"30"}
    assert sorted(row["customer"] for row in store.offline()) == sorted(row["customer"] for row in before)

    store.bring("two.csv", [person(7, city="Boston", seen_at=ago(minutes=1))])
    assert (store.record(7)["city"], store.record(8).get("city")) == ("Boston", None)
    assert {row.get("city") for row in store.offline() if row["customer"] == "7"} == {None, "Boston"}
    again = store.deploy(schema(AGE, CITY, INCOME, PLAN, *more))
    assert not [step for step in again if "FeatureGroup" in step or "Invocation" in step]


def test_time_to_live_and_throughput_are_changed_one_call_at_a_time(make: Make) -> None:
    store = make("tuned-local")
    store.deploy(schema(days=None))
    store.deploy(schema(AGE, INCOME, PLAN, CITY, days=7), throughput={"read_units": 10, "write_units": 5})
    described = store.user.sagemaker.describe_feature_group(FeatureGroupName=store.name)
    assert described["OnlineStoreConfig"]["TtlDuration"] == {"Unit": "Days", "Value": 7}
    assert described["ThroughputConfig"] == {
        "ThroughputMode": "Provisioned",
        "ProvisionedReadCapacityUnits": 10,
        "ProvisionedWriteCapacityUnits": 5,
    }
    assert "city" in store.columns()
    with pytest.raises(DeploymentError, match="can be changed, but not taken away: set a long one instead"):
        store.plan(schema(AGE, INCOME, PLAN, CITY, days=None))


@pytest.mark.parametrize(
    "changed, reason",
    [
        (schema(AGE, INCOME), "plan cannot be taken away or renamed"),
        (
            schema(AGE.model_copy(update={"kind": "Fractional"}), INCOME, PLAN),
            "age is Integral, and cannot become Frac",
        ),
        (schema().model_copy(update={"record_id": "person"}), "the record identifier is customer, and cannot become"),
        (schema().model_copy(update={"event_time": "at"}), "the event time is seen_at, and cannot become at"),
        (schema().model_copy(update={"event_time_kind": "Fractional"}), "seen_at is String, and cannot become"),
        (schema(version=2), "people-local is no longer declared, and has not been retired"),
    ],
)
def test_a_breaking_change_is_refused_in_the_plan_with_the_migration(
    store: Store, changed: FeatureSchema, reason: str
) -> None:
    store.bring("kept.csv", [person(1)])
    calls = len(store.user.calls("UpdateFeatureGroup"))
    for attempt in (store.plan, store.deploy):
        with pytest.raises(DeploymentError) as refused:
            attempt(changed, version=changed.version)
        told = str(refused.value)
        assert reason in told
        for words in (
            "nothing was done",
            "people-local-v2, which loses no record",
            "functions/churn/features.py: PREVIOUS is the schema as it is deployed; the new SCHEMA has version=2",
            "stacks/Pulumi.people-local.yaml: set features.version to 1",
            "$ pulumi up -s people-local",
            "$ slipway features backfill people-local --from 1 --to 2",
        ):
            assert words in told
    assert len(store.user.calls("UpdateFeatureGroup")) == calls
    assert store.record(1)["plan"] == "basic"
    assert set(store.columns()) == {"customer", "seen_at", "age", "income", "plan"}


def test_what_somebody_made_of_the_group_by_hand_is_found_before_anything_is_changed(make: Make) -> None:
    """The plan compares with what was deployed last; the deployment compares with what is there."""
    store = make("touched-local")
    store.deploy(schema())
    told = store.outputs["feature_schema"]
    store.user.sagemaker.update_feature_group(
        FeatureGroupName=store.name, FeatureAdditions=[{"FeatureName": "city", "FeatureType": "Fractional"}]
    )
    until(lambda: "city" in store.columns(), "the update by hand")
    more = Feature(name="street", kind="String", description="Where", required=False)
    with pytest.raises(DeploymentError, match="city is Fractional, and cannot become String"):
        store.deploy(schema(AGE, INCOME, PLAN, CITY, more))
    assert "street" not in store.columns()
    assert store.outputs["feature_schema"] == told
    by_hand = CITY.model_copy(update={"kind": "Fractional"})
    store.deploy(schema(AGE, INCOME, PLAN, by_hand, more))
    assert "street" in store.columns()
    with pytest.raises(DeploymentError, match=r"touched-local.*protect"):
        store.engine.down(store.told(schema(AGE, INCOME, PLAN, by_hand, more)))
    assert "street" in store.columns()


def test_the_printed_migration_can_be_followed_to_its_end(make: Make) -> None:
    """A renamed feature, one of another type and one more category: what no update of a group can do."""
    store = make("moving-local")
    old = schema()
    store.deploy(old)
    store.bring("before.csv", [person(number, seen_at=ago(days=2)) for number in range(30)])
    store.bring("later.csv", [person(3, seen_at=ago(days=1), age="31")])
    store.user.client("sagemaker-featurestore-runtime").delete_record(
        FeatureGroupName=store.name, RecordIdentifierValueAsString="5", EventTime=ago(hours=1)
    )
    new = schema(
        AGE.model_copy(update={"kind": "Fractional"}), INCOME, PLAN.model_copy(update={"name": "tariff"}), version=2
    )
    with pytest.raises(DeploymentError, match="moving-local-v2"):
        store.plan(new.model_copy(update={"version": 1}))
    store.offline()

    # 1. Dual write.
    steps = store.deploy(new, old, version=1)
    assert [step for step in steps if "FeatureGroup " in step] == ["create FeatureGroup moving-local-v2"]
    assert store.outputs["feature_group_name"] == "moving-local"
    both = store.bring(
        "both.csv", [person(100, tariff="plus"), person(101, tariff="gold"), person(102, age="1.5", tariff="plus")]
    )
    assert {group: (each["accepted"], each["quarantined"]) for group, each in both.items()} == {
        "moving-local": (2, 1),
        "moving-local-v2": (2, 1),
    }
    only_old = store.bring("old.csv", [person(103)])
    assert only_old["moving-local"]["accepted"] == 1
    assert only_old["moving-local-v2"]["refused"] == "no column tariff"

    # 2. Backfill.
    store.offline("moving-local-v2")
    assert store.record(7, "moving-local-v2") == {}
    done = features.backfill(store.user.client, store.outputs, 1, 2, renamed={"plan": "tariff"})
    assert (done.read, done.written, done.deleted, done.left_out) == (35, 31, 1, 0)
    assert done.present + done.recent == 3
    assert store.record(7, "moving-local-v2") | {"seen_at": ""} == {
        "customer": "7",
        "seen_at": "",
        "age": "30",
        "income": "1.5",
        "tariff": "basic",
    }
    assert store.record(3, "moving-local-v2")["age"] == "31"
    assert store.record(5, "moving-local-v2") == {}
    assert store.record(100, "moving-local-v2")["tariff"] == "plus"
    store.offline("moving-local-v2")
    again = features.backfill(store.user.client, store.outputs, 1, 2, renamed={"plan": "tariff"})
    assert (again.written, again.deleted) == (0, 0)

    # 3. Cut over.
    store.deploy(new, old, version=2)
    assert store.outputs["feature_group_name"] == "moving-local-v2"

    # 4. Retire.
    offline = store.offline()
    with pytest.raises(DeploymentError, match="moving-local is no longer declared, and has not been retired"):
        store.plan(new, version=2)
    store.deploy(new, old, version=2, retire_previous=True)
    steps = store.deploy(new, version=2)
    assert "delete FeatureGroup moving-local" in steps
    with pytest.raises(store.user.sagemaker.exceptions.ResourceNotFound):
        store.user.sagemaker.describe_feature_group(FeatureGroupName="moving-local")
    assert [key for key in store.keys("churn/features/") if "/moving-local-1" in key and key.endswith(".parquet")]
    assert len(offline) == 35
    store.bring("after.csv", [{name: value for name, value in person(200, tariff="plus").items() if name != "plan"}])
    assert store.record(200, "moving-local-v2")["tariff"] == "plus"


def test_a_backfill_tells_of_a_version_that_is_not_there(store: Store) -> None:
    with pytest.raises(features.NoSuchVersion, match=r"no feature group of version 2, only of \[1\]"):
        features.backfill(store.user.client, store.outputs, 1, 2)


# --- rows that come in ------------------------------------------------------------------------------------------------


def test_good_rows_go_in_and_bad_ones_to_quarantine_with_reasons(store: Store) -> None:
    rows = [
        person(1000),
        person(1001, age="old"),
        person(1002, age="200", plan="gold"),
        person(1003, income=""),
        person(1004, seen_at="yesterday"),
        person(1005, seen_at=ago(days=-1)),
        person(1006, customer=""),
        person(1007, plan="plus"),
    ]
    report = store.bring("mixed.csv", rows)[store.name]
    assert (report["accepted"], report["quarantined"], report["fresh"]) == (2, 6, 2)
    assert (store.record(1000)["plan"], store.record(1007)["plan"]) == ("basic", "plus")
    lines = store.lines(f"churn/quarantine/{store.name}/mixed.csv/")
    assert [(line["row"], [problem["fault"] for problem in line["problems"]]) for line in lines] == [
        (2, ["type"]),
        (3, ["range", "category"]),
        (4, ["missing"]),
        (5, ["type"]),
        (6, ["range"]),
        (7, ["missing"]),
    ]
    assert lines[0]["data"] == rows[1]
    assert lines[1]["problems"][1]["reason"] == "plan is 'gold', which is none of its categories"

    def told(metric: str) -> float:
        found = store.user.cloudwatch.get_metric_statistics(
            Namespace="Slipway/Features",
            MetricName=metric,
            Dimensions=[{"Name": "feature_group", "Value": store.name}],
            StartTime=datetime.now(UTC) - timedelta(hours=1),
            EndTime=datetime.now(UTC) + timedelta(hours=1),
            Period=7200,
            Statistics=["Sum", "Minimum"],
        )["Datapoints"]
        return float(sum(point["Minimum" if "age" in metric else "Sum"] for point in found))

    until(lambda: told("rows_quarantined") >= 6, "the metric of rows in quarantine")
    assert told("rows_accepted") >= 2
    assert 3000 < told("newest_age_seconds") < 90_000
    until(lambda: store.user.state(f"{store.name}-quarantined") == "ALARM", "the alarm on quarantined rows")


@pytest.mark.parametrize(
    "name, body, reason",
    [
        ("strange.csv", as_csv([person(1) | {"colour": "red"}]), "colour: no such feature"),
        ("lacking.csv", b"customer,seen_at,age\n1,2026-01-01T00:00:00Z,3\n", "no column income, plan"),
        ("twice.csv", b"customer,customer\n1,2\n", "the header has customer twice"),
        ("empty.csv", b"", "the file is empty"),
        ("rows.xlsx", b"PK", "rows.xlsx is none of .csv, .jsonl, .ndjson"),
        ("array.jsonl", b"[1, 2]\n", "the first line is no JSON object: a .jsonl file has one object a line"),
    ],
    ids=["strange", "lacking", "twice", "empty", "rows", "array"],
)
def test_a_file_of_another_shape_goes_to_quarantine_as_it_is(store: Store, name: str, body: bytes, reason: str) -> None:
    store.drop(name, body)
    report = store.ingested(name)["groups"][store.name]
    assert (report["refused"], report["accepted"]) == (reason, 0)
    [folder] = {key.rpartition("/")[0] for key in store.keys(f"churn/quarantine/{store.name}/{name}/")}
    [told] = [json.loads(store.read(f"{folder}/refused.jsonl"))]
    assert told["problems"] == [reason]
    assert store.read(f"{folder}/{name}") == body


def test_json_lines_keep_numbers_as_they_are_written(store: Store) -> None:
    lines = [
        '{"customer": "2000", "seen_at": "AT", "age": 41, "income": 1.10, "plan": "plus"}',
        '{"customer": "2001", "seen_at": "AT", "age": 41, "income": 1e3, "plan": ["plus"]}',
        '{"customer": "2002", "seen_at": "AT", "age": null, "income": 1, "plan": "plus"}',
        '{"customer": "2003", "seen_at": "AT", "age": 1, "income": 1, "plan": "plus", "colour": "red"}',
        "{",
    ]
    store.drop("rows.jsonl", "\n".join(lines).replace("AT", ago(hours=2)).encode())
    report = store.ingested("rows.jsonl")["groups"][store.name]
    assert (report["accepted"], report["quarantined"]) == (1, 4)
    assert store.record(2000)["income"] == "1.10"
    reasons = [line["problems"][0]["reason"] for line in store.lines(f"churn/quarantine/{store.name}/rows.jsonl/")]
    assert reasons[:3] == [
        'plan is ["plus"], which is neither text nor number',
        "age is missing",
        "colour is no feature of churn",
    ]
    assert reasons[3].startswith("the row cannot be read: it is no JSON")


def test_the_same_file_twice_changes_nothing_and_an_older_event_neither(store: Store) -> None:
    body = as_csv([person(3000, seen_at=ago(hours=3), age="33"), person(3000, seen_at=ago(hours=5), age="32")])
    store.drop("again.csv", body)
    store.ingested("again.csv")
    assert store.record(3000)["age"] == "33"
    [receipt] = store.keys("churn/ingested/again.csv/")
    version = receipt.rpartition("/")[2].removesuffix(".json")
    before = len(store.offline())
    event = {
        "detail": {
            "bucket": {"name": store.outputs["bucket"]},
            "object": {"key": "churn/incoming/again.csv", "version-id": version, "etag": "e", "size": len(body)},
        }
    }
    answer, error = store.user.invoke(store.outputs["function"], event)
    assert error is None
    assert answer["again"] is True
    assert len(store.offline()) == before
    store.drop("again.csv", body)
    store.ingested("again.csv", times=2)
    assert store.record(3000)["age"] == "33"


def test_of_two_rows_with_one_event_time_the_later_one_stays(store: Store) -> None:
    at = ago(hours=1)
    store.bring("order.csv", [person(n % 7 + 4000, seen_at=at, age=str(n)) for n in range(70)])
    assert [store.record(number)["age"] for number in range(4000, 4007)] == [str(n) for n in range(63, 70)]


def test_a_file_that_takes_longer_than_a_run_is_carried_on_by_the_next(make: Make) -> None:
    store = make("long-local")
    # A run of 60 s hands over 30 s before its end: with 31 s left there is time for a part only.
    store.deploy(schema(), timeout_seconds=60)
    rows = [person(number, plan="basic" if number % 10 else "gold") for number in range(5000)]
    store.user.lambda_.update_function_configuration(FunctionName=store.outputs["function"], Timeout=30)
    store.drop("long.csv", as_csv(rows))
    keys = until(lambda: store.keys("churn/ingested/long.csv/"), "the receipt", 120)
    report = json.loads(store.read(keys[0]))
    assert (report["rows"], report["groups"][store.name]["accepted"]) == (5000, 4500)
    assert report["groups"][store.name]["quarantined"] == 500
    starts = [line for line in store.user.logged(store.outputs["function"]) if '"finished": false' in line]
    assert len(starts) == 2  # 2000 rows at a time, and the rest in a third run
    quarantined = [line["row"] for line in store.lines(f"churn/quarantine/{store.name}/")]
    assert sorted(quarantined) == [number + 1 for number in range(0, 5000, 10)]
    assert store.record(4999)["plan"] == "basic"


# --- what the component asks for --------------------------------------------------------------------------------------


def declared(current: FeatureSchema | None = None, previous: FeatureSchema | None = None, **wiring: Any) -> PretendAws:
    spec = wiring.pop("spec", {})
    return up(
        lambda: FeatureStore(
            wiring.pop("name", "churn-local"),
            FeatureStoreSpec.model_validate(spec),
            schema=current or schema(),
            previous_schema=previous,
            deployed_schema=None,
            bucket="lake",
            bucket_arn="arn:aws:s3:::lake",
            prefix="churn",
            kms_key_arn=KEY,
            alerts_topic_arn=TOPIC,
            **wiring,
        )
    )


def violations(made: PretendAws) -> list[str]:
    """What the packs say about a plan of these resources, default tags included."""
    tags = dict.fromkeys(TAGS, "x")
    resources = planned(made, tags=tags)
    config = {**CONFIG, "slipway:usd_per_month": "150"}
    told = replace(settings(lambda: None, "churn-local"), region=REGION, usd_per_month=150.0, config=config)
    report = check([(told, Plan("churn-local", resources, (), {}))])
    return [f"{each.resource}: {each.sentence}" for each in report.violations if each.rule not in NOT_WITHOUT_A_STACK]


def test_keeps_to_every_pack() -> None:
    assert violations(declared(schema(version=2), schema())) == []


def test_is_an_encrypted_iceberg_table_with_a_role_that_writes_nowhere_else() -> None:
    made = declared()
    group = made.only(aws.sagemaker.FeatureGroup)
    assert group["featureGroupName"] == "churn-local"
    assert (group["recordIdentifierFeatureName"], group["eventTimeFeatureName"]) == ("customer", "seen_at")
    assert {each["featureName"]: each["featureType"] for each in group["featureDefinitions"]} == schema().definitions
    assert group["onlineStoreConfig"]["securityConfig"] == {"kmsKeyId": KEY}
    assert group["onlineStoreConfig"]["ttlDuration"] == {"unit": "Days", "value": 3650}
    assert group["offlineStoreConfig"] == {
        "s3StorageConfig": {"s3Uri": "s3://lake/churn/features", "kmsKeyId": KEY},
        "tableFormat": "Iceberg",
        "disableGlueTableCreation": False,
    }
    assert group["throughputConfig"] == {"throughputMode": "OnDemand"}
    statements = made.statements(aws.iam.RolePolicy, "churn-local-features")
    [write] = [each for each in statements if "s3:PutObject" in each["Action"]]
    assert write["Resource"] == ["arn:aws:s3:::lake/churn/features/*"]
    assert not [each for each in statements for where in each["Resource"] if where in ("*", "arn:aws:s3:::lake/*")]


def test_a_group_that_cannot_be_made_fails_the_deployment_with_aws_s_reason(make: Make) -> None:
    store = make("failing-local")

    def build() -> None:
        FeatureStore(
            store.name,
            FeatureStoreSpec(),
            schema=schema(),
            deployed_schema=None,
            bucket="nobodys-bucket",
            bucket_arn="arn:aws:s3:::nobodys-bucket",
            prefix="churn",
            kms_key_arn=store.key,
            alerts_topic_arn=store.topic,
        )

    with pytest.raises(DeploymentError, match="CreateFailed: The S3 bucket nobodys-bucket does not exist"):
        store.engine.up(replace(settings(build, store.name), region=REGION, config=CONFIG))


@pytest.mark.parametrize(
    "spec, sentence",
    [
        ({"throughput": {"read_units": 40_001, "write_units": 1}}, "less than or equal to 40000"),
        ({"throughput": {"read_units": 1}}, "write_units"),
        ({"online_days": 3}, "Extra inputs are not permitted"),
    ],
)
def test_a_spec_that_cannot_be_is_refused(spec: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError) as refused:
        FeatureStoreSpec.model_validate(spec)
    assert sentence in str(refused.value)


@pytest.mark.parametrize(
    "wiring, sentence",
    [
        ({"spec": {"version": 2}}, "features.version is 2, but churn has 1: set it to one of those"),
        ({"name": "churn_local"}, "'churn_local' cannot be a feature group: letters, digits and hyphens"),
        ({"name": "c" * 65}, "64 at most"),
        ({"current": schema(version=3), "previous": schema()}, "must be versions of one schema that follow each other"),
    ],
)
def test_wiring_that_cannot_be_is_refused(wiring: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        declared(**wiring)


def test_provisioned_throughput_is_within_its_quota() -> None:
    group = declared(spec={"throughput": {"read_units": 40_000, "write_units": 7}}).only(aws.sagemaker.FeatureGroup)
    assert group["throughputConfig"] == {
        "throughputMode": "Provisioned",
        "provisionedReadCapacityUnits": 40_000,
        "provisionedWriteCapacityUnits": 7,
    }


def test_every_alarm_says_what_to_do() -> None:
    alarms = declared(schema(version=2), schema()).inputs(aws.cloudwatch.MetricAlarm)
    assert {name for name in alarms if not name.endswith("-lost")} == {
        "churn-local-quarantined",
        "churn-local-refused-file",
        "churn-local-v2-quarantined",
        "churn-local-v2-refused-file",
        "churn-local-features-ingest-broken",
    }
