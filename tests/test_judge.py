"""What the data monitor says of windows: quiet where nothing moved, right where something did, never an exception."""

import base64
import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from functions.monitoring.baseline import (
    PREDICTION,
    Baseline,
    fit,
    from_json,
    to_json,
    with_constraints,
    with_predictions,
)
from functions.monitoring.capture import profile
from functions.monitoring.formats import Violation
from functions.monitoring.judge import FEWEST_ROWS, Verdict, judge
from functions.monitoring.sketch import Profile, Tally
from tests.bench.drift import FAULTS, faulty, of_column, seen, table, trained

NAMES = ("amount", "age", "score", "colour", "flag")
CATEGORICAL = (False, False, False, True, True)
Rows = list[list[str]]


def rows(count: int, seed: int = 0, *, shift: float = 0.0) -> Rows:
    """A small world: an amount above zero, an age in whole years, a score, a colour, a flag."""
    source = np.random.default_rng(seed)
    columns: list[Sequence[Any]] = [
        source.lognormal(3, 1, count).round(2).tolist(),
        source.integers(18, 90, count).tolist(),
        source.normal(shift, 1, count).tolist(),
        source.choice(["red", "green", "blue", "grey"], count, p=[0.4, 0.3, 0.2, 0.1]).tolist(),
        source.choice(["0", "1"], count, p=[0.9, 0.1]).tolist(),
    ]
    return [[str(value) for value in row] for row in zip(*columns, strict=True)]


@pytest.fixture(scope="module")
def baseline() -> Baseline:
    answers = np.random.default_rng(9).beta(2, 5, 2000)
    return with_predictions(fit(NAMES, CATEGORICAL, rows(5000, 1)), answers.tolist(), {"accuracy": 0.8, "rows": 2000})


def capture(asked: str, encoding: str = "CSV", answered: str | None = None) -> bytes:
    """A line of data capture."""
    sides = {"endpointInput": {"observedContentType": "x", "mode": "INPUT", "data": asked, "encoding": encoding}}
    if answered is not None:
        sides["endpointOutput"] = {
            "observedContentType": "text/csv", "mode": "OUTPUT", "data": answered, "encoding": "CSV",
        }  # fmt: skip
    about = {"eventId": "e", "inferenceTime": "2026-01-01T00:00:00Z"}
    return json.dumps({"captureData": sides, "eventMetadata": about, "eventVersion": "0"}).encode() + b"\n"


def judged(baseline: Baseline, window: Rows, answers: Sequence[float] | None = None) -> Verdict:
    """What is said of rows that were captured as CSV, each in a request of its own."""
    lines = []
    for i, row in enumerate(window):
        text = io.StringIO()
        csv.writer(text).writerow(row)
        lines.append(capture(text.getvalue(), answered=None if answers is None else str(answers[i])))
    return judge(baseline, profile(baseline.schema, lines))


def told(verdict: Verdict) -> set[tuple[str, str, str]]:
    """Feature, check and group of each violation."""
    return {(each.feature_name, each.constraint_check_type, each.group) for each in verdict.violations}


def changed(window: Rows, name: str, change: Callable[[str, int], str]) -> Rows:
    """A window in which a column's values are changed, each by itself and its row's number."""
    at = NAMES.index(name)
    return [[*row[:at], change(row[at], i), *row[at + 1 :]] for i, row in enumerate(window)]


# --- quiet ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [FEWEST_ROWS, 500, 5000])
def test_a_world_that_stands_still_is_stable(baseline: Baseline, count: int) -> None:
    answers = np.random.default_rng(4).beta(2, 5, count).tolist()
    verdict = judged(baseline, rows(count, 2), answers)
    assert (verdict.status, verdict.rows, verdict.violations) == ("stable", count, ())
    assert not verdict.broken and not verdict.drifting
    assert {(each.feature, each.part) for each in verdict.findings} == {
        *((name, "feature") for name in NAMES),
        (PREDICTION, "prediction"),
    }


