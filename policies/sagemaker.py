"""SageMaker's own documents, for the rules that judge what they will make: pipelines, and what releases serve with."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from policies.resource_types import ENDPOINT_CONFIGURATION
from policies.rules import UNKNOWN, Finding, Props, Unknown

MACHINE: Final = "aws:sfn/stateMachine:StateMachine"

JOBS: Final[Mapping[str, tuple[str, str, str]]] = {
    # Where a step's output key is, where its volume key is, and the instances that the volume belongs to.
    "Training": ("OutputDataConfig.KmsKeyId", "ResourceConfig.VolumeKmsKeyId", "ResourceConfig"),
    "Processing": (
        "ProcessingOutputConfig.KmsKeyId",
        "ProcessingResources.ClusterConfig.VolumeKmsKeyId",
        "ProcessingResources.ClusterConfig",
    ),
    "Transform": ("TransformOutput.KmsKeyId", "TransformResources.VolumeKmsKeyId", "TransformResources"),
    "Tuning": (
        "TrainingJobDefinition.OutputDataConfig.KmsKeyId",
        "TrainingJobDefinition.ResourceConfig.VolumeKmsKeyId",
        "TrainingJobDefinition.ResourceConfig",
    ),
}
"""The steps of a pipeline that start a job.
https://aws-sagemaker-mlops.github.io/sagemaker-model-building-pipeline-definition-JSON-schema/"""


def at(value: Any, path: str) -> Any:
    """What stands at a path of names in a document; None where there is nothing."""
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def read(text: Any) -> Mapping[str, Any] | None:
    """A document of JSON, given as text or as what it says; None for what is none."""
    try:
        document = json.loads(text) if isinstance(text, str) else text
    except json.JSONDecodeError:
        return None
    return document if isinstance(document, Mapping) else None


def steps(document: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Every step of a pipeline's definition, also those inside of conditions."""

    def inside(listed: Any) -> Iterator[Mapping[str, Any]]:
        for step in listed if isinstance(listed, list) else ():
            if isinstance(step, Mapping):
                yield step
                for branch in ("IfSteps", "ElseSteps"):
                    yield from inside(at(step, f"Arguments.{branch}"))

    yield from inside(document.get("Steps"))


def default_of(document: Mapping[str, Any], value: Any) -> Any:
    """The default of the pipeline's parameter that a value is taken from; the value itself where it is none."""
    path = str(value.get("Get", "")) if isinstance(value, Mapping) else ""
    if not path.startswith("Parameters."):
        return value
    name = path.removeprefix("Parameters.")
    parameters = [each for each in document.get("Parameters") or () if each.get("Name") == name]
    return parameters[0].get("DefaultValue") if parameters else None


def configurations(resource_type: str, inputs: Props) -> Iterator[tuple[str, Props | str]]:
    """What endpoints are made with, in Pulumi's words, after where it stands: `` or `definition.States.….`.

    A resource's own inputs, or what the state machine that releases an endpoint makes configurations from; `UNKNOWN`
    for a machine that cannot be read before `pulumi up`.
    """
    if resource_type == ENDPOINT_CONFIGURATION:
        yield "", inputs
    elif resource_type == MACHINE:
        definition = inputs.get("definition")
        if definition == UNKNOWN:
            yield "definition", UNKNOWN
        for where, template in templates(inputs):
            yield f"{where}.", in_pulumis_words(template)


def of_configurations(judge: Callable[[Props], Iterator[Finding]]) -> dict[str, Any]:
    """A rule about what endpoints are made with: by Pulumi, and by the state machine of their releases."""

    def rule(resource_type: str, inputs: Props) -> Iterator[Finding]:
        for where, configuration in configurations(resource_type, inputs):
            if isinstance(configuration, str):
                yield Unknown(where)
                continue
            for finding in judge(configuration):
                if isinstance(finding, Unknown):
                    yield Unknown(f"{where}{finding.path}")
                else:
                    yield f"{where.removesuffix('.')}: {finding}" if where else finding

    return {"rule": rule, "types": frozenset({ENDPOINT_CONFIGURATION, MACHINE})}


def templates(inputs: Props) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each argument of CreateEndpointConfig in a state machine's definition, in boto3's words, with where it stands."""

    def inside(value: Any, where: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
        if isinstance(value, Mapping):
            if "ProductionVariants" in value:
                yield where, value
            for key, each in value.items():
                yield from inside(each, f"{where}.{key}")
        elif isinstance(value, list):
            for index, each in enumerate(value):
                yield from inside(each, f"{where}.{index}")

    yield from inside(read(inputs.get("definition")), "definition")


def in_pulumis_words(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """An endpoint's configuration as its resource would say it."""

    def renamed(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key[:1].lower() + key[1:]: renamed(each) for key, each in value.items()}
        return [renamed(each) for each in value] if isinstance(value, list) else value

    words = {("KmsKeyArn" if key == "KmsKeyId" else key): each for key, each in configuration.items()}
    said: dict[str, Any] = renamed(words)
    return said
