"""What the prediction API asks of a request, and how it answers: pure, so that it can be tested without AWS."""

import hashlib
import json
import math
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from functions.rows import Column, Rows

NAMESPACE: Final = "Slipway/Predictions"
PROBLEM: Final = "application/problem+json"
"""RFC 9457."""
MOST_PROBLEMS: Final = 20
"""How many a refusal lists; a caller who has more sees the rest once these are mended."""
SHOWN: Final = 80
"""Characters of a refused value that are told back."""

RETRY_SOON: Final = 2
"""Seconds after which what failed for want of capacity is worth another try."""


@dataclass(frozen=True)
class Fault:
    """What is wrong with one value. `row` counts from 1, and is None for what concerns the whole request."""

    row: int | None
    feature: str | None
    reason: str


@dataclass(eq=False)
class Refusal(Exception):
    """A request that is not answered with predictions; its fields are the problem document's."""

    status: int
    code: str
    """What went wrong, in a word for programs: `invalid-input`."""
    title: str
    faults: Sequence[Fault] = ()
    retry_after: int | None = None
    """Seconds."""


@dataclass(frozen=True)
class Caller:
    """A client of the API, by its API key."""

    name: str
    identities: tuple[str, ...]
    """Its Cognito client id, or the ARNs of its roles: the key works with no other's credentials."""


@dataclass(frozen=True)
class Answer:
    """What the model said about the rows of one request."""

    predictions: tuple[float, ...]
    variant: str
    model: str | None
    """The model version, where the container tells it: its environment does, so that a canary names itself."""


# --- who asks -------------------------------------------------------------------------------------------------------


def caller(event: Mapping[str, Any], callers: Mapping[str, Caller]) -> Caller:
    """The client whose API key came with a request. Raises Refusal for a key that is not the caller's own.

    API Gateway has checked the key, and the signature or token; that both are of one client it does not check, and one
    client's key would use up another's quota.
    """
    known = callers.get(event["requestContext"]["identity"].get("apiKeyId") or "")
    if known is None or identity(event) not in known.identities:
        raise Refusal(403, "foreign-key", "This API key belongs to another client")
    return known


def identity(event: Mapping[str, Any]) -> str:
    """Who API Gateway found the caller to be: a Cognito client id, or the ARN of a role or user."""
    context = event["requestContext"]
    claims = (context.get("authorizer") or {}).get("claims") or {}
    if claims.get("client_id"):
        return str(claims["client_id"])
    return role_of(context["identity"].get("userArn") or "")


def role_of(arn: str) -> str:
    """The role of a session (`arn:aws:sts::1:assumed-role/team/session`), without its path; any other ARN as it is."""
    session = re.fullmatch(r"arn:([\w-]+):sts::(\d{12}):assumed-role/([^/]+)/.*", arn)
    if session:
        return f"arn:{session[1]}:iam::{session[2]}:role/{session[3]}"
    return re.sub(r":role/.*/", ":role/", arn)


# --- what is asked --------------------------------------------------------------------------------------------------


def instances(body: str, rows: Rows, most: int, most_bytes: int) -> list[dict[str, Any]]:
    """The rows of a request. Raises Refusal that names row and feature for what the schema does not allow.

    API Gateway has looked at most of this, but not at the number of rows, at bodies of another content type, and not
    at whether a number is one: its words name no feature, either.
    """
    if len(body.encode()) > most_bytes:
        raise Refusal(413, "too-large", f"The request is larger than {most_bytes // 1024} KiB: send fewer rows")
    try:
        request = json.loads(body)
    except (ValueError, RecursionError):
        raise Refusal(400, "not-json", "The request is not JSON") from None
    found = request.get("instances") if isinstance(request, dict) else None
    if not isinstance(found, list) or request.keys() != {"instances"}:
        raise Refusal(400, "invalid-input", 'The request must be {"instances": [{feature: value, …}, …]}')
    if not 1 <= len(found) <= most:
        raise Refusal(400, "invalid-input", f"The request has {len(found)} rows: send 1 to {most}")
    faults = [fault for number, row in enumerate(found, 1) for fault in _faults(number, row, rows)]
    if faults:
        raise Refusal(400, "invalid-input", "The request has values that the model does not take", faults)
    return found


