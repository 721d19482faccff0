"""How two environments differ: setting by setting with every default filled in, and which differences are meant.

A difference is meant where stacks/environments.yaml says so, with a reason, for an environment between the two; or
where it only names the environment itself: its account, its tags, its stacks.
"""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from infra.changes import Changed
from infra.environments import Environment, EnvironmentsError, environment, environments
from infra.plan_words import kinds, title
from infra.rehearsal.engine import Plan, Resource
from infra.settings import Settings, SettingsError, load, stack_names
from policies.cost.usage import Usage

Status = Literal["meant", "identity", "not meant"]
IDENTITY: Final = frozenset({"tags.environment", "tags.cost-center"})
"""Settings that are each environment's own by what they are."""
ABSENT: Final = "-"
"""Stands for what one of the two does not have."""
WIDTH: Final = 48
"""Characters of a value that are shown."""
Plans = Callable[[Sequence[str]], Sequence[tuple[Settings, Plan]]]
"""Plans stacks as if nothing existed."""


@dataclass(frozen=True)
class Difference:
    """One setting that two environments give different values."""

    product: str
    key: str
    """As in the stack's YAML: `endpoint.max_instances`; '' where only one of the two has the product."""
    first: Any
    second: Any
    status: Status
    why: str = ""
    """The reason that stacks/environments.yaml gives."""

    @property
    def path(self) -> str:
        """The key under which stacks/environments.yaml would say that it is meant."""
        return f"{self.product}.{self.key}" if self.key else self.product


@dataclass(frozen=True)
class Only:
    """Resources that one of the two has, and the other has not."""

    product: str
    environment: str
    component: str
    resources: tuple[str, ...]
    """As `aws:sqs/queue:Queue orders`, names without the stack's."""
    kinds: str
    """How many of which kind: `3 metric alarms, 1 queue`."""


@dataclass(frozen=True)
class Comparison:
    """How two environments differ."""

    first: str
    second: str
    environments: Mapping[str, Environment]
    differences: tuple[Difference, ...]
    only: tuple[Only, ...]
    stale: tuple[str, ...]
    """Entries of `differs` that stand for no difference any more."""

    @property
    def ok(self) -> bool:
        """Whether every difference is meant."""
        return all(each.status != "not meant" for each in self.differences)

    def to_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "ok": self.ok,
            "environments": {
                name: {"account": each.account, "region": each.region, "version": each.version}
                for name, each in self.environments.items()
            },
            "differences": [asdict(each) for each in self.differences],
            "only": [asdict(each) for each in self.only],
            "stale": list(self.stale),
        }


def compare(first: str, second: str, plans: Plans | None = None) -> Comparison:
    """How the stacks of two environments differ; the resources that only one has are found with `plans`.

    Raises SettingsError for what is no environment, or where a stack's YAML is wrong.
    """
    try:
        known = {name: environment(name) for name in (first, second)}
        order = list(environments())
    except EnvironmentsError as error:
        raise SettingsError(str(error)) from None
    if first == second:
        raise SettingsError(f"{first} does not differ from itself: name two environments of {', '.join(order)}")
    start, end = sorted((order.index(first), order.index(second)))
    steps = [environment(name) for name in order[start + 1 : end + 1]]
    of = {name: _stacks(name) for name in (first, second)}
    found: list[Difference] = []
    for product in sorted(of[first].keys() | of[second].keys()):
        found += _differences(product, of[first].get(product), of[second].get(product), known, steps)
    stale = _stale(steps[0], found) if len(steps) == 1 else ()
    only = _only(first, second, of, plans) if plans else ()
    return Comparison(first, second, known, tuple(found), tuple(only), tuple(stale))


def _stacks(name: str) -> dict[str, Settings]:
    """The stacks of an environment by product."""
    return {stack.removesuffix(f"-{name}"): load(stack) for stack in stack_names() if stack.rpartition("-")[2] == name}


def _differences(
    product: str,
    first: Settings | None,
    second: Settings | None,
    known: Mapping[str, Environment],
    steps: Sequence[Environment],
) -> Iterator[Difference]:
    if first is None or second is None:
        there = ABSENT if first is None else first.stack, ABSENT if second is None else second.stack
        why = _meant(product, steps)
        yield Difference(product, "", *there, "meant" if why else "not meant", why or "")
        return
    for key, one, other in differing(values(first), values(second)):
        why = _meant(f"{product}.{key}", steps)
        status: Status = "meant" if why else "not meant"
        if key in IDENTITY or _without_identity(one, first) == _without_identity(other, second):
            status, why = "identity", ""
        yield Difference(product, key, one, other, status, why or "")


def _meant(path: str, steps: Sequence[Environment]) -> str | None:
    return next((why for step in steps if (why := step.meant(path))), None)


def values(settings: Settings) -> dict[str, Any]:
    """Everything that a stack's YAML may say, with what it leaves out as it is by default."""
    other = {
        key.removeprefix("slipway:").replace(":", "."): _plain(value)
        for key, value in settings.config.items()
        if key not in ("aws:allowedAccountIds", "aws:defaultTags", "aws:region", "slipway:settings", "slipway:usage")
    }
    return {
        **other,
        "tags": dict(settings.tags),
        "usage": Usage.model_validate(_plain(settings.config.get("slipway:usage", "{}"))).model_dump(mode="json"),
        # An endpoint is written as its own kind, and not as what all kinds have in common.
        **settings.program.model_dump(mode="json", serialize_as_any=True),
    }


