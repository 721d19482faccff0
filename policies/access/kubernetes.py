"""What runs in a cluster, and who may do what there: pods, roles, service accounts and namespaces."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pulumi_policy import Severity

from policies.access.images import digest, fixed_tag, is_ours, pinned, registry_sentence, tag
from policies.cost.prices import gpus_of
from policies.resource_types import LAUNCH_TEMPLATE, NETWORK_POLICY, NODE_GROUP, NODE_POOL, SERVICE_ACCOUNT
from policies.rules import UNKNOWN, Control, Declared, Finding, Props, Unknown, find, given, of_type

CONTAINERS = "containers", "initContainers", "ephemeralContainers"
POD = "kubernetes:core/v1:Pod"
DEPLOYMENT = "kubernetes:apps/v1:Deployment"
STATEFUL_SET = "kubernetes:apps/v1:StatefulSet"
DAEMON_SET = "kubernetes:apps/v1:DaemonSet"
POD_SPECS = {
    DAEMON_SET: "spec.template.spec",
    DEPLOYMENT: "spec.template.spec",
    "kubernetes:apps/v1:ReplicaSet": "spec.template.spec",
    STATEFUL_SET: "spec.template.spec",
    "kubernetes:batch/v1:CronJob": "spec.jobTemplate.spec.template.spec",
    "kubernetes:batch/v1:Job": "spec.template.spec",
    "kubernetes:core/v1:ReplicationController": "spec.template.spec",
    POD: "spec",
}
"""Where the pod's specification stands in each type of workload. What a chart or a manifest brings as resources of
Pulumi's own (`helm.v4.Chart`, `yaml.v2.ConfigGroup`) is of these types as well; a `helm.v3.Release` shows none."""
WORKLOADS = frozenset(POD_SPECS)
SERVES = frozenset({POD, DEPLOYMENT, "kubernetes:apps/v1:ReplicaSet", STATEFUL_SET})
NAMESPACE = "kubernetes:core/v1:Namespace"
SERVICE = "kubernetes:core/v1:Service"
QUOTA = "kubernetes:core/v1:ResourceQuota"
LIMIT_RANGE = "kubernetes:core/v1:LimitRange"
DISRUPTION_BUDGET = "kubernetes:policy/v1:PodDisruptionBudget"
CLUSTER_QUEUE = re.compile(r"kubernetes:kueue\.x-k8s\.io/\w+:ClusterQueue")
RBAC = "kubernetes:rbac.authorization.k8s.io/v1:"
CLUSTER_ROLE = f"{RBAC}ClusterRole"
ROLES = frozenset({f"{RBAC}Role", CLUSTER_ROLE})
BINDINGS = frozenset({f"{RBAC}RoleBinding", f"{RBAC}ClusterRoleBinding"})
TEAM_LABEL = "slipway/team"
"""Marks the namespaces of teams."""
GPU = "nvidia.com/gpu"
DEVICES = "nvidia.com/", "aws.amazon.com/neuron"
"""How the names of resources begin that only some nodes have, at a price."""


@dataclass(frozen=True)
class Driver:
    """Pods that make a node's devices usable, or watch them, and what they need for that beyond any other pod."""

    pods: re.Pattern[str]
    """The names of their DaemonSets, in kube-system."""
    may: frozenset[str] = frozenset()
    """The controls that are not asked about them."""
    folders: tuple[str, ...] = ()
    """What of the node's disk they mount."""
    containers: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """The controls that are not asked about one container of theirs."""


KUBELET = "/var/lib/kubelet/device-plugins"
"""The socket by which a device plugin offers devices to the kubelet: only root may write there."""
AS_ROOT = frozenset({"k8s-nonroot", "k8s-uid-high"})
PRIVILEGED = AS_ROOT | {"k8s-no-privileged", "k8s-no-priv-esc", "k8s-drop-all", "k8s-ro-rootfs"}
MPS_FOLDERS = ("/run/nvidia/mps", "/run/nvidia/mps/shm")
DRIVERS = (
    # It hands out the devices of the node's network cards: Amazon's chart runs it so.
    Driver(re.compile(r"aws-efa-k8s-device-plugin"), PRIVILEGED | {"k8s-no-hostnetwork"}, (KUBELET, "/dev/infiniband")),
    # NVIDIA's driver shows a GPU's partitions only to who administers the machine.
    Driver(
        re.compile(r"nvidia-device-plugin-mig-.*"),
        AS_ROOT | {"k8s-no-priv-esc", "k8s-no-added-caps"},
        (KUBELET,),
    ),
    Driver(re.compile(r"nvidia-device-plugin-mps-.*"), AS_ROOT, (KUBELET, *MPS_FOLDERS)),
    Driver(re.compile(r"nvidia-device-plugin-.*"), AS_ROOT, (KUBELET,)),
    # Its clients are processes of other pods, with which it shares memory that it mounts.
    Driver(re.compile(r"nvidia-mps-.*"), PRIVILEGED | {"k8s-no-hostpid"}, MPS_FOLDERS),
    # On Bottlerocket that name is how it is given GPUs. The CloudWatch agent's image has no other user than root, and
    # it writes what it makes of its configuration beside its program.
    Driver(re.compile(r"gpu-metrics-.*"), folders=("/dev/null",), containers={"agent": AS_ROOT | {"k8s-ro-rootfs"}}),
)


