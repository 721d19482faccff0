"""SageMaker on moto, made live: what moto stores gets effects, and what moto drops is kept.

`install` routes moto's requests to the classes here, in this process. tests/test_sagemaker_moto.py holds every part of
moto that they rely on.
"""

import functools
import json
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from moto.core.responses import ActionResult, BaseResponse, EmptyResult
from moto.core.utils import get_service_model
from moto.sagemaker import urls as sagemaker_urls
from moto.sagemaker.exceptions import AWSValidationException, ResourceNotFound
from moto.sagemaker.models import (
    FakeEndpointConfig,
    ModelPackage,
    ModelPackageGroup,
    SageMakerModelBackend,
    sagemaker_backends,
)
from moto.sagemaker.responses import SageMakerResponse
from moto.sagemakerruntime import urls as runtime_urls

from infra.rehearsal.emulator import autoscaling, cloudtrail, endpoints, events, feature_store, jobs, pipelines, stored
from infra.rehearsal.emulator.asynchronous import Asynchronous
from infra.rehearsal.emulator.capture import Captures
from infra.rehearsal.emulator.feature_store import OfflineStore
from infra.rehearsal.emulator.inference_components import ComponentOperations, Components
from infra.rehearsal.emulator.job_calls import JobCalls
from infra.rehearsal.emulator.mlflow import MlflowCalls, servers_of
from infra.rehearsal.emulator.pipelines import PipelineCalls
from infra.rehearsal.emulator.serving import Aws

Json = dict[str, Any]

FLUSH_SECONDS = 2.0
"""How long captures, offline records and model logs wait at most until they are written; AWS takes minutes."""
MOST_PROPERTIES = 50
PERMITTED = re.compile(r"[\w .:/=+\-@]*")
"""What SageMaker takes in a metadata property: letters, numbers, spaces and these (in Java's notation in its model)."""
HOME_REGION = "us-east-1"
"""Whose S3 client writes; the emulator's buckets can be written to from any region."""


ROLLOUT_SECOND = "SLIPWAY_ROLLOUT_SECOND"


def _rollout_second() -> float:
    text = os.environ.get(ROLLOUT_SECOND, "0.02")
    try:
        return float(text)
    except ValueError:
        raise ValueError(
            f"{ROLLOUT_SECOND} is {text!r}; set how many seconds a rollout's second takes: 0.02 or 1"
        ) from None


@dataclass(frozen=True)
class LiveSettings:
    """What the live parts need to know of the emulator they run in."""

    endpoint: str
    work: Path
    rollout_second: float = field(default_factory=_rollout_second)
    """Real seconds that one second of a rollout's waiting takes: with 0.02 a bake of 5 minutes is over in 6 s.

    Alarms are evaluated in real time, so that one over minutes only speaks up in time with 1.
    """


class Live:
    """The state behind the classes that moto makes anew for every request."""

    def __init__(self, settings: LiveSettings) -> None:
        self._aws = Aws(settings.endpoint)
        self.captures = Captures(self._put)
        self.offline = OfflineStore(self._put)
        self.endpoints = endpoints.Endpoints(self._aws, self.captures, settings.work, settings.rollout_second)
        self.asynchronous = Asynchronous(self._aws, self.endpoints)
        jobs.install(self._aws, settings.work, settings.rollout_second)
        threading.Thread(target=self._flush_now_and_then, daemon=True).start()

    def _put(self, bucket: str, key: str, body: bytes, kms_key_id: str | None, role: str) -> None:
        encryption = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": kms_key_id} if kms_key_id else {}
        self._aws.client("s3", HOME_REGION, role).put_object(Bucket=bucket, Key=key, Body=body, **encryption)

    def flush(self) -> None:
        """Write out captures, offline records and model logs that still wait."""
        self.captures.flush()
        self.offline.flush()
        for accounts in sagemaker_backends.values():
            for backend in list(accounts.values()):
                for endpoint in list(backend.endpoints.values()):
                    if isinstance(endpoint, endpoints.Endpoint):
                        for fleet in endpoint.traffic.fleets():
                            fleet.flush_logs()

    def _flush_now_and_then(self) -> None:
        while True:
            time.sleep(FLUSH_SECONDS)
            try:
                self.flush()
            except Exception as error:  # the next round has to come, whatever went wrong in this one
                print(f"sagemaker: flush: {error!r}", file=sys.stderr, flush=True)


