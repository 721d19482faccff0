"""SageMaker pipelines in the emulator, as a user sees them through boto3."""

import inspect
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError
from moto.sagemaker.models import SageMakerModelBackend

from tests.emulated import ACCOUNT, User, new, until
from tests.served_models import archive
from tests.test_emulator_jobs import BUCKET, CODE, IMAGE, Jobs, changes, channel, packed

__all__ = ["changes"]

ENDED = ("Succeeded", "Failed", "Stopped")


class Pipelines:
    """What a user does with pipelines; every name is new."""

    def __init__(self, user: User) -> None:
        self.user, self.sagemaker, self.jobs = user, user.sagemaker, Jobs(user)
        self.role = self.jobs.role

    def create(
        self, steps: Sequence[Mapping[str, Any]], parameters: Sequence[Mapping[str, Any]] = (), **more: Any
    ) -> str:
        definition = {"Version": "2020-12-01", "Metadata": {}, "Parameters": list(parameters), "Steps": list(steps)}
        name = new("pipeline")
        text = json.dumps(definition)
        self.sagemaker.create_pipeline(PipelineName=name, PipelineDefinition=text, RoleArn=self.role, **more)
        return name

    def start(self, pipeline: str, parameters: Mapping[str, str] | None = None, **more: Any) -> str:
        given = [{"Name": name, "Value": value} for name, value in (parameters or {}).items()]
        started = self.sagemaker.start_pipeline_execution(PipelineName=pipeline, PipelineParameters=given, **more)
        return str(started["PipelineExecutionArn"])

    def ended(self, execution: str, seconds: float = 180) -> dict[str, Any]:
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
                "RoleArn": self.role,
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
                "RoleArn": self.role,
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


# --- steps ------------------------------------------------------------------------------------------------------------


def fail(name: str = "fail", message: Any = "no") -> dict[str, Any]:
    return {"Name": name, "Type": "Fail", "Arguments": {"ErrorMessage": message}}


def call(
    name: str, function: str, arguments: Mapping[str, Any] | None = None, *outputs: str, **more: Any
) -> dict[str, Any]:
    """A step that invokes a function."""
    told = [{"OutputName": output, "OutputType": "String"} for output in outputs]
    return {
        "Name": name,
        "Type": "Lambda",
        "FunctionArn": function,
        "Arguments": arguments or {},
        "OutputParameters": told,
        **more,
    }


def got(path: str) -> dict[str, str]:
    return {"Get": path}


def condition(kind: str, left: Any, right: Any) -> dict[str, Any]:
    return {"Type": kind, "LeftValue": left, "RightValue": right}


@pytest.fixture(scope="module")
def echo(pipelines):
    """A function that answers its event, and remembers how often it was called in its log."""
    return pipelines.user.function("def handler(event, context):\n    print('called')\n    return event")


def test_conditions_of_every_kind_hold_and_do_not(pipelines):
    number, word = got("Parameters.Number"), got("Parameters.Word")
    holding = [
        condition("Equals", word, "b"),
        condition("GreaterThan", number, 2),
        condition("GreaterThanOrEqualTo", number, 3),
        condition("LessThan", number, 3.5),
        condition("LessThanOrEqualTo", 3, number),
        {"Type": "In", "QueryValue": word, "Values": ["a", "b"]},
        condition("NotEquals", word, "c"),
        {"Type": "NotIn", "QueryValue": word, "Values": ["a", "c"]},
        {"Type": "Not", "Condition": condition("Equals", number, 4)},
        {"Type": "Or", "Conditions": [condition("Equals", number, 4), condition("Equals", word, "b")]},
    ]
    broken = [
        condition("Equals", word, "c"),
        condition("GreaterThan", number, 3),
        condition("GreaterThanOrEqualTo", number, 4),
        condition("LessThan", number, 3),
        condition("LessThanOrEqualTo", number, 2),
        {"Type": "In", "QueryValue": word, "Values": ["a", "c"]},
        condition("NotEquals", word, "b"),
        {"Type": "NotIn", "QueryValue": word, "Values": ["a", "b"]},
        {"Type": "Not", "Expression": condition("Equals", number, 3)},
        {"Type": "Or", "Conditions": [condition("Equals", number, 4), condition("Equals", word, "c")]},
    ]
    steps = [
        {"Name": f"{word}-{at}", "Type": "Condition", "Arguments": {"Conditions": conditions}}
        for word, found in (
            ("holds", [[each] for each in holding]),
            ("broken", [[each, holding[0]] for each in broken]),
        )
        for at, conditions in enumerate(found)
    ]
    parameters = [
        {"Name": "Number", "Type": "Integer", "DefaultValue": 3},
        {"Name": "Word", "Type": "String", "DefaultValue": "b", "EnumValues": ["a", "b"]},
    ]
    told, done = pipelines.run(steps, parameters=parameters)
    assert told["PipelineExecutionStatus"] == "Succeeded"
    outcomes = {name: step["Metadata"]["Condition"]["Outcome"] for name, step in done.items()}
    assert outcomes == {
        **{f"holds-{at}": "True" for at in range(10)},
        **{f"broken-{at}": "False" for at in range(10)},
    }


