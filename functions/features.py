"""What a product's features are: one definition for the feature group, for training, for serving and for monitors.

Standard library only, for it is packed with Lambda functions and with models.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf, isfinite
from typing import Literal

Kind = Literal["Integral", "Fractional", "String"]
"""SageMaker Feature Store's types."""


@dataclass(frozen=True)
class Feature:
    """One input of a model."""

    name: str
    kind: Kind
    description: str
    categories: tuple[str, ...] = ()
    """The values it may have, where they are codes; empty for a quantity."""
    minimum: float | None = None
    maximum: float | None = None

    @property
    def is_categorical(self) -> bool:
        """Whether its values are codes."""
        return bool(self.categories)

    def problem(self, text: str) -> str | None:
        """What is wrong with a value, written as text; None where nothing is. An empty text is a missing value."""
        if text == "":
            return f"{self.name} is missing"
        if self.is_categorical:
            return None if text in self.categories else f"{self.name} is {text!r}, which is none of its categories"
        try:
            value = float(text)
        except ValueError:
            return f"{self.name} is {text!r}, which is no number"
        least = -inf if self.minimum is None else self.minimum
        most = inf if self.maximum is None else self.maximum
        if not least <= value <= most or not isfinite(value):
            return f"{self.name} is {text}, which is not within {least:g} to {most:g}"
        return None


@dataclass(frozen=True)
class FeatureSchema:
    """The features of one product, in the order in which a CSV row gives them."""

    name: str
    record_id: str
    event_time: str
    features: tuple[Feature, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The features' names, in order."""
        return tuple(feature.name for feature in self.features)

    def problems(self, row: Sequence[str]) -> Iterator[str]:
        """What is wrong with a row of texts in the schema's order."""
        if len(row) != len(self.features):
            yield f"{len(row)} values, where {len(self.features)} features are expected"
            return
        for feature, text in zip(self.features, row, strict=True):
            if problem := feature.problem(text):
                yield problem
