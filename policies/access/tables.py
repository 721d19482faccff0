"""Where IAM documents stand, and what in them narrows down who may do what."""

import re
from collections.abc import Callable, Iterator

from policies.actions import Action, matching
from policies.documents import Statement, Table
from policies.resource_types import KEY, POLICY, ROLE, ROLE_POLICY

KEY_POLICY = "aws:kms/keyPolicy:KeyPolicy"

# Documents of an identity say what it may do; a resource's say who may use it.
IDENTITY_DOCUMENTS: Table = {
    "aws:iam/groupPolicy:GroupPolicy": ("policy",),
    POLICY: ("policy",),
    ROLE_POLICY: ("policy",),
    "aws:iam/userPolicy:UserPolicy": ("policy",),
    "aws:ssoadmin/permissionSetInlinePolicy:PermissionSetInlinePolicy": ("inlinePolicy",),
    ROLE: ("inlinePolicies?.*?.policy",),
}
RESOURCE_DOCUMENTS: Table = {
    "aws:backup/vaultPolicy:VaultPolicy": ("policy",),
    "aws:cloudwatch/eventBusPolicy:EventBusPolicy": ("policy",),
    "aws:cloudwatch/logResourcePolicy:LogResourcePolicy": ("policyDocument",),
    "aws:dynamodb/resourcePolicy:ResourcePolicy": ("policy",),
    "aws:ecr/registryPolicy:RegistryPolicy": ("policy",),
    "aws:ecr/repositoryPolicy:RepositoryPolicy": ("policy",),
    "aws:efs/fileSystemPolicy:FileSystemPolicy": ("policy",),
    "aws:glue/resourcePolicy:ResourcePolicy": ("policy",),
    "aws:kinesis/resourcePolicy:ResourcePolicy": ("policy",),
    "aws:s3/accessPoint:AccessPoint": ("policy?",),
    "aws:s3/bucket:Bucket": ("policy?",),
    "aws:s3/bucketPolicy:BucketPolicy": ("policy",),
    "aws:s3/bucketV2:BucketV2": ("policy?",),
    "aws:s3control/accessPointPolicy:AccessPointPolicy": ("policy",),
    "aws:sagemaker/modelPackageGroupPolicy:ModelPackageGroupPolicy": ("resourcePolicy",),
    "aws:secretsmanager/secret:Secret": ("policy?",),
    "aws:secretsmanager/secretPolicy:SecretPolicy": ("policy",),
    "aws:sns/topic:Topic": ("policy?",),
    "aws:sns/topicPolicy:TopicPolicy": ("policy",),
    "aws:sqs/queue:Queue": ("policy?",),
    "aws:sqs/queuePolicy:QueuePolicy": ("policy",),
}
KEY_DOCUMENTS: Table = {KEY: ("policy?",), KEY_POLICY: ("policy",)}
TRUST_DOCUMENTS: Table = {ROLE: ("assumeRolePolicy",)}
NETWORK_DOCUMENTS: Table = {"aws:ec2/vpcEndpoint:VpcEndpoint": ("policy",)}

NAMES_WHO: Table = {**RESOURCE_DOCUMENTS, **KEY_DOCUMENTS, **TRUST_DOCUMENTS}
DOCUMENTS: Table = {
    **RESOURCE_DOCUMENTS,
    **KEY_DOCUMENTS,
    **NETWORK_DOCUMENTS,
    **IDENTITY_DOCUMENTS,
    ROLE: (*IDENTITY_DOCUMENTS[ROLE], *TRUST_DOCUMENTS[ROLE]),
}

# Condition keys by which a statement about many things means few of them. The caller cannot choose them.
NARROWS = (
    "*:ResourceTag/*",
    "aws:ResourceTag/*",
    "ec2:Subnet",
    "ec2:Vpc",
    "eks:cluster*",
    "iam:AWSServiceName",
    "iam:AssociatedResourceArn",
    "iam:PermissionsBoundary",
    "iam:PolicyARN",
    "kms:EncryptionContext:*",
    "kms:GrantIsForAWSResource",
    "kms:ResourceAliases",
    "kms:ViaService",
    "s3:DataAccessPointArn",
    "s3:ExistingObjectTag/*",
)

# And those that keep it to one account, or to one service.
SCOPES = (
    *NARROWS,
    "aws:ResourceAccount",
    "aws:ResourceOrgID",
    "aws:ResourceOrgPaths",
    "iam:PassedToService",
    "kms:CallerAccount",
    "s3:ResourceAccount",
)

