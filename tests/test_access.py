"""Which rights a call takes, whether policies grant them, and what the evidence then says of a role."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.access import Call, Evidence, Explanation, Role, explanations, recorded, suggest, weigh
from infra.needs import NAMED_OTHERWISE, OF_A_VERSION, Need, details, needs
from infra.permissions import Caller, Decision, Policies, actions_like, decide, glob, judge
from policies.documents import parse

ACCOUNT, REGION = "123456789012", "us-east-1"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/reader"
KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/1"
CALLER = Caller(ROLE, ACCOUNT)


def taken(service: str, operation: str, **parameters: Any) -> list[tuple[str, str]]:
    return [(each.action, each.resource) for each in needs(service, operation, parameters, REGION, ACCOUNT)]


def statement(action: str | list[str], resource: str | list[str] = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


def policies(*statements: Mapping[str, Any], boundary: Sequence[Mapping[str, Any]] | None = None) -> Policies:
    within = parse({"Statement": list(boundary)}) if boundary is not None else None
    return Policies([("inline", each) for each in parse({"Statement": list(statements)})], within)


def decided(need: Need, own: Policies, resource: Sequence[Mapping[str, Any]] = (), caller: Caller = CALLER) -> Decision:
    document = parse({"Statement": list(resource)}) if resource else None
    return decide(need, caller, own, lambda _: document)


# --- what a call takes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("service", "operation", "parameters", "expected"),
    [
        ("s3", "ListObjectsV2", {"Bucket": "b"}, [("s3:ListBucket", "arn:aws:s3:::b")]),
        ("s3", "HeadObject", {"Bucket": "b", "Key": "k/l"}, [("s3:GetObject", "arn:aws:s3:::b/k/l")]),
        (
            "s3",
            "GetObject",
            {"Bucket": "b", "Key": "k", "VersionId": "1"},
            [("s3:GetObjectVersion", "arn:aws:s3:::b/k")],
        ),
        (
            "s3",
            "CopyObject",
            {"Bucket": "b", "Key": "k", "CopySource": "from/there"},
            [("s3:GetObject", "arn:aws:s3:::from/there"), ("s3:PutObject", "arn:aws:s3:::b/k")],
        ),
        (
            "s3",
            "PutObject",
            {"Bucket": "b", "Key": "k", "Tagging": "a=b"},
            [("s3:PutObject", "arn:aws:s3:::b/k"), ("s3:PutObjectTagging", "arn:aws:s3:::b/k")],
        ),
        (
            "lambda",
            "Invoke",
            {"FunctionName": "f"},
            [("lambda:InvokeFunction", f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:f")],
        ),
        (
            "sagemaker-runtime",
            "InvokeEndpoint",
            {"EndpointName": "e"},
            [("sagemaker:InvokeEndpoint", f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:endpoint/e")],
        ),
        (
            "stepfunctions",
            "StartExecution",
            {"stateMachineArn": f"arn:aws:states:{REGION}:{ACCOUNT}:stateMachine:m"},
            [("states:StartExecution", f"arn:aws:states:{REGION}:{ACCOUNT}:stateMachine:m")],
        ),
        (
            "sqs",
            "SendMessage",
            {"QueueUrl": f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/q"},
            [("sqs:SendMessage", f"arn:aws:sqs:{REGION}:{ACCOUNT}:q")],
        ),
        (
            "ecr",
            "BatchGetImage",
            {"registryId": "683313688378", "repositoryName": "r"},
            [("ecr:BatchGetImage", f"arn:aws:ecr:{REGION}:683313688378:repository/r")],
        ),
        (
            "logs",
            "CreateLogStream",
            {"logGroupName": "/g", "logStreamName": "s"},
            [("logs:CreateLogStream", f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/g:log-stream:s")],
        ),
        ("cloudwatch", "DescribeAlarms", {}, [("cloudwatch:DescribeAlarms", "*")]),
        ("sts", "GetCallerIdentity", {}, []),
    ],
)
def test_an_operation_takes_the_actions_that_aws_asks_for(
    service: str, operation: str, parameters: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    assert taken(service, operation, **parameters) == expected


def test_every_action_of_the_tables_exists() -> None:
    named = {action for actions in NAMED_OTHERWISE.values() for action in actions} | set(OF_A_VERSION.values())
    assert {each for each in named if details(each) is None} == set()


def test_an_operation_with_a_name_of_its_own_needs_no_row_in_the_table() -> None:
    superfluous = {own for own, actions in NAMED_OTHERWISE.items() if actions and details(own)}
    assert superfluous == set()


def test_who_hands_a_role_to_a_service_must_be_let_and_so_must_who_tags() -> None:
    found = needs(
        "sagemaker",
        "CreateTrainingJob",
        {
            "TrainingJobName": "t",
            "RoleArn": ROLE,
            "ResourceConfig": {"InstanceType": "ml.m5.large"},
            "OutputDataConfig": {"KmsKeyId": KEY},
            "EnableNetworkIsolation": True,
            "Tags": [{"Key": "owner", "Value": "a"}],
        },
        REGION,
        ACCOUNT,
    )
    job = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:training-job/t"
    assert [(each.action, each.resource) for each in found] == [
        ("sagemaker:CreateTrainingJob", job),
        ("sagemaker:AddTags", job),
        ("iam:PassRole", ROLE),
    ]
    assert found[0].context["sagemaker:networkisolation"] == ("true",)
    assert found[0].context["sagemaker:outputkmskeyarn"] == (KEY,)
    assert found[0].context["aws:requesttag/owner"] == ("a",)
    assert found[1].context["sagemaker:taggingaction"] == ("CreateTrainingJob",)
    assert found[2].context == {"iam:passedtoservice": ("sagemaker.amazonaws.com",)}


def test_a_wildcard_stands_for_the_actions_that_there_are() -> None:
    assert "s3:GetObject" in actions_like("s3:Get*")
    assert all(each.startswith("s3:Get") for each in actions_like("s3:Get*"))
    assert actions_like("*") == ("*",)


# --- whether it is granted --------------------------------------------------------------------------------------------

READ = Need("s3:GetObject", "arn:aws:s3:::b/k")


def test_what_a_statement_allows_is_granted_and_nothing_else() -> None:
    own = policies(statement("s3:Get*", "arn:aws:s3:::b/*"))
    assert decided(READ, own).granted
    assert not decided(Need("s3:PutObject", "arn:aws:s3:::b/k"), own).granted
    elsewhere = decided(Need("s3:GetObject", "arn:aws:s3:::c/k"), own)
    assert not elsewhere.granted
    assert "arn:aws:s3:::b/*" in elsewhere.why


@pytest.mark.parametrize("where", ["own", "resource", "boundary"])
def test_a_deny_wins_wherever_it_stands(where: str) -> None:
    allow = statement("s3:*")
    deny = {**statement("s3:GetObject"), "Effect": "Deny"}
    own = policies(allow, *([deny] if where == "own" else []), boundary=[allow, deny] if where == "boundary" else None)
    resource = [{**deny, "Principal": "*"}] if where == "resource" else []
    found = decided(READ, own, resource)
    assert not found.granted
    assert "deny" in found.why


def test_a_boundary_grants_nothing_and_limits_everything() -> None:
    assert not decided(READ, policies(boundary=[statement("s3:*")])).granted
    assert not decided(READ, policies(statement("s3:*"), boundary=[statement("sqs:*")])).granted
    assert decided(READ, policies(statement("s3:*"), boundary=[statement("s3:Get*")])).granted


def test_the_policy_of_the_resource_may_grant_it_to_the_role_but_not_to_the_account() -> None:
    def says(principal: str) -> list[dict[str, Any]]:
        return [statement("s3:GetObject", Principal={"AWS": principal})]

    assert decided(READ, policies(), says(ROLE)).granted
    assert not decided(READ, policies(), says(f"arn:aws:iam::{ACCOUNT}:root")).granted


def test_a_key_is_used_by_policy_only_where_its_own_policy_leaves_it_to_the_account() -> None:
    need = Need("kms:Decrypt", KEY, {"kms:viaservice": (f"s3.{REGION}.amazonaws.com",)})
    own = policies(statement("kms:Decrypt", KEY))
    assert decided(need, own, [statement("kms:*", Principal={"AWS": f"arn:aws:iam::{ACCOUNT}:root"})]).granted
    found = decided(need, own, [statement("kms:*", Principal={"AWS": f"arn:aws:iam::{ACCOUNT}:role/other"})])
    assert not found.granted
    assert "neither" in found.why


def test_a_service_needs_a_statement_in_the_policy_of_what_it_uses() -> None:
    topic = f"arn:aws:sns:{REGION}:{ACCOUNT}:t"
    need, service = Need("sns:Publish", topic), Caller("cloudwatch.amazonaws.com", ACCOUNT)
    here = {"StringEquals": {"aws:SourceAccount": ACCOUNT}}
    allow = statement("sns:Publish", topic, Principal={"Service": service.name}, Condition=here)
    assert decided(need, policies(), [allow], service).granted
    assert not decided(need, policies(), [{**allow, "Principal": {"Service": "events.amazonaws.com"}}], service).granted
    assert not decided(need, policies(), [], service).granted


def test_a_condition_on_what_the_action_never_sends_grants_nothing_and_is_named() -> None:
    need = Need("sagemaker:CreateModel", "*", {"sagemaker:networkisolation": ("true",)})
    sent = policies(statement("sagemaker:CreateModel", Condition={"Bool": {"sagemaker:NetworkIsolation": "true"}}))
    never = policies(statement("sagemaker:CreateModel", Condition={"StringEquals": {"sagemaker:InstanceTypes": "a"}}))
    assert decided(need, sent).granted
    found = decided(need, never)
    assert not found.granted
    assert "never sends sagemaker:InstanceTypes" in found.why


def test_a_condition_that_no_request_tells_of_is_taken_to_hold_and_stated() -> None:
    found = decided(READ, policies(statement("s3:*", Condition={"StringEquals": {"aws:SourceVpce": "vpce-1"}})))
    assert found.granted
    assert found.assumed == ("StringEquals aws:SourceVpce",)


@pytest.mark.parametrize(
    ("operator", "wanted", "value", "expected"),
    [
        ("StringEquals", ["a", "b"], ["b"], True),
        ("StringEquals", ["a"], ["A"], False),
        ("StringEqualsIgnoreCase", ["a"], ["A"], True),
        ("StringEquals", ["a"], [], False),
        ("StringEqualsIfExists", ["a"], [], True),
        ("StringNotEquals", ["a"], [], True),
        ("StringNotEquals", ["a", "b"], ["b"], False),
        ("StringLike", ["x/*"], ["x/y/z"], True),
        ("ArnLike", ["arn:aws:s3:::b*"], ["arn:aws:s3:::bucket"], True),
        ("ArnEquals", ["arn:aws:sns:*:1:t"], ["arn:aws:sns:here:2:t"], False),
        ("Bool", ["true"], ["true"], True),
        ("Null", ["true"], [], True),
        ("Null", ["false"], [], False),
        ("NumericLessThanEquals", ["10"], ["10"], True),
        ("NumericLessThan", ["10"], ["many"], False),
        ("ForAllValues:StringEquals", ["a", "b"], ["a"], True),
        ("ForAllValues:StringEquals", ["a"], ["a", "c"], False),
        ("ForAllValues:StringEquals", ["a"], [], True),
        ("ForAnyValue:StringEquals", ["a"], ["c", "a"], True),
        ("ForAnyValue:StringEquals", ["a"], [], False),
        ("IpAddress", ["10.0.0.0/8"], ["10.1.1.1"], None),
        ("StringEquals", ["${aws:PrincipalTag/team}"], ["a"], None),
    ],
)
def test_a_condition_is_judged_as_aws_does(
    operator: str, wanted: list[str], value: list[str], expected: bool | None
) -> None:
    assert judge(operator, wanted, value) is expected


@given(st.text("ab*?:/[]$", max_size=12), st.text("ab:/[]", max_size=12))
def test_a_pattern_matches_what_iam_says_it_does(pattern: str, text: str) -> None:
    def matches(p: str, t: str) -> bool:
        if not p:
            return not t
        if p[0] == "*":
            return matches(p[1:], t) or (bool(t) and matches(p, t[1:]))
        return bool(t) and (p[0] == "?" or p[0] == t[0]) and matches(p[1:], t[1:])

    assert bool(glob(pattern).fullmatch(text)) == matches(pattern, text)


NAMES = st.sampled_from(["s3:GetObject", "s3:PutObject", "s3:Get*", "s3:*", "sqs:SendMessage", "*"])
PLACES = st.sampled_from(["*", "arn:aws:s3:::b/*", "arn:aws:s3:::b/k", "arn:aws:s3:::c/*"])
STATEMENTS = st.lists(st.builds(statement, st.lists(NAMES, min_size=1), st.lists(PLACES, min_size=1)), max_size=4)
NEEDS = st.builds(
    Need,
    st.sampled_from(["s3:GetObject", "s3:PutObject", "sqs:SendMessage"]),
    st.sampled_from(["arn:aws:s3:::b/k", "arn:aws:s3:::c/d", "arn:aws:sqs:r:1:q"]),
)


@settings(deadline=None)  # the first example reads the reference
@given(STATEMENTS, st.lists(NEEDS, max_size=4))
def test_the_suggested_policy_grants_all_that_was_used_and_leaves_nothing_unused(
    own: list[dict[str, Any]], used: list[Need]
) -> None:
    def evidence(statements: Sequence[Mapping[str, Any]]) -> Evidence:
        role = Role("reader", ROLE, "a-stack", policies(*statements))
        calls = [Call(ROLE, "s3", "Something", (need,)) for need in used]
        return weigh([role], calls, lambda _: None, [], ACCOUNT)

    [first] = evidence(own).findings
    assert len(first.used) + len(first.unused) == first.granted
    [second] = evidence(first.suggested).findings
    assert (second.missing, second.unused) == ((), ())


# --- the evidence -----------------------------------------------------------------------------------------------------


def explained(**more: Any) -> Explanation:
    whole = {"roles": ["reader"], "actions": ["s3:PutObject"], "when": "on failure", "why": "writes what went wrong"}
    return Explanation.model_validate({**whole, **more})


def weighed(*own: Mapping[str, Any], used: Sequence[Need] = (), reasons: Sequence[Explanation] = ()) -> Evidence:
    calls = [Call(ROLE, "s3", "GetObject", tuple(used))]
    return weigh([Role("reader", ROLE, "a-stack", policies(*own))], calls, lambda _: None, reasons, ACCOUNT)


def test_what_is_granted_and_never_used_is_told_action_by_action_and_resource_by_resource() -> None:
    found = weighed(statement(["s3:GetObject", "s3:PutObject"], ["arn:aws:s3:::b/*", "arn:aws:s3:::c/*"]), used=[READ])
    assert [(each.grant.action, each.grant.resource) for _, each in found.unexplained] == [
        ("s3:GetObject", "arn:aws:s3:::c/*"),
        ("s3:PutObject", "arn:aws:s3:::b/*"),
        ("s3:PutObject", "arn:aws:s3:::c/*"),
    ]
    assert found.missing == []


def test_what_is_used_and_not_granted_is_told_with_what_keeps_it() -> None:
    found = weighed(statement("s3:GetObject", "arn:aws:s3:::c/*"), used=[READ])
    [(name, missing)] = found.missing
    assert (name, missing.need, missing.calls) == ("reader", READ, 1)
    assert "arn:aws:s3:::c/*" in missing.why


def test_an_operation_that_iam_does_not_know_counts_as_not_granted() -> None:
    [(_, missing)] = weighed(statement("*"), used=[Need("s3:Levitate", "*")]).missing
    assert "IAM has no action" in missing.why


def test_an_explanation_holds_for_its_role_action_and_resource_alone() -> None:
    write = statement("s3:PutObject", "arn:aws:s3:::b/*")
    assert weighed(write, reasons=[explained()]).unexplained == []
    assert weighed(write, reasons=[explained(roles=["writer"])]).unexplained != []
    assert weighed(write, reasons=[explained(actions=["s3:Get*"])]).unexplained != []
    assert weighed(write, reasons=[explained(resources=["arn:aws:s3:::c/*"])]).unexplained != []


def test_an_explanation_may_be_of_a_key_used_through_one_service() -> None:
    through = statement("kms:Decrypt", KEY, Condition={"StringEquals": {"kms:ViaService": "sqs.here.amazonaws.com"}})
    reason = explained(actions=["kms:Decrypt"], via="sqs")
    assert weighed(through, reasons=[reason]).unexplained == []
    assert weighed(statement("kms:Decrypt", KEY), reasons=[reason]).unexplained != []


def test_an_explanation_of_what_nobody_is_granted_any_more_is_stale() -> None:
    kept, gone = explained(), explained(actions=["s3:DeleteObject"])
    assert weighed(statement("s3:PutObject"), reasons=[kept, gone]).stale == (gone,)


def test_a_service_is_told_of_only_where_something_is_missing() -> None:
    call = Call(
        "events.amazonaws.com", "lambda", "Invoke", (Need("lambda:InvokeFunction", "arn:aws:lambda:r:1:function:f"),)
    )
    [found] = weigh([], [call], lambda _: None, [], ACCOUNT).findings
    assert found.name == "events.amazonaws.com"
    assert [each.operation for each in found.missing] == ["Invoke"]
    allow = parse({"Statement": [statement("lambda:InvokeFunction", Principal={"Service": "events.amazonaws.com"})]})
    assert weigh([], [call], lambda _: allow, [], ACCOUNT).findings == ()


def test_a_need_survives_being_written_down(tmp_path: Path) -> None:
    need = Need("s3:ListBucket", "arn:aws:s3:::b", {"s3:prefix": ("x/",)})
    line = {"principal": ROLE, "service": "s3", "action": "ListObjectsV2", "needs": [need.to_dict()]}
    log = tmp_path / "calls.jsonl"
    log.write_text(json.dumps({"principal": ROLE, "service": "s3", "action": "Old"}) + "\n" + json.dumps(line) + "\n")
    assert list(recorded(log)) == [Call(ROLE, "s3", "ListObjectsV2", (need,))]


def test_the_reviewed_explanations_can_be_read_and_name_actions_that_there_are() -> None:
    unknown = {
        action
        for each in explanations()
        for pattern in each.actions
        for action in actions_like(pattern)
        if action != "*" and details(action) is None
    }
    assert unknown == set()


def test_the_suggestion_asks_for_what_is_missing_by_its_exact_name() -> None:
    [found] = suggest([], [READ])
    assert found == {"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": ["arn:aws:s3:::b/k"]}
