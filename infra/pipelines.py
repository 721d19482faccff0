"""Training pipelines as code: what they run is packed, starts are idempotent, and what was made can be made again."""

import base64
import gzip
import hashlib
import importlib
import io
import json
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from components.training_pipeline import Code
from components.function import ROOT

ENTRY: Final = '''"""Runs functions/{product}/{step}.py with the code that lies beside this file."""

import sys
import tarfile
import tempfile
from pathlib import Path

archive = Path(__file__).with_name("sourcedir.tar.gz")
if archive.exists():  # in a processing job; a training container has unpacked it already
    folder = tempfile.mkdtemp()
    tarfile.open(archive).extractall(folder)
    sys.path.insert(0, folder)

from functions.{product}.{step} import main  # noqa: E402

main()
'''
"""A step's script: SageMaker starts a file by its path, not a module."""
PROCESSING: Final = ("prepare", "evaluate")
STEPS: Final = (*PROCESSING, "train")
UNKNOWN: Final = "unknown"


def pack(product: str) -> Code:
    """The code of a product's training: `functions/<product>`, and what all functions share.

    The same files make the same bytes. The feature schema travels as JSON, for SageMaker's containers have no pydantic.
    """
    files = {**sources(product), f"functions/{product}/schema.json": schema(product).encode()}
    entries = {f"{step}.py": ENTRY.format(product=product, step=step).encode() for step in STEPS}
    everything = {**files, **entries}
    objects = {"sourcedir.tar.gz": packed(everything), **{f"{step}.py": entries[f"{step}.py"] for step in PROCESSING}}
    return Code(
        files={name: base64.b64encode(content).decode() for name, content in objects.items()},
        sha256=digest(everything),
        revision=revision(sorted(files)),
    )


def schema(product: str) -> str:
    """What functions/<product>/schema.py reads: the feature schema, and the name of the label."""
    features = importlib.import_module(f"functions.{product}.features")
    return json.dumps({**json.loads(features.SCHEMA.to_json()), "label": features.LABEL}, sort_keys=True)


def sources(product: str) -> dict[str, bytes]:
    """Path → content of the modules that training runs: shared ones, the drift core, and the product's own."""
    patterns = ("functions/*.py", "functions/drift/__init__.py", "functions/drift/core.py", f"functions/{product}/*.py")
    paths = sorted(path for pattern in patterns for path in ROOT.glob(pattern))
    return {path.relative_to(ROOT).as_posix(): path.read_bytes() for path in paths}


def packed(files: Mapping[str, bytes]) -> bytes:
    """A tar.gz of these files. No times and no owners: the same files make the same bytes."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as archive:
        for name, content in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return gzip.compress(written.getvalue(), mtime=0)


def digest(files: Mapping[str, bytes]) -> str:
    """The sha256 of files and their names, whatever packs them."""
    listed = [f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in sorted(files.items())]
    return hashlib.sha256("".join(listed).encode()).hexdigest()


def revision(paths: list[str], root: Path = ROOT) -> str:
    """The commit that last changed any of these files; with `+` where they have changed since, or `unknown`."""
    known = [path for path in paths if (root / path).exists()]
    found = _git(root, "log", "-1", "--format=%H", "--", *known)
    if not found:
        return UNKNOWN
    return f"{found}+" if _git(root, "status", "--porcelain", "--", *known) else found


def _git(root: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
