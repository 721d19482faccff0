"""The table: for each resource type that the stacks use, the AWS calls that make, read, change and delete it.

A row says what Pulumi's names cannot tell: everything else is matched by name (mapping.py). To add a type, add a row.
A property that no row's change covers, and that the creating call cannot change either, forces a replacement.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from infra.rehearsal.provider import Props

Arguments = Mapping[str, Any] | Callable[[Props], Mapping[str, Any] | None]
"""A call's arguments: a template such as `{"Bucket": "{bucket}"}`, or what makes them from inputs and outputs.

None from the latter: the call is not needed. Names are Pulumi's or AWS's; mapping.py turns both into AWS's.
"""


@dataclass(frozen=True)
class Read:
    """How to look whether it is there."""

    call: str
    arguments: Arguments
    found: str
    """JMESPath to what must not be empty in the response."""


@dataclass(frozen=True)
class Change:
    """A call that puts some inputs in force."""

    inputs: tuple[str, ...]
    call: str
    arguments: Arguments
    at_creation: bool = False
    """Whether the creating call does not take these inputs, so that this call follows it."""


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
    id: str
    """A template over inputs and outputs."""
    read: Read
    delete: tuple[str, Arguments] | None
    arguments: Arguments = field(default_factory=lambda: without())
    rename: Mapping[str, str] = field(default_factory=dict)
    """For the creating call: the path of an input, and the parameter that takes it."""
    outputs: Mapping[str, str] = field(default_factory=dict)
    """Outputs that only AWS can tell: JMESPath in the creating call's response."""
    found: Mapping[str, str] = field(default_factory=dict)
    """Likewise, in what `read` finds."""
    looked_up: Mapping[str, tuple[str, Mapping[str, Any], str]] = field(default_factory=dict)
    """Outputs that another call tells once it is made: the call, its arguments, and JMESPath in its response."""
    arn: str = ""
    """A template, where the ARN follows from inputs and id."""
    copies: Mapping[str, str] = field(default_factory=dict)
    """Outputs that follow from inputs and id: templates."""
    named: str = ""
    """The input that gets a generated name where the program gives none."""
    repeatable: bool = False
    """Whether the creating call also changes what exists."""
    keys: tuple[str, ...] = ()
    """Inputs that even then force a replacement, for they name what is changed."""
    changes: tuple[Change, ...] = ()
    tags: Tags | None = None
    tags_at_creation: str = ""
    """The creating call's parameter for tags; without one, they are put afterwards."""
    local: tuple[str, ...] = ()
    """Inputs that matter only to the provider."""
    fixed_name: bool = False
    """Whether two cannot exist side by side, so that a replacement deletes first."""

    def left_over(self, inputs: Props) -> list[str]:
        """The inputs that nothing of this row takes. A row whose arguments pass every input on leaves none."""
        if not isinstance(self.arguments, Passed):
            return []
        taken = {*self.arguments.names, *self.local, *(name for change in self.changes for name in change.inputs)}
        taken |= {"tags", "tagsAll"} if self.tags else set()
        return sorted(inputs.keys() - taken)


class Passed:
    """Arguments: the inputs of these names, where they are given."""

    def __init__(self, *names: str) -> None:
        self.names = names

    def __call__(self, values: Mapping[str, Any]) -> Props:
        return {name: values[name] for name in self.names if values.get(name) is not None}


BESIDE: Final = ("account", "region", "uuid", "zip", "before")
"""What stands beside the inputs for templates and arguments to name, and is no input itself."""


def without(*names: str) -> Callable[[Mapping[str, Any]], Props]:
    """Arguments: every input but these."""
    left_out = {*names, *BESIDE}
    return lambda values: {name: value for name, value in values.items() if name not in left_out}


DEFAULT_ENCRYPTION: Final = "ServerSideEncryptionConfiguration.rules.applyServerSideEncryptionByDefault"

EC2_TAGS: Final = Tags("CreateTags", {"Resources": ["{id}"]}, "Tags", "Key,Value", "DeleteTags", "Tags")
KMS_TAGS: Final = Tags("TagResource", {"KeyId": "{id}"}, "Tags", "TagKey,TagValue", "UntagResource", "TagKeys")
IAM_TAGS: Final = Tags("TagRole", {"RoleName": "{name}"}, "Tags", "Key,Value", "UntagRole", "TagKeys")
S3_TAGS: Final = Tags("PutBucketTagging", {"Bucket": "{bucket}"}, "Tagging.TagSet", "Key,Value", "", "")
"""PutBucketTagging replaces the whole set."""


def _by_arn(resource: str, member: str, style: str, removed: str = "TagKeys") -> Tags:
    return Tags("TagResource", {resource: "{arn}"}, member, style, "UntagResource", removed)


LOG_TAGS: Final = _by_arn("resourceArn", "tags", "map", "tagKeys")
EKS_TAGS: Final = _by_arn("resourceArn", "tags", "map", "tagKeys")
ECR_TAGS: Final = _by_arn("resourceArn", "tags", "Key,Value", "tagKeys")
LAMBDA_TAGS: Final = _by_arn("Resource", "Tags", "map")
SNS_TAGS: Final = _by_arn("ResourceArn", "Tags", "Key,Value")
EVENT_TAGS: Final = _by_arn("ResourceARN", "Tags", "Key,Value")
SCHEDULER_TAGS: Final = _by_arn("ResourceArn", "Tags", "Key,Value")
BUDGET_TAGS: Final = _by_arn("ResourceARN", "ResourceTags", "Key,Value", "ResourceTagKeys")
SQS_TAGS: Final = Tags("TagQueue", {"QueueUrl": "{id}"}, "Tags", "map", "UntagQueue", "TagKeys")
SAGEMAKER_TAGS: Final = Tags("AddTags", {"ResourceArn": "{arn}"}, "Tags", "Key,Value", "DeleteTags", "TagKeys")
SCALING_TAGS: Final = Tags("TagResource", {"ResourceARN": "{arn}"}, "Tags", "map", "UntagResource", "TagKeys")


def _rotation(values: Props) -> Mapping[str, Any] | None:
    if not values.get("enableKeyRotation"):
        return None
    return {"KeyId": values["id"], **Passed("rotationPeriodInDays")(values)}


