"""What the packs hold every stack to, beyond what each YAML says: `policies/limits.yaml`, which no product writes."""

from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any, Final

import pulumi
import yaml
from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

FILE = Path(__file__).with_name("limits.yaml")


ANY_TEAM: Final = "*"


class TeamLimits(BaseModel):
    """What one team may spend, and hold, over everything that carries its tag `owner`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    usd_per_month: Mapping[str, NonNegativeFloat]
    """By environment; an environment that is not here has none."""
    gpus: Mapping[str, NonNegativeInt] = {}
    """At the largest size, by environment."""


class Increase(BaseModel):
    """By how much a change may raise what a stack costs at most: refused where it is more than both."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    usd: NonNegativeFloat
    percent: NonNegativeFloat


class CostLimits(BaseModel):
    """What the cost pack holds every stack to. Sizes that only a deployment will know are priced at these limits."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    instances: Mapping[str, tuple[str, ...]]
    """Instance types by environment, `m5.*` for a family, without `ml.`: SageMaker's are those of EC2."""
    teams: Mapping[str, TeamLimits]
    """By the tag `owner`; `*` is every team that is not named."""
    increase: Increase
    max_nodes: PositiveInt
    always_on_gpus: Mapping[str, NonNegativeInt]
    max_endpoint_instances: PositiveInt
    serverless_concurrency: PositiveInt
    serverless_provisioned: NonNegativeInt
    serverless_memory_mb: PositiveInt
    training_hours: PositiveFloat
    tuning_jobs: PositiveInt
    keep_alive_seconds: NonNegativeInt
    idle_minutes: PositiveInt
    disk_gib: PositiveInt
    feature_capacity_units: PositiveInt
    in_memory_feature_groups: tuple[str, ...]
    table_capacity_units: PositiveInt
    function_memory_mb: PositiveInt
    function_seconds: PositiveInt
    function_provisioned: NonNegativeInt

    def allowed(self, environment: str) -> Callable[[str], bool]:
        """Whether an instance type may run in an environment. The dearest (p, trn) only by their whole name."""
        patterns = self.instances.get(environment, ())

        def is_allowed(instance_type: str) -> bool:
            name = instance_type.removeprefix("ml.")
            if name.startswith(("p", "trn")):
                return name in patterns
            return any(fnmatchcase(name, pattern) for pattern in patterns)

        return is_allowed

    def team(self, owner: str) -> TeamLimits | None:
        """What a team is held to; None where it may spend nothing."""
        return self.teams.get(owner) or self.teams.get(ANY_TEAM)


class Limits(BaseModel):
    """The file's keys. An unknown one is refused, so that a misspelled limit is not taken for none."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cost: CostLimits

    # Exposure.
    image_registries: tuple[str, ...] = ()
    """Hosts of registries that images may come from, beside the account's own; `*` stands for any text."""
    model_data: tuple[str, ...] = ()
    """Where the artifacts of models may lie, as S3 URIs; `*` stands for any text."""
    cluster_admins: tuple[str, ...] = ()
    """ARNs of roles that may administer a whole cluster; `*` stands for any text."""
    open_ports: tuple[int, ...] = ()
    """Ports that a security group may open to the whole Internet."""
    endpoints: tuple[str, ...] = ()
    """AWS services that a network with a cluster or with models has to reach without the Internet, as the last part of
    their endpoints' names."""

    # Encryption and reliability.
    kms_keys: tuple[str, ...] = ()
    """ARNs of keys of other accounts that stacks may encrypt with."""
    key_deletion_days: int = Field(default=14, ge=7, le=30)
    """The least that a deleted key of production can be called back for."""
    production_log_days: PositiveInt = 365
    """The least that logs of production are kept."""
    short_logs: tuple[str, ...] = ()
    """Names of log groups that may go sooner; `*` stands for any text."""

    # Identity.
    trusted_accounts: tuple[str, ...] = ()
    """Accounts that policies of resources may let in beside the stack's own."""
    permissions_boundary: str | Mapping[str, str] | None = None
    """The policy that has to bound every role, as its name or its ARN; by environment, or one for all. Where none is
    named, none is asked for."""

    def boundary_in(self, environment: str) -> str | None:
        """The policy that has to bound every role of an environment."""
        named = self.permissions_boundary
        return named.get(environment) if isinstance(named, Mapping) else named


@cache
def limits() -> Limits:
    """The limits, read once. Raises pydantic.ValidationError, which names the key."""
    return Limits.model_validate(yaml.safe_load(FILE.read_text("utf-8")) or {})


def environment() -> str:
    """The environment of the stack that is judged, as its tags say: local, dev, staging or prod."""
    tags: Any = (pulumi.Config("aws").get_object("defaultTags") or {}).get("tags", {})
    return str(tags.get("environment", "prod"))  # where nothing is said, the strictest


def is_production() -> bool:
    """Whether the stack that is judged serves customers."""
    return environment() == "prod"
