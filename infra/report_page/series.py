"""What of the monitors' reports is drawn over time: a row of series for each monitor."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from functions.ledger import moment
from infra.report_page.charts import Series

Reports = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Watched:
    """A monitor: what it is about, and what is drawn of its reports."""

    title: str
    drawn: Callable[[Reports], list[Series]]


def _series(
    found: Reports, title: str, value: Callable[[Mapping[str, Any]], float | None], **said: Any
) -> list[Series]:
    """One series of what `value` gives of each report; none where it gives nothing."""
    points = tuple((moment(each["time"]), float(told)) for each in found if (told := value(each)) is not None)
    return [Series(title, points, **said)] if points else []


def _data(found: Reports) -> list[Series]:
    judged = [each for each in found if each["status"] != "insufficient"]
    return [
        *_series(judged, "Columns that moved", lambda each: each.get("drifted_features")),
        *_series(found, "Rows in each window", lambda each: each["rows"]),
    ]


def _quality(found: Reports) -> list[Series]:
    judged = [each for each in found if each["status"] != "insufficient"]
    drawn = []
    for name, title in (("accuracy", "Accuracy"), ("auc", "AUC"), ("calibration_error", "Calibration error")):
        usual = next((each["baseline"].get(name) for each in reversed(found) if each.get("baseline")), None)
        floors = {
            one["metric"]: one["floor"] for each in judged for one in each.get("changes", ()) if one["metric"] == name
        }
        worse = 1 if name == "calibration_error" else -1
        limit = usual + worse * floors[name] if usual is not None and name in floors else None
        drawn += _series(judged, title, _figure(name), usual=usual, limit=limit)
    return drawn


def _figure(name: str) -> Callable[[Mapping[str, Any]], float | None]:
    def figure(each: Mapping[str, Any]) -> float | None:
        found: float | None = each.get("figures", {}).get(name)
        return found

    return figure


def _objective(name: str) -> Callable[[Mapping[str, Any]], float | None]:
    def used(each: Mapping[str, Any]) -> float | None:
        return next((one["used"] for one in each.get("objectives", ()) if one["name"] == name), None)

    return used


def _service(found: Reports) -> list[Series]:
    return [
        *_series(found, "Requests since the run before", lambda each: each["rows"]),
        *_series(found, "A month's allowance of errors, used", _objective("availability"), limit=1.0, percent=True),
        *_series(found, "A month's allowance of slow answers, used", _objective("latency"), limit=1.0, percent=True),
    ]


def _freshness(found: Reports) -> list[Series]:
    limit = next((each["max_age_seconds"] / 3600 for each in reversed(found) if each.get("max_age_seconds")), None)

    def hours(each: Mapping[str, Any]) -> float | None:
        return None if each.get("age_seconds") is None else each["age_seconds"] / 3600

    return _series(found, "Age of the newest features", hours, unit="h", limit=limit)


def _spending(found: Reports) -> list[Series]:
    budget = next((each["usd_per_month"] for each in reversed(found) if each.get("usd_per_month")), None)
    return [
        *_series(found, "What runs costs, an hour", lambda each: each.get("usd_per_hour"), unit="$"),
        *_series(found, "Left alone for a month", lambda each: each.get("usd_left_alone"), unit="$", limit=budget),
    ]


WATCHED: Final[Mapping[str, Watched]] = {
    "data": Watched("Data and drift", _data),
    "quality": Watched("Quality of the answers", _quality),
    "service": Watched("Errors and latency", _service),
    "freshness": Watched("Freshness of features", _freshness),
    "spending": Watched("Spending", _spending),
}
