"""What is decided about an alarm, whether a model is trained again, and which of two versions is better."""

import argparse
import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions import ledger
from functions.employment.features import LABEL, SCHEMA
from functions.monitoring import baseline
from functions.recovery import evidence, guard
from functions.recovery.core import (
    ALARMS,
    Action,
    Alarm,
    Evidence,
    Kind,
    Limits,
    Live,
    Measured,
    TakenBack,
    decide,
    incident_of,
    is_thin,
    kind_of,
)
from functions.recovery.evidence import Sources
from functions.recovery.guard import Facts
from functions.training import challenge, newest, prepare
from stacks.samples.employment import census

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
NEW, OLD = (f"arn:aws:sagemaker:us-east-1:123456789012:model-package/work/{number}" for number in (2, 1))
FINE = Measured(
    requests=1000, errors=2, latency_ms=20, accuracy=0.9, labelled=1000, drifted_features=0, predictions_moved=False
)


def at(**ago: float) -> str:
    return ledger.stamp(NOW - timedelta(**ago))


def rings(what: str, reason: str = "a threshold was crossed") -> Alarm:
    return Alarm(name=f"work-{what}", kind=ALARMS[what], reason=reason, at=at(minutes=1))


def live(now: Measured = FINE, before: Measured = FINE, **more: Any) -> Live:
    known = {
        "package_arn": NEW,
        "since": at(hours=1),
        "release": "r2",
        "predecessor": OLD,
        "now": now,
        "before": before,
    }
    return Live(**{**known, **more})


def decided(what: str, known: Live | None = None, *also: str, **more: Any) -> tuple[str, str]:
    ringing = tuple(rings(each) for each in (what, *also))
    decision = decide(Evidence(alarm=ringing[0], now=ledger.stamp(NOW), live=known, ringing=ringing, **more))
    return decision.action, decision.why


FAILING = replace(FINE, errors=300)
SLOW = replace(FINE, latency_ms=90)
WRONG = replace(FINE, accuracy=0.8)
OTHERWISE = replace(FINE, predictions_moved=True)


@pytest.mark.parametrize(
    ("what", "known", "also", "action", "why"),
    [
        # the release did it
        ("errors", live(FAILING), (), "roll-back", "300 of 1000 requests failed, before 2 of 1000"),
        ("error-share", live(FAILING), (), "roll-back", "300 of 1000"),
        ("burn", live(FAILING), (), "roll-back", "300 of 1000"),
        ("latency", live(SLOW), (), "roll-back", "longer than 90 ms, before 20 ms"),
        ("quality", live(WRONG), (), "roll-back", "80.0% of 1000 answers are right, before 90.0%"),
        ("drift", live(OTHERWISE), (), "roll-back", "its predictions have moved, and what it is asked has not"),
        ("errors", live(FAILING), ("broken-data",), "roll-back", "300 of 1000"),
        # it did not
        ("errors", live(FAILING, FAILING), (), "page", "it is no worse than"),
        ("errors", live(FAILING, since=at(days=3)), (), "page", "serves since"),
        ("errors", live(FAILING, predecessor=None), (), "page", "nothing served before"),
        ("errors", live(FAILING, went_back=True), (), "page", "since a way back"),
        ("errors", live(FAILING, Measured(requests=10)), (), "page", "10 before do not compare"),
        ("errors", live(SLOW), (), "page", "it is no worse than"),
        ("latency", live(FAILING), (), "page", "it is no worse than"),
        ("burn", live(SLOW), (), "roll-back", "longer than 90 ms"),
        ("errors", None, (), "page", "the ledger knows of none"),
        ("errors", live(replace(FINE, errors=8)), (), "page", "it is no worse than"),  # less than a point more
        ("latency", live(replace(FINE, latency_ms=24)), (), "page", "it is no worse than"),
        ("latency", live(replace(FINE, latency_ms=3), replace(FINE, latency_ms=1)), (), "page", "no worse than"),
        # the world moved
        ("drift", live(), (), "retrain", "moved away from what the model was trained on"),
        ("drift", live(replace(OTHERWISE, drifted_features=3)), (), "retrain", "moved away"),
        ("drift", live(OTHERWISE, OTHERWISE), (), "retrain", "moved away"),
        ("drift", live(OTHERWISE, was_steady=True), (), "retrain", "moved away"),
        ("drift", None, (), "retrain", "moved away"),
        ("drift", live(), ("quality",), "retrain", "moved away"),
        ("quality", live(WRONG, WRONG), (), "retrain", "the answers are worse, the data are whole"),
        ("quality", live(WRONG, was_accurate=True), (), "retrain", "the answers are worse"),
        ("quality", live(WRONG, since=at(days=3)), (), "retrain", "the answers are worse"),
        ("quality", live(replace(WRONG, labelled=60)), (), "retrain", "the answers are worse"),
        # the data are broken or old, or nobody looks
        ("broken-data", live(), (), "page", "the data are broken upstream"),
        ("broken-data", live(FAILING), (), "page", "the data are broken upstream"),
        ("drift", live(), ("broken-data",), "page", "work-broken-data: what looks like a world that moved"),
        ("quality", live(), ("broken-data",), "page", "may be broken data"),
        ("quality", live(), ("stale",), "page", "answers from old features"),
        ("drift", live(), ("data-silent",), "page", "cannot be told meanwhile"),
        ("drift", live(), ("freshness-failed",), "page", "cannot be told meanwhile"),
        ("drift", live(), ("spending-silent",), "retrain", "moved away"),
        ("stale", live(), (), "page", "features are old"),
        *((what, live(FAILING), (), "page", "a monitor is lost") for what, kind in ALARMS.items() if kind == "monitor"),
        # cost
        ("spending", live(FAILING), (), "stop", "more is spent than is due"),
        ("idle", live(), (), "page", "not used"),
    ],
)
def test_what_is_decided(what: str, known: Live | None, also: Sequence[str], action: str, why: str) -> None:
    found, said = decided(what, known, *also)
    assert (found, why in said) == (action, True), said


