"""Queues and teams: who gets which machines, and that nobody's training disturbs another's work or any serving."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as kubernetes
import pytest
import yaml
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as some
from pretend_aws import ACCOUNT, KEY, REGION, TOPIC, PretendAws, up
from pydantic import TypeAdapter, ValidationError

from components.budget import Budget, BudgetSpec
from components.gpu import GpuPool
from components.queues import PRIORITIES, QUEUE, Queues, QueuesSpec, check_quotas, configuration
from components.team import TRAINER, Share, Team, TeamName, TeamSpec
from infra.check import check
from infra.rehearsal.aws import AwsProvider
from infra.rehearsal.emulator.process import Emulator
from infra.rehearsal.engine import Engine
from infra.rehearsal.kubernetes import KubernetesProvider
from infra.rehearsal.kubernetes_crds.rules import amount
from infra.settings import Settings
from infra.stack import Stack
from tests.emulated import User

LAKE = "arn:aws:s3:::lake"
GPU = "nvidia.com/gpu"

POOLS = {
    "train": GpuPool.model_validate({"instance_types": ["g6.12xlarge"], "max_size": 4}),
    "cheap": GpuPool.model_validate({"instance_types": ["g6.xlarge"], "max_size": 4, "capacity": "spot"}),
    "slices": GpuPool.model_validate(
        {"instance_types": ["p5.48xlarge"], "max_size": 1, "sharing": {"kind": "mig", "profile": "1g.10gb"}}
    ),
}
TEAMS = {
    "churn": TeamSpec.model_validate(
        {"gpus": {"train": {"own": 8, "borrow": 4, "lend": 4}, "slices": 14}, "cpus": {"own": 96, "borrow": 32}}
    ),
    "fraud": TeamSpec.model_validate({"gpus": {"train": {"own": 4, "borrow": 8}, "cheap": {"own": 0, "borrow": 4}}}),
}
SPEC = QueuesSpec.model_validate(
    {"cpus": 160, "memory_gib": 512, "serving": {"train": 2, "slices": 7}, "shared": {"train": 2, "cheap": 4}}
)
Objects = list[dict[str, Any]]


# --- what YAML may say ------------------------------------------------------------------------------------------------


def test_a_plain_number_is_a_team_s_own() -> None:
    assert TeamSpec.model_validate({"gpus": {"train": 2}, "cpus": 8}).shares(POOLS)["train"] == Share(own=2)
    assert TeamSpec(gpus=2).shares({"train": POOLS["train"]}) == {"train": Share(own=2)}
    assert TEAMS["fraud"].shares(POOLS)["slices"] == Share(own=0)


@pytest.mark.parametrize(
    "given, words",
    [
        ({"gpus": {"train": {"own": 2, "lend": 3}}}, "lend 3 is above own 2"),
        ({"gpus": {"train": {"own": 2, "borow": 3}}}, "Extra inputs are not permitted"),
        ({"gpus": {"train": -1}}, "greater than or equal to 0"),
        ({"gpus": 1, "cpus": 0}, "cpus: no pod runs without any"),
        ({"gpus": 1, "weight": 0}, "greater than 0"),
    ],
)
def test_refuses_a_share_that_cannot_be(given: Mapping[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        TeamSpec.model_validate(given)


@pytest.mark.parametrize("name", ["default", "kube-public", "kueue-system", "platform", "Churn", "-churn"])
def test_a_team_is_not_called_as_the_cluster_s_own(name: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(TeamName).validate_python(name)


def promised(spec: Mapping[str, Any] | None = None, **teams: Mapping[str, Any]) -> None:
    """Check teams against the pools, with room for all but what a test is about."""
    named = {team: TeamSpec.model_validate({"cpus": 1, "memory_gib": 1, **of}) for team, of in teams.items()}
    check_quotas(POOLS, named, QueuesSpec.model_validate({"cpus": 64, "memory_gib": 256, **(spec or {})}))


def test_all_that_a_pool_has_can_be_promised() -> None:
    promised(
        {"serving": {"train": 2}, "shared": {"train": 2}}, churn={"gpus": {"train": 8}}, fraud={"gpus": {"train": 4}}
    )
    promised(churn={"gpus": {"slices": 56}})


@pytest.mark.parametrize(
    "spec, teams, words",
    [
        (
            {"serving": {"train": 2}},
            {"churn": {"gpus": {"train": 12}}, "fraud": {"gpus": {"train": 4}}},
            r"pool train has at most 16 nvidia.com/gpu, and 18 are promised \(teams.churn.gpus.train 12, "
            r"teams.fraud.gpus.train 4, queues.serving.train 2\): lower teams.churn.gpus.train by 2, or raise",
        ),
        ({}, {"churn": {"gpus": {"slices": 57}}}, r"at most 56 nvidia.com/mig-1g.10gb, and 57 are promised"),
        (
            {"serving": {"train": 2}},
            {"churn": {"gpus": {"train": {"own": 8, "borrow": 8}}}},
            r"teams.churn.gpus.train: own 8 and borrow 8 come to more than the 14 .*: lower borrow to 6",
        ),
        ({}, {"churn": {"gpus": {"trian": 1}}}, r"teams.churn.gpus.trian: there is no such pool: set one of train"),
        ({}, {"churn": {"gpus": 1}}, r"teams.churn.gpus: 1 does not say of which pool"),
        ({"serving": {"trian": 1}}, {}, r"queues.serving.trian: there is no such pool"),
        ({"shared": {"trian": 1}}, {}, r"queues.shared.trian: there is no such pool"),
        (
            {},
            {"churn": {"gpus": {}, "cpus": 65}},
            r"at most 64 CPUs, and 65 .*lower teams.churn.cpus by 1, or raise queues",
        ),
        (
            {},
            {"churn": {"gpus": {}, "memory_gib": 257}},
            r"at most 256 GiB of memory, and 257 .*teams.churn.memory_gib",
        ),
        ({}, {"churn": {"gpus": {}, "cpus": {"own": 60, "borrow": 5}}}, r"teams.churn.cpus: .*: lower borrow to 4"),
        ({}, {"churn": {"gpus": {}, "weight": 2}}, r"teams.churn.weight: counts only where queues.borrowing is fair"),
    ],
)
def test_more_than_there_is_cannot_be_promised(
    spec: Mapping[str, Any], teams: Mapping[str, Mapping[str, Any]], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        promised(spec, **teams)


@pytest.mark.parametrize("sharing", [{"kind": "time-slicing", "replicas": 4}, {"kind": "mps", "replicas": 4}])
def test_one_gpu_is_shared_by_nobody_who_could_end_another_s_pod(sharing: Mapping[str, Any]) -> None:
    pools = {"mixed": GpuPool.model_validate({"instance_types": ["g6.xlarge"], "max_size": 4, "sharing": sharing})}
    one, other = (
        TeamSpec.model_validate({"gpus": 2}),
        TeamSpec.model_validate({"gpus": {"mixed": {"own": 0, "borrow": 1}}}),
    )
    spec = QueuesSpec(cpus=64, memory_gib=256)

    check_quotas(pools, {"churn": one, "fraud": TeamSpec(gpus=0)}, spec)
    with pytest.raises(
        ValueError, match=r"pool mixed shares GPUs by .*, and churn, fraud may run there: leave gpus.mixed"
    ):
        check_quotas(pools, {"churn": one, "fraud": other}, spec)
    with pytest.raises(ValueError, match=r"churn, serving may run there"):
        check_quotas(pools, {"churn": one}, QueuesSpec(cpus=64, memory_gib=256, serving={"mixed": 1}))


def test_kueue_shares_fairly_or_by_priority_and_never_mixes_them() -> None:
    fair = QueuesSpec.model_validate({**SPEC.model_dump(), "borrowing": "fair"})

    assert "fairSharing" not in configuration(SPEC)
    assert "fairSharing" in configuration(fair)
    for spec, borrowers_stop in ((SPEC, True), (fair, False)):
        made = up(lambda spec=spec: build(spec))  # type: ignore[misc]  # bound for this turn
        for queue in of(made, "ClusterQueue").values():
            assert ("borrowWithinCohort" in queue["spec"]["preemption"]) is borrowers_stop


# --- what is declared -------------------------------------------------------------------------------------------------


def build(spec: QueuesSpec = SPEC, cluster_name: pulumi.Input[str] = "platform-local") -> None:
    """A cluster's teams and their queues, as the platform's stack makes them."""
    inside = pulumi.ResourceOptions(providers=[kubernetes.Provider("inside", kubeconfig="{}")])
    namespaces = {
        name: Team(
            name,
            team,
            pools=POOLS,
            cluster_name=cluster_name,
            data_bucket_arn=LAKE,
            kms_key_arn=KEY,
            opts=inside,
        ).namespace
        for name, team in TEAMS.items()
    }
    Queues(
        "platform-local",
        spec,
        pools=POOLS,
        teams=TEAMS,
        namespaces=namespaces,
        kms_key_arn=KEY,
        opts=inside,
    )


@pytest.fixture(scope="module")
def made() -> PretendAws:
    return up(build)


def of(made: PretendAws, kind: str) -> dict[str, dict[str, Any]]:
    """The objects of a kind, by their name in the cluster, with the namespace where they have one."""
    found = [each.inputs for each in made.resources if each.typ.endswith(f":{kind}") and "metadata" in each.inputs]
    named = [each["metadata"] for each in found]
    return {
        "/".join(filter(None, [at.get("namespace"), at["name"]])): each for at, each in zip(named, found, strict=True)
    }


def quotas(queue: Mapping[str, Any]) -> dict[tuple[str, str], dict[str, str]]:
    """What a queue or cohort has, by flavor and resource."""
    return {
        (flavor["name"], resource["name"]): {key: each for key, each in resource.items() if key != "name"}
        for group in queue["spec"]["resourceGroups"]
        for flavor in group["flavors"]
        for resource in flavor["resources"]
    }


def test_a_queue_has_its_own_borrows_and_lends(made: PretendAws) -> None:
    churn = quotas(of(made, "ClusterQueue")["churn"])

    assert churn["train", GPU] == {"nominalQuota": "8", "borrowingLimit": "4", "lendingLimit": "4"}
    assert churn["slices", "nvidia.com/mig-1g.10gb"] == {"nominalQuota": "14", "borrowingLimit": "0"}
    assert churn["slices", GPU] == {"nominalQuota": "0", "borrowingLimit": "0"}
    assert churn["any-node", "cpu"] == {"nominalQuota": "96", "borrowingLimit": "32"}
    assert churn["any-node", "memory"] == {"nominalQuota": "64Gi", "borrowingLimit": "0Gi"}


def test_what_nobody_owns_is_for_all(made: PretendAws) -> None:
    [cohort] = of(made, "Cohort").values()

    assert {queue["spec"]["cohortName"] for queue in of(made, "ClusterQueue").values()} == {cohort["metadata"]["name"]}
    assert quotas(cohort)["train", GPU] == {"nominalQuota": "2"}
    assert quotas(cohort)["any-node", "cpu"] == {"nominalQuota": "48"}
    assert quotas(cohort)["any-node", "memory"] == {"nominalQuota": "384Gi"}


def test_what_is_paid_anyway_comes_first_then_what_is_cheap() -> None:
    reserved = {"id": "cr-0123456789abcdef0", "instance_type": "p5.48xlarge", "instances": 1, "zone": "a"}
    pools = {
        **POOLS,
        "paid": GpuPool.model_validate(
            {"instance_types": ["p5.48xlarge"], "capacity": "reservation", "reservation": reserved}
        ),
    }
    made = up(
        lambda: Queues("q", SPEC, pools=pools, teams=TEAMS, namespaces={team: team for team in TEAMS}, kms_key_arn=KEY)
    )

    for queue in of(made, "ClusterQueue").values():
        gpus = queue["spec"]["resourceGroups"][0]["flavors"]
        assert [flavor["name"] for flavor in gpus] == ["paid", "cheap", "slices", "train"]
        assert queue["spec"]["flavorFungibility"] == {
            "whenCanBorrow": "TryNextFlavor",
            "whenCanPreempt": "TryNextFlavor",
        }


def test_a_flavor_is_where_its_pool_s_nodes_are(made: PretendAws) -> None:
    flavors = of(made, "ResourceFlavor")

    assert flavors.keys() == {*POOLS, "any-node"}
    for name, pool in POOLS.items():
        assert flavors[name]["spec"]["nodeLabels"] == pool.labels(name)
        tolerated = [(each["key"], each["value"], each["effect"]) for each in flavors[name]["spec"]["tolerations"]]
        assert tolerated == [(each["key"], each["value"], each["effect"]) for each in pool.taints]
    assert flavors["any-node"]["spec"] == {}


def test_kueue_is_pinned_doubled_and_from_our_own_repository(made: PretendAws) -> None:
    release = made.only(kubernetes.helm.v3.Release)
    controller = release["values"]["controllerManager"]

    assert release["version"] == "0.19.2"
    assert controller["replicas"] == 2
    assert controller["podDisruptionBudget"] == {"enabled": True, "minAvailable": 1}
    image = controller["manager"]["image"]
    assert image == {"repository": "registry/platform-local-kueue", "tag": "v0.19.2", "pullPolicy": "IfNotPresent"}
    assert made.only(aws.ecr.Repository)["imageTagMutability"] == "IMMUTABLE"


def test_kueue_waits_for_pods_that_come_late_and_for_no_one_team(made: PretendAws) -> None:
    values = made.only(kubernetes.helm.v3.Release)["values"]
    config = yaml.safe_load(values["managerConfig"]["controllerManagerConfigYaml"])

    assert config["waitForPodsReady"] == {
        "timeout": "20m",
        "recoveryTimeout": "20m",
        "blockAdmission": False,
        "requeuingStrategy": {
            "timestamp": "Eviction",
            "backoffLimitCount": 5,
            "backoffBaseSeconds": 60,
            "backoffMaxSeconds": 3600,
        },
    }
    assert {"batch/job", "jobset.x-k8s.io/jobset", "kubeflow.org/pytorchjob", "ray.io/raycluster", "pod"} <= set(
        config["integrations"]["frameworks"]
    )


# --- nobody disturbs another ------------------------------------------------------------------------------------------


def selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a Kubernetes label selector matches."""
    holds = [labels.get(key) == value for key, value in selector.get("matchLabels", {}).items()]
    for each in selector.get("matchExpressions", []):
        value = labels.get(each["key"])
        if each["operator"] == "Exists":
            holds.append(value is not None)
        else:
            holds.append((value in each["values"]) is (each["operator"] == "In"))
    return all(holds)


