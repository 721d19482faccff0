"""A plan is told so that a reader can say yes or no: what is lost, what stops, what it costs, who may do more."""

import json
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import botocore.session
import pulumi
import pulumi_aws as aws
import pytest
import yaml
from judging import allow, document
from pretend_cloud import Build, settings
from typer.testing import CliRunner

from infra import cli
from infra.changes import Deployed, Reviewed, read_states, review, reviewed
from infra.plan_text import PATIENCE, markdown, patience, text
from infra.rehearsal.aws import AwsProvider
from infra.rehearsal.engine import Engine
from infra.rehearsal.kubernetes import KubernetesProvider
from infra.rehearsal.state import State, StateStore, exported
from infra.settings import STACK_FOLDER, load

STACK = "shop-local"
TRUST = allow(Principal={"Service": "lambda.amazonaws.com"}, Action="sts:AssumeRole")
ACCOUNT = "123456789012"


def engine(work: Path, store: StateStore | None = None) -> Engine:
    def provider(its: Any) -> AwsProvider:
        return AwsProvider(its.region, its.account_id, its.tags, None)

    def cluster(its: Any) -> KubernetesProvider:
        return KubernetesProvider(work)

    return Engine(work, {"aws": provider, "kubernetes": cluster}, state=store, refresh=False)


class Shop(pulumi.ComponentResource):
    """A component of the stack."""

    def __init__(self, name: str, build: Callable[[pulumi.ResourceOptions], None], kind: str = "FeatureStore") -> None:
        super().__init__(f"slipway:index:{kind}", name)
        build(pulumi.ResourceOptions(parent=self))


@pytest.fixture
def told(tmp_path: Path) -> Callable[..., str]:
    """What is told of the change from a first program to a second one; of the first deployment where there is one."""

    def told(first: Build | None, second: Build, **options: Any) -> str:
        planning = engine(tmp_path)
        if first is None:
            return "\n".join(text([review(settings(second, STACK), planning, State(), "")], **options))
        planning.plan(settings(first, STACK))
        path = tmp_path / f"{STACK}.json"
        path.write_text(json.dumps(exported(planning.planned(STACK))), "utf-8")
        return "\n".join(text(reviewed([settings(second, STACK)], read_states([path]), engine), **options))

    return told


def queue(name: str = "orders", **inputs: Any) -> Build:
    return lambda: aws.sqs.Queue(name, name=name, **inputs) and None


def test_nothing_is_said_of_nothing(told: Callable[..., str]) -> None:
    assert told(queue(), queue()).splitlines() == [
        f"{STACK}: nothing changes; costs what it did",
        f"  compared with {STACK}.json",
    ]


def test_the_first_deployment_is_told_as_such(told: Callable[..., str]) -> None:
    lines = told(None, queue()).splitlines()
    assert lines[:7] == [
        f"{STACK}: makes 1; costs $0 a month as used",
        "  as if nothing existed, for no rehearsal of it runs",
        "",
        "  Made  (1 component)",
        "    + The stack itself: 1 queue",
        "",
        "  Cost a month  (within the budget of $10)",
    ]
    assert re.fullmatch(r"    \$0\.\d\d as used, \$\d\.\d\d at most: queue orders \(requests .*\)", lines[8])


def test_a_value_is_told_as_it_is_and_as_it_becomes(told: Callable[..., str]) -> None:
    said = told(queue(visibility_timeout_seconds=30), queue(visibility_timeout_seconds=60))
    assert f"{STACK}: changes 1; nothing goes down; costs what it did; nobody may do more" in said
    assert "~ queue orders: visibilityTimeoutSeconds 30 → 60" in said


