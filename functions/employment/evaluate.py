"""Measures a model on held-out rows, as a SageMaker processing job: how good, for whom, and what it goes by.

`--model` holds the training job's model.tar.gz, `--dataset` what prepare.py made; `--output` gets evaluation.json, the
baseline for monitors with what the model answers to held-out rows and how good that is, and beside it the same as
SageMaker Model Monitor has it: statistics.json and constraints.json.
"""

import argparse
import json
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import joblib
import numpy as np
from numpy.typing import NDArray
from sklearn.inspection import permutation_importance

from functions.employment.prepare import RECENT
from functions.employment.schema import MEANINGS, ROWS
from functions.employment.train import measure, rows
from functions.monitoring import baseline, formats
from functions.monitoring.quality import measured

SENSITIVE: Final = ("SEX", "RAC1P")
REPEATS: Final = 5
MOST_ROWS: Final = 5000
"""Rows that attributions are measured on: a tenth of a point of AUC does not need more."""
FEWEST_RECENT: Final = 50
"""Of fewer rows than a monitor judges, nothing is said."""
METHOD: Final[Mapping[str, str]] = {
    "attributions": "The loss of AUC on held-out rows where one feature's values are shuffled "
    f"(sklearn.inspection.permutation_importance, {REPEATS} times, {MOST_ROWS} rows at most)",
    "groups": "Held-out rows by the value of a sensitive feature; who is predicted to have work at a probability above "
    "0.5 is selected",
}


def load(folder: Path) -> Any:
    """The model that training packed."""
    with tempfile.TemporaryDirectory() as unpacked:
        with tarfile.open(folder / "model.tar.gz") as archive:
            archive.extract("model.joblib", unpacked)
        return joblib.load(Path(unpacked) / "model.joblib")


def share(of: NDArray[np.bool_]) -> float | None:
    """The share that is true; None of nothing."""
    return float(of.mean()) if len(of) else None


def groups(
    values: NDArray[np.float64], labels: NDArray[np.int64], selected: NDArray[np.bool_]
) -> Iterator[dict[str, Any]]:
    """How a model does for each value of the sensitive features."""
    for feature in SENSITIVE:
        column = values[:, ROWS.names.index(feature)]
        for value in ROWS.by_name[feature].categories:
            its = column == float(value)
            if not its.any():
                continue
            truth, guess = labels[its] == 1, selected[its]
            yield {
                "feature": feature,
                "value": value,
                "label": MEANINGS[feature].get(value, value),
                "rows": int(its.sum()),
                "accuracy": share(truth == guess),
                "selection_rate": share(guess),
                "true_positive_rate": share(guess[truth]),
                "false_positive_rate": share(guess[~truth]),
            }


def attributions(model: Any, values: NDArray[np.float64], labels: NDArray[np.int64]) -> list[dict[str, Any]]:
    """What a model goes by, the most important first."""
    some = slice(MOST_ROWS)
    found = permutation_importance(
        model, values[some], labels[some], scoring="roc_auc", n_repeats=REPEATS, random_state=0
    )
    told = [
        {"feature": name, "importance": float(mean), "deviation": float(deviation)}
        for name, mean, deviation in zip(ROWS.names, found.importances_mean, found.importances_std, strict=True)
    ]
    return sorted(told, key=lambda each: -each["importance"])


def evaluate(model: Any, texts: Sequence[Sequence[str]], truth: Sequence[int], rows_trained: int) -> dict[str, Any]:
    """Everything that evaluation.json says."""
    values, labels = np.array(texts, dtype=float), np.array(truth)
    selected = model.predict_proba(values)[:, 1] > 0.5
    return {
        "metrics": {**measure(model, values, labels), "rows_trained": rows_trained},
        "groups": list(groups(values, labels, selected)),
        "attributions": attributions(model, values, labels),
        "method": dict(METHOD),
    }


def baselines(model: Any, texts: Sequence[Sequence[str]], truth: Sequence[int], fitted: str) -> dict[str, str]:
    """What monitors go by, file name → JSON; `fitted` is the baseline that prepare.py made of the rows that train."""
    probabilities = model.predict_proba(np.array(texts, dtype=float))[:, 1].tolist()
    whole = baseline.with_predictions(baseline.from_json(fitted), probabilities, measured(probabilities, truth))
    return {
        "baseline.json": baseline.to_json(whole),
        "statistics.json": json.dumps(formats.statistics(whole.profile)),
        "constraints.json": json.dumps(formats.constraints(whole.profile)),
    }


def main() -> None:
    """Measure, and write it down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--dataset", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    data = list(rows(options.dataset / "test"))
    trained = json.loads((options.dataset / "dataset.json").read_text("utf-8"))["rows"]["train"]
    model, texts, truth = load(options.model), [row for row, _ in data], [label for _, label in data]
    told = evaluate(model, texts, truth, trained)
    fitted = (options.dataset / "baseline.json").read_text("utf-8")
    # Of a retraining, what it answers to what is new is what it will answer.
    newest = options.dataset / RECENT
    recent = list(rows(newest.parent)) if newest.exists() else []
    asked = recent if len(recent) >= FEWEST_RECENT else data
    like_now = [row for row, _ in asked], [label for _, label in asked]
    files = {"evaluation.json": json.dumps(told, indent=1), **baselines(model, *like_now, fitted)}
    options.output.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (options.output / name).write_text(text, "utf-8")
    metrics = told["metrics"]
    print(f"accuracy {metrics['accuracy']:.4f}, AUC {metrics['auc']:.4f} on {len(data):,} rows", flush=True)


if __name__ == "__main__":
    main()
