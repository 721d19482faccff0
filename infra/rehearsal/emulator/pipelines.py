"""SageMaker pipelines that are executed: their steps are real jobs, functions and registrations of this emulator."""

import json
import random
import string
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from botocore.exceptions import ClientError
from moto.core.exceptions import ServiceException
from moto.core.responses import ActionResult, BaseResponse
from moto.sagemaker.exceptions import AWSValidationException
from moto.sagemaker.models import SageMakerModelBackend

from infra.rehearsal.emulator import clients, events, jobs, pipeline_definition
from infra.rehearsal.emulator.calls import key_of
from infra.rehearsal.emulator.cloudtrail import key_in, user_context
from infra.rehearsal.emulator.metrics import put_metric
from infra.rehearsal.emulator.pipeline_definition import (
    COMPARISONS,
    CREATES,
    DESCRIBES,
    NAMED,
    Definition,
    Step,
    denied,
    is_reference,
    property_file,
    tokens,
)

Json = dict[str, Any]

ROOT_NAME: Final = "pipelines"
METRICS: Final = "AWS/Sagemaker/ModelBuildingPipeline"
"""CloudWatch's namespace, spelt so: https://docs.aws.amazon.com/sagemaker/latest/dg/monitoring-cloudwatch.html."""
TOKEN_LENGTH: Final = range(32, 129)
AT_ONCE: Final = 50
"""MaxParallelExecutionSteps where nothing else is said."""
LAMBDA_SECONDS: Final = 620
"""How long to wait for a function: AWS lets a Lambda step take 10 minutes."""
METADATA: Final = {
    "Training": "TrainingJob",
    "Processing": "ProcessingJob",
    "Transform": "TransformJob",
    "Model": "Model",
    "RegisterModel": "RegisterModel",
}
STOPS: Final = {"Training": "training", "Processing": "processing", "Transform": "transform"}
FAILED_STEPS: Final = "Step failure: One or multiple steps failed."
NAMING: Final = ("OutputName", "InputName", "ChannelName", "MetricName", "Name")
"""By which member an element of a list of properties is found by name."""


class Conflict(ServiceException):
    """SageMaker's error for what something else is in the way of."""

    code = "ConflictException"


class NotThere(ServiceException):
    """SageMaker's error for a pipeline or an execution that is not there."""

    code = "ResourceNotFound"


class StepFailed(Exception):
    """A step did not succeed: why, and which of RetryPolicies' exceptions it is, if any."""

    def __init__(self, reason: str, kind: str | None = None) -> None:
        super().__init__(reason)
        self.kind = kind


class StepStopped(Exception):
    """A step was stopped, with its execution."""


@dataclass
class Run:
    """One step while it is executed, and afterwards."""

    step: Step
    kind: str
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    status: str = "Starting"
    ended: datetime | None = None
    reason: str | None = None
    metadata: Json = field(default_factory=dict)
    properties: Json = field(default_factory=dict)
    attempts: int = 0
    source: str | None = None
    """The execution whose result it took over."""

    def describe(self) -> Json:
        """A line of ListPipelineExecutionSteps."""
        raw = self.step.raw
        return {
            "StepName": self.step.name,
            "StepDisplayName": raw.get("DisplayName"),
            "StepDescription": raw.get("Description"),
            "StartTime": self.started,
            "EndTime": self.ended,
            "StepStatus": self.status,
            "CacheHitResult": {"SourcePipelineExecutionArn": self.source} if self.source else None,
            "FailureReason": self.reason,
            "Metadata": {METADATA.get(self.kind, self.kind): self.metadata} if self.metadata else {},
            "AttemptCount": self.attempts,
        }


@dataclass(frozen=True)
class Made:
    """What a step made that may be used again."""

    at: datetime
    execution: str
    metadata: Json
    properties: Json


