"""`make bench`: how long a user waits for what the command does, and how much memory it takes."""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.bench import packs

COMMANDS = (
    ("help", ["--help"]),
    ("check, production", ["check", "platform-prod", "employment-prod"]),
    ("check, every stack", ["check"]),
    ("up local, the first", ["up", "local"]),
    ("up local, the second", ["up", "local"]),
    ("plan local", ["plan", "local"]),
    ("status", ["status"]),
    ("down local", ["down", "local"]),
)


def main() -> None:
    """Run each command once, in a work folder of its own, and print seconds and the largest process in MB; then the
    packs by themselves."""
    with tempfile.TemporaryDirectory(prefix="slipway-bench-") as folder:
        environment = {**os.environ, "SLIPWAY_WORK": str(Path(folder) / "work")}
        for name, arguments in COMMANDS:
            began = time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-m", "infra.cli", *arguments], env=environment, capture_output=True, text=True
            )
            seconds = time.perf_counter() - began
            if done.returncode:
                sys.exit(f"{name} failed:\n{done.stdout}{done.stderr}")
            memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
            print(
                json.dumps({"command": name, "seconds": round(seconds, 2), "largest_so_far_mb": round(memory)}),
                flush=True,
            )
    print(json.dumps(packs.measured()))


if __name__ == "__main__":
    main()
