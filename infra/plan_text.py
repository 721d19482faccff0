"""A plan told to whoever has to say yes: what is made, changed, replaced and lost, what stops, the money, the rights.

One line sums up. What follows is grouped by the components that the stack is composed of, the most serious first.
"""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Final

import botocore.session

from infra.changes import Changed, Changes, Cost, Reviewed, Value
from infra.reports import escaped
from infra.rights import TRUST, Rights, together
from policies.rules import UNKNOWN, kind

NAMED: Final = 3
"""Resources that are named where more of their kind are made or changed alike, and rights that are named of each."""
ALIKE: Final = 5
"""Where one change is made to this many resources, it is told once for all of them."""
ROWS: Final = 5
"""Of each list, without `--full`."""
WIDTH: Final = 60
"""Characters of a value that are shown."""
ABBREVIATIONS: Final = frozenset({"Api", "Aws", "Ecr", "Efa", "Eip", "Eks", "Gpu", "Iam", "Kms", "Sns", "Sqs", "Vpc"})
VERBS: Final = {"create": "makes", "update": "changes", "replace": "replaces", "delete": "deletes"}
MARKS: Final = {"create": "+", "update": "~", "replace": "±", "delete": "-"}
PATIENCE: Final[Mapping[str, tuple[str, Sequence[str]]]] = {
    "aws:dynamodb/table:Table": ("dynamodb", ("TableNotExists", "TableExists")),
    "aws:ec2/natGateway:NatGateway": ("ec2", ("NatGatewayDeleted", "NatGatewayAvailable")),
    "aws:ec2/subnet:Subnet": ("ec2", ("SubnetAvailable",)),
    "aws:ec2/vpc:Vpc": ("ec2", ("VpcAvailable",)),
    "aws:eks/addon:Addon": ("eks", ("AddonDeleted", "AddonActive")),
    "aws:eks/cluster:Cluster": ("eks", ("ClusterDeleted", "ClusterActive")),
    "aws:eks/nodeGroup:NodeGroup": ("eks", ("NodegroupDeleted", "NodegroupActive")),
    "aws:lambda/function:Function": ("lambda", ("FunctionActiveV2",)),
    "aws:sagemaker/endpoint:Endpoint": ("sagemaker", ("EndpointDeleted", "EndpointInService")),
}
"""What AWS's own tools wait for until the old one is gone and the new one is there."""


@dataclass(frozen=True)
class Section:
    """Some lines about one thing."""

    title: str
    lines: tuple[str, ...]
    note: str = ""
    """What stands beside the title."""


@dataclass(frozen=True)
class Told:
    """What there is to say about one stack."""

    summary: str
    against: str
    """What it is compared with."""
    sections: tuple[Section, ...]


def text(reviews: Iterable[Reviewed], *, full: bool = False) -> Iterator[str]:
    """Lines for a terminal; with `full` every resource, every value and every right."""
    for number, each in enumerate(reviews):
        told = tell(each, full=full)
        yield from [""] if number else []
        yield told.summary
        yield f"  {told.against}"
        for section in told.sections:
            yield ""
            yield f"  {section.title}" + (f"  ({section.note})" if section.note else "")
            yield from (f"    {line}" for line in section.lines)


def markdown(reviews: Iterable[Reviewed], *, full: bool = False) -> Iterator[str]:
    """The same for a pull request."""
    for each in reviews:
        told = tell(each, full=full)
        stack, _, rest = told.summary.partition(": ")
        yield from (f"## {escaped(stack)}", "", f"**{escaped(rest)}**", "", escaped(told.against), "")
        for section in told.sections:
            note = f" ({escaped(section.note)})" if section.note else ""
            yield from (f"### {escaped(section.title)}{note}", "")
            yield from (f"{'  ' * line.startswith(' ')}- {escaped(line.strip())}" for line in section.lines)
            yield ""


def tell(review: Reviewed, *, full: bool = False) -> Told:
    """What a plan comes to, in the order in which a reader has to know it."""
    changes = review.changes
    if changes.refused:
        refused = Section("It would fail", tuple(changes.refused.splitlines()))
        return Told(f"{changes.stack}: cannot be deployed like this", _against(changes), (refused,))
    throughout, rest = _throughout(changes.changed)
    sections = (
        *throughout,
        *_components(rest, changes.stack, full),
        *_money(changes, review.settings.usd_per_month, full),
        *_rights(changes.rights, review.settings.account_id, full),
        *([Section("Not known", changes.not_known)] if changes.not_known else []),
    )
    summary = f"{changes.stack}: {_summary(changes, review.settings.account_id)}{_over(review)}"
    return Told(summary, _against(changes), sections)


