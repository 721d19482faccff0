"""What live data are judged by: the profile of the data that trained the model, made with the monitors' own core."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from functions.monitoring.formats import Constraints
from functions.monitoring.sketch import Profile, Schema


@dataclass(frozen=True)
class Baseline:
    """The data that trained a model, and what it answered and how well it did on data held out."""

    schema: Schema
    profile: Profile
    rows: int
    quality: Mapping[str, float] | None = None
    """On the rows held out: rows, positives, accuracy, auc, false_positive_rate, …"""
    constraints: Constraints = field(default_factory=Constraints)
    """What a team has said; otherwise the calibrated tests decide."""


def fit(names: Sequence[str], categorical: Sequence[bool], rows: Iterable[Sequence[str]]) -> Baseline:
    """The baseline of training rows, given as texts in the order of `names`. An empty text is a missing value.

    Raises ValueError where there are no rows, or one has too few or too many values.
    """
    raise NotImplementedError


def with_predictions(
    baseline: Baseline, probabilities: Iterable[float], quality: Mapping[str, float] | None = None
) -> Baseline:
    """With what the model answered to rows that it was not trained on, and how well it did on them."""
    raise NotImplementedError


def to_json(baseline: Baseline) -> str:
    """A baseline as text; equal baselines give equal texts."""
    raise NotImplementedError


def from_json(text: str | bytes, constraints: str | bytes | Mapping[str, Any] | None = None) -> Baseline:
    """The baseline that `to_json` wrote, or one made of Model Monitor's statistics.json.

    `constraints` is a team's constraints.json. Raises ValueError for anything else.
    """
    raise NotImplementedError
