"""What makes a rehearsed product live: features ingested, a model trained, approved, served, asked, and watched.

Between the two deployments of a product (stacks/product.py: without a model, then with one) this does what on AWS its
producers, its team, a reviewer and its users do. Each step is done only where it has not been done yet. The data are
the product's own (stacks/samples).
"""

import json
import re
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

import boto3
from boto3.exceptions import Boto3Error
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from functions import ledger
from functions.live import live_package
from functions.monitoring import report as reporting
from infra import pipelines, releases
from infra.rehearsal.samples import Sample, SampleError

TIME: Final = "%Y-%m-%dT%H:%M:%SZ"
REQUESTS: Final = 40
ROWS_A_REQUEST: Final = 50
RECORDS: Final = 100
THREADS: Final = 4
WAIT_SECONDS: Final = 60.0
INGEST_SECONDS: Final = 300.0
ANSWER_SECONDS: Final = 300.0
FIRE_SECONDS: Final = 5.0
"""How long it takes until the schedule of predictions is let fire again."""
FILE: Final = "sample.csv"
MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
"""What a product without an endpoint is asked about."""
REVIEWER: Final = "reviewer"

REPORT: Final = re.compile(r"\d[^/]*\.json")
"""What a report is called, which has a page and files of other forms beside it."""

Say = Callable[[str], None]
Outputs = Mapping[str, Any]
"""What the product's stack exports."""


class ProductError(Exception):
    """A step did not succeed: the text says which, why, and what to do."""


@dataclass
class Clients:
    """boto3 clients of the emulator."""

    endpoint: str
    region: str
    keys: tuple[str, str, str | None] = ("slipway", "rehearsal", None)
    """Access key, secret key and session token."""
    _made: dict[str, Any] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, service: str) -> Any:
        """The client of a service."""
        with self._lock:
            if service not in self._made:
                self._made[service] = boto3.client(
                    service,  # type: ignore[call-overload]  # chosen at run time
                    region_name=self.region,
                    endpoint_url=self.endpoint,
                    aws_access_key_id=self.keys[0],
                    aws_secret_access_key=self.keys[1],
                    aws_session_token=self.keys[2],
                    config=Config(
                        retries={"total_max_attempts": 1},
                        max_pool_connections=THREADS * 2,
                        proxies={},  # It is on this machine, whatever HTTP_PROXY says.
                    ),
                )
            return self._made[service]

    def assume(self, role_arn: str, session: str) -> "Clients":
        """Clients that call as someone in a role."""
        given = self("sts").assume_role(RoleArn=role_arn, RoleSessionName=session)["Credentials"]
        keys = given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"]
        return Clients(self.endpoint, self.region, keys)

    def ask(self, path: str, request: Mapping[str, Any]) -> None:
        """Ask something of the emulator itself. Raises ProductError where it refuses."""
        url = f"{self.endpoint}/_slipway/{path}"
        posted = urllib.request.Request(url, json.dumps(request).encode(), {"Content-Type": "application/json"})
        try:
            urllib.request.build_opener(urllib.request.ProxyHandler({})).open(posted, timeout=WAIT_SECONDS).close()
        except urllib.error.HTTPError as error:
            raise ProductError(f"the emulator refused {path}: {error.read().decode()}") from error
        except OSError as error:
            raise ProductError(f"the emulator does not answer at {self.endpoint}: {error}") from error


def approved_versions(clients: Clients, group: str) -> list[int]:
    """The versions of a model that may be released, the oldest first; none where there is no such group."""
    with _explained("reading the registry"):
        arns = _versions(clients, group, ModelApprovalStatus="Approved")
    return sorted(_version(arn) for arn in arns)


def _versions(clients: Clients, group: str, **wanted: str) -> list[str]:
    """The ARNs of a model's versions."""
    sagemaker = clients("sagemaker")
    try:
        sagemaker.describe_model_package_group(ModelPackageGroupName=group)
    except ClientError as error:
        if error.response["Error"]["Code"] in ("ValidationException", "ResourceNotFound"):
            return []
        raise
    pages = sagemaker.get_paginator("list_model_packages").paginate(ModelPackageGroupName=group, **wanted)
    return [package["ModelPackageArn"] for page in pages for package in page["ModelPackageSummaryList"]]


