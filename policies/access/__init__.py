"""Nobody and nothing may do more than it has to."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_network

from pulumi_policy import Policy, Severity

from policies.documents import DocumentError, Statement, allowed, documents, parse
from policies.rules import (
    UNKNOWN,
    Declared,
    Finding,
    Props,
    Setting,
    Unknown,
    find,
    given,
    kind,
    of_type,
    policy,
    refers,
    settled,
    stack_policy,
    without_companion,
)

BUCKET = "aws:s3/bucket:Bucket"
PUBLIC_ACCESS_BLOCK = "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock"
ROLE = "aws:iam/role:Role"

# Where IAM documents stand. Those of an identity say what it may do; a resource's say who may use it.
IDENTITY_DOCUMENTS = {
    "aws:iam/groupPolicy:GroupPolicy": ("policy",),
    "aws:iam/policy:Policy": ("policy",),
    "aws:iam/rolePolicy:RolePolicy": ("policy",),
    "aws:iam/userPolicy:UserPolicy": ("policy",),
    ROLE: ("inlinePolicies?.*?.policy",),
}
RESOURCE_DOCUMENTS = {
    "aws:cloudwatch/eventBusPolicy:EventBusPolicy": ("policy",),
    "aws:cloudwatch/logResourcePolicy:LogResourcePolicy": ("policyDocument",),
    "aws:dynamodb/resourcePolicy:ResourcePolicy": ("policy",),
    "aws:ecr/repositoryPolicy:RepositoryPolicy": ("policy",),
    "aws:s3/bucket:Bucket": ("policy?",),
    "aws:s3/bucketPolicy:BucketPolicy": ("policy",),
    "aws:sagemaker/modelPackageGroupPolicy:ModelPackageGroupPolicy": ("resourcePolicy",),
    "aws:secretsmanager/secret:Secret": ("policy?",),
    "aws:secretsmanager/secretPolicy:SecretPolicy": ("policy",),
    "aws:sns/topic:Topic": ("policy?",),
    "aws:sns/topicPolicy:TopicPolicy": ("policy",),
    "aws:sqs/queue:Queue": ("policy?",),
    "aws:sqs/queuePolicy:QueuePolicy": ("policy",),
}
KEY_DOCUMENTS = {"aws:kms/key:Key": ("policy",), "aws:kms/keyPolicy:KeyPolicy": ("policy",)}
TRUST_DOCUMENTS = {ROLE: ("assumeRolePolicy",)}
NETWORK_DOCUMENTS = {"aws:ec2/vpcEndpoint:VpcEndpoint": ("policy",)}

NAMES_WHO = {**RESOURCE_DOCUMENTS, **KEY_DOCUMENTS, **TRUST_DOCUMENTS}
DOCUMENTS = {
    **RESOURCE_DOCUMENTS,
    **KEY_DOCUMENTS,
    **NETWORK_DOCUMENTS,
    **IDENTITY_DOCUMENTS,
    ROLE: (*IDENTITY_DOCUMENTS[ROLE], *TRUST_DOCUMENTS[ROLE]),
}

# Actions for which AWS's service authorization reference lists no resource, so that "*" is the only one there is.
WITHOUT_RESOURCE = (
    "application-autoscaling:describe*",
    "cloudwatch:describealarms",
    "cloudwatch:getmetricdata",
    "cloudwatch:getmetricstatistics",
    "cloudwatch:listmetrics",
    "cloudwatch:putmetricdata",
    "ec2:describe*",
    "ecr:getauthorizationtoken",
    "eks:listclusters",
    "kms:generaterandom",
    "kms:listaliases",
    "kms:listkeys",
    "logs:describeloggroups",
    "s3:listallmybuckets",
    "sagemaker:list*",
    "ssm:describeparameters",
    "sts:getcalleridentity",
    "sts:getservicebearertoken",
    "tag:getresources",
    "xray:puttelemetryrecords",
    "xray:puttracesegments",
)

# Condition keys that keep "*" to what we mean. The caller cannot choose them.
SCOPES = (
    "aws:ResourceAccount",
    "aws:ResourceOrgID",
    "aws:ResourceTag/*",
    "ec2:ResourceTag/*",
    "ec2:Subnet",
    "ec2:Vpc",
    "eks:cluster*",
    "kms:CallerAccount",
    "kms:EncryptionContext:*",
    "kms:ResourceAliases",
    "kms:ViaService",
    "secretsmanager:ResourceTag/*",
    "sagemaker:ResourceTag/*",
)

# Condition keys that say who is asking. The caller cannot choose them.
CALLERS = (
    "aws:PrincipalAccount",
    "aws:PrincipalArn",
    "aws:PrincipalOrgID",
    "aws:PrincipalOrgPaths",
    "aws:SourceAccount",
    "aws:SourceArn",
    "aws:SourceOrgID",
    "aws:SourceVpc",
    "aws:SourceVpce",
    "aws:VpceAccount",
    "kms:CallerAccount",
)

# Condition keys by which a service says for whose resource it acts.
DEPUTIES = (
    "aws:SourceAccount",
    "aws:SourceArn",
    "aws:SourceOrgID",
    "aws:SourceOrgPaths",
    "aws:RequestTag/eks-cluster-arn",
    "kms:EncryptionContext:aws:logs:arn",
)

# EC2 hands a role to an instance only through an instance profile of the same account, and sends no source with it.
NO_DEPUTIES = ("ec2.amazonaws.com",)

# Whom an identity provider's subject has to name: anyone who has a repository can write the rest of it.
REPOSITORY = re.compile(r"repo:[^*?:/]+/[^*?:/]+(:.*)?")
NO_WILDCARD = re.compile(r"[^*?]+")

# Managed policies that allow all of a service, or all there is.
ADMIN = re.compile(r"AdministratorAccess.*|PowerUserAccess|.*FullAccess.*")

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

POD_SPECS = {
    "kubernetes:apps/v1:DaemonSet": "spec.template.spec",
    "kubernetes:apps/v1:Deployment": "spec.template.spec",
    "kubernetes:apps/v1:StatefulSet": "spec.template.spec",
    "kubernetes:batch/v1:CronJob": "spec.jobTemplate.spec.template.spec",
    "kubernetes:batch/v1:Job": "spec.template.spec",
    "kubernetes:core/v1:Pod": "spec",
}
AUTHTYPE = "x-amazon-apigateway-authtype"
NODE_FOLDERS = ("/var/lib/kubelet/device-plugins",)
"""What of a node's disk a pod may mount: the socket by which a device plugin offers GPUs to the kubelet."""

