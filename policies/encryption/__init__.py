"""Everything stored is encrypted with a key of ours, and nothing travels in the clear."""

import base64
import binascii
import re
from collections.abc import Iterator, Sequence
from typing import Any

from pulumi_policy import Policy, Severity

from policies.documents import DocumentError, Statement, documents, parse
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
BUCKET_ENCRYPTION = "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration"
BUCKET_POLICY = "aws:s3/bucketPolicy:BucketPolicy"
BUCKET_LOGGING = "aws:s3/bucketLogging:BucketLogging"
BUCKET_NAMES = ("bucket", "id")
KEY = "aws:kms/key:Key"

# For each type that stores data, where it names its key. Behind a `?` stands what need not be there: a feature group
# may have no online store, but if it has one, that needs a key. Buckets have rules of their own.
KEY_INPUTS = {
    "aws:cloudwatch/eventBus:EventBus": ("kmsKeyIdentifier",),
    "aws:cloudwatch/logGroup:LogGroup": ("kmsKeyId",),
    "aws:dynamodb/table:Table": ("serverSideEncryption.kmsKeyArn",),
    "aws:ebs/volume:Volume": ("kmsKeyId",),
    "aws:ec2/instance:Instance": ("rootBlockDevice.kmsKeyId", "ebsBlockDevices?.*?.kmsKeyId"),
    "aws:ec2/launchTemplate:LaunchTemplate": ("blockDeviceMappings.*.ebs.kmsKeyId",),
    "aws:ecr/repository:Repository": ("encryptionConfigurations.*.kmsKey",),
    "aws:efs/fileSystem:FileSystem": ("kmsKeyId",),
    "aws:eks/cluster:Cluster": ("encryptionConfig.provider.keyArn",),
    "aws:lambda/function:Function": ("kmsKeyArn",),
    "aws:rds/cluster:Cluster": ("kmsKeyId",),
    "aws:rds/instance:Instance": ("kmsKeyId",),
    "aws:sagemaker/domain:Domain": ("kmsKeyId",),
    "aws:sagemaker/endpointConfiguration:EndpointConfiguration": (
        "kmsKeyArn",
        "dataCaptureConfig?.kmsKeyId",
        "asyncInferenceConfig?.outputConfig.kmsKeyId",
    ),
    "aws:sagemaker/featureGroup:FeatureGroup": (
        "onlineStoreConfig?.securityConfig.kmsKeyId",
        "offlineStoreConfig?.s3StorageConfig.kmsKeyId",
    ),
    "aws:sagemaker/notebookInstance:NotebookInstance": ("kmsKeyId",),
    "aws:sagemaker/trainingJob:TrainingJob": ("outputDataConfig.kmsKeyId",),
    "aws:secretsmanager/secret:Secret": ("kmsKeyId",),
    "aws:sns/topic:Topic": ("kmsMasterKeyId",),
    "aws:sqs/queue:Queue": ("kmsMasterKeyId",),
}

# A launch template writes its booleans as text.
SWITCHED_ON = {
    "aws:ebs/volume:Volume": (Setting("encrypted", (True,), "or the volume is not encrypted"),),
    "aws:ec2/instance:Instance": (
        Setting("rootBlockDevice.encrypted", (True,), "or the volume is not encrypted"),
        Setting("ebsBlockDevices?.*?.encrypted", (True,), "or the volume is not encrypted"),
    ),
    "aws:ec2/launchTemplate:LaunchTemplate": (
        Setting("blockDeviceMappings?.*?.ebs?.encrypted", ("true",), "or its volumes are not encrypted"),
    ),
    "aws:ecr/repository:Repository": (
        Setting("encryptionConfigurations.*.encryptionType", ("KMS", "KMS_DSSE"), "or the key is not used"),
    ),
    "aws:efs/fileSystem:FileSystem": (Setting("encrypted", (True,), "or the file system is not encrypted"),),
    "aws:rds/cluster:Cluster": (Setting("storageEncrypted", (True,), "or the database is not encrypted"),),
    "aws:rds/instance:Instance": (Setting("storageEncrypted", (True,), "or the database is not encrypted"),),
}

# S3 delivers access logs only where its own keys are the default encryption; everywhere else the key is ours.
DEFAULT_ENCRYPTION = "rules.*.applyServerSideEncryptionByDefault.sseAlgorithm"
FOR_DATA = {
    BUCKET_ENCRYPTION: (
        Setting(DEFAULT_ENCRYPTION, ("aws:kms", "aws:kms:dsse"), "so that reading needs permission to use the key"),
        Setting("rules.*.bucketKeyEnabled", (True,), "or every object costs a call to KMS"),
    )
}
FOR_ACCESS_LOGS = {
    BUCKET_ENCRYPTION: (Setting(DEFAULT_ENCRYPTION, ("AES256",), "or S3 does not deliver access logs to it"),)
}