def test_only_the_branch_that_holds_is_executed(pipelines, echo):
    taken = got("Steps.otherwise.OutputParameters['a']")
    check = {
        "Name": "check",
        "Type": "Condition",
        "Arguments": {
            "Conditions": [condition("Equals", 1, 2)],
            "IfSteps": [call("then", echo)],
            "ElseSteps": [call("otherwise", echo, {"a": "b"}, "a"), call("after", echo, {"x": taken}, "x")],
        },
    }
    told, done = pipelines.run([check])
    assert told["PipelineExecutionStatus"] == "Succeeded"
    assert set(done) == {"check", "otherwise", "after"}
    assert done["after"]["Metadata"]["Lambda"]["OutputParameters"] == [{"Name": "x", "Value": "b"}]


def test_a_condition_may_hang_on_a_condition(pipelines, echo):
    inner = {
        "Name": "inner",
        "Type": "Condition",
        "Arguments": {
            "Conditions": [condition("Equals", got("Steps.outer.Outcome"), "True")],
            "IfSteps": [call("both", echo)],
            "ElseSteps": [fail()],
        },
    }
    outer = {
        "Name": "outer",
        "Type": "Condition",
        "Arguments": {"Conditions": [condition("Equals", 1, 1)], "IfSteps": [inner]},
    }
    told, done = pipelines.run([outer])
    assert (told["PipelineExecutionStatus"], set(done)) == ("Succeeded", {"outer", "inner", "both"})


def test_values_are_got_and_joined(pipelines, echo):
    arguments = {
        "name": got("Execution.PipelineName"),
        "id": got("Execution.PipelineExecutionId"),
        "joined": {"Std:Join": {"On": "-", "Values": ["a", got("Parameters.Count"), got("Parameters.Share")]}},
        "flag": got("Parameters.Flag"),
        "from": got("Execution.StartDateTime"),
    }
    parameters = [
        {"Name": "Count", "Type": "Integer", "DefaultValue": 2},
        {"Name": "Share", "Type": "Float", "DefaultValue": 0.5},
        {"Name": "Flag", "Type": "Boolean", "DefaultValue": False},
    ]
    pipeline = pipelines.create([call("echo", echo, arguments, *arguments)], parameters)
    execution = pipelines.start(pipeline, {"Count": "7", "Flag": "true"})
    pipelines.ended(execution)
    told = pipelines.steps(execution)["echo"]["Metadata"]["Lambda"]["OutputParameters"]
    values = {each["Name"]: each["Value"] for each in told}
    assert values.pop("from").startswith("20")
    assert values == {"name": pipeline, "id": execution.rpartition("/")[2], "joined": "a-7-0.5", "flag": "true"}
    given = pipelines.sagemaker.list_pipeline_parameters_for_execution(PipelineExecutionArn=execution)
    assert given["PipelineParameters"] == [
        {"Name": "Count", "Value": "7"},
        {"Name": "Share", "Value": "0.5"},
        {"Name": "Flag", "Value": "true"},
    ]


def test_values_are_read_from_json_in_s3(pipelines, echo):
    uri = pipelines.jobs.put(new("report") + ".json", json.dumps({"groups": [{"a.b": 1}, {"a.b": 2}]}))
    read = {"Std:JsonGet": {"S3Uri": uri, "Path": "groups[1]['a.b']"}}
    told, done = pipelines.run([call("echo", echo, {"x": read}, "x")])
    assert done["echo"]["Metadata"]["Lambda"]["OutputParameters"] == [{"Name": "x", "Value": "2"}]
    read = {"Std:JsonGet": {"S3Uri": uri, "Path": "groups[2]"}}
    told, done = pipelines.run([call("echo", echo, {"x": read}, "x")])
    assert (told["PipelineExecutionStatus"], told["FailureReason"]) == (
        "Failed",
        "Step failure: One or multiple steps failed.",
    )
    assert done["echo"]["FailureReason"] == f"ClientError: Unable to find groups[2] in {uri}"