def _against(changes: Changes) -> str:
    if changes.since:
        return f"compared with {changes.since}"
    return "as if nothing existed; give --since what `pulumi stack export` wrote, to compare with what is deployed"


# --- the line that sums up --------------------------------------------------------------------------------------------


def _summary(changes: Changes, account: str) -> str:
    counts = Counter(each.op for each in changes.changed)
    done = ", ".join(f"{verb} {counts[op]}" for op, verb in VERBS.items() if counts[op])
    said = [done or "nothing changes", *_dangers(changes)]
    if changes.cost:
        said.append(_more(changes.cost.expected_after - changes.cost.expected_before, changes))
    gaining = [each for each in changes.rights if each.widened]
    if gaining and changes.since:
        said.append(f"{len(gaining)} may do more: {_some([each.who for each in gaining])}")
    elif done and changes.since:
        said.append("nobody may do more")
    if strange := [each.who for each in changes.rights if _from_outside(each, account)]:
        said.append(f"others than this account and AWS's services come in: {_some(strange)}")
    return "; ".join(said)


def _dangers(changes: Changes) -> Iterator[str]:
    gone = [each for each in changes.changed if each.op in ("replace", "delete")]
    lost = [f"{each.loses.partition(' (')[0]} of {named(each, changes.stack)}" for each in gone if each.loses]
    stopped = [each.stops.partition(",")[0] for each in gone if each.stops]
    if lost:
        yield f"LOSES {_some(lost)}"
    elif gone:
        yield "loses no data"
    if stopped:
        yield f"STOPS {_some(list(dict.fromkeys(stopped)))}"
    elif changes.changed and changes.since:
        yield "nothing goes down"


def _more(usd: float, changes: Changes) -> str:
    cost = changes.cost
    if cost is None or not changes.since:
        return f"costs ${usd:,.0f} a month as used"
    most = cost.ceiling_after - cost.ceiling_before
    if abs(usd) < 0.5 and abs(most) < 0.5:
        return "costs what it did"
    return f"costs {_difference(usd)} a month as used, {_difference(most)} at most"


def _over(review: Reviewed) -> str:
    cost = review.changes.cost
    return "; OVER its budget" if cost and cost.ceiling_after > review.settings.usd_per_month else ""


def _difference(usd: float) -> str:
    return "the same" if abs(usd) < 0.5 else f"${abs(usd):,.0f} {'more' if usd > 0 else 'less'}"


def _some(words: Sequence[str]) -> str:
    few = ", ".join(words[:NAMED])
    return few + (f" and {len(words) - NAMED} more" if len(words) > NAMED else "")


# --- what is done -----------------------------------------------------------------------------------------------------


def _throughout(changed: Sequence[Changed]) -> tuple[list[Section], list[Changed]]:
    """What is changed alike all over the stack, once; and the rest, each without it."""
    places: dict[str, tuple[Value, list[Changed]]] = {}
    for each in changed:
        for value in each.values if each.op == "update" else ():
            places.setdefault(_key(value), (value, []))[1].append(each)
    common = {
        key: found
        for key, found in places.items()
        if len(found[1]) >= ALIKE and len({each.component for each in found[1]}) > 1
    }
    lines = [
        f"~ the code of {_plural('function', len(where))}"
        if _is_code(value)
        else f"~ {_said(value)}, in {len(where)} resources"
        for value, where in common.values()
    ]
    rest = []
    for each in changed:
        values = tuple(value for value in each.values if each.op != "update" or _key(value) not in common)
        if values or each.notes or each.op != "update" or not each.values:
            rest.append(replace(each, values=values))
    return ([Section("Throughout the stack", tuple(lines))] if lines else []), rest


def _is_code(value: Value) -> bool:
    return value.path.partition(".")[0] == "code" or value.path == "sourceCodeHash"


