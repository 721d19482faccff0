"""Which GPUs an EC2 instance has, which driver they need, and which of EKS's images bring it.

Sizes: the EC2 API as Karpenter 1.14's reference of instance types lists it (2026-08-21). A fraction of a GPU (g6f,
gr6f) counts as one, as Kubernetes counts it. Partitions: NVIDIA's mig-parted (2026), of the RTX PRO 6000 recalled.
Drivers: awslabs/amazon-eks-ami, release v20260714; Bottlerocket's and the oldest that a GPU takes are recalled.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

Architecture = Literal["x86_64", "ARM_64"]
Os = Literal["al2023", "bottlerocket"]


@dataclass(frozen=True)
class Gpu:
    """A model of GPU."""

    name: str
    memory_gib: float
    oldest_driver: int
    """The oldest branch of NVIDIA's driver that knows it."""
    key: str = ""
    """What Bottlerocket calls it when it partitions it."""
    partitions: Mapping[str, int] = field(default_factory=dict)
    """MIG profiles, and how many of each one GPU holds."""


@dataclass(frozen=True)
class Instance:
    """An instance type."""

    gpu: Gpu
    gpus: int
    efas: int
    """Network cards with an EFA; 0: it has none."""
    local_disk_gb: int
    """NVMe disks of its own, in all."""
    architecture: Architecture
    fraction: bool
    """Whether its GPU is a part of one: EC2 counts none then."""


EIGHTY: Final = {"1g.10gb": 7, "1g.20gb": 4, "2g.20gb": 3, "3g.40gb": 2, "4g.40gb": 1, "7g.80gb": 1}

T4: Final = Gpu("T4", 16, 418)
T4G: Final = Gpu("T4G", 16, 470)
A10G: Final = Gpu("A10G", 24, 470)
L4: Final = Gpu("L4", 24, 525)
L40S: Final = Gpu("L40S", 48, 535)
RTX_4500: Final = Gpu("RTX PRO 4500", 32, 595)
RTX_6000: Final = Gpu("RTX PRO 6000", 96, 575, "rtxpro6000.96gb", {"1g.24gb": 4, "2g.48gb": 2, "4g.96gb": 1})
A100_40: Final = Gpu(
    "A100 40 GB",
    40,
    450,
    "a100.40gb",
    {"1g.5gb": 7, "1g.10gb": 4, "2g.10gb": 3, "3g.20gb": 2, "4g.20gb": 1, "7g.40gb": 1},
)
A100_80: Final = Gpu("A100 80 GB", 80, 470, "a100.80gb", EIGHTY)
H100: Final = Gpu("H100", 80, 525, "h100.80gb", EIGHTY)
H200: Final = Gpu(
    "H200",
    141,
    550,
    "h200.141gb",
    {"1g.18gb": 7, "1g.35gb": 4, "2g.35gb": 3, "3g.71gb": 2, "4g.71gb": 1, "7g.141gb": 1},
)
B200: Final = Gpu(
    "B200",
    180,
    570,
    "b200.180gb",
    {"1g.23gb": 7, "1g.45gb": 4, "2g.45gb": 3, "3g.90gb": 2, "4g.90gb": 1, "7g.180gb": 1},
)
B300: Final = Gpu(
    "B300",
    269,
    580,
    "b300.269gb",
    {"1g.34gb": 7, "1g.67gb": 4, "2g.67gb": 3, "3g.135gb": 2, "4g.135gb": 1, "7g.269gb": 1},
)

