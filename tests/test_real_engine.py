"""The real Pulumi engine and the rehearsal's leave the same state. Only where a `pulumi` is on PATH."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from infra.rehearsal.session import Rehearsal
from infra.settings import ROOT
from infra.show import watching

pytestmark = pytest.mark.skipif(shutil.which("pulumi") is None, reason="there is no `pulumi` on PATH to compare with")

RANDOM = re.compile(r"-[0-9a-f]{7}\b|[0-9a-f]{8}-[0-9a-f-]{27}|\b[a-z]+-[0-9a-f]{17}\b|\b[0-9a-f]{16,}\b")
"""What two deployments never have in common: the ends of names, and ids."""
ANSWERED_BY_CHANCE = {"endpoint", "certificateAuthority", "identities", "resources", "kubeconfig", "uniqueId"}
"""Outputs that the emulator makes up."""


def alike(value: Any) -> Any:
    """A value without what is random in it."""
    if isinstance(value, dict):
        return {key: alike(each) for key, each in value.items() if key not in ANSWERED_BY_CHANCE}
    if isinstance(value, list):
        return [alike(each) for each in value]
    if isinstance(value, str) and value.startswith("{"):
        return alike(json.loads(value))
    return RANDOM.sub("…", value) if isinstance(value, str) else value


def resources(deployment: dict[str, Any]) -> dict[str, Any]:
    """By URN, what a state holds of each resource, but for providers and the stack, which are an engine's own."""
    return {
        each["urn"]: {part: alike(each.get(part, {})) for part in ("inputs", "outputs")}
        for each in deployment["resources"]
        if each["custom"] and not each["type"].startswith("pulumi:")
    }


def test_both_engines_leave_the_same_resources(tmp_path: Path) -> None:
    ours = Rehearsal(tmp_path / "ours", say=print, watching=watching)
    try:
        ours.up(["platform-local"])
        rehearsed = resources(ours.store.export("platform-local")["deployment"])
    finally:
        ours.down(["local"])

    work = tmp_path / "theirs"
    environment = {**os.environ, "SLIPWAY_WORK": str(work)}
    command = [sys.executable, "-m", "infra.cli"]
    try:
        done = subprocess.run(
            [*command, "up", "platform-local", "--engine", "pulumi"],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        export = subprocess.run(
            ["pulumi", "stack", "export", "--stack", "platform-local", "--show-secrets"],
            cwd=ROOT,
            env={
                **environment,
                "PULUMI_BACKEND_URL": (work / "pulumi").as_uri(),
                "PULUMI_HOME": str(work / "pulumi" / "home"),
                "PULUMI_CONFIG_PASSPHRASE": "rehearsal",
            },
            capture_output=True,
            text=True,
        )
        assert export.returncode == 0, export.stderr
        real = resources(json.loads(export.stdout)["deployment"])
    finally:
        subprocess.run([*command, "down", "local"], cwd=ROOT, env=environment, capture_output=True)

    assert rehearsed.keys() == real.keys()
    differing = {urn: (rehearsed[urn], real[urn]) for urn in real if rehearsed[urn] != real[urn]}
    assert differing == {}
