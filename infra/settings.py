"""A stack's YAML, read once and checked before anything is built."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError

from infra.environments import WHERE, environments
from infra.stack import Stack
from policies.cost.usage import Usage
from stacks import NoStack, find, known

T = TypeVar("T")

ROOT = Path(__file__).parent.parent
STACK_FOLDER = ROOT / "stacks"
EXAMPLES = ROOT / "examples"
ENVIRONMENTS = tuple(environments())
KEYS = (
    "slipway:permissions_boundary",
    "slipway:settings",
    "slipway:stack",
    "slipway:usage",
    "slipway:usd_per_month",
)
REGION = r"^[a-z]{2}(-[a-z]+)+-\d$"
BOUNDARY = r"^arn:aws[a-z-]*:iam::\d{12}:policy/[\w+=,.@/-]+$"
TAGS = ("owner", "product", "environment", "cost-center")
"""The tags every resource carries: who is asked, what it is for, where it runs, who pays."""


class SettingsError(Exception):
    """A stack's YAML is wrong: the text says in which file, at which key, and what it may be."""


@dataclass(frozen=True)
class Settings:
    """One stack in one environment, as its YAML describes it."""

    stack: str
    """`<product>-<environment>`, for instance `platform-local`."""
    environment: str
    region: str
    account_id: str
    """The one AWS account it may be deployed to; the provider refuses every other."""
    usd_per_month: float
    tags: Mapping[str, str]
    program: Stack
    config: Mapping[str, str]
    """Everything the YAML says, as the Pulumi runtime wants it: `namespace:key` to text (JSON for what is not text)."""


def stack_names() -> list[str]:
    """Every stack that has a YAML file in stacks/: those of which environments consist."""
    return sorted(map(_stack_of, STACK_FOLDER.glob("Pulumi.*.yaml")))


def example_names() -> list[str]:
    """Every stack that has a YAML file in examples/: each is asked for by its name."""
    return sorted(map(_stack_of, EXAMPLES.glob("*/Pulumi.*.yaml")))


def _stack_of(path: Path) -> str:
    return path.name.removeprefix("Pulumi.").removesuffix(".yaml")


def stack_file(stack: str) -> Path:
    """Where a stack's YAML is, or would be: in stacks/, or in a folder of examples/."""
    name = f"Pulumi.{stack}.yaml"
    found = sorted(EXAMPLES.glob(f"*/{name}")) if not (STACK_FOLDER / name).exists() else []
    return found[0] if found else STACK_FOLDER / name


def pulumi(stack: str) -> list[str]:
    """How the Pulumi CLI is called for a stack, from the repository's root: an example is a project of its own."""
    folder = stack_file(stack).parent
    return ["pulumi", *(["-C", folder.relative_to(ROOT).as_posix()] if folder.is_relative_to(EXAMPLES) else [])]


def _named(path: Path) -> str:
    """How messages name a stack's YAML: `stacks/Pulumi.platform-dev.yaml`."""
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(EXAMPLES) else f"stacks/{path.name}"


def stacks_of(names: Sequence[str]) -> list[str]:
    """The stacks that `names` (stacks or environments) stand for, each after those it needs.

    Raises SettingsError for a name that is neither.
    """
    ours, examples = stack_names(), example_names()
    wanted: list[str] = []
    for name in names:
        found = [stack for stack in ours if stack == name or stack.rpartition("-")[2] == name]
        found = found or [stack for stack in examples if stack == name]
        if not found:
            raise SettingsError(
                f"there is no stack or environment {name!r}{_did_you_mean(name, [*ours, *ENVIRONMENTS, *examples])}"
            )
        wanted += found
    ordered: list[str] = []

    def add(stack: str, wanted_by: tuple[str, ...]) -> None:
        if stack in wanted_by:
            raise SettingsError(f"these stacks need each other: {' → '.join((*wanted_by, stack))}")
        for needed in load(stack).program.needs:
            if needed in wanted:
                add(needed, (*wanted_by, stack))
        if stack not in ordered:
            ordered.append(stack)

    for stack in wanted:
        add(stack, ())
    return ordered


