"""The definition of a SageMaker pipeline (JSON, schema 2020-12-01): read, checked, and its references followed.

The schema: https://aws-sagemaker-mlops.github.io/sagemaker-model-building-pipeline-definition-JSON-schema/
"""

import graphlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from botocore.model import Shape
from moto.core.utils import get_service_model
from moto.sagemaker.exceptions import AWSValidationException

Json = dict[str, Any]

VERSION: Final = "2020-12-01"
NAME: Final = re.compile(r"[A-Za-z0-9](-*[A-Za-z0-9_])*")
REFERENCES: Final = frozenset({"Get", "Std:Join", "Std:JsonGet"})
GET: Final = re.compile(r"(Parameters|Execution|Steps)\.([^.\[\]]+)((?:\.[^.\[\]]+|\[\d+\]|\['[^']*'\])*)")
TOKEN: Final = re.compile(r"\.?([^.\[\]]+)|\[(\d+)\]|\['([^']*)'\]|\[\"([^\"]*)\"\]")
EXECUTION: Final = (
    *("PipelineName", "PipelineArn", "PipelineExecutionId", "PipelineExecutionArn", "StartDateTime"),
    "CurrentDateTime",
)
TYPES: Final[Mapping[str, type | tuple[type, ...]]] = {
    "String": str,
    "Integer": int,
    "Float": (int, float),
    "Boolean": bool,
}
COMPARISONS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "Equals": lambda left, right: bool(left == right),
    "NotEquals": lambda left, right: bool(left != right),
    "GreaterThan": lambda left, right: bool(left > right),
    "GreaterThanOrEqualTo": lambda left, right: bool(left >= right),
    "LessThan": lambda left, right: bool(left < right),
    "LessThanOrEqualTo": lambda left, right: bool(left <= right),
}
CREATES: Final = {
    "Training": "CreateTrainingJob",
    "Processing": "CreateProcessingJob",
    "Transform": "CreateTransformJob",
    "RegisterModel": "CreateModelPackage",
    "Model": "CreateModel",
}
"""The operation that a step's arguments are for."""
NAMED: Final = {
    "Training": "TrainingJobName",
    "Processing": "ProcessingJobName",
    "Transform": "TransformJobName",
    "Model": "ModelName",
}
"""The argument that the pipeline fills in itself."""
DESCRIBES: Final = {
    "Training": "DescribeTrainingJob",
    "Processing": "DescribeProcessingJob",
    "Transform": "DescribeTransformJob",
    "RegisterModel": "DescribeModelPackage",
    "Model": "DescribeModel",
}
"""The operation whose answer holds a step's properties."""
CACHED: Final = ("Training", "Processing", "Transform", "Lambda")
KNOWN: Final = (*CREATES, "Condition", "Lambda", "Fail")
NOT_REHEARSED: Final = (
    *("Tuning", "Callback", "EMR", "EMRServerless", "QualityCheck", "ClarifyCheck", "AutoML", "NotebookJob"),
    *("Endpoint", "EndpointConfig", "InferenceComponent", "Lineage", "Job", "ForEach"),
)
STEP_KEYS: Final = frozenset(
    {
        *("Name", "Type", "Arguments", "DependsOn", "DisplayName", "Description", "PropertyFiles", "CacheConfig"),
        *("RetryPolicies", "FunctionArn", "OutputParameters"),
    }
)
EXCEPTIONS: Final = (
    *("Step.SERVICE_FAULT", "Step.THROTTLING", "SageMaker.JOB_INTERNAL_ERROR", "SageMaker.CAPACITY_ERROR"),
    "SageMaker.RESOURCE_LIMIT",
)
DURATION: Final = re.compile(
    r"P(?:(\d+)Y)?(?:(\d+)M)?(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?", re.IGNORECASE
)
DURATION_SECONDS: Final = (365 * 86400, 30 * 86400, 7 * 86400, 86400, 3600, 60, 1)


class Invalid(AWSValidationException):
    """What is wrong with a definition, in AWS's frame."""

    def __init__(self, text: str) -> None:
        super().__init__(f"Unable to parse pipeline definition. {text}")


