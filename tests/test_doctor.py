"""`slipway doctor` and the guard: what is missing or wrong, here and in an account, and how to mend each."""

import importlib.metadata
import json
import os
import shutil
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, NoCredentialsError
from typer.testing import CliRunner

import infra.cli as cli
from infra import cloud
from infra.doctor import Machine, here, of_environment
from infra.environments import Environment
from infra.preflight import Check
from infra.rehearsal.emulator import process

PROD = Environment(account="777788889999", region="us-east-1")


def named(checks: list[Check], name: str) -> Check:
    [found] = [each for each in checks if each.name == name]
    return found


def machine(work: Path, said: Mapping[str, str] | None = None, **environment: str) -> Machine:
    """This machine, with another environment; `said` is what programs print."""
    answers = said or {}
    return Machine({"PATH": os.environ["PATH"], **environment}, work, lambda command: answers.get(command[0], "x 1.0"))


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """No credentials of whoever runs the tests."""
    for name in [each for each in os.environ if each.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


# --- this machine ---------------------------------------------------------------------------------------------------


def test_this_machine_can_run_what_its_tests_run(tmp_path: Path) -> None:
    found = here(machine(tmp_path))
    assert {"Python", "uv", "git", "make", "Pulumi CLI", "disk", "memory", "emulator", "text encoding"} <= {
        each.name for each in found
    }
    assert [each for each in found if each.status == "failed"] == []


def test_without_pulumi_it_says_what_still_works_and_what_to_install(tmp_path: Path) -> None:
    found = named(here(Machine({"PATH": str(tmp_path)}, tmp_path)), "Pulumi CLI")
    assert found.status == "unknown" and "the rehearsal, `check` and `plan` need none" in found.detail
    assert "pulumi.com/docs/install" in found.remedy


@pytest.mark.parametrize(
    ("said", "status"), [("v3.1.0", "failed"), ("v3.272.0", "ok"), ("v4.0.1", "ok"), ("", "unknown")]
)
def test_an_older_pulumi_than_its_sdk_is_to_be_mended(tmp_path: Path, said: str, status: str) -> None:
    program = tmp_path / "pulumi"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    found = named(here(machine(tmp_path, {str(program): said}, PATH=str(tmp_path))), "Pulumi CLI")
    assert found.status == status


TRAPS: dict[str, tuple[dict[str, str], str, str]] = {
    "proxy": ({"HTTP_PROXY": "http://me:secret@proxy:3128"}, "unknown", "NO_PROXY=127.0.0.1,localhost"),
    "AWS_ENDPOINT_URL": ({"AWS_ENDPOINT_URL": "http://localhost:4566"}, "failed", "unset AWS_ENDPOINT_URL"),
    "SSL_CERT_FILE": ({"SSL_CERT_FILE": "/nowhere.pem"}, "failed", "unset SSL_CERT_FILE"),
    "PYTHONPATH": ({"PYTHONPATH": "/opt/other"}, "unknown", "unset PYTHONPATH"),
}


@pytest.mark.parametrize("trap", TRAPS)
def test_a_setting_that_leads_astray_is_named_with_its_remedy(tmp_path: Path, trap: str) -> None:
    environment, status, remedy = TRAPS[trap]
    found = named(here(machine(tmp_path, **environment)), trap)
    assert (found.status, remedy in found.remedy) == (status, True)
    assert "secret" not in found.detail
    assert trap not in {each.name for each in here(machine(tmp_path))}


def test_a_proxy_that_leaves_loopback_alone_is_fine(tmp_path: Path) -> None:
    settings = {"HTTP_PROXY": "http://proxy:3128", "no_proxy": "localhost, 127.0.0.1"}
    assert named(here(machine(tmp_path, **settings)), "proxy").status == "ok"


def test_another_encoding_than_utf8_is_to_be_mended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("locale.getpreferredencoding", lambda whether: "ANSI_X3.4-1968")
    monkeypatch.setattr("sys.flags", type("Flags", (), {"utf8_mode": 0})())
    found = named(here(machine(tmp_path)), "text encoding")
    assert (found.status, "PYTHONUTF8=1" in found.remedy) == ("failed", True)


@pytest.mark.parametrize(("free", "status"), [(0.5, "failed"), (3, "unknown"), (50, "ok")])
def test_room_on_the_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: float, status: str) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=int(free * 2**30))
    monkeypatch.setattr(shutil, "disk_usage", lambda where: usage)
    assert named(here(machine(tmp_path / "not" / "made")), "disk").status == status


