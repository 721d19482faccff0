"""The rehearsed product, step by step: what is said where one fails. tests/test_rehearsal.py runs all of them."""

import json
import socket
from collections.abc import Mapping
from typing import Any

import pytest

from functions.employment.features import LABEL, SCHEMA
from infra.rehearsal import product, samples
from infra.rehearsal.emulator.process import Emulator
from infra.rehearsal.product import Clients, ProductError
from infra.rehearsal.samples import Sample, SampleError
from stacks.employment import Employment
from stacks.product import Product
from stacks.samples import employment

REGION = "us-east-1"
BUCKET = "lake"
NAME = "employment-test"
ROLE = "arn:aws:iam::123456789012:role/pipeline"
OUTPUTS: Mapping[str, Any] = {
    "model_package_group_name": NAME,
    "endpoint_name": NAME,
    "first_version": 1,
    "pipeline_name": f"{NAME}-training",
    "ingest_function_name": f"{NAME}-ingest",
    "approver_role_arn": "arn:aws:iam::123456789012:role/approver",
    "ledger_bucket": BUCKET,
    "labels_uri": f"s3://{BUCKET}/employment/labels",
    "incoming_uri": f"s3://{BUCKET}/employment/incoming",
    "reports_uri": f"s3://{BUCKET}/employment/monitors",
    "data_schedule_name": f"{NAME}-data/run",
    "data_function_name": f"{NAME}-data",
}
PEOPLE = Sample(Employment)


def quiet(text: str) -> None:
    """Where progress goes that no test looks at."""


@pytest.fixture(scope="module")
def clients(emulator: Emulator) -> Clients:
    """An account with a lake and an empty registry."""
    clients = Clients(emulator.endpoint, REGION)
    clients("s3").create_bucket(Bucket=BUCKET)
    clients("sagemaker").create_model_package_group(ModelPackageGroupName=NAME)
    return clients


