"""The rehearsed product, step by step, against an emulator: trained, registered, gated, asked, watched."""

import io
import json
import socket
import tarfile
import time
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from functions.drift.core import from_json
from functions.employment.features import SCHEMA
from infra.rehearsal import product
from infra.rehearsal.emulator.process import Emulator
from infra.rehearsal.product import Clients, ProductError
from infra.settings import ROOT

REGION = "us-east-1"
BUCKET = "lake"
NAME = "employment-test"
IMAGE = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.2-1-cpu-py3"
PEOPLE = 12_000
OUTPUTS: Mapping[str, Any] = {
    "model_package_group_name": NAME,
    "feature_group_name": NAME,
    "endpoint_name": NAME,
    "training_uri": f"s3://{BUCKET}/employment/training",
    "models_uri": f"s3://{BUCKET}/employment/models",
    "captures_uri": f"s3://{BUCKET}/employment/captures",
    "reports_uri": f"s3://{BUCKET}/employment/monitors",
    "schedule_name": f"{NAME}/drift",
    "drift_function_name": f"{NAME}-drift",
}


def quiet(text: str) -> None:
    """Where progress goes that no test looks at."""


@pytest.fixture(scope="module", autouse=True)
def fewer_people() -> Iterator[None]:
    """Train on some of the people only: it is faster."""
    census = product.census
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(product, "census", lambda part, rows=None: census(part, rows or PEOPLE))
        yield


@pytest.fixture(scope="module")
def clients(emulator: Emulator) -> Clients:
    """An account in which the stack, without an endpoint, has been deployed."""
    clients = Clients(emulator.endpoint, REGION)
    clients("s3").create_bucket(Bucket=BUCKET)
    clients("sagemaker").create_model_package_group(ModelPackageGroupName=NAME)
    features = [(SCHEMA.record_id, "String"), (SCHEMA.event_time, "String")]
    features += [(feature.name, feature.kind) for feature in SCHEMA.features]
    clients("sagemaker").create_feature_group(
        FeatureGroupName=NAME,
        RecordIdentifierFeatureName=SCHEMA.record_id,
        EventTimeFeatureName=SCHEMA.event_time,
        FeatureDefinitions=[{"FeatureName": name, "FeatureType": kind} for name, kind in features],
        OnlineStoreConfig={"EnableOnlineStore": True},
        RoleArn=role(clients, "sagemaker"),
    )
    return clients


def role(clients: Clients, service: str) -> str:
    trust = {"Effect": "Allow", "Principal": {"Service": f"{service}.amazonaws.com"}, "Action": "sts:AssumeRole"}
    made = clients("iam").create_role(
        RoleName=service, AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    )
    arn: str = made["Role"]["Arn"]
    return arn


@pytest.fixture(scope="module")
def said() -> list[str]:
    return []


@pytest.fixture(scope="module")
def version(clients: Clients, said: list[str]) -> int:
    """A model that was trained, registered and approved."""
    return product.train_and_approve(clients, OUTPUTS, IMAGE, said.append)


@pytest.fixture(scope="module")
def package(clients: Clients, version: int) -> dict[str, Any]:
    described: dict[str, Any] = clients("sagemaker").describe_model_package(ModelPackageName=arn_of(version))
    return described


def arn_of(version: int) -> str:
    return f"arn:aws:sagemaker:{REGION}:123456789012:model-package/{NAME}/{version}"


