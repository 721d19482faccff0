"""What it takes to make a feature group what its schema says: in place, or not at all.

Feature Store can add features to a group, and change its time to live and its throughput
(https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_UpdateFeatureGroup.html). Everything else would need
another group, and its records with it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

Json = Mapping[str, Any]

MOST_ADDITIONS: Final = 100
"""Features that one UpdateFeatureGroup adds at most."""
ON_DEMAND: Final[Json] = {"ThroughputMode": "OnDemand"}


@dataclass(frozen=True)
class Shape:
    """What a feature group is made of."""

    record_id: str
    event_time: str
    kinds: Mapping[str, str]
    """Every column and its type, identifier and event time among them."""
    ttl: Json | None = None
    """`{"Unit": "Days", "Value": 30}`."""
    throughput: Json = field(default_factory=lambda: ON_DEMAND)
    """As CreateFeatureGroup takes it."""

    @classmethod
    def wanted(cls, schema: Json, throughput: Json | None = None) -> "Shape":
        """Of a schema, as `FeatureSchema.to_json` tells it."""
        ttl = schema["ttl"]
        own = {schema["record_id"]: "String", schema["event_time"]: schema["event_time_kind"]}
        return cls(
            record_id=schema["record_id"],
            event_time=schema["event_time"],
            kinds=own | {feature["name"]: feature["kind"] for feature in schema["features"]},
            ttl={"Unit": ttl["unit"], "Value": ttl["value"]} if ttl else None,
            throughput=throughput or ON_DEMAND,
        )

    @classmethod
    def described(cls, answer: Json) -> "Shape":
        """Of a group, as DescribeFeatureGroup answers."""
        return cls(
            record_id=answer["RecordIdentifierFeatureName"],
            event_time=answer["EventTimeFeatureName"],
            kinds={each["FeatureName"]: each["FeatureType"] for each in answer["FeatureDefinitions"]},
            ttl=answer.get("OnlineStoreConfig", {}).get("TtlDuration"),
            throughput=answer.get("ThroughputConfig") or ON_DEMAND,
        )


@dataclass(frozen=True)
class Changes:
    """What there is to do, or why it cannot be done."""

    additions: tuple[tuple[str, str], ...] = ()
    """Names and types."""
    ttl: Json | None = None
    throughput: Json | None = None
    breaking: tuple[str, ...] = ()
    """Sentences: what no update can do."""

    def calls(self) -> Iterator[dict[str, Any]]:
        """The parameters of each UpdateFeatureGroup, in order: it takes one kind of change at a time."""
        for start in range(0, len(self.additions), MOST_ADDITIONS):
            batch = self.additions[start : start + MOST_ADDITIONS]
            yield {"FeatureAdditions": [{"FeatureName": name, "FeatureType": kind} for name, kind in batch]}
        if self.ttl:
            yield {"OnlineStoreConfig": {"TtlDuration": dict(self.ttl)}}
        if self.throughput:
            yield {"ThroughputConfig": dict(self.throughput)}


def classify(old: Shape, new: Shape) -> Changes:
    """What makes the group that is `old` into `new`."""
    return Changes(
        additions=tuple((name, kind) for name, kind in new.kinds.items() if name not in old.kinds),
        ttl=new.ttl if new.ttl != old.ttl else None,
        throughput=new.throughput if new.throughput != old.throughput else None,
        breaking=tuple(_breaking(old, new)),
    )


def _breaking(old: Shape, new: Shape) -> Iterator[str]:
    for what, before, after in (
        ("the record identifier", old.record_id, new.record_id),
        ("the event time", old.event_time, new.event_time),
    ):
        if before != after:
            yield f"{what} is {before}, and cannot become {after}"
    for name, kind in old.kinds.items():
        if name not in new.kinds:
            if name not in (old.record_id, old.event_time):
                yield f"{name} cannot be taken away or renamed: stored records have it"
        elif new.kinds[name] != kind:
            yield f"{name} is {kind}, and cannot become {new.kinds[name]}"
    if old.ttl and not new.ttl:
        yield (
            f"the time to live of {old.ttl['Value']} {old.ttl['Unit'].lower()} can be changed, but not taken away: "
            "set a long one instead"
        )
