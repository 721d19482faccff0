"""Reading IAM documents: who may do what to what, and under which condition."""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from ipaddress import ip_network
from typing import Any

from policies.rules import UNKNOWN, Finding, Props, Unknown, find, given

Table = Mapping[str, Sequence[str]]
"""For each type of resource, the paths of the IAM documents in it."""

ELEMENTS = (
    "Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Resource", "NotResource", "Condition",
)  # fmt: skip
"""What a statement may say."""

# Operators that hold only where the key is there and has the value. `Not…` also holds where the key is missing, so it
# restricts nobody; `…IfExists` and `ForAllValues:` do too, unless a `Null` condition demands the key.
_POSITIVE = re.compile(r"(?:string(?:equals|equalsignorecase|like)|arn(?:equals|like)|ipaddress|bool)")

# Keys whose value is one thing's own name: with a wildcard in it, whoever has a name like it is let in.
_ONE_THING = re.compile(
    r"aws:(principal|source|resource|vpce)account|aws:(principal|source|resource)orgid|aws:sourceowner"
    r"|aws:sourcevpce?|kms:calleraccount|s3:dataaccesspointaccount"
)
_ORGANIZATION = re.compile(r"o-[a-z0-9]+(/|$)")
# An identity's own id is AWS's choice; what follows the colon is the name that its session chose.
_IDENTITY = re.compile(r"(A[A-Z]{3}[A-Z0-9]{12,}|\d{12})(:.*)?")


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
    not_actions: tuple[str, ...] = ()
    not_resources: tuple[str, ...] = ()

    def requires(self, keys: Iterable[str]) -> bool:
        """Whether it holds only for fixed values of one of the condition `keys` (`*` in a key matches any text)."""
        return any(all(_fixed(key, value) for value in values) for key, values in self._demanded(keys))

    def demanded(self, keys: Iterable[str]) -> list[tuple[str, ...]]:
        """The values that conditions on any of `keys` leave a caller, condition by condition."""
        return [values for _, values in self._demanded(keys)]

    def _demanded(self, keys: Iterable[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
        wanted = [key.lower() for key in keys]
        there = self._surely_there()
        for operator, tests in self.conditions.items():
            quantifier, _, name = operator.lower().rpartition(":")
            plain = name.removesuffix("ifexists")
            also_without = name != plain or quantifier == "forallvalues"
            if quantifier not in ("", "foranyvalue", "forallvalues") or not _POSITIVE.fullmatch(plain):
                continue
            for key, values in tests.items():
                key = key.lower()
                if also_without and key not in there:
                    continue
                if values and any(fnmatchcase(key, each) for each in wanted):
                    yield key, values

    def _surely_there(self) -> set[str]:
        """The condition keys without which it does not hold, by a `Null` condition."""
        return {
            key.lower()
            for operator, tests in self.conditions.items()
            if operator.lower() == "null"
            for key, values in tests.items()
            if values and all(value.lower() == "false" for value in values)
        }

    def may(self, action: str) -> bool:
        """Whether its actions, wildcards and NotAction considered, cover `action`."""
        return self.covers(self.actions, action) or bool(self.not_actions and not self.covers(self.not_actions, action))

    @staticmethod
    def covers(patterns: Iterable[str], action: str) -> bool:
        """Whether one of `patterns` stands for `action`."""
        return any(matcher(each).fullmatch(action) for each in patterns)


@cache
def matcher(pattern: str) -> re.Pattern[str]:
    """What an Action with `*` (any text) and `?` (any one character) stands for, whatever the case of its letters."""
    parts = (".*" if each == "*" else "." if each == "?" else re.escape(each) for each in re.split(r"([*?])", pattern))
    return re.compile("".join(parts), re.IGNORECASE | re.DOTALL)


def _fixed(key: str, value: str) -> bool:
    """Whether a condition's value leaves something fixed that the caller cannot choose."""
    wild = "*" in value or "?" in value
    if _ONE_THING.fullmatch(key):
        return bool(value) and not wild
    if key in ("aws:principalorgpaths", "aws:sourceorgpaths", "aws:resourceorgpaths"):
        return _ORGANIZATION.match(value) is not None
    if key == "aws:userid":
        return _IDENTITY.fullmatch(value) is not None
    if key in ("aws:sourceip", "aws:vpcsourceip"):
        return _is_a_fixed_range(value)
    if value.startswith("arn:"):
        account, _, name = [*value.split(":", 4), ""][4].partition(":")
        return account.isdigit() or (account == "" and name[:1] not in ("", "*", "?"))
    return re.sub(r"[*?]", "", value) not in ("", "false")


def _is_a_fixed_range(value: str) -> bool:
    """Whether a CIDR block is less than so much of the Internet that it makes no difference."""
    try:
        network = ip_network(value, strict=False)
    except ValueError:
        return False
    return network.prefixlen >= (8 if network.version == 4 else 16)


def listed(value: Any) -> tuple[Any, ...]:
    """IAM writes a list of one as the one."""
    if value is None:
        return ()
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def parse(text: Any) -> list[Statement]:
    """The statements of an IAM document, JSON text or already an object. Raises DocumentError, and nothing else.

    What stands where IAM wants something else (a number as an action) is read as text: `faults` names it.
    """
    return [_statement(each, number) for number, each in enumerate(_statements(text), 1)]


def faults(text: Any) -> Iterator[str]:
    """What AWS would refuse in an IAM document that can be read: a sentence each. Raises DocumentError as `parse`."""
    for number, raw in enumerate(_statements(text), 1):
        label = raw.get("Sid") or f"statement {number}"
        for key in raw:
            if key not in ELEMENTS:
                yield f"{label}: there is no element {key}; it can have {', '.join(ELEMENTS)}"
        if raw.get("Effect") not in ("Allow", "Deny"):
            yield f"{label}: Effect is {raw.get('Effect')!r}: set 'Allow' or 'Deny'"
        if ("Action" in raw) == ("NotAction" in raw):
            yield f"{label}: it needs one of Action and NotAction"
        for key in ("Action", "NotAction", "Resource", "NotResource"):
            if not all(isinstance(each, str) for each in listed(raw.get(key))):
                yield f"{label}: {key} is neither a text nor a list of texts"


def _statements(text: Any) -> list[Mapping[str, Any]]:
    try:
        document = json.loads(text, object_pairs_hook=_once) if isinstance(text, str) else text
    except DocumentError:
        raise
    except (ValueError, RecursionError) as error:
        raise DocumentError(f"not JSON: {error}") from None
    if not isinstance(document, Mapping) or "Statement" not in document:
        raise DocumentError("it has no Statement")
    statements = listed(document["Statement"])
    for each in statements:
        if not isinstance(each, Mapping):
            raise DocumentError("a Statement is no object")
        condition = each.get("Condition") or {}
        if not isinstance(condition, Mapping) or not all(isinstance(tests, Mapping) for tests in condition.values()):
            raise DocumentError("a Condition is not of the form {operator: {key: value}}")
    return list(statements)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, where a key that stands twice would hide what it said first."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise DocumentError(f"it says {key} twice")
        found[key] = value
    return found


def _statement(raw: Mapping[str, Any], number: int) -> Statement:
    who = raw.get("Principal")
    by_kind = who if isinstance(who, Mapping) else {"AWS": who}
    return Statement(
        label=_text(raw.get("Sid") or f"statement {number}"),
        allows=raw.get("Effect") != "Deny",
        actions=_texts(raw.get("Action")),
        resources=_texts(raw.get("Resource")),
        principals=tuple((str(kind), name) for kind, names in by_kind.items() for name in _texts(names)),
        conditions={
            str(operator): {str(key): _texts(values) for key, values in tests.items()}
            for operator, tests in (raw.get("Condition") or {}).items()
        },
        inverted=tuple(key for key in ("NotAction", "NotResource", "NotPrincipal") if key in raw),
        not_actions=_texts(raw.get("NotAction")),
        not_resources=_texts(raw.get("NotResource")),
    )


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(map(_text, listed(value)))


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def documents(table: Table, resource_type: str, inputs: Props) -> Iterator[tuple[str, Any]]:
    """The IAM documents of a resource as they are, with where they stand."""
    for path in table.get(resource_type, ()):
        yield from ((where, text) for where, text in find(inputs, path) if given(text))


def judged(
    table: Table, resource_type: str, inputs: Props, judge: Callable[[Sequence[Statement]], Iterator[str]]
) -> Iterator[Finding]:
    """What `judge` says about the statements of each document, located.

    A text that is no document is passed over: one rule of its own refuses it.
    """
    for where, text in documents(table, resource_type, inputs):
        if UNKNOWN in str(text):  # all of it, or a part: then the rest is judged by now
            yield Unknown(where)
        try:
            statements = parse(text)
        except DocumentError:
            continue
        yield from (f"{where}, {sentence}" for sentence in judge(statements))


def allowed(
    table: Table, resource_type: str, inputs: Props, judge: Callable[[Statement], Iterator[str]]
) -> Iterator[Finding]:
    """What `judge` says about each statement that allows something, located as `judged` does."""

    def each(statements: Sequence[Statement]) -> Iterator[str]:
        for statement in statements:
            if statement.allows:
                yield from (f"{statement.label}: {sentence}" for sentence in judge(statement))

    yield from judged(table, resource_type, inputs, each)


def of_statements(table: Table, judge: Callable[[Statement], Iterator[str]]) -> dict[str, Any]:
    """A control's `rule` and `types` where it is about each statement that allows something:
    `Control(…, **of_statements(TABLE, judge))`."""

    def rule(resource_type: str, inputs: Props) -> Iterator[Finding]:
        yield from allowed(table, resource_type, inputs, judge)

    return {"rule": rule, "types": frozenset(table)}