def test_what_is_deleted_is_lost_and_stops_and_comes_first(told: Callable[..., str]) -> None:
    def before() -> None:
        Shop(
            "keeper",
            lambda inside: aws.cloudwatch.LogGroup("log", name="log", retention_in_days=7, opts=inside) and None,
        )
        Shop("taker", lambda inside: aws.sqs.Queue("orders", name="orders", opts=inside) and None, "KillSwitch")

    def after() -> None:
        Shop(
            "keeper",
            lambda inside: aws.cloudwatch.LogGroup("log", name="log", retention_in_days=30, opts=inside) and None,
        )
        Shop("taker", lambda inside: None, "KillSwitch")

    lines = told(before, after).splitlines()
    assert "LOSES the messages in it of queue orders; STOPS what is sent through it" in lines[0]
    titles = [line.strip() for line in lines if re.match(r"  [A-Z]", line)]
    assert titles[:2] == ["Kill switch taker  (deletes 1)", "Feature store keeper  (changes 1)"]
    at = lines.index("    - queue orders is deleted")
    assert [line.strip() for line in lines[at + 1 : at + 3]] == [
        "lost: the messages in it",
        "stops: what is sent through it",
    ]


def test_a_replacement_says_why_and_for_how_long(told: Callable[..., str]) -> None:
    def group(instance: str) -> Build:
        return lambda: (
            aws.eks.NodeGroup(
                "gpus",
                node_group_name="gpus",
                cluster_name="main",
                node_role_arn="arn:aws:iam::123456789012:role/node",
                subnet_ids=["subnet-1"],
                instance_types=[instance],
                scaling_config={"desired_size": 1, "max_size": 1, "min_size": 1},
            )
            and None
        )

    said = told(group("g5.xlarge"), group("g6.xlarge"))
    assert "replaces 1; loses no data; STOPS the pods on its nodes" in said
    assert "± node group gpus is made anew, because AWS cannot change in place: instanceTypes" in said
    assert "stops: the pods on its nodes, until the new one is there, for 60 minutes at most" in said


@pytest.mark.parametrize("type_", PATIENCE)
def test_how_long_is_what_aws_s_own_tools_wait(type_: str) -> None:
    service, waiters = PATIENCE[type_]
    known = botocore.session.get_session().get_waiter_model(service).waiter_names
    assert set(waiters) <= set(known)
    assert patience(type_) >= 60
    assert patience("aws:sqs/queue:Queue") == 0


def test_what_changes_everywhere_is_told_once(told: Callable[..., str]) -> None:
    def tagged(owner: str) -> Build:
        def build() -> None:
            for component in ("a", "b"):
                Shop(component, lambda inside, component=component: queues(component, inside, owner), "Endpoint")

        return build

    def queues(component: str, inside: pulumi.ResourceOptions, owner: str) -> None:
        for number in range(3):
            name = f"{component}-{number}"
            aws.sqs.Queue(name, name=name, tags={"who": owner}, opts=inside)

    said = told(tagged("us"), tagged("them"))
    assert "Throughout the stack" in said
    assert "~ tags.who us → them, in 6 resources" in said
    assert said.count("tags.who") == 1


def test_equal_changes_in_one_component_are_one_line(told: Callable[..., str]) -> None:
    def queues(delay: int) -> Build:
        return lambda: [aws.sqs.Queue(n, name=n, delay_seconds=delay) for n in ("a", "b", "c", "d")] and None

    assert "~ 4 queues (a, b, c and 1 more): delaySeconds 1 → 5" in told(queues(1), queues(5))
    assert "~ 4 queues (a, b, c, d): delaySeconds 1 → 5" in told(queues(1), queues(5), full=True)


def test_code_that_was_deployed_from_another_machine_is_only_compared(told: Callable[..., str], tmp_path: Path) -> None:
    """A state names the files that code was made of, and they may be gone."""

    def function(folder: str, text: str) -> Build:
        def build() -> None:
            (tmp_path / folder).mkdir(exist_ok=True)
            (tmp_path / folder / "app.py").write_text(text, "utf-8")
            archive = pulumi.FileArchive(str(tmp_path / folder))
            role = f"arn:aws:iam::{ACCOUNT}:role/f"
            aws.lambda_.Function("f", name="f", role=role, runtime="python3.12", handler="app.handler", code=archive)

        return build

    def elsewhere() -> None:
        function("now", "now = 1")()
        shutil.rmtree(tmp_path / "then", ignore_errors=True)

    assert "~ function f: its code" in told(function("then", "then = 1"), elsewhere)


