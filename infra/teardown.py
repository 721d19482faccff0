"""Taking a stack down in order, and telling what remains of it and what that still costs.

Pulumi deletes in the reverse order of dependencies. What it cannot know stands here: running jobs are stopped first,
and a network waits until SageMaker has let go of the interfaces that it made there for models and jobs.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, Final

from botocore.exceptions import ClientError

from policies.cost.prices import HOURS, PRICES

Client = Callable[[str], Any]
"""Gives the boto3 client of a service, in the stack's region."""
Say = Callable[[str], None]

INTERFACE_SECONDS: Final = 1800.0
"""How long SageMaker is given to let go of its interfaces; it takes minutes."""
POLL_SECONDS: Final = 10.0
GIB: Final = 1 << 30
S3_USD: Final = 0.023
LOGS_USD: Final = 0.03
VOLUME_USD: Final = 0.08
"""A GiB-month of S3 Standard, of CloudWatch Logs and of a gp3 volume in us-east-1.

https://aws.amazon.com/s3/pricing, https://aws.amazon.com/cloudwatch/pricing, https://aws.amazon.com/ebs/pricing, read
2026-11-21.
"""


@dataclass(frozen=True)
class Remain:
    """Something that is still there after a stack was deleted."""

    kind: str
    name: str
    why: str
    usd_per_month: float | None
    """None where it is not known."""
    remove: str
    """How to remove it, for whoever is sure."""

    def to_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)


# --- before and between ---------------------------------------------------------------------------------------------


def stop_running(stack: str, client: Client, say: Say) -> int:
    """Stop the pipeline executions and jobs of a product, so that nothing writes to what is about to go.

    Returns how many were stopped.
    """
    sagemaker, stopped = client("sagemaker"), 0
    with suppress(ClientError):  # a product without a pipeline has none to stop
        pages = sagemaker.get_paginator("list_pipeline_executions").paginate(PipelineName=f"{stack}-training")
        for page in pages:
            for each in page["PipelineExecutionSummaries"]:
                if each["PipelineExecutionStatus"] == "Executing":
                    sagemaker.stop_pipeline_execution(
                        PipelineExecutionArn=each["PipelineExecutionArn"],
                        ClientRequestToken=f"slipway-teardown-{each['PipelineExecutionArn'].rpartition('/')[2]:0>16}",
                    )
                    stopped += 1
    for list_, stop, key in (
        ("list_training_jobs", "stop_training_job", "TrainingJob"),
        ("list_transform_jobs", "stop_transform_job", "TransformJob"),
    ):
        for page in sagemaker.get_paginator(list_).paginate(NameContains=stack, StatusEquals="InProgress"):
            for each in page[f"{key}Summaries"]:
                getattr(sagemaker, stop)(**{f"{key}Name": each[f"{key}Name"]})
                stopped += 1
    if stopped:
        say(f"{stack}: {stopped} executions and jobs stopped")
    return stopped


def wait_for_interfaces(
    security_group_id: str, client: Client, say: Say, *, seconds: float = INTERFACE_SECONDS, poll: float = POLL_SECONDS
) -> bool:
    """Wait until nothing uses the workloads' security group any more: a network with interfaces cannot be deleted.

    Returns whether they are gone in `seconds`.
    """
    deadline, told = time.monotonic() + seconds, False
    while True:
        wanted = [{"Name": "group-id", "Values": [security_group_id]}]
        found = client("ec2").describe_network_interfaces(Filters=wanted)["NetworkInterfaces"]
        if not found:
            return True
        if time.monotonic() >= deadline:
            say(f"{len(found)} network interfaces still use {security_group_id}: {found[0]['NetworkInterfaceId']} …")
            return False
        if not told:
            say(f"waiting for SageMaker to let go of {len(found)} network interfaces")
            told = True
        time.sleep(poll)


# --- after ----------------------------------------------------------------------------------------------------------