def load(stack: str, overrides: Mapping[str, Any] | None = None) -> Settings:
    """Read `Pulumi.<stack>.yaml` in stacks/ or in an example's folder; `overrides` replaces keys of `slipway:settings`.

    Raises SettingsError where the file is missing, is not YAML, or says something no stack may say.
    """
    path = stack_file(stack)
    try:
        document = yaml.safe_load(path.read_text("utf-8"))
    except FileNotFoundError:
        raise SettingsError(
            f"there is no stack {stack!r}{_did_you_mean(stack, stack_names() + example_names())}"
        ) from None
    except yaml.YAMLError as error:
        raise SettingsError(f"{_named(path)}: not YAML: {error}") from None
    values = document.get("config") if isinstance(document, dict) else None
    if not isinstance(values, dict):
        raise SettingsError(f"{_named(path)}: `config:` is missing")
    settings = values.get("slipway:settings")
    if overrides and isinstance(settings, dict):
        values["slipway:settings"] = {**settings, **overrides}
    return check(stack, values)


def check(stack: str, values: Mapping[str, Any]) -> Settings:
    """The settings that `values` (the `config:` of a stack's YAML) give. Raises SettingsError as `load` does."""
    where = _named(stack_file(stack))
    environment = stack.rpartition("-")[2]
    if environment not in ENVIRONMENTS:
        raise SettingsError(
            f"{where}: a stack is named <product>-<environment>, the latter one of {_any(ENVIRONMENTS)}"
        )
    for key in values:
        if key.startswith("slipway:") and key not in KEYS:
            raise SettingsError(f"{where}, {key}: there is no such key{_did_you_mean(key, KEYS)}")
    name = _value(where, values, "slipway:stack", str)
    try:
        kind = find(name)
    except NoStack as error:
        raise SettingsError(f"{where}, slipway:stack: {error}; it can be {_any(known())}") from None
    region = _value(where, values, "aws:region", str)
    if not re.search(REGION, region):
        raise SettingsError(f"{where}, aws:region: {region!r} is no region; set one such as us-east-1")
    accounts = _value(where, values, "aws:allowedAccountIds", list[Any])
    if len(accounts) != 1 or not re.fullmatch(r"\d{12}", str(accounts[0])) or not isinstance(accounts[0], str):
        raise SettingsError(
            f"{where}, aws:allowedAccountIds: set the one account's id, 12 digits in quotes, got {accounts}"
        )
    budget = _value(where, values, "slipway:usd_per_month", float)
    if budget <= 0:
        raise SettingsError(f"{where}, slipway:usd_per_month: {budget:g} is no budget; set dollars a month above 0")
    boundary = values.get("slipway:permissions_boundary")
    if boundary is not None and not re.search(BOUNDARY, str(boundary)):
        raise SettingsError(
            f"{where}, slipway:permissions_boundary: {boundary!r} is no policy's ARN; "
            "set one such as arn:aws:iam::123456789012:policy/boundary, or none"
        )
    _check_place(where, environment, region, accounts[0])
    _check_usage(where, values)
    tags = _value(where, values, "aws:defaultTags", dict[str, dict[str, str]]).get("tags", {})
    for tag in TAGS:
        if not tags.get(tag):
            raise SettingsError(
                f"{where}, aws:defaultTags.tags.{tag}: missing; every resource carries {_any(TAGS, 'and')}"
            )
    if tags["environment"] != environment:
        raise SettingsError(
            f"{where}, aws:defaultTags.tags.environment: {tags['environment']!r} in stack {stack}; set {environment}"
        )
    try:
        program = kind.model_validate(_value(where, values, "slipway:settings", dict[str, Any]))
    except ValidationError as error:
        raise SettingsError("\n".join(_explain(where, kind, error))) from None
    text = {key: value if isinstance(value, str) else json.dumps(value) for key, value in values.items()}
    place = environments().get(environment)
    if place and place.boundary_arn and boundary is None:
        text["slipway:permissions_boundary"] = place.boundary_arn
    return Settings(stack, environment, region, accounts[0], budget, tags, program, text)