FAMILIES: Final[Mapping[str, tuple[Gpu, Mapping[str, tuple[int, int, int]]]]] = {
    "g4dn": (
        T4,
        {
            "xlarge": (1, 0, 125),
            "2xlarge": (1, 0, 225),
            "4xlarge": (1, 0, 225),
            "8xlarge": (1, 1, 900),
            "12xlarge": (4, 1, 900),
            "16xlarge": (1, 1, 900),
            "metal": (8, 1, 1800),
        },
    ),
    "g5": (
        A10G,
        {
            "xlarge": (1, 0, 250),
            "2xlarge": (1, 0, 450),
            "4xlarge": (1, 0, 600),
            "8xlarge": (1, 1, 900),
            "12xlarge": (4, 1, 3800),
            "16xlarge": (1, 1, 1900),
            "24xlarge": (4, 1, 3800),
            "48xlarge": (8, 1, 7600),
        },
    ),
    "g5g": (
        T4G,
        {
            "xlarge": (1, 0, 0),
            "2xlarge": (1, 0, 0),
            "4xlarge": (1, 0, 0),
            "8xlarge": (1, 0, 0),
            "16xlarge": (2, 0, 0),
            "metal": (2, 0, 0),
        },
    ),
    "g6": (
        L4,
        {
            "xlarge": (1, 0, 250),
            "2xlarge": (1, 0, 450),
            "4xlarge": (1, 0, 600),
            "8xlarge": (1, 1, 900),
            "12xlarge": (4, 1, 3760),
            "16xlarge": (1, 1, 1880),
            "24xlarge": (4, 1, 3760),
            "48xlarge": (8, 1, 7520),
        },
    ),
    "gr6": (L4, {"4xlarge": (1, 0, 600), "8xlarge": (1, 1, 900)}),
    "g6f": (L4, {"large": (1, 0, 100), "xlarge": (1, 0, 100), "2xlarge": (1, 0, 200), "4xlarge": (1, 0, 450)}),
    "gr6f": (L4, {"4xlarge": (1, 0, 450)}),
    "g6e": (
        L40S,
        {
            "xlarge": (1, 0, 250),
            "2xlarge": (1, 0, 450),
            "4xlarge": (1, 0, 600),
            "8xlarge": (1, 1, 900),
            "12xlarge": (4, 1, 3800),
            "16xlarge": (1, 1, 1900),
            "24xlarge": (4, 2, 3800),
            "48xlarge": (8, 4, 7600),
        },
    ),
    "g7": (
        RTX_4500,
        {
            "2xlarge": (1, 0, 440),
            "4xlarge": (1, 0, 875),
            "8xlarge": (1, 1, 930),
            "12xlarge": (2, 1, 1900),
            "24xlarge": (4, 1, 3800),
            "48xlarge": (8, 2, 7600),
        },
    ),
    "g7e": (
        RTX_6000,
        {
            "2xlarge": (1, 0, 1900),
            "4xlarge": (1, 0, 1900),
            "8xlarge": (1, 1, 1900),
            "12xlarge": (2, 1, 3800),
            "24xlarge": (4, 2, 7600),
            "48xlarge": (8, 4, 15200),
        },
    ),
    "p4d": (A100_40, {"24xlarge": (8, 4, 8000)}),
    "p4de": (A100_80, {"24xlarge": (8, 4, 8000)}),
    "p5": (H100, {"4xlarge": (1, 1, 3800), "48xlarge": (8, 32, 30400)}),
    "p5e": (H200, {"48xlarge": (8, 32, 30400)}),
    "p5en": (H200, {"48xlarge": (8, 16, 30400)}),
    "p6-b200": (B200, {"48xlarge": (8, 8, 30400)}),
    "p6-b300": (B300, {"48xlarge": (8, 16, 30400)}),
}
"""By family: the GPU, and by size how many of them, how many EFAs, and the local disks in GB."""

FRACTIONS: Final = "g6f", "gr6f"
ON_ARM: Final = ("g5g",)
IN_BLOCKS: Final = "p4d", "p4de", "p5", "p5e", "p5en", "p6-b200", "p6-b300"
"""The families that Capacity Blocks are sold of."""

DRIVERS: Final[Mapping[Os, int]] = {"al2023": 580, "bottlerocket": 580}
"""The branch of NVIDIA's driver in EKS's images."""

RELEASES: Final[Mapping[str, str]] = {"1.34": "1.34.9-20260714", "1.35": "1.35.6-20260714"}
"""For each version of Kubernetes, the release of EKS's AL2023 images that nodes start from unless told otherwise."""


def instance(instance_type: str) -> Instance:
    """What a type has. Raises ValueError for one that has no NVIDIA GPU, or that is not known here."""
    family, _, size = instance_type.partition(".")
    if family not in FAMILIES:
        raise ValueError(
            f"{instance_type}: no instance with NVIDIA GPUs that is known here: set for example g6.xlarge;"
            f" the families are {', '.join(FAMILIES)}"
        )
    gpu, sizes = FAMILIES[family]
    if size not in sizes:
        known = ", ".join(f"{family}.{each}" for each in sizes)
        raise ValueError(
            f"{instance_type}: unknown instance size: set one of {known}, or add it to components/gpu_instances.py"
        )
    gpus, efas, disk = sizes[size]
    return Instance(gpu, gpus, efas, disk, "ARM_64" if family in ON_ARM else "x86_64", family in FRACTIONS)
