"""What moto gets wrong and the platform's stacks need right. Each goes when moto's next version has it."""

import copy
import hashlib
import json
import uuid
from collections.abc import Callable
from typing import Any

from moto.ecr.models import ECRBackend
from moto.iam.access_control import PermissionResult
from moto.s3.exceptions import InvalidBucketState
from moto.s3.models import FakeBucket, S3Backend
from moto.stepfunctions.responses import StepFunctionResponse

_may_log: Callable[[FakeBucket, str | None], bool] = FakeBucket._log_permissions_enabled_policy

_permitted: Callable[[FakeBucket, str, str], Any] = FakeBucket.get_permission

_images: Callable[..., Any] = ECRBackend.batch_get_image

_start_execution: Callable[[StepFunctionResponse], Any] = StepFunctionResponse.start_execution


def install() -> None:
    """Replace the faulty methods."""
    S3Backend.put_object_lock_configuration = _lock  # type: ignore[assignment, method-assign]  # that is what is replaced
    ECRBackend.batch_get_image = _images_of  # type: ignore[assignment, method-assign]  # that is what is replaced
    StepFunctionResponse.start_execution = _start_by_name  # type: ignore[assignment, method-assign]  # that is what is replaced
    FakeBucket.get_permission = _permission  # type: ignore[assignment, method-assign]  # that is what is replaced
    FakeBucket._log_permissions_enabled_policy = staticmethod(  # type: ignore[method-assign]  # that is what is replaced
        _may_log_by_policy
    )


def _may_log_by_policy(target_bucket: FakeBucket, target_prefix: str | None) -> bool:
    """Whether a bucket's policy lets S3 write access logs. moto 5.2.5 fails on a statement whose principal is `*`."""
    whole = target_bucket.policy
    if not whole:
        return _may_log(target_bucket, target_prefix)
    document = json.loads(whole)
    document["Statement"] = [each for each in document["Statement"] if isinstance(each.get("Principal"), dict)]
    target_bucket.policy = json.dumps(document).encode()
    try:
        return _may_log(target_bucket, target_prefix)
    finally:
        target_bucket.policy = whole


def _permission(bucket: FakeBucket, action: str, resource: str) -> Any:
    """What a bucket's policy says of a request.

    moto 5.2.5 reads no conditions, and so refuses every request to a bucket whose policy refuses some. Here a refusal
    under a condition refuses nothing; one without is enforced.
    """
    whole = bucket.policy
    if not whole:
        return _permitted(bucket, action, resource)
    document = json.loads(whole)
    statements = [each for each in document["Statement"] if not _is_conditional_refusal(each)]
    if not statements:
        return PermissionResult.NEUTRAL
    view = copy.copy(bucket)
    view.policy = json.dumps({**document, "Statement": statements}).encode()
    return _permitted(view, action, resource)


def _is_conditional_refusal(statement: dict[str, Any]) -> bool:
    return statement["Effect"] == "Deny" and bool(statement.get("Condition"))


def _start_by_name(response: StepFunctionResponse) -> Any:
    """Start an execution. moto 5.2.5 names each that is not named "None", and so has but one of them."""
    asked = json.loads(response.body)
    response.body = json.dumps({"name": str(uuid.uuid4()), **asked})
    return _start_execution(response)


def _images_of(
    backend: ECRBackend,
    repository_name: str,
    registry_id: str | None = None,
    image_ids: list[dict[str, Any]] | None = None,
) -> Any:
    """Images of a repository.

    moto 5.2.5 looks for another account's in this one's. Of those nothing is known here but the name, so that each has
    a digest made of its name: the same for the same image, as long as nobody pushes another one under its tag.
    """
    if registry_id in (None, backend.account_id):
        return _images(backend, repository_name, registry_id, image_ids)
    found = []
    for image in image_ids or []:
        tag = image.get("imageTag", "")
        name = f"{registry_id}/{repository_name}:{tag}".encode()
        digest = image.get("imageDigest") or f"sha256:{hashlib.sha256(name).hexdigest()}"
        identity = {"imageDigest": digest, **({"imageTag": tag} if tag else {})}
        found.append({"registryId": registry_id, "repositoryName": repository_name, "imageId": identity})
    return {"images": found, "failures": []}


def _lock(
    backend: S3Backend,
    bucket_name: str,
    lock_enabled: bool,
    mode: str | None = None,
    days: int | None = None,
    years: int | None = None,
) -> None:
    """Say how long new objects of a bucket are locked. moto 5.2.5 does that to an empty bucket only."""
    bucket = backend.get_bucket(bucket_name)
    if not bucket.is_versioned:
        raise InvalidBucketState("Versioning must be 'Enabled' on the bucket to apply a Object Lock configuration")
    bucket.object_lock_enabled = bucket.object_lock_enabled or lock_enabled
    bucket.default_lock_mode, bucket.default_lock_days, bucket.default_lock_years = mode, days, years