def remains(stack: str, outputs: Mapping[str, Any], client: Client) -> list[Remain]:
    """What is left of a stack, by its name and by what it exported; what costs most comes first.

    Reads only. What may not be read is left out of the list with a line that says so.
    """
    found: list[Remain] = []
    parts: Sequence[tuple[str, Callable[[], Iterator[Remain]]]] = (
        ("endpoints", lambda: _endpoints(stack, client)),
        ("models and configurations", lambda: _configurations(stack, client)),
        ("the model registry", lambda: _registry(stack, client)),
        ("feature groups", lambda: _features(stack, client)),
        ("log groups", lambda: _logs(stack, client)),
        ("objects", lambda: _objects(outputs, client)),
        ("volumes", lambda: _volumes(outputs, client)),
        ("network interfaces", lambda: _interfaces(outputs, client)),
        ("keys", lambda: _keys(outputs, client)),
    )
    for what, look in parts:
        try:
            found += look()
        except ClientError as error:
            code = error.response["Error"]["Code"]
            found.append(Remain("unknown", what, f"{error.operation_name} was refused: {code}", None, "look yourself"))
    return sorted(found, key=lambda each: (-(each.usd_per_month or 0), each.kind, each.name))


def _pages(client: Any, operation: str, member: str, **arguments: Any) -> Iterator[Mapping[str, Any]]:
    for page in client.get_paginator(operation).paginate(**arguments):
        yield from page[member]


def _endpoints(stack: str, client: Client) -> Iterator[Remain]:
    sagemaker = client("sagemaker")
    for each in _pages(sagemaker, "list_endpoints", "Endpoints", NameContains=stack):
        name = each["EndpointName"]
        described = sagemaker.describe_endpoint(EndpointName=name)
        configuration = sagemaker.describe_endpoint_config(EndpointConfigName=described["EndpointConfigName"])
        prices = [
            PRICES["instances"].get(variant.get("InstanceType"), {}).get("usd")
            for variant in configuration["ProductionVariants"]
        ]
        counts = [int(variant.get("CurrentInstanceCount") or 0) for variant in described.get("ProductionVariants", ())]
        known = all(price is not None for price in prices)
        usd = sum(price * count for price, count in zip(prices, counts, strict=False)) * HOURS if known else None
        yield Remain("endpoint", name, "it runs", usd, f"aws sagemaker delete-endpoint --endpoint-name {name}")


def _configurations(stack: str, client: Client) -> Iterator[Remain]:
    sagemaker = client("sagemaker")
    for operation, member, key, kind, command in (
        ("list_endpoint_configs", "EndpointConfigs", "EndpointConfigName", "endpoint configuration", "endpoint-config"),
        ("list_models", "Models", "ModelName", "model", "model"),
    ):
        found = _pages(sagemaker, operation, member, NameContains=stack)
        names = sorted(each[key] for each in found if each[key].startswith(stack))
        for name in names:
            option = "endpoint-config-name" if command == "endpoint-config" else "model-name"
            why = "kept so that a rollback finds it"
            yield Remain(kind, name, why, 0.0, f"aws sagemaker delete-{command} --{option} {name}")


def _registry(stack: str, client: Client) -> Iterator[Remain]:
    sagemaker = client("sagemaker")
    for group in _pages(sagemaker, "list_model_package_groups", "ModelPackageGroupSummaryList", NameContains=stack):
        name = group["ModelPackageGroupName"]
        versions = sum(
            1 for _ in _pages(sagemaker, "list_model_packages", "ModelPackageSummaryList", ModelPackageGroupName=name)
        )
        yield Remain(
            "model package group",
            name,
            f"{versions} versions: the record of what was served",
            0.0,
            f"delete its versions, then: aws sagemaker delete-model-package-group --model-package-group-name {name}",
        )


def _features(stack: str, client: Client) -> Iterator[Remain]:
    for each in _pages(client("sagemaker"), "list_feature_groups", "FeatureGroupSummaries", NameContains=stack):
        name = each["FeatureGroupName"]
        command = f"aws sagemaker delete-feature-group --feature-group-name {name}"
        yield Remain("feature group", name, "protected: it holds the online store's records", None, command)


