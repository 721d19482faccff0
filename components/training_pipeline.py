"""How a model comes to be: from labels and features to a version in the registry, the same way every time."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

import pulumi
import pulumi_aws as aws
from pydantic import Field, PositiveInt, StringConstraints, field_validator, model_validator

from components.alarms import Alarms
from components.dashboard import Chart
from components.function import Function
from components.iam import Statement, allow, default_tags, document, local_arn, read_with_key, trust
from components.logs import RetentionDays
from components.model_registry import may_register
from components.runbook import Guide
from components.spec import Spec
from policies.local_disks import has_local_disks

ROOT = Path(__file__).parent.parent
VERSION = "2020-12-01"
"""Of the definition's schema:
https://aws-sagemaker-mlops.github.io/sagemaker-model-building-pipeline-definition-JSON-schema/"""
INPUT, OUTPUT = "/opt/ml/processing/input", "/opt/ml/processing/output"
CODE = "/opt/ml/input/data/code"
"""Where the channel `code` is in a training container."""
CHECKPOINTS = "/opt/ml/checkpoints"
MOST_PROPERTIES = 50
"""Metadata properties that a model package takes. Beside hyperparameters there are ours, the metrics, the signature."""
MOST_HYPERPARAMETERS = 25
FIXED = ("Dataset", "Labels", "Records", "AsOf", "Image", "Code", "CodeRevision", "ReleaseNotes")
"""The parameters that every pipeline has; the others are its hyperparameters."""
SAGEMAKER = "sagemaker.amazonaws.com"
PIPELINES = "AWS/Sagemaker/ModelBuildingPipeline"
"""CloudWatch's namespace for pipelines, spelt so.
https://docs.aws.amazon.com/sagemaker/latest/dg/monitoring-cloudwatch.html"""
NOTHING = "-"
"""Stands for an empty text, which a metadata property cannot be."""
EVERYTHING = "all"
"""As AsOf: take all that is there."""

InstanceType = Annotated[str, StringConstraints(pattern=r"^ml\.[a-z0-9-]+\.[a-z0-9]+$")]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$")]
Text = Annotated[str, StringConstraints(min_length=1, max_length=256)]


class JobSpec(Spec):
    """What one step runs on, and for how long at most."""

    instance_type: InstanceType = "ml.m5.large"
    """The machines of the job, with `ml.` before it."""
    instance_count: int = Field(default=1, ge=1, le=100)
    """How many machines."""
    volume_gib: int = Field(default=30, ge=1, le=16384)
    """The disk of each."""
    max_runtime_minutes: int = Field(default=60, ge=1, le=28 * 24 * 60)
    """SageMaker stops it then; it takes at most 28 days for training, and 5 for processing."""


class ProcessingSpec(JobSpec):
    """A step that reads and writes data."""

    max_runtime_minutes: int = Field(default=60, ge=1, le=5 * 24 * 60)


class TrainingSpec(JobSpec):
    """The step that makes the model."""

    spot: bool = False
    """Whether it runs on spare capacity, for up to 90 % less, and goes on from its checkpoints when that is taken."""
    max_wait_minutes: PositiveInt | None = None
    """With spot: how long it may take with all the waiting for capacity; twice its runtime where nothing is said."""
    keep_alive_minutes: int = Field(default=0, ge=0, le=360)
    """How long its instances wait, and cost, for the next run. More than 60 needs a higher quota."""

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.max_wait_minutes is not None and not self.spot:
            raise ValueError("max_wait_minutes is for spot capacity: set spot: true, or leave it out")
        if self.max_wait_minutes is not None and self.max_wait_minutes < self.max_runtime_minutes:
            raise ValueError(
                f"max_wait_minutes {self.max_wait_minutes} is less than max_runtime_minutes "
                f"{self.max_runtime_minutes}, which it includes"
            )
        if self.spot and self.keep_alive_minutes:
            raise ValueError("spot instances are not kept alive: set keep_alive_minutes: 0 or spot: false")
        if self.spot and 2 * self.max_runtime_minutes > 28 * 24 * 60 and self.max_wait_minutes is None:
            raise ValueError("with spot, AWS waits 28 days at most: set max_wait_minutes to 40320 or less")
        return self

    @property
    def wait_minutes(self) -> int:
        """How long it may take on spot capacity."""
        return self.max_wait_minutes or 2 * self.max_runtime_minutes


class GateSpec(Spec):
    """What a model must reach on held-out rows to be registered, by the names of evaluation.json's metrics."""

    at_least: Mapping[Name, float] = {}
    """The least of each metric, by its name in the evaluation."""
    at_most: Mapping[Name, float] = {}
    """The most of each."""

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if not self.at_least and not self.at_most:
            raise ValueError("a gate without a threshold stops nothing: set at_least, such as {accuracy: 0.8}")
        return self


