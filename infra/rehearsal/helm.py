"""Helm releases in the rehearsal: what is asked for is checked and stored. No chart is rendered, its pods do not run.

What a chart brings that others wait for, its custom resources' kinds, is known from kubernetes_crds/, and so are the
values that it uses.
"""

import re
from collections.abc import Iterator
from typing import Any, Final
from uuid import uuid4

from infra.rehearsal.kubernetes_crds import Definition, definitions, unused_values
from infra.rehearsal.provider import UNKNOWN, Props, ProviderError

TYPE: Final = "kubernetes:helm.sh/v3:Release"
API_VERSION: Final = "helm.sh/v3"
NOTICE: Final = "values stored; no chart is rendered and no pod runs in the rehearsal"

TEXTS: Final = ("chart", "description", "name", "namespace", "version")
FLAGS: Final = ("atomic", "cleanupOnFail", "lint", "skipAwait", "skipCrds", "waitForJobs")
NUMBERS: Final = ("maxHistory", "timeout")
VERSION: Final = re.compile(r"v?\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?")
NAME: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,51}[a-z0-9])?")


def check(name: str, old_inputs: Props | None, inputs: Props) -> Props:
    """The inputs with Helm's defaults. Raises ProviderError for what the rehearsal or Helm would not take."""
    checked = {key: value for key, value in inputs.items() if value is not None and key != "compat"}
    checked.setdefault("name", (old_inputs or {}).get("name") or f"{name}-{uuid4().hex[:8]}")
    checked.setdefault("namespace", "default")
    for where, why in _problems(checked):
        raise ProviderError(f"Release {checked['namespace']}/{checked['name']}, {where}: {why}")
    return checked


def _problems(inputs: Props) -> Iterator[tuple[str, str]]:
    known: dict[str, type | tuple[type, ...]] = {
        **dict.fromkeys(TEXTS, str),
        **dict.fromkeys(FLAGS, bool),
        **dict.fromkeys(NUMBERS, int),
        "repositoryOpts": dict,
        "values": dict,
    }
    if inputs.get("createNamespace"):
        yield "createNamespace", "its namespace is in no plan and outlives the release: declare it, and depend on it"
    for field, value in inputs.items():
        if field not in known and field != "createNamespace":
            yield field, f"the rehearsal knows only {', '.join(sorted(known))}"
        elif field in known and value != UNKNOWN and not isinstance(value, known[field]):
            yield field, f"{value!r} is not of the right type"
    if "chart" not in inputs:
        yield "chart", "set the chart's name, or its address oci://…"
    elif not str(inputs["chart"]).startswith("oci://") and not str(_repository(inputs)).startswith("https://"):
        yield "repositoryOpts.repo", "set the address of the chart's repository, https://…, or a chart oci://…"
    version = inputs.get("version")
    if version != UNKNOWN and not VERSION.fullmatch(str(version)):
        yield "version", f"pin it, as 1.2.3: {version!r} names no one version of the chart"
    if not NAME.fullmatch(inputs["name"]):
        yield "name", "set at most 53 lower-case letters, digits and hyphens"
    if isinstance(inputs.get("values"), dict):
        for path in unused_values(_chart(inputs), inputs["values"]):
            yield f"values.{path}", f"the chart {_chart(inputs)} uses no such value, and Helm would not say so"
    for each in brought(inputs):
        if version != UNKNOWN and _minor(str(version)) != _minor(each.version):
            yield (
                "version",
                f"the rehearsal keeps {each.kind} of {each.version}: set {_minor(each.version)}.x, or bring"
                " infra/rehearsal/kubernetes_crds/ to the new version",
            )
            return


def brought(release: Props) -> list[Definition]:
    """The kinds of custom resources that a release's chart brings into the cluster."""
    chart = _chart(release)
    return [
        each
        for each in definitions().values()
        if chart in each.charts and not (each.charts[chart] == "crds" and release.get("skipCrds"))
    ]


def as_object(inputs: Props) -> Props:
    """A release as an object to store."""
    metadata = {"name": inputs["name"], "namespace": inputs["namespace"]}
    return {"apiVersion": API_VERSION, "kind": "Release", "metadata": metadata, "spec": inputs}


def outputs(stored: Props) -> Props:
    """What Pulumi tells of a release, from the object that is stored."""
    inputs = stored["spec"]
    status = {
        "chart": _chart(inputs),
        "name": inputs["name"],
        "namespace": inputs["namespace"],
        "revision": stored["metadata"]["generation"],
        "status": "deployed",
        "version": inputs["version"],
    }
    return {**inputs, "status": status}


def _repository(inputs: Props) -> Any:
    options = inputs.get("repositoryOpts")
    return options.get("repo", "") if isinstance(options, dict) else ""


def _chart(inputs: Props) -> str:
    return str(inputs.get("chart")).rpartition("/")[2]


def _minor(version: str) -> str:
    return ".".join(version.removeprefix("v").split(".")[:2])
