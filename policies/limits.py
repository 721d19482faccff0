"""What the packs hold every stack to, beyond what each YAML says: `policies/limits.yaml`, which no product writes."""

from functools import cache
from pathlib import Path
from typing import Any

import pulumi
import yaml
from pydantic import BaseModel, ConfigDict

FILE = Path(__file__).with_name("limits.yaml")


class Limits(BaseModel):
    """The file's keys. An unknown one is refused, so that a misspelled limit is not taken for none."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@cache
def limits() -> Limits:
    """The limits, read once. Raises pydantic.ValidationError, which names the key."""
    return Limits.model_validate(yaml.safe_load(FILE.read_text("utf-8")) or {})


def environment() -> str:
    """The environment of the stack that is judged, as its tags say: local, dev, staging or prod."""
    tags: Any = (pulumi.Config("aws").get_object("defaultTags") or {}).get("tags", {})
    return str(tags.get("environment", "prod"))  # where nothing is said, the strictest


def is_production() -> bool:
    """Whether the stack that is judged serves customers."""
    return environment() == "prod"
