"""What `slipway new product` makes of a table of rows: features with their kinds, an answer, and a gate to pass."""

import csv
import io
import os
import random
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from math import floor, sqrt
from pathlib import Path
from typing import Any, Final

from functions.features import RESERVED, Feature, FeatureSchema

TIME: Final = "%Y-%m-%dT%H:%M:%SZ"
MOST_ROWS: Final = 5000
"""Rows that are kept of a larger table, evenly taken: they are committed beside the code."""
FEWEST_ROWS: Final = 200
FEWEST_OF_A_KIND: Final = 20
"""Rows of either answer, below which neither training nor measuring says much."""
MOST_CATEGORIES: Final = 50
LONGEST_CATEGORY: Final = 60
ASKED_SHARE: Final = 0.2
MOST_ASKED: Final = 1000
MARGIN: Final = 0.03
"""By how much a gate is below what was reached, at least."""
SIGMAS: Final = 3.0
POSITIVE: Final = ("1", "1.0", "true", "yes", "y", "t")
NEGATIVE: Final = ("0", "0.0", "false", "no", "n", "f")
NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
WHOLE: Final = re.compile(r"[+-]?\d{1,18}")


class DataError(Exception):
    """The table is not one to learn from: the text says why, and what to change."""


@dataclass(frozen=True)
class Column:
    """A feature as the table has it."""

    name: str
    source: str
    """What the table calls it."""
    kind: str
    categories: tuple[str, ...] = ()
    minimum: int | None = None
    required: bool = True

    @property
    def description(self) -> str:
        """What is known of it."""
        plain = "".join(each for each in self.source if each.isascii() and each.isprintable() and each not in "\\\"'")
        return f"The column {plain.strip()[:60] or self.name}"

    def feature(self) -> Feature:
        """As the schema has it."""
        told: dict[str, Any] = {"kind": self.kind, "description": self.description, "categories": self.categories}
        return Feature(name=self.name, minimum=self.minimum, required=self.required, **told)


