"""What identities may do: the documents of roles, users and groups, and what else gives them rights."""

from collections.abc import Callable, Iterable, Iterator, Sequence

from pulumi_policy import Severity

from policies.access import escalation
from policies.access.tables import (
    DOCUMENTS,
    IDENTITY_DOCUMENTS,
    NAMES_WHO,
    NARROWS,
    SCOPES,
    about_everything,
    all_of_a_kind,
    arn,
    everything,
    is_every_action,
    is_whole_service,
    unconstrained,
    whole_services,
    wide,
)
from policies.actions import Action, expanded, matching
from policies.documents import DocumentError, Statement, Table, documents, faults, judged, of_statements, parse
from policies.limits import environment, limits
from policies.resource_types import ATTACHMENT, POLICY, ROLE, ROLE_POLICY
from policies.rules import (
    UNKNOWN,
    Control,
    Declared,
    Finding,
    Props,
    Unknown,
    find,
    given,
    kind,
    of_type,
    refers,
)

POLICY_ATTACHMENT = "aws:iam/policyAttachment:PolicyAttachment"
USER_ATTACHMENT = "aws:iam/userPolicyAttachment:UserPolicyAttachment"
ACCESS_KEY = "aws:iam/accessKey:AccessKey"

# Where policies are given to identities by their ARNs.
ATTACHED: Table = {
    ATTACHMENT: ("policyArn?",),
    POLICY_ATTACHMENT: ("policyArn?",),
    USER_ATTACHMENT: ("policyArn?",),
    "aws:iam/groupPolicyAttachment:GroupPolicyAttachment": ("policyArn?",),
    "aws:iam/groupPolicyAttachmentsExclusive:GroupPolicyAttachmentsExclusive": ("policyArns?.*?",),
    "aws:iam/rolePolicyAttachmentsExclusive:RolePolicyAttachmentsExclusive": ("policyArns?.*?",),
    "aws:iam/userPolicyAttachmentsExclusive:UserPolicyAttachmentsExclusive": ("policyArns?.*?",),
    "aws:ssoadmin/managedPolicyAttachment:ManagedPolicyAttachment": ("managedPolicyArn?",),
    ROLE: ("managedPolicyArns?.*?",),
}

# What answers with a password, a key or a token. `ecr:GetAuthorizationToken` and `sts:GetSessionToken` are not among
# them: their tokens may do no more than who asked for them, and AWS knows no resource for them.
GIVES_CREDENTIALS = (
    "airflow:CreateCliToken", "airflow:CreateWebLoginToken", "appsync:CreateApiKey", "chime:CreateApiKey",
    "cloud9:CreateEnvironmentToken", "codeartifact:GetAuthorizationToken", "codepipeline:PollForJobs",
    "cognito-identity:GetCredentialsForIdentity", "cognito-identity:GetOpenIdToken",
    "cognito-identity:GetOpenIdTokenForDeveloperIdentity", "connect:GetFederationToken", "dsql:DbConnectAdmin",
    "ec2:GetPasswordData", "eks-auth:AssumeRoleForPodIdentity", "emr-containers:GetManagedEndpointSessionCredentials",
    "finspace-api:GetProgrammaticAccessCredentials", "gamelift:GetComputeAccess", "gamelift:GetComputeAuthToken",
    "gamelift:GetInstanceAccess", "gamelift:RequestUploadCredentials", "grafana:CreateWorkspaceApiKey",
    "grafana:CreateWorkspaceServiceAccountToken", "iam:CreateAccessKey", "iam:CreateLoginProfile",
    "iam:CreateServiceSpecificCredential", "iam:ResetServiceSpecificCredential", "iam:UpdateAccessKey",
    "license-manager:GetAccessToken", "lightsail:CreateBucketAccessKey", "lightsail:DownloadDefaultKeyPair",
    "lightsail:GetInstanceAccessDetails", "lightsail:GetRelationalDatabaseMasterUserPassword",
    "mediapackage:RotateChannelCredentials", "mediapackage:RotateIngestEndpointCredentials", "rds-db:connect",
    "redshift-serverless:GetCredentials", "redshift:GetClusterCredentials", "redshift:GetClusterCredentialsWithIAM",
    "sso:GetRoleCredentials", "sts:AssumeRole", "sts:AssumeRoleWithSAML", "sts:AssumeRoleWithWebIdentity",
    "sts:GetFederationToken",
)  # fmt: skip

