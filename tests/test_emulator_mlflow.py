"""SageMaker's managed MLflow in the emulator: servers through boto3, runs by signed requests and mlflow's client."""

import hashlib
import json
import subprocess
import sys
from urllib.parse import urlencode

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from botocore.httpsession import URLLib3Session

from infra.rehearsal.emulator import process
from tests.emulated import REGION, User, new, until

ARTIFACTS = "s3://tracked/artifacts"


@pytest.fixture(scope="module")
def server(user):
    """The ARN of a tracking server that answers."""
    return created(user, new("tracking"))


def created(user, name):
    user.sagemaker.create_mlflow_tracking_server(
        TrackingServerName=name, ArtifactStoreUri=ARTIFACTS, RoleArn=user.role, Tags=[{"Key": "team", "Value": "a"}]
    )

    def look():
        told = user.sagemaker.describe_mlflow_tracking_server(TrackingServerName=name)
        return told["TrackingServerArn"] if told["TrackingServerStatus"] == "Created" else None

    return until(look, f"{name} is created", 90)


def ask(user, arn, method, path, content=None, service="sagemaker-mlflow"):
    """A call as SageMaker's plugin for mlflow makes it: the status and the JSON."""
    query = f"?{urlencode(content)}" if method == "GET" and content else ""
    body = json.dumps(content or {}).encode() if method == "POST" else b""
    kind = "x-sm-mlflow-app-arn" if ":mlflow-app/" in arn else "x-mlflow-sm-tracking-server-arn"
    headers = {"Content-Type": "application/json", kind: arn, "X-Amz-Content-SHA256": hashlib.sha256(body).hexdigest()}
    url = f"{user.emulator.endpoint}/api/2.0/mlflow/{path}{query}"
    request = AWSRequest(method, url, data=body, headers=headers)
    SigV4Auth(Credentials("test", "test"), service, REGION).add_auth(request)
    answer = URLLib3Session(timeout=120).send(request.prepare())
    return answer.status_code, json.loads(answer.content)


def made(user, arn, method, path, content=None):
    status, told = ask(user, arn, method, path, content)
    assert status == 200, told
    return told


def test_a_run_is_logged_and_found_again(user, server):
    experiment = made(user, server, "POST", "experiments/create", {"name": "employment"})["experiment_id"]
    found = made(user, server, "GET", "experiments/get-by-name", {"experiment_name": "employment"})["experiment"]
    assert (found["experiment_id"], found["artifact_location"]) == (experiment, f"{ARTIFACTS}/{experiment}")
    run = made(
        user,
        server,
        "POST",
        "runs/create",
        {
            "experiment_id": experiment,
            "run_name": "first",
            "start_time": 1000,
            "tags": [{"key": "execution", "value": "arn:a"}],
        },
    )["run"]["info"]["run_id"]
    batch = {
        "run_id": run,
        "metrics": [{"key": "auc", "value": 0.9, "timestamp": 2000, "step": 0}],
        "params": [{"key": "rate", "value": "0.1"}],
        "tags": [{"key": "commit", "value": "abc"}],
    }
    made(user, server, "POST", "runs/log-batch", batch)
    made(
        user,
        server,
        "POST",
        "runs/log-metric",
        {"run_id": run, "key": "auc", "value": 0.95, "timestamp": 3000, "step": 1},
    )
    made(user, server, "POST", "runs/log-parameter", {"run_id": run, "key": "depth", "value": "3"})
    made(user, server, "POST", "runs/set-tag", {"run_id": run, "key": "stage", "value": "test"})
    made(user, server, "POST", "runs/update", {"run_id": run, "status": "FINISHED", "end_time": 4000})

    told = made(user, server, "GET", "runs/get", {"run_id": run})["run"]
    assert (told["info"]["status"], told["info"]["end_time"], told["info"]["run_name"]) == ("FINISHED", 4000, "first")
    assert [(each["key"], each["value"]) for each in told["data"]["metrics"]] == [("auc", 0.95)]
    assert {each["key"]: each["value"] for each in told["data"]["params"]} == {"rate": "0.1", "depth": "3"}
    wanted = {"experiment_ids": [experiment], "filter": "tags.execution = 'arn:a' and metrics.auc > 0.9"}
    assert [each["info"]["run_id"] for each in made(user, server, "POST", "runs/search", wanted)["runs"]] == [run]
    wanted["filter"] = "metrics.auc > 0.99"
    assert made(user, server, "POST", "runs/search", wanted) == {}
    assert [each["principal"] for each in user.calls("LogBatch")][-1].endswith(":root")


@pytest.mark.parametrize(
    "method, path, content, status, code",
    [
        ("GET", "experiments/get-by-name", {"experiment_name": "nothing"}, 404, "RESOURCE_DOES_NOT_EXIST"),
        ("GET", "runs/get", {"run_id": "0" * 32}, 404, "RESOURCE_DOES_NOT_EXIST"),
        ("POST", "experiments/create", {"name": "Default"}, 400, "RESOURCE_ALREADY_EXISTS"),
        ("POST", "runs/create", {"experiment_id": "17"}, 404, "RESOURCE_DOES_NOT_EXIST"),
        ("POST", "runs/log-model", {}, 501, "NOT_IMPLEMENTED"),
        ("GET", "runs/create", {}, 405, "ENDPOINT_NOT_FOUND"),
        ("POST", "runs/log-metric", {"run_id": "0" * 32, "value": "much"}, 400, "INVALID_PARAMETER_VALUE"),
    ],
)
def test_what_mlflow_refuses_is_refused_in_its_words(user, server, method, path, content, status, code):
    answered, told = ask(user, server, method, path, content)
    assert (answered, told["error_code"]) == (status, code), told


