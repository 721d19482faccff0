"""Who may use what: the trust of roles, and the documents of resources, keys, functions and VPC endpoints."""

import re
from collections.abc import Callable, Iterator, Sequence

import pulumi
from pulumi_policy import Severity

from policies.access.tables import (
    CALLERS,
    KEY_DOCUMENTS,
    KEY_POLICY,
    NETWORK_DOCUMENTS,
    RESOURCE_DOCUMENTS,
    SCOPES,
    TRUST_DOCUMENTS,
    about_everything,
    account_of,
    everyone,
    whole_services,
)
from policies.documents import Statement, allowed, of_statements
from policies.limits import limits
from policies.resource_types import FUNCTION_URL, KEY, PERMISSION
from policies.rules import (
    UNKNOWN,
    Control,
    Declared,
    Finding,
    Props,
    Unknown,
    given,
    without_companion,
)

LAYER_PERMISSION = "aws:lambda/layerVersionPermission:LayerVersionPermission"
MODEL_PACKAGE_GROUP_POLICY = "aws:sagemaker/modelPackageGroupPolicy:ModelPackageGroupPolicy"
TOPIC_POLICY = "aws:sns/topicPolicy:TopicPolicy"
GRANT = "aws:kms/grant:Grant"

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

# Condition keys by which a role that trusts a whole account means one of its identities, or somebody who knows more.
# The account itself is none of them: everyone in it has that.
ONE_OF_AN_ACCOUNT = (
    *(key for key in CALLERS if not re.fullmatch(r"(aws:(Principal|Source)Account|kms:CallerAccount)", key)),
    "aws:MultiFactorAuthPresent",
    "aws:PrincipalTag/*",
    "sts:ExternalId",
)

# Whom an identity provider's subject has to name: anyone who has a repository can write the rest of it.
GITHUB = "token.actions.githubusercontent.com"
REPOSITORY = re.compile(r"repo:[^*?:/]+/[^*?:/]+(:.*)?")
CLUSTER_PROVIDER = "oidc.eks."
SERVICE_ACCOUNT = re.compile(r"system:serviceaccount:[^*?:]+:[^*?:]+")
NO_WILDCARD = re.compile(r"[^*?]+")

# For other providers, the key that says for whom a login was: an application's id names all of its users.
PINS = {"saml-provider/": "SAML:aud", "cognito-identity.amazonaws.com": "cognito-identity.amazonaws.com:aud"}

# What other accounts may do with the versions of a model: look at them, and make a model of one.
OF_VERSIONS = re.compile(r"sagemaker:((describe|list)\w*\*?|createmodel)", re.IGNORECASE)

GRANTED = frozenset({"Decrypt", "DescribeKey", "GenerateDataKey", "GenerateDataKeyWithoutPlaintext"})

WHOLE_ACCOUNT = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:root|\d{12}")


def _lets_everyone_in(*keys: str) -> Callable[[Statement], Iterator[str]]:
    """A judge that finds statements for everyone that no condition on one of `keys` narrows."""

    def judge(statement: Statement) -> Iterator[str]:
        if statement.requires(keys):
            return
        for how, who in statement.principals:
            if everyone(who):
                yield f"lets everyone in ({how}: {who}): name who, or add a condition such as aws:PrincipalOrgID"
        if "NotPrincipal" in statement.inverted:
            yield "lets everyone in but some (NotPrincipal): name who, with Principal"

    return judge


def _trusts_an_account(statement: Statement) -> Iterator[str]:
    if statement.requires(ONE_OF_AN_ACCOUNT):
        return
    for how, who in statement.principals:
        if how == "AWS" and WHOLE_ACCOUNT.fullmatch(who):
            yield f"lets everyone in an account take this role ({who}): name the role that may, or add aws:PrincipalArn"


def _acts_for_anyone(statement: Statement) -> Iterator[str]:
    services = [who for how, who in statement.principals if how == "Service" and who not in NO_DEPUTIES]
    if services and not statement.requires(DEPUTIES):
        yield f"lets {', '.join(services)} in on anyone's behalf: add the condition aws:SourceAccount"


