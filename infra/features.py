"""What people do with feature groups from the command line: see a migration, and copy records to a new version."""

import io
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import boto3
import pyarrow.parquet as pq

from functions.feature_group.handler import describe
from functions.feature_group.migration import Migration, migration
from functions.ingest.store import Entry, Writer
from functions.rows import Problem, Rows

Clients = Callable[[str], Any]
"""`clients("s3")`: a boto3 client."""
OFFLINE_DELAY: Final = timedelta(minutes=20)
"""How long a written record may take to the offline store; AWS says 15 minutes.
https://docs.aws.amazon.com/sagemaker/latest/dg/feature-store-ingest-data.html"""
ROWS_AT_ONCE: Final = 2000
MOST_TOLD: Final = 1000
"""How many of the rows that were left out are told one by one."""


class NoSuchVersion(Exception):
    """The stack has no feature group of a version; the text says which it has."""


@dataclass
class Backfilled:
    """What became of the records of one group that another was to get."""

    source: str
    target: str
    read: int = 0
    written: int = 0
    deleted: int = 0
    present: int = 0
    """Versions of records that the target had already."""
    recent: int = 0
    """Written since both groups are, and not long ago: run it again in 20 minutes for what is missing of them."""
    left_out: int = 0
    problems: list[dict[str, Any]] = field(default_factory=list)
    """Of the first of those left out: the record's identifier, its event time, and why."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def groups(outputs: Mapping[str, Any]) -> dict[int, tuple[str, dict[str, Any]]]:
    """A stack's feature groups, by version: name and schema. `outputs` are the stack's."""
    told = json.loads(outputs["feature_schema"])["groups"]
    return {schema["version"]: (group, schema) for group, schema in told.items()}


def next_version(outputs: Mapping[str, Any], stack: str) -> Migration:
    """How to move a stack's feature store to its next version, whatever the reason."""
    version, (group, schema) = max(groups(outputs).items())
    name = group.removesuffix(f"-v{version}")
    return migration(name=name, version=version, product=schema["name"], stack=stack, reasons=["you asked for it"])


def aws_clients(region: str) -> Clients:
    """Clients of AWS, with the credentials of who runs the command."""
    return lambda service: boto3.client(service, region_name=region)  # type: ignore[call-overload]  # chosen at run time


def backfill(
    clients: Clients,
    outputs: Mapping[str, Any],
    source: int,
    target: int,
    *,
    renamed: Mapping[str, str] | None = None,
    now: datetime | None = None,
) -> Backfilled:
    """Copy what the version `source` has in its offline store to the version `target`, online and offline.

    Every version of a record keeps its event time; what the target has already is left as it is, so that it can be
    run as often as one likes. `renamed` maps old names to new ones. A row that does not fit the target's schema is
    left out and told; a feature that the source does not have may be missing.

    It reads the offline store's Parquet files, so it needs the right to read them, and memory for one of them and for
    the identifiers of all that the target has. Raises NoSuchVersion.
    """
    there = groups(outputs)
    for version in (source, target):
        if version not in there:
            raise NoSuchVersion(f"there is no feature group of version {version}, only of {sorted(there)}")
    (old, _), (new, schema) = there[source], there[target]
    rows, moment = Rows.from_json(json.dumps(schema)), now or datetime.now(UTC)
    sagemaker, s3 = clients("sagemaker"), clients("s3")
    begun, done = describe(sagemaker, new), Backfilled(old, new)
    present = {(row[rows.record_id], row[rows.event_time]) for row in _offline(s3, begun)}
    copy = _Copy(rows, describe(sagemaker, old), dict(renamed or {}))
    store = clients("sagemaker-featurestore-runtime")
    with Writer(store) as writer:
        for some in _some(_offline(s3, copy.group)):
            batch: list[tuple[Entry, dict[str, str]]] = []
            for row in some:
                done.read += 1
                values = copy.values(row)
                if (copy.own(row, rows.record_id), copy.own(row, rows.event_time)) in present:
                    done.present += 1
                elif row["write_time"] > max(begun["CreationTime"], moment - OFFLINE_DELAY):
                    done.recent += 1
                elif row["is_deleted"]:
                    # In its order among the others: what comes later must find the record deleted.
                    _write(writer, batch, done, rows)
                    store.delete_record(
                        FeatureGroupName=new,
                        RecordIdentifierValueAsString=values[rows.record_id],
                        EventTime=values[rows.event_time],
                    )
                    done.deleted += 1
                elif problems := copy.problems(values):
                    _leave_out(done, rows, values, problems)
                else:
                    record = [{"FeatureName": name, "ValueAsString": value} for name, value in values.items() if value]
                    batch.append((Entry(new, values[rows.record_id], record), values))
            _write(writer, batch, done, rows)
    return done


class _Copy:
    """Rows of one group as rows of another."""

    def __init__(self, rows: Rows, group: Mapping[str, Any], renamed: Mapping[str, str]) -> None:
        self.group, self._rows = group, rows
        self._old = {new: old for old, new in renamed.items()}
        self._has = {each["FeatureName"] for each in group["FeatureDefinitions"]}

    def own(self, row: Mapping[str, Any], name: str) -> Any:
        """What the target calls `name`."""
        return row.get(self._old.get(name, name))

    def values(self, row: Mapping[str, Any]) -> dict[str, str]:
        kinds = {column.name: column.kind for column in self._rows.columns}
        return {name: _as_text(self.own(row, name), kinds.get(name)) for name in self._rows.all_columns}

    def problems(self, values: Mapping[str, str]) -> list[Problem]:
        return [
            problem
            for problem in self._rows.record_problems(values)
            if problem.fault != "missing" or self._old.get(problem.feature, problem.feature) in self._has
        ]


def _write(writer: Writer, batch: list[tuple[Entry, dict[str, str]]], done: Backfilled, rows: Rows) -> None:
    refused = writer.write([entry for entry, _ in batch])
    for place, reason in refused.items():
        _leave_out(done, rows, batch[place][1], [Problem("", "", f"Feature Store refuses it: {reason}", "type")])
    done.written += len(batch) - len(refused)
    batch.clear()


def _leave_out(done: Backfilled, rows: Rows, values: Mapping[str, str], problems: Sequence[Problem]) -> None:
    done.left_out += 1
    if len(done.problems) < MOST_TOLD:
        which = {"record": values[rows.record_id], "event_time": values[rows.event_time]}
        done.problems.append({**which, "problems": [problem.reason for problem in problems]})


def _offline(s3: Any, group: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The rows of a group's offline store, in the order in which they were written."""
    uri = group["OfflineStoreConfig"]["S3StorageConfig"]["ResolvedOutputS3Uri"]
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{prefix}/")
    found = [each for page in pages for each in page.get("Contents", []) if each["Key"].endswith(".parquet")]
    for each in sorted(found, key=lambda each: (each["LastModified"], each["Key"])):
        body = s3.get_object(Bucket=bucket, Key=each["Key"])["Body"].read()
        # The folders' names are no columns of the table.
        rows = pq.read_table(io.BytesIO(body), partitioning=None).to_pylist()
        for row in sorted(rows, key=lambda row: _utc(row["write_time"])):
            yield {**row, "write_time": _utc(row["write_time"])}


def _utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _some(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    some: list[dict[str, Any]] = []
    for row in rows:
        some.append(row)
        if len(some) == ROWS_AT_ONCE:
            yield some
            some = []
    yield some


def _as_text(value: Any, kind: str | None) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float) and value.is_integer() and kind != "Fractional":
        return str(int(value))
    return str(value)
