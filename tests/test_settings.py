"""What a wrong stack YAML is answered with: the file, the key, and what it may be."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra import settings
from infra.settings import SettingsError, check, load, stacks_of
from stacks import known

PLATFORM = "platform-prod"
PRODUCT = "employment-prod"

Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Change], str]:
    """`refused(stack, change)` changes a copy of a stack's YAML, and returns what loading it is refused with."""
    original = settings.STACK_FOLDER

    def refused(stack: str, change: Change) -> str:
        document = yaml.safe_load((original / f"Pulumi.{stack}.yaml").read_text())
        change(document["config"])
        (tmp_path / f"Pulumi.{stack}.yaml").write_text(yaml.safe_dump(document))
        monkeypatch.setattr(settings, "STACK_FOLDER", tmp_path)
        with pytest.raises(SettingsError) as error:
            load(stack)
        return str(error.value)

    return refused


def put(path: str, value: object) -> Change:
    """Set the key at `path` (steps divided by `/`)."""

    def change(config: dict[str, Any]) -> None:
        *way, last = path.split("/")
        for step in way:
            config = config.setdefault(step, {})
        config[last] = value

    return change


def drop(path: str) -> Change:
    """Remove the key at `path`."""

    def change(config: dict[str, Any]) -> None:
        *way, last = path.split("/")
        for step in way:
            config = config[step]
        del config[last]

    return change


MISSPELT = {
    "slipway:settings/gpus/train/max_sise": "max_size",
    "slipway:settings/networks": "network",
    "slipway:settings/teams/employment/gpu": "gpus",
    "slipway:usd_a_month": "slipway:usd_per_month",
}


@pytest.mark.parametrize("path", MISSPELT)
def test_a_misspelt_key_is_named_with_the_one_that_was_meant(refused: Callable[..., str], path: str) -> None:
    said = refused(PLATFORM, put(path, 1))

    key = path.replace("/", ".")
    assert said == f"stacks/Pulumi.{PLATFORM}.yaml, {key}: there is no such key; did you mean {MISSPELT[path]!r}?"


WRONG_PLATFORM = {
    "slipway:settings/gpus/train/max_gpus": (0, "greater than 0, got 0"),
    "slipway:settings/gpus/serving/min_size": (9, "min_size 9 is above max_size 2"),
    "slipway:settings/gpus/train/instance_types": (["m5.large"], "set for example g6.xlarge"),
    "slipway:settings/gpus/train/disk_gib": (20, "greater than or equal to 100, got 20"),
    "slipway:settings/gpus": ({}, "at least 1 item"),
    "slipway:settings/network/cidr": ("10.0.0.0/28", "such as 10.20.0.0/16, got '10.0.0.0/28'"),
    "slipway:settings/network/zones": (["a"], "at least 2 items"),
    "slipway:settings/cluster/version": ("1.29", "'1.34' or '1.35', got '1.29'"),
    "slipway:settings/cluster/admins": (["platform-admin"], "arn:aws:iam::"),
    "slipway:settings/cluster/log_days": (100, "got 100"),
    "slipway:settings/key": ({"deletion_days": 3}, "greater than or equal to 7, got 3"),
    "slipway:settings/alerts/emails": (["nobody"], "got 'nobody'"),
    "slipway:settings/teams": ({"kube-system": {"gpus": 1}}, "kube-system is the name of something of the cluster's"),
    "aws:region": ("us-east", "set one such as us-east-1"),
    "aws:allowedAccountIds": ([777788889999], "12 digits in quotes"),
    "slipway:usd_per_month": (-5, "set dollars a month above 0"),
    "slipway:permissions_boundary": ("bounds", "'bounds' is no policy's ARN"),
    "slipway:stack": ("plattform", f"it can be {', '.join(known()[:-1])} or {known()[-1]}"),
}


@pytest.mark.parametrize("path", WRONG_PLATFORM)
def test_an_impossible_value_is_named_with_what_it_may_be(refused: Callable[..., str], path: str) -> None:
    value, words = WRONG_PLATFORM[path]

    said = refused(PLATFORM, put(path, value))

    assert said.startswith(f"stacks/Pulumi.{PLATFORM}.yaml, {path.partition('/')[0]}")
    assert path.rpartition("/")[2] in said
    assert words in said


WRONG_PRODUCT = {
    "endpoint/min_instances": (1, "a linear rollout needs two instances"),
    "endpoint/max_instances": (2, "min_instances 3 is above max_instances 2"),
    "endpoint/instance_type": ("ml.t3.medium", "burstable instances cannot autoscale"),
    "endpoint/capture_percent": (101, "less than or equal to 100, got 101"),
    "endpoint/rollout/step_percent": (5, "a linear step is 10 to 50 %"),
    "endpoint/rollout": ({"kind": "linear", "step_percent": 10, "bake_minutes": 60}, "this rollout takes 600 minutes"),
    "data/schedule": ("every day", "set one such as rate(15 minutes)"),
    "data": ({"windows": 2, "drifting_windows": 3}, "3 of 2 windows cannot be drifting"),
    "model_version": (0, "greater than 0, got 0"),
}


