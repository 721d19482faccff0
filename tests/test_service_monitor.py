"""Service levels: burn rates, uptime, when a series changed, and what the components deploy."""

import json
import random
from collections.abc import Callable, Sequence
from itertools import pairwise
from math import log
from typing import Any

import pulumi_aws as aws
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pretend_aws import ACCOUNT, KEY, REGION, TOPIC, PretendAws, up
from pydantic import ValidationError

from components.quality_monitor import QualityMonitor, QualityMonitorSpec
from components.service_monitor import ServiceMonitor, ServiceMonitorSpec
from functions.monitoring.changes import PENALTY, change_points, changes
from functions.service_monitor.core import (
    DAY,
    HOUR,
    KEPT_DAYS,
    MINUTE,
    Least,
    Objective,
    Rule,
    Slot,
    burn,
    complete,
    counted_minutes,
    moved,
    span,
    uptime,
    used,
)

NOW = 1_800_000_000 + 30
"""Half a minute into one."""
FAST = Rule("fast", HOUR, 5 * MINUTE, 14.4, True)
SLOW = Rule("slow", 6 * HOUR, 30 * MINUTE, 6, True)
LEAST = Least(50, 5)
AVAILABLE = Objective("availability", 0.999)
QUICK = Objective("latency", 0.99)


def minutes(counts: Sequence[tuple[float, float]], now: int = NOW) -> list[Slot]:
    """Requests and failures of each of the last minutes, this one last; failures are slow, too."""
    first = now // MINUTE * MINUTE - (len(counts) - 1) * MINUTE
    return [Slot(first + index * MINUTE, requests, bad, requests, bad) for index, (requests, bad) in enumerate(counts)]


def burning(counts: Sequence[tuple[float, float]], objective: Objective = AVAILABLE, rule: Rule = FAST) -> bool:
    return burn(minutes(counts), objective, rule, LEAST, NOW).is_burning


# --- burn rates -------------------------------------------------------------------------------------------------------


def test_a_burn_rate_is_the_share_of_a_month_that_an_hour_uses() -> None:
    """At 14.4, an hour uses up 2 % of what 30 days allow (the workbook's table 5-8)."""
    found = burn(minutes([(1000, 15.0)] * 60), AVAILABLE, FAST, LEAST, NOW)
    assert found.long_rate == pytest.approx(15)
    assert FAST.factor * HOUR / (30 * DAY) == pytest.approx(0.02)
    assert found.is_burning
    assert "900 of 60,000 requests failed within 1 hour: 15 times what 0.999 allows" in found.sentence


@pytest.mark.parametrize(
    "what, counts, rings",
    [
        ("all is well", [(100, 0)] * 60, False),
        ("one in a thousand fails, as allowed", [(1000, 1)] * 60, False),
        ("it began to fail a minute ago", [(100, 0)] * 58 + [(100, 60), (100, 60)], True),
        ("it is down", [(0, 0)] * 50 + [(100, 100)] * 10, True),
        ("it failed, and is well again", [(100, 50)] * 40 + [(100, 0)] * 20, False),
        ("it failed, and nobody asks any more", [(100, 50)] * 40 + [(0, 0)] * 20, False),
        ("a blip of one minute in an hour", [(100, 0)] * 58 + [(100, 5), (100, 0)], False),
        ("little traffic, one failure", [(1, 0)] * 59 + [(1, 1)], False),
        ("little traffic, half of it fails", [(0, 0)] * 50 + [(1, 0.5)] * 10, False),
        ("nobody asks", [], False),
    ],
)
def test_it_rings_when_it_matters_and_still_goes_on(what: str, counts: list[tuple[float, float]], rings: bool) -> None:
    assert burning(counts) is rings, what


def test_the_slow_rule_finds_what_the_fast_one_does_not() -> None:
    counts = [(1000, 8.0)] * 360
    assert not burning(counts)
    assert burning(counts, rule=SLOW)