# What reads the data itself.
READS_DATA = (
    "dynamodb:BatchGetItem", "dynamodb:ExportTableToPointInTime", "dynamodb:GetItem", "dynamodb:Query",
    "dynamodb:Scan", "s3:GetObject", "s3:GetObjectVersion", "sagemaker:BatchGetRecord", "sagemaker:GetRecord",
    "secretsmanager:BatchGetSecretValue", "secretsmanager:GetSecretValue", "ssm:GetParameter",
    "ssm:GetParameterHistory", "ssm:GetParameters", "ssm:GetParametersByPath",
)  # fmt: skip

DECRYPTS = ("kms:Decrypt", "kms:ReEncryptFrom")

ADMIN = ("AdministratorAccess", "AdministratorAccess-", "PowerUserAccess", "IAMFullAccess")
CONTROL_PLANE = "AmazonEKSClusterPolicy"


def policies_are_documents(resource_type: str, inputs: Props) -> Iterator[Finding]:
    """Every IAM policy can be read, so that the other rules can judge it, and AWS will take it."""
    for where, text in documents(DOCUMENTS, resource_type, inputs):
        if text == UNKNOWN:
            yield Unknown(where)
            continue
        try:
            yield from (f"{where}, {fault}" for fault in faults(text))
        except DocumentError as error:
            yield f"{where} is no IAM document: {error}"


def _is_admin(statement: Statement) -> Iterator[str]:
    if any(map(is_every_action, statement.actions)) and any(map(everything, statement.resources)):
        yield "allows everything on everything: name the actions and the resources"


def _every_action(statement: Statement) -> Iterator[str]:
    for action in statement.actions:
        if is_every_action(action):
            yield f"allows {action}: name the actions that are needed"


def _more_than_needed(statement: Statement) -> Iterator[str]:
    if statement.requires(SCOPES):
        return
    if found := [each for each in statement.actions if _could_be_named(each, statement)]:
        yield (
            f"allows {', '.join(found)} on everything: name the resources, or add a condition such as aws:ResourceTag"
        )


def _could_be_named(pattern: str, statement: Statement) -> bool:
    """Whether a statement allows an action on everything that could be held to a resource; so also one that AWS does
    not have."""
    if is_every_action(pattern):
        return about_everything(statement)
    known: Sequence[Action | None] = [each for each in matching(pattern) if each.restrictable]
    return any(wide(statement, each, is_wide=everything) for each in known or ([] if matching(pattern) else [None]))


def _writes(statement: Statement) -> Iterator[str]:
    """All of a service is iam-no-service-wildcard's matter, whatever it writes."""
    if statement.requires(SCOPES):
        return
    named = [each for each in statement.actions if not is_whole_service(each)]
    if found := _those(
        expanded(named),
        lambda each: (
            each.level in ("Write", "Tagging") and each.restrictable and wide(statement, each, is_wide=everything)
        ),
    ):
        yield f"writes everywhere, by {found}: name the resources, or add a condition such as aws:ResourceTag"


def _manages_permissions(statement: Statement) -> Iterator[str]:
    if statement.requires(NARROWS):
        return
    if any(map(is_every_action, statement.actions)):
        if wide(statement, None):
            yield "decides who may do what, by every action there is: name the actions that are needed"
    elif found := _those(expanded(statement.actions), lambda each: _decides_rights(each) and wide(statement, each)):
        yield f"decides who may do what, by {found} on everything: name the resources, or leave it to deployments"


def _decides_rights(action: Action) -> bool:
    """AWS calls some actions of IAM and of what shares accounts mere writes; yet they decide on rights.

    Passing a role has a control of its own.
    """
    of_rights = action.name.startswith(("iam:", "ram:", "sso:")) and action.name != escalation.PASS
    return (of_rights and action.level == "Write") or action.level == "Permissions management"


