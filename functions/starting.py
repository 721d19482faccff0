"""Starts training pipelines, from a function or from a command line: the same start twice is one run."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

DATA: Final = ("Dataset", "Labels", "Records", "AsOf")
CODE: Final = ("Code", "Image")
ALONGSIDE: Final = ("CodeRevision", "ReleaseNotes")
"""Parameters that are written down with a run and do not change what comes out of it."""
ENDED: Final = ("Failed", "Stopped")


@dataclass(frozen=True)
class Started:
    """An execution of a pipeline."""

    arn: str
    token: str
    status: str
    """As it was right after the start: of a start that was made before, how far that is."""

    def to_dict(self) -> dict[str, str]:
        """As plain data."""
        return {"arn": self.arn, "token": self.token, "status": self.status}


def token(pipeline: str, dataset: object, code: object, configuration: object) -> str:
    """What tells one start from another: its pipeline, data, code and configuration. It fits ClientRequestToken."""
    told = json.dumps([pipeline, dataset, code, configuration], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(told.encode()).hexdigest()


def start(
    sagemaker: Any,
    pipeline: str,
    parameters: Mapping[str, str],
    client_token: str | None = None,
    *,
    description: str = "",
    go_on: bool = False,
) -> Started:
    """Start a pipeline with these parameters, the others as it is defined; `client_token` is made of all that.

    The same start again is the execution that it was before: with `go_on`, one that has failed or was stopped goes on
    where it ended. Raises ValueError for a parameter that the pipeline does not have, or that it lacks.
    """
    definition = json.loads(sagemaker.describe_pipeline(PipelineName=pipeline)["PipelineDefinition"])
    values = _values(pipeline, definition, parameters)
    client_token = client_token or _token(pipeline, definition, values)
    told = {"PipelineExecutionDescription": description} if description else {}
    arn = sagemaker.start_pipeline_execution(
        PipelineName=pipeline,
        PipelineParameters=[{"Name": name, "Value": value} for name, value in sorted(parameters.items())],
        ClientRequestToken=client_token,
        **told,
    )["PipelineExecutionArn"]
    status = sagemaker.describe_pipeline_execution(PipelineExecutionArn=arn)["PipelineExecutionStatus"]
    if go_on and status in ENDED:
        sagemaker.retry_pipeline_execution(
            PipelineExecutionArn=arn, ClientRequestToken=token(arn, _attempts(sagemaker, arn), "", "")
        )
        status = "Executing"
    return Started(arn, client_token, status)


def _values(pipeline: str, definition: Mapping[str, Any], parameters: Mapping[str, str]) -> dict[str, Any]:
    """The value of each parameter."""
    known = {each["Name"]: each.get("DefaultValue") for each in definition.get("Parameters", ())}
    if strange := sorted({*parameters} - {*known}):
        raise ValueError(f"{pipeline} has no parameter {', '.join(strange)}; it has {', '.join(known)}")
    values = {**known, **parameters}
    if missing := sorted(name for name, value in values.items() if value is None):
        raise ValueError(f"{pipeline} needs {', '.join(missing)}: there is no default")
    return values


def _token(pipeline: str, definition: Mapping[str, Any], values: Mapping[str, Any]) -> str:
    other = {name: value for name, value in values.items() if name not in (*DATA, *CODE, *ALONGSIDE)}
    return token(
        pipeline,
        {name: values.get(name) for name in DATA},
        {name: values.get(name) for name in CODE},
        {"steps": definition["Steps"], "parameters": other},
    )


def _attempts(sagemaker: Any, arn: str) -> int:
    """How many times its steps were tried: what tells one going on from the next."""
    steps = sagemaker.list_pipeline_execution_steps(PipelineExecutionArn=arn)["PipelineExecutionSteps"]
    return sum(step.get("AttemptCount", 1) for step in steps)
