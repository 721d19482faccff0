import json
import threading
import urllib.request
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import psutil
import pytest
from botocore.exceptions import ClientError

from infra.rehearsal.emulator import process
from tests.served_models import BUCKET, ECHO, ROLE, Serving, wait_until

V1, V2 = ECHO.format(name="v1"), ECHO.format(name="v2")
BROKEN = 'def model_fn(model_dir):\n    raise RuntimeError("weights.bin is truncated")\n'
DOUBLE = "def model_fn(model_dir):\n    return 2\n\n\ndef predict_fn(data, model):\n    return data * model\n"


@pytest.fixture(scope="module")
def aws(emulator):
    return Serving(emulator.endpoint)


@pytest.fixture(autouse=True)
def no_endpoint_is_left(aws):
    """Each test's endpoints end with it: their processes would slow down the next."""
    yield
    for endpoint in aws.sagemaker.list_endpoints(MaxResults=100)["Endpoints"]:
        aws.settled(endpoint["EndpointName"])
        aws.sagemaker.delete_endpoint(EndpointName=endpoint["EndpointName"])
    wait_until(lambda: not aws.sagemaker.list_endpoints()["Endpoints"], "all endpoints are gone")


def canary(percent=50, wait=50, alarms=()):
    policy = {
        "TrafficRoutingConfiguration": {
            "Type": "CANARY",
            "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": percent},
            "WaitIntervalInSeconds": wait,
        },
    }
    rollback = {"AutoRollbackConfiguration": {"Alarms": [{"AlarmName": name} for name in alarms]}} if alarms else {}
    return {"BlueGreenUpdatePolicy": policy, **rollback}


def processes_of(endpoint):
    """The model servers of an endpoint; its name is in the path of what they serve."""
    found = []
    for running in psutil.process_iter(["cmdline"]):
        if any(f"/{endpoint}-" in part for part in running.info["cmdline"] or ()):
            found.append(running)
    return found


@pytest.fixture
def alarm(aws):
    """The name of an alarm that is OK."""
    name, cloudwatch = aws.name("alarm"), aws.client("cloudwatch")
    cloudwatch.put_metric_alarm(
        AlarmName=name,
        Namespace="Test",
        MetricName="never",
        Statistic="Sum",
        Period=60,
        EvaluationPeriods=1,
        Threshold=1,
        ComparisonOperator="GreaterThanThreshold",
        TreatMissingData="ignore",
    )
    cloudwatch.set_alarm_state(AlarmName=name, StateValue="OK", StateReason="test")
    yield name
    cloudwatch.delete_alarms(AlarmNames=[name])


def test_an_endpoint_answers_with_what_its_model_says(aws):
    endpoint = aws.serve(aws.config(aws.model(V1)))
    answer = aws.runtime.invoke_endpoint(EndpointName=endpoint, Body=b"", Accept="text/plain")
    assert answer["Body"].read() == b"v1"
    assert answer["ContentType"] == "text/plain"
    assert answer["InvokedProductionVariant"] == "all"


def test_a_program_of_model_fn_alone_reads_and_writes_csv_and_json(aws):
    endpoint = aws.serve(aws.config(aws.model(DOUBLE)))
    assert (
        aws.ask(endpoint, b"1,2\n3,4", ContentType="text/csv", Accept="application/json") == b"[[2.0, 4.0], [6.0, 8.0]]"
    )
    assert aws.ask(endpoint, b"[1, 2]", ContentType="application/json", Accept="text/csv") == b"2.0\n4.0\n"


def test_a_program_sees_its_files_its_environment_and_the_name_of_its_role(aws):
    program = """
import os, pathlib
from helper import greeting

def model_fn(model_dir):
    import boto3
    account = boto3.client("sts").get_caller_identity()["Account"]
    return f"{greeting} {pathlib.Path(model_dir, 'weights').read_text()} {os.environ['LIMIT']} {account}"

def transform_fn(model, body, content_type, accept):
    return model
"""
    files = {"weights": "heavy", "code/helper.py": "greeting = 'hello'\n"}
    endpoint = aws.serve(aws.config(aws.model(program, files, LIMIT="9")))
    assert aws.ask(endpoint) == b"hello heavy 9 123456789012"