def _those(found: Iterable[tuple[str, Action]], wanted: Callable[[Action], bool]) -> str:
    """The actions that are `wanted`, each pattern once with one of what it stands for: `s3:Put* (s3:PutObject)`."""
    first: dict[str, str] = {}
    for pattern, action in found:
        if wanted(action):
            first.setdefault(pattern, action.name)
    return ", ".join(
        name if pattern.lower() == name.lower() else f"{pattern} ({name})" for pattern, name in first.items()
    )


def _without_limits(actions: Sequence[str], does: str, fix: str) -> Callable[[Statement], Iterator[str]]:
    """A judge that finds any of `actions` where neither resources nor conditions say on what."""

    def judge(statement: Statement) -> Iterator[str]:
        if found := [each for each in actions if unconstrained(statement, each)]:
            more = f" and {len(found) - 3} more" if len(found) > 3 else ""
            yield f"{does}, by {', '.join(found[:3])}{more}: {fix}"

    return judge


def _passes_any_role(statement: Statement) -> Iterator[str]:
    if not statement.may(escalation.PASS) or statement.requires(("iam:PassedToService", "iam:AssociatedResourceArn")):
        return
    for role in _roles(statement):
        if all_of_a_kind(role):
            yield f"lets every role be passed ({role}): name the role's ARN"


def _passes_roles_anywhere(statement: Statement) -> Iterator[str]:
    if not statement.may(escalation.PASS):
        return
    to_some = statement.requires(("iam:PassedToService", "iam:AssociatedResourceArn"))
    for role in _roles(statement):
        if all_of_a_kind(role) and to_some:
            yield f"lets every role be passed ({role}), to whichever service the condition names: name the role's ARN"
        elif "*" in role and not all_of_a_kind(role) and not to_some:
            yield f"lets any role like {role} be passed to any service: add the condition iam:PassedToService"


def _roles(statement: Statement) -> Iterator[str]:
    """The resources of a statement that can be roles."""
    if statement.not_resources:
        yield "*"
    for resource in statement.resources:
        parts = arn(resource)
        if parts is None or parts["service"] in ("iam", "*"):
            yield resource


def _inverted(key: str) -> Callable[[Statement], Iterator[str]]:
    def judge(statement: Statement) -> Iterator[str]:
        if key in statement.inverted:
            yield f"allows by {key}, which grows with all that AWS adds: say what is allowed with {key[3:]}"

    return judge


def no_escalation(resource_type: str, inputs: Props) -> Iterator[Finding]:
    """No document lets whoever has it take more rights than it gives."""
    yield from judged(IDENTITY_DOCUMENTS, resource_type, inputs, _escalates)


def _escalates(statements: Sequence[Statement]) -> Iterator[str]:
    if found := list(escalation.ways(statements)):
        yield f"{_told(found)}: name the resources, or add a condition such as iam:PassedToService"


def _told(found: Sequence[escalation.Found]) -> str:
    said = [f"{each.way.gives} ({' with '.join(each.actions)})" for each in found[:2]]
    if len(found) > 2:
        said.append(f"take {len(found) - 2} more ways")
    return f"whoever has it can {', or '.join(said)}"


def no_escalation_together(resources: Sequence[Declared]) -> Iterator[tuple[Declared | None, Finding]]:
    """Nor do several policies of one role together; what one of them does alone is told by `no_escalation`."""
    for role in of_type(resources, ROLE):
        held = [_statements_of(each) for each in [role, *_policies_of(role, resources)]]
        alone = {found.way for statements in held for found in escalation.ways(statements)}
        together = [
            found for found in escalation.ways([one for each in held for one in each]) if found.way not in alone
        ]
        if len(held) > 1 and together:
            yield role, f"its policies come together: {_told(together)}: name the resources"


def _policies_of(role: Declared, resources: Sequence[Declared]) -> Iterator[Declared]:
    """The policies of a stack that a role has, its own and those attached to it."""
    for policy in of_type(resources, ROLE_POLICY):
        if refers(policy, "role", role, by=("name", "id")):
            yield policy
    attachments = [each for each in of_type(resources, ATTACHMENT) if refers(each, "role", role, by=("name", "id"))]
    for policy in of_type(resources, POLICY):
        if any(refers(each, "policyArn", policy, by=("arn",)) for each in attachments):
            yield policy


