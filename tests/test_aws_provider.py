"""The rehearsal's AWS provider: every type of the table on the emulator, and what it does without one."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pulumi_aws
import pytest

from infra.rehearsal.aws import TOKEN_HEADER
from infra.rehearsal.aws.assets import ARCHIVE, ASSET, SIGNATURE, zipped
from infra.rehearsal.aws.mapping import find
from infra.rehearsal.aws.types import TYPES
from infra.rehearsal.emulator.process import Emulator
from infra.rehearsal.engine import Engine
from infra.rehearsal.kubernetes import KubernetesProvider
from infra.rehearsal.provider import UNKNOWN, Props, ProviderError
from infra.rehearsal.state import StateStore
from infra.settings import load
from tests.aws_resources import CASES, TAGS, World, code, document, provider, tags_of

VPC, ROLE, BUCKET, FUNCTION = (
    "aws:ec2/vpc:Vpc",
    "aws:iam/role:Role",
    "aws:s3/bucket:Bucket",
    "aws:lambda/function:Function",
)
ENDPOINT, MODEL = "aws:sagemaker/endpoint:Endpoint", "aws:sagemaker/model:Model"
CONFIGURATION = "aws:sagemaker/endpointConfiguration:EndpointConfiguration"


@pytest.fixture(scope="module")
def world(emulator: Emulator) -> World:
    return World(emulator.endpoint)


def arguments_of(type_: str) -> Any:
    """The class of pulumi_aws that holds a type's inputs."""
    module, _, kind = re.split("[/:]", type_.removeprefix("aws:"))
    package = getattr(pulumi_aws, module.replace("lambda", "lambda_"))
    # Where a block of another resource has the name already, the arguments are called `…InitArgs`.
    return getattr(package, f"{kind}InitArgs", None) or getattr(package, f"{kind}Args")


def is_stand_in(value: Any) -> bool:
    return value == UNKNOWN or "(known after up" in str(value)


# --- every type, on the emulator ------------------------------------------------------------------------------------


def test_every_type_of_the_table_is_tested_with_a_change_where_it_can_be_changed() -> None:
    assert CASES.keys() == TYPES.keys()
    changeable = {
        type_
        for type_, row in TYPES.items()
        if row.repeatable or {name for change in row.changes for name in change.inputs} - {*row.local}
    }
    unchanged = {type_ for type_, case in CASES.items() if case.shows == "" and type_ != BUCKET}
    assert changeable & unchanged == set()


@pytest.mark.parametrize("type_", TYPES)
def test_a_resource_is_made_found_left_alone_changed_and_removed(world: World, type_: str) -> None:
    aws, case = world.aws, CASES[type_]
    declared = case.inputs(world)
    inputs = aws.check(type_, "it", None, declared)
    expected = aws.preview(type_, "it", inputs)
    id_, outputs = aws.create(type_, inputs, f"round-{type_}")
    assert outputs["id"] == id_
    assert expected.keys() == outputs.keys()
    known = {name: value for name, value in expected.items() if not is_stand_in(value)}
    assert known == {name: outputs[name] for name in known}
    assert aws.read(type_, id_, inputs, outputs) == outputs
    assert not aws.diff(type_, inputs, aws.check(type_, "it", inputs, declared), ())

    if change := case.change(world):
        changed = aws.check(type_, "it", inputs, {**declared, **change})
        diff = aws.diff(type_, inputs, changed, ())
        assert {path.partition(".")[0].partition("[")[0] for path in diff.changed} == change.keys()
        assert diff.replaces == ()
        outputs = aws.update(type_, id_, inputs, changed, outputs)
        shown = changed.keys() - {"__defaults", *TYPES[type_].outputs}
        assert {name: outputs[name] for name in shown} == {name: changed[name] for name in shown}
        expected_value = case.value(changed) if callable(case.value) else case.value
        is_seen = seen(world, type_, id_, changed, outputs) == expected_value
        assert is_seen is not bool(case.unseen)
        inputs = changed

    aws.delete(type_, id_, inputs, outputs)
    gone = aws.read(type_, id_, inputs, outputs) is None
    assert gone is not bool(case.stays)
    aws.delete(type_, id_, inputs, outputs)