# Condition keys that say who is asking. The caller cannot choose them.
CALLERS = (
    "aws:PrincipalAccount",
    "aws:PrincipalArn",
    "aws:PrincipalOrgID",
    "aws:PrincipalOrgPaths",
    "aws:SourceAccount",
    "aws:SourceArn",
    "aws:SourceIp",
    "aws:SourceOrgID",
    "aws:SourceOrgPaths",
    "aws:SourceOwner",  # what SNS calls the account in the policies it writes itself
    "aws:SourceVpc",
    "aws:SourceVpce",
    "aws:VpceAccount",
    "aws:userid",
    "kms:CallerAccount",
    "s3:DataAccessPointAccount",
)

_ARN = re.compile(
    r"(?P<partition>[^:]*):(?P<service>[^:]*):(?P<region>[^:]*):(?P<account>[^:]*):(?P<name>.*)", re.DOTALL
)

# What opens everything else: all of them is as much as everything.
_OPENS = re.compile(r"(key|role|secret|user|group|policy)[/:][*?]+")


def arn(text: str) -> re.Match[str] | None:
    """The parts of an ARN; IAM takes what is missing at its end for `*`."""
    if not text.startswith("arn:"):
        return None
    rest = text.removeprefix("arn:")
    return _ARN.match(rest + ":*" * max(0, 4 - rest.count(":")))


def everything(resource: str) -> bool:
    """Whether a Resource stands for all there is, or for all of what opens everything else."""
    parts = arn(resource)
    if parts is None:
        fixed, wildcard, _ = resource.partition("*")
        return bool(wildcard) and "arn:".startswith(fixed)
    return _is_wild(parts["name"], "/:") or _is_wild(parts["account"]) or bool(_OPENS.fullmatch(parts["name"]))


def all_of_a_kind(resource: str) -> bool:
    """Whether a Resource stands for everything, or for all of one kind: every function, every object."""
    parts = arn(resource)
    if everything(resource) or parts is None:
        return everything(resource)
    has_kinds = parts["service"] not in ("s3", "sns", "sqs")  # their names follow at once
    return has_kinds and re.fullmatch(r"[\w*?-]+[/:][*?/:]*", parts["name"]) is not None


def _is_wild(text: str, beside: str = "") -> bool:
    """Whether a text is wildcards only, with `beside` between them."""
    return "*" in text and not text.strip("*?" + beside)


def about_everything(statement: Statement) -> bool:
    """Whether one of its resources is everything."""
    return bool(statement.not_resources) or any(map(everything, statement.resources))


def wide(statement: Statement, action: Action | None, *, is_wide: Callable[[str], bool] = all_of_a_kind) -> bool:
    """Whether it lets `action` be done to all that `is_wide` finds; None for an action that AWS does not have."""
    return bool(statement.not_resources) or any(
        is_wide(each) and (action is None or _can_be_about(action, each)) for each in statement.resources
    )


def _can_be_about(action: Action, resource: str) -> bool:
    """Whether a resource says anything about an action: a queue is nothing that a role can be passed by."""
    parts = arn(resource)
    return parts is None or action.takes(parts["service"], re.split(r"[:/]", parts["name"])[0])


def unconstrained(statement: Statement, name: str) -> bool:
    """Whether it allows an action on everything, or all of a kind, and no condition narrows that."""
    action = next(iter(matching(name)), None)
    return statement.may(name) and wide(statement, action) and not statement.requires(NARROWS)


def is_whole_service(action: str) -> bool:
    """Whether an Action stands for all of a service, or for more."""
    service, _, name = action.partition(":")
    return "*" in service or "?" in service or _is_wild(name)


def whole_services(statement: Statement) -> Iterator[str]:
    """A sentence for each Action that stands for all of a service, or more."""
    for action in statement.actions:
        if is_whole_service(action):
            yield f"allows {action}: name the actions that are needed"


def is_every_action(action: str) -> bool:
    """Whether an Action stands for everything that can be done."""
    service, _, name = action.partition(":")
    return _is_wild(service) and (not name or _is_wild(name))


def everyone(who: str) -> bool:
    """Whether a Principal is anyone at all: `*`, or a name in every account."""
    parts = arn(who)
    return _is_wild(who) or bool(parts and re.search(r"[*?]", parts["account"]))


def account_of(who: str) -> str | None:
    """The account of an AWS principal, given as its id or by an ARN; None where it is neither."""
    parts = arn(who)
    account = parts["account"] if parts else who
    return account if re.fullmatch(r"\d{12}", account) else None
