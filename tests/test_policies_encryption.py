"""Each rule of the encryption pack accepts what is right, refuses what is wrong, and defers what is not known yet."""

import base64
import json
import re

import pulumi_aws as aws
import pytest
from judging import KEY, document, judge, judge_stack, resource

from policies.encryption import (
    BUCKET,
    BUCKET_ENCRYPTION,
    BUCKET_LOGGING,
    BUCKET_POLICY,
    KEY_INPUTS,
    POLICIES,
    SWITCHED_ON,
)
from policies.rules import UNKNOWN

QUEUE = "aws:sqs/queue:Queue"
TEMPLATE = "aws:ec2/launchTemplate:LaunchTemplate"
CLUSTER = "aws:eks/cluster:Cluster"
GROUP = "aws:sagemaker/featureGroup:FeatureGroup"
CONFIGURATION = "aws:sagemaker/endpointConfiguration:EndpointConfiguration"
FUNCTION = "aws:lambda/function:Function"
TOPIC_POLICY = "aws:sns/topicPolicy:TopicPolicy"
KMS_KEY = "aws:kms/key:Key"

TLS_ONLY = {
    "Effect": "Deny",
    "Principal": "*",
    "Action": "s3:*",
    "Resource": ["arn:aws:s3:::data", "arn:aws:s3:::data/*"],
    "Condition": {"Bool": {"aws:SecureTransport": "false"}},
}


def volumes(*ebs):
    return {"blockDeviceMappings": [{"deviceName": "/dev/xvda", "ebs": each} for each in ebs]}


def by_default(**settings):
    by_default = {"sseAlgorithm": "aws:kms", "kmsMasterKeyId": KEY, **settings}
    return {"rules": [{"applyServerSideEncryptionByDefault": by_default, "bucketKeyEnabled": True}]}


def store(online, offline=KEY):
    return {
        "onlineStoreConfig": {"enableOnlineStore": True, "securityConfig": online},
        "offlineStoreConfig": {"s3StorageConfig": {"s3Uri": "s3://data", "kmsKeyId": offline}},
    }


ACCEPTED = [
    ("encrypted-with-our-key", QUEUE, {"kmsMasterKeyId": KEY}),
    ("encrypted-with-our-key", QUEUE, {"kmsMasterKeyId": "(known after up: arn of data)"}),
    ("encrypted-with-our-key", QUEUE, {"kmsMasterKeyId": UNKNOWN}),
    ("encrypted-with-our-key", QUEUE, {"kmsMasterKeyId": "alias/ours"}),
    ("encrypted-with-our-key", TEMPLATE, volumes({"kmsKeyId": KEY})),
    ("encrypted-with-our-key", TEMPLATE, {"blockDeviceMappings": UNKNOWN}),
    ("encrypted-with-our-key", GROUP, store({"kmsKeyId": KEY})),
    ("encrypted-with-our-key", GROUP, {}),
    ("encrypted-with-our-key", CONFIGURATION, {"kmsKeyArn": KEY, "dataCaptureConfig": {"kmsKeyId": KEY}}),
    ("encrypted-with-our-key", CLUSTER, {"encryptionConfig": {"provider": {"keyArn": KEY}}}),
    ("encrypted-with-our-key", "aws:iam/role:Role", {}),
    ("encryption-switched-on", TEMPLATE, volumes({"encrypted": "true"}, {"encrypted": "true"})),
    ("kubernetes-secrets-encrypted", CLUSTER, {"encryptionConfig": {"resources": ["secrets"]}}),
    ("keys-rotate", KMS_KEY, {"enableKeyRotation": True}),
    ("keys-rotate", KMS_KEY, {"enableKeyRotation": True, "rotationPeriodInDays": 90}),
    ("keys-rotate", KMS_KEY, {"customerMasterKeySpec": "RSA_4096"}),
    ("keys-cannot-be-lost", KMS_KEY, {"deletionWindowInDays": 30}),
    ("no-credentials-in-text", FUNCTION, {"environment": {"variables": {"BUCKET": "data"}}}),
    ("no-credentials-in-text", FUNCTION, {}),
    ("resource-policies-demand-tls", BUCKET_POLICY, {"policy": document(TLS_ONLY)}),
    ("resource-policies-demand-tls", TOPIC_POLICY, {"policy": document({**TLS_ONLY, "Action": "sns:Publish"})}),
]

