"""A product's feature store as its teams meet it: rows come in, schemas change, and no record is lost."""

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from pretend_aws import CONFIG
from pretend_cloud import settings

from components import DataLake, DataLakeSpec, FeatureStore, FeatureStoreSpec
from components.feature_store import last_output
from functions.features import Feature, FeatureSchema, Ttl
from infra import features
from infra.rehearsal.aws import AwsProvider
from infra.rehearsal.engine import Engine
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


def test_a_keeper_that_finds_the_group_otherwise_refuses_too(store: Store) -> None:
    """The plan compares with what was deployed last; somebody may have made the group another way since."""
    event = {
        "feature_group_name": store.name,
        "schema": json.loads(schema(AGE, INCOME).to_json()),
        "throughput": {"ThroughputMode": "OnDemand"},
    }
    answer, error = store.user.invoke(f"{store.name}-keeper", event)
    assert error and "plan cannot be taken away" in answer["errorMessage"]


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
