"""Property values as they stand on Pulumi's wire and in its state: JSON in which tags mark secrets and references."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from google.protobuf import struct_pb2

from infra.rehearsal.provider import UNKNOWN, Props

TAG: Final = "4dabf18193072939515e22adb298388d"
"""The key that gives an object a meaning of its own; this and the two below are Pulumi's, fixed in its protocol."""
SECRET: Final = "1b47061264138c4ac30d75fd1eb44270"
RESOURCE: Final = "5cf8f73096256a8f31e491e813e4eb8e"

Path = tuple[str | int, ...]


def from_struct(struct: struct_pb2.Struct) -> Props:
    """A message's properties as plain JSON. Whole numbers become integers: the wire knows only doubles."""
    return {key: _from_value(value) for key, value in struct.fields.items()}


def to_struct(properties: Mapping[str, Any]) -> struct_pb2.Struct:
    """The opposite of `from_struct`."""
    struct = struct_pb2.Struct()
    struct.update(properties)
    return struct


def _from_value(value: struct_pb2.Value) -> Any:
    match value.WhichOneof("kind"):
        case "struct_value":
            return from_struct(value.struct_value)
        case "list_value":
            return [_from_value(element) for element in value.list_value.values]
        case "number_value":
            return int(value.number_value) if value.number_value.is_integer() else value.number_value
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
    return None


def rebuild(value: Any, replace: Callable[[dict[str, Any]], Any]) -> Any:
    """`value` with every tagged object in it put through `replace`."""
    if isinstance(value, dict):
        if TAG in value:
            return replace(value)
        return {key: rebuild(element, replace) for key, element in value.items()}
    if isinstance(value, list):
        return [rebuild(element, replace) for element in value]
    return value


def is_secret(value: Any) -> bool:
    return isinstance(value, dict) and value.get(TAG) == SECRET


def secret(value: Any) -> Any:
    """`value`, marked secret."""
    return value if is_secret(value) else {TAG: SECRET, "value": value}


def opened(value: Any) -> Any:
    """`value` without the marks of secrecy."""

    def without_mark(tagged: dict[str, Any]) -> Any:
        if tagged[TAG] == SECRET:
            return opened(tagged.get("value"))
        return {key: opened(element) for key, element in tagged.items()}

    return rebuild(value, without_mark)


def without_references(value: Any) -> Any:
    """`value` with each resource in it as its id, a component as its URN: what a provider takes."""

    def lowered(tagged: dict[str, Any]) -> Any:
        if tagged[TAG] == RESOURCE:
            return tagged.get("id", tagged["urn"]) or UNKNOWN
        return {key: without_references(element) for key, element in tagged.items()}

    return rebuild(value, lowered)


def holds_secret(value: Any) -> bool:
    if isinstance(value, dict):
        return is_secret(value) or any(holds_secret(element) for element in value.values())
    return isinstance(value, list) and any(holds_secret(element) for element in value)


def holds_unknown(value: Any) -> bool:
    if isinstance(value, dict):
        return any(holds_unknown(element) for element in value.values())
    if isinstance(value, list):
        return any(holds_unknown(element) for element in value)
    return bool(value == UNKNOWN)


def with_secrets_of(values: Props, source: Mapping[str, Any]) -> Props:
    """`values` with everything marked secret that is secret in `source` under the same name."""
    marked = dict(values)
    for key, original in source.items():
        if key not in marked or not holds_secret(original):
            continue
        if isinstance(original, dict) and not is_secret(original) and isinstance(marked[key], dict):
            marked[key] = with_secrets_of(marked[key], original)
        else:
            marked[key] = secret(marked[key])
    return marked


_STEP = re.compile(r"""\.?([^.\[\]"]+)|\[(\d+|\*)\]|\["((?:[^"\\]|\\.)*)"\]""")


def parse_path(path: str) -> Path:
    """The steps of a property path, as Pulumi writes them: `a.b[0]["c.d"]`, `*` for every element.

    Raises ValueError for what is no path.
    """
    steps: list[str | int] = []
    position = 0
    while position < len(path):
        match = _STEP.match(path, position)
        if not match:
            raise ValueError(f'{path!r} is no property path; write it as a.b[0]["c.d"]')
        name, index, quoted = match.groups()
        if name is not None:
            steps.append(name)
        elif index is not None:
            steps.append(index if index == "*" else int(index))
        else:
            steps.append(quoted.replace('\\"', '"'))
        position = match.end()
    return tuple(steps)


def from_path(value: Any, path: str) -> Any:
    """What stands at a path without `*`; None where nothing does, `UNKNOWN` where it is in what is not known."""
    for step in parse_path(path):
        if value == UNKNOWN:
            return UNKNOWN
        if isinstance(value, Mapping):
            value = value.get(str(step))
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            value = value[step]
        else:
            return None
    return value


def covers(pattern: Path, path: Path) -> bool:
    """Whether a change at `path` is a change of what `pattern` names, which may hold `*`."""
    return all(a in ("*", b) for a, b in zip(pattern, path, strict=False))


def keeping(new: Props, old: Props, paths: Iterable[str]) -> Props:
    """`new`, but with what stands in `old` at each of `paths`."""
    for path in paths:
        new = _keep(new, old, parse_path(path))
    return new


_MISSING: Final = object()


def _keep(new: Any, old: Any, path: Path) -> Any:
    if not path:
        return old
    if is_secret(new) or is_secret(old):
        kept = _keep(new["value"] if is_secret(new) else new, old["value"] if is_secret(old) else old, path)
        return secret(kept)
    step, rest = path[0], path[1:]
    if isinstance(new, dict) and isinstance(old, dict | None):
        return _keep_in_object(new, old or {}, str(step), rest)
    if isinstance(new, list) and isinstance(old, list):
        return _keep_in_list(new, old, step, rest)
    return new


def _keep_in_object(new: dict[str, Any], old: dict[str, Any], step: str, rest: Path) -> dict[str, Any]:
    result = dict(new)
    for key in {**new, **old} if step == "*" else (step,):
        if not rest:
            value = old.get(key, _MISSING)
        elif key in new:
            value = _keep(new[key], old.get(key), rest)
        else:
            continue
        if value is _MISSING:
            result.pop(key, None)
        else:
            result[key] = value
    return result


def _keep_in_list(new: list[Any], old: Sequence[Any], step: str | int, rest: Path) -> list[Any]:
    result = list(new)
    for index in range(min(len(new), len(old))) if step == "*" else (step,):
        if isinstance(index, int) and index < min(len(new), len(old)):
            result[index] = _keep(new[index], old[index], rest)
    return result
