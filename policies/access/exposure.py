"""What can be reached from outside: buckets, clusters, machines, networks, APIs, models' code, and credentials."""

import base64
import binascii
import gzip
import json
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from pulumi_policy import Severity

from policies import sagemaker
from policies.access import network
from policies.access.images import is_ours, pinned, registry_of, registry_sentence
from policies.access.kubernetes import CONTAINERS, POD_SPECS
from policies.documents import DocumentError, Statement, parse
from policies.limits import is_production, limits
from policies.resource_types import (
    ACCESS_POLICY,
    BUCKET,
    CLUSTER,
    DATA_QUALITY_JOB,
    DOMAIN,
    ENDPOINT_CONFIGURATION,
    INSTANCE,
    LAUNCH_TEMPLATE,
    MONITORING_SCHEDULE,
    NODE_CLASS,
    NODE_GROUP,
    NOTEBOOK,
    PIPELINE,
    REST_API,
    TRAINING_JOB,
)
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
    of_table,
    of_type,
    refers,
    settled,
    without_companion,
)

BUCKET_V2 = "aws:s3/bucketV2:BucketV2"
BUCKETS = BUCKET, BUCKET_V2
BUCKET_NAMES = "bucket", "id"
PUBLIC_ACCESS_BLOCK = "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock"
ACCESS_ENTRY = "aws:eks/accessEntry:AccessEntry"
"""What Karpenter starts nodes from: where it says nothing, they demand IMDSv2 within one hop."""
MODEL = "aws:sagemaker/model:Model"

# Buckets.

PUBLIC_ACCESS = {
    PUBLIC_ACCESS_BLOCK: tuple(
        Setting(flag, (True,), "or the bucket can be made public")
        for flag in ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")
    )
}


def _block_public_access(resources: Sequence[Declared]) -> Iterator[tuple[Declared | None, Finding]]:
    for block in of_type(resources, PUBLIC_ACCESS_BLOCK):
        yield from ((block, finding) for finding in settled(PUBLIC_ACCESS, block.type, block.inputs))
    for bucket_type in BUCKETS:
        for bucket in without_companion(resources, bucket_type, PUBLIC_ACCESS_BLOCK, "bucket", by=BUCKET_NAMES):
            yield bucket, f"bucket {bucket.name} can be made public: add a BucketPublicAccessBlock"


# Where a bucket's access control list stands (`acl`), and to whom each of its grants is made.
ACLS = {
    BUCKET: "acl?",
    BUCKET_V2: "acl?",
    "aws:s3/bucketAcl:BucketAcl": "acl?",
    "aws:s3/bucketAclV2:BucketAclV2": "acl?",
}
GRANTEES = ("accessControlPolicy?.grants?.*?.grantee?.uri?", "grants?.*?.uri?")
PUBLIC_ACLS = ("public-read", "public-read-write", "authenticated-read")
PUBLIC_GROUPS = ("/AllUsers", "/AuthenticatedUsers")
OWNERSHIP = {
    "aws:s3/bucketOwnershipControls:BucketOwnershipControls": (
        Setting("rule.objectOwnership", ("BucketOwnerEnforced",), "or ACLs can make objects public"),
    )
}


def _no_public_acl(resource_type: str, inputs: Props) -> Iterator[Finding]:
    yield from settled(OWNERSHIP, resource_type, inputs)
    if resource_type not in ACLS:
        return
    for where, acl in find(inputs, "acl?"):
        if acl == UNKNOWN:
            yield Unknown(where)
        elif acl in PUBLIC_ACLS:
            yield f"{where} is {acl}, which lets everyone read: remove it, and name who may in a bucket policy"
    for path in GRANTEES:
        for where, uri in find(inputs, path):
            if uri == UNKNOWN:
                yield Unknown(where)
            elif str(uri).endswith(PUBLIC_GROUPS):
                yield f"{where} grants to {uri.rpartition('/')[2]}, which is everyone: remove the grant"


def _no_lockout(resource_type: str, inputs: Props) -> Iterator[Finding]:
    """A text that is no document is refused by a control of its own."""
    for where, text in find(inputs, "policy?"):
        if text == UNKNOWN:
            yield Unknown(where)
            continue
        try:
            statements = parse(text)
        except DocumentError:
            continue
        yield from (
            f"{where}, {each.label}: denies every action to everyone, even to whoever would mend it: "
            "name the actions, or add a condition"
            for each in statements
            if _locks_out(each)
        )


