"""Incidents: nothing of them is lost, they are readable at night, and are closed with a review."""

import json
import random
import re
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import chain

import pytest
from botocore.exceptions import ClientError
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from components.runbook import Guide
from functions import ledger
from functions.incidents import columns, note, review, store, timeline
from functions.incidents.core import Event, Incident, Moved, merged
from functions.incidents.review import QUESTIONS
from functions.ledger import Entry
from infra import cli, incidents
from infra.reach import Deployed
from infra.settings import load
from tests.emulated import ACCOUNT, REGION, new, zipped

AT = "2026-11-21T10:00:00Z"
TEXTS = st.text(max_size=60)
LATER = st.integers(0, 10**6)
EVENTS = st.builds(
    lambda seconds, what, source: Event(at=after(seconds), what=what, source=source),
    LATER,
    TEXTS,
    st.sampled_from(["alarm", "release", "recovery", "cloudtrail", "person"]),
)


def after(seconds: float) -> str:
    return ledger.stamp(ledger.moment(AT) + timedelta(seconds=seconds))


def incident(**more) -> Incident:
    return Incident(**{"endpoint": "churn-prod", "kind": "world", "opened": AT, "what": "the world moved", **more})


@pytest.fixture
def uri(user):
    """A product's folder for the incidents of one endpoint."""
    bucket = new("lake")
    user.s3.create_bucket(Bucket=bucket)
    return f"s3://{bucket}/churn/incidents/churn-prod"


def read(user, uri, name):
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    found = user.s3.get_object(Bucket=bucket, Key=f"{prefix}/{name}")
    return found["Body"].read().decode(), found["Metadata"]


class Interrupted:
    """An S3 whose client dies right before, or right after, its `at`-th write."""

    def __init__(self, s3, at, before):
        self._s3, self._left, self._before = s3, at, before

    def __getattr__(self, name):
        return getattr(self._s3, name)

    def put_object(self, **wanted):
        self._left -= 1
        if self._left == 0 and self._before:
            raise KeyboardInterrupt
        answer = self._s3.put_object(**wanted)
        if self._left == 0:
            raise KeyboardInterrupt
        return answer


