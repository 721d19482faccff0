"""A check is told to people, to code scanning, to CI and to a pull request, and each of them hears all of it."""

import json
import keyword
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jsonschema
import pulumi_aws
import pytest
from typer.testing import CliRunner

from infra.changes import Changed, Changes, Money
from infra.check import PACKS, Count, Deferred, Excepted, Listed, Report, Violation, rules
from infra.cli import app
from infra.located import declared, settings_of
from infra.reports import FORMATS, MARKER, as_json, junit, markdown, sarif, text
from infra.rights import Rights
from infra.settings import ROOT

KEY = "urn:pulumi:platform-dev::slipway::slipway:index:Alerts$aws:sns/topic:Topic::platform-dev-alerts"
BUCKET = "urn:pulumi:platform-dev::slipway::slipway:index:DataLake$aws:s3/bucket:Bucket::platform-dev-data"
RULE, SECOND, THIRD = (each.name for each in rules()[:3])
PACK = rules()[0].pack


def finding(rule: str, **other: Any) -> dict[str, Any]:
    whole = {
        "stack": "platform-dev",
        "pack": PACK,
        "rule": rule,
        "severity": "high",
        "resource": "platform-dev-alerts",
        "urn": KEY,
        "sentence": "kmsMasterKeyId is not set: set it <now> | @team",
    }
    return {**whole, **other}


ENDS = {"owner": "a-team", "reason": "The vendor cannot.", "ticket": "SEC-1", "expires": "2026-12-01"}
DEFERRED = finding(THIRD, path="policy", resource="platform-dev-data", urn=BUCKET)
REPORT = Report(
    {"platform-dev": 212, "employment-dev": 180},
    (
        Violation(**finding(RULE)),
        Violation(**finding(RULE, sentence="may cost $506 a month", urn="", resource="platform-dev", severity="low")),
    ),
    (Deferred(**{key: value for key, value in DEFERRED.items() if key not in ("severity", "sentence")}),),
    (Excepted(**finding(SECOND), **ENDS, warning="it ends in 10 days"),),
    (
        Listed(SECOND, "aws:sns/topic:Topic::alerts", "", **ENDS, status="used", warning="it ends in 10 days"),
        Listed(THIRD, "gone", "platform-dev", **ENDS, status="unused", warning="no such resource: take it out"),
    ),
    ("policies/exceptions.yaml, entry 3, owner: missing",),
    {PACK: Count(3, 600, 2, 1, 1)},
    1.5,
)
HELD = Report({"platform-dev": 212}, (), (), (), (), (), {PACK: Count(3, 600, 0, 0, 0)}, 1.5)
SEEN = (
    Changes(
        "platform-dev",
        "platform-dev.json",
        changed=(
            Changed("replace", "aws:s3/bucket:Bucket", "data", BUCKET, ("bucket",), ("bucket",), loses="its objects"),
            Changed("delete", "aws:sqs/queue:Queue", "orders", "urn", (), (), stops="what is sent through it"),
        ),
        cost=Money(100, 90, 150, 160, 200, 450.5, (("gpus", 0, 250.5),)),
        rights=(Rights("role reader", ("s3:* on *",), ("s3:GetObject on arn:aws:s3:::data/*",)),),
        not_known=("whether the chart changes",),
    ),
    Changes("employment-dev", "employment-dev.json", refused="data is protected"),
)


@pytest.mark.parametrize("name", FORMATS)
def test_every_report_has_every_finding_and_every_exception(name: str) -> None:
    said = FORMATS[name](REPORT, SEEN)
    plain = said.replace("\\\\_", "_").replace("\\_", "_")
    for words in ("kmsMasterKeyId is not set", "may cost $506 a month", "policy", "entry 3, owner: missing"):
        assert words in plain
    for words in (RULE, SECOND, THIRD, "no such resource", "it ends in 10 days", *ENDS.values()):
        assert words in plain


