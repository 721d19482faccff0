"""SageMaker training jobs that run: the script mode of its framework containers, as a local process.

What a script finds is described at https://github.com/aws/sagemaker-training-toolkit (ENVIRONMENT_VARIABLES.md).
"""

import gzip
import io
import json
import os
import re
import shutil
import tarfile
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from botocore.exceptions import ClientError
from moto.sagemaker.exceptions import AWSValidationException
from moto.sagemaker.models import SageMakerModelBackend

from infra.rehearsal.emulator import jobs
from infra.rehearsal.emulator.jobs import Ended, Job, JobFailed, JobLog, JobStopped, Json, Program
from infra.rehearsal.emulator.metrics import put_metric

PROGRAM: Final = "sagemaker_program"
SUBMITTED: Final = "sagemaker_submit_directory"
CHECKPOINTS: Final = "/opt/ml/checkpoints"
LOGS: Final = "TrainingJobs"
NOT_INSTALLED: Final = "requirements.txt is not installed: the packages of this environment are used"
NOT_REHEARSED: Final = (
    *("ServerlessJobConfig", "SessionChainingConfig", "MlflowConfig", "ModelPackageConfig"),
    *("DebugRuleConfigurations", "ProfilerRuleConfigurations", "TensorBoardOutputConfig"),
)
"""Parameters of CreateTrainingJob with an effect that the rehearsal does not have."""
MESSAGES: Final = {
    "Starting": "Preparing the instances for training",
    "Downloading": "Downloading input data",
    "Training": "Training image download completed. Training in progress.",
    "Uploading": "Uploading generated training model",
    "Completed": "Training job completed",
    "Failed": "Training job failed",
    "Restarting": "Restarting the training job after an internal error",
    "Stopping": "Stopping the training job",
    "Stopped": "Training job stopped",
    "Interrupted": "Training job interrupted: its spot capacity was taken away",
    "MaxRuntimeExceeded": "Training job runtime exceeded MaxRuntimeInSeconds provided",
    "MaxWaitTimeExceeded": "Training job wait time exceeded MaxWaitTimeInSeconds provided",
}


def has_local_storage(instance_type: str) -> bool:
    """Whether a SageMaker instance type keeps its data on disks of its own, which are always encrypted."""
    from moto.ec2.models.instance_types import INSTANCE_TYPES  # here, for it takes a second

    return bool(INSTANCE_TYPES.get(instance_type.removeprefix("ml."), {}).get("InstanceStorageSupported"))


def archived(folder: Path) -> bytes:
    """A folder as tar.gz; the same files make the same bytes."""
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as zipped, tarfile.open(fileobj=zipped, mode="w") as archive:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            entry = tarfile.TarInfo(path.relative_to(folder).as_posix())
            entry.size = path.stat().st_size
            with path.open("rb") as content:
                archive.addfile(entry, content)
    return packed.getvalue()


