"""Who deployed an earlier release updates to this one, and keeps all that was written before.

The newest recording in tests/upgrades/ is deployed into an emulator as it was, users write what users write, and the
stacks as they are now are deployed over it.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from infra import show
from infra.changes import HOLDS, Changed
from infra.rehearsal.emulator import process
from infra.rehearsal.properties import holds_secret
from infra.rehearsal.session import Outcome, Rehearsal
from infra.rehearsal.state import State, StateStore, exported, imported
from tests import upgrades

RECORDED: Final = upgrades.recordings()[-1]
PLATFORM, PRODUCT = upgrades.DEPLOYED
CODE: Final = "aws:s3/bucketObjectv2:BucketObjectv2"
"""The program's own files in a bucket: what a release brings anew, and nobody's data."""
PERSON: Final = "17"
ROW: Final = "46,21,1,0,2,0,3,1,4,2,1,2,2,2,1,1"
"""What the model is asked, as the release's products asked it."""


@pytest.fixture(scope="module")
def recording() -> upgrades.Recording:
    return upgrades.read(RECORDED)


@dataclass
class Updated:
    """Before and after the update."""

    before: dict[str, State]
    after: dict[str, State]
    written: dict[str, Any]
    outcome: Outcome
    users: "Users"


class Users:
    """People and programs that used the release, and go on to use what it is updated to."""

    def __init__(self, endpoint: str, state: dict[str, State]) -> None:
        self.client = upgrades.clients(endpoint)
        self.outputs = {stack: dict(each.outputs() or {}) for stack, each in state.items()}
        self.ids = {(each.type, each.name): str(each.id) for one in state.values() for each in one.resources.values()}
        self.key = self.outputs[PLATFORM]["kms_key_arn"]

    def of(self, type_: str) -> list[str]:
        """The ids of all resources of a type."""
        return sorted(id_ for (kind, _), id_ in self.ids.items() if kind == type_)

    def write(self) -> dict[str, Any]:
        """Write what is to be there after the update."""
        sealed = self.client("kms").encrypt(KeyId=self.key, Plaintext=b"sealed before")["CiphertextBlob"]
        [group] = self.of("aws:sagemaker/featureGroup:FeatureGroup")
        self.client("sagemaker-featurestore-runtime").put_record(FeatureGroupName=group, Record=self._person(group))
        queue = self.of("aws:sqs/queue:Queue")[0]
        self.client("sqs").send_message(QueueUrl=queue, MessageBody="sent before")
        log = self.of("aws:cloudwatch/logGroup:LogGroup")[0]
        self.client("logs").create_log_stream(logGroupName=log, logStreamName="before")
        event = {"timestamp": int(time.time() * 1000), "message": "logged before"}
        self.client("logs").put_log_events(logGroupName=log, logStreamName="before", logEvents=[event])
        return {"sealed": sealed, "group": group, "queue": queue, "log": log}

    def _person(self, group: str) -> list[dict[str, str]]:
        told = self.client("sagemaker").describe_feature_group(FeatureGroupName=group)
        values = {"Integral": "40", "Fractional": "40.5", "String": "x"}
        row = {each["FeatureName"]: values[each["FeatureType"]] for each in told["FeatureDefinitions"]}
        row[told["RecordIdentifierFeatureName"]] = PERSON
        row[told["EventTimeFeatureName"]] = "2026-01-01T00:00:00Z"
        return [{"FeatureName": name, "ValueAsString": value} for name, value in row.items()]

    def read(self, written: dict[str, Any]) -> dict[str, Any]:
        """Everything that was there before, read again."""
        s3, sagemaker = self.client("s3"), self.client("sagemaker")
        objects = {}
        for bucket in self.of("aws:s3/bucket:Bucket"):
            for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
                objects |= {(bucket, each["Key"]): each["ETag"] for each in page.get("Contents", ())}
        asked = {"FeatureGroupName": written["group"], "RecordIdentifierValueAsString": PERSON}
        received = self.client("sqs").receive_message(
            QueueUrl=written["queue"], VisibilityTimeout=0, MaxNumberOfMessages=10
        )
        events = self.client("logs").get_log_events(logGroupName=written["log"], logStreamName="before")["events"]
        [packages] = self.of(upgrades.GROUP)
        versions = sagemaker.list_model_packages(ModelPackageGroupName=packages)["ModelPackageSummaryList"]
        return {
            "objects": objects,
            "record": self.client("sagemaker-featurestore-runtime").get_record(**asked)["Record"],
            "sent": "sent before" in [each["Body"] for each in received["Messages"]],
            "logged": [each["message"] for each in events],
            "unsealed": self.client("kms").decrypt(CiphertextBlob=written["sealed"])["Plaintext"],
            "versions": {each["ModelPackageArn"]: each["ModelApprovalStatus"] for each in versions},
            "answer": self._ask(),
        }

    def _ask(self) -> str:
        """What the endpoint answers."""
        [endpoint] = self.of("aws:sagemaker/endpoint:Endpoint")
        asked = self.client("sagemaker-runtime").invoke_endpoint(
            EndpointName=endpoint, ContentType="text/csv", Accept="text/csv", Body=ROW
        )
        return str(asked["Body"].read().decode())


