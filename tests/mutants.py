"""Which rule catches which weakening of the stacks: `python -m tests.mutants` prints it by operator and by rule.

Each resource of each stack's plan is made worse in every way that `weakenings` knows, one at a time. A mutant is caught
when some rule says something that it does not say of the plan as it is. Mutants that differ in names only are one.
"""

import contextlib
import contextvars
import json
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from pulumi.runtime.config import set_all_config
from pulumi_policy import (
    Policy,
    ResourceValidationArgs,
    ResourceValidationPolicy,
    StackValidationArgs,
    StackValidationPolicy,
)
from pulumi_policy.proxy import UnknownValueError

from infra.check import PACKS, options
from infra.rehearsal.engine import Plan, Resource
from infra.settings import ROOT, Settings
from policies.rules import plain
from tests.weakenings import Mutant, mutants

RECORD = ROOT / "policies" / "MUTANTS.md"
"""What no rule has to catch, and what none does, each with its reason."""

LEAST = 0.98
"""The share of all mutants that has to be caught."""

Said = set[tuple[str | None, str]]
"""About which resource a rule says what."""
Plans = Sequence[tuple[Settings, Plan]]


@dataclass(frozen=True)
class Judged:
    """A mutant with the first rule that catches it: '' where none does."""

    stack: str
    mutant: Mutant
    rule: str

    @property
    def key(self) -> tuple[str, str, str]:
        """The operator, the resource's type and name, and the path: what the record tells mutants by."""
        return self.mutant.operator, f"{self.mutant.of.type} {self.mutant.of.name}", self.mutant.where

    def __str__(self) -> str:
        one = self.mutant
        return f"{self.stack}: {one.of.name} ({one.of.type}): {one.operator}: {one.where}: {one.what}"


@dataclass
class Stack:
    """A stack's plan with what every rule says of it as it is."""

    settings: Settings
    resources: Mapping[str, Resource]
    usual: dict[tuple[str, str], Said] = field(default_factory=dict)
    reads: dict[str, set[str]] = field(default_factory=dict)
    """Which resources each rule about the stack looks into: what others hold makes no difference to it."""
    last: dict[tuple[str, str], str] = field(default_factory=lambda: LAST)

    def __post_init__(self) -> None:
        set_all_config(dict(self.settings.config))
        self.declared = {urn: _Declared(each) for urn, each in self.resources.items()}
        for name, policy in STACK_RULES.items():
            for each in self.declared.values():
                each.read = False
            self.usual[name, ""] = _said(policy, self._args(self.declared.values()))
            self.reads[name] = {urn for urn, each in self.declared.items() if each.read}

    def judge(self, mutant: Mutant) -> str:
        """The first rule that catches it: those of one resource first, as they are quick."""
        usual, urn = self.usual, mutant.of.urn
        if mutant.weaker:
            for name in self._ordered(RESOURCE_RULES, mutant):
                policy = RESOURCE_RULES[name]
                if (name, urn) not in usual:
                    usual[name, urn] = _said(policy, _resource_args(mutant.of))
                if _said(policy, _resource_args(mutant.weaker)) - usual[name, urn]:
                    return name
        declared = dict(self.declared)
        if mutant.weaker:
            declared[urn] = _Declared(mutant.weaker)
        else:
            del declared[urn]
            for other, each in self.declared.items():
                if any(urn in used for used in each.resource.property_dependencies.values()):
                    declared[other] = each.without(urn)
        args = self._args(declared.values())
        for name in self._ordered(STACK_RULES, mutant):
            if mutant.weaker and urn not in self.reads[name]:
                continue
            if _said(STACK_RULES[name], args) - usual[name, ""]:
                self.last[mutant.operator, mutant.of.type] = name
                return name
        return ""

    def _ordered(self, rules: Mapping[str, Policy], mutant: Mutant) -> Iterator[str]:
        """The rules' names, the one that caught such a mutant before first."""
        before = self.last.get((mutant.operator, mutant.of.type))
        if before in rules:
            yield before
        yield from (name for name in rules if name != before)

    def _args(self, declared: Iterable["_Declared"]) -> StackValidationArgs:
        args = StackValidationArgs([])
        args._declared = tuple(declared)  # type: ignore[attr-defined]  # read once for all mutants
        return args


