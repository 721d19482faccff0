"""Log events that become metrics: the embedded metric format, and metric filters."""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from moto.cloudwatch.models import CloudWatchBackend, cloudwatch_backends
from moto.logs.models import LogsBackend

_put_in_moto = LogsBackend.put_log_events
_put_filter_in_moto = LogsBackend.put_metric_filter


def install() -> None:
    """Make PutLogEvents read metrics out of what is logged."""
    LogsBackend.put_log_events = _put_log_events  # type: ignore[assignment, method-assign]  # that is what is replaced
    LogsBackend.put_metric_filter = _put_metric_filter  # type: ignore[assignment, method-assign]  # likewise


def matches(pattern: str, message: str) -> bool:
    """Whether a line has the words of a filter pattern: all of them, any of those with ?, none of those with -.

    Raises NotImplementedError for a pattern that reads fields, such as `{ $.level = "ERROR" }`.
    """
    if pattern.lstrip().startswith(("{", "[", "%")):
        raise NotImplementedError(f"the rehearsal matches words in log lines, not the filter pattern {pattern!r}")
    wanted: list[bool] = []
    optional: list[bool] = []
    for sign, quoted, word in re.findall(r'([?-]?)(?:"([^"]*)"|(\S+))', pattern):
        found = (quoted or word) in message
        if sign == "?":
            optional.append(found)
        else:
            wanted.append(not found if sign == "-" else found)
    return all(wanted) and (any(optional) if optional else True)


def embedded(message: str) -> list[tuple[str, dict[str, Any]]]:
    """The metrics in one log line, each with its namespace; a line that is not in the format has none.

    The format: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
    """
    if '"_aws"' not in message:
        return []
    try:
        record = json.loads(message)
        moment = datetime.fromtimestamp(record["_aws"]["Timestamp"] / 1000, UTC).replace(tzinfo=None)
        return [
            (directive["Namespace"], {**datum, "Timestamp": moment})
            for directive in record["_aws"]["CloudWatchMetrics"]
            for datum in _data(directive, record)
        ]
    except (ValueError, KeyError, TypeError) as error:
        print(f"a log line is not in the embedded metric format: {error!r}: {message[:200]}", flush=True)
        return []


def _data(directive: Mapping[str, Any], record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What one directive declares: every metric, once for every set of dimensions."""
    data = []
    for names in directive.get("Dimensions") or [[]]:
        dimensions = [{"Name": name, "Value": str(record[name])} for name in names]
        for metric in directive["Metrics"]:
            values = record[metric["Name"]]
            for value in values if isinstance(values, list) else [values]:
                if isinstance(value, bool) or not isinstance(value, int | float):
                    raise TypeError(f"{metric['Name']} is {value!r}, not a number")
                named = {"MetricName": metric["Name"], "Value": float(value), "Unit": metric.get("Unit", "None")}
                data.append({**named, "Dimensions": dimensions})
    return data


def _put_log_events(
    backend: LogsBackend, log_group_name: str, log_stream_name: str, log_events: list[dict[str, Any]]
) -> Any:
    """In the place of moto's method: as there, and metrics are put."""
    answer = _put_in_moto(backend, log_group_name, log_stream_name, log_events)
    cloudwatch = cloudwatch_backends[backend.account_id][backend.region_name]
    filters = backend.filters.get_matching_filters(log_group_name=log_group_name)
    for event in log_events:
        for namespace, datum in embedded(event["message"]):
            cloudwatch.put_metric_data(namespace, [datum])
        for each in filters:
            if matches(each["filterPattern"] or "", event["message"]):
                _count(cloudwatch, each["metricTransformations"])
    return answer


def _count(cloudwatch: CloudWatchBackend, transformations: Any) -> None:
    for metric in transformations:
        datum = {
            "MetricName": metric["metricName"],
            "Value": float(metric["metricValue"]),
            "Timestamp": datetime.now(UTC).replace(tzinfo=None),
        }
        cloudwatch.put_metric_data(metric["metricNamespace"], [datum])


def _put_metric_filter(
    backend: LogsBackend, filter_name: str, filter_pattern: str, log_group_name: str, metric_transformations: Any
) -> None:
    """In the place of moto's method, which stores what would never match."""
    matches(filter_pattern or "", "")
    for metric in metric_transformations:
        if str(metric["metricValue"]).startswith("$"):
            raise NotImplementedError(f"the rehearsal takes a number as metricValue, not {metric['metricValue']!r}")
    backend.filters.delete_filter(filter_name, log_group_name)
    _put_filter_in_moto(backend, filter_name, filter_pattern, log_group_name, metric_transformations)
