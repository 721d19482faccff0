"""SageMaker Feature Store: groups that keep every field, records with schema and event time, an offline copy in S3.

The offline copy is Parquet under the group's resolved URI, in the folders AWS uses for a Glue table; an Iceberg table
has its records in the same place, in folders of another kind.
"""

import io
import json
import re
import secrets
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any, cast

from moto.core.exceptions import ServiceException
from moto.core.responses import ActionResult, BaseResponse, EmptyResult
from moto.iam.models import iam_backends
from moto.s3.models import s3_backends
from moto.sagemaker.exceptions import AWSValidationException, ResourceInUseException, ResourceNotFound
from moto.sagemaker.models import SageMakerModelBackend, sagemaker_backends

from infra.rehearsal.emulator.calls import ACCOUNT

Json = dict[str, Any]

RESERVED = ("is_deleted", "write_time", "api_invocation_time")
"""Names that the offline store adds itself: https://docs.aws.amazon.com/sagemaker/latest/dg/feature-store-create-feature-group.html."""
EVENT_TIME = "%Y-%m-%dT%H:%M:%SZ"
ISO_8601 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z")
"""The two ISO 8601 forms that a String event time may have."""


UPDATE_SECONDS = 0.5
"""How long an update of a group is in progress; AWS takes minutes."""
MOST_ADDITIONS = 100
"""Features that one UpdateFeatureGroup adds at most."""
MOST_ENTRIES = 25
"""Records that one BatchWriteRecord takes at most."""
MOST_UNITS = 40_000
"""Capacity units of one group: https://docs.aws.amazon.com/sagemaker/latest/dg/feature-store-quotas.html."""
UPDATES = ("FeatureAdditions", "OnlineStoreConfig", "ThroughputConfig")
"""What UpdateFeatureGroup changes, one of them at a time."""
FOREVER = datetime.max.replace(tzinfo=UTC)


@dataclass
class Stored:
    """What the online store has under one identifier; a deleted record leaves its event time behind."""

    event_time: float
    features: dict[str, Json] | None
    expires: datetime | None

    @property
    def readable(self) -> bool:
        return self.features is not None and (self.expires is None or datetime.now(UTC) < self.expires)


@dataclass
class FeatureGroup:
    """One group; moto's backend holds it among its own, so that search and tags find it."""

    arn: str
    params: Json
    """What CreateFeatureGroup was told, with what UpdateFeatureGroup changed."""
    tags: list[dict[str, str]]
    creation_time: datetime = field(default_factory=lambda: datetime.now(UTC))
    last_modified_time: datetime = field(default_factory=lambda: datetime.now(UTC))
    failure: str | None = None
    """Why it was not created."""
    updated: tuple[float, Json] | None = None
    """When the update in progress ends (monotonic), and the parameters from then on."""
    records: dict[str, Stored] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._definitions: tuple[Sequence[Json], dict[str, Json]] = ([], {})

    def settle(self) -> None:
        """Put an update in force whose time has come."""
        with self.lock:
            if self.updated and time.monotonic() >= self.updated[0]:
                self.params, self.updated, self.last_modified_time = self.updated[1], None, datetime.now(UTC)

    @property
    def feature_group_name(self) -> str:
        return str(self.params["FeatureGroupName"])

    @property
    def online(self) -> Mapping[str, Any]:
        config: Mapping[str, Any] = self.params.get("OnlineStoreConfig", {})
        return config if config.get("EnableOnlineStore") else {}

    @property
    def definitions(self) -> dict[str, Json]:
        told = self.params["FeatureDefinitions"]
        if self._definitions[0] is not told:
            self._definitions = told, {definition["FeatureName"]: definition for definition in told}
        return self._definitions[1]

    @cached_property
    def offline_uri(self) -> str | None:
        """Where its offline copy goes; None where it has none."""
        storage = self.params.get("OfflineStoreConfig", {}).get("S3StorageConfig")
        if not storage:
            return None
        _, _, _, region, account, _ = self.arn.split(":")
        name = f"{self.feature_group_name}-{int(self.creation_time.timestamp())}"
        return f"{storage['S3Uri'].rstrip('/')}/{account}/sagemaker/{region}/offline-store/{name}/data"

    def gen_response_object(self) -> Json:
        """What moto's Search shows of it."""
        return self.describe()

    def describe(self) -> Json:
        """The answer of DescribeFeatureGroup."""
        self.settle()
        described: Json = {
            **{key: value for key, value in self.params.items() if key != "Tags"},
            "FeatureGroupArn": self.arn,
            "CreationTime": self.creation_time,
            "LastModifiedTime": self.last_modified_time,
            **self._status(),
            "LastUpdateStatus": {"Status": "InProgress" if self.updated else "Successful"},
            "OnlineStoreTotalSizeBytes": len(json.dumps([stored.features for stored in self.records.values()])),
        }
        described.setdefault("ThroughputConfig", {"ThroughputMode": "OnDemand"})
        if self.offline_uri:
            offline = self.params["OfflineStoreConfig"]
            table = f"{self.feature_group_name.replace('-', '_')}_{int(self.creation_time.timestamp())}"
            catalog = {"Catalog": "AwsDataCatalog", "Database": "sagemaker_featurestore", "TableName": table}
            described["OfflineStoreConfig"] = {
                **({} if offline.get("DisableGlueTableCreation") else {"DataCatalogConfig": catalog}),
                **offline,
                "S3StorageConfig": {**offline["S3StorageConfig"], "ResolvedOutputS3Uri": self.offline_uri},
            }
            described["OfflineStoreStatus"] = {"Status": "Active"}
        return described

    def _status(self) -> Json:
        if self.failure:
            return {"FeatureGroupStatus": "CreateFailed", "FailureReason": self.failure}
        return {"FeatureGroupStatus": "Created"}

    def summary(self) -> Json:
        return {
            "FeatureGroupName": self.feature_group_name,
            "FeatureGroupArn": self.arn,
            "CreationTime": self.creation_time,
            **self._status(),
            **({"OfflineStoreStatus": {"Status": "Active"}} if self.offline_uri else {}),
        }


