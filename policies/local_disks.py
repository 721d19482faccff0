"""Which instance types have disks of their own. It imports nothing, so that components take it from here at no cost."""

from typing import Final

LOCAL_DISKS: Final = frozenset(
    {
        *("c5ad", "c5d", "c6gd", "c6id", "c7gd", "c8gd", "c8id", "c9gd", "d3", "d3en", "dl1", "f2", "hpc6id", "i3"),
        *("i3en", "i4g", "i4i", "i7i", "i7ie", "i8g", "i8ge", "im4gn", "is4gen", "z1d"),
        *("m5ad", "m5d", "m5dn", "m6gd", "m6id", "m6idn", "m7gd", "m8gd", "m8id", "m8idb", "m8idn", "m9gd"),
        *("r5ad", "r5d", "r5dn", "r6gd", "r6id", "r6idn", "r7gd", "r8gd", "r8id", "r8idb", "r8idn", "r9gd"),
        *("x2gd", "x2idn", "x2iedn", "x8aedz", "g4dn", "g5", "g6", "g6e", "g6f", "g7", "g7e", "gr6", "gr6f"),
        *("p3dn", "p4d", "p4de", "p5", "p5e", "p5en", "p6-b200", "p6-b300", "p6e-gb200"),
        *("trn1", "trn1n", "trn2", "trn2u"),
    }
)
"""Families whose disks are in the machine, and are encrypted by it: AWS refuses a volume key for their jobs, and does
not use one for their endpoints. The EC2 API's InstanceStorageSupported (2026-08), without families older than 2017,
whose disks are not encrypted. https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_ResourceConfig.html"""


def has_local_disks(instance_type: str) -> bool:
    """Whether an instance type such as `ml.g5.xlarge` has disks of its own, with keys of its own."""
    return instance_type.removeprefix("ml.").partition(".")[0] in LOCAL_DISKS
