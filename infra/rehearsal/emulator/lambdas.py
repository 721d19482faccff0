"""Lambda functions that run: each in warm processes of its own, with its code, its variables and its role.

moto keeps a function's configuration and needs Docker to run it; `install` makes it run here instead. Every Python
runtime is the Python that runs the emulator.
"""

import base64
import io
import json
import math
import os
import queue
import shutil
import subprocess
import sys
import threading
import time
import traceback
import uuid
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final
from weakref import WeakKeyDictionary

from botocore.exceptions import ClientError
from moto.awslambda.exceptions import InvalidParameterValueException, UnknownEventConfig
from moto.awslambda.models import LambdaFunction, lambda_backends
from moto.core.utils import unix_time_millis

from infra.rehearsal.emulator import children, events, pace
from infra.rehearsal.emulator.calls import ACCOUNT, key_of, on_behalf
from infra.rehearsal.emulator.lambda_worker import END_OF_LOG
from infra.rehearsal.emulator.metrics import put_metric
from infra.rehearsal.emulator.process import NO_USER_SETTINGS

ROOT: Final = Path(__file__).parents[3]
"""Where `infra` is, for the worker; a function finds its own code first."""
INIT_SECONDS: Final = 60.0
"""How long a function may take to load: AWS gives it 10 s, on a machine that does nothing else.
https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html"""
LOG_SECONDS: Final = 5.0
"""How long the rest of a log may take to arrive, after the answer did."""
DEFAULT_TIMEOUT: Final = 3
DEFAULT_RETRIES: Final = 2
"""How often AWS repeats an asynchronous invocation that failed."""
RETRY_SECONDS: Final = 0.2
"""AWS waits a minute, then two, before it repeats one; nobody wants to wait for that in a rehearsal."""
AT_ONCE: Final = 16
"""How many invocations run at the same time; others wait their turn. AWS runs 1000."""
IDLE_SECONDS: Final = 300.0
"""After how long a process without work ends."""
LOG_TAIL_BYTES: Final = 4096

_endpoint = ""
_work = Path()
_pools: dict[str, "Pool"] = {}
_lock = threading.Lock()
_dead_letters: "WeakKeyDictionary[LambdaFunction, dict[str, Any]]" = WeakKeyDictionary()
_configuration_in_moto = LambdaFunction.get_configuration
_initialise = LambdaFunction.__init__
_update_in_moto = LambdaFunction.update_configuration
_turns = threading.Semaphore(AT_ONCE)


@dataclass(frozen=True)
class Outcome:
    """What came of an invocation."""

    payload: str
    failed: bool
    log: str
    request_id: str
    seconds: float


