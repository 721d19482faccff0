"""The process behind SageMaker's MLflow: runs and experiments in mlflow's own file stores, over its REST API.

    python -P -m infra.rehearsal.emulator.mlflow_server PORT_FILE

A request names in headers the store's folder and where artifacts go; one process serves all of them. The API:
https://mlflow.org/docs/latest/rest-api.html
"""

import json
import sys
import threading
import traceback
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.json_format import ParseError
from mlflow.entities import ExperimentTag, Metric, Param, RunStatus, RunTag, ViewType
from mlflow.exceptions import MlflowException
from mlflow.protos import service_pb2 as api
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST
from mlflow.store.tracking.file_store import FileStore
from mlflow.utils.proto_json_utils import message_to_json, parse_dict

from infra.rehearsal.emulator import children

STORE: Final = "X-Slipway-Store"
ARTIFACTS: Final = "X-Slipway-Artifacts"
Answer = Callable[[Any, Any], Any]


def store_at(folder: str, artifacts: str) -> Any:
    """The store in a folder, made if it is not there (any more)."""
    return FileStore(folder, artifacts)  # type: ignore[no-untyped-call]  # mlflow's own types end here


def run_id(asked: Any) -> str:
    """The run that a request names; older clients say run_uuid."""
    return str(asked.run_id or getattr(asked, "run_uuid", ""))


def get_by_name(store: Any, asked: Any) -> Any:
    experiment = store.get_experiment_by_name(asked.experiment_name)
    if experiment is None:
        words = f"Could not find experiment with name '{asked.experiment_name}'"
        raise MlflowException(words, error_code=RESOURCE_DOES_NOT_EXIST)
    return api.GetExperimentByName.Response(experiment=experiment.to_proto())


def create_experiment(store: Any, asked: Any) -> Any:
    tags = [ExperimentTag(tag.key, tag.value) for tag in asked.tags]
    made = store.create_experiment(asked.name, asked.artifact_location or None, tags)
    return api.CreateExperiment.Response(experiment_id=made)


def search_experiments(store: Any, asked: Any) -> Any:
    found = store.search_experiments(
        view_type=asked.view_type or ViewType.ACTIVE_ONLY,
        max_results=asked.max_results or 1000,
        filter_string=asked.filter,
        order_by=list(asked.order_by),
        page_token=asked.page_token or None,
    )
    answer = api.SearchExperiments.Response(experiments=[each.to_proto() for each in found])
    if found.token:
        answer.next_page_token = found.token
    return answer


def set_experiment_tag(store: Any, asked: Any) -> Any:
    store.set_experiment_tag(asked.experiment_id, ExperimentTag(asked.key, asked.value))
    return api.SetExperimentTag.Response()


def create_run(store: Any, asked: Any) -> Any:
    tags = [RunTag(tag.key, tag.value) for tag in asked.tags]
    run = store.create_run(asked.experiment_id, asked.user_id, asked.start_time, tags, asked.run_name)
    return api.CreateRun.Response(run=run.to_proto())


def update_run(store: Any, asked: Any) -> Any:
    told = store.update_run_info(
        run_id(asked),
        RunStatus.from_string(api.RunStatus.Name(asked.status)) if asked.HasField("status") else None,
        asked.end_time if asked.HasField("end_time") else None,
        asked.run_name or None,
    )
    return api.UpdateRun.Response(run_info=told.to_proto())


def search_runs(store: Any, asked: Any) -> Any:
    view: Any = asked.run_view_type if asked.HasField("run_view_type") else api.ACTIVE_ONLY
    found = store.search_runs(
        list(asked.experiment_ids),
        asked.filter,
        ViewType.from_proto(view),
        asked.max_results,
        list(asked.order_by),
        asked.page_token or None,
    )
    answer = api.SearchRuns.Response(runs=[run.to_proto() for run in found])
    if found.token:
        answer.next_page_token = found.token
    return answer


def log_batch(store: Any, asked: Any) -> Any:
    store.log_batch(
        asked.run_id,
        [Metric.from_proto(each) for each in asked.metrics],
        [Param.from_proto(each) for each in asked.params],
        [RunTag.from_proto(each) for each in asked.tags],
    )
    return api.LogBatch.Response()


def log_metric(store: Any, asked: Any) -> Any:
    store.log_metric(run_id(asked), Metric(asked.key, asked.value, asked.timestamp, asked.step))
    return api.LogMetric.Response()


def log_param(store: Any, asked: Any) -> Any:
    store.log_param(run_id(asked), Param(asked.key, asked.value))
    return api.LogParam.Response()


