"""The rehearsal's Kubernetes: objects are checked strictly and stored as files, to be listed and compared.

Nothing runs: there is no node, no container and no controller. Every stored object that would start pods says so.
"""

import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid4, uuid5

import kubernetes_validate  # type: ignore[import-untyped]  # it ships no types

from infra.rehearsal.provider import UNKNOWN, Diff, Props, ProviderError
from infra.rehearsal.state import write_atomically

VERSION = "1.35"
"""The Kubernetes version whose schemas objects are checked against."""

TYPE = re.compile(r"kubernetes:(?P<version>[\w.]+/\w+):(?P<kind>\w+)")
NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
BUILT_IN_NAMESPACES = "default", "kube-node-lease", "kube-public", "kube-system"
WITHOUT_NAMESPACE = {
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "Namespace",
    "Node",
    "PersistentVolume",
    "PriorityClass",
    "RuntimeClass",
    "StorageClass",
}
CLUSTER_FOLDER = "_cluster"
"""Holds what is in no namespace. No namespace can be called so."""

IMMUTABLE = {
    "*": ("apiVersion", "kind", "metadata.name", "metadata.namespace"),
    "DaemonSet": ("spec.selector",),
    "Deployment": ("spec.selector",),
    "StatefulSet": ("spec.selector", "spec.serviceName", "spec.volumeClaimTemplates"),
    "Job": ("spec.selector", "spec.template"),
    "RoleBinding": ("roleRef",),
}
"""What Kubernetes refuses to change in place, by kind."""

STARTS_PODS = "CronJob", "DaemonSet", "Deployment", "Job", "Pod", "StatefulSet"
NOTICE_KEY = "slipway/rehearsal"
NOTICE = "checked and stored; no pod runs in the rehearsal"


