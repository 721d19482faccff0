"""What identities may do and who may use what: each control accepts what is needed, and refuses what is too much."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pulumi_aws as aws
import pytest
from judging import ACCOUNT, allow, document, judge, judge_stack, resource
from pulumi.runtime.config import set_all_config

from infra.rehearsal.aws import AwsProvider
from infra.rehearsal.engine import Engine
from infra.settings import load
from infra.stack import Stack
from policies.access import identity, sharing
from policies.access.tables import DOCUMENTS, KEY_POLICY, RESOURCE_DOCUMENTS
from policies.limits import limits
from policies.resource_types import KEY, POLICY, ROLE, ROLE_POLICY
from policies.rules import UNKNOWN

QUEUE = "aws:sqs/queue:Queue"
QUEUE_POLICY = "aws:sqs/queuePolicy:QueuePolicy"
TOPIC_POLICY = "aws:sns/topicPolicy:TopicPolicy"
BUCKET = "aws:s3/bucket:Bucket"
VPC_ENDPOINT = "aws:ec2/vpcEndpoint:VpcEndpoint"
ATTACHMENT = "aws:iam/rolePolicyAttachment:RolePolicyAttachment"
POLICY_ATTACHMENT = "aws:iam/policyAttachment:PolicyAttachment"
USER = "aws:iam/user:User"
ACCESS_KEY = "aws:iam/accessKey:AccessKey"
PERMISSION = "aws:lambda/permission:Permission"
LAYER_PERMISSION = "aws:lambda/layerVersionPermission:LayerVersionPermission"
FUNCTION_URL = "aws:lambda/functionUrl:FunctionUrl"
GROUP_POLICY = "aws:sagemaker/modelPackageGroupPolicy:ModelPackageGroupPolicy"
GRANT = "aws:kms/grant:Grant"

OTHER = "210987654321"
ROOT = {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}
OURS = {"StringEquals": {"aws:SourceAccount": ACCOUNT}}
SERVICE = {"Service": "sagemaker.amazonaws.com"}
OBJECTS = "arn:aws:s3:::data/*"
A_ROLE = f"arn:aws:iam::{ACCOUNT}:role/a"
ROLES = f"arn:aws:iam::{ACCOUNT}:role/churn-*"
POLICIES = f"arn:aws:iam::{ACCOUNT}:policy/"
PASSED = {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}}
VIA_S3 = {"StringEquals": {"kms:ViaService": "s3.us-east-1.amazonaws.com"}}
GITHUB = f"arn:aws:iam::{ACCOUNT}:oidc-provider/token.actions.githubusercontent.com"
EKS = "oidc.eks.us-east-1.amazonaws.com/id/A"
EKS_PROVIDER = f"arn:aws:iam::{ACCOUNT}:oidc-provider/{EKS}"
POD = {"StringEquals": {f"{EKS}:sub": "system:serviceaccount:churn:trainer", f"{EKS}:aud": "sts.amazonaws.com"}}


@pytest.fixture(autouse=True)
def account() -> Iterator[None]:
    """A stack in an account of ours."""
    set_all_config({"aws:allowedAccountIds": json.dumps([ACCOUNT])})
    yield
    set_all_config({})


def policy(**statement: Any) -> dict[str, Any]:
    return {"policy": allow(**statement)}


def trust(principal: Any, **rest: Any) -> dict[str, Any]:
    return {"assumeRolePolicy": allow(Principal=principal, **{"Action": "sts:AssumeRole", **rest})}


def login(provider: str, **rest: Any) -> dict[str, Any]:
    return trust({"Federated": provider}, Action="sts:AssumeRoleWithWebIdentity", **rest)


def github(subject: str, operator: str = "StringLike") -> dict[str, Any]:
    return login(GITHUB, Condition={operator: {"token.actions.githubusercontent.com:sub": subject}})


ACCEPTED = [
    ("policies-are-documents", ROLE_POLICY, policy(Action="s3:GetObject", Resource=OBJECTS)),
    ("policies-are-documents", ROLE_POLICY, {"policy": json.loads(allow(Action="s3:GetObject"))}),
    ("iam-no-admin-star", ROLE_POLICY, policy(Action="s3:*", Resource="*")),
    ("iam-no-star-action", ROLE_POLICY, policy(Action="s3:*", Resource="*")),
    ("iam-no-service-wildcard", ROLE_POLICY, policy(Action=["s3:GetObject", "s3:Get*"], Resource=OBJECTS)),
    ("iam-no-service-wildcard", ROLE_POLICY, {"policy": document({"Effect": "Deny", "Action": "s3:*"})}),
    ("iam-no-star-resource-restrictable", ROLE_POLICY, policy(Action="s3:GetObject", Resource=OBJECTS)),
    ("iam-no-star-resource-restrictable", ROLE_POLICY, policy(Action=["ec2:DescribeSubnets"], Resource="*")),
    ("iam-no-star-resource-restrictable", ROLE_POLICY, policy(Action="ecr:GetAuthorizationToken", Resource=["*"])),
    ("iam-no-star-resource-restrictable", ROLE_POLICY, policy(Action="sagemaker:ListModelPackages", Resource="*")),
    ("iam-no-star-resource-restrictable", ROLE_POLICY, policy(Action="kms:Decrypt", Resource="*", Condition=VIA_S3)),
    (
        "iam-no-star-resource-restrictable",
        ROLE_POLICY,
        policy(Action="s3:GetObject", Resource="(known after up: arn of data)"),
    ),
    (
        "iam-no-privesc",
        ROLE_POLICY,
        policy(Action=["iam:PassRole", "sagemaker:CreateTrainingJob"], Resource=[A_ROLE, "arn:aws:sagemaker:*:*:x/*"]),
    ),
    (
        "iam-no-privesc",
        ROLE_POLICY,
        {
            "policy": document(
                {"Effect": "Allow", "Action": ["iam:PassRole", "lambda:*"], "Resource": "*"},
                {"Effect": "Deny", "Action": ["iam:*", "lambda:UpdateFunctionCode"], "Resource": "*"},
            )
        },
    ),
    (
        "iam-no-privesc",
        ROLE_POLICY,
        policy(
            Action=["iam:PassRole", "lambda:CreateFunction", "lambda:AddPermission"], Resource="*", Condition=PASSED
        ),
    ),
    (
        "iam-no-privesc",
        ROLE_POLICY,
        policy(
            Action="iam:PutRolePolicy",
            Resource="*",
            Condition={"StringEquals": {"iam:PermissionsBoundary": f"arn:aws:iam::{ACCOUNT}:policy/bounds"}},
        ),
    ),
    ("iam-no-cred-exposure", ROLE_POLICY, policy(Action="sts:AssumeRole", Resource=A_ROLE)),
    ("iam-no-cred-exposure", ROLE_POLICY, policy(Action="ecr:GetAuthorizationToken", Resource="*")),
    ("iam-no-exfil", ROLE_POLICY, policy(Action="s3:GetObject", Resource=OBJECTS)),
    ("iam-no-perm-mgmt", ROLE_POLICY, policy(Action="iam:PutRolePolicy", Resource=A_ROLE)),
    ("iam-no-perm-mgmt", ROLE_POLICY, policy(Action="iam:PassRole", Resource="*")),
    ("iam-no-write-unconstrained", ROLE_POLICY, policy(Action="s3:GetObject", Resource="*")),
    ("iam-no-write-unconstrained", ROLE_POLICY, policy(Action="kms:CreateKey", Resource="*")),
    ("iam-passrole-scoped", ROLE_POLICY, policy(Action="iam:PassRole", Resource=A_ROLE)),
    ("iam-passrole-scoped", ROLE_POLICY, policy(Action="iam:PassRole", Resource=ROLES)),
    ("iam-passrole-scoped", ROLE_POLICY, policy(Action="*", Resource=OBJECTS)),
    ("iam-passrole-named", ROLE_POLICY, policy(Action="iam:PassRole", Resource=A_ROLE)),
    ("iam-passrole-named", ROLE_POLICY, policy(Action="iam:PassRole", Resource=ROLES, Condition=PASSED)),
    ("iam-no-notaction", ROLE_POLICY, {"policy": document({"Effect": "Deny", "NotAction": "s3:*"})}),
    ("iam-no-notresource", ROLE_POLICY, {"policy": document({"Effect": "Deny", "NotResource": OBJECTS})}),
    ("iam-no-notprincipal", QUEUE_POLICY, {"policy": document({"Effect": "Deny", "NotPrincipal": ROOT})}),
    ("kms-no-decrypt-all", ROLE_POLICY, policy(Action="kms:Decrypt", Resource="*", Condition=VIA_S3)),
    (
        "kms-no-decrypt-all",
        ROLE_POLICY,
        policy(Action="kms:Decrypt", Resource=f"arn:aws:kms:us-east-1:{ACCOUNT}:key/a"),
    ),
    ("iam-no-admin-managed", ATTACHMENT, {"policyArn": "arn:aws:iam::aws:policy/AmazonEKSWorkerNodePolicy"}),
    ("iam-no-admin-managed", ROLE, {"managedPolicyArns": [f"arn:aws:iam::{ACCOUNT}:policy/AdministratorAccess"]}),
    ("iam-no-users", ROLE, {}),
    ("iam-no-root-key", ACCESS_KEY, {"user": "pipeline"}),
    ("iam-no-user-policy", POLICY_ATTACHMENT, {"roles": ["a"], "users": []}),
    ("iam-no-inline", ROLE, {"inlinePolicies": []}),
    ("iam-boundary", ROLE, {"permissionsBoundary": f"arn:aws:iam::{ACCOUNT}:policy/slipway-boundary"}),
    ("iam-trust-no-wildcard", ROLE, trust({"AWS": A_ROLE})),
    (
        "iam-trust-no-wildcard",
        ROLE,
        trust({"AWS": "*"}, Condition={"StringEquals": {"aws:PrincipalOrgID": "o-a1b2c3d4e5"}}),
    ),
    ("iam-trust-no-full-action", ROLE, trust(SERVICE)),
    ("iam-trust-no-account-root", ROLE, trust(ROOT, Condition={"StringEquals": {"sts:ExternalId": "secret"}})),
    ("iam-trust-no-account-root", ROLE, trust(ROOT, Condition={"Bool": {"aws:MultiFactorAuthPresent": "true"}})),
    ("iam-trust-confused-deputy", ROLE, trust(SERVICE, Condition=OURS)),
    ("iam-trust-confused-deputy", ROLE, trust({"Service": "ec2.amazonaws.com"})),
    ("iam-irsa-scoped", ROLE, login(EKS_PROVIDER, Condition=POD)),
    ("iam-github-oidc", ROLE, github("repo:ours/churn:*")),
    ("iam-github-oidc", ROLE, github("repo:ours/churn:ref:refs/heads/main", "StringEquals")),
    (
        "iam-federated-pinned",
        ROLE,
        login("accounts.google.com", Condition={"StringEquals": {"accounts.google.com:sub": "1234"}}),
    ),
    (
        "iam-federated-pinned",
        ROLE,
        login(
            f"arn:aws:iam::{ACCOUNT}:saml-provider/people",
            Condition={"StringEquals": {"SAML:aud": "https://signin.aws.amazon.com/saml"}},
        ),
    ),
    ("rp-no-public", QUEUE_POLICY, policy(Principal=ROOT, Action="sqs:SendMessage")),
    ("rp-no-public", QUEUE_POLICY, policy(Principal="*", Action="sqs:SendMessage", Condition=OURS)),
    ("rp-no-star-action", QUEUE_POLICY, {"policy": document({"Effect": "Deny", "Principal": "*", "Action": "sqs:*"})}),
    (
        "rp-confused-deputy",
        QUEUE_POLICY,
        policy(
            Principal={"Service": "events.amazonaws.com"},
            Action="sqs:SendMessage",
            Condition={"ArnEquals": {"aws:SourceArn": f"arn:aws:events:us-east-1:{ACCOUNT}:rule/a"}},
        ),
    ),
    ("rp-kms-no-wildcard", KEY, policy(Principal=ROOT, Action="kms:*", Resource="*")),
    (
        "rp-kms-no-wildcard",
        KEY,
        policy(
            Principal={"AWS": "*"},
            Action="kms:Decrypt",
            Condition={"StringEquals": {"aws:PrincipalArn": A_ROLE}},
        ),
    ),
    ("rp-kms-no-star-action", KEY, policy(Principal=ROOT, Action="kms:*", Resource="*")),
    (
        "rp-model-package-group",
        GROUP_POLICY,
        {"resourcePolicy": allow(Principal={"AWS": ACCOUNT}, Action=["sagemaker:Describe*", "sagemaker:CreateModel"])},
    ),
    (
        "rp-vpce-policy",
        VPC_ENDPOINT,
        policy(Principal="*", Action="*", Resource="*", Condition={"StringEquals": {"aws:ResourceAccount": ACCOUNT}}),
    ),
    (
        "rp-vpce-policy",
        VPC_ENDPOINT,
        policy(Principal="*", Action="s3:GetObject", Resource="arn:aws:s3:::prod-us-east-1-starport-layer-bucket/*"),
    ),
    ("sns-no-cross-account", TOPIC_POLICY, policy(Principal={"AWS": A_ROLE}, Action="sns:Publish")),
    ("sns-no-cross-account", TOPIC_POLICY, policy(Principal={"AWS": "777788889999"}, Action="sns:Publish")),
    ("kms-grant-least", GRANT, {"operations": ["Decrypt", "GenerateDataKey"], "retiringPrincipal": A_ROLE}),
    (
        "kms-grant-least",
        GRANT,
        {
            "operations": ["Decrypt", "CreateGrant"],
            "constraints": [{"encryptionContextEquals": {"a": "b"}}],
            "retiringPrincipal": UNKNOWN,
        },
    ),
    ("lambda-perm-not-public", PERMISSION, {"principal": "*", "principalOrgId": "o-a1b2c3d4e5"}),
    ("lambda-perm-not-public", LAYER_PERMISSION, {"principal": "*", "organizationId": "o-a1b2c3d4e5"}),
    ("lambda-perm-source", PERMISSION, {"principal": "events.amazonaws.com", "sourceArn": UNKNOWN}),
    ("lambda-perm-source", PERMISSION, {"principal": "s3.amazonaws.com", "sourceAccount": ACCOUNT}),
    (
        "lambda-url-auth",
        FUNCTION_URL,
        {"authorizationType": "AWS_IAM", "cors": {"allowOrigins": ["https://a.example"]}},
    ),
]

REFUSED = [
    ("policies-are-documents", ROLE_POLICY, {"policy": "{"}, "policy is no IAM document: not JSON"),
    ("policies-are-documents", ROLE_POLICY, {"policy": "{}"}, "it has no Statement"),
    (
        "policies-are-documents",
        ROLE_POLICY,
        {"policy": '{"Statement": [], "Statement": []}'},
        "it says Statement twice",
    ),
    ("policies-are-documents", ROLE_POLICY, policy(Action="s3:GetObject", Ressource="*"), "no element Ressource"),
    ("policies-are-documents", ROLE_POLICY, policy(Resource="*"), "needs one of Action and NotAction"),
    ("policies-are-documents", ROLE_POLICY, policy(Action=[1]), "neither a text nor a list of texts"),
    ("policies-are-documents", ROLE_POLICY, {"policy": document({"Action": "s3:GetObject"})}, "set 'Allow' or 'Deny'"),
    ("iam-no-admin-star", ROLE_POLICY, policy(Action="*", Resource="*"), "everything on everything"),
    ("iam-no-admin-star", ROLE_POLICY, policy(Action=["s3:GetObject", "*:*"], Resource=["arn:aws:*"]), "everything"),
    ("iam-no-admin-star", ROLE_POLICY, {"policy": document({"Action": "*", "Resource": "*"})}, "everything"),
    ("iam-no-star-action", ROLE_POLICY, policy(Action="*", Resource=OBJECTS), "allows *: name the actions"),
    ("iam-no-service-wildcard", ROLE_POLICY, policy(Action=["s3:GetObject", "S3:*"], Resource="a"), "allows S3:*"),
    ("iam-no-service-wildcard", ROLE_POLICY, policy(Action="s3:?*", Resource="a"), "allows s3:?*"),
    (
        "iam-no-service-wildcard",
        ROLE,
        {"inlinePolicies": [{"policy": allow(Action="ec2:*")}]},
        "inlinePolicies.0.policy",
    ),
    ("iam-no-star-resource-restrictable", ROLE_POLICY, policy(Action="s3:GetObject", Resource="*"), "s3:GetObject on"),
    (
        "iam-no-star-resource-restrictable",
        ROLE_POLICY,
        policy(Action="s3:GetObject", Resource="arn:aws:s3:::*"),
        "everything",
    ),
    (
        "iam-no-star-resource-restrictable",
        ROLE_POLICY,
        policy(Action="kms:Decrypt", Resource="arn:aws:kms:*:*:key/*"),
        "everything",
    ),
    (
        "iam-no-star-resource-restrictable",
        ROLE_POLICY,
        policy(Action=["ec2:DescribeSubnets", "ec2:RunInstances"], Resource="*"),
        "allows ec2:RunInstances on everything",
    ),
    (
        "iam-no-star-resource-restrictable",
        ROLE_POLICY,
        policy(Action="s3:NoSuchAction", Resource="*"),
        "allows s3:NoSuchAction on everything",
    ),
    *(
        (
            "iam-no-star-resource-restrictable",
            ROLE_POLICY,
            policy(Action="kms:Decrypt", Resource="*", Condition={operator: {"kms:ViaService": value}}),
            "kms:Decrypt on everything",
        )
        for operator, value in (
            ("StringNotEquals", "s3"),
            ("StringLike", "*"),
            ("StringEqualsIfExists", "s3"),
            ("ForAllValues:StringEquals", "s3"),
        )
    ),
    (
        "iam-no-privesc",
        ROLE_POLICY,
        policy(Action=["iam:Pass*", "sagemaker:CreateTrainingJob"], Resource="*"),
        "run code in SageMaker as any role (iam:PassRole with sagemaker:CreateTrainingJob)",
    ),
    (
        "iam-no-privesc",
        ROLE_POLICY,
        policy(Action=["iam:PassRole", "sagemaker:CreateProcessingJob"], Resource="*", Condition=PASSED),
        "iam:PassRole with sagemaker:CreateProcessingJob",
    ),
    (
        "iam-no-privesc",
        ROLE_POLICY,
        policy(Action="iam:CreatePolicyVersion", Resource=f"arn:aws:iam::{ACCOUNT}:policy/*"),
        "write new rights into any policy",
    ),
    (
        "iam-no-privesc",
        ROLE_POLICY,
        policy(Action="lambda:Update*", Resource="arn:aws:lambda:us-east-1:*:function:*"),
        "run code as the role of any function",
    ),
    (
        "iam-no-privesc",
        ROLE_POLICY,
        policy(Action="sagemaker:CreatePresignedNotebookInstanceUrl", Resource="*"),
        "act as the role of any notebook",
    ),
    ("iam-no-privesc", ROLE_POLICY, policy(NotAction="s3:*", Resource="*"), "take"),
    ("iam-no-cred-exposure", ROLE_POLICY, policy(Action="sts:Assume*", Resource="*"), "sts:AssumeRole"),
    ("iam-no-exfil", ROLE_POLICY, policy(Action="s3:GetObject", Resource="arn:aws:s3:::*/*"), "s3:GetObject"),
    (
        "iam-no-exfil",
        ROLE_POLICY,
        policy(Action="secretsmanager:*", Resource="arn:aws:secretsmanager:us-east-1:1:secret:*"),
        "secretsmanager:GetSecretValue",
    ),
    ("iam-no-perm-mgmt", ROLE_POLICY, policy(Action="s3:PutBucket*", Resource="*"), "s3:PutBucket* (s3:PutBucketAcl)"),
    ("iam-no-perm-mgmt", ROLE_POLICY, policy(Action="iam:CreateUser", Resource="*"), "iam:CreateUser"),
    ("iam-no-perm-mgmt", ROLE_POLICY, policy(Action="*", Resource="*"), "every action"),
    ("iam-no-write-unconstrained", ROLE_POLICY, policy(Action="s3:Put*", Resource="*"), "s3:Put* ("),
    ("iam-passrole-scoped", ROLE_POLICY, policy(Action="iam:Pass*", Resource="*"), "lets every role be passed"),
    ("iam-passrole-scoped", ROLE_POLICY, policy(Action="iam:*", Resource="arn:aws:iam::*:role/*"), "every role"),
    ("iam-passrole-named", ROLE_POLICY, policy(Action="iam:PassRole", Resource=ROLES), "iam:PassedToService"),
    ("iam-passrole-named", ROLE_POLICY, policy(Action="iam:PassRole", Resource="*", Condition=PASSED), "every role"),
    ("iam-no-notaction", ROLE_POLICY, policy(NotAction="iam:*", Resource="a"), "allows by NotAction"),
    ("iam-no-notaction", ROLE, {"assumeRolePolicy": allow(Principal=ROOT, NotAction="a")}, "assumeRolePolicy"),
    ("iam-no-notresource", ROLE_POLICY, policy(Action="s3:Get*", NotResource="a"), "allows by NotResource"),
    ("iam-no-notprincipal", QUEUE_POLICY, policy(Action="sqs:SendMessage", NotPrincipal=ROOT), "with Principal"),
    ("kms-no-decrypt-all", ROLE_POLICY, policy(Action="kms:Decrypt", Resource="arn:aws:kms:*:*:key/*"), "every key"),
    ("kms-no-decrypt-all", ROLE_POLICY, policy(Action="kms:ReEncrypt*", Resource="*"), "kms:ReEncryptFrom"),
    ("iam-no-admin-managed", ATTACHMENT, {"policyArn": "arn:aws:iam::aws:policy/AdministratorAccess"}, "Administrator"),
    ("iam-no-admin-managed", ROLE, {"managedPolicyArns": ["arn:aws-cn:iam::aws:policy/PowerUserAccess"]}, "PowerUser"),
    ("iam-no-users", USER, {}, "Users last until someone steals them: use a role"),
    ("iam-no-root-key", ACCESS_KEY, {"user": "root"}, "user is root"),
    ("iam-no-user-policy", POLICY_ATTACHMENT, {"users": ["a"]}, "users is set"),
    ("iam-no-user-policy", "aws:iam/userPolicy:UserPolicy", {}, "gives one user rights"),
    ("iam-no-inline", ROLE, {"inlinePolicies": [{"name": "a"}]}, "inlinePolicies is set"),
    ("iam-trust-no-wildcard", ROLE, trust("*"), "lets everyone in"),
    ("iam-trust-no-wildcard", ROLE, trust({"AWS": "arn:aws:iam::*:role/admin"}), "lets everyone in"),
    ("iam-trust-no-wildcard", ROLE, trust({"AWS": ["arn:aws:iam::*:root", A_ROLE]}), "lets everyone in"),
    ("iam-trust-no-full-action", ROLE, trust(SERVICE, Action="sts:*"), "allows sts:*"),
    ("iam-trust-no-account-root", ROLE, trust(ROOT), "everyone in an account"),
    (
        "iam-trust-no-account-root",
        ROLE,
        trust(ROOT, Condition={"StringEquals": {"aws:PrincipalAccount": ACCOUNT}}),
        "everyone in an account",
    ),
    ("iam-trust-confused-deputy", ROLE, trust(SERVICE), "lets sagemaker.amazonaws.com in on anyone's behalf"),
    (
        "iam-trust-confused-deputy",
        ROLE,
        trust({"Service": ["ec2.amazonaws.com", "lambda.amazonaws.com"]}),
        "lets lambda.amazonaws.com in",
    ),
    (
        "iam-irsa-scoped",
        ROLE,
        login(EKS_PROVIDER, Condition={"StringEquals": {f"{EKS}:sub": "system:serviceaccount:churn:trainer"}}),
        "takes tokens that are meant for others",
    ),
    (
        "iam-irsa-scoped",
        ROLE,
        login(
            "(known after up: arn of cluster)",
            Condition={
                "StringEquals": {f"{EKS}:aud": "sts.amazonaws.com"},
                "StringLike": {f"{EKS}:sub": "system:serviceaccount:churn:*"},
            },
        ),
        "any pod of the cluster",
    ),
    (
        "iam-github-oidc",
        ROLE,
        login(GITHUB, Condition={"StringEquals": {"token.actions.githubusercontent.com:aud": "sts.amazonaws.com"}}),
        "any repository",
    ),
    *(
        ("iam-github-oidc", ROLE, github(subject), "any repository")
        for subject in ("repo:*", "repo:ours/*", "repo:ours/churn*", "workflow:ci:repo:ours/churn:ref:refs/heads/main")
    ),
    (
        "iam-github-oidc",
        ROLE,
        login(
            f"{GITHUB}/ours",
            Condition={"StringEqualsIfExists": {"token.actions.githubusercontent.com/ours:sub": "repo:ours/churn:*"}},
        ),
        "any repository",
    ),
    ("iam-federated-pinned", ROLE, login("accounts.google.com"), "any user of accounts.google.com"),
    ("rp-no-public", QUEUE_POLICY, policy(Principal="*", Action="sqs:SendMessage"), "lets everyone in"),
    ("rp-no-public", QUEUE, policy(Principal={"AWS": "*"}, Action="sqs:SendMessage"), "lets everyone in"),
    ("rp-no-public", QUEUE_POLICY, policy(NotPrincipal=ROOT, Action="sqs:SendMessage"), "everyone in but some"),
    *(
        (
            "rp-no-public",
            QUEUE_POLICY,
            policy(Principal="*", Action="sqs:SendMessage", Condition={operator: {key: value}}),
            "lets everyone in",
        )
        for operator, key, value in (
            ("StringEqualsIfExists", "aws:SourceAccount", "1"),
            ("ForAllValues:StringEquals", "aws:PrincipalOrgID", "o-a1b2c3d4e5"),
            ("StringNotEquals", "aws:PrincipalAccount", "1"),
            ("ArnLike", "aws:SourceArn", "arn:aws:*:*:*"),
            ("ArnEquals", "aws:PrincipalArn", "arn:aws:iam::*"),
            ("StringLike", "aws:PrincipalOrgID", "o-*"),
            ("StringLike", "aws:PrincipalOrgPaths", "o-*/r-ab12/*"),
            ("StringLike", "aws:userid", "*:session"),
            ("StringLike", "aws:Referer", "https://ours.example/*"),
            ("StringEquals", "aws:username", "admin"),
            ("IpAddress", "aws:SourceIp", "0.0.0.0/0"),
            ("IpAddress", "aws:SourceIp", ["10.0.0.0/8", "128.0.0.0/1"]),
            ("Null", "aws:PrincipalOrgID", "false"),
            ("Bool", "aws:PrincipalIsAWSService", "true"),
        )
    ),
    ("rp-no-star-action", QUEUE_POLICY, policy(Principal=ROOT, Action="sqs:*"), "allows sqs:*"),
    (
        "rp-confused-deputy",
        QUEUE_POLICY,
        policy(Principal={"Service": "events.amazonaws.com"}, Action="sqs:SendMessage"),
        "on anyone's behalf",
    ),
    ("rp-kms-no-wildcard", KEY_POLICY, policy(Principal={"AWS": "*"}, Action="kms:*"), "lets everyone in"),
    (
        "rp-kms-no-wildcard",
        KEY,
        policy(Principal="*", Action="kms:Decrypt", Condition=VIA_S3),
        "lets everyone in",
    ),
    ("rp-kms-no-star-action", KEY, policy(Principal={"AWS": A_ROLE}, Action="kms:*"), "allows kms:*"),
    (
        "rp-model-package-group",
        GROUP_POLICY,
        {"resourcePolicy": allow(Principal={"AWS": OTHER}, Action="sagemaker:DescribeModelPackage")},
        f"lets account {OTHER} in",
    ),
    (
        "rp-model-package-group",
        GROUP_POLICY,
        {"resourcePolicy": allow(Principal=ROOT, Action="sagemaker:UpdateModelPackage")},
        "allows sagemaker:UpdateModelPackage",
    ),
    (
        "rp-model-package-group",
        GROUP_POLICY,
        {"resourcePolicy": allow(Principal="*", Action="sagemaker:ListModelPackages")},
        "lets everyone in",
    ),
    ("rp-vpce-policy", VPC_ENDPOINT, {}, "policy is not set"),
    ("rp-vpce-policy", VPC_ENDPOINT, policy(Principal="*", Action="*", Resource="*"), "any account"),
    (
        "sns-no-cross-account",
        TOPIC_POLICY,
        policy(Principal={"AWS": f"arn:aws:iam::{OTHER}:role/a"}, Action="sns:Publish"),
        f"lets account {OTHER} in",
    ),
    ("kms-grant-least", GRANT, {"operations": ["Encrypt"], "retiringPrincipal": A_ROLE}, "operations has Encrypt"),
    ("kms-grant-least", GRANT, {"operations": ["CreateGrant"], "retiringPrincipal": A_ROLE}, "encryptionContextEquals"),
    ("kms-grant-least", GRANT, {"operations": ["Decrypt"]}, "retiringPrincipal is not set"),
    ("lambda-perm-not-public", PERMISSION, {"principal": "*", "sourceArn": "arn:aws:s3:::a"}, "principal is *"),
    ("lambda-perm-not-public", LAYER_PERMISSION, {"principal": "*"}, "set organizationId"),
    (
        "lambda-perm-not-public",
        PERMISSION,
        {"principal": A_ROLE, "functionUrlAuthType": "NONE"},
        "functionUrlAuthType is NONE",
    ),
    ("lambda-perm-source", PERMISSION, {"principal": "events.amazonaws.com"}, "set sourceArn or sourceAccount"),
    (
        "lambda-perm-source",
        PERMISSION,
        {"principal": "s3.amazonaws.com", "sourceArn": "arn:aws:s3:::a"},
        "set sourceAccount",
    ),
    ("lambda-perm-source", PERMISSION, {"principal": "alexa-appkit.amazon.com"}, "set eventSourceToken"),
    ("lambda-url-auth", FUNCTION_URL, {"authorizationType": "NONE"}, "authorizationType is NONE"),
    ("lambda-url-auth", FUNCTION_URL, {}, "authorizationType is None"),
    ("lambda-url-auth", FUNCTION_URL, {"authorizationType": "AWS_IAM", "cors": {"allowOrigins": ["*"]}}, "name the"),
]

UNDECIDED = [
    ("policies-are-documents", ROLE_POLICY, {"policy": UNKNOWN}, "policy"),
    ("iam-no-service-wildcard", ROLE_POLICY, {"policy": UNKNOWN}, "policy"),
    ("iam-no-privesc", ROLE, {"inlinePolicies": [{"policy": UNKNOWN}]}, "inlinePolicies.0.policy"),
    ("iam-no-admin-managed", ATTACHMENT, {"policyArn": UNKNOWN}, "policyArn"),
    ("iam-no-root-key", ACCESS_KEY, {"user": UNKNOWN}, "user"),
    ("iam-no-user-policy", POLICY_ATTACHMENT, {"users": UNKNOWN}, "users"),
    ("rp-vpce-policy", VPC_ENDPOINT, {"policy": UNKNOWN}, "policy"),
    ("kms-grant-least", GRANT, {"operations": UNKNOWN, "retiringPrincipal": A_ROLE}, "operations"),
    ("lambda-perm-not-public", PERMISSION, {"principal": UNKNOWN}, "principal"),
    ("lambda-perm-source", PERMISSION, {"principal": UNKNOWN}, "principal"),
    ("lambda-url-auth", FUNCTION_URL, {"authorizationType": UNKNOWN}, "authorizationType"),
    ("lambda-url-auth", FUNCTION_URL, {"authorizationType": "AWS_IAM", "cors": UNKNOWN}, "cors.allowOrigins"),
]


@pytest.mark.parametrize("rule, kind, inputs", ACCEPTED)
def test_what_is_needed_is_accepted(rule: str, kind: str, inputs: dict[str, Any]) -> None:
    verdict = judge(rule, kind, inputs)
    assert (verdict.sentences, verdict.unknown) == ([], [])


@pytest.mark.parametrize("rule, kind, inputs, words", REFUSED)
def test_what_is_too_much_is_refused_with_what_to_set(rule: str, kind: str, inputs: dict[str, Any], words: str) -> None:
    [sentence] = judge(rule, kind, inputs).sentences
    assert words in sentence


@pytest.mark.parametrize("rule, kind, inputs, path", UNDECIDED)
def test_what_only_a_deployment_will_know_is_deferred_not_passed(
    rule: str, kind: str, inputs: dict[str, Any], path: str
) -> None:
    verdict = judge(rule, kind, inputs)
    assert verdict.sentences == []
    assert path in verdict.unknown


def test_of_a_document_that_is_known_in_part_the_rest_is_judged() -> None:
    statements = [{"Effect": "Allow", "Action": UNKNOWN, "Resource": "*"}, {"Effect": "Allow", "Action": "s3:*"}]
    verdict = judge("iam-no-service-wildcard", ROLE_POLICY, {"policy": {"Statement": statements}})
    assert verdict.unknown == ["policy"]
    assert "statement 2: allows s3:*" in verdict.sentences[0]


def test_every_control_has_a_case_that_passes_and_one_that_fails() -> None:
    of_stacks = {each.name for each in STACKS}
    rules = {each.name for each in (*identity.CONTROLS, *sharing.CONTROLS)} - of_stacks
    assert rules == {case[0] for case in ACCEPTED}
    assert rules - {"iam-boundary"} == {case[0] for case in REFUSED}


STACKS = [each for each in (*identity.CONTROLS, *sharing.CONTROLS) if each.stack_rule]


def test_a_violation_names_the_statement_it_is_in() -> None:
    good = {"Sid": "Read", "Effect": "Allow", "Action": "s3:GetObject", "Resource": OBJECTS}
    inputs = {"policy": document(good, {**good, "Sid": "Everything", "Action": "s3:*"})}
    [sentence] = judge("iam-no-service-wildcard", ROLE_POLICY, inputs).sentences
    assert sentence.startswith("policy, Everything: ")


@pytest.mark.parametrize(
    "condition",
    [
        {"StringLike": {"aws:PrincipalOrgPaths": "o-a1b2c3d4e5/r-ab12/*"}},
        {"StringLike": {"aws:userid": "AROAEXAMPLE1234567890:*"}},
        {"IpAddress": {"aws:SourceIp": ["10.1.0.0/16", "2001:db8::/32"]}},
        {"ForAnyValue:StringEquals": {"aws:PrincipalOrgPaths": ["o-a1b2c3d4e5/"]}},
        {"stringequals": {"AWS:SOURCEVPCE": "vpce-1a2b3c4d"}},
        {
            "ForAllValues:StringEquals": {"aws:PrincipalOrgID": "o-a1b2c3d4e5"},
            "Null": {"aws:PrincipalOrgID": "false"},
        },
        {"StringEqualsIfExists": {"aws:PrincipalOrgID": "o-a1b2c3d4e5"}, "null": {"AWS:PrincipalOrgID": False}},
        {"ArnLike": {"aws:SourceArn": f"arn:aws:cloudtrail:*:{ACCOUNT}:trail/*"}},
        {"StringNotEquals": {"aws:PrincipalAccount": "1"}, "StringEquals": {"aws:SourceOwner": ACCOUNT}},
    ],
)
def test_a_condition_that_fixes_who_asks_makes_everyone_somebody(condition: dict[str, Any]) -> None:
    inputs = policy(Principal="*", Action="sqs:SendMessage", Condition=condition)
    assert judge("rp-no-public", QUEUE_POLICY, inputs).sentences == []


@pytest.mark.parametrize("kind", [kind for kind in DOCUMENTS if kind != VPC_ENDPOINT])
def test_every_document_is_read(kind: str) -> None:
    path = DOCUMENTS[kind][-1].removesuffix("?")
    assert judge("policies-are-documents", kind, {path: "nonsense"}).sentences


@pytest.mark.parametrize("kind", RESOURCE_DOCUMENTS)
def test_no_resource_of_whatever_type_is_public(kind: str) -> None:
    path = RESOURCE_DOCUMENTS[kind][-1].removesuffix("?")
    assert judge("rp-no-public", kind, {path: allow(Principal="*", Action="a:B")}).sentences


@pytest.fixture
def boundary(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits that demand a boundary."""
    bounded = limits().model_copy(update={"permissions_boundary": "bounds"})
    monkeypatch.setattr(identity, "limits", lambda: bounded)