def _pins_no_service_account(statement: Statement) -> Iterator[str]:
    if not _is_of_a_cluster(statement):
        return
    if not _pinned(statement, "*:sub", SERVICE_ACCOUNT):
        yield (
            "lets any pod of the cluster take this role: add StringEquals on the provider's :sub, with "
            "system:serviceaccount:<namespace>:<name>"
        )
    if not _pinned(statement, "*:aud", re.compile(r"sts\.amazonaws\.com")):
        yield "takes tokens that are meant for others: add StringEquals on the provider's :aud, with sts.amazonaws.com"


def _is_of_a_cluster(statement: Statement) -> bool:
    """Whether it is for an EKS cluster's own provider, named as a principal or, where that is not known, in a key."""
    keys = [key for tests in statement.conditions.values() for key in tests]
    named = [who for _, who in statement.principals]
    return any(how == "Federated" for how, _ in statement.principals) and any(
        CLUSTER_PROVIDER in each for each in (*keys, *named)
    )


def _pinned(statement: Statement, key: str, pattern: re.Pattern[str]) -> bool:
    return any(all(map(pattern.fullmatch, values)) for values in statement.demanded((key,)))


def _pins_no_repository(statement: Statement) -> Iterator[str]:
    for how, provider in statement.principals:
        if how == "Federated" and GITHUB in provider and not _pinned(statement, "*:sub", REPOSITORY):
            yield (
                "lets workflows of any repository take this role: add a condition on the provider's :sub, with "
                "repo:<organization>/<repository>:*"
            )


def _pins_no_login(statement: Statement) -> Iterator[str]:
    for how, provider in statement.principals:
        if how != "Federated" or GITHUB in provider or _is_of_a_cluster(statement):
            continue
        key = next((key for part, key in PINS.items() if part in provider), "*:sub")
        if not _pinned(statement, key, NO_WILDCARD):
            yield f"lets any user of {provider} take this role: add a StringEquals condition that pins {key}"


def _is_shared_too_widely(statement: Statement) -> Iterator[str]:
    yield from _lets_everyone_in(*CALLERS)(statement)
    yield from _lets_strangers_in(statement, _own_accounts())
    for action in statement.actions:
        if not OF_VERSIONS.fullmatch(action):
            yield f"allows {action}: others may only describe and list versions, and make models of them"


def _lets_strangers_in(statement: Statement, own: frozenset[str]) -> Iterator[str]:
    """A sentence for each principal of an account that is neither one of `own` nor one that the limits name."""
    for how, who in statement.principals:
        account = account_of(who) if how == "AWS" else None
        if account and account not in own and account not in limits().trusted_accounts:
            yield f"lets account {account} in: name it in policies/limits.yaml, trusted_accounts, if it is ours"


def _own_accounts() -> frozenset[str]:
    """The account of the stack that is judged."""
    return frozenset(pulumi.Config("aws").get_object("allowedAccountIds") or ())


def topics_stay_in_the_account(resource_type: str, inputs: Props) -> Iterator[Finding]:
    """A topic's policy names identities of its own account, or of one that policies/limits.yaml names."""
    own = account_of(str(inputs.get("arn")))
    known = frozenset({own}) if own else _own_accounts()
    if known:
        yield from allowed(RESOURCE_DOCUMENTS, resource_type, inputs, lambda each: _lets_strangers_in(each, known))


def endpoints_stay_in_the_account(resource_type: str, inputs: Props) -> Iterator[Finding]:
    """A VPC endpoint serves our own callers or our own resources, so that data cannot leave through it."""
    if not given(inputs.get("policy")):
        yield "policy is not set, so anyone's resources can be reached through it: allow those of the account only"
    yield from allowed(NETWORK_DOCUMENTS, resource_type, inputs, _lets_data_leave)


def _lets_data_leave(statement: Statement) -> Iterator[str]:
    if about_everything(statement) and not statement.requires((*CALLERS, *SCOPES)):
        yield "lets data leave to any account: add the conditions aws:PrincipalAccount and aws:ResourceAccount"