KEYS_KEPT = {
    KEY: (
        Setting("isEnabled?", (True,), "or what it encrypts cannot be read"),
        Setting("bypassPolicyLockoutSafetyCheck?", (False,), "or a policy may lock everyone out of the key for ever"),
    ),
    "aws:kms/keyPolicy:KeyPolicy": (
        Setting("bypassPolicyLockoutSafetyCheck?", (False,), "or a policy may lock everyone out of the key for ever"),
    ),
}

# What must be denied over plain HTTP. A topic's policy takes no sns:*.
PLAIN_HTTP = {
    BUCKET_POLICY: "s3:*",
    "aws:sns/topicPolicy:TopicPolicy": "sns:Publish",
    "aws:sqs/queuePolicy:QueuePolicy": "sqs:SendMessage",
}

# Where code is handed text that everyone who may describe the resource can read.
READABLE_TEXT = {
    "aws:lambda/function:Function": ("environment?.variables?",),
    "aws:sagemaker/model:Model": ("primaryContainer?.environment?", "containers?.*?.environment?"),
    "aws:sagemaker/trainingJob:TrainingJob": ("environment?", "hyperParameters?"),
    "aws:ec2/instance:Instance": ("userData?", "userDataBase64?"),
    "aws:ec2/launchTemplate:LaunchTemplate": ("userData?",),
    "aws:scheduler/schedule:Schedule": ("target?.input?",),
    "aws:ssm/parameter:Parameter": ("insecureValue?",),
}

CREDENTIAL = re.compile(
    r"\b(AKIA|ASIA)[0-9A-Z]{16}\b"  # an AWS access key
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----"
    r"|\bgh[pousr]_[0-9A-Za-z]{36}\b|\bgithub_pat_\w{60,}"  # GitHub
    r"|\bhf_[0-9A-Za-z]{34}\b"  # Hugging Face
    r"|\bxox[abprs]-[0-9A-Za-z-]{10,}"  # Slack
)


def encrypted_with_our_key(resource_type: str, inputs: Props) -> Iterator[Finding]:
    """What stores data encrypts it with a KMS key of ours."""
    for path in KEY_INPUTS.get(resource_type, ()):
        for where, key in find(inputs, path):
            yield from _ours(where, key)


def _ours(where: str, key: Any) -> Iterator[Finding]:
    if not given(key):
        yield f"no KMS key of ours encrypts this: set {where}"
    elif str(key).rpartition("alias/")[2].startswith("aws/"):
        yield f"{where} is a key that AWS owns, so we cannot say who may use it: set a key of ours"


def encryption_switched_on(resource_type: str, inputs: Props) -> Iterator[Finding]:
    """Volumes, databases and repositories are encrypted, and by KMS where there is a choice."""
    yield from settled(SWITCHED_ON, resource_type, inputs)


def kubernetes_secrets_encrypted(resource_type: str, inputs: Props) -> Iterator[Finding]:
    """A cluster encrypts Kubernetes secrets before it stores them."""
    if resource_type == "aws:eks/cluster:Cluster":
        for where, resources in find(inputs, "encryptionConfig.resources"):
            if resources == UNKNOWN:
                yield Unknown(where)
            elif "secrets" not in (resources or ()):
                yield f"{where} does not name secrets, so they are stored in the clear: set it to ['secrets']"


def keys_rotate(resource_type: str, inputs: Props) -> Iterator[Finding]:
    """Every symmetric key is rotated at least once a year."""
    if resource_type != KEY or inputs.get("customerMasterKeySpec", "SYMMETRIC_DEFAULT") != "SYMMETRIC_DEFAULT":
        return
    yield from settled({KEY: (Setting("enableKeyRotation", (True,), "so that a leaked key ages"),)}, KEY, inputs)
    for where, days in find(inputs, "rotationPeriodInDays?"):
        if days == UNKNOWN:
            yield Unknown(where)
        elif days > 365:
            yield f"{where} is {days:g}: rotate at least every 365 days"


def keys_cannot_be_lost(resource_type: str, inputs: Props) -> Iterator[Finding]:
    """A key stays usable, and a deleted one can be called back for a week at least; data without its key is gone."""
    yield from settled(KEYS_KEPT, resource_type, inputs)
    if resource_type == KEY:
        for where, days in find(inputs, "deletionWindowInDays?"):
            if days == UNKNOWN:
                yield Unknown(where)
            elif days < 7:
                yield f"{where} is {days:g}: leave at least 7 days to notice"


