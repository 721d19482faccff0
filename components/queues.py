"""Queues for training: every team has its own part of the machines, lends what it leaves idle, and takes it back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import pulumi
import pulumi_kubernetes as kubernetes
import yaml
from pydantic import Field, NonNegativeInt, PositiveInt

from components.gpu import EFA, GPU, GpuPool
from components.images import Image, Images
from components.spec import Spec
from components.team import SERVING, TEAM_LABEL, TO_DNS, TO_HTTPS, Share, TeamSpec, deny_all

CHART = "oci://registry.k8s.io/kueue/charts/kueue"
VERSION = "0.19.2"
IMAGE = Image("registry.k8s.io/kueue/kueue", f"v{VERSION}")
"""To be copied into a repository of ours before Kueue is deployed."""
NAMESPACE = "kueue-system"
API = "kueue.x-k8s.io/v1beta2"
QUEUE = "default"
"""Kueue puts a job that names no queue into its namespace's queue of this name."""
TRAINING = "training"
"""The priority class of every pod that names none."""

FRAMEWORKS = [
    "batch/job",
    "jobset.x-k8s.io/jobset",
    "kubeflow.org/mpijob",
    "kubeflow.org/pytorchjob",
    "ray.io/raycluster",
    "ray.io/rayjob",
    "trainer.kubeflow.org/trainjob",
    # A pod that comes alone is queued too: what nobody counts would take what another team was promised.
    "pod",
    "deployment",
    "statefulset",
]
"""What Kueue queues. It skips a kind that the cluster does not have."""
METRICS_PORT, WEBHOOK_PORT, VISIBILITY_PORT = 8443, 9443, 8082
SERVED = METRICS_PORT, WEBHOOK_PORT, VISIBILITY_PORT
"""Where Kueue answers: metrics, checks of its kinds, and the API by which `kubectl` shows who waits."""
WITHOUT_QUOTA = ["ephemeral-storage", "hugepages-", EFA]
"""Resources that come with a node's GPUs, so that nobody counts them again."""
PRIORITIES = {
    "background": (-100, "May wait, and may be stopped by others who borrow"),
    "normal": (0, "Where a job names no priority"),
    "urgent": (100, "Before all else that its own team does"),
}
"""Workload priorities: the order within a team's queue, whatever its pods' priority on a node."""
SERVING_VALUE = 1_000_000
CPU_FLAVOR = "any-node"
"""CPU and memory are counted wherever they are: a pod with GPUs takes those of its GPU node."""
BORROWERS_STOP = {"policy": "LowerPriority", "maxPriorityThreshold": PRIORITIES["background"][0]}
"""Who borrows stops others who borrow only where those said that they can wait."""


class QueuesSpec(Spec):
    """What training may use of the cluster, and how its queues share it."""

    cpus: PositiveInt
    """CPUs that all nodes at their largest have for training: the teams' own may not come to more."""
    memory_gib: PositiveInt
    """The same in GiB of memory."""
    serving: Mapping[str, PositiveInt] = Field(default_factory=dict)
    """Units of a pool that are kept for serving pods: no training is ever admitted to them."""
    shared: Mapping[str, PositiveInt] = Field(default_factory=dict)
    """Units of a pool that belong to no team, for all to borrow."""
    borrowing: Literal["by-priority", "fair"] = "by-priority"
    """Who gets what is idle: who comes first, and then who is more urgent; or every team by its weight.

    Kueue knows one or the other: with fair sharing, priorities do not count between teams.
    """
    start_minutes: int = Field(default=20, ge=1, le=240)
    """How long an admitted job may wait for all its pods to run: nodes start and pull images of tens of GiB."""
    recovery_minutes: int = Field(default=20, ge=1, le=240)
    """How long a running job may lack a pod before it gives back its place: a lost node is replaced within that."""
    retries: NonNegativeInt = 5
    """How often a job that did not start is queued again before it is left to its team."""
    retry_seconds: int = Field(default=60, ge=1, le=3600)
    """The wait before the first of these retries; it doubles each time, up to an hour."""


