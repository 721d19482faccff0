"""What would stop a deployment, asked of AWS before anything is changed: quotas, zones, addresses, reservations.

Reads only. What the credentials may not read is reported as unknown, with the permission that is missing.
"""

import ipaddress
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

from botocore.exceptions import BotoCoreError, ClientError

from infra.settings import Settings
from policies.rules import UNKNOWN, Declared, of_type

Client = Callable[[str], Any]
"""Gives the boto3 client of a service, in the stack's region."""
Status = Literal["ok", "failed", "unknown"]

BLUE_GREEN: Final = 2
"""A release holds the old and the new fleet at once: twice the instances, quota and cost.

https://docs.aws.amazon.com/sagemaker/latest/dg/deployment-guardrails-blue-green.html
"""
RESERVED_ADDRESSES: Final = 5
"""Of every subnet: https://docs.aws.amazon.com/vpc/latest/userguide/subnet-sizing.html."""
EC2_QUOTAS: Final[Mapping[tuple[str, bool], tuple[str, str]]] = {
    ("g", False): ("L-DB2E81BA", "Running On-Demand G and VT instances"),
    ("g", True): ("L-3819A6DF", "All G and VT Spot Instance Requests"),
    ("p", False): ("L-417A185B", "Running On-Demand P instances"),
    ("p", True): ("L-7212CCBC", "All P4, P3 and P2 Spot Instance Requests"),
    ("", False): ("L-1216C47A", "Running On-Demand Standard instances"),
    ("", True): ("L-34B43A08", "All Standard Spot Instance Requests"),
}
"""By kind of instance, and whether it is spot: the quota's code and name. They count vCPUs.

https://docs.aws.amazon.com/ec2/latest/instancetypes/ec2-instance-quotas.html
"""
P5_SPOT: Final = ("L-C4BD4855", "All P5 Spot Instance Requests")


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    status: Status
    detail: str
    remedy: str = ""
    """What to do where it failed."""

    def to_dict(self) -> dict[str, str]:
        """For `--json`."""
        return asdict(self)


def preflight(settings: Settings, resources: Sequence[Declared], client: Client) -> list[Check]:
    """Every check that what a stack plans to make calls for."""
    parts: list[tuple[str, Callable[[], Iterator[Check]]]] = [
        ("account", lambda: _account(settings, client)),
        ("zone offerings", lambda: _offerings(resources, client)),
        ("addresses", lambda: _addresses(resources, client)),
        ("capacity reservations", lambda: _reservations(resources, client)),
    ]
    checks: list[Check] = []
    if settings.environment == "local":
        why = "the rehearsal has no quotas, and its emulator tells of every call without a trail"
        checks.append(Check("quotas, approvals' trail", "unknown", why, "preflight an environment on AWS"))
    else:
        parts += [
            ("SageMaker quotas", lambda: _sagemaker_quotas(resources, client)),
            ("EC2 quotas", lambda: _ec2_quotas(resources, client)),
            ("approvals' trail", lambda: _trail(resources, client)),
            ("role for spot instances", lambda: _spot_role(resources, client)),
        ]
    for name, part in parts:
        try:
            checks += part()
        except ClientError as error:
            code, call = error.response["Error"]["Code"], error.operation_name
            checks.append(Check(name, "unknown", f"{call} was refused: {code}", f"allow {call}, or look yourself"))
        except BotoCoreError as error:
            checks.append(Check(name, "unknown", str(error), "set credentials that may read, as AWS_PROFILE does"))
    return checks


def _account(settings: Settings, client: Client) -> Iterator[Check]:
    found = client("sts").get_caller_identity()["Account"]
    if found == settings.account_id:
        yield Check("account", "ok", f"{found}, as the stack's YAML allows")
    else:
        yield Check(
            "account",
            "failed",
            f"the credentials are of account {found}, and the stack belongs to {settings.account_id}",
            "use credentials of that account, or correct aws:allowedAccountIds",
        )


# --- quotas ---------------------------------------------------------------------------------------------------------