def no_credentials_in_text(resource_type: str, inputs: Props) -> Iterator[Finding]:
    """No credential stands in an environment variable, a parameter or user data, where many may read it."""
    for path in READABLE_TEXT.get(resource_type, ()):
        for where, texts in find(inputs, path):
            for name, text in texts.items() if isinstance(texts, dict) else [("", texts)]:
                place = f"{where}.{name}".strip(".")
                if text == UNKNOWN:
                    yield Unknown(place)
                elif CREDENTIAL.search(_decoded(str(text))):
                    yield f"{place} holds a credential: keep it in Secrets Manager, and pass its ARN"


def _decoded(text: str) -> str:
    """`text`, and what it is in Base64 where it is: user data comes that way."""
    try:
        return text + "\n" + base64.b64decode(text, validate=True).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        return text


def resource_policies_demand_tls(resource_type: str, inputs: Props) -> Iterator[Finding]:
    """The policy of a bucket, a topic or a queue denies every request that is not over TLS."""
    action = PLAIN_HTTP.get(resource_type, "")
    for where, text in documents(dict.fromkeys(PLAIN_HTTP, ("policy",)), resource_type, inputs):
        if text == UNKNOWN:
            yield Unknown(where)
            continue
        try:
            demanded = any(_denies_plain_http(each, action) for each in parse(text))
        except DocumentError as error:
            yield f"{where} is no IAM document: {error}"
            continue
        if not demanded:
            on = "the bucket and its objects" if resource_type == BUCKET_POLICY else "it"
            yield (
                f"{where} lets requests without TLS through: deny {action} on {on} to everyone "
                'where {"Bool": {"aws:SecureTransport": "false"}}'
            )


def _denies_plain_http(statement: Statement, action: str) -> bool:
    covered = all(
        any(each == "*" or each.endswith("/*") == objects for each in statement.resources)
        for objects in ((True, False) if action == "s3:*" else (False,))
    )
    return (
        not statement.allows
        and ("AWS", "*") in statement.principals
        and statement.may(action)
        and covered
        and statement.conditions == {"Bool": {"aws:SecureTransport": ("false",)}}
    )


def buckets_encrypted(resources: Sequence[Declared]) -> Iterator[tuple[Declared | None, Finding]]:
    """Every bucket encrypts by default with a KMS key of ours; one that takes S3's access logs, with S3's key."""
    for bucket in of_type(resources, BUCKET):
        defaults = [
            each for each in of_type(resources, BUCKET_ENCRYPTION) if refers(each, "bucket", bucket, by=BUCKET_NAMES)
        ]
        if not defaults:
            yield bucket, f"bucket {bucket.name} has no default encryption: add a {kind(BUCKET_ENCRYPTION)}"
        takes_logs = any(
            refers(each, "targetBucket", bucket, by=BUCKET_NAMES) for each in of_type(resources, BUCKET_LOGGING)
        )
        for each in defaults:
            yield from ((each, finding) for finding in _default_encryption(each.inputs, takes_logs))


def _default_encryption(inputs: Props, takes_logs: bool) -> Iterator[Finding]:
    yield from settled(FOR_ACCESS_LOGS if takes_logs else FOR_DATA, BUCKET_ENCRYPTION, inputs)
    if not takes_logs:
        for where, key in find(inputs, "rules.*.applyServerSideEncryptionByDefault.kmsMasterKeyId"):
            yield from _ours(where, key)


def buckets_demand_tls(resources: Sequence[Declared]) -> Iterator[tuple[Declared | None, Finding]]:
    """Every bucket has a policy, so that it can refuse what is not over TLS."""
    for bucket in without_companion(resources, BUCKET, BUCKET_POLICY, "bucket", by=BUCKET_NAMES):
        yield bucket, f"bucket {bucket.name} lets requests without TLS through: add a BucketPolicy that denies them"


POLICIES: list[Policy] = [
    policy(encrypted_with_our_key, Severity.HIGH),
    policy(encryption_switched_on, Severity.HIGH),
    policy(kubernetes_secrets_encrypted, Severity.HIGH),
    policy(keys_rotate, Severity.MEDIUM),
    policy(keys_cannot_be_lost, Severity.HIGH),
    policy(no_credentials_in_text, Severity.CRITICAL),
    policy(resource_policies_demand_tls, Severity.HIGH),
    stack_policy(buckets_encrypted, Severity.HIGH),
    stack_policy(buckets_demand_tls, Severity.HIGH),
]
