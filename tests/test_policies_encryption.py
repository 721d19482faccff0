"""Each control of the encryption pack accepts what is right, refuses what is wrong, and defers what is not known."""

import json
import re

import pulumi_aws as aws
import pytest
from judging import KEY, document, judge, judge_stack, resource
from pulumi.runtime.config import set_all_config

from policies.encryption import CONTROLS, KEY_INPUTS
from policies.encryption import SWITCHED_ON as SETTINGS
from policies.local_disks import has_local_disks
from policies.resource_types import BUCKET, BUCKET_ENCRYPTION, BUCKET_LOGGING, BUCKET_POLICY
from policies.rules import UNKNOWN

QUEUE = "aws:sqs/queue:Queue"
TEMPLATE = "aws:ec2/launchTemplate:LaunchTemplate"
CLUSTER = "aws:eks/cluster:Cluster"
GROUP = "aws:sagemaker/featureGroup:FeatureGroup"
CONFIGURATION = "aws:sagemaker/endpointConfiguration:EndpointConfiguration"
MACHINE = "aws:sfn/stateMachine:StateMachine"
PIPELINE = "aws:sagemaker/pipeline:Pipeline"
JOB = "aws:sagemaker/trainingJob:TrainingJob"
QUALITY = "aws:sagemaker/dataQualityJobDefinition:DataQualityJobDefinition"
MONITOR = "aws:sagemaker/monitoringSchedule:MonitoringSchedule"
TUNING = "aws:sagemaker/hyperParameterTuningJob:HyperParameterTuningJob"
DOMAIN = "aws:sagemaker/domain:Domain"
FUNCTION = "aws:lambda/function:Function"
TOPIC_POLICY = "aws:sns/topicPolicy:TopicPolicy"
QUEUE_POLICY = "aws:sqs/queuePolicy:QueuePolicy"
TABLE = "aws:dynamodb/table:Table"
NODES = "kubernetes:karpenter.k8s.aws/v1:EC2NodeClass"
PARAMETER = "aws:ssm/parameter:Parameter"
CACHES = "aws:apigateway/methodSettings:MethodSettings"
KMS_KEY = "aws:kms/key:Key"
KMS_POLICY = "aws:kms/keyPolicy:KeyPolicy"
INSTANCE = "aws:ec2/instance:Instance"
REPOSITORY = "aws:ecr/repository:Repository"
FILES = "aws:efs/fileSystem:FileSystem"
DATABASE = "aws:rds/instance:Instance"

TLS_ONLY = {
    "Effect": "Deny",
    "Principal": "*",
    "Action": "s3:*",
    "Resource": ["arn:aws:s3:::data", "arn:aws:s3:::data/*"],
    "Condition": {"Bool": {"aws:SecureTransport": "false"}},
}


@pytest.fixture(autouse=True)
def no_configuration():
    yield
    set_all_config({})


def volumes(*ebs):
    return {"blockDeviceMappings": [{"deviceName": "/dev/xvda", "ebs": each} for each in ebs]}


def nodes(**ebs):
    return {"spec": {"blockDeviceMappings": [{"deviceName": "/dev/xvda", "ebs": ebs}]}}


def by_default(**settings):
    by_default = {"sseAlgorithm": "aws:kms", "kmsMasterKeyId": KEY, **settings}
    return {"rules": [{"applyServerSideEncryptionByDefault": by_default, "bucketKeyEnabled": True}]}


def store(online, offline=KEY):
    return {
        "onlineStoreConfig": {"enableOnlineStore": True, "securityConfig": online},
        "offlineStoreConfig": {"s3StorageConfig": {"s3Uri": "s3://data", "kmsKeyId": offline}},
    }


def variants(*types, **rest):
    return {"productionVariants": [{"instanceType": each} for each in types], **rest}


def machine(**configuration):
    """A state machine that makes such a configuration."""
    template = {"configuration": {"ProductionVariants": [{"InstanceType": "ml.m5.large"}], **configuration}}
    return {"definition": json.dumps({"States": {"Template": {"Type": "Pass", "Result": template}}})}


def pipeline(kind="Training", *, parameters=(), **arguments):
    inside = {"Name": "train", "Type": kind, "Arguments": arguments}
    both = {"Name": "gate", "Type": "Condition", "Arguments": {"IfSteps": [inside], "ElseSteps": []}}
    return {"pipelineDefinition": json.dumps({"Parameters": list(parameters), "Steps": [both]})}


def training(instance_type="ml.m5.large", count=1, **resources):
    return {
        "OutputDataConfig": {"KmsKeyId": KEY},
        "ResourceConfig": {"InstanceType": instance_type, "InstanceCount": count, **resources},
    }


