"""GPU pools: what may be declared, what nodes, plugins, Karpenter and alarms follow, and that all of it deploys."""

import json
import subprocess
from base64 import b64decode
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email import message_from_string
from pathlib import Path
from typing import Any

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as kubernetes
import pytest
from judging import NOT_WITHOUT_A_STACK, judge, resource
from pretend_aws import KEY, TOPIC, PretendAws, up
from pydantic import ValidationError

from components import (
    Alerts,
    AlertsSpec,
    Budget,
    BudgetSpec,
    Cluster,
    ClusterSpec,
    Key,
    KeySpec,
    Network,
    NetworkSpec,
    NodePool,
    gpu_boot,
)
from components.gpu import GpuPool, check_pools
from components.gpu_device_plugin import GpuDevicePlugin, configuration
from components.gpu_instances import FAMILIES, RELEASES, instance
from components.gpu_metrics import FIELDS, METRICS_NAMESPACE, GpuMetrics, agent_configuration, scrape_configuration
from components.gpu_node_group import GpuNodeGroup, interfaces
from components.karpenter import Karpenter, KarpenterPool, ami_alias, node_overlays, node_pool
from infra.check import check
from infra.rehearsal.aws import AwsProvider
from infra.rehearsal.emulator.process import Emulator
from infra.rehearsal.engine import Engine
from infra.rehearsal.kubernetes import KubernetesProvider
from infra.settings import Settings
from infra.stack import Stack
from policies.cost.prices import PRICES
from policies.cost.pricing import estimate, unpriced
from policies.resource_types import NODE_POOL
from tests.emulated import ACCOUNT, REGION, User, until

BY_ENVIRONMENT = {"cost-gpu-cap", "cost-instance-allowlist", "cost-ng-max"}
"""Controls of how many of which machines an environment may have; here is one of every kind."""
VERSION = "1.35"
ENDS = "2026-12-24T11:30:00Z"
BLOCK = {"id": "cr-0123456789abcdef0", "instance_type": "p5.48xlarge", "instances": 2, "zone": "b", "ends": ENDS}
RESERVED = {"id": "cr-0fedcba9876543210", "instance_type": "g6e.48xlarge", "instances": 4, "zone": "a"}


def pool(**given: Any) -> GpuPool:
    return GpuPool.model_validate({"instance_types": ["g6.12xlarge"], **given})


def managed(**given: Any) -> GpuPool:
    return pool(**{"max_size": 4, **given})


def scaled(**given: Any) -> GpuPool:
    return pool(**{"scaling": "karpenter", "max_gpus": 16, **given})


def block(**given: Any) -> GpuPool:
    return pool(
        **{"instance_types": ["p5.48xlarge"], "capacity": "capacity-block", "reservation": BLOCK, "efa": True, **given}
    )


MIG = {"kind": "mig", "profile": "1g.10gb"}
SLICES = {"kind": "time-slicing", "replicas": 4}
MPS = {"kind": "mps", "replicas": 8}