def seen(world: World, type_: str, id_: str, inputs: Props, outputs: Props) -> Any:
    """What a change is seen by."""
    shows, row = CASES[type_].shows, TYPES[type_]
    if callable(shows):
        return shows(world, id_)
    if not shows:
        return None
    values = world.aws._values(row, inputs, {**outputs, "id": id_})
    return find(shows, world.aws._look(row, values))


@pytest.mark.parametrize("type_", [type_ for type_, row in TYPES.items() if row.tags])
def test_default_tags_are_put_on_it_and_its_own_are_changed_in_place(world: World, type_: str) -> None:
    aws, declared = world.aws, CASES[type_].inputs(world)
    inputs = aws.check(type_, "tagged", None, {**declared, "tags": {"Name": "a", "old": "x"}})
    id_, outputs = aws.create(type_, inputs, f"tags-{type_}")
    assert tags_of(world, type_, outputs) == outputs["tagsAll"] == {**TAGS, "Name": "a", "old": "x"}
    changed = aws.check(type_, "tagged", inputs, {**declared, "tags": {"Name": "b"}})
    assert aws.diff(type_, inputs, changed, ()).replaces == ()
    outputs = aws.update(type_, id_, inputs, changed, outputs)
    assert tags_of(world, type_, outputs) == outputs["tagsAll"] == {**TAGS, "Name": "b"}
    aws.delete(type_, id_, changed, outputs)


@pytest.mark.parametrize("type_", TYPES)
def test_what_pulumi_can_tag_is_tagged_and_only_that(type_: str) -> None:
    assert hasattr(arguments_of(type_), "tags") is (TYPES[type_].tags is not None)


@pytest.mark.parametrize("type_", TYPES)
def test_every_input_that_a_row_names_exists_in_pulumi_aws(type_: str) -> None:
    row = TYPES[type_]
    named = {row.named, *row.keys, *row.local, *(name for change in row.changes for name in change.inputs)} - {""}
    unknown = {
        name
        for name in (each.partition(".")[0] for each in named)
        if not hasattr(arguments_of(type_), re.sub("([A-Z])", r"_\1", name).lower())
    }
    assert unknown == set()


@pytest.mark.parametrize("type_", TYPES)
def test_an_input_that_nothing_takes_is_refused_before_anything_is_made(world: World, type_: str) -> None:
    declared = CASES[type_].inputs(world)
    with pytest.raises(ProviderError, match=r"colour.*infra/rehearsal/aws/types.py, at the row of"):
        world.aws.check(type_, "it", None, {**declared, "colour": "red"})


# --- particular types -----------------------------------------------------------------------------------------------


def test_a_default_security_group_is_closed(world: World) -> None:
    _, vpc, _ = world.make(VPC)
    type_ = "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup"
    inputs = world.aws.check(type_, "closed", None, {"vpcId": vpc, "ingress": [], "egress": []})
    id_, _ = world.aws.create(type_, inputs, "closed")
    [group] = world.client("ec2").describe_security_groups(GroupIds=[id_])["SecurityGroups"]
    assert (group["IpPermissions"], group["IpPermissionsEgress"]) == ([], [])


def test_rules_of_a_default_security_group_are_refused(world: World) -> None:
    rules = [{"fromPort": 0, "toPort": 0, "protocol": "-1", "selfs": True}]
    with pytest.raises(ProviderError, match="only closes a default group"):
        world.aws.check(
            "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup", "open", None, {"vpcId": "v", "egress": rules}
        )


def test_a_new_security_group_lets_nothing_out(world: World) -> None:
    _, id_, _ = world.make("aws:ec2/securityGroup:SecurityGroup")
    [group] = world.client("ec2").describe_security_groups(GroupIds=[id_])["SecurityGroups"]
    assert group["IpPermissionsEgress"] == []


