"""SageMaker's jobs as local processes: what training, processing and batch transform have in common.

A container image is not run: the job's own code runs in the Python of this environment, as one process for all
instances. A container's `/opt/ml` is a folder of the job's own, which stands for it in arguments, hyperparameters and
environment variables, and in the scripts that the SageMaker SDK brings along to start a user's. The job's log says so.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, ClassVar, Final
from urllib.parse import urlsplit

from botocore.exceptions import ClientError
from moto.core.exceptions import ServiceException
from moto.core.responses import ActionResult
from moto.iam.models import iam_backends
from moto.sagemaker.exceptions import AWSValidationException
from moto.sagemaker.models import SageMakerModelBackend, sagemaker_backends

from infra.rehearsal.emulator import children, events, job_runner
from infra.rehearsal.emulator.calls import ACCOUNT, turn_of
from infra.rehearsal.emulator.serving import Aws, Log

Json = dict[str, Any]

AT_ONCE: Final = 2
"""How many jobs have a process at the same time; the others wait for their turn, as for capacity."""
GRACE_SECONDS: Final = 10.0
"""How long a program may go on after SIGTERM. AWS gives it 120 s."""
LOG_SECONDS: Final = 1.0
SERVICE: Final = "sagemaker.amazonaws.com"
ROOT: Final = "/opt/ml"
PATHS: Final = re.compile(r"(?<![\w.~/-])/opt/ml(?![\w.-])")
"""The container's folder, where a path begins with it: not in `s3://bucket/opt/ml`."""
REASON_LENGTH: Final = 1024
"""The longest FailureReason, from the service model."""
TABLES: Final = {"TrainingJob": "training_jobs", "ProcessingJob": "processing_jobs", "TransformJob": "transform_jobs"}
"""Where moto's backend holds its own jobs; ours are put there, so that tags and Search find them."""


class InUse(ServiceException):
    """SageMaker's error for a name that is taken."""

    code = "ResourceInUse"


class JobFailed(Exception):
    """A job cannot go on: the text is its FailureReason."""


class JobStopped(Exception):
    """Somebody asked a job to stop."""


@dataclass(frozen=True)
class Settings:
    """What jobs need to know of the emulator they run in."""

    aws: Aws
    work: Path
    second: float
    """Real seconds that one second of waiting for a retry takes."""


_settings: Settings | None = None
_slots = threading.Semaphore(AT_ONCE)
_disturbances: list[tuple[str, str]] = []
_lock = threading.Lock()


def install(aws: Aws, work: Path, second: float) -> None:
    """Run jobs below `work`; what an emulator that was killed left behind is removed."""
    global _settings
    _settings = Settings(aws, work, second)
    shutil.rmtree(work / "jobs", ignore_errors=True)


def settings() -> Settings:
    """What `install` was given. Raises RuntimeError before."""
    if _settings is None:
        raise RuntimeError("jobs.install has not been called")
    return _settings


def disturb(request: Mapping[str, Any]) -> Json:
    """`/_slipway/disturb`: the next job whose name has `job` in it fails with `reason`, before its program starts.

    So that what AWS's own failures (`InternalServerError: …`, `CapacityError: …`) lead to can be rehearsed.
    """
    if not all(isinstance(request.get(name), str) for name in ("job", "reason")):
        raise LookupError('say which and how: {"job": "a part of its name", "reason": "CapacityError: …"}')
    with _lock:
        _disturbances.append((request["job"], request["reason"]))
    return {"waiting": len(_disturbances)}


def refuse_strange_role(arn: str) -> None:
    """Hold a role to what lets SageMaker assume it. Raises AWSValidationException."""
    with turn_of("iam"):
        roles = [role for role in iam_backends[ACCOUNT]["aws"].get_roles() if role.arn == arn]
    for role in roles:
        statements = json.loads(role.assume_role_policy_document).get("Statement") or ()
        for statement in [statements] if isinstance(statements, dict) else statements:
            principal = statement.get("Principal") or {}
            services = principal.get("Service", ()) if isinstance(principal, dict) else ()
            if statement["Effect"] == "Allow" and SERVICE in ([services] if isinstance(services, str) else services):
                return
    raise AWSValidationException(
        f"Could not assume role {arn}. Please ensure that the role exists and allows principal '{SERVICE}' to assume "
        "the role."
    )