def test_what_training_measured_decides(pipelines):
    step = pipelines.training("train", "print('auc=0.75')")
    step["Arguments"]["AlgorithmSpecification"]["MetricDefinitions"] = [{"Name": "auc", "Regex": "auc=(.*)"}]
    measured = got("Steps.train.FinalMetricDataList['auc'].Value")
    check = {
        "Name": "check",
        "Type": "Condition",
        "Arguments": {"Conditions": [condition("GreaterThan", measured, 0.7)], "ElseSteps": [fail()]},
    }
    told, done = pipelines.run([step, check])
    assert told["PipelineExecutionStatus"] == "Succeeded", done
    assert done["check"]["Metadata"] == {"Condition": {"Outcome": "True"}}


def test_a_model_is_made_and_transforms_a_batch(pipelines):
    folder = new("batch")
    program = """
def model_fn(folder):
    return None
def input_fn(body, content_type):
    return body
def predict_fn(body, model):
    return body.upper()
def output_fn(body, accept):
    return body
"""
    data = pipelines.jobs.put(f"{folder}/model.tar.gz", archive(program))
    pipelines.jobs.put(f"{folder}/in/a.csv", "a,b\n")
    model = {
        "Name": "model",
        "Type": "Model",
        "Arguments": {
            "ExecutionRoleArn": pipelines.role,
            "PrimaryContainer": {"Image": IMAGE, "ModelDataUrl": data},
        },
    }
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/{folder}/in/"}}
    transform = {
        "Name": "transform",
        "Type": "Transform",
        "Arguments": {
            "ModelName": got("Steps.model.ModelName"),
            "TransformInput": {"DataSource": source, "ContentType": "text/csv", "SplitType": "Line"},
            "TransformOutput": {"S3OutputPath": f"s3://{BUCKET}/{folder}/out", "AssembleWith": "Line"},
            "TransformResources": {"InstanceType": "ml.m7i.large", "InstanceCount": 1},
        },
    }
    told, done = pipelines.run([model, transform])
    assert told["PipelineExecutionStatus"] == "Succeeded", done
    assert pipelines.jobs.read(f"s3://{BUCKET}/{folder}/out/a.csv.out") == b"A,B\n"
    assert ":model/" in done["model"]["Metadata"]["Model"]["Arn"]
    assert ":transform-job/" in done["transform"]["Metadata"]["TransformJob"]["Arn"]


def test_a_job_is_named_after_its_execution_and_step_and_runs_as_its_role(pipelines):
    step = pipelines.processing("prepare", "import boto3\nprint(boto3.client('sts').get_caller_identity()['Arn'])")
    execution = pipelines.start(pipelines.create([step]))
    pipelines.ended(execution)
    arn = pipelines.steps(execution)["prepare"]["Metadata"]["ProcessingJob"]["Arn"]
    name = arn.rpartition("/")[2]
    assert name.startswith(f"pipelines-{execution.rpartition('/')[2]}-prepare-")
    assert pipelines.jobs.log("ProcessingJobs", name, "assumed-role/trainer")
    created = [
        call for call in pipelines.user.calls("CreateProcessingJob") if call["principal"].endswith("role/trainer")
    ]
    assert created


@pytest.mark.parametrize(
    "code, words",
    [
        ("def handler(event, context):\n    raise ValueError('bad')", "Error Details: ValueError: bad"),
        ("def handler(event, context):\n    return {}", "did not return output parameter x"),
    ],
)
def test_a_function_that_fails_fails_its_step(pipelines, code, words):
    function = pipelines.user.function(code)
    told, done = pipelines.run([call("call", function, {}, "x"), call("after", function, {}, DependsOn=["call"])])
    assert told["PipelineExecutionStatus"] == "Failed"
    assert words in done["call"]["FailureReason"]
    assert "after" not in done


def test_a_step_whose_call_aws_refuses_fails_with_its_words(pipelines, echo):
    step = pipelines.training("train", "", Arguments={"EnableManagedSpotTraining": True})
    told, done = pipelines.run([step, call("beside", echo)])
    assert told["PipelineExecutionStatus"] == "Failed"
    assert done["train"]["FailureReason"].startswith(
        "ClientError: Failed to invoke sagemaker:CreateTrainingJob. Error Details: Invalid MaxWaitTimeInSeconds"
    )
    assert done["beside"]["StepStatus"] == "Succeeded"


# --- executions -------------------------------------------------------------------------------------------------------


