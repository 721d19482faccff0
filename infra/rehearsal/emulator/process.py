"""The emulator seen from outside: start it, find it, stop it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil
from filelock import FileLock, Timeout

HOST: Final = "127.0.0.1"
START_SECONDS: Final = 90.0
STOP_SECONDS: Final = 10.0
ANSWER_SECONDS: Final = 10.0
MODULE: Final = "infra.rehearsal.emulator"

NO_USER_SETTINGS: Final = {
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
}
"""Keeps the AWS settings and credentials of the machine's user out of a process."""

_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class EmulatorError(Exception):
    """The emulator could not be started or stopped: the text says why, and what to do."""


@dataclass(frozen=True)
class Emulator:
    """A running emulator. `instance` differs with every start: what an earlier one held is gone."""

    endpoint: str
    port: int
    pid: int
    instance: str
    notice: str | None = None
    """What the user should be told of its start, for instance that it is on another port than before."""


@dataclass(frozen=True)
class Record:
    """What an emulator told of itself when it started."""

    port: int
    pid: int
    instance: str
    started: float

    @property
    def endpoint(self) -> str:
        """Where it listens."""
        return f"http://{HOST}:{self.port}"


def record_path(work: Path) -> Path:
    """Where a running emulator tells of itself."""
    return work / "emulator.json"


def log_path(work: Path) -> Path:
    """What it prints."""
    return work / "emulator.log"


def write_record(work: Path, port: int, instance: str) -> None:
    """In the emulator: tell where it is, when it is ready."""
    draft = record_path(work).with_suffix(".draft")
    draft.write_text(
        json.dumps({"port": port, "pid": os.getpid(), "instance": instance, "started": time.time()}), "utf-8"
    )
    draft.replace(record_path(work))


def running(work: Path) -> Emulator | None:
    """The emulator of this work folder, if it runs and answers."""
    known = _recorded(work)
    if known is None or _process(known) is None or not _answers(known):
        return None
    return Emulator(known.endpoint, known.port, known.pid, known.instance)


def start(work: Path, port: int | None = None) -> Emulator:
    """The emulator of this work folder, started if it does not run.

    It listens on `port`, else on the port it had before, else on a free one, which the notice then says. Raises
    EmulatorError where `port` is taken, where it does not come up, or where it runs and does not answer.
    """
    work = work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(work / "emulator.lock", timeout=START_SECONDS):
            return _start(work, port)
    except Timeout:
        raise EmulatorError(
            f"another process has been starting the emulator of {work} for {START_SECONDS:g} s"
        ) from None


def stop(work: Path) -> bool:
    """End the emulator of this work folder and all its children; False where none runs.

    Raises EmulatorError where it cannot be ended.
    """
    known = _recorded(work)
    process = _process(known) if known else None
    if process is None:
        return False
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            process.send_signal(number)
        except psutil.NoSuchProcess:
            return True
        except psutil.AccessDenied:
            raise EmulatorError(f"the emulator of {work} (process {process.pid}) belongs to another user") from None
        if _ended(process):
            return True
    raise EmulatorError(f"the emulator of {work} (process {process.pid}) does not end")


def _start(work: Path, port: int | None) -> Emulator:
    known = _recorded(work)
    process = _process(known) if known else None
    if known and process:
        if not _answers(known):
            raise EmulatorError(
                f"the emulator of {work} (process {process.pid}) runs, but does not answer on {known.endpoint}; "
                f"end it with `kill {process.pid}`, and try again"
            )
        if port not in (None, known.port):
            raise EmulatorError(
                f"the emulator of {work} already runs on port {known.port}: leave out the port, or stop it first"
            )
        return Emulator(known.endpoint, known.port, known.pid, known.instance)
    if port is not None:
        if not _is_free(port):
            raise EmulatorError(f"port {port} on {HOST} is in use: name another one, or none for a free one")
        return _launch(work, port, None)
    if known is None:
        return _launch(work, 0, None)
    if _is_free(known.port):
        return _launch(work, known.port, None)
    return _launch(work, 0, f"port {known.port}, which the emulator had before, is in use")


def _launch(work: Path, port: int, notice: str | None) -> Emulator:
    if log_path(work).exists():
        log_path(work).replace(log_path(work).with_suffix(".previous.log"))
    with log_path(work).open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", MODULE, "--work", str(work), "--port", str(port)],
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C at the terminal is meant for the deployment, not for the emulator.
        )
    deadline = time.monotonic() + START_SECONDS
    while (known := _recorded(work)) is None or known.pid != process.pid or not _answers(known):
        code = process.poll()
        if code is not None:
            raise EmulatorError(f"the emulator ended with exit code {code} when it was started:\n{_last_lines(work)}")
        if time.monotonic() > deadline:
            process.kill()
            raise EmulatorError(f"the emulator did not answer within {START_SECONDS:g} s:\n{_last_lines(work)}")
        time.sleep(0.02)
    if notice:
        notice += f"; it now listens on {known.port}"
    return Emulator(known.endpoint, known.port, known.pid, known.instance, notice)


def _environment() -> dict[str, str]:
    """The user's environment, without what would make moto or boto3 another than what the tests know."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MOTO_", "BOTO_"))}
    credentials = {"AWS_ACCESS_KEY_ID": "emulator", "AWS_SECRET_ACCESS_KEY": "emulator"}
    return {**kept, **NO_USER_SETTINGS, **credentials, "MOTO_DISABLE_GLOBAL_CORS": "true", "PYTHONUNBUFFERED": "1"}


def _recorded(work: Path) -> Record | None:
    try:
        known: dict[str, Any] = json.loads(record_path(work).read_text("utf-8"))
        return Record(int(known["port"]), int(known["pid"]), str(known["instance"]), float(known["started"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _process(known: Record) -> psutil.Process | None:
    """The process of a record, if it still runs: not another one that has its number now."""
    try:
        process = psutil.Process(known.pid)
        is_it = MODULE in process.cmdline() and process.create_time() <= known.started + 1
        return process if is_it and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.NoSuchProcess:
        return None
    except psutil.AccessDenied:
        return None


def _answers(known: Record) -> bool:
    try:
        with _direct.open(f"{known.endpoint}/_slipway/health", timeout=ANSWER_SECONDS) as answer:
            health = json.load(answer)
    except (OSError, ValueError):
        return False
    return isinstance(health, dict) and health.get("instance") == known.instance


def _ended(process: psutil.Process) -> bool:
    deadline = time.monotonic() + STOP_SECONDS
    while time.monotonic() < deadline:
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                return True  # whoever started it has not asked for its exit code yet
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.02)
    return False


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OverflowError:
            raise EmulatorError(f"{port} is no port: it can be from 1 to 65535") from None
        except OSError:
            return False
    return True


def _last_lines(work: Path, count: int = 15) -> str:
    lines = log_path(work).read_text("utf-8", "replace").splitlines()[-count:]
    return "\n".join(f"  {line}" for line in lines)