class TestWhatMayBeDeclared:
    @pytest.mark.parametrize(
        ("given", "problem"),
        [
            ({"instance_types": ["m7i.large"]}, "no instance with NVIDIA GPUs.*set for example g6.xlarge"),
            ({"instance_types": ["g6.3xlarge"]}, "unknown instance size: set one of g6.xlarge"),
            ({"instance_types": ["g6.xlarge", "g5g.xlarge"]}, "x86 processors, others Arm"),
            ({"instance_types": ["g6.xlarge", "g6.xlarge"]}, "each type counts once"),
            ({"instance_types": ["g7.2xlarge"]}, "needs NVIDIA's driver 595 or newer, and the al2023 image has 580"),
            ({"instance_types": ["g5g.xlarge"], "disk_gib": 100}, "no disk of its own for images: set 200 or more"),
            ({"max_size": None}, "max_size: set the most nodes"),
            ({"min_size": 5}, "min_size 5 is above max_size 4"),
            ({"max_size": 451}, "450"),
            ({"max_gpus": 15}, "max_size 4 of up to 4 GPUs each makes 16, above max_gpus 15"),
            ({"scaling": "karpenter"}, "min_size, max_size: leave them out with Karpenter"),
            ({"scaling": "karpenter", "max_size": None}, "max_gpus: set the most GPUs Karpenter may ever start"),
            ({"scaling": "karpenter", "max_size": None, "max_gpus": 3}, "below the 4 GPUs of one node"),
            ({"training": True, "capacity": "spot"}, "spot takes nodes from running jobs"),
            ({"release": "1.62.0-0a1b2c3d"}, "is not one of al2023's"),
            ({"release": "latest"}, "release"),
            ({"os": "bottlerocket"}, "which Bottlerocket"),
            ({"capacity": "reservation"}, "needs reservation"),
            ({"reservation": RESERVED}, "with a reservation, set capacity"),
            ({"efa": True}, "efa: set zone"),
            ({"efa": True, "zone": "a", "instance_types": ["g6.xlarge"]}, "has no Elastic Fabric Adapter"),
            ({"efa": True, "zone": "a", "instance_types": ["g6.12xlarge", "g6.24xlarge"]}, "set one instance type"),
            ({"sharing": {"kind": "mig"}}, "MIG cuts by profile"),
            ({"sharing": {"kind": "mps"}}, "mps shares by number"),
            ({"sharing": {"kind": "mps", "replicas": 49}}, "48"),
            ({"sharing": {"kind": "time-slicing", "replicas": 2, "profile": "1g.5gb"}}, "shares by number"),
            ({"sharing": MIG}, "type L4 has no MIG profile 1g.10gb"),
            (
                {"sharing": {"kind": "mig", "profile": "1g.9gb"}, "instance_types": ["p4d.24xlarge"]},
                "set one of 1g.5gb",
            ),
            (
                {"sharing": MIG, "instance_types": ["p4d.24xlarge", "p5.48xlarge"]},
                "hold different numbers of partitions",
            ),
            ({"sharing": SLICES, "efa": True, "zone": "a"}, "jobs that span nodes need whole GPUs"),
            ({"sharing": MPS, "os": "bottlerocket", "release": "1.62.0-0a1b2c3d"}, "mps here runs on al2023 only"),
        ],
    )
    def test_what_could_not_work_is_refused_with_what_to_set(self, given: dict[str, Any], problem: str) -> None:
        with pytest.raises(ValidationError, match=problem):
            managed(**given)

    @pytest.mark.parametrize(
        ("given", "reserved", "problem"),
        [
            ({}, {"ends": None}, "set when the Capacity Block ends"),
            ({}, {"ends": "2026-12-24T11:30:00"}, "timezone"),
            ({}, {"instances": 65}, "64 at most"),
            ({}, {"instance_type": "p5e.48xlarge"}, r"instance_types: set \[p5e.48xlarge\]"),
            ({"zone": "a"}, {}, "zone: leave it out, or set b"),
            ({"max_size": 1}, {}, "a Capacity Block has 2 instances"),
            ({"min_size": 1}, {}, "a Capacity Block has 2 instances"),
            ({"capacity": "reservation"}, {}, "only a Capacity Block ends by itself"),
            ({"instance_types": ["g6.48xlarge"]}, {"instance_type": "g6.48xlarge"}, "Capacity Blocks are sold of"),
            ({"scaling": "karpenter", "max_gpus": 17}, {}, "above the 16 reserved GPUs"),
        ],
    )
    def test_a_capacity_block_is_declared_as_it_was_bought(
        self, given: dict[str, Any], reserved: dict[str, Any], problem: str
    ) -> None:
        with pytest.raises(ValidationError, match=problem):
            block(reservation={**BLOCK, **reserved}, **given)

    def test_a_reservation_is_not_exceeded(self) -> None:
        with pytest.raises(ValidationError, match="max_size 5 is above the 4 reserved instances"):
            pool(instance_types=["g6e.48xlarge"], capacity="reservation", reservation=RESERVED, max_size=5)

    def test_pools_fit_the_platform_they_are_in(self) -> None:
        pools = {"a": managed(zone="d"), "b": managed(release="1.34.9-20260714"), "c": block(), "d": block()}

        with pytest.raises(ValueError, match="zone d: the network is in a, b"):
            check_pools({"a": pools["a"]}, zones=["a", "b"], version=VERSION)
        with pytest.raises(ValueError, match=r"release 1.34.9-20260714 is of Kubernetes 1.34"):
            check_pools({"b": pools["b"]}, zones=["a", "b"], version=VERSION)
        with pytest.raises(ValueError, match="cr-0123456789abcdef0 is pool c's already"):
            check_pools({"c": pools["c"], "d": pools["d"]}, zones=["a", "b"], version=VERSION)
        check_pools({"a": managed(zone="b"), "c": block()}, zones=["a", "b"], version=VERSION)