class TestTheStore:
    def test_what_rings_again_joins_what_is_open_and_what_recovered_is_another_time(self, user, uri):
        first, new_one = store.open(user.s3, uri, incident(alarm="churn-prod-drift"))
        assert (first.id, first.status, new_one) == ("world-1", "open", True)
        again, new_one = store.open(user.s3, uri, incident(opened=after(60), alarm="churn-prod-drift"))
        assert (again.id, new_one) == ("world-1", False)
        assert [event.what for event in again.timeline] == ["churn-prod-drift again: the world moved"]
        other, _ = store.open(user.s3, uri, incident(kind="service"))
        assert other.id == "service-1"

        store.add(user.s3, uri, "world-1", status="recovered")
        later, new_one = store.open(user.s3, uri, incident(opened=after(120)))
        assert (later.id, new_one) == ("world-2", True)
        assert [each.id for each in store.incidents(user.s3, uri)] == ["world-2", "world-1", "service-1"]

    def test_a_step_that_runs_twice_opens_one_incident_even_if_it_has_recovered_meanwhile(self, user, uri):
        asked = incident(token="arn:execution")
        first, _ = store.open(user.s3, uri, asked)
        store.add(user.s3, uri, first.id, status="recovered")
        assert store.open(user.s3, uri, asked)[0].id == first.id
        assert len(store.incidents(user.s3, uri)) == 1

    def test_of_many_writers_at_once_none_is_lost(self, user, uri):
        def write(number):
            s3 = user.client("s3")
            opened, fresh = store.open(s3, uri, incident(opened=after(number), alarm=f"alarm-{number}"))
            event = Event(at=after(number), what=f"event {number}", source="recovery")
            store.add(s3, uri, opened.id, events=[event], done=[f"deed {number}"])
            return opened.id, fresh

        with ThreadPoolExecutor(8) as pool:
            told = list(pool.map(write, range(16)))

        assert {identity for identity, _ in told} == {"world-1"}
        assert sum(fresh for _, fresh in told) == 1
        kept = store.load(user.s3, uri, "world-1")
        assert {f"event {number}" for number in range(16)} <= {event.what for event in kept.timeline}
        assert set(kept.done) == {f"deed {number}" for number in range(16)}
        text, about = read(user, uri, "world-1.md")
        assert text == note.markdown(kept) and about["version"] == str(kept.version)

    @pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
    @pytest.mark.parametrize("at", [1, 2, 3, 4])
    def test_what_is_interrupted_leaves_nothing_half_and_is_made_good_by_the_next(self, user, uri, at, before):
        def run(s3):
            opened, _ = store.open(s3, uri, incident(token="mine"))
            store.add(s3, uri, opened.id, done=["a deed"], status="recovered", recovered=after(60))

        with pytest.raises(KeyboardInterrupt):
            run(Interrupted(user.s3, at, before))
        for each in store.incidents(user.s3, uri):  # whatever is there is whole
            assert each.status in ("open", "recovered") and (each.done == ("a deed",)) == (each.status == "recovered")
        run(user.s3)

        [kept] = store.incidents(user.s3, uri)
        assert (kept.id, kept.done, kept.status) == ("world-1", ("a deed",), "recovered")
        assert read(user, uri, "world-1.md")[0] == note.markdown(kept)

    def test_an_older_note_never_replaces_a_newer_one(self, user, uri):
        class Slow:
            """Somebody else writes while this one is about to write the note."""

            def __getattr__(self, name):
                return getattr(user.s3, name)

            def put_object(self, **wanted):
                if wanted["Key"].endswith(".md"):
                    store.add(user.s3, uri, "world-1", done=["the other's deed"])
                return user.s3.put_object(**wanted)

        store.open(user.s3, uri, incident())
        store.add(Slow(), uri, "world-1", done=["a deed"])
        kept = store.load(user.s3, uri, "world-1")
        assert kept.done == ("a deed", "the other's deed")
        assert read(user, uri, "world-1.md")[0] == note.markdown(kept)

    def test_an_incident_that_is_not_there_is_an_error_that_names_those_that_are(self, user, uri):
        store.open(user.s3, uri, incident())
        with pytest.raises(store.NoIncident, match="world-1"):
            store.load(user.s3, uri, "world-9")
        with pytest.raises(store.NoIncident, match="is no incident's name"):
            store.load(user.s3, uri, "../../models/model")


class TestATimeline:
    @settings(deadline=None)
    @given(st.lists(EVENTS, max_size=20), st.lists(EVENTS, max_size=20), st.randoms(use_true_random=False))
    def test_merges_into_one_order_whoever_tells_it_and_however_often(self, one, other, mixed):
        whole = merged([*one, *other])
        assert [event.at for event in whole] == sorted(event.at for event in whole)
        assert set(whole) == {*one, *other} and len(whole) == len(set(whole))
        shuffled = [*one, *other, *one]
        mixed.shuffle(shuffled)
        assert merged(shuffled) == whole
        assert merged([*merged(one), *merged(other)]) == merged([*merged(other), *merged(one)]) == whole
        assert incident(timeline=one).changed(events=other).timeline == whole

    @settings(deadline=None)
    @given(st.lists(EVENTS, max_size=8), TEXTS, st.lists(TEXTS, max_size=4), st.dictionaries(TEXTS, st.integers()))
    def test_an_incident_is_read_back_as_it_was_written(self, events, what, needs, evidence):
        told = incident(
            id="world-1",
            what=what,
            timeline=events,
            needs=needs,
            evidence=evidence,
            moved=[Moved(name="AGEP", score=0.5, since=AT, detail="older")],
        )
        assert Incident.from_dict(json.loads(json.dumps(told.to_dict()))) == replace(told, evidence=evidence)

    def test_a_long_one_keeps_its_beginning_and_its_end(self):
        many = [Event(at=after(number), what="again", source="alarm") for number in range(3000)]
        kept = merged(many)
        assert (kept[0], kept[-1], len(kept)) == (many[0], many[-1], 1000)
        shown = note.markdown(incident(timeline=many))
        assert "940 more" in shown and "10:00:00 again" in shown and "10:49:59 again" in shown