def labels_of(made: PretendAws, namespace: str) -> dict[str, str]:
    """A namespace's labels, with the one that Kubernetes gives each."""
    declared = of(made, "Namespace").get(namespace, {"metadata": {"labels": {}}})
    return {**declared["metadata"]["labels"], "kubernetes.io/metadata.name": namespace}


def test_what_is_a_team_s_own_is_always_there_to_take_back(made: PretendAws) -> None:
    """All queues' own parts, what is shared and what serves fit the machines at once, and a queue reclaims from any."""
    [cohort] = of(made, "Cohort").values()
    queues = of(made, "ClusterQueue").values()
    for name, pool in POOLS.items():
        promised = sum(amount(quotas(each)[name, pool.resource]["nominalQuota"]) for each in (*queues, cohort))
        assert promised + SPEC.serving.get(name, 0) <= pool.max_units
    assert {queue["spec"]["preemption"]["reclaimWithinCohort"] for queue in queues} == {"Any"}


@dataclass
class Job:
    team: str
    priority: int
    units: int


@dataclass
class Admission:
    """Kueue's admission to one pool and classic preemption, as its documents describe them, by the declared queues."""

    queues: Mapping[str, Mapping[str, Any]]
    shared: int
    pool: str
    resource: str
    running: list[Job] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.limits = {team: quotas(queue)[self.pool, self.resource] for team, queue in self.queues.items()}

    def used(self, team: str) -> int:
        return sum(job.units for job in self.running if job.team == team)

    def quota(self, team: str, key: str, otherwise: int = 0) -> int:
        return int(self.limits[team].get(key, otherwise))

    def own(self, team: str) -> int:
        return self.quota(team, "nominalQuota")

    def fits(self, job: Job) -> bool:
        used = {team: self.used(team) + (job.units if team == job.team else 0) for team in self.queues}
        lent = {team: self.quota(team, "lendingLimit", self.own(team)) for team in self.queues}
        over = sum(max(0, used[team] - (self.own(team) - lent[team])) for team in self.queues)
        return (
            used[job.team] <= self.own(job.team) + self.quota(job.team, "borrowingLimit")
            and over <= sum(lent.values()) + self.shared
        )

    def submit(self, job: Job) -> tuple[bool, list[Job]]:
        """Whether a job is admitted, and the jobs that are stopped for it."""
        before, stopped = list(self.running), []
        while not self.fits(job):
            victims = [each for each in self.running if self._may_stop(job, each)]
            if not victims:
                self.running = before
                return False, []
            stopped.append(min(victims, key=lambda each: (each.team == job.team, each.priority)))
            self.running.remove(stopped[-1])
        self.running.append(job)
        return True, stopped

    def _may_stop(self, job: Job, other: Job) -> bool:
        preemption = self.queues[job.team]["spec"]["preemption"]
        if other.team == job.team:
            return preemption["withinClusterQueue"] == "LowerPriority" and other.priority < job.priority
        if self.used(other.team) <= self.own(other.team):
            return False
        if self.used(job.team) + job.units <= self.own(job.team):
            return bool(preemption["reclaimWithinCohort"] == "Any")
        while_borrowing = preemption.get("borrowWithinCohort", {"policy": "Never"})
        return (
            while_borrowing["policy"] == "LowerPriority"
            and other.priority < job.priority
            and other.priority <= while_borrowing["maxPriorityThreshold"]
        )


