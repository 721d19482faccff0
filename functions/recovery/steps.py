"""The steps of a recovery: an alarm opens an incident or joins one, it is decided on, and what was decided is done.

Each takes the recovery as it stands (a JSON object) and returns it, with what it found; components/recovery.py says
what comes after what. Each step may run twice: what is done already is not done again.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from botocore.exceptions import ClientError

from functions import ledger
from functions.incidents import store, timeline
from functions.incidents.core import Event, Incident
from functions.recovery.core import Alarm, Kind, Limits, decide, incident_of, is_thin, kind_of
from functions.recovery.evidence import Sources, gather, ringing

Recovery = dict[str, Any]

FROM_RELEASES: Final = ("service", "world", "quality")
"""The kinds that a release may have caused, so that nothing is decided while one is under way."""
CHANGING: Final = ("Updating", "SystemUpdating", "RollingBack", "Creating")
THIN_SECONDS: Final = 120
"""For how long after its alarm a version is given to be asked by enough to tell whether it is worse."""
RETRAINING: Final = "retraining"
"""The kind of an incident that no alarm has opened, but a person who asks for a retraining."""
URGENT: Final = ("roll-back", "stop")
"""What is done before anything else is asked, such as CloudTrail, which takes its time."""
NEXT_STEP: Final[Mapping[Kind, str]] = {
    "service": "`slipway history {endpoint}` and its log: is it one caller's input, or every request?",
    "data": "`slipway monitor show {endpoint} data`: which columns are broken; tell those who send them.",
    "world": "`slipway monitor show {endpoint} data`: what moved, and whether labels of it are there to train on.",
    "quality": "`slipway monitor show {endpoint} quality`: since when the answers are worse, and for whom.",
    "stale": "`slipway monitor show {endpoint} freshness`: what was delivered last, and by whom.",
    "cost": "`slipway stop {endpoint}`: what runs, and what the switch may stop of it.",
    "idle": "`slipway stop {endpoint}`: what runs unused; delete it, or make it smaller.",
    "monitor": "`slipway up STACK` brings back what is gone; the monitor's log says what fails.",
}
"""What a person does first, by what the alarm says."""


class NotPossible(Exception):
    """Something that was asked for cannot be done: the text says why, and what would change that."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a recovery runs, and with what. Clients are boto3's."""

    execution: str
    """Its ARN."""
    sources: Sources
    incidents_uri: str
    """One endpoint's folder: `s3://bucket/product/incidents/endpoint`."""
    topic_arn: str
    runbook: str
    limits: Limits
    settle_seconds: int
    """For how long an alarm may still ring after what was done about it."""
    release_machine_arn: str
    stop_function: str
    states: Any
    functions: Any
    sns: Any
    cloudtrail: Any = None
    """None: it is not asked who changed what."""
    runbook_name: str = ""
    """The dashboard that the runbook is."""

    @property
    def endpoint(self) -> str:
        """The endpoint's name."""
        return self.sources.endpoint

    @property
    def id(self) -> str:
        """The execution's name."""
        return self.execution.rpartition(":")[2]

    def say(
        self,
        recovery: Recovery,
        *,
        event: str = "",
        done: Sequence[str] = (),
        needs: Sequence[str] | None = None,
        **more: Any,
    ) -> Incident:
        """Write to the incident."""
        events = [Event(at=ledger.now(), what=event, source="recovery")] if event else []
        return store.add(
            self.sources.s3, self.incidents_uri, recovery["incident"], events=events, done=done, needs=needs, **more
        )

    def gather(self, recovery: Recovery) -> Incident:
        """Add to the incident what is known by now: what happened when, what moved first, the runbook's next step."""
        known = timeline.Sources(
            endpoint=self.endpoint,
            alarms=self.sources.alarms,
            cloudwatch=self.sources.cloudwatch,
            cloudtrail=self.cloudtrail,
            s3=self.sources.s3,
            ledger_bucket=self.sources.ledger_bucket,
            reports_uri=self.sources.reports_uri,
        )
        uri, name = self.incidents_uri, str(recovery["incident"])
        return timeline.enrich(self.sources.s3, uri, name, known, runbook=self.runbook_name)

    def tell(self, subject: str, incident: Incident) -> None:
        """Tell people, on the topic of alerts."""
        lines = [incident.what, "", f"Decided: {incident.decision}: {incident.why}"]
        lines += [f"Done: {each}" for each in incident.done]
        lines += [f"Needed of you: {each}" for each in incident.needs]
        lines += [f"Moved first: {each.name}: {each.detail}" for each in incident.moved[:3]]
        lines += [f"Next step: {incident.next_step}"] if incident.next_step else []
        note = store.note_uri(self.incidents_uri, incident.id)
        lines += ["", f"Incident {incident.id}: {note}", f"Runbook: {self.runbook}"]
        self.sns.publish(TopicArn=self.topic_arn, Subject=f"{self.endpoint}: {subject}"[:100], Message="\n".join(lines))


