"""The process of a SageMaker job: runs its program as the job's container would.

    python -P -m infra.rehearsal.emulator.job_runner PROGRAM [ARGUMENT…]

A Python program (`python3 [-u] SCRIPT …`, `python3 -m MODULE …`) runs in this process, with the Python that runs the
emulator; every other program is started from here.
"""

import errno
import ipaddress
import os
import re
import runpy
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from infra.rehearsal.emulator import children

CODE: Final = "SLIPWAY_JOB_CODE"
"""The environment variable with the folders that the job's program imports from; it becomes PYTHONPATH."""
ISOLATED: Final = "SLIPWAY_JOB_ISOLATED"
"""The environment variable that keeps a job off the network; it holds the emulator's port, which is off limits, too."""
REPOSITORY: Final = Path(__file__).parents[3]
SITE: Final = Path(__file__).parent / "job_site"
"""Where a program's own processes find what shuts them off, too."""
LOOPBACK: Final = ("127.0.0.1", "localhost", "::1", "")


def python_program(argv: Sequence[str]) -> tuple[str | None, list[str]] | None:
    """What of a command line runs in this process: the module (None: a script), and the rest; None for no Python."""
    if not re.fullmatch(r"(/\S*/)?python(3(\.\d+)?)?", argv[0]):
        return None
    rest = list(argv[1:])
    while rest and rest[0] in ("-u", "-B"):
        rest = rest[1:]
    if rest[:1] == ["-m"] and len(rest) > 1:
        return rest[1], rest[1:]
    return (None, rest) if rest and not rest[0].startswith("-") else None


def isolate(port: int) -> None:
    """Keep this process off the network, but for this machine without the emulator, as in a container of its own."""

    def refuse(event: str, arguments: tuple[Any, ...]) -> None:
        if event in ("socket.connect", "socket.sendto") and isinstance(arguments[1], tuple):
            host, asked = arguments[1][:2]
            if host not in LOOPBACK or asked == port:
                raise OSError(errno.ENETUNREACH, "Network is unreachable: the job is isolated from the network")
        elif event == "socket.getaddrinfo" and not _is_known(arguments[0]):
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution: the job is isolated")

    sys.addaudithook(refuse)


def _is_known(host: Any) -> bool:
    """Whether a host needs no one to be asked for its address."""
    if host in (None, *LOOPBACK, socket.gethostname()):
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def shut_off() -> None:
    """Take this repository off the paths that modules are imported from, and the network where the job has none.

    What the job's code does not bring along is missing here as it would be in AWS, even where this repository has it.
    """
    sys.path[:] = [path for path in sys.path if Path(path or ".").resolve() not in (REPOSITORY, SITE)]
    for name in [name for name in sys.modules if name.partition(".")[0] == "infra"]:
        del sys.modules[name]
    if ISOLATED in os.environ:
        isolate(int(os.environ[ISOLATED]))


def main() -> None:
    """Run the program that the command line names, and exit as it does."""
    children.watch_parent()
    code = [path for path in os.environ.pop(CODE, "").split(os.pathsep) if path]
    os.environ["PYTHONPATH"] = os.pathsep.join([str(SITE), *code])  # for what the program starts
    argv = sys.argv[1:]
    python = python_program(argv)
    if python is None:
        sys.exit(_start(argv))
    shut_off()
    sys.path[:0] = code
    module, sys.argv = python
    if module:
        sys.path.insert(0, os.getcwd())
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    else:
        sys.path.insert(0, str(Path(sys.argv[0]).parent))
        runpy.run_path(sys.argv[0], run_name="__main__")


def _start(argv: list[str]) -> int:
    try:
        return subprocess.run(argv).returncode
    except OSError as error:
        print(f"{argv[0]}: {error.strerror}", file=sys.stderr, flush=True)
        return 127


if __name__ == "__main__":
    main()