def on(instance_type, count=1, **resources):
    return {"resourceConfig": {"instanceType": instance_type, "instanceCount": count, **resources}}


def monitor(key=KEY, instance_type="ml.m5.large", volume=KEY, encrypted=True):
    cluster = {"instanceType": instance_type, "volumeKmsKeyId": volume}
    job = {
        "monitoringOutputConfig": {"kmsKeyId": key},
        "monitoringResources": {"clusterConfig": cluster},
        "networkConfig": {"enableInterContainerTrafficEncryption": encrypted},
    }
    return {"monitoringScheduleConfig": {"monitoringJobDefinition": job}}


def tuning(key=KEY, count=1, **rest):
    resources = {"instanceType": "ml.m5.large", "instanceCount": count, "volumeKmsKeyId": KEY}
    return {"trainingJobDefinition": {"outputDataConfig": {"kmsKeyId": key}, "resourceConfig": resources, **rest}}


def sharing(option, **rest):
    return {"defaultUserSettings": {"sharingSettings": {"notebookOutputOption": option, **rest}}}


def cluster(resources, key=KEY):
    return {"encryptionConfig": {"resources": resources, "provider": {"keyArn": key}}}


def quality(instance_type="ml.m5.large", encrypted=True, output=KEY, **resources):
    return {
        "dataQualityJobOutputConfig": {"kmsKeyId": output},
        "jobResources": {"clusterConfig": {"instanceType": instance_type, **resources}},
        "networkConfig": {"enableInterContainerTrafficEncryption": encrypted},
    }


TRAFFIC = "EnableInterContainerTrafficEncryption"
INSTANCE_TYPE = {"Name": "InstanceType", "Type": "String", "DefaultValue": "ml.g5.xlarge"}

