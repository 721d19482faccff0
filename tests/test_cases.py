"""Every case of the public suites is judged as the suites judge it, or policies/DISAGREEMENTS.md says why not."""

import csv
import json
import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from judging import Verdict, judge, judge_stack, resource
from pulumi.runtime.config import set_all_config
from pulumi_policy import StackValidationPolicy

from infra.check import PACKS
from infra.settings import ROOT
from policies import reliability

CASES = Path(__file__).with_name("cases")
TAGS = {"environment": "prod", "owner": "a-team", "project": "slipway", "cost-center": "1", "managed-by": "pulumi"}
CONFIG = {
    "aws:region": "us-east-1",
    "aws:defaultTags": json.dumps({"tags": TAGS}),
    "slipway:usd_per_month": "1000000",
}
"""Cases are judged as parts of a stack that serves customers: what is asked there only is asked of them."""

JUDGED = date(2026, 11, 21)
"""The day of the suites' verdicts: what AWS supports changes."""

Case = dict[str, Any]


def read(name: str) -> list[Case]:
    return [json.loads(line) for line in (CASES / name).read_text("utf-8").splitlines()]


def table(heading: str) -> list[dict[str, str]]:
    """The rows of the table under a heading of policies/DISAGREEMENTS.md, by the names of its columns."""
    text = (ROOT / "policies" / "DISAGREEMENTS.md").read_text("utf-8")
    [section] = re.findall(rf"^## {heading}\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
    lines = [line.strip().strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    columns, _, *rows = [[cell.strip().strip("`") for cell in line] for line in lines]
    return [dict(zip(columns, row, strict=True)) for row in rows]


POLICIES = {policy.name: policy for policies in PACKS.values() for policy in policies}
RESOURCES = read("resources.jsonl")
STACKS = read("stacks.jsonl")
ROWS = {row["case"]: row for row in table("Cases")}
LEFT_OUT = {row["control"]: row["why"] for row in table("Left out")}
IN_STACKS = {
    f"{each['id']}/{name}": (each, name, expected)
    for each in STACKS
    for expected in ("pass", "fail")
    for name in each[f"expect_{expected}"]
}
"""For each resource of a stack's case that has to pass or to fail: the case, the resource's name and what is expected
of it."""


@pytest.fixture(autouse=True)
def production(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(reliability, "today", lambda: JUDGED)
    set_all_config(CONFIG)
    yield
    set_all_config({})


def judged_by(case: Case) -> str | None:
    """The control that decides a case: its own, or the one that its own is a part of."""
    names = (case["control"], case.get("part_of"))
    return next((name for name in names if name in POLICIES), None)


def verdict_on(rule: str, case: Case) -> Verdict:
    if isinstance(POLICIES[rule], StackValidationPolicy):
        return judge_stack(rule, resource(case["type"], **case["props"]))
    return judge(rule, case["type"], case["props"])


def said(verdict: Verdict) -> str:
    """`pass`, `fail`, or what else the rule made of a case."""
    if any("this rule could not read it" in sentence for sentence in verdict.sentences):
        return f"crash: {verdict.sentences}"
    if verdict.sentences:
        return "fail"
    return f"not decided: {verdict.unknown}" if verdict.unknown else "pass"


def agrees(case: str, expected: str, verdict: Verdict) -> None:
    """The verdict is the suite's; or it is the opposite, and a row of the table says why."""
    row = ROWS.get(case)
    if row is None:
        assert said(verdict) == expected, "\n".join(verdict.sentences) or "no sentence"
        return
    assert row["expected"] == expected, "the row in policies/DISAGREEMENTS.md says that the suite expects another"
    opposite = {"pass": "fail", "fail": "pass"}[expected]
    assert said(verdict) == opposite, "remove the row from policies/DISAGREEMENTS.md: the control agrees by now"


@pytest.mark.parametrize(
    "case",
    [pytest.param(each, id=f"{each['control']}-{each['id']}") for each in RESOURCES if each["control"] not in LEFT_OUT],
)
def test_a_resource_is_judged_as_in_the_suites(case: Case) -> None:
    rule = judged_by(case)
    assert rule, f"no control is named {case['control']}: add it, or a row to `Left out` in policies/DISAGREEMENTS.md"
    agrees(case["id"], case["expect"], verdict_on(rule, case))


@pytest.mark.parametrize(
    ("case", "name", "expected"),
    [pytest.param(*each, id=f"{each[0]['check']}-{each[1]}") for each in IN_STACKS.values()],
)
def test_a_stack_is_judged_as_in_the_suites(case: Case, name: str, expected: str) -> None:
    rules = [each for each in POLICIES.values() if case["check"] in re.findall(r"\w+", " ".join(each.tags or ()))]
    assert rules, f"no control says that it implements {case['check']}"
    types = {each["name"]: each["type"] for each in case["resources"]}
    resources = [
        resource(
            each["type"],
            each["name"],
            uses={
                key: [f"{types[one]}::{one}" for one in used if one in types]
                for key, used in each["propertyDependencies"].items()
            },
            **each["props"],
        )
        for each in case["resources"]
    ]
    [about] = [each for each in resources if each.name == name]
    total = Verdict()
    for rule in rules:
        if isinstance(rule, StackValidationPolicy):
            verdict = judge_stack(rule.name, *resources)
            here = [
                sentence for sentence, urn in zip(verdict.sentences, verdict.about, strict=True) if urn == about.urn
            ]
        else:
            verdict = judge(rule.name, about.type, about.inputs)
            here = verdict.sentences
        total.sentences += here
        total.unknown += verdict.unknown
    agrees(f"{case['id']}/{name}", expected, total)


def test_every_row_names_a_case_and_its_control() -> None:
    controls = {each["id"]: each["control"] for each in RESOURCES} | {
        name: case["check"] for name, (case, _, _) in IN_STACKS.items()
    }
    assert [row for row in ROWS.values() if controls.get(row["case"]) != row["control"] or not row["why"]] == []
    assert len(ROWS) == len(table("Cases")), "a case has two rows"


def test_every_control_of_the_catalogue_is_there_or_is_left_out_for_a_reason() -> None:
    with (CASES / "catalogue.csv").open(encoding="utf-8") as file:
        catalogue = {row["control"]: row["core"] == "yes" for row in csv.DictReader(file)}
    decided = {name for each in RESOURCES for name in (each["control"], each.get("part_of")) if name}
    assert [name for name in catalogue if name not in POLICIES and name not in LEFT_OUT] == []
    assert [name for name in LEFT_OUT if name in POLICIES] == [], "implemented by now"
    assert [name for name in LEFT_OUT if catalogue.get(name)] == [], "core controls are not left out"
    assert LEFT_OUT.keys() <= catalogue.keys() | decided | {each["check"] for each in STACKS}
    assert all(LEFT_OUT.values())
