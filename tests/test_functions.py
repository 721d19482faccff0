"""The code that runs in AWS: features, training, serving, and the drift monitor."""

import base64
import csv
import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from moto import mock_aws
from scipy import special, stats  # type: ignore[import-untyped]  # scipy ships no types
from werkzeug.exceptions import BadRequest, UnsupportedMediaType

from functions.drift import core
from functions.drift.core import Finding, Histogram, compare, fit, from_json, observe, to_json
from functions.drift.handler import handler, metrics
from functions.employment import inference
from functions.employment.features import LABEL, SCHEMA
from functions.employment.gate import shortfalls
from infra.rehearsal.product import census
from infra.settings import ROOT

WORKER = "46,21,1,0,2,0,3,1,4,2,2,2,2,2,1,1"
SMALL = st.integers(min_value=-20, max_value=20)


# --- features ---------------------------------------------------------------------------------------------------------


def test_every_person_of_the_data_fits_the_schema() -> None:
    rows = [[row[name] for name in SCHEMA.names] for row in census("reference", 5000)]
    assert [problem for row in rows for problem in SCHEMA.problems(row)] == []


@pytest.mark.parametrize(
    "position, text, problem",
    [
        (0, "", "AGEP is missing"),
        (0, "old", "AGEP is 'old', which is no number"),
        (0, "-1", "AGEP is -1, which is not within 0 to 99"),
        (0, "nan", "AGEP is nan, which is not within 0 to 99"),
        (0, "inf", "AGEP is inf, which is not within 0 to 99"),
        (3, "18", "RELP is '18', which is none of its categories"),
    ],
)
def test_a_value_that_does_not_fit_is_named(position: int, text: str, problem: str) -> None:
    row = WORKER.split(",")
    row[position] = text
    assert list(SCHEMA.problems(row)) == [problem]


def test_a_row_of_the_wrong_length_is_refused() -> None:
    assert list(SCHEMA.problems(["1", "2"])) == ["2 values, where 16 features are expected"]


# --- training and serving ---------------------------------------------------------------------------------------------