def _version(arn: str) -> int:
    return int(arn.rpartition("/")[2])


def stand_in(clients: Clients, image: str, say: Say) -> None:
    """Let a team's own image be in its repository, as a push would: the rehearsal runs none, but signs its digest.

    AWS's images are there already.
    """
    host, _, path = image.partition("/")
    account, (name, _, tag) = host.partition(".")[0], path.partition(":")
    with _explained("image"):
        if account != clients("sts").get_caller_identity()["Account"]:
            return
        ecr = clients("ecr")
        try:
            if ecr.batch_get_image(repositoryName=name, imageIds=[{"imageTag": tag}])["images"]:
                return
        except ecr.exceptions.RepositoryNotFoundException:
            ecr.create_repository(repositoryName=name)
        manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "annotations": {"stands for": image}, "layers": []}
        ecr.put_image(repositoryName=name, imageTag=tag, imageManifest=json.dumps(manifest))
    say(f"{image}: a manifest stands for it here; build and push it before you deploy to AWS")


def deliver(clients: Clients, outputs: Outputs, sample: Sample, say: Say) -> None:
    """Bring rows to the feature store as a producer does: files put into the lake, which the ingestion takes in.

    Those of the history are there to train on, with the time at which they were asked; some others are there to serve,
    as asked just now. Raises ProductError where a file is not taken in within INGEST_SECONDS.
    """
    with _explained("ingestion"):
        files = {
            f"{sample.dataset}.csv": sample.records(),
            "now.csv": sample.current(datetime.now(UTC).strftime(TIME), RECORDS),
        }
        bucket, folder = _location(f"{outputs['labels_uri']}/")
        clients("s3").put_object(Bucket=bucket, Key=f"{folder}{sample.dataset}.csv", Body=sample.labels())
        began = time.monotonic()
        for name, body in files.items():
            bucket, key = _location(f"{outputs['incoming_uri']}/{name}")
            clients("s3").put_object(Bucket=bucket, Key=key, Body=body)
        for name in files:
            receipt = taken_in(clients, outputs, name)
            [tally] = receipt["groups"].values()
            accepted, refused = tally["accepted"], tally["quarantined"]
            say(f"feature store: {accepted:,} rows of {name} accepted, {refused:,} in quarantine")
        clients.ask("flush", {})  # AWS copies records offline within 15 minutes; who trains now must not miss some
        say(f"ingestion took {time.monotonic() - began:.1f} s")


def taken_in(clients: Clients, outputs: Outputs, name: str) -> dict[str, Any]:
    """What the ingestion has written about a file, once it has taken it in."""
    bucket, folder = _location(f"{outputs['incoming_uri'].removesuffix('/incoming')}/ingested/{name}/")
    function, began = outputs["ingest_function_name"], datetime.now(UTC)
    deadline = time.monotonic() + INGEST_SECONDS
    s3 = clients("s3")
    while time.monotonic() < deadline:
        found = s3.list_objects_v2(Bucket=bucket, Prefix=folder).get("Contents", [])
        if found:
            newest = max(found, key=lambda each: each["LastModified"])
            receipt: dict[str, Any] = json.load(s3.get_object(Bucket=bucket, Key=newest["Key"])["Body"])
            return receipt
        time.sleep(0.2)
    log = "\n".join(_log(clients, function, began)[-15:])
    raise ProductError(
        f"the ingestion has not taken in {name} within {INGEST_SECONDS:g} s. Its log:\n{log or '(empty)'}"
    )


