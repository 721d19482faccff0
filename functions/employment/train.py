"""Trains the employment model, under SageMaker's training contract.

The channel `train` (SM_CHANNEL_TRAIN) holds CSV files with a header: the features of the schema, and `employed`. The
model goes to SM_MODEL_DIR; its metrics and the baseline for monitors go to SM_OUTPUT_DATA_DIR.
"""

import argparse
import csv
import json
import os
from collections.abc import Iterator
from pathlib import Path

import joblib
import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score
from sklearn.model_selection import train_test_split

from functions.drift.core import fit, to_json
from functions.employment.features import LABEL, SCHEMA


def rows(folder: Path) -> Iterator[tuple[list[str], int]]:
    """Each row's features as texts, and its label.

    Raises ValueError for a file that lacks a column, and for a row that the schema does not allow.
    """
    for path in sorted(folder.glob("*.csv")):
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            if lacking := {*SCHEMA.names, LABEL} - set(reader.fieldnames or ()):
                raise ValueError(f"{path.name} has no column {', '.join(sorted(lacking))}")
            for row in reader:
                texts = [row[name] or "" for name in SCHEMA.names]
                for problem in SCHEMA.problems(texts):
                    raise ValueError(f"{path.name}, line {reader.line_num}: {problem}")
                if row[LABEL] not in ("0", "1"):
                    raise ValueError(f"{path.name}, line {reader.line_num}: {LABEL} is {row[LABEL]!r}; it is 0 or 1")
                yield texts, int(row[LABEL])


def main() -> None:
    """Train, measure on held-out rows, and write what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--learning-rate", type=float, default=0.15)
    parser.add_argument("--max-iter", type=int, default=80)
    parser.add_argument("--held-out", type=float, default=0.2, help="the share of rows that measure the model")
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()

    channel = Path(os.environ["SM_CHANNEL_TRAIN"])
    data = list(rows(channel))
    if not data:
        raise SystemExit(f"there are no rows in {channel}: the channel `train` needs CSV files")
    texts, labels = [row for row, _ in data], np.array([label for _, label in data])
    values = np.array(texts, dtype=float)
    print(f"{len(data):,} rows, {labels.mean():.1%} employed", flush=True)
    split = train_test_split(values, labels, test_size=options.held_out, random_state=options.seed, stratify=labels)
    train_values, test_values, train_labels, test_labels = split
    model = HistGradientBoostingClassifier(
        learning_rate=options.learning_rate,
        max_iter=options.max_iter,
        categorical_features=[feature.is_categorical for feature in SCHEMA.features],
        random_state=options.seed,
    )
    model.fit(train_values, train_labels)
    probabilities = model.predict_proba(test_values)[:, 1]
    metrics = {
        "accuracy": float(accuracy_score(test_labels, probabilities > 0.5)),
        "auc": float(roc_auc_score(test_labels, probabilities)),
        "log_loss": float(log_loss(test_labels, probabilities)),
        "rows_trained": len(train_labels),
        "rows_held_out": len(test_labels),
    }
    print(f"accuracy {metrics['accuracy']:.3f}, AUC {metrics['auc']:.3f} on {len(test_labels):,} others", flush=True)

    baseline = fit(SCHEMA.names, [feature.is_categorical for feature in SCHEMA.features], texts)
    joblib.dump(model, Path(os.environ["SM_MODEL_DIR"]) / "model.joblib")
    output = Path(os.environ["SM_OUTPUT_DATA_DIR"])
    (output / "metrics.json").write_text(json.dumps(metrics), "utf-8")
    (output / "baseline.json").write_text(to_json(baseline), "utf-8")


if __name__ == "__main__":
    main()
