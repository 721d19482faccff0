"""What keeps a stack's own guards in place: who may sign, what a shared bucket refuses, what pods reach."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import pulumi
from pulumi_policy import Severity

from policies.access.images import is_ours, registry_sentence
from policies.access.tables import IDENTITY_DOCUMENTS, KEY_DOCUMENTS, KEY_POLICY, TRUST_DOCUMENTS
from policies.documents import DocumentError, Statement, of_statements, parse
from policies.limits import limits
from policies.resource_types import (
    BUCKET,
    BUCKET_ENCRYPTION,
    BUCKET_POLICY,
    KEY,
    NETWORK_POLICY,
    NODE_CLASS,
    SERVICE_ACCOUNT,
)
from policies.rules import (
    UNKNOWN,
    Control,
    Declared,
    Finding,
    Props,
    Setting,
    Unknown,
    given,
    of_table,
    of_type,
    refers,
    without_companion,
)
from policies.sagemaker import at, read

RELEASE: Final = "kubernetes:helm.sh/v3:Release"
LOCK: Final = "aws:s3/bucketObjectLockConfiguration:BucketObjectLockConfiguration"
BUCKET_NAMES: Final = ("bucket", "id")
KEY_NAMES: Final = ("keyId", "arn", "id")

SERVED: Final[Mapping[str, tuple[str, str, tuple[str, ...]]]] = {
    # What a service's own policy belongs to, and by which property.
    "aws:sqs/queue:Queue": ("aws:sqs/queuePolicy:QueuePolicy", "queueUrl", ("url", "id")),
    "aws:sns/topic:Topic": ("aws:sns/topicPolicy:TopicPolicy", "arn", ("arn", "id")),
}
WHO_SIGNED: Final = ("aws:PrincipalArn",)
ANY_NAME = re.compile(r"\*|arn:[^:]*:(?:kms:[^:]*:[^:]*:(?:key|alias)/?\*|(?!ec2:|s3:|iam:)[^:]+:[^:]*:\*:.*)")
"""Every key, or what is in every account. Machines in EC2 are told by tags, and S3's names have no account."""
EXPOSES: Final = ("services.loadbalancers", "services.nodeports")
QUOTAS: Final = ("requests.memory", "limits.memory", "pods", "count/jobs.batch", *EXPOSES)
WORLD: Final = ("0.0.0.0/0", "::/0")
FORGETS: Final = ("s3:DeleteObjectVersion", "s3:PutLifecycleConfiguration")
UNLOCKS: Final = ("s3:BypassGovernanceRetention", "s3:PutObjectRetention")


def _names_ours(statement: Statement) -> Iterator[str]:
    for resource in statement.resources:
        uses_keys = any(each.lower().startswith("kms:") for each in statement.actions)
        if ANY_NAME.fullmatch(resource) and (resource != "*" or uses_keys):
            yield f"is about {resource}, which others have, too: name the account, and which one"


def _accounts() -> set[str]:
    return {*(pulumi.Config("aws").get_object("allowedAccountIds") or ()), *limits().trusted_accounts}


def _knows_its_accounts(statement: Statement) -> Iterator[str]:
    known = _accounts()
    for how, who in statement.principals:
        found = re.search(r"(?:^|::)(\d{12})(?::|$)", who) if how == "AWS" else None
        if known and found and found[1] not in known:
            yield f"lets account {found[1]} in: name it in policies/limits.yaml, trusted_accounts, if it is ours"


def keys_that_sign(resources: Sequence[Declared]) -> Iterator[tuple[Declared | None, Finding]]:
    """A key that signs says which role signs, and refuses it to all others, whatever their policies say."""
    for key in of_type(resources, KEY):
        if key.inputs.get("keyUsage") != "SIGN_VERIFY":
            continue
        texts = [key.inputs.get("policy")]
        texts += [each.inputs.get("policy") for each in _policies_of(resources, KEY_POLICY, "keyId", key, KEY_NAMES)]
        for text in filter(given, texts):
            try:
                statements = parse(text)
            except DocumentError:
                continue
            for each in statements:
                if each.allows and each.may("kms:Sign") and not each.requires(WHO_SIGNED):
                    yield key, f"{each.label}: lets more than one role sign: add a Condition on aws:PrincipalArn"
                elif each.allows and each.may("kms:Sign") and each.actions != ("kms:Sign",):
                    yield key, f"{each.label}: lets who signs do more with the key: allow kms:Sign alone"
            if not any(_refuses(each, "kms:Sign") for each in statements):
                yield key, "nothing refuses kms:Sign to all but one role: add a Deny with ArnNotEquals aws:PrincipalArn"