def hyperparameter(text: str) -> Any:
    """The value of a hyperparameter: the SDK writes them as JSON, other callers as they are."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def arguments_of(hyperparameters: Mapping[str, Any]) -> list[str]:
    """Hyperparameters as the toolkit hands them to a script: `--name value`, sorted by name."""
    found: list[str] = []
    for name in sorted(hyperparameters):
        if not name.startswith(("sagemaker_", "_tuning")):
            found += [f"-{name}" if len(name) == 1 else f"--{name}", str(hyperparameters[name])]
    return found


class TrainingJob(Job):
    """A training job in script mode."""

    noun, kind, words = "TrainingJob", "training-job", "training job"

    def __init__(self, backend: SageMakerModelBackend, params: Mapping[str, Any]) -> None:
        super().__init__(backend, params)
        _refuse_not_emulated(params)
        _validate(params)
        jobs.refuse_strange_role(self.role)
        for channel in params.get("InputDataConfig") or ():
            self.storage.required(channel["DataSource"]["S3DataSource"]["S3Uri"])
        self.interrupted = threading.Event()
        self.secondary = "Starting"
        self.transitions: list[Json] = [
            {"Status": "Starting", "StartTime": self.created, "StatusMessage": MESSAGES["Starting"]}
        ]
        self.metrics: dict[str, Json] = {}
        self.trained = 0.0
        """Seconds that its program ran."""
        self._lines: list[str] = []
        self._definitions = [
            (each["Name"], re.compile(each["Regex"]))
            for each in params["AlgorithmSpecification"].get("MetricDefinitions") or ()
        ]
        self._log = JobLog(self.region, self.role, LOGS, f"{self.name}/algo-1-{int(time.time())}")
        self._saved: dict[str, tuple[int, int]] = {}

    # --- what others see of it ----------------------------------------------------------------------------------------

    @property
    def output_uri(self) -> str:
        """Where its artifacts go."""
        return f"{self.params['OutputDataConfig']['S3OutputPath'].rstrip('/')}/{self.name}/output"

    @property
    def _model_uri(self) -> str:
        plain = self.params["OutputDataConfig"].get("CompressionType") == "NONE"
        return f"{self.output_uri}/model" + ("/" if plain else ".tar.gz")

    def describe(self) -> Json:
        params = self.params
        described: Json = {
            **{name: value for name, value in params.items() if name not in ("Tags", "SessionChainingConfig")},
            "TrainingJobArn": self.arn,
            "ModelArtifacts": {"S3ModelArtifacts": self._model_uri},
            "TrainingJobStatus": self.status,
            "SecondaryStatus": self.secondary,
            "FailureReason": self.failure_reason,
            "CreationTime": self.created,
            "TrainingStartTime": self.started,
            "TrainingEndTime": self.ended,
            "LastModifiedTime": self.modified,
            "SecondaryStatusTransitions": self.transitions,
            "FinalMetricDataList": list(self.metrics.values()),
            "EnableNetworkIsolation": bool(params.get("EnableNetworkIsolation")),
            "EnableInterContainerTrafficEncryption": bool(params.get("EnableInterContainerTrafficEncryption")),
            "EnableManagedSpotTraining": bool(params.get("EnableManagedSpotTraining")),
        }
        if self.ended and self.trained:
            described["TrainingTimeInSeconds"] = described["BillableTimeInSeconds"] = max(1, round(self.trained))
        keep = params["ResourceConfig"].get("KeepAlivePeriodInSeconds")
        if keep and self.ended and self.status == "Completed":
            alive = (datetime.now(UTC) - self.ended).total_seconds() < keep
            described["WarmPoolStatus"] = {"Status": "Available" if alive else "Terminated"}
        return described

    def summary(self) -> Json:
        """A line of ListTrainingJobs."""
        names = ("TrainingJobName", "TrainingJobArn", "CreationTime", "TrainingEndTime", "LastModifiedTime")
        described = self.describe()
        return {name: described.get(name) for name in (*names, "TrainingJobStatus", "SecondaryStatus")}

    def stop(self) -> None:
        super().stop()
        self._enter("Stopping")

    # --- its life -----------------------------------------------------------------------------------------------------

    def _enter(self, secondary: str) -> None:
        """Begin the next part of its life."""
        self._end_transition()
        self.secondary = secondary
        self.transitions.append({"Status": secondary, "StartTime": self.modified, "StatusMessage": MESSAGES[secondary]})
        self.announce()

    def _end_transition(self) -> None:
        self.modified = datetime.now(UTC)
        self.transitions[-1]["EndTime"] = self.modified

    def work(self) -> None:
        self.announce()
        asked = self.params["StoppingCondition"]
        waits_until = time.monotonic() + asked.get("MaxWaitTimeInSeconds", float("inf"))
        left = int((self.params.get("RetryStrategy") or {}).get("MaximumRetryAttempts", 0))
        while True:
            try:
                with self.turn():
                    self._train(waits_until)
                return
            except JobFailed as failure:
                if not left or not str(failure).startswith("InternalServerError"):
                    raise
                left -= 1
                self._say(f"{failure}; it starts again, as its RetryStrategy says")
                self._enter("Restarting")

    def _train(self, waits_until: float) -> None:
        """Run until it ends by itself, however often its instances are taken away."""
        while self._attempt(waits_until) == Ended.INTERRUPTED:
            self.interrupted.clear()
            self._enter("Interrupted")
            self._say("its spot capacity is gone; it starts again with its checkpoints")
            self._enter("Starting")

    def finish(self, status: str, reason: str | None) -> None:
        if reason:
            self._say(reason)
        self._log.flush()
        if status != self.secondary and self.secondary not in ("MaxRuntimeExceeded", "MaxWaitTimeExceeded"):
            self._end_transition()
            self.secondary = status
            self.transitions.append({"Status": status, "StartTime": self.modified, "StatusMessage": MESSAGES[status]})
        self._end_transition()
        self.become(status, reason)

    def _attempt(self, waits_until: float) -> int:
        """Run on fresh instances. Returns Ended.INTERRUPTED where these were taken away, else Ended.EXITED."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self._enter("Downloading")
        self._download()
        program, code = self._code()
        self._enter("Training")
        self.started = self.started or self.modified
        began = time.monotonic()
        deadline = min(began + self.params["StoppingCondition"]["MaxRuntimeInSeconds"] - self.trained, waits_until)
        self._lines.clear()
        isolated = bool(self.params.get("EnableNetworkIsolation"))
        told = jobs.environment(self, isolated, self._variables(program, code), code)
        run = Program(self._argv(program, code), told, code or self.ml, self._hear)
        ended = run.wait(deadline, self.stopping, self.interrupted, self._meanwhile)
        self.trained += time.monotonic() - began
        self._meanwhile()
        if ended == Ended.INTERRUPTED:
            return ended
        if ended == Ended.EXITED and run.code:
            raise JobFailed(self._failure(run.code, program, code))
        self._enter("Uploading")
        self._upload()
        if ended == Ended.TIMED_OUT:
            exceeded = "MaxWaitTimeExceeded" if time.monotonic() >= waits_until else "MaxRuntimeExceeded"
            self._enter(exceeded)
        if ended != Ended.EXITED:
            raise JobStopped
        return ended

    def _say(self, line: str) -> None:
        self._log.write(f"rehearsal: {line}")

    def _hear(self, line: str) -> None:
        """Take in one line of its program."""
        self._log.write(line)
        self._lines = [*self._lines[-99:], line]
        for name, pattern in self._definitions:
            found = pattern.search(line)
            if not found:
                continue
            try:
                value = float(found[1])
            except (ValueError, IndexError):
                continue
            self.metrics[name] = {"MetricName": name, "Value": value, "Timestamp": datetime.now(UTC)}
            put_metric(self.region, "/aws/sagemaker/TrainingJobs", name, value, {"Host": f"{self.name}/algo-1"})

    # --- its folders --------------------------------------------------------------------------------------------------

    @property
    def _checkpoints(self) -> tuple[str, Path] | None:
        """Where checkpoints are kept, and where its program finds and leaves them."""
        config = self.params.get("CheckpointConfig")
        if not config:
            return None
        return config["S3Uri"], Path(self.local(config.get("LocalPath") or CHECKPOINTS))

    def _download(self) -> None:
        image = self.params["AlgorithmSpecification"].get("TrainingImage", "the algorithm")
        self._say(
            f"image {image} is not run; the script runs in the Python of this environment, one process for "
            f"{self.params['ResourceConfig'].get('InstanceCount', 1)} instance(s), without GPUs"
        )
        for folder in ("input/config", "input/data", "model", "output/data", "code"):
            (self.ml / folder).mkdir(parents=True)
        default = self.params["AlgorithmSpecification"]["TrainingInputMode"]
        for channel in self.params.get("InputDataConfig") or ():
            name, source = channel["ChannelName"], channel["DataSource"]["S3DataSource"]
            if channel.get("InputMode", default) == "FastFile":
                self._say(f"channel {name} is streamed in AWS (FastFile); here its files are copied, as with File")
            if source.get("S3DataDistributionType") == "ShardedByS3Key":
                self._say(f"channel {name} is divided between instances in AWS; here the one process gets all of it")
            target = self.ml / "input/data" / name
            target.mkdir(parents=True)
            count = self.storage.download(source["S3Uri"], target)
            self._say(f"channel {name}: {count} object(s) from {source['S3Uri']}")
        self._localize_drivers()
        for name, content in (
            ("hyperparameters", self.params.get("HyperParameters") or {}),
            ("resourceconfig", self._resource_config()),
            ("inputdataconfig", self._input_config()),
        ):
            (self.ml / f"input/config/{name}.json").write_text(json.dumps(content), "utf-8")
        checkpoints = self._checkpoints
        if checkpoints:
            uri, kept = checkpoints
            kept.mkdir(parents=True, exist_ok=True)
            count = self.storage.download(f"{uri.rstrip('/')}/", kept)
            self._say(f"checkpoints: {count} file(s) from {uri}")
            self._saved = {str(path): _stamp(path) for path in kept.rglob("*") if path.is_file()}

    def _localize_drivers(self) -> None:
        """Let the SDK's own scripts (its ModelTrainer's channel `sm_drivers`) find their folders here."""
        drivers = self.ml / "input/data/sm_drivers"
        for script in (*drivers.rglob("*.sh"), *drivers.rglob("*.py")):
            self.localize(script)
        if (installer := drivers / "scripts/install_requirements.py").is_file():
            installer.write_text(f"print({NOT_INSTALLED!r})\n", "utf-8")
        algorithm = self.params["AlgorithmSpecification"]
        command = [*(algorithm.get("ContainerEntrypoint") or ()), *(algorithm.get("ContainerArguments") or ())]
        jobs.localize_scripts(self, command)

    def _resource_config(self) -> Json:
        kind = self.params["ResourceConfig"].get("InstanceType", "")
        group = {"instance_group_name": "homogeneousCluster", "instance_type": kind, "hosts": ["algo-1"]}
        return {
            "current_host": "algo-1",
            "current_instance_type": kind,
            "current_group_name": "homogeneousCluster",
            "hosts": ["algo-1"],
            "instance_groups": [group],
            "network_interface_name": "lo",
        }

    def _input_config(self) -> Json:
        channels = self.params.get("InputDataConfig") or ()
        told = {"TrainingInputMode": "File", "RecordWrapperType": "None", "S3DistributionType": "FullyReplicated"}
        return {each["ChannelName"]: told for each in channels}

    def _meanwhile(self) -> None:
        """While its program runs: write the log, and put new checkpoints where they outlive the instance."""
        self._log.flush()
        checkpoints = self._checkpoints
        if not checkpoints:
            return
        uri, folder = checkpoints
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            try:
                stamp = _stamp(path)
                if self._saved.get(str(path)) != stamp:
                    self.storage.write(f"{uri.rstrip('/')}/{path.relative_to(folder).as_posix()}", path)
                    self._saved[str(path)] = stamp
            except FileNotFoundError:  # the program puts another in its place
                continue

    def _upload(self) -> None:
        config = self.params["OutputDataConfig"]
        key = config.get("KmsKeyId") or None
        if config.get("CompressionType") == "NONE":
            self.storage.upload(self.ml / "model", self._model_uri, key)
            self.storage.upload(self.ml / "output/data", f"{self.output_uri}/output", key)
            return
        self.storage.write(self._model_uri, archived(self.ml / "model"), key)
        if any((self.ml / "output/data").iterdir()):
            self.storage.write(f"{self.output_uri}/output.tar.gz", archived(self.ml / "output/data"), key)

    # --- its program --------------------------------------------------------------------------------------------------

    def _hyperparameters(self) -> Json:
        found = {name: hyperparameter(text) for name, text in (self.params.get("HyperParameters") or {}).items()}
        return {name: self.local(value) if isinstance(value, str) else value for name, value in found.items()}

    def _code(self) -> tuple[str, Path | None]:
        """The script and the folder it lies in, unpacked; no folder where the container has an entrypoint."""
        hyperparameters = self._hyperparameters()
        if self.params["AlgorithmSpecification"].get("ContainerEntrypoint"):
            return "", None
        program, source = str(hyperparameters[PROGRAM]), str(hyperparameters[SUBMITTED])
        code = self.ml / "code"
        if source.startswith("s3://"):
            if self.params.get("EnableNetworkIsolation"):
                raise JobFailed(
                    f"AlgorithmError: framework error: the container cannot fetch {source}, it is isolated from the "
                    f"network: bring the code in a channel, and name its path in {SUBMITTED}"
                )
            try:
                packed: bytes | None = self.storage.read(source)
            except ClientError as error:
                raise JobFailed(f"AlgorithmError: framework error: {source}: {error}") from None
        elif Path(source).is_dir():
            shutil.copytree(source, code, dirs_exist_ok=True)
            packed = None
        elif Path(source).is_file():
            packed = Path(source).read_bytes()
        else:
            asked = str((self.params.get("HyperParameters") or {})[SUBMITTED])
            raise JobFailed(f"AlgorithmError: framework error: there is nothing at {asked}, which {SUBMITTED} names")
        if packed is not None:
            try:
                with tarfile.open(fileobj=io.BytesIO(packed), mode="r:gz") as archive:
                    archive.extraction_filter = getattr(tarfile, "data_filter", None)  # Python 3.11.4 and later have it
                    archive.extractall(code)
            except (tarfile.TarError, OSError, EOFError) as error:
                raise JobFailed(f"AlgorithmError: framework error: {source} is no tar.gz archive: {error}") from None
        if not (code / program).is_file():
            raise JobFailed(f"AlgorithmError: framework error: the code has no {program}, which {PROGRAM} names")
        if (code / "requirements.txt").exists():
            self._say(NOT_INSTALLED)
        return program, code

    def _argv(self, program: str, code: Path | None) -> list[str]:
        algorithm = self.params["AlgorithmSpecification"]
        if code is None:
            line = [*algorithm["ContainerEntrypoint"], *(algorithm.get("ContainerArguments") or ())]
            return [self.local(word) for word in line]
        start = ["/bin/sh"] if program.endswith(".sh") else ["python3"]
        return [*start, str(code / program), *arguments_of(self._hyperparameters())]

    def _variables(self, program: str, code: Path | None) -> dict[str, str]:
        """What SageMaker's containers tell a script, under their names."""
        everything = self._hyperparameters()
        own = {name: value for name, value in everything.items() if not name.startswith("sagemaker_")}
        framework = {name: value for name, value in everything.items() if name.startswith("sagemaker_")}
        channels = [each["ChannelName"] for each in self.params.get("InputDataConfig") or ()]
        resources = self.params["ResourceConfig"]
        ml = self.ml
        told: dict[str, Any] = {
            "SM_HOSTS": ["algo-1"],
            "SM_CURRENT_HOST": "algo-1",
            "SM_CURRENT_INSTANCE_TYPE": resources.get("InstanceType", ""),
            "SM_NETWORK_INTERFACE_NAME": "lo",
            "SM_NUM_GPUS": 0,
            "SM_NUM_CPUS": os.cpu_count(),
            "SM_NUM_NEURONS": 0,
            "SM_LOG_LEVEL": 20,
            "SM_HPS": own,
            "SM_USER_ARGS": arguments_of(everything),
            "SM_USER_ENTRY_POINT": program,
            "SM_MODULE_NAME": program.removesuffix(".py"),
            "SM_MODULE_DIR": str(framework.get(SUBMITTED, "")),
            "SM_FRAMEWORK_PARAMS": framework,
            "SM_CHANNELS": sorted(channels),
            "SM_INPUT_DIR": ml / "input",
            "SM_INPUT_CONFIG_DIR": ml / "input/config",
            "SM_MODEL_DIR": ml / "model",
            "SM_OUTPUT_DIR": ml / "output",
            "SM_OUTPUT_DATA_DIR": ml / "output/data",
            "SM_OUTPUT_INTERMEDIATE_DIR": ml / "output/intermediate",
            "SM_INPUT_DATA_CONFIG": self._input_config(),
            "SM_RESOURCE_CONFIG": self._resource_config(),
            **{f"SM_CHANNEL_{name.upper()}": ml / "input/data" / name for name in channels},
            **{f"SM_HP_{name.upper()}": value for name, value in own.items()},
        }
        texts = {
            name: json.dumps(value) if isinstance(value, dict | list) else str(value) for name, value in told.items()
        }
        return {
            "TRAINING_JOB_NAME": self.name,
            "TRAINING_JOB_ARN": self.arn,
            "SAGEMAKER_JOB_NAME": self.name,
            "SAGEMAKER_REGION": self.region,
            **(texts if code else {}),
            **(self.params.get("Environment") or {}),
        }

    def _failure(self, code: int, program: str, folder: Path | None) -> str:
        """Why it failed: what its program wrote down, else what it said last, as the toolkit tells it."""
        written = self.ml / "output/failure"
        if written.is_file() and (said := written.read_text("utf-8", "replace").strip()):
            return f"AlgorithmError: {said[: jobs.REASON_LENGTH - 40]}, exit code: {code}"
        argv = ["python3", program, *arguments_of(self._hyperparameters())] if folder else self._argv("", None)
        command = " ".join(argv).replace(str(self.ml), jobs.ROOT)
        said = jobs.last_words(self._lines)
        frame = f'AlgorithmError: ExecuteUserScriptError:\nExitCode {code}\nErrorMessage "{{}}"\nCommand "{command}"'
        room = jobs.REASON_LENGTH - len(frame) - 20
        return f"{frame.format(said[-max(room, 200) :])}, exit code: {code}"


