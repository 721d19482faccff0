"""What makes the rehearsed product live: a model trained on real data, registered, gated, served, asked, and watched.

Between the two deployments of a product (stacks/employment.py: without a model, then with one) this does what a team's
pipeline and its users do on AWS. Each step is done only where it has not been done yet.

The data are answers to the US census (American Community Survey, Massachusetts) that ship inside the nannyml package:
people of 2015 with the answer to train on, people of 2016 to 2018 to serve.
"""

import csv
import gzip
import hashlib
import importlib.metadata
import io
import itertools
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import boto3
from boto3.exceptions import Boto3Error
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from functions.drift.handler import REPORT
from functions.employment.features import LABEL, SCHEMA
from functions.employment.gate import GATE, shortfalls
from infra.settings import ROOT

DATA: Final = "nannyml/datasets/data/employment_MA_{part}.pq"
CODE_OF_MODEL: Final = (
    "functions/__init__.py",
    "functions/features.py",
    "functions/employment/__init__.py",
    "functions/employment/features.py",
)
"""What inference.py imports, and so travels inside the model's archive."""
CODE_OF_TRAINING: Final = ("functions/*.py", "functions/employment/*.py", "functions/drift/core.py")
"""What decides, with the data, which model comes out of training."""
BATCH: Final = 10_000
REQUESTS: Final = 40
ROWS_A_REQUEST: Final = 50
RECORDS: Final = 100
THREADS: Final = 4
WAIT_SECONDS: Final = 60.0
TRAINER: Final = "rehearsal"
REVIEWER: Final = "rehearsal-gate"

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
                    aws_access_key_id="slipway",
                    aws_secret_access_key="rehearsal",
                    config=Config(
                        retries={"total_max_attempts": 1},
                        max_pool_connections=THREADS * 2,
                        proxies={},  # It is on this machine, whatever HTTP_PROXY says.
                    ),
                )
            return self._made[service]

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


def census(part: str, rows: int | None = None) -> Iterator[dict[str, str]]:
    """Rows of the data as CSV has them: texts, empty where a value is missing.

    `part`: `reference` (2015, with the label), `analysis` (2016 to 2018).
    """
    import pyarrow.parquet  # here, for every command imports this module and few read the data

    path = importlib.metadata.distribution("nannyml").locate_file(DATA.format(part=part))
    if not Path(str(path)).exists():
        raise ProductError(f"the census data are not at {path}: run `make clean` and `make up` to install them again")
    columns = ["id", *SCHEMA.names, *([LABEL] if part == "reference" else [])]
    batches = pyarrow.parquet.ParquetFile(path).iter_batches(batch_size=BATCH, columns=columns)
    texts = ([column.cast(pyarrow.string()).fill_null("").to_pylist() for column in batch.columns] for batch in batches)
    people = itertools.chain.from_iterable(zip(*each, strict=True) for each in texts)
    for row in itertools.islice(people, rows):
        yield dict(zip(columns, row, strict=True))


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


def train_and_approve(clients: Clients, outputs: Outputs, image: str, say: Say) -> int:
    """Train a model, register it with what it was measured at, and approve it where it passes the gate.

    What the same code made of the same data before is not trained again. Returns its version. Raises ProductError; a
    version that does not pass stays registered, waiting for a person.
    """
    with _explained("training"):
        uri = _training_data(clients, outputs, say)
        run = _run(uri, image)
        arn = _registered(clients, outputs["model_package_group_name"], run)
        if arn is None:
            with tempfile.TemporaryDirectory(prefix="slipway-training-") as folder:
                made = _train(clients, uri, Path(folder), say)
            arn = _register(clients, outputs, image, uri, run, made, say)
        _gate(clients, arn, say)
    return _version(arn)


def _run(data: str, image: str) -> str:
    """What a training run is called: after the data (a URI that names their content), the code and the libraries."""
    digest = hashlib.sha256(f"{data} {image} {importlib.metadata.version('scikit-learn')}".encode())
    for path in sorted(path for pattern in CODE_OF_TRAINING for path in ROOT.glob(pattern)):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _registered(clients: Clients, group: str, run: str) -> str | None:
    """The version that this training run was registered as."""
    for arn in _versions(clients, group):
        package = clients("sagemaker").describe_model_package(ModelPackageName=arn)
        if package.get("CustomerMetadataProperties", {}).get("run") == run:
            return arn
    return None


@dataclass(frozen=True)
class Trained:
    """What a training run left: files, and numbers."""

    archive: bytes
    baseline: bytes
    metrics: Mapping[str, float]


