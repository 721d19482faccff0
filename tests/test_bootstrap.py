"""`slipway bootstrap`: what it makes, mends and leaves alone, as boto3 sees it; and what its policies let happen."""

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from typer.testing import CliRunner

import infra.cli as cli
import infra.rehearsal.session as session
from infra import bootstrap as module
from infra import bootstrap_documents as documents
from infra import environments
from infra.bootstrap import Bootstrap, BootstrapError, bootstrap, hints, next_steps
from infra.bootstrap_documents import Place
from infra.environments import Deploys, Environment
from infra.needs import Need
from infra.permissions import Caller, Policies, decide
from infra.rehearsal.emulator.process import Emulator
from infra.rehearsal.product import Clients
from policies.actions import matching
from policies.documents import parse

ACCOUNT, REGION, ROLE = "777788889999", "eu-west-1", "arn:aws:iam::777788889999:role"
PLACE = Place("prod", ACCOUNT, REGION, regions=[REGION])
GITHUB = documents.GITHUB
OURS: Mapping[str, Environment] = {
    "dev": Environment(account="111122223333", region=REGION),
    "prod": Environment(
        account=ACCOUNT,
        region=REGION,
        boundary="slipway-boundary",
        version="v1",
        deploys=Deploys(github="acme@1/mlops@2", gitlab="acme/mlops"),
    ),
}


@pytest.fixture(autouse=True)
def ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments, "environments", lambda: OURS)
    monkeypatch.setattr(module, "environments", lambda: OURS)


@pytest.fixture(scope="module")
def there(emulator: Emulator) -> Clients:
    """An administrator of production's account."""
    return Clients(emulator.endpoint, REGION).assume(f"{ROLE}/administrator", "bootstrap")


