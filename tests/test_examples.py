"""The examples, as whoever learns from them meets them: checked, trained, released, asked, and taken away again."""

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from botocore.exceptions import ClientError
from hypothesis import given, settings
from hypothesis import strategies as st
from werkzeug.exceptions import BadRequest
from werkzeug.test import Client

from examples.homes import sample as homes_sample
from examples.letters import inference as letters
from examples.letters import network
from examples.letters import sample as letters_sample
from examples.letters import train as letters_training
from examples.letters.image import serve
from examples.loans import inference as loans
from examples.loans import sample as loans_sample
from functions.training import job, schema
from infra import cloud
from infra.check import check
from infra.rehearsal.product import Clients
from infra.rehearsal.session import Rehearsal
from infra.rehearsal.state import StateStore
from infra.settings import ROOT, example_names, load
from infra.shadow import NoShadow, compare
from tests.served_models import wait_until

SAMPLES = {"loans": loans_sample, "letters": letters_sample, "homes": homes_sample}
LOCAL = [f"{name}-local" for name in sorted(SAMPLES)]
MOST_ROWS = 5000
SLOW = 600
"""Seconds: of a machine that does much else, for what takes two or three."""


# --- what is there ----------------------------------------------------------------------------------------------------


def test_each_example_is_a_whole_one() -> None:
    assert {*LOCAL, *(f"{name}-prod" for name in SAMPLES)} == {*example_names()}
    wanted = {
        "README.md",
        "Pulumi.yaml",
        *(f"{each}.py" for each in ("stack", "features", "gate", "train", "inference")),
    }
    for name in SAMPLES:
        assert wanted <= {path.name for path in (ROOT / "examples" / name).iterdir()}


@pytest.mark.parametrize("name", SAMPLES)
def test_the_pulumi_cli_finds_program_and_settings_from_an_examples_folder(name: str) -> None:
    folder = ROOT / "examples" / name
    told = yaml.safe_load((folder / "Pulumi.yaml").read_text("utf-8"))
    ours = yaml.safe_load((ROOT / "Pulumi.yaml").read_text("utf-8"))
    # Outputs of the platform are read within one project, and settings are below its name.
    assert told["name"] == ours["name"]
    assert (folder / told["main"]).resolve() == (ROOT / ours["main"]).resolve()
    assert (folder / told["runtime"]["options"]["virtualenv"]).resolve() == (ROOT / ".venv").resolve()
    assert (folder / told["stackConfigDir"] / f"Pulumi.{name}-prod.yaml").is_file()


