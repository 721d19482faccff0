"""Lambda functions that run: each in a warm process of its own, with its code, its variables and its role.

moto keeps a function's configuration and needs Docker to run it. `install` makes `_invoke_lambda` run it here instead.
"""

import io
import json
import os
import selectors
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import uuid
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from moto.awslambda.models import LambdaFunction, lambda_backends

from infra.rehearsal.emulator import children, events
from infra.rehearsal.emulator.calls import key_of


ROOT: Final = Path(__file__).parents[3]
"""Where `infra` is, for the worker; a function finds its own code first."""
DEFAULT_RETRIES: Final = 2
"""How often AWS repeats an asynchronous invocation that failed."""
RETRY_SECONDS: Final = 0.2
"""AWS waits a minute, then two, before it repeats one; nobody wants to wait for that in a rehearsal."""
LOG_SETTLES_SECONDS: Final = 0.05

_endpoint = ""
_workers: dict[str, "Worker"] = {}
_lock = threading.Lock()


@dataclass(frozen=True)
class Outcome:
    """What came of an invocation."""

    payload: str
    failed: bool
    log: str


class Worker:
    """The process of one version of a function's code and configuration. Answers one event at a time."""

    def __init__(self, function: LambdaFunction) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="slipway-lambda-"))
        code = self._unpack("code", function.code_bytes)
        layers = [self._unpack(f"layer{i}", layer) / "python" for i, layer in enumerate(_layers(function))]
        requests, self._requests = os.pipe()
        answers, theirs = os.pipe()
        self._answers: IO[str] = os.fdopen(answers, "r", encoding="utf-8")
        self._lock = threading.Lock()
        self._log: list[str] = []
        self._process = children.spawn(
            [sys.executable, "-P", "-m", "infra.rehearsal.emulator.lambda_worker"],
            env={
                **_environment(function),
                "PYTHONPATH": os.pathsep.join(map(str, (code, *layers, ROOT))),
                "SLIPWAY_REQUESTS": str(requests),
                "SLIPWAY_ANSWERS": str(theirs),
            },
            pass_fds=(requests, theirs),
            cwd=code,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        os.close(requests)
        os.close(theirs)
        threading.Thread(target=self._read_log, daemon=True).start()

    def _unpack(self, name: str, archive: bytes) -> Path:
        target = self._folder / name
        with zipfile.ZipFile(io.BytesIO(archive)) as zipped:
            zipped.extractall(target)
        return target

    def _read_log(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            self._log.append(line.decode("utf-8", "replace"))
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def alive(self) -> bool:
        """Whether it can answer another event."""
        return self._process.poll() is None

    def call(self, arn: str, event: Any, timeout: float) -> Outcome:
        """Hand it one event. Over `timeout` seconds the process is ended, as Lambda does."""
        with self._lock:
            self._log.clear()
            identity = str(uuid.uuid4())
            request = {"id": identity, "arn": arn, "event": event, "timeout": timeout}
            try:
                os.write(self._requests, (json.dumps(request) + "\n").encode())
                line = self._answer(timeout)
            except BrokenPipeError:
                line = ""
            time.sleep(LOG_SETTLES_SECONDS)
            log = "".join(self._log)
        if line is None:
            self._process.kill()
            words = f"{identity} Task timed out after {timeout:.2f} seconds"
            return Outcome(json.dumps({"errorMessage": words, "errorType": "Sandbox.Timedout"}), True, log + words)
        if not line:
            words = f"RequestId: {identity} Error: Runtime exited"
            return Outcome(json.dumps({"errorMessage": words, "errorType": "Runtime.ExitError"}), True, log + words)
        answer = json.loads(line)
        if "result" in answer:
            return Outcome(answer["result"], False, log)
        return Outcome(json.dumps(answer["error"]), True, log)

    def _answer(self, timeout: float) -> str | None:
        with selectors.DefaultSelector() as waiting:
            waiting.register(self._answers, selectors.EVENT_READ)
            return self._answers.readline() if waiting.select(timeout) else None


def install(endpoint: str) -> None:
    """Make moto's functions run, and call back to `endpoint`."""
    global _endpoint
    _endpoint = endpoint
    LambdaFunction._invoke_lambda = _invoke  # type: ignore[method-assign]  # that is what is replaced
    LambdaFunction.invoke = _accept  # type: ignore[method-assign]  # likewise


def invoke(function: LambdaFunction, event: Any) -> Outcome:
    """Run a function on an event, and keep its log as Lambda does."""
    with _lock:
        key = _identity(function)
        worker = _workers.get(key)
        if worker is None or not worker.alive:
            worker = _workers[key] = Worker(function)
    began = time.monotonic()
    outcome = worker.call(function.function_arn, event, float(function.timeout or 3))
    milliseconds = (time.monotonic() - began) * 1000
    report = f"START\n{outcome.log}\nEND\nREPORT Duration: {milliseconds:.2f} ms"
    function.logs_backend.ensure_log_group(function.logs_group_name)
    function.save_logs(report)
    return outcome


def invoke_later(function: LambdaFunction, event: Any) -> None:
    """Run a function without waiting for it: again where it fails, then hand the event to where failures go."""
    threading.Thread(target=_attempt, args=(function, event), daemon=True).start()


def function_of(arn: str) -> LambdaFunction | None:
    """The function with this ARN."""
    parts = arn.split(":")
    return lambda_backends[parts[4]][parts[3]]._lambdas.get_arn(arn) or lambda_backends[parts[4]][
        parts[3]
    ]._lambdas.get_function_by_name_or_arn_with_qualifier(parts[6])


def _attempt(function: LambdaFunction, event: Any) -> None:
    configured = _async_configuration(function)
    retries = int(configured.get("MaximumRetryAttempts", DEFAULT_RETRIES))
    for attempt in range(retries + 1):
        outcome = invoke(function, event)
        if not outcome.failed:
            break
        if attempt < retries:
            time.sleep(RETRY_SECONDS)
    destinations = configured.get("DestinationConfig") or {}
    side = destinations.get("OnFailure" if outcome.failed else "OnSuccess") or {}
    if side.get("Destination"):
        condition = "RetriesExhausted" if outcome.failed else "Success"
        context = {"functionArn": function.function_arn, "condition": condition}
        answer = json.loads(outcome.payload or "null")
        body = {"version": "1.0", "requestContext": context, "requestPayload": event, "responsePayload": answer}
        events.deliver(side["Destination"], body, function.region)
    elif outcome.failed and (function.dead_letter_config or {}).get("TargetArn"):
        events.deliver(function.dead_letter_config["TargetArn"], event, function.region)


def _async_configuration(function: LambdaFunction) -> dict[str, Any]:
    backend = lambda_backends[function.account_id][function.region]
    try:
        found: dict[str, Any] = backend.get_function_event_invoke_config(function.function_name)
    except Exception as error:  # moto raises an exception of its own for "none set"
        if type(error).__name__ not in ("UnknownEventConfig", "UnknownFunctionException"):
            raise
        return {}
    return found


def _invoke(function: LambdaFunction, event: Any = None) -> tuple[str, bool, str]:
    """In the place of moto's method of the same name."""
    outcome = invoke(function, json.loads(event) if isinstance(event, str) else event)
    return outcome.payload, outcome.failed, outcome.log


def _accept(function: LambdaFunction, body: Any, request_headers: Any, response_headers: Any) -> str | bytes:
    """In the place of moto's `invoke`: as there, but that an asynchronous invocation is not waited for."""
    event = json.loads(body or "{}")
    if request_headers.get("x-amz-invocation-type", "RequestResponse") == "Event":
        invoke_later(function, event)
        return ""
    outcome = invoke(function, event)
    if outcome.failed:
        response_headers["x-amz-function-error"] = "Unhandled"
    return outcome.payload.encode()


def _identity(function: LambdaFunction) -> str:
    parts = function.function_arn, function.version, function.code_sha_256, function.handler, function.role
    return json.dumps([*parts, function.environment_vars, str(function.layers), function.timeout])


def _layers(function: LambdaFunction) -> list[bytes]:
    backend = lambda_backends[function.account_id][function.region]
    found = []
    for layer in function.layers:
        name, version = layer["Arn"].split(":")[-2:]
        versions = backend._layers.get_layer_versions(name)
        found += [each.code_bytes for each in versions if str(each.version) == version]
    return found


def _environment(function: LambdaFunction) -> dict[str, str]:
    """What Lambda tells a function, with credentials that stand for its role."""
    return {
        "PATH": os.environ.get("PATH", ""),
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        **{name: str(value) for name, value in (function.environment_vars or {}).items()},
        "AWS_REGION": function.region,
        "AWS_DEFAULT_REGION": function.region,
        "AWS_ACCESS_KEY_ID": key_of(function.role),
        "AWS_SECRET_ACCESS_KEY": "rehearsal",
        "AWS_ENDPOINT_URL": _endpoint,
        "AWS_LAMBDA_FUNCTION_NAME": function.function_name,
        "AWS_LAMBDA_FUNCTION_VERSION": str(function.version),
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_size),
        "AWS_LAMBDA_LOG_GROUP_NAME": function.logs_group_name,
        "_HANDLER": function.handler,
    }