@hypothesis_settings(max_examples=400, deadline=None)
@given(
    some.lists(
        some.tuples(
            some.sampled_from(sorted(TEAMS)),
            some.sampled_from([value for value, _ in PRIORITIES.values()]),
            some.integers(1, 14),
            some.booleans(),
        ),
        min_size=1,
        max_size=12,
    )
)
def test_whatever_teams_submit_none_disturbs_another(
    made: PretendAws, submitted: list[tuple[str, int, int, bool]]
) -> None:
    [cohort] = of(made, "Cohort").values()
    shared = int(quotas(cohort)["train", GPU]["nominalQuota"])
    cluster = Admission(of(made, "ClusterQueue"), shared, "train", GPU)
    for team, priority, units, ends in submitted:
        job = Job(team, priority, units)
        within = {each: cluster.used(each) <= cluster.own(each) for each in TEAMS}
        beforehand = cluster.used(team)
        admitted, stopped = cluster.submit(job)

        # While a team uses no more than its own, nobody else's job stops one of its.
        assert not any(each.team != team and within[each.team] for each in stopped)
        # Of jobs that say they cannot wait, only a team that takes back its own stops any.
        assert cluster.used(team) <= cluster.own(team) or not any(
            each.team != team and each.priority > PRIORITIES["background"][0] for each in stopped
        )
        # What is its own, a team has at once.
        assert admitted or beforehand + units > cluster.own(team)
        # Whatever comes, the units of serving stay free.
        assert sum(map(cluster.used, TEAMS)) <= POOLS["train"].max_units - SPEC.serving["train"]
        if ends and admitted:
            cluster.running.remove(job)


