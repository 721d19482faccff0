"""What CloudTrail tells of calls that changed something: EventBridge at once, and LookupEvents whoever asks later.

The form: https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-record-contents.html,
https://docs.aws.amazon.com/awscloudtrail/latest/APIReference/API_LookupEvents.html.
CloudTrail takes minutes to tell; here the event comes at once.
"""

import json
import re
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final

from botocore.model import ListShape, MapShape, Shape, StructureShape
from moto.cloudtrail.models import cloudtrail_backends
from moto.cloudtrail.responses import CloudTrailResponse
from moto.core.exceptions import JsonRESTError
from moto.core.utils import get_service_model
from moto.iam.models import iam_backends
from moto.sts.models import sts_backends

from infra.rehearsal.emulator import events
from infra.rehearsal.emulator.calls import ACCOUNT, ROOT, Call

TOLD: Final = frozenset({"sagemaker"})
"""The services whose calls EventBridge is told of; they speak JSON."""
SOURCES: Final[Mapping[str, str]] = {
    "cloudwatch": "monitoring",
    "events": "events",
    "lambda": "lambda",
    "sagemaker": "sagemaker",
    "scheduler": "scheduler",
}
"""The services whose calls can be looked up, and what CloudTrail calls them."""
DATA_EVENTS: Final = frozenset(
    {
        *("InvokeEndpoint", "InvokeEndpointAsync", "PutRecord", "DeleteRecord", "BatchPutMetrics"),
        *("Invoke", "InvokeAsync", "InvokeWithResponseStream", "PutEvents", "PutMetricData"),
    }
)
"""Calls that CloudTrail records only where one pays for it, or not at all."""
DATED: Final[Mapping[str, str]] = {
    "AddPermission": "AddPermission20150331v2",
    "CreateAlias": "CreateAlias20150331",
    "CreateEventSourceMapping": "CreateEventSourceMapping20150331",
    "CreateFunction": "CreateFunction20150331",
    "DeleteEventSourceMapping": "DeleteEventSourceMapping20150331",
    "DeleteFunction": "DeleteFunction20150331",
    "PublishVersion": "PublishVersion20150331",
    "PutFunctionConcurrency": "PutFunctionConcurrency20171031",
    "RemovePermission": "RemovePermission20150331v2",
    "TagResource": "TagResource20170331v2",
    "UpdateAlias": "UpdateAlias20150331",
    "UpdateEventSourceMapping": "UpdateEventSourceMapping20150331",
    "UpdateFunctionCode": "UpdateFunctionCode20150331v2",
    "UpdateFunctionConfiguration": "UpdateFunctionConfiguration20150331v2",
}
"""What CloudTrail calls Lambda's operations: https://docs.aws.amazon.com/lambda/latest/dg/logging-using-cloudtrail.html."""
MOST_KEPT: Final = 10_000
"""Events of a region that can be looked up; AWS keeps those of 90 days."""
KEPT_SECONDS: Final = 90 * 86400.0
PAGE: Final = 50

Json = dict[str, Any]


def install() -> None:
    """Answer LookupEvents."""
    CloudTrailResponse.lookup_events = _lookup  # type: ignore[attr-defined]  # moto has no such operation


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


