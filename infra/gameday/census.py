"""Whom the endpoint is asked about: people of 2016, and which of them had work."""

import importlib.metadata
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

from functions.employment.features import LABEL, SCHEMA
from infra.rehearsal.product import DATA, census

PEOPLE: Final = 20_000
"""The first of the survey of 2016: a model of 2015 does as well on them as on those of its own year."""
SEED: Final = 2016


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
def people(count: int = PEOPLE) -> Sequence[Person]:
    """People of 2016, in no order, the same ones every time."""
    import pyarrow.parquet  # here, for the command line imports this module and rarely reads the data

    path = importlib.metadata.distribution("nannyml").locate_file(DATA.format(part="analysis_target"))
    table = pyarrow.parquet.read_table(path)
    works = dict(zip(table["id"].to_pylist(), table[LABEL].to_pylist(), strict=True))
    found = [
        Person(row["id"], {name: row[name] for name in SCHEMA.names}, bool(works[int(row["id"])]))
        for row in census("analysis", count)
    ]
    random.Random(SEED).shuffle(found)
    return found
