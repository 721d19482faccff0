"""SageMaker's managed MLflow: tracking servers and apps, and the REST requests that log runs to them.

A request is for a server when it has the header by which SageMaker's own endpoint tells them apart (as the plugin
sagemaker-mlflow sends it), or goes to the server's TrackingServerUrl. Runs are files below the work folder: they are
there again when a server of the same name is created in an emulator that was started anew.
"""

import http.client
import json
import re
import shutil
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from moto.core.exceptions import ServiceException
from moto.core.responses import ActionResult, BaseResponse
from moto.sagemaker.models import SageMakerModelBackend, sagemaker_backends

from infra.rehearsal.emulator import children, jobs
from infra.rehearsal.emulator.calls import ACCOUNT, Call
from infra.rehearsal.emulator.cloudtrail import key_in, user_context

Json = dict[str, Any]

SERVER_HEADER: Final = "HTTP_X_MLFLOW_SM_TRACKING_SERVER_ARN"
APP_HEADER: Final = "HTTP_X_SM_MLFLOW_APP_ARN"
BELOW: Final = re.compile(r"/_slipway/mlflow/(?P<region>[a-z0-9-]+)/(?P<name>[^/]+)(?P<path>/.*)")
API: Final = re.compile(r"/(?:api|ajax-api)/2\.0/mlflow/(?P<call>[a-z-]+/[a-z-]+)")
SIGNED_AS: Final = "sagemaker-mlflow"
CHANGE_SECONDS: Final = 0.2
"""How long a server takes to be created, started, stopped; AWS takes up to 25 minutes."""
START_SECONDS: Final = 60.0
ANSWER_SECONDS: Final = 30.0
CALLS: Final[Mapping[str, str]] = {
    "experiments/get-by-name": "GetExperimentByName",
    "experiments/get": "GetExperiment",
    "experiments/create": "CreateExperiment",
    "experiments/search": "SearchExperiments",
    "experiments/set-experiment-tag": "SetExperimentTag",
    "runs/create": "CreateRun",
    "runs/update": "UpdateRun",
    "runs/delete": "DeleteRun",
    "runs/restore": "RestoreRun",
    "runs/get": "GetRun",
    "runs/search": "SearchRuns",
    "runs/log-batch": "LogBatch",
    "runs/log-metric": "LogMetric",
    "runs/log-parameter": "LogParam",
    "runs/set-tag": "SetTag",
    "runs/delete-tag": "DeleteTag",
    "metrics/get-history": "GetMetricHistory",
}
"""The actions of a policy for each call that is answered."""


class Conflict(ServiceException):
    """SageMaker's error for what cannot be done to a server as it is."""

    code = "ConflictException"


class NotThere(ServiceException):
    """SageMaker's error for a server that does not exist."""

    code = "ResourceNotFound"


@dataclass
class Server:
    """A tracking server, or an app."""

    region: str
    arn: str
    name: str
    folder: Path
    params: Json
    by: Json
    status: str = "Creating"
    tags: list[dict[str, str]] = field(default_factory=list)
    created: datetime = field(default_factory=lambda: datetime.now(UTC))
    modified: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def active(self) -> bool:
        """Whether it answers requests."""
        return self.status in ("Created", "Updating", "Updated", "Started")

    def become(self, during: str, after: str, then: Callable[[], None] = lambda: None) -> None:
        """Enter one status now, and another in a moment."""
        self.status, self.modified = during, datetime.now(UTC)

        def settle() -> None:
            time.sleep(CHANGE_SECONDS)
            self.status, self.modified = after, datetime.now(UTC)
            then()

        threading.Thread(target=settle, daemon=True).start()


