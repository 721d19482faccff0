"""The employment schema for scripts in SageMaker's containers, which have no pydantic.

Beside the packed code lies schema.json (infra.pipelines writes it); in the repository functions/employment/features.py
is asked.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from functions.rows import Rows


def _told() -> dict[str, Any]:
    file = Path(__file__).with_name("schema.json")
    if file.exists():
        found: dict[str, Any] = json.loads(file.read_text("utf-8"))
        return found
    from functions.employment.features import LABEL, SCHEMA

    return {**json.loads(SCHEMA.to_json()), "label": LABEL}


TOLD: Final = _told()
ROWS: Final = Rows.from_json(json.dumps(TOLD))
LABEL: Final[str] = TOLD["label"]
"""The column with the answer: 1 or 0."""
MEANINGS: Final[Mapping[str, Mapping[str, str]]] = {each["name"]: each["labels"] for each in TOLD["features"]}
"""What the codes of a feature mean, where the schema says so."""
