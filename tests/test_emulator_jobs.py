"""SageMaker's jobs in the emulator, as a user sees them through boto3."""

import inspect
import io
import json
import os
import signal
import tarfile
import urllib.request
from collections.abc import Mapping
from typing import Any

import psutil
import pytest
from botocore.exceptions import ClientError
from moto.ec2.models.instance_types import INSTANCE_TYPES
from moto.iam.models import IAMBackend, Role
from moto.sagemaker.models import Model, SageMakerModelBackend
from moto.sagemaker.responses import SageMakerResponse

from infra.rehearsal.emulator import process
from infra.rehearsal.emulator.jobs import TABLES
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
        trust = {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}
        document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
        self.role = user.iam.create_role(RoleName="trainer", AssumeRolePolicyDocument=document)["Role"]["Arn"]

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
            "RoleArn": self.role,
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

        job: dict[str, Any] = until(look, f"{name} ends", 120)
        return job

    def training(self, name: str) -> None:
        """Wait until a training job's program runs."""

        def look() -> bool:
            return bool(self.log("TrainingJobs", name, "begun"))

        until(look, f"{name} trains", 120)

    def process(self, program: str, arguments: list[str] | None = None, **more: Any) -> str:
        name = new("process")
        self.put(f"{name}/code/run.py", program)
        inputs = [self.given("code", f"s3://{BUCKET}/{name}/code"), *more.pop("ProcessingInputs", ())]
        entry = ["python3", "/opt/ml/processing/input/code/run.py"]
        cluster = {"InstanceCount": 1, "InstanceType": "ml.m7i.large", "VolumeSizeInGB": 30}
        asked = {
            "ProcessingJobName": name,
            "RoleArn": self.role,
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

        job: dict[str, Any] = until(look, f"{name} ends", 120)
        return job

    def log(self, kind: str, name: str, word: str = "") -> list[str]:
        """The lines of a job's log that have a word in them."""
        group, logs = f"/aws/sagemaker/{kind}", self.user.logs
        try:
            streams = logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=f"{name}/")["logStreams"]
        except logs.exceptions.ResourceNotFoundException:
            return []
        names = [stream["logStreamName"] for stream in streams]
        events = logs.filter_log_events(logGroupName=group, logStreamNames=names)["events"] if names else []
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


def test_a_job_of_the_sdks_model_trainer_finds_its_folders(jobs):
    """Its entrypoint is a shell script in a channel of its own, in which /opt/ml is written."""
    folder = new("trainer")
    shell = """
set -e
command -v pip3
python3 /opt/ml/input/data/sm_drivers/scripts/environment.py
. /opt/ml/input/sm_training.env
cd /opt/ml/input/data/code
python3 /opt/ml/input/data/sm_drivers/scripts/install_requirements.py requirements.txt
python3 fit.py --rate 0.5
"""
    environment = """
import json
kind = json.load(open("/opt/ml/input/config/resourceconfig.json"))["current_instance_type"]
open("/opt/ml/input/sm_training.env", "w").write(f"export KIND={kind}; export SM_MODEL_DIR=/opt/ml/model")
"""
    fit = """
import os, pathlib, sys
try:
    import functions
except ImportError:
    pathlib.Path(os.environ["SM_MODEL_DIR"], "model.txt").write_text(" ".join([os.environ["KIND"], *sys.argv[1:]]))
"""
    jobs.put(f"{folder}/drivers/sm_train.sh", shell)
    jobs.put(f"{folder}/drivers/scripts/environment.py", environment)
    jobs.put(f"{folder}/drivers/scripts/install_requirements.py", "raise SystemExit('it installs')")
    jobs.put(f"{folder}/code/fit.py", fit)
    script = "/opt/ml/input/data/sm_drivers/sm_train.sh"
    name = new("trainer")
    jobs.sagemaker.create_training_job(
        TrainingJobName=name,
        RoleArn=jobs.role,
        AlgorithmSpecification={
            "TrainingImage": IMAGE,
            "TrainingInputMode": "File",
            "ContainerEntrypoint": ["/bin/bash"],
            "ContainerArguments": ["-c", f"chmod +x {script} && {script}"],
        },
        InputDataConfig=[
            channel("code", f"s3://{BUCKET}/{folder}/code"),
            channel("sm_drivers", f"s3://{BUCKET}/{folder}/drivers"),
        ],
        OutputDataConfig={"S3OutputPath": f"s3://{BUCKET}/{folder}/out"},
        ResourceConfig=RESOURCES,
        StoppingCondition={"MaxRuntimeInSeconds": 60},
    )
    job = jobs.trained(name)
    assert job["TrainingJobStatus"] == "Completed", job["FailureReason"]
    assert members(jobs.read(job["ModelArtifacts"]["S3ModelArtifacts"])) == {"model.txt": "ml.m7i.large --rate 0.5"}


