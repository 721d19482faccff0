"""Where it is kept, for good, which version of a model was live when, and who approved it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import pulumi
import pulumi_aws as aws
from pydantic import Field, model_validator

from components.data_lake import close_bucket, only_with_key
from components.iam import Statement, allow
from components.spec import Spec


class LedgerSpec(Spec):
    """How long nothing of the ledger can be deleted, and by whom."""

    years: int = Field(default=7, ge=1, le=100)
    """How long each entry is locked. S3 takes up to 100 years."""
    mode: Literal["GOVERNANCE", "COMPLIANCE"] = "GOVERNANCE"
    """GOVERNANCE: who has s3:BypassGovernanceRetention can unlock an entry. COMPLIANCE: nobody can, not even AWS."""
    protect: bool = True
    """Whether deleting the stack stops at the ledger; where it is false, its entries go with the stack."""

    @model_validator(mode="after")
    def _can_go_where_it_may(self) -> LedgerSpec:
        if self.mode == "COMPLIANCE" and not self.protect:
            raise ValueError("nothing removes a ledger in mode COMPLIANCE: set protect to true, or mode to GOVERNANCE")
        return self


class Ledger(pulumi.ComponentResource):
    """A bucket to which entries are added: none is overwritten, none deleted before its time.

    Three guards: Object Lock keeps every version, the bucket's policy refuses deletions and any write that is not on
    condition that there is nothing yet, and versioning shows what else would have been done.
    """

    bucket: pulumi.Output[str]
    arn: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        spec: LedgerSpec,
        *,
        kms_key_arn: pulumi.Input[str],
        access_logs_bucket: pulumi.Input[str] | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """`access_logs_bucket` is where S3 writes down who read it; a data lake has one."""
        super().__init__("slipway:index:Ledger", name, opts=opts)
        child = pulumi.ResourceOptions(parent=self)

        bucket = aws.s3.Bucket(
            f"{name}-ledger",
            object_lock_enabled=True,
            force_destroy=not spec.protect,
            opts=child.merge(pulumi.ResourceOptions(protect=spec.protect)),
        )
        closed = close_bucket(
            f"{name}-ledger", bucket, child, *only_with_key(bucket, kms_key_arn), *_append_only(bucket, spec.protect)
        )
        aws.s3.BucketServerSideEncryptionConfiguration(
            f"{name}-ledger",
            bucket=bucket.id,
            rules=[
                {
                    "apply_server_side_encryption_by_default": {
                        "sse_algorithm": "aws:kms",
                        "kms_master_key_id": kms_key_arn,
                    },
                    "bucket_key_enabled": True,
                }
            ],
            opts=child,
        )
        aws.s3.BucketObjectLockConfiguration(
            f"{name}-ledger",
            bucket=bucket.id,
            rule={"default_retention": {"mode": spec.mode, "years": spec.years}},
            opts=child.merge(pulumi.ResourceOptions(depends_on=[closed])),  # which comes after versioning
        )
        if access_logs_bucket is not None:
            aws.s3.BucketLogging(
                f"{name}-ledger",
                bucket=bucket.id,
                target_bucket=access_logs_bucket,
                target_prefix="ledger/",
                opts=child,
            )
        # Who is given the bucket's name may write at once: what guards it has to stand by then.
        self.bucket, self.arn = closed.bucket, bucket.arn
        self.register_outputs({"bucket": self.bucket, "arn": self.arn})


def may_append(ledger_bucket_arn: pulumi.Input[str], endpoint: str) -> list[Statement]:
    """The right to add to one endpoint's entries, and to read them."""
    return [
        allow(["s3:PutObject"], pulumi.Output.concat(ledger_bucket_arn, f"/ledger/{endpoint}/*")),
        *may_read(ledger_bucket_arn, endpoint),
    ]


def may_read(ledger_bucket_arn: pulumi.Input[str], endpoint: str) -> list[Statement]:
    """The right to read one endpoint's entries."""
    return [
        allow(["s3:GetObject"], pulumi.Output.concat(ledger_bucket_arn, f"/ledger/{endpoint}/*")),
        allow(["s3:ListBucket"], ledger_bucket_arn, when={"StringLike": {"s3:prefix": f"ledger/{endpoint}/*"}}),
    ]


def _append_only(bucket: aws.s3.Bucket, protect: bool) -> Sequence[Statement]:
    objects = pulumi.Output.concat(bucket.arn, "/*")
    deleting = ["s3:DeleteObject", "s3:DeleteObjectVersion"]
    unlocking = ["s3:BypassGovernanceRetention", "s3:PutObjectRetention", "s3:PutObjectLegalHold"] if protect else []
    return [
        {
            "Sid": "NobodyDeletes",
            "Effect": "Deny",
            "Principal": "*",
            "Action": [*deleting, *unlocking],
            "Resource": objects,
        },
        {
            # A part of a large upload carries no condition; the call that completes it does.
            # https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes-enforce.html
            "Sid": "NobodyOverwrites",
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:PutObject",
            "Resource": objects,
            "Condition": {"Null": {"s3:if-none-match": "true"}, "Bool": {"s3:ObjectCreationOperation": "true"}},
        },
        {
            "Sid": "NobodyForgets",
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:PutLifecycleConfiguration",
            "Resource": bucket.arn,
        },
    ]
