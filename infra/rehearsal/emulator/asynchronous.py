"""Asynchronous inference: requests that wait in a queue, read their input from S3 and write their answer there.

https://docs.aws.amazon.com/sagemaker/latest/dg/async-inference.html: answers go to `<S3OutputPath>/<id>.out`, failures
to `<S3FailurePath>/<id>-error.out`, and a topic is told of either. Without instances requests wait; the metrics are
those that autoscaling goes by.
"""

import json
import threading
import time
import uuid
from collections import defaultdict, deque
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from moto.sagemaker.models import SageMakerModelBackend

from infra.rehearsal.emulator import alarms
from infra.rehearsal.emulator.endpoints import NAMESPACE, Endpoint, Endpoints, Invalid, ModelError
from infra.rehearsal.emulator.serving import Aws

THREADS = 4
METRIC_SECONDS = 1.0
"""How often the length of the queues is put; AWS puts it once a minute."""


@dataclass(frozen=True)
class Accepted:
    """One request and where its answer will be."""

    endpoint: Endpoint
    params: Mapping[str, Any]
    inference_id: str
    output: str
    failure: str
    role: str
    config: Mapping[str, Any]
    at: float


class Asynchronous:
    """The queues of every endpoint that answers asynchronously."""

    def __init__(self, aws: Aws, served: Endpoints) -> None:
        self._aws, self._served = aws, served
        self._changed = threading.Condition()
        self._waiting: dict[str, deque[Accepted]] = defaultdict(deque)
        self._known: dict[str, Endpoint] = {}
        self._running: dict[str, int] = defaultdict(int)
        self._pool = ThreadPoolExecutor(THREADS, "asynchronous")
        threading.Thread(target=self._work, daemon=True).start()

    def accept(self, backend: SageMakerModelBackend, params: Mapping[str, Any]) -> Accepted:
        """InvokeEndpointAsync. Raises Invalid for what AWS refuses."""
        endpoint = backend.endpoints.get(params["EndpointName"])
        if not isinstance(endpoint, Endpoint) or endpoint.traffic.live is None:
            raise Invalid(f"Endpoint {params['EndpointName']} of account {backend.account_id} not found.")
        config = backend.endpoint_configs[endpoint.endpoint_config_name].async_inference_config
        if not config:
            raise Invalid(f"Endpoint {endpoint.endpoint_name} is not an asynchronous endpoint: use InvokeEndpoint")
        if not params.get("InputLocation"):
            raise Invalid("InputLocation is missing: the rehearsal reads asynchronous requests from S3")
        identity, output = str(uuid.uuid4()), config["OutputConfig"]
        target = output["S3OutputPath"].rstrip("/")
        failed = (output.get("S3FailurePath") or output["S3OutputPath"]).rstrip("/")
        role = next(iter(endpoint.traffic.live.variants.values())).server.container.role
        accepted = Accepted(
            endpoint,
            params,
            params.get("InferenceId") or identity,
            f"{target}/{identity}.out",
            f"{failed}/{identity}-error.out",
            role,
            config,
            time.monotonic(),
        )
        with self._changed:
            self._known[endpoint.arn] = endpoint
            self._waiting[endpoint.arn].append(accepted)
            self._changed.notify_all()
        return accepted

    def _work(self) -> None:
        told = 0.0
        while True:
            with self._changed:
                self._changed.wait(METRIC_SECONDS / 4)
                ready = [
                    self._waiting[arn].popleft()
                    for arn, endpoint in self._known.items()
                    if self._waiting[arn] and _instances(endpoint) and self._running[arn] < THREADS
                ]
                for each in ready:
                    self._running[each.endpoint.arn] += 1
            for each in ready:
                self._pool.submit(self._answer, each)
            if time.monotonic() - told >= METRIC_SECONDS:
                told = time.monotonic()
                self._tell()

    def _tell(self) -> None:
        for arn, endpoint in list(self._known.items()):
            waiting, instances = len(self._waiting[arn]), _instances(endpoint)
            values: dict[str, float] = {
                "ApproximateBacklogSize": waiting,
                "HasBacklogWithoutCapacity": int(waiting > 0 == instances),
            }
            if instances:
                values["ApproximateBacklogSizePerInstance"] = waiting / instances
            for metric, value in values.items():
                region = endpoint.backend.region_name
                alarms.put_metric(region, NAMESPACE, metric, value, {"EndpointName": endpoint.endpoint_name})

    def _answer(self, each: Accepted) -> None:
        try:
            self._invoke(each)
        except Exception as error:
            self._fail(each, error)
        finally:
            with self._changed:
                self._running[each.endpoint.arn] -= 1
                self._changed.notify_all()

    def _invoke(self, each: Accepted) -> None:
        ttl = each.params.get("RequestTTLSeconds")
        if ttl and time.monotonic() - each.at > float(ttl):
            raise Invalid(f"the request waited longer than its RequestTTLSeconds of {ttl}")
        bucket, key = _location(each.params["InputLocation"])
        s3 = self._aws.client("s3", each.endpoint.backend.region_name, each.role)
        found = s3.get_object(Bucket=bucket, Key=key)
        asked = {**each.params, "Body": found["Body"].read()}
        asked.setdefault("ContentType", found.get("ContentType"))
        answer, _ = self._served.invoke(each.endpoint.backend, asked)
        self._write(each, each.output, answer.body, answer.content_type)
        self._notify(each, "SuccessTopic", "Completed", {"outputLocation": each.output})

    def _fail(self, each: Accepted, error: Exception) -> None:
        said = error.OriginalMessage if isinstance(error, ModelError) else str(error)
        try:
            self._write(each, each.failure, json.dumps({"errorMessage": said}).encode(), "application/json")
            self._notify(each, "ErrorTopic", "Failed", {"failureReason": said, "failureLocation": each.failure})
        except Exception as lost:
            print(
                f"asynchronous inference {each.inference_id}: {error}; and that could not be told: {lost}", flush=True
            )

    def _write(self, each: Accepted, uri: str, body: bytes, content_type: str) -> None:
        bucket, key = _location(uri)
        kms = each.config["OutputConfig"].get("KmsKeyId")
        encryption = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": kms} if kms else {}
        s3 = self._aws.client("s3", each.endpoint.backend.region_name, each.role)
        s3.put_object(Bucket=bucket, Key=key, Body=body, ContentType=content_type, **encryption)

    def _notify(self, each: Accepted, which: str, status: str, more: Mapping[str, str]) -> None:
        topic = each.config["OutputConfig"].get("NotificationConfig", {}).get(which)
        if topic:
            message = {
                "awsRegion": each.endpoint.backend.region_name,
                "eventTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
                "eventSource": "aws:sagemaker",
                "eventName": "InferenceResult",
                "invocationStatus": status,
                "requestParameters": {
                    "endpointName": each.endpoint.endpoint_name,
                    "inputLocation": each.params["InputLocation"],
                },
                "responseParameters": dict(more),
                "inferenceId": each.inference_id,
            }
            sns = self._aws.client("sns", each.endpoint.backend.region_name, each.role)
            sns.publish(TopicArn=topic, Message=json.dumps(message))


def _instances(endpoint: Endpoint) -> int:
    live = endpoint.traffic.live
    return sum(variant.instances or 0 for variant in live.variants.values()) if live else 0


def _location(uri: str) -> tuple[str, str]:
    url = urlsplit(uri)
    return url.netloc, url.path.lstrip("/")