def test_a_program_does_not_find_modules_its_archive_does_not_bring(aws):
    described = aws.settled(aws.create(aws.config(aws.model("import policies\n\ndef model_fn(model_dir): pass\n"))))
    assert described["EndpointStatus"] == "Failed"
    assert "No module named 'policies'" in described["FailureReason"]


def test_a_body_of_bytes_reaches_the_program_as_it_is(aws):
    program = "def model_fn(d): pass\n\ndef transform_fn(model, body, content_type, accept):\n    return body[::-1]\n"
    endpoint = aws.serve(aws.config(aws.model(program)))
    assert aws.ask(endpoint, b"\x00\xff\xfe", ContentType="application/octet-stream") == b"\xfe\xff\x00"


def test_variants_share_the_requests_by_their_weights(aws):
    endpoint = aws.serve(aws.config({"much": (aws.model(V1), 9.0), "little": (aws.model(V2), 1.0)}))
    answers = aws.ask_many(endpoint, 100)
    assert 75 <= answers.count(b"v1") <= 99  # 5 standard deviations around 90
    aws.sagemaker.update_endpoint_weights_and_capacities(
        EndpointName=endpoint, DesiredWeightsAndCapacities=[{"VariantName": "much", "DesiredWeight": 0.0}]
    )
    assert set(aws.ask_many(endpoint, 20)) == {b"v2"}
    variants = aws.sagemaker.describe_endpoint(EndpointName=endpoint)["ProductionVariants"]
    assert {variant["VariantName"]: variant["CurrentWeight"] for variant in variants} == {"much": 0.0, "little": 1.0}


def test_a_request_may_name_its_variant(aws):
    endpoint = aws.serve(aws.config({"a": (aws.model(V1), 1.0), "b": (aws.model(V2), 0.0)}))
    assert aws.ask(endpoint, TargetVariant="b") == b"v2"
    with pytest.raises(ClientError, match="it has no variant c"):
        aws.ask(endpoint, TargetVariant="c")


def test_a_canary_answers_a_part_and_then_everything(aws):
    endpoint = aws.serve(aws.config(aws.model(V1)))
    new = aws.config(aws.model(V2))
    aws.sagemaker.update_endpoint(EndpointName=endpoint, EndpointConfigName=new, DeploymentConfig=canary(wait=150))
    wait_until(lambda: aws.ask(endpoint) == b"v2", "the canary answers")
    during = aws.sagemaker.describe_endpoint(EndpointName=endpoint)
    assert during["EndpointStatus"] == "Updating"
    assert during["EndpointConfigName"] != new
    assert during["PendingDeploymentSummary"]["EndpointConfigName"] == new
    assert set(aws.ask_many(endpoint, 30)) == {b"v1", b"v2"}

    after = aws.settled(endpoint)
    assert (after["EndpointStatus"], after["EndpointConfigName"]) == ("InService", new)
    assert "FailureReason" not in after and "PendingDeploymentSummary" not in after
    assert set(aws.ask_many(endpoint, 20)) == {b"v2"}
    assert len(processes_of(endpoint)) == 1


def test_an_alarm_rolls_back_while_the_old_version_answers_every_request(aws, alarm):
    old = aws.config(aws.model(V1))
    endpoint = aws.serve(old)
    new = aws.config(aws.model(V2))
    answers, done = [], threading.Event()

    def keep_asking():
        while not done.is_set():
            answers.append(aws.ask(endpoint))

    users = [threading.Thread(target=keep_asking) for _ in range(2)]
    for user in users:
        user.start()
    try:
        deployment = canary(wait=3600, alarms=[alarm])
        aws.sagemaker.update_endpoint(EndpointName=endpoint, EndpointConfigName=new, DeploymentConfig=deployment)
        wait_until(lambda: b"v2" in answers, "the canary answers")
        aws.client("cloudwatch").set_alarm_state(AlarmName=alarm, StateValue="ALARM", StateReason="test")
        after = aws.settled(endpoint)
        served = len(answers)
        wait_until(lambda: len(answers) > served + 10, "requests go on after the rollback")
    finally:
        done.set()
        for user in users:
            user.join()
    assert (after["EndpointStatus"], after["EndpointConfigName"]) == ("InService", old)
    assert alarm in after["FailureReason"] and new in after["FailureReason"]
    assert set(answers[served + 2 :]) == {b"v1"}
    assert set(answers) == {b"v1", b"v2"}  # every request was answered: a failed one would have ended its thread
    assert len(processes_of(endpoint)) == 1


