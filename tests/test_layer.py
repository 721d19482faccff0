"""The optional layer: its packages are in the lock for Lambda's processor, and nothing else is."""

import json
import zipfile

import pytest
from typer.testing import CliRunner

from infra import layer
from infra.cli import app
from infra.layer import PACKAGES, PYTHON, _requirements

EXPORTED = """\
idna==3.11 \\
    --hash=sha256:aa
msgspec==0.22.0 ; python_full_version >= '3.11' \\
    --hash=sha256:bb \\
    --hash=sha256:cc
numpy==2.4.6 ; python_full_version < '3.12' \\
    --hash=sha256:dd
orjson==3.13.0 \\
    --hash=sha256:ee
"""


def test_only_what_the_layer_is_for_is_taken_from_the_lock():
    taken = [line for line in _requirements(EXPORTED) if not line.startswith(" ")]
    assert [line.partition("==")[0] for line in taken] == list(PACKAGES)
    assert "".join(_requirements(EXPORTED)).count("--hash") == 4


@pytest.fixture
def index(monkeypatch):
    """uv, as far as the layer asks it; and its calls."""
    calls = []

    def run(*command):
        calls.append(command)
        if command[1] == "export":
            return EXPORTED
        target = layer.Path(command[command.index("--target") + 1])
        for name in ("numpy/__init__.py", "numpy/tests/test_it.py", "numpy/it.pyi", "numpy-2.4.6.dist-info/LICENSE"):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_text(name)
        return ""

    monkeypatch.setattr(layer, "_run", run)
    return calls


def test_the_zip_has_what_lambda_imports_and_no_tests(index, tmp_path):
    done = CliRunner().invoke(app, ["monitor", "layer", str(tmp_path / "layer.zip"), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.output)["packages"] == ["numpy==2.4.6"]
    with zipfile.ZipFile(tmp_path / "layer.zip") as zipped:
        assert zipped.namelist() == ["python/numpy/__init__.py", "python/numpy-2.4.6.dist-info/LICENSE"]
    [_, install] = index
    assert {"--require-hashes", "--no-deps", PYTHON, "aarch64-manylinux_2_28"} <= {*install}


def test_the_same_packages_give_the_same_zip(index, tmp_path):
    layer.build(tmp_path / "one.zip")
    layer.build(tmp_path / "two.zip")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()


def test_a_failing_index_is_told(monkeypatch, tmp_path):
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "nothing"))
    done = CliRunner().invoke(app, ["monitor", "layer", str(tmp_path / "layer.zip")])
    assert done.exit_code != 0
    assert "pip install failed" in done.output
