"""Everything stored is encrypted with a key of ours, and nothing travels in the clear."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import pulumi
from pulumi_policy import Policy, Severity

from policies.documents import DocumentError, Statement, documents, parse
from policies.limits import is_production, limits
from policies.local_disks import has_local_disks
from policies.resource_types import (
    BUCKET,
    BUCKET_ENCRYPTION,
    BUCKET_LOGGING,
    BUCKET_POLICY,
    CLUSTER,
    DATA_QUALITY_JOB,
    INSTANCE,
    KEY,
    LAUNCH_TEMPLATE,
    MONITORING_SCHEDULE,
    NODE_CLASS,
    PIPELINE,
    TRAINING_JOB,
    TUNING_JOB,
)
from policies.rules import (
    UNKNOWN,
    Control,
    Declared,
    Finding,
    Props,
    Rule,
    Setting,
    Unknown,
    control_policy,
    find,
    given,
    kind,
    of_table,
    of_type,
    refers,
    settled,
    without_companion,
)
from policies.sagemaker import JOBS, MACHINE, at, default_of, of_configurations, read, steps

BUCKET_NAMES = ("bucket", "id")
KEYS = frozenset({KEY, "aws:kms/alias:Alias", "aws:kms/replicaKey:ReplicaKey"})

# For each control, where each type of resource names its key. Behind a `?` stands what need not be there: a table may
# have no replicas, but if it has some, those need a key.
KEY_INPUTS: Final[Mapping[str, Mapping[str, Sequence[str]]]] = {
    "enc-sm-feature-offline-kms": {
        "aws:sagemaker/featureGroup:FeatureGroup": ("offlineStoreConfig?.s3StorageConfig.kmsKeyId",)
    },
    "enc-sm-domain-kms": {"aws:sagemaker/domain:Domain": ("kmsKeyId",)},
    "enc-sm-notebook-kms": {"aws:sagemaker/notebookInstance:NotebookInstance": ("kmsKeyId",)},
    "enc-sm-dqjob-output-kms": {DATA_QUALITY_JOB: ("dataQualityJobOutputConfig.kmsKeyId",)},
    "enc-sm-training-output-kms": {TRAINING_JOB: ("outputDataConfig.kmsKeyId",)},
    "enc-lt-ebs-cmk": {LAUNCH_TEMPLATE: ("blockDeviceMappings?.*?.ebs?.kmsKeyId",)},
    "enc-ec2-block-devices-cmk": {INSTANCE: ("rootBlockDevice.kmsKeyId", "ebsBlockDevices?.*?.kmsKeyId")},
    "enc-ebs-volume-cmk": {"aws:ebs/volume:Volume": ("kmsKeyId",)},
    "enc-karpenter-volumes-cmk": {NODE_CLASS: ("spec.blockDeviceMappings.*.ebs.kmsKeyID",)},
    "enc-ecr-cmk": {"aws:ecr/repository:Repository": ("encryptionConfigurations.*.kmsKey",)},
    "enc-efs-kms": {"aws:efs/fileSystem:FileSystem": ("kmsKeyId",)},
    "enc-rds-kms": {"aws:rds/cluster:Cluster": ("kmsKeyId",), "aws:rds/instance:Instance": ("kmsKeyId",)},
    "enc-logs-kms": {"aws:cloudwatch/logGroup:LogGroup": ("kmsKeyId",)},
    "enc-sns-kms": {"aws:sns/topic:Topic": ("kmsMasterKeyId",)},
    "enc-ddb-kms": {"aws:dynamodb/table:Table": ("serverSideEncryption.kmsKeyArn", "replicas?.*?.kmsKeyArn")},
    "enc-eventbus-kms": {"aws:cloudwatch/eventBus:EventBus": ("kmsKeyIdentifier",)},
    "enc-lambda-env-kms": {"aws:lambda/function:Function": ("kmsKeyArn",)},
    "enc-secret-cmk": {"aws:secretsmanager/secret:Secret": ("kmsKeyId",)},
    "enc-schedule-kms": {"aws:scheduler/schedule:Schedule": ("kmsKeyArn",)},
    "enc-stepfunctions-kms": {MACHINE: ("encryptionConfiguration.kmsKeyId",)},
}

# A launch template writes its booleans as text.
SWITCHED_ON: Final[Mapping[str, Mapping[str, Sequence[Setting]]]] = {
    "enc-lt-ebs": {
        LAUNCH_TEMPLATE: (
            Setting("blockDeviceMappings.*.ebs?.encrypted", ("true",), "or its volumes are not encrypted"),
        )
    },
    "enc-ec2-block-devices": {
        INSTANCE: (
            Setting("rootBlockDevice.encrypted", (True,), "or the volume is not encrypted"),
            Setting("ebsBlockDevices?.*?.encrypted", (True,), "or the volume is not encrypted"),
        )
    },
    "enc-ebs-volume": {"aws:ebs/volume:Volume": (Setting("encrypted", (True,), "or the volume is not encrypted"),)},
    "enc-karpenter-volumes": {
        NODE_CLASS: (
            Setting("spec.blockDeviceMappings.*.ebs.encrypted", (True,), "or the nodes' volumes are not encrypted"),
        )
    },
    "enc-ecr-kms": {
        "aws:ecr/repository:Repository": (
            Setting("encryptionConfigurations.*.encryptionType", ("KMS", "KMS_DSSE"), "or no KMS key is used"),
        )
    },
    "enc-efs": {
        "aws:efs/fileSystem:FileSystem": (Setting("encrypted", (True,), "or the file system is not encrypted"),)
    },
    "enc-rds": {
        "aws:rds/cluster:Cluster": (Setting("storageEncrypted", (True,), "or the database is not encrypted"),),
        "aws:rds/instance:Instance": (Setting("storageEncrypted", (True,), "or the database is not encrypted"),),
    },
    "enc-ddb-sse": {
        "aws:dynamodb/table:Table": (
            Setting("serverSideEncryption.enabled", (True,), "or AWS encrypts it with a key that it owns"),
        )
    },
    "enc-stepfunctions": {
        MACHINE: (
            Setting(
                "encryptionConfiguration.type", ("CUSTOMER_MANAGED_KMS_KEY",), "or AWS's own key encrypts what passes"
            ),
        )
    },
    "enc-sm-dqjob-traffic": {
        DATA_QUALITY_JOB: (
            Setting("networkConfig.enableInterContainerTrafficEncryption", (True,), "or its containers talk openly"),
        )
    },
    "enc-kms-enabled": {KEY: (Setting("isEnabled?", (True,), "or what it encrypts cannot be read"),)},
    "kms-no-lockout-bypass": {
        each: (Setting("bypassPolicyLockoutSafetyCheck?", (False,), "or its policy may lock everyone out for ever"),)
        for each in (KEY, "aws:kms/keyPolicy:KeyPolicy")
    },
}

# Where a job's volume key is, and the instances whose volumes it encrypts.
VOLUMES: Final[Mapping[str, Mapping[str, tuple[str, str]]]] = {
    "sm-training-volume-kms": {TRAINING_JOB: ("resourceConfig.volumeKmsKeyId", "resourceConfig.instanceType")},
    "enc-sm-dqjob-volume-kms": {
        DATA_QUALITY_JOB: ("jobResources.clusterConfig.volumeKmsKeyId", "jobResources.clusterConfig.instanceType")
    },
}

# S3 delivers access logs only where its own keys are the default encryption; everywhere else the key is ours.
DEFAULT_ENCRYPTION = "applyServerSideEncryptionByDefault.sseAlgorithm"
MASTER_KEY = "applyServerSideEncryptionByDefault.kmsMasterKeyId"
KMS = ("aws:kms", "aws:kms:dsse")

# What must be denied over plain HTTP. A topic's policy takes no sns:*.
PLAIN_HTTP = {
    BUCKET_POLICY: "s3:*",
    "aws:sns/topicPolicy:TopicPolicy": "sns:Publish",
    "aws:sqs/queuePolicy:QueuePolicy": "sqs:SendMessage",
}

SECRET_NAME = re.compile(r"passw|secret|credential|token|private[-_.]?key|api[-_.]?key", re.IGNORECASE)
KEY_NAME = re.compile(r"kms.*key|^keyArn$", re.IGNORECASE)
"""How the inputs are called that name a key."""
NOT_A_KEY = re.compile(r"reuse|seconds|enabled", re.IGNORECASE)


def _ours(where: str, key: Any) -> Iterator[Finding]:
    if not given(key):
        yield f"no KMS key of ours encrypts this: set {where}"
    elif str(key).rpartition("alias/")[2].startswith("aws/"):
        yield f"{where} is a key that AWS owns, so we cannot say who may use it: set a key of ours"


def with_our_key(table: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """A control's rule and types where a key of ours must stand at some paths; a key not known yet counts as one."""

    def rule(resource_type: str, inputs: Props) -> Iterator[Finding]:
        for path in table.get(resource_type, ()):
            for where, key in find(inputs, path):
                yield from _ours(where, key)

    return {"rule": rule, "types": frozenset(table)}