def test_a_release_that_was_taken_back_because_of_an_alarm_needs_nothing_more() -> None:
    taken = TakenBack(package_arn=NEW, at=at(minutes=0), alarms=("work-errors",))
    assert decided("errors", live(FAILING), taken_back=taken)[0] == "none"
    assert decided("latency", live(SLOW), taken_back=taken)[0] == "roll-back"


def test_a_version_that_few_have_asked_yet_is_not_decided_on() -> None:
    def thin(what: str, known: Live) -> bool:
        return is_thin(Evidence(alarm=rings(what), now=ledger.stamp(NOW), live=known), Limits())

    few = Measured(requests=12, errors=6)
    assert thin("errors", live(few))
    assert not thin("errors", live(FAILING))
    assert not thin("errors", live(few, since=at(days=3)))
    assert not thin("errors", live(few, predecessor=None))
    assert not thin("drift", live(few))


def test_whose_an_alarm_is() -> None:
    assert kind_of("work", "work-errors") == "service"
    assert kind_of("work", "work-api-errors") is None
    assert kind_of("work", "workshop-errors") is None
    assert (incident_of("work", "work-data-silent"), incident_of("work", "work-data-failed")) == ("monitor-data",) * 2
    assert incident_of("work", "work-latency") == incident_of("work", "work-burn") == "service"


measured = st.builds(
    Measured,
    requests=st.integers(0, 10**6),
    errors=st.integers(0, 10**6),
    latency_ms=st.none() | st.floats(0, 1e5),
    accuracy=st.none() | st.floats(0, 1),
    labelled=st.integers(0, 10**6),
    drifted_features=st.none() | st.integers(0, 50),
    predictions_moved=st.none() | st.booleans(),
)
served = st.builds(
    Live,
    package_arn=st.just(NEW),
    since=st.timedeltas(timedelta(0), timedelta(days=40)).map(lambda ago: ledger.stamp(NOW - ago)),
    release=st.just("r2"),
    predecessor=st.none() | st.just(OLD),
    went_back=st.booleans(),
    was_accurate=st.booleans(),
    was_steady=st.booleans(),
    now=measured,
    before=measured,
)
ringing = st.sampled_from(sorted(ALARMS)).map(rings)


