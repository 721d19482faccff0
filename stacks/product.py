"""What every product is made of: a stack with one model's features, training, releases, endpoint and monitors."""

import importlib
from abc import ABC
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Self

import pulumi
from pydantic import Field, PositiveInt, StringConstraints, field_validator, model_validator

from components import (
    BatchPrediction,
    BatchSpec,
    Budget,
    BudgetSpec,
    Dashboard,
    DataMonitor,
    DataMonitorSpec,
    Endpoint,
    EndpointSpec,
    FeatureStore,
    FeatureStoreSpec,
    FreshnessMonitor,
    FreshnessSpec,
    KillSwitch,
    KillSwitchSpec,
    ModelRegistry,
    ModelRole,
    PipelineSpec,
    PredictionApi,
    PredictionApiSpec,
    QualityMonitor,
    QualityMonitorSpec,
    RealTimeSpec,
    Recovery,
    RecoverySpec,
    RegistrySpec,
    Release,
    ReleaseSpec,
    Runbook,
    ServiceMonitor,
    ServiceMonitorSpec,
    SpendingMonitor,
    SpendingSpec,
    TrainingPipeline,
)
from components.feature_store import last_output
from components.iam import default_tags
from components.model_registry import model_package_arn
from components.release import machine_arn
from functions.features import FeatureSchema
from infra.contract import Platform
from infra.pipelines import pack
from infra.stack import Stack

RepositoryArn = Annotated[str, StringConstraints(pattern=r"^arn:aws:ecr:[a-z0-9-]+:\d{12}:repository/[a-z0-9._/-]+$")]
ImageTag = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$")]