# --- SageMaker --------------------------------------------------------------------------------------------------------


def _volumes_of_endpoints(configuration: Props) -> Iterator[Finding]:
    """Serverless variants have no volume, and disks in the machine have a key of their own: SageMaker takes ours for
    them, and does not use it. Without a variant of either kind, or with one that is not known, the key is wanted.
    """
    kinds = ("productionVariants", "shadowProductionVariants")
    variants = [each for kind in kinds for _, each in find(configuration, f"{kind}?.*") if isinstance(each, Mapping)]
    if variants and all(_no_volume(each) for each in variants):
        return
    yield from _ours("kmsKeyArn", configuration.get("kmsKeyArn"))


def _no_volume(variant: Props) -> bool:
    return bool(variant.get("serverlessConfig")) or has_local_disks(str(variant.get("instanceType", "")))


def _captures(configuration: Props) -> Iterator[Finding]:
    capture = configuration.get("dataCaptureConfig")
    if capture is not None and capture != UNKNOWN and capture.get("enableCapture") is not False:
        yield from _ours("dataCaptureConfig.kmsKeyId", capture.get("kmsKeyId"))


def _answers(configuration: Props) -> Iterator[Finding]:
    for where, key in find(configuration, "asyncInferenceConfig?.outputConfig.kmsKeyId"):
        yield from _ours(where, key)


def _core_dumps(configuration: Props) -> Iterator[Finding]:
    for variants in ("productionVariants", "shadowProductionVariants"):
        for where, key in find(configuration, f"{variants}?.*?.coreDumpConfig?.kmsKeyId"):
            yield from _ours(where, key)


def _online_store(resource_type: str, inputs: Props) -> Iterator[Finding]:
    for _, store in find(inputs, "onlineStoreConfig?"):
        if store == UNKNOWN or store.get("enableOnlineStore") is not False:
            for where, key in find(store, "securityConfig.kmsKeyId", at="onlineStoreConfig"):
                yield from _ours(where, key)


def _shared_notebooks(resource_type: str, inputs: Props) -> Iterator[Finding]:
    settings = "defaultUserSettings.sharingSettings"
    for where, allowed in find(inputs, "defaultUserSettings?.sharingSettings?.notebookOutputOption?"):
        if allowed == UNKNOWN:
            yield Unknown(where)
        elif allowed == "Allowed":
            for at_key, key in find(inputs, f"{settings}.s3KmsKeyId"):
                yield from _ours(at_key, key)


def _volume(path: str, key: Any, instance_type: Any) -> Iterator[Finding]:
    """A job's volume has a key of ours; AWS refuses one where the disks are in the machine, which encrypts them."""
    if instance_type == UNKNOWN:
        yield Unknown(path)
    elif not has_local_disks(str(instance_type or "")):
        yield from _ours(path, key)
    elif given(key):
        yield f"{path} is set, but AWS refuses a key for {instance_type}, whose own disks it encrypts: leave it out"