def train(clients: Clients, outputs: Outputs, dataset: str, say: Say) -> int:
    """Run the training pipeline to its end on what was delivered. Returns the version that it registered.

    What the same pipeline made of the same data before is not made again. Raises ProductError where it fails.
    """
    with _explained("training"):
        started = pipelines.start(clients, outputs["pipeline_name"], {"Dataset": dataset})
        say(f"pipeline {outputs['pipeline_name']}: training on {dataset}, here and not in its containers")
        done: set[str] = set()
        sagemaker = clients("sagemaker")
        while True:
            steps = sagemaker.list_pipeline_execution_steps(PipelineExecutionArn=started.arn)["PipelineExecutionSteps"]
            for step in sorted(steps, key=lambda each: each["StartTime"]):
                if step["StepStatus"] not in ("Starting", "Executing") and step["StepName"] not in done:
                    done.add(step["StepName"])
                    seconds = (step["EndTime"] - step["StartTime"]).total_seconds()
                    say(f"  {step['StepName']}: {step['StepStatus'].lower()} ({seconds:.1f} s)")
            execution = sagemaker.describe_pipeline_execution(PipelineExecutionArn=started.arn)
            if execution["PipelineExecutionStatus"] not in ("Executing", "Stopping"):
                break
            time.sleep(0.2)
        if execution["PipelineExecutionStatus"] != "Succeeded":
            why = [f"{step['StepName']}: {step['FailureReason']}" for step in steps if "FailureReason" in step]
            told = "; ".join(why) or execution.get("FailureReason", "no reason given")
            raise ProductError(f"the training pipeline failed: {told}")
        registered = [step["Metadata"]["RegisterModel"]["Arn"] for step in steps if "RegisterModel" in step["Metadata"]]
        if not registered:
            raise ProductError("the training pipeline registered nothing: the model did not pass its gate")
    version = _version(registered[0])
    say(f"registered and signed as version {version} of {outputs['model_package_group_name']}")
    return version


def approve(clients: Clients, outputs: Outputs, version: int, say: Say) -> None:
    """Approve a version as a second person does, and wait until the ledger has it. Raises ProductError."""
    with _explained("approval"):
        sagemaker = clients("sagemaker")
        arn = _arn(clients, outputs["model_package_group_name"], version)
        package = sagemaker.describe_model_package(ModelPackageName=arn)
        status = package["ModelApprovalStatus"]
        if status == "Rejected":
            raise ProductError(
                f"version {version} was rejected ({package.get('ApprovalDescription', 'no reason given')})"
            )
        if status != "Approved":
            reviewer = clients.assume(outputs["approver_role_arn"], REVIEWER)
            reviewer("sagemaker").update_model_package(
                ModelPackageArn=arn,
                ModelApprovalStatus="Approved",
                ApprovalDescription="The rehearsal's reviewer: it passed its gate, and its card is complete",
            )
        deadline = time.monotonic() + WAIT_SECONDS
        while not _is_approved(clients, outputs, arn):
            if time.monotonic() > deadline:
                raise ProductError(
                    f"the approval of version {version} has not reached the ledger in {WAIT_SECONDS:g} s"
                )
            time.sleep(0.2)
    say(f"version {version} approved by {REVIEWER}, who did not train it")


def _is_approved(clients: Clients, outputs: Outputs, arn: str) -> bool:
    endpoint = outputs["model_package_group_name"]
    entries = ledger.entries(clients("s3"), outputs["ledger_bucket"], endpoint)
    return any(entry.kind == "approved" and entry.package_arn == arn for entry in entries)


def _arn(clients: Clients, group: str, version: int) -> str:
    return next(arn for arn in _versions(clients, group) if _version(arn) == version)


def was_released(clients: Clients, outputs: Outputs) -> bool:
    """Whether the ledger knows since when the endpoint serves what it serves."""
    entries = ledger.entries(clients("s3"), outputs["ledger_bucket"], outputs["endpoint_name"])
    return bool(ledger.periods(entries))