REPORT = {"monitor": "data", "endpoint": "churn-prod", "summary": "it moved", "rows": 500, "model_package_arn": None}


def report(number, *found, status=None, **more):
    """The report of the `number`-th quarter of an hour, which finds something of these columns (name, distance)."""
    return {
        **REPORT,
        "time": after(900 * (number + 1)),
        "since": after(900 * number),
        "until": after(900 * (number + 1)),
        "status": status or ("violated" if found else "stable"),
        "violations": [
            {"feature_name": name, "constraint_check_type": "drift", "description": f"{name} is {far} away"}
            for name, far in found
        ],
        "findings": [{"feature": name, "statistics": {"distance": far}} for name, far in found],
        **more,
    }


class TestWhatMovedFirst:
    def test_is_who_moved_in_the_earliest_window_and_then_who_moved_furthest(self):
        told = [
            report(0),
            report(1, ("age", 0.2)),
            report(2, ("age", 0.3), ("hours", 0.9), ("sex", 0.4)),
            report(3, ("age", 0.3), ("hours", 0.8), ("sex", 0.5)),
        ]
        ranked = columns.ranked(told)
        assert [each.name for each in ranked] == ["age", "hours", "sex"]
        assert (ranked[0].since, ranked[0].score, ranked[0].detail) == (after(900), 0.3, "age is 0.3 away")
        assert columns.ranked(told[::-1]) == ranked

    def test_one_quiet_window_is_no_return_and_two_are(self):
        gone = [report(0, ("age", 1)), report(1), report(2), report(3)]
        assert columns.ranked(gone) == ()
        back = [report(0, ("age", 1)), report(1), report(2, ("age", 1)), report(3)]
        assert [each.since for each in columns.ranked(back)] == [after(0)]
        anew = [report(0, ("age", 1)), report(1), report(2), report(3, ("age", 1))]
        assert [each.since for each in columns.ranked(anew)] == [after(2700)]

    def test_a_window_too_small_to_judge_says_nothing(self):
        told = [report(0, ("age", 1)), report(1, status="insufficient"), report(2, status="insufficient")]
        assert [each.name for each in columns.ranked(told)] == ["age"]

    @settings(deadline=None)
    @given(st.lists(st.dictionaries(st.sampled_from("abcdef"), st.floats(0, 9), max_size=4), max_size=12))
    def test_ranks_every_column_of_the_newest_window_in_time(self, windows):
        told = [report(number, *found.items()) for number, found in enumerate(windows)]
        ranked = columns.ranked(told)
        assert set(windows[-1] if windows else ()) <= {each.name for each in ranked}
        assert [each.since for each in ranked] == sorted(each.since for each in ranked)
        mixed = [*told]
        random.Random(1).shuffle(mixed)
        assert columns.ranked(mixed) == ranked


