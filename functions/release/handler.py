"""The Lambda functions of a release: `step` changes the endpoint, `verify` only looks at a version."""

import json
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final

import boto3

from functions import ledger
from functions.live import NothingLive, live_package
from functions.registry import sign
from functions.registry import verify as registry
from functions.registry.sign import CannotBeSigned
from functions.registry.verify import NotReleasable
from functions.release import steps
from functions.release.steps import Place, Refused, Release

STEPS: Final[Mapping[str, Callable[[Release, Place], Release]]] = {
    step.__name__: step
    for step in (
        steps.lock,
        steps.ready,
        steps.model,
        steps.configuration,
        steps.update,
        steps.look,
        steps.check,
        steps.record,
        steps.tell,
        steps.failed,
    )
}


def step(event: Mapping[str, Any], context: object) -> Release:
    """One step: `event` has its name, the execution, when that started, and the release as it stands.

    Or EventBridge tells that an execution was stopped from outside, or ran out of time.
    """
    if "detail-type" in event:
        event = _stopped(event["detail"])
    return STEPS[event["step"]](event["release"], _place(event))


def _stopped(detail: Mapping[str, Any]) -> dict[str, Any]:
    """The last step of an execution that could not take it itself."""
    reason = f"the release was {detail['status'].lower().replace('_', ' ')}: {detail.get('cause') or 'nobody said why'}"
    asked = json.loads(detail["input"])
    return {
        "step": "failed",
        "execution": detail["executionArn"],
        "started": ledger.stamp(datetime.fromtimestamp(detail["startDate"] / 1000, UTC)),
        "release": {
            **asked,
            "template": {"endpoint": os.environ["ENDPOINT"]},
            "error": {"Error": detail["status"], "Cause": json.dumps({"errorMessage": reason})},
        },
    }


@cache
def _client(service: str) -> Any:
    """One for all runs of a warm function: to make eight of them takes longer than most steps."""
    return boto3.client(service)  # type: ignore[call-overload]  # the service is chosen here


def _place(event: Mapping[str, Any]) -> Place:
    return Place(
        endpoint=os.environ["ENDPOINT"],
        execution=event["execution"],
        started=ledger.stamp(ledger.moment(event["started"])),
        sagemaker=_client("sagemaker"),
        cloudwatch=_client("cloudwatch"),
        scaling=_client("application-autoscaling"),
        s3=_client("s3"),
        sns=_client("sns"),
        states=_client("stepfunctions"),
        ledger_bucket=os.environ["LEDGER_BUCKET"],
        cloudtrail=_client("cloudtrail"),
        incidents_uri=os.environ["INCIDENTS_URI"],
        reports_uri=os.environ["REPORTS_URI"],
        topic_arn=os.environ["TOPIC_ARN"],
        runbook=os.environ["RUNBOOK"],
        runbook_name=os.environ["RUNBOOK_NAME"],
    )


def verify(event: Mapping[str, Any], context: object) -> Release:
    """The release with its `evidence`. Raises NotReleasable.

    A new version has to be approved. One that was live before, or is now, was: of that the signature is checked, and
    that it is what was signed.
    """
    release: Release = event["release"]
    clients = {name: _client(name) for name in ("sagemaker", "s3", "kms", "ecr")}
    bucket, endpoint, key = os.environ["LEDGER_BUCKET"], os.environ["ENDPOINT"], os.environ["SIGNING_KEY_ARN"]
    package = release["model_package_arn"]
    if release.get("rollback") or release.get("refresh"):
        evidence = _as_before(package, endpoint, bucket, key, clients)
    else:
        evidence = registry.verify(
            package,
            key_arn=key,
            gate=json.loads(os.environ["GATE"]),
            ledger_bucket=bucket,
            endpoint=endpoint,
            **clients,
        ).to_dict()
    return {**release, "evidence": evidence}


def _as_before(package: str, endpoint: str, bucket: str, key: str, clients: Mapping[str, Any]) -> dict[str, Any]:
    """The evidence with which a version went live before, once its signature still fits."""
    periods = ledger.periods(ledger.entries(clients["s3"], bucket, endpoint))
    earlier = [period for period in periods if period.package_arn == package]
    if not earlier and package != _live(clients["sagemaker"], endpoint):
        raise Refused(f"{package} was never live on {endpoint}: release it, and do not roll back to it")
    described = clients["sagemaker"].describe_model_package(ModelPackageName=package)
    uri = described.get("CustomerMetadataProperties", {}).get(sign.SIGNATURE)
    if not uri:
        raise NotReleasable(f"{package} is not signed")
    try:
        document = json.loads(sign.read(clients["s3"], uri))
        signed = registry.check(document, kms=clients["kms"], key_arn=key)
        seen = sign.observe(described, s3=clients["s3"], ecr=clients["ecr"])
    except CannotBeSigned as error:
        raise NotReleasable(f"what was signed of {package} is not there any more: {error}") from error
    if seen != signed:
        raise NotReleasable(f"{package} is not what was signed: it was altered since")
    before = dict(earlier[-1].evidence) if earlier else {}
    return {**before, "package_arn": package, "key_arn": key, "verified_at": ledger.now()}


def _live(sagemaker: Any, endpoint: str) -> str:
    try:
        return live_package(sagemaker, endpoint)
    except NothingLive:
        return ""