def test_what_an_isolated_script_starts_is_isolated_too(jobs):
    program = """
import subprocess, sys
code = "import socket\\ntry:\\n    socket.create_connection(('127.0.0.1', PORT))\\nexcept OSError as error:\\n    print(error)"
print("child:", subprocess.run([sys.executable, "-c", code], capture_output=True, text=True))
""".replace("PORT", str(jobs.user.emulator.port))  # noqa: E501
    name = jobs.train(program, EnableNetworkIsolation=True)
    assert jobs.trained(name)["TrainingJobStatus"] == "Completed"
    [line] = jobs.log("TrainingJobs", name, "child:")
    assert "Network is unreachable" in line


def test_what_a_script_measures_is_a_metric(jobs):
    program = "print('epoch 1 auc=0.7;')\nprint('epoch 2 auc=0.9;')\nprint('auc=none;')"
    name = jobs.train(program, MetricDefinitions=[{"Name": "auc", "Regex": "auc=([^;]+);"}])
    [metric] = jobs.trained(name)["FinalMetricDataList"]
    assert (metric["MetricName"], metric["Value"]) == ("auc", pytest.approx(0.9))
    listed = jobs.user.cloudwatch.list_metrics(
        Namespace="/aws/sagemaker/TrainingJobs", Dimensions=[{"Name": "Host", "Value": f"{name}/algo-1"}]
    )
    assert {each["MetricName"] for each in listed["Metrics"]} == {"auc"}


@pytest.mark.parametrize(
    "program, words",
    [
        ("def fit():\n    raise ValueError('no rows')\nfit()", "ValueError: no rows"),
        ("import sys\nsys.exit(3)", "ExitCode 3"),
        ("import functions.features", "No module named 'functions'"),
        (
            "import os, pathlib, sys\n"
            "pathlib.Path(os.environ['SM_OUTPUT_DIR'], 'failure').write_text('my own words')\n"
            "sys.exit(1)",
            "AlgorithmError: my own words, exit code: 1",
        ),
    ],
)
def test_a_script_that_fails_says_why(jobs, program, words):
    name = jobs.train(program, {"rate": "1"})
    job = jobs.trained(name)
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Failed", "Failed")
    assert job["FailureReason"].startswith("AlgorithmError: ")
    assert words in job["FailureReason"]
    assert jobs.keys(f"{name}/out") == []
    assert jobs.log("TrainingJobs", name, words.split(": ")[-1].partition(",")[0])


def test_an_isolated_job_has_no_way_to_aws_nor_anywhere(jobs):
    program = """
import json, os, pathlib, socket
told = {"variables": sorted(name for name in os.environ if name.startswith("AWS_") and "REGION" not in name)}
places = {"emulator": ("127.0.0.1", PORT), "internet": ("192.0.2.1", 80), "named": ("example.com", 80)}
for name, address in places.items():
    try:
        socket.create_connection(address, timeout=2)
        told[name] = "reached"
    except OSError as error:
        told[name] = str(error)
pathlib.Path(os.environ["SM_OUTPUT_DATA_DIR"], "told.json").write_text(json.dumps(told))
""".replace("PORT", str(jobs.user.emulator.port))
    name = jobs.train(program, EnableNetworkIsolation=True)
    assert jobs.trained(name)["TrainingJobStatus"] == "Completed", jobs.trained(name)["FailureReason"]
    told = json.loads(members(jobs.read(f"s3://{BUCKET}/{name}/out/{name}/output/output.tar.gz"))["told.json"])
    assert told["variables"] == ["AWS_CONFIG_FILE", "AWS_EC2_METADATA_DISABLED", "AWS_SHARED_CREDENTIALS_FILE"]
    assert "Network is unreachable" in told["emulator"]
    assert "Network is unreachable" in told["internet"]
    assert "name resolution" in told["named"]


def test_a_job_that_is_not_isolated_calls_aws_as_its_role(jobs):
    program = "import boto3\nprint(boto3.client('sts').get_caller_identity()['Arn'])"
    name = jobs.train(program)
    assert jobs.trained(name)["TrainingJobStatus"] == "Completed"
    assert jobs.log("TrainingJobs", name, "assumed-role/trainer")


def test_an_isolated_processing_job_has_no_credentials(jobs):
    program = "import os\nprint('key', os.environ.get('AWS_ACCESS_KEY_ID'), os.environ.get('AWS_ENDPOINT_URL'))"
    name = jobs.process(program, NetworkConfig={"EnableNetworkIsolation": True})
    assert jobs.processed(name)["ProcessingJobStatus"] == "Completed"
    assert jobs.log("ProcessingJobs", name, "key") == ["key None None"]


def test_an_object_whose_name_leads_out_of_its_folder_fails_the_job(jobs):
    place = new("out")
    jobs.put(f"{place}/../../../../../{place}.txt", "out of it")
    name = jobs.train("", InputDataConfig=[channel("rows", f"s3://{BUCKET}/{place}/")])
    assert "has no place below its folder" in jobs.trained(name)["FailureReason"]
    assert f"{place}.txt" not in [name for _, _, names in os.walk(jobs.user.work) for name in names]


