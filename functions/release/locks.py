"""One release of an endpoint at a time: a lock that an execution holds while it runs, or until it gives it back.

The ledger's bucket lets nobody overwrite or delete, so a lock is a row of numbered objects: who writes the next number
first has it, and the one before must have ended. Nothing has to be freed, and no dead holder keeps anyone out.
"""

import json
from typing import Any, Final

from botocore.exceptions import ClientError

PREFIX: Final = "locks/"
NOBODY: Final = ""
TAKEN: Final = ("PreconditionFailed", "ConditionalRequestConflict")


def take(s3: Any, states: Any, bucket: str, endpoint: str, holder: dict[str, Any]) -> dict[str, Any] | None:
    """Take the lock for an execution: None where it has it now, otherwise who has it.

    `holder` says which one: its ARN as `execution`, and whatever else those who wait should know.
    """
    number, current = _last(s3, bucket, endpoint)
    if current:
        if current["execution"] == holder["execution"]:
            return None
        if current["execution"] != NOBODY and _runs(states, current["execution"]):
            return current
    if _write(s3, bucket, endpoint, number + 1, holder):
        return None
    return _last(s3, bucket, endpoint)[1] or {"execution": "someone else"}


def give_back(s3: Any, bucket: str, endpoint: str, execution: str) -> None:
    """Let others have the lock though this execution, which holds it, runs on; nothing where another has it."""
    number, current = _last(s3, bucket, endpoint)
    if current and current["execution"] == execution:
        _write(s3, bucket, endpoint, number + 1, {"execution": NOBODY, "given_back_by": execution})


def _write(s3: Any, bucket: str, endpoint: str, number: int, holder: dict[str, Any]) -> bool:
    """Write a number, if nobody has: whether it was this call that did."""
    try:
        s3.put_object(
            Bucket=bucket,
            Key=f"{PREFIX}{endpoint}/{number:08}.json",
            Body=json.dumps(holder, sort_keys=True).encode(),
            IfNoneMatch="*",
            ContentType="application/json",
        )
    except ClientError as error:
        if error.response["Error"]["Code"] not in TAKEN:
            raise
        return False
    return True


def _last(s3: Any, bucket: str, endpoint: str) -> tuple[int, dict[str, Any] | None]:
    """The newest number and its holder; 0 and None before the first."""
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{PREFIX}{endpoint}/")
    keys = [each["Key"] for page in pages for each in page.get("Contents", [])]
    if not keys:
        return 0, None
    newest = max(keys)
    held: dict[str, Any] = json.load(s3.get_object(Bucket=bucket, Key=newest)["Body"])
    return int(newest.rpartition("/")[2].removesuffix(".json")), held


def _runs(states: Any, execution: str) -> bool:
    try:
        described = states.describe_execution(executionArn=execution, includedData="METADATA_ONLY")
        return bool(described["status"] == "RUNNING")
    except ClientError as error:
        if error.response["Error"]["Code"] != "ExecutionDoesNotExist":
            raise
        return False  # Step Functions forgets what ended 90 days ago.
