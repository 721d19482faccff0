"""Trains the loans model: trees that are boosted one after another, which takes some seconds.

It keeps no checkpoints: where its spot capacity is taken away, it begins anew.
"""

import argparse
from pathlib import Path
from typing import Any, Final

import joblib
from sklearn.ensemble import HistGradientBoostingClassifier

from functions.training import job, schema

PACKAGE: Final = "examples.loans"


def arguments(parser: argparse.ArgumentParser) -> None:
    """The hyperparameters."""
    parser.add_argument("--learning-rate", type=float, default=0.1)
    parser.add_argument("--max-iter", type=int, default=60)


def train(options: argparse.Namespace, values: job.Values, labels: job.Labels) -> Any:
    """The model."""
    model = HistGradientBoostingClassifier(
        learning_rate=options.learning_rate,
        max_iter=options.max_iter,
        categorical_features=[column.is_categorical for column in schema.of(PACKAGE).rows.columns],
        random_state=options.seed,
    )
    return model.fit(values, labels)


def save(model: Any, folder: Path) -> None:
    """Write the model for inference.py."""
    joblib.dump(model, folder / "model.joblib")


def main() -> None:
    """Train, measure on held-out rows, and write what was asked for."""
    job.run(PACKAGE, description=__doc__, arguments=arguments, train=train, save=save)


if __name__ == "__main__":
    main()
