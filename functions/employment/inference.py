"""Serves the employment model, under SageMaker's inference contract: the probability that a person has work."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from numpy.typing import NDArray

from functions.employment.features import SCHEMA


def model_fn(model_dir: str) -> Any:
    """The model that training wrote."""
    return joblib.load(Path(model_dir) / "model.joblib")


def input_fn(body: bytes | str, content_type: str) -> NDArray[np.float64]:
    """Rows of features: CSV in the schema's order without a header, or JSON `{"instances": [{"AGEP": 46, …}, …]}`.

    Raises ValueError for rows that the schema does not allow.
    """
    text = body.decode("utf-8") if isinstance(body, bytes) else body
    kind = content_type.partition(";")[0].strip()
    if kind == "text/csv":
        rows = [row for row in csv.reader(io.StringIO(text)) if row]
    elif kind == "application/json":
        rows = [[str(instance.get(name, "")) for name in SCHEMA.names] for instance in json.loads(text)["instances"]]
    else:
        raise ValueError(f"content type {content_type!r}: send text/csv or application/json")
    if not rows:
        raise ValueError("there is no row in the request")
    return np.array([[_number(text) for text in _complete(row)] for row in rows], dtype=float)


def _complete(row: list[str]) -> list[str]:
    if len(row) != len(SCHEMA.features):
        raise ValueError(f"{len(row)} values, where {len(SCHEMA.features)} are expected: {', '.join(SCHEMA.names)}")
    return row


def _number(text: str) -> float:
    return float(text) if text.strip() else float("nan")


def predict_fn(data: NDArray[np.float64], model: Any) -> NDArray[np.float64]:
    """The probability for each row."""
    probabilities: NDArray[np.float64] = model.predict_proba(data)[:, 1]
    return probabilities


def output_fn(prediction: NDArray[np.float64], accept: str) -> str | tuple[str, str]:
    """A probability a line, or JSON `{"predictions": […]}` where that is accepted."""
    if accept.partition(";")[0].strip() == "application/json":
        return json.dumps({"predictions": [float(each) for each in prediction]}), "application/json"
    return "".join(f"{each:.6f}\n" for each in prediction), "text/csv"
