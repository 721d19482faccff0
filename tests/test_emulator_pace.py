"""The emulator's clock: schedules and alarm periods that pass quicker than on the wall."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.rehearsal.emulator.metrics import Metrics, Point
from infra.rehearsal.emulator.pace import FASTEST, LONGEST_STEP, Paced
from tests.emulated import until

LOOKS = st.lists(st.tuples(st.floats(0.01, 100), st.floats(FASTEST, 1.0), st.booleans()), max_size=30)
"""Seconds until the clock is looked at, its pace until then, and whether a function runs."""
BEGIN = 1e9
KEY = ("Tests", "m", frozenset[tuple[str, str]]())
COUNT = "def handler(event, context):\n    print('RAN')"


def clock_of(looks: list[tuple[float, float, bool]]) -> tuple[Paced, list[float]]:
    """A clock that was looked at, and when."""
    clock, now, moments = Paced(), BEGIN, [BEGIN]
    clock.set(0.5, now)
    for seconds, second, busy in looks:
        clock.set(second, now)
        now += seconds
        moments.append(now)
        if busy:
            with clock.held():
                clock.tick(now)
        else:
            clock.tick(now)
    return clock, moments


@given(LOOKS)
def test_the_clock_is_never_slower_than_the_wall_and_passes_half_a_minute_between_two_looks(
    looks: list[tuple[float, float, bool]],
) -> None:
    clock, moments = clock_of(looks)
    for (seconds, second, busy), before, after in zip(looks, moments, moments[1:], strict=False):
        passed = clock.shown(after) - clock.shown(before)
        wanted = seconds if busy or second == 1 else max(seconds, min(seconds / second, LONGEST_STEP))
        assert passed == pytest.approx(wanted, abs=1e-3)


@given(LOOKS, st.floats(-100, 5000))
def test_a_moment_shown_is_found_again(looks: list[tuple[float, float, bool]], since: float) -> None:
    clock, _ = clock_of(looks)
    assert clock.real(clock.shown(BEGIN + since)) == pytest.approx(BEGIN + since, abs=1e-3)


@given(LOOKS, st.floats(0, 5000), st.floats(0, 5000))
def test_the_clock_never_goes_backwards(looks: list[tuple[float, float, bool]], one: float, other: float) -> None:
    clock, _ = clock_of(looks)
    earlier, later = sorted((one, other))
    assert clock.shown(BEGIN + earlier) <= clock.shown(BEGIN + later) + 1e-3


def test_what_was_before_is_as_long_ago_as_it_was_and_what_is_counted_since_is_a_rate() -> None:
    clock, now = Paced(), 6e8
    clock.set(0.01, now)
    for look in (0.15, 0.3):
        clock.tick(now + look)
    metrics = Metrics()
    metrics._points[KEY] = [Point(moment, 1, 1, 1, 1) for moment in (now - 29, now + 0.1, now + 0.2)]
    # The clock shows 29 s more: two in the half minute that takes 0.3 s, one in the half minute before, a real one.
    found = metrics.by_period(KEY, "Sum", 30, 4, now + 0.29, clock=clock)
    assert found == [pytest.approx(200, rel=1e-3), 1, None, None]
    assert metrics.by_period(KEY, "Average", 30, 4, now + 0.29, clock=clock) == [1, 1, None, None]
    assert metrics.by_period(KEY, "Sum", 60, 2, now + 0.3) == [2, 1]


def test_a_quick_clock_starts_schedules_and_ends_alarms_periods_sooner(user):
    function = user.function(COUNT)
    name = function.rpartition(":")[2]
    schedule = user.schedule(function, "rate(2 minutes)")
    watched = {"Namespace": "AWS/Lambda", "Dimensions": [{"Name": "FunctionName", "Value": name}], "Period": 240}
    missing = {"Statistic": "Sum", "Threshold": 1, "ComparisonOperator": "LessThanThreshold"}
    status, first = user.ask("/_slipway/pace", {"second": 0.01})
    assert (status, first["second"]) == (200, 0.01)
    try:
        alarm = user.alarm("Invocations", TreatMissingData="breaching", **watched, **missing)
        until(lambda: user.logged(function).count("RAN") >= 2, "two minutes have passed twice", 20)
        until(lambda: user.state(alarm) == "OK", "the alarm hears of it")
        user.scheduler.delete_schedule(Name=schedule.partition("/")[2])
        began = time.monotonic()
        until(lambda: user.state(alarm) == "ALARM", "nothing ran for four minutes", 20)
        assert time.monotonic() - began > 1
    finally:
        status, ended = user.ask("/_slipway/pace", {"second": 1})
    assert (status, ended["second"]) == (200, 1)
    assert ended["shown"] - first["shown"] > 2 * 120 + 240


@pytest.mark.parametrize("second", [0, -1, 2, "fast", None])
def test_what_is_no_pace_is_refused_and_changes_nothing(user, second):
    status, answer = user.ask("/_slipway/pace", {"second": second})
    assert (status, "from 0.001 to 1" in answer["error"]) == (404, True)
    assert user.ask("/_slipway/pace", {})[1]["second"] == 1
