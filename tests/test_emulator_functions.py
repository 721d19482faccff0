"""Lambda in the emulator, as a user sees it through boto3."""

import base64
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from tests.emulated import ACCOUNT, new, until, zipped


def test_a_function_gets_its_event_and_its_answer_comes_back(user):
    function = user.function("def handler(event, context):\n    return {'got': event}")
    assert user.invoke(function, {"a": [1, "ü"]}) == ({"got": {"a": [1, "ü"]}}, None)


def test_a_function_knows_its_variables_its_region_and_its_invocation(user):
    code = """
import os
def handler(event, context):
    return {
        "mine": os.environ["MINE"], "region": os.environ["AWS_REGION"], "name": context.function_name,
        "arn": context.invoked_function_arn, "left": context.get_remaining_time_in_millis(),
        "home": "HOME" in os.environ,
    }
"""
    function = user.function(code, environment={"MINE": "yes"}, Timeout=7)
    answer, _ = user.invoke(function)
    assert 0 < answer.pop("left") <= 7000
    name = function.rpartition(":")[2]
    assert answer == {"mine": "yes", "region": "us-east-1", "name": name, "arn": function, "home": False}


def test_a_function_calls_aws_as_its_role(user):
    code = """
import boto3
def handler(event, context):
    boto3.client("sns").create_topic(Name=event)
    return boto3.client("sts").get_caller_identity()["Arn"]
"""
    topic = new("topic")
    function = user.function(code)
    answer, _ = user.invoke(function, topic)
    assert answer == f"arn:aws:sts::{ACCOUNT}:assumed-role/runner/{function.rpartition(':')[2]}"
    (call,) = [each for each in user.calls("CreateTopic") if each["principal"].endswith("role/runner")]
    assert call["principal"] == f"arn:aws:iam::{ACCOUNT}:role/runner"
    assert (call["service"], call["region"], call["status"], call["error"]) == ("sns", "us-east-1", 200, None)


def test_what_a_function_prints_is_in_its_log_between_lambdas_own_lines(user):
    function = user.function("def handler(event, context):\n    print('one\\ntwo', end='')\n    return 1")
    answer = user.lambda_.invoke(FunctionName=function, LogType="Tail")
    assert base64.b64decode(answer["LogResult"]).decode() == "one\ntwo\n"
    start, one, two, end, report = user.logged(function)
    assert (one, two) == ("one", "two")
    assert start.startswith("START RequestId: ") and start.endswith("Version: $LATEST")
    assert end.startswith("END RequestId: ") and "\tBilled Duration: " in report


def test_a_function_stays_warm_between_events_and_starts_anew_when_it_is_changed(user):
    code = "count = 0\ndef handler(event, context):\n    global count\n    count += 1\n    return [{version}, count]"
    function = user.function(code.format(version=1))
    assert [user.invoke(function)[0] for _ in range(2)] == [[1, 1], [1, 2]]
    user.lambda_.update_function_code(FunctionName=function, ZipFile=zipped(code.format(version=2)))
    assert user.invoke(function)[0] == [2, 1]
    user.lambda_.update_function_configuration(FunctionName=function, Environment={"Variables": {"A": "b"}})
    assert user.invoke(function)[0] == [2, 1]


def test_events_at_the_same_time_do_not_wait_for_each_other(user):
    code = """
import pathlib, time
def handler(event, context):
    mine, other = (pathlib.Path(event["folder"]) / name for name in (event["name"], event["other"]))
    mine.touch()
    while not other.exists():
        time.sleep(0.01)
    return True
"""
    function = user.function(code)
    events = [{"folder": str(user.work), "name": a, "other": b} for a, b in (("left", "right"), ("right", "left"))]
    with ThreadPoolExecutor() as pool:
        assert list(pool.map(lambda event: user.invoke(function, event), events)) == [(True, None)] * 2


@pytest.mark.parametrize(
    "code, kind, words",
    [
        ("def handler(event, context):\n    raise KeyError('name')", "KeyError", "'name'"),
        ("def handler(event, context):\n    return {1, 2}", "Runtime.MarshalError", "Unable to marshal response"),
        ("import os\ndef handler(event, context):\n    os._exit(3)", "Runtime.ExitError", "exit status 3"),
        ("import nowhere", "Runtime.ImportModuleError", "Unable to import module 'app': No module named 'nowhere'"),
        ("pass", "Runtime.HandlerNotFound", "Handler 'handler' missing on module 'app'"),
        ("1 / 0", "ZeroDivisionError", "division by zero"),
    ],
)
def test_what_goes_wrong_in_a_function_is_told_as_lambda_tells_it(user, code, kind, words):
    function = user.function(code)
    answer, error = user.invoke(function)
    assert error == "Unhandled"
    assert answer["errorType"] == kind
    assert words in answer["errorMessage"]
    assert any(words in line for line in user.logged(function))


def test_a_function_works_again_after_it_failed(user):
    code = "import os\ndef handler(event, context):\n    return os._exit(1) if event else 'well'"
    function = user.function(code)
    assert [user.invoke(function, event)[1] for event in (True, False)] == ["Unhandled", None]