def test_a_new_version_that_does_not_load_never_serves(aws):
    old = aws.config(aws.model(V1))
    endpoint = aws.serve(old)
    aws.sagemaker.update_endpoint(EndpointName=endpoint, EndpointConfigName=aws.config(aws.model(BROKEN)))
    after = aws.settled(endpoint)
    assert (after["EndpointStatus"], after["EndpointConfigName"]) == ("InService", old)
    assert "weights.bin is truncated" in after["FailureReason"]
    assert aws.ask(endpoint) == b"v1"


def test_a_model_that_does_not_load_fails_the_endpoint_with_its_last_words(aws):
    endpoint = aws.create(aws.config(aws.model(BROKEN)))
    described = aws.settled(endpoint)
    assert described["EndpointStatus"] == "Failed"
    assert "production variant all" in described["FailureReason"]
    assert "weights.bin is truncated" in described["FailureReason"]
    assert processes_of(endpoint) == []
    with pytest.raises(ClientError, match="can only be deleted"):
        aws.sagemaker.update_endpoint(EndpointName=endpoint, EndpointConfigName=aws.config(aws.model(V1)))


@pytest.mark.parametrize(
    "container, reason",
    [
        ({"ModelDataUrl": f"s3://{BUCKET}/nothing.tar.gz"}, "Failed to download model data"),
        ({"ModelDataUrl": f"s3://{BUCKET}/text.tar.gz"}, "not a tar.gz archive"),
        ({}, "names no model archive"),
    ],
)
def test_a_model_without_a_readable_archive_fails_the_endpoint(aws, container, reason):
    aws.s3.put_object(Bucket=BUCKET, Key="text.tar.gz", Body=b"no archive")
    name = aws.name("model")
    aws.sagemaker.create_model(
        ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer={"Image": "sklearn:1", **container}
    )
    described = aws.settled(aws.create(aws.config(name)))
    assert (described["EndpointStatus"], reason in described["FailureReason"]) == ("Failed", True)


def test_a_deleted_endpoint_leaves_no_process_behind(aws):
    endpoint = aws.serve(aws.config({"a": (aws.model(V1), 1.0), "b": (aws.model(V2), 1.0)}))
    assert len(processes_of(endpoint)) == 2
    aws.sagemaker.delete_endpoint(EndpointName=endpoint)
    wait_until(lambda: not processes_of(endpoint), "its processes have ended")
    wait_until(lambda: not aws.sagemaker.list_endpoints(NameContains=endpoint)["Endpoints"], "it is not listed")
    with pytest.raises(ClientError, match="Could not find endpoint"):
        aws.sagemaker.describe_endpoint(EndpointName=endpoint)
    with pytest.raises(ClientError, match="not found"):
        aws.ask(endpoint)


def test_a_model_server_that_is_killed_is_started_again(aws):
    endpoint = aws.serve(aws.config(aws.model(V1)))
    [server] = processes_of(endpoint)
    server.kill()

    def answers_again():
        try:
            return aws.ask(endpoint) == b"v1"
        except aws.runtime.exceptions.ModelError:
            return False

    wait_until(answers_again, "it answers again")


def test_an_endpoint_that_is_changing_refuses_another_change(aws):
    endpoint = aws.serve(aws.config(aws.model(V1)))
    new = aws.config(aws.model(V2))
    aws.sagemaker.update_endpoint(EndpointName=endpoint, EndpointConfigName=new, DeploymentConfig=canary())
    with pytest.raises(ClientError, match="in-progress"):
        aws.sagemaker.delete_endpoint(EndpointName=endpoint)
    aws.settled(endpoint)