def test_latency_has_its_own_allowance() -> None:
    counts = [(100, 10.0)] * 60
    assert burning(counts, AVAILABLE) and not burning(counts, QUICK)
    assert burning([(100, 15.0)] * 60, QUICK)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 500), st.floats(0, 1)), max_size=400),
    st.sampled_from([FAST, SLOW]),
    st.sampled_from([AVAILABLE, QUICK]),
)
def test_more_failures_never_ring_less(counts: list[tuple[int, float]], rule: Rule, objective: Objective) -> None:
    some = [(requests, requests * share / 2) for requests, share in counts]
    more = [(requests, requests * share) for requests, share in counts]
    first, second = (burn(minutes(each), objective, rule, LEAST, NOW) for each in (some, more))
    assert second.long_rate >= first.long_rate and second.short_rate >= first.short_rate
    assert second.is_burning or not first.is_burning
    # Never of less than it takes to say anything.
    assert not second.is_burning or (second.requests >= LEAST.requests and second.bad >= LEAST.bad)


@pytest.mark.parametrize("a_minute", [0.2, 2, 20, 200])
def test_who_keeps_the_promise_wakes_nobody_at_any_volume(a_minute: float) -> None:
    """Failures by chance, exactly as many as allowed: three days of runs every five minutes."""
    source = random.Random(int(a_minute * 10))

    def drawn(mean: float) -> int:
        """By a normal approximation beyond 30, of Poisson's."""
        if mean > 30:
            return max(0, round(source.gauss(mean, mean**0.5)))
        count, left = 0, source.expovariate(1)
        while left < mean:
            count, left = count + 1, left + source.expovariate(1)
        return count

    slots = []
    for index in range(3 * 24 * 60):
        requests = drawn(a_minute)
        failed = min(requests, drawn(requests * AVAILABLE.allowance))
        slots.append(Slot(NOW // MINUTE * MINUTE + index * MINUTE, requests, failed))
    runs = [
        burn(slots[max(0, end - 360) : end], AVAILABLE, rule, LEAST, slots[end - 1].at + 30)
        for end in range(360, len(slots), 5)
        for rule in (FAST, SLOW)
    ]
    assert not [each for each in runs if each.is_burning]


def test_what_is_used_of_a_months_allowance() -> None:
    hours = [Slot(NOW - NOW % HOUR - index * HOUR, 1000, 0.5) for index in range(24 * 40)]
    assert used(hours, AVAILABLE, NOW) == pytest.approx(0.5)
    assert used([], AVAILABLE, NOW) is None


@pytest.mark.parametrize(
    "seconds, said", [(3600, "1 hour"), (300, "5 minutes"), (259_200, "3 days"), (21_600, "6 hours"), (5, "5 seconds")]
)
def test_windows_are_named(seconds: int, said: str) -> None:
    assert span(seconds) == said


# --- uptime -----------------------------------------------------------------------------------------------------------


def test_uptime_is_the_share_of_minutes_in_which_anybody_was_answered() -> None:
    slots = minutes([(10, 0)] * 6 + [(10, 10)] * 2 + [(0, 0)] * 2 + [(10, 9)] * 2 + [(10, 10)] * 4)
    days = counted_minutes({}, slots, 0, NOW)
    # The newest minutes are not complete yet, and those without requests say nothing.
    assert [sum(each) for each in zip(*days.values(), strict=True)] == [10, 8]
    assert uptime(days) == 0.8
    assert uptime({}) is None


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=60), st.integers(1, 30))
def test_every_minute_counts_once_however_often_it_is_looked_at(counts: list[tuple[int, int]], step: int) -> None:
    slots = minutes(counts)
    at_once = counted_minutes({}, slots, 0, NOW)
    days: dict[str, list[int]] = {}
    since = 0
    for now in range(NOW - 60 * MINUTE, NOW + 1, step * MINUTE):
        days = counted_minutes(days, [slot for slot in slots if slot.at <= now], since, now)
        since = complete(now)
    assert counted_minutes(days, slots, since, NOW) == at_once