class Store:
    """The process that keeps runs, started when it is needed first."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0
        self._lock = threading.Lock()

    def port(self) -> int:
        """Where it listens. Raises RuntimeError where it does not come up."""
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self._start()
            return self._port

    def _start(self) -> None:
        settings = jobs.settings()
        folder = settings.work / "mlflow"
        folder.mkdir(parents=True, exist_ok=True)
        told = folder / "port"
        told.unlink(missing_ok=True)
        environment = {
            name: text
            for name, text in settings.aws.environment("us-east-1", None).items()
            if name != "AWS_ENDPOINT_URL"
        }
        self._process = children.spawn(
            [sys.executable, "-P", "-m", "infra.rehearsal.emulator.mlflow_server", str(told)],
            env={
                **environment,
                "MLFLOW_ALLOW_FILE_STORE": "true",  # mlflow-skinny has no other store
                "MLFLOW_DISABLE_TELEMETRY": "true",
                "DO_NOT_TRACK": "true",
                "PYTHONUNBUFFERED": "1",
            },
            cwd=folder,
            stdin=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + START_SECONDS
        while not told.exists():
            if self._process.poll() is not None or time.monotonic() > deadline:
                children.end(self._process)
                raise RuntimeError("the store of MLflow's runs does not start; the emulator's log says why")
            time.sleep(0.02)
        self._port = int(told.read_text("utf-8"))

    def ask(self, server: Server, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        """One request to a server's store: the status and the JSON of the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port(), timeout=ANSWER_SECONDS)
        told = {"X-Slipway-Store": str(server.folder), "X-Slipway-Artifacts": server.params["ArtifactStoreUri"]}
        headers = {name: quote(text) for name, text in told.items()}  # headers are ASCII, folders need not be
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()


_store = Store()


def is_for_a_server(environ: Mapping[str, Any]) -> bool:
    """Whether a request is for MLflow."""
    path = environ.get("PATH_INFO", "")
    return SERVER_HEADER in environ or APP_HEADER in environ or bool(BELOW.fullmatch(path))


def answer(environ: Mapping[str, Any], body: bytes, call: Call) -> tuple[int, bytes, Call]:
    """Answer a request for MLflow: the status, the JSON, and what was called."""
    path = environ.get("PATH_INFO", "")
    arn = environ.get(SERVER_HEADER) or environ.get(APP_HEADER)
    below = BELOW.fullmatch(path)
    region = call.region
    if below:
        path, region = below["path"], below["region"]
        arn = f"arn:aws:sagemaker:{region}:{ACCOUNT}:mlflow-tracking-server/{below['name']}"
    asked = API.fullmatch(path)
    action = CALLS.get(asked["call"]) if asked else None
    method = environ["REQUEST_METHOD"]
    call = replace(call, service=SIGNED_AS, action=action or f"{method} {path}", region=region)
    servers = servers_of(sagemaker_backends[ACCOUNT][region])
    server = next((each for each in servers.values() if each.arn == arn), None)
    if not below and f"/{SIGNED_AS}/aws4_request" not in environ.get("HTTP_AUTHORIZATION", ""):
        return _refuse(403, "PERMISSION_DENIED", f"sign the request with AWS Signature 4 for {SIGNED_AS}", call)
    if server is None:
        return _refuse(404, "RESOURCE_DOES_NOT_EXIST", f"{arn} does not exist in {region}", call)
    if not server.active:
        return _refuse(403, "PERMISSION_DENIED", f"{arn} is in status {server.status}", call)
    if action is None:
        return _refuse(501, "NOT_IMPLEMENTED", f"{method} {path} of MLflow is not emulated", call)
    query = environ.get("QUERY_STRING", "")
    try:
        status, text = _store.ask(server, method, f"{path}?{query}" if query else path, body)
    except (OSError, http.client.HTTPException, RuntimeError) as error:
        return _refuse(503, "TEMPORARILY_UNAVAILABLE", f"the store of runs gave no answer: {error!r}", call)
    return status, text, call


def _refuse(status: int, code: str, words: str, call: Call) -> tuple[int, bytes, Call]:
    return status, json.dumps({"error_code": code, "message": words}).encode(), call