@dataclass(frozen=True)
class Pod:
    """A pod as a workload describes it."""

    type: str
    where: str
    spec: Props
    annotations: Props
    driver: Driver

    def containers(self) -> Iterator[tuple[str, Props]]:
        """Every container with where it stands; one that is not known yet, or is none, is left out."""
        for key in CONTAINERS:
            for path, container in find(self.spec, f"{key}?.*?"):
                if isinstance(container, Mapping):
                    yield f"{self.where}.{path}", container

    def context(self, container: Props, key: str) -> Any:
        """A setting of a container's security context, or else of the pod's."""
        for one in (container, self.spec):
            context = one.get("securityContext")
            if context == UNKNOWN:
                return UNKNOWN
            if isinstance(context, Mapping) and context.get(key) is not None:
                return context[key]
        return None


PodJudge = Callable[[Pod], Iterator[Finding]]
ContainerJudge = Callable[[Pod, str, Props], Iterator[Finding]]


def _mapping(value: Any) -> Props:
    return value if isinstance(value, Mapping) else {}


def _pods(resource_type: str, inputs: Props) -> Iterator[Pod | Finding]:
    driver = _driver(inputs) if resource_type == DAEMON_SET else Driver(re.compile(""))
    path = POD_SPECS[resource_type]
    for where, spec in find(inputs, path):
        if spec == UNKNOWN:
            yield Unknown(where)
        elif not isinstance(spec, Mapping):
            yield f"{where} is {'not set' if spec is None else 'no mapping'}: describe a pod there"
        else:
            at = path.removesuffix("spec") + "metadata?.annotations?"
            annotations = next((each for _, each in find(inputs, at.lstrip("."))), None)
            yield Pod(resource_type, where, spec, _mapping(annotations), driver)


def _driver(inputs: Props) -> Driver:
    """What a DaemonSet needs for being a node's driver."""
    metadata = _mapping(inputs.get("metadata"))
    name, namespace = metadata.get("name"), metadata.get("namespace")
    known = (each for each in DRIVERS if namespace == "kube-system" and each.pods.fullmatch(str(name)))
    return next(known, Driver(re.compile("")))


def _control(
    name: str,
    must: str,
    severity: Severity,
    published: tuple[str, ...],
    fix: str,
    *,
    pod: PodJudge | None = None,
    container: ContainerJudge | None = None,
    types: frozenset[str] = WORKLOADS,
) -> Control:
    """A control on pods, or on each container of theirs; drivers are not asked what they cannot keep."""

    def rule(resource_type: str, inputs: Props) -> Iterator[Finding]:
        for one in _pods(resource_type, inputs):
            if not isinstance(one, Pod):
                yield one
            elif name not in one.driver.may:
                if pod:
                    yield from pod(one)
                if container:
                    yield from in_containers(one, container)

    def in_containers(one: Pod, judge: ContainerJudge) -> Iterator[Finding]:
        for where, each in one.containers():
            if name not in one.driver.containers.get(str(each.get("name")), ()):
                yield from judge(one, where, each)

    return Control(name, must, severity, published, fix, rule=rule, types=types)


def _off(flag: str, why: str) -> PodJudge:
    """The pod's flag is not on."""

    def judge(pod: Pod) -> Iterator[Finding]:
        value = pod.spec.get(flag)
        if value == UNKNOWN:
            yield Unknown(f"{pod.where}.{flag}")
        elif value:
            yield f"{pod.where}.{flag} is true: {why}"

    return judge


def _in_context(key: str, wanted: bool, why: str) -> ContainerJudge:
    """The container's own security context says so: a pod's cannot."""

    def judge(pod: Pod, where: str, container: Props) -> Iterator[Finding]:
        for path, value in find(container, f"securityContext.{key}", at=where):
            if value == UNKNOWN:
                yield Unknown(path)
            elif bool(value) is not wanted or (value is None and key == "allowPrivilegeEscalation"):
                yield f"{path} is not {str(wanted).lower()}: {why}"

    return judge


def _no_folders_of_the_node(pod: Pod) -> Iterator[Finding]:
    for path, folder in find(pod.spec, "volumes?.*?.hostPath?.path"):
        if folder == UNKNOWN:
            yield Unknown(f"{pod.where}.{path}")
        elif folder not in pod.driver.folders:
            yield f"{pod.where}.{path} mounts the node's {folder}: use a volume claim"


RUNTIME_SOCKETS = re.compile(r"(/var)?/run/(docker|containerd/containerd|dockershim|crio/crio|cri-dockerd)\.sock")


def _no_runtime_socket(pod: Pod) -> Iterator[Finding]:
    for path, folder in find(pod.spec, "volumes?.*?.hostPath?.path"):
        if folder == UNKNOWN:
            yield Unknown(f"{pod.where}.{path}")
        elif RUNTIME_SOCKETS.fullmatch(str(folder)):
            yield f"{pod.where}.{path} is {folder}, by which the pod may start any other on the node: remove it"


LEAST_UID = 10000
"""Below it a user may be one of the node's own."""


def _not_root(pod: Pod, where: str, container: Props) -> Iterator[Finding]:
    user, nonroot = pod.context(container, "runAsUser"), pod.context(container, "runAsNonRoot")
    if UNKNOWN in (user, nonroot):
        yield Unknown(f"{where}.securityContext")
    elif nonroot is not True and not (isinstance(user, int | float) and user > 0):
        yield f"{where} may run as root: set securityContext.runAsNonRoot to true, or runAsUser above 0"
    elif user == 0:
        yield f"{where}.securityContext.runAsUser is 0, which is root: set another, or none"