ACCEPTED = [
    ("enc-sm-endpoint-kms", CONFIGURATION, variants("ml.m5.large", kmsKeyArn=KEY)),
    ("enc-sm-endpoint-kms", CONFIGURATION, variants("ml.g5.xlarge", "ml.p4d.24xlarge")),
    ("enc-sm-endpoint-kms", CONFIGURATION, {"productionVariants": [{"serverlessConfig": {"memorySizeInMb": 2048}}]}),
    ("enc-sm-endpoint-kms", MACHINE, machine(KmsKeyId=KEY)),
    ("enc-sm-endpoint-kms", MACHINE, {"definition": json.dumps({"States": {}})}),
    ("enc-sm-endpoint-capture-kms", CONFIGURATION, {"dataCaptureConfig": {"kmsKeyId": KEY}}),
    ("enc-sm-endpoint-capture-kms", CONFIGURATION, {"dataCaptureConfig": {"enableCapture": False}}),
    ("enc-sm-endpoint-capture-kms", MACHINE, machine(DataCaptureConfig={"KmsKeyId": KEY})),
    ("enc-sm-endpoint-async-kms", CONFIGURATION, {"asyncInferenceConfig": {"outputConfig": {"kmsKeyId": KEY}}}),
    ("enc-sm-endpoint-coredump-kms", CONFIGURATION, variants("ml.m5.large")),
    ("enc-sm-feature-offline-kms", GROUP, store({"kmsKeyId": KEY})),
    ("enc-sm-feature-offline-kms", GROUP, {}),
    ("enc-sm-feature-online-kms", GROUP, store({"kmsKeyId": KEY})),
    ("enc-sm-feature-online-kms", GROUP, {"onlineStoreConfig": {"enableOnlineStore": False}}),
    ("enc-sm-domain-kms", DOMAIN, {"kmsKeyId": KEY}),
    ("enc-sm-domain-sharing-kms", DOMAIN, sharing("Allowed", s3KmsKeyId=KEY)),
    ("enc-sm-domain-sharing-kms", DOMAIN, sharing("Disabled")),
    ("enc-sm-notebook-kms", "aws:sagemaker/notebookInstance:NotebookInstance", {"kmsKeyId": KEY}),
    ("enc-sm-dqjob-output-kms", QUALITY, quality()),
    ("enc-sm-dqjob-volume-kms", QUALITY, quality(volumeKmsKeyId=KEY)),
    ("enc-sm-dqjob-volume-kms", QUALITY, quality("ml.c5d.xlarge")),
    ("enc-sm-dqjob-traffic", QUALITY, quality()),
    ("enc-sm-monitor-job", MONITOR, monitor()),
    ("enc-sm-monitor-job", MONITOR, {"monitoringScheduleConfig": {"monitoringJobDefinitionName": "quality"}}),
    ("sm-training-volume-kms", JOB, on("ml.m5.large", volumeKmsKeyId=KEY)),
    ("sm-training-volume-kms", JOB, on("ml.p5.48xlarge")),
    ("enc-sm-training-output-kms", JOB, {"outputDataConfig": {"kmsKeyId": KEY}}),
    ("sm-training-traffic", JOB, on("ml.m5.large")),
    ("sm-training-traffic", JOB, {**on("ml.m5.large", 2), "enableInterContainerTrafficEncryption": True}),
    ("sm-training-traffic", PIPELINE, pipeline(**training(count=2), **{TRAFFIC: True})),
    ("sm-training-traffic", PIPELINE, pipeline("Transform", TransformResources={"InstanceCount": 2})),
    ("enc-sm-hpo", TUNING, tuning()),
    ("enc-sm-hpo", TUNING, tuning(count=2, enableInterContainerTrafficEncryption=True)),
    ("enc-sm-pipeline-steps", PIPELINE, pipeline(**training(VolumeKmsKeyId=KEY))),
    ("enc-sm-pipeline-steps", PIPELINE, pipeline(**training("ml.g6e.2xlarge"))),
    (
        "enc-sm-pipeline-steps",
        PIPELINE,
        pipeline(parameters=[INSTANCE_TYPE], **training({"Get": "Parameters.InstanceType"})),
    ),
    ("enc-sm-pipeline-steps", PIPELINE, pipeline("Lambda")),
    ("enc-s3-tls", BUCKET_POLICY, {"policy": document(TLS_ONLY)}),
    ("enc-s3-tls", BUCKET_POLICY, {"policy": json.loads(document(TLS_ONLY))}),
    ("enc-sns-tls", TOPIC_POLICY, {"policy": document({**TLS_ONLY, "Action": "sns:Publish"})}),
    ("enc-sqs-tls", QUEUE_POLICY, {"policy": document({**TLS_ONLY, "Action": "sqs:*"})}),
    ("enc-eks-secrets", CLUSTER, cluster(["secrets"])),
    ("enc-lt-ebs", TEMPLATE, volumes({"encrypted": "true"}, {"encrypted": "true"})),
    ("enc-lt-ebs", TEMPLATE, {"blockDeviceMappings": [{"virtualName": "ephemeral0"}, {"ebs": {"encrypted": "true"}}]}),
    ("enc-lt-ebs-cmk", TEMPLATE, volumes({"kmsKeyId": KEY})),
    ("enc-lt-ebs-cmk", TEMPLATE, {"blockDeviceMappings": UNKNOWN}),
    ("enc-karpenter-volumes", NODES, nodes(encrypted=True)),
    ("enc-karpenter-volumes-cmk", NODES, nodes(kmsKeyID=KEY)),
    ("enc-ec2-block-devices", INSTANCE, {"rootBlockDevice": {"encrypted": True}}),
    ("enc-ec2-block-devices-cmk", INSTANCE, {"rootBlockDevice": {"kmsKeyId": KEY}}),
    ("enc-ebs-volume", "aws:ebs/volume:Volume", {"encrypted": True}),
    ("enc-ebs-volume-cmk", "aws:ebs/volume:Volume", {"kmsKeyId": KEY}),
    ("enc-ecr-kms", REPOSITORY, {"encryptionConfigurations": [{"encryptionType": "KMS_DSSE"}]}),
    ("enc-ecr-cmk", REPOSITORY, {"encryptionConfigurations": [{"kmsKey": KEY}]}),
    ("enc-efs", FILES, {"encrypted": True}),
    ("enc-efs-kms", FILES, {"kmsKeyId": KEY}),
    ("enc-rds", DATABASE, {"storageEncrypted": True}),
    ("enc-rds-kms", DATABASE, {"kmsKeyId": KEY}),
    ("enc-logs-kms", "aws:cloudwatch/logGroup:LogGroup", {"kmsKeyId": KEY}),
    ("enc-sns-kms", "aws:sns/topic:Topic", {"kmsMasterKeyId": KEY}),
    ("enc-sqs-kms", QUEUE, {"sqsManagedSseEnabled": True}),
    ("enc-sqs-kms", QUEUE, {"kmsMasterKeyId": UNKNOWN}),
    ("enc-sqs-cmk", QUEUE, {"kmsMasterKeyId": KEY}),
    ("enc-sqs-cmk", QUEUE, {"kmsMasterKeyId": "(known after up: arn of data)"}),
    ("enc-sqs-cmk", QUEUE, {"kmsMasterKeyId": "alias/ours"}),
    ("enc-ddb-sse", TABLE, {"serverSideEncryption": {"enabled": True}}),
    ("enc-ddb-kms", TABLE, {"serverSideEncryption": {"kmsKeyArn": KEY}, "replicas": [{"kmsKeyArn": KEY}]}),
    ("enc-eventbus-kms", "aws:cloudwatch/eventBus:EventBus", {"kmsKeyIdentifier": KEY}),
    ("enc-lambda-env-kms", FUNCTION, {"kmsKeyArn": KEY}),
    ("enc-schedule-kms", "aws:scheduler/schedule:Schedule", {"kmsKeyArn": KEY}),
    ("enc-stepfunctions", MACHINE, {"encryptionConfiguration": {"type": "CUSTOMER_MANAGED_KMS_KEY"}}),
    ("enc-stepfunctions-kms", MACHINE, {"encryptionConfiguration": {"kmsKeyId": KEY}}),
    ("enc-api-cache", CACHES, {"settings": {"cachingEnabled": True, "cacheDataEncrypted": True}}),
    ("enc-api-cache", CACHES, {"settings": {"throttlingRateLimit": 5}}),
    ("enc-secret-cmk", "aws:secretsmanager/secret:Secret", {"kmsKeyId": KEY}),
    ("enc-ssm-secure", PARAMETER, {"name": "/app/db-password", "type": "SecureString", "keyId": KEY}),
    ("enc-ssm-secure", PARAMETER, {"name": "/app/threshold", "type": "String"}),
    ("enc-kms-rotation", KMS_KEY, {"enableKeyRotation": True}),
    ("enc-kms-rotation", KMS_KEY, {"enableKeyRotation": True, "rotationPeriodInDays": 90}),
    ("enc-kms-rotation", KMS_KEY, {"customerMasterKeySpec": "RSA_4096"}),
    ("kms-deletion-window", KMS_KEY, {"deletionWindowInDays": 30}),
    ("kms-deletion-window", KMS_KEY, {}),
    ("enc-kms-enabled", KMS_KEY, {}),
    ("kms-no-lockout-bypass", KMS_POLICY, {}),
]

