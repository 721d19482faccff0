"""What is deployed of a stack, from its state: `pulumi stack export`, or the rehearsal's, which has the same form."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from policies.rules import UNKNOWN, Declared, DeclaredResource

STATE: Final = "SLIPWAY_DEPLOYED_STATE"
"""The variable that names states for the pack, divided as PATH is: files, or folders with `<stack>.json` of several."""
SECRET: Final = "4dabf18193072939515e22adb298388d"
"""Marks a value of a state that is not plain: https://pkg.go.dev/github.com/pulumi/pulumi/sdk/v3/go/common/resource"""


class NoState(Exception):
    """There is no such state, or it is none."""


def read_state(path: Path) -> tuple[DeclaredResource, ...]:
    """The resources of a state. Raises NoState."""
    try:
        return resources_of(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise NoState(
            f"{path} is no state: write one with `pulumi stack export --file {path.name}` ({error})"
        ) from None


def resources_of(state: Mapping[str, Any]) -> tuple[DeclaredResource, ...]:
    """The resources in Pulumi's deployment format, without those that wait to be deleted. Raises KeyError."""
    return tuple(
        DeclaredResource(
            each["type"],
            each["urn"].rpartition("::")[2],
            each["urn"],
            _plain(each.get("inputs") or {}),
            bool(each.get("protect")),
            {key: tuple(urns or ()) for key, urns in (each.get("propertyDependencies") or {}).items()},
        )
        for each in state["deployment"]["resources"]
        if not each.get("delete")
    )


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return UNKNOWN if SECRET in value else {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list) else value


@contextmanager
def held_against(states: Sequence[Path]) -> Iterator[None]:
    """Name these states for the pack, while it judges in this process; those that the caller named, where none is."""
    before = os.environ.get(STATE)
    if states:
        os.environ[STATE] = os.pathsep.join(map(str, states))
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(STATE, None)
        else:
            os.environ[STATE] = before


def deployed_before(resources: Sequence[Declared]) -> tuple[DeclaredResource, ...] | None:
    """What is deployed of the judged stack, where a state is named; None where none is. Raises NoState."""
    stack = next((_stack(each) for each in resources), "")
    for named in filter(None, os.environ.get(STATE, "").split(os.pathsep)):
        path = Path(named)
        if path.is_dir():
            path = path / f"{stack}.json"
            if not path.exists():
                continue  # the first deployment
        found = read_state(path)
        if found and _stack(found[0]) == stack:
            return found
    return None


def _stack(resource: Declared) -> str:
    return resource.urn.removeprefix("urn:pulumi:").partition("::")[0]
