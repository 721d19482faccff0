"""Rows of texts as numbers, as models are trained on them and asked with them: one way for both."""

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from math import inf, isinf, nan
from typing import Final

import numpy as np
from numpy.typing import NDArray

from functions.rows import Column, Rows

MOST_CODES: Final = 255
"""Categories that are whole numbers below this stand for themselves; scikit-learn's trees take no others."""


def array(rows: Rows, texts: Iterable[Sequence[str]]) -> NDArray[np.float64]:
    """Rows of texts in the schema's order; a missing value and an unknown category are NaN.

    Raises ValueError that names the row and the value.
    """
    values = [_values(rows, number, row) for number, row in enumerate(texts, 1)]
    return np.array(values, dtype=float).reshape(len(values), len(rows.columns))


def _values(rows: Rows, number: int, row: Sequence[str]) -> list[float]:
    if len(row) != len(rows.columns):
        wanted = ", ".join(rows.names)
        raise ValueError(f"row {number}: {len(row)} values, where {len(rows.columns)} are expected: {wanted}")
    try:
        return [_reader(column)(text) for column, text in zip(rows.columns, row, strict=True)]
    except ValueError as error:
        raise ValueError(f"row {number}: {error}") from None


@cache
def _reader(column: Column) -> Callable[[str], float]:
    """What makes a number of a value."""
    codes = _codes(column)
    if column.is_categorical and codes is None:
        places = {category: float(place) for place, category in enumerate(column.categories)}
        return lambda text: places.get(text.strip(), nan)

    def number(text: str) -> float:
        if not text.strip():
            return nan
        try:
            value = float(text)
        except ValueError:
            value = inf
        if isinf(value):
            raise ValueError(f"{column.name} is {text!r}, which is no number")
        return nan if codes is not None and value not in codes else value

    return number


def _codes(column: Column) -> frozenset[float] | None:
    """The categories, where all of them are numbers that can stand for themselves."""
    if not column.categories or not all(each.isdecimal() and int(each) < MOST_CODES for each in column.categories):
        return None
    return frozenset(map(float, column.categories))
