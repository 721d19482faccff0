"""JSON Schemas of stack YAMLs, by which an editor completes keys, shows what they are for, and marks what is wrong.

They are made of what `slipway` itself checks a YAML with (infra/settings.py): the specs and their docstrings. What only
a program can say (one value against another) is checked there alone. Draft 7, which editors know.
"""

import json
import os
import re
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Any, Final

from pydantic import BaseModel

from infra import docstrings
from infra.settings import BOUNDARY, ENVIRONMENTS, EXAMPLES, REGION, ROOT, TAGS
from infra.stack import Stack
from policies.cost.usage import Usage
from stacks import find, known
from stacks.product import Product

FOLDER: Final = ROOT / "stacks" / "schemas"
COMMON: Final = "product"
"""The schema that those of products refer to."""
DRAFT: Final = "http://json-schema.org/draft-07/schema#"
HEADER: Final = re.compile(r"^# yaml-language-server: \$schema=(\S+)$", re.MULTILINE)
"""The line by which a YAML names its schema, from its own folder."""
FILLED_IN: Final = {
    "registry": ("description", "card"),
    "pipeline": ("gate", "hyperparameters"),
    "release": ("gate",),
    "batch": ("gate",),
}
"""What a product says of itself where its YAML does not (stacks/product.py), so that no YAML has to."""


def stacks() -> list[str]:
    """The names under which YAMLs ask for a stack: those of stacks/ and of examples/."""
    return [*known(), *sorted(path.parent.name for path in EXAMPLES.glob("*/stack.py"))]


def made(names: Sequence[str] | None = None) -> dict[Path, str]:
    """Every schema that there is to be, by its file: of these stacks, or of all, and what products have in common."""
    documents = {name: document(name, find(name)) for name in (stacks() if names is None else names)}
    everything = {COMMON: _common(), **documents}
    return {FOLDER / f"{name}.json": text(told) for name, told in everything.items()}


def text(schema: Mapping[str, Any]) -> str:
    """A schema as its file has it."""
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


def stale() -> list[Path]:
    """The files that are not what the code makes now: others, or missing, or of no stack any more."""
    wanted = made()
    changed = [path for path, text in wanted.items() if not path.exists() or path.read_text("utf-8") != text]
    return [*changed, *sorted({*FOLDER.glob("*.json")} - {*wanted})]


def write() -> list[Path]:
    """Write every schema that is stale. Returns which."""
    wanted, found = made(), stale()
    FOLDER.mkdir(exist_ok=True)
    for path in found:
        if path in wanted:
            path.write_text(wanted[path], "utf-8")
        else:
            path.unlink()
    return found


def document(name: str, stack: type[Stack]) -> dict[str, Any]:
    """The schema of a whole YAML of a stack; a product that may be told what every product may is short."""
    description = docstrings.summary(stack)
    if issubclass(stack, Product) and stack.model_fields.keys() == Product.model_fields.keys():
        return product(name, description)
    return {"$schema": DRAFT, "title": _title(name), **_whole(stack, {"const": name, "description": description})}


def product(name: str, description: str) -> dict[str, Any]:
    """The schema of a product's YAMLs that may say what those of every product may."""
    own = {"properties": {"config": {"properties": {"slipway:stack": {"const": name, "description": description}}}}}
    return {"$schema": DRAFT, "title": _title(name), "allOf": [{"$ref": f"{COMMON}.json"}, own]}


def _common() -> dict[str, Any]:
    """What the YAMLs of all products may say."""
    said = {"type": "string", "description": "The product: stacks/<name>.py, or examples/<name>/stack.py."}
    return {"$schema": DRAFT, "title": "Pulumi.<product>-<environment>.yaml", **_whole(Product, said)}


def _title(name: str) -> str:
    return f"Pulumi.{name}-<environment>.yaml"