def of_volumes(table: Mapping[str, tuple[str, str]]) -> dict[str, Any]:
    """A rule about the volumes of jobs."""

    def rule(resource_type: str, inputs: Props) -> Iterator[Finding]:
        key_at, type_at = table[resource_type]
        [(_, instance_type)] = find(inputs, type_at)
        for where, key in find(inputs, key_at):
            yield from _volume(where, key, instance_type)

    return {"rule": rule, "types": frozenset(table)}


def _traffic(where: str, encrypted: Any, count: Any) -> Iterator[Finding]:
    """Containers of one instance do not talk over a network."""
    if UNKNOWN in (encrypted, count):
        yield Unknown(where)
    elif isinstance(count, int | float) and count > 1 and encrypted is not True:
        yield f"{where} is not on, so {count:g} instances talk openly: set it to True"


def _training_traffic(resource_type: str, inputs: Props) -> Iterator[Finding]:
    if resource_type == TRAINING_JOB:
        count = at(inputs, "resourceConfig.instanceCount")
        path = "enableInterContainerTrafficEncryption"
        yield from _traffic(path, inputs.get(path), count)
    for document, step in _jobs(inputs) if resource_type == PIPELINE else ():
        if isinstance(document, str):
            yield Unknown(document)
            continue
        arguments = step.get("Arguments")
        *_, instances = JOBS[step["Type"]]
        inside = {"Processing": "NetworkConfig.", "Tuning": "TrainingJobDefinition."}.get(step["Type"], "")
        if step["Type"] != "Transform":  # whose instances do not talk to each other
            path = f"{inside}EnableInterContainerTrafficEncryption"
            count = default_of(document, at(arguments, f"{instances}.InstanceCount"))
            yield from _traffic(f"step {step.get('Name')}: {path}", at(arguments, path), count)


def _monitors(resource_type: str, inputs: Props) -> Iterator[Finding]:
    """A schedule that names a job definition says none of this itself: that definition is judged."""
    for where, job in find(inputs, "monitoringScheduleConfig?.monitoringJobDefinition?"):
        if job == UNKNOWN:
            yield Unknown(where)
            continue
        cluster = "monitoringResources.clusterConfig"
        for path, key in find(job, "monitoringOutputConfig.kmsKeyId", at=where):
            yield from _ours(path, key)
        yield from _volume(
            f"{where}.{cluster}.volumeKmsKeyId",
            at(job, f"{cluster}.volumeKmsKeyId"),
            at(job, f"{cluster}.instanceType"),
        )
        traffic = Setting("networkConfig.enableInterContainerTrafficEncryption", (True,), "or containers talk openly")
        yield from settled({"": (traffic,)}, "", job)


def _tuning(resource_type: str, inputs: Props) -> Iterator[Finding]:
    for where, job in find(inputs, "trainingJobDefinition?"):
        if job == UNKNOWN:
            yield Unknown(where)
            continue
        for path, key in find(job, "outputDataConfig.kmsKeyId", at=where):
            yield from _ours(path, key)
        resources = at(job, "resourceConfig") or {}
        yield from _volume(
            f"{where}.resourceConfig.volumeKmsKeyId", at(resources, "volumeKmsKeyId"), at(resources, "instanceType")
        )
        path = "enableInterContainerTrafficEncryption"
        yield from _traffic(f"{where}.{path}", job.get(path), at(resources, "instanceCount"))


def _jobs(inputs: Props) -> Iterator[tuple[Mapping[str, Any] | str, Mapping[str, Any]]]:
    """Each step of a pipeline that starts a job, after the whole document; a path alone where only `up` will know."""
    text = inputs.get("pipelineDefinition")
    if text == UNKNOWN:
        yield "pipelineDefinition", {}
        return
    document = read(text)
    for step in steps(document) if document else ():
        if step.get("Type") in JOBS:
            yield document or {}, step


def _pipeline_steps(resource_type: str, inputs: Props) -> Iterator[Finding]:
    """A definition in S3 cannot be judged here, and one that is no JSON starts nothing.

    A key or an instance type may be a parameter: its default is judged, and who starts the pipeline may name others.
    """
    if given(inputs.get("pipelineDefinitionS3Location")):
        yield "the definition is in S3, where nobody judges what its steps write: set pipelineDefinition instead"
    elif inputs.get("pipelineDefinition") != UNKNOWN and read(inputs.get("pipelineDefinition")) is None:
        yield "pipelineDefinition is no JSON: nothing can be said of its steps"
    for document, step in _jobs(inputs):
        if isinstance(document, str):
            yield Unknown(document)
            continue
        output, volume, instances = JOBS[step["Type"]]
        name, arguments = f"step {step.get('Name')}", step.get("Arguments")
        instance_type = default_of(document, at(arguments, f"{instances}.InstanceType"))
        yield from _ours(f"{name}: {output}", default_of(document, at(arguments, output)))
        yield from _volume(f"{name}: {volume}", default_of(document, at(arguments, volume)), instance_type)


# --- the rest of AWS --------------------------------------------------------------------------------------------------


def _queues(resource_type: str, inputs: Props) -> Iterator[Finding]:
    """SQS encrypts with keys of its own unless told otherwise, but a queue says how: nobody has to know that."""
    if inputs.get("sqsManagedSseEnabled") is not True:
        key = inputs.get("kmsMasterKeyId")
        yield from () if given(key) else _ours("kmsMasterKeyId", key)


def _queue_keys(resource_type: str, inputs: Props) -> Iterator[Finding]:
    """A queue without any is enc-sqs-kms's."""
    key = inputs.get("kmsMasterKeyId")
    if given(key) or inputs.get("sqsManagedSseEnabled") is True:
        yield from _ours("kmsMasterKeyId", key)