def test_days_that_are_long_over_are_forgotten() -> None:
    slots = [Slot(NOW // DAY * DAY - day * DAY, 1) for day in range(1, 100)]
    assert len(counted_minutes({}, slots, 0, NOW)) == KEPT_DAYS


# --- when it changed --------------------------------------------------------------------------------------------------


def cost(values: Sequence[float], cuts: Sequence[int], penalty: float) -> float:
    mean = sum(values) / len(values)
    variance = sum((value - mean) ** 2 for value in values) / len(values)
    pieces = [values[start:end] for start, end in pairwise([0, *cuts, len(values)])]
    means = [sum(piece) / len(piece) for piece in pieces]
    error = sum((value - level) ** 2 for piece, level in zip(pieces, means, strict=True) for value in piece)
    return error + len(cuts) * penalty * log(len(values)) * variance


def cheapest(values: Sequence[float], penalty: float, shortest: int) -> float:
    """The least cost of all ways to cut, by trying every last cut."""
    best = {0: 0.0}
    for end in range(shortest, len(values) + 1):
        starts = [start for start in best if end - start >= shortest]
        mean = sum(values) / len(values)
        variance = sum((value - mean) ** 2 for value in values) / len(values)
        price = penalty * log(len(values)) * variance

        def of(start: int, end: int = end, price: float = price) -> float:
            piece = values[start:end]
            level = sum(piece) / len(piece)
            return best[start] + sum((value - level) ** 2 for value in piece) + (price if start else 0.0)

        if starts:
            best[end] = min(map(of, starts))
    return best[len(values)]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.floats(-100, 100) | st.sampled_from([0.0, 1.0, 50.0]), min_size=10, max_size=40),
    st.sampled_from([0.1, 0.5, PENALTY]),
    st.integers(1, 5),
)
def test_the_cuts_are_the_best_there_are(values: list[float], penalty: float, shortest: int) -> None:
    cuts = change_points(values, penalty=penalty, shortest=shortest)
    assert all(end - start >= shortest for start, end in pairwise([0, *cuts, len(values)]))
    assert cost(values, cuts, penalty) == pytest.approx(cheapest(values, penalty, shortest), rel=1e-6, abs=1e-6)


@settings(deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), max_size=30))
def test_no_finite_series_raises_and_a_constant_one_has_no_change(values: list[float]) -> None:
    assert all(0 < change.index < len(values) for change in changes(values))
    assert changes([values[0]] * len(values) if values else []) == []


def test_a_step_is_found_where_it_is_and_noise_is_not() -> None:
    source = random.Random(5)
    noise = [source.gauss(100, 5) for _ in range(360)]
    assert changes(noise) == []
    [found] = changes([value + (40 if index >= 300 else 0) for index, value in enumerate(noise)])
    assert found.index == 300
    assert (found.before, found.after) == (pytest.approx(100, abs=2), pytest.approx(140, abs=2))


