"""Preflight: what a plan needs, compared with what an account has."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.stub import ANY, Stubber

from infra.preflight import Check, preflight
from infra.settings import load

REGION = "us-east-1"
STAGING = replace(load("employment-staging"), account_id="123456789012")
"""An environment on AWS whose account is the emulator's."""


@dataclass(frozen=True)
class Planned:
    """A resource of a plan."""

    type: str
    name: str
    inputs: Mapping[str, Any]
    property_dependencies: Mapping[str, list[str]] = field(default_factory=dict)

    @property
    def urn(self) -> str:
        return f"urn:pulumi:test::slipway::{self.type}::{self.name}"


def endpoint(instances: int = 2) -> Planned:
    variant = {"variantName": "live", "instanceType": "ml.m5.large", "initialInstanceCount": instances}
    inputs = {"productionVariants": [variant]}
    return Planned("aws:sagemaker/endpointConfiguration:EndpointConfiguration", "configuration", inputs)


def target(most: int) -> Planned:
    inputs = {"resourceId": "endpoint/employment/variant/live", "maxCapacity": most}
    return Planned("aws:appautoscaling/target:Target", "capacity", inputs)


def nodes(*types: str, most: int = 4, spot: bool = False) -> Planned:
    capacity = "SPOT" if spot else "ON_DEMAND"
    inputs = {"instanceTypes": list(types), "capacityType": capacity, "scalingConfig": {"maxSize": most}}
    return Planned("aws:eks/nodeGroup:NodeGroup", "gpus", inputs)


def subnet(zone: str = "us-east-1a", block: str = "10.0.0.0/20") -> Planned:
    return Planned("aws:ec2/subnet:Subnet", zone, {"availabilityZone": zone, "cidrBlock": block})


class Account:
    """Clients that answer as an account does: quotas and reservations as told, the rest by the emulator."""

    def __init__(self, emulator: str, quotas: Mapping[str, float] | None = None) -> None:
        self.emulator, self.quotas = emulator, dict(quotas or {})
        self.reservations: list[dict[str, Any]] = []

    def __call__(self, service: str) -> Any:
        client = boto3.client(
            service,  # type: ignore[call-overload]  # chosen at run time
            region_name=REGION,
            endpoint_url=self.emulator,
            aws_access_key_id="reader",
            aws_secret_access_key="rehearsal",
            config=Config(retries={"total_max_attempts": 1}),
        )
        if service == "service-quotas":
            stub = Stubber(client)
            listed = [{"QuotaName": name, "Value": value} for name, value in self.quotas.items()]
            stub.add_response("list_service_quotas", {"Quotas": listed}, {"ServiceCode": "sagemaker"})
            stub.activate()
            client.get_service_quota = lambda ServiceCode, QuotaCode: {"Quota": {"Value": self.quotas[QuotaCode]}}
        if service == "ec2" and self.reservations:
            stub = Stubber(client)
            answer = {"CapacityReservations": self.reservations}
            stub.add_response("describe_capacity_reservations", answer, {"CapacityReservationIds": ANY})
            stub.activate()
        return client


@pytest.fixture
def account(emulator: Any) -> Account:
    return Account(emulator.endpoint)


def checks(account: Account, *resources: Planned) -> dict[str, Check]:
    return {each.name: each for each in preflight(STAGING, resources, account)}


def test_a_release_needs_twice_the_instances_that_the_endpoint_may_grow_to(account: Account) -> None:
    name = "quota: ml.m5.large for endpoint usage"
    account.quotas = {"ml.m5.large for endpoint usage": 5}
    found = checks(account, endpoint(), target(3))[name]
    assert (found.status, "6 needed" in found.detail, "Service Quotas" in found.remedy) == ("failed", True, True)
    account.quotas = {"ml.m5.large for endpoint usage": 6}
    assert checks(account, endpoint(), target(3))[name].status == "ok"


def test_a_pipelines_jobs_count_by_their_own_quota(account: Account) -> None:
    training = {
        "Name": "train",
        "Type": "Training",
        "Arguments": {
            "EnableManagedSpotTraining": True,
            "ResourceConfig": {"InstanceType": "ml.m5.xlarge", "InstanceCount": 2},
        },
    }
    definition = json.dumps({"Steps": [training]})
    pipeline = Planned("aws:sagemaker/pipeline:Pipeline", "training", {"pipelineDefinition": definition})
    account.quotas = {"ml.m5.xlarge for spot training job usage": 1}
    found = checks(account, pipeline)["quota: ml.m5.xlarge for spot training job usage"]
    assert found.status == "failed"
    assert "2 needed" in found.detail