def test_where_the_limits_name_a_boundary_every_role_has_it(boundary: None) -> None:
    [sentence] = judge("iam-boundary", ROLE, {}).sentences
    assert sentence.startswith("permissionsBoundary is not set: set slipway:permissions_boundary")
    [sentence] = judge(
        "iam-boundary", ROLE, {"permissionsBoundary": f"arn:aws:iam::{ACCOUNT}:policy/no-bounds"}
    ).sentences
    assert "no-bounds" in sentence
    bounded = judge("iam-boundary", ROLE, {"permissionsBoundary": f"arn:aws:iam::{ACCOUNT}:policy/bounds"})
    assert bounded.sentences == []
    assert judge("iam-boundary", ROLE, {"permissionsBoundary": UNKNOWN}).unknown == ["permissionsBoundary"]


def of_role(kind: str, name: str = "policy", **inputs: Any) -> Any:
    """Something that names the role `role` of the same stack."""
    return resource(kind, name, uses={"role": [f"{ROLE}::role"]}, **inputs)


def test_policies_that_are_harmless_alone_may_not_be_together() -> None:
    role = resource(ROLE, "role")
    passing = of_role(ROLE_POLICY, "passing", **policy(Action="iam:PassRole", Resource="*"))
    running = of_role(
        ROLE_POLICY, "running", **policy(Action="lambda:Create*", Resource="arn:aws:lambda:*:*:function:a")
    )
    verdict = judge_stack("iam-no-privesc-together", role, passing, running)
    assert verdict.about == [role.urn]
    assert "run a function as any role (iam:PassRole with lambda:CreateFunction" in verdict.sentences[0]
    assert judge_stack("iam-no-privesc-together", role, passing).sentences == []
    elsewhere = resource(ROLE_POLICY, "running", **running.inputs, role="another")
    assert judge_stack("iam-no-privesc-together", role, passing, elsewhere).sentences == []


