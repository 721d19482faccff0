"""SageMaker Model Monitor's files: what its container wrote is read, what is written it would know, and both judge."""

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats  # type: ignore[import-untyped]  # scipy ships no types

from functions.monitoring import formats, statistics
from functions.monitoring.baseline import Baseline, fit, from_json, with_predictions
from functions.monitoring.formats import Violation
from functions.monitoring.judge import judge
from functions.monitoring.sketch import Column, Profile, Schema, Tally

SOURCE = np.random.default_rng(2)
WEIGHTS = SOURCE.normal(70, 12, 4000)
PLANS = SOURCE.choice(["basic", "plus", "pro"], 4000, p=[0.6, 0.3, 0.1])


def sketched(values: Any, capacity: int = 256) -> list[list[float]]:
    """A KLL sketch as the container's: full levels lose every other item, and the rest count twice."""
    levels: list[list[float]] = [list(map(float, values))]
    level = 0
    while len(levels[level]) > capacity:
        ordered = sorted(levels[level])
        kept, levels[level] = ordered[level % 2 :: 2], []
        if len(ordered) % 2 and level % 2 == 0:  # what has no partner stays
            levels[level] = [kept.pop()]
        levels.append(kept)
        level += 1
    return levels


def document() -> dict[str, Any]:
    """A statistics.json such as the container writes of 4,000 rows: a weight, a number of children, a plan."""
    children = np.repeat([0, 1, 2, 3], [2000, 1000, 700, 260])
    numbers = [("weight", "Fractional", WEIGHTS, 0), ("children", "Integral", children, 40)]
    return {
        "version": 0.0,
        "dataset": {"item_count": 4000},
        "features": [
            *(
                {
                    "name": name,
                    "inferred_type": kind,
                    "numerical_statistics": {
                        "common": {"num_present": len(values), "num_missing": missing},
                        "mean": float(values.mean()),
                        "sum": float(values.sum()),
                        "std_dev": float(values.std()),
                        "min": float(values.min()),
                        "max": float(values.max()),
                        "distribution": {
                            "kll": {
                                "buckets": [{"lower_bound": 0.0, "upper_bound": 1.0, "count": 4000.0}],
                                "sketch": {"parameters": {"c": 0.64, "k": 2048.0}, "data": sketched(values)},
                            }
                        },
                    },
                }
                for name, kind, values, missing in numbers
            ),
            {
                "name": "plan",
                "inferred_type": "String",
                "string_statistics": {
                    "common": {"num_present": 4000, "num_missing": 0},
                    "distinct_count": 3.0,
                    "distribution": {
                        "categorical": {
                            "buckets": [
                                {"value": plan, "count": Counter(PLANS.tolist())[plan]}
                                for plan in ("pro", "plus", "basic")
                            ]
                        }
                    },
                },
            },
            {"name": "unknown", "inferred_type": "Unknown"},
        ],
    }


CONSTRAINTS: Mapping[str, Any] = {
    "version": 0.0,
    "features": [
        {
            "name": "weight",
            "inferred_type": "Fractional",
            "completeness": 1.0,
            "num_constraints": {"is_non_negative": True},
        },
        {
            "name": "children",
            "inferred_type": "Integral",
            "completeness": 0.98,
            "num_constraints": {"is_non_negative": True},
            "monitoringConfigOverrides": {"distribution_constraints": {"perform_comparison": "Disabled"}},
        },
        {
            "name": "plan",
            "inferred_type": "String",
            "completeness": 1.0,
            "string_constraints": {"domains": ["basic", "plus", "pro", "free"]},
        },
    ],
    "monitoring_config": {
        "evaluate_constraints": "Enabled",
        "emit_metrics": "Enabled",
        "datatype_check_threshold": 1.0,
        "domain_content_threshold": 1.0,
        "distribution_constraints": {
            "perform_comparison": "Enabled",
            "comparison_threshold": 0.1,
            "comparison_method": "Robust",
            "categorical_comparison_threshold": 0.1,
            "categorical_drift_method": "LInfinity",
        },
    },
}


