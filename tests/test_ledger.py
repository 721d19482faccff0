"""What the ledger keeps, what it tells, and that nobody takes anything from it."""

import itertools
import json
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import pulumi_aws as aws
import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st
from judging import NOT_WITHOUT_A_STACK, resource
from pretend_aws import CONFIG, KEY, PretendAws, up
from pretend_cloud import settings
from pydantic import ValidationError

from components import Ledger, LedgerSpec
from components.ledger import may_append
from functions import ledger
from functions.ledger import Entry, Kind, append, entries, live_at, periods
from infra import history
from infra.check import check
from infra.history import UnknownEndpoint
from infra.rehearsal.aws import AwsProvider
from infra.rehearsal.emulator.process import Emulator
from infra.rehearsal.engine import Engine, Plan
from policies.cost import TAGS
from tests.emulated import ACCOUNT, REGION, User, new

START = datetime(2026, 11, 1, tzinfo=UTC)
ANN, BEN = f"arn:aws:sts::{ACCOUNT}:assumed-role/dev/ann", f"arn:aws:sts::{ACCOUNT}:assumed-role/dev/ben"


def package(version: int) -> str:
    return f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:model-package/churn/{version}"


def at(hour: float) -> datetime:
    return START + timedelta(hours=hour)


def entry(kind: Kind, version: int, hour: float, **more: Any) -> Entry:
    told = {"endpoint": "churn", "by": BEN, "id": f"{kind}-{version}-{hour}", "evidence": {}, **more}
    return Entry(kind=kind, package_arn=package(version), at=at(hour).isoformat(), **told)


STORY = [
    entry("approved", 1, 1),
    entry("live", 1, 2, by="release-1", evidence={"metrics": {"auc": 0.9}, "gate": {"auc": 0.88}, "author": ANN}),
    entry("approved", 2, 3, by=ANN),
    entry("failed", 2, 4, by="release-2", evidence={"reason": "its alarm went off"}),
    entry("approved", 3, 5),
    entry("live", 3, 6, by="release-3"),
    entry("live", 1, 7, by="rollback-1"),
    entry("retired", 1, 9),
]


class TestPeriods:
    def test_each_version_is_live_until_the_next(self) -> None:
        told = [(each.package_arn, each.since, each.until) for each in periods(STORY)]

        assert told == [
            (package(1), ledger.stamp(at(2)), ledger.stamp(at(6))),
            (package(3), ledger.stamp(at(6)), ledger.stamp(at(7))),
            (package(1), ledger.stamp(at(7)), ledger.stamp(at(9))),
        ]

    def test_a_failed_release_changes_nothing(self) -> None:
        found = live_at(STORY, at(4.5))

        assert found and found.package_arn == package(1)

    def test_tells_who_approved_and_on_what_evidence(self) -> None:
        first = periods(STORY)[0]

        assert (first.approved_by, first.approved_at, first.by) == (BEN, ledger.stamp(at(1)), "release-1")
        assert first.evidence["metrics"] == {"auc": 0.9}

    def test_the_approval_that_counts_is_the_last_before_it_went_live(self) -> None:
        again = [*STORY, entry("approved", 1, 1.5, by=ANN), entry("approved", 1, 8, by=ANN)]

        assert [each.approved_by for each in periods(again) if each.package_arn == package(1)] == [ANN, ANN]
        assert periods(again)[0].approved_at == ledger.stamp(at(1.5))

    def test_what_a_release_verified_stands_in_for_an_approval_that_has_not_arrived(self) -> None:
        [found] = periods([entry("live", 1, 2, evidence={"approved_by": BEN, "approved_at": "then"})])

        assert (found.approved_by, found.approved_at) == (BEN, "then")

    @pytest.mark.parametrize(
        ("hour", "version"), [(1.99, None), (2, 1), (5.99, 1), (6, 3), (7, 1), (8.99, 1), (9, None), (99, None)]
    )
    def test_what_was_live_at_a_moment(self, hour: float, version: int | None) -> None:
        found = live_at(STORY, at(hour))

        assert (found.package_arn if found else None) == (package(version) if version else None)

    def test_what_was_not_live_cannot_be_retired(self) -> None:
        [found] = periods([entry("live", 2, 1), entry("retired", 1, 2)])

        assert found.until is None

    def test_endpoints_are_told_apart(self) -> None:
        two = [*STORY, entry("live", 5, 3, endpoint="fraud"), entry("live", 6, 4, endpoint="fraud")]

        assert [each.package_arn for each in periods(two) if each.endpoint == "fraud"] == [package(5), package(6)]
        assert [each for each in periods(two) if each.endpoint == "churn"] == periods(STORY)
        with pytest.raises(ValueError, match="churn, fraud"):
            live_at(two, at(3))