def _high_user(pod: Pod, where: str, container: Props) -> Iterator[Finding]:
    user = pod.context(container, "runAsUser")
    if pod.spec.get("hostUsers") is False:
        return  # Its users are nobody on the node.
    if user == UNKNOWN:
        yield Unknown(f"{where}.securityContext.runAsUser")
    elif not isinstance(user, int | float) or user < LEAST_UID:
        yield f"{where}.securityContext.runAsUser is not {LEAST_UID} or above, so the node may have that user: set it"


def _drops_all(pod: Pod, where: str, container: Props) -> Iterator[Finding]:
    for path, dropped in find(container, "securityContext.capabilities.drop", at=where):
        if dropped == UNKNOWN:
            yield Unknown(path)
        elif "ALL" not in [str(each).upper() for each in dropped or ()]:
            yield f"{path} does not name ALL: set it to ['ALL']"


def _adds_none(pod: Pod, where: str, container: Props) -> Iterator[Finding]:
    for path, added in find(container, "securityContext?.capabilities?.add?", at=where):
        if added == UNKNOWN:
            yield Unknown(path)
        elif more := [str(each) for each in added if each != "NET_BIND_SERVICE"]:
            yield f"{path} is {', '.join(more)}: remove it"


CONFINING = "RuntimeDefault", "Localhost"
SECCOMP_ANNOTATION = "seccomp.security.alpha.kubernetes.io/pod"


def _seccomp(pod: Pod, where: str, container: Props) -> Iterator[Finding]:
    profile = pod.context(container, "seccompProfile")
    kind = profile if profile == UNKNOWN or profile is None else profile.get("type")
    if kind == UNKNOWN:
        yield Unknown(f"{where}.securityContext.seccompProfile")
    elif kind not in CONFINING and pod.annotations.get(SECCOMP_ANNOTATION) not in ("docker/default", "runtime/default"):
        yield f"{where} may make any system call: set securityContext.seccompProfile.type of the pod to RuntimeDefault"


def _no_token(pod: Pod) -> Iterator[Finding]:
    mounted = pod.spec.get("automountServiceAccountToken")
    if mounted == UNKNOWN:
        yield Unknown(f"{pod.where}.automountServiceAccountToken")
    elif mounted is not False:
        yield f"{pod.where}.automountServiceAccountToken is not false: set it, unless the pod asks the API server"


def _no_secret_variables(pod: Pod, where: str, container: Props) -> Iterator[Finding]:
    for path in ("env?.*?.valueFrom?.secretKeyRef?", "envFrom?.*?.secretRef?"):
        for at, reference in find(container, path, at=where):
            if reference != UNKNOWN:
                yield f"{at} puts a secret into a variable, where logs show it: mount it as a file"


def _image(judge: Callable[[str, str, Props], Iterator[Finding]]) -> ContainerJudge:
    def in_container(pod: Pod, where: str, container: Props) -> Iterator[Finding]:
        image = container.get("image")
        if image == UNKNOWN:
            yield Unknown(f"{where}.image")
        elif given(image):
            yield from judge(f"{where}.image", str(image), container)

    return in_container


def _pinned(where: str, image: str, container: Props) -> Iterator[Finding]:
    if not pinned(image):
        yield f"{where} is {image}, whose tag may move: name it by its digest, or copy it into the account's registry"


def _tagged(where: str, image: str, container: Props) -> Iterator[Finding]:
    if not fixed_tag(image):
        yield f"{where} is {image}, which is another image tomorrow: name a version"


def _from_ours(where: str, image: str, container: Props) -> Iterator[Finding]:
    if not is_ours(image):
        yield registry_sentence(where, image)


def _pulled(where: str, image: str, container: Props) -> Iterator[Finding]:
    """A digest, and a tag in our own registry, mean the same image for ever; `latest` is always pulled."""
    policy = container.get("imagePullPolicy")
    if policy == UNKNOWN:
        yield Unknown(where.removesuffix("image") + "imagePullPolicy")
    elif policy != "Always" and not pinned(image) and (given(policy) or tag(image) not in ("", "latest")):
        yield (
            f"{where} is {image}, of which a node may keep an old one: set imagePullPolicy to Always, or name a digest"
        )
    elif policy == "Never" and not digest(image):
        yield f"{where} is {image}, which is never pulled: set imagePullPolicy to Always"


def _no_ports_of_the_node(pod: Pod, where: str, container: Props) -> Iterator[Finding]:
    for path, port in find(container, "ports?.*?.hostPort?", at=where):
        if port == UNKNOWN:
            yield Unknown(path)
        elif port:
            yield f"{path} is {port:g}: use a Service"


NEEDED = {"requests": ("cpu", "memory"), "limits": ("memory",)}
"""What a container says it takes. A limit on CPU would slow it down on an idle node, so none is asked for."""


def _sized(pod: Pod, where: str, container: Props) -> Iterator[Finding]:
    for kind, resources in NEEDED.items():
        stated = next(each for _, each in find(container, f"resources.{kind}"))
        limits = next(each for _, each in find(container, "resources.limits"))
        for resource in resources if stated != UNKNOWN else ():
            # Kubernetes takes a limit for the request where there is none.
            if not _amount(stated, resource) and not (kind == "requests" and _amount(limits, resource)):
                yield f"{where}.resources.{kind}.{resource} is not set, so it may crowd out others: set it"


def _amount(of: Any, resource: str) -> bool:
    return of == UNKNOWN or (isinstance(of, Mapping) and given(of.get(resource)))


