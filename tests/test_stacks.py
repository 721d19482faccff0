"""Every stack in the repository builds from its own YAML, and gives what products and people rely on."""

from collections import Counter
from dataclasses import fields
from pathlib import Path
from typing import Any

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as kubernetes
import pytest
from pretend_aws import PretendAws, up

from infra.contract import Platform
from infra.rehearsal.aws import AwsProvider
from infra.rehearsal.deployment import Factory
from infra.rehearsal.engine import Engine, Resource, StateStore
from infra.rehearsal.kubernetes import KubernetesProvider
from infra.settings import ENVIRONMENTS, Settings, load, stack_names


def deployed(stack: str, **overrides: Any) -> tuple[PretendAws, dict[str, Any]]:
    """What a stack asks AWS for, and what it exports."""
    settings = load(stack, overrides or None)
    exports: dict[str, Any] = {}

    def program() -> None:
        for name, value in settings.program.build().items():
            pulumi.Output.from_input(value).apply(lambda known, name=name: exports.update({name: known}))

    return up(program, stack=stack, config=settings.config), exports


def test_both_stacks_exist_in_every_environment() -> None:
    assert stack_names() == sorted(f"{name}-{env}" for name in ("employment", "platform") for env in ENVIRONMENTS)


@pytest.mark.parametrize("stack", stack_names())
def test_builds_from_its_yaml(stack: str) -> None:
    made, exports = deployed(stack)

    urns = Counter((each.typ, each.name) for each in made.resources)
    assert max(urns.values()) == 1
    assert all(value is not None for value in exports.values())


@pytest.mark.parametrize("env", ENVIRONMENTS)
def test_a_platform_exports_all_that_products_read(env: str) -> None:
    _, exports = deployed(f"platform-{env}")

    assert {field.name for field in fields(Platform)} <= exports.keys()


def test_a_product_has_no_endpoint_until_a_version_is_named() -> None:
    made, exports = deployed("employment-local")

    assert made.inputs(aws.sagemaker.Endpoint) == {}
    assert "endpoint_name" not in exports
    assert exports["feature_group_name"] == exports["model_package_group_name"] == "employment-local"
    assert exports["models_uri"] == "s3://lake/employment/models"


def test_a_product_serves_the_version_that_is_named() -> None:
    made, exports = deployed("employment-local", model_version=3)

    package = "arn:aws:sagemaker:us-east-1:123456789012:model-package/employment-local/3"
    assert made.only(aws.sagemaker.Model)["primaryContainer"] == {"modelPackageName": package}
    assert exports["endpoint_name"] == "employment-local"
    assert exports["schedule_name"] == "employment-local/drift"
    assert exports["drift_function_name"] == "employment-local-drift"


def test_the_monitor_reads_what_the_endpoint_captures() -> None:
    made, exports = deployed("employment-local", model_version=3)

    captures = made.only(aws.sagemaker.EndpointConfiguration)["dataCaptureConfig"]["destinationS3Uri"]
    assert captures == exports["captures_uri"] == "s3://lake/employment/captures"
    assert f'"captures": "{captures}/"' in made.only(aws.scheduler.Schedule)["target"]["input"]


def test_production_is_spread_and_has_gpus() -> None:
    platform, _ = deployed("platform-prod")
    product, _ = deployed("employment-prod")

    zones = {subnet["availabilityZone"] for subnet in platform.inputs(aws.ec2.Subnet).values()}
    gpus = platform.inputs(aws.eks.NodeGroup)["platform-prod-train"]
    assert len(zones) == 3
    assert gpus["amiType"] == "AL2023_x86_64_NVIDIA"
    assert gpus["scalingConfig"]["maxSize"] >= 2
    assert product.only(aws.appautoscaling.Target)["minCapacity"] >= 2


@pytest.mark.parametrize("stack", [name for name in stack_names() if not name.endswith("-local")])
def test_only_the_rehearsal_gives_its_data_up(stack: str) -> None:
    made, _ = deployed(stack)

    assert not any(bucket["forceDestroy"] for bucket in made.inputs(aws.s3.Bucket).values())
    assert all(cluster["deletionProtection"] for cluster in made.inputs(aws.eks.Cluster).values())


def planned(stack: str, work: Path, **overrides: Any) -> tuple[Resource, ...]:
    """A stack's resources with the options that a mock does not see, from a plan that asks nobody."""

    def cloud(settings: Settings) -> AwsProvider:
        return AwsProvider(settings.region, settings.account_id, settings.tags, None)

    providers: dict[str, Factory] = {"aws": cloud, "kubernetes": lambda _: KubernetesProvider(work)}
    engine = Engine(work, providers, state=StateStore(work))
    return engine.plan(load(stack, overrides or None)).resources


@pytest.mark.parametrize("env, protected", [("prod", True), ("local", False)])
def test_what_holds_data_is_protected_where_it_matters(env: str, protected: bool, tmp_path: Path) -> None:
    holding = {each.pulumi_type for each in (aws.kms.Key, aws.s3.Bucket, aws.eks.Cluster, aws.sagemaker.FeatureGroup)}

    both = [*planned(f"platform-{env}", tmp_path), *planned(f"employment-{env}", tmp_path)]

    assert {each.type: each.protect for each in both if each.type in holding} == dict.fromkeys(holding, protected)


def test_what_may_still_be_live_is_never_deleted(tmp_path: Path) -> None:
    resources = planned("employment-local", tmp_path, model_version=1)

    assert {each.type for each in resources if each.retain_on_delete} == {
        aws.sagemaker.Model.pulumi_type,
        aws.sagemaker.EndpointConfiguration.pulumi_type,
        aws.sagemaker.ModelPackageGroup.pulumi_type,
    }


def test_objects_in_the_cluster_wait_for_it_and_go_through_its_own_provider() -> None:
    made, _ = deployed("platform-dev")

    inside = [each for each in made.resources if each.typ.startswith("kubernetes:")]
    assert {each.typ for each in inside} >= {
        kubernetes.core.v1.Namespace.pulumi_type,
        kubernetes.apps.v1.DaemonSet.pulumi_type,
    }
    assert all("pulumi:providers:kubernetes::platform-dev" in str(each.provider) for each in inside)


def test_a_role_of_two_teams_has_one_access_to_both() -> None:
    role = "arn:aws:iam::111122223333:role/both"
    teams = {team: {"gpus": 1, "developers": [role]} for team in ("churn", "fraud")}

    made, _ = deployed("platform-dev", teams=teams)

    assert made.inputs(aws.eks.AccessEntry)["both"]["principalArn"] == role
    scope = made.inputs(aws.eks.AccessPolicyAssociation)["both"]["accessScope"]
    assert scope == {"type": "namespace", "namespaces": ["churn", "fraud"]}


@pytest.mark.parametrize("stack", ["platform-prod", "employment-prod"])
def test_no_environment_is_special_to_the_code(stack: str) -> None:
    """The same YAML under another environment's name makes the same resources."""
    settings = load(stack)
    twin = stack.rpartition("-")[0] + "-twin"

    here = up(settings.program.build, stack=stack, config=settings.config)
    there = up(settings.program.build, stack=twin, config=settings.config)

    assert Counter(each.typ for each in here.resources) == Counter(each.typ for each in there.resources)
