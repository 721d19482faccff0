"""What the commands tell of a model's versions, of a training they wait for, and of a monitor that looks now."""

import io
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from typer.testing import CliRunner

from functions.release import incident
from infra import cli, monitors, pipelines, releases, versions
from infra.reach import Deployed

GROUP = "arn:aws:sagemaker:us-east-1:123456789012:model-package/churn-dev"
BEGAN = datetime(2026, 11, 21, 9, tzinfo=UTC)
HISTORY = {
    1: {"ModelApprovalStatus": "Approved", "ApprovalDescription": "good"},
    2: {"ModelApprovalStatus": "Rejected", "ApprovalDescription": "worse for the young"},
    3: {"ModelApprovalStatus": "PendingManualApproval"},
}


class Pages:
    """A paginator of one page."""

    def __init__(self, page: Mapping[str, Any]) -> None:
        self.page = page

    def paginate(self, **_: Any) -> list[Mapping[str, Any]]:
        return [self.page]


class SageMaker:
    """What SageMaker tells of one product: three versions, and an execution that ends as it is told to."""

    def __init__(self, status: str = "Succeeded", steps: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        self.status, self.steps = status, steps or {}

    def get_paginator(self, operation: str) -> Pages:
        if operation == "list_model_packages":
            return Pages({"ModelPackageSummaryList": [{"ModelPackageArn": f"{GROUP}/{each}"} for each in HISTORY]})
        times = {"StartTime": BEGAN, "EndTime": BEGAN + timedelta(seconds=90)}
        steps = [{"StepName": name, "Metadata": {}, **times, **said} for name, said in self.steps.items()]
        return Pages({"PipelineExecutionSteps": steps})

    def describe_pipeline_execution(self, PipelineExecutionArn: str) -> Mapping[str, Any]:
        return {"PipelineExecutionStatus": self.status, "FailureReason": f"{PipelineExecutionArn} was stopped by hand"}

    def describe_model_package(self, ModelPackageName: str) -> Mapping[str, Any]:
        version = int(ModelPackageName.rpartition("/")[2])
        told = {"auc": "0.9", "rows_trained": "100", "param_seed": "7", "author": "arn:aws:iam::123456789012:user/dana"}
        return {
            "ModelPackageArn": ModelPackageName,
            "ModelPackageVersion": version,
            "CreationTime": BEGAN,
            "CustomerMetadataProperties": told,
            **HISTORY[version],
        }


def deployed(outputs: Mapping[str, Any] | None = None, **clients: Any) -> Deployed:
    settings = SimpleNamespace(stack="churn-dev", environment="dev")
    told = {"model_package_group_name": "churn-dev", "ledger_bucket": "ledger", "pipeline_name": "churn-dev-training"}
    return Deployed(cast(Any, settings), told | dict(outputs or {}), lambda service: clients.get(service))


def test_versions_say_how_good_they_are_who_approved_them_and_which_one_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = SimpleNamespace(kind="approved", package_arn=f"{GROUP}/1", by="arn:aws:sts::1:assumed-role/approver/maria")
    monkeypatch.setattr(versions.ledger, "entries", lambda *_: [entry])
    monkeypatch.setattr(versions, "live_package", lambda *_: f"{GROUP}/1")

    found = versions.versions(deployed({"endpoint_name": "churn-dev"}, sagemaker=SageMaker()))

    assert [each.version for each in found] == [3, 2, 1]
    assert [each.status for each in found] == ["waits for approval", "rejected", "approved"]
    assert [each.live for each in found] == [False, False, True]
    assert found[2].approved_by.endswith("/maria")
    assert found[1].why == "worse for the young"
    assert found[0].metrics == {"auc": 0.9}


def test_a_product_without_an_endpoint_has_versions_and_none_is_live(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions.ledger, "entries", lambda *_: [])
    found = versions.versions(deployed(sagemaker=SageMaker()))
    assert not any(each.live or each.approved_by for each in found)


REGISTERED = {"StepStatus": "Succeeded", "Metadata": {"RegisterModel": {"Arn": f"{GROUP}/4"}}}


def test_a_training_is_followed_to_the_version_that_it_registers() -> None:
    said: list[str] = []
    sagemaker = SageMaker(steps={"train": {"StepStatus": "Succeeded"}, "register": REGISTERED})
    assert pipelines.follow(lambda _: sagemaker, "run", said.append) == 4
    assert said == ["train: succeeded (90 s)", "register: succeeded (90 s)"]


@pytest.mark.parametrize(
    ("status", "steps", "sentence"),
    [
        ("Failed", {"train": {"StepStatus": "Failed", "FailureReason": "no labels"}}, "failed: train: no labels"),
        ("Stopped", {}, "stopped: run was stopped by hand"),
        ("Succeeded", {"gate": {"StepStatus": "Succeeded"}}, "did not pass its gate"),
    ],
)
def test_a_training_without_a_version_says_why(status: str, steps: Mapping[str, Any], sentence: str) -> None:
    with pytest.raises(pipelines.NotTrained, match=sentence):
        pipelines.follow(lambda _: SageMaker(status, steps), "run", lambda _: None)


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> tuple[int, str]:
    """A command on that product: its exit code, and what it printed."""
    monkeypatch.setattr("infra.reach.reach", lambda *_, **__: deployed(sagemaker=SageMaker("Failed")))
    done = CliRunner().invoke(cli.app, words)
    return done.exit_code, done.output


def test_a_parameter_that_the_pipeline_does_not_have_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(*_: Any) -> None:
        raise ValueError("churn-dev-training has no parameter learning_rate; it has learning-rate")

    monkeypatch.setattr(pipelines, "start", start)
    code, printed = run(monkeypatch, "pipeline", "start", "churn-dev", "--dataset", "x", "--set", "learning_rate=1")
    assert code == cli.MISUSED and "it has learning-rate" in printed


def test_a_training_that_is_waited_for_and_fails_ends_with_1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipelines, "start", lambda *_: SimpleNamespace(arn="run"))
    assert run(monkeypatch, "pipeline", "start", "churn-dev", "--dataset", "x")[0] == 0
    code, printed = run(monkeypatch, "pipeline", "start", "churn-dev", "--dataset", "x", "--wait")
    assert code == cli.FAILED and "the training failed" in printed