def test_independent_steps_run_side_by_side_as_many_as_are_allowed(pipelines):
    code = """
import pathlib, time
def handler(event, context):
    folder = pathlib.Path(event["folder"])
    mine = folder / event["name"]
    mine.touch()
    time.sleep(0.5)
    found = len(list(folder.iterdir()))
    mine.unlink()
    return {"found": found}
"""
    function = pipelines.user.function(code)
    for limit, most in ((None, 3), (1, 1)):
        folder = pipelines.user.work / f"beside-{most}"
        folder.mkdir()
        steps = [call(f"call-{at}", function, {"folder": str(folder), "name": str(at)}, "found") for at in range(3)]
        more = {"ParallelismConfiguration": {"MaxParallelExecutionSteps": limit}} if limit else {}
        execution = pipelines.start(pipelines.create(steps), **more)
        pipelines.ended(execution)
        found = [
            int(step["Metadata"]["Lambda"]["OutputParameters"][0]["Value"])
            for step in pipelines.steps(execution).values()
        ]
        assert len(found) == 3
        assert max(found) == most


def test_a_start_with_the_same_token_is_one_execution(pipelines, echo):
    pipeline = pipelines.create([call("echo", echo)])
    token = new("retraining") + "0" * 32
    first, second = (pipelines.start(pipeline, ClientRequestToken=token) for _ in range(2))
    other = pipelines.start(pipeline, ClientRequestToken=token + "1")
    assert first == second != other
    listed = pipelines.sagemaker.list_pipeline_executions(PipelineName=pipeline)["PipelineExecutionSummaries"]
    assert [each["PipelineExecutionArn"] for each in listed] == [other, first]


@pytest.mark.parametrize("length, valid", [(31, False), (32, True), (128, True), (129, False)])
def test_a_token_has_32_to_128_characters(pipelines, echo, length, valid):
    pipeline = pipelines.create([call("echo", echo)])
    client = pipelines.user.client("sagemaker", parameter_validation=False)
    asked = {"PipelineName": pipeline, "ClientRequestToken": "t" * length}
    if valid:
        assert client.start_pipeline_execution(**asked)["PipelineExecutionArn"]
    else:
        with pytest.raises(ClientError, match="length between 32 and 128"):
            client.start_pipeline_execution(**asked)


def test_parameters_must_be_known_and_fit(pipelines, echo):
    parameters = [
        {"Name": "Count", "Type": "Integer"},
        {"Name": "Word", "Type": "String", "DefaultValue": "a", "EnumValues": ["a", "b"]},
    ]
    pipeline = pipelines.create([call("echo", echo)], parameters)
    for given, words in (
        ({}, r"Missing value for pipeline parameters \[Count\]"),
        ({"Count": "two"}, r"\[Count\] is of type Integer"),
        ({"Count": "2", "Word": "c"}, "must be one of a, b"),
        ({"Count": "2", "Other": "c"}, r"Unknown pipeline parameters: \[Other\]"),
    ):
        with pytest.raises(ClientError, match=words):
            pipelines.start(pipeline, given)


def test_an_execution_that_is_stopped_stops_its_jobs(pipelines, echo):
    step = pipelines.training("train", "import time\nprint('begun')\ntime.sleep(600)")
    execution = pipelines.start(pipelines.create([step, call("after", echo, DependsOn=["train"])]))

    def job():
        found = pipelines.steps(execution).get("train", {}).get("Metadata")
        return found and found["TrainingJob"]["Arn"].rpartition("/")[2]

    name = until(job, "the step has a job")
    pipelines.jobs.training(name)
    pipelines.sagemaker.stop_pipeline_execution(PipelineExecutionArn=execution)
    told = pipelines.ended(execution)
    assert told["PipelineExecutionStatus"] == "Stopped"
    assert {key: step["StepStatus"] for key, step in pipelines.steps(execution).items()} == {"train": "Stopped"}
    assert pipelines.jobs.trained(name)["TrainingJobStatus"] == "Stopped"
    with pytest.raises(ClientError, match="Only pipeline executions in status Executing can be stopped"):
        pipelines.sagemaker.stop_pipeline_execution(PipelineExecutionArn=execution)


