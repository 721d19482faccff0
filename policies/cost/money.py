"""A stack stays within its budget at its largest size, everything in it has a price, and somebody hears of spending."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import pulumi
from pulumi_policy import Severity

from policies.cost.deployed import NoState, deployed_before
from policies.cost.fit import cheapest_fit
from policies.cost.prices import PRICES
from policies.cost.pricing import (
    NOBODY,
    NOT_KNOWN,
    Line,
    default_tags,
    estimate,
    is_free,
    stated_usage,
    unpriced,
)
from policies.limits import environment, limits
from policies.rules import (
    UNKNOWN,
    Control,
    Declared,
    Finding,
    Props,
    Setting,
    Unknown,
    find,
    given,
    of_type,
    refers,
    settled,
)

Findings = Iterator[tuple[Declared | None, Finding]]

BUDGET = "aws:budgets/budget:Budget"
MONITOR = "aws:costexplorer/anomalyMonitor:AnomalyMonitor"
SUBSCRIPTION = "aws:costexplorer/anomalySubscription:AnomalySubscription"

DEAREST: Final = 3
"""How many resources a refusal names."""


def usd_per_month() -> float:
    """The stack's budget, `slipway:usd_per_month` in its YAML."""
    return pulumi.Config("slipway").require_float("usd_per_month")


def dearest(lines: Iterable[Line]) -> str:
    """The resources that cost the most at most, each with its largest part."""
    by_name: dict[str, list[Line]] = {}
    for line in lines:
        by_name.setdefault(line.resource, []).append(line)
    total = {name: sum(line.ceiling_usd for line in each) for name, each in by_name.items()}
    first = sorted(total, key=lambda name: -total[name])[:DEAREST]
    return "; ".join(f"{name} ${total[name]:,.0f} ({_largest(by_name[name])})" for name in first)


def _largest(lines: Sequence[Line]) -> str:
    return max(lines, key=lambda line: line.ceiling_usd).what


def _within_stack_budget(resources: Sequence[Declared]) -> Findings:
    for resource, finding in unpriced(resources):
        if isinstance(finding, Unknown):
            yield resource, finding
    lines, limit = estimate(resources), usd_per_month()
    ceiling = sum(line.ceiling_usd for line in lines)
    if ceiling > limit:
        fit = cheapest_fit(resources, stated_usage(), default_tags(), limit)
        unknown = sorted({line.resource for line in lines if NOT_KNOWN in line.what})
        guessed = f" Of these, {', '.join(unknown)} counts as the most that is allowed." if unknown else ""
        yield (
            None,
            f"may cost ${ceiling:,.0f} a month, and slipway:usd_per_month allows ${limit:,.0f}. The dearest: "
            f"{dearest(lines)}.{guessed} {fit}",
        )


def _within_team_budget(resources: Sequence[Declared]) -> Findings:
    """One stack is judged: what a team's other stacks cost, `slipway cost <environment>` adds."""
    by_team: dict[str, list[Line]] = {}
    for line in estimate(resources):
        by_team.setdefault(line.team, []).append(line)
    for team, lines in sorted(by_team.items()):
        for sentence in over_team_budget(team, lines, environment()):
            yield None, sentence


def over_team_budget(team: str, lines: Sequence[Line], env: str) -> Iterator[str]:
    """A sentence where a team's resources in an environment may cost more than limits.yaml gives it."""
    ceiling = sum(line.ceiling_usd for line in lines)
    if team == NOBODY:
        if ceiling > 0:
            yield (
                f"${ceiling:,.0f} a month has no owner: {dearest(lines)}. Set the tag owner in aws:defaultTags of the "
                "stack's YAML"
            )
        return
    held = limits().cost.team(team)
    allowed = held.usd_per_month.get(env, 0) if held else 0
    if ceiling > allowed:
        yield (
            f"team {team} may spend ${ceiling:,.0f} a month in {env}, and policies/limits.yaml gives it "
            f"${allowed:,.0f} (cost.teams). The dearest: {dearest(lines)}. Lower these, or have the limit raised"
        )


