"""Which actions need a Condition even where their resources are named, because the name says too little.

A bucket is shared by prefixes, a key is used through services, a job is put where whoever starts it says. The keys are
those that AWS documents for each action (Service Authorization Reference).
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pulumi_policy import Severity

from policies.access.tables import IDENTITY_DOCUMENTS, TRUST_DOCUMENTS
from policies.documents import DocumentError, Statement, judged, matcher, of_statements, parse
from policies.resource_types import ROLE, ROLE_POLICY
from policies.rules import UNKNOWN, Control, Declared, Finding, Props, Unknown, of_type, refers

TAGS = (
    "aws:RequestTag/kubernetes.io/cluster/*",
    "aws:ResourceTag/kubernetes.io/cluster/*",
    "ec2:ResourceTag/kubernetes.io/cluster/*",
)
MADE_IN_EC2 = r":(?:fleet|instance|launch-template|network-interface|spot-instances-request|volume)/\*$"
JOBS = ("sagemaker:CreateProcessingJob", "sagemaker:CreateTrainingJob")


@dataclass(frozen=True)
class Demand:
    """A statement that allows any of `actions` must hold only for fixed values of one of `keys`."""

    actions: tuple[str, ...]
    keys: tuple[str, ...]
    why: str
    on: str = ""
    """Only where a resource is like this regular expression."""
    always_there: bool = False
    """Whether AWS gives the key with every such request, so that `ForAllValues:` is no way round it."""


DEMANDS = (
    Demand(("s3:ListBucket",), ("s3:prefix",), "or it reads the names of everything in the bucket"),
    Demand(("kms:CreateGrant",), ("kms:GrantIsForAWSResource",), "or it can give the key to anyone"),
    Demand(("iam:PassRole",), ("iam:PassedToService",), "or any service may act as that role"),
    Demand(("cloudwatch:PutMetricData",), ("cloudwatch:namespace",), "or it can write over the metrics of alarms"),
    Demand((*JOBS, "sagemaker:CreateTransformJob"), ("sagemaker:OutputKmsKeyArn",), "or results are not encrypted"),
    Demand(
        (*JOBS, "sagemaker:CreateTransformJob"),
        ("sagemaker:InstanceTypes",),
        "or it may start what costs a hundred times as much",
        always_there=True,
    ),
    Demand(JOBS, ("sagemaker:NetworkIsolation",), "or the job's code reaches the network"),
    Demand(JOBS, ("sagemaker:VpcSubnets",), "or the job runs outside of the network"),
    Demand(JOBS, ("sagemaker:VpcSecurityGroupIds",), "or the job's security group lets everything out"),
    Demand(
        ("sagemaker:CreateModelPackage", "sagemaker:UpdateModelPackage"),
        ("sagemaker:ModelApprovalStatus",),
        "or who trains a version approves it, too",
    ),
    Demand(
        ("sagemaker:AddTags",),
        ("sagemaker:TaggingAction",),
        "or it may take over what others started by tagging it",
        on=r":(?:training|processing|transform)-job/",
    ),
    Demand(
        ("ec2:CreateNetworkInterface",), ("ec2:Vpc", "ec2:Subnet"), "or it joins any network", on=r":network-interface/"
    ),
    Demand(
        ("application-autoscaling:Register*", "application-autoscaling:Put*"),
        ("application-autoscaling:service-namespace",),
        "or it scales what is none of its own",
    ),
    Demand(
        ("ec2:CreateFleet", "ec2:CreateLaunchTemplate", "ec2:RunInstances", "ec2:CreateTags"),
        TAGS,
        "or it may take over machines that are none of its cluster's",
        on=MADE_IN_EC2,
    ),
    Demand(
        ("ec2:TerminateInstances", "ec2:DeleteLaunchTemplate"),
        TAGS,
        "or it may stop machines that are none of its cluster's",
        on=MADE_IN_EC2,
    ),
)

USES_KEYS = ("kms:Decrypt", "kms:GenerateDataKey", "kms:ReEncryptFrom")
CODE = ("lambda.amazonaws.com", "pods.eks.amazonaws.com")
"""Who runs code of ours with a role."""


def needs_conditions(resource_type: str, inputs: Props) -> Iterator[Finding]:
    """Each statement that allows an action of `DEMANDS` has its Condition."""

    def judge(statements: Sequence[Statement]) -> Iterator[str]:
        for each in statements:
            if each.allows:
                yield from (f"{each.label}: {sentence}" for sentence in _conditioned(each, statements))

    yield from judged(IDENTITY_DOCUMENTS, resource_type, inputs, judge)


def _is_lambdas_alone(action: str, statements: Sequence[Statement]) -> bool:
    """Whether a function's own code is denied what Lambda itself does with its role."""
    return any(
        not each.allows
        and each.may(action)
        and any("lambda:SourceFunctionArn" in keys for keys in each.conditions.values())
        for each in statements
    )


def _conditioned(statement: Statement, beside: Sequence[Statement]) -> Iterator[str]:
    for demand in DEMANDS:
        named = [each for each in statement.actions if any(map(matcher(each).fullmatch, demand.actions))]
        named += [each for each in statement.actions if any(matcher(one).fullmatch(each) for one in demand.actions)]
        if not named or not any(re.search(demand.on, each) or each == "*" for each in statement.resources):
            continue
        if _is_lambdas_alone(named[0], beside):
            continue
        if not (statement.requires(demand.keys) or _otherwise(statement, demand)):
            yield f"allows {named[0]} without a Condition on {' or '.join(demand.keys)}: set one, {demand.why}"


