"""The policies that `slipway bootstrap` puts into an account: who may deploy, and what nobody who deploys may do."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from infra.environments import Deploys

Json = Mapping[str, Any]

BOUNDARY: Final = "slipway-boundary"
SECRETS_ALIAS: Final = "alias/slipway-secrets"
PROJECT: Final = "slipway"
"""Pulumi's project, whose name is in every path of the state."""
GITHUB: Final = "token.actions.githubusercontent.com"
GITHUB_AUDIENCE: Final = "sts.amazonaws.com"
MANAGED_LIMIT: Final = 6144
"""Characters of a managed policy, without white space.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
"""
ROLE_LIMIT: Final = 10240
"""Characters of all inline policies of one role, without white space. The same page."""

GLOBAL: Final = (
    "account:*",
    "aws-portal:*",
    "billing:*",
    "budgets:*",
    "ce:*",
    "cur:*",
    "globalaccelerator:*",
    "health:*",
    "iam:*",
    "organizations:*",
    "pricing:*",
    "route53:*",
    "s3:GetAccountPublicAccessBlock",
    "s3:ListAllMyBuckets",
    "sts:*",
    "support:*",
    "tag:*",
    "trustedadvisor:*",
)
"""What is answered from one region, whichever the caller works in.

https://docs.aws.amazon.com/organizations/latest/userguide/orgs_manage_policies_scps_examples_general.html
"""
SERVICES: Final = (
    "apigateway",
    "application-autoscaling",
    "cloudformation",  # the Cloud Control API's actions
    "cloudwatch",
    "cognito-idp",
    "ec2",
    "ecr",
    "eks",
    "events",
    "kms",
    "lambda",
    "logs",
    "s3",
    "sagemaker",
    "scheduler",
    "sns",
    "sqs",
    "states",
)
"""The services that stacks are made of, by the beginning of their actions."""
PASSED_TO: Final = (
    "apigateway",
    "ec2",
    "eks",
    "events",
    "lambda",
    "pods.eks",
    "sagemaker",
    "scheduler",
    "states",
    "vpc-flow-logs",
)
"""The services that stacks give a role to."""
LOOK: Final = ("BatchGet*", "Describe*", "Get*", "List*")


@dataclass(frozen=True)
class Place:
    """Where an environment is, and what else is in its account."""

    environment: str
    account: str
    region: str
    partition: str = "aws"
    regions: Sequence[str] = ()
    """Of all environments in this account: its boundary is one policy for all of them."""

    @property
    def bucket(self) -> str:
        """The bucket of Pulumi's state."""
        return f"slipway-state-{self.account}-{self.region}"

    @property
    def boundary(self) -> str:
        """The boundary's ARN."""
        return self.iam(f"policy/{BOUNDARY}")

    def iam(self, what: str) -> str:
        """The ARN of something of IAM in this account."""
        return f"arn:{self.partition}:iam::{self.account}:{what}"

    def role(self, purpose: str) -> str:
        """The name of a role that CI assumes: `deploy` or `plan`."""
        return f"slipway-{purpose}-{self.environment}"

    @property
    def state(self) -> list[str]:
        """The ARNs of the bucket and of all in it."""
        bucket = f"arn:{self.partition}:s3:::{self.bucket}"
        return [bucket, f"{bucket}/*"]

    @property
    def own_state(self) -> list[str]:
        """The objects of this environment's stacks: where two share a bucket, neither reads the other's."""
        paths = (
            f"stacks/{PROJECT}/*-{self.environment}.json*",
            f"history/{PROJECT}/*-{self.environment}/*",
            f"backups/{PROJECT}/*-{self.environment}/*",
            f"locks/organization/{PROJECT}/*-{self.environment}/*",
        )
        return [f"{self.state[0]}/.pulumi/{path}" for path in paths]


def document(*statements: Json) -> Json:
    """A policy document."""
    return {"Version": "2012-10-17", "Statement": list(statements)}


def size(policy: Json) -> int:
    """Its characters as AWS counts them."""
    return len(json.dumps(policy, separators=(",", ":")))


# --- what is there for all ------------------------------------------------------------------------------------------


