"""Trains the employment model: trees that are boosted one after another.

Where SM_CHECKPOINT_DIR names a folder, training goes on from what it holds.
"""

import argparse
import os
from pathlib import Path
from typing import Any, Final

import joblib
from sklearn.ensemble import HistGradientBoostingClassifier

from functions.training import job, schema

PACKAGE: Final = "functions.employment"
CHUNK: Final = 20
"""Trees between two checkpoints."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """The hyperparameters."""
    parser.add_argument("--learning-rate", type=float, default=0.15)
    parser.add_argument("--max-iter", type=int, default=80)


def train(options: argparse.Namespace, values: job.Values, labels: job.Labels) -> Any:
    """The model. It is saved every few trees where there is a place for that."""
    settings: dict[str, Any] = {
        "learning_rate": options.learning_rate,
        "categorical_features": [column.is_categorical for column in schema.of(PACKAGE).rows.columns],
        "random_state": options.seed,
    }
    folder = os.environ.get("SM_CHECKPOINT_DIR")
    if not folder:
        return HistGradientBoostingClassifier(max_iter=options.max_iter, **settings).fit(values, labels)
    checkpoint = Path(folder) / "model.joblib"
    if checkpoint.exists():
        model = joblib.load(checkpoint)
        print(f"going on after {model.n_iter_} of {options.max_iter} trees", flush=True)
    else:
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        model = HistGradientBoostingClassifier(max_iter=0, warm_start=True, **settings)
    while model.max_iter < options.max_iter:
        model.set_params(max_iter=min(model.max_iter + CHUNK, options.max_iter)).fit(values, labels)
        part = checkpoint.with_suffix(".part")
        joblib.dump(model, part)
        part.replace(checkpoint)  # a checkpoint that is half written would be worse than none
        if model.n_iter_ < model.max_iter:  # it stopped by itself
            break
    return model


def save(model: Any, folder: Path) -> None:
    """Write the model for inference.py."""
    joblib.dump(model, folder / "model.joblib")


def main() -> None:
    """Train, measure on held-out rows, and write what was asked for."""
    job.run(PACKAGE, description=__doc__, arguments=arguments, train=train, save=save)


if __name__ == "__main__":
    main()