def train(folder: Path, rows: Sequence[dict[str, str]], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the training script on these rows under SageMaker's contract, in `folder`."""
    for name in ("train", "model", "output"):
        (folder / name).mkdir()
    with (folder / "train/people.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]) if rows else ["id"])
        writer.writeheader()
        writer.writerows(rows)
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "SM_CHANNEL_TRAIN": str(folder / "train"),
        "SM_MODEL_DIR": str(folder / "model"),
        "SM_OUTPUT_DATA_DIR": str(folder / "output"),
    }
    script = [sys.executable, "-m", "functions.employment.train", *arguments]
    return subprocess.run(script, env=environment, cwd=folder, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a model was trained on 4,000 people."""
    folder = tmp_path_factory.mktemp("training")
    done = train(folder, list(census("reference", 4000)), "--max-iter", "30")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def model(trained: Path) -> Any:
    return inference.model_fn(str(trained / "model"))


def test_training_measures_the_model_on_people_it_has_not_seen(trained: Path) -> None:
    measured = json.loads((trained / "output/metrics.json").read_text())
    assert (measured["rows_trained"], measured["rows_held_out"]) == (3200, 800)
    assert measured["accuracy"] > 0.78
    assert measured["auc"] > 0.85
    assert 0 < measured["log_loss"] < 0.5


def test_training_writes_the_baseline_of_what_it_was_given(trained: Path) -> None:
    baseline = from_json((trained / "output/baseline.json").read_text())
    assert list(baseline) == list(SCHEMA.names)
    assert {histogram.total for histogram in baseline.values()} == {4000}


def test_training_twice_gives_the_same_model(trained: Path, model: Any, tmp_path: Path) -> None:
    assert train(tmp_path, list(census("reference", 4000)), "--max-iter", "30").returncode == 0
    people = inference.input_fn("\n".join(",".join(row) for row in analysis(200)), "text/csv")
    again = inference.model_fn(str(tmp_path / "model"))
    assert inference.predict_fn(people, model).tolist() == inference.predict_fn(people, again).tolist()


@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"AGEP": "old"}, "people.csv, line 3: AGEP is 'old', which is no number"),
        ({LABEL: "yes"}, "people.csv, line 3: employed is 'yes'; it is 0 or 1"),
    ],
)
def test_training_refuses_a_row_that_the_schema_does_not_allow(
    tmp_path: Path, change: dict[str, str], sentence: str
) -> None:
    first, second = census("reference", 2)
    done = train(tmp_path, [first, second | change])
    assert done.returncode != 0
    assert sentence in done.stderr


def test_training_without_rows_says_so(tmp_path: Path) -> None:
    done = train(tmp_path, [])
    assert done.returncode != 0
    assert "has no column" in done.stderr


def test_the_model_tells_a_worker_from_a_child(model: Any) -> None:
    child = "6,3,5,2,2,1,1,1,0,1,1,2,2,2,1,1"
    probabilities = inference.predict_fn(inference.input_fn(f"{WORKER}\n{child}\n", "text/csv"), model)
    assert probabilities[0] > 0.8
    assert probabilities[1] < 0.05


def test_csv_and_json_are_the_same_question() -> None:
    person = dict(zip(SCHEMA.names, WORKER.split(","), strict=True))
    numbers = {name: float(text) for name, text in person.items()}
    asked = [
        inference.input_fn(WORKER.encode(), "text/csv; charset=utf-8"),
        inference.input_fn(json.dumps({"instances": [person]}), "application/json"),
        inference.input_fn(json.dumps({"instances": [numbers]}), "application/json"),
    ]
    assert asked[0].shape == (1, 16)
    assert asked[0].tolist() == asked[1].tolist() == asked[2].tolist()


def test_a_missing_value_and_an_unknown_code_are_answered(model: Any) -> None:
    unknown = WORKER.split(",")
    unknown[0], unknown[3] = "", "99"
    data = inference.input_fn(",".join(unknown), "text/csv")
    assert np.isnan(data[0, [0, 3]]).all()
    assert 0 < inference.predict_fn(data, model)[0] < 1


@pytest.mark.parametrize(
    "body, content_type, sentence",
    [
        ("1,2,3", "text/csv", "row 1: 3 values, where 16 are expected: AGEP"),
        (f"{WORKER}\nold{WORKER[2:]}", "text/csv", "row 2: AGEP is 'old', which is no number"),
        (f"inf{WORKER[2:]}", "text/csv", "AGEP is 'inf', which is no number"),
        ("", "text/csv", "there is no row"),
        (b"\xff\xfe", "text/csv", "can't decode"),
        ("{", "application/json", "Expecting property name"),
        ("[1]", "application/json", '"instances"'),
        ('{"instances": [[1]]}', "application/json", '"instances"'),
        ('{"instances": [{"AGE": 4}]}', "application/json", "row 1: AGE: no such feature"),
        ("[" * 100_000, "application/json", "recursion"),
    ],
)
def test_what_cannot_be_read_is_the_clients_fault_and_says_why(
    body: str | bytes, content_type: str, sentence: str
) -> None:
    with pytest.raises(BadRequest) as refused:
        inference.input_fn(body, content_type)
    assert sentence in str(refused.value)


def test_another_content_type_is_refused() -> None:
    with pytest.raises(UnsupportedMediaType, match="send text/csv or application/json"):
        inference.input_fn(b"", "application/x-npy")


def test_answers_are_csv_or_json_that_says_which_version_gave_it(monkeypatch: pytest.MonkeyPatch) -> None:
    prediction = np.array([0.25, 1.0])
    monkeypatch.setenv("MODEL_VERSION", "3")
    assert inference.output_fn(prediction, "text/csv") == ("0.250000\n1.000000\n", "text/csv")
    told, kind = inference.output_fn(prediction, "application/json")
    assert (json.loads(told), kind) == ({"predictions": [0.25, 1.0], "model": "3"}, "application/json")


def test_the_gate_names_what_a_model_falls_short_of() -> None:
    assert shortfalls({"accuracy": 0.8, "auc": 0.88}) == []
    assert shortfalls({"accuracy": 0.7, "auc": float("nan")}) == [
        "accuracy is 0.700, less than 0.8",
        "auc is nan, less than 0.88",
    ]
    assert shortfalls({"accuracy": 0.9}) == ["auc was not measured"]


# --- drift: statistics ------------------------------------------------------------------------------------------------


@given(st.floats(min_value=0.01, max_value=300), st.integers(min_value=1, max_value=200))
def test_the_chi_square_tail_is_scipys(statistic: float, freedom: int) -> None:
    expected = stats.chi2.sf(statistic, freedom)
    assert core.chi_square_tail(statistic, freedom) == pytest.approx(expected, rel=1e-9, abs=1e-14)


@given(st.lists(st.tuples(st.integers(20, 5000), st.integers(20, 5000)), min_size=2, max_size=12))
def test_the_chi_square_test_is_scipys_where_no_code_is_rare(cells: list[tuple[int, int]]) -> None:
    counts = np.array(cells).T
    tested = stats.chi2_contingency(counts, correction=False)
    if tested.expected_freq.min() >= core.EXPECTED_AT_LEAST:
        assert core.chi_square(cells) == pytest.approx(tested.pvalue, rel=1e-7, abs=1e-14)


# Only its statistic is used, not its p-value.
@pytest.mark.filterwarnings("ignore:ks_2samp. Exact calculation unsuccessful")
@given(st.lists(SMALL, min_size=1, max_size=200), st.lists(SMALL, min_size=1, max_size=200))
def test_the_kolmogorov_distance_is_scipys_for_few_distinct_values(before: list[int], now: list[int]) -> None:
    histogram = fit(["x"], [False], [[str(value)] for value in before])["x"]
    seen = Counter(str(histogram.place(str(value))) for value in now if min(before) <= value <= max(before))
    inside = [value for value in now if min(before) <= value <= max(before)]
    if inside and len(before) <= core.QUANTILES:
        expected = stats.ks_2samp(before, inside).statistic
        assert core.kolmogorov_distance(histogram.cells(seen)) == pytest.approx(expected)


def test_the_kolmogorov_distance_is_near_scipys_for_many_distinct_values() -> None:
    source = np.random.default_rng(3)
    for shift in (0.0, 0.3, 1.5):
        before, now = source.lognormal(size=20_000), source.lognormal(shift, size=2000)
        histogram = fit(["x"], [False], [[repr(value)] for value in before.tolist()])["x"]
        seen = Counter(str(histogram.place(repr(value))) for value in now.tolist())
        expected = stats.ks_2samp(before, now).statistic
        assert core.kolmogorov_distance(histogram.cells(seen)) == pytest.approx(expected, abs=1 / core.QUANTILES)


@given(st.floats(min_value=0, max_value=1), st.integers(20, 10**6), st.integers(20, 10**6))
def test_the_kolmogorov_p_value_is_its_limits_for_large_samples(distance: float, first: int, second: int) -> None:
    size = np.sqrt(first * second / (first + second))
    limit = special.kolmogorov((size + 0.12 + 0.11 / size) * distance)
    assert core.kolmogorov_p(distance, first, second) == pytest.approx(limit, abs=1e-12)


def test_the_kolmogorov_p_value_is_near_the_exact_one() -> None:
    exact = stats.kstwo.sf(0.1, round(60_000 * 500 / 60_500))
    assert core.kolmogorov_p(0.1, 60_000, 500) == pytest.approx(exact, rel=0.05)


@given(st.integers(0, 400), st.integers(400, 1000), st.integers(0, 400), st.integers(400, 1000))
def test_two_shares_are_told_apart_as_a_chi_square_test_tells_them(a: int, n: int, b: int, m: int) -> None:
    tested = core.shares_p(a, n, b, m)
    if a + b == 0 or a + b == n + m:
        assert tested == 1
    else:
        expected = stats.chi2_contingency([[a, n - a], [b, m - b]], correction=False).pvalue
        assert tested == pytest.approx(expected, rel=1e-7, abs=1e-14)


@given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 500)), min_size=1, max_size=200), st.integers(1, 20))
def test_pooling_loses_nobody(cells: list[tuple[int, int]], bins: int) -> None:
    groups = core.pooled(cells, bins)
    assert [sum(column) for column in zip(*groups, strict=True)] == [sum(column) for column in zip(*cells, strict=True)]
    assert len(groups) <= bins + (sum(before for before, _ in cells) == 0) * len(cells)


def test_the_stability_index_is_zero_for_the_same_and_grows_with_the_distance() -> None:
    same, slight, strong = ([(5000, 500), (5000, 500)], [(5000, 400), (5000, 600)], [(5000, 100), (5000, 900)])
    assert core.stability_index(same) == 0
    assert 0 < core.stability_index(slight) < 0.2 < core.stability_index(strong)


def test_small_windows_do_not_look_unstable_by_chance() -> None:
    source = np.random.default_rng(4)
    windows = source.multinomial(100, [0.1] * 10, size=200)
    indices = [core.stability_index([(1000, int(count)) for count in window]) for window in windows]
    assert sum(indices) / len(indices) < 0.03  # 0.1, were chance not taken off


# --- drift: windows ---------------------------------------------------------------------------------------------------


def people(part: str, count: int, start: int = 0) -> list[list[str]]:
    rows = [[row[name] for name in SCHEMA.names] for row in census(part, start + count)]
    return rows[start:]


def analysis(count: int) -> list[list[str]]:
    return people("analysis", count)


def captured(data: str, encoding: str = "CSV") -> str:
    """A line of data capture."""
    asked = {"observedContentType": "text/csv", "mode": "INPUT", "data": data, "encoding": encoding}
    answered = {"observedContentType": "text/csv", "mode": "OUTPUT", "data": "0.5", "encoding": "CSV"}
    about = {"eventId": "e", "inferenceTime": "2026-01-01T00:00:00Z"}
    record = {"captureData": {"endpointInput": asked, "endpointOutput": answered}, "eventMetadata": about}
    return json.dumps({**record, "eventVersion": "0"})


def captures(rows: Sequence[Sequence[str]], rows_a_request: int = 20) -> Iterator[str]:
    for start in range(0, len(rows), rows_a_request):
        yield captured("".join(",".join(row) + "\n" for row in rows[start : start + rows_a_request]))


def found(baseline: core.Baseline, rows: Sequence[Sequence[str]]) -> dict[str, Finding]:
    """What has drifted in these rows."""
    window = observe(baseline, captures(rows))
    return {finding.feature: finding for finding in compare(baseline, window) if finding.reasons}


@pytest.fixture(scope="module")
def baseline() -> dict[str, Histogram]:
    """Of 40,000 people of 2015."""
    return fit(SCHEMA.names, [feature.is_categorical for feature in SCHEMA.features], people("reference", 40_000))


@pytest.fixture(scope="module")
def others() -> list[list[str]]:
    """20,000 more people of 2015."""
    return people("reference", 20_000, 40_000)


def test_a_baseline_survives_being_written(baseline: dict[str, Histogram]) -> None:
    assert from_json(to_json(baseline)) == baseline


@pytest.mark.parametrize("text", ["{}", "[]", '{"x": 1}', '{"x": {"counts": {}}}', "no JSON"])
def test_what_is_no_baseline_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        from_json(text)


def test_the_first_people_of_2016_have_not_drifted(baseline: dict[str, Histogram]) -> None:
    rows = analysis(4000)
    assert [found(baseline, rows[start : start + 2000]) for start in (0, 2000)] == [{}, {}]


def test_the_people_of_2017_that_are_known_to_differ_have_drifted(baseline: dict[str, Histogram]) -> None:
    """Many of the tenth chunk of 15,000 rows live in group quarters. The model's accuracy is 0.79 on it, not 0.83."""
    drifted = found(baseline, people("analysis", 15_000, 9 * 15_000)[::7])
    assert {"RELP", "MAR", "AGEP", "MIG", "DIS"} <= drifted.keys()
    assert drifted["RELP"].distance == pytest.approx(0.36, abs=0.04)


@pytest.mark.parametrize("size", [50, 500, 2000])
def test_windows_without_drift_raise_no_alarm_but_by_chance(
    baseline: dict[str, Histogram], others: list[list[str]], size: int
) -> None:
    source = random.Random(size)
    windows = [found(baseline, source.sample(others, size)) for _ in range(50)]
    assert sum(map(bool, windows)) <= 3  # 1 to 2 % are to be expected


INJECTED: dict[str, tuple[str, Callable[[int, str], str]]] = {
    "one in five goes missing": ("AGEP", lambda i, text: "" if i % 5 == 0 else text),
    "all go missing": ("AGEP", lambda i, text: "nan"),
    "another unit": ("AGEP", lambda i, text: str(float(text) * 12)),
    "a shift": ("AGEP", lambda i, text: str(float(text) + 12)),
    "stuck": ("AGEP", lambda i, text: "40"),
    "below all that was seen": ("AGEP", lambda i, text: "-5" if i % 20 == 0 else text),
    "text for numbers": ("AGEP", lambda i, text: "old" if i % 20 == 0 else text),
    "a new code": ("RELP", lambda i, text: "18" if i % 20 == 0 else text),
    "a code swapped": ("SEX", lambda i, text: "1" if i % 3 else text),
    "codes go missing": ("SEX", lambda i, text: "" if i % 5 == 0 else text),
}


@pytest.mark.parametrize("fault", INJECTED)
def test_a_fault_of_one_feature_is_found_in_500_rows(
    baseline: dict[str, Histogram], others: list[list[str]], fault: str
) -> None:
    name, change = INJECTED[fault]
    position = SCHEMA.names.index(name)
    rows = [list(row) for row in others[:500]]
    for i, row in enumerate(rows):
        row[position] = change(i, row[position])
    assert name in found(baseline, rows)


def test_one_absurd_value_hides_nothing_and_alarms_nobody(
    baseline: dict[str, Histogram], others: list[list[str]]
) -> None:
    rows = [list(row) for row in others[:500]]
    rows[0][0] = "1e300"
    assert found(baseline, rows) == {}
    older = [[str(float(row[0]) + 20), *row[1:]] for row in rows]
    assert found(baseline, older).keys() == {"AGEP"}


def test_a_constant_that_changes_has_drifted() -> None:
    baseline = fit(["x"], [False], [["5"]] * 1000)
    assert found(baseline, [["5"]] * 100) == {}
    assert "x" in found(baseline, [["6"]] * 100)
    assert "x" in found(baseline, [["4"]] * 100)


def test_a_feature_that_training_never_saw_filled_is_noticed_when_it_is() -> None:
    baseline = fit(["x", "y"], [False, True], [["", ""]] * 1000)
    assert found(baseline, [["", ""]] * 100) == {}
    assert found(baseline, [["1", "a"]] * 100).keys() == {"x", "y"}


def test_a_small_window_is_not_judged(baseline: dict[str, Histogram]) -> None:
    rows = [["" for _ in SCHEMA.names]] * core.FEWEST_ROWS
    assert compare(baseline, observe(baseline, captures(rows[1:]))) == []
    assert len(compare(baseline, observe(baseline, captures(rows)))) == 16


def test_a_code_may_be_written_as_a_float(baseline: dict[str, Histogram], others: list[list[str]]) -> None:
    assert found(baseline, [[f"{float(text):.1f}" for text in row] for row in others[:2000]]) == {}


def test_values_without_end_do_not_take_memory_without_end() -> None:
    baseline = fit(["x", "y"], [True, False], [["a", "1"]] * 100)
    window = observe(baseline, captures([[f"new {i}", f"text {i}"] for i in range(5000)]))
    assert all(len(counts) <= core.MOST_CODES + 1 for counts in window.counts.values())
    assert [counts.total() for counts in window.counts.values()] == [5000, 5000]


def test_a_baseline_needs_rows_and_numbers() -> None:
    with pytest.raises(ValueError, match="a baseline needs rows"):
        fit(["x"], [False], [])
    with pytest.raises(ValueError, match="'old'"):
        fit(["x"], [False], [["old"]])


TWO = fit(["a", "b"], [False, True], [["1", "x"], ["2", "y"]])


@pytest.mark.parametrize(
    "line, rows",
    [
        (captured("1,x\n2,y\n"), [["1", "x"], ["2", "y"]]),
        (captured('"1","x"'), [["1", "x"]]),
        (captured('{"instances": [{"a": 1, "b": "x"}, {"b": "y"}]}', "JSON"), [["1", "x"], ["", "y"]]),
        (captured('{"a": 1, "b": "x", "c": 3}', "JSON"), [["1", "x"]]),
        (captured('{"a": [1, 2], "b": ["x"]}', "JSON"), [["1", "x"], ["2", ""]]),
        (captured('[[1, "x"], [null, "y"]]', "JSON"), [["1", "x"], ["", "y"]]),
        (captured('[1, "x"]', "JSON"), [["1", "x"]]),
        (captured(base64.b64encode(b"1,x").decode(), "BASE64"), [["1", "x"]]),
        (captured(base64.b64encode(b' {"a": 1, "b": "x"}').decode(), "BASE64"), [["1", "x"]]),
    ],
)
def test_every_form_of_request_is_read(line: str, rows: list[list[str]]) -> None:
    assert list(core.payload_rows(line, ["a", "b"])) == rows
    assert observe(TWO, [line, line.encode()]).rows == 2 * len(rows)


@pytest.mark.parametrize(
    "line",
    [
        "no JSON",
        b"\xff\xff",
        '{"captureData": {"endpoin',
        "[]",
        "1",
        '{"captureData": {"endpointOutput": {}}}',
        '{"captureData": {"endpointInput": "text"}}',
        captured("1"),
        captured("1,x,2"),
        captured("1,x", "AVRO"),
        captured('{"instances": {}}', "JSON"),
        captured('[[1, "x"], "ab"]', "JSON"),
        captured("no base64", "BASE64"),
        captured(base64.b64encode(b"\xff").decode(), "BASE64"),
        captured("{", "JSON"),
        captured("5", "JSON"),
        captured('"ab"', "JSON"),
        captured("null", "JSON"),
        captured('{"instances": 5}', "JSON"),
        captured("[" * 100_000, "JSON"),
        captured('"' + "x" * 200_000),
    ],
)
def test_what_cannot_be_read_is_counted_and_does_no_harm(line: str | bytes) -> None:
    window = observe(TWO, [captured("1,x"), line, captured("2,y")])
    assert (window.rows, window.malformed) == (2, 1)


VALUES = st.none() | st.booleans() | st.floats() | st.text()
PAYLOADS = st.recursive(
    VALUES, lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["a", "b", "instances"]), inner)
)


