"""Runs the policy packs in this process: the very policies that `pulumi preview --policy-pack` runs, on a plan."""

import contextvars
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache, partial
from types import ModuleType
from typing import Any, Final, Literal

from pulumi.runtime.config import set_all_config
from pulumi_policy import (
    Policy,
    PolicyCustomTimeouts,
    PolicyResource,
    PolicyResourceOptions,
    ReportViolation,
    ResourceValidationArgs,
    ResourceValidationPolicy,
    StackValidationArgs,
    StackValidationPolicy,
)
from pulumi_policy.proxy import UnknownValueError, unknown_checking_proxy

from infra.rehearsal.engine import Plan, Resource
from infra.settings import Settings, stack_names
from policies import access, cost, encryption, reliability
from policies.exceptions import FILE, SHOWN, Exceptions, Ledger, idle, keep, read, today
from policies.rules import Control, Undecided, never_excepted

MODULES: Final[Mapping[str, ModuleType]] = {
    "encryption": encryption,
    "access": access,
    "cost": cost,
    "reliability": reliability,
}
PACKS: Final[Mapping[str, Sequence[Policy]]] = {pack: module.POLICIES for pack, module in MODULES.items()}
CONTROLS: Final[Mapping[str, Control]] = {each.name: each for module in MODULES.values() for each in module.CONTROLS}


@dataclass(frozen=True)
class Rule:
    """What a rule is for, as reports tell it."""

    pack: str
    name: str
    must: str
    severity: str
    published: tuple[str, ...]
    """The published controls that it implements."""
    fix: str
    types: tuple[str, ...]
    """The types it looks at; () for every type, or for a whole stack."""
    about: Literal["resource", "stack"]
    always: bool
    """Whether no exception to it is ever made."""


def rules() -> list[Rule]:
    """Every rule of every pack."""
    return [_rule(pack, policy) for pack, policies in PACKS.items() for policy in policies]


def _rule(pack: str, policy: Policy) -> Rule:
    control = CONTROLS.get(policy.name)
    return Rule(
        pack,
        policy.name,
        policy.description,
        _severity(policy),
        tuple(policy.tags or ()),
        policy.remediation_steps or "",
        tuple(sorted(control.types or ())) if control else (),
        "stack" if isinstance(policy, StackValidationPolicy) else "resource",
        control.always if control else False,
    )


def _severity(policy: Policy) -> str:
    return policy.severity.value if policy.severity else ""


@dataclass(frozen=True)
class Violation:
    """A rule that a stack breaks."""

    stack: str
    pack: str
    rule: str
    severity: str
    resource: str
    """The resource's name, or the stack's where the whole of it is meant."""
    urn: str
    sentence: str
    """What is wrong, and what to set."""


@dataclass(frozen=True)
class Excepted(Violation):
    """A rule that a stack breaks, and may."""

    owner: str
    reason: str
    ticket: str
    expires: str
    """The last day on which it may: `2027-01-31`."""
    warning: str
    """Where it ends soon, when; else ''."""


@dataclass(frozen=True)
class Deferred:
    """A rule that could not be evaluated, because it met what only a deployment will know: it runs again then."""

    stack: str
    pack: str
    rule: str
    resource: str
    urn: str
    path: str
    """The property that is not known yet."""


@dataclass(frozen=True)
class Decided(Deferred):
    """A deferred rule, evaluated on what a deployment gave."""

    outcome: Literal["holds", "violated", "excepted", "still unknown"]


@dataclass(frozen=True)
class Listed:
    """An entry of `policies/exceptions.yaml`, and what it does for the stacks that were checked."""

    rule: str
    resource: str
    stack: str
    owner: str
    reason: str
    ticket: str
    expires: str
    status: Literal["used", "unused", "undecided", "expired", "not checked"]
    warning: str
    """What to do about it, where anything is to be done; else ''."""


@dataclass(frozen=True)
class Count:
    """What one pack came to."""

    rules: int
    evaluations: int
    """How often a rule was asked: once for each resource of its types, or once for a stack."""
    violations: int
    deferred: int
    excepted: int


@dataclass(frozen=True)
class Report:
    """What every pack says about some stacks."""

    stacks: Mapping[str, int]
    """The stacks that were checked, each with its number of resources."""
    violations: tuple[Violation, ...]
    deferred: tuple[Deferred, ...]
    excepted: tuple[Excepted, ...]
    exceptions: tuple[Listed, ...]
    """Every entry of `policies/exceptions.yaml`, used or not."""
    faults: tuple[str, ...]
    """What is wrong with that file."""
    packs: Mapping[str, Count]
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether nothing is violated, and nothing excepted that must not be."""
        return not self.violations and not self.faults

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON has it."""
        return {"ok": self.ok, **asdict(self)}


