import io
import json
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from botocore.exceptions import ClientError

from tests.emulated import until
from tests.served_models import BUCKET, ROLE, Serving

DEFINITIONS = [
    {"FeatureName": "id", "FeatureType": "String"},
    {"FeatureName": "at", "FeatureType": "String"},
    {"FeatureName": "age", "FeatureType": "Integral"},
    {"FeatureName": "income", "FeatureType": "Fractional"},
    {"FeatureName": "tags", "FeatureType": "String", "CollectionType": "Set"},
]
NOON, ONE = "2026-01-31T12:00:00Z", "2026-01-31T13:00:00.500Z"


@pytest.fixture(scope="module")
def aws(emulator):
    return Serving(emulator.endpoint)


@pytest.fixture(scope="module")
def store(aws):
    return aws.client("sagemaker-featurestore-runtime")


@pytest.fixture
def create(aws):
    def create(**more):
        name = aws.name("people")
        told = {
            "RecordIdentifierFeatureName": "id",
            "EventTimeFeatureName": "at",
            "FeatureDefinitions": DEFINITIONS,
            "OnlineStoreConfig": {"EnableOnlineStore": True},
            **more,
        }
        aws.sagemaker.create_feature_group(FeatureGroupName=name, **told)
        return name

    return create


def record(**values):
    return [{"FeatureName": name, "ValueAsString": value} for name, value in values.items()]


def read(store, group, identifier, **more):
    found = store.get_record(FeatureGroupName=group, RecordIdentifierValueAsString=identifier, **more)
    return {value["FeatureName"]: value["ValueAsString"] for value in found.get("Record", [])}


def settled(aws, name):
    """What a group is, once no update is in progress."""

    def look():
        group = aws.sagemaker.describe_feature_group(FeatureGroupName=name)
        return group if group["LastUpdateStatus"]["Status"] == "Successful" else None

    return until(look, f"the update of {name}")


def test_a_record_is_read_as_it_was_written(store, create):
    group = create()
    store.put_record(FeatureGroupName=group, Record=record(id="1", at=NOON, age="30", income="1.5e3"))
    assert read(store, group, "1") == {"id": "1", "at": NOON, "age": "30", "income": "1.5e3"}
    assert read(store, group, "1", FeatureNames=["age"]) == {"age": "30"}
    assert read(store, group, "2") == {}


def test_a_group_may_be_named_by_its_arn(aws, store, create):
    group = create()
    arn = aws.sagemaker.describe_feature_group(FeatureGroupName=group)["FeatureGroupArn"]
    store.put_record(FeatureGroupName=arn, Record=record(id="1", at=NOON))
    assert read(store, arn, "1") == read(store, group, "1") == {"id": "1", "at": NOON}


def test_the_latest_event_wins_whenever_it_comes(store, create):
    group = create()
    store.put_record(FeatureGroupName=group, Record=record(id="1", at=ONE, age="31"))
    store.put_record(FeatureGroupName=group, Record=record(id="1", at=NOON, age="30"))
    assert read(store, group, "1")["age"] == "31"
    store.put_record(FeatureGroupName=group, Record=record(id="1", at=ONE, age="32"))
    assert read(store, group, "1")["age"] == "32"


def test_unix_seconds_are_compared_as_numbers(store, create):
    definitions = [{"FeatureName": "id", "FeatureType": "String"}, {"FeatureName": "at", "FeatureType": "Fractional"}]
    group = create(FeatureDefinitions=definitions)
    for at in ("999.5", "1000", "99"):
        store.put_record(FeatureGroupName=group, Record=record(id="1", at=at))
    assert read(store, group, "1")["at"] == "1000"


def test_a_deleted_record_does_not_come_back_with_an_older_one(store, create):
    group = create()
    store.put_record(FeatureGroupName=group, Record=record(id="1", at=NOON))
    store.delete_record(FeatureGroupName=group, RecordIdentifierValueAsString="1", EventTime=ONE)
    assert read(store, group, "1") == {}
    store.put_record(FeatureGroupName=group, Record=record(id="1", at=NOON))
    assert read(store, group, "1") == {}
    store.put_record(FeatureGroupName=group, Record=record(id="1", at="2026-02-01T00:00:00Z"))
    assert read(store, group, "1") != {}


def test_a_hard_deleted_record_leaves_nothing_behind(store, create):
    group = create()
    store.put_record(FeatureGroupName=group, Record=record(id="1", at=NOON))
    store.delete_record(
        FeatureGroupName=group, RecordIdentifierValueAsString="1", EventTime=ONE, DeletionMode="HardDelete"
    )
    assert read(store, group, "1") == {}
    store.put_record(FeatureGroupName=group, Record=record(id="1", at=NOON))
    assert read(store, group, "1") != {}


