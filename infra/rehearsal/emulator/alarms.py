"""CloudWatch alarms that are evaluated, and act.

As the CloudWatch user guide has it ("Alarm evaluation" and "Configuring how CloudWatch alarms treat missing data",
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html): M of the last N periods
that have data, looking back a little further than N for them, and filling in what is missing as the alarm says.
Evaluated every second rather than every minute, and a period counts as soon as it has data. How long a period is,
the emulator's clock says (pace.py).
"""

import json
import operator
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from moto.cloudwatch.exceptions import ValidationError
from moto.cloudwatch.models import Alarm, CloudWatchBackend, Dimension, cloudwatch_backends

from infra.rehearsal.emulator import alarm_history, events, metrics, pace
from infra.rehearsal.emulator.calls import ACCOUNT
from infra.rehearsal.emulator.formulas import Formula
from infra.rehearsal.emulator.metrics import Metrics
from infra.rehearsal.emulator.metrics import put_metric as put_metric  # for those who watch alarms rather than metrics
from infra.rehearsal.emulator.pace import WALL, Clock

COMPARISONS: Final[Mapping[str, Callable[[float, float], bool]]] = {
    "GreaterThanThreshold": operator.gt,
    "GreaterThanOrEqualToThreshold": operator.ge,
    "LessThanThreshold": operator.lt,
    "LessThanOrEqualToThreshold": operator.le,
}
EXTRA_PERIODS: Final = 2
"""How many periods further back than N an alarm looks for data where some is missing, as in the guide's tables."""
SET_BY_HAND_SECONDS: Final = 30.0
"""How long a state that was set with SetAlarmState stays, before the alarm is evaluated again."""

SEEN_SECONDS: Final = 5.0
"""How long an alarm that went off in a rollout's own time stays so, before it is evaluated in real time again."""

_by_hand: dict[str, float] = {}
_scalers: list[Callable[[str, str], None]] = []
_set_state_in_moto = CloudWatchBackend.set_alarm_state
_put_in_moto = CloudWatchBackend.put_metric_alarm


def install() -> None:
    """Make new alarms start without data, and SetAlarmState act."""
    CloudWatchBackend.put_metric_alarm = _put  # type: ignore[assignment, method-assign]  # that is what is replaced
    CloudWatchBackend.set_alarm_state = _set_by_hand  # type: ignore[assignment, method-assign]  # likewise


def scale_with(act: Callable[[str, str], None]) -> None:
    """Have `act(region, ARN)` do what a scaling policy says that is an alarm's action."""
    _scalers[:] = [act]


def _scale(region: str, policy_arn: str) -> None:
    for act in _scalers:
        try:
            act(region, policy_arn)
        except Exception as error:  # the alarm's other actions have to come
            print(f"scaling policy {policy_arn}: {error}", flush=True)


def tick(now: float) -> None:
    """Evaluate every alarm at `now`, in seconds since 1970."""
    for backend in list(cloudwatch_backends[ACCOUNT].values()):
        known = metrics.of_region(backend)
        for alarm in list(backend.alarms.values()):
            if now >= _by_hand.get(alarm.alarm_arn, 0):
                state, reason = evaluate(alarm, known, now, pace.clock)
                if state != alarm.state_value:
                    _change(alarm, state, reason)


def rings_in_rollout(alarm: Alarm, second: float) -> bool:
    """Whether an alarm goes off in the time of a rollout whose every second takes `second` real ones.

    Its periods are as much shorter. It then is in ALARM for everybody to see, for some seconds.
    """
    now = time.time()
    if second >= 1 or now < _by_hand.get(alarm.alarm_arn, 0):
        return bool(alarm.state_value == "ALARM")
    known = metrics.of_region(cloudwatch_backends[ACCOUNT][alarm.region_name])
    state, reason = evaluate(alarm, known, now, Clock(second))
    if state != "ALARM":
        return False
    _by_hand[alarm.alarm_arn] = now + SEEN_SECONDS
    if alarm.state_value != state:
        _change(alarm, state, f"{reason}, in the rollout's own time: each second of it takes {second:g}")
    return True


