"""What a request would take of its caller in AWS: rights on what it names, and on the keys that encrypt that."""

import io
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import unquote

from moto.core.exceptions import ServiceException
from moto.core.parse import PROTOCOL_PARSERS
from moto.core.request import Request, determine_request_protocol
from moto.core.routing import get_service_router
from moto.core.utils import get_service_model
from moto.kms.models import kms_backends
from moto.s3.models import s3_backends
from moto.sns.models import sns_backends
from moto.sqs.models import sqs_backends
from moto.stepfunctions.models import stepfunctions_backends

from infra.needs import Need, Parameters, needs
from infra.rehearsal.emulator import mlflow
from infra.rehearsal.emulator.calls import ACCOUNT, Call

WRITES: Final = ("kms:GenerateDataKey",)
READS: Final = ("kms:Decrypt",)
BOTH: Final = (*READS, *WRITES)


def of(call: Call, environ: Mapping[str, Any], body: bytes, answered: bytes, error: str | None) -> list[Need]:
    """The rights that a call took; none for a caller to whom no policy applies, or before anything was signed."""
    if not (":role/" in call.principal or call.principal.endswith(".amazonaws.com")):
        return []
    if call.service == mlflow.SIGNED_AS:
        return _of_mlflow(environ)
    parameters = {**asked(call, environ, body), **_made(call, answered)}
    found = needs(call.service, call.action, parameters, call.region, ACCOUNT)
    return [*found, *_on_keys(call, parameters, error)]


def _of_mlflow(environ: Mapping[str, Any]) -> list[Need]:
    if arn := environ.get(mlflow.APP_HEADER):
        return [Need("sagemaker:CallMlflowAppApi", arn)]
    return [Need("sagemaker-mlflow:AccessUI", environ.get(mlflow.SERVER_HEADER, "*"))]


def asked(call: Call, environ: Mapping[str, Any], body: bytes) -> Parameters:
    """What the request says, under the names of the service's model; as far as it can be read."""
    if (call.service, call.action) == ("sagemaker-featurestore-runtime", "BatchWriteRecord"):
        groups = {entry["FeatureGroupName"] for entry in json.loads(body)["Entries"]}
        return {"FeatureGroupName": sorted(groups)}  # the records come by the hundred thousand
    if (call.service, call.action) in CARGO:
        body = b""
    try:
        model = get_service_model(call.service)
        operation = model.operation_model(call.action)
        request = Request({**environ, "wsgi.input": io.BytesIO(body)})
        in_path = get_service_router(call.service).match(request)[1] if model.protocol.startswith("rest") else {}
        parser = PROTOCOL_PARSERS[determine_request_protocol(model, environ.get("CONTENT_TYPE", ""))]
        found = parser(operation).parse(
            {
                "method": request.method,
                "values": request.values,
                "headers": request.headers,
                "body": body,
                "url_path": request.path,
                "url_params": in_path,
            }
        )
    except Exception as error:  # of a request that was refused for the same reason, or that moto itself reads otherwise
        print(f"{call.service}.{call.action}: what it names cannot be read: {error!r}", flush=True)
        return {}
    told = {name: value for name, value in found.items() if value is not None}
    if call.service == "kms" and "KeyId" in told:
        told["KeyId"] = _key(call.region, told["KeyId"]).rpartition("/")[2]
    return told


CARGO: Final = frozenset(
    {
        ("lambda", "Invoke"),
        ("s3", "PutObject"),
        ("s3", "UploadPart"),
        ("sagemaker-runtime", "InvokeEndpoint"),
    }
)
"""Operations whose bodies say nothing but what they carry."""


def _made(call: Call, answered: bytes) -> Parameters:
    """The ARN of what a call made, which only the answer tells."""
    if not call.action.startswith("Create") or not answered.startswith(b"{"):
        return {}
    return {"made": [arn for arn in json.loads(answered).values() if isinstance(arn, str) and arn.startswith("arn:")]}


