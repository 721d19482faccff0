"""The rehearsal's Kubernetes: what it accepts, what it stores, and what it says does not run."""

import json
from pathlib import Path
from typing import Any

import pytest

from infra.rehearsal.kubernetes import NOTICE, NOTICE_KEY, KubernetesProvider
from infra.rehearsal.provider import UNKNOWN, Props, ProviderError, symbol

NAMESPACE = "kubernetes:core/v1:Namespace"
QUOTA = "kubernetes:core/v1:ResourceQuota"
DAEMON_SET = "kubernetes:apps/v1:DaemonSet"
POLICY = "kubernetes:networking.k8s.io/v1:NetworkPolicy"


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
        ("kubernetes:karpenter.sh/v1:NodePool", {}, r"has no karpenter.sh/v1 NodePool; .*built-in kinds only"),
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