def test_a_missing_or_other_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = importlib.metadata.version

    def version(name: str) -> str:
        if name == "pyarrow":
            raise importlib.metadata.PackageNotFoundError
        return "1.0.0" if name == "boto3" else known(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    found = here(machine(tmp_path))
    assert named(found, "package pyarrow").remedy == named(found, "package boto3").remedy == "make .venv/ready"
    assert named(found, "package boto3").detail.startswith("1.0.0, not ")


def test_the_emulators_port_is_told_when_something_else_has_it(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process.write_record(tmp_path, port, "gone")
        process.record_path(tmp_path).write_text(json.dumps({"port": port, "pid": 1, "instance": "a", "started": 0}))
        assert f"its port {port} is in use" in named(here(machine(tmp_path)), "emulator").detail
    assert "ports are free" in named(here(machine(tmp_path)), "emulator").detail


def test_a_version_that_this_clone_lacks_is_told(tmp_path: Path) -> None:
    found = here(machine(tmp_path, {shutil.which("git") or "git": ""}))
    lacking = [each for each in found if each.name.startswith("version of ")]
    assert all("git fetch --tags" in each.remedy for each in lacking)


# --- an account -----------------------------------------------------------------------------------------------------


class Sts:
    """AWS, as far as it tells who asks."""

    def __init__(self, account: str = "", error: Exception | None = None) -> None:
        self.account, self.error = account, error

    def get_caller_identity(self) -> dict[str, str]:
        if self.error:
            raise self.error
        return {"Account": self.account, "Arn": f"arn:aws:iam::{self.account}:user/me"}


EXPIRED = ClientError({"Error": {"Code": "ExpiredToken", "Message": "expired"}}, "GetCallerIdentity")


@pytest.mark.parametrize(("error", "words"), [(NoCredentialsError(), "none"), (EXPIRED, "they have expired")])
def test_without_credentials_the_account_is_left_out_and_that_is_said(
    tmp_path: Path, error: Exception, words: str
) -> None:
    [found] = of_environment("prod", PROD, lambda service: Sts(error=error), machine(tmp_path))
    assert (found.name, found.status) == ("credentials", "unknown")
    assert words in found.detail and "account, state, quotas are not looked at" in found.detail
    assert "777788889999" in found.remedy


def test_credentials_of_another_account_are_to_be_mended(tmp_path: Path) -> None:
    found = of_environment("prod", PROD, lambda service: Sts("111122223333"), machine(tmp_path, AWS_REGION="eu-west-1"))
    assert (found[0].status, "AWS_PROFILE" in found[0].remedy) == ("failed", True)
    assert "us-east-1" in named(found, "region").detail and "eu-west-1" in named(found, "region").detail


def test_what_bootstrap_has_not_made_yet_is_to_be_mended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from infra import bootstrap as module
    from infra.bootstrap import Step

    class There:
        def __init__(self, step: Step) -> None:
            self.what, self._step = step.what, step

        def step(self) -> Step:
            return self._step

    steps = [
        Step("bucket a", "make"),
        Step("key b", "mend", {"usable": "no → yes"}),
        Step("role c", "none"),
        Step("role d", "none", left=("more is attached",)),
    ]
    made = type("Made", (), {"parts": [There(each) for each in steps]})()
    monkeypatch.setattr(module, "bootstrap", lambda name, client: made)
    found = of_environment("prod", PROD, lambda service: Sts(PROD.account), machine(tmp_path))
    assert {each.name: each.status for each in found} == {
        "account": "ok",
        "bucket a": "failed",
        "key b": "failed",
        "role c": "ok",
        "role d": "unknown",
        "region": "ok",
    }
    assert named(found, "bucket a").remedy == "slipway bootstrap prod"
    assert named(found, "key b").detail == "usable: no → yes"


# --- the command ----------------------------------------------------------------------------------------------------


def called(*arguments: str) -> Any:
    return CliRunner().invoke(cli.app, ["doctor", *arguments])


def test_the_command_works_without_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    result = called("prod", "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["prod"][0]["name"] == "credentials"
    assert "Nothing has to be mended" in called("local").stdout


def test_the_command_fails_where_something_has_to_be_mended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", "/nowhere.pem")
    result = called()
    assert result.exit_code == 1
    assert "mend  AWS_CA_BUNDLE: there is no file /nowhere.pem" in result.stdout and "1 to mend" in result.stdout


def test_an_unknown_environment_is_a_wrong_argument() -> None:
    result = called("production", "--json")
    assert result.exit_code == 2
    assert "names local, dev, staging, prod" in json.loads(result.stdout.splitlines()[-1])["error"]


# --- a stack refuses to run elsewhere -------------------------------------------------------------------------------


@contextmanager
def pulumi(folder: Path, monkeypatch: pytest.MonkeyPatch, sts: Sts) -> Iterator[Path]:
    """A Pulumi CLI that writes down how it was called, and these credentials."""
    program, calls = folder / "pulumi", folder / "calls"
    program.write_text(f'#!/bin/sh\necho "$@" >> {calls}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    monkeypatch.setattr(cloud, "client_of", lambda settings: lambda service: sts)
    yield calls


@pytest.mark.parametrize("command", ["up", "down"])
@pytest.mark.parametrize(
    ("sts", "words"),
    [
        (Sts("111122223333"), "platform-prod belongs to account 777788889999, and your credentials are"),
        (Sts(error=NoCredentialsError()), "there are no AWS credentials"),
    ],
)
def test_a_stack_is_not_deployed_to_another_account(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, sts: Sts, words: str
) -> None:
    with pulumi(tmp_path, monkeypatch, sts) as calls:
        with pytest.raises(cloud.CloudError, match=words):
            cloud.up(["platform-prod"], local=False) if command == "up" else cloud.down(["platform-prod"])
        assert not calls.exists(), "pulumi was never called"


def test_in_its_own_account_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pulumi(tmp_path, monkeypatch, Sts("777788889999")) as calls:
        assert cloud.up(["platform-prod"], local=False) == 0
        assert calls.read_text().startswith("up --stack platform-prod --policy-pack")