FACTS = st.lists(
    st.builds(
        lambda kind, version, minute, number: entry(
            kind, version, minute / 60, id=f"id-{number}", evidence={"minute": minute}
        ),
        st.sampled_from(get_args(Kind)),
        st.integers(1, 4),
        st.integers(0, 60),
        st.integers(0, 12),
    ),
    max_size=25,
)


@given(FACTS, st.randoms(use_true_random=False), st.lists(st.integers(0, 3000), max_size=5))
def test_however_entries_arrive_and_however_often_the_history_is_the_same(
    facts: list[Entry], chance: random.Random, minutes: list[int]
) -> None:
    arrived = [*facts, *(chance.choice(facts) for _ in range(len(facts)))]
    chance.shuffle(arrived)

    assert periods(arrived) == periods(facts)
    for minute in minutes:
        assert live_at(arrived, at(minute / 60)) == live_at(facts, at(minute / 60))


@given(FACTS)
def test_at_most_one_version_is_live_at_a_time(facts: list[Entry]) -> None:
    told = periods(facts)

    for earlier, later in itertools.pairwise(told):
        assert earlier.until is not None and earlier.until <= later.since
    assert all(each.until is None or each.since <= each.until for each in told)
    assert [each for each in told if each.until is None] in ([], told[-1:])


@given(FACTS, st.integers(0, 3600))
def test_a_later_entry_does_not_change_what_was_live_before(facts: list[Entry], minute: int) -> None:
    before = [each for each in ledger.ordered(facts) if each.at <= ledger.stamp(at(minute / 60))]
    then = live_at(before, at(minute / 60))
    now = live_at(ledger.ordered(facts), at(minute / 60))

    assert (then and (then.package_arn, then.since)) == (now and (now.package_arn, now.since))


class TestEntry:
    @pytest.mark.parametrize(
        ("wrong", "words"),
        [
            ({"kind": "deployed"}, "it is one of started, approved, live"),
            ({"id": "a/b"}, "cannot be part of an object"),
            ({"endpoint": "../x"}, "cannot be part of an object"),
            ({"at": "2026-11-01T00:00:00"}, "no time zone"),
            ({"at": "yesterday"}, "Invalid isoformat"),
        ],
    )
    def test_what_cannot_be_kept_is_refused(self, wrong: dict[str, Any], words: str) -> None:
        told = {
            "kind": "live",
            "endpoint": "churn",
            "package_arn": package(1),
            "at": ledger.now(),
            "by": BEN,
            "id": "1",
        }

        with pytest.raises(ValueError, match=words):
            Entry(**{**told, **wrong})

    def test_times_are_kept_in_utc_and_sort_as_text(self) -> None:
        berlin = Entry(kind="live", endpoint="churn", package_arn="p", at="2026-11-01T10:00:00.5+01:00", by=BEN, id="1")

        assert berlin.at == "2026-11-01T09:00:00.500000Z"
        assert berlin.key == "ledger/churn/2026-11-01T09:00:00.500000Z-live-1.json"


@pytest.fixture
def bucket(user: User) -> str:
    name = new("ledger")
    user.s3.create_bucket(Bucket=name)
    return name


class TestAppend:
    def test_what_is_written_is_read_back(self, user: User, bucket: str) -> None:
        for each in reversed(STORY):
            append(user.s3, bucket, each)

        assert entries(user.s3, bucket, "churn") == STORY
        assert entries(user.s3, bucket, "chur") == []
        assert ledger.endpoints(user.s3, bucket) == ["churn"]

    def test_the_first_stands(self, user: User, bucket: str) -> None:
        first, second = entry("live", 1, 1, by="first"), entry("live", 1, 1, by="second")
        keys = {append(user.s3, bucket, each) for each in (first, second)}

        assert keys == {first.key}
        assert entries(user.s3, bucket, "churn") == [first]

    def test_the_same_event_told_at_another_time_is_one_entry(self, user: User, bucket: str) -> None:
        for hour in (2, 1):
            append(user.s3, bucket, entry("approved", 1, hour, id="event"))

        assert [each.at for each in entries(user.s3, bucket, "churn")] == [ledger.stamp(at(1))]

    def test_kinds_of_one_release_do_not_hide_each_other(self, user: User, bucket: str) -> None:
        for kind in ("retired", "live"):
            append(user.s3, bucket, entry(kind, 1, 1, id="release"))

        assert [each.kind for each in entries(user.s3, bucket, "churn")] == ["live", "retired"]

    def test_many_write_at_once(self, user: User, bucket: str) -> None:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda hour: append(user.s3, bucket, entry("live", 1, hour)), range(24)))

        assert len(entries(user.s3, bucket, "churn")) == 24

    def test_of_those_who_write_the_same_at_once_one_is_first(self, user: User, bucket: str) -> None:
        def put(number: int) -> bool:
            try:
                user.s3.put_object(Bucket=bucket, Key="lock", Body=str(number).encode(), IfNoneMatch="*")
            except ClientError:
                return False
            return True

        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(put, range(16))) == 1

    def test_who_is_in_the_way_is_waited_for_and_who_may_not_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(ledger, "CONFLICT_SECONDS", (0, 0))

        class S3:
            def __init__(self, *codes: str) -> None:
                self.codes = list(codes)

            def put_object(self, **_: Any) -> None:
                if self.codes:
                    raise ClientError({"Error": {"Code": self.codes.pop(0)}}, "PutObject")

        assert append(S3("ConditionalRequestConflict", "ConditionalRequestConflict"), "b", STORY[0]) == STORY[0].key
        assert append(S3("ConditionalRequestConflict", "PreconditionFailed"), "b", STORY[0]) == STORY[0].key
        for codes in (("AccessDenied",), ("ConditionalRequestConflict",) * 3):
            with pytest.raises(ClientError, match=codes[0]):
                append(S3(*codes), "b", STORY[0])