class TestUnits:
    """What queues hand out, pods ask for and nodes offer is one number."""

    @pytest.mark.parametrize(
        ("given", "resource", "per_node", "most"),
        [
            ({}, "nvidia.com/gpu", 4, 16),
            ({"sharing": SLICES}, "nvidia.com/gpu.shared", 16, 64),
            ({"sharing": MPS}, "nvidia.com/gpu.shared", 32, 128),
            ({"sharing": MIG, "instance_types": ["p5.48xlarge"]}, "nvidia.com/mig-1g.10gb", 56, 112),
            ({"sharing": MIG, "instance_types": ["p4d.24xlarge"]}, "nvidia.com/mig-1g.10gb", 32, 64),
            ({"instance_types": ["g6f.xlarge"], "max_gpus": 3}, "nvidia.com/gpu", 1, 3),
        ],
    )
    def test_follow_from_the_sharing(self, given: dict[str, Any], resource: str, per_node: int, most: int) -> None:
        declared = scaled(**given)

        assert declared.resource == resource
        assert [declared.units_per_node(each) for each in declared.instance_types] == [per_node]
        assert declared.max_units == most
        assert [taint["key"] for taint in declared.taints] == [resource]

    def test_a_managed_group_s_limit_is_of_its_largest_nodes(self) -> None:
        assert managed(instance_types=["g6.xlarge", "g6.48xlarge"]).max_units == 32
        assert block().max_units == 16
        assert pool(instance_types=["g6e.48xlarge"], capacity="reservation", reservation=RESERVED).max_units == 32

    def test_device_plugin_labels_overlay_and_limits_agree(self) -> None:
        for sharing in (SLICES, MPS, {"kind": "mig", "profile": "3g.40gb"}):
            declared = scaled(instance_types=["p5.48xlarge"], sharing=sharing)
            [overlay] = node_overlays(declared, "shared").values()
            template = node_pool(declared, "shared")

            assert overlay["capacity"] == {
                "nvidia.com/gpu": 0,
                declared.resource: declared.units_per_node("p5.48xlarge"),
            }
            assert template["limits"] == {"nvidia.com/gpu": 16, declared.resource: declared.max_units}
            assert template["template"]["metadata"]["labels"] == declared.labels("shared")
            config = configuration(declared.sharing)
            if declared.resource == "nvidia.com/gpu.shared":
                [shares] = config["sharing"].values()
                assert shares["renameByDefault"] and shares["resources"][0]["replicas"] == declared.units_per_gpu
            else:
                assert config["flags"]["migStrategy"] == "mixed"
                assert declared.labels("shared")["nvidia.com/mig.config"] == "all-3g.40gb"

    def test_the_price_table_counts_the_same_gpus(self) -> None:
        known = {f"{family}.{size}": sizes[size][0] for family, (_, sizes) in FAMILIES.items() for size in sizes}
        priced = {each: row["gpus"] for each, row in PRICES["instances"].items() if "gpus" in row}

        assert priced == {each: known[each] for each in priced}
        assert {each for each in PRICES["instances"] if each in known} == set(priced)


def parts(user_data: str) -> list[tuple[str, str]]:
    """The parts of a MIME document: what each is, and its text."""
    _, *each = message_from_string(user_data).walk()
    return [(part.get_content_type(), str(part.get_payload())) for part in each]


class TestBoot:
    def test_disks_are_joined_by_eks_s_own_agent(self) -> None:
        [(kind, text)] = parts(b64decode(gpu_boot.managed(managed())).decode())

        assert kind == "application/node.eks.aws"
        assert "strategy: RAID0" in text

    def test_gpus_are_cut_at_every_boot_before_the_kubelet_starts(self, tmp_path: Path) -> None:
        declared = managed(instance_types=["p5.48xlarge"], sharing={"kind": "mig", "profile": "3g.40gb"})
        _, (kind, text) = parts(b64decode(gpu_boot.managed(declared)).decode())
        script = tmp_path / "user-data"
        script.write_text(text)

        assert subprocess.run(["bash", "-n", script], check=False, capture_output=True).stderr == b""
        assert kind == "text/x-shellscript"
        assert "--create-gpu-instance 3g.40gb,3g.40gb --default-compute-instance" in text
        assert "Before=kubelet.service" in text and "enable --now" in text
        assert gpu_boot.karpenter(declared) and "NodeConfig" not in str(gpu_boot.karpenter(declared))

    def test_bottlerocket_shares_by_its_own_settings_and_gets_no_second_plugin(self) -> None:
        rocket = {"os": "bottlerocket", "release": "1.62.0-0a1b2c3d"}
        sliced = managed(sharing=SLICES, **rocket)
        cut = managed(instance_types=["p5.48xlarge"], sharing=MIG, **rocket)

        assert "replicas = 4" in str(gpu_boot.karpenter(sliced))
        assert '"h100.80gb" = "1g.10gb"' in b64decode(gpu_boot.managed(cut)).decode()
        assert "nvidia.com/device-plugin.config" not in sliced.labels("x")
        assert sliced.ami_type == "BOTTLEROCKET_x86_64_NVIDIA"
        assert ami_alias(sliced, VERSION) == "bottlerocket@v1.62.0"


def group(spec: GpuPool) -> PretendAws:
    return up(
        lambda: GpuNodeGroup(
            "ml-train",
            spec,
            pool="train",
            cluster_name="ml",
            subnet_ids=["subnet-a", "subnet-b"],
            zones=["a", "b"],
            kms_key_arn=KEY,
            kubernetes_version=VERSION,
            vpc_id="vpc-1",
            cluster_security_group_id="sg-cluster",
            alerts_topic_arn=TOPIC,
        )
    )


