"""The employment pipeline in the words of the SageMaker SDK 3, for teams that rather write those than YAML.

`slipway pipeline compile stacks/pipelines/employment.py` makes employment.json of it, which is committed beside it and
deployed: `pipeline: {definition: stacks/pipelines/employment.json}`. Role, network, keys, the network isolation of jobs
and the functions of the steps `record`, `complete` and `link` are not said here: the component fills them in, with the
values of the parameters LakeUri, Labels, Records, Image, Code and CodeRevision.
"""

from typing import Any, Final

from sagemaker.core.lambda_helper import Lambda
from sagemaker.core.processing import Processor
from sagemaker.core.shapes import ProcessingInput, ProcessingOutput, ProcessingS3Input, ProcessingS3Output
from sagemaker.core.training.configs import Compute, InputData, OutputDataConfig, StoppingCondition
from sagemaker.core.workflow.conditions import ConditionGreaterThanOrEqualTo
from sagemaker.core.workflow.execution_variables import ExecutionVariables
from sagemaker.core.workflow.functions import Join, JsonGet
from sagemaker.core.workflow.parameters import ParameterString
from sagemaker.core.workflow.properties import Properties, PropertyFile
from sagemaker.mlops.workflow.condition_step import ConditionStep
from sagemaker.mlops.workflow.fail_step import FailStep
from sagemaker.mlops.workflow.lambda_step import LambdaOutput, LambdaOutputTypeEnum, LambdaStep
from sagemaker.mlops.workflow.pipeline import Pipeline
from sagemaker.mlops.workflow.steps import ProcessingStep, Step, StepTypeEnum, TrainingStep
from sagemaker.train.model_trainer import ModelTrainer

from functions.employment.gate import GATE

INPUT: Final = "/opt/ml/processing/input"
OUTPUT: Final = "/opt/ml/processing/output"
INSTANCE: Final = "ml.m5.large"
ROLE: Final = "arn:aws:iam::000000000000:role/filled-in"
OURS: Final = "arn:aws:lambda:us-east-1:000000000000:function:filled-in"
PARAMETERS: Final = {
    name: ParameterString(name)
    for name in ("Dataset", "LakeUri", "Labels", "Records", "Image", "Code", "CodeRevision", "ConfigurationHash")
}
AS_OF: Final = ParameterString("AsOf", default_value="all")
NOTES: Final = ParameterString("ReleaseNotes", default_value="-")
HYPERPARAMETERS: Final = {
    name: ParameterString(name, default_value=value)
    for name, value in (("learning-rate", "0.15"), ("max-iter", "80"), ("held-out", "0"), ("seed", "7"))
}


class Register(Step):  # type: ignore[misc]  # the SDK's own registration builds a model first, and asks AWS while it does
    """Registers the model as it is."""

    def __init__(self, name: str, arguments: dict[str, Any]) -> None:
        super().__init__(name, step_type=StepTypeEnum.REGISTER_MODEL)
        self._arguments = arguments
        self._properties = Properties(step_name=name, step=self, shape_name="DescribeModelPackageOutput")

    @property
    def arguments(self) -> dict[str, Any]:
        return self._arguments

    @property
    def properties(self) -> Any:
        return self._properties


def joined(*values: Any) -> Join:
    """Texts, and what stands for one, put together when the pipeline runs."""
    return Join(on="", values=list(values))


def processing(session: Any, name: str, inputs: dict[str, Any], to: Any, output: str, *more: Any) -> ProcessingStep:
    """A step that runs `<name>.py` of the code."""
    processor = Processor(
        role=ROLE,
        image_uri=PARAMETERS["Image"],
        entrypoint=["python3", f"{INPUT}/code/{name}.py"],
        instance_count=1,
        instance_type=INSTANCE,
        max_runtime_in_seconds=3600,
        sagemaker_session=session,
    )
    words = [word for each in inputs for word in (f"--{each}", f"{INPUT}/{each}")]
    return ProcessingStep(
        name,
        step_args=processor.run(
            inputs=[
                ProcessingInput(
                    input_name=each,
                    s3_input=ProcessingS3Input(
                        s3_uri=uri,
                        local_path=f"{INPUT}/{each}",
                        s3_data_type="S3Prefix",
                        s3_input_mode="File",
                    ),
                )
                for each, uri in {"code": PARAMETERS["Code"], **inputs}.items()
            ],
            outputs=[
                ProcessingOutput(
                    output_name=output,
                    s3_output=ProcessingS3Output(s3_uri=to, local_path=f"{OUTPUT}/{output}", s3_upload_mode="EndOfJob"),
                )
            ],
            arguments=[*words, "--output", f"{OUTPUT}/{output}", *more],
        ),
        property_files=[PropertyFile(name=output, output_name=output, path=f"{output}.json")],
    )


def of(step: ProcessingStep, output: str) -> Any:
    """Where a processing step's output is."""
    return step.properties.ProcessingOutputConfig.Outputs[output].S3Output.S3Uri


def function(name: str, inputs: dict[str, Any], outputs: tuple[str, ...] = (), after: Any = None) -> LambdaStep:
    """A step that asks a function of ours."""
    told = [LambdaOutput(output_name=each, output_type=LambdaOutputTypeEnum.String) for each in outputs]
    return LambdaStep(name, Lambda(function_arn=OURS), inputs=inputs, outputs=told, depends_on=after)


