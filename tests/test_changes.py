"""What a plan changes about what is deployed is told before it is done: cost, risk, and who may do what."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pulumi
import pulumi_aws as aws
import pytest
from judging import allow
from pretend_cloud import Build, settings

from infra.changes import Changed, Changes, Deployed, changes, combined, read_states
from infra.rehearsal.aws import AwsProvider
from infra.rehearsal.engine import Engine
from infra.rehearsal.state import STACK_TYPE, StateError, StateStore, exported
from infra.reports import text

STACK = "shop-local"
TRUST = allow(Principal={"Service": "lambda.amazonaws.com"}, Action="sts:AssumeRole")


def engine(work: Path, store: StateStore | None = None) -> Engine:
    def provider(its: Any) -> AwsProvider:
        return AwsProvider("us-east-1", "123456789012", {"owner": "us"}, None)

    return Engine(work, {"aws": provider}, state=store, refresh=False)


@pytest.fixture
def since(tmp_path: Path) -> Callable[[Build, Build], Changes]:
    """What a second program changes about what a first one came to."""

    def since(first: Build, second: Build) -> Changes:
        planning = engine(tmp_path)
        planning.plan(settings(first, STACK))
        path = tmp_path / f"{STACK}.json"
        path.write_text(json.dumps(exported(planning.planned(STACK))), "utf-8")
        [found] = changes([settings(second, STACK)], read_states([path]), engine)
        return found

    return since


def shop(
    *,
    bucket: str = "data",
    queue: bool = True,
    days: int = 30,
    action: str = "s3:GetObject",
    service: str = "lambda.amazonaws.com",
    keys: int = 1,
    **options: Any,
) -> Build:
    def build() -> None:
        data = aws.s3.Bucket("data", bucket=bucket, opts=pulumi.ResourceOptions(**options))
        if queue:
            aws.sqs.Queue("orders", name="orders")
        aws.cloudwatch.LogGroup("log", name="log", retention_in_days=days)
        trust = allow(Principal={"Service": service}, Action="sts:AssumeRole")
        role = aws.iam.Role("reader", name="reader", assume_role_policy=trust)
        aws.iam.RolePolicy(
            "reader", role=role.name, policy=data.arn.apply(lambda arn: allow(Action=action, Resource=arn))
        )
        for number in range(keys):
            aws.kms.Key(f"key-{number}")

    return build


def only(found: Changes, name: str) -> Changed:
    [one] = [each for each in found.changed if each.name == name]
    return one


def test_nothing_changes_where_nothing_does(since: Callable[..., Changes]) -> None:
    found = since(shop(), shop())
    assert (found.changed, found.rights, found.not_known, found.refused) == ((), (), (), "")
    assert found.cost and found.cost.ceiling_after == found.cost.ceiling_before
    assert "nothing changes" in text_of(found)


def text_of(found: Changes) -> str:
    from infra.check import check

    return text(check([]), [found])


def test_a_bucket_that_is_replaced_loses_its_objects(since: Callable[..., Changes]) -> None:
    found = since(shop(), shop(bucket="data-2"))
    bucket = only(found, "data")
    assert (bucket.op, bucket.because) == ("replace", ("bucket",))
    assert bucket.loses == "its objects (AWS refuses while there are any: forceDestroy is off)"
    assert [each.name for each in combined([found])["loses data"]] == ["data"]
    assert "loses data: data (aws:s3/bucket:Bucket): its objects" in text_of(found)


def test_what_is_deleted_stops_what_it_served(since: Callable[..., Changes]) -> None:
    found = since(shop(), shop(queue=False))
    queue = only(found, "orders")
    assert (queue.op, queue.loses, queue.stops) == ("delete", "the messages in it", "what is sent through it")


def test_what_is_retained_loses_nothing(since: Callable[..., Changes]) -> None:
    found = since(shop(retain_on_delete=True), shop(bucket="data-2", retain_on_delete=True))
    bucket = only(found, "data")
    assert (bucket.loses, bucket.stops) == ("", "")
    assert bucket.notes == ("the old one stays in AWS, and nobody manages it any more",)


def test_what_is_protected_makes_the_deployment_fail(since: Callable[..., Changes]) -> None:
    found = since(shop(protect=True), shop(bucket="data-2", protect=True))
    assert "has to be replaced because of bucket, but is protected" in found.refused
    assert "would fail: " in text_of(found)


@pytest.mark.parametrize(("before", "after", "said"), [(30, 7, True), (7, 30, False), (0, 30, True), (30, 0, False)])
def test_logs_that_are_kept_for_less_time_are_pointed_out(
    since: Callable[..., Changes], before: int, after: int, said: bool
) -> None:
    group = only(since(shop(days=before), shop(days=after)), "log")
    assert group.op == "update"
    assert bool(group.notes) == said


def test_a_role_s_rights_are_compared_action_by_action(since: Callable[..., Changes]) -> None:
    found = since(shop(), shop(action="s3:PutObject", service="ec2.amazonaws.com"))
    [rights] = found.rights
    assert rights.who == "role reader"
    assert rights.gains == ("may be assumed by ec2.amazonaws.com", "s3:PutObject on arn:aws:s3:::data")
    assert rights.loses == ("may be assumed by lambda.amazonaws.com", "s3:GetObject on arn:aws:s3:::data")


def test_cost_is_compared_resource_by_resource(since: Callable[..., Changes]) -> None:
    cost = since(shop(keys=1), shop(keys=3)).cost
    assert cost
    assert {name for name, _, _ in cost.items} == {"key-1", "key-2"}
    assert cost.floor_after > cost.floor_before
    assert cost.ceiling_after - cost.ceiling_before == pytest.approx(sum(new - old for _, old, new in cost.items))


def test_who_may_use_a_resource_by_its_own_policy_is_compared(since: Callable[..., Changes]) -> None:
    def opened(principal: Any, **rest: Any) -> Build:
        statement = {"Principal": principal, "Action": ["sqs:SendMessage"], "Resource": "*", **rest}
        return lambda: aws.sqs.Queue("orders", name="orders", policy=allow(**statement)) and None

    found = since(opened({"AWS": "111122223333"}), opened("*"))
    said = {(each.who, each.gains, each.loses) for each in found.rights}
    assert said == {
        ("111122223333", (), ("sqs:SendMessage on *, by the policy of Queue orders",)),
        ("everyone", ("sqs:SendMessage on *, by the policy of Queue orders",), ()),
    }
    conditioned = since(opened("*"), opened("*", Condition={"Bool": {"aws:SecureTransport": "true"}}))
    assert 'if {"Bool": {"aws:SecureTransport": "true"}}' in conditioned.rights[0].gains[0]


def test_a_managed_policy_counts_for_whom_it_is_attached_to(since: Callable[..., Changes]) -> None:
    def attached(action: str) -> Build:
        def build() -> None:
            role = aws.iam.Role("reader", name="reader", assume_role_policy=TRUST)
            policy = aws.iam.Policy("shared", name="shared", policy=allow(Action=action, Resource="*"))
            aws.iam.RolePolicyAttachment("shared", role=role.name, policy_arn=policy.arn)
            aws.iam.RolePolicyAttachment("theirs", role=role.name, policy_arn="arn:aws:iam::aws:policy/ReadOnlyAccess")

        return build

    [rights] = since(attached("sqs:SendMessage"), attached("sqs:*")).rights
    assert (rights.who, rights.gains, rights.loses) == ("role reader", ("sqs:* on *",), ("sqs:SendMessage on *",))


# What the Pulumi CLI exports is not what this engine writes: providers add inputs, and secrets are closed.


def cli_export(path: Path, inputs: dict[str, Any], *more: dict[str, Any]) -> dict[str, Deployed]:
    start = f"urn:pulumi:{STACK}::slipway"
    queue = {
        "urn": f"{start}::aws:sqs/queue:Queue::orders",
        "custom": True,
        "id": "https://sqs.us-east-1.amazonaws.com/123456789012/orders",
        "type": "aws:sqs/queue:Queue",
        "inputs": inputs,
        "outputs": inputs,
    }
    root = {"urn": f"{start}::{STACK_TYPE}::slipway-{STACK}", "custom": False, "type": STACK_TYPE, "outputs": {}}
    keeper = {"type": "service", "state": {"url": "https://api.pulumi.com"}}
    document = {"version": 3, "deployment": {"secrets_providers": keeper, "resources": [root, *more, queue]}}
    path.write_text(json.dumps(document), "utf-8")
    return read_states([path])


TAGS = {"owner": "us"}
SEALED = {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270", "ciphertext": "v1:abc"}


def test_inputs_that_the_official_provider_added_are_no_change(tmp_path: Path) -> None:
    added = {
        "fifoQueue": False,
        "visibilityTimeoutSeconds": 30,
        "__defaults": ["fifoQueue", "visibilityTimeoutSeconds"],
    }
    inputs = {"name": "orders", "tags": TAGS, "tagsAll": TAGS, **added}
    deployed = cli_export(tmp_path / "state.json", inputs)
    [found] = changes([settings(lambda: aws.sqs.Queue("orders", name="orders") and None, STACK)], deployed, engine)
    assert found.changed == ()


def test_a_generated_name_stays(tmp_path: Path) -> None:
    inputs = {"name": "orders-1234567", "tags": TAGS, "tagsAll": TAGS, "__defaults": ["name"]}
    deployed = cli_export(tmp_path / "state.json", inputs)
    [found] = changes([settings(lambda: aws.sqs.Queue("orders") and None, STACK)], deployed, engine)
    assert found.changed == ()


def test_a_closed_secret_may_have_changed_and_that_is_said(tmp_path: Path) -> None:
    inputs = {"name": "orders", "policy": SEALED, "tags": TAGS, "tagsAll": TAGS, "__defaults": []}
    deployed = cli_export(tmp_path / "state.json", inputs)
    program = settings(lambda: aws.sqs.Queue("orders", name="orders", policy=allow(Action="*")) and None, STACK)
    [found] = changes([program], deployed, engine)
    assert not only(found, "orders").sure
    assert found.not_known == ("whether these change, for all that differs is secret or known only after `up`: orders",)


def test_what_another_stack_exports_is_as_it_was_read_last(tmp_path: Path) -> None:
    key = "arn:aws:kms:us-east-1:123456789012:key/real"
    name = "organization/slipway/base-local"
    reference = {
        "urn": f"urn:pulumi:{STACK}::slipway::pulumi:pulumi:StackReference::{name}",
        "custom": True,
        "external": True,
        "id": name,
        "type": "pulumi:pulumi:StackReference",
        "outputs": {"name": name, "outputs": {"key_arn": key}, "secretOutputNames": []},
    }
    inputs = {"name": "orders", "kmsMasterKeyId": key, "tags": TAGS, "tagsAll": TAGS, "__defaults": []}
    deployed = cli_export(tmp_path / "state.json", inputs, reference)

    def program() -> None:
        base = pulumi.StackReference(name)
        aws.sqs.Queue("orders", name="orders", kms_master_key_id=base.get_output("key_arn"))

    [found] = changes([settings(program, STACK, needs=["base-local"])], deployed, engine)
    assert (found.refused, found.changed) == ("", ())


def test_a_stack_that_nobody_tells_of_is_left_out(tmp_path: Path) -> None:
    assert changes([settings(shop(), STACK)], {}, engine) == []


@pytest.mark.parametrize("words", ["", "[]", "{}", '{"deployment": {"resources": []}}'])
def test_what_is_no_state_is_refused_by_name(tmp_path: Path, words: str) -> None:
    (tmp_path / "odd.json").write_text(words, "utf-8")
    with pytest.raises(StateError, match=r"odd\.json: no state of a stack .*pulumi stack export"):
        read_states([tmp_path])
