"""The process behind an endpoint's variant: a model archive served under SageMaker's container contract.

    python -m infra.rehearsal.emulator.model_server MODEL_DIR PORT_FILE

`MODEL_DIR/code/inference.py` says how, with the functions that SageMaker's framework containers look for:
`model_fn(model_dir)` and, each optional, `input_fn(body, content_type)`, `predict_fn(data, model)` and
`output_fn(prediction, accept)`, or instead of these three `transform_fn(model, body, content_type, accept)`.
Where one is missing, the containers' own default stands in.
"""

import importlib.util
import io
import json
import os
import sys
import threading
import traceback
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from infra.rehearsal.emulator import children

REPOSITORY = Path(__file__).parents[3]
JSON, CSV, NPY = "application/json", "text/csv", "application/x-npy"


class Refused(Exception):
    """A content type that the containers' defaults do not read or write."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


STATUS: Final = {"Refused": "status", "BaseInferenceToolkitError": "status_code", "HTTPException": "code"}
"""The exceptions that the containers answer with a status of their own, and the attribute that holds it.

The second is sagemaker-inference's, the third werkzeug's, on which the scikit-learn container is built. By name:
neither library need be here. Every other exception of a program is a 500, in AWS as well.
"""


def status_of(error: Exception) -> int:
    """The HTTP status of the answer to a request that ended with this exception."""
    for kind in type(error).__mro__:
        status = getattr(error, STATUS.get(kind.__name__, ""), None)
        if isinstance(status, int):
            return status
    return 500


def base_type(content_type: str) -> str:
    """`text/csv; charset=utf-8` → `text/csv`."""
    return content_type.partition(";")[0].strip().lower()


def load_program(model_dir: Path) -> ModuleType:
    """Import the archive's program: `code/inference.py`, or what SAGEMAKER_PROGRAM names.

    Raises FileNotFoundError where the archive has none, and whatever its own top level raises.
    """
    name = os.environ.get("SAGEMAKER_PROGRAM", "inference.py")
    program = model_dir / "code" / name
    if not program.is_file():
        raise FileNotFoundError(f"the model archive has no code/{name}; put it there, or set SAGEMAKER_PROGRAM")
    # What the archive does not bring along is missing here as it would be in AWS, even where this repository has it.
    sys.path[:] = [str(program.parent), *(path for path in sys.path if Path(path or ".").resolve() != REPOSITORY)]
    spec = importlib.util.spec_from_file_location(program.stem, program)
    assert spec and spec.loader, program
    module = importlib.util.module_from_spec(spec)
    sys.modules[program.stem] = module
    spec.loader.exec_module(module)
    return module


def load_transform(model_dir: Path) -> Callable[[bytes, str, str], Any]:
    """Load the model and return what answers a request: (body, content type, accept) → body, or (body, content type).

    Raises AttributeError where the program has no `model_fn`, or both `transform_fn` and what that stands for.
    """
    program = load_program(model_dir)
    if not hasattr(program, "model_fn"):
        raise AttributeError(f"{program.__file__} defines no model_fn(model_dir)")
    model = program.model_fn(str(model_dir))
    if hasattr(program, "transform_fn"):
        if any(hasattr(program, name) for name in ("input_fn", "predict_fn", "output_fn")):
            raise AttributeError(f"{program.__file__} defines transform_fn and one of the functions it stands for")
        return lambda body, content_type, accept: program.transform_fn(
            model, _text(body, content_type), content_type, accept
        )
    read = getattr(program, "input_fn", default_input)
    predict = getattr(program, "predict_fn", default_predict)
    write = getattr(program, "output_fn", default_output)
    return lambda body, content_type, accept: write(
        predict(read(_text(body, content_type), content_type), model), accept
    )


def _text(body: bytes, content_type: str) -> str | bytes:
    """The containers hand JSON and CSV to the program as text, all else as bytes."""
    if base_type(content_type) not in (JSON, CSV):
        return body
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise Refused(400, f"the body is announced as {content_type} and is not UTF-8: {error}") from None


def default_input(body: str | bytes, content_type: str) -> Any:
    import numpy

    match base_type(content_type), body:
        case "application/json", str(text):
            return numpy.array(json.loads(text)).astype(numpy.float32)
        case "text/csv", str(text):
            return numpy.genfromtxt(io.StringIO(text), delimiter=",").astype(numpy.float32)
        case "application/x-npy", bytes(raw):
            return numpy.load(io.BytesIO(raw), allow_pickle=False)
    raise Refused(415, f"content type {content_type!r} is not supported; send {JSON}, {CSV} or {NPY}")


def default_predict(data: Any, model: Any) -> Any:
    return model.predict(data)


def default_output(prediction: Any, accept: str) -> bytes:
    import numpy

    array = numpy.asarray(prediction)
    out = io.BytesIO()
    match base_type(accept):
        case "application/json":
            return json.dumps(array.tolist()).encode()
        case "text/csv":
            numpy.savetxt(out, array, delimiter=",", fmt="%s")
            return out.getvalue()
        case "application/x-npy":
            numpy.save(out, array, allow_pickle=False)
            return out.getvalue()
    raise Refused(406, f"accept {accept!r} is not supported; ask for {JSON}, {CSV} or {NPY}")


class Server(ThreadingHTTPServer):
    """Answers pings at any time and invocations one at a time, as a container with one worker does."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, transform: Callable[[bytes, str, str], Any]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.transform = transform
        self.worker = threading.Lock()

    def answer(self, body: bytes, content_type: str, accept: str) -> tuple[int, bytes, str]:
        """The status, body and content type of one invocation."""
        if accept in ("", "*/*"):
            accept = os.environ.get("SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT", JSON)
        try:
            with self.worker:
                answer = self.transform(body, content_type, accept)
            data, answer_type = answer if isinstance(answer, tuple) else (answer, accept)
            if not isinstance(data, str | bytes):
                raise TypeError(f"output_fn returned {type(data).__name__}; it must return str or bytes")
            return 200, data.encode() if isinstance(data, str) else data, answer_type
        except Exception as error:
            traceback.print_exc()
            return status_of(error), (str(error) or repr(error)).encode(), "text/plain"


class Handler(BaseHTTPRequestHandler):
    """GET /ping and POST /invocations."""

    server: Server
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one packet for headers and body: two small ones wait for each other's acknowledgement

    def do_GET(self) -> None:
        self._send(*((200, b"", JSON) if self.path == "/ping" else (404, b"there is only /ping here", "text/plain")))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path != "/invocations":
            self._send(404, b"there is only /invocations here", "text/plain")
            return
        self._send(*self.server.answer(body, self.headers.get("Content-Type", JSON), self.headers.get("Accept", "")))

    def _send(self, status: int, body: bytes, content_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """An access line for every request would drown what the model itself says."""


def main(model_dir: Path, port_file: Path) -> None:
    """Load the model, then say in `port_file` where it answers: a file that is there means a model that is ready."""
    children.watch_parent()
    server = Server(load_transform(model_dir))
    draft = port_file.with_suffix(".draft")
    draft.write_text(str(server.server_port), "utf-8")
    draft.replace(port_file)
    server.serve_forever()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
