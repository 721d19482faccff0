"""What a product's scripts know of its features in SageMaker's containers, which have no pydantic.

Beside the packed code of a product lies schema.json (infra.pipelines writes it); in the repository its features.py is
asked.
"""

import argparse
import importlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from functions.rows import Rows

ROOT: Final = Path(__file__).resolve().parents[2]
"""Where packages begin: the repository, or the folder that holds the packed code."""
FILE: Final = "schema.json"
NOT_CODE: Final = ("stack.py", "sample.py")
"""Modules of a product's package that no job runs."""


@dataclass(frozen=True)
class Schema:
    """A product's features, and what it tells of them."""

    package: str
    """The product's code: `functions.employment`."""
    rows: Rows
    label: str
    """The column with the answer: 1 or 0."""
    meanings: Mapping[str, Mapping[str, str]]
    """What the codes of a feature mean, where the schema says so."""
    sensitive: tuple[str, ...]
    """Features by which groups of people are told apart: how well the model does is measured for each."""


@cache
def of(package: str) -> Schema:
    """The schema of a product, by its package."""
    file = ROOT / package.replace(".", "/") / FILE
    told: dict[str, Any] = json.loads(file.read_text("utf-8") if file.exists() else described(package))
    return Schema(
        package,
        rows=Rows.from_json(json.dumps(told)),
        label=told["label"],
        meanings={each["name"]: each["labels"] for each in told["features"]},
        sensitive=tuple(told["sensitive"]),
    )


def described(package: str) -> str:
    """What schema.json says: the feature schema, the name of the label, and which features are sensitive."""
    features = importlib.import_module(f"{package}.features")
    more = {"label": features.LABEL, "sensitive": list(getattr(features, "SENSITIVE", ()))}
    return json.dumps({**json.loads(features.SCHEMA.to_json()), **more}, sort_keys=True)


def name_product(parser: argparse.ArgumentParser, product: str | None) -> None:
    """Let a job be told whose it is, unless what packed its code has said so."""
    parser.add_argument(
        "--product", default=product, required=product is None, help="the product's package: functions.employment"
    )


def package_files(root: Path, package: str) -> list[Path]:
    """The modules of a product's package that its jobs run, and what makes a package of the folders above."""
    folder = root / package.replace(".", "/")
    above = [each / "__init__.py" for each in folder.parents if each.is_relative_to(root) and each != root]
    return [path for path in (*above, *sorted(folder.glob("*.py"))) if path.is_file() and path.name not in NOT_CODE]