def keys_say_who(resources: Sequence[Declared]) -> Iterator[tuple[Declared | None, Finding]]:
    """Every key has a policy of ours: AWS's own one leaves it to whoever writes IAM policies."""
    for key in without_companion(resources, KEY, KEY_POLICY, "keyId", by=("arn", "id", "keyId")):
        if not given(key.inputs.get("policy")):
            yield key, f"key {key.name} has no policy: set policy, or add a KeyPolicy"


def _names_key_actions(statement: Statement) -> Iterator[str]:
    """A key's own account keeps kms:* on it, so that its IAM policies can say who has what."""
    others = [who for how, who in statement.principals if how != "AWS" or not WHOLE_ACCOUNT.fullmatch(who)]
    if others or not statement.principals:
        yield from whole_services(statement)


def grants_are_least(resource_type: str, inputs: Props) -> Iterator[Finding]:
    """A grant lets its grantee use the key, no more, and somebody can retire it."""
    operations = inputs.get("operations")
    if operations == UNKNOWN:
        yield Unknown("operations")
    else:
        extra = [each for each in operations or () if each not in GRANTED]
        constrained = inputs.get("constraints")
        if "CreateGrant" in extra and constrained:
            extra.remove("CreateGrant")
        elif "CreateGrant" in extra:
            yield "operations has CreateGrant for whatever the key encrypts: set constraints.encryptionContextEquals"
            extra.remove("CreateGrant")
        if extra:
            yield f"operations has {', '.join(extra)}: grant {', '.join(sorted(GRANTED))} only"
    if not given(inputs.get("retiringPrincipal")):
        yield "retiringPrincipal is not set, so that only the key's administrators can end it: set who may"


def functions_are_not_public(resource_type: str, inputs: Props) -> Iterator[Finding]:
    """Who may invoke a function, or use a layer, is named."""
    principal = inputs.get("principal")
    limits_it = ("principalOrgId", "sourceAccount") if resource_type == PERMISSION else ("organizationId",)
    if principal == UNKNOWN:
        yield Unknown("principal")
    elif everyone(str(principal)) and not any(given(inputs.get(key)) for key in limits_it):
        yield f"principal is {principal}: name who may use it, or set {limits_it[0]}"
    if inputs.get("functionUrlAuthType") == "NONE":
        yield "functionUrlAuthType is NONE, so everyone may invoke the function: set 'AWS_IAM'"


def functions_know_for_whom(resource_type: str, inputs: Props) -> Iterator[Finding]:
    """A service invokes a function for our own resources only.

    A bucket's ARN does not say whose it is: whoever takes its name after us could invoke the function.
    """
    principal = inputs.get("principal")
    if principal == UNKNOWN:
        yield Unknown("principal")
        return
    keys: tuple[str, ...] = ("sourceArn", "sourceAccount", "principalOrgId")
    if str(principal) == "s3.amazonaws.com":
        keys = ("sourceAccount", "principalOrgId")
    elif str(principal).endswith(".amazon.com"):  # Alexa
        keys = ("eventSourceToken",)
    elif not str(principal).endswith((".amazonaws.com", ".amazonaws.com.cn")):
        return
    if not any(given(inputs.get(key)) for key in keys):
        yield f"lets {principal} invoke the function on anyone's behalf: set {' or '.join(keys[:2])}"


def urls_ask_who(resource_type: str, inputs: Props) -> Iterator[Finding]:
    """A function's URL answers signed requests only, and no page of whatever site."""
    auth, cors = inputs.get("authorizationType"), inputs.get("cors") or {}
    if auth == UNKNOWN:
        yield Unknown("authorizationType")
    elif auth != "AWS_IAM":
        yield f"authorizationType is {auth}, so everyone may invoke the function: set 'AWS_IAM'"
    origins = UNKNOWN if cors == UNKNOWN else cors.get("allowOrigins") or ()
    if origins == UNKNOWN:
        yield Unknown("cors.allowOrigins")
    elif "*" in origins:
        yield "cors.allowOrigins is *: name the sites whose pages may ask"


PERMISSIONS = frozenset({PERMISSION, LAYER_PERMISSION})
NAME_WHO = "Name the roles or services in Principal, or add a condition such as aws:PrincipalOrgID with StringEquals."

