"""What is done before a stack is deleted, and what is told of what remains."""

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from infra.teardown import Remain, remains, total, wait_for_interfaces

Client = Callable[[str], Any]
ROLE = "arn:aws:iam::123456789012:role/model"


def by_kind(found: list[Remain]) -> dict[str, list[str]]:
    kinds: dict[str, list[str]] = {}
    for each in found:
        kinds.setdefault(each.kind, []).append(each.name)
    return kinds


def test_of_what_was_never_there_nothing_remains(client: Client) -> None:
    assert remains("nobody-prod", {}, client) == []


def test_what_releases_and_late_writers_leave_behind_is_found_by_the_stacks_name(client: Client) -> None:
    sagemaker, s3 = client("sagemaker"), client("s3")
    sagemaker.create_model(
        ModelName="leaver-prod-0123456789ab", ExecutionRoleArn=ROLE, PrimaryContainer={"Image": "image"}
    )
    sagemaker.create_endpoint_config(
        EndpointConfigName="leaver-prod-ba9876543210",
        ProductionVariants=[
            {
                "VariantName": "live",
                "ModelName": "leaver-prod-0123456789ab",
                "InstanceType": "ml.m5.large",
                "InitialInstanceCount": 1,
            }
        ],
    )
    sagemaker.create_model_package_group(ModelPackageGroupName="leaver-prod")
    client("logs").create_log_group(logGroupName="/aws/sagemaker/Endpoints/leaver-prod")
    s3.create_bucket(Bucket="lake-of-leavers")
    s3.put_object(Bucket="lake-of-leavers", Key="leaver/captures/a.jsonl", Body=b"x" * 1000)
    s3.put_object(Bucket="lake-of-leavers", Key="stayer/captures/a.jsonl", Body=b"x" * 1000)
    found = remains("leaver-prod", {"captures_uri": "s3://lake-of-leavers/leaver/captures"}, client)
    assert by_kind(found) == {
        "data": ["s3://lake-of-leavers/leaver"],
        "endpoint configuration": ["leaver-prod-ba9876543210"],
        "log group": ["/aws/sagemaker/Endpoints/leaver-prod"],
        "model": ["leaver-prod-0123456789ab"],
        "model package group": ["leaver-prod"],
    }
    assert all(each.remove for each in found)
    assert total(found) < 0.01


def test_a_volume_that_a_pod_asked_for_and_a_key_that_goes_are_told_with_their_cost(client: Client) -> None:
    tags = [{"Key": "kubernetes.io/cluster/leaver", "Value": "owned"}]
    client("ec2").create_volume(
        AvailabilityZone="us-east-1a", Size=100, TagSpecifications=[{"ResourceType": "volume", "Tags": tags}]
    )
    key = client("kms").create_key()["KeyMetadata"]["Arn"]
    client("kms").schedule_key_deletion(KeyId=key.rpartition("/")[2], PendingWindowInDays=7)
    found = remains("platform-leaver", {"cluster_name": "leaver", "vpc_id": "vpc-1", "kms_key_arn": key}, client)
    assert [each.kind for each in found] == ["volume", "key"]
    assert total(found) == pytest.approx(8.0)
    assert "cancel-key-deletion" in found[1].remove


def test_what_may_not_be_read_is_told_and_hides_nothing_else(client: Client) -> None:
    client("logs").create_log_group(logGroupName="/aws/lambda/secretive-prod-drift")

    class Refusing:
        def get_paginator(self, operation: str) -> Any:
            raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": ""}}, operation)

    found = remains("secretive-prod", {}, lambda service: Refusing() if service == "sagemaker" else client(service))
    assert by_kind(found)["log group"] == ["/aws/lambda/secretive-prod-drift"]
    assert "endpoints" in by_kind(found)["unknown"]


def test_a_network_is_left_alone_until_its_last_interface_is_gone(client: Client) -> None:
    ec2, said = client("ec2"), list[str]()
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.0.0/24")["Subnet"]["SubnetId"]
    group = ec2.create_security_group(GroupName="workload", Description="workload", VpcId=vpc)["GroupId"]
    interface = ec2.create_network_interface(SubnetId=subnet, Groups=[group])["NetworkInterface"]["NetworkInterfaceId"]
    assert not wait_for_interfaces(group, client, said.append, seconds=0.2, poll=0.05)
    assert interface in said[-1]

    def let_go() -> None:
        time.sleep(0.3)
        ec2.delete_network_interface(NetworkInterfaceId=interface)

    threading.Thread(target=let_go).start()
    assert wait_for_interfaces(group, client, said.append, seconds=20, poll=0.05)