@dataclass
class _Findings:
    stack: str
    ledger: Ledger
    violations: list[Violation] = field(default_factory=list)
    deferred: list[Deferred] = field(default_factory=list)
    excepted: list[Excepted] = field(default_factory=list)
    evaluations: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PACKS, 0))


def check(plans: Sequence[tuple[Settings, Plan]], exceptions: Exceptions | None = None) -> Report:
    """Run every rule of every pack on each plan, as Pulumi would in a preview.

    `exceptions` are those of policies/exceptions.yaml unless others are given.
    """
    started = time.monotonic()
    exceptions = exceptions or read(FILE, today())
    each_stack = [
        contextvars.copy_context().run(_check, settings, plan.resources, Ledger(exceptions)) for settings, plan in plans
    ]
    violations = tuple(each for one in each_stack for each in one.violations)
    deferred = tuple(each for one in each_stack for each in one.deferred)
    excepted = tuple(each for one in each_stack for each in one.excepted)
    total = Ledger(
        exceptions,
        [each for one in each_stack for each in one.ledger.uses],
        {each for one in each_stack for each in one.ledger.undecided},
    )
    urns = {settings.stack: [each.urn for each in plan.resources] for settings, plan in plans}
    return Report(
        {settings.stack: len(plan.resources) for settings, plan in plans},
        violations,
        deferred,
        excepted,
        tuple(_listed(total, urns)),
        (*exceptions.faults, *never_excepted(exceptions, CONTROLS.values()), *_unheard_of(exceptions)),
        {
            pack: Count(
                len(policies),
                sum(one.evaluations[pack] for one in each_stack),
                sum(each.pack == pack for each in violations),
                sum(each.pack == pack for each in deferred),
                sum(each.pack == pack for each in excepted),
            )
            for pack, policies in PACKS.items()
        },
        time.monotonic() - started,
    )


def _unheard_of(exceptions: Exceptions) -> Iterator[str]:
    """What is wrong with entries for rules that there are not. A single pack cannot tell: the rule may be another's."""
    known = {policy.name for policies in PACKS.values() for policy in policies}
    for entry in exceptions.entries:
        if entry.rule not in known:
            yield f"{SHOWN}, rule: there is no rule {entry.rule!r} ({entry}); `slipway rules` lists them"


def _listed(ledger: Ledger, urns: Mapping[str, Sequence[str]]) -> Iterator[Listed]:
    everywhere = urns.keys() >= set(stack_names())
    unused = dict(idle(ledger, [each.rule for each in ledger.exceptions.entries], urns, everywhere=everywhere))
    used = {each.entry for each in ledger.uses}
    for entry in ledger.exceptions.entries:
        status: Literal["used", "unused", "undecided", "expired", "not checked"] = "not checked"
        warning = ledger.exceptions.near(entry)
        if (left := entry.days_left(ledger.exceptions.today)) < 0:
            status, warning = (
                "expired",
                f"expired {-left} day{'s' if left < -1 else ''} ago: it excepts nothing any more",
            )
        elif entry in used:
            status = "used"
        elif entry in unused:
            status, warning = "unused", unused[entry]
        elif entry in ledger.undecided:
            status = "undecided"
        yield Listed(
            entry.rule,
            entry.resource,
            entry.stack or "",
            entry.owner,
            entry.reason,
            entry.ticket,
            entry.expires.isoformat(),
            status,
            warning,
        )


def decided(before: Report, after: Report) -> list[Decided]:
    """What became of everything that was deferred `before` a deployment, by the report `after` it."""

    def keys(of: Iterable[Violation | Deferred]) -> set[tuple[str, str, str]]:
        return {(each.stack, each.rule, each.urn) for each in of}

    violated, excepted, unknown = keys(after.violations), keys(after.excepted), keys(after.deferred)

    def outcome(each: Deferred) -> Literal["holds", "violated", "excepted", "still unknown"]:
        key = each.stack, each.rule, each.urn
        if key in violated:
            return "violated"
        return "still unknown" if key in unknown else "excepted" if key in excepted else "holds"

    return [Decided(**asdict(each), outcome=outcome(each)) for each in before.deferred]


