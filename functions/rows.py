"""Checks rows against a feature schema's JSON, where there is only the standard library: in Lambda and beside a model.

`functions.features` writes that JSON (`FeatureSchema.to_json`), and leaves the judging of values to this module.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from math import inf, isfinite
from typing import Any, Final, Literal

Kind = Literal["Integral", "Fractional", "String"]
"""SageMaker Feature Store's types."""
Fault = Literal["missing", "type", "range", "category", "unknown"]
"""What can be wrong with a value; `unknown` is a value for what is no feature."""
_INTEGER: Final = re.compile(r"[+-]?\d+")
_EVENT_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z")
"""The two ISO 8601 forms that a String event time may have, UTC."""


@dataclass(frozen=True)
class Problem:
    """What is wrong with one value of a row."""

    feature: str
    value: str
    reason: str
    """A sentence that names the feature and the value."""
    fault: Fault

    def __str__(self) -> str:
        return self.reason


@dataclass(frozen=True)
class Column:
    """What a feature's value may be."""

    name: str
    kind: Kind
    categories: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    required: bool = True

    @property
    def is_categorical(self) -> bool:
        """Whether its values are codes."""
        return bool(self.categories)

    def problem(self, text: str) -> Problem | None:
        """What is wrong with a value, written as text; None where nothing is. An empty text is a missing value."""
        if text == "":
            return self._is("missing", text, "is missing") if self.required else None
        if self.is_categorical:
            known = text in self._known
            return None if known else self._is("category", text, f"is {text!r}, which is none of its categories")
        if self.kind == "String":
            return None
        if self.kind == "Integral" and not _is_integral(text):
            return self._is("type", text, f"is {text!r}, which is no whole number of 64 bits")
        try:
            value = _number(text)
        except ValueError:
            return self._is("type", text, f"is {text!r}, which is no number")
        least = -inf if self.minimum is None else self.minimum
        most = inf if self.maximum is None else self.maximum
        if not least <= value <= most or not isfinite(value):
            return self._is("range", text, f"is {text}, which is not within {least:g} to {most:g}")
        return None

    @cached_property
    def _known(self) -> frozenset[str]:
        return frozenset(self.categories)

    def _is(self, fault: Fault, text: str, reason: str) -> Problem:
        return Problem(self.name, text, f"{self.name} {reason}", fault)


@dataclass(frozen=True)
class Rows:
    """The rows that a feature schema allows."""

    name: str
    record_id: str
    event_time: str
    event_time_kind: Kind
    columns: tuple[Column, ...]
    ttl_seconds: int | None = None

    @classmethod
    def from_json(cls, text: str) -> "Rows":
        """Read what `FeatureSchema.to_json` wrote. Raises ValueError for anything else."""
        try:
            told: dict[str, Any] = json.loads(text)
            return cls(
                name=told["name"],
                record_id=told["record_id"],
                event_time=told["event_time"],
                event_time_kind=told["event_time_kind"],
                columns=tuple(
                    Column(
                        name=each["name"],
                        kind=each["kind"],
                        categories=tuple(each["categories"]),
                        minimum=each["minimum"],
                        maximum=each["maximum"],
                        required=each["required"],
                    )
                    for each in told["features"]
                ),
                ttl_seconds=told["ttl_seconds"],
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"this is no feature schema as FeatureSchema.to_json writes it: {error!r}") from None

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The features' names, in order."""
        return tuple(column.name for column in self.columns)

    @cached_property
    def by_name(self) -> Mapping[str, Column]:
        """The features by their names."""
        return {column.name: column for column in self.columns}

    @property
    def required_columns(self) -> tuple[str, ...]:
        """The columns that every file must have: identifier, event time and all features that may not be missing."""
        return (self.record_id, self.event_time, *(column.name for column in self.columns if column.required))

    def problems(self, row: Mapping[str, str]) -> list[Problem]:
        """What is wrong with the features of a row of texts; its identifier and event time are not looked at."""
        strange = [name for name in row if name not in self.all_columns]
        return [
            *(Problem(name, row[name], f"{name} is no feature of {self.name}", "unknown") for name in strange),
            *self._values(row),
        ]

    def record_problems(self, row: Mapping[str, str]) -> list[Problem]:
        """What is wrong with a row of texts as a record: `problems`, and its identifier and event time."""
        found = self.problems(row)
        if not row.get(self.record_id):
            found.append(Problem(self.record_id, "", f"{self.record_id} is missing", "missing"))
        text = row.get(self.event_time) or ""
        try:
            self.seconds(text)
        except ValueError as error:
            found.append(Problem(self.event_time, text, str(error), "type" if text else "missing"))
        return found

    def seconds(self, event_time: str) -> float:
        """An event time in Unix seconds. Raises ValueError for one that Feature Store would not take."""
        return seconds(event_time, self.event_time, self.event_time_kind)

    @cached_property
    def all_columns(self) -> Mapping[str, None]:
        """Identifier, event time and features, in that order."""
        return dict.fromkeys((self.record_id, self.event_time, *self.names))

    def _values(self, row: Mapping[str, str]) -> Iterator[Problem]:
        for column in self.columns:
            if problem := column.problem(row.get(column.name) or ""):
                yield problem


def in_order(columns: Sequence[Column], row: Sequence[str]) -> Iterator[str]:
    """What is wrong with a row of texts in the schema's order."""
    if len(row) != len(columns):
        yield f"{len(row)} values, where {len(columns)} features are expected"
        return
    for column, text in zip(columns, row, strict=True):
        if problem := column.problem(text):
            yield problem.reason


def seconds(text: str, name: str, kind: Kind) -> float:
    """The Unix seconds of an event time called `name`: ISO 8601 in UTC for a String, seconds for a number.

    Raises ValueError for any other text.
    """
    if not text:
        raise ValueError(f"{name} is missing")
    if kind == "String":
        if _EVENT_TIME.fullmatch(text):
            try:
                return datetime.fromisoformat(text).timestamp()
            except ValueError:
                pass
        raise ValueError(
            f"{name} is {text!r}, which is no time such as 2026-01-31T12:00:00Z or 2026-01-31T12:00:00.000Z"
        )
    try:
        value = _number(text)
        datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        raise ValueError(f"{name} is {text!r}, which is no Unix time in seconds") from None
    return value


def _number(text: str) -> float:
    """Raises ValueError also for what only Python takes for a number: 1_000, and blanks around it."""
    if "_" in text or text != text.strip():
        raise ValueError(text)
    return float(text)


def _is_integral(text: str) -> bool:
    return bool(_INTEGER.fullmatch(text)) and len(text) <= 20 and -(2**63) <= int(text) < 2**63
