"""What a column of any number of values looks like, in a few kilobytes. Two sketches merge into exactly the sketch of
both inputs, in any order and grouping.

A number falls in the cell that the upper 16 bits of float32(value - centre) name: sign, exponent, 7 bits of mantissa.
So a cell is at most 1/128 of its distance from the centre wide, and whole numbers up to 256 from it have one each.
"""

import json
import re
import struct
import zlib
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from itertools import repeat
from math import nan
from operator import add, sub
from typing import Any, Final, Literal, TypeVar

MOST_VALUES: Final = 1000
"""So many values that the baseline does not know are told apart in each column. It bounds the memory."""
MOST_EVENTS: Final = 500
"""Of so many event ids it is counted how often each came."""
MOST_EXAMPLES: Final = 10
"""So many malformed lines are kept aside."""
MOST_NAMES: Final = 100
"""So many different unknown columns, and numbers of values, are told apart."""
LONGEST_TEXT: Final = 40
LONGEST_EXAMPLE: Final = 300
MISSING_WORDS: Final = frozenset({"", "null", "none", "nan", "<na>"})
"""Texts, in small letters, that stand for a missing value, unless the baseline knows them as a category."""
WHOLE: Final = 1 << 63
"""Whole numbers from here on are told apart only as far as a float64 does: fast JSON parsers read them as one."""
FAR: Final = 3.4028235677973366e38
"""Numbers so far from the centre are infinite as a float32."""
NEGATIVE_ZERO: Final = 0x8000
"""The key of -0.0, which is counted as 0.0."""
_INFINITE: Final = 0x7F80
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
_VERSION: Final = 1
Key = TypeVar("Key")


@dataclass(frozen=True)
class Column:
    """What the baseline knows of a column."""

    name: str
    kind: Literal["number", "category"]
    centre: float = 0.0
    """For numbers: where the sketch is finest."""
    categories: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Schema:
    """The columns of a request and of an answer, each in the order in which a row without names gives them."""

    columns: tuple[Column, ...]
    outputs: tuple[Column, ...] = ()

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Of the columns of a request."""
        return tuple(column.name for column in self.columns)


def text_of(value: object) -> str | None:
    """A value of CSV or JSON as text, None for null."""
    if isinstance(value, str):
        return value
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and -WHOLE < value < WHOLE:
        return str(value)
    if isinstance(value, int | float):
        try:
            return repr(float(value) + 0.0)  # never -0.0
        except OverflowError:
            return "inf" if value > 0 else "-inf"
    return "(list)" if isinstance(value, list) else "(object)"


def number_of(value: object) -> float:
    """A value of CSV or JSON as a number; NaN for a missing one. Raises ValueError where it is no number."""
    if isinstance(value, str):
        text = value.strip()
        return nan if text.lower() in MISSING_WORDS else float(text)
    if value is None:
        return nan
    if isinstance(value, int | float):
        try:
            return float(value)
        except OverflowError:
            return float("inf") if value > 0 else float("-inf")
    raise ValueError(f"{type(value).__name__} is no number")


def rank(text: str) -> tuple[int, str]:
    """The order by which a bounded set of texts decides what it keeps: as good as random, and the same everywhere."""
    return zlib.crc32(text.encode("utf-8", "surrogatepass")), text


def trim(counts: dict[str, int], most: int, known: frozenset[str] = frozenset()) -> int:
    """Keep, beside the known texts, the `most` texts of least rank; the sum of the counts of the others.

    A text that is dropped here would be dropped from every larger set too, so merging is exact.
    """
    if len(counts) <= most:
        return 0
    unknown = sorted((text for text in counts if text not in known), key=rank)
    return sum(counts.pop(text) for text in unknown[most:])


def place(key: int) -> int:
    """A cell's place in the order of numbers."""
    return 0xFFFF - key if key & 0x8000 else key | 0x8000


def in_order(keys: Iterable[int]) -> list[int]:
    """Cells in the order of their numbers."""
    keys = sorted(keys)
    positive = bisect_left(keys, NEGATIVE_ZERO)
    return [*keys[: positive - 1 if positive else None : -1], *keys[:positive]]


