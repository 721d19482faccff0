"""How a rule becomes a policy, and how it reads what it judges.

A rule looks at one resource, or at all of a stack, and yields a sentence for everything wrong with it. What only
`pulumi up` will know counts as given where a rule asks whether there is a value; where it asks which, the rule yields
`Unknown`. Then it is neither passed nor violated: Pulumi prints that it could not run, and `slipway check` counts it.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from pulumi_policy import (
    EnforcementLevel,
    Policy,
    PolicyComplianceFramework,
    ReportViolation,
    ResourceValidationArgs,
    ResourceValidationPolicy,
    Severity,
    StackValidationArgs,
    StackValidationPolicy,
)
from pulumi_policy.proxy import UNKNOWN_STRING_VALUE, UnknownValueError

from policies.exceptions import SHOWN, Exceptions, Exemption, Use, idle, ledger, stack_of

UNKNOWN: Final[str] = UNKNOWN_STRING_VALUE
"""Stands for a value that only `pulumi up` will know, as it does on Pulumi's wire."""

Props = Mapping[str, Any]
"""What a resource is given: plain dicts and lists under Pulumi's camelCase names, with `UNKNOWN` inside."""


@dataclass(frozen=True)
class Unknown:
    """A part of a resource that a rule cannot judge before `pulumi up`."""

    path: str