# What makes a node's devices usable takes more rights on it than any other pod: these, in kube-system, have them.
DRIVERS = {
    re.compile(r"aws-efa-k8s-device-plugin"): ("privileged", "hostNetwork", "/dev/infiniband"),
    re.compile(r"nvidia-device-plugin-mig-.*"): ("allowPrivilegeEscalation",),
    re.compile(r"nvidia-device-plugin-mps-.*"): ("/run/nvidia/mps", "/run/nvidia/mps/shm"),
    re.compile(r"nvidia-mps-.*"): ("privileged", "hostPID", "/run/nvidia/mps", "/run/nvidia/mps/shm"),
    re.compile(r"gpu-metrics-.*"): ("/dev/null",),
}


def policies_are_documents(resource_type: str, inputs: Props) -> Iterator[Finding]:
    """Every IAM policy can be read, so that the other rules can judge it."""
    for where, text in documents(DOCUMENTS, resource_type, inputs):
        try:
            if text != UNKNOWN:
                parse(text)
        except DocumentError as error:
            yield f"{where} is no IAM document: {error}"


def no_wildcard_actions(resource_type: str, inputs: Props) -> Iterator[Finding]:
    """A policy names what it allows: neither `*` nor all of a service. A key's own account keeps kms:* on it."""

    def judge(statement: Statement) -> Iterator[str]:
        for action in statement.actions:
            if re.search(r"^\*|:[*?]+$", action) and not (
                resource_type in KEY_DOCUMENTS and _to_the_account(statement)
            ):
                yield f"allows {action}: name the actions that are needed"

    yield from allowed({**IDENTITY_DOCUMENTS, **RESOURCE_DOCUMENTS, **KEY_DOCUMENTS}, resource_type, inputs, judge)


