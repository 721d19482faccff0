"""SageMaker pipelines in the emulator, as a user sees them through boto3."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.emulated import User, new, until
from tests.test_emulator_jobs import BUCKET, CODE, IMAGE, Jobs, channel, packed

ENDED = ("Succeeded", "Failed", "Stopped")


class Pipelines:
    """What a user does with pipelines; every name is new."""

    def __init__(self, user: User) -> None:
        self.user, self.sagemaker, self.jobs = user, user.sagemaker, Jobs(user)

    def create(
        self, steps: Sequence[Mapping[str, Any]], parameters: Sequence[Mapping[str, Any]] = (), **more: Any
    ) -> str:
        definition = {"Version": "2020-12-01", "Metadata": {}, "Parameters": list(parameters), "Steps": list(steps)}
        name = new("pipeline")
        text = json.dumps(definition)
        self.sagemaker.create_pipeline(PipelineName=name, PipelineDefinition=text, RoleArn=self.user.role, **more)
        return name

    def start(self, pipeline: str, parameters: Mapping[str, str] | None = None, **more: Any) -> str:
        given = [{"Name": name, "Value": value} for name, value in (parameters or {}).items()]
        started = self.sagemaker.start_pipeline_execution(PipelineName=pipeline, PipelineParameters=given, **more)
        return str(started["PipelineExecutionArn"])

    def ended(self, execution: str, seconds: float = 60) -> dict[str, Any]:
        def look() -> Any:
            told = self.sagemaker.describe_pipeline_execution(PipelineExecutionArn=execution)
            return told if told["PipelineExecutionStatus"] in ENDED else None

        told: dict[str, Any] = until(look, f"{execution} ends", seconds)
        return told

    def run(self, steps: Sequence[Mapping[str, Any]], **more: Any) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
        """Create and execute a pipeline: the execution and its steps."""
        execution = self.start(self.create(steps, **more))
        return self.ended(execution), self.steps(execution)

    def steps(self, execution: str) -> dict[str, dict[str, Any]]:
        listed = self.sagemaker.list_pipeline_execution_steps(PipelineExecutionArn=execution)
        return {step["StepName"]: step for step in listed["PipelineExecutionSteps"]}

    def processing(self, name: str, program: str, outputs: Sequence[str] = (), **more: Any) -> dict[str, Any]:
        """A step that runs a script, with its outputs in S3."""
        folder = new(name)
        code = self.jobs.put(f"{folder}/code/run.py", program).removesuffix("/run.py")
        arguments = more.pop("Arguments", {})
        return {
            "Name": name,
            "Type": "Processing",
            "Arguments": {
                "RoleArn": self.user.role,
                "AppSpecification": {
                    "ImageUri": IMAGE,
                    "ContainerEntrypoint": ["python3", "/opt/ml/processing/input/code/run.py"],
                    **({"ContainerArguments": more.pop("words")} if "words" in more else {}),
                },
                "ProcessingResources": {
                    "ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m7i.large", "VolumeSizeInGB": 30}
                },
                "ProcessingInputs": [Jobs.given("code", code), *more.pop("inputs", ())],
                "ProcessingOutputConfig": {
                    "Outputs": [
                        {
                            "OutputName": output,
                            "S3Output": {
                                "S3Uri": f"s3://{BUCKET}/{folder}/{output}",
                                "LocalPath": f"/opt/ml/processing/output/{output}",
                                "S3UploadMode": "EndOfJob",
                            },
                        }
                        for output in outputs
                    ]
                },
                **arguments,
            },
            **more,
        }

    def training(
        self, name: str, program: str, channels: Sequence[Mapping[str, Any]] = (), **more: Any
    ) -> dict[str, Any]:
        folder = new(name)
        code = self.jobs.put(f"{folder}/code/sourcedir.tar.gz", packed({"train.py": program})).rpartition("/")[0]
        return {
            "Name": name,
            "Type": "Training",
            "Arguments": {
                "RoleArn": self.user.role,
                "AlgorithmSpecification": {"TrainingImage": IMAGE, "TrainingInputMode": "File"},
                "HyperParameters": {"sagemaker_program": "train.py", "sagemaker_submit_directory": CODE},
                "InputDataConfig": [channel("code", code), *channels],
                "OutputDataConfig": {"S3OutputPath": f"s3://{BUCKET}/{folder}/out"},
                "ResourceConfig": {"InstanceType": "ml.m7i.large", "InstanceCount": 1, "VolumeSizeInGB": 30},
                "StoppingCondition": {"MaxRuntimeInSeconds": 60},
                **more.pop("Arguments", {}),
            },
            **more,
        }


@pytest.fixture(scope="module")
def pipelines(user):
    return Pipelines(user)


def output(step: str, name: str) -> dict[str, str]:
    return {"Get": f"Steps.{step}.ProcessingOutputConfig.Outputs['{name}'].S3Output.S3Uri"}


def test_a_model_is_made_checked_and_registered(pipelines):
    group = new("group")
    pipelines.sagemaker.create_model_package_group(ModelPackageGroupName=group)
    function = pipelines.user.function("def handler(event, context):\n    return {'told': event['package'], 'n': 3}")
    prepare = """
