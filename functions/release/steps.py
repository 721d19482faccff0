"""The steps of a release. Each takes the release as it stands (a JSON object) and returns it, with what it found.

A step that cannot go on raises; the state machine (components/release.py) takes every way out of every step to
`failed`. Each step may run twice: what is done already is not done again.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from botocore.exceptions import ClientError

from functions import ledger
from functions.incidents import store, timeline
from functions.ledger import Entry
from functions.live import NothingLive, live_model, live_package
from functions.release import incident, locks, naming, scaling

Release = dict[str, Any]

VARIANT: Final = "live"
WAIT_FOR_LOCK_SECONDS: Final = 6 * 3600
NOT_YET: Final = "Could not find"
"""SageMaker reads what was made a moment ago from a store that may not have it yet."""
HELD_BY_SCALING: Final = "scalable target"
"""In SageMaker's refusal to change the instance type of what autoscaling holds."""
STARTING_SECONDS: Final = 3600


class Refused(Exception):
    """A release that must not begin, or not go on; the text says why, and what would change that."""


class RolledBack(Exception):
    """The rollout did not end as asked; the version before serves. The text says what AWS gave as the reason."""


class Again(Exception):
    """Something that is there in a few seconds: try the step again."""


@dataclass(frozen=True)
class Place:
    """Where a release runs, and with what. Clients are boto3's."""

    endpoint: str
    execution: str
    """Its ARN."""
    started: str
    """ISO 8601, UTC."""
    sagemaker: Any
    cloudwatch: Any
    scaling: Any
    s3: Any
    sns: Any
    states: Any
    ledger_bucket: str
    cloudtrail: Any
    incidents_uri: str
    """Where this endpoint's incidents are: `s3://bucket/prefix/incidents/endpoint`."""
    reports_uri: str
    """`s3://bucket/prefix/monitors`."""
    topic_arn: str
    runbook: str
    """Where the runbook is, for people."""
    runbook_name: str
    """The dashboard that it is."""

    @property
    def id(self) -> str:
        """The execution's name: what a release did has this id in the ledger."""
        return self.execution.rpartition(":")[2]


def lock(release: Release, at: Place) -> Release:
    """Begin, if no other release of this endpoint runs. Where `turn` is false, it is to be asked again."""
    if release.get("rollback") and not release.get("model_package_arn"):
        # Looked up before it waits: what was asked for is the version before the one that was live then.
        release = {**release, "model_package_arn": _before(at)}
    package = str(release.get("model_package_arn", ""))
    if ":model-package/" not in package:
        raise Refused(f"{package or 'nothing'} is no model package: give its ARN as model_package_arn")
    holder = {
        "execution": at.execution,
        "model_package_arn": package,
        "by": release.get("by", ""),
        "since": ledger.now(),
    }
    other = locks.take(at.s3, at.states, at.ledger_bucket, at.endpoint, holder)
    if other is None:
        if release.get("refresh"):  # of what serves by now
            return {**release, "turn": True, "model_package_arn": live_package(at.sagemaker, at.endpoint)}
        _refuse_overtaken(at)
        return {**release, "turn": True}
    waited = (datetime.now(UTC) - ledger.moment(at.started)).total_seconds()
    told = f"{other.get('model_package_arn', '')} is being released by {other['execution']}"
    if release.get("wait") is False:
        raise Refused(f"{told} since {other.get('since')}: ask again once that has ended")
    if waited > WAIT_FOR_LOCK_SECONDS:
        raise Refused(f"{told}, and has not ended for {WAIT_FOR_LOCK_SECONDS // 3600} hours: see what holds it up")
    return {**release, "turn": False, "waits_for": other}


def _before(at: Place) -> str:
    """The version that was live before the one that is."""
    try:
        current = live_package(at.sagemaker, at.endpoint)
    except NothingLive as error:
        raise Refused(str(error)) from error
    before = ledger.before(ledger.periods(ledger.entries(at.s3, at.ledger_bucket, at.endpoint)), current)
    if before is None:
        raise Refused(f"{at.endpoint} has served no version before {current}: there is none to go back to")
    return before