def analyze(settings: Settings) -> Callable[[Resource], list[str]]:
    """What a deployment asks about each resource when all its inputs are known: a sentence for each violation."""
    ledger = Ledger(read(FILE, today()))

    def judge(resource: Resource) -> list[str]:
        findings = contextvars.copy_context().run(_check_resources, settings, [resource], ledger)
        return [f"{each.sentence} [{each.pack}/{each.rule}]" for each in findings.violations]

    return judge


def _check(settings: Settings, resources: Sequence[Resource], ledger: Ledger) -> _Findings:
    findings = _check_resources(settings, resources, ledger)
    args = StackValidationArgs(linked(resources))
    names = {each.urn: each.name for each in resources}
    for pack, policies in PACKS.items():
        for policy in policies:
            if isinstance(policy, StackValidationPolicy):
                _evaluate(findings, pack, policy, names, "", partial(policy.validate, args))
    return findings


def _check_resources(settings: Settings, resources: Iterable[Resource], ledger: Ledger) -> _Findings:
    set_all_config(dict(settings.config))
    keep(ledger)
    findings = _Findings(settings.stack, ledger)
    for resource in resources:
        args = ResourceValidationArgs(
            resource.type,
            unknown_checking_proxy(resource.inputs),
            resource.urn,
            resource.name,
            options(resource),
            provider=None,
        )
        names = {resource.urn: resource.name}
        for pack, policy in _about(resource.type):
            _evaluate(findings, pack, policy, names, resource.urn, partial(policy.validate, args))
    return findings


@cache
def _about(resource_type: str) -> Sequence[tuple[str, ResourceValidationPolicy]]:
    """The policies that look at single resources of a type."""
    return [
        (pack, policy)
        for pack, policies in PACKS.items()
        for policy in policies
        if isinstance(policy, ResourceValidationPolicy)
        and (not (control := CONTROLS.get(policy.name)) or control.types is None or resource_type in control.types)
    ]


def _evaluate(
    findings: _Findings,
    pack: str,
    policy: Policy,
    names: Mapping[str, str],
    about: str,
    validate: Callable[[ReportViolation], object],
) -> None:
    """Run one policy. What it reports without a URN is about the resource `about`, or the stack where that is ''."""
    severity, ledger = _severity(policy), findings.ledger

    def name(urn: str) -> str:
        return names.get(urn, urn or findings.stack)

    def said(urn: str, sentence: str) -> tuple[str, str, str, str, str, str, str]:
        return findings.stack, pack, policy.name, severity, name(urn), urn, sentence

    def report(sentence: str, urn: str | None) -> None:
        findings.violations.append(Violation(*said(urn or about, sentence)))

    findings.evaluations[pack] += 1
    before = len(ledger.uses)
    try:
        validate(report)
    except Undecided as error:
        for urn, unknown in error.unknown:
            where = urn or about
            findings.deferred.append(Deferred(findings.stack, pack, policy.name, name(where), where, unknown.path))
    except UnknownValueError as error:
        findings.deferred.append(Deferred(findings.stack, pack, policy.name, name(about), about, ".".join(error.props)))
    for use in ledger.uses[before:]:
        entry = use.entry
        findings.excepted.append(
            Excepted(
                *said(use.urn, use.sentence),
                entry.owner,
                entry.reason,
                entry.ticket,
                entry.expires.isoformat(),
                ledger.exceptions.near(entry),
            )
        )


def linked(resources: Sequence[Resource]) -> list[PolicyResource]:
    """The resources as a stack policy sees them: with outputs, and with links to each other."""
    found = {
        each.urn: PolicyResource(
            each.type,
            unknown_checking_proxy(each.outputs or each.inputs),
            each.urn,
            each.name,
            options(each),
            provider=None,
            parent=None,
            dependencies=[],
            property_dependencies={},
        )
        for each in resources
    }
    for each in resources:
        one = found[each.urn]
        one.parent = found.get(each.parent)
        one.dependencies = [found[urn] for urn in each.dependencies if urn in found]
        one.property_dependencies = {
            key: [found[urn] for urn in urns if urn in found] for key, urns in each.property_dependencies.items()
        }
    return list(found.values())


def options(resource: Resource) -> PolicyResourceOptions:
    """A resource's options as a policy sees them."""
    timeouts = resource.custom_timeouts
    return PolicyResourceOptions(
        resource.protect,
        list(resource.ignore_changes),
        resource.delete_before_replace,
        list(resource.aliases),
        PolicyCustomTimeouts(*(timeouts.get(step, 0.0) for step in ("create", "update", "delete"))),
        list(resource.additional_secret_outputs),
        resource.parent or None,
    )
