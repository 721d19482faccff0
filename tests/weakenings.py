"""Every way in which the mutation proof makes a plan worse: one value of one resource at a time.

A weakening is a row of `TABLE` where a value at a path is all that changes, or a function where it takes more: policy
documents, whole resources, pods. Only what is really worse belongs here: less protection, or more that may be spent.
"""

import base64
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from infra.rehearsal.engine import Resource

REMOVED: Final = object()
"""Stands for no value at all."""
FOREIGN: Final = "999999999999"
"""An account that is none of ours."""
LEAKED: Final = "AKIA" + "QZ7RWX2KM5TLNDVB"
"""What a key of an AWS user looks like."""
SERVING = frozenset({"prod"})
ELSEWHERE = frozenset({"local", "dev", "staging"})
EVERYWHERE = SERVING | ELSEWHERE

Path = tuple[str | int, ...]
New = Any | Callable[[Any], Any]


@dataclass(frozen=True)
class Mutant:
    """A resource of a plan made worse, or (without one) taken away."""

    operator: str
    of: Resource
    where: str
    what: str
    weaker: Resource | None


@dataclass(frozen=True)
class Weakening:
    """Each value of `to` (REMOVED, a value, or a function of what is there) instead of what stands at a path."""

    operator: str
    types: str
    """Part of the resource's type, as a regular expression."""
    path: str
    """The whole path, as a regular expression; `*` stands for a list's index."""
    to: tuple[New, ...]
    environments: frozenset[str] = EVERYWHERE


# Trees, through the JSON documents that some strings hold.