class Scheduler:
    """It knows one schedule, or none."""

    class exceptions:
        ResourceNotFoundException = KeyError

    def get_schedule(self, GroupName: str, Name: str) -> Mapping[str, Any]:
        assert Name == "run"
        return {"churn-dev-data": {"Target": {"Arn": "function", "Input": '{"endpoint": "churn-dev"}'}}}[GroupName]


class Functions:
    """A function that fails, or does not; it keeps what it was given."""

    def __init__(self, error: str = "") -> None:
        self.error, self.given = error, b""

    def invoke(self, FunctionName: str, Payload: bytes) -> Mapping[str, Any]:
        self.given = Payload
        failed = {
            "FunctionError": "Unhandled",
            "Payload": io.BytesIO(json.dumps({"errorMessage": self.error}).encode()),
        }
        return failed if self.error else {}


def test_a_monitor_looks_now_with_what_its_schedule_gives_it(monkeypatch: pytest.MonkeyPatch) -> None:
    functions, report = Functions(), monitors.Shown("data", "s3://lake/", {})
    monkeypatch.setattr(monitors, "newest", lambda *_: [report])
    assert monitors.run(deployed(scheduler=Scheduler(), **{"lambda": functions}), "data") is report
    assert json.loads(functions.given) == {"endpoint": "churn-dev"}


@pytest.mark.parametrize(
    ("monitor", "sentence"), [("quality", "has no quality monitor"), ("data", "data monitor of churn-dev failed: torn")]
)
def test_a_monitor_that_is_not_there_or_fails_says_so(monitor: str, sentence: str) -> None:
    with pytest.raises(monitors.NoReport, match=sentence):
        monitors.run(deployed(scheduler=Scheduler(), **{"lambda": Functions("torn")}), monitor)


def test_a_rollback_without_a_version_before_names_no_version() -> None:
    found = incident.of(
        {"template": {"endpoint": "churn-dev"}},
        execution="run",
        started="2026-11-21T09:00:00Z",
        failed="2026-11-21T09:01:00Z",
        reason="there is none to go back to",
        live=f"{GROUP}/1",
        runbook="",
        token="1",
    )
    assert found.what == "the version before did not go live: there is none to go back to"
    assert found.needs[-1] == "once that is mended: `slipway rollback churn-dev`"


class Machines:
    """Step Functions with one execution, of a version, that began at a time."""

    meta = SimpleNamespace(region_name="us-east-1")

    def __init__(self, version: int, began: datetime) -> None:
        self.version, self.began = version, began

    def get_caller_identity(self) -> Mapping[str, str]:
        return {"Account": "123456789012"}

    def list_executions(self, stateMachineArn: str, maxResults: int) -> Mapping[str, Any]:
        assert stateMachineArn.endswith(":stateMachine:churn-dev-release")
        return {"executions": [{"executionArn": "run", "startDate": self.began}][:maxResults]}

    def describe_execution(self, executionArn: str) -> Mapping[str, Any]:
        return {"status": "SUCCEEDED", "input": json.dumps({"model_package_arn": f"{GROUP}/{self.version}"})}

    def get_paginator(self, _: str) -> Pages:
        waited = [{"stateEnteredEventDetails": {"name": name}} for name in ("Lock", "Wait for our turn") * 3]
        return Pages({"events": [*waited, {"stateEnteredEventDetails": {"name": "Verify"}}]})


def test_the_release_that_an_approval_starts_is_followed_and_each_thing_said_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(releases, "live_package", lambda *_: f"{GROUP}/2")
    said: list[str] = []
    found = releases.after_approval(lambda _: Machines(2, BEGAN), "churn-dev", f"{GROUP}/2", BEGAN, say=said.append)
    assert found.ok and found.lines()[0].startswith("churn-dev serves version 2, after")
    assert [each.partition(" ")[2] for each in said] == [
        "asks for its turn",
        "waits for its turn: another release of this endpoint runs",
        "verifies signature, digests, gate and approval",
    ]


@pytest.mark.parametrize(("version", "later"), [(1, timedelta()), (2, timedelta(hours=1)), (12, timedelta())])
def test_a_release_of_another_version_or_of_before_is_not_the_approval_s(version: int, later: timedelta) -> None:
    with pytest.raises(releases.NoRelease, match="slipway release churn-dev 2"):
        releases.after_approval(
            lambda _: Machines(version, BEGAN), "churn-dev", f"{GROUP}/2", BEGAN + later, say=print, seconds=0
        )