def test_a_name_that_is_taken_is_refused(aws):
    model = aws.model(V1)
    config = aws.config(model)
    endpoint = aws.serve(config)
    with pytest.raises(ClientError, match="already existing endpoint"):
        aws.sagemaker.create_endpoint(EndpointName=endpoint, EndpointConfigName=config)
    with pytest.raises(ClientError, match="already existing model"):
        aws.sagemaker.create_model(ModelName=model, ExecutionRoleArn=ROLE, PrimaryContainer={"Image": "a"})


def test_an_update_keeps_live_capacity_where_it_is_told_to(aws):
    endpoint = aws.serve(aws.config(aws.model(V1)))
    aws.sagemaker.update_endpoint_weights_and_capacities(
        EndpointName=endpoint, DesiredWeightsAndCapacities=[{"VariantName": "all", "DesiredInstanceCount": 5}]
    )
    update = {"EndpointName": endpoint, "RetainAllVariantProperties": True}
    aws.sagemaker.update_endpoint(EndpointConfigName=aws.config(aws.model(V2)), **update)
    assert aws.settled(endpoint)["ProductionVariants"][0]["CurrentInstanceCount"] == 5
    excluded = [{"VariantPropertyType": "DesiredInstanceCount"}]
    update["ExcludeRetainedVariantProperties"] = excluded
    aws.sagemaker.update_endpoint(EndpointConfigName=aws.config(aws.model(V2)), **update)
    assert aws.settled(endpoint)["ProductionVariants"][0]["CurrentInstanceCount"] == 2


def test_a_model_package_is_served_with_its_own_archive_and_the_models_variables(aws):
    program = "import os\n\ndef model_fn(d): return os.environ['MODE'] + os.environ['LEVEL']\n\n" + (
        "def transform_fn(model, body, content_type, accept): return model\n"
    )
    url = aws.sagemaker.describe_model(ModelName=aws.model(program))["PrimaryContainer"]["ModelDataUrl"]
    group = aws.name("group")
    aws.sagemaker.create_model_package_group(ModelPackageGroupName=group)
    container = {"Image": "sklearn:1", "ModelDataUrl": url, "Environment": {"MODE": "fast", "LEVEL": "1"}}
    package = aws.sagemaker.create_model_package(
        ModelPackageGroupName=group,
        InferenceSpecification={
            "Containers": [container],
            "SupportedContentTypes": ["text/csv"],
            "SupportedResponseMIMETypes": ["text/csv"],
        },
    )["ModelPackageArn"]
    model = aws.name("model")
    aws.sagemaker.create_model(
        ModelName=model,
        ExecutionRoleArn=ROLE,
        Containers=[{"ModelPackageName": package, "Environment": {"LEVEL": "2"}}],
    )
    assert aws.ask(aws.serve(aws.config(model))) == b"fast2"


FAULTY = """
from werkzeug.exceptions import UnprocessableEntity

class BaseInferenceToolkitError(Exception):
    status_code = 409

def model_fn(model_dir): pass

def transform_fn(model, body, content_type, accept):
    if body == "client":
        raise UnprocessableEntity("age is missing")
    if body == "toolkit":
        raise BaseInferenceToolkitError("too much")
    if body == "server":
        raise ValueError("out of memory")
    return "fine"
"""


@pytest.mark.parametrize(
    "body, status, said",
    [
        (b"client", 422, "422 Unprocessable Entity: age is missing"),
        (b"toolkit", 409, "too much"),
        (b"server", 500, "out of memory"),
    ],
)
def test_a_models_error_is_a_model_error_with_its_status_and_words(aws, body, status, said):
    endpoint = aws.serve(aws.config(aws.model(FAULTY)))
    with pytest.raises(aws.runtime.exceptions.ModelError) as caught:
        aws.ask(endpoint, body, ContentType="text/csv")
    response = caught.value.response
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 424
    assert (response["OriginalStatusCode"], response["OriginalMessage"]) == (status, said)
    assert endpoint in response["LogStreamArn"]