NO_KEY = "no KMS key of ours encrypts this: set "
REFUSED = [
    ("enc-sm-endpoint-kms", CONFIGURATION, variants("ml.m5.large"), NO_KEY + "kmsKeyArn"),
    ("enc-sm-endpoint-kms", CONFIGURATION, variants("ml.g5.xlarge", "ml.m5.large"), NO_KEY + "kmsKeyArn"),
    ("enc-sm-endpoint-kms", MACHINE, machine(), "definition.States.Template.Result.configuration: " + NO_KEY),
    ("enc-sm-endpoint-capture-kms", CONFIGURATION, {"dataCaptureConfig": {}}, "dataCaptureConfig.kmsKeyId"),
    ("enc-sm-endpoint-capture-kms", MACHINE, machine(DataCaptureConfig={"EnableCapture": True}), "configuration: no"),
    (
        "enc-sm-endpoint-async-kms",
        CONFIGURATION,
        {"asyncInferenceConfig": {"outputConfig": {"kmsKeyId": "alias/aws/s3"}}},
        "a key that AWS owns",
    ),
    (
        "enc-sm-endpoint-coredump-kms",
        CONFIGURATION,
        {"shadowProductionVariants": [{"coreDumpConfig": {"destinationS3Uri": "s3://dumps"}}]},
        "shadowProductionVariants.0.coreDumpConfig.kmsKeyId",
    ),
    (
        "enc-sm-feature-offline-kms",
        GROUP,
        store({"kmsKeyId": KEY}, None),
        "offlineStoreConfig.s3StorageConfig.kmsKeyId",
    ),
    ("enc-sm-feature-online-kms", GROUP, store(None), "onlineStoreConfig.securityConfig.kmsKeyId"),
    ("enc-sm-domain-kms", DOMAIN, {}, NO_KEY + "kmsKeyId"),
    ("enc-sm-domain-sharing-kms", DOMAIN, sharing("Allowed"), "sharingSettings.s3KmsKeyId"),
    ("enc-sm-notebook-kms", "aws:sagemaker/notebookInstance:NotebookInstance", {}, NO_KEY + "kmsKeyId"),
    ("enc-sm-dqjob-output-kms", QUALITY, quality(output=None), "dataQualityJobOutputConfig.kmsKeyId"),
    ("enc-sm-dqjob-volume-kms", QUALITY, quality(), "jobResources.clusterConfig.volumeKmsKeyId"),
    ("enc-sm-dqjob-traffic", QUALITY, quality(encrypted=False), "is False: set True"),
    ("enc-sm-monitor-job", MONITOR, monitor(key=None), "monitoringOutputConfig.kmsKeyId"),
    ("enc-sm-monitor-job", MONITOR, monitor(volume=None), "clusterConfig.volumeKmsKeyId"),
    ("enc-sm-monitor-job", MONITOR, monitor(encrypted=False), "is False: set True"),
    ("sm-training-volume-kms", JOB, on("ml.m5.large"), NO_KEY + "resourceConfig.volumeKmsKeyId"),
    ("sm-training-volume-kms", JOB, on("ml.g5.xlarge", volumeKmsKeyId=KEY), "AWS refuses a key for ml.g5.xlarge"),
    ("enc-sm-training-output-kms", JOB, {}, NO_KEY + "outputDataConfig.kmsKeyId"),
    ("sm-training-traffic", JOB, on("ml.m5.large", 2), "2 instances talk openly"),
    ("sm-training-traffic", PIPELINE, pipeline(**training(count=4)), "step train: EnableInterContainer"),
    (
        "sm-training-traffic",
        PIPELINE,
        pipeline("Processing", ProcessingResources={"ClusterConfig": {"InstanceCount": 2}}),
        "step train: NetworkConfig.EnableInterContainer",
    ),
    ("enc-sm-hpo", TUNING, tuning(key=None), "trainingJobDefinition.outputDataConfig.kmsKeyId"),
    ("enc-sm-hpo", TUNING, tuning(count=2), "2 instances talk openly"),
    ("enc-sm-pipeline-steps", PIPELINE, pipeline(**training()), "step train: ResourceConfig.VolumeKmsKeyId"),
    ("enc-sm-pipeline-steps", PIPELINE, pipeline(**training("ml.g5.xlarge", VolumeKmsKeyId=KEY)), "AWS refuses a key"),
    (
        "enc-sm-pipeline-steps",
        PIPELINE,
        pipeline("Processing", ProcessingResources={"ClusterConfig": {"VolumeKmsKeyId": KEY}}),
        "step train: ProcessingOutputConfig.KmsKeyId",
    ),
    (
        "enc-sm-pipeline-steps",
        PIPELINE,
        pipeline("Transform", TransformOutput={"KmsKeyId": KEY}),
        "step train: TransformResources.VolumeKmsKeyId",
    ),
    ("enc-sm-pipeline-steps", PIPELINE, {"pipelineDefinition": "{"}, "is no JSON"),
    ("enc-sm-pipeline-steps", PIPELINE, {"pipelineDefinitionS3Location": {"bucket": "b"}, **pipeline("Fail")}, "in S3"),
    ("enc-s3-tls", BUCKET_POLICY, {"policy": document()}, "without TLS"),
    ("enc-s3-tls", BUCKET_POLICY, {"policy": document({**TLS_ONLY, "Effect": "Allow"})}, "without TLS"),
    ("enc-s3-tls", BUCKET_POLICY, {"policy": document({**TLS_ONLY, "Resource": "arn:aws:s3:::data"})}, "without TLS"),
    (
        "enc-s3-tls",
        BUCKET_POLICY,
        {"policy": document({**TLS_ONLY, "Principal": {"AWS": "arn:aws:iam::123456789012:root"}})},
        "without TLS",
    ),
    ("enc-s3-tls", BUCKET_POLICY, {"policy": "{"}, "no IAM document: not JSON"),
    ("enc-sns-tls", TOPIC_POLICY, {"policy": document(TLS_ONLY)}, "deny sns:Publish on it"),
    ("enc-sqs-tls", QUEUE_POLICY, {"policy": document()}, "deny sqs:SendMessage on it"),
    ("enc-eks-secrets", CLUSTER, cluster([]), "stored in the clear"),
    ("enc-eks-secrets", CLUSTER, {}, "stored in the clear"),
    ("enc-eks-secrets", CLUSTER, cluster(["secrets"], None), "encryptionConfig.provider.keyArn"),
    ("enc-lt-ebs", TEMPLATE, volumes({"encrypted": "true"}, {"encrypted": "false"}), "Mappings.1.ebs.encrypted"),
    ("enc-lt-ebs", TEMPLATE, volumes({"encrypted": True}), "is True: set 'true'"),
    ("enc-lt-ebs", TEMPLATE, {}, "blockDeviceMappings.*.ebs.encrypted is not set"),
    ("enc-lt-ebs-cmk", TEMPLATE, volumes({"kmsKeyId": KEY}, {"encrypted": "true"}), "set blockDeviceMappings.1"),
    ("enc-karpenter-volumes", NODES, nodes(encrypted=False), "ebs.encrypted is False"),
    ("enc-karpenter-volumes-cmk", NODES, nodes(encrypted=True), "ebs.kmsKeyID"),
    ("enc-ec2-block-devices", INSTANCE, {}, "rootBlockDevice.encrypted is not set"),
    ("enc-ec2-block-devices-cmk", INSTANCE, {}, "rootBlockDevice.kmsKeyId"),
    ("enc-ebs-volume", "aws:ebs/volume:Volume", {}, "encrypted is not set"),
    ("enc-ebs-volume-cmk", "aws:ebs/volume:Volume", {}, NO_KEY + "kmsKeyId"),
    ("enc-ecr-kms", REPOSITORY, {}, "encryptionConfigurations.*.encryptionType is not set"),
    ("enc-ecr-cmk", REPOSITORY, {"encryptionConfigurations": [{"encryptionType": "KMS"}]}, "0.kmsKey"),
    ("enc-efs", FILES, {}, "encrypted is not set"),
    ("enc-efs-kms", FILES, {}, NO_KEY + "kmsKeyId"),
    ("enc-rds", DATABASE, {}, "storageEncrypted is not set"),
    ("enc-rds-kms", DATABASE, {}, NO_KEY + "kmsKeyId"),
    ("enc-logs-kms", "aws:cloudwatch/logGroup:LogGroup", {}, NO_KEY + "kmsKeyId"),
    ("enc-sns-kms", "aws:sns/topic:Topic", {"kmsMasterKeyId": "alias/aws/sns"}, "a key that AWS owns"),
    ("enc-sqs-kms", QUEUE, {}, NO_KEY + "kmsMasterKeyId"),
    ("enc-sqs-kms", QUEUE, {"kmsMasterKeyId": ""}, NO_KEY + "kmsMasterKeyId"),
    ("enc-sqs-cmk", QUEUE, {"kmsMasterKeyId": "alias/aws/sqs"}, "a key that AWS owns"),
    ("enc-sqs-cmk", QUEUE, {"kmsMasterKeyId": "arn:aws:kms:us-east-1:1:alias/aws/sqs"}, "AWS owns"),
    ("enc-sqs-cmk", QUEUE, {"sqsManagedSseEnabled": True}, NO_KEY + "kmsMasterKeyId"),
    ("enc-ddb-sse", TABLE, {}, "serverSideEncryption.enabled is not set"),
    ("enc-ddb-kms", TABLE, {"serverSideEncryption": {"kmsKeyArn": KEY}, "replicas": [{}]}, "replicas.0.kmsKeyArn"),
    ("enc-eventbus-kms", "aws:cloudwatch/eventBus:EventBus", {}, NO_KEY + "kmsKeyIdentifier"),
    ("enc-lambda-env-kms", FUNCTION, {"environment": {"variables": {"A": "b"}}}, NO_KEY + "kmsKeyArn"),
    ("enc-schedule-kms", "aws:scheduler/schedule:Schedule", {}, NO_KEY + "kmsKeyArn"),
    ("enc-stepfunctions", MACHINE, {}, "encryptionConfiguration.type is not set"),
    ("enc-stepfunctions-kms", MACHINE, {}, NO_KEY + "encryptionConfiguration.kmsKeyId"),
    ("enc-api-cache", CACHES, {"settings": {"cachingEnabled": True}}, "stored in the clear"),
    ("enc-secret-cmk", "aws:secretsmanager/secret:Secret", {"kmsKeyId": "alias/aws/secretsmanager"}, "AWS owns"),
    ("enc-ssm-secure", PARAMETER, {"name": "/app/db-password", "type": "String"}, "looks like a secret"),
    ("enc-ssm-secure", PARAMETER, {"name": "/app/a", "type": "SecureString"}, NO_KEY + "keyId"),
    ("enc-kms-rotation", KMS_KEY, {}, "enableKeyRotation is not set: set True"),
    ("enc-kms-rotation", KMS_KEY, {"enableKeyRotation": True, "rotationPeriodInDays": 730}, "at least every 365 days"),
    ("kms-deletion-window", KMS_KEY, {"deletionWindowInDays": 7}, "leave at least 14 days to notice"),
    ("enc-kms-enabled", KMS_KEY, {"isEnabled": False}, "cannot be read"),
    ("kms-no-lockout-bypass", KMS_POLICY, {"bypassPolicyLockoutSafetyCheck": True}, "lock everyone out"),
]

