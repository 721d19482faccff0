"""State machines act in their role's name, so that the record of calls says who it was; and what becomes of their
executions is told of, as Step Functions tells CloudWatch and EventBridge.

https://docs.aws.amazon.com/step-functions/latest/dg/procedure-cw-metrics.html and
https://docs.aws.amazon.com/step-functions/latest/dg/eventbridge-integration.html
"""

import json
import sys
from collections.abc import Callable
from functools import cache
from typing import Any, Final

from moto.stepfunctions.responses import StepFunctionResponse

from infra.rehearsal.emulator import calls, clients, events
from infra.rehearsal.emulator.metrics import put_metric

LONGEST_TASK_SECONDS = 24 * 3600
METRICS: Final = {
    "RUNNING": "ExecutionsStarted",
    "SUCCEEDED": "ExecutionsSucceeded",
    "FAILED": "ExecutionsFailed",
    "ABORTED": "ExecutionsAborted",
    "TIMED_OUT": "ExecutionsTimedOut",
}

_why_stopped: dict[str, tuple[str | None, str | None]] = {}
"""The error and cause with which somebody stops an execution, by its ARN: moto does not keep them."""


def install(endpoint: str) -> None:
    """Let the calls of state machines to `endpoint` be signed with their roles."""
    start: Callable[[StepFunctionResponse], Any] = StepFunctionResponse.start_execution

    def start_execution(response: StepFunctionResponse) -> Any:
        _sign_with_roles(endpoint)
        _tell_of_executions()
        return start(response)

    stop: Callable[[StepFunctionResponse], Any] = StepFunctionResponse.stop_execution

    def stop_execution(response: StepFunctionResponse) -> Any:
        asked = json.loads(response.body)
        _why_stopped[asked["executionArn"]] = asked.get("error"), asked.get("cause")
        return stop(response)

    StepFunctionResponse.stop_execution = stop_execution  # type: ignore[assignment, method-assign]  # replaced
    StepFunctionResponse.start_execution = start_execution  # type: ignore[assignment, method-assign]  # replaced


@cache
def _sign_with_roles(endpoint: str) -> None:
    """Replace what makes the clients of tasks; only now, as loading moto's interpreter takes a second."""
    from moto.stepfunctions.parser.asl.utils import boto_client

    made = boto_client.boto_client_for

    def client(region: str, service: str, state_credentials: Any = None) -> Any:
        if state_credentials is None:
            return made(region, service)
        return clients.client(
            service,
            region=region,
            endpoint=endpoint,
            key=calls.key_of(state_credentials.role_arn),
            read_seconds=LONGEST_TASK_SECONDS,
            checks=False,
        )

    for module in list(sys.modules.values()):
        if getattr(module, "boto_client_for", None) is made:
            module.boto_client_for = client  # type: ignore[attr-defined]  # it was there a moment ago


@cache
def _tell_of_executions() -> None:
    """Have every execution told of when it begins and when it ends."""
    from moto.stepfunctions.parser.backend import execution

    begin, end = execution.Execution.start, execution.BaseExecutionWorkerCommunication.terminated

    def start(begun: execution.Execution) -> None:
        _tell(begun, "RUNNING")
        begin(begun)

    def terminated(ended: execution.BaseExecutionWorkerCommunication) -> None:
        end(ended)
        if ended.execution.status == "ABORTED":
            ended.execution.error, ended.execution.cause = _why_stopped.pop(ended.execution.exec_arn, (None, None))
        _tell(ended.execution, str(ended.execution.status))

    execution.Execution.start = start  # type: ignore[assignment, method-assign]  # that is what is replaced
    execution.BaseExecutionWorkerCommunication.terminated = terminated  # type: ignore[assignment, method-assign]  # likewise


def _tell(execution: Any, status: str) -> None:
    """Put an execution's metric, and send its event."""
    machine, region = execution.state_machine_arn, execution.region_name
    put_metric(region, "AWS/States", METRICS[status], 1, {"StateMachineArn": machine})
    ended = execution.stop_date
    detail = {
        "executionArn": execution.exec_arn,
        "stateMachineArn": machine,
        "name": execution.name,
        "status": status,
        "startDate": int(execution.start_date.timestamp() * 1000),
        "stopDate": int(ended.timestamp() * 1000) if ended else None,
        "input": execution.execution_input,
        "output": json.dumps(execution.output) if status == "SUCCEEDED" else None,
        "error": execution.error,
        "cause": execution.cause,
    }
    events.emit(region, "aws.states", "Step Functions Execution Status Change", detail, [execution.exec_arn])