def test_what_moved_first_is_told_first() -> None:
    """Traffic grows, then it gets slow, then it fails: as an incident's timeline wants it."""
    source = random.Random(9)
    slots = [
        Slot(
            at=NOW // MINUTE * MINUTE - (300 - index) * MINUTE,
            requests=round(source.gauss(100 if index < 200 else 300, 8)),
            failed=0 if index < 240 else 60,
            latency=source.lognormvariate(3 if index < 220 else 5, 0.1),
        )
        for index in range(290)
    ]
    found = moved(slots, NOW)
    assert [(each.series, (each.at - slots[0].at) // MINUTE) for each in found] == [
        ("requests", 200),
        ("latency_ms", 220),
        ("failed", 240),
    ]
    assert found[1].before == pytest.approx(20, rel=0.1) and found[1].after == pytest.approx(148, rel=0.1)


# --- what is deployed -------------------------------------------------------------------------------------------------

LAKE = {"bucket": "lake", "bucket_arn": "arn:aws:s3:::lake", "prefix": "churn"}
WATCHED = {**LAKE, "endpoint_name": "churn-prod", "kms_key_arn": KEY, "alerts_topic_arn": TOPIC}
PACKAGE = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:model-package/churn/7"


def service(**spec: object) -> PretendAws:
    return up(
        lambda: ServiceMonitor("churn-prod", ServiceMonitorSpec.model_validate(spec), max_latency_ms=250, **WATCHED)
    )


def quality(**spec: object) -> PretendAws:
    ledger = {"ledger_bucket": "ledger", "ledger_bucket_arn": "arn:aws:s3:::ledger", "model_package_arn": PACKAGE}
    return up(lambda: QualityMonitor("churn-prod", QualityMonitorSpec.model_validate(spec), **WATCHED, **ledger))


def event_of(made: PretendAws) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(made.only(aws.scheduler.Schedule)["target"]["input"])
    return told


def test_the_service_monitor_rings_while_the_promise_burns() -> None:
    made = service()
    alarm = made.inputs(aws.cloudwatch.MetricAlarm)["churn-prod-burn"]
    assert (alarm["namespace"], alarm["metricName"], alarm["dimensions"]) == (
        "Slipway/Monitors",
        "burning",
        {"endpoint": "churn-prod"},
    )
    assert (alarm["threshold"], alarm["evaluationPeriods"], alarm["period"]) == (0, 1, 300)
    event = event_of(made)
    assert (event["availability"], event["latency"], event["latency_ms"]) == (0.999, 0.99, 250)
    assert [(each["long_seconds"], each["short_seconds"], each["factor"]) for each in event["rules"]] == [
        (3600, 300, 14.4),
        (21_600, 1800, 6),
        (259_200, 21_600, 1),
    ]
    assert [each["rings"] for each in event["rules"]] == [True, True, False]


def test_the_quality_monitor_rings_when_labels_say_so() -> None:
    made = quality(floors={"accuracy": 0.05})
    alarm = made.inputs(aws.cloudwatch.MetricAlarm)["churn-prod-quality"]
    assert (alarm["metricName"], alarm["threshold"], alarm["period"]) == ("quality_drop", 0, 3600)
    event = event_of(made)
    assert event["floors"]["accuracy"] == 0.05
    assert event["ground_truth"] == "s3://lake/churn/ground-truth/"
    assert event["reports"] == "s3://lake/churn/monitors/quality/churn-prod/"


@pytest.mark.parametrize("monitor, where", [(service, "service"), (quality, "quality")])
def test_a_monitor_writes_nothing_but_its_own_reports(monitor: Callable[[], PretendAws], where: str) -> None:
    made = monitor()
    written = {
        resource
        for role in made.inputs(aws.iam.RolePolicy)
        for statement in made.statements(aws.iam.RolePolicy, role)
        if statement["Effect"] == "Allow" and "s3:PutObject" in statement["Action"]
        for resource in statement["Resource"]
    }
    assert written == {f"arn:aws:s3:::lake/churn/monitors/{where}/churn-prod/*"}


@pytest.mark.parametrize(
    "spec, said",
    [
        ({"fast": {"long_minutes": 5, "short_minutes": 5, "factor": 14.4}}, "no shorter window"),
        ({"fast": {"long_minutes": 500, "short_minutes": 400, "factor": 2}}, "multiple of 60"),
        ({"slow": {"long_minutes": 720, "short_minutes": 30, "factor": 2}}, "set short_minutes to 360 or more"),
        ({"objectives": {"availability_percent": 100}}, "less than 100"),
        ({"schedule": "rate(1 day)"}, "no rate from a minute to an hour"),
    ],
)
def test_promises_that_cannot_be_kept_or_watched_are_refused(spec: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        ServiceMonitorSpec.model_validate(spec)


def test_more_worse_windows_than_windows_are_refused() -> None:
    with pytest.raises(ValidationError, match="4 of 3 windows cannot be worse"):
        QualityMonitorSpec(worse_windows=4)