def test_a_record_expires_after_its_time_to_live(store, create):
    group = create()
    ttl = {"Unit": "Hours", "Value": 1}
    store.put_record(FeatureGroupName=group, Record=record(id="1", at="2020-01-01T00:00:00Z"), TtlDuration=ttl)
    store.put_record(FeatureGroupName=group, Record=record(id="2", at="2099-01-01T00:00:00Z"), TtlDuration=ttl)
    assert read(store, group, "1") == {}
    found = store.get_record(
        FeatureGroupName=group, RecordIdentifierValueAsString="2", ExpirationTimeResponse="Enabled"
    )
    assert found["ExpiresAt"] == "2099-01-01T01:00:00Z"


def test_a_collection_is_a_list_of_values(store, create):
    group = create()
    tags = {"FeatureName": "tags", "ValueAsStringList": ["a", "b"]}
    store.put_record(FeatureGroupName=group, Record=[*record(id="1", at=NOON), tags])
    found = store.get_record(FeatureGroupName=group, RecordIdentifierValueAsString="1")["Record"]
    assert found[-1] == tags


@pytest.mark.parametrize(
    "values, complaint",
    [
        ({"id": "1", "at": NOON, "height": "1"}, "no feature height"),
        ({"id": "1", "at": NOON, "age": "30.5"}, "age must be an Integral"),
        ({"id": "1", "at": NOON, "age": str(2**63)}, "age must be an Integral"),
        ({"id": "1", "at": NOON, "income": "much"}, "income must be a Fractional"),
        ({"id": "1", "at": NOON, "tags": "a"}, "ValueAsStringList"),
        ({"id": "1"}, "value for at"),
        ({"at": NOON}, "value for id"),
        ({"id": "1", "at": "31.1.2026"}, "ISO 8601"),
        ({"id": "1", "at": "2026-01-31T12:00:00+01:00"}, "ISO 8601"),
    ],
)
def test_a_record_that_does_not_fit_is_refused(store, create, values, complaint):
    group = create()
    with pytest.raises(ClientError, match=complaint) as caught:
        store.put_record(FeatureGroupName=group, Record=record(**values))
    assert caught.value.response["Error"]["Code"] == "ValidationError"
    assert read(store, group, "1") == {}


def test_a_group_that_is_not_there_is_a_404(store):
    with pytest.raises(store.exceptions.ResourceNotFound) as caught:
        store.get_record(FeatureGroupName="nobody", RecordIdentifierValueAsString="1")
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 404


def test_a_batch_reads_from_several_groups_and_says_what_went_wrong(store, create):
    one, two = create(), create()
    store.put_record(FeatureGroupName=one, Record=record(id="1", at=NOON))
    store.put_record(FeatureGroupName=two, Record=record(id="2", at=NOON, age="9"))
    answer = store.batch_get_record(
        Identifiers=[
            {"FeatureGroupName": one, "RecordIdentifiersValueAsString": ["1", "5"]},
            {"FeatureGroupName": two, "RecordIdentifiersValueAsString": ["2"], "FeatureNames": ["age"]},
            {"FeatureGroupName": "nobody", "RecordIdentifiersValueAsString": ["3"]},
        ]
    )
    found = {
        (each["FeatureGroupName"], each["RecordIdentifierValueAsString"]): each["Record"] for each in answer["Records"]
    }
    assert found == {(one, "1"): record(id="1", at=NOON), (two, "2"): record(age="9")}
    [error] = answer["Errors"]
    assert (error["FeatureGroupName"], error["ErrorCode"]) == ("nobody", "ResourceNotFound")


