"""Which version of a model an endpoint serves, from SageMaker itself."""

from typing import Any

from botocore.exceptions import ClientError


class NothingLive(Exception):
    """An endpoint is not there, or serves no version of the registry; the text says which."""


def live_package(sagemaker: Any, endpoint: str) -> str:
    """The ARN of the model package that an endpoint serves. Raises NothingLive."""
    name = live_model(sagemaker, endpoint)
    container = sagemaker.describe_model(ModelName=name).get("PrimaryContainer", {})
    if "ModelPackageName" not in container:
        raise NothingLive(f"endpoint {endpoint} serves model {name}, which is no version of the registry")
    return str(container["ModelPackageName"])


def live_model(sagemaker: Any, endpoint: str) -> str:
    """The name of the model that an endpoint serves. Raises NothingLive."""
    variant = live_configuration(sagemaker, endpoint)["ProductionVariants"][0]
    if "ModelName" in variant:
        return str(variant["ModelName"])
    found = sagemaker.list_inference_components(EndpointNameEquals=endpoint)["InferenceComponents"]
    if not found:
        raise NothingLive(f"endpoint {endpoint} has no inference component yet")
    component = sagemaker.describe_inference_component(InferenceComponentName=found[0]["InferenceComponentName"])
    return str(component["Specification"]["ModelName"])


def live_configuration(sagemaker: Any, endpoint: str) -> dict[str, Any]:
    """The endpoint configuration in force, as DescribeEndpointConfig tells of it. Raises NothingLive."""
    try:
        described = sagemaker.describe_endpoint(EndpointName=endpoint)
    except ClientError as error:
        # SageMaker answers ValidationException, "Could not find endpoint", for what is not there.
        if error.response["Error"]["Code"] not in ("ValidationException", "ResourceNotFound"):
            raise
        raise NothingLive(f"there is no endpoint {endpoint}") from error
    found: dict[str, Any] = sagemaker.describe_endpoint_config(EndpointConfigName=described["EndpointConfigName"])
    return found
