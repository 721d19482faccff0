"""Releases from the command line: start one, follow it to its end, and say how it ended."""

import json
import re
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from botocore.exceptions import ClientError

from functions.live import NothingLive, live_package

Client = Callable[[str], Any]
"""Gives the boto3 client of a service, in the endpoint's account and region."""
Say = Callable[[str], None]

POLL_SECONDS: Final = 0.5
QUICK_POLLS: Final = 120
SLOW_POLL_SECONDS: Final = 5.0
STARTS_SECONDS: Final = 300.0
"""How long an approval may take to start its release: EventBridge passes it on within seconds, as a rule."""
CLOCKS: Final = timedelta(minutes=1)
"""By how much the caller's clock may be ahead of AWS's."""
INCIDENT: Final = re.compile(r" \(incident note: (s3://\S+)\)$")

DOING: Final = {
    "Lock": "asks for its turn",
    "Wait for our turn": "waits for its turn: another release of this endpoint runs",
    "Verify": "verifies signature, digests, gate and approval",
    "Ready": "looks whether the endpoint is in service and no alarm rings",
    "Model": "makes the model",
    "Configuration": "makes the endpoint configuration",
    "Update": "asks SageMaker for the change",
    "Look": "watches the rollout",
    "Check": "checks that what is live is what was asked for",
    "Record": "writes to the ledger",
    "Tell": "says so",
    "Failed": "failed: records why, and leaves an incident note",
}


class NoRelease(Exception):
    """A release could not be started: the text says why."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """How a release ended."""

    endpoint: str
    ok: bool
    package_arn: str
    """The version that was asked for; empty where it was not even found."""
    live: str
    """The version that serves now."""
    execution: str
    status: str
    """SUCCEEDED, FAILED, ABORTED or TIMED_OUT."""
    reason: str
    """Why it failed; empty where it did not."""
    incident: str
    """The URI of the incident note, where there is one."""
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)

    def lines(self) -> list[str]:
        """To read in a terminal."""
        served = self.live.rpartition("/")[2] or self.live or "no known version"
        if self.ok:
            return [f"{self.endpoint} serves version {served}, after {self.seconds:.0f} s"]
        told = [f"{self.endpoint}: {self.reason}", f"version {served} serves"]
        return told + ([f"incident note: {self.incident}"] if self.incident else [])


def release(
    client: Client,
    endpoint: str,
    version: str | int,
    *,
    reason: str = "",
    force: bool = False,
    wait: bool = True,
    say: Say = lambda text: None,
) -> Result:
    """Release a version of the registry: its number, or its ARN. Raises NoRelease.

    `force` releases while alarms ring, and without taking it back when they do. Without `wait` it is refused while
    another release of the endpoint runs.
    """
    account, region = _where(client)
    package = str(version)
    if not package.startswith("arn:"):
        if not package.isdecimal():
            raise NoRelease(f"{version!r} is no version: give its number, as in `slipway history`, or its ARN")
        package = f"arn:aws:sagemaker:{region}:{account}:model-package/{endpoint}/{package}"
    asked = {"model_package_arn": package, "reason": reason or "released by hand", "force": force, "wait": wait}
    return _run(client, endpoint, f"v{package.rpartition('/')[2]}", asked, say)


def rollback(client: Client, endpoint: str, *, reason: str = "", say: Say = lambda text: None) -> Result:
    """Go back to the version that was live before, at once. Raises NoRelease."""
    return _run(client, endpoint, "rollback", {"rollback": True, "reason": reason or "rolled back by hand"}, say)


def _where(client: Client) -> tuple[str, str]:
    states = client("stepfunctions")
    return str(client("sts").get_caller_identity()["Account"]), str(states.meta.region_name)


def _run(client: Client, endpoint: str, name: str, asked: Mapping[str, Any], say: Say) -> Result:
    states, begun = client("stepfunctions"), time.monotonic()
    caller = client("sts").get_caller_identity()
    machine = f"arn:aws:states:{states.meta.region_name}:{caller['Account']}:stateMachine:{endpoint}-release"
    try:
        execution = states.start_execution(
            stateMachineArn=machine,
            name=f"{name}-{uuid.uuid4()}"[:80],
            input=json.dumps({**asked, "by": caller["Arn"]}),
        )["executionArn"]
    except ClientError as error:
        if error.response["Error"]["Code"] != "StateMachineDoesNotExist":
            raise
        raise NoRelease(f"there is no state machine {endpoint}-release: deploy the stack {endpoint} first") from error
    return _follow(client, endpoint, execution, asked, say, begun)


def after_approval(
    client: Client, endpoint: str, package: str, approved: datetime, *, say: Say, seconds: float = STARTS_SECONDS
) -> Result:
    """Follow the release that the approval of `package` has started. Raises NoRelease where none begins in time."""
    states, (account, region), begun = client("stepfunctions"), _where(client), time.monotonic()
    machine = f"arn:aws:states:{region}:{account}:stateMachine:{endpoint}-release"
    while True:
        for each in states.list_executions(stateMachineArn=machine, maxResults=20)["executions"]:
            if each["startDate"] >= approved - CLOCKS:
                given = states.describe_execution(executionArn=each["executionArn"])["input"]
                if f'"{package}"' in given:
                    return _follow(client, endpoint, each["executionArn"], {"model_package_arn": package}, say, begun)
        if time.monotonic() - begun > seconds:
            raise NoRelease(
                f"no release of {package} has begun within {seconds:.0f} s of its approval: "
                f"`slipway release {endpoint} {package.rpartition('/')[2]}` starts one"
            )
        time.sleep(POLL_SECONDS)


def _follow(client: Client, endpoint: str, execution: str, asked: Mapping[str, Any], say: Say, begun: float) -> Result:
    """Say what an execution does, each thing once, and how it ended."""
    states, told = client("stepfunctions"), set[str]()
    for state in states_of(states, execution):
        if state in DOING and state not in told:
            told.add(state)
            say(f"{endpoint} {DOING[state]}")
    ended = states.describe_execution(executionArn=execution)
    output = json.loads(ended.get("output") or "{}")
    cause = str(ended.get("cause") or "")
    note = INCIDENT.search(cause)
    ok = ended["status"] == "SUCCEEDED"
    return Result(
        endpoint=endpoint,
        ok=ok,
        package_arn=str(output.get("model_package_arn") or asked.get("model_package_arn") or ""),
        live=_live(client, endpoint),
        execution=execution,
        status=ended["status"],
        reason="" if ok else INCIDENT.sub("", cause) or f"the release is {ended['status']}",
        incident=note[1] if note else "",
        seconds=time.monotonic() - begun,
    )


def states_of(states: Any, execution: str) -> Iterator[str]:
    """The names of the states as an execution enters them, until it ends."""
    seen, polls = 0, 0
    while True:
        status = states.describe_execution(executionArn=execution)["status"]
        pages = states.get_paginator("get_execution_history").paginate(executionArn=execution)
        events = [event for page in pages for event in page["events"]]
        for event in events[seen:]:
            if entered := event.get("stateEnteredEventDetails"):
                yield str(entered["name"])
        seen = len(events)
        if status != "RUNNING":
            return
        time.sleep(POLL_SECONDS if polls < QUICK_POLLS else SLOW_POLL_SECONDS)
        polls += 1


def _live(client: Client, endpoint: str) -> str:
    try:
        return live_package(client("sagemaker"), endpoint)
    except NothingLive as error:
        return str(error)