def _key(value: Value) -> str:
    """The same for changes that are told alike."""
    if _is_code(value):
        return "code"
    return json.dumps([value.path, value.before, value.after], sort_keys=True, default=str)


def _components(changed: Sequence[Changed], stack: str, full: bool) -> list[Section]:
    groups: dict[str, list[Changed]] = {}
    for each in changed:
        groups.setdefault(each.component, []).append(each)
    ranked = sorted(groups.items(), key=lambda item: min(map(_gravity, item[1])))
    untouched = [urn for urn, found in ranked if {each.op for each in found} == {"create"}]
    sections = [
        Section(title(urn, stack), tuple(_group(found, stack, full)), _counted(found))
        for urn, found in ranked
        if urn not in untouched or full
    ]
    made = [f"+ {title(urn, stack)}: {kinds(groups[urn])}" for urn in untouched]
    return sections if full or not made else [*sections, Section("Made", tuple(made), _plural("component", len(made)))]


def _gravity(one: Changed) -> int:
    """The lower, the earlier a reader has to know."""
    if one.op in ("replace", "delete"):
        return 0 if one.loses or one.stops else 1
    return 2 if one.op == "update" else 3


def _counted(found: Sequence[Changed]) -> str:
    counts = Counter(each.op for each in found)
    return ", ".join(f"{verb} {counts[op]}" for op, verb in VERBS.items() if counts[op])


def _group(found: Sequence[Changed], stack: str, full: bool) -> Iterator[str]:
    leaving = [each for each in found if each.op in ("replace", "delete")]
    alike: defaultdict[str, list[Changed]] = defaultdict(list)
    for one in sorted(leaving, key=lambda each: (_gravity(each), each.op, each.type, each.name)):
        told = [one.op, one.type, _because(one, full), one.loses, one.stops, one.notes]
        alike[json.dumps(told)].append(one)
    for same in alike.values():
        yield from _gone(same, stack, full)
    yield from _updated([each for each in found if each.op == "update"], stack, full)
    made = [each for each in found if each.op == "create"]
    again = [each for each in made if each.notes]
    if made and not full and len(made) > NAMED:
        yield f"+ {kinds(made)}" + (f"; {len(again)} were deployed and are gone" if again else "")
    else:
        for one in sorted(made, key=lambda each: (each.type, each.name)):
            yield f"+ {named(one, stack)}" + "".join(f": {note}" for note in one.notes)


def _gone(same: Sequence[Changed], stack: str, full: bool) -> Iterator[str]:
    """What becomes of some resources that leave, all alike."""
    one = same[0]
    what, be = _together(same, stack), "is" if len(same) == 1 else "are"
    verb = "let go" if one.op == "delete" and one.notes else "deleted" if one.op == "delete" else "made anew"
    yield f"{MARKS[one.op]} {what} {be} {verb}{_because(one, full)}"
    if one.loses:
        yield f"    lost: {one.loses}"
    if one.stops:
        yield f"    stops: {one.stops}{_how_long(one)}"
    yield from (f"    {note}" for note in one.notes)


def _because(one: Changed, full: bool) -> str:
    if one.op != "replace":
        return ""
    because = [value for value in one.values if value.path in one.because] or list(one.values)
    return f", because AWS cannot change in place: {_listed(because, full)}"


def _together(same: Sequence[Changed], stack: str) -> str:
    if len(same) == 1:
        return named(same[0], stack)
    return f"{_plural(_words(kind(same[0].type)), len(same))} ({_some([_name(each.name, stack) for each in same])})"


def _how_long(one: Changed) -> str:
    if one.op != "replace":
        return ""
    seconds = patience(one.type)
    return f", for {seconds // 60} minutes at most" if seconds else ""


@cache
def patience(type_: str) -> int:
    """Seconds that AWS's own tools wait at most until a resource of this type is replaced; 0 where nobody says.

    From the waiters in botocore.
    """
    service, waiters = PATIENCE.get(type_, ("", ()))
    if not service:
        return 0
    known = botocore.session.get_session().get_waiter_model(service)
    return sum(known.get_waiter(each).delay * known.get_waiter(each).max_attempts for each in waiters)


