"""Incidents: nothing of them is lost, they are readable at night, and are closed with a review."""

import json
from datetime import UTC, datetime, timedelta
from itertools import chain

import pytest
from botocore.exceptions import ClientError

from tests.emulated import new


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
