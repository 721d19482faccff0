"""The ingestion's Lambda: files of features go to the feature store, and what does not fit to quarantine, with reasons.

A file is read as a stream. One that takes longer than a run is carried on by the next, from the byte where this ended.
The same file twice does no harm: of what was finished there is a receipt, and what was not is written again, which
gives the same records.
"""

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any, Final

import boto3

from functions.ingest.core import (
    Lines,
    Refused,
    Row,
    Tally,
    format_of,
    header,
    judged,
    quarantined,
    record,
    refusal,
    rows_of,
)
from functions.ingest.store import BATCH, CONFIG, WRITERS, Entry, Writer
from functions.rows import Problem, Rows

NAMESPACE: Final = "Slipway/Features"
GROUPS: Final = Path(__file__).parents[2] / "groups.json"
"""Feature groups and their schemas, put beside the code when it is deployed."""
ROWS_AT_ONCE: Final = WRITERS * BATCH * 10
QUARANTINE_BYTES: Final = 4 << 20
"""How much goes into one object of the quarantine."""
MOST_PARTS: Final = 15
"""Lambda ends a function that has called itself 16 times in a row.
https://docs.aws.amazon.com/lambda/latest/dg/invocation-recursion.html"""
TIME_TO_HAND_OVER: Final = 30.0
"""Seconds before a run's end at which it reads no further."""
MOST_TO_COPY: Final = 5 * 1024**3
"""Bytes that CopyObject takes."""


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Take in one file, or its next part. Returns the report.

    `event` is EventBridge's for a new object, or what an earlier run left for the next. Raises RuntimeError for a file
    that is too long, and for a store that does not take rows which are not at fault.
    """
    part = event if "offset" in event else _first_part(event)
    return Ingestion(part, context).run()


def _first_part(event: Mapping[str, Any]) -> dict[str, Any]:
    thing = event["detail"]["object"]
    return {
        "bucket": event["detail"]["bucket"]["name"],
        "key": thing["key"],
        "version": thing.get("version-id"),
        "etag": thing["etag"],
        "size": thing["size"],
        "offset": 0,
        "row": 0,
        "part": 1,
        "columns": None,
        "tallies": {},
    }


class Ingestion:
    """One run over one file."""

    def __init__(self, part: dict[str, Any], context: Any) -> None:
        self._part, self._context = part, context
        self._deadline = time.monotonic() + context.get_remaining_time_in_millis() / 1000 - TIME_TO_HAND_OVER
        self._s3 = boto3.client("s3")
        self._store = boto3.client("sagemaker-featurestore-runtime", config=CONFIG)
        prefix = os.environ["PREFIX"]
        tail = part["key"].removeprefix(f"{prefix}/incoming/")
        self._name = f"{tail}/{part['version'] or part['etag']}"
        self._quarantine, self._receipt = f"{prefix}/quarantine", f"{prefix}/ingested/{self._name}.json"
        groups = json.loads(GROUPS.read_text("utf-8"))
        self._groups = {group: Rows.from_json(json.dumps(schema)) for group, schema in groups.items()}
        self._known = {name for rows in self._groups.values() for name in rows.all_columns}
        self._tallies = {group: Tally(**part["tallies"].get(group, {})) for group in self._groups}
        self._before = {group: Tally(**asdict(tally)) for group, tally in self._tallies.items()}
        self._waiting: dict[str, list[str]] = {group: [] for group in self._groups}

    def run(self) -> dict[str, Any]:
        if done := self._finished():
            return {**done, "again": True}
        try:
            carried_on = self._read()
        except Refused as error:
            for group in self._groups:
                self._refuse(group, str(error))
            carried_on = False
        self._flush()
        report = {
            "file": f"s3://{self._part['bucket']}/{self._part['key']}",
            "version": self._part["version"],
            "rows": self._part["row"],
            "finished": not carried_on,
            "groups": {group: asdict(tally) for group, tally in self._tallies.items()},
        }
        self._tell()
        if not carried_on:
            self._put(self._receipt, json.dumps(report))
        print(json.dumps(report))
        return report

    def _read(self) -> bool:
        """Take rows in until the file or the time ends. Whether a further run was started for the rest."""
        part = self._part
        format_ = format_of(part["key"])
        if not part["size"]:
            raise Refused("the file is empty")
        which = {"VersionId": part["version"]} if part["version"] else {"IfMatch": part["etag"]}
        if part["offset"]:
            if part["offset"] >= part["size"]:
                return False
            which["Range"] = f"bytes={part['offset']}-"
        body = self._s3.get_object(Bucket=part["bucket"], Key=part["key"], **which)["Body"]
        lines, first = Lines(body.read, part["offset"]), None
        if part["columns"] is None:
            columns, first = header(lines, format_)
            part["columns"] = columns
            for group, rows in self._groups.items():
                if reason := refusal(rows, columns, self._known):
                    self._refuse(group, reason)
        taking = [group for group, tally in self._tallies.items() if tally.refused is None]
        if not taking:
            return False
        rows_left = rows_of(lines, format_, part["columns"], part["row"], first)
        with Writer(self._store) as writer:
            while some := list(islice(rows_left, ROWS_AT_ONCE)):
                self._take(some, taking, writer)
                part |= {"row": some[-1].number, "offset": lines.consumed}
                if time.monotonic() > self._deadline and lines.consumed < part["size"]:
                    self._flush()
                    self._carry_on()
                    return True
        return False

    def _take(self, some: Sequence[Row], groups: Sequence[str], writer: Writer) -> None:
        """Write what fits, put the rest into quarantine."""
        now = time.time()
        fitting: list[tuple[str, Row]] = []
        for row in some:
            for group in groups:
                if problems := judged(self._groups[group], row, self._known, now):
                    self._reject(group, row, problems)
                else:
                    fitting.append((group, row))
        refused = writer.write([self._entry(group, row) for group, row in fitting])
        for place, reason in refused.items():
            self._reject(*fitting[place], [Problem("", "", f"Feature Store refuses it: {reason}", "type")])
        fresh = now - 3600 * float(os.environ["FRESH_HOURS"])
        for group, row in (each for place, each in enumerate(fitting) if place not in refused):
            tally, rows = self._tallies[group], self._groups[group]
            when = rows.seconds(row.values[rows.event_time])
            tally.accepted += 1
            tally.fresh += when >= fresh
            if tally.newest is None or when >= tally.newest:
                tally.newest, tally.newest_record = when, row.values[rows.record_id]

    def _entry(self, group: str, row: Row) -> Entry:
        rows = self._groups[group]
        return Entry(group, row.values[rows.record_id], record(rows, row))

    # --- quarantine -------------------------------------------------------------------------------------------------

    def _reject(self, group: str, row: Row, problems: Sequence[Problem]) -> None:
        self._tallies[group].quarantined += 1
        self._waiting[group].append(quarantined(row, problems))
        if sum(map(len, self._waiting[group])) > QUARANTINE_BYTES:
            self._flush()

    def _refuse(self, group: str, reason: str) -> None:
        """Put the whole file into quarantine, with the reason beside it."""
        part = self._part
        self._tallies[group].refused = reason
        folder = f"{self._quarantine}/{group}/{self._name}"
        told = {"file": f"s3://{part['bucket']}/{part['key']}", "version": part["version"], "problems": [reason]}
        self._put(f"{folder}/refused.jsonl", json.dumps({"row": None, **told}) + "\n")
        if part["size"] <= MOST_TO_COPY:
            source = {"Bucket": part["bucket"], "Key": part["key"]}
            version = {"VersionId": part["version"]} if part["version"] else {}
            name = part["key"].rpartition("/")[2]
            self._s3.copy_object(Bucket=part["bucket"], Key=f"{folder}/{name}", CopySource={**source, **version})

    def _flush(self) -> None:
        """Write what waits. The same rows have the same name again, should a run be repeated."""
        for group, lines in self._waiting.items():
            if lines:
                first = json.loads(lines[0])["row"]
                self._put(f"{self._quarantine}/{group}/{self._name}/rows-from-{first:09}.jsonl", "".join(lines))
                lines.clear()

    # --- what is told -----------------------------------------------------------------------------------------------

    def _carry_on(self) -> None:
        """Start the run for the rest. Raises RuntimeError where there have been too many."""
        part = self._part
        if part["part"] >= MOST_PARTS:
            raise RuntimeError(
                f"s3://{part['bucket']}/{part['key']} is too long: its rows after {part['row']} are not in the store. "
                "Put them there as files of their own"
            )
        following = {**part, "part": part["part"] + 1, "tallies": {g: asdict(t) for g, t in self._tallies.items()}}
        boto3.client("lambda").invoke(
            FunctionName=self._context.function_name, InvocationType="Event", Payload=json.dumps(following).encode()
        )

    def _tell(self) -> None:
        """Metrics of this run, as log lines that CloudWatch reads."""
        for group, tally in self._tallies.items():
            before = self._before[group]
            values: dict[str, float] = {
                "rows_accepted": tally.accepted - before.accepted,
                "rows_quarantined": tally.quarantined - before.quarantined,
                "files_quarantined": int(tally.refused is not None and before.refused is None),
            }
            if tally.newest is not None:
                values["newest_age_seconds"] = max(0.0, time.time() - tally.newest)
            print(metrics(group, values))

    def _finished(self) -> dict[str, Any] | None:
        """The report of the run that finished this very version of the file, if there was one."""
        bucket, key = self._part["bucket"], self._receipt
        # To ask for what is not there is an error that differs with the right to list; to list it is none.
        if not self._s3.list_objects_v2(Bucket=bucket, Prefix=key, MaxKeys=1).get("Contents"):
            return None
        receipt: dict[str, Any] = json.loads(self._s3.get_object(Bucket=bucket, Key=key)["Body"].read())
        return receipt

    def _put(self, key: str, text: str) -> None:
        self._s3.put_object(Bucket=self._part["bucket"], Key=key, Body=text.encode())


def metrics(group: str, values: Mapping[str, float]) -> str:
    """A log line that CloudWatch turns into metrics of a feature group."""
    names = [{"Name": name, "Unit": "Seconds" if name.endswith("_seconds") else "Count"} for name in values]
    declared = {"Namespace": NAMESPACE, "Dimensions": [["feature_group"]], "Metrics": names}
    header = {"Timestamp": int(time.time() * 1000), "CloudWatchMetrics": [declared]}
    return json.dumps({"_aws": header, "feature_group": group, **values})
