"""What can be reached from outside: buckets, networks, clusters, machines, APIs, and code that came with a model."""

import json
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_network

from pulumi_policy import Policy, Severity

from policies.rules import (
    UNKNOWN,
    Control,
    Declared,
    Finding,
    Props,
    Setting,
    Unknown,
    find,
    given,
    of_type,
    policy,
    refers,
    settled,
    stack_policy,
    without_companion,
)

BUCKET = "aws:s3/bucket:Bucket"
PUBLIC_ACCESS_BLOCK = "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock"

PUBLIC_ACCESS = {
    PUBLIC_ACCESS_BLOCK: tuple(
        Setting(flag, (True,), "or the bucket can be made public")
        for flag in ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")
    ),
    "aws:s3/bucketOwnershipControls:BucketOwnershipControls": (
        Setting("rule.objectOwnership", ("BucketOwnerEnforced",), "or ACLs can make objects public"),
    ),
    "aws:ec2/subnet:Subnet": (
        Setting("mapPublicIpOnLaunch?", (False,), "or what starts in it can be reached from the Internet"),
    ),
    "aws:ec2/launchTemplate:LaunchTemplate": (
        Setting("networkInterfaces?.*?.associatePublicIpAddress?", ("false",), "or the Internet can reach it"),
    ),
}

CLUSTER_ENDPOINT = {
    "aws:eks/cluster:Cluster": (
        Setting("vpcConfig.endpointPublicAccess", (False,), "or the Internet can try to log in"),
        Setting("vpcConfig.endpointPrivateAccess", (True,), "or nothing in the VPC can reach the cluster"),
        Setting("accessConfig.authenticationMode", ("API",), "so that IAM alone says who may enter"),
        Setting(
            "accessConfig.bootstrapClusterCreatorAdminPermissions",
            (False,),
            "or whoever deploys is the cluster's administrator for ever",
        ),
    ),
}

INSTANCE_METADATA = {
    resource_type: (
        Setting("metadataOptions.httpTokens", ("required",), "or any forged request can read the role's credentials"),
        Setting("metadataOptions.httpPutResponseHopLimit", (1,), "or pods can read the node's credentials"),
    )
    for resource_type in ("aws:ec2/launchTemplate:LaunchTemplate", "aws:ec2/instance:Instance")
}

MODEL = "aws:sagemaker/model:Model"
ENDPOINT_CONFIGURATION = "aws:sagemaker/endpointConfiguration:EndpointConfiguration"
ISOLATION = {
    MODEL: (Setting("enableNetworkIsolation", (True,), "or the model's code can send what it is asked anywhere"),),
    "aws:sagemaker/notebookInstance:NotebookInstance": (
        Setting("directInternetAccess", ("Disabled",), "or data can leave"),
        Setting("rootAccess", ("Disabled",), "or its guards can be turned off"),
    ),
    "aws:sagemaker/domain:Domain": (Setting("appNetworkAccessType", ("VpcOnly",), "or data can leave"),),
    "aws:sagemaker/trainingJob:TrainingJob": (Setting("enableNetworkIsolation", (True,), "or data can leave"),),
}
IN_OUR_NETWORK = {
    MODEL: ("vpcConfig.subnets", "vpcConfig.securityGroupIds"),
    "aws:sagemaker/notebookInstance:NotebookInstance": ("subnetId", "securityGroups"),
    "aws:sagemaker/trainingJob:TrainingJob": ("vpcConfig.subnets", "vpcConfig.securityGroupIds"),
}

# For each type, where its network rules stand ("" is the resource itself), and which way they let traffic.
NETWORK_RULES = {
    "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup": {"ingress?.*?": "in", "egress?.*?": "out"},
    "aws:ec2/securityGroup:SecurityGroup": {"ingress?.*?": "in", "egress?.*?": "out"},
    "aws:ec2/securityGroupRule:SecurityGroupRule": {"": "by type"},
    "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule": {"": "out"},
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule": {"": "in"},
}
AUTHTYPE = "x-amazon-apigateway-authtype"


def apis_know_their_callers(resource_type: str, inputs: Props) -> Iterator[Finding]:
    """Every method of a REST API demands a signature or a token; an API key says nothing of who has it."""
    if resource_type != "aws:apigateway/restApi:RestApi":
        return
    body = inputs.get("body")
    if body == UNKNOWN:
        yield Unknown("body")
        return
    if not body:
        yield "body is not set: describe the API in an OpenAPI document, where each method says who may call it"
        return
    try:
        document = json.loads(body)
        schemes = document.get("components", {}).get("securitySchemes", {})
        operations = [
            (path, method, operation)
            for path, item in document.get("paths", {}).items()
            for method, operation in item.items()
        ]
        for path, method, operation in operations:
            demanded = operation.get("security", document.get("security")) or [{}]
            if not all(any(schemes[name].get(AUTHTYPE) for name in each) for each in demanded):
                yield f"{method.upper()} {path} answers everyone: give it a security scheme with {AUTHTYPE}"
    except (ValueError, AttributeError, KeyError, TypeError):
        yield "body is no OpenAPI 3 document in JSON that this rule can read: it must say who may call each method"


def nothing_is_public(resource_type: str, inputs: Props) -> Iterator[Finding]:
    """Buckets, subnets and nodes cannot be made public."""
    yield from settled(PUBLIC_ACCESS, resource_type, inputs)


def buckets_block_public_access(resources: Sequence[Declared]) -> Iterator[tuple[Declared | None, Finding]]:
    """Every bucket has a public access block."""
    for bucket in without_companion(resources, BUCKET, PUBLIC_ACCESS_BLOCK, "bucket", by=("bucket", "id")):
        yield bucket, f"bucket {bucket.name} can be made public: add a BucketPublicAccessBlock"


