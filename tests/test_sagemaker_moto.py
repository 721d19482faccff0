"""What the emulator's SageMaker relies on inside moto: a version of moto that changes it fails here."""

import inspect

import pytest
from moto.applicationautoscaling import urls as autoscaling_urls
from moto.applicationautoscaling.models import ApplicationAutoscalingBackend
from moto.backend_index import backend_url_patterns
from moto.budgets import urls as budgets_urls
from moto.budgets.models import Budget, BudgetsBackend, Notification
from moto.cloudwatch.models import CloudWatchBackend
from moto.core.base_backend import BaseBackend
from moto.core.responses import ActionResult, BaseResponse
from moto.eks import urls as eks_urls
from moto.eks.models import Cluster, EKSBackend, Nodegroup
from moto.eks.responses import EKSResponse
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.sagemaker import urls as sagemaker_urls
from moto.sagemaker.models import FakeEndpointConfig, Model, ModelPackage, ModelPackageGroup, SageMakerModelBackend
from moto.sagemaker.responses import SageMakerResponse
from moto.sagemakerruntime import urls as runtime_urls

from infra.rehearsal.emulator import feature_store, stored
from infra.rehearsal.emulator.sagemaker import FEATURE_STORE_PATHS, LiveSageMakerResponse, RuntimeResponse

REGION, ACCOUNT = "eu-central-1", "123456789012"


def parameters(function):
    return list(inspect.signature(function).parameters)


@pytest.mark.parametrize(
    "urls, path",
    [
        (sagemaker_urls, "{0}/$"),
        (budgets_urls, "{0}/$"),
        (autoscaling_urls, "{0}/$"),
        (runtime_urls, "{0}/endpoints/(?P<name>[^/]+)/invocations$"),
        (runtime_urls, "{0}/endpoints/(?P<name>[^/]+)/async-invocations$"),
        (eks_urls, "{0}/clusters/(?P<name>[^/]+)$"),
        (eks_urls, "{0}/clusters/(?P<name>[^/]+)/update-config$"),
    ],
)
def test_services_are_routed_by_a_table_of_paths(urls, path):
    assert path in urls.url_paths


@pytest.mark.parametrize("path", stored.EKS_PATHS)
def test_moto_has_no_route_yet_for_the_paths_that_are_added(path):
    """One that it gains may come with an implementation, which should then be used."""
    assert eks_urls.url_paths.get(f"{{0}}/{path}$") in (None, stored.EksResponse.dispatch)


@pytest.mark.parametrize(
    "path, service",
    [
        ("/", "sagemaker"),
        ("/FeatureGroup/a", "sagemaker"),
        ("/BatchGetRecord", "sagemaker"),
        ("/endpoints/a/invocations", "sagemakerruntime"),
        ("/endpoints/a/async-invocations", "sagemakerruntime"),
    ],
)
def test_requests_signed_for_sagemaker_go_to_these_services(path, service):
    application = DomainDispatcherApplication(create_backend_app)
    signed = f"AWS4-HMAC-SHA256 Credential=a/20260131/{REGION}/sagemaker/aws4_request, SignedHeaders=host"
    host = application.infer_service_region_host({"HTTP_AUTHORIZATION": signed, "PATH_INFO": path}, path)
    assert [name for name, pattern in backend_url_patterns if pattern.match(f"http://{host}")] == [service]


