"""Where data lives: training sets, features, models, captures and reports."""

from __future__ import annotations

import pulumi
import pulumi_aws as aws
from pydantic import PositiveInt

from components.iam import Statement, allow_service, document, only_over_tls
from components.spec import Spec


class DataLakeSpec(Spec):
    """How long the lake remembers."""

    old_version_days: PositiveInt = 90
    """How long an overwritten or deleted object can still be had back."""
    access_log_days: PositiveInt = 365
    """How long it is known who read or wrote what."""
    protect: bool = True
    """Whether deleting the stack stops at the lake; where it is false, its data goes with the stack."""


class DataLake(pulumi.ComponentResource):
    """A private, versioned bucket, encrypted with our key; a second bucket keeps the log of who read what."""

    bucket: pulumi.Output[str]
    arn: pulumi.Output[str]
    access_logs_bucket: pulumi.Output[str]
    """Where the other buckets of the stack, too, have it written down who reads them."""

    def __init__(
        self,
        name: str,
        spec: DataLakeSpec,
        *,
        kms_key_arn: pulumi.Input[str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("slipway:index:DataLake", name, opts=opts)
        child = pulumi.ResourceOptions(parent=self)
        kept = child.merge(pulumi.ResourceOptions(protect=spec.protect))

        lake = aws.s3.Bucket(f"{name}-data", force_destroy=not spec.protect, opts=kept)
        logs = aws.s3.Bucket(f"{name}-access-logs", force_destroy=not spec.protect, opts=kept)
        close_bucket(f"{name}-data", lake, child, *only_with_key(lake, kms_key_arn))
        logs_access = close_bucket(
            f"{name}-access-logs",
            logs,
            child,
            allow_service(
                "logging.s3.amazonaws.com",
                ["s3:PutObject"],
                pulumi.Output.concat(logs.arn, "/*"),
                # Of all buckets that the stack makes, for Pulumi's names begin with these words.
                source_arns=[f"arn:aws:s3:::{name}-*"],
            ),
        )
        aws.s3.BucketServerSideEncryptionConfiguration(
            f"{name}-data",
            bucket=lake.id,
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
        aws.s3.BucketServerSideEncryptionConfiguration(
            f"{name}-access-logs",
            bucket=logs.id,
            # S3 delivers access logs only to a bucket that S3's own keys encrypt.
            rules=[{"apply_server_side_encryption_by_default": {"sse_algorithm": "AES256"}}],
            opts=child,
        )
        aws.s3.BucketLifecycleConfiguration(
            f"{name}-data",
            bucket=lake.id,
            rules=[
                {
                    "id": "tidy",
                    "status": "Enabled",
                    "filter": {},
                    "abort_incomplete_multipart_upload": {"days_after_initiation": 7},
                    "noncurrent_version_expiration": {"noncurrent_days": spec.old_version_days},
                }
            ],
            opts=child,
        )
        aws.s3.BucketLifecycleConfiguration(
            f"{name}-access-logs",
            bucket=logs.id,
            rules=[
                {
                    "id": "forget",
                    "status": "Enabled",
                    "filter": {},
                    "abort_incomplete_multipart_upload": {"days_after_initiation": 7},
                    "expiration": {"days": spec.access_log_days},
                    "noncurrent_version_expiration": {"noncurrent_days": 1},
                }
            ],
            opts=child,
        )
        aws.s3.BucketLogging(
            f"{name}-data",
            bucket=lake.id,
            target_bucket=logs.id,
            target_prefix="data/",
            opts=child.merge(pulumi.ResourceOptions(depends_on=[logs_access])),
        )
        # Products start what they do with new files by rules on these events.
        aws.s3.BucketNotification(f"{name}-data", bucket=lake.id, eventbridge=True, opts=child)
        self.bucket, self.arn = lake.bucket, lake.arn
        # Who is given the name may have logs delivered at once: S3 must be let in by then.
        self.access_logs_bucket = logs_access.bucket
        self.register_outputs({"bucket": self.bucket, "arn": self.arn})


def close_bucket(
    name: str, bucket: aws.s3.Bucket, opts: pulumi.ResourceOptions, *statements: Statement
) -> aws.s3.BucketPolicy:
    """No public access, no ACLs, no cleartext; versions are kept. `statements` join the bucket's policy."""
    block = aws.s3.BucketPublicAccessBlock(
        name,
        bucket=bucket.id,
        block_public_acls=True,
        block_public_policy=True,
        ignore_public_acls=True,
        restrict_public_buckets=True,
        opts=opts,
    )
    aws.s3.BucketOwnershipControls(name, bucket=bucket.id, rule={"object_ownership": "BucketOwnerEnforced"}, opts=opts)
    versioning = aws.s3.BucketVersioning(
        name, bucket=bucket.id, versioning_configuration={"status": "Enabled"}, opts=opts
    )
    objects = pulumi.Output.concat(bucket.arn, "/*")
    return aws.s3.BucketPolicy(
        name,
        bucket=bucket.id,
        policy=document(only_over_tls("s3", bucket.arn, objects), *statements),
        # S3 refuses two changes of a bucket's access at once.
        opts=opts.merge(pulumi.ResourceOptions(depends_on=[block, versioning])),
    )


def only_with_key(bucket: aws.s3.Bucket, kms_key_arn: pulumi.Input[str]) -> list[Statement]:
    """Nobody stores an object under another key, or under none. One who names no key gets the bucket's."""
    upload = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:PutObject",
        "Resource": pulumi.Output.concat(bucket.arn, "/*"),
    }
    key = "s3:x-amz-server-side-encryption-aws-kms-key-id"
    return [
        {
            **upload,
            "Sid": "NoOtherKey",
            "Condition": {"StringNotEquals": {key: kms_key_arn}, "Null": {key: "false"}},
        },
        {
            **upload,
            "Sid": "NoOtherEncryption",
            "Condition": {"StringEquals": {"s3:x-amz-server-side-encryption": "AES256"}},
        },
    ]