def _probed(pod: Pod, where: str, container: Props) -> Iterator[Finding]:
    if ".initContainers." in where or ".ephemeralContainers." in where:
        return
    if pod.spec.get("restartPolicy") in ("Never", "OnFailure"):
        return  # It ends by itself.
    for probe in ("livenessProbe", "readinessProbe"):
        if not container.get(probe):
            yield f"{where}.{probe} is not set, so nobody notices that it hangs or is not ready: set it"


def _gpus(pod: Pod, where: str, container: Props) -> Iterator[Finding]:
    """What a container takes of GPUs stands in its limits: Kubernetes refuses it in requests alone."""
    resources = _mapping(container.get("resources"))
    taken = {
        key for kind in ("requests", "limits") for key in _mapping(resources.get(kind)) if str(key).startswith(DEVICES)
    }
    limits = resources.get("limits")
    for name in sorted(taken):
        if not _amount(limits, name):
            yield f"{where}.resources.limits.{name} is not set: GPUs are shared by limits, set it as in requests"
    if taken:
        yield from _on_gpu_nodes(pod, sorted(taken)[0])


def _on_gpu_nodes(pod: Pod, resource: str) -> Iterator[Finding]:
    if not any(map(given, (pod.spec.get("nodeSelector"), pod.spec.get("affinity")))):
        yield f"{pod.where}.nodeSelector is not set, so it takes {resource} of any pool: name one with slipway/pool"
    tolerations = pod.spec.get("tolerations")
    if tolerations != UNKNOWN and not any(
        each == UNKNOWN or (not each.get("key") and each.get("operator") == "Exists") or _of_devices(each.get("key"))
        for each in tolerations or ()
    ):
        yield f"{pod.where}.tolerations tolerates no taint of GPU nodes: add {{key: {resource}, operator: Exists}}"


def _of_devices(key: Any) -> bool:
    return str(key or "").startswith(DEVICES)


def _others_kept_off(resource_type: str, inputs: Props) -> Iterator[Finding]:
    if resource_type == NODE_POOL:
        where, has_gpus = "spec.template.spec.taints", bool(_limit(inputs, GPU))
    else:
        types = inputs.get("instanceTypes")
        known = any(gpus_of(str(each)) for each in types or ()) if types != UNKNOWN else False
        where, has_gpus = "taints", known or any(map(_of_devices, _mapping(inputs.get("labels"))))
    for path, taints in find(inputs, where):
        if has_gpus and not taints:
            yield f"{path} is not set, so pods without GPUs keep dear nodes busy: taint them with {GPU}"


# Names and places.


def _not_in_default(resource_type: str, inputs: Props) -> Iterator[Finding]:
    for where, namespace in find(inputs, "metadata.namespace"):
        if namespace == UNKNOWN:
            yield Unknown(where)
        elif namespace in (None, "", "default"):
            yield f"{where} is {'default' if namespace else 'not set'}: name a namespace that somebody answers for"


POD_SECURITY = "pod-security.kubernetes.io/enforce"


def _pod_security(resource_type: str, inputs: Props) -> Iterator[Finding]:
    for where, labels in find(inputs, "metadata.labels"):
        level = UNKNOWN if labels == UNKNOWN else (labels or {}).get(POD_SECURITY)
        if level == UNKNOWN:
            yield Unknown(where)
        elif level not in ("baseline", "restricted"):
            yield f"{where}: set {POD_SECURITY} to baseline or restricted"


# Roles.

RULES = "apiGroups", "resources", "verbs"
ROLE_RESOURCES = ("roles", "clusterroles")
BINDING_RESOURCES = ("rolebindings", "clusterrolebindings")
WEBHOOKS = ("mutatingwebhookconfigurations", "validatingwebhookconfigurations")
WRITES = ("create", "update", "patch")
# Of what resources which verbs let their holder become somebody else.
ESCALATIONS = (
    ("rbac.authorization.k8s.io", ROLE_RESOURCES, ("escalate", "bind"), "take any right"),
    ("rbac.authorization.k8s.io", BINDING_RESOURCES, ("bind",), "give anyone any role"),
    ("admissionregistration.k8s.io", WEBHOOKS, WRITES, "read and change whatever is sent to the API server"),
    ("certificates.k8s.io", ("certificatesigningrequests/approval",), ("update", "patch"), "log in as anyone"),
    ("certificates.k8s.io", ("signers",), ("approve",), "log in as anyone"),
    ("", ("serviceaccounts/token",), ("create",), "log in as any service account"),
)
IMPERSONATE = "impersonate"


@dataclass(frozen=True)
class RoleRule:
    """One rule of a Kubernetes role."""

    where: str
    groups: tuple[str, ...]
    resources: tuple[str, ...]
    verbs: tuple[str, ...]
    names: tuple[str, ...]

    def covers(self, group: str, resources: Sequence[str]) -> bool:
        """Whether it is about one of the resources."""
        return bool({group, "*"}.intersection(self.groups)) and any(
            each == "*" or each in resources or (each.startswith("*/") and each[1:] in resources[0])
            for each in self.resources
        )

    def lets(self, verbs: Sequence[str]) -> bool:
        """Whether it allows one of the verbs."""
        return bool({*verbs, "*"}.intersection(self.verbs))


def _role_rules(inputs: Props) -> Iterator[RoleRule | Unknown]:
    for where, rule in find(inputs, "rules?.*?"):
        if rule == UNKNOWN or UNKNOWN in rule.values():
            yield Unknown(where)
        elif rule:
            parts = [tuple(map(str, rule.get(key) or ())) for key in (*RULES, "resourceNames")]
            yield RoleRule(where, *parts)