REFUSED = [
    ("encrypted-with-our-key", QUEUE, {}, "set kmsMasterKeyId"),
    ("encrypted-with-our-key", QUEUE, {"kmsMasterKeyId": ""}, "set kmsMasterKeyId"),
    ("encrypted-with-our-key", QUEUE, {"kmsMasterKeyId": "alias/aws/sqs"}, "a key that AWS owns"),
    ("encrypted-with-our-key", QUEUE, {"kmsMasterKeyId": "arn:aws:kms:us-east-1:1:alias/aws/sqs"}, "AWS owns"),
    ("encrypted-with-our-key", TEMPLATE, {}, "set blockDeviceMappings.*.ebs.kmsKeyId"),
    (
        "encrypted-with-our-key",
        TEMPLATE,
        volumes({"kmsKeyId": KEY}, {"encrypted": "true"}),
        "set blockDeviceMappings.1",
    ),
    ("encrypted-with-our-key", GROUP, store(None), "set onlineStoreConfig.securityConfig.kmsKeyId"),
    (
        "encrypted-with-our-key",
        GROUP,
        store({"kmsKeyId": KEY}, None),
        "set offlineStoreConfig.s3StorageConfig.kmsKeyId",
    ),
    (
        "encrypted-with-our-key",
        CONFIGURATION,
        {"kmsKeyArn": KEY, "dataCaptureConfig": {}},
        "dataCaptureConfig.kmsKeyId",
    ),
    (
        "encryption-switched-on",
        TEMPLATE,
        volumes({"encrypted": "true"}, {"encrypted": "false"}),
        "Mappings.1.ebs.encrypted",
    ),
    ("encryption-switched-on", TEMPLATE, volumes({"kmsKeyId": KEY}), "encrypted is not set: set 'true'"),
    ("kubernetes-secrets-encrypted", CLUSTER, {"encryptionConfig": {"resources": []}}, "stored in the clear"),
    ("kubernetes-secrets-encrypted", CLUSTER, {}, "stored in the clear"),
    ("keys-rotate", KMS_KEY, {}, "enableKeyRotation is not set: set True"),
    ("keys-rotate", KMS_KEY, {"enableKeyRotation": True, "rotationPeriodInDays": 730}, "at least every 365 days"),
    ("keys-cannot-be-lost", KMS_KEY, {"isEnabled": False}, "cannot be read"),
    ("keys-cannot-be-lost", KMS_KEY, {"bypassPolicyLockoutSafetyCheck": True}, "lock everyone out"),
    ("no-credentials-in-text", FUNCTION, {"environment": {"variables": {"K": "AKIA" + "Z" * 16}}}, "variables.K holds"),
    (
        "no-credentials-in-text",
        TEMPLATE,
        {"userData": base64.b64encode(b"export K=AKIA" + b"Z" * 16).decode()},
        "userData holds a credential",
    ),
    ("resource-policies-demand-tls", BUCKET_POLICY, {"policy": document()}, "without TLS"),
    (
        "resource-policies-demand-tls",
        BUCKET_POLICY,
        {"policy": document({**TLS_ONLY, "Effect": "Allow"})},
        "without TLS",
    ),
    (
        "resource-policies-demand-tls",
        BUCKET_POLICY,
        {"policy": document({**TLS_ONLY, "Resource": "arn:aws:s3:::data"})},
        "without TLS",
    ),
    (
        "resource-policies-demand-tls",
        BUCKET_POLICY,
        {"policy": document({**TLS_ONLY, "Principal": {"AWS": "arn:aws:iam::123456789012:root"}})},
        "without TLS",
    ),
    ("resource-policies-demand-tls", TOPIC_POLICY, {"policy": document(TLS_ONLY)}, "deny sns:Publish on it"),
    ("resource-policies-demand-tls", BUCKET_POLICY, {"policy": "{"}, "no IAM document: not JSON"),
]