def test_a_request_that_is_not_signed_for_it_is_refused(user, server):
    status, told = ask(user, server, "GET", "experiments/get-by-name", {"experiment_name": "a"}, service="sagemaker")
    assert status == 403
    assert "sagemaker-mlflow" in told["message"]


def test_a_server_is_stopped_started_changed_and_deleted(user):
    name = new("tracking")
    arn = created(user, name)

    def status():
        return user.sagemaker.describe_mlflow_tracking_server(TrackingServerName=name)["TrackingServerStatus"]

    user.sagemaker.stop_mlflow_tracking_server(TrackingServerName=name)
    assert status() == "Stopping"
    until(lambda: status() == "Stopped", "it stops")
    assert ask(user, arn, "GET", "experiments/get-by-name", {"experiment_name": "Default"})[0] == 403
    user.sagemaker.start_mlflow_tracking_server(TrackingServerName=name)
    until(lambda: status() == "Started", "it starts")
    made(user, arn, "GET", "experiments/get-by-name", {"experiment_name": "Default"})
    made(user, arn, "POST", "experiments/create", {"name": "anew"})
    user.sagemaker.update_mlflow_tracking_server(TrackingServerName=name, TrackingServerSize="Medium")
    until(lambda: status() == "Updated", "it is changed")
    told = user.sagemaker.describe_mlflow_tracking_server(TrackingServerName=name)
    assert (told["TrackingServerSize"], told["ArtifactStoreUri"], told["IsActive"]) == ("Medium", ARTIFACTS, "Active")
    assert user.sagemaker.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "team", "Value": "a"}]
    with pytest.raises(ClientError, match="already exists"):
        created(user, name)
    user.sagemaker.delete_mlflow_tracking_server(TrackingServerName=name)

    def gone():
        listed = user.sagemaker.list_mlflow_tracking_servers()["TrackingServerSummaries"]
        return name not in [each["TrackingServerName"] for each in listed]

    until(gone, "it is gone")
    with pytest.raises(ClientError, match="does not exist"):
        status()
    again = created(user, name)
    assert made(user, again, "POST", "experiments/create", {"name": "anew"})


def test_an_app_keeps_runs_too(user):
    arn = user.sagemaker.create_mlflow_app(Name=new("app"), ArtifactStoreUri=ARTIFACTS, RoleArn=user.role)["Arn"]
    until(lambda: user.sagemaker.describe_mlflow_app(Arn=arn)["Status"] == "Created", "the app is created")
    assert "experiment_id" in made(user, arn, "POST", "experiments/create", {"name": "in an app"})
    user.sagemaker.update_mlflow_app(Arn=arn, ModelRegistrationMode="AutoModelRegistrationEnabled")
    until(lambda: user.sagemaker.describe_mlflow_app(Arn=arn)["Status"] == "Updated", "the app is changed")
    assert arn in [each["Arn"] for each in user.sagemaker.list_mlflow_apps()["Summaries"]]
    user.sagemaker.delete_mlflow_app(Arn=arn)
    until(lambda: arn not in [each["Arn"] for each in user.sagemaker.list_mlflow_apps()["Summaries"]], "it is gone")


def test_mlflows_own_client_logs_to_the_servers_url(user, server):
    name = server.rpartition("/")[2]
    url = user.sagemaker.describe_mlflow_tracking_server(TrackingServerName=name)["TrackingServerUrl"]
    code = """
import sys, mlflow
mlflow.set_tracking_uri(sys.argv[1])
mlflow.set_experiment("by the client")
with mlflow.start_run(run_name="own"):
    mlflow.log_params({"a": 1})
    mlflow.log_metric("auc", 0.5, step=2)
    mlflow.set_tag("who", "me")
[run] = mlflow.MlflowClient().search_runs([mlflow.get_experiment_by_name("by the client").experiment_id])
print(run.info.status, run.data.params, run.data.metrics, run.data.tags["who"])
"""
    done = subprocess.run([sys.executable, "-c", code, url], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1:] == ["FINISHED {'a': '1'} {'auc': 0.5} me"], done.stderr


def test_runs_outlive_the_emulator(tmp_path):
    tmp_path = tmp_path / "wörk folder"
    first = User(process.start(tmp_path), tmp_path)
    try:
        arn = created(first, "lasting")
        experiment = made(first, arn, "POST", "experiments/create", {"name": "kept"})["experiment_id"]
        run = made(first, arn, "POST", "runs/create", {"experiment_id": experiment})["run"]["info"]["run_id"]
        process.stop(tmp_path)
        second = User(process.start(tmp_path), tmp_path)
        arn = created(second, "lasting")
        assert made(second, arn, "GET", "runs/get", {"run_id": run})["run"]["info"]["experiment_id"] == experiment
    finally:
        process.stop(tmp_path)
