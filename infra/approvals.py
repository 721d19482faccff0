"""Approving a version from the command line, as a person other than the one who had it trained."""

from typing import Final

import boto3

from infra.reach import Deployed, NotDeployed
from infra.settings import SettingsError

NAME_CHARACTERS: Final = "+=,.@-_"
"""Beside letters and digits, what STS takes in the name of a session."""


def package_arn(deployed: Deployed, version: int) -> str:
    """The ARN of a version of the stack's registry. Raises NotDeployed where there is none."""
    group = deployed.output("model_package_group_name")
    sagemaker = deployed.client("sagemaker")
    pages = sagemaker.get_paginator("list_model_packages").paginate(ModelPackageGroupName=group)
    for page in pages:
        for package in page["ModelPackageSummaryList"]:
            if package["ModelPackageVersion"] == version:
                return str(package["ModelPackageArn"])
    raise NotDeployed(f"{group} has no version {version} in its registry")


def approve(deployed: Deployed, version: int, reviewer: str, why: str = "") -> str:
    """Approve a version in the approvers' role, under the reviewer's name. Returns its ARN.

    Whether the reviewer may is decided by AWS (the role's trust), and by the release, which refuses a version that its
    author approved. Raises SettingsError for a name that cannot be a session's.
    """
    if not 2 <= len(reviewer) <= 64 or not all(each.isalnum() or each in NAME_CHARACTERS for each in reviewer):
        raise SettingsError(f"{reviewer!r} cannot be a session's name: letters, digits and {NAME_CHARACTERS}, 2 to 64")
    arn = package_arn(deployed, version)
    sts = deployed.client("sts")
    given = sts.assume_role(RoleArn=deployed.output("approver_role_arn"), RoleSessionName=reviewer)["Credentials"]
    sagemaker = boto3.client(
        "sagemaker",
        region_name=deployed.settings.region,
        # Where the stack's own client asks: AWS, or the rehearsal's emulator.
        endpoint_url=deployed.client("sagemaker").meta.endpoint_url,
        aws_access_key_id=given["AccessKeyId"],
        aws_secret_access_key=given["SecretAccessKey"],
        aws_session_token=given["SessionToken"],
    )
    sagemaker.update_model_package(
        ModelPackageArn=arn,
        ModelApprovalStatus="Approved",
        ApprovalDescription=why or f"approved by {reviewer}",
    )
    return arn
