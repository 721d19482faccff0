"""The rules behind the emulator's clock, alarms and filters, without one running."""

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from moto.cloudwatch.exceptions import ValidationError
from moto.cloudwatch.models import CloudWatchBackend

from infra.rehearsal.emulator import alarms, metrics
from infra.rehearsal.emulator.alarms import evaluate, state_of
from infra.rehearsal.emulator.formulas import Formula
from infra.rehearsal.emulator.logs import embedded, matches
from infra.rehearsal.emulator.schedules import following

NOON = datetime(2026, 11, 21, 12, 0, 30, tzinfo=UTC)  # a Saturday
MINUTE = 1_800_000_000 // 60 * 60


@pytest.mark.parametrize(
    "expression, due",
    [
        ("rate(1 minute)", "2026-11-21T12:01:30"),
        ("rate(2 days)", "2026-11-23T12:00:30"),
        ("at(2026-12-01T00:00:00)", "2026-12-01T00:00:00"),
        ("at(2026-11-01T00:00:00)", None),
        ("cron(* * * * ? *)", "2026-11-21T12:01:00"),
        ("cron(0/15 * * * ? *)", "2026-11-21T12:15:00"),
        ("cron(0 8 ? * MON-FRI *)", "2026-11-23T08:00:00"),
        ("cron(30 6,18 ? * SAT *)", "2026-11-21T18:30:00"),
        ("cron(0 0 29 FEB ? *)", "2028-02-29T00:00:00"),
        ("cron(0 0 1 1 ? 2026)", None),
    ],
)
def test_a_schedule_is_due_when_aws_says(expression, due):
    assert following(expression, NOON) == (due and datetime.fromisoformat(due).replace(tzinfo=UTC))


def test_a_schedule_keeps_the_time_of_its_zone_over_a_change_of_clocks():
    eight = "cron(0 8 * * ? *)"
    assert following(eight, datetime(2026, 3, 28, 12, tzinfo=UTC), "Europe/Berlin") == datetime(
        2026, 3, 29, 6, tzinfo=UTC
    )
    assert following(eight, datetime(2026, 3, 27, 12, tzinfo=UTC), "Europe/Berlin") == datetime(
        2026, 3, 28, 7, tzinfo=UTC
    )


@pytest.mark.parametrize(
    "expression, timezone, words",
    [
        ("cron(0 8 * * MON *)", "UTC", "either day-of-month or day-of-week must be"),
        ("cron(0 8 L * ? *)", "UTC", "does not know 'L' for day-of-month"),
        ("cron(0 24 * * ? *)", "UTC", "hours is from 0 to 23"),
        ("cron(0 8 * * ?)", "UTC", "no schedule"),
        ("rate(0 minutes)", "UTC", "must be 1 or more"),
        ("rate(1 hour)", "Mars/Olympus", "no time zone 'Mars/Olympus'"),
    ],
)
def test_what_is_no_schedule_is_named(expression, timezone, words):
    with pytest.raises(ValueError, match=words):
        following(expression, NOON, timezone)


@pytest.mark.parametrize(
    "points, needed, missing, ignore, breaching, not_breaching",
    [
        ("0-X-X", 3, "OK", "OK", "OK", "OK"),
        ("0----", 3, "OK", "OK", "OK", "OK"),
        ("-----", 3, "INSUFFICIENT_DATA", None, "ALARM", "OK"),
        ("0XX-X", 3, "ALARM", "ALARM", "ALARM", "ALARM"),
        ("--X--", 3, "ALARM", None, "ALARM", "OK"),
        ("0-X-X", 2, "ALARM", "ALARM", "ALARM", "ALARM"),
        ("00X0X", 2, "ALARM", "ALARM", "ALARM", "ALARM"),
        ("0-X--", 2, "OK", "OK", "ALARM", "OK"),
        ("----0", 2, "OK", "OK", "ALARM", "OK"),
        ("---X-", 2, "ALARM", None, "ALARM", "OK"),
    ],
)
def test_missing_data_counts_as_in_the_tables_of_the_user_guide(
    points, needed, missing, ignore, breaching, not_breaching
):
    """https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html, the newest last."""
    breaches = [{"X": True, "0": False, "-": None}[point] for point in reversed(points)]
    states = [state_of(breaches, 3, needed, kind) for kind in ("missing", "ignore", "breaching", "notBreaching")]
    assert states == [missing, ignore, breaching, not_breaching]


def test_one_bad_point_alone_is_not_yet_enough_for_two():
    assert state_of([True, None, None, None, None], 3, 2, "missing") == "OK"


@pytest.fixture
def region():
    metrics._regions.clear()
    return CloudWatchBackend("us-east-1", "123456789012")


def put(backend, minutes_ago, value, **dimensions):
    named = [{"Name": name, "Value": text} for name, text in dimensions.items()]
    moment = datetime.fromtimestamp(MINUTE - 60 * minutes_ago + 1, UTC).replace(tzinfo=None)
    datum = {"MetricName": "m", "Value": value, "Timestamp": moment, "Dimensions": named}
    backend.put_metric_data("n", [datum])


def alarm(backend, **stated):
    asked = {
        "namespace": "n",
        "metric_name": "m",
        "comparison_operator": "GreaterThanThreshold",
        "evaluation_periods": 1,
        "period": 60,
        "threshold": 0,
        "statistic": "Sum",
        "description": "",
        "dimensions": [],
        "alarm_actions": [],
    }
    return backend.put_metric_alarm("a", **{**asked, **stated})


def state(backend, watched, minutes=0.5):
    """The state that many minutes after MINUTE."""
    return evaluate(watched, metrics.of_region(backend), MINUTE + 60 * minutes)[0]


