"""The pipeline's last step: complete what was registered with a model card, and sign it.

Its role is the only one that may sign. It runs again without harm as long as nobody has decided on the version.
"""

import json
import os
import re
import time
from collections.abc import Mapping
from typing import Any, Final

import boto3

from functions import ledger
from functions.registry import card, sign
from functions.registry.verify import NotReleasable, check, same_person, starter

WAIT_SECONDS: Final = 50.0
"""How long SageMaker may take to look at a new package; usually seconds."""
MOST_PROPERTIES: Final = 50
LONGEST_VALUE: Final = 256
FORBIDDEN: Final = re.compile(r"[^\w .:/=+\-@]")
"""What SageMaker does not take in a metadata property."""
TAKEN: Final = ("author", "run", "dataset", "dataset_sha256", "code_revision", "configuration_hash", "release_notes")
"""What the event may say that the package's metadata do not say yet."""


class CannotComplete(Exception):
    """A version cannot be completed: the text says why, and what to register it with."""


def handler(event: Mapping[str, Any], context: object) -> dict[str, str]:
    """Complete one version.

    `event`: {"model_package_arn", "author", "evaluation": the S3 URI of evaluation.json, "baseline": that of
    baseline.json, "release_notes", "hyperparameters": {…}, "metadata": {…}}. Files that are not next to the model yet
    are copied there; what the package's metadata say already may be left out.
    """
    return complete(
        event,
        sagemaker=boto3.client("sagemaker"),
        s3=boto3.client("s3"),
        kms=boto3.client("kms"),
        ecr=boto3.client("ecr"),
        key_arn=os.environ["SIGNING_KEY_ARN"],
        ledger_bucket=os.environ["LEDGER_BUCKET"],
        endpoint=os.environ["ENDPOINT"],
        use=json.loads(os.environ["CARD"]),
    )


def complete(
    event: Mapping[str, Any],
    *,
    sagemaker: Any,
    s3: Any,
    kms: Any,
    ecr: Any,
    key_arn: str,
    ledger_bucket: str,
    endpoint: str,
    use: Mapping[str, str],
) -> dict[str, str]:
    """Fill the card of a version and sign it. Returns where both are."""
    arn = event["model_package_arn"]
    package = _settled(sagemaker, arn)
    if package["ModelApprovalStatus"] != "PendingManualApproval":
        return _as_it_is(package, s3, kms, key_arn)
    for name in ("evaluation", "baseline"):
        _beside(s3, package, f"{name}.json", event.get(name))
    evaluation = json.loads(sign.read(s3, sign.beside(package, "evaluation.json")))
    image = sign.image_digest(ecr, sign.container(package)["Image"])
    metadata = _metadata(package, event, evaluation, image)
    metadata["author"] = _author({**package, "CustomerMetadataProperties": metadata}, s3, ledger_bucket, endpoint)
    where = {name: sign.beside(package, name) for name in ("signature.json", "card.json", "card.md")}
    notes = event.get("release_notes") or metadata.get("release_notes", "")
    told = card.content({**package, "CustomerMetadataProperties": metadata}, evaluation, use, notes)
    sagemaker.update_model_package(
        ModelPackageArn=arn,
        CustomerMetadataProperties={**metadata, sign.SIGNATURE: where["signature.json"]},
        ModelCard={"ModelCardContent": json.dumps(told), "ModelCardStatus": "PendingReview"},
    )
    package = sagemaker.describe_model_package(ModelPackageName=arn)
    document = sign.sign(sign.observe(package, s3=s3, ecr=ecr), kms=kms, key_arn=key_arn)
    title = f"{package['ModelPackageGroupName']}, version {package['ModelPackageVersion']}"
    _put(s3, where["card.json"], json.dumps(told, indent=1), "application/json")
    _put(s3, where["card.md"], card.markdown(told, title), "text/markdown")
    _put(s3, where["signature.json"], json.dumps(document, indent=1), "application/json")
    return {"model_package_arn": arn, "signature": where["signature.json"], "card": where["card.md"]}


