"""How a shadow did beside the version that serves: what both were asked, what each answered, and how fast.

Both are captured. AWS gives the two records of a request nothing in common but the request itself, so records are
paired by that, in the order in which they were made.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit

from components.endpoint import NAMESPACE, SHADOW, VARIANT
from functions import ledger
from functions.monitoring import payloads
from functions.monitoring.quality import THRESHOLD, wilson

Client = Callable[[str], Any]
"""Gives the boto3 client of a service, in the endpoint's account and region."""
Z: Final = 1.96
"""Of an interval of 95 % confidence."""


class NoShadow(Exception):
    """There is nothing to compare: the text says why, and what to set."""


@dataclass(frozen=True)
class Side:
    """One of the two, over the time that was looked at."""

    version: str
    """Of the registry."""
    requests: int
    failed: int
    """Answered with a 5xx."""
    latency_ms: float | None
    """The model's own time for 99 % of requests in the worst minute; None where it was asked nothing."""


@dataclass(frozen=True)
class Comparison:
    """What `slipway shadow` tells."""

    endpoint: str
    since: str
    live: Side
    shadow: Side
    requests: int
    """That both were asked, and both captured."""
    rows: int
    mean_difference: float | None
    """Of the two probabilities of a row, whichever is larger."""
    largest_difference: float | None
    other_side: int
    """Rows that are told to be one by one version, and to be none by the other."""
    other_side_percent: tuple[float, float] | None
    """Of all that will be asked, with 95 % confidence: from, to."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)

    def lines(self) -> list[str]:
        """To read in a terminal."""
        told = [f"{self.endpoint} since {self.since}: {self.requests:,} requests with {self.rows:,} rows were compared"]
        for name, side in (("live", self.live), ("shadow", self.shadow)):
            latency = "no request" if side.latency_ms is None else f"p99 {side.latency_ms:.1f} ms"
            told.append(f"  {name}: version {side.version}, {side.requests:,} asked, {side.failed:,} failed, {latency}")
        if self.other_side_percent and self.mean_difference is not None and self.largest_difference is not None:
            low, high = self.other_side_percent
            told += [
                f"  answers differ by {self.mean_difference:.4f} on average, {self.largest_difference:.4f} at most",
                f"  {self.other_side:,} rows are decided otherwise: {low:.2f} to {high:.2f} % of all",
            ]
        return told


def compare(client: Client, endpoint: str, captures_uri: str, ledger_bucket: str, since: datetime) -> Comparison:
    """Compare the endpoint's shadow with the version that serves, from `since` on, or from when that went live.

    Raises NoShadow.
    """
    versions = _versions(client("sagemaker"), endpoint)
    if SHADOW not in versions:
        raise NoShadow(f"{endpoint} has no shadow: set slipway:settings.endpoint.shadow (model_version, percent)")
    if serving := ledger.periods(ledger.entries(client("s3"), ledger_bucket, endpoint)):
        since = max(since, ledger.moment(serving[-1].since))
    until = datetime.now(UTC)
    ours, theirs = (
        _captured(client("s3"), f"{captures_uri}/{endpoint}/{variant}", since, until) for variant in (VARIANT, SHADOW)
    )
    pairs = [pair for asked, answers in theirs.items() for pair in zip(ours.get(asked, ()), answers, strict=False)]
    pairs = [(one, other) for one, other in pairs if len(one) == len(other)]
    differences = [abs(a - b) for one, other in pairs for a, b in zip(one, other, strict=True)]
    crossed = sum((a > THRESHOLD) != (b > THRESHOLD) for one, other in pairs for a, b in zip(one, other, strict=True))
    rows = len(differences)
    low, high = wilson(crossed / rows, rows, Z) if rows else (0.0, 0.0)
    live, shadow = (
        _side(client("cloudwatch"), endpoint, variant, versions[variant], since, until) for variant in (VARIANT, SHADOW)
    )
    return Comparison(
        endpoint=endpoint,
        since=since.strftime("%Y-%m-%dT%H:%MZ"),
        live=live,
        shadow=shadow,
        requests=len(pairs),
        rows=rows,
        mean_difference=sum(differences) / rows if rows else None,
        largest_difference=max(differences, default=None),
        other_side=crossed,
        other_side_percent=(100 * low, 100 * high) if rows else None,
    )


def _versions(sagemaker: Any, endpoint: str) -> dict[str, str]:
    """The version of the registry that each variant serves."""
    described = sagemaker.describe_endpoint(EndpointName=endpoint)
    found = sagemaker.describe_endpoint_config(EndpointConfigName=described["EndpointConfigName"])
    variants = [*found["ProductionVariants"], *found.get("ShadowProductionVariants", ())]
    told = {}
    for each in variants:
        if name := each.get("ModelName"):
            container = sagemaker.describe_model(ModelName=name)["PrimaryContainer"]
            told[each["VariantName"]] = container.get("ModelPackageName", "").rpartition("/")[2]
    return told


def _captured(s3: Any, uri: str, since: datetime, until: datetime) -> Mapping[str, Sequence[list[float]]]:
    """What one variant answered, by what it was asked, the oldest first."""
    place = urlsplit(uri)
    found: dict[str, list[tuple[str, list[float]]]] = defaultdict(list)
    for hour in _hours(since, until):
        pages = s3.get_paginator("list_objects_v2").paginate(
            Bucket=place.netloc, Prefix=f"{place.path.lstrip('/')}/{hour:%Y/%m/%d/%H}/"
        )
        for key in (each["Key"] for page in pages for each in page.get("Contents", ())):
            for line in s3.get_object(Bucket=place.netloc, Key=key)["Body"].iter_lines():
                record = json.loads(line)
                at = record["eventMetadata"]["inferenceTime"]
                sides = record["captureData"]
                if at >= f"{since:%Y-%m-%dT%H:%M:%SZ}" and {"endpointInput", "endpointOutput"} <= sides.keys():
                    asked = hashlib.sha256(sides["endpointInput"]["data"].encode()).hexdigest()
                    found[asked].append((at, _probabilities(sides["endpointOutput"])))
    return {asked: [answer for _, answer in sorted(answers)] for asked, answers in found.items()}


def _hours(since: datetime, until: datetime) -> Iterator[datetime]:
    hour = since.replace(minute=0, second=0, microsecond=0)
    while hour <= until:
        yield hour
        hour += timedelta(hours=1)


def _probabilities(output: Mapping[str, Any]) -> list[float]:
    """The answer's probabilities, a row each. Raises ValueError for an answer that has none."""
    encoding, text = output["encoding"], output["data"]
    if encoding == "BASE64":
        encoding, text = payloads.from_base64(text)
    if encoding == "CSV":
        return [float(row[0]) for row in payloads.csv_rows(text)]
    [answer] = payloads.json_values(text)
    return [float(each) for each in answer["predictions"]]


def _side(cloudwatch: Any, endpoint: str, variant: str, version: str, since: datetime, until: datetime) -> Side:
    def points(metric: str, stat: str) -> list[float]:
        where = [{"Name": "EndpointName", "Value": endpoint}, {"Name": "VariantName", "Value": variant}]
        measured = {
            "Metric": {"Namespace": NAMESPACE, "MetricName": metric, "Dimensions": where},
            "Period": _period(until - since),
            "Stat": stat,
        }
        [told] = cloudwatch.get_metric_data(
            MetricDataQueries=[{"Id": "told", "MetricStat": measured}],
            StartTime=since,
            EndTime=until + timedelta(minutes=1),
        )["MetricDataResults"]
        return list(told["Values"])

    latency = max(points("ModelLatency", "p99"), default=None)
    return Side(
        version=version,
        requests=int(sum(points("Invocations", "Sum"))),
        failed=int(sum(points("Invocation5XXErrors", "Sum"))),
        latency_ms=None if latency is None else latency / 1000,
    )


def _period(window: timedelta) -> int:
    """Seconds of a data point, so that a window has 1,400 of them at most."""
    return 60 * max(1, -(-int(window.total_seconds()) // (60 * 1400)))
