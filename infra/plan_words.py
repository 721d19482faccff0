"""How a plan calls things: components and resources in words, and values that change in short."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final

from infra.changes import Changed, Value
from policies.rules import UNKNOWN, kind

NAMED: Final = 3
"""Resources that are named where more of their kind are made or changed alike, and rights that are named of each."""
ROWS: Final = 5
"""Of each list, without `--full`."""
WIDTH: Final = 60
"""Characters of a value that are shown, without `--full`."""
ABBREVIATIONS: Final = frozenset({"Api", "Aws", "Ecr", "Efa", "Eip", "Eks", "Gpu", "Iam", "Kms", "Sns", "Sqs", "Vpc"})


# --- names ------------------------------------------------------------------------------------------------------------


def title(urn: str, stack: str) -> str:
    """What a component is called: its class in words, and its own name where it is not the stack's."""
    if not urn:
        return "The stack itself"
    _, _, types, name = urn.split("::", 3)
    own = own_name(name, stack)
    words = words_of(types.split("$")[-1].split(":")[-1])
    return f"{words[0].upper()}{words[1:]}" + (f" {own}" if own else "")


def named(one: Changed, stack: str) -> str:
    """A resource as a reader calls it: `queue orders`."""
    return f"{words_of(kind(one.type))} {own_name(one.name, stack) or one.name}"


def own_name(name: str, stack: str) -> str:
    """A name without the stack's, with which nearly all begin."""
    return "" if name == stack else name.removeprefix(f"{stack}-")


def words_of(name: str) -> str:
    """A name as it is written in code, in words: `NodeGroup` is `node group`."""
    parts = re.findall(r"[A-Z]+\d*(?![a-z])|[A-Z][a-z]*|[a-z]+", re.sub(r"[vV]\d+$", "", name))
    kept = {each for each in parts if each.isupper() and len(each) > 1}
    return " ".join(each.upper() if each in ABBREVIATIONS | kept else each.lower() for each in parts)


def kinds(made: Sequence[Changed]) -> str:
    """How many there are of which kind: `3 metric alarms, 1 queue`."""
    counts = Counter(words_of(kind(each.type)) for each in made)
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    told = [plural(words, count) for words, count in ranked[:ROWS]]
    left = sum(count for _, count in ranked[ROWS:])
    return ", ".join(told) + (f" and {left} more" if left else "")


def plural(words: str, count: int) -> str:
    """`3 queues`."""
    if count == 1:
        return f"1 {words}"
    if words.endswith(("s", "x", "ch", "sh")):
        return f"{count} {words}" if words.endswith("settings") else f"{count} {words}es"
    return f"{count} {words[:-1]}ies" if re.search(r"[^aeiou]y$", words) else f"{count} {words}s"


def some(words: Sequence[str]) -> str:
    """The first few, and how many more there are."""
    few = ", ".join(words[:NAMED])
    return few + (f" and {len(words) - NAMED} more" if len(words) > NAMED else "")


# --- values -----------------------------------------------------------------------------------------------------------


def is_code(value: Value) -> bool:
    """Whether it is the code of a function."""
    return value.path.partition(".")[0] == "code" or value.path == "sourceCodeHash"


def listed(values: Sequence[Value], full: bool) -> str:
    """Values that change, in short; with `full` all of them."""
    lines = list(dict.fromkeys(said(each, full=full) for each in values))
    shown = lines if full else lines[:NAMED]
    return "; ".join(shown) + (f"; and {len(lines) - len(shown)} more" if len(lines) > len(shown) else "")


def said(value: Value, *, full: bool = False) -> str:
    """One value that changes, in short; with `full` all that differs within it."""
    if is_code(value):
        return "its code"
    if value.before == value.after:  # a stand-in for what only AWS will say
        return f"{value.path}, known after up"
    before, after = _document(value.before), _document(value.after)
    if before is not None and after is not None:
        if "Statement" in (*before, *after):
            return f"{value.path}: who may do what, see below"
        if _entries(before) and _entries(after) and len(before) != len(after):
            return f"{value.path} {len(before)} → {len(after)} entries"
        differing = list(_differing(before, after, value.path))
        if differing == [Value(value.path, before, after)]:  # lists of plain values
            return f"{value.path} {_shown(before, full)} → {_shown(after, full)}"
        if len(differing) > NAMED and not full:
            return f"{len(differing)} values in {value.path}"
        return ", ".join(said(each, full=full) for each in differing)
    if value.before is None or value.after is None:
        return f"{value.path} {_shown(value.after, full)}" if value.before is None else f"no {value.path} any more"
    return f"{value.path} {_shown(value.before, full)} → {_shown(value.after, full)}"


def _entries(value: Any) -> bool:
    """Whether it is a list of objects."""
    return isinstance(value, list) and any(isinstance(each, dict) for each in value)


def _document(value: Any) -> Any:
    """An object or a list, or what of them a text holds as JSON; None where it is none."""
    if isinstance(value, dict | list):
        return value
    if not isinstance(value, str) or value[:1] not in ("{", "["):
        return None
    try:
        return json.loads(value)
    except ValueError:
        return None


def _differing(before: Any, after: Any, path: str) -> Iterator[Value]:
    if isinstance(before, dict) and isinstance(after, dict):
        for key in [*before, *(key for key in after if key not in before)]:
            yield from _differing(before.get(key), after.get(key), f"{path}.{key}")
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for index, (old, new) in enumerate(zip(before, after, strict=True)):
            yield from _differing(old, new, f"{path}[{index}]")
    elif before != after:
        yield Value(path, before, after)


def _shown(value: Any, full: bool) -> str:
    if value == UNKNOWN:
        return "(known after up)"
    words = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    words = " ".join(words.split()) or '""'
    return words if full or len(words) <= WIDTH else f"{words[: WIDTH - 1]}…"