def test_a_gateway_endpoint_tells_its_prefix_list_and_moves_between_route_tables(world: World) -> None:
    type_, table = "aws:ec2/vpcEndpoint:VpcEndpoint", "aws:ec2/routeTable:RouteTable"
    declared = {"vpcId": world(VPC)["id"], "serviceName": "com.amazonaws.us-east-1.s3", "vpcEndpointType": "Gateway"}
    inputs = world.aws.check(type_, "s3", None, {**declared, "routeTableIds": [world(table)["id"]]})
    assert is_stand_in(world.aws.preview(type_, "s3", inputs)["prefixListId"])
    id_, outputs = world.aws.create(type_, inputs, "gateway")
    assert outputs["prefixListId"].startswith("pl-")
    changed = {**inputs, "routeTableIds": [world.make(table)[1]]}
    world.aws.update(type_, id_, inputs, changed, outputs)
    [endpoint] = world.client("ec2").describe_vpc_endpoints(VpcEndpointIds=[id_])["VpcEndpoints"]
    assert endpoint["RouteTableIds"] == changed["routeTableIds"]


def test_another_kind_of_source_replaces_a_rule() -> None:
    rule = {"securityGroupId": "sg-1", "ipProtocol": "tcp", "cidrIpv4": "10.0.0.0/8"}
    other = {"securityGroupId": "sg-1", "ipProtocol": "tcp", "referencedSecurityGroupId": "sg-2"}
    diff = provider().diff("aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule", rule, other, ())
    assert diff.replaces == ("cidrIpv4",)


def test_a_bucket_that_may_be_destroyed_is_emptied_first(world: World) -> None:
    inputs, id_, outputs = world.make(BUCKET)
    s3 = world.client("s3")
    s3.put_bucket_versioning(Bucket=id_, VersioningConfiguration={"Status": "Enabled"})
    for _ in range(2):
        s3.put_object(Bucket=id_, Key="a", Body=b"a")
    s3.delete_object(Bucket=id_, Key="a")
    world.aws.delete(BUCKET, id_, inputs, outputs)
    assert world.aws.read(BUCKET, id_, inputs, outputs) is None


def test_a_bucket_with_more_than_a_page_of_objects_is_emptied(world: World) -> None:
    inputs, id_, outputs = world.make(BUCKET)
    s3 = world.client("s3")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: s3.put_object(Bucket=id_, Key=f"{number}", Body=b""), range(1_010)))
    world.aws.delete(BUCKET, id_, inputs, outputs)
    assert world.aws.read(BUCKET, id_, inputs, outputs) is None


def test_a_bucket_with_objects_stays_unless_it_may_be_destroyed(world: World) -> None:
    inputs, id_, outputs = world.make(BUCKET)
    world.client("s3").put_object(Bucket=id_, Key="a", Body=b"a")
    with pytest.raises(ProviderError, match="BucketNotEmpty"):
        world.aws.delete(BUCKET, id_, {**inputs, "forceDestroy": False}, outputs)


def test_a_bucket_is_made_in_the_region_of_the_stack(emulator: Emulator) -> None:
    aws = provider(emulator.endpoint, "eu-central-1")
    id_, outputs = aws.create(BUCKET, aws.check(BUCKET, "Far", None, {}), "far")
    assert re.fullmatch(r"far-[0-9a-f]{7}", id_)
    assert outputs["bucketRegionalDomainName"] == f"{id_}.s3.eu-central-1.amazonaws.com"
    assert aws._client("s3").get_bucket_location(Bucket=id_)["LocationConstraint"] == "eu-central-1"


def test_a_role_loses_its_policies_with_it_where_that_is_asked_for(world: World) -> None:
    inputs, id_, outputs = world.make(ROLE)
    iam = world.client("iam")
    iam.put_role_policy(RoleName=id_, PolicyName="p", PolicyDocument=document("s3:GetObject"))
    iam.attach_role_policy(RoleName=id_, PolicyArn=world("aws:iam/policy:Policy")["arn"])
    world.aws.delete(ROLE, id_, inputs, outputs)
    assert world.aws.read(ROLE, id_, inputs, outputs) is None