@given(ringing, st.none() | served, st.lists(ringing, max_size=4))
def test_whatever_is_known_something_safe_is_decided(alarm: Alarm, known: Live | None, also: list[Alarm]) -> None:
    decision = decide(Evidence(alarm=alarm, now=ledger.stamp(NOW), live=known, ringing=(alarm, *also)))
    kinds: set[Kind] = {each.kind for each in (alarm, *also)}
    assert decision.action in get_args(Action)
    assert json.loads(json.dumps(decision.to_dict()))["why"] == decision.why
    if decision.action == "roll-back":
        assert known and known.predecessor and not known.went_back
        assert NOW - ledger.moment(known.since) <= timedelta(hours=Limits().young_hours)
        assert alarm.kind in ("service", "quality", "world")
    if decision.action == "retrain":
        assert alarm.kind in ("world", "quality") and not kinds & {"data", "stale"}
    assert (decision.action == "stop") == (alarm.kind == "cost")
    assert decision.action != "none"


@given(measured, st.sampled_from(["errors", "latency", "quality", "drift"]))
def test_what_is_as_it_was_before_is_not_taken_back(same: Measured, what: str) -> None:
    assert decided(what, live(same, same))[0] != "roll-back"


# --- may a model be trained again -----------------------------------------------------------------------------------

FACTS = Facts(
    now=ledger.stamp(NOW), trained_until=at(days=90), new_labels=900, spent_usd=100, training_usd=2, budget_usd=600
)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"running": ["arn:…/execution/a"]}, "a training runs already: arn:…/execution/a"),
        ({"last": at(hours=3)}, "less than 24 hours ago"),
        ({"new_labels": 499}, "it takes 500"),
        ({"spent_usd": 599}, "more than 100 % of the budget of 600.00"),
        ({"spent_usd": None}, "not known"),
    ],
)
def test_a_training_is_not_started(changed: dict[str, Any], reason: str) -> None:
    [said] = guard.refusals(replace(FACTS, **changed), guard.Limits())
    assert reason in said


def test_a_training_is_started_within_all_limits() -> None:
    assert guard.refusals(replace(FACTS, last=at(hours=25), new_labels=500, spent_usd=598), guard.Limits()) == []


TRUSTED: dict[str, Any] = {
    "new": {"labels": 900, "positives": 0.5},
    "old": {"labels": 9000, "positives": 0.47},
    "sources": {"new": {"": 700, "north": 200}, "old": {"": 9000}},
    "deliveries": [
        {"name": "a.csv", "labels": 450, "positives": 0.48},
        {"name": "b.csv", "labels": 450, "positives": 0.52},
    ],
    "asked": {"rows": 5000, "distances": [{"name": "AGEP", "distance": 0.2}]},
}


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"asked": {"rows": 5000, "distances": [{"name": "AGEP", "distance": 0.31}]}}, "AGEP (0.31)"),
        ({"asked": {"rows": 9, "distances": []}}, "only 9 requests were captured"),
        ({"new": {"labels": 900, "positives": 0.8}}, "80% of the new labels are positive, and 47% of the earlier"),
        (
            {
                "deliveries": [
                    {"name": "a.csv", "labels": 400, "positives": 0.3},
                    {"name": "few.csv", "labels": 9, "positives": 1.0},
                    {"name": "b.csv", "labels": 500, "positives": 0.66},
                ]
            },
            "from 30% (a.csv) to 66% (b.csv)",
        ),
        (
            {"sources": {"new": {"": 100, "stranger": 800}, "old": {"": 9000}}},
            "89% of the new labels are from the source stranger",
        ),
    ],
)
def test_data_that_look_poisoned_are_suspected(changed: dict[str, Any], reason: str) -> None:
    [said] = guard.suspicions({**TRUSTED, **changed}, guard.Limits())
    assert reason in said


