"""What a version of the employment model must reach before it may be approved."""

from collections.abc import Mapping
from typing import Final

GATE: Final[Mapping[str, float]] = {"accuracy": 0.80, "auc": 0.88}
"""The least of each metric on held-out rows. A model that guesses the more frequent answer has an accuracy of 0.51."""


def shortfalls(metrics: Mapping[str, float]) -> list[str]:
    """What a model falls short of; empty where it passes."""
    return [
        f"{name} is {metrics[name]:.3f}, less than {least:g}" if name in metrics else f"{name} was not measured"
        for name, least in GATE.items()
        if not metrics.get(name, float("nan")) >= least
    ]
