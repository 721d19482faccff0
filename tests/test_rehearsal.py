"""The whole of it, as a new user meets it: `slipway up local`, again, broken, mended, and `slipway down`."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import boto3
import psutil
import pytest

from functions.employment.features import SCHEMA
from infra.prediction import Addresses, in_rehearsal
from infra.rehearsal.state import StateStore
from infra.settings import ROOT, stacks_of

MINUTES = 60


class Slipway:
    """The command, in a work folder of its own."""

    def __init__(self, work: Path) -> None:
        self.work = work
        # Fewer people than a user has: training takes a third of the time, and still passes its gate.
        self.environment = {**os.environ, "SLIPWAY_WORK": str(work), "SLIPWAY_PEOPLE": "12000"}

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "infra.cli", *arguments]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments),
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=10 * MINUTES,
        )

    def json(self, *arguments: str) -> Any:
        done = self.run(*arguments, "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    @property
    def emulator(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.work / "emulator.json").read_text())
        return found

    def client(self, service: str) -> Any:
        return boto3.client(
            service,  # type: ignore[call-overload]  # the name is the test's, so the stubs cannot tell which client
            region_name="us-east-1",
            endpoint_url=f"http://127.0.0.1:{self.emulator['port']}",
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )

    def outputs(self, stack: str) -> Mapping[str, Any]:
        """What a stack exports, secrets included."""
        return StateStore(self.work).load(stack).outputs() or {}

    def resources(self, stack: str) -> list[dict[str, Any]]:
        state = json.loads((self.work / "state" / f"{stack}.json").read_text())
        found: list[dict[str, Any]] = state["deployment"]["resources"]
        return found


@pytest.fixture(scope="module")
def slipway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slipway]:
    slipway = Slipway(tmp_path_factory.mktemp("slipway") / "work")
    yield slipway
    slipway.run("down", "local")


@pytest.fixture(scope="module")
def first(slipway: Slipway) -> Any:
    return slipway.json("up", "local")


def test_up_deploys_both_stacks(first: Any) -> None:
    assert list(first["stacks"]) == stacks_of(["local"])
    assert {*first["stacks"]} >= {"platform-local", "employment-local"}
    assert all(stack["steps"]["create"] > 10 for stack in first["stacks"].values())


def test_the_served_model_was_trained_gated_and_approved(slipway: Slipway, first: Any) -> None:
    sagemaker = slipway.client("sagemaker")
    endpoint = sagemaker.describe_endpoint(EndpointName="employment-local")
    assert endpoint["EndpointStatus"] == "InService"
    config = sagemaker.describe_endpoint_config(EndpointConfigName=endpoint["EndpointConfigName"])
    model = sagemaker.describe_model(ModelName=config["ProductionVariants"][0]["ModelName"])
    package = sagemaker.describe_model_package(ModelPackageName=model["PrimaryContainer"]["ModelPackageName"])
    assert package["ModelApprovalStatus"] == "Approved"
    assert float(package["CustomerMetadataProperties"]["accuracy"]) > 0.8


def test_the_ledger_says_who_approved_what_is_live(slipway: Slipway, first: Any) -> None:
    told = slipway.json("history", "employment-local")
    assert told["live"]["package_arn"].endswith("model-package/employment-local/1")
    assert told["live"]["approved_by"].endswith("/employment-local-approver/reviewer")
    assert told["live"]["evidence"]["metrics"]["accuracy"] > 0.8


def test_nothing_rings_once_all_is_up(slipway: Slipway, first: Any) -> None:
    alarms = slipway.json("status")["product"]["employment-local"]["alarms"]
    assert len(alarms) > 10
    assert {name for name, state in alarms.items() if state == "ALARM"} == set()


def test_an_application_asks_through_the_api_with_the_client_made_for_it(slipway: Slipway, first: Any) -> None:
    made = slipway.run("api", "client", "employment-local")
    assert made.returncode == 0, made.stderr
    module: dict[str, Any] = {"__name__": "client_of_employment"}
    exec(compile(made.stdout, "client.py", "exec"), module)
    outputs = slipway.outputs("employment-local")
    given = slipway.run("api", "keys", "employment-local", "web")
    assert given.returncode == 0, given.stderr
    keys = json.loads(given.stdout)
    told = Addresses(url=outputs["api_url"], token_url=outputs["api_token_url"])
    where = in_rehearsal(told, f"http://127.0.0.1:{slipway.emulator['port']}")
    auth = module["ClientCredentials"](where.token_url, keys["client_id"], keys["client_secret"])
    client = module["Client"](where.url, auth=auth, api_key=keys["api_key"])
    answers = ["46", "21", "1", "0", "2", "0", "3", "1", "4", "2", "2", "2", "2", "2", "1", "1"]
    codes = dict(zip(SCHEMA.names, answers, strict=True))
    person = {**codes, "AGEP": 46.0}
    answer = client.predict([person])
    assert answer.predictions[0] > 0.8
    assert answer.model == "1"
    with pytest.raises(module["InvalidInput"]) as refused:
        client.predict([{**person, "AGEP": 4600.0}])
    assert [fault.feature for fault in refused.value.faults] == ["AGEP"]


def test_a_second_version_is_trained_approved_by_someone_else_released_and_taken_back(
    slipway: Slipway, first: Any
) -> None:
    sagemaker = slipway.client("sagemaker")
    started = slipway.json(
        "pipeline", "start", "employment-local", "--dataset", "acs-2015-again", "--set", "max-iter=60"
    )

    def ended() -> Any:
        found = sagemaker.describe_pipeline_execution(PipelineExecutionArn=started["execution"])
        return found if found["PipelineExecutionStatus"] != "Executing" else None

    assert wait_until(ended)["PipelineExecutionStatus"] == "Succeeded"

    machine = slipway.outputs("employment-local")["release_state_machine_arn"]

    def ended_releases() -> list[Any]:
        found = slipway.client("stepfunctions").list_executions(stateMachineArn=machine)["executions"]
        return [each for each in found if each["status"] != "RUNNING"]

    before = len(ended_releases())
    done = slipway.run("approve", "employment-local", "2", "--as", "carol")
    assert done.returncode == 0, done.stderr

    def live(version: int) -> Any:
        told = slipway.json("history", "employment-local")["live"]
        return told if told["package_arn"].endswith(f"/{version}") else None

    # Each run of the command takes a second of the processor that the release needs.
    wait_until(lambda: len(ended_releases()) > before)
    released = wait_until(lambda: live(2))
    assert released["approved_by"].endswith("/employment-local-approver/carol")
    began = time.monotonic()
    back = slipway.json("rollback", "employment-local", "--reason", "a test")
    assert time.monotonic() - began < MINUTES
    assert back["live"].endswith("/employment-local/1")
    assert live(1)


def wait_until(condition: Callable[[], Any], seconds: float = 3 * MINUTES) -> Any:
    """What `condition` returns, once it is true."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.5)
    raise AssertionError(f"not within {seconds:g} s")