def boundary(place: Place) -> Json:
    """The most that CI's roles, and every role that they make, can ever do, whatever their own policies say."""
    unbounded = {"StringNotEquals": {"iam:PermissionsBoundary": place.boundary}}
    secrets = {"ForAnyValue:StringEquals": {"kms:ResourceAliases": SECRETS_ALIAS}}
    ours = [place.iam("role/slipway-deploy-*"), place.iam("role/slipway-plan-*")]
    others = {"ArnNotLike": {"aws:PrincipalArn": ours}}
    keys = f"arn:{place.partition}:kms:*:{place.account}:key/*"
    return document(
        {"Sid": "Ceiling", "Effect": "Allow", "Action": "*", "Resource": "*"},
        {
            "Sid": "NoOtherRegion",
            "Effect": "Deny",
            "NotAction": list(GLOBAL),
            "Resource": "*",
            "Condition": {"StringNotEquals": {"aws:RequestedRegion": sorted({place.region, *place.regions})}},
        },
        {
            "Sid": "NoRoleWithoutThisBoundary",
            "Effect": "Deny",
            "Action": [
                "iam:AttachRolePolicy",
                "iam:CreateRole",
                "iam:DeleteRole",
                "iam:DeleteRolePolicy",
                "iam:DetachRolePolicy",
                "iam:PutRolePolicy",
                "iam:UpdateAssumeRolePolicy",
            ],
            "Resource": "*",
            "Condition": unbounded,
        },
        {
            "Sid": "NoOtherBoundary",
            "Effect": "Deny",
            "Action": ["iam:DeleteRolePermissionsBoundary", "iam:PutRolePermissionsBoundary"],
            "Resource": "*",
        },
        {
            "Sid": "NoChangeOfFoundations",
            "Effect": "Deny",
            "NotAction": ["iam:Get*", "iam:List*"],
            "Resource": [place.iam("policy/slipway-*"), place.iam("role/slipway-*"), place.iam("oidc-provider/*")],
        },
        {
            "Sid": "NoPeopleNoAccount",
            "Effect": "Deny",
            "Action": [
                "account:*",
                "iam:*AccessKey*",
                "iam:*AccountAlias",
                "iam:*AccountPasswordPolicy",
                "iam:*LoginProfile",
                "iam:*MFADevice",
                "iam:*SAMLProvider",
                "iam:AddUserToGroup",
                "iam:AttachGroupPolicy",
                "iam:AttachUserPolicy",
                "iam:CreateGroup",
                "iam:CreateOpenIDConnectProvider",
                "iam:CreateUser",
                "iam:PutGroupPolicy",
                "iam:PutUserPolicy",
                "organizations:*",
                "sts:GetFederationToken",
            ],
            "Resource": "*",
        },
        {
            "Sid": "NoChangeOfTheStatesBucket",
            "Effect": "Deny",
            "Action": [
                "s3:BypassGovernanceRetention",
                "s3:DeleteBucket*",
                "s3:DeleteObjectVersion*",
                "s3:Put*Configuration",
                "s3:PutBucket*",
                "s3:PutObject*Acl",
            ],
            "Resource": place.state,
        },
        {
            "Sid": "NoChangeOfTheSecretsKey",
            "Effect": "Deny",
            "NotAction": ["kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey*", "kms:Get*"],
            "Resource": keys,
            "Condition": secrets,
        },
        {
            "Sid": "NoOtherKeyOfThatName",
            "Effect": "Deny",
            "Action": "kms:*Alias",
            "Resource": f"arn:{place.partition}:kms:*:{place.account}:{SECRETS_ALIAS}",
        },
        {
            "Sid": "StateIsForDeploying",
            "Effect": "Deny",
            "Action": "s3:*",
            "Resource": place.state,
            "Condition": others,
        },
        {
            "Sid": "SecretsAreForDeploying",
            "Effect": "Deny",
            "Action": "kms:*",
            "Resource": keys,
            "Condition": {**secrets, **others},
        },
        {
            "Sid": "NoBlindness",
            "Effect": "Deny",
            "Action": [
                "access-analyzer:Delete*",
                "cloudtrail:DeleteTrail",
                "cloudtrail:PutEventSelectors",
                "cloudtrail:StopLogging",
                "cloudtrail:UpdateTrail",
                "config:Delete*",
                "config:StopConfigurationRecorder",
                "guardduty:Delete*",
                "guardduty:UpdateDetector",
            ],
            "Resource": "*",
        },
    )