def clusters_are_private(resource_type: str, inputs: Props) -> Iterator[Finding]:
    """A cluster is reached from inside the VPC only, and IAM alone says who may enter."""
    yield from settled(CLUSTER_ENDPOINT, resource_type, inputs)
    if resource_type == "aws:eks/accessEntry:AccessEntry":
        for where, groups in find(inputs, "kubernetesGroups?"):
            if groups == UNKNOWN:
                yield Unknown(where)
            elif "system:masters" in groups:
                yield f"{where} names system:masters, which no policy can restrict: use an access policy"
    if resource_type == "aws:eks/nodeGroup:NodeGroup" and inputs.get("remoteAccess"):
        yield "remoteAccess opens SSH on every node: remove it, and use Session Manager"


def instance_metadata_is_guarded(resource_type: str, inputs: Props) -> Iterator[Finding]:
    """A node's credentials cannot be read by a forged request (IMDSv2) or by the pods on it (one hop)."""
    yield from settled(INSTANCE_METADATA, resource_type, inputs)


def notebooks_are_isolated(resource_type: str, inputs: Props) -> Iterator[Finding]:
    """Code that came with a notebook or a training job runs in our network, and calls nobody outside."""
    if resource_type != MODEL:
        yield from _isolated(resource_type, inputs)


def models_are_isolated(resources: Sequence[Declared]) -> Iterator[tuple[Declared | None, Finding]]:
    """Code that came with a model runs in our network, and calls nobody outside.

    SageMaker's serverless endpoints take neither a network of ours nor isolation, so a model that only they run has
    none: https://docs.aws.amazon.com/sagemaker/latest/dg/serverless-endpoints.html
    """
    for model in of_type(resources, MODEL):
        if not _is_only_serverless(model, resources):
            yield from ((model, finding) for finding in _isolated(MODEL, model.inputs))


def _is_only_serverless(model: Declared, resources: Sequence[Declared]) -> bool:
    users = [
        each
        for each in of_type(resources, ENDPOINT_CONFIGURATION)
        if refers(each, "productionVariants", model, by=())
        or any(variant.get("modelName") == model.inputs.get("name") for variant in _variants(each))
    ]
    return bool(users) and all(variant.get("serverlessConfig") for each in users for variant in _variants(each))


def _variants(configuration: Declared) -> list[Props]:
    variants = configuration.inputs.get("productionVariants")
    return [each for each in variants if isinstance(each, Mapping)] if isinstance(variants, list) else []


def _isolated(resource_type: str, inputs: Props) -> Iterator[Finding]:
    yield from settled(ISOLATION, resource_type, inputs)
    for path in IN_OUR_NETWORK.get(resource_type, ()):
        for where, value in find(inputs, path):
            if not given(value) or value == []:
                yield f"{where} is not set, so it runs outside our network: set it"


def security_groups_are_closed(resource_type: str, inputs: Props) -> Iterator[Finding]:
    """No security group lets the world in, or everything out to it."""
    for path, way in NETWORK_RULES.get(resource_type, {}).items():
        for where, rule in find(inputs, path):
            if rule == UNKNOWN:
                yield Unknown(where)
            elif rule:
                yield from _open_to_the_world(where, rule, way)


def _open_to_the_world(where: str, rule: Props, way: str) -> Iterator[Finding]:
    at = f"{where}." if where else ""
    inwards = rule.get("type") == "ingress" if way == "by type" else way == "in"
    protocol = str(rule.get("ipProtocol", rule.get("protocol")))
    for path in ("cidrIpv4?", "cidrIpv6?", "cidrBlocks?.*?", "ipv6CidrBlocks?.*?"):
        for key, block in find(rule, path):
            if block == UNKNOWN:
                yield Unknown(at + key)
            elif _is_the_world(block) and inwards:
                yield f"{at}{key} lets {block} in: name the addresses or the security group that may connect"
            elif _is_the_world(block) and protocol in ("-1", "all"):
                yield f"{at}{key} lets everything out to {block}: name the ports, and where to"


def _is_the_world(block: str) -> bool:
    """Whether a CIDR block is the Internet, or so much of it (half, a quarter, …) that it makes no difference."""
    try:
        network = ip_network(block, strict=False)
    except ValueError:
        return False
    return network.prefixlen < (8 if network.version == 4 else 16)


def logs_are_kept_and_end(resource_type: str, inputs: Props) -> Iterator[Finding]:
    """A log group says how long it keeps its events: long enough to look back, and not for ever."""
    if resource_type == "aws:cloudwatch/logGroup:LogGroup":
        days = inputs.get("retentionInDays")
        if days == UNKNOWN:
            yield Unknown("retentionInDays")
        elif not days:
            yield "retentionInDays is not set, so events are kept for ever: set 30 or more"
        elif days < 7:
            yield f"retentionInDays is {days:g}: keep at least 7, or an incident over a weekend leaves no trace"


CONTROLS: list[Control] = []

POLICIES: list[Policy] = [
    policy(apis_know_their_callers, Severity.CRITICAL),
    policy(nothing_is_public, Severity.CRITICAL),
    stack_policy(buckets_block_public_access, Severity.CRITICAL),
    policy(clusters_are_private, Severity.HIGH),
    policy(instance_metadata_is_guarded, Severity.HIGH),
    policy(notebooks_are_isolated, Severity.HIGH),
    stack_policy(models_are_isolated, Severity.HIGH),
    policy(security_groups_are_closed, Severity.HIGH),
    policy(logs_are_kept_and_end, Severity.MEDIUM),
]