def test_a_document_is_told_by_what_differs_in_it(told: Callable[..., str]) -> None:
    def machine(seconds: int) -> Build:
        states = {"Wait": {"Type": "Wait", "Seconds": seconds, "End": True}}
        definition = json.dumps({"StartAt": "Wait", "States": states})
        return lambda: (
            aws.sfn.StateMachine("m", name="m", role_arn="arn:aws:iam::123456789012:role/m", definition=definition)
            and None
        )

    assert "definition.States.Wait.Seconds 5 → 10" in told(machine(5), machine(10))


def test_a_secret_is_never_told(told: Callable[..., str]) -> None:
    def variable(value: str) -> Build:
        return lambda: aws.sqs.Queue("orders", name="orders", tags={"token": pulumi.Output.secret(value)}) and None

    for options in ({}, {"full": True}):
        said = told(variable("hunter2"), variable("correct-horse"), **options)
        assert "hunter2" not in said and "correct-horse" not in said


# --- who may do more --------------------------------------------------------------------------------------------------


def role(*statements: Mapping[str, Any], trust: str = TRUST) -> Build:
    def build() -> None:
        one = aws.iam.Role("reader", name="reader", assume_role_policy=trust)
        aws.iam.RolePolicy("reader", role=one.name, policy=document(*statements))

    return build