@given(PAYLOADS)
def test_no_payload_ends_the_monitor(payload: Any) -> None:
    window = observe(TWO, [captured(json.dumps(payload), "JSON"), captured(str(payload)), json.dumps(payload)])
    assert window.malformed >= 1


@given(st.lists(st.lists(st.text(max_size=5), min_size=2, max_size=2), min_size=50, max_size=60))
def test_no_values_end_the_comparison(rows: list[list[str]]) -> None:
    line = captured(json.dumps(rows), "JSON")
    findings = compare(TWO, observe(TWO, [line]))
    assert {finding.feature for finding in findings} == {"a", "b"}
    for finding in findings:
        assert 0 <= finding.distance <= 1
        assert 0 <= finding.p_value <= 1
        assert 0 <= finding.psi < float("inf")


@settings(max_examples=25)
@given(st.integers(1, 400), st.randoms(use_true_random=False))
def test_how_rows_are_spread_over_requests_does_not_matter(rows_a_request: int, source: random.Random) -> None:
    rows = [[str(source.randint(0, 5)), source.choice("xyz")] for _ in range(400)]
    one_by_one = observe(TWO, captures(rows, 1))
    source.shuffle(rows)
    assert observe(TWO, captures(rows, rows_a_request)) == one_by_one


# --- drift: the Lambda ------------------------------------------------------------------------------------------------