def set_tag(store: Any, asked: Any) -> Any:
    store.set_tag(run_id(asked), RunTag(asked.key, asked.value))
    return api.SetTag.Response()


def delete_tag(store: Any, asked: Any) -> Any:
    store.delete_tag(asked.run_id, asked.key)
    return api.DeleteTag.Response()


def delete_run(store: Any, asked: Any) -> Any:
    store.delete_run(asked.run_id)
    return api.DeleteRun.Response()


def restore_run(store: Any, asked: Any) -> Any:
    store.restore_run(asked.run_id)
    return api.RestoreRun.Response()


def metric_history(store: Any, asked: Any) -> Any:
    found = store.get_metric_history(run_id(asked), asked.metric_key, page_token=asked.page_token or None)
    return api.GetMetricHistory.Response(metrics=[each.to_proto() for each in found])


ROUTES: Final[dict[tuple[str, str], tuple[Any, Answer]]] = {
    ("GET", "experiments/get-by-name"): (api.GetExperimentByName, get_by_name),
    ("GET", "experiments/get"): (
        api.GetExperiment,
        lambda store, asked: api.GetExperiment.Response(
            experiment=store.get_experiment(asked.experiment_id).to_proto()
        ),
    ),
    ("POST", "experiments/create"): (api.CreateExperiment, create_experiment),
    ("POST", "experiments/search"): (api.SearchExperiments, search_experiments),
    ("GET", "experiments/search"): (api.SearchExperiments, search_experiments),
    ("POST", "experiments/set-experiment-tag"): (api.SetExperimentTag, set_experiment_tag),
    ("POST", "runs/create"): (api.CreateRun, create_run),
    ("POST", "runs/update"): (api.UpdateRun, update_run),
    ("POST", "runs/delete"): (api.DeleteRun, delete_run),
    ("POST", "runs/restore"): (api.RestoreRun, restore_run),
    ("GET", "runs/get"): (
        api.GetRun,
        lambda store, asked: api.GetRun.Response(run=store.get_run(run_id(asked)).to_proto()),
    ),
    ("POST", "runs/search"): (api.SearchRuns, search_runs),
    ("POST", "runs/log-batch"): (api.LogBatch, log_batch),
    ("POST", "runs/log-metric"): (api.LogMetric, log_metric),
    ("POST", "runs/log-parameter"): (api.LogParam, log_param),
    ("POST", "runs/set-tag"): (api.SetTag, set_tag),
    ("POST", "runs/delete-tag"): (api.DeleteTag, delete_tag),
    ("GET", "metrics/get-history"): (api.GetMetricHistory, metric_history),
}
"""For each method and path below /api/2.0/mlflow/, the request's message and what answers it."""

_turn = threading.Lock()
"""Held while a store is used: it is files that one at a time may change."""


def in_query(message: Any, query: str) -> dict[str, Any]:
    """A GET's parameters, lists where the message has lists."""
    given = parse_qs(query, keep_blank_values=True)
    fields = message.DESCRIPTOR.fields_by_name
    return {
        name: values if name in fields and fields[name].label == FieldDescriptor.LABEL_REPEATED else values[0]
        for name, values in given.items()
    }


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one packet for headers and body

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def _answer(self, method: str) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = urlsplit(self.path)
        route = ROUTES.get((method, parts.path.partition("/mlflow/")[2]))
        if route is None:
            words = f"{parts.path} is not called with {method}"
            self._send(405, json.dumps({"error_code": "ENDPOINT_NOT_FOUND", "message": words}))
            return
        kind, answer = route
        message = kind()
        told: Any
        try:
            asked = in_query(message, parts.query) if method == "GET" else json.loads(body or b"{}")
            parse_dict(asked, message)  # type: ignore[no-untyped-call]  # as above
            with _turn:
                told = answer(store_at(unquote(self.headers[STORE]), unquote(self.headers[ARTIFACTS])), message)
            self._send(200, message_to_json(told))
        except MlflowException as error:
            told = error
            self._send(told.get_http_status_code(), told.serialize_as_json())
        except (ValueError, ParseError) as error:
            words = f"{parts.path}: {error}"
            self._send(400, json.dumps({"error_code": "INVALID_PARAMETER_VALUE", "message": words}))
        except Exception as error:
            traceback.print_exc()
            self._send(500, json.dumps({"error_code": "INTERNAL_ERROR", "message": repr(error)}))

    def _send(self, status: int, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """An access line for every request says nothing new."""


def main(port_file: Path) -> None:
    """Serve; `port_file` says where, once it is ready."""
    children.watch_parent()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    draft = port_file.with_suffix(".draft")
    draft.write_text(str(server.server_port), "utf-8")
    draft.replace(port_file)
    server.serve_forever()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
