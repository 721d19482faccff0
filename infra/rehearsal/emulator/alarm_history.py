"""What became of each alarm, as CloudWatch's DescribeAlarmHistory tells it: kept for 30 days, a deleted alarm's too.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_DescribeAlarmHistory.html
"""

import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from moto.cloudwatch.exceptions import ValidationError
from moto.cloudwatch.models import Alarm, CloudWatchBackend, cloudwatch_backends
from moto.cloudwatch.responses import CloudWatchResponse
from moto.core.responses import ActionResult

from infra.rehearsal.emulator.calls import ACCOUNT

KEPT_SECONDS: Final = 30 * 86400.0
MOST_KEPT: Final = 20_000
"""Of a region; AWS has no such bound."""
PAGE: Final = 100
SUMMARY_LIMIT, DATA_LIMIT = 255, 4095

_delete_in_moto = CloudWatchBackend.delete_alarms


@dataclass(frozen=True)
class Item:
    """One thing that happened to an alarm."""

    alarm: str
    at: float
    """Seconds since 1970."""
    kind: str
    summary: str
    data: str

    def answer(self) -> dict[str, Any]:
        """As DescribeAlarmHistory has it."""
        return {
            "AlarmName": self.alarm,
            "AlarmType": "MetricAlarm",
            "Timestamp": datetime.fromtimestamp(self.at, UTC),
            "HistoryItemType": self.kind,
            "HistorySummary": self.summary[:SUMMARY_LIMIT],
            "HistoryData": self.data[:DATA_LIMIT],
        }


def install() -> None:
    """Answer DescribeAlarmHistory, and remember what is deleted."""
    CloudWatchResponse.describe_alarm_history = _describe  # type: ignore[attr-defined]  # moto has no such operation
    CloudWatchBackend.delete_alarms = _delete  # type: ignore[assignment, method-assign]  # that is what is replaced


def changed_state(alarm: Alarm, before: str, reason_before: str, moment: datetime) -> None:
    """Remember that an alarm is in another state than `before`, since `moment`."""
    said = {
        "version": "1.0",
        "oldState": {"stateValue": before, "stateReason": reason_before},
        "newState": {"stateValue": alarm.state_value, "stateReason": alarm.state_reason},
    }
    summary = f"Alarm updated from {before} to {alarm.state_value}"
    # To the millisecond, as in the event and the message that tell of the same.
    since = moment.replace(microsecond=moment.microsecond // 1000 * 1000).timestamp()
    _keep(alarm.region_name, alarm.name, "StateUpdate", summary, said, since)


def acted(alarm: Alarm, action: str) -> None:
    """Remember that an alarm did what it says is to be done."""
    said = {"actionState": "Succeeded", "notificationResource": action, "stateUpdateTimestamp": int(time.time() * 1000)}
    _keep(alarm.region_name, alarm.name, "Action", f"Successfully executed action {action}", said)


def configured(alarm: Alarm, how: str) -> None:
    """Remember that an alarm was created or updated."""
    said = {"version": "1.0", "type": {"created": "Create", "updated": "Update"}[how]}
    _keep(alarm.region_name, alarm.name, "ConfigurationUpdate", f'Alarm "{alarm.name}" {how}', said)


def _delete(backend: CloudWatchBackend, alarm_names: list[str]) -> None:
    there = [name for name in alarm_names if name in backend.alarms]
    _delete_in_moto(backend, alarm_names)
    for name in there:
        said = {"version": "1.0", "type": "Delete"}
        _keep(backend.region_name, name, "ConfigurationUpdate", f'Alarm "{name}" deleted', said)


def _keep(region: str, alarm: str, kind: str, summary: str, said: Mapping[str, Any], at: float | None = None) -> None:
    items = _items(region)
    items.append(Item(alarm, time.time() if at is None else at, kind, summary, json.dumps(said)))
    if len(items) > MOST_KEPT:
        del items[: len(items) - MOST_KEPT]


def _items(region: str) -> list[Item]:
    """What is remembered of a region, the oldest first: where a reset of moto clears it."""
    found: list[Item] = vars(cloudwatch_backends[ACCOUNT][region]).setdefault("alarm_history", [])
    return found


def _describe(response: CloudWatchResponse) -> ActionResult:
    name, kind = response._get_param("AlarmName"), response._get_param("HistoryItemType")
    since = _seconds(response._get_param("StartDate"), time.time() - KEPT_SECONDS)
    until = _seconds(response._get_param("EndDate"), time.time())
    found = [
        item
        for item in list(_items(response.region))
        if since <= item.at <= until and name in (None, item.alarm) and kind in (None, item.kind)
    ]
    if response._get_param("ScanBy") != "TimestampAscending":
        found.reverse()
    most = int(response._get_param("MaxRecords") or PAGE)
    token = response._get_param("NextToken") or ""
    if token and not token.rpartition("-")[2].isdigit():
        raise ValidationError(f"The value {token!r} for parameter NextToken is invalid")
    first = int(token.rpartition("-")[2]) if token else 0
    more = {"NextToken": f"{uuid.uuid4()}-{first + most}"} if len(found) > first + most else {}
    return ActionResult({"AlarmHistoryItems": [item.answer() for item in found[first : first + most]], **more})


def _seconds(moment: Any, otherwise: float) -> float:
    if moment is None:
        return otherwise
    if isinstance(moment, datetime):
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    return float(moment)