class TestHistory:
    @pytest.fixture
    def told(self, user: User, bucket: str) -> Callable[..., history.History]:
        for each in STORY:
            append(user.s3, bucket, each)
        return lambda *asked: history.history(user.s3, bucket, "churn", *asked)

    def test_tells_of_all_of_the_time(self, told: Callable[..., history.History]) -> None:
        found = told()

        assert (found.live, found.at) == (None, None)
        assert len(found.periods) == 3 and len(found.entries) == len(STORY)
        assert json.loads(json.dumps(found.to_dict()))["periods"][0]["approved_by"] == BEN
        assert found.lines()[0] == "churn: nothing is live"
        assert any("failed    version 2  by release-2  (its alarm went off)" in line for line in found.lines())

    def test_tells_of_a_moment(self, told: Callable[..., history.History]) -> None:
        found = told(at(5.5))

        assert found.live and found.live.package_arn == package(1)
        assert found.lines()[0] == "churn: version 1 was live at 2026-11-01T05:30:00.000000Z"
        words = "\n".join(found.lines())
        assert f"approved by {BEN} at 2026-11-01T01:00:00" in words
        assert "auc 0.9, at least 0.88 was asked for" in words
        assert f"made by {ANN}" in words
        assert all(each.at <= "2026-11-01T05:30" for each in found.entries)
        assert told(at(0.5)).lines() == ["churn: nothing was live at 2026-11-01T00:30:00.000000Z"]

    def test_an_unknown_endpoint_is_told_with_those_that_are_known(
        self, told: Callable[..., history.History], user: User, bucket: str
    ) -> None:
        with pytest.raises(UnknownEndpoint, match="it tells of churn"):
            history.history(user.s3, bucket, "chrun")

    @pytest.mark.parametrize(
        ("text", "means"),
        [
            ("2 hours ago", at(-2)),
            ("1 day ago", at(-24)),
            ("90 minutes ago", at(-1.5)),
            ("2026-10-31T12:00:00Z", at(-12)),
            ("2026-10-31T13:00:00+01:00", at(-12)),
            ("2026-10-31", at(-24)),
        ],
    )
    def test_a_moment_is_written_as_people_do(self, text: str, means: datetime) -> None:
        assert history.moment(text, START) == means

    def test_what_is_no_time_is_told(self) -> None:
        with pytest.raises(ValueError, match="'lately' is no time: write"):
            history.moment("lately")


def declared(**spec: Any) -> PretendAws:
    """A ledger whose readers are written down."""
    logged: Any = {"kms_key_arn": KEY, "access_logs_bucket": "platform-access-logs"}
    return up(lambda: Ledger("platform", LedgerSpec.model_validate(spec), **logged))