def endpoint_instances(resources: Sequence[Declared]) -> Counter[str]:
    """How many instances of each type endpoints may have at once, in the middle of a release."""
    most: dict[str, int] = {}
    for target in of_type(resources, "aws:appautoscaling/target:Target"):
        if isinstance(target.inputs.get("maxCapacity"), int | float):
            most[str(target.inputs.get("resourceId", "")).split("/")[-1]] = int(target.inputs["maxCapacity"])
    needed: Counter[str] = Counter()
    for configuration in of_type(resources, "aws:sagemaker/endpointConfiguration:EndpointConfiguration"):
        for variant in configuration.inputs.get("productionVariants") or ():
            if "instanceType" in variant:
                managed = (variant.get("managedInstanceScaling") or {}).get("maxInstanceCount")
                scaled = most.get(str(variant.get("variantName")), 0)
                count = managed or max(int(variant.get("initialInstanceCount") or 1), scaled)
                needed[variant["instanceType"]] += int(count) * BLUE_GREEN
    return needed


def job_instances(resources: Sequence[Declared]) -> Counter[tuple[str, str]]:
    """How many instances a pipeline's jobs may have at once, by type and by what the quota calls such a job."""
    needed: Counter[tuple[str, str]] = Counter()
    for pipeline in of_type(resources, "aws:sagemaker/pipeline:Pipeline"):
        text = pipeline.inputs.get("pipelineDefinition")
        if not isinstance(text, str) or not text.startswith("{"):
            continue
        for step in json.loads(text).get("Steps", ()):
            arguments = step.get("Arguments") or {}
            if step["Type"] == "Training":
                size, spot = arguments.get("ResourceConfig", {}), arguments.get("EnableManagedSpotTraining")
                kind = "spot training job" if spot else "training job"
            elif step["Type"] == "Processing":
                size, kind = arguments.get("ProcessingResources", {}).get("ClusterConfig", {}), "processing job"
            else:
                continue
            if isinstance(size.get("InstanceType"), str):
                key = size["InstanceType"], kind
                needed[key] = max(needed[key], int(size.get("InstanceCount") or 1))
    return needed


def _sagemaker_quotas(resources: Sequence[Declared], client: Client) -> Iterator[Check]:
    needed = {f"{type_} for endpoint usage": count for type_, count in endpoint_instances(resources).items()}
    needed |= {f"{type_} for {kind} usage": count for (type_, kind), count in job_instances(resources).items()}
    if not needed:
        return
    pages = client("service-quotas").get_paginator("list_service_quotas").paginate(ServiceCode="sagemaker")
    values = {quota["QuotaName"]: quota["Value"] for page in pages for quota in page["Quotas"]}
    for name, count in sorted(needed.items()):
        why = " (a release holds two fleets)" if "endpoint" in name else ""
        yield _quota(f"quota: {name}", count, values.get(name), why, name)


def _quota(name: str, needed: float, allowed: float | None, why: str, quota: str) -> Check:
    if allowed is None:
        return Check(name, "unknown", f"{needed:g} needed{why}; AWS lists no such quota here", "look in Service Quotas")
    if needed <= allowed:
        return Check(name, "ok", f"{needed:g} needed{why}, {allowed:g} allowed")
    return Check(
        name,
        "failed",
        f"{needed:g} needed{why}, {allowed:g} allowed",
        f"ask for {needed:g} in Service Quotas ({quota}), which takes hours to days; or set lower maxima",
    )


def node_groups(resources: Sequence[Declared]) -> Iterator[tuple[str, Sequence[str], bool, int]]:
    """Name, instance types, whether spot, and most nodes of each group of the cluster's."""
    templates = {each.urn: each for each in of_type(resources, "aws:ec2/launchTemplate:LaunchTemplate")}
    for group in of_type(resources, "aws:eks/nodeGroup:NodeGroup"):
        types = group.inputs.get("instanceTypes")
        if not types:  # capacity blocks have it in the launch template
            used = [templates[urn] for urns in group.property_dependencies.values() for urn in urns if urn in templates]
            types = [template.inputs["instanceType"] for template in used if template.inputs.get("instanceType")]
        scaling = group.inputs.get("scalingConfig") or {}
        yield group.name, list(types or ()), group.inputs.get("capacityType") == "SPOT", int(scaling.get("maxSize", 0))


