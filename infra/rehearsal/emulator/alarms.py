"""CloudWatch alarms that are evaluated, and act.

As the CloudWatch user guide describes it ("Evaluating an alarm", "Configuring how alarms treat missing data"): M of the
last N periods, the newest period first that has begun; an alarm acts when its state changes.
"""

import json
import operator
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from moto.cloudwatch.models import Alarm, CloudWatchBackend, Dimension, cloudwatch_backends

from infra.rehearsal.emulator import events
from infra.rehearsal.emulator.calls import ACCOUNT

COMPARISONS: Final[Mapping[str, Callable[[float, float], bool]]] = {
    "GreaterThanThreshold": operator.gt,
    "GreaterThanOrEqualToThreshold": operator.ge,
    "LessThanThreshold": operator.lt,
    "LessThanOrEqualToThreshold": operator.le,
}
SET_BY_HAND_SECONDS: Final = 30.0
"""How long a state that was set with SetAlarmState stays, before the alarm is evaluated again."""

_by_hand: dict[str, float] = {}
_set_state_in_moto = CloudWatchBackend.set_alarm_state
_initialise = Alarm.__init__


def install() -> None:
    """Make new alarms start without data, and SetAlarmState act."""
    Alarm.__init__ = _without_data  # type: ignore[method-assign]  # that is what is replaced
    CloudWatchBackend.set_alarm_state = _set_by_hand  # type: ignore[method-assign]  # likewise


def put_metric(region: str, namespace: str, name: str, value: float, dimensions: Mapping[str, str]) -> None:
    """One point of a metric of an AWS service, now."""
    datum = {
        "MetricName": name,
        "Value": value,
        "Timestamp": datetime.now(UTC).replace(tzinfo=None),
        "Dimensions": [{"Name": key, "Value": text} for key, text in dimensions.items()],
    }
    cloudwatch_backends[ACCOUNT][region].put_metric_data(namespace, [datum])


def tick(now: float) -> None:
    """Evaluate every alarm at `now`, in seconds since 1970."""
    for backend in list(cloudwatch_backends[ACCOUNT].values()):
        for alarm in list(backend.alarms.values()):
            if alarm.rule or now < _by_hand.get(alarm.alarm_arn, 0):
                continue
            state, reason = evaluate(alarm, backend, now)
            if state != alarm.state_value:
                _change(alarm, state, reason)


def evaluate(alarm: Alarm, backend: CloudWatchBackend, now: float) -> tuple[str, str]:
    """The state that an alarm should be in, and why."""
    periods = int(alarm.evaluation_periods or 1)
    needed = int(alarm.datapoints_to_alarm or periods)
    points = _points(alarm, backend, periods, now)
    missing = alarm.treat_missing_data or "missing"
    known = [point for point in points if point is not None]
    if not known and missing in ("missing", "ignore"):
        state = alarm.state_value if missing == "ignore" else "INSUFFICIENT_DATA"
        return state, f"no datapoints in the last {periods} periods"
    threshold = float(alarm.threshold)
    compare = COMPARISONS[alarm.comparison_operator]
    breaching = [missing == "breaching" if point is None else compare(point, threshold) for point in points]
    state = "ALARM" if sum(breaching) >= needed else "OK"
    shown = ", ".join("none" if point is None else f"{point:g}" for point in points)
    reason = (
        f"{sum(breaching)} of the last {periods} datapoints [{shown}] were {alarm.comparison_operator} ({threshold:g})"
    )
    return state, reason


def _points(alarm: Alarm, backend: CloudWatchBackend, periods: int, now: float) -> list[float | None]:
    """A value for each of the last periods, the newest first; None where there is no data."""
    if not alarm.metric_data_queries:
        statistic = alarm.extended_statistic or alarm.statistic
        return _series(
            backend, alarm.namespace, alarm.metric_name, alarm.dimensions, statistic, int(alarm.period), periods, now
        )
    series: dict[str, list[float | None]] = {}
    for query in alarm.metric_data_queries:
        stat = query.metric_stat
        if stat:
            metric = stat.metric
            series[query.id] = _series(
                backend,
                metric.namespace,
                metric.metric_name,
                metric.dimensions,
                stat.stat,
                int(stat.period),
                periods,
                now,
            )
    for query in alarm.metric_data_queries:
        if query.expression:
            series[query.id] = [_ratio(query.expression, series, i) for i in range(periods)]
    returned = [query.id for query in alarm.metric_data_queries if str(query.return_data).lower() != "false"]
    return series[returned[-1]]


