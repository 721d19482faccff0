"""The kinds that charts bring into a cluster: their schemas, kept here with version and source, checked strictly.

Each `<kind>.json` beside this file is one CustomResourceDefinition, reduced to its structure by `__main__.py`;
`charts.json` has the names of the values that charts use.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Final, Literal

from jsonschema import Draft202012Validator, ValidationError
from jsonschema.exceptions import best_match
from jsonschema.validators import extend

from infra.rehearsal.kubernetes_crds.rules import RULES

FOLDER: Final = Path(__file__).parent
CHARTS: Final = FOLDER / "charts.json"
MAP_KEYS: Final = "x-kubernetes-list-map-keys"
INT_OR_STRING: Final = "x-kubernetes-int-or-string"
OPEN: Final = "x-kubernetes-preserve-unknown-fields"
STAND_IN: Final = "(known after up: "
KEPT: Final = (
    "enum",
    "format",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "required",
    "type",
)

How = Literal["templates", "crds"]
"""Where a chart has a definition: among its templates, or in the folder that `skipCrds` leaves out."""


@dataclass(frozen=True)
class Definition:
    """One kind in one version."""

    api_version: str
    kind: str
    namespaced: bool
    version: str
    """The release of the project that the schema is of."""
    source: str
    charts: Mapping[str, How]
    """The charts that bring it."""
    schema: Mapping[str, Any]

    def problem(self, manifest: Mapping[str, Any]) -> tuple[str, str] | None:
        """Where the API server would refuse it, and why; None where it would not.

        Stand-ins for what only a deployment can tell are let through.
        """
        errors = [each for each in self._validator.iter_errors(manifest) if not _stands_in(each)]
        if errors:
            worst = best_match(errors)
            return ".".join(map(str, worst.absolute_path)) or "the object", worst.message
        return next(iter(RULES.get(self.kind, _no_rules)(manifest)), None)

    @cached_property
    def _validator(self) -> Draft202012Validator:
        made: Draft202012Validator = _Validator(self.schema)
        return made


def definitions() -> Mapping[tuple[str, str], Definition]:
    """The kept definitions by apiVersion and kind."""
    return _kept()


@lru_cache
def _kept() -> Mapping[tuple[str, str], Definition]:
    found = [
        Definition(**json.loads(path.read_text("utf-8"))) for path in sorted(FOLDER.glob("*.json")) if path != CHARTS
    ]
    return {(each.api_version, each.kind): each for each in found}


def values_used(templates: Iterable[str]) -> list[str]:
    """The paths of the values that a chart's templates read."""
    return sorted({path for text in templates for path in re.findall(r"\.Values\.(\w+(?:\.\w+)*)", text)})


def unused_values(chart: str, values: Mapping[str, Any]) -> Iterator[str]:
    """The paths of values that no template of the chart reads: Helm takes them, and nothing happens.

    Nothing is said of a chart that is not kept.
    """
    kept = _charts().get(chart)
    if kept:
        yield from _unused(values, "", kept["values"])


@lru_cache
def _charts() -> Mapping[str, Any]:
    return dict(json.loads(CHARTS.read_text("utf-8")))


def _unused(values: Mapping[str, Any], above: str, used: Sequence[str]) -> Iterator[str]:
    for name, value in values.items():
        path = f"{above}{name}"
        if path in used:
            continue
        if isinstance(value, Mapping) and any(each.startswith(f"{path}.") for each in used):
            yield from _unused(value, f"{path}.", used)
        else:
            yield path


def reduced(crd: Mapping[str, Any], *, version: str, source: str, charts: Mapping[str, How]) -> Iterator[Definition]:
    """What a CustomResourceDefinition says of each version that it serves, without descriptions and defaults."""
    spec = crd["spec"]
    for each in spec["versions"]:
        if each["served"]:
            schema = _structure(each["schema"]["openAPIV3Schema"])
            schema["properties"] = {
                # What only the controller writes is refused; what all objects have is checked as theirs.
                **{name: of for name, of in schema.get("properties", {}).items() if name != "status"},
                **{name: {"type": "string"} for name in ("apiVersion", "kind")},
                "metadata": {"type": "object"},
            }
            yield Definition(
                f"{spec['group']}/{each['name']}",
                spec["names"]["kind"],
                spec["scope"] == "Namespaced",
                version,
                source,
                charts,
                schema,
            )


def _structure(node: Mapping[str, Any]) -> dict[str, Any]:
    """OpenAPI as a structural schema has it → JSON Schema that refuses unknown fields."""
    kept: dict[str, Any] = {key: node[key] for key in KEPT if key in node}
    if "pattern" in node:
        kept["pattern"] = re.sub(r"^\^\(\?i\)", "(?i)^", node["pattern"])  # Python wants flags first
    if node.get(INT_OR_STRING):
        kept["type"] = ["integer", "string"]
    if node.get("x-kubernetes-list-type") == "set":
        kept["uniqueItems"] = True
    if MAP_KEYS in node:
        kept[MAP_KEYS] = node[MAP_KEYS]
    if "items" in node:
        kept["items"] = _structure(node["items"])
    if "properties" in node:
        kept["properties"] = {name: _structure(of) for name, of in node["properties"].items()}
        kept["additionalProperties"] = bool(node.get(OPEN))
    if isinstance(node.get("additionalProperties"), Mapping):
        kept["additionalProperties"] = _structure(node["additionalProperties"])
    return kept


def _unique_by(validator: Any, keys: list[str], instance: Any, schema: Any) -> Iterator[ValidationError]:
    """A list that Kubernetes merges by keys has no two elements with the same ones."""
    seen: set[str] = set()
    for element in instance if isinstance(instance, list) else []:
        if isinstance(element, Mapping):
            values = json.dumps([element.get(key) for key in keys])
            if values in seen:
                yield ValidationError(f"two elements have the same {', '.join(keys)} {values}")
            seen.add(values)


_Validator: Final = extend(Draft202012Validator, {MAP_KEYS: _unique_by})  # type: ignore[no-untyped-call]  # jsonschema does not say


def _stands_in(error: ValidationError) -> bool:
    return isinstance(error.instance, str) and STAND_IN in error.instance


def _no_rules(_: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    return iter(())
