"""A recorded resource graph in the words of its stack: the components at the top, and which of them uses which."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from infra.rehearsal.engine import Resource
from infra.rehearsal.kubernetes_crds import STAND_IN
from infra.rehearsal.provider import UNKNOWN
from infra.rehearsal.state import STACK_TYPE

ALARM: Final = "aws:cloudwatch/metricAlarm:MetricAlarm"
EVENT_RULE: Final = "aws:cloudwatch/eventRule:EventRule"


@dataclass(frozen=True)
class Part:
    """A component at the top of a stack, with everything that is in it; or a resource that no component holds."""

    urn: str
    kind: str
    """The component's class, such as `Endpoint`; of a single resource, its type's last word."""
    name: str
    outputs: Mapping[str, Any]
    resources: tuple[Resource, ...]
    """What it makes, in the order of its making; components within it are left out."""

    def of(self, resource_type: str) -> list[Resource]:
        """Its resources of one type, or of all types that begin so where that ends in a colon or slash."""
        if resource_type.endswith((":", "/")):
            return [each for each in self.resources if each.type.startswith(resource_type)]
        return [each for each in self.resources if each.type == resource_type]

    @cached_property
    def anchor(self) -> str:
        """A name that an address on a page may end in."""
        return re.sub(r"[^a-z0-9]+", "-", f"{self.kind}-{self.name}".lower())


@dataclass(frozen=True)
class Graph:
    """The parts of one stack."""

    stack: str
    parts: tuple[Part, ...]
    """In the order in which the program makes them."""
    uses: frozenset[tuple[str, str]]
    """(URN of a part, URN of a part that it refers to)."""

    @cached_property
    def by_urn(self) -> Mapping[str, Part]:
        """The parts by their URN."""
        return {each.urn: each for each in self.parts}


def graph(stack: str, resources: Sequence[Resource]) -> Graph:
    """The graph that a plan or a deployment recorded."""
    known = {each.urn: each for each in resources}
    roots = {each.urn for each in resources if each.type == STACK_TYPE}

    def top(urn: str) -> str:
        """The part that a resource belongs to; '' for what is none's, such as a provider or another stack."""
        while (found := known.get(urn)) and found.parent and found.parent not in roots:
            urn = found.parent
        return urn if found and found.type != STACK_TYPE and not found.type.startswith("pulumi:") else ""

    within: dict[str, list[Resource]] = {}
    for each in resources:
        if part := top(each.urn):
            within.setdefault(part, []).append(each)
    parts = tuple(
        Part(
            urn,
            known[urn].type.split(":")[-1],
            known[urn].name,
            known[urn].outputs,
            tuple(each for each in found if each.custom),
        )
        for urn, found in within.items()
    )
    uses = {(top(each.urn), top(other)) for each in resources for other in _dependencies(each)} | _mentions(parts)
    return Graph(
        stack,
        parts,
        frozenset((one, other) for one, other in uses if one and other and one != other),
    )


def is_unknown(value: object) -> bool:
    """Whether it is what only a deployment will tell, or has such a thing in it."""
    return isinstance(value, str) and (UNKNOWN in value or STAND_IN in value)


def _dependencies(resource: Resource) -> set[str]:
    return {*resource.dependencies, *(urn for urns in resource.property_dependencies.values() for urn in urns)}


def _mentions(parts: Sequence[Part]) -> set[tuple[str, str]]:
    """Who names what another part exports, or the alarms of another: a text that was known before it was made links
    resources without Pulumi's knowing it."""
    texts = {each.urn: [json.dumps(dict(one.inputs), default=str) for one in each.resources] for each in parts}
    rules = {each.urn: " ".join(str(one.inputs.get("eventPattern")) for one in each.of(EVENT_RULE)) for each in parts}
    found = set()
    for used in parts:
        # An ARN or a URI says whose it is; a bare name may be anybody's.
        marks = [each for each in used.outputs.values() if isinstance(each, str) and re.search("[:/]", each)]
        marks = [each for each in marks if not is_unknown(each)]
        alarms = [f'"{each.inputs.get("name")}"' for each in used.of(ALARM)]
        for user in parts:
            if any(mark in text for mark in marks for text in texts[user.urn]) or any(
                alarm in rules[user.urn] for alarm in alarms
            ):
                found.add((user.urn, used.urn))
    return found
