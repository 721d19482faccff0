"""The employment model: whether a person has work, from what the census asks about them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import pulumi
from pydantic import PositiveInt, StringConstraints, field_validator

from components import (
    Budget,
    BudgetSpec,
    Dashboard,
    DriftMonitor,
    DriftSpec,
    Endpoint,
    EndpointSpec,
    FeatureStore,
    FeatureStoreSpec,
    ModelRegistry,
    ModelRole,
    RegistrySpec,
    Runbook,
)
from components.feature_store import last_output
from components.iam import local_arn
from components.model_registry import model_package_arn
from functions.employment.features import PREVIOUS, SCHEMA
from infra.contract import Platform
from infra.stack import Stack

PRODUCT = "employment"
"""The product's prefix in the data lake."""

CARD = {
    "owner": "employment-team",
    "purpose": "Tell how likely it is that a person has work, from what the census asks about them.",
    "intended_uses": "Estimates over groups of people, such as a region's demand for help in finding work.",
    "risk_rating": "High",
    "risk_explanation": "Whoever decides about a person by it may treat people differently by sex, race or disability.",
    "caveats": "Not for decisions about one person. Trained on Massachusetts in 2015: elsewhere and later it is worse.",
    "factors": "Sex and race are among its features; how well it does for each group is measured with every version.",
}
"""What the model card of every version says."""

RepositoryArn = Annotated[str, StringConstraints(pattern=r"^arn:aws:ecr:[a-z0-9-]+:\d{12}:repository/[a-z0-9._/-]+$")]


@dataclass(frozen=True)
class Serving:
    """What there is once a version is served."""

    parts: Sequence[Any]
    """Components with guides for the runbook, and charts for the dashboard."""
    outputs: Mapping[str, pulumi.Input[Any]]


class Employment(Stack):
    """Its features, registry, endpoint and monitor; named after the stack where others must know the name."""

    platform: str
    """The platform stack it runs on, such as `platform-prod`."""
    image_repository: RepositoryArn
    """Where the image is that trains and serves the model; its role may pull from nowhere else."""
    model_version: PositiveInt | None = None
    """The registry version the endpoint serves; without one there is no endpoint yet."""
    endpoint: EndpointSpec
    registry: RegistrySpec
    features: FeatureStoreSpec = FeatureStoreSpec()
    drift: DriftSpec = DriftSpec()
    budget: BudgetSpec = BudgetSpec()

    @field_validator("registry", mode="before")
    @classmethod
    def _with_card(cls, registry: Any) -> Any:
        """What is the same in every environment is said here once."""
        said = {"description": "Whether a person has work, from census answers", "card": CARD}
        return {**said, **registry} if isinstance(registry, dict) else registry

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
            previous_schema=PREVIOUS,
            deployed_schema=last_output("feature_schema"),
            bucket=platform.data_bucket,
            bucket_arn=platform.data_bucket_arn,
            prefix=PRODUCT,
            kms_key_arn=platform.kms_key_arn,
            alerts_topic_arn=platform.alerts_topic_arn,
        )
        registry = ModelRegistry(
            name,
            self.registry,
            bucket_arn=platform.data_bucket_arn,
            prefix=PRODUCT,
            image_repository_arn=self.image_repository,
            ledger_bucket=platform.ledger_bucket,
            ledger_bucket_arn=platform.ledger_bucket_arn,
            release_state_machine_arn=local_arn("states", f"stateMachine:{name}-release"),
            kms_key_arn=platform.kms_key_arn,
            alerts_topic_arn=platform.alerts_topic_arn,
        )
        Budget(
            name,
            self.budget,
            usd_per_month=pulumi.Config().require_float("usd_per_month"),
            alerts_topic_arn=platform.alerts_topic_arn,
        )
        serving = self._serve(name, self.model_version, platform, role) if self.model_version else None
        watched = [features, registry, *(serving.parts if serving else ())]
        guides = [guide for part in watched for guide in part.guides]
        runbook = Runbook(name, guides=guides)
        Dashboard(
            name,
            charts=[chart for part in watched for chart in getattr(part, "charts", ())],
            alarms=[guide.alarm for guide in guides],
        )
        data = pulumi.Output.concat("s3://", platform.data_bucket, "/", PRODUCT)
        return {
            "feature_group_name": features.feature_group_name,
            "feature_schema": features.feature_schema,
            "incoming_uri": features.incoming_uri,
            "quarantine_uri": features.quarantine_uri,
            "offline_uri": features.offline_uri,
            "ingest_function_name": features.ingest_function_name,
            "ledger_bucket": platform.ledger_bucket,
            "model_package_group_name": registry.model_package_group_name,
            "signing_key_arn": registry.signing_key_arn,
            "approver_role_arn": registry.approver_role_arn,
            "complete_function_name": registry.complete_function_name,
            "model_role_arn": role.arn,
            "runbook_url": runbook.url,
            "training_uri": pulumi.Output.concat(data, "/training"),
            "models_uri": pulumi.Output.concat(data, "/models"),
            "captures_uri": pulumi.Output.concat(data, "/captures"),
            "reports_uri": pulumi.Output.concat(data, "/monitors"),
            **(serving.outputs if serving else {}),
        }

    def _serve(self, name: str, version: int, platform: Platform, role: ModelRole) -> "Serving":
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
        return Serving(
            [endpoint, monitor],
            {
                "endpoint_name": endpoint.endpoint_name,
                "model_package_arn": package,
                "schedule_name": monitor.schedule_name,
                "drift_function_name": monitor.function_name,
                "drift_alarm_name": monitor.alarm_name,
            },
        )