class PipelineSpec(Spec):
    """How one product's models are trained: described here, or in a definition that `slipway pipeline compile` made."""

    definition: str | None = None
    """Path in this repository of a compiled definition; then what the steps run on is said there, not here."""
    prepare: ProcessingSpec = ProcessingSpec()
    """The job that joins features with labels."""
    train: TrainingSpec = TrainingSpec()
    """The job that trains."""
    evaluate: ProcessingSpec = ProcessingSpec()
    """The job that measures."""
    hyperparameters: Mapping[Name, str | int | float] = {}
    """The defaults; a start may say otherwise."""
    gate: GateSpec | None = None
    """What a version has to reach to be registered."""
    cache_days: int | None = Field(default=None, ge=1, le=365)
    """For how long a step whose arguments are the same is not run again; None: it always is. A dataset's name has to
    stand for its content, then."""
    retries: int = Field(default=3, ge=0, le=20)
    """How often a step is tried again that fails on AWS's side: a fault, throttling, no capacity."""
    log_days: RetentionDays = 90
    """How long the jobs' logs are kept."""

    @field_validator("hyperparameters")
    @classmethod
    def _named(cls, given: Mapping[str, str | int | float]) -> Mapping[str, str | int | float]:
        if taken := sorted({*given} & {*FIXED}):
            raise ValueError(f"{taken[0]} is a parameter of every pipeline: call the hyperparameter something else")
        if len(given) > MOST_HYPERPARAMETERS:
            raise ValueError(
                f"{len(given)} hyperparameters: the registry keeps {MOST_HYPERPARAMETERS} of each version, beside what "
                f"else it says in {MOST_PROPERTIES} properties; put those that never change into the code"
            )
        for name in given:
            if name.startswith("sagemaker_"):
                raise ValueError(f"{name}: names that begin with sagemaker_ are SageMaker's")
        return given

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.definition is None and self.gate is None:
            raise ValueError("set gate (at_least: {accuracy: 0.8}), or definition to a compiled pipeline")
        told = self.model_fields_set & {
            "prepare",
            "train",
            "evaluate",
            "hyperparameters",
            "gate",
            "cache_days",
            "retries",
        }
        if self.definition is not None and told:
            raise ValueError(f"{sorted(told)[0]} is said in {self.definition}: leave it or definition out")
        return self

    @model_validator(mode="after")
    def _is_there(self) -> Self:
        if self.definition is not None and not (ROOT / self.definition).is_file():
            raise ValueError(f"there is no {self.definition}: make it with `slipway pipeline compile FILE.py`")
        return self

    @property
    def digest(self) -> str:
        """What tells this configuration from others."""
        told = json.dumps(self.model_dump(mode="json", exclude={"log_days"}), sort_keys=True, separators=(",", ":"))
        more = (ROOT / self.definition).read_text("utf-8") if self.definition else ""
        return hashlib.sha256((told + more).encode()).hexdigest()


@dataclass(frozen=True)
class Code:
    """The code of a pipeline's steps, as infra.pipelines packs it."""

    files: Mapping[str, str]
    """Object name → its content in base64: sourcedir.tar.gz, and the entry scripts of processing steps."""
    sha256: str
    revision: str
    """The commit that last changed it."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a pipeline works: what it may use, and what its definition therefore has to name."""

    role_arn: pulumi.Input[str]
    kms_key_arn: pulumi.Input[str]
    subnet_ids: pulumi.Input[Sequence[str]]
    security_group_id: pulumi.Input[str]
    uri: pulumi.Input[str]
    """The product's prefix of the lake: `s3://bucket/employment`."""
    record_function_arn: pulumi.Input[str]
    complete_function_arn: pulumi.Input[str]

    @property
    def vpc(self) -> dict[str, Any]:
        """VpcConfig of every job."""
        return {"SecurityGroupIds": [self.security_group_id], "Subnets": self.subnet_ids}


def definition(
    name: str, spec: PipelineSpec, place: Place, *, image: pulumi.Input[str], code: Code, records_uri: pulumi.Input[str]
) -> dict[str, Any]:
    """The definition of a typed description; its values may be Outputs."""
    assert spec.gate
    parameters = [
        {"Name": "Dataset", "Type": "String"},
        *(
            _parameter(word, default)
            for word, default in (
                ("Labels", _joined(place.uri, "/labels/")),
                ("Records", records_uri),
                ("AsOf", EVERYTHING),
                ("Image", image),
                ("Code", _joined(place.uri, f"/pipelines/{code.sha256}/")),
                ("CodeRevision", f"{code.revision}-{code.sha256}"),
                ("ReleaseNotes", NOTHING),
                *((word, str(value)) for word, value in sorted(spec.hyperparameters.items())),
            )
        ),
    ]
    return {
        "Version": VERSION,
        "Metadata": {},
        "Parameters": parameters,
        "Steps": [
            _prepare(spec, place),
            _train(spec, place),
            _evaluate(spec, place),
            _record(spec, place),
            _gate(name, spec, spec.gate, place),
        ],
    }


