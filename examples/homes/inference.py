"""Serves the homes model, under SageMaker's inference contract: the probability that the homes of a block are dear."""

from pathlib import Path
from typing import Any, Final

import joblib
import numpy as np
from numpy.typing import NDArray

from functions.training import requests, schema

ROWS: Final = schema.of("examples.homes").rows


def model_fn(model_dir: str) -> Any:
    """The model that training wrote."""
    return joblib.load(Path(model_dir) / "model.joblib")


def input_fn(body: bytes | str, content_type: str) -> NDArray[np.float64]:
    """The rows of a request."""
    return requests.read(ROWS, body, content_type)


def predict_fn(data: NDArray[np.float64], model: Any) -> NDArray[np.float64]:
    """The probability for each row."""
    probabilities: NDArray[np.float64] = model.predict_proba(data)[:, 1]
    return probabilities


def output_fn(prediction: NDArray[np.float64], accept: str) -> tuple[str, str]:
    """The answer, and its content type."""
    return requests.written(prediction, accept)
