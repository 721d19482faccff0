"""What a command loads before it does anything: none of the providers' modules, which take seconds."""

import subprocess
import sys

from infra.settings import ROOT

LOADED = """\
import sys
import infra.settings
print(*(name for name in sys.modules if name.startswith(("pulumi_aws.", "pulumi_kubernetes.")) and name.count(".") > 1))
"""
ALLOWED = frozenset({"pulumi_aws.sfn", "pulumi_aws.config", "pulumi_kubernetes.apiextensions"})
"""Small ones, or loaded with the provider itself."""


def test_settings_are_read_without_the_providers_modules() -> None:
    done = subprocess.run([sys.executable, "-c", LOADED], cwd=ROOT, capture_output=True, text=True, check=True)
    packages = {".".join(name.split(".")[:2]) for name in done.stdout.split()}
    assert packages <= ALLOWED