def location(uri: str) -> tuple[str, str]:
    """`s3://bucket/a/b` → (`bucket`, `a/b`). Raises AWSValidationException for what is no such URI."""
    parts = urlsplit(uri)
    if parts.scheme != "s3" or not parts.netloc:
        raise AWSValidationException(f"The S3 URI {uri!r} is not valid: it has the form s3://bucket/key")
    return parts.netloc, uri.removeprefix(f"s3://{parts.netloc}").removeprefix("/")


def relative(key: str, prefix: str) -> str:
    """What an object below a prefix is called in the job's folder."""
    folder = f"{prefix.rstrip('/')}/" if prefix else ""
    if folder and key.startswith(folder):
        return key.removeprefix(folder)
    return key.removeprefix(prefix[: prefix.rfind("/") + 1])


class Storage:
    """S3 as a job's role sees it."""

    def __init__(self, region: str, role: str) -> None:
        self._s3 = settings().aws.client("s3", region, role)
        self.region, self.role = region, role

    def names(self, uri: str) -> list[tuple[str, str]]:
        """The keys below a prefix, each with what it is called in the job's folder; no folders of the console's."""
        bucket, prefix = location(uri)
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        keys = [entry["Key"] for page in pages for entry in page.get("Contents", ())]
        return [(key, relative(key, prefix)) for key in keys if not key.endswith("/")]

    def required(self, uri: str) -> list[tuple[str, str]]:
        """As `names`. Raises AWSValidationException where there is nothing."""
        bucket, _ = location(uri)
        try:
            found = self.names(uri)
        except ClientError:
            found = []
        if not found:
            raise AWSValidationException(
                f'No S3 objects found under S3 URL "{uri}" given in input data source. Please ensure that the bucket '
                f"exists in the selected region ({self.region}), that objects exist under that S3 prefix, and that the "
                f'role "{self.role}" has "s3:ListBucket" permissions on bucket "{bucket}".'
            )
        return found

    def read(self, uri: str) -> bytes:
        bucket, key = location(uri)
        body: bytes = self._s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        return body

    def download(self, uri: str, folder: Path) -> int:
        """Fetch all that is below a prefix. Returns how many objects."""
        bucket, _ = location(uri)
        names = self.names(uri)
        for key, name in names:
            target = folder / name
            if not target.resolve().is_relative_to(folder.resolve()):
                raise JobFailed(f"ClientError: the object s3://{bucket}/{key} has no place below its folder")
            target.parent.mkdir(parents=True, exist_ok=True)
            self._s3.download_file(bucket, key, str(target))
        return len(names)

    def write(self, uri: str, body: bytes | Path, kms_key_id: str | None = None) -> None:
        bucket, key = location(uri)
        encryption = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": kms_key_id} if kms_key_id else {}
        if isinstance(body, Path):
            self._s3.upload_file(str(body), bucket, key, ExtraArgs=encryption)
        else:
            self._s3.put_object(Bucket=bucket, Key=key, Body=body, **encryption)

    def upload(self, folder: Path, uri: str, kms_key_id: str | None = None) -> int:
        """Put all files of a folder below a prefix. Returns how many."""
        files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        for path in files:
            self.write(f"{uri.rstrip('/')}/{path.relative_to(folder).as_posix()}", path, kms_key_id)
        return len(files)


class JobLog(Log):
    """One stream of a log group of SageMaker's jobs."""

    def __init__(self, region: str, role: str, group: str, stream: str) -> None:
        super().__init__(settings().aws, region, role, "", "")
        self._group, self.stream = f"/aws/sagemaker/{group}", stream


def in_milliseconds(value: Any) -> Any:
    """A value with its moments as SageMaker's events have them: in milliseconds since 1970."""
    if isinstance(value, datetime):
        return int(value.timestamp() * 1000)
    if isinstance(value, dict):
        return {key: in_milliseconds(each) for key, each in value.items()}
    return [in_milliseconds(each) for each in value] if isinstance(value, list) else value