_live: Live | None = None


def live() -> Live:
    """The installed state. Raises RuntimeError before `install`."""
    if _live is None:
        raise RuntimeError("sagemaker.install has not been called")
    return _live


def install(settings: LiveSettings) -> None:
    """Make SageMaker, its runtimes, and what stored.py has live in this process; before moto's server answers."""
    global _live
    _live = Live(settings)
    autoscaling.install(_live.endpoints, settings.rollout_second)
    feature_store.RuntimeResponse.offline = _live.offline
    _route()


def flush() -> None:
    """Write out captures, offline records and model logs that still wait."""
    live().flush()


@functools.cache
def _route() -> None:
    stored.install()
    sagemaker_urls.url_paths["{0}/$"] = LiveSageMakerResponse.dispatch
    for path in FEATURE_STORE_PATHS:
        sagemaker_urls.url_paths[f"{{0}}/{path}$"] = feature_store.RuntimeResponse.dispatch
    for path in runtime_urls.url_paths:
        runtime_urls.url_paths[path] = RuntimeResponse.dispatch
    FakeEndpointConfig.validate_instance_type = _validate_instance_type  # type: ignore[method-assign]  # replaced
    SageMakerModelBackend.validate_production_variants = _validate_variants  # type: ignore[assignment, method-assign]  # likewise
    SageMakerModelBackend.reset = _reset  # type: ignore[method-assign, assignment]  # likewise


FEATURE_STORE_PATHS = ("FeatureGroup/(?P<name>.+)", "BatchGetRecord")
"""moto sends every request that is signed for `sagemaker` and is no invocation to its `sagemaker` service."""


def _validate_instance_type(self: FakeEndpointConfig, instance_type: str) -> None:
    """moto's own list ends with the instances of 2021; the service model has them all."""
    shape: Any = get_service_model("sagemaker").shape_for("ProductionVariantInstanceType")
    allowed = shape.enum
    if instance_type not in allowed:
        raise AWSValidationException(
            f"Value '{instance_type}' at 'productionVariants.instanceType' failed to satisfy constraint: "
            f"Member must satisfy enum value set: {sorted(allowed)}"
        )


_validate_variants_of_moto: Callable[[SageMakerModelBackend, list[Json]], None] = (
    SageMakerModelBackend.validate_production_variants
)


def _validate_variants(self: SageMakerModelBackend, variants: list[Json]) -> None:
    """A variant for inference components names no model; moto fails on it."""
    _validate_variants_of_moto(self, [variant for variant in variants if "ModelName" in variant])


_reset_of_moto: Callable[[SageMakerModelBackend], None] = SageMakerModelBackend.reset


def _reset(self: SageMakerModelBackend) -> None:
    """A reset of moto ends the endpoints' processes and the jobs', too."""
    pipelines.stop_all(self)
    jobs.stop_all(self)
    for endpoint in list(self.endpoints.values()):
        if isinstance(endpoint, endpoints.Endpoint):
            endpoint.traffic.settle(None)
    _reset_of_moto(self)


def _without_empties(value: Any) -> Any:
    """AWS leaves out what is empty; moto answers `{}` and null, which strict clients refuse."""
    if isinstance(value, dict):
        return {key: _without_empties(item) for key, item in value.items() if item is not None and item != {}}
    if isinstance(value, list):
        return [_without_empties(item) for item in value]
    return value


def _check_metadata(metadata: Mapping[str, str]) -> None:
    """SageMaker takes few properties, short, and without most punctuation; the SDK does not look."""
    shape: Any = get_service_model("sagemaker").shape_for("CustomerMetadataMap")
    if len(metadata) > MOST_PROPERTIES:
        raise AWSValidationException(
            f"CustomerMetadataProperties has {len(metadata)} members; at most {MOST_PROPERTIES}"
        )
    for texts, limits in ((metadata.keys(), shape.key.metadata), (metadata.values(), shape.value.metadata)):
        for text in texts:
            if not limits["min"] <= len(text) <= limits["max"] or not PERMITTED.fullmatch(text):
                raise AWSValidationException(
                    f"Value '{text}' at 'customerMetadataProperties' failed to satisfy constraint: Member must have "
                    f"length less than or equal to {limits['max']} and satisfy regular expression pattern: "
                    f"{limits['pattern']}"
                )