def evaluate(alarm: Alarm, known: Metrics, now: float, clock: Clock = WALL) -> tuple[str, str]:
    """The state that an alarm should be in at `now`, in seconds since 1970, and why; its periods are the clock's."""
    periods = int(alarm.evaluation_periods or 1)
    needed = int(alarm.datapoints_to_alarm or periods)
    threshold = float(alarm.threshold)
    # That a sum is too small can only be said of whole periods: of hours and days, those that end now.
    growing = alarm.statistic in ("Sum", "SampleCount") and alarm.comparison_operator.startswith("Less")
    sliding = growing and int(alarm.period or 0) > 60
    points = _points(alarm, known, periods + EXTRA_PERIODS + 1, now, clock, sliding)
    # What has only begun says nothing before it has data; and while a sum still grows, not that it is too small.
    begun = not sliding and (points[0] is None or growing)
    points = points[1:] if begun else points[:-1]
    breaches = [None if point is None else COMPARISONS[alarm.comparison_operator](point, threshold) for point in points]
    state = state_of(breaches, periods, needed, alarm.treat_missing_data or "missing") or alarm.state_value
    shown = ", ".join("none" if point is None else f"{point:g}" for point in points[:periods])
    rule = f"{needed} of {periods} datapoints {alarm.comparison_operator} {threshold:g}"
    return state, f"{rule}; the last ones, newest first: [{shown}]"


def state_of(breaches: Sequence[bool | None], periods: int, needed: int, missing: str) -> str | None:
    """The state after these datapoints (newest first; None: missing); None where the present one stays.

    `needed` of `periods` must breach. `missing` says what a missing one counts as: missing, ignore, breaching or
    notBreaching.
    """
    known = [breach for breach in breaches if breach is not None][:periods]
    lacking = periods - len(known)
    filled = lacking if missing == "breaching" else 0
    if sum(known) + filled >= needed:
        return "ALARM"
    if lacking and missing in ("missing", "ignore"):
        if not known:
            return "INSUFFICIENT_DATA" if missing == "missing" else None
        if all(known) and len(known) < needed:
            if missing == "ignore":
                return None
            # All there is breaches, and it began long enough ago.
            oldest = max(index for index, breach in enumerate(breaches, 1) if breach)
            return "ALARM" if oldest >= needed else "OK"
    return "OK"


def _points(alarm: Alarm, known: Metrics, periods: int, now: float, clock: Clock, sliding: bool) -> list[float | None]:
    """A value for each of the last periods, the newest first; None where there is no data."""

    def by_period(key: metrics.Key, statistic: str, period: int) -> Sequence[float | None]:
        return known.by_period(key, statistic, period, periods, now, sliding=sliding, clock=clock)

    if not alarm.metric_data_queries:
        key = alarm.namespace, alarm.metric_name, _dimensions(alarm.dimensions)
        return list(by_period(key, _statistic(alarm), int(alarm.period)))
    queries = {query.id: query for query in alarm.metric_data_queries}
    series: dict[str, Sequence[float | None]] = {}
    for identity, query in queries.items():
        if query.metric_stat:
            metric = query.metric_stat.metric
            key = metric.namespace, metric.metric_name, _dimensions(metric.dimensions)
            series[identity] = by_period(key, query.metric_stat.stat, int(query.metric_stat.period))

    def value(identity: str, index: int) -> float | None:
        if identity in series:
            return series[identity][index]
        return Formula(str(queries[identity].expression)).value(lambda name: value(name, index))

    returned = _returned(alarm.metric_data_queries)
    return [value(returned, index) for index in range(periods)]


def _statistic(alarm: Alarm) -> str:
    return alarm.extended_statistic or alarm.statistic or "Average"


def _dimensions(dimensions: Sequence[Dimension]) -> frozenset[tuple[str, str]]:
    return frozenset((str(each.name), str(each.value)) for each in dimensions)


def _returned(queries: Sequence[Any]) -> str:
    """Which of an alarm's queries it watches."""
    watched = [query.id for query in queries if str(query.return_data).lower() != "false"]
    if len(watched) != 1:
        raise ValidationError(f"Exactly one element of the metrics list should return data, not {len(watched)}.")
    return str(watched[0])


def _refuse_unknown(alarm: Alarm) -> None:
    """Refuse what would be stored and never evaluated."""
    if alarm.rule is not None:
        raise NotImplementedError("composite alarms are not evaluated in the rehearsal")
    if alarm.comparison_operator not in COMPARISONS:
        raise NotImplementedError(f"{alarm.comparison_operator}: alarms on anomaly bands are not evaluated")
    statistics = [_statistic(alarm)] if not alarm.metric_data_queries else []
    names = {query.id for query in alarm.metric_data_queries}
    for query in alarm.metric_data_queries:
        if query.metric_stat:
            statistics.append(query.metric_stat.stat)
        else:
            unknown = Formula(str(query.expression)).names - names
            if unknown:
                raise ValidationError(f"Undefined identifier(s) in {query.expression!r}: {', '.join(sorted(unknown))}")
    if alarm.metric_data_queries:
        _returned(alarm.metric_data_queries)
    for statistic in statistics:
        if not metrics.known_statistic(statistic):
            raise NotImplementedError(f"the statistic {statistic} is not computed in the rehearsal")