def _statements_of(resource: Declared) -> list[Statement]:
    found: list[Statement] = []
    for _, text in documents(IDENTITY_DOCUMENTS, resource.type, resource.inputs):
        try:
            found += parse(text) if text != UNKNOWN else []
        except DocumentError:
            continue  # a rule of its own refuses it
    return found


def _managed(resource_type: str, inputs: Props) -> Iterator[tuple[str, str]]:
    """The names of AWS's own policies that a resource attaches, each with where; UNKNOWN where it is not known yet."""
    for path in ATTACHED.get(resource_type, ()):
        for where, policy in find(inputs, path):
            if policy == UNKNOWN:
                yield where, UNKNOWN
            elif ":aws:policy/" in str(policy):
                yield where, str(policy).rpartition("/")[2]


def no_admin_policies(resource_type: str, inputs: Props) -> Iterator[Finding]:
    """Nobody is given AWS's policies for those who may do everything, or decide who may."""
    for where, name in _managed(resource_type, inputs):
        if name == UNKNOWN:
            yield Unknown(where)
        elif _is_admin_policy(name):
            yield f"{where} is {name}: write a policy with the actions that are needed"


def _is_admin_policy(name: str) -> bool:
    return name in ADMIN or name.startswith("AdministratorAccess-")


def no_full_access(resources: Sequence[Declared]) -> Iterator[tuple[Declared | None, Finding]]:
    """No role has AWS's policy for all of a service, and none but a cluster's own has the control plane's."""
    for resource in resources:
        for where, name in _managed(resource.type, resource.inputs):
            if name == UNKNOWN:
                yield resource, Unknown(where)
            elif "FullAccess" in name and not _is_admin_policy(name):
                yield resource, f"{where} is {name}: write a policy with the actions that are needed"
            elif name == CONTROL_PLANE and not _is_of_a_control_plane(resource, resources):
                yield resource, f"{where} is {name}, which only a cluster's own role needs: remove it"


def _is_of_a_control_plane(resource: Declared, resources: Sequence[Declared]) -> bool:
    """Whether the role that has what `resource` attaches is for eks.amazonaws.com. Not seen, it counts as that."""
    roles = [resource] if resource.type == ROLE else [
        each for each in of_type(resources, ROLE) if refers(resource, "role", each, by=("name", "id"))
    ]  # fmt: skip
    return all("eks.amazonaws.com" in str(each.inputs.get("assumeRolePolicy")) for each in roles)


def no_users(resource_type: str, inputs: Props) -> Iterator[Finding]:
    """Nobody gets a lasting password or access key: people and machines take roles."""
    yield f"{kind(resource_type)}s last until someone steals them: use a role"


def no_root_key(resource_type: str, inputs: Props) -> Iterator[Finding]:
    """The account's root has no access key: nothing limits what that may do."""
    user = inputs.get("user")
    if user == UNKNOWN:
        yield Unknown("user")
    elif str(user).rpartition("/")[2].rpartition(":")[2] == "root":
        yield f"user is {user}: use a role"


def no_user_policies(resource_type: str, inputs: Props) -> Iterator[Finding]:
    """Rights belong to roles and groups; a user's own are forgotten when its task changes."""
    if resource_type != POLICY_ATTACHMENT:
        yield f"{kind(resource_type)} gives one user rights: give them to a role"
    elif users := inputs.get("users"):
        yield Unknown("users") if users == UNKNOWN else "users is set: give the policy to roles"


def no_inline_policies(resource_type: str, inputs: Props) -> Iterator[Finding]:
    """A role's policies are resources of their own: those inside it overwrite what others attach."""
    if inputs.get("inlinePolicies"):
        yield "inlinePolicies is set: make each an aws:iam/rolePolicy:RolePolicy"


