"""State machines act in their role's name, so that the record of calls says who it was."""

import sys
from collections.abc import Callable
from functools import cache
from typing import Any

from moto.stepfunctions.responses import StepFunctionResponse

from infra.rehearsal.emulator import calls, clients

LONGEST_TASK_SECONDS = 24 * 3600


def install(endpoint: str) -> None:
    """Let the calls of state machines to `endpoint` be signed with their roles."""
    start: Callable[[StepFunctionResponse], Any] = StepFunctionResponse.start_execution

    def start_execution(response: StepFunctionResponse) -> Any:
        _sign_with_roles(endpoint)
        return start(response)

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
