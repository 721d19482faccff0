"""Who may do what by a plan's documents, and what someone gains by another plan."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from infra.permissions import glob
from infra.rehearsal.engine import Resource
from infra.rehearsal.provider import UNKNOWN
from policies.documents import listed
from policies.resource_types import ACCESS_POLICY, ATTACHMENT, PERMISSION, POLICY, ROLE, ROLE_POLICY
from policies.rules import kind

RBAC: Final = ("kubernetes:rbac.authorization.k8s.io/v1:Role", "kubernetes:rbac.authorization.k8s.io/v1:ClusterRole")
TRUST: Final = "may be assumed by"


@dataclass(frozen=True)
class Right:
    """One thing that a document allows someone, or keeps from them: `sqs:SendMessage on arn:…`."""

    what: str
    """An action or a pattern of it; another phrase where it is no action of AWS."""
    on: str
    """An ARN or a pattern of it, or who may assume a role."""
    if_: str = ""
    """Under which condition, as it follows in a sentence."""
    allows: bool = True
    by: str = ""
    """By whose policy, where it is the resource's own."""

    def __str__(self) -> str:
        denied = "" if self.allows else "not "
        if self.what == TRUST:
            return f"{self.what} {denied}{self.on}{self.if_}"
        return f"{denied}{self.what}{f' on {self.on}' if self.on else ''}{self.if_}{self.by}"

    def covers(self, other: "Right") -> bool:
        """Whether who has this has the other one as well."""
        return (
            glob(self.what, ignore_case=True).fullmatch(other.what) is not None
            and glob(self.on).fullmatch(other.on) is not None
            and self.if_ in ("", other.if_)
            and self.allows == other.allows
            and self.by == other.by
        )


@dataclass(frozen=True)
class Rights:
    """What someone's documents say now and did not before, and the other way round: `sqs:SendMessage on arn:…`."""

    who: str
    gains: tuple[str, ...]
    loses: tuple[str, ...]
    widened: tuple[str, ...] = ()
    """What they can do by that and could not before: without what another statement gave them already, and with what
    is no longer refused."""
    new: bool = False
    """Whether nothing was said of them before."""


def compared(before: Sequence[Resource], after: Sequence[Resource]) -> Iterator[Rights]:
    """Who may do more or less after than before."""
    old, new = granted(before), granted(after)
    for who in sorted(old.keys() | new.keys()):
        gains, loses = new[who] - old[who], old[who] - new[who]
        if gains or loses:
            widened = [str(each) for each in gains if each.allows and not any(one.covers(each) for one in old[who])]
            freed = [each for each in loses if not each.allows and not any(one.covers(each) for one in new[who])]
            widened += [f"is no longer refused {_refused(each)}" for each in freed]
            yield Rights(
                who,
                tuple(sorted(map(str, gains))),
                tuple(sorted(map(str, loses))),
                tuple(sorted(widened)),
                new=not old[who],
            )


def _refused(right: Right) -> str:
    return str(Right(right.what, right.on, right.if_, by=right.by))


def granted(resources: Sequence[Resource]) -> defaultdict[str, set[Right]]:
    """Everything that the stack's documents allow or deny, by who."""
    found: defaultdict[str, set[Right]] = defaultdict(set)
    by_urn = {each.urn: each for each in resources}
    for each in resources:
        for who, right in _of(each, by_urn):
            found[who].add(right)
    return found


