"""The Lambda functions of a recovery: `step` decides and goes back or stops, `train` sees to a retraining.

SETTINGS is made by components/recovery.py.
"""

import json
import os
from collections.abc import Callable, Mapping
from typing import Any, Final

import boto3

from functions.recovery import core, guard, retraining, steps
from functions.recovery.evidence import Sources
from functions.recovery.retraining import Training
from functions.recovery.steps import Place, Recovery

STEPS: Final[Mapping[str, Callable[[Recovery, Place], Recovery]]] = {
    each.__name__: each
    for each in (
        steps.open,
        steps.look,
        steps.roll_back,
        steps.look_back,
        steps.stop,
        steps.tell,
        steps.settle,
        steps.failed,
    )
}
TRAINING: Final[Mapping[str, Callable[[Recovery, Training], Recovery]]] = {
    each.__name__: each
    for each in (
        retraining.guard,
        retraining.newest,
        retraining.look_job,
        retraining.inspect,
        retraining.train,
        retraining.look_train,
        retraining.challenge,
        retraining.judge,
    )
}


def step(event: Mapping[str, Any], context: object) -> Recovery:
    """One step: `event` has its name, the execution, and the recovery as it stands."""
    return STEPS[event["step"]](event["recovery"], _place(event, json.loads(os.environ["SETTINGS"])))


def train(event: Mapping[str, Any], context: object) -> Recovery:
    """One step of a retraining; `event` as in `step`."""
    settings = json.loads(os.environ["SETTINGS"])
    told = settings["training"]
    training = Training(
        at=_place(event, settings),
        limits=guard.Limits(**told.pop("limits")),
        # The billing services are in one region only.
        budgets=boto3.client("budgets", region_name="us-east-1"),
        **told,
    )
    return TRAINING[event["step"]](event["recovery"], training)


def _place(event: Mapping[str, Any], settings: Mapping[str, Any]) -> Place:
    return Place(
        execution=event["execution"],
        sources=Sources(
            **settings["sources"],
            sagemaker=boto3.client("sagemaker"),
            cloudwatch=boto3.client("cloudwatch"),
            s3=boto3.client("s3"),
        ),
        limits=core.Limits(**settings["limits"]),
        **settings["place"],
        states=boto3.client("stepfunctions"),
        functions=boto3.client("lambda"),
        sns=boto3.client("sns"),
        cloudtrail=boto3.client("cloudtrail"),
    )