class LiveSageMakerResponse(
    JobCalls, PipelineCalls, MlflowCalls, stored.KeepsFields, ComponentOperations, SageMakerResponse
):
    """The sagemaker service: moto's operations, some of them mended, and those it lacks."""

    def _components(self) -> Components:
        return live().endpoints.components

    def _backend(self) -> SageMakerModelBackend:
        return self.sagemaker_backend

    def kept(self) -> dict[str, Json]:
        return vars(self.sagemaker_backend).setdefault("kept", {})  # type: ignore[no-any-return]  # vars() are untyped

    def serialized(self, action_result: ActionResult) -> Any:
        if not isinstance(action_result.result, Exception):
            action_result = ActionResult(_without_empties(action_result.result))
        return super().serialized(action_result)

    # --- models and endpoint configurations ---------------------------------------------------------------------------

    def create_model(self) -> ActionResult:
        self._refuse_existing(self.sagemaker_backend._models, "ModelName", "model", "model")
        answer = super().create_model()
        model = self.sagemaker_backend.describe_model(self.params["ModelName"])
        model.enable_network_isolation = self.params.get("EnableNetworkIsolation", False)
        return answer

    def create_endpoint_config(self) -> ActionResult:
        known = self.sagemaker_backend.endpoint_configs
        self._refuse_existing(known, "EndpointConfigName", "endpoint configuration", "endpoint-config")
        return super().create_endpoint_config()

    def _refuse_existing(self, known: Mapping[str, Any], key: str, words: str, kind: str) -> None:
        """moto puts a second one in the place of the first, without a word."""
        name = self.params[key]
        if name in known:
            arn = f"arn:{self.partition}:sagemaker:{self.region}:{self.current_account}:{kind}/{name.lower()}"
            raise AWSValidationException(f'Cannot create already existing {words} "{arn}".')

    # --- endpoints ----------------------------------------------------------------------------------------------------

    def create_endpoint(self) -> ActionResult:
        endpoint = live().endpoints.create(self.sagemaker_backend, self.params)
        return ActionResult({"EndpointArn": endpoint.arn})

    def describe_endpoint(self) -> ActionResult:
        return ActionResult(endpoints.find(self.sagemaker_backend, self.params["EndpointName"]).describe())

    def update_endpoint(self) -> ActionResult:
        endpoint = live().endpoints.update(self.sagemaker_backend, self.params)
        return ActionResult({"EndpointArn": endpoint.arn})

    def update_endpoint_weights_and_capacities(self) -> ActionResult:
        endpoint = live().endpoints.reweigh(self.sagemaker_backend, self.params)
        return ActionResult({"EndpointArn": endpoint.arn})

    def delete_endpoint(self) -> ActionResult:
        live().endpoints.delete(self.sagemaker_backend, self.params["EndpointName"])
        return EmptyResult()

    # --- model registry -----------------------------------------------------------------------------------------------

    def create_model_package_group(self) -> ActionResult:
        known = self.sagemaker_backend.model_package_groups
        self._refuse_existing(known, "ModelPackageGroupName", "model package group", "model-package-group")
        return super().create_model_package_group()

    def describe_model_package_group(self) -> ActionResult:
        return ActionResult(self._group().gen_response_object())

    def _group(self) -> ModelPackageGroup:
        name = self.params["ModelPackageGroupName"].rpartition("/")[2]
        return self.sagemaker_backend.describe_model_package_group(name)

    def delete_model_package_group(self) -> ActionResult:
        group = self._group()
        name = group.model_package_group_name
        if any(package.model_package_group_name == name for package in self.sagemaker_backend.model_packages.values()):
            raise AWSValidationException(
                f"Model Package Group {group.arn} cannot be deleted, it still contains model packages."
            )
        del self.sagemaker_backend.model_package_groups[name]
        return EmptyResult()

    def put_model_package_group_policy(self) -> ActionResult:
        group = self._group()
        vars(group)["policy"] = self.params["ResourcePolicy"]
        return ActionResult({"ModelPackageGroupArn": group.arn})

    def get_model_package_group_policy(self) -> ActionResult:
        return ActionResult({"ResourcePolicy": self._policy(self._group())})

    def delete_model_package_group_policy(self) -> ActionResult:
        group = self._group()
        self._policy(group)
        del vars(group)["policy"]
        return EmptyResult()

    def _policy(self, group: ModelPackageGroup) -> str:
        if "policy" not in vars(group):
            raise ResourceNotFound(f"Cannot find resource policy for model package group {group.arn}.")
        return str(vars(group)["policy"])

    def create_model_package(self) -> ActionResult:
        _check_metadata(self.params.get("CustomerMetadataProperties", {}))
        answer = super().create_model_package()
        backend = self.sagemaker_backend
        package = backend.model_packages[answer.result["ModelPackageArn"]]  # type: ignore[index]  # results are untyped
        self._number(package)
        if package.model_approval_status is None and package.model_package_version:
            package.model_approval_status = "PendingManualApproval"
        package.created_by = self._caller()
        self._announce(package, sorted(set(self.params) - {"ClientToken", "Tags"}))
        return ActionResult({"ModelPackageArn": package.arn})

    def _number(self, package: ModelPackage) -> None:
        """moto counts the packages of a group, so that it would give a deleted version's number again."""
        group = package.model_package_group_name
        if not group:
            return
        backend = self.sagemaker_backend
        last = vars(backend).setdefault("last_versions", {})
        last[group] = last.get(group, 0) + 1
        del backend.model_packages[package.arn], backend.model_package_name_mapping[package.arn]
        package.model_package_version = last[group]
        package.arn = f"{package.arn.rpartition('/')[0]}/{last[group]}"
        backend.model_packages[package.arn] = package
        backend.model_package_name_mapping[package.arn] = package.arn
        backend.model_package_name_mapping[package.model_package_name] = package.arn

    def update_model_package(self) -> ActionResult:
        """moto forgets the description and the metadata where an update does not repeat them."""
        params = self.params
        _check_metadata(params.get("CustomerMetadataProperties", {}))
        package = self.sagemaker_backend.describe_model_package(params["ModelPackageArn"])
        if "ModelApprovalStatus" in params:
            package.set_model_approval_status(params["ModelApprovalStatus"])
        package.approval_description = params.get("ApprovalDescription", package.approval_description)
        metadata = {**(package.customer_metadata_properties or {}), **params.get("CustomerMetadataProperties", {})}
        for key in params.get("CustomerMetadataPropertiesToRemove", ()):
            metadata.pop(key, None)
        _check_metadata(metadata)
        package.customer_metadata_properties = metadata
        package.add_additional_inference_specifications(params.get("AdditionalInferenceSpecificationsToAdd"))
        package.inference_specification = params.get("InferenceSpecification", package.inference_specification)
        self.kept().setdefault(package.arn, {}).update(
            {key: params[key] for key in ("SourceUri", "ModelLifeCycle") if key in params}
        )
        if "ModelCard" in params:  # its status can change without its content
            kept = self.kept()[package.arn]
            kept["ModelCard"] = {**kept.get("ModelCard", {}), **params["ModelCard"]}
        package.modifications_done()
        package.last_modified_by = self._caller()
        self._announce(package, sorted(set(params) - {"ModelPackageArn", "ClientToken"}))
        return ActionResult({"ModelPackageArn": package.arn})

    def _caller(self) -> Json:
        """Who asks; moto says that a user of SageMaker Studio did."""
        return cloudtrail.user_context(cloudtrail.key_in(self.headers.get("Authorization", "")))

    def delete_model_package(self) -> ActionResult:
        package = self.sagemaker_backend.describe_model_package(self.params["ModelPackageName"])
        del self.sagemaker_backend.model_packages[package.arn]
        return EmptyResult()

    def _announce(self, package: ModelPackage, fields: list[str]) -> None:
        """Say on EventBridge that a package was made or changed, as SageMaker does: with all that Describe tells."""
        described = _without_empties(package.gen_response_object())
        detail = {
            key: int(value.timestamp() * 1000) if isinstance(value, datetime) else value
            for key, value in described.items()
            if key not in ("CreatedBy", "LastModifiedBy")
        }
        detail["UpdatedModelPackageFields"] = fields
        events.emit(self.region, "aws.sagemaker", "SageMaker Model Package State Change", detail, [package.arn])

    # --- feature groups -----------------------------------------------------------------------------------------------

    def create_feature_group(self) -> ActionResult:
        return ActionResult({"FeatureGroupArn": feature_store.create(self.sagemaker_backend, self.params).arn})

    def describe_feature_group(self) -> ActionResult:
        return ActionResult(feature_store.find(self.sagemaker_backend, self.params["FeatureGroupName"]).describe())

    def update_feature_group(self) -> ActionResult:
        return ActionResult({"FeatureGroupArn": feature_store.update(self.sagemaker_backend, self.params).arn})

    def delete_feature_group(self) -> ActionResult:
        group = feature_store.find(self.sagemaker_backend, self.params["FeatureGroupName"])
        del self.sagemaker_backend.feature_groups[group.arn]
        return EmptyResult()

    def list_feature_groups(self) -> ActionResult:
        part = self.params.get("NameContains", "")
        groups = feature_store.all_of(self.sagemaker_backend)
        found = [group.summary() for group in groups if part in group.feature_group_name]
        return ActionResult({"FeatureGroupSummaries": sorted(found, key=lambda summary: summary["FeatureGroupName"])})

    # --- tags ---------------------------------------------------------------------------------------------------------

    def _tagged(self) -> Any:
        """What the request's ARN names; moto knows neither feature groups nor packages, and fails on what is gone."""
        arn, backend = self.params["ResourceArn"], self.sagemaker_backend
        kind = arn.rpartition(":")[2].partition("/")[0]
        by_arn: dict[str, Mapping[str, Any]] = {
            "feature-group": backend.feature_groups,
            "model-package": backend.model_packages,
            **dict.fromkeys(("mlflow-tracking-server", "mlflow-app"), servers_of(backend)),
        }
        try:
            resource = by_arn[kind].get(arn) if kind in by_arn else backend._get_resource_from_arn(arn)
        except (AttributeError, ValueError):  # moto fails on a kind it does not know
            resource = None
        if resource is None:
            raise ResourceNotFound(f"Could not find {kind} {arn}.")
        resource.tags = resource.tags or []
        return resource

    def list_tags(self) -> ActionResult:
        return ActionResult({"Tags": self._tagged().tags})

    def add_tags(self) -> ActionResult:
        resource = self._tagged()
        resource.tags = stored.merged_tags(resource.tags, self.params["Tags"])
        return ActionResult({"Tags": resource.tags})

    def delete_tags(self) -> ActionResult:
        resource = self._tagged()
        resource.tags = [tag for tag in resource.tags if tag["Key"] not in self.params["TagKeys"]]
        return EmptyResult()