def values_of(keys: Sequence[int], centre: float) -> list[float]:
    """Of each cell the value nearest to the centre that falls in it."""
    bits = struct.pack(f"<{len(keys)}I", *[key << 16 for key in keys])
    return [*map(add, struct.unpack(f"<{len(keys)}f", bits), repeat(centre))]


def keys_of(values: Sequence[float], centre: float) -> memoryview:
    """The key of the cell of each number. Raises TypeError for what is none."""
    shifted = map(sub, values, repeat(centre)) if centre else values
    try:
        packed = struct.pack(f"{len(values)}f", *shifted)
    except struct.error as error:
        raise TypeError(str(error)) from error
    return memoryview(packed).cast("H")[1::2]


@dataclass
class Tally:
    """One column of any number of rows."""

    column: Column
    cells: dict[int, int] = field(default_factory=dict)
    """Finite numbers, by the cell's key."""
    values: dict[str, int] = field(default_factory=dict)
    """Categories: all that the baseline knows, and MOST_VALUES others."""
    others: int = 0
    """Values of further unknown categories."""
    missing: int = 0
    infinite: int = 0
    """Infinite, or beyond what a float32 can tell from the centre."""
    strange: dict[str, int] = field(default_factory=dict)
    """Texts where numbers are due; MOST_VALUES of them."""
    strange_others: int = 0
    minimum: float | None = None
    """The least finite number, exactly."""
    maximum: float | None = None

    @property
    def numbers(self) -> int:
        """How many finite numbers there are."""
        return sum(self.cells.values())

    @property
    def texts(self) -> int:
        """How many texts there are where numbers are due."""
        return sum(self.strange.values()) + self.strange_others

    @property
    def count(self) -> int:
        """How many values are not missing."""
        return self.numbers + self.infinite + self.texts + sum(self.values.values()) + self.others

    @property
    def total(self) -> int:
        """How many values there are, with missing ones."""
        return self.count + self.missing

    def ordered(self) -> list[tuple[float, int]]:
        """The cells in ascending order: the value nearest to the centre that falls in it, and the count."""
        keys = in_order(self.cells)
        return [*zip(values_of(keys, self.column.centre), map(self.cells.__getitem__, keys), strict=True)]

    def add(self, values: Iterable[object]) -> None:
        """Count values of CSV (texts) or JSON."""
        if self.column.kind == "category":
            self.add_counts(Counter(map(text_of, values)))
        else:
            self._add_any(list(values))
        self.settle()

    def add_numbers(self, values: Sequence[float]) -> None:
        """Count numbers; NaN is a missing value."""
        counts = Counter(keys_of(values, self.column.centre))
        self.add_keys(counts)
        if any(key & _INFINITE == _INFINITE for key in counts):
            keys = keys_of(values, self.column.centre)
            values = [value for value, key in zip(values, keys, strict=True) if key & _INFINITE != _INFINITE]
        if values:
            self.add_extremes(min(values), max(values))

    def add_keys(self, counts: Mapping[int, int]) -> None:
        """Count numbers by their cells' keys."""
        cells = self.cells
        for key, count in counts.items():
            if key & _INFINITE != _INFINITE:
                key = 0 if key == NEGATIVE_ZERO else key
                cells[key] = cells.get(key, 0) + count
            elif key & 0x7F:
                self.missing += count
            else:
                self.infinite += count

    def add_extremes(self, least: float, most: float) -> None:
        """Take note of finite numbers that `add_keys` counts."""
        self.minimum = least + 0.0 if self.minimum is None else min(self.minimum, least + 0.0)
        self.maximum = most + 0.0 if self.maximum is None else max(self.maximum, most + 0.0)

    def add_counts(self, counts: Mapping[str | None, int]) -> None:
        """Count categories."""
        known, values = self.column.categories, self.values
        for text, count in counts.items():
            if text not in known:
                text = "" if text is None else text.strip()
                if text not in known:
                    # `2.0` for `2` is how clients that keep codes in a table of floats send them.
                    whole = text.removesuffix(".0")
                    if whole not in known and text.lower() in MISSING_WORDS:
                        self.missing += count
                        continue
                    text = whole if whole in known else text[:LONGEST_TEXT]
            values[text] = values.get(text, 0) + count

    def _add_any(self, values: Sequence[object]) -> None:
        numbers = []
        for value in values:
            try:
                numbers.append(number_of(value))
            except ValueError:
                text = (text_of(value) or "").strip()[:LONGEST_TEXT]
                self.strange[text] = self.strange.get(text, 0) + 1
        self.add_numbers(numbers)

    def settle(self) -> None:
        """Forget the texts that are too many. Due after `add_counts`."""
        self.others += trim(self.values, MOST_VALUES, self.column.categories)
        self.strange_others += trim(self.strange, MOST_VALUES)

    def merge(self, other: "Tally") -> "Tally":
        """The tally of both. Raises ValueError where they are of different columns."""
        if self.column != other.column:
            raise ValueError(f"{self.column} and {other.column} are no tallies of the same column")
        both = Tally(
            self.column,
            summed(self.cells, other.cells),
            summed(self.values, other.values),
            self.others + other.others,
            self.missing + other.missing,
            self.infinite + other.infinite,
            summed(self.strange, other.strange),
            self.strange_others + other.strange_others,
            self.minimum,
            self.maximum,
        )
        if other.minimum is not None and other.maximum is not None:
            both.add_extremes(other.minimum, other.maximum)
        both.settle()
        return both


