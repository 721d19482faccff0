"""What a product's features are: one definition for the feature group, ingestion, training, serving and monitors.

A program that has only the standard library reads its JSON with `functions.rows`.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator

from functions.rows import Column, Kind, in_order

RESERVED: Final = ("is_deleted", "write_time", "api_invocation_time")
"""Columns that the offline store adds itself, so no feature may be called so.
https://docs.aws.amazon.com/sagemaker/latest/dg/feature-store-create-feature-group.html"""
MOST_FEATURES: Final = 2500
"""Definitions that a feature group holds, identifier and event time among them.
https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateFeatureGroup.html"""
FEATURE_NAME: Final = r"^[a-zA-Z0-9]([-_]*[a-zA-Z0-9]){0,63}$"
"""https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_FeatureDefinition.html"""
SECONDS: Final = {"Seconds": 1, "Minutes": 60, "Hours": 3600, "Days": 86_400, "Weeks": 604_800}


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Ttl(_Frozen):
    """How long a record is valid from its event time on: then it leaves the online store, and no training sees it."""

    value: PositiveInt
    unit: Literal["Seconds", "Minutes", "Hours", "Days", "Weeks"]

    @property
    def seconds(self) -> int:
        """The same in seconds."""
        return self.value * SECONDS[self.unit]


class Feature(_Frozen):
    """One input of a model."""

    name: str = Field(max_length=64, pattern=FEATURE_NAME)
    kind: Kind
    description: str
    categories: tuple[str, ...] = ()
    """The values it may have, where they are codes; empty for a quantity or a free text."""
    minimum: float | None = Field(default=None, allow_inf_nan=False)
    maximum: float | None = Field(default=None, allow_inf_nan=False)
    required: bool = True
    """Whether every row must have a value. One that is added later starts without, until all producers send it."""
    labels: Mapping[str, str] = {}
    """What its codes mean."""

    @model_validator(mode="after")
    def _agrees(self) -> "Feature":
        bounded = self.minimum is not None or self.maximum is not None
        if self.kind == "String" and bounded:
            raise ValueError(f"{self.name} is a String, which has no minimum or maximum: set kind to Fractional")
        if self.categories and (bounded or self.kind == "Fractional"):
            raise ValueError(f"{self.name} has categories: set kind to String or Integral, and no minimum or maximum")
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise ValueError(f"{self.name}: minimum {self.minimum:g} is greater than maximum {self.maximum:g}")
        if len({*self.categories}) < len(self.categories) or "" in self.categories:
            raise ValueError(f"{self.name}: categories must differ, and none may be empty")
        if self.kind == "Integral" and (
            words := [each for each in self.categories if not re.fullmatch(r"-?\d+", each)]
        ):
            raise ValueError(f"{self.name} is Integral, but its categories have {words[0]!r}: set kind to String")
        if strange := sorted(self.labels.keys() - {*self.categories}):
            raise ValueError(f"{self.name} has a label for {strange[0]!r}, which is none of its categories")
        return self

    @property
    def is_categorical(self) -> bool:
        """Whether its values are codes."""
        return bool(self.categories)

    @cached_property
    def column(self) -> Column:
        """What its values may be, as the light twin has it."""
        return Column(
            name=self.name,
            kind=self.kind,
            categories=self.categories,
            minimum=self.minimum,
            maximum=self.maximum,
            required=self.required,
        )

    def problem(self, text: str) -> str | None:
        """What is wrong with a value, written as text; None where nothing is. An empty text is a missing value."""
        problem = self.column.problem(text)
        return problem.reason if problem else None

    def json_schema(self) -> dict[str, Any]:
        """The JSON Schema of a value."""
        kind = {"Integral": "integer", "Fractional": "number", "String": "string"}[self.kind]
        meanings = ", ".join(f"{code} {meaning}" for code, meaning in self.labels.items())
        codes: list[str | int | None] = [int(code) if kind == "integer" else code for code in self.categories]
        return {
            "type": kind if self.required else [kind, "null"],
            "description": f"{self.description}: {meanings}" if meanings else self.description,
            **({"enum": codes if self.required else [*codes, None]} if codes else {}),
            **({"minimum": self.minimum} if self.minimum is not None else {}),
            **({"maximum": self.maximum} if self.maximum is not None else {}),
        }


class FeatureSchema(_Frozen):
    """The features of one product, in the order in which a CSV row gives them."""

    name: str
    record_id: str = Field(max_length=64, pattern=FEATURE_NAME)
    """The column that tells records apart; a String."""
    event_time: str = Field(max_length=64, pattern=FEATURE_NAME)
    """The column with the time from which a record is valid."""
    event_time_kind: Literal["String", "Fractional"] = "String"
    """String: ISO 8601 in UTC, as 2026-01-31T12:00:00Z; Fractional: Unix seconds."""
    features: tuple[Feature, ...] = Field(min_length=1)
    ttl: Ttl | None = None
    """How long a record is valid; without it, until a newer one comes or it is deleted."""
    version: PositiveInt = 1
    """Of the feature group: a change that no update of a group can do needs the next one."""

    @model_validator(mode="after")
    def _fits(self) -> "FeatureSchema":
        names = [self.record_id, self.event_time, *self.names]
        if len(names) > MOST_FEATURES:
            raise ValueError(
                f"{len(names)} features with identifier and event time: AWS takes {MOST_FEATURES}; split them"
            )
        seen: dict[str, str] = {}
        for name in names:
            lower = name.lower()
            if lower in RESERVED:
                raise ValueError(f"{name} is a column that the offline store adds itself: choose another name")
            # Athena does not tell upper case from lower case in a column's name.
            if lower in seen:
                raise ValueError(f"{name} and {seen[lower]} are one column in the offline store: choose another name")
            seen[lower] = name
        return self

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The features' names, in order."""
        return tuple(feature.name for feature in self.features)

    @property
    def definitions(self) -> dict[str, Kind]:
        """Every column of the feature group and its type, identifier and event time first."""
        own: dict[str, Kind] = {self.record_id: "String", self.event_time: self.event_time_kind}
        return own | {feature.name: feature.kind for feature in self.features}

    def problems(self, row: Sequence[str]) -> Iterator[str]:
        """What is wrong with a row of texts in the schema's order."""
        return in_order([feature.column for feature in self.features], row)

    def to_json(self) -> str:
        """The schema as JSON, for `functions.rows` and for `from_json`; the same schema gives the same text."""
        told = self.model_dump(mode="json")
        return json.dumps({**told, "ttl_seconds": self.ttl.seconds if self.ttl else None}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "FeatureSchema":
        """Read what `to_json` wrote. Raises pydantic's ValidationError for anything else."""
        told = json.loads(text)
        told.pop("ttl_seconds", None)
        return cls.model_validate(told)

    def json_schema(self) -> dict[str, Any]:
        """The JSON Schema of one row as an object: each feature under its name, and nothing else.

        It keeps to what drafts 4 and 2020-12 share, so that API Gateway and OpenAPI 3 take it alike.
        """
        required = [feature.name for feature in self.features if feature.required]
        return {
            "type": "object",
            "properties": {feature.name: feature.json_schema() for feature in self.features},
            **({"required": required} if required else {}),
            "additionalProperties": False,
        }