CONTROLS: list[Control] = [
    Control(
        "iam-trust-no-wildcard",
        "A role names who may take it.",
        Severity.CRITICAL,
        ("CKV_AWS_60", "prowler iam_no_custom_policy_permissive_role_assumption"),
        NAME_WHO,
        **of_statements(TRUST_DOCUMENTS, _lets_everyone_in(*CALLERS, "sts:ExternalId")),
        always=True,
    ),
    Control(
        "iam-trust-no-full-action",
        "A role's trust names the ways in which it may be taken.",
        Severity.HIGH,
        ("cfn-guard IAM_ROLE_NO_FULL_ACCESS_ON_TRUST_POLICY",),
        "Set Action to sts:AssumeRole, or to that of web identities.",
        **of_statements(TRUST_DOCUMENTS, whole_services),
    ),
    Control(
        "iam-trust-no-account-root",
        "A role trusts no whole account: everyone in it would have the role.",
        Severity.MEDIUM,
        ("CKV_AWS_61",),
        "Name the role that may take it, or add aws:PrincipalArn or sts:ExternalId as a condition.",
        **of_statements(TRUST_DOCUMENTS, _trusts_an_account),
    ),
    Control(
        "iam-trust-confused-deputy",
        "A service takes a role for our own resources only, not for whoever in the world asks it to.",
        Severity.HIGH,
        ("prowler iam_role_cross_service_confused_deputy_prevention",),
        "Use components/iam.py's trust, which adds the condition aws:SourceAccount.",
        **of_statements(TRUST_DOCUMENTS, _acts_for_anyone),
    ),
    Control(
        "iam-irsa-scoped",
        "A role for pods, by a cluster's identity provider, names one service account and takes STS's tokens only.",
        Severity.CRITICAL,
        (),
        "Use EKS Pod Identity (components/iam.py's trust_pods), or pin the provider's :sub and :aud with StringEquals.",
        **of_statements(TRUST_DOCUMENTS, _pins_no_service_account),
    ),
    Control(
        "iam-github-oidc",
        "A role for GitHub's workflows names the repository.",
        Severity.HIGH,
        ("CKV_AWS_393",),
        "Add a condition on token.actions.githubusercontent.com:sub, with repo:<organization>/<repository>:*.",
        **of_statements(TRUST_DOCUMENTS, _pins_no_repository),
    ),
    Control(
        "iam-federated-pinned",
        "A role for any other identity provider's users names the user, or the application that they log in to.",
        Severity.CRITICAL,
        (),
        "Add a StringEquals condition on the provider's :sub, or :aud for SAML and Cognito.",
        **of_statements(TRUST_DOCUMENTS, _pins_no_login),
    ),
    Control(
        "rp-no-public",
        "No resource's policy lets everyone in.",
        Severity.CRITICAL,
        ("FSBP S3.2", "FSBP S3.3", "FSBP SNS.4", "FSBP EventBridge.3", "CIS 7.0 2.21", "CKV_AWS_70", "CKV_AWS_169",
         "CKV_AWS_168", "CKV_AWS_387", "CKV_AWS_32", "cdk-nag AwsSolutions-ECR1",
         "cfn-guard S3_BUCKET_POLICY_NO_WILDCARD_PRINCIPAL", "cfn-guard SQS_QUEUEPOLICY_NO_WILDCARD_PRINCIPAL",
         "cfn-guard SNS_TOPICPOLICY_NO_WILDCARD_PRINCIPAL", "prowler eventbridge_bus_exposed"),
        NAME_WHO,
        **of_statements(RESOURCE_DOCUMENTS, _lets_everyone_in(*CALLERS)),
        always=True,
    ),
    Control(
        "rp-no-star-action",
        "No resource's policy allows all of a service.",
        Severity.HIGH,
        ("CKV_AWS_72", "cfn-guard SQS_QUEUEPOLICY_NO_WILDCARD_ACTION", "cfn-guard S3_BUCKET_POLICY_NO_WILDCARD_ACTION"),
        "Name the actions.",
        **of_statements(RESOURCE_DOCUMENTS, whole_services),
    ),
    Control(
        "rp-confused-deputy",
        "A service uses a resource for our own resources only, not for whoever in the world asks it to.",
        Severity.HIGH,
        (),
        "Use components/iam.py's allow_service, which adds the condition aws:SourceAccount.",
        **of_statements({**RESOURCE_DOCUMENTS, **KEY_DOCUMENTS}, _acts_for_anyone),
    ),
    Control(
        "rp-kms-no-wildcard",
        "No key's policy lets everyone in.",
        Severity.CRITICAL,
        ("FSBP KMS.5", "CKV_AWS_33", "cfn-guard KMS_NO_WILDCARD_PRINCIPAL"),
        "Name the account or the roles, or add the condition kms:CallerAccount.",
        **of_statements(KEY_DOCUMENTS, _lets_everyone_in(*CALLERS)),
        always=True,
    ),
    Control(
        "rp-kms-no-star-action",
        "No key's policy allows all of KMS, but to the account whose own policies then say who has what.",
        Severity.HIGH,
        (),
        "Name the actions.",
        **of_statements(KEY_DOCUMENTS, _names_key_actions),
    ),
    Control(
        "rp-kms-policy-defined",
        "Every key has a policy of ours.",
        Severity.MEDIUM,
        ("CKV2_AWS_64",),
        "Set the key's policy.",
        stack_rule=keys_say_who,
    ),
    Control(
        "rp-model-package-group",
        "Other accounts that we name may look at a model's versions and serve them; they decide on none.",
        Severity.HIGH,
        (),
        "Name the accounts in registry.consumers and in policies/limits.yaml.",
        **of_statements(
            {MODEL_PACKAGE_GROUP_POLICY: RESOURCE_DOCUMENTS[MODEL_PACKAGE_GROUP_POLICY]}, _is_shared_too_widely
        ),
    ),
    Control(
        "rp-vpce-policy",
        "A VPC endpoint serves our own callers or our own resources, so that data cannot leave through it.",
        Severity.HIGH,
        (),
        "Set policy, with the conditions aws:PrincipalAccount and aws:ResourceAccount.",
        rule=endpoints_stay_in_the_account,
        types=frozenset(NETWORK_DOCUMENTS),
    ),
    Control(
        "sns-no-cross-account",
        "A topic's policy names identities of its own account, or of one that policies/limits.yaml names.",
        Severity.MEDIUM,
        ("CKV_AWS_385",),
        "Name roles of this account, or the other account in policies/limits.yaml.",
        rule=topics_stay_in_the_account,
        types=frozenset({TOPIC_POLICY, "aws:sns/topic:Topic"}),
    ),
    Control(
        "kms-grant-least",
        "A grant lets its grantee use the key, no more, and somebody can retire it.",
        Severity.MEDIUM,
        (),
        "Grant Decrypt and GenerateDataKey, and set retiringPrincipal.",
        rule=grants_are_least,
        types=frozenset({GRANT}),
    ),
    Control(
        "lambda-perm-not-public",
        "Who may invoke a function, or use a layer, is named.",
        Severity.CRITICAL,
        ("FSBP Lambda.1", "CKV_AWS_301", "cfn-guard LAMBDA_FUNCTION_PUBLIC_ACCESS_PROHIBITED"),
        "Set principal to a role or a service.",
        rule=functions_are_not_public,
        types=PERMISSIONS,
        always=True,
    ),
    Control(
        "lambda-perm-source",
        "A service invokes a function for our own resources only, not for whoever in the world asks it to.",
        Severity.MEDIUM,
        ("CKV_AWS_364", "compliance-policies lambda.Permission.configureSourceArn"),
        "Set sourceArn, or sourceAccount for S3.",
        rule=functions_know_for_whom,
        types=frozenset({PERMISSION}),
    ),
    Control(
        "lambda-url-auth",
        "A function's URL answers signed requests only.",
        Severity.CRITICAL,
        ("CKV_AWS_258", "CKV2_AWS_75"),
        "Set authorizationType to AWS_IAM, and name the sites in cors.allowOrigins.",
        rule=urls_ask_who,
        types=frozenset({FUNCTION_URL}),
    ),
]  # fmt: skip