def _cluster_secrets(resource_type: str, inputs: Props) -> Iterator[Finding]:
    for where, resources in find(inputs, "encryptionConfig.resources"):
        if resources == UNKNOWN:
            yield Unknown(where)
        elif "secrets" not in (resources or ()):
            yield f"{where} does not name secrets, so they are stored in the clear: set it to ['secrets']"
    for where, key in find(inputs, "encryptionConfig?.provider.keyArn"):
        yield from _ours(where, key)


def _parameters(resource_type: str, inputs: Props) -> Iterator[Finding]:
    stored, name = inputs.get("type"), str(inputs.get("name", ""))
    if stored == UNKNOWN:
        yield Unknown("type")
    elif stored == "SecureString":
        yield from _ours("keyId", inputs.get("keyId"))
    elif SECRET_NAME.search(name):
        yield f"type is {stored!r}, but {name} looks like a secret: set SecureString and keyId, or use Secrets Manager"


def _api_caches(resource_type: str, inputs: Props) -> Iterator[Finding]:
    if at(inputs, "settings.cachingEnabled") is True and at(inputs, "settings.cacheDataEncrypted") is not True:
        yield "settings.cacheDataEncrypted is not set, so cached answers are stored in the clear: set it to True"


# --- keys -------------------------------------------------------------------------------------------------------------


def _rotation(resource_type: str, inputs: Props) -> Iterator[Finding]:
    """AWS rotates only symmetric keys that encrypt, and only those whose material it made."""
    if inputs.get("customerMasterKeySpec", "SYMMETRIC_DEFAULT") != "SYMMETRIC_DEFAULT":
        return
    if inputs.get("keyUsage", "ENCRYPT_DECRYPT") != "ENCRYPT_DECRYPT":
        return
    yield from settled({KEY: (Setting("enableKeyRotation", (True,), "so that a leaked key ages"),)}, KEY, inputs)
    for where, days in find(inputs, "rotationPeriodInDays?"):
        if days == UNKNOWN:
            yield Unknown(where)
        elif days > 365:
            yield f"{where} is {days:g}: rotate at least every 365 days"


def _deletion(resource_type: str, inputs: Props) -> Iterator[Finding]:
    """Elsewhere KMS's own least, 7 days, is enough. Without its key, data is gone."""
    least = limits().key_deletion_days if is_production() else 7
    for where, days in find(inputs, "deletionWindowInDays?"):
        if days == UNKNOWN:
            yield Unknown(where)
        elif days < least:
            yield f"{where} is {days:g}: leave at least {least} days to notice"


def _named_keys(resource: Declared) -> Iterator[tuple[str, str, Any]]:
    """Each key that a resource names: the input it is in, where exactly, and the key."""

    def inside(value: Any, where: str) -> Iterator[tuple[str, Any]]:
        if isinstance(value, Mapping):
            for name, each in value.items():
                if isinstance(each, str) and each and KEY_NAME.search(name) and not NOT_A_KEY.search(name):
                    yield f"{where}.{name}", each
                yield from inside(each, f"{where}.{name}")
        elif isinstance(value, list):
            for index, each in enumerate(value):
                yield from inside(each, f"{where}.{index}")

    for name, value in resource.inputs.items():
        looked_at = read(value) if name in ("pipelineDefinition", "definition") and value != UNKNOWN else {name: value}
        yield from ((name, where.strip("."), key) for where, key in inside(looked_at, ""))


def _keys_known(resources: Sequence[Declared]) -> Iterator[tuple[Declared | None, Finding]]:
    """A key comes from a key or an alias of this stack; or its ARN is of an account that the stack may deploy to, as a
    platform's is, for Pulumi does not tell policies which values come from another stack; or limits.yaml lists it.
    """
    own = {each.urn: each for each in resources if each.type in KEYS}
    known = {each.inputs.get(name) for each in own.values() for name in ("arn", "keyId", "id", "name")} - {None}
    config = pulumi.Config("aws")
    accounts, region = config.get_object("allowedAccountIds") or [], config.get("region")
    for resource in resources:
        if resource.type in KEYS:
            continue
        for name, where, key in _named_keys(resource):
            if own.keys() & {*resource.property_dependencies.get(name, ())} or key in known or key in limits().kms_keys:
                continue
            if key == UNKNOWN:
                yield resource, Unknown(where)
                continue
            arn = f"{key}:::::".split(":")
            if key.rpartition("alias/")[2].startswith("aws/"):
                continue  # another control's
            if arn[0] != "arn":
                yield resource, f"{where} names a key, but not whose: set its ARN, as the platform's output has it"
            elif accounts and arn[4] not in map(str, accounts):
                yield (
                    resource,
                    f"{where} is a key of account {arn[4]}, which this stack does not deploy to: set the platform's"
                    " key, or list it under kms_keys in policies/limits.yaml",
                )
            elif region and arn[3] != region:
                yield (
                    resource,
                    f"{where} is a key of {arn[3]}, and cannot be used in {region}: set a key of this region",
                )


# --- in transit -------------------------------------------------------------------------------------------------------


def _over_tls(resource_type: str, inputs: Props) -> Iterator[Finding]:
    action = PLAIN_HTTP[resource_type]
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


def over_tls(resource_type: str) -> dict[str, Any]:
    """A rule about the policies of one type."""
    return {"rule": _over_tls, "types": frozenset({resource_type})}


def _buckets_have_policies(resources: Sequence[Declared]) -> Iterator[tuple[Declared | None, Finding]]:
    for bucket in without_companion(resources, BUCKET, BUCKET_POLICY, "bucket", by=BUCKET_NAMES):
        if not given(bucket.inputs.get("policy")):
            yield bucket, f"bucket {bucket.name} lets requests without TLS through: add a BucketPolicy that denies them"


# --- buckets ----------------------------------------------------------------------------------------------------------