def _refuse_overtaken(at: Place) -> None:
    """Of two releases that waited, the one that was asked for last has the last word."""
    for period in ledger.periods(ledger.entries(at.s3, at.ledger_bucket, at.endpoint)):
        if str(period.evidence.get("started_at", "")) > at.started and period.release != at.id:
            raise Refused(
                f"{period.package_arn} was asked for later, and is live already: release this version again if it is "
                "the one you want"
            )


def ready(release: Release, at: Place) -> Release:
    """Is the endpoint in service and at peace? Says what serves now."""
    described = _endpoint(at)
    status = described["EndpointStatus"]
    if status != "InService":
        raise Refused(f"endpoint {at.endpoint} is {status}: wait until it is in service, then release again")
    ringing = _ringing(release, at)
    if ringing and not (release.get("force") or release.get("rollback")):
        raise Refused(
            f"alarm {', '.join(sorted(ringing))} is in ALARM, so that SageMaker would take any change back at once: "
            "see to that first, or release with force"
        )
    try:
        package = live_package(at.sagemaker, at.endpoint)
    except NothingLive:
        package = ""
    previous = {"configuration": described["EndpointConfigName"], "model_package_arn": package}
    if package and not ledger.periods(ledger.entries(at.s3, at.ledger_bucket, at.endpoint)):
        _remember_first(described, package, at)
    return _said({**release, "previous": previous}, f"{package or 'no known version'} serves")


def _remember_first(described: Mapping[str, Any], package: str, at: Place) -> None:
    """The version that the endpoint was made with, for the ledger: no release brought it."""
    evidence = {"configuration": described["EndpointConfigName"], "reason": "the endpoint was made with it"}
    created = ledger.stamp(described["CreationTime"])
    first = f"made-{at.endpoint}"
    ledger.append(
        at.s3,
        at.ledger_bucket,
        Entry(
            kind="live", endpoint=at.endpoint, package_arn=package, at=created, by="pulumi", id=first, evidence=evidence
        ),
    )


def model(release: Release, at: Place) -> Release:
    """Make the version's model (and its shadow's), where it is not there yet."""
    template = release["template"]
    for package in filter(None, (release["model_package_arn"], template.get("shadow_package_arn"))):
        _once(lambda made: at.sagemaker.create_model(**made), naming.model(template, package), template)
    return {**release, "model": naming.model(template, release["model_package_arn"])["ModelName"]}


def configuration(release: Release, at: Place) -> Release:
    """Make the version's endpoint configuration, where it is not there yet."""
    made = naming.configuration(release["template"], release["model_package_arn"])
    _once(lambda made: at.sagemaker.create_endpoint_config(**made), made, release["template"])
    return {**release, "configuration": made["EndpointConfigName"]}


def _once(create: Callable[[dict[str, Any]], Any], made: dict[str, Any], template: Mapping[str, Any]) -> None:
    """Create what has this name, if nothing has: the same name is the same content."""
    tags = [{"Key": key, "Value": value} for key, value in sorted(template.get("tags", {}).items())]
    try:
        create({**made, **({"Tags": tags} if tags else {})})
    except ClientError as error:
        said = error.response["Error"]["Message"]
        if "already exist" in said:
            return
        if "Could not access model data" in said or NOT_YET in said:
            raise Again(said) from error  # A right, or a model, that is a few seconds old.
        raise


def update(release: Release, at: Place) -> Release:
    """Ask SageMaker for the change."""
    limit = _limit(release["template"])
    deadline = ledger.stamp(datetime.fromtimestamp(time.time() + limit, UTC))
    release = {**release, "deadline": deadline, "settled": False}
    described = _endpoint(at)
    pending = described.get("PendingDeploymentSummary", {}).get("EndpointConfigName")
    if release["configuration"] in (described["EndpointConfigName"], pending):
        return _component(release, at) if _has_component(release) else {**release, "phase": "endpoint"}
    return _said(_update_endpoint({**release, "phase": "endpoint"}, at), f"moves to {release['configuration']}")


