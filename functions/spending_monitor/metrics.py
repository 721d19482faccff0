"""Looks metrics of CloudWatch up, many at a time."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

PERIOD: Final = 300
AT_ONCE: Final = 500
"""https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_GetMetricData.html"""


@dataclass(frozen=True)
class Series:
    """One metric."""

    namespace: str
    name: str
    dimensions: tuple[tuple[str, str], ...]


def highest(
    cloudwatch: Any, series: Sequence[Series], start: datetime, end: datetime, *, stat: str
) -> dict[Series, float]:
    """The highest value of each, by five minutes, between two times. What has none is not in it."""
    found: dict[Series, float] = {}
    for first in range(0, len(series), AT_ONCE):
        some = series[first : first + AT_ONCE]
        queries = [
            {
                "Id": f"m{number}",
                "MetricStat": {
                    "Metric": {
                        "Namespace": each.namespace,
                        "MetricName": each.name,
                        "Dimensions": [{"Name": name, "Value": value} for name, value in each.dimensions],
                    },
                    "Period": PERIOD,
                    "Stat": stat,
                },
            }
            for number, each in enumerate(some)
        ]
        pages = cloudwatch.get_paginator("get_metric_data")
        for page in pages.paginate(MetricDataQueries=queries, StartTime=start, EndTime=end):
            for told in page["MetricDataResults"]:
                if told["Values"]:
                    one = some[int(told["Id"][1:])]
                    found[one] = max(found.get(one, 0.0), *told["Values"])
    return found