class TestNodeGroup:
    @pytest.fixture(scope="class")
    def made(self) -> PretendAws:
        return group(managed(max_size=8, disk_gib=500))

    def test_scales_from_zero_to_the_limit(self, made: PretendAws) -> None:
        assert made.only(aws.eks.NodeGroup)["scalingConfig"] == {"minSize": 0, "maxSize": 8, "desiredSize": 0}

    def test_keeps_other_pods_away_and_can_be_chosen(self, made: PretendAws) -> None:
        nodes = made.only(aws.eks.NodeGroup)

        assert nodes["taints"] == [{"key": "nvidia.com/gpu", "value": "true", "effect": "NO_SCHEDULE"}]
        assert nodes["labels"]["slipway/pool"] == "train"

    def test_runs_a_pinned_image_that_nothing_forces_and_is_repaired(self, made: PretendAws) -> None:
        nodes = made.only(aws.eks.NodeGroup)

        assert (nodes["amiType"], nodes["releaseVersion"]) == ("AL2023_x86_64_NVIDIA", RELEASES[VERSION])
        assert nodes["forceUpdateVersion"] is False
        assert nodes["nodeRepairConfig"] == {"enabled": True}
        arm = group(managed(instance_types=["g5g.xlarge"], release="1.35.6-20260625")).only(aws.eks.NodeGroup)
        assert (arm["amiType"], arm["releaseVersion"]) == ("AL2023_ARM_64_NVIDIA", "1.35.6-20260625")

    def test_disks_use_our_key(self, made: PretendAws) -> None:
        [disk] = made.only(aws.ec2.LaunchTemplate)["blockDeviceMappings"]

        assert disk["ebs"]["encrypted"] == "true"
        assert (disk["ebs"]["kmsKeyId"], disk["ebs"]["volumeType"], disk["ebs"]["volumeSize"]) == (KEY, "gp3", 500)

    def test_pods_cannot_borrow_the_nodes_identity(self, made: PretendAws) -> None:
        options = made.only(aws.ec2.LaunchTemplate)["metadataOptions"]

        assert (options["httpTokens"], options["httpPutResponseHopLimit"]) == ("required", 1)

    def test_what_auto_scaling_starts_carries_the_bills_tags(self, made: PretendAws) -> None:
        for tagged in made.only(aws.ec2.LaunchTemplate)["tagSpecifications"]:
            assert tagged["tags"].items() >= {"owner": "team", "product": "churn", "cost-center": "7"}.items()

    def test_can_be_bought_on_the_spot_market(self, made: PretendAws) -> None:
        spot = group(managed(capacity="spot"))

        assert made.only(aws.eks.NodeGroup)["capacityType"] == "ON_DEMAND"
        assert spot.only(aws.eks.NodeGroup)["capacityType"] == "SPOT"

    def test_updates_need_no_spare_node_where_there_is_none(self, made: PretendAws) -> None:
        assert made.only(aws.eks.NodeGroup)["updateConfig"] == {"maxUnavailable": 1}
        for scarce in (block(), managed(training=True), managed(efa=True, zone="a")):
            assert group(scarce).only(aws.eks.NodeGroup)["updateConfig"]["updateStrategy"] == "MINIMAL"

    def test_a_capacity_block_is_used_whole_in_its_zone(self) -> None:
        made = group(block(efa=False))
        nodes, template = made.only(aws.eks.NodeGroup), made.only(aws.ec2.LaunchTemplate)

        assert nodes["capacityType"] == "CAPACITY_BLOCK" and "instanceTypes" not in nodes
        assert nodes["scalingConfig"] == {"minSize": 2, "maxSize": 2, "desiredSize": 2}
        assert nodes["subnetIds"] == ["subnet-b"]
        assert template["instanceType"] == "p5.48xlarge"
        assert template["instanceMarketOptions"] == {"marketType": "capacity-block"}
        assert template["capacityReservationSpecification"] == {
            "capacityReservationPreference": "capacity-reservations-only",
            "capacityReservationTarget": {"capacityReservationId": BLOCK["id"]},
        }

    def test_a_reservation_is_used_and_nothing_else(self) -> None:
        made = group(pool(instance_types=["g6e.48xlarge"], capacity="reservation", reservation=RESERVED))

        nodes, template = made.only(aws.eks.NodeGroup), made.only(aws.ec2.LaunchTemplate)
        assert (nodes["capacityType"], nodes["instanceTypes"]) == ("ON_DEMAND", ["g6e.48xlarge"])
        assert nodes["scalingConfig"] == {"minSize": 0, "maxSize": 4, "desiredSize": 0}
        specification = template["capacityReservationSpecification"]
        assert specification["capacityReservationPreference"] == "capacity-reservations-only"
        assert specification["capacityReservationTarget"] == {"capacityReservationId": RESERVED["id"]}

    def test_people_are_told_two_hours_before_a_block_ends(self) -> None:
        schedule = group(block(efa=False)).only(aws.scheduler.Schedule)

        assert schedule["scheduleExpression"] == "at(2026-12-24T09:30:00)"
        assert schedule["target"]["arn"] == TOPIC
        assert "terminates its 2 instances from 11:00 UTC on" in schedule["target"]["input"]

    def test_efa_has_a_card_each_a_place_and_a_group_of_its_own(self) -> None:
        made = group(managed(instance_types=["p4d.24xlarge"], efa=True, zone="a"))
        template = made.only(aws.ec2.LaunchTemplate)

        assert [
            (each["networkCardIndex"], each["deviceIndex"], each["interfaceType"])
            for each in template["networkInterfaces"]
        ] == [(0, 0, "interface"), *((card, 1, "efa-only") for card in range(4))]
        assert {tuple(each["securityGroups"]) for each in template["networkInterfaces"]} == {
            ("sg-cluster", "ml-train-efa-id")
        }
        assert template["placement"] == {"groupName": "ml-train"}
        assert made.only(aws.ec2.PlacementGroup)["strategy"] == "cluster"
        for rule in (aws.vpc.SecurityGroupIngressRule, aws.vpc.SecurityGroupEgressRule):
            inputs = made.only(rule)
            assert inputs["securityGroupId"] == inputs["referencedSecurityGroupId"] == "ml-train-efa-id"
            assert inputs["ipProtocol"] == "-1"
        assert made.only(aws.eks.NodeGroup)["subnetIds"] == ["subnet-a"]

    def test_a_block_is_in_no_placement_group(self) -> None:
        made = group(block())

        assert made.inputs(aws.ec2.PlacementGroup) == {}
        assert len(interfaces(block())) == 1 + instance("p5.48xlarge").efas == 33

    def test_each_kind_of_pool_has_its_component(self) -> None:
        with pytest.raises(ValueError, match="make a KarpenterPool of it"):
            group(scaled())