def _stamp(path: Path) -> tuple[int, int]:
    known = path.stat()
    return known.st_mtime_ns, known.st_size


def _refuse_not_emulated(params: Mapping[str, Any]) -> None:
    """Raises NotImplementedError for what AWS has and the rehearsal does not."""
    name = params["TrainingJobName"]
    for field in NOT_REHEARSED:
        if params.get(field):
            raise NotImplementedError(f"training job {name}: {field} is not rehearsed")
    algorithm = params.get("AlgorithmSpecification") or {}
    hyperparameters = params.get("HyperParameters") or {}
    if not algorithm.get("ContainerEntrypoint") and not {PROGRAM, SUBMITTED} <= set(hyperparameters):
        raise NotImplementedError(
            f"training job {name}: the rehearsal runs scripts, not what an image holds: set the hyperparameters "
            f"{PROGRAM} and {SUBMITTED}"
        )
    for channel in params.get("InputDataConfig") or ():
        where = f"training job {name}, channel {channel['ChannelName']}"
        source = channel["DataSource"].get("S3DataSource")
        if source is None:
            raise NotImplementedError(f"{where}: only S3 is rehearsed as a source")
        if source["S3DataType"] != "S3Prefix":
            raise NotImplementedError(f"{where}: S3DataType {source['S3DataType']} is not rehearsed, S3Prefix is")
        if (channel.get("InputMode") or algorithm["TrainingInputMode"]) == "Pipe":
            raise NotImplementedError(f"{where}: input mode Pipe is not rehearsed, File and FastFile are")
        for field in ("CompressionType", "RecordWrapperType"):
            if channel.get(field, "None") != "None":
                raise NotImplementedError(f"{where}: {field} {channel[field]} is not rehearsed")
    local = (params.get("CheckpointConfig") or {}).get("LocalPath") or CHECKPOINTS
    if not local.startswith(f"{jobs.ROOT}/") or ".." in local.split("/"):
        raise NotImplementedError(
            f"training job {name}: checkpoints at {local} are not rehearsed, below /opt/ml they are"
        )