def _logs(stack: str, client: Client) -> Iterator[Remain]:
    for prefix in ("/aws/lambda/", "/aws/sagemaker/Endpoints/", "/aws/eks/", "/aws/vendedlogs/", "/aws/apigateway/"):
        for group in _pages(client("logs"), "describe_log_groups", "logGroups", logGroupNamePrefix=f"{prefix}{stack}"):
            name, size = group["logGroupName"], int(group.get("storedBytes") or 0)
            why = "something wrote to it after its stack was gone, or it is kept"
            command = f"aws logs delete-log-group --log-group-name {name}"
            yield Remain("log group", name, why, size / GIB * LOGS_USD, command)


def _objects(outputs: Mapping[str, Any], client: Client) -> Iterator[Remain]:
    """What a product wrote into the lake, or the platform's lake and ledger as a whole."""
    folders = {
        "/".join(str(value).split("/")[:4])
        for key, value in outputs.items()
        if key.endswith("_uri") and str(value).startswith("s3://")
    }
    folders |= {f"s3://{outputs[key]}" for key in ("data_bucket", "ledger_bucket") if key in outputs}
    for folder in sorted(folders):
        bucket, _, prefix = folder.removeprefix("s3://").partition("/")
        try:
            sizes = [each["Size"] for each in _contents(client("s3"), bucket, f"{prefix}/" if prefix else "")]
        except ClientError as error:
            if error.response["Error"]["Code"] in ("NoSuchBucket", "404"):
                continue
            raise
        if sizes:
            why = f"{len(sizes):,} objects, {sum(sizes) / GIB:.2f} GiB"
            yield Remain("data", folder, why, sum(sizes) / GIB * S3_USD, f"aws s3 rm --recursive {folder}/")


def _contents(s3: Any, bucket: str, prefix: str) -> Iterable[Mapping[str, Any]]:
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        yield from page.get("Contents", ())


def _volumes(outputs: Mapping[str, Any], client: Client) -> Iterator[Remain]:
    """Disks that pods of the cluster asked for: Kubernetes makes them, so no stack deletes them."""
    if "cluster_name" not in outputs or "vpc_id" not in outputs:  # a platform's exports; a product has no cluster
        return
    tag = f"tag:kubernetes.io/cluster/{outputs['cluster_name']}"
    for each in _pages(client("ec2"), "describe_volumes", "Volumes", Filters=[{"Name": tag, "Values": ["owned"]}]):
        command = f"aws ec2 delete-volume --volume-id {each['VolumeId']}"
        yield Remain("volume", each["VolumeId"], "a pod asked for it", each["Size"] * VOLUME_USD, command)


def _interfaces(outputs: Mapping[str, Any], client: Client) -> Iterator[Remain]:
    if "workload_security_group_id" not in outputs:
        return
    wanted = [{"Name": "group-id", "Values": [outputs["workload_security_group_id"]]}]
    for each in client("ec2").describe_network_interfaces(Filters=wanted)["NetworkInterfaces"]:
        name = each["NetworkInterfaceId"]
        why = "SageMaker lets go of it minutes after its endpoint or job has ended"
        yield Remain("network interface", name, why, 0.0, "wait; it goes by itself")


def _keys(outputs: Mapping[str, Any], client: Client) -> Iterator[Remain]:
    for key in ("kms_key_arn", "signing_key_arn"):
        if key not in outputs:
            continue
        try:
            found = client("kms").describe_key(KeyId=outputs[key])["KeyMetadata"]
        except ClientError as error:
            if error.response["Error"]["Code"] == "NotFoundException":
                continue
            raise
        if found["KeyState"] == "PendingDeletion":
            why = f"it goes on {found['DeletionDate']:%Y-%m-%d}; what it encrypted cannot be read from then on"
            yield Remain(
                "key",
                outputs[key],
                why,
                0.0,
                f"nothing; to keep it: aws kms cancel-key-deletion --key-id {outputs[key]}",
            )
        else:
            why = "it is not scheduled for deletion"
            yield Remain("key", outputs[key], why, 1.0, f"aws kms schedule-key-deletion --key-id {outputs[key]}")


def total(found: Sequence[Remain]) -> float:
    """What all of it costs a month, as far as it is known."""
    return sum(each.usd_per_month or 0 for each in found)
