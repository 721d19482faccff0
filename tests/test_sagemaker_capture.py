import base64
import re
from datetime import UTC, datetime

import pytest

from tests.served_models import BUCKET, Serving, wait_until

UPPER = """
def model_fn(model_dir): pass

def transform_fn(model, body, content_type, accept):
    if body == "fail":
        raise RuntimeError("failed")
    return body.upper(), accept
"""
BOTH = ({"CaptureMode": "Input"}, {"CaptureMode": "Output"})
TEXTS = {"CsvContentTypes": ["text/csv"], "JsonContentTypes": ["application/json"]}


@pytest.fixture(scope="module")
def aws(emulator):
    return Serving(emulator.endpoint)


@pytest.fixture(scope="module")
def model(aws):
    return aws.model(UPPER)


@pytest.fixture
def captured(aws, model):
    """`captured(options…)`: an endpoint, and the prefix where its captures go."""
    made = []

    def serve(percent=100, options=BOTH, headers=TEXTS, **more):
        prefix = aws.name("captures")
        settings = {
            "EnableCapture": True,
            "InitialSamplingPercentage": percent,
            "DestinationS3Uri": f"s3://{BUCKET}/{prefix}/",
            "CaptureOptions": options,
            **({"CaptureContentTypeHeader": headers} if headers else {}),
            **more,
        }
        made.append(aws.serve(aws.config(model, DataCaptureConfig=settings)))
        return made[-1], prefix

    yield serve
    for endpoint in made:
        aws.sagemaker.delete_endpoint(EndpointName=endpoint)


def records(aws, prefix):
    return [record for file in aws.captures(prefix).values() for record in file]


def test_a_record_has_sagemakers_form(aws, captured):
    endpoint, prefix = captured()
    aws.ask(endpoint, b"a,1\n", ContentType="text/csv", Accept="application/json", InferenceId="order-7")
    [record] = records(aws, prefix)
    event_id = record["eventMetadata"].pop("eventId")
    moment = record["eventMetadata"].pop("inferenceTime")
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", event_id)
    age = datetime.now(UTC) - datetime.strptime(moment, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    assert 0 <= age.total_seconds() < 60
    assert record == {
        "captureData": {
            "endpointInput": {
                "observedContentType": "text/csv",
                "mode": "INPUT",
                "data": "a,1\n",
                "encoding": "CSV",
            },
            "endpointOutput": {
                "observedContentType": "application/json",
                "mode": "OUTPUT",
                "data": "A,1\n",
                "encoding": "JSON",
            },
        },
        "eventMetadata": {"inferenceId": "order-7"},
        "eventVersion": "0",
    }


def test_files_lie_below_endpoint_variant_and_hour(aws, captured):
    endpoint, prefix = captured()
    before = datetime.now(UTC)
    for _ in range(3):
        aws.ask(endpoint, b"a", ContentType="text/csv")
    files = aws.captures(prefix)
    assert sum(len(lines) for lines in files.values()) == 3
    for key in files:
        place = rf"{prefix}/{endpoint}/all/(\d{{4}}/\d\d/\d\d/\d\d)/\d\d-\d\d-\d{{3}}-[0-9a-f-]{{36}}\.jsonl"
        match = re.fullmatch(place, key)
        assert match, key
        assert match[1] in (f"{before:%Y/%m/%d/%H}", f"{datetime.now(UTC):%Y/%m/%d/%H}")


def test_they_are_written_without_being_asked_for(aws, captured):
    endpoint, prefix = captured()
    aws.ask(endpoint, b"a", ContentType="text/csv")
    wait_until(lambda: aws.s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix)["KeyCount"], "a file is there", 15)


@pytest.mark.parametrize("content_type", ["text/csv; charset=utf-8", "TEXT/CSV"])
def test_a_listed_type_counts_with_parameters_and_in_any_case(aws, captured, content_type):
    endpoint, prefix = captured()
    aws.ask(endpoint, b"a", ContentType=content_type)
    [record] = records(aws, prefix)
    assert record["captureData"]["endpointInput"]["encoding"] == "CSV"
    assert record["captureData"]["endpointInput"]["observedContentType"] == content_type


@pytest.mark.parametrize("headers", [None, {"JsonContentTypes": ["application/json"]}])
def test_a_type_that_is_not_listed_becomes_base64(aws, captured, headers):
    endpoint, prefix = captured(headers=headers)
    aws.ask(endpoint, b"a,1", ContentType="text/csv")
    [record] = records(aws, prefix)
    side = record["captureData"]["endpointInput"]
    assert (side["encoding"], base64.b64decode(side["data"])) == ("BASE64", b"a,1")


@pytest.mark.parametrize("mode, side", [("Input", "endpointInput"), ("Output", "endpointOutput")])
def test_one_side_alone_is_captured_where_only_it_is_wanted(aws, captured, mode, side):
    endpoint, prefix = captured(options=[{"CaptureMode": mode}])
    aws.ask(endpoint, b"a", ContentType="text/csv")
    [record] = records(aws, prefix)
    assert list(record["captureData"]) == [side]


def test_about_as_many_of_a_hundred_are_captured_as_wanted(aws, captured):
    endpoint, prefix = captured(percent=30)
    aws.ask_many(endpoint, 200)
    assert 30 <= len(records(aws, prefix)) <= 90  # 5 standard deviations around 60


def test_nothing_is_captured_where_capture_is_off(aws, captured):
    endpoint, prefix = captured(EnableCapture=False)
    aws.ask_many(endpoint, 5)
    assert records(aws, prefix) == []
    described = aws.sagemaker.describe_endpoint(EndpointName=endpoint)
    assert described["DataCaptureConfig"]["CaptureStatus"] == "Stopped"


def test_a_failed_request_is_not_captured(aws, captured):
    endpoint, prefix = captured()
    with pytest.raises(aws.runtime.exceptions.ModelError):
        aws.ask(endpoint, b"fail", ContentType="text/csv")
    assert records(aws, prefix) == []


def test_files_are_encrypted_with_the_configured_key(aws, captured):
    key = aws.client("kms").create_key()["KeyMetadata"]["KeyId"]
    endpoint, prefix = captured(KmsKeyId=key)
    aws.ask(endpoint, b"a", ContentType="text/csv")
    [path] = aws.captures(prefix)
    head = aws.s3.head_object(Bucket=BUCKET, Key=path)
    assert (head["ServerSideEncryption"], key in head["SSEKMSKeyId"]) == ("aws:kms", True)
