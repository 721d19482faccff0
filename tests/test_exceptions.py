"""Exceptions to rules hold for one rule and one resource, until a day, and never in silence."""

import json
import os
import shutil
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path
from typing import Any, cast

import grpc
import pytest
import yaml
from judging import resource
from pulumi.runtime import proto
from pulumi.runtime.proto import analyzer_pb2_grpc
from pulumi_policy import Severity

import infra.check as checking
from infra.check import Report, analyze, check
from infra.rehearsal.engine import Plan, Resource
from infra.reports import text
from infra.settings import Settings
from infra.stack import Stack
from policies.exceptions import FILE, Exceptions, read, today
from policies.rules import UNKNOWN, Control, Props, Unknown, control_policy

TODAY = date(2026, 11, 21)
QUEUE = "aws:sqs/queue:Queue"
CONFIG = {"aws:region": "us-east-1", "slipway:usd_per_month": "100"}
SETTINGS = Settings("test", "dev", "us-east-1", "123456789012", 100.0, {}, cast(Stack, None), CONFIG)


def fair(_: str, inputs: Props) -> Any:
    if inputs.get("fifo") == UNKNOWN:
        yield Unknown("fifo")
    elif not inputs.get("fifo"):
        yield "fifo is not set: set it"


def crowded(resources: Any) -> Any:
    if len(resources) > 1:
        yield None, f"there are {len(resources)} of them: leave one"


def broken(_: str, inputs: Props) -> Any:
    raise KeyError("depth")


CONTROLS = [
    Control("queue-fair", "Queues keep order.", Severity.LOW, (), "Set fifo.", rule=fair, types=frozenset({QUEUE})),
    Control("few-queues", "There are few queues.", Severity.LOW, (), "Leave some out.", stack_rule=crowded),
    Control(
        "queue-kept", "Queues stay.", Severity.LOW, (), "Keep it.", rule=fair, types=frozenset({QUEUE}), always=True
    ),
    Control("queue-deep", "Queues are deep.", Severity.LOW, (), "Deepen it.", rule=broken),
]