class TestComponent:
    @pytest.fixture(scope="class")
    def made(self) -> PretendAws:
        return declared()

    def test_keeps_to_every_pack(self) -> None:
        for spec in ({}, {"protect": False}, {"mode": "COMPLIANCE", "years": 10}):
            made = declared(**spec)
            tags = {**dict.fromkeys(TAGS, "x"), "environment": "staging"}
            resources = tuple(
                resource(
                    each.typ,
                    each.name,
                    uses={"bucket": ["aws:s3/bucket:Bucket::platform-ledger"]} if "bucket" in each.inputs else None,
                    **{"tags": tags, **each.inputs},
                )
                for each in made.resources
                if each.custom
            )
            config = {**CONFIG, "aws:defaultTags": json.dumps({"tags": tags})}
            found = replace(settings(lambda: None, "platform-local"), region=REGION, config=config)
            report = check([(found, Plan("platform-local", resources, (), {}))])
            assert [each.sentence for each in report.violations if each.rule not in NOT_WITHOUT_A_STACK] == []

    def test_every_entry_is_locked(self, made: PretendAws) -> None:
        assert made.only(aws.s3.Bucket)["objectLockEnabled"] is True
        assert made.only(aws.s3.BucketObjectLockConfiguration)["rule"] == {
            "defaultRetention": {"mode": "GOVERNANCE", "years": 7}
        }
        assert made.only(aws.s3.BucketVersioning)["versioningConfiguration"] == {"status": "Enabled"}
        [default] = made.only(aws.s3.BucketServerSideEncryptionConfiguration)["rules"]
        assert default["applyServerSideEncryptionByDefault"]["kmsMasterKeyId"] == KEY

    def test_nobody_deletes_overwrites_or_unlocks(self, made: PretendAws) -> None:
        statements = {
            each["Sid"]: each for each in made.statements(aws.s3.BucketPolicy, "platform-ledger") if "Sid" in each
        }

        assert {"s3:DeleteObject", "s3:DeleteObjectVersion", "s3:BypassGovernanceRetention"} <= set(
            statements["NobodyDeletes"]["Action"]
        )
        overwriting = statements["NobodyOverwrites"]
        assert overwriting["Condition"]["Null"] == {"s3:if-none-match": "true"}
        assert {each["Principal"] for each in statements.values()} == {"*"}
        assert {each["Effect"] for each in statements.values()} == {"Deny"}

    def test_a_ledger_that_may_go_can_be_unlocked(self) -> None:
        made = declared(protect=False)
        [refused] = [
            each
            for each in made.statements(aws.s3.BucketPolicy, "platform-ledger")
            if each.get("Sid") == "NobodyDeletes"
        ]

        assert "s3:BypassGovernanceRetention" not in refused["Action"]
        assert made.only(aws.s3.Bucket)["forceDestroy"] is True

    @pytest.mark.parametrize(
        ("wrong", "words"),
        [
            ({"mode": "COMPLIANCE", "protect": False}, "nothing removes a ledger in mode COMPLIANCE"),
            ({"years": 101}, "less than or equal to 100"),
            ({"mode": "NONE"}, "GOVERNANCE"),
        ],
    )
    def test_a_mistake_is_told_when_the_yaml_is_read(self, wrong: dict[str, Any], words: str) -> None:
        with pytest.raises(ValidationError, match=words):
            LedgerSpec.model_validate(wrong)

    def test_who_may_append_may_not_delete(self) -> None:
        granted = [action for each in may_append("arn:aws:s3:::ledger", "churn") for action in each["Action"]]

        assert granted == ["s3:PutObject", "s3:GetObject", "s3:ListBucket"]


def test_entries_stay_until_the_ledger_itself_may_go(emulator: Emulator, user: User, tmp_path: Path) -> None:
    def cloud(_: Any) -> AwsProvider:
        return AwsProvider(REGION, ACCOUNT, dict.fromkeys(TAGS, "x"), emulator.endpoint)

    def build() -> dict[str, Any]:
        made = Ledger("platform", LedgerSpec(years=1, protect=False), kms_key_arn=KEY)
        return {"bucket": made.bucket}

    engine = Engine(tmp_path, {"aws": cloud})
    told = settings(build, "platform-local")
    bucket = engine.up(told).outputs["bucket"]
    key = append(user.s3, bucket, STORY[0])

    versions = user.s3.list_object_versions(Bucket=bucket)["Versions"]
    kept = user.s3.head_object(Bucket=bucket, Key=key)
    assert kept["ObjectLockMode"] == "GOVERNANCE"
    assert kept["ObjectLockRetainUntilDate"] > datetime.now(UTC) + timedelta(days=360)
    for deletion in ({}, {"VersionId": versions[0]["VersionId"]}):
        with pytest.raises(ClientError, match=r"AccessDenied|Forbidden"):
            user.s3.delete_object(Bucket=bucket, Key=key, **deletion)
    user.s3.delete_bucket_policy(Bucket=bucket)  # even then the lock holds
    with pytest.raises(ClientError, match=r"AccessDenied|Forbidden"):
        user.s3.delete_object(Bucket=bucket, Key=key, VersionId=versions[0]["VersionId"])
    assert entries(user.s3, bucket, "churn") == STORY[:1]

    engine.down(told)

    assert bucket not in [each["Name"] for each in user.s3.list_buckets()["Buckets"]]
