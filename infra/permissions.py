"""Whether policies grant a right: statements, conditions and resource policies, as AWS decides.

How AWS does: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html. What a
condition asks, and the request does not tell, is neither granted nor refused: it is stated.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Final

from infra.needs import VALUES, Need, condition_keys
from policies.actions import matching, services
from policies.documents import Statement

READ_ELSEWHERE: Final = frozenset(
    {
        "iam:passedtoservice",
        "kms:grantisforawsresource",
        "kms:viaservice",
        "sagemaker:taggingaction",
        *VALUES,
    }
)
"""Condition keys that a request's record has wherever they were sent: where it lacks one, the request did."""
NEVER_OF_A_ROLE: Final = frozenset({"aws:sourceaccount", "aws:sourcearn", "aws:sourceorgid"})
"""Keys that only a service of AWS sends, when it acts for somebody."""


@dataclass(frozen=True)
class Caller:
    """Who asks: a role (its ARN), or a service of AWS (`events.amazonaws.com`)."""

    name: str
    account: str

    @property
    def is_service(self) -> bool:
        """Whether it is a service, which acts by what others' policies let it do."""
        return not self.name.startswith("arn:")


@dataclass(frozen=True)
class Grant:
    """One action on one resource, as a statement of a role's policies allows it."""

    policy: str
    """The name of the policy."""
    statement: Statement = field(hash=False)
    action: str
    """One action; a pattern only where it covers more than one service."""
    resource: str
    """An ARN, which may have wildcards."""

    def covers(self, need: Need, caller: Caller) -> bool:
        """Whether it is by this, as far as anyone can tell, that a right is granted."""
        return (
            glob(self.action, ignore_case=True).fullmatch(need.action) is not None
            and glob(self.resource).fullmatch(need.resource) is not None
            and holds(self.statement, need, caller) is not False
        )


@dataclass(frozen=True)
class Policies:
    """All that decides what a role may do."""

    identity: Sequence[tuple[str, Statement]]
    """Statements of its own policies, with the policies' names."""
    boundary: Sequence[Statement] | None = None
    """Its permissions boundary, None without."""

    def grants(self) -> Iterator[Grant]:
        """What its own policies allow, action by action and resource by resource."""
        for name, statement in self.identity:
            if statement.allows:
                for action in dict.fromkeys(each for pattern in statement.actions for each in actions_like(pattern)):
                    for resource in statement.resources:
                        yield Grant(name, statement, action, resource)


Document = Callable[[str], Sequence[Statement] | None]
"""The policy of the resource with this ARN; None where it has none, or nobody here can read it."""


@dataclass(frozen=True)
class Decision:
    """What came of one right."""

    granted: bool
    why: str = ""
    """What refuses it, where it is not granted."""
    assumed: tuple[str, ...] = field(default=())
    """Conditions that nobody could judge from the request, and that were taken to hold."""


def decide(need: Need, caller: Caller, policies: Policies, document_of: Document) -> Decision:
    """Whether AWS would let a caller do this."""
    document = _resource_policy(need, document_of)
    own = [statement for _, statement in policies.identity]
    for source, statements in (
        ("its own policies", own),
        ("its boundary", policies.boundary or ()),
        ("the policy of the resource", document or ()),
    ):
        for each in statements:
            if not each.allows and _is_for(each, caller) and concerns(each, need, caller) is True:
                return Decision(False, f"{source} deny it: {each.label}")
    if policies.boundary is not None and not _allowed(policies.boundary, need, caller):
        return Decision(False, "its boundary does not allow it")
    by_itself = [each for each in document or () if each.allows and _is_for(each, caller)]
    direct = _allowed(by_itself, need, caller)
    if direct:
        return Decision(True, assumed=_assumed(direct, need, caller))
    if caller.is_service:
        return Decision(
            False, f"no statement in the policy of {need.resource} lets {caller.name}{_nearly(by_itself, need, caller)}"
        )
    if need.action.startswith("kms:") and document is not None:
        delegated = [each for each in document if each.allows and ("AWS", _root(caller.account)) in each.principals]
        if not _allowed(delegated, need, caller):
            return Decision(False, f"the policy of {need.resource} leaves it neither to the role nor to the account")
    allowing = _allowed(own, need, caller)
    if not allowing:
        return Decision(False, f"no statement allows it{_nearly(own, need, caller)}")
    return Decision(True, assumed=_assumed(allowing, need, caller))


