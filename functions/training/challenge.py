"""Compares two versions of the model on the newest held-out rows, as a SageMaker processing job.

`--champion` and `--challenger` hold each version's model.tar.gz, `--recent` the rows; `--output` gets challenge.json,
on which functions/recovery/guard.py decides.
"""

import argparse
import json
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from functions.training import numbers
from functions.training.job import load, measure, rows, serving
from functions.training.schema import name_product, of

LEAST: Final = 1e-6
"""No probability counts as less: one certain mistake must not decide alone."""


def losses(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """The log loss of each row."""
    right = np.clip(np.where(labels == 1, probabilities, 1 - probabilities), LEAST, 1.0)
    found: NDArray[np.float64] = -np.log(right)
    return found


def compare(before: NDArray[np.float64], after: NDArray[np.float64], labels: NDArray[np.int64]) -> dict[str, Any]:
    """What challenge.json says: the metrics of both, and by how much the challenger's loss is less, row by row.

    Compared in pairs, for how hard a row is does not count then. `before` and `after` are the probabilities that the
    champion and the challenger tell.
    """
    gain = losses(before, labels) - losses(after, labels)
    right = ((after > 0.5) == labels).astype(float) - ((before > 0.5) == labels).astype(float)
    root = np.sqrt(max(1, len(labels)))
    return {
        "rows": len(labels),
        "champion": measure(before, labels),
        "challenger": measure(after, labels),
        "gain": {
            "mean": float(gain.mean()),
            "standard_error": float(gain.std(ddof=1) / root),
            "accuracy": float(right.mean()),
            "accuracy_standard_error": float(right.std(ddof=1) / root),
        },
    }


def main(product: str | None = None) -> None:
    """Compare, and write it down."""
    parser = argparse.ArgumentParser(description=__doc__)
    name_product(parser, product)
    parser.add_argument("--champion", type=Path, required=True)
    parser.add_argument("--challenger", type=Path, required=True)
    parser.add_argument("--recent", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    schema, code = of(options.product), serving(options.product)
    data = list(rows(schema, options.recent))
    labels = np.array([label for _, label in data])
    if len({*labels.tolist()}) < 2:
        raise SystemExit(f"{len(data)} new rows with {len({*labels.tolist()})} kinds of answers: nothing to compare on")
    values = numbers.array(schema.rows, [row for row, _ in data])
    before, after = (
        code.predict_fn(values, load(options.product, folder)) for folder in (options.champion, options.challenger)
    )
    told = compare(before, after, labels)
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "challenge.json").write_text(json.dumps(told, indent=1), "utf-8")
    print(f"on {len(data):,} rows: {told['gain']}", flush=True)


if __name__ == "__main__":
    main()
