"""Trains the homes model: a forest, all of whose trees grow side by side.

It keeps no checkpoints: where its spot capacity is taken away, it begins anew.
"""

import argparse
from pathlib import Path
from typing import Any, Final

import joblib
from sklearn.ensemble import RandomForestClassifier

from functions.training import job

PACKAGE: Final = "examples.homes"


def arguments(parser: argparse.ArgumentParser) -> None:
    """The hyperparameters."""
    parser.add_argument("--trees", type=int, default=100)
    parser.add_argument("--rows-per-leaf", type=int, default=3, help="the fewest")


def train(options: argparse.Namespace, values: job.Values, labels: job.Labels) -> Any:
    """The model."""
    model = RandomForestClassifier(
        options.trees, min_samples_leaf=options.rows_per_leaf, random_state=options.seed, n_jobs=-1
    )
    return model.fit(values, labels)


def save(model: Any, folder: Path) -> None:
    """Write the model for inference.py."""
    joblib.dump(model, folder / "model.joblib", compress=3)


def main() -> None:
    """Train, measure on held-out rows, and write what was asked for."""
    job.run(PACKAGE, description=__doc__, arguments=arguments, train=train, save=save)


if __name__ == "__main__":
    main()
