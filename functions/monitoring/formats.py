"""SageMaker Model Monitor's files, read and written: statistics.json, constraints.json, constraint_violations.json.

https://docs.aws.amazon.com/sagemaker/latest/dg/model-monitor-byoc-statistics.html and its neighbours; where they leave
something open, the files that its container wrote.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from functions.monitoring.sketch import Profile, Schema

Group = Literal["broken", "drift", "prediction"]
"""What a violation asks for: `broken` data are for a person to mend, `drift` (the features moved) and `prediction` (what
the model answers moved) are for a new model to learn."""


@dataclass(frozen=True)
class Violation:
    """One way in which a window is not what the baseline awaits. The first three are Model Monitor's."""

    feature_name: str
    constraint_check_type: str
    """data_type_check, completeness_check, baseline_drift_check, missing_column_check, extra_column_check or
    categorical_values_check."""
    description: str
    group: Group


@dataclass(frozen=True)
class Limits:
    """How one feature is judged, where a team has said so. None: nothing was said, the calibrated test decides."""

    completeness: float | None = None
    """The least share of values that are not missing."""
    non_negative: bool | None = None
    domains: frozenset[str] | None = None
    """The only values allowed."""
    datatype_threshold: float | None = None
    """The least share of values that are of the right type."""
    domain_threshold: float | None = None
    """The least share of values that are in `domains`."""
    evaluate: bool = True
    """Whether anything but distributions is checked."""
    compare: bool = True
    """Whether distributions are."""
    threshold: float | None = None
    """The least distance that counts."""
    method: str = "Simple"
    """Simple or Robust, LInfinity or ChiSquared: how `threshold` is measured."""


@dataclass(frozen=True)
class Constraints:
    """How the features are judged; those that are not named as `default` says."""

    features: Mapping[str, Limits] = field(default_factory=dict)
    default: Limits = field(default_factory=Limits)

    def of(self, feature: str) -> Limits:
        """How this one is judged."""
        return self.features.get(feature, self.default)


def statistics(profile: Profile) -> dict[str, Any]:
    """statistics.json of a profile."""
    raise NotImplementedError


def read_statistics(document: Mapping[str, Any]) -> tuple[Schema, Profile]:
    """What a statistics.json tells. Raises ValueError for anything else."""
    raise NotImplementedError


def constraints(profile: Profile) -> dict[str, Any]:
    """The constraints.json that a profile suggests: the calibrated rules, as far as the format can say them."""
    raise NotImplementedError


def read_constraints(document: Mapping[str, Any]) -> Constraints:
    """What a constraints.json tells. Raises ValueError for anything else."""
    raise NotImplementedError


def violations(found: Iterable[Violation]) -> dict[str, Any]:
    """constraint_violations.json."""
    raise NotImplementedError


def read_violations(document: Mapping[str, Any]) -> list[Violation]:
    """What a constraint_violations.json tells. Raises ValueError for anything else."""
    raise NotImplementedError