def _policies_of(
    resources: Sequence[Declared], companion: str, name: str, of: Declared, by: Sequence[str]
) -> list[Declared]:
    return [each for each in of_type(resources, companion) if refers(each, name, of, by=by)]


def _refuses(statement: Statement, action: str) -> bool:
    """Whether it denies an action to everyone."""
    return not statement.allows and ("AWS", "*") in statement.principals and statement.may(action)


def buckets_keep_their_promises(resources: Sequence[Declared]) -> Iterator[tuple[Declared | None, Finding]]:
    """A bucket encrypted by a key refuses every other key; one whose versions are locked refuses to unlock them."""
    for bucket in of_type(resources, BUCKET):
        denied = list(_denied(resources, bucket))
        if any(_by_a_key(each) for each in _policies_of(resources, BUCKET_ENCRYPTION, "bucket", bucket, BUCKET_NAMES)):
            keys = "s3:x-amz-server-side-encryption-aws-kms-key-id"
            if not any(_refuses(each, "s3:PutObject") and _tests(each, "StringNotEquals", keys) for each in denied):
                yield bucket, "objects can be stored with another key: deny s3:PutObject where the key is not ours"
            other = "s3:x-amz-server-side-encryption"
            if not any(_refuses(each, "s3:PutObject") and _tests(each, "StringEquals", other) for each in denied):
                yield bucket, "objects can be stored without the key: deny s3:PutObject with AES256"
        if locks := _policies_of(resources, LOCK, "bucket", bucket, BUCKET_NAMES):
            # In governance mode somebody may unlock: that is what it is for.
            compliance = any(at(each.inputs, "rule.defaultRetention.mode") == "COMPLIANCE" for each in locks)
            for action in (*FORGETS, *(UNLOCKS if compliance else ())):
                if not any(_refuses(each, action) and not each.conditions for each in denied):
                    yield bucket, f"what is locked can be lost: deny {action} to everyone"
            once = "s3:if-none-match"
            if not any(_refuses(each, "s3:PutObject") and _tests(each, "Null", once) for each in denied):
                yield bucket, "an object can be written over: deny s3:PutObject without If-None-Match"
        elif bucket.inputs.get("objectLockEnabled") is True:
            yield bucket, "objects can be locked, and none is: add a BucketObjectLockConfiguration"


def _denied(resources: Sequence[Declared], bucket: Declared) -> Iterator[Statement]:
    for policy in _policies_of(resources, BUCKET_POLICY, "bucket", bucket, BUCKET_NAMES):
        try:
            yield from (each for each in parse(policy.inputs.get("policy")) if not each.allows)
        except DocumentError:
            continue


def _by_a_key(configuration: Declared) -> bool:
    rules = configuration.inputs.get("rules")
    first = rules[0] if isinstance(rules, list) and rules else {}
    return given(at(first, "applyServerSideEncryptionByDefault.kmsMasterKeyId"))


def _tests(statement: Statement, operator: str, key: str) -> bool:
    return key in statement.conditions.get(operator, {})


def policies_are_there(resources: Sequence[Declared]) -> Iterator[tuple[Declared | None, Finding]]:
    """Every queue and every topic has a policy of its own: without one nothing refuses a call without TLS."""
    for kind, (companion, name, by) in SERVED.items():
        for each in without_companion(resources, kind, companion, name, by=by):
            if not given(each.inputs.get("policy")):
                yield each, f"{each.name} has no policy of its own: add one that refuses calls without TLS"


def _opens_nothing(resource_type: str, inputs: Props) -> Iterator[Finding]:
    spec: Any = inputs.get("spec") or {}
    for direction, peers in (("ingress", "from"), ("egress", "to")):
        for index, rule in enumerate(spec.get(direction) or ()):
            where = f"spec.{direction}.{index}"
            if rule == UNKNOWN:
                yield Unknown(where)
                continue
            if not rule.get(peers) and not rule.get("ports"):
                yield f"{where} is about everyone and every port: name pods, namespaces or addresses in `{peers}`"
            blocks = [at(each, "ipBlock.cidr") for each in rule.get(peers) or ()]
            ports = [each.get("port") for each in rule.get("ports") or ()]
            if any(each in WORLD for each in blocks) and (direction == "ingress" or ports != [443]):
                shown = ", ".join(f"{each:g}" if isinstance(each, float) else str(each) for each in ports)
                yield f"{where} is open to the world on port {shown or '*'}: only HTTPS may leave, to port 443"
            if any(given(each) for each in blocks) and not ports:
                yield f"{where} opens every port: name them"