class Job:
    """One job, from Create to its end. A subclass says what it does."""

    noun: ClassVar[str]
    kind: ClassVar[str]
    """As it is called in ARNs."""
    words: ClassVar[str]

    def __init__(self, backend: SageMakerModelBackend, params: Mapping[str, Any]) -> None:
        self.backend, self.params = backend, params
        self.name: str = params[f"{self.noun}Name"]
        self.region = backend.region_name
        self.arn = f"arn:aws:sagemaker:{self.region}:{backend.account_id}:{self.kind}/{self.name}"
        self.tags: list[dict[str, str]] = params.get("Tags") or []
        self.status = "InProgress"
        self.failure_reason: str | None = None
        self.created = self.modified = datetime.now(UTC)
        self.started: datetime | None = None
        self.ended: datetime | None = None
        self.stopping = threading.Event()
        self.done = threading.Event()
        self.folder = settings().work / "jobs" / f"{self.kind}-{self.name}-{uuid.uuid4().hex[:8]}"

    @property
    def role(self) -> str:
        """The ARN of the role it runs as."""
        return str(self.params["RoleArn"])

    @property
    def storage(self) -> Storage:
        """S3 as its role sees it."""
        return Storage(self.region, self.role)

    @property
    def ml(self) -> Path:
        """What its container calls /opt/ml."""
        return self.folder / "opt/ml"

    def local(self, text: str) -> str:
        """A text with the container's paths as they are here."""
        return PATHS.sub(lambda _: str(self.ml), text)

    def localize(self, script: Path) -> None:
        """Put the paths of this machine in a script that is no user's own, but the SDK's."""
        script.write_text(self.local(script.read_text("utf-8")), "utf-8")

    def describe(self) -> Json:
        """The answer of its Describe."""
        raise NotImplementedError

    def work(self) -> None:
        """Do what the job is for. Raises JobFailed, JobStopped, and what S3 says."""
        raise NotImplementedError

    def become(self, status: str, reason: str | None = None) -> None:
        """Change the status and say so on EventBridge."""
        self.status, self.modified = status, datetime.now(UTC)
        self.failure_reason = reason[:REASON_LENGTH] if reason else None
        if status in ("Completed", "Failed", "Stopped"):
            self.ended = self.modified
        self.announce()

    def announce(self) -> None:
        """Say on EventBridge how it is: all that Describe tells, with times in milliseconds."""
        detail = in_milliseconds({key: value for key, value in self.describe().items() if value is not None})
        detail["Tags"] = {tag["Key"]: tag["Value"] for tag in self.tags}
        title = f"SageMaker {' '.join(re.findall('[A-Z][a-z]+', self.noun))} State Change"
        events.emit(self.region, "aws.sagemaker", title, detail, [self.arn])

    def run(self) -> None:
        """Do the job, to its end; whatever goes wrong is the job's failure."""
        try:
            self.work()
            end: tuple[str, str | None] = ("Completed", None)
        except JobStopped:
            end = ("Stopped", None)
        except JobFailed as failure:
            end = ("Failed", str(failure))
        except ClientError as error:
            end = ("Failed", f"ClientError: {error}")
        except Exception as error:
            end = ("Failed", f"InternalServerError: the rehearsal failed: {type(error).__name__}: {error}")
        try:
            self.finish(*end)
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.done.set()

    def finish(self, status: str, reason: str | None) -> None:
        """Enter the last status."""
        self.become(status, reason)

    def stop(self) -> None:
        """Ask it to end. Raises AWSValidationException where it has ended."""
        if self.status != "InProgress":
            raise AWSValidationException(
                f"The request was rejected because the {self.words} is in status {self.status}."
            )
        self.status = "Stopping"
        self.stopping.set()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Held while the job has a process. Raises JobStopped, and JobFailed where `disturb` asked for that."""
        while not _slots.acquire(timeout=0.1):
            if self.stopping.is_set():
                raise JobStopped
        try:
            if self.stopping.is_set():
                raise JobStopped
            with _lock:
                for each in _disturbances:
                    if each[0] in self.name:
                        _disturbances.remove(each)
                        raise JobFailed(each[1])
            yield
        finally:
            _slots.release()

    def gen_response_object(self) -> Json:
        """What moto's Search shows of it."""
        return self.describe()

    @property
    def response_object(self) -> Json:
        """What moto calls the answer of Describe."""
        return self.describe()