GET = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::data/*"}
PUT = {"Effect": "Allow", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::data/*"}
ALL = {"Effect": "Allow", "Action": "s3:*", "Resource": "arn:aws:s3:::data/*"}
NEVER = {"Effect": "Deny", "Action": "s3:DeleteObject", "Resource": "*"}
IF_OURS = {**GET, "Condition": {"StringEquals": {"aws:PrincipalOrgID": "o-1"}}}


def test_a_new_right_is_told_with_who_has_it(told: Callable[..., str]) -> None:
    said = told(role(GET), role(GET, PUT))
    assert "1 may do more: role reader" in said
    assert "role reader: s3:PutObject on arn:aws:s3:::data/*" in said


@pytest.mark.parametrize(
    ("before", "after"),
    [([ALL], [GET]), ([GET, PUT], [GET]), ([GET], [GET, NEVER]), ([GET], [IF_OURS])],
    ids=["narrower", "fewer", "refused", "conditioned"],
)
def test_less_is_not_told_as_more(told: Callable[..., str], before: list[Any], after: list[Any]) -> None:
    said = told(role(*before), role(*after))
    assert "nobody may do more" in said and "Who may do more" not in said


def test_what_is_no_longer_refused_is_more(told: Callable[..., str]) -> None:
    assert "is no longer refused s3:DeleteObject" in told(role(GET, NEVER), role(GET))


def test_a_dropped_condition_is_more(told: Callable[..., str]) -> None:
    assert "1 may do more: role reader" in told(role(IF_OURS), role(GET))


def test_who_comes_in_from_outside_is_in_the_first_line(told: Callable[..., str]) -> None:
    outside = allow(Principal={"AWS": "arn:aws:iam::999988887777:root"}, Action="sts:AssumeRole")
    inside = allow(Principal={"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, Action="sts:AssumeRole")
    first = told(role(GET), role(GET, trust=outside)).splitlines()[0]
    assert "others than this account and AWS's services come in: role reader" in first
    assert "come in" not in told(role(GET), role(GET, trust=inside)).splitlines()[0]
    assert "come in" in told(None, role(GET, trust=outside)).splitlines()[0]


def test_what_is_unsafe_in_markdown_is_escaped(tmp_path: Path) -> None:
    def build() -> None:
        aws.sqs.Queue("a*b", name="orders", tags={"x": "<b>@team</b>"})

    [line] = [
        line
        for line in markdown([review(settings(build, STACK), engine(tmp_path), State(), "")], full=True)
        if line.startswith("- +")
    ]
    assert line == r"- + queue a\*b"


# --- stacks as they are, with another YAML ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Deployed]]:
    """What two stacks come to, as `slipway plan --export` writes it."""
    folder = tmp_path_factory.mktemp("states")
    planning = engine(folder)
    for stack in ("platform-dev", "employment-dev"):
        planning.plan(load(stack))
        (folder / f"{stack}.json").write_text(json.dumps(exported(planning.planned(stack))), "utf-8")
    return folder, read_states([folder])


def said_in(stack: str) -> dict[str, Any]:
    """What a stack's YAML says under `slipway:settings`."""
    text = (STACK_FOLDER / f"Pulumi.{stack}.yaml").read_text("utf-8")
    found: dict[str, Any] = yaml.safe_load(text)["config"]["slipway:settings"]
    return found


def with_yaml(deployed: Mapping[str, Deployed], stack: str, **overrides: Any) -> list[Reviewed]:
    return reviewed([load(stack, overrides)], deployed, engine)


def test_a_product_whose_yaml_changes(deployed: tuple[Path, dict[str, Deployed]]) -> None:
    endpoint = {**said_in("employment-dev")["endpoint"], "max_instances": 4, "log_days": 7}
    reviews = with_yaml(
        deployed[1], "employment-dev", endpoint=endpoint, api={"clients": {"web": {"rate": 5, "burst": 5}}}
    )
    lines = list(text(reviews))
    assert re.match(
        r"employment-dev: makes \d+, changes \d+, replaces \d+; loses no data; nothing goes down; "
        r"mind that log events older than it are deleted; "
        r"costs \$[\d,]+ more a month as used, \$[\d,]+ more at most; \d+ may do more: ",
        lines[0],
    )
    said = "\n".join(lines)
    assert "\n  Endpoint  (changes 2, replaces 1)\n" in said
    assert "MaxInstanceCount 2 → 4" in said
    assert "everyone: execute-api:Invoke" in said  # the API answers the internet; its authorizer asks for a token
    assert "log events older than it are deleted" in said
    assert "+ Prediction API: 4 metric alarms" in said
    assert "Cost a month  (OVER the budget of $400)" in said and lines[0].endswith("; OVER its budget")
    assert len(lines) < 60  # short enough to be read
    full = list(text(reviews, full=True))
    assert len(full) > 2 * len(lines)
    assert list(text(reviews)) == lines  # and always the same
    as_markdown = "\n".join(markdown(reviews))
    assert as_markdown.startswith("## employment-dev\n\n**makes ")
    assert "### Endpoint (changes 2, replaces 1)" in as_markdown


def test_a_platform_whose_network_moves_loses_what_is_in_it(deployed: tuple[Path, dict[str, Deployed]]) -> None:
    said_now = said_in("platform-dev")
    moved = {**said_now["network"], "cidr": "10.99.0.0/16"}
    said = "\n".join(
        text(with_yaml(deployed[1], "platform-dev", network=moved, cluster={**said_now["cluster"], "protect": False}))
    )
    summary = said.partition("\n")[0]
    assert "replaces " in summary and "STOPS everything in the subnet" in summary
    assert "cidrBlock 10.20.0.0/16 → 10.99.0.0/16" in said


def test_the_command_compares_with_a_state_and_says_what_would_fail(deployed: tuple[Path, dict[str, Deployed]]) -> None:
    folder, _ = deployed
    run = CliRunner().invoke(cli.app, ["plan", "platform-dev", "--since", str(folder)])
    assert run.exit_code == 0
    assert run.stdout.startswith("platform-dev: nothing changes; costs what it did")
    as_json = CliRunner().invoke(cli.app, ["plan", "platform-dev", "--since", str(folder), "--json"])
    found = json.loads(as_json.stdout)["platform-dev"]
    assert found["changes"]["changed"] == [] and {step["op"] for step in found["steps"]} <= {"same", "read"}
