"""From Pulumi's property names to the parameters of AWS's calls, matched against botocore's own service models."""

import json
import re
from collections.abc import Mapping
from typing import Any

import jmespath
from botocore.model import ListShape, MapShape, Shape, StructureShape

from infra.rehearsal.provider import ProviderError


def parameters(shape: Shape, value: Any, rename: Mapping[str, str], path: str = "") -> Any:
    """`value`, in Pulumi's shape and names, as the call whose input is `shape` wants it.

    A name finds its member without regard to case, underscores and plural; `rename` lists the exceptions by path, such
    as `vpcConfig`. Raises ProviderError for a property that no member takes: nothing is dropped silently.
    """
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
        return {key: parameters(shape.value, item, rename, path) for key, item in value.items()}
    return _scalar(shape.type_name, value)


def _structure(shape: StructureShape, value: Mapping[str, Any], rename: Mapping[str, str], path: str) -> Any:
    members = {plain(name): name for name in shape.members}
    result = {}
    for key, item in value.items():
        here = f"{path}.{key}" if path else key
        name = rename.get(here)
        if name is None:
            found = next((members[form] for form in forms(key) if form in members), None)
            if found is None:
                raise ProviderError(
                    f"{here}: the rehearsal knows no parameter of {shape.name} for it. "
                    "Map it in infra/rehearsal/aws/types.py, at the row of this type"
                )
            name = found
        if name:
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


def _scalar(kind: str, value: Any) -> Any:
    if kind in ("integer", "long"):
        return int(float(value))
    if kind in ("float", "double"):
        return float(value)
    if kind == "boolean":
        return value in (True, "true")
    if kind == "string":
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, float) and value.is_integer():
            return str(int(value))
        return value if isinstance(value, str) else json.dumps(value) if isinstance(value, dict | list) else str(value)
    return value


def fill(template: Any, values: Mapping[str, Any]) -> Any:
    """A template with `{name}` replaced by values; a text that is one `{name}` becomes the value itself.

    Raises KeyError for a name that has no value.
    """
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