def _locks_out(statement: Statement) -> bool:
    return (
        not statement.allows
        and not statement.conditions
        and not statement.inverted
        and ("AWS", "*") in statement.principals
        and statement.may("s3:PutBucketPolicy")
        and statement.may("s3:DeleteBucketPolicy")
        and (not statement.resources or any("/" not in each for each in statement.resources))
    )


# Clusters.

ENDPOINT_PRIVATE = {
    CLUSTER: (Setting("vpcConfig.endpointPublicAccess", (False,), "or the Internet can try to log in"),),
}
ENDPOINT_REACHABLE = {
    CLUSTER: (
        Setting("vpcConfig.endpointPrivateAccess", (True,), "or nothing in the VPC reaches the cluster's API in it"),
    ),
}
ACCESS_MODE = {
    CLUSTER: (
        Setting("accessConfig.authenticationMode", ("API",), "so that IAM alone says who may enter"),
        Setting(
            "accessConfig.bootstrapClusterCreatorAdminPermissions",
            (False,),
            "or whoever deploys is the cluster's administrator for ever",
        ),
    )
}


def _endpoint_takes_named_addresses(resource_type: str, inputs: Props) -> Iterator[Finding]:
    [(_, public)] = find(inputs, "vpcConfig.endpointPublicAccess") if inputs.get("vpcConfig") else [("", None)]
    if public is False:
        return
    if public == UNKNOWN:
        yield Unknown("vpcConfig.endpointPublicAccess")
        return
    for where, blocks in find(inputs, "vpcConfig.publicAccessCidrs"):
        if blocks == UNKNOWN:
            yield Unknown(where)
        elif not blocks or any(str(each).endswith("/0") for each in blocks):
            yield (
                f"{where} {'names' if blocks else 'is not set, which means'} the whole Internet: set "
                "vpcConfig.endpointPublicAccess to False, or name the addresses"
            )


# Namespaces of the cluster's own: who may change what is in them owns the nodes.
SYSTEM_NAMESPACES = re.compile(r"\*|default|kube-.*|karpenter|kueue-system")
WHOLE_CLUSTER = "AmazonEKSClusterAdminPolicy"


def _access_is_scoped(resource_type: str, inputs: Props) -> Iterator[Finding]:
    if resource_type == ACCESS_ENTRY:
        for where, groups in find(inputs, "kubernetesGroups?"):
            if groups == UNKNOWN:
                yield Unknown(where)
            elif "system:masters" in groups:
                yield f"{where} names system:masters, which no policy can restrict: use an access policy"
        return
    who, policy = inputs.get("principalArn"), inputs.get("policyArn")
    if UNKNOWN in (who, policy):
        yield Unknown("principalArn" if who == UNKNOWN else "policyArn")
    elif not any(fnmatchcase(str(who), each) for each in limits().cluster_admins):
        yield from _scope(inputs, str(policy).rpartition("/")[2])


def _scope(inputs: Props, policy: str) -> Iterator[Finding]:
    """What is wrong with the access of somebody who does not run the cluster."""
    if policy == WHOLE_CLUSTER:
        yield (
            f"policyArn is {policy}, for a role that cluster_admins of policies/limits.yaml does not name: "
            "use AmazonEKSEditPolicy in the team's namespace"
        )
        return
    for where, kind in find(inputs, "accessScope.type"):
        if kind == UNKNOWN:
            yield Unknown(where)
        elif kind != "namespace":
            yield f"{where} is {kind!r}: set 'namespace', and name the team's in accessScope.namespaces"
        else:
            for path, namespaces in find(inputs, "accessScope.namespaces"):
                if namespaces == UNKNOWN:
                    yield Unknown(path)
                elif not namespaces:
                    yield f"{path} is not set: name the team's namespaces"
                elif system := [each for each in namespaces if SYSTEM_NAMESPACES.fullmatch(str(each))]:
                    yield f"{path} names {', '.join(system)}: name the team's namespaces only"


