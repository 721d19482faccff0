"""Features, kept twice: the latest of each record for serving, and all of them for training."""

import pulumi
import pulumi_aws as aws
from pydantic import PositiveInt

from components.iam import allow, document, trust, use_key
from components.spec import Spec
from functions.features import FeatureSchema


class FeatureStoreSpec(Spec):
    """How long the online store remembers."""

    online_days: PositiveInt | None = None
    """Days after its event time that a record leaves the online store; without it, records stay until deleted."""
    protect: bool = True
    """Whether a change that would delete the online store is refused.

    That is most of them: SageMaker cannot rename, retype or drop a feature, and Pulumi replaces the group instead.
    """


class FeatureStore(pulumi.ComponentResource):
    """One feature group made from a schema, online and offline, both encrypted with our key."""

    feature_group_name: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        spec: FeatureStoreSpec,
        *,
        schema: FeatureSchema,
        bucket: pulumi.Input[str],
        bucket_arn: pulumi.Input[str],
        prefix: str,
        kms_key_arn: pulumi.Input[str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """The group is called `name`; the offline store is at `prefix` in the bucket."""
        super().__init__("slipway:index:FeatureStore", name, opts=opts)
        child = pulumi.ResourceOptions(parent=self)

        role = aws.iam.Role(f"{name}-features", assume_role_policy=trust("sagemaker.amazonaws.com"), opts=child)
        access = aws.iam.RolePolicy(
            f"{name}-features",
            role=role.name,
            policy=document(
                allow(["s3:GetBucketAcl", "s3:GetBucketLocation"], bucket_arn),
                allow(["s3:PutObject", "s3:GetObject"], pulumi.Output.concat(bucket_arn, "/", prefix, "/*")),
                use_key(kms_key_arn),
                allow(["kms:DescribeKey"], kms_key_arn),
                # The online store holds its key through a grant.
                allow(["kms:CreateGrant"], kms_key_arn, when={"Bool": {"kms:GrantIsForAWSResource": "true"}}),
            ),
            opts=child,
        )
        names = [(schema.record_id, "String"), (schema.event_time, "String")]
        group = aws.sagemaker.FeatureGroup(
            name,
            feature_group_name=name,
            record_identifier_feature_name=schema.record_id,
            event_time_feature_name=schema.event_time,
            feature_definitions=[
                {"feature_name": feature, "feature_type": kind}
                for feature, kind in [*names, *((feature.name, feature.kind) for feature in schema.features)]
            ],
            online_store_config={
                "enable_online_store": True,
                "security_config": {"kms_key_id": kms_key_arn},
                **({"ttl_duration": {"unit": "Days", "value": spec.online_days}} if spec.online_days else {}),
            },
            offline_store_config={
                "s3_storage_config": {
                    "s3_uri": pulumi.Output.concat("s3://", bucket, "/", prefix),
                    "kms_key_id": kms_key_arn,
                }
            },
            role_arn=role.arn,
            opts=child.merge(pulumi.ResourceOptions(depends_on=[access], protect=spec.protect)),
        )
        self.feature_group_name = group.feature_group_name
        self.register_outputs({"feature_group_name": self.feature_group_name})
