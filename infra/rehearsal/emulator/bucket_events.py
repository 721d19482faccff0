"""What happens in a bucket, as events on EventBridge, where the bucket is told to send them."""

from collections.abc import Callable
from typing import Any, Final

import moto.s3.notifications
from moto.core.responses import ActionResult
from moto.s3.models import FakeBucket, FakeKey
from moto.s3.responses import S3Response

from infra.rehearsal.emulator import events
from infra.rehearsal.emulator.calls import ACCOUNT

SENT: Final = {"ObjectCreated": "Object Created", "ObjectRemoved": "Object Deleted"}
"""What happened, and what its event is called.
https://docs.aws.amazon.com/AmazonS3/latest/userguide/EventBridge.html"""

_configuration: Callable[[S3Response], Any] = S3Response.get_bucket_notification


def install() -> None:
    """Send well-formed events, and tell which buckets send them: moto 5.2.5 does neither."""
    moto.s3.notifications._send_event_bridge_message = _send
    S3Response.get_bucket_notification = _get  # type: ignore[assignment, method-assign]  # that is what is replaced


def _send(account_id: str, bucket: FakeBucket, event_name: str, key: FakeKey) -> None:
    what, _, how = str(getattr(event_name, "value", event_name)).removeprefix("s3:").partition(":")
    if what not in SENT:
        return
    thing: dict[str, Any] = {"key": key.name}
    if what == "ObjectCreated":
        thing |= {"size": key.size, "etag": key.etag.strip('"')}
    if bucket.is_versioned:
        thing["version-id"] = key.version_id
    reasons = {"Put": "PutObject", "Copy": "CopyObject", "Post": "POST Object", "Delete": "DeleteObject"}
    detail = {"version": "0", "bucket": {"name": bucket.name}, "object": thing, "reason": reasons.get(how, how)}
    events.emit(bucket.region_name, "aws.s3", SENT[what], {**detail, "requester": ACCOUNT}, [bucket.arn])


def _get(response: S3Response) -> Any:
    configuration = response.backend.get_bucket_notification_configuration(response.bucket_name)
    if configuration is None or configuration.event_bridge is None:
        return _configuration(response)
    response.data["Action"] = "GetBucketNotificationConfiguration"
    return response.serialized(ActionResult({"EventBridgeConfiguration": {}}))