def has_the_boundary(resource_type: str, inputs: Props) -> Iterator[Finding]:
    """Every role has the boundary that policies/limits.yaml names; where it names none, none is asked for."""
    wanted, value = limits().boundary_in(environment()), inputs.get("permissionsBoundary")
    if wanted is None:
        return
    if value == UNKNOWN:
        yield Unknown("permissionsBoundary")
    elif value != wanted and not str(value).endswith(f":policy/{wanted}"):
        is_now = f"is {value}" if given(value) else "is not set"
        yield f"permissionsBoundary {is_now}: set slipway:permissions_boundary in the stack's YAML to that of {wanted}"


def no_role_conflicts(resources: Sequence[Declared]) -> Iterator[tuple[Declared | None, Finding]]:
    """What gives a role its policies is either the role itself or attachments, or each undoes the other at every
    deployment."""
    others = [
        (each, name)
        for resource_type, name in ((ATTACHMENT, "role"), (POLICY_ATTACHMENT, "roles"), (ROLE_POLICY, "role"))
        for each in of_type(resources, resource_type)
    ]
    for role in of_type(resources, ROLE):
        for exclusive, kinds in (
            ("managedPolicyArns", (ATTACHMENT, POLICY_ATTACHMENT)),
            ("inlinePolicies", (ROLE_POLICY,)),
        ):
            if not role.inputs.get(exclusive):
                continue
            for each, name in others:
                if each.type in kinds and _is_of(each, name, role):
                    yield role, f"{exclusive} is set, and {each.name} gives it policies too: remove one of the two"


def _is_of(resource: Declared, name: str, role: Declared) -> bool:
    """Whether a resource's `role`, or one of its `roles`, is this role."""
    listed = resource.inputs.get(name)
    named = isinstance(listed, list) and given(role.inputs.get("name")) and role.inputs.get("name") in listed
    return named or refers(resource, name, role, by=("name", "id"))


IDENTITIES = frozenset(IDENTITY_DOCUMENTS)
USERS = frozenset(
    {
        ACCESS_KEY,
        "aws:iam/serviceSpecificCredential:ServiceSpecificCredential",
        "aws:iam/user:User",
        "aws:iam/userLoginProfile:UserLoginProfile",
    }
)
USER_POLICIES = frozenset({"aws:iam/userPolicy:UserPolicy", USER_ATTACHMENT, POLICY_ATTACHMENT})
NAME_ACTIONS = "Name the actions; `slipway access` tells which ones a rehearsal used."
NAME_RESOURCES = "Name the ARNs, as components/iam.py's local_arn gives them, or add a Condition on their tags."

