"""SageMaker's own documents, for the rules that judge what they will make: pipelines, and what releases serve with."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from policies.rules import UNKNOWN, Finding, Props, Unknown

CONFIGURATION: Final = "aws:sagemaker/endpointConfiguration:EndpointConfiguration"
MACHINE: Final = "aws:sfn/stateMachine:StateMachine"
PIPELINE: Final = "aws:sagemaker/pipeline:Pipeline"

LOCAL_DISKS: Final = frozenset(
    {
        *("c5ad", "c5d", "c6gd", "c6id", "c7gd", "c8gd", "c8id", "c9gd", "d3", "d3en", "dl1", "f2", "hpc6id", "i3"),
        *("i3en", "i4g", "i4i", "i7i", "i7ie", "i8g", "i8ge", "im4gn", "is4gen", "z1d"),
        *("m5ad", "m5d", "m5dn", "m6gd", "m6id", "m6idn", "m7gd", "m8gd", "m8id", "m8idb", "m8idn", "m9gd"),
        *("r5ad", "r5d", "r5dn", "r6gd", "r6id", "r6idn", "r7gd", "r8gd", "r8id", "r8idb", "r8idn", "r9gd"),
        *("x2gd", "x2idn", "x2iedn", "x8aedz", "g4dn", "g5", "g6", "g6e", "g6f", "g7", "g7e", "gr6", "gr6f"),
        *("p3dn", "p4d", "p4de", "p5", "p5e", "p5en", "p6-b200", "p6-b300", "p6e-gb200"),
        *("trn1", "trn1n", "trn2", "trn2u"),
    }
)
"""Families whose disks are in the machine, and are encrypted by it: AWS refuses a volume key for their jobs, and does
not use one for their endpoints. The EC2 API's InstanceStorageSupported (2026-08), without families older than 2017,
whose disks are not encrypted. https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_ResourceConfig.html"""

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


def has_local_disks(instance_type: str) -> bool:
    """Whether an instance type such as `ml.g5.xlarge` has disks of its own, with keys of its own."""
    return instance_type.removeprefix("ml.").partition(".")[0] in LOCAL_DISKS


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
    if resource_type == CONFIGURATION:
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

    return {"rule": rule, "types": frozenset({CONFIGURATION, MACHINE})}


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
