"""Data that ship inside the nannyml package, which the rehearsal installs: only its files are used."""

import csv
import importlib.metadata
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

FOLDER: Final = "nannyml/datasets/data"


def rows(file: str, count: int) -> Iterator[dict[str, str]]:
    """The first `count` rows of a CSV file, as texts. Raises FileNotFoundError where the package lacks the file."""
    path = Path(str(importlib.metadata.distribution("nannyml").locate_file(f"{FOLDER}/{file}")))
    if not path.is_file():
        raise FileNotFoundError(f"there is no {path}: run `make clean` and `make up` to install the data again")
    with path.open(newline="", encoding="utf-8") as opened:
        yield from itertools.islice(csv.DictReader(opened), count)


def chosen(row: Mapping[str, str], names: Sequence[str]) -> dict[str, str]:
    """Only these columns, in this order."""
    return {name: row[name] for name in names}