def test_a_retry_executes_what_did_not_succeed_and_nothing_else(pipelines, echo):
    key = new("flag")
    code = f"""
import boto3
def handler(event, context):
    boto3.client("s3").head_object(Bucket="{BUCKET}", Key="{key}")
    return {{}}
"""
    needs = pipelines.user.function(code)
    counted = pipelines.user.function("def handler(event, context):\n    print('called')\n    return {}")
    steps = [
        call("first", counted),
        call("second", needs, DependsOn=["first"]),
        call("third", echo, DependsOn=["second"]),
    ]
    execution = pipelines.start(pipelines.create(steps))
    assert pipelines.ended(execution)["PipelineExecutionStatus"] == "Failed"
    with pytest.raises(ClientError, match="does not exist"):
        pipelines.sagemaker.retry_pipeline_execution(PipelineExecutionArn=f"{execution}x")
    pipelines.jobs.put(key, "there")
    pipelines.sagemaker.retry_pipeline_execution(PipelineExecutionArn=execution)
    assert pipelines.ended(execution)["PipelineExecutionStatus"] == "Succeeded"
    done = pipelines.steps(execution)
    assert {name: step["AttemptCount"] for name, step in done.items()} == {"first": 1, "second": 2, "third": 1}
    assert pipelines.user.logged(counted).count("called") == 1
    with pytest.raises(ClientError, match="can be retried"):
        pipelines.sagemaker.retry_pipeline_execution(PipelineExecutionArn=execution)


def test_a_step_is_tried_again_as_its_policies_say(pipelines):
    policies = [
        {"ExceptionType": ["SageMaker.CAPACITY_ERROR"], "IntervalSeconds": 1, "BackoffRate": 2, "MaxAttempts": 2}
    ]
    step = pipelines.processing("prepare", "print('well')", RetryPolicies=policies)
    for disturbed, status, attempts in ((2, "Succeeded", 3), (3, "Failed", 3)):
        for _ in range(disturbed):
            told = {"job": "-prepare-", "reason": "CapacityError: Unable to provision requested ML compute capacity."}
            pipelines.user.ask("/_slipway/disturb", told)
        _, done = pipelines.run([step])
        assert (done["prepare"]["StepStatus"], done["prepare"]["AttemptCount"]) == (status, attempts)
    told = {"job": "-prepare-", "reason": "InternalServerError: We encountered an internal error."}
    pipelines.user.ask("/_slipway/disturb", told)
    _, done = pipelines.run([step])
    assert (done["prepare"]["StepStatus"], done["prepare"]["AttemptCount"]) == ("Failed", 1)


def test_what_a_step_made_of_the_same_arguments_is_used_again(pipelines):
    kept = {"CacheConfig": {"Enabled": True, "ExpireAfter": "P1d"}}
    step = pipelines.processing("prepare", "print('made')", ["rows"], words=[got("Parameters.Word")], **kept)
    other = pipelines.processing("always", "print('made')", ["rows"])
    parameters = [{"Name": "Word", "Type": "String", "DefaultValue": "a"}]
    pipeline = pipelines.create([step, other], parameters)
    first, second, third = (pipelines.start(pipeline, {"Word": word}) for word in ("a", "b", "c"))
    for each in (first, second, third):
        pipelines.ended(each)
    again = pipelines.start(pipeline, {"Word": "b"})
    pipelines.ended(again)
    done = pipelines.steps(again)
    assert done["prepare"]["CacheHitResult"] == {"SourcePipelineExecutionArn": second}
    assert done["prepare"]["Metadata"] == pipelines.steps(second)["prepare"]["Metadata"]
    assert "CacheHitResult" not in done["always"]
    assert "CacheHitResult" not in pipelines.steps(third)["prepare"]


def test_what_has_expired_is_made_again(pipelines):
    step = pipelines.processing("prepare", "", CacheConfig={"Enabled": True, "ExpireAfter": "PT1S"})
    pipeline = pipelines.create([step])
    first = pipelines.ended(pipelines.start(pipeline))
    until(lambda: (datetime.now(UTC) - first["LastModifiedTime"]).total_seconds() > 1.1, "a second has passed")
    again = pipelines.start(pipeline)
    pipelines.ended(again)
    assert "CacheHitResult" not in pipelines.steps(again)["prepare"]


def test_an_execution_and_its_steps_tell_what_they_go_through(pipelines, echo, changes):
    pipeline = pipelines.create([call("echo", echo, {"a": "b"}, "a")])
    execution = pipelines.start(pipeline, PipelineExecutionDescription="why")
    pipelines.ended(execution)
    whole = "SageMaker Model Building Pipeline Execution Status Change"
    step = "SageMaker Model Building Pipeline Execution Step Status Change"

    def told(title):
        return [each for each in changes(title) if each["pipelineExecutionArn"] == execution]

    def end():
        return [each for each in told(whole) if each["currentPipelineExecutionStatus"] == "Succeeded"]

    [event] = until(end, "its end is told")
    assert event["previousPipelineExecutionStatus"] == "Executing"
    assert (event["pipelineExecutionDescription"], event["pipelineArn"]) == (
        "why",
        execution.partition("/execution")[0],
    )
    assert {"executionStartTime", "executionEndTime", "pipelineExecutionDisplayName"} <= set(event)
    assert {each["currentStepStatus"] for each in told(step)} == {"Starting", "Executing", "Succeeded"}
    [done] = [each for each in told(step) if each["currentStepStatus"] == "Succeeded"]
    assert done["metadata"]["lambda"]["outputParameters"] == [{"name": "a", "value": "b"}]
    assert (done["stepName"], done["stepType"]) == ("echo", "Lambda")


