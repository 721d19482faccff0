"""What stacks cost a month: at least, as they are expected to be used, and at most; by component, product and team.

The numbers are those that the cost pack refuses by. A team's limit is held against all of its stacks here, where the
pack, which sees one stack, holds it against that one.
"""

import contextvars
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

from pulumi.runtime.config import set_all_config

from infra.rehearsal.engine import Plan
from infra.settings import Settings
from policies.cost import prices
from policies.cost.fit import Fit, cheapest_fit
from policies.cost.money import over_team_budget, too_much_more
from policies.cost.pricing import Line, default_tags, estimate, stated_usage, unpriced
from policies.rules import Declared, Unknown

By = Literal["component", "product", "team", "resource"]
BAR: Final = 24
"""Characters of the longest bar."""


@dataclass(frozen=True)
class Amounts:
    """Dollars a month."""

    floor_usd: float = 0
    expected_usd: float = 0
    ceiling_usd: float = 0

    @classmethod
    def of(cls, lines: Iterable[Line]) -> "Amounts":
        """The sums of some lines."""
        found = list(lines)
        return cls(
            sum(each.floor_usd for each in found),
            sum(each.expected_usd for each in found),
            sum(each.ceiling_usd for each in found),
        )

    def __sub__(self, other: "Amounts") -> "Amounts":
        return Amounts(
            self.floor_usd - other.floor_usd,
            self.expected_usd - other.expected_usd,
            self.ceiling_usd - other.ceiling_usd,
        )


@dataclass(frozen=True)
class StackCost:
    """What one stack costs."""

    stack: str
    environment: str
    budget_usd: float
    total: Amounts
    lines: tuple[Line, ...]
    usage: Mapping[str, float]
    """What the stack's YAML states of its use."""
    assumed: Mapping[str, float]
    """What it does not state, and is assumed."""
    refused: tuple[str, ...]
    """Why it may not be deployed so."""
    fit: Fit | None
    """Where it is over its budget: the least to change."""
    before: tuple[Line, ...] | None = None
    """What it is compared with."""
    since: str = ""
    """Whose lines `before` are."""

    def by(self, what: By) -> dict[str, tuple[Amounts, Amounts | None]]:
        """The amounts of each part, dearest first, and those that they are compared with."""
        now, then = _parts(self.lines, what), _parts(self.before or (), what)
        names = sorted({*now, *then}, key=lambda name: (-now.get(name, Amounts()).ceiling_usd, name))
        compared = self.before is not None
        return {name: (now.get(name, Amounts()), then.get(name, Amounts()) if compared else None) for name in names}

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        parts: tuple[By, ...] = ("component", "product", "team", "resource")
        told = {
            f"by_{what}": {
                name: {**asdict(now), **({"before": asdict(then)} if then else {})}
                for name, (now, then) in self.by(what).items()
            }
            for what in parts
        }
        return {
            "stack": self.stack,
            "environment": self.environment,
            "budget_usd": self.budget_usd,
            "total": asdict(self.total),
            **({"before": asdict(Amounts.of(self.before)), "since": self.since} if self.before is not None else {}),
            **told,
            "lines": [asdict(each) for each in self.lines],
            "usage": dict(self.usage),
            "assumed": dict(self.assumed),
            "refused": list(self.refused),
            "fit": asdict(self.fit) if self.fit else None,
        }


def _parts(lines: Iterable[Line], what: By) -> dict[str, Amounts]:
    found: dict[str, list[Line]] = {}
    for line in lines:
        found.setdefault(getattr(line, what), []).append(line)
    return {name: Amounts.of(each) for name, each in found.items()}


@dataclass(frozen=True)
class CostReport:
    """What some stacks cost, and together what each team does."""

    stacks: tuple[StackCost, ...]
    teams: Mapping[str, Mapping[str, Amounts]]
    """By environment, then by team."""
    refused: tuple[str, ...]
    """What is wrong with all of them together: a team over its limit."""
    warnings: tuple[str, ...] = field(default=())

    @property
    def ok(self) -> bool:
        """Whether each stack and each team is within its budget, and everything has a price."""
        return not self.refused and not any(each.refused for each in self.stacks)

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "ok": self.ok,
            "stacks": [each.to_dict() for each in self.stacks],
            "teams": {
                env: {team: asdict(amounts) for team, amounts in by_team.items()} for env, by_team in self.teams.items()
            },
            "refused": list(self.refused),
            "warnings": list(self.warnings),
        }

    def text(self, by: By = "component") -> Iterator[str]:
        """As text: for each stack a table with bars, then what teams spend, and what is wrong."""
        for each in self.stacks:
            yield from _stack(each, by)
            yield ""
        if len(self.stacks) > 1:
            yield "By team, in each environment:"
            rows = {
                f"{team} ({env})": (amounts, None)
                for env, by_team in self.teams.items()
                for team, amounts in by_team.items()
            }
            yield from _table(rows)
            yield ""
        yield from self.refused
        yield from (f"warning: {each}" for each in self.warnings)