def tell(
    call: Call, key: str, asked: bytes, read: Callable[[], Mapping[str, Any]], answered: bytes, error: str | None
) -> None:
    """Keep a call for LookupEvents, and put SageMaker's on the default bus; calls that only look are not told of.

    `read` reads the request of a service that says what it wants elsewhere than in a JSON body.
    """
    if call.service not in SOURCES or call.reads or call.action in DATA_EVENTS:
        return
    model = get_service_model(call.service)
    if call.action not in model.operation_names:
        return
    operation = model.operation_model(call.action)
    wanted = _parsed(asked) if call.service in TOLD else dict(read())
    detail: Json = {
        "eventVersion": "1.11",
        "userIdentity": identity_of(key),
        "eventTime": events.timestamp(time.time()),
        "eventSource": f"{SOURCES[call.service]}.amazonaws.com",
        "eventName": DATED.get(call.action, call.action) if call.service == "lambda" else call.action,
        "awsRegion": call.region,
        "sourceIPAddress": "127.0.0.1",
        "userAgent": "rehearsal",
        "requestParameters": _camel(wanted, operation.input_shape),
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
    _kept(call.region).append((time.time(), detail))
    if call.service in TOLD:
        events.emit(call.region, f"aws.{call.service}", "AWS API Call via CloudTrail", detail)


def _kept(region: str) -> deque[tuple[float, Json]]:
    """What can be looked up in a region, the oldest first: where a reset of moto clears it."""
    found: deque[tuple[float, Json]] = vars(cloudtrail_backends[ACCOUNT][region]).setdefault(
        "told", deque(maxlen=MOST_KEPT)
    )
    return found


def _lookup(response: CloudTrailResponse) -> str:
    """LookupEvents: by one attribute at most, in a stretch of time, the newest first."""
    attributes = response._get_param("LookupAttributes") or []
    if len(attributes) > 1:
        raise JsonRESTError("InvalidLookupAttributesException", "Only one lookup attribute can be specified")
    since = float(response._get_param("StartTime") or time.time() - KEPT_SECONDS)
    until = float(response._get_param("EndTime") or time.time())
    if since > until:
        raise JsonRESTError("InvalidTimeRangeException", "The start time is after the end time")
    most = int(response._get_param("MaxResults") or PAGE)
    if not 1 <= most <= PAGE:
        raise JsonRESTError("InvalidMaxResultsException", f"MaxResults is {most}: it has to be from 1 to {PAGE}")
    token = response._get_param("NextToken") or ""
    if token and not token.isdigit():
        raise JsonRESTError("InvalidNextTokenException", f"{token!r} is no token of an answer")
    found = [
        _looked_up(moment, detail)
        for moment, detail in reversed(list(_kept(response.region)))
        if since <= moment <= until
    ]
    found = [each for each in found if all(_has(each, wanted) for wanted in attributes)]
    first = int(token or 0)
    more = {"NextToken": str(first + most)} if len(found) > first + most else {}
    return json.dumps({"Events": found[first : first + most], **more})


def _looked_up(moment: float, detail: Json) -> Json:
    """An event in LookupEvents' form. Which resources it names, only the event itself tells here."""
    identity = detail["userIdentity"]
    return {
        "EventId": detail["eventID"],
        "EventName": detail["eventName"],
        "ReadOnly": str(detail["readOnly"]).lower(),
        "AccessKeyId": identity.get("accessKeyId", ""),
        "EventTime": moment,
        "EventSource": detail["eventSource"],
        "Username": identity.get("userName") or identity.get("arn", identity.get("invokedBy", "")).rpartition("/")[2],
        "Resources": [],
        "CloudTrailEvent": json.dumps(detail, default=str),
    }


def _has(event: Json, wanted: Mapping[str, str]) -> bool:
    key, value = wanted["AttributeKey"], wanted["AttributeValue"]
    if key in ("ResourceName", "ResourceType"):
        raise NotImplementedError(f"events are not looked up by {key} in the rehearsal")
    return bool(event[key] == value)


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body or b"{}")
    except ValueError:
        return {}


def _camel(value: Any, shape: Shape | None) -> Any:
    """With AWS's names in lowerCamelCase, and the user's own (metadata, environment) as they are."""
    if isinstance(shape, StructureShape) and isinstance(value, Mapping):
        return {
            name[0].lower() + name[1:]: _camel(each, shape.members.get(name))
            for name, each in value.items()
            if not _is_cargo(shape.members.get(name))
        }
    if isinstance(shape, ListShape) and isinstance(value, list):
        return [_camel(each, shape.member) for each in value]
    if isinstance(shape, MapShape) and isinstance(value, Mapping):
        return {name: _camel(each, shape.value) for name, each in value.items()}
    return value


def _is_cargo(shape: Shape | None) -> bool:
    """Whether something is bytes, such as a function's code: CloudTrail leaves those out."""
    return shape is not None and shape.type_name == "blob"
