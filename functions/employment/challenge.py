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

from functions.employment.evaluate import load
from functions.employment.train import measure, rows

LEAST: Final = 1e-6
"""No probability counts as less: one certain mistake must not decide alone."""


def losses(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """The log loss of each row."""
    right = np.clip(np.where(labels == 1, probabilities, 1 - probabilities), LEAST, 1.0)
    found: NDArray[np.float64] = -np.log(right)
    return found


def compare(champion: Any, challenger: Any, values: NDArray[np.float64], labels: NDArray[np.int64]) -> dict[str, Any]:
    """What challenge.json says: the metrics of both, and by how much the challenger's loss is less, row by row.

    Compared in pairs, for how hard a row is does not count then.
    """
    before, after = (model.predict_proba(values)[:, 1] for model in (champion, challenger))
    gain = losses(before, labels) - losses(after, labels)
    right = ((after > 0.5) == labels).astype(float) - ((before > 0.5) == labels).astype(float)
    root = np.sqrt(max(1, len(labels)))
    return {
        "rows": len(labels),
        "champion": measure(champion, values, labels),
        "challenger": measure(challenger, values, labels),
        "gain": {
            "mean": float(gain.mean()),
            "standard_error": float(gain.std(ddof=1) / root),
            "accuracy": float(right.mean()),
            "accuracy_standard_error": float(right.std(ddof=1) / root),
        },
    }


def main() -> None:
    """Compare, and write it down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--champion", type=Path, required=True)
    parser.add_argument("--challenger", type=Path, required=True)
    parser.add_argument("--recent", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    data = list(rows(options.recent))
    labels = np.array([label for _, label in data])
    if len({*labels.tolist()}) < 2:
        raise SystemExit(f"{len(data)} new rows with {len({*labels.tolist()})} kinds of answers: nothing to compare on")
    values = np.array([row for row, _ in data], dtype=float)
    told = compare(load(options.champion), load(options.challenger), values, labels)
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "challenge.json").write_text(json.dumps(told, indent=1), "utf-8")
    print(f"on {len(data):,} rows: {told['gain']}", flush=True)


if __name__ == "__main__":
    main()