def _training_data(clients: Clients, outputs: Outputs, say: Say) -> str:
    """The training rows in the data lake; named after what they hold, so that they are written once."""
    written = io.StringIO()
    writer = csv.DictWriter(written, ["id", *SCHEMA.names, LABEL], lineterminator="\n")
    writer.writeheader()
    writer.writerows(census("reference"))
    body = written.getvalue().encode()
    uri = f"{outputs['training_uri']}/acs-2015-{hashlib.sha256(body).hexdigest()[:12]}/people.csv"
    bucket, key = _location(uri)
    s3 = clients("s3")
    if not s3.list_objects_v2(Bucket=bucket, Prefix=key).get("Contents"):
        s3.put_object(Bucket=bucket, Key=key, Body=body)
    people = body.count(b"\n") - 1
    say(f"training data: {people:,} people of 2015, {uri}")
    return uri


def _train(clients: Clients, uri: str, folder: Path, say: Say) -> Trained:
    """Run the training script as SageMaker would: data in a channel, results in folders that variables name."""
    channel, model, output = folder / "input/data/train", folder / "model", folder / "output/data"
    for each in (channel, model, output):
        each.mkdir(parents=True)
    bucket, key = _location(uri)
    clients("s3").download_file(bucket, key, str(channel / "people.csv"))
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "SM_CHANNEL_TRAIN": str(channel),
        "SM_MODEL_DIR": str(model),
        "SM_OUTPUT_DATA_DIR": str(output),
        # One thread takes a second; several wait for each other for ten where other programs want the processors, too.
        "OMP_NUM_THREADS": "1",
    }
    say("training: functions/employment/train.py, here and not in its container")
    script = [sys.executable, "-m", "functions.employment.train"]
    lines: list[str] = []
    with subprocess.Popen(
        script, env=environment, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as job:
        try:
            assert job.stdout
            for line in job.stdout:
                lines.append(line.rstrip())
                say(f"  {line.rstrip()}")
        except BaseException:
            job.kill()
            raise
    if job.returncode:
        raise ProductError(f"training failed with exit code {job.returncode}:\n" + "\n".join(lines[-15:]))
    return Trained(
        archive=_archive(model),
        baseline=(output / "baseline.json").read_bytes(),
        metrics=json.loads((output / "metrics.json").read_text("utf-8")),
    )


def _archive(model: Path) -> bytes:
    """model.tar.gz as SageMaker's containers want it: the model, and below `code/` what serves it.

    The same files make the same bytes: no times and no owners.
    """
    files = {path.name: path for path in sorted(model.iterdir())}
    files |= {f"code/{name}": ROOT / name for name in CODE_OF_MODEL}
    files["code/inference.py"] = ROOT / "functions/employment/inference.py"
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as zipped, tarfile.open(fileobj=zipped, mode="w") as archive:
        for name, path in files.items():
            body = path.read_bytes()
            entry = tarfile.TarInfo(name)
            entry.size = len(body)
            archive.addfile(entry, io.BytesIO(body))
    return packed.getvalue()


def _register(clients: Clients, outputs: Outputs, image: str, data: str, run: str, made: Trained, say: Say) -> str:
    """Put the model in the registry, with everything that tells where it comes from. Returns its ARN."""
    folder = f"{outputs['models_uri']}/{run}"
    metrics = {"binary_classification_metrics": {name: {"value": value} for name, value in made.metrics.items()}}
    files = {"model.tar.gz": made.archive, "baseline.json": made.baseline, "metrics.json": json.dumps(metrics).encode()}
    for name, body in files.items():
        bucket, key = _location(f"{folder}/{name}")
        clients("s3").put_object(Bucket=bucket, Key=key, Body=body)
    arn: str = clients("sagemaker").create_model_package(
        ModelPackageGroupName=outputs["model_package_group_name"],
        ModelPackageDescription=f"Trained on {data}",
        ModelApprovalStatus="PendingManualApproval",
        InferenceSpecification={
            "Containers": [{"Image": image, "ModelDataUrl": f"{folder}/model.tar.gz"}],
            "SupportedContentTypes": ["text/csv", "application/json"],
            "SupportedResponseMIMETypes": ["text/csv", "application/json"],
        },
        ModelMetrics={
            "ModelQuality": {"Statistics": {"ContentType": "application/json", "S3Uri": f"{folder}/metrics.json"}}
        },
        DriftCheckBaselines={
            "ModelDataQuality": {"Statistics": {"ContentType": "application/json", "S3Uri": f"{folder}/baseline.json"}}
        },
        CustomerMetadataProperties={
            "run": run,
            "training_data": data,
            "author": TRAINER,
            **{name: f"{value:.6g}" for name, value in made.metrics.items()},
        },
    )["ModelPackageArn"]
    say(f"registered as version {arn.rpartition('/')[2]} of {outputs['model_package_group_name']}")
    return arn


def _gate(clients: Clients, arn: str, say: Say) -> None:
    """Approve a version that reaches every threshold. Raises ProductError for one that does not, or was rejected."""
    package = clients("sagemaker").describe_model_package(ModelPackageName=arn)
    metadata, status = package["CustomerMetadataProperties"], package["ModelApprovalStatus"]
    if status == "Approved":
        return
    if status == "Rejected":
        why = package.get("ApprovalDescription", "no reason given")
        raise ProductError(
            f"version {_version(arn)}, which this code makes of these data, was rejected ({why}): "
            "change functions/employment, or approve the version"
        )
    if short := shortfalls({name: float(metadata[name]) for name in GATE if name in metadata}):
        raise ProductError(
            f"version {_version(arn)} does not pass the gate: {'; '.join(short)}. It stays registered as "
            "PendingManualApproval. Improve functions/employment/train.py, or change functions/employment/gate.py"
        )
    passed = ", ".join(f"{name} {float(metadata[name]):.3f} ≥ {least:g}" for name, least in GATE.items())
    clients("sagemaker").update_model_package(
        ModelPackageArn=arn, ModelApprovalStatus="Approved", ApprovalDescription=f"{REVIEWER}: {passed}"
    )
    say(f"passed its gate: {passed}")


def ingest(clients: Clients, outputs: Outputs, say: Say) -> int:
    """Put some people of 2016 in the feature store. Returns how many records were written."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    store = clients("sagemaker-featurestore-runtime")

    def put(row: Mapping[str, str]) -> None:
        record = {SCHEMA.record_id: row["id"], SCHEMA.event_time: now, **{name: row[name] for name in SCHEMA.names}}
        store.put_record(
            FeatureGroupName=outputs["feature_group_name"],
            Record=[{"FeatureName": name, "ValueAsString": value} for name, value in record.items()],
        )

    with _explained("ingestion"), ThreadPoolExecutor(THREADS) as pool:
        written = len(list(pool.map(put, census("analysis", RECORDS))))
    say(f"feature store: {written} records in {outputs['feature_group_name']}")
    return written


def send_requests(clients: Clients, outputs: Outputs, say: Say) -> int:
    """Ask the endpoint about people of 2016. Returns how many rows were answered."""
    rows = [",".join(row[name] for name in SCHEMA.names) for row in census("analysis", REQUESTS * ROWS_A_REQUEST)]
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
    say(f"requests: {total:,} people in {len(batches)} requests, {time.monotonic() - began:.1f} s")
    return total


def run_monitor(clients: Clients, outputs: Outputs, say: Say) -> dict[str, Any]:
    """Let the drift monitor's schedule fire now instead of in its own time. Returns the report it wrote.

    Raises ProductError with the monitor's log where it ended without one, or did not end in WAIT_SECONDS.
    """
    with _explained("monitoring"):
        clients.ask("flush", {})
        began = datetime.now(UTC)
        clients.ask("fire", {"schedule": outputs["schedule_name"]})
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            log = _log(clients, outputs["drift_function_name"], began)
            if written := reports(clients, outputs, began):
                break
            ended = any(line.startswith("END RequestId") for line in log)
            if ended or time.monotonic() > deadline:
                how = "ended without a report" if ended else f"wrote no report within {WAIT_SECONDS:g} s"
                raise ProductError(f"the drift monitor {how}. Its log:\n" + ("\n".join(log) or "(empty)"))
            time.sleep(0.2)
        report = read_report(clients, written[0])
    drifted = report["drifted_features"]
    say(f"drift monitor: {report['status']}, {report['rows']:,} rows read, {drifted} features drifted")
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
    """The URIs of the reports on the endpoint's drift, the oldest first."""
    bucket, folder = _location(f"{outputs['reports_uri']}/drift/{outputs['endpoint_name']}/")
    after = since.strftime(REPORT) if since else ""
    pages = clients("s3").get_paginator("list_objects_v2")
    found = pages.paginate(Bucket=bucket, Prefix=folder, StartAfter=f"{folder}{after}")
    return sorted(f"s3://{bucket}/{each['Key']}" for page in found for each in page.get("Contents", []))


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
    except (ClientError, BotoCoreError, Boto3Error) as error:
        raise ProductError(f"{step}: {error}") from error
