"""What makes the rehearsed product live: a model trained on real data, registered, gated, served, asked, and watched.

Between the two deployments of a product (stacks/employment.py: without a model, then with one) this does what a team's
pipeline and its users do on AWS. Each step is done only where it has not been done yet.

The data are answers to the US census (American Community Survey, Massachusetts) that ship inside the nannyml package:
people of 2015 with the answer to train on, people of 2016 to 2018 to serve.
"""

import csv
import hashlib
import importlib.metadata
import io
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
import pyarrow.parquet
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from functions.employment.features import LABEL, SCHEMA
from functions.employment.gate import GATE
from infra.settings import ROOT

DATA: Final = "nannyml/datasets/data/employment_MA_{part}.pq"
CODE_OF_MODEL: Final = (
    "functions/__init__.py",
    "functions/features.py",
    "functions/employment/__init__.py",
    "functions/employment/features.py",
)
"""What inference.py imports, and so travels inside the model's archive."""
REQUESTS: Final = 40
ROWS_A_REQUEST: Final = 50
RECORDS: Final = 200
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
                    config=Config(retries={"total_max_attempts": 1}, max_pool_connections=THREADS * 2),
                )
            return self._made[service]

    def ask(self, path: str, request: Mapping[str, Any]) -> None:
        """Ask something of the emulator itself. Raises ProductError where it refuses."""
        url = f"{self.endpoint}/_slipway/{path}"
        posted = urllib.request.Request(url, json.dumps(request).encode(), {"Content-Type": "application/json"})
        try:
            urllib.request.urlopen(posted, timeout=WAIT_SECONDS).close()
        except urllib.error.HTTPError as error:
            raise ProductError(f"the emulator refused {path}: {error.read().decode()}") from error


def census(part: str, rows: int | None = None) -> Iterator[dict[str, str]]:
    """Rows of the data as texts. `part`: `reference` (2015, with the label), `analysis` (2016 to 2018)."""
    path = importlib.metadata.distribution("nannyml").locate_file(DATA.format(part=part))
    columns = ["id", *SCHEMA.names, *([LABEL] if part == "reference" else [])]
    table = pyarrow.parquet.read_table(path, columns=columns)
    for batch in (table if rows is None else table.slice(0, rows)).to_batches():
        for row in batch.to_pylist():
            yield {name: _text(row[name]) for name in columns}


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def approved_versions(clients: Clients, group: str) -> list[int]:
    """The versions of a model that may be released."""
    try:
        listed = clients("sagemaker").list_model_packages(ModelPackageGroupName=group, ModelApprovalStatus="Approved")
    except ClientError as error:
        if "does not exist" in str(error) or "not find" in str(error) or "NotFound" in str(error):
            return []
        raise ProductError(f"the registry cannot be read: {error}") from error
    return sorted(int(each["ModelPackageArn"].rpartition("/")[2]) for each in listed["ModelPackageSummaryList"])


def train_and_approve(clients: Clients, outputs: Outputs, image: str, say: Say) -> int:
    """Train a model, register it with what it was measured at, and approve it where it passes the gate.

    Returns its version. Raises ProductError; a version that does not pass stays registered, waiting for a person.
    """
    with _explained("training"):
        uri = _training_data(clients, outputs, say)
        with tempfile.TemporaryDirectory(prefix="slipway-training-") as folder:
            made = _train(clients, uri, Path(folder), say)
            arn = _register(clients, outputs, image, uri, made, say)
        _gate(clients, arn, made.metrics, say)
    return int(arn.rpartition("/")[2])


