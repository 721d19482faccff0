"""Schedules, events, metrics and alarms in the emulator, as a user sees them through boto3."""

import json
import time
from datetime import UTC, datetime, timedelta

import pytest
from botocore.exceptions import ClientError

from tests.emulated import ACCOUNT, REGION, new, until

REPORT_DRIFT = """
import json, time
def handler(event, context):
    metric = {"Namespace": "Tests", "Dimensions": [["endpoint"]], "Metrics": [{"Name": "drifted", "Unit": "Count"}]}
    about = {"Timestamp": int(time.time() * 1000), "CloudWatchMetrics": [metric]}
    print(json.dumps({"_aws": about, "endpoint": event["endpoint"], "drifted": event["drifted"]}))
"""
SAY = "import json\ndef handler(event, context):\n    print('SAID ' + json.dumps(event))"


def said(user, function):
    return [json.loads(line.removeprefix("SAID ")) for line in user.logged(function) if line.startswith("SAID ")]


def rule(user, target, pattern, **more):
    """A rule that sends what matches to a target; its ARN."""
    name = new("rule")
    arn = user.events.put_rule(Name=name, EventPattern=json.dumps(pattern))["RuleArn"]
    user.events.put_targets(Rule=name, Targets=[{"Id": "1", "Arn": target, **more}])
    return arn


def send(user, source, **detail):
    entry = {"Source": source, "DetailType": "Happened", "Detail": json.dumps(detail)}
    assert user.events.put_events(Entries=[entry])["FailedEntryCount"] == 0


def test_a_scheduled_function_that_logs_a_metric_raises_an_alarm_that_tells_a_topic(user):
    topic, inbox = user.topic()
    endpoint = new("endpoint")
    function = user.function(REPORT_DRIFT)
    dimensions = [{"Name": "endpoint", "Value": endpoint}]
    alarm = user.alarm("drifted", Dimensions=dimensions, AlarmActions=[topic], TreatMissingData="notBreaching")
    schedule = user.schedule(function, "rate(1 minute)", Input=json.dumps({"endpoint": endpoint, "drifted": 3}))
    assert user.ask("/_slipway/fire", {"schedule": schedule}) == (200, {"fired": 1})
    told = user.body(inbox)
    assert (told["AlarmName"], told["NewStateValue"]) == (alarm, "ALARM")
    assert told["Trigger"]["Dimensions"] == [{"name": "endpoint", "value": endpoint}]
    assert user.state(alarm) == "ALARM"
    statistics = user.cloudwatch.get_metric_statistics(
        Namespace="Tests",
        MetricName="drifted",
        Dimensions=dimensions,
        StartTime=datetime.now(UTC) - timedelta(minutes=5),
        EndTime=datetime.now(UTC) + timedelta(minutes=5),
        Period=60,
        Statistics=["Maximum"],
    )
    assert [point["Maximum"] for point in statistics["Datapoints"]] == [3]


def test_a_schedule_starts_its_target_as_its_role_when_its_time_has_come(user):
    queue, arn = user.queue()
    soon = (datetime.now(UTC) + timedelta(seconds=3)).strftime("at(%Y-%m-%dT%H:%M:%S)")
    user.schedule(arn, soon, Input='"now"')
    assert user.body(queue) == "now"
    assert user.role in {call["principal"] for call in user.calls("SendMessage")}
    time.sleep(1.5)  # another tick, which must not start it again
    assert user.waiting(queue) == 0


def test_a_schedule_that_is_to_be_deleted_when_it_is_done_is(user):
    queue, arn = user.queue()
    name = new("once")
    user.scheduler.create_schedule(
        Name=name,
        ScheduleExpression=(datetime.now(UTC) + timedelta(seconds=2)).strftime("at(%Y-%m-%dT%H:%M:%S)"),
        FlexibleTimeWindow={"Mode": "OFF"},
        ActionAfterCompletion="DELETE",
        Target={"Arn": arn, "RoleArn": user.role, "Input": "{}"},
    )
    user.message(queue)

    def gone():
        return name not in [schedule["Name"] for schedule in user.scheduler.list_schedules()["Schedules"]]

    until(gone, "the schedule is deleted")