def _check_place(where: str, environment: str, region: str, account: str) -> None:
    """Hold a stack's account and region against its environment's: it runs nowhere else."""
    place = environments().get(environment)
    for key, own, theirs in (
        ("aws:allowedAccountIds", account, place and place.account),
        ("aws:region", region, place and place.region),
    ):
        if place and own != theirs:
            of = "account" if key == "aws:allowedAccountIds" else "region"
            raise SettingsError(
                f"{where}, {key}: {own} is not where {environment} is: set {theirs}, or correct "
                f"environments.{environment}.{of} in {WHERE}"
            )


def _check_usage(where: str, values: Mapping[str, Any]) -> None:
    """Hold `slipway:usage` against what a stack may state of its use; it is optional."""
    try:
        Usage.model_validate(_value(where, {"slipway:usage": {}, **values}, "slipway:usage", dict[str, Any]))
    except ValidationError as error:
        known = list(Usage.model_fields)
        raise SettingsError(
            "\n".join(
                f"{where}, slipway:usage.{fault['loc'][0]}: "
                + (
                    f"there is no such key{_did_you_mean(str(fault['loc'][0]), known)}"
                    if fault["type"] == "extra_forbidden"
                    else f"{fault['msg']}, got {fault['input']!r}"
                )
                for fault in error.errors()
            )
        ) from None


def _value(where: str, values: Mapping[str, Any], key: str, kind: type[T]) -> T:
    if key not in values:
        near = get_close_matches(key, values, 1)
        raise SettingsError(f"{where}, {key}: missing" + (f"; is it {near[0]!r}, misspelt?" if near else ""))
    try:
        return TypeAdapter(kind).validate_python(values[key])
    except ValidationError as error:
        raise SettingsError(f"{where}, {key}: {error.errors()[0]['msg']}, got {values[key]!r}") from None


def _explain(where: str, model: type[Stack], error: ValidationError) -> list[str]:
    """One line for each thing wrong: the key, what is wrong with it, and what it may be."""
    lines = []
    for fault in error.errors():
        path = ".".join(str(step) for step in fault["loc"])
        line = f"{where}, slipway:settings.{path}: "
        if fault["type"] == "extra_forbidden":
            siblings = _keys(model, fault["loc"][:-1])
            line += f"there is no such key{_did_you_mean(str(fault['loc'][-1]), siblings)}"
        elif fault["type"] == "missing":
            line += "missing, and it has no default"
        else:
            line += fault["msg"].removeprefix("Value error, ")
            if not isinstance(fault["input"], dict):
                line += f", got {fault['input']!r}"
        lines.append(line)
    return lines


def _keys(model: type[Stack], path: Sequence[int | str]) -> list[str]:
    """The keys that may stand at `path` in a stack's settings, read from its JSON schema."""
    schema = model.model_json_schema()

    def options(branch: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        """What a place may hold, one schema after another."""
        if "$ref" in branch:
            yield from options(schema["$defs"][branch["$ref"].rpartition("/")[2]])
        elif "anyOf" in branch:
            for each in branch["anyOf"]:
                yield from options(each)
        else:
            yield branch

    def below(here: Mapping[str, Any], step: int | str) -> Iterator[Mapping[str, Any]]:
        branch = here.get("properties", {}).get(step) if isinstance(step, str) else here.get("items")
        if branch is None:
            by_pattern: Mapping[str, Any] = here.get("patternProperties", {})
            branch = here.get("additionalProperties") or next(iter(by_pattern.values()), None)
        yield from options(branch or {})

    places = list(options(schema))
    for step in path:
        places = [each for here in places for each in below(here, step)]
    return list(dict.fromkeys(key for here in places for key in here.get("properties", {})))


def _did_you_mean(word: str, choices: Sequence[str]) -> str:
    near = get_close_matches(word, choices, 1)
    return f"; did you mean {near[0]!r}?" if near else f"; it can be {_any(choices)}"


def _any(words: Sequence[str], conjunction: str = "or") -> str:
    return f"{', '.join(words[:-1])} {conjunction} {words[-1]}" if len(words) > 1 else "".join(words)