@dataclass(frozen=True)
class Parameter:
    """A parameter of a pipeline."""

    name: str
    kind: str
    default: Any = None
    choices: Sequence[str] = ()

    def value(self, text: Any) -> Any:
        """The value that a caller's text stands for. Raises AWSValidationException."""
        try:
            value = self._read(text)
        except ValueError:
            raise AWSValidationException(
                f"Parameter [{self.name}] is of type {self.kind}, which {text!r} is not"
            ) from None
        if self.choices and value not in self.choices:
            raise AWSValidationException(
                f"Parameter [{self.name}] is {text!r}; it must be one of {', '.join(self.choices)}"
            )
        return value

    def _read(self, text: Any) -> Any:
        if self.kind == "Integer":
            return int(text)
        if self.kind == "Float":
            return float(text)
        if self.kind == "Boolean":
            if str(text).lower() not in ("true", "false"):
                raise ValueError(text)
            return str(text).lower() == "true"
        return str(text)


@dataclass(frozen=True)
class Step:
    """A step of a pipeline, those inside conditions included."""

    name: str
    kind: str
    arguments: Json
    raw: Json
    needs: frozenset[str]
    """The steps that must have succeeded before."""
    branch: tuple[str, bool] | None = None
    """The condition it hangs on, and the outcome with which it runs."""

    @property
    def cached_for(self) -> timedelta | None:
        """How long what it made may be used again for the same arguments; None where it may not."""
        config = self.raw.get("CacheConfig") or {}
        return duration(config["ExpireAfter"]) if config.get("Enabled") else None

    @property
    def retries(self) -> Sequence[Json]:
        """Its RetryPolicies."""
        policies: Sequence[Json] = self.raw.get("RetryPolicies") or ()
        return policies


def duration(text: str) -> timedelta:
    """`P30d`, `PT12H` as a length of time. Raises ValueError."""
    found = DURATION.fullmatch(text)
    if not found or not any(found.groups()):
        raise ValueError(text)
    return timedelta(seconds=sum(int(n or 0) * unit for n, unit in zip(found.groups(), DURATION_SECONDS, strict=True)))


def is_reference(value: Any) -> bool:
    """Whether a value stands for another one."""
    return isinstance(value, dict) and len(value) == 1 and next(iter(value)) in REFERENCES


def references(value: Any) -> Iterator[str]:
    """Every path that is got somewhere in a value."""
    if isinstance(value, dict):
        if is_reference(value) and "Get" in value:
            yield str(value["Get"])
            return
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from references(each)


def tokens(text: str) -> list[str | int]:
    """`.a[0]['b']` → `a`, 0, `b`."""
    return [int(number) if number else name or quoted or doubly for name, number, quoted, doubly in TOKEN.findall(text)]


@dataclass
class Definition:
    """A definition that was read and found well-formed."""

    text: str
    parameters: dict[str, Parameter] = field(default_factory=dict)
    steps: dict[str, Step] = field(default_factory=dict)