def _otherwise(statement: Statement, demand: Demand) -> bool:
    """Whether the key may not be given at all, or always is and has fixed values."""
    for operator, tests in statement.conditions.items():
        for key, values in tests.items():
            if key in demand.keys and values:
                if operator == "Null" and values == ("true",):
                    return True
                if demand.always_there and operator == "ForAllValues:StringEquals":
                    return True
    return False


def _counts(statement: Statement) -> Iterator[str]:
    """A Condition that also holds where its key is missing, or for every value, restricts nobody."""
    for operator, tests in statement.conditions.items():
        quantifier, _, name = operator.rpartition(":")
        if not re.match(r"(?:String|Arn)(?:Equals|Like)", name):
            continue
        for key, values in tests.items():
            # Any value of a tag at all is asked for by `*`: the tag has to be there.
            a_tag = operator == "StringLike" and "Tag/" in key and values == ("*",)
            always = key == "sagemaker:InstanceTypes" and quantifier == "ForAllValues" and "*" not in values
            if not (a_tag or always or statement.requires((key,))):
                yield f"its Condition {operator} on {key} holds for everyone: set StringEquals and what it has to be"


OURS = tuple(f"aws:ResourceTag/{each}" for each in ("owner", "product", "environment"))
PROTECTED = "aws:ResourceTag/slipway:protected"
READS = re.compile(r"[a-z0-9-]+:(?:Describe|Get|List)\w*", re.IGNORECASE)


def _names_whose(statement: Statement) -> Iterator[str]:
    """Who tells things by tags tells them by all that name one product, and leaves alone what is protected."""
    said = {key for tests in statement.conditions.values() for key in tests}
    if not said & {*OURS, PROTECTED}:
        return
    for key in OURS:
        if not statement.requires((key,)):
            yield f"tells things by tags, and not by {key}: it reaches those of others"
    if PROTECTED not in statement.conditions.get("Null", {}) and not all(map(READS.fullmatch, statement.actions)):
        yield f"changes things by tags, also protected ones: add a Null Condition on {PROTECTED}"


PODS = tuple(
    f"aws:RequestTag/{each}" for each in ("eks-cluster-name", "kubernetes-namespace", "kubernetes-service-account")
)


def _names_the_pods(statement: Statement) -> Iterator[str]:
    said = {key for tests in statement.conditions.values() for key in tests}
    for key in PODS if said & set(PODS) else ():
        if not statement.requires((key,)):
            yield f"is for some pods, and {key} may be any: set it, or pods of others take the role"


def code_uses_keys_through_services(resources: Sequence[Declared]) -> Iterator[tuple[Declared | None, Finding]]:
    """The code of a function or a pod decrypts through the service that stores, and nothing else."""
    roles = {each.urn: each for each in of_type(resources, ROLE) if _runs_code(each.inputs.get("assumeRolePolicy"))}
    for policy in of_type(resources, ROLE_POLICY):
        if not any(refers(policy, "role", role, by=("name", "id")) for role in roles.values()):
            continue
        text = policy.inputs.get("policy")
        if text == UNKNOWN:
            yield policy, Unknown("policy")
            continue
        try:
            statements = parse(text)
        except DocumentError:
            continue
        for each in statements:
            keys = ("kms:ViaService", "kms:EncryptionContext:*")
            if each.allows and any(map(each.may, USES_KEYS)) and not each.requires(keys):
                yield (
                    policy,
                    f"policy, {each.label}: lets code of a function or a pod use a key for anything: "
                    "set a Condition on kms:ViaService or kms:EncryptionContext:…",
                )


def _runs_code(trust: object) -> bool:
    return isinstance(trust, str) and any(each in trust for each in CODE)


CONTROLS = [
    Control(
        "iam-conditions",
        "Where a resource's name says too little of what is allowed, a Condition says the rest.",
        Severity.HIGH,
        (),
        "Add the Condition that the sentence names: `when=` of `components.iam.allow`.",
        rule=needs_conditions,
        types=frozenset(IDENTITY_DOCUMENTS),
    ),
    Control(
        "iam-conditions-count",
        "A Condition restricts somebody.",
        Severity.HIGH,
        (),
        "Write it without IfExists, ForAllValues and `*`, or demand the key by a Null Condition.",
        **of_statements({**IDENTITY_DOCUMENTS, **TRUST_DOCUMENTS}, _counts),
    ),
    Control(
        "iam-tags-whole",
        "Who may change things by their tags is kept to one product of one team, and from what is protected.",
        Severity.HIGH,
        (),
        "Name the tags owner, product and environment in StringEquals, and slipway:protected in Null.",
        **of_statements(IDENTITY_DOCUMENTS, _names_whose),
    ),
    Control(
        "iam-trust-pods",
        "A role for some pods names their cluster, their namespace and their service account.",
        Severity.HIGH,
        (),
        "Set all three tags of EKS Pod Identity in the Condition of the trust.",
        **of_statements(TRUST_DOCUMENTS, _names_the_pods),
    ),
    Control(
        "kms-code-via-service",
        "Code of functions and pods uses keys only through the services that store what they encrypt.",
        Severity.MEDIUM,
        (),
        'Name the services that store: `components.iam.use_key(key, "s3")`.',
        stack_rule=code_uses_keys_through_services,
    ),
]