def test_policies_that_are_attached_count_among_a_roles_own() -> None:
    role = resource(ROLE, "role", inlinePolicies=[policy(Action="iam:PassRole", Resource="*")])
    running = resource(POLICY, "running", **policy(Action="ec2:RunInstances", Resource="*"))
    attachment = resource(
        ATTACHMENT, "both", uses={"role": [f"{ROLE}::role"], "policyArn": [f"{POLICY}::running"]}, policyArn=UNKNOWN
    )
    assert judge_stack("iam-no-privesc-together", role, running, attachment).about == [role.urn]
    assert judge_stack("iam-no-privesc-together", role, running).sentences == []


def test_what_one_policy_does_alone_is_told_once() -> None:
    role = resource(ROLE, "role")
    both = of_role(ROLE_POLICY, "both", **policy(Action=["iam:PassRole", "ec2:RunInstances"], Resource="*"))
    other = of_role(ROLE_POLICY, "other", **policy(Action="s3:GetObject", Resource=OBJECTS))
    assert judge_stack("iam-no-privesc-together", role, both, other).sentences == []


def test_a_clusters_own_policy_is_for_its_role_alone() -> None:
    attached = of_role(ATTACHMENT, policyArn="arn:aws:iam::aws:policy/AmazonEKSClusterPolicy")
    of_cluster = resource(ROLE, "role", **trust({"Service": "eks.amazonaws.com"}))
    of_job = resource(ROLE, "role", **trust(SERVICE))
    assert judge_stack("iam-no-sagemaker-fullaccess", of_cluster, attached).sentences == []
    [sentence] = judge_stack("iam-no-sagemaker-fullaccess", of_job, attached).sentences
    assert "only a cluster's own role needs" in sentence
    [sentence] = judge_stack(
        "iam-no-sagemaker-fullaccess",
        resource(ROLE, managedPolicyArns=["arn:aws:iam::aws:policy/AmazonSageMakerFullAccess"]),
    ).sentences
    assert "AmazonSageMakerFullAccess: write a policy" in sentence