def _updated(found: Sequence[Changed], stack: str, full: bool) -> Iterator[str]:
    alike: defaultdict[str, list[Changed]] = defaultdict(list)
    for each in sorted(found, key=lambda each: (each.type, each.name)):
        alike[json.dumps([each.type, _listed(each.values, True), each.notes, each.sure])].append(each)
    for same in alike.values():
        one = same[0]
        what = _together(same, stack)
        maybe = "" if one.sure else " perhaps"
        yield f"~ {what}{maybe}: {_listed(one.values, full)}"
        yield from (f"    {note}" for note in one.notes)


def _listed(values: Sequence[Value], full: bool) -> str:
    said = list(dict.fromkeys(map(_said, values)))
    shown = said if full else said[:NAMED]
    return "; ".join(shown) + (f"; and {len(said) - len(shown)} more" if len(said) > len(shown) else "")


def _said(value: Value) -> str:
    """One value that changes, in short."""
    if _is_code(value):
        return "its code"
    if value.before == value.after:  # a stand-in for what only AWS will say
        return f"{value.path}, known after up"
    before, after = _document(value.before), _document(value.after)
    if before is not None and after is not None:
        if "Statement" in (*before, *after):
            return f"{value.path}: who may do what, see below"
        if _entries(before) and _entries(after) and len(before) != len(after):
            return f"{value.path} {len(before)} → {len(after)} entries"
        differing = list(_differing(before, after, value.path))
        if differing == [Value(value.path, before, after)]:  # lists of plain values
            return f"{value.path} {_shown(before)} → {_shown(after)}"
        if len(differing) > NAMED:
            return f"{len(differing)} values in {value.path}"
        return ", ".join(map(_said, differing))
    if value.before is None or value.after is None:
        return f"{value.path} {_shown(value.after)}" if value.before is None else f"no {value.path} any more"
    return f"{value.path} {_shown(value.before)} → {_shown(value.after)}"


def _entries(value: Any) -> bool:
    """Whether it is a list of objects."""
    return isinstance(value, list) and any(isinstance(each, dict) for each in value)


def _document(value: Any) -> Any:
    """An object or a list, or what of them a text holds as JSON; None where it is none."""
    if isinstance(value, dict | list):
        return value
    if not isinstance(value, str) or value[:1] not in ("{", "["):
        return None
    try:
        return json.loads(value)
    except ValueError:
        return None


def _differing(before: Any, after: Any, path: str) -> Iterator[Value]:
    if isinstance(before, dict) and isinstance(after, dict):
        for key in [*before, *(key for key in after if key not in before)]:
            yield from _differing(before.get(key), after.get(key), f"{path}.{key}")
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for index, (old, new) in enumerate(zip(before, after, strict=True)):
            yield from _differing(old, new, f"{path}[{index}]")
    elif before != after:
        yield Value(path, before, after)


def _shown(value: Any) -> str:
    if value == UNKNOWN:
        return "(known after up)"
    words = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    words = " ".join(words.split()) or '""'
    return words if len(words) <= WIDTH else f"{words[: WIDTH - 1]}…"


# --- words ------------------------------------------------------------------------------------------------------------


def title(urn: str, stack: str) -> str:
    """What a component is called: its class in words, and its own name where it is not the stack's."""
    if not urn:
        return "The stack itself"
    _, _, types, name = urn.split("::", 3)
    own = _name(name, stack)
    words = _words(types.split("$")[-1].split(":")[-1])
    return f"{words[0].upper()}{words[1:]}" + (f" {own}" if own else "")


def named(one: Changed, stack: str) -> str:
    """A resource as a reader calls it: `queue orders`."""
    return f"{_words(kind(one.type))} {_name(one.name, stack) or one.name}"


def _name(name: str, stack: str) -> str:
    """A name without the stack's, with which nearly all begin."""
    return "" if name == stack else name.removeprefix(f"{stack}-")


def _words(name: str) -> str:
    parts = re.findall(r"[A-Z]+(?![a-z])|[A-Z][a-z]*|[a-z]+", re.sub(r"[vV]\d+$", "", name))
    return " ".join(each.upper() if each in ABBREVIATIONS else each.lower() for each in parts)


def kinds(made: Sequence[Changed]) -> str:
    """How many there are of which kind: `3 metric alarms, 1 queue`."""
    counts = Counter(_words(kind(each.type)) for each in made)
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    told = [_plural(words, count) for words, count in ranked[:ROWS]]
    left = sum(count for _, count in ranked[ROWS:])
    return ", ".join(told) + (f" and {left} more" if left else "")