def _resource_policy(need: Need, document_of: Document) -> Sequence[Statement] | None:
    return document_of(need.resource) if need.resource.startswith("arn:") else None


def _root(account: str) -> str:
    return f"arn:aws:iam::{account}:root"


def _allowed(statements: Iterable[Statement], need: Need, caller: Caller) -> list[Statement]:
    """Those that allow it; where one does without a question, the others are left out."""
    judged = [(each, concerns(each, need, caller)) for each in statements if each.allows]
    surely = [each for each, verdict in judged if verdict]
    return surely or [each for each, verdict in judged if verdict is None]


def _assumed(statements: Iterable[Statement], need: Need, caller: Caller) -> tuple[str, ...]:
    return tuple(
        dict.fromkeys(
            f"{operator} {key}"
            for statement in statements
            for operator, key, verdict in _verdicts(statement, need, caller)
            if verdict is None
        )
    )


def _nearly(statements: Iterable[Statement], need: Need, caller: Caller) -> str:
    """What keeps the statements that name the action from covering it."""
    told = []
    for each in statements:
        if each.allows and _names_action(each, need.action):
            if not _names_resource(each, need.resource):
                told.append(f"{each.label} is about {', '.join(each.resources)}")
            else:
                failed = [key for _, key, verdict in _verdicts(each, need, caller) if verdict is False]
                told.append(f"{each.label} asks for {', '.join(failed)}" + _unsent(failed, need.action))
    return f" ({'; '.join(dict.fromkeys(told))})" if told else ""


def _unsent(keys: Iterable[str], action: str) -> str:
    unsent = [key for key in keys if not _is_sent(key.lower(), action)]
    return f", and {action} never sends {', '.join(unsent)}" if unsent else ""


def concerns(statement: Statement, need: Need, caller: Caller) -> bool | None:
    """Whether a statement is about this; None where its conditions cannot be judged from the request."""
    if not _names_action(statement, need.action) or not _names_resource(statement, need.resource):
        return False
    return holds(statement, need, caller)


def _names_action(statement: Statement, action: str) -> bool:
    listed = any(glob(each, ignore_case=True).fullmatch(action) for each in statement.actions)
    return listed or ("NotAction" in statement.inverted and statement.may(action))


def _names_resource(statement: Statement, resource: str) -> bool:
    if "NotResource" in statement.inverted:
        return not any(glob(each).fullmatch(resource) for each in statement.not_resources)
    if not statement.resources:  # the trust policy of a role is about that role
        return True
    return any(glob(each).fullmatch(resource) for each in statement.resources)


def _is_for(statement: Statement, caller: Caller) -> bool:
    """Whether a statement is about this caller; those of a role's own policies name nobody."""
    if "NotPrincipal" in statement.inverted:
        return not statement.allows
    if not statement.principals:
        return True
    for kind, name in statement.principals:
        if name == "*" or ((kind == "Service") == caller.is_service and name == caller.name):
            return True
        # A Deny for the account is for everyone in it; an Allow only leaves it to their own policies.
        if not statement.allows and kind == "AWS" and name in (caller.account, _root(caller.account)):
            return not caller.is_service
    return False


def holds(statement: Statement, need: Need, caller: Caller) -> bool | None:
    """Whether a statement's conditions hold; None where one cannot be judged, and none of the others fails."""
    verdicts = {verdict for _, _, verdict in _verdicts(statement, need, caller)}
    return False if False in verdicts else None if None in verdicts else True


def _verdicts(statement: Statement, need: Need, caller: Caller) -> Iterator[tuple[str, str, bool | None]]:
    for operator, tests in statement.conditions.items():
        for key, wanted in tests.items():
            known, values = _told(key.lower(), need, caller)
            yield operator, key, judge(operator, wanted, values) if known else None


def _told(key: str, need: Need, caller: Caller) -> tuple[bool, tuple[str, ...]]:
    """Whether it is known what a request sends as a key, and what that is; nothing for a key that it does not send."""
    if key in need.context:
        return True, need.context[key]
    region, account = [*need.resource.split(":"), "", "", "", "", ""][3:5]
    always = {
        "aws:principalaccount": "" if caller.is_service else caller.account,
        "aws:principalarn": "" if caller.is_service else caller.name,
        "aws:principalisawsservice": str(caller.is_service).lower(),
        "aws:requestedregion": region,
        "aws:resourceaccount": account,
        "aws:securetransport": "true",
        "aws:viaawsservice": "false",
    }
    if key in always:
        return bool(always[key]) or key.startswith("aws:principal"), tuple(filter(None, [always[key]]))
    if key == "aws:sourceaccount" and caller.is_service:
        return True, (caller.account,)
    if key in NEVER_OF_A_ROLE:
        return not caller.is_service, ()
    sent = _is_sent(key, need.action)
    return not sent or key in READ_ELSEWHERE or key.startswith(("aws:requesttag/", "aws:tagkeys")), ()