def test_windows_without_drift_seldom_alarm_whatever_their_columns_are() -> None:
    source = np.random.default_rng(5)
    baseline = trained(table(source, 2000))
    alarms = [
        judge(baseline, seen(baseline.schema, table(source, count))).status == "violated"
        for count in (50, 500, 2000)
        for _ in range(5)
    ]
    # At 2 % a window, the most that is allowed, three of fifteen would be one chance in 300.
    assert sum(alarms) <= 2


def test_a_window_of_too_few_rows_is_insufficient(baseline: Baseline) -> None:
    worst = changed(rows(FEWEST_ROWS - 1), "score", lambda *_: "9e9")
    verdict = judged(baseline, worst)
    assert (verdict.status, verdict.findings, verdict.violations) == ("insufficient", (), ())


def test_one_outlier_is_no_drift_and_hides_none(baseline: Baseline) -> None:
    still, moved = rows(500, 3), rows(500, 3, shift=0.6)
    for window in (still, moved):
        window[7][2] = "1e6"
    assert judged(baseline, still).status == "stable"
    assert told(judged(baseline, moved)) == {("score", "baseline_drift_check", "drift")}


# --- what is found ----------------------------------------------------------------------------------------------------


def test_features_that_moved_are_drift_and_the_furthest_comes_first(baseline: Baseline) -> None:
    window = changed(rows(500, 3, shift=1.5), "flag", lambda value, i: "1" if i % 4 == 0 else value)
    verdict = judged(baseline, window)
    assert told(verdict) == {("score", "baseline_drift_check", "drift"), ("flag", "baseline_drift_check", "drift")}
    assert verdict.drifting and not verdict.broken
    assert [each.feature for each in verdict.findings[:2]] == ["score", "flag"]
    score, flag = (each.statistics for each in verdict.findings[:2])
    assert score["w1"] == pytest.approx(1.5, abs=0.2) and score["ks"] > 0.4 and score["psi"] > 1 and score["js"] > 0.4
    assert score["robust"] == pytest.approx(score["ks"] - 1.8 * (5500 / 2_500_000) ** 0.5)
    assert flag["linf"] == pytest.approx(0.22, abs=0.06)
    assert "moved by 0." in verdict.findings[0].reasons[0]


def test_answers_that_moved_are_drift_of_the_predictions(baseline: Baseline) -> None:
    answers = np.random.default_rng(4).beta(5, 2, 500).tolist()
    verdict = judged(baseline, rows(500, 3), answers)
    assert told(verdict) == {(PREDICTION, "baseline_drift_check", "prediction")}
    assert verdict.drifting and not verdict.broken


def test_broken_data_explain_that_answers_moved(baseline: Baseline) -> None:
    answers = np.random.default_rng(4).beta(5, 2, 500).tolist()
    verdict = judged(baseline, changed(rows(500, 3), "score", lambda *_: ""), answers)
    assert told(verdict) == {
        ("score", "completeness_check", "broken"),
        (PREDICTION, "baseline_drift_check", "prediction"),
    }
    assert verdict.broken and not verdict.drifting


