"""What charts' definitions say in CEL, and their webhooks in Go: the rules that a schema cannot hold.

Not all of them: those that a declaration of ours could break.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import pairwise
from typing import Any, Final

Problems = Iterator[tuple[str, str]]
"""Where, and what is wrong."""

UNCHANGEABLE: Final[Mapping[str, Sequence[str]]] = {
    "AdmissionCheck": ("spec.controllerName",),
    "LocalQueue": ("spec.clusterQueue",),
    "NodePool": ("spec.template.spec.nodeClassRef.group", "spec.template.spec.nodeClassRef.kind"),
    "PriorityClass": ("value", "preemptionPolicy"),
    "StorageClass": ("reclaimPolicy", "volumeBindingMode"),
    "Topology": ("spec.levels",),
}
"""What the API server refuses to change, by kind, and Pulumi does not know of: it has to be told to replace."""


def unchangeable(there: Mapping[str, Any]) -> Sequence[str]:
    """What of an object cannot change in place: paths."""
    if there["kind"] == "ResourceFlavor" and "topologyName" in there.get("spec", {}):
        return "spec.nodeLabels", "spec.tolerations", "spec.topologyName"
    return UNCHANGEABLE.get(there["kind"], ())


OWN_LABELS: Final = {
    "karpenter.sh": {"capacity-type", "nodepool"},
    "karpenter.k8s.aws": {
        "capacity-reservation-id",
        "capacity-reservation-interruptible",
        "capacity-reservation-type",
        "ec2nodeclass",
        "instance-accelerator-count",
        "instance-accelerator-manufacturer",
        "instance-accelerator-name",
        "instance-capability-flex",
        "instance-category",
        "instance-cpu",
        "instance-cpu-manufacturer",
        "instance-cpu-sustained-clock-speed-mhz",
        "instance-ebs-bandwidth",
        "instance-encryption-in-transit-supported",
        "instance-family",
        "instance-generation",
        "instance-gpu-count",
        "instance-gpu-manufacturer",
        "instance-gpu-memory",
        "instance-gpu-name",
        "instance-hypervisor",
        "instance-local-nvme",
        "instance-memory",
        "instance-network-bandwidth",
        "instance-size",
        "instance-tenancy",
        "nitro-sandbox",
        "placement-group-id",
        "placement-group-partition",
    },
}
"""The labels in Karpenter's domains that may be used; it refuses others there."""

SUFFIXES: Final = {
    "": Decimal(1),
    "n": Decimal(10) ** -9,
    "u": Decimal(10) ** -6,
    "m": Decimal(10) ** -3,
    **{letter: Decimal(1000) ** power for power, letter in enumerate("kMGTPE", 1)},
    **{f"{letter}i": Decimal(1024) ** power for power, letter in enumerate("KMGTPE", 1)},
}


def amount(quantity: str | int | float) -> Decimal:
    """A Kubernetes quantity such as `500m` or `64Gi` as a number. Raises ValueError for what is none."""
    found = re.fullmatch(r"([+-]?[0-9.]+)(?:e([+-]?[0-9]+))?([numkMGTPE]?i?)", str(quantity))
    if not found or found[3] not in SUFFIXES:
        raise ValueError(f"{quantity!r} is no Kubernetes quantity")
    return Decimal(found[1]) * Decimal(10) ** int(found[2] or 0) * SUFFIXES[found[3]]


def _cluster_queue(manifest: Mapping[str, Any]) -> Problems:
    spec = manifest.get("spec", {})
    cohort = bool(spec.get("cohortName"))
    preemption = spec.get("preemption", {})
    fungibility = spec.get("flavorFungibility", {})
    if preemption.get("reclaimWithinCohort", "Never") == "Never" and (
        preemption.get("borrowWithinCohort", {}).get("policy", "Never") != "Never"
    ):
        yield (
            "spec.preemption.borrowWithinCohort.policy",
            "set reclaimWithinCohort too: who does not reclaim, borrows not",
        )
    if "preference" in fungibility and not (
        fungibility.get("whenCanBorrow") == fungibility.get("whenCanPreempt") == "TryNextFlavor"
    ):
        yield (
            "spec.flavorFungibility.preference",
            "set whenCanBorrow and whenCanPreempt to TryNextFlavor, or no preference",
        )
    yield from _resource_groups(spec, cohort)


def _cohort(manifest: Mapping[str, Any]) -> Problems:
    spec = manifest.get("spec", {})
    yield from _resource_groups(spec, cohort=bool(spec.get("parentName")), lends_more=True)


