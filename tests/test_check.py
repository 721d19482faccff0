"""`check` runs the packs on plans: every stack passes, every mistake is refused, and Pulumi runs the same packs."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import grpc
import pytest
from google.protobuf import empty_pb2, struct_pb2
from judging import KEY, allow, resource
from pretend_cloud import Cloud, Other, Thing
from pretend_cloud import settings as pretend_settings
from pulumi.runtime import proto
from pulumi.runtime.proto import analyzer_pb2_grpc
from pulumi_policy import Severity

from infra.check import PACKS, Report, _about, analyze, check, rules
from infra.rehearsal.aws import AwsProvider
from infra.rehearsal.engine import Engine, Plan, Refused, Resource
from infra.rehearsal.kubernetes import KubernetesProvider
from infra.rehearsal.session import Deployment, PolicyViolation, Rehearsal
from infra.reports import text
from infra.settings import ROOT, Settings, load, stack_names
from infra.show import watching
from infra.stack import Stack
from policies.cost import TAGS
from policies.rules import UNKNOWN, Control, Declared, Finding, Props, Unknown, control_policy, find

LOG_GROUP = "aws:cloudwatch/logGroup:LogGroup"
QUEUE = "aws:sqs/queue:Queue"
ROLE_POLICY = "aws:iam/rolePolicy:RolePolicy"
NODE_GROUP = "aws:eks/nodeGroup:NodeGroup"
TAGGED = dict.fromkeys(TAGS, "x")
CONFIG = {"aws:region": "us-east-1", "slipway:usd_per_month": "100"}
SETTINGS = Settings("it-dev", "dev", "us-east-1", "123456789012", 100.0, TAGGED, cast(Stack, None), CONFIG)


def report_on(*resources: Resource, settings: Settings = SETTINGS) -> Report:
    return check([(settings, Plan(settings.stack, resources, (), {}))])


def test_a_violation_names_the_stack_the_pack_the_rule_and_the_resource():
    queue = resource(QUEUE, "orders", tags=TAGGED)
    [violation] = [each for each in report_on(queue).violations if each.pack == "encryption"]
    assert (violation.stack, violation.rule, violation.severity) == ("it-dev", "enc-sqs-kms", "medium")
    assert (violation.resource, violation.urn) == ("orders", queue.urn)
    assert violation.sentence == "no KMS key of ours encrypts this: set kmsMasterKeyId"


def test_a_violation_of_a_whole_stack_carries_the_stacks_name():
    report = report_on(resource(QUEUE, kmsMasterKeyId=KEY, tags=TAGGED))
    [violation] = [each for each in report.violations if each.rule == "cost-budget-exists"]
    assert violation.resource == "it-dev"


def test_what_a_rule_could_not_decide_is_listed_and_counted_and_no_violation():
    report = report_on(resource(ROLE_POLICY, "reader", policy=UNKNOWN))
    assert report.ok
    listed = [each for each in report.deferred if each.rule == "iam-no-service-wildcard"]
    assert [(each.stack, each.resource, each.path) for each in listed] == [("it-dev", "reader", "policy")]
    assert report.packs["access"].deferred == len(report.deferred) > 0


def test_a_readable_stand_in_for_what_aws_will_say_counts_as_given():
    report = report_on(
        resource(ROLE_POLICY, policy=allow(Action="s3:GetObject", Resource="(known after up: arn of a)"))
    )
    assert (report.violations, report.deferred) == ((), ())


def test_every_rule_is_asked_about_every_resource_of_its_types():
    keys = [resource("slipway:index:Key", name) for name in "ab"]
    queues = [resource(QUEUE, name, kmsMasterKeyId=KEY, tags=TAGGED) for name in "cd"]
    report = report_on(*keys, *queues)
    for pack in PACKS:
        of_stacks = sum(each.pack == pack and each.about == "stack" for each in rules())
        asked = sum(
            not each.types or each.types.count(one.type)
            for each in rules()
            for one in (*keys, *queues)
            if each.pack == pack and each.about == "resource"
        )
        assert report.packs[pack].evaluations == asked + of_stacks


def test_a_stacks_own_budget_decides_and_is_not_left_behind():
    group = resource(
        NODE_GROUP, "gpus", instanceTypes=["g6.xlarge"], scalingConfig={"minSize": 0, "maxSize": 1}, tags={}
    )
    rich = replace(SETTINGS, stack="it-prod", config={**CONFIG, "slipway:usd_per_month": "9000"})
    report = check([(one, Plan(one.stack, (group,), (), {})) for one in (rich, SETTINGS)])
    assert [each.stack for each in report.violations if each.rule == "cost-stack-budget"] == ["it-dev"]


def test_a_report_reads_as_text_and_as_json():
    report = report_on(resource(QUEUE, "orders", tags=TAGGED), resource(ROLE_POLICY, "reader", policy=UNKNOWN))
    shown = text(report)
    assert "it-dev: orders: no KMS key of ours encrypts this: set kmsMasterKeyId [encryption/" in shown
    assert "reader: policy [access/iam-no-service-wildcard]" in shown
    said: dict[str, Any] = json.loads(json.dumps(report.to_dict()))
    assert said["ok"] is False
    assert said["violations"][0]["stack"] == "it-dev"
    assert said["stacks"] == {"it-dev": 2}


def test_a_deployment_hears_a_sentence_for_each_violation():
    judge = analyze(SETTINGS)
    assert judge(resource(QUEUE, kmsMasterKeyId=KEY, tags=TAGGED)) == []
    sentences = judge(resource(QUEUE, tags=TAGGED))
    assert sentences == ["no KMS key of ours encrypts this: set kmsMasterKeyId [encryption/enc-sqs-kms]"]


# Every stack of the repository.


@pytest.fixture(scope="module")
def plans(every_plan: Any) -> dict[str, tuple[Settings, Plan]]:
    """What every stack would make, planned offline."""
    return {settings.stack: (settings, plan) for settings, plan in every_plan}


def offline(work: Path) -> Engine:
    return Engine(
        work,
        {
            "aws": lambda settings: AwsProvider(settings.region, settings.account_id, settings.tags, None),
            "kubernetes": lambda _: KubernetesProvider(work),
        },
    )


@pytest.mark.parametrize("stack", stack_names())
def test_every_stack_obeys_every_rule(plans, stack):
    report = check([plans[stack]])
    assert [str(each) for each in report.violations] == []


@pytest.mark.parametrize("stack", stack_names())
def test_nothing_of_a_stack_is_left_undecided(plans, stack):
    assert check([plans[stack]]).deferred == ()


def test_the_local_product_obeys_every_rule_once_it_serves_a_model(tmp_path):
    settings = load("employment-local", {"model_version": 1})
    report = check([(settings, offline(tmp_path).plan(settings))])
    assert [str(each) for each in report.violations] == []
    assert report.deferred == ()


def changed(plans: dict[str, tuple[Settings, Plan]], stack: str, kind: str, **inputs: Any) -> Report:
    """The report on a stack whose first resource of a type has other inputs."""
    settings, plan = plans[stack]
    first = next(each for each in plan.resources if each.type == kind)
    other = replace(
        first,
        inputs={key: value for key, value in {**first.inputs, **inputs}.items() if value is not None},
        outputs={key: value for key, value in {**first.outputs, **inputs}.items() if value is not None},
    )
    resources = tuple(other if each is first else each for each in plan.resources)
    return check([(settings, replace(plan, resources=resources))])


@pytest.mark.parametrize(
    "stack, kind, key, where",
    [
        ("platform-prod", "aws:cloudwatch/logGroup:LogGroup", "kmsKeyId", "kmsKeyId"),
        ("platform-prod", "aws:sns/topic:Topic", "kmsMasterKeyId", "kmsMasterKeyId"),
        ("platform-prod", "aws:eks/cluster:Cluster", "encryptionConfig", "encryptionConfig.provider.keyArn"),
        (
            "platform-prod",
            "aws:ecr/repository:Repository",
            "encryptionConfigurations",
            "encryptionConfigurations.*.kmsKey",
        ),
        (
            "employment-prod",
            "aws:sagemaker/featureGroup:FeatureGroup",
            "onlineStoreConfig",
            "onlineStoreConfig.securityConfig.kmsKeyId",
        ),
    ],
)
def test_a_stack_without_one_of_its_keys_is_refused(plans, stack, kind, key, where):
    without = {"onlineStoreConfig": {"enableOnlineStore": True}, "encryptionConfig": {"resources": ["secrets"]}}.get(
        key
    )
    sentences = [each.sentence for each in changed(plans, stack, kind, **{key: without}).violations]
    assert f"no KMS key of ours encrypts this: set {where}" in sentences


@pytest.mark.parametrize("stack", ["platform-prod", "employment-prod"])
def test_a_stack_that_allows_every_action_is_refused(plans, stack):
    policy = allow(Action="*", Resource="arn:aws:s3:::data/*")
    found = {(each.rule, each.sentence) for each in changed(plans, stack, ROLE_POLICY, policy=policy).violations}
    said = "policy, statement 1: allows *: name the actions that are needed"
    assert {("iam-no-star-action", said), ("iam-no-service-wildcard", said)} <= found


def test_a_stack_whose_gpu_limit_is_doubled_past_the_budget_is_refused_and_the_pool_is_named(plans):
    settings, plan = plans["platform-prod"]
    groups = [each for each in plan.resources if each.type == NODE_GROUP]
    gpus = next(each for each in groups if each.name == "platform-prod-block")
    scaling = {**gpus.inputs["scalingConfig"], "maxSize": 2 * gpus.inputs["scalingConfig"]["maxSize"]}
    doubled = replace(
        gpus, inputs={**gpus.inputs, "scalingConfig": scaling}, outputs={**gpus.outputs, "scalingConfig": scaling}
    )
    resources = tuple(doubled if each is gpus else each for each in plan.resources)
    found = check([(settings, replace(plan, resources=resources))]).violations
    [violation] = [each for each in found if each.rule == "cost-stack-budget"]
    assert (
        f"slipway:usd_per_month allows ${settings.usd_per_month:,.0f}. The dearest: {gpus.name} $" in violation.sentence
    )


# The same packs under Pulumi, which starts each as a process of its own and asks it over gRPC.


@pytest.fixture(scope="module", params=sorted(PACKS))
def pack(request: pytest.FixtureRequest) -> Iterator[tuple[str, analyzer_pb2_grpc.AnalyzerStub]]:
    """A pack as `pulumi preview --policy-pack policies/<pack>` starts it, in the stack's configuration."""
    process = subprocess.Popen(
        [sys.executable, "-u", str(ROOT / "policies" / request.param)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path("/"),
        env={**os.environ, "PULUMI_CONFIG": json.dumps(CONFIG)},
    )
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield request.param, analyzer_pb2_grpc.AnalyzerStub(channel)
    finally:
        process.kill()
        process.wait()


BROKEN = {
    "encryption": (QUEUE, {"tags": TAGGED}, "set kmsMasterKeyId"),
    "access": (ROLE_POLICY, {"policy": allow(Action="*", Resource="a")}, "name the actions"),
    "cost": (QUEUE, {}, "are missing: set them in aws:defaultTags"),
    "reliability": (LOG_GROUP, {}, "set 30 or more"),
}


def wire(inputs: dict[str, Any]) -> struct_pb2.Struct:
    struct = struct_pb2.Struct()
    struct.update(inputs)
    return struct


def test_every_rule_is_mandatory_under_pulumi(pack):
    name, stub = pack
    info = stub.GetAnalyzerInfo(empty_pb2.Empty())
    assert info.name == f"slipway-{name}"
    levels = {each.name: each.enforcementLevel for each in info.policies}
    # What is excepted is told of, and refuses nothing.
    assert levels.pop("exceptions") == proto.analyzer_pb2.ADVISORY
    assert set(levels.values()) == {proto.analyzer_pb2.MANDATORY}
    assert levels.keys() == {"exceptions-are-whole", *(each.name for each in PACKS[name])}


def test_pulumi_hears_of_the_same_violations(pack):
    name, stub = pack
    kind, inputs, words = BROKEN[name]
    one = resource(kind, **inputs)
    answer = stub.Analyze(proto.AnalyzeRequest(type=kind, urn=one.urn, name=one.name, properties=wire(inputs)))
    said = {each.policyName for each in answer.diagnostics}
    ours = {each.rule for each in report_on(one).violations if each.pack == name and each.urn == one.urn}
    assert said == ours != set()
    assert any(words in each.message for each in answer.diagnostics)


def test_pulumi_hears_what_is_not_known_yet(pack):
    name, stub = pack
    kind, path = {
        "encryption": ("aws:kms/key:Key", "enableKeyRotation"),
        "access": (ROLE_POLICY, "policy"),
        "cost": (QUEUE, "tags"),
        "reliability": (LOG_GROUP, "retentionInDays"),
    }[name]
    answer = stub.Analyze(proto.AnalyzeRequest(type=kind, urn="urn", name="it", properties=wire({path: UNKNOWN})))
    assert [each for each in answer.diagnostics if f"known only after pulumi up: {path}" in each.message]


def test_pulumi_hears_of_the_same_violations_of_a_whole_stack(pack):
    name, stub = pack
    kind = "aws:s3/bucket:Bucket"
    request = proto.AnalyzeStackRequest(
        resources=[
            proto.AnalyzerResource(type=kind, urn="urn:bucket", name="data", properties=wire({"bucket": "data-1"}))
        ]
    )
    answer = stub.AnalyzeStack(request)
    assert {
        "encryption": "bucket data has no default encryption",
        "access": "bucket data can be made public",
        "cost": "bucket data keeps everything for ever",
        "reliability": "bucket data keeps no versions",
    }[name] in " ".join(each.message for each in answer.diagnostics)


# What a plan cannot know is decided by the deployment.


class FewThings:
    """A pack of two rules about `cloud:index:Thing`, whose `serial` only the cloud tells."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, highest: int, most: int) -> None:
        def low(_: str, inputs: Props) -> Iterator[Finding]:
            for where, serial in find(inputs, "serial?"):
                if serial == UNKNOWN:
                    yield Unknown(where)
                elif serial > highest:
                    yield f"{where} is {serial}: {highest} is the highest"

        def few(resources: Sequence[Declared]) -> Iterator[tuple[Declared | None, Finding]]:
            serials = [each.inputs["serial"] for each in resources if "serial" in each.inputs]
            if UNKNOWN in serials:
                yield None, Unknown("serial")
            elif sum(serials) > most:
                yield None, f"serials sum up to {sum(serials)}: {most} is the most"

        controls = (
            Control("serial-low", "Serials are low.", Severity.LOW, (), "Begin anew.", rule=low),
            Control("serials-few", "They are few.", Severity.LOW, (), "Leave one out.", stack_rule=few),
        )
        monkeypatch.setattr("infra.check.PACKS", {"things": [control_policy(each) for each in controls]})
        monkeypatch.setattr("infra.check.CONTROLS", {each.name: each for each in controls})
        _about.cache_clear()


@pytest.fixture
def deploy(tmp_path: Path) -> Iterator[Callable[[], Deployment]]:
    """Deploys a thing, and another one whose label is the serial of the first, as `slipway up` deploys a stack."""

    def program() -> None:
        first = Thing("first")
        Other("second", serial=first.serial)

    def deploy() -> Deployment:
        engine = Engine(tmp_path, {"cloud": lambda _: Cloud(tmp_path / "cloud")})
        said: list[str] = []
        rehearsal = Rehearsal(tmp_path, say=said.append, watching=watching)
        deployment = rehearsal._deploy(engine, pretend_settings(program))
        assert "2 rules were deferred to the deployment: 2 holds" in " ".join(said) or not deployment.decided
        return deployment

    yield deploy
    _about.cache_clear()


def test_what_a_plan_defers_a_deployment_decides_and_shows(
    deploy: Callable[[], Deployment], monkeypatch: pytest.MonkeyPatch
) -> None:
    FewThings(monkeypatch, highest=1, most=9)
    decisions = deploy().decided
    assert [(each.rule, each.resource, each.path, each.outcome) for each in decisions] == [
        ("serial-low", "second", "serial", "holds"),
        ("serials-few", "thing-local", "serial", "holds"),
    ]
    assert deploy().decided == []  # it is all known now


def test_a_resource_is_judged_by_what_became_known_before_it_is_made(
    deploy: Callable[[], Deployment], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    FewThings(monkeypatch, highest=0, most=9)
    with pytest.raises(Refused, match="serial is 1: 0 is the highest"):
        deploy()
    assert Cloud(tmp_path / "cloud").creations == ["first"]


def test_a_stack_is_judged_by_what_became_known_once_all_of_it_is_there(
    deploy: Callable[[], Deployment], monkeypatch: pytest.MonkeyPatch
) -> None:
    FewThings(monkeypatch, highest=1, most=1)
    with pytest.raises(PolicyViolation, match="as only its deployment could tell") as raised:
        deploy()
    [violation] = raised.value.report.violations
    assert violation.sentence == "serials sum up to 3: 1 is the most"


# Every stack is planned for every change, so that the wait for it counts.


def in_a_process(stacks: Sequence[str]) -> dict[str, Plan]:
    return {stack: Plan(str(os.getpid()), (), (), {"with": list(stacks)}) for stack in stacks}


@pytest.mark.parametrize(("processes", "apart"), [(1, False), (2, True)])
def test_environments_are_planned_side_by_side_and_come_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processes: int, apart: bool
) -> None:
    monkeypatch.setattr("infra.rehearsal.session._plan_offline", in_a_process)
    stacks = ["platform-dev", "platform-prod", "employment-dev", "employment-prod"]
    plans = Rehearsal(tmp_path, say=print, watching=watching).plan_offline(stacks, processes=processes)
    assert [settings.stack for settings, _ in plans] == stacks
    assert (str(os.getpid()) not in {plan.stack for _, plan in plans}) == apart
    if apart:
        assert plans[0][1].outputs == {"with": ["platform-dev", "employment-dev"]}
