"""What a machine and an account need for Slipway, each looked at, and how to mend what is missing.

Works without AWS credentials: what they are needed for is then left out, and that is said.
"""

import importlib.metadata
import json
import locale
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from infra.environments import Environment
from infra.preflight import Check
from infra.settings import ROOT

PYTHON: Final = (3, 11)
DISK_GIB: Final = {"needed": 2.0, "wished": 5.0}
"""Free where the rehearsal works: the virtual environment takes 2 GB, a rehearsal's data up to 1 GB."""
MEMORY_GIB: Final = {"needed": 2.0, "wished": 4.0}
"""A rehearsal of both local stacks took 1.6 GB at its most."""
LOOPBACK: Final = "127.0.0.1"
TOOLS: Final[Mapping[str, tuple[str, str]]] = {
    "git": ("--version", "to compare a change with what is deployed: https://git-scm.com/downloads"),
    "make": ("--version", "for `make up` and `make test`; without it, run what the Makefile says"),
}
EXPIRED: Final = (
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidClientTokenId",
    "UnrecognizedClientException",
)


@dataclass(frozen=True)
class Machine:
    """What is looked at, so that tests can show another one."""

    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    work: Path = ROOT / ".slipway"
    run: Callable[[list[str]], str] | None = None
    """Runs a command and returns what it printed; by default for real."""

    def which(self, program: str) -> str | None:
        """Where a program is on PATH, or beside this Python."""
        beside = Path(sys.executable).parent
        return shutil.which(program, path=f"{self.environment.get('PATH', '')}{os.pathsep}{beside}")

    def said(self, *command: str) -> str:
        """What a program prints; '' where it fails or takes more than 20 s."""
        if self.run:
            return self.run(list(command))
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return ""
        return (done.stdout or done.stderr).strip() if done.returncode == 0 else ""


def here(machine: Machine) -> list[Check]:
    """Everything that needs no account: the machine, its tools and its settings."""
    return [
        *_python(),
        *_tools(machine),
        *_pulumi(machine),
        *_room(machine),
        *_emulator(machine),
        *_traps(machine),
        *_repository(machine),
    ]


def _python() -> Iterator[Check]:
    found = platform.python_version()
    if sys.version_info >= PYTHON:
        yield Check("Python", "ok", f"{found}, {platform.machine()}")
    else:
        yield Check("Python", "failed", f"{found}", "make PYTHON=python3.12 (3.11 or newer)")
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    for requirement in [*wanted["project"]["dependencies"], *_of_group(wanted, "rehearsal")]:
        name = re.split(r"[\[<>=! ]", requirement, maxsplit=1)[0]
        try:
            importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            yield Check(f"package {name}", "failed", "not installed", "make .venv/ready")
    pins = {each.partition("==")[0]: each.partition("==")[2] for each in _of_group(wanted, "rehearsal") if "==" in each}
    for name, pin in pins.items():
        try:
            installed = importlib.metadata.version(name.partition("[")[0])
        except importlib.metadata.PackageNotFoundError:
            continue
        if not pin.endswith("*") and installed != pin:
            yield Check(f"package {name.partition('[')[0]}", "failed", f"{installed}, not {pin}", "make .venv/ready")


def _of_group(project: Mapping[str, Any], group: str) -> list[str]:
    return [each for each in project["dependency-groups"][group] if isinstance(each, str)]


def _tools(machine: Machine) -> Iterator[Check]:
    uv = machine.which("uv")
    if uv:
        yield Check("uv", "ok", machine.said(uv, "--version") or uv)
    else:
        yield Check("uv", "failed", "not installed", "make .venv/ready installs it into .venv")
    for tool, (option, purpose) in TOOLS.items():
        path = machine.which(tool)
        if path:
            yield Check(tool, "ok", (machine.said(path, option) or path).splitlines()[0])
        else:
            yield Check(tool, "unknown", "not on PATH", f"install it {purpose}")


