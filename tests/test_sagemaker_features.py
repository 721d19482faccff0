import json

import pytest
from botocore.exceptions import ClientError

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
    rows = [json.loads(line) for key in keys for line in aws.text(key).splitlines()]
    assert sorted((row["at"], row.get("age"), row["is_deleted"]) for row in rows) == [
        (NOON, "30", False),
        (ONE, "31", False),
        ("2026-02-01T00:00:00Z", None, True),
    ]
    assert all({"write_time", "api_invocation_time"} <= set(row) for row in rows)


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
    assert aws.sagemaker.describe_feature_group(FeatureGroupName=name)["FeatureDefinitions"] == [*DEFINITIONS, added]
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