def bucket_policy(place: Place) -> Json:
    """Of the state's bucket: over TLS only, from this account only, encrypted with KMS only."""
    everyone = {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": place.state}
    return document(
        {"Sid": "OnlyTls", **everyone, "Condition": {"Bool": {"aws:SecureTransport": "false"}}},
        {"Sid": "OnlyNewTls", **everyone, "Condition": {"NumericLessThan": {"s3:TlsVersion": "1.2"}}},
        {
            "Sid": "OnlyThisAccount",
            **everyone,
            "Condition": {"StringNotEquals": {"aws:PrincipalAccount": place.account}},
        },
        {
            "Sid": "OnlyKms",
            **everyone,
            "Action": "s3:PutObject",
            "Resource": place.state[1],
            "Condition": {"StringNotEqualsIfExists": {"s3:x-amz-server-side-encryption": "aws:kms"}},
        },
    )


def key_policy(place: Place) -> Json:
    """Of the key: the account's own policies decide; nobody outside it may use it."""
    return document(
        {
            "Sid": "AccountDecides",
            "Effect": "Allow",
            "Principal": {"AWS": place.iam("root")},
            "Action": "kms:*",
            "Resource": "*",
        }
    )


# --- who may assume CI's roles --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Issuer:
    """Who tells AWS which job of CI asks: an OIDC provider."""

    host: str
    audience: str
    deploys: tuple[str, ...]
    """The subjects of jobs that deploy."""
    plans: tuple[str, ...]
    """The subjects of jobs that only look."""


def issuers(deploys: Deploys, environment: str, branch: str = "main") -> list[Issuer]:
    """The providers of an environment's CI.

    GitHub's subject names the environment, which has its reviewers in the repository's settings; GitLab's cannot, so
    there it is the protected branch.
    https://docs.github.com/actions/reference/security/oidc,
    https://docs.gitlab.com/ci/secrets/id_token_authentication/
    """
    found = []
    if deploys.github:
        start = f"repo:{deploys.github}"
        found.append(
            Issuer(
                GITHUB, GITHUB_AUDIENCE, (f"{start}:environment:{environment}",), (f"{start}:ref:refs/heads/{branch}",)
            )
        )
    if deploys.gitlab:
        subject = f"project_path:{deploys.gitlab}:ref_type:branch:ref:{branch}"
        found.append(Issuer(deploys.gitlab_host, f"https://{deploys.gitlab_host}", (subject,), (subject,)))
    return found


def trust(place: Place, providers: Sequence[Issuer], purpose: str) -> Json:
    """Who may assume the role `purpose` (`deploy` or `plan`): these jobs of CI, and nobody else."""
    return document(
        *(
            {
                "Effect": "Allow",
                "Principal": {"Federated": place.iam(f"oidc-provider/{each.host}")},
                "Action": "sts:AssumeRoleWithWebIdentity",
                "Condition": {
                    "StringEquals": {
                        f"{each.host}:aud": each.audience,
                        f"{each.host}:sub": list(each.deploys if purpose == "deploy" else each.plans),
                    }
                },
            }
            for each in providers
        )
    )


# --- what they may do -----------------------------------------------------------------------------------------------


def _reading_state(place: Place, *, with_writing: bool) -> list[Json]:
    key = {"ForAnyValue:StringEquals": {"kms:ResourceAliases": SECRETS_ALIAS}}
    writing = ["s3:DeleteObject", "s3:PutObject"] if with_writing else []
    return [
        {
            "Sid": "StateIsListed",
            "Effect": "Allow",
            "Action": ["s3:GetBucketLocation", "s3:ListBucket"],
            "Resource": place.state[0],
        },
        {
            "Sid": "State",
            "Effect": "Allow",
            "Action": [*writing[:1], "s3:GetObject", *writing[1:]],
            "Resource": place.own_state,
        },
        {
            "Sid": "StateIsDescribed",
            "Effect": "Allow",
            "Action": "s3:GetObject",
            "Resource": f"{place.state[0]}/.pulumi/meta.yaml",
        },
        {
            "Sid": "Secrets",
            "Effect": "Allow",
            "Action": ["kms:Decrypt", "kms:DescribeKey", *(["kms:Encrypt", "kms:GenerateDataKey"] * with_writing)],
            "Resource": f"arn:{place.partition}:kms:{place.region}:{place.account}:key/*",
            "Condition": key,
        },
    ]


def deploy_policy(place: Place) -> Json:
    """What `pulumi up` of an environment's stacks takes. The boundary is round it, and round every role it makes."""
    here = {"StringEquals": {"aws:RequestedRegion": place.region}}
    roles = [place.iam(f"role/*-{place.environment}-*"), place.iam("role/*-trainer-*")]
    return document(
        {
            "Sid": "Services",
            "Effect": "Allow",
            "Action": [f"{service}:*" for service in SERVICES if service != "s3"],
            "Resource": "*",
            "Condition": here,
        },
        {"Sid": "Buckets", "Effect": "Allow", "Action": "s3:*", "NotResource": place.state, "Condition": here},
        {
            "Sid": "Budgets",
            "Effect": "Allow",
            "Action": ["budgets:*", "ce:*Anomaly*", "ce:*Resource", "ce:ListTagsForResource"],
            "Resource": "*",
        },
        {
            "Sid": "Roles",
            "Effect": "Allow",
            "Action": [
                "iam:AttachRolePolicy",
                "iam:CreateRole",
                "iam:DeleteRole",
                "iam:DeleteRolePolicy",
                "iam:DetachRolePolicy",
                "iam:PutRolePolicy",
                "iam:TagRole",
                "iam:UntagRole",
                "iam:UpdateAssumeRolePolicy",
                "iam:UpdateRole",
                "iam:UpdateRoleDescription",
            ],
            "Resource": roles,
        },
        {
            "Sid": "RolesOfServices",
            "Effect": "Allow",
            "Action": "iam:PassRole",
            "Resource": roles,
            "Condition": {"StringEquals": {"iam:PassedToService": [f"{each}.amazonaws.com" for each in PASSED_TO]}},
        },
        {
            "Sid": "InstanceProfiles",
            "Effect": "Allow",
            "Action": [
                "iam:AddRoleToInstanceProfile",
                "iam:CreateInstanceProfile",
                "iam:DeleteInstanceProfile",
                "iam:RemoveRoleFromInstanceProfile",
                "iam:TagInstanceProfile",
                "iam:UntagInstanceProfile",
            ],
            "Resource": place.iam(f"instance-profile/*-{place.environment}-*"),
        },
        {
            "Sid": "RolesOfAwsItself",
            "Effect": "Allow",
            "Action": "iam:CreateServiceLinkedRole",
            "Resource": place.iam("role/aws-service-role/*"),
        },
        {"Sid": "Looking", "Effect": "Allow", "Action": ["iam:Get*", "iam:List*", "tag:Get*"], "Resource": "*"},
        *_reading_state(place, with_writing=True),
        {
            "Sid": "NoApprovalsNoAnswers",  # a model goes live by a second person's word, not by CI's
            "Effect": "Deny",
            "Action": ["sagemaker:InvokeEndpoint*", "sagemaker:UpdateModelPackage"],
            "Resource": "*",
        },
    )


def plan_policy(place: Place) -> Json:
    """What `pulumi preview` takes: to look at what is there, and not at what it holds."""
    looking = [f"{service}:{verb}" for service in SERVICES if service not in ("kms", "s3") for verb in LOOK]
    buckets = ("Bucket*", "*Configuration", "BucketPublicAccessBlock")
    return document(
        {
            "Sid": "Looking",
            "Effect": "Allow",
            "Action": [
                *_only_those_that_exist(looking),
                "apigateway:GET",
                "budgets:Describe*",
                "budgets:ListTagsForResource",
                "budgets:ViewBudget",
                "ce:Get*",
                "ce:ListTagsForResource",
                "iam:Get*",
                "iam:List*",
                "kms:Describe*",
                "kms:Get*",
                "kms:List*",
                *(f"s3:Get{each}" for each in buckets),
                "s3:ListAllMyBuckets",
            ],
            "Resource": "*",
        },
        *_reading_state(place, with_writing=False),
        {
            "Sid": "NoData",
            "Effect": "Deny",
            "Action": [
                "cognito-idp:GetTokensFromRefreshToken",
                "ecr:GetAuthorizationToken",
                "lambda:InvokeFunction",
                "logs:GetLog*",
                "sagemaker:BatchGetRecord",
                "sagemaker:GetRecord",
                "sqs:ReceiveMessage",
                "states:GetActivityTask",
            ],
            "Resource": "*",
        },
    )


def _only_those_that_exist(patterns: Sequence[str]) -> list[str]:
    """Without the patterns that stand for no action, which AWS and linters complain of."""
    from policies.actions import matching

    return [each for each in patterns if matching(each)]