def test_a_request_is_answered_by_the_model(slipway: Slipway, first: Any) -> None:
    runtime = slipway.client("sagemaker-runtime")
    employed, child = "46,21,1,0,2,0,3,1,4,2,2,2,2,2,1,1", "6,3,5,2,2,1,1,1,0,1,1,2,2,2,1,1"
    answer = runtime.invoke_endpoint(
        EndpointName="employment-local", ContentType="text/csv", Accept="text/csv", Body=f"{employed}\n{child}\n"
    )
    probabilities = [float(line) for line in answer["Body"].read().decode().split()]
    assert probabilities[0] > 0.8
    assert probabilities[1] < 0.05


def test_the_monitor_has_read_what_was_captured(slipway: Slipway, first: Any) -> None:
    report = first["product"]["employment-local"]["monitor"]
    assert report["rows"] > 500
    assert report["drifted_features"] == 0


def test_every_declared_resource_is_found(slipway: Slipway, first: Any) -> None:
    """A plan against the emulator reads every resource back: whatever is not found would be made again."""
    plans = slipway.json("plan", "local")
    steps = {stack: {step["op"] for step in plan["steps"]} - {"read"} for stack, plan in plans.items()}
    assert steps == {stack: {"same"} for stack in first["stacks"]}


def test_every_taggable_resource_says_who_pays(slipway: Slipway, first: Any) -> None:
    untagged = [
        resource["urn"]
        for stack in ("platform-local", "employment-local")
        for resource in slipway.resources(stack)
        if "tagsAll" in resource.get("outputs", {})
        and not {"owner", "product", "environment", "cost-center"} <= resource["outputs"]["tagsAll"].keys()
    ]
    assert untagged == []