def test_the_text_counts_what_is_deferred_and_says_what_changes() -> None:
    said = text(REPORT, SEEN)
    assert "1 deferred, because only a deployment will know; `up` decides them:" in said
    assert "1 excepted, by 2 entries of policies/exceptions.yaml:" in said
    assert "1 delete, 1 replace; $90 to $450 a month, $160 as used (-10 at least, +10 as used, +250 at most)" in said
    assert "role reader gains s3:* on *" in said
    assert "would fail: data is protected" in said


def test_the_json_is_the_report() -> None:
    said = json.loads(as_json(REPORT, SEEN))
    assert said["ok"] is False
    assert [each["rule"] for each in said["excepted"]] == [SECOND]
    assert said["changes"][0]["cost"]["ceiling_after"] == 450.5


# SARIF: what code scanning demands of a file, https://docs.github.com/en/code-security (SARIF support) and OASIS's
# standard. The standard's own schema is not shipped by any package here; this is the part of it that is used.

TEXT = {"type": "object", "required": ["text"], "properties": {"text": {"type": "string", "minLength": 1}}}
PHYSICAL = {
    "type": "object",
    "required": ["artifactLocation"],
    "properties": {
        "artifactLocation": {
            "required": ["uri"],
            "properties": {"uri": {"pattern": r"^[\w./-]+$"}, "uriBaseId": {"const": "%SRCROOT%"}},
        },
        "region": {"required": ["startLine"], "properties": {"startLine": {"type": "integer", "minimum": 1}}},
    },
}
RESULT = {
    "type": "object",
    "required": ["ruleId", "ruleIndex", "message", "locations", "partialFingerprints"],
    "properties": {
        "level": {"enum": ["none", "note", "warning", "error"]},
        "kind": {"enum": ["fail", "open"]},
        "message": TEXT,
        "locations": {"minItems": 1, "items": {"properties": {"physicalLocation": PHYSICAL}}},
        "partialFingerprints": {"minProperties": 1, "additionalProperties": {"type": "string"}},
        "suppressions": {
            "items": {
                "required": ["kind"],
                "properties": {"kind": {"enum": ["inSource", "external"]}, "status": {"const": "accepted"}},
            }
        },
    },
}
RULE_SCHEMA = {
    "type": "object",
    "required": ["id", "shortDescription", "fullDescription", "help", "defaultConfiguration", "properties"],
    "properties": {
        "shortDescription": TEXT,
        "fullDescription": TEXT,
        "help": {**TEXT, "required": ["text", "markdown"]},
        "defaultConfiguration": {"properties": {"level": {"enum": ["note", "warning", "error"]}}},
        "properties": {
            "required": ["tags", "security-severity"],
            "properties": {
                "tags": {"type": "array", "uniqueItems": True, "items": {"type": "string"}},
                "security-severity": {"pattern": r"^(10|\d)\.\d$"},
            },
        },
    },
}
DRIVER = {"required": ["name", "rules"], "properties": {"rules": {"type": "array", "items": RULE_SCHEMA}}}
RUN = {
    "required": ["tool", "results", "columnKind"],
    "properties": {
        "tool": {"required": ["driver"], "properties": {"driver": DRIVER}},
        "results": {"type": "array", "items": RESULT},
    },
}
SARIF = {
    "type": "object",
    "required": ["$schema", "version", "runs"],
    "properties": {"version": {"const": "2.1.0"}, "runs": {"type": "array", "minItems": 1, "items": RUN}},
}


def run_of(report: Report) -> dict[str, Any]:
    document = json.loads(sarif(report))
    jsonschema.validate(document, SARIF)
    [run] = document["runs"]
    return dict(run)


def test_code_scanning_takes_the_sarif() -> None:
    run = run_of(REPORT)
    known = run["tool"]["driver"]["rules"]
    assert len(known) == len(rules())
    for each in run["results"]:
        assert known[each["ruleIndex"]]["id"] == each["ruleId"]
        assert each.get("kind", "fail") == "fail" or each["level"] == "none"  # the standard's §3.27.10
    prints = [each["partialFingerprints"]["slipway/v1"] for each in run["results"]]
    assert len(set(prints)) == len(prints)