def check_quotas(pools: Mapping[str, GpuPool], teams: Mapping[str, TeamSpec], spec: QueuesSpec) -> None:
    """Raise ValueError where teams are promised more than there can be: it names the keys to change."""
    for named, key in ((spec.serving, "serving"), (spec.shared, "shared")):
        for unknown in named.keys() - pools.keys():
            raise ValueError(f"queues.{key}.{unknown}: there is no such pool: set one of {', '.join(pools)}")
    if CPU_FLAVOR in pools:
        raise ValueError(f"gpus.{CPU_FLAVOR}: the queues use that name: give the pool another")
    for team, of in teams.items():
        if of.weight != 1 and spec.borrowing != "fair":
            raise ValueError(f"teams.{team}.weight: counts only where queues.borrowing is fair: set that, or no weight")
    parts = {team: _shares(team, of, pools) for team, of in teams.items()}
    for name, pool in pools.items():
        owned = {f"teams.{team}.gpus.{name}": part[name].own for team, part in parts.items()}
        kept = {f"queues.serving.{name}": spec.serving.get(name, 0), f"queues.shared.{name}": spec.shared.get(name, 0)}
        _expect_within(f"pool {name}", pool.resource, pool.max_units, owned | kept, f"the limit of gpus.{name}")
        for team, part in parts.items():
            reach = pool.max_units - spec.serving.get(name, 0)
            _expect_reachable(f"teams.{team}.gpus.{name}", part[name], reach, pool.resource)
        _expect_apart(name, pool, [team for team, part in parts.items() if part[name].most], spec.serving.get(name, 0))
    for key, resource, most in (("cpus", "CPUs", spec.cpus), ("memory_gib", "GiB of memory", spec.memory_gib)):
        shares: dict[str, Share] = {f"teams.{team}.{key}": getattr(of, key) for team, of in teams.items()}
        owned = {where: share.own for where, share in shares.items()}
        _expect_within("the cluster", resource, most, owned, f"queues.{key}")
        for where, share in shares.items():
            _expect_reachable(where, share, most, resource)


def _expect_within(whose: str, resource: str, most: int, parts: Mapping[str, int], limit: str) -> None:
    total = sum(parts.values())
    if total > most:
        largest = max(parts, key=lambda key: parts[key])
        named = ", ".join(f"{key} {part}" for key, part in parts.items() if part)
        raise ValueError(
            f"{whose} has at most {most} {resource}, and {total} are promised ({named}): lower {largest} by "
            f"{min(total - most, parts[largest])}, or raise {limit}"
        )


def _expect_reachable(where: str, share: Share, most: int, resource: str) -> None:
    """Raise ValueError where a team may borrow what can never be lent."""
    if share.most > most:
        raise ValueError(
            f"{where}: own {share.own} and borrow {share.borrow} come to more than the {most} {resource} there can be "
            f"for training: lower borrow to {most - share.own}"
        )


def _expect_apart(name: str, pool: GpuPool, teams: Sequence[str], serving: int) -> None:
    """Raise ValueError where two who know nothing of each other would run on one GPU."""
    if pool.sharing and pool.sharing.kind != "mig" and len(teams) + bool(serving) > 1:
        raise ValueError(
            f"pool {name} shares GPUs by {pool.sharing.kind}, so that one pod's memory or fault can end another's, and "
            f"{', '.join([*teams, *(['serving'] if serving else [])])} may run there: leave gpus.{name} to one of them,"
            " or share by mig, which keeps them apart"
        )


def _shares(team: str, spec: TeamSpec, pools: Mapping[str, GpuPool]) -> dict[str, Share]:
    try:
        return spec.shares(pools)
    except ValueError as error:
        raise ValueError(f"teams.{team}.{error}") from None


