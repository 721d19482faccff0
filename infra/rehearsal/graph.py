"""What a run of a stack's program comes to: its resources, what is done about each, and what went wrong."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from infra.rehearsal.provider import Diff, Props

Op = Literal["same", "create", "update", "replace", "delete", "read"]


@dataclass(frozen=True, kw_only=True)
class Resource:
    """One registered resource. Inputs and outputs are open (no marks of secrets); `UNKNOWN` stands in a plan for what
    only a deployment will tell."""

    urn: str
    type: str
    name: str
    custom: bool
    id: str | None
    inputs: Props
    outputs: Props
    parent: str = ""
    provider: str = ""
    """`<urn>::<id>` of the provider resource that manages it."""
    dependencies: tuple[str, ...] = ()
    property_dependencies: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    protect: bool = False
    retain_on_delete: bool = False
    delete_before_replace: bool | None = None
    """None: as its provider says."""
    ignore_changes: tuple[str, ...] = ()
    replace_on_changes: tuple[str, ...] = ()
    additional_secret_outputs: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    deleted_with: str = ""
    custom_timeouts: Mapping[str, float] = field(default_factory=dict)
    """Seconds for `create`, `update` and `delete`."""


@dataclass(frozen=True)
class Step:
    """What is done about one resource, and why."""

    op: Op
    urn: str
    type: str
    name: str
    diff: Diff = Diff()  # noqa: RUF009  # Diff is frozen


@dataclass(frozen=True)
class Plan:
    """What a deployment would do."""

    stack: str
    resources: tuple[Resource, ...]
    """In the order in which the program registers them."""
    steps: tuple[Step, ...]
    outputs: Props
    """What the stack will export, with stand-ins and `UNKNOWN` for what only the deployment will tell."""


@dataclass(frozen=True)
class Result:
    """What a deployment did."""

    stack: str
    steps: tuple[Step, ...]
    outputs: Props
    """What the stack exports, secrets open."""
    secrets: frozenset[str]
    """The outputs not to be shown."""
    seconds: float
    resources: tuple[Resource, ...] = ()
    """As they are now, in the order in which the program registered them."""

    @property
    def counts(self) -> Mapping[Op, int]:
        """How many steps there were of each kind."""
        return Counter(step.op for step in self.steps)


@dataclass(frozen=True)
class Event:
    """Something that happened in a deployment, for showing progress."""

    kind: Literal["plan", "start", "done", "failed"]
    step: Step
    seconds: float = 0.0
    """How long the operation took."""
    error: str | None = None


class DeploymentError(Exception):
    """A program, a plan or a deployment failed: the text names each resource and says what was wrong with it."""


class Unsupported(DeploymentError):
    """A program asks for something that the rehearsal does not do."""


class Interrupted(DeploymentError):
    """Someone pressed Ctrl-C."""


class Refused(DeploymentError):
    """A resource breaks a policy, so that it was not deployed."""
