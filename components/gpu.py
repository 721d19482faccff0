"""GPU pools as a stack's YAML declares them, and what follows for nodes, device plugin, Karpenter and quotas."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Literal, TypedDict

from pydantic import (
    AwareDatetime,
    Field,
    NonNegativeInt,
    PositiveInt,
    StringConstraints,
    field_validator,
    model_validator,
)

from components.gpu_instances import DRIVERS, IN_BLOCKS, Instance, Os, instance
from components.network import ZoneLetter
from components.spec import Spec

GPU = "nvidia.com/gpu"
"""A whole GPU, as pods ask for it."""
SHARED_GPU = "nvidia.com/gpu.shared"
"""A share of one: under a name of its own, so that no quota of whole GPUs pays for shares, or the other way round."""
EFA = "vpc.amazonaws.com/efa"
GPU_LABEL = "nvidia.com/gpu.present"
POOL_LABEL = "slipway/pool"
PLUGIN_LABEL = "nvidia.com/device-plugin.config"
"""On each node: the configuration its device plugin runs with."""
EFA_LABEL = "vpc.amazonaws.com/efa.present"

BLOCK_LIMIT = 64
"""Instances in one Capacity Block. https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-capacity-blocks.html"""
GROUP_LIMIT = 450
"""Nodes in one managed node group. https://docs.aws.amazon.com/eks/latest/userguide/service-quotas.html"""
MPS_LIMIT = 48
"""Clients of one GPU with MPS. https://docs.nvidia.com/deploy/mps/"""
ROOT_GIB = 200
"""A root volume that also holds images with CUDA: tens of GiB each."""
WEIGHTS = {"capacity-block": 90, "reservation": 90, "spot": 50, "on-demand": 10}
"""Of the pools that fit a pod Karpenter takes the heaviest: what is paid for anyway, then what is cheap."""

Capacity = Literal["on-demand", "spot", "reservation", "capacity-block"]
Profile = Annotated[str, StringConstraints(pattern=r"^\dg\.\d{1,3}gb$")]
Release = Annotated[str, StringConstraints(pattern=r"^(1\.\d\d\.\d{1,2}-20\d{6}|1\.\d{2,3}\.\d{1,2}-[0-9a-f]{8})$")]
ReservationId = Annotated[str, StringConstraints(pattern=r"^cr-[0-9a-f]{8,17}$")]


class Taint(TypedDict):
    """A taint as Kubernetes writes it."""

    key: str
    value: str
    effect: Literal["NoSchedule"]


class GpuSharing(Spec):
    """How pods share one GPU. Everything else about it follows: device plugin, labels, Karpenter, quotas."""

    kind: Literal["mig", "time-slicing", "mps"]
    """`mig`: hardware partitions, with memory and faults apart; `mps`: at the same time, with memory limits;
    `time-slicing`: by turns, without any limit on memory."""
    profile: Profile | None = None
    """For `mig`: every GPU is cut into as many of these as it holds, such as `1g.10gb`."""
    replicas: int | None = Field(default=None, ge=2, le=MPS_LIMIT)
    """For `time-slicing` and `mps`: shares of each GPU."""

    @model_validator(mode="after")
    def _profile_or_replicas(self) -> "GpuSharing":
        if self.kind == "mig" and (self.profile is None or self.replicas is not None):
            raise ValueError("MIG cuts by profile: set profile, such as 1g.10gb, and no replicas")
        if self.kind != "mig" and (self.replicas is None or self.profile is not None):
            raise ValueError(f"{self.kind} shares by number: set replicas, such as 4, and no profile")
        return self

    @property
    def resource(self) -> str:
        """What pods ask for."""
        return f"nvidia.com/mig-{self.profile}" if self.kind == "mig" else SHARED_GPU

    @property
    def label(self) -> str:
        """The device plugin's configuration: `mig-1g.10gb`, `time-slicing-4`."""
        return f"{self.kind}-{self.profile or self.replicas}"

    def units_per_gpu(self, of: Instance) -> int:
        """How many pods one GPU of an instance serves. Raises ValueError where it cannot be partitioned so."""
        if self.replicas is not None:
            return self.replicas
        profile = str(self.profile)
        if of.fraction or profile not in of.gpu.partitions:
            able = ", ".join(of.gpu.partitions) if not of.fraction else ""
            raise ValueError(
                f"a GPU of type {of.gpu.name} has no MIG profile {profile}: "
                + (f"set one of {able}" if able else "set time-slicing or mps, or instances with A100 or newer GPUs")
            )
        return of.gpu.partitions[profile]


