"""The versions of a product's model: what the registry and the ledger know of each, for who has to choose one."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from rich.table import Table

from functions import ledger
from functions.live import live_package
from infra.pipelines import PARAMETER
from infra.reach import Deployed

STATUS: Final = {"PendingManualApproval": "waits for approval", "Approved": "approved", "Rejected": "rejected"}
"""SageMaker's words in a user's."""


@dataclass(frozen=True)
class Version:
    """One version of the registry."""

    version: int
    package_arn: str
    made: str
    """When it was registered, ISO 8601."""
    author: str
    """Who had it trained, if that is known."""
    status: str
    approved_by: str
    """By the ledger; empty where nobody has."""
    why: str
    """What the approval or rejection says."""
    live: bool
    metrics: Mapping[str, float] = field(default_factory=dict)
    """On held-out rows."""


def versions(deployed: Deployed) -> list[Version]:
    """Every version of a product's model, the newest first."""
    group, sagemaker = deployed.output("model_package_group_name"), deployed.client("sagemaker")
    pages = sagemaker.get_paginator("list_model_packages").paginate(ModelPackageGroupName=group)
    arns = [package["ModelPackageArn"] for page in pages for package in page["ModelPackageSummaryList"]]
    serves = live_package(sagemaker, deployed.outputs["endpoint_name"]) if "endpoint_name" in deployed.outputs else ""
    entries = ledger.entries(deployed.client("s3"), deployed.output("ledger_bucket"), group)
    approvers = {each.package_arn: each.by for each in entries if each.kind == "approved"}
    found = [
        _version(sagemaker.describe_model_package(ModelPackageName=arn), approvers.get(arn, ""), arn == serves)
        for arn in arns
    ]
    return sorted(found, key=lambda each: each.version, reverse=True)


def _version(package: Mapping[str, Any], approver: str, live: bool) -> Version:
    told: Mapping[str, str] = package.get("CustomerMetadataProperties", {})
    return Version(
        version=package["ModelPackageVersion"],
        package_arn=package["ModelPackageArn"],
        made=package["CreationTime"].isoformat(timespec="seconds"),
        author=told.get("author", ""),
        status=STATUS[package["ModelApprovalStatus"]],
        approved_by=approver,
        why=package.get("ApprovalDescription", ""),
        live=live,
        metrics=_metrics(told),
    )


def _metrics(told: Mapping[str, str]) -> dict[str, float]:
    """What was measured, among all that a version says of itself: numbers, but no counts of rows and no settings."""
    found: dict[str, float] = {}
    for name, value in told.items():
        if not name.startswith(("rows_", PARAMETER)):
            with suppress(ValueError):
                found[name] = float(value)
    return dict(sorted(found.items()))


def table(found: Iterable[Version]) -> Table:
    """Versions in a terminal, a line each."""
    shown = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("version", "made", "status", "by", "measured"):
        shown.add_column(heading, no_wrap=heading != "measured")
    for each in found:
        status = "live" if each.live else each.status
        measured = ", ".join(f"{name} {value:.3f}" for name, value in each.metrics.items())
        shown.add_row(
            str(each.version), each.made[:16].replace("T", " "), status, each.approved_by.rpartition("/")[2], measured
        )
    return shown