def _no_open_ssh(resource_type: str, inputs: Props) -> Iterator[Finding]:
    access = inputs.get("remoteAccess")
    if access == UNKNOWN:
        yield Unknown("remoteAccess")
    elif access and given(access.get("ec2SshKey")) and not access.get("sourceSecurityGroupIds"):
        yield (
            "remoteAccess.ec2SshKey without remoteAccess.sourceSecurityGroupIds opens SSH on every node to the whole "
            "Internet: remove it, and use Session Manager"
        )


# Machines.


TOKENS_WHY = "or any forged request can read the role's credentials"
TOKENS = {
    **dict.fromkeys((LAUNCH_TEMPLATE, INSTANCE), (Setting("metadataOptions.httpTokens", ("required",), TOKENS_WHY),)),
    NODE_CLASS: (Setting("spec.metadataOptions?.httpTokens?", ("required",), TOKENS_WHY),),
}


def _demands_tokens(resource_type: str, inputs: Props) -> Iterator[Finding]:
    [(_, endpoint)] = find(inputs, "metadataOptions.httpEndpoint")
    if endpoint != "disabled":
        yield from settled(TOKENS, resource_type, inputs)


HOPS_WHY = "or pods can read the node's credentials: images such as Amazon Linux 2023 start with 2"
HOP_LIMIT = {
    **dict.fromkeys((LAUNCH_TEMPLATE, INSTANCE), (Setting("metadataOptions.httpPutResponseHopLimit", (1,), HOPS_WHY),)),
    NODE_CLASS: (Setting("spec.metadataOptions?.httpPutResponseHopLimit?", (1,), HOPS_WHY),),
}
# A launch template writes its booleans as text.
PUBLIC_ADDRESS = {
    LAUNCH_TEMPLATE: (
        Setting(
            "networkInterfaces?.*?.associatePublicIpAddress?", ("false", False, ""), "or the Internet can reach it"
        ),
    ),
    INSTANCE: (Setting("associatePublicIpAddress?", (False,), "or the Internet can reach it"),),
    NODE_CLASS: (Setting("spec.associatePublicIPAddress?", (False,), "or the Internet can reach it"),),
}


# SageMaker.

NOTEBOOK_INTERNET = {NOTEBOOK: (Setting("directInternetAccess", ("Disabled",), "or data can leave"),)}
NOTEBOOK_ROOT = {NOTEBOOK: (Setting("rootAccess", ("Disabled",), "or its guards can be turned off"),)}
NOTEBOOK_METADATA = {
    NOTEBOOK: (
        Setting(
            "instanceMetadataServiceConfiguration.minimumInstanceMetadataServiceVersion",
            ("2",),
            "or any forged request can read the role's credentials",
        ),
    )
}
ISOLATED_MODEL = {
    MODEL: (Setting("enableNetworkIsolation", (True,), "or the model's code can send what it is asked anywhere"),)
}
ISOLATED_TRAINING = {TRAINING_JOB: (Setting("enableNetworkIsolation", (True,), "or data can leave"),)}
INLINE_JOB = "monitoringScheduleConfig.monitoringJobDefinition?.networkConfig"
ISOLATED_JOBS = {
    DATA_QUALITY_JOB: (Setting("networkConfig.enableNetworkIsolation", (True,), "or data can leave"),),
    MONITORING_SCHEDULE: (Setting(f"{INLINE_JOB}.enableNetworkIsolation", (True,), "or data can leave"),),
}
# Where a thing of SageMaker names its place in our network.
IN_OUR_NETWORK = {
    MODEL: ("vpcConfig.subnets", "vpcConfig.securityGroupIds"),
    NOTEBOOK: ("subnetId", "securityGroups"),
    TRAINING_JOB: ("vpcConfig.subnets", "vpcConfig.securityGroupIds"),
    DATA_QUALITY_JOB: ("networkConfig.vpcConfig.subnets", "networkConfig.vpcConfig.securityGroupIds"),
    MONITORING_SCHEDULE: (f"{INLINE_JOB}.vpcConfig.subnets", f"{INLINE_JOB}.vpcConfig.securityGroupIds"),
}
DOMAIN_NETWORK = {DOMAIN: (Setting("appNetworkAccessType", ("VpcOnly",), "or data can leave"),)}
DOMAIN_LOGIN = {DOMAIN: (Setting("authMode", ("SSO",), "so that leaving the company ends access"),)}


