"""What an endpoint's monitors found last, and a baseline of what another tool has measured."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from botocore.exceptions import ClientError

from functions.monitoring import baseline, report
from functions.monitoring.windows import place
from infra.reach import Deployed

MONITORS: Final = ("data", "quality", "service", "freshness", "spending")


class NoReport(Exception):
    """There is no such report yet, or no such baseline: the text says what to do."""


@dataclass(frozen=True)
class Shown:
    """A monitor's newest report."""

    monitor: str
    folder: str
    """The S3 URI of its reports."""
    report: Mapping[str, Any]

    def lines(self) -> list[str]:
        """To read in a terminal: the sentence first, then what it says of each column."""
        told = self.report
        lines = [f"{self.monitor}: {told['status']}. {told['summary']}"]
        lines += [
            f"  {each.get('feature_name') or each.get('metric_name')}: {each['description']}"
            for each in told["violations"]
        ]
        lines.append(f"  of {told['time']}: {self.folder}{report.stem(told)}.html")
        return lines


def newest(deployed: Deployed, monitor: str | None = None) -> list[Shown]:
    """The newest report of each monitor of a product that has one, or of one monitor. Raises NoReport."""
    folders = {each: folder(deployed, each) for each in ([monitor] if monitor else MONITORS)}
    s3 = deployed.client("s3")
    found = [Shown(name, where, told) for name, where in folders.items() if (told := report.newest(s3, where))]
    if not found:
        which = f"the {monitor} monitor" if monitor else "no monitor"
        raise NoReport(
            f"{which} of {deployed.settings.stack} has{' not' if monitor else ''} reported yet: each does on its "
            f"schedule; the alarms {deployed.settings.stack}-…-failed and …-silent tell where one does not"
        )
    return found


def run(deployed: Deployed, monitor: str) -> Shown:
    """Let a monitor look now, with what its schedule gives it, and wait for its report. Raises NoReport.

    Of two runs at once one counts, so that this disturbs no schedule.
    """
    stack, scheduler = deployed.settings.stack, deployed.client("scheduler")
    try:
        target = scheduler.get_schedule(GroupName=f"{stack}-{monitor}", Name="run")["Target"]
    except scheduler.exceptions.ResourceNotFoundException:
        raise NoReport(f"{stack} has no {monitor} monitor, or its schedule is gone: `slipway up {stack}`") from None
    done = deployed.client("lambda").invoke(FunctionName=target["Arn"], Payload=target.get("Input", "{}").encode())
    if "FunctionError" in done:
        said = json.loads(done["Payload"].read()).get("errorMessage", "it does not say why")
        raise NoReport(f"the {monitor} monitor of {stack} failed: {said}")
    return newest(deployed, monitor)[0]


def folder(deployed: Deployed, monitor: str) -> str:
    """Where the reports of a monitor are."""
    return f"{deployed.output('reports_uri')}/{monitor}/{deployed.settings.stack}/"


def page(deployed: Deployed, shown: Shown) -> str:
    """A report's page. Raises NoReport where it is not there."""
    where = place(shown.folder, f"{report.stem(shown.report)}.html")
    try:
        body: bytes = deployed.client("s3").get_object(**where)["Body"].read()
    except ClientError as error:
        if error.response["Error"]["Code"] != "NoSuchKey":
            raise
        raise NoReport(f"s3://{where['Bucket']}/{where['Key']} is not there any more") from error
    return body.decode()


def imported(statistics: Path, constraints: Path | None = None, answers: Sequence[str] = ()) -> str:
    """The baseline, as JSON, that Model Monitor's statistics.json (and constraints.json) come to. Raises NoReport.

    `answers` are those of its columns that the model answers with, and is not asked.
    """
    given = _read(statistics), _read(constraints) if constraints else None
    try:
        return baseline.to_json(baseline.from_json(*given, outputs=answers))
    except ValueError as error:
        names = " and ".join(str(path) for path in (statistics, constraints) if path)
        raise NoReport(f"{names}: {error}") from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise NoReport(f"{path}: {error.strerror}") from error