@pytest.mark.parametrize("command", ["up", "down"])
def test_whoever_lacks_the_pulumi_cli_is_told_how_it_is_called(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(cloud.CloudError) as told:
        cloud.up(["loans-prod", "platform-prod"], local=False) if command == "up" else cloud.down(["loans-prod"])
    typed = re.findall(r"pulumi .*", str(told.value))
    verb = {"up": "up", "down": "destroy"}[command]
    assert typed[0].startswith(f"pulumi -C examples/loans {verb} --stack loans-prod")
    for pack in re.findall(r"--policy-pack (\S+)", typed[0]):
        assert (ROOT / "examples/loans" / pack).is_dir()
    if command == "up":
        assert typed[1].startswith("pulumi up --stack platform-prod --policy-pack policies/encryption")


def test_every_policy_holds_and_every_stack_of_production_states_its_use(tmp_path: Path) -> None:
    rehearsal = Rehearsal(tmp_path, say=lambda text: None, watching=lambda stack, changes: pytest.fail("deployed"))
    planned = rehearsal.plan_offline(example_names())
    report = check(planned)
    assert report.ok, [str(each) for each in report.violations]
    for told, plan in planned:
        kinds = {each.type for each in plan.resources}
        assert ("aws:sagemaker/endpoint:Endpoint" in kinds) is (told.tags["product"] != "homes")
        assert ("slipway:usage" in told.config) is (told.environment == "prod")


@pytest.mark.parametrize("name", SAMPLES)
def test_the_data_are_few_and_fit_the_schema(name: str) -> None:
    known = schema.of(f"examples.{name}")
    history, requests = list(SAMPLES[name].history()), list(SAMPLES[name].requests())
    assert len(history) <= MOST_ROWS
    for row in history + requests:
        assert known.rows.problems({each: row[each] for each in known.rows.names}) == []
    assert {row[known.label] for row in history} == {"0", "1"}
    assert not {row[known.rows.record_id] for row in history} & {row[known.rows.record_id] for row in requests}
    assert all(known.label not in row for row in requests)


# --- the network of the GPU example -----------------------------------------------------------------------------------

PIXELS = st.lists(st.lists(st.integers(0, int(network.INK)), min_size=64, max_size=64), min_size=1, max_size=9)


@settings(max_examples=20, deadline=None)
@given(PIXELS)
def test_what_a_digit_is_told_to_be_does_not_depend_on_what_else_is_asked(pixels: list[list[int]]) -> None:
    weights, rows = network.initial(7), np.array(pixels, dtype=float)
    together = network.probabilities(weights, rows)
    assert together.shape == (len(rows),)
    assert ((together >= 0) & (together <= 1)).all()
    alone = [network.probabilities(weights, row[None])[0] for row in rows]
    np.testing.assert_allclose(together, alone, atol=1e-5)


def hyperparameters(*given: str) -> argparse.Namespace:
    """Hyperparameters as a job is told them."""
    parser = argparse.ArgumentParser()
    letters_training.arguments(parser)
    parser.add_argument("--seed", type=int, default=7)
    return parser.parse_args(given)


def trained(epochs: int, monkeypatch: pytest.MonkeyPatch, checkpoints: Path | None = None) -> network.Weights:
    """Weights after some epochs on a few digits."""
    known = schema.of("examples.letters")
    rows = list(letters_sample.history())[:256]
    values = np.array([[float(row[name]) for name in known.rows.names] for row in rows])
    labels = np.array([int(row[known.label]) for row in rows])
    if checkpoints:
        monkeypatch.setenv("SM_CHECKPOINT_DIR", str(checkpoints))
    else:
        monkeypatch.delenv("SM_CHECKPOINT_DIR", raising=False)
    return letters_training.train(hyperparameters("--epochs", str(epochs)), values, labels)


def test_a_training_whose_spot_capacity_was_taken_goes_on_to_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = trained(4, monkeypatch)
    trained(2, monkeypatch, tmp_path)
    resumed = trained(4, monkeypatch, tmp_path)
    assert "going on after 2 of 4 epochs" in capsys.readouterr().out
    for name, weights in whole.items():
        np.testing.assert_allclose(resumed[name], weights, rtol=1e-5, atol=1e-6)


def test_too_few_rows_are_refused_with_how_many_it_takes() -> None:
    few = np.zeros((3, 64))
    with pytest.raises(SystemExit, match="3 rows: the network trains on 64 at a time"):
        letters_training.train(hyperparameters(), few, np.zeros(3, dtype=int))


def test_the_image_serves_what_training_packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network.save(network.initial(7), tmp_path / network.FILE)
    job.add_serving_code("examples.letters", tmp_path / "code")
    monkeypatch.setattr(sys, "path", [*sys.path])
    container = Client(serve.application(str(tmp_path)))
    assert container.get("/ping").status_code == 200
    digit = next(letters_sample.requests())
    line = ",".join(digit[name] for name in letters.ROWS.names)
    answer = container.post("/invocations", data=line, headers={"Content-Type": "text/csv", "Accept": "text/csv"})
    assert answer.status_code == 200
    assert float(answer.text) == pytest.approx(
        letters.predict_fn(letters.input_fn(line, "text/csv"), network.initial(7))[0], abs=1e-4
    )
    # No Accept: JSON, as SageMaker's own containers answer.
    assert "predictions" in container.post("/invocations", data=line, content_type="text/csv").get_json()
    refused = container.post("/invocations", data="1,2", content_type="text/csv")
    assert (refused.status_code, "64 are expected" in refused.text) == (400, True)
    assert container.post("/invocations", data=line, content_type="image/png").status_code == 415
    assert container.get("/models").status_code == 404


def test_the_image_says_that_a_model_brings_no_program(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=re.escape("code/inference.py")):
        serve.application(str(tmp_path))


# --- the tabular one --------------------------------------------------------------------------------------------------


def test_a_loan_with_a_text_that_is_no_category_is_taken_and_one_that_is_no_number_refused() -> None:
    loan = next(loans_sample.requests())
    good = [loan[name] for name in loans.ROWS.names]
    place = loans.ROWS.names.index("salary_range")
    [known] = loans.input_fn(",".join(good), "text/csv")
    [other] = loans.input_fn(",".join([*good[:place], "a fortune", *good[place + 1 :]]), "text/csv")
    assert not np.isnan(known).any()
    assert np.flatnonzero(np.isnan(other)).tolist() == [place]
    with pytest.raises(BadRequest, match="row 1: car_value is 'dear', which is no number"):
        loans.input_fn(",".join(["dear", *good[1:]]), "text/csv")


# --- in the rehearsal -------------------------------------------------------------------------------------------------


class Slipway:
    """The command, in a work folder of its own."""

    def __init__(self, work: Path) -> None:
        self.work = work

    def run(self, *arguments: str) -> str:
        """What it says. Raises AssertionError where it fails."""
        done = subprocess.run(
            [sys.executable, "-m", "infra.cli", *arguments],
            cwd=ROOT,
            env={**os.environ, "SLIPWAY_WORK": str(self.work)},
            capture_output=True,
            text=True,
            timeout=3 * SLOW,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def json(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "--json"))

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{json.loads((self.work / 'emulator.json').read_text())['port']}"

    @property
    def clients(self) -> Clients:
        return Clients(self.endpoint, "us-east-1")

    def client(self, service: str) -> Any:
        return self.clients(service)

    def outputs(self, stack: str) -> Any:
        return StateStore(self.work).load(stack).outputs() or {}


@pytest.fixture(scope="module")
def slipway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slipway]:
    slipway = Slipway(tmp_path_factory.mktemp("examples") / "work")
    yield slipway
    slipway.run("down", "local")


