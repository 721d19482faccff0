"""Reads SageMaker data capture: https://docs.aws.amazon.com/sagemaker/latest/dg/model-monitor-data-capture-endpoint.html"""

import base64
import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from functions.monitoring.sketch import Profile, Schema

TIER: Final = "standard library"
"""What `profile` reads with."""


@dataclass(frozen=True)
class Record:
    """One captured request, with its answer."""

    event_id: str | None
    inference_id: str | None
    inference_time: str | None
    inputs: list[Any] | None
    """Its rows, each a list of values in order or a dict by name; None where that side was not captured."""
    outputs: list[Any] | None


def profile(schema: Schema, blocks: Iterable[bytes], *, tier: str | None = None) -> Profile:
    """What lines of data capture hold, given in blocks of any size. Anything that cannot be read is counted, and left
    out: no input raises."""
    raise NotImplementedError


def records(line: bytes | str) -> list[Record]:
    """What one line of data capture holds. Raises ValueError where it cannot be read."""
    raise NotImplementedError
