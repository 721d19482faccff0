"""Where training runs are looked at side by side: a serverless MLflow app."""

import pulumi
import pulumi_aws as aws

from components.iam import allow, document, trust, use_key
from components.spec import Spec


class ExperimentsSpec(Spec):
    """When AWS may maintain it."""

    maintenance: str = "Sun:03:00"
    """Day and time, UTC."""


class Experiments(pulumi.ComponentResource):
    """An MLflow app for all products of a platform: it costs nothing while nobody uses it.

    A tracking server of the smallest size costs as much as a small product, day and night
    (https://aws.amazon.com/sagemaker/ai/pricing/). The app keeps parameters and metrics with AWS; artifacts are in the
    lake, with our key.
    """

    arn: pulumi.Output[str]
    artifacts_uri: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        spec: ExperimentsSpec,
        *,
        bucket: pulumi.Input[str],
        bucket_arn: pulumi.Input[str],
        prefix: str,
        kms_key_arn: pulumi.Input[str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """The app is called `name`; its artifacts are below `prefix`."""
        super().__init__("slipway:index:Experiments", name, opts=opts)
        child = pulumi.ResourceOptions(parent=self)
        role = aws.iam.Role(f"{name}-mlflow", assume_role_policy=trust("sagemaker.amazonaws.com"), opts=child)
        granted = aws.iam.RolePolicy(
            f"{name}-mlflow",
            role=role.name,
            policy=document(
                allow(
                    ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"],
                    pulumi.Output.concat(bucket_arn, f"/{prefix}/*"),
                ),
                allow(["s3:ListBucket"], bucket_arn, when={"StringLike": {"s3:prefix": f"{prefix}/*"}}),
                use_key(kms_key_arn, "s3"),
            ),
            opts=child,
        )
        self.artifacts_uri = pulumi.Output.concat("s3://", bucket, f"/{prefix}")
        app = aws.sagemaker.MlflowApp(
            f"{name}-mlflow",
            name=name,
            artifact_store_uri=self.artifacts_uri,
            role_arn=role.arn,
            # Versions are registered by pipelines, with their evidence, and by nothing else.
            model_registration_mode="AutoModelRegistrationDisabled",
            weekly_maintenance_window_start=spec.maintenance,
            opts=child.merge(pulumi.ResourceOptions(depends_on=[granted])),
        )
        self.arn = app.arn
        self.register_outputs({"arn": self.arn, "artifacts_uri": self.artifacts_uri})