def _no_rotation(values: Props) -> Mapping[str, Any] | None:
    return None if values.get("enableKeyRotation") else {"KeyId": values["id"]}


def _attributes(**names: str) -> Callable[[Props], Mapping[str, str]]:
    """SNS and SQS take their settings as one map of texts."""

    def of(values: Props) -> Mapping[str, str]:
        return {
            attribute: value if isinstance(value, str) else json.dumps(value)
            for name, attribute in names.items()
            if (value := values.get(name)) is not None
        }

    return of


_topic = _attributes(kmsMasterKeyId="KmsMasterKeyId", displayName="DisplayName")
_queue = _attributes(
    kmsMasterKeyId="KmsMasterKeyId",
    messageRetentionSeconds="MessageRetentionPeriod",
    visibilityTimeoutSeconds="VisibilityTimeout",
    redrivePolicy="RedrivePolicy",
)


def _launch_template(values: Props) -> Mapping[str, Any]:
    """The data of a launch template, in the shape that EC2 wants it."""
    outside = {"name", "description", "updateDefaultVersion", "id", "arn", "latestVersion", "tags", "tagsAll"}
    data = without(*outside)(values)
    for mapping in data.get("blockDeviceMappings", ()):
        if mapping.get("ebs", {}).get("encrypted") not in (None, "true", "false"):
            raise ValueError("blockDeviceMappings.ebs.encrypted is the text 'true' or 'false'")
    if "tagSpecifications" in data:
        data["tagSpecifications"] = [
            {"resourceType": each["resourceType"], "tags": tag_list(each["tags"], "Key,Value")}
            for each in data["tagSpecifications"]
        ]
    return data


def tag_list(tags: Mapping[str, str], style: str) -> Any:
    """Tags as a service wants them."""
    if style == "map":
        return dict(tags)
    key, value = style.split(",")
    return [{key: name, value: text} for name, text in sorted(tags.items())]


def _rule_permission(values: Props) -> Mapping[str, Any]:
    """A security group rule as the permission that EC2 authorises."""
    description = {"Description": values["description"]} if values.get("description") else {}
    permission: dict[str, Any] = {"IpProtocol": values["ipProtocol"]}
    permission |= {name: values[name] for name in ("fromPort", "toPort") if name in values}
    sources = {
        "cidrIpv4": ("IpRanges", "CidrIp"),
        "referencedSecurityGroupId": ("UserIdGroupPairs", "GroupId"),
        "prefixListId": ("PrefixListIds", "PrefixListId"),
    }
    for name, (member, key) in sources.items():
        if values.get(name):
            permission[member] = [{key: values[name], **description}]
    return {"GroupId": values["securityGroupId"], "IpPermissions": [permission]}