def _names_what_it_allows(resource_type: str, inputs: Props) -> Iterator[Finding]:
    for key in RULES:
        for where, names in find(inputs, f"rules?.*?.{key}?"):
            if names == UNKNOWN:
                yield Unknown(where)
            elif "*" in names:
                yield f"{where} is *: name them"


def _no_escalation(resource_type: str, inputs: Props) -> Iterator[Finding]:
    for rule in _role_rules(inputs):
        if isinstance(rule, Unknown):
            yield rule
            continue
        if IMPERSONATE in rule.verbs:
            yield f"{rule.where}.verbs lets its holder act as others ({IMPERSONATE}): remove it"
        for group, resources, verbs, power in ESCALATIONS:
            if rule.covers(group, resources) and rule.lets(verbs):
                yield f"{rule.where} lets its holder {power} ({', '.join(verbs)} of {resources[0]}): remove it"


def _no_secrets(resource_type: str, inputs: Props) -> Iterator[Finding]:
    for rule in _role_rules(inputs):
        if isinstance(rule, Unknown):
            yield rule
        elif rule.covers("", ("secrets",)) and rule.lets(("list", "watch")):
            # A list by name is still a list of one, but only where the caller asks for that name.
            if resource_type == CLUSTER_ROLE or not rule.names:
                yield f"{rule.where} lets its holder list secrets, with what is in them: allow get, with resourceNames"
        elif rule.covers("", ("secrets",)) and rule.lets(("get",)) and not rule.names:
            yield f"{rule.where} lets its holder read every secret: name them in resourceNames"


EVERYONE = ("system:authenticated", "system:unauthenticated", "system:anonymous", "system:masters")


def _no_cluster_admin(resource_type: str, inputs: Props) -> Iterator[Finding]:
    for where, role in find(inputs, "roleRef.name"):
        if role == UNKNOWN:
            yield Unknown(where)
        elif role in ("cluster-admin", "admin"):
            yield f"{where} is {role}: bind a role with what is needed"
    for where, subject in find(inputs, "subjects?.*?.name?"):
        if subject == UNKNOWN:
            yield Unknown(where)
        elif subject in EVERYONE:
            yield f"{where} is {subject}: name a service account or a group of your own"


def _not_the_default_account(resource_type: str, inputs: Props) -> Iterator[Finding]:
    if resource_type == SERVICE_ACCOUNT:
        names = [name for _, name in find(inputs, "metadata?.name?")]
        if names == ["default"] and inputs.get("automountServiceAccountToken") is not False:
            yield "automountServiceAccountToken of the account `default` is not false: set it, and make one of its own"
        return
    for where, subject in find(inputs, "subjects?.*?"):
        if subject == UNKNOWN:
            yield Unknown(where)
        elif subject and subject.get("kind") == "ServiceAccount" and subject.get("name") == "default":
            yield f"{where} gives the role to every pod that names no account: make a service account of its own"


# What every namespace has to have.


def _name(namespace: Declared) -> Any:
    return next((name for _, name in find(namespace.inputs, "metadata?.name?")), None)


def _labels(of: Declared) -> Props:
    found = next((each for _, each in find(of.inputs, "metadata?.labels?")), None)
    return _mapping(found)


def _within(each: Declared, namespace: Declared) -> bool:
    """Whether something is in a namespace, by its name or by where the name comes from."""
    if namespace.urn in each.property_dependencies.get("metadata", ()):
        return True
    name = _name(namespace)
    return (
        given(name) and name != UNKNOWN and (name,) == tuple(at for _, at in find(each.inputs, "metadata?.namespace?"))
    )


def _in(resources: Sequence[Declared], resource_type: str, namespace: Declared) -> list[Declared]:
    return [each for each in of_type(resources, resource_type) if _within(each, namespace)]


def _denied_by_default(resources: Sequence[Declared]) -> Iterator[tuple[Declared | None, Finding]]:
    for namespace in of_type(resources, NAMESPACE):
        if not any(_denies_all(each) for each in _in(resources, NETWORK_POLICY, namespace)):
            yield (
                namespace,
                f"namespace {_name(namespace) or namespace.name} is open to all pods: add a NetworkPolicy with "
                "podSelector {}, policyTypes Ingress and Egress, and no rules",
            )


def _denies_all(policy: Declared) -> bool:
    spec = policy.inputs.get("spec")
    if spec == UNKNOWN:
        return True
    return (
        isinstance(spec, Mapping)
        and not spec.get("podSelector")
        and {"Ingress", "Egress"} <= set(spec.get("policyTypes") or ())
        and not spec.get("ingress")
        and not spec.get("egress")
    )


def _hard(quota: Declared) -> Any:
    """What a quota limits, if it limits every pod."""
    spec = quota.inputs.get("spec")
    if spec == UNKNOWN or not isinstance(spec, Mapping):
        return spec
    return {} if spec.get("scopeSelector") or spec.get("scopes") else spec.get("hard")


def _gpu_quotas(resources: Sequence[Declared]) -> Iterator[tuple[Declared | None, Finding]]:
    most, known = _gpus_at_most(resources)
    for namespace in of_type(resources, NAMESPACE):
        team = TEAM_LABEL in _labels(namespace)
        if not team and not most:
            continue
        needed = [f"requests.{each}" for each in ((GPU, "cpu", "memory") if team else (GPU,))]
        hard = [_hard(each) for each in _in(resources, QUOTA, namespace)]
        if UNKNOWN in hard:
            yield namespace, Unknown("spec.hard")
            continue
        missing = [key for key in needed if not any(given((each or {}).get(key)) for each in hard)]
        called = _name(namespace) or namespace.name
        if missing:
            yield (
                namespace,
                f"namespace {called} may take every GPU and every node: add a ResourceQuota with hard "
                f"{', '.join(missing)}",
            )
    if known and most:
        yield from _promised(resources, most)