class TestDevicePlugin:
    POOLS: Mapping[str, GpuPool] = {
        "train": managed(),
        "more": managed(),
        "shared": managed(sharing=SLICES),
        "mps": managed(sharing=MPS),
        "cut": managed(instance_types=["p5.48xlarge"], sharing=MIG),
        "fabric": managed(efa=True, zone="a"),
        "rocket": managed(os="bottlerocket", release="1.62.0-0a1b2c3d"),
    }

    @pytest.fixture(scope="class")
    def made(self) -> PretendAws:
        return up(lambda: GpuDevicePlugin("ml", pools=self.POOLS, kms_key_arn=KEY))

    def daemons(self, made: PretendAws) -> dict[str, dict[str, Any]]:
        return {
            each["metadata"]["name"]: each["spec"]["template"]["spec"]
            for each in made.inputs(kubernetes.apps.v1.DaemonSet).values()
        }

    def test_one_runs_for_each_way_of_sharing(self, made: PretendAws) -> None:
        assert {name: pod["nodeSelector"] for name, pod in self.daemons(made).items()} == {
            "nvidia-device-plugin-whole": {"nvidia.com/device-plugin.config": "whole"},
            "nvidia-device-plugin-time-slicing-4": {"nvidia.com/device-plugin.config": "time-slicing-4"},
            "nvidia-device-plugin-mps-8": {"nvidia.com/device-plugin.config": "mps-8"},
            "nvidia-mps-mps-8": {"nvidia.com/device-plugin.config": "mps-8"},
            "nvidia-device-plugin-mig-1g.10gb": {"nvidia.com/device-plugin.config": "mig-1g.10gb"},
            "aws-efa-k8s-device-plugin": {"vpc.amazonaws.com/efa.present": "true"},
        }

    def test_each_node_runs_the_one_that_its_label_names(self, made: PretendAws) -> None:
        plugins = [pod["nodeSelector"] for name, pod in self.daemons(made).items() if name.startswith("nvidia-device")]
        for name, declared in self.POOLS.items():
            fitting = [each for each in plugins if each.items() <= declared.labels(name).items()]
            assert len(fitting) == (0 if declared.os == "bottlerocket" else 1)

    def test_a_changed_configuration_starts_its_pods_anew(self) -> None:
        def mark(replicas: int) -> set[str]:
            sharing = {"kind": "time-slicing", "replicas": replicas}
            made = up(lambda: GpuDevicePlugin("ml", pools={"a": managed(sharing=sharing)}, kms_key_arn=KEY))
            [daemon] = made.inputs(kubernetes.apps.v1.DaemonSet).values()
            return set(daemon["spec"]["template"]["metadata"]["annotations"].values())

        assert mark(2) != mark(3)

    def test_comes_from_our_own_registry_and_tolerates_every_taint(self, made: PretendAws) -> None:
        for repository in made.inputs(aws.ecr.Repository).values():
            assert repository["imageTagMutability"] == "IMMUTABLE"
            assert repository["encryptionConfigurations"] == [{"encryptionType": "KMS", "kmsKey": KEY}]
        for pod in self.daemons(made).values():
            assert all(each["image"].startswith("registry/") for each in pod["containers"])
            assert pod["tolerations"] == [{"operator": "Exists"}]

    def test_says_how_its_images_are_copied(self) -> None:
        copies: list[str] = []

        def program() -> None:
            GpuDevicePlugin("ml", pools=self.POOLS, kms_key_arn=KEY).images.copies.apply(copies.extend)

        up(program)
        assert copies[0] == (
            "crane copy nvcr.io/nvidia/k8s-device-plugin:v0.20.0 registry/ml-devices-k8s-device-plugin:v0.20.0"
        )
        assert len(copies) == 2


