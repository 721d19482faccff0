"""The code that runs in AWS: features, training and serving."""

import csv
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from werkzeug.exceptions import BadRequest, UnsupportedMediaType

from functions.employment import inference
from functions.employment.features import LABEL, SCHEMA
from functions.monitoring.baseline import from_json
from infra.settings import ROOT
from stacks.samples.employment import census

WORKER = "46,21,1,0,2,0,3,1,4,2,2,2,2,2,1,1"


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
    assert baseline.schema.names == SCHEMA.names
    assert {tally.total for tally in baseline.profile.columns.values()} == {4000}


def test_training_twice_gives_the_same_model(trained: Path, model: Any, tmp_path: Path) -> None:
    assert train(tmp_path, list(census("reference", 4000)), "--max-iter", "30").returncode == 0
    rows = [[row[name] for name in SCHEMA.names] for row in census("analysis", 200)]
    people = inference.input_fn("\n".join(map(",".join, rows)), "text/csv")
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