def window(baseline: Baseline, *, shift: float = 0.0, **columns: list[str]) -> Profile:
    """500 rows of the same world, or of one a little heavier, or with other values in these columns."""
    source = np.random.default_rng(3)
    values: dict[str, Any] = {
        "weight": source.normal(70 + shift, 12, 500).astype(str).tolist(),
        "children": source.choice(["0", "1", "2", "3", ""], 500, p=[0.5, 0.25, 0.175, 0.065, 0.01]).tolist(),
        "plan": source.choice(["basic", "plus", "pro"], 500, p=[0.6, 0.3, 0.1]).tolist(),
        "unknown": [""] * 500,
    }
    profile = Profile.empty(baseline.schema)
    for name, tally in profile.columns.items():
        tally.add((values | columns)[name])
    profile.rows = 500
    return profile


def told(baseline: Baseline, seen: Profile) -> set[tuple[str, str, str]]:
    return {(each.feature_name, each.constraint_check_type, each.group) for each in judge(baseline, seen).violations}


# --- statistics.json --------------------------------------------------------------------------------------------------


def test_a_baseline_of_the_containers_statistics_judges() -> None:
    baseline = from_json(json.dumps(document()))
    assert baseline.rows == 4000
    assert [(column.name, column.kind) for column in baseline.schema.columns] == [
        ("weight", "number"), ("children", "number"), ("plan", "category"), ("unknown", "number"),
    ]  # fmt: skip
    assert baseline.schema.columns[2].categories == {"basic", "plus", "pro"}
    assert judge(baseline, window(baseline)).status == "stable"
    assert told(baseline, window(baseline, shift=6)) == {("weight", "baseline_drift_check", "drift")}
    assert told(baseline, window(baseline, weight=["1e9"] * 500)) == {("weight", "baseline_drift_check", "broken")}
    assert told(baseline, window(baseline, plan=["gold"] * 500)) == {("plan", "categorical_values_check", "broken")}
    assert told(baseline, window(baseline, unknown=["1"] * 500)) == {("unknown", "completeness_check", "drift")}


def test_the_containers_sketch_is_read_with_its_weights() -> None:
    tally = from_json(json.dumps(document())).profile.columns["weight"]
    items = sketched(WEIGHTS)
    assert tally.numbers == sum(len(level) << i for i, level in enumerate(items)) == 4000
    assert (tally.minimum, tally.maximum) == (WEIGHTS.min(), WEIGHTS.max())
    cells = tally.ordered()
    # Six halvings of 256 items: each is off by half an item of its level at most.
    for share in (0.1, 0.5, 0.9):
        value = statistics.quantile(cells, share)
        assert stats.percentileofscore(WEIGHTS, value) / 100 == pytest.approx(share, abs=0.02)


def test_what_the_model_answers_is_set_apart() -> None:
    baseline = from_json(json.dumps(document()), outputs=["weight"])
    assert [column.name for column in baseline.schema.outputs] == ["weight"]
    assert "weight" not in baseline.profile.columns
    seen = window(baseline)
    seen.outputs["weight"].add(np.random.default_rng(3).normal(76, 12, 500).astype(str).tolist())
    assert told(baseline, seen) == {("weight", "baseline_drift_check", "prediction")}


def test_statistics_have_the_containers_form() -> None:
    rows = [[repr(weight), plan] for weight, plan in zip(WEIGHTS.tolist(), PLANS.tolist(), strict=True)]
    rows += [["", "pro"]] * 100
    baseline = with_predictions(fit(["weight", "plan"], [False, True], rows), [0.2, 0.7, 0.9])
    written = formats.statistics(baseline.profile)
    assert json.loads(json.dumps(written)) == written
    assert (written["version"], written["dataset"]) == (0.0, {"item_count": 4100})
    weight, plan, prediction = written["features"]
    told = weight["numerical_statistics"]
    assert {**weight, "numerical_statistics": 0} == {
        "name": "weight",
        "inferred_type": "Fractional",
        "numerical_statistics": 0,
    }
    assert told["common"] == {"num_present": 4000, "num_missing": 100}
    assert (told["min"], told["max"]) == (WEIGHTS.min(), WEIGHTS.max())
    # A cell of the sketch is 1/128 of its distance from the centre wide.
    assert told["mean"] == pytest.approx(WEIGHTS.mean(), abs=12 / 128)
    assert told["sum"] == pytest.approx(WEIGHTS.sum(), rel=0.01)
    assert told["std_dev"] == pytest.approx(WEIGHTS.std(), rel=1 / 64)
    kll = told["distribution"]["kll"]
    expected, edges = np.histogram(WEIGHTS, 10)
    assert [bucket["lower_bound"] for bucket in kll["buckets"]] == pytest.approx(edges[:-1].tolist())
    assert [bucket["upper_bound"] for bucket in kll["buckets"]] == pytest.approx(edges[1:].tolist())
    counts = [bucket["count"] for bucket in kll["buckets"]]
    assert sum(counts) == 4000
    assert np.abs(np.cumsum(counts) - np.cumsum(expected)).max() < 40
    assert kll["sketch"]["parameters"] == {"c": 0.64, "k": 2048.0}
    assert sum(len(level) << i for i, level in enumerate(kll["sketch"]["data"])) == 4000
    texts = plan["string_statistics"]
    assert (plan["inferred_type"], texts["distinct_count"]) == ("String", 3.0)
    assert texts["distribution"]["categorical"]["buckets"][0] == {
        "value": "basic",
        "count": Counter(PLANS.tolist())["basic"],
    }
    assert (prediction["name"], prediction["part"]) == ("prediction", "prediction")