def _resource_groups(spec: Mapping[str, Any], cohort: bool, lends_more: bool = False) -> Problems:
    flavors: set[str] = set()
    resources: set[str] = set()
    for index, group in enumerate(spec.get("resourceGroups", [])):
        where = f"spec.resourceGroups.{index}"
        covered = list(group["coveredResources"])
        if again := resources & set(covered):
            yield f"{where}.coveredResources", f"{', '.join(sorted(again))}: another group covers it already"
        resources |= set(covered)
        for flavor in group["flavors"]:
            at = f"{where}.flavors.{flavor['name']}"
            if flavor["name"] in flavors:
                yield at, "a flavor is in one group of a queue only"
            flavors.add(flavor["name"])
            if [each["name"] for each in flavor["resources"]] != covered:
                yield f"{at}.resources", f"set coveredResources, in their order: {', '.join(covered)}"
            for each in flavor["resources"]:
                at_resource = f"{at}.resources.{each['name']}"
                if not cohort and ("borrowingLimit" in each or "lendingLimit" in each):
                    yield at_resource, "only what has a cohort (a cohort: a parent) borrows and lends"
                if not lends_more and amount(each.get("lendingLimit", 0)) > amount(each["nominalQuota"]):
                    yield f"{at_resource}.lendingLimit", "is above nominalQuota: no queue lends what it lacks"


def _flavor(manifest: Mapping[str, Any]) -> Problems:
    spec = manifest.get("spec", {})
    if spec.get("topologyName") and not spec.get("nodeLabels"):
        yield "spec.nodeLabels", "set one at least, for topologyName needs it"
    for index, each in enumerate(spec.get("tolerations", [])):
        where = f"spec.tolerations.{index}"
        operator = each.get("operator", "Equal")
        if operator == "Exists" and "value" in each:
            yield f"{where}.value", "takes none with the operator Exists"
        if not each.get("key") and operator != "Exists":
            yield f"{where}.operator", "set Exists where no key is given"
        if "tolerationSeconds" in each and each.get("effect") != "NoExecute":
            yield f"{where}.effect", "set NoExecute, or no tolerationSeconds"


def _node_pool(manifest: Mapping[str, Any]) -> Problems:
    spec = manifest["spec"]
    template = spec["template"]
    for index, each in enumerate(spec.get("disruption", {}).get("budgets", [])):
        if ("schedule" in each) != ("duration" in each):
            yield f"spec.disruption.budgets.{index}", "set schedule and duration, or neither"
    for label in template.get("metadata", {}).get("labels", {}):
        if problem := _restricted(label):
            yield f"spec.template.metadata.labels.{label}", problem
    for index, each in enumerate(template["spec"].get("requirements", [])):
        if problem := _restricted(each["key"]):
            yield f"spec.template.spec.requirements.{index}.key", problem
    yield from _requirements(template["spec"].get("requirements", []), "spec.template.spec.requirements")
    if "replicas" in spec and "weight" in spec:
        yield "spec.weight", "a pool with replicas takes none"


def _node_class(manifest: Mapping[str, Any]) -> Problems:
    spec = manifest.get("spec", {})
    if ("role" in spec) == ("instanceProfile" in spec):
        yield "spec.role", "set role or instanceProfile, and not both"
    terms = spec.get("amiSelectorTerms", [])
    aliases = [each["alias"] for each in terms if "alias" in each]
    if not aliases and "amiFamily" not in spec:
        yield "spec.amiFamily", "set it, or an alias in amiSelectorTerms"
    if aliases and (len(terms) > 1 or len(terms[0]) > 1):
        yield "spec.amiSelectorTerms", "an alias stands alone"
    for alias in aliases:
        family, _, release = alias.partition("@")
        if family not in ("al2", "al2023", "bottlerocket", "windows2019", "windows2022", "windows2025") or not release:
            yield "spec.amiSelectorTerms.0.alias", f"{alias} is not of the form al2023@v20260101"
        elif spec.get("amiFamily", family).lower() not in (family, "custom"):
            yield "spec.amiFamily", f"is not the family of the alias {alias}"
    for field, ways in {
        "amiSelectorTerms": ("tags", "id", "name", "alias", "ssmParameter"),
        "capacityReservationSelectorTerms": ("tags", "id", "instanceMatchCriteria"),
        "securityGroupSelectorTerms": ("tags", "id", "name"),
        "subnetSelectorTerms": ("tags", "id"),
    }.items():
        for index, term in enumerate(spec.get(field, [])):
            if not term.keys() & set(ways):
                yield f"spec.{field}.{index}", f"set one of {', '.join(ways)}"
            if "id" in term and len(term) > 1:
                yield f"spec.{field}.{index}.id", "stands alone"
            if not all(key and value for key, value in term.get("tags", {}).items()):
                yield f"spec.{field}.{index}.tags", "keys and values may not be empty"
    devices = spec.get("blockDeviceMappings", [])
    if sum(bool(each.get("rootVolume")) for each in devices) > 1:
        yield "spec.blockDeviceMappings", "one may be the rootVolume"
    for index, each in enumerate(devices):
        if "ebs" in each and not each["ebs"].keys() & {"snapshotID", "volumeSize"}:
            yield f"spec.blockDeviceMappings.{index}.ebs", "set volumeSize or snapshotID"
    cards = spec.get("networkInterfaces", [])
    if cards and not any(
        (each.get("deviceIndex"), each.get("networkCardIndex"), each.get("interfaceType")) == (0, 0, "interface")
        for each in cards
    ):
        yield "spec.networkInterfaces", "the first, device 0 of card 0, has to be of the type interface"
    if "placementGroupSelector" in spec and len(spec["placementGroupSelector"].keys() & {"name", "id"}) != 1:
        yield "spec.placementGroupSelector", "set name or id, and not both"
    for tag in spec.get("tags", {}):
        own = (
            "eks:eks-cluster-name",
            "karpenter.sh/nodepool",
            "karpenter.sh/nodeclaim",
            "karpenter.k8s.aws/ec2nodeclass",
        )
        if not tag or tag in own or tag.startswith("kubernetes.io/cluster"):
            yield f"spec.tags.{tag}", "is Karpenter's own"