class TestANote:
    def test_begins_with_what_is_wrong_what_was_done_and_what_is_needed(self):
        told = incident(
            id="world-3",
            what="what is asked has moved away from the training data",
            decision="retrain",
            why="it moved",
            done=["trained run-7", "version 8 is offered"],
            needs=["approve version 8: `slipway approve churn-prod 8 --as NAME`", "see who sends this"],
            timeline=[Event(at=AT, what="churn-prod-drift rings: 2 of 3", source="alarm")],
            next_step="`slipway monitor show churn-prod data`",
            runbook="https://console/runbook",
        )
        lines = note.markdown(told).splitlines()
        assert lines[:3] == [
            "# churn-prod: what is asked has moved away from the training data (open)",
            "- **Done**: version 8 is offered (1 before that: below)",
            "- **Needed of you**: approve version 8: `slipway approve churn-prod 8 --as NAME` (and 1 more: below)",
        ]
        assert "- **Next step**: `slipway monitor show churn-prod data`" in lines
        assert "- 2026-11-21 10:00:00 churn-prod-drift rings: 2 of 3" in lines

    def test_tells_what_one_called_in_one_go_in_a_line(self):
        calls = [*(f"PutMetricAlarm churn-{number} by root" for number in range(3)), "CreateEndpoint churn by root"]
        events = [Event(at=after(number), what=what, source="cloudtrail") for number, what in enumerate(calls)]
        stopped = Event(at=after(3600), what="DeleteFunction churn-data by root", source="cloudtrail")
        refused = Event(at=after(4), what="DeleteEndpoint churn by root (refused: AccessDenied)", source="cloudtrail")
        text = note.markdown(incident(timeline=[*events, refused, stopped]))
        assert "- 2026-11-21 10:00:00 4 calls within 3 s by root: PutMetricAlarm (3), CreateEndpoint\n" in text
        assert "10:00:04 DeleteEndpoint churn by root (refused" in text and "11:00:00 DeleteFunction churn-data" in text

    @pytest.mark.parametrize(
        ("told", "words"),
        [
            ({"next_step": "`look here`"}, "to look: `look here`"),
            ({"decision": "retrain"}, "nothing yet: it is being seen to"),
            ({"status": "recovered"}, "nothing tonight; by day a review: `slipway incident close churn-prod world-1`"),
            ({"status": "closed", "closed_by": "ann"}, "nothing: ann closed it"),
        ],
    )
    def test_says_what_is_needed_even_where_nothing_is(self, told, words):
        assert note.needed(incident(id="world-1", **told)) == words

    @settings(deadline=None)
    @given(TEXTS, TEXTS, st.lists(TEXTS, max_size=3), st.lists(EVENTS, max_size=3))
    def test_is_a_note_whatever_it_tells(self, what, why, lines, events):
        nasty = "<script>alert(1)</script> [a](javascript:alert(2)) ![b](https://c) | # `"
        told = incident(
            id="world-1",
            what=what + nasty,
            why=why + nasty,
            decision="page",
            done=[each + nasty for each in lines],
            needs=[nasty + each for each in lines],
            timeline=events,
            moved=[Moved(name=what, score=1, since=AT, detail=why + nasty)],
            evidence={"said": nasty},
        )
        text = note.markdown(told)
        assert [line[:4] for line in text.splitlines()[:3]] == ["# ch", "- **", "- **"]
        headings = [line for line in text.splitlines() if line.startswith("#")]
        assert len(headings) == 4 + bool(events) + 2 * bool(lines)
        page = incidents.page(told)
        assert not re.search(r"<(script|a|img|link|iframe)[ >]", page)

    def test_as_a_page_it_needs_nothing_but_itself(self):
        page = incidents.page(incident(id="world-1", moved=[Moved(name="AGEP", score=1, since=AT, detail="older")]))
        assert "<td>AGEP</td>" in page and not re.search(r"(src|href)=|@import|url\(", page)

    @pytest.mark.parametrize(
        ("seconds", "words"), [(0, "0 s"), (59.6, "1 min"), (3600, "1 h"), (90061, "1 d 1 h"), (125, "2 min 5 s")]
    )
    def test_says_how_long_in_two_units(self, seconds, words):
        assert note.span(seconds) == words


FILLED_IN = {
    "What happened": "A release of upstream sent pounds instead of kilograms.",
    "Impact": "1,200 requests were answered with the wrong weight for 40 minutes.",
    "Why it was not seen earlier": "No contract test covers units.",
    "What went well": "The rollback.",
}


def filled_in(text, **instead):
    for heading, asked in QUESTIONS.items():
        text = text.replace(asked, instead.get(heading, FILLED_IN[heading]))
    return text.replace(review.ROW, instead.get("row", "| contract test for units | ann | 2026-12-01 |"))