def test_an_alarm_sees_that_an_execution_failed(pipelines):
    pipeline = pipelines.create([fail()])
    alarm = pipelines.user.alarm(
        "ExecutionFailed",
        Namespace="AWS/Sagemaker/ModelBuildingPipeline",
        Statistic="Sum",
        Dimensions=[{"Name": "PipelineName", "Value": pipeline}],
    )
    pipelines.ended(pipelines.start(pipeline))
    until(lambda: pipelines.user.state(alarm) == "ALARM", "the alarm sees the failure")
    listed = pipelines.user.cloudwatch.list_metrics(Dimensions=[{"Name": "PipelineName", "Value": pipeline}])["Metrics"]
    assert {each["MetricName"] for each in listed} == {
        *("ExecutionStarted", "ExecutionFailed", "ExecutionDuration"),
        *("StepStarted", "StepFailed", "StepDuration"),
    }


def test_an_execution_knows_who_started_it(pipelines, echo):
    pipeline = pipelines.create([call("echo", echo)])
    session = pipelines.user.sts.assume_role(RoleArn=pipelines.user.role, RoleSessionName="ann")["Credentials"]
    ann = pipelines.user.client("sagemaker", session["AccessKeyId"], session["SecretAccessKey"])
    execution = ann.start_pipeline_execution(PipelineName=pipeline)["PipelineExecutionArn"]
    told = pipelines.ended(execution)
    assert told["CreatedBy"]["IamIdentity"]["Arn"].endswith(":assumed-role/runner/ann")


def test_a_rule_starts_a_pipeline_with_parameters(pipelines, echo):
    parameters = [{"Name": "Why", "Type": "String"}]
    pipeline = pipelines.create([call("echo", echo, {"why": got("Parameters.Why")}, "why")], parameters)
    arn = pipelines.sagemaker.describe_pipeline(PipelineName=pipeline)["PipelineArn"]
    rule, events = new("rule"), pipelines.user.events
    events.put_rule(Name=rule, EventPattern=json.dumps({"source": [rule]}))
    given = {"PipelineParameterList": [{"Name": "Why", "Value": "drift"}]}
    target = {"Id": "pipeline", "Arn": arn, "RoleArn": pipelines.role, "SageMakerPipelineParameters": given}
    events.put_targets(Rule=rule, Targets=[target])
    events.put_events(Entries=[{"Source": rule, "DetailType": "x", "Detail": "{}"}])

    def started():
        return pipelines.sagemaker.list_pipeline_executions(PipelineName=pipeline)["PipelineExecutionSummaries"]

    [execution] = until(started, "it is started")
    pipelines.ended(execution["PipelineExecutionArn"])
    done = pipelines.steps(execution["PipelineExecutionArn"])
    assert done["echo"]["Metadata"]["Lambda"]["OutputParameters"] == [{"Name": "why", "Value": "drift"}]


# --- definitions ------------------------------------------------------------------------------------------------------


def train(**arguments: Any) -> dict[str, Any]:
    """A training step that is well-formed, but for `arguments`."""
    asked = {
        "RoleArn": "arn:aws:iam::123456789012:role/runner",
        "AlgorithmSpecification": {"TrainingImage": IMAGE, "TrainingInputMode": "File"},
        "OutputDataConfig": {"S3OutputPath": f"s3://{BUCKET}/out"},
        "ResourceConfig": {"InstanceType": "ml.m7i.large", "InstanceCount": 1, "VolumeSizeInGB": 30},
        "StoppingCondition": {"MaxRuntimeInSeconds": 60},
    }
    return {"Name": "train", "Type": "Training", "Arguments": {**asked, **arguments}}


def without(step: dict[str, Any], name: str) -> dict[str, Any]:
    return {**step, "Arguments": {key: value for key, value in step["Arguments"].items() if key != name}}


FUNCTION = "arn:aws:lambda:us-east-1:123456789012:function:f"