def test_data_as_they_always_were_are_trusted() -> None:
    assert guard.suspicions(TRUSTED, guard.Limits()) == []
    alone = {"new": {"hospital": 900}, "old": {"hospital": 9000}}
    assert guard.suspicions({**TRUSTED, "sources": alone}, guard.Limits()) == []


def compared(rows: int = 400, mean: float = 0.05, error: float = 0.02, accuracy: float = 0.8) -> dict[str, Any]:
    return {
        "rows": rows,
        "champion": {"accuracy": 0.8, "log_loss": 0.5},
        "challenger": {"accuracy": accuracy, "log_loss": 0.5 - mean},
        "gain": {"mean": mean, "standard_error": error, "accuracy_standard_error": 0.01},
    }


@pytest.mark.parametrize(
    ("told", "better", "why"),
    [
        (compared(), True, "beats the champion"),
        (compared(rows=99), False, "too few to compare on"),
        (compared(mean=0.03), False, "not better than the champion for certain"),
        (compared(mean=-0.1), False, "not better"),
        (compared(accuracy=0.785), False, "less often right"),
        (compared(accuracy=0.795), True, "beats"),
        (compared(mean=0.0, error=0.0), False, "not better"),
    ],
)
def test_a_challenger_has_to_be_better_for_certain(told: dict[str, Any], better: bool, why: str) -> None:
    found, said = guard.verdict(told, guard.Limits())
    assert (found, why in said) == (better, True), said


# --- the jobs of a retraining ---------------------------------------------------------------------------------------


def people(folder: Path, part: str, labels: dict[str, list[dict[str, str]]], asked: list[dict[str, str]]) -> None:
    """Labels, records and captures as the lake has them."""
    rows = [row for each in labels.values() for row in each]
    (folder / "records").mkdir(parents=True)
    with (folder / "records/a.jsonl").open("w") as file:
        for row in rows:
            known = {name: row[name] or None for name in SCHEMA.names}
            told = {"id": row["id"], "event_time": "2015-07-01T00:00:00Z", "write_time": "2015-01-01T00:00:01Z"}
            file.write(json.dumps({**known, **told, "is_deleted": False}) + "\n")
    for name, labelled in labels.items():
        path = folder / "labels" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["id", "event_time", LABEL])
            writer.writerows([row["id"], row["known"], row[LABEL]] for row in labelled)
    (folder / "asked").mkdir()
    lines = [
        {
            "captureData": {
                "endpointInput": {
                    "mode": "INPUT",
                    "encoding": "CSV",
                    "data": ",".join(row[name] for name in SCHEMA.names),
                }
            },
            "eventMetadata": {"eventId": str(number), "inferenceTime": "2026-11-21T11:00:00Z"},
            "eventVersion": "0",
        }
        for number, row in enumerate(asked)
    ]
    (folder / "asked/a.jsonl").write_text("\n".join(map(json.dumps, lines)))


def made(folder: Path, memory: str = "all") -> dict[str, Any]:
    options = argparse.Namespace(
        product="functions.employment",
        labels=folder / "labels",
        records=folder / "records",
        asked=[folder / "asked"],
        after="2015-12-31T00:00:00Z",
        memory=memory,
        output=folder / memory,
        as_of=prepare.ALL,
        held_out=0.2,
        most_dropped=0.1,
    )
    (folder / memory).mkdir()
    return newest.make(options)


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """600 people who were known before, 300 who are new, some from a source that nobody knew."""
    folder = tmp_path_factory.mktemp("lake")
    everybody = list(census("reference", 1200))
    old = [{**row, "known": "2015-12-31T00:00:00Z"} for row in everybody[:600]]
    new = [{**row, "known": "2016-12-31T00:00:00Z"} for row in everybody[600:900]]
    labels = {"old.csv": old, "new.csv": new[:100], "stranger/new.csv": new[100:]}
    aged = [{**row, "AGEP": str(min(99, int(float(row["AGEP"])) + 40))} for row in everybody[900:]]
    people(folder, "reference", labels, aged)
    return folder


