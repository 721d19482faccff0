"""The emulator's clock: schedules and alarm periods that pass quicker than on the wall."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.rehearsal.emulator.metrics import Metrics, Point
from infra.rehearsal.emulator.pace import FASTEST, Clock
from tests.emulated import until

PACES = st.floats(FASTEST, 1.0)
STRETCHES = st.lists(st.tuples(st.floats(0.1, 1e5), PACES), max_size=5)
KEY = ("Tests", "m", frozenset[tuple[str, str]]())
COUNT = "def handler(event, context):\n    print('RAN')"


def clock_of(stretches: list[tuple[float, float]], start: float = 1e9) -> Clock:
    clock = Clock()
    for seconds, second in stretches:
        start += seconds
        clock.set(second, start)
    return clock


@given(STRETCHES, st.floats(0, 1e6), st.floats(0, 1e6))
def test_the_clock_never_goes_backwards_and_is_never_slower_than_the_wall(
    stretches: list[tuple[float, float]], one: float, other: float
) -> None:
    clock = clock_of(stretches)
    earlier, later = sorted((1e9 + one, 1e9 + other))
    assert clock.shown(later) - clock.shown(earlier) >= later - earlier - 1e-3


@given(STRETCHES, st.floats(0, 1e6))
def test_a_moment_shown_is_found_again(stretches: list[tuple[float, float]], ago: float) -> None:
    clock = clock_of(stretches)
    assert clock.real(clock.shown(1e9 + ago)) == pytest.approx(1e9 + ago, abs=1e-3)


def test_what_was_before_is_as_long_ago_as_it_was_and_what_is_counted_since_is_a_rate() -> None:
    clock, now = Clock(), 6e8
    clock.set(0.01, now)
    metrics = Metrics()
    metrics._points[KEY] = [Point(moment, 1, 1, 1, 1) for moment in (now - 30, now + 0.1, now + 0.2)]
    # At now + 0.3 the clock shows half a minute more: two in the 0.6 s of this minute, one in the minute before.
    assert metrics.by_period(KEY, "Sum", 60, 3, now + 0.3, clock=clock) == [pytest.approx(200), 1, None]
    assert metrics.by_period(KEY, "Average", 60, 3, now + 0.3, clock=clock) == [1, 1, None]
    assert metrics.by_period(KEY, "Sum", 60, 2, now + 0.3) == [2, 1]


def test_a_quick_clock_starts_schedules_and_ends_alarms_periods_sooner(user):
    function = user.function(COUNT)
    name = function.rpartition(":")[2]
    schedule = user.schedule(function, "rate(2 minutes)")
    watched = {"Namespace": "AWS/Lambda", "Dimensions": [{"Name": "FunctionName", "Value": name}], "Period": 240}
    missing = {"Statistic": "Sum", "Threshold": 1, "ComparisonOperator": "LessThanThreshold"}
    assert user.ask("/_slipway/pace", {"second": 0.01}) == (200, {"second": 0.01})
    try:
        alarm = user.alarm("Invocations", TreatMissingData="breaching", **watched, **missing)
        until(lambda: user.logged(function).count("RAN") >= 2, "two minutes have passed twice", 20)
        until(lambda: user.state(alarm) == "OK", "the alarm hears of it")
        user.scheduler.delete_schedule(Name=schedule.partition("/")[2])
        began = time.monotonic()
        until(lambda: user.state(alarm) == "ALARM", "nothing ran for four minutes", 20)
        assert time.monotonic() - began > 1
    finally:
        assert user.ask("/_slipway/pace", {"second": 1}) == (200, {"second": 1.0})


@pytest.mark.parametrize("second", [0, -1, 2, "fast", None])
def test_what_is_no_pace_is_refused_and_changes_nothing(user, second):
    status, answer = user.ask("/_slipway/pace", {"second": second})
    assert (status, "from 0.001 to 1" in answer["error"]) == (404, True)
    assert user.ask("/_slipway/pace", {}) == (200, {"second": 1.0})
