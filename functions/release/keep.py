"""What an endpoint needs between releases: superseded models and configurations go, and its template is in force."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
from botocore.exceptions import ClientError

from functions.live import NothingLive, live_package
from functions.release import naming


@dataclass
class Collected:
    """What was deleted, and what was kept although it is superseded."""

    configurations: list[str] = field(default_factory=list)
    models: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)


def handler(event: Mapping[str, Any], context: object) -> dict[str, Any]:
    """`{"do": "collect"}`, from the schedule, or `{"do": "refresh", …}`, when the stack is deployed: with its template
    and the configuration that it made of that, as `first`."""
    sagemaker, endpoint = boto3.client("sagemaker"), os.environ["ENDPOINT"]
    if event["do"] == "refresh":
        states, machine = boto3.client("stepfunctions"), os.environ["STATE_MACHINE_ARN"]
        outcome = refresh(event["template"], event["first"], sagemaker=sagemaker, states=states, machine=machine)
    else:
        keep_days, keep_last = int(os.environ["KEEP_DAYS"]), int(os.environ["KEEP_LAST"])
        always = json.loads(os.environ["ALWAYS_KEEP"])
        outcome = vars(collect(sagemaker, endpoint, keep_last=keep_last, keep=timedelta(days=keep_days), always=always))
    print(json.dumps(outcome))
    return outcome


def refresh(template: Mapping[str, Any], first: str, *, sagemaker: Any, states: Any, machine: str) -> dict[str, Any]:
    """Release the live version again where its configuration is not what the template says: the stack was changed.

    `first` is the configuration that the stack makes for its first version. Returns the execution's ARN as `release`,
    or why there is none.
    """
    endpoint = template["endpoint"]
    try:
        package = live_package(sagemaker, endpoint)
    except NothingLive as error:
        return {"release": None, "why": str(error)}
    live = sagemaker.describe_endpoint(EndpointName=endpoint)["EndpointConfigName"]
    wanted = naming.configuration(template, package)["EndpointConfigName"]
    if live in (wanted, first) and not _component_differs(template, sagemaker):
        return {"release": None, "why": f"{live} is live, as the stack says"}
    told = {
        "model_package_arn": package,
        "refresh": True,
        "by": "pulumi",
        "reason": "the stack's endpoint was changed",
    }
    # The same change asked for twice is one release; it may be asked for again once it has ended and was undone.
    digest = hashlib.sha256(f"{live} {wanted} {naming.text(template)}".encode()).hexdigest()[:12]
    name = f"stack-{digest}-{datetime.now(UTC):%Y%m%d%H}"
    try:
        started = states.start_execution(stateMachineArn=machine, name=name, input=json.dumps(told))["executionArn"]
    except ClientError as error:
        if error.response["Error"]["Code"] != "ExecutionAlreadyExists":
            raise
        started = f"{machine.replace(':stateMachine:', ':execution:')}:{name}"
    return {"release": started, "why": f"{live} is live, and the stack says {wanted}"}


def _component_differs(template: Mapping[str, Any], sagemaker: Any) -> bool:
    wanted = template.get("component")
    if not wanted:
        return False
    found = sagemaker.describe_inference_component(InferenceComponentName=template["endpoint"])["Specification"]
    return any(
        float(found.get("ComputeResourceRequirements", {}).get(name, 0)) != float(value)
        for name, value in wanted["ComputeResourceRequirements"].items()
    ) or any(
        found.get("StartupParameters", {}).get(key) != each for key, each in wanted.get("StartupParameters", {}).items()
    )


def collect(
    sagemaker: Any,
    endpoint: str,
    *,
    keep_last: int,
    keep: timedelta,
    always: list[str],
) -> Collected:
    """Delete an endpoint's superseded configurations and models.

    What is live or about to be is never deleted: each is looked up again right before. Neither are the newest
    `keep_last`, what is younger than `keep`, nor what is named in `always`.
    """
    done = Collected()
    now = datetime.now(UTC)
    found = sorted(_configurations(sagemaker, endpoint), key=lambda each: each["CreationTime"], reverse=True)
    remaining = []
    for number, each in enumerate(found):
        name = each["EndpointConfigName"]
        recent = number < keep_last or now - each["CreationTime"] < keep or name in always
        if recent or name in in_use(sagemaker, endpoint):
            remaining.append(name)
            continue
        sagemaker.delete_endpoint_config(EndpointConfigName=name)
        done.configurations.append(name)
    done.kept = remaining
    needed = {model for name in remaining for model in _models_of(sagemaker, name)} | set(always)
    for each in _models(sagemaker, endpoint):
        name = each["ModelName"]
        if name in needed or now - each["CreationTime"] < keep or name in _live_models(sagemaker, endpoint):
            continue
        sagemaker.delete_model(ModelName=name)
        done.models.append(name)
    return done


def in_use(sagemaker: Any, endpoint: str) -> set[str]:
    """The configurations that an endpoint runs, or is about to run."""
    try:
        described = sagemaker.describe_endpoint(EndpointName=endpoint)
    except ClientError as error:
        if "Could not find" not in error.response["Error"]["Message"]:
            raise
        return set()
    pending = described.get("PendingDeploymentSummary", {}).get("EndpointConfigName")
    return {described["EndpointConfigName"], *filter(None, [pending])}


def _live_models(sagemaker: Any, endpoint: str) -> set[str]:
    """The models that an endpoint runs, or is about to run."""
    found = {model for name in in_use(sagemaker, endpoint) for model in _models_of(sagemaker, name)}
    for component in sagemaker.list_inference_components(EndpointNameEquals=endpoint)["InferenceComponents"]:
        name = component["InferenceComponentName"]
        described = sagemaker.describe_inference_component(InferenceComponentName=name)
        found |= {described["Specification"]["ModelName"]}
    return found


def _models_of(sagemaker: Any, configuration: str) -> set[str]:
    described = sagemaker.describe_endpoint_config(EndpointConfigName=configuration)
    variants = [*described["ProductionVariants"], *described.get("ShadowProductionVariants", [])]
    return {variant["ModelName"] for variant in variants if "ModelName" in variant}


def _configurations(sagemaker: Any, endpoint: str) -> Iterator[Mapping[str, Any]]:
    pages = sagemaker.get_paginator("list_endpoint_configs").paginate(NameContains=endpoint[:40].rstrip("-"))
    for page in pages:
        yield from (each for each in page["EndpointConfigs"] if naming.is_of(endpoint, each["EndpointConfigName"]))


def _models(sagemaker: Any, endpoint: str) -> Iterator[Mapping[str, Any]]:
    for page in sagemaker.get_paginator("list_models").paginate(NameContains=endpoint[:40].rstrip("-")):
        yield from (each for each in page["Models"] if naming.is_of(endpoint, each["ModelName"]))