class TestKarpenterPool:
    def test_training_is_never_disturbed(self) -> None:
        made = node_pool(scaled(training=True), "train")

        assert made["template"]["spec"]["expireAfter"] == "Never"
        assert "terminationGracePeriod" not in made["template"]["spec"]
        assert made["disruption"]["consolidationPolicy"] == "WhenEmpty"
        assert int(made["disruption"]["consolidateAfter"].removesuffix("m")) >= 10
        assert {"nodes": "0", "reasons": ["Drifted", "Underutilized"]} in made["disruption"]["budgets"]

    def test_has_a_hard_limit(self) -> None:
        assert node_pool(scaled(max_gpus=12), "train")["limits"] == {"nvidia.com/gpu": 12}

    def test_what_is_paid_for_is_used_first(self) -> None:
        reserved = scaled(instance_types=["g6e.48xlarge"], capacity="reservation", reservation=RESERVED)

        weights = [node_pool(each, "x")["weight"] for each in (reserved, scaled(capacity="spot"), scaled())]
        assert weights == sorted(weights, reverse=True) and len(set(weights)) == 3
        [kind] = [
            each["values"]
            for each in node_pool(reserved, "x")["template"]["spec"]["requirements"]
            if each["key"] == "karpenter.sh/capacity-type"
        ]
        assert kind == ["reserved"]

    def test_images_are_pinned(self) -> None:
        assert ami_alias(scaled(), VERSION) == "al2023@v20260714"
        assert ami_alias(scaled(release="1.35.6-20260625"), VERSION) == "al2023@v20260625"

    def test_fractions_of_gpus_are_announced(self) -> None:
        assert node_overlays(scaled(), "x") == {}
        [overlay] = node_overlays(scaled(instance_types=["g6f.xlarge", "g6f.2xlarge"]), "x").values()
        assert overlay["capacity"] == {"nvidia.com/gpu": 1}


class TestMetrics:
    POOLS: Mapping[str, GpuPool] = {
        "train": managed(),
        "cut": managed(instance_types=["p5.48xlarge"], sharing=MIG),
    }

    @pytest.fixture(scope="class")
    def made(self) -> PretendAws:
        return up(
            lambda: GpuMetrics("ml", pools=self.POOLS, cluster_name="ml", alerts_topic_arn=TOPIC, kms_key_arn=KEY)
        )

    def test_each_alarm_is_on_a_figure_that_is_exported_under_those_dimensions(self, made: PretendAws) -> None:
        [declared] = agent_configuration("ml")["logs"]["metrics_collected"]["prometheus"]["emf_processor"][
            "metric_declaration"
        ]
        [dimensions] = declared["dimensions"]
        labels = scrape_configuration("ml", "train")["scrape_configs"][0]["static_configs"][0]["labels"]
        assert set(dimensions) == labels.keys()
        for alarm in made.inputs(aws.cloudwatch.MetricAlarm).values():
            assert alarm["namespace"] == METRICS_NAMESPACE
            assert alarm["metricName"] in FIELDS
            assert alarm["dimensions"].keys() == set(dimensions)

    def test_faults_heat_and_idleness_of_each_pool_are_told(self, made: PretendAws) -> None:
        alarms = made.inputs(aws.cloudwatch.MetricAlarm)

        assert set(alarms) == {"ml-train-xid", "ml-train-hot", "ml-train-idle", "ml-cut-xid", "ml-cut-hot"}
        idle = alarms["ml-train-idle"]
        assert (idle["threshold"], idle["comparisonOperator"]) == (5, "LessThanThreshold")
        assert idle["period"] * idle["evaluationPeriods"] == 30 * 60
        assert all(each["treatMissingData"] == "notBreaching" for each in alarms.values())

    def test_an_exporter_watches_each_pool_without_any_right_on_the_node(self, made: PretendAws) -> None:
        daemons = made.inputs(kubernetes.apps.v1.DaemonSet)

        pods = [each["spec"]["template"]["spec"] for each in daemons.values()]
        assert {pod["nodeSelector"]["slipway/pool"] for pod in pods} == {"train", "cut"}
        for pod in pods:
            assert not any("hostPath" in volume for volume in pod["volumes"])
            assert all(each["securityContext"]["capabilities"] == {"drop": ["ALL"]} for each in pod["containers"])