def read(text: str) -> Definition:
    """Read and check a definition.

    Raises Invalid, which names the step, for what AWS refuses; NotImplementedError for what the rehearsal does not run.
    """
    try:
        document = json.loads(text)
    except ValueError as error:
        raise Invalid(f"It is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise Invalid("It is not a JSON object")
    if document.get("Version") != VERSION:
        raise Invalid(f"Version is {document.get('Version')!r}; it must be {VERSION!r}")
    told = {name for name, value in document.items() if value is not None}  # the SDK writes null for what is not asked
    if unknown := told - {"Version", "Metadata", "Parameters", "PipelineExperimentConfig", "Steps"}:
        raise NotImplementedError(f"pipelines with {', '.join(sorted(unknown))} in their definition are not rehearsed")
    definition = Definition(text)
    for raw in document.get("Parameters") or ():
        parameter = _parameter(raw)
        if parameter.name in definition.parameters:
            raise Invalid(f"Parameter '{parameter.name}' is defined twice")
        definition.parameters[parameter.name] = parameter
    if not document.get("Steps"):
        raise Invalid("Steps must have at least one step")
    _add_steps(definition, document["Steps"], None)
    for step in definition.steps.values():
        try:
            _check(definition, step)
        except Wrong as error:
            raise Invalid(f"Step '{step.name}': {error}") from None
    _refuse_circles(definition)
    return definition


class Wrong(Exception):
    """What is wrong with a step."""


def _parameter(raw: Json) -> Parameter:
    name, kind = raw.get("Name"), raw.get("Type")
    if not isinstance(name, str) or not isinstance(kind, str) or kind not in TYPES:
        raise Invalid(f"Parameter {name!r} has type {kind!r}; it must be one of {', '.join(TYPES)}")
    default = raw.get("DefaultValue")
    wrong = isinstance(default, bool) != (kind == "Boolean") or not isinstance(default, TYPES[kind])
    if default is not None and wrong:
        raise Invalid(f"The default of parameter '{name}' is {default!r}, which is no {kind}")
    choices = raw.get("EnumValues") or ()
    if default is not None and choices and default not in choices:
        raise Invalid(f"The default of parameter '{name}' is {default!r}, which is not one of its EnumValues")
    return Parameter(name, kind, default, choices)


def _add_steps(definition: Definition, raws: Sequence[Any], branch: tuple[str, bool] | None) -> None:
    for raw in raws:
        name = raw.get("Name") if isinstance(raw, dict) else None
        if not isinstance(name, str) or not NAME.fullmatch(name) or len(name) > 64:
            raise Invalid(f"A step is called {name!r}; names have letters, digits, - and _, 64 at most")
        if name in definition.steps:
            raise Invalid(f"Step names must be unique; '{name}' is there twice")
        kind = raw.get("Type")
        if kind in NOT_REHEARSED:
            raise NotImplementedError(f"pipeline step {name} is of type {kind}, which is not rehearsed")
        if kind not in KNOWN:
            raise Invalid(f"Step '{name}': Type is {kind!r}; it must be one of {', '.join(KNOWN)}")
        if unknown := set(raw) - STEP_KEYS:
            raise Invalid(f"Step '{name}': unknown field {', '.join(sorted(unknown))}")
        arguments = raw.get("Arguments") or {}
        depends = raw.get("DependsOn") or []
        if not isinstance(arguments, dict) or not isinstance(depends, list):
            raise Invalid(f"Step '{name}': Arguments must be an object, and DependsOn a list of step names")
        own = {key: value for key, value in arguments.items() if key not in ("IfSteps", "ElseSteps")}
        got = [found for path in references([own, raw.get("FunctionArn")]) if (found := GET.fullmatch(path))]
        needs = {*depends, *(found[2] for found in got if found[1] == "Steps"), *([branch[0]] if branch else ())}
        definition.steps[name] = Step(name, kind, own, raw, frozenset(needs), branch)
        if kind == "Condition":
            for key, outcome in (("IfSteps", True), ("ElseSteps", False)):
                _add_steps(definition, arguments.get(key) or (), (name, outcome))


def _refuse_circles(definition: Definition) -> None:
    sorter = graphlib.TopologicalSorter({step.name: step.needs for step in definition.steps.values()})
    try:
        sorter.prepare()
    except graphlib.CycleError as error:
        raise Invalid(f"Steps depend on each other in a circle: {' → '.join(reversed(error.args[1]))}") from None


def _check(definition: Definition, step: Step) -> None:
    """Raises Wrong."""
    for name in step.needs:
        if name not in definition.steps:
            raise Wrong(f"it depends on step '{name}', which does not exist")
    _check_references(definition, step, [step.arguments, step.raw.get("FunctionArn")])
    for file in step.raw.get("PropertyFiles") or ():
        if step.kind != "Processing" or not {"PropertyFileName", "OutputName", "FilePath"} <= set(file):
            raise Wrong("a property file belongs to a Processing step, with PropertyFileName, OutputName and FilePath")
        outputs = (step.arguments.get("ProcessingOutputConfig") or {}).get("Outputs") or ()
        if file["OutputName"] not in [output.get("OutputName") for output in outputs]:
            raise Wrong(
                f"property file '{file['PropertyFileName']}' is of output '{file['OutputName']}', which it lacks"
            )
    _check_policies(step)
    if step.kind in CREATES:
        shape: Any = get_service_model("sagemaker").operation_model(CREATES[step.kind]).input_shape
        if step.kind == "RegisterModel" and "ModelPackageName" in step.arguments:
            raise Wrong("Unknown Argument member 'ModelPackageName': a pipeline registers versions of a group")
        _check_shape(shape, step.arguments, "Arguments", skipped=NAMED.get(step.kind))
    elif step.kind == "Condition":
        conditions = step.arguments.get("Conditions")
        if not isinstance(conditions, list) or not conditions:
            raise Wrong("Conditions must have at least one condition")
        for condition in conditions:
            _check_condition(condition)
    elif step.kind == "Lambda":
        if not step.raw.get("FunctionArn"):
            raise Wrong("FunctionArn is missing")
        for output in step.raw.get("OutputParameters") or ():
            if output.get("OutputType") not in TYPES or not output.get("OutputName"):
                raise Wrong(f"output parameter {output!r} needs an OutputName, and an OutputType of {', '.join(TYPES)}")
    elif step.kind == "Fail" and "ErrorMessage" not in step.arguments:
        raise Wrong("ErrorMessage is missing")


def _check_policies(step: Step) -> None:
    config = step.raw.get("CacheConfig") or {}
    if config.get("Enabled"):
        if step.kind not in CACHED:
            raise Wrong(f"CacheConfig is for steps of type {', '.join(CACHED)}")
        try:
            duration(str(config.get("ExpireAfter")))
        except ValueError:
            raise Wrong(
                f"CacheConfig.ExpireAfter is {config.get('ExpireAfter')!r}; it must be a duration such as P30D or PT12H"
            ) from None
    for policy in step.retries:
        kinds = policy.get("ExceptionType")
        if not kinds or not isinstance(kinds, list) or not set(kinds) <= set(EXCEPTIONS):
            raise Wrong(f"ExceptionType of a retry policy is {kinds!r}; its members must be of {', '.join(EXCEPTIONS)}")
        if ("MaxAttempts" in policy) == ("ExpireAfterMin" in policy):
            raise Wrong("a retry policy needs one of MaxAttempts and ExpireAfterMin")
        if not 1 <= policy.get("MaxAttempts", 1) <= 20:
            raise Wrong(f"MaxAttempts of a retry policy is {policy['MaxAttempts']}; it must be from 1 to 20")


def denied(condition: Json) -> Any:
    """What a condition of type Not denies; the SDK has had two words for it."""
    return condition["Condition"] if "Condition" in condition else condition["Expression"]


def _check_condition(condition: Any) -> None:
    if not isinstance(condition, dict):
        raise Wrong(f"a condition is {condition!r}; it must be an object")
    kind = condition.get("Type")
    wanted = {
        **dict.fromkeys(COMPARISONS, ("LeftValue", "RightValue")),
        **dict.fromkeys(("In", "NotIn"), ("QueryValue", "Values")),
        "Not": ("Condition" if "Condition" in condition else "Expression",),
        "Or": ("Conditions",),
    }
    if kind not in wanted:
        raise Wrong(f"a condition is of type {kind!r}; it must be one of {', '.join(wanted)}")
    if missing := [name for name in wanted[kind] if name not in condition]:
        raise Wrong(f"a condition of type {kind} lacks {', '.join(missing)}")
    if kind == "Not":
        _check_condition(denied(condition))
    for each in condition["Conditions"] if kind == "Or" else ():
        _check_condition(each)


def _check_references(definition: Definition, step: Step, value: Any) -> None:
    if isinstance(value, list):
        for each in value:
            _check_references(definition, step, each)
    elif is_reference(value):
        _check_reference(definition, step, *next(iter(value.items())))
    elif isinstance(value, dict):
        for each in value.values():
            _check_references(definition, step, each)


def _check_reference(definition: Definition, step: Step, kind: str, value: Any) -> None:
    if kind == "Get":
        _check_path(definition, step, str(value))
    elif kind == "Std:Join":
        if (
            not isinstance(value, dict)
            or not isinstance(value.get("On"), str)
            or not isinstance(value.get("Values"), list)
        ):
            raise Wrong("Std:Join needs On, a text, and Values, a list")
        _check_references(definition, step, value["Values"])
    else:
        if not isinstance(value, dict) or not isinstance(value.get("Path"), str):
            raise Wrong("Std:JsonGet needs a Path")
        if "S3Uri" in value:
            _check_references(definition, step, value["S3Uri"])
            return
        found = GET.fullmatch(str((value.get("PropertyFile") or {}).get("Get")))
        if not found or found[1] != "Steps" or not found[3].startswith(".PropertyFiles."):
            raise Wrong('Std:JsonGet needs S3Uri, or PropertyFile: {"Get": "Steps.<step>.PropertyFiles.<name>"}')
        property_file(definition, found[2], found[3].removeprefix(".PropertyFiles."))


def property_file(definition: Definition, step: str, name: str) -> Json:
    """The property file of a step. Raises Wrong where it has none of this name."""
    files = definition.steps[step].raw.get("PropertyFiles") or () if step in definition.steps else ()
    for file in files:
        if file["PropertyFileName"] == name:
            return dict(file)
    raise Wrong(f"step '{step}' has no property file '{name}'")


def _check_path(definition: Definition, step: Step, path: str) -> None:
    found = GET.fullmatch(path)
    if not found:
        raise Wrong(f"{path!r} cannot be got; paths begin with Parameters., Execution. or Steps.<step>.")
    kind, name, rest = found.groups()
    if kind == "Parameters":
        if name not in definition.parameters or rest:
            raise Wrong(f"{path!r}: there is no parameter '{name}{rest}'")
    elif kind == "Execution":
        if name not in EXECUTION or rest:
            raise Wrong(f"{path!r}: an execution has {', '.join(EXECUTION)}")
    elif name == step.name:
        raise Wrong(f"{path!r}: a step cannot use its own properties")
    elif name in definition.steps:
        _check_property(definition.steps[name], path, tokens(rest))


def _check_property(step: Step, path: str, rest: list[str | int]) -> None:
    if step.kind in DESCRIBES:
        shape: Any = get_service_model("sagemaker").operation_model(DESCRIBES[step.kind]).output_shape
        for token in rest:
            if shape.type_name == "structure" and token in shape.members:
                shape = shape.members[token]
            elif shape.type_name == "list":
                shape = shape.member
            elif shape.type_name == "map":
                shape = shape.value
            else:
                raise Wrong(f"{path!r}: a {step.kind} step has no such property")
        if rest:
            return
    elif step.kind == "Lambda":
        names = [output["OutputName"] for output in step.raw.get("OutputParameters") or ()]
        if len(rest) == 2 and rest[0] == "OutputParameters" and rest[1] in names:
            return
    elif step.kind == "Condition" and rest == ["Outcome"]:
        return
    raise Wrong(f"{path!r}: a {step.kind} step has no such property")


def _check_shape(shape: Shape, value: Any, where: str, skipped: str | None = None) -> None:
    """Hold an argument to AWS's model of it, as far as it is no reference."""
    if is_reference(value):
        return
    kind, structure = shape.type_name, getattr(shape, "members", {})
    if kind == "structure":
        if not isinstance(value, dict):
            raise Wrong(f"Expecting start of Json Object: {where} is {value!r}")
        if unknown := sorted(set(value) - set(structure)):
            raise Wrong(f"Unknown Argument member '{unknown[0]}' in {where}")
        required = set(shape.metadata.get("required", ())) - {skipped}
        if missing := sorted(required - set(value)):
            raise Wrong(f"Model Validation failed: Missing required field '{missing[0]}' in {where}")
        for name, each in value.items():
            _check_shape(structure[name], each, f"{where}.{name}")
    elif kind == "list":
        if not isinstance(value, list):
            raise Wrong(f"Expecting start of Json Array: {where} is {value!r}")
        for at, each in enumerate(value):
            _check_shape(shape.member, each, f"{where}[{at}]")  # type: ignore[attr-defined]  # a list's shape has it
    elif kind == "map":
        if not isinstance(value, dict):
            raise Wrong(f"Expecting start of Json Object: {where} is {value!r}")
        for name, each in value.items():
            _check_shape(shape.value, each, f"{where}.{name}")  # type: ignore[attr-defined]  # a map's shape has it
    else:
        _check_scalar(shape, value, where)


def _check_scalar(shape: Shape, value: Any, where: str) -> None:
    types: Mapping[str, type | tuple[type, ...]] = {
        "string": str,
        "boolean": bool,
        **dict.fromkeys(("integer", "long"), int),
        **dict.fromkeys(("float", "double"), (int, float)),
    }
    wanted = types.get(shape.type_name)
    if wanted and (not isinstance(value, wanted) or (isinstance(value, bool) and shape.type_name != "boolean")):
        raise Wrong(f"{where} is {value!r}; it must be a {shape.type_name}")
    choices = getattr(shape, "enum", None)
    if choices and value not in choices:
        words = f"Value '{value}' for '{shape.name}' failed to satisfy enum value set: [{', '.join(choices[:30])}]"
        raise Wrong(f"Model Validation failed: {words} in {where}")
