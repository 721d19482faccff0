"""Data capture: what an endpoint was asked and what it answered, as JSON lines in S3, in SageMaker's own layout."""

import base64
import json
import random
import sys
import threading
import uuid
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True)
class Exchange:
    """One invocation that the model answered."""

    body: bytes
    content_type: str
    answer: bytes
    answer_type: str
    inference_id: str | None
    at: datetime
    """In UTC."""


@dataclass(frozen=True)
class Place:
    """Where records of one variant and hour go."""

    bucket: str
    prefix: str
    kms_key_id: str | None
    role: str
    """Whose permissions write it: the model's."""


def record(exchange: Exchange, config: Mapping[str, Any]) -> Json:
    """One line of a capture file, as the DataCaptureConfig `config` wants it."""
    captured: Json = {}
    modes = {option["CaptureMode"] for option in config["CaptureOptions"]}
    if modes & {"Input", "InputAndOutput"}:
        captured["endpointInput"] = _side("INPUT", exchange.body, exchange.content_type, config)
    if modes & {"Output", "InputAndOutput"}:
        captured["endpointOutput"] = _side("OUTPUT", exchange.answer, exchange.answer_type, config)
    metadata = {"eventId": str(uuid.uuid4())}
    if exchange.inference_id:
        metadata["inferenceId"] = exchange.inference_id
    metadata["inferenceTime"] = exchange.at.strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"captureData": captured, "eventMetadata": metadata, "eventVersion": "0"}


def _side(mode: str, data: bytes, content_type: str, config: Mapping[str, Any]) -> Json:
    encoding = _encoding(content_type, config.get("CaptureContentTypeHeader", {}))
    try:
        text = data.decode() if encoding != "BASE64" else base64.b64encode(data).decode()
    except UnicodeDecodeError:  # announced as text, but is none
        encoding, text = "BASE64", base64.b64encode(data).decode()
    return {"observedContentType": content_type, "mode": mode, "data": text, "encoding": encoding}


def _encoding(content_type: str, headers: Mapping[str, list[str]]) -> str:
    """SageMaker writes as text only what CaptureContentTypeHeader lists; everything else becomes base64."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind in (listed.lower() for listed in headers.get("CsvContentTypes", ())):
        return "CSV"
    if kind in (listed.lower() for listed in headers.get("JsonContentTypes", ())):
        return "JSON"
    return "BASE64"


class Captures:
    """Keeps records until `flush` writes them: one object for each variant and hour that has any.

    `put(bucket, key, body, kms_key_id, role)` writes an object.
    """

    def __init__(self, put: Callable[[str, str, bytes, str | None, str], None]) -> None:
        self._put = put
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._waiting: dict[Place, list[tuple[datetime, str]]] = defaultdict(list)

    def add(self, endpoint: str, variant: str, role: str, config: Mapping[str, Any], exchange: Exchange) -> None:
        """Record `exchange`, or not: `config` says whether, and how many of a hundred."""
        if not config.get("EnableCapture") or random.random() * 100 >= config["InitialSamplingPercentage"]:
            return
        bucket, _, prefix = config["DestinationS3Uri"].removeprefix("s3://").partition("/")
        folders = (prefix.strip("/"), endpoint, variant, exchange.at.strftime("%Y/%m/%d/%H"))
        place = Place(bucket, "/".join(filter(None, folders)), config.get("KmsKeyId"), role)
        line = json.dumps(record(exchange, config))
        with self._lock:
            self._waiting[place].append((exchange.at, line))

    def flush(self) -> None:
        """Write out what is waiting; what was added before the call lies in S3 when it returns.

        What S3 refuses is lost, as it is in AWS, but not without a word on stderr.
        """
        with self._writing:
            with self._lock:
                waiting, self._waiting = self._waiting, defaultdict(list)
            for place, lines in waiting.items():
                self._write(place, lines)

    def _write(self, place: Place, lines: list[tuple[datetime, str]]) -> None:
        first = lines[0][0]
        name = f"{first:%M-%S}-{first.microsecond // 1000:03d}-{uuid.uuid4()}.jsonl"
        body = "".join(f"{line}\n" for _, line in lines).encode()
        try:
            self._put(place.bucket, f"{place.prefix}/{name}", body, place.kms_key_id, place.role)
        except Exception as error:
            where = f"s3://{place.bucket}/{place.prefix}"
            print(f"data capture: {len(lines)} records for {where} are lost: {error}", file=sys.stderr, flush=True)
