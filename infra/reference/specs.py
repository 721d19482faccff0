"""What YAML may say, key by key: from the pydantic models that check it."""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from pydantic import BaseModel

from infra.docstrings import fields, summary
from infra.reference.markdown import code, either, prose, table

LONGEST_DEFAULT: Final = 60
MOST_CHOICES: Final = 8
COLUMNS: Final = ("key", "takes", "default", "what it is")
Link = Callable[[str], str]
"""From a model's name to the Markdown that leads to it."""


def keys(model: type[BaseModel], link: Link) -> str:
    """The table of a model's keys."""
    schema = model.model_json_schema()
    texts, required = fields(model), schema.get("required", ())
    return table(
        COLUMNS,
        (
            (
                code(name),
                _takes(found, link),
                "**required**" if name in required else _default(found.get("default")),
                prose(texts.get(name) or _of_its_type(model, name)),
            )
            for name, found in schema.get("properties", {}).items()
        ),
    )


def _of_its_type(model: type[BaseModel], name: str) -> str:
    """What a key is, where that stands in the model that it takes."""
    for each in nested(model.model_fields[name].annotation):
        return summary(each)
    return ""


def nested(annotation: Any) -> list[type[BaseModel]]:
    """The models that an annotation names, wherever in it."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for each in getattr(annotation, "__args__", ()) for found in nested(each)]


def _default(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, Mapping) and value:
        return "its own"
    text = json.dumps(value) if not isinstance(value, str) else value
    return code(text) if 0 < len(text) <= LONGEST_DEFAULT else "its own"


def _takes(found: Mapping[str, Any], link: Link) -> str:
    """A JSON Schema in words."""
    if "$ref" in found:
        return link(found["$ref"].rpartition("/")[2])
    if "allOf" in found:
        return _takes(found["allOf"][0], link)
    if "anyOf" in found:
        return either(list(dict.fromkeys(_takes(each, link) for each in found["anyOf"] if each.get("type") != "null")))
    if "const" in found:
        return code(str(found["const"]))
    if "enum" in found:
        choices = [code(str(each)) for each in found["enum"]]
        return either(choices if len(choices) <= MOST_CHOICES else [*choices[:4], "…", choices[-1]])
    kind = found.get("type")
    if kind == "array":
        return f"list of {_takes(found.get('items', {}), link)}{_counted(found, 'minItems', 'maxItems')}"
    if kind == "object":
        patterns: Mapping[str, Any] = found.get("patternProperties", {})
        by_name = found.get("additionalProperties") or next(iter(patterns.values()), None)
        inner = _takes(by_name, link) if isinstance(by_name, Mapping) else "anything"
        return f"{inner} by name{_counted(found, 'minProperties', 'maxProperties')}"
    if kind in ("integer", "number"):
        return ("whole number" if kind == "integer" else "number") + _bounds(found)
    if kind == "boolean":
        return "true or false"
    return "text" + (f" of the form {code(found['pattern'])}" if "pattern" in found else "")


def _counted(found: Mapping[str, Any], least: str, most: str) -> str:
    low, high = found.get(least), found.get(most)
    if low and high:
        return f", {low} to {high}"
    return f", {low} or more" if low else f", {high} at most" if high else ""


def _bounds(found: Mapping[str, Any]) -> str:
    low, high = found.get("minimum"), found.get("maximum")
    above, below = found.get("exclusiveMinimum"), found.get("exclusiveMaximum")
    if low is not None and high is not None:
        return f", {low:g} to {high:g}"
    words = [
        f"{low:g} or more" if low is not None else "",
        f"above {above:g}" if above is not None else "",
        f"{high:g} at most" if high is not None else "",
        f"below {below:g}" if below is not None else "",
    ]
    told = " and ".join(each for each in words if each)
    return f", {told}" if told else ""
