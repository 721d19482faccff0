"""A retraining from the command line: ask for one, or let one go on that is held; follow it, and say how it ended."""

import json
import uuid
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from functions.incidents import store
from functions.incidents.core import Incident
from infra.incidents import folder
from infra.reach import Deployed
from infra.releases import states_of

OUTPUT: Final = "recovery_state_machine_arn"
DOING: Final = {
    "Guard": "looks whether a training may be started now",
    "Newest data": "makes a data set of the newest labels",
    "Inspect": "looks whether the new data are to be trusted",
    "Train": "trains",
    "Challenge": "compares the new version with the one that serves, on the newest held-out rows",
    "Judge": "rejects the new version, or offers it",
    "Failed": "failed: writes down why",
}


class NotRetrained(Exception):
    """A retraining could not be asked for, or not be followed: the text says why."""


@dataclass(frozen=True, kw_only=True)
class Retrained:
    """How a retraining ended."""

    stack: str
    incident: str
    offered: bool
    """Whether there is a version that only waits for its approval."""
    outcome: str
    """What became of it, as `offers version 4` or `is not retrained`."""
    done: Sequence[str]
    needs: Sequence[str]
    execution: str

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)

    def lines(self) -> list[str]:
        """To read in a terminal."""
        told = [f"{self.stack} {self.outcome} (incident {self.incident})"]
        return [*told, *(f"done: {each}" for each in self.done), *(f"needed of you: {each}" for each in self.needs)]


def retrain(
    deployed: Deployed,
    *,
    confirm: str | None = None,
    why: str = "",
    memory: Literal["all", "recent"] = "all",
    say: Callable[[str], None] = lambda text: None,
) -> Retrained:
    """Ask a product's recovery for a retraining, or let the one go on that an incident holds. Raises NotRetrained.

    `memory`: train on all labels, or only on those that the version that serves has not seen.
    """
    if confirm and not why:
        raise NotRetrained("say why the data may be learnt from: --why")
    stack, states = deployed.settings.stack, deployed.client("stepfunctions")
    asked = {"confirm": confirm} if confirm else {"retrain": True, "memory": memory}
    by = deployed.client("sts").get_caller_identity()["Arn"]
    execution = states.start_execution(
        stateMachineArn=deployed.output(OUTPUT),
        name=f"{'confirm' if confirm else 'retrain'}-{uuid.uuid4()}",
        input=json.dumps({**asked, "by": by, "why": why}),
    )["executionArn"]
    for state in states_of(states, execution):
        if state in DOING:
            say(f"{stack} {DOING[state]}")
    ended = states.describe_execution(executionArn=execution)
    incident = _incident(deployed, execution, confirm)
    if ended["status"] != "SUCCEEDED":
        cause = ended.get("cause") or f"the execution {execution} is {ended['status']}"
        where = f" (incident {incident.id})" if incident else ""
        raise NotRetrained(f"{stack}: {cause}{where}")
    assert incident
    told = json.loads(ended["output"])
    return Retrained(
        stack=stack,
        incident=incident.id,
        offered=bool(told.get("better")),
        outcome=str(told.get("outcome", "is not retrained")),
        done=incident.done,
        needs=incident.needs,
        execution=execution,
    )


def _incident(deployed: Deployed, execution: str, confirmed: str | None) -> Incident | None:
    """The incident that an execution is about; None where it was refused before there was one."""
    s3, uri = deployed.client("s3"), folder(deployed)
    if confirmed:
        known = [each for each in store.incidents(s3, uri) if each.id == confirmed]
    else:
        known = [each for each in store.incidents(s3, uri) if each.token == execution]
    return known[0] if known else None
