"""A step of training pipelines: tells the experiment tracker of a run, and the registry what it wants to know of it.

Network-isolated jobs reach no tracker, so a Lambda step does it, from what they wrote. A tracker that does not answer
stops no run: the registry has the same facts. It is counted, and an alarm tells of it.
"""

import json
import os
import time
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import boto3
from botocore.exceptions import BotoCoreError

from functions.tracking.mlflow import Mlflow, MlflowError

NAMESPACE: Final = "Slipway/Training"
NOTHING: Final = "-"
"""Stands for a run that is not tracked: a package's metadata take no empty text."""


def handler(event: Mapping[str, Any], context: object) -> dict[str, str]:
    """Record a run, `{"execution": ARN, "pipeline", "evaluation": URI, "dataset": URI of dataset.json, "training_job",
    "hyperparameters", "tags"}`, or add to one that is recorded, `{"tracked_run", "pipeline", "tags"}`.

    Returns what the registry is told: author, dataset_sha256, tracked_run.
    """
    arn = os.environ.get("MLFLOW_ARN")
    tracker = Mlflow(arn) if arn else None
    if "tracked_run" in event:
        return link(event, tracker)
    return record(event, sagemaker=boto3.client("sagemaker"), s3=boto3.client("s3"), tracker=tracker)


def record(event: Mapping[str, Any], *, sagemaker: Any, s3: Any, tracker: Mlflow | None) -> dict[str, str]:
    """Tell the tracker of a run."""
    execution = sagemaker.describe_pipeline_execution(PipelineExecutionArn=event["execution"])
    author = author_of(execution)
    evaluation, dataset = read(s3, event["evaluation"]), read(s3, event["dataset"])
    tags = {
        "pipeline": event["pipeline"],
        "pipeline_execution": event["execution"],
        "training_job": event["training_job"],
        "dataset": event["dataset"].rpartition("/")[0],
        "dataset_sha256": dataset["sha256"],
        "mlflow.user": author,
        **event["tags"],
    }

    def log(tracker: Mlflow) -> str:
        return tracker.log(
            event["pipeline"],
            event["execution"].rpartition("/")[2],
            key=event["execution"],
            params={name: str(value) for name, value in event["hyperparameters"].items()},
            metrics=metrics(evaluation),
            tags={name: str(value) for name, value in tags.items()},
            began=int(execution["CreationTime"].timestamp() * 1000),
            ended=int(time.time() * 1000),
        )

    tracked = _try(tracker, log, event["pipeline"])
    return {"author": author, "dataset_sha256": dataset["sha256"], "tracked_run": tracked}


def link(event: Mapping[str, Any], tracker: Mlflow | None) -> dict[str, str]:
    """Add tags to a run that is recorded."""
    run: str = event["tracked_run"]

    def tag(tracker: Mlflow) -> str:
        tracker.tag(run, event["tags"])
        return run

    return {"tracked_run": run if run == NOTHING else _try(tracker, tag, event["pipeline"])}


def author_of(execution: Mapping[str, Any]) -> str:
    """Who started an execution: the ARN of a person's session, of a function's role, or of a Studio profile."""
    by = execution.get("CreatedBy", {})
    return by.get("IamIdentity", {}).get("Arn") or by.get("UserProfileArn") or NOTHING


def metrics(evaluation: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of an evaluation: of all rows, and of each sensitive group as `SEX.2.accuracy`."""
    found = {name: float(value) for name, value in evaluation["metrics"].items()}
    for group in evaluation.get("groups", ()):
        for name, value in group.items():
            if isinstance(value, int | float):
                found[f"{group['feature']}.{group['value']}.{name}"] = float(value)
    return found


def read(s3: Any, uri: str) -> dict[str, Any]:
    """A JSON object in S3."""
    place = urlsplit(uri)
    body = s3.get_object(Bucket=place.netloc, Key=place.path.lstrip("/"))["Body"].read()
    found: dict[str, Any] = json.loads(body)
    return found


def _try(tracker: Mlflow | None, do: Any, pipeline: str) -> str:
    """The tracked run, or NOTHING; a failure is counted."""
    if tracker is None:
        return NOTHING
    try:
        run: str = do(tracker)
    except (MlflowError, BotoCoreError, OSError) as error:
        print(f"the run is not tracked: {error}")
        _count(pipeline)
        return NOTHING
    return run


def _count(pipeline: str) -> None:
    """CloudWatch makes a metric of this line of the log."""
    told = {
        "_aws": {
            "Timestamp": int(time.time() * 1000),
            "CloudWatchMetrics": [
                {"Namespace": NAMESPACE, "Dimensions": [["pipeline"]], "Metrics": [{"Name": "untracked_runs"}]}
            ],
        },
        "pipeline": pipeline,
        "untracked_runs": 1,
    }
    print(json.dumps(told))