def release(clients: Clients, outputs: Outputs, say: Say) -> None:
    """Release the version that the endpoint was made with: it is verified like every other, and recorded as live.

    Raises ProductError where it is refused.
    """
    with _explained("release"):
        try:
            result = releases.release(
                clients, outputs["endpoint_name"], outputs["first_version"], reason="its first version", say=say
            )
        except releases.NoRelease as error:
            raise ProductError(str(error)) from error
    if not result.ok:
        raise ProductError("the first version was not released: " + "; ".join(result.lines()))
    for line in result.lines():
        say(line)


def live(clients: Clients, outputs: Outputs) -> str:
    """The ARN of the version that the endpoint serves now."""
    return live_package(clients("sagemaker"), outputs["endpoint_name"])


def summary(clients: Clients, outputs: Outputs) -> dict[str, Any]:
    """The version that serves (of a product without an endpoint: that would predict the next file), what it was
    measured at, and what the monitor found last.
    """
    if "endpoint_name" in outputs:
        arn = live(clients, outputs)
    else:
        group = outputs["model_package_group_name"]
        arn = _arn(clients, group, approved_versions(clients, group)[-1])
    package = clients("sagemaker").describe_model_package(ModelPackageName=arn)
    found = reports(clients, outputs) if "data_schedule_name" in outputs else []
    return {
        "version": _version(arn),
        "metadata": package["CustomerMetadataProperties"],
        "monitor": read_report(clients, found[-1]) if found else None,
    }


def send_requests(clients: Clients, outputs: Outputs, sample: Sample, say: Say) -> int:
    """Ask the endpoint about rows whose answer nobody knows. Returns how many rows were answered."""
    rows = sample.lines(REQUESTS * ROWS_A_REQUEST)
    batches = [rows[start : start + ROWS_A_REQUEST] for start in range(0, len(rows), ROWS_A_REQUEST)]
    runtime = clients("sagemaker-runtime")

    def ask(batch: Sequence[str]) -> int:
        answer = runtime.invoke_endpoint(
            EndpointName=outputs["endpoint_name"], ContentType="text/csv", Accept="text/csv", Body="\n".join(batch)
        )
        answered = answer["Body"].read().decode().split()
        if len(answered) != len(batch):
            raise ProductError(f"the endpoint answered {len(answered)} of {len(batch)} rows")
        return len(answered)

    began = time.monotonic()
    with _explained("requests"), ThreadPoolExecutor(THREADS) as pool:
        total = sum(pool.map(ask, batches))
    say(f"requests: {total:,} rows in {len(batches)} requests, {time.monotonic() - began:.1f} s")
    return total


def was_answered(clients: Clients, outputs: Outputs) -> bool:
    """Whether a file of rows has been answered."""
    bucket, folder = _location(outputs["batch_answers_uri"])
    return bool(clients("s3").list_objects_v2(Bucket=bucket, Prefix=folder).get("Contents"))


def answer_file(clients: Clients, outputs: Outputs, sample: Sample, say: Say) -> int:
    """Bring a file of rows, and let the schedule of predictions fire until it is answered. Returns how many rows were.

    Raises ProductError where it is not answered within ANSWER_SECONDS, with what the function has logged.
    """
    began, started = time.monotonic(), datetime.now(UTC)
    with _explained("predicting a file"):
        lines = sample.lines(REQUESTS * ROWS_A_REQUEST, with_id=True)
        bucket, folder = _location(outputs["batch_incoming_uri"])
        clients("s3").put_object(Bucket=bucket, Key=f"{folder}{FILE}", Body="".join(f"{each}\n" for each in lines))
        bucket, folder = _location(outputs["batch_answers_uri"])
        fired = 0.0
        while not (found := clients("s3").list_objects_v2(Bucket=bucket, Prefix=f"{folder}{FILE}").get("Contents")):
            now = time.monotonic()
            if now - began > ANSWER_SECONDS:
                log = "\n".join(_log(clients, outputs["batch_function_name"], started)[-15:])
                raise ProductError(
                    f"{FILE} was not answered within {ANSWER_SECONDS:g} s. The log of what starts jobs:\n"
                    f"{log or '(empty)'}"
                )
            if now - fired > FIRE_SECONDS:  # again, for a version may be approved and not yet verify
                clients.ask("fire", {"schedule": outputs["batch_schedule_name"]})
                fired = now
            time.sleep(0.2)
        answers = clients("s3").get_object(Bucket=bucket, Key=found[0]["Key"])["Body"].read().splitlines()
        if len(answers) != len(lines):
            raise ProductError(f"{len(answers)} of {len(lines)} rows of {FILE} were answered")
    say(f"predictions: {len(answers):,} rows of {FILE} answered, {time.monotonic() - began:.1f} s")
    return len(answers)


