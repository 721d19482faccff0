"""What a user of the emulator does through boto3, for the tests of its live parts. Every name it makes is new."""

import io
import json
import time
import urllib.error
import urllib.request
import uuid
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from infra.rehearsal.emulator.process import Emulator

ACCOUNT, REGION = "123456789012", "us-east-1"


def until(condition: Callable[[], Any], what: str, seconds: float = 30) -> Any:
    """What `condition` returns, once it is true."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds:g} s: {what}")


def new(what: str) -> str:
    return f"{what}-{uuid.uuid4().hex[:8]}"


def zipped(code: str, name: str = "app.py") -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(name, code)
    return packed.getvalue()


class User:
    """Someone with an access key of the account's root."""

    def __init__(self, emulator: Emulator, work: Path) -> None:
        self.emulator, self.work = emulator, work
        self._clients: dict[str, Any] = {}
        services = ("lambda", "scheduler", "eks", "ec2", "sagemaker")
        trusted = [f"{service}.amazonaws.com" for service in services]
        trust = {"Effect": "Allow", "Principal": {"Service": trusted}, "Action": "sts:AssumeRole"}
        self.role = self.iam.create_role(
            RoleName="runner", AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]})
        )["Role"]["Arn"]

    def client(self, service: str, key: str = "test", secret: str = "test", **options: Any) -> Any:
        return boto3.client(
            service,  # type: ignore[call-overload]  # chosen at run time
            region_name=REGION,
            endpoint_url=self.emulator.endpoint,
            aws_access_key_id=key,
            aws_secret_access_key=secret,
            config=Config(**{"retries": {"total_max_attempts": 1}, **options}),
        )

    def __getattr__(self, service: str) -> Any:
        """`user.sqs`: the client of a service."""
        if service not in self._clients:
            self._clients[service] = self.client({"lambda_": "lambda"}.get(service, service))
        return self._clients[service]

    def function(self, code: str, *, environment: Mapping[str, str] | None = None, **more: Any) -> str:
        """A function whose handler is `app.handler`; its ARN."""
        created = self.lambda_.create_function(
            FunctionName=new("function"),
            Role=self.role,
            Handler="app.handler",
            Code={"ZipFile": zipped(code)},
            Environment={"Variables": dict(environment or {})},
            **{"Runtime": "python3.12", "Timeout": 20, **more},
        )
        return str(created["FunctionArn"])

    def invoke(self, function: str, event: Any = None, **more: Any) -> tuple[Any, str | None]:
        """What a function answers, and the kind of its error."""
        answer = self.lambda_.invoke(FunctionName=function, Payload=json.dumps(event), **more)
        body = answer["Payload"].read()
        return json.loads(body) if body else None, answer.get("FunctionError")

    def allow(self, function: str, service: str, source: str) -> None:
        self.lambda_.add_permission(
            FunctionName=function,
            StatementId=new("allow"),
            Action="lambda:InvokeFunction",
            Principal=service,
            SourceArn=source,
        )

    def logged(self, function: str) -> list[str]:
        """Every line of a function's log."""
        group = f"/aws/lambda/{function.rpartition(':')[2]}"
        try:
            events = self.logs.filter_log_events(logGroupName=group)["events"]
        except self.logs.exceptions.ResourceNotFoundException:
            return []
        return [event["message"] for event in events]

    def queue(self) -> tuple[str, str]:
        """A queue's URL and ARN."""
        url = self.sqs.create_queue(QueueName=new("queue"))["QueueUrl"]
        return url, self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]

    def topic(self) -> tuple[str, str]:
        """A topic's ARN, and the URL of a queue that gets what is published to it."""
        url, queue = self.queue()
        topic = self.sns.create_topic(Name=new("topic"))["TopicArn"]
        self.sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue, Attributes={"RawMessageDelivery": "true"})
        return topic, url

    def message(self, queue: str, seconds: float = 30) -> dict[str, Any]:
        """The next message of a queue, taken out of it."""

        def look() -> Any:
            found = self.sqs.receive_message(QueueUrl=queue, MessageAttributeNames=["All"]).get("Messages")
            return found[0] if found else None

        message: dict[str, Any] = until(look, f"a message in {queue}", seconds)
        self.sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
        return message

    def body(self, queue: str, seconds: float = 30) -> Any:
        return json.loads(self.message(queue, seconds)["Body"])

    def waiting(self, queue: str) -> int:
        name = "ApproximateNumberOfMessages"
        found = self.sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=[name])
        return int(found["Attributes"][name])

    def schedule(self, target: str, expression: str = "rate(1 day)", **more: Any) -> str:
        """A schedule of the default group that starts a function or queue; `group/name`."""
        name = new("schedule")
        self.scheduler.create_schedule(
            Name=name,
            ScheduleExpression=expression,
            FlexibleTimeWindow={"Mode": "OFF"},
            Target={"Arn": target, "RoleArn": self.role, **more},
        )
        return f"default/{name}"

    def alarm(self, metric: str, **more: Any) -> str:
        name = new("alarm")
        stated = {"Namespace": "Tests", "MetricName": metric, "Statistic": "Maximum", "Period": 60, "Threshold": 0}
        watched = {"EvaluationPeriods": 1, "ComparisonOperator": "GreaterThanThreshold"}
        asked = {**stated, **watched, **more}
        self.cloudwatch.put_metric_alarm(
            AlarmName=name, **{key: value for key, value in asked.items() if value is not None}
        )
        return name

    def state(self, alarm: str) -> str:
        return str(self.cloudwatch.describe_alarms(AlarmNames=[alarm])["MetricAlarms"][0]["StateValue"])

    def put(self, metric: str, value: float, *, ago: float = 0, **dimensions: str) -> None:
        named = [{"Name": name, "Value": text} for name, text in dimensions.items()]
        datum = {"MetricName": metric, "Value": value, "Timestamp": time.time() - ago, "Dimensions": named}
        self.cloudwatch.put_metric_data(Namespace="Tests", MetricData=[datum])

    def calls(self, action: str) -> list[dict[str, Any]]:
        """The records of every call of an action."""
        lines = (self.work / "calls.jsonl").read_text("utf-8").splitlines()
        return [call for call in map(json.loads, lines) if call["action"] == action]

    def ask(self, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> tuple[int, Any]:
        """The status and the JSON of an answer of the emulator itself."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.emulator.endpoint}{path}", data, dict(headers or {}))
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)
