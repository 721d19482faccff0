"""What a check found, as people and other programs read it: text, JSON, SARIF, JUnit and Markdown."""

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import metadata
from typing import Any, Final
from xml.etree import ElementTree

from infra.changes import Changed, Changes, combined
from infra.check import Deferred, Excepted, Listed, Report, Rule, Violation, rules
from infra.located import Place, declared, settings_of
from infra.rights import Rights
from policies.exceptions import SHOWN

Seen = Sequence[Changes]
"""What changed about what is deployed, as far as anybody said what that is."""


# --- text -------------------------------------------------------------------------------------------------------------


def text(report: Report, seen: Seen = ()) -> str:
    """For a terminal: what is violated, deferred and excepted, what changes, and a line for each pack."""
    lines = [*_violated(report), *_deferred(report), *_excepted(report), *_changes(seen), *_counted(report)]
    return "\n".join(lines)


def ordered(report: Report) -> list[Violation]:
    """The violations in an order that stays the same."""
    return sorted(report.violations, key=lambda one: (one.stack, one.pack, one.rule, one.resource, one.sentence))


def _violated(report: Report) -> Iterator[str]:
    for each in ordered(report):
        yield f"{each.stack}: {each.resource}: {each.sentence} [{each.pack}/{each.rule}, {each.severity}]"
    yield from report.faults


def _deferred(report: Report) -> Iterator[str]:
    if report.deferred:
        yield f"{len(report.deferred)} deferred, because only a deployment will know; `up` decides them:"
    for each in report.deferred:
        yield f"  {each.stack}: {each.resource}: {each.path} [{each.pack}/{each.rule}]"


def _excepted(report: Report) -> Iterator[str]:
    if report.exceptions:
        yield f"{len(report.excepted)} excepted, by {len(report.exceptions)} entries of {SHOWN}:"
    for each in report.excepted:
        yield f"  {each.stack}: {each.resource}: {each.sentence} [{each.pack}/{each.rule}]"
    for entry in report.exceptions:
        yield f"  {_entry(entry)}"
        if entry.warning:
            yield f"    warning: {entry.warning}"


def _entry(entry: Listed) -> str:
    of_stack = f" of {entry.stack}" if entry.stack else ""
    return (
        f"{entry.status}: {entry.rule} for {entry.resource}{of_stack}, {entry.ticket} of {entry.owner}, "
        f"until {entry.expires}: {entry.reason}"
    )


def _changes(seen: Seen) -> Iterator[str]:
    for each in seen:
        yield f"{each.stack}, since {each.since}:"
        if each.refused:
            yield f"  would fail: {each.refused}"
            continue
        yield f"  {_counts(each)}; {_money(each)}"
        for what, found in combined([each]).items():
            yield from (f"  {what}: {_risk(one, what)}" for one in found)
        for one in each.changed:
            yield from (f"  {one.name}: {note}" for note in one.notes)
        for rights in each.rights:
            yield from (f"  {rights.who} gains {right}" for right in rights.gains)
            yield from (f"  {rights.who} loses {right}" for right in rights.loses)
        yield from (f"  not known: {words}" for words in each.not_known)


def _counts(each: Changes) -> str:
    counts: defaultdict[str, int] = defaultdict(int)
    for one in each.changed:
        counts[one.op] += 1
    return ", ".join(f"{count} {op}" for op, count in sorted(counts.items())) or "nothing changes"


def _money(each: Changes) -> str:
    cost = each.cost
    if cost is None:
        return "cost not known"
    floor, ceiling = cost.floor_after - cost.floor_before, cost.ceiling_after - cost.ceiling_before
    expected = cost.expected_after - cost.expected_before
    a_month = f"${cost.floor_after:,.0f} to ${cost.ceiling_after:,.0f} a month, ${cost.expected_after:,.0f} as used"
    return f"{a_month} ({floor:+,.0f} at least, {expected:+,.0f} as used, {ceiling:+,.0f} at most)"


def _risk(one: Changed, what: str) -> str:
    why = {"loses data": one.loses, "goes down": one.stops, "replaced": f"because of {', '.join(one.because)}"}
    return f"{one.name} ({one.type})" + (f": {why[what]}" if why.get(what) else "")


def _counted(report: Report) -> Iterator[str]:
    for pack, count in report.packs.items():
        yield (
            f"{pack}: {count.rules} rules, {count.violations} violations, {count.deferred} deferred, "
            f"{count.excepted} excepted"
        )
    resources = sum(report.stacks.values())
    yield f"{', '.join(report.stacks)}: {resources} resources checked in {report.seconds:.1f} s"


# --- JSON -------------------------------------------------------------------------------------------------------------


