"""SageMaker Model Monitor's files, read and written: statistics.json, constraints.json, constraint_violations.json.

https://docs.aws.amazon.com/sagemaker/latest/dg/model-monitor-byoc-statistics.html and its neighbours; where they leave
something open, the files that its container wrote. What is read is a dict, as json.loads gives it.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import Any, Final, Literal, TypeVar

from functions.monitoring.sketch import LONGEST_TEXT, MOST_VALUES, Column, Profile, Schema, Tally, keys_of, rank
from functions.monitoring.statistics import moments, quantile

Group = Literal["broken", "drift", "prediction"]
"""What a violation asks for: `broken` data are for a person to mend; `drift` (features moved) and `prediction` (what
the model answers moved) are for a new model to learn."""
VIOLATIONS: Final = ("constraint_violations.json", "constraints_violations.json")
"""What the file of violations is called: by the container, and in a part of the documentation."""
BUCKETS: Final = 10
SKETCH: Final[Mapping[str, float]] = {"c": 0.64, "k": 2048.0}
"""The parameters of a KLL sketch that the container's files have."""
VERSION: Final = 0.0
SLACK: Final = 0.01
"""So far below the baseline are the limits that `constraints` suggests: a limit at the baseline itself would be broken
by chance."""
DISTANCES: Final[Mapping[str, float]] = {"number": 0.05, "category": 0.03}
"""The least distance that matters: between two distribution functions, and of one category's share."""
OPEN: Final = 0.005
"""A column in which more than this share of the training data are values that hardly repeat has no fixed set of
values."""
COMMON: Final = 0.005
"""Where a column has too many values to know them all, those are known that are at least this share, and others
whatever their share: picked by their count, chance would make them look more common than they are."""
Told = TypeVar("Told")


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
    """How one feature is judged, where a team has said so. None: nothing was said, the calibrated tests decide."""

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
    """The least distance of two distribution functions that counts."""
    categorical_threshold: float | None = None
    """The least change of one category's share that counts; where `chi_square`, the p-value that does."""
    robust: bool = False
    """Whether what chance explains is taken off distances."""
    chi_square: bool = False


@dataclass(frozen=True)
class Constraints:
    """How the features are judged."""

    features: Mapping[str, Limits] = field(default_factory=dict)
    default: Limits = field(default_factory=Limits)
    """For those that are not named."""
    document: Mapping[str, Any] | None = None
    """The constraints.json that was read."""

    def of(self, feature: str) -> Limits:
        """How this one is judged."""
        return self.features.get(feature, self.default)


def known(counts: Mapping[str, int]) -> frozenset[str]:
    """The values of a column that its baseline is to know, of these counts: all, or MOST_VALUES of them."""
    if len(counts) <= MOST_VALUES:
        return frozenset(counts)
    total = sum(counts.values())
    common = [value for value, count in counts.items() if count >= COMMON * total]
    others = sorted((value for value, count in counts.items() if count < COMMON * total), key=rank)
    return frozenset((common + others)[:MOST_VALUES])


def unknown(tally: Tally, domain: frozenset[str]) -> int:
    """How many of a column's values are not in a domain."""
    return sum(count for value, count in tally.values.items() if value not in domain) + tally.others


def hapaxes(tally: Tally) -> int:
    """How many of a baseline's values a further row is as likely to bring anew: those that are not known or came once
    (Good and Turing)."""
    return sum(count for value, count in tally.values.items() if count == 1 or value not in tally.column.categories) + (
        tally.others
    )


def closed(tally: Tally) -> bool:
    """Whether a category of a baseline has a fixed set of values."""
    count = sum(tally.values.values()) + tally.others
    return hapaxes(tally) <= OPEN * count


# --- statistics.json --------------------------------------------------------------------------------------------------


def statistics(profile: Profile) -> dict[str, Any]:
    """statistics.json of a profile. What the answers hold has the key `part`, beside Model Monitor's."""
    features = [_feature(tally) for tally in profile.columns.values()]
    features += [{**_feature(tally), "part": "prediction"} for tally in profile.outputs.values()]
    return {"version": VERSION, "dataset": {"item_count": profile.rows}, "features": features}


def _feature(tally: Tally) -> dict[str, Any]:
    common = {"num_present": tally.count, "num_missing": tally.missing}
    name = tally.column.name
    if tally.column.kind == "category":
        counts = sorted(tally.values.items(), key=lambda each: (-each[1], each[0]))
        told = {
            "common": common,
            "distinct_count": float(sum(count > 0 for _, count in counts)),
            "distribution": {"categorical": {"buckets": [{"value": v, "count": c} for v, c in counts if c]}},
        }
        return {"name": name, "inferred_type": "String", "string_statistics": told}
    cells = tally.ordered()
    if not cells or tally.minimum is None or tally.maximum is None:
        return {"name": name, "inferred_type": "Unknown", "numerical_statistics": {"common": common}}
    mean, deviation = moments(cells)
    whole = all(value.is_integer() for value, _ in [*cells, (tally.minimum, 1), (tally.maximum, 1)])
    figures = {
        "common": common,
        "mean": mean,
        "sum": mean * tally.numbers,
        "std_dev": deviation,
        "min": tally.minimum,
        "max": tally.maximum,
        "distribution": {
            "kll": {
                "buckets": _buckets(cells, tally.minimum, tally.maximum),
                "sketch": {"parameters": dict(SKETCH), "data": _levels(cells)},
            }
        },
    }
    return {"name": name, "inferred_type": "Integral" if whole else "Fractional", "numerical_statistics": figures}