def _overlay(manifest: Mapping[str, Any]) -> Problems:
    spec = manifest["spec"]
    if "price" in spec and "priceAdjustment" in spec:
        yield "spec.price", "set it or priceAdjustment, not both"
    for name in sorted({"cpu", "memory", "ephemeral-storage", "pods"} & spec.get("capacity", {}).keys()):
        yield f"spec.capacity.{name}", "cannot be laid over: only further resources can"
    for index, each in enumerate(spec.get("requirements", [])):
        if each["key"] != "karpenter.sh/nodepool" and (problem := _restricted(each["key"])):
            yield f"spec.requirements.{index}.key", problem
    yield from _requirements(spec.get("requirements", []), "spec.requirements")


def _requirements(requirements: Sequence[Mapping[str, Any]], where: str) -> Problems:
    for index, each in enumerate(requirements):
        values = each.get("values", [])
        if each["operator"] == "In" and not values:
            yield f"{where}.{index}.values", "set one at least"
        if each["operator"] in ("Gt", "Lt", "Gte", "Lte") and not (len(values) == 1 and values[0].isdecimal()):
            yield f"{where}.{index}.values", "set one whole number, as text"
        if each["operator"] == "In" and each.get("minValues", 0) > len(values):
            yield f"{where}.{index}.minValues", "is above the number of values"


def _restricted(label: str) -> str | None:
    domain, _, name = label.rpartition("/")
    if label in ("kubernetes.io/hostname", "karpenter.sh/nodepool"):
        return f"{label} is Karpenter's to set"
    for own, names in OWN_LABELS.items():
        if (domain == own and name not in names) or (domain.endswith(own) and domain != own):
            return f"Karpenter knows no label {label} in its domain {own}"
    return None


def _topology(manifest: Mapping[str, Any]) -> Problems:
    labels = [each["nodeLabel"] for each in manifest.get("spec", {}).get("levels", [])]
    if "kubernetes.io/hostname" in labels[:-1]:
        yield "spec.levels", "kubernetes.io/hostname can only be the lowest"


def _priority_class(manifest: Mapping[str, Any]) -> Problems:
    if manifest["value"] > 1_000_000_000:
        yield "value", "above 1000000000 are Kubernetes' own classes"
    if manifest["metadata"]["name"].startswith("system-"):
        yield "metadata.name", "system- is Kubernetes' own"


def _quota(manifest: Mapping[str, Any]) -> Problems:
    for name in manifest.get("spec", {}).get("hard", {}):
        prefix, _, resource = name.partition(".")
        if prefix == "limits" and "/" in resource:
            yield f"spec.hard.{name}", f"an extended resource is never overcommitted: set requests.{resource}"
        elif "/" in name and not name.startswith(("requests.", "count/")) and ".storageclass." not in name:
            yield f"spec.hard.{name}", f"set requests.{name}"


def _limits(manifest: Mapping[str, Any]) -> Problems:
    order = "min", "defaultRequest", "default", "max"
    for index, each in enumerate(manifest["spec"]["limits"]):
        for resource in sorted({name for field in order for name in each.get(field, {})}):
            given = [(field, each[field][resource]) for field in order if resource in each.get(field, {})]
            for (lower, low), (upper, high) in pairwise(given):
                if amount(low) > amount(high):
                    yield f"spec.limits.{index}.{lower}.{resource}", f"{low} is above {upper}, {high}"


RULES: Final[Mapping[str, Callable[[Mapping[str, Any]], Problems]]] = {
    "ClusterQueue": _cluster_queue,
    "Cohort": _cohort,
    "EC2NodeClass": _node_class,
    "LimitRange": _limits,
    "NodeOverlay": _overlay,
    "NodePool": _node_pool,
    "PriorityClass": _priority_class,
    "ResourceFlavor": _flavor,
    "ResourceQuota": _quota,
    "Topology": _topology,
}
"""By kind, built-in ones among them; they are asked after the schema has been kept."""
