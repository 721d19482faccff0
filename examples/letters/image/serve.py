"""Answers SageMaker's requests with a model's own `code/inference.py`, as SageMaker's framework containers do.

The contract: https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-inference-code.html
"""

import importlib.util
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Request, Response

Wsgi = Callable[[dict[str, Any], Any], Iterable[bytes]]


def program(model_dir: Path) -> ModuleType:
    """The program that the model brings along. Raises FileNotFoundError where it brings none."""
    path = model_dir / "code/inference.py"
    if not path.is_file():
        raise FileNotFoundError(f"the model has no {path}: its training has to put it there")
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location("inference", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["inference"] = module
    spec.loader.exec_module(module)
    return module


def application(model_dir: str = "/opt/ml/model") -> Wsgi:
    """The WSGI application. The model is loaded before it answers the first ping, so that no request waits for it."""
    told = program(Path(model_dir))
    model = told.model_fn(model_dir)
    default = os.environ.get("SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT", "application/json")

    def answer(request: Request) -> Response:
        if request.path == "/ping":
            return Response(status=200)
        if request.path != "/invocations" or request.method != "POST":
            return Response("there are GET /ping and POST /invocations here", 404)
        accept = request.headers.get("Accept", "*/*")
        data = told.input_fn(request.get_data(), request.headers.get("Content-Type", "application/json"))
        body, kind = told.output_fn(told.predict_fn(data, model), default if accept == "*/*" else accept)
        return Response(body, 200, content_type=kind)

    @Request.application
    def respond(request: Request) -> Response:
        try:
            return answer(request)
        except HTTPException as error:  # the client's fault; any other exception is the model's, and becomes a 500
            return Response(str(error.description), error.code)

    return respond
