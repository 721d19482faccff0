"""Model quality from labels that come late: the figures, the joining, Model Monitor's files, and the Lambda."""

import json
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import reduce
from types import SimpleNamespace
from typing import Any

import boto3
import numpy as np
import pytest
from botocore.exceptions import ClientError
from hypothesis import given, settings
from hypothesis import strategies as st
from moto import mock_aws
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, brier_score_loss, confusion_matrix, roc_auc_score

from functions import ledger
from functions.monitoring import windows
from functions.monitoring.capture import Record
from functions.monitoring.quality import ALPHA, CELLS, Quality, compare, hanley_mcneil, measured, wilson
from functions.monitoring.windows import Found, State
from functions.quality_monitor import formats
from functions.quality_monitor.core import UNKNOWN_DAYS, Join, Window, identity, labels_of, probabilities_of
from functions.quality_monitor.handler import handler
from functions.quality_monitor.verdict import Rules, judge

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)

# --- figures ----------------------------------------------------------------------------------------------------------

probabilities = st.floats(0, 1) | st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])
labelled = st.lists(st.tuples(probabilities, st.integers(0, 1)), min_size=1, max_size=60)


def quality(rows: Sequence[tuple[float, int]], threshold: float = 0.5) -> Quality:
    made = Quality(threshold)
    for probability, label in rows:
        made.add(probability, label)
    return made


@settings(max_examples=50, deadline=None)
@given(labelled, st.sampled_from([0.5, 0.3, 0.123456]))
def test_figures_agree_with_scikit_learn(rows: list[tuple[float, int]], threshold: float) -> None:
    given_, truth = [p for p, _ in rows], [label for _, label in rows]
    said = [int(p > threshold) for p in given_]
    found = quality(rows, threshold).figures()
    assert found["accuracy"] == accuracy_score(truth, said)
    assert found["brier"] == pytest.approx(brier_score_loss(truth, given_), abs=2**-16)
    (tn, fp), (fn, tp) = confusion_matrix(truth, said, labels=[0, 1]).tolist()
    assert found["false_positive_rate"] == (fp / (fp + tn) if fp + tn else None)
    assert found["false_negative_rate"] == (fn / (fn + tp) if fn + tp else None)
    if len({*truth}) == 1:
        assert found["auc"] is None
    else:
        # What the cells do not tell apart is the error that is stated.
        assert abs(found["auc"] - roc_auc_score(truth, given_)) <= found["auc_error"] + 1e-12


@settings(max_examples=40, deadline=None)
@given(labelled)
def test_the_stated_error_of_the_auc_holds_for_the_coarsest_rows(rows: list[tuple[float, int]]) -> None:
    """All in few cells, so that the bound is large, and of rows that differ by less than a cell."""
    near = [(0.5 + probability / CELLS / 2, label) for probability, label in rows]
    found, truth = quality(near).figures(), [label for _, label in near]
    if 0 < sum(truth) < len(truth):
        assert found["auc_error"] == 0.5
        assert abs(found["auc"] - roc_auc_score(truth, [p for p, _ in near])) <= 0.5


