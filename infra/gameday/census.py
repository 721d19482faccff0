"""Whom the endpoint is asked about, and which of them have work: people whom the survey asked.

The steady requests are about people of 2015, like those that the model was trained on (and others than those, where
SLIPWAY_PEOPLE sets less than 20,000). A population that has drifted for real are people in homes, colleges, prisons and
barracks, whom the survey lists together at the end of its file of 2017: a model of 2015 is right about 79 % of them,
and about 83 % of the others.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

from functions.employment.features import LABEL, SCHEMA
from stacks.samples.employment import file

STEADY: Final = ("reference", 20_000, 20_000)
"""Of which file, from which row on, and how many."""
DRIFTED: Final = ("analysis", 128_000, 15_000)
SEED: Final = 2015
GROUP_QUARTERS: Final = ("16", "17")
"""Relationship to the householder: in institutions, and in other group quarters such as colleges."""


@dataclass(frozen=True)
class Person:
    """One answer sheet."""

    id: str
    values: Mapping[str, str]
    """Feature → text as CSV has it, in the schema's order."""
    works: bool

    def line(self) -> str:
        """As a request has it."""
        return ",".join(self.values.values())


@cache
def people() -> Sequence[Person]:
    """Those of the steady requests, in no order, the same ones every time."""
    return _read(*STEADY)


@cache
def in_group_quarters() -> Sequence[Person]:
    """People in homes, colleges, prisons and barracks."""
    return [person for person in _read(*DRIFTED) if person.values["RELP"] in GROUP_QUARTERS]


def _read(part: str, first: int, count: int) -> Sequence[Person]:
    import pyarrow  # here, for the command line imports this module and rarely reads the data
    import pyarrow.parquet

    def table(name: str, columns: list[str]) -> list[dict[str, str]]:
        rows = pyarrow.parquet.read_table(file(name), columns=columns).slice(first, count)
        texts = [column.cast(pyarrow.string()).fill_null("").to_pylist() for column in rows.columns]
        return [dict(zip(columns, row, strict=True)) for row in zip(*texts, strict=True)]

    known = "analysis_target" if part == "analysis" else part
    rows = zip(table(part, ["id", *SCHEMA.names]), table(known, [LABEL]), strict=True)
    found = [Person(row["id"], {name: row[name] for name in SCHEMA.names}, label[LABEL] == "1") for row, label in rows]
    random.Random(SEED).shuffle(found)
    return found
