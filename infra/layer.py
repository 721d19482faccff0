"""The optional Lambda layer with which monitors read data capture faster: msgspec, numpy and orjson from the lock."""

import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from components.function import ROOT
from functions.monitoring.capture import TIERS

PACKAGES: Final = TIERS["numpy"]
PYTHON: Final = "3.12"
"""Of the functions, as components/function.py sets it."""
PLATFORM: Final = "aarch64-manylinux_2_28"
"""Lambda's arm64 on Amazon Linux 2023."""
UNNEEDED: Final = ("tests", "f2py", "include", "__pycache__", "_pyinstaller", "bin")
"""Folders that no import needs. Libraries stay as they are: numpy does not load without their symbols."""
EPOCH: Final = (1980, 1, 1, 0, 0, 0)
"""Of all files, so that the same lock gives the same layer."""


class NoLayer(Exception):
    """The layer cannot be built: the text says why and what to do."""


@dataclass(frozen=True)
class Layer:
    """What was built."""

    packages: tuple[str, ...]
    """name==version"""
    zipped_bytes: int
    bytes: int


def build(output: Path) -> Layer:
    """Write the layer's zip, with the packages in the lock for PLATFORM. Needs a package index. Raises NoLayer."""
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.exists() else shutil.which("uv")
    if uv is None:
        raise NoLayer("uv is not there: run make, which installs it")
    exported = _run(uv, "export", "--frozen", "--no-emit-project", "--no-header", "--no-annotate", "--all-groups")
    with tempfile.TemporaryDirectory(prefix="slipway-layer-") as folder:
        wanted, target = Path(folder, "wanted.txt"), Path(folder, "python")
        wanted.write_text("".join(_requirements(exported)), "utf-8")
        platform = ("--python-version", PYTHON, "--python-platform", PLATFORM, "--only-binary", ":all:")
        _run(
            uv, "pip", "install", "--no-deps", "--require-hashes", *platform, "--target", str(target), "-r", str(wanted)
        )
        files = sorted(path for path in target.rglob("*") if path.is_file() and _is_needed(path.relative_to(target)))
        with zipfile.ZipFile(output, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as zipped:
            for path in files:
                entry = zipfile.ZipInfo(str(path.relative_to(folder)), EPOCH)
                entry.external_attr = 0o755 << 16
                zipped.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED)
        names = tuple(sorted(path.stem.replace("-", "==") for path in target.glob("*.dist-info")))
        return Layer(names, output.stat().st_size, sum(path.stat().st_size for path in files))


def _requirements(exported: str) -> Iterator[str]:
    """What the lock says of PACKAGES: lines that begin with a name, and the hashes that follow each."""
    wanted = False
    for line in exported.splitlines(keepends=True):
        if not line.startswith(" "):
            wanted = line.partition("==")[0] in PACKAGES
        if wanted:
            yield line


def _is_needed(path: Path) -> bool:
    return path.suffix != ".pyi" and not any(part in UNNEEDED for part in path.parts)


def _run(*command: str) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise NoLayer(f"{' '.join(command[1:3])} failed: {done.stderr.strip()}")
    return done.stdout