def test_every_request_is_measured(aws):
    endpoint = aws.serve(aws.config(aws.model(FAULTY)))
    for body in (b"fine", b"fine", b"fine", b"client", b"client", b"server"):
        with suppress(aws.runtime.exceptions.ModelError):
            aws.ask(endpoint, body, ContentType="text/csv")

    def total(metric, statistic="Sum"):
        now = datetime.now(UTC)
        points = aws.client("cloudwatch").get_metric_statistics(
            Namespace="AWS/SageMaker",
            MetricName=metric,
            Dimensions=[{"Name": "EndpointName", "Value": endpoint}, {"Name": "VariantName", "Value": "all"}],
            StartTime=now - timedelta(minutes=10),
            EndTime=now + timedelta(minutes=10),
            Period=3600,
            Statistics=[statistic],
        )["Datapoints"]
        return sum(point[statistic] for point in points)

    assert total("Invocations") == 6
    assert total("Invocation4XXErrors") == 2
    assert total("Invocation5XXErrors") == 1
    assert total("InvocationModelErrors") == 3
    assert 100 < total("ModelLatency", "Average") < 5e6  # microseconds
    assert 0 < total("OverheadLatency", "Average") < 5e6


def test_a_content_type_that_the_defaults_do_not_read_or_write_is_refused(aws):
    endpoint = aws.serve(aws.config(aws.model(DOUBLE)))
    for status, types in ((415, {"ContentType": "application/pdf"}), (406, {"Accept": "image/png"})):
        with pytest.raises(aws.runtime.exceptions.ModelError) as caught:
            aws.ask(endpoint, b"1", **{"ContentType": "text/csv", **types})
        assert caught.value.response["OriginalStatusCode"] == status


def test_what_a_model_prints_is_in_the_endpoints_log_group(aws):
    program = (
        "def model_fn(d): print('loading 7 trees')\n\ndef transform_fn(model, body, content_type, accept): return ''\n"
    )
    endpoint = aws.serve(aws.config(aws.model(program)))
    aws.flush()
    group = f"/aws/sagemaker/Endpoints/{endpoint}"
    messages = [event["message"] for event in aws.client("logs").filter_log_events(logGroupName=group)["events"]]
    assert "loading 7 trees" in messages
    assert any("is not run" in message and "sklearn:1" in message for message in messages)


def test_calls_for_a_model_are_made_as_its_role(aws, emulator):
    aws.serve(aws.config(aws.model(V1)))
    arguments = psutil.Process(emulator.pid).cmdline()
    trail = Path(arguments[arguments.index("--work") + 1], "calls.jsonl").read_text("utf-8")
    calls = [json.loads(line) for line in trail.splitlines()]
    assert ("s3", ROLE) in {(call["service"], call["principal"]) for call in calls}


@pytest.mark.parametrize("parameter", ["TargetModel", "SessionId"])
def test_a_parameter_that_is_not_rehearsed_is_refused_by_name(aws, parameter):
    endpoint = aws.serve(aws.config(aws.model(V1)))
    with pytest.raises(ClientError, match=f"{parameter} is not rehearsed"):
        aws.ask(endpoint, **{parameter: "a"})


