"""The rehearsed product as a game day sees it: its alarms, its incidents, what serves, and the emulator behind it."""

import json
import urllib.request
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from functions import ledger
from functions.incidents import store
from functions.incidents.core import Incident
from functions.live import live_package
from functions.registry.sign import location
from infra import incidents
from infra.reach import Deployed, NotDeployed, reach
from infra.rehearsal.product import Clients
from infra.rehearsal.session import ENVIRONMENT, Rehearsal
from infra.settings import stacks_of

STACK: Final = "employment-local"
ANSWER_SECONDS: Final = 30.0


class Alarm(NamedTuple):
    """One alarm, as it is."""

    state: str
    """OK, ALARM or INSUFFICIENT_DATA."""
    reason: str
    since: float
    """Since when: seconds since 1970."""


class Stage:
    """One product of the rehearsal. Raises NotDeployed where it is not up."""

    deployed: Deployed

    def __init__(self, rehearsal: Rehearsal, stack: str = STACK) -> None:
        self.rehearsal, self.stack = rehearsal, stack
        self.look_again()

    def look_again(self) -> None:
        """Find the emulator and what the stack exports: both are others after an `up`. Raises NotDeployed."""
        self.deployed = reach(self.stack)
        if "endpoint_name" not in self.deployed.outputs:
            raise NotDeployed(f"{self.stack} has no endpoint yet: `slipway up local` brings it to where it serves")

    # --- where things are -------------------------------------------------------------------------------------------

    @property
    def clients(self) -> Clients:
        """Clients of the emulator."""
        found = self.deployed.client
        assert isinstance(found, Clients)
        return found

    @property
    def outputs(self) -> Mapping[str, Any]:
        """What the stack exports."""
        return self.deployed.outputs

    @property
    def endpoint(self) -> str:
        """The endpoint's name; its alarms' names begin with it."""
        return str(self.outputs["endpoint_name"])

    @property
    def incidents_uri(self) -> str:
        """The folder of the endpoint's incidents."""
        return incidents.folder(self.deployed)

    # --- how it is --------------------------------------------------------------------------------------------------

    def alarms(self) -> dict[str, Alarm]:
        """The alarms, by their names without the endpoint's."""
        pages = (
            self.clients("cloudwatch").get_paginator("describe_alarms").paginate(AlarmNamePrefix=f"{self.endpoint}-")
        )
        found = [alarm for page in pages for alarm in page["MetricAlarms"]]
        cut = len(self.endpoint) + 1
        return {
            each["AlarmName"][cut:]: Alarm(
                each["StateValue"], each.get("StateReason", ""), each["StateUpdatedTimestamp"].timestamp()
            )
            for each in found
        }

    def ringing(self) -> set[str]:
        """The alarms that ring."""
        return {name for name, alarm in self.alarms().items() if alarm.state == "ALARM"}

    def live(self) -> str:
        """The ARN of the version that serves."""
        return live_package(self.clients("sagemaker"), self.endpoint)

    def status(self) -> str:
        """The endpoint's."""
        return str(self.clients("sagemaker").describe_endpoint(EndpointName=self.endpoint)["EndpointStatus"])

    def is_idle(self) -> bool:
        """Whether nothing is open, and nothing trains."""
        runs = self.clients("sagemaker").list_pipeline_executions(PipelineName=self.outputs["pipeline_name"])
        trains = any(each["PipelineExecutionStatus"] == "Executing" for each in runs["PipelineExecutionSummaries"])
        return not trains and not any(incident.status == "open" for incident in self.incidents())

    def incidents(self) -> list[Incident]:
        """The endpoint's incidents, the newest first."""
        return store.incidents(self.clients("s3"), self.incidents_uri)

    def note(self, incident: Incident) -> str:
        """An incident's note, as people read it."""
        return self.read(store.note_uri(self.incidents_uri, incident.id)).decode()

    def ledger(self, kind: str) -> list[ledger.Entry]:
        """The endpoint's entries of a kind, the oldest first."""
        found = ledger.entries(self.clients("s3"), str(self.outputs["ledger_bucket"]), self.endpoint)
        return [entry for entry in found if entry.kind == kind]

    # --- files ------------------------------------------------------------------------------------------------------

    def read(self, uri: str) -> bytes:
        """What an S3 URI holds."""
        bucket, key = location(uri)
        found: bytes = self.clients("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
        return found

    def write(self, uri: str, body: bytes) -> None:
        """Put an object there."""
        bucket, key = location(uri)
        self.clients("s3").put_object(Bucket=bucket, Key=key, Body=body)

    def up(self) -> None:
        """`slipway up local`, as a person runs it. Raises what that raises."""
        self.rehearsal.up(stacks_of([ENVIRONMENT]))
        self.look_again()

    # --- the emulator -----------------------------------------------------------------------------------------------

    def pace(self, second: float) -> None:
        """Let schedules and alarm periods pass quicker: their second takes so many real ones."""
        self._ask("pace", {"second": second})

    def clock(self) -> float:
        """What the clock of schedules and alarm periods shows, in its seconds. Raises OSError where nobody answers."""
        return float(self._ask("pace", {})["shown"])

    def answers(self) -> bool:
        """Whether the emulator does."""
        try:
            return "instance" in self._ask("health", {})
        except (OSError, ValueError):
            return False

    def _ask(self, path: str, request: Mapping[str, Any]) -> dict[str, Any]:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        url = f"{self.clients.endpoint}/_slipway/{path}"
        with opener.open(url, json.dumps(request).encode(), timeout=ANSWER_SECONDS) as answer:
            found: dict[str, Any] = json.load(answer)
            return found