class Queues(pulumi.ComponentResource):
    """Kueue, and with it one queue a team in a cohort that lends and borrows.

    A team's own part is its own: others use it only while it is idle, and are stopped as soon as the team wants it
    back, whatever their priority. While a team uses no more than that, only more urgent jobs of its own stop its jobs.
    Pods that serve stand outside: training is admitted to no unit that is kept for them, and never pushes a pod off a
    node, whereas they push off training.

    Kueue's image comes from a repository of ours, since nodes have no way to the internet: copy it before the rest is
    deployed (`images.copies`).
    """

    images: Images

    def __init__(
        self,
        name: str,
        spec: QueuesSpec,
        *,
        pools: Mapping[str, GpuPool],
        teams: Mapping[str, TeamSpec],
        namespaces: Mapping[str, pulumi.Input[str]],
        kms_key_arn: pulumi.Input[str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """`namespaces` are the teams', by team: a queue is made in each. The key encrypts Kueue's image."""
        super().__init__("slipway:index:Queues", name, opts=opts)
        check_quotas(pools, teams, spec)
        child = pulumi.ResourceOptions(parent=self)

        self.images = Images(name, images=[IMAGE], kms_key_arn=kms_key_arn, opts=child)
        kueue = _install(name, spec, self.images.repositories[IMAGE.source], child)
        # Its kinds come with the chart, and its webhook checks each of them: it has to run first, and to go last.
        queued = child.merge(pulumi.ResourceOptions(depends_on=[kueue]))
        _prioritize(name, child, queued)
        ordered = {pool: pools[pool] for pool in sorted(pools, key=lambda pool: _rank(pool, pools[pool]))}
        cohort = _custom(
            "Cohort", f"{name}-teams", {"name": name}, {"resourceGroups": _idle(ordered, teams, spec)}, queued
        )
        flavors = [*_flavors(name, ordered, queued)]
        after = queued.merge(pulumi.ResourceOptions(depends_on=[kueue, cohort, *flavors]))
        for team, of in teams.items():
            queue = _custom(
                "ClusterQueue", f"{name}-{team}", {"name": team}, _queue(name, team, of, ordered, spec), after
            )
            _custom(
                "LocalQueue",
                f"{name}-{team}-{QUEUE}",
                {"name": QUEUE, "namespace": namespaces[team]},
                {"clusterQueue": team},
                # Kueue moves no queue to another: a new one takes its place.
                child.merge(
                    pulumi.ResourceOptions(
                        depends_on=[queue], replace_on_changes=["spec.clusterQueue"], delete_before_replace=True
                    )
                ),
            )
        self.register_outputs({"copies": self.images.copies})


def _rank(name: str, pool: GpuPool) -> tuple[int, str]:
    """What is paid for anyway is used first, then what is cheap: as Karpenter chooses."""
    return -pool.weight, name


def _custom(
    kind: str, name: str, metadata: Mapping[str, Any], spec: Mapping[str, Any], opts: pulumi.ResourceOptions
) -> kubernetes.apiextensions.CustomResource:
    return kubernetes.apiextensions.CustomResource(
        name, api_version=API, kind=kind, metadata=metadata, spec=spec, opts=opts
    )


def _install(
    name: str, spec: QueuesSpec, image_repository_url: pulumi.Input[str], opts: pulumi.ResourceOptions
) -> kubernetes.helm.v3.Release:
    namespace = kubernetes.core.v1.Namespace(
        f"{name}-{NAMESPACE}",
        metadata={
            "name": NAMESPACE,
            "labels": {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "audit", "warn")},
        },
        opts=opts,
    )
    quota = kubernetes.core.v1.ResourceQuota(
        f"{name}-{NAMESPACE}",
        metadata={"name": "quota", "namespace": NAMESPACE},
        spec={"hard": {f"requests.{GPU}": "0"}},
        opts=opts.merge(pulumi.ResourceOptions(depends_on=[namespace])),
    )
    _close(f"{name}-{NAMESPACE}", opts.merge(pulumi.ResourceOptions(depends_on=[namespace])))
    return kubernetes.helm.v3.Release(
        f"{name}-kueue",
        name="kueue",
        namespace=NAMESPACE,
        chart=CHART,
        version=VERSION,
        timeout=600,
        # A first installation that fails leaves nothing behind, so that the next one is a first one again.
        atomic=True,
        values={
            "controllerManager": {
                "replicas": 2,
                "podDisruptionBudget": {"enabled": True, "minAvailable": 1},
                "topologySpreadConstraints": [
                    {
                        "maxSkew": 1,
                        "topologyKey": "kubernetes.io/hostname",
                        "whenUnsatisfiable": "ScheduleAnyway",
                        "labelSelector": {"matchLabels": {"control-plane": "controller-manager"}},
                    }
                ],
                "manager": {
                    "image": {"repository": image_repository_url, "tag": IMAGE.tag, "pullPolicy": "IfNotPresent"},
                    # Where it is down, nothing is admitted: training may never push it off its node.
                    "priorityClassName": "system-cluster-critical",
                },
            },
            "managerConfig": {"controllerManagerConfigYaml": yaml.safe_dump(configuration(spec), sort_keys=False)},
        },
        opts=opts.merge(pulumi.ResourceOptions(depends_on=[namespace, quota])),
    )


def _close(name: str, opts: pulumi.ResourceOptions) -> None:
    """Leave Kueue's pods what they cannot do without: the API server calls them, and they call it."""
    deny_all(name, NAMESPACE, opts)
    kubernetes.networking.v1.NetworkPolicy(
        f"{name}-allow-api",
        metadata={"name": "allow-api", "namespace": NAMESPACE},
        spec={
            "pod_selector": {},
            "policy_types": ["Ingress", "Egress"],
            # The API server calls from the network's own addresses, which are no pod's.
            "ingress": [{"ports": [{"protocol": "TCP", "port": port} for port in SERVED]}],
            "egress": [TO_DNS, TO_HTTPS],
        },
        opts=opts,
    )


def configuration(spec: QueuesSpec) -> dict[str, Any]:
    """Kueue's own configuration: apis/config/v1beta2 of its repository. It takes the place of the chart's."""
    return {
        "apiVersion": "config.kueue.x-k8s.io/v1beta2",
        "kind": "Configuration",
        "health": {"healthProbeBindAddress": ":8081"},
        "metrics": {"bindAddress": f":{METRICS_PORT}", "enableClusterQueueResources": True},
        "webhook": {"port": WEBHOOK_PORT},
        "leaderElection": {"leaderElect": True, "resourceName": "c1f6bfd2.kueue.x-k8s.io"},
        "clientConnection": {"qps": 300, "burst": 500},
        # Karpenter knows no ProvisioningRequest: whether nodes came is seen by whether the pods run.
        "waitForPodsReady": {
            "timeout": f"{spec.start_minutes}m",
            "recoveryTimeout": f"{spec.recovery_minutes}m",
            # Waiting for one team's image would hold up every other team.
            "blockAdmission": False,
            "requeuingStrategy": {
                "timestamp": "Eviction",
                "backoffLimitCount": spec.retries,
                "backoffBaseSeconds": spec.retry_seconds,
                "backoffMaxSeconds": 3600,
            },
        },
        "manageJobsWithoutQueueName": True,
        # The chart gives its webhooks this selector as well: where Kueue is down, other namespaces do not notice.
        "managedJobsNamespaceSelector": {
            "matchExpressions": [
                {"key": TEAM_LABEL, "operator": "Exists"},
                {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["kube-system", NAMESPACE]},
            ]
        },
        "integrations": {"frameworks": FRAMEWORKS},
        "resources": {"excludeResourcePrefixes": WITHOUT_QUOTA},
        "objectRetentionPolicies": {"workloads": {"afterFinished": "168h"}},
        **(
            {"fairSharing": {"preemptionStrategies": ["LessThanOrEqualToFinalShare", "LessThanInitialShare"]}}
            if spec.borrowing == "fair"
            else {}
        ),
    }


def _prioritize(name: str, opts: pulumi.ResourceOptions, queued: pulumi.ResourceOptions) -> None:
    """Which pod pushes off which on a node, and which job goes before which in a queue."""
    fixed = pulumi.ResourceOptions(replace_on_changes=["value", "preemptionPolicy"], delete_before_replace=True)
    kubernetes.scheduling.v1.PriorityClass(
        f"{name}-{TRAINING}",
        metadata={"name": TRAINING},
        value=0,
        # What a pod without a class gets: 0, as ever, but it waits for room and pushes no other pod off.
        global_default=True,
        preemption_policy="Never",
        description="Training: waits for room",
        opts=opts.merge(fixed),
    )
    kubernetes.scheduling.v1.PriorityClass(
        f"{name}-{SERVING}",
        metadata={"name": SERVING},
        value=SERVING_VALUE,
        preemption_policy="PreemptLowerPriority",
        description="Serving: pushes training off a node where there is no room",
        opts=opts.merge(fixed),
    )
    for priority, (value, description) in PRIORITIES.items():
        pulumi.CustomResource(
            f"kubernetes:{API}:WorkloadPriorityClass",
            f"{name}-{priority}",
            # This kind has no spec, so that pulumi-kubernetes' CustomResource cannot say it.
            {
                "apiVersion": API,
                "kind": "WorkloadPriorityClass",
                "metadata": {"name": priority},
                "value": value,
                "description": description,
            },
            opts=queued,
        )


def _flavors(name: str, pools: Mapping[str, GpuPool], opts: pulumi.ResourceOptions) -> Iterator[pulumi.Resource]:
    """The kinds of nodes there are: each pool of GPUs, and whatever node a pod without GPUs comes to run on."""
    for pool, of in pools.items():
        yield _custom(
            "ResourceFlavor",
            f"{name}-{pool}",
            {"name": pool},
            {
                # The scheduler sends an admitted pod where these labels are, past the taints that keep others away.
                "nodeLabels": dict(of.labels(pool)),
                "tolerations": [
                    {"key": each["key"], "operator": "Equal", "value": each["value"], "effect": each["effect"]}
                    for each in of.taints
                ],
            },
            opts,
        )
    yield _custom("ResourceFlavor", f"{name}-{CPU_FLAVOR}", {"name": CPU_FLAVOR}, {}, opts)


def _queue(cohort: str, team: str, spec: TeamSpec, pools: Mapping[str, GpuPool], queues: QueuesSpec) -> dict[str, Any]:
    """A team's queue: what is its own, what it borrows and lends, and whom it may stop."""
    shares = spec.shares(pools)
    # Kueue knows one way or the other: with fair sharing it is not asked who is more urgent in another team.
    stops = {} if queues.borrowing == "fair" else {"borrowWithinCohort": BORROWERS_STOP}
    return {
        "cohortName": cohort,
        # Nobody else gets in, even with a LocalQueue of their own that points here.
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": team}},
        "queueingStrategy": "BestEffortFIFO",
        "resourceGroups": _groups(
            pools,
            {pool: _quota(share) for pool, share in shares.items()},
            {"cpu": _quota(spec.cpus), "memory": _quota(spec.memory_gib, "Gi")},
            {"nominalQuota": "0", "borrowingLimit": "0"},
        ),
        "preemption": {"reclaimWithinCohort": "Any", "withinClusterQueue": "LowerPriority", **stops},
        # What is its own in the next pool comes before what it would have to give back, and that before stopping a job.
        "flavorFungibility": {"whenCanBorrow": "TryNextFlavor", "whenCanPreempt": "TryNextFlavor"},
        "fairSharing": {"weight": str(spec.weight)},
    }


def _quota(share: Share, unit: str = "") -> dict[str, str]:
    lend = {} if share.lend is None else {"lendingLimit": f"{share.lend}{unit}"}
    return {"nominalQuota": f"{share.own}{unit}", "borrowingLimit": f"{share.borrow}{unit}", **lend}


def _idle(pools: Mapping[str, GpuPool], teams: Mapping[str, TeamSpec], spec: QueuesSpec) -> list[dict[str, Any]]:
    """What no team owns, for all to borrow: units set aside for that, and the nodes' remaining CPUs and memory."""
    cpus = spec.cpus - sum(team.cpus.own for team in teams.values())
    memory = spec.memory_gib - sum(team.memory_gib.own for team in teams.values())
    return _groups(
        pools,
        {pool: {"nominalQuota": str(spec.shared.get(pool, 0))} for pool in pools},
        {"cpu": {"nominalQuota": str(cpus)}, "memory": {"nominalQuota": f"{memory}Gi"}},
        {"nominalQuota": "0"},
    )


def _groups(
    pools: Mapping[str, GpuPool],
    units: Mapping[str, Mapping[str, str]],
    rest: Mapping[str, Mapping[str, str]],
    none: Mapping[str, str],
) -> list[dict[str, Any]]:
    """GPUs by pool, and CPU and memory of any node. Kueue wants every resource of a group in each of its flavors."""
    covered = sorted({pool.resource for pool in pools.values()})
    gpus = {
        "coveredResources": covered,
        "flavors": [
            {
                "name": name,
                "resources": [
                    {"name": resource, **(units[name] if resource == pool.resource else none)} for resource in covered
                ],
            }
            for name, pool in pools.items()
        ],
    }
    others = {
        "coveredResources": list(rest),
        "flavors": [{"name": CPU_FLAVOR, "resources": [{"name": name, **quota} for name, quota in rest.items()]}],
    }
    return [gpus, others] if pools else [others]