def get(path: str) -> dict[str, str]:
    """Stands for a value that is known when the pipeline runs: of a parameter, of the execution, or of a step."""
    return {"Get": path}


def join(*values: Any) -> dict[str, Any]:
    """Texts and what stands for texts, put together when the pipeline runs."""
    return {"Std:Join": {"On": "", "Values": list(values)}}


def _joined(*parts: pulumi.Input[str]) -> pulumi.Output[str]:
    return pulumi.Output.concat(*parts)


def _parameter(name: str, default: pulumi.Input[str]) -> dict[str, Any]:
    return {"Name": name, "Type": "String", "DefaultValue": default}


def _of(step: str, output: str) -> dict[str, str]:
    """Where a processing step's output is in S3."""
    return get(f"Steps.{step}.ProcessingOutputConfig.Outputs['{output}'].S3Output.S3Uri")


def _input(name: str, uri: Any) -> dict[str, Any]:
    source = {
        "S3Uri": uri,
        "LocalPath": f"{INPUT}/{name}",
        "S3DataType": "S3Prefix",
        "S3InputMode": "File",
        "S3DataDistributionType": "FullyReplicated",
        "S3CompressionType": "None",
    }
    return {"InputName": name, "AppManaged": False, "S3Input": source}


def _processing(
    name: str, spec: PipelineSpec, job: JobSpec, place: Place, *, inputs: Sequence[Any], to: Any, output: str
) -> dict[str, Any]:
    """A step that runs `<name>.py` of the code; arguments: each input's folder under its name, and `--output`."""
    words = [word for each in inputs for word in (f"--{each['InputName']}", each["S3Input"]["LocalPath"])]
    step = {
        "Name": name,
        "Type": "Processing",
        "Arguments": {
            "RoleArn": place.role_arn,
            "AppSpecification": {
                "ImageUri": get("Parameters.Image"),
                "ContainerEntrypoint": ["python3", f"{INPUT}/code/{name}.py"],
                "ContainerArguments": [*words, "--output", f"{OUTPUT}/{output}"],
            },
            "ProcessingInputs": [_input("code", get("Parameters.Code")), *inputs],
            "ProcessingOutputConfig": {
                "Outputs": [
                    {
                        "OutputName": output,
                        "AppManaged": False,
                        "S3Output": {"S3Uri": to, "LocalPath": f"{OUTPUT}/{output}", "S3UploadMode": "EndOfJob"},
                    }
                ]
            },
            "ProcessingResources": {
                "ClusterConfig": {
                    "InstanceType": job.instance_type,
                    "InstanceCount": job.instance_count,
                    "VolumeSizeInGB": job.volume_gib,
                }
            },
            "StoppingCondition": {"MaxRuntimeInSeconds": 60 * job.max_runtime_minutes},
        },
        "PropertyFiles": [{"PropertyFileName": output, "OutputName": output, "FilePath": f"{output}.json"}],
    }
    return _reliable(secured(step, place), spec)


def _job(
    spec: PipelineSpec, place: Place, image: pulumi.Input[str], code_uri: pulumi.Input[str]
) -> dict[str, pulumi.Input[Any]]:
    """What every processing job of the product's code has, beside its script, inputs and output."""
    arguments = _processing("", spec, spec.prepare, place, inputs=[], to="", output="")["Arguments"]
    return {
        "RoleArn": arguments["RoleArn"],
        "ImageUri": image,
        "Code": code_uri,
        "KmsKeyId": arguments["ProcessingOutputConfig"]["KmsKeyId"],
        **{name: arguments[name] for name in ("ProcessingResources", "NetworkConfig", "StoppingCondition")},
        "Tags": default_tags(),
    }


def _prepare(spec: PipelineSpec, place: Place) -> dict[str, Any]:
    step = _processing(
        "prepare",
        spec,
        spec.prepare,
        place,
        inputs=[_input("labels", get("Parameters.Labels")), _input("records", get("Parameters.Records"))],
        to=join(place.uri, "/training/", get("Parameters.Dataset")),
        output="dataset",
    )
    step["Arguments"]["AppSpecification"]["ContainerArguments"] += ["--as-of", get("Parameters.AsOf")]
    return step