def _in_small_steps(resources: Sequence[Declared]) -> Findings:
    try:
        before = deployed_before(resources)
    except NoState as error:
        yield None, str(error)
        return
    if before:
        yield from ((None, each) for each in too_much_more(estimate(before), estimate(resources)))


def too_much_more(before: Iterable[Line], after: Iterable[Line]) -> Iterator[str]:
    """A sentence where a change raises what a stack may cost by more than limits.yaml allows at once."""
    was, now = (_by_resource(each) for each in (before, after))
    more = sum(now.values()) - sum(was.values())
    allowed = limits().cost.increase
    percent = 100 * more / sum(was.values()) if sum(was.values()) else 0
    if more <= allowed.usd or percent <= allowed.percent:
        return
    raised = sorted(now, key=lambda name: was.get(name, 0) - now[name])[:DEAREST]
    named = "; ".join(f"{name} ${was.get(name, 0):,.0f} → ${now[name]:,.0f}" for name in raised)
    yield (
        f"may cost ${more:,.0f} a month more than what is deployed (+{percent:.0f} %), and policies/limits.yaml allows "
        f"${allowed.usd:,.0f} or {allowed.percent:g} % at once (cost.increase). What rises: {named}. Deploy it in steps"
    )


def _by_resource(lines: Iterable[Line]) -> dict[str, float]:
    found: dict[str, float] = {}
    for line in lines:
        found[line.resource] = found.get(line.resource, 0) + line.ceiling_usd
    return found


def _priced(resources: Sequence[Declared]) -> Findings:
    region = pulumi.Config("aws").require("region")
    if region != PRICES["region"]:
        yield None, f"is in {region}, and policies/cost/prices.json holds prices of {PRICES['region']} only: add them"
    yield from unpriced(resources)


def costs_something(resources: Sequence[Declared]) -> bool:
    """Whether anything in a stack may be on AWS's bill."""
    return any(each.type.startswith("aws:") and not is_free(each.type) for each in resources)


def _budget_exists(resources: Sequence[Declared]) -> Findings:
    budgets = of_type(resources, BUDGET)
    if costs_something(resources) and not budgets:
        yield None, "has no aws.budgets.Budget, so nobody hears of it when money runs out: add components.budget.Budget"
    for budget in budgets:
        yield from ((budget, finding) for finding in _heard(budget.inputs))


BUDGET_SETTINGS: Final = {
    BUDGET: (
        Setting("budgetType", ("COST",), "so that it counts money"),
        Setting("timeUnit", ("MONTHLY",), "as slipway:usd_per_month is a month's"),
        Setting("limitUnit", ("USD",), "as slipway:usd_per_month is in dollars"),
    )
}


def _heard(inputs: Props) -> Iterator[Finding]:
    yield from settled(BUDGET_SETTINGS, BUDGET, inputs)
    if not given(inputs.get("limitAmount")):
        yield "limitAmount is not set: set what the stack may cost a month"
    notified = set()
    for where, notification in find(inputs, "notifications?.*?"):
        if notification == UNKNOWN:
            yield Unknown(where)
            return
        if notification.get("subscriberSnsTopicArns") or notification.get("subscriberEmailAddresses"):
            notified.add(notification.get("notificationType"))
    for style in ("ACTUAL", "FORECASTED"):
        if style not in notified:
            yield f"nobody is told of {style} spending: add a notification with a topic or an address"


def _budget_scoped(_: str, inputs: Props) -> Iterator[Finding]:
    """What a budget counts is told by tags: without, it counts the whole account, and each stack's rings for all."""
    expression: Any = inputs.get("filterExpression")
    if given(expression) and expression != UNKNOWN and (expression.get("tags") or {}).get("key"):
        return
    filters = inputs.get("costFilters") or []
    if UNKNOWN in (filters, expression) or UNKNOWN in filters:
        yield Unknown("costFilters")
        return
    tagged: list[Any] = [value for each in filters if each.get("name") == "TagKeyValue" for value in each["values"]]
    if tagged == [UNKNOWN]:
        yield Unknown("costFilters")
    elif not any(str(each).startswith("user:owner$") for each in tagged):
        yield "counts more than one owner's cost: set costFilters to TagKeyValue with user:owner$<team>"