class TestAReview:
    def test_the_template_tells_what_is_known_and_is_not_taken_as_it_is(self):
        asked = review.template(incident(id="world-1", status="recovered", recovered=after(600), done=["a deed"]))
        assert "a deed" in asked and "(10 min)" in asked
        assert len(review.problems(asked)) == len(QUESTIONS) + 1
        assert review.problems(filled_in(asked)) == []

    @pytest.mark.parametrize("left", QUESTIONS)
    def test_one_question_left_is_refused(self, left):
        asked = review.template(incident(id="world-1"))
        for unanswered in (QUESTIONS[left], "", f"not sure {QUESTIONS[left]}"):
            [problem] = review.problems(filled_in(asked).replace(FILLED_IN[left], unanswered))
            assert left in problem
        [missing] = review.problems(filled_in(asked).replace(f"## {left}", ""))
        assert "missing" in missing

    @pytest.mark.parametrize(
        ("row", "words"),
        [
            ("| a test | <who> | 2026-12-01 |", "does not say: Owner"),
            ("| a test | ann | soon |", "'soon', which is no date"),
            ("| a test | ann |", "2 cells"),
            ("", "has no row"),
        ],
    )
    def test_an_action_has_an_owner_and_a_date(self, row, words):
        [problem] = review.problems(filled_in(review.template(incident(id="world-1")), row=row))
        assert words in problem

    def test_that_nothing_is_to_be_done_needs_a_reason(self):
        asked = review.template(incident(id="world-1"))
        assert review.problems(filled_in(asked, row="\nNo action: upstream has mended it")) == []
        assert review.problems(filled_in(asked, row="\nNo action")) != []

    @settings(deadline=None)
    @given(st.text(max_size=300))
    def test_reads_whatever_is_handed_in(self, text):
        assert review.problems(text)  # that this is no review, and no error


class TestWhatAwsRemembers:
    def test_an_alarms_history_has_its_making_its_states_and_what_it_did(self, user):
        topic, _ = user.topic()
        alarm = user.alarm(new("metric"), AlarmActions=[topic])
        user.cloudwatch.set_alarm_state(AlarmName=alarm, StateValue="ALARM", StateReason="game day")
        user.cloudwatch.set_alarm_state(AlarmName=alarm, StateValue="OK", StateReason="over")
        user.cloudwatch.delete_alarms(AlarmNames=[alarm])

        def history(**more):
            return user.cloudwatch.describe_alarm_history(AlarmName=alarm, **more)["AlarmHistoryItems"]

        everything = history(ScanBy="TimestampAscending")
        assert [item["HistorySummary"] for item in everything] == [
            f'Alarm "{alarm}" created',
            "Alarm updated from INSUFFICIENT_DATA to ALARM",
            f"Successfully executed action {topic}",
            "Alarm updated from ALARM to OK",
            f'Alarm "{alarm}" deleted',
        ]
        assert history() == everything[::-1]
        states = history(HistoryItemType="StateUpdate")
        assert json.loads(states[0]["HistoryData"])["newState"] == {"stateValue": "OK", "stateReason": "over"}
        assert json.loads(states[0]["HistoryData"])["oldState"] == {"stateValue": "ALARM", "stateReason": "game day"}
        assert history(StartDate=datetime.now(UTC) + timedelta(seconds=5)) == []
        pages = user.cloudwatch.get_paginator("describe_alarm_history")
        paged = [
            each["AlarmHistoryItems"] for each in pages.paginate(AlarmName=alarm, PaginationConfig={"PageSize": 2})
        ]
        assert [len(page) for page in paged] == [2, 2, 1] and list(chain(*paged)) == everything[::-1]

    def test_what_was_changed_can_be_looked_up_in_cloudtrail(self, user):
        function = user.function("def handler(event, context):\n    return 1").rpartition(":")[2]
        user.lambda_.delete_function(FunctionName=function)
        user.lambda_.list_functions()
        with pytest.raises(ClientError):
            user.sagemaker.delete_endpoint(EndpointName=new("nothing"))

        def looked_up(source, **more):
            wanted = [{"AttributeKey": "EventSource", "AttributeValue": f"{source}.amazonaws.com"}]
            pages = user.cloudtrail.get_paginator("lookup_events").paginate(LookupAttributes=wanted, **more)
            return [json.loads(each["CloudTrailEvent"]) for page in pages for each in page["Events"]]

        of_function = [each for each in looked_up("lambda") if function in json.dumps(each["requestParameters"])]
        assert [each["eventName"] for each in of_function] == ["DeleteFunction20150331", "CreateFunction20150331"]
        made = of_function[1]["requestParameters"]
        assert made["functionName"] == function and "zipFile" not in made["code"]
        assert of_function[0]["userIdentity"]["type"] == "Root"
        refused = looked_up("sagemaker")[0]
        assert (refused["eventName"], refused["errorCode"]) == ("DeleteEndpoint", "ValidationException")
        assert looked_up("lambda", EndTime=datetime.now(UTC) - timedelta(hours=1)) == []
        first = user.cloudtrail.lookup_events(MaxResults=1)
        second = user.cloudtrail.lookup_events(MaxResults=1, NextToken=first["NextToken"])
        assert first["Events"][0]["EventTime"] >= second["Events"][0]["EventTime"]
        assert first["Events"][0]["EventId"] != second["Events"][0]["EventId"]

    def test_cloudtrail_is_asked_as_it_wants_to_be(self, user):
        two = [{"AttributeKey": "EventName", "AttributeValue": name} for name in ("CreateModel", "DeleteModel")]
        with pytest.raises(ClientError, match="Only one lookup attribute"):
            user.cloudtrail.lookup_events(LookupAttributes=two)
        with pytest.raises(ClientError, match="no token of an answer"):
            user.cloudtrail.lookup_events(NextToken="elsewhere")