def test_a_rule_on_a_schedule_can_be_fired_and_matches_no_event(user):
    queue, arn = user.queue()
    name = new("clock")
    user.events.put_rule(Name=name, ScheduleExpression="rate(1 hour)")
    user.events.put_targets(Rule=name, Targets=[{"Id": "1", "Arn": arn}])
    send(user, "tests.clock")
    assert user.ask("/_slipway/fire", {"schedule": name}) == (200, {"fired": 1})
    event = user.body(queue)
    assert event["detail-type"] == "Scheduled Event"
    assert event["resources"] == [f"arn:aws:events:{REGION}:{ACCOUNT}:rule/{name}"]
    assert user.waiting(queue) == 0


def test_a_schedule_that_is_disabled_or_not_there_cannot_be_fired(user):
    name = new("off")
    user.events.put_rule(Name=name, ScheduleExpression="rate(1 hour)", State="DISABLED")
    assert user.ask("/_slipway/fire", {"schedule": name}) == (404, {"error": f"the schedule '{name}' is disabled"})
    status, answer = user.ask("/_slipway/fire", {"schedule": "default/none"})
    assert status == 404 and name in answer["error"]


@pytest.mark.parametrize(
    "expression", ["rate(1 fortnight)", "rate(0 minutes)", "cron(0 8 * * * *)", "cron(61 8 ? * MON *)", "tomorrow"]
)
def test_a_schedule_that_could_never_be_due_is_refused(user, expression):
    with pytest.raises(user.scheduler.exceptions.ValidationException, match="Invalid Schedule Expression"):
        user.schedule("arn:aws:sqs:us-east-1:123456789012:any", expression)


@pytest.mark.parametrize("expression", ["rate(1 minutes)", "rate(2 minute)", "at(2030-01-01T00:00:00)"])
def test_a_rules_schedule_is_held_to_a_rules_grammar(user, expression):
    with pytest.raises(ClientError, match="ScheduleExpression is not valid"):
        user.events.put_rule(Name=new("rule"), ScheduleExpression=expression)


def test_a_rule_hands_what_it_matches_to_a_function(user):
    function = user.function(SAY)
    arn = rule(user, function, {"source": ["tests.match"], "detail": {"size": [{"numeric": [">", 2]}]}})
    user.allow(function, "events.amazonaws.com", arn)
    send(user, "tests.match", size=1)
    send(user, "tests.match", size=3)
    until(lambda: said(user, function), "the function is started")
    (event,) = said(user, function)
    assert (event["source"], event["detail-type"], event["detail"]) == ("tests.match", "Happened", {"size": 3})
    datetime.strptime(event["time"], "%Y-%m-%dT%H:%M:%SZ")


def test_a_rules_target_gets_the_event_in_the_form_it_asks_for(user):
    queue, arn = user.queue()
    source = new("tests.form")
    template = {"InputPathsMap": {"name": "$.detail.name"}, "InputTemplate": '{"hello": "<name>"}'}
    rule(user, arn, {"source": [source]}, InputTransformer=template)
    rule(user, arn, {"source": [source]}, InputPath="$.detail.name")
    rule(user, arn, {"source": [source]}, Input='{"constant": 1}')
    send(user, source, name="you")
    bodies = [user.message(queue)["Body"] for _ in range(3)]
    assert sorted(bodies) == sorted(['{"constant": 1}', "you", '{"hello": "you"}'])


def test_a_disabled_rule_matches_nothing(user):
    queue, arn = user.queue()
    source = new("tests.disabled")
    user.events.disable_rule(Name=rule(user, arn, {"source": [source]}).rpartition("/")[2])
    rule(user, arn, {"source": [source]}, Input='"the other"')
    send(user, source)
    assert user.body(queue) == "the other"
    assert user.waiting(queue) == 0


def test_a_function_that_does_not_allow_it_is_not_started_and_the_event_is_kept(user):
    function, (dead, queue) = user.function(SAY), user.queue()
    source = new("tests.denied")
    arn = rule(user, function, {"source": [source]}, DeadLetterConfig={"Arn": queue})
    user.allow(function, "events.amazonaws.com", f"{arn}-of-another")
    send(user, source, kept=1)
    message = user.message(dead)
    assert json.loads(message["Body"])["detail"] == {"kept": 1}
    attributes = {name: value["StringValue"] for name, value in message["MessageAttributes"].items()}
    assert (attributes["RULE_ARN"], attributes["TARGET_ARN"]) == (arn, function)
    assert "does not let events.amazonaws.com invoke it" in attributes["ERROR_MESSAGE"]
    assert said(user, function) == []