def test_no_job_is_stopped_for_another_team_s_but_what_is_borrowed(made: PretendAws) -> None:
    """Within its own part only a team's own more urgent jobs stop a job; of what is borrowed only background jobs."""
    for queue in of(made, "ClusterQueue").values():
        assert queue["spec"]["preemption"]["withinClusterQueue"] == "LowerPriority"
        stops = queue["spec"]["preemption"]["borrowWithinCohort"]
        assert stops["policy"] == "LowerPriority"
        spared = {name for name, (value, _) in PRIORITIES.items() if value > stops["maxPriorityThreshold"]}
        assert spared == {"normal", "urgent"}
    values = {name: each["value"] for name, each in of(made, "WorkloadPriorityClass").items()}
    assert values["background"] < values["normal"] == 0 < values["urgent"]


def test_a_team_gets_into_its_own_queue_only(made: PretendAws) -> None:
    queues, local = of(made, "ClusterQueue"), of(made, "LocalQueue")

    assert local.keys() == {f"{team}/{QUEUE}" for team in TEAMS}
    for team, queue in queues.items():
        selector = queue["spec"]["namespaceSelector"]
        namespaces = [*TEAMS, "default", "kube-system", "kueue-system"]
        assert [each for each in namespaces if selects(selector, labels_of(made, each))] == [team]
        assert local[f"{team}/{QUEUE}"]["spec"] == {"clusterQueue": team}