@pytest.fixture(scope="module")
def served(clients: Clients, version: int) -> Clients:
    """The account, with an endpoint of that model whose requests are captured."""
    sagemaker = clients("sagemaker")
    sagemaker.create_model(
        ModelName=NAME,
        ExecutionRoleArn="arn:aws:iam::123456789012:role/sagemaker",
        PrimaryContainer={"ModelPackageName": arn_of(version)},
    )
    sagemaker.create_endpoint_config(
        EndpointConfigName=NAME,
        ProductionVariants=[
            {"VariantName": "live", "ModelName": NAME, "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
        ],
        DataCaptureConfig={
            "EnableCapture": True,
            "InitialSamplingPercentage": 100,
            "DestinationS3Uri": OUTPUTS["captures_uri"],
            "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
            "CaptureContentTypeHeader": {"CsvContentTypes": ["text/csv"]},
        },
    )
    sagemaker.create_endpoint(EndpointName=NAME, EndpointConfigName=NAME)
    sagemaker.get_waiter("endpoint_in_service").wait(EndpointName=NAME, WaiterConfig={"Delay": 1, "MaxAttempts": 60})
    return clients


@pytest.fixture(scope="module")
def watched(served: Clients, version: int) -> Clients:
    """The account, with an endpoint and the drift monitor."""
    function = served("lambda").create_function(
        FunctionName=OUTPUTS["drift_function_name"],
        Runtime="python3.12",
        Role=role(served, "lambda"),
        Handler="functions.drift.handler.handler",
        Timeout=60,
        Code={"ZipFile": packed(ROOT / "functions")},
    )
    event = {
        "endpoint": NAME,
        "variant": "live",
        "captures": f"{OUTPUTS['captures_uri']}/",
        "reports": f"{OUTPUTS['reports_uri']}/drift/",
        "model_package_arn": arn_of(version),
    }
    served("scheduler").create_schedule_group(Name=NAME)
    served("scheduler").create_schedule(
        Name="drift",
        GroupName=NAME,
        ScheduleExpression="rate(1 hour)",
        FlexibleTimeWindow={"Mode": "OFF"},
        Target={"Arn": function["FunctionArn"], "RoleArn": role(served, "scheduler"), "Input": json.dumps(event)},
    )
    return served


def packed(folder: Path) -> bytes:
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w") as archive:
        for path in (*folder.glob("*.py"), *folder.glob("drift/*.py")):
            archive.write(path, path.relative_to(ROOT))
    return body.getvalue()


def read(clients: Clients, uri: str) -> bytes:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    body: bytes = clients("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
    return body


# --- data -------------------------------------------------------------------------------------------------------------


def test_the_data_are_as_csv_has_them() -> None:
    [person] = product.census("reference", 1)
    assert list(person) == ["id", *SCHEMA.names, "employed"]
    assert (person["AGEP"], person["SCHL"], person["employed"]) == ("62", "16", "0")


def test_the_people_to_serve_come_without_the_answer() -> None:
    people = list(product.census("analysis", 3))
    assert len(people) == 3
    assert all(person.keys() == {"id", *SCHEMA.names} for person in people)


# --- training and the registry ----------------------------------------------------------------------------------------


def test_training_tells_what_it_does_while_it_does_it(version: int, said: list[str]) -> None:
    assert said[0].startswith("training data: 12,000 people of 2015, s3://lake/employment/training/acs-2015-")
    assert any("on 2,400 others" in line for line in said)
    assert said[-1].startswith("passed its gate: accuracy 0.8")


def test_a_version_tells_where_it_comes_from(clients: Clients, package: dict[str, Any]) -> None:
    metadata = package["CustomerMetadataProperties"]
    assert float(metadata["accuracy"]) > 0.8
    assert float(metadata["auc"]) > 0.88
    assert read(clients, metadata["training_data"]).count(b"\n") == PEOPLE + 1
    assert metadata["author"] == "rehearsal"
    assert package["ApprovalDescription"].startswith("rehearsal-gate: accuracy 0.8")


def test_a_version_brings_its_measures_and_its_baseline(clients: Clients, package: dict[str, Any]) -> None:
    quality = json.loads(read(clients, package["ModelMetrics"]["ModelQuality"]["Statistics"]["S3Uri"]))
    measured = quality["binary_classification_metrics"]["accuracy"]["value"]
    assert measured == pytest.approx(float(package["CustomerMetadataProperties"]["accuracy"]), rel=1e-5)
    baseline = from_json(read(clients, package["DriftCheckBaselines"]["ModelDataQuality"]["Statistics"]["S3Uri"]))
    assert {histogram.total for histogram in baseline.values()} == {PEOPLE}


def test_the_archive_holds_the_model_and_what_serves_it(clients: Clients, package: dict[str, Any]) -> None:
    [container] = package["InferenceSpecification"]["Containers"]
    with tarfile.open(fileobj=io.BytesIO(read(clients, container["ModelDataUrl"]))) as archive:
        assert {"model.joblib", "code/inference.py", "code/functions/employment/features.py"} <= set(archive.getnames())
        assert {entry.mtime for entry in archive} == {0}


def test_the_same_code_and_data_are_trained_once(clients: Clients, version: int) -> None:
    lines: list[str] = []
    assert product.train_and_approve(clients, OUTPUTS, IMAGE, lines.append) == version
    assert not any(line.startswith("training:") for line in lines)
    assert product.approved_versions(clients, NAME) == [version]


def test_a_registry_that_is_not_there_has_no_versions(clients: Clients) -> None:
    assert product.approved_versions(clients, "no-such-group") == []


@pytest.fixture
def another_group(clients: Clients) -> Iterator[dict[str, Any]]:
    """The outputs of a stack whose registry is empty."""
    clients("sagemaker").create_model_package_group(ModelPackageGroupName="another")
    yield {**OUTPUTS, "model_package_group_name": "another"}
    product.empty_registry(clients, "another")
    clients("sagemaker").delete_model_package_group(ModelPackageGroupName="another")


def test_a_version_below_the_gate_waits_for_a_person(
    clients: Clients, another_group: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("functions.employment.gate.GATE", {"accuracy": 0.99})
    with pytest.raises(ProductError, match=r"version 1 does not pass the gate: accuracy is 0\.8\d\d, less than 0\.99"):
        product.train_and_approve(clients, another_group, IMAGE, quiet)
    [waiting] = clients("sagemaker").list_model_packages(ModelPackageGroupName="another")["ModelPackageSummaryList"]
    assert waiting["ModelApprovalStatus"] == "PendingManualApproval"
    assert product.approved_versions(clients, "another") == []

    clients("sagemaker").update_model_package(
        ModelPackageArn=waiting["ModelPackageArn"], ModelApprovalStatus="Rejected", ApprovalDescription="biased"
    )
    with pytest.raises(ProductError, match=r"version 1, .*, was rejected \(biased\)"):
        product.train_and_approve(clients, another_group, IMAGE, quiet)


def test_training_that_fails_shows_its_last_words(
    clients: Clients, another_group: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    person = next(iter(product.census("reference", 1)))
    monkeypatch.setattr(product, "census", lambda part: iter([person | {"AGEP": "old"}]))
    with pytest.raises(ProductError, match=r"exit code 1:\n(?s:.*)AGEP is 'old', which is no number"):
        product.train_and_approve(clients, another_group, IMAGE, quiet)


def test_a_bucket_that_is_gone_is_named(clients: Clients) -> None:
    with pytest.raises(ProductError, match=r"training: .*NoSuchBucket"):
        product.train_and_approve(clients, {**OUTPUTS, "training_uri": "s3://gone/training"}, IMAGE, quiet)


# --- features, requests, drift ----------------------------------------------------------------------------------------


def test_features_can_be_read_back(clients: Clients) -> None:
    [first] = product.census("analysis", 1)
    for _ in range(2):  # the second time is later, and replaces what the first has written
        assert product.ingest(clients, OUTPUTS, quiet) == product.RECORDS
    found = clients("sagemaker-featurestore-runtime").get_record(
        FeatureGroupName=NAME, RecordIdentifierValueAsString=first["id"]
    )
    record = {each["FeatureName"]: each["ValueAsString"] for each in found["Record"]}
    assert {name: record[name] for name in SCHEMA.names} == {name: first[name] for name in SCHEMA.names}


def test_a_feature_group_that_is_gone_is_named(clients: Clients) -> None:
    with pytest.raises(ProductError, match=r"ingestion: .*no-such-group"):
        product.ingest(clients, {**OUTPUTS, "feature_group_name": "no-such-group"}, quiet)


def test_an_endpoint_that_is_gone_is_named(clients: Clients) -> None:
    with pytest.raises(ProductError, match=r"requests: .*no-such-endpoint"):
        product.send_requests(clients, {**OUTPUTS, "endpoint_name": "no-such-endpoint"}, quiet)


def test_a_request_that_cannot_be_read_is_the_clients_fault(served: Clients) -> None:
    runtime = served("sagemaker-runtime")
    with pytest.raises(runtime.exceptions.ModelError) as refused:
        runtime.invoke_endpoint(EndpointName=NAME, ContentType="text/csv", Body="old")
    assert refused.value.response["OriginalStatusCode"] == 400
    assert "row 1: 1 values, where 16 are expected" in refused.value.response["OriginalMessage"]


def test_the_monitor_reads_what_was_asked_and_finds_no_drift(watched: Clients) -> None:
    assert product.send_requests(watched, OUTPUTS, quiet) == product.REQUESTS * product.ROWS_A_REQUEST
    lines: list[str] = []
    report = product.run_monitor(watched, OUTPUTS, lines.append)
    assert report["status"] == "stable"
    assert report["rows"] >= product.REQUESTS * product.ROWS_A_REQUEST
    assert lines == [f"drift monitor: stable, {report['rows']:,} rows read, 0 features drifted"]
    assert product.read_report(watched, product.reports(watched, OUTPUTS)[-1]) == report


def test_each_run_of_the_monitor_has_a_report_of_its_own(watched: Clients) -> None:
    first = product.run_monitor(watched, OUTPUTS, quiet)
    second = product.run_monitor(watched, OUTPUTS, quiet)
    assert first["uri"] < second["uri"]
    assert product.reports(watched, OUTPUTS)[-2:] == [first["uri"], second["uri"]]


def test_people_who_differ_are_called_drifted(watched: Clients) -> None:
    """Everyone is asked about as if in group quarters, as many were in a part of the real data."""
    body = "\n".join(",".join((person | {"RELP": "17"})[name] for name in SCHEMA.names) for person in census(1000))
    runtime = watched("sagemaker-runtime")
    for _ in range(3):
        runtime.invoke_endpoint(EndpointName=NAME, ContentType="text/csv", Body=body)
    report = product.run_monitor(watched, OUTPUTS, quiet)
    assert report["status"] == "drifted"
    assert report["features"][0]["feature"] == "RELP"


def census(rows: int) -> Iterator[dict[str, str]]:
    return product.census("analysis", rows)


def test_a_schedule_that_is_gone_is_named(watched: Clients) -> None:
    with pytest.raises(ProductError, match=r"the emulator refused fire: .*no-such-schedule"):
        product.run_monitor(watched, {**OUTPUTS, "schedule_name": "default/no-such-schedule"}, quiet)


def test_a_monitor_that_fails_shows_its_log_at_once(watched: Clients) -> None:
    target = watched("scheduler").get_schedule(GroupName=NAME, Name="drift")["Target"]
    watched("scheduler").create_schedule(
        Name="broken",
        GroupName=NAME,
        ScheduleExpression="rate(1 hour)",
        FlexibleTimeWindow={"Mode": "OFF"},
        Target={**target, "Input": json.dumps({**json.loads(target["Input"]), "model_package_arn": arn_of(99)})},
    )
    began = time.monotonic()
    with pytest.raises(ProductError, match=r"the drift monitor ended without a report. Its log:\n(?s:.*)99"):
        product.run_monitor(watched, {**OUTPUTS, "schedule_name": f"{NAME}/broken"}, quiet)
    assert time.monotonic() - began < product.WAIT_SECONDS / 2


def test_an_emulator_that_does_not_answer_is_named() -> None:
    with socket.socket() as nobody:  # bound and not listening: nothing answers at its port
        nobody.bind(("127.0.0.1", 0))
        absent = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        with pytest.raises(ProductError, match=rf"the emulator does not answer at {absent}"):
            Clients(absent, REGION).ask("flush", {})


def test_a_registry_can_be_emptied(clients: Clients, another_group: dict[str, Any]) -> None:
    clients("sagemaker").create_model_package(
        ModelPackageGroupName="another", InferenceSpecification={"Containers": [{"Image": IMAGE}]}
    )
    product.empty_registry(clients, "another")
    left = clients("sagemaker").list_model_packages(ModelPackageGroupName="another")["ModelPackageSummaryList"]
    assert left == []
