"""Every stack in the repository builds from its own YAML, and gives what products and people rely on."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pulumi_aws as aws
import pulumi_kubernetes as kubernetes
import pytest

from infra.contract import Platform
from infra.rehearsal.engine import Plan, Resource
from infra.rehearsal.session import Rehearsal
from infra.settings import ENVIRONMENTS, Settings, SettingsError, load, stack_names
from infra.show import watching

KINDS = {
    "employment-bulk-prod": "async",
    "employment-dev": "scale-to-zero",
    "employment-local": "real-time",
    "employment-prod": "real-time",
    "employment-staging": "real-time",
    "employment-trial-dev": "serverless",
}
"""The stacks of our own product, and what kind of endpoint each has: each kind is in some environment on AWS."""


@pytest.fixture(scope="module")
def plans(every_plan: Any) -> dict[str, Plan]:
    """What each stack makes where nothing exists yet, by its name."""
    return {settings.stack: plan for settings, plan in every_plan}


def of(plan: Plan, kind: Any) -> dict[str, Resource]:
    """The resources of a kind, by name."""
    return {each.name: each for each in plan.resources if each.type == kind.pulumi_type}


def only(plan: Plan, kind: Any) -> Any:
    """The inputs of the one resource of a kind."""
    [resource] = of(plan, kind).values()
    return resource.inputs


def test_both_platform_and_product_exist_in_every_environment() -> None:
    assert {f"platform-{env}" for env in ENVIRONMENTS} | KINDS.keys() <= set(stack_names())
    for product in {each.rpartition("-")[0] for each in stack_names() if each not in KINDS}:
        assert {f"{product}-{env}" for env in ENVIRONMENTS} <= set(stack_names()), product
    assert {f"employment-{env}" for env in ENVIRONMENTS} <= KINDS.keys()


@pytest.mark.parametrize("stack", stack_names())
def test_builds_from_its_yaml(plans: dict[str, Plan], stack: str) -> None:
    urns = Counter(each.urn for each in plans[stack].resources)
    assert max(urns.values()) == 1
    assert all(value is not None for value in plans[stack].outputs.values())


@pytest.mark.parametrize("env", ENVIRONMENTS)
def test_a_platform_exports_all_that_products_read(plans: dict[str, Plan], env: str) -> None:
    assert {field.name for field in fields(Platform)} <= plans[f"platform-{env}"].outputs.keys()


@pytest.mark.parametrize(("stack", "kind"), KINDS.items())
def test_a_product_has_the_endpoint_its_yaml_asks_for(plans: dict[str, Plan], stack: str, kind: str) -> None:
    plan = plans[stack]
    assert plan.outputs["endpoint_name"] == stack
    configuration = only(plan, aws.sagemaker.EndpointConfiguration)
    [variant] = configuration["productionVariants"]
    assert ("serverlessConfig" in variant) == (kind == "serverless")
    assert ("asyncInferenceConfig" in configuration) == (kind == "async")
    assert ("managedInstanceScaling" in variant) == (kind == "scale-to-zero")
    assert bool(of(plan, aws.cloudcontrol.Resource)) == (kind == "scale-to-zero")
    assert bool(of(plan, aws.sfn.StateMachine)), "each is released by a machine of its own"


def test_staging_compares_with_a_shadow_and_production_follows_the_clock(plans: dict[str, Plan]) -> None:
    [shadow] = only(plans["employment-staging"], aws.sagemaker.EndpointConfiguration)["shadowProductionVariants"]
    assert shadow["variantName"] == "shadow"
    schedules = of(plans["employment-prod"], aws.appautoscaling.ScheduledAction).values()
    assert [each.inputs["timezone"] for each in schedules] == ["America/New_York"] * 2


def test_a_product_has_no_endpoint_until_a_version_is_named(tmp_path: Path) -> None:
    plan = planned("employment-local")
    assert of(plan, aws.sagemaker.Endpoint) == {}
    assert "endpoint_name" not in plan.outputs
    assert plan.outputs["feature_group_name"] == plan.outputs["model_package_group_name"] == "employment-local"


def planned(stack: str, **overrides: Any) -> Plan:
    """The plan of one stack as its YAML has it: a product without a version has no endpoint."""
    rehearsal = Rehearsal(say=print, watching=watching)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("infra.rehearsal.session._first_version", lambda settings: settings)
        patch.setattr("infra.rehearsal.session.load", lambda name: load(name, overrides if name == stack else None))
        platform = [] if stack.startswith("platform") else [f"platform-{stack.rpartition('-')[2]}"]
        return rehearsal.plan_offline([*platform, stack])[-1][1]


def test_the_endpoint_is_made_with_the_version_that_is_named() -> None:
    plan = planned("employment-local", model_version=3)
    package = "arn:aws:sagemaker:us-east-1:123456789012:model-package/employment-local/3"
    container = only(plan, aws.sagemaker.Model)["primaryContainer"]
    assert container == {"modelPackageName": package, "environment": {"MODEL_VERSION": "3"}}
    assert plan.outputs["first_version"] == 3
    assert plan.outputs["data_schedule_name"] == "employment-local-data/run"


def test_the_monitor_reads_what_the_endpoint_captures(plans: dict[str, Plan]) -> None:
    plan = plans["employment-local"]
    captures = only(plan, aws.sagemaker.EndpointConfiguration)["dataCaptureConfig"]["destinationS3Uri"]
    event = of(plan, aws.scheduler.Schedule)["employment-local-data-run"].inputs["target"]["input"]
    assert json.loads(event)["captures"] == f"{captures}/"


def test_production_is_spread_and_has_gpus_of_every_way_to_buy_them(plans: dict[str, Plan]) -> None:
    platform, product = plans["platform-prod"], plans["employment-prod"]
    assert len({each.inputs["availabilityZone"] for each in of(platform, aws.ec2.Subnet).values()}) == 3
    groups = of(platform, aws.eks.NodeGroup)
    assert groups["platform-prod-block"].inputs["capacityType"] == "CAPACITY_BLOCK"
    assert groups["platform-prod-serving"].inputs["amiType"] == "AL2023_x86_64_NVIDIA"
    pools = [each for each in platform.resources if each.type == "kubernetes:karpenter.sh/v1:NodePool"]
    assert {each.name for each in pools} == {"platform-prod-train-pool", "platform-prod-burst-pool"}
    assert all(each.inputs["spec"]["limits"]["nvidia.com/gpu"] for each in pools)
    assert only(product, aws.appautoscaling.Target)["minCapacity"] >= 2


@pytest.mark.parametrize("stack", [name for name in stack_names() if not name.endswith("-local")])
def test_only_the_rehearsal_gives_its_data_up(plans: dict[str, Plan], stack: str) -> None:
    plan = plans[stack]
    assert not any(each.inputs.get("forceDestroy") for each in of(plan, aws.s3.Bucket).values())
    assert all(each.inputs["deletionProtection"] for each in of(plan, aws.eks.Cluster).values())
    assert all(each.protect for each in of(plan, aws.sagemaker.FeatureGroup).values())


@pytest.mark.parametrize(("env", "protected"), [("prod", True), ("local", False)])
def test_what_holds_data_is_protected_where_it_matters(plans: dict[str, Plan], env: str, protected: bool) -> None:
    holding = {each.pulumi_type for each in (aws.kms.Key, aws.s3.Bucket, aws.eks.Cluster, aws.sagemaker.FeatureGroup)}
    both = [*plans[f"platform-{env}"].resources, *plans[f"employment-{env}"].resources]
    assert {each.type: each.protect for each in both if each.type in holding} == dict.fromkeys(holding, protected)


def test_what_may_still_be_live_or_is_the_record_of_it_is_never_deleted(plans: dict[str, Plan]) -> None:
    kept = {each.type for each in plans["employment-local"].resources if each.retain_on_delete}
    assert kept == {
        aws.sagemaker.Model.pulumi_type,
        aws.sagemaker.EndpointConfiguration.pulumi_type,
        aws.sagemaker.ModelPackageGroup.pulumi_type,
        # The code that versions of the registry were trained with.
        aws.s3.BucketObjectv2.pulumi_type,
    }


def test_objects_in_the_cluster_go_through_its_own_provider(plans: dict[str, Plan]) -> None:
    inside = [each for each in plans["platform-dev"].resources if each.type.startswith("kubernetes:")]
    assert {each.type for each in inside} >= {
        kubernetes.core.v1.Namespace.pulumi_type,
        kubernetes.apps.v1.DaemonSet.pulumi_type,
        "kubernetes:helm.sh/v3:Release",
    }
    names = {each.provider.rpartition("::")[0].rpartition("::")[2] for each in inside}
    assert names == {"platform-dev"}


def test_a_role_of_two_teams_has_one_access_to_both() -> None:
    role = "arn:aws:iam::111122223333:role/both"
    teams = {team: {"gpus": {"train": 1}, "cpus": 4, "memory_gib": 8, "developers": [role]} for team in ("a", "b")}
    plan = planned("platform-dev", teams=teams)
    assert of(plan, aws.eks.AccessEntry)["both"].inputs["principalArn"] == role
    scope = of(plan, aws.eks.AccessPolicyAssociation)["both"].inputs["accessScope"]
    assert scope == {"type": "namespace", "namespaces": ["a", "b"]}


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"teams": {"a": {"gpus": {"train": 3}}}}, "teams.a.gpus.train 3"),
        ({"gpus": {"train": {"instance_types": ["g6.xlarge"], "max_size": 1, "zone": "f"}}}, "zone f"),
        ({"teams": {"platform": {"gpus": 1}}}, "platform"),
    ],
)
def test_what_a_platform_cannot_keep_is_refused_before_anything_is_planned(
    overrides: dict[str, Any], words: str
) -> None:
    with pytest.raises(SettingsError, match=words):
        load("platform-dev", overrides)


@pytest.fixture
def twin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Production's YAML once more, under the name of another environment."""
    import infra.settings as settings

    for stack in ("platform", "employment"):
        text = (settings.STACK_FOLDER / f"Pulumi.{stack}-prod.yaml").read_text("utf-8")
        text = text.replace("environment: prod", "environment: twin").replace("platform-prod", "platform-twin")
        (tmp_path / f"Pulumi.{stack}-twin.yaml").write_text(text, "utf-8")
    monkeypatch.setattr(settings, "STACK_FOLDER", tmp_path)
    monkeypatch.setattr(settings, "ENVIRONMENTS", (*settings.ENVIRONMENTS, "twin"))
    yield


def test_no_environment_is_special_to_the_code(plans: dict[str, Plan], twin: None) -> None:
    """The same YAML under another environment's name makes the same resources."""
    stacks = ["platform-twin", "employment-twin"]
    copies: dict[str, tuple[Settings, Plan]] = {
        each.stack: (each, plan) for each, plan in Rehearsal(say=print, watching=watching).plan_offline(stacks)
    }
    for stack in stacks:
        here = Counter(each.type for each in plans[stack.replace("twin", "prod")].resources)
        assert Counter(each.type for each in copies[stack][1].resources) == here
