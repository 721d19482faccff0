"""The table: for each resource type that the stacks use, the AWS calls that make, read, change and delete it.

A row says what Pulumi's names cannot tell: everything else is matched by name (mapping.py). To add a type, add a row.
An input that no row's change covers, and that the creating call cannot change either, forces a replacement.
"""

import base64
import hashlib
import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from infra.rehearsal.aws.mapping import Values, as_text, fill, find
from infra.rehearsal.provider import Props, ProviderError

Arguments = Mapping[str, Any] | Callable[[Values], Mapping[str, Any] | Sequence[Mapping[str, Any]] | None]
"""A call's arguments: a template such as `{"Bucket": "{bucket}"}`, or a function of inputs and outputs.

None from the latter: the call is not needed. A list: one call for each. Names are Pulumi's or AWS's; mapping.py turns
both into AWS's. Beside inputs and outputs there are `account`, `region`, `id`, `before` (the inputs before an update),
`now` (the outputs before it), `created` (what the creating call answered) and `response` (what the call before this
one answered).
"""
Calls = Sequence[tuple[str, Arguments]]


@dataclass(frozen=True)
class Read:
    """How to look whether it is there."""

    call: str
    arguments: Arguments
    found: str | Callable[[Any, Values], Any]
    """JMESPath to what must not be empty in the response, or a function that finds it."""


@dataclass(frozen=True)
class Change:
    """A call that puts some inputs in force."""

    inputs: tuple[str, ...]
    """Names, or paths where a part can be changed that the rest cannot: `launchTemplate.version`."""
    call: str
    arguments: Arguments
    at_creation: bool = False
    """Whether the creating call does not take these inputs, so that this call follows it."""
    when: Literal["given", "taken", "either"] = "given"
    """Whether it is for inputs that have a value, for those whose value was taken away, or for both."""
    resets: Mapping[str, Any] = field(default_factory=dict)
    """What stands for an input whose value was taken away; without it, that is a replacement."""
    whole: bool = False
    """Whether the call sets everything, so that what is left out is taken away."""
    already: str = ""
    """The code of an error that says it is so already."""


@dataclass(frozen=True)
class Ready:
    """How to tell that it is usable: JMESPath to its status in what is read, and what that may be."""

    status: str
    good: str
    bad: tuple[str, ...]
    reason: str = "''"
    """JMESPath to why."""
    live: tuple[str, ...] = ()
    """What must be as the last call asked for it, once it is usable: otherwise that was undone."""


@dataclass(frozen=True)
class Tags:
    """How a service tags what exists already."""

    call: str
    resource: Mapping[str, Any]
    member: str
    style: str
    """`map`, or the names of a tag's key and value: `Key,Value`."""
    removal: str
    removed: str
    """The removing call, and its parameter that takes the keys."""


@dataclass(frozen=True, kw_only=True)
class Type:
    """One resource type."""

    service: str
    create: str
    arguments: Arguments | None = None
    """None: every input but those of `local`, and those that a change puts in force after creation."""
    rename: Mapping[str, str] = field(default_factory=dict)
    """The path of an input, and the parameter that takes it."""
    id: Any
    """A template over inputs and outputs, or a function of them; so are the next two."""
    arn: Any = ""
    """Where the ARN follows from inputs and id."""
    copies: Mapping[str, Any] = field(default_factory=dict)
    """Outputs that follow from inputs and id."""
    outputs: Mapping[str, str] = field(default_factory=dict)
    """Outputs that only AWS can tell: JMESPath in the creating call's response."""
    found: Mapping[str, str] = field(default_factory=dict)
    """Likewise, in what `read` finds."""
    looked_up: Mapping[str, tuple[str, Arguments, str]] = field(default_factory=dict)
    """Outputs that another call tells once it is made: the call, its arguments, and JMESPath in its response."""
    structured: tuple[str, ...] = ()
    """Outputs that are no texts."""
    renewed: tuple[str, ...] = ()
    """Outputs that every update changes."""
    assumed: Mapping[str, str] = field(default_factory=dict)
    """AWS's own defaults for inputs that stand in templates."""
    named: str = ""
    """The input that gets a generated name where the program gives none."""
    name_start: str = ""
    """How a generated name has to begin."""
    lower_case: bool = False
    """Whether its name has no capitals."""
    read: Read
    repeatable: bool = False
    """Whether the creating call also changes what exists."""
    keys: tuple[str, ...] = ()
    """Inputs that even then force a replacement, for they name what is changed."""
    changes: tuple[Change, ...] = ()
    ready: Ready | None = None
    delete: Calls
    tags: Tags | None = None
    tags_at_creation: str = ""
    """The creating call's parameter for tags; without one, they are put afterwards."""
    local: tuple[str, ...] = ()
    """Inputs that matter only to the provider, or to a call other than the creating one."""
    fixed_name: bool = False
    """Whether two cannot exist side by side, so that a replacement deletes first."""


# --- arguments ------------------------------------------------------------------------------------------------------


def everything(values: Values) -> Mapping[str, Any]:
    """Arguments: all inputs."""
    return values


def passed(*names: str) -> Callable[[Mapping[str, Any]], Props]:
    """Arguments: the inputs of these names, where they are given."""
    return lambda values: {name: values[name] for name in names if values.get(name) is not None}


def without(*names: str) -> Callable[[Mapping[str, Any]], Props]:
    """Arguments: every input but these."""
    return lambda values: {name: values[name] for name in values if name not in names}


def with_(fixed: Mapping[str, str], *names: str) -> Callable[[Values], Props]:
    """Arguments: what says which one it is, as inputs or outputs by parameter, and the inputs of these names."""
    return lambda values: {
        **{parameter: values[source] for parameter, source in fixed.items()},
        **passed(*names)(values),
    }


def tag_list(tags: Mapping[str, str], style: str) -> Any:
    """Tags as a service wants them."""
    if style == "map":
        return dict(tags)
    key, value = style.split(",")
    return [{key: name, value: text} for name, text in sorted(tags.items())]


def _by_arn(resource: str, member: str, style: str, removed: str = "TagKeys") -> Tags:
    return Tags("TagResource", {resource: "{arn}"}, member, style, "UntagResource", removed)


def _iam_tags(what: str, key: str, value: str) -> Tags:
    return Tags(f"Tag{what}", {key: value}, "Tags", "Key,Value", f"Untag{what}", "TagKeys")


def _arn(service: str, rest: str) -> str:
    return f"arn:aws:{service}:{{region}}:{{account}}:{rest}"


EC2_TAGS: Final = Tags("CreateTags", {"Resources": ["{id}"]}, "Tags", "Key,Value", "DeleteTags", "Tags")
KMS_TAGS: Final = Tags("TagResource", {"KeyId": "{id}"}, "Tags", "TagKey,TagValue", "UntagResource", "TagKeys")
S3_TAGS: Final = Tags("PutBucketTagging", {"Bucket": "{bucket}"}, "Tagging.TagSet", "Key,Value", "", "")
"""PutBucketTagging replaces the whole set."""
OBJECT_TAGS: Final = Tags(
    "PutObjectTagging", {"Bucket": "{bucket}", "Key": "{key}"}, "Tagging.TagSet", "Key,Value", "", ""
)
LOG_TAGS: Final = _by_arn("resourceArn", "tags", "map", "tagKeys")
EKS_TAGS: Final = _by_arn("resourceArn", "tags", "map", "tagKeys")
ECR_TAGS: Final = _by_arn("resourceArn", "tags", "Key,Value", "tagKeys")
LAMBDA_TAGS: Final = _by_arn("Resource", "Tags", "map")
SNS_TAGS: Final = _by_arn("ResourceArn", "Tags", "Key,Value")
EVENT_TAGS: Final = _by_arn("ResourceARN", "Tags", "Key,Value")
SCHEDULER_TAGS: Final = _by_arn("ResourceArn", "Tags", "Key,Value")
COST_TAGS: Final = _by_arn("ResourceArn", "ResourceTags", "Key,Value", "ResourceTagKeys")
BUDGET_TAGS: Final = _by_arn("ResourceARN", "ResourceTags", "Key,Value", "ResourceTagKeys")
SQS_TAGS: Final = Tags("TagQueue", {"QueueUrl": "{id}"}, "Tags", "map", "UntagQueue", "TagKeys")
SAGEMAKER_TAGS: Final = Tags("AddTags", {"ResourceArn": "{arn}"}, "Tags", "Key,Value", "DeleteTags", "TagKeys")
API_TAGS: Final = _by_arn("resourceArn", "tags", "map", "tagKeys")
COGNITO_TAGS: Final = _by_arn("ResourceArn", "Tags", "map")
SCALING_TAGS: Final = _by_arn("ResourceARN", "Tags", "map")
STATES_TAGS: Final = _by_arn("resourceArn", "tags", "key,value", "tagKeys")
PARAMETER_TAGS: Final = Tags(
    "AddTagsToResource",
    {"ResourceType": "Parameter", "ResourceId": "{name}"},
    "Tags",
    "Key,Value",
    "RemoveTagsFromResource",
    "TagKeys",
)


# --- keys and identity ----------------------------------------------------------------------------------------------


def _rotation(values: Values) -> Mapping[str, Any] | None:
    if not values.get("enableKeyRotation"):
        return None
    return {"KeyId": values["id"], **passed("rotationPeriodInDays")(values)}


def _no_rotation(values: Values) -> Mapping[str, Any] | None:
    return None if values.get("enableKeyRotation") else {"KeyId": values["id"]}


def _old_versions(values: Values) -> Sequence[Mapping[str, Any]]:
    """A managed policy's versions that are not in force, of those that were listed just now."""
    listed = find("Versions[?!IsDefaultVersion].VersionId", values["response"]) or ()
    return [{"PolicyArn": values["id"], "VersionId": version} for version in listed]


def _all_of(role_s: str, parameter: str) -> Callable[[Values], Sequence[Mapping[str, Any]]]:
    """One call for each policy of a role that was listed just now."""
    return lambda values: [
        {"RoleName": values["name"], parameter: each} for each in find(role_s, values["response"]) or ()
    ]


def _if_forced(values: Values) -> Mapping[str, Any] | None:
    return {"RoleName": values["name"]} if values.get("forceDetachPolicies") else None


def _in_profile(role: str) -> Mapping[str, Any]:
    return {"InstanceProfileName": "{name}", "RoleName": role}


def _former_role(values: Values) -> Mapping[str, Any] | None:
    role = values["before"].get("role")
    return {"InstanceProfileName": values["name"], "RoleName": role} if role else None


# --- network --------------------------------------------------------------------------------------------------------

SOURCES: Final = {
    "cidrIpv4": ("IpRanges", "CidrIp"),
    "cidrIpv6": ("Ipv6Ranges", "CidrIpv6"),
    "referencedSecurityGroupId": ("UserIdGroupPairs", "GroupId"),
    "prefixListId": ("PrefixListIds", "PrefixListId"),
}


def _rule_permission(values: Values) -> Mapping[str, Any]:
    """A security group rule as the permission that EC2 authorises."""
    description = {"Description": values["description"]} if values.get("description") else {}
    permission: dict[str, Any] = {"IpProtocol": values["ipProtocol"], **passed("fromPort", "toPort")(values)}
    for name, (member, key) in SOURCES.items():
        if values.get(name):
            permission[member] = [{key: values[name], **description}]
    return {"GroupId": values["securityGroupId"], "IpPermissions": [permission]}


def _rule(values: Values) -> Mapping[str, Any]:
    """A security group rule as EC2 modifies it."""
    rule = passed("ipProtocol", "fromPort", "toPort", "description", "cidrIpv4", "cidrIpv6", "prefixListId")(values)
    if values.get("referencedSecurityGroupId"):
        rule["ReferencedGroupId"] = values["referencedSecurityGroupId"]
    return {
        "GroupId": values["securityGroupId"],
        "SecurityGroupRules": [{"SecurityGroupRuleId": values["id"], "SecurityGroupRule": rule}],
    }


def _security_group_rule(direction: str) -> Type:
    return Type(
        service="ec2",
        create=f"AuthorizeSecurityGroup{direction}",
        arguments=_rule_permission,
        outputs={"securityGroupRuleId": "SecurityGroupRules[0].SecurityGroupRuleId"},
        id="{securityGroupRuleId}",
        arn=_arn("ec2", "security-group-rule/{id}"),
        read=Read("DescribeSecurityGroupRules", {"SecurityGroupRuleIds": ["{id}"]}, "SecurityGroupRules[0]"),
        changes=(
            # Another kind of source, so that one input is taken away, is another rule.
            Change(
                ("ipProtocol", "fromPort", "toPort", "description", *SOURCES),
                "ModifySecurityGroupRules",
                _rule,
                resets={"description": ""},
            ),
        ),
        delete=[
            (f"RevokeSecurityGroup{direction}", {"GroupId": "{securityGroupId}", "SecurityGroupRuleIds": ["{id}"]})
        ],
        tags=EC2_TAGS,
        fixed_name=True,
    )