def _to_the_account(statement: Statement) -> bool:
    """Whether it gives rights to one whole account, whose own policies then say who has them."""
    return bool(statement.principals) and all(
        kind == "AWS" and re.fullmatch(r"arn:aws[a-z-]*:iam::[^:*]+:root|\d{12}", who)
        for kind, who in statement.principals
    )


def no_wildcard_resources(resource_type: str, inputs: Props) -> Iterator[Finding]:
    """A policy names what it allows things to be done to, wherever AWS lets one name it."""

    def judge(statement: Statement) -> Iterator[str]:
        if not any(map(_everything, statement.resources)) or statement.requires(SCOPES):
            return
        for action in statement.actions:
            if not any(re.fullmatch(each.replace("*", ".*"), action.lower()) for each in WITHOUT_RESOURCE):
                yield f"allows {action} on everything: name the resources, or add a condition such as kms:ViaService"

    yield from allowed(IDENTITY_DOCUMENTS, resource_type, inputs, judge)


_EVERYTHING = re.compile(
    r"\*+"
    r"|arn:[^:]*:[^:]*:[^:]*:[^:]*:\*+"  # all of a service
    r"|arn:[^:]*:[^:]*:[^:]*:\*:.*"  # in every account
    r"|arn:[^:]*:[^:]*:[^:]*:[^:]*:(key|role|secret|user)[/:]\*+"  # all of what opens everything else
)


def _everything(resource: str) -> bool:
    """Whether a Resource stands for all there is, or for all of what opens everything else."""
    return _EVERYTHING.fullmatch(resource) is not None


def roles_are_passed_by_name(resource_type: str, inputs: Props) -> Iterator[Finding]:
    """Who may pass a role to a service may act as that role: each one is named, or its service is."""

    def judge(statement: Statement) -> Iterator[str]:
        if not statement.may("iam:PassRole"):
            return
        for role in statement.resources:
            if role.startswith("arn:") and role.split(":")[2] not in ("iam", "*"):
                continue
            if _everything(role):
                yield f"lets every role be passed ({role}): name the role's ARN"
            elif "*" in role and not statement.requires(("iam:PassedToService",)):
                yield f"lets any role like {role} be passed to any service: add the condition iam:PassedToService"

    yield from allowed(IDENTITY_DOCUMENTS, resource_type, inputs, judge)


def no_inverted_statements(resource_type: str, inputs: Props) -> Iterator[Finding]:
    """No policy allows everything but something: that grows with every service AWS adds."""

    def judge(statement: Statement) -> Iterator[str]:
        for key in statement.inverted:
            yield f"allows by {key}: say what is allowed with {key.removeprefix('Not')}"

    yield from allowed(DOCUMENTS, resource_type, inputs, judge)


def no_wildcard_principals(resource_type: str, inputs: Props) -> Iterator[Finding]:
    """A resource names who may use it, and a role who may take it; a whole foreign account is not a name."""

    def judge(statement: Statement) -> Iterator[str]:
        if statement.requires(CALLERS):
            return
        for how, who in statement.principals:
            if who == "*" or re.match(r"arn:aws[a-z-]*:[a-z]*::[^:]*[*?]", who):
                yield f"lets everyone in ({how}: {who}): name who, or add a condition such as aws:PrincipalOrgID"
        if resource_type == ROLE and _to_the_account(statement) and not statement.requires(("sts:ExternalId",)):
            yield "lets everyone in an account take this role: name the role that may, or add aws:PrincipalArn"

    yield from allowed(NAMES_WHO, resource_type, inputs, judge)


def services_act_only_for_us(resource_type: str, inputs: Props) -> Iterator[Finding]:
    """A service that we let in acts for our own resources only, not for whoever in the world asks it to."""

    def judge(statement: Statement) -> Iterator[str]:
        services = [who for kind, who in statement.principals if kind == "Service" and who not in NO_DEPUTIES]
        if services and not statement.requires(DEPUTIES):
            yield f"lets {', '.join(services)} in on anyone's behalf: add the condition aws:SourceAccount"

    yield from allowed(NAMES_WHO, resource_type, inputs, judge)