def _promised(resources: Sequence[Declared], most: float) -> Iterator[tuple[Declared | None, Finding]]:
    """Whether namespaces are promised no more GPUs than there can be.

    Where queues lend what is idle, a namespace's quota is what it may borrow as well: then the queues' own parts count.
    """
    hard = [(each, _hard(each)) for each in of_type(resources, QUOTA)]
    quotas = [(each, _number((of or {}).get(f"requests.{GPU}"))) for each, of in hard if of != UNKNOWN]
    for quota, number in quotas:
        if number > most:
            yield quota, f"spec.hard.requests.{GPU} is {number:g}, and the nodes have {most:g} at most: lower it"
    queues = [each for each in resources if CLUSTER_QUEUE.fullmatch(each.type)]
    own = sum(map(_nominal, queues)) if queues else sum(number for _, number in quotas)
    if own > most:
        yield None, f"namespaces are promised {own:g} GPUs, and the nodes have {most:g} at most: lower a team's part"


def _nominal(queue: Declared) -> float:
    return sum(
        _number(resource.get("nominalQuota"))
        for _, resource in find(queue.inputs, "spec?.resourceGroups?.*?.flavors?.*?.resources?.*?")
        if isinstance(resource, Mapping) and resource.get("name") == GPU
    )


def _number(quantity: Any) -> float:
    """A quantity of whole things; 0 where there is none, or it is not known yet."""
    try:
        return float(quantity or 0)
    except (TypeError, ValueError):
        return 0


SHARING_LABEL = "nvidia.com/device-plugin.config"


def _gpus_at_most(resources: Sequence[Declared]) -> tuple[float, bool]:
    """How many whole GPUs all nodes have when there are most of them, and whether every size is known."""
    total, known = 0.0, True
    for group in of_type(resources, NODE_GROUP):
        if _shares(group.inputs.get("labels")):
            continue
        each = max((gpus_of(str(one)) for one in _types(group, resources)), default=0)
        size = next(value for _, value in find(group.inputs, "scalingConfig.maxSize"))
        known &= not each or size != UNKNOWN
        total += each * _number(size)
    for pool in of_type(resources, NODE_POOL):
        labels = next((found for _, found in find(pool.inputs, "spec?.template?.metadata?.labels?")), None)
        if not _shares(labels):
            limit = _limit(pool.inputs, GPU)
            known &= limit != UNKNOWN
            total += _number(limit)
    return total, known


def _shares(labels: Any) -> bool:
    """Whether a node's GPUs are offered in parts, under another name."""
    return bool(_mapping(labels).get(SHARING_LABEL, "whole") != "whole")


def _types(group: Declared, resources: Sequence[Declared]) -> list[Any]:
    """The instance types of a node group: its own, or its launch template's."""
    types = group.inputs.get("instanceTypes")
    if isinstance(types, list) and types:
        return types
    used = group.property_dependencies.get("launchTemplate", ())
    return [each.inputs.get("instanceType") for each in of_type(resources, LAUNCH_TEMPLATE) if each.urn in used]


def _limit(pool: Props, resource: str) -> Any:
    limits = next((found for _, found in find(pool, "spec?.limits?")), None)
    return limits.get(resource) if isinstance(limits, Mapping) else limits


def _container_limits(resources: Sequence[Declared]) -> Iterator[tuple[Declared | None, Finding]]:
    for namespace in of_type(resources, NAMESPACE):
        if TEAM_LABEL in _labels(namespace) and not _in(resources, LIMIT_RANGE, namespace):
            yield (
                namespace,
                f"namespace {_name(namespace) or namespace.name} has no LimitRange: add one with default and max, or a "
                "container that names no limits takes a whole node",
            )


def _budgeted(resources: Sequence[Declared]) -> Iterator[tuple[Declared | None, Finding]]:
    budgets = of_type(resources, DISRUPTION_BUDGET)
    for budget in budgets:
        for key, never in (("maxUnavailable", (0, "0", "0%")), ("minAvailable", ("100%",))):
            for where, value in find(budget.inputs, f"spec?.{key}?"):
                if value == UNKNOWN:
                    yield budget, Unknown(where)
                elif value in never:
                    yield budget, f"{where} is {value}, so that no node it runs on can be updated: let one be gone"
    for kind in (DEPLOYMENT, STATEFUL_SET):
        for workload in of_type(resources, kind):
            replicas = next((value for _, value in find(workload.inputs, "spec?.replicas?")), 1)
            if replicas == UNKNOWN:
                yield workload, Unknown("spec.replicas")
            elif replicas > 1 and not any(_keeps(budget, workload) for budget in budgets):
                yield (
                    workload,
                    f"{workload.name} has {replicas:g} replicas that an update may end at once: add a "
                    "PodDisruptionBudget with maxUnavailable 1 for its labels",
                )


def _keeps(budget: Declared, workload: Declared) -> bool:
    labels = next((found for _, found in find(workload.inputs, "spec?.template?.metadata?.labels?")), None) or {}
    wanted = next((found for _, found in find(budget.inputs, "spec?.selector?.matchLabels?")), None)
    spaces = [[space for _, space in find(each.inputs, "metadata?.namespace?")] for each in (budget, workload)]
    if UNKNOWN in (labels, wanted) or [UNKNOWN] in spaces:
        return True
    return isinstance(wanted, Mapping) and spaces[0] == spaces[1] and {**labels, **wanted} == labels != {}