def _train(spec: PipelineSpec, place: Place) -> dict[str, Any]:
    job = spec.train
    condition = {"MaxRuntimeInSeconds": 60 * job.max_runtime_minutes}
    arguments: dict[str, Any] = {
        "RoleArn": place.role_arn,
        "AlgorithmSpecification": {"TrainingImage": get("Parameters.Image"), "TrainingInputMode": "File"},
        "HyperParameters": {
            "sagemaker_program": "train.py",
            "sagemaker_submit_directory": f"{CODE}/sourcedir.tar.gz",
            **{name: get(f"Parameters.{name}") for name in sorted(spec.hyperparameters)},
        },
        "InputDataConfig": [
            _channel("code", get("Parameters.Code")),
            _channel("train", join(_of("prepare", "dataset"), "/train/")),
        ],
        "OutputDataConfig": {"S3OutputPath": _joined(place.uri, "/models")},
        "ResourceConfig": {
            "InstanceType": job.instance_type,
            "InstanceCount": job.instance_count,
            "VolumeSizeInGB": job.volume_gib,
            **({"KeepAlivePeriodInSeconds": 60 * job.keep_alive_minutes} if job.keep_alive_minutes else {}),
        },
        "StoppingCondition": condition,
    }
    if job.spot:
        arguments["EnableManagedSpotTraining"] = True
        arguments["StoppingCondition"] = {**condition, "MaxWaitTimeInSeconds": 60 * job.wait_minutes}
        # Each execution has its own: another one must not go on from them.
        checkpoints = join(place.uri, "/pipelines/checkpoints/", get("Execution.PipelineExecutionId"))
        arguments["CheckpointConfig"] = {"S3Uri": checkpoints, "LocalPath": CHECKPOINTS}
        arguments["Environment"] = {"SM_CHECKPOINT_DIR": CHECKPOINTS}
    return _reliable(secured({"Name": "train", "Type": "Training", "Arguments": arguments}, place), spec)


def _channel(name: str, uri: Any) -> dict[str, Any]:
    source = {"S3DataType": "S3Prefix", "S3Uri": uri, "S3DataDistributionType": "FullyReplicated"}
    return {"ChannelName": name, "DataSource": {"S3DataSource": source}}


def _evaluate(spec: PipelineSpec, place: Place) -> dict[str, Any]:
    model = get("Steps.train.ModelArtifacts.S3ModelArtifacts")
    return _processing(
        "evaluate",
        spec,
        spec.evaluate,
        place,
        inputs=[_input("model", model), _input("dataset", _of("prepare", "dataset"))],
        to=join(place.uri, "/models/", get("Steps.train.TrainingJobName"), "/evaluation"),
        output="evaluation",
    )


def _record(spec: PipelineSpec, place: Place) -> dict[str, Any]:
    """Tell the experiment tracker of the run, and find out what the registry wants to know: who started it, of what."""
    told = {
        "execution": get("Execution.PipelineExecutionArn"),
        "pipeline": get("Execution.PipelineName"),
        "evaluation": join(_of("evaluate", "evaluation"), "/evaluation.json"),
        "dataset": join(_of("prepare", "dataset"), "/dataset.json"),
        "training_job": get("Steps.train.TrainingJobName"),
        "hyperparameters": {name: get(f"Parameters.{name}") for name in sorted(spec.hyperparameters)},
        "tags": {
            "code_revision": get("Parameters.CodeRevision"),
            "configuration_hash": spec.digest,
            "image": get("Parameters.Image"),
        },
    }
    outputs = [{"OutputName": name, "OutputType": "String"} for name in ("author", "dataset_sha256", "tracked_run")]
    return {
        "Name": "record",
        "Type": "Lambda",
        "FunctionArn": place.record_function_arn,
        "Arguments": told,
        "OutputParameters": outputs,
    }


def _gate(name: str, spec: PipelineSpec, gate: GateSpec, place: Place) -> dict[str, Any]:
    def measured(metric: str) -> dict[str, Any]:
        file = {"Get": "Steps.evaluate.PropertyFiles.evaluation"}
        return {"Std:JsonGet": {"PropertyFile": file, "Path": f"metrics.{metric}"}}

    conditions = [
        {"Type": kind, "LeftValue": measured(metric), "RightValue": bound}
        for kind, bounds in (("GreaterThanOrEqualTo", gate.at_least), ("LessThanOrEqualTo", gate.at_most))
        for metric, bound in sorted(bounds.items())
    ]
    asked = ", ".join(
        f"{metric} {sign} {bound:g}"
        for sign, bounds in (("≥", gate.at_least), ("≤", gate.at_most))
        for metric, bound in sorted(bounds.items())
    )
    refuse = {
        "Name": "refuse",
        "Type": "Fail",
        "Arguments": {
            "ErrorMessage": join(f"The model does not pass its gate ({asked}): see ", _of("evaluate", "evaluation"))
        },
    }
    return {
        "Name": "gate",
        "Type": "Condition",
        "DependsOn": ["record"],
        "Arguments": {
            "Conditions": conditions,
            "IfSteps": [_register(name, spec), _complete(place), _link(place)],
            "ElseSteps": [refuse],
        },
    }