def test_a_function_is_stopped_at_its_timeout_with_what_it_started(user):
    code = """
import pathlib, subprocess, sys, time
def handler(event, context):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    pathlib.Path(event).write_text(str(child.pid))
    print("begun")
    time.sleep(600)
"""
    function = user.function(code, Timeout=1)
    told = user.work / "grandchild"
    answer, error = user.invoke(function, str(told))
    assert (error, answer["errorType"]) == ("Unhandled", "Sandbox.Timedout")
    assert "Task timed out after 1.00 seconds" in answer["errorMessage"]
    assert "begun" in user.logged(function)
    child = int(told.read_text())
    until(lambda: not psutil.pid_exists(child), "the function's own child ends")


def test_a_function_that_exits_leaves_nothing_that_it_started(user):
    code = """
import os, pathlib, subprocess, sys
def handler(event, context):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    pathlib.Path(event).write_text(str(child.pid))
    os._exit(1)
"""
    told = user.work / "left-behind"
    assert user.invoke(user.function(code), str(told))[1] == "Unhandled"
    child = int(told.read_text())
    until(lambda: not psutil.pid_exists(child), "what it started ends")


def test_a_function_that_is_not_python_is_refused_by_name(user):
    function = user.function("pass", Runtime="nodejs22.x")
    with pytest.raises(user.lambda_.exceptions.ClientError, match=r"runs Python functions; .* is nodejs22\.x"):
        user.invoke(function)


def test_an_event_that_is_not_json_is_refused(user):
    function = user.function("def handler(event, context): pass")
    with pytest.raises(user.lambda_.exceptions.ClientError, match="Could not parse request body"):
        user.lambda_.invoke(FunctionName=function, Payload=b"{")


def test_an_asynchronous_event_that_always_fails_is_repeated_and_then_handed_on(user):
    failed, destination = user.queue()
    function = user.function("def handler(event, context):\n    raise ValueError(event)")
    user.lambda_.put_function_event_invoke_config(
        FunctionName=function, MaximumRetryAttempts=1, DestinationConfig={"OnFailure": {"Destination": destination}}
    )
    assert user.lambda_.invoke(FunctionName=function, InvocationType="Event", Payload=b'"no"')["StatusCode"] == 202
    told = user.body(failed)
    assert told["requestPayload"] == "no"
    assert told["requestContext"]["condition"] == "RetriesExhausted"
    assert told["requestContext"]["approximateInvokeCount"] == 2
    assert told["responsePayload"]["errorType"] == "ValueError"
    assert sum(line.startswith("START") for line in user.logged(function)) == 2


def test_an_asynchronous_event_that_succeeds_is_told_to_its_destination(user):
    done, destination = user.queue()
    function = user.function("def handler(event, context):\n    return event * 2")
    user.lambda_.put_function_event_invoke_config(
        FunctionName=function, DestinationConfig={"OnSuccess": {"Destination": destination}}
    )
    user.lambda_.invoke(FunctionName=function, InvocationType="Event", Payload=b"21")
    told = user.body(done)
    assert (told["requestContext"]["condition"], told["responsePayload"]) == ("Success", 42)


def test_an_event_that_fails_goes_to_the_functions_dead_letter_queue(user):
    dead, arn = user.queue()
    code = "def handler(event, context):\n    raise ValueError"
    function = user.function(code, DeadLetterConfig={"TargetArn": arn})
    assert user.lambda_.get_function_configuration(FunctionName=function)["DeadLetterConfig"] == {"TargetArn": arn}
    user.lambda_.invoke(FunctionName=function, InvocationType="Event", Payload=b'{"kept": true}')
    assert user.body(dead) == {"kept": True}
    assert sum(line.startswith("START") for line in user.logged(function)) == 3


def test_a_functions_errors_are_a_metric_that_an_alarm_can_watch(user):
    function = user.function("def handler(event, context):\n    raise ValueError")
    name = function.rpartition(":")[2]
    alarm = user.alarm(
        "Errors", Namespace="AWS/Lambda", Statistic="Sum", Dimensions=[{"Name": "FunctionName", "Value": name}]
    )
    user.invoke(function)
    until(lambda: user.state(alarm) == "ALARM", "the alarm sees the error")


def test_a_layer_is_imported_from(user):
    packed = zipped("WORD = 'from the layer'", "python/shared.py")
    layer = user.lambda_.publish_layer_version(LayerName=new("layer"), Content={"ZipFile": packed})
    function = user.function(
        "import shared\ndef handler(event, context):\n    return shared.WORD", Layers=[layer["LayerVersionArn"]]
    )
    assert user.invoke(function) == ("from the layer", None)


def test_a_function_stays_warm_between_calls(user):
    function = user.function("import os\ndef handler(event, context):\n    return os.getpid()")
    first, _ = user.invoke(function)
    time.sleep(2.5)  # the emulator looks once a second for what is to be ended
    assert user.invoke(function) == (first, None)


def test_a_function_that_is_deleted_leaves_no_process(user):
    function = user.function("import os\ndef handler(event, context):\n    return os.getpid()")
    pid, _ = user.invoke(function)
    assert psutil.pid_exists(pid)
    user.lambda_.delete_function(FunctionName=function)
    until(lambda: not psutil.pid_exists(pid), "its process ends")


def test_the_answers_of_a_function_that_prints_much_are_not_held_up(user):
    function = user.function("def handler(event, context):\n    print('x' * 1_000_000)\n    return len(event)")
    assert user.invoke(function, "y" * 300_000) == (300_000, None)