def test_a_new_version_that_fails_its_requests_sets_off_the_alarm_that_takes_it_back(aws):
    old = aws.config(aws.model(V1))
    endpoint, cloudwatch = aws.serve(old), aws.client("cloudwatch")
    cloudwatch.put_metric_alarm(
        AlarmName=f"{endpoint}-errors",
        Namespace="AWS/SageMaker",
        MetricName="Invocation5XXErrors",
        Dimensions=[{"Name": "EndpointName", "Value": endpoint}, {"Name": "VariantName", "Value": "all"}],
        Statistic="Sum",
        Period=10,
        EvaluationPeriods=1,
        Threshold=3,
        ComparisonOperator="GreaterThanThreshold",
        TreatMissingData="notBreaching",
    )
    failing = aws.config(
        aws.model("def model_fn(d): pass\n\ndef predict_fn(data, model):\n    raise ValueError('x')\n")
    )
    deployment = canary(wait=3000, alarms=[f"{endpoint}-errors"])
    aws.sagemaker.update_endpoint(EndpointName=endpoint, EndpointConfigName=failing, DeploymentConfig=deployment)

    def rolled_back():
        with suppress(aws.runtime.exceptions.ModelError):
            aws.ask(endpoint, ContentType="text/csv")
        return aws.sagemaker.describe_endpoint(EndpointName=endpoint)["EndpointStatus"] == "InService"

    wait_until(rolled_back, "it is rolled back")
    after = aws.sagemaker.describe_endpoint(EndpointName=endpoint)
    assert after["EndpointConfigName"] == old
    assert f"{endpoint}-errors" in after["FailureReason"]
    assert set(aws.ask_many(endpoint, 10)) == {b"v1"}


def test_an_alarm_that_does_not_exist_cannot_watch_a_rollout(aws):
    endpoint = aws.serve(aws.config(aws.model(V1)))
    with pytest.raises(ClientError, match="Alarm nobody of AutoRollbackConfiguration does not exist"):
        aws.sagemaker.update_endpoint(
            EndpointName=endpoint,
            EndpointConfigName=aws.config(aws.model(V2)),
            DeploymentConfig=canary(alarms=["nobody"]),
        )
    assert aws.sagemaker.describe_endpoint(EndpointName=endpoint)["EndpointStatus"] == "InService"


def test_a_model_kept_from_the_network_does_not_reach_aws(aws):
    program = "import boto3\n\ndef model_fn(d):\n    boto3.client('sts').get_caller_identity()\n"
    url = aws.sagemaker.describe_model(ModelName=aws.model(program))["PrimaryContainer"]["ModelDataUrl"]
    name = aws.name("model")
    container = {"Image": "sklearn:1", "ModelDataUrl": url}
    aws.sagemaker.create_model(
        ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer=container, EnableNetworkIsolation=True
    )
    described = aws.settled(aws.create(aws.config(name)))
    assert (described["EndpointStatus"], "credentials" in described["FailureReason"]) == ("Failed", True)


def test_no_model_server_outlives_a_reset_or_the_emulator(tmp_path):
    emulator = process.start(tmp_path)
    try:
        aws = Serving(emulator.endpoint)
        endpoint = aws.serve(aws.config(aws.model(V1)))
        assert processes_of(endpoint)
        urllib.request.urlopen(urllib.request.Request(f"{emulator.endpoint}/moto-api/reset", b"")).close()
        wait_until(lambda: not processes_of(endpoint), "its process has ended")

        aws = Serving(emulator.endpoint)
        endpoint = aws.serve(aws.config(aws.model(V1)))
        psutil.Process(emulator.pid).kill()
        wait_until(lambda: not processes_of(endpoint), "its process has ended")
    finally:
        process.stop(tmp_path)


WAITS = """
import os, pathlib, time

def model_fn(model_dir):
    return pathlib.Path(os.environ["FOLDER"])

def transform_fn(folder, body, content_type, accept):
    (folder / "asked").touch()
    while not (folder / "answer").exists():
        time.sleep(0.01)
    return "late"
"""


def test_a_request_under_way_is_answered_before_its_version_ends(aws, tmp_path):
    endpoint = aws.serve(aws.config(aws.model(WAITS, FOLDER=str(tmp_path))))
    answers = []
    user = threading.Thread(target=lambda: answers.append(aws.ask(endpoint)))
    user.start()
    wait_until((tmp_path / "asked").exists, "the request is on its way")
    new = aws.config(aws.model(V2))
    aws.sagemaker.update_endpoint(EndpointName=endpoint, EndpointConfigName=new)
    described = partial(aws.sagemaker.describe_endpoint, EndpointName=endpoint)
    wait_until(lambda: described()["EndpointConfigName"] == new, "the new version is live")
    assert (aws.ask(endpoint), answers) == (b"v2", [])
    (tmp_path / "answer").touch()
    user.join()
    assert answers == [b"late"]
