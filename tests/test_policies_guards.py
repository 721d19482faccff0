"""What guards a stack stays in place: APIs, signing keys, shared buckets, network policies, images of charts."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from judging import KEY, allow, document, judge, judge_stack, resource
from pulumi.runtime.config import set_all_config

API = "aws:apigateway/restApi:RestApi"
SETTINGS = "aws:apigateway/methodSettings:MethodSettings"
STAGE = "aws:apigateway/stage:Stage"
PLAN = "aws:apigateway/usagePlan:UsagePlan"
API_KEY = "aws:apigateway/apiKey:ApiKey"
POOL = "aws:cognito/userPool:UserPool"
CLIENT = "aws:cognito/userPoolClient:UserPoolClient"
BUCKET = "aws:s3/bucket:Bucket"
BUCKET_POLICY = "aws:s3/bucketPolicy:BucketPolicy"
LOCK = "aws:s3/bucketObjectLockConfiguration:BucketObjectLockConfiguration"
ENCRYPTION = "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration"
QUEUE, QUEUE_POLICY = "aws:sqs/queue:Queue", "aws:sqs/queuePolicy:QueuePolicy"
KMS_KEY = "aws:kms/key:Key"
ROLE_POLICY = "aws:iam/rolePolicy:RolePolicy"
NETWORK_POLICY = "kubernetes:networking.k8s.io/v1:NetworkPolicy"
ACCOUNT = "kubernetes:core/v1:ServiceAccount"
RELEASE = "kubernetes:helm.sh/v3:Release"
NODE_CLASS = "kubernetes:karpenter.k8s.aws/v1:EC2NodeClass"
ME = "arn:aws:iam::123456789012:role/signer"
WHOLE = {
    **dict.fromkeys(("requests.cpu", "requests.memory", "limits.memory", "pods", "count/jobs.batch"), "8"),
    **dict.fromkeys(("services.loadbalancers", "services.nodeports"), "0"),
}
CLIENT_OF = {"generateSecret": True, "enableTokenRevocation": True}


@pytest.fixture(autouse=True)
def account() -> Iterator[None]:
    set_all_config({"aws:allowedAccountIds": '["123456789012"]'})
    yield
    set_all_config({})


@pytest.mark.parametrize(
    ("rule", "kind", "good", "bad", "words"),
    [
        ("api-tls", API, {"securityPolicy": "SecurityPolicy_TLS13_1_3_2025_09"}, {}, "TLS 1.2 or later"),
        ("api-tls", API, {"securityPolicy": "TLS_1_2"}, {"securityPolicy": "TLS_1_0"}, "securityPolicy is TLS_1_0"),
        (
            "api-policy-narrow",
            API,
            {"policy": allow(Principal="*", Action="execute-api:Invoke", Resource="execute-api:/live/GET/health")},
            {"policy": allow(Principal="*", Action="execute-api:Invoke", Resource="execute-api:/*")},
            "name the stage",
        ),
        (
            "api-policy-narrow",
            API,
            {},
            {"policy": allow(Principal="*", NotAction="iam:*", Resource="execute-api:/live/GET/health")},
            "NotAction",
        ),
        (
            "api-no-data-trace",
            SETTINGS,
            {"settings": {}},
            {"settings": {"dataTraceEnabled": True}},
            "people's answers are logged",
        ),
        (
            "api-throttled",
            SETTINGS,
            {"settings": {"throttlingRateLimit": 100, "throttlingBurstLimit": 200}},
            {"settings": {"throttlingRateLimit": 100000, "throttlingBurstLimit": 200}},
            "throttlingRateLimit is 100000:",
        ),
        ("cognito-no-sign-up", POOL, {"adminCreateUserConfig": {"allowAdminCreateUserOnly": True}}, {}, "sign up"),
        ("cognito-client-secret", CLIENT, CLIENT_OF, {"enableTokenRevocation": True}, "generateSecret"),
        ("cognito-client-secret", CLIENT, CLIENT_OF, {**CLIENT_OF, "enableTokenRevocation": False}, "taken back"),
        (
            "cognito-short-tokens",
            CLIENT,
            {"accessTokenValidity": 60, "tokenValidityUnits": {"accessToken": "minutes"}},
            {"accessTokenValidity": 24},
            "24 hours",
        ),
        (
            "iam-resources-of-ours",
            ROLE_POLICY,
            {"policy": allow(Action="kms:Decrypt", Resource=KEY)},
            {"policy": allow(Action="kms:Decrypt", Resource="arn:aws:kms:*:*:key/*")},
            "which others have, too",
        ),
        (
            "rp-known-accounts",
            KMS_KEY,
            {"policy": allow(Principal={"AWS": ME}, Action="kms:Sign", Resource="*")},
            {"policy": allow(Principal={"AWS": "arn:aws:iam::999999999999:root"}, Action="kms:Sign", Resource="*")},
            "lets account 999999999999 in",
        ),
        (
            "k8s-netpol-narrow",
            NETWORK_POLICY,
            {"spec": {"egress": [{"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}], "ports": [{"port": 443}]}]}},
            {"spec": {"egress": [{"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}], "ports": [{"port": 80}]}]}},
            "open to the world on port 80",
        ),
        (
            "k8s-netpol-narrow",
            NETWORK_POLICY,
            {"spec": {"ingress": [{"from": [{"podSelector": {}}]}]}},
            {"spec": {"ingress": [{}]}},
            "about everyone and every port",
        ),
        ("k8s-account-no-token", ACCOUNT, {"automountServiceAccountToken": False}, {}, "gets a token"),
        (
            "k8s-chart-images",
            RELEASE,
            {"values": {"image": {"repository": "123456789012.dkr.ecr.us-east-1.amazonaws.com/kueue"}}},
            {"values": {"controller": {"image": {"repository": "docker.io/someone/kueue"}}}},
            "values.controller.image.repository comes from docker.io",
        ),
        (
            "karpenter-image-pinned",
            NODE_CLASS,
            {"spec": {"amiSelectorTerms": [{"alias": "al2023@v20260714"}]}},
            {"spec": {"amiSelectorTerms": [{"alias": "al2023@latest"}]}},
            "al2023@latest",
        ),
        (
            "karpenter-gp3",
            NODE_CLASS,
            {"spec": {"blockDeviceMappings": [{"ebs": {"volumeType": "gp3"}}]}},
            {"spec": {"blockDeviceMappings": [{"ebs": {"volumeType": "io2"}}]}},
            "gp3",
        ),
        (
            "karpenter-tags",
            NODE_CLASS,
            {"spec": {"tags": {"owner": "a", "cost-center": "1"}}},
            {"spec": {"tags": {"owner": "a"}}},
            "spec.tags.cost-center",
        ),
        (
            "budget-tells",
            "aws:budgets/budget:Budget",
            {"notifications": [{"subscriberSnsTopicArns": ["arn:aws:sns:us-east-1:1:alerts"]}]},
            {"notifications": [{"threshold": 80}]},
            "notifications.0 tells nobody",
        ),
        (
            "k8s-quota-whole",
            "kubernetes:core/v1:ResourceQuota",
            {"spec": {"hard": WHOLE}},
            {"spec": {"hard": {**WHOLE, "services.nodeports": "10"}}},
            "spec.hard.services.nodeports is 10",
        ),
        (
            "k8s-quota-whole",
            "kubernetes:core/v1:ResourceQuota",
            {"spec": {"hard": {"pods": "0"}, "scopeSelector": {"matchExpressions": []}}},
            {"spec": {"hard": {"requests.cpu": "8"}}},
            "spec.hard.limits.memory",
        ),
        (
            "cost-ecr-rules",
            "aws:ecr/lifecyclePolicy:LifecyclePolicy",
            {"policy": json.dumps({"rules": [{"rulePriority": 1}]})},
            {"policy": json.dumps({"rules": []})},
            "every image is kept",
        ),
        (
            "k8s-limits-whole",
            "kubernetes:core/v1:LimitRange",
            {"spec": {"limits": [{"type": "Container", "max": {"cpu": 1, "memory": 1}, "default": {"memory": 1}}]}},
            {"spec": {"limits": [{"type": "Container", "max": {"cpu": 1}}]}},
            "spec.limits.0.max.memory",
        ),
    ],
)
def test_each_control_lets_one_resource_pass_and_refuses_another(
    rule: str, kind: str, good: dict[str, Any], bad: dict[str, Any], words: str
) -> None:
    assert judge(rule, kind, good).sentences == []
    assert words in " ".join(judge(rule, kind, bad).sentences)


def test_a_stage_without_settings_and_a_client_without_a_plan_are_refused() -> None:
    stage = resource(STAGE, restApi="api-1")
    settings = resource(SETTINGS, restApi="api-1", settings={})
    plan = resource(PLAN, throttleSettings={"rateLimit": 1, "burstLimit": 2}, quotaSettings={"limit": 3})
    key = resource(API_KEY)
    assert judge_stack("api-clients-throttled", stage, settings, plan, key).sentences == []
    assert len(judge_stack("api-clients-throttled", stage, key).sentences) == 2
    free = resource(PLAN, throttleSettings={"rateLimit": 1, "burstLimit": 2})
    [sentence] = judge_stack("api-clients-throttled", free).sentences
    assert "quotaSettings is None" in sentence


def signing(*statements: dict[str, Any]) -> list[str]:
    key = resource(KMS_KEY, keyUsage="SIGN_VERIFY", policy=document(*statements))
    return judge_stack("kms-one-signer", key).sentences


def test_one_role_signs_and_all_others_are_refused() -> None:
    allowed = {"Effect": "Allow", "Principal": "*", "Action": "kms:Sign", "Resource": "*"}
    one = {**allowed, "Condition": {"ArnEquals": {"aws:PrincipalArn": ME}}}
    no_other = {**allowed, "Effect": "Deny", "Condition": {"ArnNotEquals": {"aws:PrincipalArn": ME}}}
    assert signing(one, no_other) == []
    assert "do more with the key" in " ".join(signing({**one, "Action": ["kms:Sign", "kms:Verify"]}, no_other))
    assert "lets more than one role sign" in " ".join(signing(allowed, no_other))
    assert "nothing refuses kms:Sign" in " ".join(signing(one))


def deny(action: Any, **rest: Any) -> dict[str, Any]:
    return {"Effect": "Deny", "Principal": "*", "Action": action, "Resource": "arn:aws:s3:::b/*", **rest}


OTHER_KEY = deny("s3:PutObject", Condition={"StringNotEquals": {"s3:x-amz-server-side-encryption-aws-kms-key-id": KEY}})
NO_KEY = deny("s3:PutObject", Condition={"StringEquals": {"s3:x-amz-server-side-encryption": "AES256"}})
UNLOCK = deny(["s3:DeleteObjectVersion", "s3:BypassGovernanceRetention", "s3:PutObjectRetention"])
FORGET = deny("s3:PutLifecycleConfiguration")
OVERWRITE = deny("s3:PutObject", Condition={"Null": {"s3:if-none-match": "true"}})


@pytest.mark.parametrize("missing", range(5))
def test_a_bucket_keeps_each_of_its_guards(missing: int) -> None:
    all_of_them = [OTHER_KEY, NO_KEY, UNLOCK, FORGET, OVERWRITE]
    by_a_key = {"applyServerSideEncryptionByDefault": {"kmsMasterKeyId": KEY, "sseAlgorithm": "aws:kms"}}

    def judged(*statements: dict[str, Any]) -> list[str]:
        return judge_stack(
            "s3-guards",
            resource(BUCKET, bucket="b", objectLockEnabled=True),
            resource(ENCRYPTION, bucket="b", rules=[by_a_key]),
            resource(LOCK, bucket="b", rule={"defaultRetention": {"mode": "COMPLIANCE"}}),
            resource(BUCKET_POLICY, bucket="b", policy=document(*statements)),
        ).sentences

    assert judged(*all_of_them) == []
    assert judged(*all_of_them[:missing], *all_of_them[missing + 1 :])


def test_a_bucket_made_to_be_locked_is_locked() -> None:
    [sentence] = judge_stack("s3-guards", resource(BUCKET, bucket="b", objectLockEnabled=True)).sentences
    assert "add a BucketObjectLockConfiguration" in sentence


def test_a_queue_has_a_policy_of_its_own() -> None:
    queue = resource(QUEUE, "orders", url="https://sqs/orders")
    policy = resource(QUEUE_POLICY, queueUrl="https://sqs/orders", policy=json.dumps({"Statement": []}))
    assert judge_stack("rp-policy-exists", queue, policy).sentences == []
    [sentence] = judge_stack("rp-policy-exists", queue).sentences
    assert "orders has no policy of its own" in sentence
