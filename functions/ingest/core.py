"""What a file of features holds, and which of its rows fit: CSV with a header, or JSON lines."""

import codecs
import csv
import json
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from typing import Any, Final, Literal

from functions.rows import Problem, Rows

Format = Literal["csv", "jsonl"]
FORMATS: Final[Mapping[str, Format]] = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
"""What a file's name says of what is in it."""
LONGEST_LINE: Final = 1 << 20
"""Bytes. A record of Feature Store has 350 KB at most."""
SKEW_SECONDS: Final = 3600.0
"""How far ahead of our clock an event time may be. A record from the future would keep newer ones out of the store."""


class Refused(Exception):
    """The whole file cannot be taken; the text says why."""


@dataclass(frozen=True)
class Row:
    """One row of a file."""

    number: int
    """From 1, without the header."""
    values: Mapping[str, str]
    problems: tuple[Problem, ...] = ()
    """What is wrong with it before any schema has been asked."""


@dataclass
class Tally:
    """What became of the rows for one feature group."""

    accepted: int = 0
    quarantined: int = 0
    fresh: int = 0
    """Accepted rows whose event time was not long ago."""
    newest: float | None = None
    """The latest event time accepted, Unix seconds."""
    newest_record: str | None = None
    """The identifier of a record that has it."""
    refused: str | None = None
    """Why the whole file is in quarantine."""


@dataclass
class Lines:
    """The lines of a file, read in pieces; `consumed` bytes are read already."""

    read: Callable[[int], bytes]
    consumed: int = 0
    garbled: bool = False
    """Whether a line since this was last set to False was no UTF-8."""

    def __post_init__(self) -> None:
        self._lines = self._split()

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        return next(self._lines)

    def _split(self) -> Iterator[str]:
        pending = b""
        while piece := self.read(1 << 18):
            *lines, pending = (pending + piece).split(b"\n")
            for line in lines:
                yield self._text(line + b"\n")
            if len(pending) > LONGEST_LINE:
                raise Refused(f"a line is longer than {LONGEST_LINE} bytes: is this CSV or JSON lines?")
        if pending:
            yield self._text(pending)

    def _text(self, line: bytes) -> str:
        text = line.removeprefix(codecs.BOM_UTF8) if self.consumed == 0 else line
        self.consumed += len(line)
        try:
            return text.decode()
        except UnicodeDecodeError:
            self.garbled = True
            return text.decode(errors="replace")


def format_of(key: str) -> Format:
    """What kind of file this is. Raises Refused for one of another kind."""
    for end, format_ in FORMATS.items():
        if key.lower().endswith(end):
            return format_
    raise Refused(f"{key.rpartition('/')[2]} is none of {', '.join(FORMATS)}")


def rows_of(
    lines: Lines, format_: Format, columns: Sequence[str], number: int, first: str | None = None
) -> Iterator[Row]:
    """The rows that follow `number` others. `columns` and the line `first` are what `header` has read already."""
    if format_ == "csv":
        return _csv(lines, columns, number)
    return _json(chain([] if first is None else [first], lines), number)


def header(lines: Lines, format_: Format) -> tuple[list[str], str | None]:
    """The columns of a file, and its first line if that is a row already. Raises Refused for what has no columns."""
    first = next((line for line in lines if line.strip()), None)
    if first is None:
        raise Refused("the file is empty")
    if format_ == "csv":
        columns = [column.strip() for column in next(csv.reader([first]))]
        if twice := sorted({column for column in columns if columns.count(column) > 1}):
            raise Refused(f"the header has {', '.join(twice)} twice")
        return columns, None
    try:
        told = json.loads(first)
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, dict):
        raise Refused("the first line is no JSON object: a .jsonl file has one object a line")
    return list(told), first


def refusal(rows: Rows, columns: Sequence[str], known: Iterable[str]) -> str | None:
    """Why a file with these columns is not for this schema; `known` are the columns of all schemas of the store."""
    missing = [name for name in rows.required_columns if name not in columns]
    strange = sorted({*columns} - {*known})
    reasons = [
        *([f"no column {', '.join(missing)}"] if missing else []),
        *([f"{', '.join(strange)}: no such feature"] if strange else []),
    ]
    return "; ".join(reasons) or None


def judged(rows: Rows, row: Row, known: Container[str], now: float) -> list[Problem]:
    """What is wrong with a row for this schema; columns that only another schema of the store has are not looked at."""
    if row.problems:
        return list(row.problems)
    own = {name: value for name, value in row.values.items() if name in rows.all_columns or name not in known}
    problems = rows.record_problems(own)
    text = own.get(rows.event_time, "")
    if not any(problem.feature == rows.event_time for problem in problems) and rows.seconds(text) > now + SKEW_SECONDS:
        problems.append(Problem(rows.event_time, text, f"{rows.event_time} is {text}, which is yet to come", "range"))
    return problems


def record(rows: Rows, row: Row) -> list[dict[str, str]]:
    """The row as Feature Store takes it. A missing value is left out."""
    return [
        {"FeatureName": name, "ValueAsString": row.values[name]} for name in rows.all_columns if row.values.get(name)
    ]


def quarantined(row: Row, problems: Sequence[Problem]) -> str:
    """A line of the quarantine."""
    told = {"row": row.number, "problems": [asdict(problem) for problem in problems], "data": row.values}
    return json.dumps(told, ensure_ascii=False) + "\n"


def _csv(lines: Lines, columns: Sequence[str], number: int) -> Iterator[Row]:
    reader = csv.reader(lines)
    while True:
        lines.garbled = False
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            number += 1
            yield Row(number, {}, (_broken(str(error)),))
            continue
        if not values:
            continue
        number += 1
        named = dict(zip(columns, values, strict=False))
        problems = [_broken("it is no UTF-8")] if lines.garbled else []
        if len(values) != len(columns):
            problems.append(_broken(f"{len(values)} values, where the header has {len(columns)}"))
        yield Row(number, named, tuple(problems))


def _json(lines: Iterable[str], number: int) -> Iterator[Row]:
    for line in lines:
        if not line.strip():
            continue
        number += 1
        try:
            # Numbers stay as they are written: a store of texts needs no rounding.
            told = json.loads(line, parse_float=str, parse_int=str, parse_constant=str)
        except (ValueError, RecursionError) as error:
            yield Row(number, {"line": line.strip()[:1000]}, (_broken(f"it is no JSON: {error}"),))
            continue
        if not isinstance(told, dict):
            yield Row(number, {"line": line.strip()[:1000]}, (_broken("it is no JSON object"),))
            continue
        problems = [
            Problem(name, json.dumps(value), f"{name} is {json.dumps(value)}, which is neither text nor number", "type")
            for name, value in told.items()
            if not isinstance(value, str | None)
        ]
        values = {name: _as_text(value) for name, value in told.items()}
        yield Row(number, values, tuple(problems))


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)


def _broken(what: str) -> Problem:
    return Problem("", "", f"the row cannot be read: {what}", "type")