def test_a_second_up_changes_nothing_and_says_so(slipway: Slipway, first: Any) -> None:
    done = slipway.run("up", "local")
    assert done.returncode == 0, done.stderr
    assert "Nothing changed" in done.stdout


def test_every_role_is_granted_what_it_used_and_whatever_else_is_explained(slipway: Slipway, first: Any) -> None:
    """Last of those that ask the first emulator: the evidence is all that was done to it above."""
    run_every_monitor(slipway, times=2)
    done = slipway.run("access", "--json")
    assert done.returncode in (0, 1), done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert told["counts"]["roles"] > 20
    assert told["counts"]["used"] > 100
    roles = told["roles"].items()
    missing = [(role, each["action"], each["why"]) for role, found in roles for each in found["missing"]]
    assert missing == []
    unexplained = [
        (role, each["action"], each["resource"]) for role, found in roles for each in found["unused"] if not each["why"]
    ]
    assert unexplained == []
    assert told["stale_explanations"] == []


def run_every_monitor(slipway: Slipway, times: int) -> None:
    """As their schedules would: some are due by the hour, and only a second run reads what a first one remembered."""
    schedules = slipway.client("scheduler")
    listed = schedules.get_paginator("list_schedules").paginate().build_full_result()["Schedules"]
    watched = [
        each for each in listed if {"quality", "service", "freshness", "spending"} & {*each["GroupName"].split("-")}
    ]
    assert len(watched) == 5, listed
    for each in watched * times:
        target = schedules.get_schedule(Name=each["Name"], GroupName=each["GroupName"])["Target"]
        done = slipway.client("lambda").invoke(FunctionName=target["Arn"], Payload=target["Input"])
        assert "FunctionError" not in done, done["Payload"].read()


def test_a_missing_state_file_is_told_and_nothing_is_made_twice(slipway: Slipway, first: Any) -> None:
    state = slipway.work / "state" / "platform-local.json"
    aside = state.rename(slipway.work / "aside.json")
    done = slipway.run("up", "local")
    aside.rename(state)
    assert done.returncode == 1
    assert f"{state}: missing" in done.stderr
    assert "slipway down local" in done.stderr


def test_a_lost_emulator_is_made_whole_again(slipway: Slipway, first: Any) -> None:
    os.kill(slipway.emulator["pid"], signal.SIGKILL)
    again = slipway.json("up", "local")
    assert again["stacks"]["platform-local"]["steps"]["create"] > 10
    endpoint = slipway.client("sagemaker").describe_endpoint(EndpointName="employment-local")
    assert endpoint["EndpointStatus"] == "InService"


def test_down_leaves_nothing(slipway: Slipway, first: Any) -> None:
    done = slipway.run("down", "local")
    assert done.returncode == 0, done.stdout + done.stderr
    assert not slipway.work.exists()
    assert [process.pid for process in psutil.process_iter() if str(slipway.work) in _command_line(process)] == []


def test_an_interrupted_up_is_carried_on(tmp_path: Path) -> None:
    slipway = Slipway(tmp_path / "work")
    try:
        started = subprocess.Popen(
            slipway.command("up", "platform-local"),
            cwd=ROOT,
            env=slipway.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # A run in the background of a shell has Ctrl-C switched off, and its children with it.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        journal = slipway.work / "state" / "platform-local.journal.jsonl"
        deadline = time.monotonic() + MINUTES
        while not (journal.exists() and journal.stat().st_size > 20_000):
            assert started.poll() is None and time.monotonic() < deadline, "it never got going"
            time.sleep(0.01)
        started.send_signal(signal.SIGINT)
        _, errors = started.communicate(timeout=MINUTES)
        assert started.returncode == 130, errors
        assert "`up` carries on from there" in errors
        slipway.json("up", "platform-local")
        vpcs = slipway.client("ec2").describe_vpcs(Filters=[{"Name": "is-default", "Values": ["false"]}])["Vpcs"]
        assert len(vpcs) == 1
    finally:
        slipway.run("down", "local")


def _command_line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""
