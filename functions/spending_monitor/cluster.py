"""What a cluster's nodes are now, what they cost, and which of its GPUs nobody uses.

Each pool has an alarm of its own on GPUs that are hardly used (components/gpu_metrics.py). That one sees nothing where
the driver tells no utilisation, which is so with partitions (MIG), and where nothing is told at all: so this looks.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from functions.running import pages
from functions.spending_monitor.core import Prices, Spender
from functions.spending_monitor.metrics import Series, highest

NAMESPACE: Final = "Slipway/Gpu"
USED: Final = "DCGM_FI_DEV_GPU_UTIL"
IN_MEMORY: Final = "DCGM_FI_DEV_FB_USED"
IDLE_PERCENT: Final = 5.0
IDLE_MIB: Final = 512.0
"""A program that computes holds more memory: a CUDA context alone takes some hundred MiB."""


class Cluster:
    """The nodes of one EKS cluster."""

    def __init__(
        self, ec2: Any, cloudwatch: Any, prices: Prices, *, name: str, pools: Mapping[str, Mapping[str, Any]]
    ) -> None:
        """`pools` are those with GPUs: whether `partitioned`."""
        self._ec2, self._cloudwatch, self._prices = ec2, cloudwatch, prices
        self._name, self._pools = name, pools

    def spenders(self, now: datetime, idle_after: timedelta) -> list[Spender]:
        """The nodes that run, by pool, and which pools' GPUs nobody has used for so long."""
        found = list(self._nodes())
        grown = {
            each.name for each in found if each.name in self._pools and each.since and now - each.since >= idle_after
        }
        figures = {(pool, figure): self._figure(pool, figure) for pool in sorted(grown) for figure in (USED, IN_MEMORY)}
        most = highest(self._cloudwatch, list(figures.values()), now - idle_after, now, stat="Maximum")
        hours = f"{idle_after.total_seconds() / 3600:g} hours"
        return [
            self._judged(each, {of: most.get(figures[each.name, of]) for of in (USED, IN_MEMORY)}, hours)
            if each.name in grown
            else each
            for each in found
        ]

    def _nodes(self) -> Iterator[Spender]:
        """A pool's nodes of one type together, since the oldest of them runs."""
        count: Counter[tuple[str, str, bool]] = Counter()
        since: dict[tuple[str, str, bool], datetime] = {}
        wanted = [
            # EKS gives it to the nodes of managed groups, and Karpenter to its own.
            {"Name": "tag-key", "Values": [f"kubernetes.io/cluster/{self._name}"]},
            {"Name": "instance-state-name", "Values": ["running"]},
        ]
        for reservation in pages(self._ec2, "describe_instances", "Reservations", Filters=wanted):
            for each in reservation["Instances"]:
                tags = {tag["Key"]: tag["Value"] for tag in each.get("Tags", ())}
                # Launch templates and node classes name nodes after cluster and pool.
                pool = tags.get("Name", "unnamed").removeprefix(f"{self._name}-")
                key = pool, each["InstanceType"], each.get("InstanceLifecycle") == "spot"
                count[key] += 1
                since[key] = min(since.get(key, each["LaunchTime"]), each["LaunchTime"])
        for (pool, kind, spot), number in sorted(count.items()):
            yield Spender.of("pool", pool, kind, number, self._prices, spot=spot, since=since[pool, kind, spot])

    def _figure(self, pool: str, name: str) -> Series:
        return Series(NAMESPACE, name, (("ClusterName", self._name), ("Pool", pool)))

    def _judged(self, pool: Spender, most: Mapping[str, float | None], hours: str) -> Spender:
        used, in_memory = most[USED], most[IN_MEMORY]
        if used is not None:
            idle = used < IDLE_PERCENT
            return replace(pool, idle=f"no GPU was busy in {hours}", idle_is_told=True) if idle else pool
        if in_memory is None:
            return replace(pool, idle=f"nothing was told of its GPUs in {hours}: nobody sees whether they are used")
        if self._pools[pool.name]["partitioned"] and in_memory < IDLE_MIB:
            return replace(pool, idle=f"no program had memory of its GPUs in {hours}")
        return pool