class Worker:
    """A process that runs one version of a function's code and configuration. Answers one event at a time."""

    def __init__(self, function: LambdaFunction) -> None:
        self._folder = _work / "lambda" / f"{function.function_name}-{uuid.uuid4().hex[:8]}"
        code = self._unpack("code", function.code_bytes)
        layers = [self._unpack(f"layer{i}", layer) / "python" for i, layer in enumerate(_layers(function))]
        requests, self._requests = os.pipe()
        answers, theirs = os.pipe()
        self._answers: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._log: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self.idle_since = time.monotonic()
        try:
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
        finally:
            os.close(requests)
            os.close(theirs)
        assert self._process.stdout
        _read_lines(os.fdopen(answers, "rb"), self._answers)
        _read_lines(self._process.stdout, self._log)
        self._loaded: dict[str, Any] | None = None

    def _unpack(self, name: str, archive: bytes) -> Path:
        target = self._folder / name
        with zipfile.ZipFile(io.BytesIO(archive)) as zipped:
            zipped.extractall(target)
        return target

    def call(self, arn: str, event: Any, timeout: float) -> Outcome:
        """Hand it one event. Over `timeout` seconds the process is ended, as Lambda does."""
        identity = str(uuid.uuid4())
        began = time.monotonic()
        answer, log = self._load()
        if not answer:
            began = time.monotonic()
            line = json.dumps({"id": identity, "arn": arn, "event": event, "timeout": timeout}) + "\n"
            answer = self._ask(line.encode(), timeout)
            log += self._read_log()
        seconds = time.monotonic() - began
        if "result" in answer:
            return Outcome(answer["result"], False, log, identity, seconds)
        words = answer["error"]["errorMessage"].replace("{id}", identity)
        error = {**answer["error"], "errorMessage": words}
        if "stackTrace" not in error:  # It could not tell any more what happened to it.
            log += words + "\n"
        return Outcome(json.dumps(error), True, log, identity, seconds)

    def _load(self) -> tuple[dict[str, Any], str]:
        """Wait until the handler is loaded: what is wrong, nothing where it is well, and what was logged meanwhile."""
        if self._loaded is not None:
            return self._loaded, ""
        self._loaded = self._answer(INIT_SECONDS)
        return self._loaded, self._read_log()

    def _ask(self, line: bytes, timeout: float) -> dict[str, Any]:
        try:
            while line:
                line = line[os.write(self._requests, line) :]
        except BrokenPipeError:
            pass  # It has ended, which reading its answer tells.
        return self._answer(timeout)

    def _answer(self, timeout: float) -> dict[str, Any]:
        try:
            line = self._answers.get(timeout=timeout)
        except queue.Empty:
            children.end(self._process)
            self._process.wait()
            words = f"RequestId: {{id}} Error: Task timed out after {timeout:.2f} seconds"
            return {"error": {"errorMessage": words, "errorType": "Sandbox.Timedout"}}
        if line is None:
            status = self._process.wait()
            words = f"RequestId: {{id}} Error: Runtime exited with error: exit status {status}"
            return {"error": {"errorMessage": words, "errorType": "Runtime.ExitError"}}
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _read_log(self) -> str:
        """What was logged up to the last answer."""
        lines = []
        deadline = time.monotonic() + LOG_SECONDS
        while (left := deadline - time.monotonic()) > 0:
            try:
                line = self._log.get(timeout=left)
            except queue.Empty:
                break
            if line is None or line.startswith(END_OF_LOG):
                break
            if line.strip():
                lines.append(line)
        return "".join(lines)

    @property
    def alive(self) -> bool:
        """Whether it can answer another event."""
        return self._process.poll() is None and not (self._loaded or {}).get("error")

    def close(self) -> None:
        """End the process."""
        os.close(self._requests)
        children.end(self._process)
        shutil.rmtree(self._folder, ignore_errors=True)


def _read_lines(stream: IO[bytes], lines: "queue.SimpleQueue[str | None]") -> None:
    def read() -> None:
        with stream:
            for line in stream:
                lines.put(line.decode("utf-8", "replace"))
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()


@dataclass
class Pool:
    """The processes of one function, as it is configured now."""

    identity: str
    idle: list[Worker] = field(default_factory=list)


def install(endpoint: str, work: Path) -> None:
    """Make moto's functions run, and call back to `endpoint`; their code is unpacked below `work`."""
    global _endpoint, _work
    _endpoint, _work = endpoint, work
    shutil.rmtree(work / "lambda", ignore_errors=True)
    LambdaFunction._invoke_lambda = _invoke  # type: ignore[assignment, method-assign]  # that is what is replaced
    LambdaFunction.__init__ = _with_dead_letters  # type: ignore[assignment, method-assign]  # likewise
    LambdaFunction.update_configuration = _update  # type: ignore[assignment, method-assign]  # likewise
    LambdaFunction.get_configuration = _configuration  # type: ignore[assignment, method-assign]  # likewise
    LambdaFunction.invoke = _accept  # type: ignore[assignment, method-assign]  # likewise


def invoke(function: LambdaFunction, event: Any) -> Outcome:
    """Run a function on an event; its log and its metrics go where Lambda sends them."""
    if function.package_type != "Zip" or not str(function.run_time).startswith("python"):
        kind = function.run_time if function.package_type == "Zip" else "a container image"
        raise NotImplementedError(f"the rehearsal runs Python functions; {function.function_name} is {kind}")
    timeout = float(function.timeout or DEFAULT_TIMEOUT)
    with pace.clock.held(), _turns, _worker(function) as worker:
        outcome = worker.call(function.function_arn, event, timeout)
    _keep_log(function, outcome)
    dimensions = {"FunctionName": function.function_name}
    put_metric(function.region, "AWS/Lambda", "Invocations", 1, dimensions)
    put_metric(function.region, "AWS/Lambda", "Errors", int(outcome.failed), dimensions)
    put_metric(function.region, "AWS/Lambda", "Duration", outcome.seconds * 1000, dimensions)
    return outcome


def invoke_later(function: LambdaFunction, event: Any) -> None:
    """Run a function without waiting for it: again where it fails, then hand the event to where failures go."""
    threading.Thread(target=_attempt, args=(function, event), daemon=True).start()