def create(backend: SageMakerModelBackend, params: Mapping[str, Any]) -> FeatureGroup:
    """CreateFeatureGroup. Raises AWSValidationException for a schema that AWS refuses."""
    name = params["FeatureGroupName"]
    arn = f"arn:{backend.partition}:sagemaker:{backend.region_name}:{backend.account_id}:feature-group/{name.lower()}"
    if arn in backend.feature_groups:
        raise ResourceInUseException(f"Resource Already Exists: FeatureGroup with name {name} already exists.")
    _check_schema(params)
    _check_online(params)
    group = FeatureGroup(arn, dict(params), list(params.get("Tags", [])), failure=_offline_fault(backend, params))
    backend.feature_groups[arn] = group  # type: ignore[assignment]  # stands in for moto's own, which drops fields
    return group


def _check_schema(params: Mapping[str, Any]) -> None:
    types: dict[str, str] = {}
    for definition in params["FeatureDefinitions"]:
        name = definition["FeatureName"]
        if name in types:
            raise AWSValidationException(f"Validation Error: FeatureDefinitions has {name} twice.")
        if name.lower() in RESERVED:
            raise AWSValidationException(f"Validation Error: {name} is reserved: no feature may be named so.")
        types[name] = definition["FeatureType"]
    for key in ("RecordIdentifierFeatureName", "EventTimeFeatureName"):
        if params[key] not in types:
            raise AWSValidationException(f"Validation Error: {key} {params[key]} is not among the FeatureDefinitions.")
    time_name = params["EventTimeFeatureName"]
    if types[time_name] not in ("String", "Fractional"):
        raise AWSValidationException(
            f"Validation Error: EventTimeFeatureName {time_name} must be String or Fractional, got {types[time_name]}."
        )


def _check_online(params: Mapping[str, Any]) -> None:
    """Refuse what AWS refuses at once."""
    throughput = params.get("ThroughputConfig", {})
    units = {name: value for name, value in throughput.items() if name != "ThroughputMode"}
    if throughput.get("ThroughputMode") == "Provisioned" and len(units) < 2:
        raise AWSValidationException("Validation Error: Provisioned throughput needs read and write capacity units.")
    if throughput.get("ThroughputMode", "OnDemand") == "OnDemand" and units:
        raise AWSValidationException("Validation Error: capacity units are for Provisioned throughput only.")
    if too_many := [name for name, value in units.items() if value > MOST_UNITS]:
        raise AWSValidationException(f"Validation Error: {too_many[0]} is more than the quota of {MOST_UNITS}.")
    offline = params.get("OfflineStoreConfig", {})
    if offline.get("TableFormat") == "Iceberg" and offline.get("DisableGlueTableCreation"):
        raise AWSValidationException("Validation Error: an Iceberg table needs DisableGlueTableCreation to be false.")


