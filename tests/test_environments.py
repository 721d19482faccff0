"""stacks/environments.yaml: where each environment is, what is promoted, and that no stack runs anywhere else."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from infra import environments as module
from infra import settings
from infra.environments import Environment, EnvironmentsError, before, environment, environments, read
from infra.settings import SettingsError, load

ONE = {"account": "111122223333", "region": "us-east-1"}
NAMES = st.text("abcde", min_size=1, max_size=5)


def written(**environments_: Any) -> str:
    return yaml.safe_dump({"environments": environments_}, sort_keys=False)


def test_every_stack_is_in_its_environments_account_and_region() -> None:
    for stack in (*settings.stack_names(), *settings.example_names()):
        found = load(stack)
        place = environment(found.environment)
        assert (found.account_id, found.region) == (place.account, place.region)


def test_an_environment_that_is_added_is_one_for_stacks_too() -> None:
    assert tuple(environments()) == settings.ENVIRONMENTS == ("local", "dev", "staging", "prod")


def test_a_change_passes_through_them_in_the_order_of_the_file() -> None:
    assert [before(name) for name in environments()] == [None, "local", "dev", "staging"]


REFUSED = {
    "not YAML": "environments: [",
    "environments: missing": "{}",
    "stacks: there is no such key": "stacks: {}",
    "environments.dev.region: missing": written(dev={"account": "111122223333"}),
    "environments.dev.account: String should match pattern": written(dev={**ONE, "account": "1111"}),
    "environments.dev.acount: there is no such key": written(dev={**ONE, "acount": "111122223333"}),
    "environments.dev.differs.employment.endpoint: ": written(dev={**ONE, "differs": {"employment.endpoint": "why"}}),
    "environments.dev.deploys: set `github: OWNER/REPOSITORY`": written(dev={**ONE, "deploys": {}}),
    "environments.dev.deploys.github: ": written(dev={**ONE, "deploys": {"github": "https://github.com/a/b"}}),
    "environments.my-dev: a name is small letters": written(**{"my-dev": ONE}),
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_is_wrong_is_told_with_its_key(words: str) -> None:
    with pytest.raises(EnvironmentsError) as error:
        read(REFUSED[words])
    assert str(error.value).startswith("stacks/environments.yaml")
    assert words in str(error.value)


@pytest.mark.parametrize("named", ["acme/mlops", "acme@123/mlops@456", "a-b/c.d_e"])
def test_a_repository_is_named_with_or_without_its_ids(named: str) -> None:
    found = read(written(dev={**ONE, "deploys": {"github": named}}))["dev"].deploys
    assert found and found.github == named


def test_an_unknown_environment_is_answered_with_those_there_are() -> None:
    with pytest.raises(EnvironmentsError, match=r"no environment 'production'; .* names local, dev, staging, prod"):
        environment("production")


def test_a_missing_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FILE", tmp_path / "environments.yaml")
    with pytest.raises(EnvironmentsError, match=r"there is no stacks/environments\.yaml"):
        environments.__wrapped__()


@pytest.mark.parametrize(
    ("region", "arn"),
    [
        ("eu-west-1", "arn:aws:iam::111122223333:policy/b"),
        ("cn-north-1", "arn:aws-cn:iam::111122223333:policy/b"),
        ("us-gov-west-1", "arn:aws-us-gov:iam::111122223333:policy/b"),
    ],
)
def test_a_boundarys_arn_is_of_its_regions_partition(region: str, arn: str) -> None:
    assert Environment(account="111122223333", region=region, boundary="b").boundary_arn == arn
    assert Environment(account="111122223333", region=region).boundary_arn is None


# --- what is meant to differ ----------------------------------------------------------------------------------------


@hypothesis.settings(deadline=None)  # a busy machine says nothing about it
@given(st.lists(NAMES, min_size=1, max_size=4), st.lists(NAMES, max_size=3), st.data())
def test_an_entry_stands_for_its_key_and_all_below(key: list[str], below: list[str], data: st.DataObject) -> None:
    entry = [data.draw(st.sampled_from([part, "*"])) for part in key]
    found = Environment(**ONE, differs={".".join(entry): "for a reason"})
    assert found.meant(".".join([*key, *below])) == "for a reason"
    if len(key) > 1:
        assert found.meant(".".join(key[:-1])) is None, "it says nothing of what is above it"


@hypothesis.settings(deadline=None)  # a busy machine says nothing about it
@given(st.lists(NAMES, min_size=1, max_size=4), NAMES)
def test_an_entry_stands_for_nothing_beside_it(key: list[str], other: str) -> None:
    found = Environment(**ONE, differs={".".join(key): "for a reason"})
    beside = [*key[:-1], key[-1] + other]
    assert found.meant(".".join(beside)) is None


def test_the_entry_that_says_most_counts() -> None:
    found = Environment(
        **ONE, differs={"*.*.log_days": "for every log", "a.data": "for the data", "a.data.log_days": "for this log"}
    )
    assert found.meant("a.data.log_days") == "for this log"
    assert found.meant("a.data.schedule") == "for the data"
    assert found.meant("b.data.log_days") == "for every log"
    assert found.meant("b.data.schedule") is None


# --- the account guard ----------------------------------------------------------------------------------------------


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str, Any], str]:
    """What a copy of a stack's YAML is refused with, that says another account or region."""
    folder = settings.STACK_FOLDER

    def elsewhere(stack: str, key: str, value: Any) -> str:
        document = yaml.safe_load((folder / f"Pulumi.{stack}.yaml").read_text("utf-8"))
        document["config"][key] = value
        (tmp_path / f"Pulumi.{stack}.yaml").write_text(yaml.safe_dump(document), "utf-8")
        monkeypatch.setattr(settings, "STACK_FOLDER", tmp_path)
        with pytest.raises(SettingsError) as error:
            load(stack)
        return str(error.value)

    return elsewhere


def test_a_stack_is_refused_in_another_account(elsewhere: Callable[[str, str, Any], str]) -> None:
    said = elsewhere("employment-prod", "aws:allowedAccountIds", ["111122223333"])
    assert said == (
        "stacks/Pulumi.employment-prod.yaml, aws:allowedAccountIds: 111122223333 is not where prod is: set "
        "777788889999, or correct environments.prod.account in stacks/environments.yaml"
    )


def test_a_stack_is_refused_in_another_region(elsewhere: Callable[[str, str, Any], str]) -> None:
    said = elsewhere("platform-dev", "aws:region", "eu-west-1")
    assert re.search(r"aws:region: eu-west-1 is not where dev is: set us-east-1", said)


def test_a_stacks_roles_are_bounded_by_its_environments_policy() -> None:
    boundary = "slipway:permissions_boundary"
    assert load("platform-dev").config[boundary] == "arn:aws:iam::111122223333:policy/slipway-boundary"
    assert boundary not in load("platform-local").config