BUCKET = "lake"
EVENT = {
    "endpoint": "employment",
    "variant": "live",
    "captures": f"s3://{BUCKET}/captures/",
    "reports": f"s3://{BUCKET}/reports/",
}


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket=BUCKET)
        yield client


@pytest.fixture
def event(s3: Any, baseline: dict[str, Histogram]) -> dict[str, str]:
    """What the schedule hands over, for a version that was registered with the baseline."""
    s3.put_object(Bucket=BUCKET, Key="baseline.json", Body=to_json(baseline))
    statistics = {"ContentType": "application/json", "S3Uri": f"s3://{BUCKET}/baseline.json"}
    return {**EVENT, "model_package_arn": register({"ModelDataQuality": {"Statistics": statistics}})}


def register(baselines: dict[str, Any]) -> str:
    sagemaker = boto3.client("sagemaker", region_name="us-east-1")
    sagemaker.create_model_package_group(ModelPackageGroupName="employment")
    arn: str = sagemaker.create_model_package(
        ModelPackageGroupName="employment",
        InferenceSpecification={"Containers": [{"Image": "image"}]},
        DriftCheckBaselines=baselines,
    )["ModelPackageArn"]
    return arn


def capture(s3: Any, rows: Sequence[Sequence[str]], hours_ago: float = 0, name: str = "a") -> None:
    """Put rows where SageMaker puts what was asked that long ago, written now."""
    when = datetime.now(UTC) - timedelta(hours=hours_ago)
    key = f"captures/employment/live/{when:%Y/%m/%d/%H/%M-%S}-{name}.jsonl"
    s3.put_object(Bucket=BUCKET, Key=key, Body="\n".join(captures(rows)) + "\n")