class Pipeline:
    """One pipeline; moto's backend holds it among its own, so that tags find it."""

    def __init__(self, backend: SageMakerModelBackend, params: Mapping[str, Any], by: Json) -> None:
        self.backend = backend
        self.name: str = params["PipelineName"]
        self.arn = f"arn:aws:sagemaker:{backend.region_name}:{backend.account_id}:pipeline/{self.name}"
        self.tags: list[dict[str, str]] = params.get("Tags") or []
        self.created = self.modified = datetime.now(UTC)
        self.created_by = self.modified_by = by
        self.last_run: datetime | None = None
        self.version = 0
        self.executions: dict[str, Execution] = {}
        self.made: dict[str, Made] = {}
        self.role = ""
        self.description: str | None = None
        self.parallelism: Json | None = None
        self.display_name = self.name
        self.change(params, by)

    def change(self, params: Mapping[str, Any], by: Json) -> None:
        """Take over what a Create or an Update says."""
        text = self._text(params)
        if text is not None:
            self.definition = pipeline_definition.read(text)
        self.role = params.get("RoleArn") or self.role
        self.description = params.get("PipelineDescription") or self.description
        self.display_name = params.get("PipelineDisplayName") or self.display_name
        self.parallelism = params.get("ParallelismConfiguration") or self.parallelism
        self.version += 1
        self.modified, self.modified_by = datetime.now(UTC), by

    def _text(self, params: Mapping[str, Any]) -> str | None:
        text, place = params.get("PipelineDefinition"), params.get("PipelineDefinitionS3Location")
        if text and place:
            raise AWSValidationException(
                "Both Pipeline Definition and Pipeline Definition S3 Location shouldn't be present"
            )
        if not place:
            return str(text) if text else None
        role = params.get("RoleArn") or self.role
        s3 = jobs.settings().aws.client("s3", self.backend.region_name, role)
        version = {"VersionId": place["VersionId"]} if place.get("VersionId") else {}
        try:
            body: bytes = s3.get_object(Bucket=place["Bucket"], Key=place["ObjectKey"], **version)["Body"].read()
        except ClientError as error:
            raise AWSValidationException(
                f"Pipeline definition s3://{place['Bucket']}/{place['ObjectKey']} cannot be read: {error}"
            ) from None
        return body.decode()

    def describe(self) -> Json:
        """The answer of DescribePipeline."""
        return {
            "PipelineArn": self.arn,
            "PipelineName": self.name,
            "PipelineDisplayName": self.display_name,
            "PipelineDefinition": self.definition.text,
            "PipelineDescription": self.description,
            "RoleArn": self.role,
            "PipelineStatus": "Active",
            "CreationTime": self.created,
            "LastModifiedTime": self.modified,
            "LastRunTime": self.last_run,
            "CreatedBy": self.created_by,
            "LastModifiedBy": self.modified_by,
            "ParallelismConfiguration": self.parallelism,
        }

    def summary(self) -> Json:
        """A line of ListPipelines."""
        names = ("PipelineArn", "PipelineName", "PipelineDisplayName", "PipelineDescription", "RoleArn", "CreationTime")
        described = self.describe()
        return {
            **{name: described[name] for name in (*names, "LastModifiedTime")},
            "LastExecutionTime": self.last_run,
        }

    def gen_response_object(self) -> Json:
        """What moto's Search shows of it."""
        return self.describe()