def test_a_managed_policy_can_be_changed_more_often_than_iam_keeps_versions(world: World) -> None:
    type_ = "aws:iam/policy:Policy"
    inputs, id_, outputs = world.make(type_)
    for number in range(7):
        changed = {**inputs, "policy": document(f"s3:Get{number}")}
        outputs = world.aws.update(type_, id_, inputs, changed, outputs)
        inputs = changed
    versions = world.client("iam").list_policy_versions(PolicyArn=id_)["Versions"]
    assert [version["VersionId"] for version in versions] == ["v8"]


def test_a_log_group_that_is_to_stay_is_left(world: World) -> None:
    type_ = "aws:cloudwatch/logGroup:LogGroup"
    inputs = world.aws.check(type_, "kept", None, {"skipDestroy": True})
    id_, outputs = world.aws.create(type_, inputs, "kept")
    world.aws.delete(type_, id_, inputs, outputs)
    assert world.aws.read(type_, id_, inputs, outputs) == outputs


def test_a_key_that_is_to_be_deleted_is_gone_and_a_disabled_one_is_not(world: World) -> None:
    type_ = "aws:kms/key:Key"
    inputs, id_, outputs = world.make(type_)
    world.client("kms").disable_key(KeyId=id_)
    assert world.aws.read(type_, id_, inputs, outputs) == outputs
    world.client("kms").schedule_key_deletion(KeyId=id_)
    assert world.aws.read(type_, id_, inputs, outputs) is None


def test_an_alarm_can_compute_what_it_watches(world: World) -> None:
    type_ = "aws:cloudwatch/metricAlarm:MetricAlarm"
    metric = {"namespace": "N", "metricName": "m", "period": 60, "stat": "Sum", "dimensions": {"endpoint": "e"}}
    queries = [{"id": "a", "metric": metric}, {"id": "b", "expression": "a * 2", "returnData": True}]
    declared = {"comparisonOperator": "GreaterThanThreshold", "evaluationPeriods": 1, "threshold": 1}
    inputs = world.aws.check(type_, "computed", None, {**declared, "metricQueries": queries})
    id_, _ = world.aws.create(type_, inputs, "computed")
    [alarm] = world.client("cloudwatch").describe_alarms(AlarmNames=[id_])["MetricAlarms"]
    measured = next(each for each in alarm["Metrics"] if each["Id"] == "a")["MetricStat"]
    assert measured["Metric"]["Dimensions"] == [{"Name": "endpoint", "Value": "e"}]
    assert (measured["Stat"], measured["Metric"]["MetricName"]) == ("Sum", "m")


def _broken(world: World) -> str:
    """The name of a configuration whose model does not load."""
    declared = CASES[MODEL].inputs(world)
    container = {**declared["primaryContainer"], "modelDataUrl": "s3://nowhere/model.tar.gz"}
    model, _ = world.aws.create(
        MODEL, world.aws.check(MODEL, "broken", None, {**declared, "primaryContainer": container}), ""
    )
    declared = CASES[CONFIGURATION].inputs(world)
    variants = [{**declared["productionVariants"][0], "modelName": model}]
    inputs = world.aws.check(CONFIGURATION, "broken", None, {**declared, "productionVariants": variants})
    return world.aws.create(CONFIGURATION, inputs, "")[0]


def test_an_endpoint_that_is_rolled_back_says_what_is_live(world: World) -> None:
    inputs, id_, outputs = world.make(ENDPOINT)
    live, broken = inputs["endpointConfigName"], _broken(world)
    with pytest.raises(ProviderError, match=f"{id_} was rolled back: {broken} was asked for, {live} is live"):
        world.aws.update(ENDPOINT, id_, inputs, {**inputs, "endpointConfigName": broken}, outputs)
    found = world.aws.read(ENDPOINT, id_, inputs, outputs)
    assert found is not None and found["endpointConfigName"] == live
    world.aws.delete(ENDPOINT, id_, inputs, outputs)