def _everything_out(values: Values) -> Mapping[str, Any]:
    """The rule that lets everything out, as it is in a new security group."""
    return {"GroupId": values["id"], "IpPermissions": [{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]}


def _default_group(values: Values) -> Mapping[str, Any]:
    """Look for a network's default group. Raises ProviderError for rules: only a closed one is known here."""
    if values.get("ingress") or values.get("egress"):
        raise ProviderError(
            "ingress, egress: the rehearsal only closes a default group; leave both empty, and let nothing use it"
        )
    network = {"Name": "vpc-id", "Values": [values["vpcId"]]}
    return {"Filters": [network, {"Name": "group-name", "Values": ["default"]}]}


def _rules_of(member: str) -> Callable[[Values], Mapping[str, Any] | None]:
    """The rules that the default group came with."""

    def of(values: Values) -> Mapping[str, Any] | None:
        rules = find(f"SecurityGroups[0].{member}", values["created"])
        return {"GroupId": values["id"], "IpPermissions": rules} if rules else None

    return of


def _moved(name: str, parameter: str) -> Change:
    """EC2 changes a list of a network endpoint by what to add and what to take."""

    def arguments(values: Values) -> Mapping[str, Any]:
        before, after = set(values["before"].get(name) or ()), set(values.get(name) or ())
        moved = {f"Add{parameter}": sorted(after - before), f"Remove{parameter}": sorted(before - after)}
        return {"VpcEndpointId": values["id"], **{part: each for part, each in moved.items() if each}}

    return Change((name,), "ModifyVpcEndpoint", arguments, when="either")


def _prefix_list(values: Values) -> Mapping[str, Any] | None:
    """Look for the addresses that a gateway endpoint routes; other kinds have none."""
    if values.get("vpcEndpointType", "Gateway") != "Gateway":
        return None
    return {"Filters": [{"Name": "prefix-list-name", "Values": [values["serviceName"]]}]}


def _network_setting(name: str, parameter: str, default: bool) -> Change:
    return Change(
        (name,),
        "ModifyVpcAttribute",
        {"VpcId": "{id}", parameter: {"Value": f"{{{name}}}"}},
        at_creation=True,
        resets={name: default},
    )


LOGGED: Final = {"vpcId": "VPC", "subnetId": "Subnet", "eniId": "NetworkInterface"}


def _flow_log(values: Values) -> Mapping[str, Any]:
    [source] = [name for name in LOGGED if values.get(name)]
    arguments = {"ResourceIds": [values[source]], "ResourceType": LOGGED[source]}
    return {**arguments, **without(*LOGGED)(values)}


LAUNCH_SETTINGS: Final = (
    *("blockDeviceMappings", "capacityReservationSpecification", "cpuOptions", "creditSpecification", "description"),
    *("disableApiStop", "disableApiTermination", "ebsOptimized", "enclaveOptions", "hibernationOptions"),
    *("iamInstanceProfile", "imageId", "instanceInitiatedShutdownBehavior", "instanceMarketOptions"),
    *("instanceRequirements", "instanceType", "kernelId", "keyName", "licenseSpecifications", "maintenanceOptions"),
    *("metadataOptions", "monitoring", "networkInterfaces", "placement", "privateDnsNameOptions", "ramDiskId"),
    *("tagSpecifications", "userData", "vpcSecurityGroupIds"),
)
"""What a new version of a launch template changes."""


def _launch_data(values: Values) -> Mapping[str, Any]:
    data = without("name", "description", "updateDefaultVersion")(values)
    if "tagSpecifications" in data:
        data["tagSpecifications"] = [
            {**each, "tags": tag_list(each.get("tags") or {}, "Key,Value")} for each in data["tagSpecifications"]
        ]
    description = {"VersionDescription": values["description"]} if values.get("description") else {}
    return {"LaunchTemplateData": data, **description}


def _new_default_version(values: Values) -> Mapping[str, Any] | None:
    if not values.get("updateDefaultVersion"):
        return None
    version = values["response"]["LaunchTemplateVersion"]["VersionNumber"]
    return {"LaunchTemplateId": values["id"], "DefaultVersion": str(version)}


# --- storage --------------------------------------------------------------------------------------------------------


def _bucket(values: Values) -> Mapping[str, Any]:
    # S3 takes the name of every region but its first.
    place = {} if values["region"] == "us-east-1" else {"LocationConstraint": values["region"]}
    configuration = {"CreateBucketConfiguration": place} if place else {}
    return {**without("forceDestroy")(values), **configuration}


def _bucket_part(
    part: str, arguments: Arguments, *, found: str = "@", verb: str = "Bucket", delete: Calls | None = None
) -> Type:
    """A companion of a bucket: one of the bucket's settings as a resource of its own."""
    return Type(
        service="s3",
        create=f"Put{verb}{part}",
        arguments=arguments,
        id="{bucket}",
        read=Read(f"Get{verb}{part}", {"Bucket": "{id}"}, found),
        delete=delete or [(f"Delete{verb}{part}", {"Bucket": "{id}"})],
        repeatable=True,
        keys=("bucket",),
    )


def _bucket_events(values: Values) -> Mapping[str, Any]:
    """Raises ProviderError for anything but events to EventBridge: the stacks use nothing else."""
    if not values.get("eventbridge"):
        raise ProviderError("eventbridge: the rehearsal's buckets send events to EventBridge alone; set it to true")
    return {"Bucket": values["bucket"], "NotificationConfiguration": {"EventBridgeConfiguration": {}}}


def _object(values: Values) -> Mapping[str, Any]:
    """An object and its content. Raises ProviderError for content that is given in another form."""
    if values.get("source") or values.get("contentBase64") is None:
        raise ProviderError("source, content: the rehearsal takes an object's content as contentBase64 alone")
    body = base64.b64decode(values["contentBase64"])
    return {**passed("bucket", "key", "contentType", "metadata")(values), "Body": body}


# --- logs, metrics, events, messages --------------------------------------------------------------------------------


def _dimensions(dimensions: Mapping[str, str]) -> list[Mapping[str, str]]:
    return [{"Name": name, "Value": value} for name, value in sorted(dimensions.items())]


def _query(query: Mapping[str, Any]) -> Mapping[str, Any]:
    """A metric query of an alarm: what Pulumi has in one block, CloudWatch has in two."""
    query = {"returnData": False, **query}
    metric = query.get("metric")
    if not metric:
        return query
    of_metric = {**passed("namespace", "metricName")(metric), "Dimensions": _dimensions(metric.get("dimensions") or {})}
    rest = {name: value for name, value in metric.items() if name not in ("namespace", "metricName", "dimensions")}
    return {
        **{name: value for name, value in query.items() if name != "metric"},
        "MetricStat": {**rest, "Metric": of_metric},
    }


def _alarm(values: Values) -> Mapping[str, Any]:
    alarm = without("dimensions", "metricQueries")(values)
    if values.get("dimensions"):
        alarm["Dimensions"] = _dimensions(values["dimensions"])
    if values.get("metricQueries"):
        alarm["Metrics"] = [_query(query) for query in values["metricQueries"]]
    return alarm


def _attributes(names: Mapping[str, str]) -> Callable[[Values], Mapping[str, str]]:
    """SNS and SQS take their settings as one map of texts."""
    return lambda values: {
        attribute: as_text(values[name]) for name, attribute in names.items() if values.get(name) is not None
    }


def _one_by_one(call: str, resource: str, names: Mapping[str, str]) -> tuple[Change, ...]:
    """SNS changes settings one at a time; an empty one is none."""

    def change(name: str, attribute: str) -> Change:
        return Change(
            (name,),
            call,
            lambda values: {
                resource: values["id"],
                "AttributeName": attribute,
                "AttributeValue": as_text(values[name]),
            },
            resets={name: ""},
        )

    return tuple(change(*pair) for pair in names.items())


TOPIC: Final = {
    "kmsMasterKeyId": "KmsMasterKeyId",
    "displayName": "DisplayName",
    "deliveryPolicy": "DeliveryPolicy",
    "policy": "Policy",
    "signatureVersion": "SignatureVersion",
    "tracingConfig": "TracingConfig",
}
SUBSCRIPTION: Final = {
    "deliveryPolicy": "DeliveryPolicy",
    "filterPolicy": "FilterPolicy",
    "filterPolicyScope": "FilterPolicyScope",
    "rawMessageDelivery": "RawMessageDelivery",
    "redrivePolicy": "RedrivePolicy",
    "subscriptionRoleArn": "SubscriptionRoleArn",
}
QUEUE: Final = {
    "delaySeconds": "DelaySeconds",
    "kmsDataKeyReusePeriodSeconds": "KmsDataKeyReusePeriodSeconds",
    "kmsMasterKeyId": "KmsMasterKeyId",
    "maxMessageSize": "MaximumMessageSize",
    "messageRetentionSeconds": "MessageRetentionPeriod",
    "policy": "Policy",
    "receiveWaitTimeSeconds": "ReceiveMessageWaitTimeSeconds",
    "redriveAllowPolicy": "RedriveAllowPolicy",
    "redrivePolicy": "RedrivePolicy",
    "sqsManagedSseEnabled": "SqsManagedSseEnabled",
    "visibilityTimeoutSeconds": "VisibilityTimeout",
}
QUEUE_RESETS: Final = {
    "delaySeconds": 0,
    "kmsDataKeyReusePeriodSeconds": 300,
    "kmsMasterKeyId": "",
    "messageRetentionSeconds": 345600,
    "policy": "",
    "receiveWaitTimeSeconds": 0,
    "redriveAllowPolicy": "",
    "redrivePolicy": "",
    "visibilityTimeoutSeconds": 30,
}
"""SQS's own defaults."""

DEFAULT_POLICY_ID: Final = "__default_policy_ID"


def _owner_only(values: Values) -> Mapping[str, Any]:
    """The policy that SNS gives a new topic."""
    actions = ["AddPermission", "DeleteTopic", "GetTopicAttributes", "ListSubscriptionsByTopic"]
    actions += ["Publish", "RemovePermission", "SetTopicAttributes", "Subscribe"]
    statement = {
        "Sid": "__default_statement_ID",
        "Effect": "Allow",
        "Principal": {"AWS": "*"},
        "Action": [f"SNS:{action}" for action in actions],
        "Resource": values["id"],
        "Condition": {"StringEquals": {"AWS:SourceOwner": values["account"]}},
    }
    policy = {"Version": "2008-10-17", "Id": DEFAULT_POLICY_ID, "Statement": [statement]}
    return {"TopicArn": values["id"], "AttributeName": "Policy", "AttributeValue": json.dumps(policy)}


def _own_policy(response: Any, values: Values) -> Any:
    """A topic's policy, unless it is the one that every topic has."""
    policy = json.loads(response["Attributes"].get("Policy") or "{}")
    return None if policy.get("Id") == DEFAULT_POLICY_ID else policy


def _on_bus(name: str) -> Mapping[str, str]:
    return {name: "{name}" if name == "Name" else "{rule}", "EventBusName": "{eventBusName}"}


def _before_name(values: Mapping[str, Any]) -> str:
    """What stands before a rule's name in its ARN and its id, where it is on a bus of its own."""
    return "" if values["eventBusName"] == "default" else f"{values['eventBusName']}/"


def _rule_arn(values: Mapping[str, Any]) -> str:
    return f"arn:aws:events:{values['region']}:{values['account']}:rule/{_before_name(values)}{values['name']}"


# --- cluster --------------------------------------------------------------------------------------------------------

CLUSTER_LOGS: Final = ("api", "audit", "authenticator", "controllerManager", "scheduler")


def _logging(values: Values) -> Mapping[str, Any]:
    enabled = list(values.get("enabledClusterLogTypes") or ())
    disabled = [each for each in CLUSTER_LOGS if each not in enabled]
    setups = [{"types": enabled, "enabled": True}, {"types": disabled, "enabled": False}]
    return {"clusterLogging": [setup for setup in setups if setup["types"]]}


def _cluster(values: Values) -> Mapping[str, Any]:
    cluster = without("enabledClusterLogTypes", "encryptionConfig", "forceUpdateVersion")(values)
    if values.get("enabledClusterLogTypes"):
        cluster["logging"] = _logging(values)
    if values.get("encryptionConfig"):
        cluster["encryptionConfig"] = [values["encryptionConfig"]]
    return cluster


def _cluster_change(inputs: tuple[str, ...], arguments: Callable[[Values], Mapping[str, Any]], **more: Any) -> Change:
    """EKS takes one kind of change in a call."""
    return Change(inputs, "UpdateClusterConfig", lambda values: {"name": values["id"], **arguments(values)}, **more)


NODE_GROUP: Final = {"clusterName": "clusterName", "nodegroupName": "nodeGroupName"}
NODE_GROUP_OF: Final = {"clusterName": "{clusterName}", "nodegroupName": "{nodeGroupName}"}


def _labels(values: Values) -> Mapping[str, Any]:
    before, after = values["before"].get("labels") or {}, values["labels"]
    gone = sorted(before.keys() - after.keys())
    changed = {name: value for name, value in after.items() if before.get(name) != value}
    parts = {"addOrUpdateLabels": changed, "removeLabels": gone}
    return {**with_(NODE_GROUP)(values), "labels": {name: part for name, part in parts.items() if part}}


def _taints(values: Values) -> Mapping[str, Any]:
    before, after = values["before"].get("taints") or [], values["taints"]
    kept = {(taint["key"], taint["effect"]) for taint in after}
    gone = [taint for taint in before if (taint["key"], taint["effect"]) not in kept]
    parts = {"addOrUpdateTaints": [taint for taint in after if taint not in before], "removeTaints": gone}
    return {**with_(NODE_GROUP)(values), "taints": {name: part for name, part in parts.items() if part}}


def _node_version(values: Values) -> Mapping[str, Any]:
    arguments = with_(NODE_GROUP, "launchTemplate", "releaseVersion", "version")(values)
    return {**arguments, **({"force": True} if values.get("forceUpdateVersion") else {})}


ADDON: Final = {"clusterName": "{clusterName}", "addonName": "{addonName}"}
ADDON_SETTINGS: Final = ("addonVersion", "configurationValues", "serviceAccountRoleArn", "podIdentityAssociations")


def _addon(values: Values) -> Mapping[str, Any]:
    conflicts = values.get("resolveConflictsOnCreate")
    addon = without("resolveConflictsOnCreate", "resolveConflictsOnUpdate", "preserve")(values)
    return {**addon, **({"resolveConflicts": conflicts} if conflicts else {})}


def _changed_addon(values: Values) -> Mapping[str, Any]:
    conflicts = values.get("resolveConflictsOnUpdate")
    addon = passed("clusterName", "addonName", *ADDON_SETTINGS)(values)
    return {**addon, **({"resolveConflicts": conflicts} if conflicts else {})}


def _deleted_addon(values: Values) -> Mapping[str, Any]:
    return {**passed("clusterName", "addonName")(values), **({"preserve": True} if values.get("preserve") else {})}


ENTRY: Final = {"clusterName": "{clusterName}", "principalArn": "{principalArn}"}


# --- cost -----------------------------------------------------------------------------------------------------------


def _budget(values: Values) -> Mapping[str, Any]:
    budget = {
        "BudgetName": values["name"],
        "BudgetType": values["budgetType"],
        "TimeUnit": values["timeUnit"],
        "BudgetLimit": {"Amount": values["limitAmount"], "Unit": values["limitUnit"]},
    }
    if values.get("costFilters"):
        budget["CostFilters"] = {each["name"]: each["values"] for each in values["costFilters"]}
    return budget


def _anomaly_monitor(values: Values) -> Mapping[str, Any]:
    specification = values.get("monitorSpecification")
    return {
        "AnomalyMonitor": {
            "MonitorName": values["name"],
            "MonitorType": values["monitorType"],
            **passed("monitorDimension")(values),
            **({"MonitorSpecification": json.loads(specification)} if specification else {}),
        }
    }


def _anomaly_subscription(values: Values) -> Mapping[str, Any]:
    return {
        "SubscriptionName": values["name"],
        "Frequency": values["frequency"],
        "MonitorArnList": values["monitorArnLists"],
        "Subscribers": values["subscribers"],
        **passed("thresholdExpression")(values),
    }


SUBSCRIBERS: Final = (("SNS", "subscriberSnsTopicArns"), ("EMAIL", "subscriberEmailAddresses"))


def _notification(each: Mapping[str, Any]) -> Mapping[str, Any]:
    """One of a budget's notifications, with who is told."""
    return {
        "Notification": {name: value for name, value in each.items() if not name.startswith("subscriber")},
        "Subscribers": [
            {"SubscriptionType": kind, "Address": address}
            for kind, name in SUBSCRIBERS
            for address in each.get(name) or ()
        ],
    }


def _new_notifications(values: Values) -> Sequence[Mapping[str, Any]]:
    before = values["before"].get("notifications") or ()
    return [
        {"AccountId": values["account"], "BudgetName": values["name"], **_notification(each)}
        for each in values.get("notifications") or ()
        if each not in before
    ]


def _former_notifications(values: Values) -> Sequence[Mapping[str, Any]]:
    after = values.get("notifications") or ()
    return [
        {
            "AccountId": values["account"],
            "BudgetName": values["name"],
            "Notification": _notification(each)["Notification"],
        }
        for each in values["before"].get("notifications") or ()
        if each not in after
    ]


# --- models, functions and parameters -------------------------------------------------------------------------------


def _endpoint(values: Values) -> Mapping[str, Any]:
    """Counts and weights become the configuration's again: pulumi-aws does not ask to retain them."""
    asked = values["endpointConfigName"]
    if asked == values["before"]["endpointConfigName"]:
        # Only how to roll out has changed. What is live may not be what Pulumi was told last: releases change it, too.
        asked = values["now"]["endpointConfigName"]
    return {"EndpointName": values["id"], "EndpointConfigName": asked, **passed("deploymentConfig")(values)}


FUNCTION_RESETS: Final = {
    "deadLetterConfig": {"targetArn": ""},
    "description": "",
    "environment": {"variables": {}},
    "ephemeralStorage": {"size": 512},
    "kmsKeyArn": "",
    "layers": [],
    "memorySize": 128,
    "timeout": 3,
    "tracingConfig": {"mode": "PassThrough"},
    "vpcConfig": {"subnetIds": [], "securityGroupIds": []},
}
"""Lambda's own defaults."""
FUNCTION_SETTINGS: Final = (*FUNCTION_RESETS, "handler", "loggingConfig", "role", "runtime", "snapStart")


def _code(values: Values) -> Mapping[str, Any]:
    return (
        {"ZipFile": values["zip"]}
        if values.get("code")
        else passed("s3Bucket", "s3Key", "s3ObjectVersion", "imageUri")(values)
    )


def _invocation(values: Values) -> str:
    return f"{values['functionName']}_$LATEST_{hashlib.md5(values['input'].encode()).hexdigest()}"


def _function(values: Values) -> Mapping[str, Any]:
    rest = without("name", "code", "s3Bucket", "s3Key", "s3ObjectVersion", "imageUri", "reservedConcurrentExecutions")
    return {"FunctionName": values["name"], "Code": _code(values), **rest(values)}


def _allowed(response: Any, values: Values) -> Any:
    """A permission in the policy of its function."""
    statements = json.loads(response["Policy"])["Statement"]
    return next((each for each in statements if each["Sid"] == values["statementId"]), None)


def _parameter_arn(values: Mapping[str, Any]) -> str:
    return f"arn:aws:ssm:{values['region']}:{values['account']}:parameter/{values['name'].removeprefix('/')}"


def _token(_: Values) -> Mapping[str, Any]:
    """What makes a call idempotent; each is one of its own."""
    return {"ClientRequestToken": uuid.uuid4().hex}


PIPELINE_SETTINGS: Final = (
    *("pipelineDefinition", "pipelineDisplayName", "pipelineDescription", "roleArn", "parallelismConfiguration"),
)
APP_SETTINGS: Final = (
    *("artifactStoreUri", "modelRegistrationMode", "weeklyMaintenanceWindowStart"),
    *("accountDefaultStatus", "defaultDomainIdLists"),
)
MACHINE_SETTINGS: Final = (
    "definition",
    "roleArn",
    "loggingConfiguration",
    "tracingConfiguration",
    "encryptionConfiguration",
)


def _wanted(values: Values) -> Mapping[str, Any]:
    """What cloud control is to make. Its types have CloudFormation's names, which for this one are the API's."""
    if values["typeName"] != "AWS::SageMaker::InferenceComponent":
        raise ProviderError(
            f"typeName {values['typeName']}: the rehearsal makes AWS::SageMaker::InferenceComponent alone through "
            "cloud control; use pulumi-aws's own type, or add it in infra/rehearsal/aws/types.py"
        )
    wanted: Mapping[str, Any] = json.loads(values["desiredState"])
    return wanted


def _component_name(values: Values) -> Mapping[str, Any]:
    return {"InferenceComponentName": _wanted(values)["InferenceComponentName"]}


def _component_arn(values: Values) -> str:
    name = _wanted(values)["InferenceComponentName"]
    return f"arn:aws:sagemaker:{values['region']}:{values['account']}:inference-component/{name}"


def _open(values: Mapping[str, Any]) -> str:
    """The policy of a key that nobody gave one."""
    statement = {
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::{values['account']}:root"},
        "Action": "kms:*",
        "Resource": "*",
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


# --- APIs -----------------------------------------------------------------------------------------------------------

METHOD_SETTINGS: Final = {
    "metricsEnabled": "metrics/enabled",
    "loggingLevel": "logging/loglevel",
    "dataTraceEnabled": "logging/dataTrace",
    "throttlingBurstLimit": "throttling/burstLimit",
    "throttlingRateLimit": "throttling/rateLimit",
    "cachingEnabled": "caching/enabled",
    "cacheTtlInSeconds": "caching/ttlInSeconds",
    "cacheDataEncrypted": "caching/dataEncrypted",
}


def _replaced(paths: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """API Gateway's patch that gives each path a value."""
    return [{"op": "replace", "path": f"/{path}", "value": as_text(value)} for path, value in paths.items()]


def _patch(which: Mapping[str, str], **paths: str) -> Callable[[Values], Mapping[str, Any]]:
    """Arguments: a patch of the inputs that are given. `paths`: the input, and what API Gateway calls it."""
    return lambda values: {
        **{parameter: values[source] for parameter, source in which.items()},
        "patchOperations": _replaced(
            {path: values[name] for name, path in paths.items() if values.get(name) is not None}
        ),
    }


def _deployment(values: Values) -> Mapping[str, Any]:
    """Triggers go nowhere: that they change is what makes another deployment."""
    values.get("triggers")
    return passed("restApi", "description", "variables")(values)


STAGE_OF: Final = {"restApiId": "restApi", "stageName": "stageName"}


def _access_log(values: Values) -> Mapping[str, Any]:
    settings = values.get("accessLogSettings")
    patch: Sequence[Mapping[str, Any]] = [{"op": "remove", "path": "/accessLogSettings"}]
    if settings:
        patch = _replaced(
            {
                "accessLogSettings/destinationArn": settings["destinationArn"],
                "accessLogSettings/format": settings["format"],
            }
        )
    return {**with_(STAGE_OF)(values), "patchOperations": patch}


def _method_settings(values: Values) -> Mapping[str, Any]:
    settings = values["settings"]
    if strange := sorted(settings.keys() - METHOD_SETTINGS.keys()):
        raise ProviderError(f"settings.{strange[0]}: the rehearsal knows {', '.join(METHOD_SETTINGS)}")
    paths = {f"{values['methodPath']}/{METHOD_SETTINGS[name]}": value for name, value in settings.items()}
    return {**with_(STAGE_OF)(values), "patchOperations": _replaced(paths)}


def _no_method_settings(values: Values) -> Mapping[str, Any]:
    return {**with_(STAGE_OF)(values), "patchOperations": [{"op": "remove", "path": f"/{values['methodPath']}"}]}


def _plan_limits(values: Values) -> Mapping[str, Any]:
    throttle, quota = values.get("throttleSettings") or {}, values.get("quotaSettings") or {}
    paths = {
        **{f"throttle/{name}": value for name, value in throttle.items()},
        **{f"quota/{name}": value for name, value in quota.items()},
    }
    return {"usagePlanId": values["id"], "patchOperations": _replaced(paths)}


def _no_stages(values: Values) -> Mapping[str, Any]:
    """A usage plan goes only when no stage has it."""
    operations = [
        {"op": "remove", "path": "/apiStages", "value": f"{each['apiId']}:{each['stage']}"}
        for each in values.get("apiStages") or ()
    ]
    return {"usagePlanId": values["id"], "patchOperations": operations}


CLIENT_OF: Final = {"UserPoolId": "{userPoolId}", "ClientId": "{id}"}
SERVER_OF: Final = {"UserPoolId": "{userPoolId}", "Identifier": "{identifier}"}


TYPES: Final[Mapping[str, Type]] = {
    # --- keys -------------------------------------------------------------------------------------------------------
    "aws:kms/key:Key": Type(
        service="kms",
        create="CreateKey",
        rename={"customerMasterKeySpec": "KeySpec"},
        outputs={"keyId": "KeyMetadata.KeyId"},
        id="{keyId}",
        arn=_arn("kms", "key/{id}"),
        read=Read("DescribeKey", {"KeyId": "{id}"}, "[KeyMetadata][?KeyState!='PendingDeletion'] | [0]"),
        changes=(
            Change(
                ("enableKeyRotation", "rotationPeriodInDays"),
                "EnableKeyRotation",
                _rotation,
                at_creation=True,
                resets={"enableKeyRotation": False, "rotationPeriodInDays": 365},
            ),
            Change(("enableKeyRotation",), "DisableKeyRotation", _no_rotation, resets={"enableKeyRotation": False}),
            Change(("policy",), "PutKeyPolicy", {"KeyId": "{id}", "PolicyName": "default", "Policy": "{policy}"}),
            Change(
                ("description",),
                "UpdateKeyDescription",
                {"KeyId": "{id}", "Description": "{description}"},
                resets={"description": ""},
            ),
        ),
        delete=[
            (
                "ScheduleKeyDeletion",
                lambda values: {"KeyId": values["id"], "PendingWindowInDays": values.get("deletionWindowInDays") or 30},
            )
        ],
        local=("deletionWindowInDays",),
        tags=KMS_TAGS,
        tags_at_creation="Tags",
    ),
    "aws:kms/keyPolicy:KeyPolicy": Type(
        service="kms",
        create="PutKeyPolicy",
        arguments={"KeyId": "{keyId}", "PolicyName": "default", "Policy": "{policy}"},
        id="{keyId}",
        repeatable=True,
        keys=("keyId",),
        read=Read("GetKeyPolicy", {"KeyId": "{id}", "PolicyName": "default"}, "Policy"),
        # A key always has a policy: what is left is the one that KMS gives to a new key.
        delete=[
            ("PutKeyPolicy", lambda values: {"KeyId": values["id"], "PolicyName": "default", "Policy": _open(values)})
        ],
        local=("bypassPolicyLockoutSafetyCheck",),
    ),
    "aws:kms/alias:Alias": Type(
        service="kms",
        create="CreateAlias",
        rename={"name": "AliasName"},
        id="{name}",
        arn=_arn("kms", "{name}"),
        named="name",
        name_start="alias/",
        read=Read("DescribeKey", {"KeyId": "{id}"}, "KeyMetadata"),
        changes=(Change(("targetKeyId",), "UpdateAlias", {"AliasName": "{id}", "TargetKeyId": "{targetKeyId}"}),),
        delete=[("DeleteAlias", {"AliasName": "{id}"})],
    ),
    # --- network ----------------------------------------------------------------------------------------------------
    "aws:ec2/vpc:Vpc": Type(
        service="ec2",
        create="CreateVpc",
        outputs={"vpcId": "Vpc.VpcId"},
        id="{vpcId}",
        arn=_arn("ec2", "vpc/{id}"),
        read=Read("DescribeVpcs", {"VpcIds": ["{id}"]}, "Vpcs[0]"),
        changes=(
            _network_setting("enableDnsSupport", "EnableDnsSupport", True),
            _network_setting("enableDnsHostnames", "EnableDnsHostnames", False),
        ),
        delete=[("DeleteVpc", {"VpcId": "{id}"})],
        tags=EC2_TAGS,
    ),
    "aws:ec2/subnet:Subnet": Type(
        service="ec2",
        create="CreateSubnet",
        outputs={"subnetId": "Subnet.SubnetId"},
        id="{subnetId}",
        arn=_arn("ec2", "subnet/{id}"),
        read=Read("DescribeSubnets", {"SubnetIds": ["{id}"]}, "Subnets[0]"),
        changes=(
            Change(
                ("mapPublicIpOnLaunch",),
                "ModifySubnetAttribute",
                {"SubnetId": "{id}", "MapPublicIpOnLaunch": {"Value": "{mapPublicIpOnLaunch}"}},
                at_creation=True,
                resets={"mapPublicIpOnLaunch": False},
            ),
        ),
        delete=[("DeleteSubnet", {"SubnetId": "{id}"})],
        tags=EC2_TAGS,
        fixed_name=True,  # two subnets cannot have the same addresses
    ),
    "aws:ec2/routeTable:RouteTable": Type(
        service="ec2",
        create="CreateRouteTable",
        outputs={"routeTableId": "RouteTable.RouteTableId"},
        id="{routeTableId}",
        arn=_arn("ec2", "route-table/{id}"),
        read=Read("DescribeRouteTables", {"RouteTableIds": ["{id}"]}, "RouteTables[0]"),
        delete=[("DeleteRouteTable", {"RouteTableId": "{id}"})],
        tags=EC2_TAGS,
    ),
    "aws:ec2/routeTableAssociation:RouteTableAssociation": Type(
        service="ec2",
        create="AssociateRouteTable",
        outputs={"associationId": "AssociationId"},
        id="{associationId}",
        read=Read(
            "DescribeRouteTables",
            {"Filters": [{"Name": "association.route-table-association-id", "Values": ["{id}"]}]},
            "RouteTables[0]",
        ),
        delete=[("DisassociateRouteTable", {"AssociationId": "{id}"})],
        fixed_name=True,
    ),
    "aws:ec2/securityGroup:SecurityGroup": Type(
        service="ec2",
        create="CreateSecurityGroup",
        rename={"name": "GroupName"},
        outputs={"groupId": "GroupId"},
        id="{groupId}",
        arn=_arn("ec2", "security-group/{id}"),
        named="name",
        read=Read("DescribeSecurityGroups", {"GroupIds": ["{id}"]}, "SecurityGroups[0]"),
        changes=(
            # AWS lets everything out of a new group; Pulumi's provider takes that away, for egress is declared.
            Change(
                (),
                "RevokeSecurityGroupEgress",
                _everything_out,
                at_creation=True,
                already="InvalidPermission.NotFound",
            ),
        ),
        delete=[("DeleteSecurityGroup", {"GroupId": "{id}"})],
        tags=EC2_TAGS,
    ),
    "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup": Type(
        service="ec2",
        create="DescribeSecurityGroups",
        arguments=_default_group,
        outputs={"groupId": "SecurityGroups[0].GroupId"},
        id="{groupId}",
        arn=_arn("ec2", "security-group/{id}"),
        read=Read("DescribeSecurityGroups", {"GroupIds": ["{id}"]}, "SecurityGroups[0]"),
        changes=(
            Change((), "RevokeSecurityGroupIngress", _rules_of("IpPermissions"), at_creation=True),
            Change((), "RevokeSecurityGroupEgress", _rules_of("IpPermissionsEgress"), at_creation=True),
        ),
        delete=[],  # it goes with its network
        tags=EC2_TAGS,
        fixed_name=True,
    ),
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule": _security_group_rule("Ingress"),
    "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule": _security_group_rule("Egress"),
    "aws:ec2/vpcEndpoint:VpcEndpoint": Type(
        service="ec2",
        create="CreateVpcEndpoint",
        rename={"policy": "PolicyDocument"},
        outputs={"endpointId": "VpcEndpoint.VpcEndpointId"},
        id="{endpointId}",
        arn=_arn("ec2", "vpc-endpoint/{id}"),
        looked_up={"prefixListId": ("DescribePrefixLists", _prefix_list, "PrefixLists[0].PrefixListId")},
        read=Read("DescribeVpcEndpoints", {"VpcEndpointIds": ["{id}"]}, "VpcEndpoints[?State!='deleted'] | [0]"),
        changes=(
            Change(("policy",), "ModifyVpcEndpoint", {"VpcEndpointId": "{id}", "PolicyDocument": "{policy}"}),
            Change(
                ("privateDnsEnabled",),
                "ModifyVpcEndpoint",
                {"VpcEndpointId": "{id}", "PrivateDnsEnabled": "{privateDnsEnabled}"},
                resets={"privateDnsEnabled": False},
            ),
            _moved("subnetIds", "SubnetIds"),
            _moved("securityGroupIds", "SecurityGroupIds"),
            _moved("routeTableIds", "RouteTableIds"),
        ),
        delete=[("DeleteVpcEndpoints", {"VpcEndpointIds": ["{id}"]})],
        tags=EC2_TAGS,
        fixed_name=True,  # a network has one with a service's private name, and a route table one for a service
    ),
    "aws:ec2/flowLog:FlowLog": Type(
        service="ec2",
        create="CreateFlowLogs",
        arguments=_flow_log,
        rename={"iamRoleArn": "DeliverLogsPermissionArn"},
        outputs={"flowLogId": "FlowLogIds[0]"},
        id="{flowLogId}",
        arn=_arn("ec2", "vpc-flow-log/{id}"),
        read=Read("DescribeFlowLogs", {"FlowLogIds": ["{id}"]}, "FlowLogs[0]"),
        delete=[("DeleteFlowLogs", {"FlowLogIds": ["{id}"]})],
        tags=EC2_TAGS,
        fixed_name=True,
    ),
    "aws:ec2/launchTemplate:LaunchTemplate": Type(
        service="ec2",
        create="CreateLaunchTemplate",
        arguments=lambda values: {"LaunchTemplateName": values["name"], **_launch_data(values)},
        rename={
            "LaunchTemplateData.vpcSecurityGroupIds": "SecurityGroupIds",
            "LaunchTemplateData.networkInterfaces.securityGroups": "Groups",
        },
        outputs={
            "launchTemplateId": "LaunchTemplate.LaunchTemplateId",
            "latestVersion": "LaunchTemplate.LatestVersionNumber",
        },
        found={"latestVersion": "LatestVersionNumber"},
        structured=("latestVersion",),
        renewed=("latestVersion",),
        id="{launchTemplateId}",
        arn=_arn("ec2", "launch-template/{id}"),
        named="name",
        read=Read("DescribeLaunchTemplates", {"LaunchTemplateIds": ["{id}"]}, "LaunchTemplates[0]"),
        changes=(
            Change(
                LAUNCH_SETTINGS,
                "CreateLaunchTemplateVersion",
                lambda values: {"LaunchTemplateId": values["id"], **_launch_data(values)},
                when="either",
            ),
            Change(LAUNCH_SETTINGS, "ModifyLaunchTemplate", _new_default_version, when="either"),
        ),
        delete=[("DeleteLaunchTemplate", {"LaunchTemplateId": "{id}"})],
        local=("updateDefaultVersion",),
        tags=EC2_TAGS,
    ),
    "aws:ec2/placementGroup:PlacementGroup": Type(
        service="ec2",
        create="CreatePlacementGroup",
        rename={"name": "GroupName"},
        outputs={"placementGroupId": "PlacementGroup.GroupId"},
        id="{name}",
        arn=_arn("ec2", "placement-group/{name}"),
        named="name",
        read=Read("DescribePlacementGroups", {"GroupNames": ["{id}"]}, "PlacementGroups[0]"),
        delete=[("DeletePlacementGroup", {"GroupName": "{id}"})],
        tags=Tags("CreateTags", {"Resources": ["{placementGroupId}"]}, "Tags", "Key,Value", "DeleteTags", "Tags"),
        fixed_name=True,
    ),
    # --- identity ---------------------------------------------------------------------------------------------------
    "aws:iam/role:Role": Type(
        service="iam",
        create="CreateRole",
        rename={"name": "RoleName", "assumeRolePolicy": "AssumeRolePolicyDocument"},
        outputs={"uniqueId": "Role.RoleId"},
        id="{name}",
        arn="arn:aws:iam::{account}:role{path}{name}",
        assumed={"path": "/"},
        named="name",
        read=Read("GetRole", {"RoleName": "{id}"}, "Role"),
        changes=(
            Change(
                ("assumeRolePolicy",),
                "UpdateAssumeRolePolicy",
                {"RoleName": "{id}", "PolicyDocument": "{assumeRolePolicy}"},
            ),
            Change(
                ("description", "maxSessionDuration"),
                "UpdateRole",
                with_({"RoleName": "id"}, "description", "maxSessionDuration"),
                resets={"description": "", "maxSessionDuration": 3600},
            ),
            Change(
                ("permissionsBoundary",),
                "PutRolePermissionsBoundary",
                {"RoleName": "{id}", "PermissionsBoundary": "{permissionsBoundary}"},
            ),
            Change(("permissionsBoundary",), "DeleteRolePermissionsBoundary", {"RoleName": "{id}"}, when="taken"),
        ),
        delete=[
            ("ListAttachedRolePolicies", _if_forced),
            ("DetachRolePolicy", _all_of("AttachedPolicies[].PolicyArn", "PolicyArn")),
            ("ListRolePolicies", _if_forced),
            ("DeleteRolePolicy", _all_of("PolicyNames", "PolicyName")),
            ("DeleteRole", {"RoleName": "{id}"}),
        ],
        local=("forceDetachPolicies",),
        tags=_iam_tags("Role", "RoleName", "{id}"),
        tags_at_creation="Tags",
    ),
    "aws:iam/rolePolicy:RolePolicy": Type(
        service="iam",
        create="PutRolePolicy",
        rename={"role": "RoleName", "name": "PolicyName", "policy": "PolicyDocument"},
        id="{role}:{name}",
        named="name",
        repeatable=True,
        keys=("role", "name"),
        read=Read("GetRolePolicy", {"RoleName": "{role}", "PolicyName": "{name}"}, "PolicyDocument"),
        delete=[("DeleteRolePolicy", {"RoleName": "{role}", "PolicyName": "{name}"})],
    ),
    "aws:iam/rolePolicyAttachment:RolePolicyAttachment": Type(
        service="iam",
        create="AttachRolePolicy",
        rename={"role": "RoleName"},
        id="{role}/{policyArn}",
        read=Read(
            "ListAttachedRolePolicies", {"RoleName": "{role}"}, "AttachedPolicies[?PolicyArn=='{policyArn}'] | [0]"
        ),
        delete=[("DetachRolePolicy", {"RoleName": "{role}", "PolicyArn": "{policyArn}"})],
    ),
    "aws:iam/policy:Policy": Type(
        service="iam",
        create="CreatePolicy",
        rename={"name": "PolicyName", "policy": "PolicyDocument"},
        outputs={"policyId": "Policy.PolicyId"},
        id="{arn}",
        arn="arn:aws:iam::{account}:policy{path}{name}",
        assumed={"path": "/"},
        named="name",
        read=Read("GetPolicy", {"PolicyArn": "{id}"}, "Policy"),
        changes=(
            Change(
                ("policy",),
                "CreatePolicyVersion",
                {"PolicyArn": "{id}", "PolicyDocument": "{policy}", "SetAsDefault": True},
            ),
            # IAM keeps five versions and then refuses; the one in force is enough here.
            Change(("policy",), "ListPolicyVersions", {"PolicyArn": "{id}"}),
            Change(("policy",), "DeletePolicyVersion", _old_versions),
        ),
        delete=[
            ("ListPolicyVersions", {"PolicyArn": "{id}"}),
            ("DeletePolicyVersion", _old_versions),
            ("DeletePolicy", {"PolicyArn": "{id}"}),
        ],
        tags=_iam_tags("Policy", "PolicyArn", "{id}"),
        tags_at_creation="Tags",
    ),
    "aws:iam/instanceProfile:InstanceProfile": Type(
        service="iam",
        create="CreateInstanceProfile",
        rename={"name": "InstanceProfileName"},
        outputs={"uniqueId": "InstanceProfile.InstanceProfileId"},
        id="{name}",
        arn="arn:aws:iam::{account}:instance-profile{path}{name}",
        assumed={"path": "/"},
        named="name",
        read=Read("GetInstanceProfile", {"InstanceProfileName": "{id}"}, "InstanceProfile"),
        changes=(
            Change(("role",), "RemoveRoleFromInstanceProfile", _former_role, when="either"),
            Change(("role",), "AddRoleToInstanceProfile", _in_profile("{role}"), at_creation=True),
        ),
        delete=[
            (
                "RemoveRoleFromInstanceProfile",
                lambda values: (
                    with_({"InstanceProfileName": "name", "RoleName": "role"})(values) if values.get("role") else None
                ),
            ),
            ("DeleteInstanceProfile", {"InstanceProfileName": "{id}"}),
        ],
        tags=_iam_tags("InstanceProfile", "InstanceProfileName", "{id}"),
        tags_at_creation="Tags",
    ),
    # --- storage ----------------------------------------------------------------------------------------------------
    "aws:s3/bucket:Bucket": Type(
        service="s3",
        create="CreateBucket",
        arguments=_bucket,
        rename={"objectLockEnabled": "ObjectLockEnabledForBucket"},
        id="{bucket}",
        arn="arn:aws:s3:::{bucket}",
        copies={
            "bucketDomainName": "{bucket}.s3.amazonaws.com",
            "bucketRegionalDomainName": "{bucket}.s3.{region}.amazonaws.com",
        },
        named="bucket",
        lower_case=True,
        read=Read("HeadBucket", {"Bucket": "{id}"}, "@"),
        delete=[("DeleteBucket", {"Bucket": "{id}"})],
        local=("forceDestroy",),
        tags=S3_TAGS,
    ),
    "aws:s3/bucketObjectv2:BucketObjectv2": Type(
        service="s3",
        create="PutObject",
        arguments=_object,
        outputs={"etag": "ETag"},
        id="{bucket}/{key}",
        arn="arn:aws:s3:::{bucket}/{key}",
        read=Read("HeadObject", {"Bucket": "{bucket}", "Key": "{key}"}, "ETag"),
        repeatable=True,
        keys=("bucket", "key"),
        renewed=("etag",),
        delete=[("DeleteObject", {"Bucket": "{bucket}", "Key": "{key}"})],
        tags=OBJECT_TAGS,
    ),
    "aws:s3/bucketVersioning:BucketVersioning": _bucket_part(
        "Versioning",
        {"Bucket": "{bucket}", "VersioningConfiguration": "{versioningConfiguration}"},
        found="Status",
        # A bucket that had versions once can only stop to make new ones.
        delete=[("PutBucketVersioning", {"Bucket": "{id}", "VersioningConfiguration": {"Status": "Suspended"}})],
    ),
    "aws:s3/bucketOwnershipControls:BucketOwnershipControls": _bucket_part(
        "OwnershipControls", {"Bucket": "{bucket}", "OwnershipControls": {"Rules": ["{rule}"]}}
    ),
    "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock": _bucket_part(
        "PublicAccessBlock",
        lambda values: {
            "Bucket": values["bucket"],
            "PublicAccessBlockConfiguration": passed(
                "blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets"
            )(values),
        },
        verb="",
    ),
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration": _bucket_part(
        "Encryption", {"Bucket": "{bucket}", "ServerSideEncryptionConfiguration": {"Rules": "{rules}"}}
    ),
    "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration": _bucket_part(
        "LifecycleConfiguration",
        lambda values: {
            "Bucket": values["bucket"],
            "LifecycleConfiguration": {"Rules": values["rules"]},
            **passed("transitionDefaultMinimumObjectSize")(values),
        },
        delete=[("DeleteBucketLifecycle", {"Bucket": "{id}"})],
    ),
    "aws:s3/bucketLogging:BucketLogging": _bucket_part(
        "Logging",
        lambda values: {
            "Bucket": values["bucket"],
            "BucketLoggingStatus": {
                "LoggingEnabled": passed("targetBucket", "targetPrefix", "targetGrants", "targetObjectKeyFormat")(
                    values
                )
            },
        },
        found="LoggingEnabled",
        delete=[("PutBucketLogging", {"Bucket": "{id}", "BucketLoggingStatus": {}})],
    ),
    "aws:s3/bucketNotification:BucketNotification": Type(
        service="s3",
        create="PutBucketNotificationConfiguration",
        arguments=_bucket_events,
        id="{bucket}",
        read=Read(
            "GetBucketNotificationConfiguration",
            {"Bucket": "{id}"},
            lambda response, _: "EventBridgeConfiguration" in response,
        ),
        delete=[("PutBucketNotificationConfiguration", {"Bucket": "{id}", "NotificationConfiguration": {}})],
    ),
    "aws:s3/bucketPolicy:BucketPolicy": _bucket_part("Policy", {"Bucket": "{bucket}", "Policy": "{policy}"}),
    "aws:s3/bucketObjectLockConfiguration:BucketObjectLockConfiguration": _bucket_part(
        "ObjectLockConfiguration",
        {
            "Bucket": "{bucket}",
            "ObjectLockConfiguration": {"ObjectLockEnabled": "Enabled", "Rule": "{rule}"},
        },
        found="ObjectLockConfiguration.Rule",
        verb="",
        # A bucket with Object Lock keeps it; what goes is the rule for new objects.
        delete=[
            (
                "PutObjectLockConfiguration",
                {"Bucket": "{id}", "ObjectLockConfiguration": {"ObjectLockEnabled": "Enabled"}},
            )
        ],
    ),
    # --- logs, metrics, events --------------------------------------------------------------------------------------
    "aws:cloudwatch/logGroup:LogGroup": Type(
        service="logs",
        create="CreateLogGroup",
        rename={"name": "logGroupName"},
        id="{name}",
        arn=_arn("logs", "log-group:{name}"),
        named="name",
        read=Read("DescribeLogGroups", {"logGroupNamePrefix": "{id}"}, "logGroups[?logGroupName=='{id}'] | [0]"),
        changes=(
            Change(
                ("retentionInDays",),
                "PutRetentionPolicy",
                {"logGroupName": "{name}", "retentionInDays": "{retentionInDays}"},
                at_creation=True,
            ),
            Change(("retentionInDays",), "DeleteRetentionPolicy", {"logGroupName": "{id}"}, when="taken"),
            Change(("kmsKeyId",), "AssociateKmsKey", {"logGroupName": "{id}", "kmsKeyId": "{kmsKeyId}"}),
            Change(("kmsKeyId",), "DisassociateKmsKey", {"logGroupName": "{id}"}, when="taken"),
        ),
        delete=[
            ("DeleteLogGroup", lambda values: None if values.get("skipDestroy") else {"logGroupName": values["id"]})
        ],
        local=("skipDestroy",),
        tags=LOG_TAGS,
        tags_at_creation="tags",
    ),
    "aws:cloudwatch/metricAlarm:MetricAlarm": Type(
        service="cloudwatch",
        create="PutMetricAlarm",
        arguments=_alarm,
        rename={"name": "AlarmName"},
        id="{name}",
        arn=_arn("cloudwatch", "alarm:{name}"),
        named="name",
        repeatable=True,
        keys=("name",),
        read=Read("DescribeAlarms", {"AlarmNames": ["{id}"]}, "MetricAlarms[0]"),
        delete=[("DeleteAlarms", {"AlarmNames": ["{id}"]})],
        tags=EVENT_TAGS,
        tags_at_creation="Tags",
    ),
    "aws:cloudwatch/dashboard:Dashboard": Type(
        service="cloudwatch",
        create="PutDashboard",
        id="{dashboardName}",
        copies={"dashboardArn": "arn:aws:cloudwatch::{account}:dashboard/{dashboardName}"},
        repeatable=True,
        keys=("dashboardName",),
        read=Read("GetDashboard", {"DashboardName": "{id}"}, "DashboardName"),
        delete=[("DeleteDashboards", {"DashboardNames": ["{id}"]})],
    ),
    "aws:cloudwatch/eventRule:EventRule": Type(
        service="events",
        create="PutRule",
        id=lambda values: f"{_before_name(values)}{values['name']}",
        arn=_rule_arn,
        assumed={"eventBusName": "default"},
        named="name",
        repeatable=True,
        keys=("name", "eventBusName"),
        read=Read("DescribeRule", _on_bus("Name"), "Name"),
        delete=[("DeleteRule", _on_bus("Name"))],
        tags=EVENT_TAGS,
        tags_at_creation="Tags",
    ),
    "aws:cloudwatch/eventTarget:EventTarget": Type(
        service="events",
        create="PutTargets",
        arguments=lambda values: {
            **passed("rule", "eventBusName")(values),
            "Targets": [{"Id": values["targetId"], **without("rule", "eventBusName", "targetId")(values)}],
        },
        rename={"Targets.inputTransformer.inputPaths": "InputPathsMap"},
        id=lambda values: f"{_before_name(values)}{values['rule']}-{values['targetId']}",
        assumed={"eventBusName": "default"},
        named="targetId",
        repeatable=True,
        keys=("rule", "eventBusName", "targetId"),
        read=Read("ListTargetsByRule", _on_bus("Rule"), "Targets[?Id=='{targetId}'] | [0]"),
        delete=[("RemoveTargets", {**_on_bus("Rule"), "Ids": ["{targetId}"]})],
    ),
    "aws:scheduler/scheduleGroup:ScheduleGroup": Type(
        service="scheduler",
        create="CreateScheduleGroup",
        id="{name}",
        arn=_arn("scheduler", "schedule-group/{name}"),
        named="name",
        read=Read("GetScheduleGroup", {"Name": "{id}"}, "Name"),
        delete=[("DeleteScheduleGroup", {"Name": "{id}"})],
        tags=SCHEDULER_TAGS,
        tags_at_creation="Tags",
    ),
    "aws:scheduler/schedule:Schedule": Type(
        service="scheduler",
        create="CreateSchedule",
        id="{groupName}/{name}",
        arn=_arn("scheduler", "schedule/{groupName}/{name}"),
        assumed={"groupName": "default"},
        named="name",
        read=Read("GetSchedule", {"GroupName": "{groupName}", "Name": "{name}"}, "Name"),
        changes=(
            Change(
                (
                    *("scheduleExpression", "scheduleExpressionTimezone", "flexibleTimeWindow", "target", "state"),
                    *("description", "kmsKeyArn", "startDate", "endDate", "actionAfterCompletion"),
                ),
                "UpdateSchedule",
                everything,
                whole=True,
            ),
        ),
        delete=[("DeleteSchedule", {"GroupName": "{groupName}", "Name": "{name}"})],
    ),
    # --- messages ---------------------------------------------------------------------------------------------------
    "aws:sns/topic:Topic": Type(
        service="sns",
        create="CreateTopic",
        arguments=lambda values: {"Name": values["name"], "Attributes": _attributes(TOPIC)(values)},
        id="{arn}",
        arn=_arn("sns", "{name}"),
        named="name",
        read=Read("GetTopicAttributes", {"TopicArn": "{id}"}, "Attributes"),
        changes=_one_by_one("SetTopicAttributes", "TopicArn", TOPIC),
        delete=[("DeleteTopic", {"TopicArn": "{id}"})],
        tags=SNS_TAGS,
        tags_at_creation="Tags",
    ),
    "aws:sns/topicPolicy:TopicPolicy": Type(
        service="sns",
        create="SetTopicAttributes",
        arguments={"TopicArn": "{arn}", "AttributeName": "Policy", "AttributeValue": "{policy}"},
        id="{arn}",
        repeatable=True,
        keys=("arn",),
        read=Read("GetTopicAttributes", {"TopicArn": "{id}"}, _own_policy),
        delete=[("SetTopicAttributes", _owner_only)],
    ),
    "aws:sns/topicSubscription:TopicSubscription": Type(
        service="sns",
        create="Subscribe",
        arguments=lambda values: {
            "TopicArn": values["topic"],
            "ReturnSubscriptionArn": True,
            "Attributes": _attributes(SUBSCRIPTION)(values),
            **passed("protocol", "endpoint")(values),
        },
        outputs={"arn": "SubscriptionArn"},
        id="{arn}",
        read=Read("GetSubscriptionAttributes", {"SubscriptionArn": "{id}"}, "Attributes"),
        changes=_one_by_one("SetSubscriptionAttributes", "SubscriptionArn", SUBSCRIPTION),
        delete=[("Unsubscribe", {"SubscriptionArn": "{id}"})],
    ),
    "aws:sqs/queue:Queue": Type(
        service="sqs",
        create="CreateQueue",
        arguments=lambda values: {"QueueName": values["name"], "Attributes": _attributes(QUEUE)(values)},
        outputs={"url": "QueueUrl"},
        id="{url}",
        arn=_arn("sqs", "{name}"),
        named="name",
        read=Read("GetQueueAttributes", {"QueueUrl": "{id}", "AttributeNames": ["QueueArn"]}, "Attributes"),
        changes=(
            Change(
                tuple(QUEUE),
                "SetQueueAttributes",
                lambda values: {"QueueUrl": values["id"], "Attributes": _attributes(QUEUE)(values)},
                resets=QUEUE_RESETS,
            ),
        ),
        delete=[("DeleteQueue", {"QueueUrl": "{id}"})],
        tags=SQS_TAGS,
        tags_at_creation="tags",
    ),
    "aws:sqs/queuePolicy:QueuePolicy": Type(
        service="sqs",
        create="SetQueueAttributes",
        arguments={"QueueUrl": "{queueUrl}", "Attributes": {"Policy": "{policy}"}},
        id="{queueUrl}",
        repeatable=True,
        keys=("queueUrl",),
        read=Read("GetQueueAttributes", {"QueueUrl": "{id}", "AttributeNames": ["Policy"]}, "Attributes.Policy"),
        delete=[("SetQueueAttributes", {"QueueUrl": "{id}", "Attributes": {"Policy": ""}})],
    ),
    # --- cluster ----------------------------------------------------------------------------------------------------
    "aws:eks/cluster:Cluster": Type(
        service="eks",
        create="CreateCluster",
        arguments=_cluster,
        rename={"vpcConfig": "resourcesVpcConfig"},
        outputs={
            "endpoint": "cluster.endpoint",
            "certificateAuthority": "cluster.certificateAuthority",
            "identities": "[{oidcs: [{issuer: cluster.identity.oidc.issuer}]}]",
            "status": "cluster.status",
            "vpcConfig": "cluster.resourcesVpcConfig",  # with the security group that EKS makes
        },
        found={"endpoint": "endpoint", "status": "status", "vpcConfig": "resourcesVpcConfig"},
        structured=("certificateAuthority", "identities", "vpcConfig"),
        id="{name}",
        arn=_arn("eks", "cluster/{name}"),
        named="name",
        read=Read("DescribeCluster", {"name": "{id}"}, "cluster"),
        changes=(
            _cluster_change(
                ("enabledClusterLogTypes",),
                lambda values: {"logging": _logging(values)},
                resets={"enabledClusterLogTypes": []},
            ),
            _cluster_change(
                ("vpcConfig",),
                lambda values: {"resourcesVpcConfig": values["vpcConfig"]},
            ),
            _cluster_change(
                ("accessConfig.authenticationMode",),
                lambda values: {"accessConfig": {"authenticationMode": values["accessConfig"]["authenticationMode"]}},
            ),
            _cluster_change(
                ("deletionProtection",), passed("deletionProtection"), resets={"deletionProtection": False}
            ),
            _cluster_change(("upgradePolicy",), passed("upgradePolicy")),
            Change(
                ("version",),
                "UpdateClusterVersion",
                lambda values: {
                    **with_({"name": "id"}, "version")(values),
                    **({"force": True} if values.get("forceUpdateVersion") else {}),
                },
            ),
        ),
        ready=Ready("cluster.status", "ACTIVE", ("FAILED",)),
        delete=[("DeleteCluster", {"name": "{id}"})],
        local=("forceUpdateVersion",),
        tags=EKS_TAGS,
        tags_at_creation="tags",
    ),
    "aws:eks/nodeGroup:NodeGroup": Type(
        service="eks",
        create="CreateNodegroup",
        rename={"nodeGroupName": "nodegroupName", "nodeRoleArn": "nodeRole", "subnetIds": "subnets"},
        outputs={"arn": "nodegroup.nodegroupArn", "status": "nodegroup.status", "resources": "[nodegroup.resources]"},
        found={"status": "status"},
        structured=("resources",),
        id="{clusterName}:{nodeGroupName}",
        arn=_arn("eks", "nodegroup/{clusterName}/{nodeGroupName}/{uuid}"),
        named="nodeGroupName",
        read=Read("DescribeNodegroup", NODE_GROUP_OF, "nodegroup"),
        changes=(
            Change(
                ("scalingConfig", "updateConfig", "nodeRepairConfig"),
                "UpdateNodegroupConfig",
                with_(NODE_GROUP, "scalingConfig", "updateConfig", "nodeRepairConfig"),
                resets={"updateConfig": {"maxUnavailable": 1}, "nodeRepairConfig": {"enabled": False}},
            ),
            Change(("labels",), "UpdateNodegroupConfig", _labels, resets={"labels": {}}),
            Change(("taints",), "UpdateNodegroupConfig", _taints, resets={"taints": []}),
            Change(("launchTemplate.version", "releaseVersion", "version"), "UpdateNodegroupVersion", _node_version),
        ),
        ready=Ready("nodegroup.status", "ACTIVE", ("CREATE_FAILED", "DEGRADED"), "nodegroup.health.issues"),
        delete=[("DeleteNodegroup", NODE_GROUP_OF)],
        local=("forceUpdateVersion",),
        tags=EKS_TAGS,
        tags_at_creation="tags",
    ),
    "aws:eks/addon:Addon": Type(
        service="eks",
        create="CreateAddon",
        arguments=_addon,
        outputs={"arn": "addon.addonArn"},
        id="{clusterName}:{addonName}",
        arn=_arn("eks", "addon/{clusterName}/{addonName}/{uuid}"),
        read=Read("DescribeAddon", ADDON, "addon"),
        changes=(Change(ADDON_SETTINGS, "UpdateAddon", _changed_addon),),
        ready=Ready("addon.status", "ACTIVE", ("CREATE_FAILED", "DEGRADED"), "addon.health.issues"),
        delete=[("DeleteAddon", _deleted_addon)],
        local=("resolveConflictsOnCreate", "resolveConflictsOnUpdate", "preserve"),
        tags=EKS_TAGS,
        tags_at_creation="tags",
        fixed_name=True,
    ),
    "aws:eks/accessEntry:AccessEntry": Type(
        service="eks",
        create="CreateAccessEntry",
        outputs={"accessEntryArn": "accessEntry.accessEntryArn"},
        id="{clusterName}:{principalArn}",
        read=Read("DescribeAccessEntry", ENTRY, "accessEntry"),
        changes=(
            Change(
                ("kubernetesGroups", "userName"),
                "UpdateAccessEntry",
                passed("clusterName", "principalArn", "kubernetesGroups", "userName"),
                resets={"kubernetesGroups": []},
            ),
        ),
        delete=[("DeleteAccessEntry", ENTRY)],
        tags=Tags("TagResource", {"resourceArn": "{accessEntryArn}"}, "tags", "map", "UntagResource", "tagKeys"),
        tags_at_creation="tags",
        fixed_name=True,
    ),
    "aws:eks/accessPolicyAssociation:AccessPolicyAssociation": Type(
        service="eks",
        create="AssociateAccessPolicy",
        id="{clusterName}#{principalArn}#{policyArn}",
        read=Read("ListAssociatedAccessPolicies", ENTRY, "associatedAccessPolicies[?policyArn=='{policyArn}'] | [0]"),
        delete=[("DisassociateAccessPolicy", {**ENTRY, "policyArn": "{policyArn}"})],
        fixed_name=True,
    ),
    "aws:eks/podIdentityAssociation:PodIdentityAssociation": Type(
        service="eks",
        create="CreatePodIdentityAssociation",
        outputs={"associationId": "association.associationId", "associationArn": "association.associationArn"},
        id="{associationId}",
        read=Read(
            "DescribePodIdentityAssociation", {"clusterName": "{clusterName}", "associationId": "{id}"}, "association"
        ),
        changes=(
            Change(
                ("roleArn",),
                "UpdatePodIdentityAssociation",
                {"clusterName": "{clusterName}", "associationId": "{id}", "roleArn": "{roleArn}"},
            ),
        ),
        delete=[("DeletePodIdentityAssociation", {"clusterName": "{clusterName}", "associationId": "{id}"})],
        tags=Tags("TagResource", {"resourceArn": "{associationArn}"}, "tags", "map", "UntagResource", "tagKeys"),
        tags_at_creation="tags",
        fixed_name=True,
    ),
    # --- images -----------------------------------------------------------------------------------------------------
    "aws:ecr/repository:Repository": Type(
        service="ecr",
        create="CreateRepository",
        rename={"name": "repositoryName", "encryptionConfigurations": "encryptionConfiguration"},
        id="{name}",
        arn=_arn("ecr", "repository/{name}"),
        copies={"repositoryUrl": "{account}.dkr.ecr.{region}.amazonaws.com/{name}", "registryId": "{account}"},
        named="name",
        lower_case=True,
        read=Read("DescribeRepositories", {"repositoryNames": ["{id}"]}, "repositories[0]"),
        changes=(
            Change(
                ("imageTagMutability",),
                "PutImageTagMutability",
                {"repositoryName": "{id}", "imageTagMutability": "{imageTagMutability}"},
                resets={"imageTagMutability": "MUTABLE"},
            ),
            Change(
                ("imageScanningConfiguration",),
                "PutImageScanningConfiguration",
                {"repositoryName": "{id}", "imageScanningConfiguration": "{imageScanningConfiguration}"},
                resets={"imageScanningConfiguration": {"scanOnPush": False}},
            ),
        ),
        delete=[
            (
                "DeleteRepository",
                lambda values: {"repositoryName": values["id"], "force": bool(values.get("forceDelete"))},
            )
        ],
        local=("forceDelete",),
        tags=ECR_TAGS,
        tags_at_creation="tags",
    ),
    "aws:ecr/lifecyclePolicy:LifecyclePolicy": Type(
        service="ecr",
        create="PutLifecyclePolicy",
        rename={"repository": "repositoryName", "policy": "lifecyclePolicyText"},
        id="{repository}",
        repeatable=True,
        keys=("repository",),
        read=Read("GetLifecyclePolicy", {"repositoryName": "{id}"}, "lifecyclePolicyText"),
        delete=[("DeleteLifecyclePolicy", {"repositoryName": "{id}"})],
    ),
    # --- cost -------------------------------------------------------------------------------------------------------
    "aws:budgets/budget:Budget": Type(
        service="budgets",
        create="CreateBudget",
        arguments=lambda values: {
            "AccountId": values["account"],
            "Budget": _budget(values),
            "NotificationsWithSubscribers": [_notification(each) for each in values.get("notifications") or ()],
        },
        id="{account}:{name}",
        arn="arn:aws:budgets::{account}:budget/{name}",
        named="name",
        read=Read("DescribeBudget", {"AccountId": "{account}", "BudgetName": "{name}"}, "Budget"),
        changes=(
            Change(
                ("limitAmount", "limitUnit", "costFilters", "timeUnit", "budgetType"),
                "UpdateBudget",
                lambda values: {"AccountId": values["account"], "NewBudget": _budget(values)},
                whole=True,
            ),
            Change(("notifications",), "DeleteNotification", _former_notifications, when="either"),
            Change(("notifications",), "CreateNotification", _new_notifications, when="either"),
        ),
        delete=[("DeleteBudget", {"AccountId": "{account}", "BudgetName": "{name}"})],
        tags=BUDGET_TAGS,
        tags_at_creation="ResourceTags",
    ),
    "aws:costexplorer/anomalyMonitor:AnomalyMonitor": Type(
        service="ce",
        create="CreateAnomalyMonitor",
        arguments=_anomaly_monitor,
        id="{arn}",
        outputs={"arn": "MonitorArn"},
        named="name",
        read=Read("GetAnomalyMonitors", {"MonitorArnList": ["{id}"]}, "AnomalyMonitors[0].MonitorArn"),
        changes=(
            Change(
                ("name",),
                "UpdateAnomalyMonitor",
                lambda values: {"MonitorArn": values["id"], "MonitorName": values["name"]},
            ),
        ),
        delete=[("DeleteAnomalyMonitor", {"MonitorArn": "{id}"})],
        tags=COST_TAGS,
        tags_at_creation="ResourceTags",
    ),
    "aws:costexplorer/anomalySubscription:AnomalySubscription": Type(
        service="ce",
        create="CreateAnomalySubscription",
        arguments=lambda values: {"AnomalySubscription": _anomaly_subscription(values)},
        id="{arn}",
        outputs={"arn": "SubscriptionArn"},
        named="name",
        read=Read(
            "GetAnomalySubscriptions", {"SubscriptionArnList": ["{id}"]}, "AnomalySubscriptions[0].SubscriptionArn"
        ),
        changes=(
            Change(
                ("frequency", "monitorArnLists", "subscribers", "thresholdExpression"),
                "UpdateAnomalySubscription",
                lambda values: {**_anomaly_subscription(values), "SubscriptionArn": values["id"]},
                whole=True,
            ),
        ),
        delete=[("DeleteAnomalySubscription", {"SubscriptionArn": "{id}"})],
        tags=COST_TAGS,
        tags_at_creation="ResourceTags",
    ),
    # --- models -----------------------------------------------------------------------------------------------------
    "aws:sagemaker/featureGroup:FeatureGroup": Type(
        service="sagemaker",
        create="CreateFeatureGroup",
        id="{featureGroupName}",
        arn=_arn("sagemaker", "feature-group/{featureGroupName}"),
        named="featureGroupName",
        read=Read("DescribeFeatureGroup", {"FeatureGroupName": "{id}"}, "FeatureGroupName"),
        ready=Ready("FeatureGroupStatus", "Created", ("CreateFailed",), "FailureReason"),
        delete=[("DeleteFeatureGroup", {"FeatureGroupName": "{id}"})],
        tags=SAGEMAKER_TAGS,
        tags_at_creation="Tags",
    ),
    "aws:sagemaker/modelPackageGroup:ModelPackageGroup": Type(
        service="sagemaker",
        create="CreateModelPackageGroup",
        id="{modelPackageGroupName}",
        arn=_arn("sagemaker", "model-package-group/{modelPackageGroupName}"),
        named="modelPackageGroupName",
        read=Read("DescribeModelPackageGroup", {"ModelPackageGroupName": "{id}"}, "ModelPackageGroupName"),
        delete=[("DeleteModelPackageGroup", {"ModelPackageGroupName": "{id}"})],
        tags=SAGEMAKER_TAGS,
        tags_at_creation="Tags",
    ),
    "aws:sagemaker/modelPackageGroupPolicy:ModelPackageGroupPolicy": Type(
        service="sagemaker",
        create="PutModelPackageGroupPolicy",
        id="{modelPackageGroupName}",
        repeatable=True,
        keys=("modelPackageGroupName",),
        read=Read("GetModelPackageGroupPolicy", {"ModelPackageGroupName": "{id}"}, "ResourcePolicy"),
        delete=[("DeleteModelPackageGroupPolicy", {"ModelPackageGroupName": "{id}"})],
    ),
    "aws:sagemaker/pipeline:Pipeline": Type(
        service="sagemaker",
        create="CreatePipeline",
        arguments=lambda values: {**passed("pipelineName", *PIPELINE_SETTINGS)(values), **_token(values)},
        id="{pipelineName}",
        arn=_arn("sagemaker", "pipeline/{pipelineName}"),
        named="pipelineName",
        read=Read("DescribePipeline", {"PipelineName": "{id}"}, "PipelineName"),
        changes=(
            Change(
                PIPELINE_SETTINGS,
                "UpdatePipeline",
                with_({"pipelineName": "id"}, *PIPELINE_SETTINGS),
                resets={"parallelismConfiguration": {"maxParallelExecutionSteps": 50}},
            ),
        ),
        delete=[("DeletePipeline", lambda values: {"PipelineName": values["id"], **_token(values)})],
        tags=SAGEMAKER_TAGS,
        tags_at_creation="Tags",
    ),
    "aws:sagemaker/mlflowApp:MlflowApp": Type(
        service="sagemaker",
        create="CreateMlflowApp",
        outputs={"arn": "Arn"},
        id="{arn}",
        named="name",
        read=Read("DescribeMlflowApp", {"Arn": "{id}"}, "@"),
        changes=(
            Change(
                ("name", *APP_SETTINGS),
                "UpdateMlflowApp",
                with_({"Arn": "id"}, "name", *APP_SETTINGS),
                resets={
                    "modelRegistrationMode": "AutoModelRegistrationDisabled",
                    "accountDefaultStatus": "DISABLED",
                    "weeklyMaintenanceWindowStart": "Tue:03:30",
                },
            ),
        ),
        ready=Ready("(Status == 'Updated' && 'Created') || Status", "Created", ("CreateFailed", "UpdateFailed")),
        delete=[("DeleteMlflowApp", {"Arn": "{id}"})],
        tags=SAGEMAKER_TAGS,
        tags_at_creation="Tags",
    ),
    "aws:sagemaker/model:Model": Type(
        service="sagemaker",
        create="CreateModel",
        rename={"name": "ModelName"},
        id="{name}",
        arn=_arn("sagemaker", "model/{name}"),
        named="name",
        read=Read("DescribeModel", {"ModelName": "{id}"}, "ModelName"),
        delete=[("DeleteModel", {"ModelName": "{id}"})],
        tags=SAGEMAKER_TAGS,
        tags_at_creation="Tags",
    ),
    "aws:sagemaker/endpointConfiguration:EndpointConfiguration": Type(
        service="sagemaker",
        create="CreateEndpointConfig",
        rename={"name": "EndpointConfigName", "kmsKeyArn": "KmsKeyId"},
        id="{name}",
        arn=_arn("sagemaker", "endpoint-config/{name}"),
        named="name",
        read=Read("DescribeEndpointConfig", {"EndpointConfigName": "{id}"}, "EndpointConfigName"),
        delete=[("DeleteEndpointConfig", {"EndpointConfigName": "{id}"})],
        tags=SAGEMAKER_TAGS,
        tags_at_creation="Tags",
    ),
    "aws:sagemaker/endpoint:Endpoint": Type(
        service="sagemaker",
        create="CreateEndpoint",
        rename={"name": "EndpointName"},
        id="{name}",
        arn=_arn("sagemaker", "endpoint/{name}"),
        named="name",
        read=Read("DescribeEndpoint", {"EndpointName": "{id}"}, "@"),
        found={"endpointConfigName": "EndpointConfigName"},
        changes=(Change(("endpointConfigName", "deploymentConfig"), "UpdateEndpoint", _endpoint, whole=True),),
        ready=Ready(
            "EndpointStatus",
            "InService",
            ("Failed", "OutOfService", "UpdateRollbackFailed"),
            "FailureReason",
            live=("EndpointConfigName",),
        ),
        delete=[("DeleteEndpoint", {"EndpointName": "{id}"})],
        tags=SAGEMAKER_TAGS,
        tags_at_creation="Tags",
    ),
    "aws:appautoscaling/target:Target": Type(
        service="application-autoscaling",
        create="RegisterScalableTarget",
        outputs={"arn": "ScalableTargetARN"},
        id="{resourceId}",
        repeatable=True,
        keys=("resourceId", "scalableDimension", "serviceNamespace"),
        read=Read(
            "DescribeScalableTargets",
            {"ServiceNamespace": "{serviceNamespace}", "ResourceIds": ["{resourceId}"]},
            "ScalableTargets[?ScalableDimension=='{scalableDimension}'] | [0]",
        ),
        delete=[("DeregisterScalableTarget", passed("serviceNamespace", "resourceId", "scalableDimension"))],
        tags=SCALING_TAGS,
        tags_at_creation="Tags",
    ),
    "aws:appautoscaling/policy:Policy": Type(
        service="application-autoscaling",
        create="PutScalingPolicy",
        rename={"name": "PolicyName"},
        outputs={"arn": "PolicyARN"},
        id="{name}",
        named="name",
        repeatable=True,
        keys=("name", "resourceId", "scalableDimension", "serviceNamespace"),
        read=Read(
            "DescribeScalingPolicies",
            {"ServiceNamespace": "{serviceNamespace}", "ResourceId": "{resourceId}", "PolicyNames": ["{name}"]},
            "ScalingPolicies[0]",
        ),
        delete=[
            (
                "DeleteScalingPolicy",
                with_({"PolicyName": "name"}, "serviceNamespace", "resourceId", "scalableDimension"),
            )
        ],
    ),
    "aws:appautoscaling/scheduledAction:ScheduledAction": Type(
        service="application-autoscaling",
        create="PutScheduledAction",
        rename={"name": "ScheduledActionName"},
        id="{name}-{serviceNamespace}-{resourceId}",
        found={"arn": "ScheduledActionARN"},
        named="name",
        repeatable=True,
        keys=("name", "resourceId", "scalableDimension", "serviceNamespace"),
        read=Read(
            "DescribeScheduledActions",
            {
                "ServiceNamespace": "{serviceNamespace}",
                "ResourceId": "{resourceId}",
                "ScheduledActionNames": ["{name}"],
            },
            "ScheduledActions[0]",
        ),
        delete=[
            (
                "DeleteScheduledAction",
                with_({"ScheduledActionName": "name"}, "serviceNamespace", "resourceId", "scalableDimension"),
            )
        ],
    ),
    "aws:cloudcontrol/resource:Resource": Type(
        # Of all that cloud control can make, the stacks use inference components: the same words are SageMaker's own.
        service="sagemaker",
        create="CreateInferenceComponent",
        arguments=_wanted,
        id=_component_arn,
        copies={"properties": lambda values: values["desiredState"]},
        read=Read("DescribeInferenceComponent", _component_name, "InferenceComponentName"),
        changes=(
            Change(
                ("desiredState",),
                "UpdateInferenceComponent",
                lambda values: {
                    name: value
                    for name, value in _wanted(values).items()
                    if name in ("InferenceComponentName", "Specification", "RuntimeConfig", "DeploymentConfig")
                },
                whole=True,
            ),
        ),
        ready=Ready("InferenceComponentStatus", "InService", ("Failed",), "FailureReason"),
        delete=[("DeleteInferenceComponent", _component_name)],
        local=("typeName",),
    ),
    "aws:sfn/stateMachine:StateMachine": Type(
        service="stepfunctions",
        create="CreateStateMachine",
        id="arn:aws:states:{region}:{account}:stateMachine:{name}",
        arn="arn:aws:states:{region}:{account}:stateMachine:{name}",
        named="name",
        read=Read("DescribeStateMachine", {"stateMachineArn": "{id}"}, "stateMachineArn"),
        changes=(
            Change(
                MACHINE_SETTINGS,
                "UpdateStateMachine",
                with_({"stateMachineArn": "id"}, *MACHINE_SETTINGS),
                resets={
                    "loggingConfiguration": {"level": "OFF"},
                    "tracingConfiguration": {"enabled": False},
                    "encryptionConfiguration": {"type": "AWS_OWNED_KEY"},
                },
            ),
        ),
        delete=[("DeleteStateMachine", {"stateMachineArn": "{id}"})],
        tags=STATES_TAGS,
        tags_at_creation="tags",
    ),
    # --- functions and parameters -----------------------------------------------------------------------------------
    "aws:lambda/function:Function": Type(
        service="lambda",
        create="CreateFunction",
        arguments=_function,
        id="{name}",
        arn=_arn("lambda", "function:{name}"),
        copies={
            "invokeArn": "arn:aws:apigateway:{region}:lambda:path/2015-03-31/functions/"
            "arn:aws:lambda:{region}:{account}:function:{name}/invocations",
        },
        named="name",
        read=Read("GetFunction", {"FunctionName": "{id}"}, "Configuration"),
        changes=(
            Change(
                ("code", "s3Bucket", "s3Key", "s3ObjectVersion", "imageUri", "architectures"),
                "UpdateFunctionCode",
                lambda values: {"FunctionName": values["id"], **_code(values), **passed("architectures")(values)},
                whole=True,
            ),
            Change(
                FUNCTION_SETTINGS,
                "UpdateFunctionConfiguration",
                with_({"FunctionName": "id"}, *FUNCTION_SETTINGS),
                resets=FUNCTION_RESETS,
            ),
            Change(
                ("reservedConcurrentExecutions",),
                "PutFunctionConcurrency",
                with_({"FunctionName": "id"}, "reservedConcurrentExecutions"),
                at_creation=True,
            ),
            Change(
                ("reservedConcurrentExecutions",), "DeleteFunctionConcurrency", {"FunctionName": "{id}"}, when="taken"
            ),
        ),
        ready=Ready("Configuration.State", "Active", ("Failed",), "Configuration.StateReason"),
        delete=[("DeleteFunction", {"FunctionName": "{id}"})],
        tags=LAMBDA_TAGS,
        tags_at_creation="Tags",
    ),
    "aws:lambda/functionEventInvokeConfig:FunctionEventInvokeConfig": Type(
        service="lambda",
        create="PutFunctionEventInvokeConfig",
        id="{functionName}",
        repeatable=True,
        keys=("functionName",),
        read=Read("GetFunctionEventInvokeConfig", {"FunctionName": "{id}"}, "FunctionArn"),
        delete=[("DeleteFunctionEventInvokeConfig", {"FunctionName": "{id}"})],
    ),
    "aws:lambda/invocation:Invocation": Type(
        # One that is changed is made anew, which invokes; to delete it does nothing.
        service="lambda",
        create="Invoke",
        arguments={"FunctionName": "{functionName}", "Payload": "{input}"},
        outputs={"result": "Payload"},
        id=_invocation,
        read=Read("GetFunction", {"FunctionName": "{functionName}"}, "Configuration"),
        delete=[],
        local=("triggers",),
    ),
    "aws:lambda/permission:Permission": Type(
        service="lambda",
        create="AddPermission",
        rename={"function": "FunctionName"},
        id="{statementId}",
        named="statementId",
        read=Read("GetPolicy", {"FunctionName": "{function}"}, _allowed),
        delete=[("RemovePermission", {"FunctionName": "{function}", "StatementId": "{id}"})],
    ),
    # --- APIs -------------------------------------------------------------------------------------------------------
    "aws:apigateway/restApi:RestApi": Type(
        service="apigateway",
        create="CreateRestApi",
        outputs={"apiId": "id", "rootResourceId": "rootResourceId"},
        id="{apiId}",
        arn="arn:aws:apigateway:{region}::/restapis/{id}",
        copies={"executionArn": "arn:aws:execute-api:{region}:{account}:{id}"},
        named="name",
        read=Read("GetRestApi", {"restApiId": "{id}"}, "id"),
        changes=(
            Change(
                ("body",),
                "PutRestApi",
                {"restApiId": "{id}", "mode": "overwrite", "body": "{body}"},
                at_creation=True,
            ),
            Change(
                ("name", "description", "policy", "apiKeySource", "securityPolicy", "endpointAccessMode"),
                "UpdateRestApi",
                _patch(
                    {"restApiId": "id"},
                    name="name",
                    description="description",
                    policy="policy",
                    apiKeySource="apiKeySource",
                    securityPolicy="securityPolicy",
                    endpointAccessMode="endpointAccessMode",
                ),
                resets={"description": "", "policy": ""},
            ),
        ),
        delete=[("DeleteRestApi", {"restApiId": "{id}"})],
        tags=API_TAGS,
        tags_at_creation="tags",
    ),
    "aws:apigateway/deployment:Deployment": Type(
        service="apigateway",
        create="CreateDeployment",
        arguments=_deployment,
        rename={"restApi": "restApiId"},
        outputs={"deploymentId": "id"},
        id="{deploymentId}",
        read=Read("GetDeployment", {"restApiId": "{restApi}", "deploymentId": "{id}"}, "id"),
        delete=[("DeleteDeployment", {"restApiId": "{restApi}", "deploymentId": "{id}"})],
    ),
    "aws:apigateway/stage:Stage": Type(
        service="apigateway",
        create="CreateStage",
        rename={"restApi": "restApiId", "deployment": "deploymentId", "xrayTracingEnabled": "tracingEnabled"},
        id="ags-{restApi}-{stageName}",
        arn="arn:aws:apigateway:{region}::/restapis/{restApi}/stages/{stageName}",
        copies={
            "invokeUrl": "https://{restApi}.execute-api.{region}.amazonaws.com/{stageName}",
            "executionArn": "arn:aws:execute-api:{region}:{account}:{restApi}/{stageName}",
        },
        read=Read("GetStage", {"restApiId": "{restApi}", "stageName": "{stageName}"}, "stageName"),
        changes=(
            Change(
                ("deployment", "description", "xrayTracingEnabled"),
                "UpdateStage",
                _patch(
                    STAGE_OF,
                    deployment="deploymentId",
                    description="description",
                    xrayTracingEnabled="tracingEnabled",
                ),
                resets={"description": "", "xrayTracingEnabled": False},
            ),
            Change(("accessLogSettings",), "UpdateStage", _access_log, at_creation=True, when="either"),
        ),
        delete=[("DeleteStage", {"restApiId": "{restApi}", "stageName": "{stageName}"})],
        tags=API_TAGS,
        tags_at_creation="tags",
        fixed_name=True,
    ),
    "aws:apigateway/methodSettings:MethodSettings": Type(
        service="apigateway",
        create="UpdateStage",
        arguments=_method_settings,
        id="{restApi}-{stageName}-{methodPath}",
        repeatable=True,
        keys=("restApi", "stageName", "methodPath"),
        read=Read(
            "GetStage",
            {"restApiId": "{restApi}", "stageName": "{stageName}"},
            lambda response, values: (response.get("methodSettings") or {}).get(values["methodPath"]),
        ),
        delete=[("UpdateStage", _no_method_settings)],
    ),
    "aws:apigateway/usagePlan:UsagePlan": Type(
        service="apigateway",
        create="CreateUsagePlan",
        rename={"throttleSettings": "throttle", "quotaSettings": "quota"},
        outputs={"planId": "id"},
        id="{planId}",
        arn="arn:aws:apigateway:{region}::/usageplans/{id}",
        named="name",
        read=Read("GetUsagePlan", {"usagePlanId": "{id}"}, "id"),
        changes=(
            Change(("throttleSettings", "quotaSettings"), "UpdateUsagePlan", _plan_limits),
            Change(
                ("description",),
                "UpdateUsagePlan",
                _patch({"usagePlanId": "id"}, description="description"),
                resets={"description": ""},
            ),
        ),
        delete=[("UpdateUsagePlan", _no_stages), ("DeleteUsagePlan", {"usagePlanId": "{id}"})],
        tags=API_TAGS,
        tags_at_creation="tags",
    ),
    "aws:apigateway/usagePlanKey:UsagePlanKey": Type(
        service="apigateway",
        create="CreateUsagePlanKey",
        outputs={"name": "name", "value": "value"},
        id="{keyId}",
        read=Read("GetUsagePlanKey", {"usagePlanId": "{usagePlanId}", "keyId": "{keyId}"}, "id"),
        delete=[("DeleteUsagePlanKey", {"usagePlanId": "{usagePlanId}", "keyId": "{keyId}"})],
        fixed_name=True,
    ),
    "aws:apigateway/apiKey:ApiKey": Type(
        service="apigateway",
        create="CreateApiKey",
        arguments=lambda values: {"enabled": True, **values},
        outputs={"keyId": "id", "value": "value"},
        id="{keyId}",
        arn="arn:aws:apigateway:{region}::/apikeys/{id}",
        named="name",
        read=Read("GetApiKey", {"apiKey": "{id}", "includeValue": True}, "id"),
        changes=(
            Change(
                ("name", "description", "enabled"),
                "UpdateApiKey",
                _patch({"apiKey": "id"}, name="name", description="description", enabled="enabled"),
                resets={"description": "", "enabled": True},
            ),
        ),
        delete=[("DeleteApiKey", {"apiKey": "{id}"})],
        tags=API_TAGS,
        tags_at_creation="tags",
    ),
    "aws:apigateway/account:Account": Type(
        service="apigateway",
        create="UpdateAccount",
        arguments=lambda values: {"patchOperations": _replaced(passed("cloudwatchRoleArn")(values))},
        id="api-gateway-account",
        repeatable=True,
        read=Read("GetAccount", {}, "cloudwatchRoleArn"),
        delete=[("UpdateAccount", {"patchOperations": _replaced({"cloudwatchRoleArn": ""})})],
    ),
    "aws:cognito/userPool:UserPool": Type(
        service="cognito-idp",
        create="CreateUserPool",
        rename={"name": "PoolName"},
        outputs={"poolId": "UserPool.Id"},
        id="{poolId}",
        arn=_arn("cognito-idp", "userpool/{id}"),
        copies={"endpoint": "cognito-idp.{region}.amazonaws.com/{id}"},
        named="name",
        read=Read("DescribeUserPool", {"UserPoolId": "{id}"}, "UserPool"),
        changes=(
            Change(
                ("adminCreateUserConfig", "deletionProtection", "userPoolTier"),
                "UpdateUserPool",
                with_({"UserPoolId": "id"}, "adminCreateUserConfig", "deletionProtection", "userPoolTier"),
                whole=True,
            ),
        ),
        delete=[("DeleteUserPool", {"UserPoolId": "{id}"})],
        tags=COGNITO_TAGS,
        tags_at_creation="UserPoolTags",
    ),
    "aws:cognito/userPoolClient:UserPoolClient": Type(
        service="cognito-idp",
        create="CreateUserPoolClient",
        rename={"name": "ClientName"},
        outputs={"clientId": "UserPoolClient.ClientId", "clientSecret": "UserPoolClient.ClientSecret"},
        id="{clientId}",
        named="name",
        read=Read("DescribeUserPoolClient", CLIENT_OF, "UserPoolClient"),
        changes=(
            Change(
                (
                    *("name", "allowedOauthFlows", "allowedOauthFlowsUserPoolClient", "allowedOauthScopes"),
                    *("explicitAuthFlows", "preventUserExistenceErrors", "enableTokenRevocation"),
                    *("accessTokenValidity", "tokenValidityUnits"),
                ),
                "UpdateUserPoolClient",
                lambda values: {**without("generateSecret", "userPoolId")(values), **fill(CLIENT_OF, values)},
                whole=True,
            ),
        ),
        delete=[("DeleteUserPoolClient", CLIENT_OF)],
    ),
    "aws:cognito/resourceServer:ResourceServer": Type(
        service="cognito-idp",
        create="CreateResourceServer",
        id="{userPoolId}|{identifier}",
        copies={
            "scopeIdentifiers": lambda values: [
                f"{values['identifier']}/{each['scopeName']}" for each in values.get("scopes") or ()
            ]
        },
        read=Read("DescribeResourceServer", SERVER_OF, "ResourceServer"),
        changes=(Change(("name", "scopes"), "UpdateResourceServer", everything, whole=True),),
        delete=[("DeleteResourceServer", SERVER_OF)],
        fixed_name=True,
    ),
    "aws:cognito/userPoolDomain:UserPoolDomain": Type(
        service="cognito-idp",
        create="CreateUserPoolDomain",
        id="{domain}",
        read=Read("DescribeUserPoolDomain", {"Domain": "{id}"}, "DomainDescription.UserPoolId"),
        delete=[("DeleteUserPoolDomain", {"Domain": "{id}", "UserPoolId": "{userPoolId}"})],
        fixed_name=True,
    ),
    "aws:cloudwatch/logMetricFilter:LogMetricFilter": Type(
        service="logs",
        create="PutMetricFilter",
        arguments=lambda values: {
            "logGroupName": values["logGroupName"],
            "filterName": values["name"],
            "filterPattern": values["pattern"],
            "metricTransformations": [
                {f"metric{key[0].upper()}{key[1:]}": value for key, value in values["metricTransformation"].items()}
            ],
        },
        id="{name}",
        named="name",
        repeatable=True,
        keys=("name", "logGroupName"),
        read=Read(
            "DescribeMetricFilters",
            {"logGroupName": "{logGroupName}", "filterNamePrefix": "{name}"},
            "metricFilters[?filterName=='{name}'] | [0]",
        ),
        delete=[("DeleteMetricFilter", {"logGroupName": "{logGroupName}", "filterName": "{name}"})],
    ),
    "aws:ssm/parameter:Parameter": Type(
        service="ssm",
        create="PutParameter",
        rename={"insecureValue": "Value"},
        outputs={"version": "Version"},
        found={"version": "Version"},
        structured=("version",),
        renewed=("version",),
        id="{name}",
        arn=_parameter_arn,
        named="name",
        read=Read("GetParameter", {"Name": "{id}"}, "Parameter"),
        changes=(
            Change(
                ("value", "insecureValue", "type", "description", "keyId", "tier", "allowedPattern"),
                "PutParameter",
                lambda values: {**values, "Overwrite": True},
                whole=True,
            ),
        ),
        delete=[("DeleteParameter", {"Name": "{id}"})],
        tags=PARAMETER_TAGS,
        tags_at_creation="Tags",
    ),
}
