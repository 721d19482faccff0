"""An endpoint in the emulator that is asked, answers badly and gets its labels: its monitors ring, and stay quiet."""

import io
import json
import random
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pulumi
import pytest
from botocore.exceptions import ClientError

from components.function import ROOT, source
from functions import ledger
from functions.monitoring.emf import DIMENSION, NAMESPACE
from functions.monitoring.quality import Quality
from functions.quality_monitor.formats import statistics
from tests.emulated import User, new, until
from tests.served_models import archive

LAKE, LEDGER = "lake", "the-ledger"
PROGRAM = """
import time

def model_fn(model_dir): pass

def transform_fn(model, body, content_type, accept):
    if body.startswith("fail"):
        raise RuntimeError("failed")
    if body.startswith("slow"):
        time.sleep(0.3)
        body = "0.5"
    return body, accept
"""
"""A model that answers each row with the probability in it."""
OF_SERVICE = {
    "availability": 0.999,
    "latency": 0.99,
    "latency_ms": 250,
    "rules": [
        {"name": "fast", "long_seconds": 3600, "short_seconds": 300, "factor": 14.4, "rings": True},
        {"name": "slow", "long_seconds": 21_600, "short_seconds": 1800, "factor": 6, "rings": True},
        {"name": "steady", "long_seconds": 259_200, "short_seconds": 21_600, "factor": 1, "rings": False},
    ],
    "fewest_requests": 50,
    "fewest_bad": 5,
}
OF_QUALITY = {
    "captures": f"s3://{LAKE}/captures/",
    "ground_truth": f"s3://{LAKE}/ground-truth/",
    "ledger_bucket": LEDGER,
    "days": 30,
    "most_rows": 100_000,
    "fewest_rows": 500,
    "least_coverage": 0.1,
    "floors": {},
    "windows": 3,
    "worse_windows": 2,
}


def packed(*packages: str) -> bytes:
    """The code of a function, as it is deployed."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive_:
        for path, asset in source(*packages).assets.items():
            assert isinstance(asset, pulumi.FileAsset)
            archive_.write(ROOT / path, path)
    return written.getvalue()


class Watched:
    """Endpoints of one version, and the monitors' functions."""

    def __init__(self, user: User) -> None:
        self.user = user
        self.runtime = user.client("sagemaker-runtime", max_pool_connections=8)
        for bucket in (LAKE, LEDGER):
            user.s3.create_bucket(Bucket=bucket)
        self.functions = {
            monitor: self._function(monitor, f"functions/{monitor}_monitor") for monitor in ("service", "quality")
        }
        user.sagemaker.create_model_package_group(ModelPackageGroupName="watched")
        good = Quality()
        for probability, label in [(0.9, 1)] * 425 + [(0.9, 0)] * 75 + [(0.1, 0)] * 425 + [(0.1, 1)] * 75:
            good.add(probability, label)
        user.s3.put_object(Bucket=LAKE, Key="models/model.tar.gz", Body=archive(PROGRAM))
        user.s3.put_object(
            Bucket=LAKE, Key="models/statistics.json", Body=json.dumps(statistics(good, datetime.now(UTC)))
        )
        self.package = user.sagemaker.create_model_package(
            ModelPackageGroupName="watched",
            ModelApprovalStatus="Approved",
            InferenceSpecification={
                "Containers": [{"Image": "sklearn:1", "ModelDataUrl": f"s3://{LAKE}/models/model.tar.gz"}],
                "SupportedContentTypes": ["text/csv"],
                "SupportedResponseMIMETypes": ["text/csv"],
            },
            DriftCheckBaselines={
                "ModelQuality": {
                    "Statistics": {"ContentType": "application/json", "S3Uri": f"s3://{LAKE}/models/statistics.json"}
                }
            },
        )["ModelPackageArn"]
        user.sagemaker.create_model(
            ModelName="watched", ExecutionRoleArn=user.role, PrimaryContainer={"ModelPackageName": self.package}
        )
        user.sagemaker.create_endpoint_config(
            EndpointConfigName="watched",
            ProductionVariants=[
                {
                    "VariantName": "live",
                    "ModelName": "watched",
                    "InstanceType": "ml.m7i.large",
                    "InitialInstanceCount": 2,
                    "InitialVariantWeight": 1,
                }
            ],
            DataCaptureConfig={
                "EnableCapture": True,
                "InitialSamplingPercentage": 100,
                "DestinationS3Uri": f"s3://{LAKE}/captures/",
                "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
                "CaptureContentTypeHeader": {"CsvContentTypes": ["text/csv"]},
            },
        )

    def _function(self, monitor: str, package: str) -> str:
        made = self.user.lambda_.create_function(
            FunctionName=new(monitor),
            Role=self.user.role,
            Handler=f"functions.{monitor}_monitor.handler.handler",
            Code={"ZipFile": packed(package, "functions/monitoring")},
            Runtime="python3.12",
            Timeout=60,
        )
        return str(made["FunctionArn"])

    def endpoint(self) -> str:
        """A new endpoint in service."""
        name = new("watched")
        self.user.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName="watched")

        def serves() -> bool:
            return self.user.sagemaker.describe_endpoint(EndpointName=name)["EndpointStatus"] == "InService"

        until(serves, f"{name} is in service")
        entry = ledger.Entry(
            kind="live",
            endpoint=name,
            package_arn=self.package,
            at=ledger.stamp(datetime.now(UTC) - timedelta(days=1)),
            by="release",
            id="first",
        )
        ledger.append(self.user.s3, LEDGER, entry)
        return name

    def alarm(self, endpoint: str, metric: str) -> str:
        """As components/monitor.py has it."""
        return self.user.alarm(
            metric,
            Namespace=NAMESPACE,
            Dimensions=[{"Name": DIMENSION, "Value": endpoint}],
            TreatMissingData="notBreaching",
        )

    def ask(self, endpoint: str, body: str, times: int) -> None:
        """As many requests; what the endpoint makes of them is its own."""

        def once(_: int) -> None:
            with suppress(ClientError):
                self.runtime.invoke_endpoint(EndpointName=endpoint, Body=body, ContentType="text/csv")

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(once, range(times)))

    def runs(self, monitor: str, endpoint: str, settings: dict[str, Any]) -> dict[str, Any]:
        """One run of a monitor's function: its report."""
        reports = f"s3://{LAKE}/monitors/{monitor}/{endpoint}/"
        event = {"endpoint": endpoint, "variant": "live", "reports": reports, **settings}
        report, error = self.user.invoke(self.functions[monitor], event)
        assert error is None, report
        assert isinstance(report, dict)
        return report