class TestPolicies:
    def daemon(self, name: str, namespace: str = "kube-system", **pod: Any) -> dict[str, Any]:
        metadata = {"name": name, "namespace": namespace}
        return {"metadata": metadata, "spec": {"template": {"spec": {"containers": [], **pod}}}}

    def test_a_driver_does_what_it_must_and_nothing_else_does(self) -> None:
        privileged: dict[str, Any] = {"containers": [{"securityContext": {"privileged": True}}], "hostNetwork": True}
        kind = "kubernetes:apps/v1:DaemonSet"

        def refused(kind: str, pods: dict[str, Any]) -> bool:
            rules = ("k8s-no-privileged", "k8s-no-hostnetwork", "k8s-no-hostpid")
            return any(judge(rule, kind, pods).sentences for rule in rules)

        assert not refused(kind, self.daemon("aws-efa-k8s-device-plugin", **privileged))
        for other in (
            self.daemon("aws-efa-k8s-device-plugin", "default", **privileged),
            self.daemon("aws-efa-k8s-device-plugin-2", **privileged),
            self.daemon("aws-efa-k8s-device-plugin", **privileged, hostPID=True),
            self.daemon("gpu-metrics-train", **privileged),
        ):
            assert refused(kind, other)
        assert refused("kubernetes:apps/v1:Deployment", self.daemon("nvidia-mps-x", **privileged))

    def test_karpenter_s_nodes_are_priced_up_to_their_limit(self) -> None:
        nodes = resource(
            "kubernetes:karpenter.k8s.aws/v1:EC2NodeClass",
            "class",
            metadata={"name": "train"},
            spec={"blockDeviceMappings": [{"ebs": {"volumeSize": "200Gi"}}]},
        )
        declared = resource(NODE_POOL, "pool", metadata={"name": "train"}, spec=node_pool(scaled(max_gpus=11), "train"))

        instances, disks = sorted(estimate([nodes, declared]), key=lambda line: -line.ceiling_usd)
        assert (instances.floor_usd, disks.floor_usd) == (0, 0)
        assert instances.ceiling_usd == pytest.approx(2 * PRICES["instances"]["g6.12xlarge"]["usd"] * 730)
        assert disks.ceiling_usd == pytest.approx(400 * PRICES["prices"]["ebs-gp3"]["usd"])

    def test_a_pool_without_a_gpu_limit_has_no_price(self) -> None:
        declared = resource(NODE_POOL, "pool", spec={**node_pool(scaled(), "train"), "limits": {"cpu": 1000}})

        [(_, sentence)] = unpriced([declared])
        assert "limit nvidia.com/gpu" in str(sentence)


# --- in the rehearsal -------------------------------------------------------------------------------------------------

ALL: Mapping[str, GpuPool] = {
    "serve": managed(),
    "shared": managed(sharing=SLICES, os="bottlerocket", release="1.62.0-0a1b2c3d"),
    "block": block(reservation={**BLOCK, "ends": "2099-12-24T11:30:00Z"}),
    "fabric": managed(instance_types=["p4d.24xlarge"], efa=True, zone="a"),
    "train": scaled(training=True),
    "cheap": scaled(instance_types=["g6.xlarge", "g5.xlarge"], capacity="spot", max_gpus=4),
    "cut": scaled(instance_types=["p5.48xlarge"], sharing=MIG),
    "mps": scaled(sharing=MPS),
    "far": scaled(instance_types=["p4d.24xlarge"], efa=True, zone="b"),
}


def build(pools: Mapping[str, GpuPool]) -> None:
    """A platform's cluster and GPUs, as a stack composes them."""
    name = "gpus"
    key = Key(name, KeySpec(protect=False))
    network = Network(
        name, NetworkSpec.model_validate({"cidr": "10.9.0.0/16", "zones": ["a", "b"]}), kms_key_arn=key.arn
    )
    alerts = Alerts(name, AlertsSpec(emails=["us@example.com"]), kms_key_arn=key.arn)
    Budget(name, BudgetSpec(), usd_per_month=3_000_000, alerts_topic_arn=alerts.topic_arn)
    spec = ClusterSpec(
        version=VERSION,
        admins=[f"arn:aws:iam::{ACCOUNT}:role/platform-admin"],
        system_nodes=NodePool(instance_types=["t3.medium"], min_size=2, max_size=2),
        protect=False,
    )
    cluster = Cluster(name, spec, subnet_ids=network.private_subnet_ids, kms_key_arn=key.arn, developers={})
    ready = pulumi.ResourceOptions(depends_on=[cluster])
    inside = pulumi.ResourceOptions(providers=[kubernetes.Provider(name, kubeconfig=cluster.kubeconfig, opts=ready)])
    karpenter = Karpenter(name, cluster_name=cluster.name, kms_key_arn=key.arn, opts=inside)
    shared: dict[str, Any] = {
        "subnet_ids": network.private_subnet_ids,
        "zones": ["a", "b"],
        "kms_key_arn": key.arn,
        "kubernetes_version": VERSION,
        "vpc_id": network.vpc_id,
        "cluster_security_group_id": cluster.security_group_id,
    }
    for each, declared in pools.items():
        if declared.scaling == "karpenter":
            KarpenterPool(f"{name}-{each}", declared, pool=each, karpenter=karpenter, **shared, opts=inside)
        else:
            GpuNodeGroup(
                f"{name}-{each}",
                declared,
                pool=each,
                cluster_name=cluster.name,
                alerts_topic_arn=alerts.topic_arn,
                **shared,
                opts=ready,
            )
    GpuDevicePlugin(name, pools=pools, kms_key_arn=key.arn, opts=inside)
    GpuMetrics(
        name,
        pools=pools,
        cluster_name=cluster.name,
        alerts_topic_arn=alerts.topic_arn,
        kms_key_arn=key.arn,
        opts=inside,
    )


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
        "slipway:usd_per_month": "3000000",
    }
    return Settings("platform-local", "local", REGION, ACCOUNT, 3_000_000.0, tags, Program(), config)