def _put(backend: CloudWatchBackend, name: str, *arguments: Any, **named: Any) -> Alarm:
    """In the place of moto's `put_metric_alarm`, where an alarm starts as OK, and again whenever it is changed."""
    before = backend.alarms.get(name)
    alarm = _put_in_moto(backend, name, *arguments, **named)
    try:
        _refuse_unknown(alarm)
    except Exception:
        if before:
            backend.alarms[name] = before
        else:
            del backend.alarms[name]
        raise
    alarm.state_value = before.state_value if before else "INSUFFICIENT_DATA"
    alarm_history.configured(alarm, "updated" if before else "created")
    return alarm


def _set_by_hand(backend: CloudWatchBackend, alarm_name: str, reason: str, reason_data: str, state_value: str) -> None:
    """In the place of moto's `set_alarm_state`: as there, and the alarm acts."""
    alarm = backend.alarms.get(alarm_name)
    before, reason_before = (alarm.state_value, alarm.state_reason) if alarm else (None, "")
    _set_state_in_moto(backend, alarm_name, reason, reason_data, state_value)
    if alarm is not None and before is not None:
        _by_hand[alarm.alarm_arn] = time.time() + SET_BY_HAND_SECONDS
        if before != state_value:
            alarm.state_value, alarm.state_reason = before, reason_before
            _change(alarm, state_value, reason)


def _change(alarm: Alarm, state: str, reason: str) -> None:
    """Put an alarm in a state, tell of it, and do what it says is to be done then."""
    before, reason_before = alarm.state_value, alarm.state_reason
    alarm.update_state(reason, json.dumps({}), state)
    moment = datetime.now(UTC)
    alarm_history.changed_state(alarm, before, reason_before, moment)
    told = {
        "alarmName": alarm.name,
        "state": {"value": state, "reason": reason, "timestamp": _with_offset(moment)},
        "previousState": {"value": before},
        "configuration": {"description": alarm.description},
    }
    events.emit(alarm.region_name, "aws.cloudwatch", "CloudWatch Alarm State Change", told, [alarm.alarm_arn])
    if not alarm.actions_enabled:
        return
    actions = {
        "ALARM": alarm.alarm_actions,
        "OK": alarm.ok_actions,
        "INSUFFICIENT_DATA": alarm.insufficient_data_actions,
    }[state]
    for action in actions or []:
        alarm_history.acted(alarm, action)
        if ":scalingPolicy:" in action:
            _scale(alarm.region_name, action)
            continue
        if ":lambda:" in action:
            message, principal = _for_function(alarm, told, moment), "lambda.alarms.cloudwatch.amazonaws.com"
        else:
            message, principal = _for_topic(alarm, state, before, reason, moment), "cloudwatch.amazonaws.com"
        subject = f'{state}: "{alarm.name}" in {alarm.region_name}'
        events.deliver_later(
            action, message, alarm.region_name, principal=principal, source=alarm.alarm_arn, subject=subject
        )


def _for_topic(alarm: Alarm, state: str, before: str, reason: str, moment: datetime) -> dict[str, Any]:
    """What a topic is told."""
    return {
        "AlarmName": alarm.name,
        "AlarmDescription": alarm.description,
        "AWSAccountId": ACCOUNT,
        "NewStateValue": state,
        "NewStateReason": reason,
        "StateChangeTime": _with_offset(moment),
        "Region": alarm.region_name,
        "AlarmArn": alarm.alarm_arn,
        "OldStateValue": before,
        "OKActions": alarm.ok_actions,
        "AlarmActions": alarm.alarm_actions,
        "InsufficientDataActions": alarm.insufficient_data_actions,
        "Trigger": {
            "MetricName": alarm.metric_name,
            "Namespace": alarm.namespace,
            "Statistic": _statistic(alarm),
            "Dimensions": [{"name": each.name, "value": each.value} for each in alarm.dimensions],
            "Period": alarm.period,
            "EvaluationPeriods": alarm.evaluation_periods,
            "DatapointsToAlarm": alarm.datapoints_to_alarm,
            "ComparisonOperator": alarm.comparison_operator,
            "Threshold": alarm.threshold,
            "TreatMissingData": alarm.treat_missing_data or "missing",
        },
    }


def _for_function(alarm: Alarm, told: Mapping[str, Any], moment: datetime) -> dict[str, Any]:
    """What a function is told."""
    return {
        "source": "aws.cloudwatch",
        "alarmArn": alarm.alarm_arn,
        "accountId": ACCOUNT,
        "region": alarm.region_name,
        "time": _with_offset(moment),
        "alarmData": told,
    }


def _with_offset(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "+0000"