class Execution:
    """One execution of a pipeline: what was asked, and how far it has come."""

    def __init__(self, pipeline: Pipeline, params: Mapping[str, Any], by: Json) -> None:
        self.pipeline, self.created_by, self.modified_by = pipeline, by, by
        self.id = _random(12)
        self.arn = f"{pipeline.arn}/execution/{self.id}"
        self.definition: Definition = pipeline.definition
        self.version = pipeline.version
        self.role = params.get("RoleArn") or pipeline.role
        self.created = self.modified = self.began = datetime.now(UTC)
        self.token = params.get("ClientRequestToken")
        self.display_name = params.get("PipelineExecutionDisplayName") or f"execution-{int(time.time() * 1000)}"
        self.description = params.get("PipelineExecutionDescription")
        self.parallelism = params.get("ParallelismConfiguration") or pipeline.parallelism
        self.parameters = _parameters(self.definition, params.get("PipelineParameters") or ())
        self.status, self.reason = "Executing", ""
        self.runs: dict[str, Run] = {}
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._halted: str | None = None
        """The message of the Fail step that ended it."""
        self._running: set[str] = set()
        self._jobs: dict[str, tuple[str, str]] = {}
        """For each running step that has one, the kind and name of its job."""
        self._attempted: dict[str, int] = {}

    # --- what others see of it ----------------------------------------------------------------------------------------

    @property
    def region(self) -> str:
        """Where it runs."""
        return self.pipeline.backend.region_name

    def describe(self) -> Json:
        """The answer of DescribePipelineExecution."""
        return {
            "PipelineArn": self.pipeline.arn,
            "PipelineExecutionArn": self.arn,
            "PipelineExecutionDisplayName": self.display_name,
            "PipelineExecutionStatus": self.status,
            "PipelineExecutionDescription": self.description,
            "FailureReason": self.reason or None,
            "CreationTime": self.created,
            "LastModifiedTime": self.modified,
            "CreatedBy": self.created_by,
            "LastModifiedBy": self.modified_by,
            "ParallelismConfiguration": self.parallelism,
            "PipelineVersionId": self.version,
            "RoleArn": self.role,
        }

    def summary(self) -> Json:
        """A line of ListPipelineExecutions."""
        return {
            "PipelineExecutionArn": self.arn,
            "StartTime": self.created,
            "PipelineExecutionStatus": self.status,
            "PipelineExecutionDescription": self.description,
            "PipelineExecutionDisplayName": self.display_name,
            "PipelineExecutionFailureReason": self.reason or None,
        }

    def _become(self, status: str, reason: str = "") -> None:
        before, self.status, self.reason = self.status, status, reason
        self.modified = datetime.now(UTC)
        self._announce(before)

    def _measure(self, subject: str, status: str, began: datetime, **dimensions: str) -> None:
        """Count what began or ended, and how long it took in milliseconds."""
        word = {"Executing": "Started"}.get(status, status)
        if word not in ("Started", "Succeeded", "Failed", "Stopped"):
            return
        values = {f"{subject}{word}": 1.0}
        if word != "Started":
            values[f"{subject}Duration"] = (datetime.now(UTC) - began).total_seconds() * 1000
        named = {"PipelineName": self.pipeline.name, **dimensions}
        for metric, value in values.items():
            for each in (named,) if dimensions else (named, {}):
                put_metric(self.region, METRICS, metric, value, each)

    def _announce(self, before: str | None) -> None:
        done = self.status not in ("Executing", "Stopping")
        self._measure("Execution", self.status, self.began)
        detail = {
            "pipelineExecutionDescription": self.description or "",
            "pipelineExecutionDisplayName": self.display_name,
            "currentPipelineExecutionStatus": self.status,
            **({"previousPipelineExecutionStatus": before} if before else {}),
            "executionStartTime": _readable(self.began),
            **({"executionEndTime": _readable(self.modified)} if done else {}),
        }
        self._emit("SageMaker Model Building Pipeline Execution Status Change", detail)

    def _emit(self, title: str, detail: Json) -> None:
        detail = {**detail, "pipelineArn": self.pipeline.arn, "pipelineExecutionArn": self.arn}
        events.emit(self.region, "aws.sagemaker", title, detail, [self.pipeline.arn, self.arn])

    # --- its life -----------------------------------------------------------------------------------------------------

    def start(self, before: str | None = None) -> None:
        """Execute what has not succeeded yet, in the background; `before` is the status it had, if it had one."""
        self._stopping.clear()
        self._halted = None
        self.began = datetime.now(UTC)
        self._announce(before)
        threading.Thread(target=self._execute, daemon=True).start()

    def retry(self, params: Mapping[str, Any]) -> None:
        """Execute again what did not succeed. Raises AWSValidationException where nothing failed or was stopped."""
        if self.status not in ("Failed", "Stopped"):
            raise AWSValidationException(
                f"Only pipeline executions in status Failed or Stopped can be retried. {self.arn} is in status "
                f"{self.status}"
            )
        self.parallelism = params.get("ParallelismConfiguration") or self.parallelism
        self._attempted = {name: run.attempts for name, run in self.runs.items()}
        self.runs = {name: run for name, run in self.runs.items() if run.status == "Succeeded"}
        self.modified = datetime.now(UTC)
        before, self.status, self.reason = self.status, "Executing", ""
        self.start(before)

    def stop(self) -> None:
        """Ask it to end, with the jobs of its steps. Raises AWSValidationException where it has ended."""
        if self.status != "Executing":
            raise AWSValidationException(
                f"Only pipeline executions in status Executing can be stopped. {self.arn} is in status {self.status}"
            )
        self._become("Stopping")
        self.end()

    def end(self) -> None:
        """Let no step begin any more, and stop the jobs."""
        self._stopping.set()
        with self._changed:
            self._changed.notify_all()
        for kind, name in list(self._jobs.values()):
            self._stop_job(kind, name)

    def _stop_job(self, kind: str, name: str) -> None:
        job = getattr(self.pipeline.backend, jobs.TABLES[METADATA[kind]]).get(name)
        if job and job.status == "InProgress":
            with suppress(AWSValidationException):  # it may have ended meanwhile
                job.stop()

    def _execute(self) -> None:
        with self._changed:
            while True:
                if not self._stopping.is_set():
                    for step in self._ready():
                        self._running.add(step.name)
                        threading.Thread(target=self._run, args=(step,), daemon=True).start()
                if not self._running:
                    break
                self._changed.wait(1)
        failed = any(run.status == "Failed" for run in self.runs.values())
        if self.status == "Stopping":
            self._become("Stopped")
        elif self._halted is not None:
            self._become("Failed", self._halted)
        elif failed:
            self._become("Failed", FAILED_STEPS)
        else:
            self._become("Succeeded")

    def _ready(self) -> Iterator[Step]:
        """The steps that can begin now, as many as may run side by side."""
        room = int((self.parallelism or {}).get("MaxParallelExecutionSteps", AT_ONCE)) - len(self._running)
        for step in self.definition.steps.values():
            if room <= 0:
                return
            if step.name in self.runs or step.name in self._running:
                continue
            before = [self.runs.get(name) for name in step.needs]
            if not all(run and run.status == "Succeeded" for run in before):
                continue
            if step.branch:
                condition, outcome = step.branch
                if (self.runs[condition].metadata["Outcome"] == "True") != outcome:
                    continue
            room -= 1
            yield step

    def _run(self, step: Step) -> None:
        run = Run(step, step.kind, attempts=self._attempted.get(step.name, 0))
        self.runs[step.name] = run
        try:
            self._enter(run, "Starting")
            self._enter(run, "Executing")
            self._attempt(run)
            self._enter(run, "Succeeded")
        except StepStopped:
            self._enter(run, "Stopped")
        except StepFailed as failure:
            run.reason = str(failure)[: jobs.REASON_LENGTH]
            self._enter(run, "Failed")
        except Exception as error:
            run.reason = f"InternalServerError: the rehearsal failed: {type(error).__name__}: {error}"
            self._enter(run, "Failed")
        finally:
            with self._changed:
                self._running.discard(step.name)
                self._jobs.pop(step.name, None)
                self._changed.notify_all()

    def _enter(self, run: Run, status: str) -> None:
        """Change a step's status and say so on EventBridge."""
        previous = None if status == "Starting" else run.status
        run.status = status
        if status in ("Succeeded", "Failed", "Stopped"):
            run.ended = datetime.now(UTC)
        self._measure("Step", status, run.started, StepName=run.step.name)
        metadata = {METADATA.get(run.kind, run.kind): run.metadata} if run.metadata else {}
        detail = {
            "metadata": _lowered(metadata),
            "stepStartTime": _readable(run.started),
            **({"stepEndTime": _readable(run.ended)} if run.ended else {}),
            "stepName": run.step.name,
            "stepType": run.kind,
            **({"previousStepStatus": previous} if previous else {}),
            "currentStepStatus": status,
            **({"failureReason": run.reason} if run.reason else {}),
            **({"cacheHitResult": {"sourcePipelineExecutionArn": run.source}} if run.source else {}),
        }
        self._emit("SageMaker Model Building Pipeline Execution Step Status Change", detail)

    def _attempt(self, run: Run) -> None:
        """Do what a step is for, again as often as its policies say. Raises StepFailed, StepStopped."""
        began, retried = time.monotonic(), 0
        while True:
            run.attempts += 1
            try:
                self._do(run)
                return
            except StepFailed as failure:
                policy = next((each for each in run.step.retries if failure.kind in each["ExceptionType"]), None)
                if policy is None:
                    raise
                wait = policy.get("IntervalSeconds", 1) * policy.get("BackoffRate", 2.0) ** retried
                second = jobs.settings().second
                spent = (time.monotonic() - began) / second
                if "MaxAttempts" in policy and retried >= policy["MaxAttempts"]:
                    raise
                if "ExpireAfterMin" in policy and spent + wait > policy["ExpireAfterMin"] * 60:
                    raise
                retried += 1
                if self._stopping.wait(wait * second):
                    raise StepStopped from None

    def _do(self, run: Run) -> None:
        step = run.step
        arguments = self._resolve(step.arguments)
        if step.kind == "Condition":
            outcome = all([_holds(each) for each in arguments["Conditions"]])
            run.metadata = run.properties = {"Outcome": str(outcome)}
            return
        if step.kind == "Fail":
            run.metadata = {"ErrorMessage": str(arguments["ErrorMessage"])}
            self._halted = str(arguments["ErrorMessage"])
            self._stopping.set()
            for kind, name in list(self._jobs.values()):
                self._stop_job(kind, name)
            raise StepFailed(self._halted)
        known = json.dumps([step.name, step.kind, arguments, step.raw.get("FunctionArn")], default=str, sort_keys=True)
        life = step.cached_for
        made = self.pipeline.made.get(known) if life else None
        if made and life and datetime.now(UTC) - made.at <= life:
            run.metadata, run.properties, run.source = made.metadata, made.properties, made.execution
            return
        if step.kind == "Lambda":
            self._invoke(run, arguments)
        elif step.kind in STOPS:
            self._work(run, arguments)
        else:
            self._make(run, arguments)
        if life:
            self.pipeline.made[known] = Made(datetime.now(UTC), self.arn, run.metadata, run.properties)

    def _client(self) -> Any:
        return jobs.settings().aws.client("sagemaker", self.region, self.role)

    def _name(self, step: Step, arguments: Mapping[str, Any]) -> str:
        """What a step's job is called: after the execution and the step, or what the definition puts before."""
        asked = arguments.get(NAMED[step.kind])
        return f"{asked[:50]}-{_random(12)}" if asked else f"{ROOT_NAME}-{self.id}-{step.name[:28]}-{_random(10)}"

    def _work(self, run: Run, arguments: Json) -> None:
        """Run a job, and wait for it."""
        step, noun = run.step, METADATA[run.kind]
        name = self._name(step, arguments)
        self._ask(CREATES[step.kind], {**arguments, NAMED[step.kind]: name})
        self._jobs[step.name] = (step.kind, name)
        job = jobs.find(self.pipeline.backend, noun, name)
        run.metadata = {"Arn": job.arn}
        if self._stopping.is_set():
            self._stop_job(step.kind, name)
        job.done.wait()
        if job.status == "Stopped" and self._stopping.is_set():
            raise StepStopped
        if job.status != "Completed":
            reason = job.failure_reason or f"ClientError: {noun} {name} is in status {job.status}"
            kinds = {"InternalServerError": "SageMaker.JOB_INTERNAL_ERROR", "CapacityError": "SageMaker.CAPACITY_ERROR"}
            raise StepFailed(reason, kinds.get(reason.partition(":")[0]))
        run.properties = self._ask(DESCRIBES[step.kind], {NAMED[step.kind]: name})

    def _make(self, run: Run, arguments: Json) -> None:
        """Create a model, or register one."""
        step = run.step
        if step.kind == "Model":
            arguments = {**arguments, "ModelName": self._name(step, arguments)}
        made = self._ask(CREATES[step.kind], arguments)
        arn = made["ModelArn" if step.kind == "Model" else "ModelPackageArn"]
        run.metadata = {"Arn": arn}
        key = {"ModelName": arguments["ModelName"]} if step.kind == "Model" else {"ModelPackageName": arn}
        run.properties = self._ask(DESCRIBES[step.kind], key)

    def _ask(self, action: str, arguments: Mapping[str, Any]) -> Json:
        """Call SageMaker as the pipeline's role. Raises StepFailed."""
        client = self._client()
        method = {client.meta.method_to_api_mapping[name]: name for name in client.meta.method_to_api_mapping}[action]
        try:
            answer: Json = getattr(client, method)(**arguments)
        except ClientError as error:
            raise _failed(action, error) from None
        except Exception as error:  # botocore's own objections to a parameter
            raise StepFailed(f"ClientError: Failed to invoke sagemaker:{action}. Error Details: {error}") from None
        answer.pop("ResponseMetadata", None)
        return answer

    def _invoke(self, run: Run, arguments: Json) -> None:
        """Invoke a function, and take its output parameters."""
        function = str(self._resolve(run.step.raw["FunctionArn"]))
        run.metadata = {"Arn": function}
        client = _lambda_client(jobs.settings().aws.endpoint, self.region, self.role)
        try:
            answer = client.invoke(FunctionName=function, Payload=json.dumps(arguments, default=str).encode())
        except ClientError as error:
            raise _failed("Invoke", error, "lambda") from None
        body = answer["Payload"].read().decode()
        if answer.get("FunctionError"):
            said = json.loads(body or "{}")
            words = f"{said.get('errorType', 'Error')}: {said.get('errorMessage', body)}"
            raise StepFailed(f"ClientError: Failed to invoke lambda function {function}. Error Details: {words}")
        answered = json.loads(body or "null")
        outputs = run.step.raw.get("OutputParameters") or ()
        values = {}
        for output in outputs:
            name = output["OutputName"]
            if not isinstance(answered, dict) or name not in answered:
                raise StepFailed(f"ClientError: Lambda function {function} did not return output parameter {name}")
            values[name] = answered[name]
        run.properties = {"OutputParameters": values}
        run.metadata = {
            "Arn": function,
            "OutputParameters": [{"Name": name, "Value": _text(value)} for name, value in values.items()],
        }

    # --- references ---------------------------------------------------------------------------------------------------

    def _resolve(self, value: Any) -> Any:
        """A value with everything it refers to in its place. Raises StepFailed where that is not there."""
        if isinstance(value, list):
            return [self._resolve(each) for each in value]
        if not isinstance(value, dict):
            return value
        if not is_reference(value):
            return {key: self._resolve(each) for key, each in value.items()}
        kind, content = next(iter(value.items()))
        if kind == "Get":
            return self._get(str(content))
        if kind == "Std:Join":
            return str(content["On"]).join(_text(self._resolve(each)) for each in content["Values"])
        return self._from_json(content)

    def _get(self, path: str) -> Any:
        found = pipeline_definition.GET.fullmatch(path)
        assert found, path
        kind, name, rest = found.groups()
        if kind == "Parameters":
            return self.parameters[name]
        if kind == "Execution":
            return self._of_execution(name)
        value: Any = self.runs[name].properties
        try:
            for token in tokens(rest):
                value = _member(value, token)
        except (LookupError, TypeError):
            raise StepFailed(f"ClientError: {path} is not there: step {name} has no such property") from None
        return value.isoformat() if isinstance(value, datetime) else value

    def _of_execution(self, name: str) -> str:
        known = {
            "PipelineName": self.pipeline.name,
            "PipelineArn": self.pipeline.arn,
            "PipelineExecutionId": self.id,
            "PipelineExecutionArn": self.arn,
            "StartDateTime": self.created.isoformat(),
            "CurrentDateTime": datetime.now(UTC).isoformat(),
        }
        return known[name]

    def _from_json(self, content: Json) -> Any:
        """What Std:JsonGet finds in a property file, or in an object of S3."""
        if "S3Uri" in content:
            uri = str(self._resolve(content["S3Uri"]))
        else:
            found = pipeline_definition.GET.fullmatch(content["PropertyFile"]["Get"])
            assert found
            step, name = found[2], found[3].removeprefix(".PropertyFiles.")
            file = property_file(self.definition, step, name)
            outputs = _member(
                _member(self.runs[step].properties["ProcessingOutputConfig"], "Outputs"), file["OutputName"]
            )
            uri = f"{outputs['S3Output']['S3Uri'].rstrip('/')}/{file['FilePath']}"
        try:
            value: Any = json.loads(jobs.Storage(self.region, self.role).read(uri))
            for token in tokens(content["Path"].removeprefix("$")):
                value = _member(value, token)
        except ClientError as error:
            raise StepFailed(f"ClientError: {uri} cannot be read: {error}") from None
        except (ValueError, LookupError, TypeError):
            raise StepFailed(f"ClientError: Unable to find {content['Path']} in {uri}") from None
        return value