def run_monitor(clients: Clients, outputs: Outputs, say: Say) -> dict[str, Any]:
    """Let the data monitor's schedule fire now instead of in its own time. Returns the report it wrote.

    Raises ProductError with the monitor's log where it ended without one, or did not end in WAIT_SECONDS.
    """
    with _explained("monitoring"):
        clients.ask("flush", {})
        began = datetime.now(UTC)
        clients.ask("fire", {"schedule": outputs["data_schedule_name"]})
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            log = _log(clients, outputs["data_function_name"], began)
            if written := reports(clients, outputs, began):
                break
            ended = any(line.startswith("END RequestId") for line in log)
            if ended or time.monotonic() > deadline:
                how = "ended without a report" if ended else f"wrote no report within {WAIT_SECONDS:g} s"
                raise ProductError(f"the data monitor {how}. Its log:\n" + ("\n".join(log) or "(empty)"))
            time.sleep(0.2)
        report = read_report(clients, written[0])
    say(f"data monitor: {report['summary']}")
    return report


def _log(clients: Clients, function: str, since: datetime) -> list[str]:
    """What a Lambda function has logged."""
    logs = clients("logs")
    try:
        found = logs.filter_log_events(logGroupName=f"/aws/lambda/{function}", startTime=int(since.timestamp() * 1000))
    except logs.exceptions.ResourceNotFoundException:
        return []
    return [event["message"].rstrip() for event in found["events"]]


def empty_registry(clients: Clients, group: str) -> None:
    """Delete every version of a model: a package group that has any cannot be deleted."""
    sagemaker = clients("sagemaker")
    with _explained("emptying the registry"):
        for arn in _versions(clients, group):
            sagemaker.delete_model_package(ModelPackageName=arn)


def reports(clients: Clients, outputs: Outputs, since: datetime | None = None) -> list[str]:
    """The URIs of the data monitor's reports, the oldest first."""
    bucket, folder = _location(f"{outputs['reports_uri']}/data/{outputs['endpoint_name']}/")
    after = since.strftime(reporting.TIME) if since else ""
    pages = clients("s3").get_paginator("list_objects_v2")
    found = pages.paginate(Bucket=bucket, Prefix=folder, StartAfter=f"{folder}{after}")
    names = [each["Key"].removeprefix(folder) for page in found for each in page.get("Contents", [])]
    return sorted(f"s3://{bucket}/{folder}{name}" for name in names if REPORT.fullmatch(name))


def was_watched(clients: Clients, outputs: Outputs) -> bool:
    """Whether the data monitor has come to a verdict about what the endpoint was asked."""
    found = reports(clients, outputs)
    return any(read_report(clients, uri)["status"] != "insufficient" for uri in reversed(found))


def read_report(clients: Clients, uri: str) -> dict[str, Any]:
    """One report."""
    bucket, key = _location(uri)
    report: dict[str, Any] = json.load(clients("s3").get_object(Bucket=bucket, Key=key)["Body"])
    return {**report, "uri": uri}


def _location(uri: str) -> tuple[str, str]:
    url = urlsplit(uri)
    return url.netloc, url.path.lstrip("/")


@contextmanager
def _explained(step: str) -> Iterator[None]:
    """Turn what AWS refuses within a step into a ProductError that names the step."""
    try:
        yield
    except (ClientError, BotoCoreError, Boto3Error, SampleError) as error:
        raise ProductError(f"{step}: {error}") from error
