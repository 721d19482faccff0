"""The keeper of a feature group: `pulumi up` invokes it whenever the schema changes, and fails where it fails."""

import json
import time
from typing import Any, Final

import boto3

from functions.feature_group.core import Changes, Shape, classify

LONGEST_PAUSE: Final = 5.0
"""Seconds between two looks at an update in progress."""
TIME_TO_TELL: Final = 5.0
"""Seconds before the Lambda's end at which it gives up, to say so."""


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Make a group what its schema says. `event`: `feature_group_name`, `schema`, `throughput`.

    Raises ValueError for what no update can do, before doing anything, and RuntimeError for an update that fails.
    """
    sagemaker, name = boto3.client("sagemaker"), event["feature_group_name"]
    present = settled(sagemaker, name, context, mind_failures=False)
    changes = classify(Shape.described(present), Shape.wanted(event["schema"], event["throughput"]))
    if changes.breaking:
        raise ValueError(f"{name}: {'; '.join(changes.breaking)}")
    done = [list(call) for call in changes.calls()]
    for call in changes.calls():
        sagemaker.update_feature_group(FeatureGroupName=name, **call)
        settled(sagemaker, name, context)
    report = {"feature_group_name": name, "updates": [kind for [kind] in done], **_told(changes)}
    print(json.dumps(report))
    return report


def settled(sagemaker: Any, name: str, context: Any, *, mind_failures: bool = True) -> dict[str, Any]:
    """The group, once no creation or update is in progress. Raises RuntimeError where the creation failed.

    So it does where the last update failed, unless that was an earlier one, which is tried again now.
    """
    pause = 0.1
    while True:
        group = describe(sagemaker, name)
        update = group.get("LastUpdateStatus") or {"Status": "Successful"}
        if group["FeatureGroupStatus"] == "CreateFailed":
            raise RuntimeError(f"{name} was not created: {group.get('FailureReason', 'AWS gives no reason')}")
        if update["Status"] == "Failed" and mind_failures:
            raise RuntimeError(f"{name} was not updated: {update.get('FailureReason', 'AWS gives no reason')}")
        if group["FeatureGroupStatus"] == "Created" and update["Status"] != "InProgress":
            return group
        if context.get_remaining_time_in_millis() < 1000 * (TIME_TO_TELL + pause):
            raise RuntimeError(
                f"{name} is still {group['FeatureGroupStatus']}, its update {update['Status']}: deploy again later; "
                "what is done already is not repeated"
            )
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)


def describe(sagemaker: Any, name: str) -> dict[str, Any]:
    """DescribeFeatureGroup, with all feature definitions: it tells them in pages."""
    group: dict[str, Any] = sagemaker.describe_feature_group(FeatureGroupName=name)
    definitions, more = list(group["FeatureDefinitions"]), group.get("NextToken")
    while more:
        page = sagemaker.describe_feature_group(FeatureGroupName=name, NextToken=more)
        definitions += page["FeatureDefinitions"]
        more = page.get("NextToken")
    return {**group, "FeatureDefinitions": definitions}


def _told(changes: Changes) -> dict[str, Any]:
    return {
        "added": [name for name, _ in changes.additions],
        "ttl": dict(changes.ttl) if changes.ttl else None,
        "throughput": dict(changes.throughput) if changes.throughput else None,
    }
