"""The emulator seen from outside: start it, find it, stop it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from filelock import FileLock

HOST: Final = "127.0.0.1"
START_SECONDS: Final = 60.0
STOP_SECONDS: Final = 10.0


class EmulatorError(Exception):
    """The emulator could not be started or stopped: the text says why, and what to do."""


@dataclass(frozen=True)
class Emulator:
    """A running emulator. `instance` differs with every start: what an earlier one held is gone."""

    endpoint: str
    port: int
    pid: int
    instance: str


def record(work: Path) -> Path:
    """Where a running emulator tells of itself."""
    return work / "emulator.json"


def log(work: Path) -> Path:
    """What it prints."""
    return work / "emulator.log"


def running(work: Path) -> Emulator | None:
    """The emulator of this work folder, if it runs and answers."""
    known = _recorded(work)
    if not known:
        return None
    endpoint = f"http://{HOST}:{known['port']}"
    try:
        with urllib.request.urlopen(f"{endpoint}/_slipway/health", timeout=5) as answer:
            health = json.load(answer)
    except (OSError, ValueError):
        return None
    if health.get("instance") != known["instance"]:
        return None
    return Emulator(endpoint, known["port"], known["pid"], known["instance"])


def start(work: Path, port: int | None = None) -> Emulator:
    """The emulator of this work folder, started if it does not run.

    It listens on `port`, else on the port it had before, else on a free one. Raises EmulatorError where `port` is
    taken, or where it does not come up.
    """
    work.mkdir(parents=True, exist_ok=True)
    with FileLock(work / "emulator.lock"):
        found = running(work)
        if found:
            if port not in (None, found.port):
                raise EmulatorError(
                    f"the emulator of {work} already runs on port {found.port}: leave out the port, or stop it first"
                )
            return found
        if port is not None and not _is_free(port):
            raise EmulatorError(f"port {port} on {HOST} is in use: name another one, or none for a free one")
        known = _recorded(work)
        if port is None and known and _is_free(known["port"]):
            port = known["port"]
        return _launch(work, port or 0)


def stop(work: Path) -> bool:
    """End the emulator of this work folder and all its children; False where none runs."""
    known = running(work)
    if known is None:
        return False
    os.kill(known.pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    while _is_alive(known.pid):
        if time.monotonic() > deadline:
            os.kill(known.pid, signal.SIGKILL)
            break
        time.sleep(0.02)
    return True


def _launch(work: Path, port: int) -> Emulator:
    record(work).unlink(missing_ok=True)
    with log(work).open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "infra.rehearsal.emulator", "--work", str(work), "--port", str(port)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C at the terminal is meant for the deployment, not for the emulator.
        )
    deadline = time.monotonic() + START_SECONDS
    while not (found := running(work)):
        code = process.poll()
        if code is not None:
            raise EmulatorError(f"the emulator ended with exit code {code} when it was started:\n{_last_lines(work)}")
        if time.monotonic() > deadline:
            process.kill()
            raise EmulatorError(f"the emulator did not answer within {START_SECONDS:g} s:\n{_last_lines(work)}")
        time.sleep(0.05)
    return found


def _recorded(work: Path) -> dict[str, Any] | None:
    try:
        known = json.loads(record(work).read_text("utf-8"))
        return {"port": int(known["port"]), "pid": int(known["pid"]), "instance": str(known["instance"])}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _is_alive(pid: int) -> bool:
    try:
        # Where this process started the emulator, nobody else collects it.
        if os.waitpid(pid, os.WNOHANG)[0] == pid:
            return False
    except ChildProcessError:
        pass
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _last_lines(work: Path, count: int = 15) -> str:
    lines = log(work).read_text("utf-8", "replace").splitlines()[-count:]
    return "\n".join(f"  {line}" for line in lines)