class TestGathering:
    def test_tells_of_alarms_calls_releases_and_monitors_in_one_order(self, user, uri):
        endpoint, bucket = new("churn"), uri.split("/")[2]
        begun = datetime.now(UTC)
        alarm = user.alarm(new("metric"))
        function = user.lambda_.create_function(
            FunctionName=f"{endpoint}-data",
            Role=user.role,
            Runtime="python3.12",
            Handler="app.handler",
            Code={"ZipFile": zipped("def handler(event, context): pass")},
        )["FunctionName"]
        user.cloudwatch.set_alarm_state(AlarmName=alarm, StateValue="ALARM", StateReason="2 of 3 windows")
        time.sleep(1)  # CloudTrail tells of whole seconds
        user.lambda_.delete_function(FunctionName=function)
        user.cloudwatch.set_alarm_state(AlarmName=alarm, StateValue="OK", StateReason="over")
        package = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:model-package/{endpoint}/7"
        before = ledger.stamp(begun - timedelta(days=9))
        went = {"endpoint": endpoint, "package_arn": package, "by": "arn:aws:iam::1:user/ben"}
        ledger.append(user.s3, bucket, Entry(kind="live", at=before, id="old", **went))
        for number, found in enumerate([(), (("age", 0.4),), (("age", 0.5), ("sex", 0.9))]):
            told = report(number, *found, endpoint=endpoint)
            ended = ledger.stamp(begun - timedelta(minutes=15 * (3 - number)))
            told |= {"time": ended, "until": ended, "since": ended}
            key = f"churn/monitors/data/{endpoint}/{ended.replace(':', '-')[:19]}Z.json"
            for name in (key, f"{key.rpartition('/')[0]}/latest.json"):
                user.s3.put_object(Bucket=bucket, Key=name, Body=json.dumps(told).encode())
        section = Guide(alarm, "What is asked has moved.", ["$ slipway monitor show x data"], ["Find out who."])
        body = {"widgets": [{"type": "text", "properties": {"markdown": section.markdown()}}]}
        user.cloudwatch.put_dashboard(DashboardName=f"{endpoint}-runbook", DashboardBody=json.dumps(body))

        opened, _ = store.open(user.s3, uri, incident(opened=ledger.stamp(begun), alarm=alarm))
        sources = timeline.Sources(
            endpoint=endpoint,
            alarms=[alarm],
            cloudwatch=user.cloudwatch,
            cloudtrail=user.cloudtrail,
            s3=user.s3,
            ledger_bucket=bucket,
            reports_uri=f"s3://{bucket}/churn/monitors",
        )
        told = timeline.enrich(user.s3, uri, opened.id, sources, runbook=f"{endpoint}-runbook")

        said = [event.what for event in told.timeline]
        made = f"CreateFunction {function} by root"
        story = [
            "version 7 went live, by ben",
            "data monitor: it moved",
            f"{alarm} rings: 2 of 3 windows",
            f"DeleteFunction {function} by root",
            f"{alarm} is quiet: over",
        ]
        # CloudTrail tells of seconds, so that the function's making may stand before or after the alarm.
        assert [each for each in said if each in story and each != made] == story
        assert made in said
        assert [each.name for each in told.moved] == ["age", "sex"]
        assert told.next_step == "`slipway monitor show x data`"
        assert timeline.enrich(user.s3, uri, opened.id, sources, runbook=f"{endpoint}-runbook") == told

    @pytest.mark.parametrize(
        ("identity", "name"),
        [
            ({"arn": "arn:aws:sts::1:assumed-role/churn-release-b447cee/churn-release"}, "churn-release"),
            ({"arn": "arn:aws:sts::1:assumed-role/approver/erin"}, "approver/erin"),
            ({"arn": "arn:aws:iam::1:user/staff/ann"}, "ann"),
            ({"type": "AWSService", "invokedBy": "events.amazonaws.com"}, "events.amazonaws.com"),
            ({}, "somebody unknown"),
        ],
    )
    def test_says_who_called(self, identity, name):
        record = {"eventName": "DeleteFunction20150331", "eventTime": AT, "userIdentity": identity, "eventID": "1"}
        event = {"EventSource": "lambda.amazonaws.com"}

        class Trail:
            resume_token = None

            def get_paginator(self, _):
                return self

            def paginate(self, **_):
                return self

            def __iter__(self):
                told = {**record, "requestParameters": {"functionName": "churn-prod-data"}}
                return iter([{"Events": [{**event, "CloudTrailEvent": json.dumps(told)}]}])

        [told] = timeline.of_cloudtrail(Trail(), "churn-prod", datetime.now(UTC), datetime.now(UTC))
        assert told.what == f"DeleteFunction churn-prod-data by {name}"

    def test_says_where_cloudtrail_knows_more_than_was_looked_through(self, user, uri, monkeypatch):
        monkeypatch.setattr(timeline, "CHANGES", 1)
        for _ in range(2):
            user.alarm(new("metric"))
        sources = timeline.Sources(endpoint="churn-prod", cloudtrail=user.cloudtrail)
        told = timeline.gather(sources, ledger.now())
        assert told.silent == ("of CloudTrail only the newest 1 changes in the account were looked through",)
        monkeypatch.undo()
        assert timeline.gather(sources, ledger.now()).silent == ()

    def test_a_source_that_does_not_answer_is_named_and_the_others_are_told_of(self, user, uri):
        alarm = user.alarm(new("metric"))
        user.cloudwatch.set_alarm_state(AlarmName=alarm, StateValue="ALARM", StateReason="game day")

        class Throttled:
            def get_paginator(self, name):
                raise ClientError({"Error": {"Code": "ThrottlingException", "Message": "Rate exceeded"}}, name)

        store.open(user.s3, uri, incident(opened=ledger.now(), alarm=alarm))
        sources = timeline.Sources(
            endpoint="churn-prod", alarms=[alarm], cloudwatch=user.cloudwatch, cloudtrail=Throttled(), s3=user.s3
        )
        told = timeline.enrich(user.s3, uri, "world-1", sources, runbook="no-such-runbook")
        assert [event.what for event in told.timeline] == [f"{alarm} rings: game day"]
        assert "CloudTrail could not be asked" in note.markdown(told) and "Rate exceeded" in note.markdown(told)
        told = timeline.enrich(user.s3, uri, "world-1", replace(sources, cloudtrail=user.cloudtrail))
        assert "could not be asked" not in note.markdown(told)