class Reservation(Spec):
    """Capacity that is paid for: an on-demand capacity reservation, or a Capacity Block."""

    id: ReservationId
    """Its id in EC2: `cr-…`."""
    instance_type: str
    """The type that it is for."""
    instances: PositiveInt
    """How many instances it holds."""
    zone: ZoneLetter
    """By letter, as the network's zones. Letters are each account's own: ask in the account that uses it."""
    ends: AwareDatetime | None = None
    """When a Capacity Block ends, such as 2026-12-01T11:30:00Z. EC2 terminates its instances 30 minutes earlier."""


class GpuPool(Spec):
    """Nodes with GPUs: of which kind, how many at most, and how they are bought."""

    instance_types: list[str] = Field(min_length=1, max_length=20)
    """The first that can be had is used; EKS takes up to 20."""
    scaling: Literal["managed", "karpenter"] = "managed"
    """`managed`: a node group of fixed bounds; `karpenter`: from zero, a node for each pod that waits for one."""
    capacity: Capacity = "on-demand"
    """Spot is cheaper by far, and may be taken away with two minutes' notice."""
    reservation: Reservation | None = None
    """What it runs in, where `capacity` is `reservation` or `capacity-block`."""
    min_size: NonNegativeInt = 0
    """Nodes of a managed group."""
    max_size: PositiveInt | None = Field(default=None, le=GROUP_LIMIT)
    """Nodes of a managed group; with a reservation: all of it unless set."""
    max_gpus: PositiveInt | None = None
    """The most GPUs the pool may ever have. Required for Karpenter, which knows no other limit."""
    training: bool = False
    """Whether jobs run here that must not be moved: no node goes while one runs on it."""
    sharing: GpuSharing | None = None
    """None: each pod has whole GPUs."""
    efa: bool = False
    """Whether nodes talk to each other by Elastic Fabric Adapter, close to each other in one zone."""
    zone: ZoneLetter | None = None
    """The one zone of the nodes, by letter; None: all of the network's."""
    os: Os = "al2023"
    """Bottlerocket has no shell and updates as a whole."""
    release: Release | None = None
    """The release of EKS's image: `1.35.6-20260714`, of Bottlerocket `1.62.0-0a1b2c3d`. None, for AL2023: the one that
    components/gpu_instances.py names for the cluster's version."""
    disk_gib: int = Field(default=ROOT_GIB, ge=100, le=16384)
    """The root volume. Where instances have no disks of their own it holds the images too, and below 200 fills up."""

    @field_validator("instance_types")
    @classmethod
    def _known(cls, types: list[str]) -> list[str]:
        if len({instance(each).architecture for each in types}) > 1:
            raise ValueError("some of these have x86 processors, others Arm ones, and one image fits only one kind")
        if len(set(types)) < len(types):
            raise ValueError("each type counts once: set different ones")
        return types

    @model_validator(mode="after")
    def _driver_fits(self) -> "GpuPool":
        driver = DRIVERS[self.os]
        for each in self.instance_types:
            gpu = instance(each).gpu
            if gpu.oldest_driver > driver:
                raise ValueError(
                    f"{each} needs NVIDIA's driver {gpu.oldest_driver} or newer, and the {self.os} image has {driver}:"
                    " set instances of another family until EKS's image has it"
                )
        if self.os == "bottlerocket" and self.release is None:
            raise ValueError("which Bottlerocket? set release, such as 1.62.0-0a1b2c3d")
        if self.release and (self.os == "al2023") != bool(re.search(r"-20\d{6}$", self.release)):
            raise ValueError(f"release {self.release} is not one of {self.os}'s")
        if self.disk_gib < ROOT_GIB and not all(instance(each).local_disk_gb for each in self.instance_types):
            raise ValueError(
                f"disk_gib is {self.disk_gib}, and some instance has no disk of its own for images:"
                f" set {ROOT_GIB} or more"
            )
        return self

    @model_validator(mode="after")
    def _reserved_as_reserved(self) -> "GpuPool":
        reserved = self.reservation
        if self.capacity not in ("reservation", "capacity-block"):
            if reserved:
                raise ValueError("with a reservation, set capacity: reservation, or capacity-block")
            return self
        if reserved is None:
            raise ValueError(f"capacity {self.capacity} needs reservation: its id, instance_type, instances and zone")
        if self.instance_types != [reserved.instance_type]:
            raise ValueError(f"instance_types: set [{reserved.instance_type}], for nothing else is reserved")
        if self.zone not in (None, reserved.zone):
            raise ValueError(f"zone: leave it out, or set {reserved.zone}, where the reservation is")
        if self.capacity == "capacity-block":
            if reserved.ends is None:
                raise ValueError("reservation.ends: set when the Capacity Block ends, for its nodes end before it")
            if reserved.instance_type.partition(".")[0] not in IN_BLOCKS:
                raise ValueError(f"Capacity Blocks are sold of {', '.join(IN_BLOCKS)}: set one of these")
            if reserved.instances > BLOCK_LIMIT:
                raise ValueError(f"reservation.instances: a Capacity Block has {BLOCK_LIMIT} at most")
            if self.scaling == "managed" and {self.min_size, self.max_size} - {0, None, reserved.instances}:
                raise ValueError(
                    f"min_size, max_size: leave them out; a Capacity Block has {reserved.instances} instances"
                )
        elif reserved.ends is not None:
            raise ValueError("reservation.ends: leave it out, only a Capacity Block ends by itself")
        if self.scaling == "managed" and (self.max_size or 0) > reserved.instances:
            raise ValueError(f"max_size {self.max_size} is above the {reserved.instances} reserved instances")
        return self

    @model_validator(mode="after")
    def _limited(self) -> "GpuPool":
        if self.scaling == "karpenter":
            if self.min_size or self.max_size:
                raise ValueError("min_size, max_size: leave them out with Karpenter; max_gpus is its limit")
            if self.max_gpus is None and self.reservation is None:
                raise ValueError("max_gpus: set the most GPUs Karpenter may ever start")
            most = self._gpus_per_node
            if self.max_gpus is not None and self.max_gpus < most:
                raise ValueError(f"max_gpus {self.max_gpus} is below the {most} GPUs of one node: raise it")
        elif self.max_size is None and self.reservation is None:
            raise ValueError("max_size: set the most nodes the group may have")
        elif self.min_size > self.nodes_limit:
            raise ValueError(
                f"min_size {self.min_size} is above max_size {self.nodes_limit}: raise one or lower the other"
            )
        elif self.max_gpus is not None and self._gpus_unless_limited > self.max_gpus:
            raise ValueError(
                f"max_size {self.nodes_limit} of up to {self._gpus_per_node} GPUs each makes"
                f" {self._gpus_unless_limited}, above max_gpus {self.max_gpus}: lower max_size or raise max_gpus"
            )
        if self.reservation and (self.max_gpus or 0) > self._gpus_unless_limited:
            raise ValueError(f"max_gpus {self.max_gpus} is above the {self._gpus_unless_limited} reserved GPUs")
        return self

    @model_validator(mode="after")
    def _training_undisturbed(self) -> "GpuPool":
        if self.training and self.capacity == "spot":
            raise ValueError("spot takes nodes from running jobs: set training: false, or another capacity")
        return self

    @model_validator(mode="after")
    def _efa_fits(self) -> "GpuPool":
        if not self.efa:
            return self
        if len(self.instance_types) > 1:
            raise ValueError("efa: set one instance type, for each has network cards of its own")
        [only] = self.instance_types
        if not instance(only).efas:
            raise ValueError(f"efa: {only} has no Elastic Fabric Adapter: set a larger size, or efa: false")
        if self.in_zone is None:
            raise ValueError("efa: set zone, for nodes that are close to each other are in one")
        return self

    @model_validator(mode="after")
    def _shareable(self) -> "GpuPool":
        if self.sharing:
            if len({self.sharing.units_per_gpu(instance(each)) for each in self.instance_types}) > 1:
                raise ValueError("sharing: these instances' GPUs hold different numbers of partitions: set one kind")
            if self.sharing.kind == "mps" and self.os == "bottlerocket":
                raise ValueError("sharing: mps here runs on al2023 only: set os: al2023, or time-slicing")
            if self.efa:
                raise ValueError("sharing: jobs that span nodes need whole GPUs: set efa: false, or no sharing")
        return self

    # --- what follows -----------------------------------------------------------------------------------------------

    @property
    def in_zone(self) -> str | None:
        """The letter of the one zone that the nodes are in, if they are in one."""
        return self.reservation.zone if self.reservation else self.zone

    @property
    def ends(self) -> datetime | None:
        """When the capacity is over."""
        return self.reservation.ends if self.reservation else None

    @property
    def instances(self) -> dict[str, Instance]:
        """Its instance types."""
        return {each: instance(each) for each in self.instance_types}

    @property
    def nodes_limit(self) -> int:
        """The most nodes of a managed group."""
        return self.max_size or (self.reservation.instances if self.reservation else 0)

    @property
    def nodes_at_least(self) -> int:
        """The fewest nodes of a managed group: of a Capacity Block all, for it is paid whole."""
        return self.nodes_limit if self.capacity == "capacity-block" else self.min_size

    @property
    def _gpus_per_node(self) -> int:
        return max(each.gpus for each in self.instances.values())

    @property
    def _gpus_unless_limited(self) -> int:
        return self.nodes_limit * self._gpus_per_node

    @property
    def gpu_limit(self) -> int:
        """The most GPUs the pool can ever have."""
        if self.scaling == "karpenter":
            return self.max_gpus or self._gpus_unless_limited
        return self._gpus_unless_limited

    @property
    def resource(self) -> str:
        """What pods ask for: `nvidia.com/gpu`, `nvidia.com/gpu.shared`, `nvidia.com/mig-1g.10gb`."""
        return self.sharing.resource if self.sharing else GPU

    @property
    def units_per_gpu(self) -> int:
        """How many of `resource` one GPU makes."""
        return self.sharing.units_per_gpu(instance(self.instance_types[0])) if self.sharing else 1

    def units_per_node(self, instance_type: str) -> int:
        """How many of `resource` one node of a type offers."""
        return instance(instance_type).gpus * self.units_per_gpu

    @property
    def max_units(self) -> int:
        """The most of `resource` that the pool can ever offer: what queues may hand out."""
        return self.gpu_limit * self.units_per_gpu

    @property
    def efas_per_node(self) -> int:
        """How many `vpc.amazonaws.com/efa` one node offers."""
        return instance(self.instance_types[0]).efas if self.efa else 0

    def labels(self, pool_name: str) -> dict[str, str]:
        """The labels of its nodes."""
        return {
            GPU_LABEL: "true",
            POOL_LABEL: pool_name,
            **({EFA_LABEL: "true"} if self.efa else {}),
            # Bottlerocket runs the plugin itself: a second one would fight with it over the same sockets.
            **({PLUGIN_LABEL: self.plugin} if self.os == "al2023" else {}),
            **(
                {"nvidia.com/mig.config": f"all-{self.sharing.profile}", "nvidia.com/mig.strategy": "mixed"}
                if self.sharing and self.sharing.kind == "mig"
                else {}
            ),
        }

    @property
    def plugin(self) -> str:
        """The name of the device plugin's configuration that the nodes run."""
        return self.sharing.label if self.sharing else "whole"

    @property
    def taints(self) -> list[Taint]:
        """Keep away pods that ask for no GPU. EKS lets those through that ask for the resource which the key names."""
        return [{"key": self.resource, "value": "true", "effect": "NoSchedule"}]

    @property
    def ami_type(self) -> str:
        """EKS's name of the image."""
        architecture = instance(self.instance_types[0]).architecture
        return f"{'AL2023' if self.os == 'al2023' else 'BOTTLEROCKET'}_{architecture}_NVIDIA"

    @property
    def weight(self) -> int:
        """Among Karpenter's pools: the heaviest that fits a pod is used."""
        return WEIGHTS[self.capacity]


def check_pools(pools: Mapping[str, GpuPool], *, zones: Sequence[str], version: str) -> None:
    """Raises ValueError for a pool that does not fit the network's zones, the cluster's version, or another pool."""
    owners: dict[str, str] = {}
    for name, pool in pools.items():
        if pool.in_zone is not None and pool.in_zone not in zones:
            raise ValueError(f"pool {name}, zone {pool.in_zone}: the network is in {', '.join(zones)}")
        if pool.os == "al2023" and pool.release and not pool.release.startswith(f"{version}."):
            of = ".".join(pool.release.split(".")[:2])
            raise ValueError(f"pool {name}, release {pool.release} is of Kubernetes {of}: set one of {version}")
        if pool.reservation:
            if pool.reservation.id in owners:
                owner = owners[pool.reservation.id]
                raise ValueError(f"pool {name}, reservation.id: {pool.reservation.id} is pool {owner}'s already")
            owners[pool.reservation.id] = name