def _offline_fault(backend: SageMakerModelBackend, params: Mapping[str, Any]) -> str | None:
    """Why the offline store cannot be made: AWS finds out after it has said that the group is being created."""
    storage = params.get("OfflineStoreConfig", {}).get("S3StorageConfig")
    if not storage:
        return None
    bucket, _, prefix = storage["S3Uri"].removeprefix("s3://").partition("/")
    if bucket not in s3_backends[backend.account_id][backend.partition].buckets:
        return f"The S3 bucket {bucket} does not exist."
    roles = iam_backends[backend.account_id][backend.partition].roles.values()
    role = next((each for each in roles if each.arn == params.get("RoleArn")), None)
    if role is None:
        return None if "RoleArn" in params else "An offline store needs a RoleArn."
    needed = {"s3:GetBucketAcl": f"arn:aws:s3:::{bucket}", "s3:PutObject": f"arn:aws:s3:::{bucket}/{prefix}/x"}
    documents = [*role.policies.values(), *(_in_force(each) for each in role.managed_policies.values())]
    lacking = [action for action, resource in needed.items() if not _allowed(documents, action, resource)]
    return f"The role {params['RoleArn']} may not do {', '.join(lacking)} for {storage['S3Uri']}." if lacking else None


def _in_force(policy: Any) -> Any:
    return next(each.document for each in policy.versions if each.version_id == policy.default_version_id)


def _allowed(documents: Iterable[Any], action: str, resource: str) -> bool:
    """Whether one of these policies allows an action; conditions are not looked at."""
    for document in documents:
        statements = (json.loads(document) if isinstance(document, str) else document)["Statement"]
        for statement in [statements] if isinstance(statements, dict) else statements:
            covered = {
                name: any(fnmatchcase(value, each) for each in ([told] if isinstance(told, str) else told))
                for name, value in (("Action", action), ("Resource", resource))
                for told in [statement.get(name, [])]
            }
            if statement["Effect"] == "Allow" and all(covered.values()):
                return True
    return False


def all_of(backend: SageMakerModelBackend) -> list[FeatureGroup]:
    return cast(list[FeatureGroup], list(backend.feature_groups.values()))


def find(backend: SageMakerModelBackend, name_or_arn: str) -> FeatureGroup:
    """Raises ResourceNotFound where there is none."""
    name = name_or_arn.rpartition("/")[2]
    for group in all_of(backend):
        if group.feature_group_name == name or group.arn == name_or_arn:
            return group
    raise ResourceNotFound(
        f"Resource Not Found: Amazon SageMaker can't find a FeatureGroup with name: {name_or_arn}. "
        "Provide a FeatureGroup name that exists."
    )


def update(backend: SageMakerModelBackend, params: Mapping[str, Any]) -> FeatureGroup:
    """UpdateFeatureGroup: features are added, never changed or taken away; it is in force after a while.

    Raises AWSValidationException for more than one kind of change, and while another update is in progress.
    """
    group = find(backend, params["FeatureGroupName"])
    group.settle()
    asked = [name for name in UPDATES if name in params]
    if len(asked) != 1:
        raise AWSValidationException(
            f"Validation Error: one parameter can be updated at a time, got {', '.join(asked) or 'none'}."
        )
    if group.failure or group.updated:
        raise AWSValidationException(
            f"Validation Error: FeatureGroup {group.feature_group_name} cannot be updated: "
            + (group.failure or "an update is in progress.")
        )
    additions = params.get("FeatureAdditions", [])
    if len(additions) > MOST_ADDITIONS:
        raise AWSValidationException(
            f"Validation Error: FeatureAdditions has {len(additions)} members, {MOST_ADDITIONS} are the most."
        )
    online = {**group.params.get("OnlineStoreConfig", {}), **params.get("OnlineStoreConfig", {})}
    changed = {
        **group.params,
        **({"ThroughputConfig": params["ThroughputConfig"]} if "ThroughputConfig" in params else {}),
        **({"OnlineStoreConfig": online} if online else {}),
        "FeatureDefinitions": [*group.params["FeatureDefinitions"], *additions],
    }
    _check_schema(changed)
    _check_online(changed)
    with group.lock:
        group.updated = time.monotonic() + UPDATE_SECONDS, changed
    return group