def opened(value: Any) -> Any:
    """What a string of JSON says, else the value itself."""
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def nodes(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every value in a tree with its path, the tree itself first."""
    yield path, value
    inner = opened(value)
    if isinstance(inner, Mapping):
        for key, each in inner.items():
            yield from nodes(each, (*path, key))
    elif isinstance(inner, list | tuple):
        for index, each in enumerate(inner):
            yield from nodes(each, (*path, index))


def changed(value: Any, path: Path, new: Any) -> Any:
    """A copy of the tree with another value at a path."""
    if not path:
        return new
    step, *rest = path
    inner = opened(value)
    copy: Any = dict(inner) if isinstance(inner, Mapping) else list(inner)
    element = changed(copy[step], tuple(rest), new)
    if element is REMOVED:
        del copy[step]
    else:
        copy[step] = element
    return json.dumps(copy) if isinstance(value, str) else copy


def template(path: Path) -> str:
    return ".".join("*" if isinstance(step, int) else step for step in path)


def with_(**added: Any) -> Callable[[Any], Any]:
    """What is there, and these keys."""
    return lambda old: {**old, **added}


def without(*keys: str) -> Callable[[Any], Any]:
    return lambda old: {key: value for key, value in old.items() if key not in keys}


def also(*added: Any) -> Callable[[Any], Any]:
    """What the list holds, and these."""
    return lambda old: [*old, *added]


def but(last: Any) -> Callable[[Any], Any]:
    """What the list holds but one."""
    return lambda old: [each for each in old if each != last]


def first(old: Any) -> Any:
    return old[:1]


def flipped(old: Any) -> Any:
    """The other of true and false, in the form in which it is there."""
    return {True: False, False: True, "true": "false", "false": "true"}[old]


def tenfold(old: Any) -> Any:
    """Ten times a number or a quantity (`4Gi`); ten where nothing is allowed at all."""
    if isinstance(old, int | float):
        return old * 10 or 10
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([A-Za-z]*)", str(old))
    if not found:
        return old
    number = float(found[1]) * 10 or 10
    return f"{number:.2f}{found[2]}" if "." in found[1] else f"{number:.0f}{found[2]}"


def larger(old: str) -> str:
    """An instance with eight GPUs of the last generation but one; of the last where there is one already."""
    prefix = "ml." if old.startswith("ml.") else ""
    return f"{prefix}p5.48xlarge" if old.removeprefix("ml.").startswith("p4") else f"{prefix}p4d.24xlarge"


MANAGED = tuple(
    f"arn:aws:iam::aws:policy/{each}"
    for each in (
        "AdministratorAccess",
        "PowerUserAccess",
        "IAMFullAccess",
        "AmazonSageMakerFullAccess",
        "AmazonS3FullAccess",
    )
)
KEYS = r"(?:.*\.)?(?:kms\w*[Kk]ey\w*|\w*KmsKeyId|provider\.keyArn)"
"""Where a resource is given the key that encrypts it."""
FOREIGN_KEY = f"arn:aws:kms:us-east-1:{FOREIGN}:key/0f0f0f0f-1111-2222-3333-444455556666"
FOREIGN_MODEL = {
    "image": "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.9-0-cpu-py3",
    "modelDataUrl": "s3://someones-bucket/model.tar.gz",
}
ALL_EGRESS = {"protocol": "-1", "fromPort": 0, "toPort": 0, "cidrBlocks": ["0.0.0.0/0"]}
SSH = {"protocol": "tcp", "fromPort": 22, "toPort": 22, "cidrBlocks": ["0.0.0.0/0"]}
POD = r"spec(?:\.jobTemplate\.spec)?\.template\.spec"
WORKLOAD = r"kubernetes:(?:core|apps|batch)/v1:(?:Pod|Deployment|StatefulSet|DaemonSet|Job|CronJob)$"
CONTAINER = rf"{POD}\.(?:initContainers|containers)\.\*"
STEP = r"pipelineDefinition\.Steps\.\*(?:\.\w+)*?\.Arguments"


def key_of_aws(old: Any) -> Any:
    return "alias/aws/s3" if ":key/" in str(old) else old


def key_of_others(old: Any) -> Any:
    return FOREIGN_KEY if ":key/" in str(old) else old


def no_key(old: Any) -> Any:
    return REMOVED if ":key/" in str(old) else old


def with_secret(user_data: str) -> str:
    line = f"\nexport AWS_ACCESS_KEY_ID={LEAKED}\n"
    return base64.b64encode(base64.b64decode(user_data) + line.encode()).decode()


def or_larger(requirement: Any) -> Any:
    """A pool's requirement that lets in the largest instance, too."""
    if not requirement["key"].endswith("instance-type"):
        return requirement
    return {**requirement, "values": [*requirement["values"], "p5.48xlarge"]}


def any_instance(requirement: Any) -> Any:
    return REMOVED if requirement["key"].endswith("instance-type") else requirement


def never_empty(group: Any) -> Any:
    """A group of nodes that keeps one where it kept none."""
    least = group["scalingConfig"]["minSize"]
    return changed(group, ("scalingConfig", "minSize"), least or 1)


def weaker(operator: str, types: str, path: str, *to: New, only: frozenset[str] = EVERYWHERE) -> Weakening:
    return Weakening(operator, types, path, to, only)


TABLE: tuple[Weakening, ...] = (
    # Encryption.
    weaker("key dropped", r"^(?!aws:lambda/invocation)", rf"(?!environment\.)(?!policy){KEYS}", no_key),
    weaker("key of AWS instead", r"^(?!aws:lambda/invocation)", rf"(?!environment\.)(?!policy){KEYS}", key_of_aws),
    weaker(
        "key of another account", r"^(?!aws:lambda/invocation)", rf"(?!environment\.)(?!policy){KEYS}", key_of_others
    ),
    weaker(
        "key dropped", "lambda/function:", r"environment\.variables\.BATCH\..*(?:kms_key_arn|VolumeKmsKeyId)", no_key
    ),
    weaker("encryption off", "", r"(?:.*\.)?ebs\.encrypted", flipped, REMOVED),
    weaker("encryption off", "", r"(?:.*\.)?sseAlgorithm", lambda old: "AES256"),
    weaker("encryption off", "", r"(?:.*\.)?applyServerSideEncryptionByDefault", REMOVED),
    weaker("encryption off", "ecr/repository:", r"encryptionConfigurations\.\*\.encryptionType", "AES256"),
    weaker("encryption off", "sfn/", r"encryptionConfiguration\.type", "AWS_OWNED_KEY"),
    weaker("encryption off", "", r"encryptionConfigurations?|encryptionConfig", REMOVED),
    weaker("encryption off", "eks/cluster:", r"encryptionConfig\.resources", []),
    weaker(
        "encryption off",
        "featureGroup",
        r"(?:on|off)lineStoreConfig\.(?:securityConfig|s3StorageConfig\.kmsKeyId)",
        REMOVED,
    ),
    weaker("encryption off", "kms/key:", "", with_(isEnabled=False)),
    weaker("bucket key off", "s3/", r"(?:.*\.)?bucketKeyEnabled", False, REMOVED),
    weaker("old TLS", "apigateway/restApi:", "securityPolicy", "TLS_1_0", REMOVED),
    weaker("rotation off", "kms/key:", "enableKeyRotation", False, REMOVED),
    weaker("rotation off", "kms/key:", "rotationPeriodInDays", 2560),
    weaker("deleted at once", "kms/key:", "deletionWindowInDays", 7, only=SERVING),
    weaker("lock-out allowed", "kms/key", "", with_(bypassPolicyLockoutSafetyCheck=True)),
    # Network and what is public.
    weaker("public", "PublicAccessBlock", r"\w*(?:Acls|Policy|Buckets)", False, REMOVED),
    weaker("public", "OwnershipControls", r"rule\.objectOwnership", "ObjectWriter", "BucketOwnerPreferred"),
    weaker("public", "s3/bucket:", "", with_(acl="public-read")),
    weaker("public", "ec2/subnet:", "mapPublicIpOnLaunch", True),
    weaker("public", "eks/cluster:", r"vpcConfig\.endpointPublicAccess", True, REMOVED),
    weaker("public", "eks/cluster:", r"vpcConfig\.endpointPrivateAccess", False, REMOVED),
    weaker("public", "eks/cluster:", "vpcConfig", with_(endpointPublicAccess=True, publicAccessCidrs=["0.0.0.0/0"])),
    weaker("public", "ec2/launchTemplate:", r"networkInterfaces\.\*", with_(associatePublicIpAddress="true")),
    weaker("public", "lambda/permission:", "principal", "*"),
    weaker("caller not named", "lambda/permission:", "", without("sourceArn", "sourceAccount")),
    weaker("caller not named", "lambda/permission:", "sourceArn", REMOVED),
    weaker("caller not named", "lambda/permission:", "sourceAccount", REMOVED),
    weaker("open to the world", "IngressRule", "", lambda old: {**_source(old), "cidrIpv4": "0.0.0.0/0"}),
    weaker("open to the world", "IngressRule", "", lambda old: {**_source(old), "cidrIpv6": "::/0"}),
    weaker(
        "open to the world",
        "EgressRule",
        "",
        lambda old: {**without("fromPort", "toPort")(_source(old)), "cidrIpv4": "0.0.0.0/0", "ipProtocol": "-1"},
    ),
    weaker(
        "open to the world",
        "defaultSecurityGroup",
        "ingress",
        [{"protocol": "-1", "fromPort": 0, "toPort": 0, "self": True}],
    ),
    weaker("open to the world", "defaultSecurityGroup", "egress", [ALL_EGRESS]),
    weaker("open to the world", "ec2/securityGroup:", "", with_(ingress=[SSH])),
    weaker("open to the world", "ec2/securityGroup:", "", with_(egress=[ALL_EGRESS])),
    weaker(
        "open to the world",
        "NetworkPolicy",
        "spec",
        lambda old: {**old, "ingress": [{}], "policyTypes": ["Ingress", "Egress"]},
    ),
    weaker(
        "open to the world",
        "NetworkPolicy",
        "spec",
        lambda old: {**old, "egress": [{}], "policyTypes": ["Ingress", "Egress"]},
    ),
    weaker("open to the world", "NetworkPolicy", r"spec\.egress\.\*\.to\.\*\.ipBlock\.cidr", "0.0.0.0/0"),
    weaker("open to the world", "NetworkPolicy", r"spec\.(?:in|e)gress\.\*\.ports", REMOVED),
    weaker("less is denied", "NetworkPolicy", r"spec\.policyTypes", ["Ingress"], ["Egress"]),
    weaker("less is denied", "NetworkPolicy", r"spec\.podSelector", {"matchLabels": {"app": "one"}}),
    weaker("private name off", "vpcEndpoint", "privateDnsEnabled", False, REMOVED),
    weaker("no endpoint policy", "vpcEndpoint", "policy", REMOVED),
    weaker("less traffic logged", "flowLog", "trafficType", "REJECT", "ACCEPT"),
    # Isolation.
    weaker("isolation off", "sagemaker/", "enableNetworkIsolation", lambda old: False, REMOVED),
    weaker("isolation off", "sagemaker/", "vpcConfig", REMOVED),
    weaker(
        "isolation off", "sagemaker/pipeline:", rf"{STEP}(?:\.NetworkConfig)?\.EnableNetworkIsolation", False, REMOVED
    ),
    weaker("isolation off", "sagemaker/pipeline:", rf"{STEP}(?:\.NetworkConfig)?\.VpcConfig", REMOVED),
    weaker("isolation off", "sagemaker/pipeline:", rf"{STEP}\.NetworkConfig", REMOVED),
    weaker("unencrypted between nodes", "sagemaker/pipeline:", rf"{STEP}\.ResourceConfig\.InstanceCount", 2),
    weaker("metadata without token", "", r"(?:spec\.)?metadataOptions\.httpTokens", "optional", REMOVED),
    weaker("metadata without token", "", r"(?:spec\.)?metadataOptions", REMOVED),
    weaker("metadata from pods", "", r"(?:spec\.)?metadataOptions\.httpPutResponseHopLimit", 3),
    weaker(
        "shell in the model",
        "endpointConfiguration",
        r"(?:p|shadowP)roductionVariants\.\*",
        with_(enableSsmAccess=True),
        only=SERVING,
    ),
    weaker(
        "unapproved model",
        "sagemaker/model:",
        "primaryContainer",
        lambda old: {"image": "docker.io/someone/model:latest"},
    ),
    weaker(
        "unapproved model",
        "sagemaker/model:",
        "primaryContainer",
        lambda old: {**without("modelPackageName")(old), **FOREIGN_MODEL},
    ),
    # Who may do what, besides policy documents.
    weaker("cluster opened", "eks/cluster:", r"accessConfig\.authenticationMode", "API_AND_CONFIG_MAP", "CONFIG_MAP"),
    weaker("cluster opened", "eks/cluster:", r"accessConfig\.bootstrapClusterCreatorAdminPermissions", True, REMOVED),
    weaker("cluster opened", "accessPolicyAssociation", "accessScope", {"type": "cluster"}),
    weaker(
        "cluster opened",
        "accessPolicyAssociation",
        "policyArn",
        "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy",
    ),
    weaker("cluster opened", "accessEntry", "", with_(kubernetesGroups=["system:masters"])),
    weaker("ssh to nodes", "eks/nodeGroup:", "", with_(remoteAccess={"ec2SshKey": "mine"})),
    weaker("managed policy of an admin", "iam/rolePolicyAttachment:", "policyArn", *MANAGED),
    weaker(
        "managed policy of an admin",
        "iam/role:",
        "",
        with_(managedPolicyArns=["arn:aws:iam::aws:policy/AdministratorAccess"]),
    ),
    weaker("api without sign-in", "apigateway/restApi:", r"body\.paths\.[^*]*\.(?:get|post)\.security", REMOVED, []),
    weaker("sign-up by anyone", "cognito/userPool:", r"adminCreateUserConfig\.allowAdminCreateUserOnly", False),
    weaker("sign-up by anyone", "cognito/userPool:", "adminCreateUserConfig", REMOVED),
    weaker("tokens without a secret", "userPoolClient", "generateSecret", False),
    weaker("tokens that cannot be revoked", "userPoolClient", "enableTokenRevocation", False),
    weaker("tokens for a day", "userPoolClient", "accessTokenValidity", 1440),
    # Secrets.
    weaker("secret in the environment", "lambda/function:", r"environment\.variables", with_(AWS_SECRET=LEAKED)),
    weaker("secret in the environment", "sagemaker/model:", r"primaryContainer\.environment", with_(TOKEN=LEAKED)),
    weaker(
        "secret in the environment",
        WORKLOAD,
        rf"{CONTAINER}\.env",
        also({"name": "AWS_ACCESS_KEY_ID", "value": LEAKED}),
    ),
    weaker(
        "secret in the environment",
        WORKLOAD,
        rf"{CONTAINER}\.env",
        also({"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "a", "key": "b"}}}),
    ),
    weaker(
        "secret in the environment",
        "sagemaker/pipeline:",
        rf"{STEP}\.(?:Environment|HyperParameters)",
        with_(TOKEN=LEAKED),
    ),
    weaker("secret in user data", "launchTemplate", "userData", with_secret),
    weaker("requests in the log", "methodSettings", r"settings\.dataTraceEnabled", True),
    # Pods.
    weaker(
        "pod less confined",
        WORKLOAD,
        rf"{CONTAINER}\.securityContext",
        with_(privileged=True),
        REMOVED,
        with_(runAsUser=0, runAsNonRoot=False),
    ),
    weaker(
        "pod less confined",
        WORKLOAD,
        rf"{CONTAINER}\.securityContext\.(?:allowPrivilegeEscalation|readOnlyRootFilesystem|runAsNonRoot)",
        flipped,
        REMOVED,
    ),
    weaker(
        "pod less confined", WORKLOAD, rf"{CONTAINER}\.securityContext\.capabilities", with_(add=["SYS_ADMIN"]), REMOVED
    ),
    weaker("pod less confined", WORKLOAD, rf"{CONTAINER}\.securityContext\.capabilities\.drop", []),
    weaker("pod less confined", WORKLOAD, POD, with_(hostPID=True), with_(hostIPC=True), with_(hostNetwork=True)),
    weaker("pod less confined", WORKLOAD, rf"{POD}\.securityContext\.seccompProfile", {"type": "Unconfined"}, REMOVED),
    weaker("pod less confined", WORKLOAD, rf"{POD}\.volumes", also({"name": "root", "hostPath": {"path": "/"}})),
    weaker("pod less confined", WORKLOAD, rf"{POD}\.volumes\.\*\.hostPath\.path", "/"),
    weaker("pod less confined", WORKLOAD, rf"{CONTAINER}", with_(ports=[{"containerPort": 9, "hostPort": 9}])),
    weaker("token in the pod", WORKLOAD, rf"{POD}\.automountServiceAccountToken", True, REMOVED),
    weaker("token in the pod", "ServiceAccount$", "automountServiceAccountToken", True, REMOVED),
    weaker("pod in the default namespace", WORKLOAD, r"metadata\.namespace", "default", REMOVED),
    weaker(
        "image of others", WORKLOAD, rf"{CONTAINER}\.image", lambda old: "docker.io/someone/" + old.rpartition("/")[2]
    ),
    weaker(
        "image that changes", WORKLOAD, rf"{CONTAINER}\.image", lambda old: re.sub(r"@.*|:[^/:]*$", "", old) + ":latest"
    ),
    weaker(
        "image of others",
        "helm",
        r"values(?:\.\w+)*\.image\.repository",
        lambda old: "docker.io/someone/" + old.rpartition("/")[2],
    ),
    weaker("image that changes", "EC2NodeClass", r"spec\.amiSelectorTerms\.\*\.alias", "al2023@latest"),
    weaker(
        "pod without limits",
        WORKLOAD,
        rf"{CONTAINER}\.resources(?:\.limits(?:\.memory)?|\.requests(?:\.\w+)?)?",
        REMOVED,
    ),
    weaker(
        "pods less confined",
        "Namespace$",
        r"metadata\.labels\.pod-security\.kubernetes\.io/enforce",
        "privileged",
        REMOVED,
    ),
    weaker("pods less confined", "Namespace$", r"metadata\.labels", REMOVED),
    # Money.
    weaker("ten times as much", "eks/nodeGroup:", r"scalingConfig\.maxSize", tenfold),
    weaker("ten times as much", "appautoscaling/", r"(?:scalableTargetAction\.)?maxCapacity", tenfold),
    weaker(
        "ten times as much",
        "endpointConfiguration",
        r".*\.(?:maxInstanceCount|initialInstanceCount|maxConcurrency)",
        tenfold,
    ),
    weaker("ten times as much", "NodePool", r"spec\.limits\..*", tenfold, REMOVED),
    weaker("ten times as much", "NodePool", r"spec\.limits", REMOVED),
    weaker("ten times as much", "ResourceQuota", r"spec\.hard\.requests.*", tenfold, REMOVED),
    weaker(
        "ten times as much",
        "ResourceQuota",
        r"spec\.hard\.(?:pods|count.*|limits\.memory|services.*)",
        tenfold,
        REMOVED,
    ),
    weaker("ten times as much", "LimitRange", r"spec\.limits\.\*\.(?:max|default)", REMOVED),
    weaker("ten times as much", "LimitRange", r"spec\.limits\.\*\.max\..*", tenfold),
    weaker(
        "ten times as much",
        "Queue$|Cohort",
        r"spec\.resourceGroups\.\*\.flavors\.\*\.resources\.\*\.nominalQuota",
        tenfold,
    ),
    weaker("ten times as much", "budgets/budget:", "limitAmount", tenfold, REMOVED),
    weaker("ten times as much", "lambda/function:", "memorySize|timeout", tenfold),
    weaker("ten times as much", "launchTemplate|EC2NodeClass", r".*\.ebs\.volumeSize", tenfold),
    weaker(
        "ten times as much",
        "sagemaker/pipeline:",
        rf"{STEP}.*\.(?:InstanceCount|VolumeSizeInGB|MaxRuntimeInSeconds)",
        tenfold,
    ),
    weaker(
        "ten times as much", "lambda/function:", r"environment\.variables\.BATCH\.resources\.InstanceCount", tenfold
    ),
    weaker("ten times as many requests", "usagePlan:", r"(?:throttle|quota)Settings\.(?:\w+Limit|limit)", tenfold),
    weaker("ten times as many requests", "usagePlan:", r"(?:throttle|quota)Settings", REMOVED),
    weaker("ten times as many requests", "methodSettings", r"settings\.throttling\w+", tenfold, REMOVED),
    weaker("no limit on time", "sagemaker/pipeline:", rf"{STEP}\.StoppingCondition", REMOVED),
    weaker("no limit on concurrency", "lambda/function:", "reservedConcurrentExecutions", REMOVED),
    weaker("larger instance", "", r"(?:.*\.)?(?:instanceType|instanceTypes\.\*|InstanceType)", larger),
    weaker("larger instance", "NodePool", r"spec\.template\.spec\.requirements\.\*", or_larger),
    weaker("larger instance", "NodePool", r"spec\.template\.spec\.requirements\.\*", any_instance),
    weaker("dearer disk", "launchTemplate|EC2NodeClass", r".*\.ebs\.volumeType", "io2"),
    weaker("spot off", "eks/nodeGroup:", "capacityType", "ON_DEMAND", only=ELSEWHERE),
    weaker("spot off", "sagemaker/pipeline:", rf"{STEP}\.EnableManagedSpotTraining", False, REMOVED, only=ELSEWHERE),
    weaker("never to zero", "eks/nodeGroup:", "", never_empty),
    weaker(
        "never to zero", "endpointConfiguration", r".*\.managedInstanceScaling\.minInstanceCount", 1, only=ELSEWHERE
    ),
    weaker("never to zero", "appautoscaling/target:", "minCapacity", lambda old: old or 1, only=ELSEWHERE),
    weaker("never to zero", "NodePool", r"spec\.disruption\.consolidateAfter", "Never"),
    weaker("dearer control plane", "eks/cluster:", r"upgradePolicy\.supportType", "EXTENDED", REMOVED),
    weaker("dearer control plane", "eks/cluster:", "", with_(controlPlaneScalingConfig={"tier": "tier-4xl"})),
    weaker(
        "dearer features",
        "featureGroup",
        "throughputConfig",
        {
            "throughputMode": "Provisioned",
            "provisionedReadCapacityUnits": 40000,
            "provisionedWriteCapacityUnits": 40000,
        },
    ),
    weaker("dearer features", "featureGroup", r"onlineStoreConfig\.storageType", "InMemory"),
    weaker("budget tells nobody", "budgets/budget:", "notifications", REMOVED, [], first),
    weaker("budget tells nobody", "budgets/budget:", r"notifications\.\*\.subscriberSnsTopicArns", REMOVED, []),
    weaker("budget of something else", "budgets/budget:", "costFilters", REMOVED, []),
    weaker("budget of something else", "budgets/budget:", "timeUnit", "ANNUALLY"),
    weaker("budget of something else", "budgets/budget:", "budgetType", "USAGE"),
    # How long things are kept.
    weaker("kept for ever", "logGroup", "retentionInDays", REMOVED, 0),
    weaker("kept for ever", "LifecycleConfiguration", r"rules|rules\.\*", REMOVED),
    weaker("kept for ever", "LifecycleConfiguration", r"rules\.\*\.status", "Disabled"),
    weaker(
        "kept for ever",
        "LifecycleConfiguration",
        r"rules\.\*\.(?:expiration|noncurrentVersionExpiration|abortIncompleteMultipartUpload)",
        REMOVED,
    ),
    weaker("kept for ever", "ecr/lifecyclePolicy:", r"policy\.rules", []),
    weaker("kept for ever", "featureGroup", r"onlineStoreConfig\.ttlDuration", REMOVED),
    weaker("lost too early", "logGroup", "retentionInDays", 1, only=SERVING),
    weaker("lost too early", "ObjectLockConfiguration", r"rule\.defaultRetention\.mode", "GOVERNANCE", only=SERVING),
    weaker("lost too early", "ObjectLockConfiguration", r"rule", REMOVED),
    weaker("lost too early", "s3/bucket:", "objectLockEnabled", False, REMOVED),
    weaker("lost too early", "sqs/queue:", "messageRetentionSeconds", lambda old: 60),
    weaker("versions suspended", "bucketVersioning", r"versioningConfiguration\.status", "Suspended", "Disabled"),
    weaker("deleted with what it holds", "s3/bucket:", "forceDestroy", True, only=SERVING),
    weaker("deleted with what it holds", "ecr/repository:", "", with_(forceDelete=True), only=SERVING),
    weaker("can be deleted", "eks/cluster:", "deletionProtection", False, REMOVED, only=SERVING),
    weaker("can be deleted", "cognito/userPool:", "deletionProtection", "INACTIVE", REMOVED, only=SERVING),
    # What tells and what mends.
    weaker(
        "no way back", "sagemaker/endpoint:", r"deploymentConfig(?:\.autoRollbackConfiguration(?:\.alarms)?)?", REMOVED
    ),
    weaker("no way back", "sagemaker/endpoint:", r"deploymentConfig\.autoRollbackConfiguration\.alarms", []),
    weaker(
        "all at once",
        "sagemaker/endpoint:",
        r"deploymentConfig\.blueGreenUpdatePolicy\.trafficRoutingConfiguration",
        {"type": "ALL_AT_ONCE"},
        only=SERVING,
    ),
    weaker("no capture", "endpointConfiguration", r"dataCaptureConfig", REMOVED, only=SERVING),
    weaker("no capture", "endpointConfiguration", r"dataCaptureConfig\.enableCapture", False, only=SERVING),
    weaker("no capture", "endpointConfiguration", r"dataCaptureConfig\.captureOptions", first, only=SERVING),
    weaker("no capture", "endpointConfiguration", r"dataCaptureConfig\.initialSamplingPercentage", 0, only=SERVING),
    weaker("one machine", "endpointConfiguration", r"productionVariants\.\*\.initialInstanceCount", 1, only=SERVING),
    weaker("one machine", "appautoscaling/target:", "minCapacity", lambda old: 1 if old else old, only=SERVING),
    weaker("one zone", "eks/", r"(?:vpcConfig\.)?subnetIds", first, only=SERVING),
    weaker("alarm tells nobody", "metricAlarm", "", with_(actionsEnabled=False)),
    weaker("alarm tells nobody", "metricAlarm", "alarmActions", REMOVED, []),
    weaker("failures are lost", "", r"(?:target\.)?deadLetterConfig", REMOVED),
    weaker("failures are lost", "eventTarget", "retryPolicy", REMOVED),
    weaker("nothing traced", "apigateway/stage:", "xrayTracingEnabled", lambda old: False, only=SERVING),
    weaker("nothing logged", "apigateway/stage:", "accessLogSettings", REMOVED),
    weaker(
        "nothing logged",
        "eks/cluster:",
        "enabledClusterLogTypes",
        REMOVED,
        *map(but, ("api", "audit", "authenticator", "controllerManager", "scheduler")),
        only=SERVING,
    ),
    weaker("nothing logged", "eks/cluster:", "enabledClusterLogTypes", but("audit")),
    weaker("tags overwritten", "ecr/repository:", "imageTagMutability", "MUTABLE", REMOVED),
    weaker("not scanned", "ecr/repository:", r"imageScanningConfiguration(?:\.scanOnPush)?", REMOVED),
    weaker("not scanned", "ecr/repository:", r"imageScanningConfiguration\.scanOnPush", False),
    weaker("out of support", "lambda/function:", "runtime", "python3.8"),
    weaker("out of support", "eks/cluster:", "version", "1.28"),
    weaker("out of support", "eks/nodeGroup:", "releaseVersion", "1.28.1-20240101"),
    weaker("not described", "modelPackageGroup:", "modelPackageGroupDescription", REMOVED),
)


def _source(rule: Mapping[str, Any]) -> dict[str, Any]:
    """A security group's rule without what it lets in or out."""
    sources = {"cidrIpv4", "cidrIpv6", "prefixListId", "referencedSecurityGroupId"}
    return {key: value for key, value in rule.items() if key not in sources}


COMPANIONS: Final = (
    "s3/bucketPolicy:",
    "s3/bucketPublicAccessBlock:",
    "s3/bucketServerSideEncryptionConfiguration:",
    "s3/bucketVersioning:",
    "s3/bucketLifecycleConfiguration:",
    "s3/bucketOwnershipControls:",
    "s3/bucketLogging:",
    "s3/bucketObjectLockConfiguration:",
    "sqs/queuePolicy:",
    "sns/topicPolicy:",
    "sns/topicSubscription:",
    "kms/keyPolicy:",
    "ecr/lifecyclePolicy:",
    "ec2/flowLog:",
    "ec2/defaultSecurityGroup:",
    "ec2/vpcEndpoint:",
    "appautoscaling/target:",
    "appautoscaling/policy:",
    "budgets/budget:",
    "cloudwatch/logGroup:",
    "lambda/functionEventInvokeConfig:",
    "apigateway/usagePlan:",
    "apigateway/methodSettings:",
    "NetworkPolicy",
    "ResourceQuota",
    "LimitRange",
)
"""What protects or limits another resource, and is declared beside it: taken away as a whole."""

STATEFUL: Final = ("kms/key:", "s3/bucket:", "eks/cluster:", "featureGroup", "dynamodb/table:")
"""What loses data when it is deleted."""


def mutants(resource: Resource, environment: str, others: Mapping[str, Resource]) -> Iterator[Mutant]:
    """Every weaker form of one resource; `others` are all of its stack by URN."""
    for operator, where, what, inputs in _weaker(resource, environment):
        yield Mutant(operator, resource, where, what, _with(resource, inputs, others))
    if any(part in resource.type for part in COMPANIONS):
        yield Mutant("taken away", resource, "", "the whole resource", None)
    if resource.protect and environment in SERVING and any(part in resource.type for part in STATEFUL):
        yield Mutant("can be deleted", resource, "protect", "True -> False", replace(resource, protect=False))


def _weaker(resource: Resource, environment: str) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    inputs = dict(resource.inputs)
    found = list(nodes(inputs))
    for row in TABLE:
        if environment not in row.environments or not re.search(row.types, resource.type):
            continue
        for path, old in found:
            if path[:1] not in (("tags",), ("tagsAll",), ("__defaults",)) and re.fullmatch(row.path, template(path)):
                for to in row.to:
                    new = to(old) if callable(to) else to
                    if new is not old and new != old:
                        yield row.operator, template(path), _told(old, new), changed(inputs, path, new)
    yield from _untagged(inputs, found)
    if resource.type.startswith("aws:"):
        for key, value in inputs.items():
            document = opened(value)
            if isinstance(document, Mapping) and "Statement" in document and isinstance(value, str):
                for operator, where, what, other in documents(resource.type, key, document):
                    yield operator, f"{key}.{where}", what, {**inputs, key: json.dumps(other)}


def _told(old: Any, new: Any) -> str:
    return f"{_short(old)} -> {'nothing' if new is REMOVED else _short(new)}"


def _short(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 70 else f"{text[:67]}…"


def _untagged(inputs: dict[str, Any], found: list[tuple[Path, Any]]) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    """Without each of the tags that say whose a resource is and who pays; without any."""
    tags = inputs.get("tagsAll") or {}
    both = [key for key in ("tags", "tagsAll") if key in inputs]
    for tag in tags:
        if tag != "Name" and "/" not in tag:
            other = {key: without(tag)(inputs[key] or {}) for key in both}
            yield "tag dropped", f"tags.{tag}", _told(tags[tag], REMOVED), {**inputs, **other}
    if tags:
        yield "tag dropped", "tags", "all of them", without("tags", "tagsAll")(inputs)
    for path, old in found:
        if template(path) in ("spec.tags.owner", "spec.tags.cost-center", "tagSpecifications.*.tags.owner"):
            yield "tag dropped", template(path), _told(old, REMOVED), changed(inputs, path, REMOVED)


# Policy documents.

ADDED: Final[Mapping[str, Mapping[str, Any]]] = {
    "everything": {"Action": "*", "Resource": "*"},
    "pass any role": {"Action": "iam:PassRole", "Resource": "*"},
    "rewrite policies": {"Action": ["iam:CreatePolicyVersion", "iam:PutRolePolicy"], "Resource": "*"},
    "assume any role": {"Action": "sts:AssumeRole", "Resource": "*"},
    "read every object": {"Action": "s3:GetObject", "Resource": "*"},
    "read every secret": {"Action": "secretsmanager:GetSecretValue", "Resource": "*"},
    "decrypt everything": {"Action": "kms:Decrypt", "Resource": "*"},
    "open buckets": {"Action": "s3:PutBucketPolicy", "Resource": "*"},
    "delete every object": {"Action": "s3:DeleteObject", "Resource": "*"},
    "log in to registries of all": {"Action": "ecr:*", "Resource": "*"},
}
"""What is allowed besides, for each document that says what an identity may do."""

Documents = Iterator[tuple[str, str, str, dict[str, Any]]]


def documents(kind: str, key: str, document: Mapping[str, Any]) -> Documents:
    """Every weaker form of a policy document: the operator, where, what, and the document."""
    statements = list(document["Statement"])

    def put(index: int, *instead: Mapping[str, Any]) -> dict[str, Any]:
        return {**document, "Statement": [*statements[:index], *instead, *statements[index + 1 :]]}

    for index, statement in enumerate(statements):
        at = f"Statement.{statement.get('Sid', index)}"
        if statement["Effect"] == "Deny":
            yield "deny removed", at, _short(statement.get("Action")), put(index)
            continue
        for operator, where, what, other in _allowing(key, statement):
            yield operator, f"{at}.{where}", what, put(index, other)
    if key == "assumeRolePolicy":
        for name, arn in (("everyone", "*"), ("another account", f"arn:aws:iam::{FOREIGN}:root")):
            trust = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": arn}}
            yield "allowed besides", "Statement", name, {**document, "Statement": [*statements, trust]}
    elif "iam/" in kind:
        for name, added in ADDED.items():
            besides = [*statements, {"Effect": "Allow", **added}]
            yield "allowed besides", "Statement", name, {**document, "Statement": besides}
    else:
        public = {**statements[0], "Effect": "Allow", "Principal": "*"}
        public.pop("Condition", None)
        yield "allowed besides", "Statement", "everyone", {**document, "Statement": [*statements, public]}


def _allowing(key: str, statement: Mapping[str, Any]) -> Documents:
    trust = key == "assumeRolePolicy"
    actions = _list(statement.get("Action", []))
    for service in {each.partition(":")[0] for each in actions} if not trust else ():
        if f"{service}:*" not in actions:
            wide = [*(each for each in actions if each.partition(":")[0] != service), f"{service}:*"]
            yield "action widened", "Action", f"{service}:*", {**statement, "Action": wide}
    yield "action widened", "Action", "*", {**statement, "Action": "*"}
    yield "all but", "NotAction", "iam:DeleteUser", {**without("Action")(statement), "NotAction": ["iam:DeleteUser"]}
    resources = _list(statement.get("Resource", []))
    if resources and "*" not in resources:
        yield "resource widened", "Resource", "*", {**statement, "Resource": "*"}
        yield "all but", "NotResource", "-", {**without("Resource")(statement), "NotResource": "arn:aws:s3:::nothing"}
        for arn in {_widest(each) for each in resources} - set(resources):
            yield "resource widened", "Resource", arn, {**statement, "Resource": [arn]}
    if principal := statement.get("Principal"):
        if principal not in ("*", {"AWS": "*"}):
            yield "principal opened", "Principal", "*", {**statement, "Principal": {"AWS": "*"} if trust else "*"}
            opened_ = {**without("Condition")(statement), "Principal": {"AWS": "*"} if trust else "*"}
            if "Condition" in statement:
                yield "principal opened", "Principal", "* without Condition", opened_
            if "AWS" in principal:
                for arn in (f"arn:aws:iam::{FOREIGN}:root", f"arn:aws:iam::{FOREIGN}:role/someone"):
                    yield "principal of another account", "Principal", arn, {**statement, "Principal": {"AWS": arn}}
        others = {**without("Principal")(statement), "NotPrincipal": {"AWS": f"arn:aws:iam::{FOREIGN}:root"}}
        yield "all but", "NotPrincipal", "-", others
    if condition := statement.get("Condition"):
        yield "condition dropped", "Condition", "all of it", without("Condition")(statement)
        for operator, keys in condition.items():
            for name in keys:
                rest = changed(condition, (operator, name), REMOVED)
                if len(keys) > 1 or len(condition) > 1:
                    weaker = {each: value for each, value in rest.items() if value}
                    yield "condition dropped", f"Condition.{operator}", name, {**statement, "Condition": weaker}
            if operator.startswith(("String", "Arn")) and "Not" not in operator and ":" not in operator:
                for weak in (f"{operator}IfExists", f"ForAllValues:{operator}"):
                    weaker = {**changed(condition, (operator,), REMOVED), weak: keys}
                    yield "condition weakened", f"Condition.{operator}", weak, {**statement, "Condition": weaker}
                starred = {**changed(condition, (operator,), REMOVED), "StringLike": dict.fromkeys(keys, "*")}
                yield "condition weakened", f"Condition.{operator}", "*", {**statement, "Condition": starred}


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _widest(arn: str) -> str:
    """Every resource of its service and kind, in every account: `arn:aws:s3:::*`, `arn:aws:kms:*:*:key/*`."""
    parts = arn.split(":", 5)
    if len(parts) < 6:
        return "*"
    kind = re.match(r"[a-z-]+(?=[/:])", parts[5]) if parts[2] != "s3" else None
    anywhere = "*" if parts[3] or parts[4] else ""
    name = f"{kind[0]}{parts[5][kind.end()]}*" if kind else "*"
    return ":".join([*parts[:3], anywhere and "*", anywhere and "*", name])


def _with(resource: Resource, inputs: dict[str, Any], others: Mapping[str, Resource]) -> Resource:
    """The resource with other inputs: its outputs and what its properties come from follow."""
    touched = [key for key in {*inputs, *resource.inputs} if inputs.get(key) != resource.inputs.get(key)]
    outputs = {key: value for key, value in resource.outputs.items() if key not in touched}
    outputs |= {key: inputs[key] for key in touched if key in inputs}
    uses = dict(resource.property_dependencies)
    for key in touched:
        if key not in inputs:
            uses.pop(key, None)
        elif key in uses:
            was, now = json.dumps(resource.inputs.get(key)), json.dumps(inputs[key])
            uses[key] = tuple(urn for urn in uses[key] if not _gone(others.get(urn), was, now))
    return replace(resource, inputs=inputs, outputs=outputs, property_dependencies=uses)


def _gone(used: Resource | None, was: str, now: str) -> bool:
    """Whether a property came from this resource, and does no more."""
    values = [each for each in used.outputs.values() if isinstance(each, str) and len(each) > 7] if used else []
    before = [each for each in values if json.dumps(each)[1:-1] in was]
    return bool(before) and not any(json.dumps(each)[1:-1] in now for each in before)