def _member(value: Any, token: str | int) -> Any:
    """A member of properties: by key, by place, or of a list by name. Raises LookupError, TypeError."""
    if isinstance(value, list) and isinstance(token, str):
        for each in value:
            if any(each.get(key) == token for key in NAMING):
                return each
        raise LookupError(token)
    return value[token]


def _holds(condition: Json) -> bool:
    """Whether a condition is fulfilled; its references are resolved. Raises StepFailed."""
    kind = condition["Type"]
    if kind == "Not":
        return not _holds(denied(condition))
    if kind == "Or":
        return any([_holds(each) for each in condition["Conditions"]])
    if kind in ("In", "NotIn"):
        found = bool(condition["QueryValue"] in condition["Values"])
        return found if kind == "In" else not found
    left, right = condition["LeftValue"], condition["RightValue"]
    try:
        return COMPARISONS[kind](left, right)
    except TypeError:
        raise StepFailed(f"ClientError: {left!r} and {right!r} cannot be compared with {kind}") from None


def _parameters(definition: Definition, given: Any) -> Json:
    """The values of an execution's parameters. Raises AWSValidationException."""
    told = {each["Name"]: each["Value"] for each in given}
    if unknown := sorted(set(told) - set(definition.parameters)):
        raise AWSValidationException(f"Unknown pipeline parameters: [{', '.join(unknown)}] are not in the definition")
    missing = [name for name, each in definition.parameters.items() if name not in told and each.default is None]
    if missing:
        raise AWSValidationException(
            f"Missing value for pipeline parameters [{', '.join(missing)}]: they have no default"
        )
    return {
        name: parameter.value(told[name]) if name in told else parameter.default
        for name, parameter in definition.parameters.items()
    }


