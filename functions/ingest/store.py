"""Writes records to Feature Store, many at a time, and tells which it will never take."""

import random
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self
from zlib import crc32

from botocore.config import Config
from botocore.exceptions import ClientError

BATCH: Final = 25
"""Records that one BatchWriteRecord takes."""
WRITERS: Final = 8
ATTEMPTS: Final = 6
FINAL: Final = frozenset({"ValidationError", "ValidationException"})
"""Codes of errors that stay, however often it is tried: the record is at fault."""
CONFIG: Final = Config(
    max_pool_connections=WRITERS,
    retries={"mode": "standard", "total_max_attempts": 5},
    # Every record has been checked, and to check each of its values once more takes longer than to send them.
    parameter_validation=False,
)
"""For the clients that write."""


@dataclass(frozen=True)
class Entry:
    """A record on its way."""

    group: str
    identifier: str
    record: Sequence[Mapping[str, str]]

    @property
    def key(self) -> tuple[str, str]:
        """What there is one of in a call."""
        return self.group, self.identifier


class Writer:
    """Several threads that write; `with` ends them."""

    def __init__(self, client: Any) -> None:
        """`client` is one of sagemaker-featurestore-runtime, made with CONFIG."""
        self._client, self._pool = client, ThreadPoolExecutor(WRITERS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown()

    def write(self, entries: Sequence[Entry]) -> dict[int, str]:
        """Write all of these; returns the places of those that the store refuses, and why.

        Of two for one record with the same event time the later one stays. Raises RuntimeError where the store does
        not take records that are not at fault.
        """
        shares: list[list[tuple[int, Entry]]] = [[] for _ in range(WRITERS)]
        for place, entry in enumerate(entries):
            # All for one record go through one thread, in order.
            shares[crc32(entry.identifier.encode()) % WRITERS].append((place, entry))
        return {place: why for refused in self._pool.map(self._write, shares) for place, why in refused.items()}

    def _write(self, share: Sequence[tuple[int, Entry]]) -> dict[int, str]:
        refused: dict[int, str] = {}
        for batch in _batches(share):
            waiting = {key: entry for key, (_, entry) in batch.items()}
            for attempt in range(ATTEMPTS):
                if attempt:
                    time.sleep(random.uniform(0.1, 0.2) * 2**attempt)
                waiting, faulty = self._send(waiting)
                refused |= {batch[key][0]: why for key, why in faulty.items()}
                if not waiting:
                    break
            else:
                raise RuntimeError(f"{len(waiting)} records were not taken in {ATTEMPTS} attempts: try again later")
        return refused

    def _send(
        self, entries: Mapping[tuple[str, str], Entry]
    ) -> tuple[dict[tuple[str, str], Entry], dict[tuple[str, str], str]]:
        """Send once. Returns those to try again, and why others never will be taken."""
        # The boto3 that Lambda brings may be older than this call.
        if not hasattr(self._client, "batch_write_record"):
            return {}, self._send_one_by_one(entries)
        told = {key: {"FeatureGroupName": entry.group, "Record": entry.record} for key, entry in entries.items()}
        try:
            answer = self._client.batch_write_record(Entries=list(told.values()))
        except ClientError as error:
            if error.response["Error"]["Code"] not in FINAL:
                raise
            # One record at fault may have the whole call refused: see which.
            return {}, self._send_one_by_one(entries)
        keys = {_content(entry): key for key, entry in told.items()}
        again = {keys[_content(each)] for each in answer["UnprocessedEntries"]}
        faulty = {}
        for each in answer["Errors"]:
            key = keys[_content(each["Entry"])]
            if each["ErrorCode"] in FINAL:
                faulty[key] = each["ErrorMessage"]
            else:
                again.add(key)
        return {key: entries[key] for key in again}, faulty

    def _send_one_by_one(self, entries: Mapping[tuple[str, str], Entry]) -> dict[tuple[str, str], str]:
        faulty = {}
        for key, entry in entries.items():
            try:
                self._client.put_record(FeatureGroupName=entry.group, Record=entry.record)
            except ClientError as error:
                if error.response["Error"]["Code"] not in FINAL:
                    raise
                faulty[key] = error.response["Error"]["Message"]
        return faulty


def _batches(share: Iterable[tuple[int, Entry]]) -> Iterator[dict[tuple[str, str], tuple[int, Entry]]]:
    """At most 25, no record twice among them: within a call there is no order."""
    batch: dict[tuple[str, str], tuple[int, Entry]] = {}
    for place, entry in share:
        if entry.key in batch or len(batch) == BATCH:
            yield batch
            batch = {}
        batch[entry.key] = place, entry
    if batch:
        yield batch


def _content(entry: Mapping[str, Any]) -> tuple[Any, ...]:
    """What tells an entry in an answer from the others."""
    values = sorted((each["FeatureName"], each.get("ValueAsString")) for each in entry["Record"])
    return entry["FeatureGroupName"].rpartition("/")[2], *values