@pytest.fixture(scope="module")
def up(slipway: Slipway) -> Any:
    """What one `up` of the platform and of all three says."""
    return slipway.json("up", "platform-local", *LOCAL)


def test_one_command_brings_the_platform_and_all_three(slipway: Slipway, up: Any) -> None:
    assert {*up["stacks"]} == {"platform-local", *LOCAL}
    for stack in LOCAL:
        gate = load(stack).program.gate  # type: ignore[attr-defined]  # of a Product
        measured = up["product"][stack]["metadata"]
        assert all(float(measured[name]) >= least for name, least in gate.items())
        assert up["product"][stack]["version"] == 1


def ask_loans(slipway: Slipway) -> list[str]:
    """What the loans model answers to the first three; raises where it sleeps."""
    rows = [",".join(row[name] for name in loans.ROWS.names) for row in loans_sample.requests()][:3]
    answer = slipway.client("sagemaker-runtime").invoke_endpoint(
        EndpointName="loans-local",
        InferenceComponentName="loans-local",
        ContentType="text/csv",
        Accept="text/csv",
        Body="\n".join(rows),
    )
    return answer["Body"].read().decode().split()  # type: ignore[no-any-return]  # boto3's clients are not typed here


def test_loans_falls_asleep_when_nobody_asks_and_wakes_for_who_asks_again(slipway: Slipway, up: Any) -> None:
    sagemaker = slipway.client("sagemaker")

    def copies() -> int:
        told = sagemaker.describe_inference_component(InferenceComponentName="loans-local")
        return int(told["RuntimeConfig"]["CurrentCopyCount"])

    wait_until(lambda: copies() == 0, "it is asleep", SLOW)
    with pytest.raises(ClientError, match="no capacity"):
        ask_loans(slipway)

    def answered() -> list[str]:
        try:
            return ask_loans(slipway)
        except ClientError as error:
            assert "no capacity" in str(error)
            return []

    answers = wait_until(answered, "it is awake", SLOW)
    assert len(answers) == 3
    assert all(0 <= float(each) <= 1 for each in answers)


