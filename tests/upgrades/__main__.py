"""Records a release: `python -m tests.upgrades record v0.2.0`, in a clone that has the release's commit."""

import argparse
import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from infra.settings import ROOT
from tests import upgrades

PEOPLE = "12000"
"""Rows of the census that the release trains on: enough for a model that passes its gate."""


def record(commit: str, name: str) -> Path:
    """Deploy the release at `commit` to a rehearsal of its own, and write down what it came to."""
    packed = subprocess.run(["git", "archive", commit], cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout
    with TemporaryDirectory(prefix="slipway-") as folder:
        root, work, plans = (Path(folder).resolve() / part for part in ("release", "work", "plans"))
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            archive.extraction_filter = getattr(tarfile, "data_filter", None)  # Python 3.11.4 and later have it
            archive.extractall(root)

        def slipway(*arguments: str) -> None:
            environment = {
                **os.environ,
                "PYTHONPATH": str(root),
                "SLIPWAY_PEOPLE": PEOPLE,
                "SLIPWAY_WORK": str(work),
            }
            subprocess.run([sys.executable, "-m", "infra.cli", *arguments], cwd=root, env=environment, check=True)

        try:
            slipway("up", "local")
            slipway("plan", "--export", str(plans))
            path = upgrades.FOLDER / f"{name}.tar.xz"
            upgrades.write(upgrades.record(root, work, plans), path)
        finally:
            slipway("down", "local")
    return path


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.upgrades", description=__doc__)
    commands = parser.add_subparsers(required=True)
    recording = commands.add_parser("record", help="deploy a release to a rehearsal, and write down what it came to")
    recording.add_argument("commit", help="its tag or commit")
    recording.add_argument("--version", help="what the recording is called, where the tag is not: 0.2.0")
    given = parser.parse_args(arguments)
    path = record(given.commit, given.version or given.commit.removeprefix("v"))
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1e3:,.0f} kB")


if __name__ == "__main__":
    main()