def _budget_matches(resources: Sequence[Declared]) -> Findings:
    limit = usd_per_month()
    expected = sum(line.expected_usd for line in estimate(resources))
    for budget in of_type(resources, BUDGET):
        amount: Any = budget.inputs.get("limitAmount")
        if amount == UNKNOWN:
            yield budget, Unknown("limitAmount")
        elif given(amount) and float(amount) > limit:
            yield budget, f"limitAmount is {amount}: set no more than slipway:usd_per_month, {limit:g}"
        elif given(amount) and float(amount) < expected:
            yield (
                budget,
                f"limitAmount is {amount}, and the stack is expected to cost ${expected:,.0f} a month: it would ring "
                "every month. Raise it, or state what is used in slipway:usage",
            )


def _anomalies_seen(resources: Sequence[Declared]) -> Findings:
    if not costs_something(resources):
        return
    monitors, subscriptions = of_type(resources, MONITOR), of_type(resources, SUBSCRIPTION)
    if not monitors:
        yield None, "has no aws.costexplorer.AnomalyMonitor, so nobody hears of a sudden cost: add components.Budget"
    for monitor in monitors:
        told = [each for each in subscriptions if refers(each, "monitorArnLists", monitor, by=("arn",))]
        if not told:
            yield monitor, "nobody hears of it: add an AnomalySubscription with this monitor in monitorArnLists"
        for subscription in told:
            subscribers = subscription.inputs.get("subscribers")
            if not subscribers:
                yield subscription, "subscribers is not set: set a topic or an address"


CONTROLS: Final = [
    Control(
        "cost-stack-budget",
        "A stack stays within its monthly budget, even at the largest size it may grow to.",
        Severity.CRITICAL,
        (),
        "Lower what the refusal names, or have slipway:usd_per_month raised in the stack's YAML.",
        stack_rule=_within_stack_budget,
        always=True,
    ),
    Control(
        "cost-priced",
        "Everything in a stack has a price or is known to be free, so that its cost is not counted as nothing.",
        Severity.HIGH,
        (),
        "Add the price, with its source and date, to policies/cost/prices.json.",
        stack_rule=_priced,
    ),
    Control(
        "cost-team-budget",
        "What carries a team's tag owner stays within that team's budget, and nothing is without an owner.",
        Severity.HIGH,
        (),
        "Lower what the refusal names, set the tag owner, or have cost.teams raised in policies/limits.yaml.",
        stack_rule=_within_team_budget,
        always=True,
    ),
    Control(
        "cost-delta",
        "A change raises what a stack may cost by no more than policies/limits.yaml allows at once.",
        Severity.MEDIUM,
        (),
        "Deploy the change in steps, or have cost.increase raised in policies/limits.yaml.",
        stack_rule=_in_small_steps,
    ),
    Control(
        "cost-budget-exists",
        "A stack that costs something has a monthly AWS budget that tells someone of actual and forecast spending.",
        Severity.HIGH,
        (),
        "Add components.budget.Budget with the topic of components.alerts.Alerts.",
        stack_rule=_budget_exists,
    ),
    Control(
        "cost-budget-scoped",
        "An AWS budget counts one owner's cost, by its tag.",
        Severity.MEDIUM,
        (),
        "Use components.budget.Budget, or set costFilters to TagKeyValue with user:owner$<team>.",
        rule=_budget_scoped,
        types=frozenset({BUDGET}),
    ),
    Control(
        "cost-budget-matches",
        "An AWS budget is no larger than the stack's own, and no smaller than what the stack is expected to cost.",
        Severity.MEDIUM,
        (),
        "Pass slipway:usd_per_month to components.budget.Budget.",
        stack_rule=_budget_matches,
    ),
    Control(
        "cost-anomaly",
        "A stack that costs something is watched for sudden costs, and someone hears of them.",
        Severity.LOW,
        (),
        "Add components.budget.Budget, which makes an anomaly monitor and a subscription.",
        stack_rule=_anomalies_seen,
    ),
]