@pytest.fixture(scope="module")
def made(there: Clients) -> Iterator[Bootstrap]:
    """Production, after the first bootstrap."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(environments, "environments", lambda: OURS)
        patch.setattr(module, "environments", lambda: OURS)
        found = bootstrap("prod", there)
        assert [each.op for each in found.steps()] == ["make"] * 7
        found.ensure(print)
        yield found


def ops(client: Clients) -> dict[str, str]:
    return {each.what.split()[0] + " " + each.what.split()[-1]: each.op for each in bootstrap("prod", client).steps()}


# --- what it makes --------------------------------------------------------------------------------------------------


def test_a_second_time_nothing_is_left_to_do(made: Bootstrap, there: Clients) -> None:
    told: list[str] = []
    again = bootstrap("prod", there)
    assert {each.op for each in again.steps()} == {"none"}
    again.ensure(told.append)
    assert told == []


def test_the_states_bucket_is_locked_down(made: Bootstrap, there: Clients) -> None:
    s3, of = there("s3"), {"Bucket": f"slipway-state-{ACCOUNT}-{REGION}"}
    assert s3.get_bucket_location(**of)["LocationConstraint"] == REGION
    assert s3.get_bucket_versioning(**of)["Status"] == "Enabled"
    assert set(s3.get_public_access_block(**of)["PublicAccessBlockConfiguration"].values()) == {True}
    [ownership] = s3.get_bucket_ownership_controls(**of)["OwnershipControls"]["Rules"]
    assert ownership["ObjectOwnership"] == "BucketOwnerEnforced"
    [rule] = s3.get_bucket_encryption(**of)["ServerSideEncryptionConfiguration"]["Rules"]
    key = there("kms").describe_key(KeyId="alias/slipway-secrets")["KeyMetadata"]
    default = rule["ApplyServerSideEncryptionByDefault"]
    assert (default["SSEAlgorithm"], default["KMSMasterKeyID"]) == ("aws:kms", key["Arn"])
    [lifecycle] = s3.get_bucket_lifecycle_configuration(**of)["Rules"]
    assert lifecycle["NoncurrentVersionExpiration"]["NoncurrentDays"] == 365
    refusals = {each["Sid"]: each for each in json.loads(s3.get_bucket_policy(**of)["Policy"])["Statement"]}
    assert refusals["OnlyTls"]["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert {each["Effect"] for each in refusals.values()} == {"Deny"}


def test_the_key_is_in_use_and_renewed_each_year(made: Bootstrap, there: Clients) -> None:
    kms = there("kms")
    found = kms.describe_key(KeyId="alias/slipway-secrets")["KeyMetadata"]
    assert (found["KeyState"], found["KeyManager"]) == ("Enabled", "CUSTOMER")
    assert kms.get_key_rotation_status(KeyId=found["KeyId"])["KeyRotationEnabled"]


def test_only_this_repositorys_environment_deploys_and_only_main_plans(made: Bootstrap, there: Clients) -> None:
    def trusted(role: str) -> dict[str, Any]:
        statements = there("iam").get_role(RoleName=role)["Role"]["AssumeRolePolicyDocument"]["Statement"]
        assert {each["Action"] for each in statements} == {"sts:AssumeRoleWithWebIdentity"}
        return {each["Principal"]["Federated"].partition("/")[2]: each["Condition"] for each in statements}

    deploys, plans = trusted("slipway-deploy-prod"), trusted("slipway-plan-prod")
    assert deploys[GITHUB] == {
        "StringEquals": {
            f"{GITHUB}:aud": "sts.amazonaws.com",
            f"{GITHUB}:sub": ["repo:acme@1/mlops@2:environment:prod"],
        }
    }
    assert plans[GITHUB]["StringEquals"][f"{GITHUB}:sub"] == ["repo:acme@1/mlops@2:ref:refs/heads/main"]
    main = ["project_path:acme/mlops:ref_type:branch:ref:main"]
    assert deploys["gitlab.com"]["StringEquals"]["gitlab.com:sub"] == main
    known = there("iam").get_open_id_connect_provider(OpenIDConnectProviderArn=PLACE.iam(f"oidc-provider/{GITHUB}"))
    assert known["ClientIDList"] == ["sts.amazonaws.com"]


@pytest.mark.parametrize("role", ["slipway-deploy-prod", "slipway-plan-prod"])
def test_cis_roles_are_inside_the_boundary(made: Bootstrap, there: Clients, role: str) -> None:
    found = there("iam").get_role(RoleName=role)["Role"]
    assert found["PermissionsBoundary"]["PermissionsBoundaryArn"] == PLACE.boundary


# --- what it mends, and leaves alone --------------------------------------------------------------------------------

BUCKET = {"Bucket": PLACE.bucket}
SUSPENDED = {"Status": "Suspended"}
DEPLOY, PLAN = {"RoleName": "slipway-deploy-prod"}, {"RoleName": "slipway-plan-prod"}
Change = Callable[[Clients], object]
ANYBODY = {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::111122223333:root"}, "Action": "sts:AssumeRole"}
DRIFT: dict[str, tuple[str, Change]] = {
    "versions": (
        "bucket",
        lambda c: c("s3").put_bucket_versioning(**BUCKET, VersioningConfiguration={"Status": "Suspended"}),
    ),
    "public access": ("bucket", lambda c: c("s3").delete_public_access_block(**BUCKET)),
    "policy of the bucket": ("bucket", lambda c: c("s3").delete_bucket_policy(**BUCKET)),
    "old versions": ("bucket", lambda c: c("s3").delete_bucket_lifecycle(**BUCKET)),
    "encrypted with": ("bucket", lambda c: c("s3").delete_bucket_encryption(**BUCKET)),
    "owner of all objects": ("bucket", lambda c: c("s3").delete_bucket_ownership_controls(**BUCKET)),
    "rotation": ("key", lambda c: c("kms").disable_key_rotation(KeyId=key_of(c))),
    "disabled": ("key", lambda c: c("kms").disable_key(KeyId=key_of(c))),
    "to be deleted": ("key", lambda c: c("kms").schedule_key_deletion(KeyId=key_of(c))),
    "boundary's text": ("policy", lambda c: weaken_boundary(c)),
    "boundary of a role": (
        "deploy",
        lambda c: c("iam").delete_role_permissions_boundary(RoleName="slipway-deploy-prod"),
    ),
    "who may assume it": (
        "deploy",
        lambda c: c("iam").update_assume_role_policy(**DEPLOY, PolicyDocument=json.dumps(documents.document(ANYBODY))),
    ),
    "what it may do": (
        "plan",
        lambda c: c("iam").put_role_policy(
            RoleName="slipway-plan-prod",
            PolicyName="slipway-plan-prod",
            PolicyDocument=json.dumps(documents.document({"Effect": "Allow", "Action": "*", "Resource": "*"})),
        ),
    ),
    "how long": ("plan", lambda c: c("iam").update_role(RoleName="slipway-plan-prod", MaxSessionDuration=3600)),
}


def key_of(client: Clients) -> str:
    return str(client("kms").describe_key(KeyId="alias/slipway-secrets")["KeyMetadata"]["KeyId"])


def weaken_boundary(client: Clients) -> None:
    """Five versions of it, the newest of which allows everything."""
    everything = json.dumps(documents.document({"Effect": "Allow", "Action": "*", "Resource": "*"}))
    held = len(client("iam").list_policy_versions(PolicyArn=PLACE.boundary)["Versions"])
    for _ in range(5 - held):
        client("iam").create_policy_version(PolicyArn=PLACE.boundary, PolicyDocument=everything, SetAsDefault=True)


@pytest.mark.parametrize("what", DRIFT)
def test_what_somebody_changed_is_mended_and_nothing_else(made: Bootstrap, there: Clients, what: str) -> None:
    part, change = DRIFT[what]
    change(there)
    found = bootstrap("prod", there)
    [drifted] = [each for each in found.steps() if each.op != "none"]
    assert drifted.op == "mend" and part in drifted.what
    told: list[str] = []
    found.ensure(told.append)
    assert [line.startswith(f"{drifted.what}: mended") for line in told] == [True]
    assert {each.op for each in bootstrap("prod", there).steps()} == {"none"}


def test_what_is_there_beside_it_is_told_and_left(made: Bootstrap, there: Clients) -> None:
    iam, role = there("iam"), "slipway-deploy-prod"
    policy = json.dumps(documents.document({"Effect": "Allow", "Action": "s3:ListAllMyBuckets", "Resource": "*"}))
    iam.put_role_policy(RoleName=role, PolicyName="more", PolicyDocument=policy)
    try:
        found = bootstrap("prod", there)
        [step] = [each for each in found.steps() if each.left]
        assert (step.what, step.op) == (f"role {role}", "none")
        assert f"aws iam delete-role-policy --role-name {role} --policy-name more" in step.left[0]
        found.ensure(print)
        assert iam.get_role_policy(RoleName=role, PolicyName="more")
    finally:
        iam.delete_role_policy(RoleName=role, PolicyName="more")


def test_what_broke_off_is_carried_on(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bucket is made, and the network is gone before its settings are."""
    elsewhere = {**OURS, "prod": OURS["prod"].model_copy(update={"account": "222233334444"})}
    monkeypatch.setattr(environments, "environments", lambda: elsewhere)
    monkeypatch.setattr(module, "environments", lambda: elsewhere)
    client = Clients(emulator.endpoint, REGION).assume("arn:aws:iam::222233334444:role/administrator", "bootstrap")
    with monkeypatch.context() as broken:
        broken.setattr(module.StateBucket, "mend", lambda self, aspect: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            bootstrap("prod", client).ensure(print)
    assert [each.op for each in bootstrap("prod", client).steps()][:3] == ["none", "mend", "make"]
    bootstrap("prod", client).ensure(print)
    assert {each.op for each in bootstrap("prod", client).steps()} == {"none"}


def test_credentials_of_another_account_are_refused_before_anything_is_asked(emulator: Emulator) -> None:
    others = Clients(emulator.endpoint, REGION)
    with pytest.raises(BootstrapError, match=r"your credentials are .*, and prod is account 777788889999"):
        bootstrap("prod", others)


def test_a_bucket_that_is_anothers_is_not_taken_for_ours(there: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
    class Refused:
        def head_bucket(self, **of: Any) -> None:
            raise ClientError({"Error": {"Code": "403", "Message": "Forbidden"}}, "HeadBucket")

    key = module.SecretsKey(PLACE, there)
    bucket = module.StateBucket(PLACE, lambda service: Refused(), key)
    with pytest.raises(BootstrapError, match="it is another account's, or your credentials may not see it"):
        bucket.step()


# --- what is said ---------------------------------------------------------------------------------------------------


def test_the_command_tells_all_of_it_first_does_nothing_unasked_and_then_what_is_next(
    emulator: Emulator, emulator_work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    staging = {"staging": Environment(account="444455556666", region="us-east-1", deploys=Deploys(github="acme/mlops"))}
    monkeypatch.setattr(environments, "environments", lambda: staging)
    monkeypatch.setattr(module, "environments", lambda: staging)
    monkeypatch.setattr(session, "WORK", emulator_work)

    def called(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(cli.app, ["bootstrap", "staging", "--rehearse", *arguments])
        return result.exit_code, result.stdout

    code, said = called()
    assert code == 1 and "Nothing was done. To do it: slipway bootstrap staging --yes" in said
    assert "+ bucket slipway-state-444455556666-us-east-1" in said
    for policy in (documents.boundary, documents.deploy_policy, documents.bucket_policy):
        text = json.dumps(policy(module.place_of("staging")), indent=2)
        assert text in said, policy.__name__
    assert "gh api repos/acme/mlops --jq" in said, "the ids that GitHub's subjects may have"
    assert called("--json")[0] == 1
    code, said = called("--yes")
    assert code == 0
    assert (
        "pulumi stack init platform-staging --secrets-provider='awskms://alias/slipway-secrets?region=us-east-1'"
        in said
    )
    code, said = called("--json")
    told = json.loads(said)
    assert code == 0 and {each["op"] for each in told["steps"]} == {"none"} and not told["done"]
    assert told["next"][0].endswith("='s3://slipway-state-444455556666-us-east-1?region=us-east-1&awssdk=v2'")


def test_without_credentials_it_says_how_to_rehearse(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [each for each in os.environ if each.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    result = CliRunner().invoke(cli.app, ["bootstrap", "prod", "--json"])
    assert result.exit_code == 2
    assert "slipway bootstrap prod --rehearse" in json.loads(result.stdout)["error"]


def test_without_a_repository_no_role_is_made_and_it_says_what_to_set(there: Clients) -> None:
    alone = Bootstrap(PLACE, [], OURS["dev"])
    assert "set environments.prod.deploys.github" in hints(alone)[0]
    named = OURS["prod"]
    assert ["environments.prod.deploys.runner" in each for each in hints(Bootstrap(PLACE, [], named))] == [True]
    inside = named.model_copy(update={"deploys": Deploys(github="acme@1/mlops@2", runner="in-the-vpc")})
    assert hints(Bootstrap(PLACE, [], inside)) == []
    assert next_steps(alone, []) == [
        "export PULUMI_BACKEND_URL='s3://slipway-state-777788889999-eu-west-1?region=eu-west-1&awssdk=v2'",
        "pulumi login",
    ]


# --- what its policies let happen -----------------------------------------------------------------------------------

DEPLOYER = Caller(f"{ROLE}/slipway-deploy-prod", ACCOUNT)


def policies(identity: Mapping[str, Any] | None = None) -> Policies:
    own = identity or documents.deploy_policy(PLACE)
    return Policies(
        [("slipway", each) for each in parse(json.dumps(own))], parse(json.dumps(documents.boundary(PLACE)))
    )


def may(action: str, resource: str = "*", who: Caller = DEPLOYER, of: Policies | None = None, **context: str) -> bool:
    told: dict[str, tuple[str, ...]] = {"aws:requestedregion": (REGION,), "aws:principalarn": (who.name,)}
    told |= {"iam:permissionsboundary": (), "kms:resourcealiases": ()}
    told |= {key.replace("__", ":").lower(): (value,) for key, value in context.items()}
    return decide(Need(action, resource, told), who, of or policies(), lambda arn: None).granted


OWN = f"{ROLE}/churn-prod-model-1a2b3c4"
BOUNDED = {"iam__PermissionsBoundary": PLACE.boundary}


def test_a_deployment_makes_what_stacks_are_made_of() -> None:
    assert may("sagemaker:CreateEndpoint")
    assert may("s3:CreateBucket", "arn:aws:s3:::platform-prod-data-1a2b3c4")
    assert may("iam:CreateRole", OWN, **BOUNDED)
    assert may("iam:PassRole", OWN, iam__PassedToService="lambda.amazonaws.com")
    assert may("s3:PutObject", f"{PLACE.state[0]}/.pulumi/stacks/slipway/platform-prod.json")


REFUSED: dict[str, tuple[str, str, dict[str, str]]] = {
    "a role without the boundary": ("iam:CreateRole", OWN, {}),
    "a role with another": ("iam:CreateRole", OWN, {"iam__PermissionsBoundary": PLACE.iam("policy/mine")}),
    "taking a boundary off": ("iam:DeleteRolePermissionsBoundary", OWN, BOUNDED),
    "putting its own policy": ("iam:PutRolePolicy", f"{ROLE}/slipway-deploy-prod", BOUNDED),
    "trusting someone else": ("iam:UpdateAssumeRolePolicy", f"{ROLE}/slipway-deploy-prod", BOUNDED),
    "rights for a person's role": ("iam:PutRolePolicy", f"{ROLE}/platform-admin", {}),
    "a new version of the boundary": ("iam:CreatePolicyVersion", PLACE.boundary, {}),
    "a user": ("iam:CreateUser", PLACE.iam("user/me"), {}),
    "another provider of tokens": ("iam:CreateOpenIDConnectProvider", PLACE.iam("oidc-provider/mine"), {}),
    "another region": ("ec2:RunInstances", "*", {"aws__RequestedRegion": "us-west-2"}),
    "deleting the state's bucket": ("s3:DeleteBucket", PLACE.state[0], {}),
    "opening it": ("s3:PutBucketPolicy", PLACE.state[0], {}),
    "another environment's state": ("s3:GetObject", f"{PLACE.state[0]}/.pulumi/stacks/slipway/platform-dev.json", {}),
    "approving a model": ("sagemaker:UpdateModelPackage", "*", {}),
    "passing a role of its own": (
        "iam:PassRole",
        f"{ROLE}/slipway-deploy-prod",
        {"iam__PassedToService": "lambda.amazonaws.com"},
    ),
    "silencing the trail": ("cloudtrail:StopLogging", "*", {}),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_deployment_may_not(what: str) -> None:
    action, resource, context = REFUSED[what]
    assert not may(action, resource, **context)


EVERYTHING = documents.document({"Effect": "Allow", "Action": "*", "Resource": "*"})
LIFTED = [each for each in REFUSED if each not in ("another environment's state", "approving a model")]


@pytest.mark.parametrize("what", LIFTED)
def test_nor_whatever_rights_it_gives_itself(what: str) -> None:
    """The boundary alone holds, round CI's role and round each that it makes."""
    action, resource, context = REFUSED[what]
    for who in (DEPLOYER, Caller(OWN, ACCOUNT)):
        assert not may(action, resource, who, policies(EVERYTHING), **context)


def test_what_a_stack_runs_never_reads_the_state_or_its_secrets() -> None:
    model = Caller(OWN, ACCOUNT)
    key = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/1"
    for action, resource, context in (
        ("s3:GetObject", f"{PLACE.state[0]}/.pulumi/stacks/slipway/platform-prod.json", {}),
        ("kms:Decrypt", key, {"kms__ResourceAliases": documents.SECRETS_ALIAS}),
    ):
        assert not may(action, resource, model, policies(EVERYTHING), **context)
        assert may(action, resource, **context), "and a deployment does"
    assert may("kms:Decrypt", key, model, policies(EVERYTHING), kms__ResourceAliases="alias/platform-prod")


def test_the_plans_role_changes_nothing() -> None:
    plan = policies(documents.plan_policy(PLACE))
    planner = Caller(f"{ROLE}/slipway-plan-prod", ACCOUNT)
    allowed = [
        action
        for statement in documents.plan_policy(PLACE)["Statement"]
        for pattern in listed(statement["Action"])
        for action in matching(pattern)
        if may(action.name, "*", planner, plan)
    ]
    assert {"ec2:DescribeVpcs", "iam:GetRole", "sagemaker:DescribeEndpoint"} <= {each.name for each in allowed}
    # AWS counts it as writing: it makes a report of who may do what.
    changing = {each.name for each in allowed if each.level not in ("List", "Read")} - {"iam:GenerateCredentialReport"}
    assert changing == set()
    for action in ("sagemaker:GetRecord", "logs:GetLogEvents", "sqs:ReceiveMessage", "lambda:InvokeFunction"):
        assert not may(action, "*", planner, plan)


def listed(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


EVERY = {
    "boundary": documents.boundary,
    "deploy": documents.deploy_policy,
    "plan": documents.plan_policy,
    "bucket": documents.bucket_policy,
    "key": documents.key_policy,
}


@pytest.mark.parametrize("name", EVERY)
def test_every_action_is_one_of_awss(name: str) -> None:
    for statement in EVERY[name](PLACE)["Statement"]:
        for pattern in listed(statement.get("Action") or statement["NotAction"]):
            assert pattern == "*" or matching(pattern), pattern


def test_they_fit_into_what_aws_stores() -> None:
    many = Place("prod", ACCOUNT, REGION, "aws-us-gov", [f"us-gov-region-{number}" for number in range(9)])
    assert documents.size(documents.boundary(many)) < documents.MANAGED_LIMIT
    assert documents.size(documents.deploy_policy(many)) < documents.ROLE_LIMIT
    assert documents.size(documents.plan_policy(many)) < documents.ROLE_LIMIT


def test_every_resource_and_role_of_every_stack_is_the_deployments_to_make(every_plan: Any) -> None:
    """What stacks plan to make is of services that CI's role may use, under names that it may give."""
    from infra.needs import PREFIXES
    from infra.rehearsal.aws.types import TYPES

    services, roles = set(), []
    for settings, plan in every_plan:
        environment = settings.environment
        for each in plan.resources:
            if each.type in TYPES:
                services.add(PREFIXES.get(TYPES[each.type].service, TYPES[each.type].service))
            if each.type == "aws:iam/role:Role" and environment != "local":
                roles.append((environment, str(each.inputs.get("name"))))
    known = {*documents.SERVICES, "budgets", "ce", "cloudcontrol", "iam"}
    assert services <= known, services - known
    assert roles
    for environment, role in roles:
        assert re.search(rf"-{environment}-|-trainer-", role), role