@pytest.fixture(scope="module")
def updated(
    recording: upgrades.Recording, tmp_path_factory: pytest.TempPathFactory, monkeypatch_module: pytest.MonkeyPatch
) -> Iterator[Updated]:
    """The release, deployed and used; then updated to what the repository is now."""
    work = tmp_path_factory.mktemp("upgrade")
    emulator = process.start(work)
    try:
        upgrades.replay(recording, work, emulator.endpoint)
        store = StateStore(work)
        before = {stack: store.load(stack) for stack in upgrades.DEPLOYED}
        users = Users(emulator.endpoint, before)
        written = users.write()
        written["before"] = users.read(written)
        outcome = Rehearsal(work, say=show.say, watching=show.watching).up(upgrades.DEPLOYED)
        after = {stack: store.load(stack) for stack in upgrades.DEPLOYED}
        yield Updated(before, after, written, outcome, Users(emulator.endpoint, after))
    finally:
        process.stop(work)


@pytest.fixture(scope="module")
def monkeypatch_module() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLIPWAY_PEOPLE", "12000")
        yield patch


def test_nothing_that_holds_data_is_made_anew(updated: Updated) -> None:
    before = {each.urn: each for state in updated.before.values() for each in state.resources.values()}
    after = {each.urn: each for state in updated.after.values() for each in state.resources.values()}
    holding = [each for each in before.values() if each.type in HOLDS and each.type != CODE]
    assert len({each.type for each in holding}) >= 10 and len(holding) > 40
    moved = {each.urn: after[each.urn].id if each.urn in after else None for each in holding}
    assert {urn: id_ for urn, id_ in moved.items() if id_ != before[urn].id} == {}


def test_everything_that_was_written_is_there(updated: Updated) -> None:
    then, now = updated.written["before"], updated.users.read(updated.written)
    assert len(then["objects"]) > 20 and then["unsealed"] == b"sealed before" and then["logged"] == ["logged before"]
    assert then["sent"] and float(then["answer"]) > 0 and set(then["versions"].values()) == {"Approved"}
    lost = {
        key: etag
        for key, etag in then["objects"].items()
        # Monitors and incidents go on being written, and a release brings its own pipeline.
        if now["objects"].get(key) != etag
        and not any(folder in key[1] for folder in ("/monitors/", "/incidents/", "/pipelines/"))
    }
    assert {key for key in then["objects"] if "/incidents/" in key[1]} <= now["objects"].keys()
    assert lost == {}
    assert {**now, "objects": None} == {**then, "objects": None}


def test_names_that_others_know_stay(updated: Updated) -> None:
    def addresses(state: dict[str, State]) -> dict[str, Any]:
        return {
            f"{stack}.{name}": value
            for stack, each in state.items()
            for name, value in (each.outputs() or {}).items()
            # What is sealed in a recording cannot be compared; the schema is what features may change.
            if name not in ("image_copies", "feature_schema") and not holds_secret(value)
        }

    before, after = addresses(updated.before), addresses(updated.after)
    gone = before.keys() - after.keys()
    assert gone == set()
    assert {name: (before[name], after[name]) for name in before if before[name] != after[name]} == {}


def test_nothing_that_holds_data_was_replaced_or_deleted_on_the_way(updated: Updated) -> None:
    steps = [step for each in updated.outcome.deployments for result in each.results for step in result.steps]
    assert any(step.op == "update" for step in steps)  # there was something to update
    leaving = [step for step in steps if step.op in ("replace", "delete")]
    assert [step.urn for step in leaving if step.type in HOLDS and step.type != CODE] == []


def test_the_product_serves_its_old_model_and_is_watched(updated: Updated) -> None:
    assert [each.settings.stack for each in updated.outcome.deployments] == [*upgrades.DEPLOYED]
    found = updated.outcome.products[PRODUCT]
    assert found["version"] == 1
    assert "nothing is broken" in found["monitor"]["summary"]


def test_no_other_stack_loses_data_either(recording: upgrades.Recording, tmp_path: Path) -> None:
    """The stacks for AWS, planned on what the release's own plans came to."""
    plans = recording.states("plans")
    stacks = [stack for stack in plans if stack.endswith("-prod")]
    assert len(stacks) >= 3
    for stack in stacks:
        (tmp_path / f"{stack}.json").write_text(json.dumps(plans[stack]), "utf-8")
    rehearsal = Rehearsal(tmp_path / "none", say=show.say, watching=show.watching)
    found = rehearsal.changes(stacks, [tmp_path])
    assert {each.stack: each.refused for each in found if each.refused} == {}
    assert [each.stack for each in found] == stacks
    assert [named(each) for one in found for each in one.changed if each.loses and each.type != CODE] == []


def named(one: Changed) -> str:
    return f"{one.op} {one.urn}: {one.loses}"


def test_a_recording_is_read_as_it_was_written(recording: upgrades.Recording, tmp_path: Path) -> None:
    upgrades.write(recording, tmp_path / "again.tar.xz", preset=0)
    assert upgrades.read(tmp_path / "again.tar.xz") == recording
    for document in recording.states("states").values():
        state = imported(document, lambda sealed: "")
        assert exported(state)["deployment"]["resources"]
        assert "/tmp/" not in json.dumps(document) and "/work/" not in json.dumps(document)
