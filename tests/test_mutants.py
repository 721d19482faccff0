"""A stack that is made worse is refused: the rules catch the weakenings of every stack that `tests.mutants` knows."""

import json
from typing import Any

import pytest
from judging import resource

from tests.mutants import LEAST, Judged, Score, all_of, judge, record, sample, score
from tests.weakenings import COMPANIONS, TABLE, Mutant, mutants

SAMPLE = 2500
"""How many mutants are judged here, the same ones every time; `python -m tests.mutants` judges all of them."""
BY_CHANCE = 0.01
"""By how much a sample, which has one of every kind and so too many of the rare ones, may be below all of them."""


@pytest.fixture(scope="module")
def everything(every_plan: Any) -> list[Any]:
    return all_of(every_plan)


@pytest.fixture(scope="module")
def judged(everything: list[Any]) -> list[Judged]:
    return judge(sample(everything, SAMPLE))


def test_nearly_every_weakening_is_caught(judged: list[Judged]) -> None:
    assert score(judged).share >= LEAST - BY_CHANCE, "\n".join(map(str, score(judged).survived))


def test_what_is_not_caught_is_known(judged: list[Judged]) -> None:
    assert [str(each) for each in score(judged).unknown()] == []


def test_every_row_of_the_record_has_a_reason_and_a_mutant(everything: list[Any]) -> None:
    every = [Judged(settings.stack, mutant, "") for settings, _, mutant in everything]
    for row in [*record("Weaker in nothing"), *record("Not caught")]:
        assert row.why, row
        assert any(row.matches(each) for each in every), f"no mutant is like {row}"


def test_every_weakening_finds_something_in_the_stacks(everything: list[Any]) -> None:
    """A row of the table that changes nothing proves nothing."""
    done = {mutant.operator for _, _, mutant in everything}
    assert {row.operator for row in TABLE} <= done
    types = {mutant.of.type for _, _, mutant in everything if mutant.weaker is None}
    assert [part for part in COMPANIONS if not any(part in each for each in types)] == []


def weaker(kind: str, operator: str, environment: str = "prod", **inputs: Any) -> list[Mutant]:
    one = resource(kind, **inputs)
    return [each for each in mutants(one, environment, {}) if each.operator == operator]


def test_a_value_inside_a_document_is_weakened_and_the_rest_is_kept() -> None:
    statement = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::data/*"}
    [wide, *_] = weaker(
        "aws:iam/rolePolicy:RolePolicy", "action widened", policy=json.dumps({"Statement": [statement]})
    )
    assert wide.weaker
    assert json.loads(wide.weaker.inputs["policy"]) == {"Statement": [{**statement, "Action": ["s3:*"]}]}


def test_what_a_property_came_from_is_forgotten_with_it() -> None:
    key = resource("aws:kms/key:Key", "ours", arn="arn:aws:kms:us-east-1:123456789012:key/ours")
    queue = resource(
        "aws:sqs/queue:Queue",
        uses={"kmsMasterKeyId": ["aws:kms/key:Key::ours"]},
        kmsMasterKeyId="arn:aws:kms:us-east-1:123456789012:key/ours",
    )
    found = [each for each in mutants(queue, "dev", {key.urn: key}) if each.where == "kmsMasterKeyId"]
    assert {each.operator for each in found} == {"key dropped", "key of AWS instead", "key of another account"}
    assert all(each.weaker and not each.weaker.property_dependencies.get("kmsMasterKeyId") for each in found)


def test_only_production_has_to_keep_what_it_holds() -> None:
    for environment, found in (("prod", 1), ("dev", 0)):
        kept = weaker("aws:s3/bucket:Bucket", "deleted with what it holds", environment, forceDestroy=False)
        assert len(kept) == found


def test_a_score_counts_by_operator_and_by_rule() -> None:
    queue = resource("aws:sqs/queue:Queue", "orders")
    caught = Judged("it-dev", Mutant("key dropped", queue, "kmsMasterKeyId", "-", queue), "enc-sqs-kms")
    lost = Judged("it-dev", Mutant("key dropped", queue, "kmsMasterKeyId", "-", queue), "")
    said = Score([caught], [lost], 3).to_dict()
    assert (said["mutants"], said["caught"], said["equivalent"]) == (2, 1, 3)
    assert said["operators"]["key dropped"] == {"mutants": 2, "caught": 1, "rules": {"enc-sqs-kms": 1}}
    assert said["survivors"] == ["it-dev: orders (aws:sqs/queue:Queue): key dropped: kmsMasterKeyId: -"]