def _register(name: str, spec: PipelineSpec) -> dict[str, Any]:
    kinds = ["text/csv", "application/json"]
    evaluation = _of("evaluate", "evaluation")

    def file(name: str) -> dict[str, Any]:
        return {"ContentType": "application/json", "S3Uri": join(evaluation, f"/{name}.json")}

    properties = {
        "run": get("Execution.PipelineExecutionId"),
        "training_job": get("Steps.train.TrainingJobName"),
        "author": get("Steps.record.OutputParameters['author']"),
        "dataset": _of("prepare", "dataset"),
        "dataset_sha256": get("Steps.record.OutputParameters['dataset_sha256']"),
        "code": get("Parameters.Code"),
        "code_revision": get("Parameters.CodeRevision"),
        "configuration_hash": spec.digest,
        "image": get("Parameters.Image"),
        "release_notes": get("Parameters.ReleaseNotes"),
        "tracked_run": get("Steps.record.OutputParameters['tracked_run']"),
        **{f"param_{word}": get(f"Parameters.{word}") for word in sorted(spec.hyperparameters)},
    }
    step = {
        "Name": "register",
        "Type": "RegisterModel",
        "Arguments": {
            "ModelPackageGroupName": name,
            "ModelApprovalStatus": "PendingManualApproval",
            "InferenceSpecification": {
                "Containers": [
                    {
                        "Image": get("Parameters.Image"),
                        "ModelDataUrl": get("Steps.train.ModelArtifacts.S3ModelArtifacts"),
                    }
                ],
                "SupportedContentTypes": kinds,
                "SupportedResponseMIMETypes": kinds,
            },
            "ModelMetrics": {
                "ModelQuality": {"Statistics": file("evaluation")},
                # For tools that know Model Monitor's files; our monitors go by the baseline, which is signed.
                "ModelDataQuality": {"Statistics": file("statistics"), "Constraints": file("constraints")},
            },
            "DriftCheckBaselines": {"ModelDataQuality": {"Statistics": file("baseline")}},
            "CustomerMetadataProperties": properties,
        },
    }
    return _reliable(step, spec, cached=False)


def _complete(place: Place) -> dict[str, Any]:
    evaluation = _of("evaluate", "evaluation")
    return {
        "Name": "complete",
        "Type": "Lambda",
        "FunctionArn": place.complete_function_arn,
        "Arguments": {
            "model_package_arn": get("Steps.register.ModelPackageArn"),
            "author": get("Steps.record.OutputParameters['author']"),
            "evaluation": join(evaluation, "/evaluation.json"),
            "baseline": join(evaluation, "/baseline.json"),
        },
    }


def _link(place: Place) -> dict[str, Any]:
    """Tell the experiment tracker which version the run became."""
    return {
        "Name": "link",
        "Type": "Lambda",
        "DependsOn": ["complete"],
        "FunctionArn": place.record_function_arn,
        "Arguments": {
            "tracked_run": get("Steps.record.OutputParameters['tracked_run']"),
            "pipeline": get("Execution.PipelineName"),
            "tags": {"model_package_arn": get("Steps.register.ModelPackageArn")},
        },
    }


def _reliable(step: dict[str, Any], spec: PipelineSpec, *, cached: bool = True) -> dict[str, Any]:
    """Try again what failed on AWS's side, and use again what is known."""
    if spec.retries:
        often = {"IntervalSeconds": 10, "BackoffRate": 2.0, "MaxAttempts": spec.retries}
        step["RetryPolicies"] = [{"ExceptionType": ["Step.SERVICE_FAULT", "Step.THROTTLING"], **often}]
        if step["Type"] in ("Processing", "Training"):
            kinds = ["SageMaker.JOB_INTERNAL_ERROR", "SageMaker.CAPACITY_ERROR", "SageMaker.RESOURCE_LIMIT"]
            step["RetryPolicies"].append({"ExceptionType": kinds, **often, "IntervalSeconds": 60})
    if cached and spec.cache_days:
        step["CacheConfig"] = {"Enabled": True, "ExpireAfter": f"P{spec.cache_days}D"}
    return step


