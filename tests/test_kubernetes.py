"""The rehearsal's Kubernetes: what it accepts, what it stores, and what it says does not run."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from infra.rehearsal.kubernetes import NOTICE, NOTICE_KEY, KubernetesProvider
from infra.rehearsal.kubernetes_crds import definitions
from infra.rehearsal.kubernetes_crds.rules import amount
from infra.rehearsal.provider import UNKNOWN, Props, ProviderError, symbol

NAMESPACE = "kubernetes:core/v1:Namespace"
QUOTA = "kubernetes:core/v1:ResourceQuota"
DAEMON_SET = "kubernetes:apps/v1:DaemonSet"
POLICY = "kubernetes:networking.k8s.io/v1:NetworkPolicy"
PRIORITY = "kubernetes:scheduling.k8s.io/v1:PriorityClass"
LIMITS = "kubernetes:core/v1:LimitRange"
CONFIG = "kubernetes:core/v1:ConfigMap"
RELEASE = "kubernetes:helm.sh/v3:Release"
KUEUE = "kubernetes:kueue.x-k8s.io/v1beta2"
NODE_POOL = "kubernetes:karpenter.sh/v1:NodePool"
NODE_CLASS = "kubernetes:karpenter.k8s.aws/v1:EC2NodeClass"
OVERLAY = "kubernetes:karpenter.sh/v1alpha1:NodeOverlay"
KUEUE_KINDS = (
    "AdmissionCheck",
    "ClusterQueue",
    "Cohort",
    "LocalQueue",
    "ResourceFlavor",
    "Topology",
    "WorkloadPriorityClass",
)
DEFINITION = "kubernetes:apiextensions.k8s.io/v1:CustomResourceDefinition"


@pytest.fixture
def cluster(tmp_path: Path) -> KubernetesProvider:
    return KubernetesProvider(tmp_path)


def checked(
    cluster: KubernetesProvider, type_: str, inputs: Props, name: str = "it", old: Props | None = None
) -> Props:
    return cluster.check(type_, name, old, inputs)


def created(cluster: KubernetesProvider, type_: str, inputs: Props, token: str = "1") -> tuple[str, Props]:
    return cluster.create(type_, checked(cluster, type_, inputs), token)


def quota(gpus: str = "4", namespace: str = "default", name: str = "quota") -> Props:
    return {
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"hard": {"requests.nvidia.com/gpu": gpus}},
    }


def limits(**fields: str) -> Props:
    return {"spec": {"limits": [{"type": "Container", **{name: {"memory": of} for name, of in fields.items()}}]}}


def kueue(version: str = "0.19.2", **inputs: Any) -> Props:
    return {
        "name": "kueue",
        "namespace": "kube-system",
        "chart": "oci://registry.k8s.io/kueue/charts/kueue",
        "version": version,
        "values": {"controllerManager": {"replicas": 2.0}},
        **inputs,
    }


def karpenter(chart: str = "karpenter-crd", **inputs: Any) -> Props:
    address = f"oci://public.ecr.aws/karpenter/{chart}"
    return {"name": chart, "namespace": "kube-system", "chart": address, "version": "1.14.1", **inputs}


def queue(flavors: Any = None, **spec: Any) -> Props:
    group = {"coveredResources": ["cpu", "memory"], "flavors": flavors or [flavor()]}
    wanted = {"cohortName": "teams", "resourceGroups": [group], **spec}
    return {"metadata": {"name": "churn"}, "spec": {name: each for name, each in wanted.items() if each is not None}}


def flavor(name: str = "system", **quota: Any) -> Props:
    memory = {"name": "memory", "nominalQuota": "64Gi"}
    return {"name": name, "resources": [{"name": "cpu", "nominalQuota": 16, **quota}, memory]}


def node_pool(**template: Any) -> Props:
    return {
        "metadata": {"name": "train"},
        "spec": {
            "limits": {"nvidia.com/gpu": 8},
            "template": {
                "spec": {
                    "nodeClassRef": {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "gpu"},
                    "requirements": [{"key": "karpenter.sh/capacity-type", "operator": "In", "values": ["spot"]}],
                    **template,
                }
            },
        },
    }


def node_class(**spec: Any) -> Props:
    return {
        "metadata": {"name": "gpu"},
        "spec": {
            "role": "node",
            "amiSelectorTerms": [{"alias": "al2023@v20261101"}],
            "subnetSelectorTerms": [{"id": "subnet-0a"}],
            "securityGroupSelectorTerms": [{"id": "sg-0a"}],
            **spec,
        },
    }


def disrupted(**disruption: Any) -> Props:
    pool = node_pool()
    pool["spec"]["disruption"] = {"consolidateAfter": "10m", **disruption}
    return pool


def required(key: str, operator: str = "In", *values: str) -> Props:
    return {"key": key, "operator": operator, "values": list(values) or ["one"]}


def card(kind: str) -> Props:
    return {"networkCardIndex": 0, "deviceIndex": 0, "interfaceType": kind}


def daemon_set(image: Any = "registry/plugin:v1", app: str = "plugin") -> Props:
    labels = {"app": app}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "plugin", "image": image}]}}
    return {
        "metadata": {"name": "plugin", "namespace": "kube-system"},
        "spec": {"selector": {"matchLabels": labels}, "template": template},
    }


def test_fills_in_what_a_type_and_pulumi_imply(cluster: KubernetesProvider) -> None:
    inputs = checked(cluster, QUOTA, {"spec": {"hard": {}}}, name="team")

    assert (inputs["apiVersion"], inputs["kind"]) == ("v1", "ResourceQuota")
    assert inputs["metadata"]["namespace"] == "default"
    assert inputs["metadata"]["name"].startswith("team-")


def test_keeps_the_name_it_gave(cluster: KubernetesProvider) -> None:
    first = checked(cluster, QUOTA, {"spec": {"hard": {}}})

    again = checked(cluster, QUOTA, {"spec": {"hard": {"pods": "3"}}}, old=first)

    assert again["metadata"]["name"] == first["metadata"]["name"]


def test_whole_numbers_come_back_from_pulumis_wire_as_whole_numbers(cluster: KubernetesProvider) -> None:
    ports = [{"ports": [{"protocol": "TCP", "port": 443.0}]}]

    inputs = checked(cluster, POLICY, {"spec": {"podSelector": {}, "egress": ports}})

    assert json.dumps(inputs["spec"]["egress"][0]["ports"][0]["port"]) == "443"


@pytest.mark.parametrize(
    "type_, inputs, words",
    [
        (QUOTA, {"spec": {"hart": {}}}, r"ResourceQuota default/it-\w+, spec: .*'hart' was unexpected"),
        (DAEMON_SET, {"spec": {"template": {}}}, r"DaemonSet .*, spec: 'selector' is a required property"),
        (DAEMON_SET, daemon_set(image=7), r"spec.template.spec.containers.0.image: 7 is not of type 'string'"),
        (NAMESPACE, {"metadata": {"name": "Team One"}}, r"Namespace Team One, metadata.name: set lower-case letters"),
        (
            "kubernetes:ray.io/v1:RayCluster",
            {},
            r"has no ray.io/v1 RayCluster; of custom kinds .*/v1beta2 ClusterQueue",
        ),
        (PRIORITY, {"value": 2_000_000_000}, r"PriorityClass it-\w+, value: above 1000000000"),
        (
            QUOTA,
            {"spec": {"hard": {"limits.nvidia.com/gpu": "1"}}},
            r"spec.hard.limits.nvidia.com/gpu: .*set requests\.",
        ),
        (LIMITS, limits(default="1Gi", max="512Mi"), r"spec.limits.0.default.memory: 1Gi is above max, 512Mi"),
        (NAMESPACE, {"metadata": {"name": "churn", "namespace": "churn"}}, r"metadata.namespace: take it away"),
        ("kubernetes:yaml:ConfigFile", {}, r"kubernetes:yaml:ConfigFile is no Kubernetes object"),
    ],
)
def test_refuses_what_a_cluster_would(cluster: KubernetesProvider, type_: str, inputs: Props, words: str) -> None:
    with pytest.raises(ProviderError, match=words):
        checked(cluster, type_, inputs)


def test_a_name_that_only_a_deployment_will_know_can_be_planned(cluster: KubernetesProvider) -> None:
    image = symbol("repositoryUrl", "images")

    inputs = checked(cluster, DAEMON_SET, daemon_set(image))

    assert cluster.preview(DAEMON_SET, "plugin", inputs)["id"] == "kube-system/plugin"


def test_what_is_not_known_in_a_plan_is_checked_when_it_is_made(cluster: KubernetesProvider) -> None:
    later = quota()
    later["spec"]["hard"] = UNKNOWN
    planned = checked(cluster, QUOTA, later)

    with pytest.raises(ProviderError, match=r"spec\.hard"):
        cluster.create(QUOTA, planned, "1")


def test_stores_an_object_where_people_look_for_it(cluster: KubernetesProvider, tmp_path: Path) -> None:
    created(cluster, NAMESPACE, {"metadata": {"name": "churn"}})
    id_, outputs = created(cluster, QUOTA, quota(namespace="churn"))

    stored = json.loads((tmp_path / "kubernetes/churn/resourcequota-quota.json").read_text())
    assert id_ == "churn/quota"
    assert stored == outputs
    assert stored["spec"] == {"hard": {"requests.nvidia.com/gpu": "4"}}
    assert (tmp_path / "kubernetes/_cluster/namespace-churn.json").exists()
    assert [each["kind"] for each in cluster.objects()] == ["Namespace", "ResourceQuota"]


def test_says_on_the_object_that_its_pods_do_not_run(cluster: KubernetesProvider) -> None:
    _, outputs = created(cluster, DAEMON_SET, daemon_set())
    _, other = created(cluster, QUOTA, quota())

    assert outputs["metadata"]["annotations"] == {NOTICE_KEY: NOTICE}
    assert "annotations" not in other["metadata"]


def test_an_object_needs_its_namespace(cluster: KubernetesProvider) -> None:
    with pytest.raises(ProviderError, match="there is no namespace churn: declare it"):
        created(cluster, QUOTA, quota(namespace="churn"))


def test_asked_twice_with_one_token_it_makes_one(cluster: KubernetesProvider) -> None:
    assert created(cluster, QUOTA, quota(), "one") == created(cluster, QUOTA, quota(), "one")


def test_an_object_of_somebody_elses_is_not_overwritten(cluster: KubernetesProvider) -> None:
    created(cluster, QUOTA, quota("4"), "one")

    with pytest.raises(ProviderError, match="ResourceQuota default/quota exists already"):
        created(cluster, QUOTA, quota("8"), "two")

    [kept] = cluster.objects()
    assert kept["spec"]["hard"]["requests.nvidia.com/gpu"] == "4"


def test_a_change_is_named_and_made_in_place(cluster: KubernetesProvider) -> None:
    id_, outputs = created(cluster, QUOTA, quota("4"))
    old, new = checked(cluster, QUOTA, quota("4")), checked(cluster, QUOTA, quota("8"))

    diff = cluster.diff(QUOTA, old, new, [])
    updated = cluster.update(QUOTA, id_, old, new, outputs)

    assert (diff.changed, diff.replaces) == (("spec.hard.requests.nvidia.com/gpu",), ())
    assert updated["metadata"]["generation"] == 2
    assert updated["metadata"]["uid"] == outputs["metadata"]["uid"]
    assert cluster.read(QUOTA, id_, new, updated) == updated


def test_nothing_changed_is_no_difference(cluster: KubernetesProvider) -> None:
    inputs = checked(cluster, QUOTA, quota())

    assert not cluster.diff(QUOTA, inputs, checked(cluster, QUOTA, quota()), [])


def test_what_the_program_ignores_is_no_difference(cluster: KubernetesProvider) -> None:
    old, new = checked(cluster, QUOTA, quota("4")), checked(cluster, QUOTA, quota("8"))

    assert not cluster.diff(QUOTA, old, new, ["spec.hard"])


def test_a_selector_cannot_change_in_place(cluster: KubernetesProvider) -> None:
    old, new = checked(cluster, DAEMON_SET, daemon_set()), checked(cluster, DAEMON_SET, daemon_set(app="other"))

    diff = cluster.diff(DAEMON_SET, old, new, [])

    assert diff.replaces == ("spec.selector.matchLabels.app",)
    assert diff.delete_before_replace


def test_another_name_is_another_object_made_beside_the_old_one(cluster: KubernetesProvider) -> None:
    old, new = checked(cluster, QUOTA, quota()), checked(cluster, QUOTA, quota(name="limits"))

    diff = cluster.diff(QUOTA, old, new, [])

    assert diff.replaces == ("metadata.name",)
    assert not diff.delete_before_replace


def test_what_is_gone_reads_as_gone_and_can_be_deleted_again(cluster: KubernetesProvider) -> None:
    id_, outputs = created(cluster, QUOTA, quota())
    cluster.delete(QUOTA, id_, outputs, outputs)

    assert cluster.read(QUOTA, id_, outputs, outputs) is None
    cluster.delete(QUOTA, id_, outputs, outputs)
    with pytest.raises(ProviderError, match="is gone"):
        cluster.update(QUOTA, id_, outputs, outputs, outputs)


def test_with_a_namespace_goes_what_is_in_it(cluster: KubernetesProvider) -> None:
    id_, namespace = created(cluster, NAMESPACE, {"metadata": {"name": "churn"}})
    created(cluster, QUOTA, quota(namespace="churn"), "2")

    cluster.delete(NAMESPACE, id_, namespace, namespace)

    assert cluster.objects() == []


def test_a_damaged_file_is_named_not_overwritten(cluster: KubernetesProvider, tmp_path: Path) -> None:
    id_, outputs = created(cluster, QUOTA, quota())
    path = tmp_path / "kubernetes/default/resourcequota-quota.json"
    path.write_text("{")

    with pytest.raises(ProviderError, match=r"resourcequota-quota.json is damaged .*: delete it"):
        cluster.read(QUOTA, id_, outputs, outputs)


def test_takes_a_kubeconfig_and_no_setting_it_would_ignore(cluster: KubernetesProvider) -> None:
    assert cluster.configure({"kubeconfig": "{}"}) is cluster
    with pytest.raises(ProviderError, match="knows no setting renderYamlToDirectory"):
        cluster.configure({"kubeconfig": "{}", "renderYamlToDirectory": "here"})


# --- custom resources -------------------------------------------------------------------------------------------------


def test_every_kept_schema_says_where_it_is_from() -> None:
    kept = definitions()

    assert set(kept) == {
        *(("kueue.x-k8s.io/v1beta2", kind) for kind in KUEUE_KINDS),
        ("karpenter.sh/v1", "NodePool"),
        ("karpenter.sh/v1alpha1", "NodeOverlay"),
        ("karpenter.k8s.aws/v1", "EC2NodeClass"),
    }
    assert {each.version for each in kept.values()} == {"0.19.2", "1.14.1"}
    for each in kept.values():
        assert each.source.startswith("https://github.com/") and f"/v{each.version}/" in each.source
        assert "description" not in json.dumps(each.schema).replace('"description": {"maxLength', "")


@pytest.mark.parametrize(
    "type_, inputs",
    [
        (f"{KUEUE}:ClusterQueue", queue()),
        (f"{KUEUE}:ClusterQueue", queue(preemption={"reclaimWithinCohort": "Any"}, fairSharing={"weight": "1500m"})),
        (f"{KUEUE}:ResourceFlavor", {"metadata": {"name": "gpu"}, "spec": {"nodeLabels": {"slipway/pool": "train"}}}),
        (f"{KUEUE}:LocalQueue", {"metadata": {"name": "training"}, "spec": {"clusterQueue": "churn"}}),
        (f"{KUEUE}:WorkloadPriorityClass", {"metadata": {"name": "urgent"}, "value": 1000.0, "description": "now"}),
        (f"{KUEUE}:Topology", {"spec": {"levels": [{"nodeLabel": "kubernetes.io/hostname"}]}}),
        (NODE_POOL, node_pool()),
        (NODE_CLASS, node_class()),
        (NODE_CLASS, node_class(subnetSelectorTerms=[{"id": symbol("id", "private-a")}])),
        (OVERLAY, {"spec": {"capacity": {"nvidia.com/gpu": 4}, "requirements": []}}),
    ],
)
def test_takes_a_custom_resource_that_is_right(cluster: KubernetesProvider, type_: str, inputs: Props) -> None:
    created(cluster, RELEASE, kueue(), "kueue")
    created(cluster, RELEASE, karpenter(), "karpenter")

    _, outputs = created(cluster, type_, inputs)

    assert cluster.read(type_, "", checked(cluster, type_, inputs, old=outputs), outputs) == outputs


@pytest.mark.parametrize(
    "type_, inputs, words",
    [
        (f"{KUEUE}:ClusterQueue", queue(cohort="teams"), r"ClusterQueue churn, spec: .*'cohort' was unexpected"),
        (
            f"{KUEUE}:ClusterQueue",
            queue(preemption={"reclaimWithinCohort": "Always"}),
            r"spec.preemption.reclaimWithinCohort: 'Always' is not one of",
        ),
        (
            f"{KUEUE}:ClusterQueue",
            queue([flavor(nominalQuota=True)]),
            r"flavors.0.resources.0.nominalQuota: True is not",
        ),
        (f"{KUEUE}:ClusterQueue", queue([flavor(nominalQuota="many")]), r"nominalQuota: 'many' does not match"),
        (f"{KUEUE}:ClusterQueue", queue([flavor(), flavor()]), r"flavors: two elements have the same name"),
        (f"{KUEUE}:ClusterQueue", queue([flavor(lendingLimit=17)]), r"cpu.lendingLimit: is above nominalQuota"),
        (
            f"{KUEUE}:ClusterQueue",
            queue([flavor(borrowingLimit=1)], cohortName=None),
            r"resources.cpu: only what has a cohort",
        ),
        (f"{KUEUE}:ClusterQueue", {**queue(), "status": {}}, r"the object: .*'status' was unexpected"),
        (
            f"{KUEUE}:LocalQueue",
            {"metadata": {"name": "training"}, "spec": {"clusterQueue": 7}},
            r"spec.clusterQueue: 7",
        ),
        (f"{KUEUE}:WorkloadPriorityClass", {"metadata": {"name": "urgent"}}, r"'value' is a required property"),
        (f"{KUEUE}:WorkloadPriorityClass", {"metadata": {"nam": "urgent"}, "value": 1}, r"metadata: .*'nam' was unexp"),
        (
            NODE_POOL,
            node_pool(expireAfter="30 days"),
            r"NodePool train, spec.template.spec.expireAfter: '30 days' does",
        ),
        (NODE_POOL, node_pool(gpus=4), r"spec.template.spec: .*'gpus' was unexpected"),
        (
            NODE_POOL,
            node_pool(requirements=[{"key": "karpenter.k8s.aws/family", "operator": "In", "values": ["g6"]}]),
            r"requirements.0.key: Karpenter knows no label karpenter.k8s.aws/family",
        ),
        (
            NODE_POOL,
            node_pool(requirements=[{"key": "topology.kubernetes.io/zone", "operator": "In"}]),
            r"requirements.0.values: set one at least",
        ),
        (NODE_CLASS, node_class(amiFamily="Bottlerocket"), r"spec.amiFamily: is not the family of the alias"),
        (NODE_CLASS, node_class(amiSelectorTerms=[{"alias": "al2023"}]), r"alias: .*al2023"),
        (NODE_CLASS, node_class(instanceProfile="node"), r"spec.role: set role or instanceProfile, and not both"),
        (OVERLAY, {"spec": {"capacity": {"cpu": 4}, "requirements": []}}, r"spec.capacity.cpu: cannot be laid over"),
        (
            OVERLAY,
            {"spec": {"price": "1", "priceAdjustment": "+1", "requirements": []}},
            r"spec.price: set it or price",
        ),
        (
            NODE_POOL,
            disrupted(budgets=[{"nodes": "0", "schedule": "0 8 * * *"}]),
            r"budgets.0: set schedule and duration",
        ),
        (
            NODE_POOL,
            node_pool(requirements=[required("karpenter.sh/nodepool")]),
            r"karpenter.sh/nodepool is Karpenter's",
        ),
        (
            NODE_POOL,
            node_pool(requirements=[required("cpu", "Gt", "4", "8")]),
            r"requirements.0.values: set one whole num",
        ),
        (
            NODE_POOL,
            node_pool(requirements=[{**required("a"), "minValues": 2}]),
            r"requirements.0.minValues: is above the",
        ),
        (NODE_CLASS, node_class(amiSelectorTerms=[{"id": "ami-0a"}]), r"spec.amiFamily: set it, or an alias"),
        (NODE_CLASS, node_class(subnetSelectorTerms=[{}]), r"spec.subnetSelectorTerms.0: set one of tags, id"),
        (NODE_CLASS, node_class(securityGroupSelectorTerms=[{"id": "sg-1", "name": "x"}]), r"Terms.0.id: stands alone"),
        (NODE_CLASS, node_class(blockDeviceMappings=[{"ebs": {}}]), r"blockDeviceMappings.0.ebs: set volumeSize or"),
        (
            NODE_CLASS,
            node_class(networkInterfaces=[card("efa-only")]),
            r"networkInterfaces: the first, device 0 of card",
        ),
        (
            NODE_CLASS,
            node_class(tags={"karpenter.sh/nodepool": "x"}),
            r"spec.tags.karpenter.sh/nodepool: is Karpenter's",
        ),
        (NODE_CLASS, node_class(placementGroupSelector={}), r"placementGroupSelector: set name or id"),
        (f"{KUEUE}:ResourceFlavor", {"spec": {"topologyName": "ec2"}}, r"spec.nodeLabels: set one at least"),
        (
            f"{KUEUE}:ResourceFlavor",
            {"spec": {"tolerations": [{"key": "a", "operator": "Exists", "value": "b"}]}},
            r"spec.tolerations.0.value: takes none with the operator Exists",
        ),
        (
            f"{KUEUE}:Topology",
            {"spec": {"levels": [{"nodeLabel": "kubernetes.io/hostname"}, {"nodeLabel": "rack"}]}},
            r"spec.levels: kubernetes.io/hostname can only be the lowest",
        ),
        (
            f"{KUEUE}:ClusterQueue",
            queue(flavorFungibility={"preference": "BorrowingOverPreemption", "whenCanBorrow": "MayStopSearch"}),
            r"spec.flavorFungibility.preference: set whenCanBorrow and whenCanPreempt",
        ),
        (
            f"{KUEUE}:ClusterQueue",
            queue(preemption={"borrowWithinCohort": {"policy": "LowerPriority"}}),
            r"spec.preemption.borrowWithinCohort.policy: set reclaimWithinCohort too",
        ),
        (
            f"{KUEUE}:Cohort",
            {
                "metadata": {"name": "teams"},
                "spec": {"resourceGroups": queue([flavor(borrowingLimit=1)])["spec"]["resourceGroups"]},
            },
            r"only what has a cohort \(a cohort: a parent\)",
        ),
    ],
)
def test_refuses_a_custom_resource_and_names_the_place(
    cluster: KubernetesProvider, type_: str, inputs: Props, words: str
) -> None:
    with pytest.raises(ProviderError, match=words):
        checked(cluster, type_, inputs)


@pytest.mark.parametrize(
    "type_, inputs, chart",
    [
        (f"{KUEUE}:ClusterQueue", queue(), "kueue"),
        (NODE_POOL, node_pool(), "karpenter or karpenter-crd"),
    ],
)
def test_a_custom_resource_comes_after_its_kind(
    cluster: KubernetesProvider, type_: str, inputs: Props, chart: str
) -> None:
    with pytest.raises(ProviderError, match=rf"it comes with the chart {chart}: declare its Release, and depend on it"):
        created(cluster, type_, inputs)

    created(cluster, RELEASE, kueue(), "kueue")
    created(cluster, RELEASE, karpenter("karpenter"), "karpenter")
    created(cluster, type_, inputs)


def test_a_chart_without_its_definitions_brings_no_kinds(cluster: KubernetesProvider) -> None:
    created(cluster, RELEASE, karpenter("karpenter", skipCrds=True))

    with pytest.raises(ProviderError, match="the cluster has no NodePool yet"):
        created(cluster, NODE_POOL, node_pool())


def test_a_queue_needs_its_namespace(cluster: KubernetesProvider) -> None:
    created(cluster, RELEASE, kueue())
    local = {"metadata": {"name": "training", "namespace": "churn"}, "spec": {"clusterQueue": "churn"}}

    with pytest.raises(ProviderError, match="LocalQueue churn/training: there is no namespace churn"):
        created(cluster, f"{KUEUE}:LocalQueue", local)


def test_a_kind_that_the_stack_defines_is_checked_by_its_own_definition(cluster: KubernetesProvider) -> None:
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer"}}}}}
    crd = {
        "metadata": {"name": "slips.slipway.dev"},
        "spec": {
            "group": "slipway.dev",
            "names": {"kind": "Slip", "plural": "slips"},
            "scope": "Cluster",
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
        },
    }
    kind = "kubernetes:slipway.dev/v1:Slip"
    with pytest.raises(ProviderError, match=r"has no slipway\.dev/v1 Slip"):
        checked(cluster, kind, {"spec": {"size": 1}})
    created(cluster, DEFINITION, crd)

    created(cluster, kind, {"spec": {"size": 1}})
    with pytest.raises(ProviderError, match=r"spec\.size: 'big' is not of type 'integer'"):
        checked(cluster, kind, {"spec": {"size": "big"}})
    declared = checked(cluster, DEFINITION, crd)
    cluster.delete(DEFINITION, "slips.slipway.dev", declared, declared)
    assert cluster.objects() == []


def test_what_cannot_change_is_refused_with_the_option_that_replaces_it(cluster: KubernetesProvider) -> None:
    created(cluster, RELEASE, kueue())
    local = {"metadata": {"name": "training"}, "spec": {"clusterQueue": "churn"}}
    id_, outputs = created(cluster, f"{KUEUE}:LocalQueue", local, "2")
    old = checked(cluster, f"{KUEUE}:LocalQueue", local)
    new = {**old, "spec": {"clusterQueue": "fraud"}}

    assert cluster.diff(f"{KUEUE}:LocalQueue", old, new, []).replaces == ()
    with pytest.raises(
        ProviderError, match=r"spec.clusterQueue: cannot change .*replace_on_changes=\['spec.clusterQueue'\]"
    ):
        cluster.update(f"{KUEUE}:LocalQueue", id_, old, new, outputs)


def test_a_flavor_with_a_topology_keeps_its_nodes(cluster: KubernetesProvider) -> None:
    created(cluster, RELEASE, kueue())
    type_ = f"{KUEUE}:ResourceFlavor"
    for name, topology in (("free", {}), ("placed", {"topologyName": "ec2"})):
        flavored = {"metadata": {"name": name}, "spec": {"nodeLabels": {"slipway/pool": "a"}, **topology}}
        id_, outputs = created(cluster, type_, flavored, name)
        old = checked(cluster, type_, flavored)
        new = {**old, "spec": {**old["spec"], "nodeLabels": {"slipway/pool": "b"}}}
        if topology:
            with pytest.raises(ProviderError, match=r"spec.nodeLabels.slipway/pool: cannot change in place"):
                cluster.update(type_, id_, old, new, outputs)
        else:
            assert cluster.update(type_, id_, old, new, outputs)["spec"]["nodeLabels"] == {"slipway/pool": "b"}


def test_new_configuration_is_a_new_object(cluster: KubernetesProvider) -> None:
    old = checked(cluster, CONFIG, {"metadata": {"name": "plugin"}, "data": {"a": "1"}})

    diff = cluster.diff(CONFIG, old, {**old, "data": {"a": "2"}}, [])

    assert (diff.replaces, diff.delete_before_replace) == (("data.a",), True)


@pytest.mark.parametrize(
    "quantity, number",
    [
        ("500m", "0.5"),
        ("64Gi", str(64 * 2**30)),
        ("1e3", "1000"),
        ("16", "16"),
        (16, "16"),
        ("2k", "2000"),
        ("0.5", "0.5"),
    ],
)
def test_quantities_are_numbers(quantity: Any, number: str) -> None:
    assert amount(quantity) == Decimal(number)


@pytest.mark.parametrize("quantity", ["many", "1Ki5", "1mi", ""])
def test_what_is_no_quantity_is_refused(quantity: str) -> None:
    with pytest.raises(ValueError, match="is no Kubernetes quantity"):
        amount(quantity)


# --- charts -----------------------------------------------------------------------------------------------------------


def test_a_release_is_stored_with_what_it_asks_for_and_says_what_it_does_not_do(
    cluster: KubernetesProvider, tmp_path: Path
) -> None:
    id_, outputs = created(cluster, RELEASE, kueue())

    stored = json.loads((tmp_path / "kubernetes/kube-system/release-kueue.json").read_text())
    assert id_ == "kube-system/kueue"
    assert stored["spec"]["values"] == {"controllerManager": {"replicas": 2}}
    assert stored["metadata"]["annotations"] == {
        NOTICE_KEY: "values stored; no chart is rendered and no pod runs in the rehearsal"
    }
    assert outputs["status"]["version"] == "0.19.2"


@pytest.mark.parametrize(
    "inputs, words",
    [
        (kueue(version=">=0.19"), "version: pin it"),
        ({key: value for key, value in kueue().items() if key != "version"}, "version: pin it"),
        (kueue(version="0.18.0"), r"version: the rehearsal keeps \w+ of 0.19.2: set 0.19.x"),
        (kueue(chart="kueue"), "repositoryOpts.repo: set the address"),
        (kueue(chart="kueue", repositoryOpts={"repo": "http://charts"}), "repositoryOpts.repo: set the address"),
        (kueue(createNamespace=True), "createNamespace: .*declare it, and depend on it"),
        (kueue(valueYamlFiles=[]), "valueYamlFiles: the rehearsal knows only"),
        (kueue(values=[]), r"values: \[\] is not of the right type"),
        (
            kueue(values={"controllerManager": {"replica": 2}}),
            "values.controllerManager.replica: the chart kueue uses no",
        ),
        (
            kueue(values={"controllerManager": {"manager": {"image": {"tags": "v1"}}}}),
            r"manager\.image\.tags: the chart",
        ),
        (
            karpenter("karpenter", values={"settings": {"clustername": "it"}}),
            r"settings\.clustername: the chart karpenter",
        ),
    ],
)
def test_refuses_a_release_that_could_be_anything(cluster: KubernetesProvider, inputs: Props, words: str) -> None:
    with pytest.raises(ProviderError, match=words):
        checked(cluster, RELEASE, inputs)


def test_a_release_changes_in_place_but_for_its_name(cluster: KubernetesProvider) -> None:
    id_, outputs = created(cluster, RELEASE, kueue())
    old, new = checked(cluster, RELEASE, kueue()), checked(cluster, RELEASE, kueue(version="0.19.3"))

    assert cluster.diff(RELEASE, old, new, []).replaces == ()
    assert cluster.update(RELEASE, id_, old, new, outputs)["status"]["revision"] == 2
    assert cluster.diff(RELEASE, old, checked(cluster, RELEASE, kueue(name="queues")), []).replaces == ("name",)


def test_a_release_does_not_go_before_its_custom_resources(cluster: KubernetesProvider) -> None:
    id_, release = created(cluster, RELEASE, kueue(), "1")
    _, outputs = created(cluster, f"{KUEUE}:ClusterQueue", queue(), "2")
    inputs = checked(cluster, RELEASE, kueue())

    with pytest.raises(ProviderError, match="its ClusterQueue churn would hang on finalizers"):
        cluster.delete(RELEASE, id_, inputs, release)

    cluster.delete(f"{KUEUE}:ClusterQueue", "churn", outputs, outputs)
    cluster.delete(RELEASE, id_, inputs, release)
    assert cluster.objects() == []
