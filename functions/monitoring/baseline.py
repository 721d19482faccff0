"""What live data are judged by: the profile of the data that trained the model, made with the monitors' own core."""

import base64
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite
from statistics import median_low
from typing import Any, Final

from functions.monitoring.formats import Constraints, known, read_constraints, read_statistics
from functions.monitoring.sketch import (
    LONGEST_TEXT,
    MISSING_WORDS,
    Column,
    Profile,
    Schema,
    Tally,
    number_of,
)

PREDICTION: Final = "prediction"
"""What the model's only answer is called."""
_VERSION: Final = 1


@dataclass(frozen=True)
class Baseline:
    """The data that trained a model, and what it answered and how well it did on data held out."""

    profile: Profile
    quality: Mapping[str, float] | None = None
    """On the rows held out: rows, positives, accuracy, auc, false_positive_rate, …"""
    constraints: Constraints = field(default_factory=Constraints)
    """What a team has said; otherwise the calibrated tests decide."""

    @property
    def schema(self) -> Schema:
        """What captured data are read by."""
        return self.profile.schema

    @property
    def rows(self) -> int:
        """How many rows trained the model."""
        return self.profile.rows


def fit(names: Sequence[str], categorical: Sequence[bool], rows: Iterable[Sequence[str]]) -> Baseline:
    """The baseline of training rows, given as texts in the order of `names`. An empty text is a missing value.

    Raises ValueError where there are no rows, or one has too few or too many values.
    """
    columns = list(zip(*_checked(rows, len(names)), strict=True))
    if not columns:
        raise ValueError("a baseline needs rows; there are none")
    tallies = [
        _categories(name, values) if coded else _numbers(name, values)
        for name, coded, values in zip(names, categorical, columns, strict=True)
    ]
    profile = Profile.empty(Schema(tuple(tally.column for tally in tallies)))
    profile.columns = {tally.column.name: tally for tally in tallies}
    profile.rows = len(columns[0])
    return Baseline(profile)


def _checked(rows: Iterable[Sequence[str]], width: int) -> Iterable[Sequence[str]]:
    for number, row in enumerate(rows, 1):
        if len(row) != width:
            raise ValueError(f"row {number} of the baseline has {len(row)} values, where {width} are expected")
        yield row


def _categories(name: str, values: Iterable[str]) -> Tally:
    counts = Counter[str]()
    for value, count in Counter(values).items():
        text = value.strip()[:LONGEST_TEXT]
        if text.lower() not in MISSING_WORDS:
            counts[_whole(text)] += count
    tally = Tally(Column(name, "category", categories=known(counts)))
    tally.add(values)
    return tally


def _whole(text: str) -> str:
    """`2` for `2.0`, as a table of floats has codes; other texts as they are."""
    whole = text.removesuffix(".0")
    return whole if whole.removeprefix("-").isdecimal() else text


def _numbers(name: str, values: Iterable[object]) -> Tally:
    """The tally of numbers. It is finest at their median, which is one of them: so are whole numbers exact."""
    values = list(values)
    numbers = []
    for value in values:
        try:
            numbers.append(number_of(value))
        except ValueError:
            continue
    finite = [number for number in numbers if isfinite(number)]
    tally = Tally(Column(name, "number", centre=median_low(finite) if finite else 0.0))
    tally.add(values)
    return tally


def with_predictions(
    baseline: Baseline, probabilities: Iterable[float], quality: Mapping[str, float] | None = None
) -> Baseline:
    """With what the model answered to rows that it was not trained on, and how well it did on them."""
    tally = _numbers(PREDICTION, list(probabilities))
    profile = replace(
        baseline.profile,
        schema=replace(baseline.schema, outputs=(tally.column,)),
        outputs={PREDICTION: tally},
        answers=tally.total,
    )
    return replace(baseline, profile=profile, quality=quality if quality is not None else baseline.quality)


def with_constraints(baseline: Baseline, document: Mapping[str, Any]) -> Baseline:
    """As a team's constraints.json (a dict) has it judged. Raises ValueError where that is none."""
    constraints = read_constraints(document)
    columns = tuple(_allowing(column, constraints.of(column.name).domains) for column in baseline.schema.columns)
    tallies = {column.name: replace(baseline.profile.columns[column.name], column=column) for column in columns}
    profile = replace(baseline.profile, schema=replace(baseline.schema, columns=columns), columns=tallies)
    return replace(baseline, profile=profile, constraints=constraints)


def _allowing(column: Column, domains: frozenset[str] | None) -> Column:
    """A category knows what it may be."""
    if column.kind == "number" or not domains:
        return column
    return replace(column, categories=column.categories | domains)


def to_json(baseline: Baseline) -> str:
    """A baseline as text; equal baselines give equal texts."""
    told = {
        "version": _VERSION,
        "profile": base64.b64encode(baseline.profile.to_bytes()).decode(),
        "quality": baseline.quality,
        "constraints": baseline.constraints.document,
    }
    return json.dumps(told, sort_keys=True)


def from_json(
    text: str | bytes,
    constraints: str | bytes | Mapping[str, Any] | None = None,
    *,
    outputs: Iterable[str] = (),
) -> Baseline:
    """The baseline that `to_json` wrote, or one made of Model Monitor's statistics.json.

    `constraints` is a team's constraints.json, as text or as a dict; `outputs` names those features of statistics.json
    that the model answers. Raises ValueError for anything else.
    """
    told = _document(text, "a baseline")
    if "features" in told:
        baseline = Baseline(read_statistics(told, outputs))
    elif told.get("version") == _VERSION and isinstance(told.get("profile"), str):
        baseline = Baseline(Profile.from_bytes(base64.b64decode(told["profile"])), told.get("quality"))
    else:
        raise ValueError("this is neither a baseline nor a statistics.json of Model Monitor")
    if not baseline.schema.columns or not baseline.rows:
        raise ValueError("this is no baseline: it has no features, or no rows")
    given = constraints if constraints is not None else told.get("constraints")
    if isinstance(given, str | bytes):
        given = _document(given, "constraints.json")
    return baseline if given is None else with_constraints(baseline, given)


def _document(text: str | bytes, name: str) -> dict[str, Any]:
    told = json.loads(text)
    if not isinstance(told, dict):
        raise ValueError(f"this is not {name}: {type(told).__name__} is no object")
    return told