UNDECIDED = [
    ("enc-lt-ebs", TEMPLATE, volumes({"encrypted": UNKNOWN}), "blockDeviceMappings.0.ebs.encrypted"),
    ("enc-eks-secrets", CLUSTER, cluster(UNKNOWN), "encryptionConfig.resources"),
    ("enc-kms-rotation", KMS_KEY, {"enableKeyRotation": UNKNOWN}, "enableKeyRotation"),
    ("kms-deletion-window", KMS_KEY, {"deletionWindowInDays": UNKNOWN}, "deletionWindowInDays"),
    ("enc-s3-tls", BUCKET_POLICY, {"policy": UNKNOWN}, "policy"),
    ("enc-sm-endpoint-kms", MACHINE, {"definition": UNKNOWN}, "definition"),
    ("enc-sm-pipeline-steps", PIPELINE, {"pipelineDefinition": UNKNOWN}, "pipelineDefinition"),
    ("sm-training-traffic", PIPELINE, {"pipelineDefinition": UNKNOWN}, "pipelineDefinition"),
    ("sm-training-volume-kms", JOB, on(UNKNOWN), "resourceConfig.volumeKmsKeyId"),
    ("enc-sm-monitor-job", MONITOR, monitor(encrypted=UNKNOWN), "enableInterContainerTrafficEncryption"),
    ("enc-ssm-secure", PARAMETER, {"name": "/a", "type": UNKNOWN}, "type"),
]