@pytest.mark.parametrize(
    "ours, moto",
    [(LiveSageMakerResponse, SageMakerResponse), (stored.EksResponse, EKSResponse)],
)
def test_what_is_added_or_mended_is_known(ours, moto):
    """An operation that moto gains shows up here: look at it, and use it where it is good."""
    added = {
        LiveSageMakerResponse: {
            "update_endpoint",
            "delete_model_package_group",
            "put_model_package_group_policy",
            "get_model_package_group_policy",
            "delete_model_package_group_policy",
            "delete_model_package",
            "update_feature_group",
            "delete_feature_group",
            "list_feature_groups",
            *("create_inference_component", "describe_inference_component", "update_inference_component"),
            *("update_inference_component_runtime_config", "delete_inference_component", "list_inference_components"),
            *("stop_training_job", "stop_transform_job"),
            *("stop_pipeline_execution", "retry_pipeline_execution", "update_pipeline_execution"),
            "list_pipeline_execution_steps",
            *("create_mlflow_tracking_server", "describe_mlflow_tracking_server", "update_mlflow_tracking_server"),
            *("start_mlflow_tracking_server", "stop_mlflow_tracking_server", "delete_mlflow_tracking_server"),
            *("list_mlflow_tracking_servers", "list_mlflow_apps"),
            *("create_mlflow_app", "describe_mlflow_app", "update_mlflow_app", "delete_mlflow_app"),
        },
        stored.EksResponse: {
            *("update_cluster_version", "update_nodegroup_version"),
            *("create_addon", "describe_addon", "update_addon", "delete_addon", "list_addons"),
            *("create_access_entry", "describe_access_entry", "update_access_entry"),
            *("delete_access_entry", "list_access_entries"),
            *("associate_access_policy", "list_associated_access_policies", "disassociate_access_policy"),
            *("create_pod_identity_association", "describe_pod_identity_association"),
            *("update_pod_identity_association", "delete_pod_identity_association", "list_pod_identity_associations"),
        },
    }[ours]
    operations = {name for name, _ in inspect.getmembers(ours, inspect.isfunction) if not name.startswith("_")}
    assert operations - {name for name, _ in inspect.getmembers(moto)} - {"kept"} == added


@pytest.mark.parametrize(
    "attribute",
    ["serialized", "parse_parameters", "call_action", "setup_class", "_get_action", "_get_param", "dispatch"],
)
def test_a_response_is_made_of_these_parts(attribute):
    assert callable(getattr(BaseResponse, attribute))


def test_a_response_carries_these_values():
    response = RuntimeResponse()
    assert (response.use_raw_body, response.automated_parameter_parsing) == (True, True)
    assert response.boto3_service_name == "sagemaker-runtime"
    assert feature_store.RuntimeResponse().boto3_service_name == "sagemaker-featurestore-runtime"
    assert SageMakerResponse().automated_parameter_parsing
    assert not EKSResponse().automated_parameter_parsing
    assert parameters(BaseResponse.serialized) == ["self", "action_result"]
    assert isinstance(ActionResult({}).result, dict)


def test_the_sagemaker_backend_holds_its_resources_in_these_tables():
    backend = SageMakerModelBackend(REGION, ACCOUNT)
    for table in (
        *("_models", "endpoints", "endpoint_configs", "feature_groups"),
        *("model_packages", "model_package_groups", "model_package_name_mapping"),
    ):
        assert getattr(backend, table) == {}
    for method in ("describe_model", "describe_endpoint_config", "describe_model_package", "_get_resource_from_arn"):
        assert callable(getattr(backend, method))


def test_a_reset_of_a_backend_forgets_what_was_put_beside_it():
    backend = SageMakerModelBackend(REGION, ACCOUNT)
    vars(backend)["kept"] = {"arn": {}}
    BaseBackend.reset(backend)
    assert "kept" not in vars(backend)
    assert parameters(SageMakerModelBackend.reset) == ["self"]


@pytest.mark.parametrize(
    "kind, needed",
    [
        (FakeEndpointConfig, ["production_variants", "data_capture_config"]),
        (Model, ["model_name", "execution_role_arn", "primary_container", "containers"]),
        (ModelPackageGroup, ["model_package_group_name"]),
        (ModelPackage, ["model_package_group_name", "model_approval_status", "inference_specification"]),
        (Cluster, ["version", "tags"]),
        (Nodegroup, ["version", "launch_template", "release_version", "tags"]),
        (Budget, ["budget", "notifications"]),
        (Notification, ["details", "subscribers"]),
    ],
)
def test_resources_are_made_of_these_values(kind, needed):
    assert set(needed) <= set(parameters(kind.__init__))


def test_instance_types_are_checked_in_one_method():
    assert parameters(FakeEndpointConfig.validate_instance_type) == ["self", "instance_type"]


def test_other_backends_hold_their_resources_in_these_tables():
    assert EKSBackend(REGION, ACCOUNT).clusters == {}
    assert BudgetsBackend("aws", ACCOUNT).budgets == {}
    assert ApplicationAutoscalingBackend(REGION, ACCOUNT).targets == {}
    assert CloudWatchBackend(REGION, ACCOUNT).alarms == {}


def test_the_feature_store_paths_are_not_motos():
    for path in FEATURE_STORE_PATHS:
        handler = sagemaker_urls.url_paths.get(f"{{0}}/{path}$")
        assert handler in (None, feature_store.RuntimeResponse.dispatch)
