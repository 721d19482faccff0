"""Helper processes that never outlive the emulator, however it ends."""

import atexit
import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

PARENT: Final = "SLIPWAY_PARENT_FD"
"""The environment variable that tells a child which descriptor closes when its parent is gone."""
GRACE_SECONDS: Final = 2.0

_running: set[subprocess.Popen[bytes]] = set()
_lock = threading.Lock()


def spawn(argv: Sequence[str], *, env: Mapping[str, str], **options: Any) -> subprocess.Popen[bytes]:
    """Start a process that calls `watch_parent` first thing; `options` are Popen's.

    It leads a process group of its own, so that what it starts ends with it. It holds the reading end of a pipe whose
    writing end only this process has, and which the operating system closes even when this process is killed.
    """
    theirs, ours = os.pipe()
    passed = (theirs, *options.pop("pass_fds", ()))
    try:
        process = subprocess.Popen(argv, env={**env, PARENT: str(theirs)}, pass_fds=passed, process_group=0, **options)
    except BaseException:
        os.close(ours)
        raise
    finally:
        os.close(theirs)
    with _lock:
        _running.add(process)
    threading.Thread(target=_reap, args=(process, ours), daemon=True).start()
    return process


def end(process: subprocess.Popen[bytes], number: int = signal.SIGKILL) -> None:
    """Send a signal to a process that was started here, and to whatever it started."""
    if process.returncode is None:
        _signal(process, number)


def watch_parent() -> None:
    """In a child: end at once, with whatever it started, when the parent is gone."""
    descriptor = int(os.environ.pop(PARENT))
    os.set_inheritable(descriptor, False)

    def wait() -> None:
        while os.read(descriptor, 1):
            pass
        end_group()

    threading.Thread(target=wait, daemon=True).start()


def end_group() -> None:
    """In a child: end at once, with whatever it started."""
    os.killpg(0, signal.SIGKILL)


def _reap(process: subprocess.Popen[bytes], ours: int) -> None:
    process.wait()
    _signal(process, signal.SIGKILL)  # whatever it left behind
    os.close(ours)
    with _lock:
        _running.discard(process)


def _signal(leader: subprocess.Popen[bytes], number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(leader.pid, number)


@atexit.register
def end_all() -> None:
    """Ask every child to end, and end those that do not."""
    with _lock:
        children = list(_running)
    for child in children:
        end(child, signal.SIGTERM)
    for child in children:
        try:
            child.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            end(child)