@pytest.mark.parametrize("rule, kind, inputs", ACCEPTED)
def test_what_is_encrypted_is_accepted(rule, kind, inputs):
    verdict = judge(rule, kind, inputs)
    assert (verdict.sentences, verdict.unknown) == ([], [])


@pytest.mark.parametrize("rule, kind, inputs, words", REFUSED)
def test_what_is_not_encrypted_is_refused_with_what_to_set(rule, kind, inputs, words):
    [sentence] = judge(rule, kind, inputs).sentences
    assert words in sentence


@pytest.mark.parametrize("rule, kind, inputs, path", UNDECIDED)
def test_what_only_a_deployment_will_know_is_deferred_not_passed(rule, kind, inputs, path):
    verdict = judge(rule, kind, inputs)
    assert verdict.sentences == []
    assert [each for each in verdict.unknown if path in each]


def test_an_unknown_value_does_not_hide_a_violation_beside_it():
    verdict = judge("enc-lt-ebs", TEMPLATE, volumes({"encrypted": UNKNOWN}, {"encrypted": "false"}))
    assert len(verdict.sentences) == 1
    assert len(verdict.unknown) == 1


def test_a_key_outside_production_may_go_in_a_week():
    set_all_config({"aws:defaultTags": json.dumps({"tags": {"environment": "local"}})})
    assert judge("kms-deletion-window", KMS_KEY, {"deletionWindowInDays": 7}).sentences == []


