"""Loans for the rehearsal. They are made up: NannyML's synthetic car loans of 2018, the later ones to ask about."""

from collections.abc import Iterator
from typing import Final

from examples.loans.features import LABEL, SCHEMA
from examples.shipped import chosen, rows

DATASET: Final = "car-loans-2018"
KNOWN: Final = "2019-12-31T00:00:00Z"
"""When it was known who had paid back: within the two years that a record is valid."""
HISTORY: Final = 4000
REQUESTS: Final = 400


def history() -> Iterator[dict[str, str]]:
    """Loans of which it is known how they ended."""
    for row in rows("synthetic_car_loan_reference.csv", HISTORY):
        yield {
            SCHEMA.record_id: row["id"],
            SCHEMA.event_time: f"{row['timestamp'][:10]}T00:00:00Z",  # its day
            **chosen(row, SCHEMA.names),
            LABEL: "1" if float(row[LABEL]) else "0",
        }


def requests() -> Iterator[dict[str, str]]:
    """Loans that somebody asks for."""
    for row in rows("synthetic_car_loan_analysis.csv", REQUESTS):
        yield {SCHEMA.record_id: row["id"], **chosen(row, SCHEMA.names)}
