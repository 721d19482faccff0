"""SageMaker processing jobs that run: a container's command line as a local process, between copies from and to S3."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from moto.sagemaker.exceptions import AWSValidationException
from moto.sagemaker.models import SageMakerModelBackend

from infra.rehearsal.emulator import jobs
from infra.rehearsal.emulator.jobs import Ended, Job, JobFailed, JobLog, JobStopped, Json, Program
from infra.rehearsal.emulator.training_jobs import has_local_storage

MOUNTED: Final = "/opt/ml/processing"
LONGEST_SECONDS: Final = 86400.0
"""How long a job may run that does not say it."""
MESSAGE_LENGTH: Final = 1024


class ProcessingJob(Job):
    """A processing job."""

    noun, kind, words = "ProcessingJob", "processing-job", "processing job"

    def __init__(self, backend: SageMakerModelBackend, params: Mapping[str, Any]) -> None:
        super().__init__(backend, params)
        _refuse_not_emulated(params)
        self.inputs = params.get("ProcessingInputs") or []
        self.outputs = (params.get("ProcessingOutputConfig") or {}).get("Outputs") or []
        _validate(params, self.inputs, self.outputs)
        jobs.refuse_strange_role(self.role)
        for each in self.inputs:
            self.storage.required(each["S3Input"]["S3Uri"])
        self.exit_message: str | None = None
        self._lines: list[str] = []
        self._log = JobLog(self.region, self.role, "ProcessingJobs", f"{self.name}/algo-1-{int(time.time())}")

    def describe(self) -> Json:
        return {
            **{name: value for name, value in self.params.items() if name != "Tags"},
            "ProcessingJobArn": self.arn,
            "ProcessingJobStatus": self.status,
            "ExitMessage": self.exit_message,
            "FailureReason": self.failure_reason,
            "CreationTime": self.created,
            "ProcessingStartTime": self.started,
            "ProcessingEndTime": self.ended,
            "LastModifiedTime": self.modified,
        }

    def summary(self) -> Json:
        """A line of ListProcessingJobs."""
        names = ("ProcessingJobName", "ProcessingJobArn", "CreationTime", "ProcessingEndTime", "LastModifiedTime")
        described = self.describe()
        return {name: described.get(name) for name in (*names, "ProcessingJobStatus", "FailureReason", "ExitMessage")}

    def work(self) -> None:
        self.announce()
        with self.turn():
            try:
                self._run()
            finally:
                self._log.flush()

    def _run(self) -> None:
        app, condition = self.params["AppSpecification"], self.params.get("StoppingCondition") or {}
        self._say(
            f"image {app['ImageUri']} is not run; its command line runs in the Python of this environment, one process "
            "for all instances"
        )
        self._download()
        jobs.localize_scripts(self, [*app["ContainerEntrypoint"], *(app.get("ContainerArguments") or ())])
        self.started = self.modified
        isolated = bool((self.params.get("NetworkConfig") or {}).get("EnableNetworkIsolation"))
        variables = {
            "PROCESSING_JOB_NAME": self.name,
            "PROCESSING_JOB_ARN": self.arn,
            **(self.params.get("Environment") or {}),
        }
        argv = [self.local(word) for word in (*app["ContainerEntrypoint"], *(app.get("ContainerArguments") or ()))]
        run = Program(argv, jobs.environment(self, isolated, variables), self.ml, self._hear)
        deadline = time.monotonic() + condition.get("MaxRuntimeInSeconds", LONGEST_SECONDS)
        ended = run.wait(deadline, self.stopping, meanwhile=self._log.flush)
        message = self.ml / "output/message"
        if message.is_file():
            self.exit_message = message.read_text("utf-8", "replace")[:MESSAGE_LENGTH] or None
        if ended == Ended.TIMED_OUT:
            self._say(f"it ran longer than MaxRuntimeInSeconds, {condition['MaxRuntimeInSeconds']}")
        if ended != Ended.EXITED:
            raise JobStopped
        if run.code:
            said = jobs.last_words(self._lines).splitlines()[-1]
            raise JobFailed(
                f"AlgorithmError: See job logs for more information, exit code: {run.code}; its last line: {said}"
            )
        self._upload()

    def _say(self, line: str) -> None:
        self._log.write(f"rehearsal: {line}")

    def _hear(self, line: str) -> None:
        self._log.write(line)
        self._lines = [*self._lines[-99:], line]

    def _download(self) -> None:
        for folder in ("config", "output", "processing"):
            (self.ml / folder).mkdir(parents=True)
        for each in self.inputs:
            source = each["S3Input"]
            if source.get("S3InputMode", "File") != "File":
                self._say(f"input {each['InputName']} is streamed in AWS; here its files are copied, as with File")
            target = Path(self.local(source["LocalPath"]))
            target.mkdir(parents=True, exist_ok=True)
            count = self.storage.download(source["S3Uri"], target)
            self._say(f"input {each['InputName']}: {count} object(s) from {source['S3Uri']}")
        for each in self.outputs:
            Path(self.local(each["S3Output"]["LocalPath"])).mkdir(parents=True, exist_ok=True)
        described = {
            "ProcessingJobArn": self.arn,
            **{key: value for key, value in self.params.items() if key != "Tags"},
        }
        hosts = {"current_host": "algo-1", "hosts": ["algo-1"]}
        (self.ml / "config/processingjobconfig.json").write_text(json.dumps(described, default=str), "utf-8")
        (self.ml / "config/resourceconfig.json").write_text(json.dumps(hosts), "utf-8")

    def _upload(self) -> None:
        key = (self.params.get("ProcessingOutputConfig") or {}).get("KmsKeyId") or None
        for each in self.outputs:
            target = each["S3Output"]
            if target["S3UploadMode"] == "Continuous":
                self._say(f"output {each['OutputName']} is uploaded at the end, not as it is written")
            folder = Path(self.local(target["LocalPath"]))
            self._say(f"output {each['OutputName']}: {self.storage.upload(folder, target['S3Uri'], key)} file(s)")


def _refuse_not_emulated(params: Mapping[str, Any]) -> None:
    """Raises NotImplementedError for what AWS has and the rehearsal does not."""
    where = f"processing job {params['ProcessingJobName']}"
    if not params["AppSpecification"].get("ContainerEntrypoint"):
        raise NotImplementedError(
            f"{where}: the rehearsal runs command lines, not what an image holds: set ContainerEntrypoint"
        )
    for each in params.get("ProcessingInputs") or ():
        name, source = each["InputName"], each.get("S3Input")
        if source is None:
            raise NotImplementedError(f"{where}, input {name}: only S3 is rehearsed as a source")
        if source["S3DataType"] != "S3Prefix":
            raise NotImplementedError(f"{where}, input {name}: S3DataType {source['S3DataType']} is not rehearsed")
        if source.get("S3CompressionType", "None") != "None":
            raise NotImplementedError(f"{where}, input {name}: S3CompressionType Gzip is not rehearsed")
    for each in (params.get("ProcessingOutputConfig") or {}).get("Outputs") or ():
        if not each.get("S3Output"):
            raise NotImplementedError(f"{where}, output {each['OutputName']}: only S3 is rehearsed as a target")


def _validate(params: Mapping[str, Any], inputs: list[Json], outputs: list[Json]) -> None:
    """Raises AWSValidationException for what AWS refuses."""
    for kind, each in (*(("Input", each) for each in inputs), *(("Output", each) for each in outputs)):
        path = each[f"S3{kind}"].get("LocalPath", "")
        if not path.startswith(f"{MOUNTED}/") or ".." in path.split("/"):
            raise AWSValidationException(f"LocalPath {path!r} of {each[f'{kind}Name']} must be under {MOUNTED}")
    paths = [each["S3Input"]["LocalPath"] for each in inputs]
    if len(set(paths)) < len(paths):
        raise AWSValidationException("ProcessingInputs must not share a LocalPath")
    cluster = params["ProcessingResources"]["ClusterConfig"]
    if cluster.get("VolumeKmsKeyId") and has_local_storage(cluster["InstanceType"]):
        raise AWSValidationException(
            f"VolumeKmsKeyId is not supported for instance type {cluster['InstanceType']}: its local NVMe storage is "
            "encrypted by a hardware module on the instance. Leave VolumeKmsKeyId out"
        )
