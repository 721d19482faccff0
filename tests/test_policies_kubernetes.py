"""Each control on what runs in a cluster: pods, what drivers may beyond them, roles, and namespaces."""

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest
from judging import ACCOUNT, judge, judge_stack, resource
from pulumi.runtime.config import set_all_config
from test_cases import RESOURCES

from policies.access import kubernetes
from policies.access.kubernetes import (
    DAEMON_SET,
    DEPLOYMENT,
    DISRUPTION_BUDGET,
    LIMIT_RANGE,
    NAMESPACE,
    POD,
    QUOTA,
    RBAC,
    TEAM_LABEL,
)
from policies.resource_types import LAUNCH_TEMPLATE, NETWORK_POLICY, NODE_GROUP, NODE_POOL, SERVICE_ACCOUNT
from policies.rules import UNKNOWN

CRON_JOB = "kubernetes:batch/v1:CronJob"
ROLE, CLUSTER_ROLE = f"{RBAC}Role", f"{RBAC}ClusterRole"
BINDING = f"{RBAC}RoleBinding"
QUEUE = "kubernetes:kueue.x-k8s.io/v1beta2:ClusterQueue"
GPU = {"nvidia.com/gpu": 1}
IMAGE = f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com/churn"


@pytest.fixture(autouse=True)
def production() -> Iterator[None]:
    tags = {"tags": {"environment": "prod"}}
    set_all_config({"aws:defaultTags": json.dumps(tags), "aws:allowedAccountIds": json.dumps([ACCOUNT])})
    yield
    set_all_config({})


def pod(context=None, *, spec=None, **container):
    """A pod that keeps every control, but for what is given: None takes a setting away."""
    secure = {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
        **(context or {}),
    }
    one = {
        "name": "c",
        "image": f"{IMAGE}@sha256:00",
        "securityContext": known(secure),
        "resources": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"memory": "1Gi"}},
        "livenessProbe": {"httpGet": {"port": 80}},
        "readinessProbe": {"httpGet": {"port": 80}},
        **container,
    }
    whole = {
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [known(one)],
        **(spec or {}),
    }
    return {"metadata": {"name": "it", "namespace": "churn"}, "spec": known(whole)}


def known(settings):
    return {key: value for key, value in settings.items() if value is not None}


def pods_with(**pod_context):
    return pod(spec={"securityContext": pod_context})


def role(verbs, resources, groups=("",), **more):
    return {"rules": [{"apiGroups": list(groups), "resources": resources, "verbs": verbs, **more}]}


def bound(to, **subject):
    return {"roleRef": {"name": to}, "subjects": [{"kind": "ServiceAccount", "name": "churn", **subject}]}