def _ratio(expression: str, series: Mapping[str, Sequence[float | None]], index: int) -> float | None:
    """`a / b`, `a + b`, `100 * a / b`: what the platform's alarms compute, from left to right.

    Raises ValueError for any other metric math.
    """
    operations: Mapping[str, Callable[[float, float], float]] = {
        "+": operator.add,
        "-": operator.sub,
        "*": operator.mul,
        "/": operator.truediv,
    }
    words = expression.replace("/", " / ").replace("*", " * ").replace("+", " + ").replace("-", " - ").split()
    total: float | None = None
    pending = "+"
    for word in words:
        if word in operations:
            pending = word
            continue
        value = series[word][index] if word in series else _number(word, expression)
        if value is None or (pending == "/" and value == 0):
            return None
        total = value if total is None else operations[pending](total, value)
    return total


def _number(word: str, expression: str) -> float:
    try:
        return float(word)
    except ValueError:
        raise ValueError(f"the rehearsal computes + - * / from left to right, not {expression!r}") from None


def _series(
    backend: CloudWatchBackend,
    namespace: str,
    name: str,
    dimensions: Sequence[Dimension],
    statistic: str,
    period: int,
    periods: int,
    now: float,
) -> list[float | None]:
    wanted = {(dimension.name, dimension.value) for dimension in dimensions}
    end = (int(now) // period + 1) * period
    buckets: list[list[float]] = [[] for _ in range(periods + 1)]
    for datum in backend.metric_data:
        if datum.namespace != namespace or datum.name != name:
            continue
        age = end - _seconds(datum.timestamp)
        index = int(age // period)
        if age < 0 or index > periods or {(each.name, each.value) for each in datum.dimensions} != wanted:
            continue
        buckets[index].append(float(datum.value))
    # A period that has only begun and has no data yet says nothing.
    recent = buckets[:periods] if buckets[0] else buckets[1:]
    return [_statistic(statistic or "Average", values) if values else None for values in recent]


def _seconds(moment: datetime) -> float:
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _statistic(name: str, values: Sequence[float]) -> float:
    if name.startswith("p"):
        ordered = sorted(values)
        return ordered[min(len(ordered) - 1, int(len(ordered) * float(name[1:]) / 100))]
    known: Mapping[str, float] = {
        "Sum": sum(values),
        "Average": sum(values) / len(values),
        "Maximum": max(values),
        "Minimum": min(values),
        "SampleCount": float(len(values)),
    }
    return known[name]


def _change(alarm: Alarm, state: str, reason: str) -> None:
    """Put an alarm in a state, tell of it, and do what it says is to be done then."""
    before = alarm.state_value
    alarm.update_state(reason, json.dumps({}), state)
    told = {"alarmName": alarm.name, "state": {"value": state, "reason": reason}, "previousState": {"value": before}}
    events.emit(alarm.region_name, "aws.cloudwatch", "CloudWatch Alarm State Change", told, [alarm.alarm_arn])
    if not alarm.actions_enabled:
        return
    actions = {
        "ALARM": alarm.alarm_actions,
        "OK": alarm.ok_actions,
        "INSUFFICIENT_DATA": alarm.insufficient_data_actions,
    }[state]
    for action in actions or []:
        message = _for_function(alarm, told) if ":lambda:" in action else _for_topic(alarm, state, before, reason)
        threading.Thread(target=events.deliver, args=(action, message, alarm.region_name), daemon=True).start()


def _for_topic(alarm: Alarm, state: str, before: str, reason: str) -> dict[str, Any]:
    return {
        "AlarmName": alarm.name,
        "AlarmDescription": alarm.description,
        "AWSAccountId": ACCOUNT,
        "NewStateValue": state,
        "OldStateValue": before,
        "NewStateReason": reason,
        "StateChangeTime": datetime.now(UTC).isoformat(),
        "Region": alarm.region_name,
        "AlarmArn": alarm.alarm_arn,
    }


def _for_function(alarm: Alarm, told: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "source": "aws.cloudwatch",
        "alarmArn": alarm.alarm_arn,
        "accountId": ACCOUNT,
        "region": alarm.region_name,
        "time": datetime.now(UTC).isoformat(),
        "alarmData": told,
    }


def _without_data(alarm: Alarm, *arguments: Any, **named: Any) -> None:
    """In the place of moto's `__init__`, which starts an alarm as OK."""
    _initialise(alarm, *arguments, **named)
    alarm.state_value = "INSUFFICIENT_DATA"


def _set_by_hand(backend: CloudWatchBackend, alarm_name: str, reason: str, reason_data: str, state_value: str) -> None:
    """In the place of moto's `set_alarm_state`: as there, and the alarm acts."""
    alarm = backend.alarms.get(alarm_name)
    before = alarm.state_value if alarm else None
    _set_state_in_moto(backend, alarm_name, reason, reason_data, state_value)
    if alarm is not None and before is not None and before != state_value:
        _by_hand[alarm.alarm_arn] = time.time() + SET_BY_HAND_SECONDS
        alarm.state_value = before
        _change(alarm, state_value, reason)
