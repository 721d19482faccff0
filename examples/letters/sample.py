"""Handwritten digits for the rehearsal, which ship inside scikit-learn.

1,797 digits of 13 people, from the UCI Machine Learning Repository: https://archive.ics.uci.edu/dataset/80
"""

from collections.abc import Iterator
from typing import Final

from examples.letters.features import LABEL, SCHEMA

DATASET: Final = "digits"
KNOWN: Final = "2026-01-06T00:00:00Z"
"""When a person had read them."""
HISTORY: Final = 1400
"""Digits to learn from; of the others nobody is told what they are."""
READ: Final = "2026-01-05T00:00:00Z"
FIRST_OF_UPPER: Final = 5


def _digits() -> Iterator[tuple[dict[str, str], int]]:
    """Each digit's record, and what it is."""
    from sklearn.datasets import load_digits  # here: whoever reads the schema needs no scikit-learn

    found = load_digits()
    for number, (pixels, digit) in enumerate(zip(found.data, found.target, strict=True)):
        values = dict(zip(SCHEMA.names, map(str, pixels.astype(int).tolist()), strict=True))
        yield {SCHEMA.record_id: str(number), **values}, int(digit)


def history() -> Iterator[dict[str, str]]:
    """Digits that a person has read."""
    for number, (row, digit) in enumerate(_digits()):
        if number < HISTORY:
            yield {**row, SCHEMA.event_time: READ, LABEL: str(int(digit >= FIRST_OF_UPPER))}


def requests() -> Iterator[dict[str, str]]:
    """Digits that come by."""
    for number, (row, _) in enumerate(_digits()):
        if number >= HISTORY:
            yield row