def test_what_is_new_is_told_with_where_it_is_from_and_how_far_from_what_is_asked(lake: Path) -> None:
    told = made(lake)

    assert (told["new"]["labels"], told["old"]["labels"]) == (300, 600)
    assert told["sources"] == {"new": {"": 100, "stranger": 200}, "old": {"": 600}}
    assert [(each["name"], each["labels"]) for each in told["deliveries"]] == [
        ("new.csv", 100),
        ("stranger/new.csv", 200),
    ]
    assert told["asked"]["rows"] == 300
    furthest = told["asked"]["distances"][0]
    assert furthest["name"] == "AGEP" and furthest["distance"] > 0.3
    others = [each["distance"] for each in told["asked"]["distances"] if each["name"] in ("SEX", "DEAR")]
    assert max(others) < 0.12
    assert {reason.partition(":")[0][:20] for reason in guard.suspicions(told, guard.Limits())} == {
        "the new labelled row",
        "67% of the new label",
    }


def test_the_newest_held_out_rows_train_nothing_and_recent_memory_trains_on_what_is_new_only(lake: Path) -> None:
    told = made(lake, "recent")

    def ids(path: str) -> set[str]:
        return {row["id"] for row in csv.DictReader((lake / "recent" / path).open())}

    assert ids("recent/rows.csv") == ids("test/rows.csv")
    assert not ids("recent/rows.csv") & ids("train/rows.csv")
    assert len(ids("train/rows.csv")) + len(ids("test/rows.csv")) == told["rows"]["new"] == 300
    manifest = json.loads((lake / "recent/dataset.json").read_text())
    assert manifest["first"] == manifest["last"] == "2016-12-31T00:00:00Z"


@pytest.mark.parametrize("memory", ["all", "recent"])
def test_monitors_compare_with_what_is_new_whatever_a_version_has_learnt_from(lake: Path, memory: str) -> None:
    if not (lake / memory).exists():
        made(lake, memory)
    told = baseline.from_json((lake / memory / "baseline.json").read_text())
    with (lake / "recent/train/rows.csv").open() as file:
        new = [row["AGEP"] for row in csv.DictReader(file)]
    assert told.profile.rows == len(new)
    assert told.profile.columns["AGEP"].total == len(new)


def test_two_versions_are_compared_row_by_row() -> None:
    labels = np.array([1] * 80 + [0] * 20)
    one, other = np.full(100, 0.4), np.full(100, 0.8)
    told = challenge.compare(one, other, labels)

    assert told["rows"] == 100
    assert (told["champion"]["accuracy"], told["challenger"]["accuracy"]) == (0.2, 0.8)
    assert told["gain"]["mean"] == pytest.approx(told["champion"]["log_loss"] - told["challenger"]["log_loss"])
    assert guard.verdict(told, guard.Limits()) == (True, guard.verdict(told, guard.Limits())[1])
    same = challenge.compare(other, other, labels)
    assert guard.verdict(same, guard.Limits())[0] is False


def test_how_a_version_did_is_read_from_the_newest_report_of_it() -> None:
    def report(package: str, **more: Any) -> dict[str, Any]:
        return {"model_package_arn": package, "status": "violated", "rows": 700, "violations": [], **more}

    found = {
        "quality": [report(OLD, figures={"accuracy": 0.9}), report(NEW, figures={"accuracy": 0.7})],
        "data": [
            report(NEW, violations=[{"group": "drift"}, {"group": "prediction"}, {"group": "drift"}]),
            report(NEW, violations=[]),
        ],
    }
    nowhere = Sources(
        endpoint="work",
        variant="live",
        alarms=[],
        ledger_bucket="",
        reports_uri="",
        sagemaker=None,
        cloudwatch=None,
        s3=None,
    )
    now = ledger.stamp(NOW)
    told = evidence.measured(nowhere, found, NEW, now, now)
    assert (told.accuracy, told.labelled, told.drifted_features, told.predictions_moved) == (0.7, 700, 2, True)
    before = evidence.measured(nowhere, found, OLD, now, now)
    assert (before.accuracy, before.drifted_features, before.predictions_moved) == (0.9, None, None)
    assert evidence.measured(nowhere, {"quality": [], "data": []}, NEW, now, now) == Measured()
