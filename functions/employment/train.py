"""Trains the employment model, under SageMaker's training contract.

The channel `train` (SM_CHANNEL_TRAIN) holds CSV files with a header: the features of the schema, and `employed`. The
model goes to SM_MODEL_DIR; its metrics and the baseline for monitors go to SM_OUTPUT_DATA_DIR. Where SM_CHECKPOINT_DIR
names a folder, training goes on from what it holds.
"""

import argparse
import csv
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import joblib
import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score
from sklearn.model_selection import train_test_split

from functions.employment.schema import LABEL, ROWS
from functions.monitoring.baseline import fit, to_json

CHUNK: Final = 20
"""Trees between two checkpoints."""
SERVED: Final = ("functions/*.py", "functions/employment/__init__.py", "functions/employment/schema.*")
"""What inference.py imports, and so travels inside the model's archive."""


def rows(folder: Path) -> Iterator[tuple[list[str], int]]:
    """Each row's features as texts, and its label.

    Raises ValueError for a file that lacks a column, and for a row that the schema does not allow.
    """
    for path in sorted(folder.glob("*.csv")):
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            if lacking := {*ROWS.names, LABEL} - set(reader.fieldnames or ()):
                raise ValueError(f"{path.name} has no column {', '.join(sorted(lacking))}")
            for row in reader:
                texts = {name: row[name] or "" for name in ROWS.names}
                for problem in ROWS.problems(texts):
                    raise ValueError(f"{path.name}, line {reader.line_num}: {problem}")
                if row[LABEL] not in ("0", "1"):
                    raise ValueError(f"{path.name}, line {reader.line_num}: {LABEL} is {row[LABEL]!r}; it is 0 or 1")
                yield list(texts.values()), int(row[LABEL])


def train(options: argparse.Namespace, values: NDArray[np.float64], labels: NDArray[np.int64]) -> Any:
    """The model. It is saved every few trees where there is a place for that."""
    settings: dict[str, Any] = {
        "learning_rate": options.learning_rate,
        "categorical_features": [column.is_categorical for column in ROWS.columns],
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


def add_serving_code(target: Path) -> None:
    """Put what serves the model beside it, as SageMaker's container wants it: `code/inference.py` and its modules."""
    root = Path(__file__).resolve().parents[2]
    for path in sorted(path for pattern in SERVED for path in root.glob(pattern)):
        place = target / path.relative_to(root)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place)
    shutil.copyfile(root / "functions/employment/inference.py", target / "inference.py")


def measure(model: Any, values: NDArray[np.float64], labels: NDArray[np.int64]) -> dict[str, float]:
    """How good a model is on rows that it has not seen."""
    probabilities = model.predict_proba(values)[:, 1]
    return {
        "accuracy": float(accuracy_score(labels, probabilities > 0.5)),
        "auc": float(roc_auc_score(labels, probabilities)),
        "log_loss": float(log_loss(labels, probabilities)),
        "rows_held_out": len(labels),
    }


def main() -> None:
    """Train, measure on held-out rows, and write what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--learning-rate", type=float, default=0.15)
    parser.add_argument("--max-iter", type=int, default=80)
    parser.add_argument(
        "--held-out", type=float, default=0.2, help="the share of rows that measure it; 0: something else does"
    )
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()

    channel = Path(os.environ["SM_CHANNEL_TRAIN"])
    data = list(rows(channel))
    if not data:
        raise SystemExit(f"there are no rows in {channel}: the channel `train` needs CSV files")
    texts, labels = [row for row, _ in data], np.array([label for _, label in data])
    values = np.array(texts, dtype=float)
    print(f"{len(data):,} rows, {labels.mean():.1%} employed", flush=True)
    metrics: dict[str, float]
    if options.held_out:
        split = train_test_split(values, labels, test_size=options.held_out, random_state=options.seed, stratify=labels)
        train_values, test_values, train_labels, test_labels = split
        model = train(options, train_values, train_labels)
        metrics = {"rows_trained": len(train_labels), **measure(model, test_values, test_labels)}
        print(
            f"accuracy {metrics['accuracy']:.3f}, AUC {metrics['auc']:.3f} on {len(test_labels):,} others", flush=True
        )
    else:
        model = train(options, values, labels)
        metrics = {"rows_trained": len(labels)}

    baseline = fit(ROWS.names, [column.is_categorical for column in ROWS.columns], texts)
    target = Path(os.environ["SM_MODEL_DIR"])
    joblib.dump(model, target / "model.joblib")
    if os.environ.get("SM_USER_ENTRY_POINT"):  # SageMaker's: what is in the folder now is what will be served
        add_serving_code(target / "code")
    output = Path(os.environ["SM_OUTPUT_DATA_DIR"])
    (output / "metrics.json").write_text(json.dumps(metrics), "utf-8")
    (output / "baseline.json").write_text(to_json(baseline), "utf-8")


if __name__ == "__main__":
    main()
