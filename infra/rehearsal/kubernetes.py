"""The rehearsal's Kubernetes: objects are checked strictly and stored as files, to be listed and compared.

Nothing runs: there is no node, no container and no controller. Every stored object that would start pods says so.
Built-in kinds are checked against Kubernetes' own schemas, custom ones against those kept in kubernetes_crds/.
"""

import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid4, uuid5

import kubernetes_validate  # type: ignore[import-untyped]  # it ships no types

from infra.rehearsal import helm
from infra.rehearsal.kubernetes_crds import Definition, definitions, reduced
from infra.rehearsal.kubernetes_crds.rules import RULES, unchangeable
from infra.rehearsal.provider import UNKNOWN, Diff, Props, ProviderError
from infra.rehearsal.state import write_atomically

# It reads all of Kubernetes' definitions, two files of JSON, for every object; nothing changes what was read.
kubernetes_validate.utils.schema_contents = cache(kubernetes_validate.utils.schema_contents)

VERSION = "1.35"
"""The Kubernetes version whose schemas objects are checked against."""

TYPE = re.compile(r"kubernetes:(?P<version>[\w.-]+/\w+):(?P<kind>\w+)")
NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
NAME_OF_RIGHTS = re.compile(r"[^/%]{1,253}")
"""Roles and their bindings may be called as any part of a path."""
BUILT_IN_NAMESPACES = "default", "kube-node-lease", "kube-public", "kube-system"
WITHOUT_NAMESPACE = {
    "APIService",
    "CSIDriver",
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "FlowSchema",
    "IngressClass",
    "MutatingWebhookConfiguration",
    "Namespace",
    "Node",
    "PersistentVolume",
    "PriorityClass",
    "PriorityLevelConfiguration",
    "RuntimeClass",
    "StorageClass",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "ValidatingWebhookConfiguration",
}
"""Of the built-in kinds; the schemas of custom ones say it."""
CLUSTER_FOLDER = "_cluster"
"""Holds what is in no namespace. No namespace can be called so."""