def test_an_endpoint_that_cannot_serve_is_told_removed_and_can_be_made_with_the_same_token(world: World) -> None:
    declared = {"name": f"late-{world.number()}", "endpointConfigName": _broken(world)}
    inputs = world.aws.check(ENDPOINT, "late", None, declared)
    for _ in range(2):
        with pytest.raises(ProviderError, match=f"{declared['name']} is Failed: .*"):
            world.aws.create(ENDPOINT, inputs, "late")
        assert world.aws.read(ENDPOINT, declared["name"], inputs, {}) is None


def test_a_release_made_beside_pulumi_is_not_undone_by_another_way_to_roll_out(world: World) -> None:
    inputs, id_, outputs = world.make(ENDPOINT)
    released = world.configuration()
    sagemaker = world.client("sagemaker")
    sagemaker.update_endpoint(EndpointName=id_, EndpointConfigName=released)
    sagemaker.get_waiter("endpoint_in_service").wait(EndpointName=id_, WaiterConfig={"Delay": 1})
    outputs = world.aws.read(ENDPOINT, id_, inputs, outputs) or {}
    routing = {"type": "ALL_AT_ONCE", "waitIntervalInSeconds": 3}
    changed = {**inputs, "deploymentConfig": {"blueGreenUpdatePolicy": {"trafficRoutingConfiguration": routing}}}
    world.aws.update(ENDPOINT, id_, inputs, changed, outputs)
    assert sagemaker.describe_endpoint(EndpointName=id_)["EndpointConfigName"] == released
    world.aws.delete(ENDPOINT, id_, changed, outputs)


# --- calls ----------------------------------------------------------------------------------------------------------


def test_aws_s_own_words_are_told(world: World) -> None:
    with pytest.raises(ProviderError, match=r"ec2\.CreateVpc: InvalidParameterValue"):
        world.aws.create(VPC, {"cidrBlock": "nonsense"}, "t-vpc")


def test_the_same_token_makes_nothing_twice(world: World) -> None:
    inputs = world.aws.check(VPC, "twice", None, {"cidrBlock": "10.9.0.0/16"})
    assert world.aws.create(VPC, inputs, "t-twice") == world.aws.create(VPC, inputs, "t-twice")


def test_each_call_of_a_creation_carries_the_token_and_its_number_and_no_other_does(emulator: Emulator) -> None:
    aws = provider(emulator.endpoint)
    sent: list[tuple[str, str | None]] = []

    def record(request: Any, **_: Any) -> None:
        header = request.headers.get(TOKEN_HEADER)
        sent.append((str(request.body).partition("Action=")[2].partition("&")[0], header and header.decode()))

    aws._client("ec2").meta.events.register("before-send", record)
    inputs = aws.check(VPC, "v", None, {"cidrBlock": "10.7.0.0/16", "enableDnsHostnames": True})
    id_, outputs = aws.create(VPC, inputs, "made")
    assert sent == [
        ("CreateVpc", "made/0"),
        ("ModifyVpcAttribute", "made/1"),
        ("CreateTags", "made/2"),
    ]
    sent.clear()
    aws.read(VPC, id_, inputs, outputs)
    aws.update(VPC, id_, inputs, {**inputs, "enableDnsHostnames": False}, outputs)
    aws.delete(VPC, id_, inputs, outputs)
    assert {header for _, header in sent} == {None}


def test_a_server_that_is_not_there_is_told_at_once() -> None:
    with pytest.raises(ProviderError, match="Could not connect"):
        provider("http://127.0.0.1:9").create(VPC, {"cidrBlock": "10.0.0.0/16"}, "t")


# --- without an emulator --------------------------------------------------------------------------------------------


