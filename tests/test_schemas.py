"""The JSON Schemas of stack YAMLs: current, held by every YAML, and refusing what `slipway` refuses."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from referencing import Registry, Resource
from typer.testing import CliRunner

from infra import cli, schemas
from infra.settings import example_names, stack_file, stack_names

STACKS = [*stack_names(), *example_names()]


@pytest.fixture(scope="module")
def faults() -> Callable[[dict[str, Any]], list[str]]:
    """`faults(yaml)` is what the schema of its stack says of a YAML, key by key."""
    written = {path.name: json.loads(text) for path, text in schemas.made().items()}
    registry: Registry[Any] = Registry().with_resources(
        [(name, Resource.from_contents(told)) for name, told in written.items()]
    )
    validators = {
        name: jsonschema.Draft7Validator(told, registry=registry.with_resource("", Resource.from_contents(told)))
        for name, told in written.items()
    }

    def faults(document: dict[str, Any]) -> list[str]:
        validator = validators[f"{document['config']['slipway:stack']}.json"]
        return [f"{'/'.join(map(str, each.absolute_path))}: {each.message}" for each in validator.iter_errors(document)]

    return faults


def read(stack: str) -> Any:
    return yaml.safe_load(stack_file(stack).read_text("utf-8"))


def test_those_in_the_repository_are_what_the_code_makes() -> None:
    assert schemas.stale() == [], "run `slipway schema`"


@pytest.mark.parametrize("stack", STACKS)
def test_every_yaml_holds_and_names_its_schema(stack: str, faults: Callable[..., list[str]]) -> None:
    document, path = read(stack), stack_file(stack)
    assert faults(document) == []
    named = schemas.HEADER.search(path.read_text("utf-8"))
    assert named and path.read_text("utf-8").startswith(named[0]), f"{path.name}: its first line names no schema"
    assert (path.parent / named[1]).resolve() == schemas.FOLDER / f"{document['config']['slipway:stack']}.json"


REFUSED: dict[str, tuple[str, Any]] = {
    "employment-prod": ("slipway:settings/endpoint/max_instnces", 8),
    "employment-dev": ("slipway:settings/endpoint/kind", "scales-to-zero"),
    "employment-staging": ("slipway:settings/registry/approvers", ["carol"]),
    "employment-local": ("slipway:usd_a_month", 5),
    "platform-prod": ("slipway:settings/teams/employment/cpus", -1),
    "platform-dev": ("aws:allowedAccountIds", [111122223333]),
    "platform-staging": ("aws:defaultTags/tags/owner", ""),
    "platform-local": ("slipway:usage", {"gb_stord": 4}),
}


@pytest.mark.parametrize("stack", REFUSED)
def test_a_mistake_is_marked(stack: str, faults: Callable[..., list[str]]) -> None:
    path, value = REFUSED[stack]
    document = copy.deepcopy(read(stack))
    *way, last = path.split("/")
    here = document["config"]
    for step in way:
        here = here[step]
    here[last] = value
    assert faults(document), f"{path}: {value!r} passes"


def test_every_key_of_a_product_says_what_it_is_for() -> None:
    told = json.loads(schemas.made([])[schemas.FOLDER / "product.json"])
    settings = told["properties"]["config"]["properties"]["slipway:settings"]["properties"]
    assert [name for name, each in settings.items() if not each.get("description")] == []
    for kind in told["definitions"]["EndpointSpec"]["anyOf"]:
        assert [name for name, each in kind["properties"].items() if not each.get("description")] == []


def test_what_a_product_says_itself_is_not_asked_of_its_yaml(faults: Callable[..., list[str]]) -> None:
    document = read("employment-dev")
    document["config"]["slipway:settings"] |= {"batch": {"log_days": 30}, "release": {}, "pipeline": {}}
    assert faults(document) == []


def test_the_command_writes_what_is_stale_and_removes_what_is_of_no_stack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schemas, "FOLDER", tmp_path)
    monkeypatch.setattr("infra.settings.ROOT", tmp_path)
    run = CliRunner().invoke
    assert run(cli.app, ["schema", "--check"]).exit_code == 1
    assert run(cli.app, ["schema"]).exit_code == 0
    (tmp_path / "gone.json").write_text("{}")
    (tmp_path / "platform.json").write_text("{}")
    told = run(cli.app, ["schema", "--check", "--json"])
    assert told.exit_code == 1 and json.loads(told.stdout) == {"stale": ["platform.json", "gone.json"]}
    assert json.loads(run(cli.app, ["schema", "--json"]).stdout) == {"written": ["platform.json", "gone.json"]}
    assert not (tmp_path / "gone.json").exists()
    assert run(cli.app, ["schema", "--check"]).exit_code == 0