def _plain(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def differing(first: Any, second: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """The dotted key of each value that differs, with both; what only one has is one value, and so is a list."""
    if isinstance(first, dict) and isinstance(second, dict):
        for key in sorted(first.keys() | second.keys(), key=str):
            below = f"{path}.{key}" if path else str(key)
            if key in first and key in second:
                yield from differing(first[key], second[key], below)
            else:
                yield below, first.get(key, ABSENT), second.get(key, ABSENT)
    elif first != second:
        yield path, first, second


def _without_identity(value: Any, settings: Settings) -> str:
    """A value without the names of its own environment, so that those of two can be compared."""
    text = json.dumps(value, sort_keys=True, default=str).replace(settings.account_id, "{account}")
    return re.sub(rf"(?<=[-/_]){settings.environment}\b", "{environment}", text)


def _stale(step: Environment, found: Sequence[Difference]) -> Iterator[str]:
    """What an environment says of differences that there are not."""
    for entry in step.differs:
        alone = Environment(account=step.account, region=step.region, differs={entry: step.differs[entry]})
        if not any(alone.meant(each.path) for each in found if each.status != "identity"):
            yield entry


# --- resources --------------------------------------------------------------------------------------------------------


def _only(first: str, second: str, of: Mapping[str, Mapping[str, Settings]], plans: Plans) -> Iterator[Only]:
    both = sorted(of[first].keys() & of[second].keys())
    planned = {settings.stack: plan for settings, plan in plans([of[env][each].stack for each in both for env in of])}
    for product in both:
        ours, theirs = (_named(planned[of[env][product].stack], env) for env in (first, second))
        for env, here, there in ((first, ours, theirs), (second, theirs, ours)):
            groups: defaultdict[str, list[str]] = defaultdict(list)
            for name, (component, _) in here.items():
                if name not in there:
                    groups[component].append(name)
            for component, names in sorted(groups.items()):
                made = [here[name][1] for name in names]
                yield Only(product, env, component, tuple(sorted(names)), kinds(made))


def _named(plan: Plan, environment_: str) -> dict[str, tuple[str, Changed]]:
    """The resources of a plan by type and name, as any environment has them: with their component, as creations."""
    by_urn = {each.urn: each for each in plan.resources}
    found = {}
    for each in plan.resources:
        if each.custom and not each.type.startswith("pulumi:"):
            name = re.sub(rf"-{environment_}(?=-|$)", "", each.name)
            outer = _outermost(each, by_urn)
            component = title(outer, plan.stack) if outer else "The stack itself"
            found[f"{each.type} {name}"] = component, Changed("create", each.type, each.name, each.urn, (), ())
    return found


def _outermost(each: Resource, by_urn: Mapping[str, Resource]) -> str:
    above = [each.urn]
    while (one := by_urn.get(above[-1])) and one.parent in by_urn:
        above.append(one.parent)
    return above[-2] if len(above) > 2 else ""


# --- text -------------------------------------------------------------------------------------------------------------


def text(found: Comparison) -> Iterator[str]:
    """For a terminal: versions side by side, what is not meant, then what is, with its reason."""
    first, second = (found.environments[name] for name in (found.first, found.second))
    counts = Counter(each.status for each in found.differences)
    yield (
        f"{found.first} and {found.second}: {counts['not meant']} differences that nobody meant, "
        f"{counts['meant']} that are meant, {counts['identity']} in their own names"
    )
    rows = [(key, getattr(first, key) or ABSENT, getattr(second, key) or ABSENT) for key in ("version", "account")]
    yield from _table([("", found.first, found.second), *rows, ("region", first.region, second.region)])
    unmeant = [each for each in found.differences if each.status == "not meant"]
    if unmeant:
        yield ""
        yield "Not meant: make them the same, or say in stacks/environments.yaml why not"
        yield from _table([(each.path, _shown(each.first), _shown(each.second)) for each in unmeant])
    meant = defaultdict(list)
    for each in found.differences:
        if each.status == "meant":
            meant[each.why].append(each)
    if meant:
        yield ""
        yield "Meant"
    for why, same in meant.items():
        yield f"  {why}"
        yield from (f"  {row}" for row in _table([(e.path, _shown(e.first), _shown(e.second)) for e in same]))
    if found.only:
        yield ""
        yield "Resources that only one of them has"
    for one in found.only:
        yield f"  {one.environment}, {one.product}, {one.component}: {one.kinds}"
    for entry in found.stale:
        yield f"stacks/environments.yaml, {found.second}: {entry!r} explains no difference any more: take it out"


def _table(rows: Iterable[tuple[str, str, str]]) -> Iterator[str]:
    listed = list(rows)
    widths = [max(len(row[column]) for row in listed) for column in (0, 1)]
    for key, one, other in listed:
        yield f"  {key:{widths[0]}}  {one:{widths[1]}}  {other}".rstrip()


def _shown(value: Any) -> str:
    if value is None:
        return ABSENT
    words = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return words if len(words) <= WIDTH else f"{words[: WIDTH - 1]}…"