def test_sarif_says_how_bad_it_is_and_what_it_implements() -> None:
    for rule, said in zip(rules(), run_of(HELD)["tool"]["driver"]["rules"], strict=True):
        score = float(said["properties"]["security-severity"])
        shown = "critical" if score > 9 else "high" if score >= 7 else "medium" if score >= 4 else "low"
        assert rule.severity == shown
        assert {*rule.published} <= {*said["properties"]["tags"]}
        assert rule.fix in said["help"]["markdown"]


def test_sarif_points_at_the_line_that_makes_the_resource_and_at_its_yaml() -> None:
    results = run_of(REPORT)["results"]
    topic = next(each for each in results if "kmsMasterKeyId" in each["message"]["text"])
    where = topic["locations"][0]["physicalLocation"]
    line = (ROOT / where["artifactLocation"]["uri"]).read_text().splitlines()[where["region"]["startLine"] - 1]
    assert "aws.sns.Topic(" in line
    assert topic["locations"][0]["logicalLocations"][0]["fullyQualifiedName"] == KEY
    beside = topic["relatedLocations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    assert beside == "stacks/Pulumi.platform-dev.yaml"
    whole = next(each for each in results if "may cost" in each["message"]["text"])
    assert whole["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == beside


def test_sarif_suppresses_what_is_excepted_and_leaves_open_what_is_deferred() -> None:
    results = run_of(REPORT)["results"]
    [suppressed] = [each for each in results if "suppressions" in each]
    assert suppressed["ruleId"] == SECOND
    assert "The vendor cannot." in suppressed["suppressions"][0]["justification"]
    [open_] = [each for each in results if each.get("kind") == "open"]
    assert open_["ruleId"] == THIRD


def test_a_finding_stays_the_same_when_only_its_dollars_move() -> None:
    def prints(sentence: str) -> list[str]:
        report = Report({}, (Violation(**finding(RULE, sentence=sentence)),), (), (), (), (), {}, 0)
        return [each["partialFingerprints"]["slipway/v1"] for each in run_of(report)["results"]]

    assert prints("may cost $506 a month") == prints("may cost $1,507.50 a month")
    assert prints("may cost $506 a month") != prints("has no budget")


@pytest.mark.parametrize(
    ("urn", "line"),
    [
        (KEY, "aws.sns.Topic("),
        (BUCKET, "aws.s3.Bucket("),
        ("urn:pulumi:a::slipway::slipway:index:Alerts::x", "class Alerts("),
    ],
)
def test_a_resource_is_found_in_the_component_that_makes_it(urn: str, line: str) -> None:
    place = declared(urn)
    assert place
    assert line in (ROOT / place.path).read_text().splitlines()[place.line - 1]


def test_what_nobody_knows_is_nowhere() -> None:
    assert declared("urn:pulumi:a::slipway::aws:s3/bucket:Bucket::x") is None
    assert declared("x") is None
    assert settings_of("no-such-stack") is None


# JUnit.


def test_junit_has_a_suite_for_each_stack_and_pack_and_a_case_for_each_rule() -> None:
    root = ElementTree.fromstring(junit(REPORT))
    suites = {each.get("name"): each for each in root}
    assert {*suites} == {f"platform-dev/{PACK}", f"employment-dev/{PACK}", "policies/exceptions.yaml"}
    cases = {each.get("name"): each for each in suites[f"platform-dev/{PACK}"]}
    assert {*cases} == {each.name for each in PACKS[PACK]}
    assert [each.tag for each in cases[RULE]] == ["failure"]
    assert (cases[SECOND][0].tag, cases[SECOND][0].get("message")) == ("skipped", "excepted")
    assert (cases[THIRD][0].tag, cases[THIRD][0].get("message")) == ("skipped", "deferred to `up`")
    for each in [root, *root]:
        assert int(each.get("tests", "")) == len(each.findall(".//testcase"))
        assert int(each.get("failures", "")) == len(each.findall(".//failure"))
        assert int(each.get("skipped", "")) == len(each.findall(".//skipped"))


def test_junit_survives_what_xml_cannot_hold() -> None:
    odd = Violation(**finding(RULE, stack="a-dev", sentence="\x00<&\ud800"))
    root = ElementTree.fromstring(junit(Report({"a-dev": 1}, (odd,), (), (), (), (), HELD.packs, 0)))
    assert "?<&?" in ElementTree.tostring(root, "unicode", method="text")


# Markdown.


def test_the_markdown_says_cost_risk_and_permissions_first() -> None:
    said = markdown(REPORT, SEEN)
    assert said.startswith(f"{MARKER}\n## ❌ 3 violations\n")
    assert "| platform-dev | platform-dev.json | 1 delete, 1 replace | $90 (-10) | $160 (+10) | $450 (+250) |" in said
    for words in (
        "**loses data**: platform-dev: data (aws:s3/bucket:Bucket): its objects",
        "**goes down**: platform-dev: orders (aws:sqs/queue:Queue): what is sent through it",
        "**replaced**: platform-dev: data (aws:s3/bucket:Bucket): because of bucket",
        "**deleted**: platform-dev: orders",
        "platform-dev: gpus $250 (+250) a month at most",
        "role reader **gains** s3:\\* on \\*",
        "role reader **loses** s3:GetObject",
        "**employment-dev would fail**: data is protected",
        "whether the chart changes",
    ):
        assert words in said
    sections = re.findall(r"^### (\w+)", said, re.MULTILINE)
    assert sections == ["What", "Risk", "Cost", "Permissions", "Not", "Violations", "Exceptions", "Deferred"]


def test_a_sentence_neither_formats_the_comment_nor_calls_anybody() -> None:
    said = markdown(REPORT)
    assert "set it &lt;now> \\| &#64;team" in said


def test_a_long_report_fits_into_a_comment() -> None:
    many = tuple(Violation(**finding(RULE, sentence=f"{number} " + "long " * 30)) for number in range(2000))
    said = markdown(Report({"platform-dev": 1}, many, (), (), (), (), {}, 0))
    assert len(said) < 65_536
    assert "and 1960 more" in said


def test_all_is_well_when_all_is_well() -> None:
    assert "✅ Every policy holds" in markdown(HELD)
    assert run_of(HELD)["results"] == []
    assert 'failures="0"' in junit(HELD)


# The rules themselves.


def test_every_rule_says_what_must_hold_and_how_to_mend_it() -> None:
    names = [each.name for each in rules()]
    assert len(names) == len(set(names))
    for each in rules():
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", each.name)
        assert each.must.endswith(".") and each.severity in ("low", "medium", "high", "critical"), each.name
        assert each.fix.endswith("."), each.name


def test_every_type_that_a_rule_looks_at_exists() -> None:
    types = {each for rule in rules() for each in rule.types if each.startswith("aws:")}
    assert len(types) > 50
    for type_ in types:
        _, module, kind = type_.split(":")
        folder, _, name = module.partition("/")
        package = Path(pulumi_aws.__file__).parent / (f"{folder}_" if keyword.iskeyword(folder) else folder)
        snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
        sources = [package / f"{snake}.py", *package.glob(f"{snake}*.py"), *package.glob("*.py")]
        assert kind and any(f"'{type_}'" in each.read_text("utf-8") for each in sources if each.exists()), type_


def test_the_command_lists_the_rules() -> None:
    listed = json.loads(CliRunner().invoke(app, ["rules", "--json"]).stdout)
    assert [each["name"] for each in listed] == [each.name for each in rules()]
    shown = CliRunner().invoke(app, ["rules"]).stdout
    assert f"{PACK}/{RULE} (" in shown and "    to mend it: " in shown and "    implements: " in shown
