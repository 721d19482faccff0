"""The picture of a stack, before it is drawn: boxes in lanes, frames round lanes, and arrows.

Boxes are what the recorded graph has, and an arrow is drawn only where it has a reference, one way or the other. Which
way the data or the deed goes is told by ARROWS: who refers to whom in a program says nothing of that.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final, Literal

from infra.report_page.graph import Graph, Part
from infra.report_page.parts import (
    ADDONS,
    GATEWAYS,
    KINDS,
    LANES,
    NETWORK,
    NODES,
    TEAMS,
    kind_of,
)
from policies.resource_types import SUBNET, VPC_ENDPOINT

Way = Literal["flow", "watch", "act"]
WAYS: Final[Mapping[Way, str]] = {"flow": "data and models", "watch": "is watched by", "act": "acts on"}
MONITORS: Final = ("DataMonitor", "QualityMonitor", "ServiceMonitor", "FreshnessMonitor", "SpendingMonitor")

ARROWS: Final[Mapping[tuple[str, str], tuple[Way, str]]] = {
    ("FeatureStore", "TrainingPipeline"): ("flow", "features as they were at the time of the label"),
    ("TrainingPipeline", "ModelRegistry"): ("flow", "versions that passed the gate"),
    ("ModelRegistry", "Release"): ("flow", "versions that were approved"),
    ("ModelRegistry", "BatchPrediction"): ("flow", "the newest version that was approved"),
    ("Release", "Endpoint"): ("flow", "the version that is live"),
    ("Endpoint", "PredictionApi"): ("flow", "answers"),
    ("Endpoint", "DataMonitor"): ("watch", "what it is asked and answers"),
    ("Endpoint", "QualityMonitor"): ("watch", "answers, held against labels"),
    ("Endpoint", "ServiceMonitor"): ("watch", "errors and latency"),
    ("FeatureStore", "FreshnessMonitor"): ("watch", "how old its newest records are"),
    ("TrainingPipeline", "SpendingMonitor"): ("watch", "what it spends"),
    ("Cluster", "SpendingMonitor"): ("watch", "what it spends"),
    ("Cluster", "GpuMetrics"): ("watch", "how the GPUs are"),
    **{(each, "Recovery"): ("act", "its alarms start it") for each in (*MONITORS, "Endpoint")},
    ("Recovery", "TrainingPipeline"): ("act", "trains again"),
    ("Recovery", "Release"): ("act", "goes back to the version before"),
    ("Recovery", "KillSwitch"): ("act", "stops what spends"),
    ("Budget", "KillSwitch"): ("act", "starts it when it is spent"),
    ("KillSwitch", "TrainingPipeline"): ("act", "stops it"),
    ("KillSwitch", "Cluster"): ("act", "stops new nodes"),
    ("Karpenter", "KarpenterPool"): ("act", "starts and stops its nodes"),
    ("Team", "Queues"): ("flow", "jobs"),
    ("Experiments", "DataLake"): ("flow", "runs and their files"),
}
"""(From, to): what goes there. For both ways of a pair that two components refer to each other by, the first counts."""


@dataclass(frozen=True)
class Box:
    """Something in the picture."""

    key: str
    title: str
    lines: tuple[str, ...] = ()
    anchor: str = ""
    """Where on the page more is told of it; '' where nothing is."""
    outside: bool = False
    """Whether it is no part of the stack: people, and what others deploy."""


@dataclass(frozen=True)
class Lane:
    """Boxes beside each other."""

    title: str
    boxes: tuple[Box, ...]
    frames: tuple[str, ...] = ()
    """What they lie in, the outermost first: lanes that follow each other share a frame of the same title."""


@dataclass(frozen=True)
class Arrow:
    """From one box to another."""

    start: str
    end: str
    way: Way
    what: str


@dataclass(frozen=True)
class Picture:
    """What is to be drawn."""

    title: str
    lanes: tuple[Lane, ...]
    arrows: tuple[Arrow, ...]

    def words(self) -> Iterator[str]:
        """The picture for whom it is read aloud to: a sentence for each lane, then one for each arrow."""
        titles = {box.key: box.title for lane in self.lanes for box in lane.boxes}
        for lane in self.lanes:
            within = f" (in {', in '.join(reversed(lane.frames))})" if lane.frames else ""
            boxes = "; ".join(f"{box.title}: {', '.join(box.lines)}" if box.lines else box.title for box in lane.boxes)
            yield f"{lane.title}{within}: {boxes}."
        for each in self.arrows:
            yield f"{titles[each.start]} → {titles[each.end]}: {each.what}."


def picture(found: Graph, stands_on: Sequence[str] = ()) -> Picture:
    """The picture of a stack. `stands_on` are the stacks whose outputs it reads."""
    by_lane: dict[str, list[Part]] = {}
    for part in found.parts:
        by_lane.setdefault(kind_of(part).lane, []).append(part)
    frames = _frames(found)
    lanes = []
    for title in LANES:
        boxes = [box for part in _ordered(by_lane.get(title, ())) for box in _boxes(part)]
        if title == LANES[0] and any("incoming_uri" in part.outputs for part in by_lane.get(title, ())):
            boxes.insert(0, Box("producers", "Producers", ("files of features",), outside=True))
        if title == _last_of(by_lane) and stands_on:
            boxes += [Box(f"stack {each}", each, ("network, key, lake, alerts",), outside=True) for each in stands_on]
        for number, part in [
            (boxes.index(box), part) for part in by_lane.get(title, ()) for box in boxes if box.key == part.urn
        ]:
            if part.kind == "PredictionApi":
                boxes.insert(number + 1, Box("applications", "Applications", _clients(part), outside=True))
        if boxes:
            lanes.append(Lane(title, tuple(boxes), frames.get(title, ())))
    return Picture(found.stack, tuple(lanes), tuple(_arrows(found, lanes)))


def _last_of(by_lane: Mapping[str, object]) -> str:
    return next(each for each in ("What they stand on", *reversed(LANES)) if each in by_lane)


def _ordered(parts: Sequence[Part]) -> list[Part]:
    """As the table of kinds has them; those that it lacks by name."""
    known = list(KINDS)
    return sorted(parts, key=lambda each: (known.index(each.kind) if each.kind in known else len(known), each.kind))


def _boxes(part: Part) -> Iterator[Box]:
    kind = kind_of(part)
    title = f"{kind.title} {_own(part)}" if kind.named else kind.title
    yield Box(part.urn, title, tuple(filter(None, kind.tells(part))), part.anchor)
    if part.kind == "Network":
        for subnet in part.of(SUBNET):
            zone = str(subnet.inputs.get("availabilityZone"))
            yield Box(subnet.urn, zone, (f"private, {subnet.inputs.get('cidrBlock')}",))
        ways = sorted(_service(str(each.inputs.get("serviceName", ""))) for each in part.of(VPC_ENDPOINT))
        if ways:
            yield Box(f"{part.urn} ways", f"{len(ways)} private ways", (f"to AWS: {_some(ways)}",))
        open_ = any(part.of(each) for each in GATEWAYS)
        yield Box(
            f"{part.urn} internet",
            "Internet",
            ("reached by a gateway" if open_ else "no way there, or back",),
            outside=True,
        )


def _own(part: Part) -> str:
    """What distinguishes it from others of its kind: `platform-prod-train` is train."""
    return part.name.split("-", 2)[-1] if part.kind != "Team" else part.name


def _service(name: str) -> str:
    return name.split(".", 3)[-1]


def _some(names: Sequence[str], most: int = 4) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _clients(api: Part) -> tuple[str, ...]:
    plans = api.of("aws:apigateway/usagePlan:UsagePlan")
    prefix = f"{api.name}-"
    return (_some([str(each.inputs.get("name", "")).removeprefix(prefix) for each in plans], 3),)


def _frames(found: Graph) -> dict[str, tuple[str, ...]]:
    """What the lanes of a platform lie in: the cluster's in the cluster, and that in the network."""
    networks = [each for each in found.parts if each.kind == "Network"]
    clusters = [each for each in found.parts if each.kind == "Cluster"]
    frames: dict[str, tuple[str, ...]] = {}
    if networks:
        vpc = "Private network " + "".join(line for line in list(kind_of(networks[0]).tells(networks[0]))[:1])
        frames[NETWORK] = (vpc,)
        if clusters and (clusters[0].urn, networks[0].urn) in found.uses:
            frames |= dict.fromkeys((NODES, TEAMS, ADDONS), (vpc, f"EKS cluster {clusters[0].name}"))
    return frames


def _arrows(found: Graph, lanes: Sequence[Lane]) -> Iterator[Arrow]:
    drawn = {box.key for lane in lanes for box in lane.boxes}
    pairs = {frozenset(each) for each in found.uses}
    for (start, end), (way, what) in ARROWS.items():
        for one in (each for each in found.parts if each.kind == start):
            for other in (each for each in found.parts if each.kind == end):
                if frozenset((one.urn, other.urn)) in pairs and {one.urn, other.urn} <= drawn:
                    yield Arrow(one.urn, other.urn, way, what)
    for key, kind, outward in (("producers", "FeatureStore", False), ("applications", "PredictionApi", True)):
        for part in (each for each in found.parts if each.kind == kind and key in drawn):
            ends = (part.urn, key) if outward else (key, part.urn)
            yield Arrow(*ends, "flow", "predictions" if outward else "files")


def counted(found: Graph) -> list[tuple[str, int]]:
    """How many resources there are of each type's service, the most first: `iam` 70."""
    services = sorted(each.type.split(":")[1].split("/")[0] for part in found.parts for each in part.resources)
    return sorted(((name, len(list(each))) for name, each in groupby(services)), key=lambda each: (-each[1], each[0]))