def test_the_disks_of_their_own_are_those_of_the_ec2_api():
    from botocore.session import get_session
    from moto.ec2.models.instance_types import INSTANCE_TYPES

    sagemaker = get_session().get_service_model("sagemaker")
    offered = {
        each for shape in ("TrainingInstanceType", "ProcessingInstanceType") for each in sagemaker.shape_for(shape).enum
    }
    offered |= {*sagemaker.shape_for("ProductionVariantInstanceType").enum}
    known = [each for each in offered if each.removeprefix("ml.") in INSTANCE_TYPES]
    stored = [each for each in known if INSTANCE_TYPES[each.removeprefix("ml.")].get("InstanceStorageSupported")]
    assert len(stored) > 100
    assert sorted(filter(has_local_disks, known)) == sorted(stored)


# Whole stacks.


def encrypted(name, **settings):
    return resource(BUCKET_ENCRYPTION, name, uses={"bucket": [f"{BUCKET}::{name}"]}, **by_default(**settings))


def test_every_bucket_encrypts_by_default():
    data, logs = resource(BUCKET, "data", bucket="data-1"), resource(BUCKET, "logs", bucket=UNKNOWN)
    named = resource(BUCKET_ENCRYPTION, "data", bucket="data-1", **by_default())
    assert judge_stack("enc-s3-kms", data, logs, named, encrypted("logs")).sentences == []
    verdict = judge_stack("enc-s3-kms", data, logs, encrypted("logs"))
    assert verdict.about == [data.urn]
    assert "bucket data has no default encryption" in verdict.sentences[0]


@pytest.mark.parametrize(
    "rule, settings, words",
    [
        ("enc-s3-kms", {"sseAlgorithm": "AES256"}, "sseAlgorithm is 'AES256': set 'aws:kms'"),
        ("enc-s3-cmk", {"kmsMasterKeyId": None}, "no KMS key of ours encrypts this"),
        ("enc-s3-cmk", {"kmsMasterKeyId": "alias/aws/s3"}, "a key that AWS owns"),
    ],
)
def test_a_bucket_of_data_encrypts_with_a_key_of_ours(rule, settings, words):
    data = resource(BUCKET, "data", bucket="data-1")
    verdict = judge_stack(rule, data, encrypted("data", **settings))
    assert words in verdict.sentences[0]
    assert verdict.about == [data.urn]
    assert judge_stack(rule, data, encrypted("data")).sentences == []


def test_what_a_bucket_encrypts_with_may_be_known_only_later():
    data = resource(BUCKET, "data", bucket="data-1")
    assert judge_stack("enc-s3-kms", data, encrypted("data", sseAlgorithm=UNKNOWN)).unknown