def secured(step: dict[str, Any], place: Place) -> dict[str, Any]:
    """A step with what keeps it in: its role, our network and no other, our key, and nothing in the clear."""
    arguments = dict(step["Arguments"])
    if step["Type"] == "Training":
        resources = dict(arguments["ResourceConfig"])
        resources.pop("VolumeKmsKeyId", None)
        arguments |= {
            "RoleArn": place.role_arn,
            "EnableNetworkIsolation": True,
            "EnableInterContainerTrafficEncryption": resources["InstanceCount"] > 1,
            "VpcConfig": place.vpc,
            "OutputDataConfig": {**arguments["OutputDataConfig"], "KmsKeyId": place.kms_key_arn},
            "ResourceConfig": {**resources, **_volume_key(resources, place)},
        }
    elif step["Type"] == "Processing":
        cluster = dict(arguments["ProcessingResources"]["ClusterConfig"])
        cluster.pop("VolumeKmsKeyId", None)
        outputs = arguments.get("ProcessingOutputConfig", {"Outputs": []})
        arguments |= {
            "RoleArn": place.role_arn,
            "NetworkConfig": {
                "EnableNetworkIsolation": True,
                "EnableInterContainerTrafficEncryption": cluster["InstanceCount"] > 1,
                "VpcConfig": place.vpc,
            },
            "ProcessingOutputConfig": {**outputs, "KmsKeyId": place.kms_key_arn},
            "ProcessingResources": {"ClusterConfig": {**cluster, **_volume_key(cluster, place)}},
        }
    return {**step, "Arguments": arguments}


def compiled(
    name: str, spec: PipelineSpec, place: Place, *, image: pulumi.Input[str], code: Code, records_uri: pulumi.Input[str]
) -> dict[str, Any]:
    """A definition that was compiled, with what only a deployment knows: parameters' values, functions, and what keeps
    jobs in."""
    told: dict[str, Any] = json.loads((ROOT / str(spec.definition)).read_text("utf-8"))
    known: dict[str, pulumi.Input[str]] = {
        "LakeUri": place.uri,
        "Labels": _joined(place.uri, "/labels/"),
        "Records": records_uri,
        "Image": image,
        "Code": _joined(place.uri, f"/pipelines/{code.sha256}/"),
        "CodeRevision": f"{code.revision}-{code.sha256}",
        "ConfigurationHash": spec.digest,
    }
    parameters = [
        {**each, "DefaultValue": known[each["Name"]]} if each["Name"] in known else each for each in told["Parameters"]
    ]
    return {**told, "Parameters": parameters, "Steps": [_filled_in(name, step, place) for step in told["Steps"]]}


def _filled_in(name: str, step: dict[str, Any], place: Place) -> dict[str, Any]:
    arguments = step.get("Arguments", {})
    if step["Type"] == "Condition":
        branches = {
            branch: [_filled_in(name, each, place) for each in arguments.get(branch, ())]
            for branch in ("IfSteps", "ElseSteps")
        }
        return {**step, "Arguments": {**arguments, **branches}}
    if step["Type"] == "Lambda":
        ours = {
            "record": place.record_function_arn,
            "link": place.record_function_arn,
            "complete": place.complete_function_arn,
        }
        if step["Name"] not in ours:
            raise ValueError(f"step {step['Name']} asks a function: only record, complete and link may")
        return {**step, "FunctionArn": ours[step["Name"]]}
    if step["Type"] == "RegisterModel":
        said = {"ModelPackageGroupName": name, "ModelApprovalStatus": "PendingManualApproval"}
        return {**step, "Arguments": {**arguments, **said}}
    if step["Type"] not in ("Training", "Processing", "Fail"):
        raise ValueError(
            f"step {step['Name']} is of type {step['Type']}: what a pipeline's role may do is known for Training, "
            "Processing, Condition, RegisterModel, Lambda and Fail"
        )
    return secured(step, place)


def _volume_key(resources: Mapping[str, Any], place: Place) -> dict[str, Any]:
    return {} if has_local_disks(resources["InstanceType"]) else {"VolumeKmsKeyId": place.kms_key_arn}