def _in_our_network(resource_type: str, inputs: Props) -> Iterator[Finding]:
    for path in IN_OUR_NETWORK[resource_type]:
        for where, value in find(inputs, path):
            if not given(value) or value == []:
                yield f"{where} is not set, so it runs outside our network: set it"


def _of_models(judge: Mapping[str, Sequence[Setting]] | None) -> dict[str, Any]:
    """A control on every model but those that cannot keep it.

    SageMaker's serverless endpoints take neither a network of ours nor isolation, so a model that only they run has
    none: https://docs.aws.amazon.com/sagemaker/latest/dg/serverless-endpoints.html
    """

    def rule(resources: Sequence[Declared]) -> Iterator[tuple[Declared | None, Finding]]:
        for model in of_type(resources, MODEL):
            if not _is_only_serverless(model, resources):
                said = settled(judge, MODEL, model.inputs) if judge else _in_our_network(MODEL, model.inputs)
                yield from ((model, finding) for finding in said)

    return {"stack_rule": rule}


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


def _containers(inputs: Props) -> Iterator[tuple[str, Any]]:
    for path in ("primaryContainer?", "containers?.*?"):
        yield from find(inputs, path)


def _images_are_ours(resource_type: str, inputs: Props) -> Iterator[Finding]:
    for where, container in _containers(inputs):
        for path, image in find(container, "image?", at=where) if container != UNKNOWN else [(where, UNKNOWN)]:
            if image == UNKNOWN:
                yield Unknown(path)
                continue
            if not is_ours(image):
                [(_, mode)] = find(container, "imageConfig.repositoryAccessMode")
                yield registry_sentence(path, image)
                if mode not in ("Vpc", UNKNOWN) and ".dkr.ecr." not in registry_of(image):
                    yield f"{where}.imageConfig.repositoryAccessMode is not set: set 'Vpc' for a registry of your own"
            if not pinned(image):
                yield f"{path} is {image}, whose tag may move: name it by its digest (@sha256:…)"


def _data_is_ours(resource_type: str, inputs: Props) -> Iterator[Finding]:
    for where, container in _containers(inputs):
        if container == UNKNOWN:
            yield Unknown(where)
            continue
        if is_production() and container and not given(container.get("modelPackageName")):
            yield (
                f"{where}.modelPackageName is not set: in production a model comes from the registry, where somebody "
                "approved it"
            )
        for path in ("modelDataUrl?", "modelDataSource?.s3DataSources?.*?.s3Uri?"):
            for at, uri in find(container, path, at=where):
                if uri == UNKNOWN:
                    yield Unknown(at)
                elif not any(fnmatchcase(str(uri), each) for each in limits().model_data):
                    yield (
                        f"{at} is {uri}: take it from the data lake, or name its bucket in model_data of "
                        "policies/limits.yaml"
                    )


def _training_in_our_network(resource_type: str, inputs: Props) -> Iterator[Finding]:
    yield from _in_our_network(resource_type, inputs)
    for where, on in find(inputs, "remoteDebugConfig?.enableRemoteDebug?"):
        if on == UNKNOWN:
            yield Unknown(where)
        elif on and is_production():
            yield f"{where} is True, which lets people log in to a job with production's data: set False"


def _jobs_are_isolated(resource_type: str, inputs: Props) -> Iterator[Finding]:
    yield from settled(ISOLATED_JOBS, resource_type, inputs)
    yield from _in_our_network(resource_type, inputs)


def _domain_in_our_network(resource_type: str, inputs: Props) -> Iterator[Finding]:
    yield from settled(DOMAIN_NETWORK, resource_type, inputs)
    for where, groups in find(inputs, "defaultUserSettings.securityGroups"):
        if not groups:
            yield f"{where} is not set, so its apps may call anything in the network: set it"


def _no_docker(resource_type: str, inputs: Props) -> Iterator[Finding]:
    for where, docker in find(inputs, "domainSettings?.dockerSettings?"):
        if docker == UNKNOWN:
            yield Unknown(where)
        elif docker.get("enableDockerAccess") == "ENABLED" and not docker.get("vpcOnlyTrustedAccounts"):
            yield (
                f"{where}.enableDockerAccess is 'ENABLED', so that any account's images run: set 'DISABLED', or name "
                "accounts in vpcOnlyTrustedAccounts"
            )


