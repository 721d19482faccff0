"""GetMetricData from the metrics that alarms are evaluated with.

In the place of moto's, which looks through every datum for every period, and knows neither percentiles nor trimmed
counts. As on AWS, each value stands at the beginning of its period, periods without data are left out, and the newest
comes first (https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_GetMetricData.html).
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from moto.cloudwatch.exceptions import ValidationError
from moto.cloudwatch.models import CloudWatchBackend

from infra.rehearsal.emulator import metrics
from infra.rehearsal.emulator.formulas import Formula

MOST_VALUES: Final = 100_800
"""Of one answer. AWS hands out the rest in further pages; here it is refused."""

Series = dict[int, float]
"""The beginning of a period, in seconds since 1970, and its value."""


def install() -> None:
    """Answer GetMetricData from here."""
    CloudWatchBackend.get_metric_data = _get  # type: ignore[assignment, method-assign]  # that is what is replaced


def _get(
    backend: CloudWatchBackend,
    queries: list[dict[str, Any]],
    start_time: datetime,
    end_time: datetime,
    scan_by: str = "TimestampDescending",
) -> list[dict[str, Any]]:
    start, end = _seconds(start_time), _seconds(end_time)
    if start >= end:
        raise ValidationError("The parameter StartTime must be less than the parameter EndTime.")
    known = metrics.of_region(backend)
    series: dict[str, Series] = {}
    for query in queries:
        if stat := query.get("MetricStat"):
            series[query["Id"]] = _measured(known, stat, start, end)
    for query in queries:
        if query.get("Expression"):
            series[query["Id"]] = _computed(query, series)
    wanted = [query for query in queries if str(query.get("ReturnData", True)).lower() != "false"]
    if sum(len(series[query["Id"]]) for query in wanted) > MOST_VALUES:
        raise NotImplementedError(
            f"the rehearsal answers GetMetricData with {MOST_VALUES} values at most: ask for less"
        )
    return [_result(query, series[query["Id"]], newest_first=scan_by != "TimestampAscending") for query in wanted]


def _measured(known: metrics.Metrics, stat: Mapping[str, Any], start: float, end: float) -> Series:
    statistic, period = stat["Stat"], int(stat["Period"])
    if not metrics.known_statistic(statistic):
        raise NotImplementedError(f"the statistic {statistic} is not computed in the rehearsal")
    if period < 1 or (period > 30 and period % 60):
        raise ValidationError("The parameter Period must be 1, 5, 10, 20, 30, or a multiple of 60.")
    metric = stat["Metric"]
    dimensions = frozenset((each["Name"], each["Value"]) for each in metric.get("Dimensions", ()))
    key = metric["Namespace"], metric["MetricName"], dimensions
    return known.series(key, statistic, period, start, end)


def _computed(query: Mapping[str, Any], series: Mapping[str, Series]) -> Series:
    formula = Formula(str(query["Expression"]))
    if unknown := formula.names - series.keys():
        raise ValidationError(f"Undefined identifier(s) in {query['Expression']!r}: {', '.join(sorted(unknown))}")
    moments = sorted({moment for name in formula.names for moment in series[name]})
    values = {moment: formula.value(lambda name, at=moment: series[name].get(at)) for moment in moments}  # type: ignore[misc]  # mypy takes no default in a lambda
    return {moment: value for moment, value in values.items() if value is not None}


def _result(query: Mapping[str, Any], series: Series, *, newest_first: bool) -> dict[str, Any]:
    ordered: Sequence[int] = sorted(series, reverse=newest_first)
    stat = query.get("MetricStat")
    label = query.get("Label") or (f"{stat['Metric']['MetricName']} {stat['Stat']}" if stat else query["Id"])
    return {
        "id": query["Id"],
        "label": label,
        "values": [series[moment] for moment in ordered],
        "timestamps": [datetime.fromtimestamp(moment, UTC).replace(tzinfo=None) for moment in ordered],
        "status_code": "Complete",
    }


def _seconds(moment: datetime) -> float:
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