Version = tuple[datetime, Mapping[str, Json], bool]
"""One version of a record in the offline store: when it was written, its features, whether it tells of a deletion."""


class OfflineStore:
    """Keeps records until `flush` writes them: one Parquet file for each group and hour that has any.

    `put(bucket, key, body, kms_key_id, role)` writes an object.
    """

    def __init__(self, put: Callable[[str, str, bytes, str | None, str], None]) -> None:
        self._put = put
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._waiting: dict[tuple[str, str, int], tuple[FeatureGroup, list[Version]]] = {}

    def add(self, group: FeatureGroup, features: Mapping[str, Json], when: float, deleted: bool) -> None:
        """Append one version of a record, with the three columns the offline store adds. `when` is its event time."""
        uri = group.offline_uri
        if not uri:
            return
        hour = int(when // 3600)
        with self._lock:
            rows = self._waiting.setdefault((group.arn, uri, hour), (group, []))[1]
            rows.append((datetime.now(UTC), features, deleted))

    def flush(self) -> None:
        """Write out what is waiting. What S3 refuses is lost, but not without a word on stderr."""
        with self._writing:
            with self._lock:
                waiting, self._waiting = self._waiting, {}
            for (_, uri, hour), (group, rows) in waiting.items():
                folder = f"{uri}/{datetime.fromtimestamp(3600 * hour, UTC):year=%Y/month=%m/day=%d/hour=%H}"
                bucket, _, prefix = folder.removeprefix("s3://").partition("/")
                name = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}_{secrets.token_hex(8)}.parquet"
                storage = group.params["OfflineStoreConfig"]["S3StorageConfig"]
                key_id, role = storage.get("KmsKeyId"), group.params.get("RoleArn", "")
                try:
                    self._put(bucket, f"{prefix}/{name}", _parquet(group, rows), key_id, role)
                except Exception as error:
                    print(
                        f"offline store: {len(rows)} records for {folder} are lost: {error}",
                        file=sys.stderr,
                        flush=True,
                    )


def _parquet(group: FeatureGroup, rows: Sequence[Version]) -> bytes:
    """Rows as a Parquet file with the group's types and the offline store's own columns."""
    # Takes a quarter of a second, which only those pay who have an offline store.
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {"Integral": pa.int64(), "Fractional": pa.float64(), "String": pa.string()}
    read: dict[str, Callable[[str], Any]] = {"Integral": int, "Fractional": float, "String": str}
    columns: dict[str, Any] = {}
    for name, definition in group.definitions.items():
        kind, convert = definition["FeatureType"], read[definition["FeatureType"]]
        values = [features.get(name) for _, features, _ in rows]
        if "CollectionType" in definition:
            lists = [each and [convert(item) for item in each["ValueAsStringList"]] for each in values]
            columns[name] = pa.array(lists, pa.list_(types[kind]))
        else:
            columns[name] = pa.array([each and convert(each["ValueAsString"]) for each in values], types[kind])
    moment = pa.timestamp("ms", "UTC")
    for name in ("write_time", "api_invocation_time"):
        columns[name] = pa.array([written for written, _, _ in rows], moment)
    columns["is_deleted"] = pa.array([deleted for _, _, deleted in rows], pa.bool_())
    packed = io.BytesIO()
    pq.write_table(pa.table(columns), packed)
    return packed.getvalue()


def _event_time(group: FeatureGroup, features: Mapping[str, Json]) -> datetime:
    """The record's event time. Raises Invalid where it is no time in a form AWS takes."""
    name = group.params["EventTimeFeatureName"]
    return parse_event_time(features[name]["ValueAsString"], group.definitions[name]["FeatureType"])


def parse_event_time(text: str, feature_type: str) -> datetime:
    """Unix seconds for a Fractional, ISO 8601 in UTC for a String. Raises Invalid for anything else."""
    if feature_type == "Fractional":
        try:
            return datetime.fromtimestamp(float(text), UTC)
        except (ValueError, OverflowError, OSError):
            raise Invalid(f"EventTime {text!r} is no Unix time in seconds.") from None
    if ISO_8601.fullmatch(text):
        try:
            return datetime.fromisoformat(text)
        except ValueError:
            pass
    raise Invalid(f"EventTime {text!r} must be ISO 8601 in UTC, such as 2026-01-31T12:00:00Z or …00.000Z.")