# --- an alarm, or a person --------------------------------------------------------------------------------------------


def open(event: Recovery, at: Place) -> Recovery:
    """Open an incident for an alarm that rings, or join the one that is open; close nothing, but note what is quiet.

    `next` says what follows: look, guard (a person asks for a retraining, or lets one go on), or nothing.
    """
    if "confirm" in event:
        return _let_go_on(event, at)
    if "retrain" in event:
        return _asked_for(event, at)
    detail = event["detail"]
    name, state = str(detail["alarmName"]), detail["state"]
    kind = kind_of(at.endpoint, name)
    if kind is None:
        return {"next": "nothing", "why": f"nothing is decided on {name}"}
    alarm = Alarm(
        name=name, kind=kind, reason=str(state.get("reason", "")), at=ledger.stamp(ledger.moment(state["timestamp"]))
    )
    if state["value"] != "ALARM":
        return {"next": "nothing", "why": _quiet(alarm, at)}
    incident, new = store.open(
        at.sources.s3,
        at.incidents_uri,
        Incident(
            endpoint=at.endpoint,
            kind=incident_of(at.endpoint, name) or kind,
            opened=alarm.at,
            what=_meaning(detail) or f"{name} rings",
            alarm=name,
            timeline=[Event(at=alarm.at, what=f"{name} rings: {alarm.reason}", source="alarm")],
            next_step=NEXT_STEP[kind].format(endpoint=at.endpoint),
            runbook=at.runbook,
            token=at.execution,
        ),
    )
    mine = new or incident.token == at.execution
    return {
        "incident": incident.id,
        "alarm": asdict(alarm),
        "next": "look" if mine else "nothing",
        "why": "" if mine else f"incident {incident.id} is open, and this is part of it",
    }


def _meaning(detail: Mapping[str, Any]) -> str:
    """What an alarm means, as its description says it before it goes on to what is to be done."""
    said = str((detail.get("configuration") or {}).get("description") or "")
    return said.partition(" What to do: ")[0].strip().removesuffix(".")


def _quiet(alarm: Alarm, at: Place) -> str:
    """An alarm rings no longer: an incident recovers once none of its kind does."""
    kind = incident_of(at.endpoint, alarm.name)
    still = [each.name for each in ringing(at.sources) if incident_of(at.endpoint, each.name) == kind]
    told = []
    for incident in store.incidents(at.sources.s3, at.incidents_uri):
        if incident.kind != kind or incident.status != "open":
            continue
        event = Event(at=alarm.at, what=f"{alarm.name} is quiet: {alarm.reason}", source="alarm")
        status: Any = {} if still else {"status": "recovered", "recovered": alarm.at}
        store.add(at.sources.s3, at.incidents_uri, incident.id, events=[event], **status)
        told.append(incident.id)
    return f"{alarm.name} is quiet: {', '.join(told) or 'no incident was open'}"


def _let_go_on(event: Recovery, at: Place) -> Recovery:
    """A person has looked at what was held, and lets it go on."""
    if not event.get("why"):
        raise NotPossible("say why it may go on: --why")
    incident = store.load(at.sources.s3, at.incidents_uri, event["confirm"])
    held = incident.evidence.get("held")
    if not held:
        raise NotPossible(f"nothing of incident {incident.id} is held: there is nothing to confirm")
    if incident.status == "closed":
        raise NotPossible(f"incident {incident.id} is closed: ask for a retraining anew")
    what = f"{event.get('by', 'somebody')} lets the retraining go on: {event['why']}"
    recovery = {"incident": incident.id, "next": "guard", "confirmed": held, "memory": incident.evidence.get("memory")}
    events = [Event(at=ledger.now(), what=what, source="person")]
    store.add(at.sources.s3, at.incidents_uri, incident.id, events=events, needs=())
    return recovery