def _everything(values: Props) -> Mapping[str, Any]:
    """The rule that lets everything out, as it is in a new security group."""
    return {"GroupId": values["id"], "IpPermissions": [{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]}


def _budget(values: Props) -> Mapping[str, Any]:
    budget = {
        "BudgetName": values["name"],
        "BudgetType": values["budgetType"],
        "TimeUnit": values["timeUnit"],
        "BudgetLimit": {"Amount": values["limitAmount"], "Unit": values["limitUnit"]},
    }
    if values.get("costFilters"):
        budget["CostFilters"] = {each["name"]: each["values"] for each in values["costFilters"]}
    return budget


def _notifications(values: Props) -> list[Mapping[str, Any]]:
    """A budget's notifications, each with who is told."""
    return [
        {
            "Notification": {
                "NotificationType": each["notificationType"],
                "ComparisonOperator": each["comparisonOperator"],
                "Threshold": each["threshold"],
                "ThresholdType": each["thresholdType"],
            },
            "Subscribers": [
                {"SubscriptionType": kind, "Address": address}
                for kind, name in (("SNS", "subscriberSnsTopicArns"), ("EMAIL", "subscriberEmailAddresses"))
                for address in each.get(name) or ()
            ],
        }
        for each in values.get("notifications", ())
    ]


def _cluster(values: Props) -> Props:
    cluster = {
        name: value for name, value in values.items() if name not in ("enabledClusterLogTypes", "encryptionConfig")
    }
    if values.get("enabledClusterLogTypes"):
        cluster["logging"] = _logging(values)
    if values.get("encryptionConfig"):
        cluster["encryptionConfig"] = [values["encryptionConfig"]]
    return cluster


def _logging(values: Props) -> Mapping[str, Any]:
    return {"clusterLogging": [{"types": values["enabledClusterLogTypes"], "enabled": True}]}


def _dimensions(values: Props) -> Props:
    """An alarm, its dimensions as a list."""
    dimensions = [{"Name": name, "Value": value} for name, value in sorted((values.get("dimensions") or {}).items())]
    return {**without("dimensions")(values), **({"dimensions": dimensions} if dimensions else {})}


def _function(values: Props) -> Props:
    """A function's configuration, without its code."""
    return without("code", "name")(values)


def _arn(service: str, rest: str) -> str:
    return f"arn:aws:{service}:{{region}}:{{account}}:{rest}"


def _bucket_part(call: str, member: str, get: str, delete: str, **more: Any) -> Type:
    """A companion of a bucket: one of the bucket's settings as a resource of its own."""
    shape = more.pop("shape", None)

    def arguments(values: Props) -> Mapping[str, Any]:
        rest = without("bucket", "id")(values)
        return {"Bucket": values["bucket"], member: shape(rest) if shape else rest}

    return Type(
        service="s3",
        create=call,
        arguments=arguments,
        id="{bucket}",
        read=Read(get, {"Bucket": "{id}"}, "@"),
        delete=(delete, {"Bucket": "{id}"}) if delete else None,
        repeatable=True,
        keys=("bucket",),
        **more,
    )


def _security_group_rule(direction: str) -> Type:
    """One rule of a security group: `Ingress` or `Egress`."""
    return Type(
        service="ec2",
        create=f"AuthorizeSecurityGroup{direction}",
        arguments=_rule_permission,
        outputs={"securityGroupRuleId": "SecurityGroupRules[0].SecurityGroupRuleId"},
        id="{securityGroupRuleId}",
        arn=_arn("ec2", "security-group-rule/{id}"),
        read=Read("DescribeSecurityGroupRules", {"SecurityGroupRuleIds": ["{id}"]}, "SecurityGroupRules[0]"),
        delete=(
            f"RevokeSecurityGroup{direction}",
            {"GroupId": "{securityGroupId}", "SecurityGroupRuleIds": ["{id}"]},
        ),
        tags=EC2_TAGS,
        fixed_name=True,
    )


TYPES: Final[Mapping[str, Type]] = {
    # --- keys -------------------------------------------------------------------------------------------------------
    "aws:kms/key:Key": Type(
        service="kms",
        create="CreateKey",
        arguments=without("enableKeyRotation", "rotationPeriodInDays", "deletionWindowInDays", "tags", "tagsAll"),
        outputs={"keyId": "KeyMetadata.KeyId"},
        id="{keyId}",
        arn=_arn("kms", "key/{id}"),
        read=Read("DescribeKey", {"KeyId": "{id}"}, "KeyMetadata.Enabled"),
        changes=(
            Change(("enableKeyRotation", "rotationPeriodInDays"), "EnableKeyRotation", _rotation, at_creation=True),
            Change(("enableKeyRotation",), "DisableKeyRotation", _no_rotation),
            Change(("policy",), "PutKeyPolicy", {"KeyId": "{id}", "PolicyName": "default", "Policy": "{policy}"}),
            Change(("description",), "UpdateKeyDescription", {"KeyId": "{id}", "Description": "{description}"}),
        ),
        delete=(
            "ScheduleKeyDeletion",
            lambda values: {"KeyId": values["id"], "PendingWindowInDays": values.get("deletionWindowInDays", 30)},
        ),
        local=("deletionWindowInDays",),
        tags=KMS_TAGS,
        tags_at_creation="Tags",
    ),
    "aws:kms/alias:Alias": Type(
        service="kms",
        create="CreateAlias",
        arguments=Passed("name", "targetKeyId"),
        rename={"name": "AliasName"},
        id="{name}",
        arn=_arn("kms", "{name}"),
        named="name",
        read=Read("DescribeKey", {"KeyId": "{id}"}, "KeyMetadata"),
        changes=(Change(("targetKeyId",), "UpdateAlias", {"AliasName": "{id}", "TargetKeyId": "{targetKeyId}"}),),
        delete=("DeleteAlias", {"AliasName": "{id}"}),
        fixed_name=True,
    ),
    # --- network ----------------------------------------------------------------------------------------------------
    "aws:ec2/vpc:Vpc": Type(
        service="ec2",
        create="CreateVpc",
        arguments=Passed("cidrBlock", "instanceTenancy"),
        outputs={"vpcId": "Vpc.VpcId"},
        id="{vpcId}",
        arn=_arn("ec2", "vpc/{id}"),
        read=Read("DescribeVpcs", {"VpcIds": ["{id}"]}, "Vpcs[0]"),
        changes=(
            Change(
                ("enableDnsSupport",),
                "ModifyVpcAttribute",
                {"VpcId": "{id}", "EnableDnsSupport": {"Value": "{enableDnsSupport}"}},
                at_creation=True,
            ),
            Change(
                ("enableDnsHostnames",),
                "ModifyVpcAttribute",
                {"VpcId": "{id}", "EnableDnsHostnames": {"Value": "{enableDnsHostnames}"}},
                at_creation=True,
            ),
        ),
        delete=("DeleteVpc", {"VpcId": "{id}"}),
        tags=EC2_TAGS,
    ),
    "aws:ec2/subnet:Subnet": Type(
        service="ec2",
        create="CreateSubnet",
        arguments=Passed("vpcId", "cidrBlock", "availabilityZone"),
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
            ),
        ),
        delete=("DeleteSubnet", {"SubnetId": "{id}"}),
        tags=EC2_TAGS,
        fixed_name=True,  # two subnets cannot have the same addresses
    ),
    "aws:ec2/routeTable:RouteTable": Type(
        service="ec2",
        create="CreateRouteTable",
        arguments=Passed("vpcId"),
        outputs={"routeTableId": "RouteTable.RouteTableId"},
        id="{routeTableId}",
        arn=_arn("ec2", "route-table/{id}"),
        read=Read("DescribeRouteTables", {"RouteTableIds": ["{id}"]}, "RouteTables[0]"),
        delete=("DeleteRouteTable", {"RouteTableId": "{id}"}),
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
        delete=("DisassociateRouteTable", {"AssociationId": "{id}"}),
        fixed_name=True,
    ),
    "aws:ec2/securityGroup:SecurityGroup": Type(
        service="ec2",
        create="CreateSecurityGroup",
        arguments=Passed("name", "description", "vpcId"),
        rename={"name": "GroupName"},
        outputs={"groupId": "GroupId"},
        id="{groupId}",
        arn=_arn("ec2", "security-group/{id}"),
        named="name",
        read=Read("DescribeSecurityGroups", {"GroupIds": ["{id}"]}, "SecurityGroups[0]"),
        # AWS lets everything out of a new group; Pulumi's provider takes that away, for egress is declared.
        changes=(Change((), "RevokeSecurityGroupEgress", _everything, at_creation=True),),
        delete=("DeleteSecurityGroup", {"GroupId": "{id}"}),
        tags=EC2_TAGS,
    ),
    "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup": Type(
        service="ec2",
        create="DescribeSecurityGroups",
        arguments=lambda values: {
            "Filters": [
                {"Name": "vpc-id", "Values": [values["vpcId"]]},
                {"Name": "group-name", "Values": ["default"]},
            ]
        },
        outputs={"groupId": "SecurityGroups[0].GroupId"},
        id="{groupId}",
        arn=_arn("ec2", "security-group/{id}"),
        read=Read("DescribeSecurityGroups", {"GroupIds": ["{id}"]}, "SecurityGroups[0]"),
        changes=(Change((), "RevokeSecurityGroupEgress", _everything, at_creation=True),),
        delete=None,  # it goes with its network
        tags=EC2_TAGS,
        local=("ingress", "egress"),
    ),
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule": _security_group_rule("Ingress"),
    "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule": _security_group_rule("Egress"),
    "aws:ec2/vpcEndpoint:VpcEndpoint": Type(
        service="ec2",
        create="CreateVpcEndpoint",
        arguments=without("tags", "tagsAll"),
        rename={"policy": "PolicyDocument"},
        outputs={"endpointId": "VpcEndpoint.VpcEndpointId"},
        id="{endpointId}",
        arn=_arn("ec2", "vpc-endpoint/{id}"),
        looked_up={
            "prefixListId": (
                "DescribePrefixLists",
                {"Filters": [{"Name": "prefix-list-name", "Values": ["{serviceName}"]}]},
                "PrefixLists[0].PrefixListId",
            )
        },
        read=Read("DescribeVpcEndpoints", {"VpcEndpointIds": ["{id}"]}, "VpcEndpoints[?State!='deleted'] | [0]"),
        changes=(
            Change(("policy",), "ModifyVpcEndpoint", {"VpcEndpointId": "{id}", "PolicyDocument": "{policy}"}),
            Change(
                ("privateDnsEnabled",),
                "ModifyVpcEndpoint",
                {"VpcEndpointId": "{id}", "PrivateDnsEnabled": "{privateDnsEnabled}"},
            ),
            Change(
                ("subnetIds",),
                "ModifyVpcEndpoint",
                lambda values: {"VpcEndpointId": values["id"], **_moved(values, "subnetIds", "SubnetIds")},
            ),
            Change(
                ("securityGroupIds",),
                "ModifyVpcEndpoint",
                lambda values: {
                    "VpcEndpointId": values["id"],
                    **_moved(values, "securityGroupIds", "SecurityGroupIds"),
                },
            ),
            Change(
                ("routeTableIds",),
                "ModifyVpcEndpoint",
                lambda values: {"VpcEndpointId": values["id"], **_moved(values, "routeTableIds", "RouteTableIds")},
            ),
        ),
        delete=("DeleteVpcEndpoints", {"VpcEndpointIds": ["{id}"]}),
        tags=EC2_TAGS,
    ),
    "aws:ec2/flowLog:FlowLog": Type(
        service="ec2",
        create="CreateFlowLogs",
        arguments=lambda values: {
            "ResourceIds": [values["vpcId"]],
            "ResourceType": "VPC",
            **without("vpcId", "iamRoleArn", "tags", "tagsAll")(values),
            **({"DeliverLogsPermissionArn": values["iamRoleArn"]} if "iamRoleArn" in values else {}),
        },
        outputs={"flowLogId": "FlowLogIds[0]"},
        id="{flowLogId}",
        arn=_arn("ec2", "vpc-flow-log/{id}"),
        read=Read("DescribeFlowLogs", {"FlowLogIds": ["{id}"]}, "FlowLogs[0]"),
        delete=("DeleteFlowLogs", {"FlowLogIds": ["{id}"]}),
        tags=EC2_TAGS,
        fixed_name=True,
    ),
    "aws:ec2/launchTemplate:LaunchTemplate": Type(
        service="ec2",
        create="CreateLaunchTemplate",
        arguments=lambda values: {
            "LaunchTemplateName": values["name"],
            "LaunchTemplateData": _launch_template(values),
            **({"VersionDescription": values["description"]} if values.get("description") else {}),
        },
        rename={"LaunchTemplateData.tagSpecifications": "TagSpecifications"},
        outputs={
            "launchTemplateId": "LaunchTemplate.LaunchTemplateId",
            "latestVersion": "LaunchTemplate.LatestVersionNumber",
        },
        found={"latestVersion": "LatestVersionNumber"},
        id="{launchTemplateId}",
        arn=_arn("ec2", "launch-template/{id}"),
        named="name",
        read=Read("DescribeLaunchTemplates", {"LaunchTemplateIds": ["{id}"]}, "LaunchTemplates[0]"),
        changes=(
            Change(
                (
                    "blockDeviceMappings",
                    "metadataOptions",
                    "tagSpecifications",
                    "userData",
                    "instanceType",
                    "imageId",
                    "networkInterfaces",
                ),
                "CreateLaunchTemplateVersion",
                lambda values: {"LaunchTemplateId": values["id"], "LaunchTemplateData": _launch_template(values)},
            ),
        ),
        delete=("DeleteLaunchTemplate", {"LaunchTemplateId": "{id}"}),
        local=("updateDefaultVersion",),
        tags=EC2_TAGS,
    ),
    # --- identity ---------------------------------------------------------------------------------------------------
    "aws:iam/role:Role": Type(
        service="iam",
        create="CreateRole",
        arguments=without("tags", "tagsAll", "forceDetachPolicies"),
        rename={"name": "RoleName", "assumeRolePolicy": "AssumeRolePolicyDocument"},
        id="{name}",
        arn="arn:aws:iam::{account}:role/{name}",
        outputs={"uniqueId": "Role.RoleId"},
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
                lambda values: {"RoleName": values["id"], **Passed("description", "maxSessionDuration")(values)},
            ),
        ),
        delete=("DeleteRole", {"RoleName": "{id}"}),
        local=("forceDetachPolicies",),
        tags=IAM_TAGS,
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
        delete=("DeleteRolePolicy", {"RoleName": "{role}", "PolicyName": "{name}"}),
    ),
    "aws:iam/rolePolicyAttachment:RolePolicyAttachment": Type(
        service="iam",
        create="AttachRolePolicy",
        rename={"role": "RoleName"},
        id="{role}/{policyArn}",
        read=Read(
            "ListAttachedRolePolicies", {"RoleName": "{role}"}, "AttachedPolicies[?PolicyArn=='{policyArn}'] | [0]"
        ),
        delete=("DetachRolePolicy", {"RoleName": "{role}", "PolicyArn": "{policyArn}"}),
    ),
    # --- storage ----------------------------------------------------------------------------------------------------
    "aws:s3/bucket:Bucket": Type(
        service="s3",
        create="CreateBucket",
        arguments=Passed("bucket"),
        id="{bucket}",
        arn="arn:aws:s3:::{bucket}",
        copies={"bucketDomainName": "{bucket}.s3.amazonaws.com"},
        named="bucket",
        read=Read("HeadBucket", {"Bucket": "{id}"}, "@"),
        delete=("DeleteBucket", {"Bucket": "{id}"}),
        local=("forceDestroy",),
        tags=S3_TAGS,
    ),
    "aws:s3/bucketVersioning:BucketVersioning": _bucket_part(
        "PutBucketVersioning",
        "VersioningConfiguration",
        "GetBucketVersioning",
        "",
        shape=lambda rest: rest["versioningConfiguration"],
    ),
    "aws:s3/bucketOwnershipControls:BucketOwnershipControls": _bucket_part(
        "PutBucketOwnershipControls",
        "OwnershipControls",
        "GetBucketOwnershipControls",
        "DeleteBucketOwnershipControls",
        shape=lambda rest: {"Rules": [rest["rule"]]},
    ),
    "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock": _bucket_part(
        "PutPublicAccessBlock", "PublicAccessBlockConfiguration", "GetPublicAccessBlock", "DeletePublicAccessBlock"
    ),
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration": _bucket_part(
        "PutBucketEncryption",
        "ServerSideEncryptionConfiguration",
        "GetBucketEncryption",
        "DeleteBucketEncryption",
        rename={f"{DEFAULT_ENCRYPTION}.kmsMasterKeyId": "KMSMasterKeyID"},
    ),
    "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration": _bucket_part(
        "PutBucketLifecycleConfiguration",
        "LifecycleConfiguration",
        "GetBucketLifecycleConfiguration",
        "DeleteBucketLifecycle",
        rename={"LifecycleConfiguration.rules.id": "ID"},
    ),
    "aws:s3/bucketLogging:BucketLogging": _bucket_part(
        "PutBucketLogging", "BucketLoggingStatus", "GetBucketLogging", "", shape=lambda rest: {"LoggingEnabled": rest}
    ),
    "aws:s3/bucketPolicy:BucketPolicy": _bucket_part(
        "PutBucketPolicy", "Policy", "GetBucketPolicy", "DeleteBucketPolicy", shape=lambda rest: rest["policy"]
    ),
    # --- logs, metrics, events --------------------------------------------------------------------------------------
    "aws:cloudwatch/logGroup:LogGroup": Type(
        service="logs",
        create="CreateLogGroup",
        arguments=Passed("name", "kmsKeyId"),
        rename={"name": "logGroupName"},
        id="{name}",
        arn=_arn("logs", "log-group:{name}"),
        named="name",
        read=Read("DescribeLogGroups", {"logGroupNamePrefix": "{id}"}, "logGroups[?logGroupName=='{id}'] | [0]"),
        changes=(
            Change(
                ("retentionInDays",),
                "PutRetentionPolicy",
                {"logGroupName": "{id}", "retentionInDays": "{retentionInDays}"},
                at_creation=True,
            ),
            Change(("kmsKeyId",), "AssociateKmsKey", {"logGroupName": "{id}", "kmsKeyId": "{kmsKeyId}"}),
        ),
        delete=("DeleteLogGroup", {"logGroupName": "{id}"}),
        local=("skipDestroy",),
        tags=LOG_TAGS,
        tags_at_creation="tags",
    ),
    "aws:cloudwatch/metricAlarm:MetricAlarm": Type(
        service="cloudwatch",
        create="PutMetricAlarm",
        arguments=lambda values: without("tags", "tagsAll")(_dimensions(values)),
        rename={"name": "AlarmName", "okActions": "OKActions"},
        id="{name}",
        arn=_arn("cloudwatch", "alarm:{name}"),
        named="name",
        repeatable=True,
        keys=("name",),
        read=Read("DescribeAlarms", {"AlarmNames": ["{id}"]}, "MetricAlarms[0]"),
        delete=("DeleteAlarms", {"AlarmNames": ["{id}"]}),
        tags=EVENT_TAGS,
        tags_at_creation="Tags",
    ),
    "aws:cloudwatch/eventRule:EventRule": Type(
        service="events",
        create="PutRule",
        arguments=without("tags", "tagsAll"),
        id="{name}",
        arn=_arn("events", "rule/{name}"),
        named="name",
        repeatable=True,
        keys=("name", "eventBusName"),
        read=Read("DescribeRule", {"Name": "{id}"}, "Name"),
        delete=("DeleteRule", {"Name": "{id}"}),
        tags=EVENT_TAGS,
        tags_at_creation="Tags",
    ),
    "aws:cloudwatch/eventTarget:EventTarget": Type(
        service="events",
        create="PutTargets",
        arguments=lambda values: {
            "Rule": values["rule"],
            "Targets": [{"Id": values["targetId"], **without("rule", "targetId", "id")(values)}],
        },
        id="{rule}-{targetId}",
        named="targetId",
        repeatable=True,
        keys=("rule", "targetId"),
        read=Read("ListTargetsByRule", {"Rule": "{rule}"}, "Targets[?Id=='{targetId}'] | [0]"),
        delete=("RemoveTargets", {"Rule": "{rule}", "Ids": ["{targetId}"]}),
    ),
    "aws:scheduler/scheduleGroup:ScheduleGroup": Type(
        service="scheduler",
        create="CreateScheduleGroup",
        arguments=Passed("name"),
        id="{name}",
        arn=_arn("scheduler", "schedule-group/{name}"),
        named="name",
        read=Read("GetScheduleGroup", {"Name": "{id}"}, "Name"),
        delete=("DeleteScheduleGroup", {"Name": "{id}"}),
        tags=SCHEDULER_TAGS,
        tags_at_creation="Tags",
    ),
    "aws:scheduler/schedule:Schedule": Type(
        service="scheduler",
        create="CreateSchedule",
        id="{groupName}/{name}",
        arn=_arn("scheduler", "schedule/{groupName}/{name}"),
        named="name",
        read=Read("GetSchedule", {"GroupName": "{groupName}", "Name": "{name}"}, "Name"),
        changes=(
            Change(
                (
                    "scheduleExpression",
                    "scheduleExpressionTimezone",
                    "flexibleTimeWindow",
                    "target",
                    "state",
                    "description",
                    "kmsKeyArn",
                ),
                "UpdateSchedule",
                without("id", "arn"),
            ),
        ),
        delete=("DeleteSchedule", {"GroupName": "{groupName}", "Name": "{name}"}),
    ),
    # --- messages ---------------------------------------------------------------------------------------------------
    "aws:sns/topic:Topic": Type(
        service="sns",
        create="CreateTopic",
        arguments=lambda values: {"Name": values["name"], "Attributes": _topic(values)},
        id="{arn}",
        arn=_arn("sns", "{name}"),
        named="name",
        repeatable=True,
        keys=("name",),
        read=Read("GetTopicAttributes", {"TopicArn": "{id}"}, "Attributes"),
        delete=("DeleteTopic", {"TopicArn": "{id}"}),
        tags=SNS_TAGS,
        tags_at_creation="Tags",
    ),
    "aws:sns/topicPolicy:TopicPolicy": Type(
        service="sns",
        create="SetTopicAttributes",
        arguments=lambda values: {
            "TopicArn": values["arn"],
            "AttributeName": "Policy",
            "AttributeValue": values["policy"],
        },
        id="{arn}",
        repeatable=True,
        keys=("arn",),
        read=Read("GetTopicAttributes", {"TopicArn": "{id}"}, "Attributes.Policy"),
        delete=None,  # it goes with its topic
    ),
    "aws:sns/topicSubscription:TopicSubscription": Type(
        service="sns",
        create="Subscribe",
        arguments=lambda values: {
            "TopicArn": values["topic"],
            "ReturnSubscriptionArn": True,
            **Passed("protocol", "endpoint")(values),
        },
        outputs={"arn": "SubscriptionArn"},
        id="{arn}",
        read=Read("GetSubscriptionAttributes", {"SubscriptionArn": "{id}"}, "Attributes"),
        delete=("Unsubscribe", {"SubscriptionArn": "{id}"}),
    ),
    "aws:sqs/queue:Queue": Type(
        service="sqs",
        create="CreateQueue",
        arguments=lambda values: {"QueueName": values["name"], "Attributes": _queue(values)},
        outputs={"url": "QueueUrl"},
        id="{url}",
        arn=_arn("sqs", "{name}"),
        named="name",
        read=Read("GetQueueAttributes", {"QueueUrl": "{id}", "AttributeNames": ["QueueArn"]}, "Attributes"),
        changes=(
            Change(
                ("kmsMasterKeyId", "messageRetentionSeconds", "visibilityTimeoutSeconds", "redrivePolicy"),
                "SetQueueAttributes",
                lambda values: {"QueueUrl": values["id"], "Attributes": _queue(values)},
            ),
        ),
        delete=("DeleteQueue", {"QueueUrl": "{id}"}),
        tags=SQS_TAGS,
        tags_at_creation="tags",
    ),
    "aws:sqs/queuePolicy:QueuePolicy": Type(
        service="sqs",
        create="SetQueueAttributes",
        arguments=lambda values: {"QueueUrl": values["queueUrl"], "Attributes": {"Policy": values["policy"]}},
        id="{queueUrl}",
        repeatable=True,
        keys=("queueUrl",),
        read=Read("GetQueueAttributes", {"QueueUrl": "{id}", "AttributeNames": ["Policy"]}, "Attributes.Policy"),
        delete=("SetQueueAttributes", {"QueueUrl": "{id}", "Attributes": {"Policy": ""}}),
    ),
    # --- cluster ----------------------------------------------------------------------------------------------------
    "aws:eks/cluster:Cluster": Type(
        service="eks",
        create="CreateCluster",
        arguments=lambda values: without("tags", "tagsAll", "bootstrapSelfManagedAddons")(_cluster(values)),
        rename={"vpcConfig": "resourcesVpcConfig"},
        id="{name}",
        arn=_arn("eks", "cluster/{name}"),
        outputs={
            "endpoint": "cluster.endpoint",
            "certificateAuthority": "cluster.certificateAuthority",
            "status": "cluster.status",
        },
        named="name",
        read=Read("DescribeCluster", {"name": "{id}"}, "cluster"),
        changes=(
            Change(
                ("enabledClusterLogTypes",),
                "UpdateClusterConfig",
                lambda values: {"name": values["id"], "logging": _logging(values)},
            ),
            Change(
                ("vpcConfig",),
                "UpdateClusterConfig",
                lambda values: {"name": values["id"], "resourcesVpcConfig": values["vpcConfig"]},
            ),
            Change(
                ("deletionProtection",),
                "UpdateClusterConfig",
                lambda values: {"name": values["id"], "deletionProtection": values["deletionProtection"]},
            ),
            Change(("version",), "UpdateClusterVersion", {"name": "{id}", "version": "{version}"}),
        ),
        delete=("DeleteCluster", {"name": "{id}"}),
        local=("bootstrapSelfManagedAddons",),
        tags=EKS_TAGS,
        tags_at_creation="tags",
        fixed_name=True,
    ),
    "aws:eks/nodeGroup:NodeGroup": Type(
        service="eks",
        create="CreateNodegroup",
        arguments=without("tags", "tagsAll", "forceUpdateVersion"),
        rename={"nodeGroupName": "nodegroupName", "nodeRoleArn": "nodeRole", "subnetIds": "subnets"},
        id="{clusterName}:{nodeGroupName}",
        arn=_arn("eks", "nodegroup/{clusterName}/{nodeGroupName}/{uuid}"),
        outputs={"arn": "nodegroup.nodegroupArn", "status": "nodegroup.status", "resources": "[nodegroup.resources]"},
        named="nodeGroupName",
        read=Read(
            "DescribeNodegroup", {"clusterName": "{clusterName}", "nodegroupName": "{nodeGroupName}"}, "nodegroup"
        ),
        changes=(
            Change(
                ("scalingConfig", "updateConfig", "nodeRepairConfig"),
                "UpdateNodegroupConfig",
                lambda values: {
                    "clusterName": values["clusterName"],
                    "nodegroupName": values["nodeGroupName"],
                    **Passed("scalingConfig", "updateConfig", "nodeRepairConfig")(values),
                },
            ),
            Change(
                ("launchTemplate", "releaseVersion", "version"),
                "UpdateNodegroupVersion",
                lambda values: {
                    "clusterName": values["clusterName"],
                    "nodegroupName": values["nodeGroupName"],
                    **Passed("launchTemplate", "releaseVersion", "version")(values),
                },
            ),
        ),
        delete=("DeleteNodegroup", {"clusterName": "{clusterName}", "nodegroupName": "{nodeGroupName}"}),
        local=("forceUpdateVersion",),
        tags=EKS_TAGS,
        tags_at_creation="tags",
    ),
    "aws:eks/addon:Addon": Type(
        service="eks",
        create="CreateAddon",
        arguments=without("tags", "tagsAll", "resolveConflictsOnCreate", "resolveConflictsOnUpdate", "preserve"),
        id="{clusterName}:{addonName}",
        arn=_arn("eks", "addon/{clusterName}/{addonName}/{uuid}"),
        outputs={"arn": "addon.addonArn"},
        read=Read("DescribeAddon", {"clusterName": "{clusterName}", "addonName": "{addonName}"}, "addon"),
        changes=(
            Change(
                ("addonVersion", "configurationValues", "serviceAccountRoleArn"),
                "UpdateAddon",
                lambda values: Passed(
                    "clusterName", "addonName", "addonVersion", "configurationValues", "serviceAccountRoleArn"
                )(values),
            ),
        ),
        delete=("DeleteAddon", {"clusterName": "{clusterName}", "addonName": "{addonName}"}),
        local=("resolveConflictsOnCreate", "resolveConflictsOnUpdate", "preserve"),
        tags=EKS_TAGS,
        tags_at_creation="tags",
        fixed_name=True,
    ),
    "aws:eks/accessEntry:AccessEntry": Type(
        service="eks",
        create="CreateAccessEntry",
        arguments=without("tags", "tagsAll"),
        id="{clusterName}:{principalArn}",
        outputs={"accessEntryArn": "accessEntry.accessEntryArn"},
        read=Read(
            "DescribeAccessEntry", {"clusterName": "{clusterName}", "principalArn": "{principalArn}"}, "accessEntry"
        ),
        delete=("DeleteAccessEntry", {"clusterName": "{clusterName}", "principalArn": "{principalArn}"}),
        tags=Tags("TagResource", {"resourceArn": "{accessEntryArn}"}, "tags", "map", "UntagResource", "tagKeys"),
        tags_at_creation="tags",
        fixed_name=True,
    ),
    "aws:eks/accessPolicyAssociation:AccessPolicyAssociation": Type(
        service="eks",
        create="AssociateAccessPolicy",
        id="{clusterName}#{principalArn}#{policyArn}",
        read=Read(
            "ListAssociatedAccessPolicies",
            {"clusterName": "{clusterName}", "principalArn": "{principalArn}"},
            "associatedAccessPolicies[?policyArn=='{policyArn}'] | [0]",
        ),
        delete=(
            "DisassociateAccessPolicy",
            {"clusterName": "{clusterName}", "principalArn": "{principalArn}", "policyArn": "{policyArn}"},
        ),
        fixed_name=True,
    ),
    "aws:eks/podIdentityAssociation:PodIdentityAssociation": Type(
        service="eks",
        create="CreatePodIdentityAssociation",
        arguments=without("tags", "tagsAll"),
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
        delete=("DeletePodIdentityAssociation", {"clusterName": "{clusterName}", "associationId": "{id}"}),
        tags=Tags("TagResource", {"resourceArn": "{associationArn}"}, "tags", "map", "UntagResource", "tagKeys"),
        tags_at_creation="tags",
        fixed_name=True,
    ),
    # --- images -----------------------------------------------------------------------------------------------------
    "aws:ecr/repository:Repository": Type(
        service="ecr",
        create="CreateRepository",
        arguments=without("tags", "tagsAll", "forceDelete"),
        rename={"name": "repositoryName", "encryptionConfigurations": "encryptionConfiguration"},
        id="{name}",
        arn=_arn("ecr", "repository/{name}"),
        copies={"repositoryUrl": "{account}.dkr.ecr.{region}.amazonaws.com/{name}", "registryId": "{account}"},
        named="name",
        read=Read("DescribeRepositories", {"repositoryNames": ["{id}"]}, "repositories[0]"),
        changes=(
            Change(
                ("imageTagMutability",),
                "PutImageTagMutability",
                {"repositoryName": "{id}", "imageTagMutability": "{imageTagMutability}"},
            ),
            Change(
                ("imageScanningConfiguration",),
                "PutImageScanningConfiguration",
                {"repositoryName": "{id}", "imageScanningConfiguration": "{imageScanningConfiguration}"},
            ),
        ),
        delete=(
            "DeleteRepository",
            lambda values: {"repositoryName": values["id"], "force": bool(values.get("forceDelete"))},
        ),
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
        delete=("DeleteLifecyclePolicy", {"repositoryName": "{id}"}),
    ),
    # --- cost -------------------------------------------------------------------------------------------------------
    "aws:budgets/budget:Budget": Type(
        service="budgets",
        create="CreateBudget",
        arguments=lambda values: {
            "AccountId": values["account"],
            "Budget": _budget(values),
            "NotificationsWithSubscribers": _notifications(values),
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
            ),
        ),
        delete=("DeleteBudget", {"AccountId": "{account}", "BudgetName": "{name}"}),
        tags=BUDGET_TAGS,
        tags_at_creation="ResourceTags",
    ),
    # --- models -----------------------------------------------------------------------------------------------------
    "aws:sagemaker/featureGroup:FeatureGroup": Type(
        service="sagemaker",
        create="CreateFeatureGroup",
        arguments=without("tags", "tagsAll"),
        id="{featureGroupName}",
        arn=_arn("sagemaker", "feature-group/{featureGroupName}"),
        named="featureGroupName",
        read=Read("DescribeFeatureGroup", {"FeatureGroupName": "{id}"}, "FeatureGroupName"),
        delete=("DeleteFeatureGroup", {"FeatureGroupName": "{id}"}),
        tags=SAGEMAKER_TAGS,
        tags_at_creation="Tags",
        fixed_name=True,
    ),
    "aws:sagemaker/modelPackageGroup:ModelPackageGroup": Type(
        service="sagemaker",
        create="CreateModelPackageGroup",
        arguments=without("tags", "tagsAll"),
        id="{modelPackageGroupName}",
        arn=_arn("sagemaker", "model-package-group/{modelPackageGroupName}"),
        named="modelPackageGroupName",
        read=Read("DescribeModelPackageGroup", {"ModelPackageGroupName": "{id}"}, "ModelPackageGroupName"),
        delete=("DeleteModelPackageGroup", {"ModelPackageGroupName": "{id}"}),
        tags=SAGEMAKER_TAGS,
        tags_at_creation="Tags",
        fixed_name=True,
    ),
    "aws:sagemaker/model:Model": Type(
        service="sagemaker",
        create="CreateModel",
        arguments=without("tags", "tagsAll"),
        rename={"name": "ModelName"},
        id="{name}",
        arn=_arn("sagemaker", "model/{name}"),
        named="name",
        read=Read("DescribeModel", {"ModelName": "{id}"}, "ModelName"),
        delete=("DeleteModel", {"ModelName": "{id}"}),
        tags=SAGEMAKER_TAGS,
        tags_at_creation="Tags",
    ),
    "aws:sagemaker/endpointConfiguration:EndpointConfiguration": Type(
        service="sagemaker",
        create="CreateEndpointConfig",
        arguments=without("tags", "tagsAll"),
        rename={"name": "EndpointConfigName", "kmsKeyArn": "KmsKeyId"},
        id="{name}",
        arn=_arn("sagemaker", "endpoint-config/{name}"),
        named="name",
        read=Read("DescribeEndpointConfig", {"EndpointConfigName": "{id}"}, "EndpointConfigName"),
        delete=("DeleteEndpointConfig", {"EndpointConfigName": "{id}"}),
        tags=SAGEMAKER_TAGS,
        tags_at_creation="Tags",
    ),
    "aws:sagemaker/endpoint:Endpoint": Type(
        service="sagemaker",
        create="CreateEndpoint",
        arguments=Passed("name", "endpointConfigName"),
        rename={"name": "EndpointName"},
        id="{name}",
        arn=_arn("sagemaker", "endpoint/{name}"),
        named="name",
        read=Read("DescribeEndpoint", {"EndpointName": "{id}"}, "EndpointName"),
        changes=(
            Change(
                ("endpointConfigName",),
                "UpdateEndpoint",
                lambda values: {
                    "EndpointName": values["id"],
                    # Counts and weights become the configuration's again: pulumi-aws does not ask to retain them.
                    **Passed("endpointConfigName", "deploymentConfig")(values),
                },
            ),
        ),
        delete=("DeleteEndpoint", {"EndpointName": "{id}"}),
        local=("deploymentConfig",),
        tags=SAGEMAKER_TAGS,
        tags_at_creation="Tags",
        fixed_name=True,
    ),
    "aws:appautoscaling/target:Target": Type(
        service="application-autoscaling",
        create="RegisterScalableTarget",
        arguments=without("tags", "tagsAll"),
        id="{resourceId}",
        repeatable=True,
        keys=("resourceId", "scalableDimension", "serviceNamespace"),
        outputs={"arn": "ScalableTargetARN"},
        read=Read(
            "DescribeScalableTargets",
            {"ServiceNamespace": "{serviceNamespace}", "ResourceIds": ["{resourceId}"]},
            "ScalableTargets[0]",
        ),
        delete=(
            "DeregisterScalableTarget",
            {
                "ServiceNamespace": "{serviceNamespace}",
                "ResourceId": "{resourceId}",
                "ScalableDimension": "{scalableDimension}",
            },
        ),
        tags=SCALING_TAGS,
        tags_at_creation="Tags",
    ),
    "aws:appautoscaling/policy:Policy": Type(
        service="application-autoscaling",
        create="PutScalingPolicy",
        rename={"name": "PolicyName"},
        id="{name}",
        named="name",
        repeatable=True,
        keys=("name", "resourceId", "scalableDimension", "serviceNamespace"),
        outputs={"arn": "PolicyARN"},
        read=Read(
            "DescribeScalingPolicies",
            {"ServiceNamespace": "{serviceNamespace}", "ResourceId": "{resourceId}", "PolicyNames": ["{name}"]},
            "ScalingPolicies[0]",
        ),
        delete=(
            "DeleteScalingPolicy",
            {
                "PolicyName": "{name}",
                "ServiceNamespace": "{serviceNamespace}",
                "ResourceId": "{resourceId}",
                "ScalableDimension": "{scalableDimension}",
            },
        ),
    ),
    # --- functions --------------------------------------------------------------------------------------------------
    "aws:lambda/function:Function": Type(
        service="lambda",
        create="CreateFunction",
        arguments=lambda values: {
            "FunctionName": values["name"],
            "Code": {"ZipFile": values["zip"]},
            **without("tags", "tagsAll")(_function(values)),
        },
        rename={"kmsKeyArn": "KMSKeyArn"},
        id="{name}",
        arn=_arn("lambda", "function:{name}"),
        named="name",
        read=Read("GetFunction", {"FunctionName": "{id}"}, "Configuration"),
        changes=(
            Change(("code",), "UpdateFunctionCode", {"FunctionName": "{id}", "ZipFile": "{zip}"}),
            Change(
                (
                    "role",
                    "handler",
                    "runtime",
                    "timeout",
                    "memorySize",
                    "environment",
                    "kmsKeyArn",
                    "deadLetterConfig",
                    "vpcConfig",
                    "layers",
                    "description",
                    "tracingConfig",
                    "loggingConfig",
                    "ephemeralStorage",
                ),
                "UpdateFunctionConfiguration",
                lambda values: {
                    "FunctionName": values["id"],
                    **without("architectures", "packageType", "id", "arn", "tags", "tagsAll")(_function(values)),
                },
            ),
        ),
        delete=("DeleteFunction", {"FunctionName": "{id}"}),
        tags=LAMBDA_TAGS,
        tags_at_creation="Tags",
    ),
    "aws:lambda/functionEventInvokeConfig:FunctionEventInvokeConfig": Type(
        service="lambda",
        create="PutFunctionEventInvokeConfig",
        rename={"maximumEventAgeInSeconds": "MaximumEventAgeInSeconds"},
        id="{functionName}",
        repeatable=True,
        keys=("functionName",),
        read=Read("GetFunctionEventInvokeConfig", {"FunctionName": "{id}"}, "FunctionArn"),
        delete=("DeleteFunctionEventInvokeConfig", {"FunctionName": "{id}"}),
    ),
}


def _moved(values: Props, name: str, parameter: str) -> Mapping[str, Any]:
    """What to add to a list and what to take from it: EC2 changes a network endpoint that way."""
    before, after = set(values["before"].get(name) or ()), set(values.get(name) or ())
    moved = {f"Add{parameter}": sorted(after - before), f"Remove{parameter}": sorted(before - after)}
    return {parameter: each for parameter, each in moved.items() if each}
