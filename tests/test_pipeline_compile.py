"""`slipway pipeline compile`: what is committed is what the SDK makes of the Python file, and it can be deployed."""

import json
from pathlib import Path
from typing import Any

import pulumi_aws as aws
import pytest
from pretend_aws import KEY, TOPIC, PretendAws, up
from pydantic import ValidationError

from components.training_pipeline import Code, PipelineSpec, TrainingPipeline
from infra.pipelines import NoSdk, canonical, compile
from infra.rehearsal.emulator.pipeline_definition import read
from infra.settings import ROOT

WRITTEN, COMMITTED = "stacks/pipelines/employment.py", "stacks/pipelines/employment.json"


def declared(definition: str = COMMITTED) -> PretendAws:
    return up(
        lambda: TrainingPipeline(
            "churn",
            PipelineSpec(definition=definition),
            code=Code({"sourcedir.tar.gz": "eA=="}, "c0de", "c0mm1t"),
            image="image",
            job_role_arn="arn:aws:iam::123456789012:role/churn-model",
            bucket="lake",
            bucket_arn="arn:aws:s3:::lake",
            prefix="churn",
            records_uri="s3://lake/churn/features/data/",
            subnet_ids=["subnet-a"],
            security_group_id="sg-a",
            complete_function_arn="arn:aws:lambda:us-east-1:123456789012:function:churn-registry-complete",
            mlflow_arn=None,
            kms_key_arn=KEY,
            alerts_topic_arn=TOPIC,
        )
    )


def deployed() -> dict[str, Any]:
    told: dict[str, Any] = json.loads(declared().only(aws.sagemaker.Pipeline)["pipelineDefinition"])
    return told


def test_what_is_committed_is_what_the_file_makes() -> None:
    try:
        made = compile(ROOT / WRITTEN)
    except NoSdk as error:
        pytest.skip(str(error))
    assert made == (ROOT / COMMITTED).read_text("utf-8"), f"run `slipway pipeline compile {WRITTEN}`"


def test_what_is_committed_names_nothing_of_an_account() -> None:
    text = (ROOT / COMMITTED).read_text("utf-8")

    assert text == canonical(json.loads(text))
    assert "s3://" not in text
    assert {word for word in text.replace('"', " ").split() if word.startswith("arn:")} == {
        "arn:aws:iam::000000000000:role/filled-in",
        "arn:aws:lambda:us-east-1:000000000000:function:filled-in",
    }


def test_a_deployment_fills_in_what_only_it_knows() -> None:
    told = deployed()
    definition = read(json.dumps(told))  # as strict as SageMaker is
    defaults = {each["Name"]: each.get("DefaultValue") for each in told["Parameters"]}

    assert "filled-in" not in json.dumps(told)
    assert defaults["LakeUri"] == "s3://lake/churn" and defaults["Code"] == "s3://lake/churn/pipelines/c0de/"
    assert defaults["Dataset"] is None
    assert {*definition.steps} == {
        *("prepare", "train", "evaluate", "record", "gate"),
        *("register", "complete", "link", "refuse"),
    }


def test_its_jobs_are_as_safe_as_those_of_a_description() -> None:
    steps = read(json.dumps(deployed())).steps
    train, prepare = steps["train"].arguments, steps["prepare"].arguments

    assert train["EnableNetworkIsolation"] and prepare["NetworkConfig"]["EnableNetworkIsolation"]
    assert train["VpcConfig"] == prepare["NetworkConfig"]["VpcConfig"]
    assert train["ResourceConfig"]["VolumeKmsKeyId"] == train["OutputDataConfig"]["KmsKeyId"] == KEY
    assert prepare["ProcessingOutputConfig"]["KmsKeyId"] == KEY
    assert steps["register"].arguments["ModelPackageGroupName"] == "churn"
    assert steps["register"].arguments["ModelApprovalStatus"] == "PendingManualApproval"


@pytest.mark.parametrize("kind", ["EMR", "Callback", "Model"])
def test_a_step_that_the_role_knows_nothing_of_is_refused(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "it.json"
    file.write_text(json.dumps({"Version": "2020-12-01", "Parameters": [], "Steps": [{"Name": "a", "Type": kind}]}))

    with pytest.raises(ValueError, match=f"step a is of type {kind}"):
        declared(str(file))


def test_a_definition_that_is_not_there_is_an_error() -> None:
    with pytest.raises(ValidationError, match="slipway pipeline compile"):
        PipelineSpec(definition="stacks/pipelines/none.json")