ON_GPUS = {"nodeSelector": {"slipway/pool": "train"}, "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}]}
PODS = [each.name for each in kubernetes.CONTROLS if each.types and POD in each.types]
ACCEPTED = [
    *((name, POD, pod()) for name in PODS),
    ("k8s-nonroot", POD, pods_with(runAsUser=1000)),
    ("k8s-drop-all", POD, pod({"capabilities": {"drop": ["all"]}})),
    ("k8s-no-added-caps", POD, pod({"capabilities": {"add": ["NET_BIND_SERVICE"]}})),
    ("k8s-seccomp", POD, pod({"seccompProfile": {"type": "Localhost"}}, spec={"securityContext": {}})),
    ("k8s-image-digest", POD, pod(image=f"{IMAGE}:1.0")),
    ("k8s-image-digest", POD, pod(image="quay.io/other/image@sha256:00")),
    ("k8s-image-tag", POD, pod(image="localhost:5000/image:1.0")),
    ("k8s-pull-always", POD, pod(image=f"{IMAGE}:1.0")),
    ("k8s-probes", POD, pod(spec={"restartPolicy": "Never"}, livenessProbe=None)),
    ("k8s-requests-limits", POD, pod(resources={"limits": {"cpu": "1", "memory": "1Gi"}})),
    ("k8s-gpu-limits", POD, pod(spec=ON_GPUS, resources={"limits": GPU})),
    ("k8s-gpu-limits", POD, pod(spec={**ON_GPUS, "tolerations": [{"operator": "Exists"}]}, resources={"limits": GPU})),
    ("k8s-gpu-taints", NODE_GROUP, {"instanceTypes": ["m7i.large"]}),
    ("k8s-gpu-taints", NODE_GROUP, {"instanceTypes": ["g6.xlarge"], "taints": [{"key": "nvidia.com/gpu"}]}),
    ("k8s-rbac-no-wildcard", ROLE, role(["get"], ["pods"])),
    ("k8s-rbac-no-escalate", CLUSTER_ROLE, role(["get", "create"], ["roles"], ["rbac.authorization.k8s.io"])),
    ("k8s-rbac-no-escalate", ROLE, role(["create"], ["serviceaccounts"])),
    ("k8s-rbac-secrets", ROLE, role(["get"], ["secrets"], resourceNames=["mine"])),
    ("k8s-rbac-secrets", CLUSTER_ROLE, role(["list"], ["pods"])),
    ("k8s-rbac-no-cluster-admin", BINDING, bound("reader")),
    ("k8s-no-default-sa", BINDING, bound("reader")),
    ("k8s-pss-labels", NAMESPACE, {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}),
]

REFUSED = [
    ("k8s-no-privileged", pod({"privileged": True}), "containers.0.securityContext.privileged is not false"),
    ("k8s-no-hostpid", pod(spec={"hostPID": True}), "spec.hostPID is true"),
    ("k8s-no-hostipc", pod(spec={"hostIPC": True}), "spec.hostIPC is true"),
    ("k8s-no-hostnetwork", pod(spec={"hostNetwork": True}), "spec.hostNetwork is true"),
    ("k8s-no-hostpath", pod(spec={"volumes": [{"hostPath": {"path": "/"}}]}), "mounts the node's /"),
    (
        "k8s-no-docker-sock",
        pod(spec={"volumes": [{"hostPath": {"path": "/run/containerd/containerd.sock"}}]}),
        "may start any other",
    ),
    ("k8s-no-priv-esc", pod({"allowPrivilegeEscalation": None}), "allowPrivilegeEscalation is not false"),
    ("k8s-nonroot", pods_with(), "may run as root"),
    ("k8s-nonroot", pod({"runAsUser": 0}), "runAsUser is 0, which is root"),
    ("k8s-nonroot", pod({"runAsNonRoot": False}, spec={"securityContext": {"runAsNonRoot": True}}), "may run as root"),
    ("k8s-uid-high", pods_with(runAsUser=1000), "is not 10000 or above"),
    ("k8s-drop-all", pod({"capabilities": {"drop": ["NET_RAW"]}}), "set it to ['ALL']"),
    ("k8s-no-added-caps", pod({"capabilities": {"add": ["SYS_ADMIN"]}}), "add is SYS_ADMIN"),
    ("k8s-ro-rootfs", pod({"readOnlyRootFilesystem": None}), "readOnlyRootFilesystem is not true"),
    ("k8s-seccomp", pods_with(runAsNonRoot=True), "any system call"),
    ("k8s-seccomp", pod({"seccompProfile": {"type": "Unconfined"}}), "any system call"),
    ("k8s-no-sa-token", pod(spec={"automountServiceAccountToken": None}), "automountServiceAccountToken is not false"),
    ("k8s-no-env-secrets", pod(envFrom=[{"secretRef": {"name": "a"}}]), "mount it as a file"),
    ("k8s-image-digest", pod(image="public.ecr.aws/other/image:1.0"), "whose tag may move"),
    ("k8s-image-tag", pod(image=f"{IMAGE}:latest"), "another image tomorrow"),
    ("k8s-image-tag", pod(image="localhost:5000/image"), "another image tomorrow"),
    ("k8s-image-registry", pod(image="nginx:1.27"), "comes from docker.io"),
    ("k8s-pull-always", pod(image="nginx:1.27"), "imagePullPolicy to Always"),
    ("k8s-pull-always", pod(image="nginx", imagePullPolicy="IfNotPresent"), "imagePullPolicy to Always"),
    ("k8s-no-hostport", pod(ports=[{"hostPort": 80}]), "ports.0.hostPort is 80"),
    ("k8s-not-default-ns", {"metadata": {"namespace": "default"}}, "metadata.namespace is default"),
    ("k8s-requests-limits", pod(resources={"requests": {"cpu": "1", "memory": "1Gi"}}), "resources.limits.memory"),
    ("k8s-requests-limits", pod(resources={"limits": {"memory": "1Gi"}}), "resources.requests.cpu"),
    ("k8s-probes", pod(readinessProbe=None), "readinessProbe is not set"),
    ("k8s-gpu-limits", pod(spec=ON_GPUS, resources={"requests": GPU}), "resources.limits.nvidia.com/gpu is not set"),
    ("k8s-gpu-limits", pod(spec={**ON_GPUS, "nodeSelector": None}, resources={"limits": GPU}), "nodeSelector is not"),
    ("k8s-gpu-limits", pod(spec={**ON_GPUS, "tolerations": []}, resources={"limits": GPU}), "tolerates no taint"),
]

REFUSED_ELSE = [
    ("k8s-gpu-taints", NODE_GROUP, {"instanceTypes": ["g6.xlarge"]}, "taints is not set"),
    ("k8s-gpu-taints", NODE_GROUP, {"labels": {"nvidia.com/gpu.present": "true"}}, "taints is not set"),
    ("k8s-gpu-taints", NODE_POOL, {"spec": {"limits": {"nvidia.com/gpu": 8}}}, "taints is not set"),
    ("k8s-rbac-no-wildcard", CLUSTER_ROLE, role(["*"], ["pods"]), "rules.0.verbs is *"),
    ("k8s-rbac-no-escalate", CLUSTER_ROLE, role(["impersonate"], ["users"]), "act as others"),
    (
        "k8s-rbac-no-escalate",
        ROLE,
        role(["escalate"], ["roles"], ["rbac.authorization.k8s.io"]),
        "take any right",
    ),
    (
        "k8s-rbac-no-escalate",
        CLUSTER_ROLE,
        role(["patch"], ["mutatingwebhookconfigurations"], ["admissionregistration.k8s.io"]),
        "whatever is sent to the API server",
    ),
    ("k8s-rbac-no-escalate", ROLE, role(["create"], ["serviceaccounts/token"]), "log in as any service account"),
    ("k8s-rbac-no-escalate", ROLE, role(["create"], ["*/token"]), "log in as any service account"),
    ("k8s-rbac-secrets", CLUSTER_ROLE, role(["watch"], ["secrets"], resourceNames=["mine"]), "list secrets"),
    ("k8s-rbac-secrets", ROLE, role(["get"], ["secrets"]), "read every secret"),
    ("k8s-rbac-no-cluster-admin", BINDING, bound("cluster-admin"), "roleRef.name is cluster-admin"),
    ("k8s-rbac-no-cluster-admin", BINDING, bound("view", name="system:authenticated"), "name a service account"),
    ("k8s-no-default-sa", BINDING, bound("reader", name="default"), "every pod that names no account"),
    ("k8s-no-default-sa", SERVICE_ACCOUNT, {"metadata": {"name": "default"}}, "is not false"),
    ("k8s-pss-labels", NAMESPACE, {"metadata": {"name": "team"}}, "metadata.labels: set pod-security"),
]

UNDECIDED = [
    ("k8s-no-privileged", POD, {"spec": UNKNOWN}, "spec"),
    ("k8s-nonroot", POD, pod({"runAsUser": UNKNOWN}), "securityContext"),
    ("k8s-image-digest", POD, pod(image=UNKNOWN), "containers.0.image"),
    ("k8s-rbac-no-escalate", ROLE, {"rules": [UNKNOWN]}, "rules.0"),
    ("k8s-pss-labels", NAMESPACE, {"metadata": UNKNOWN}, "metadata"),
]


@pytest.mark.parametrize("rule, kind, inputs", ACCEPTED)
def test_what_is_confined_is_accepted(rule, kind, inputs):
    verdict = judge(rule, kind, inputs)
    assert (verdict.sentences, verdict.unknown) == ([], [])


@pytest.mark.parametrize("rule, kind, inputs, words", [(rule, POD, *rest) for rule, *rest in REFUSED] + REFUSED_ELSE)
def test_what_is_too_much_is_refused_with_what_to_set(rule, kind, inputs, words):
    [sentence] = judge(rule, kind, inputs).sentences
    assert words in sentence


@pytest.mark.parametrize("rule, kind, inputs, path", UNDECIDED)
def test_what_only_a_deployment_will_know_is_deferred_not_passed(rule, kind, inputs, path):
    verdict = judge(rule, kind, inputs)
    assert verdict.sentences == []
    assert any(path in each for each in verdict.unknown)


@pytest.mark.parametrize(
    "rule, inputs, words",
    [case for case in REFUSED if "spec" in case[1] and case[0] != "k8s-probes"],  # what ends by itself needs no probes
)
def test_a_pod_is_judged_wherever_it_is_described(rule, inputs, words):
    job = {"metadata": inputs["metadata"], "spec": {"jobTemplate": {"spec": {"template": {"spec": inputs["spec"]}}}}}
    [sentence] = judge(rule, CRON_JOB, job).sentences
    assert words.split("spec.")[-1] in sentence
    assert "spec.jobTemplate.spec.template.spec" in sentence


def test_a_container_that_starts_first_is_judged_as_the_others():
    first = pod({"privileged": True})["spec"]["containers"]
    [sentence] = judge("k8s-no-privileged", POD, pod(spec={"initContainers": first})).sentences
    assert "spec.initContainers.0" in sentence


def test_what_is_no_pod_s_description_is_refused():
    [sentence] = judge("k8s-nonroot", POD, {"spec": [{"name": "main"}]}).sentences
    assert sentence == "spec is no mapping: describe a pod there"


# Drivers of devices may do what they must, in kube-system alone.


def daemons(name, namespace="kube-system", **spec):
    return {"metadata": {"name": name, "namespace": namespace}, "spec": {"template": {"spec": spec}}}


MOUNTED = {"volumes": [{"hostPath": {"path": "/var/lib/kubelet/device-plugins"}}]}


def test_a_device_plugin_mounts_the_kubelets_socket_and_nothing_else_of_the_node():
    assert judge("k8s-no-hostpath", DAEMON_SET, daemons("nvidia-device-plugin-whole", **MOUNTED)).sentences == []
    elsewhere = daemons("nvidia-device-plugin-whole", "churn", **MOUNTED)
    another = daemons("another", **MOUNTED)
    more = daemons("nvidia-device-plugin-whole", volumes=[{"hostPath": {"path": "/etc"}}])
    assert all(judge("k8s-no-hostpath", DAEMON_SET, each).sentences for each in (elsewhere, another, more))


def test_what_one_container_of_a_driver_may_do_its_others_may_not():
    root = {"securityContext": {"runAsUser": 0}}
    agent, exporter = {"name": "agent", **root}, {"name": "exporter", **root}
    metrics = daemons("gpu-metrics-train", containers=[agent, exporter])
    [sentence] = judge("k8s-nonroot", DAEMON_SET, metrics).sentences
    assert "containers.1" in sentence


def test_every_exemption_names_a_control():
    names = {each.name for each in kubernetes.CONTROLS}
    for driver in kubernetes.DRIVERS:
        assert driver.may <= names
        assert all(may <= names for may in driver.containers.values())


# What every namespace has to have.

TEAM = resource(NAMESPACE, "churn", metadata={"name": "churn", "labels": {TEAM_LABEL: "churn"}})
SYSTEM = resource(NAMESPACE, "tools", metadata={"name": "tools"})
DENIES = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def inside(kind, name="it", namespace="churn", **inputs):
    return resource(kind, name, metadata={"name": name, "namespace": namespace}, **inputs)


def quota(gpus, name="quota", namespace="churn", **more):
    hard = {"requests.nvidia.com/gpu": gpus, "requests.cpu": "16", "requests.memory": "64Gi"}
    return inside(QUOTA, name, namespace, spec={"hard": hard, **more})


def test_a_namespace_is_closed_to_others():
    assert judge_stack("k8s-netpol-default-deny", TEAM, inside(NETWORK_POLICY, spec=DENIES)).sentences == []
    for spec in (
        {"podSelector": {}, "policyTypes": ["Ingress"]},
        {**DENIES, "podSelector": {"matchLabels": {"app": "a"}}},
        {**DENIES, "ingress": [{}]},
    ):
        verdict = judge_stack("k8s-netpol-default-deny", TEAM, inside(NETWORK_POLICY, spec=spec))
        assert verdict.about == [TEAM.urn]
        assert "namespace churn is open to all pods" in verdict.sentences[0]
    of_another = inside(NETWORK_POLICY, namespace="fraud", spec=DENIES)
    assert judge_stack("k8s-netpol-default-deny", TEAM, of_another).sentences


def test_what_is_in_a_namespace_without_a_name_yet_is_found_by_where_its_name_comes_from():
    unnamed = resource(NAMESPACE, "churn", metadata={"labels": {TEAM_LABEL: "churn"}})
    policy = resource(
        NETWORK_POLICY, uses={"metadata": [f"{NAMESPACE}::churn"]}, metadata={"namespace": UNKNOWN}, spec=DENIES
    )
    assert judge_stack("k8s-netpol-default-deny", unnamed, policy).sentences == []
    assert judge_stack("k8s-netpol-default-deny", unnamed).sentences


def test_a_team_s_namespace_says_what_a_container_gets_that_names_no_limits():
    assert judge_stack("k8s-limit-range", TEAM, SYSTEM, inside(LIMIT_RANGE)).sentences == []
    assert judge_stack("k8s-limit-range", TEAM, SYSTEM).about == [TEAM.urn]


def test_every_team_has_a_quota_of_gpus():
    assert judge_stack("k8s-gpu-quota", TEAM, quota("0")).sentences == []
    [sentence] = judge_stack("k8s-gpu-quota", TEAM).sentences
    assert "hard requests.nvidia.com/gpu, requests.cpu, requests.memory" in sentence
    of_some = quota("0", scopeSelector={"matchExpressions": []})
    assert judge_stack("k8s-gpu-quota", TEAM, of_some).sentences, "a quota for pods of some priorities limits no others"
    assert judge_stack("k8s-gpu-quota", TEAM, inside(QUOTA, spec={"hard": UNKNOWN})).unknown == ["spec.hard"]


NODES = resource(NODE_GROUP, instanceTypes=["g6.12xlarge"], scalingConfig={"maxSize": 2})


def test_where_there_are_gpus_every_namespace_says_how_many_it_may_take():
    assert judge_stack("k8s-gpu-quota", SYSTEM).sentences == []
    assert judge_stack("k8s-gpu-quota", SYSTEM, NODES).about == [SYSTEM.urn]
    assert judge_stack("k8s-gpu-quota", SYSTEM, NODES, quota("0", namespace="tools")).sentences == []


FRAUD = resource(NAMESPACE, "fraud", metadata={"name": "fraud", "labels": {TEAM_LABEL: "fraud"}})
BLOCK = resource(
    NODE_GROUP,
    "block",
    uses={"launchTemplate": [f"{LAUNCH_TEMPLATE}::block"]},
    scalingConfig={"maxSize": 1},
    launchTemplate={"id": "lt-1"},
)
KARPENTER = resource(NODE_POOL, "train", spec={"limits": {"nvidia.com/gpu": 8}})
SHARED = resource(
    NODE_POOL,
    "notebooks",
    spec={
        "limits": {"nvidia.com/gpu": 8},
        "template": {"metadata": {"labels": {"nvidia.com/device-plugin.config": "time-slicing-4"}}},
    },
)


@pytest.mark.parametrize(
    "nodes, most",
    [
        ([NODES], 8),
        ([BLOCK, resource(LAUNCH_TEMPLATE, "block", instanceType="p5.48xlarge")], 8),
        ([KARPENTER], 8),
        ([NODES, KARPENTER], 16),
        ([KARPENTER, SHARED], 8),
    ],
)
def test_teams_are_promised_no_more_gpus_than_there_can_be(nodes, most):
    teams = [TEAM, FRAUD, quota(str(most - 2))]
    assert judge_stack("k8s-gpu-quota", *nodes, *teams, quota("2", "two", "fraud")).sentences == []
    verdict = judge_stack("k8s-gpu-quota", *nodes, *teams, quota("3", "two", "fraud"))
    assert verdict.sentences == [
        f"namespaces are promised {most + 1} GPUs, and the nodes have {most} at most: lower a team's part"
    ]
    too_much = quota(str(most + 1), "two", "fraud")
    assert too_much.urn in judge_stack("k8s-gpu-quota", *nodes, TEAM, FRAUD, quota("0"), too_much).about


def test_where_queues_lend_what_is_idle_their_own_parts_count():
    def queue(name, own):
        flavor = {"name": "train", "resources": [{"name": "nvidia.com/gpu", "nominalQuota": own}]}
        return resource(QUEUE, name, spec={"resourceGroups": [{"flavors": [flavor]}]})

    teams = [NODES, TEAM, FRAUD, quota("8"), quota("8", "two", "fraud")]
    assert judge_stack("k8s-gpu-quota", *teams).sentences
    assert judge_stack("k8s-gpu-quota", *teams, queue("churn", "4"), queue("fraud", "4")).sentences == []
    assert judge_stack("k8s-gpu-quota", *teams, queue("churn", "4"), queue("fraud", "5")).sentences


# What serves with several replicas.

SERVES = inside(DEPLOYMENT, "web", spec={"replicas": 2, "template": {"metadata": {"labels": {"app": "web"}}}})


def budget(**spec):
    return inside(DISRUPTION_BUDGET, spec={"selector": {"matchLabels": {"app": "web"}}, **spec})


def test_an_update_ends_one_replica_at_a_time():
    assert judge_stack("k8s-pdb", SERVES, budget(maxUnavailable=1)).sentences == []
    [sentence] = judge_stack("k8s-pdb", SERVES).sentences
    assert "add a PodDisruptionBudget" in sentence
    other = budget(selector={"matchLabels": {"app": "other"}}, maxUnavailable=1)
    assert judge_stack("k8s-pdb", SERVES, other).about == [SERVES.urn]
    alone = replace(SERVES, inputs={**SERVES.inputs, "spec": {}}, outputs={})
    assert judge_stack("k8s-pdb", alone).sentences == []


@pytest.mark.parametrize("never", [{"maxUnavailable": 0}, {"maxUnavailable": "0%"}, {"minAvailable": "100%"}])
def test_a_budget_lets_nodes_be_updated(never):
    [sentence] = judge_stack("k8s-pdb", budget(**never)).sentences
    assert "let one be gone" in sentence


def test_every_control_has_something_that_passes_and_something_that_fails():
    controls = {each.name for each in kubernetes.CONTROLS if each.rule}
    passes = {case[0] for case in ACCEPTED} | {each["control"] for each in RESOURCES if each["expect"] == "pass"}
    fails = {case[0] for case in (*REFUSED, *REFUSED_ELSE)} | {
        each["control"] for each in RESOURCES if each["expect"] == "fail"
    }
    assert controls - passes == set() == controls - fails