@dataclass(frozen=True)
class Trained:
    """What a training run left: files, and numbers."""

    run: str
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
    }
    say("training: functions/employment/train.py, here and not in its container")
    job = subprocess.Popen(
        [sys.executable, "-m", "functions.employment.train"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines: list[str] = []
    try:
        assert job.stdout
        for line in job.stdout:
            lines.append(line.rstrip())
            say(f"  {line.rstrip()}")
        code = job.wait()
    finally:
        job.kill()
    if code:
        raise ProductError(f"training failed with exit code {code}:\n" + "\n".join(lines[-15:]))
    archive = _archive(model)
    return Trained(
        run=hashlib.sha256(archive + uri.encode()).hexdigest()[:12],
        archive=archive,
        baseline=(output / "baseline.json").read_bytes(),
        metrics=json.loads((output / "metrics.json").read_text("utf-8")),
    )


def _archive(model: Path) -> bytes:
    """model.tar.gz as SageMaker's containers want it: the model, and below `code/` what serves it."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for path in sorted(model.iterdir()):
            archive.add(path, path.name)
        for name in CODE_OF_MODEL:
            archive.add(ROOT / name, f"code/{name}")
        archive.add(ROOT / "functions/employment/inference.py", "code/inference.py")
    return packed.getvalue()


def _register(clients: Clients, outputs: Outputs, image: str, data: str, made: Trained, say: Say) -> str:
    """Put the model in the registry, with everything that tells where it comes from. Returns its ARN."""
    folder = f"{outputs['models_uri']}/{made.run}"
    for name, body in (("model.tar.gz", made.archive), ("baseline.json", made.baseline)):
        bucket, key = _location(f"{folder}/{name}")
        clients("s3").put_object(Bucket=bucket, Key=key, Body=body)
    metrics = {"binary_classification_metrics": {name: {"value": value} for name, value in made.metrics.items()}}
    bucket, key = _location(f"{folder}/metrics.json")
    clients("s3").put_object(Bucket=bucket, Key=key, Body=json.dumps(metrics).encode())
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
            "run": made.run,
            "training_data": data,
            "author": TRAINER,
            **{name: f"{value:.6g}" for name, value in made.metrics.items()},
        },
    )["ModelPackageArn"]
    say(f"registered as version {arn.rpartition('/')[2]} of {outputs['model_package_group_name']}")
    return arn


def _gate(clients: Clients, arn: str, metrics: Mapping[str, float], say: Say) -> None:
    """Approve a version that reaches every threshold. Raises ProductError for one that does not."""
    short = [f"{name} {metrics[name]:.3f}, at least {least:g}" for name, least in GATE.items() if metrics[name] < least]
    if short:
        raise ProductError(
            f"version {arn.rpartition('/')[2]} does not pass the gate ({'; '.join(short)} is asked for): it stays "
            "registered as PendingManualApproval. Improve functions/employment/train.py, or change its GATE"
        )
    passed = ", ".join(f"{name} {metrics[name]:.3f} ≥ {least:g}" for name, least in GATE.items())
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
    """Let the drift monitor's schedule fire now instead of in its own time. Returns the report it wrote."""
    with _explained("monitoring"):
        known = set(reports(clients, outputs))
        clients.ask("flush", {})
        clients.ask("fire", {"schedule": outputs["schedule_name"]})
        deadline = time.monotonic() + WAIT_SECONDS
        while not (new := sorted(set(reports(clients, outputs)) - known)):
            if time.monotonic() > deadline:
                raise ProductError(
                    f"the drift monitor wrote no report within {WAIT_SECONDS:g} s: its log is in CloudWatch Logs, "
                    f"/aws/lambda/{outputs['drift_function_name']}"
                )
            time.sleep(0.2)
        report = read_report(clients, new[-1])
    drifted = report["drifted_features"]
    say(f"drift monitor: {report['status']}, {report['rows']:,} rows read, {drifted} features drifted")
    return report


def empty_registry(clients: Clients, group: str) -> None:
    """Delete every version of a model: a package group that has any cannot be deleted."""
    sagemaker = clients("sagemaker")
    with _explained("emptying the registry"):
        for page in sagemaker.get_paginator("list_model_packages").paginate(ModelPackageGroupName=group):
            for package in page["ModelPackageSummaryList"]:
                sagemaker.delete_model_package(ModelPackageName=package["ModelPackageArn"])


def reports(clients: Clients, outputs: Outputs) -> list[str]:
    """The URIs of the reports on the endpoint's drift, the oldest first."""
    prefix = f"{outputs['reports_uri']}/drift/{outputs['endpoint_name']}/"
    bucket, key = _location(prefix)
    found = clients("s3").list_objects_v2(Bucket=bucket, Prefix=key).get("Contents", [])
    return sorted(f"s3://{bucket}/{each['Key']}" for each in found)


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
    except (ClientError, BotoCoreError) as error:
        raise ProductError(f"{step}: {error}") from error
