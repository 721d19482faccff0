"""Serves the letters model, under SageMaker's inference contract: the probability that a digit is 5 or more."""

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from examples.letters import network
from functions.training import requests, schema

ROWS: Final = schema.of("examples.letters").rows


def model_fn(model_dir: str) -> network.Weights:
    """The model that training wrote, compiled: the first request is answered as fast as the next."""
    weights = network.load(Path(model_dir) / network.FILE)
    network.probabilities(weights, np.zeros((1, len(ROWS.columns))))
    print(f"the network computes on {network.device()}", flush=True)
    return weights


def input_fn(body: bytes | str, content_type: str) -> NDArray[np.float64]:
    """The rows of a request."""
    return requests.read(ROWS, body, content_type)


def predict_fn(data: NDArray[np.float64], model: network.Weights) -> NDArray[np.float64]:
    """The probability for each row."""
    return network.probabilities(model, data)


def output_fn(prediction: NDArray[np.float64], accept: str) -> tuple[str, str]:
    """The answer, and its content type."""
    return requests.written(prediction, accept)