CELLS = st.lists(
    st.floats(-1e9, 1e9, allow_subnormal=False).map(repr) | st.integers(-99, 99).map(str) | st.sampled_from(["", "x"]),
    min_size=1,
    max_size=60,
)


@settings(deadline=None)
@given(CELLS, st.lists(st.sampled_from(["a", "b", "c", ""]), min_size=60, max_size=60))
def test_statistics_that_are_read_again_are_the_same_baseline(numbers: list[str], codes: list[str]) -> None:
    written = fit(["n", "c"], [False, True], [*zip(numbers, codes, strict=False)])
    read = from_json(json.dumps(formats.statistics(written.profile)))
    assert read.rows == written.rows
    assert read.profile.columns["c"] == written.profile.columns["c"]
    before, after = written.profile.columns["n"], read.profile.columns["n"]
    assert (after.numbers, after.missing) == (before.numbers, before.missing)
    assert (after.minimum, after.maximum) == (before.minimum, before.maximum)
    for (value, count), (again, _) in zip(before.ordered(), after.ordered(), strict=False):
        if len(before.cells) == len(after.cells):
            assert again == pytest.approx(value, abs=abs(value - after.column.centre) / 128 + 1e-9) and count


@pytest.mark.parametrize("values", [[], ["5"] * 3, ["1e38", "-1e38"], ["inf", "nan", "word"]])
def test_statistics_of_columns_with_little_to_tell_can_be_written_and_read(values: list[str]) -> None:
    tally = Tally(Column("x", "number"))
    tally.add(values)
    profile = Profile.empty(Schema((tally.column,)))
    profile.columns["x"], profile.rows = tally, 3
    written = json.loads(json.dumps(formats.statistics(profile), allow_nan=False))
    assert from_json(json.dumps(written)).profile.columns["x"].numbers == tally.numbers
    json.dumps(formats.constraints(profile), allow_nan=False)


