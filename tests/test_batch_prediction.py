"""Batch prediction: what is declared, and which files are predicted. tests/test_training_pipeline.py runs it whole."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pulumi_aws as aws
import pytest
from judging import NOT_WITHOUT_A_STACK, planned
from moto import mock_aws
from pretend_aws import CONFIG, KEY, TOPIC, PretendAws, up
from pretend_cloud import settings
from pydantic import ValidationError

from components.batch_prediction import BatchPrediction, BatchSpec
from functions.batch.handler import ended, job, job_name, new_files
from infra.check import check
from infra.rehearsal.engine import Plan
from policies.cost import TAGS

ROLE = "arn:aws:iam::123456789012:role/churn-model"


def declared(**spec: Any) -> PretendAws:
    return up(
        lambda: BatchPrediction(
            "churn",
            BatchSpec.model_validate({"gate": {"auc": 0.8}, **spec}),
            role_arn=ROLE,
            signing_key_arn=f"{KEY}-signing",
            image_repository_arn="arn:aws:ecr:us-east-1:683313688378:repository/sagemaker-scikit-learn",
            ledger_bucket="ledger",
            ledger_bucket_arn="arn:aws:s3:::ledger",
            bucket="lake",
            bucket_arn="arn:aws:s3:::lake",
            prefix="churn",
            subnet_ids=["subnet-a"],
            security_group_id="sg-a",
            kms_key_arn=KEY,
            alerts_topic_arn=TOPIC,
        )
    )


def allowing(made: PretendAws, action: str) -> list[dict[str, Any]]:
    statements = made.statements(aws.iam.RolePolicy, "churn-batch")
    return [each for each in statements if each["Effect"] == "Allow" and action in each["Action"]]


def test_its_role_makes_only_encrypted_isolated_jobs_of_its_own() -> None:
    made = declared()
    [job_] = allowing(made, "sagemaker:CreateTransformJob")
    [model] = allowing(made, "sagemaker:CreateModel")
    [passed] = allowing(made, "iam:PassRole")

    assert job_["Resource"] == ["arn:aws:sagemaker:us-east-1:123456789012:transform-job/churn-batch-*"]
    assert job_["Condition"]["ArnEquals"] == {"sagemaker:OutputKmsKeyArn": KEY}
    assert model["Condition"] == {"Bool": {"sagemaker:NetworkIsolation": "true"}}
    assert passed["Resource"] == [ROLE]
    assert not allowing(made, "s3:PutObject")


def test_a_version_that_no_endpoint_serves_is_verified() -> None:
    assert allowing(declared(), "kms:Verify") and not allowing(declared(), "sagemaker:DescribeEndpoint")
    assert allowing(declared(live=True), "sagemaker:DescribeEndpoint")
    assert not allowing(declared(live=True), "kms:Verify")


@pytest.mark.parametrize(("instance_type", "has_key"), [("ml.m5.large", True), ("ml.g5.xlarge", False)])
def test_a_key_is_given_to_volumes_that_take_one(instance_type: str, has_key: bool) -> None:
    function = declared(instance_type=instance_type).only(aws.lambda_.Function)

    assert ("VolumeKmsKeyId" in function["environment"]["variables"]["BATCH"]) is has_key


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"schedule": "hourly"}, "no schedule"),
        ({"gate": {}}, "set gate"),
        ({"first_is_id": False}, "nobody knows whose answer"),
        ({"instance_type": "m5.large"}, "should match pattern"),
    ],
)
def test_a_mistake_is_told_when_the_yaml_is_read(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        BatchSpec.model_validate({"gate": {"auc": 0.8}, **wrong})


def test_the_packs_pass() -> None:
    made, tags = declared(), dict.fromkeys(TAGS, "x")
    resources = planned(made, tags=tags)
    config = {**CONFIG, "slipway:usd_per_month": "150"}
    told = replace(settings(lambda: None, "churn-local"), region="us-east-1", usd_per_month=150.0, config=config)
    report = check([(told, Plan("churn-local", resources, (), {}))])

    found = [f"{each.resource}: {each.sentence}" for each in report.violations if each.rule not in NOT_WITHOUT_A_STACK]
    assert found == []


@mock_aws
def test_a_file_is_new_until_its_answers_are() -> None:
    import boto3

    s3 = boto3.client("s3", region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b")
    s3.create_bucket(Bucket="lake")
    for key in ("in/a.csv", "in/b/c.csv", "in/empty/"):
        s3.put_object(Bucket="lake", Key=key, Body=b"" if key.endswith("/") else b"1,2")

    def new() -> list[str]:
        return [each["Key"] for each in new_files(s3, "s3://lake/in/", "s3://lake/out/")]

    assert new() == ["in/a.csv", "in/b/c.csv"]
    s3.put_object(Bucket="lake", Key="out/b/c.csv.out", Body=b"1,0.5")
    assert new() == ["in/a.csv"]


def test_a_file_that_is_brought_again_is_another_job() -> None:
    file = {"Key": "in/a.csv", "ETag": "x", "LastModified": datetime(2026, 1, 1, tzinfo=UTC)}

    assert job_name("churn-batch", file) == job_name("churn-batch", dict(file))
    assert job_name("churn-batch", file) != job_name("churn-batch", {**file, "LastModified": datetime.now(UTC)})
    assert len(job_name("x" * 44 + "-batch", file)) <= 63


@pytest.mark.parametrize(
    ("setup", "processing"),
    [
        (
            {"first_is_id": True, "with_features": False},
            {"InputFilter": "$[1:]", "JoinSource": "Input", "OutputFilter": "$[0,-1]"},
        ),
        (
            {"first_is_id": True, "with_features": True},
            {"InputFilter": "$[1:]", "JoinSource": "Input", "OutputFilter": "$"},
        ),
        ({"first_is_id": False, "with_features": True}, {"JoinSource": "Input", "OutputFilter": "$"}),
    ],
)
def test_answers_are_joined_with_what_was_asked(setup: dict[str, Any], processing: dict[str, str]) -> None:
    told = job(
        {
            "incoming": "s3://lake/churn/batch/incoming/",
            "answers": "s3://lake/churn/batch/answers/",
            "max_payload_mib": 6,
            "timeout_seconds": 60,
            "kms_key_arn": KEY,
            "resources": {},
            "tags": [],
            **setup,
        },
        "j",
        "m",
        "churn/batch/incoming/2026/a.csv",
    )

    assert told["DataProcessing"] == processing
    assert told["TransformOutput"]["S3OutputPath"] == "s3://lake/churn/batch/answers/2026"


def test_a_failed_job_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    detail = {"TransformJobName": "churn-batch-1", "TransformJobStatus": "Failed", "FailureReason": "row 7"}

    assert ended(detail, "churn-batch") == {"failed_jobs": 1}
    assert "churn-batch-1 failed: row 7" in capsys.readouterr().out
    assert ended({"TransformJobName": "x", "TransformJobStatus": "InProgress"}, "churn-batch") == {}