class Invalid(ServiceException):
    """The runtime's error for a record or a request that does not fit the group."""

    code = "ValidationError"

    def __init__(self, text: str) -> None:
        super().__init__(f"Validation Error: {text}")


def put(group: FeatureGroup, offline: OfflineStore, params: Mapping[str, Any]) -> None:
    """PutRecord: an older event time than the stored one leaves the online record alone.

    Raises Invalid for a record that does not fit the group's schema.
    """
    group.settle()
    if group.failure:
        raise Invalid(f"FeatureGroup {group.feature_group_name} was not created: {group.failure}")
    features = _checked(group, params["Record"])
    stores = _stores(group, params)
    when = _event_time(group, features)
    if "OnlineStore" in stores:
        identifier = features[group.params["RecordIdentifierFeatureName"]]["ValueAsString"]
        ttl = params.get("TtlDuration") or group.online.get("TtlDuration")
        _store(group, identifier, Stored(when.timestamp(), features, _expiry(when, ttl) if ttl else None))
    if "OfflineStore" in stores:
        offline.add(group, features, when.timestamp(), deleted=False)


def _expiry(when: datetime, ttl: Mapping[str, Any]) -> datetime:
    try:
        return when + timedelta(**{ttl["Unit"].lower(): ttl["Value"]})
    except OverflowError:
        return FOREVER


def _store(group: FeatureGroup, identifier: str, new: Stored) -> None:
    with group.lock:
        old = group.records.get(identifier)
        if old is None or new.event_time >= old.event_time:
            group.records[identifier] = new


def delete(group: FeatureGroup, offline: OfflineStore, params: Mapping[str, Any]) -> None:
    """DeleteRecord: SoftDelete keeps the event time, so that an older record cannot come back; HardDelete does not."""
    identifier, stores = params["RecordIdentifierValueAsString"], _stores(group, params)
    time_name, id_name = group.params["EventTimeFeatureName"], group.params["RecordIdentifierFeatureName"]
    when = parse_event_time(params["EventTime"], group.definitions[time_name]["FeatureType"])
    if "OnlineStore" in stores:
        if params.get("DeletionMode") == "HardDelete":
            with group.lock:
                old = group.records.get(identifier)
                if old and old.event_time <= when.timestamp():
                    del group.records[identifier]
        else:
            _store(group, identifier, Stored(when.timestamp(), None, None))
    if "OfflineStore" in stores:
        values = {id_name: identifier, time_name: params["EventTime"]}
        features = {name: {"ValueAsString": value} for name, value in values.items()}
        offline.add(group, features, when.timestamp(), deleted=True)


def get(group: FeatureGroup, identifier: str, names: Iterable[str]) -> tuple[list[Json], datetime | None] | None:
    """A record's features, those of `names` only if any are given, and when it expires; None where there is none.

    Raises Invalid for a name that is no feature, or a group without an online store.
    """
    if not group.online:
        raise Invalid(f"FeatureGroup {group.feature_group_name} has no online store; set EnableOnlineStore.")
    unknown = set(names) - set(group.definitions)
    if unknown:
        raise Invalid(f"FeatureGroup {group.feature_group_name} has no feature {', '.join(sorted(unknown))}.")
    stored = group.records.get(identifier)
    if stored is None or stored.features is None or not stored.readable:
        return None
    wanted = list(names) or list(stored.features)
    return [stored.features[name] for name in wanted if name in stored.features], stored.expires


def _stores(group: FeatureGroup, params: Mapping[str, Any]) -> set[str]:
    """The stores a write goes to. Raises Invalid for one that the group does not have."""
    have = {name for name, there in (("OnlineStore", group.online), ("OfflineStore", group.offline_uri)) if there}
    wanted = set(params.get("TargetStores") or have)
    if not wanted <= have:
        raise Invalid(f"FeatureGroup {group.feature_group_name} has no {', '.join(sorted(wanted - have))}.")
    return wanted


