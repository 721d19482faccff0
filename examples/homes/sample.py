"""Blocks of homes for the rehearsal: the census of California of 1990, as NannyML ships it with times made up."""

from collections.abc import Iterator
from typing import Final

from examples.homes.features import LABEL, SCHEMA
from examples.shipped import chosen, rows

DATASET: Final = "california-1990"
KNOWN: Final = "2021-06-01T00:00:00Z"
"""When it was known what the homes were worth."""
HISTORY: Final = 4000
REQUESTS: Final = 1000


def history() -> Iterator[dict[str, str]]:
    """Blocks of which it is known what their homes are worth."""
    for row in rows("california_housing_reference.csv", HISTORY):
        yield {
            SCHEMA.record_id: row["id"],
            SCHEMA.event_time: f"{row['timestamp'][:7]}-01T00:00:00Z",  # its month
            **chosen(row, SCHEMA.names),
            LABEL: row["clf_target"],
        }


def requests() -> Iterator[dict[str, str]]:
    """Blocks that are to be valued."""
    for row in rows("california_housing_analysis.csv", REQUESTS):
        yield {SCHEMA.record_id: row["id"], **chosen(row, SCHEMA.names)}
