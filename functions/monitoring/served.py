"""The baseline that was registered with a model: each version is judged by its own."""

from typing import Any

from functions.monitoring import baseline
from functions.monitoring.baseline import Baseline
from functions.monitoring.windows import place


def baseline_of(s3: Any, sagemaker: Any, package_arn: str) -> Baseline:
    """The baseline of a version, with its team's constraints. Raises ValueError where there is none, or it is none."""
    package = sagemaker.describe_model_package(ModelPackageName=package_arn)
    quality = package.get("DriftCheckBaselines", {}).get("ModelDataQuality", {})
    if "Statistics" not in quality:
        raise ValueError(
            f"{package_arn} was registered without DriftCheckBaselines.ModelDataQuality.Statistics: "
            "register it with the baseline that training wrote"
        )
    texts = [_read(s3, quality[part]["S3Uri"]) for part in ("Statistics", "Constraints") if part in quality]
    return baseline.from_json(*texts)


def _read(s3: Any, uri: str) -> bytes:
    body: bytes = s3.get_object(**place(uri))["Body"].read()
    return body