def test_one_target_that_is_gone_keeps_no_event_from_the_others(user):
    queue, arn = user.queue()
    source = new("tests.gone")
    name = rule(user, f"arn:aws:sqs:{REGION}:{ACCOUNT}:nowhere", {"source": [source]}).rpartition("/")[2]
    logs = {"Id": "2", "Arn": f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/nowhere"}
    user.events.put_targets(Rule=name, Targets=[logs, {"Id": "3", "Arn": arn, "Input": '"arrived"'}])
    send(user, source)
    assert user.body(queue) == "arrived"


def test_a_rule_starts_a_state_machine_that_calls_a_function(user):
    function = user.function("def handler(event, context):\n    return event['size'] * 2")
    double = {
        "Type": "Task",
        "Resource": "arn:aws:states:::lambda:invoke",
        "Parameters": {"FunctionName": function, "Payload.$": "$.detail"},
        "OutputPath": "$.Payload",
        "End": True,
    }
    machine = user.stepfunctions.create_state_machine(
        name=new("machine"), roleArn=user.role, definition=json.dumps({"StartAt": "A", "States": {"A": double}})
    )["stateMachineArn"]
    source = new("tests.states")
    rule(user, machine, {"source": [source]}, RoleArn=user.role)
    send(user, source, size=4)
    send(user, source, size=5)

    def ended():
        found = user.stepfunctions.list_executions(stateMachineArn=machine, statusFilter="SUCCEEDED")["executions"]
        return [execution["executionArn"] for execution in found] if len(found) == 2 else None

    executions = until(ended, "both executions succeed")
    outputs = {user.stepfunctions.describe_execution(executionArn=arn)["output"] for arn in executions}
    assert outputs == {"8", "10"}


def test_a_topic_hears_of_an_object_in_a_bucket_through_the_bus(user):
    topic, inbox = user.topic()
    bucket = new("bucket")
    user.s3.create_bucket(Bucket=bucket)
    user.s3.put_bucket_notification_configuration(
        Bucket=bucket, NotificationConfiguration={"EventBridgeConfiguration": {}}
    )
    rule(user, topic, {"source": ["aws.s3"], "detail": {"bucket": {"name": [bucket]}}})
    user.s3.put_object(Bucket=bucket, Key="a", Body=b"1")
    assert user.body(inbox)["detail"]["object"]["key"] == "a"


def test_an_alarm_rings_only_when_enough_of_the_last_periods_are_bad(user):
    metric, dimensions = new("metric"), [{"Name": "who", "Value": "me"}]
    stated = {
        "Dimensions": dimensions,
        "EvaluationPeriods": 3,
        "DatapointsToAlarm": 2,
        "TreatMissingData": "notBreaching",
    }
    alarm = user.alarm(metric, **stated)
    user.put(metric, 5, ago=60, who="me")
    user.put(metric, 5, who="another")
    until(lambda: user.state(alarm) == "OK", "one bad period is not enough, and another's are not its own")
    user.put(metric, 5, who="me")
    until(lambda: user.state(alarm) == "ALARM", "two are")


def test_an_alarm_acts_on_every_change_of_its_state_and_recovers(user):
    topic, inbox = user.topic()
    metric = new("metric")
    alarm = user.alarm(metric, Statistic="Minimum", AlarmActions=[topic], OKActions=[topic])
    assert user.state(alarm) == "INSUFFICIENT_DATA"
    user.put(metric, 1)
    assert user.body(inbox)["NewStateValue"] == "ALARM"
    user.put(metric, -1)
    told = user.body(inbox)
    assert (told["OldStateValue"], told["NewStateValue"]) == ("ALARM", "OK")


def test_an_alarm_keeps_its_state_when_it_is_changed(user):
    metric = new("metric")
    alarm = user.alarm(metric)
    user.put(metric, 1)
    until(lambda: user.state(alarm) == "ALARM", "it rings")
    user.cloudwatch.put_metric_alarm(
        AlarmName=alarm,
        Namespace="Tests",
        MetricName=metric,
        Statistic="Maximum",
        Period=60,
        Threshold=0,
        EvaluationPeriods=2,
        ComparisonOperator="GreaterThanThreshold",
        TreatMissingData="ignore",
    )
    assert user.state(alarm) == "ALARM"


def test_an_alarm_that_is_set_by_hand_acts_and_its_event_arrives(user):
    function = user.function(SAY)
    alarm = user.alarm(new("metric"), AlarmActions=[function])
    arn = user.cloudwatch.describe_alarms(AlarmNames=[alarm])["MetricAlarms"][0]["AlarmArn"]
    user.allow(function, "lambda.alarms.cloudwatch.amazonaws.com", arn)
    queue, target = user.queue()
    rule(user, target, {"source": ["aws.cloudwatch"], "detail": {"alarmName": [alarm]}})
    user.cloudwatch.set_alarm_state(AlarmName=alarm, StateValue="ALARM", StateReason="game day")
    event = user.body(queue)
    assert event["resources"] == [arn]
    assert event["detail"]["state"]["value"] == "ALARM" and event["detail"]["state"]["reason"] == "game day"
    (told,) = until(lambda: said(user, function), "the function is started")
    assert told["alarmData"]["previousState"]["value"] == "INSUFFICIENT_DATA"
    time.sleep(1.5)  # a tick, which must not undo it: there is no data
    assert user.state(alarm) == "ALARM"


def test_an_alarm_whose_actions_are_off_changes_quietly(user):
    topic, inbox = user.topic()
    metric = new("metric")
    quiet = user.alarm(metric, AlarmActions=[topic], ActionsEnabled=False)
    user.put(metric, 1)
    until(lambda: user.state(quiet) == "ALARM", "it rings")
    assert user.waiting(inbox) == 0


def test_an_alarm_on_a_formula_divides_what_two_metrics_say(user):
    errors, requests = new("errors"), new("requests")

    def query(identity, name):
        stat = {"Metric": {"Namespace": "Tests", "MetricName": name}, "Period": 60, "Stat": "Sum"}
        return {"Id": identity, "MetricStat": stat, "ReturnData": False}

    alarm = new("alarm")
    user.cloudwatch.put_metric_alarm(
        AlarmName=alarm,
        Metrics=[query("e", errors), query("r", requests), {"Id": "rate", "Expression": "100 * e / (r + e)"}],
        Threshold=10,
        EvaluationPeriods=1,
        ComparisonOperator="GreaterThanThreshold",
    )
    user.put(requests, 95)
    user.put(errors, 5)
    until(lambda: user.state(alarm) == "OK", "5 % are well")
    user.put(errors, 20)
    until(lambda: user.state(alarm) == "ALARM", "20 % are not")


@pytest.mark.parametrize(
    "stated, words",
    [
        ({"Statistic": None, "ExtendedStatistic": "p99x"}, "p99x is not computed"),
        ({"ComparisonOperator": "GreaterThanUpperThreshold"}, "anomaly bands are not evaluated"),
    ],
)
def test_an_alarm_that_would_never_be_evaluated_is_refused(user, stated, words):
    before = len(user.cloudwatch.describe_alarms()["MetricAlarms"])
    with pytest.raises(ClientError, match=words):
        user.alarm("any", **stated)
    assert len(user.cloudwatch.describe_alarms()["MetricAlarms"]) == before


def test_messages_that_wait_in_a_queue_raise_an_alarm(user):
    queue, arn = user.queue()
    dimensions = [{"Name": "QueueName", "Value": arn.rpartition(":")[2]}]
    alarm = user.alarm("ApproximateNumberOfMessagesVisible", Namespace="AWS/SQS", Dimensions=dimensions)
    until(lambda: user.state(alarm) == "OK", "an empty queue is well")
    user.sqs.send_message(QueueUrl=queue, MessageBody="dead letter")
    until(lambda: user.state(alarm) == "ALARM", "a message is not")


def test_lines_that_match_a_metric_filter_are_counted(user):
    group, metric = new("/group"), new("errors")
    user.logs.create_log_group(logGroupName=group)
    user.logs.create_log_stream(logGroupName=group, logStreamName="s")
    counted = {"metricName": metric, "metricNamespace": "Tests", "metricValue": "1"}
    user.logs.put_metric_filter(
        logGroupName=group, filterName="f", filterPattern='"went wrong" -expected', metricTransformations=[counted]
    )
    alarm = user.alarm(metric, Statistic="Sum", Threshold=1)
    now = int(time.time() * 1000)
    lines = ["it went wrong", "it went wrong, as expected", "well", "also went wrong"]
    user.logs.put_log_events(
        logGroupName=group, logStreamName="s", logEvents=[{"timestamp": now, "message": line} for line in lines]
    )
    until(lambda: user.state(alarm) == "ALARM", "two lines are more than one")
    with pytest.raises(ClientError, match="matches words in log lines"):
        user.logs.put_metric_filter(
            logGroupName=group, filterName="g", filterPattern="{ $.a = 1 }", metricTransformations=[counted]
        )