@dataclass
class Profile:
    """What captured requests and answers hold."""

    schema: Schema
    columns: dict[str, Tally]
    outputs: dict[str, Tally]
    requests: int = 0
    """Records of captured requests. One whose event id came before is counted again: see `duplicates`."""
    rows: int = 0
    """Rows of requests: what every tally of `columns` has as its total."""
    answers: int = 0
    """Rows of answers: what every tally of `outputs` has as its total."""
    malformed: int = 0
    """Lines, payloads and rows that cannot be read; they are counted nowhere else."""
    examples: list[str] = field(default_factory=list)
    """The beginnings of MOST_EXAMPLES lines of them."""
    widths: dict[int, int] = field(default_factory=dict)
    """Rows without names whose number of values is not the schema's, by that number. They are malformed."""
    extra: dict[str, int] = field(default_factory=dict)
    """In how many rows with names there was a column that the schema does not have."""
    absent: dict[str, int] = field(default_factory=dict)
    """In how many rows with names a column of the schema was not there. Its values are missing ones, too."""
    events: dict[str, int] = field(default_factory=dict)
    """How often an event id came, for MOST_EVENTS of them."""
    events_others: int = 0
    """Records with other event ids."""
    earliest: str | None = None
    """The least inferenceTime, as captured: ISO 8601, UTC."""
    latest: str | None = None

    @classmethod
    def empty(cls, schema: Schema) -> "Profile":
        """Of nothing."""
        return cls(
            schema,
            {column.name: Tally(column) for column in schema.columns},
            {column.name: Tally(column) for column in schema.outputs},
        )

    @property
    def duplicates(self) -> int:
        """How many records had an event id that came before: exact up to MOST_EVENTS ids, else estimated from those."""
        counted = sum(self.events.values())
        again = counted - len(self.events)
        return round(again * (counted + self.events_others) / counted) if counted else 0

    def add_times(self, times: Sequence[str]) -> None:
        """Take note of inferenceTimes; what is no such time is passed over."""
        if not times:
            return
        ends = (min(times), max(times))
        if not all(map(_TIME.fullmatch, ends)):
            ends = ("", "") if not (fit := [*filter(_TIME.fullmatch, times)]) else (min(fit), max(fit))
        if ends[0]:
            self.earliest = min(self.earliest or ends[0], ends[0])
            self.latest = max(self.latest or ends[1], ends[1])

    def add_events(self, ids: Iterable[str]) -> None:
        """Count event ids. `settle` is due after it."""
        count_into(self.events, ids)

    def add_malformed(self, line: str) -> None:
        """Count a line, payload or row that cannot be read, and keep it aside."""
        self.malformed += 1
        self.examples.append(line[:LONGEST_EXAMPLE])
        if len(self.examples) > 10 * MOST_EXAMPLES:
            self.examples = sorted({*self.examples}, key=rank)[:MOST_EXAMPLES]

    def settle(self) -> None:
        """Forget the texts that are too many, so that equal input gives equal profiles."""
        for tally in (*self.columns.values(), *self.outputs.values()):
            tally.settle()
        self.events_others += trim(self.events, MOST_EVENTS)
        trim(self.extra, MOST_NAMES)
        self.examples = sorted({*self.examples}, key=rank)[:MOST_EXAMPLES]
        self.widths = dict(sorted(self.widths.items())[:MOST_NAMES])

    def merge(self, other: "Profile") -> "Profile":
        """The profile of what both have seen. Raises ValueError where they are of different schemas."""
        if self.schema != other.schema:
            raise ValueError("these profiles are of different schemas: make both with the same baseline")
        both = Profile(
            schema=self.schema,
            columns={name: tally.merge(other.columns[name]) for name, tally in self.columns.items()},
            outputs={name: tally.merge(other.outputs[name]) for name, tally in self.outputs.items()},
            requests=self.requests + other.requests,
            rows=self.rows + other.rows,
            answers=self.answers + other.answers,
            malformed=self.malformed + other.malformed,
            examples=self.examples + other.examples,
            widths=summed(self.widths, other.widths),
            extra=summed(self.extra, other.extra),
            absent=summed(self.absent, other.absent),
            events=summed(self.events, other.events),
            events_others=self.events_others + other.events_others,
        )
        both.add_times([time for each in (self, other) for time in (each.earliest, each.latest) if time])
        both.settle()
        return both

    def to_bytes(self) -> bytes:
        """As zlib-compressed JSON; equal profiles give equal bytes."""
        told = {
            **{name: getattr(self, name) for name in _PLAIN},
            "version": _VERSION,
            "schema": [
                [_column_json(column) for column in each] for each in (self.schema.columns, self.schema.outputs)
            ],
            "columns": [_tally_json(tally) for tally in self.columns.values()],
            "outputs": [_tally_json(tally) for tally in self.outputs.values()],
        }
        return zlib.compress(json.dumps(told, sort_keys=True, separators=(",", ":")).encode(), 6)

    @classmethod
    def from_bytes(cls, data: bytes) -> "Profile":
        """What `to_bytes` wrote. Raises ValueError for anything else."""
        try:
            told = json.loads(zlib.decompress(data))
            if told["version"] != _VERSION:
                raise ValueError(f"this profile has version {told['version']}, where {_VERSION} is read: make it anew")
            columns, outputs = (tuple(map(_column, each)) for each in told["schema"])
            plain = {name: told[name] for name in _PLAIN}
            plain["widths"] = {int(width): count for width, count in plain["widths"].items()}
            return cls(
                Schema(columns, outputs),
                {column.name: _tally(column, each) for column, each in zip(columns, told["columns"], strict=True)},
                {column.name: _tally(column, each) for column, each in zip(outputs, told["outputs"], strict=True)},
                **plain,
            )
        except (zlib.error, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"this is no profile as Profile.to_bytes writes it: {error!r}") from error