def test_an_unknown_type_says_where_to_add_it() -> None:
    with pytest.raises(ProviderError, match=r"aws:x/y:Z.*infra/rehearsal/aws/types.py"):
        provider().check("aws:x/y:Z", "a", None, {})


def test_a_provider_that_only_plans_says_so() -> None:
    with pytest.raises(ProviderError, match="only plans"):
        provider().create(VPC, {"cidrBlock": "10.0.0.0/16"}, "t")


def test_a_data_source_is_refused() -> None:
    with pytest.raises(ProviderError, match=r"getCallerIdentity.*answers no data source"):
        provider().invoke("aws:index/getCallerIdentity:getCallerIdentity", {})


@pytest.mark.parametrize(
    ("type_", "inputs", "words"),
    [
        (ROLE, {}, "AssumeRolePolicyDocument"),
        ("aws:budgets/budget:Budget", {"budgetType": "COST", "timeUnit": "MONTHLY"}, "limitAmount: missing"),
        (FUNCTION, {"role": "r", "timeout": "soon", "s3Bucket": "b"}, "timeout: expected a number, got 'soon'"),
        (
            "aws:ec2/launchTemplate:LaunchTemplate",
            {"blockDeviceMappings": [{"ebs": {"encrypted": "maybe"}}]},
            "encrypted: expected true or false, got 'maybe'",
        ),
        (VPC, {"cidrBlock": "10.0.0.0/16", "region": "eu-west-1"}, "region: .*us-east-1 alone"),
        (MODEL, {"executionRoleArn": "r", "primaryContainer": {"imag": "x"}}, "primaryContainer.imag: "),
        (FUNCTION, {"role": "r", "code": {SIGNATURE: ARCHIVE, "path": "/nowhere"}}, "code: .*/nowhere"),
    ],
)
def test_what_aws_would_not_take_is_told_in_the_plan(type_: str, inputs: Props, words: str) -> None:
    with pytest.raises(ProviderError, match=words):
        provider().check(type_, "a", None, inputs)


def test_what_is_not_known_yet_is_taken() -> None:
    inputs = {
        name: UNKNOWN for name in ("clusterName", "nodeRoleArn", "subnetIds", "scalingConfig", "labels", "taints")
    }
    checked = provider().check("aws:eks/nodeGroup:NodeGroup", "n", None, inputs)
    outputs = provider().preview("aws:eks/nodeGroup:NodeGroup", "n", checked)
    assert outputs["labels"] == UNKNOWN
    assert outputs["arn"].startswith(
        "arn:aws:eks:us-east-1:123456789012:nodegroup/(known after up: clusterName of n)/n-"
    )


def test_a_name_is_generated_once_and_anew_for_a_replacement() -> None:
    declared = {"assumeRolePolicy": "{}"}
    first = provider().check(ROLE, "reader", None, declared)
    assert re.fullmatch(r"reader-[0-9a-f]{7}", first["name"])
    assert provider().check(ROLE, "reader", first, declared)["name"] == first["name"]
    assert provider().check(ROLE, "reader", None, declared)["name"] != first["name"]


def test_a_name_that_the_program_no_longer_gives_is_generated() -> None:
    given = provider().check(ROLE, "reader", None, {"assumeRolePolicy": "{}", "name": "mine"})
    assert re.fullmatch(
        r"reader-[0-9a-f]{7}", provider().check(ROLE, "reader", given, {"assumeRolePolicy": "{}"})["name"]
    )


@pytest.mark.parametrize(
    ("type_", "inputs", "pattern"),
    [
        ("aws:kms/alias:Alias", {"targetKeyId": "k"}, r"alias/Data-[0-9a-f]{7}"),
        (BUCKET, {}, r"data-[0-9a-f]{7}"),
        ("aws:ecr/repository:Repository", {}, r"data-[0-9a-f]{7}"),
    ],
)
def test_a_generated_name_is_as_the_service_wants_it(type_: str, inputs: Props, pattern: str) -> None:
    assert re.fullmatch(pattern, provider().check(type_, "Data", None, inputs)[TYPES[type_].named])


