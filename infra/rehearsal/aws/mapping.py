"""From Pulumi's property names to the parameters of AWS's calls, matched against botocore's own service models."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import jmespath
from botocore.model import ListShape, MapShape, Shape, StructureShape

from infra.rehearsal.provider import UNKNOWN, Props, ProviderError

ASIDE: Final = frozenset({"__defaults", "region", "tags", "tagsAll"})
"""Inputs that no row need care for: the provider itself does."""


class Values(Mapping[str, Any]):
    """A resource's inputs, and beside them what else is known of it.

    Looking up finds both; going through them gives the inputs alone, without tags. It notes what was asked for, so that
    an input that nobody asks for can be refused.
    """

    def __init__(self, inputs: Props, known: Mapping[str, Any]) -> None:
        self._inputs = {name: value for name, value in inputs.items() if value is not None}
        self.known = dict(known)
        self.used: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        if name in self._inputs:
            self.used.add(name)
            return self._inputs[name]
        return self.known[name]

    def __iter__(self) -> Iterator[str]:
        return (name for name in self._inputs if name not in ASIDE)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def parameters(shape: Shape, value: Any, rename: Mapping[str, str], path: str = "") -> Any:
    """`value`, in Pulumi's shape and names, as the call whose input is `shape` wants it.

    A name finds its member without regard to case, underscores and plural; `rename` lists the exceptions by path, such
    as `vpcConfig`. Raises ProviderError for a property that no member takes: nothing is dropped silently.
    """
    if value == UNKNOWN:
        return value
    if isinstance(shape, StructureShape):
        if isinstance(value, list) and len(value) <= 1:  # Pulumi has some single blocks as lists
            value = value[0] if value else {}
        if not isinstance(value, Mapping):
            raise ProviderError(f"{path}: expected a block, got {value!r}")
        return _structure(shape, value, rename, path)
    if isinstance(shape, ListShape):
        items = value if isinstance(value, list) else [value]
        return [parameters(shape.member, item, rename, path) for item in items]
    if isinstance(shape, MapShape):
        if not isinstance(value, Mapping):
            raise ProviderError(f"{path}: expected names and values, got {value!r}")
        return {key: parameters(shape.value, item, rename, path) for key, item in value.items()}
    return _scalar(shape.type_name, value, path)


def _structure(shape: StructureShape, value: Mapping[str, Any], rename: Mapping[str, str], path: str) -> Any:
    members = {plain(name): name for name in shape.members}
    result: dict[str, Any] = {}
    for key, item in value.items():
        if item is None:
            continue
        here = f"{path}.{key}" if path else key
        name = rename.get(here) or next((members[form] for form in forms(key) if form in members), None)
        if name is None:
            raise ProviderError(
                f"{here}: the rehearsal knows no parameter of {shape.name} for it. "
                "Map it in infra/rehearsal/aws/types.py, at the row of this type"
            )
        if name in result:
            raise ProviderError(f"{here}: {shape.name}.{name} is set by another property already")
        result[name] = parameters(shape.members[name], item, rename, here)
    return result


def plain(name: str) -> str:
    """A name without what APIs write differently."""
    return name.replace("_", "").lower()


def forms(name: str) -> tuple[str, ...]:
    """The spellings under which a member may be listed."""
    key = plain(name)
    singular = f"{key[:-3]}y" if key.endswith("ies") else key.removesuffix("s")
    return key, f"{key}s", singular, f"{key}es"


def _scalar(kind: str, value: Any, path: str) -> Any:
    try:
        if kind in ("integer", "long"):
            return int(float(value))
        if kind in ("float", "double"):
            return float(value)
    except (TypeError, ValueError):
        raise ProviderError(f"{path}: expected a number, got {value!r}") from None
    if kind == "boolean":
        if str(value).lower() not in ("true", "false"):
            raise ProviderError(f"{path}: expected true or false, got {value!r}")
        return str(value).lower() == "true"
    return as_text(value) if kind == "string" else value


def as_text(value: Any) -> str:
    """A value where AWS takes text."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, str) else json.dumps(value)


def fill(template: Any, values: Mapping[str, Any]) -> Any:
    """A template with `{name}` replaced by values; a text that is one `{name}` becomes the value itself.

    What is no template but a function makes the result itself. Raises KeyError for a name that has no value.
    """
    if callable(template):
        return template(values)
    if isinstance(template, Mapping):
        return {key: fill(item, values) for key, item in template.items()}
    if isinstance(template, list | tuple):
        return [fill(item, values) for item in template]
    if not isinstance(template, str):
        return template
    whole = re.fullmatch(r"\{(\w+)\}", template)
    return values[whole[1]] if whole else re.sub(r"\{(\w+)\}", lambda name: str(values[name[1]]), template)


def find(expression: str, response: Any) -> Any:
    """What a JMESPath expression finds in a response; None where there is nothing."""
    return jmespath.search(expression, response)
