"""Log events that become metrics: the embedded metric format."""

import json
from datetime import UTC, datetime
from typing import Any

from moto.cloudwatch.models import cloudwatch_backends
from moto.logs.models import LogsBackend

_put_in_moto = LogsBackend.put_log_events


def install() -> None:
    """Make PutLogEvents read metrics out of what is logged."""
    LogsBackend.put_log_events = _put_log_events  # type: ignore[method-assign]  # that is what is replaced


def _put_log_events(
    backend: LogsBackend, log_group_name: str, log_stream_name: str, log_events: list[dict[str, Any]]
) -> Any:
    answer = _put_in_moto(backend, log_group_name, log_stream_name, log_events)
    for event in log_events:
        if '"_aws"' in event["message"]:
            _embedded(backend, event["message"])
    return answer


def _embedded(backend: LogsBackend, message: str) -> None:
    """Put the metrics of one line. A line that is not in the format is only a line, as CloudWatch has it.

    The format: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
    """
    try:
        record = json.loads(message)
        declared = record["_aws"]["CloudWatchMetrics"]
        moment = datetime.fromtimestamp(record["_aws"]["Timestamp"] / 1000, UTC).replace(tzinfo=None)
    except (ValueError, KeyError, TypeError):
        return
    cloudwatch = cloudwatch_backends[backend.account_id][backend.region_name]
    for directive in declared:
        for names in directive.get("Dimensions") or [[]]:
            dimensions = [{"Name": name, "Value": str(record[name])} for name in names]
            for metric in directive["Metrics"]:
                values = record.get(metric["Name"])
                for value in values if isinstance(values, list) else [values]:
                    if value is not None:
                        datum = {
                            "MetricName": metric["Name"],
                            "Value": float(value),
                            "Timestamp": moment,
                            "Dimensions": dimensions,
                            "Unit": metric.get("Unit", "None"),
                        }
                        cloudwatch.put_metric_data(directive["Namespace"], [datum])