def _update_endpoint(release: Release, at: Place) -> Release:
    wanted: dict[str, Any] = {
        "EndpointName": at.endpoint,
        "EndpointConfigName": release["configuration"],
        # Without it, the live number of instances and the live weights go back to what the configuration says.
        "RetainAllVariantProperties": True,
    }
    deployment = _deployment(release)
    if deployment and not _has_component(release):
        wanted["DeploymentConfig"] = deployment
    try:
        _update(at, wanted)
    except ClientError as error:
        if HELD_BY_SCALING not in error.response["Error"]["Message"]:
            raise
        resource = f"endpoint/{at.endpoint}/variant/{VARIANT}"
        kept = scaling.take_away(at.scaling, at.cloudwatch, resource)
        if kept is None:
            raise
        try:
            _update(at, wanted)
        except BaseException:
            scaling.put_back(at.scaling, at.cloudwatch, kept)
            raise
        return {**release, "scaling": kept}
    return release


def _update(at: Place, wanted: Mapping[str, Any]) -> None:
    try:
        at.sagemaker.update_endpoint(**wanted)
    except ClientError as error:
        if NOT_YET in error.response["Error"]["Message"]:
            raise Again(error.response["Error"]["Message"]) from error
        raise


def _deployment(release: Release) -> dict[str, Any] | None:
    """How the change is made. A way back is at once, and no alarm stops it: the one that rings is why it is wanted."""
    deployment = release["template"].get("deployment")
    if deployment is None:
        return None
    if release.get("rollback"):
        if _has_component(release):
            batch = {"Type": "CAPACITY_PERCENT", "Value": 50}
            return {"RollingUpdatePolicy": {"MaximumBatchSize": batch, "WaitIntervalInSeconds": 0}}
        routing = {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 0}
        return {"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": routing}}
    found = dict(deployment)
    if release.get("force"):
        found.pop("AutoRollbackConfiguration", None)
    return found


def _has_component(release: Release) -> bool:
    return bool(release["template"]["kind"] == "inference-component")


def _component(release: Release, at: Place) -> Release:
    """The second half for inference components: their model is the component's, not the endpoint's."""
    release = {**release, "phase": "component"}
    described = at.sagemaker.describe_inference_component(InferenceComponentName=at.endpoint)
    wanted = {**release["template"]["component"], "ModelName": release["model"]}
    if described["Specification"].get("ModelName") == release["model"] and not release.get("refresh"):
        return release
    at.sagemaker.update_inference_component(
        InferenceComponentName=at.endpoint, Specification=wanted, DeploymentConfig=_deployment(release)
    )
    return _said(release, f"the component moves to {release['model']}")


def look(release: Release, at: Place) -> Release:
    """Has it settled? Notes every alarm that rings meanwhile."""
    seen = {**_ringing(release, at), **release.get("alarms_seen", {})}
    release = {**release, "alarms_seen": seen}
    if release["phase"] == "component":
        described = at.sagemaker.describe_inference_component(InferenceComponentName=at.endpoint)
        status, settled = described["InferenceComponentStatus"], {"InService", "Failed"}
    else:
        described = _endpoint(at)
        status, settled = described["EndpointStatus"], {"InService", "Failed", "UpdateRollbackFailed", "OutOfService"}
    if status not in settled:
        if ledger.now() > release["deadline"]:
            raise RolledBack(f"{at.endpoint} is still {status}, longer than a rollout may take: see what holds it up")
        return _said(release, status) if release.get("status") != status else release
    release = {**release, "status": status, "failure": described.get("FailureReason", "")}
    if release["phase"] == "endpoint" and _has_component(release) and _is_live(release, described):
        return _component(release, at)
    return _baked(release, at, _is_live(release, described))


