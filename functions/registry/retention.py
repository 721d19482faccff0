"""Old versions that nobody will want again: deleted from the registry, and the ledger tells so.

A version stays for good that was ever live or is approved, and any other for some days. What it was trained into (the
archive, its baseline, its card) stays in the data lake.
"""

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
from botocore.exceptions import ClientError

from functions import ledger
from functions.ledger import Entry


def handler(event: Mapping[str, Any], context: object) -> dict[str, Any]:
    """Tidy one group. `event`: {"dry_run": true} only tells what would go."""
    told = tidy(
        os.environ["GROUP"],
        days=int(os.environ["DAYS"]),
        by=f"arn:aws:lambda:::function/{os.environ.get('AWS_LAMBDA_FUNCTION_NAME', '')}",
        dry_run=bool(event.get("dry_run")) or os.environ.get("DRY_RUN") == "true",
        sagemaker=boto3.client("sagemaker"),
        s3=boto3.client("s3"),
        ledger_bucket=os.environ["LEDGER_BUCKET"],
        endpoint=os.environ["ENDPOINT"],
    )
    print(json.dumps(told))
    return told


def tidy(
    group: str,
    *,
    days: int,
    by: str,
    dry_run: bool,
    sagemaker: Any,
    s3: Any,
    ledger_bucket: str,
    endpoint: str,
    now: datetime | None = None,
) -> dict[str, Any]:
    """Delete what is old and was never wanted. Returns {"removed": [ARN…], "kept": {ARN: why}, "dry_run"}."""
    now = now or datetime.now(UTC)
    entries = ledger.entries(s3, ledger_bucket, endpoint)
    was_live = {entry.package_arn for entry in entries if entry.kind == "live"}
    approved = {
        entry.package_arn
        for entry in entries
        if entry.kind == "approved" and ledger.moment(entry.at) > now - timedelta(days=days)
    }
    serving = _serving(sagemaker, endpoint)
    removed: list[str] = []
    kept: dict[str, str] = {}
    pages = sagemaker.get_paginator("list_model_packages").paginate(ModelPackageGroupName=group)
    for package in [each for page in pages for each in page["ModelPackageSummaryList"]]:
        arn, status = package["ModelPackageArn"], package.get("ModelApprovalStatus")
        if why := (
            "it is live" if arn in serving
            else "it was live" if arn in was_live
            else "it is approved" if status == "Approved"
            else f"it was approved less than {days} days ago" if arn in approved
            else f"it is younger than {days} days" if package["CreationTime"] > now - timedelta(days=days)
            else None
        ):  # fmt: skip
            kept[arn] = why
            continue
        if not dry_run:
            _remove(arn, package, endpoint, by, now, sagemaker, s3, ledger_bucket)
        removed.append(arn)
    return {"removed": sorted(removed), "kept": kept, "dry_run": dry_run}


def _remove(
    arn: str,
    package: Mapping[str, Any],
    endpoint: str,
    by: str,
    now: datetime,
    sagemaker: Any,
    s3: Any,
    bucket: str,
) -> None:
    """Record, then delete: nothing goes that the ledger does not tell of."""
    described = sagemaker.describe_model_package(ModelPackageName=arn)
    entry = Entry(
        kind="removed",
        endpoint=endpoint,
        package_arn=arn,
        at=ledger.stamp(now),
        by=by,
        id=f"version-{arn.rpartition('/')[2]}",
        evidence={
            "status": package.get("ModelApprovalStatus"),
            "created": ledger.stamp(package["CreationTime"]),
            "metadata": described.get("CustomerMetadataProperties", {}),
            "model": described.get("InferenceSpecification", {}).get("Containers", [{}])[0].get("ModelDataUrl"),
        },
    )
    ledger.append(s3, bucket, entry)
    sagemaker.delete_model_package(ModelPackageName=arn)


def _serving(sagemaker: Any, endpoint: str) -> set[str]:
    """The versions that an endpoint serves now, whatever the ledger says."""
    try:
        live = sagemaker.describe_endpoint(EndpointName=endpoint)
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("ValidationException", "ResourceNotFound"):
            raise
        return set()
    names = {live["EndpointConfigName"], live.get("PendingDeploymentSummary", {}).get("EndpointConfigName")} - {None}
    variants = [
        variant
        for name in names
        for key in ("ProductionVariants", "ShadowProductionVariants")
        for variant in sagemaker.describe_endpoint_config(EndpointConfigName=name).get(key, [])
    ]
    models = [sagemaker.describe_model(ModelName=each["ModelName"]) for each in variants if "ModelName" in each]
    containers = [each for model in models for each in (model.get("PrimaryContainer"), *model.get("Containers", []))]
    return {each["ModelPackageName"] for each in containers if each and "ModelPackageName" in each}