def _buckets(cells: Iterable[tuple[float, int]], least: float, most: float) -> list[dict[str, float]]:
    """Ten of the same width."""
    edges = [least + (most - least) * (i / BUCKETS) for i in range(BUCKETS)] + [most]
    counts = [0] * BUCKETS
    for value, count in cells:
        share = (value - least) / (most - least) if most > least else 0.0
        counts[min(BUCKETS - 1, max(0, int(share * BUCKETS)))] += count
    return [
        {"lower_bound": lower, "upper_bound": upper, "count": float(count)}
        for lower, upper, count in zip(edges, edges[1:], counts, strict=False)
    ]


def _levels(cells: Iterable[tuple[float, int]]) -> list[list[float]]:
    """A KLL sketch's compactors: an item of level i stands for 2**i values."""
    levels: list[list[float]] = []
    for value, count in cells:
        for level in range(count.bit_length()):
            if level == len(levels):
                levels.append([])
            if count >> level & 1:
                levels[level].append(value)
    return levels


def read_statistics(document: Mapping[str, Any], outputs: Iterable[str] = ()) -> Profile:
    """What a statistics.json tells; `outputs` are those of its features that the model answers.

    Raises ValueError where it is no such file.
    """
    return _told("statistics.json", lambda: _profile(document, frozenset(outputs)))


def _told(file: str, read: Callable[[], Told]) -> Told:
    try:
        return read()
    except (AttributeError, KeyError, TypeError, IndexError, OverflowError) as error:
        raise ValueError(f"this is no {file} of Model Monitor: {error!r}") from error


def _profile(document: Mapping[str, Any], outputs: frozenset[str]) -> Profile:
    tallies: dict[bool, list[Tally]] = {False: [], True: []}
    count = int(document["dataset"]["item_count"])
    for feature in document["features"]:
        answered = feature["name"] in outputs or feature.get("part") == "prediction"
        tallies[answered].append(
            _text_tally(feature) if "string_statistics" in feature else _number_tally(feature, count)
        )
    if not tallies[False]:
        raise ValueError("this statistics.json has no features: a baseline needs some")
    schema = Schema(*(tuple(tally.column for tally in tallies[answered]) for answered in (False, True)))
    profile = Profile.empty(schema)
    profile.columns = {tally.column.name: tally for tally in tallies[False]}
    profile.outputs = {tally.column.name: tally for tally in tallies[True]}
    profile.rows = count
    profile.answers = max((tally.total for tally in tallies[True]), default=0)
    return profile


def _text_tally(feature: Mapping[str, Any]) -> Tally:
    told = feature["string_statistics"]
    buckets = ((told.get("distribution") or {}).get("categorical") or {}).get("buckets") or ()
    counts = Counter[str]()
    for bucket in buckets:
        counts[str(bucket["value"])[:LONGEST_TEXT]] += int(bucket["count"])
    tally = Tally(Column(feature["name"], "category", categories=known(counts)))
    tally.values = dict(counts)
    tally.others = max(0, int(told["common"]["num_present"]) - counts.total())
    tally.missing = int(told["common"]["num_missing"])
    tally.settle()
    return tally


def _number_tally(feature: Mapping[str, Any], rows: int) -> Tally:
    """Of numbers, or of a feature of which nothing is told: it had no values in any of the rows."""
    told = feature.get("numerical_statistics") or {}
    common = told.get("common") or {"num_missing": rows}
    sketch = ((told.get("distribution") or {}).get("kll") or {}).get("sketch") or {"data": ()}
    counts = Counter[float]()
    for level, items in enumerate(sketch["data"]):
        for item in items:
            if isfinite(item):
                counts[float(item)] += 2**level
    cells = sorted(counts.items())
    tally = Tally(Column(feature["name"], "number", centre=quantile(cells, 0.5) if cells else 0.0))
    weights = Counter[int]()
    for key, (_, count) in zip(keys_of([value for value, _ in cells], tally.column.centre), cells, strict=True):
        weights[key] += count
    tally.add_keys(weights)
    if cells:
        tally.add_extremes(float(told.get("min", cells[0][0])), float(told.get("max", cells[-1][0])))
    tally.missing = int(common["num_missing"])
    return tally


# --- constraints.json -------------------------------------------------------------------------------------------------

ENABLED: Final = "Enabled"
OVERRIDES: Final = ("monitoringConfigOverrides", "monitoring_config_overrides")
METHODS: Final = ("comparison_method", "comparion_method")
"""The second is how older files have it."""