@pytest.mark.parametrize(
    "broken",
    [
        {"features": []},
        {"features": [{"name": "x", "numerical_statistics": {"common": {}}}]},
        {"features": [{"name": "x", "string_statistics": {}}], "dataset": {"item_count": 3}},
        {"features": 5},
        {"features": [{"name": "x"}], "dataset": {}},
    ],
)
def test_what_is_no_statistics_file_is_refused(broken: Mapping[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"statistics\.json"):
        from_json(json.dumps(broken))


# --- constraints.json -------------------------------------------------------------------------------------------------


def test_the_containers_constraints_are_honoured() -> None:
    baseline = from_json(json.dumps(document()), json.dumps(CONSTRAINTS))
    assert "free" in baseline.schema.columns[2].categories
    assert judge(baseline, window(baseline)).status == "stable"
    # It has to be 0.1 beyond what chance explains, which is 0.085: 8 kg are 0.26 and 4 kg 0.13.
    assert told(baseline, window(baseline, shift=8)) == {("weight", "baseline_drift_check", "drift")}
    assert told(baseline, window(baseline, shift=4)) == set()
    older = ["2"] * 400 + ["0"] * 100
    assert told(from_json(json.dumps(document())), window(baseline, children=older)) == {
        ("children", "baseline_drift_check", "drift")
    }
    assert told(baseline, window(baseline, children=older)) == set()
    some_free = ["free"] * 20 + ["basic"] * 280 + ["plus"] * 150 + ["pro"] * 50
    assert told(baseline, window(baseline, plan=some_free)) == set()
    one_gold = ["gold", *some_free[1:]]
    assert told(baseline, window(baseline, plan=one_gold)) == {("plan", "categorical_values_check", "broken")}
    gaps = ["", *["71.5", "60.25", "80.125"] * 166, "70"]
    assert ("weight", "completeness_check", "broken") in told(baseline, window(baseline, weight=gaps))


def test_both_spellings_and_the_old_ones_are_read() -> None:
    read = formats.read_constraints(
        {
            "features": [
                {"name": "a", "monitoring_config_overrides": {"evaluate_constraints": "Disabled"}},
                {"name": "b", "monitoringConfigOverrides": {"distribution_constraints": {"comparison_threshold": 0.4}}},
                {
                    "name": "c",
                    "string_constraints": {"monitoring_config_overrides": {"evaluate_constraints": "Disabled"}},
                },
            ],
            "monitoring_config": {
                "distribution_constraints": {"comparion_method": "Robust", "comparison_threshold": 0.2}
            },
        }
    )
    assert [read.of(name).evaluate for name in "abcd"] == [False, True, False, True]
    assert [read.of(name).threshold for name in "abcd"] == [0.2, 0.4, 0.2, 0.2]
    assert all(read.of(name).robust for name in "abcd")


@pytest.mark.parametrize(
    "config, sentence",
    [
        ({"datatype_check_threshold": 95}, "datatype_check_threshold is 95 in constraints.json: it is a share"),
        (
            {"evaluate_constraints": "Yes"},
            "evaluate_constraints is 'Yes' in constraints.json: it is Disabled or Enabled",
        ),
        (
            {"distribution_constraints": {"comparison_method": "Wasserstein"}},
            "comparison_method is 'Wasserstein' in constraints.json: it is Simple or Robust",
        ),
    ],
)
def test_constraints_that_cannot_be_honoured_are_refused(config: Mapping[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        formats.read_constraints({"features": [], "monitoring_config": config})


def test_what_is_no_constraints_file_is_refused() -> None:
    with pytest.raises(ValueError, match=r"this is no constraints\.json of Model Monitor"):
        formats.read_constraints({"features": 3})


def test_suggested_constraints_say_what_the_calibrated_rules_do() -> None:
    rows = [[repr(weight), plan] for weight, plan in zip(WEIGHTS.tolist(), PLANS.tolist(), strict=True)]
    rows += [["", "pro"]] * 80
    baseline = fit(["weight", "plan"], [False, True], rows)
    suggested = formats.constraints(baseline.profile)
    assert suggested["features"] == [
        {
            "name": "weight",
            "inferred_type": "Fractional",
            "completeness": pytest.approx(4000 / 4080 - 0.01, abs=1e-5),
            "num_constraints": {"is_non_negative": True},
            "monitoringConfigOverrides": {},
        },
        {
            "name": "plan",
            "inferred_type": "String",
            "completeness": 0.99,
            "string_constraints": {"domains": ["basic", "plus", "pro"]},
            "monitoringConfigOverrides": {},
        },
    ]
    again = from_json(json.dumps(formats.statistics(baseline.profile)), suggested)
    seen = {
        shift: [
            judge(each, window(each, shift=shift, children=[], unknown=[])).status for each in (baseline, again)
        ]
        for shift in (0, 6)
    }  # fmt: skip
    assert seen == {0: ["stable", "stable"], 6: ["violated", "violated"]}


# --- constraint_violations.json ---------------------------------------------------------------------------------------


def test_violations_are_written_and_read() -> None:
    found = [
        Violation("age", "completeness_check", "10 of 50 values are missing", "broken"),
        Violation("weight", "baseline_drift_check", "it moved", "drift"),
    ]
    written = formats.violations(found)
    assert written == {
        "violations": [
            {
                "feature_name": "age",
                "constraint_check_type": "completeness_check",
                "description": "10 of 50 values are missing",
            },
            {"feature_name": "weight", "constraint_check_type": "baseline_drift_check", "description": "it moved"},
        ]
    }
    assert formats.read_violations(written) == found
    assert formats.read_violations({"violations": [{**written["violations"][0], "description": None}]})
    with pytest.raises(ValueError, match=r"no constraint_violations\.json"):
        formats.read_violations({"violations": [{"feature": "age"}]})
