"""Runs the policy packs in this process: the very policies that `pulumi preview --policy-pack` runs, on a plan."""

import contextvars
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

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
from infra.settings import Settings
from policies import access, cost, encryption, reliability
from policies.rules import Undecided

PACKS: Mapping[str, Sequence[Policy]] = {
    "encryption": encryption.POLICIES,
    "access": access.POLICIES,
    "cost": cost.POLICIES,
    "reliability": reliability.POLICIES,
}


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
class Count:
    """What one pack came to."""

    rules: int
    evaluations: int
    """How often a rule was asked: once for each resource, or once for a stack."""
    violations: int
    deferred: int


@dataclass(frozen=True)
class Report:
    """What every pack says about some stacks."""

    stacks: Mapping[str, int]
    """The stacks that were checked, each with its number of resources."""
    violations: tuple[Violation, ...]
    deferred: tuple[Deferred, ...]
    packs: Mapping[str, Count]
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether nothing is violated."""
        return not self.violations

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON has it."""
        return {"ok": self.ok, **asdict(self)}

    def __str__(self) -> str:
        """The report as text: what is violated, what is deferred, and a line for each pack."""
        return "\n".join([*self._violated(), *self._deferred(), *self._counted()])

    def _violated(self) -> Iterator[str]:
        for each in sorted(self.violations, key=lambda one: (one.stack, one.pack, one.rule, one.resource)):
            yield f"{each.stack}: {each.resource}: {each.sentence} [{each.pack}/{each.rule}, {each.severity}]"

    def _deferred(self) -> Iterator[str]:
        if self.deferred:
            yield f"{len(self.deferred)} not decided, because only a deployment will know:"
        for each in self.deferred:
            yield f"  {each.stack}: {each.resource}: {each.path} [{each.pack}/{each.rule}]"

    def _counted(self) -> Iterator[str]:
        for pack, count in self.packs.items():
            yield f"{pack}: {count.rules} rules, {count.violations} violations, {count.deferred} not decided"
        resources = sum(self.stacks.values())
        yield f"{', '.join(self.stacks)}: {resources} resources checked in {self.seconds:.1f} s"


@dataclass
class _Findings:
    stack: str
    violations: list[Violation] = field(default_factory=list)
    deferred: list[Deferred] = field(default_factory=list)
    evaluations: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PACKS, 0))


def check(plans: Sequence[tuple[Settings, Plan]]) -> Report:
    """Run every rule of every pack on each plan, as Pulumi would in a preview."""
    started = time.monotonic()
    each_stack = [contextvars.copy_context().run(_check, settings, plan.resources) for settings, plan in plans]
    violations = tuple(each for one in each_stack for each in one.violations)
    deferred = tuple(each for one in each_stack for each in one.deferred)
    return Report(
        {settings.stack: len(plan.resources) for settings, plan in plans},
        violations,
        deferred,
        {
            pack: Count(
                len(policies),
                sum(one.evaluations[pack] for one in each_stack),
                sum(each.pack == pack for each in violations),
                sum(each.pack == pack for each in deferred),
            )
            for pack, policies in PACKS.items()
        },
        time.monotonic() - started,
    )


def analyze(settings: Settings) -> Callable[[Resource], list[str]]:
    """What a deployment asks about each resource when all its inputs are known: a sentence for each violation."""

    def judge(resource: Resource) -> list[str]:
        findings = contextvars.copy_context().run(_check_resources, settings, [resource])
        return [f"{each.sentence} [{each.pack}/{each.rule}]" for each in findings.violations]

    return judge


def _check(settings: Settings, resources: Sequence[Resource]) -> _Findings:
    findings = _check_resources(settings, resources)
    args = StackValidationArgs(linked(resources))
    names = {each.urn: each.name for each in resources}
    for pack, policies in PACKS.items():
        for policy in policies:
            if isinstance(policy, StackValidationPolicy):
                _evaluate(findings, pack, policy, names, "", partial(policy.validate, args))
    return findings


def _check_resources(settings: Settings, resources: Iterable[Resource]) -> _Findings:
    set_all_config(dict(settings.config))
    findings = _Findings(settings.stack)
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
        for pack, policies in PACKS.items():
            for policy in policies:
                if isinstance(policy, ResourceValidationPolicy):
                    _evaluate(findings, pack, policy, names, resource.urn, partial(policy.validate, args))
    return findings


def _evaluate(
    findings: _Findings,
    pack: str,
    policy: Policy,
    names: Mapping[str, str],
    about: str,
    validate: Callable[[ReportViolation], object],
) -> None:
    """Run one policy. What it reports without a URN is about the resource `about`, or the stack where that is ''."""
    severity = policy.severity.value if policy.severity else ""

    def name(urn: str) -> str:
        return names.get(urn, urn or findings.stack)

    def report(sentence: str, urn: str | None) -> None:
        where = urn or about
        findings.violations.append(Violation(findings.stack, pack, policy.name, severity, name(where), where, sentence))

    findings.evaluations[pack] += 1
    try:
        validate(report)
    except Undecided as error:
        for urn, unknown in error.unknown:
            where = urn or about
            findings.deferred.append(Deferred(findings.stack, pack, policy.name, name(where), where, unknown.path))
    except UnknownValueError as error:
        findings.deferred.append(Deferred(findings.stack, pack, policy.name, name(about), about, ".".join(error.props)))


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