def test_nothing_of_a_team_runs_past_the_queue_and_the_system_needs_none(made: PretendAws) -> None:
    config = configuration(SPEC)
    selector = config["managedJobsNamespaceSelector"]

    assert config["manageJobsWithoutQueueName"] is True
    assert "pod" in config["integrations"]["frameworks"]
    assert all(selects(selector, labels_of(made, team)) for team in TEAMS)
    assert not any(selects(selector, labels_of(made, each)) for each in ("kube-system", "kueue-system", "default"))
    # Even one who labels the system's own namespace as a team's does not make it wait for Kueue.
    assert not selects(selector, {"slipway/team": "x", "kubernetes.io/metadata.name": "kube-system"})


def test_the_cluster_holds_a_team_to_what_its_queue_allows(made: PretendAws) -> None:
    queues, limits = of(made, "ClusterQueue"), of(made, "ResourceQuota")
    for team in TEAMS:
        hard = limits[f"{team}/quota"]["spec"]["hard"]
        for resource in (GPU, "nvidia.com/mig-1g.10gb", "cpu", "memory"):
            most = sum(
                amount(each["nominalQuota"]) + amount(each["borrowingLimit"])
                for (_, name), each in quotas(queues[team]).items()
                if name == resource
            )
            assert amount(hard[f"requests.{resource}"]) == most
        [limit] = of(made, "LimitRange")[f"{team}/limits"]["spec"]["limits"]
        assert amount(limit["max"]["cpu"]) == amount(hard["requests.cpu"])
        # The quota refuses a pod without a memory limit: each gets one.
        assert "limits.memory" in hard and "memory" in limit["default"]
        # A node promises neither memory nor disk twice, so that none ends another team's pod for lack of it.
        assert limit["maxLimitRequestRatio"] == {"memory": "1", "ephemeral-storage": "1"}
        assert all(limit["default"][each] == limit["defaultRequest"][each] for each in limit["maxLimitRequestRatio"])