class TestTheCommand:
    @pytest.fixture
    def slipway(self, user, uri, monkeypatch):
        """`slipway incident …` on a product whose incidents are in `uri`."""
        product = uri.partition("/incidents/")[0]
        outputs = {
            "incidents_uri": f"{product}/incidents",
            "reports_uri": f"{product}/monitors",
            "ledger_bucket": uri.split("/")[2],
            "runbook_url": "https://console/#dashboards/dashboard/employment-local-runbook",
        }

        def client(service):
            return getattr(user, service)

        monkeypatch.setattr(
            "infra.reach.reach", lambda stack, **more: Deployed(load("employment-local"), outputs, client)
        )

        def run(*words):
            return CliRunner().invoke(cli.app, ["incident", *words[:1], "employment-local", *words[1:]])

        return run

    @pytest.fixture
    def here(self, uri):
        return uri.replace("churn-prod", "employment-local")

    def test_lists_what_nobody_has_closed(self, slipway, user, here):
        assert "no incident" in slipway("list").output
        opened = ledger.stamp(datetime.now(UTC) - timedelta(minutes=90))
        asked = incident(endpoint="employment-local", opened=opened, alarm="employment-local-drift", decision="retrain")
        store.open(user.s3, here, asked)
        shown = slipway("list")
        assert shown.exit_code == 0
        [row] = [line for line in shown.output.splitlines() if line.startswith("world-1 ")]
        assert re.split(r" {2,}", row.rstrip()) == ["world-1", "1 h 30 min", "-", "open", "drift", "retrain"]
        assert "\nworld-1: nothing yet: it is being seen to\n" in shown.output
        [told] = json.loads(slipway("list", "--json").output)
        assert (told["id"], told["decision"]) == ("world-1", "retrain")

    def test_shows_one_in_the_terminal_as_json_and_as_a_page(self, slipway, user, here, tmp_path):
        long = " ".join(f"word{number}" for number in range(50))
        store.open(user.s3, here, incident(endpoint="employment-local", needs=["look at `churn`"], why=long))
        shown = slipway("show")
        assert "the world moved (open)" in shown.output and "look at churn" in shown.output
        assert all(word in shown.output.split() for word in long.split())  # wrapped, and nothing cut off
        assert json.loads(slipway("show", "world-1", "--json").output)["needs"] == ["look at `churn`"]
        page = tmp_path / "incident.html"
        assert slipway("show", "world-1", "--html", str(page)).exit_code == 0
        assert "<code>churn</code>" in page.read_text()
        missing = slipway("show", "world-7", "--json")
        assert missing.exit_code == 2 and "there is world-1" in json.loads(missing.stdout)["error"]

    def test_closes_one_with_a_review_and_not_without(self, slipway, user, here, tmp_path):
        store.open(user.s3, here, incident(endpoint="employment-local", opened=ledger.now()))
        asked = slipway("close", "world-1")
        assert asked.exit_code == 0 and all(heading in asked.stdout for heading in QUESTIONS)
        file = tmp_path / "review.md"
        file.write_text(asked.stdout)
        refused = slipway("close", "world-1", "--review", str(file))
        assert refused.exit_code == 1 and "`## Impact` is not filled in" in refused.output
        assert store.load(user.s3, here, "world-1").status == "open"

        file.write_text(filled_in(asked.stdout))
        closed = slipway("close", "world-1", "--review", str(file), "--as", "ann", "--json")
        assert closed.exit_code == 0 and json.loads(closed.stdout)["closed_by"] == "ann"
        assert "kilograms" in read(user, here, "world-1-review.md")[0]
        assert "nothing: ann closed it" in read(user, here, "world-1.md")[0]
        assert "no incident" in slipway("list").output and "world-1" in slipway("list", "--all").output
        again = slipway("close", "world-1", "--review", str(file), "--as", "ben")
        assert again.exit_code == 0  # the same review again: nothing is to be done
        file.write_text(filled_in(asked.stdout, Impact="none"))
        other = slipway("close", "world-1", "--review", str(file))
        assert other.exit_code == 1 and "by ann" in other.output


@pytest.mark.parametrize(("told", "written"), [("700.0", "700.0"), ("7. seven", r"7\. seven"), ("# big", r"\# big")])
def test_a_number_in_a_note_stays_a_number_and_no_text_becomes_a_list(told, written):
    assert note._text(told) == written
