"""Environments are compared key by key, and a difference that nobody meant fails."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from infra import cli, diff, environments
from infra.settings import SettingsError, load

PAIRS = (("local", "dev"), ("dev", "staging"), ("staging", "prod"))


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """`told(prod={"employment.api": None})`: what stacks/environments.yaml says is meant, without or with entries."""

    def told(**changed: dict[str, str | None]) -> None:
        document = yaml.safe_load(environments.FILE.read_text("utf-8"))
        for name, entries in changed.items():
            differs = {**document["environments"][name]["differs"], **entries}
            document["environments"][name]["differs"] = {key: why for key, why in differs.items() if why}
        (tmp_path / "environments.yaml").write_text(yaml.safe_dump(document, sort_keys=False), "utf-8")
        monkeypatch.setattr(environments, "FILE", tmp_path / "environments.yaml")
        environments.environments.cache_clear()

    yield told
    monkeypatch.undo()
    environments.environments.cache_clear()


def run(*arguments: str) -> Any:
    return CliRunner().invoke(cli.app, ["diff", *arguments])


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_every_difference_of_our_environments_is_meant(first: str, second: str) -> None:
    found = run(first, second, "--settings-only")
    assert found.exit_code == 0, found.stdout
    assert found.stdout.startswith(f"{first} and {second}: 0 differences that nobody meant, ")


def test_an_endpoint_is_compared_by_the_keys_of_its_own_kind() -> None:
    found = json.loads(run("staging", "prod", "--settings-only", "--json").stdout)
    differing = {f"{each['product']}.{each['key']}" for each in found["differences"]}
    assert {"employment.endpoint.min_instances", "employment.endpoint.schedule"} <= differing


def test_versions_stand_side_by_side(told: Callable[..., None]) -> None:
    told()
    found = run("staging", "prod", "--settings-only")
    known = environments.environments()
    [line] = [line for line in found.stdout.splitlines() if line.startswith("  version ")]
    assert line.split() == ["version", known["staging"].version, known["prod"].version]


def test_what_nobody_meant_fails_and_says_what_to_do(told: Callable[..., None]) -> None:
    told(prod={"employment.endpoint": None})
    found = run("staging", "prod", "--settings-only")
    assert found.exit_code == 1
    assert "Not meant: make them the same, or say in stacks/environments.yaml why not" in found.stdout
    [line] = [line for line in found.stdout.splitlines() if "employment.endpoint.max_latency_ms" in line]
    assert line.split() == ["employment.endpoint.max_latency_ms", "1000", "250"]
    told(prod={"employment.endpoint": None, "employment.endpoint.*": "the size of production"})
    assert run("staging", "prod", "--settings-only").exit_code == 0


def test_a_product_that_only_one_has_is_a_difference(told: Callable[..., None]) -> None:
    told(prod={"employment-bulk": None})
    found = json.loads(run("staging", "prod", "--settings-only", "--json").stdout)
    [bulk] = [each for each in found["differences"] if each["product"] == "employment-bulk"]
    assert (bulk["key"], bulk["first"], bulk["second"], bulk["status"]) == (
        "",
        "-",
        "employment-bulk-prod",
        "not meant",
    )
    assert found["ok"] is False


def test_what_is_explained_and_does_not_differ_is_pointed_out(told: Callable[..., None]) -> None:
    told(prod={"employment.tls": "there is no such key, and nothing differs"})
    found = run("staging", "prod", "--settings-only")
    assert (
        "stacks/environments.yaml, prod: 'employment.tls' explains no difference any more: take it out" in found.stdout
    )
    assert found.exit_code == 0


def test_over_two_steps_either_may_explain(told: Callable[..., None]) -> None:
    found = diff.compare("dev", "prod")
    assert found.ok
    api = next(each for each in found.differences if each.path == "employment.api")
    assert api.why == environments.environment("staging").meant("employment.api")
    assert found.stale == ()
    assert {each.path for each in diff.compare("prod", "dev").differences} == {each.path for each in found.differences}


def test_accounts_and_names_of_the_environments_are_no_difference() -> None:
    status = {each.path: each.status for each in diff.compare("staging", "prod").differences}
    assert status["employment.platform"] == "identity"  # platform-staging, platform-prod
    assert status["employment.tags.cost-center"] == "identity"
    assert status["employment.registry.approvers"] == "identity"  # a role of the same name in each account


def test_defaults_are_filled_in() -> None:
    """What one YAML leaves out, and the other sets to what is the default, does not differ."""
    staging, prod = (load(f"employment-{env}").program.service for env in ("staging", "prod"))  # type: ignore[attr-defined]  # a product's
    assert "schedule" in staging.model_fields_set and "schedule" not in prod.model_fields_set
    assert "employment.service.schedule" not in {each.path for each in diff.compare("staging", "prod").differences}


@pytest.mark.parametrize(
    ("first", "second", "why"),
    [
        ("prod", "prod", "prod does not differ from itself"),
        ("prod", "qa", "there is no environment 'qa'"),
        ("platform-prod", "prod", "there is no environment 'platform-prod'"),
    ],
)
def test_what_cannot_be_compared_is_refused(first: str, second: str, why: str) -> None:
    with pytest.raises(SettingsError, match=why):
        diff.compare(first, second)
    assert run(first, second).exit_code == 2


def test_the_resources_that_only_one_has_are_counted_by_component(every_plan: Any) -> None:
    asked: list[str] = []

    def plans(stacks: Sequence[str]) -> Any:
        asked.extend(stacks)
        return [each for each in every_plan if each[0].stack in stacks]

    found = diff.compare("dev", "staging", plans)
    assert set(asked) >= {f"{product}-{env}" for product in ("platform", "employment") for env in ("dev", "staging")}
    api = next(each for each in found.only if each.component == "Prediction API")
    assert (api.product, api.environment) == ("employment", "staging")
    assert "2 usage plans" in api.kinds and any(each.startswith("aws:apigateway/restApi") for each in api.resources)
    pool = next(each for each in found.only if "notebooks" in each.component)
    assert (pool.product, pool.environment) == ("platform", "dev")
    assert any("employment, Prediction API: " in line for line in diff.text(found))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.dictionaries(st.text(min_size=1, max_size=3), inner, max_size=3) | st.lists(inner, max_size=3),
    max_leaves=8,
)


@given(VALUES, VALUES)
def test_there_is_a_difference_exactly_where_values_differ(first: Any, second: Any) -> None:
    found = list(diff.differing(first, second))
    assert bool(found) == (first != second)
    assert list(diff.differing(second, first)) == [(path, other, one) for path, one, other in found]