LAST: dict[tuple[str, str], str] = {}
RESOURCE_RULES = {
    each.name: each for policies in PACKS.values() for each in policies if isinstance(each, ResourceValidationPolicy)
}
STACK_RULES = {
    each.name: each for policies in PACKS.values() for each in policies if isinstance(each, StackValidationPolicy)
}


class _Declared:
    """A resource as `policies.rules` gives it to a rule about a stack, which notes whether it is looked into."""

    def __init__(self, resource: Resource) -> None:
        self.type, self.name, self.urn = resource.type, resource.name, resource.urn
        self.resource = resource
        self.read = False
        self._inputs = plain(resource.outputs or resource.inputs)

    @property
    def inputs(self) -> Mapping[str, Any]:
        self.read = True
        return self._inputs  # type: ignore[no-any-return]  # a mapping stays one

    @property
    def protect(self) -> bool:
        self.read = True
        return self.resource.protect

    @property
    def property_dependencies(self) -> Mapping[str, Sequence[str]]:
        self.read = True
        return self.resource.property_dependencies

    def without(self, urn: str) -> "_Declared":
        """Itself, with nothing that comes from that resource."""
        uses = {key: tuple(set(used) - {urn}) for key, used in self.resource.property_dependencies.items()}
        return _Declared(replace(self.resource, property_dependencies=uses))


def _resource_args(resource: Resource) -> ResourceValidationArgs:
    return ResourceValidationArgs(
        resource.type, dict(resource.inputs), resource.urn, resource.name, options(resource), provider=None
    )


def _said(policy: Any, args: Any) -> Said:
    said: Said = set()
    with contextlib.suppress(UnknownValueError):
        policy.validate(args, lambda sentence, urn=None: said.add((urn, sentence)))
    if broken := [sentence for _, sentence in said if sentence.startswith("this rule could not read it")]:
        raise AssertionError(f"{policy.name}: {broken[0]}")
    return said


def shape(resource: Resource, settings: Settings) -> str:
    """What tells this resource from others of the same environment, besides names and what only AWS will say."""
    text = json.dumps([resource.type, resource.protect, dict(resource.inputs)], default=str)
    for name in (resource.name, settings.stack, settings.account_id):
        text = text.replace(name, "·")
    return re.sub(r"\(known after up[^)]*\)|-[0-9a-f]{7}\b|\b[0-9a-f]{12,}\b", "·", text)


def all_of(plans: Plans, *, every: bool = False) -> list[tuple[Settings, Plan, Mutant]]:
    """The mutants of these plans; one of those that differ in names only, unless `every`."""
    found, seen = [], set()
    for settings, plan in plans:
        others = {each.urn: each for each in plan.resources}
        for resource in plan.resources:
            here: set[str] = set()
            like = (settings.environment, shape(resource, settings))
            if every or like not in seen:
                seen.add(like)
                for mutant in mutants(resource, settings.environment, others):
                    result = json.dumps([mutant.weaker and (dict(mutant.weaker.inputs), mutant.weaker.protect)])
                    if result not in here:
                        here.add(result)
                        found.append((settings, plan, mutant))
    return found


def judge(found: Sequence[tuple[Settings, Plan, Mutant]]) -> list[Judged]:
    """Each mutant with the rule that catches it."""
    by_stack: dict[str, list[tuple[Settings, Plan, Mutant]]] = defaultdict(list)
    for each in found:
        by_stack[each[0].stack].append(each)
    judged: list[Judged] = []
    for here in by_stack.values():
        judged += contextvars.copy_context().run(partial(_judge, here))
    return judged


def _judge(found: Sequence[tuple[Settings, Plan, Mutant]]) -> list[Judged]:
    settings, plan, _ = found[0]
    stack = Stack(settings, {each.urn: each for each in plan.resources})
    return [Judged(settings.stack, mutant, stack.judge(mutant)) for _, _, mutant in found]


def sample(found: Sequence[Any], size: int, seed: int = 5) -> list[Any]:
    """As many of them, the same ones every time; of each operator at least one for each kind of resource."""
    order = list(found)
    random.Random(seed).shuffle(order)
    kinds: dict[tuple[str, str], Any] = {}
    for each in order:
        kinds.setdefault((each[2].operator, each[2].of.type), each)
    chosen = dict.fromkeys(id(each) for each in [*kinds.values(), *order])
    wanted = set(list(chosen)[: max(size, len(kinds))])
    return [each for each in found if id(each) in wanted]