CRITICAL, HIGH, MEDIUM, LOW = Severity.CRITICAL, Severity.HIGH, Severity.MEDIUM, Severity.LOW
NOTHING_SHARED = "pods share nothing with their node"

CONTROLS: list[Control] = [
    _control(
        "k8s-no-privileged",
        "No container is privileged; drivers of devices do what they must.",
        CRITICAL,
        ("CKV_K8S_16", "CIS-K8s 5.2.2"),
        "Remove securityContext.privileged.",
        container=_in_context("privileged", False, "it owns the node then; drop it"),
    ),
    _control(
        "k8s-no-hostpid",
        "No pod sees its node's processes.",
        HIGH,
        ("CKV_K8S_17", "CIS-K8s 5.2.3"),
        "Remove hostPID.",
        pod=_off("hostPID", NOTHING_SHARED),
    ),
    _control(
        "k8s-no-hostipc",
        "No pod shares memory with its node's processes.",
        HIGH,
        ("CKV_K8S_18", "CIS-K8s 5.2.4"),
        "Remove hostIPC.",
        pod=_off("hostIPC", NOTHING_SHARED),
    ),
    _control(
        "k8s-no-hostnetwork",
        "No pod uses its node's network, past every network policy.",
        HIGH,
        ("CKV_K8S_19", "CIS-K8s 5.2.5"),
        "Remove hostNetwork.",
        pod=_off("hostNetwork", NOTHING_SHARED),
    ),
    _control(
        "k8s-no-hostpath",
        "No pod mounts its node's disk; drivers of devices mount what they must.",
        HIGH,
        ("CIS-K8s 5.2.11",),
        "Use a volume claim, an emptyDir or a ConfigMap.",
        pod=_no_folders_of_the_node,
    ),
    _control(
        "k8s-no-docker-sock",
        "No pod is given the socket of its node's container runtime.",
        CRITICAL,
        ("CKV_K8S_27",),
        "Remove the volume.",
        pod=_no_runtime_socket,
    ),
    _control(
        "k8s-no-priv-esc",
        "No process in a container gets more rights than it began with.",
        HIGH,
        ("CKV_K8S_20", "CIS-K8s 5.2.6"),
        "Set securityContext.allowPrivilegeEscalation of each container to false.",
        container=_in_context("allowPrivilegeEscalation", False, "set it"),
    ),
    _control(
        "k8s-nonroot",
        "No container runs as root; drivers of devices do where they must.",
        HIGH,
        ("CKV_K8S_23", "CIS-K8s 5.2.7"),
        "Set securityContext.runAsNonRoot of the pod to true.",
        container=_not_root,
    ),
    _control(
        "k8s-uid-high",
        "No container runs as a user that the node may have too.",
        LOW,
        ("CKV_K8S_40",),
        f"Set securityContext.runAsUser of the pod to {LEAST_UID} or above.",
        container=_high_user,
    ),
    _control(
        "k8s-drop-all",
        "Every container gives up all of root's capabilities.",
        MEDIUM,
        ("CKV_K8S_37", "CKV_K8S_28", "CIS-K8s 5.2.8"),
        "Set securityContext.capabilities.drop of each container to ['ALL'].",
        container=_drops_all,
    ),
    _control(
        "k8s-no-added-caps",
        "No container is given capabilities, but for ports below 1024.",
        MEDIUM,
        ("CKV_K8S_25", "CKV_K8S_39", "CIS-K8s 5.2.9"),
        "Remove securityContext.capabilities.add.",
        container=_adds_none,
    ),
    _control(
        "k8s-ro-rootfs",
        "No container writes to its own image's files.",
        MEDIUM,
        ("CKV_K8S_22",),
        "Set securityContext.readOnlyRootFilesystem to true, and mount an emptyDir where it writes.",
        container=_in_context("readOnlyRootFilesystem", True, "set it, and mount an emptyDir where it writes"),
    ),
    _control(
        "k8s-seccomp",
        "Every container makes only the system calls that its runtime lets it make.",
        MEDIUM,
        ("CKV_K8S_31", "CIS-K8s 5.6.2"),
        "Set securityContext.seccompProfile.type of the pod to RuntimeDefault.",
        container=_seccomp,
    ),
    _control(
        "k8s-no-sa-token",
        "No pod is given a token for the API server that it does not need.",
        MEDIUM,
        ("CKV_K8S_38", "CIS-K8s 5.1.6"),
        "Set automountServiceAccountToken of the pod to false; AWS is reached by EKS Pod Identity all the same.",
        pod=_no_token,
    ),
    _control(
        "k8s-no-env-secrets",
        "Secrets come to a container as files, not as variables.",
        MEDIUM,
        ("CKV_K8S_35", "CIS-K8s 5.4.1"),
        "Mount the secret as a volume.",
        container=_no_secret_variables,
    ),
    _control(
        "k8s-image-digest",
        "An image's name means the same image for ever.",
        MEDIUM,
        ("CKV_K8S_43",),
        "Name it by its digest, or copy it into the account's registry, where tags do not move (components.images).",
        container=_image(_pinned),
    ),
    _control(
        "k8s-image-tag",
        "An image's name says which version it is.",
        MEDIUM,
        ("CKV_K8S_14",),
        "Name a version in place of latest.",
        container=_image(_tagged),
    ),
    _control(
        "k8s-image-registry",
        "Images come from registries of ours.",
        MEDIUM,
        (),
        "Copy it into the account's registry (components.images), or name its registry in image_registries of "
        "policies/limits.yaml.",
        container=_image(_from_ours),
    ),
    _control(
        "k8s-pull-always",
        "No node runs an old image under a name that means another by now.",
        LOW,
        ("CKV_K8S_15",),
        "Set imagePullPolicy to Always, or name the image by its digest.",
        container=_image(_pulled),
    ),
    _control(
        "k8s-no-hostport",
        "No container takes a port of its node.",
        LOW,
        ("CKV_K8S_26", "CIS-K8s 5.2.12"),
        "Use a Service.",
        container=_no_ports_of_the_node,
    ),
    Control(
        "k8s-not-default-ns",
        "Nothing runs in the namespace default, which nobody answers for.",
        LOW,
        ("CKV_K8S_21", "CIS-K8s 5.6.4"),
        "Set metadata.namespace.",
        rule=_not_in_default,
        types=WORKLOADS | {SERVICE, SERVICE_ACCOUNT},
    ),
    _control(
        "k8s-requests-limits",
        "Every container says how much CPU and memory it takes, and how much memory at most.",
        MEDIUM,
        ("CKV_K8S_10", "CKV_K8S_12", "CKV_K8S_13"),
        "Set resources.requests.cpu, resources.requests.memory and resources.limits.memory.",
        container=_sized,
    ),
    Control(
        "k8s-limit-range",
        "A team's namespace says what a container gets that names no limits.",
        MEDIUM,
        (),
        "Use components.Team, or add a LimitRange.",
        stack_rule=_container_limits,
    ),
    _control(
        "k8s-probes",
        "What serves says whether it lives and whether it is ready.",
        LOW,
        ("CKV_K8S_8", "CKV_K8S_9"),
        "Set livenessProbe and readinessProbe of each container.",
        container=_probed,
        types=SERVES,
    ),
    Control(
        "k8s-pdb",
        "Of what serves with several replicas, an update of nodes ends one at a time.",
        LOW,
        ("compliance-policies disallowZeroVoluntaryDisruption",),
        "Add a PodDisruptionBudget with maxUnavailable 1 for its labels.",
        stack_rule=_budgeted,
    ),
    _control(
        "k8s-gpu-limits",
        "Who takes GPUs says how many, of which pool, and tolerates its taint.",
        MEDIUM,
        (),
        f"Set resources.limits.{GPU}, nodeSelector slipway/pool, and tolerations.",
        container=_gpus,
    ),
    Control(
        "k8s-gpu-taints",
        "Nodes with GPUs keep off pods that take none.",
        MEDIUM,
        (),
        "Use components.GpuNodeGroup or components.KarpenterPool, or taint the nodes.",
        rule=_others_kept_off,
        types=frozenset({NODE_GROUP, NODE_POOL}),
    ),
    Control(
        "k8s-gpu-quota",
        "Every team may take so many GPUs and no more, and all together no more than there can be.",
        HIGH,
        (),
        "Use components.Team, or add a ResourceQuota; set gpus under teams to what the pools have.",
        stack_rule=_gpu_quotas,
    ),
    Control(
        "k8s-netpol-default-deny",
        "No namespace is open to pods of others.",
        HIGH,
        ("CIS-K8s 5.3.2",),
        "Use components.Team, or add a NetworkPolicy that denies all.",
        stack_rule=_denied_by_default,
    ),
    Control(
        "k8s-pss-labels",
        "A namespace refuses pods that ask for more than the baseline.",
        HIGH,
        ("CIS-K8s 5.2.1",),
        f"Set the label {POD_SECURITY} to restricted.",
        rule=_pod_security,
        types=frozenset({NAMESPACE}),
    ),
    Control(
        "k8s-rbac-no-wildcard",
        "A Kubernetes role names verbs, resources and groups.",
        HIGH,
        ("CKV_K8S_49", "CIS-K8s 5.1.3"),
        "Name them in place of *.",
        rule=_names_what_it_allows,
        types=ROLES,
    ),
    Control(
        "k8s-rbac-no-escalate",
        "No Kubernetes role lets its holder become somebody with more rights.",
        CRITICAL,
        ("CKV_K8S_155", "CKV_K8S_156", "CKV_K8S_157", "CKV_K8S_158", "CIS-K8s 5.1.8", "CIS-K8s 5.1.11"),
        "Remove the verbs escalate, bind and impersonate, and writing webhooks, approvals of certificates and tokens.",
        rule=_no_escalation,
        types=ROLES,
    ),
    Control(
        "k8s-rbac-secrets",
        "A Kubernetes role reads only secrets that it names.",
        HIGH,
        ("CIS-K8s 5.1.2",),
        "Allow get with resourceNames, and neither list nor watch.",
        rule=_no_secrets,
        types=ROLES,
    ),
    Control(
        "k8s-rbac-no-cluster-admin",
        "Nobody is bound to cluster-admin or admin, and no role to everyone.",
        CRITICAL,
        ("CIS-K8s 5.1.1",),
        "Bind a role with what is needed, to a service account or a group of your own.",
        rule=_no_cluster_admin,
        types=BINDINGS,
    ),
    Control(
        "k8s-no-default-sa",
        "The service account that pods get unasked has no rights and no token.",
        MEDIUM,
        ("CKV_K8S_41", "CKV_K8S_42", "CIS-K8s 5.1.5"),
        "Make a service account for what needs rights, and name it in serviceAccountName.",
        rule=_not_the_default_account,
        types=BINDINGS | {SERVICE_ACCOUNT},
    ),
]