def test_no_training_takes_what_is_kept_for_serving(made: PretendAws) -> None:
    [cohort] = of(made, "Cohort").values()
    for name, pool in POOLS.items():
        admitted = sum(
            amount(quotas(each)[name, pool.resource]["nominalQuota"])
            for each in (*of(made, "ClusterQueue").values(), cohort)
        )
        assert admitted <= pool.max_units - SPEC.serving.get(name, 0)


def test_training_pushes_no_pod_off_a_node_and_serving_pushes_training(made: PretendAws) -> None:
    classes = of(made, "PriorityClass")
    training, serving = classes["training"], classes["serving"]

    assert (training["globalDefault"], training["preemptionPolicy"]) == (True, "Never")
    assert serving["value"] > training["value"]
    assert serving["preemptionPolicy"] == "PreemptLowerPriority"
    for team in TEAMS:
        [scope] = of(made, "ResourceQuota")[f"{team}/priorities"]["spec"]["scopeSelector"]["matchExpressions"]
        assert of(made, "ResourceQuota")[f"{team}/priorities"]["spec"]["hard"] == {"pods": "0"}
        assert {"serving", "system-cluster-critical", "system-node-critical"} == set(scope["values"])


def reaches(made: PretendAws, source: str, target: str) -> bool:
    """Whether pods of one namespace may open a connection, on a port that is not HTTPS, to pods of another."""

    def within(peers: Sequence[Mapping[str, Any]], own: str, other: str) -> bool:
        return any(
            selects(peer["namespaceSelector"], labels_of(made, other)) if "namespaceSelector" in peer else own == other
            for peer in peers
            if "podSelector" in peer or "namespaceSelector" in peer
        )

    def allowed(namespace: str, other: str, direction: str, peers: str) -> bool:
        policies = [
            each["spec"]
            for key, each in of(made, "NetworkPolicy").items()
            if key.startswith(f"{namespace}/") and direction in each["spec"]["policyTypes"]
        ]
        rules = [rule for policy in policies for rule in policy.get(direction.lower(), [])]
        return not policies or any(within(rule[peers], namespace, other) for rule in rules if "ports" not in rule)

    return allowed(source, target, "Egress", "to") and allowed(target, source, "Ingress", "from")