def federated_logins_are_pinned(resource_type: str, inputs: Props) -> Iterator[Finding]:
    """A role for an identity provider's users names the subject (a service account, a repository) that may take it."""

    def judge(statement: Statement) -> Iterator[str]:
        for how, provider in statement.principals:
            pinned = REPOSITORY if "token.actions.githubusercontent.com" in provider else NO_WILDCARD
            subjects = statement.demanded(("*:sub",))
            if how == "Federated" and not any(all(map(pinned.fullmatch, each)) for each in subjects):
                yield f"lets any user of {provider} take this role: add a StringEquals condition that pins its :sub"

    yield from allowed(TRUST_DOCUMENTS, resource_type, inputs, judge)


def endpoints_stay_in_the_account(resource_type: str, inputs: Props) -> Iterator[Finding]:
    """A VPC endpoint serves our own callers or our own resources, so that data cannot leave through it."""
    if resource_type in NETWORK_DOCUMENTS and not given(inputs.get("policy")):
        yield "policy is not set, so anyone's resources can be reached through it: allow those of the account only"

    def judge(statement: Statement) -> Iterator[str]:
        if any(map(_everything, statement.resources)) and not statement.requires((*CALLERS, *SCOPES)):
            yield "lets data leave to any account: add the conditions aws:PrincipalAccount and aws:ResourceAccount"

    yield from allowed(NETWORK_DOCUMENTS, resource_type, inputs, judge)


def no_admin_policies(resource_type: str, inputs: Props) -> Iterator[Finding]:
    """No role, user or group is given a managed policy that allows a whole service or more."""
    if not resource_type.startswith("aws:iam/"):
        return
    for path in ("policyArn?", "managedPolicyArns?.*?"):
        for where, arn in find(inputs, path):
            if arn == UNKNOWN:
                yield Unknown(where)
            elif ":aws:policy/" in arn and ADMIN.fullmatch(arn.rpartition("/")[2]):
                yield f"{where} is {arn.rpartition('/')[2]}: write a policy with the actions that are needed"


def no_users(resource_type: str, inputs: Props) -> Iterator[Finding]:
    """Nobody gets a lasting password or access key: people and machines take roles."""
    if resource_type in (
        "aws:iam/user:User",
        "aws:iam/accessKey:AccessKey",
        "aws:iam/userLoginProfile:UserLoginProfile",
    ):
        yield f"{kind(resource_type)}s last until someone steals them: use a role"


def functions_know_their_callers(resource_type: str, inputs: Props) -> Iterator[Finding]:
    """Who may invoke a function is named, and a service only on behalf of our own resources."""
    if resource_type != "aws:lambda/permission:Permission":
        return
    principal = inputs.get("principal")
    if principal == UNKNOWN:
        yield Unknown("principal")
    elif principal == "*" and not given(inputs.get("principalOrgId")):
        yield "principal is *: name who may invoke the function"
    elif str(principal).endswith(".amazonaws.com") and not any(
        map(given, map(inputs.get, ("sourceArn", "sourceAccount")))
    ):
        yield f"lets {principal} invoke the function on anyone's behalf: set sourceArn or sourceAccount"
    if inputs.get("functionUrlAuthType") == "NONE":
        yield "functionUrlAuthType is NONE, so everyone may invoke the function: set 'AWS_IAM'"


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


def pods_are_confined(resource_type: str, inputs: Props) -> Iterator[Finding]:
    """No pod is privileged, shares its node's namespaces, or mounts its node's disk; drivers do what they must."""
    may = _driver(inputs) if resource_type.endswith(":DaemonSet") else ()
    for where, spec in find(inputs, POD_SPECS[resource_type]) if resource_type in POD_SPECS else ():
        if spec == UNKNOWN:
            yield Unknown(where)
            continue
        for flag in ("hostNetwork", "hostPID", "hostIPC"):
            if (spec or {}).get(flag) and flag not in may:
                yield f"{where}.{flag} is true: pods share nothing with their node"
        for path, folder in find(spec, "volumes?.*?.hostPath?.path"):
            if folder == UNKNOWN:
                yield Unknown(f"{where}.{path}")
            elif folder not in (*NODE_FOLDERS, *may):
                yield f"{where}.{path} mounts the node's {folder}: use a volume claim"
        for containers in ("containers", "initContainers", "ephemeralContainers"):
            for path, container in find(spec, f"{containers}?.*?"):
                context = (container or {}).get("securityContext") or {}
                if context.get("privileged") and "privileged" in may:
                    continue  # and may escalate what it has already
                if context.get("privileged"):
                    yield f"{where}.{path}.securityContext.privileged is true: drop it"
                if context.get("allowPrivilegeEscalation") is not False and "allowPrivilegeEscalation" not in may:
                    yield f"{where}.{path}.securityContext.allowPrivilegeEscalation is not false: set it"