def _baked(release: Release, at: Place, live: bool) -> Release:
    """Where SageMaker has no guard of its own (serverless), watch the alarms here, and go back if one rings."""
    bake = release["template"].get("bake_seconds", 0)
    guarded = release["template"].get("deployment") is not None
    if guarded or not live or not bake or release.get("rollback") or release["phase"] == "back":
        return {**release, "settled": True}
    until = release.get("bakes_until") or ledger.stamp(datetime.fromtimestamp(time.time() + bake, UTC))
    if release.get("alarms_seen") and not release.get("force"):
        reason = f"alarm {', '.join(sorted(release['alarms_seen']))} went off after the change"
        _update(at, {"EndpointName": at.endpoint, "EndpointConfigName": release["previous"]["configuration"]})
        return _said({**release, "phase": "back", "why_back": reason}, f"goes back: {reason}")
    return {**release, "bakes_until": until, "settled": ledger.now() >= until}


def _is_live(release: Release, described: Mapping[str, Any]) -> bool:
    return bool(described.get("EndpointConfigName") == release["configuration"])


def check(release: Release, at: Place) -> Release:
    """Is what is live what was asked for? SageMaker's "in service" alone does not say so: it is that after a rollback,
    too. Raises RolledBack."""
    release = _scaled_again(release, at)
    described = _endpoint(at)
    live, wanted = described["EndpointConfigName"], release["configuration"]
    reason = release.get("why_back") or described.get("FailureReason") or release.get("failure")
    if described["EndpointStatus"] != "InService" or live != wanted:
        raise RolledBack(
            f"{wanted} was asked for, and endpoint {at.endpoint} is {described['EndpointStatus']} with {live}: "
            f"{reason or 'SageMaker gives no reason'}"
        )
    served = live_model(at.sagemaker, at.endpoint)
    if served != release["model"]:
        raise RolledBack(f"{release['model']} was asked for, and {served} serves: {reason or 'no reason is given'}")
    return _said({**release, "status": "Live"}, "it is live")


def _scaled_again(release: Release, at: Place) -> Release:
    if release.get("scaling"):
        scaling.put_back(at.scaling, at.cloudwatch, release["scaling"])
    return {key: value for key, value in release.items() if key != "scaling"}


def record(release: Release, at: Place) -> Release:
    """Write to the ledger that it is live."""
    evidence = {
        **release.get("evidence", {}),
        "configuration": release["configuration"],
        "previous": release["previous"]["model_package_arn"],
        "reason": release.get("reason", ""),
        "asked_by": release.get("by", ""),
        "started_at": at.started,
        "rollback": bool(release.get("rollback")),
    }
    entry = Entry(
        kind="live",
        endpoint=at.endpoint,
        package_arn=release["model_package_arn"],
        at=ledger.now(),
        by=at.execution,
        id=at.id,
        evidence=evidence,
    )
    return {**release, "ledger_key": ledger.append(at.s3, at.ledger_bucket, entry)}


def tell(release: Release, at: Place) -> Release:
    """Say that it is live."""
    short, before = (_version(arn) for arn in (release["model_package_arn"], release["previous"]["model_package_arn"]))
    what = "went back to" if release.get("rollback") else "serves"
    _publish(
        at,
        f"{at.endpoint} {what} version {short}",
        f"{at.endpoint} {what} {release['model_package_arn']} since {ledger.now()}; before, it served version {before}."
        f"\nAsked for by {release.get('by', 'unknown')}: {release.get('reason', '')}",
    )
    return release


