"""The rehearsal's AWS provider: every type of the table on the emulator, and what it does without one."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pulumi_aws
import pytest

from infra.rehearsal.aws import AwsProvider
from infra.rehearsal.aws.assets import ARCHIVE, ASSET, SIGNATURE, zipped
from infra.rehearsal.aws.types import TYPES
from infra.rehearsal.emulator import process
from infra.rehearsal.engine import Engine, Plan, Resource
from infra.rehearsal.kubernetes import KubernetesProvider
from infra.rehearsal.provider import ProviderError
from infra.settings import Settings, load

TAGS = {"owner": "ml", "product": "p", "environment": "local", "cost-center": "1"}


def provider(endpoint: str | None = None) -> AwsProvider:
    return AwsProvider("us-east-1", "123456789012", TAGS, endpoint)


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AwsProvider]:
    work = tmp_path_factory.mktemp("emulator")
    yield provider(process.start(work).endpoint)
    process.stop(work)


# --- without an emulator --------------------------------------------------------------------------------------------


def test_an_unknown_type_says_where_to_add_it() -> None:
    with pytest.raises(ProviderError, match=r"aws:x/y:Z.*infra/rehearsal/aws/types.py"):
        provider().check("aws:x/y:Z", "a", None, {})


def test_an_input_that_nothing_takes_is_refused_in_a_plan() -> None:
    with pytest.raises(ProviderError, match=r"ipv6CidrBlock: the rehearsal does nothing with .*types.py"):
        provider().check("aws:ec2/vpc:Vpc", "v", None, {"cidrBlock": "10.0.0.0/16", "ipv6CidrBlock": "::/56"})


def test_a_name_is_generated_once() -> None:
    first = provider().check("aws:iam/role:Role", "reader", None, {"assumeRolePolicy": "{}"})
    again = provider().check("aws:iam/role:Role", "reader", first, {"assumeRolePolicy": "{}"})
    assert re.fullmatch(r"reader-[0-9a-f]{7}", first["name"])
    assert again["name"] == first["name"]


def test_default_tags_are_added_to_those_of_the_resource() -> None:
    checked = provider().check("aws:ec2/vpc:Vpc", "v", None, {"cidrBlock": "10.0.0.0/16", "tags": {"Name": "v"}})
    assert checked["tagsAll"] == {**TAGS, "Name": "v"}


def test_an_arn_that_follows_from_a_name_is_known_in_a_plan() -> None:
    inputs = provider().check("aws:iam/role:Role", "r", None, {"name": "reader", "assumeRolePolicy": "{}"})
    assert provider().preview("aws:iam/role:Role", "r", inputs)["arn"] == "arn:aws:iam::123456789012:role/reader"


def test_an_id_that_only_aws_gives_is_a_readable_stand_in() -> None:
    outputs = provider().preview("aws:kms/key:Key", "data", {"description": "d"})
    assert outputs["id"] == "(known after up: keyId of data)"
    assert outputs["arn"].startswith("arn:aws:kms:us-east-1:123456789012:key/(known after up")


@pytest.mark.parametrize(
    ("type_", "old", "new", "replaces"),
    [
        ("aws:cloudwatch/logGroup:LogGroup", {"name": "a", "retentionInDays": 7}, {"retentionInDays": 30}, False),
        ("aws:cloudwatch/logGroup:LogGroup", {"name": "a"}, {"name": "b"}, True),
        ("aws:ec2/vpc:Vpc", {"cidrBlock": "10.0.0.0/16"}, {"cidrBlock": "10.1.0.0/16"}, True),
        ("aws:sagemaker/endpoint:Endpoint", {"endpointConfigName": "a"}, {"endpointConfigName": "b"}, False),
        ("aws:sagemaker/model:Model", {"name": "m", "enableNetworkIsolation": True}, {"name": "n"}, True),
        ("aws:iam/rolePolicy:RolePolicy", {"role": "r", "policy": "{}"}, {"policy": "[]"}, False),
        ("aws:eks/nodeGroup:NodeGroup", {"scalingConfig": {"maxSize": 1}}, {"scalingConfig": {"maxSize": 2}}, False),
        ("aws:eks/nodeGroup:NodeGroup", {"instanceTypes": ["g6.xlarge"]}, {"instanceTypes": ["g5.xlarge"]}, True),
    ],
)
def test_what_changes_in_place_and_what_is_replaced(
    type_: str, old: dict[str, Any], new: dict[str, Any], replaces: bool
) -> None:
    diff = provider().diff(type_, old, {**old, **new}, ())
    assert diff.changed
    assert bool(diff.replaces) is replaces


def test_a_change_that_is_ignored_is_none() -> None:
    old, new = {"scalingConfig": {"desiredSize": 1, "maxSize": 4}}, {"scalingConfig": {"desiredSize": 3, "maxSize": 4}}
    assert not provider().diff("aws:eks/nodeGroup:NodeGroup", old, new, ("scalingConfig.desiredSize",))


def test_code_is_zipped_alike_for_alike_contents_and_a_change_is_seen(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    archive = {SIGNATURE: ARCHIVE, "assets": {"a.py": {SIGNATURE: ASSET, "path": str(file)}}}
    file.write_text("x = 1")
    first, packed = provider().check("aws:lambda/function:Function", "f", None, {"code": archive}), zipped(archive)
    assert zipped(archive) == packed
    file.write_text("x = 2")
    second = provider().check("aws:lambda/function:Function", "f", first, {"code": archive})
    assert provider().diff("aws:lambda/function:Function", first, second, ()).changed == ("code",)


@pytest.mark.parametrize("type_", TYPES)
def test_every_input_that_a_row_names_exists_in_pulumi_aws(type_: str) -> None:
    module, _, kind = re.split("[/:]", type_.removeprefix("aws:"))
    package = getattr(pulumi_aws, module.replace("lambda", "lambda_"))
    # Where a block of another resource has the name already, the arguments are called `…InitArgs`.
    arguments = getattr(package, f"{kind}InitArgs", None) or getattr(package, f"{kind}Args")
    row = TYPES[type_]
    named = {row.named, *row.keys, *row.local, *(name for change in row.changes for name in change.inputs)} - {""}
    unknown = {name for name in named if not hasattr(arguments, re.sub("([A-Z])", r"_\1", name).lower())}
    assert unknown == set()


# --- on the emulator ------------------------------------------------------------------------------------------------


def test_an_input_that_no_parameter_takes_is_refused(aws: AwsProvider) -> None:
    with pytest.raises(ProviderError, match=r"colour: the rehearsal knows no parameter .*types.py"):
        aws.create("aws:kms/key:Key", {"description": "d", "colour": "red"}, "t-colour")


def test_aws_s_own_words_are_told(aws: AwsProvider) -> None:
    with pytest.raises(ProviderError, match=r"ec2\.CreateVpc: InvalidParameterValue"):
        aws.create("aws:ec2/vpc:Vpc", {"cidrBlock": "nonsense"}, "t-vpc")


def test_the_same_token_makes_nothing_twice(aws: AwsProvider) -> None:
    inputs = aws.check("aws:ec2/vpc:Vpc", "twice", None, {"cidrBlock": "10.9.0.0/16"})
    assert aws.create("aws:ec2/vpc:Vpc", inputs, "t-twice")[0] == aws.create("aws:ec2/vpc:Vpc", inputs, "t-twice")[0]


def test_tags_are_changed_in_place(aws: AwsProvider) -> None:
    type_ = "aws:ec2/vpc:Vpc"
    old = aws.check(type_, "tagged", None, {"cidrBlock": "10.8.0.0/16", "tags": {"Name": "a", "old": "x"}})
    id_, outputs = aws.create(type_, old, "t-tags")
    new = aws.check(type_, "tagged", old, {"cidrBlock": "10.8.0.0/16", "tags": {"Name": "b"}})
    aws.update(type_, id_, old, new, outputs)
    [vpc] = aws._client("ec2").describe_vpcs(VpcIds=[id_])["Vpcs"]
    assert {tag["Key"]: tag["Value"] for tag in vpc["Tags"]} == {**TAGS, "Name": "b"}


class Declared:
    """The platform's own stack on an emulator: real inputs for most rows of the table."""

    def __init__(self, work: Path) -> None:
        endpoint = process.start(work).endpoint
        self.providers: dict[str, AwsProvider] = {}

        def make(settings: Settings) -> AwsProvider:
            tags = dict(settings.tags)
            return self.providers.setdefault(
                settings.stack, AwsProvider(settings.region, settings.account_id, tags, endpoint)
            )

        self.engine = Engine(work, {"aws": make, "kubernetes": lambda _: KubernetesProvider(work)})
        self.engine.up(load("platform-local"))

    def resources(self) -> Mapping[str, Resource]:
        plan: Plan = self.engine.plan(load("platform-local"))
        return {resource.type: resource for resource in plan.resources if resource.type in TYPES}