def test_every_version_goes_to_the_offline_store(aws, store, create):
    storage = {"S3StorageConfig": {"S3Uri": f"s3://{BUCKET}/offline"}}
    group = create(OfflineStoreConfig=storage, RoleArn=ROLE)
    described = aws.sagemaker.describe_feature_group(FeatureGroupName=group)
    uri = described["OfflineStoreConfig"]["S3StorageConfig"]["ResolvedOutputS3Uri"]
    for at, age in ((ONE, "31"), (NOON, "30")):
        store.put_record(FeatureGroupName=group, Record=record(id="1", at=at, age=age))
    store.delete_record(FeatureGroupName=group, RecordIdentifierValueAsString="1", EventTime="2026-02-01T00:00:00Z")
    aws.flush()
    prefix = uri.removeprefix(f"s3://{BUCKET}/")
    keys = [entry["Key"] for entry in aws.s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix)["Contents"]]
    folders = sorted({key.removeprefix(f"{prefix}/").rpartition("/")[0] for key in keys})
    assert folders == [
        f"year=2026/month=0{m}/day={d}/hour={h}" for m, d, h in ((1, 31, 12), (1, 31, 13), (2, "01", "00"))
    ]
    tables = [pq.read_table(io.BytesIO(aws.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())) for key in keys]
    types = {field.name: field.type for field in tables[0].schema}
    assert types == {
        "id": pa.string(),
        "at": pa.string(),
        "age": pa.int64(),
        "income": pa.float64(),
        "tags": pa.list_(pa.string()),
        "write_time": pa.timestamp("ms", "UTC"),
        "api_invocation_time": pa.timestamp("ms", "UTC"),
        "is_deleted": pa.bool_(),
    }
    rows = [row for table in tables for row in table.to_pylist()]
    assert sorted((row["at"], row["age"], row["is_deleted"]) for row in rows) == [
        (NOON, 30, False),
        (ONE, 31, False),
        ("2026-02-01T00:00:00Z", None, True),
    ]
    assert all(abs((datetime.now(UTC) - row["write_time"]).total_seconds()) < 60 for row in rows)


def test_a_batch_is_written_but_for_what_is_wrong_in_it(store, create):
    group = create()
    good = [{"FeatureGroupName": group, "Record": record(id=str(n), at=NOON, age=str(n))} for n in range(23)]
    bad = {"FeatureGroupName": group, "Record": record(id="x", at=NOON, age="old")}
    nobodys = {"FeatureGroupName": "nobody", "Record": record(id="y", at=NOON)}
    answer = store.batch_write_record(Entries=[*good, bad, nobodys])
    assert [(error["Entry"], error["ErrorCode"]) for error in answer["Errors"]] == [
        (bad, "ValidationError"),
        (nobodys, "ResourceNotFound"),
    ]
    assert answer["UnprocessedEntries"] == []
    assert [read(store, group, str(n))["age"] for n in range(23)] == [str(n) for n in range(23)]
    with pytest.raises(ClientError, match="25 are the most"):
        store.batch_write_record(Entries=good + good)


def test_a_batch_has_a_time_to_live_of_its_own(store, create):
    group = create(OnlineStoreConfig={"EnableOnlineStore": True, "TtlDuration": {"Unit": "Days", "Value": 1}})
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    entries = [
        {"FeatureGroupName": group, "Record": record(id="1", at="2020-01-01T00:00:00Z")},
        {"FeatureGroupName": group, "Record": record(id="2", at=now)},
        {
            "FeatureGroupName": group,
            "Record": record(id="3", at="2020-01-01T00:00:00Z"),
            "TtlDuration": {"Unit": "Weeks", "Value": 100_000},
        },
    ]
    store.batch_write_record(Entries=entries)
    assert [bool(read(store, group, identifier)) for identifier in ("1", "2", "3")] == [False, True, True]


def test_a_write_may_go_to_one_store_alone(store, create):
    group = create(OfflineStoreConfig={"S3StorageConfig": {"S3Uri": f"s3://{BUCKET}/offline"}}, RoleArn=ROLE)
    store.put_record(FeatureGroupName=group, Record=record(id="1", at=NOON), TargetStores=["OfflineStore"])
    assert read(store, group, "1") == {}
    with pytest.raises(ClientError, match="no OfflineStore"):
        store.put_record(FeatureGroupName=create(), Record=record(id="1", at=NOON), TargetStores=["OfflineStore"])


def test_a_group_keeps_everything_it_was_created_with(aws, create):
    told = {
        "OnlineStoreConfig": {
            "EnableOnlineStore": True,
            "SecurityConfig": {"KmsKeyId": "arn:aws:kms:eu-central-1:123456789012:key/a"},
            "TtlDuration": {"Unit": "Days", "Value": 30},
        },
        "ThroughputConfig": {"ThroughputMode": "OnDemand"},
        "Description": "people",
        "FeatureDefinitions": DEFINITIONS,
    }
    name = create(**told)
    described = aws.sagemaker.describe_feature_group(FeatureGroupName=name)
    assert {key: described[key] for key in told} == told
    assert described["FeatureGroupStatus"] == "Created"
    assert "OfflineStoreConfig" not in described