@pytest.fixture(autouse=True)
def pack(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the controls that a test names, so that real rules say nothing."""
    use(monkeypatch, "queue-fair")


def use(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    chosen = [each for each in CONTROLS if each.name in names]
    monkeypatch.setattr(checking, "PACKS", {"queues": [control_policy(each) for each in chosen]})
    monkeypatch.setattr(checking, "CONTROLS", {each.name: each for each in chosen})
    checking._about.cache_clear()
    monkeypatch.setattr(checking, "stack_names", lambda: ["test"])


def entry(**other: Any) -> dict[str, Any]:
    whole = {
        "rule": "queue-fair",
        "resource": f"{QUEUE}::it",
        "owner": "a-team",
        "reason": "The vendor cannot.",
        "ticket": "SEC-1",
        "expires": TODAY + timedelta(days=30),
    }
    return {key: value for key, value in {**whole, **other}.items() if value is not None}


def listed(tmp_path: Path, *entries: Any, on: date = TODAY) -> Exceptions:
    path = tmp_path / "exceptions.yaml"
    path.write_text(yaml.safe_dump(list(entries)), "utf-8")
    return read(path, on)


def report_on(exceptions: Exceptions, *resources: Resource) -> Report:
    return check([(SETTINGS, Plan("test", resources or (resource(QUEUE),), (), {}))], exceptions)


def test_the_repository_s_own_file_is_in_order() -> None:
    assert read(FILE, today()).faults == ()


@pytest.mark.parametrize(
    "form",
    [
        {"resource": f"urn:pulumi:test::slipway::{QUEUE}::it"},
        {"resource": f"{QUEUE}::it"},
        {"resource": f"{QUEUE}::it", "stack": "test"},
        {"resource": "it", "stack": "test"},
    ],
)
def test_an_exception_names_a_resource_exactly(tmp_path: Path, form: dict[str, str]) -> None:
    report = report_on(listed(tmp_path, entry(**form)), resource(QUEUE), resource(QUEUE, "other"))
    assert [each.resource for each in report.violations] == ["other"]
    [excepted] = report.excepted
    assert (excepted.resource, excepted.sentence) == ("it", "fifo is not set: set it")
    assert (excepted.owner, excepted.ticket, excepted.expires) == ("a-team", "SEC-1", "2026-12-21")


@pytest.mark.parametrize(
    "form",
    [
        {"resource": f"urn:pulumi:other::slipway::{QUEUE}::it"},
        {"resource": f"{QUEUE}::i"},
        {"resource": "aws:sns/topic:Topic::it"},
        {"resource": f"{QUEUE}::it", "stack": "other"},
        {"resource": "it", "stack": "tes"},
    ],
)
def test_an_exception_for_something_else_excepts_nothing(tmp_path: Path, form: dict[str, str]) -> None:
    report = report_on(listed(tmp_path, entry(**form)))
    assert len(report.violations) == 1
    assert report.excepted == ()


def test_a_rule_about_the_whole_stack_is_excepted_by_the_stack_s_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, "few-queues")
    two = resource(QUEUE), resource(QUEUE, "other")
    assert len(report_on(listed(tmp_path), *two).violations) == 1
    report = report_on(listed(tmp_path, entry(rule="few-queues", resource="test", stack="test")), *two)
    assert (report.violations, [each.resource for each in report.excepted]) == ((), ["test"])


def test_the_last_day_counts_and_the_next_does_not(tmp_path: Path) -> None:
    one = entry(expires=TODAY)
    [excepted] = report_on(listed(tmp_path, one)).excepted
    assert excepted.warning.startswith("it ends today")
    report = report_on(listed(tmp_path, one, on=TODAY + timedelta(days=1)))
    [violation] = report.violations
    assert "SEC-1 of a-team, has expired on 2026-11-21" in violation.sentence
    assert [(each.status, each.warning) for each in report.exceptions] == [
        ("expired", "expired 1 day ago: it excepts nothing any more")
    ]


@pytest.mark.parametrize(("days", "warned"), [(14, True), (15, False)])
def test_the_end_is_warned_of_two_weeks_ahead(tmp_path: Path, days: int, warned: bool) -> None:
    report = report_on(listed(tmp_path, entry(expires=TODAY + timedelta(days=days))))
    assert report.ok
    assert bool(report.exceptions[0].warning) == warned
    assert ("warning: it ends in" in text(report)) == warned


@pytest.mark.parametrize(
    ("form", "why"),
    [
        ({"resource": f"{QUEUE}::gone", "stack": "test"}, "no such resource in test"),
        ({"resource": f"{QUEUE}::gone"}, "no such resource in test"),
        ({"resource": f"{QUEUE}::good"}, "the rule has nothing against it"),
    ],
)
def test_one_that_nothing_needs_is_warned_of(tmp_path: Path, form: dict[str, str], why: str) -> None:
    report = report_on(listed(tmp_path, entry(**form)), resource(QUEUE, "good", fifo=True))
    assert report.ok
    assert [each.status for each in report.exceptions] == ["unused"]
    assert why in report.exceptions[0].warning
    assert why in text(report)


def test_one_for_a_stack_that_is_not_checked_is_shown_without_a_warning(tmp_path: Path) -> None:
    report = report_on(listed(tmp_path, entry(stack="other")), resource(QUEUE, fifo=True))
    assert [(each.status, each.warning) for each in report.exceptions] == [("not checked", "")]


def test_one_for_what_is_not_known_yet_is_not_called_unused(tmp_path: Path) -> None:
    report = report_on(listed(tmp_path, entry()), resource(QUEUE, fifo=UNKNOWN))
    assert [each.status for each in report.exceptions] == ["undecided"]
    assert len(report.deferred) == 1


@pytest.mark.parametrize(
    ("other", "key"),
    [
        ({"expires": TODAY + timedelta(days=91)}, "expires: 2027-02-20 is more than 90 days ahead; set 2027-02-19"),
        ({"expires": "soon"}, "expires: "),
        ({"expires": 20261221}, "expires: write a day"),
        ({"expires": None}, "expires: missing"),
        ({"owner": " "}, "owner: "),
        ({"reason": None}, "reason: missing"),
        ({"until": "2026-12-01"}, "until: there is no such key"),
        ({"resource": "it"}, "stack: missing; a name alone"),
        ({"resource": "aws:*", "stack": "test"}, "there are no patterns"),
        ({"resource": "urn:pulumi:test"}, "resource: no URN"),
        ({"resource": f"urn:pulumi:test::slipway::{QUEUE}::it", "stack": "dev"}, "stack: 'dev', but the URN"),
    ],
)
def test_a_malformed_one_excepts_nothing_and_file_and_key_are_named(
    tmp_path: Path, other: dict[str, Any], key: str
) -> None:
    report = report_on(listed(tmp_path, entry(**other), entry(resource="else", stack="test")))
    assert not report.ok
    assert len(report.violations) == 1
    assert "policies/exceptions.yaml, entry 1 (queue-fair)" in " ".join(report.faults)
    assert key in " ".join(report.faults)
    assert report.faults[0] in text(report)


@pytest.mark.parametrize(("words", "fault"), [("{a: 1}", "write a list"), ("[", "cannot be read"), ("- 3", "entry 1")])
def test_a_file_that_is_no_list_of_entries_fails(tmp_path: Path, words: str, fault: str) -> None:
    (tmp_path / "exceptions.yaml").write_text(words, "utf-8")
    report = report_on(read(tmp_path / "exceptions.yaml", TODAY), resource(QUEUE, fifo=True))
    assert not report.ok and fault in report.faults[0]


def test_some_rules_are_never_excepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, "queue-kept")
    report = report_on(listed(tmp_path, entry(rule="queue-kept")))
    assert len(report.violations) == 1
    assert "no exception is ever made to queue-kept" in report.faults[0]


def test_a_rule_that_there_is_not_is_named(tmp_path: Path) -> None:
    [fault] = report_on(listed(tmp_path, entry(rule="queue-fare")), resource(QUEUE, fifo=True)).faults
    assert "there is no rule 'queue-fare'" in fault


def test_a_rule_that_breaks_is_a_finding_whatever_is_excepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, "queue-deep")
    [violation] = report_on(listed(tmp_path, entry(rule="queue-deep"))).violations
    assert "this rule could not read it (KeyError: 'depth')" in violation.sentence


def test_a_deployment_hears_nothing_of_what_is_excepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert analyze(SETTINGS)(resource(QUEUE)) == ["fifo is not set: set it [queues/queue-fair]"]
    monkeypatch.setattr(checking, "read", lambda *_: listed(tmp_path, entry()))
    assert analyze(SETTINGS)(resource(QUEUE)) == []


# The same under Pulumi, which starts a pack as a process of its own and asks it over gRPC.

PACK = """
from pulumi_policy import EnforcementLevel, PolicyPack, Severity

from policies.rules import Control, control_policy, exception_policies


def fair(_, inputs):
    if not inputs.get("fifo"):
        yield "fifo is not set: set it"


def few(resources):
    if len(resources) > 1:
        yield resources[0], "leave one"


CONTROLS = [
    Control("queue-fair", "Queues keep order.", Severity.LOW, (), "Set fifo.", rule=fair),
    Control("few-queues", "There are few.", Severity.LOW, (), "Leave some out.", stack_rule=few),
    Control("queue-kept", "Queues stay.", Severity.LOW, (), "Keep it.", rule=fair, always=True),
]
PolicyPack(
    "queues", [*map(control_policy, CONTROLS), *exception_policies(CONTROLS)], EnforcementLevel.MANDATORY
)
"""
Said = list[tuple[str, str, int]]
"""The policy, its message without the policy's description, and the enforcement level."""


def asked(tmp_path: Path, *entries: dict[str, Any]) -> tuple[Said, Said]:
    """What a pack of these controls says of two queues, one by one and as a stack."""
    policies = tmp_path / "policies"
    policies.mkdir()
    for name in ("__init__.py", "rules.py", "exceptions.py"):
        shutil.copy(FILE.with_name(name), policies)
    (policies / "exceptions.yaml").write_text(yaml.safe_dump(list(entries)), "utf-8")
    (tmp_path / "queues.py").write_text(PACK, "utf-8")
    process = subprocess.Popen(
        [sys.executable, "-u", "queues.py"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path), "PULUMI_CONFIG": json.dumps(CONFIG)},
    )
    try:
        assert process.stdout is not None
        with grpc.insecure_channel(f"127.0.0.1:{int(process.stdout.readline())}") as channel:
            stub = analyzer_pb2_grpc.AnalyzerStub(channel)
            two = [resource(QUEUE), resource(QUEUE, "other")]
            ones = [
                each
                for one in two
                for each in stub.Analyze(proto.AnalyzeRequest(type=one.type, urn=one.urn, name=one.name)).diagnostics
            ]
            declared = [proto.AnalyzerResource(type=one.type, urn=one.urn, name=one.name) for one in two]
            all_of = stub.AnalyzeStack(proto.AnalyzeStackRequest(resources=declared)).diagnostics
    finally:
        process.kill()
        process.wait()

    def said(diagnostics: Any) -> Said:
        return [(each.policyName, each.message.partition("\n")[2], each.enforcementLevel) for each in diagnostics]

    return said(ones), said(all_of)


