"""The whole of it, as a new user meets it: `slipway up local`, again, broken, mended, and `slipway down`."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import psutil
import pytest

from infra.settings import ROOT

MINUTES = 60


class Slipway:
    """The command, in a work folder of its own."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.environment = {**os.environ, "SLIPWAY_WORK": str(work)}

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "infra.cli", *arguments]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments),
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=5 * MINUTES,
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
    assert list(first["stacks"]) == ["platform-local", "employment-local"]
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
    assert steps == {"platform-local": {"same"}, "employment-local": {"same"}}


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
