"""SageMaker's jobs in the emulator, as a user sees them through boto3."""

import io
import json
import tarfile
from collections.abc import Mapping
from typing import Any

import psutil
import pytest
from botocore.exceptions import ClientError

from tests.emulated import ACCOUNT, REGION, User, new, until
from tests.served_models import archive

BUCKET = "jobs"
ENDED = ("Completed", "Failed", "Stopped")
IMAGE = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/sklearn:1"
CODE = "/opt/ml/input/data/code/sourcedir.tar.gz"


def packed(files: Mapping[str, str]) -> bytes:
    """A tar.gz of these texts."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text.encode())
            tar.addfile(entry, io.BytesIO(text.encode()))
    return out.getvalue()


def channel(name: str, uri: str, **more: Any) -> dict[str, Any]:
    source = {"S3DataType": "S3Prefix", "S3Uri": uri, "S3DataDistributionType": "FullyReplicated"}
    return {"ChannelName": name, "DataSource": {"S3DataSource": source}, **more}


class Jobs:
    """What a user does with jobs; every name is new."""

    def __init__(self, user: User) -> None:
        self.user, self.sagemaker, self.s3 = user, user.sagemaker, user.s3
        self.s3.create_bucket(Bucket=BUCKET)

    def put(self, key: str, body: str | bytes) -> str:
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=body.encode() if isinstance(body, str) else body)
        return f"s3://{BUCKET}/{key}"

    def read(self, uri: str) -> bytes:
        body: bytes = self.s3.get_object(Bucket=BUCKET, Key=uri.removeprefix(f"s3://{BUCKET}/"))["Body"].read()
        return body

    def keys(self, prefix: str) -> list[str]:
        return [entry["Key"] for entry in self.s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", ())]

    def train(self, program: str, hyperparameters: Mapping[str, str] | None = None, **more: Any) -> str:
        """Start a training job of a script that comes in a channel; its name."""
        name = new("train")
        self.put(f"{name}/code/sourcedir.tar.gz", packed({"train.py": program}))
        channels = [channel("code", f"s3://{BUCKET}/{name}/code"), *more.pop("InputDataConfig", ())]
        definitions = {"MetricDefinitions": more.pop("MetricDefinitions")} if "MetricDefinitions" in more else {}
        told = {"sagemaker_program": "train.py", "sagemaker_submit_directory": CODE, **(hyperparameters or {})}
        asked = {
            "TrainingJobName": name,
            "RoleArn": self.user.role,
            "AlgorithmSpecification": {"TrainingImage": IMAGE, "TrainingInputMode": "File", **definitions},
            "HyperParameters": told,
            "InputDataConfig": channels,
            "OutputDataConfig": {"S3OutputPath": f"s3://{BUCKET}/{name}/out"},
            "ResourceConfig": {"InstanceType": "ml.m7i.large", "InstanceCount": 1, "VolumeSizeInGB": 30},
            "StoppingCondition": {"MaxRuntimeInSeconds": 60},
        }
        self.sagemaker.create_training_job(**{**asked, **more})
        return name

    def trained(self, name: str) -> dict[str, Any]:
        """A training job that has ended."""

        def look() -> Any:
            job = self.sagemaker.describe_training_job(TrainingJobName=name)
            return job if job["TrainingJobStatus"] in ENDED else None

        job: dict[str, Any] = until(look, f"{name} ends")
        return job

    def training(self, name: str) -> None:
        """Wait until a training job's program runs."""

        def look() -> bool:
            return bool(self.log("TrainingJobs", name, "begun"))

        until(look, f"{name} trains")

    def process(self, program: str, arguments: list[str] | None = None, **more: Any) -> str:
        name = new("process")
        self.put(f"{name}/code/run.py", program)
        inputs = [self.given("code", f"s3://{BUCKET}/{name}/code"), *more.pop("ProcessingInputs", ())]
        entry = ["python3", "/opt/ml/processing/input/code/run.py"]
        cluster = {"InstanceCount": 1, "InstanceType": "ml.m7i.large", "VolumeSizeInGB": 30}
        asked = {
            "ProcessingJobName": name,
            "RoleArn": self.user.role,
            "AppSpecification": {
                "ImageUri": IMAGE,
                "ContainerEntrypoint": entry,
                **({"ContainerArguments": arguments} if arguments else {}),
            },
            "ProcessingResources": {"ClusterConfig": cluster},
            "ProcessingInputs": inputs,
        }
        self.sagemaker.create_processing_job(**{**asked, **more})
        return name

    @staticmethod
    def given(name: str, uri: str) -> dict[str, Any]:
        """An input of a processing job."""
        path = f"/opt/ml/processing/input/{name}"
        return {
            "InputName": name,
            "S3Input": {"S3Uri": uri, "LocalPath": path, "S3DataType": "S3Prefix", "S3InputMode": "File"},
        }

    def processed(self, name: str) -> dict[str, Any]:
        def look() -> Any:
            job = self.sagemaker.describe_processing_job(ProcessingJobName=name)
            return job if job["ProcessingJobStatus"] in ENDED else None

        job: dict[str, Any] = until(look, f"{name} ends")
        return job

    def log(self, kind: str, name: str, word: str = "") -> list[str]:
        """The lines of a job's log that have a word in them."""
        try:
            events = self.user.logs.filter_log_events(
                logGroupName=f"/aws/sagemaker/{kind}", logStreamNamePrefix=f"{name}/"
            )["events"]
        except self.user.logs.exceptions.ResourceNotFoundException:
            return []
        return [event["message"] for event in events if word in event["message"]]