class RuntimeResponse(BaseResponse):
    """The sagemaker-runtime service. What it lacks is an error and no canned answer."""

    use_raw_body = True

    def __init__(self) -> None:
        super().__init__(service_name="sagemaker-runtime")
        self.automated_parameter_parsing = True

    def invoke_endpoint(self) -> tuple[int, dict[str, str], bytes]:
        backend = sagemaker_backends[self.current_account][self.region]
        answer, variant = live().endpoints.invoke(backend, self.params)
        # Not an ActionResult: moto would announce every payload as application/json.
        headers = {"Content-Type": answer.content_type, "x-Amzn-Invoked-Production-Variant": variant}
        if answer.custom_attributes:
            headers["X-Amzn-SageMaker-Custom-Attributes"] = answer.custom_attributes
        return 200, headers, answer.body

    def invoke_endpoint_async(self) -> tuple[int, dict[str, str], bytes]:
        backend = sagemaker_backends[self.current_account][self.region]
        accepted = live().asynchronous.accept(backend, self.params)
        headers = {
            "Content-Type": "application/json",
            "X-Amzn-SageMaker-OutputLocation": accepted.output,
            "X-Amzn-SageMaker-FailureLocation": accepted.failure,
        }
        return 202, headers, json.dumps({"InferenceId": accepted.inference_id}).encode()