def _stack(cost: StackCost, by: By) -> Iterator[str]:
    total = cost.total
    yield (
        f"{cost.stack}: ${total.floor_usd:,.0f} at least, ${total.expected_usd:,.0f} expected, "
        f"${total.ceiling_usd:,.0f} at most, of ${cost.budget_usd:,.0f} a month"
    )
    if cost.before is not None:
        change = total - Amounts.of(cost.before)
        yield (
            f"  since {cost.since}: {change.floor_usd:+,.0f} at least, {change.expected_usd:+,.0f} expected, "
            f"{change.ceiling_usd:+,.0f} at most"
        )
    yield from _table(cost.by(by))
    stated = ", ".join(f"{key} {value:g}" for key, value in cost.usage.items())
    yield f"  stated: {stated}" if stated else "  stated: nothing (slipway:usage in the stack's YAML)"
    yield f"  assumed: {', '.join(f'{key} {value:g}' for key, value in cost.assumed.items())}"
    yield from (f"  refused: {each}" for each in cost.refused)


def _table(rows: Mapping[str, tuple[Amounts, Amounts | None]]) -> Iterator[str]:
    compared = any(then for _, then in rows.values())
    shown = {
        name: (now, then) for name, (now, then) in rows.items() if max(vars(now).values(), default=0) >= 0.5 or then
    }
    width = max([len(name) for name in (*shown, "the rest")])
    most = max([1.0, *(now.ceiling_usd for now, _ in shown.values())])
    change = f"{'change':>10}" if compared else ""
    yield f"  {'':{width}}{'at least':>10}{'expected':>10}{'at most':>10}{change}  █ at least ▓ expected ░ at most"
    for name, (now, then) in shown.items():
        more = f"{now.ceiling_usd - then.ceiling_usd:>+10,.0f}" if then else ""
        yield f"  {name:{width}}{_dollars(now)}{more}  {_bar(now, most)}"
    left = [now for name, (now, _) in rows.items() if name not in shown]
    if left:
        rest = Amounts(
            sum(each.floor_usd for each in left),
            sum(each.expected_usd for each in left),
            sum(each.ceiling_usd for each in left),
        )
        yield f"  {'the rest':{width}}{_dollars(rest)}"


def _dollars(amounts: Amounts) -> str:
    return "".join(f"{each:>10,.0f}" for each in vars(amounts).values())


def _bar(amounts: Amounts, most: float) -> str:
    parts = (amounts.floor_usd, amounts.expected_usd, amounts.ceiling_usd)
    floor, expected, ceiling = (round(BAR * each / most) for each in parts)
    return "█" * floor + "▓" * (expected - floor) + "░" * (ceiling - expected)


Before = Callable[[str], tuple[str, Sequence[Declared]] | None]
"""For a stack, what it is compared with, and how that is called; None where there is nothing."""


def costs(plans: Sequence[tuple[Settings, Plan]], before: Before | None = None) -> CostReport:
    """What these stacks cost as they are planned, and what that changes about what was there before."""
    stacks, by_env = [], dict[str, dict[str, list[Line]]]()
    for settings, plan in plans:
        found = contextvars.copy_context().run(_cost, settings, tuple(plan.resources), before)
        stacks.append(found)
        for line in found.lines:
            by_env.setdefault(settings.environment, {}).setdefault(line.team, []).append(line)
    refused = [
        sentence
        for env, by_team in by_env.items()
        for team, lines in sorted(by_team.items())
        for sentence in over_team_budget(team, sorted(lines, key=lambda each: -each.ceiling_usd), env)
    ]
    teams = {env: {team: Amounts.of(lines) for team, lines in by_team.items()} for env, by_team in by_env.items()}
    return CostReport(tuple(stacks), teams, tuple(refused), tuple(prices.warnings()))


def _cost(settings: Settings, resources: tuple[Declared, ...], before: Before | None) -> StackCost:
    set_all_config(dict(settings.config))
    usage, tags = stated_usage(), default_tags()
    lines, budget = estimate(resources), settings.usd_per_month
    total = Amounts.of(lines)
    refused = [
        f"{resource.name}: {finding}" for resource, finding in unpriced(resources) if not isinstance(finding, Unknown)
    ]
    fit = None
    if total.ceiling_usd > budget:
        fit = cheapest_fit(resources, usage, tags, budget)
        refused.append(f"may cost ${total.ceiling_usd:,.0f} a month, and may ${budget:,.0f}. {fit}")
    was = before(settings.stack) if before else None
    then = tuple(estimate(was[1], usage, tags)) if was else None
    if then:
        refused += too_much_more(then, lines)
    return StackCost(
        settings.stack,
        settings.environment,
        budget,
        total,
        tuple(lines),
        usage.model_dump(include=set(usage.model_fields_set)),
        usage.model_dump(exclude=set(usage.model_fields_set)),
        tuple(refused),
        fit,
        then,
        was[0] if was else "",
    )