@dataclass(frozen=True)
class Row:
    """A row of the record: it stands for every mutant whose operator, resource and path its patterns (`*`) match."""

    operator: str
    kind: str
    where: str
    why: str

    def matches(self, judged: Judged) -> bool:
        return all(
            re.fullmatch(re.escape(pattern).replace(r"\*", ".*"), value)
            for pattern, value in zip((self.operator, self.kind, self.where), judged.key, strict=True)
        )


def record(heading: str) -> list[Row]:
    """The rows of a table of policies/MUTANTS.md."""
    [section] = re.findall(rf"^## {heading}\n(.*?)(?=^## |\Z)", RECORD.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    lines = [line.strip().strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    return [Row(*(cell.strip().strip("`") for cell in line)) for line in lines[2:]]


@dataclass(frozen=True)
class Score:
    """What came of all mutants, without those that weaken nothing."""

    caught: list[Judged]
    survived: list[Judged]
    equivalent: int

    @property
    def total(self) -> int:
        return len(self.caught) + len(self.survived)

    @property
    def share(self) -> float:
        return len(self.caught) / (self.total or 1)

    def unknown(self) -> list[Judged]:
        """Survivors that the record does not list."""
        known = record("Not caught")
        return [each for each in self.survived if not any(row.matches(each) for row in known)]

    def to_dict(self) -> dict[str, Any]:
        """By operator: how many, how many caught, by which rules; and each survivor."""
        by: dict[str, dict[str, Any]] = {}
        for each in [*self.caught, *self.survived]:
            one = by.setdefault(each.mutant.operator, {"mutants": 0, "caught": 0, "rules": Counter()})
            one["mutants"] += 1
            one["caught"] += bool(each.rule)
            if each.rule:
                one["rules"][each.rule] += 1
        return {
            "mutants": self.total,
            "caught": len(self.caught),
            "equivalent": self.equivalent,
            "operators": {key: {**by[key], "rules": dict(by[key]["rules"].most_common())} for key in sorted(by)},
            "rules": dict(Counter(each.rule for each in self.caught).most_common()),
            "survivors": [str(each) for each in self.survived],
        }


def score(judged: Sequence[Judged]) -> Score:
    """Sort them: a survivor that the record says weakens nothing is not counted."""
    equivalent = record("Weaker in nothing")
    survived = [each for each in judged if not each.rule]
    counted = [each for each in survived if not any(row.matches(each) for row in equivalent)]
    return Score([each for each in judged if each.rule], counted, len(survived) - len(counted))


def every_plan() -> Plans:
    """The plans of all stacks, as they are where nothing exists yet."""
    from infra.rehearsal.session import Rehearsal
    from infra.settings import stack_names
    from infra.show import watching

    return Rehearsal(say=print, watching=watching).plan_offline(stack_names())


def main(
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
    every: Annotated[bool, typer.Option("--every", help="Judge those that differ in names only, too.")] = False,
    to: Annotated[Path | None, typer.Option(help="Write it to a file.")] = None,
) -> None:
    """Weaken every stack in every way, and print which rule catches what; fail where too little is caught."""
    total = score(judge(all_of(every_plan(), every=every)))
    said = total.to_dict()
    text = json.dumps(said, indent=1, ensure_ascii=False) if as_json else table(said)
    if to:
        to.write_text(text + "\n", "utf-8")
    else:
        print(text)
    if total.share < LEAST or total.unknown():
        raise typer.Exit(1)


def table(said: Mapping[str, Any]) -> str:
    """The score as a Markdown table by operator, and the survivors."""
    lines = ["| weakening | mutants | caught | by |", "|---|---|---|---|"]
    for operator, one in said["operators"].items():
        rules = ", ".join(f"{rule} {count}" for rule, count in one["rules"].items())
        lines.append(f"| {operator} | {one['mutants']} | {one['caught']} | {rules} |")
    share = said["caught"] / (said["mutants"] or 1)
    lines += ["", f"{said['caught']} of {said['mutants']} caught ({share:.1%}); {said['equivalent']} weaken nothing."]
    return "\n".join([*lines, "", *said["survivors"]])


if __name__ == "__main__":
    typer.run(main)