# Where a step of a pipeline that runs code says how it is isolated.
STEPS = {"Training": "Arguments", "Processing": "Arguments.NetworkConfig", "Tuning": "Arguments.TrainingJobDefinition"}


def _steps_are_isolated(resource_type: str, inputs: Props) -> Iterator[Finding]:
    definition = inputs.get("pipelineDefinition")
    if definition == UNKNOWN:
        yield Unknown("pipelineDefinition")
        return
    document = sagemaker.read(definition) or {}
    for step in sagemaker.steps(document):
        where = STEPS.get(str(step.get("Type")))
        if where is None:
            continue
        at = f"pipelineDefinition, step {step.get('Name')}: {where}"
        if sagemaker.default_of(document, sagemaker.at(step, f"{where}.EnableNetworkIsolation")) is not True:
            yield f"{at}.EnableNetworkIsolation is not true: set it, or data can leave"
        for name in ("Subnets", "SecurityGroupIds"):
            if not sagemaker.at(step, f"{where}.VpcConfig.{name}"):
                yield f"{at}.VpcConfig.{name} is not set, so it runs outside our network: set it"


def _no_shell(inputs: Props) -> Iterator[Finding]:
    if not is_production():
        return
    for path in ("productionVariants?.*?.enableSsmAccess?", "shadowProductionVariants?.*?.enableSsmAccess?"):
        for where, on in find(inputs, path):
            if on == UNKNOWN:
                yield Unknown(where)
            elif on:
                yield f"{where} is True, which lets people log in where customers' requests are answered: remove it"


# Credentials in text that everyone who may describe the resource can read.

ENVIRONMENTS = {
    "aws:lambda/function:Function": ("environment?.variables?",),
    MODEL: ("primaryContainer?.environment?", "containers?.*?.environment?"),
    TRAINING_JOB: ("environment?", "hyperParameters?"),
    DATA_QUALITY_JOB: ("dataQualityAppSpecification?.environment?",),
    "aws:sagemaker/pipeline:Pipeline": ("pipelineDefinition?",),
    "aws:scheduler/schedule:Schedule": ("target?.input?",),
    "aws:cloudwatch/eventTarget:EventTarget": ("input?",),
    "aws:sfn/stateMachine:StateMachine": ("definition?",),
    "aws:ssm/parameter:Parameter": ("insecureValue?",),
    "kubernetes:core/v1:ConfigMap": ("data?",),
    **{
        kind: tuple(f"{path.replace('.', '?.')}?.{each}?.*?.env?.*?" for each in CONTAINERS)
        for kind, path in POD_SPECS.items()
    },
}
USER_DATA = {INSTANCE: ("userData?", "userDataBase64?"), LAUNCH_TEMPLATE: ("userData?",)}

CREDENTIAL = re.compile(
    r"\b(AKIA|ASIA)[0-9A-Z]{16}\b"  # an AWS access key
    r"|(?i:aws_?secret_?(access_?)?key)\W{1,5}[0-9A-Za-z/+]{40}\b"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----"
    r"|\bgh[pousr]_[0-9A-Za-z]{36}\b|\bgithub_pat_\w{60,}"  # GitHub
    r"|\bglpat-[\w-]{20}\b"  # GitLab
    r"|\bhf_[0-9A-Za-z]{34}\b"  # Hugging Face
    r"|\bxox[abprs]-[0-9A-Za-z-]{10,}"  # Slack
    r"|\bAIza[\w-]{35}\b"  # Google
    r"|\b[a-z][a-z0-9+.-]*://[^\s/:@${}]+:[^\s/:@${}]{3,}@"  # a password in an address
)
NAMES_A_SECRET = re.compile(
    r"(?i)(^|_|-|\.)(password|passwd|secret(_?access)?_?key|api_?key|auth_?token|access_?token|private_?key)$"
)
# What a name of that kind may hold: where the secret is, not the secret.
REFERENCE = re.compile(r"arn:.*|\{\{resolve:.*|\(known after up.*|/.*|s3://.*|https://.*|\$.*|.{0,7}", re.DOTALL)