def test_two_of_one_given_name_cannot_stand_side_by_side_and_of_a_generated_one_can() -> None:
    def replaced(declared: Props) -> bool:
        old = provider().check(FUNCTION, "f", None, declared)
        new = provider().check(FUNCTION, "f", old, {**declared, "packageType": "Image"})
        diff = provider().diff(FUNCTION, old, new, ())
        assert diff.replaces == ("packageType",)
        return diff.delete_before_replace

    declared = {"role": "r", "code": code("x = 1")}
    assert replaced({**declared, "name": "given"})
    assert not replaced(declared)


def test_default_tags_are_added_to_those_of_the_resource() -> None:
    checked = provider().check(VPC, "v", None, {"cidrBlock": "10.0.0.0/16", "tags": {"Name": "v", "owner": "me"}})
    assert checked["tagsAll"] == {**TAGS, "Name": "v", "owner": "me"}


def test_an_arn_that_follows_from_a_name_is_known_in_a_plan() -> None:
    for path, arn in ((None, "role/reader"), ("/team/", "role/team/reader")):
        inputs = provider().check(ROLE, "r", None, {"name": "reader", "assumeRolePolicy": "{}", "path": path})
        assert provider().preview(ROLE, "r", inputs)["arn"] == f"arn:aws:iam::123456789012:{arn}"


def test_an_id_that_only_aws_gives_is_a_readable_stand_in_and_what_is_no_text_is_unknown() -> None:
    outputs = provider().preview("aws:kms/key:Key", "data", {"description": "d"})
    assert outputs["id"] == "(known after up: keyId of data)"
    assert outputs["arn"] == "arn:aws:kms:us-east-1:123456789012:key/(known after up: keyId of data)"
    assert provider().preview("aws:ec2/launchTemplate:LaunchTemplate", "t", {"name": "t"})["latestVersion"] == UNKNOWN


@pytest.mark.parametrize(
    ("type_", "old", "new", "changed", "replaces"),
    [
        ("aws:cloudwatch/logGroup:LogGroup", {"name": "a"}, {"name": "b"}, "name", True),
        (VPC, {"cidrBlock": "10.0.0.0/16"}, {"cidrBlock": "10.1.0.0/16"}, "cidrBlock", True),
        (
            MODEL,
            {"name": "m", "primaryContainer": {"image": "a"}},
            {"primaryContainer": {"image": "b"}},
            "primaryContainer.image",
            True,
        ),
        ("aws:iam/rolePolicy:RolePolicy", {"role": "r", "policy": "{}"}, {"role": "s"}, "role", True),
        ("aws:eks/nodeGroup:NodeGroup", {"instanceTypes": ["a"]}, {"instanceTypes": ["b"]}, "instanceTypes", True),
        (
            "aws:eks/nodeGroup:NodeGroup",
            {"scalingConfig": {"maxSize": 1}},
            {"scalingConfig": {"maxSize": 2}},
            "scalingConfig.maxSize",
            False,
        ),
        (
            "aws:eks/nodeGroup:NodeGroup",
            {"launchTemplate": {"id": "a", "version": 1}},
            {"launchTemplate": {"id": "a", "version": 2}},
            "launchTemplate.version",
            False,
        ),
        (
            "aws:eks/nodeGroup:NodeGroup",
            {"launchTemplate": {"id": "a", "version": 1}},
            {"launchTemplate": {"id": "b", "version": 1}},
            "launchTemplate.id",
            True,
        ),
        (
            "aws:eks/nodeGroup:NodeGroup",
            {"labels": {"a.b/c": "1"}},
            {"labels": {"a.b/c": "2"}},
            'labels["a.b/c"]',
            False,
        ),
        (
            "aws:eks/cluster:Cluster",
            {"accessConfig": {"authenticationMode": "A"}},
            {"accessConfig": {"authenticationMode": "B"}},
            "accessConfig.authenticationMode",
            False,
        ),
        ("aws:eks/cluster:Cluster", {"roleArn": "a"}, {"roleArn": "b"}, "roleArn", True),
        ("aws:kms/key:Key", {"policy": "{}"}, {"policy": None}, "policy", True),
        ("aws:kms/key:Key", {"enableKeyRotation": True}, {"enableKeyRotation": None}, "enableKeyRotation", False),
    ],
)
def test_what_changes_in_place_and_what_is_replaced(
    type_: str, old: Props, new: Props, changed: str, replaces: bool
) -> None:
    diff = provider().diff(type_, old, {name: value for name, value in {**old, **new}.items() if value is not None}, ())
    assert diff.changed == (changed,)
    assert bool(diff.replaces) is replaces


