"""Runs a policy on one resource, or on a few, in the shape in which the Pulumi engine shows them to it."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pretend_aws import PretendAws
from pulumi_policy import ResourceValidationArgs, StackValidationArgs
from pulumi_policy.proxy import unknown_checking_proxy

from infra.check import PACKS, linked, options
from infra.rehearsal.engine import Resource
from policies.rules import Undecided

ACCOUNT = "123456789012"
KEY = f"arn:aws:kms:us-east-1:{ACCOUNT}:key/ours"
NOT_WITHOUT_A_STACK = frozenset({"cost-anomaly", "cost-budget-exists", "cost-stack-budget", "cost-team-budget"})
"""Controls about what stands beside a component in its stack: a budget, and an owner."""


@dataclass
class Verdict:
    """What a policy said."""

    sentences: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    about: list[str | None] = field(default_factory=list)


def resource(
    kind: str, name: str = "it", /, *, uses: Mapping[str, Sequence[str]] | None = None, **inputs: Any
) -> Resource:
    """A resource in a plan; `uses` names the resources that a property comes from, as `type::name`."""
    return Resource(
        urn=urn(f"{kind}::{name}"),
        type=kind,
        name=name,
        custom=True,
        id=None,
        inputs=inputs,
        outputs=inputs,
        property_dependencies={key: tuple(map(urn, used)) for key, used in (uses or {}).items()},
    )


def planned(made: PretendAws, **more: Any) -> tuple[Resource, ...]:
    """What a pretend AWS was asked for, as a plan has it: with links, found by the names, ids, ARNs and URLs in it."""
    asked = [each for each in made.resources if each.custom]
    named: dict[str, list[str]] = {}
    for each in asked:
        named.setdefault(each.name, []).append(f"{each.typ}::{each.name}")

    def used(value: Any) -> list[str]:
        text = json.dumps(value, default=str)
        found = re.findall(r'arn:aws:pretend:::([\w.-]+)|([\w.-]+)-id\b|https://queue/([\w.-]+)|"([\w.-]+)"', text)
        return sorted({one for names in found for name in names for one in named.get(name, ())})

    return tuple(
        resource(
            each.typ,
            each.name,
            uses={key: links for key, value in each.inputs.items() if (links := used(value))},
            **{**more, **each.inputs},
        )
        for each in asked
    )


def urn(of: str) -> str:
    return f"urn:pulumi:test::slipway::{of}"


def judge(rule: str, kind: str, inputs: Mapping[str, Any]) -> Verdict:
    """What the resource policy `rule` says about one resource."""
    one = resource(kind, **inputs)
    props = unknown_checking_proxy(_as_on_the_wire(dict(inputs)))
    args = ResourceValidationArgs(kind, props, one.urn, one.name, options(one), provider=None)
    return _verdict(_policy(rule), args)


def judge_stack(rule: str, *resources: Resource) -> Verdict:
    """What the stack policy `rule` says about all of these resources together."""
    return _verdict(_policy(rule), StackValidationArgs(linked(resources)))


def document(*statements: Mapping[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(**rest: Any) -> str:
    """A document with one statement that allows."""
    return document({"Effect": "Allow", **rest})


def _policy(rule: str) -> Any:
    [found] = [each for policies in PACKS.values() for each in policies if each.name == rule]
    return found


def _verdict(policy: Any, args: Any) -> Verdict:
    verdict = Verdict()

    def report(sentence: str, about: str | None) -> None:
        verdict.sentences.append(sentence)
        verdict.about.append(about)

    try:
        policy.validate(args, report)
    except Undecided as undecided:
        verdict.unknown = [each.path for _, each in undecided.unknown]
    return verdict


def _as_on_the_wire(value: Any) -> Any:
    """Pulumi sends every number as a float."""
    if isinstance(value, dict):
        return {key: _as_on_the_wire(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_as_on_the_wire(each) for each in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value
