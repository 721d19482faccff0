"""A plan told to whoever has to say yes: what is made, changed, replaced and lost, what stops, the money, the rights.

One line sums up. What follows is grouped by the components that the stack is composed of, the most serious first.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Final

import botocore.session

from infra.changes import Changed, Changes, Cost, Reviewed, Value
from infra.plan_words import NAMED, ROWS, is_code, kinds, listed, named, own_name, plural, said, some, title, words_of
from infra.reports import escaped
from infra.rights import TRUST, Rights, together
from policies.rules import kind

ALIKE: Final = 5
"""Where one change is made to this many resources, it is told once for all of them."""
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
        return Told(f"{changes.stack}: cannot be deployed like this", _against(review), (refused,))
    throughout, rest = _throughout(changes.changed, full)
    sections = (
        *throughout,
        *_components(rest, changes.stack, full),
        *_money(changes, review.settings.usd_per_month, full),
        *_rights(changes.rights, review.settings.account_id, full),
        *([Section("Not known", changes.not_known)] if changes.not_known else []),
    )
    summary = f"{changes.stack}: {_summary(changes, review.settings.account_id)}{_over(review)}"
    return Told(summary, _against(review), sections)


def _against(review: Reviewed) -> str:
    if review.changes.since:
        return f"compared with {review.changes.since}"
    if review.settings.environment == "local":
        return "as if nothing existed, for no rehearsal of it runs"
    return "as if nothing existed; give --since what `pulumi stack export` wrote, to compare with what is deployed"


# --- the line that sums up --------------------------------------------------------------------------------------------


def _summary(changes: Changes, account: str) -> str:
    counts = Counter(each.op for each in changes.changed)
    done = ", ".join(f"{verb} {counts[op]}" for op, verb in VERBS.items() if counts[op])
    told = [done or "nothing changes", *_dangers(changes)]
    if changes.cost:
        told.append(_more(changes.cost.expected_after - changes.cost.expected_before, changes))
    gaining = [each for each in changes.rights if each.widened]
    if gaining and changes.since:
        told.append(f"{len(gaining)} may do more: {some([each.who for each in gaining])}")
    elif done and changes.since:
        told.append("nobody may do more")
    if strange := [each.who for each in changes.rights if _from_outside(each, account)]:
        told.append(f"others than this account and AWS's services come in: {some(strange)}")
    return "; ".join(told)


def _dangers(changes: Changes) -> Iterator[str]:
    gone = [each for each in changes.changed if each.op in ("replace", "delete")]
    lost = [f"{each.loses.partition(' (')[0]} of {named(each, changes.stack)}" for each in gone if each.loses]
    stopped = [each.stops.partition(",")[0] for each in gone if each.stops]
    if lost:
        yield f"LOSES {some(lost)}"
    elif gone:
        yield "loses no data"
    if stopped:
        yield f"STOPS {some(list(dict.fromkeys(stopped)))}"
    elif changes.changed and changes.since:
        yield "nothing goes down"
    notes = [note for each in changes.changed if each.op == "update" for note in each.notes]
    if notes:
        yield f"mind that {some(list(dict.fromkeys(notes)))}"


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


# --- what is done -----------------------------------------------------------------------------------------------------


def _throughout(changed: Sequence[Changed], full: bool) -> tuple[list[Section], list[Changed]]:
    """What is changed alike all over the stack, once; and the rest, each without it. With `full` all is the rest."""
    if full:
        return [], list(changed)
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
        f"~ the code of {plural('function', len(where))}"
        if is_code(value)
        else f"~ {said(value)}, in {len(where)} resources"
        for value, where in common.values()
    ]
    rest = []
    for each in changed:
        values = tuple(value for value in each.values if each.op != "update" or _key(value) not in common)
        if values or each.notes or each.op != "update" or not each.values:
            rest.append(replace(each, values=values))
    return ([Section("Throughout the stack", tuple(lines))] if lines else []), rest


def _key(value: Value) -> str:
    """The same for changes that are told alike."""
    if is_code(value):
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
    return sections if full or not made else [*sections, Section("Made", tuple(made), plural("component", len(made)))]


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
    what, be = _together(same, stack, full), "is" if len(same) == 1 else "are"
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
    return f", because AWS cannot change in place: {listed(because, full)}"


def _together(same: Sequence[Changed], stack: str, full: bool) -> str:
    if len(same) == 1:
        return named(same[0], stack)
    names = [own_name(each.name, stack) or each.name for each in same]
    return f"{plural(words_of(kind(same[0].type)), len(same))} ({', '.join(names) if full else some(names)})"


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
        alike[json.dumps([each.type, listed(each.values, True), each.notes, each.sure])].append(each)
    for same in alike.values():
        one = same[0]
        what = _together(same, stack, full)
        maybe = "" if one.sure else " perhaps"
        yield f"~ {what}{maybe}: {listed(one.values, full)}"
        yield from (f"    {note}" for note in one.notes)


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
    what = f"{words_of(kind(type_))} {own_name(name, changes.stack) or name} ({cost.what})"
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
        told = [plural("new role", roles)] if roles else []
        told += [plural("new caller", others)] if others else []
        lines.append(
            f"{' and '.join(told)}, none of them assumed from outside this account (--full lists their rights)"
        )
    if gaining:
        yield Section("Who may do more", tuple(lines))
    losing = [each for each in rights if set(each.loses) and not each.widened]
    if losing and full:
        yield Section("Who may do less", tuple(f"{each.who}: {together(each.loses)}" for each in losing))
    elif losing:
        yield Section("Who may do less", (f"{some([each.who for each in losing])} (--full says what)",))


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
