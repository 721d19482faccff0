"""A warm Lambda: loads the handler once, then answers one event after another. Runs in a process of its own.

Reads requests from descriptor SLIPWAY_REQUESTS and writes answers to SLIPWAY_ANSWERS, a line of JSON each, the first
when it is loaded; standard output and error are the function's log, in which a line that starts with END_OF_LOG ends
what belongs to an answer.
"""

import importlib
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from infra.rehearsal.emulator.children import end_group, watch_parent

END_OF_LOG = "\0slipway:end"


@dataclass
class Context:
    """What a handler is told about its invocation, under the names that Lambda gives it."""

    aws_request_id: str
    invoked_function_arn: str
    deadline: float
    function_name: str = os.environ.get("AWS_LAMBDA_FUNCTION_NAME", "")
    function_version: str = os.environ.get("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
    memory_limit_in_mb: str = os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128")
    log_group_name: str = os.environ.get("AWS_LAMBDA_LOG_GROUP_NAME", "")
    log_stream_name: str = os.environ.get("AWS_LAMBDA_LOG_STREAM_NAME", "")
    identity: None = None
    client_context: None = None

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until the function is stopped."""
        return max(0, int((self.deadline - time.time()) * 1000))


def main() -> None:
    """Load the handler, then answer requests until there are no more."""
    watch_parent()
    requests = os.fdopen(int(os.environ.pop("SLIPWAY_REQUESTS")), "r", encoding="utf-8")
    answers = os.fdopen(int(os.environ.pop("SLIPWAY_ANSWERS")), "w", encoding="utf-8")

    def answer(value: Mapping[str, Any]) -> None:
        print(f"\n{END_OF_LOG}", flush=True)
        sys.stderr.flush()
        answers.write(json.dumps(value) + "\n")
        answers.flush()

    try:
        handler = load(os.environ["_HANDLER"])
    except Exception as error:
        answer({"error": failure(error)})
        return
    answer({})
    for line in requests:
        request = json.loads(line)
        context = Context(request["id"], request["arn"], time.time() + request["timeout"])
        try:
            answer({"result": marshalled(handler(request["event"], context))})
        except Exception as error:
            answer({"error": failure(error)})
    end_group()  # The emulator is gone, and what a handler has started must go, too.


class HandlerError(Exception):
    """What Lambda itself finds wrong with a function, named as it names it."""

    def __init__(self, kind: str, words: str) -> None:
        super().__init__(words)
        self.kind = kind


def load(name: str) -> Callable[[Any, Context], Any]:
    """The handler `module.function`. Raises HandlerError where there is none."""
    module, _, function = name.rpartition(".")
    try:
        loaded = importlib.import_module(module.replace("/", "."))
    except ImportError as error:
        raise HandlerError("Runtime.ImportModuleError", f"Unable to import module '{module}': {error}") from error
    try:
        handler: Callable[[Any, Context], Any] = getattr(loaded, function)
    except AttributeError:
        words = f"Handler '{function}' missing on module '{module}'"
        raise HandlerError("Runtime.HandlerNotFound", words) from None
    return handler


def marshalled(result: Any) -> str:
    """A handler's result as JSON. Raises HandlerError where it cannot be."""
    try:
        return json.dumps(result)
    except (TypeError, ValueError) as error:
        raise HandlerError("Runtime.MarshalError", f"Unable to marshal response: {error}") from None


def failure(error: Exception) -> dict[str, Any]:
    """An exception as Lambda reports it."""
    trace = traceback.format_exception(error)
    kind = error.kind if isinstance(error, HandlerError) else type(error).__name__
    print(f"[ERROR] {kind}: {error}\n{''.join(trace)}", file=sys.stderr)
    return {"errorMessage": str(error), "errorType": kind, "stackTrace": trace}


if __name__ == "__main__":
    main()