def test_an_alarm_recovers_when_data_stops_and_missing_is_not_breaching(region):
    put(region, 0, 1)
    watched = alarm(region, treat_missing_data="notBreaching")
    assert state(region, watched) == "ALARM"
    assert [state(region, watched, minutes) for minutes in (1.5, 2.5, 3.5, 4.5)] == ["ALARM", "ALARM", "ALARM", "OK"]


def test_an_alarm_whose_data_stops_does_not_know_unless_it_is_told(region):
    put(region, 0, 1)
    assert state(region, alarm(region), 10) == "INSUFFICIENT_DATA"
    assert state(region, alarm(region, treat_missing_data="breaching"), 10) == "ALARM"


def test_another_ones_data_rings_no_alarm(region):
    put(region, 0, 1, endpoint="b")
    watched = alarm(region, dimensions=[{"Name": "endpoint", "Value": "a"}], treat_missing_data="notBreaching")
    assert state(region, watched) == "OK"
    put(region, 0, 1, endpoint="a", variant="x")
    assert state(region, watched) == "OK"
    put(region, 0, 1, endpoint="a")
    assert state(region, watched) == "ALARM"


def test_data_that_is_only_written_later_counts_for_its_own_time(region):
    watched = alarm(region, evaluation_periods=3, datapoints_to_alarm=2, treat_missing_data="notBreaching")
    put(region, 0, 1)
    assert state(region, watched) == "OK"
    put(region, 2, 1)
    assert state(region, watched) == "ALARM"


def test_a_sum_that_still_grows_is_not_too_small_yet(region):
    put(region, 1, 100)
    put(region, 0, 1)
    watched = alarm(region, comparison_operator="LessThanThreshold", threshold=50)
    assert state(region, watched) == "OK"
    assert state(region, watched, 1.5) == "ALARM"


@pytest.mark.parametrize(
    "statistic, value",
    [("Sum", 10), ("Average", 2.5), ("Maximum", 4), ("Minimum", 1), ("SampleCount", 4), ("p50", 3), ("p100", 4)],
)
def test_a_period_is_summed_up_by_the_alarms_statistic(region, statistic, value):
    for each in (4, 1, 3, 2):
        put(region, 0, each)
    key = ("n", "m", frozenset())
    assert metrics.of_region(region).by_period(key, statistic, 60, 2, MINUTE + 30) == [value, None]


def test_values_that_were_summed_up_before_they_were_put_count_as_many(region):
    moment = datetime.fromtimestamp(MINUTE + 1, UTC)
    known = {"SampleCount": 4, "Sum": 20, "Minimum": 1, "Maximum": 9}
    region.put_metric_data("n", [{"MetricName": "m", "Timestamp": moment, "StatisticValues": known}])
    key = ("n", "m", frozenset())
    found = metrics.of_region(region)
    assert [found.by_period(key, each, 60, 1, MINUTE)[0] for each in metrics.STATISTICS] == [5, 9, 1, 4, 20]


@pytest.mark.parametrize(
    "text, value",
    [
        ("a + b * 2", 7),
        ("100 * a / (a + b)", 25),
        ("-a + 5", 4),
        ("a / 0", None),
        ("IF(b > 2, a, 9)", 1),
        ("IF(b < 2, a, 9)", 9),
        ("FILL(none, 4) + a", 5),
        ("none + a", None),
        ("MAX([a, b, none])", 3),
        ("SUM([a, b])", 4),
        ("ABS(a - b)", 2),
    ],
)
def test_a_formula_comes_to(text, value):
    assert Formula(text).value({"a": 1.0, "b": 3.0}.get) == value


@pytest.mark.parametrize("text", ["RATE(a)", "a ** 2", "a.b", "__import__('os')", "a +", "IF(a)", "'a'", "MAX(a, b)"])
def test_what_is_not_computed_is_refused_before_it_is_stored(text):
    with pytest.raises(ValidationError, match="Error in expression"):
        Formula(text)


@pytest.mark.parametrize(
    "pattern, message, found",
    [
        ("", "anything", True),
        ("ERROR", "an ERROR here", True),
        ("ERROR timeout", "ERROR: no answer", False),
        ('"no answer"', "ERROR: no answer", True),
        ("?ERROR ?WARN", "WARN: late", True),
        ("?ERROR ?WARN", "well", False),
        ("ERROR -retry", "ERROR, will retry", False),
    ],
)
def test_a_filter_pattern_finds_words(pattern, message, found):
    assert matches(pattern, message) is found


@pytest.mark.parametrize(
    "line",
    ["_aws", '{"_aws": 1}', '"_aws"', '{"_aws": {"Timestamp": 1, "CloudWatchMetrics": [{"Namespace": "n"}]}}'],
)
def test_a_line_that_only_looks_like_a_metric_is_a_line(line):
    assert embedded(line) == []


def test_an_alarm_that_watches_two_things_at_once_is_refused():
    both = [SimpleNamespace(id="a", return_data="true"), SimpleNamespace(id="b", return_data=None)]
    with pytest.raises(ValidationError, match="Exactly one element"):
        alarms._returned(both)


def test_that_a_day_had_too_little_is_said_of_the_day_that_ends_now_not_of_yesterday(region):
    day = 24 * 3600
    midnight = MINUTE // day * day
    put(region, (MINUTE - midnight + 3600) / 60, 100)  # an hour before midnight
    watched = alarm(
        region, comparison_operator="LessThanThreshold", threshold=1, period=day, evaluation_periods=1,
        datapoints_to_alarm=1, treat_missing_data="breaching",
    )  # fmt: skip
    now = (midnight + 600 - MINUTE) / 60
    assert state(region, watched, now) == "OK"
    # As AWS does, it looks further back where the newest day has no data at all.
    assert state(region, watched, now + 5 * 24 * 60) == "ALARM"
