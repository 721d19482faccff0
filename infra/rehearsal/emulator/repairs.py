"""What moto gets wrong and the platform's stacks need right. Each goes when moto's next version has it."""

import json
from collections.abc import Callable

from moto.s3.models import FakeBucket

_may_log: Callable[[FakeBucket, str | None], bool] = FakeBucket._log_permissions_enabled_policy


def install() -> None:
    """Replace the faulty methods."""
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
