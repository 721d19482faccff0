"""The employment model: whether a person has work, from what the census asks about them."""

from collections.abc import Sequence
from typing import Annotated, Any

import pulumi
from pydantic import PositiveInt, StringConstraints

from components import (
    Budget,
    BudgetSpec,
    DriftMonitor,
    DriftSpec,
    Endpoint,
    EndpointSpec,
    FeatureStore,
    FeatureStoreSpec,
    ModelRegistry,
    ModelRole,
    RegistrySpec,
)
from components.model_registry import model_package_arn
from functions.employment.features import SCHEMA
from infra.contract import Platform
from infra.stack import Stack

PRODUCT = "employment"
"""The product's prefix in the data lake."""

RepositoryArn = Annotated[str, StringConstraints(pattern=r"^arn:aws:ecr:[a-z0-9-]+:\d{12}:repository/[a-z0-9._/-]+$")]


class Employment(Stack):
    """Its features, registry, endpoint and monitor; named after the stack where others must know the name."""

    platform: str
    """The platform stack it runs on, such as `platform-prod`."""
    image_repository: RepositoryArn
    """Where the image is that trains and serves the model; its role may pull from nowhere else."""
    model_version: PositiveInt | None = None
    """The registry version the endpoint serves; without one there is no endpoint yet."""
    endpoint: EndpointSpec
    registry: RegistrySpec = RegistrySpec(description="Whether a person has work, from census answers")
    features: FeatureStoreSpec = FeatureStoreSpec()
    drift: DriftSpec = DriftSpec()
    budget: BudgetSpec = BudgetSpec()

    @property
    def needs(self) -> Sequence[str]:
        return (self.platform,)

    def build(self) -> dict[str, pulumi.Input[Any]]:
        name = pulumi.get_stack()
        platform = Platform.of(self.platform)
        role = ModelRole(
            name,
            bucket_arn=platform.data_bucket_arn,
            prefix=PRODUCT,
            image_repository_arn=self.image_repository,
            vpc_id=platform.vpc_id,
            kms_key_arn=platform.kms_key_arn,
        )
        features = FeatureStore(
            name,
            self.features,
            schema=SCHEMA,
            bucket=platform.data_bucket,
            bucket_arn=platform.data_bucket_arn,
            prefix=f"{PRODUCT}/features",
            kms_key_arn=platform.kms_key_arn,
        )
        registry = ModelRegistry(
            name, self.registry, kms_key_arn=platform.kms_key_arn, alerts_topic_arn=platform.alerts_topic_arn
        )
        Budget(
            name,
            self.budget,
            usd_per_month=pulumi.Config().require_float("usd_per_month"),
            alerts_topic_arn=platform.alerts_topic_arn,
        )
        data = pulumi.Output.concat("s3://", platform.data_bucket, "/", PRODUCT)
        return {
            "feature_group_name": features.feature_group_name,
            "model_package_group_name": registry.model_package_group_name,
            "model_role_arn": role.arn,
            "training_uri": pulumi.Output.concat(data, "/training"),
            "models_uri": pulumi.Output.concat(data, "/models"),
            "captures_uri": pulumi.Output.concat(data, "/captures"),
            "reports_uri": pulumi.Output.concat(data, "/monitors"),
            **(self._serve(name, self.model_version, platform, role) if self.model_version else {}),
        }

    def _serve(self, name: str, version: int, platform: Platform, role: ModelRole) -> dict[str, pulumi.Input[Any]]:
        """The endpoint of one model version, and what watches it."""
        package = model_package_arn(name, version)
        endpoint = Endpoint(
            name,
            self.endpoint,
            model_package_arn=package,
            role_arn=role.arn,
            captures_uri=pulumi.Output.concat("s3://", platform.data_bucket, "/", PRODUCT, "/captures"),
            subnet_ids=platform.private_subnet_ids,
            security_group_id=platform.workload_security_group_id,
            kms_key_arn=platform.kms_key_arn,
            alerts_topic_arn=platform.alerts_topic_arn,
        )
        monitor = DriftMonitor(
            name,
            self.drift,
            endpoint_name=endpoint.endpoint_name,
            model_package_arn=package,
            bucket=platform.data_bucket,
            bucket_arn=platform.data_bucket_arn,
            prefix=PRODUCT,
            kms_key_arn=platform.kms_key_arn,
            alerts_topic_arn=platform.alerts_topic_arn,
        )
        return {
            "endpoint_name": endpoint.endpoint_name,
            "model_package_arn": package,
            "schedule_name": monitor.schedule_name,
            "drift_function_name": monitor.function_name,
            "drift_alarm_name": monitor.alarm_name,
        }