def _has_no_token(resource_type: str, inputs: Props) -> Iterator[Finding]:
    if inputs.get("automountServiceAccountToken") is not False:
        yield "every pod gets a token of this account: set automountServiceAccountToken to False"


def _releases_our_images(resource_type: str, inputs: Props) -> Iterator[Finding]:
    def inside(value: Any, where: str) -> Iterator[Finding]:
        for key, each in value.items() if isinstance(value, Mapping) else ():
            path = f"{where}.{key}"
            if key == "image" and isinstance(each, Mapping):
                repository = each.get("repository")
                if repository == UNKNOWN:
                    yield Unknown(f"{path}.repository")
                elif given(repository) and not is_ours(str(repository)):
                    yield registry_sentence(f"{path}.repository", str(repository))
            yield from inside(each, path)

    yield from inside(inputs.get("values"), "values")


def _starts_one_image(resource_type: str, inputs: Props) -> Iterator[Finding]:
    for index, term in enumerate((inputs.get("spec") or {}).get("amiSelectorTerms") or ()):
        if str(term.get("alias", "")).endswith("@latest"):
            yield f"spec.amiSelectorTerms.{index}.alias is {term['alias']}: name a version, or nodes change unasked"


def _everyone_is_told(resource_type: str, inputs: Props) -> Iterator[Finding]:
    for index, each in enumerate(inputs.get("notifications") or ()):
        if not (each.get("subscriberSnsTopicArns") or each.get("subscriberEmailAddresses")):
            yield f"notifications.{index} tells nobody: set subscriberSnsTopicArns"


def _has_owner(resource_type: str, inputs: Props) -> Iterator[Finding]:
    tags: Any = (inputs.get("spec") or {}).get("tags") or {}
    for tag in ("owner", "cost-center"):
        if tags != UNKNOWN and not given(tags.get(tag)):
            yield f"spec.tags.{tag} is not set: nobody is asked to pay for these nodes"


def _forgets_images(resource_type: str, inputs: Props) -> Iterator[Finding]:
    document = read(inputs.get("policy"))
    if inputs.get("policy") == UNKNOWN:
        yield Unknown("policy")
    elif not (document and document.get("rules")):
        yield "policy has no rules, so every image is kept and paid for: say which ones expire"


def _is_a_whole_quota(resource_type: str, inputs: Props) -> Iterator[Finding]:
    spec: Any = inputs.get("spec") or {}
    hard: Any = spec.get("hard") or {}
    if hard == UNKNOWN:
        yield Unknown("spec.hard")
        return
    if spec.get("scopeSelector"):
        if not given(hard.get("pods")):
            yield "spec.hard.pods is not set: say how many pods of this priority there may be"
        return
    for key in QUOTAS if "requests.cpu" in hard else ():
        if not given(hard.get(key)):
            yield f"spec.hard.{key} is not set: one team may take what is there for all"
    for key in EXPOSES:
        if str(hard.get(key, "0")) != "0":
            yield f"spec.hard.{key} is {hard[key]}: set 0, APIs are served by API Gateway"


def _limits_a_container(resource_type: str, inputs: Props) -> Iterator[Finding]:
    for index, each in enumerate((inputs.get("spec") or {}).get("limits") or ()):
        for path in ("max.cpu", "max.memory", "default.memory"):
            if each.get("type") == "Container" and not given(at(each, path)):
                yield f"spec.limits.{index}.{path} is not set: one container may take all of its team's share"


DISKS = {NODE_CLASS: (Setting("spec.blockDeviceMappings.*.ebs.volumeType", ("gp3",), "others cost more"),)}