_PLAIN: Final = tuple(each.name for each in fields(Profile) if each.name not in ("schema", "columns", "outputs"))
_TALLY: Final = tuple(each.name for each in fields(Tally) if each.name not in ("column", "cells"))


def _column_json(column: Column) -> dict[str, Any]:
    return {**vars(column), "categories": sorted(column.categories)}


def _column(told: dict[str, Any]) -> Column:
    return Column(**{**told, "categories": frozenset(told["categories"])})


def _tally_json(tally: Tally) -> dict[str, Any]:
    cells = sorted(tally.cells.items())
    return {
        **{name: getattr(tally, name) for name in _TALLY},
        "keys": [key for key, _ in cells],
        "counts": [count for _, count in cells],
    }


def _tally(column: Column, told: dict[str, Any]) -> Tally:
    cells = dict(zip(told["keys"], told["counts"], strict=True))
    return Tally(column, cells, **{name: told[name] for name in _TALLY})


def count_into(counts: dict[str, int], texts: Iterable[str]) -> None:
    """Add one to the count of each text."""
    for text in texts:
        counts[text] = counts.get(text, 0) + 1


def summed(one: Mapping[Key, int], other: Mapping[Key, int]) -> dict[Key, int]:
    """The counts of both."""
    both = dict(one)
    for key, count in other.items():
        both[key] = both.get(key, 0) + count
    return both