def _validate(params: Mapping[str, Any]) -> None:
    """Raises AWSValidationException for what AWS refuses."""
    for field in ("AlgorithmSpecification", "ResourceConfig", "StoppingCondition"):
        if not params.get(field):
            raise AWSValidationException(f"1 validation error detected: Value at '{field}' must not be null")
    resources, condition = params["ResourceConfig"], params["StoppingCondition"]
    condition.setdefault("MaxRuntimeInSeconds", 86400)
    spot, longest = params.get("EnableManagedSpotTraining"), condition.get("MaxWaitTimeInSeconds")
    if spot and (longest is None or longest < condition["MaxRuntimeInSeconds"]):
        raise AWSValidationException(
            "Invalid MaxWaitTimeInSeconds. It must be present and be greater than or equal to MaxRuntimeInSeconds"
        )
    if not spot and longest is not None:
        raise AWSValidationException(
            "Invalid MaxWaitTimeInSeconds. It is only supported when EnableManagedSpotTraining is set to true"
        )
    if spot and resources.get("KeepAlivePeriodInSeconds"):
        raise AWSValidationException(
            "KeepAlivePeriodInSeconds is not supported with managed spot training: a warm pool keeps on-demand "
            "instances"
        )
    instance_type = resources.get("InstanceType", "")
    if resources.get("VolumeKmsKeyId") and has_local_storage(instance_type):
        raise AWSValidationException(
            f"VolumeKmsKeyId is not supported for instance type {instance_type}: its local NVMe storage is encrypted "
            "by a hardware module on the instance. Leave VolumeKmsKeyId out"
        )
    _refuse_twice([each["ChannelName"] for each in params.get("InputDataConfig") or ()])


def _refuse_twice(channels: Sequence[str]) -> None:
    for name in channels:
        if channels.count(name) > 1:
            raise AWSValidationException(f"Channel name {name} is given more than once in InputDataConfig")