def _checked(group: FeatureGroup, record: Iterable[Json]) -> dict[str, Json]:
    """The record by feature name, if it fits the schema."""
    definitions = group.definitions
    features: dict[str, Json] = {}
    for value in record:
        name = value["FeatureName"]
        if name not in definitions:
            raise Invalid(f"FeatureGroup {group.feature_group_name} has no feature {name}.")
        if name in features:
            raise Invalid(f"the record has feature {name} twice.")
        _check_value(definitions[name], value)
        features[name] = value
    for name in (group.params["RecordIdentifierFeatureName"], group.params["EventTimeFeatureName"]):
        if not features.get(name, {}).get("ValueAsString"):
            raise Invalid(f"the record must have a value for {name}.")
    return features


def _check_value(definition: Mapping[str, Any], value: Mapping[str, Any]) -> None:
    name, kind = definition["FeatureName"], definition["FeatureType"]
    if "CollectionType" in definition:
        if "ValueAsStringList" not in value:
            raise Invalid(f"{name} is a {definition['CollectionType']}; give it as ValueAsStringList.")
        texts = value["ValueAsStringList"]
    else:
        if "ValueAsString" not in value:
            raise Invalid(f"{name} is no collection; give it as ValueAsString.")
        texts = [value["ValueAsString"]]
    for text in texts:
        if kind == "Integral" and not _is_integral(text):
            raise Invalid(f"the value of {name} must be an Integral (64 bits), got {text!r}.")
        if kind == "Fractional" and not _is_fractional(text):
            raise Invalid(f"the value of {name} must be a Fractional, got {text!r}.")


def _is_integral(text: str) -> bool:
    return bool(re.fullmatch(r"[+-]?\d+", text)) and -(2**63) <= int(text) < 2**63


def _is_fractional(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text == text.strip()


def answer_batch(region: str, params: Mapping[str, Any]) -> Json:
    """BatchWriteRecord: what is wrong with one record keeps none of the others out.

    Raises Invalid for more records than a call takes.
    """
    backend, offline = sagemaker_backends[ACCOUNT][region], RuntimeResponse.offline
    entries = params["Entries"]
    if len(entries) > MOST_ENTRIES:
        raise Invalid(f"Entries has {len(entries)} members, {MOST_ENTRIES} are the most.")
    errors = []
    for entry in entries:
        told = {**entry, "TtlDuration": entry.get("TtlDuration") or params.get("TtlDuration")}
        try:
            put(find(backend, entry["FeatureGroupName"]), offline, told)
        except ServiceException as error:
            errors.append({"Entry": entry, "ErrorCode": error.code, "ErrorMessage": error.message})
    return {"Errors": errors, "UnprocessedEntries": []}


class RuntimeResponse(BaseResponse):
    """The sagemaker-featurestore-runtime service, which moto does not have."""

    offline: OfflineStore

    def __init__(self) -> None:
        super().__init__(service_name="sagemaker-featurestore-runtime")
        self.automated_parameter_parsing = True

    def _backend(self) -> SageMakerModelBackend:
        return sagemaker_backends[self.current_account][self.region]

    def put_record(self) -> ActionResult:
        put(find(self._backend(), self.params["FeatureGroupName"]), self.offline, self.params)
        return EmptyResult()

    def delete_record(self) -> ActionResult:
        delete(find(self._backend(), self.params["FeatureGroupName"]), self.offline, self.params)
        return EmptyResult()

    def get_record(self) -> ActionResult:
        group = find(self._backend(), self.params["FeatureGroupName"])
        found = get(group, self.params["RecordIdentifierValueAsString"], self.params.get("FeatureNames") or [])
        return ActionResult(_found(found, self.params) if found else {})

    def batch_get_record(self) -> ActionResult:
        records, errors = [], []
        for wanted in self.params["Identifiers"]:
            name = wanted["FeatureGroupName"]
            for identifier in wanted["RecordIdentifiersValueAsString"]:
                place = {"FeatureGroupName": name, "RecordIdentifierValueAsString": identifier}
                try:
                    found = get(find(self._backend(), name), identifier, wanted.get("FeatureNames") or [])
                except ServiceException as error:
                    errors.append({**place, "ErrorCode": error.code, "ErrorMessage": error.message})
                else:
                    records += [{**place, **_found(found, self.params)}] if found else []
        return ActionResult({"Records": records, "Errors": errors, "UnprocessedIdentifiers": []})


def _found(found: tuple[list[Json], datetime | None], params: Mapping[str, Any]) -> Json:
    features, expires = found
    if params.get("ExpirationTimeResponse") == "Enabled" and expires:
        return {"Record": features, "ExpiresAt": expires.strftime(EVENT_TIME)}
    return {"Record": features}