def _faults(number: int, row: Any, rows: Rows) -> list[Fault]:
    if not isinstance(row, dict):
        return [Fault(number, None, f"row {number} is no object of features and values")]
    strange = [
        Fault(number, name[:SHOWN], f"{name[:SHOWN]} is no feature of {rows.name}")
        for name in row
        if name not in rows.by_name
    ]
    found = [fault for column in rows.columns if (fault := _fault(number, column, row.get(column.name)))]
    return [*strange, *found]


def _fault(number: int, column: Column, value: Any) -> Fault | None:
    if value is None:
        return Fault(number, column.name, f"{column.name} is missing") if column.required else None
    wanted: dict[str, tuple[type, ...]] = {"String": (str,), "Integral": (int,), "Fractional": (int, float)}
    if isinstance(value, bool) or not isinstance(value, wanted[column.kind]):
        words = {"String": "a text", "Integral": "a whole number", "Fractional": "a number"}[column.kind]
        return Fault(number, column.name, f"{column.name} is {_shown(value)}, which is not {words}")
    if isinstance(value, float) and not math.isfinite(value):
        return Fault(number, column.name, f"{column.name} is {_shown(value)}, which is no finite number")
    text = str(value) if not isinstance(value, int) or abs(value) < 2**64 else str(2**64)
    problem = column.problem(text)
    if problem is None:
        return None
    return Fault(number, column.name, problem.reason if len(text) <= SHOWN else f"{column.name} is too long a value")