def pipeline(session: Any) -> Pipeline:
    """What `slipway pipeline compile` asks for; `session` is a PipelineSession that reaches no AWS."""
    lake = PARAMETERS["LakeUri"]
    prepare = processing(
        session,
        "prepare",
        {"labels": PARAMETERS["Labels"], "records": PARAMETERS["Records"]},
        joined(lake, "/training/", PARAMETERS["Dataset"]),
        "dataset",
        "--as-of",
        AS_OF,
    )
    trainer = ModelTrainer(
        base_job_name="train",
        training_image=PARAMETERS["Image"],
        role=ROLE,
        sagemaker_session=session,
        compute=Compute(instance_type=INSTANCE, instance_count=1, volume_size_in_gb=30),
        stopping_condition=StoppingCondition(max_runtime_in_seconds=3600),
        output_data_config=OutputDataConfig(s3_output_path=joined(lake, "/models")),
        hyperparameters={
            "sagemaker_program": "train.py",
            "sagemaker_submit_directory": "/opt/ml/input/data/code/sourcedir.tar.gz",
            **HYPERPARAMETERS,
        },
    )
    train = TrainingStep(
        "train",
        step_args=trainer.train(
            input_data_config=[
                InputData(channel_name="code", data_source=PARAMETERS["Code"]),
                InputData(channel_name="train", data_source=joined(of(prepare, "dataset"), "/train/")),
            ]
        ),
    )
    evaluate = processing(
        session,
        "evaluate",
        {"model": train.properties.ModelArtifacts.S3ModelArtifacts, "dataset": of(prepare, "dataset")},
        joined(lake, "/models/", train.properties.TrainingJobName, "/evaluation"),
        "evaluation",
    )
    evaluation = of(evaluate, "evaluation")

    def file(name: str) -> dict[str, Any]:
        return {"ContentType": "application/json", "S3Uri": joined(evaluation, f"/{name}.json")}

    record = function(
        "record",
        {
            "execution": ExecutionVariables.PIPELINE_EXECUTION_ARN,
            "pipeline": ExecutionVariables.PIPELINE_NAME,
            "evaluation": joined(evaluation, "/evaluation.json"),
            "dataset": joined(of(prepare, "dataset"), "/dataset.json"),
            "training_job": train.properties.TrainingJobName,
            "hyperparameters": HYPERPARAMETERS,
            "tags": {"code_revision": PARAMETERS["CodeRevision"], "image": PARAMETERS["Image"]},
        },
        ("author", "dataset_sha256", "tracked_run"),
    )
    told = {name: record.properties.Outputs[name] for name in ("author", "dataset_sha256", "tracked_run")}
    register = Register(
        "register",
        {
            "ModelPackageGroupName": "filled-in",
            "ModelApprovalStatus": "PendingManualApproval",
            "InferenceSpecification": {
                "Containers": [
                    {
                        "Image": PARAMETERS["Image"],
                        "ModelDataUrl": train.properties.ModelArtifacts.S3ModelArtifacts,
                    }
                ],
                "SupportedContentTypes": ["text/csv", "application/json"],
                "SupportedResponseMIMETypes": ["text/csv", "application/json"],
            },
            "ModelMetrics": {
                "ModelQuality": {"Statistics": file("evaluation")},
                "ModelDataQuality": {"Statistics": file("statistics"), "Constraints": file("constraints")},
            },
            "DriftCheckBaselines": {"ModelDataQuality": {"Statistics": file("baseline")}},
            "CustomerMetadataProperties": {
                "run": ExecutionVariables.PIPELINE_EXECUTION_ID,
                "training_job": train.properties.TrainingJobName,
                "dataset": of(prepare, "dataset"),
                "code": PARAMETERS["Code"],
                "code_revision": PARAMETERS["CodeRevision"],
                "configuration_hash": PARAMETERS["ConfigurationHash"],
                "image": PARAMETERS["Image"],
                "release_notes": NOTES,
                **told,
                **{f"param_{name}": parameter for name, parameter in HYPERPARAMETERS.items()},
            },
        },
    )
    complete = function(
        "complete",
        {
            "model_package_arn": register.properties.ModelPackageArn,
            "author": told["author"],
            "evaluation": joined(evaluation, "/evaluation.json"),
            "baseline": joined(evaluation, "/baseline.json"),
        },
    )
    link = function(
        "link",
        {
            "tracked_run": told["tracked_run"],
            "pipeline": ExecutionVariables.PIPELINE_NAME,
            "tags": {"model_package_arn": register.properties.ModelPackageArn},
        },
        after=[complete],
    )
    gate = ConditionStep(
        "gate",
        conditions=[
            ConditionGreaterThanOrEqualTo(
                left=JsonGet(step_name="evaluate", property_file="evaluation", json_path=f"metrics.{metric}"),
                right=least,
            )
            for metric, least in sorted(GATE.items())
        ],
        if_steps=[register, complete, link],
        else_steps=[FailStep("refuse", error_message=joined("The model does not pass its gate: see ", evaluation))],
        depends_on=["record"],
    )
    return Pipeline(
        name="employment",
        parameters=[*PARAMETERS.values(), AS_OF, NOTES, *HYPERPARAMETERS.values()],
        steps=[prepare, train, evaluate, record, gate],
        sagemaker_session=session,
    )