IMMUTABLE = {
    "*": ("apiVersion", "kind", "metadata.name", "metadata.namespace"),
    "ClusterRoleBinding": ("roleRef",),
    "DaemonSet": ("spec.selector",),
    "Deployment": ("spec.selector",),
    "Job": ("spec.completions", "spec.parallelism", "spec.selector", "spec.template"),
    "PersistentVolumeClaim": ("spec.accessModes", "spec.selector", "spec.storageClassName", "spec.volumeName"),
    "Release": ("name", "namespace"),
    "ResourceQuota": ("spec.scopes",),
    "RoleBinding": ("roleRef",),
    "Secret": ("type",),
    "Service": ("spec.clusterIP",),
    "StatefulSet": (
        "spec.podManagementPolicy",
        "spec.revisionHistoryLimit",
        "spec.selector",
        "spec.serviceName",
        "spec.volumeClaimTemplates",
    ),
    "StorageClass": ("parameters", "provisioner"),
}
"""What pulumi-kubernetes replaces an object for, by kind (diff.go there); for a ConfigMap's data see `diff`."""

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
        unknown = settings.keys() - {"kubeconfig", "context", "cluster", "deleteUnreachable", "enableServerSideApply"}
        if unknown:
            raise ProviderError(
                f"the rehearsal's Kubernetes knows no setting {', '.join(sorted(unknown))}: set kubeconfig"
            )
        return self

    def check(self, type_: str, name: str, old_inputs: Props | None, new_inputs: Props) -> Props:
        """As in `Provider`. What only a deployment can tell is checked then: `create` and `update` check again."""
        if type_ == helm.TYPE:
            return helm.check(name, old_inputs, _whole_numbers(new_inputs))
        version, kind = _of(type_, name)
        checked: Props = _whole_numbers(new_inputs)
        checked["apiVersion"], checked["kind"] = version, kind
        metadata = checked.setdefault("metadata", {})
        if "name" not in metadata:
            before = (old_inputs or {}).get("metadata", {}).get("name")
            metadata["name"] = before or f"{name}-{uuid4().hex[:8]}"
        if self._namespaced(version, kind):
            metadata.setdefault("namespace", "default")
        elif metadata.pop("namespace", None):
            raise ProviderError(f"{kind} {metadata['name']}, metadata.namespace: take it away, a {kind} is in none")
        if not any(part == UNKNOWN for part in _leaves(checked)):
            self._validate(checked)
        return checked

    def preview(self, type_: str, name: str, inputs: Props) -> Props:
        """As in `Provider`."""
        if type_ == helm.TYPE:
            return {**inputs, "status": UNKNOWN, "id": _id(helm.as_object(inputs))}
        return {**inputs, "id": _id(inputs)}

    def diff(self, type_: str, old_inputs: Props, new_inputs: Props, ignore: Sequence[str]) -> Diff:
        """As in `Provider`."""
        old, new = dict(_paths(old_inputs)), dict(_paths(new_inputs))
        changed = sorted(
            path
            for path in old.keys() | new.keys()
            if old.get(path) != new.get(path) and not any(_within(path, ignored) for ignored in ignore)
        )
        if type_ == helm.TYPE:
            kind, before, after = "Release", helm.as_object(old_inputs), helm.as_object(new_inputs)
        else:
            kind, before, after = str(new_inputs.get("kind")), old_inputs, new_inputs
        fixed = [*IMMUTABLE["*"], *IMMUTABLE.get(kind, ())]
        if kind in ("ConfigMap", "Secret") and (kind == "ConfigMap" or old_inputs.get("immutable")):
            # Pods see a changed ConfigMap only when they start again, so that Pulumi makes another one.
            fixed += ["data", "binaryData", "stringData"]
        replaces = tuple(path for path in changed if any(_within(path, each) for each in fixed))
        return Diff(tuple(changed), replaces, delete_before_replace=bool(replaces) and _id(before) == _id(after))

    def create(self, type_: str, inputs: Props, token: str) -> tuple[str, Props]:
        """As in `Provider`."""
        manifest = self._manifest(type_, inputs)
        self._expect_kind(manifest)
        uid = str(uuid5(NAMESPACE_URL, token))
        there = self._load(manifest)
        if there is not None and there["metadata"]["uid"] != uid:
            raise ProviderError(f"{_title(manifest)} exists already: give it another metadata.name")
        return _id(manifest), _outputs(self._store(manifest, uid, generation=1))

    def read(self, type_: str, id_: str, inputs: Props, outputs: Props) -> Props | None:
        """As in `Provider`."""
        there = self._load(_as_object(type_, inputs))
        return None if there is None else _outputs(there)

    def update(self, type_: str, id_: str, old_inputs: Props, new_inputs: Props, outputs: Props) -> Props:
        """As in `Provider`."""
        manifest = self._manifest(type_, new_inputs)
        there = self._load(manifest)
        if there is None:
            raise ProviderError(f"{_title(manifest)} is gone: run `up` again, which makes it anew")
        old, new = dict(_paths(old_inputs)), dict(_paths(new_inputs))
        for path in sorted(old.keys() | new.keys()):
            for fixed in unchangeable(there):
                if _within(path, fixed) and old.get(path) != new.get(path):
                    raise ProviderError(
                        f"{_title(manifest)}, {path}: cannot change in place: give the resource the options"
                        f" replace_on_changes=[{fixed!r}] and delete_before_replace=True"
                    )
        metadata = there["metadata"]
        return _outputs(self._store(manifest, metadata["uid"], metadata["generation"] + 1))

    def delete(self, type_: str, id_: str, inputs: Props, outputs: Props) -> None:
        """As in `Provider`. With a namespace goes all that is in it, with a kind all that is of it.

        Raises ProviderError for a chart whose custom resources are still there.
        """
        manifest = _as_object(type_, inputs)
        if type_ == helm.TYPE:
            self._expect_none_left(manifest)
        self._path(manifest).unlink(missing_ok=True)
        if manifest.get("kind") == "CustomResourceDefinition":
            kinds = {(each.api_version, each.kind) for each in _declared(manifest)}
            for each in self.objects():
                if (each["apiVersion"], each["kind"]) in kinds:
                    self._path(each).unlink(missing_ok=True)
        if manifest.get("kind") == "Namespace":
            shutil.rmtree(self.root / manifest["metadata"]["name"], ignore_errors=True)

    def invoke(self, token: str, arguments: Mapping[str, Any]) -> Props:
        """As in `Provider`."""
        raise ProviderError(f"{token}: the rehearsal's Kubernetes answers no functions, declare the objects instead")

    def objects(self) -> list[Props]:
        """Everything that is stored, by namespace, kind and name."""
        return self._all("*")

    def patched(self, api_version: str, kind: str, name: str, change: Mapping[str, Any]) -> Props | None:
        """An object in no namespace after a merge patch (RFC 7386), stored; None where there is none.

        Raises ProviderError for what a cluster would refuse.
        """
        there = self.found(api_version, kind, name)
        if there is None:
            return None
        manifest = _merged(there, change)
        for fixed in unchangeable(there):
            if dict(_paths(there)).get(fixed) != dict(_paths(manifest)).get(fixed):
                raise ProviderError(f"{_title(manifest)}, {fixed}: cannot change in place")
        uid, generation = there["metadata"]["uid"], there["metadata"]["generation"]
        manifest["metadata"] = {k: v for k, v in manifest["metadata"].items() if k not in ("uid", "generation")}
        self._validate(manifest)
        return self._store(manifest, uid, generation + 1)

    def found(self, api_version: str, kind: str, name: str) -> Props | None:
        """An object in no namespace; None where there is none."""
        return self._load({"apiVersion": api_version, "kind": kind, "metadata": {"name": name}})

    # --- checks -----------------------------------------------------------------------------------------------------

    def _manifest(self, type_: str, inputs: Props) -> Props:
        """What is stored for these inputs, checked now that all of them are known."""
        manifest = _as_object(type_, inputs)
        if type_ == helm.TYPE:
            helm.check(inputs["name"], inputs, inputs)
        else:
            self._validate(manifest)
        return manifest

    def _namespaced(self, api_version: str, kind: str) -> bool:
        definition = self._definition(api_version, kind)
        return definition.namespaced if definition else kind not in WITHOUT_NAMESPACE

    def _definition(self, api_version: str, kind: str) -> Definition | None:
        """The schema of a custom kind: one that is kept, or one that the cluster was given."""
        kept = definitions().get((api_version, kind))
        if kept or "." not in api_version.partition("/")[0]:
            return kept
        own = [each for crd in self._all("CustomResourceDefinition") for each in _declared(crd)]
        return next((each for each in own if (each.api_version, each.kind) == (api_version, kind)), None)

    def _validate(self, manifest: Props) -> None:
        """Raises ProviderError for what a cluster would refuse."""
        title, kind = _title(manifest), manifest["kind"]
        definition = self._definition(manifest["apiVersion"], kind)
        if definition:
            problem = definition.problem(manifest)
            # Metadata are the same for all kinds, and the schema of a custom one says nothing of them.
            manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": manifest["metadata"]}
        else:
            problem = None
        try:
            kubernetes_validate.validate(manifest, self.version, strict=True)
        except kubernetes_validate.SchemaNotFoundError:
            raise ProviderError(
                f"{title}: Kubernetes {self.version} has no {manifest['apiVersion']} {kind}; of custom kinds the"
                f" rehearsal knows {', '.join(' '.join(each) for each in definitions())}: keep its schema too"
                " (python -m infra.rehearsal.kubernetes_crds)"
            ) from None
        except kubernetes_validate.ValidationError as error:
            problem = problem or (".".join(str(step) for step in error.path) or "the object", error.message)
        if not problem and not definition:
            problem = next(iter(RULES[kind](manifest)), None) if kind in RULES else None
        if problem:
            raise ProviderError(f"{title}, {problem[0]}: {problem[1]}")
        of_rights = manifest["apiVersion"].startswith("rbac.")
        if not (NAME_OF_RIGHTS if of_rights else NAME).fullmatch(manifest["metadata"]["name"]):
            raise ProviderError(f"{title}, metadata.name: set lower-case letters, digits and hyphens")

    def _expect_kind(self, manifest: Props) -> None:
        """Raises ProviderError for a custom resource that comes before its kind does."""
        definition = self._definition(manifest["apiVersion"], manifest["kind"])
        if definition is None or not definition.charts:
            return
        if definition in [each for release in self._all("Release") for each in helm.brought(release["spec"])]:
            return
        if definition in [kept for crd in self._all("CustomResourceDefinition") for kept in _of_crd(crd)]:
            return
        raise ProviderError(
            f"{_title(manifest)}: the cluster has no {manifest['kind']} yet, it comes with the chart"
            f" {' or '.join(sorted(definition.charts))}: declare its Release, and depend on it"
        )

    def _expect_none_left(self, release: Props) -> None:
        """Raises ProviderError where objects would hang on finalizers that nobody is left to end."""
        kinds = {(each.api_version, each.kind) for each in helm.brought(release["spec"])}
        left = [_title(each) for each in self.objects() if (each["apiVersion"], each["kind"]) in kinds]
        if left:
            raise ProviderError(
                f"{_title(release)}: its {', '.join(left)} would hang on finalizers that no controller ends any more:"
                " let them depend on the release, so that they go first"
            )

    # --- files ------------------------------------------------------------------------------------------------------

    def _all(self, kind: str) -> list[Props]:
        found = []
        for path in sorted(self.root.glob(f"*/{kind.lower()}-*.json")):
            # Others are made and deleted meanwhile.
            with suppress(FileNotFoundError):
                found.append(json.loads(path.read_text("utf-8")))
        return found

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
        if manifest["kind"] == "Release":
            metadata["annotations"] = {NOTICE_KEY: helm.NOTICE}
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


def _as_object(type_: str, inputs: Props) -> Props:
    """The object that inputs stand for: they themselves, but for a Helm release."""
    return helm.as_object(inputs) if type_ == helm.TYPE else inputs


def _outputs(stored: Props) -> Props:
    return helm.outputs(stored) if stored["apiVersion"] == helm.API_VERSION else stored


def _declared(crd: Props) -> list[Definition]:
    """The kinds of a CustomResourceDefinition that the stack itself declares."""
    return list(reduced(crd, version=crd["metadata"]["name"], source="the stack", charts={}))


def _of_crd(crd: Props) -> list[Definition]:
    """The kept definitions that a declared CustomResourceDefinition stands for."""
    return [kept for each in _declared(crd) if (kept := definitions().get((each.api_version, each.kind)))]


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


def _merged(value: Any, change: Any) -> Any:
    """RFC 7386: what the change says null of is taken away, and what it does not name stays."""
    if not isinstance(change, Mapping):
        return change
    merged = dict(value) if isinstance(value, Mapping) else {}
    for key, part in change.items():
        if part is None:
            merged.pop(key, None)
        else:
            merged[key] = _merged(merged.get(key), part)
    return merged


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