@pytest.mark.parametrize(
    "steps, words",
    [
        ([], "Steps must have at least one step"),
        ([fail(), fail()], "Step names must be unique; 'fail' is there twice"),
        ([fail("no name")], "A step is called 'no name'"),
        ([{"Name": "a", "Type": "Train"}], "Step 'a': Type is 'Train'"),
        ([{**fail(), "Depends": []}], "Step 'fail': unknown field Depends"),
        ([{**fail(), "Arguments": {}}], "Step 'fail': ErrorMessage is missing"),
        ([{**fail(), "DependsOn": ["other"]}], "Step 'fail': it depends on step 'other', which does not exist"),
        (
            [{**fail("a"), "DependsOn": ["b"]}, {**fail("b"), "DependsOn": ["a"]}],
            "Steps depend on each other in a circle",
        ),
        ([fail(message=got("Parameters.X"))], "Step 'fail': 'Parameters.X': there is no parameter 'X'"),
        ([fail(message=got("Execution.Name"))], "'Execution.Name': an execution has PipelineName"),
        ([fail(message=got("Steps.train.X"))], "Step 'fail': it depends on step 'train', which does not exist"),
        ([train(), fail(message=got("Steps.train.ModelArtefacts"))], "ModelArtefacts': a Training step has no"),
        ([fail(message=got("Variables.X"))], "'Variables.X' cannot be got"),
        ([fail(message={"Std:Join": {"Values": []}})], "Std:Join needs On"),
        ([train(), fail(message={"Std:JsonGet": {"PropertyFile": got("Steps.train.PropertyFiles.a"), "Path": "b"}})],
         "step 'train' has no property file 'a'"),
        ([train(Spot=True)], "Step 'train': Unknown Argument member 'Spot' in Arguments"),
        ([without(train(), "RoleArn")], "Step 'train': Model Validation failed: Missing required field 'RoleArn'"),
        ([train(RoleArn=7)], "Arguments.RoleArn is 7; it must be a string"),
        ([train(ResourceConfig={"InstanceType": "ml.m99.large", "VolumeSizeInGB": 1})],
         "Value 'ml.m99.large' for 'TrainingInstanceType' failed to satisfy enum value set: [ml."),
        ([train(ResourceConfig=[])], "Expecting start of Json Object: Arguments.ResourceConfig"),
        ([train(InputDataConfig={})], "Expecting start of Json Array: Arguments.InputDataConfig"),
        ([{"Name": "r", "Type": "RegisterModel", "Arguments": {"ModelPackageName": "a"}}], "'ModelPackageName'"),
        ([train(StoppingCondition={"MaxRuntimeInSeconds": "60"})], "MaxRuntimeInSeconds is '60'; it must be a integer"),
        ([{**train(), "CacheConfig": {"Enabled": True, "ExpireAfter": "1 day"}}], "CacheConfig.ExpireAfter is '1 day'"),
        ([{**fail(), "CacheConfig": {"Enabled": True, "ExpireAfter": "P1D"}}], "CacheConfig is for steps of type"),
        ([{**train(), "RetryPolicies": [{"ExceptionType": ["Any"], "MaxAttempts": 1}]}], "ExceptionType of a retry"),
        ([{**train(), "RetryPolicies": [{"ExceptionType": ["Step.THROTTLING"]}]}], "of MaxAttempts and ExpireAfterMin"),
        ([{"Name": "c", "Type": "Condition", "Arguments": {"Conditions": []}}], "Step 'c': Conditions must have"),
        ([{"Name": "c", "Type": "Condition", "Arguments": {"Conditions": [{"Type": "Like"}]}}], "of type 'Like'"),
        ([{"Name": "c", "Type": "Condition", "Arguments": {"Conditions": [7]}}], "a condition is 7"),
        ([{"Name": "c", "Type": "Condition", "Arguments": {"Conditions": [{"Type": "Equals", "LeftValue": 1}]}}],
         "a condition of type Equals lacks RightValue"),
        ([{"Name": "l", "Type": "Lambda", "Arguments": {}}], "Step 'l': FunctionArn is missing"),
        ([call("l", FUNCTION, {}, "x"), fail(message=got("Steps.l.OutputParameters['y']"))], "a Lambda step has no"),
    ],
)  # fmt: skip
def test_a_definition_that_is_wrong_is_refused_with_the_step(pipelines, steps, words):
    with pytest.raises(ClientError) as refused:
        pipelines.create(steps)
    assert refused.value.response["Error"]["Code"] == "ValidationException"
    assert words in str(refused.value)


@pytest.mark.parametrize("text, words", [("{", "It is not JSON"), ('{"Version": "1", "Steps": []}', "Version is '1'")])
def test_a_definition_has_the_schema_of_2020(pipelines, text, words):
    with pytest.raises(ClientError, match=words):
        pipelines.sagemaker.create_pipeline(
            PipelineName=new("pipeline"), PipelineDefinition=text, RoleArn=pipelines.role
        )