def test_a_group_gains_features_is_listed_and_deleted(aws, create):
    name = create()
    added = {"FeatureName": "city", "FeatureType": "String"}
    aws.sagemaker.update_feature_group(FeatureGroupName=name, FeatureAdditions=[added])
    described = aws.sagemaker.describe_feature_group(FeatureGroupName=name)
    assert (described["LastUpdateStatus"], described["FeatureDefinitions"]) == ({"Status": "InProgress"}, DEFINITIONS)
    with pytest.raises(ClientError, match="an update is in progress"):
        aws.sagemaker.update_feature_group(FeatureGroupName=name, FeatureAdditions=[{**added, "FeatureName": "zip"}])
    described = settled(aws, name)
    assert described["FeatureDefinitions"] == [*DEFINITIONS, added]
    [summary] = aws.sagemaker.list_feature_groups(NameContains=name)["FeatureGroupSummaries"]
    assert summary["FeatureGroupName"] == name
    aws.sagemaker.delete_feature_group(FeatureGroupName=name)
    with pytest.raises(ClientError) as caught:
        aws.sagemaker.describe_feature_group(FeatureGroupName=name)
    assert caught.value.response["Error"]["Code"] == "ResourceNotFound"


@pytest.mark.parametrize(
    "wrong, complaint",
    [
        ({"EventTimeFeatureName": "age"}, "must be String or Fractional"),
        ({"RecordIdentifierFeatureName": "name"}, "not among"),
        ({"FeatureDefinitions": [*DEFINITIONS, DEFINITIONS[0]]}, "twice"),
        ({"FeatureDefinitions": [*DEFINITIONS, {"FeatureName": "is_deleted", "FeatureType": "String"}]}, "reserved"),
    ],
)
def test_a_schema_that_aws_refuses_is_refused(create, wrong, complaint):
    with pytest.raises(ClientError, match=complaint):
        create(**wrong)


@pytest.mark.parametrize(
    "asked, complaint",
    [
        (
            {
                "OnlineStoreConfig": {"TtlDuration": {"Unit": "Days", "Value": 2}},
                "ThroughputConfig": {"ThroughputMode": "OnDemand"},
            },
            "one parameter can be updated at a time, got OnlineStoreConfig, ThroughputConfig",
        ),
        ({}, "got none"),
        (
            {"FeatureAdditions": [{"FeatureName": f"f{n}", "FeatureType": "String"} for n in range(101)]},
            "101 members, 100 are the most",
        ),
        ({"ThroughputConfig": {"ThroughputMode": "Provisioned"}}, "needs read and write"),
        (
            {
                "ThroughputConfig": {
                    "ThroughputMode": "Provisioned",
                    "ProvisionedReadCapacityUnits": 40_001,
                    "ProvisionedWriteCapacityUnits": 1,
                }
            },
            "quota of 40000",
        ),
    ],
)
def test_an_update_that_aws_refuses_is_refused(aws, create, asked, complaint):
    name = create()
    with pytest.raises(ClientError, match=complaint):
        aws.sagemaker.update_feature_group(FeatureGroupName=name, **asked)


def test_an_update_keeps_every_record_and_another_time_to_live_is_for_new_ones(aws, store, create):
    name = create()
    store.put_record(FeatureGroupName=name, Record=record(id="1", at="2020-01-01T00:00:00Z"))
    ttl = {"Unit": "Hours", "Value": 1}
    aws.sagemaker.update_feature_group(FeatureGroupName=name, OnlineStoreConfig={"TtlDuration": ttl})
    assert settled(aws, name)["OnlineStoreConfig"] == {"EnableOnlineStore": True, "TtlDuration": ttl}
    assert read(store, name, "1")["at"] == "2020-01-01T00:00:00Z"
    store.put_record(FeatureGroupName=name, Record=record(id="2", at="2020-01-01T00:00:00Z"))
    assert read(store, name, "2") == {}


@pytest.mark.parametrize("missing", ["bucket", "right"])
def test_an_offline_store_that_cannot_be_made_fails_later_with_a_reason(aws, store, create, missing):
    role, bucket = ROLE, "nobodys-bucket"
    if missing == "right":
        trust = {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}
        role = aws.client("iam").create_role(
            RoleName=aws.name("role"),
            AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": trust}),
        )["Role"]["Arn"]
        bucket = BUCKET
    name = create(OfflineStoreConfig={"S3StorageConfig": {"S3Uri": f"s3://{bucket}/offline"}}, RoleArn=role)
    described = aws.sagemaker.describe_feature_group(FeatureGroupName=name)
    assert described["FeatureGroupStatus"] == "CreateFailed"
    assert {"bucket": "nobodys-bucket does not exist", "right": "s3:GetBucketAcl, s3:PutObject"}[missing] in (
        described["FailureReason"]
    )
    with pytest.raises(ClientError, match="was not created"):
        store.put_record(FeatureGroupName=name, Record=record(id="1", at=NOON))
