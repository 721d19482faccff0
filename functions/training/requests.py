"""Requests and answers of a model server under SageMaker's inference contract, for models that tell a probability.

A request that cannot be read is answered with a 4xx, as an exception of werkzeug, on which SageMaker's scikit-learn
container is built. Any other exception becomes a 5xx, and those take a rollout back: a client must not be able to.
"""

import csv
import io
import json
import os

import numpy as np
from numpy.typing import NDArray
from werkzeug.exceptions import BadRequest, UnsupportedMediaType

from functions.rows import Rows
from functions.training import numbers


def read(rows: Rows, body: bytes | str, content_type: str) -> NDArray[np.float64]:
    """Rows of features: CSV in the schema's order without a header, or JSON `{"instances": [{"AGEP": 46, …}, …]}`.

    An empty value is a missing one, and so is a code that the schema does not have: the model knows what to make of
    it, and the data monitor tells of it. Raises UnsupportedMediaType, or BadRequest that names the row and the value.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind not in ("text/csv", "application/json"):
        raise UnsupportedMediaType(f"content type {content_type!r}: send text/csv or application/json")
    try:
        text = body.decode("utf-8") if isinstance(body, bytes) else body
        values = numbers.array(rows, _csv_rows(text) if kind == "text/csv" else _json_rows(rows, text))
    except (ValueError, RecursionError, csv.Error) as error:
        raise BadRequest(str(error)) from error
    if not len(values):
        raise BadRequest("there is no row in the request")
    return values


def _csv_rows(text: str) -> list[list[str]]:
    return [row for row in csv.reader(io.StringIO(text)) if row]


def _json_rows(rows: Rows, text: str) -> list[list[str]]:
    request = json.loads(text)
    instances = request.get("instances") if isinstance(request, dict) else None
    if not isinstance(instances, list) or not all(isinstance(instance, dict) for instance in instances):
        raise ValueError(f'JSON must be {{"instances": [{{"{rows.names[0]}": 46, …}}, …]}}')
    for number, instance in enumerate(instances, 1):
        if strange := sorted(instance.keys() - set(rows.names)):
            raise ValueError(f"row {number}: {', '.join(strange)}: no such feature; there are {', '.join(rows.names)}")
    return [
        ["" if instance.get(name) is None else str(instance[name]) for name in rows.names] for instance in instances
    ]


def written(probabilities: NDArray[np.float64], accept: str) -> tuple[str, str]:
    """A probability a line, or JSON `{"predictions": […], "model": "3"}` where that is accepted; and its content type.

    A release tells the container which version it is.
    """
    if accept.partition(";")[0].strip().lower() == "application/json":
        answer = {"predictions": [float(each) for each in probabilities], "model": os.environ.get("MODEL_VERSION")}
        return json.dumps(answer), "application/json"
    return "".join(f"{each:.6f}\n" for each in probabilities), "text/csv"