def _ec2_quotas(resources: Sequence[Declared], client: Client) -> Iterator[Check]:
    groups = list(node_groups(resources))
    types = sorted({type_ for _, types, _, _ in groups for type_ in types})
    if not types:
        return
    described = client("ec2").describe_instance_types(InstanceTypes=types)["InstanceTypes"]
    cpus = {each["InstanceType"]: int(each["VCpuInfo"]["DefaultVCpus"]) for each in described}
    needed: dict[tuple[str, str], int] = defaultdict(int)
    for _, choice, spot, most in groups:
        # Any of them may be what the group gets; the largest takes the most of the quota.
        largest = max(choice, key=lambda type_: cpus.get(type_, 0), default=None)
        if largest:
            needed[_ec2_quota(largest, spot)] += cpus.get(largest, 0) * most
    for (code, name), count in sorted(needed.items()):
        allowed = client("service-quotas").get_service_quota(ServiceCode="ec2", QuotaCode=code)["Quota"]["Value"]
        yield _quota(f"quota: {name}", count, allowed, " (vCPUs)", f"{name}, {code}")


def _ec2_quota(instance_type: str, spot: bool) -> tuple[str, str]:
    family = instance_type.partition(".")[0]
    if spot and family.startswith("p5"):
        return P5_SPOT
    kind = family[0] if family[0] in "gp" else ""
    return EC2_QUOTAS[kind, spot]


# --- zones, addresses, reservations ---------------------------------------------------------------------------------


def _zones(resources: Sequence[Declared]) -> list[str]:
    found = {subnet.inputs.get("availabilityZone") for subnet in of_type(resources, "aws:ec2/subnet:Subnet")}
    return sorted(zone for zone in found if isinstance(zone, str) and zone != UNKNOWN)


def _offerings(resources: Sequence[Declared], client: Client) -> Iterator[Check]:
    zones, groups = _zones(resources), list(node_groups(resources))
    types = sorted({type_ for _, types, _, _ in groups for type_ in types})
    if not zones or not types:
        return
    pages = (
        client("ec2")
        .get_paginator("describe_instance_type_offerings")
        .paginate(LocationType="availability-zone", Filters=[{"Name": "instance-type", "Values": types}])
    )
    offered: dict[str, set[str]] = defaultdict(set)
    for page in pages:
        for each in page["InstanceTypeOfferings"]:
            offered[each["InstanceType"]].add(each["Location"])
    for name, choice, _, _ in groups:
        where = {zone for type_ in choice for zone in offered[type_] if zone in zones}
        wanted = ", ".join(choice)
        if not where:
            yield Check(
                f"zones: {name}",
                "failed",
                f"none of {wanted} is offered in {', '.join(zones)}",
                "set other instance types, or other network.zones",
            )
        else:
            yield Check(f"zones: {name}", "ok", f"{wanted}: {', '.join(sorted(where))}")


def _addresses(resources: Sequence[Declared], client: Client) -> Iterator[Check]:
    groups = [each for each in node_groups(resources) if each[1]]
    blocks = [
        ipaddress.ip_network(subnet.inputs["cidrBlock"])
        for subnet in of_type(resources, "aws:ec2/subnet:Subnet")
        if isinstance(subnet.inputs.get("cidrBlock"), str)
    ]
    if not groups or not blocks:
        return
    types = sorted({type_ for _, types, _, _ in groups for type_ in types})
    described = client("ec2").describe_instance_types(InstanceTypes=types)["InstanceTypes"]
    # VPC CNI keeps one interface's addresses warm beside those in use: two interfaces' worth a node, when it begins.
    warm = {each["InstanceType"]: 2 * int(each["NetworkInfo"]["Ipv4AddressesPerInterface"]) for each in described}
    needed = sum(most * max(warm.get(type_, 0) for type_ in choice) for _, choice, _, most in groups)
    free = sum(block.num_addresses - RESERVED_ADDRESSES for block in blocks)
    name = "addresses of the private subnets"
    if needed <= free:
        yield Check(name, "ok", f"nodes take up to {needed:,}, there are {free:,}")
    else:
        yield Check(
            name,
            "failed",
            f"nodes take up to {needed:,}, there are {free:,}",
            "set a larger network.cidr, or more zones",
        )