def _whole(stack: type[Stack], said: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of a whole YAML; `said` is that of its `slipway:stack`."""
    settings = stack.model_json_schema(ref_template="#/definitions/{model}")
    usage = Usage.model_json_schema(ref_template="#/definitions/{model}")
    definitions: dict[str, Any] = {**settings.pop("$defs", {}), **usage.pop("$defs", {})}
    every: list[type[BaseModel]] = [*_models(stack), stack, Usage]
    models = {each.__name__: each for each in every}
    for schema in _objects([definitions, settings, usage]):
        if schema.get("title") in models:
            _describe(schema, models[schema["title"]])
    if issubclass(stack, Product):
        _fill_in(settings, definitions)
    tags = {
        "type": "object",
        "properties": {tag: {"type": "string", "minLength": 1} for tag in TAGS}
        | {"environment": {"enum": list(ENVIRONMENTS)}},
        "required": list(TAGS),
        "additionalProperties": {"type": "string"},
    }
    config = {
        "aws:region": _text(REGION, "Where it is deployed: as stacks/environments.yaml says for the environment."),
        "aws:allowedAccountIds": {
            "type": "array",
            "items": _text(r"^\d{12}$", "12 digits, in quotes."),
            "minItems": 1,
            "maxItems": 1,
            "description": "The one account it may be deployed to.",
        },
        "aws:defaultTags": {
            "type": "object",
            "properties": {"tags": tags},
            "required": ["tags"],
            "description": "What every resource carries: who is asked, what it is for, where it runs, who pays.",
        },
        "slipway:stack": dict(said),
        "slipway:usd_per_month": {
            "type": "number",
            "exclusiveMinimum": 0,
            "description": "The budget of a month, in dollars.",
        },
        "slipway:permissions_boundary": _text(BOUNDARY, "The policy that bounds every role of the stack: its ARN."),
        "slipway:usage": usage | {"description": "What a month is expected to bring: expected costs come from it."},
        "slipway:settings": settings,
    }
    return {
        "type": "object",
        "properties": {
            "config": {
                "type": "object",
                "properties": config,
                "required": [each for each in config if each not in ("slipway:permissions_boundary", "slipway:usage")],
                # A provider may be told more; of ours, what is not above is misspelt.
                "patternProperties": {"^(?!slipway:)[A-Za-z][A-Za-z0-9_-]*:.+$": {}},
                "additionalProperties": False,
            }
        },
        "required": ["config"],
        "definitions": definitions,
    }


def _text(pattern: str, description: str) -> dict[str, Any]:
    return {"type": "string", "pattern": pattern, "description": description}


def _models(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """The models that a model's fields hold, and theirs."""
    seen: set[type[BaseModel]] = set()
    waiting: list[Any] = [each.annotation for each in model.model_fields.values()]
    while waiting:
        kind = waiting.pop()
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            if kind not in seen:
                seen.add(kind)
                yield kind
                waiting += kind.__subclasses__()
                waiting += [each.annotation for each in kind.model_fields.values()]
        else:
            waiting += _arguments(kind)


def _arguments(kind: Any) -> tuple[Any, ...]:
    alias = getattr(kind, "__value__", None)
    if alias is not None:
        return (alias,)
    is_generic = typing.get_origin(kind) is not None or isinstance(kind, UnionType)
    return typing.get_args(kind) if is_generic else ()


def _objects(place: Any) -> list[dict[str, Any]]:
    """Every schema of an object within; some are written out where they are used."""
    within = place.values() if isinstance(place, dict) else place if isinstance(place, list) else ()
    own = [place] if isinstance(place, dict) and isinstance(place.get("properties"), dict) else []
    return own + [found for each in within for found in _objects(each)]


def _describe(schema: dict[str, Any], model: type[BaseModel]) -> None:
    """Put a class's own words beside its keys, where an editor shows them; the class's titles say nothing."""
    schema.pop("title", None)
    if text := docstrings.summary(model):
        schema["description"] = text
    texts = docstrings.fields(model)
    for name, told in schema.get("properties", {}).items():
        told.pop("title", None)
        # Beside a `$ref`, draft 7 looks at nothing else.
        if name in texts and "$ref" not in told:
            told["description"] = texts[name]
        elif name in texts:
            schema["properties"][name] = {"allOf": [{"$ref": told.pop("$ref")}], **told, "description": texts[name]}


def _fill_in(settings: dict[str, Any], definitions: Mapping[str, Any]) -> None:
    """Require of a YAML nothing that the product's own class says."""
    for key, names in FILLED_IN.items():
        for definition in _definitions(settings["properties"][key], definitions):
            definition["required"] = [each for each in definition.get("required", ()) if each not in names]


def _definitions(schema: Any, definitions: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The definitions that a key's schema names."""
    if isinstance(schema, dict):
        if "$ref" in schema:
            yield definitions[schema["$ref"].rpartition("/")[2]]
        schema = [each for key, each in schema.items() if key in ("allOf", "anyOf", "oneOf")]
    if isinstance(schema, list):
        for each in schema:
            yield from _definitions(each, definitions)


def header(folder: Path, stack: str) -> str:
    """The line by which a YAML in `folder` names the schema of its stack."""
    return f"# yaml-language-server: $schema={Path(os.path.relpath(FOLDER / f'{stack}.json', folder)).as_posix()}"
