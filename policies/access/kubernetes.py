"""What runs in a cluster, and who may do what there: pods, roles, and namespaces."""

import re
from collections.abc import Iterator

from pulumi_policy import Policy, Severity

from policies.rules import UNKNOWN, Control, Finding, Props, Unknown, find, policy

CONTAINERS = "containers", "initContainers", "ephemeralContainers"
POD_SPECS = {
    "kubernetes:apps/v1:DaemonSet": "spec.template.spec",
    "kubernetes:apps/v1:Deployment": "spec.template.spec",
    "kubernetes:apps/v1:StatefulSet": "spec.template.spec",
    "kubernetes:batch/v1:CronJob": "spec.jobTemplate.spec.template.spec",
    "kubernetes:batch/v1:Job": "spec.template.spec",
    "kubernetes:core/v1:Pod": "spec",
}
NODE_FOLDERS = ("/var/lib/kubelet/device-plugins",)
"""What of a node's disk a pod may mount: the socket by which a device plugin offers GPUs to the kubelet."""

# What makes a node's devices usable takes more rights on it than any other pod: these, in kube-system, have them.
DRIVERS = {
    re.compile(r"aws-efa-k8s-device-plugin"): ("privileged", "hostNetwork", "/dev/infiniband"),
    re.compile(r"nvidia-device-plugin-mig-.*"): ("allowPrivilegeEscalation",),
    re.compile(r"nvidia-device-plugin-mps-.*"): ("/run/nvidia/mps", "/run/nvidia/mps/shm"),
    re.compile(r"nvidia-mps-.*"): ("privileged", "hostPID", "/run/nvidia/mps", "/run/nvidia/mps/shm"),
    re.compile(r"gpu-metrics-.*"): ("/dev/null",),
}


def pods_are_confined(resource_type: str, inputs: Props) -> Iterator[Finding]:
    """No pod is privileged, shares its node's namespaces, or mounts its node's disk; drivers do what they must."""
    may = _driver(inputs) if resource_type.endswith(":DaemonSet") else ()
    for where, spec in find(inputs, POD_SPECS[resource_type]) if resource_type in POD_SPECS else ():
        if spec == UNKNOWN:
            yield Unknown(where)
            continue
        for flag in ("hostNetwork", "hostPID", "hostIPC"):
            if (spec or {}).get(flag) and flag not in may:
                yield f"{where}.{flag} is true: pods share nothing with their node"
        for path, folder in find(spec, "volumes?.*?.hostPath?.path"):
            if folder == UNKNOWN:
                yield Unknown(f"{where}.{path}")
            elif folder not in (*NODE_FOLDERS, *may):
                yield f"{where}.{path} mounts the node's {folder}: use a volume claim"
        for containers in ("containers", "initContainers", "ephemeralContainers"):
            for path, container in find(spec, f"{containers}?.*?"):
                context = (container or {}).get("securityContext") or {}
                if context.get("privileged") and "privileged" in may:
                    continue  # and may escalate what it has already
                if context.get("privileged"):
                    yield f"{where}.{path}.securityContext.privileged is true: drop it"
                if context.get("allowPrivilegeEscalation") is not False and "allowPrivilegeEscalation" not in may:
                    yield f"{where}.{path}.securityContext.allowPrivilegeEscalation is not false: set it"


def _driver(inputs: Props) -> tuple[str, ...]:
    """What a DaemonSet may do for being a node's driver."""
    [name] = [value for _, value in find(inputs, "metadata.name")] or [None]
    [namespace] = [value for _, value in find(inputs, "metadata.namespace")] or [None]
    if namespace != "kube-system" or name in (None, UNKNOWN):
        return ()
    return next((may for pattern, may in DRIVERS.items() if pattern.fullmatch(str(name))), ())


def cluster_roles_name_what_they_allow(resource_type: str, inputs: Props) -> Iterator[Finding]:
    """Kubernetes roles name verbs and resources, and nobody is bound to cluster-admin."""
    if resource_type in (
        "kubernetes:rbac.authorization.k8s.io/v1:Role",
        "kubernetes:rbac.authorization.k8s.io/v1:ClusterRole",
    ):
        for key in ("verbs", "resources", "apiGroups"):
            for where, names in find(inputs, f"rules?.*?.{key}?"):
                if names == UNKNOWN:
                    yield Unknown(where)
                elif "*" in names:
                    yield f"{where} is *: name them"
    if resource_type.startswith("kubernetes:rbac.") and resource_type.endswith("Binding"):
        for where, role in find(inputs, "roleRef.name"):
            if role == UNKNOWN:
                yield Unknown(where)
            elif role == "cluster-admin":
                yield f"{where} is cluster-admin: bind a role with what is needed"


def namespaces_enforce_pod_security(resource_type: str, inputs: Props) -> Iterator[Finding]:
    """A namespace refuses pods that ask for more than the baseline."""
    if resource_type == "kubernetes:core/v1:Namespace":
        for where, labels in find(inputs, "metadata.labels"):
            level = UNKNOWN if labels == UNKNOWN else (labels or {}).get("pod-security.kubernetes.io/enforce")
            if level == UNKNOWN:
                yield Unknown(where)
            elif level not in ("baseline", "restricted"):
                yield f"{where}: set pod-security.kubernetes.io/enforce to baseline or restricted"


CONTROLS: list[Control] = []

POLICIES: list[Policy] = [
    policy(pods_are_confined, Severity.HIGH),
    policy(cluster_roles_name_what_they_allow, Severity.HIGH),
    policy(namespaces_enforce_pod_security, Severity.HIGH),
]