@pytest.fixture(scope="module")
def declared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Declared]:
    work = tmp_path_factory.mktemp("declared")
    yield Declared(work)
    process.stop(work)


def test_what_was_made_is_read_back_unchanged(declared: Declared) -> None:
    plan = declared.engine.plan(load("platform-local"))
    assert {step.op for step in plan.steps} == {"same"}


def test_a_change_in_the_yaml_is_made_in_place(declared: Declared) -> None:
    settings = load("platform-local")
    network = {**settings.program.model_dump(mode="json")["network"], "flow_log_days": 14}
    changed = load("platform-local", {"network": network})
    steps = {step.op for step in declared.engine.up(changed).steps}
    assert "update" in steps
    assert not steps & {"replace", "create", "delete"}
    groups = declared.providers["platform-local"]._client("logs").describe_log_groups()["logGroups"]
    assert [group["retentionInDays"] for group in groups if "flows" in group["logGroupName"]] == [14]
    declared.engine.up(settings)


def test_what_is_deleted_behind_its_back_is_made_again(declared: Declared) -> None:
    topic = declared.resources()["aws:sns/topic:Topic"]
    declared.providers["platform-local"]._client("sns").delete_topic(TopicArn=topic.id)
    steps = {step.name: step.op for step in declared.engine.up(load("platform-local")).steps}
    assert steps[topic.name] == "create"
    assert {step.op for step in declared.engine.plan(load("platform-local")).steps} == {"same"}


def test_everything_is_deleted_in_order_and_read_as_gone(declared: Declared) -> None:
    made = list(declared.resources().values())
    result = declared.engine.down(load("platform-local"))
    assert result.counts["delete"] > 80
    aws = declared.providers["platform-local"]
    left = [
        resource.name
        for resource in made
        if resource.type != "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup"
        and aws.read(resource.type, resource.id or "", resource.inputs, resource.outputs) is not None
    ]
    assert left == []