MANDATORY, ADVISORY = proto.analyzer_pb2.MANDATORY, proto.analyzer_pb2.ADVISORY


def test_pulumi_is_told_of_what_is_excepted_and_refuses_nothing_for_it(tmp_path: Path) -> None:
    ends = today() + timedelta(days=9)
    ones, all_of = asked(
        tmp_path,
        entry(expires=ends),
        entry(rule="few-queues", expires=ends + timedelta(days=30)),
        entry(resource="gone", stack="test", expires=ends),
        entry(rule="another-pack-s", expires=ends),
        entry(stack="elsewhere", expires=ends),
    )
    assert [each for each in ones if each[0] == "queue-fair"] == [("queue-fair", "fifo is not set: set it", MANDATORY)]
    assert {each[0] for each in all_of} == {"exceptions"}
    assert {each[2] for each in all_of} == {ADVISORY}
    by_day, later, unused = [each[1] for each in all_of]
    assert by_day.startswith(f"excepted from queue-fair (SEC-1, a-team, until {ends}: The vendor cannot.): fifo is not")
    assert "it ends in" in by_day and "it ends in" not in later
    assert later.startswith("excepted from few-queues")
    assert unused.startswith("unused: queue-fair, gone") and "no such resource in test" in unused


def test_pulumi_refuses_what_has_expired_and_what_is_no_exception(tmp_path: Path) -> None:
    yesterday = today() - timedelta(days=1)
    ones, all_of = asked(
        tmp_path,
        entry(expires=yesterday),
        entry(rule="queue-kept", expires=today()),
        entry(owner=None),
    )
    first = next(each for each in ones if each[0] == "queue-fair")
    assert f"SEC-1 of a-team, has expired on {yesterday}" in first[1]
    assert sum(each[0] == "queue-kept" for each in ones) == 2
    refused = [each for each in all_of if each[0] == "exceptions-are-whole"]
    assert {each[2] for each in refused} == {MANDATORY}
    assert "entry 3 (queue-fair), owner: missing" in refused[0][1]
    assert "no exception is ever made to queue-kept" in refused[1][1]