def _defaults(resources: Sequence[Declared], *, for_logs: bool) -> Iterator[tuple[Declared, list[tuple[str, Any]]]]:
    """Each bucket, and its rules of default encryption after where they stand; of those that S3 delivers access logs
    to, or of the others."""
    companions, logging = of_type(resources, BUCKET_ENCRYPTION), of_type(resources, BUCKET_LOGGING)
    for bucket in of_type(resources, BUCKET):
        if any(refers(each, "targetBucket", bucket, by=BUCKET_NAMES) for each in logging) == for_logs:
            own = find(bucket.inputs, "serverSideEncryptionConfiguration?.rule")
            theirs = (
                (f"{each.name}: {where}", rule)
                for each in companions
                if refers(each, "bucket", bucket, by=BUCKET_NAMES)
                for where, rule in find(each.inputs, "rules.*")
            )
            yield bucket, [(where, rule or {}) for where, rule in (*own, *theirs)]


def _default_encryption(resources: Sequence[Declared]) -> Iterator[tuple[Declared | None, Finding]]:
    """A bucket that S3 delivers access logs to takes S3's keys, or gets no logs."""
    for for_logs, wanted, why in (
        (False, KMS, "so that reading needs permission to use the key"),
        (True, ("AES256",), "or S3 does not deliver access logs to it"),
    ):
        setting = {"": (Setting(DEFAULT_ENCRYPTION, wanted, why),)}
        for bucket, rules in _defaults(resources, for_logs=for_logs):
            if not rules:
                yield bucket, f"bucket {bucket.name} has no default encryption: add a {kind(BUCKET_ENCRYPTION)}"
            for where, rule in rules:
                yield from ((bucket, _located(where, finding)) for finding in _settled_in(setting, rule))


def _bucket_keys(resources: Sequence[Declared]) -> Iterator[tuple[Declared | None, Finding]]:
    for bucket, rules in _defaults(resources, for_logs=False):
        for where, rule in rules:
            if rule == UNKNOWN or at(rule, DEFAULT_ENCRYPTION) in (*KMS, UNKNOWN):
                for path, key in find(rule, MASTER_KEY):
                    yield from ((bucket, _located(where, finding)) for finding in _ours(path, key))


def _calls_saved(resources: Sequence[Declared]) -> Iterator[tuple[Declared | None, Finding]]:
    setting = {"": (Setting("bucketKeyEnabled", (True,), "or every object costs a call to KMS"),)}
    for bucket, rules in _defaults(resources, for_logs=False):
        for where, rule in rules:
            yield from ((bucket, _located(where, finding)) for finding in _settled_in(setting, rule))


def _settled_in(setting: Mapping[str, Sequence[Setting]], rule: Any) -> Iterator[Finding]:
    yield from [Unknown("")] if rule == UNKNOWN else settled(setting, "", rule)


def _located(where: str, finding: Finding) -> Finding:
    return Unknown(f"{where}.{finding.path}".strip(".")) if isinstance(finding, Unknown) else f"{where}: {finding}"


def _of(rule: Rule, *types: str) -> dict[str, Any]:
    return {"rule": rule, "types": frozenset(types)}


COMPONENT_KEY = "Give the component kms_key_arn: the platform's key, which its stack exports."
HIGH, MEDIUM, LOW = Severity.HIGH, Severity.MEDIUM, Severity.LOW