def constraints(profile: Profile) -> dict[str, Any]:
    """The constraints.json that a profile suggests: the calibrated rules, as far as the format can say them."""
    features = []
    for tally in (*profile.columns.values(), *profile.outputs.values()):
        told = _feature(tally)
        present = tally.count / tally.total if tally.total else 0.0
        suggested = {
            "name": tally.column.name,
            "inferred_type": told["inferred_type"],
            "completeness": max(0.0, round(present - SLACK, 6)),
        }
        if tally.column.kind == "category" and tally.values and closed(tally):
            suggested["string_constraints"] = {"domains": sorted(value for value, n in tally.values.items() if n)}
        if tally.minimum is not None:
            suggested["num_constraints"] = {"is_non_negative": tally.minimum >= 0}
        features.append({**suggested, OVERRIDES[0]: {}})
    config = {
        "evaluate_constraints": ENABLED,
        "emit_metrics": ENABLED,
        "datatype_check_threshold": 1 - SLACK,
        "domain_content_threshold": 1 - SLACK,
        "distribution_constraints": {
            "perform_comparison": ENABLED,
            "comparison_threshold": DISTANCES["number"],
            METHODS[0]: "Simple",
            "categorical_comparison_threshold": DISTANCES["category"],
            "categorical_drift_method": "LInfinity",
        },
    }
    return {"version": VERSION, "features": features, "monitoring_config": config}


def read_constraints(document: Mapping[str, Any]) -> Constraints:
    """What a constraints.json tells. Raises ValueError where it is no such file."""
    return _told("constraints.json", lambda: _constraints(document))


def _constraints(document: Mapping[str, Any]) -> Constraints:
    default = _configured(Limits(), document.get("monitoring_config") or {})
    features = {}
    for feature in document["features"]:
        numbers, texts = feature.get("num_constraints") or {}, feature.get("string_constraints") or {}
        limits = default
        for holder in (feature, numbers, texts):
            for key in OVERRIDES:
                limits = _configured(limits, holder.get(key) or {})
        domains = texts.get("domains")
        features[str(feature["name"])] = replace(
            limits,
            completeness=_share(feature, "completeness"),
            # `false` is what the container writes of a column that has negative values: it forbids nothing.
            non_negative=True if numbers.get("is_non_negative") else None,
            domains=None if domains is None else frozenset(str(value)[:LONGEST_TEXT] for value in domains),
        )
    return Constraints(features, default, document)


def _configured(limits: Limits, config: Mapping[str, Any]) -> Limits:
    """`limits` with what a monitoring_config, or a feature's part of one, says."""
    told = config.get("distribution_constraints") or {}
    given: dict[str, Any] = {
        "datatype_threshold": _share(config, "datatype_check_threshold"),
        "domain_threshold": _share(config, "domain_content_threshold"),
        "evaluate": _switch(config, "evaluate_constraints"),
        # The second is how older files have it.
        "compare": _switch(told, "perform_comparison")
        if "perform_comparison" in told
        else told.get("enable_comparisons"),
        "threshold": _share(told, "comparison_threshold"),
        "categorical_threshold": _share(told, "categorical_comparison_threshold"),
        "robust": _choice(told, METHODS, ("Simple", "Robust")),
        "chi_square": _choice(told, ("categorical_drift_method",), ("LInfinity", "ChiSquared")),
    }
    return replace(limits, **{name: value for name, value in given.items() if value is not None})


def _share(told: Mapping[str, Any], key: str) -> float | None:
    value = told.get(key)
    if value is None:
        return None
    if not 0 <= float(value) <= 1:
        raise ValueError(f"{key} is {value} in constraints.json: it is a share, from 0 to 1")
    return float(value)


def _switch(told: Mapping[str, Any], key: str) -> bool | None:
    return _choice(told, (key,), ("Disabled", ENABLED))


def _choice(told: Mapping[str, Any], keys: Iterable[str], words: tuple[str, str]) -> bool | None:
    """Whether the second of two words is said; None where nothing is."""
    for key in keys:
        if (value := told.get(key)) is not None:
            if value not in words:
                raise ValueError(f"{key} is {value!r} in constraints.json: it is {words[0]} or {words[1]}")
            return bool(value == words[1])
    return None


# --- constraint_violations.json ---------------------------------------------------------------------------------------


def violations(found: Iterable[Violation]) -> dict[str, Any]:
    """constraint_violations.json."""
    names = ("feature_name", "constraint_check_type", "description")
    return {"violations": [{name: getattr(each, name) for name in names} for each in found]}


def read_violations(document: Mapping[str, Any]) -> list[Violation]:
    """What a constraint_violations.json tells. Raises ValueError where it is no such file."""
    return _told("constraint_violations.json", lambda: [_violation(each) for each in document["violations"]])


def _violation(told: Mapping[str, Any]) -> Violation:
    check = str(told["constraint_check_type"])
    return Violation(
        str(told["feature_name"]),
        check,
        str(told.get("description", "")),
        "drift" if check == "baseline_drift_check" else "broken",
    )