def report_in(s3: Any) -> dict[str, Any]:
    [only] = s3.list_objects_v2(Bucket=BUCKET, Prefix="reports/employment/")["Contents"]
    report: dict[str, Any] = json.load(s3.get_object(Bucket=BUCKET, Key=only["Key"])["Body"])
    return report


def test_the_monitor_reports_what_has_not_drifted(s3: Any, event: dict[str, str], others: list[list[str]]) -> None:
    capture(s3, others[:300], name="a")
    capture(s3, others[300:500], name="b")
    returned = handler(event, None)
    assert returned == report_in(s3) | {"features": returned["features"]}
    assert (returned["status"], returned["rows"], returned["drifted_features"]) == ("stable", 500, 0)


def test_the_monitor_reports_and_measures_drift(
    s3: Any, event: dict[str, str], others: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    capture(s3, [["", *row[1:]] for row in others[:500]])
    handler(event, None)
    report = report_in(s3)
    assert (report["status"], report["drifted_features"]) == ("drifted", 1)
    assert report["features"][0]["feature"] == "AGEP"
    assert report["features"][0]["reasons"] == ["500 of 500 values are missing, 0.0% were in training"]
    line = json.loads(capsys.readouterr().out)
    [declared] = line["_aws"]["CloudWatchMetrics"]
    assert (declared["Namespace"], declared["Dimensions"]) == ("Slipway/Drift", [["endpoint"]])
    assert {name["Name"] for name in declared["Metrics"]} == {"rows", "malformed", "drifted_features", "max_psi"}
    assert (line["endpoint"], line["drifted_features"], line["rows"]) == ("employment", 1, 500)


def test_a_window_too_small_measures_its_size_and_nothing_else(s3: Any, event: dict[str, str]) -> None:
    report = handler(event, None)
    assert (report["status"], report["rows"]) == ("insufficient", 0)
    line = json.loads(metrics(report))
    assert line["rows"] == 0
    assert "drifted_features" not in line


def test_requests_that_were_written_up_to_an_hour_late_are_read(
    s3: Any, event: dict[str, str], others: list[list[str]]
) -> None:
    for hours_ago in (1, 2, 4, 30):
        capture(s3, others[:100], hours_ago)
    assert handler(event, None)["rows"] == 200


def test_captures_of_other_variants_are_not_read(s3: Any, event: dict[str, str], others: list[list[str]]) -> None:
    capture(s3, others[:100])
    assert handler({**event, "variant": "shadow"}, None)["rows"] == 0


def test_a_version_without_a_baseline_is_refused(s3: Any) -> None:
    with pytest.raises(ValueError, match="register it with the baseline that training wrote"):
        handler({**EVENT, "model_package_arn": register({})}, None)


def test_the_monitor_needs_nothing_but_boto3() -> None:
    script = """
import sys, boto3
before = set(sys.modules)
import functions.drift.handler
print(*{name.partition(".")[0] for name in sys.modules.keys() - before} - sys.stdlib_module_names)
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert done.stdout.split() == ["functions"], done.stderr