def servers_of(backend: SageMakerModelBackend) -> dict[str, Server]:
    """The tracking servers and apps of a region, by ARN."""
    return vars(backend).setdefault("mlflow", {})  # type: ignore[no-any-return]  # vars() are untyped


SERVER_FIELDS: Final = (
    *("ArtifactStoreUri", "TrackingServerSize", "MlflowVersion", "RoleArn", "AutomaticModelRegistration"),
    *("WeeklyMaintenanceWindowStart", "S3BucketOwnerAccountId", "S3BucketOwnerVerification"),
)
APP_FIELDS: Final = (
    *("Name", "ArtifactStoreUri", "RoleArn", "KmsKeyId", "ModelRegistrationMode", "WeeklyMaintenanceWindowStart"),
    *("AccountDefaultStatus", "DefaultDomainIdList"),
)


class MlflowCalls(BaseResponse):
    """The operations on tracking servers and apps."""

    sagemaker_backend: SageMakerModelBackend

    def _known(self) -> dict[str, Server]:
        return servers_of(self.sagemaker_backend)

    def _mlflow_arn(self, kind: str, name: str) -> str:
        return f"arn:aws:sagemaker:{self.region}:{self.current_account}:{kind}/{name}"

    def _made(self, arn: str, name: str, folder: str, defaults: Json, fields: tuple[str, ...]) -> Server:
        params = {**defaults, **{key: self.params[key] for key in fields if self.params.get(key) is not None}}
        by = user_context(key_in(self.headers.get("Authorization", "")))
        server = Server(self.region, arn, name, jobs.settings().work / "mlflow" / folder, params, by)
        server.tags = self.params.get("Tags") or []
        self._known()[arn] = server
        threading.Thread(target=_store.port, daemon=True).start()  # so that the first request need not wait for it
        server.become("Creating", "Created")
        return server

    def _found(self, arn: str) -> Server:
        server = self._known().get(arn)
        if server is None:
            raise NotThere(f"{arn} does not exist.")
        return server

    def _tracking_server(self) -> Server:
        return self._found(self._mlflow_arn("mlflow-tracking-server", self.params["TrackingServerName"]))

    def _change(self, server: Server, *allowed: str) -> None:
        if server.status not in allowed:
            raise Conflict(f"{server.arn} is in status {server.status}; it must be in {' or '.join(allowed)}")

    def _end(self, server: Server) -> None:
        self._change(server, "Created", "Started", "Stopped", "Updated", "CreateFailed")
        known = self._known()

        def remove() -> None:
            known.pop(server.arn, None)
            shutil.rmtree(server.folder, ignore_errors=True)

        server.become("Deleting", "Deleting", remove)

    def create_mlflow_tracking_server(self) -> ActionResult:
        name = self.params["TrackingServerName"]
        arn = self._mlflow_arn("mlflow-tracking-server", name)
        if arn in self._known():
            raise Conflict(f"Tracking server {arn} already exists.")
        defaults = {
            "TrackingServerSize": "Small",
            "MlflowVersion": "3.0",
            "AutomaticModelRegistration": False,
            "WeeklyMaintenanceWindowStart": "Tue:03:30",
        }
        self._made(arn, name, name, defaults, SERVER_FIELDS)
        return ActionResult({"TrackingServerArn": arn})

    def describe_mlflow_tracking_server(self) -> ActionResult:
        server = self._tracking_server()
        return ActionResult({**self._server_summary(server), **self._of(server), **server.params})

    def _server_summary(self, server: Server) -> Json:
        return {
            "TrackingServerArn": server.arn,
            "TrackingServerName": server.name,
            "CreationTime": server.created,
            "LastModifiedTime": server.modified,
            "TrackingServerStatus": server.status,
            "IsActive": "Active" if server.active else "Inactive",
            "MlflowVersion": server.params["MlflowVersion"],
        }

    def _of(self, server: Server) -> Json:
        url = f"{jobs.settings().aws.endpoint}/_slipway/mlflow/{server.region}/{server.name}"
        return {"TrackingServerUrl": url, "CreatedBy": server.by, "LastModifiedBy": server.by}

    def list_mlflow_tracking_servers(self) -> ActionResult:
        wanted = self.params.get("TrackingServerStatus")
        rows = [
            self._server_summary(server)
            for server in self._known().values()
            if "mlflow-tracking-server" in server.arn and wanted in (None, server.status)
        ]
        keys = {"CreationTime": "CreationTime", "Name": "TrackingServerName", "Status": "TrackingServerStatus"}
        rows = jobs.ordered(rows, self.params, keys, "Descending")
        return jobs.page(rows, self.params, "TrackingServerSummaries")

    def update_mlflow_tracking_server(self) -> ActionResult:
        server = self._tracking_server()
        self._change(server, "Created", "Started", "Updated")
        server.params.update({key: self.params[key] for key in SERVER_FIELDS if self.params.get(key) is not None})
        server.become("Updating", "Updated")
        return ActionResult({"TrackingServerArn": server.arn})

    def start_mlflow_tracking_server(self) -> ActionResult:
        server = self._tracking_server()
        self._change(server, "Stopped")
        server.become("Starting", "Started")
        return ActionResult({"TrackingServerArn": server.arn})

    def stop_mlflow_tracking_server(self) -> ActionResult:
        server = self._tracking_server()
        self._change(server, "Created", "Started", "Updated")
        server.become("Stopping", "Stopped")
        return ActionResult({"TrackingServerArn": server.arn})

    def delete_mlflow_tracking_server(self) -> ActionResult:
        server = self._tracking_server()
        self._end(server)
        return ActionResult({"TrackingServerArn": server.arn})

    def create_mlflow_app(self) -> ActionResult:
        name = self.params["Name"]
        if any(server.name == name and "mlflow-app" in server.arn for server in self._known().values()):
            raise Conflict(f"An MLflow App with name {name} already exists.")
        arn = self._mlflow_arn("mlflow-app", f"app-{uuid.uuid4().hex[:12].upper()}")
        defaults = {
            "ModelRegistrationMode": "AutoModelRegistrationDisabled",
            "AccountDefaultStatus": "DISABLED",
            "WeeklyMaintenanceWindowStart": "Tue:03:30",
        }
        self._made(arn, name, f"app-{name}", defaults, APP_FIELDS)
        return ActionResult({"Arn": arn})

    def describe_mlflow_app(self) -> ActionResult:
        server = self._found(self.params["Arn"])
        told = self._app_summary(server)
        return ActionResult({**told, **server.params, "CreatedBy": server.by, "LastModifiedBy": server.by})

    def _app_summary(self, server: Server) -> Json:
        return {
            "Arn": server.arn,
            "Name": server.name,
            "Status": server.status,
            "CreationTime": server.created,
            "LastModifiedTime": server.modified,
            "MlflowVersion": "3.4",
        }

    def list_mlflow_apps(self) -> ActionResult:
        wanted = self.params.get("Status")
        rows = [
            self._app_summary(server)
            for server in self._known().values()
            if "mlflow-app" in server.arn and wanted in (None, server.status)
        ]
        keys = {"CreationTime": "CreationTime", "Name": "Name", "Status": "Status"}
        return jobs.page(jobs.ordered(rows, self.params, keys, "Descending"), self.params, "Summaries")

    def update_mlflow_app(self) -> ActionResult:
        server = self._found(self.params["Arn"])
        self._change(server, "Created", "Updated")
        server.params.update({key: self.params[key] for key in APP_FIELDS if self.params.get(key) is not None})
        server.name = server.params.get("Name", server.name)
        server.become("Updating", "Updated")
        return ActionResult({"Arn": server.arn})

    def delete_mlflow_app(self) -> ActionResult:
        server = self._found(self.params["Arn"])
        self._end(server)
        return ActionResult({"Arn": server.arn})