def test_letters_shifts_to_a_second_version_and_its_shadow_is_compared_with_it(slipway: Slipway, up: Any) -> None:
    told = slipway.json("pipeline", "start", "letters-local", "--dataset", "again", "--set", "epochs=3", "--wait")
    assert told["version"] == 2
    slipway.run("approve", "letters-local", "2", "--as", "someone-else")

    def live() -> bool:
        return str(slipway.json("history", "letters-local")["live"]["package_arn"]).endswith("/2")

    wait_until(live, "version 2 is live, released by its approval", SLOW)
    deployed = slipway.client("sagemaker").describe_endpoint(EndpointName="letters-local")["LastDeploymentConfig"]
    routing = deployed["BlueGreenUpdatePolicy"]["TrafficRoutingConfiguration"]
    assert (routing["Type"], routing["CanarySize"]["Value"]) == ("CANARY", 50)

    rows = [",".join(row[name] for name in letters.ROWS.names) for row in letters_sample.requests()]
    runtime = slipway.client("sagemaker-runtime")
    for start in range(0, 200, 20):
        body = "\n".join(rows[start : start + 20])
        runtime.invoke_endpoint(EndpointName="letters-local", ContentType="text/csv", Accept="text/csv", Body=body)

    def compared() -> Any:
        slipway.clients.ask("flush", {})
        found = slipway.json("shadow", "letters-local")
        return found if found["requests"] == 10 else None

    found = wait_until(compared, "both have answered, and both are captured", SLOW)
    assert (found["live"]["version"], found["shadow"]["version"]) == ("2", "1")
    assert found["rows"] == 200
    assert found["live"]["failed"] == found["shadow"]["failed"] == 0
    # One was trained for 12 epochs, the other for 3: alike, and not the same.
    assert 0 < found["mean_difference"] < 0.2
    assert found["largest_difference"] >= found["mean_difference"]
    low, high = found["other_side_percent"]
    assert low <= 100 * found["other_side"] / 200 <= high


def test_homes_answers_each_file_and_has_no_endpoint(slipway: Slipway, up: Any) -> None:
    outputs = slipway.outputs("homes-local")
    assert "endpoint_name" not in outputs
    blocks = list(homes_sample.requests())[:25]
    names = schema.of("examples.homes").rows.names
    lines = "".join(",".join([row["id"], *(row[name] for name in names)]) + "\n" for row in blocks)
    bucket, _, folder = outputs["batch_incoming_uri"].removeprefix("s3://").partition("/")
    slipway.client("s3").put_object(Bucket=bucket, Key=f"{folder}bank-a/portfolio.csv", Body=lines)
    slipway.clients.ask("fire", {"schedule": outputs["batch_schedule_name"]})
    answers = outputs["batch_answers_uri"].removeprefix(f"s3://{bucket}/")

    def answered() -> Any:
        found = slipway.client("s3").list_objects_v2(Bucket=bucket, Prefix=f"{answers}bank-a/").get("Contents")
        return found[0]["Key"] if found else None

    key = wait_until(answered, "the file is answered", SLOW)
    assert key == f"{answers}bank-a/portfolio.csv.out"
    told = slipway.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read().decode().splitlines()
    assert [line.split(",")[0] for line in told] == [row["id"] for row in blocks]
    assert all(0 <= float(line.split(",")[1]) <= 1 for line in told)


def test_what_has_no_shadow_is_not_compared(slipway: Slipway, up: Any) -> None:
    outputs = slipway.outputs("loans-local")
    with pytest.raises(NoShadow, match=re.escape("set slipway:settings.endpoint.shadow")):
        compare(slipway.client, "loans-local", outputs["captures_uri"], outputs["ledger_bucket"], datetime.now(UTC))


def test_one_of_them_goes_and_then_all_go_with_the_platform(slipway: Slipway, up: Any) -> None:
    assert slipway.json("down", "homes-local")["deleted"]["homes-local"] > 100
    gone = slipway.json("down", "local")
    assert {*gone["deleted"]} == {"platform-local", "letters-local", "loans-local"}
    assert not slipway.work.exists()