class TrainingPipeline(pulumi.ComponentResource):
    """A SageMaker pipeline, prepare → train → evaluate → record → gate → register → complete, that may start nothing
    but jobs in our network, under our role, with our key; and that may register versions but never approve one."""

    pipeline_name: pulumi.Output[str]
    arn: pulumi.Output[str]
    code_uri: pulumi.Output[str]
    role_arn: pulumi.Output[str]
    record_function_name: pulumi.Output[str]
    definition: pulumi.Output[str]
    """Its definition, as JSON."""
    job: pulumi.Output[str]
    """JSON: what a processing job of the product's code is made with, in boto3's words; its code's URI is `Code`."""
    configuration_hash: str
    guides: list[Guide]
    charts: list[Chart]

    def __init__(
        self,
        name: str,
        spec: PipelineSpec,
        *,
        code: Code,
        image: pulumi.Input[str],
        job_role_arn: pulumi.Input[str],
        bucket: pulumi.Input[str],
        bucket_arn: pulumi.Input[str],
        prefix: str,
        records_uri: pulumi.Input[str],
        subnet_ids: pulumi.Input[Sequence[str]],
        security_group_id: pulumi.Input[str],
        complete_function_arn: pulumi.Input[str],
        mlflow_arn: pulumi.Input[str] | None,
        kms_key_arn: pulumi.Input[str],
        alerts_topic_arn: pulumi.Input[str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """It is called `<name>-training` and registers in the model package group `name`.

        `records_uri` is where the offline feature store has its records. Each run is told to `mlflow_arn`, an MLflow
        app (components/experiments.py), if there is one.
        """
        super().__init__("slipway:index:TrainingPipeline", name, opts=opts)
        child = pulumi.ResourceOptions(parent=self)
        called = f"{name}-training"
        uri = pulumi.Output.concat("s3://", bucket, "/", prefix)
        lake = pulumi.Output.concat(bucket_arn, "/", prefix)

        archive = [
            aws.s3.BucketObjectv2(
                # Other code is another object: what ignores its content would be made anew with the old one.
                f"{called}-{code.sha256[:12]}-{file}",
                bucket=bucket,
                key=f"{prefix}/pipelines/{code.sha256}/{file}",
                content_base64=content,
                # The code of every version in the registry has to stay.
                # Its key names the content; another zlib packs the same files into other bytes.
                opts=child.merge(pulumi.ResourceOptions(retain_on_delete=True, ignore_changes=["contentBase64"])),
            )
            for file, content in sorted(code.files.items())
        ]
        record = Function(
            f"{called}-record",
            handler="functions.tracking.handler.handler",
            access=[
                allow(
                    ["sagemaker:DescribePipelineExecution"], local_arn("sagemaker", f"pipeline/{called}/execution/*")
                ),
                allow(
                    ["s3:GetObject"], pulumi.Output.concat(lake, "/models/*"), pulumi.Output.concat(lake, "/training/*")
                ),
                read_with_key(kms_key_arn, "s3"),
                *([allow(["sagemaker:CallMlflowAppApi"], mlflow_arn)] if mlflow_arn is not None else []),
            ],
            environment={"MLFLOW_ARN": mlflow_arn} if mlflow_arn is not None else None,
            kms_key_arn=kms_key_arn,
            timeout_seconds=120,
            log_days=spec.log_days,
            opts=child,
        )
        place = Place(
            role_arn=job_role_arn,
            kms_key_arn=kms_key_arn,
            subnet_ids=subnet_ids,
            security_group_id=security_group_id,
            uri=uri,
            record_function_arn=record.arn,
            complete_function_arn=complete_function_arn,
        )
        told = (compiled if spec.definition else definition)(
            name, spec, place, image=image, code=code, records_uri=records_uri
        )
        role = aws.iam.Role(called, name=called, assume_role_policy=trust(SAGEMAKER), opts=child)
        granted = aws.iam.RolePolicy(
            called,
            role=role.name,
            policy=document(
                *_jobs(place, told),
                *may_register(name),
                allow(["iam:PassRole"], job_role_arn, when={"StringEquals": {"iam:PassedToService": SAGEMAKER}}),
                allow(["lambda:InvokeFunction"], record.arn, complete_function_arn),
                # Property files, which the gate reads; and what a version is registered of.
                allow(
                    ["s3:GetObject"], pulumi.Output.concat(lake, "/models/*"), pulumi.Output.concat(lake, "/training/*")
                ),
                read_with_key(kms_key_arn, "s3"),
            ),
            opts=child,
        )
        pipeline = aws.sagemaker.Pipeline(
            called,
            pipeline_name=called,
            pipeline_display_name=called,
            pipeline_description=f"Trains {name}, and registers what passes its gate",
            pipeline_definition=pulumi.Output.json_dumps(told, sort_keys=True),
            role_arn=role.arn,
            opts=child.merge(pulumi.ResourceOptions(depends_on=[granted, *archive])),
        )
        alarms = Alarms(called, alerts_topic_arn, child)
        dimensions = {"PipelineName": called}
        alarms.add(
            "failed",
            means=f"A training run of {name} failed: there is no new version.",
            look=[
                f"$ aws sagemaker list-pipeline-executions --pipeline-name {called} --max-results 3",
                "$ aws sagemaker list-pipeline-execution-steps --pipeline-execution-arn ARN",
                "The log group of the step that failed: /aws/sagemaker/TrainingJobs or /aws/sagemaker/ProcessingJobs.",
            ],
            act=[
                "Step refuse: the model was not good enough. Its evaluation.json says how; the served version stays.",
                "A fault of AWS, or no capacity: `aws sagemaker retry-pipeline-execution`; what is done stays done.",
                "A fault in the data or the code: mend it, and start the pipeline again.",
            ],
            namespace=PIPELINES,
            metric_name="ExecutionFailed",
            dimensions=dimensions,
            statistic="Sum",
            period=300,
            evaluation_periods=1,
            comparison_operator="GreaterThanThreshold",
            threshold=0,
        )
        alarms.add(
            "untracked",
            means=f"Training runs of {name} are missing among the experiments; the registry has their facts.",
            look=[f"$ aws logs tail /aws/lambda/{called}-record --since 2h"],
            act=["The log says why: a right that is missing, or an MLflow app that does not answer."],
            namespace="Slipway/Training",
            metric_name="untracked_runs",
            dimensions={"pipeline": called},
            statistic="Sum",
            period=300,
            evaluation_periods=1,
            comparison_operator="GreaterThanThreshold",
            threshold=0,
        )
        self.guides = alarms.guides
        metrics = [(PIPELINES, metric, "PipelineName", called) for metric in ("ExecutionSucceeded", "ExecutionFailed")]
        self.charts = [Chart("Training runs", metrics, period=3600)]
        self.configuration_hash = spec.digest
        self.pipeline_name, self.arn, self.role_arn = pipeline.pipeline_name, pipeline.arn, role.arn
        self.code_uri = pulumi.Output.concat(uri, f"/pipelines/{code.sha256}/")
        self.record_function_name = record.name
        self.definition = pipeline.pipeline_definition.apply(str)
        self._place, self._instance_type = place, spec.prepare.instance_type
        self.job = pulumi.Output.json_dumps(_job(spec, place, image, self.code_uri), sort_keys=True)
        self.register_outputs(
            {
                "pipeline_name": self.pipeline_name,
                "arn": self.arn,
                "role_arn": self.role_arn,
                "code_uri": self.code_uri,
                "record_function_name": self.record_function_name,
            }
        )

    def may_process(self, jobs: str) -> list[Statement]:
        """The right to start processing jobs of these names (a pattern), made as `job` has it."""
        arn = local_arn("sagemaker", f"processing-job/{jobs}")
        passing = {"StringEquals": {"iam:PassedToService": SAGEMAKER}}
        return [
            *_may_create("Processing", arn, self._place, [self._instance_type]),
            allow(["iam:PassRole"], self._place.role_arn, when=passing),
            # The disks of the job hold their key through a grant.
            allow(["kms:DescribeKey"], self._place.kms_key_arn),
            allow(["kms:CreateGrant"], self._place.kms_key_arn, when={"Bool": {"kms:GrantIsForAWSResource": "true"}}),
        ]


def _jobs(place: Place, told: Mapping[str, Any]) -> list[Statement]:
    """What the pipeline may start: jobs as its definition has them, and no others.

    The condition keys: https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonsagemaker.html
    """
    every = list(_every(told["Steps"]))
    jobs = {kind: [step for step in every if step["Type"] == kind] for kind in ("Training", "Processing")}
    statements: list[Statement] = []
    for kind, steps in jobs.items():
        if not steps:
            continue
        types = sorted({_resources(step)["InstanceType"] for step in steps})
        statements += _may_create(kind, local_arn("sagemaker", f"{kind.lower()}-job/pipelines-*"), place, types)
    return statements


def _may_create(kind: str, arn: str, place: Place, instance_types: Sequence[str]) -> list[Statement]:
    """To start jobs of a kind, in our network and with our key; to see how they are, and to stop them."""
    return [
        allow(
            [f"sagemaker:Create{kind}Job"],
            arn,
            when={
                "Bool": {"sagemaker:NetworkIsolation": "true"},
                "ArnEquals": {"sagemaker:OutputKmsKeyArn": place.kms_key_arn},
                "Null": {"sagemaker:VpcSubnets": "false", "sagemaker:VpcSecurityGroupIds": "false"},
                "ForAllValues:StringEquals": {
                    "sagemaker:VpcSubnets": place.subnet_ids,
                    "sagemaker:VpcSecurityGroupIds": [place.security_group_id],
                    "sagemaker:InstanceTypes": list(instance_types),
                },
            },
        ),
        allow([f"sagemaker:Describe{kind}Job", f"sagemaker:Stop{kind}Job"], arn),
        allow(["sagemaker:AddTags"], arn, when={"StringEquals": {"sagemaker:TaggingAction": f"Create{kind}Job"}}),
    ]


def _every(steps: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """All steps, those inside conditions included."""
    for step in steps:
        yield step
        for branch in ("IfSteps", "ElseSteps") if step["Type"] == "Condition" else ():
            yield from _every(step["Arguments"].get(branch, ()))


def _resources(step: Mapping[str, Any]) -> Mapping[str, Any]:
    arguments = step["Arguments"]
    found: Mapping[str, Any] = (
        arguments["ResourceConfig"] if step["Type"] == "Training" else arguments["ProcessingResources"]["ClusterConfig"]
    )
    return found