def _no_credentials(table: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    def rule(resource_type: str, inputs: Props) -> Iterator[Finding]:
        for path in table[resource_type]:
            for where, texts in find(inputs, path):
                yield from _credentials_in(where, texts)

    return {"rule": rule, "types": frozenset(table)}


def _credentials_in(where: str, texts: Any) -> Iterator[Finding]:
    for name, text in _named(texts):
        place = f"{where}.{name}".strip(".")
        if text == UNKNOWN:
            yield Unknown(place)
        elif CREDENTIAL.search(_decoded(str(text))) or (
            NAMES_A_SECRET.search(name) and not REFERENCE.fullmatch(str(text))
        ):
            yield f"{place} holds a credential: keep it in Secrets Manager, and pass its ARN"


def _named(texts: Any) -> Iterator[tuple[str, Any]]:
    """Each text with its name: of one text, of several by name, or of a container's variable."""
    if not isinstance(texts, Mapping):
        yield "", texts
    elif "valueFrom" in texts or {"name", "value"} == texts.keys():
        yield str(texts.get("name", "")), texts.get("value", "")
    else:
        yield from texts.items()


def _decoded(text: str) -> str:
    """`text`, and what it is in Base64 where it is, unpacked: user data comes that way."""
    try:
        inner = base64.b64decode(text, validate=True)
        inner = gzip.decompress(inner) if inner.startswith(b"\x1f\x8b") else inner
    except (binascii.Error, ValueError, OSError, EOFError, zlib.error):
        return text
    return text + "\n" + inner.decode("utf-8", "replace")


# APIs.

AUTHTYPE = "x-amazon-apigateway-authtype"


def _apis_know_their_callers(resource_type: str, inputs: Props) -> Iterator[Finding]:
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


CRITICAL, HIGH, MEDIUM, LOW = Severity.CRITICAL, Severity.HIGH, Severity.MEDIUM, Severity.LOW

CONTROLS: list[Control] = [
    Control(
        "s3-pab-all",
        "Every bucket has a public access block with all four of its flags.",
        CRITICAL,
        (
            "FSBP S3.8",
            "CIS 7.0 3.1.4",
            "CKV_AWS_53",
            "CKV_AWS_54",
            "CKV_AWS_55",
            "CKV_AWS_56",
            "CKV2_AWS_6",
            "cdk-nag S2",
        ),
        "Add an aws.s3.BucketPublicAccessBlock for the bucket, with all four flags True.",
        stack_rule=_block_public_access,
    ),
    Control(
        "s3-no-acl-public",
        "No access control list of a bucket lets everyone in, and its owner owns every object.",
        HIGH,
        ("FSBP S3.12", "CKV_AWS_20", "CKV_AWS_57", "CKV_AWS_375", "CKV2_AWS_65"),
        "Remove the ACL, and set rule.objectOwnership of its BucketOwnershipControls to BucketOwnerEnforced.",
        rule=_no_public_acl,
        types=frozenset({*ACLS, *OWNERSHIP}),
    ),
    Control(
        "s3-no-lockout",
        "No bucket policy denies everything to everyone.",
        HIGH,
        ("CKV_AWS_93",),
        "Name the actions that are denied, or add a Condition: only the account's root user could mend the policy.",
        rule=_no_lockout,
        types=frozenset({*BUCKETS, "aws:s3/bucketPolicy:BucketPolicy"}),
    ),
    Control(
        "eks-endpoint-private",
        "A cluster's API is not reached from the Internet.",
        HIGH,
        ("FSBP EKS.1", "CIS-EKS 5.4.2", "CKV_AWS_39", "cdk-nag EKS1"),
        "Set vpcConfig.endpointPublicAccess to False.",
        **of_table(ENDPOINT_PRIVATE),
    ),
    Control(
        "eks-endpoint-reachable",
        "A cluster's API is reached from inside its VPC.",
        MEDIUM,
        (),
        "Set vpcConfig.endpointPrivateAccess to True: AWS refuses a cluster that can be reached from nowhere.",
        **of_table(ENDPOINT_REACHABLE),
    ),
    Control(
        "eks-endpoint-cidr",
        "A cluster whose API is public names the addresses that reach it.",
        HIGH,
        ("CIS-EKS 5.4.1", "CKV_AWS_38"),
        "Set vpcConfig.endpointPublicAccess to False, or vpcConfig.publicAccessCidrs to your own addresses.",
        rule=_endpoint_takes_named_addresses,
        types=frozenset({CLUSTER}),
    ),
    Control(
        "eks-access-mode",
        "IAM alone says who may enter a cluster, and whoever made it is no administrator for that.",
        MEDIUM,
        (),
        "Set accessConfig.authenticationMode to API and bootstrapClusterCreatorAdminPermissions to False.",
        **of_table(ACCESS_MODE),
    ),
    Control(
        "eks-access-scope",
        "Only who runs the cluster may do everything in it; a team has its own namespaces.",
        HIGH,
        ("CIS-K8s 5.1.1", "CIS-K8s 5.1.7"),
        "Name the role under developers of its team, or in cluster_admins of policies/limits.yaml.",
        rule=_access_is_scoped,
        types=frozenset({ACCESS_ENTRY, ACCESS_POLICY}),
    ),
    Control(
        "eks-ng-remote-access",
        "Nobody reaches a node by SSH from the whole Internet.",
        HIGH,
        ("CKV_AWS_100",),
        "Remove remoteAccess, and use Session Manager.",
        rule=_no_open_ssh,
        types=frozenset({NODE_GROUP}),
    ),
    Control(
        "ec2-imdsv2",
        "A machine gives its role's credentials to no forged request (IMDSv2).",
        HIGH,
        ("FSBP EC2.8", "FSBP EC2.170", "CIS 7.0 6.7", "CKV_AWS_79"),
        "Set metadataOptions.httpTokens to required.",
        rule=_demands_tokens,
        types=frozenset(TOKENS),
    ),
    Control(
        "lt-hop-limit",
        "Pods cannot read the credentials of the node they are on.",
        MEDIUM,
        ("FSBP AutoScaling.4", "CKV_AWS_341"),
        "Set metadataOptions.httpPutResponseHopLimit to 1.",
        **of_table(HOP_LIMIT),
    ),
    Control(
        "ec2-no-public-ip",
        "No machine has a public address.",
        HIGH,
        ("FSBP EC2.9", "FSBP EC2.25", "CKV_AWS_88", "awsguard ec2-instance-no-public-ip"),
        "Remove associatePublicIpAddress, or set it to False (in a launch template: the text false).",
        **of_table(PUBLIC_ADDRESS),
    ),
    Control(
        "sm-notebook-no-internet",
        "A notebook has no way to the Internet.",
        HIGH,
        ("FSBP SageMaker.1", "CKV_AWS_122", "cdk-nag SM3", "cfn-guard SAGEMAKER_NOTEBOOK_NO_DIRECT_INTERNET_ACCESS"),
        "Set directInternetAccess to Disabled.",
        **of_table(NOTEBOOK_INTERNET),
    ),
    Control(
        "sm-notebook-vpc",
        "A notebook runs in our network.",
        HIGH,
        ("FSBP SageMaker.2", "CKV_AWS_306", "cdk-nag SM1"),
        "Set subnetId and securityGroups.",
        rule=_in_our_network,
        types=frozenset({NOTEBOOK}),
    ),
    Control(
        "sm-notebook-no-root",
        "Nobody is root on a notebook.",
        HIGH,
        ("FSBP SageMaker.3", "CKV_AWS_307"),
        "Set rootAccess to Disabled.",
        **of_table(NOTEBOOK_ROOT),
    ),
    Control(
        "sm-notebook-imdsv2",
        "A notebook gives its role's credentials to no forged request (IMDSv2).",
        MEDIUM,
        ("CKV_AWS_371",),
        "Set instanceMetadataServiceConfiguration.minimumInstanceMetadataServiceVersion to 2.",
        **of_table(NOTEBOOK_METADATA),
    ),
    Control(
        "sm-model-isolation",
        "Code that came with a model calls nobody.",
        HIGH,
        ("FSBP SageMaker.5", "CKV_AWS_370", "prowler sagemaker_models_network_isolation_enabled"),
        "Set enableNetworkIsolation to True.",
        **_of_models(ISOLATED_MODEL),
    ),
    Control(
        "sm-model-vpc",
        "A model runs in our network.",
        MEDIUM,
        ("prowler sagemaker_models_vpc_settings_configured",),
        "Set vpcConfig.subnets and vpcConfig.securityGroupIds.",
        **_of_models(None),
    ),
    Control(
        "sm-model-image-source",
        "A model's image comes from a registry of ours, and its name cannot come to mean another.",
        HIGH,
        (),
        "Copy the image into the account's ECR and name it by its digest, or name its registry in image_registries of "
        "policies/limits.yaml.",
        rule=_images_are_ours,
        types=frozenset({MODEL}),
    ),
    Control(
        "sm-model-data-source",
        "A model's artifact comes from our buckets, and in production from the registry.",
        HIGH,
        ("prowler sagemaker_models_registry_in_use",),
        "Set primaryContainer.modelPackageName to an approved version of the registry.",
        rule=_data_is_ours,
        types=frozenset({MODEL}),
    ),
    Control(
        "sm-training-isolation",
        "Training code calls nobody.",
        HIGH,
        ("prowler sagemaker_training_jobs_network_isolation_enabled",),
        "Set enableNetworkIsolation to True.",
        **of_table(ISOLATED_TRAINING),
    ),
    Control(
        "sm-training-vpc",
        "Training runs in our network, and in production nobody logs in to it.",
        HIGH,
        ("prowler sagemaker_training_jobs_vpc_settings_configured",),
        "Set vpcConfig.subnets and vpcConfig.securityGroupIds, and no remoteDebugConfig.enableRemoteDebug.",
        rule=_training_in_our_network,
        types=frozenset({TRAINING_JOB}),
    ),
    Control(
        "sm-job-isolation",
        "A monitoring job runs in our network and calls nobody.",
        MEDIUM,
        ("FSBP SageMaker.11", "FSBP SageMaker.14"),
        "Set networkConfig.enableNetworkIsolation to True and networkConfig.vpcConfig.",
        rule=_jobs_are_isolated,
        types=frozenset(ISOLATED_JOBS),
    ),
    Control(
        "sm-pipeline-isolation",
        "Every step of a pipeline that runs code runs in our network and calls nobody.",
        HIGH,
        (),
        "Use components.TrainingPipeline, or set EnableNetworkIsolation and VpcConfig in the step.",
        rule=_steps_are_isolated,
        types=frozenset({PIPELINE}),
    ),
    Control(
        "sm-domain-vpc-only",
        "A Studio domain calls others only through our network.",
        HIGH,
        (),
        "Set appNetworkAccessType to VpcOnly and defaultUserSettings.securityGroups.",
        rule=_domain_in_our_network,
        types=frozenset({DOMAIN}),
    ),
    Control(
        "sm-domain-sso",
        "People log in to a Studio domain with their company's account.",
        MEDIUM,
        ("prowler sagemaker_domain_sso_configured",),
        "Set authMode to SSO.",
        **of_table(DOMAIN_LOGIN),
    ),
    Control(
        "sm-domain-docker",
        "Nobody runs any account's images in a Studio domain.",
        MEDIUM,
        (),
        "Set domainSettings.dockerSettings.enableDockerAccess to DISABLED, or name vpcOnlyTrustedAccounts.",
        rule=_no_docker,
        types=frozenset({DOMAIN}),
    ),
    Control(
        "sm-endpoint-no-ssm",
        "In production nobody logs in to an endpoint's machines.",
        MEDIUM,
        (),
        "Remove enableSsmAccess from every variant.",
        **sagemaker.of_configurations(_no_shell),
    ),
    Control(
        "no-secrets-in-env",
        "No credential stands in an environment variable, a parameter or a definition.",
        CRITICAL,
        ("CKV_AWS_45", "prowler awslambda_function_no_secrets_in_variables"),
        "Keep it in Secrets Manager, and pass its ARN.",
        **_no_credentials(ENVIRONMENTS),
    ),
    Control(
        "no-secrets-in-userdata",
        "No credential stands in user data, which everything on the machine can read.",
        CRITICAL,
        ("CKV_AWS_46", "prowler ec2_launch_template_no_secrets"),
        "Keep it in Secrets Manager, and let the machine's role read it.",
        **_no_credentials(USER_DATA),
    ),
    Control(
        "apis-know-their-callers",
        "Every method of a REST API demands a signature or a token; an API key says nothing of who has it.",
        CRITICAL,
        (),
        f"Give the method a security scheme with {AUTHTYPE} in the API's document.",
        rule=_apis_know_their_callers,
        types=frozenset({REST_API}),
    ),
    *network.CONTROLS,
]
