"""What tests of several files share."""

import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from filelock import FileLock

from infra.rehearsal.emulator import process
from infra.rehearsal.emulator.process import Emulator
from tests.emulated import User

LONGEST = (
    "test_docs_rehearsal",
    "test_gameday",
    "test_rehearsal",
    "test_release",
    "test_examples",
    "test_data_monitor",
    "test_recovery",
    "test_quality_monitor",
    "test_freshness_and_spending",
    "test_monitored_endpoint",
    "test_training_pipeline",
    "test_kill_switch",
    "test_mutants",
    "test_registry",
    "test_feature_store",
    "test_upgrade",
)
"""Modules that take minutes: begun first, so that no processor waits for the last of them."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def rank(item: pytest.Item) -> int:
        module = item.path.stem
        return LONGEST.index(module) if module in LONGEST else len(LONGEST)

    items.sort(key=rank)


@pytest.fixture(scope="module")
def emulator_work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The work folder of this module's emulator."""
    return tmp_path_factory.mktemp("emulator")


@pytest.fixture(scope="module")
def emulator(emulator_work: Path) -> Iterator[Emulator]:
    """An emulator of this module's own, on a free port; it ends with the module."""
    yield process.start(emulator_work)
    process.stop(emulator_work)


@pytest.fixture(scope="module")
def user(emulator: Emulator, emulator_work: Path) -> User:
    """Someone who uses this module's emulator through boto3."""
    return User(emulator, emulator_work)


@pytest.fixture(scope="module")
def client(emulator: Emulator) -> Callable[[str], Any]:
    """`client("s3")`: a boto3 client of the emulator, which does not repeat what fails."""

    def client(service: str) -> Any:
        return boto3.client(
            service,  # type: ignore[call-overload]  # chosen at run time
            region_name="us-east-1",
            endpoint_url=emulator.endpoint,
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(retries={"total_max_attempts": 1}),
        )

    return client


@pytest.fixture(scope="session")
def every_plan(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Any:
    """What every stack would make where nothing exists yet, endpoints included. All workers plan it once."""
    from tests.mutants import every_plan  # not above: most tests plan nothing, and it takes seconds to import

    if worker_id == "master":
        return every_plan()
    shared = tmp_path_factory.getbasetemp().parent / "plans.pickle"
    with FileLock(f"{shared}.lock"):
        if not shared.exists():
            shared.write_bytes(pickle.dumps(every_plan()))
        return pickle.loads(shared.read_bytes())