@pytest.fixture(scope="module")
def jobs(user):
    return Jobs(user)


def members(body: bytes) -> dict[str, str]:
    with tarfile.open(fileobj=io.BytesIO(body), mode="r:gz") as tar:
        return {name: tar.extractfile(name).read().decode() for name in tar.getnames()}


# --- training ---------------------------------------------------------------------------------------------------------


def test_a_script_finds_its_channels_and_hyperparameters_and_leaves_a_model(jobs):
    program = """
import argparse, json, os, pathlib
parser = argparse.ArgumentParser()
parser.add_argument("--rate", type=float)
parser.add_argument("-n", type=int)
options = parser.parse_args()
rows = pathlib.Path(os.environ["SM_CHANNEL_TRAIN"], "deep/rows.csv").read_text()
told = {name: os.environ[name] for name in ("SM_CHANNELS", "SM_HPS", "TRAINING_JOB_NAME", "SM_NUM_GPUS", "MINE")}
config = json.loads(pathlib.Path(os.environ["SM_INPUT_CONFIG_DIR"], "hyperparameters.json").read_text())
pathlib.Path(os.environ["SM_MODEL_DIR"], "model.json").write_text(json.dumps([options.rate, options.n, rows]))
pathlib.Path(os.environ["SM_OUTPUT_DATA_DIR"], "told.json").write_text(json.dumps([told, config]))
import helper
"""
    data = jobs.put(new("rows") + "/deep/rows.csv", "1,2").rpartition("/deep")[0]
    code = jobs.put(new("code") + "/sourcedir.tar.gz", packed({"fit.py": program, "helper.py": "print('helped')"}))
    name = jobs.train(
        "",
        {"sagemaker_program": '"fit.py"', "sagemaker_submit_directory": code, "rate": "0.5", "n": "3"},
        InputDataConfig=[channel("train", data)],
        Environment={"MINE": "yes"},
    )
    job = jobs.trained(name)
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Completed", "Completed"), job.get("FailureReason")
    assert job["ModelArtifacts"]["S3ModelArtifacts"] == f"s3://{BUCKET}/{name}/out/{name}/output/model.tar.gz"
    model = members(jobs.read(job["ModelArtifacts"]["S3ModelArtifacts"]))
    assert json.loads(model["model.json"]) == [0.5, 3, "1,2"]
    told, config = json.loads(members(jobs.read(f"s3://{BUCKET}/{name}/out/{name}/output/output.tar.gz"))["told.json"])
    assert told == {
        "SM_CHANNELS": '["code", "train"]',
        "SM_HPS": '{"rate": 0.5, "n": 3}',
        "TRAINING_JOB_NAME": name,
        "SM_NUM_GPUS": "0",
        "MINE": "yes",
    }
    assert config["rate"] == "0.5"
    assert jobs.log("TrainingJobs", name, "helped") == ["helped"]
    passed = [each["Status"] for each in job["SecondaryStatusTransitions"]]
    assert passed == ["Starting", "Downloading", "Training", "Uploading", "Completed"]
