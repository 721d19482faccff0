"""Captures that are more than one function reads in its time: read in parts by a Step Functions Distributed Map.

A run puts the objects that are new into parts, writes those down as a manifest, remembers that it is under way, and
starts the machine. Each part's profile goes to S3; the merge of all is judged as if it had been read in one pass. What
comes after waits for the next run. Whatever dies in between, the objects are counted with one verdict or begun anew.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from botocore.exceptions import ClientError

from functions.monitoring import windows
from functions.monitoring.sketch import Profile
from functions.monitoring.windows import Found, State

OBJECT_BYTES: Final = 256 << 10
"""What opening an object takes, as bytes that could be read instead: about 20 ms."""
MOST_OBJECTS: Final = 500
"""Of a part: with their names it has to fit into a state's 256 KiB."""
MANIFEST: Final = "manifest.json"

Json = dict[str, Any]


def weight(found: Sequence[Found]) -> int:
    """What it takes to read these objects, in bytes."""
    return sum(each.size + OBJECT_BYTES for each in found)


def is_under_way(state: State) -> bool:
    """Whether a machine was started that has not ended with a verdict."""
    return "large" in state.kept


def forgotten(state: State) -> State:
    """The state as if no machine had been started."""
    return replace(state, kept={name: value for name, value in state.kept.items() if name != "large"})


def failure(states: Any, state: State, machine_arn: str) -> str | None:
    """Why the machine that is under way will come to no verdict, as a sentence; None as long as it runs.

    One that was announced and not started, as the run died in between, is started.
    """
    told = state.kept["large"]
    try:
        found = states.describe_execution(executionArn=told["execution"])
    except ClientError as error:
        if error.response["Error"]["Code"] != "ExecutionDoesNotExist":
            raise
        _start(states, machine_arn, told)
        return None
    if found["status"] in ("RUNNING", "PENDING_REDRIVE"):
        return None
    cause = found.get("cause") or "its merge was overtaken"
    return f"{told['execution']} {found['status'].lower()} without a verdict: {cause}."


def begin(s3: Any, states: Any, folder: str, state: State, run: Mapping[str, Any], found: Sequence[Found]) -> Json:
    """Start the machine on these objects."""
    parts = [{"number": number, "objects": part} for number, part in enumerate(split(found, run["part_bytes"]))]
    now = datetime.now(UTC)
    digest = hashlib.sha256(json.dumps([parts, now.isoformat()]).encode()).hexdigest()
    identity = f"{now:%Y%m%dT%H%M%S}-{digest[:12]}"
    place = windows.place(folder, f"parts/{identity}/")
    told = {
        "execution": f"{run['machine_arn'].replace(':stateMachine:', ':execution:')}:{identity}",
        "input": {
            "bucket": place["Bucket"],
            "manifest": f"{place['Key']}{MANIFEST}",
            "run": {**run, "parts": f"{folder}parts/{identity}/", "began": now.isoformat()},
        },
    }
    s3.put_object(Bucket=place["Bucket"], Key=f"{place['Key']}{MANIFEST}", Body=json.dumps(parts).encode())
    windows.save(s3, folder, replace(state, kept={**state.kept, "large": told}))
    _start(states, run["machine_arn"], told)
    return {"status": "reading", "execution": told["execution"], "parts": len(parts), "objects": len(found)}


def split(found: Sequence[Found], part_bytes: int) -> list[list[Json]]:
    """Objects in parts that one function reads: each about so large, and one object at the least."""
    parts: list[list[Json]] = []
    filled = 0
    for each in found:
        size = each.size + OBJECT_BYTES
        if not parts or filled + size > part_bytes or len(parts[-1]) >= MOST_OBJECTS:
            parts.append([])
            filled = 0
        parts[-1].append({"key": each.key, "modified": each.modified.isoformat(), "size": each.size})
        filled += size
    return parts


def read_part(
    s3: Any, run: Mapping[str, Any], part: Mapping[str, Any], profile: Callable[[list[str]], Profile]
) -> Json:
    """Profile one part, and leave that in S3. Done again, it is the same."""
    found = profile([each["key"] for each in part["objects"]])
    s3.put_object(**windows.place(run["parts"], _name(part)), Body=found.to_bytes())
    return {"rows": found.rows}


def merge(s3: Any, run: Mapping[str, Any], conclude: Callable[..., Json]) -> Json:
    """Merge the profiles of all parts, and judge.

    A verdict that was come to already is left as it is. Raises ValueError where a part was not read.
    """
    folder = run["reports"]
    began = datetime.fromisoformat(run["began"])
    state = windows.load(s3, folder, begin=began)
    if state.kept.get("large", {}).get("input", {}).get("run", {}).get("parts") != run["parts"]:
        return {"status": "over", "parts": run["parts"]}
    parts = json.load(s3.get_object(**windows.place(run["parts"], MANIFEST))["Body"])
    merged: Profile | None = None
    for part in parts:
        try:
            read = Profile.from_bytes(s3.get_object(**windows.place(run["parts"], _name(part)))["Body"].read())
        except ClientError as error:
            if error.response["Error"]["Code"] != "NoSuchKey":
                raise
            raise ValueError(
                f"part {part['number']} of {run['parts']} was not read: see the machine's map run"
            ) from error
        merged = read if merged is None else merged.merge(read)
    found = [
        Found(each["key"], datetime.fromisoformat(each["modified"]), each["size"])
        for part in parts
        for each in part["objects"]
    ]
    report = conclude(forgotten(state), found, merged, began)
    _clear(s3, run, parts)
    return {name: report[name] for name in ("status", "rows", "time", "summary")}


def _clear(s3: Any, run: Mapping[str, Any], parts: Sequence[Mapping[str, Any]]) -> None:
    place = windows.place(run["parts"])
    keys = [place["Key"] + name for name in (*map(_name, parts), MANIFEST)]
    for first in range(0, len(keys), 1000):  # as many as S3 deletes in one call
        batch = [{"Key": key} for key in keys[first : first + 1000]]
        s3.delete_objects(Bucket=place["Bucket"], Delete={"Objects": batch, "Quiet": True})


def _name(part: Mapping[str, Any]) -> str:
    return f"{part['number']:06}.profile"


def _start(states: Any, machine_arn: str, told: Mapping[str, Any]) -> None:
    try:
        states.start_execution(
            stateMachineArn=machine_arn,
            name=told["execution"].rpartition(":")[2],
            input=json.dumps(told["input"]),
        )
    except ClientError as error:
        if error.response["Error"]["Code"] != "ExecutionAlreadyExists":
            raise