CONTROLS: list[Control] = [
    Control(
        "enc-sm-endpoint-kms",
        "The volumes of an endpoint are encrypted with a key of ours.",
        HIGH,
        (
            "Config sagemaker-endpoint-configuration-kms-key-configured",
            "CKV_AWS_98",
            "cfn-guard SAGEMAKER_ENDPOINT_CONFIGURATION_KMS_KEY_CONFIGURED",
            "prowler sagemaker_endpoint_config_kms_encryption_enabled",
        ),
        "Set kmsKeyArn of the endpoint's configuration; the component Endpoint does, with its kms_key_arn.",
        **of_configurations(_volumes_of_endpoints),
    ),
    Control(
        "enc-sm-endpoint-capture-kms",
        "What an endpoint captures is encrypted with a key of ours.",
        MEDIUM,
        (),
        "Set dataCaptureConfig.kmsKeyId; the component Endpoint does, with its kms_key_arn.",
        **of_configurations(_captures),
    ),
    Control(
        "enc-sm-endpoint-async-kms",
        "The answers of an asynchronous endpoint are encrypted with a key of ours.",
        MEDIUM,
        (),
        "Set asyncInferenceConfig.outputConfig.kmsKeyId; the component Endpoint does, with its kms_key_arn.",
        **of_configurations(_answers),
    ),
    Control(
        "enc-sm-endpoint-coredump-kms",
        "The core dumps of an endpoint are encrypted with a key of ours.",
        LOW,
        (),
        "Set coreDumpConfig.kmsKeyId of the variant, or leave coreDumpConfig out.",
        **of_configurations(_core_dumps),
    ),
    Control(
        "enc-sm-feature-offline-kms",
        "The offline store of a feature group is encrypted with a key of ours.",
        HIGH,
        ("MLSEC03-BP02",),
        "Set offlineStoreConfig.s3StorageConfig.kmsKeyId; the component FeatureStore does, with its kms_key_arn.",
        **with_our_key(KEY_INPUTS["enc-sm-feature-offline-kms"]),
    ),
    Control(
        "enc-sm-feature-online-kms",
        "The online store of a feature group is encrypted with a key of ours.",
        HIGH,
        (),
        "Set onlineStoreConfig.securityConfig.kmsKeyId; the component FeatureStore does, with its kms_key_arn.",
        **_of(_online_store, "aws:sagemaker/featureGroup:FeatureGroup"),
    ),
    Control(
        "enc-sm-domain-kms",
        "The home folders of a Studio domain are encrypted with a key of ours.",
        HIGH,
        ("CKV_AWS_187",),
        "Set kmsKeyId of the domain; it cannot be changed later.",
        **with_our_key(KEY_INPUTS["enc-sm-domain-kms"]),
    ),
    Control(
        "enc-sm-domain-sharing-kms",
        "Notebooks that a domain lets people share are encrypted with a key of ours.",
        MEDIUM,
        (),
        "Set defaultUserSettings.sharingSettings.s3KmsKeyId, or notebookOutputOption to Disabled.",
        **_of(_shared_notebooks, "aws:sagemaker/domain:Domain"),
    ),
    Control(
        "enc-sm-notebook-kms",
        "The volume of a notebook instance is encrypted with a key of ours.",
        HIGH,
        (
            "CKV_AWS_22",
            "CKV_AWS_187",
            "cdk-nag AwsSolutions-SM2",
            "prowler sagemaker_notebook_instance_encryption_enabled",
        ),
        "Set kmsKeyId of the notebook instance; it cannot be changed later.",
        **with_our_key(KEY_INPUTS["enc-sm-notebook-kms"]),
    ),
    Control(
        "enc-sm-dqjob-output-kms",
        "What a data quality job writes is encrypted with a key of ours.",
        MEDIUM,
        ("CKV_AWS_367",),
        "Set dataQualityJobOutputConfig.kmsKeyId.",
        **with_our_key(KEY_INPUTS["enc-sm-dqjob-output-kms"]),
    ),
    Control(
        "enc-sm-dqjob-volume-kms",
        "The volume of a data quality job is encrypted with a key of ours, or by the disks' own.",
        MEDIUM,
        ("CKV_AWS_368",),
        "Set jobResources.clusterConfig.volumeKmsKeyId; leave it out for instances with disks of their own.",
        **of_volumes(VOLUMES["enc-sm-dqjob-volume-kms"]),
    ),
    Control(
        "enc-sm-dqjob-traffic",
        "The containers of a data quality job talk to each other encrypted.",
        MEDIUM,
        ("FSBP SageMaker.9", "CKV_AWS_369"),
        "Set networkConfig.enableInterContainerTrafficEncryption to True.",
        **of_table(SWITCHED_ON["enc-sm-dqjob-traffic"]),
    ),
    Control(
        "enc-sm-monitor-job",
        "A monitoring schedule's own job writes, stores and talks encrypted.",
        MEDIUM,
        (),
        "Set kmsKeyId of its output, volumeKmsKeyId of its cluster and enableInterContainerTrafficEncryption.",
        **_of(_monitors, MONITORING_SCHEDULE),
    ),
    Control(
        "sm-training-volume-kms",
        "The volume of a training job is encrypted with a key of ours, or by the disks' own.",
        HIGH,
        ("prowler sagemaker_training_jobs_volume_and_output_encryption_enabled",),
        "Set resourceConfig.volumeKmsKeyId; leave it out for instances with disks of their own, where AWS refuses it.",
        **of_volumes(VOLUMES["sm-training-volume-kms"]),
    ),
    Control(
        "enc-sm-training-output-kms",
        "The model that a training job makes is encrypted with a key of ours.",
        HIGH,
        ("prowler sagemaker_training_jobs_volume_and_output_encryption_enabled",),
        "Set outputDataConfig.kmsKeyId.",
        **with_our_key(KEY_INPUTS["enc-sm-training-output-kms"]),
    ),
    Control(
        "sm-training-traffic",
        "The instances of a training job talk to each other encrypted.",
        MEDIUM,
        ("prowler sagemaker_training_jobs_intercontainer_encryption_enabled",),
        "Set enableInterContainerTrafficEncryption to True where there is more than one instance.",
        **_of(_training_traffic, TRAINING_JOB, PIPELINE),
    ),
    Control(
        "enc-sm-hpo",
        "The jobs of a tuning write, store and talk encrypted.",
        MEDIUM,
        (),
        "Set outputDataConfig.kmsKeyId, resourceConfig.volumeKmsKeyId and enableInterContainerTrafficEncryption.",
        **_of(_tuning, TUNING_JOB),
    ),
    Control(
        "enc-sm-pipeline-steps",
        "Every job that a pipeline starts writes and stores encrypted with a key of ours.",
        HIGH,
        (),
        "Give each step KmsKeyId for its output and VolumeKmsKeyId; the component TrainingPipeline does.",
        **_of(_pipeline_steps, PIPELINE),
    ),
    Control(
        "enc-s3-kms",
        "Every bucket encrypts by default with KMS; one that takes S3's access logs, with S3's keys.",
        HIGH,
        ("FSBP S3.17", "CKV_AWS_145", "cfn-guard S3_DEFAULT_ENCRYPTION_KMS"),
        "Add a BucketServerSideEncryptionConfiguration with aws:kms; the components DataLake and Ledger do.",
        stack_rule=_default_encryption,
    ),
    Control(
        "enc-s3-cmk",
        "Buckets encrypt with a key of ours, so that we say who may read.",
        MEDIUM,
        ("compliance-policies configureServerSideEncryptionCustomerManagedKey",),
        "Set kmsMasterKeyId of the bucket's default encryption.",
        stack_rule=_bucket_keys,
    ),
    Control(
        "s3-bucket-key",
        "Buckets ask KMS once for many objects.",
        LOW,
        ("compliance-policies enableServerSideEncryptionBucketKey",),
        "Set bucketKeyEnabled of the bucket's default encryption to True.",
        stack_rule=_calls_saved,
    ),
    Control(
        "enc-s3-tls",
        "A bucket's policy denies every request that is not over TLS.",
        HIGH,
        ("FSBP S3.5", "CIS 7.0 3.1.1", "cdk-nag AwsSolutions-S10", "cfn-guard S3_BUCKET_SSL_REQUESTS_ONLY"),
        "Deny s3:* on the bucket and its objects to everyone where aws:SecureTransport is false.",
        **over_tls(BUCKET_POLICY),
    ),
    Control(
        "enc-s3-tls-policy",
        "Every bucket has a policy, so that it can refuse what is not over TLS.",
        HIGH,
        ("FSBP S3.5", "CIS 7.0 3.1.1", "cdk-nag AwsSolutions-S10"),
        "Add a BucketPolicy that denies requests without TLS.",
        stack_rule=_buckets_have_policies,
    ),
    Control(
        "enc-sns-tls",
        "A topic's policy denies every message that is not sent over TLS.",
        HIGH,
        (),
        "Deny sns:Publish to everyone where aws:SecureTransport is false.",
        **over_tls("aws:sns/topicPolicy:TopicPolicy"),
    ),
    Control(
        "enc-sqs-tls",
        "A queue's policy denies every message that is not sent over TLS.",
        HIGH,
        ("cdk-nag AwsSolutions-SQS4",),
        "Deny sqs:SendMessage, or sqs:*, to everyone where aws:SecureTransport is false.",
        **over_tls("aws:sqs/queuePolicy:QueuePolicy"),
    ),
    Control(
        "enc-eks-secrets",
        "A cluster encrypts Kubernetes secrets with a key of ours before it stores them.",
        HIGH,
        ("FSBP EKS.3", "CKV_AWS_58", "compliance-policies enableClusterEncryptionConfig"),
        "Set encryptionConfig: resources ['secrets'], provider.keyArn; the component Cluster does.",
        **_of(_cluster_secrets, CLUSTER),
    ),
    Control(
        "enc-lt-ebs",
        "Every volume of a launch template is encrypted.",
        HIGH,
        ("CIS 7.0 6.1.1", "compliance-policies disallowUnencryptedBlockDevice"),
        "Set blockDeviceMappings[].ebs.encrypted to the text 'true'.",
        **of_table(SWITCHED_ON["enc-lt-ebs"]),
    ),
    Control(
        "enc-lt-ebs-cmk",
        "Every volume of a launch template is encrypted with a key of ours.",
        LOW,
        ("compliance-policies configureCustomerManagedKey",),
        "Set blockDeviceMappings[].ebs.kmsKeyId.",
        **with_our_key(KEY_INPUTS["enc-lt-ebs-cmk"]),
    ),
    Control(
        "enc-karpenter-volumes",
        "Every volume of the nodes that Karpenter starts is encrypted.",
        HIGH,
        (),
        "Set spec.blockDeviceMappings[].ebs.encrypted of the EC2NodeClass to true.",
        **of_table(SWITCHED_ON["enc-karpenter-volumes"]),
    ),
    Control(
        "enc-karpenter-volumes-cmk",
        "Every volume of the nodes that Karpenter starts is encrypted with a key of ours.",
        LOW,
        (),
        "Set spec.blockDeviceMappings[].ebs.kmsKeyID of the EC2NodeClass.",
        **with_our_key(KEY_INPUTS["enc-karpenter-volumes-cmk"]),
    ),
    Control(
        "enc-ec2-block-devices",
        "Every volume of an instance is encrypted.",
        HIGH,
        ("FSBP EC2.3", "CKV_AWS_8", "awsguard encrypted-volumes"),
        "Set rootBlockDevice.encrypted and ebsBlockDevices[].encrypted to True.",
        **of_table(SWITCHED_ON["enc-ec2-block-devices"]),
    ),
    Control(
        "enc-ec2-block-devices-cmk",
        "Every volume of an instance is encrypted with a key of ours.",
        LOW,
        (),
        "Set rootBlockDevice.kmsKeyId and ebsBlockDevices[].kmsKeyId.",
        **with_our_key(KEY_INPUTS["enc-ec2-block-devices-cmk"]),
    ),
    Control(
        "enc-ebs-volume",
        "Every volume is encrypted.",
        HIGH,
        ("FSBP EC2.3", "CKV_AWS_3"),
        "Set encrypted to True.",
        **of_table(SWITCHED_ON["enc-ebs-volume"]),
    ),
    Control(
        "enc-ebs-volume-cmk",
        "Every volume is encrypted with a key of ours.",
        LOW,
        ("CKV_AWS_189",),
        "Set kmsKeyId of the volume.",
        **with_our_key(KEY_INPUTS["enc-ebs-volume-cmk"]),
    ),
    Control(
        "enc-ecr-kms",
        "Images are encrypted with KMS.",
        MEDIUM,
        ("CKV_AWS_136",),
        "Set encryptionConfigurations[].encryptionType to KMS; it cannot be changed later.",
        **of_table(SWITCHED_ON["enc-ecr-kms"]),
    ),
    Control(
        "enc-ecr-cmk",
        "Images are encrypted with a key of ours.",
        LOW,
        ("compliance-policies configureCustomerManagedKey",),
        "Set encryptionConfigurations[].kmsKey; it cannot be changed later.",
        **with_our_key(KEY_INPUTS["enc-ecr-cmk"]),
    ),
    Control(
        "enc-efs",
        "A file system is encrypted.",
        HIGH,
        (),
        "Set encrypted to True; it cannot be changed later.",
        **of_table(SWITCHED_ON["enc-efs"]),
    ),
    Control(
        "enc-efs-kms",
        "A file system is encrypted with a key of ours.",
        MEDIUM,
        (),
        "Set kmsKeyId of the file system.",
        **with_our_key(KEY_INPUTS["enc-efs-kms"]),
    ),
    Control(
        "enc-rds",
        "A database is encrypted.",
        HIGH,
        (),
        "Set storageEncrypted to True; it cannot be changed later.",
        **of_table(SWITCHED_ON["enc-rds"]),
    ),
    Control(
        "enc-rds-kms",
        "A database is encrypted with a key of ours.",
        MEDIUM,
        (),
        "Set kmsKeyId of the database.",
        **with_our_key(KEY_INPUTS["enc-rds-kms"]),
    ),
    Control(
        "enc-logs-kms",
        "Logs are encrypted with a key of ours.",
        MEDIUM,
        ("CKV_AWS_158", "prowler cloudwatch_log_group_kms_encryption_enabled"),
        "Set kmsKeyId of the log group. " + COMPONENT_KEY,
        **with_our_key(KEY_INPUTS["enc-logs-kms"]),
    ),
    Control(
        "enc-sns-kms",
        "Messages of a topic are encrypted with a key of ours; with AWS's own, no alarm and no event reaches it.",
        MEDIUM,
        ("FSBP SNS.1", "CKV_AWS_26"),
        "Set kmsMasterKeyId of the topic. " + COMPONENT_KEY,
        **with_our_key(KEY_INPUTS["enc-sns-kms"]),
    ),
    Control(
        "enc-sqs-kms",
        "Messages of a queue are encrypted.",
        MEDIUM,
        ("FSBP SQS.1", "CKV_AWS_27"),
        "Set kmsMasterKeyId of the queue. " + COMPONENT_KEY,
        **_of(_queues, "aws:sqs/queue:Queue"),
    ),
    Control(
        "enc-sqs-cmk",
        "Messages of a queue are encrypted with a key of ours.",
        LOW,
        ("CKV2_AWS_73", "cfn-guard SQS_QUEUE_KMS_MASTER_KEY_ID_RULE"),
        "Set kmsMasterKeyId of the queue. " + COMPONENT_KEY,
        **_of(_queue_keys, "aws:sqs/queue:Queue"),
    ),
    Control(
        "enc-ddb-sse",
        "A table is encrypted with a key of this account.",
        MEDIUM,
        ("cfn-guard DYNAMODB_TABLE_MUST_BE_ENCRYPTED",),
        "Set serverSideEncryption.enabled to True.",
        **of_table(SWITCHED_ON["enc-ddb-sse"]),
    ),
    Control(
        "enc-ddb-kms",
        "A table and its replicas are encrypted with a key of ours.",
        MEDIUM,
        ("CKV_AWS_119", "prowler dynamodb_tables_kms_cmk_encryption_enabled"),
        "Set serverSideEncryption.kmsKeyArn, and kmsKeyArn of each replica.",
        **with_our_key(KEY_INPUTS["enc-ddb-kms"]),
    ),
    Control(
        "enc-eventbus-kms",
        "Events of a bus are encrypted with a key of ours.",
        LOW,
        (),
        "Set kmsKeyIdentifier of the bus.",
        **with_our_key(KEY_INPUTS["enc-eventbus-kms"]),
    ),
    Control(
        "enc-lambda-env-kms",
        "A function's environment is encrypted with a key of ours, also before it has one.",
        MEDIUM,
        ("CKV_AWS_173", "prowler awslambda_function_env_vars_not_encrypted_with_cmk"),
        "Set kmsKeyArn of the function. " + COMPONENT_KEY,
        **with_our_key(KEY_INPUTS["enc-lambda-env-kms"]),
    ),
    Control(
        "enc-schedule-kms",
        "What a schedule sends is encrypted with a key of ours.",
        LOW,
        (),
        "Set kmsKeyArn of the schedule. " + COMPONENT_KEY,
        **with_our_key(KEY_INPUTS["enc-schedule-kms"]),
    ),
    Control(
        "enc-stepfunctions",
        "What passes through a state machine is not encrypted with AWS's own key.",
        MEDIUM,
        (),
        "Set encryptionConfiguration.type to CUSTOMER_MANAGED_KMS_KEY.",
        **of_table(SWITCHED_ON["enc-stepfunctions"]),
    ),
    Control(
        "enc-stepfunctions-kms",
        "What passes through a state machine is encrypted with a key of ours.",
        MEDIUM,
        (),
        "Set encryptionConfiguration.kmsKeyId. " + COMPONENT_KEY,
        **with_our_key(KEY_INPUTS["enc-stepfunctions-kms"]),
    ),
    Control(
        "enc-api-cache",
        "What an API caches is encrypted.",
        MEDIUM,
        ("FSBP APIGateway.5",),
        "Set settings.cacheDataEncrypted to True, or cachingEnabled to False.",
        **_of(_api_caches, "aws:apigateway/methodSettings:MethodSettings"),
    ),
    Control(
        "enc-secret-cmk",
        "A secret is encrypted with a key of ours.",
        MEDIUM,
        ("CKV_AWS_149",),
        "Set kmsKeyId of the secret.",
        **with_our_key(KEY_INPUTS["enc-secret-cmk"]),
    ),
    Control(
        "enc-ssm-secure",
        "A parameter that is called like a secret is one, and is encrypted with a key of ours.",
        MEDIUM,
        ("CKV_AWS_337",),
        "Set type to SecureString and keyId, or keep it in Secrets Manager.",
        **_of(_parameters, "aws:ssm/parameter:Parameter"),
    ),
    Control(
        "enc-kms-rotation",
        "Every symmetric key is rotated at least once a year.",
        MEDIUM,
        ("FSBP KMS.4", "CIS 7.0 4.6", "CKV_AWS_7", "awsguard cmk-backing-key-rotation-enabled"),
        "Set enableKeyRotation to True and rotationPeriodInDays to 365 or less; the component Key does.",
        **_of(_rotation, KEY),
    ),
    Control(
        "kms-deletion-window",
        "A deleted key can be called back for long enough to notice.",
        MEDIUM,
        ("FSBP KMS.3",),
        "Set deletionWindowInDays; in YAML, key.deletion_days.",
        **_of(_deletion, KEY),
    ),
    Control(
        "enc-kms-enabled",
        "A key is enabled.",
        LOW,
        ("CKV_AWS_227",),
        "Leave isEnabled out, or set it to True.",
        **of_table(SWITCHED_ON["enc-kms-enabled"]),
    ),
    Control(
        "kms-no-lockout-bypass",
        "KMS checks that a key's policy does not lock everyone out.",
        HIGH,
        ("compliance-policies disallowBypassPolicyLockoutSafetyCheck",),
        "Leave bypassPolicyLockoutSafetyCheck out.",
        **of_table(SWITCHED_ON["kms-no-lockout-bypass"]),
    ),
    Control(
        "enc-key-in-stack",
        "Every key is one of the stack's own, of an account that it deploys to, or listed in policies/limits.yaml.",
        MEDIUM,
        (),
        COMPONENT_KEY,
        stack_rule=_keys_known,
    ),
]

POLICIES: list[Policy] = [control_policy(each) for each in CONTROLS]
