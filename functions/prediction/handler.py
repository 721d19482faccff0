"""The prediction API's Lambda: check a request once more, ask the endpoint, and answer so that a client can act on it.

It writes no payload to its log: values stand in data capture, which is encrypted and expires.
"""

import json
import os
import time
from functools import cache
from pathlib import Path
from typing import Any, Final

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ReadTimeoutError

from functions.prediction.core import (
    Answer,
    Cache,
    Caller,
    Refusal,
    answer,
    answered,
    caller,
    failure,
    identity,
    instances,
    metrics,
    refused,
)
from functions.rows import Rows

SCHEMA: Final = "schema.json"
"""The feature schema, in the root of the zip."""
SERVING: Final = ("InService", "Updating", "SystemUpdating", "RollingBack")
"""In these states an endpoint answers.
https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_DescribeEndpoint.html"""
HEALTH_SECONDS: Final = 10.0
"""How long an answer to GET /health is good, so that many who ask do not throttle DescribeEndpoint."""

_health: tuple[float, str] = (-HEALTH_SECONDS, "")


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answer a request of API Gateway's proxy integration (event format 1.0)."""
    request_id = event["requestContext"].get("requestId") or context.aws_request_id
    try:
        if event["httpMethod"] == "GET":
            return _answer_health(request_id)
        return _answer_predictions(event, request_id)
    except Exception as error:  # whatever it is, the caller gets a document, and no word of ours
        print(json.dumps({"request_id": request_id, "error": type(error).__name__}), flush=True)
        return refused(Refusal(500, "internal", "Something went wrong here"), request_id)


def _answer_predictions(event: dict[str, Any], request_id: str) -> dict[str, Any]:
    began, asked, client, known = time.monotonic(), 0, "unknown", None
    try:
        client = caller(event, _callers()).name
        rows = instances(_body(event), _rows(), int(os.environ["MOST_ROWS"]), int(os.environ["MOST_BYTES"]))
        asked = len(rows)
        known = _cache().get(rows)
        if known:
            response = answered(known[0], request_id, known[1])
        else:
            fresh = _ask(rows, request_id)
            _cache().put(rows, fresh)
            response = answered(fresh, request_id)
        refusal = None
    except Refusal as error:
        refusal, response = error, refused(error, request_id)
        who = identity(event) if client == "unknown" else client
        print(json.dumps({"request_id": request_id, "client": who, "refused": error.code, "status": error.status}))
    milliseconds = (time.monotonic() - began) * 1000
    line = metrics(
        os.environ["API"],
        client,
        rows=asked,
        milliseconds=milliseconds,
        refusal=refusal,
        cached=known is not None,
    )
    print(line, flush=True)
    return response


def _body(event: dict[str, Any]) -> str:
    if event.get("isBase64Encoded"):
        raise Refusal(415, "not-json", "Send application/json")
    return event.get("body") or ""


def _ask(rows: list[dict[str, Any]], request_id: str) -> Answer:
    try:
        response = _runtime().invoke_endpoint(
            EndpointName=os.environ["ENDPOINT"],
            ContentType="application/json",
            Accept="application/json",
            InferenceId=request_id,
            **({"InferenceComponentName": os.environ["COMPONENT"]} if "COMPONENT" in os.environ else {}),
            Body=json.dumps({"instances": rows}).encode(),
        )
        body = response["Body"].read().decode("utf-8", "replace")
    except ReadTimeoutError:
        raise failure("timeout") from None
    except ClientError as error:
        told: Any = error.response
        # SageMaker's words may hold the model's own, and with them values of the request: only the code is logged.
        print(json.dumps({"request_id": request_id, "sagemaker": told["Error"]["Code"]}), flush=True)
        raise failure(told["Error"]["Code"], told.get("OriginalStatusCode")) from None
    except BotoCoreError as error:
        print(json.dumps({"request_id": request_id, "sagemaker": type(error).__name__}), flush=True)
        raise failure("unreachable") from None
    return answer(body, len(rows), response["InvokedProductionVariant"])


def _answer_health(request_id: str) -> dict[str, Any]:
    global _health
    if time.monotonic() - _health[0] >= HEALTH_SECONDS:
        try:
            found = boto3.client("sagemaker", config=_configuration()).describe_endpoint(
                EndpointName=os.environ["ENDPOINT"]
            )
            _health = time.monotonic(), found["EndpointStatus"]
        except (ClientError, BotoCoreError) as error:
            print(json.dumps({"request_id": request_id, "sagemaker": type(error).__name__}), flush=True)
            _health = time.monotonic(), "Unknown"
    if _health[1] not in SERVING:
        return refused(failure("unavailable"), request_id)
    headers = {"content-type": "application/json", "cache-control": "no-store", "x-request-id": request_id}
    return {"statusCode": 200, "headers": headers, "body": json.dumps({"status": "ok"}), "isBase64Encoded": False}


@cache
def _rows() -> Rows:
    return Rows.from_json(Path(SCHEMA).read_text("utf-8"))


@cache
def _callers() -> dict[str, Caller]:
    told = json.loads(os.environ["CALLERS"])
    return {key: Caller(each["name"], tuple(each["identities"])) for key, each in told.items()}


@cache
def _cache() -> Cache:
    return Cache(float(os.environ["CACHE_SECONDS"]), int(os.environ["CACHE_SIZE"]))


@cache
def _runtime() -> Any:
    return boto3.client("sagemaker-runtime", config=_configuration())


def _configuration() -> Config:
    # No retry here: API Gateway gives up after 29 s, and a client that tries again knows best when.
    seconds = float(os.environ["MODEL_SECONDS"])
    return Config(connect_timeout=2, read_timeout=seconds, retries={"total_max_attempts": 1}, max_pool_connections=1)
