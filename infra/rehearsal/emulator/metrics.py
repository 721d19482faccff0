"""CloudWatch metrics as alarms need them: put where users find them, and read by period."""

import re
import threading
from bisect import bisect_left, insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby
from typing import Any, Final

from moto.cloudwatch.models import CloudWatchBackend, MetricAggregatedDatum, MetricDatumBase, cloudwatch_backends
from moto.sqs.models import sqs_backends

from infra.rehearsal.emulator import pace
from infra.rehearsal.emulator.calls import ACCOUNT
from infra.rehearsal.emulator.pace import WALL, Clock

SERVICE_METRIC_SECONDS: Final = 60.0
"""How often AWS puts the metrics of what does not change by itself, such as a queue's length."""
PERCENTILE: Final = "p"
TRIMMED_COUNT: Final = re.compile(r"TC\((\d+(?:\.\d+)?)?:(\d+(?:\.\d+)?)?\)")
"""How many values are above the first bound, and not above the second; either may be left out."""
STATISTICS: Final = ("Average", "Maximum", "Minimum", "SampleCount", "Sum")

Key = tuple[str, str, frozenset[tuple[str, str]]]
"""Namespace, name and dimensions of a metric."""

_regions: dict[str, "Metrics"] = {}
_queues: dict[str, tuple[float, int]] = {}


@dataclass(frozen=True, order=True)
class Point:
    """What was put at one moment (seconds since 1970): one value, or several of which only this is known."""

    time: float
    total: float = field(compare=False)
    count: float = field(compare=False)
    least: float = field(compare=False)
    most: float = field(compare=False)


class Metrics:
    """The metrics of one region, kept by name: looking through all of moto's for every alarm takes too long."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._source: list[MetricDatumBase] = []
        self._seen = 0
        self._points: dict[Key, list[Point]] = {}

    def catch_up(self, backend: CloudWatchBackend) -> None:
        """Take in what was put since the last time."""
        with self._lock:
            if backend.metric_data is not self._source:  # it was reset
                self._source, self._seen, self._points = backend.metric_data, 0, {}
            fresh = self._source[self._seen :]
            self._seen += len(fresh)
            for datum in fresh:
                dimensions = frozenset((str(each.name), str(each.value)) for each in datum.dimensions)
                insort(self._points.setdefault((datum.namespace, datum.name, dimensions), []), _point(datum))

    def by_period(
        self,
        key: Key,
        statistic: str,
        period: float,
        periods: int,
        now: float,
        *,
        sliding: bool = False,
        clock: Clock = WALL,
    ) -> list[float | None]:
        """The statistic in each of the last periods, the one that has begun at `now` first; None where no data is.

        `sliding` periods end with this minute, whatever their length. Periods are the `clock`'s; what is counted in
        one that passes quicker is taken for the rate that it is: five errors in the 1.2 seconds that stand for a
        minute are 250 a minute.
        """
        points = self._points.get(key, [])
        step = min(period, 60.0) if sliding else period
        end = (clock.shown(now) // step + 1) * step
        moments = [clock.real(end - period * i) for i in range(periods + 1)]
        edges = [bisect_left(points, moment, key=_time) for moment in moments]
        found = [_statistic(statistic, points[edges[i + 1] : edges[i]]) for i in range(periods)]
        if clock is WALL or statistic not in ("Sum", "SampleCount"):
            return found
        shortened = [period / (moments[i] - moments[i + 1]) for i in range(periods)]
        return [None if value is None else value * factor for value, factor in zip(found, shortened, strict=True)]

    def series(self, key: Key, statistic: str, period: int, start: float, end: float) -> dict[int, float]:
        """The statistic in each period that has data and begins between two times; its beginning, and the value."""
        points = self._points.get(key, [])
        found: dict[int, float] = {}
        first = bisect_left(points, start // period * period, key=_time)
        last = bisect_left(points, end, key=_time)
        for begun, of_period in groupby(points[first:last], lambda point: int(point.time // period) * period):
            value = _statistic(statistic, list(of_period))
            if value is not None:
                found[begun] = value
        return found


def put_metric(region: str, namespace: str, name: str, value: float, dimensions: Mapping[str, str]) -> None:
    """One point of a metric of an AWS service, now."""
    datum = {
        "MetricName": name,
        "Value": value,
        "Timestamp": datetime.now(UTC).replace(tzinfo=None),
        "Dimensions": [{"Name": key, "Value": text} for key, text in dimensions.items()],
    }
    cloudwatch_backends[ACCOUNT][region].put_metric_data(namespace, [datum])


def of_region(backend: CloudWatchBackend) -> Metrics:
    """What has been put in a region until now."""
    metrics = _regions.setdefault(backend.region_name, Metrics())
    metrics.catch_up(backend)
    return metrics


def known_statistic(name: str) -> bool:
    """Whether the rehearsal computes a statistic: the five simple ones, percentiles such as p99, counts as TC(250:)."""
    percentile = name.startswith(PERCENTILE) and name[1:].replace(".", "", 1).isdigit()
    return name in STATISTICS or percentile or TRIMMED_COUNT.fullmatch(name) is not None


def tick(now: float) -> None:
    """Put how many messages wait in each queue: when that has changed, and once a minute."""
    shown = pace.clock.shown(now)
    for region, backend in list(sqs_backends[ACCOUNT].items()):
        for queue in list(backend.queues.values()):
            waiting = int(queue.approximate_number_of_messages)
            then, before = _queues.get(queue.queue_arn, (0.0, -1))
            if waiting != before or shown - then >= SERVICE_METRIC_SECONDS:
                _queues[queue.queue_arn] = shown, waiting
                name = "ApproximateNumberOfMessagesVisible"
                put_metric(region, "AWS/SQS", name, waiting, {"QueueName": queue.name})


def _time(point: Point) -> float:
    return point.time


def _point(datum: Any) -> Point:
    moment = datum.timestamp if datum.timestamp.tzinfo else datum.timestamp.replace(tzinfo=UTC)
    if isinstance(datum, MetricAggregatedDatum):
        return Point(moment.timestamp(), datum.sum, datum.sample_count, datum.min, datum.max)
    value = float(datum.value)
    return Point(moment.timestamp(), value, 1.0, value, value)


def _statistic(name: str, points: Sequence[Point]) -> float | None:
    if not points:
        return None
    if name.startswith(PERCENTILE):
        ordered = sorted(point.total / point.count for point in points)
        return ordered[min(len(ordered) - 1, int(len(ordered) * float(name[1:]) / 100))]
    if bounds := TRIMMED_COUNT.fullmatch(name):
        above, below = float(bounds[1] or "-inf"), float(bounds[2] or "inf")
        return sum(point.count for point in points if above < point.total / point.count <= below)
    total, count = sum(point.total for point in points), sum(point.count for point in points)
    if name == "Sum":
        return total
    if name == "SampleCount":
        return count
    if name == "Maximum":
        return max(point.most for point in points)
    if name == "Minimum":
        return min(point.least for point in points)
    return total / count
