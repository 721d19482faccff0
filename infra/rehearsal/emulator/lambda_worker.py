"""A warm Lambda: loads the handler once, then answers one event after another. Runs in a process of its own.

Reads requests from descriptor SLIPWAY_REQUESTS and writes answers to SLIPWAY_ANSWERS, a line of JSON each; standard
output and error are the function's log.
"""

import importlib
import json
import os
import sys
import time
import traceback
from dataclasses import dataclass
from typing import Any

from infra.rehearsal.emulator.children import watch_parent


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

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until the function is stopped."""
        return max(0, int((self.deadline - time.time()) * 1000))


def failure(error: BaseException) -> dict[str, Any]:
    """An exception as Lambda reports it."""
    trace = traceback.format_exception(error)
    print("".join(trace), file=sys.stderr)
    return {"errorMessage": str(error), "errorType": type(error).__name__, "stackTrace": trace}


def main() -> None:
    """Answer requests until there are no more."""
    watch_parent()
    requests = os.fdopen(int(os.environ.pop("SLIPWAY_REQUESTS")), "r", encoding="utf-8")
    answers = os.fdopen(int(os.environ.pop("SLIPWAY_ANSWERS")), "w", encoding="utf-8")
    module, _, name = os.environ["_HANDLER"].rpartition(".")
    broken, handler = None, None
    try:
        handler = getattr(importlib.import_module(module.replace("/", ".")), name)
    except BaseException as error:
        broken = failure(error)
    for line in requests:
        request = json.loads(line)
        context = Context(request["id"], request["arn"], time.time() + request["timeout"])
        answer: dict[str, Any]
        if broken or handler is None:
            answer = {"error": broken}
        else:
            try:
                answer = {"result": json.dumps(handler(request["event"], context))}
            except BaseException as error:
                answer = {"error": failure(error)}
        sys.stdout.flush()
        sys.stderr.flush()
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