class Product(Stack, ABC):
    """One model and all that it needs, named after the stack where others must know the name.

    A product subclasses this and sets what is its own, as class attributes; the fields are what YAML may say.
    """

    code: ClassVar[str]
    """The package with its features.py, gate.py, train.py and inference.py: `functions.employment`."""
    schema: ClassVar[FeatureSchema]  # type: ignore[assignment]  # pydantic's old name for model_json_schema
    """What the model is asked with."""
    previous_schema: ClassVar[FeatureSchema | None] = None
    """The schema that is being replaced, while a migration lasts."""
    gate: ClassVar[Mapping[str, float]]
    """The least of each metric that a version must reach before it may be approved."""
    hyperparameters: ClassVar[Mapping[str, str | int | float]] = {}
    """What train.py is told, where YAML says nothing else."""
    card: ClassVar[Mapping[str, Any]]
    """What the model card of every version says."""
    description: ClassVar[str]
    """What the model tells, in a few words: the registry shows it."""
    sample: ClassVar[str | None] = None
    """The module with data for the rehearsal (stacks/samples): `stacks.samples.employment`."""

    platform: str
    """The platform stack it runs on, such as `platform-prod`."""
    image_repository: RepositoryArn
    """Where the image is that trains and serves the model; its role may pull from nowhere else."""
    image_tag: ImageTag = "1.9-0-cpu-py3"
    """SageMaker's image with the scikit-learn that the rehearsal runs; its tags are in SageMaker's Python SDK."""
    model_version: PositiveInt | None = None
    """The registry version that the endpoint is made with; without one there is no endpoint yet. Later versions are
    released, and change nothing here."""
    endpoint: EndpointSpec | None = None
    """Answers one request after another; without it, whole files are predicted (`batch`)."""
    registry: RegistrySpec
    """Where versions of the model are signed, documented and approved."""
    api: PredictionApiSpec | None = None
    """Predictions for applications, over HTTPS; without it, only AWS identities of this account ask the endpoint."""
    batch: BatchSpec | None = None
    """Predictions for whole files, on a schedule and without an endpoint."""
    pipeline: PipelineSpec = Field(default={}, validate_default=True)
    """Training: prepare, train, evaluate, and register what passes its gate."""
    release: ReleaseSpec = Field(default={}, validate_default=True)
    """How a new version goes live, and what is kept to go back to."""
    recovery: RecoverySpec = RecoverySpec()
    """What is done when an alarm goes off: a rollback, a retraining, or a person is asked."""
    features: FeatureStoreSpec = FeatureStoreSpec()
    """Where features are kept, taken in and refused."""
    data: DataMonitorSpec = DataMonitorSpec()
    """Watches what the endpoint is asked, and what it answers."""
    quality: QualityMonitorSpec = QualityMonitorSpec()
    """Watches how good answers are, once it is known what came true."""
    service: ServiceMonitorSpec = ServiceMonitorSpec()
    """Watches errors, latency and uptime against objectives."""
    freshness: FreshnessSpec = FreshnessSpec()
    """Watches that features keep arriving."""
    budget: BudgetSpec = BudgetSpec()
    """Who is told, and when, that the month's budget is being used up."""
    spending: SpendingSpec = SpendingSpec()
    """Watches what the product costs by the hour, and what stands idle."""
    kill_switch: KillSwitchSpec = KillSwitchSpec()
    """What may be stopped when far too much is spent."""

    @field_validator("registry", mode="before")
    @classmethod
    def _with_card(cls, registry: Any) -> Any:
        """What is the same in every environment is said here once."""
        said = {"description": cls.description, "card": cls.card}
        return {**said, **registry} if isinstance(registry, dict) else registry

    @field_validator("pipeline", mode="before")
    @classmethod
    def _with_gate(cls, pipeline: Any) -> Any:
        named = isinstance(pipeline, dict) and "definition" not in pipeline
        said = {"gate": {"at_least": cls.gate}, "hyperparameters": cls.hyperparameters}
        return {**said, **pipeline} if named else pipeline

    @field_validator("release", "batch", mode="before")
    @classmethod
    def _with_the_same_gate(cls, given: Any) -> Any:
        return {"gate": cls.gate, **given} if isinstance(given, dict) else given

    @model_validator(mode="after")
    def _answers_somebody(self) -> Self:
        if not self.endpoint and not self.batch:
            raise ValueError("neither endpoint nor batch is set: set one, or nobody is ever answered")
        for name in ("api", "model_version"):
            if getattr(self, name) and not self.endpoint:
                raise ValueError(f"{name} is for an endpoint, and there is none: set endpoint, or remove {name}")
        return self

    @classmethod
    def label(cls) -> str:
        """The column with the answer, as the product's features.py calls it."""
        found: str = importlib.import_module(f"{cls.code}.features").LABEL
        return found

    @property
    def needs(self) -> Sequence[str]:
        return (self.platform,)

    @property
    def image(self) -> str:
        """The image's URI."""
        _, _, _, region, account, repository = self.image_repository.split(":", 5)
        name = repository.removeprefix("repository/")
        return f"{account}.dkr.ecr.{region}.amazonaws.com/{name}:{self.image_tag}"

    def build(self) -> dict[str, pulumi.Input[Any]]:
        name = pulumi.get_stack()
        # Of several stacks of this model in one environment, each has a folder of the lake to itself.
        product = name.removesuffix(f"-{default_tags()['environment']}")
        platform = Platform.of(self.platform)
        shared: dict[str, Any] = {"kms_key_arn": platform.kms_key_arn, "alerts_topic_arn": platform.alerts_topic_arn}
        lake: dict[str, Any] = {
            "bucket": platform.data_bucket,
            "bucket_arn": platform.data_bucket_arn,
            "prefix": product,
        }
        network: dict[str, Any] = {
            "subnet_ids": platform.private_subnet_ids,
            "security_group_id": platform.workload_security_group_id,
        }
        role = ModelRole(
            name,
            bucket_arn=platform.data_bucket_arn,
            prefix=product,
            image_repository_arn=self.image_repository,
            vpc_id=platform.vpc_id,
            kms_key_arn=platform.kms_key_arn,
        )
        features = FeatureStore(
            name,
            self.features,
            schema=self.schema,
            previous_schema=self.previous_schema,
            deployed_schema=last_output("feature_schema"),
            **lake,
            **shared,
        )
        registry = ModelRegistry(
            name,
            self.registry,
            bucket_arn=platform.data_bucket_arn,
            prefix=product,
            image_repository_arn=self.image_repository,
            ledger_bucket=platform.ledger_bucket,
            ledger_bucket_arn=platform.ledger_bucket_arn,
            release_state_machine_arn=machine_arn(name) if self.endpoint and self.model_version else None,
            **shared,
        )
        training = TrainingPipeline(
            name,
            self.pipeline,
            code=pack(self.code),
            image=self.image,
            job_role_arn=role.arn,
            records_uri=features.offline_uri,
            complete_function_arn=registry.complete_function_arn,
            mlflow_arn=platform.mlflow_arn,
            **lake,
            **network,
            **shared,
        )
        switch = KillSwitch(
            name,
            self.kill_switch,
            pipeline_names=[training.pipeline_name],
            ledger_bucket=platform.ledger_bucket,
            ledger_bucket_arn=platform.ledger_bucket_arn,
            **shared,
        )
        usd_per_month = pulumi.Config().require_float("usd_per_month")
        budget = Budget(
            name,
            self.budget,
            usd_per_month=usd_per_month,
            alerts_topic_arn=platform.alerts_topic_arn,
            stop_topic_arn=switch.topic_arn,
        )
        freshness = FreshnessMonitor(
            name,
            self.freshness,
            feature_group_name=features.feature_group_name,
            schema=self.schema,
            max_age_hours=self.features.fresh_hours,
            **lake,
            **shared,
        )
        spending = SpendingMonitor(
            name,
            self.spending,
            usd_per_month=usd_per_month,
            pipeline_names=[training.pipeline_name],
            **lake,
            **shared,
        )
        parts: list[Any] = [features, registry, training, switch, freshness, spending]
        served: dict[str, pulumi.Input[Any]] = {}
        if self.batch:
            batch = BatchPrediction(
                name,
                self.batch,
                role_arn=role.arn,
                signing_key_arn=registry.signing_key_arn,
                image_repository_arn=self.image_repository,
                ledger_bucket=platform.ledger_bucket,
                ledger_bucket_arn=platform.ledger_bucket_arn,
                **lake,
                **network,
                **shared,
            )
            parts.append(batch)
            served |= {
                "batch_incoming_uri": batch.incoming_uri,
                "batch_answers_uri": batch.answers_uri,
                "batch_schedule_name": batch.schedule_name,
                "batch_function_name": batch.function_name,
            }
        if self.endpoint and self.model_version:
            endpoint = Endpoint(
                name,
                self.endpoint,
                model_package_arn=model_package_arn(name, self.model_version),
                role_arn=role.arn,
                captures_uri=_uri(platform, product, "captures"),
                answers_uri=_uri(platform, product, "answers"),
                **network,
                **shared,
            )
            release = Release(
                name,
                self.release,
                endpoint_name=endpoint.endpoint_name,
                template=endpoint.template,
                first_names=endpoint.first_names,
                signing_key_arn=registry.signing_key_arn,
                role_arn=role.arn,
                image_repository_arn=self.image_repository,
                ledger_bucket=platform.ledger_bucket,
                ledger_bucket_arn=platform.ledger_bucket_arn,
                **lake,
                **shared,
            )
            recovery = Recovery(
                name,
                self.recovery,
                training=training,
                budget_name=budget.budget_name,
                usd_per_month=usd_per_month,
                label_time=self.schema.event_time,
                release_machine_arn=release.state_machine_arn,
                stop_function_name=switch.function_name,
                ledger_bucket=platform.ledger_bucket,
                ledger_bucket_arn=platform.ledger_bucket_arn,
                **lake,
                **shared,
            )
            parts += [endpoint, release, recovery]
            served |= {
                "endpoint_name": endpoint.endpoint_name,
                "release_state_machine_arn": release.state_machine_arn,
                "recovery_state_machine_arn": recovery.state_machine_arn,
                "first_version": self.model_version,
            }
            # No other kind captures what it is asked, so there is nothing to watch.
            if isinstance(self.endpoint, RealTimeSpec):
                data = DataMonitor(
                    name,
                    self.data,
                    endpoint_name=endpoint.endpoint_name,
                    model_package_arn=model_package_arn(name, self.model_version),
                    **lake,
                    **shared,
                )
                quality = QualityMonitor(
                    name,
                    self.quality,
                    endpoint_name=endpoint.endpoint_name,
                    model_package_arn=model_package_arn(name, self.model_version),
                    ledger_bucket=platform.ledger_bucket,
                    ledger_bucket_arn=platform.ledger_bucket_arn,
                    **lake,
                    **shared,
                )
                service = ServiceMonitor(
                    name,
                    self.service,
                    endpoint_name=endpoint.endpoint_name,
                    max_latency_ms=self.endpoint.max_latency_ms,
                    **lake,
                    **shared,
                )
                parts += [data, quality, service]
                served |= {
                    "data_schedule_name": data.schedule_name,
                    "data_function_name": data.function_name,
                    "quality_schedule_name": quality.schedule_name,
                    "quality_function_name": quality.function_name,
                    "service_schedule_name": service.schedule_name,
                    "service_function_name": service.function_name,
                    "ground_truth_uri": quality.ground_truth_uri,
                }
            if self.api:
                api = PredictionApi(name, self.api, schema=self.schema, endpoint_name=endpoint.endpoint_name, **shared)
                parts.append(api)
                served |= {"api_url": api.url, "api_token_url": api.token_url, "api_clients": api.clients}
        guides = [guide for part in parts for guide in part.guides]
        runbook = Runbook(name, guides=guides)
        Dashboard(
            name,
            charts=[chart for part in parts for chart in getattr(part, "charts", ())],
            alarms=[guide.alarm for guide in guides],
        )
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
            **({"consumer_access": registry.consumer_access} if self.registry.consumers else {}),
            "pipeline_name": training.pipeline_name,
            "model_role_arn": role.arn,
            "runbook_url": runbook.url,
            "stop_function_name": switch.function_name,
            "stop_topic_arn": switch.topic_arn,
            "freshness_function_name": freshness.function_name,
            "spending_function_name": spending.function_name,
            "labels_uri": _uri(platform, product, "labels"),
            "models_uri": _uri(platform, product, "models"),
            "captures_uri": _uri(platform, product, "captures"),
            "reports_uri": _uri(platform, product, "monitors"),
            "incidents_uri": _uri(platform, product, "incidents"),
            **served,
        }


def _uri(platform: Platform, product: str, folder: str) -> pulumi.Output[str]:
    return pulumi.Output.concat("s3://", platform.data_bucket, f"/{product}/{folder}")