def failed(release: Release, at: Place) -> Release:
    """Record a release that did not end well, leave a note, and say so. What serves is what served before."""
    reason, what = _reason(release.get("error", {}))
    release = _scaled_again(release, at)
    live, now = _serves(at), ledger.now()
    uri = _incident(release, at, failed=now, reason=reason, live=live)
    package = str(release.get("model_package_arn") or "unknown")
    evidence = {
        "reason": reason,
        "error": what,
        "alarms": release.get("alarms_seen", {}),
        "serves": live,
        "incident": uri,
        "asked_by": release.get("by", ""),
        "started_at": at.started,
    }
    entry = Entry(
        kind="failed", endpoint=at.endpoint, package_arn=package, at=now, by=at.execution, id=at.id, evidence=evidence
    )
    ledger.append(at.s3, at.ledger_bucket, entry)
    _publish(
        at,
        f"{at.endpoint}: version {_version(package)} did not go live",
        f"{reason}\n\nServes now: {live}\nIncident note: {uri}\nRunbook: {at.runbook}",
    )
    return {**release, "failed": {"cause": f"{reason} (incident note: {uri})", "error": what, "incident": uri}}


def _incident(release: Release, at: Place, *, failed: str, reason: str, live: str) -> str:
    """Open the incident that a failed release is, with what else is known of that time. Returns its note's URI."""
    opened, _new = store.open(
        at.s3,
        at.incidents_uri,
        incident.of(
            release,
            execution=at.execution,
            started=at.started,
            failed=failed,
            reason=reason,
            live=live,
            runbook=at.runbook,
            token=at.execution,
        ),
    )
    sources = timeline.Sources(
        endpoint=at.endpoint,
        alarms=release["template"].get("alarms", []),
        cloudwatch=at.cloudwatch,
        cloudtrail=at.cloudtrail,
        s3=at.s3,
        ledger_bucket=at.ledger_bucket,
        reports_uri=at.reports_uri,
    )
    timeline.enrich(at.s3, at.incidents_uri, opened.id, sources, runbook=at.runbook_name)
    return store.note_uri(at.incidents_uri, opened.id)


def _serves(at: Place) -> str:
    try:
        return live_package(at.sagemaker, at.endpoint)
    except NothingLive as error:
        return str(error)
    except ClientError as error:
        return f"it cannot be told ({error})"


def _reason(error: Mapping[str, Any]) -> tuple[str, str]:
    """What a step's error says, and of what kind it is."""
    what, cause = str(error.get("Error", "Unknown")), str(error.get("Cause", ""))
    try:
        said = json.loads(cause)
        return str(said["errorMessage"]), str(said.get("errorType", what))
    except (ValueError, KeyError, TypeError):
        return f"{what}: {cause}" if cause else what, what


def _endpoint(at: Place) -> dict[str, Any]:
    try:
        found: dict[str, Any] = at.sagemaker.describe_endpoint(EndpointName=at.endpoint)
    except ClientError as error:
        if NOT_YET not in error.response["Error"]["Message"]:
            raise
        raise Refused(f"there is no endpoint {at.endpoint}: deploy its stack first") from error
    return found


def _ringing(release: Release, at: Place) -> dict[str, str]:
    """The alarms of the template that are in ALARM, each with its reason."""
    names = release["template"].get("alarms", [])
    if not names:
        return {}
    found = at.cloudwatch.describe_alarms(AlarmNames=names, AlarmTypes=["MetricAlarm"])["MetricAlarms"]
    return {each["AlarmName"]: each.get("StateReason", "") for each in found if each["StateValue"] == "ALARM"}


def _limit(template: Mapping[str, Any]) -> int:
    """Seconds that a rollout may take, the way back included."""
    deployment = template.get("deployment") or {}
    policy = deployment.get("BlueGreenUpdatePolicy") or deployment.get("RollingUpdatePolicy") or {}
    limit = int(policy.get("MaximumExecutionTimeoutInSeconds", STARTING_SECONDS))
    return 2 * limit + int(template.get("bake_seconds", 0))


def _said(release: Release, what: str) -> Release:
    """The release with another line in its timeline."""
    return {**release, "timeline": [*release.get("timeline", []), [ledger.now(), what]], "status": what}


def _version(package: str) -> str:
    return package.rpartition("/")[2] or "unknown"


def _publish(at: Place, subject: str, text: str) -> None:
    at.sns.publish(TopicArn=at.topic_arn, Subject=subject[:100], Message=text)