def _pulumi(machine: Machine) -> Iterator[Check]:
    """The CLI deploys to AWS; a rehearsal needs none."""
    path = machine.which("pulumi")
    sdk = importlib.metadata.version("pulumi")
    if path is None:
        yield Check(
            "Pulumi CLI",
            "unknown",
            "not on PATH: it deploys to AWS; the rehearsal, `check` and `plan` need none",
            f"install {sdk} or newer: https://www.pulumi.com/docs/install/",
        )
        return
    said = machine.said(path, "version")
    number = re.search(r"(\d+)\.(\d+)", said)
    if number and tuple(map(int, number.groups())) < tuple(map(int, sdk.split(".")[:2])):
        yield Check("Pulumi CLI", "failed", f"{said} is older than its SDK, {sdk}", f"install {sdk} or newer")
    else:
        yield Check("Pulumi CLI", "ok" if number else "unknown", said or f"{path} does not tell its version")


def _room(machine: Machine) -> Iterator[Check]:
    import psutil

    where = next(each for each in (machine.work, *machine.work.parents) if each.exists())
    yield _amount("disk", shutil.disk_usage(where).free / 2**30, DISK_GIB, f"free at {where}", "make room there")
    free = psutil.virtual_memory().available / 2**30
    yield _amount("memory", free, MEMORY_GIB, "available", "end other programs, or rehearse with SLIPWAY_PEOPLE=12000")
    if not os.access(where, os.W_OK):
        yield Check("work folder", "failed", f"{where} cannot be written to", "set SLIPWAY_WORK to a folder of yours")


def _amount(name: str, found: float, wanted: Mapping[str, float], what: str, remedy: str) -> Check:
    detail = f"{found:.1f} GiB {what}"
    if found < wanted["needed"]:
        return Check(name, "failed", f"{detail}, {wanted['needed']:g} are needed", remedy)
    if found < wanted["wished"]:
        return Check(name, "unknown", f"{detail}, {wanted['wished']:g} are better", remedy)
    return Check(name, "ok", detail)


def _emulator(machine: Machine) -> Iterator[Check]:
    """Whether the emulator runs, or could listen."""
    from infra.rehearsal.emulator import process

    if emulator := process.running(machine.work):
        yield Check("emulator", "ok", f"runs at {emulator.endpoint}")
        return
    try:
        with socket.socket() as probe:
            probe.bind((LOOPBACK, 0))
            port = probe.getsockname()[1]
    except OSError as error:
        yield Check("emulator", "failed", f"nothing can listen on {LOOPBACK}: {error}", "allow loopback connections")
        return
    record = process.record_path(machine.work)
    before = json.loads(record.read_text("utf-8")).get("port") if record.exists() else None
    if before and not _is_free(int(before)):
        yield Check(
            "emulator", "ok", f"not running; its port {before} is in use by something else: it will take another"
        )
    else:
        yield Check("emulator", "ok", f"not running; ports are free, such as {before or port}")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((LOOPBACK, port)) != 0


def _traps(machine: Machine) -> Iterator[Check]:
    """Settings with which other programs fail in ways that name another cause."""
    environment = machine.environment
    encoding = locale.getpreferredencoding(False)
    if encoding.lower().replace("-", "") == "utf8" or sys.flags.utf8_mode:
        yield Check("text encoding", "ok", "UTF-8")
    else:
        yield Check("text encoding", "failed", f"{encoding}", "export PYTHONUTF8=1, or LANG=C.UTF-8")
    proxy = next((environment[each] for each in ("HTTP_PROXY", "http_proxy") if environment.get(each)), "")
    without = environment.get("NO_PROXY") or environment.get("no_proxy") or ""
    if proxy and not {"*", LOOPBACK, "127.0.0.0/8"} & {each.strip() for each in without.split(",")}:
        yield Check(
            "proxy",
            "unknown",
            f"{_without_password(proxy)}, also for {LOOPBACK}: ours go round it, other programs would ask it for the "
            "emulator",
            f"export NO_PROXY={','.join(filter(None, (without, LOOPBACK, 'localhost')))}",
        )
    elif proxy:
        yield Check("proxy", "ok", f"{_without_password(proxy)}, not for {LOOPBACK}")
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL_STS"):
        if value := environment.get(name):
            yield Check(name, "failed", f"every AWS call goes to {value}, not to AWS", f"unset {name}")
    for name in ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
        if (value := environment.get(name)) and not Path(value).exists():
            yield Check(name, "failed", f"there is no file {value}", f"unset {name}, or correct it")
    if "PYTHONPATH" in environment:
        yield Check(
            "PYTHONPATH",
            "unknown",
            f"{environment['PYTHONPATH']}: modules there come before ours",
            "unset PYTHONPATH, if anything is odd",
        )