def engine(work: Path, endpoint: str | None) -> tuple[Engine, KubernetesProvider]:
    inside = KubernetesProvider(work)
    made = Engine(
        work,
        {
            "aws": lambda settings: AwsProvider(settings.region, settings.account_id, settings.tags, endpoint),
            "kubernetes": lambda _: inside,
        },
    )
    return made, inside


def test_every_pack_passes_and_decides(tmp_path: Path) -> None:
    settings = stack(lambda: build(ALL))

    report = check([(settings, engine(tmp_path, None)[0].plan(settings))])

    assert [str(each) for each in report.violations if each.rule not in (*NOT_WITHOUT_A_STACK, *BY_ENVIRONMENT)] == []
    assert report.deferred == ()


def test_all_of_it_deploys_stays_and_goes_in_order(emulator: Emulator, user: User, tmp_path: Path) -> None:
    rehearsal, inside = engine(tmp_path, emulator.endpoint)
    settings = stack(lambda: build(ALL))

    rehearsal.up(settings)

    groups = user.eks.list_nodegroups(clusterName="gpus")["nodegroups"]
    assert len(groups) == 1 + sum(each.scaling == "managed" for each in ALL.values())
    cluster = user.eks.describe_cluster(name="gpus")["cluster"]["resourcesVpcConfig"]
    objects = {(each["kind"], each["metadata"]["name"]): each for each in inside.objects()}
    for name, declared in ALL.items():
        if declared.scaling == "karpenter":
            node_class = objects["EC2NodeClass", name]["spec"]
            assert objects["NodePool", name]["spec"]["limits"]["nvidia.com/gpu"] == declared.gpu_limit
            assert {"id": cluster["clusterSecurityGroupId"]} in node_class["securityGroupSelectorTerms"]
            assert len(node_class["subnetSelectorTerms"]) == (1 if declared.efa else 2)
    assert objects["EC2NodeClass", "far"]["spec"]["placementGroupSelector"] == {"name": "gpus-far"}
    places = {each["GroupName"] for each in user.ec2.describe_placement_groups()["PlacementGroups"]}
    assert places == {"gpus-fabric", "gpus-far"}
    assert {step.op for step in rehearsal.plan(settings).steps} == {"same"}

    rehearsal.down(settings)

    assert inside.objects() == []
    assert user.ec2.describe_placement_groups()["PlacementGroups"] == []


def test_the_warning_of_a_block_reaches_people_and_karpenter_hears_of_interruptions(
    emulator: Emulator, user: User, tmp_path: Path
) -> None:
    rehearsal, _ = engine(tmp_path, emulator.endpoint)
    settings = stack(lambda: build({"block": ALL["block"]}))
    rehearsal.up(settings)
    [topic] = [each["TopicArn"] for each in user.sns.list_topics()["Topics"] if ":gpus-" in each["TopicArn"]]
    inbox, inbox_arn = user.queue()
    user.sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=inbox_arn)

    assert user.ask("/_slipway/fire", {"schedule": "default/gpus-block-ends"}) == (200, {"fired": 1})

    warning = "The Capacity Block cr-0123456789abcdef0 of gpus-block ends at 2099-12-24 11:30 UTC"
    # Between its messages may be those of alarms that have just learned that all is well.
    until(lambda: warning in str(user.body(inbox)), "people are warned")
    user.events.put_events(
        Entries=[
            {
                "Source": "aws.ec2",
                "DetailType": "EC2 Spot Instance Interruption Warning",
                "Detail": json.dumps({"instance-id": "i-0123456789abcdef0", "instance-action": "terminate"}),
                "Time": datetime.now(UTC),
            }
        ]
    )
    queue = user.sqs.get_queue_url(QueueName="gpus-karpenter")["QueueUrl"]
    assert "i-0123456789abcdef0" in json.dumps(user.body(queue))
    rehearsal.down(settings)
