"""Serves the employment model, under SageMaker's inference contract: the probability that a person has work.

A request that cannot be read is answered with a 4xx, as an exception of werkzeug, on which SageMaker's scikit-learn
container is built. Any other exception becomes a 5xx, and those take a rollout back: a client must not be able to.
"""

import csv
import io
import json
import math
import os
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from numpy.typing import NDArray
from werkzeug.exceptions import BadRequest, UnsupportedMediaType

from functions.employment.schema import ROWS
from functions.rows import Column


def model_fn(model_dir: str) -> Any:
    """The model that training wrote."""
    # Requests are small and many: threads within one would wait for each other. Read when scikit-learn loads OpenMP.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    return joblib.load(Path(model_dir) / "model.joblib")


def input_fn(body: bytes | str, content_type: str) -> NDArray[np.float64]:
    """Rows of features: CSV in the schema's order without a header, or JSON `{"instances": [{"AGEP": 46, …}, …]}`.

    An empty value is a missing one, and so is a code that the schema does not have: the model knows what to make of
    it, and the data monitor tells of it. Raises UnsupportedMediaType, or BadRequest that names the row and the value.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind not in ("text/csv", "application/json"):
        raise UnsupportedMediaType(f"content type {content_type!r}: send text/csv or application/json")
    try:
        text = body.decode("utf-8") if isinstance(body, bytes) else body
        rows = _csv_rows(text) if kind == "text/csv" else _json_rows(text)
        values = [_values(number, row) for number, row in enumerate(rows, 1)]
    except (ValueError, RecursionError, csv.Error) as error:
        raise BadRequest(str(error)) from error
    if not values:
        raise BadRequest("there is no row in the request")
    return np.array(values, dtype=float)


def _csv_rows(text: str) -> list[list[str]]:
    return [row for row in csv.reader(io.StringIO(text)) if row]


def _json_rows(text: str) -> list[list[str]]:
    request = json.loads(text)
    instances = request.get("instances") if isinstance(request, dict) else None
    if not isinstance(instances, list) or not all(isinstance(instance, dict) for instance in instances):
        raise ValueError('JSON must be {"instances": [{"AGEP": 46, …}, …]}')
    for number, instance in enumerate(instances, 1):
        if strange := sorted(instance.keys() - set(ROWS.names)):
            raise ValueError(f"row {number}: {', '.join(strange)}: no such feature; there are {', '.join(ROWS.names)}")
    return [
        ["" if instance.get(name) is None else str(instance[name]) for name in ROWS.names] for instance in instances
    ]


def _values(number: int, row: list[str]) -> list[float]:
    if len(row) != len(ROWS.columns):
        wanted = ", ".join(ROWS.names)
        raise ValueError(f"row {number}: {len(row)} values, where {len(ROWS.columns)} are expected: {wanted}")
    return [_value(number, feature, text) for feature, text in zip(ROWS.columns, row, strict=True)]


def _value(number: int, feature: Column, text: str) -> float:
    if not text.strip():
        return math.nan
    try:
        value = float(text)
    except ValueError:
        value = math.inf
    if math.isinf(value):
        raise ValueError(f"row {number}: {feature.name} is {text!r}, which is no number")
    if feature.is_categorical and str(int(value) if value.is_integer() else value) not in feature.categories:
        return math.nan
    return value


def predict_fn(data: NDArray[np.float64], model: Any) -> NDArray[np.float64]:
    """The probability for each row."""
    probabilities: NDArray[np.float64] = model.predict_proba(data)[:, 1]
    return probabilities


def output_fn(prediction: NDArray[np.float64], accept: str) -> tuple[str, str]:
    """A probability a line, or JSON `{"predictions": […], "model": "3"}` where that is accepted; and its content type.

    A release tells the container which version it is.
    """
    if accept.partition(";")[0].strip().lower() == "application/json":
        answer = {"predictions": [float(each) for each in prediction], "model": os.environ.get("MODEL_VERSION")}
        return json.dumps(answer), "application/json"
    return "".join(f"{each:.6f}\n" for each in prediction), "text/csv"
