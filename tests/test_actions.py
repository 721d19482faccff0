"""What is known of AWS's actions, held against two other tools: they agree, or the difference is here with its reason.

policy-sentry reads AWS's documentation, cloudsplaining judges policies by that.
"""

import pytest
from cloudsplaining.scan.policy_document import PolicyDocument
from cloudsplaining.shared.constants import ACTIONS_THAT_RETURN_CREDENTIALS, PRIVILEGE_ESCALATION_METHODS
from judging import allow, judge
from policy_sentry.analysis.expand import expand
from policy_sentry.shared.iam_data import get_service_prefix_data

from policies.access.escalation import WAYS
from policies.access.identity import GIVES_CREDENTIALS
from policies.actions import actions_of, matching, services

ROLE_POLICY = "aws:iam/rolePolicy:RolePolicy"

SERVICES = (
    "application-autoscaling", "cloudwatch", "dynamodb", "ec2", "ecr", "eks", "events", "glue", "iam", "kms", "lambda",
    "logs", "s3", "sagemaker", "scheduler", "secretsmanager", "sns", "sqs", "ssm", "states", "sts", "tag", "xray",
)  # fmt: skip

RESTRICTABLE = {
    # AWS's reference has a resource since policy-sentry last read it.
    "dynamodb:ListExports": True,
    "dynamodb:ListImports": True,
    "sns:GetSubscriptionAttributes": True,
    "sns:SetSubscriptionAttributes": True,
    "sns:Unsubscribe": True,
    # It names a resource in both, which requests of ours do not name.
    "sagemaker:ListModelPackages": False,
}
"""For each action, whether a policy can name its resources, where policy-sentry says otherwise."""

NOT_ABOUT_RIGHTS = {
    "iam:PassRole": "has a control of its own",
    "sns:CreateTopic": "AWS's reference calls it a write by now",
    "sqs:CreateQueue": "AWS's reference calls it a write by now",
}

NO_CREDENTIALS = {
    "cognito-idp:getsigningcertificate": "a certificate is public",
    "connect:getfederationtokens": "AWS has no such action",
    "ecr-public:getauthorizationtoken": "may do no more than who asks",
    "ecr:getauthorizationtoken": "may do no more than who asks",
    "gamelist:getcomputeaccess": "misspelt",
    "gamelist:getcomputeauthtoken": "misspelt",
    "sts:getsessiontoken": "may do no more than who asks",
}


def on_everything(*actions: str) -> dict[str, str]:
    return {"policy": allow(Action=list(actions), Resource="*")}


@pytest.mark.parametrize("method", PRIVILEGE_ESCALATION_METHODS)
def test_every_way_to_more_rights_that_cloudsplaining_knows_is_refused(method: str) -> None:
    inputs = on_everything(*PRIVILEGE_ESCALATION_METHODS[method])
    assert judge("iam-no-privesc", ROLE_POLICY, inputs).sentences


def test_what_cloudsplaining_finds_harmless_and_is_refused_here_is_known() -> None:
    beyond = {way.gives for way in WAYS if not found_by_cloudsplaining(*(step.split("|")[0] for step in way.steps))}
    assert len(beyond) < len(WAYS) / 2, "most ways are known to others too"
    assert {"lift the boundary of any identity", "run a pod as any role", "call any API as any role"} <= beyond


def found_by_cloudsplaining(*actions: str) -> bool:
    statement = {"Effect": "Allow", "Action": list(actions), "Resource": "*"}
    return bool(PolicyDocument({"Version": "2012-10-17", "Statement": [statement]}).allows_privilege_escalation)


def test_harmless_policies_are_harmless_to_both() -> None:
    for actions in (("s3:GetObject",), ("iam:PassRole",), ("sagemaker:CreateTrainingJob", "lambda:InvokeFunction")):
        assert not found_by_cloudsplaining(*actions)
        assert judge("iam-no-privesc", ROLE_POLICY, on_everything(*actions)).sentences == []


def test_every_action_of_a_way_is_one_of_awss() -> None:
    named = [action for way in WAYS for step in way.steps for action in step.split("|")]
    assert [action for action in named if [each.name for each in matching(action)] != [action]] == []


@pytest.mark.parametrize("pattern", ["s3:Get*", "iam:*Policy*", "s3:*Object", "sagemaker:Create*Job"])
def test_a_pattern_stands_for_the_actions_that_policy_sentry_expands_it_to(pattern: str) -> None:
    ours, theirs = {each.name for each in matching(pattern)}, set(expand(pattern))
    service = pattern.split(":")[0].lower()
    known = {f"{service}:{name}" for name in get_service_prefix_data(service)["privileges"]}
    assert theirs and theirs - ours == set()
    assert (ours & known) - theirs == set()


def test_a_pattern_is_read_as_aws_reads_it() -> None:
    assert matching("S3:gET*") == matching("s3:Get*")
    assert [each.name for each in matching("ec2:Describe?pcs")] == ["ec2:DescribeVpcs"]


@pytest.mark.parametrize("service", SERVICES)
def test_what_can_be_held_to_a_resource_is_the_same(service: str) -> None:
    for name, theirs in get_service_prefix_data(service)["privileges"].items():
        action = actions_of(service).get(f"{service}:{name}".lower())
        if action:
            wanted = RESTRICTABLE.get(action.name, any(theirs["resource_types"]))
            assert action.restrictable == wanted, action.name


@pytest.mark.parametrize("service", [*SERVICES, "ram", "sso"])
def test_what_manages_permissions_to_policy_sentry_is_refused_on_everything(service: str) -> None:
    for name, theirs in get_service_prefix_data(service)["privileges"].items():
        action = f"{service}:{name}"
        if theirs["access_level"] == "Permissions management" and matching(action):
            refused = judge("iam-no-perm-mgmt", ROLE_POLICY, on_everything(action)).sentences
            assert bool(refused) == (action not in NOT_ABOUT_RIGHTS), action


def test_what_returns_credentials_is_the_same() -> None:
    ours = {each.lower() for each in GIVES_CREDENTIALS}
    assert set(ACTIONS_THAT_RETURN_CREDENTIALS) - ours == NO_CREDENTIALS.keys()


def test_a_service_that_aws_does_not_have_has_no_actions() -> None:
    assert "s3" in services()
    assert matching("s33:Get*") == matching("../s3:*") == ()
    assert len(matching("*:TagResource")) > 100
