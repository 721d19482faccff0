"""A stack that is deployed, wherever that is: what it exported, and clients to ask AWS (or the rehearsal) about it."""

import functools
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from infra.settings import ROOT, Settings, SettingsError, load, pulumi

Client = Callable[[str], Any]
SECRET = "[secret]"
"""What stands for a secret output, as `pulumi stack output` has it."""


class NotDeployed(Exception):
    """The stack has exported nothing that could be asked for: the text says what to do."""


@dataclass(frozen=True)
class Deployed:
    """One stack as it was deployed last."""

    settings: Settings
    outputs: Mapping[str, Any]
    client: Client
    """Gives the boto3 client of a service, in the stack's account (by the caller's own credentials) and region."""

    def output(self, name: str) -> Any:
        """Something that the stack exports. Raises NotDeployed where it does not."""
        if name not in self.outputs:
            raise NotDeployed(f"{self.settings.stack} exports no {name} yet: deploy it first, with `slipway up`")
        return self.outputs[name]


def reach(stack: str, *, secrets: bool = False) -> Deployed:
    """A deployed stack. Raises SettingsError for no stack of that name, and NotDeployed.

    Secret outputs are in the clear with `secrets`, and only then.
    """
    settings = load(stack)
    if settings.environment == "local":
        return _rehearsed(settings, secrets)
    return Deployed(settings, _outputs(stack, secrets), client_of(settings))


def client_of(settings: Settings) -> Client:
    """Clients for a stack's region, whether it is deployed or not: the emulator's for a local one."""
    if settings.environment == "local":
        return _emulated(settings)
    import boto3  # here, for few commands need it

    session = boto3.Session(region_name=settings.region)

    @functools.cache
    def client(service: str) -> Any:
        return session.client(service)  # type: ignore[call-overload]  # chosen at run time

    return client


def _rehearsed(settings: Settings, secrets: bool) -> Deployed:
    from infra.rehearsal.properties import holds_secret, opened
    from infra.rehearsal.session import WORK
    from infra.rehearsal.state import StateStore

    store = StateStore(WORK)
    outputs = store.load(settings.stack).outputs() if settings.stack in store.stacks() else None
    if outputs is None:
        raise NotDeployed(f"{settings.stack} is not deployed: `slipway up {settings.stack}` does that")
    shown = {name: value if secrets or not holds_secret(value) else SECRET for name, value in outputs.items()}
    return Deployed(settings, opened(shown), _emulated(settings))


def _emulated(settings: Settings) -> Client:
    from infra.rehearsal.emulator import process
    from infra.rehearsal.product import Clients
    from infra.rehearsal.session import WORK

    emulator = process.running(WORK)
    if emulator is None:
        raise NotDeployed("the emulator does not run: `slipway up local` starts it")
    return Clients(emulator.endpoint, settings.region)


def _outputs(stack: str, secrets: bool) -> Mapping[str, Any]:
    if shutil.which("pulumi") is None:
        raise SettingsError(f"{stack} is on AWS: the Pulumi CLI, which knows its outputs, is not on PATH")
    done = subprocess.run(
        [*pulumi(stack), "stack", "output", "--json", "--stack", stack, *(["--show-secrets"] if secrets else [])],
        cwd=ROOT,
        env=os.environ,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise NotDeployed(f"{stack}: `pulumi stack output` says: {done.stderr.strip()}")
    found: Mapping[str, Any] = json.loads(done.stdout)
    return found