def _without_password(url: str) -> str:
    return re.sub(r"//[^@/]*@", "//…@", url)


def _repository(machine: Machine) -> Iterator[Check]:
    """Whether what environments.yaml promotes is in this clone."""
    from infra.environments import environments

    git = machine.which("git")
    versions = {name: each.version for name, each in environments().items() if each.version}
    if git is None or not versions or not (ROOT / ".git").exists():
        return
    for name, version in versions.items():
        known = machine.said(git, "-C", str(ROOT), "rev-parse", "--verify", "--quiet", f"{version}^{{commit}}")
        origin = known or machine.said(
            git, "-C", str(ROOT), "rev-parse", "--verify", "--quiet", f"origin/{version}^{{commit}}"
        )
        if origin:
            yield Check(f"version of {name}", "ok", f"{version} is {origin[:12]}")
        else:
            yield Check(
                f"version of {name}",
                "unknown",
                f"{version} is neither a tag, a branch nor a commit of this clone",
                f"git fetch --tags; or correct environments.{name}.version in stacks/environments.yaml",
            )


# --- an environment -------------------------------------------------------------------------------------------------


def of_environment(name: str, found: Environment, client: Callable[[str], Any], machine: Machine) -> list[Check]:
    """What an environment on AWS needs: credentials of its account, and what `slipway bootstrap` makes there."""
    try:
        caller = client("sts").get_caller_identity()
    except (BotoCoreError, ClientError) as error:
        return [_no_credentials(error, found)]
    checks = [_account(name, found, caller)]
    if checks[0].status == "ok":
        checks += _bootstrapped(name, client)
    region = machine.environment.get("AWS_REGION") or machine.environment.get("AWS_DEFAULT_REGION")
    if region and region != found.region:
        checks.append(
            Check(
                "region",
                "ok",
                f"{found.region}, as stacks/environments.yaml says; your {region} (AWS_REGION) is not asked",
            )
        )
    else:
        checks.append(Check("region", "ok", found.region))
    return checks


def _no_credentials(error: Exception, found: Environment) -> Check:
    expired = isinstance(error, ClientError) and error.response["Error"]["Code"] in EXPIRED
    return Check(
        "credentials",
        "unknown",
        f"{'they have expired' if expired else 'none'} ({error}): account, state, quotas are not looked at",
        f"set AWS_PROFILE to one of account {found.account}, or `aws sso login`; the rehearsal needs none",
    )


def _account(name: str, found: Environment, caller: Mapping[str, Any]) -> Check:
    if caller["Account"] == found.account:
        return Check("account", "ok", f"{caller['Arn']}")
    return Check(
        "account",
        "failed",
        f"{caller['Arn']} is of account {caller['Account']}, and {name} is {found.account}",
        "set AWS_PROFILE to one of that account",
    )


def _bootstrapped(name: str, client: Callable[[str], Any]) -> Iterator[Check]:
    """Whether the account is as `slipway bootstrap` leaves it, as far as these credentials may look."""
    from infra.bootstrap import BootstrapError, bootstrap

    for part in bootstrap(name, client).parts:
        try:
            step = part.step()
        except (BootstrapError, ClientError) as error:
            yield Check(part.what, "unknown", f"cannot be looked at: {error}", "look as an administrator")
            continue
        if step.op == "none" and not step.left:
            yield Check(part.what, "ok", "as `slipway bootstrap` makes it")
        elif step.op == "none":
            yield Check(part.what, "unknown", f"beside what belongs there: {'; '.join(step.left)}", "see `bootstrap`")
        else:
            what = "there is none" if step.op == "make" else ", ".join(f"{k}: {v}" for k, v in step.changes.items())
            yield Check(part.what, "failed", what, f"slipway bootstrap {name}")
