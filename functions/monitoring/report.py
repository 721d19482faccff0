"""A monitor's reports: JSON for machines, and beside it a page that a person can read in a minute."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any, Final
from urllib.parse import urlsplit

from botocore.exceptions import ClientError

NEWEST: Final = "latest"
TIME: Final = "%Y-%m-%dT%H-%M-%SZ"
"""What a report is called after its time, UTC: so reports sort by time."""
REQUIRED: Final = (
    "monitor",
    "endpoint",
    "model_package_arn",
    "time",
    "since",
    "until",
    "status",
    "rows",
    "violations",
    "summary",
)
"""What every report tells. Times are ISO 8601, UTC. `status` is insufficient, stable or violated; `summary` is one
sentence; `model_package_arn` is None where the report is of no model."""


def write(s3: Any, folder: str, report: Mapping[str, Any], html: str) -> str:
    """Store a report in `folder` (an S3 URI that ends in a slash): under its time, and as the newest.

    Returns the JSON's URI. Raises ValueError for a report that lacks something. Written again, it is the same.
    """
    if lacking := [name for name in REQUIRED if name not in report]:
        raise ValueError(f"a report has to tell {', '.join(lacking)}, too")
    time = datetime.fromisoformat(report["time"]).astimezone(UTC).strftime(TIME)
    url = urlsplit(folder)
    for name in (time, NEWEST):
        for kind, content, body in (("html", "text/html; charset=utf-8", html), ("json", "application/json", report)):
            s3.put_object(
                Bucket=url.netloc,
                Key=f"{url.path.lstrip('/')}{name}.{kind}",
                Body=(body if isinstance(body, str) else json.dumps(body)).encode(),
                ContentType=content,
            )
    return f"{folder}{time}.json"


def newest(s3: Any, folder: str) -> dict[str, Any] | None:
    """The newest report in `folder`; None before the first."""
    url = urlsplit(folder)
    try:
        found = s3.get_object(Bucket=url.netloc, Key=f"{url.path.lstrip('/')}{NEWEST}.json")
    except ClientError as error:
        if error.response["Error"]["Code"] != "NoSuchKey":
            raise
        return None
    report: dict[str, Any] = json.load(found["Body"])
    return report


def page(title: str, sentence: str, sections: Iterable[tuple[str, str]], *, status: str = "stable") -> str:
    """A page that needs nothing but itself: `sentence` on top, then (heading, HTML) sections, light and dark."""
    raise NotImplementedError


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table; numbers stand on the right. Texts are escaped."""
    raise NotImplementedError


def listed(sentences: Iterable[str]) -> str:
    """A list of sentences, escaped."""
    return f"<ul>{''.join(f'<li>{escape(each)}</li>' for each in sentences)}</ul>"


def bars(before: Sequence[float], now: Sequence[float], labels: Sequence[str], *, title: str) -> str:
    """A small plot (SVG) of two sets of shares side by side: the baseline's and the window's."""
    raise NotImplementedError


def line(times: Sequence[datetime], values: Sequence[float], *, title: str, limit: float | None = None) -> str:
    """A small plot (SVG) of a value over time, with a line where its limit is."""
    raise NotImplementedError