CONTROLS = [
    Control(
        "iam-resources-of-ours",
        "A policy names things of a known account, and keys one by one.",
        Severity.HIGH,
        (),
        "Write the account and the name into the ARN: `components.iam.arn`.",
        **of_statements(IDENTITY_DOCUMENTS, _names_ours),
    ),
    Control(
        "rp-known-accounts",
        "Keys and roles let in accounts that policies/limits.yaml names, and our own.",
        Severity.CRITICAL,
        (),
        "Name the account in trusted_accounts of policies/limits.yaml if it is ours.",
        **of_statements({**KEY_DOCUMENTS, **TRUST_DOCUMENTS}, _knows_its_accounts),
    ),
    Control(
        "kms-one-signer",
        "One role signs with a key, and nobody else can be let.",
        Severity.HIGH,
        (),
        "Keep the statements OneRoleSigns and NobodyElseSigns in the key's policy.",
        stack_rule=keys_that_sign,
    ),
    Control(
        "s3-guards",
        "A bucket refuses other keys, and one with locked versions refuses to unlock, to forget and to overwrite.",
        Severity.HIGH,
        (),
        "Keep the Deny statements of the bucket's component.",
        stack_rule=buckets_keep_their_promises,
    ),
    Control(
        "rp-policy-exists",
        "Queues and topics have a policy of their own.",
        Severity.MEDIUM,
        (),
        "Add a QueuePolicy or a TopicPolicy that denies calls without TLS.",
        stack_rule=policies_are_there,
    ),
    Control(
        "k8s-netpol-narrow",
        "A network policy opens named ports to named peers.",
        Severity.HIGH,
        (),
        "Name the peers and the ports; only HTTPS may leave to anywhere.",
        rule=_opens_nothing,
        types=frozenset({NETWORK_POLICY}),
    ),
    Control(
        "k8s-account-no-token",
        "No service account hands its token to every pod.",
        Severity.MEDIUM,
        ("CIS-K8s 5.1.6",),
        "Set automountServiceAccountToken to False on the ServiceAccount.",
        rule=_has_no_token,
        types=frozenset({SERVICE_ACCOUNT}),
    ),
    Control(
        "k8s-chart-images",
        "What a chart runs comes from our own registry, or from one that policies/limits.yaml names.",
        Severity.HIGH,
        (),
        "Copy the image with components.Images, and set `image.repository` in the chart's values.",
        rule=_releases_our_images,
        types=frozenset({RELEASE}),
    ),
    Control(
        "karpenter-image-pinned",
        "Karpenter's nodes start from a named version of their image.",
        Severity.MEDIUM,
        (),
        "Name a version in amiSelectorTerms: `al2023@v20260714`.",
        rule=_starts_one_image,
        types=frozenset({NODE_CLASS}),
    ),
    Control(
        "karpenter-gp3",
        "Karpenter's nodes have disks of the type gp3.",
        Severity.LOW,
        (),
        "Set blockDeviceMappings.ebs.volumeType to gp3.",
        **of_table(DISKS),
    ),
    Control(
        "karpenter-tags",
        "Karpenter's nodes carry the tags of who pays for them.",
        Severity.MEDIUM,
        (),
        "Set owner and cost-center in the tags of the EC2NodeClass.",
        rule=_has_owner,
        types=frozenset({NODE_CLASS}),
    ),
    Control(
        "budget-tells",
        "Every warning of a budget reaches somebody.",
        Severity.HIGH,
        (),
        "Set subscriberSnsTopicArns of each notification.",
        rule=_everyone_is_told,
        types=frozenset({"aws:budgets/budget:Budget"}),
    ),
    Control(
        "k8s-quota-whole",
        "A team's quota has all its parts, and opens nothing to the outside.",
        Severity.MEDIUM,
        (),
        "Set memory, pods and jobs in spec.hard, and load balancers and node ports to 0.",
        rule=_is_a_whole_quota,
        types=frozenset({"kubernetes:core/v1:ResourceQuota"}),
    ),
    Control(
        "k8s-limits-whole",
        "A LimitRange says what one container gets where it says nothing, and at most.",
        Severity.MEDIUM,
        (),
        "Set max.cpu, max.memory and default.memory for the type Container.",
        rule=_limits_a_container,
        types=frozenset({"kubernetes:core/v1:LimitRange"}),
    ),
    Control(
        "cost-ecr-rules",
        "A repository's lifecycle policy makes something expire.",
        Severity.LOW,
        (),
        "Give policy at least one rule.",
        rule=_forgets_images,
        types=frozenset({"aws:ecr/lifecyclePolicy:LifecyclePolicy"}),
    ),
]