class Declared(Protocol):
    """One resource of a stack, as a rule about several of them sees it."""

    @property
    def type(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def urn(self) -> str: ...
    @property
    def inputs(self) -> Props: ...
    @property
    def protect(self) -> bool:
        """Whether Pulumi refuses to delete it."""
        ...

    @property
    def property_dependencies(self) -> Mapping[str, Sequence[str]]:
        """For each property, the URNs of the resources its value comes from."""
        ...


@dataclass(frozen=True)
class DeclaredResource:
    """A `Declared` of plain values."""

    type: str
    name: str
    urn: str
    inputs: Props
    protect: bool
    property_dependencies: Mapping[str, Sequence[str]]


Finding = str | Unknown
Rule = Callable[[str, Props], Iterator[Finding]]
"""From a resource's type and inputs to what is wrong with it."""
StackRule = Callable[[Sequence[Declared]], Iterator[tuple[Declared | None, Finding]]]
"""From all resources of a stack to what is wrong, each with the resource it is about (None: the stack itself)."""


class Undecided(UnknownValueError):
    """A rule met what only `pulumi up` will know; Pulumi shows its message, `slipway check` counts `unknown`."""

    def __init__(self, unknown: Sequence[tuple[str | None, Unknown]]) -> None:
        """`unknown` is each part that could not be judged, after the URN of its resource (None: the rule's own)."""
        super().__init__(UNKNOWN, [each.path for _, each in unknown])
        self.unknown = tuple(unknown)
        self.message = f"known only after pulumi up: {', '.join(each.path for _, each in unknown)}"


@dataclass(frozen=True)
class Control:
    """One thing that must hold, as a pack lists it: what, how bad it is otherwise, who else asks for it, and how to."""

    name: str
    """Its name in reports and in `policies/exceptions.yaml`: `enc-s3-kms`."""
    must: str
    """What must hold, as one sentence."""
    severity: Severity
    published: tuple[str, ...]
    """The published controls it implements: `FSBP S3.17`, `CIS 7.0 3.1.1`, `CKV_AWS_145`, `cfn-guard S3_…`; () for one
    of our own."""
    fix: str
    """What to set where, as one sentence: a component's setting where there is one, else the resource's input."""
    rule: Rule | None = None
    """Looks at one resource; or"""
    stack_rule: StackRule | None = None
    """looks at all of a stack."""
    types: frozenset[str] | None = None
    """The types of resources it is about; a rule is asked about these only. None: about every type."""
    always: bool = False
    """Whether no exception to it is ever made."""

    def __post_init__(self) -> None:
        if (self.rule is None) == (self.stack_rule is None):
            raise ValueError(f"{self.name}: give it a rule or a stack_rule")

    def findings(self, resource_type: str, inputs: Props) -> Iterator[Finding]:
        """What its rule says about one resource, where it is about that type."""
        if self.rule and (self.types is None or resource_type in self.types):
            yield from self.rule(resource_type, inputs)


def of_table(table: Mapping[str, Sequence["Setting"]]) -> dict[str, Any]:
    """A control's `rule` and `types` where settings that must stand say it all: `Control(…, **of_table(TABLE))`."""

    def rule(resource_type: str, inputs: Props) -> Iterator[Finding]:
        yield from settled(table, resource_type, inputs)

    return {"rule": rule, "types": frozenset(table)}


FRAMEWORKS: Final = {
    "FSBP": ("AWS Foundational Security Best Practices", "https://docs.aws.amazon.com/securityhub/latest/userguide/"),
    "CIS-EKS": ("CIS Amazon EKS Benchmark", "https://www.cisecurity.org/benchmark/kubernetes"),
    "CIS-K8s": ("CIS Kubernetes Benchmark", "https://www.cisecurity.org/benchmark/kubernetes"),
    "CIS": (
        "CIS Amazon Web Services Foundations Benchmark",
        "https://www.cisecurity.org/benchmark/amazon_web_services",
    ),
    "CKV": ("Checkov", "https://www.checkov.io/5.Policy%20Index/all.html"),
    "Config": ("AWS Config managed rules", "https://docs.aws.amazon.com/config/latest/developerguide/"),
    "cfn-guard": ("AWS Guard Rules Registry", "https://github.com/aws-cloudformation/aws-guard-rules-registry"),
    "cdk-nag": ("cdk-nag AWS Solutions", "https://github.com/cdklabs/cdk-nag"),
    "prowler": ("Prowler", "https://hub.prowler.com"),
    "awsguard": ("Pulumi AWSGuard", "https://github.com/pulumi/pulumi-awsguard"),
    "compliance-policies": ("Pulumi compliance policies", "https://github.com/pulumi/compliance-policies"),
    "MLSEC": ("AWS Well-Architected Machine Learning Lens", "https://docs.aws.amazon.com/wellarchitected/latest/"),
}
"""For the first word of a published control: who publishes it, and where."""


def framework(published: Sequence[str]) -> PolicyComplianceFramework:
    """The first published control in the form of Pulumi's metadata, which has room for one; the rest are tags."""
    for reference in published:
        for prefix, (name, where) in FRAMEWORKS.items():
            if reference.startswith(prefix):
                return PolicyComplianceFramework(name=name, version=None, reference=where, specification=reference)
    return PolicyComplianceFramework(name="Slipway", version=None, reference="policies/", specification="")


def control_policy(control: Control) -> Policy:
    """The policy by which Pulumi runs a control."""
    shared: dict[str, Any] = {
        "name": control.name,
        "description": control.must,
        "enforcement_level": EnforcementLevel.MANDATORY,
        "severity": control.severity,
        "framework": framework(control.published),
        "tags": list(control.published),
        "remediation_steps": control.fix,
    }
    if rule := control.stack_rule:

        def validate_stack(args: StackValidationArgs, report: ReportViolation) -> None:
            findings = ((about.urn if about else "", each) for about, each in rule(_all_declared(args)))
            _report(control, _stack(args), "", findings, report)

        return StackValidationPolicy(validate=validate_stack, **shared)

    def validate(args: ResourceValidationArgs, report: ReportViolation) -> None:
        if control.types is None or args.resource_type in control.types:
            findings = ((args.urn, each) for each in control.findings(args.resource_type, _inputs(args)))
            _report(control, stack_of(args.urn), args.urn, findings, report)

    return ResourceValidationPolicy(validate=validate, **shared)


def exception_policies(controls: Sequence[Control]) -> list[Policy]:
    """The policies by which Pulumi shows the exceptions to a pack's controls, and refuses those that are none."""
    names = frozenset(each.name for each in controls)

    def show(args: StackValidationArgs, report: ReportViolation) -> None:
        met, stack = ledger(), _stack(args)
        for use in met.uses:
            if use.entry.rule in names and use.stack == stack:
                warning = met.exceptions.near(use.entry)
                report(
                    f"excepted from {use.entry.rule} ({use.entry}): {use.sentence}{warning and f'. {warning}'}", use.urn
                )
        for entry, why in idle(met, names, {stack: [each.urn for each in args.resources]}):
            report(f"unused: {entry.rule}, {entry.resource} ({entry}): {why}", None)

    def refuse(args: StackValidationArgs, report: ReportViolation) -> None:
        exceptions = ledger().exceptions
        for fault in (*exceptions.faults, *never_excepted(exceptions, controls)):
            report(fault, None)

    return [
        StackValidationPolicy(
            name="exceptions",
            description=f"Exceptions to this pack's rules are in use, and none stands in {SHOWN} for nothing.",
            validate=show,
            enforcement_level=EnforcementLevel.ADVISORY,
        ),
        StackValidationPolicy(
            name="exceptions-are-whole",
            description=f"Every entry of {SHOWN} says of one rule and one resource who, why, and until when.",
            validate=refuse,
            enforcement_level=EnforcementLevel.MANDATORY,
        ),
    ]


def never_excepted(exceptions: Exceptions, controls: Iterable[Control]) -> Iterator[str]:
    """What is wrong with entries for controls that no exception is made to."""
    always = {each.name for each in controls if each.always}
    for entry in exceptions.entries:
        if entry.rule in always:
            yield f"{SHOWN}, rule: no exception is ever made to {entry.rule} ({entry}): take the entry out"


def _stack(args: StackValidationArgs) -> str:
    return next((stack for each in args.resources if (stack := stack_of(each.urn))), "")


def _inputs(args: ResourceValidationArgs) -> Props:
    """The resource's inputs, read once for all rules."""
    known: Props | None = getattr(args, "_plain", None)
    if known is None:
        known = args._plain = plain(args.props)  # type: ignore[attr-defined]  # kept with what it was read from
    return known


def _all_declared(args: StackValidationArgs) -> Sequence[Declared]:
    """Every resource, read once for all rules: reading takes longer than most rules do."""
    known: Sequence[Declared] | None = getattr(args, "_declared", None)
    if known is None:
        known = tuple(
            DeclaredResource(
                each.resource_type,
                each.name,
                each.urn,
                plain(each.props),
                each.opts.protect,
                {key: tuple(used.urn for used in uses) for key, uses in each.property_dependencies.items()},
            )
            for each in args.resources
        )
        args._declared = known  # type: ignore[attr-defined]  # kept with what it was read from
    return known


def _report(
    control: Control, stack: str, about: str, findings: Iterable[tuple[str, Finding]], report: ReportViolation
) -> None:
    """Report findings, each with the URN it is about; what an exception is in force for goes to the ledger instead."""
    unknown: list[tuple[str | None, Unknown]] = []
    met = ledger()
    try:
        for urn, finding in findings:
            entry, expired = (None, None) if control.always else met.exceptions.of(control.name, urn, stack)
            where = None if urn == about else urn
            if isinstance(finding, Unknown):
                unknown.append((where, finding))
                met.undecided |= {entry} if entry else set()
            elif entry:
                met.note(Use(entry, urn, stack, finding))
            else:
                report(finding + _ended(expired), where)
    except Exception as error:  # Pulumi would end the whole preview, and with it what every other rule has to say.
        # No exception covers this: nobody knows what the rule would have said.
        report(f"this rule could not read it ({type(error).__name__}: {error}): mend the input, or the rule", None)
    if unknown:
        raise Undecided(unknown)


def _ended(expired: Exemption | None) -> str:
    if expired is None:
        return ""
    return f" (its exception in {SHOWN}, {expired.ticket} of {expired.owner}, has expired on {expired.expires})"


def plain(value: Any) -> Any:
    """`value` without the SDK's proxies, which raise where an unknown is read: there is `UNKNOWN` instead."""

    def read(key: Any) -> Any:
        try:
            return plain(value[key])
        except UnknownValueError:
            return UNKNOWN

    if isinstance(value, Mapping):
        return {key: read(key) for key in value}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [read(index) for index in range(len(value))]
    return value


def find(value: Any, path: str, *, at: str = "") -> Iterator[tuple[str, Any]]:
    """Every value at `path`, with where it is: None where there is none, `UNKNOWN` where only `up` will tell.

    `*` stands for each element of a list. A step that ends in `?` may be missing, and then nothing is yielded.
    """
    if not path or value == UNKNOWN:
        yield at, value
        return
    step, _, rest = path.partition(".")
    optional = step.endswith("?")
    step = step.removesuffix("?")
    inner: dict[str, Any] = {}
    if step == "*" and isinstance(value, list):
        inner = {str(index): element for index, element in enumerate(value)}
    elif isinstance(value, Mapping) and value.get(step) is not None:
        inner = {step: value[step]}
    for key, element in inner.items():
        yield from find(element, rest, at=f"{at}.{key}" if at else key)
    if not inner and not optional:
        yield ".".join(filter(None, (at, "" if step == "*" else step, rest.replace("?", "")))), None


def given(value: Any) -> bool:
    """Whether there is a value, counting one that only `pulumi up` will know."""
    return value is not None and value != ""


@dataclass(frozen=True)
class Setting:
    """What must stand at a path, and what for."""

    path: str
    wanted: tuple[Any, ...]
    why: str


def settled(table: Mapping[str, Sequence[Setting]], resource_type: str, inputs: Props) -> Iterator[Finding]:
    """A sentence for each setting of `table` that a resource of this type does not have."""
    for setting in table.get(resource_type, ()):
        for where, value in find(inputs, setting.path):
            if value == UNKNOWN:
                yield Unknown(where)
            elif value not in setting.wanted:
                is_now = f"is {value!r}" if given(value) else "is not set"
                yield f"{where} {is_now}: set {' or '.join(repr(each) for each in setting.wanted)}, {setting.why}"


def of_type(resources: Iterable[Declared], resource_type: str) -> list[Declared]:
    """The resources of one type."""
    return [each for each in resources if each.type == resource_type]


def refers(resource: Declared, name: str, to: Declared, *, by: Sequence[str]) -> bool:
    """Whether `resource`'s property `name` is made from `to`, or equals one of its properties `by`."""
    if to.urn in resource.property_dependencies.get(name, ()):
        return True
    value = resource.inputs.get(name)
    return given(value) and value != UNKNOWN and value in [to.inputs.get(key) for key in by]


def without_companion(
    resources: Sequence[Declared], resource_type: str, companion: str, name: str, *, by: Sequence[str]
) -> Iterator[Declared]:
    """The resources of a type to which the property `name` of no `companion` refers."""
    companions = of_type(resources, companion)
    for resource in of_type(resources, resource_type):
        if not any(refers(each, name, resource, by=by) for each in companions):
            yield resource


def kind(resource_type: str) -> str:
    """The last part of a type's name: `aws:s3/bucketPolicy:BucketPolicy` is a `BucketPolicy`."""
    return re.split(r"[:/]", resource_type)[-1]