def test_a_role_gets_its_policies_in_one_way() -> None:
    attached = of_role(ATTACHMENT, "attached", policyArn="arn:aws:iam::aws:policy/ReadOnlyAccess")
    both = resource(ROLE, "role", managedPolicyArns=["arn:aws:iam::aws:policy/ReadOnlyAccess"])
    verdict = judge_stack("iam-role-conflicts", both, attached)
    assert verdict.about == [both.urn]
    assert "attached gives it policies too" in verdict.sentences[0]
    by_name = resource(ROLE, "role", name="it", inlinePolicies=[{"name": "a"}])
    assert judge_stack("iam-role-conflicts", by_name, resource(ROLE_POLICY, role="it")).sentences
    assert judge_stack("iam-role-conflicts", by_name, resource(POLICY_ATTACHMENT, roles=["it"])).sentences == []
    by_list = resource(ROLE, "role", name="it", managedPolicyArns=["a"])
    assert judge_stack("iam-role-conflicts", by_list, resource(POLICY_ATTACHMENT, roles=["it"])).sentences
    assert judge_stack("iam-role-conflicts", resource(ROLE, "role"), attached).sentences == []


def test_every_key_has_a_policy_of_ours() -> None:
    key, other = resource(KEY, "key"), resource(KEY, "other", policy="{}")
    policy_of = resource(KEY_POLICY, "of", uses={"keyId": [f"{KEY}::key"]})
    assert judge_stack("rp-kms-policy-defined", key, other, policy_of).sentences == []
    assert judge_stack("rp-kms-policy-defined", key, other).about == [key.urn]