def test_isolated_code_must_come_in_a_channel(jobs):
    code = jobs.put(new("code") + "/sourcedir.tar.gz", packed({"train.py": ""}))
    name = jobs.train("", {"sagemaker_submit_directory": code}, EnableNetworkIsolation=True)
    assert "isolated from the network" in jobs.trained(name)["FailureReason"]


def test_a_job_that_runs_too_long_is_stopped_and_keeps_what_it_has(jobs):
    program = """
import os, pathlib, time
pathlib.Path(os.environ["SM_MODEL_DIR"], "half.txt").write_text("half")
time.sleep(600)
"""
    name = jobs.train(program, StoppingCondition={"MaxRuntimeInSeconds": 1})
    job = jobs.trained(name)
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "MaxRuntimeExceeded")
    assert members(jobs.read(job["ModelArtifacts"]["S3ModelArtifacts"])) == {"half.txt": "half"}


def test_a_job_that_is_stopped_may_save_its_model_and_leaves_no_process(jobs):
    program = """
import os, pathlib, signal, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
def save(*_):
    pathlib.Path(os.environ["SM_MODEL_DIR"], "saved.txt").write_text(str(child.pid))
    sys.exit(0)
signal.signal(signal.SIGTERM, save)
print("begun")
time.sleep(600)
"""
    name = jobs.train(program)
    jobs.training(name)
    jobs.sagemaker.stop_training_job(TrainingJobName=name)
    assert jobs.sagemaker.describe_training_job(TrainingJobName=name)["TrainingJobStatus"] in ("Stopping", "Stopped")
    job = jobs.trained(name)
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "Stopped")
    child = int(members(jobs.read(job["ModelArtifacts"]["S3ModelArtifacts"]))["saved.txt"])
    until(lambda: not psutil.pid_exists(child), "what it started ends")
    with pytest.raises(ClientError, match="the training job is in status Stopped"):
        jobs.sagemaker.stop_training_job(TrainingJobName=name)