UNDECIDED = [
    ("encryption-switched-on", TEMPLATE, volumes({"encrypted": UNKNOWN}), "blockDeviceMappings.0.ebs.encrypted"),
    (
        "kubernetes-secrets-encrypted",
        CLUSTER,
        {"encryptionConfig": {"resources": UNKNOWN}},
        "encryptionConfig.resources",
    ),
    ("keys-rotate", KMS_KEY, {"enableKeyRotation": UNKNOWN}, "enableKeyRotation"),
    ("keys-cannot-be-lost", KMS_KEY, {"deletionWindowInDays": UNKNOWN}, "deletionWindowInDays"),
    ("no-credentials-in-text", FUNCTION, {"environment": {"variables": {"A": UNKNOWN}}}, "environment.variables.A"),
    ("resource-policies-demand-tls", BUCKET_POLICY, {"policy": UNKNOWN}, "policy"),
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
    verdict = judge("encryption-switched-on", TEMPLATE, volumes({"encrypted": UNKNOWN}, {"encrypted": "false"}))
    assert len(verdict.sentences) == 1
    assert len(verdict.unknown) == 1


def test_a_credential_is_not_repeated_in_the_message():
    secret = "AKIA" + "Z" * 16
    [sentence] = judge("no-credentials-in-text", FUNCTION, {"environment": {"variables": {"K": secret}}}).sentences
    assert secret not in sentence


def encrypted(name, **settings):
    return resource(BUCKET_ENCRYPTION, name, uses={"bucket": [f"{BUCKET}::{name}"]}, **by_default(**settings))


def test_every_bucket_encrypts_by_default():
    data, logs = resource(BUCKET, "data", bucket="data-1"), resource(BUCKET, "logs", bucket=UNKNOWN)
    named = resource(BUCKET_ENCRYPTION, "data", bucket="data-1", **by_default())
    assert judge_stack("buckets-encrypted", data, logs, named, encrypted("logs")).sentences == []
    verdict = judge_stack("buckets-encrypted", data, logs, encrypted("logs"))
    assert verdict.about == [data.urn]
    assert "bucket data has no default encryption" in verdict.sentences[0]


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"sseAlgorithm": "AES256"}, "sseAlgorithm is 'AES256': set 'aws:kms'"),
        ({"kmsMasterKeyId": None}, "no KMS key of ours encrypts this"),
        ({"kmsMasterKeyId": "alias/aws/s3"}, "a key that AWS owns"),
    ],
)
def test_a_bucket_of_data_encrypts_with_a_key_of_ours(settings, words):
    data = resource(BUCKET, "data", bucket="data-1")
    [sentence] = judge_stack("buckets-encrypted", data, encrypted("data", **settings)).sentences
    assert words in sentence
    assert judge_stack("buckets-encrypted", data, encrypted("data", sseAlgorithm=UNKNOWN)).unknown


def test_a_bucket_that_takes_access_logs_encrypts_with_s3s_own_key():
    logs = resource(BUCKET, "logs", bucket="logs-1")
    logging = resource(BUCKET_LOGGING, "data", bucket="data-1", targetBucket="logs-1")
    own = resource(
        BUCKET_ENCRYPTION,
        "logs",
        bucket="logs-1",
        rules=[{"applyServerSideEncryptionByDefault": {"sseAlgorithm": "AES256"}}],
    )
    assert judge_stack("buckets-encrypted", logs, logging, own).sentences == []
    [sentence] = judge_stack("buckets-encrypted", logs, logging, encrypted("logs")).sentences
    assert "set 'AES256', or S3 does not deliver access logs to it" in sentence


def test_every_bucket_has_a_policy_that_can_demand_tls():
    data, logs = resource(BUCKET, "data", bucket="data-1"), resource(BUCKET, "logs", bucket=UNKNOWN)
    linked = resource(BUCKET_POLICY, "logs", uses={"bucket": [f"{BUCKET}::logs"]}, bucket=UNKNOWN)
    named = resource(BUCKET_POLICY, "data", bucket="data-1")
    assert judge_stack("buckets-demand-tls", data, logs, linked, named).sentences == []
    assert judge_stack("buckets-demand-tls", data, logs, linked).about == [data.urn]


def test_every_rule_has_a_case_that_passes_and_one_that_fails():
    stack_rules = {"buckets-encrypted", "buckets-demand-tls"}
    rules = {each.name for each in POLICIES} - stack_rules
    assert rules == {case[0] for case in ACCEPTED} == {case[0] for case in REFUSED}


def test_a_document_may_be_an_object_and_not_only_text():
    assert (
        judge("resource-policies-demand-tls", BUCKET_POLICY, {"policy": json.loads(document(TLS_ONLY))}).sentences == []
    )


@pytest.mark.parametrize(
    "kind, path",
    [(kind, path) for kind, paths in KEY_INPUTS.items() for path in paths]
    + [(kind, each.path) for kind, rows in SWITCHED_ON.items() for each in rows],
)
def test_every_row_names_an_input_that_exists(kind, path):
    module, _, name = re.split("[/:]", kind.removeprefix("aws:"))
    inputs = getattr(getattr(aws, module.replace("lambda", "lambda_")), f"{name}Args")
    first = path.split(".")[0].rstrip("?")
    assert hasattr(inputs, re.sub("[A-Z]", lambda capital: "_" + capital[0].lower(), first))
