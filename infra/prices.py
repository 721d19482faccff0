"""`slipway prices`: how old the price table is, and its refresh from the AWS Price List.

The Price List is asked as its own console asks it: a service, and attributes that leave one product. An answer that
leaves none, or several prices, changes nothing; so a price is never replaced by a guess.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Final

from infra.rehearsal.state import write_atomically
from policies.cost import prices

FILE: Final = Path(prices.__file__).with_name("prices.json")
SOURCE: Final = "price-list"
REGION: Final = "us-east-1"
"""Where the Price List is asked; also in eu-central-1 and ap-south-1. It answers for every region."""


@dataclass(frozen=True)
class Query:
    """One product of the Price List, as its attributes leave it."""

    service: str
    filters: Mapping[str, str]
    unit: str
    times: float = 1
    """From the Price List's unit to the table's: it prices one request, we a million."""


EC2: Final = {
    "productFamily": "Compute Instance",
    "operatingSystem": "Linux",
    "preInstalledSw": "NA",
    "tenancy": "Shared",
    "capacitystatus": "Used",
    "marketoption": "OnDemand",
}
"""What leaves one price of an instance type: as Karpenter's own price generator asks."""

QUERIES: Final[Mapping[str, Query]] = {
    "cloudwatch-alarm-metric": Query("AmazonCloudWatch", {"usagetype": "CW:AlarmMonitorUsage"}, "Alarms"),
    "cloudwatch-alarm-high-resolution-metric": Query(
        "AmazonCloudWatch", {"usagetype": "CW:HighResAlarmMonitorUsage"}, "Alarms"
    ),
    "cloudwatch-custom-metric": Query("AmazonCloudWatch", {"usagetype": "CW:MetricMonitorUsage"}, "Metrics"),
    "dynamodb-read-capacity": Query("AmazonDynamoDB", {"usagetype": "ReadCapacityUnit-Hrs"}, "ReadCapacityUnit-Hrs"),
    "dynamodb-reads": Query("AmazonDynamoDB", {"usagetype": "ReadRequestUnits"}, "ReadRequestUnits", 1e6),
    "dynamodb-storage": Query("AmazonDynamoDB", {"usagetype": "TimedStorage-ByteHrs"}, "GB-Mo"),
    "dynamodb-write-capacity": Query("AmazonDynamoDB", {"usagetype": "WriteCapacityUnit-Hrs"}, "WriteCapacityUnit-Hrs"),
    "dynamodb-writes": Query("AmazonDynamoDB", {"usagetype": "WriteRequestUnits"}, "WriteRequestUnits", 1e6),
    "ebs-gp2": Query("AmazonEC2", {"usagetype": "EBS:VolumeUsage.gp2"}, "GB-Mo"),
    "ebs-gp3": Query("AmazonEC2", {"usagetype": "EBS:VolumeUsage.gp3"}, "GB-Mo"),
    "ecr-storage": Query("AmazonECR", {"usagetype": "TimedStorage-ByteHrs"}, "GB-Mo"),
    "eks-control-plane": Query("AmazonEKS", {"usagetype": "USE1-AmazonEKS-Hours:perCluster"}, "Hours"),
    "feature-store-reads": Query(
        "AmazonSageMaker", {"usagetype": "USE1-FeatureStore:ReadRequestUnits"}, "ReadRequestUnits", 1e6
    ),
    "feature-store-storage": Query("AmazonSageMaker", {"usagetype": "USE1-FeatureStore:TimedAndPITRStorage"}, "GB-Mo"),
    "feature-store-writes": Query(
        "AmazonSageMaker", {"usagetype": "USE1-FeatureStore:WriteRequestUnits"}, "WriteRequestUnits", 1e6
    ),
    "lambda-duration": Query("AWSLambda", {"group": "AWS-Lambda-Duration"}, "Lambda-GB-Second"),
    "lambda-duration-arm64": Query("AWSLambda", {"group": "AWS-Lambda-Duration-ARM"}, "Lambda-GB-Second"),
    "lambda-requests": Query("AWSLambda", {"group": "AWS-Lambda-Requests"}, "Requests", 1e6),
    "logs-ingest": Query("AmazonCloudWatch", {"usagetype": "DataProcessing-Bytes"}, "GB"),
    "logs-storage": Query("AmazonCloudWatch", {"usagetype": "TimedStorage-ByteHrs"}, "GB-Mo"),
    "nat-gateway": Query("AmazonEC2", {"productFamily": "NAT Gateway", "usagetype": "NatGateway-Hours"}, "Hrs"),
    "nat-gateway-data": Query("AmazonEC2", {"productFamily": "NAT Gateway", "usagetype": "NatGateway-Bytes"}, "GB"),
    "s3-get": Query("AmazonS3", {"usagetype": "Requests-Tier2"}, "Requests", 1e3),
    "s3-put": Query("AmazonS3", {"usagetype": "Requests-Tier1"}, "Requests", 1e3),
    "s3-storage": Query("AmazonS3", {"usagetype": "TimedStorage-ByteHrs"}, "GB-Mo"),
    "sagemaker-volume": Query("AmazonSageMaker", {"volumeType": "General Purpose-Hosting"}, "GB-Mo"),
    "step-functions-transitions": Query("AmazonStates", {"usagetype": "USE1-StateTransition"}, "StateTransitions", 1e6),
    "vpc-endpoint": Query("AmazonVPC", {"usagetype": "VpcEndpoint-Hours"}, "Hrs"),
    "vpc-endpoint-data": Query("AmazonVPC", {"usagetype": "VpcEndpoint-Bytes"}, "GB"),
}
"""Prices by unit that the Price List is asked for. The others keep their row, with its own source and date."""