@pytest.fixture(scope="module")
def watched(user: User) -> Watched:
    return Watched(user)


@pytest.fixture
def endpoint(watched: Watched) -> Iterator[str]:
    name = watched.endpoint()
    yield name
    watched.user.sagemaker.delete_endpoint(EndpointName=name)


def test_metrics_are_read_as_cloudwatch_tells_of_them(user: User) -> None:
    """Percentiles, counts above a limit, and formulas of them; the newest first, and nothing where nothing was."""
    metric = new("latency")
    for minutes_ago, values in ((2, range(10)), (10, range(4))):
        for value in values:
            user.put(metric, 100 * value, ago=60 * minutes_ago, endpoint="a")
    user.put(metric, 10_000, ago=120, endpoint="b")

    def query(name: str, statistic: str) -> dict[str, Any]:
        named = {"Namespace": "Tests", "MetricName": metric, "Dimensions": [{"Name": "endpoint", "Value": "a"}]}
        return {"Id": name, "MetricStat": {"Metric": named, "Period": 60, "Stat": statistic}}

    def ask(*queries: dict[str, Any]) -> dict[str, list[float]]:
        now = datetime.now(UTC)
        answer = user.cloudwatch.get_metric_data(
            MetricDataQueries=list(queries), StartTime=now - timedelta(hours=1), EndTime=now
        )
        return {each["Id"]: each["Values"] for each in answer["MetricDataResults"]}

    share = {"Id": "share", "Expression": "100 * slow / all"}
    hidden = {**query("slow", "TC(300:)"), "ReturnData": False}
    assert ask(hidden, query("all", "SampleCount"), query("most", "p90"), share) == {
        "all": [10, 4],
        "most": [900, 300],
        "share": [60, 0],
    }
    with pytest.raises(ClientError, match=r"the statistic TM\(10%:90%\) is not computed"):
        ask(query("mean", "TM(10%:90%)"))


@pytest.mark.parametrize("bad, objective", [("fail", "availability"), ("slow", "latency")])
def test_the_promise_burns_when_requests_fail_or_are_slow_and_not_before(
    watched: Watched, endpoint: str, bad: str, objective: str
) -> None:
    alarm = watched.alarm(endpoint, "burning")
    watched.ask(endpoint, "0.5", 60)
    quiet = watched.runs("service", endpoint, OF_SERVICE)
    assert (quiet["status"], quiet["burning"], quiet["rows"]) == ("stable", False, 60)
    until(lambda: watched.user.state(alarm) == "OK", "the alarm knows that all is well")
    watched.ask(endpoint, bad, 30)
    report = watched.runs("service", endpoint, OF_SERVICE)
    assert (report["status"], report["burning"]) == ("violated", True)
    assert {each["feature_name"] for each in report["violations"]} == {objective}
    [fast] = [each for each in report["burns"] if (each["objective"], each["rule"]) == (objective, "fast")]
    assert (fast["requests"], fast["bad"]) == (90, 30)
    until(lambda: watched.user.state(alarm) == "ALARM", "the alarm rings")


