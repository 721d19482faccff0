"""Reading IAM documents: who may do what to what, and under which condition."""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from policies.rules import UNKNOWN, Finding, Props, Unknown, find, given

Table = Mapping[str, Sequence[str]]
"""For each type of resource, the paths of the IAM documents in it."""

# Operators that hold only where the key is there and has the value. `Not…`, `…IfExists` and `ForAllValues:` also hold
# where the key is missing, so they restrict nobody.
_POSITIVE = re.compile(r"(ForAnyValue:)?(String(Equals|EqualsIgnoreCase|Like)|Arn(Equals|Like)|IpAddress|Bool)")


class DocumentError(ValueError):
    """A text is no IAM document: the message says why."""


@dataclass(frozen=True)
class Statement:
    """One statement, every string-or-list made a list."""

    label: str
    """Its Sid, or `statement 2` where it has none."""
    allows: bool
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    principals: tuple[tuple[str, str], ...]
    """Pairs such as ("Service", "lambda.amazonaws.com"); ("AWS", "*") for everyone."""
    conditions: Mapping[str, Mapping[str, tuple[str, ...]]]
    inverted: tuple[str, ...]
    """Which of NotAction, NotResource and NotPrincipal it uses."""

    def requires(self, keys: Iterable[str]) -> bool:
        """Whether it holds only for fixed values of one of the condition `keys` (`*` in a key matches any text)."""
        return any(all(map(_fixed, values)) for values in self.demanded(keys))

    def demanded(self, keys: Iterable[str]) -> list[tuple[str, ...]]:
        """The values that conditions on any of `keys` leave a caller, condition by condition."""
        wanted = [key.lower() for key in keys]
        return [
            values
            for operator, tests in self.conditions.items()
            if _POSITIVE.fullmatch(operator)
            for key, values in tests.items()
            if values and any(fnmatchcase(key.lower(), each) for each in wanted)
        ]

    def may(self, action: str) -> bool:
        """Whether one of its actions, wildcards considered, covers `action`."""
        return any(fnmatchcase(action.lower(), each.lower()) for each in self.actions)


def _fixed(value: str) -> bool:
    """Whether a condition's value leaves something fixed. An ARN's account must be, or its name where it has none."""
    if value.startswith("arn:"):
        account, _, name = [*value.split(":", 4), ""][4].partition(":")
        return account.isdigit() or (account == "" and name[:1] not in ("", "*", "?"))
    return re.sub(r"[*?]", "", value) not in ("", "false")


def listed(value: Any) -> tuple[Any, ...]:
    """IAM writes a list of one as the one."""
    if value is None:
        return ()
    return tuple(value) if isinstance(value, list) else (value,)


def parse(text: Any) -> list[Statement]:
    """The statements of an IAM document, JSON text or already an object. Raises DocumentError."""
    try:
        document = json.loads(text) if isinstance(text, str) else text
    except json.JSONDecodeError as error:
        raise DocumentError(f"not JSON: {error}") from None
    if not isinstance(document, Mapping) or "Statement" not in document:
        raise DocumentError("it has no Statement")
    statements = listed(document["Statement"])
    if not all(isinstance(each, Mapping) for each in statements):
        raise DocumentError("a Statement is no object")
    return [_statement(each, number) for number, each in enumerate(statements, 1)]


def _statement(raw: Mapping[str, Any], number: int) -> Statement:
    who = raw.get("Principal")
    by_kind = who if isinstance(who, Mapping) else {"AWS": who}
    return Statement(
        label=raw.get("Sid") or f"statement {number}",
        allows=raw.get("Effect") != "Deny",
        actions=listed(raw.get("Action")),
        resources=listed(raw.get("Resource")),
        principals=tuple((kind, str(name)) for kind, names in by_kind.items() for name in listed(names)),
        conditions={
            operator: {key: tuple(_text(each) for each in listed(values)) for key, values in tests.items()}
            for operator, tests in raw.get("Condition", {}).items()
        },
        inverted=tuple(key for key in ("NotAction", "NotResource", "NotPrincipal") if key in raw),
    )


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def documents(table: Table, resource_type: str, inputs: Props) -> Iterator[tuple[str, Any]]:
    """The IAM documents of a resource as they are, with where they stand."""
    for path in table.get(resource_type, ()):
        yield from ((where, text) for where, text in find(inputs, path) if given(text))


def allowed(
    table: Table, resource_type: str, inputs: Props, judge: Callable[[Statement], Iterator[str]]
) -> Iterator[Finding]:
    """What `judge` says about each statement that allows something, located.

    A text that is no document is passed over: one rule of its own refuses it.
    """
    for where, text in documents(table, resource_type, inputs):
        if text == UNKNOWN:
            yield Unknown(where)
            continue
        try:
            statements = parse(text)
        except DocumentError:
            continue
        for statement in statements:
            if statement.allows:
                yield from (f"{where}, {statement.label}: {sentence}" for sentence in judge(statement))
