"""The drift monitor's Lambda: read from S3, measure with `core`, report to S3 and CloudWatch."""

import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit

import boto3

from functions.drift.core import compare, from_json, observe
from functions.live import live_package

NAMESPACE: Final = "Slipway/Drift"
WINDOW: Final = timedelta(hours=1)
LATE: Final = timedelta(hours=1)
"""Captures are filed by the hour of their request, and may be written that much later."""
REPORT: Final = "%Y-%m-%dT%H-%M-%S-%f.json"
"""What a report is called after its time, UTC; so reports sort by time."""


def handler(event: dict[str, str], _context: object) -> dict[str, Any]:
    """Compare the last hour's captures with the baseline of the model that serves.

    `event` is the schedule's input: the endpoint's name and variant, where its captures are and where reports go (S3
    URIs that end in a slash). A `model_package_arn` in it is compared with instead. Returns the report.
    """
    s3, now = boto3.client("s3"), datetime.now(UTC)
    # Releases change what serves: each version is compared with its own training data.
    package = event.get("model_package_arn") or live_package(boto3.client("sagemaker"), event["endpoint"])
    baseline = from_json(_open(s3, _baseline_uri(package)).read())
    prefix = f"{event['captures']}{event['endpoint']}/{event['variant']}/"
    window = observe(baseline, _lines(s3, prefix, now))
    findings = compare(baseline, window)
    drifted = [finding for finding in findings if finding.reasons]
    report = {
        "endpoint": event["endpoint"],
        "model_package_arn": package,
        "time": now.isoformat(timespec="seconds"),
        "status": "insufficient" if not findings else "drifted" if drifted else "stable",
        "rows": window.rows,
        "malformed": window.malformed,
        "drifted_features": len(drifted),
        "max_psi": max((finding.psi for finding in findings), default=0.0),
        "features": [asdict(finding) for finding in findings],
    }
    target = urlsplit(f"{event['reports']}{event['endpoint']}/{now.strftime(REPORT)}")
    s3.put_object(Bucket=target.netloc, Key=target.path.lstrip("/"), Body=json.dumps(report).encode())
    print(metrics(report))
    return report


def metrics(report: dict[str, Any]) -> str:
    """A log line that CloudWatch turns into the metrics of one window. Of a window too small it tells only the size."""
    names = ["rows", "malformed"]
    if report["status"] != "insufficient":
        names += ["drifted_features", "max_psi"]
    declared = {"Namespace": NAMESPACE, "Dimensions": [["endpoint"]], "Metrics": [{"Name": name} for name in names]}
    header = {"Timestamp": int(time.time() * 1000), "CloudWatchMetrics": [declared]}
    return json.dumps({"_aws": header, "endpoint": report["endpoint"], **{name: report[name] for name in names}})


def _baseline_uri(package_arn: str) -> str:
    """Where the baseline is that was registered with the model. Raises ValueError where there is none."""
    package = boto3.client("sagemaker").describe_model_package(ModelPackageName=package_arn)
    try:
        return str(package["DriftCheckBaselines"]["ModelDataQuality"]["Statistics"]["S3Uri"])
    except KeyError:
        raise ValueError(
            f"{package_arn} was registered without DriftCheckBaselines.ModelDataQuality.Statistics: "
            "register it with the baseline that training wrote"
        ) from None


def _lines(s3: Any, prefix: str, now: datetime) -> Iterator[bytes]:
    """The lines of what was captured in the last hour, one by one: an hour of captures need not fit in memory."""
    for uri in _recent(s3, prefix, now):
        for line in _open(s3, uri).iter_lines(chunk_size=1 << 16):
            if line.strip():
                yield line


def _recent(s3: Any, prefix: str, now: datetime) -> Iterator[str]:
    """The capture files that were written in the last hour. Folders are .../yyyy/mm/dd/hh/, the request's hour."""
    url = urlsplit(prefix)
    for hour in sorted({now - WINDOW - LATE, now - WINDOW, now}):
        folder = f"{url.path.lstrip('/')}{hour:%Y/%m/%d/%H}/"
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=url.netloc, Prefix=folder):
            for found in page.get("Contents", []):
                if found["LastModified"] >= now - WINDOW:
                    yield f"s3://{url.netloc}/{found['Key']}"


def _open(s3: Any, uri: str) -> Any:
    """The stream of an object's bytes."""
    url = urlsplit(uri)
    return s3.get_object(Bucket=url.netloc, Key=url.path.lstrip("/"))["Body"]