def test_a_few_failures_of_little_traffic_wake_nobody(watched: Watched, endpoint: str) -> None:
    watched.ask(endpoint, "0.5", 10)
    watched.ask(endpoint, "fail", 3)
    report = watched.runs("service", endpoint, OF_SERVICE)
    assert (report["status"], report["burning"]) == ("stable", False)
    assert {each["enough"] for each in report["burns"]} == {False}


def test_nobody_asks_and_nothing_is_there(watched: Watched, endpoint: str) -> None:
    assert watched.runs("service", endpoint, OF_SERVICE)["status"] == "insufficient"
    report = watched.runs("service", "no-such-endpoint", OF_SERVICE)
    assert (report["status"], report["burning"], report["model_package_arn"]) == ("violated", True, None)
    assert report["summary"] == "It answers nobody: there is no endpoint no-such-endpoint."


def test_an_outage_that_is_over_is_told_but_does_not_ring(watched: Watched, endpoint: str) -> None:
    """Six hours of traffic with an outage of ten minutes: when it began and ended, the uptime, and no alarm."""
    dimensions = [{"Name": "EndpointName", "Value": endpoint}, {"Name": "VariantName", "Value": "live"}]
    source_, now = random.Random(1), datetime.now(UTC)
    data: list[Any] = []
    for ago in range(1, 300):
        at, down = now - timedelta(minutes=ago), 100 <= ago < 110
        values = {
            "Invocations": [1.0] * 20,
            "Invocation5XXErrors": [float(down)] * 20,
            "ModelLatency": [source_.gauss(20_000, 2000) for _ in range(20)],
        }
        data += [
            {"MetricName": name, "Dimensions": dimensions, "Timestamp": at, "Values": of, "Counts": [1.0] * len(of)}
            for name, of in values.items()
        ]
    watched.user.cloudwatch.put_metric_data(Namespace="AWS/SageMaker", MetricData=data)
    report = watched.runs("service", endpoint, OF_SERVICE)
    assert (report["burning"], report["status"], report["violations"]) == (False, "stable", [])
    assert report["summary"].startswith(
        "Nobody is woken, but it will not last for a month: 200 of 5,980 requests failed"
    )
    failed = [each for each in report["moved"] if each["series"] == "failed"]
    began, ended = (datetime.fromisoformat(each["at"]) for each in failed)
    assert abs((now - began).total_seconds() / 60 - 109) <= 1
    assert abs((now - ended).total_seconds() / 60 - 99) <= 1
    assert [(each["before"], each["after"]) for each in failed] == [(0, 1), (1, 0)]
    assert report["uptime"]["day"] == pytest.approx(1 - 10 / 297, abs=0.001)


def rows(source_: random.Random, right: float) -> tuple[str, str]:
    """Ten rows to ask, which are answered with what they say, and labels that agree with as many of the answers."""
    said = [source_.choice([0.1, 0.9]) for _ in range(10)]
    labels = [int(each > 0.5) if source_.random() < right else int(each < 0.5) for each in said]
    return "\n".join(map(str, said)), "\n".join(map(str, labels))


def put_labels(watched: Watched, told: Sequence[tuple[str, str]]) -> None:
    lines = [
        json.dumps(
            {
                "groundTruthData": {"data": labels, "encoding": "CSV"},
                "eventMetadata": {"eventId": name},
                "eventVersion": "0",
            }
        )
        for name, labels in told
    ]
    key = f"ground-truth/{datetime.now(UTC):%Y/%m/%d/%H}/{new('labels')}.jsonl"
    watched.user.s3.put_object(Bucket=LAKE, Key=key, Body="\n".join(lines))


def test_labels_that_turn_ring_though_the_inputs_are_the_same(watched: Watched, endpoint: str) -> None:
    source_, found = random.Random(2), []
    alarm = watched.alarm(endpoint, "quality_drop")
    for right in (0.85, 0.6, 0.6):
        told = []
        for _ in range(60):
            body, labels = rows(source_, right)
            name = new("request")
            watched.runtime.invoke_endpoint(EndpointName=endpoint, Body=body, ContentType="text/csv", InferenceId=name)
            told.append((name, labels))
        assert watched.user.ask("/_slipway/flush", {})[0] == 200
        put_labels(watched, told)
        report = watched.runs("quality", endpoint, OF_QUALITY)
        found.append((report["status"], report["rows"], report["quality_drop"]))
        if right > 0.8:
            until(lambda: watched.user.state(alarm) == "OK", "the alarm knows that the model is good")
    assert found == [("stable", 600, False), ("violated", 600, False), ("violated", 600, True)]
    until(lambda: watched.user.state(alarm) == "ALARM", "the alarm rings")
