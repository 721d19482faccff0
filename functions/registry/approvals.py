"""Who had a version trained and who approved it: what CloudTrail tells is written to the ledger.

An approval then starts the release.

Events may come twice, late and out of order. Each is a hint to look at the version as it is now.
"""

import json
import os
from collections.abc import Mapping
from typing import Any, Final

import boto3
from botocore.exceptions import ClientError

from functions import ledger
from functions.ledger import Entry
from functions.registry import sign
from functions.registry.card import STATUS
from functions.registry.verify import modified, same_person, statement_sha256

LATE_SECONDS: Final = 5.0
"""How much later than the approval's event SageMaker may say that the package was modified by it."""


def handler(event: Mapping[str, Any], context: object) -> dict[str, str]:
    """Take one EventBridge event. Returns what came of it, for the log."""
    outcome = decide(
        event["detail"],
        sagemaker=boto3.client("sagemaker"),
        s3=boto3.client("s3"),
        states=boto3.client("stepfunctions"),
        myself=boto3.client("sts").get_caller_identity()["Arn"],
        ledger_bucket=os.environ["LEDGER_BUCKET"],
        endpoint=os.environ["ENDPOINT"],
        release=os.environ.get("RELEASE_STATE_MACHINE_ARN") or None,
    )
    print(json.dumps({"event": event["detail"].get("eventID"), **outcome}))
    return outcome


def decide(
    detail: Mapping[str, Any],
    *,
    sagemaker: Any,
    s3: Any,
    states: Any,
    myself: str,
    ledger_bucket: str,
    endpoint: str,
    release: str | None,
) -> dict[str, str]:
    """Record an approval and start its release; anything else is ignored, with the reason.

    `myself` is the ARN this runs under: changes by its role, which are to the card alone, are none of the version.
    """
    asked = detail.get("requestParameters") or {}
    if detail.get("eventName") == "StartPipelineExecution" and not detail.get("errorCode"):
        start = _started(detail, endpoint)
        ledger.append(s3, ledger_bucket, start)
        return {"started": start.package_arn}
    if detail.get("eventName") != "UpdateModelPackage" or detail.get("errorCode") or "modelApprovalStatus" not in asked:
        return {"ignored": "it is no decision on a version"}
    arn = asked["modelPackageArn"]
    known = [entry for entry in ledger.entries(s3, ledger_bucket, endpoint) if entry.kind == "approved"]
    entry = next((each for each in known if each.id == detail["eventID"]), None)
    if entry is None:
        package = sagemaker.describe_model_package(ModelPackageName=arn)
        if ignored := _not_in_force(detail, package, myself):
            return {"ignored": ignored}
        _follow(sagemaker, package)
        if package["ModelApprovalStatus"] != "Approved":
            return {"rejected": arn}
        entry = _entry(detail, sagemaker.describe_model_package(ModelPackageName=arn), s3, endpoint, myself)
        ledger.append(s3, ledger_bucket, entry)
    if release is None:
        return {"approved": arn, "release": "not started: no state machine is named"}
    return {"approved": arn, "release": _start(states, release, entry)}


def _started(detail: Mapping[str, Any], endpoint: str) -> Entry:
    """Who started a training, which SageMaker itself does not tell of everybody."""
    return Entry(
        kind="started",
        endpoint=endpoint,
        package_arn=detail["responseElements"]["pipelineExecutionArn"],
        at=detail["eventTime"],
        by=caller(detail),
        id=detail["eventID"],
        evidence={"user_identity": detail["userIdentity"]},
    )


def _not_in_force(detail: Mapping[str, Any], package: Mapping[str, Any], myself: str) -> str | None:
    """Why an event does not say how the version stands now; None where it does."""
    wanted, status = detail["requestParameters"]["modelApprovalStatus"], package["ModelApprovalStatus"]
    if status != wanted:
        return f"the version is {status} by now"
    by = caller(detail)
    last = package.get("LastModifiedBy", {}).get("IamIdentity", {}).get("Arn", "")
    own = last.rpartition("/")[0] == myself.rpartition("/")[0]  # an attempt before this one
    if last and last != by and not own:
        return f"{last} changed the version after {by} decided: decide again"
    changed = ledger.moment(modified(package))
    if not own and (changed - ledger.moment(detail["eventTime"])).total_seconds() > LATE_SECONDS:
        return f"{by} changed the version at {changed:%H:%M:%S}, after the decision: decide again"
    return None


def _follow(sagemaker: Any, package: Mapping[str, Any]) -> None:
    """Let the card's status follow the version's."""
    told = package.get("ModelCard")
    status = STATUS[package["ModelApprovalStatus"]]
    if told and told.get("ModelCardStatus") not in (status, "Archived"):
        sagemaker.update_model_package(
            ModelPackageArn=package["ModelPackageArn"], ModelCard={"ModelCardStatus": status}
        )


def _entry(detail: Mapping[str, Any], package: Mapping[str, Any], s3: Any, endpoint: str, myself: str) -> Entry:
    """The approval, with what it was given to."""
    metadata = package.get("CustomerMetadataProperties", {})
    evidence: dict[str, Any] = {
        "user_identity": detail["userIdentity"],
        "description": package.get("ApprovalDescription", ""),
        "package_modified_at": modified(package),
        "recorded_by": myself,
        "author": metadata.get("author", ""),
        "by_its_author": same_person(caller(detail), metadata.get("author", "")),
    }
    if uri := metadata.get(sign.SIGNATURE):
        evidence |= {"signature": uri, "statement_sha256": statement_sha256(json.loads(sign.read(s3, uri)))}
    return Entry(
        kind="approved",
        endpoint=endpoint,
        package_arn=package["ModelPackageArn"],
        at=detail["eventTime"],
        by=caller(detail),
        id=detail["eventID"],
        evidence=evidence,
    )


def caller(detail: Mapping[str, Any]) -> str:
    """The ARN of who made a call; empty where CloudTrail knows none, as for AWS's own services."""
    return str((detail.get("userIdentity") or {}).get("arn") or "")


def _start(states: Any, release: str, entry: Entry) -> str:
    """Start the release once, however often the event comes. Returns the execution's name."""
    name = f"v{entry.package_arn.rpartition('/')[2]}-{entry.id}"[:80]
    told = {"model_package_arn": entry.package_arn, "reason": "approved", "by": entry.by}
    try:
        states.start_execution(stateMachineArn=release, name=name, input=json.dumps(told))
    except ClientError as error:
        if error.response["Error"]["Code"] != "ExecutionAlreadyExists":
            raise
    return name