@pytest.mark.parametrize("path", WRONG_PRODUCT)
def test_an_impossible_endpoint_or_monitor_is_refused_with_the_reason(refused: Callable[..., str], path: str) -> None:
    value, words = WRONG_PRODUCT[path]

    said = refused(PRODUCT, put(f"slipway:settings/{path}", value))

    assert said.startswith(f"stacks/Pulumi.{PRODUCT}.yaml, slipway:settings.{path.partition('/')[0]}")
    assert words in said


@pytest.mark.parametrize("tag", settings.TAGS)
def test_a_missing_tag_is_named(refused: Callable[..., str], tag: str) -> None:
    said = refused(PLATFORM, drop(f"aws:defaultTags/tags/{tag}"))

    assert said.startswith(f"stacks/Pulumi.{PLATFORM}.yaml, aws:defaultTags.tags.{tag}: missing")
    assert "owner, product, environment and cost-center" in said


def test_the_environment_tag_is_the_one_in_the_stacks_name(refused: Callable[..., str]) -> None:
    said = refused(PLATFORM, put("aws:defaultTags/tags/environment", "dev"))

    assert said == (
        "stacks/Pulumi.platform-prod.yaml, aws:defaultTags.tags.environment: 'dev' in stack platform-prod; set prod"
    )


@pytest.mark.parametrize("key", ["aws:region", "slipway:settings", "slipway:settings/network"])
def test_a_missing_key_is_named(refused: Callable[..., str], key: str) -> None:
    said = refused(PLATFORM, drop(key))

    assert said.startswith(f"stacks/Pulumi.{PLATFORM}.yaml, {key.replace('/', '.')}: missing")


def test_every_mistake_is_told_at_once(refused: Callable[..., str]) -> None:
    def change(config: dict[str, Any]) -> None:
        put("slipway:settings/gpus/train/max_size", 0)(config)
        put("slipway:settings/network/cidr", "everywhere")(config)

    first, second = sorted(refused(PLATFORM, change).splitlines())

    assert "gpus.train.max_size" in first
    assert "network.cidr" in second


def test_an_administrator_cannot_be_a_developer_too(refused: Callable[..., str]) -> None:
    role = "arn:aws:iam::777788889999:role/platform-admin"

    said = refused(PLATFORM, put("slipway:settings/teams/employment/developers", [role]))

    assert f"{role} is an administrator already" in said


@pytest.mark.parametrize(
    "text, words",
    [("config: [", "not YAML"), ("- a list\n", "`config:` is missing"), ("", "`config:` is missing")],
)
def test_a_file_that_is_no_stack_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, words: str
) -> None:
    (tmp_path / "Pulumi.platform-dev.yaml").write_text(text)
    monkeypatch.setattr(settings, "STACK_FOLDER", tmp_path)

    with pytest.raises(SettingsError, match=f"stacks/Pulumi.platform-dev.yaml: {words}"):
        load("platform-dev")


def test_a_stack_that_does_not_exist_is_answered_with_the_nearest() -> None:
    with pytest.raises(SettingsError, match=r"there is no stack 'platform-prd'; did you mean 'platform-prod'\?"):
        load("platform-prd")


def test_a_stack_is_named_after_an_environment() -> None:
    with pytest.raises(SettingsError, match="local, dev, staging or prod"):
        check("platform-production", {})


def test_an_environment_stands_for_its_stacks_each_after_what_it_needs() -> None:
    everything = stacks_of(["prod"])
    assert {"platform-prod", "employment-bulk-prod", "employment-prod"} <= {*everything}
    assert {*everything} == {stack for stack in settings.stack_names() if stack.endswith("-prod")}
    for stack in everything:
        assert all(everything.index(needed) < everything.index(stack) for needed in load(stack).program.needs)
    assert stacks_of(["employment-dev", "platform-dev"]) == ["platform-dev", "employment-dev"]
    assert stacks_of(["employment-dev"]) == ["employment-dev"]


def test_an_unknown_environment_is_refused() -> None:
    with pytest.raises(SettingsError, match="there is no stack or environment 'production'"):
        stacks_of(["production"])


def test_a_setting_can_be_overridden_for_one_run() -> None:
    overridden: Mapping[str, Any] = {"model_version": 7}

    loaded = load("employment-local", overridden)

    assert loaded.program.model_dump()["model_version"] == 7
    assert '"model_version": 7' in loaded.config["slipway:settings"]