CONTROLS: list[Control] = [
    Control(
        "policies-are-documents",
        "Every IAM policy is a document that AWS will take.",
        Severity.HIGH,
        (),
        "Write it with components/iam.py's document.",
        rule=policies_are_documents,
        types=frozenset(DOCUMENTS),
    ),
    Control(
        "iam-no-admin-star",
        "No policy allows everything on everything.",
        Severity.CRITICAL,
        ("FSBP IAM.1", "CIS 7.0 2.14", "CIS 5.0 1.15", "CKV_AWS_62",
         "cfn-guard IAM_POLICY_NO_STATEMENTS_WITH_ADMIN_ACCESS"),
        NAME_ACTIONS,
        **of_statements(IDENTITY_DOCUMENTS, _is_admin),
        always=True,
    ),
    Control(
        "iam-no-star-action",
        "No policy allows every action, on whatever it is.",
        Severity.HIGH,
        ("CKV_AWS_63", "cfn-guard IAM_ROLE_NO_WILDCARD_ACTIONS_ON_PERMISSIONS"),
        NAME_ACTIONS,
        **of_statements(IDENTITY_DOCUMENTS, _every_action),
    ),
    Control(
        "iam-no-service-wildcard",
        "No policy allows all of a service.",
        Severity.HIGH,
        ("FSBP IAM.21", "cfn-guard IAM_POLICY_NO_STATEMENTS_WITH_FULL_ACCESS",
         "cfn-guard IAM_MANAGEDPOLICY_NO_STATEMENTS_WITH_FULL_ACCESS", "cdk-nag AwsSolutions-IAM5"),
        NAME_ACTIONS,
        **of_statements(IDENTITY_DOCUMENTS, whole_services),
    ),
    Control(
        "iam-no-star-resource-restrictable",
        "A policy names the resources of every action for which AWS lets it name them.",
        Severity.HIGH,
        ("CKV_AWS_355", "cfn-guard IAM_POLICYDOCUMENT_NO_WILDCARD_RESOURCE"),
        NAME_RESOURCES,
        **of_statements(IDENTITY_DOCUMENTS, _more_than_needed),
    ),
    Control(
        "iam-no-privesc",
        "No policy lets whoever has it take more rights than it gives.",
        Severity.CRITICAL,
        ("CKV_AWS_286", "prowler iam_policy_allows_privilege_escalation"),
        "Name the role that may be passed, and the resources of what runs code.",
        rule=no_escalation,
        types=IDENTITIES,
    ),
    Control(
        "iam-no-privesc-together",
        "No policies of one role together let whoever has it take more rights than they give.",
        Severity.CRITICAL,
        ("CKV_AWS_286",),
        "Name the role that may be passed, and the resources of what runs code.",
        stack_rule=no_escalation_together,
    ),
    Control(
        "iam-no-cred-exposure",
        "No policy gives out credentials without saying whose.",
        Severity.HIGH,
        ("CKV_AWS_287",),
        NAME_RESOURCES,
        **of_statements(
            IDENTITY_DOCUMENTS, _without_limits(GIVES_CREDENTIALS, "gets anyone's credentials", "name the resources")
        ),
    ),
    Control(
        "iam-no-exfil",
        "No policy reads all data: every object, every secret, every parameter, every record.",
        Severity.HIGH,
        ("CKV_AWS_288",),
        NAME_RESOURCES,
        **of_statements(
            IDENTITY_DOCUMENTS, _without_limits(READS_DATA, "reads all data", "name what is to be read")
        ),
    ),
    Control(
        "iam-no-perm-mgmt",
        "No policy decides who may do what without saying on what.",
        Severity.HIGH,
        ("CKV_AWS_289",),
        NAME_RESOURCES,
        **of_statements(IDENTITY_DOCUMENTS, _manages_permissions),
    ),
    Control(
        "iam-no-write-unconstrained",
        "No policy writes everywhere.",
        Severity.MEDIUM,
        ("CKV_AWS_290",),
        NAME_RESOURCES,
        **of_statements(IDENTITY_DOCUMENTS, _writes),
    ),
    Control(
        "iam-passrole-scoped",
        "Who may pass a role to a service may act as that role: each one is named, or the service is.",
        Severity.CRITICAL,
        ("cfn-guard IAM_POLICY_NO_WILDCARD_RESOURCE_ON_PASSROLE",
         "cfn-guard IAM_ROLE_NO_WILDCARD_RESOURCE_ON_PASSROLE"),
        "Name the role's ARN, and the service in the condition iam:PassedToService.",
        **of_statements(IDENTITY_DOCUMENTS, _passes_any_role),
    ),
    Control(
        "iam-passrole-named",
        "Who may pass roles by a pattern may pass them to one service, and nobody may pass every role.",
        Severity.HIGH,
        (),
        "Name the role's ARN, or add the condition iam:PassedToService.",
        **of_statements(IDENTITY_DOCUMENTS, _passes_roles_anywhere),
    ),
    Control(
        "iam-no-notaction",
        "No policy allows everything but some actions.",
        Severity.HIGH,
        ("cfn-guard IAM_ROLE_OR_POLICY_NO_ALLOW_PLUS_NOT_ACTION", "cfn-guard S3_BUCKET_POLICY_NO_ALLOW_PLUS_NOT_ACTION",
         "cfn-guard IAM_ROLE_NO_ALLOW_PLUS_NOT_ACTION_ON_TRUST_POLICY"),
        "Say what is allowed with Action.",
        **of_statements(DOCUMENTS, _inverted("NotAction")),
    ),
    Control(
        "iam-no-notresource",
        "No policy allows something on everything but some resources.",
        Severity.HIGH,
        ("cfn-guard IAM_ROLE_OR_POLICY_NO_ALLOW_PLUS_NOT_RESOURCE",),
        "Say on what it is allowed with Resource.",
        **of_statements(DOCUMENTS, _inverted("NotResource")),
    ),
    Control(
        "iam-no-notprincipal",
        "No policy lets in everyone but some.",
        Severity.HIGH,
        ("cfn-guard S3_BUCKETPOLICY_NO_ALLOW_PLUS_NOTPRINCIPAL", "cfn-guard SNS_TOPICPOLICY_NO_ALLOW_PLUS_NOTPRINCIPAL",
         "cfn-guard SQS_QUEUEPOLICY_NO_ALLOW_PLUS_NOTPRINCIPAL"),
        "Say who is let in with Principal.",
        **of_statements(NAMES_WHO, _inverted("NotPrincipal")),
    ),
    Control(
        "kms-no-decrypt-all",
        "No policy decrypts what every key encrypts.",
        Severity.HIGH,
        ("FSBP KMS.1", "FSBP KMS.2"),
        "Name the key's ARN, or add the condition kms:ViaService, as components/iam.py's use_key does.",
        **of_statements(
            IDENTITY_DOCUMENTS, _without_limits(DECRYPTS, "decrypts with every key", "name the key's ARN")
        ),
    ),
    Control(
        "iam-no-admin-managed",
        "Nobody is given AWS's policies for those who may do everything, or decide who may.",
        Severity.CRITICAL,
        ("CKV_AWS_274", "CKV2_AWS_56", "FSBP IAM.1", "cfn-guard IAM_ROLE_ADMINISTRATOR_ACCESS_POLICY_RULE",
         "cfn-guard IAM_ROLE_ELEVATED_MANAGED_POLICY_RULE"),
        "Write a policy with the actions that are needed.",
        rule=no_admin_policies,
        types=frozenset(ATTACHED),
    ),
    Control(
        "iam-no-sagemaker-fullaccess",
        "No role has AWS's policy for all of a service, and no job's role has a cluster's.",
        Severity.HIGH,
        ("MLSEC03-BP01", "cdk-nag AwsSolutions-IAM4"),
        "Write a policy with the actions that are needed.",
        stack_rule=no_full_access,
    ),
    Control(
        "iam-no-users",
        "Nobody gets a lasting password or access key.",
        Severity.MEDIUM,
        ("CKV_AWS_273", "CIS 7.0 2.19"),
        "Let people and machines take a role.",
        rule=no_users,
        types=USERS,
    ),
    Control(
        "iam-no-root-key",
        "The account's root has no access key.",
        Severity.CRITICAL,
        ("CKV_AWS_348",),
        "Let people and machines take a role.",
        rule=no_root_key,
        types=frozenset({ACCESS_KEY}),
        always=True,
    ),
    Control(
        "iam-no-user-policy",
        "Policies are given to roles or groups, not to users.",
        Severity.MEDIUM,
        ("FSBP IAM.2", "CIS 7.0 2.13", "CKV_AWS_40"),
        "Give the policy to a role.",
        rule=no_user_policies,
        types=USER_POLICIES,
    ),
    Control(
        "iam-no-inline",
        "A role's policies are resources of their own.",
        Severity.LOW,
        ("cfn-guard IAM_NO_INLINE_POLICY_CHECK",),
        "Make each policy an aws:iam/rolePolicy:RolePolicy.",
        rule=no_inline_policies,
        types=frozenset({ROLE}),
    ),
    Control(
        "iam-boundary",
        "Every role has the permissions boundary that policies/limits.yaml names.",
        Severity.MEDIUM,
        (),
        "Set slipway:permissions_boundary in the stack's YAML: every role that a component makes then has it.",
        rule=has_the_boundary,
        types=frozenset({ROLE}),
    ),
    Control(
        "iam-role-conflicts",
        "What gives a role its policies is either the role itself or attachments.",
        Severity.LOW,
        ("awsguard iam-role-no-policy-management-conflicts",),
        "Remove managedPolicyArns and inlinePolicies, and attach the policies.",
        stack_rule=no_role_conflicts,
    ),
]  # fmt: skip