@pytest.fixture
def few_people(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLIPWAY_PEOPLE", "50")
    monkeypatch.setattr(product, "INGEST_SECONDS", 1.0)


def pipeline(clients: Clients, name: str, *steps: Mapping[str, Any]) -> str:
    """A pipeline of these steps."""
    definition = {"Version": "2020-12-01", "Parameters": [{"Name": "Dataset", "Type": "String"}], "Steps": steps}
    clients("sagemaker").create_pipeline(
        PipelineName=name, PipelineDefinition=json.dumps(definition), RoleArn=ROLE, ClientRequestToken="t" * 32
    )
    return name


# --- data -------------------------------------------------------------------------------------------------------------


def test_the_data_are_as_csv_has_them() -> None:
    person = next(employment.history())
    assert person.keys() == {"id", "event_time", *SCHEMA.names, LABEL}
    assert (person["AGEP"], person["SCHL"], person["employed"]) == ("62", "16", "0")


def test_the_people_to_serve_come_without_the_answer() -> None:
    assert next(employment.requests()).keys() == {"id", *SCHEMA.names}


def test_lines_are_in_the_order_of_the_schema() -> None:
    [line], [named] = PEOPLE.lines(1), PEOPLE.lines(1, with_id=True)
    person = next(employment.requests())
    assert line == ",".join(person[name] for name in SCHEMA.names)
    assert named == f"{person['id']},{line}"


def test_a_product_without_data_cannot_be_rehearsed() -> None:
    class Silent(Product):
        pass

    with pytest.raises(SampleError, match="Silent has no data to be rehearsed with: set its `sample`"):
        Sample(Silent)


def test_data_that_are_not_there_or_lack_a_column_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    class Lost(Employment):
        sample = "stacks.samples.nowhere"

    with pytest.raises(SampleError, match=r"Lost\.sample is 'stacks\.samples\.nowhere': No module"):
        Sample(Lost)
    monkeypatch.setattr(employment, "requests", lambda: iter([{"id": "1"}]))
    with pytest.raises(SampleError, match=r"stacks\.samples\.employment\.requests: row 1 lacks AGEP"):
        PEOPLE.lines(1)
    monkeypatch.setattr(employment, "requests", lambda: iter([]))
    with pytest.raises(SampleError, match="there is no row"):
        PEOPLE.lines(1)


@pytest.mark.parametrize("text", ["many", "0", "-3"])
def test_a_number_of_people_that_is_none_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLIPWAY_PEOPLE", text)
    with pytest.raises(SampleError, match=f"SLIPWAY_PEOPLE is '{text}'"):
        samples.limit()


# --- ingestion, training, approval ------------------------------------------------------------------------------------


def test_a_file_that_nobody_takes_in_is_told(clients: Clients, few_people: None) -> None:
    with pytest.raises(ProductError, match=r"has not taken in acs-2015.csv within 1 s"):
        product.deliver(clients, OUTPUTS, PEOPLE, quiet)
    labels = clients("s3").get_object(Bucket=BUCKET, Key="employment/labels/acs-2015.csv")["Body"].read().decode()
    assert labels.splitlines()[0] == "id,event_time,employed"
    assert len(labels.splitlines()) == 51


def test_a_lake_that_is_gone_is_named(clients: Clients, few_people: None) -> None:
    with pytest.raises(ProductError, match=r"ingestion: .*NoSuchBucket"):
        product.deliver(clients, {**OUTPUTS, "labels_uri": "s3://gone/labels"}, PEOPLE, quiet)


def test_a_pipeline_that_fails_is_told_with_its_reason(clients: Clients) -> None:
    fail = {"Name": "stop", "Type": "Fail", "Arguments": {"ErrorMessage": "the labels have no header"}}
    name = pipeline(clients, "fails", fail)
    with pytest.raises(ProductError, match=r"the training pipeline failed: .*"):
        product.train(clients, {**OUTPUTS, "pipeline_name": name}, "sample", quiet)


def test_a_pipeline_that_is_gone_is_named(clients: Clients) -> None:
    with pytest.raises(ProductError, match=r"training: .*no-such-pipeline"):
        product.train(clients, {**OUTPUTS, "pipeline_name": "no-such-pipeline"}, "sample", quiet)


def test_a_rejected_version_is_not_approved(clients: Clients) -> None:
    arn = clients("sagemaker").create_model_package(
        ModelPackageGroupName=NAME, InferenceSpecification={"Containers": [{"Image": "image"}]}
    )["ModelPackageArn"]
    clients("sagemaker").update_model_package(
        ModelPackageArn=arn, ModelApprovalStatus="Rejected", ApprovalDescription="it guesses"
    )
    with pytest.raises(ProductError, match=r"version 1 was rejected \(it guesses\)"):
        product.approve(clients, OUTPUTS, 1, quiet)


# --- serving and watching ---------------------------------------------------------------------------------------------


def test_an_endpoint_without_a_release_machine_is_told(clients: Clients) -> None:
    with pytest.raises(ProductError, match=rf"there is no state machine {NAME}-release"):
        product.release(clients, OUTPUTS, quiet)


def test_an_endpoint_that_is_gone_is_named(clients: Clients) -> None:
    with pytest.raises(ProductError, match=rf"requests: .*Endpoint {NAME} of account 123456789012 not found"):
        product.send_requests(clients, OUTPUTS, PEOPLE, quiet)


def test_a_schedule_that_is_gone_is_named(clients: Clients) -> None:
    with pytest.raises(ProductError, match=r"the emulator refused fire: .*no-such-schedule"):
        product.run_monitor(clients, {**OUTPUTS, "data_schedule_name": "default/no-such-schedule"}, quiet)


def test_an_emulator_that_does_not_answer_is_named() -> None:
    with socket.socket() as nobody:  # bound and not listening: nothing answers at its port
        nobody.bind(("127.0.0.1", 0))
        absent = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        with pytest.raises(ProductError, match=rf"the emulator does not answer at {absent}"):
            Clients(absent, REGION).ask("flush", {})


# --- the registry -----------------------------------------------------------------------------------------------------


def test_a_registry_that_is_not_there_has_no_versions(clients: Clients) -> None:
    assert product.approved_versions(clients, "nobody") == []


def test_a_registry_can_be_emptied(clients: Clients) -> None:
    clients("sagemaker").create_model_package_group(ModelPackageGroupName="another")
    clients("sagemaker").create_model_package(
        ModelPackageGroupName="another", InferenceSpecification={"Containers": [{"Image": "image"}]}
    )
    product.empty_registry(clients, "another")
    left = clients("sagemaker").list_model_packages(ModelPackageGroupName="another")["ModelPackageSummaryList"]
    assert left == []