def _failed(action: str, error: ClientError, service: str = "sagemaker") -> StepFailed:
    """A refused call as a step's failure."""
    code, status = error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]
    kinds = {"ResourceLimitExceeded": "SageMaker.RESOURCE_LIMIT", "ThrottlingException": "Step.THROTTLING"}
    kind = kinds.get(code) or ("Step.SERVICE_FAULT" if status >= 500 and status != 501 else None)
    said = error.response["Error"].get("Message", code)
    return StepFailed(f"ClientError: Failed to invoke {service}:{action}. Error Details: {said}", kind)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, default=str)


def _random(length: int) -> str:
    return "".join(random.choices(string.ascii_lowercase + string.digits, k=length))


def _readable(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _lowered(value: Any) -> Any:
    """Keys as events have them: with a small first letter."""
    if isinstance(value, dict):
        return {key[0].lower() + key[1:]: _lowered(each) for key, each in value.items()}
    return [_lowered(each) for each in value] if isinstance(value, list) else value


def _lambda_client(endpoint: str, region: str, role: str) -> Any:
    return clients.client("lambda", region=region, endpoint=endpoint, key=key_of(role), read_seconds=LAMBDA_SECONDS)


def stop_all(backend: SageMakerModelBackend) -> None:
    """End the executions of a backend that is reset."""
    for pipeline in list(backend.pipelines.values()):
        for execution in list(getattr(pipeline, "executions", {}).values()):
            execution.end()


_lock = threading.Lock()


class PipelineCalls(BaseResponse):
    """The operations on pipelines and their executions."""

    sagemaker_backend: SageMakerModelBackend

    def _by(self) -> Json:
        return user_context(key_in(self.headers.get("Authorization", "")))

    def _pipeline(self, given: str) -> Pipeline:
        name = given.rpartition("/")[2]
        pipeline: Any = self.sagemaker_backend.pipelines.get(name)
        if pipeline is None:
            arn = f"arn:aws:sagemaker:{self.region}:{self.current_account}:pipeline/{name}"
            raise NotThere(f"Pipeline '{arn}' does not exist.")
        return pipeline  # type: ignore[no-any-return]  # moto's table holds ours

    def _execution(self) -> Execution:
        arn = self.params["PipelineExecutionArn"]
        for pipeline in list(self.sagemaker_backend.pipelines.values()):
            if arn in pipeline.executions:  # type: ignore[attr-defined]  # as above
                return pipeline.executions[arn]  # type: ignore[attr-defined, no-any-return]  # as above
        raise NotThere(f"Pipeline execution '{arn}' does not exist.")

    def create_pipeline(self) -> ActionResult:
        params = self.params
        if not params.get("PipelineDefinition") and not params.get("PipelineDefinitionS3Location"):
            raise AWSValidationException(
                "Either Pipeline Definition or Pipeline Definition S3 location should be provided"
            )
        pipeline = Pipeline(self.sagemaker_backend, params, self._by())
        with _lock:
            if pipeline.name in self.sagemaker_backend.pipelines:
                raise AWSValidationException(
                    "Pipeline names must be unique within an AWS account and region. Pipeline with name "
                    f"({pipeline.name}) already exists."
                )
            self.sagemaker_backend.pipelines[pipeline.name] = pipeline  # type: ignore[assignment]  # in the place of moto's
        return ActionResult({"PipelineArn": pipeline.arn})

    def update_pipeline(self) -> ActionResult:
        pipeline = self._pipeline(self.params["PipelineName"])
        pipeline.change(self.params, self._by())
        return ActionResult({"PipelineArn": pipeline.arn, "PipelineVersionId": pipeline.version})

    def describe_pipeline(self) -> ActionResult:
        return ActionResult(self._pipeline(self.params["PipelineName"]).describe())

    def delete_pipeline(self) -> ActionResult:
        pipeline = self._pipeline(self.params["PipelineName"])
        running = [each.arn for each in pipeline.executions.values() if each.status in ("Executing", "Stopping")]
        if running:
            raise Conflict(f"Pipeline {pipeline.arn} has running executions: stop {', '.join(running)} first")
        del self.sagemaker_backend.pipelines[pipeline.name]
        return ActionResult({"PipelineArn": pipeline.arn})

    def list_pipelines(self) -> ActionResult:
        prefix = self.params.get("PipelineNamePrefix") or ""
        known: list[Any] = list(self.sagemaker_backend.pipelines.values())
        rows = [each.summary() for each in known if each.name.startswith(prefix)]
        keys = {"CreationTime": "CreationTime", "Name": "PipelineName"}
        return jobs.page(jobs.ordered(rows, self.params, keys, "Descending"), self.params, "PipelineSummaries")

    def start_pipeline_execution(self) -> ActionResult:
        params = self.params
        pipeline = self._pipeline(params["PipelineName"])
        token = params.get("ClientRequestToken")
        if token is not None and len(token) not in TOKEN_LENGTH:
            raise AWSValidationException(
                f"1 validation error detected: Value '{token}' at 'clientRequestToken' failed to satisfy constraint: "
                "Member must have length between 32 and 128"
            )
        for name in ("SelectiveExecutionConfig", "PipelineVersionId", "PipelineVersionAlias", "MlflowExperimentName"):
            if params.get(name):
                raise NotImplementedError(f"StartPipelineExecution with {name} is not rehearsed")
        with _lock:
            same = [each for each in pipeline.executions.values() if token and each.token == token]
            if same:
                return ActionResult({"PipelineExecutionArn": same[0].arn})
            execution = Execution(pipeline, params, self._by())
            pipeline.executions[execution.arn] = execution
            pipeline.last_run = execution.created
        execution.start()
        return ActionResult({"PipelineExecutionArn": execution.arn})

    def describe_pipeline_execution(self) -> ActionResult:
        return ActionResult(self._execution().describe())

    def update_pipeline_execution(self) -> ActionResult:
        execution, params = self._execution(), self.params
        execution.description = params.get("PipelineExecutionDescription") or execution.description
        execution.display_name = params.get("PipelineExecutionDisplayName") or execution.display_name
        execution.parallelism = params.get("ParallelismConfiguration") or execution.parallelism
        execution.modified, execution.modified_by = datetime.now(UTC), self._by()
        return ActionResult({"PipelineExecutionArn": execution.arn})

    def stop_pipeline_execution(self) -> ActionResult:
        execution = self._execution()
        execution.stop()
        return ActionResult({"PipelineExecutionArn": execution.arn})

    def retry_pipeline_execution(self) -> ActionResult:
        execution = self._execution()
        execution.retry(self.params)
        return ActionResult({"PipelineExecutionArn": execution.arn})

    def list_pipeline_executions(self) -> ActionResult:
        rows = [each.summary() for each in self._pipeline(self.params["PipelineName"]).executions.values()]
        keys = {"CreationTime": "StartTime", "PipelineExecutionArn": "PipelineExecutionArn"}
        rows = jobs.ordered(rows, self.params, keys, "Descending")
        return jobs.page(rows, self.params, "PipelineExecutionSummaries")

    def list_pipeline_execution_steps(self) -> ActionResult:
        rows = [run.describe() for run in self._execution().runs.values()]
        rows = jobs.ordered(rows, self.params, {"StartTime": "StartTime"}, "Descending")
        return jobs.page(rows, self.params, "PipelineExecutionSteps")

    def describe_pipeline_definition_for_execution(self) -> ActionResult:
        execution = self._execution()
        return ActionResult({"PipelineDefinition": execution.definition.text, "CreationTime": execution.created})

    def list_pipeline_parameters_for_execution(self) -> ActionResult:
        values = self._execution().parameters.items()
        rows = [{"Name": name, "Value": _text(value)} for name, value in values]
        return jobs.page(rows, self.params, "PipelineParameters")