def tick(_: float) -> None:
    """End processes that have had no work for long, or whose function is gone."""
    functions = {
        function.function_arn
        for backend in list(lambda_backends[ACCOUNT].values())
        # moto's `all()` copies every function, under another ARN.
        for group in list(backend._lambdas._functions.values())
        for function in (group["latest"], *group["versions"])
        if function
    }
    now = time.monotonic()
    old: list[Worker] = []
    with _lock:
        for arn, pool in list(_pools.items()):
            done = [worker for worker in pool.idle if arn not in functions or now - worker.idle_since > IDLE_SECONDS]
            pool.idle = [worker for worker in pool.idle if worker not in done]
            old += done
            if arn not in functions:
                del _pools[arn]
    for worker in old:
        worker.close()


@contextmanager
def _worker(function: LambdaFunction) -> Iterator[Worker]:
    """A process of this function that has nothing to do, started if there is none."""
    identity = _identity(function)
    stale: list[Worker] = []
    with _lock:
        pool = _pools.get(function.function_arn)
        if pool is None or pool.identity != identity:
            stale = pool.idle if pool else []
            pool = _pools[function.function_arn] = Pool(identity)
        worker = pool.idle.pop() if pool.idle else None
    for each in stale:
        each.close()
    if worker is None or not worker.alive:
        if worker:
            worker.close()
        worker = Worker(function)
    try:
        yield worker
    finally:
        worker.idle_since = time.monotonic()
        with _lock:
            kept = worker.alive and _pools.get(function.function_arn) is pool
            if kept:
                pool.idle.append(worker)
        if not kept:
            worker.close()


def _attempt(function: LambdaFunction, event: Any) -> None:
    """An asynchronous invocation, to its end."""
    configured = _async_configuration(function)
    retries = int(configured.get("MaximumRetryAttempts", DEFAULT_RETRIES))
    outcome = invoke(function, event)
    attempts = 1
    while outcome.failed and attempts <= retries:
        time.sleep(RETRY_SECONDS)
        outcome = invoke(function, event)
        attempts += 1
    try:
        _hand_on(function, event, outcome, configured, attempts)
    except (ClientError, LookupError):
        traceback.print_exc()


def _hand_on(
    function: LambdaFunction, event: Any, outcome: Outcome, configured: Mapping[str, Any], attempts: int
) -> None:
    """Tell the destination of an asynchronous invocation what came of it, or else the dead-letter queue.

    The record's form: https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html
    """
    destinations = configured.get("DestinationConfig") or {}
    destination = (destinations.get("OnFailure" if outcome.failed else "OnSuccess") or {}).get("Destination")
    if destination:
        record = {
            "version": "1.0",
            "timestamp": events.timestamp(time.time()),
            "requestContext": {
                "requestId": outcome.request_id,
                "functionArn": f"{function.function_arn}:$LATEST",
                "condition": "RetriesExhausted" if outcome.failed else "Success",
                "approximateInvokeCount": attempts,
            },
            "requestPayload": event,
            "responseContext": {
                "statusCode": 200,
                "executedVersion": "$LATEST",
                **({"functionError": "Unhandled"} if outcome.failed else {}),
            },
            "responsePayload": json.loads(outcome.payload or "null"),
        }
        events.deliver(destination, record, function.region, principal=function.role)
    queue_arn = _dead_letters.get(function, {}).get("TargetArn")
    if outcome.failed and queue_arn:
        events.deliver(queue_arn, event, function.region, principal=function.role)


def _async_configuration(function: LambdaFunction) -> dict[str, Any]:
    backend = lambda_backends[function.account_id][function.region]
    try:
        found: dict[str, Any] = backend.get_function_event_invoke_config(function.function_name)
    except UnknownEventConfig:
        return {}
    return found


def _invoke(function: LambdaFunction, event: Any = None) -> tuple[str, bool, str]:
    """In the place of moto's method of the same name."""
    outcome = invoke(function, json.loads(event) if isinstance(event, str) else event)
    return outcome.payload, outcome.failed, outcome.log