@dataclass(frozen=True)
class Refreshed:
    """What a refresh came to."""

    changed: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Each price that is another now: before, and after."""
    confirmed: int = 0
    kept: Mapping[str, str] = field(default_factory=dict)
    """Each row that stays as it was, and why."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)

    def lines(self) -> Iterator[str]:
        """As text: what is another now, and what could not be asked."""
        for name, (before, after) in self.changed.items():
            yield f"{name}: {before:g} → {after:g} USD"
        yield f"{len(self.changed)} changed, {self.confirmed} as before, {len(self.kept)} kept from their own sources"
        for name, why in self.kept.items():
            yield f"  {name}: {why}"


class NoPrice(Exception):
    """The Price List has no such product, or more than one price of it."""


def refresh(client: Any, on: date, *, file: Path = FILE) -> Refreshed:
    """Ask the Price List for every row that it can be asked for, and write the table again, whole or not at all.

    `client` is boto3's `pricing`; it needs the right `pricing:GetProducts`. Raises botocore's errors, and then the
    table is as it was.
    """
    table = json.loads(file.read_text("utf-8"))
    changed: dict[str, tuple[float, float]] = {}
    kept: dict[str, str] = {}
    confirmed = 0
    for part, query_of in (("instances", instance), ("prices", QUERIES.get)):
        ask: Callable[[str], Query | None] = query_of
        for name, row in table[part].items():
            query = ask(name)
            if query is None:
                kept[name] = f"{row['source']}, {row['date']}"
                continue
            try:
                usd = price(client, query, table["region"])
            except NoPrice as error:
                kept[name] = str(error)
                continue
            if usd != row["usd"]:
                changed[name] = (row["usd"], usd)
            else:
                confirmed += 1
            row.update(usd=usd, source=SOURCE, date=on.isoformat())
    if changed or confirmed:
        table["sources"][SOURCE] = "AWS Price List, asked by `slipway prices --refresh` at the date of the row"
        write_atomically(file, dumped(table))
    return Refreshed(changed, confirmed, kept)


def instance(name: str) -> Query:
    """How an instance type is asked for: SageMaker's are those that host."""
    if name.startswith("ml."):
        return Query("AmazonSageMaker", {"component": "Hosting", "instanceName": name}, "Hrs")
    return Query("AmazonEC2", {**EC2, "instanceType": name}, "Hrs")


def price(client: Any, query: Query, region: str) -> float:
    """The one price of a product on demand, in its first tier. Raises NoPrice where there is none, or several."""
    filters = [
        {"Type": "TERM_MATCH", "Field": name, "Value": value}
        for name, value in {**query.filters, "regionCode": region}.items()
    ]
    pages = client.get_paginator("get_products").paginate(ServiceCode=query.service, Filters=filters)
    found = {
        float(dimension["pricePerUnit"]["USD"])
        for page in pages
        for text in page["PriceList"]
        for dimension in _on_demand(json.loads(text))
        if dimension["unit"] == query.unit and float(dimension.get("beginRange") or 0) == 0
    } - {0.0}  # free tiers are priced at nothing
    asked = ", ".join(f"{name}={value}" for name, value in query.filters.items())
    if not found:
        raise NoPrice(f"the Price List of {query.service} has no price by {query.unit} for {asked} in {region}")
    if len(found) > 1:
        several = ", ".join(f"{each:g}" for each in sorted(found))
        raise NoPrice(f"the Price List of {query.service} has several prices for {asked} in {region}: {several}")
    return float(f"{found.pop() * query.times:.10g}")


def _on_demand(entry: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for term in entry.get("terms", {}).get("OnDemand", {}).values():
        for dimension in term.get("priceDimensions", {}).values():
            if "USD" in dimension.get("pricePerUnit", {}):
                yield dimension


def dumped(table: Mapping[str, Any]) -> str:
    """The table as it is committed: a line for each row, so that a change of one price is a change of one line."""
    parts = []
    for key, value in table.items():
        one_line = not isinstance(value, dict) or (key not in ("sources", "usage") and "date" in value)
        text = json.dumps(value, ensure_ascii=False) if one_line else _rows(value)
        parts.append(f"  {json.dumps(key)}: {text}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _rows(rows: Mapping[str, Any]) -> str:
    lines = []
    for key, row in rows.items():
        text = json.dumps(row, ensure_ascii=False)
        if isinstance(row, list):
            inner = ",\n".join(f"      {json.dumps(each, ensure_ascii=False)}" for each in row)
            text = f"[\n{inner}\n    ]"
        lines.append(f"    {json.dumps(key)}: {text}")
    return "{\n" + ",\n".join(lines) + "\n  }"