def _asked_for(event: Recovery, at: Place) -> Recovery:
    """A person asks for a retraining: all guards apply."""
    by, why = str(event.get("by", "somebody")), str(event.get("why") or "asked for by hand")
    now = ledger.now()
    incident, new = store.open(
        at.sources.s3,
        at.incidents_uri,
        Incident(
            endpoint=at.endpoint,
            kind=RETRAINING,
            opened=now,
            what=f"{by} asks for a retraining",
            decision="retrain",
            why=why,
            timeline=[Event(at=now, what=f"{by} asks for a retraining: {why}", source="person")],
            runbook=at.runbook,
            token=at.execution,
        ),
    )
    if not new and incident.token != at.execution:
        raise NotPossible(f"a retraining was asked for already, and incident {incident.id} is open: see to that first")
    return {"incident": incident.id, "next": "guard", "memory": event.get("memory", "all")}


# --- decide -----------------------------------------------------------------------------------------------------------


def look(recovery: Recovery, at: Place) -> Recovery:
    """Gather what is known and decide. Where `ready` is false it is to be asked again: a release is under way, or one
    has ended so recently that too little is known of it."""
    alarm = Alarm(**recovery["alarm"])
    if alarm.kind in FROM_RELEASES and _releasing(at):
        if not recovery.get("waits"):
            at.say(recovery, event="a release is under way: it is waited for, as its own guard may go back")
        return {**recovery, "ready": False, "waits": True}
    evidence = gather(alarm, at.sources)
    waited = (datetime.now(UTC) - ledger.moment(alarm.at)).total_seconds()
    if is_thin(evidence, at.limits) and waited < THIN_SECONDS:
        return {**recovery, "ready": False}
    decision = decide(evidence, at.limits)
    memory = "recent" if alarm.kind == "quality" else "all"
    live = evidence.live
    at.say(
        recovery,
        event=f"decided: {decision.action}: {decision.why}",
        decision=decision.action,
        why=decision.why,
        evidence={"decided_on": decision.evidence, "memory": memory},
        **({"release": live.package_arn, "serves": live.package_arn} if live else {}),
    )
    if decision.action not in URGENT:
        at.gather(recovery)
    told = {"action": decision.action, "why": decision.why, "memory": memory}
    return {**recovery, **told, "ready": True, "predecessor": live.predecessor if live else None}


def _releasing(at: Place) -> bool:
    try:
        described = at.sources.sagemaker.describe_endpoint(EndpointName=at.endpoint)
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("ValidationException", "ResourceNotFound"):
            raise
        return False
    if described["EndpointStatus"] in CHANGING:
        return True
    running = at.states.list_executions(stateMachineArn=at.release_machine_arn, statusFilter="RUNNING", maxResults=1)
    return bool(running["executions"])


# --- go back ----------------------------------------------------------------------------------------------------------


def roll_back(recovery: Recovery, at: Place) -> Recovery:
    """Start the release of the version before, as a person's `slipway rollback` does."""
    name = f"rollback-{at.id}"[:80]
    asked = {
        "rollback": True,
        "model_package_arn": recovery["predecessor"],
        "by": at.execution,
        "reason": f"incident {recovery['incident']}: {recovery['why']}",
    }
    try:
        execution = at.states.start_execution(
            stateMachineArn=at.release_machine_arn, name=name, input=json.dumps(asked, sort_keys=True)
        )["executionArn"]
        at.say(recovery, event=f"goes back to {recovery['predecessor']}")
    except ClientError as error:
        if error.response["Error"]["Code"] != "ExecutionAlreadyExists":
            raise
        execution = f"{at.release_machine_arn.replace(':stateMachine:', ':execution:')}:{name}"
    return {**recovery, "release": execution, "back": False}


def look_back(recovery: Recovery, at: Place) -> Recovery:
    """Has it gone back?"""
    described = at.states.describe_execution(executionArn=recovery["release"])
    if described["status"] == "RUNNING":
        return {**recovery, "back": False}
    ok = described["status"] == "SUCCEEDED"
    version = recovery["predecessor"].rpartition("/")[2]
    if ok:
        told: dict[str, Any] = {
            "done": [f"went back to version {version} ({recovery['release']})"],
            "needs": ["see what was wrong with the version that was left, before it is released again"],
            "serves": recovery["predecessor"],
        }
    else:
        cause = described.get("cause") or f"the release is {described['status']}"
        told = {"needs": [f"the way back to version {version} failed: {cause}; try `slipway rollback {at.endpoint}`"]}
    at.say(recovery, event=f"the way back {'is done' if ok else 'failed'}", **told)
    return {**recovery, "back": True, "acted": ok}


# --- stop -------------------------------------------------------------------------------------------------------------