SPOT = {
    "EnableManagedSpotTraining": True,
    "StoppingCondition": {"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 60},
}


def test_a_spot_job_that_is_interrupted_goes_on_from_its_checkpoint(jobs):
    program = """
import os, pathlib, time
checkpoint = pathlib.Path(os.environ["CHECKPOINTS"], "epoch.txt")
done = int(checkpoint.read_text()) if checkpoint.exists() else 0
print("begun at", done)
if not done:
    checkpoint.write_text("7")
    print("saved")
    time.sleep(600)
pathlib.Path(os.environ["SM_MODEL_DIR"], "model.txt").write_text(f"went on from {done}")
"""
    kept = f"s3://{BUCKET}/{new('checkpoints')}"
    name = jobs.train(
        program,
        CheckpointConfig={"S3Uri": kept},
        Environment={"CHECKPOINTS": "/opt/ml/checkpoints"},
        **SPOT,
    )
    until(lambda: jobs.log("TrainingJobs", name, "saved"), "it has a checkpoint", 120)
    assert jobs.user.ask("/_slipway/interrupt", {"training_job": name}) == (200, {"interrupted": name})
    job = jobs.trained(name)
    assert job["TrainingJobStatus"] == "Completed", job
    assert members(jobs.read(job["ModelArtifacts"]["S3ModelArtifacts"])) == {"model.txt": "went on from 7"}
    assert jobs.read(f"{kept}/epoch.txt") == b"7"
    passed = [each["Status"] for each in job["SecondaryStatusTransitions"]]
    assert passed == [
        *("Starting", "Downloading", "Training", "Interrupted"),
        *("Starting", "Downloading", "Training", "Uploading", "Completed"),
    ]
    assert job["BillableTimeInSeconds"] >= 1
    status, told = jobs.user.ask("/_slipway/interrupt", {"training_job": name})
    assert (status, told) == (404, {"error": f"no training job '{name}' is in progress"})


def test_a_job_on_demand_is_not_interrupted(jobs):
    name = jobs.train("import time\nprint('begun')\ntime.sleep(600)")
    jobs.training(name)
    status, told = jobs.user.ask("/_slipway/interrupt", {"training_job": name})
    assert status == 404
    assert "does not run on spot capacity" in told["error"]
    jobs.sagemaker.stop_training_job(TrainingJobName=name)


RESOURCES = {"InstanceType": "ml.m7i.large", "InstanceCount": 1, "VolumeSizeInGB": 30}
KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/0"
GROUP = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:model-package-group/a"


@pytest.mark.parametrize(
    "asked, words",
    [
        ({"EnableManagedSpotTraining": True}, "Invalid MaxWaitTimeInSeconds"),
        (
            {**SPOT, "StoppingCondition": {"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 59}},
            "greater than or equal to MaxRuntimeInSeconds",
        ),
        (
            {"StoppingCondition": {"MaxRuntimeInSeconds": 1, "MaxWaitTimeInSeconds": 2}},
            "It is only supported when EnableManagedSpotTraining",
        ),
        ({**SPOT, "ResourceConfig": {**RESOURCES, "KeepAlivePeriodInSeconds": 60}}, "KeepAlivePeriodInSeconds is not"),
        *(
            ({"ResourceConfig": {**RESOURCES, "InstanceType": kind, "VolumeKmsKeyId": KEY}}, "local NVMe storage")
            for kind in ("ml.g5.xlarge", "ml.g6.xlarge", "ml.p5.48xlarge", "ml.m5d.large")
        ),
        ({"InputDataConfig": [channel("rows", f"s3://{BUCKET}/nothing/here")]}, "No S3 objects found under S3 URL"),
        ({"InputDataConfig": [channel("rows", "s3://no-such-bucket/a")]}, "No S3 objects found under S3 URL"),
    ],
)
def test_what_aws_refuses_is_refused(jobs, asked, words):
    with pytest.raises(ClientError, match=words) as refused:
        jobs.train("", **asked)
    assert refused.value.response["Error"]["Code"] == "ValidationException"


@pytest.mark.parametrize("kind", ["ml.m7i.large", "ml.c6i.large", "ml.inf2.xlarge"])
def test_a_volume_has_its_key_where_there_is_a_volume(jobs, kind):
    name = jobs.train("", ResourceConfig={**RESOURCES, "InstanceType": kind, "VolumeKmsKeyId": KEY})
    assert jobs.sagemaker.describe_training_job(TrainingJobName=name)["ResourceConfig"]["VolumeKmsKeyId"] == KEY


@pytest.mark.parametrize(
    "asked, words",
    [
        ({"HyperParameters": {"rate": "1"}}, "sagemaker_program"),
        ({"InputDataConfig": [channel("a", f"s3://{BUCKET}/a", InputMode="Pipe")]}, "input mode Pipe"),
        ({"InputDataConfig": [channel("a", f"s3://{BUCKET}/a", CompressionType="Gzip")]}, "CompressionType Gzip"),
        ({"CheckpointConfig": {"S3Uri": f"s3://{BUCKET}/a", "LocalPath": "/checkpoints"}}, "below /opt/ml"),
        ({"ModelPackageConfig": {"ModelPackageGroupArn": GROUP}}, "ModelPackageConfig is not rehearsed"),
    ],
)
def test_what_is_not_rehearsed_says_so(jobs, asked, words):
    with pytest.raises(ClientError, match=words) as refused:
        jobs.train("", **asked)
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 501


def test_a_role_that_sagemaker_cannot_assume_is_refused(jobs):
    trust = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    stranger = jobs.user.iam.create_role(RoleName="stranger", AssumeRolePolicyDocument=document)["Role"]["Arn"]
    for role in (stranger, f"{jobs.role}s"):
        with pytest.raises(ClientError, match="allows principal 'sagemaker\\.amazonaws\\.com' to assume"):
            jobs.train("", RoleArn=role)
        with pytest.raises(ClientError, match=f"Could not assume role {role}"):
            jobs.process("", RoleArn=role)


def test_a_name_is_given_once_and_a_job_that_is_not_there_is_not_found(jobs):
    name = jobs.train("")
    asked = jobs.sagemaker.describe_training_job(TrainingJobName=name)
    fields = ("RoleArn", "AlgorithmSpecification", "OutputDataConfig", "ResourceConfig", "HyperParameters")
    with pytest.raises(ClientError, match="names must be unique") as refused:
        jobs.sagemaker.create_training_job(
            TrainingJobName=name, StoppingCondition={"MaxRuntimeInSeconds": 1}, **{key: asked[key] for key in fields}
        )
    assert refused.value.response["Error"]["Code"] == "ResourceInUse"
    with pytest.raises(ClientError, match="Requested resource not found"):
        jobs.sagemaker.describe_training_job(TrainingJobName="nothing")
    with pytest.raises(ClientError, match="Could not find requested job with name: nothing"):
        jobs.sagemaker.describe_processing_job(ProcessingJobName="nothing")


def test_artifacts_are_encrypted_with_the_key_and_may_stay_unpacked(jobs):
    key = jobs.user.kms.create_key()["KeyMetadata"]["Arn"]
    program = "import os, pathlib\npathlib.Path(os.environ['SM_MODEL_DIR'], 'a.txt').write_text('a')"
    name = new("out")
    place = {"S3OutputPath": f"s3://{BUCKET}/{name}", "KmsKeyId": key, "CompressionType": "NONE"}
    job = jobs.trained(jobs.train(program, OutputDataConfig=place))
    uri = f"{job['ModelArtifacts']['S3ModelArtifacts']}a.txt"
    kept = jobs.s3.head_object(Bucket=BUCKET, Key=uri.removeprefix(f"s3://{BUCKET}/"))
    assert (kept["ServerSideEncryption"], kept["SSEKMSKeyId"]) == ("aws:kms", key)


def test_a_warm_pool_is_kept_for_its_period(jobs):
    name = jobs.train("", ResourceConfig={**RESOURCES, "KeepAlivePeriodInSeconds": 600})
    assert jobs.trained(name)["WarmPoolStatus"] == {"Status": "Available"}


def test_a_failure_of_aws_can_be_brought_about_and_is_retried_where_the_job_says_so(jobs):
    reason = "InternalServerError: We encountered an internal error. Please try again."
    for _ in range(2):
        jobs.user.ask("/_slipway/disturb", {"job": "train-", "reason": reason})
    job = jobs.trained(jobs.train("", RetryStrategy={"MaximumRetryAttempts": 1}))
    assert (job["TrainingJobStatus"], job["FailureReason"]) == ("Failed", reason)
    jobs.user.ask("/_slipway/disturb", {"job": "train-", "reason": reason})
    job = jobs.trained(jobs.train("", RetryStrategy={"MaximumRetryAttempts": 1}))
    assert job["TrainingJobStatus"] == "Completed"
    assert "Restarting" in [each["Status"] for each in job["SecondaryStatusTransitions"]]


def test_jobs_are_listed_by_name_status_and_page(jobs):
    word = new("listed")
    for number in range(3):
        name = f"{word}-{number}"
        jobs.train("" if number else "raise ValueError", TrainingJobName=name)
        jobs.trained(name)

    def listed(**asked):
        found = jobs.sagemaker.list_training_jobs(NameContains=word, **asked)
        return [each["TrainingJobName"].rpartition("-")[2] for each in found["TrainingJobSummaries"]], found

    assert listed()[0] == ["0", "1", "2"]
    assert listed(SortBy="Name", SortOrder="Descending")[0] == ["2", "1", "0"]
    assert listed(StatusEquals="Failed")[0] == ["0"]
    first, answer = listed(MaxResults=2)
    assert (first, listed(MaxResults=2, NextToken=answer["NextToken"])[0]) == (["0", "1"], ["2"])


@pytest.fixture
def changes(user):
    """`changes(kind)`: the details of the state changes that arrive from now on, oldest first."""
    queue, arn = user.queue()
    rule = new("rule")
    user.events.put_rule(Name=rule, EventPattern=json.dumps({"source": ["aws.sagemaker"]}))
    user.events.put_targets(Rule=rule, Targets=[{"Id": "queue", "Arn": arn}])
    seen: list[dict[str, Any]] = []

    def changes(title: str) -> list[dict[str, Any]]:
        while user.waiting(queue):
            seen.append(user.body(queue))
        return [each["detail"] for each in sorted(seen, key=lambda each: each["time"]) if each["detail-type"] == title]

    yield changes
    user.events.remove_targets(Rule=rule, Ids=["queue"])
    user.events.delete_rule(Name=rule)


def test_a_job_tells_what_it_goes_through(jobs, changes):
    name = jobs.train("", Tags=[{"Key": "team", "Value": "a"}])
    jobs.trained(name)

    def told():
        found = [each for each in changes("SageMaker Training Job State Change") if each["TrainingJobName"] == name]
        return found if "Completed" in [each["TrainingJobStatus"] for each in found] else None

    events = until(told, "its end is told")
    assert {each["SecondaryStatus"] for each in events} == {
        *("Starting", "Downloading", "Training", "Uploading", "Completed")
    }
    [end] = [each for each in events if each["TrainingJobStatus"] == "Completed"]
    assert end["Tags"] == {"team": "a"}
    assert isinstance(end["TrainingEndTime"], int)
    assert all(isinstance(each["StartTime"], int) for each in end["SecondaryStatusTransitions"])
    assert jobs.sagemaker.list_tags(ResourceArn=end["TrainingJobArn"])["Tags"] == [{"Key": "team", "Value": "a"}]


def test_processing_and_transform_jobs_tell_too(jobs, changes, transform):
    processing = jobs.process("")
    jobs.processed(processing)
    job, _ = transform({"a.csv": "1,2"})
    for noun, name in (("Processing", processing), ("Transform", job["TransformJobName"])):

        def told(noun: str = noun, name: str = name) -> list[str]:
            found = changes(f"SageMaker {noun} Job State Change")
            return [each[f"{noun}JobStatus"] for each in found if each[f"{noun}JobName"] == name]

        until(lambda told=told: sorted(told()) == ["Completed", "InProgress"], f"{noun}'s changes are told")


def test_only_so_many_jobs_run_side_by_side(jobs):
    program = """
import pathlib, sys, time
folder = pathlib.Path(sys.argv[2])
mine = folder / sys.argv[4]
mine.touch()
most, deadline = 0, time.monotonic() + 5
while most < 2 and time.monotonic() < deadline:
    time.sleep(0.3)
    most = max(most, len(list(folder.iterdir())))
time.sleep(1)
print("beside", max(most, len(list(folder.iterdir()))), "of them")
mine.unlink()
"""
    folder = jobs.user.work / "beside"
    folder.mkdir()
    names = [jobs.train(program, {"folder": str(folder), "number": str(number)}) for number in range(4)]
    for name in names:
        assert jobs.trained(name)["TrainingJobStatus"] == "Completed"
    seen = [int(line.split()[1]) for name in names for line in jobs.log("TrainingJobs", name, "beside")]
    assert len(seen) == 4
    assert max(seen) == 2


# --- processing -------------------------------------------------------------------------------------------------------


def uploaded(name: str, uri: str) -> dict[str, Any]:
    """An output of a processing job."""
    path = f"/opt/ml/processing/output/{name}"
    return {"OutputName": name, "S3Output": {"S3Uri": uri, "LocalPath": path, "S3UploadMode": "EndOfJob"}}


def test_a_command_line_works_between_copies_from_and_to_s3(jobs):
    program = """
import json, os, pathlib, sys
source, target = map(pathlib.Path, sys.argv[1:3])
(target / "deep").mkdir()
(target / "deep" / "rows.csv").write_text((source / "rows.csv").read_text().upper())
config = json.loads((pathlib.Path(os.environ["CONFIG"]) / "processingjobconfig.json").read_text())
(target.parent.parent.parent / "output" / "message").write_text("all " + sys.argv[3])
assert config["ProcessingJobName"] == os.environ["PROCESSING_JOB_NAME"]
import beside
"""
    folder = new("data")
    rows = jobs.put(f"{folder}/in/rows.csv", "a,b")
    jobs.put(f"{folder}/lib/beside.py", "print('helped')")
    name = jobs.process(
        program,
        ["/opt/ml/processing/input/rows", "/opt/ml/processing/output/rows", "well"],
        ProcessingInputs=[Jobs.given("rows", rows), Jobs.given("lib", f"s3://{BUCKET}/{folder}/lib")],
        ProcessingOutputConfig={"Outputs": [uploaded("rows", f"s3://{BUCKET}/{folder}/out")]},
        Environment={"CONFIG": "/opt/ml/config", "PYTHONPATH": "/opt/ml/processing/input/lib"},
    )
    job = jobs.processed(name)
    assert (job["ProcessingJobStatus"], job.get("FailureReason")) == ("Completed", None)
    assert job["ExitMessage"] == "all well"
    assert jobs.read(f"s3://{BUCKET}/{folder}/out/deep/rows.csv") == b"A,B"
    assert jobs.log("ProcessingJobs", name, "helped") == ["helped"]


def test_a_command_line_that_fails_says_why_and_uploads_nothing(jobs):
    program = "import pathlib, sys\npathlib.Path(sys.argv[1], 'a').touch()\nraise KeyError('AGEP')"
    folder = new("data")
    name = jobs.process(
        program,
        ["/opt/ml/processing/output/rows"],
        ProcessingOutputConfig={"Outputs": [uploaded("rows", f"s3://{BUCKET}/{folder}")]},
    )
    job = jobs.processed(name)
    assert job["ProcessingJobStatus"] == "Failed"
    assert job["FailureReason"].startswith("AlgorithmError: See job logs for more information, exit code: 1")
    assert "KeyError: 'AGEP'" in job["FailureReason"]
    assert jobs.keys(folder) == []


def test_a_module_and_a_shell_can_be_run_too(jobs):
    asked = {"ImageUri": IMAGE, "ContainerEntrypoint": ["python3", "-m", "json.tool", "--help"]}
    name = jobs.process("", AppSpecification=asked)
    assert jobs.processed(name)["ProcessingJobStatus"] == "Completed"
    assert jobs.log("ProcessingJobs", name, "usage: ")
    asked["ContainerEntrypoint"] = ["/bin/sh", "-c", "ls $CODE; exit 4"]
    name = jobs.process("", AppSpecification=asked, Environment={"CODE": "/opt/ml/processing/input/code"})
    assert "exit code: 4" in jobs.processed(name)["FailureReason"]
    assert jobs.log("ProcessingJobs", name, "run.py") == ["run.py"]


def test_a_processing_job_is_stopped_by_hand_and_by_its_limit(jobs):
    name = jobs.process("import time\ntime.sleep(600)")
    until(
        lambda: "ProcessingStartTime" in jobs.sagemaker.describe_processing_job(ProcessingJobName=name), "it has begun"
    )
    jobs.sagemaker.stop_processing_job(ProcessingJobName=name)
    assert jobs.processed(name)["ProcessingJobStatus"] == "Stopped"
    name = jobs.process("import time\ntime.sleep(600)", StoppingCondition={"MaxRuntimeInSeconds": 1})
    assert jobs.processed(name)["ProcessingJobStatus"] == "Stopped"


def test_a_place_outside_of_processing_is_refused(jobs):
    given = Jobs.given("rows", f"s3://{BUCKET}/jobs")
    for path in ("/tmp/rows", "/opt/ml/processing/../../../rows"):
        given["S3Input"]["LocalPath"] = path
        with pytest.raises(ClientError, match="must be under /opt/ml/processing"):
            jobs.process("", ProcessingInputs=[given])
    with pytest.raises(ClientError, match="No S3 objects found"):
        jobs.process("", ProcessingInputs=[Jobs.given("rows", f"s3://{BUCKET}/nothing/here")])


# --- batch transform --------------------------------------------------------------------------------------------------

ADDS = """
import json
def model_fn(model_dir):
    return None
def input_fn(body, content_type):
    if content_type == "text/csv":
        return [[float(value) for value in line.split(",")] for line in body.splitlines()]
    return [json.loads(line)["numbers"] for line in body.splitlines()]
def predict_fn(rows, model):
    if any(-1.0 in row for row in rows):
        raise ValueError("a row is negative")
    print("rows", len(rows))
    return [sum(row) for row in rows]
def output_fn(sums, accept):
    if accept == "text/csv":
        return "\\n".join(str(each) for each in sums)
    return "\\n".join(json.dumps({"sum": each}) for each in sums)
"""
"""A program that adds the numbers of each row."""


@pytest.fixture(scope="module")
def model(jobs):
    name = new("model")
    uri = jobs.put(f"{name}/model.tar.gz", archive(ADDS))
    jobs.sagemaker.create_model(
        ModelName=name, ExecutionRoleArn=jobs.role, PrimaryContainer={"Image": IMAGE, "ModelDataUrl": uri}
    )
    return name


@pytest.fixture
def transform(jobs, model):
    """`transform({"a.csv": "1,2"}, …)`: the ended job and what it wrote, by name."""

    def transform(objects, *, kind="text/csv", split="Line", assemble="Line", **more):
        name = new("transform")
        for key, body in objects.items():
            jobs.put(f"{name}/in/{key}", body)
        jobs.sagemaker.create_transform_job(
            TransformJobName=name,
            **{
                "ModelName": model,
                "TransformInput": {
                    "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/{name}/in/"}},
                    "ContentType": kind,
                    "SplitType": split,
                },
                "TransformOutput": {
                    "S3OutputPath": f"s3://{BUCKET}/{name}/out",
                    "Accept": kind,
                    "AssembleWith": assemble,
                },
                "TransformResources": {"InstanceType": "ml.m7i.large", "InstanceCount": 1},
                **more,
            },
        )

        def look():
            job = jobs.sagemaker.describe_transform_job(TransformJobName=name)
            return job if job["TransformJobStatus"] in ENDED else None

        job = until(look, f"{name} ends", 120)
        found = jobs.keys(f"{name}/out/")
        return job, {key.removeprefix(f"{name}/out/"): jobs.read(f"s3://{BUCKET}/{key}").decode() for key in found}

    return transform


def test_every_object_is_transformed_line_by_line(transform, jobs):
    job, out = transform({"a.csv": "1,2\n3,4\n", "deep/b.csv": "5,6"})
    assert (job["TransformJobStatus"], job.get("FailureReason")) == ("Completed", None)
    assert out == {"a.csv.out": "3.0\n7.0\n", "deep/b.csv.out": "11.0\n"}
    assert jobs.log("TransformJobs", job["TransformJobName"], "rows ") == ["rows 2", "rows 1"]


def test_a_single_record_or_a_whole_object_may_go_in_a_request(transform, jobs):
    job, out = transform({"a.csv": "1,2\n3,4\n"}, BatchStrategy="SingleRecord")
    assert out == {"a.csv.out": "3.0\n7.0\n"}
    assert jobs.log("TransformJobs", job["TransformJobName"], "rows ") == ["rows 1", "rows 1"]
    job, out = transform({"a.csv": "1,2\n3,4\n"}, split="None", assemble="None")
    assert out == {"a.csv.out": "3.0\n7.0"}


@pytest.mark.parametrize(
    "processing, out",
    [
        ({"InputFilter": "$[1:]"}, "5.0\n9.0\n"),
        ({"InputFilter": "$[1:]", "JoinSource": "Input"}, "7,2,3,5.0\n8,4,5,9.0\n"),
        ({"InputFilter": "$[1,2]", "JoinSource": "Input", "OutputFilter": "$[0,-1]"}, "7,5.0\n8,9.0\n"),
        ({"OutputFilter": "$[0]"}, "12.0\n17.0\n"),
    ],
)
def test_lines_of_csv_are_filtered_and_joined(transform, processing, out):
    job, found = transform({"a.csv": "7,2,3\n8,4,5\n"}, DataProcessing=processing)
    assert (job.get("FailureReason"), found) == (None, {"a.csv.out": out})


@pytest.mark.parametrize(
    "processing, out",
    [
        ({"InputFilter": "$.asked"}, [{"sum": 3}]),
        (
            {"InputFilter": "$.asked", "JoinSource": "Input"},
            [{"id": 7, "asked": {"numbers": [1, 2]}, "SageMakerOutput": {"sum": 3}}],
        ),
        (
            {"InputFilter": "$['asked']", "JoinSource": "Input", "OutputFilter": "$['id','SageMakerOutput']"},
            [{"id": 7, "SageMakerOutput": {"sum": 3}}],
        ),
        ({"InputFilter": "$.asked", "OutputFilter": "$.sum"}, [3]),
    ],
)
def test_lines_of_json_are_filtered_and_joined(transform, processing, out):
    record = json.dumps({"id": 7, "asked": {"numbers": [1, 2]}})
    job, found = transform({"a.jsonl": record}, kind="application/jsonlines", DataProcessing=processing)
    assert job.get("FailureReason") is None
    assert [json.loads(line) for line in found["a.jsonl.out"].splitlines()] == out


def test_an_object_that_the_model_refuses_fails_the_job_and_not_the_others(transform, jobs):
    job, out = transform({"bad.csv": "-1,2", "good.csv": "1,2"})
    assert (job["TransformJobStatus"], out) == ("Failed", {"good.csv.out": "3.0\n"})
    assert job["FailureReason"] == "AlgorithmError: See job logs for more information"
    name = job["TransformJobName"]
    [line] = jobs.log("TransformJobs", name, "Bad HTTP status")
    assert line.startswith(f"s3://{BUCKET}/{name}/in/bad.csv: Bad HTTP status received from algorithm: 500: a row is")
    job, out = transform({"a.csv": "1," * 600_000 + "1"}, MaxPayloadInMB=1)
    assert (job["FailureReason"], out) == ("ClientError: See job logs for more information", {})
    assert jobs.log("TransformJobs", job["TransformJobName"], "Too much data for max payload size")


def test_a_model_that_does_not_load_fails_its_job(transform, jobs):
    name = new("model")
    uri = jobs.put(f"{name}/model.tar.gz", archive("def model_fn(d):\n    raise OSError('no weights')"))
    jobs.sagemaker.create_model(
        ModelName=name, ExecutionRoleArn=jobs.role, PrimaryContainer={"Image": IMAGE, "ModelDataUrl": uri}
    )
    job, _ = transform({"a.csv": "1"}, ModelName=name)
    assert job["TransformJobStatus"] == "Failed"
    assert "no weights" in job["FailureReason"]


def test_a_transform_job_that_cannot_be_is_refused(transform):
    with pytest.raises(ClientError, match="Could not find model"):
        transform({"a.csv": "1"}, ModelName="nothing")
    with pytest.raises(ClientError, match="AssembleWith must be the same as SplitType"):
        transform({"a.csv": "1"}, assemble="None", DataProcessing={"JoinSource": "Input"})
    with pytest.raises(ClientError, match="DataProcessing needs ContentType"):
        transform({"a.csv": "1"}, kind="application/x-npy", DataProcessing={"InputFilter": "$[0]"})
    with pytest.raises(ClientError, match=r"the path '\$\.\.a' is not rehearsed"):
        transform({"a.csv": "1"}, DataProcessing={"InputFilter": "$..a"})


# --- what they stand on -----------------------------------------------------------------------------------------------


def test_an_emulator_that_is_killed_leaves_no_job(tmp_path):
    started = process.start(tmp_path)
    try:
        jobs = Jobs(User(started, tmp_path))
        name = jobs.train("import os, time\nprint('begun', os.getpid())\ntime.sleep(600)")
        jobs.training(name)
        [line] = jobs.log("TrainingJobs", name, "begun")
        child = int(line.split()[1])
        assert psutil.pid_exists(child)
        os.kill(started.pid, signal.SIGKILL)
        until(lambda: not psutil.pid_exists(child), "the job ends")
    finally:
        process.stop(tmp_path)


def test_a_reset_ends_the_jobs(tmp_path):
    started = process.start(tmp_path)
    try:
        user = User(started, tmp_path)
        jobs = Jobs(user)
        name = jobs.train("import os, time\nprint('begun', os.getpid())\ntime.sleep(600)")
        jobs.training(name)
        [line] = jobs.log("TrainingJobs", name, "begun")
        urllib.request.urlopen(urllib.request.Request(f"{started.endpoint}/moto-api/reset", b"")).close()
        until(lambda: not psutil.pid_exists(int(line.split()[1])), "the job ends")
        with pytest.raises(ClientError, match="Requested resource not found"):
            user.sagemaker.describe_training_job(TrainingJobName=name)
    finally:
        process.stop(tmp_path)


def test_moto_keeps_jobs_in_these_tables_and_has_these_instance_types():
    backend = SageMakerModelBackend("eu-central-1", ACCOUNT)
    for table in TABLES.values():
        assert getattr(backend, table) == {}
    assert INSTANCE_TYPES["g5.xlarge"]["InstanceStorageSupported"] is True
    assert INSTANCE_TYPES["m7i.large"]["InstanceStorageSupported"] is False
    assert {"model_name", "execution_role_arn"} <= set(inspect.signature(Model.__init__).parameters)
    assert {"arn", "assume_role_policy_document"} <= {*dir(Role), *inspect.signature(Role.__init__).parameters}
    assert list(inspect.signature(IAMBackend.get_roles).parameters) == ["self"]
    assert SageMakerResponse().automated_parameter_parsing