@dataclass(frozen=True)
class Table:
    """Rows with an answer, ready to be a product's data."""

    source: str
    record_id: str
    event_time: str
    label: str
    positive: str
    columns: Sequence[Column]
    rows: Sequence[Mapping[str, str]]
    """By the features' names; identifier, time and label by theirs. In the order of time."""
    history: int
    """So many come first, to train on."""
    notes: Sequence[str] = field(default_factory=list)

    def csv(self) -> str:
        """As the file of a sample has it."""
        written = io.StringIO()
        names = [self.record_id, self.event_time, *(each.name for each in self.columns), self.label]
        writer = csv.DictWriter(written, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        return written.getvalue()


@dataclass(frozen=True)
class Gate:
    """What a version has to reach, and what the first one did."""

    accuracy: float
    auc: float
    reached_accuracy: str
    reached_auc: str
    guess: str


def read(
    path: Path,
    label: str | None,
    record_id: str | None = None,
    time: str | None = None,
    positive: str | None = None,
) -> Table:
    """A CSV file with a header. Raises DataError that names the file, the column and the row."""
    header, rows = _rows(path)
    if label is None:
        raise DataError(f"{path}: say with --label which column has the answer: {', '.join(header)}")
    for option, column in (("label", label), ("id", record_id), ("time", time)):
        if column is not None and column not in header:
            raise DataError(f"{path}: --{option}: there is no column {column!r}; there are {', '.join(header)}")
    record_id = record_id or ("id" if "id" in header and label != "id" else None)
    time = time or next((each for each in ("event_time", "timestamp") if each in header and each != label), None)
    if len({label, record_id, time} - {None}) < sum(each is not None for each in (label, record_id, time)):
        raise DataError(f"{path}: --label, --id and --time must be three different columns")
    return _table(path.name, header, rows, label, record_id, time, positive)


def _rows(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            if not header or len({*header}) < len(header) or "" in header:
                raise DataError(f"{path}: the first line must name every column, each by a name of its own")
            rows = []
            for row in reader:
                if row and len(row) != len(header):
                    raise DataError(f"{path}, line {reader.line_num}: {len(row)} values for {len(header)} columns")
                if row:
                    rows.append(dict(zip(header, map(str.strip, row), strict=True)))
            return header, rows
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: {error}") from error


def _table(
    source: str,
    header: Sequence[str],
    rows: Sequence[Mapping[str, str]],
    label: str,
    record_id: str | None,
    time: str | None,
    positive: str | None,
) -> Table:
    notes: list[str] = []
    labelled: Sequence[Mapping[str, str]] = [row for row in rows if row[label]]
    if len(labelled) < len(rows):
        notes.append(f"{len(rows) - len(labelled):,} rows have no {label}, and are left out")
    labelled = _thinned(labelled, notes)
    is_positive = _positive(source, label, Counter(row[label] for row in labelled), positive)
    names = _names([each for each in header if each not in (record_id, time, label)])
    columns = [
        column
        for each, name in names.items()
        if (column := _column(each, name, [row[each] for row in labelled], notes)) is not None
    ]
    if not columns:
        raise DataError(f"{source}: no column is left to learn from: " + "; ".join(notes))
    taken = {each.name.lower() for each in columns}
    id_name, time_name, label_name = (
        _free(_name(each or default), taken)
        for each, default in ((record_id, "id"), (time, "event_time"), (label, "label"))
    )
    if record_id is None:
        notes.append("rows are numbered, for no column identifies them (--id)")
    if time is None:
        notes.append("all rows have the time of now, for no column has one (--time)")
    now = datetime.now(UTC).strftime(TIME)
    made = [
        {
            id_name: row[record_id] if record_id else str(number),
            time_name: _time(source, time, number, row[time]) if time else now,
            **{each.name: row[each.source] for each in columns},
            label_name: str(int(is_positive(row[label]))),
        }
        for number, row in enumerate(labelled, 1)
    ]
    if record_id and not all(row[id_name] for row in made):
        raise DataError(f"{source}: a row has no {record_id}: every row needs one")
    made.sort(key=lambda row: row[time_name])
    asked = min(MOST_ASKED, int(len(made) * ASKED_SHARE))
    history = len(made) - asked
    _enough(source, label, [row[label_name] for row in made[:history]])
    shown = next(row[label] for row in labelled if is_positive(row[label]))
    return Table(source, id_name, time_name, label_name, shown, columns, made, history, notes)


def _thinned(rows: Sequence[Mapping[str, str]], notes: list[str]) -> Sequence[Mapping[str, str]]:
    if len(rows) <= MOST_ROWS:
        return rows
    notes.append(f"{MOST_ROWS:,} of {len(rows):,} rows are kept for the rehearsal")
    return [rows[index * len(rows) // MOST_ROWS] for index in range(MOST_ROWS)]


def _positive(source: str, label: str, counted: Counter[str], positive: str | None) -> "_Positive":
    if len(counted) != 2:
        some = ", ".join(sorted(counted)[:6])
        raise DataError(
            f"{source}: {label} has {len(counted)} different values ({some}); models here tell two apart: give a "
            "column with two"
        )
    if positive is not None:
        if positive not in counted:
            raise DataError(f"{source}: --positive: {label} is never {positive!r}, but {' or '.join(sorted(counted))}")
        return _Positive(frozenset({positive}))
    known = {each for each in counted if each.lower() in POSITIVE}
    if len(known) != 1 or not all(each.lower() in (*POSITIVE, *NEGATIVE) for each in counted):
        raise DataError(f"{source}: {label} is {' or '.join(sorted(counted))}: say with --positive which of them is 1")
    return _Positive(frozenset(known))


@dataclass(frozen=True)
class _Positive:
    values: frozenset[str]

    def __call__(self, text: str) -> bool:
        return text in self.values


def _enough(source: str, label: str, answers: Sequence[str]) -> None:
    counted = Counter(answers)
    least = min(counted["0"], counted["1"])
    if len(answers) < FEWEST_ROWS or least < FEWEST_OF_A_KIND:
        raise DataError(
            f"{source}: {len(answers)} rows to train on, {counted['1']} of them positive by {label}: it takes "
            f"{FEWEST_ROWS}, and {FEWEST_OF_A_KIND} of either answer"
        )


def _column(source: str, name: str, values: Sequence[str], notes: list[str]) -> Column | None:
    """What kind of feature a column is; None where nothing can be learnt from it."""
    present = [each for each in values if each]
    different = sorted({*present})
    if len(different) < 2:
        notes.append(f"{source} is left out: it is always {different[0] if different else 'empty'}")
        return None
    required = len(present) == len(values)
    if all(NUMBER.fullmatch(each) for each in different):
        kind = "Integral" if all(WHOLE.fullmatch(each) for each in different) else "Fractional"
        return Column(name, source, kind, minimum=0 if min(map(float, different)) >= 0 else None, required=required)
    if len(different) > MOST_CATEGORIES or max(map(len, different)) > LONGEST_CATEGORY:
        notes.append(f"{source} is left out: it has {len(different):,} different texts")
        return None
    if not all(each.isprintable() for each in different):
        notes.append(f"{source} is left out: a text of it has line breaks or other signs that do not print")
        return None
    return Column(name, source, "String", categories=tuple(different), required=required)


def _names(sources: Sequence[str]) -> dict[str, str]:
    """What each column is called as a feature: letters, digits and underscores, each name once whatever its case."""
    taken: set[str] = set()
    return {each: _free(_name(each), taken) for each in sources}


def _name(source: str) -> str:
    name = re.sub(r"[^A-Za-z0-9]+", "_", source).strip("_")[:56].strip("_") or "column"
    return f"{name}_value" if name.lower() in RESERVED else name


def _free(name: str, taken: set[str]) -> str:
    """A name that is not taken, which it is from now on."""
    found, number = name, 1
    while found.lower() in taken:
        number += 1
        found = f"{name}_{number}"
    taken.add(found.lower())
    return found


def _time(source: str, column: str, row: int, text: str) -> str:
    """A time in UTC as feature groups have it. Raises DataError for what is none, or is yet to come."""
    try:
        if NUMBER.fullmatch(text) and not re.fullmatch(r"\d{8}", text):
            found = datetime.fromtimestamp(float(text), UTC)
        else:
            found = datetime.fromisoformat(text)
    except (ValueError, OverflowError, OSError):
        raise DataError(
            f"{source}, row {row}: {column} is {text!r}, which is no time: use 2026-01-31, 2026-01-31T12:00:00Z or "
            "Unix seconds"
        ) from None
    found = found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    if found > datetime.now(UTC):
        raise DataError(f"{source}, row {row}: {column} is {text!r}, which is yet to come")
    return found.strftime(TIME)


def gate_of(schema: FeatureSchema, table: Table) -> Gate:
    """A gate a little below what a first model reaches. Raises DataError where that is hardly better than guessing."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the table is small: threads would wait for each other
    import numpy as np
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.model_selection import train_test_split

    from functions.rows import Rows
    from functions.training import numbers
    from functions.training.job import measure

    rows = Rows.from_json(schema.to_json())
    history = table.rows[: table.history]
    values = numbers.array(rows, ([row[name] for name in schema.names] for row in history))
    labels = np.array([int(row[table.label]) for row in history])
    train, test, answers, truth = train_test_split(values, labels, test_size=0.2, random_state=7, stratify=labels)
    model = HistGradientBoostingClassifier(
        learning_rate=0.1, categorical_features=[each.is_categorical for each in rows.columns], random_state=7
    ).fit(train, answers)
    reached = measure(model.predict_proba(test)[:, 1], truth)
    fewer = min(Counter(truth.tolist()).values())
    accuracy = _below(reached["accuracy"], len(truth))
    auc = _below(reached["auc"], fewer)
    if reached["auc"] < 0.55:
        raise DataError(
            f"{table.source}: a model of these columns does hardly better than guessing (AUC {reached['auc']:.2f}): "
            f"add columns that tell something of {table.label}"
        )
    guess = max(labels.mean(), 1 - labels.mean())
    return Gate(
        accuracy, max(0.5, auc), f"{reached['accuracy']:.3f}", f"an AUC of {reached['auc']:.3f}", f"{guess:.2f}"
    )


def _below(reached: float, rows: int) -> float:
    """What other rows hardly ever fall short of, rounded down to a hundredth."""
    margin = max(MARGIN, SIGMAS * sqrt(max(reached * (1 - reached), 0.01) / rows))
    return max(0.0, floor((reached - margin) * 100) / 100)


def example() -> Table:
    """Made-up subscribers of a magazine, and which of them left: 2,000, always the same."""
    header = ["id", "event_time", "months", "plan", "issues_read", "complaints", "discount", "left"]
    return _table("made-up subscribers", header, list(_subscribers(2000)), "left", "id", "event_time", None)


def _subscribers(count: int) -> Iterator[dict[str, str]]:
    source, first = random.Random(2026), datetime(2026, 1, 1, tzinfo=UTC)
    for number in range(count):
        months, plan = source.randint(1, 60), source.choice(("print", "online", "both"))
        issues, complaints = source.randint(0, 12), min(5, int(source.expovariate(1)))
        discount = source.choice(("yes", "no"))
        pull = 1.2 * complaints - 0.35 * issues - 0.03 * months + (0.6 if plan == "print" else 0) + 1.2
        pull -= 0.8 if discount == "yes" else 0
        yield {
            "id": f"subscriber-{number + 1}",
            "event_time": (first + timedelta(hours=2 * number)).strftime(TIME),
            "months": str(months),
            "plan": plan,
            "issues_read": str(issues),
            "complaints": str(complaints),
            "discount": discount,
            "left": str(int(pull + source.gauss(0, 1) > 0)),
        }
