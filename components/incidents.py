"""Rights on incidents: to write them down, and to gather what they tell."""

from collections.abc import Sequence

import pulumi

from components.iam import Statement, account_id, allow, local_arn
from components.runbook import runbook_name


def incidents_uri(bucket: pulumi.Input[str], prefix: str, endpoint: str) -> pulumi.Output[str]:
    """An endpoint's incidents: what functions/incidents calls `uri`."""
    return pulumi.Output.concat("s3://", bucket, f"/{prefix}/incidents/{endpoint}")


def may_write_incidents(bucket_arn: pulumi.Input[str], prefix: str, endpoint: str) -> list[Statement]:
    """To open incidents of one endpoint, and to add to them. The bucket's key has to be allowed besides."""
    where = f"{prefix}/incidents/{endpoint}/*"
    return [
        allow(["s3:GetObject", "s3:PutObject"], pulumi.Output.concat(bucket_arn, "/", where)),
        allow(["s3:ListBucket"], bucket_arn, when={"StringLike": {"s3:prefix": where}}),
    ]


def may_gather_timeline(
    bucket_arn: pulumi.Input[str],
    prefix: str,
    endpoint: str,
    *,
    alarms: Sequence[str],
) -> list[Statement]:
    """To ask what functions/incidents/timeline.py asks besides the ledger, and for the runbook of this stack.

    `alarms` are names, or patterns of them.
    """
    reports = [f"{prefix}/monitors/*/{endpoint}/*"]
    return [
        allow(["cloudtrail:LookupEvents"], "*"),  # it knows no resources
        allow(["cloudwatch:DescribeAlarmHistory"], *(local_arn("cloudwatch", f"alarm:{name}") for name in alarms)),
        allow(
            ["cloudwatch:GetDashboard"],
            f"arn:aws:cloudwatch::{account_id()}:dashboard/{runbook_name(pulumi.get_stack())}",
        ),
        allow(["s3:GetObject"], *(pulumi.Output.concat(bucket_arn, "/", where) for where in reports)),
        allow(["s3:ListBucket"], bucket_arn, when={"StringLike": {"s3:prefix": reports}}),
    ]