def _settled(sagemaker: Any, arn: str) -> dict[str, Any]:
    """A package's description, once SageMaker has looked at it."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        package: dict[str, Any] = sagemaker.describe_model_package(ModelPackageName=arn)
        status = package["ModelPackageStatus"]
        if status == "Completed":
            return package
        if status == "Failed" or time.monotonic() > deadline:
            raise CannotComplete(f"{arn} is {status}: {package.get('ModelPackageStatusDetails')}")
        time.sleep(1)


def _as_it_is(package: Mapping[str, Any], s3: Any, kms: Any, key_arn: str) -> dict[str, str]:
    """What a version that was decided on has already. Signing it anew would take its approval away."""
    arn, uri = package["ModelPackageArn"], package.get("CustomerMetadataProperties", {}).get(sign.SIGNATURE)
    try:
        check(json.loads(sign.read(s3, uri)) if uri else {}, kms=kms, key_arn=key_arn)
    except (NotReleasable, sign.CannotBeSigned, ValueError) as error:
        raise CannotComplete(
            f"{arn} was {package['ModelApprovalStatus']} before it was complete ({error}): set it to "
            "PendingManualApproval, complete it, and let it be approved again"
        ) from error
    return {"model_package_arn": arn, "signature": uri, "card": sign.beside(package, "card.md")}


def _beside(s3: Any, package: Mapping[str, Any], name: str, given: str | None) -> None:
    """Put a copy of a file next to the model, where everyone looks for it."""
    target = sign.beside(package, name)
    if given and given != target:
        (source_bucket, source), (bucket, key) = sign.location(given), sign.location(target)
        s3.copy_object(Bucket=bucket, Key=key, CopySource={"Bucket": source_bucket, "Key": source})


def _metadata(
    package: Mapping[str, Any], event: Mapping[str, Any], evaluation: Mapping[str, Any], image: str
) -> dict[str, str]:
    """A package's metadata, with what the event and the evaluation add. What it said before, it still says."""
    before: dict[str, str] = dict(package.get("CustomerMetadataProperties", {}))
    before.pop(sign.SIGNATURE, None)
    added = {name: str(event[name]) for name in TAKEN if event.get(name)}
    added |= {name: str(value) for name, value in event.get("metadata", {}).items()}
    added |= {f"{card.PARAMETER}{name}": str(value) for name, value in event.get("hyperparameters", {}).items()}
    added |= {"image_digest": image}
    added = {name: permitted(value) for name, value in added.items()}
    differ = [
        f"{name} is {before[name]!r} in the registry, and {added[name]!r} now"
        for name in added
        if before.get(name) and before[name] != added[name]
    ]
    if differ:
        raise CannotComplete(f"{package['ModelPackageArn']} says otherwise: {'; '.join(differ)}")
    measured = {name: f"{value:.6g}" for name, value in evaluation["metrics"].items()}
    metadata = {**measured, **added, **before}
    if len(metadata) >= MOST_PROPERTIES:
        raise CannotComplete(
            f"{len(metadata)} metadata properties and the signature are more than SageMaker's {MOST_PROPERTIES}: "
            "register fewer hyperparameters or metrics"
        )
    return metadata


def _author(package: Mapping[str, Any], s3: Any, ledger_bucket: str, endpoint: str) -> str:
    """Who had a version trained: as it was registered, unless CloudTrail knows better or contradicts."""
    told: str = package["CustomerMetadataProperties"].get("author", "")
    started = starter(ledger.entries(s3, ledger_bucket, endpoint), package)
    if not told.startswith("arn:"):
        if started is None:
            raise CannotComplete(
                "nobody knows yet who had it trained: SageMaker does not say, and CloudTrail tells within 15 minutes. "
                "Complete it again then"
            )
        return started
    if started and not same_person(told, started):
        raise CannotComplete(f"it is registered as made by {told}, and {started} started the pipeline that made it")
    return told


def permitted(text: str) -> str:
    """A text as a metadata property takes it: without most punctuation, and not too long. The card has it whole."""
    return FORBIDDEN.sub(" ", text)[:LONGEST_VALUE]


def _put(s3: Any, uri: str, text: str, kind: str) -> None:
    bucket, key = sign.location(uri)
    s3.put_object(Bucket=bucket, Key=key, Body=text.encode(), ContentType=kind)
