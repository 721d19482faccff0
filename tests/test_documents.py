"""IAM documents, whoever wrote them, are read; and what is wider than something refused is refused as well."""

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from judging import ACCOUNT

from policies.access import identity, sharing
from policies.actions import actions_of
from policies.documents import DocumentError, faults, parse
from policies.resource_types import ROLE, ROLE_POLICY

QUEUE_POLICY = "aws:sqs/queuePolicy:QueuePolicy"

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
WORDS = st.sampled_from(
    ("Allow", "Deny", "*", "s3:*", "S3:GetObject", "arn:aws:s3:::*", "arn:", "o-*", "false", ACCOUNT, "?", "[")
)
LOOSE = WORDS | JSON | st.lists(WORDS, max_size=3) | st.dictionaries(WORDS, WORDS | st.lists(WORDS), max_size=2)
ELEMENT = st.sampled_from(
    ("Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Resource", "NotResource", "Condition", "X")
)
STATEMENT = st.dictionaries(ELEMENT, LOOSE, max_size=6) | JSON
"""What stands where a statement should, by whoever did not read IAM's reference."""


@given(st.text() | JSON | st.builds(json.dumps, JSON))
@settings(max_examples=100, deadline=None)
@example("[" * 100_000)
@example("1" * 5000)
@example('{"Statement": {"Condition": {"StringEquals": 1}}}')
def test_whatever_is_no_document_is_told_so(text: Any) -> None:
    try:
        assert len(parse(text)) == len(set(map(id, parse(text))))
        list(faults(text))
    except DocumentError as error:
        assert str(error)


@given(st.lists(STATEMENT, max_size=3))
@settings(max_examples=100, deadline=None)
def test_every_control_reads_every_document(statements: list[Any]) -> None:
    text = json.dumps({"Statement": statements})
    for kind, key in ((ROLE_POLICY, "policy"), (QUEUE_POLICY, "policy"), (ROLE, "assumeRolePolicy")):
        for control in (*identity.CONTROLS, *sharing.CONTROLS):
            assert all(isinstance(each, str) for each in control.findings(kind, {key: text}))


ACTION = st.sampled_from(
    sorted(each.name for service in ("iam", "kms", "lambda", "s3", "sts") for each in actions_of(service).values())
)
NAMED = st.sampled_from(
    ("arn:aws:s3:::data", "arn:aws:s3:::data/*", f"arn:aws:iam::{ACCOUNT}:role/a", "arn:aws:kms:us-east-1:1:key/a")
)
WIDER = {"s3": "arn:aws:s3:::*", "iam": f"arn:aws:iam::{ACCOUNT}:role/*", "kms": "arn:aws:kms:*:*:key/*"}
CONDITION = st.dictionaries(
    st.sampled_from(("StringEquals", "StringLike", "StringNotEquals", "ForAllValues:StringEquals", "ArnLike")),
    st.dictionaries(
        st.sampled_from(("aws:PrincipalOrgID", "aws:SourceAccount", "iam:PassedToService", "kms:ViaService", "a:b")),
        st.lists(st.sampled_from(("o-a1b2c3d4e5", ACCOUNT, "s3.amazonaws.com", "*")), min_size=1, max_size=2),
        max_size=2,
    ),
    max_size=2,
)
PRINCIPAL = st.sampled_from(
    (
        {"AWS": f"arn:aws:iam::{ACCOUNT}:role/a"},
        {"AWS": [ACCOUNT]},
        {"Service": "events.amazonaws.com"},
        {"AWS": "*"},
        "*",
    )
)


@st.composite
def widened(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any]]:
    """A statement, and one that allows all that it does, and more."""
    narrow: dict[str, Any] = {
        "Effect": "Allow",
        "Principal": draw(PRINCIPAL),
        "Action": draw(st.lists(ACTION, min_size=1, max_size=2)),
        "Resource": draw(st.lists(NAMED | st.just("*"), min_size=1, max_size=2)),
        "Condition": draw(CONDITION),
    }
    wide = dict(narrow)
    match draw(st.sampled_from(("actions", "action", "resources", "resource", "condition", "value", "principal"))):
        case "actions":
            wide["Action"] = [*narrow["Action"], draw(ACTION)]
        case "action":
            first = narrow["Action"][0]
            cut = draw(st.integers(len(first.partition(":")[0]) + 1, len(first)))
            wide["Action"] = [f"{first[:cut]}*", *narrow["Action"][1:]]
        case "resources":
            wide["Resource"] = [*narrow["Resource"], draw(NAMED)]
        case "resource":
            first = narrow["Resource"][0]
            wide["Resource"] = [f"{first[: draw(st.integers(0, len(first)))]}*", *narrow["Resource"][1:]]
        case "condition" if narrow["Condition"]:
            wide["Condition"] = dict(list(narrow["Condition"].items())[1:])
        case "value" if any(narrow["Condition"].values()):
            wide["Condition"] = {
                operator: {key: [*values, "*"] for key, values in tests.items()}
                for operator, tests in narrow["Condition"].items()
                if not operator.startswith("StringNot")
            }
        case "principal":
            wide["Principal"] = draw(st.sampled_from(("*", {"AWS": "arn:aws:iam::*:root"}, {"AWS": ["*"]})))
    return narrow, wide


def refused(kind: str, statement: dict[str, Any]) -> set[str]:
    """The controls that refuse a document with one statement."""
    inputs = {"policy": json.dumps({"Statement": [statement]})}
    controls = (*identity.CONTROLS, *sharing.CONTROLS)
    return {each.name for each in controls if any(True for _ in each.findings(kind, inputs))}


# All of a service, and every role, are refused by controls of their own instead.
TOLD_ELSEWHERE = {"iam-no-write-unconstrained": "iam-no-service-wildcard", "iam-passrole-named": "iam-passrole-scoped"}


@pytest.mark.parametrize("kind", [ROLE_POLICY, QUEUE_POLICY])
@given(statements=widened())
@settings(max_examples=150, deadline=None)
def test_what_is_wider_never_passes_where_the_narrower_failed(
    kind: str, statements: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    narrow, wide = (refused(kind, each) for each in statements)
    if kind == QUEUE_POLICY and "*" in str(statements[1]["Principal"]):
        narrow -= {"rp-confused-deputy"}  # no service is named any more, but everyone
    assert {TOLD_ELSEWHERE.get(each, each) if each not in wide else each for each in narrow} <= wide


@given(statements=widened())
@settings(max_examples=50, deadline=None)
def test_how_a_statement_is_written_makes_no_difference(statements: tuple[dict[str, Any], dict[str, Any]]) -> None:
    for statement in statements:
        [only] = [statement["Action"][:1]]
        shouted = {
            **statement,
            "Action": [each.upper() for each in statement["Action"]],
            "Condition": {
                operator.upper(): {key.upper(): values for key, values in tests.items()}
                for operator, tests in statement["Condition"].items()
            },
        }
        assert refused(ROLE_POLICY, shouted) == refused(ROLE_POLICY, statement)
        as_text = {**statement, "Action": only[0]}
        assert refused(ROLE_POLICY, as_text) == refused(ROLE_POLICY, {**statement, "Action": only})