def test_a_definition_of_the_sdk_is_taken(pipelines):
    """Version 3.27 writes null for what was not asked for, and an experiment's name."""
    experiment = {"ExperimentName": got("Execution.PipelineName"), "TrialName": got("Execution.PipelineExecutionId")}
    definition = {
        "Version": "2020-12-01",
        "Metadata": {},
        "Parameters": [],
        "PipelineExperimentConfig": experiment,
        "MlflowConfig": None,
        "Steps": [fail()],
    }
    asked = {"PipelineName": new("pipeline"), "RoleArn": pipelines.role}
    pipelines.sagemaker.create_pipeline(PipelineDefinition=json.dumps(definition), **asked)
    definition["MlflowConfig"] = {"MlflowResourceArn": "arn"}
    with pytest.raises(ClientError, match="pipelines with MlflowConfig in their definition are not rehearsed"):
        pipelines.sagemaker.update_pipeline(PipelineDefinition=json.dumps(definition), **asked)


def test_a_step_that_is_not_rehearsed_says_so(pipelines):
    with pytest.raises(ClientError, match="step tune is of type Tuning, which is not rehearsed") as refused:
        pipelines.create([{"Name": "tune", "Type": "Tuning", "Arguments": {}}])
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 501


def test_a_pipeline_is_described_changed_listed_and_deleted(pipelines, echo):
    sagemaker = pipelines.sagemaker
    pipeline = pipelines.create([fail()], Tags=[{"Key": "team", "Value": "a"}], PipelineDescription="first")
    with pytest.raises(ClientError, match="Pipeline names must be unique"):
        sagemaker.create_pipeline(
            PipelineName=pipeline,
            PipelineDefinition=json.dumps({"Version": "2020-12-01", "Steps": [fail()]}),
            RoleArn=pipelines.role,
        )
    failed = pipelines.start(pipeline)
    assert pipelines.ended(failed)["FailureReason"] == "no"
    text = json.dumps({"Version": "2020-12-01", "Steps": [call("echo", echo)]})
    pipelines.jobs.put(f"{pipeline}.json", text)
    place = {"Bucket": BUCKET, "ObjectKey": f"{pipeline}.json"}
    updated = sagemaker.update_pipeline(PipelineName=pipeline, PipelineDefinitionS3Location=place)
    assert updated["PipelineVersionId"] == 2
    told = sagemaker.describe_pipeline(PipelineName=updated["PipelineArn"])
    assert (told["PipelineDefinition"], told["PipelineDescription"]) == (text, "first")
    assert told["CreatedBy"]["IamIdentity"]["Arn"].endswith(":root")
    assert sagemaker.list_tags(ResourceArn=updated["PipelineArn"])["Tags"] == [{"Key": "team", "Value": "a"}]
    assert pipelines.ended(pipelines.start(pipeline))["PipelineExecutionStatus"] == "Succeeded"
    before = sagemaker.describe_pipeline_definition_for_execution(PipelineExecutionArn=failed)["PipelineDefinition"]
    assert json.loads(before)["Steps"] == [fail()]
    listed = sagemaker.list_pipelines(PipelineNamePrefix=pipeline)["PipelineSummaries"]
    assert [each["PipelineName"] for each in listed] == [pipeline]
    sagemaker.delete_pipeline(PipelineName=pipeline)
    with pytest.raises(ClientError, match="does not exist") as gone:
        sagemaker.describe_pipeline(PipelineName=pipeline)
    assert gone.value.response["Error"]["Code"] == "ResourceNotFound"


def test_a_pipeline_that_runs_is_not_deleted(pipelines):
    step = pipelines.processing("wait", "import time\ntime.sleep(600)")
    pipeline = pipelines.create([step])
    execution = pipelines.start(pipeline)
    with pytest.raises(ClientError, match="has running executions"):
        pipelines.sagemaker.delete_pipeline(PipelineName=pipeline)
    pipelines.sagemaker.stop_pipeline_execution(PipelineExecutionArn=execution)
    pipelines.ended(execution)
    pipelines.sagemaker.delete_pipeline(PipelineName=pipeline)


def test_moto_keeps_pipelines_in_this_table():
    assert SageMakerModelBackend("eu-central-1", ACCOUNT).pipelines == {}
    source = inspect.getsource(SageMakerModelBackend._get_resource_from_arn)
    assert '"pipeline": self.pipelines' in source
