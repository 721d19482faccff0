"""SageMaker Feature Store: groups that keep every field, records with schema and event time, an offline copy in S3.

The offline copy is JSON lines under the group's resolved URI, in the folders AWS uses; AWS itself writes Parquet there.
"""

import json
import re
import secrets
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from moto.core.exceptions import ServiceException
from moto.core.responses import ActionResult, BaseResponse, EmptyResult
from moto.sagemaker.exceptions import AWSValidationException, ResourceInUseException, ResourceNotFound
from moto.sagemaker.models import SageMakerModelBackend, sagemaker_backends

Json = dict[str, Any]

RESERVED = ("is_deleted", "write_time", "api_invocation_time")
"""Names that the offline store adds itself: https://docs.aws.amazon.com/sagemaker/latest/dg/feature-store-create-feature-group.html."""
EVENT_TIMES = ("%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S.%fZ")
"""The two ISO 8601 forms that a String event time may have."""


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
    records: dict[str, Stored] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def feature_group_name(self) -> str:
        return str(self.params["FeatureGroupName"])

    @property
    def online(self) -> Mapping[str, Any]:
        config: Mapping[str, Any] = self.params.get("OnlineStoreConfig", {})
        return config if config.get("EnableOnlineStore") else {}

    @property
    def definitions(self) -> dict[str, Json]:
        return {definition["FeatureName"]: definition for definition in self.params["FeatureDefinitions"]}

    @property
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
        described: Json = {
            **{key: value for key, value in self.params.items() if key != "Tags"},
            "FeatureGroupArn": self.arn,
            "CreationTime": self.creation_time,
            "LastModifiedTime": self.last_modified_time,
            "FeatureGroupStatus": "Created",
            "LastUpdateStatus": {"Status": "Successful"},
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

    def summary(self) -> Json:
        return {
            "FeatureGroupName": self.feature_group_name,
            "FeatureGroupArn": self.arn,
            "CreationTime": self.creation_time,
            "FeatureGroupStatus": "Created",
            **({"OfflineStoreStatus": {"Status": "Active"}} if self.offline_uri else {}),
        }


def create(backend: SageMakerModelBackend, params: Mapping[str, Any]) -> FeatureGroup:
    """CreateFeatureGroup. Raises AWSValidationException for a schema that AWS refuses."""
    name = params["FeatureGroupName"]
    arn = f"arn:{backend.partition}:sagemaker:{backend.region_name}:{backend.account_id}:feature-group/{name.lower()}"
    if arn in backend.feature_groups:
        raise ResourceInUseException(f"Resource Already Exists: FeatureGroup with name {name} already exists.")
    _check_schema(params)
    group = FeatureGroup(arn, dict(params), list(params.get("Tags", [])))
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


def all_of(backend: SageMakerModelBackend) -> list[FeatureGroup]:
    return cast(list[FeatureGroup], list(backend.feature_groups.values()))


def find(backend: SageMakerModelBackend, name_or_arn: str) -> FeatureGroup:
    """Raises ResourceNotFound where there is none."""
    name = name_or_arn.rpartition("/")[2]
    for group in all_of(backend):
        if group.feature_group_name == name:
            return group
    raise ResourceNotFound(
        f"Resource Not Found: Amazon SageMaker can't find a FeatureGroup with name: {name_or_arn}. "
        "Provide a FeatureGroup name that exists."
    )


def update(backend: SageMakerModelBackend, params: Mapping[str, Any]) -> FeatureGroup:
    """UpdateFeatureGroup: features can be added, never changed or taken away."""
    group = find(backend, params["FeatureGroupName"])
    changed = {
        **group.params,
        **{key: params[key] for key in ("OnlineStoreConfig", "ThroughputConfig") if key in params},
    }
    changed["OnlineStoreConfig"] = {**group.params.get("OnlineStoreConfig", {}), **changed.get("OnlineStoreConfig", {})}
    changed["FeatureDefinitions"] = [*group.params["FeatureDefinitions"], *params.get("FeatureAdditions", [])]
    _check_schema(changed)
    group.params, group.last_modified_time = changed, datetime.now(UTC)
    return group


class OfflineStore:
    """Keeps records until `flush` writes them: one object for each group and hour that has any.

    `put(bucket, key, body, kms_key_id, role)` writes an object.
    """

    def __init__(self, put: Callable[[str, str, bytes, str | None, str], None]) -> None:
        self._put = put
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._waiting: dict[tuple[str, str | None, str], list[str]] = defaultdict(list)

    def add(self, group: FeatureGroup, features: Mapping[str, Json], deleted: bool) -> None:
        """Append one version of a record, with the three columns the offline store adds."""
        if not group.offline_uri:
            return
        now = datetime.now(UTC)
        row = {name: value.get("ValueAsString", value.get("ValueAsStringList")) for name, value in features.items()}
        stamp = now.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
        row |= {"write_time": stamp, "api_invocation_time": stamp, "is_deleted": deleted}
        when = _event_time(group, features).astimezone(UTC)
        storage = group.params["OfflineStoreConfig"]["S3StorageConfig"]
        folder = f"{group.offline_uri}/{when:year=%Y/month=%m/day=%d/hour=%H}"
        with self._lock:
            self._waiting[folder, storage.get("KmsKeyId"), group.params.get("RoleArn", "")].append(json.dumps(row))

    def flush(self) -> None:
        """Write out what is waiting. What S3 refuses is lost, but not without a word on stderr."""
        with self._writing:
            with self._lock:
                waiting, self._waiting = self._waiting, defaultdict(list)
            for (folder, key_id, role), rows in waiting.items():
                bucket, _, prefix = folder.removeprefix("s3://").partition("/")
                name = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}_{secrets.token_hex(8)}.jsonl"
                try:
                    self._put(bucket, f"{prefix}/{name}", "".join(f"{row}\n" for row in rows).encode(), key_id, role)
                except Exception as error:
                    print(
                        f"offline store: {len(rows)} records for {folder} are lost: {error}",
                        file=sys.stderr,
                        flush=True,
                    )


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
    for form in EVENT_TIMES:
        try:
            return datetime.strptime(text, form).replace(tzinfo=UTC)
        except ValueError:
            continue
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
    features = _checked(group, params["Record"])
    stores = _stores(group, params)
    when = _event_time(group, features)
    if "OnlineStore" in stores:
        identifier = features[group.params["RecordIdentifierFeatureName"]]["ValueAsString"]
        ttl = params.get("TtlDuration") or group.online.get("TtlDuration")
        expires = when + timedelta(**{ttl["Unit"].lower(): ttl["Value"]}) if ttl else None
        _store(group, identifier, Stored(when.timestamp(), features, expires))
    if "OfflineStore" in stores:
        offline.add(group, features, deleted=False)


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
        offline.add(group, {name: {"ValueAsString": value} for name, value in values.items()}, deleted=True)


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
        return {"Record": features, "ExpiresAt": expires.strftime(EVENT_TIMES[0])}
    return {"Record": features}