def _accept(function: LambdaFunction, body: Any, request_headers: Any, response_headers: Any) -> str | bytes:
    """In the place of moto's `invoke`: as there, but that an asynchronous invocation is not waited for."""
    try:
        event = json.loads(body or "{}")
    except ValueError as error:
        raise InvalidParameterValueException(f"Could not parse request body into json: {error}") from None
    # A request always has headers; moto's SNS calls without, and SNS waits for no function.
    kind = request_headers.get("x-amz-invocation-type", "RequestResponse") if request_headers else "Event"
    if kind == "DryRun":
        return ""
    if kind == "Event":
        invoke_later(function, event)
        return ""
    outcome = invoke(function, event)
    if outcome.failed:
        response_headers["x-amz-function-error"] = "Unhandled"
    tail = outcome.log.encode()[-LOG_TAIL_BYTES:]
    response_headers["x-amz-log-result"] = base64.b64encode(tail).decode()
    response_headers["x-amz-executed-version"] = str(function.version)
    return outcome.payload.encode()


def _with_dead_letters(
    function: LambdaFunction, account_id: str, spec: dict[str, Any], region: str, version: str | int = 1
) -> None:
    """In the place of moto's `__init__`, which drops where events go that cannot be handled."""
    _initialise(function, account_id, spec, region, version)
    _dead_letters[function] = spec.get("DeadLetterConfig") or {}


def _update(function: LambdaFunction, config_updates: dict[str, Any]) -> dict[str, Any]:
    if "DeadLetterConfig" in config_updates:
        _dead_letters[function] = config_updates["DeadLetterConfig"] or {}
    return _update_in_moto(function, config_updates)


def _configuration(function: LambdaFunction, on_create: bool = False) -> dict[str, Any]:
    found = _configuration_in_moto(function, on_create)
    kept = _dead_letters.get(function)
    return {**found, "DeadLetterConfig": kept} if kept else found


def _keep_log(function: LambdaFunction, outcome: Outcome) -> None:
    """Write the log of one invocation to CloudWatch Logs, with the lines that Lambda puts round it."""
    identity, milliseconds = outcome.request_id, outcome.seconds * 1000
    lines = [
        f"START RequestId: {identity} Version: {function.version}",
        *outcome.log.splitlines(),
        f"END RequestId: {identity}",
        f"REPORT RequestId: {identity}\tDuration: {milliseconds:.2f} ms\tBilled Duration: {math.ceil(milliseconds)} ms"
        f"\tMemory Size: {function.memory_size} MB",
    ]
    function.logs_backend.ensure_log_group(function.logs_group_name)
    day = time.strftime("%Y/%m/%d", time.gmtime())
    stream = f"{day}/[{function.version}]{identity.replace('-', '')}"
    function.logs_backend.create_log_stream(function.logs_group_name, stream)
    now = int(unix_time_millis())
    told = [{"timestamp": now, "message": line} for line in lines if line.strip()]
    function.logs_backend.put_log_events(function.logs_group_name, stream, told)
    where = {"logGroupName": function.logs_group_name, "logStreamName": stream}
    for action in ("CreateLogStream", "PutLogEvents"):
        on_behalf(function.role, function.region, "logs", action, where)


def _identity(function: LambdaFunction) -> str:
    """What a running process depends on: another one is needed where any of it changes."""
    return json.dumps(
        [
            function.code_sha_256,
            function.last_modified,
            function.handler,
            function.role,
            function.memory_size,
            function.environment_vars,
            [layer["Arn"] for layer in function.layers],
        ]
    )


def _layers(function: LambdaFunction) -> list[bytes]:
    backend = lambda_backends[function.account_id][function.region]
    found = [backend._layers.get_layer_version_by_arn(layer["Arn"]) for layer in function.layers]
    return [layer.code_bytes for layer in found if layer]


def _environment(function: LambdaFunction) -> dict[str, str]:
    """What Lambda tells a function, with credentials of its role and nothing of the machine's user."""
    return {
        "PATH": os.environ.get("PATH", ""),
        "LANG": "C.UTF-8",
        "TZ": ":UTC",
        "PYTHONUNBUFFERED": "1",
        **NO_USER_SETTINGS,
        **{name: str(value) for name, value in (function.environment_vars or {}).items()},
        "AWS_REGION": function.region,
        "AWS_DEFAULT_REGION": function.region,
        "AWS_ACCESS_KEY_ID": key_of(function.role, function.function_name),
        "AWS_SECRET_ACCESS_KEY": "rehearsal",
        "AWS_ENDPOINT_URL": _endpoint,
        "AWS_EXECUTION_ENV": f"AWS_Lambda_{function.run_time}",
        "AWS_LAMBDA_FUNCTION_NAME": function.function_name,
        "AWS_LAMBDA_FUNCTION_VERSION": str(function.version),
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_size),
        "AWS_LAMBDA_LOG_GROUP_NAME": function.logs_group_name,
        "_HANDLER": function.handler,
    }
