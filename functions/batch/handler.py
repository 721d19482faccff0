"""Starts a batch transform job for each new file of rows, and counts how the jobs end.

It keeps no state of its own: a file is done where its answers are, and a job is called after its file, so that none is
started twice however often this runs.
"""

import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlsplit

import boto3
from botocore.exceptions import ClientError

from functions.live import live_package
from functions.registry.verify import verify

NAMESPACE: Final = "Slipway/Batch"
ENDED: Final = "SageMaker Transform Job State Change"


class NothingApproved(Exception):
    """There is no version that may predict."""


def handler(event: Mapping[str, Any], context: object) -> dict[str, Any]:
    """Answer the schedule, `{}`, by starting jobs; or the event of a job that ended, by counting it."""
    setup = json.loads(os.environ["BATCH"])
    if event.get("detail-type") == ENDED:
        return ended(event["detail"], setup["name"])
    clients = {name: boto3.client(name) for name in ("sagemaker", "s3", "kms", "ecr")}
    return start(setup, clients)


def start(setup: Mapping[str, Any], clients: Mapping[str, Any]) -> dict[str, Any]:
    """Start a job for each file that has none, the oldest first, `at_most` of them."""
    sagemaker, s3 = clients["sagemaker"], clients["s3"]
    waiting = list(new_files(s3, setup["incoming"], setup["answers"]))
    if not waiting:
        return {"started": [], "waiting": 0}
    model = ""
    started: list[str] = []
    for file in waiting:
        if len(started) == setup["at_most"]:
            break
        name = job_name(setup["name"], file)
        if is_known(sagemaker, name):
            continue
        model = model or model_for(setup, clients)
        sagemaker.create_transform_job(**job(setup, name, model, file["Key"]))
        started.append(name)
    return {"started": started, "waiting": len(waiting), "model": model}


def new_files(s3: Any, incoming: str, answers: str) -> Iterator[dict[str, Any]]:
    """The objects below `incoming` without newer answers, the oldest first."""
    done = {key: found["LastModified"] for key, found in listed(s3, answers)}
    files = sorted(listed(s3, incoming), key=lambda each: (each[1]["LastModified"], each[0]))
    for key, found in files:
        answered: datetime | None = done.get(f"{key}.out")
        if found["Size"] and (answered is None or answered < found["LastModified"]):
            yield found


def listed(s3: Any, uri: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects below a URI, with their keys relative to it."""
    place = urlsplit(uri)
    prefix = place.path.lstrip("/")
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=place.netloc, Prefix=prefix):
        for found in page.get("Contents", ()):
            yield found["Key"].removeprefix(prefix), found


def job_name(name: str, file: Mapping[str, Any]) -> str:
    """What the job of a file is called: the same content brought again is another file."""
    told = f"{file['Key']} {file['ETag']} {file['LastModified'].isoformat()}"
    return f"{name}-{hashlib.sha256(told.encode()).hexdigest()[:12]}"


def is_known(sagemaker: Any, name: str) -> bool:
    """Whether there is a job of this name."""
    try:
        sagemaker.describe_transform_job(TransformJobName=name)
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("ValidationException", "ResourceNotFound"):
            raise
        return False
    return True


def model_for(setup: Mapping[str, Any], clients: Mapping[str, Any]) -> str:
    """A model of the version that predicts; made where there is none yet. Raises NotReleasable, NothingApproved."""
    sagemaker = clients["sagemaker"]
    if setup["endpoint"]:
        package = live_package(sagemaker, setup["endpoint"])  # verified when it was released
    else:
        package = newest_approved(sagemaker, setup["group"])
        verify(
            package,
            sagemaker=sagemaker,
            s3=clients["s3"],
            kms=clients["kms"],
            ecr=clients["ecr"],
            key_arn=setup["signing_key_arn"],
            gate=setup["gate"],
            ledger_bucket=setup["ledger_bucket"],
        )
    settings = {
        "PrimaryContainer": {"ModelPackageName": package},
        "ExecutionRoleArn": setup["role_arn"],
        "EnableNetworkIsolation": True,
        "VpcConfig": {"Subnets": setup["subnet_ids"], "SecurityGroupIds": [setup["security_group_id"]]},
    }
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]
    name = f"{setup['name']}-v{package.rpartition('/')[2]}-{digest}"
    try:
        sagemaker.describe_model(ModelName=name)
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("ValidationException", "ResourceNotFound"):
            raise
        sagemaker.create_model(ModelName=name, **settings)
    return name


def newest_approved(sagemaker: Any, group: str) -> str:
    """The ARN of the newest approved version. Raises NothingApproved."""
    found = sagemaker.list_model_packages(
        ModelPackageGroupName=group,
        ModelApprovalStatus="Approved",
        SortBy="CreationTime",
        SortOrder="Descending",
        MaxResults=1,
    )["ModelPackageSummaryList"]
    if not found:
        raise NothingApproved(f"no version of {group} is approved: nothing can be predicted yet")
    return str(found[0]["ModelPackageArn"])


def job(setup: Mapping[str, Any], name: str, model: str, key: str) -> dict[str, Any]:
    """CreateTransformJob's parameters for one file: each row is answered with itself and its prediction."""
    place = urlsplit(setup["incoming"])
    folder = key.removeprefix(place.path.lstrip("/")).rpartition("/")[0]
    keyed = setup["first_is_id"]
    return {
        "TransformJobName": name,
        "ModelName": model,
        "BatchStrategy": "MultiRecord",
        "MaxPayloadInMB": setup["max_payload_mib"],
        "ModelClientConfig": {"InvocationsTimeoutInSeconds": setup["timeout_seconds"], "InvocationsMaxRetries": 3},
        "TransformInput": {
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{place.netloc}/{key}"}},
            "ContentType": "text/csv",
            "SplitType": "Line",
        },
        "TransformOutput": {
            "S3OutputPath": f"{setup['answers'].rstrip('/')}/{folder}".rstrip("/"),
            "Accept": "text/csv",
            "AssembleWith": "Line",
            "KmsKeyId": setup["kms_key_arn"],
        },
        "TransformResources": setup["resources"],
        "DataProcessing": {
            **({"InputFilter": "$[1:]"} if keyed else {}),
            "JoinSource": "Input",
            "OutputFilter": "$[0,-1]" if keyed and not setup["with_features"] else "$",
        },
        "Tags": setup["tags"],
    }


def ended(detail: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Count a job that ended: CloudWatch makes a metric of this line of the log."""
    status = detail["TransformJobStatus"]
    if status == "Failed":
        print(f"{detail['TransformJobName']} failed: {detail.get('FailureReason')}")
    metric = {"Completed": "completed_jobs", "Failed": "failed_jobs", "Stopped": "stopped_jobs"}.get(status)
    if metric is None:
        return {}
    told = {
        "_aws": {
            "Timestamp": int(time.time() * 1000),
            "CloudWatchMetrics": [{"Namespace": NAMESPACE, "Dimensions": [["batch"]], "Metrics": [{"Name": metric}]}],
        },
        "batch": name,
        metric: 1,
    }
    print(json.dumps(told))
    return {metric: 1}