def localize_scripts(job: Job, command: Sequence[str]) -> None:
    """Put the paths of this machine in the shell scripts that a command line names."""
    for word in command:
        for path in re.findall(rf"{ROOT}/[\w./-]+\.sh", word):
            script = Path(job.local(path))
            if script.is_file():
                job.localize(script)


class Ended:
    """How a program's run ended."""

    EXITED, TIMED_OUT, STOPPED, INTERRUPTED = range(4)


class Program:
    """A job's program while it runs; its lines go to `on_line`."""

    def __init__(
        self, argv: Sequence[str], environment: Mapping[str, str], folder: Path, on_line: Callable[[str], None]
    ) -> None:
        self._on_line = on_line
        self._process = children.spawn(
            [sys.executable, "-P", "-m", "infra.rehearsal.emulator.job_runner", *argv],
            env=environment,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert self._process.stdout
        self._reader = threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True)
        self._reader.start()

    def _read(self, output: IO[bytes]) -> None:
        with output:
            for line in output:
                self._on_line(line.decode(errors="replace").rstrip("\n"))

    def wait(
        self,
        deadline: float,
        stopping: threading.Event,
        interrupted: threading.Event | None = None,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> int:
        """Wait for its end, or bring it about; `meanwhile` is called about once a second. Returns one of Ended's."""
        again = 0.0
        while self._process.poll() is None:
            now = time.monotonic()
            how = (
                Ended.STOPPED
                if stopping.is_set()
                else Ended.INTERRUPTED
                if interrupted and interrupted.is_set()
                else Ended.TIMED_OUT
                if now > deadline
                else None
            )
            if how is not None:
                self._terminate()
                self._reader.join(2)
                return how
            if now >= again:
                meanwhile()
                again = now + LOG_SECONDS
            stopping.wait(0.03)
        self._reader.join(2)
        return Ended.EXITED

    def _terminate(self) -> None:
        children.end(self._process, signal.SIGTERM)
        try:
            self._process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            children.end(self._process)
            self._process.wait()

    @property
    def code(self) -> int:
        """Its exit code; of one that a signal ended as a shell tells it."""
        code = int(self._process.returncode)
        return 128 - code if code < 0 else code


def environment(job: Job, isolated: bool, variables: Mapping[str, str], code: Path | None = None) -> dict[str, str]:
    """What a job's process is told: credentials of its role, or no way to AWS at all; then the job's own variables.

    Its program imports from `code`, and from what its own PYTHONPATH names.
    """
    aws = settings().aws
    told = aws.environment(job.region, None if isolated else job.role)
    if isolated:
        port = urlsplit(aws.endpoint).port
        told = {name: text for name, text in told.items() if name not in ("AWS_ENDPOINT_URL", "HOME")}
        told[job_runner.ISOLATED] = str(port)
    own = {name: job.local(text) for name, text in variables.items()}
    path = f"{_programs(job)}{os.pathsep}{told.get('PATH', '')}"
    imported = [str(code)] if code else []
    packages = str(job.folder / "packages")  # a program that calls pip must not change the environment it runs in
    imported += [packages, *(job.local(each) for each in own.pop("PYTHONPATH", "").split(os.pathsep) if each)]
    return {
        **told,
        "PATH": path,
        "PYTHONUNBUFFERED": "1",
        "PYTHONUTF8": "1",
        "OMP_NUM_THREADS": "1",  # on a machine that others share, several threads wait for each other
        "TMPDIR": str(job.folder),
        "PIP_TARGET": packages,
        **own,
        job_runner.CODE: os.pathsep.join(imported),
    }


def _programs(job: Job) -> Path:
    """A folder with what shell scripts call: this Python, and a pip that installs nothing."""
    folder = job.folder / "bin"
    folder.mkdir(parents=True, exist_ok=True)
    said = "rehearsal: nothing is installed: the packages of this environment are used"
    for names, line in ((("python3", "python"), f'exec "{sys.executable}" "$@"'), (("pip3", "pip"), f'echo "{said}"')):
        for name in names:
            (folder / name).write_text(f"#!/bin/sh\n{line}\n", "utf-8")
            (folder / name).chmod(0o755)
    return folder


def last_words(lines: Sequence[str]) -> str:
    """What a program said before it failed: its last traceback, or its last lines."""
    said = [line for line in lines if line.strip()]
    begun = [at for at, line in enumerate(said) if line.startswith("Traceback (most recent call last)")]
    return "\n".join(said[begun[-1] :] if begun else said[-5:]) or "nothing was printed"


def create(job: Job) -> ActionResult:
    """Take a job in and start it. Raises InUse where its name is taken."""
    table: dict[str, Any] = getattr(job.backend, TABLES[job.noun])
    with _lock:
        if job.name in table:
            raise InUse(
                f"{job.words.capitalize()} names must be unique within an AWS account and region, and a {job.words} "
                f"with this name already exists ({job.arn})"
            )
        table[job.name] = job
    threading.Thread(target=job.run, daemon=True).start()
    return ActionResult({f"{job.noun}Arn": job.arn})


def find(backend: SageMakerModelBackend, noun: str, name: str) -> Any:
    """The job of this name. Raises AWSValidationException where there is none."""
    job = getattr(backend, TABLES[noun]).get(name)
    if job is None:
        if noun == "TrainingJob":
            raise AWSValidationException("Requested resource not found.")
        raise AWSValidationException(f"Could not find requested job with name: {name}")
    return job


def all_jobs() -> Iterator[Job]:
    """Every job of the emulator."""
    for backend in list(sagemaker_backends[ACCOUNT].values()):
        for table in TABLES.values():
            yield from list(getattr(backend, table).values())


def interrupt(request: Mapping[str, Any]) -> Json:
    """`/_slipway/interrupt`: take a managed spot training job its instance, once; it starts again by itself."""
    for job in all_jobs():
        if job.noun == "TrainingJob" and job.name == request.get("training_job") and not job.done.is_set():
            if not job.params.get("EnableManagedSpotTraining"):
                raise LookupError(f"{job.name} does not run on spot capacity: nothing interrupts it")
            job.interrupted.set()  # type: ignore[attr-defined]  # a training job has it
            return {"interrupted": job.name}
    raise LookupError(f"no training job {request.get('training_job')!r} is in progress")


def stop_all(backend: SageMakerModelBackend) -> None:
    """End the jobs of a backend that is reset."""
    for table in TABLES.values():
        for job in list(getattr(backend, table).values()):
            if isinstance(job, Job):
                job.stopping.set()


def page(
    rows: Sequence[Json], params: Mapping[str, Any], member: str, *, status: str | None = None, name: str | None = None
) -> ActionResult:
    """One page of a List, of rows that its own words describe; `status` and `name` are the rows' members for those."""
    found = list(rows)
    wanted = params.get("StatusEquals")
    if wanted and status:
        found = [row for row in found if row[status] == wanted]
    if params.get("NameContains") and name:
        found = [row for row in found if params["NameContains"] in row[name]]
    for word, time_of in (("Creation", "CreationTime"), ("LastModified", "LastModifiedTime"), ("Created", "StartTime")):
        for edge in ("After", "Before"):
            bound = params.get(f"{word}Time{edge}", params.get(f"{word}{edge}"))
            if bound is None:
                continue
            moment = bound if isinstance(bound, datetime) else datetime.fromtimestamp(float(bound), UTC)
            moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            found = [
                row
                for row in found
                if time_of not in row or (row[time_of] > moment if edge == "After" else row[time_of] < moment)
            ]
    try:
        start = int(params.get("NextToken") or 0)
    except ValueError:
        raise AWSValidationException("Invalid pagination token.") from None
    end = start + int(params.get("MaxResults") or 100)
    answer: Json = {member: found[start:end]}
    if end < len(found):
        answer["NextToken"] = str(end)
    return ActionResult(answer)


def ordered(rows: Sequence[Json], params: Mapping[str, Any], keys: Mapping[str, str], default: str) -> list[Json]:
    """Rows in the order that a List asks for; `keys` maps SortBy's words to members; `default` is a SortOrder."""
    key = keys[params.get("SortBy") or next(iter(keys))]
    backwards = (params.get("SortOrder") or default) == "Descending"
    return sorted(rows, key=lambda row: row[key], reverse=backwards)
