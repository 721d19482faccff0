"""Deploying with the Pulumi CLI: the cloud environments always, and the rehearsal for whoever has it."""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from botocore.exceptions import BotoCoreError

from infra.reach import client_of
from infra.rehearsal.emulator import process
from infra.rehearsal.session import WORK
from infra.rehearsal.state import write_atomically
from infra.settings import ROOT, load, pulumi, stack_file

PACKS = ("encryption", "access", "cost", "reliability")


class CloudError(Exception):
    """The Pulumi CLI is needed and not there: the text says what to do."""


def up(stacks: Sequence[str], *, local: bool, port: int | None = None) -> int:
    """Run `pulumi up` on each stack in turn, with every policy pack; returns the first exit code that is not 0.

    A local stack is deployed to the emulator, which is started for it, through the rehearsal's own providers.
    Raises CloudError where there is no Pulumi CLI, and EmulatorError where the emulator cannot start.
    """
    if shutil.which("pulumi") is None:
        typed = "\n".join(f"  {shlex.join(_command(stack))}" for stack in stacks)
        raise CloudError(
            f"{', '.join(stacks)}: deployed with the Pulumi CLI, which is not on PATH. Install it "
            f"(https://www.pulumi.com/docs/install/), then run this again, or:\n{typed}"
        )
    if not local:
        _expect_credentials_of(stacks)
    environment = _rehearsal_environment(port) if local else dict(os.environ)
    for stack in stacks:
        # The rehearsal's passphrase provider writes its salt into the configuration, which must not change ours.
        config = ["--config-file", str(_copied(stack))] if local else []
        if local:
            _select(stack, environment)
        code = subprocess.run(_command(stack, *config), cwd=ROOT, env=environment).returncode
        if code:
            return code
    return 0


def down(stacks: Sequence[str]) -> int:
    """Run `pulumi destroy`, which asks first, on each stack in turn; returns the first exit code that is not 0.

    Raises CloudError where there is no Pulumi CLI.
    """
    if shutil.which("pulumi") is None:
        typed = "\n".join(f"  {shlex.join([*pulumi(stack), 'destroy', '--stack', stack])}" for stack in stacks)
        raise CloudError(f"{', '.join(stacks)}: removed with the Pulumi CLI, which is not on PATH; it does:\n{typed}")
    _expect_credentials_of(stacks)
    for stack in stacks:
        code = subprocess.run([*pulumi(stack), "destroy", "--stack", stack], cwd=ROOT).returncode
        if code:
            return code
    return 0


def _expect_credentials_of(stacks: Sequence[str]) -> None:
    """Raise CloudError unless the credentials are of every stack's account, before anything runs.

    The provider refuses as well (`aws:allowedAccountIds`), but only once it is asked for the first resource.
    """
    for settings in map(load, stacks):
        try:
            caller = client_of(settings)("sts").get_caller_identity()
        except BotoCoreError as error:
            raise CloudError(
                f"{settings.stack}: there are no AWS credentials ({error}): set AWS_PROFILE to one of account "
                f"{settings.account_id}"
            ) from None
        if caller["Account"] != settings.account_id:
            raise CloudError(
                f"{settings.stack} belongs to account {settings.account_id}, and your credentials are "
                f"{caller['Arn']}: nothing was done. Set AWS_PROFILE to one of that account"
            )


def _select(stack: str, environment: Mapping[str, str]) -> None:
    """Make the stack known to the rehearsal's own backend, and leave its YAML as it was: Pulumi writes into it."""
    settings = stack_file(stack)
    before = settings.read_text("utf-8")
    try:
        subprocess.run([*pulumi(stack), "stack", "select", "--create", stack], cwd=ROOT, env=environment, check=True)
    finally:
        write_atomically(settings, before)


def _command(stack: str, *config: str) -> list[str]:
    called = pulumi(stack)
    # Where Pulumi works in another folder, it looks for packs from there.
    root = os.path.relpath(ROOT, ROOT / called[-1]) + "/" if len(called) > 1 else ""
    packs = [argument for pack in PACKS for argument in ("--policy-pack", f"{root}policies/{pack}")]
    return [*called, "up", "--stack", stack, *packs, *config, *(["--yes"] if config else [])]


def _copied(stack: str) -> Path:
    copy = WORK / "pulumi" / f"Pulumi.{stack}.yaml"
    shutil.copyfile(stack_file(stack), copy)
    return copy


def _rehearsal_environment(port: int | None) -> dict[str, str]:
    """What the real engine needs to deploy to the emulator: our providers first on PATH, and a state of its own.

    The providers are on PATH only here: an engine takes the first `pulumi-resource-aws` that it finds there, and a
    deployment to AWS must never find this one.
    """
    emulator = process.start(WORK, port)
    tools = WORK / "pulumi" / "bin"
    tools.mkdir(parents=True, exist_ok=True)
    for package in ("aws", "kubernetes"):
        script = tools / f"pulumi-resource-{package}"
        script.write_text(
            f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m infra.rehearsal.grpc_provider {package} "$@"\n'
        )
        script.chmod(0o755)
    uv = Path(sys.executable).parent / "uv"
    if uv.exists() and not (tools / "uv").exists():
        (tools / "uv").symlink_to(uv)
    return {
        **os.environ,
        "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
        "PULUMI_BACKEND_URL": (WORK / "pulumi").as_uri(),
        "PULUMI_HOME": str(WORK / "pulumi" / "home"),
        "PULUMI_CONFIG_PASSPHRASE": os.environ.get("PULUMI_CONFIG_PASSPHRASE", "rehearsal"),
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
        "SLIPWAY_ENDPOINT": emulator.endpoint,
        "SLIPWAY_WORK": str(WORK),
        "UV_FROZEN": "true",
    }
