"""A monitor's few metrics, as the log line that CloudWatch makes them of (embedded metric format)."""

import json
import time
from collections.abc import Mapping
from typing import Final

NAMESPACE: Final = "Slipway/Monitors"
DIMENSION: Final = "endpoint"
"""The only dimension: each custom metric costs money, so an endpoint has ten at most, over all its monitors."""


def line(endpoint: str, values: Mapping[str, float | bool]) -> str:
    """The line to print, of metric name → value. True is 1, False 0.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
    """
    declared = {"Namespace": NAMESPACE, "Dimensions": [[DIMENSION]], "Metrics": [{"Name": name} for name in values]}
    header = {"Timestamp": int(time.time() * 1000), "CloudWatchMetrics": [declared]}
    # JSON's `true` would be no number to CloudWatch.
    return json.dumps({"_aws": header, DIMENSION: endpoint, **{name: +value for name, value in values.items()}})