def _is_sent(key: str, action: str) -> bool:
    """Whether AWS sends a condition key with an action at all, as far as its reference says."""
    service = action.partition(":")[0]
    if not key.startswith(f"{service}:") or key in (
        "kms:viaservice",
        "kms:grantisforawsresource",
        "iam:passedtoservice",
    ):
        return True
    return any(key == each or (each.endswith("/") and key.startswith(each)) for each in condition_keys(action))


def judge(operator: str, wanted: Sequence[str], given: Sequence[str]) -> bool | None:
    """Whether a condition holds of what is given (nothing: the key is not in the request); None where nobody can tell.

    The operators: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html.
    """
    quantifier, _, name = operator.lower().rpartition(":")
    if name == "null":
        return bool(given) != (wanted[0] == "true") if wanted else None
    base = name.removesuffix("ifexists")
    negative = base.startswith(("stringnot", "arnnot", "numericnot", "notip", "datenot"))
    test = TESTS.get(base.replace("not", "", 1) if negative else base)
    if not given:
        return negative or base != name or quantifier == "forallvalues"
    if test is None or any("${" in each for each in wanted):
        return None
    matched = [any(test(each, want) for want in wanted) != negative for each in given]
    return any(matched) if quantifier == "foranyvalue" else all(matched)


@cache
def actions_like(pattern: str) -> tuple[str, ...]:
    """The actions that a pattern of a policy covers; the pattern itself where it is none, or covers all services."""
    service, _, name = pattern.partition(":")
    if not re.search(r"[*?]", name) or service.lower() not in services():
        return (pattern,)
    return tuple(sorted(each.name for each in matching(pattern)))


def _numbers(test: Callable[[float, float], bool]) -> Callable[[str, str], bool]:
    def compare(given: str, wanted: str) -> bool:
        try:
            return test(float(given), float(wanted))
        except ValueError:
            return False

    return compare


def _like(given: str, wanted: str) -> bool:
    return glob(wanted).fullmatch(given) is not None


def _arn_like(given: str, wanted: str) -> bool:
    """ARNs part by part: a wildcard stands for nothing beyond its part."""
    parts, patterns = given.split(":", 5), wanted.split(":", 5)
    return len(parts) == len(patterns) and all(map(_like, parts, patterns))


TESTS: Final[Mapping[str, Callable[[str, str], bool]]] = {
    "arnequals": _arn_like,
    "arnlike": _arn_like,
    "bool": lambda given, wanted: given.lower() == wanted.lower(),
    "numericequals": _numbers(lambda a, b: a == b),
    "numericgreaterthan": _numbers(lambda a, b: a > b),
    "numericgreaterthanequals": _numbers(lambda a, b: a >= b),
    "numericlessthan": _numbers(lambda a, b: a < b),
    "numericlessthanequals": _numbers(lambda a, b: a <= b),
    "stringequals": lambda given, wanted: given == wanted,
    "stringequalsignorecase": lambda given, wanted: given.lower() == wanted.lower(),
    "stringlike": _like,
}
"""How the operators compare that a request's record can answer; those on addresses and dates it cannot."""


@cache
def glob(pattern: str, *, ignore_case: bool = False) -> re.Pattern[str]:
    """A pattern of IAM: `*` for any text, `?` for one character, and a policy variable for any text too."""
    text = re.sub(r"\$\{([*?$])\}", lambda found: f"\0{found[1]}", pattern)
    text = re.sub(r"\$\{[^}]*\}", "*", text)
    parts = re.findall(r"\0.|.", text, re.DOTALL)
    wild = {"*": ".*", "?": "."}
    return re.compile(
        "".join(re.escape(each[-1]) if each.startswith("\0") else wild.get(each, re.escape(each)) for each in parts),
        re.DOTALL | (re.IGNORECASE if ignore_case else 0),
    )