def stop(recovery: Recovery, at: Place) -> Recovery:
    """Ask the kill-switch, as the budget's own alarm does; what it may stop, and whether at all, its settings say."""
    alarm = recovery["alarm"]
    message = {"AlarmName": alarm["name"], "NewStateValue": "ALARM", "NewStateReason": alarm["reason"]}
    answer = at.functions.invoke(
        FunctionName=at.stop_function,
        Payload=json.dumps({"Records": [{"Sns": {"Message": json.dumps(message)}}]}).encode(),
    )
    told = json.load(answer["Payload"])
    if answer.get("FunctionError"):
        raise NotPossible(f"the kill-switch could not do all of it: {told.get('errorMessage', told)}")
    changed = [each["name"] for each in told["decisions"] if each["change"]]
    if not changed:
        done, needs = [], ["nothing of what runs may be stopped: see what spends, and stop it by hand"]
    elif told["act"]:
        undo = f"slipway stop {at.endpoint} --undo {told['record']} --act"
        done, needs = [f"stopped {', '.join(changed)}"], [f"find out why it spent; to put it back: `{undo}`"]
    else:
        done, needs = (
            [],
            [f"{', '.join(changed)} would be stopped (dry run): `slipway stop {at.endpoint} --act` does it"],
        )
    at.say(recovery, event="the kill-switch was asked", done=done, needs=needs)
    return {**recovery, "acted": bool(done)}


# --- tell, and see whether it helped ----------------------------------------------------------------------------------


def tell(recovery: Recovery, at: Place) -> Recovery:
    """Tell people what was decided and done. `watch` says whether the alarm ought to be quiet soon."""
    if "outcome" in recovery:
        # Nothing rings of what a person has asked for, so its end is its end, unless something is held.
        over: dict[str, Any] = {"status": "recovered"} if _is_asked_for(recovery) and not recovery.get("held") else {}
        at.say(recovery, event="people are told", **over)
        at.tell(recovery["outcome"], at.gather(recovery))
        return {**recovery, "watch": False, "again": bool(recovery.get("again")), "told": True}
    action, kind = recovery["action"], recovery["alarm"]["kind"]
    more: dict[str, Any] = {}
    if action == "page":
        more["needs"] = [NEXT_STEP[kind].format(endpoint=at.endpoint)]
    elif action == "none":
        more["done"] = [recovery["why"]]
    at.say(recovery, event="people are told", **more)
    subject = {"roll-back": "went back", "stop": "stopped", "none": "a release took itself back"}.get(
        action, "needs you"
    )
    at.tell(f"{subject} ({recovery['alarm']['name']})", at.gather(recovery))
    watch = action == "none" or bool(recovery.get("acted"))
    until = ledger.stamp(datetime.now(UTC) + timedelta(seconds=at.settle_seconds))
    return {**recovery, "watch": watch, "until": until, "settled": False, "again": False}


def _is_asked_for(recovery: Recovery) -> bool:
    return str(recovery["incident"]).startswith(f"{RETRAINING}-")


def settle(recovery: Recovery, at: Place) -> Recovery:
    """Is the alarm quiet by now? If it is not in time, what was done has not helped, and people are told."""
    alarm = recovery["alarm"]
    kind = incident_of(at.endpoint, alarm["name"])
    still = [each.name for each in ringing(at.sources) if incident_of(at.endpoint, each.name) == kind]
    if not still:
        at.say(recovery, event="nothing of it rings any more", status="recovered")
        at.gather(recovery)
        return {**recovery, "settled": True}
    if ledger.now() <= recovery["until"]:
        return {**recovery, "settled": False}
    minutes = at.settle_seconds / 60
    incident = at.say(
        recovery,
        event=f"{', '.join(still)} still rings {minutes:g} minutes after what was done about it",
        needs=[f"what was done has not helped: {', '.join(still)} still rings", recovery["why"]],
    )
    at.tell(f"still rings ({alarm['name']})", incident)
    return {**recovery, "settled": True}


def failed(recovery: Recovery, at: Place) -> Recovery:
    """A step could not be taken: it is written down, and people are told, for now nobody but they will act."""
    reason = reason_of(recovery.get("error", {}))
    if "incident" not in recovery:
        return {**recovery, "failed": reason}
    incident = at.say(
        recovery,
        event=f"the recovery failed: {reason}",
        needs=[f"the recovery itself failed ({reason}): act by hand"],
        **({"status": "recovered"} if _is_asked_for(recovery) else {}),
    )
    at.tell("its recovery failed", incident)
    return {**recovery, "failed": reason}


def reason_of(error: Mapping[str, Any]) -> str:
    """What a step's error says."""
    cause = str(error.get("Cause", ""))
    try:
        return str(json.loads(cause)["errorMessage"])
    except (ValueError, KeyError, TypeError):
        return cause or str(error.get("Error", "unknown"))