import pathlib, sys
pathlib.Path(sys.argv[1], "rows.csv").write_text("1,2")
"""
    train = """
import os, pathlib
rows = pathlib.Path(os.environ["SM_CHANNEL_TRAIN"], "rows.csv").read_text()
pathlib.Path(os.environ["SM_MODEL_DIR"], "model.txt").write_text(rows)
"""
    evaluate = """
import json, pathlib
assert list(pathlib.Path("/opt").glob("nothing")) == []
import tarfile, sys
with tarfile.open(pathlib.Path(sys.argv[1], "model.tar.gz")) as model:
    rows = model.extractfile("model.txt").read().decode()
pathlib.Path(sys.argv[2], "evaluation.json").write_text(json.dumps({"metrics": {"auc": 0.9, "rows": rows}}))
"""
    train_channel = channel("train", "s3://x")
    train_channel["DataSource"]["S3DataSource"]["S3Uri"] = output("prepare", "rows")
    model = {"Get": "Steps.train.ModelArtifacts.S3ModelArtifacts"}
    given = Jobs.given("model", "s3://x")
    given["S3Input"]["S3Uri"] = model
    auc = {"Std:JsonGet": {"PropertyFile": {"Get": "Steps.evaluate.PropertyFiles.evaluation"}, "Path": "metrics.auc"}}
    least = {"Get": "Parameters.LeastAuc"}
    register = {
        "Name": "register",
        "Type": "RegisterModel",
        "Arguments": {
            "ModelPackageGroupName": group,
            "ModelApprovalStatus": "PendingManualApproval",
            "InferenceSpecification": {
                "Containers": [{"Image": IMAGE, "ModelDataUrl": model}],
                "SupportedContentTypes": ["text/csv"],
                "SupportedResponseMIMETypes": ["text/csv"],
            },
            "CustomerMetadataProperties": {
                "run": {"Std:Join": {"On": "/", "Values": ["run", {"Get": "Execution.PipelineExecutionId"}]}}
            },
        },
    }
    complete = {
        "Name": "complete",
        "Type": "Lambda",
        "FunctionArn": function,
        "Arguments": {"package": {"Get": "Steps.register.ModelPackageArn"}},
        "OutputParameters": [{"OutputName": "told", "OutputType": "String"}],
    }
    steps = [
        pipelines.processing("prepare", prepare, ["rows"], words=["/opt/ml/processing/output/rows"]),
        pipelines.training("train", train, [train_channel]),
        pipelines.processing(
            "evaluate",
            evaluate,
            ["evaluation"],
            inputs=[given],
            words=["/opt/ml/processing/input/model", "/opt/ml/processing/output/evaluation"],
            PropertyFiles=[
                {"PropertyFileName": "evaluation", "OutputName": "evaluation", "FilePath": "evaluation.json"}
            ],
        ),
        {
            "Name": "gate",
            "Type": "Condition",
            "Arguments": {
                "Conditions": [{"Type": "GreaterThanOrEqualTo", "LeftValue": auc, "RightValue": least}],
                "IfSteps": [register, complete],
                "ElseSteps": [{"Name": "refuse", "Type": "Fail", "Arguments": {"ErrorMessage": "not good enough"}}],
            },
        },
    ]
    pipeline = pipelines.create(steps, [{"Name": "LeastAuc", "Type": "Float", "DefaultValue": 0.8}])
    execution = pipelines.start(pipeline)
    told = pipelines.ended(execution)
    done = pipelines.steps(execution)
    assert told["PipelineExecutionStatus"] == "Succeeded", done
    assert {name: step["StepStatus"] for name, step in done.items()} == dict.fromkeys(
        ("prepare", "train", "evaluate", "gate", "register", "complete"), "Succeeded"
    )
    assert done["gate"]["Metadata"] == {"Condition": {"Outcome": "True"}}
    arn = done["register"]["Metadata"]["RegisterModel"]["Arn"]
    package = pipelines.sagemaker.describe_model_package(ModelPackageName=arn)
    assert package["CustomerMetadataProperties"] == {"run": f"run/{execution.rpartition('/')[2]}"}
    assert done["complete"]["Metadata"]["Lambda"]["OutputParameters"] == [{"Name": "told", "Value": arn}]
    assert told["CreatedBy"]["IamIdentity"]["Arn"].endswith(":root")

    refused = pipelines.start(pipeline, {"LeastAuc": "0.95"})
    told, done = pipelines.ended(refused), pipelines.steps(refused)
    assert (told["PipelineExecutionStatus"], told["FailureReason"]) == ("Failed", "not good enough")
    assert done["refuse"]["Metadata"] == {"Fail": {"ErrorMessage": "not good enough"}}
    assert "register" not in done