def _shown(value: Any) -> str:
    """A value as it was sent, short; of a list or an object only that it is one."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    return json.dumps(value, ensure_ascii=False)[:SHOWN]


# --- what is answered -----------------------------------------------------------------------------------------------


def answer(body: str, rows: int, variant: str) -> Answer:
    """What a model answered: `{"predictions": […], "model": "…"}`, a finite number a row, and `model` or not.

    Raises Refusal for anything else.
    """
    try:
        told = json.loads(body)
        numbers = tuple(float(each) for each in told["predictions"])
    except (ValueError, KeyError, TypeError, RecursionError):
        told, numbers = {}, ()
    if len(numbers) != rows or not all(map(math.isfinite, numbers)):
        raise Refusal(502, "model-failed", "The model gave no answer that can be used")
    model = told.get("model")
    return Answer(numbers, variant, model if isinstance(model, str) else None)


def failure(code: str, original_status: int | None = None) -> Refusal:
    """What a client is told of an error of InvokeEndpoint, by its code. SageMaker's own words stay in the log.

    https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_runtime_InvokeEndpoint.html
    """
    if code == "ModelError":
        if original_status is not None and 400 <= original_status < 500:
            return Refusal(422, "model-refused", "The model cannot work with these values")
        return Refusal(502, "model-failed", "The model failed on this request")
    if code in ("ThrottlingException", "ServiceUnavailable", "ModelNotReadyException"):
        return Refusal(503, "busy", "The model has too much to do at the moment", retry_after=RETRY_SOON)
    if code == "timeout":
        return Refusal(504, "timeout", "The model did not answer in time")
    return Refusal(503, "unavailable", "The model is not available at the moment", retry_after=5 * RETRY_SOON)


def answered(answer: Answer, request_id: str, age: int | None = None) -> dict[str, Any]:
    """What the proxy integration returns with predictions; `age` (seconds) where they come from the cache."""
    body = {
        "predictions": list(answer.predictions),
        "model": answer.model,
        "variant": answer.variant,
        "request_id": request_id,
    }
    headers = {"x-request-id": request_id, "x-variant": answer.variant}
    if answer.model:
        headers["x-model"] = answer.model
    if age is not None:
        headers["age"] = str(age)
    return _response(200, "application/json", headers, body)


def refused(refusal: Refusal, request_id: str) -> dict[str, Any]:
    """What the proxy integration returns with a problem document."""
    errors = [{"row": each.row, "feature": each.feature, "reason": each.reason} for each in refusal.faults]
    shown = errors[:MOST_PROBLEMS]
    body = {
        "type": "about:blank",
        "title": refusal.title,
        "status": refusal.status,
        "code": refusal.code,
        "request_id": request_id,
        **({"errors": shown} if shown else {}),
        **({"more_errors": len(errors) - len(shown)} if len(errors) > len(shown) else {}),
    }
    headers = {"x-request-id": request_id}
    if refusal.retry_after is not None:
        headers["retry-after"] = str(refusal.retry_after)
    return _response(refusal.status, PROBLEM, headers, body)


def _response(status: int, kind: str, headers: Mapping[str, str], body: Any) -> dict[str, Any]:
    # What one client is told must not be kept for another by anything between us.
    sent = {"content-type": kind, "cache-control": "no-store", **headers}
    return {"statusCode": status, "headers": sent, "body": json.dumps(body), "isBase64Encoded": False}


def metrics(api: str, client: str, *, rows: int, milliseconds: float, refusal: Refusal | None, cached: bool) -> str:
    """A log line that CloudWatch turns into metrics: of the API, of each client, and of refusals by their reason."""
    ours = refusal is not None and refusal.status >= 500
    counts = {
        "requests": 1,
        "rows": rows,
        "refused": int(refusal is not None and not ours),
        "failed": int(ours),
        "cached": int(cached),
    }
    named = [{"Name": name, "Unit": "Count"} for name in counts]
    latency = {"Name": "latency", "Unit": "Milliseconds"}
    directives: list[dict[str, Any]] = [
        {"Namespace": NAMESPACE, "Dimensions": [["api"], ["api", "client"]], "Metrics": [*named, latency]}
    ]
    reason: dict[str, Any] = {}
    if refusal is not None:
        reason = {"reason": refusal.code, "refusals": 1}
        count = {"Name": "refusals", "Unit": "Count"}
        directives.append({"Namespace": NAMESPACE, "Dimensions": [["api", "reason"]], "Metrics": [count]})
    header = {"Timestamp": int(time.time() * 1000), "CloudWatchMetrics": directives}
    told = {"api": api, "client": client, "latency": round(milliseconds, 1)}
    return json.dumps({"_aws": header, **told, **counts, **reason})


# --- requests that repeat -------------------------------------------------------------------------------------------


@dataclass
class Cache:
    """The answers to the latest requests, in the memory of one Lambda execution environment.

    An answer is kept `seconds` at most, which is how long a version that was just released or rolled back may still be
    heard of. Requests with the same rows in the same order and with the same values have one key.
    """

    seconds: float
    size: int
    clock: Callable[[], float] = time.monotonic
    _kept: "OrderedDict[str, tuple[float, Answer]]" = field(default_factory=OrderedDict)

    def get(self, rows: Sequence[Mapping[str, Any]]) -> tuple[Answer, int] | None:
        """The answer to these rows, and its age in seconds."""
        key = _key(rows)
        found = self._kept.get(key)
        if found is None:
            return None
        age = self.clock() - found[0]
        if age >= self.seconds:
            del self._kept[key]
            return None
        self._kept.move_to_end(key)
        return found[1], int(age)

    def put(self, rows: Sequence[Mapping[str, Any]], answer: Answer) -> None:
        """Keep an answer; the one that was longest not asked for makes room."""
        if self.size <= 0 or self.seconds <= 0:
            return
        key = _key(rows)
        self._kept[key] = self.clock(), answer
        self._kept.move_to_end(key)
        while len(self._kept) > self.size:
            self._kept.popitem(last=False)


def _key(rows: Sequence[Mapping[str, Any]]) -> str:
    """The whole of a request, hashed so that no payload stays in memory: every value counts, its type too."""
    return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()
