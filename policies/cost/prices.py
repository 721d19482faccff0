"""The table of prices: what AWS charges, where each price comes from, and how old it is."""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from importlib.resources import files
from typing import Any, Final

PRICES: Final[Mapping[str, Any]] = json.loads(files("policies.cost").joinpath("prices.json").read_text("utf-8"))
HOURS: Final[int] = PRICES["hours_per_month"]
DAYS: Final[float] = HOURS / 24
"""Days of a month, as its hours are counted."""
MAX_AGE_DAYS: Final = 90
"""AWS changes a price now and then, and adds an instance family each quarter."""
REFRESH: Final = "slipway prices --refresh"


def today() -> date:
    """The day, as the table counts it."""
    return datetime.now(UTC).date()


def aged(on: date, table: Mapping[str, Any] = PRICES) -> dict[str, int]:
    """The prices that are older than `MAX_AGE_DAYS` on that day, each with its age in days."""
    ages = {
        name: (on - date.fromisoformat(row["date"])).days
        for part in ("instances", "prices")
        for name, row in table[part].items()
    }
    return {name: age for name, age in ages.items() if age > MAX_AGE_DAYS}


def warnings(on: date | None = None, table: Mapping[str, Any] = PRICES) -> Iterator[str]:
    """A sentence where the table has grown old, with what to do about it."""
    old = aged(on or today(), table)
    if old:
        oldest = max(old, key=lambda name: old[name])
        count = len(table["instances"]) + len(table["prices"])
        yield (
            f"{len(old)} of {count} prices are older than {MAX_AGE_DAYS} days (the oldest, {oldest}, {old[oldest]}): "
            f"run `{REFRESH}` with credentials that may call pricing:GetProducts"
        )


def gpus_of(instance_type: str) -> int:
    """How many GPUs an instance type has, by the table; SageMaker's `ml.` types have those of EC2's."""
    row = PRICES["instances"].get(instance_type.removeprefix("ml.")) or PRICES["instances"].get(instance_type) or {}
    return int(row.get("gpus", 0))