def test_nodes_count_by_the_virtual_processors_of_the_largest_type(account: Account) -> None:
    account.quotas = {"L-DB2E81BA": 32}
    name = "quota: Running On-Demand G and VT instances"
    small, large = nodes("g5.xlarge", most=4), nodes("g5.xlarge", "g5.4xlarge", most=4)
    assert checks(account, small)[name].status == "ok"
    assert checks(account, large)[name].status == "failed"


def test_types_that_no_zone_of_the_network_offers_are_told(account: Account) -> None:
    account.quotas = {"L-DB2E81BA": 1000, "L-417A185B": 1000}
    assert checks(account, nodes("g5.xlarge"), subnet())["zones: gpus"].status == "ok"
    nowhere = checks(account, nodes("g5.xlarge"), subnet("eu-south-2a"))["zones: gpus"]
    assert (nowhere.status, "network.zones" in nowhere.remedy) == ("failed", True)


def test_a_network_too_small_for_its_nodes_is_told(account: Account) -> None:
    account.quotas = {"L-DB2E81BA": 10000}
    name = "addresses of the private subnets"
    assert checks(account, nodes("g5.xlarge", most=10), subnet())[name].status == "ok"
    assert checks(account, nodes("g5.xlarge", most=10), subnet(block="10.0.0.0/25"))[name].status == "failed"


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({}, "ok"),
        ({"InstanceType": "p5.48xlarge"}, "failed"),
        ({"State": "cancelled"}, "failed"),
        ({"EndDate": datetime.now(UTC) - timedelta(hours=1)}, "failed"),
    ],
)
def test_a_reservation_must_be_there_for_the_same_type_and_not_over(
    account: Account, change: dict[str, Any], status: str
) -> None:
    reservation = {
        "CapacityReservationId": "cr-1",
        "State": "active",
        "InstanceType": "p4d.24xlarge",
        "AvailabilityZone": "us-east-1a",
        "TotalInstanceCount": 2,
        "EndDate": datetime.now(UTC) + timedelta(days=3),
        **change,
    }
    account.reservations = [reservation]
    inputs = {
        "instanceType": "p4d.24xlarge",
        "capacityReservationSpecification": {"capacityReservationTarget": {"capacityReservationId": "cr-1"}},
    }
    template = Planned("aws:ec2/launchTemplate:LaunchTemplate", "block", inputs)
    assert checks(account, template)["reservation of block"].status == status


def test_approvals_need_a_trail(account: Account) -> None:
    group = Planned("aws:sagemaker/modelPackageGroup:ModelPackageGroup", "employment", {})
    assert checks(account, group)["approvals' trail"].status == "failed"
    account("s3").create_bucket(Bucket="trail-of-preflight")
    account("cloudtrail").create_trail(Name="all", S3BucketName="trail-of-preflight")
    account("cloudtrail").start_logging(Name="all")
    assert checks(account, group)["approvals' trail"].status == "ok"


def test_karpenter_needs_the_role_for_spot_to_be_there(account: Account) -> None:
    values = [{"key": "karpenter.sh/capacity-type", "operator": "In", "values": ["spot"]}]
    spec = {"template": {"spec": {"requirements": values}}}
    pool = Planned("kubernetes:karpenter.sh/v1:NodePool", "burst", {"spec": spec})
    found = checks(account, pool)["role for spot instances"]
    assert (found.status, "create-service-linked-role" in found.remedy) == ("failed", True)
    account("iam").create_role(RoleName="AWSServiceRoleForEC2Spot", AssumeRolePolicyDocument="{}")
    assert checks(account, pool)["role for spot instances"].status == "ok"


def test_credentials_of_another_account_are_told(account: Account) -> None:
    other = replace(STAGING, account_id="999999999999")
    [found] = [each for each in preflight(other, [], account) if each.name == "account"]
    assert (found.status, "aws:allowedAccountIds" in found.remedy) == ("failed", True)


def test_what_may_not_be_read_is_unknown_and_says_what_is_missing(account: Account) -> None:
    def refusing(service: str) -> Any:
        client = account(service)
        if service == "cloudtrail":
            stub = Stubber(client)
            stub.add_client_error("describe_trails", "AccessDeniedException")
            stub.activate()
        return client

    group = Planned("aws:sagemaker/modelPackageGroup:ModelPackageGroup", "employment", {})
    [found] = [each for each in preflight(STAGING, [group], refusing) if "trail" in each.name]
    assert (found.status, "DescribeTrails" in found.remedy) == ("unknown", True)


def test_the_rehearsal_says_what_it_cannot_tell(account: Account) -> None:
    [found] = [each for each in preflight(load("employment-local"), [endpoint()], account) if "quotas" in each.name]
    assert (found.status, "has no quotas" in found.detail) == ("unknown", True)