def _of(each: Resource, by_urn: Mapping[str, Resource]) -> Iterator[tuple[str, Right]]:
    inputs = each.inputs
    if each.type == ROLE:
        who = f"role {each.name}"
        yield from ((who, right) for right in _trust(inputs.get("assumeRolePolicy")))
        for inline in inputs.get("inlinePolicies") or ():
            yield from ((who, right) for right in _document(inline.get("policy")))
        yield from ((who, Right(f"all of {arn}", "")) for arn in inputs.get("managedPolicyArns") or ())
        if inputs.get("permissionsBoundary"):
            yield who, Right(f"more than {inputs['permissionsBoundary']}", "", allows=False)
    elif each.type == ROLE_POLICY:
        yield from ((_role_of(each, by_urn), right) for right in _document(inputs.get("policy")))
    elif each.type == ATTACHMENT:
        policy = next((by_urn[urn] for urn in each.property_dependencies.get("policyArn", ()) if urn in by_urn), None)
        document = policy.inputs.get("policy") if policy and policy.type == POLICY else None
        rights = _document(document) if document else [Right(f"all of {inputs.get('policyArn')}", "")]
        yield from ((_role_of(each, by_urn), right) for right in rights)
    elif each.type == PERMISSION:
        limits = [str(inputs[key]) for key in ("sourceArn", "sourceAccount", "principalOrgId") if inputs.get(key)]
        if_ = f" if {', '.join(limits)}" if limits else ""
        yield str(inputs.get("principal")), Right(str(inputs.get("action")), str(inputs.get("function")), if_)
    elif each.type == ACCESS_POLICY:
        where = json.dumps(inputs.get("accessScope"), sort_keys=True)
        yield (
            str(inputs.get("principalArn")),
            Right(f"{inputs.get('policyArn')} in cluster {inputs.get('clusterName')}, {where}", ""),
        )
    elif each.type in RBAC:
        for rule in inputs.get("rules") or ():
            on = ", ".join(map(str, rule.get("resources") or rule.get("nonResourceURLs") or ()))
            yield f"Kubernetes {kind(each.type)} {each.name}", Right(", ".join(rule.get("verbs") or ()), on)
    elif each.type != POLICY:
        # What has a policy of its own: a bucket, a key, a queue, a topic, a repository, an endpoint of the network.
        for key, value in inputs.items():
            if "policy" in key.lower() and isinstance(value, str) and '"Statement"' in value:
                yield from _by_principal(value, f"{kind(each.type)} {each.name}")


def _role_of(each: Resource, by_urn: Mapping[str, Resource]) -> str:
    for urn in each.property_dependencies.get("role", ()):
        if urn in by_urn and by_urn[urn].type == ROLE:
            return f"role {by_urn[urn].name}"
    return f"role {each.inputs.get('role')}"


def _statements(text: Any) -> list[Mapping[str, Any]]:
    try:
        document = json.loads(text) if isinstance(text, str) else text
    except ValueError:
        return []
    found = listed(document.get("Statement")) if isinstance(document, Mapping) else ()
    return [each for each in found if isinstance(each, Mapping)]


def _document(text: Any) -> list[Right]:
    """What a document says of who has it."""
    if text == UNKNOWN:
        return [Right("what only `up` will tell", "")]
    return [right for each in _statements(text) for right in _said(each)]


def _said(statement: Mapping[str, Any], by: str = "") -> Iterator[Right]:
    if_ = _conditions(statement)
    actions = [str(each) for each in listed(statement.get("Action"))]
    actions += [f"all but {each}" for each in listed(statement.get("NotAction"))]
    resources = [str(each) for each in listed(statement.get("Resource"))]
    resources += [f"all but {each}" for each in listed(statement.get("NotResource"))]
    for action in actions:
        for resource in resources or ["it"]:
            yield Right(action, resource, if_, statement.get("Effect") != "Deny", by)


def _conditions(statement: Mapping[str, Any]) -> str:
    said = statement.get("Condition")
    return f" if {json.dumps(said, sort_keys=True)}" if said else ""


def _principals(statement: Mapping[str, Any]) -> list[str]:
    named = statement.get("Principal")
    if isinstance(named, Mapping):
        return [str(each) for of in named.values() for each in listed(of)]
    if named is not None:
        return ["everyone" if named == "*" else str(named)]
    return [f"everyone but {each}" for of in (statement.get("NotPrincipal") or {}).values() for each in listed(of)]


def _trust(text: Any) -> Iterator[Right]:
    for each in _statements(text):
        for who in _principals(each):
            yield Right(TRUST, who, _conditions(each), each.get("Effect") != "Deny")


def _by_principal(text: str, on: str) -> Iterator[tuple[str, Right]]:
    for each in _statements(text):
        for who in _principals(each):
            for right in _said(each, f", by the policy of {on}"):
                yield "everyone" if who == "*" else who, right


def together(texts: Iterable[str]) -> str:
    """Some rights as one phrase: the actions on one thing together, as `s3:GetObject, s3:PutObject on arn:…`."""
    found: dict[str, list[str]] = {}
    for text in texts:
        what, on, rest = text.partition(" on ")
        found.setdefault(f" on {rest}" if on else "", []).append(what)
    return "; ".join(f"{', '.join(actions)}{place}" for place, actions in found.items())
