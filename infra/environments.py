"""Where each environment is, and which version of the repository it runs: stacks/environments.yaml, read once."""

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Annotated, Final

import yaml
from pydantic import Field, StringConstraints, ValidationError, model_validator

from components.spec import Spec

FILE: Final = Path(__file__).parent.parent / "stacks" / "environments.yaml"
WHERE: Final = "stacks/environments.yaml"
PARTITIONS: Final = {"cn-": "aws-cn", "us-gov-": "aws-us-gov"}
"""https://docs.aws.amazon.com/whitepapers/latest/aws-fault-isolation-boundaries/partitions.html"""

Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=8)]


class EnvironmentsError(Exception):
    """stacks/environments.yaml is wrong: the text says at which key, and what it may be."""


class Deploys(Spec):
    """Whose CI may deploy an environment."""

    github: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][\w-]*(@\d+)?/[\w.-]+(@\d+)?$")] | None = None
    """`OWNER/REPOSITORY`, or with their ids `OWNER@1/REPOSITORY@2`, as GitHub names those made since 15 July 2026.

    Its jobs that run in the GitHub environment of the same name as ours.
    """
    gitlab: Annotated[str, StringConstraints(pattern=r"^[\w.-]+(/[\w.-]+)+$")] | None = None
    """`GROUP/PROJECT`: its jobs on protected branches, of the GitLab at `gitlab_host`."""
    gitlab_host: Annotated[str, StringConstraints(pattern=r"^[a-z0-9.-]+$")] = "gitlab.com"

    runner: Annotated[str, StringConstraints(pattern=r"^[\w.-]+$")] = "ubuntu-24.04"
    """The label of the runner whose jobs deploy. Clusters have no public endpoint: where a platform stack is deployed,
    it needs a way into its network, as a runner of your own in the VPC has."""

    @model_validator(mode="after")
    def _somebody(self) -> "Deploys":
        if not self.github and not self.gitlab:
            raise ValueError("set `github: OWNER/REPOSITORY` or `gitlab: GROUP/PROJECT`, or leave `deploys` out")
        return self


class Environment(Spec):
    """One environment: one account and region."""

    account: Annotated[str, StringConstraints(pattern=r"^\d{12}$")]
    """The AWS account, 12 digits in quotes."""
    region: Annotated[str, StringConstraints(pattern=r"^[a-z]{2}(-[a-z]+)+-\d$")]
    boundary: Annotated[str, StringConstraints(pattern=r"^[\w+=,.@-]+$")] | None = None
    """The policy of this account that bounds every role of its stacks: `slipway-boundary`, as bootstrap makes it."""
    version: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][\w./+-]*$")] | None = None
    """The tag, commit or branch of this repository that is deployed there; None: whatever is checked out."""
    deploys: Deploys | None = None
    """Whose CI may deploy it; None: people only."""
    differs: Mapping[str, Reason] = Field(default_factory=dict)
    """What is meant to differ from the environment before, and why: `<product>.<key>`, `*` for any one part."""

    @property
    def partition(self) -> str:
        """What the ARNs of its region begin with: `aws`, and elsewhere in China and for the US government."""
        return next((name for start, name in PARTITIONS.items() if self.region.startswith(start)), "aws")

    @property
    def boundary_arn(self) -> str | None:
        """The ARN of its boundary; None without one."""
        return f"arn:{self.partition}:iam::{self.account}:policy/{self.boundary}" if self.boundary else None

    def meant(self, key: str) -> str | None:
        """Why `key` (`employment.endpoint.max_instances`) is meant to differ from the environment before.

        None where it is not. An entry stands for its key and all below; the longest that fits is the one that counts.
        """
        parts = key.split(".")
        fitting = [entry for entry in self.differs if _covers(entry.split("."), parts)]
        return self.differs[max(fitting, key=lambda entry: (entry.count("."), -entry.count("*")))] if fitting else None


def _covers(entry: list[str], key: list[str]) -> bool:
    return len(entry) <= len(key) and all(fnmatchcase(part, pattern) for part, pattern in zip(key, entry, strict=False))


class _Document(Spec):
    environments: Annotated[Mapping[str, Environment], Field(min_length=1)]


@cache
def environments() -> Mapping[str, Environment]:
    """Every environment, in the order in which a change passes through them. Raises EnvironmentsError."""
    try:
        return read(FILE.read_text("utf-8"))
    except FileNotFoundError:
        raise EnvironmentsError(f"there is no {WHERE}: it names each environment's account and region") from None


def read(text: str) -> Mapping[str, Environment]:
    """The environments that a text of YAML names. Raises EnvironmentsError."""
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise EnvironmentsError(f"{WHERE}: not YAML: {error}") from None
    try:
        found = _Document.model_validate(document).environments
    except ValidationError as error:
        raise EnvironmentsError("\n".join(_faults(error))) from None
    for name in found:
        if not re.fullmatch(r"[a-z][a-z0-9]*", name):
            raise EnvironmentsError(f"{WHERE}, environments.{name}: a name is small letters and digits, such as qa")
    return found


def environment(name: str) -> Environment:
    """One environment. Raises EnvironmentsError where there is none of that name."""
    known = environments()
    if name not in known:
        raise EnvironmentsError(f"there is no environment {name!r}; {WHERE} names {', '.join(known)}")
    return known[name]


def before(name: str) -> str | None:
    """The environment from which a change comes to this one; None for the first. Raises EnvironmentsError."""
    environment(name)
    order = list(environments())
    at = order.index(name)
    return order[at - 1] if at else None


def _faults(error: ValidationError) -> list[str]:
    lines = []
    for fault in error.errors():
        path = ".".join(str(step) for step in fault["loc"]) or "environments"
        if fault["type"] == "extra_forbidden":
            said = "there is no such key"
        elif fault["type"] == "missing":
            said = "missing"
        else:
            said = f"{fault['msg'].removeprefix('Value error, ')}, got {fault['input']!r}"
        lines.append(f"{WHERE}, {path}: {said}")
    return lines