def test_a_change_that_is_ignored_is_none_and_one_beside_it_is() -> None:
    old, new = {"scalingConfig": {"desiredSize": 1, "maxSize": 4}}, {"scalingConfig": {"desiredSize": 3, "maxSize": 4}}
    ignoring = ("scalingConfig.desiredSize",)
    assert not provider().diff("aws:eks/nodeGroup:NodeGroup", old, new, ignoring)
    new["scalingConfig"]["maxSize"] = 5
    assert provider().diff("aws:eks/nodeGroup:NodeGroup", old, new, ignoring).changed == ("scalingConfig.maxSize",)


def test_code_is_zipped_alike_for_alike_contents_and_a_change_is_seen(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    archive = {SIGNATURE: ARCHIVE, "assets": {"a.py": {SIGNATURE: ASSET, "path": str(file)}}}
    declared = {"role": "r", "code": archive}
    file.write_text("x = 1")
    first, packed = provider().check(FUNCTION, "f", None, declared), zipped(archive)
    file.touch()
    assert zipped(archive) == packed
    assert not provider().diff(FUNCTION, first, provider().check(FUNCTION, "f", first, declared), ())
    file.write_text("x = 2")
    second = provider().check(FUNCTION, "f", first, declared)
    assert provider().diff(FUNCTION, first, second, ()).changed == ("code",)


def test_a_function_is_found_and_deleted_though_the_files_of_its_code_are_gone(world: World, tmp_path: Path) -> None:
    file = tmp_path / "app.py"
    file.write_text("def handler(event, context):\n    return 1\n")
    archive = {SIGNATURE: ARCHIVE, "assets": {"app.py": {SIGNATURE: ASSET, "path": str(file)}}}
    inputs = world.aws.check(FUNCTION, "f", None, {**CASES[FUNCTION].inputs(world), "code": archive})
    id_, outputs = world.aws.create(FUNCTION, inputs, f"gone-{world.number()}")
    file.unlink()
    assert world.aws.read(FUNCTION, id_, inputs, outputs)
    world.aws.delete(FUNCTION, id_, inputs, outputs)
    assert world.aws.read(FUNCTION, id_, inputs, outputs) is None


# --- with the engine ------------------------------------------------------------------------------------------------


@pytest.fixture
def engine(world: World, tmp_path: Path) -> Iterator[Engine]:
    """An engine to which the platform's own stack is deployed."""
    kubernetes = KubernetesProvider(tmp_path)
    engine = Engine(
        tmp_path, {"aws": lambda _: world.aws, "kubernetes": lambda _: kubernetes}, state=StateStore(tmp_path)
    )
    engine.up(load("platform-local"))
    yield engine
    engine.down(load("platform-local"))


def test_what_is_deleted_behind_the_engine_s_back_is_made_again(engine: Engine, world: World) -> None:
    assert {step.op for step in engine.plan(load("platform-local")).steps} == {"same"}
    topic = next(each for each in engine.plan(load("platform-local")).resources if each.type == "aws:sns/topic:Topic")
    world.client("sns").delete_topic(TopicArn=topic.id)
    steps = {step.name: step.op for step in engine.up(load("platform-local")).steps}
    assert steps[topic.name] == "create"
    assert {step.op for step in engine.plan(load("platform-local")).steps} == {"same"}