def _driver(inputs: Props) -> tuple[str, ...]:
    """What a DaemonSet may do for being a node's driver."""
    [name] = [value for _, value in find(inputs, "metadata.name")] or [None]
    [namespace] = [value for _, value in find(inputs, "metadata.namespace")] or [None]
    if namespace != "kube-system" or name in (None, UNKNOWN):
        return ()
    return next((may for pattern, may in DRIVERS.items() if pattern.fullmatch(str(name))), ())


def cluster_roles_name_what_they_allow(resource_type: str, inputs: Props) -> Iterator[Finding]:
    """Kubernetes roles name verbs and resources, and nobody is bound to cluster-admin."""
    if resource_type in (
        "kubernetes:rbac.authorization.k8s.io/v1:Role",
        "kubernetes:rbac.authorization.k8s.io/v1:ClusterRole",
    ):
        for key in ("verbs", "resources", "apiGroups"):
            for where, names in find(inputs, f"rules?.*?.{key}?"):
                if names == UNKNOWN:
                    yield Unknown(where)
                elif "*" in names:
                    yield f"{where} is *: name them"
    if resource_type.startswith("kubernetes:rbac.") and resource_type.endswith("Binding"):
        for where, role in find(inputs, "roleRef.name"):
            if role == UNKNOWN:
                yield Unknown(where)
            elif role == "cluster-admin":
                yield f"{where} is cluster-admin: bind a role with what is needed"


def namespaces_enforce_pod_security(resource_type: str, inputs: Props) -> Iterator[Finding]:
    """A namespace refuses pods that ask for more than the baseline."""
    if resource_type == "kubernetes:core/v1:Namespace":
        for where, labels in find(inputs, "metadata.labels"):
            level = UNKNOWN if labels == UNKNOWN else (labels or {}).get("pod-security.kubernetes.io/enforce")
            if level == UNKNOWN:
                yield Unknown(where)
            elif level not in ("baseline", "restricted"):
                yield f"{where}: set pod-security.kubernetes.io/enforce to baseline or restricted"


POLICIES: list[Policy] = [
    policy(policies_are_documents, Severity.HIGH),
    policy(no_wildcard_actions, Severity.CRITICAL),
    policy(no_wildcard_resources, Severity.HIGH),
    policy(roles_are_passed_by_name, Severity.CRITICAL),
    policy(no_inverted_statements, Severity.HIGH),
    policy(no_wildcard_principals, Severity.CRITICAL),
    policy(services_act_only_for_us, Severity.HIGH),
    policy(federated_logins_are_pinned, Severity.CRITICAL),
    policy(endpoints_stay_in_the_account, Severity.HIGH),
    policy(no_admin_policies, Severity.CRITICAL),
    policy(no_users, Severity.HIGH),
    policy(functions_know_their_callers, Severity.HIGH),
    policy(apis_know_their_callers, Severity.CRITICAL),
    policy(nothing_is_public, Severity.CRITICAL),
    stack_policy(buckets_block_public_access, Severity.CRITICAL),
    policy(clusters_are_private, Severity.HIGH),
    policy(instance_metadata_is_guarded, Severity.HIGH),
    policy(notebooks_are_isolated, Severity.HIGH),
    stack_policy(models_are_isolated, Severity.HIGH),
    policy(security_groups_are_closed, Severity.HIGH),
    policy(logs_are_kept_and_end, Severity.MEDIUM),
    policy(pods_are_confined, Severity.HIGH),
    policy(cluster_roles_name_what_they_allow, Severity.HIGH),
    policy(namespaces_enforce_pod_security, Severity.HIGH),
]