def _plural(words: str, count: int) -> str:
    if count == 1:
        return f"1 {words}"
    if words.endswith(("s", "x", "ch", "sh")):
        return f"{count} {words}" if words.endswith("settings") else f"{count} {words}es"
    return f"{count} {words[:-1]}ies" if re.search(r"[^aeiou]y$", words) else f"{count} {words}s"


# --- money and rights -------------------------------------------------------------------------------------------------


def _money(changes: Changes, budget: float, full: bool) -> Iterator[Section]:
    cost = changes.cost
    if cost is None or not (cost.parts or cost.ceiling_after):
        return
    lines = [
        f"{words}: {_moved(before, after) if changes.since else f'${after:,.0f}'}"
        for words, before, after in (
            ("at least", cost.floor_before, cost.floor_after),
            ("as used", cost.expected_before, cost.expected_after),
            ("at most", cost.ceiling_before, cost.ceiling_after),
        )
    ]
    if not cost.parts and changes.since:
        return
    within = "within" if cost.ceiling_after <= budget else "OVER"
    shown = cost.parts if full else cost.parts[:ROWS]
    items = [_item(each, changes) for each in shown]
    if left := len(cost.parts) - len(shown):
        items.append(f"… and {left} more (--full)")
    note = f"{within} the budget of ${budget:,.0f}"
    yield Section("Cost a month", (", ".join(lines), *items), note)


def _moved(before: float, after: float) -> str:
    return f"${before:,.0f} → ${after:,.0f} ({after - before:+,.0f})"


def _item(cost: Cost, changes: Changes) -> str:
    type_, name = cost.urn.split("::", 3)[2:]
    what = f"{_words(kind(type_))} {_name(name, changes.stack) or name} ({cost.what})"
    used, most = cost.expected_after - cost.expected_before, cost.ceiling_after - cost.ceiling_before
    if not changes.since:
        return f"${used:,.2f} as used, ${most:,.2f} at most: {what}"
    return f"{used:+,.2f} as used, {most:+,.2f} at most: {what}"


def _rights(rights: Sequence[Rights], account: str, full: bool) -> Iterator[Section]:
    gaining = [each for each in rights if each.widened]
    apart = [each for each in gaining if full or not each.new or _from_outside(each, account)]
    lines = [f"{each.who}{' (new)' if each.new else ''}: {_gained(each, full)}" for each in apart]
    if alike := [each for each in gaining if each not in apart]:
        roles = sum(each.who.startswith("role ") for each in alike)
        others = len(alike) - roles
        told = [_plural("new role", roles)] if roles else []
        told += [_plural("new caller", others)] if others else []
        lines.append(
            f"{' and '.join(told)}, none of them assumed from outside this account (--full lists their rights)"
        )
    if gaining:
        yield Section("Who may do more", tuple(lines))
    losing = [each for each in rights if set(each.loses) and not each.widened]
    if losing and full:
        yield Section("Who may do less", tuple(f"{each.who}: {together(each.loses)}" for each in losing))
    elif losing:
        yield Section("Who may do less", (f"{_some([each.who for each in losing])} (--full says what)",))


def _gained(rights: Rights, full: bool) -> str:
    """What someone gains, what is least held in first."""
    ranked = sorted(rights.widened, key=lambda each: ("no longer refused" not in each, "*" not in each, each))
    shown = ranked if full else ranked[: NAMED + 2]
    left = len(ranked) - len(shown)
    return together(shown) + (f"; and {left} more (--full)" if left else "")


def _from_outside(rights: Rights, account: str) -> bool:
    """Whether what is gained is for others than AWS's services and those of this account."""
    if not rights.widened:
        return False
    if not rights.who.startswith(("role ", "Kubernetes ")):
        return _outside(rights.who, account)
    trusted = [each.removeprefix(f"{TRUST} ") for each in rights.widened if each.startswith(TRUST)]
    return any(_outside(each, account) for each in trusted)


def _outside(principal: str, account: str) -> bool:
    name = principal.partition(" if ")[0]
    known = name.endswith(".amazonaws.com") or account in name or name.startswith("(known after up")
    return not known