def test_a_bucket_asks_kms_once_for_many_objects():
    asks = by_default()["rules"][0]
    for rule, findings in ((asks, 0), ({**asks, "bucketKeyEnabled": False}, 1)):
        data = resource(BUCKET, "data", bucket="data-1", serverSideEncryptionConfiguration={"rule": rule})
        assert len(judge_stack("s3-bucket-key", data).sentences) == findings


def test_a_bucket_that_takes_access_logs_encrypts_with_s3s_own_key():
    logs = resource(BUCKET, "logs", bucket="logs-1")
    logging = resource(BUCKET_LOGGING, "data", bucket="data-1", targetBucket="logs-1")
    own = resource(
        BUCKET_ENCRYPTION,
        "logs",
        bucket="logs-1",
        rules=[{"applyServerSideEncryptionByDefault": {"sseAlgorithm": "AES256"}}],
    )
    assert judge_stack("enc-s3-kms", logs, logging, own).sentences == []
    [sentence] = judge_stack("enc-s3-kms", logs, logging, encrypted("logs")).sentences
    assert "set 'AES256', or S3 does not deliver access logs to it" in sentence


def test_every_bucket_has_a_policy_that_can_demand_tls():
    data, logs = resource(BUCKET, "data", bucket="data-1"), resource(BUCKET, "logs", bucket=UNKNOWN)
    linked = resource(BUCKET_POLICY, "logs", uses={"bucket": [f"{BUCKET}::logs"]}, bucket=UNKNOWN)
    named = resource(BUCKET_POLICY, "data", bucket="data-1")
    assert judge_stack("enc-s3-tls-policy", data, logs, linked, named).sentences == []
    assert judge_stack("enc-s3-tls-policy", data, logs, linked).about == [data.urn]


HERE = {"aws:allowedAccountIds": '["123456789012"]', "aws:region": "us-east-1"}


@pytest.mark.parametrize(
    "named, words",
    [
        ({"kmsMasterKeyId": KEY}, None),
        ({"kmsMasterKeyId": "alias/aws/sqs"}, None),  # another control's
        ({"kmsMasterKeyId": KEY.replace("123456789012", "999999999999")}, "a key of account 999999999999"),
        ({"kmsMasterKeyId": KEY.replace("us-east-1", "eu-west-1")}, "cannot be used in us-east-1"),
        ({"kmsMasterKeyId": "1234abcd"}, "but not whose"),
        ({"a": [{"volumeKmsKeyId": KEY.replace("123456789012", "999999999999")}]}, "a.0.volumeKmsKeyId is a key of"),
        (
            pipeline(**training(VolumeKmsKeyId=KEY.replace("123456789012", "999999999999"))),
            "VolumeKmsKeyId is a key of account",
        ),
    ],
)
def test_a_key_is_of_an_account_that_the_stack_deploys_to(named, words):
    set_all_config(HERE)
    sentences = judge_stack("enc-key-in-stack", resource(QUEUE, "orders", **named)).sentences
    assert [words in each for each in sentences] == ([True] if words else [])


def test_a_key_of_the_stack_is_known_before_it_has_an_arn():
    set_all_config(HERE)
    key = resource(KMS_KEY, "data")
    queue = resource(QUEUE, "orders", uses={"kmsMasterKeyId": [f"{KMS_KEY}::data"]}, kmsMasterKeyId=UNKNOWN)
    verdict = judge_stack("enc-key-in-stack", key, queue)
    assert (verdict.sentences, verdict.unknown) == ([], [])
    stranger = resource(QUEUE, "orders", kmsMasterKeyId=UNKNOWN)
    assert judge_stack("enc-key-in-stack", key, stranger).unknown == ["kmsMasterKeyId"]


STACK_RULES = {each.name for each in CONTROLS if each.stack_rule}


def test_every_rule_has_a_case_that_passes_and_one_that_fails():
    rules = {each.name for each in CONTROLS} - STACK_RULES
    assert rules == {case[0] for case in ACCEPTED} == {case[0] for case in REFUSED}
    assert {"enc-s3-kms", "enc-s3-cmk", "s3-bucket-key", "enc-s3-tls-policy", "enc-key-in-stack"} == STACK_RULES


@pytest.mark.parametrize(
    "kind, path",
    [(kind, path) for rows in KEY_INPUTS.values() for kind, paths in rows.items() for path in paths]
    + [(kind, each.path) for rows in SETTINGS.values() for kind, listed in rows.items() for each in listed],
)
def test_every_row_names_an_input_that_exists(kind, path):
    if not kind.startswith("aws:"):
        return
    module, _, name = re.split("[/:]", kind.removeprefix("aws:"))
    inputs = getattr(getattr(aws, module.replace("lambda", "lambda_")), f"{name}Args")
    first = path.split(".")[0].rstrip("?")
    assert hasattr(inputs, re.sub("[A-Z]", lambda capital: "_" + capital[0].lower(), first))
