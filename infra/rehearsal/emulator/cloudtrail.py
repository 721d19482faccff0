"""What CloudTrail tells EventBridge: every SageMaker call that changed something, with who made it.

The form: https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-record-contents.html.
CloudTrail takes minutes to tell; here the event comes at once.
"""

import json
import re
import time
import uuid
from collections.abc import Mapping
from typing import Any, Final

from botocore.model import ListShape, MapShape, Shape, StructureShape
from moto.core.utils import get_service_model
from moto.iam.models import iam_backends
from moto.sts.models import sts_backends

from infra.rehearsal.emulator import events
from infra.rehearsal.emulator.calls import ACCOUNT, ROOT, Call

TOLD: Final = frozenset({"sagemaker"})
"""The services whose calls are told of; they speak JSON."""
DATA_EVENTS: Final = frozenset(
    {"InvokeEndpoint", "InvokeEndpointAsync", "PutRecord", "DeleteRecord", "BatchPutMetrics"}
)
"""Calls that CloudTrail records only where one pays for it."""

Json = dict[str, Any]


def key_in(authorization: str) -> str:
    """The access key that signed a request; empty where none did."""
    found = re.search(r"Credential=([^/]+)/", authorization)
    return found[1] if found else ""


def identity_of(key: str) -> Json:
    """Who has an access key, as CloudTrail's userIdentity."""
    if key.endswith(".amazonaws.com"):
        return {"type": "AWSService", "invokedBy": key}
    session = sts_backends[ACCOUNT]["aws"].get_assumed_role_from_access_key(key)
    if session:
        issuer = {
            "type": "Role",
            "principalId": session.user_id.partition(":")[0],
            "arn": session.role_arn,
            "accountId": ACCOUNT,
            "userName": session.role_arn.rpartition("/")[2],
        }
        return {
            "type": "AssumedRole",
            "principalId": session.user_id,
            "arn": session.arn,
            "accountId": ACCOUNT,
            "accessKeyId": key,
            "sessionContext": {"sessionIssuer": issuer, "attributes": {"mfaAuthenticated": "false"}},
        }
    known = iam_backends[ACCOUNT]["aws"].access_keys.get(key)
    name = getattr(known, "user_name", None)
    if name:
        user = iam_backends[ACCOUNT]["aws"].get_user(name)
        return {
            "type": "IAMUser",
            "principalId": user.id,
            "arn": user.arn,
            "accountId": ACCOUNT,
            "accessKeyId": key,
            "userName": name,
        }
    return {"type": "Root", "principalId": ACCOUNT, "arn": ROOT, "accountId": ACCOUNT, "accessKeyId": key}


def user_context(key: str) -> Json:
    """Who has an access key, as SageMaker's CreatedBy and LastModifiedBy have it; nobody for a service of AWS."""
    identity = identity_of(key)
    if "arn" not in identity:
        return {}
    return {"IamIdentity": {"Arn": identity["arn"], "PrincipalId": identity["principalId"]}}


def tell(call: Call, key: str, asked: bytes, answered: bytes, error: str | None) -> None:
    """Put a call on the default bus, as CloudTrail does; calls that only look are not told of."""
    if call.service not in TOLD or call.reads or call.action in DATA_EVENTS:
        return
    model = get_service_model(call.service)
    if call.action not in model.operation_names:
        return
    operation = model.operation_model(call.action)
    detail: Json = {
        "eventVersion": "1.11",
        "userIdentity": identity_of(key),
        "eventTime": events.timestamp(time.time()),
        "eventSource": f"{call.service}.amazonaws.com",
        "eventName": call.action,
        "awsRegion": call.region,
        "sourceIPAddress": "127.0.0.1",
        "userAgent": "rehearsal",
        "requestParameters": _camel(_parsed(asked), operation.input_shape),
        "responseElements": None if error else _camel(_parsed(answered), operation.output_shape) or None,
        "requestID": str(uuid.uuid4()),
        "eventID": str(uuid.uuid4()),
        "readOnly": False,
        "eventType": "AwsApiCall",
        "managementEvent": True,
        "recipientAccountId": ACCOUNT,
        "eventCategory": "Management",
    }
    if error:
        detail["errorCode"] = error
    events.emit(call.region, f"aws.{call.service}", "AWS API Call via CloudTrail", detail)


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body or b"{}")
    except ValueError:
        return {}


def _camel(value: Any, shape: Shape | None) -> Any:
    """With AWS's names in lowerCamelCase, and the user's own (metadata, environment) as they are."""
    if isinstance(shape, StructureShape) and isinstance(value, Mapping):
        return {name[0].lower() + name[1:]: _camel(each, shape.members.get(name)) for name, each in value.items()}
    if isinstance(shape, ListShape) and isinstance(value, list):
        return [_camel(each, shape.member) for each in value]
    if isinstance(shape, MapShape) and isinstance(value, Mapping):
        return {name: _camel(each, shape.value) for name, each in value.items()}
    return value