@settings(max_examples=40, deadline=None)
@given(labelled)
def test_the_error_of_the_auc_is_that_of_delong(rows: list[tuple[float, int]]) -> None:
    rows = [(round(probability * 8) / 8, label) for probability, label in rows]
    ups = np.array([p for p, label in rows if label])
    downs = np.array([p for p, label in rows if not label])
    if min(len(ups), len(downs)) < 2:
        return
    order = (ups[:, None] > downs).astype(float) + 0.5 * (ups[:, None] == downs)
    variance = order.mean(1).var(ddof=1) / len(ups) + order.mean(0).var(ddof=1) / len(downs)
    assert quality(rows).figures()["auc_deviation"] == pytest.approx(variance**0.5, abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.lists(labelled, min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_parts_add_up_to_the_whole_in_any_order(parts: list[list[tuple[float, int]]], source: random.Random) -> None:
    whole = quality([row for part in parts for row in part])
    source.shuffle(parts)
    stored = [Quality.from_dict(json.loads(json.dumps(quality(part).to_dict()))) for part in parts]
    merged = reduce(Quality.merge, stored)
    assert merged == whole
    assert merged.figures() == whole.figures()
    assert json.dumps(merged.to_dict()) == json.dumps(whole.to_dict())


def test_rows_of_different_thresholds_are_not_put_together() -> None:
    with pytest.raises(ValueError, match=r"judged at 0\.5 and at 0\.4"):
        Quality(0.5).merge(Quality(0.4))


@pytest.mark.parametrize("probability, label", [(1.01, 1), (-0.01, 0), (float("nan"), 1), (0.5, 2)])
def test_what_is_no_probability_or_label_is_refused(probability: float, label: int) -> None:
    with pytest.raises(ValueError, match="is no"):
        Quality().add(probability, label)


def people(
    source: np.random.Generator, rows: int, *, flipped: float = 0.0, bias: float = 0.0
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Probabilities of a well calibrated model, and labels; some of them flipped, or fewer of them positive."""
    said = source.beta(2, 1.5, rows)
    truth = (source.random(rows) < np.clip(said - bias, 0, 1)).astype(int)
    return said, np.where(source.random(rows) < flipped, 1 - truth, truth)


@pytest.mark.parametrize("rows, windows", [(50, 200), (500, 200), (2000, 100)])
def test_a_model_as_good_as_ever_is_hardly_ever_called_worse(rows: int, windows: int) -> None:
    source = np.random.default_rng(rows)
    baseline = measured(*people(source, 15_000))
    worse = sum(
        any(each.is_worse for each in compare(baseline, measured(*people(source, rows)))) for _ in range(windows)
    )
    # Each is wrongly called worse with a chance of ALPHA: that more than 7 of 200 are has one of 0.1 %.
    assert worse <= 7, f"{worse} of {windows}, where {ALPHA:.0%} are allowed"


@pytest.mark.parametrize(
    "rows, changed, shows", [(500, {"flipped": 0.3}, "accuracy"), (1500, {"bias": 0.1}, "calibration_error")]
)
def test_a_model_that_got_worse_is_found(rows: int, changed: dict[str, float], shows: str) -> None:
    source = np.random.default_rng(7)
    baseline = measured(*people(source, 15_000))
    found = [
        {each.metric for each in compare(baseline, measured(*people(source, rows, **changed))) if each.is_worse}
        for _ in range(30)
    ]
    assert sum(shows in each for each in found) >= 29


def test_better_is_never_worse_and_a_small_fall_does_not_matter() -> None:
    source = np.random.default_rng(3)
    bad, good = measured(*people(source, 20_000, flipped=0.1)), measured(*people(source, 20_000))
    assert not [each for each in compare(bad, good) if each.is_worse]
    assert {each.metric for each in compare(good, bad) if each.is_worse} >= {"accuracy", "auc"}
    floors = dict.fromkeys(good, 0.5)
    assert not [each for each in compare(good, bad, floors) if each.is_worse]


def test_an_older_baseline_is_compared_by_what_it_tells() -> None:
    source = np.random.default_rng(4)
    now = measured(*people(source, 2000, flipped=0.2))
    told = {"rows": 5000, "positives": 2900, "accuracy": 0.71, "auc": 0.78}
    found = compare(told, now)
    assert {each.metric for each in found} == {"accuracy", "auc"}
    assert all(each.is_worse for each in found)
    assert hanley_mcneil(0.78, 2900, 2100) == pytest.approx(0.0064, abs=2e-4)


def test_wilsons_interval_is_the_published_one() -> None:
    """Newcombe (1998), table I: 81 of 263, at 95 %."""
    assert wilson(81 / 263, 263, 1.959964) == pytest.approx((0.2553, 0.3662), abs=1e-4)


# --- ground truth -----------------------------------------------------------------------------------------------------


def line(event: str, data: Any, encoding: str = "CSV") -> str:
    return json.dumps(
        {
            "groundTruthData": {"data": data, "encoding": encoding},
            "eventMetadata": {"eventId": event},
            "eventVersion": "0",
        }
    )


@pytest.mark.parametrize(
    "told, labels",
    [
        (line("a", "1"), [1]),
        (line("a", "1\n0\n1\n"), [1, 0, 1]),
        (line("a", "1,0"), [1, 0]),
        (line("a", "1.0"), [1]),
        (line("a", "[1, 0, null]", "JSON"), [1, 0, None]),
        (line("a", '{"labels": [true, false]}', "JSON"), [1, 0]),
        (line("a", "0", "JSON"), [0]),
        (line("a", "MQowCg==", "BASE64"), [1, 0]),
    ],
)
def test_ground_truth_is_read(told: str, labels: list[int | None]) -> None:
    assert labels_of(told) == ("a", labels)


@pytest.mark.parametrize(
    "told",
    [
        "",
        "{",
        "[]",
        "null",
        line("a", "2"),
        line("a", "yes"),
        line("a", ""),
        line("", "1"),
        line("a", "###", "BASE64"),
        line("a", "{}", "JSON")[:-1],
        json.dumps({"groundTruthData": {"data": "1", "encoding": "CSV"}}),
        json.dumps({"groundTruthData": [], "eventMetadata": {"eventId": "a"}}),
    ],
)
def test_what_is_no_ground_truth_is_told_so(told: str) -> None:
    with pytest.raises(ValueError):
        labels_of(told)


@settings(max_examples=60, deadline=None)
@given(st.text() | st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists).map(json.dumps))
def test_no_line_of_ground_truth_raises_anything_else(told: str) -> None:
    for text in (told, line("a", told), line("a", told, "JSON"), line("a", told, "BASE64")):
        with suppress(ValueError):
            labels_of(text)


@pytest.mark.parametrize("outputs", [[[0.25]], [["0.25"]], [0.25], [{"probability": 0.25, "label": "0"}]])
def test_an_answer_is_a_probability_in_several_forms(outputs: list[Any]) -> None:
    assert probabilities_of(Record("e", None, None, [[1]], outputs)) == [0.25]


@pytest.mark.parametrize("outputs", [[["yes"]], [[1.5]], [["nan"]], [[]], [[0.1, 0.9]], [None], [{"label": 1}]])
def test_an_answer_that_is_no_probability_is_told_so(outputs: list[Any]) -> None:
    with pytest.raises(ValueError, match="probability"):
        probabilities_of(Record("e", None, None, [[1]], outputs))


# --- joining ----------------------------------------------------------------------------------------------------------


def threshold(_package: str) -> float:
    return 0.5


def join(most: int = 10_000, days: int = 30) -> Join:
    return Join(days, most)


events = st.lists(
    st.tuples(
        st.sampled_from("abcdefgh"),
        st.lists(st.tuples(st.sampled_from([0.1, 0.4, 0.9]), st.sampled_from([0, 1, None])), min_size=1, max_size=3),
        st.sampled_from(["v1", "v2"]),
    ),
    max_size=8,
    unique_by=lambda event: event[0],
)


@settings(max_examples=60, deadline=None)
@given(events, st.integers(0, 3), st.randoms(use_true_random=False))
def test_order_and_runs_do_not_matter(
    told: list[tuple[str, list[tuple[float, int | None]], str]], repeats: int, source: random.Random
) -> None:
    """Whatever comes first, twice, or in another run: the rows that predictions and labels make are the same."""
    steps: list[tuple[str, Any]] = [("ask", event) for event in told]
    steps += [("tell", event) for event in told for _ in range(1 + repeats)]
    steps += [("ask", event) for event in told[:repeats]]
    source.shuffle(steps)
    state = join()
    for kind, (name, rows, package) in steps:
        if kind == "ask":
            state.ask(name, NOW, package, [p for p, _ in rows], threshold)
        else:
            state.tell(name, NOW, [label for _, label in rows], threshold)
        if source.random() < 0.3:  # the run ends here, and the next carries on
            state = Join.from_text(state.to_text(), state.days, state.most)
            state.forget(NOW)
    expected = {package: quality([]) for package in ("v1", "v2")}
    for _, rows, package in told:
        for probability, label in rows:
            if label is not None:
                expected[package].add(probability, label)
    found = {package: window.quality for package, window in state.windows.items() if window.quality.rows}
    assert found == {package: each for package, each in expected.items() if each.rows}
    assert not state.predictions and not state.labels


def test_a_label_counts_once_and_a_changed_one_does_not() -> None:
    state = join()
    state.ask("a", NOW, "v1", [0.9], threshold)
    for label in (1, 1, 0):
        state.tell("a", NOW + timedelta(days=3), [label], threshold)
    assert (state.counts.joined, state.counts.labels_repeated) == (1, 2)
    assert state.windows["v1"].quality == quality([(0.9, 1)])
    assert state.windows["v1"].median_delay() == 72


def test_labels_that_do_not_fit_leave_the_request_waiting_for_those_that_do() -> None:
    state = join()
    state.ask("a", NOW, "v1", [0.9, 0.1], threshold)
    state.tell("a", NOW, [1], threshold)
    assert (state.counts.labels_misfit, state.counts.joined) == (1, 0)
    state.tell("a", NOW, [1, 0], threshold)
    assert state.counts.joined == 1


def test_what_never_meets_is_given_up_in_its_time() -> None:
    state = join(days=7)
    state.ask("asked", NOW, "v1", [0.9], threshold)
    state.tell("unknown", NOW, [1], threshold)
    state.forget(NOW + timedelta(days=UNKNOWN_DAYS, minutes=-1))
    assert (len(state.predictions), len(state.labels)) == (1, 1)
    state.forget(NOW + timedelta(days=UNKNOWN_DAYS, minutes=1))
    assert (len(state.predictions), len(state.labels), state.counts.labels_unknown) == (1, 0, 1)
    state.forget(NOW + timedelta(days=7, minutes=1))
    assert (len(state.predictions), state.counts.never_labelled) == (0, 1)


def test_what_waits_is_bounded_and_stays_a_fair_sample() -> None:
    source = random.Random(1)
    state, most, events_ = join(most=1000), 1000, [f"request-{number}" for number in range(20_000)]
    for start in range(0, len(events_), 2000):
        for event in events_[start : start + 2000]:
            state.ask(event, NOW, "v1", [source.random()], threshold)
        state.forget(NOW)
        assert state.held() <= most
        state = Join.from_text(state.to_text(), 30, most)
    kept = len(state.predictions)
    assert most / 4 <= kept <= most
    # Labels of all: exactly those of the kept are joined, for both go by the same hash.
    for event in events_:
        state.tell(event, NOW, [int(source.random() < 0.5)], threshold)
    assert (state.counts.joined, len(state.labels)) == (kept, 0)
    said = [(cell + 0.5) / CELLS for cell in state.windows["v1"].quality.positives.elements()]
    assert np.mean(said) == pytest.approx(0.5, abs=0.06)


def test_the_share_that_is_kept_grows_again_when_less_is_asked() -> None:
    state = join(most=100)
    for number in range(1000):
        state.ask(f"r{number}", NOW, "v1", [0.5], threshold)
    state.forget(NOW)
    halvings = state.halvings
    assert halvings >= 3
    state.forget(NOW + timedelta(days=31))
    assert (state.halvings, state.held()) == (halvings - 1, 0)


def test_coverage_is_that_of_the_hours_in_question() -> None:
    state = join()
    for hour, (asked, labelled_) in enumerate([(10, 10), (10, 5), (50, 0)]):
        for number in range(asked):
            state.ask(f"{hour}-{number}", NOW + timedelta(hours=hour), "v1", [0.5], threshold)
        for number in range(labelled_):
            state.tell(f"{hour}-{number}", NOW + timedelta(hours=9), [1], threshold)
    # 10 rows of an hour with all labels, 5 of one with half of them; the newest hour's are still to come.
    assert state.coverage(state.windows["v1"]) == pytest.approx((10 * 1.0 + 5 * 0.5) / 15)


# --- Model Monitor's files --------------------------------------------------------------------------------------------


def test_statistics_are_those_of_model_monitors_documentation() -> None:
    """Its example has one negative row said right, two said wrong, and one positive row said right."""
    told = formats.statistics(quality([(0.1, 0), (0.8, 0), (0.7, 0), (0.9, 1)]), NOW)
    metrics = told["binary_classification_metrics"]
    assert metrics["confusion_matrix"] == {"0": {"0": 1, "1": 2}, "1": {"0": 0, "1": 1}}
    values = {name: each["value"] for name, each in metrics.items() if "value" in each}
    assert values["recall"] == values["true_positive_rate"] == values["recall_best_constant_classifier"] == 1.0
    assert values["precision"] == values["true_negative_rate"] == pytest.approx(1 / 3)
    assert values["accuracy"] == 0.5
    assert values["false_positive_rate"] == pytest.approx(2 / 3)
    assert values["precision_best_constant_classifier"] == values["accuracy_best_constant_classifier"] == 0.25
    assert metrics["accuracy"]["standard_deviation"] == "NaN"  # below 200 rows
    assert {"f0_5", "f1", "f2", "auc", "receiver_operating_characteristic_curve", "precision_recall_curve"} <= {
        *metrics
    }


@settings(max_examples=40, deadline=None)
@given(labelled)
def test_statistics_are_read_back(rows: list[tuple[float, int]]) -> None:
    whole = quality(rows)
    told = json.loads(json.dumps(formats.statistics(whole, NOW)))
    figures = whole.figures()
    assert formats.read_statistics(told) == {
        name: figures[name] if name != "auc" or figures["auc"] is not None else 0.0
        for name in ("rows", "positives", "threshold", *formats.TOLD)
    }


@pytest.mark.parametrize("told", [{}, {"binary_classification_metrics": {}}, {"features": []}])
def test_other_statistics_are_refused(told: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"no statistics\.json of a binary classifier"):
        formats.read_statistics(told)


def test_constraints_say_what_violations_violate() -> None:
    source = np.random.default_rng(5)
    good = measured(*people(source, 20_000))
    said = formats.constraints(good)["binary_classification_constraints"]
    assert said["accuracy"] == {
        "threshold": pytest.approx(good["accuracy"] - 0.02),
        "comparison_operator": "LessThanThreshold",
    }
    assert said["false_negative_rate"]["comparison_operator"] == "GreaterThanThreshold"
    found = formats.violations(compare(good, measured(*people(source, 5000, flipped=0.2))))["violations"]
    for each in found:
        value = float(each["description"].split()[3])
        limit = said.get(each["metric_name"], {}).get("threshold")
        if limit is not None:
            assert (value < limit) == (each["constraint_check_type"] == "LessThanThreshold")
    assert {"accuracy", "auc"} <= {each["metric_name"] for each in found}


# --- the Lambda -------------------------------------------------------------------------------------------------------

BUCKET, LEDGER = "lake", "ledger-bucket"
REPORTS = "employment/monitors/quality/employment/"
EVENT = {
    "endpoint": "employment",
    "variant": "live",
    "captures": f"s3://{BUCKET}/employment/captures/",
    "ground_truth": f"s3://{BUCKET}/employment/ground-truth/",
    "reports": f"s3://{BUCKET}/{REPORTS}",
    "ledger_bucket": LEDGER,
    "days": 30,
    "most_rows": 100_000,
    "fewest_rows": 500,
    "least_coverage": 0.1,
    "floors": {},
    "windows": 3,
    "worse_windows": 2,
}


FIGURES = measured(*people(np.random.default_rng(1), 15_000))


class Product:
    """A product whose endpoint captures, and whose labels come; in moto."""

    def __init__(self) -> None:
        self.s3 = boto3.client("s3", region_name="us-east-1")
        self.sagemaker = boto3.client("sagemaker", region_name="us-east-1")
        self.source = np.random.default_rng(11)
        self.asked = 0
        for bucket in (BUCKET, LEDGER):
            self.s3.create_bucket(Bucket=bucket)
        self.sagemaker.create_model_package_group(ModelPackageGroupName="employment")
        self.package = self.registered(FIGURES)
        self.serve(self.package)

    def registered(self, figures: Mapping[str, Any] | None) -> str:
        """A version whose quality is stated in Model Monitor's own file."""
        key = f"models/{self.source.integers(10**9)}.json"
        body = {"binary_classification_metrics": matrix(figures)} if figures else {}
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=json.dumps(body))
        where = {"Statistics": {"ContentType": "application/json", "S3Uri": f"s3://{BUCKET}/{key}"}}
        arn: str = self.sagemaker.create_model_package(
            ModelPackageGroupName="employment",
            InferenceSpecification={"Containers": [{"Image": "image"}]},
            DriftCheckBaselines={"ModelQuality": where},
        )["ModelPackageArn"]
        return arn

    def serve(self, package: str, at: datetime | None = None) -> None:
        """Have the endpoint serve a version; the ledger says since when."""
        name = f"employment-{package.rpartition('/')[2]}"
        role = "arn:aws:iam::123456789012:role/model"
        self.sagemaker.create_model(
            ModelName=name, ExecutionRoleArn=role, PrimaryContainer={"ModelPackageName": package}
        )
        variant = {
            "VariantName": "live",
            "ModelName": name,
            "InstanceType": "ml.m5.large",
            "InitialInstanceCount": 1,
            "InitialVariantWeight": 1,
        }
        self.sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
        try:
            self.sagemaker.create_endpoint(EndpointName="employment", EndpointConfigName=name)
        except ClientError:
            self.sagemaker.update_endpoint(EndpointName="employment", EndpointConfigName=name)
        entry = ledger.Entry(
            kind="live",
            endpoint="employment",
            package_arn=package,
            at=ledger.stamp(at or datetime.now(UTC) - timedelta(days=20)),
            by="release",
            id=name,
        )
        ledger.append(self.s3, LEDGER, entry)

    def ask(self, requests: int, *, ago: timedelta = timedelta(0), flipped: float = 0.0) -> list[tuple[str, str]]:
        """Capture requests of ten rows each. Returns their ids with the labels they are to get, as CSV."""
        when, told, lines = datetime.now(UTC) - ago, [], []
        for _ in range(requests):
            said, truth = people(self.source, 10, flipped=flipped)
            self.asked += 1
            name = f"request-{self.asked}"
            told.append((name, "".join(f"{label}\n" for label in truth)))
            lines.append(captured(name, said, when))
        self.write("captures/employment/live", when, lines)
        return told

    def label(self, told: Sequence[tuple[str, str]], *, ago: timedelta = timedelta(0)) -> None:
        self.write("ground-truth", datetime.now(UTC) - ago, [line(*each) for each in told])

    def write(self, folder: str, when: datetime, lines: Sequence[str]) -> None:
        key = f"employment/{folder}/{when:%Y/%m/%d/%H}/{self.source.integers(10**12)}.jsonl"
        self.s3.put_object(Bucket=BUCKET, Key=key, Body="\n".join(lines) + "\n")

    def run(self, context: Any = None, **changed: Any) -> dict[str, Any]:
        return handler({**EVENT, **changed}, context)

    def stored(self, name: str) -> Any:
        return json.load(self.s3.get_object(Bucket=BUCKET, Key=REPORTS + name)["Body"])

    def files(self) -> list[str]:
        found = self.s3.list_objects_v2(Bucket=BUCKET, Prefix=REPORTS)["Contents"]
        return [each["Key"].removeprefix(REPORTS) for each in found]


def matrix(figures: Mapping[str, Any]) -> dict[str, Any]:
    positives, negatives = figures["positives"], figures["rows"] - figures["positives"]
    fp, fn = round(figures["false_positive_rate"] * negatives), round(figures["false_negative_rate"] * positives)
    return {
        "confusion_matrix": {"0": {"0": negatives - fp, "1": fp}, "1": {"0": fn, "1": positives - fn}},
        "auc": {"value": figures["auc"], "standard_deviation": "NaN"},
    }


def captured(name: str, said: Sequence[float] | NDArray[np.float64], when: datetime, **more: str) -> str:
    sides = {
        "endpointInput": {"data": "1\n" * len(said), "encoding": "CSV", "mode": "INPUT"},
        "endpointOutput": {"data": "".join(f"{each:.6f}\n" for each in said), "encoding": "CSV", "mode": "OUTPUT"},
    }
    about = {"eventId": f"event-of-{name}", "inferenceId": name, "inferenceTime": f"{when:%Y-%m-%dT%H:%M:%SZ}"}
    return json.dumps({"captureData": sides, "eventMetadata": about | more, "eventVersion": "0"})


@pytest.fixture
def product(monkeypatch: pytest.MonkeyPatch) -> Iterator[Product]:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        yield Product()


def printed(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    [declared] = told["_aws"]["CloudWatchMetrics"]
    assert (declared["Namespace"], declared["Dimensions"]) == ("Slipway/Monitors", [["endpoint"]])
    return {name["Name"]: told[name["Name"]] for name in declared["Metrics"]}


def test_a_good_model_is_said_to_be_good(product: Product, capsys: pytest.CaptureFixture[str]) -> None:
    told = product.ask(100)
    product.label(told)
    report = product.run()
    assert (report["status"], report["rows"], report["violations"], report["coverage"]) == ("stable", 1000, [], 1.0)
    assert report["model_package_arn"] == product.package
    assert printed(capsys) == {"quality_drop": 0, "accuracy": report["figures"]["accuracy"]}
    assert product.stored("latest.json") == json.loads(json.dumps(report))


def test_labels_that_turned_ring_in_the_second_window_and_no_longer_when_they_are_right_again(
    product: Product, capsys: pytest.CaptureFixture[str]
) -> None:
    rang = []
    for flipped in (0, 0.3, 0.3, 0, 0):
        product.label(product.ask(80, flipped=flipped))
        report = product.run()
        rang.append((report["status"], printed(capsys)["quality_drop"]))
    assert rang == [("stable", 0), ("violated", 0), ("violated", 1), ("stable", 0), ("stable", 0)]


def test_model_monitors_files_lie_beside_the_report(product: Product) -> None:
    product.label(product.ask(80, flipped=0.3))
    report = product.run()
    folder = next(name.partition("/")[0] for name in product.files() if "/" in name)
    found = product.stored(f"{folder}/constraint_violations.json")["violations"]
    assert {"accuracy", "auc"} <= {each["metric_name"] for each in found}
    assert [each["metric_name"] for each in report["violations"]] == [each["metric_name"] for each in found]
    metrics = product.stored(f"{folder}/statistics.json")["binary_classification_metrics"]
    assert metrics["accuracy"]["value"] == report["figures"]["accuracy"]
    assert product.stored(f"{folder}/constraints.json")["binary_classification_constraints"].keys() == {*formats.TOLD}
    page = product.s3.get_object(Bucket=BUCKET, Key=f"{REPORTS}latest.html")["Body"].read().decode()
    assert "Model quality of employment" in page and "accuracy went from" in page
    assert "src=" not in page and "href=" not in page  # it needs nothing but itself


def test_labels_that_are_days_late_meet_what_earlier_runs_read(product: Product) -> None:
    told = product.ask(60, ago=timedelta(days=3))
    assert product.run()["status"] == "insufficient"
    product.label(told[:30], ago=timedelta(days=2))  # filed by when it was collected, delivered now
    waiting = product.run()
    assert (waiting["status"], waiting["rows"], waiting["waiting"]["predictions"]) == ("insufficient", 300, 30)
    product.label(told[30:])
    report = product.run()
    assert (report["status"], report["rows"], report["median_delay_hours"]) == ("stable", 600, 72)
    assert report["waiting"]["predictions"] == 0


def test_labels_that_come_before_their_captures_wait_for_them(product: Product) -> None:
    lines = []
    for number in range(60):
        said, truth = people(product.source, 10)
        lines.append(captured(f"early-{number}", said, datetime.now(UTC)))
        product.label([(f"early-{number}", "".join(f"{label}\n" for label in truth))]) if number < 5 else None
    assert product.run()["waiting"]["labels"] == 5
    product.write("captures/employment/live", datetime.now(UTC), lines)
    report = product.run()
    assert (report["counts"]["joined"], report["rows"]) == (5, 50)


def test_a_label_of_an_event_without_an_inference_id_goes_by_its_event_id(product: Product) -> None:
    said, truth = people(product.source, 1)
    told = json.loads(captured("x", said, datetime.now(UTC)))
    del told["eventMetadata"]["inferenceId"]
    product.write("captures/employment/live", datetime.now(UTC), [json.dumps(told)])
    product.label([("event-of-x", str(truth[0])), ("x", "1")])
    counts = product.run()["counts"]
    assert (counts["joined"], counts["labels"]) == (1, 2)


def test_what_cannot_be_read_is_counted_and_the_rest_judged(product: Product) -> None:
    told = product.ask(60)
    product.write("captures/employment/live", datetime.now(UTC), ["{", "", captured("odd", [], datetime.now(UTC))])
    product.write("ground-truth", datetime.now(UTC), ["nothing", line("y", "maybe"), *(line(*each) for each in told)])
    product.label(told)
    report = product.run()
    assert (report["status"], report["rows"]) == ("stable", 600)
    counts = report["counts"]
    assert (counts["labels_malformed"], counts["labels_repeated"], counts["predictions_unreadable"]) == (2, 60, 2)
    assert any("'maybe' is no label" in each for each in counts["examples"])


def test_too_few_of_the_labels_say_nothing(product: Product) -> None:
    told = product.ask(1000)
    product.label(told[:60])
    report = product.run()
    assert (report["status"], report["rows"]) == ("insufficient", 600)
    assert "Labels of 6% of the requests are too few" in report["summary"]
    product.label(told[60:200])
    assert product.run()["status"] == "stable"
    assert product.run(least_coverage=0.01)["rows"] == 0  # those rows are judged, and are not judged again


def test_each_version_is_judged_by_its_own_rows(product: Product) -> None:
    """Labels of what the version before answered say nothing of the one that serves now."""
    old = product.ask(80, ago=timedelta(hours=5), flipped=0.4)
    new = product.registered(FIGURES)
    product.serve(new, at=datetime.now(UTC) - timedelta(hours=2))
    fresh = product.ask(80)
    product.label(old)
    product.label(fresh)
    report = product.run()
    assert (report["model_package_arn"], report["status"], report["rows"]) == (new, "stable", 800)
    [earlier] = report["earlier_versions"]
    assert (earlier["model_package_arn"], earlier["rows"]) == (product.package, 800)


def test_a_version_without_figures_is_not_judged_and_says_what_to_do() -> None:
    found = judge(Window(quality([(0.9, 1)] * 600)), 1.0, None, Rules(500, 0.1, {}))
    assert found.status == "insufficient"
    assert "DriftCheckBaselines.ModelQuality.Statistics" in found.summary


def test_a_run_that_dies_while_it_reports_loses_and_repeats_nothing(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    product.label(product.ask(60))
    with monkeypatch.context() as patched:
        patched.setattr("functions.monitoring.report.write", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            product.run()
    product.label(product.ask(60))
    assert product.run()["rows"] == 600  # only the new ones: the others were judged, and their report is published now
    assert len([name for name in product.files() if name.endswith(".json") and "/" not in name]) >= 3


def test_of_two_runs_at_a_time_one_counts_and_neither_fails(
    product: Product, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    product.label(product.ask(60))
    load = windows.load

    def load_and_be_overtaken(*given_: Any, **more: Any) -> State:
        state = load(*given_, **more)
        monkeypatch.setattr(windows, "load", load)
        assert product.run()["status"] == "stable"
        return state

    monkeypatch.setattr(windows, "load", load_and_be_overtaken)
    assert product.run() == {"status": "overtaken"}
    assert "another run wrote" in capsys.readouterr().out
    assert product.run()["rows"] == 0  # what both have read was counted once


def test_what_was_read_long_ago_need_not_be_remembered() -> None:
    state = State(NOW)
    for hour in range(50):
        state = windows.after(state, [Found(f"file-{hour}", NOW + timedelta(hours=hour), 1)])
    assert (state.since, [*state.read]) == (NOW + timedelta(hours=49), ["file-49"])


def test_what_there_is_no_time_for_is_read_by_the_next_run(product: Product) -> None:
    for _ in range(3):
        product.label(product.ask(20))
    left = iter([60_000, 60_000, *[1000] * 10])
    context = SimpleNamespace(get_remaining_time_in_millis=lambda: next(left))
    first = product.run(context)
    assert first["files"]["read"] == 2
    second = product.run()
    assert (second["files"]["read"], second["rows"]) == (4, 600)


def test_the_monitor_needs_nothing_but_boto3() -> None:
    script = """
import sys, boto3
before = set(sys.modules)
import functions.quality_monitor.handler, functions.service_monitor.handler
new = {name.partition(".")[0] for name in set(sys.modules) - before}
print(sorted(new - set(sys.stdlib_module_names) - {"functions"}))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_labels_shared_by_chance_are_no_matter() -> None:
    """The ids' hashes of a hundred thousand requests are all different."""
    assert max(Counter(identity(f"request-{number}") for number in range(100_000)).values()) == 1