def test_each_stack_control_has_a_test() -> None:
    assert {each.name for each in STACKS} == {
        "iam-no-privesc-together",
        "iam-no-sagemaker-fullaccess",
        "iam-role-conflicts",
        "rp-kms-policy-defined",
    }


class Roles(Stack):
    """A role that says nothing of its boundary, and one that has its own."""

    def build(self) -> dict[str, Any]:
        trusted = allow(Principal=SERVICE, Action="sts:AssumeRole", Condition=OURS)
        aws.iam.Role("plain", assume_role_policy=trusted)
        aws.iam.Role("own", assume_role_policy=trusted, permissions_boundary=f"{POLICIES}own")
        aws.iam.Policy("bounds", policy=allow(Action="s3:GetObject", Resource=OBJECTS))
        return {}


def test_every_role_is_inside_the_boundary_that_the_stacks_yaml_gives(tmp_path: Path) -> None:
    def boundaries(**config: str) -> dict[str, str | None]:
        settings = replace(load("platform-local"), program=Roles(), config=config)
        provider = {"aws": lambda settings: AwsProvider(settings.region, settings.account_id, settings.tags, None)}
        plan = Engine(tmp_path, provider).plan(settings)
        return {each.name: each.inputs.get("permissionsBoundary") for each in plan.resources if each.type == ROLE}

    given = {"slipway:permissions_boundary": f"{POLICIES}bounds"}
    assert boundaries(**given) == {"plain": f"{POLICIES}bounds", "own": f"{POLICIES}own"}
    assert boundaries() == {"plain": None, "own": f"{POLICIES}own"}
