"""Model archives, and the calls a user makes to have them served; for the tests of the emulator's SageMaker."""

import io
import json
import tarfile
import time
import urllib.request
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import boto3
from botocore.config import Config

REGION = "eu-central-1"
ROLE = "arn:aws:iam::123456789012:role/model"
BUCKET = "served-models"

ECHO = """
def model_fn(model_dir):
    return {name!r}

def input_fn(body, content_type):
    return body

def predict_fn(data, model):
    return model

def output_fn(prediction, accept):
    return prediction
"""
"""A program that answers everything with a name."""


def archive(program: str, files: Mapping[str, str] | None = None) -> bytes:
    """A model.tar.gz with `program` as its code/inference.py."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, text in {"code/inference.py": program, **(files or {})}.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text.encode())
            tar.addfile(entry, io.BytesIO(text.encode()))
    return packed.getvalue()


def wait_until(condition: Callable[[], Any], what: str, seconds: float = 30) -> Any:
    """What `condition` returns, once it is true."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds:g} s: {what}")


class Serving:
    """One emulator, used as a user does: through boto3. Every name it makes is new."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self._clients: dict[str, Any] = {}
        self.sagemaker = self.client("sagemaker")
        self.runtime = self.client("sagemaker-runtime")
        self.s3 = self.client("s3")
        if BUCKET not in [bucket["Name"] for bucket in self.s3.list_buckets()["Buckets"]]:
            self.s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})

    def client(self, service: str) -> Any:
        if service not in self._clients:
            self._clients[service] = boto3.client(
                service,  # type: ignore[call-overload]  # the stubs want a literal
                region_name=REGION,
                endpoint_url=self.endpoint,
                aws_access_key_id="user",
                aws_secret_access_key="user",
                config=Config(retries={"total_max_attempts": 1}),
            )
        return self._clients[service]

    def flush(self) -> None:
        urllib.request.urlopen(urllib.request.Request(f"{self.endpoint}/_slipway/flush", b"{}")).close()

    @staticmethod
    def name(what: str) -> str:
        return f"{what}-{uuid.uuid4().hex[:8]}"

    def model(self, program: str, files: Mapping[str, str] | None = None, **environment: str) -> str:
        """A model whose archive has this program."""
        name = self.name("model")
        self.s3.put_object(Bucket=BUCKET, Key=f"{name}.tar.gz", Body=archive(program, files))
        container = {"Image": "sklearn:1", "ModelDataUrl": f"s3://{BUCKET}/{name}.tar.gz", "Environment": environment}
        self.sagemaker.create_model(ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer=container)
        return name

    def config(self, models: Mapping[str, tuple[str, float]] | str, **more: Any) -> str:
        """An endpoint configuration: variant → (model, weight), or one variant `all` of two instances."""
        weighted = {"all": (models, 1.0)} if isinstance(models, str) else models
        name = self.name("config")
        variants = [
            {
                "VariantName": variant,
                "ModelName": model,
                "InstanceType": "ml.m7i.large",
                "InitialInstanceCount": 2,
                "InitialVariantWeight": weight,
            }
            for variant, (model, weight) in weighted.items()
        ]
        self.sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=variants, **more)
        return name

    def create(self, config: str) -> str:
        name = self.name("endpoint")
        self.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=config)
        return name

    def serve(self, config: str) -> str:
        """An endpoint in service."""
        name = self.create(config)
        assert self.settled(name)["EndpointStatus"] == "InService"
        return name

    def settled(self, endpoint: str) -> dict[str, Any]:
        """The endpoint, once nothing is under way with it."""

        def look() -> dict[str, Any] | None:
            described: dict[str, Any] = self.sagemaker.describe_endpoint(EndpointName=endpoint)
            return described if described["EndpointStatus"] in ("InService", "Failed") else None

        settled: dict[str, Any] = wait_until(look, f"{endpoint} settles")
        return settled

    def ask(self, endpoint: str, body: bytes = b"1", **more: Any) -> bytes:
        answer: bytes = self.runtime.invoke_endpoint(EndpointName=endpoint, Body=body, **more)["Body"].read()
        return answer

    def ask_many(self, endpoint: str, times: int) -> Sequence[bytes]:
        return [self.ask(endpoint) for _ in range(times)]

    def captures(self, prefix: str) -> dict[str, list[dict[str, Any]]]:
        """Every capture file below a prefix: its key and its records."""
        self.flush()
        found = self.s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])
        return {entry["Key"]: [json.loads(line) for line in self.text(entry["Key"]).splitlines()] for entry in found}

    def text(self, key: str) -> str:
        body: bytes = self.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        return body.decode()