def _key(region: str, name: str) -> str:
    """The ARN of the key that goes by this name: an ARN, an ID, or an alias."""
    backend = kms_backends[ACCOUNT][region]
    try:
        known = backend.any_id_to_key_id(name)
    except ServiceException:
        return name
    key = backend.keys.get(known)
    return str(key.arn) if key else name


def _on_keys(call: Call, parameters: Parameters, error: str | None) -> Iterator[Need]:
    """The rights on the keys that encrypt what a call reads and writes.

    Which those are: https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html,
    https://docs.aws.amazon.com/sns/latest/dg/sns-key-management.html,
    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-key-management.html,
    https://docs.aws.amazon.com/step-functions/latest/dg/encryption-at-rest.html.
    """
    find = KEYS.get(call.service)
    for name, actions in find(call, parameters) if find and not error else ():
        via = f"{VIA.get(call.service, call.service)}.{call.region}.amazonaws.com"
        for action in actions:
            yield Need(action, _key(call.region, name), {"kms:viaservice": (via,)})


Keys = Iterator[tuple[str, tuple[str, ...]]]
"""Keys, each with what is done with it."""


def _of_objects(call: Call, parameters: Parameters) -> Keys:
    bucket, key, version = (parameters.get(each) for each in ("Bucket", "Key", "VersionId"))
    if call.action == "GetObject" or (call.action == "HeadObject" and parameters.get("ChecksumMode")):
        yield from _of_object(bucket, key, version, READS)
    elif call.action in ("PutObject", "CopyObject"):
        yield from _of_object(bucket, key, None, WRITES)
    elif call.action in ("CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"):
        encryption = s3_backends[ACCOUNT]["aws"].head_bucket(str(bucket)).encryption or {}
        default = encryption.get("Rule", {}).get("ApplyServerSideEncryptionByDefault", {}).get("KMSMasterKeyID")
        if named := parameters.get("SSEKMSKeyId") or default:
            yield named, BOTH
    if call.action == "CopyObject":
        source, _, name = str(parameters["CopySource"]).lstrip("/").partition("/")
        name, _, version = name.partition("?versionId=")
        yield from _of_object(source, name, version or None, READS)


def _of_object(bucket: Any, key: Any, version: Any, actions: tuple[str, ...]) -> Keys:
    found = s3_backends[ACCOUNT]["aws"].head_object(bucket, unquote(str(key)), version)
    if found and found.kms_key_id:
        yield found.kms_key_id, actions


def _of_topics(call: Call, parameters: Parameters) -> Keys:
    topic = sns_backends[ACCOUNT][call.region].topics.get(parameters.get("TopicArn", ""))
    if call.action in ("Publish", "PublishBatch") and topic and topic.kms_master_key_id:
        yield topic.kms_master_key_id, BOTH


def _of_queues(call: Call, parameters: Parameters) -> Keys:
    actions = {"SendMessage": BOTH, "SendMessageBatch": BOTH, "ReceiveMessage": READS}.get(call.action)
    name = str(parameters.get("QueueUrl", "")).rpartition("/")[2]
    queue = sqs_backends[ACCOUNT][call.region].queues.get(name)
    if actions and queue and (named := getattr(queue, "kms_master_key_id", None)):
        yield named, actions


def _of_machines(call: Call, parameters: Parameters) -> Keys:
    actions = {"StartExecution": BOTH, "DescribeExecution": READS, "GetExecutionHistory": READS}.get(call.action)
    arn = str(parameters.get("stateMachineArn") or parameters.get("executionArn", ""))
    name = arn.split(":")[6] if arn.count(":") >= 6 else ""
    for machine in stepfunctions_backends[ACCOUNT][call.region].state_machines if actions else ():
        named = (machine.encryptionConfiguration or {}).get("kmsKeyId")
        if actions and machine.name == name and named:
            yield named, actions


KEYS: Final[Mapping[str, Callable[[Call, Parameters], Keys]]] = {
    "s3": _of_objects,
    "sns": _of_topics,
    "sqs": _of_queues,
    "stepfunctions": _of_machines,
}
VIA: Final[Mapping[str, str]] = {"stepfunctions": "states"}
"""What conditions on `kms:ViaService` call a service, where it is not botocore's name."""
