"""How to change a feature group's schema where no update can: beside it, step by step, with every record kept."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


def group_name(name: str, version: int) -> str:
    """What version `version` of the feature group `name` is called."""
    return name if version == 1 else f"{name}-v{version}"


@dataclass(frozen=True)
class Step:
    """One step of a migration."""

    title: str
    do: Sequence[str]
    """What to do, in order. Lines that begin with `$ ` are commands."""


@dataclass(frozen=True)
class Migration:
    """From one version of a feature group to the next."""

    group: str
    successor: str
    reasons: Sequence[str]
    """What the present version cannot become."""
    steps: Sequence[Step]

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    def __str__(self) -> str:
        lines = [
            f"the feature group {self.group} cannot be changed like this, and nothing was done:",
            *(f"  - {reason}" for reason in self.reasons),
            f"Undo the change, or move to a new version, {self.successor}, which loses no record:",
        ]
        for number, step in enumerate(self.steps, 1):
            lines.append(f"  {number}. {step.title}")
            lines += [f"       {line}" for line in step.do]
        return "\n".join(lines)


def migration(*, name: str, version: int, product: str, stack: str, reasons: Sequence[str]) -> Migration:
    """The way from version `version` of the group `name` to the next one.

    `product` is the schema's name: `functions/<product>/features.py` has it. `stack` is the Pulumi stack.
    """
    group, successor, following = group_name(name, version), group_name(name, version + 1), version + 1
    file, settings, up = f"functions/{product}/features.py", f"stacks/Pulumi.{stack}.yaml", f"$ pulumi up -s {stack}"
    return Migration(
        group=group,
        successor=successor,
        reasons=tuple(reasons),
        steps=(
            Step(
                "Dual write: both versions get every row that comes in.",
                (
                    f"In {file}: PREVIOUS is the schema as it is deployed; the new SCHEMA has version={following}.",
                    f"In {settings}: set features.version to {version}, for that is what is still read.",
                    up,
                    "Let producers send the columns of both versions; what fits only one goes to that one.",
                ),
            ),
            Step(
                f"Backfill: copy what {group} has stored to {successor}.",
                (
                    f"$ slipway features backfill {stack} --from {version} --to {following}",
                    "For a renamed feature add --rename OLD=NEW. Rows that do not fit are listed, and left out.",
                ),
            ),
            Step(
                f"Cut over: readers are told of {successor}.",
                (f"In {settings}: set features.version to {following}.", up, "Train and release a model on it."),
            ),
            Step(
                f"Retire {group}, once nobody reads it: first its protection goes, then its online store.",
                (
                    f"In {settings}: set features.retire_previous to true.",
                    up,
                    f"In {file}: set PREVIOUS to None. In {settings}: take features.retire_previous away.",
                    up,
                    "Its offline records stay in the data lake.",
                ),
            ),
        ),
    )
