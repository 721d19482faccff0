"""What of SageMaker runs for a product: what carries its tags, and the jobs of its pipelines.

The tags are those by which the product's budget counts, so that what is found is what the budget is about.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

LONGEST_RUN: Final = timedelta(days=28)
"""A job of SageMaker's runs no longer."""


@dataclass(frozen=True)
class JobKind:
    """What the calls for one kind of job are called after."""

    noun: str
    """`TrainingJob`."""
    call: str
    """`training_job`."""


JOBS: Final[Mapping[str, JobKind]] = {
    # A tuning job takes the training jobs that it started with it.
    "tuning-job": JobKind("HyperParameterTuningJob", "hyper_parameter_tuning_job"),
    "training-job": JobKind("TrainingJob", "training_job"),
    "processing-job": JobKind("ProcessingJob", "processing_job"),
    "transform-job": JobKind("TransformJob", "transform_job"),
}


class Running:
    """A product's endpoints, the executions of its pipelines, and jobs."""

    def __init__(self, sagemaker: Any, *, tags: Mapping[str, str], pipelines: Sequence[str]) -> None:
        """`pipelines` are their ARNs."""
        self._sagemaker, self._tags, self._pipelines = sagemaker, tags, pipelines

    def endpoints(self) -> Iterator[tuple[str, Mapping[str, str]]]:
        """The name and tags of each of its endpoints."""
        for endpoint in pages(self._sagemaker, "list_endpoints", "Endpoints"):
            tags = self.tags_of(endpoint["EndpointArn"])
            if self.owns(tags):
                yield endpoint["EndpointName"], tags

    def components(self, endpoint: str) -> list[str]:
        """The names of an endpoint's inference components."""
        found = pages(self._sagemaker, "list_inference_components", "InferenceComponents", EndpointNameEquals=endpoint)
        return [each["InferenceComponentName"] for each in found]

    def jobs(self, kind: str) -> Iterator[tuple[str, str, Mapping[str, str]]]:
        """The ARN, name and tags of every job of a kind that runs, whoever's it is."""
        noun, call = JOBS[kind].noun, JOBS[kind].call
        for each in pages(self._sagemaker, f"list_{call}s", f"{noun}Summaries", StatusEquals="InProgress"):
            arn = each[f"{noun}Arn"]
            yield arn, each[f"{noun}Name"], self.tags_of(arn)

    def executions(self) -> Iterator[str]:
        """The ARNs of the executions of its pipelines that run."""
        since = datetime.now(UTC) - LONGEST_RUN
        for pipeline in self._pipelines:
            for each in pages(
                self._sagemaker,
                "list_pipeline_executions",
                "PipelineExecutionSummaries",
                PipelineName=pipeline.rpartition("/")[2],
                CreatedAfter=since,
            ):
                if each["PipelineExecutionStatus"] == "Executing":
                    yield each["PipelineExecutionArn"]

    def jobs_of(self, execution: str) -> set[str]:
        """The ARNs of the jobs that an execution waits for."""
        steps = pages(
            self._sagemaker, "list_pipeline_execution_steps", "PipelineExecutionSteps", PipelineExecutionArn=execution
        )
        return {
            told["Arn"]
            for step in steps
            if step["StepStatus"] in ("Starting", "Executing")
            for told in (step.get("Metadata") or {}).values()
            if "Arn" in told
        }

    def tags_of(self, arn: str) -> dict[str, str]:
        """The tags of anything of SageMaker's."""
        return {tag["Key"]: tag["Value"] for tag in pages(self._sagemaker, "list_tags", "Tags", ResourceArn=arn)}

    def owns(self, tags: Mapping[str, str]) -> bool:
        """Whether something with these tags is the product's."""
        return self._tags.items() <= tags.items()


def pages(client: Any, operation: str, member: str, **arguments: Any) -> Iterator[dict[str, Any]]:
    """What all pages of an answer list."""
    for page in client.get_paginator(operation).paginate(**arguments):
        yield from page[member]