def _reservations(resources: Sequence[Declared], client: Client) -> Iterator[Check]:
    for template in of_type(resources, "aws:ec2/launchTemplate:LaunchTemplate"):
        target = (template.inputs.get("capacityReservationSpecification") or {}).get("capacityReservationTarget") or {}
        identity = target.get("capacityReservationId")
        if not isinstance(identity, str):
            continue
        found = client("ec2").describe_capacity_reservations(CapacityReservationIds=[identity])["CapacityReservations"]
        name = f"reservation of {template.name}"
        if not found:
            yield Check(name, "failed", f"there is no {identity} in this account and region", "correct its id")
            continue
        [reservation] = found
        problems = []
        if reservation["State"] not in ("active", "scheduled"):
            problems.append(f"it is {reservation['State']}")
        wanted = template.inputs.get("instanceType")
        if wanted and wanted != reservation["InstanceType"]:
            problems.append(f"it is for {reservation['InstanceType']}, and the pool wants {wanted}")
        end = reservation.get("EndDate")
        if end and end <= datetime.now(UTC):
            problems.append(f"it ended at {end:%Y-%m-%d %H:%M} UTC")
        place = (
            f"{reservation['TotalInstanceCount']} of {reservation['InstanceType']} in {reservation['AvailabilityZone']}"
        )
        until = f", until {end:%Y-%m-%d %H:%M} UTC" if end else ""
        if problems:
            yield Check(name, "failed", f"{identity}: {'; '.join(problems)}", "correct the pool, or reserve anew")
        else:
            yield Check(name, "ok", f"{identity}: {place}{until}")


def _spot_role(resources: Sequence[Declared], client: Client) -> Iterator[Check]:
    """Karpenter may not make the role that EC2 needs for spot; whoever starts a first spot instance by hand does."""
    pools = of_type(resources, "kubernetes:karpenter.sh/v1:NodePool")
    if not any("spot" in json.dumps(pool.inputs.get("spec"), default=str) for pool in pools):
        return
    name = "role for spot instances"
    try:
        client("iam").get_role(RoleName="AWSServiceRoleForEC2Spot")
    except ClientError as error:
        if error.response["Error"]["Code"] != "NoSuchEntity":
            raise
        remedy = "aws iam create-service-linked-role --aws-service-name spot.amazonaws.com"
        yield Check(name, "failed", "the account has never used spot, so that Karpenter cannot", remedy)
    else:
        yield Check(name, "ok", "AWSServiceRoleForEC2Spot is there")


def _trail(resources: Sequence[Declared], client: Client) -> Iterator[Check]:
    """Who approved a model is told by CloudTrail's events, which need a trail."""
    if not of_type(resources, "aws:sagemaker/modelPackageGroup:ModelPackageGroup"):
        return
    trails = client("cloudtrail").describe_trails()["trailList"]
    logging = [
        trail["Name"] for trail in trails if client("cloudtrail").get_trail_status(Name=trail["TrailARN"])["IsLogging"]
    ]
    if logging:
        yield Check("approvals' trail", "ok", f"CloudTrail logs with {', '.join(logging)}")
    else:
        yield Check(
            "approvals' trail",
            "failed",
            "no trail logs management events here, so that EventBridge hears of no approval and starts no release",
            "turn on a CloudTrail trail for management events",
        )