class KubernetesProvider:
    """Stores objects under `<work>/kubernetes/<namespace>/<kind>-<name>.json`."""

    def __init__(self, work: Path, version: str = VERSION) -> None:
        self.root = work / "kubernetes"
        self.version = version

    def configure(self, settings: Props) -> "KubernetesProvider":
        """The provider for the cluster that an explicit provider resource names: there is but this one.

        Raises ProviderError for a setting that would change what is stored.
        """
        unknown = settings.keys() - {"kubeconfig", "context", "cluster"}
        if unknown:
            raise ProviderError(
                f"the rehearsal's Kubernetes knows no setting {', '.join(sorted(unknown))}: set kubeconfig"
            )
        return self

    def check(self, type_: str, name: str, old_inputs: Props | None, new_inputs: Props) -> Props:
        """As in `Provider`. What only a deployment can tell is checked then: `create` and `update` check again."""
        version, kind = _of(type_, name)
        checked: Props = _whole_numbers(new_inputs)
        checked["apiVersion"], checked["kind"] = version, kind
        metadata = checked.setdefault("metadata", {})
        if "name" not in metadata:
            before = (old_inputs or {}).get("metadata", {}).get("name")
            metadata["name"] = before or f"{name}-{uuid4().hex[:8]}"
        if kind not in WITHOUT_NAMESPACE:
            metadata.setdefault("namespace", "default")
        if not any(part == UNKNOWN for part in _leaves(checked)):
            self._validate(checked)
        return checked

    def preview(self, type_: str, name: str, inputs: Props) -> Props:
        """As in `Provider`."""
        return {**inputs, "id": _id(inputs)}

    def diff(self, type_: str, old_inputs: Props, new_inputs: Props, ignore: Sequence[str]) -> Diff:
        """As in `Provider`."""
        old, new = dict(_paths(old_inputs)), dict(_paths(new_inputs))
        changed = sorted(
            path
            for path in old.keys() | new.keys()
            if old.get(path) != new.get(path) and not any(_within(path, ignored) for ignored in ignore)
        )
        fixed = (*IMMUTABLE["*"], *IMMUTABLE.get(str(new_inputs.get("kind")), ()))
        replaces = tuple(path for path in changed if any(_within(path, each) for each in fixed))
        return Diff(
            tuple(changed), replaces, delete_before_replace=bool(replaces) and _id(old_inputs) == _id(new_inputs)
        )

    def create(self, type_: str, inputs: Props, token: str) -> tuple[str, Props]:
        """As in `Provider`."""
        self._validate(inputs)
        uid = str(uuid5(NAMESPACE_URL, token))
        there = self._load(inputs)
        if there is not None and there["metadata"]["uid"] != uid:
            raise ProviderError(f"{_title(inputs)} exists already: give it another metadata.name")
        return _id(inputs), self._store(inputs, uid, generation=1)

    def read(self, type_: str, id_: str, inputs: Props, outputs: Props) -> Props | None:
        """As in `Provider`."""
        return self._load(outputs)

    def update(self, type_: str, id_: str, old_inputs: Props, new_inputs: Props, outputs: Props) -> Props:
        """As in `Provider`."""
        self._validate(new_inputs)
        there = self._load(outputs)
        if there is None:
            raise ProviderError(f"{_title(new_inputs)} is gone: run `up` again, which makes it anew")
        metadata = there["metadata"]
        return self._store(new_inputs, metadata["uid"], metadata["generation"] + 1)

    def delete(self, type_: str, id_: str, inputs: Props, outputs: Props) -> None:
        """As in `Provider`. With a namespace goes all that is in it."""
        self._path(outputs).unlink(missing_ok=True)
        if outputs.get("kind") == "Namespace":
            shutil.rmtree(self.root / outputs["metadata"]["name"], ignore_errors=True)

    def invoke(self, token: str, arguments: Mapping[str, Any]) -> Props:
        """As in `Provider`."""
        raise ProviderError(f"{token}: the rehearsal's Kubernetes answers no functions, declare the objects instead")

    def objects(self) -> list[Props]:
        """Everything that is stored, by namespace, kind and name."""
        return [json.loads(path.read_text("utf-8")) for path in sorted(self.root.glob("*/*.json"))]

    def _validate(self, manifest: Props) -> None:
        """Raises ProviderError for what a cluster would refuse."""
        title = _title(manifest)
        try:
            kubernetes_validate.validate(manifest, self.version, strict=True)
        except kubernetes_validate.SchemaNotFoundError:
            raise ProviderError(
                f"{title}: Kubernetes {self.version} has no {manifest['apiVersion']} {manifest['kind']};"
                " the rehearsal knows built-in kinds only"
            ) from None
        except kubernetes_validate.ValidationError as error:
            where = ".".join(str(step) for step in error.path) or "the object"
            raise ProviderError(f"{title}, {where}: {error.message}") from None
        metadata = manifest["metadata"]
        if not NAME.fullmatch(metadata["name"]):
            raise ProviderError(f"{title}, metadata.name: set lower-case letters, digits and hyphens")

    def _path(self, manifest: Props) -> Path:
        metadata = manifest["metadata"]
        folder = metadata.get("namespace") or CLUSTER_FOLDER
        return self.root / folder / f"{manifest['kind'].lower()}-{metadata['name']}.json"

    def _load(self, manifest: Props) -> Props | None:
        path = self._path(manifest)
        try:
            found = json.loads(path.read_text("utf-8"))
        except FileNotFoundError:
            return None
        except json.JSONDecodeError as error:
            raise ProviderError(f"{path} is damaged ({error}): delete it, and `up` makes it anew") from None
        return dict(found)

    def _store(self, manifest: Props, uid: str, generation: int) -> Props:
        namespace = manifest["metadata"].get("namespace")
        if namespace and namespace not in BUILT_IN_NAMESPACES and self._load(_namespace(namespace)) is None:
            raise ProviderError(f"{_title(manifest)}: there is no namespace {namespace}: declare it, and depend on it")
        metadata = {**manifest["metadata"], "uid": uid, "generation": generation}
        if manifest["kind"] in STARTS_PODS:
            metadata["annotations"] = {**metadata.get("annotations", {}), NOTICE_KEY: NOTICE}
        stored = {**manifest, "metadata": metadata}
        path = self._path(stored)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(stored, indent=2, sort_keys=True) + "\n")
        return stored


def _of(type_: str, name: str) -> tuple[str, str]:
    """The apiVersion and kind that a Pulumi type stands for: `kubernetes:core/v1:Namespace` is `v1` `Namespace`."""
    found = TYPE.fullmatch(type_)
    if not found:
        raise ProviderError(f"{name}: {type_} is no Kubernetes object, and the rehearsal stores nothing else")
    return found["version"].removeprefix("core/"), found["kind"]


def _id(manifest: Props) -> str:
    metadata = manifest["metadata"]
    return "/".join(filter(None, [metadata.get("namespace"), metadata["name"]]))


def _title(manifest: Props) -> str:
    return f"{manifest['kind']} {_id(manifest)}"


def _namespace(name: str) -> Props:
    return {"kind": "Namespace", "metadata": {"name": name}}


def _whole_numbers(value: Any) -> Any:
    """A copy in which 53.0 is 53 again: Pulumi's wire knows floats only, Kubernetes' schemas integers."""
    if isinstance(value, Mapping):
        return {key: _whole_numbers(element) for key, element in value.items()}
    if isinstance(value, list):
        return [_whole_numbers(element) for element in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list):
        for element in value:
            yield from _leaves(element)
    else:
        yield value


def _paths(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every leaf with its path; a list counts as one, since its elements have no names."""
    if isinstance(value, Mapping) and value:
        for key, element in value.items():
            yield from _paths(element, f"{path}.{key}" if path else key)
    else:
        yield path, value


def _within(path: str, outer: str) -> bool:
    return path == outer or path.startswith(f"{outer}.")