BROKEN: Mapping[str, tuple[str, Callable[[str, int], str], str]] = {
    "a fifth is missing": ("score", lambda value, i: "" if i % 5 == 0 else value, "completeness_check"),
    "all is missing": ("score", lambda *_: "", "completeness_check"),
    "all of a category is missing": ("colour", lambda *_: "", "completeness_check"),
    "NaN": ("score", lambda value, i: "nan" if i % 5 == 0 else value, "completeness_check"),
    "infinite": ("score", lambda value, i: "inf" if i % 20 == 0 else value, "data_type_check"),
    "words for numbers": ("age", lambda *_: "old", "data_type_check"),
    "a tenth has a decimal comma": ("score", lambda value, i: "0,5" if i % 10 == 0 else value, "data_type_check"),
    "in cents": ("amount", lambda value, _: str(float(value) * 100), "baseline_drift_check"),
    "in thousands": ("amount", lambda value, _: str(float(value) / 1000), "baseline_drift_check"),
    "in percent": ("score", lambda value, _: str(float(value) * 100), "baseline_drift_check"),
    "in months": ("age", lambda value, _: str(int(value) * 12), "baseline_drift_check"),
    "years of birth": ("age", lambda value, _: str(2026 - int(value)), "baseline_drift_check"),
    "some are a stand-in": ("age", lambda value, i: "999" if i % 50 == 0 else value, "baseline_drift_check"),
    "negative": ("amount", lambda value, i: "-1" if i % 50 == 0 else value, "data_type_check"),
    "stuck": ("score", lambda *_: "0.25", "baseline_drift_check"),
    "stuck half of the time": ("age", lambda value, i: "40" if i > 250 else value, "baseline_drift_check"),
    "a stuck category": ("colour", lambda *_: "red", "baseline_drift_check"),
    "a new category": ("colour", lambda value, i: "pink" if i % 20 == 0 else value, "categorical_values_check"),
    "another coding": ("flag", lambda value, _: {"0": "no", "1": "yes"}[value], "categorical_values_check"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_broken_data_are_told_apart_from_drift(baseline: Baseline, fault: str) -> None:
    name, change, check = BROKEN[fault]
    verdict = judged(baseline, changed(rows(500, 3), name, change))
    assert told(verdict) == {(name, check, "broken")}
    assert verdict.broken and not verdict.drifting
    assert verdict.findings[0].feature == name and verdict.findings[0].reasons


def test_injected_faults_are_found_in_the_first_window() -> None:
    source = np.random.default_rng(6)
    baseline = trained(table(source, 5000))
    found = dict.fromkeys(FAULTS, 0)
    tried = dict(found)
    for fault, groups in FAULTS.items():
        for name, values in faulty(fault, table(source, 500)):
            tried[fault] += 1
            found[fault] += any(each.group in groups for each in of_column(baseline, name, values))
    assert all(tried.values())
    assert sum(found.values()) >= 0.97 * sum(tried.values()), {fault: (found[fault], tried[fault]) for fault in FAULTS}


# --- requests ---------------------------------------------------------------------------------------------------------


def test_a_column_that_upstream_adds_to_a_csv_is_told_of_though_no_row_can_be_read(baseline: Baseline) -> None:
    verdict = judged(baseline, [[*row, "new"] for row in rows(200, 3)])
    assert (verdict.status, verdict.rows) == ("violated", 0)
    assert told(verdict) == {("(request)", "data_type_check", "broken")}
    assert verdict.violations[0].description == (
        "200 of 200 rows cannot be read; rows have 5 values, there were 200 with 6"
    )


def test_few_requests_that_cannot_be_read_do_not_break_a_window(baseline: Baseline) -> None:
    lines = [capture(",".join(row)) for row in rows(500, 3)] + [b"{\n", b"no\n", capture("1,2")]
    window = profile(baseline.schema, lines)
    assert window.malformed == 3
    assert judge(baseline, window).status == "stable"


def test_columns_by_name_that_come_or_go_are_told_of(baseline: Baseline) -> None:
    lines = []
    for row in rows(200, 3):
        named = dict(zip(NAMES, row, strict=True)) | {"shoe_size": 42}
        del named["age"]
        lines.append(capture(json.dumps({"instances": [named]}), "JSON"))
    verdict = judge(baseline, profile(baseline.schema, lines))
    assert told(verdict) == {
        ("age", "missing_column_check", "broken"),
        ("shoe_size", "extra_column_check", "broken"),
    }


def test_encodings_may_be_mixed(baseline: Baseline) -> None:
    lines = []
    for i, row in enumerate(rows(300, 2)):
        text = ",".join(row)
        named = dict(zip(NAMES, row, strict=True))
        lines.append(
            [
                capture(text),
                capture(base64.b64encode(text.encode()).decode(), "BASE64"),
                capture(json.dumps({name: [value] for name, value in named.items()}), "JSON"),
            ][i % 3]
        )
    verdict = judge(baseline, profile(baseline.schema, [*lines, lines[0][:40]]))
    assert (verdict.status, verdict.rows) == ("stable", 300)


# --- columns that have little to tell ---------------------------------------------------------------------------------


def one_column(training: Sequence[str], window: Sequence[str], *, categorical: bool = False) -> Verdict:
    """What is said of a single column."""
    its = fit(["x"], [categorical], [[text] for text in training])
    return judge(its, profile(its.schema, [capture(f'"{text}"') for text in window]))


NUMBERS = [str(value) for value in np.random.default_rng(1).normal(50, 5, 1000)]


@pytest.mark.parametrize(
    "training, window, categorical, found",
    [
        (["7"] * 1000, ["7"] * 100, False, set()),
        (["7"] * 1000, ["7"] * 90 + ["8"] * 10, False, {("x", "baseline_drift_check", "broken")}),
        (["7"] * 1000, ["7"] * 99 + ["8"], False, set()),
        ([""] * 1000, [""] * 100, False, set()),
        ([""] * 1000, ["5"] * 100, False, {("x", "completeness_check", "drift")}),
        ([""] * 1000, ["red"] * 100, True, {("x", "completeness_check", "drift")}),
        (["a"] * 1000, ["a"] * 100, True, set()),
        (["a"] * 1000, ["a"] * 60 + ["b"] * 40, True, {("x", "categorical_values_check", "broken")}),
        (["a"] * 1000, [""] * 100, True, {("x", "completeness_check", "broken")}),
        (NUMBERS, [""] * 100, False, {("x", "completeness_check", "broken")}),
        (NUMBERS, ["nan"] * 100, False, {("x", "completeness_check", "broken")}),
        (NUMBERS, ["-inf"] * 100, False, {("x", "data_type_check", "broken")}),
        (NUMBERS, ["1e400"] * 100, False, {("x", "data_type_check", "broken")}),
        (NUMBERS, ["1e300"] * 100, False, {("x", "data_type_check", "broken")}),
        (NUMBERS, ["x" * 1000] * 100, False, {("x", "data_type_check", "broken")}),
        (NUMBERS, [str(float(text) / 100) for text in NUMBERS[:200]], False, {("x", "baseline_drift_check", "broken")}),
        (["a", "b"] * 500, ["a"] * 130 + ["b"] * 118 + ["c"] * 2, True, set()),
        (["1", "2", "3"] * 400, ["1.0", "2.0", "3.0"] * 100, True, set()),
        (["1.0", "2.0", "3.0"] * 400, ["1", "2", "3"] * 100, True, set()),
        ([str(2000 + i % 20) for i in range(1000)], [str(2001 + i % 20) for i in range(500)], False, set()),
        ([f"id-{i}" for i in range(5000)], [f"id-{i}" for i in range(7000, 8000)], True, set()),
        ([f"id-{i}" for i in range(5000)], ["id-7000"] * 200, True, {("x", "baseline_drift_check", "broken")}),
    ],
)  # fmt: skip
def test_columns_with_little_to_tell_have_a_defined_answer(
    training: Sequence[str], window: Sequence[str], categorical: bool, found: set[tuple[str, str, str]]
) -> None:
    verdict = one_column(training, window, categorical=categorical)
    assert told(verdict) == found
    assert all(np.isfinite([*verdict.findings[0].statistics.values()]))


ANYTHING = st.one_of(
    st.floats().map(repr), st.integers(-(10**30), 10**30).map(str), st.text(max_size=8), st.sampled_from(["", "NaN"])
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(ANYTHING, min_size=1, max_size=6),
    st.lists(ANYTHING, min_size=1, max_size=6),
    st.booleans(),
    st.integers(1, 60),
)
def test_no_column_raises(training: list[str], window: list[str], categorical: bool, times: int) -> None:
    its = fit(["x"], [categorical], [[text] for text in training * times])
    assert from_json(to_json(its)) == its
    seen_now = Profile.empty(its.schema)
    seen_now.columns["x"].add(window * 20)
    seen_now.rows = len(window) * 20
    for share in (None, 0.9):
        document = {"features": [{"name": "x", "inferred_type": "Unknown", "completeness": share}]}
        verdict = judge(with_constraints(its, document), seen_now)
        assert verdict.status in ("insufficient", "stable", "violated")
        assert all(np.isfinite(value) for each in verdict.findings for value in each.statistics.values())


# --- what a team says -------------------------------------------------------------------------------------------------


def constrained(baseline: Baseline, feature: Mapping[str, Any], **config: Any) -> Baseline:
    """The baseline under a constraints.json with one feature in it."""
    features = [{"inferred_type": "Fractional", **feature}]
    return with_constraints(baseline, {"version": 0.0, "features": features, "monitoring_config": config})


def test_a_completeness_that_a_team_asks_for_is_held_to(baseline: Baseline) -> None:
    holes = changed(rows(500, 3), "score", lambda value, i: "" if i % 10 == 0 else value)
    assert told(judged(baseline, holes)) == {("score", "completeness_check", "broken")}
    assert judged(constrained(baseline, {"name": "score", "completeness": 0.85}), holes).status == "stable"
    one = changed(rows(500, 3), "score", lambda value, i: "" if i == 10 else value)
    assert judged(baseline, one).status == "stable"
    strict = judged(constrained(baseline, {"name": "score", "completeness": 1.0}), one)
    assert told(strict) == {("score", "completeness_check", "broken")}
    assert "at least 100.0% have to be there" in strict.violations[0].description


def test_domains_that_a_team_allows_are_the_only_ones(baseline: Baseline) -> None:
    pink = changed(rows(500, 3), "colour", lambda value, i: "pink" if i % 8 == 0 else value)
    allowed = {"name": "colour", "string_constraints": {"domains": ["red", "green", "blue", "grey", "pink"]}}
    verdict = judged(constrained(baseline, allowed, domain_content_threshold=1.0), pink)
    # Allowed, but its share moved: from none to one in eight.
    assert told(verdict) == {("colour", "baseline_drift_check", "drift")}
    fewer = {"name": "colour", "string_constraints": {"domains": ["red", "green", "blue"]}}
    verdict = judged(constrained(baseline, fewer, domain_content_threshold=1.0), rows(500, 3))
    assert told(verdict) == {("colour", "categorical_values_check", "broken")}
    assert "the constraints do not allow" in verdict.violations[0].description
    assert judged(constrained(baseline, fewer, domain_content_threshold=0.8), rows(500, 3)).status == "stable"


def test_what_a_team_says_is_never_negative_never_is(baseline: Baseline) -> None:
    one = changed(rows(500, 3), "amount", lambda value, i: "-2" if i == 10 else value)
    assert judged(baseline, one).status == "stable"
    strict = constrained(baseline, {"name": "amount", "num_constraints": {"is_non_negative": True}})
    assert told(judged(strict, one)) == {("amount", "data_type_check", "broken")}
    free = constrained(baseline, {"name": "amount", "num_constraints": {"is_non_negative": False}})
    assert judged(free, one).status == "stable"


@pytest.mark.parametrize(
    "config, found",
    [
        ({"comparison_threshold": 0.1, "comparison_method": "Robust"}, True),
        ({"comparison_threshold": 0.2, "comparison_method": "Simple"}, True),
        ({"comparison_threshold": 0.2, "comparison_method": "Robust"}, False),
        ({"comparison_threshold": 0.3, "comparion_method": "Simple"}, False),
        ({"perform_comparison": "Disabled"}, False),
        ({"enable_comparisons": False}, False),
    ],
)
def test_a_comparison_is_as_a_team_sets_it(baseline: Baseline, config: Mapping[str, Any], found: bool) -> None:
    window = rows(500, 3, shift=0.6)  # its distance is 0.24
    moved = {("score", "baseline_drift_check", "drift")} if found else set()
    for own in (False, True):
        told_own = {"monitoringConfigOverrides": {"distribution_constraints": config}} if own else {}
        overall = {} if own else {"distribution_constraints": config}
        verdict = judged(constrained(baseline, {"name": "score", **told_own}, **overall), window)
        assert told(verdict) == moved


def test_categories_are_compared_as_a_team_sets_it(baseline: Baseline) -> None:
    window = changed(rows(500, 3), "flag", lambda value, i: "1" if i % 8 == 0 else value)  # 0.1 more
    for config, found in (
        ({"categorical_comparison_threshold": 0.05}, True),
        ({"categorical_comparison_threshold": 0.3}, False),
        ({"categorical_comparison_threshold": 0.05, "categorical_drift_method": "ChiSquared"}, True),
        ({"categorical_comparison_threshold": 1e-30, "categorical_drift_method": "ChiSquared"}, False),
    ):
        verdict = judged(constrained(baseline, {"name": "flag"}, distribution_constraints=config), window)
        assert bool(verdict.violations) is found


def test_checks_that_a_team_switches_off_are_off(baseline: Baseline) -> None:
    worst = [[*row[:2], "far" if i % 2 else "", "pink", row[4], "new"][:5] for i, row in enumerate(rows(500, 3))]
    assert {feature for feature, *_ in told(judged(baseline, worst))} == {"score", "colour"}
    off = constrained(baseline, {"name": "score"}, evaluate_constraints="Disabled")
    assert {group for *_, group in told(judged(off, worst))} <= {"drift"}
    assert judged(off, [[*row, "new"] for row in worst]).violations == ()
    one = constrained(baseline, {"name": "score", "monitoring_config_overrides": {"evaluate_constraints": "Disabled"}})
    assert {feature for feature, *_ in told(judged(one, worst))} == {"colour"}


# --- baselines --------------------------------------------------------------------------------------------------------


def test_a_baseline_is_the_same_when_it_is_read_again(baseline: Baseline) -> None:
    assert from_json(to_json(baseline)) == baseline
    assert (baseline.rows, baseline.quality) == (5000, {"accuracy": 0.8, "rows": 2000})
    assert [column.name for column in baseline.schema.outputs] == [PREDICTION]
    team = constrained(baseline, {"name": "score", "completeness": 0.5})
    assert from_json(to_json(team)) == team
    assert from_json(to_json(baseline), team.constraints.document) == team


def test_the_same_rows_give_the_same_baseline() -> None:
    assert to_json(fit(NAMES, CATEGORICAL, rows(300))) == to_json(fit(NAMES, CATEGORICAL, iter(rows(300))))


@pytest.mark.parametrize(
    "make, sentence",
    [
        (lambda: fit(NAMES, CATEGORICAL, []), "a baseline needs rows; there are none"),
        (lambda: fit(NAMES, CATEGORICAL, [["1", "2"]]), "row 1 of the baseline has 2 values, where 5 are expected"),
        (lambda: from_json("[]"), "this is not a baseline: list is no object"),
        (lambda: from_json("{}"), "this is neither a baseline nor a statistics.json"),
        (lambda: from_json('{"version": 1, "profile": "AAAA"}'), "this is no profile"),
        (lambda: from_json('{"features": [{}], "dataset": {"item_count": 1}}'), "this is no statistics.json"),
        (lambda: from_json("no"), "Expecting value"),
    ],
)
def test_what_is_no_baseline_is_refused_and_says_why(make: Callable[[], Baseline], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        make()


def test_a_column_with_more_values_than_are_kept_is_judged_by_those_it_knows() -> None:
    source = np.random.default_rng(8)
    shares = 1 / np.arange(1, 3001)

    def draw(count: int) -> list[str]:
        return [f"shop {i}" for i in source.choice(3000, count, p=shares / shares.sum())]

    training = draw(20_000)
    assert one_column(training, draw(3000), categorical=True).status == "stable"
    crowd = one_column(training, [*draw(2400), *["shop 5"] * 600], categorical=True)
    assert told(crowd) == {("x", "baseline_drift_check", "drift")}
    new = one_column(training, [*draw(2400), *[f"new {i}" for i in range(600)]], categorical=True)
    assert ("x", "categorical_values_check", "drift") in told(new)


def test_a_window_that_lacks_a_column_is_judged_by_the_others(baseline: Baseline) -> None:
    window = profile(baseline.schema, [capture(",".join(row)) for row in rows(200, 3)])
    del window.columns["age"]
    window.columns["score"] = Tally(baseline.schema.columns[2])
    assert isinstance(judge(baseline, window), Verdict)


def test_violations_say_what_model_monitors_say(baseline: Baseline) -> None:
    verdict = judged(baseline, changed(rows(500, 3), "score", lambda *_: ""))
    assert verdict.violations == (
        Violation("score", "completeness_check", "500 of 500 values are missing, 0.0% were in training", "broken"),
    )
