"""Who may do what in AWS: the documents of IAM, of resources, of keys, and of roles' trust."""

import re
from collections.abc import Iterator

from pulumi_policy import Policy, Severity

from policies.documents import DocumentError, Statement, allowed, documents, parse
from policies.rules import UNKNOWN, Control, Finding, Props, Unknown, find, given, kind, policy

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


CONTROLS: list[Control] = []

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
]
