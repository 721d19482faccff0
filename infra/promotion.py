"""Which environments a push to the main branch deploys, and with which version: CI asks, on whichever host.

`python -m infra.promotion due --since COMMIT` lists them as JSON; `… credentials ENV deploy` exchanges CI's token for
AWS credentials, which it prints for a shell.
"""

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

import typer

from infra.bootstrap import SESSION_SECONDS, backend, place_of
from infra.environments import FILE, WHERE, Environment, EnvironmentsError, environment, environments, read
from infra.settings import ROOT, stack_names, stacks_of

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
NO_COMMIT = "0" * 40
"""What hosts call the commit before a branch's first."""


class PromotionError(Exception):
    """An environment's version is not in this clone: the text says what to set."""


@dataclass(frozen=True)
class Due:
    """An environment that is to be deployed."""

    environment: str
    version: str
    """As stacks/environments.yaml names it."""
    commit: str
    why: str
    stacks: str
    """Its stacks, each after those it needs, with spaces between."""
    region: str
    backend: str
    """Where Pulumi keeps its state."""
    runner: str
    """The label of what runs it."""


def due(repository: str, host: Literal["github", "gitlab"], since: str | None, only: str | None = None) -> list[Due]:
    """The environments that `repository`'s CI deploys because of what changed after the commit `since`.

    That is: their version, place or boundary, or the YAML of one of their stacks; or the version is a branch, which
    moved. Without `since`, or with `only` one, whatever changed. Raises EnvironmentsError and PromotionError.
    """
    before = _before(since)
    found = []
    for name, each in environments().items():
        if name == "local" or only not in (None, name) or not _may_deploy(each, repository, host) or not each.deploys:
            continue
        commit, is_branch = resolve(name, each)
        why = "asked for" if only or since is None else _why(name, each, before, since, is_branch)
        if why:
            place = place_of(name)
            stacks = [stack for stack in stacks_of([name]) if stack in stack_names()]
            where = (each.region, backend(place), each.deploys.runner)
            found.append(Due(name, each.version or commit, commit, why, " ".join(stacks), *where))
    return found


def _may_deploy(each: Environment, repository: str, host: str) -> bool:
    if each.deploys is None:
        return False
    named = (each.deploys.github if host == "github" else each.deploys.gitlab) or ""
    return "/".join(part.partition("@")[0] for part in named.split("/")).lower() == repository.lower()


def _before(since: str | None) -> Mapping[str, Environment]:
    """The environments as they were at `since`; none where nobody can say."""
    if since in (None, "", NO_COMMIT):
        return {}
    shown = _git("show", f"{since}:{FILE.relative_to(ROOT).as_posix()}")
    try:
        return read(shown) if shown else {}
    except EnvironmentsError:
        return {}


def _why(name: str, each: Environment, before: Mapping[str, Environment], since: str, is_branch: bool) -> str:
    reasons = []
    if is_branch:
        reasons.append(f"it follows {each.version}")
    if name not in before:
        reasons.append("it is new")
    else:
        was = before[name]
        reasons += [
            f"{key}: {getattr(was, key)} → {getattr(each, key)}"
            for key in ("version", "account", "region", "boundary")
            if getattr(was, key) != getattr(each, key)
        ]
        changed = _git("diff", "--name-only", since, "HEAD", "--", f"stacks/Pulumi.*-{name}.yaml")
        reasons += changed.split()
    return "; ".join(reasons)


def resolve(name: str, each: Environment) -> tuple[str, bool]:
    """The commit of an environment's version, and whether that is a branch. Raises PromotionError where it is neither.

    Without a version it is the commit that is checked out.
    """
    if each.version is None:
        return _git("rev-parse", "HEAD"), True
    for ref, is_branch in (
        (f"refs/tags/{each.version}", False),
        (f"refs/remotes/origin/{each.version}", True),
        (f"refs/heads/{each.version}", True),
        (each.version, False),
    ):
        if commit := _git("rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}"):
            return commit, is_branch
    raise PromotionError(
        f"{WHERE}, environments.{name}.version: {each.version} is neither a tag, a commit nor a branch of this "
        "repository: push the tag, or set one that is there"
    )


def _git(*arguments: str) -> str:
    """What git prints; '' where it refuses."""
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else ""


def exchanged(name: str, purpose: str, token: str, client: Any) -> Iterator[str]:
    """Lines for a shell: the credentials of the role `purpose` (`deploy` or `plan`), for a token of CI's host.

    They are asked for once, and last two hours: the host's token itself is good for minutes only.
    """
    place = place_of(name)
    given = client.assume_role_with_web_identity(
        RoleArn=place.iam(f"role/{place.role(purpose)}"),
        RoleSessionName=f"ci-{name}"[:64],
        WebIdentityToken=token,
        DurationSeconds=SESSION_SECONDS,
    )["Credentials"]
    yield f"export AWS_ACCESS_KEY_ID='{given['AccessKeyId']}'"
    yield f"export AWS_SECRET_ACCESS_KEY='{given['SecretAccessKey']}'"
    yield f"export AWS_SESSION_TOKEN='{given['SessionToken']}'"
    yield f"export AWS_REGION='{place.region}'"


@app.command("due")
def _due(
    repository: Annotated[str, typer.Option(help="OWNER/REPOSITORY or GROUP/PROJECT, whose CI asks.")],
    host: Annotated[Literal["github", "gitlab"], typer.Option(help="Where it is.")] = "github",
    since: Annotated[str | None, typer.Option(help="The commit that was pushed before.")] = None,
    only: Annotated[str | None, typer.Option(help="This environment, whatever changed.")] = None,
) -> None:
    """List, as JSON, what is to be deployed."""
    try:
        found = due(repository, host, since or None, only or None)
    except (EnvironmentsError, PromotionError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None
    print(json.dumps([asdict(each) for each in found]))


@app.command("credentials")
def _credentials(name: str, purpose: Literal["plan", "deploy"]) -> None:
    """Exchange the token in CI_TOKEN for AWS credentials, and print them for a shell."""
    import boto3
    from botocore import UNSIGNED
    from botocore.config import Config

    region = environment(name).region
    client = boto3.client("sts", region_name=region, config=Config(signature_version=UNSIGNED))
    for line in exchanged(name, purpose, os.environ["CI_TOKEN"], client):
        print(line)


if __name__ == "__main__":
    app()