def test_a_team_s_pods_reach_each_other_and_no_other_team_s(made: PretendAws) -> None:
    assert reaches(made, "churn", "churn")
    assert not reaches(made, "churn", "fraud")
    assert not reaches(made, "fraud", "churn")
    assert not reaches(made, "kueue-system", "churn")
    for team in TEAMS:
        deny = of(made, "NetworkPolicy")[f"{team}/deny"]["spec"]
        assert deny == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
        assert of(made, "ResourceQuota")[f"{team}/quota"]["spec"]["hard"]["services.loadbalancers"] == "0"


def test_the_queues_own_pods_are_reached_by_the_api_server_and_reach_it_and_nothing_else(made: PretendAws) -> None:
    policies = of(made, "NetworkPolicy")
    assert policies["kueue-system/deny"]["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    opened = policies["kueue-system/allow-api"]["spec"]
    [asked] = opened["ingress"]
    assert configuration(SPEC)["webhook"]["port"] in [each["port"] for each in asked["ports"]]
    assert {each["port"] for rule in opened["egress"] for each in rule["ports"]} == {53, 443}


def may(statements: Sequence[Mapping[str, Any]], action: str, arn: str, prefix: str = "") -> bool:
    """Whether these statements allow an action on something."""

    def listed(value: Any) -> list[str]:
        return [value] if isinstance(value, str) else list(value)

    return any(
        statement["Effect"] == "Allow"
        and any(fnmatchcase(action, each) for each in listed(statement["Action"]))
        and any(fnmatchcase(arn, each) for each in listed(statement["Resource"]))
        and all(
            fnmatchcase(prefix, each)
            for wanted in statement.get("Condition", {}).get("StringLike", {}).values()
            for each in listed(wanted)
        )
        for statement in statements
    )


def test_a_team_s_jobs_reach_the_team_s_own_data_only(made: PretendAws) -> None:
    rights = made.statements(aws.iam.RolePolicy, "churn-trainer")

    for action in ("s3:GetObject", "s3:PutObject"):
        assert may(rights, action, f"{LAKE}/churn/training/part-0.parquet")
        assert not may(rights, action, f"{LAKE}/fraud/training/part-0.parquet")
        assert not may(rights, action, f"{LAKE}/churn-secret/part-0.parquet")
    assert may(rights, "s3:ListBucket", LAKE, "churn/models/")
    assert not may(rights, "s3:ListBucket", LAKE, "fraud/")
    assert not may(rights, "s3:ListBucket", LAKE, "")
    assert not any(
        may(rights, action, "*") for action in ("sagemaker:CreateEndpoint", "iam:PassRole", "s3:DeleteBucket")
    )
    [key] = [each for each in rights if "kms:Decrypt" in each["Action"]]
    assert key["Resource"] == [KEY]
    assert key["Condition"] == {"StringEquals": {"kms:ViaService": [f"s3.{REGION}.amazonaws.com"]}}


def test_a_team_s_role_is_for_its_jobs_in_this_cluster_only(made: PretendAws) -> None:
    [trust] = made.statements(aws.iam.Role, "churn-trainer", "assumeRolePolicy")
    association = made.inputs(aws.eks.PodIdentityAssociation)["churn-trainer"]

    assert trust["Principal"] == {"Service": "pods.eks.amazonaws.com"}
    assert trust["Condition"]["StringEquals"] == {
        "aws:SourceAccount": ACCOUNT,
        "aws:RequestTag/eks-cluster-name": "platform-local",
        "aws:RequestTag/kubernetes-namespace": "churn",
        "aws:RequestTag/kubernetes-service-account": TRAINER,
    }
    assert (association["namespace"], association["serviceAccount"]) == ("churn", TRAINER)
    assert of(made, "ServiceAccount")[f"churn/{TRAINER}"]["automountServiceAccountToken"] is False


# --- in the rehearsal -------------------------------------------------------------------------------------------------


def stack(program: Callable[[], None]) -> Settings:
    class Program(Stack):
        def build(self) -> Mapping[str, pulumi.Input[Any]]:
            program()
            return {}

    tags = {"owner": "us", "product": "platform", "environment": "local", "cost-center": "7"}
    config = {
        "aws:region": REGION,
        "aws:allowedAccountIds": json.dumps([ACCOUNT]),
        "aws:defaultTags": json.dumps({"tags": tags}),
        "slipway:stack": "platform",
        "slipway:usd_per_month": "100",
    }
    return Settings("platform-local", "local", REGION, ACCOUNT, 100.0, tags, Program(), config)


def test_every_pack_passes_and_decides(tmp_path: Path) -> None:
    engine = Engine(
        tmp_path,
        {
            "aws": lambda settings: AwsProvider(settings.region, settings.account_id, settings.tags, None),
            "kubernetes": lambda _: KubernetesProvider(tmp_path),
        },
    )

    def program() -> None:
        Budget("platform-local", BudgetSpec(), usd_per_month=100, alerts_topic_arn=TOPIC)
        build()

    settings = stack(program)

    report = check([(settings, engine.plan(settings))])

    assert [str(each) for each in report.violations] == []
    assert report.deferred == ()


@pytest.fixture(scope="module")
def cluster(user: User) -> Iterator[str]:
    user.eks.create_cluster(name="queued", roleArn=user.role, resourcesVpcConfig={"subnetIds": []})
    yield "queued"


def test_it_is_deployed_in_an_order_that_a_cluster_takes_and_taken_down_in_one(
    emulator: Emulator, cluster: str, user: User, tmp_path: Path
) -> None:
    inside = KubernetesProvider(tmp_path)
    engine = Engine(
        tmp_path,
        {
            "aws": lambda settings: AwsProvider(settings.region, settings.account_id, settings.tags, emulator.endpoint),
            "kubernetes": lambda _: inside,
        },
    )
    settings = stack(lambda: build(cluster_name=cluster))

    engine.up(settings)

    kinds = {each["kind"] for each in inside.objects()}
    assert {"Release", "Cohort", "ClusterQueue", "LocalQueue", "ResourceFlavor", "WorkloadPriorityClass"} <= kinds
    identities = user.eks.list_pod_identity_associations(clusterName=cluster)["associations"]
    assert {(each["namespace"], each["serviceAccount"]) for each in identities} == {(team, TRAINER) for team in TEAMS}
    assert {step.op for step in engine.plan(settings).steps} == {"same"}

    engine.down(settings)

    assert inside.objects() == []
    assert user.eks.list_pod_identity_associations(clusterName=cluster)["associations"] == []


def test_what_is_deployed_under_the_component_s_former_name_stays(tmp_path: Path) -> None:
    class TeamNamespace(pulumi.ComponentResource):
        def __init__(self, name: str, opts: pulumi.ResourceOptions) -> None:
            super().__init__("slipway:index:TeamNamespace", name, opts=opts)
            kubernetes.core.v1.Namespace(
                name,
                metadata={"name": name, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
                opts=pulumi.ResourceOptions(parent=self),
            )

    def former() -> None:
        inside = pulumi.ResourceOptions(providers=[kubernetes.Provider("inside", kubeconfig="{}")])
        for team in TEAMS:
            TeamNamespace(team, inside)

    engine = Engine(
        tmp_path,
        {
            "aws": lambda settings: AwsProvider(settings.region, settings.account_id, settings.tags, None),
            "kubernetes": lambda _: KubernetesProvider(tmp_path),
        },
    )
    engine.up(stack(former))

    steps = {step.name: step.op for step in engine.plan(stack(build)).steps if step.type.endswith(":Namespace")}

    assert steps == {**dict.fromkeys(TEAMS, "update"), "platform-local-kueue-system": "create"}