def as_json(report: Report, seen: Seen = ()) -> str:
    """Everything, for programs."""
    return json.dumps({**report.to_dict(), "changes": [each.to_dict() for each in seen]}, indent=2)


# --- SARIF ------------------------------------------------------------------------------------------------------------

SARIF_SCHEMA: Final = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
LEVELS: Final = {"critical": "error", "high": "error", "medium": "warning", "low": "note"}
SCORES: Final = {"critical": "9.5", "high": "8.0", "medium": "5.5", "low": "2.0"}
"""What code scanning takes for critical (above 9), high (from 7), medium (from 4) and low."""


def sarif(report: Report, seen: Seen = ()) -> str:
    """For code scanning: SARIF 2.1.0. What is excepted is suppressed, what is deferred is open."""
    known = rules()
    index = {each.name: number for number, each in enumerate(known)}
    results = [_failed(each, index) for each in ordered(report)]
    results += [_suppressed(each, index) for each in report.excepted]
    results += [_open(each, index) for each in report.deferred]
    notes = [_note("error", fault) for fault in report.faults]
    notes += [_note("warning", f"{_entry(each)}: {each.warning}") for each in report.exceptions if each.warning]
    run = {
        "tool": {
            "driver": {
                "name": "slipway",
                "version": metadata.version("slipway"),
                "rules": [_sarif_rule(each) for each in known],
            }
        },
        "automationDetails": {"id": "slipway/"},
        "columnKind": "utf16CodeUnits",
        "invocations": [{"executionSuccessful": True, "toolConfigurationNotifications": notes}],
        "results": results,
    }
    return json.dumps({"$schema": SARIF_SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2)


def _sarif_rule(rule: Rule) -> dict[str, Any]:
    topic = "security" if rule.pack in ("access", "encryption") else rule.pack
    fix = rule.fix or rule.must
    published = "".join(f"\n- {each}" for each in rule.published)
    return {
        "id": rule.name,
        "shortDescription": {"text": rule.must},
        "fullDescription": {"text": rule.must},
        "help": {"text": fix, "markdown": fix + (f"\n\nIt implements:\n{published}" if published else "")},
        "defaultConfiguration": {"level": LEVELS.get(rule.severity, "warning")},
        "properties": {
            "tags": list(dict.fromkeys([topic, f"slipway/{rule.pack}", *rule.published])),
            "security-severity": SCORES.get(rule.severity, "5.5"),
            "precision": "high",
        },
    }


def _note(level: str, words: str) -> dict[str, Any]:
    where = {"physicalLocation": {"artifactLocation": {"uri": SHOWN}}}
    return {"level": level, "message": {"text": words}, "locations": [where]}


def _result(each: Violation | Deferred, words: str, index: Mapping[str, int]) -> dict[str, Any]:
    place, settings = declared(each.urn), _settings(each)
    physical = [_physical(one) for one in (place, settings) if one]
    logical = {"name": each.resource, "fullyQualifiedName": each.urn or each.stack, "kind": "resource"}
    # Numbers in a sentence, such as dollars, move without it being another finding.
    key = "|".join((each.rule, each.urn or each.stack, re.sub(r"[\d,.]+", "#", words)))
    result = {
        "ruleId": each.rule,
        "ruleIndex": index[each.rule],
        "message": {"text": f"{each.resource} of {each.stack}: {words}"},
        "locations": [{**(physical[0] if physical else {}), "logicalLocations": [logical]}],
        "partialFingerprints": {"slipway/v1": hashlib.sha256(key.encode()).hexdigest()},
        "properties": {"stack": each.stack, "pack": each.pack},
    }
    if physical[1:]:
        result["relatedLocations"] = [{"id": 1, **physical[1], "message": {"text": f"the settings of {each.stack}"}}]
    return result


def _settings(each: Violation | Deferred) -> Place | None:
    key = "slipway:usd_per_month" if each.pack == "cost" and not each.urn else "slipway:settings"
    return settings_of(each.stack, key)


def _physical(place: Place) -> dict[str, Any]:
    return {
        "physicalLocation": {
            "artifactLocation": {"uri": place.path, "uriBaseId": "%SRCROOT%"},
            "region": {"startLine": place.line},
        }
    }


def _failed(each: Violation, index: Mapping[str, int]) -> dict[str, Any]:
    return {"level": LEVELS.get(each.severity, "warning"), **_result(each, each.sentence, index)}


def _suppressed(each: Excepted, index: Mapping[str, int]) -> dict[str, Any]:
    why = {
        "kind": "external",
        "status": "accepted",
        "justification": f"{each.ticket}, {each.owner}, until {each.expires}: {each.reason}",
        "properties": {"ticket": each.ticket, "owner": each.owner, "expires": each.expires},
    }
    return {**_failed(each, index), "suppressions": [why]}


def _open(each: Deferred, index: Mapping[str, int]) -> dict[str, Any]:
    words = f"{each.path} is known only after `up`, which decides it"
    return {"kind": "open", "level": "none", **_result(each, words, index)}


# --- JUnit ------------------------------------------------------------------------------------------------------------


def junit(report: Report, seen: Seen = ()) -> str:
    """For CI: a suite for each stack and pack, a case for each rule. What is deferred or excepted is skipped."""
    violated, excepted, deferred = (_grouped(each) for each in (report.violations, report.excepted, report.deferred))
    root = ElementTree.Element("testsuites", name="slipway check", time=f"{report.seconds:.3f}")
    for stack in report.stacks:
        for pack in report.packs:
            suite = ElementTree.SubElement(root, "testsuite", name=f"{stack}/{pack}")
            for rule in (each for each in rules() if each.pack == pack):
                case = ElementTree.SubElement(suite, "testcase", classname=f"{stack}.{pack}", name=rule.name)
                key = stack, rule.name
                if found := violated.get(key):
                    _said(case, "failure", rule.must, [f"{one.resource}: {one.sentence}" for one in found])
                elif found := excepted.get(key):
                    _said(case, "skipped", "excepted", [f"{one.resource}: {_by_whom(one)}" for one in found])
                elif found := deferred.get(key):
                    _said(case, "skipped", "deferred to `up`", [f"{one.resource}: {one.path}" for one in found])
    suite = ElementTree.SubElement(root, "testsuite", name=SHOWN)
    for entry in report.exceptions:
        case = ElementTree.SubElement(suite, "testcase", classname=SHOWN, name=f"{entry.rule} {entry.resource}")
        if entry.status == "expired" or entry.warning:
            ElementTree.SubElement(case, "system-out").text = _clean(entry.warning)
        _said(case, "skipped", entry.status, [_entry(entry)])
    for number, fault in enumerate(report.faults, 1):
        case = ElementTree.SubElement(suite, "testcase", classname=SHOWN, name=f"fault {number}")
        _said(case, "failure", "an exception is not as it must be", [fault])
    for suite in root:
        for name, tag in (("tests", "testcase"), ("failures", "testcase/failure"), ("skipped", "testcase/skipped")):
            suite.set(name, str(len(suite.findall(tag))))
        suite.set("errors", "0")
    for name in ("tests", "failures", "skipped", "errors"):
        root.set(name, str(sum(int(suite.get(name, "0")) for suite in root)))
    ElementTree.indent(root)
    return ElementTree.tostring(root, "unicode", xml_declaration=True) + "\n"


def _grouped(found: Iterable[Any]) -> dict[tuple[str, str], list[Any]]:
    groups: defaultdict[tuple[str, str], list[Any]] = defaultdict(list)
    for each in found:
        groups[each.stack, each.rule].append(each)
    return groups


def _by_whom(each: Excepted) -> str:
    return f"{each.sentence} ({each.ticket}, {each.owner}, until {each.expires}: {each.reason})"


def _said(case: ElementTree.Element, what: str, message: str, lines: Sequence[str]) -> None:
    ElementTree.SubElement(case, what, message=_clean(message)).text = _clean("\n".join(lines))


def _clean(words: str) -> str:
    """Without what XML cannot hold."""
    return re.sub(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "?", words)


# --- Markdown ---------------------------------------------------------------------------------------------------------

MARKER: Final = "<!-- slipway check -->"
"""The first line of the Markdown, by which the next run finds its comment again."""
ROWS: Final = 40
"""Of each kind at most: a comment on GitHub has room for 65,536 characters."""


def markdown(report: Report, seen: Seen = ()) -> str:
    """For a pull request: whether it may go in, and what it changes in cost, in risk and in permissions."""
    return "\n".join([MARKER, *_verdict(report), *_of_changes(seen), *_findings(report)]) + "\n"


def _verdict(report: Report) -> Iterator[str]:
    bad = len(report.violations) + len(report.faults)
    yield "## ✅ Every policy holds" if report.ok else f"## ❌ {bad} violation{'s' * (bad != 1)}"
    yield ""
    yield "| stack | resources | violations | deferred | excepted |"
    yield "|---|--:|--:|--:|--:|"
    for stack, resources in report.stacks.items():
        counts = [
            sum(each.stack == stack for each in found)
            for found in (report.violations, report.deferred, report.excepted)
        ]
        yield f"| {stack} | {resources} | {' | '.join(map(str, counts))} |"
    yield ""


def _of_changes(seen: Seen) -> Iterator[str]:
    if not seen:
        return
    yield "### What changes"
    yield ""
    yield "| stack | since | resources | a month, at least | as used | at most |"
    yield "|---|---|---|--:|--:|--:|"
    for each in seen:
        cost = each.cost
        money = (
            [
                _moved(cost.floor_before, cost.floor_after),
                _moved(cost.expected_before, cost.expected_after),
                _moved(cost.ceiling_before, cost.ceiling_after),
            ]
            if cost
            else ["not known"] * 3
        )
        what = "**would fail**" if each.refused else _counts(each)
        yield f"| {each.stack} | {escaped(each.since)} | {what} | {' | '.join(money)} |"
    yield ""
    for each in seen:
        if each.refused:
            yield f"**{each.stack} would fail**: {escaped(each.refused)}"
            yield ""
    yield from _section("Risk", _risks(seen))
    yield from _section("Cost", _costs(seen))
    yield from _section(
        "Permissions", [line for each in seen for rights in each.rights for line in _right(each, rights)]
    )
    yield from _section("Not known", [f"{each.stack}: {escaped(words)}" for each in seen for words in each.not_known])


def _risks(seen: Seen) -> list[str]:
    lines = [
        f"**{what}**: {each.stack}: {escaped(_risk(one, what))}"
        for each in seen
        for what, found in combined([each]).items()
        for one in found
    ]
    return lines + [
        f"{each.stack}: {escaped(one.name)}: {escaped(note)}"
        for each in seen
        for one in each.changed
        for note in one.notes
    ]


def _costs(seen: Seen) -> list[str]:
    return [
        f"{each.stack}: {escaped(name)} {_moved(old, new)} a month at most"
        for each in seen
        if each.cost
        for name, old, new in each.cost.items
    ]


def _right(each: Changes, rights: Rights) -> Iterator[str]:
    for verb, lines in (("gains", rights.gains), ("loses", rights.loses)):
        yield from (f"{each.stack}: {escaped(rights.who)} **{verb}** {escaped(line)}" for line in lines)


def _moved(before: float, after: float) -> str:
    return f"${after:,.0f}" + (f" ({after - before:+,.0f})" if round(after - before, 2) else "")


def _findings(report: Report) -> Iterator[str]:
    yield from _section(
        "Violations",
        [
            f"**{each.severity}** {each.stack}: {escaped(each.resource)}: {escaped(each.sentence)} "
            f"(`{each.pack}/{each.rule}`)"
            for each in ordered(report)
        ]
        + [escaped(fault) for fault in report.faults],
    )
    yield from _section(
        "Exceptions",
        [escaped(_entry(each)) + (f" ⚠️ {escaped(each.warning)}" if each.warning else "") for each in report.exceptions],
    )
    yield from _section(
        "Deferred: known only after `up`, which decides them",
        [
            f"{each.stack}: {escaped(each.resource)}: {escaped(each.path)} (`{each.pack}/{each.rule}`)"
            for each in report.deferred
        ],
    )
    rules_ = sum(count.rules for count in report.packs.values())
    yield f"{sum(report.stacks.values()):,} resources, {rules_} rules, {report.seconds:.1f} s."


def _section(title: str, lines: Sequence[str]) -> Iterator[str]:
    if lines:
        yield f"### {title} ({len(lines)})"
        yield ""
        yield from (f"- {line}" for line in lines[:ROWS])
        if len(lines) > ROWS:
            yield f"- … and {len(lines) - ROWS} more, all of them in the JSON report"
        yield ""


def escaped(words: str) -> str:
    """Words that a program or a YAML chose, so that they neither format nor call anybody."""
    escaped = re.sub(r"([\\`*_|\[\]~])", r"\\\1", words.replace("&", "&amp;").replace("<", "&lt;"))
    return escaped.replace("@", "&#64;").replace("\n", " ")


FORMATS: Final[Mapping[str, Callable[[Report, Seen], str]]] = {
    "text": text,
    "json": as_json,
    "sarif": sarif,
    "junit": junit,
    "markdown": markdown,
}


def rule_lines(known: Sequence[Rule]) -> Iterator[str]:
    """The rules for a terminal, pack by pack."""
    for rule in known:
        always = ", never excepted" if rule.always else ""
        yield f"{rule.pack}/{rule.name} ({rule.severity}{always}): {rule.must}"
        if rule.fix:
            yield f"    to mend it: {rule.fix}"
        if rule.published:
            yield f"    implements: {', '.join(rule.published)}"
        if rule.types:
            yield f"    looks at: {', '.join(rule.types)}"
